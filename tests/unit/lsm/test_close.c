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

static void plan(struct bed *bed, enum fault_op op, enum fault_mode mode, int os_errno)
{
    fault_env_plan(bed->fault,
                   (struct fault_plan){.op = op, .nth = 1, .os_errno = os_errno, .mode = mode});
}

static void assert_after_power_cut(struct bed *bed, const char *want)
{
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_open_ok(bed);
    char *dump = bed_dump(bed, NULL);
    assert_string_equal(dump, want);
    mem_free(dump);
}

/* The job of healing waits in the executor while its database is closed with an open group, which is
 * refused: close must not leave before the job. */
static void test_close__waits_for_healing_though_its_commit_fails(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "durable"), 0);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "b", "doubtful"), 0);
    assert_int_equal(bed_add(bed, "c", "open"), 0);
    plan(bed, FAULT_SYNC, FAULT_ONCE, EIO);
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_SYNC), 1);
    sim_clock_advance_us(bed->sim, 1000000);
    varve_tick(bed->db);
    assert_true(step_waiting(bed->stepper, VARVE_JOB_MAINTENANCE) > 0);
    assert_int_equal(bed_close(bed), VARVE_EREADONLY);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_MAINTENANCE), 0);
    assert_after_power_cut(bed, "a=durable b=doubtful ");
}

/* The last group is refused by the disk; what was committed before it is made durable all the same. */
static void test_close__keeps_what_was_committed_before(void **state)
{
    struct bed *bed = *state;

    varve_set_durability(bed->db, VARVE_NO);
    assert_int_equal(bed_put(bed, "a", "committed"), 0);
    assert_int_equal(bed_add(bed, "b", "refused"), 0);
    plan(bed, FAULT_WRITE, FAULT_ONCE, ENOSPC);
    assert_int_equal(bed_close(bed), VARVE_ENOSPC);
    assert_non_null(strstr(bed->err.text, strerror(ENOSPC)));
    assert_after_power_cut(bed, "a=committed ");
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_close__waits_for_healing_though_its_commit_fails),
        WITH_BED(test_close__keeps_what_was_committed_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
