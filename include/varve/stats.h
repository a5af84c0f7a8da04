/* stats.h - the engine's figures at one moment, filled by varve_stats(). Counters start at 0
 * when the database is opened; the figures are not of one instant, each is true by itself. */
#ifndef VARVE_STATS_H
#define VARVE_STATS_H

#include <stdint.h>

enum varve_health {
    VARVE_HEALTHY = 0,
    VARVE_FAILED = 1,  /* a log write or sync failed: writes are refused, healing is tried */
    VARVE_HEALING = 2, /* a healing job runs */
};

#define VARVE_LEVELS_MAX 8
#define VARVE_STALL_CAUSES 8 /* at least VARVE_STALL_CAUSE_COUNT */

struct varve_level_stats {
    uint64_t runs; /* level 0: any number; below: at most one */
    uint64_t segments;
    uint64_t bytes;         /* of the files */
    uint64_t reads;         /* lookups that reached a segment of it, past the filter */
    uint64_t filter_no;     /* lookups that a filter sent away */
    uint64_t filter_true;   /* lookups that a filter let through, and the key was there */
    uint64_t filter_false;  /* the key was not there */
    uint64_t read_bytes;    /* by compactions into this level */
    uint64_t written_bytes; /* by flushes and compactions into this level */
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
    uint64_t count_lookups;   /* of keys, by counts */
    uint64_t memtables;       /* the active one and those that wait for a flush */
    uint64_t memtables_bytes; /* of all of them */
    struct varve_level_stats levels[VARVE_LEVELS_MAX];
    uint64_t segment_bytes;    /* of live segments */
    uint64_t dead_bytes;       /* about how many of those are overwritten, deleted or expired */
    uint64_t pinned_bytes;     /* indexes, filters, range tombstones in memory */
    uint64_t range_tombstones; /* in segments */
    uint64_t flushes;
    uint64_t flush_bytes;
    uint64_t compactions; /* that wrote something */
    uint64_t compaction_read_bytes;
    uint64_t compaction_written_bytes;
    uint64_t compaction_copied_bytes; /* of those, in blocks that were copied as they were */
    uint64_t moves;                   /* of segments to another level, without I/O */
    uint64_t drops;                   /* of segments that were wholly dead */
    uint64_t compactions_running;
    uint64_t flushes_waiting;
    uint64_t background_failures; /* flushes and compactions that failed; each is tried again */
    uint64_t user_bytes;          /* of keys and values that were written; the divisor of write
                                   * amplification */
    uint64_t cache_limit_bytes;
    uint64_t cache_used_bytes;
    uint64_t
        cache_held_bytes; /* of the memory that the process's blocks lie in, what the system gave, */
    uint64_t cache_free_bytes;      /* what of that is free between blocks, */
    uint64_t cache_spare_bytes;     /* and what is kept of past blocks for new ones */
    uint64_t memtables_spare_bytes; /* kept of past memtables for the next ones */
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t row_cache_limit_bytes; /* 0: there is none */
    uint64_t row_cache_used_bytes;  /* its tables included */
    uint64_t row_cache_rows;
    uint64_t row_cache_hits;
    uint64_t row_cache_misses; /* of reads that no memtable answered, while it held rows */
    uint64_t stall_count[VARVE_STALL_CAUSES]; /* by enum varve_stall_cause */
    uint64_t stall_us[VARVE_STALL_CAUSES];    /* asked for */
    uint64_t stall_us_max;                    /* the longest single delay */
    uint64_t disk_free_bytes;                 /* 0: not known */
    uint64_t reserve_bytes;                   /* that are kept now */
    uint64_t recovered_records;
    uint64_t recovered_ops;
    uint64_t recovered_dropped_bytes;   /* of a torn tail */
    uint64_t recovered_unvouched_bytes; /* read back, but promised by nothing */
    uint64_t recovery_us;
};

#endif
