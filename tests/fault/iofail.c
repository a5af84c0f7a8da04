/* iofail - every call to the disk fails, one after the other, in every way: wrong reads, promises that a
 * power cut would break and databases that do not come back are findings.
 *
 *   iofail [--seed N] [--budget COUNT|TIME] [--only TEXT] [--nth N]
 *
 * A fault point is one call of one script in one mode, one error, and how long it lasts: once, for good
 * (until a power cut, and then another disk), or until it heals. Default: 10,000 points, spread evenly
 * over all that there are; a larger budget goes on with the next seed when all were tried. --only: of the
 * classes whose name, SCRIPT/MODE/KIND, contains the text; --nth: that point alone.
 *
 * What the engine cannot get, because env.h does not let it through, and where that is tested:
 * - A short write: write_at goes on with the rest, so what is left is an error after a part was written
 *   ("partly done" here; the loop itself is in unit/env/env_posix).
 * - EINTR: all calls but syncs try again. Here all of them fail with it, all the same.
 * - A short read before a file's end: read_at goes on. Here it is what a file that was cut looks like,
 *   and where the engine knows what it wrote, in segments, it must notice.
 * - ENOSPC, EDQUOT, EFBIG and EMFILE of calls that take neither room nor a handle. */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "points.h"

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

#define THREE_WAYS(name, os_errno, effect, op, suffix)                                             \
    {name ", once", os_errno, FAULT_ONCE, effect, op, ENDS_HEALED, suffix},                        \
        {name ", for good", os_errno, FAULT_STICKY, effect, op, ENDS_CRASHED, suffix},             \
    {                                                                                              \
        name ", until it heals", os_errno, FAULT_STICKY, effect, op, ENDS_HEALED, suffix           \
    }

static const struct sweep sweeps[] = {
    /* First those that the long script is run with as well. */
    {"EIO once, nothing done", EIO, FAULT_ONCE, FAULT_NOTHING_DONE, FAULT_ANY, ENDS_HEALED, NULL},
    {"EIO once, partly done", EIO, FAULT_ONCE, FAULT_PARTLY_DONE, FAULT_ANY, ENDS_HEALED, NULL},
    {"EIO once, all done", EIO, FAULT_ONCE, FAULT_ALL_DONE, FAULT_ANY, ENDS_HEALED, NULL},
    {"EIO for good", EIO, FAULT_STICKY, FAULT_NOTHING_DONE, FAULT_ANY, ENDS_CRASHED, NULL},
    {"EIO until it heals", EIO, FAULT_STICKY, FAULT_PARTLY_DONE, FAULT_ANY, ENDS_HEALED, NULL},
#define SWEEPS_OF_FULL 5
    THREE_WAYS("ENOSPC", ENOSPC, FAULT_PARTLY_DONE, FAULT_TAKES_ROOM, NULL),
    THREE_WAYS("EDQUOT", EDQUOT, FAULT_PARTLY_DONE, FAULT_TAKES_ROOM, NULL),
    THREE_WAYS("EFBIG of writes", EFBIG, FAULT_PARTLY_DONE, FAULT_WRITE, NULL),
    THREE_WAYS("EINTR", EINTR, FAULT_NOTHING_DONE, FAULT_ANY, NULL),
    THREE_WAYS("EMFILE", EMFILE, FAULT_NOTHING_DONE, FAULT_TAKES_HANDLE, NULL),
    THREE_WAYS("short write, then EIO", EIO, FAULT_PARTLY_DONE, FAULT_WRITE, NULL),
    THREE_WAYS("EIO of a sync, then 0", EIO, FAULT_NOTHING_DONE, FAULT_SYNC, NULL),
    THREE_WAYS("EIO of a directory's sync, then 0", EIO, FAULT_NOTHING_DONE, FAULT_SYNC_DIR, NULL),
    THREE_WAYS("EIO of removals", EIO, FAULT_NOTHING_DONE, FAULT_REMOVE, NULL),
    THREE_WAYS("EIO of reads of segments", EIO, FAULT_PARTLY_DONE, FAULT_READ, ".seg"),
    THREE_WAYS("short reads of segments", EIO, FAULT_SHORT, FAULT_READ, ".seg"),
    THREE_WAYS("ENOSPC of segments", ENOSPC, FAULT_PARTLY_DONE, FAULT_WRITE, ".seg"),
    THREE_WAYS("EDQUOT of segments", EDQUOT, FAULT_NOTHING_DONE, FAULT_ANY, ".seg"),
    THREE_WAYS("EMFILE of segments", EMFILE, FAULT_NOTHING_DONE, FAULT_OPEN, ".seg"),
    THREE_WAYS("EIO of syncs of segments, then 0", EIO, FAULT_NOTHING_DONE, FAULT_SYNC, ".seg"),
};

#define MODES 3
#define CLASSES (COUNT_OF(sweeps) * MODES * 2 + SWEEPS_OF_FULL)
#define POINTS_IN_CI 10000

static struct fault_class classes[CLASSES];

static void run_class_point(const struct fault_class *fault_class, struct point *point)
{
    const struct sweep *sweep = &sweeps[fault_class->sweep];
    static struct run run;

    run_init(&run, sweep->name, point->nth, point->seed, fault_class->durability,
             fault_class->steps);
    fault_env_plan(run.bed.fault, (struct fault_plan){.op = sweep->op,
                                                      .nth = point->nth,
                                                      .os_errno = sweep->os_errno,
                                                      .mode = sweep->mode,
                                                      .effect = sweep->effect,
                                                      .path_suffix = sweep->path_suffix});
    run_script(&run);
    point->calls = fault_env_matched(run.bed.fault);
    point->reached = fault_env_fired(run.bed.fault) > 0;
    if (sweep->ending == ENDS_CRASHED)
        run_crash(&run);
    run_recover(&run);
    point->wrong = run.wrong;
    point->images = run.images;
    run_deinit(&run);
    point->digest = run.digest;
}

int main(int argc, char **argv)
{
    static const enum varve_durability modes[MODES] = {VARVE_ALWAYS, VARVE_EVERYSEC, VARVE_NO};
    struct fault_class *at = classes;

    for (size_t i = 0; i < COUNT_OF(sweeps); i++) {
        struct fault_class made = {.kind = sweeps[i].name, .sweep = i};
        for (int mode = 0; mode < MODES; mode++) {
            made.durability = modes[mode];
            made.script = "plain";
            made.steps = workload_plain;
            *at++ = made;
            made.script = "levels";
            made.steps = workload_levels;
            *at++ = made;
        }
        if (i >= SWEEPS_OF_FULL)
            continue;
        made.durability = VARVE_EVERYSEC;
        made.script = "full";
        made.steps = workload_full;
        *at++ = made;
    }
    CHECK(at == classes + CLASSES);
    struct points_campaign campaign = {.name = "iofail",
                                       .classes = classes,
                                       .count = CLASSES,
                                       .budget_default = POINTS_IN_CI,
                                       .run = run_class_point};
    return points_main(&campaign, argc, argv);
}
