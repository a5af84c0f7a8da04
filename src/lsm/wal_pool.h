/* wal_pool.h - keeps a few WAL files ready, synced and named in the manifest, so that a rotation costs
 * the writer nothing. Those are dead files, used again: each sync of them is a data flush without a journal
 * commit. Only where there is none, a new one is made, of a header alone.
 * Files are made by a maintenance job. */
#ifndef LSM_WAL_POOL_H
#define LSM_WAL_POOL_H

#include "base/thread.h"
#include "lsm/log_writer.h"
#include "lsm/manifest.h"
#include "varve/executor.h"
#include "varve/options.h"

#define WAL_POOL_MAX 16

struct wal_ready {
    struct log_writer *log;    /* owned by whoever took it */
    struct log_place manifest; /* the edit that names it lies before that place */
};

struct wal_pool {
    struct varve_job job;
    struct varve_env *env;
    struct varve_executor *executor;
    struct manifest *manifest;  /* used by the job only */
    struct log_writer *unnamed; /* the job's: a file that is whole, but whose edit failed */
    const char *dir;            /* borrowed */
    struct dir_id id;
    uint64_t file_size;
    size_t target;
    varve_log_fn on_log;
    void *arg;

    struct mutex mutex;
    struct cond changed;
    struct wal_ready ready[WAL_POOL_MAX]; /* oldest first */
    _Atomic size_t ready_count;           /* changes under the mutex */
    char *reusable[WAL_POOL_MAX];         /* paths of dead files that are long enough; owned */
    _Atomic size_t reusable_count;        /* changes under the mutex */
    uint64_t retry_us;                    /* after a failure: not before that time */
    int running;
};

void wal_pool_init(struct wal_pool *pool); /* the fields above the mutex are the caller's to set */
void wal_pool_deinit(struct wal_pool *pool); /* no job may be running */

/* Takes a file that is ready; 0 if there is none. Any thread. */
int wal_pool_take(struct wal_pool *pool, struct wal_ready *ready);
/* Starts the job if a dead file can be made ready, or nothing is. Any thread. */
void wal_pool_fill(struct wal_pool *pool, uint64_t now_us);
/* Makes a file now: on the maintenance thread, or before any job runs. */
int wal_pool_make(struct wal_pool *pool, struct wal_ready *ready, struct varve_err *err) MUST_CHECK;
/* Hands in a file that the manifest no longer names, whose size of file_size bytes or more is durable. Takes
 * path over; returns 0 if the pool has no use for it. */
int wal_pool_reuse(struct wal_pool *pool, char *path);
/* Removes the dead files, for others need their room; returns how many there were. Any thread. */
size_t wal_pool_drop_dead(struct wal_pool *pool);

size_t wal_pool_ready_count(struct wal_pool *pool);
size_t wal_pool_file_count(struct wal_pool *pool); /* the dead ones too */
int wal_pool_running(struct wal_pool *pool);

#endif
