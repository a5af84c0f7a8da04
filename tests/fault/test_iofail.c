/* Every call to the disk fails, one after the other, in every way: wrong reads, promises that a power
 * cut would break and databases that do not come back are counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "workload.h"

enum ending {
    ENDS_HEALED,  /* the faults end, and the database goes on */
    ENDS_CRASHED, /* they never do: the power is cut, and the disk is another one */
};

struct sweep {
    const char *name;
    int os_errno;
    enum fault_mode mode;
    enum fault_effect effect;
    enum fault_op op;
    enum ending ending;
};

static const struct sweep sweeps[] = {
    {"EIO once, nothing done", EIO, FAULT_ONCE, FAULT_NOTHING_DONE, FAULT_ANY, ENDS_HEALED},
    {"EIO once, partly done", EIO, FAULT_ONCE, FAULT_PARTLY_DONE, FAULT_ANY, ENDS_HEALED},
    {"EIO once, all done", EIO, FAULT_ONCE, FAULT_ALL_DONE, FAULT_ANY, ENDS_HEALED},
    {"EIO for good", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_ANY, ENDS_CRASHED},
    {"EIO until it heals", EIO, FAULT_STICKY, FAULT_PARTLY_DONE, FAULT_ANY, ENDS_HEALED},
    {"ENOSPC until it heals", ENOSPC, FAULT_STICKY, FAULT_PARTLY_DONE, FAULT_WRITE, ENDS_HEALED},
    {"EDQUOT once, partly done", EDQUOT, FAULT_ONCE, FAULT_PARTLY_DONE, FAULT_WRITE, ENDS_HEALED},
    {"EFBIG for good", EFBIG, FAULT_STICKY, FAULT_PARTLY_DONE, FAULT_WRITE, ENDS_CRASHED},
    {"EMFILE until it heals", EMFILE, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_OPEN, ENDS_HEALED},
    {"EIO of a sync, then 0", EIO, FAULT_ONCE, FAULT_NOTHING_DONE, FAULT_SYNC, ENDS_HEALED},
    {"EIO of syncs until it heals", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_SYNC, ENDS_HEALED},
    {"EIO of directory syncs until it heals", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_SYNC_DIR,
     ENDS_HEALED},
};

static uint64_t points;
static uint64_t images;

static void sweep_end(struct run *run, const struct sweep *sweep)
{
    if (sweep->ending == ENDS_CRASHED) {
        size_t from = run->promised;
        bed_crash(&run->bed, SIM_RANDOM, run->nth);
        run->promised = from;
    }
    run_recover(run);
}

/* Until no call is left to fail. Returns how many findings there were. */
static int sweep_all(const struct sweep *sweep, enum varve_durability durability)
{
    static struct run run;
    int wrong = 0;
    uint64_t fired = 1;

    for (uint64_t nth = 1; fired > 0; nth++) {
        run_init(&run, sweep->name, nth, durability, workload_plain);
        fault_env_plan(run.bed.fault, (struct fault_plan){.op = sweep->op,
                                                          .nth = nth,
                                                          .os_errno = sweep->os_errno,
                                                          .mode = sweep->mode,
                                                          .effect = sweep->effect});
        run_script(&run);
        fired = fault_env_fired(run.bed.fault);
        sweep_end(&run, sweep);
        points += fired > 0;
        images += run.images;
        wrong += run.wrong > 0;
        run_deinit(&run);
    }
    return wrong;
}

static void sweep_mode(enum varve_durability durability)
{
    int wrong = 0;

    for (size_t i = 0; i < COUNT_OF(sweeps); i++) {
        int found = sweep_all(&sweeps[i], durability);
        if (found > 0)
            printf("%s: %d fault points with findings\n", sweeps[i].name, found);
        wrong += found;
    }
    printf("%llu fault points, %llu crash images up to now\n", (unsigned long long)points,
           (unsigned long long)images);
    assert_int_equal(wrong, 0);
}

static void test_iofail__always(void **state)
{
    (void)state;
    sweep_mode(VARVE_ALWAYS);
}

static void test_iofail__everysec(void **state)
{
    (void)state;
    sweep_mode(VARVE_EVERYSEC);
}

static void test_iofail__no(void **state)
{
    (void)state;
    sweep_mode(VARVE_NO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iofail__always),
        cmocka_unit_test(test_iofail__everysec),
        cmocka_unit_test(test_iofail__no),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
