/* bench.h - what all of varve-bench shares: what is measured, how large, and what came of it. */
#ifndef VARVE_BENCH_BENCH_H
#define VARVE_BENCH_BENCH_H

#include <stddef.h>
#include <stdint.h>

enum workload {
    FILLSEQ,
    FILLSYNC,
    FILLBATCH,
    FILLRANDOM,
    OVERWRITE,
    READRANDOM,
    READMISSING,
    SEEKRANDOM,
    READSEQ,
    READWHILEWRITING,
    COMPACT,
    DELETERANDOM,
    WORKLOAD_COUNT
};

/* What a read finds: the tree as the writes and their background work left it, or one run. */
enum tree { TREE_NONE, TREE_NATURAL, TREE_COMPACTED };

enum durability { DURABILITY_NO, DURABILITY_EVERYSEC, DURABILITY_ALWAYS };

#define PATH_BYTES 1024
#define ENGINES_MAX 8
#define SECONDS_MAX 3600
#define STEPS_MAX 32
#define ROUNDS_MAX 64
#define THREADS_MAX 64
#define BATCH_KEYS 100
#define SEEK_NEXTS 10
#define KEY_BYTES_MAX 256
#define VALUE_BYTES_MIN 16
#define VALUE_BYTES_MAX (1U << 20)
#define READS_PER_WRITE 10 /* of readwhilewriting */

/* One for all engines; does not change while they run. */
struct bench_config {
    uint64_t keys;
    uint64_t reads; /* operations of a read workload; 0: as many as keys */
    uint64_t syncs; /* operations of fillsync */
    uint32_t key_bytes;
    uint32_t value_bytes;
    uint32_t threads; /* that read */
    uint64_t seed;
    enum durability durability;
    uint64_t memtable_bytes;
    uint64_t cache_bytes;
    uint32_t settle_ms; /* so long nothing may happen before a workload, and after it */
    uint32_t rest_s;    /* so long after its last write varve may still begin a merge */
    uint32_t seconds;   /* that overwrite lasts; 0: until each key was written once */
    int cold;           /* reads begin with an opened database of which nothing is in memory */
    struct timeline *timeline; /* of overwrite, if it lasts `seconds`; shared with the driver */
    char dir[PATH_BYTES];      /* of the engine's files */
};

/* Travels through a pipe to the engine's process. */
struct step {
    enum workload workload;
    enum tree tree;
    uint32_t round; /* from 1 on */
};

/* And back. Times of all operations of the step; bytes_written and cpu_ns hold the settling too. */
struct result {
    uint64_t ops;
    uint64_t cpu_ns; /* user and system, all threads */
    uint64_t wall_ns;
    uint64_t p50_ns;
    uint64_t p99_ns;
    uint64_t p999_ns;
    uint64_t max_ns;
    uint64_t bytes_written;
    uint64_t bytes_on_disk;
    uint64_t log_bytes; /* of those, in files of the log and in reserve */
    uint64_t peak_rss_bytes;
};

const char *workload_name(enum workload workload);
const char *tree_name(enum tree tree); /* NULL for TREE_NONE */
int workload_reads(enum workload workload);

/* Says what is wrong on standard error, with the name that was set, and ends the process. */
void bench_name(const char *name);
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
