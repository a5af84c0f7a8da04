/* compact_dir - opens a server's data directory while no server runs on it, merges everything down into
 * the last level, and says how long it took and what the segments take before and after.
 * usage: compact_dir DIR [COMPACTION-THREADS] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "types/keycode.h"
#include "varve/db.h"

#define MIB ((uint64_t)1024 * 1024)

static double cpu_s(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    struct varve_options options = {
        .no_create = 1,
        .count_group = keycode_count_group,
        .compaction_jobs = argc == 3 ? (uint32_t)atoi(argv[2]) : 0,
    };
    struct varve_executor_threads threads = {.compaction = options.compaction_jobs};
    struct varve_err err = {0};
    struct varve_stats before, after;
    struct varve_db *db = NULL;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: compact_dir DIR [COMPACTION-THREADS]\n");
        return 2;
    }
    int rc = varve_executor_threads_create(&threads, &options.executor, &err);
    if (rc == 0)
        rc = varve_open(argv[1], &options, &db, &err);
    if (rc == 0)
        varve_stats(db, &before);
    uint64_t begin_us = clock_mono_us();
    double begin_cpu_s = cpu_s();
    if (rc == 0)
        rc = varve_compact(db, &err);
    if (rc == 0) {
        varve_stats(db, &after);
        printf("%.2f s, %.2f s of the processor\n", (double)(clock_mono_us() - begin_us) / 1e6,
               cpu_s() - begin_cpu_s);
        printf("segments: %.1f MiB, compacted %.1f MiB\n",
               (double)before.segment_bytes / (double)MIB,
               (double)after.segment_bytes / (double)MIB);
    }
    if (db != NULL) {
        int closed = varve_close(db, rc == 0 ? &err : NULL);
        rc = rc == 0 ? closed : rc;
    }
    varve_executor_threads_destroy(options.executor);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", argv[1], err.text);
    return rc != 0;
}
