/* thread_executor.h - an executor with threads, as a server has: one a job class, several for those
 * classes whose jobs may run side by side. */
#ifndef SUPPORT_THREAD_EXECUTOR_H
#define SUPPORT_THREAD_EXECUTOR_H

#include "varve/executor.h"

struct thread_executor; /* opaque */

struct thread_executor *thread_executor_create(void); /* never NULL */
/* Runs what is queued, then ends the threads. Takes NULL. */
void thread_executor_destroy(struct thread_executor *executor);

struct varve_executor *threads_as_executor(struct thread_executor *executor);

#endif
