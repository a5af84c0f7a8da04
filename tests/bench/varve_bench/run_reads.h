/* run_reads.h - the workloads that read; part of run.c's work. */
#ifndef VARVE_BENCH_RUN_READS_H
#define VARVE_BENCH_RUN_READS_H

#include "run.h"

uint64_t run_gets(struct run *run, const struct step *step);
uint64_t run_seeks(struct run *run, const struct step *step);
uint64_t run_scan(struct run *run);
uint64_t run_reads_beside_writes(struct run *run, const struct step *step);

/* One put of a version, measured if histogram is not NULL. The ticks that it took. */
uint64_t run_put(struct run *run, uint64_t n, uint32_t version, struct histogram *histogram);

#endif
