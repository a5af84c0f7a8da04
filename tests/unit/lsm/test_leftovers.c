#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

static size_t wal_count(struct bed *bed)
{
    return bed_files_with(bed, ".wal");
}

static size_t named_count(struct bed *bed)
{
    return manifest_state(bed->db->manifest)->wal_count;
}

/* An edit fails: the next one makes a new manifest. */
static void abandon_manifest(struct bed *bed)
{
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC,
                                                   .nth = 1,
                                                   .os_errno = EIO,
                                                   .path_suffix = "MANIFEST-000001"});
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    wal_pool_fill(&bed->db->wal.pool, UINT64_MAX); /* the edit that names a new file */
    bed_run(bed);
    assert_int_equal(fault_env_fired(bed->fault), 1);
}

/* An outage of a minute, in which each try to heal gets as far as `plan` lets it. The directory must
 * not grow with the tries. */
static void outage(struct bed *bed, struct fault_plan plan)
{
    assert_int_equal(bed_put(bed, "a", "durable"), 0);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "b", "doubtful"), 0);
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(bed->told_failed, 1);
    for (int i = 0; i < 120; i++) {
        fault_env_plan(bed->fault, plan);
        bed_pass_us(bed, 500000);
        assert_int_equal(varve_writable(bed->db, NULL), VARVE_EREADONLY);
    }
    assert_in_range(wal_count(bed), 1, 5);
    assert_in_range(named_count(bed), 1, 5);
    assert_in_range(bed_files_with(bed, "MANIFEST-"), 1, 2);
    fault_env_heal(bed->fault);
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 100000);
    assert_int_equal(wal_count(bed), named_count(bed));
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_open_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "durable");
    assert_string_equal(bed_get(bed, "b"), "doubtful");
}

/* The new file is made, but what healing writes into it cannot be synced. */
static void test_leftovers__healing_cannot_sync(void **state)
{
    outage(*state, (struct fault_plan){.op = FAULT_SYNC,
                                       .nth = 2,
                                       .os_errno = EIO,
                                       .mode = FAULT_STICKY,
                                       .path_suffix = ".wal"});
}

/* The new file is made, and then the disk is full. */
static void test_leftovers__healing_cannot_write(void **state)
{
    outage(*state, (struct fault_plan){.op = FAULT_WRITE,
                                       .nth = 2,
                                       .os_errno = ENOSPC,
                                       .mode = FAULT_STICKY,
                                       .effect = FAULT_PARTLY_DONE,
                                       .path_suffix = ".wal"});
}

/* All is there but the manifest's word. */
static void test_leftovers__healing_cannot_edit(void **state)
{
    abandon_manifest(*state);
    outage(*state, (struct fault_plan){.op = FAULT_RENAME,
                                       .nth = 1,
                                       .os_errno = EIO,
                                       .mode = FAULT_STICKY,
                                       .path_suffix = "CURRENT"});
}

/* The disk is full: a new manifest can't be written. */
static void test_leftovers__healing_cannot_write_a_manifest(void **state)
{
    abandon_manifest(*state);
    outage(*state, (struct fault_plan){.op = FAULT_WRITE,
                                       .nth = 1,
                                       .os_errno = ENOSPC,
                                       .mode = FAULT_STICKY,
                                       .effect = FAULT_PARTLY_DONE});
}

/* What healing left behind goes away, once the manifest is certain. */
static void test_leftovers__healing_removes_what_it_dropped(void **state)
{
    struct bed *bed = *state;
    static uint8_t value[3000];

    bed_run(bed);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(bed_put_bytes(bed, "a", varve_slice(value, sizeof(value)), 0), 0);
        (void)step_run_class(bed->stepper, VARVE_JOB_MAINTENANCE);
    }
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(bed->told_failed, 1);
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 100000);
    bed_run(bed);
    assert_int_equal(wal_count(bed), named_count(bed));
}

/* The manifest can't be written: files that are made ready meanwhile don't pile up. */
static void test_leftovers__the_pool_while_the_manifest_fails(void **state)
{
    struct bed *bed = *state;

    abandon_manifest(bed);
    /* ... and each new one fails. */
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_RENAME,
                                                   .nth = 1,
                                                   .os_errno = EIO,
                                                   .mode = FAULT_STICKY,
                                                   .path_suffix = "CURRENT"});
    for (int i = 0; i < 300; i++) {
        wal_pool_fill(&bed->db->wal.pool, bed->db->now_us);
        bed_pass_us(bed, 100000);
    }
    assert_int_equal(wal_pool_ready_count(&bed->db->wal.pool), 0);
    assert_in_range(wal_count(bed), 1, 3);
    assert_in_range(bed_files_with(bed, "MANIFEST-"), 1, 2);
    fault_env_heal(bed->fault);
    for (int i = 0; i < 30; i++) {
        wal_pool_fill(&bed->db->wal.pool, bed->db->now_us);
        bed_pass_us(bed, 100000);
    }
    assert_int_equal(wal_pool_ready_count(&bed->db->wal.pool), 1);
    bed_close_ok(bed);
    bed_open_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "1");
}

static void crash_and_get(struct bed *bed, enum sim_policy policy, uint64_t seed, const char *key,
                          const char *want)
{
    struct bed *image = mem_alloc(sizeof(*image));

    assert_non_null(image);
    bed_init(image, seed);
    bed_use_image(image, sim_image(bed->sim, sim_event_count(bed->sim), policy, seed));
    bed_open_ok(image);
    assert_string_equal(bed_get(image, key), want);
    bed_deinit(image);
    mem_free(image);
}

/* A log file is made ready, but from its nth call on the disk fails, and it can't be removed either. Its
 * size is then in doubt for good, if it was the sync that failed: who finds it must not write to it. */
static int leave_log_file(struct bed *bed, uint64_t nth)
{
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_ANY,
                                                   .nth = nth,
                                                   .os_errno = EIO,
                                                   .mode = FAULT_STICKY,
                                                   .path_suffix = "000003.wal"});
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    wal_pool_fill(&bed->db->wal.pool, UINT64_MAX);
    bed_run(bed);
    int fired = fault_env_fired(bed->fault) > 0;
    fault_env_heal(bed->fault);
    return fired;
}

static void test_leftovers__a_log_file_that_failed_is_not_written_again(void **state)
{
    struct bed *bed = *state;
    int fired = 1;

    for (uint64_t nth = 1; fired; nth++) {
        bed_deinit(bed);
        bed_init(bed, nth);
        bed_open_ok(bed);
        fired = leave_log_file(bed, nth);
        bed_close_ok(bed);
        bed_open_ok(bed);
        assert_int_equal(bed_put(bed, "a", "2"), 0);
        wal_pool_fill(&bed->db->wal.pool, UINT64_MAX);
        bed_run(bed);
        assert_int_equal(wal_pool_ready_count(&bed->db->wal.pool), 1);
        for (int policy = 0; policy < SIM_POLICY_COUNT; policy++)
            crash_and_get(bed, (enum sim_policy)policy, nth, "a", "2");
    }
}

/* A sync fails that was to make a new size durable, the log heals, and a flush drops the file: it has the size of one
 * that is written again, and must not be. */
static void test_leftovers__a_log_file_whose_sync_failed_is_not_written_again(void **state)
{
    struct bed *bed = *state;
    static uint8_t value[1000];

    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO, .path_suffix = ".wal"});
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(bed->db->wal.log->zeros_end, bed->options.wal_size_bytes);
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(bed->told_failed, 1);
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 100000);
    bed_flush_ok(bed);
    assert_int_equal(bed->db->wal.pool.reusable_count, 0);
    for (int i = 0; i < 12; i++) { /* more than a file */
        wal_pool_fill(&bed->db->wal.pool, UINT64_MAX);
        bed_run(bed);
        assert_int_equal(bed_put_bytes(bed, "b", varve_slice(value, sizeof(value)), 0), 0);
    }
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    bed_run(bed);
    for (int policy = 0; policy < SIM_POLICY_COUNT; policy++)
        crash_and_get(bed, (enum sim_policy)policy, 1, "a", "2");
}

/* Full log files are longer than their nominal size, and are written again all the same: after the first ones
 * the pool renames dead ones. */
static void test_leftovers__full_log_files_are_written_again(void **state)
{
    struct bed *bed = *state;
    uint64_t renames = fault_env_calls(bed->fault, FAULT_RENAME);

    bed->db->wal.pool.target = 3;
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 30; i++) { /* three log files */
            bed_fill(bed, "k", 1, 400);
            bed_run(bed);
        }
        bed_flush_ok(bed);
        bed_run(bed);
    }
    assert_true(fault_env_calls(bed->fault, FAULT_RENAME) >= renames + 5);
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_leftovers__healing_cannot_sync),
        WITH_BED(test_leftovers__healing_cannot_write),
        WITH_BED(test_leftovers__healing_cannot_write_a_manifest),
        WITH_BED(test_leftovers__healing_cannot_edit),
        WITH_BED(test_leftovers__healing_removes_what_it_dropped),
        WITH_BED(test_leftovers__the_pool_while_the_manifest_fails),
        WITH_BED(test_leftovers__a_log_file_that_failed_is_not_written_again),
        WITH_BED(test_leftovers__a_log_file_whose_sync_failed_is_not_written_again),
        WITH_BED(test_leftovers__full_log_files_are_written_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
