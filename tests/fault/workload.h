/* workload.h - a script of puts, batches, deletes, range deletes, rotations, closes and reopens that is
 * run while something fails, and an oracle that knows which states are right at each moment.
 *
 * The oracle: `history` has the state after each write that was taken; what was promised is the
 * last one that is durable. A write whose log write failed has no effect while the process lives, but
 * may be there after a crash that comes before the log was healed: that state is `attempt`.
 * What contradicts it is printed and counted in `wrong`, and the script goes on. */
#ifndef TESTS_FAULT_WORKLOAD_H
#define TESTS_FAULT_WORKLOAD_H

#include "bed.h"
#include "look.h"

#define MODEL_KEYS 8
#define HISTORY_MAX 256

/* Which step last put each key; 0: the key is not there. */
struct model {
    int step[MODEL_KEYS];
    int len[MODEL_KEYS]; /* bytes of its value */
};

struct model_state {
    uint64_t seq; /* of the last operation */
    struct model model;
};

enum step_kind {
    STEP_END,
    STEP_OPEN,
    STEP_CLOSE,
    STEP_PUT,        /* key `a`, value of `b` bytes */
    STEP_BATCH,      /* puts key a, deletes key b, puts the key behind b */
    STEP_DELETE,     /* key a */
    STEP_RANGE,      /* keys a to b (exclusive) */
    STEP_GROUP,      /* b puts from key a on, each a batch of one group */
    STEP_RUN,        /* all jobs */
    STEP_RUN_ONE,    /* one job, if there is one */
    STEP_PASS,       /* a milliseconds, then a tick */
    STEP_FAIL_SYNC,  /* the next sync of a WAL file fails, whatever else does */
    STEP_FAIL_WRITE, /* the next write to a WAL file */
    STEP_FLUSH,
    STEP_COMPACT,
    STEP_HOLD, /* a snapshot and an iterator, until the next release, close or crash */
    STEP_LOOK, /* all that is read, held ones included; these reads may fail, but not lie */
    STEP_RELEASE,
    STEP_FILL, /* a puts of 1,900 bytes */
};

struct step {
    enum step_kind kind;
    int a;
    int b;
};

extern const struct step workload_plain[];
extern const struct step workload_levels[]; /* flushes, compactions, what is held over them */
extern const struct step workload_full[]; /* a memtable gets full: its flush is a job like others */
extern const struct step workload_healing[]; /* with failures of its own: for the oom sweep */

struct run {
    struct bed bed;
    const char *what; /* of the sweep, for reports */
    uint64_t nth;
    uint64_t seed; /* of the disk, the order of jobs and, with nth, of crash images */
    const struct step *script;
    int step_no;

    struct model_state history[HISTORY_MAX];
    size_t count;     /* history[count - 1] is the newest */
    size_t promised;  /* index: it and what came before it survive a power cut */
    int syncs_failed; /* bed.told_failed when writes were last taken */
    int has_attempt;
    struct model attempt;

    struct varve_snapshot *snapshot; /* NULL: none is held */
    struct varve_iter *iter;
    struct model held;

    uint64_t fail_alloc; /* 0, or which allocation of ours fails */
    int fail_alloc_sticky;
    uint64_t allocs; /* up to now */
    int crashed;     /* the power was cut */
    int faulted;     /* the first failure was seen, and its crash images tried */
    uint64_t images;
    uint64_t digest; /* of the disks that were let go (campaign.h) */
    int wrong;
};

void run_init(struct run *run, const char *what, uint64_t nth, uint64_t seed,
              enum varve_durability durability, const struct step *script);
void run_deinit(struct run *run);
/* The power is cut; of what was not synced chance decides. The database is closed afterwards. */
void run_crash(struct run *run);
/* Lets go of what is held. To be called before the database is closed by others. */
void run_release(struct run *run);

/* The whole script. After the first failure and at the end, crash images are opened. */
void run_script(struct run *run);
/* All faults are over: the database must open, take writes again within 2 s, and know the right
 * state; then the power fails. */
void run_recover(struct run *run);

/* Opens crash images of the present disk and looks at their states. */
void run_try_images(struct run *run);

#endif
