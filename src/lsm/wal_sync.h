/* wal_sync.h - makes the WAL durable beside the writer: one sync at a time, a job of the executor's sync class or
 * on the thread of who has nothing to do but wait. The same job begins to write what no sync has taken yet (it runs
 * then, too, and is followed by a sync that was asked for meanwhile). What was written while a sync ran joins the next one
 * (group commit).
 *
 *   idle --start--> running --sync returned 0--> idle, or running again if more is wanted
 *                   running --sync failed-----> failed --reset (healed)--> idle
 *
 * A failed sync is never repeated on the same file (I4): `failed` stays until the log was healed. */
#ifndef LSM_WAL_SYNC_H
#define LSM_WAL_SYNC_H

#include <stdatomic.h>

#include "base/thread.h"
#include "lsm/log_writer.h"
#include "lsm/record.h"
#include "varve/executor.h"
#include "varve/options.h"

/* The end of something in the log: its last sequence number and its place. */
struct wal_mark {
    uint64_t seq;
    struct log_place place;
};

#define WAL_UNSYNCED_FILES_MAX 64

struct wal_sync {
    struct varve_job job;
    struct varve_executor *executor;
    varve_durable_fn on_durable;
    void *arg;
    _Atomic uint64_t durable_seq;
    _Atomic uint64_t durable_changes; /* how often `durable` changed */
    _Atomic int failed;
    char apart[64]; /* readers load the above; the writer takes this at each commit */

    struct mutex mutex; /* held for a few loads and stores, never across I/O */
    struct cond changed;
    struct log_writer
        *full[WAL_UNSYNCED_FILES_MAX]; /* files before `current`, not yet synced; owned */
    size_t full_count;
    struct log_writer *current; /* borrowed from the writer */
    struct wal_mark written;
    struct wal_mark durable;
    uint64_t oldest_us; /* when the oldest byte that no sync has taken was written; 0: none */
    uint64_t oldest_running_us; /* the same, of what the running sync has taken; 0: none */
    int running;
    uint64_t
        behind_from;    /* what the running job is to begin to write, before it syncs or instead */
    uint64_t behind_to; /* 0: nothing */
    int again;          /* start anew as soon as the running one ends */
    struct varve_err err; /* why it failed */
    uint64_t syncs;
    uint64_t sync_us_total;
    uint64_t sync_us_max;
};

/* on_durable is told of the end of each sync; not NULL. */
void wal_sync_init(struct wal_sync *sync, struct varve_executor *executor,
                   varve_durable_fn on_durable, void *arg);
void wal_sync_deinit(struct wal_sync *sync); /* no job may be running; closes the full files */

/* Starts from a log that is durable up to `durable`, and is written in `current` from now on. Returns 0, and changes
 * nothing, while a sync runs. */
int wal_sync_reset(struct wal_sync *sync, struct log_writer *current, struct wal_mark durable);

/* Writer thread: bytes up to `written` were written at now_us, the last of them in `current`. Returns the
 * age of the oldest byte that a power cut could take. */
uint64_t wal_sync_written(struct wal_sync *sync, struct wal_mark written, uint64_t now_us);

/* Writer thread: `full` gets no more bytes and is the sync's to close. 0, or VARVE_EFULL: too many
 * files wait for a sync. */
int wal_sync_rotate(struct wal_sync *sync, struct log_writer *full,
                    struct log_writer *next) MUST_CHECK;

/* Starts a sync of all that was written, unless nothing is unsynced or it failed. If one is running,
 * another follows it. Any thread. */
void wal_sync_start(struct wal_sync *sync);

/* Writer thread: has a job begin to write that range of `current`. 0: none, for a job runs, or a sync failed. */
int wal_sync_write_behind(struct wal_sync *sync, uint64_t from, uint64_t to);

/* The age of the oldest byte that a power cut could take; 0: there is none. Any thread. */
uint64_t wal_sync_age_us(struct wal_sync *sync, uint64_t now_us);
/* The same, of what no sync has taken yet. */
uint64_t wal_sync_waiting_us(struct wal_sync *sync, uint64_t now_us);
/* Files that are full and wait for their sync. */
size_t wal_sync_full_count(struct wal_sync *sync);
struct wal_mark wal_sync_durable(struct wal_sync *sync);
/* The same for who asks often: *known, of *changes, is brought up to date. */
static inline void wal_sync_know_durable(struct wal_sync *sync, struct wal_mark *known,
                                         uint64_t *changes)
{
    uint64_t now = atomic_load_explicit(&sync->durable_changes, memory_order_acquire);

    if (LIKELY(now == *changes))
        return;
    *changes = now;
    *known = wal_sync_durable(sync);
}
int wal_sync_running(struct wal_sync *sync);

/* Blocks until seq is durable (0), or the sync failed (VARVE_EUNKNOWN). If no sync is running, it is done here. */
int wal_sync_wait(struct wal_sync *sync, uint64_t seq, struct varve_err *err);

#endif
