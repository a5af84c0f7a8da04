/* What becomes of the memory of blocks that a merge made superfluous: it waits for new blocks, gives way to a smaller
 * cache, and goes back to the system by and by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bed.h"
#include "segment/block.h"

#define KEYS 2000
#define VALUE_BYTES ((size_t)4096)
#define MIB ((uint64_t)1024 * 1024)
#define CACHE_BYTES (16 * MIB)
#define LONG_KEYS 110
#define LONG_BYTES ((size_t)100 * 1000)
#define SLOW_TICK_US 500000
#define HALF_LIFE_TICKS 710

static void read_all(struct bed *bed)
{
    char key[32];

    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "k%06d", i);
        assert_string_not_equal(bed_get(bed, key), "-");
    }
}

/* All keys are read from blocks, then overwritten, and a merge takes the segments of the blocks away. */
static int set_up(void **state)
{
    static struct bed bed;

    bed_init(&bed, 1);
    bed.options.memtable_size_bytes = MIB;
    bed.options.block_cache_size_bytes = CACHE_BYTES;
    bed_open_ok(&bed);
    bed_fill(&bed, "k", KEYS, VALUE_BYTES);
    bed_flush_ok(&bed);
    read_all(&bed);
    bed_fill(&bed, "k", KEYS, VALUE_BYTES);
    bed_flush_ok(&bed);
    assert_int_equal(varve_compact(bed.db, &bed.err), 0);
    bed_run(&bed);
    assert_true(bed_stats(&bed).cache_spare_bytes >= 8 * MIB);
    *state = &bed;
    return 0;
}

static int tear_down(void **state)
{
    bed_deinit(*state);
    block_memory_trim(0);
    return mem_used_bytes() == 0 ? 0 : -1;
}

static void test_spare__waits_for_new_blocks(void **state)
{
    struct bed *bed = *state;
    struct varve_stats before = bed_stats(bed);

    read_all(bed);
    struct varve_stats after = bed_stats(bed);
    assert_true(after.cache_used_bytes >= before.cache_used_bytes + KEYS * VALUE_BYTES / 2);
    assert_true(after.cache_spare_bytes < before.cache_spare_bytes);
    assert_true(after.cache_held_bytes <= before.cache_held_bytes + MEM_HUGE_BYTES);
}

static void test_spare__gives_way_to_a_smaller_cache(void **state)
{
    struct bed *bed = *state;

    varve_set_cache_size(bed->db, CACHE_BYTES); /* it still has room */
    bed_run(bed);
    assert_true(bed_stats(bed).cache_spare_bytes >= 8 * MIB);
    varve_set_cache_size(bed->db, 3 * MIB);
    bed_run(bed);
    assert_true(bed_stats(bed).cache_spare_bytes <= 3 * MIB + MEM_HUGE_BYTES);
}

/* Those do not lie where blocks lie, and take room all the same. */
static void test_spare__gives_way_to_long_values(void **state)
{
    struct bed *bed = *state;
    char key[32];

    bed_fill(bed, "long", LONG_KEYS, LONG_BYTES);
    bed_flush_ok(bed);
    uint64_t before = bed_stats(bed).cache_spare_bytes;
    for (int i = 0; i < LONG_KEYS; i++) {
        snprintf(key, sizeof(key), "long%06d", i);
        assert_string_not_equal(bed_get(bed, key), "-");
    }
    bed_pass_us(bed, SLOW_TICK_US);
    bed_run(bed);
    struct varve_stats stats = bed_stats(bed);
    assert_true(stats.cache_used_bytes >= CACHE_BYTES / 2);
    assert_true(stats.cache_spare_bytes < before);
    assert_true(stats.cache_used_bytes + stats.pinned_bytes + stats.cache_spare_bytes <=
                stats.cache_limit_bytes + MEM_HUGE_BYTES);
}

static void test_spare__stays_while_something_is_written(void **state)
{
    struct bed *bed = *state;
    uint64_t before = bed_stats(bed).cache_spare_bytes;

    for (int i = 0; i < HALF_LIFE_TICKS; i++) {
        assert_int_equal(bed_put(bed, "k", "v"), 0);
        bed_pass_us(bed, SLOW_TICK_US);
    }
    assert_int_equal(bed_stats(bed).cache_spare_bytes, before);
}

static void test_spare__goes_by_and_by(void **state)
{
    struct bed *bed = *state;
    uint64_t before = bed_stats(bed).cache_spare_bytes;

    for (int i = 0; i < HALF_LIFE_TICKS; i++)
        bed_pass_us(bed, SLOW_TICK_US);
    uint64_t after = bed_stats(bed).cache_spare_bytes;
    assert_in_range(after, before / 2 - MEM_HUGE_BYTES, before / 2 + MEM_HUGE_BYTES);
    for (int i = 0; i < 5 * HALF_LIFE_TICKS; i++)
        bed_pass_us(bed, SLOW_TICK_US);
    assert_int_equal(bed_stats(bed).cache_spare_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_spare__waits_for_new_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_spare__gives_way_to_a_smaller_cache, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_spare__gives_way_to_long_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_spare__stays_while_something_is_written, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_spare__goes_by_and_by, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
