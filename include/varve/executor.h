/* executor.h - who runs the engine's background jobs. The engine starts no thread by itself: it
 * hands each job to the executor of its options. A server brings threads, a test a stepper.
 *
 * Jobs of one class run one at a time, in the order in which they were submitted; jobs of different
 * classes may run side by side. A job never submits to its own class and waits for it. */
#ifndef VARVE_EXECUTOR_H
#define VARVE_EXECUTOR_H

enum varve_job_class {
    VARVE_JOB_SYNC,        /* syncs of the WAL: latency matters, a thread of its own */
    VARVE_JOB_MAINTENANCE, /* files made ready, healing, the manifest */
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
