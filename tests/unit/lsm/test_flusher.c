#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

#define SECOND_US ((uint64_t)1000000)

static uint64_t flushed(struct bed *bed)
{
    uint64_t in_manifest = manifest_state(bed->db->manifest)->flushed_seq;

    rcu_enter();
    uint64_t in_view = view_current(&bed->db->view)->version->flushed_seq;
    rcu_leave();
    assert_int_equal(in_view, in_manifest);
    return in_view;
}

static size_t waiting(struct bed *bed)
{
    return (size_t)bed_stats(bed).flushes_waiting;
}

/* All that is queued but the sync of the log. */
static void run_but_sync(struct bed *bed)
{
    for (size_t ran = 1; ran > 0;)
        ran = bed_run_class(bed, VARVE_JOB_FLUSH) + bed_run_class(bed, VARVE_JOB_MAINTENANCE) +
              bed_run_class(bed, VARVE_JOB_RECLAIM) + bed_run_class(bed, VARVE_JOB_COMPACTION);
}

/* ---- steps ---- */

static void test_flush__oldest_first_one_at_a_time(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_swap(bed);
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    assert_int_equal(bed_delete(bed, "b"), 0);
    bed_swap(bed);
    assert_int_equal(bed_put(bed, "a", "3"), 0);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_FLUSH), 1);
    bed_run_class(bed, VARVE_JOB_SYNC);
    bed_run_class(bed, VARVE_JOB_MAINTENANCE);
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_FLUSH), 1);
    assert_int_equal(flushed(bed), 0);
    bed_run_class(bed, VARVE_JOB_MAINTENANCE);
    assert_int_equal(flushed(bed), 1);
    assert_int_equal(waiting(bed), 1);
    assert_string_equal(bed_get(bed, "a"), "3");
    bed_run(bed);
    assert_int_equal(flushed(bed), 3);
    assert_int_equal(waiting(bed), 0);
    assert_int_equal(bed_stats(bed).flushes, 2);
    assert_string_equal(bed_get(bed, "a"), "3");
    assert_string_equal(bed_get(bed, "b"), "-");
}

/* A memtable of nothing but records that were taken back leaves no segment, and is done with. */
static void test_flush__empty_memtable(void **state)
{
    struct bed *bed = *state;

    bed_swap(bed);
    bed_run(bed);
    assert_int_equal(waiting(bed), 0);
    assert_int_equal(bed_files_with(bed, ".seg"), 0);
}

/* ---- the log comes first ---- */

static void test_install__waits_for_the_log(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_swap(bed);
    for (int i = 0; i < 5; i++) { /* ticks as they please: the sync has not run */
        run_but_sync(bed);
        sim_clock_advance_us(bed->sim, SECOND_US);
        varve_tick(bed->db);
        assert_int_equal(flushed(bed), 0);
        assert_true(step_waiting(bed->stepper, VARVE_JOB_SYNC) > 0);
    }
    assert_string_equal(bed_get(bed, "a"), "1");
    bed_run_class(bed, VARVE_JOB_SYNC);
    varve_tick(bed->db);
    run_but_sync(bed);
    assert_int_equal(flushed(bed), 1);
    assert_string_equal(bed_get(bed, "a"), "1");
}

/* The install needs it, and the start of the build asks for it, in every mode. */
static void test_install__asks_for_the_sync(void **state)
{
    struct bed *bed = *state;

    varve_set_durability(bed->db, VARVE_NO);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_SYNC), 0);
    bed_swap(bed);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(bed_run_class(bed, VARVE_JOB_FLUSH), 1);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_SYNC), 1);
    bed_run(bed);
    varve_tick(bed->db);
    bed_run(bed);
    assert_int_equal(flushed(bed), 1);
}

/* The sync fails: nothing is installed before the log healed, and no power cut finds more in segments than
 * was durable. */
static void test_install__waits_for_healing(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    bed_swap(bed);
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC,
                                                   .nth = 1,
                                                   .os_errno = EIO,
                                                   .mode = FAULT_STICKY,
                                                   .path_suffix = ".wal"});
    for (int i = 0; i < 20; i++) {
        bed_pass_us(bed, SECOND_US / 10);
        assert_int_equal(flushed(bed), 0);
    }
    assert_true(fault_env_fired(bed->fault) > 0);
    assert_int_equal(varve_writable(bed->db, NULL), VARVE_EREADONLY);
    fault_env_heal(bed->fault);
    for (int i = 0; i < 100 && flushed(bed) == 0; i++)
        bed_pass_us(bed, SECOND_US / 10);
    assert_int_equal(flushed(bed), 2);
    assert_int_equal(varve_writable(bed->db, NULL), 0);
    bed_crash(bed, SIM_ALL_LOST, 1);
    bed_open_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "2");
}

/* ---- failures ---- */

static const int errnos[] = {EIO, ENOSPC};

/* Whatever call of the build fails: the memtable stays, the failed outputs go, and the next try comes by
 * itself, not before its time. */
static void build_with_failure(uint64_t nth, int os_errno, uint64_t *fired)
{
    struct bed bed;

    bed_init(&bed, nth);
    bed_open_ok(&bed);
    bed_fill(&bed, "k", 30, 1000);
    bed_run(&bed);
    bed_swap(&bed);
    fault_env_plan(bed.fault,
                   (struct fault_plan){
                       .op = FAULT_ANY, .nth = nth, .os_errno = os_errno, .path_suffix = ".seg"});
    assert_int_equal(bed_run_class(&bed, VARVE_JOB_FLUSH), 1);
    *fired = fault_env_fired(bed.fault);
    fault_env_heal(bed.fault);
    if (*fired > 0 && bed_stats(&bed).background_failures > 0) {
        varve_tick(bed.db);
        assert_int_equal(step_waiting(bed.stepper, VARVE_JOB_FLUSH), 0);
        bed_run(&bed);
        assert_int_equal(waiting(&bed), 1);
        assert_int_equal(flushed(&bed), 0);
        assert_int_not_equal(strcmp(bed_get(&bed, "k000007"), "-"), 0);
        assert_non_null(strstr(bed.log, "a flush failed"));
    }
    for (int i = 0; i < 10; i++)
        bed_pass_us(&bed, SECOND_US / 10);
    assert_int_equal(waiting(&bed), 0);
    assert_int_equal(flushed(&bed), 30);
    assert_int_equal(bed_count(&bed, "k"), 30);
    assert_int_equal(bed_files_with(&bed, ".seg"),
                     bed_stats(&bed).levels[0].segments +
                         bed_stats(&bed).levels[LEVELS_MAX - 1].segments);
    bed_deinit(&bed);
}

static void test_build__tried_again_after_any_failure(void **state)
{
    (void)state;
    for (size_t e = 0; e < COUNT_OF(errnos); e++) {
        uint64_t fired = 1;
        uint64_t nth = 1;
        for (; fired > 0; nth++)
            build_with_failure(nth, errnos[e], &fired);
        assert_true(nth > 5);
    }
}

/* An edit that failed may have named the segments: they stay, and the very same ones are installed. */
static void install_with_failure(uint64_t nth, int os_errno, enum fault_effect effect,
                                 uint64_t *fired)
{
    struct bed bed;
    struct bed_names before;

    bed_init(&bed, nth);
    bed_open_ok(&bed);
    bed_fill(&bed, "k", 30, 1000);
    bed_run(&bed);
    bed_swap(&bed);
    assert_int_equal(bed_run_class(&bed, VARVE_JOB_FLUSH), 1);
    bed_list(&bed, &before);
    const char *built = bed_find(&before, "", ".seg");
    assert_non_null(built);
    fault_env_plan(
        bed.fault,
        (struct fault_plan){.op = FAULT_ANY, .nth = nth, .os_errno = os_errno, .effect = effect});
    assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_MAINTENANCE), 1);
    *fired = fault_env_fired(bed.fault);
    fault_env_heal(bed.fault);
    assert_true(bed_has_file(&bed, built));
    assert_int_equal(bed_count(&bed, "k"), 30);
    for (int i = 0; i < 10; i++) { /* no compaction: it would replace the segments */
        sim_clock_advance_us(bed.sim, SECOND_US / 10);
        varve_tick(bed.db);
        bed_run_class(&bed, VARVE_JOB_SYNC);
        assert_int_equal(bed_run_class(&bed, VARVE_JOB_FLUSH), 0);
        bed_run_class(&bed, VARVE_JOB_MAINTENANCE);
    }
    assert_int_equal(flushed(&bed), 30);
    assert_int_equal(bed_stats(&bed).flushes, 1);
    assert_true(bed_has_file(&bed, built));
    bed_run(&bed);
    bed_crash(&bed, SIM_ALL_LOST, nth);
    bed_open_ok(&bed);
    assert_int_equal(bed_count(&bed, "k"), 30);
    assert_int_not_equal(strcmp(bed_get(&bed, "k000029"), "-"), 0);
    bed_deinit(&bed);
}

static void test_install__tried_again_with_the_same_segments(void **state)
{
    (void)state;
    for (size_t e = 0; e < COUNT_OF(errnos); e++)
        for (int effect = FAULT_NOTHING_DONE; effect <= FAULT_ALL_DONE; effect++) {
            uint64_t fired = 1;
            uint64_t nth = 1;
            for (; fired > 0; nth++)
                install_with_failure(nth, errnos[e], (enum fault_effect)effect, &fired);
            assert_true(nth > 2);
        }
}

/* The edit is in the manifest, and only memory for the view is missing. */
static void test_install__any_allocation_fails(void **state)
{
    int failed = 1;

    (void)state;
    for (uint64_t nth = 1; failed; nth++) {
        struct bed bed;
        bed_init(&bed, nth);
        bed_open_ok(&bed);
        bed_fill(&bed, "k", 5, 100);
        bed_run(&bed);
        bed_swap(&bed);
        assert_int_equal(bed_run_class(&bed, VARVE_JOB_FLUSH), 1);
        mem_fail_nth(nth, 0);
        assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_MAINTENANCE), 1);
        failed = (int)(mem_alloc_count() >= nth);
        mem_fail_nth(0, 0);
        for (int i = 0; i < 10; i++)
            bed_pass_us(&bed, SECOND_US / 10);
        assert_int_equal(flushed(&bed), 5);
        assert_int_equal(bed_count(&bed, "k"), 5);
        bed_close_ok(&bed);
        bed_open_ok(&bed);
        assert_int_equal(bed_count(&bed, "k"), 5);
        bed_deinit(&bed);
    }
}

/* ---- snapshots ---- */

/* While a sync is in doubt, readers see less than what was built: the flush is built anew for them. */
static void test_install__snapshot_since_the_build(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "old"), 0);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "a", "new"), 0);
    bed_swap(bed);
    assert_int_equal(bed_run_class(bed, VARVE_JOB_FLUSH), 1); /* "old" is dropped */
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(fault_env_fired(bed->fault), 1);
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed->db);
    struct varve_read read = {.snapshot = snapshot};
    assert_int_equal(varve_snapshot_seq(snapshot), 1);
    for (int i = 0; i < 100 && flushed(bed) < 2; i++)
        bed_pass_us(bed, SECOND_US / 10);
    assert_int_equal(flushed(bed), 2);
    assert_string_equal(bed_get_with(bed, &read, "a"), "old");
    assert_string_equal(bed_get(bed, "a"), "new");
    varve_snapshot_release(bed->db, snapshot);
}

/* One that sees all that was built changes nothing. */
static void test_install__snapshot_of_everything(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_run(bed);
    bed_swap(bed);
    assert_int_equal(bed_run_class(bed, VARVE_JOB_FLUSH), 1);
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed->db);
    bed_run(bed);
    assert_int_equal(flushed(bed), 1);
    varve_snapshot_release(bed->db, snapshot);
}

/* ---- range tombstones ---- */

/* One that covers segments is flushed after a second, one that covers nothing waits for its memtable. */
static void test_range__flushed_when_it_covers_segments(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    bed_run(bed);
    assert_int_equal(bed_delete_range(bed, "x", "y"), 0);
    for (int i = 0; i < 30; i++)
        bed_pass_us(bed, SECOND_US / 10);
    assert_int_equal(flushed(bed), 1);
    assert_int_equal(bed_delete_range(bed, "a", "b"), 0);
    bed_pass_us(bed, SECOND_US / 10);
    bed_pass_us(bed, SECOND_US / 10);
    assert_int_equal(flushed(bed), 3);
    assert_string_equal(bed_get(bed, "a"), "-");
}

/* A range tombstone is due and as many memtables wait as may: what waits is flushed all the same. */
static void test_range__due_while_memtables_are_full(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.memtables_max = 2;
    bed_open_ok(bed);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    bed_run(bed);
    assert_int_equal(bed_delete_range(bed, "a", "b"), 0);
    bed_run(bed);
    bed_swap(bed);
    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_OPEN, .nth = 1, .os_errno = EIO, .path_suffix = ".seg"});
    bed_run(bed);
    assert_int_equal(fault_env_fired(bed->fault), 1);
    assert_int_equal(bed_delete_range(bed, "a", "b"), 0);
    sim_clock_advance_us(bed->sim, 2 * SECOND_US);
    varve_tick(bed->db);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_FLUSH), 1);
    for (int i = 0; i < 30; i++)
        bed_pass_us(bed, SECOND_US / 10);
    assert_int_equal(waiting(bed), 0);
    assert_true(flushed(bed) >= 2);
}

/* ---- closing ---- */

/* Whatever step a flush is in when the database is closed, the log has what it did not finish. */
static void test_close__in_every_step(void **state)
{
    (void)state;
    for (int steps = 0; steps < 5; steps++) {
        struct bed bed;
        bed_init(&bed, 3);
        bed_open_ok(&bed);
        bed_fill(&bed, "k", 10, 100);
        bed_swap(&bed);
        for (int i = 0; i < steps; i++)
            if (!step_run_class(bed.stepper, VARVE_JOB_FLUSH) &&
                !step_run_class(bed.stepper, VARVE_JOB_SYNC))
                step_run_class(bed.stepper, VARVE_JOB_MAINTENANCE);
        bed_close_ok(&bed);
        bed_open_ok(&bed);
        assert_int_equal(bed_count(&bed, "k"), 10);
        bed_run(&bed);
        bed_flush_ok(&bed);
        bed_run(&bed);
        assert_int_equal(bed_files_with(&bed, ".seg"), 1);
        assert_int_equal(bed_count(&bed, "k"), 10);
        bed_deinit(&bed);
    }
}

/* WAL files of which everything is in segments go with the same edit. */
static void test_install__drops_log_files(void **state)
{
    struct bed *bed = *state;

    for (int i = 0; i < 10; i++) {
        bed_fill(bed, "k", 4, 1000); /* a file of 4 KiB */
        bed_run(bed);
    }
    assert_true(bed_stats(bed).wal_files > 8);
    bed_flush_ok(bed);
    bed_run(bed);
    assert_true(bed_stats(bed).wal_files <= 2);
    assert_true(manifest_state(bed->db->manifest)->wal_count <= 2);
    bed_crash(bed, SIM_ALL_LOST, 1);
    bed_open_ok(bed);
    assert_int_equal(bed_stats(bed).memtable_entries, 0); /* not applied again */
    assert_int_equal(bed_count(bed, "k"), 4);
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_flush__oldest_first_one_at_a_time),
        WITH_BED(test_flush__empty_memtable),
        WITH_BED(test_install__waits_for_the_log),
        WITH_BED(test_install__asks_for_the_sync),
        WITH_BED(test_install__waits_for_healing),
        cmocka_unit_test(test_build__tried_again_after_any_failure),
        cmocka_unit_test(test_install__tried_again_with_the_same_segments),
        cmocka_unit_test(test_install__any_allocation_fails),
        WITH_BED(test_install__snapshot_since_the_build),
        WITH_BED(test_install__snapshot_of_everything),
        WITH_BED(test_range__flushed_when_it_covers_segments),
        WITH_BED(test_range__due_while_memtables_are_full),
        cmocka_unit_test(test_close__in_every_step),
        WITH_BED(test_install__drops_log_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
