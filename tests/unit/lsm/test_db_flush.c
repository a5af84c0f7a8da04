#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bed.h"
#include "lsm/db.h"

#define SECOND_US ((uint64_t)1000000)
#define LAST (LEVELS_MAX - 1)

/* ---- flush ---- */

static void test_flush__all_that_is_in_memory(void **state)
{
    struct bed *bed = *state;

    for (int i = 0; i < 3; i++) { /* one active, two that wait */
        bed_fill(bed, "k", 4 + i, 100);
        if (i < 2)
            bed_swap(bed);
    }
    assert_int_equal(bed_stats(bed).memtables, 3);
    bed_flush_ok(bed);
    struct varve_stats stats = bed_stats(bed);
    assert_int_equal(stats.memtables, 1);
    assert_int_equal(stats.flushes_waiting, 0);
    assert_int_equal(stats.memtable_entries, 0);
    assert_int_equal(stats.flushes, 3);
    assert_true(stats.segment_bytes > 0);
    assert_int_equal(manifest_state(bed->db->manifest)->flushed_seq, bed->seq);
    assert_int_equal(bed_count(bed, "k"), 6);
}

/* Nothing to do is done at once, without a segment. */
static void test_flush__nothing(void **state)
{
    struct bed *bed = *state;

    bed_flush_ok(bed);
    bed_flush_ok(bed);
    assert_int_equal(bed_stats(bed).flushes, 0);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    bed_flush_ok(bed);
    assert_int_equal(bed_stats(bed).flushes, 1);
}

/* As many memtables wait as may: it goes on as soon as one is flushed. */
static void test_flush__of_a_full_set(void **state)
{
    struct bed *bed = *state;

    for (int i = 0; i < 4; i++) {
        bed_fill(bed, "k", 4, 100);
        if (i < 3)
            bed_swap(bed);
    }
    assert_int_equal(db_swap_memtable(bed->db), VARVE_EFULL);
    bed_flush_ok(bed);
    assert_int_equal(bed_stats(bed).flushes, 4);
}

static void test_flush__open_group(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_add(bed, "a", "1"), 0);
    assert_int_equal(varve_flush(bed->db, &bed->err), VARVE_EINVAL);
    assert_int_equal(varve_compact(bed->db, &bed->err), VARVE_EINVAL);
    assert_int_equal(varve_group_commit(bed->db, &bed->err), 0);
    bed_flush_ok(bed);
}

/* Who waits is told of a failure, and not kept; the next call does not wait for the pause. */
static void test_flush__failure_is_told(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_ANY,
                                                   .nth = 1,
                                                   .os_errno = EIO,
                                                   .mode = FAULT_STICKY,
                                                   .path_suffix = ".seg"});
    assert_int_equal(varve_flush(bed->db, &bed->err), VARVE_EIO);
    assert_non_null(strstr(bed->err.text, "flush: "));
    assert_non_null(strstr(bed->err.text, ".seg"));
    assert_int_equal(varve_compact(bed->db, &bed->err), VARVE_EIO);
    fault_env_heal(bed->fault);
    bed_flush_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "1");
}

/* A log that can't be made durable: writes are refused, and the flush says so instead of waiting. */
static void test_flush__log_fails(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC,
                                                   .nth = 1,
                                                   .os_errno = EIO,
                                                   .mode = FAULT_STICKY,
                                                   .path_suffix = ".wal"});
    assert_int_equal(varve_flush(bed->db, &bed->err), VARVE_EREADONLY);
    fault_env_heal(bed->fault);
    for (int i = 0; i < 30; i++)
        bed_pass_us(bed, SECOND_US / 10);
    bed_flush_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "1");
}

/* ---- compact ---- */

/* One run in the last level is left, of what lives. */
static void test_compact__one_run(void **state)
{
    struct bed *bed = *state;

    for (int i = 0; i < 5; i++) {
        bed_fill(bed, "k", 20, 200);
        bed_flush_only(bed);
    }
    for (int i = 0; i < 10; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%06d", i);
        assert_int_equal(bed_delete(bed, key), 0);
    }
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    struct varve_stats stats = bed_stats(bed);
    for (int i = 0; i < LAST; i++)
        assert_int_equal(stats.levels[i].runs, 0);
    assert_int_equal(stats.levels[LAST].runs, 1);
    assert_int_equal(bed_count(bed, "k"), 10);
    assert_true(stats.segment_bytes < 10 * 300 + 2000);
    assert_true(stats.compactions > 0);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0); /* nothing is left to do */
    assert_int_equal(bed_stats(bed).compaction_written_bytes, stats.compaction_written_bytes);
}

/* It fails before it has begun and while it goes on; the call ends, and the next one works. */
static void test_compact__failure_is_told(void **state)
{
    struct bed *bed = *state;

    bed_fill(bed, "k", 20, 200);
    bed_flush_only(bed);
    bed_fill(bed, "k", 20, 200);
    bed_flush_only(bed);
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_ANY,
                                                   .nth = 1,
                                                   .os_errno = EIO,
                                                   .mode = FAULT_STICKY,
                                                   .path_suffix = ".seg"});
    assert_int_equal(varve_compact(bed->db, &bed->err), VARVE_EIO);
    assert_non_null(strstr(bed->err.text, "compact: "));
    fault_env_heal(bed->fault);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    assert_int_equal(bed_stats(bed).levels[LAST].runs, 1);
    assert_int_equal(bed_count(bed, "k"), 20);
}

/* ---- figures ---- */

static uint64_t sum_segments(const struct varve_stats *stats, uint64_t *bytes)
{
    uint64_t count = 0;

    *bytes = 0;
    for (int i = 0; i < VARVE_LEVELS_MAX; i++) {
        count += stats->levels[i].segments;
        *bytes += stats->levels[i].bytes;
        assert_true(i == 0 || stats->levels[i].runs <= 1);
    }
    return count;
}

static void test_stats__levels_and_writes(void **state)
{
    struct bed *bed = *state;
    struct varve_stats stats = bed_stats(bed);
    uint64_t bytes;

    assert_int_equal(stats.health, VARVE_HEALTHY);
    assert_int_equal(stats.memtables, 1);
    assert_int_equal(sum_segments(&stats, &bytes), 0);
    bed_fill(bed, "k", 10, 100); /* keys of 7 */
    assert_int_equal(bed_stats(bed).user_bytes, 10 * 107);
    assert_int_equal(bed_stats(bed).memtable_entries, 10);
    assert_int_equal(bed_delete_range(bed, "x", "y"), 0);
    bed_flush_only(bed);
    stats = bed_stats(bed);
    assert_int_equal(sum_segments(&stats, &bytes), stats.levels[0].segments);
    assert_int_equal(bytes, stats.segment_bytes);
    assert_int_equal(stats.flush_bytes, stats.segment_bytes);
    assert_int_equal(stats.levels[0].written_bytes, stats.flush_bytes);
    assert_int_equal(stats.range_tombstones, 1);
    assert_true(stats.pinned_bytes > 0);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    stats = bed_stats(bed);
    assert_int_equal(stats.range_tombstones, 0);
    assert_int_equal(sum_segments(&stats, &bytes), stats.levels[LAST].segments);
    assert_int_equal(bytes, stats.segment_bytes);
    assert_int_equal(stats.compactions_running, 0);
    assert_int_equal(stats.levels[LAST].written_bytes + stats.levels[0].written_bytes,
                     stats.compaction_written_bytes + stats.flush_bytes);
}

/* Each lookup that reaches a level counts there once, one way or another. */
static void test_stats__lookups(void **state)
{
    struct bed *bed = *state;

    bed_fill(bed, "k", 10, 100);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    struct varve_stats before = bed_stats(bed);
    for (int i = 0; i < 10; i++) {
        assert_int_not_equal(strcmp(bed_get(bed, "k000005"), "-"), 0);
        assert_string_equal(bed_get(bed, "k000005x"), "-");
    }
    struct varve_level_stats now = bed_stats(bed).levels[LAST];
    const struct varve_level_stats *then = &before.levels[LAST];
    assert_int_equal(now.filter_true - then->filter_true, 10);
    assert_int_equal(now.filter_no - then->filter_no + now.filter_false - then->filter_false, 10);
    assert_int_equal(now.reads - then->reads, 10 + now.filter_false - then->filter_false);
}

static void test_stats__health_and_snapshots(void **state)
{
    struct bed *bed = *state;
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed->db);

    assert_int_equal(bed_stats(bed).snapshots, 1);
    varve_snapshot_release(bed->db, snapshot);
    assert_int_equal(bed_stats(bed).snapshots, 0);
    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_WRITE, .nth = 1, .os_errno = EIO, .path_suffix = ".wal"});
    assert_int_equal(bed_put(bed, "a", "1"), VARVE_EIO);
    assert_int_equal(bed_stats(bed).health, VARVE_FAILED);
    sim_clock_advance_us(bed->sim, SECOND_US);
    varve_tick(bed->db);
    assert_int_equal(bed_stats(bed).health, VARVE_HEALING);
    bed_run(bed);
    varve_tick(bed->db);
    assert_int_equal(bed_stats(bed).health, VARVE_HEALTHY);
    assert_int_equal(bed_stats(bed).heals, 1);
    assert_int_equal(bed_stats(bed).wal_failures, 1);
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_flush__all_that_is_in_memory),
        WITH_BED(test_flush__nothing),
        WITH_BED(test_flush__of_a_full_set),
        WITH_BED(test_flush__open_group),
        WITH_BED(test_flush__failure_is_told),
        WITH_BED(test_flush__log_fails),
        WITH_BED(test_compact__one_run),
        WITH_BED(test_compact__failure_is_told),
        WITH_BED(test_stats__levels_and_writes),
        WITH_BED(test_stats__lookups),
        WITH_BED(test_stats__health_and_snapshots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
