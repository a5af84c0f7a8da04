/* options.h - the command line. */
#ifndef VARVE_BENCH_OPTIONS_H
#define VARVE_BENCH_OPTIONS_H

#include "bench.h"
#include "engine.h"

struct options {
    struct bench_config config; /* config.dir: that of all, "" for one of our own */
    uint32_t rounds;
    int engine_count;
    const struct engine *engines[ENGINES_MAX]; /* those that are run */
    uint32_t workloads;                        /* a bit each */
    uint32_t trees;                            /* a bit each */
    const char *json_path;                     /* NULL: none */
    const char *svg_path;
    const char *table_path;
    const char *timeline_path;
    struct timeline *timelines[ENGINES_MAX]; /* where overwrite lasts config.seconds; else NULL */
};

/* Ends the process for --help, and where something is not understood. */
void options_parse(struct options *options, int argc, char **argv);
/* The names of engines that this program was built without, "" if there is none. */
const char *options_lacking(void);

#endif
