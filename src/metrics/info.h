/* info.h - the text of INFO: sections of `name:value` lines that end in CR LF. Who calls it fills
 * the sections; this knows their names, which of them were asked for, and how a line is written.
 * A value never breaks its line: control bytes become spaces. One thread. */
#ifndef METRICS_INFO_H
#define METRICS_INFO_H

#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/slice.h"

/* In the order in which they are shown. */
enum info_section {
    INFO_SERVER,
    INFO_CLIENTS,
    INFO_MEMORY,
    INFO_PERSISTENCE,
    INFO_STATS,
    INFO_REPLICATION,
    INFO_CPU,
    INFO_MODULES,
    INFO_COMMANDSTATS,
    INFO_ERRORSTATS,
    INFO_LATENCYSTATS,
    INFO_CLUSTER,
    INFO_KEYSPACE,
    INFO_VARVE, /* what Redis has no name for, */
    INFO_LSM,   /* and of that: the levels, and what keeps them */
    INFO_SECTIONS
};

struct info {
    struct buf out;
    uint32_t wanted; /* a bit a section */
    int failed;      /* 0, or the code of the append that failed */
};

/* The sections that these words name, any case: all, everything, default, or a section; no word is
 * default. Unknown words name none. */
uint32_t info_wanted(const struct varve_slice *words, int count);

void info_init(struct info *info, uint32_t wanted);
void info_deinit(struct info *info);

/* Begins a section, if it is wanted: returns whether. */
int info_section(struct info *info, enum info_section section) MUST_CHECK;

void info_u64(struct info *info, const char *name, uint64_t value);
void info_str(struct info *info, const char *name, const char *value);
void info_fmt(struct info *info, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Two lines: name with the bytes, name_human with "1.50M" and the like. */
void info_bytes(struct info *info, const char *name, uint64_t bytes);

#endif
