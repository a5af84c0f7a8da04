/* options.h - how a database is opened. Zero means the default in every field but the executor,
 * so that `struct varve_options options = {0}` and an executor is all that is needed. */
#ifndef VARVE_OPTIONS_H
#define VARVE_OPTIONS_H

#include <stdint.h>

#include "varve/api.h"
#include "varve/env.h"
#include "varve/executor.h"
#include "varve/slice.h"

VARVE_API_BEGIN

/* When a written record is made durable; the words are redis.conf's `appendfsync`. */
enum varve_durability {
    VARVE_EVERYSEC = 0, /* a sync starts within 1 s of the oldest unsynced byte (default) */
    VARVE_ALWAYS = 1,   /* a sync starts at each commit; commits meanwhile join the next one */
    VARVE_NO = 2,       /* when a WAL file is full, at close, and when the system feels like it */
};

/* Told from the thread that synced, once a sync ended: that of a job, or the caller's own in varve_wait_durable() or
 * varve_write_durable(), which must not hold what this takes. All up to `seq` is durable. failed is 1 if the sync
 * failed; then what lies above seq has an unknown outcome and writes are refused. Must not call the engine; typically
 * wakes the loop. */
typedef void (*varve_durable_fn)(void *arg, uint64_t seq, int failed);

/* The engine's own story (what recovery found, a failed sync, healed): one line, borrowed for the
 * call. level as in syslog: 4 warning, 5 notice, 7 debug. Any thread. */
typedef void (*varve_log_fn)(void *arg, int level, const char *line);

/* The length of the leading part of key that names its count group, 0 if it is in none, at most
 * VARVE_GROUP_MAX_BYTES. No group's name may be the beginning of another's. Pure; any thread. */
typedef size_t (*varve_group_fn)(void *arg, struct varve_slice key);
#define VARVE_GROUP_MAX_BYTES 16

/* Of blocks in segments; a block that does not get smaller is kept as it is. */
enum varve_compression {
    VARVE_SNAPPY = 0, /* default */
    VARVE_COMPRESSION_NONE = 1,
};

#define VARVE_NO_FILTER UINT32_MAX
#define VARVE_NO_RESERVE UINT64_MAX

struct varve_options {
    struct varve_env *env;           /* default varve_env_posix() */
    struct varve_executor *executor; /* required: varve_executor_threads_create() */
    enum varve_durability durability;
    uint64_t
        memtable_size_bytes; /* default 64 MiB, at least 64 KiB: a full one is flushed; where writes come as
                                   * fast as flushes do, a smaller one, of at least half that */
    uint32_t memtables_max; /* default 4, 2 .. 16: the active one and those that wait; when all
                                   * are full, writes wait */
    uint64_t block_cache_size_bytes; /* default 256 MiB, at least 1 MiB: blocks, indexes, filters;
                                      * varve_set_cache_size() changes it */
    uint64_t row_cache_size_bytes; /* default 0: none; else at least 64 KiB, beside the block cache:
                                      * records of up to 1 KiB that are read often while their blocks
                                      * do not stay in that */
    uint32_t block_size_bytes;     /* default 4 KiB, 512 B .. 1 MiB, uncompressed */
    uint64_t segment_size_bytes;   /* default 64 MiB, at least 16 KiB: where a run is cut */
    uint32_t segments_max;         /* default 4096, 16 .. 32768: each is an open file */
    uint32_t bloom_bits_per_key; /* default 10, at most 32: of segments written into the last level,
                                    * 8/5 of it above; VARVE_NO_FILTER: none */
    enum varve_compression compression;
    uint32_t compaction_jobs;    /* default 1, at most 16: into how many a large compaction is cut;
                                * as many threads should run them */
    uint64_t expiry_grace_ms;    /* so long after its expiry compactions keep a record, so that a
                                * sweeper of the caller's meets it, unless that is done already
                                * (varve_set_swept_ms()); default 0 */
    uint64_t rate_limit_bytes;   /* a second, of flushes and compactions; 0: no limit */
    uint64_t min_free_bytes;     /* default 64 MiB; VARVE_NO_RESERVE: 0. Where
                                  * less is left beyond what memtables hold, writes are refused */
    uint64_t reserve_size_bytes; /* default 16 MiB; VARVE_NO_RESERVE: none. Kept for deletes,
                                  * flushes and what gives space back when the disk is full */
    uint64_t wal_size_bytes;     /* default 64 MiB, at least 4 KiB: when the next file starts */
    uint32_t wal_pool_size; /* default 2, at most 16: WAL files kept ready to be written again; only
                                  * where none is there, a new one is made ahead */
    int no_create;          /* 1: refuse a directory without a database in it */
    varve_durable_fn on_durable; /* NULL: nobody is told */
    varve_log_fn on_log;         /* NULL: nobody is told */
    varve_group_fn count_group; /* NULL: no key is in a group, nothing is counted. The same function
                                  * at every open, as the counts are kept on disk */
    void *arg;                  /* passed to the callbacks; borrowed */
};

VARVE_API_END

#endif
