/* run.h - the loops that are measured: one workload on an open database. */
#ifndef VARVE_BENCH_RUN_H
#define VARVE_BENCH_RUN_H

#include <stdint.h>

#include "bench.h"
#include "data.h"
#include "engine.h"
#include "histogram.h"

/* One process's. The values in the database are of a version between first and last. */
struct run {
    const struct engine *engine;
    const struct bench_config *config;
    void *db;
    struct data data;
    uint32_t first_version;
    uint32_t last_version;
    uint64_t paced_at; /* ticks of the last call of the engine's tick */
    uint64_t synced_at;
    uint8_t *value;             /* room for one */
    struct histogram histogram; /* ticks of each operation of the last workload */
};

/* Returns the operations that were done. Ends the process where an answer is wrong. */
uint64_t run_workload(struct run *run, const struct step *step);
/* What a program's timer does: the engine's tick, with `everysec` its sync. Between operations. */
void run_pace(struct run *run, uint64_t now);
/* Reads one in so many keys, in their order, so that all blocks are in memory. */
void run_warm(struct run *run);
/* Reads some keys; `there` 0: all must be missing. */
void run_verify(struct run *run, int there);
/* Nanoseconds an operation of these loops where the engine does nothing: a put's, and a get's. */
void run_overhead(const struct bench_config *config, double *put_ns, double *get_ns,
                  double *clock_ns);

#endif
