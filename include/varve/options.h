/* options.h - how a database is opened. Zero means the default in every field. */
#ifndef VARVE_OPTIONS_H
#define VARVE_OPTIONS_H

#include <stdint.h>

#include "varve/env.h"
#include "varve/executor.h"
#include "varve/slice.h"

/* When a written record is made durable; the words are redis.conf's `appendfsync`. */
enum varve_durability {
    VARVE_EVERYSEC = 0, /* a sync starts within 1 s of the oldest unsynced byte (default) */
    VARVE_ALWAYS = 1,   /* a sync starts at each commit; commits meanwhile join the next one */
    VARVE_NO = 2,       /* when a WAL file is full, at close, and when the system feels like it */
};

/* Told from the thread of a sync job, once a sync ended: all up to `seq` is durable. failed is 1 if
 * the sync failed; then what lies above seq has an unknown outcome and writes are refused. Must not
 * call the engine; typically wakes the loop. */
typedef void (*varve_durable_fn)(void *arg, uint64_t seq, int failed);

/* The engine's own story (what recovery found, a failed sync, healed): one line, borrowed for the
 * call. level as in syslog: 4 warning, 5 notice, 7 debug. Any thread. */
typedef void (*varve_log_fn)(void *arg, int level, const char *line);

/* The length of the leading part of key that names its count group, 0 if it is in none, at most
 * VARVE_GROUP_MAX_BYTES. No group's name may be the beginning of another's. Pure; any thread. */
typedef size_t (*varve_group_fn)(void *arg, struct varve_slice key);
#define VARVE_GROUP_MAX_BYTES 16

struct varve_options {
    struct varve_env *env;           /* default varve_env_posix() */
    struct varve_executor *executor; /* required */
    enum varve_durability durability;
    uint64_t memtable_size_bytes; /* default 2 GiB, at least 64 KiB: a full one refuses writes */
    uint64_t wal_size_bytes;      /* default 64 MiB, at least 4 KiB: when the next file starts */
    uint32_t wal_pool_size;       /* default 2, at most 16: WAL files kept ready, pre-written */
    int no_create;                /* 1: refuse a directory without a database in it */
    varve_durable_fn on_durable;
    varve_log_fn on_log;
    varve_group_fn count_group;
    void *arg; /* passed to the callbacks */
};

#endif
