#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

#define KIB ((uint64_t)1024)

/* ---- the cache alone ---- */

static struct chunk chunk_of(const char *key, const char *value, uint64_t expire_ms)
{
    struct chunk chunk = {.kind = CHUNK_PUT,
                          .expire_ms = expire_ms,
                          .key = varve_slice_str(key),
                          .value = varve_slice_str(value)};

    chunk.crc = chunk_crc(&chunk);
    return chunk;
}

static int offer(struct row_cache *rows, const char *key, const char *value, uint64_t seq,
                 uint64_t flushed_seq)
{
    struct entry entry = {.seq = seq, .chunk = chunk_of(key, value, 0)};

    return row_cache_offer(rows, &entry, flushed_seq);
}

static void offer_twice(struct row_cache *rows, const char *key, const char *value, uint64_t seq)
{
    offer(rows, key, value, seq, UINT64_MAX);
    offer(rows, key, value, seq, UINT64_MAX);
}

/* Its value as text that lives until the next call; NULL: there is no row. */
static const char *find(struct row_cache *rows, const char *key, uint64_t seq_max)
{
    static char text[ROW_KEY_VALUE_MAX_BYTES + 1];
    struct cached *holder = NULL;
    struct entry entry;
    const char *found = NULL;

    rcu_enter();
    if (row_cache_find(rows, varve_slice_str(key), seq_max, &entry, &holder)) {
        assert_non_null(holder);
        assert_int_equal(chunk_crc(&entry.chunk), entry.chunk.crc);
        memcpy(text, entry.chunk.value.data, entry.chunk.value.len);
        text[entry.chunk.value.len] = 0;
        found = text;
    }
    rcu_leave();
    return found;
}

static uint64_t row_count(struct row_cache *rows)
{
    struct row_cache_stats stats;

    row_cache_get_stats(rows, &stats);
    assert_true(stats.used_bytes <= stats.limit_bytes);
    return stats.rows;
}

static void test_offer__the_second_gets_in(void **state)
{
    struct row_cache *rows = row_cache_create(64 * KIB);

    (void)state;
    assert_true(row_cache_is_empty(rows));
    offer(rows, "a", "1", 7, 9);
    assert_null(find(rows, "a", 9));
    offer(rows, "a", "1", 7, 9);
    assert_string_equal(find(rows, "a", 9), "1");
    assert_false(row_cache_is_empty(rows));
    offer(rows, "a", "1", 7, 9); /* there already */
    assert_int_equal(row_count(rows), 1);
    assert_null(find(rows, "b", 9));
    row_cache_destroy(rows);
}

static void test_offer__a_scan_leaves_nothing(void **state)
{
    struct row_cache *rows = row_cache_create(64 * KIB);
    char key[32];

    (void)state;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 100000; i++) {
            snprintf(key, sizeof(key), "key %d", i);
            offer(rows, key, "v", 1, 1);
        }
    assert_true(row_count(rows) < 40); /* of 200,000: hashes that are alike */
    row_cache_destroy(rows);
}

static void test_offer__lengths(void **state)
{
    struct row_cache *rows = row_cache_create(64 * KIB);
    char value[ROW_KEY_VALUE_MAX_BYTES + 1];

    (void)state;
    memset(value, 'v', sizeof(value));
    value[ROW_KEY_VALUE_MAX_BYTES] = 0;
    offer_twice(rows, "", value, 1);
    assert_string_equal(find(rows, "", 1), value);
    offer_twice(rows, "k", value, 1); /* one too long */
    assert_null(find(rows, "k", 1));
    value[ROW_KEY_VALUE_MAX_BYTES - 1] = 0;
    offer_twice(rows, "k", value, 1);
    assert_string_equal(find(rows, "k", 1), value);
    offer_twice(rows, "empty", "", 1);
    assert_string_equal(find(rows, "empty", 1), "");
    row_cache_destroy(rows);
}

static void test_find__not_what_is_too_new(void **state)
{
    struct row_cache *rows = row_cache_create(64 * KIB);

    (void)state;
    offer_twice(rows, "a", "1", 7);
    assert_null(find(rows, "a", 6));
    assert_string_equal(find(rows, "a", 7), "1");
    row_cache_destroy(rows);
}

static void add(struct memtable *memtable, uint64_t seq, const struct chunk *chunk)
{
    struct memtable_undo undo;
    enum memtable_prior prior;

    assert_int_equal(memtable_add(memtable, seq, chunk, &prior, &undo), 0);
}

static void test_flush__what_it_knows_changes(void **state)
{
    struct row_cache *rows = row_cache_create(64 * KIB);
    struct memtable *memtable = memtable_create();
    struct chunk read = chunk_of("read", "new", 0);
    struct chunk unread = chunk_of("unread", "new", 0);
    struct chunk gone = {.kind = CHUNK_DELETE, .key = varve_slice_str("gone")};
    struct chunk range = {
        .kind = CHUNK_RANGE_DELETE, .key = varve_slice_str("x"), .value = varve_slice_str("y")};
    char text[ROW_KEY_VALUE_MAX_BYTES + 1] = "";

    (void)state;
    memset(text, 'l', ROW_KEY_VALUE_MAX_BYTES);
    struct chunk longer = chunk_of("long", text, 0);
    const char *const keys[] = {"read", "unread", "gone", "x1", "long", "other"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        offer_twice(rows, keys[i], "old", 1);
        if (strcmp(keys[i], "unread") != 0)
            assert_string_equal(find(rows, keys[i], 1), "old");
    }
    add(memtable, 11, &read);
    add(memtable, 12, &unread);
    add(memtable, 13, &gone);
    add(memtable, 14, &range);
    add(memtable, 15, &longer);
    row_cache_flush(rows, memtable, 15);
    assert_string_equal(find(rows, "read", 15), "new");
    assert_null(find(rows, "read", 10));
    assert_string_equal(find(rows, "other", 1), "old");
    assert_null(find(rows, "unread", 15));
    assert_null(find(rows, "gone", 15));
    assert_null(find(rows, "x1", 15));
    assert_null(find(rows, "long", 15));
    assert_int_equal(row_count(rows), 2);
    memtable_unref(memtable);
    row_cache_destroy(rows);
}

static void test_offer__not_from_before_a_flush(void **state)
{
    struct row_cache *rows = row_cache_create(64 * KIB);
    struct memtable *memtable = memtable_create();

    (void)state;
    offer(rows, "a", "old", 5, 9);
    row_cache_flush(rows, memtable, 20);
    offer(rows, "a", "old", 5, 9);
    assert_null(find(rows, "a", 20));
    offer(rows, "a", "new", 12, 20);
    assert_string_equal(find(rows, "a", 20), "new");
    memtable_unref(memtable);
    row_cache_destroy(rows);
}

/* Of far more than fit, those that are read stay. */
static void test_room__what_is_read_stays(void **state)
{
    struct row_cache *rows = row_cache_create(256 * KIB);
    uint64_t before = mem_used_bytes();
    char key[32];
    char value[128];

    (void)state;
    memset(value, 'v', sizeof(value));
    value[100] = 0;
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        offer_twice(rows, key, value, 1);
        if (i % 8 == 0)
            for (int hot = 0; hot < 50; hot++) {
                snprintf(key, sizeof(key), "key %d", hot);
                (void)find(rows, key, 1);
            }
        if (i % 64 == 0)
            (void)rcu_reclaim();
    }
    int kept = 0;
    for (int hot = 0; hot < 50; hot++) {
        snprintf(key, sizeof(key), "key %d", hot);
        kept += find(rows, key, 1) != NULL;
    }
    assert_true(kept >= 48); /* one may leave a bucket in which all are read */
    assert_true(row_count(rows) > 500);
    assert_true(mem_used_bytes() - before <= 256 * KIB);
    row_cache_destroy(rows);
}

/* Even what is read all the time makes room. */
static void test_room__all_is_read(void **state)
{
    struct row_cache *rows = row_cache_create(64 * KIB);
    char key[32];

    (void)state;
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        offer_twice(rows, key, "some value", 1);
        (void)find(rows, key, 1);
        (void)rcu_reclaim();
        assert_non_null(find(rows, key, 1));
    }
    (void)row_count(rows);
    row_cache_destroy(rows);
}

static void test_room__none_while_nothing_comes_back(void **state)
{
    struct row_cache *rows = row_cache_create(64 * KIB);
    struct cached *holder = NULL;
    struct entry entry;
    char key[32];

    (void)state;
    offer_twice(rows, "held", "what is held", 1);
    rcu_enter();
    assert_true(row_cache_find(rows, varve_slice_str("held"), 1, &entry, &holder));
    cached_ref(holder);
    for (int i = 0; i < 5000; i++) { /* nothing is free before the leave */
        snprintf(key, sizeof(key), "key %d", i);
        offer_twice(rows, key, "some value", 1);
    }
    assert_true(varve_slice_equal(entry.chunk.value, varve_slice_str("what is held")));
    assert_null(find(rows, "key 4999", 1)); /* it was refused */
    rcu_leave();
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "later %d", i);
        offer_twice(rows, key, "some value", 1);
        (void)rcu_reclaim();
    }
    assert_non_null(find(rows, "later 4999", 1));
    assert_null(find(rows, "held", 1));
    assert_true(varve_slice_equal(entry.chunk.value, varve_slice_str("what is held")));
    cached_unref(holder);
    row_cache_destroy(rows);
}

static void test_memory__each_allocation_fails(void **state)
{
    struct row_cache *rows = NULL;

    (void)state;
    for (uint64_t nth = 1; rows == NULL; nth++) {
        mem_fail_nth(nth, 0);
        rows = row_cache_create(64 * KIB);
        mem_fail_nth(0, 0);
        assert_true(nth < 10);
    }
    offer(rows, "a", "1", 1, 1);
    mem_fail_nth(1, 1);
    offer(rows, "a", "1", 1, 1);
    mem_fail_nth(0, 0);
    assert_null(find(rows, "a", 1));
    offer(rows, "a", "1", 1, 1);
    assert_string_equal(find(rows, "a", 1), "1");
    row_cache_destroy(rows);
}

/* ---- in the engine ---- */

static int set_up(void **state)
{
    struct bed *bed = mem_alloc(sizeof(*bed));

    *state = bed;
    bed_init(bed, 1);
    bed->options.row_cache_size_bytes = 64 * KIB;
    bed_open_ok(bed);
    return 0;
}

/* Two reads that find no block in the cache: the key then has a row. */
static void warm(struct bed *bed, const char *key)
{
    uint64_t rows = bed_stats(bed).row_cache_rows;

    for (int i = 0; i < 2; i++) {
        cache_reserve(bed->db->cache, bed->options.block_cache_size_bytes);
        cache_unreserve(bed->db->cache, bed->options.block_cache_size_bytes);
        while (rcu_pending())
            (void)rcu_reclaim();
        assert_string_not_equal(bed_get(bed, key), "-");
    }
    assert_int_equal(bed_stats(bed).row_cache_rows, rows + 1);
}

/* What a read says that a row answers. */
static const char *get_row(struct bed *bed, const char *key)
{
    uint64_t hits = bed_stats(bed).row_cache_hits;
    const char *value = bed_get(bed, key);

    assert_int_equal(bed_stats(bed).row_cache_hits, hits + 1);
    return value;
}

static void test_get__overwrites_and_flushes(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(bed_put(bed, "b", "1"), 0);
    bed_flush_ok(bed);
    warm(bed, "a");
    assert_string_equal(get_row(bed, "a"), "1");
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    assert_string_equal(bed_get(bed, "a"), "2");
    bed_swap(bed);
    assert_string_equal(bed_get(bed, "a"), "2");
    bed_flush_ok(bed);
    assert_string_equal(get_row(bed, "a"), "2");
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    assert_string_equal(get_row(bed, "a"), "2");
    assert_int_equal(bed_delete(bed, "a"), 0);
    bed_flush_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "-");
    assert_int_equal(bed_stats(bed).row_cache_rows, 0);
}

static void test_get__range_deletes(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a1", "1"), 0);
    assert_int_equal(bed_put(bed, "b1", "1"), 0);
    bed_flush_ok(bed);
    warm(bed, "a1");
    warm(bed, "b1");
    assert_int_equal(bed_delete_range(bed, "a", "b"), 0);
    assert_string_equal(bed_get(bed, "a1"), "-");
    bed_flush_ok(bed);
    assert_string_equal(bed_get(bed, "a1"), "-");
    assert_string_equal(get_row(bed, "b1"), "1");
}

static void test_get__snapshots_pass_by(void **state)
{
    struct bed *bed = *state;
    struct varve_read read = {0};

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed->db);
    read.snapshot = snapshot;
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    bed_flush_ok(bed);
    warm(bed, "a");
    uint64_t hits = bed_stats(bed).row_cache_hits;
    assert_string_equal(bed_get_with(bed, &read, "a"), "1");
    assert_int_equal(bed_stats(bed).row_cache_hits, hits);
    assert_string_equal(get_row(bed, "a"), "2");
    varve_snapshot_release(bed->db, snapshot);
}

/* A compaction may have dropped it, so the segments have the word for those that ask for the dead, too. */
static void test_get__expired(void **state)
{
    struct bed *bed = *state;
    struct varve_read dead = {.dead = 1};
    uint64_t expire_ms = varve_now_ms(bed->db) + 60 * 1000;

    assert_int_equal(bed_put_bytes(bed, "a", varve_slice_str("1"), expire_ms), 0);
    assert_int_equal(bed_put(bed, "b", "stays"), 0);
    bed_flush_ok(bed);
    warm(bed, "a");
    assert_string_equal(get_row(bed, "a"), "1");
    bed_pass_us(bed, (uint64_t)61 * 1000 * 1000);
    assert_string_equal(bed_get(bed, "a"), "-");
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    assert_string_equal(bed_get_with(bed, &dead, "a"), "-");
    assert_int_equal(bed_stats(bed).row_cache_rows, 1);
}

static void test_get__a_pin_outlives_its_row(void **state)
{
    struct bed *bed = *state;
    struct varve_pin pin;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    warm(bed, "a");
    assert_int_equal(varve_get(bed->db, NULL, varve_slice_str("a"), &pin, &bed->err), 0);
    assert_int_equal(pin.kept, 1);
    assert_int_equal(bed_delete(bed, "a"), 0);
    bed_flush_ok(bed);
    while (rcu_pending())
        (void)rcu_reclaim();
    assert_true(varve_slice_equal(pin.value, varve_slice_str("1")));
    varve_pin_release(&pin);
}

static void test_get__a_damaged_row(void **state)
{
    struct bed *bed = *state;
    struct varve_pin pin;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    warm(bed, "a");
    assert_int_equal(varve_get(bed->db, NULL, varve_slice_str("a"), &pin, &bed->err), 0);
    *(uint8_t *)(uintptr_t)pin.value.data ^= 4;
    varve_pin_release(&pin);
    assert_int_equal(varve_get(bed->db, NULL, varve_slice_str("a"), &pin, &bed->err),
                     VARVE_ECORRUPT);
}

static void test_prefetch__changes_nothing(void **state)
{
    struct bed *bed = *state;
    struct varve_slice keys[] = {varve_slice_str("a"), varve_slice_str("b"), varve_slice_str("")};

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    varve_prefetch(bed->db, VARVE_TO_READ, keys, COUNT_OF(keys));
    warm(bed, "a");
    varve_prefetch(bed->db, VARVE_TO_READ, keys, COUNT_OF(keys));
    assert_string_equal(get_row(bed, "a"), "1");
}

static void test_open__sizes(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.row_cache_size_bytes = 64 * KIB - 1;
    assert_int_equal(bed_open(bed), VARVE_EINVAL);
    bed->options.row_cache_size_bytes = 0;
    bed_open_ok(bed);
    assert_int_equal(bed_stats(bed).row_cache_limit_bytes, 0);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "1");
}

#define ENGINE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offer__the_second_gets_in),
        cmocka_unit_test(test_offer__a_scan_leaves_nothing),
        cmocka_unit_test(test_offer__lengths),
        cmocka_unit_test(test_find__not_what_is_too_new),
        cmocka_unit_test(test_flush__what_it_knows_changes),
        cmocka_unit_test(test_offer__not_from_before_a_flush),
        cmocka_unit_test(test_room__what_is_read_stays),
        cmocka_unit_test(test_room__all_is_read),
        cmocka_unit_test(test_room__none_while_nothing_comes_back),
        cmocka_unit_test(test_memory__each_allocation_fails),
        ENGINE_TEST(test_get__overwrites_and_flushes),
        ENGINE_TEST(test_get__range_deletes),
        ENGINE_TEST(test_get__snapshots_pass_by),
        ENGINE_TEST(test_get__expired),
        ENGINE_TEST(test_get__a_pin_outlives_its_row),
        ENGINE_TEST(test_get__a_damaged_row),
        ENGINE_TEST(test_prefetch__changes_nothing),
        ENGINE_TEST(test_open__sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
