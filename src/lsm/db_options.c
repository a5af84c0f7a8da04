/* Defaults and bounds of struct varve_options. */
#include "lsm/db.h"

#include <inttypes.h>

#include "base/err.h"

#define MEMTABLE_SIZE_DEFAULT ((uint64_t)64 * 1024 * 1024)
#define MEMTABLE_SIZE_MIN ((uint64_t)64 * 1024)
#define MEMTABLES_DEFAULT 4
#define CACHE_SIZE_DEFAULT ((uint64_t)256 * 1024 * 1024)
#define BLOCK_SIZE_DEFAULT 4096u
#define BLOCK_SIZE_MIN 512u
#define BLOCK_SIZE_MAX (1024u * 1024)
#define SEGMENT_SIZE_DEFAULT ((uint64_t)64 * 1024 * 1024)
#define SEGMENT_SIZE_MIN ((uint64_t)16 * 1024)
#define SEGMENTS_DEFAULT 4096u
#define SEGMENTS_MIN 16u
#define BLOOM_BITS_DEFAULT 10u
#define BLOOM_BITS_MAX 32u
#define MIN_FREE_DEFAULT ((uint64_t)64 * 1024 * 1024)
#define RESERVE_DEFAULT ((uint64_t)16 * 1024 * 1024)
#define WAL_SIZE_DEFAULT ((uint64_t)64 * 1024 * 1024)
#define WAL_SIZE_MIN ((uint64_t)4 * 1024)
#define WAL_POOL_DEFAULT 2

static void options_default(struct varve_options *options)
{
    if (options->env == NULL)
        options->env = varve_env_posix();
    if (options->memtable_size_bytes == 0)
        options->memtable_size_bytes = MEMTABLE_SIZE_DEFAULT;
    if (options->memtables_max == 0)
        options->memtables_max = MEMTABLES_DEFAULT;
    if (options->block_cache_size_bytes == 0)
        options->block_cache_size_bytes = CACHE_SIZE_DEFAULT;
    if (options->block_size_bytes == 0)
        options->block_size_bytes = BLOCK_SIZE_DEFAULT;
    if (options->segment_size_bytes == 0)
        options->segment_size_bytes = SEGMENT_SIZE_DEFAULT;
    if (options->segments_max == 0)
        options->segments_max = SEGMENTS_DEFAULT;
    if (options->bloom_bits_per_key == 0)
        options->bloom_bits_per_key = BLOOM_BITS_DEFAULT;
    else if (options->bloom_bits_per_key == VARVE_NO_FILTER)
        options->bloom_bits_per_key = 0;
    if (options->compaction_jobs == 0)
        options->compaction_jobs = 1;
    if (options->min_free_bytes == 0)
        options->min_free_bytes = MIN_FREE_DEFAULT;
    else if (options->min_free_bytes == VARVE_NO_RESERVE)
        options->min_free_bytes = 0;
    if (options->reserve_size_bytes == 0)
        options->reserve_size_bytes = RESERVE_DEFAULT;
    else if (options->reserve_size_bytes == VARVE_NO_RESERVE)
        options->reserve_size_bytes = 0;
    if (options->wal_size_bytes == 0)
        options->wal_size_bytes = WAL_SIZE_DEFAULT;
    if (options->wal_pool_size == 0)
        options->wal_pool_size = WAL_POOL_DEFAULT;
}

struct option_bound {
    const char *name;
    uint64_t value;
    uint64_t min;
    uint64_t max;
};

int db_options_fill(struct varve_options *options, struct varve_err *err)
{
    if (options->executor == NULL)
        return err_set(err, VARVE_EINVAL, "options: an executor is required");
    options_default(options);
    const struct option_bound bounds[] = {
        {"memtable size", options->memtable_size_bytes, MEMTABLE_SIZE_MIN, UINT64_MAX},
        {"number of memtables", options->memtables_max, 2, MEMTABLES_MAX},
        {"block cache size", options->block_cache_size_bytes, DB_CACHE_SIZE_MIN, UINT64_MAX},
        {"row cache size",
         options->row_cache_size_bytes == 0 ? ROW_CACHE_MIN_BYTES : options->row_cache_size_bytes,
         ROW_CACHE_MIN_BYTES, ROW_CACHE_MAX_BYTES},
        {"block size", options->block_size_bytes, BLOCK_SIZE_MIN, BLOCK_SIZE_MAX},
        {"segment size", options->segment_size_bytes, SEGMENT_SIZE_MIN, UINT64_MAX},
        {"number of segments", options->segments_max, SEGMENTS_MIN, MANIFEST_SEGMENTS_MAX},
        {"bloom bits per key", options->bloom_bits_per_key, 0, BLOOM_BITS_MAX},
        {"compression", (uint64_t)options->compression, VARVE_SNAPPY, VARVE_COMPRESSION_NONE},
        {"compaction jobs", options->compaction_jobs, 1, COMPACTION_PARTS_MAX},
        {"WAL size", options->wal_size_bytes, WAL_SIZE_MIN, UINT64_MAX},
        {"WAL pool", options->wal_pool_size, 1, WAL_POOL_MAX},
        {"durability", (uint64_t)options->durability, VARVE_EVERYSEC, VARVE_NO},
    };
    for (size_t i = 0; i < COUNT_OF(bounds); i++)
        if (bounds[i].value < bounds[i].min || bounds[i].value > bounds[i].max)
            return err_set(err, VARVE_EINVAL,
                           "options: %s is %" PRIu64 ", it must be %" PRIu64 " to %" PRIu64,
                           bounds[i].name, bounds[i].value, bounds[i].min, bounds[i].max);
    return 0;
}
