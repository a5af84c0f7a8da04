/* driver.h - starts a process an engine, all alive at once, and lets them take turns: a step on
 * each, then the next step. One thread. */
#ifndef VARVE_BENCH_DRIVER_H
#define VARVE_BENCH_DRIVER_H

#include "bench.h"
#include "options.h"

struct results {
    int step_count;
    struct step steps[STEPS_MAX]; /* of a round */
    /* [round - 1][step][engine] */
    struct result figures[ROUNDS_MAX][STEPS_MAX][ENGINES_MAX];
};

/* 0, or -1 if an engine failed or somebody interrupted: then it said so. What it made is removed. */
int driver_run(const struct options *options, struct results *results);

#endif
