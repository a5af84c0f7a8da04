/* Every call to the disk fails, one after the other, in every way: wrong reads, promises that a power
 * cut would break and databases that do not come back are counted.
 *
 *     test_iofail [--all] [PATTERN]
 *
 * A script is run in three modes, which make nearly the same calls. Without --all each mode takes every
 * third one, in turn, so that together they come by all of them. PATTERN: the tests that it names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

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
    const char *path_suffix; /* NULL: all files */
};

static const struct sweep sweeps[] = {
    /* First those that the short script is run with as well. */
    {"EIO once, nothing done", EIO, FAULT_ONCE, FAULT_NOTHING_DONE, FAULT_ANY, ENDS_HEALED, NULL},
    {"EIO once, partly done", EIO, FAULT_ONCE, FAULT_PARTLY_DONE, FAULT_ANY, ENDS_HEALED, NULL},
    {"EIO once, all done", EIO, FAULT_ONCE, FAULT_ALL_DONE, FAULT_ANY, ENDS_HEALED, NULL},
    {"EIO for good", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_ANY, ENDS_CRASHED, NULL},
    {"EIO until it heals", EIO, FAULT_STICKY, FAULT_PARTLY_DONE, FAULT_ANY, ENDS_HEALED, NULL},
    {"ENOSPC until it heals", ENOSPC, FAULT_STICKY, FAULT_PARTLY_DONE, FAULT_WRITE, ENDS_HEALED,
     NULL},
    {"EDQUOT once, partly done", EDQUOT, FAULT_ONCE, FAULT_PARTLY_DONE, FAULT_WRITE, ENDS_HEALED,
     NULL},
    {"EFBIG for good", EFBIG, FAULT_STICKY, FAULT_PARTLY_DONE, FAULT_WRITE, ENDS_CRASHED, NULL},
    {"EMFILE until it heals", EMFILE, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_OPEN, ENDS_HEALED,
     NULL},
    {"EIO of a sync, then 0", EIO, FAULT_ONCE, FAULT_NOTHING_DONE, FAULT_SYNC, ENDS_HEALED, NULL},
    {"EIO of syncs until it heals", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_SYNC, ENDS_HEALED,
     NULL},
    {"EIO of directory syncs until it heals", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_SYNC_DIR,
     ENDS_HEALED, NULL},
    {"EIO of reads of segments, once", EIO, FAULT_ONCE, FAULT_PARTLY_DONE, FAULT_READ, ENDS_HEALED,
     ".seg"},
    {"EIO of reads of segments until it heals", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_READ,
     ENDS_HEALED, ".seg"},
    {"short reads of segments, once", EIO, FAULT_ONCE, FAULT_SHORT, FAULT_READ, ENDS_HEALED,
     ".seg"},
    {"short reads of segments until it heals", EIO, FAULT_STICKY, FAULT_SHORT, FAULT_READ,
     ENDS_HEALED, ".seg"},
    {"ENOSPC of segments until it heals", ENOSPC, FAULT_STICKY, FAULT_PARTLY_DONE, FAULT_WRITE,
     ENDS_HEALED, ".seg"},
    {"EDQUOT of segments until it heals", EDQUOT, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_ANY,
     ENDS_HEALED, ".seg"},
    {"EMFILE of segments until it heals", EMFILE, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_OPEN,
     ENDS_HEALED, ".seg"},
    {"EIO of syncs of segments, then 0", EIO, FAULT_ONCE, FAULT_NOTHING_DONE, FAULT_SYNC,
     ENDS_HEALED, ".seg"},
    {"EIO of removals until it heals", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_REMOVE,
     ENDS_HEALED, ".seg"},
};

#define SWEEPS_OF_FULL 5
#define FINDINGS_MAX 20 /* a test that has failed so often ends: more of the same tells nothing */

#define MODES 3

static uint64_t points;
static uint64_t images;
static uint64_t stride = MODES;

static void sweep_end(struct run *run, const struct sweep *sweep)
{
    if (sweep->ending == ENDS_CRASHED) {
        size_t from = run->promised;
        run_release(run);
        bed_crash(&run->bed, SIM_RANDOM, run->nth);
        run->promised = from;
    }
    run_recover(run);
}

/* Until no call is left to fail. Returns how many findings there were. */
static int sweep_all(const struct sweep *sweep, enum varve_durability durability,
                     const struct step *script)
{
    static struct run run;
    int wrong = 0;
    uint64_t fired = 1;

    for (uint64_t nth = 1 + (uint64_t)durability % stride; fired > 0 && wrong < FINDINGS_MAX;
         nth += stride) {
        run_init(&run, sweep->name, nth, durability, script);
        fault_env_plan(run.bed.fault, (struct fault_plan){.op = sweep->op,
                                                          .nth = nth,
                                                          .os_errno = sweep->os_errno,
                                                          .mode = sweep->mode,
                                                          .effect = sweep->effect,
                                                          .path_suffix = sweep->path_suffix});
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

static void sweep_mode(enum varve_durability durability, const struct step *script, size_t count)
{
    int wrong = 0;

    for (size_t i = 0; i < count && wrong < FINDINGS_MAX; i++) {
        int found = sweep_all(&sweeps[i], durability, script);
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
    sweep_mode(VARVE_ALWAYS, workload_plain, COUNT_OF(sweeps));
}

static void test_iofail__everysec(void **state)
{
    (void)state;
    sweep_mode(VARVE_EVERYSEC, workload_plain, COUNT_OF(sweeps));
}

static void test_iofail__no(void **state)
{
    (void)state;
    sweep_mode(VARVE_NO, workload_plain, COUNT_OF(sweeps));
}

static void test_iofail_levels__always(void **state)
{
    (void)state;
    sweep_mode(VARVE_ALWAYS, workload_levels, COUNT_OF(sweeps));
}

static void test_iofail_levels__everysec(void **state)
{
    (void)state;
    sweep_mode(VARVE_EVERYSEC, workload_levels, COUNT_OF(sweeps));
}

static void test_iofail_levels__no(void **state)
{
    (void)state;
    sweep_mode(VARVE_NO, workload_levels, COUNT_OF(sweeps));
}

static void test_iofail_full__everysec(void **state)
{
    (void)state;
    sweep_mode(VARVE_EVERYSEC, workload_full, SWEEPS_OF_FULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iofail__always),
        cmocka_unit_test(test_iofail__everysec),
        cmocka_unit_test(test_iofail__no),
        cmocka_unit_test(test_iofail_levels__always),
        cmocka_unit_test(test_iofail_levels__everysec),
        cmocka_unit_test(test_iofail_levels__no),
        cmocka_unit_test(test_iofail_full__everysec),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1 && strcmp(argv[1], "--all") == 0) {
        stride = 1;
        argc--;
        argv++;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
