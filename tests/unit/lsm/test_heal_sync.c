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

/* A write of the log failed, and while that heals somebody waits for what was written before: so the file
 * that failed is synced beside the healing. The sync may still be at it when healing is done. */
static void write_failed(struct bed *bed)
{
    varve_set_durability(bed->db, VARVE_EVERYSEC);
    assert_int_equal(bed_put(bed, "a", "written"), 0);
    bed_run(bed);
    fault_env_plan(bed->fault,
                   (struct fault_plan){.op = FAULT_WRITE, .nth = 1, .os_errno = ENOSPC});
    assert_int_equal(bed_put(bed, "b", "refused"), VARVE_ENOSPC);
    sim_clock_advance_us(bed->sim, 600000);
    varve_tick(bed->db);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_MAINTENANCE), 1);
    wal_sync_start(&bed->db->wal.sync); /* as varve_wait_durable() does */
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_MAINTENANCE), 1);
}

static void assert_goes_on(struct bed *bed)
{
    bed_pass_us(bed, 100000);
    bed_pass_us(bed, 100000);
    assert_int_equal(varve_writable(bed->db, &bed->err), 0);
    assert_int_equal(varve_durable_seq(bed->db), 1);
    assert_int_equal(bed_put(bed, "c", "after"), 0);
    assert_int_equal(varve_close(bed->db, &bed->err), 0);
    bed->db = NULL;
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_open_ok(bed);
    char *dump = bed_dump(bed, NULL);
    assert_string_equal(dump, "a=written c=after ");
    mem_free(dump);
}

static void test_heal_sync__is_still_running(void **state)
{
    struct bed *bed = *state;

    write_failed(bed);
    varve_tick(bed->db);
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_goes_on(bed);
}

/* It fails: what it covered is in the new file, which is synced. */
static void test_heal_sync__fails_meanwhile(void **state)
{
    struct bed *bed = *state;

    write_failed(bed);
    varve_tick(bed->db);
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(bed->told_failed, 1);
    assert_goes_on(bed);
}

static int write_durable(struct bed *bed, const char *key, const char *value)
{
    struct varve_batch *batch = varve_batch_create();
    struct varve_slice k = varve_slice_str(key);
    struct varve_slice v = varve_slice_str(value);

    assert_non_null(batch);
    assert_int_equal(varve_batch_put(batch, &k, 1, &v, 1, 0), 0);
    int rc = varve_write_durable(bed->db, batch, &bed->seq, &bed->err);
    varve_batch_destroy(batch);
    return rc;
}

/* In every mode it needs no job, and nothing of it can be lost; if the sync fails the outcome is unknown, and
 * healing makes it durable all the same. */
static void test_heal_sync__write_durable(void **state)
{
    static const enum varve_durability modes[] = {VARVE_ALWAYS, VARVE_EVERYSEC, VARVE_NO};
    struct bed *bed = *state;

    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        bed_deinit(bed);
        bed_init(bed, i);
        bed->options.durability = modes[i];
        bed_open_ok(bed);
        assert_int_equal(write_durable(bed, "a", "durable"), 0);
        assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_SYNC), 0);
        assert_int_equal(bed->told_seq, 1);
        assert_int_equal(varve_durable_seq(bed->db), bed->seq);
        fault_env_plan(bed->fault,
                       (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
        assert_int_equal(write_durable(bed, "b", "unknown"), VARVE_EUNKNOWN);
        assert_int_equal(bed->seq, 2);
        assert_int_equal(write_durable(bed, "c", "refused"), VARVE_EREADONLY);
        assert_int_equal(varve_wait_durable(bed->db, 2, &bed->err), VARVE_EUNKNOWN);
        assert_int_equal(fault_env_matched(bed->fault), 1); /* not tried again */
        while (varve_writable(bed->db, NULL) != 0)
            bed_pass_us(bed, 100000);
        assert_int_equal(varve_wait_durable(bed->db, 2, &bed->err), 0);
        bed_crash(bed, SIM_ALL_LOST, 0);
        bed_open_ok(bed);
        char *dump = bed_dump(bed, NULL);
        assert_string_equal(dump, "a=durable b=unknown ");
        mem_free(dump);
    }
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_heal_sync__is_still_running),
        WITH_BED(test_heal_sync__fails_meanwhile),
        WITH_BED(test_heal_sync__write_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
