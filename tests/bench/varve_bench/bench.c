/* bench.c - names, and the one way to fail. */
#include "bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "engine.h"

static const char *process_name = "varve-bench";

static const char *const workload_names[WORKLOAD_COUNT] = {
    [FILLSEQ] = "fillseq",         [FILLSYNC] = "fillsync",
    [FILLBATCH] = "fillbatch",     [FILLRANDOM] = "fillrandom",
    [OVERWRITE] = "overwrite",     [READRANDOM] = "readrandom",
    [READMISSING] = "readmissing", [SEEKRANDOM] = "seekrandom",
    [READSEQ] = "readseq",         [READWHILEWRITING] = "readwhilewriting",
    [COMPACT] = "compact",         [DELETERANDOM] = "deleterandom",
};

const char *workload_name(enum workload workload)
{
    return workload_names[workload];
}

const char *tree_name(enum tree tree)
{
    return tree == TREE_NATURAL ? "natural" : tree == TREE_COMPACTED ? "compacted" : NULL;
}

int workload_reads(enum workload workload)
{
    return workload >= READRANDOM && workload <= READWHILEWRITING;
}

void bench_name(const char *name)
{
    process_name = name;
}

void bench_fail(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "\n%s: ", process_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(1);
}

void engine_path(const struct bench_config *config, const char *name, char path[PATH_BYTES])
{
    int len = snprintf(path, PATH_BYTES, "%s/%s", config->dir, name);

    if (len < 0 || len >= PATH_BYTES)
        bench_fail("%s: the path is too long", config->dir);
}
