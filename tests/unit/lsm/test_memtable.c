#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lsm/chain.h"
#include "lsm/memtable.h"
#include "varve/status.h"

static int set_up(void **state)
{
    *state = memtable_create();
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    memtable_unref(*state);
    return 0;
}

static struct chunk put_of(const char *key, const char *value)
{
    return (struct chunk){
        .kind = CHUNK_PUT, .key = varve_slice_str(key), .value = varve_slice_str(value)};
}

static struct chunk delete_of(const char *key)
{
    return (struct chunk){.kind = CHUNK_DELETE, .key = varve_slice_str(key)};
}

static struct chunk range_of(const char *begin, const char *end)
{
    return (struct chunk){
        .kind = CHUNK_RANGE_DELETE, .key = varve_slice_str(begin), .value = varve_slice_str(end)};
}

static enum memtable_prior add(struct memtable *memtable, uint64_t seq, struct chunk chunk)
{
    struct memtable_undo undo;
    enum memtable_prior prior;

    assert_int_equal(memtable_add(memtable, seq, &chunk, &prior, &undo), 0);
    return prior;
}

/* The value of key at seq_max as text, "-" if it is deleted, "?" if nothing is known. */
static const char *get(const struct memtable *memtable, const char *key, uint64_t seq_max)
{
    static char text[64];
    struct entry record;
    enum memtable_answer answer = memtable_get(memtable, varve_slice_str(key), seq_max, &record);

    if (answer == MEMTABLE_NONE) {
        assert_int_equal(record.seq, 0);
        return "?";
    }
    assert_true(record.seq > 0 && record.seq <= seq_max);
    if (answer == MEMTABLE_DELETED) {
        assert_int_equal(record.chunk.value.len, 0);
        return "-";
    }
    assert_int_equal(record.chunk.kind, CHUNK_PUT);
    assert_true(varve_slice_equal(record.chunk.key, varve_slice_str(key)));
    snprintf(text, sizeof(text), "%.*s", (int)record.chunk.value.len,
             (const char *)record.chunk.value.data);
    return text;
}

static void test_memtable__record_comes_back_whole(void **state)
{
    struct memtable *memtable = *state;
    struct entry record;
    struct chunk chunk = put_of("k", "value");

    chunk.expire_ms = 1234567890123;
    chunk.crc = 0xdeadbeef;
    add(memtable, 7, chunk);
    assert_int_equal(memtable_get(memtable, chunk.key, 7, &record), MEMTABLE_VALUE);
    assert_int_equal(record.seq, 7);
    assert_int_equal(record.chunk.kind, CHUNK_PUT);
    assert_int_equal(record.chunk.crc, 0xdeadbeef);
    assert_true(record.chunk.expire_ms == 1234567890123);
    assert_true(varve_slice_equal(record.chunk.key, chunk.key));
    assert_true(varve_slice_equal(record.chunk.value, chunk.value));
    assert_true(record.chunk.key.data != chunk.key.data);
}

static void test_memtable__each_sequence_sees_its_version(void **state)
{
    struct memtable *memtable = *state;

    add(memtable, 2, put_of("k", "two"));
    add(memtable, 4, delete_of("k"));
    add(memtable, 6, put_of("k", "six"));
    assert_string_equal(get(memtable, "k", 1), "?");
    assert_string_equal(get(memtable, "k", 2), "two");
    assert_string_equal(get(memtable, "k", 3), "two");
    assert_string_equal(get(memtable, "k", 4), "-");
    assert_string_equal(get(memtable, "k", 5), "-");
    assert_string_equal(get(memtable, "k", 6), "six");
    assert_string_equal(get(memtable, "k", UINT64_MAX), "six");
    assert_string_equal(get(memtable, "kk", 6), "?");
    assert_int_equal(memtable_entry_count(memtable), 1);
}

static void test_memtable__prior_tells_what_was_known(void **state)
{
    struct memtable *memtable = *state;

    assert_int_equal(add(memtable, 1, put_of("k", "1")), MEMTABLE_PRIOR_NONE);
    assert_int_equal(add(memtable, 2, put_of("k", "2")), MEMTABLE_PRIOR_LIVE);
    assert_int_equal(add(memtable, 3, delete_of("k")), MEMTABLE_PRIOR_LIVE);
    assert_int_equal(add(memtable, 4, delete_of("k")), MEMTABLE_PRIOR_DEAD);
    assert_int_equal(add(memtable, 5, put_of("k", "5")), MEMTABLE_PRIOR_DEAD);
    assert_int_equal(add(memtable, 6, range_of("a", "z")), MEMTABLE_PRIOR_NONE);
    assert_int_equal(add(memtable, 7, put_of("k", "7")), MEMTABLE_PRIOR_DEAD);
    assert_int_equal(add(memtable, 8, put_of("k", "8")), MEMTABLE_PRIOR_LIVE);
    assert_int_equal(add(memtable, 9, put_of("new", "9")), MEMTABLE_PRIOR_DEAD);
    assert_int_equal(add(memtable, 10, put_of("z", "10")), MEMTABLE_PRIOR_NONE);
}

static void test_memtable__range_covers_begin_but_not_end(void **state)
{
    struct memtable *memtable = *state;

    add(memtable, 1, put_of("a", "1"));
    add(memtable, 2, put_of("b", "2"));
    add(memtable, 3, put_of("c", "3"));
    add(memtable, 4, range_of("a", "c"));
    assert_string_equal(get(memtable, "a", 4), "-");
    assert_string_equal(get(memtable, "b", 4), "-");
    assert_string_equal(get(memtable, "b", 3), "2");
    assert_string_equal(get(memtable, "bb", 4), "-"); /* of an older layer it deletes too */
    assert_string_equal(get(memtable, "bb", 3), "?");
    assert_string_equal(get(memtable, "c", 4), "3");
    assert_string_equal(get(memtable, "", 4), "?");
    assert_int_equal(memtable_range_seq(memtable, varve_slice_str("b"), 4), 4);
    assert_int_equal(memtable_range_seq(memtable, varve_slice_str("b"), 3), 0);
    assert_int_equal(memtable_range_seq(memtable, varve_slice_str("c"), 4), 0);
    add(memtable, 5, put_of("b", "5"));
    assert_string_equal(get(memtable, "b", 5), "5");
    assert_string_equal(get(memtable, "b", 4), "-");
}

static void test_memtable__ranges_overlap_and_nest(void **state)
{
    struct memtable *memtable = *state;

    add(memtable, 1, range_of("b", "f"));
    add(memtable, 2, range_of("d", "h"));
    add(memtable, 3, range_of("c", "d"));
    add(memtable, 4, range_of("x", "x")); /* deletes nothing */
    add(memtable, 5, range_of("g", "e")); /* neither */
    const char *keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", "x"};
    const uint64_t newest[] = {0, 1, 3, 2, 2, 2, 2, 0, 0};
    const uint64_t at_one[] = {0, 1, 1, 1, 1, 0, 0, 0, 0};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct varve_slice key = varve_slice_str(keys[i]);
        assert_int_equal(memtable_range_seq(memtable, key, UINT64_MAX), newest[i]);
        assert_int_equal(memtable_range_seq(memtable, key, 1), at_one[i]);
    }
}

static void test_memtable__ranges_are_listed_newest_first(void **state)
{
    struct memtable *memtable = *state;
    struct entry record;
    struct chunk chunk = range_of("a", "m");

    assert_null(memtable_next_range(memtable, NULL, &record));
    chunk.crc = 77;
    add(memtable, 3, chunk);
    add(memtable, 9, range_of("b", "c"));
    const struct memtable_range *range = memtable_next_range(memtable, NULL, &record);
    assert_non_null(range);
    assert_int_equal(record.seq, 9);
    range = memtable_next_range(memtable, range, &record);
    assert_non_null(range);
    assert_int_equal(record.seq, 3);
    assert_int_equal(record.chunk.kind, CHUNK_RANGE_DELETE);
    assert_int_equal(record.chunk.crc, 77);
    assert_true(varve_slice_equal(record.chunk.key, varve_slice_str("a")));
    assert_true(varve_slice_equal(record.chunk.value, varve_slice_str("m")));
    assert_null(memtable_next_range(memtable, range, &record));
}

static void test_memtable__undo_restores_each_step(void **state)
{
    struct memtable *memtable = *state;
    struct memtable_undo undo[4];
    enum memtable_prior prior;
    struct chunk steps[] = {put_of("k", "9"), range_of("a", "z"), put_of("fresh", "f"),
                            delete_of("k")};

    add(memtable, 1, put_of("k", "1"));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(memtable_add(memtable, 2 + i, &steps[i], &prior, &undo[i]), 0);
    assert_string_equal(get(memtable, "k", 9), "-");
    assert_int_equal(memtable_entry_count(memtable), 2);
    memtable_undo_add(memtable, &undo[3]);
    memtable_undo_add(memtable, &undo[2]);
    assert_string_equal(get(memtable, "fresh", 9), "-");
    assert_int_equal(memtable_entry_count(memtable), 1);
    memtable_undo_add(memtable, &undo[1]);
    assert_string_equal(get(memtable, "fresh", 9), "?");
    assert_string_equal(get(memtable, "k", 9), "9");
    memtable_undo_add(memtable, &undo[0]);
    assert_string_equal(get(memtable, "k", 9), "1");

    struct memtable_iter *iter = memtable_iter_create(memtable);
    memtable_iter_first(iter);
    assert_true(varve_slice_equal(memtable_iter_key(iter), varve_slice_str("k")));
    memtable_iter_prev(iter); /* "fresh" has no version any more */
    assert_false(memtable_iter_valid(iter));
    memtable_iter_seek_prev(iter, varve_slice_str("g"));
    assert_false(memtable_iter_valid(iter));
    memtable_iter_destroy(iter);
    assert_int_equal(add(memtable, 2, put_of("fresh", "again")), MEMTABLE_PRIOR_NONE);
    assert_string_equal(get(memtable, "fresh", 2), "again");
    assert_int_equal(memtable_entry_count(memtable), 2);
}

/* The writer takes the only version of a key back while another thread's iterator stands on it. */
static void test_memtable__undo_under_an_iterator(void **state)
{
    struct memtable *memtable = *state;
    struct memtable_undo undo;
    enum memtable_prior prior;
    struct chunk put = put_of("k", "1");
    struct entry entry;

    assert_int_equal(memtable_add(memtable, 1, &put, &prior, &undo), 0);
    struct memtable_iter *iter = memtable_iter_create(memtable);
    memtable_iter_first(iter);
    assert_true(memtable_iter_valid(iter));
    assert_int_equal(memtable_iter_oldest(iter, &entry), 1);
    assert_int_equal(entry.seq, 1);
    memtable_undo_add(memtable, &undo);
    assert_int_equal(memtable_iter_oldest(iter, &entry), 0);
    assert_int_equal(memtable_iter_point(iter, 9, &entry), 0);
    assert_int_equal(memtable_iter_get(iter, 9, &entry), MEMTABLE_NONE);
    assert_null(memtable_iter_version(iter, NULL, &entry));
    memtable_iter_next(iter);
    assert_false(memtable_iter_valid(iter));
    memtable_iter_destroy(iter);
}

static void test_memtable__iterator_lists_versions_newest_first(void **state)
{
    struct memtable *memtable = *state;
    struct entry record;

    for (uint64_t seq = 1; seq <= 20; seq++)
        add(memtable, seq, seq % 5 == 0 ? delete_of("k") : put_of("k", "v"));
    struct memtable_iter *iter = memtable_iter_create(memtable);
    memtable_iter_seek(iter, varve_slice_str("a"));
    assert_true(memtable_iter_valid(iter));
    const struct memtable_version *version = NULL;
    for (uint64_t seq = 20; seq >= 1; seq--) {
        version = memtable_iter_version(iter, version, &record);
        assert_non_null(version);
        assert_int_equal(record.seq, seq);
        assert_int_equal(record.chunk.kind, seq % 5 == 0 ? CHUNK_DELETE : CHUNK_PUT);
    }
    assert_null(memtable_iter_version(iter, version, &record));
    assert_int_equal(memtable_iter_get(iter, 9, &record), MEMTABLE_VALUE);
    assert_int_equal(record.seq, 9);
    memtable_iter_next(iter);
    assert_false(memtable_iter_valid(iter));
    assert_int_equal(memtable_iter_status(iter), 0);
    memtable_iter_destroy(iter);
}

static void test_memtable__iterator_outlives_the_other_reference(void **state)
{
    struct memtable *memtable = memtable_create();

    (void)state;
    assert_non_null(memtable);
    add(memtable, 1, put_of("k", "v"));
    struct memtable_iter *iter = memtable_iter_create(memtable);
    memtable_unref(memtable);
    memtable_iter_first(iter);
    assert_true(varve_slice_equal(memtable_iter_key(iter), varve_slice_str("k")));
    memtable_iter_destroy(iter);
}

/* A counter's old snapshot must not walk a million versions. */
static void test_chain__finds_old_links_in_few_steps(void **state)
{
    enum { LINKS = 1 << 16, STEPS_MAX = 3 * 16 };
    struct node {
        struct chain_jump jump;
        struct chain link;
    } *nodes = mem_alloc(LINKS * sizeof(*nodes));
    const struct chain *newest = NULL;

    (void)state;
    assert_non_null(nodes);
    for (uint64_t i = 0; i < LINKS; i++) {
        chain_init(&nodes[i].link, newest, 2 * i + 2);
        newest = &nodes[i].link;
    }
    assert_null(chain_find(newest, 1));
    for (uint64_t i = 0; i < LINKS; i++) {
        assert_ptr_equal(chain_find(newest, 2 * i + 2), &nodes[i].link);
        assert_ptr_equal(chain_find(newest, 2 * i + 3), &nodes[i].link);
        int steps = 0; /* the same search, counted */
        for (const struct chain *at = newest; at->seq > 2 * i + 2; steps++)
            at = chain_jump(at)->to->seq > 2 * i + 2 ? chain_jump(at)->to : at->older;
        assert_true(steps <= STEPS_MAX);
    }
    mem_free(nodes);
}

static void test_memtable__huge_lengths_are_refused(void **state)
{
    struct memtable *memtable = *state;
    struct memtable_undo undo;
    enum memtable_prior prior;
    struct chunk chunk = put_of("k", "v");

    chunk.value.len = (size_t)1 << 30; /* refused before it is read */
    assert_int_equal(memtable_add(memtable, 1, &chunk, &prior, &undo), VARVE_EINVAL);
    chunk.value.len = 1;
    chunk.key.len = (size_t)1 << 30;
    assert_int_equal(memtable_add(memtable, 1, &chunk, &prior, &undo), VARVE_EINVAL);
    assert_int_equal(memtable_entry_count(memtable), 0);
}

static size_t cost_of(const struct memtable *memtable, const struct chunk *chunk)
{
    if (chunk->kind == CHUNK_RANGE_DELETE)
        return memtable_range_cost_bytes(memtable, chunk->key, chunk->value);
    return memtable_cost_bytes(chunk->key.len, chunk->value.len);
}

static struct chunk random_chunk(struct rng *rng, uint8_t *bytes, size_t cap)
{
    struct chunk chunk = {.kind = CHUNK_PUT};
    size_t key_len = rng_below(rng, 20) == 0 ? rng_below(rng, cap / 2) : rng_below(rng, 5);
    size_t value_len = rng_below(rng, 20) == 0 ? rng_below(rng, cap / 2) : rng_below(rng, 90);
    uint64_t kind = rng_below(rng, 20);

    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)rng_next(rng);
    if (kind == 0) {
        chunk.kind = CHUNK_RANGE_DELETE;
        value_len = rng_below(rng, 5);
    } else if (kind < 4) {
        chunk.kind = CHUNK_DELETE;
        value_len = 0;
    }
    chunk.key = varve_slice(bytes, key_len);
    chunk.value = varve_slice(bytes + 2, value_len);
    return chunk;
}

static void test_memtable__cost_is_an_upper_bound(void **state)
{
    enum { CAP = 600 * 1024 };
    static uint8_t bytes[CAP];
    struct rng rng;

    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct memtable *memtable = memtable_create();
        size_t before = memtable_used_bytes(memtable);
        rng_init(&rng, seed);
        assert_true(before < 4096);
        for (uint64_t seq = 1; seq <= 6000; seq++) {
            struct chunk chunk = random_chunk(&rng, bytes, seed == 1 ? CAP : 4096);
            size_t cost = cost_of(memtable, &chunk);
            add(memtable, seq, chunk);
            size_t after = memtable_used_bytes(memtable);
            assert_true(after >= before && after - before <= cost);
            before = after;
        }
        memtable_unref(memtable);
    }
}

/* Every allocation of every add fails once; what was there stays, what failed is not there. That
 * the tree and the range map survive a failure at each of their pieces, their own tests show. */
static void test_memtable__failed_add_changes_nothing(void **state)
{
    enum { CAP = 16 * 1024 };
    static uint8_t bytes[CAP];
    struct memtable *memtable = *state;
    struct rng rng;
    int failures = 0;

    rng_init(&rng, 3);
    for (uint64_t seq = 1; seq <= 30000; seq++) {
        struct chunk chunk = random_chunk(&rng, bytes, CAP);
        struct entry then, now;
        struct memtable_undo undo;
        enum memtable_prior prior;
        enum memtable_answer answer = memtable_get(memtable, chunk.key, UINT64_MAX, &then);
        uint64_t entries = memtable_entry_count(memtable);
        int rc = VARVE_ENOMEM;
        for (uint64_t nth = 1; rc != 0; nth++) {
            mem_fail_nth(nth, 0);
            rc = memtable_add(memtable, seq, &chunk, &prior, &undo);
            mem_fail_nth(0, 0);
            if (rc == 0)
                break;
            failures++;
            assert_int_equal(rc, VARVE_ENOMEM);
            assert_int_equal(memtable_entry_count(memtable), entries);
            assert_int_equal(memtable_get(memtable, chunk.key, UINT64_MAX, &now), answer);
            assert_int_equal(now.seq, then.seq);
            if (memtable_next_range(memtable, NULL, &now) != NULL)
                assert_true(now.seq < seq);
        }
    }
    assert_true(failures > 10);
}

/* With chunks of the arena full to the brim, each piece of a range's add meets a failure. */
static void test_memtable__failed_range_covers_nothing(void **state)
{
    enum { BOUNDARIES = 2500 };
    struct memtable *memtable = *state;
    struct entry record;
    struct memtable_undo undo;
    enum memtable_prior prior;
    char begin[16], end[16];
    uint64_t seq = 0;
    int failures = 0;

    for (int i = 0; i < BOUNDARIES; i++) {
        snprintf(begin, sizeof(begin), "%06d", i);
        snprintf(end, sizeof(end), "%06d", i + 1);
        add(memtable, ++seq, range_of(begin, end));
    }
    struct chunk wide = range_of("0", "9");
    for (int round = 0; round < 30; round++) { /* each takes more than a chunk */
        mem_fail_nth(1, 0);
        int rc = memtable_add(memtable, seq + 1, &wide, &prior, &undo);
        mem_fail_nth(0, 0);
        if (rc == 0) {
            memtable_undo_add(memtable, &undo);
            continue;
        }
        failures++;
        for (int i = 0; i < BOUNDARIES; i++) {
            snprintf(begin, sizeof(begin), "%06d", i);
            assert_int_equal(memtable_range_seq(memtable, varve_slice_str(begin), UINT64_MAX),
                             (uint64_t)i + 1);
        }
        assert_non_null(memtable_next_range(memtable, NULL, &record));
        assert_int_equal(record.seq, seq);
    }
    assert_true(failures > 0);
}

static void test_memtable__no_memory_for_itself(void **state)
{
    struct memtable *memtable = *state;

    mem_fail_nth(1, 0);
    assert_null(memtable_create());
    mem_fail_nth(1, 0);
    assert_null(memtable_iter_create(memtable));
    mem_fail_nth(0, 0);
    memtable_unref(NULL);
    memtable_iter_destroy(NULL);
}

#define WITH_MEMTABLE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MEMTABLE(test_memtable__record_comes_back_whole),
        WITH_MEMTABLE(test_memtable__each_sequence_sees_its_version),
        WITH_MEMTABLE(test_memtable__prior_tells_what_was_known),
        WITH_MEMTABLE(test_memtable__range_covers_begin_but_not_end),
        WITH_MEMTABLE(test_memtable__ranges_overlap_and_nest),
        WITH_MEMTABLE(test_memtable__ranges_are_listed_newest_first),
        WITH_MEMTABLE(test_memtable__undo_restores_each_step),
        WITH_MEMTABLE(test_memtable__undo_under_an_iterator),
        WITH_MEMTABLE(test_memtable__iterator_lists_versions_newest_first),
        cmocka_unit_test(test_memtable__iterator_outlives_the_other_reference),
        cmocka_unit_test(test_chain__finds_old_links_in_few_steps),
        WITH_MEMTABLE(test_memtable__huge_lengths_are_refused),
        cmocka_unit_test(test_memtable__cost_is_an_upper_bound),
        WITH_MEMTABLE(test_memtable__failed_add_changes_nothing),
        WITH_MEMTABLE(test_memtable__failed_range_covers_nothing),
        WITH_MEMTABLE(test_memtable__no_memory_for_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
