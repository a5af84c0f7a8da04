/* compactor.h - keeps the levels in shape: asks the picker, has compaction.h do the work, and makes it take
 * effect with one manifest edit. One compaction at a time; a large one is cut into parts that run as
 * COMPACTION jobs side by side.
 *
 *   idle --poke--> planning (COMPACTION job: picture, pick) --nothing due--> idle
 *        --merge--> parts (COMPACTION jobs) --the last one ended--> installing (MAINTENANCE job) --> planning
 *        --move, drop--> installing */
#ifndef LSM_COMPACTOR_H
#define LSM_COMPACTOR_H

#include <stdatomic.h>

#include "base/thread.h"
#include "lsm/compaction.h"
#include "lsm/picker.h"
#include "lsm/snapshots.h"
#include "lsm/stall.h"
#include "varve/executor.h"
#include "varve/status.h"

struct varve_db;

#define COMPACTION_PARTS_MAX 16

struct compactor;

struct compaction_part_job {
    struct varve_job job;
    struct compactor *compactor;
    size_t part;
    int rc;
    struct varve_err err;
};

struct compactor {
    struct varve_job job; /* planning, installing */
    struct varve_db *db;
    struct mutex mutex;
    struct cond changed;
    int running;                     /* under the mutex, as all up to the blank line */
    int merging;                     /* parts are running, */
    uint64_t merging_entries;        /* of so many entries, */
    uint64_t merging_relieved_bytes; /* and in the end so much of debt.upper_dead_bytes is gone: */
    int relief_shows;                /* it has taken effect, the next measure says so */
    int again;                       /* something changed while it was running */
    uint64_t retry_us;               /* after a failure: not before */
    uint32_t failed_in_row;
    int compact_all; /* varve_compact() waits */
    uint64_t compact_all_seq;
    int compact_all_failed;
    struct picker_debt debt; /* of the last plan */
    uint64_t compactions;
    uint64_t moves;
    uint64_t drops;
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t copied_bytes;
    uint64_t failures;
    uint64_t level_read_bytes[LEVELS_MAX];
    uint64_t level_written_bytes[LEVELS_MAX];
    char last_error[VARVE_ERR_TEXT_MAX];

    uint64_t floor_bytes; /* picker.h; under the mutex: tests of small databases change it */

    /* The jobs'. */
    struct pick pick;
    struct version *version;
    struct snapshot_list snapshots;
    uint64_t idle_seq;      /* newest one that a plan saw, */
    uint64_t idle_since_us; /* and when it first did */
    uint64_t
        room_bytes; /* 0, or less than what the disk had no room for: so large a merge is tried next */
    struct compaction *compaction;
    struct compaction_result result; /* of it; once install_pending */
    struct compaction_part_job parts[COMPACTION_PARTS_MAX];
    _Atomic size_t parts_left;
    _Atomic uint64_t took_entries; /* by the parts */
    struct varve_err err;          /* of the first failure */
    int install_pending;           /* an install failed: it is tried again as it is */
};

void compactor_init(struct compactor *compactor, struct varve_db *db);
void compactor_deinit(struct compactor *compactor); /* no job may be running */
/* Starts a plan unless one is running; then another follows. Any thread. */
void compactor_poke(struct compactor *compactor);
/* Under the mutex of the struct, for db_wait(). */
int compactor_is_running(const void *compactor);
int compactor_is_compacting_all(const void *compactor);
/* Merges everything up to seq down; compactor_is_compacting_all() until it is done. */
void compactor_compact_all(struct compactor *compactor, uint64_t seq);
/* Measures the levels anew: after a flush, while a compaction may run for long. Any thread. */
void compactor_measure(struct compactor *compactor);
/* Fills what stalls depend on. Any thread. */
void compactor_load(struct compactor *compactor, struct stall_load *load);

#endif
