/* executor.h - who runs the engine's background jobs. The engine starts no thread by itself: it
 * hands each job to the executor of its options. A server brings threads, a test a stepper.
 *
 * Jobs of different classes may run side by side. Jobs of SYNC, MAINTENANCE, FLUSH and RECLAIM run one
 * at a time, in the order in which they were submitted; of COMPACTION and READ several may run at once. A
 * job never waits for another job, except that one of RECLAIM waits for readers (varve_leave()). */
#ifndef VARVE_EXECUTOR_H
#define VARVE_EXECUTOR_H

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
    void (*submit)(struct varve_executor *executor, enum varve_job_class class,
                   struct varve_job *job);
    /* Called by varve_close() while jobs are outstanding: a stepper runs one job here and returns;
     * an executor with threads leaves it NULL, and the engine waits. */
    void (*help)(struct varve_executor *executor);
};

#endif
