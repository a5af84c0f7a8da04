#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lsm/picker.h"
#include "lsm/stall.h"

#define MB ((uint64_t)1 << 20)
#define GB ((uint64_t)1 << 30)

static struct stall_load quiet(void)
{
    return (struct stall_load){.memtable_bytes = 64 * MB,
                               .memtable_soft_bytes = 128 * MB,
                               .memtable_hard_bytes = 256 * MB,
                               .level0_depth = 8,
                               .upper_bytes = GB - GB / 8,
                               .upper_target_bytes = GB,
                               .segments = 1000,
                               .segments_max = 4096};
}

static void test_pressure__causes(void **state)
{
    struct stall_load load = quiet();
    enum varve_stall_cause cause;

    (void)state;
    assert_int_equal(stall_pressure(&load, &cause), 0);
    assert_int_equal(cause, VARVE_STALL_NONE);
    load.memtable_bytes = 192 * MB;
    assert_int_equal(stall_pressure(&load, &cause), 500);
    assert_int_equal(cause, VARVE_STALL_MEMTABLES);
    load = quiet();
    load.level0_depth = 20;
    assert_true(stall_pressure(&load, &cause) > 0);
    assert_int_equal(cause, VARVE_STALL_LEVEL0);
    load = quiet();
    load.upper_bytes = 2 * GB;
    assert_true(stall_pressure(&load, &cause) > 0);
    assert_int_equal(cause, VARVE_STALL_SPACE);
    load = quiet();
    load.segments = 4096;
    assert_int_equal(stall_pressure(&load, &cause), 1000);
    assert_int_equal(cause, VARVE_STALL_SEGMENTS);
    load.level0_depth = 20; /* the worst one is named */
    assert_int_equal(stall_pressure(&load, &cause), 1000);
    assert_int_equal(cause, VARVE_STALL_SEGMENTS);
    memset(&load, 0, sizeof(load)); /* no limits are no pressure */
    load.memtable_bytes = load.segments = 1;
    assert_int_equal(stall_pressure(&load, &cause), 0);
}

/* A flush onto a small database is far above its target; that is not being behind. */
static void test_pressure__small_databases(void **state)
{
    struct stall_load load = quiet();
    enum varve_stall_cause cause;

    (void)state;
    load.upper_target_bytes = MB;
    load.upper_bytes = 65 * MB;
    assert_int_equal(stall_pressure(&load, &cause), 0);
    load.upper_bytes = 100 * GB;
    assert_int_equal(stall_pressure(&load, &cause), 1000);
}

/* What is in memory counts as what its flush will bring: the pressure does not jump when that ends. */
static void test_pressure__flushes(void **state)
{
    struct stall_load load = quiet();
    enum varve_stall_cause cause;

    (void)state;
    load.upper_bytes = GB + GB / 10;
    load.flush_dead_bytes = 32 * MB;
    load.memtables_dead_bytes = 40 * MB;
    uint32_t before = stall_pressure(&load, &cause);
    assert_in_range(before, 1, 999);
    load.upper_bytes += 32 * MB;
    load.memtables_dead_bytes -= 32 * MB;
    assert_int_equal(stall_pressure(&load, &cause), before);
    load.memtables_dead_bytes += MB;
    assert_true(stall_pressure(&load, &cause) > before);
    load.upper_bytes = GB; /* nothing is due yet, however much will come */
    load.memtables_dead_bytes = 100 * MB;
    assert_int_equal(stall_pressure(&load, &cause), 0);
}

/* What a merge has taken in is as good as gone, though it is what made the merge due. */
static void test_pressure__merges(void **state)
{
    struct stall_load load = quiet();
    enum varve_stall_cause cause;

    (void)state;
    load.upper_bytes = GB + GB / 4;
    assert_int_equal(stall_pressure(&load, &cause), 1000);
    load.relieved_bytes = GB / 8;
    assert_in_range(stall_pressure(&load, &cause), 500, 900);
    load.relieved_bytes = GB + GB / 4;
    assert_int_equal(stall_pressure(&load, &cause), 0);
}

/* The fewer data, the more flushes lie between the limits: a merge of all there is takes as long as several. */
static void test_pressure__floor(void **state)
{
    struct stall_load load = quiet();
    enum varve_stall_cause cause;

    (void)state;
    load.upper_target_bytes = 128 * MB;
    load.upper_bytes = 160 * MB;
    assert_int_equal(stall_pressure(&load, &cause), 1000);
    load.floor_gives_bytes = 100 * MB;
    assert_in_range(stall_pressure(&load, &cause), 200, 300);
}

/* Rates that disks have are reached before the space above the last level is a fifth of it, and a flush. */
static void test_pressure__keeps_the_space(void **state)
{
    struct stall_load load = quiet();
    enum varve_stall_cause cause;
    uint64_t last_level = 10 * GB;

    (void)state;
    load.upper_target_bytes = last_level / 100 * PICKER_UPPER_PERCENT;
    load.upper_bytes = load.upper_target_bytes; /* where merges begin */
    load.flush_dead_bytes = 40 * MB;
    assert_int_equal(stall_pressure(&load, &cause), 0);
    load.upper_bytes += load.upper_bytes / 50 + load.flush_dead_bytes;
    assert_true(stall_rate(stall_pressure(&load, &cause)) > 200 * MB);
    load.upper_bytes = last_level / 5 + load.flush_dead_bytes;
    assert_int_equal(cause, VARVE_STALL_SPACE);
    assert_true(stall_rate(stall_pressure(&load, &cause)) < 20 * MB);
}

/* More load is never less pressure, and it rises in small steps. */
static void test_pressure__monotone(void **state)
{
    struct stall_load load = quiet();
    enum varve_stall_cause cause;
    uint32_t before = 0;

    (void)state;
    for (load.memtable_bytes = 0; load.memtable_bytes < 300 * MB; load.memtable_bytes += MB / 8) {
        uint32_t now = stall_pressure(&load, &cause);
        assert_true(now >= before && now <= before + 1);
        before = now;
    }
    load = quiet();
    before = 0;
    for (load.upper_bytes = 0; load.upper_bytes < 6 * GB; load.upper_bytes += MB / 16) {
        uint32_t now = stall_pressure(&load, &cause);
        assert_true(now >= before && now <= before + 1);
        before = now;
    }
    assert_int_equal(before, 1000);
}

/* From step to step of the pressure the rate falls, by less than 1 %. */
static void test_rate__smooth(void **state)
{
    (void)state;
    assert_int_equal(stall_rate(0), 0);
    assert_true(stall_rate(1) > GB); /* nobody notices */
    for (uint32_t pressure = 2; pressure <= 1000; pressure++) {
        double step = (double)stall_rate(pressure) / (double)stall_rate(pressure - 1);
        assert_true(step < 1 && step > 0.985);
    }
    assert_int_equal(stall_rate(1000), MB);
    assert_int_equal(stall_rate(5000), MB); /* never a stop */
}

/* A writer that does as it is told writes at the rate. */
static void test_delay__keeps_the_rate(void **state)
{
    struct stall stall = {0};
    struct stall_load load = quiet();
    uint64_t now = 1000000, began = now, bytes = 0;

    (void)state;
    load.memtable_bytes = 192 * MB;
    stall_set_load(&stall, &load, now);
    for (int i = 0; i < 2000; i++) {
        uint64_t delay = stall_delay_us(&stall, now);
        assert_true(delay <= STALL_MAX_US);
        now += delay;
        if (delay == STALL_MAX_US)
            continue;
        stall_wrote(&stall, 100000, now);
        bytes += 100000;
        now += 10;
    }
    assert_true(bytes * 1000000 / (now - began) <= stall.rate_bytes * 11 / 10);
    assert_true(bytes * 1000000 / (now - began) >= stall.rate_bytes * 9 / 10);
    assert_true(stall.count[VARVE_STALL_MEMTABLES] > 0);
    assert_true(stall.us[VARVE_STALL_MEMTABLES] > 0);
    assert_int_equal(stall.count[VARVE_STALL_SPACE], 0);
    assert_true(stall.us_max > 0 && stall.us_max <= STALL_MAX_US);
}

/* However much was written at once: 10 ms a time, a second in all, and nothing once the load is gone. */
static void test_delay__bounded(void **state)
{
    struct stall stall = {0};
    struct stall_load load = quiet();

    (void)state;
    load.memtable_bytes = 256 * MB;
    stall_set_load(&stall, &load, 5000);
    stall_wrote(&stall, 512 * MB, 5000);
    assert_int_equal(stall_delay_us(&stall, 5000), STALL_MAX_US);
    assert_int_equal(stall_delay_us(&stall, 1004000), 1000);
    assert_int_equal(stall_delay_us(&stall, 1005000), 0);
    stall_wrote(&stall, 512 * MB, 1005000);
    load = quiet();
    stall_set_load(&stall, &load, 1005000);
    assert_int_equal(stall_delay_us(&stall, 1005000), 0);
    load.memtable_bytes = 256 * MB;
    stall_set_load(&stall, &load, 1005000);
    assert_int_equal(stall_delay_us(&stall, 1005000), 0);
}

/* What was written at a rate is not paid for at it once the pressure has changed. */
static void test_delay__at_the_rate_of_now(void **state)
{
    struct stall stall = {0};
    struct stall_load load = quiet();

    (void)state;
    load.memtable_bytes = 256 * MB;
    stall_set_load(&stall, &load, 1000);
    stall_wrote(&stall, MB / 2, 1000); /* half a second */
    load.memtable_bytes = 160 * MB;
    stall_set_load(&stall, &load, 1000);
    assert_int_equal(stall_delay_us(&stall, 1000), 500000 * MB / stall.rate_bytes);
    load.memtable_bytes = 256 * MB;
    stall_set_load(&stall, &load, 1000);
    assert_int_equal(stall_delay_us(&stall, 1000), STALL_MAX_US);
    assert_in_range(stall.free_at_us, 490000, 501000);
}

/* A round owes some milliseconds at the rates that disks have. */
static void test_round(void **state)
{
    struct stall stall = {0};
    struct stall_load load = quiet();

    (void)state;
    assert_true(stall_round_bytes(&stall) == UINT64_MAX);
    for (load.memtable_bytes = 130 * MB; load.memtable_bytes < 256 * MB;
         load.memtable_bytes += MB) {
        stall_set_load(&stall, &load, 1000);
        stall.free_at_us = 0;
        uint64_t bytes = stall_round_bytes(&stall);
        stall_wrote(&stall, bytes, 1000);
        assert_true(bytes >= 16384);
        assert_in_range(stall.free_at_us - 1000, 4990, bytes > 16384 ? 5000 : 16000);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(varve_stall_name(VARVE_STALL_MEMTABLES), "memtables");
    assert_string_equal(varve_stall_name(VARVE_STALL_SEGMENTS), "segments");
    assert_string_equal(varve_stall_name(VARVE_STALL_CAUSE_COUNT), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pressure__causes),
        cmocka_unit_test(test_pressure__small_databases),
        cmocka_unit_test(test_pressure__flushes),
        cmocka_unit_test(test_pressure__merges),
        cmocka_unit_test(test_pressure__floor),
        cmocka_unit_test(test_pressure__keeps_the_space),
        cmocka_unit_test(test_pressure__monotone),
        cmocka_unit_test(test_rate__smooth),
        cmocka_unit_test(test_delay__keeps_the_rate),
        cmocka_unit_test(test_delay__bounded),
        cmocka_unit_test(test_delay__at_the_rate_of_now),
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
