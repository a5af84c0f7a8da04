/* flusher.h - turns immutable memtables into segments of level 0, the oldest first, one at a time.
 *
 *   idle --a memtable waits--> building (FLUSH job: segments are written, synced, read back; the log is
 *          synced meanwhile)
 *        --built, and the log is durable up to its last record--> installing (MAINTENANCE job: one manifest
 *          edit names the segments, says how far the log is superfluous, and drops its files; a view
 *          without the memtable is published) --> idle
 *
 * A step that fails is tried again after a while: a built one keeps its segments, since an edit that failed
 * may have named them. That the log is durable first keeps the order of all things simple: what lies in
 * segments never has to be healed. */
#ifndef LSM_FLUSHER_H
#define LSM_FLUSHER_H

#include <stdatomic.h>

#include "base/thread.h"
#include "lsm/segment_set.h"
#include "lsm/snapshots.h"
#include "varve/executor.h"
#include "varve/status.h"

struct varve_db;
struct view;

enum flush_state { FLUSH_IDLE, FLUSH_BUILDING, FLUSH_BUILT, FLUSH_INSTALLING };

struct flusher {
    struct varve_job job;
    struct varve_db *db;
    struct mutex mutex;
    struct cond changed;
    enum flush_state state; /* under the mutex, as all up to the blank line */
    int jobs;               /* submitted, and not at their very end */
    uint64_t retry_us;      /* not before */
    uint64_t flushes;
    uint64_t bytes;
    uint64_t failures;
    struct varve_err last; /* why the last step failed; code 0: it did not */

    /* What memtables took up while the last ones were flushed, in thousandths of what was flushed. */
    _Atomic uint32_t growth_permille;

    /* The job's. */
    struct view *view; /* of which the oldest memtable is flushed */
    struct segment_set *set;
    struct segment *const *segments;
    size_t segment_count;
    struct snapshot_list snapshots;
};

void flusher_init(struct flusher *flusher, struct varve_db *db);
void flusher_deinit(struct flusher *flusher); /* no job may be running */
/* Starts the next step if one is due. Any thread. */
void flusher_poke(struct flusher *flusher);
/* With how many bytes an active memtable that no other waits behind is flushed: less than its size where writes
 * come so fast that with what follows until the flush took effect they would take a quarter more. Any thread. */
uint64_t flusher_start_bytes(const struct flusher *flusher);
/* 0, or the error of the last step: it is tried again, but nobody should wait for it. */
int flusher_is_failing(struct flusher *flusher, struct varve_err *err);
/* Under the mutex of the struct, for db_wait(): a job is running. */
int flusher_is_running(const void *flusher);

#endif
