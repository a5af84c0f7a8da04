/* executor.h - runs the engine's jobs: each job class has a queue and threads of its own, so that a slow
 * maintenance job never delays a sync of the log, and a compaction no read. */
#ifndef SERVER_EXECUTOR_H
#define SERVER_EXECUTOR_H

#include <stdint.h>

#include "base/check.h"
#include "varve/executor.h"
#include "varve/status.h"

#define EXECUTOR_THREADS_MAX 64 /* of one class */

struct executor; /* opaque */

/* Threads of the classes whose jobs may run side by side, each 1 .. EXECUTOR_THREADS_MAX; the others have
 * one each. */
struct executor_threads {
    uint32_t compaction; /* these run below normal priority */
    uint32_t read;
};

int executor_start(const struct executor_threads *threads, struct executor **executor,
                   struct varve_err *err) MUST_CHECK;

/* Runs what is queued, then ends the threads, of one class after the other: reads, compactions, flushes,
 * syncs, maintenance, reclaim. Until then a job may submit to its own class and to those behind it; nothing
 * else may. Takes NULL. */
void executor_stop(struct executor *executor);

struct varve_executor *executor_of(struct executor *executor);

#endif
