/* memory.h - one budget for what the process has in memory: `maxmemory`, or a quarter of what the machine, or the
 * cgroup that it is in, has. memory_plan() divides it at the start, and again at CONFIG SET: memtables, the
 * program with the buffers of clients, flushes and merges, and the block cache, which gets the rest. While the
 * server runs the cache gives way to all that grows beside it, and takes back what shrank:
 * memory_cache_target(), which goes by what the system says is resident, so that nothing is forgotten.
 * Pure but for memory_govern() and memory_of_machine(). */
#ifndef SERVER_MEMORY_H
#define SERVER_MEMORY_H

#include <stdint.h>

#include "base/check.h"
#include "varve/stats.h"
#include "varve/status.h"

/* What the program takes with nothing in it, and its buffers. */
#define MEMORY_PROGRAM_BYTES ((uint64_t)20 * 1024 * 1024)
#define MEMORY_CACHE_MIN_BYTES ((uint64_t)1024 * 1024)

struct memory_wishes {
    uint64_t machine_bytes; /* memory_of_machine() */
    uint64_t
        budget_bytes; /* maxmemory; 0: a quarter of the machine's, or what the next ones need */
    uint64_t memtable_bytes; /* memtable-size; 0: a 32nd of the budget, at most 64 MiB */
    uint32_t memtables_max;
    uint64_t segment_bytes;        /* segment-size; 0: a quarter of the budget, at most 64 MiB */
    uint64_t row_cache_bytes;      /* row-cache-size: a 16th of the budget at most */
    uint64_t row_cache_made_bytes; /* of the one that there is, which stays; 0: there is none */
    uint64_t cache_bytes;          /* block-cache-size; 0: what is left */
};

struct memory_plan {
    uint64_t budget_bytes;
    uint64_t memtable_bytes;  /* of one */
    uint64_t memtables_bytes; /* of all that there may be */
    uint64_t segment_bytes;   /* of one */
    uint64_t row_cache_bytes;
    uint64_t cache_bytes;
    int cache_is_governed; /* 0: block-cache-size stands */
};

/* 0, or VARVE_EINVAL: the sum of what is wanted is more than the budget; err says by name what is too much, and
 * plan has the least cache. */
int memory_plan(const struct memory_wishes *wishes, struct memory_plan *plan,
                struct varve_err *err) MUST_CHECK;

/* The same of the settings. made: by what plan there are memtables and a row cache, which stay; NULL: there are
 * none yet. */
struct config;
int memory_plan_settings(const struct config *config, uint64_t machine_bytes,
                         const struct memory_plan *made, struct memory_plan *plan,
                         struct varve_err *err) MUST_CHECK;

/* The block cache's size from now on, pinned indexes and filters included. resident_bytes: of the process. */
uint64_t memory_cache_target(const struct memory_plan *plan, uint64_t resident_bytes,
                             const struct varve_stats *engine);

/* Sets it. To be called every 100 ms; on the writer's thread. Returns what is resident and not the engine's data:
 * clients, the program, buffers; UINT64_MAX: the system does not say. */
struct varve_db;
uint64_t memory_govern(const struct memory_plan *plan, struct varve_db *db);

/* Memory of the machine, or the least that a cgroup of this process (version 1 or 2) or one above it may have.
 * root: "", or where a test has its /proc and /sys. 0: the system does not say. */
uint64_t memory_of_machine(const char *root);

#endif
