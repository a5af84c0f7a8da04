/* What must come free by itself: evicted blocks, and the old versions of a snapshot that is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "bed.h"
#include "lsm/db.h"

#define KIB ((size_t)1024)
#define KEYS 4000
#define SECOND_US ((uint64_t)1000000)

static void key_text(char text[16], int key)
{
    snprintf(text, 16, "k%06d", key);
}

/* Values that do not compress. */
static void put_all(struct bed *bed, int version, int step)
{
    uint8_t bytes[KIB];
    char text[16];

    for (int key = 0; key < KEYS; key += step) {
        struct rng rng;
        rng_init(&rng, (uint64_t)key * 100 + (uint64_t)version);
        for (size_t i = 0; i < sizeof(bytes); i += 8) {
            uint64_t word = rng_next(&rng);
            memcpy(bytes + i, &word, 8);
        }
        key_text(text, key);
        while (bed_put_bytes(bed, text, varve_slice(bytes, sizeof(bytes)), 0) == VARVE_EFULL)
            bed_pass_us(bed, SECOND_US);
        if (key % 64 == 0)
            bed_pass_us(bed, 1000);
    }
}

static void open_small(struct bed *bed)
{
    bed_init(bed, 1);
    bed->options.durability = VARVE_NO;
    bed->options.block_cache_size_bytes = 1024 * KIB;
    bed->options.memtable_size_bytes = 256 * KIB;
    bed->options.segment_size_bytes = 256 * KIB;
    bed->options.wal_size_bytes = 64 * KIB;
    bed_open_ok(bed);
}

static uint64_t hits(struct bed *bed)
{
    struct varve_stats stats;

    varve_stats(bed->db, &stats);
    return stats.cache_hits;
}

/* A pass over more than the cache holds evicts as much as it holds; only what was freed makes room. */
static void test_cache__takes_blocks_however_many_were_evicted(void **state)
{
    struct bed bed;
    char text[16];

    (void)state;
    open_small(&bed);
    put_all(&bed, 0, 1);
    assert_int_equal(varve_flush(bed.db, &bed.err), 0);
    bed_run(&bed);
    for (int key = 0; key < KEYS; key++) {
        struct varve_pin pin;
        key_text(text, key);
        for (int again = 0; again < 2; again++) {
            uint64_t before = hits(&bed);
            assert_int_equal(varve_get(bed.db, NULL, varve_slice_str(text), &pin, &bed.err), 0);
            varve_pin_release(&pin);
            if (again)
                assert_true(hits(&bed) > before);
        }
        bed_run(&bed);
    }
    bed_deinit(&bed);
}

static uint64_t segment_bytes(struct bed *bed)
{
    struct varve_stats stats;

    varve_stats(bed->db, &stats);
    return stats.segment_bytes;
}

static void pass_time(struct bed *bed)
{
    for (int i = 0; i < 20; i++)
        bed_pass_us(bed, SECOND_US);
}

/* What a snapshot held goes with it, without a write, also if the process that held it died. */
static void check_space_after(struct bed *bed, int crash)
{
    open_small(bed);
    put_all(bed, 0, 1);
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed->db);
    put_all(bed, 1, 2);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    assert_true(segment_bytes(bed) > KEYS * KIB / 10 * 14);
    pass_time(bed);
    assert_true(segment_bytes(bed) > KEYS * KIB / 10 * 14);
    varve_snapshot_release(bed->db, snapshot);
    if (crash) { /* before anything came of that */
        bed_crash(bed, SIM_KILL, 1);
        bed_open_ok(bed);
    }
    pass_time(bed);
    assert_true(segment_bytes(bed) < KEYS * KIB / 10 * 11);
    bed_deinit(bed);
}

static void test_snapshot__its_space_comes_back(void **state)
{
    struct bed bed;

    (void)state;
    check_space_after(&bed, 0);
}

static void test_snapshot__its_space_comes_back_after_a_crash(void **state)
{
    struct bed bed;

    (void)state;
    check_space_after(&bed, 1);
}

/* Range tombstones that only a snapshot kept in the last level hide more than they count for. */
static void test_snapshot__what_ranges_hid_comes_back(void **state)
{
    struct bed bed;

    (void)state;
    open_small(&bed);
    put_all(&bed, 0, 1);
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed.db);
    for (int key = 0; key < KEYS; key += 100) {
        char from[16];
        char to[16];
        key_text(from, key);
        key_text(to, key + 50);
        assert_int_equal(bed_delete_range(&bed, from, to), 0);
    }
    assert_int_equal(varve_compact(bed.db, &bed.err), 0);
    bed_run(&bed);
    assert_true(segment_bytes(&bed) > KEYS * KIB);
    varve_snapshot_release(bed.db, snapshot);
    pass_time(&bed);
    assert_true(segment_bytes(&bed) < KEYS * KIB / 10 * 6);
    bed_deinit(&bed);
}

/* Nearly all of a segment is covered by a range tombstone, one key is not: FLUSHALL leaves such a one. */
static void test_range__hides_most_of_a_segment(void **state)
{
    struct bed bed;

    (void)state;
    open_small(&bed);
    put_all(&bed, 0, 1);
    assert_int_equal(bed_put(&bed, "a", "stays"), 0);
    assert_int_equal(varve_compact(bed.db, &bed.err), 0);
    bed_run(&bed);
    assert_true(segment_bytes(&bed) > KEYS * KIB);
    assert_int_equal(bed_delete_range(&bed, "k", "l"), 0);
    pass_time(&bed);
    assert_true(segment_bytes(&bed) < 16 * KIB);
    assert_string_equal(bed_get(&bed, "a"), "stays");
    bed_deinit(&bed);
}

static uint64_t free_left;

static int free_as_told(struct varve_env *env, const char *path, uint64_t *bytes,
                        struct varve_err *err)
{
    (void)env;
    (void)path;
    (void)err;
    *bytes = free_left;
    return 0;
}

/* A disk that is full takes no puts, so a memtable of tombstones never fills: it is flushed all the same. */
static void test_full_disk__deletes_free_space(void **state)
{
    struct varve_env_ops ops;
    const struct varve_env_ops *before;
    struct bed bed;
    char text[16];

    (void)state;
    open_small(&bed);
    bed_close_ok(&bed);
    bed.options.min_free_bytes = 1024 * KIB;
    before = fault_as_env(bed.fault)->ops;
    ops = *before;
    ops.free_space = free_as_told;
    fault_as_env(bed.fault)->ops = &ops;
    free_left = 1024 * 1024 * KIB;
    bed_open_ok(&bed);
    put_all(&bed, 0, 1);
    assert_int_equal(varve_compact(bed.db, &bed.err), 0);
    free_left = 1000 * KIB;
    pass_time(&bed);
    assert_int_equal(bed_put(&bed, "k", "v"), VARVE_ENOSPC);
    for (int key = 0; key < KEYS; key++) {
        key_text(text, key);
        while (bed_delete(&bed, text) == VARVE_EFULL)
            bed_pass_us(&bed, SECOND_US / 10);
    }
    for (int i = 0; i < 200; i++)
        bed_pass_us(&bed, SECOND_US / 10);
    assert_true(segment_bytes(&bed) < 100 * KIB);
    free_left = 1024 * 1024 * KIB;
    pass_time(&bed);
    assert_int_equal(bed_put(&bed, "k", "v"), 0);
    bed_close_ok(&bed);
    fault_as_env(bed.fault)->ops = before;
    bed_deinit(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache__takes_blocks_however_many_were_evicted),
        cmocka_unit_test(test_snapshot__its_space_comes_back),
        cmocka_unit_test(test_snapshot__its_space_comes_back_after_a_crash),
        cmocka_unit_test(test_snapshot__what_ranges_hid_comes_back),
        cmocka_unit_test(test_range__hides_most_of_a_segment),
        cmocka_unit_test(test_full_disk__deletes_free_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
