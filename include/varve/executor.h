/* executor.h - who runs the engine's background jobs. The engine starts no thread by itself: it
 * hands each job to the executor of its options. Most programs take the one with threads below;
 * a program with a thread pool of its own, or a test that steps, brings another.
 *
 * What an executor must do: jobs of different classes may run side by side, and one class must
 * not wait for another. Jobs of SYNC, MAINTENANCE, FLUSH and RECLAIM run one at a time, in the
 * order in which they were submitted; of COMPACTION and READ several may run at once. A job
 * never waits for another job, except that one of RECLAIM waits for readers (varve_leave()). No
 * job is run by a thread that is inside (varve_enter()). */
#ifndef VARVE_EXECUTOR_H
#define VARVE_EXECUTOR_H

#include <stdint.h>

#include "varve/api.h"
#include "varve/status.h"

VARVE_API_BEGIN

enum varve_job_class {
    VARVE_JOB_SYNC,        /* syncs of the WAL: latency matters, a thread of its own */
    VARVE_JOB_MAINTENANCE, /* files made ready, healing, the manifest */
    VARVE_JOB_FLUSH,       /* a memtable becomes segments: writers wait for it when it is late */
    VARVE_JOB_COMPACTION,  /* long, at low priority; a large one is several jobs */
    VARVE_JOB_READ,        /* blocks and counts that a caller waits for without blocking */
    VARVE_JOB_RECLAIM,     /* frees what no reader can see any more; may wait for readers */
    VARVE_JOB_CLASS_COUNT
};

/* Owned by the engine, which keeps it alive until run() was called; run() is called exactly once a
 * submit, and may free the job's memory or submit the job anew. */
struct varve_job {
    void (*run)(struct varve_job *job);
    struct varve_job *next; /* the executor's, while the job waits */
};

struct varve_executor {
    /* Queues the job; never runs it inside the call, never fails. Any thread. */
    void (*submit)(struct varve_executor *executor, enum varve_job_class job_class,
                   struct varve_job *job);
    /* NULL in an executor with threads. A stepper runs one job here and returns: the calls that
     * wait for jobs (varve_flush(), varve_compact(), varve_count(), varve_close(), a
     * varve_write() that is held back) call it until what they wait for is done.
     * varve_wait_durable() does not, nor does varve_write_durable() when they wait for a job of the sync
     * class, which a varve_write() before them may have started: steppers ask varve_durable_seq(). */
    void (*help)(struct varve_executor *executor);
};

/* ---- the one with threads ---- */

#define VARVE_EXECUTOR_THREADS_MAX 64 /* of one class */

/* Threads of the classes whose jobs may run side by side; the others have one each. Zero means the
 * default. */
struct varve_executor_threads {
    uint32_t compaction; /* default 1; they run 5 below normal priority */
    uint32_t read; /* default 4; only fetches (varve_fetch_*()) need them. One takes all it can */
};

/* Starts the threads, with all signals blocked; they sleep until there is work. threads may be
 * NULL: the defaults; it is copied. One executor may serve several databases. *executor is the
 * caller's, to be destroyed. Errors: VARVE_EINVAL, VARVE_ENOMEM, VARVE_EIO (no thread to be
 * had); *executor is then NULL. Any thread. */
int varve_executor_threads_create(const struct varve_executor_threads *threads,
                                  struct varve_executor **executor, struct varve_err *err);

/* Runs what is queued, then ends the threads. Takes NULL; only what create() made. Every
 * database that uses it must be closed before. Until it returns a job may submit to its own
 * class and to those that are ended after it (reads, compactions, flushes, syncs, maintenance,
 * reclaim, in this order). */
void varve_executor_threads_destroy(struct varve_executor *executor);

VARVE_API_END

#endif
