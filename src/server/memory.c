#include "server/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "config/config.h"
#include "metrics/metrics.h"
#include "varve/db.h"

#define KIB ((uint64_t)1024)
#define MIB (KIB * KIB)
#define BUDGET_UNKNOWN_BYTES (1024 * MIB) /* where the system does not say what there is */
#define BUDGET_SHARE(machine) ((machine) / 4)
#define MEMTABLE_SHARE(budget) ((budget) / 32)
#define ROW_CACHE_SHARE(budget) ((budget) / 16)
#define MEMTABLE_MIN_BYTES (256 * KIB)
#define MEMTABLE_MAX_BYTES (64 * MIB)
/* While a segment is written its writer has 16 bytes a key, which is a fifth of it where records have 100 bytes. */
#define SEGMENT_SHARE(budget) ((budget) / 4)
#define SEGMENT_MAX_BYTES (64 * MIB)
#define ARENA_CHUNK_BYTES (2 * MIB) /* a memtable takes its memory in such steps, or smaller ones */
#define MARGIN_SHARE(budget) ((budget) / 32) /* for what grows before the cache has given way */
#define SPARE_BEYOND_BYTES MEM_HUGE_BYTES    /* db_spare_limit(): one chunk beside the limit */
#define SLACK_SHARE(room) ((room) / 8)

/* ---- the division ---- */

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t all_memtables_bytes(const struct memory_wishes *wishes, uint64_t memtable_bytes)
{
    uint64_t step = memtable_bytes / 2 < ARENA_CHUNK_BYTES ? memtable_bytes / 2 : ARENA_CHUNK_BYTES;
    uint64_t each = add(memtable_bytes, step);

    return each > UINT64_MAX / wishes->memtables_max ? UINT64_MAX : each * wishes->memtables_max;
}

static uint64_t memtable_bytes_for(uint64_t budget)
{
    uint64_t bytes = MEMTABLE_SHARE(budget);

    if (bytes < MEMTABLE_MIN_BYTES)
        return MEMTABLE_MIN_BYTES;
    return bytes > MEMTABLE_MAX_BYTES ? MEMTABLE_MAX_BYTES : bytes;
}

static uint64_t segment_bytes_for(uint64_t budget)
{
    uint64_t bytes = SEGMENT_SHARE(budget);

    return bytes > SEGMENT_MAX_BYTES ? SEGMENT_MAX_BYTES : bytes;
}

static uint64_t row_cache_bytes_for(const struct memory_wishes *wishes, uint64_t budget)
{
    uint64_t most = ROW_CACHE_SHARE(budget);

    if (wishes->row_cache_made_bytes != 0 && !MUTANT("memory-forgets-rows"))
        return wishes->row_cache_made_bytes;
    return wishes->row_cache_bytes < most ? wishes->row_cache_bytes : most;
}

int memory_plan(const struct memory_wishes *wishes, struct memory_plan *plan, struct varve_err *err)
{
    uint64_t budget = wishes->budget_bytes;

    if (budget == 0)
        budget = wishes->machine_bytes == 0 ? BUDGET_UNKNOWN_BYTES
                                            : BUDGET_SHARE(wishes->machine_bytes);
    *plan = (struct memory_plan){.budget_bytes = budget,
                                 .memtable_bytes = wishes->memtable_bytes,
                                 .cache_is_governed = wishes->cache_bytes == 0};
    if (plan->memtable_bytes == 0)
        plan->memtable_bytes = memtable_bytes_for(budget);
    plan->segment_bytes = wishes->segment_bytes == 0 ? segment_bytes_for(budget)
                                                     : wishes->segment_bytes;
    plan->memtables_bytes = all_memtables_bytes(wishes, plan->memtable_bytes);
    uint64_t least = plan->cache_is_governed ? MEMORY_CACHE_MIN_BYTES : wishes->cache_bytes;
    plan->cache_bytes = least;
    plan->row_cache_bytes = row_cache_bytes_for(wishes, budget);
    uint64_t needed = add(MEMORY_PROGRAM_BYTES + plan->row_cache_bytes,
                          add(plan->memtables_bytes, least));
    /* What is set by hand outweighs a default, as long as the machine has it. */
    if (wishes->budget_bytes == 0 && needed > budget && needed <= wishes->machine_bytes)
        plan->budget_bytes = needed;
    if (needed > plan->budget_bytes)
        return err_set(err, VARVE_EINVAL,
                       "maxmemory is %" PRIu64 " bytes%s, but %" PRIu64
                       " memtables (memtables-max, memtable-size) take up to %" PRIu64
                       ", the row cache (row-cache-size) %" PRIu64
                       ", the block cache (block-cache-size) at least %" PRIu64
                       " and the program with its buffers %" PRIu64,
                       budget,
                       wishes->budget_bytes == 0 ? " (a quarter of this machine's memory)" : "",
                       (uint64_t)wishes->memtables_max, plan->memtables_bytes,
                       plan->row_cache_bytes, least, MEMORY_PROGRAM_BYTES);
    if (plan->cache_is_governed)
        plan->cache_bytes = plan->budget_bytes - (needed - least);
    return 0;
}

int memory_plan_settings(const struct config *config, uint64_t machine_bytes,
                         const struct memory_plan *made, struct memory_plan *plan,
                         struct varve_err *err)
{
    struct memory_wishes wishes = {
        .machine_bytes = machine_bytes,
        .budget_bytes = (uint64_t)config_int(config, OPT_MAXMEMORY),
        .memtable_bytes = made != NULL ? made->memtable_bytes
                                       : (uint64_t)config_int(config, OPT_MEMTABLE_SIZE),
        .memtables_max = (uint32_t)config_int(config, OPT_MEMTABLES_MAX),
        .segment_bytes = made != NULL ? made->segment_bytes
                                      : (uint64_t)config_int(config, OPT_SEGMENT_SIZE),
        .row_cache_bytes = (uint64_t)config_int(config, OPT_ROW_CACHE_SIZE),
        .row_cache_made_bytes = made != NULL ? made->row_cache_bytes : 0,
        .cache_bytes = (uint64_t)config_int(config, OPT_BLOCK_CACHE_SIZE),
    };

    return memory_plan(&wishes, plan, err);
}

/* ---- while it runs ---- */

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* What is resident and neither a block nor a memtable: the cache's share of the budget gives way to it. */
static uint64_t others_bytes(uint64_t resident_bytes, const struct varve_stats *engine)
{
    uint64_t memtables = engine->memtables_bytes + engine->memtables_spare_bytes;
    uint64_t blocks = less(engine->cache_held_bytes,
                           engine->cache_free_bytes + engine->cache_spare_bytes);
    /* Long values lie elsewhere than blocks. */
    uint64_t values = less(engine->cache_used_bytes, blocks);

    return less(resident_bytes, engine->cache_held_bytes + values + memtables);
}

uint64_t memory_cache_target(const struct memory_plan *plan, uint64_t resident_bytes,
                             const struct varve_stats *engine)
{
    uint64_t memtables = engine->memtables_bytes + engine->memtables_spare_bytes;
    uint64_t others = others_bytes(resident_bytes, engine);

    if (!plan->cache_is_governed)
        return plan->cache_bytes;
    if (MUTANT("memory-forgets-others"))
        others = 0;
    if (memtables < plan->memtables_bytes)
        memtables = plan->memtables_bytes;
    uint64_t room = less(plan->budget_bytes, MARGIN_SHARE(plan->budget_bytes) + others + memtables);
    /* What is free between blocks is memory, too; but were all of it taken off, where blocks come and go the
     * cache would shrink for being shrunk. */
    uint64_t unused = engine->cache_free_bytes + engine->cache_spare_bytes;
    if (engine->cache_spare_bytes > SPARE_BEYOND_BYTES) /* the rest keeps within the limit */
        unused = engine->cache_free_bytes + SPARE_BEYOND_BYTES;
    uint64_t slack = unused < SLACK_SHARE(room) ? unused : SLACK_SHARE(room);
    uint64_t blocks_most = room - slack;
    if (blocks_most < MEMORY_CACHE_MIN_BYTES)
        blocks_most = MEMORY_CACHE_MIN_BYTES;
    return blocks_most + engine->pinned_bytes; /* these are of the others */
}

uint64_t memory_govern(const struct memory_plan *plan, struct varve_db *db)
{
    struct varve_stats engine;

    uint64_t resident_bytes = metrics_resident_bytes();
    if (resident_bytes == 0) /* not known: no descriptor is left, or there is no /proc */
        return UINT64_MAX;
    varve_stats(db, &engine);
    varve_set_cache_size(db, memory_cache_target(plan, resident_bytes, &engine));
    return less(others_bytes(resident_bytes, &engine),
                engine.pinned_bytes + engine.row_cache_used_bytes);
}

/* ---- the machine ---- */

/* The number that a file begins with; UINT64_MAX: there is none ("max", no file). */
static uint64_t read_number(const char *path)
{
    FILE *file = fopen(path, "re");
    uint64_t number = UINT64_MAX;

    if (file == NULL)
        return UINT64_MAX;
    if (fscanf(file, "%" SCNu64, &number) != 1)
        number = UINT64_MAX;
    fclose(file);
    return number;
}

static uint64_t total_memory(const char *root)
{
    char line[PATH_MAX];
    uint64_t kib = 0;

    snprintf(line, sizeof(line), "%s/proc/meminfo", root);
    FILE *file = fopen(line, "re");
    if (file == NULL)
        return UINT64_MAX;
    while (kib == 0 && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "MemTotal: %" SCNu64 " kB", &kib) != 1)
            kib = 0;
    fclose(file);
    return kib == 0 || kib > UINT64_MAX / KIB ? UINT64_MAX : kib * KIB;
}

/* The least limit of the group and those above it. In a container the group's own folder may not be there,
 * and what is at the top is its limit. */
static uint64_t group_limit(const char *folder, char *group, const char *file)
{
    char path[PATH_MAX];
    uint64_t least = UINT64_MAX;

    for (;;) {
        int len = snprintf(path, sizeof(path), "%s%s/%s", folder, group, file);
        uint64_t limit = len > 0 && (size_t)len < sizeof(path) ? read_number(path) : UINT64_MAX;
        if (limit < least)
            least = limit;
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

static uint64_t cgroup_limit(const char *root)
{
    char line[PATH_MAX];
    char folder[PATH_MAX];
    uint64_t least = UINT64_MAX;

    snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
    FILE *file = fopen(line, "re");
    if (file == NULL)
        return UINT64_MAX;
    while (fgets(line, sizeof(line), file) != NULL) {
        uint64_t limit = UINT64_MAX;
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(++controllers, ':');
        if (group == NULL)
            continue;
        *group++ = '\0';
        snprintf(folder, sizeof(folder), "%s/sys/fs/cgroup%s", root,
                 controllers[0] == '\0' ? "" : "/memory");
        if (controllers[0] == '\0')
            limit = group_limit(folder, group, "memory.max");
        else if (strcmp(controllers, "memory") == 0)
            limit = group_limit(folder, group, "memory.limit_in_bytes");
        if (limit < least)
            least = limit;
    }
    fclose(file);
    return least;
}

uint64_t memory_of_machine(const char *root)
{
    uint64_t total = total_memory(root);
    uint64_t limit = cgroup_limit(root);
    uint64_t least = limit < total ? limit : total;

    return least == UINT64_MAX ? 0 : least;
}
