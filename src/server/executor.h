/* executor.h - runs the engine's jobs: one thread a job class, each with a queue of its own, so that a
 * slow maintenance job never delays a sync of the log. */
#ifndef SERVER_EXECUTOR_H
#define SERVER_EXECUTOR_H

#include "base/check.h"
#include "varve/executor.h"
#include "varve/status.h"

struct executor; /* opaque */

int executor_start(struct executor **executor, struct varve_err *err) MUST_CHECK;

/* Runs what is queued, then ends the threads. No submit may follow. Takes NULL. */
void executor_stop(struct executor *executor);

struct varve_executor *executor_of(struct executor *executor);

#endif
