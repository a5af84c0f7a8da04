#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "fault_env.h"
#include "lsm/names.h"
#include "lsm/segment_set.h"
#include "sim_env.h"

#define KEYS 300
#define KEY_CAP 320
#define RANGES_MAX 12
#define PROBES 400

struct bed {
    struct sim_env *sim;
    struct fault_env *fault;
    struct varve_env *env;
    struct dir_id id;
    struct segment_set_config config;
    struct varve_err err;
    uint64_t next_file_no;
    struct rng rng;
    char keys[KEYS][KEY_CAP];
    size_t key_count;
    struct entry ranges[RANGES_MAX];
};

static uint64_t new_file_no(void *arg)
{
    struct bed *b = arg;

    return b->next_file_no++;
}

static void bed_init(struct bed *b, uint64_t seed)
{
    memset(b, 0, sizeof(*b));
    b->sim = sim_env_create(seed);
    b->fault = fault_env_create(sim_as_env(b->sim));
    b->env = fault_as_env(b->fault);
    rng_init(&b->rng, seed);
    assert_int_equal(b->env->ops->make_dir(b->env, "/db", &b->err), 0);
    assert_int_equal(b->env->ops->sync_dir(b->env, "/", &b->err), 0);
    b->next_file_no = 1;
    b->config = (struct segment_set_config){.dir = "/db",
                                            .segment_bytes = 4096,
                                            .cut_min_bytes = 512,
                                            .ranges = b->ranges,
                                            .new_file_no = new_file_no,
                                            .file_no_arg = b};
    b->config.writer.env = b->env;
    b->config.writer.id = &b->id;
    b->config.writer.block_size_bytes = 512;
    b->config.writer.bits_per_key = 10;
}

static void bed_deinit(struct bed *b)
{
    fault_env_destroy(b->fault);
    sim_env_destroy(b->sim);
}

static int count_name(void *arg, const char *name)
{
    (void)name;
    ++*(size_t *)arg;
    return 0;
}

static size_t file_count(struct bed *b)
{
    size_t count = 0;

    assert_int_equal(b->env->ops->list_dir(b->env, "/db", count_name, &count, &b->err), 0);
    return count;
}

static struct entry put_of(const char *key, uint64_t seq, struct varve_slice value)
{
    struct entry entry = {
        .seq = seq, .chunk = {.kind = CHUNK_PUT, .key = varve_slice_str(key), .value = value}};

    entry.chunk.crc = chunk_crc(&entry.chunk);
    return entry;
}

static struct entry range_of(const char *begin, const char *end, uint64_t seq)
{
    struct entry entry = put_of(begin, seq, varve_slice_str(end));

    entry.chunk.kind = CHUNK_RANGE_DELETE;
    entry.chunk.crc = chunk_crc(&entry.chunk);
    return entry;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;

    return entry_compare(left->chunk.key, left->seq, right->chunk.key, right->seq);
}

/* Short ones, and some that are the same in their first 256 bytes. */
static void make_keys(struct bed *b)
{
    for (size_t i = 0; i < KEYS; i++) {
        char *key = b->keys[i];
        if (rng_below(&b->rng, 8) == 0) {
            memset(key, 'k', 270);
            snprintf(key + 270, KEY_CAP - 270, "%03u", (unsigned)rng_below(&b->rng, 1000));
        } else {
            snprintf(key, KEY_CAP, "%c%04u", (int)('f' + rng_below(&b->rng, 10)),
                     (unsigned)rng_below(&b->rng, 10000));
        }
    }
    qsort(b->keys, KEYS, KEY_CAP, compare_texts);
    for (size_t i = 0; i < KEYS; i++)
        if (b->key_count == 0 || strcmp(b->keys[b->key_count - 1], b->keys[i]) != 0)
            memmove(b->keys[b->key_count++], b->keys[i], KEY_CAP);
}

static const char *any_bound(struct bed *b)
{
    static const char *const ends[] = {"a", "h", "k", "kkkkkkkk", "zz"};

    if (rng_below(&b->rng, 3) == 0)
        return ends[rng_below(&b->rng, COUNT_OF(ends))];
    return b->keys[rng_below(&b->rng, b->key_count)];
}

static void make_ranges(struct bed *b)
{
    size_t count = rng_below(&b->rng, RANGES_MAX + 1);

    while (b->config.range_count < count) {
        const char *one = any_bound(b);
        const char *other = any_bound(b);
        int order = strcmp(one, other);
        if (order == 0)
            continue;
        size_t at = b->config.range_count++;
        b->ranges[at] = range_of(order < 0 ? one : other, order < 0 ? other : one, 10000 + at);
    }
    qsort(b->ranges, count, sizeof(struct entry), compare_entries);
}

/* Up to three versions a key. */
static int add_all(struct bed *b, struct segment_set *set)
{
    static const uint8_t value[200];
    uint64_t seq = 5000;
    int rc = 0;

    for (size_t i = 0; i < b->key_count && rc == 0; i++)
        for (size_t n = 0; n <= i % 3 && rc == 0; n++) {
            struct entry entry = put_of(b->keys[i], seq--, varve_slice(value, 10 + i % 190));
            rc = segment_set_add(set, &entry, &b->err);
        }
    return rc;
}

static void check_entries(struct bed *b, struct segment *const *segments, size_t count)
{
    const struct segment_read read = {.wait = SEGMENT_WAIT};
    struct iter *iter = run_iter_create(segments, count, &read, 0);
    uint64_t seq = 5000;

    assert_non_null(iter);
    iter->ops->first(iter);
    for (size_t i = 0; i < b->key_count; i++)
        for (size_t n = 0; n <= i % 3; n++) {
            assert_true(iter->valid);
            assert_int_equal(iter->entry.seq, seq--);
            assert_true(varve_slice_equal(iter->entry.chunk.key, varve_slice_str(b->keys[i])));
            iter->ops->next(iter);
        }
    assert_false(iter->valid);
    assert_int_equal(iter->rc, 0);
    iter_destroy(iter);
}

static int covers(const struct entry *range, struct varve_slice key)
{
    return varve_slice_compare(range->chunk.key, key) <= 0 &&
           varve_slice_compare(key, range->chunk.value) < 0;
}

/* Is the key under the tombstone, by the segment in whose bounds it lies? */
static int covered_by(struct segment *const *segments, size_t count, struct varve_slice key,
                      uint64_t seq)
{
    int found = 0;

    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < segment_range_count(segments[s]); i++) {
            const struct properties *properties = segment_properties(segments[s]);
            struct entry piece;
            segment_range(segments[s], i, &piece);
            assert_int_equal(chunk_crc(&piece.chunk), piece.chunk.crc);
            if (piece.seq != seq || !covers(&piece, key))
                continue;
            assert_true(varve_slice_compare(segment_bound_slice(&properties->lower), key) <= 0);
            assert_true(segment_below_upper(key, segment_bound_slice(&properties->upper)));
            found++;
        }
    assert_true(found <= 1);
    return found;
}

static void check_cover(struct bed *b, struct segment *const *segments, size_t count,
                        struct varve_slice key)
{
    int inside = varve_slice_compare(b->config.lower, key) <= 0 &&
                 segment_below_upper(key, b->config.upper);

    for (size_t i = 0; i < b->config.range_count; i++) {
        int expected = inside && covers(&b->ranges[i], key);
        assert_int_equal(covered_by(segments, count, key, b->ranges[i].seq), expected);
    }
}

static void check_ranges(struct bed *b, struct segment *const *segments, size_t count)
{
    char probe[KEY_CAP + 2];

    for (size_t i = 0; i < PROBES; i++) {
        const char *bound = any_bound(b);
        size_t len = strlen(bound);
        memcpy(probe, bound, len + 1);
        check_cover(b, segments, count, varve_slice(probe, len));
        check_cover(b, segments, count, varve_slice(probe, len + 1));
        check_cover(b, segments, count, varve_slice(probe, len - 1));
        probe[len - 1]--;
        check_cover(b, segments, count, varve_slice(probe, len));
    }
}

static void check_bounds(struct segment *const *segments, size_t count)
{
    for (size_t i = 1; i < count; i++)
        assert_false(
            segment_below_upper(segment_bound_slice(&segment_properties(segments[i])->lower),
                                segment_bound_slice(&segment_properties(segments[i - 1])->upper)));
}

static int write_set(struct bed *b, struct segment_set **set, struct segment *const **segments,
                     size_t *count)
{
    int rc = segment_set_create(&b->config, set, &b->err);

    if (rc == 0)
        rc = add_all(b, *set);
    if (rc == 0)
        rc = segment_set_finish(*set, segments, count, &b->err);
    return rc;
}

static void test_set__random_runs(void **state)
{
    size_t most = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct bed b;
        struct segment_set *set = NULL;
        struct segment *const *segments = NULL;
        size_t count = 0;
        bed_init(&b, seed);
        make_keys(&b);
        make_ranges(&b);
        if (seed % 3 == 0)
            b.config.lower = varve_slice_str("e5");
        if (seed % 4 == 0)
            b.config.upper = varve_slice_str("q5");
        b.config.segment_bytes = 1024 + rng_below(&b.rng, 20000);
        assert_int_equal(write_set(&b, &set, &segments, &count), 0);
        assert_true(count > 0 && file_count(&b) == count);
        check_bounds(segments, count);
        check_entries(&b, segments, count);
        check_ranges(&b, segments, count);
        uint64_t bytes = 0;
        for (size_t i = 0; i < count; i++)
            bytes += segment_size_bytes(segments[i]);
        assert_int_equal(segment_set_written_bytes(set), bytes);
        most = count > most ? count : most;
        segment_set_destroy(set);
        assert_int_equal(file_count(&b), 0);
        bed_deinit(&b);
    }
    assert_true(most > 5);
}

static void test_set__nothing_is_no_file(void **state)
{
    struct bed b;
    struct segment_set *set = NULL;
    struct segment *const *segments = NULL;
    size_t count = 1;

    (void)state;
    bed_init(&b, 1);
    b.ranges[0] = range_of("a", "b", 7);
    b.config.range_count = 1;
    b.config.lower = varve_slice_str("b");
    assert_int_equal(write_set(&b, &set, &segments, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(file_count(&b), 0);
    segment_set_destroy(set);
    bed_deinit(&b);
}

static void test_set__ranges_alone_are_one_segment(void **state)
{
    struct bed b;
    struct segment_set *set = NULL;
    struct segment *const *segments = NULL;
    size_t count = 0;

    (void)state;
    bed_init(&b, 1);
    b.ranges[0] = range_of("a", "f", 7);
    b.ranges[1] = range_of("b", "z", 9);
    b.config.range_count = 2;
    b.config.lower = varve_slice_str("c");
    b.config.upper = varve_slice_str("m");
    assert_int_equal(write_set(&b, &set, &segments, &count), 0);
    assert_int_equal(count, 1);
    struct entry piece;
    assert_int_equal(segment_range_count(segments[0]), 2);
    segment_range(segments[0], 0, &piece);
    assert_int_equal(piece.seq, 9);
    assert_true(varve_slice_equal(piece.chunk.key, varve_slice_str("c")));
    assert_true(varve_slice_equal(piece.chunk.value, varve_slice_str("m")));
    segment_range(segments[0], 1, &piece);
    assert_true(varve_slice_equal(piece.chunk.value, varve_slice_str("f")));
    segment_set_keep(set);
    segment_set_destroy(set);
    assert_int_equal(file_count(&b), 1);
    bed_deinit(&b);
}

static void test_set__ends_at_cuts(void **state)
{
    const struct varve_slice cuts[] = {varve_slice_str("f"), varve_slice_str("g"),
                                       varve_slice_str("g00001"), varve_slice_str("i")};
    struct bed b;
    struct segment_set *set = NULL;
    struct segment *const *segments = NULL;
    size_t count = 0;

    (void)state;
    bed_init(&b, 3);
    make_keys(&b);
    b.config.segment_bytes = 1 << 20;
    b.config.cuts = cuts;
    b.config.cut_count = COUNT_OF(cuts);
    assert_int_equal(write_set(&b, &set, &segments, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(segment_properties(segments[1])->lower.bytes[0], 'g');
    assert_int_equal(segment_properties(segments[2])->lower.bytes[0], 'i');
    segment_set_destroy(set);
    bed_deinit(&b);
}

/* A bit of the file turns while it is synced. */
static void damage(void *arg)
{
    struct bed *b = arg;
    struct varve_env *env = sim_as_env(b->sim);
    struct varve_file *file = NULL;
    uint8_t byte = 0;
    size_t got = 0;

    if (env->ops->open(env, "/db/000001.seg", VARVE_OPEN_WRITE, &file, &b->err) != 0)
        return;
    sim_on_sync(b->sim, NULL, NULL);
    assert_int_equal(env->ops->read_at(env, file, &byte, 1, 100, &got, &b->err), 0);
    byte ^= 4;
    struct varve_slice part = varve_slice(&byte, 1);
    assert_int_equal(env->ops->write_at(env, file, &part, 1, 100, &b->err), 0);
    env->ops->close(env, file);
}

static void test_set__reads_back_what_it_wrote(void **state)
{
    struct bed b;
    struct segment_set *set = NULL;
    struct segment *const *segments = NULL;
    size_t count = 0;

    (void)state;
    bed_init(&b, 1);
    make_keys(&b);
    sim_on_sync(b.sim, damage, &b);
    assert_int_equal(write_set(&b, &set, &segments, &count), VARVE_ECORRUPT);
    assert_non_null(strstr(b.err.text, "000001.seg"));
    segment_set_destroy(set);
    assert_int_equal(file_count(&b), 0);
    bed_deinit(&b);
}

static void test_set__refuses_damaged_range(void **state)
{
    struct bed b;
    struct segment_set *set = NULL;

    (void)state;
    bed_init(&b, 1);
    b.ranges[0] = range_of("a", "f", 7);
    b.ranges[0].seq = 8;
    b.ranges[0].chunk.crc ^= 1;
    b.config.range_count = 1;
    assert_int_equal(segment_set_create(&b.config, &set, &b.err), VARVE_ECORRUPT);
    assert_null(set);
    bed_deinit(&b);
}

/* What is handed out survives a power cut. */
static void test_set__is_durable(void **state)
{
    struct bed b;
    struct segment_set *set = NULL;
    struct segment *const *segments = NULL;
    size_t count = 0;

    (void)state;
    bed_init(&b, 2);
    make_keys(&b);
    assert_int_equal(write_set(&b, &set, &segments, &count), 0);
    struct sim_env *image = sim_image(b.sim, sim_event_count(b.sim), SIM_ALL_LOST, 1);
    for (size_t i = 0; i < count; i++) {
        uint64_t file_no = segment_file_no(segments[i]);
        char *path = name_segment_path("/db", file_no);
        struct segment *segment = NULL;
        assert_int_equal(
            segment_open(sim_as_env(image), path, &b.id, file_no, NULL, &segment, &b.err), 0);
        assert_int_equal(segment_verify(segment, &b.err), 0);
        segment_unref(segment);
        mem_free(path);
    }
    sim_env_destroy(image);
    segment_set_destroy(set);
    bed_deinit(&b);
}

static void test_set__survives_every_failed_call(void **state)
{
    uint64_t fired = 1;

    (void)state;
    for (uint64_t nth = 1; fired != 0; nth++) {
        struct bed b;
        struct segment_set *set = NULL;
        struct segment *const *segments = NULL;
        size_t count = 0;
        bed_init(&b, 5);
        make_keys(&b);
        make_ranges(&b);
        fault_env_plan(b.fault, (struct fault_plan){.nth = nth, .os_errno = 5});
        int rc = write_set(&b, &set, &segments, &count);
        fired = fault_env_fired(b.fault);
        fault_env_heal(b.fault); /* a removal that fails leaves its file */
        assert_int_equal(rc != 0, fired != 0);
        assert_true(rc == 0 || (b.err.code == rc && segments == NULL && count == 0));
        segment_set_destroy(set);
        assert_int_equal(file_count(&b), 0);
        bed_deinit(&b);
    }
}

static void test_set__survives_every_failed_allocation(void **state)
{
    int rc = VARVE_ENOMEM;

    (void)state;
    for (uint64_t nth = 1; rc != 0; nth++) {
        struct bed b;
        struct segment_set *set = NULL;
        struct segment *const *segments = NULL;
        size_t count = 0;
        bed_init(&b, 5);
        make_keys(&b);
        make_ranges(&b);
        mem_fail_nth(nth, 0);
        rc = write_set(&b, &set, &segments, &count);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || (rc == VARVE_ENOMEM && b.err.code == rc));
        segment_set_destroy(set);
        assert_true(file_count(&b) == 0 || rc != 0);
        bed_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set__random_runs),
        cmocka_unit_test(test_set__nothing_is_no_file),
        cmocka_unit_test(test_set__ranges_alone_are_one_segment),
        cmocka_unit_test(test_set__ends_at_cuts),
        cmocka_unit_test(test_set__reads_back_what_it_wrote),
        cmocka_unit_test(test_set__refuses_damaged_range),
        cmocka_unit_test(test_set__is_durable),
        cmocka_unit_test(test_set__survives_every_failed_call),
        cmocka_unit_test(test_set__survives_every_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
