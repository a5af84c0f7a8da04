/* The engine's figures at one moment, gathered from its parts. */
#include "lsm/db.h"
#include "segment/block.h"

static void stats_of_log(struct varve_db *db, struct varve_stats *stats)
{
    struct wal_sync *sync = &db->wal.sync;
    uint64_t dropped = atomic_load(&db->wal_dropped_bytes);
    uint64_t live = db->wal.live_bytes + db->wal.log->offset;

    stats->wal_files = db->wal.files - atomic_load(&db->wal_dropped_files);
    stats->wal_bytes = live > dropped ? live - dropped : db->wal.log->offset;
    stats->wal_pool_files = wal_pool_file_count(&db->wal.pool);
    stats->wal_records = db->wal.records;
    stats->wal_written_bytes = db->wal.written_bytes;
    stats->wal_slow_writes = db->wal.slow_writes;
    stats->wal_unsynced_us = wal_sync_age_us(sync, db->now_us);
    stats->wal_failures = db->failures;
    stats->heals = db->heals;
    mutex_lock(&sync->mutex);
    stats->wal_syncs = sync->syncs;
    stats->wal_sync_us_total = sync->sync_us_total;
    stats->wal_sync_us_max = sync->sync_us_max;
    mutex_unlock(&sync->mutex);
}

static uint64_t load_relaxed(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void stats_of_levels(struct varve_db *db, const struct version *version,
                            struct varve_stats *stats)
{
    for (size_t i = 0; i < version->run_count; i++) {
        const struct sorted_run *run = &version->runs[i];
        struct varve_level_stats *level = &stats->levels[run->level];
        level->runs++;
        level->segments += run->count;
        level->bytes += run->bytes;
    }
    for (int i = 0; i < LEVELS_MAX; i++) {
        struct varve_level_stats *level = &stats->levels[i];
        for (unsigned slot = 0; slot < THREAD_SLOTS; slot++) {
            const struct read_counters *reads = &db->reads[slot];
            level->filter_no += load_relaxed(&reads->filter_no[i]);
            level->filter_true += load_relaxed(&reads->filter_true[i]);
            level->filter_false += load_relaxed(&reads->filter_false[i]);
        }
        level->reads = level->filter_true + level->filter_false;
    }
    stats->segment_bytes = version->bytes;
    stats->range_tombstones = range_set_count(version->ranges);
}

static void stats_of_rows(struct varve_db *db, struct varve_stats *stats)
{
    struct row_cache_stats rows = {0};

    if (db->rows != NULL)
        row_cache_get_stats(db->rows, &rows);
    stats->row_cache_limit_bytes = rows.limit_bytes;
    stats->row_cache_used_bytes = rows.used_bytes;
    stats->row_cache_rows = rows.rows;
    stats->row_cache_hits = rows.hits;
    stats->row_cache_misses = rows.misses;
}

static void stats_of_memory(struct varve_db *db, struct varve_stats *stats)
{
    struct cache_stats cache;
    struct pieces_stats blocks;

    rcu_enter();
    const struct view *view = view_current(&db->view);
    stats->memtables = view->immutable_count + 1;
    stats->memtables_bytes = memtable_used_bytes(view->active);
    for (size_t i = 0; i < view->immutable_count; i++)
        stats->memtables_bytes += memtable_used_bytes(view->immutable[i]);
    stats->flushes_waiting = view->immutable_count;
    stats_of_levels(db, view->version, stats);
    rcu_leave();
    stats->memtable_bytes = memtable_used_bytes(db->memtable);
    stats->memtable_limit_bytes = db->options.memtable_size_bytes;
    stats->memtable_entries = memtable_entry_count(db->memtable);
    cache_get_stats(db->cache, &cache);
    stats->cache_limit_bytes = cache.limit_bytes;
    stats->cache_used_bytes = cache.used_bytes;
    block_memory_get(&blocks);
    stats->cache_held_bytes = blocks.held_bytes;
    stats->cache_spare_bytes = blocks.spare_bytes;
    stats->cache_free_bytes = blocks.held_bytes - blocks.spare_bytes - blocks.used_bytes;
    stats->memtables_spare_bytes = arena_pool_bytes(&db->arenas);
    stats->cache_hits = cache.hits;
    stats->cache_misses = cache.misses;
    stats->pinned_bytes = cache.reserved_bytes;
    stats_of_rows(db, stats);
}

static void stats_of_background(struct varve_db *db, struct varve_stats *stats)
{
    struct flusher *flusher = &db->flusher;
    struct compactor *compactor = &db->compactor;

    mutex_lock(&flusher->mutex);
    stats->flushes = flusher->flushes;
    stats->flush_bytes = flusher->bytes;
    stats->background_failures = flusher->failures;
    stats->levels[0].written_bytes = flusher->bytes;
    mutex_unlock(&flusher->mutex);
    mutex_lock(&compactor->mutex);
    stats->compactions = compactor->compactions;
    stats->compaction_read_bytes = compactor->read_bytes;
    stats->compaction_written_bytes = compactor->written_bytes;
    stats->compaction_copied_bytes = compactor->copied_bytes;
    stats->moves = compactor->moves;
    stats->drops = compactor->drops;
    stats->compactions_running = compactor->merging;
    stats->background_failures += compactor->failures;
    stats->dead_bytes = compactor->debt.dead_bytes;
    for (int i = 0; i < LEVELS_MAX; i++) {
        stats->levels[i].read_bytes += compactor->level_read_bytes[i];
        stats->levels[i].written_bytes += compactor->level_written_bytes[i];
    }
    mutex_unlock(&compactor->mutex);
    for (int i = 0; i < VARVE_STALL_CAUSES; i++) {
        stats->stall_count[i] = db->stall.count[i];
        stats->stall_us[i] = db->stall.us[i];
    }
    stats->stall_us_max = db->stall.us_max;
    uint64_t free_bytes = atomic_load(&db->space.free_bytes);
    stats->disk_free_bytes = free_bytes == UINT64_MAX ? 0 : free_bytes;
    stats->reserve_bytes = atomic_load(&db->space.reserve_bytes);
}

void varve_stats(const struct varve_db *db, struct varve_stats *stats)
{
    struct varve_db *mutable = (struct varve_db *)(uintptr_t)db; /* for its mutexes */

    *stats = db->recovered;
    stats->seq_applied = db->applied_seq;
    stats->seq_visible = atomic_load(&db->visible_seq);
    stats->seq_durable = atomic_load(&db->wal.sync.durable_seq);
    stats->user_bytes = db->user_bytes;
    stats->count_lookups = atomic_load_explicit(&db->count_lookups, memory_order_relaxed);
    stats_of_log(mutable, stats);
    stats_of_memory(mutable, stats);
    stats_of_background(mutable, stats);
    mutex_lock(&mutable->snapshots.mutex);
    stats->snapshots = db->snapshots.count;
    mutex_unlock(&mutable->snapshots.mutex);
    if (varve_writable(db, NULL) != 0)
        stats->health = heal_state(&mutable->heal) == HEAL_RUNNING ? VARVE_HEALING : VARVE_FAILED;
}
