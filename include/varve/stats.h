/* stats.h - the engine's figures at one moment. Counters start at 0 when the database is opened. */
#ifndef VARVE_STATS_H
#define VARVE_STATS_H

#include <stdint.h>

enum varve_health {
    VARVE_HEALTHY = 0,
    VARVE_FAILED = 1,  /* a log write or sync failed: writes are refused, healing is tried */
    VARVE_HEALING = 2, /* a healing job runs */
};

struct varve_stats {
    enum varve_health health;
    uint64_t seq_applied; /* the newest operation in memory, the open group's included */
    uint64_t seq_visible; /* the newest committed operation */
    uint64_t seq_durable; /* everything up to here survives a power cut */
    uint64_t memtable_bytes;
    uint64_t memtable_limit_bytes;
    uint64_t memtable_entries; /* distinct keys, tombstones included */
    uint64_t wal_files;        /* live ones */
    uint64_t wal_bytes;        /* written to live ones */
    uint64_t wal_pool_files;
    uint64_t wal_records;
    uint64_t wal_written_bytes;
    uint64_t wal_syncs;
    uint64_t wal_sync_us_total;
    uint64_t wal_sync_us_max;
    uint64_t wal_slow_writes; /* log writes that took more than 1 ms */
    uint64_t wal_unsynced_us; /* the age of the oldest byte that a power cut could take */
    uint64_t wal_failures;    /* failed log writes and syncs */
    uint64_t heals;
    uint64_t snapshots;
    uint64_t recovered_records;
    uint64_t recovered_ops;
    uint64_t recovered_dropped_bytes;   /* of a torn tail */
    uint64_t recovered_unvouched_bytes; /* read back, but promised by nothing */
    uint64_t recovery_us;
};

#endif
