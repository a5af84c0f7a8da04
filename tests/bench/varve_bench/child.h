/* child.h - an engine's process: does the steps that come through a pipe, one at a time. */
#ifndef VARVE_BENCH_CHILD_H
#define VARVE_BENCH_CHILD_H

#include "bench.h"
#include "engine.h"

/* Reads struct step from `in`, writes struct result to `out`, until `in` ends. config->dir is the
 * engine's own, there and empty. Ends the process with 1 if anything is wrong. */
void child_serve(const struct engine *engine, const struct bench_config *config, int in, int out);

#endif
