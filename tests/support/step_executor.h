/* step_executor.h - an executor that runs nothing by itself: jobs wait until the test asks for a
 * step. Within a class first in, first out; between classes a seeded draw. submit() from any
 * thread; the running functions from one thread at a time (a job may submit, and may not step). */
#ifndef SUPPORT_STEP_EXECUTOR_H
#define SUPPORT_STEP_EXECUTOR_H

#include <stddef.h>
#include <stdint.h>

#include "varve/executor.h"

struct step_executor; /* opaque */

struct step_executor *step_executor_create(uint64_t seed); /* never NULL */
/* Takes NULL. CHECKs that no job waits. */
void step_executor_destroy(struct step_executor *stepper);

struct varve_executor *step_as_executor(struct step_executor *stepper);

/* Runs one waiting job, of a class that the seed draws. Returns 1, or 0 if none waits. */
int step_run_one(struct step_executor *stepper);
/* Runs the first waiting job of that class. Returns 1, or 0 if none waits. */
int step_run_class(struct step_executor *stepper, enum varve_job_class job_class);
/* Runs until none waits or `max` jobs ran; returns how many ran. A job that submits itself for
 * ever is thus bounded by the caller. */
size_t step_run_all(struct step_executor *stepper, size_t max);

size_t step_waiting(struct step_executor *stepper, enum varve_job_class job_class);

/* Forgets all waiting jobs without running them, as the death of a process does. The caller then
 * frees the engine's memory in its own way (or leaks it on purpose, in a crash test). */
size_t step_drop_all(struct step_executor *stepper);

#endif
