/* INFO. The fields are Redis 7.0's, by the same names, so that exporters and dashboards read them;
 * what varve alone has is in the sections Varve and LSM. A field whose thing does not exist here is 0 if
 * tools ask for it, and otherwise left out (exporters skip what is absent):
 *
 *   allocator_*, rss_overhead_*, mem_aof_buffer, mem_not_counted_for_evict and other mem_* parts
 *   the inside of Redis's allocation; ours are mem_memtables to mem_other
 *   used_memory_vm_*, used_memory_scripts*, used_memory_functions, number_of_*   no scripts yet
 *   current_cow_*, current_fork_perc, current_save_keys_*, module_fork_*, rdb_last_cow_size,
 *   rdb_last_load_*, aof_last_cow_size   nothing is forked, nothing is saved as a whole
 *   *_repl_kbps, dump_payload_sanitizations, reply_buffer_*   machinery that is not there
 *   used_cpu_*_main_thread   the threads are not counted apart
 *
 * The reply waits for no sync: what is monitored must answer while a disk hangs. The section Keyspace alone
 * may need reads, to count, though not many: above 100,000 keys of a database it says about how many they
 * are, and how many expire. Who must not wait for them asks for the other sections by name. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cmd/client.h"
#include "cmd/ctx.h"
#include "cmd/persistence.h"
#include "cmd/table.h"
#include "config/config.h"
#include "metrics/histogram.h"
#include "metrics/info.h"
#include "metrics/metrics.h"
#include "types/expirer.h"
#include "types/keyspace.h"
#include "varve/db.h"
#include "varve/stats.h"

#define REDIS_VERSION "7.0.15" /* whose behaviour is kept; clients choose features by it */
#define US_PER_SECOND ((uint64_t)1000 * 1000)
#define SECONDS_PER_DAY 86400

/* There if the program is linked with jemalloc. */
extern int mallctl(const char *name, void *old, size_t *old_bytes, void *fresh, size_t fresh_bytes)
    __attribute__((weak));

static void put_platform(struct info *info)
{
    struct utsname system = {0};
    char path[512];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

    (void)uname(&system);
    info_fmt(info, "os", "%s %s %s", system.sysname, system.release, system.machine);
    info_u64(info, "arch_bits", sizeof(void *) * 8);
    info_str(info, "monotonic_clock", "POSIX clock_gettime");
    info_str(info, "multiplexing_api", "epoll");
    info_str(info, "atomicvar_api", "c11-builtin");
    info_fmt(info, "gcc_version", "%d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
    info_u64(info, "process_id", (uint64_t)getpid());
    info_str(info, "process_supervised", "no");
    path[len > 0 ? len : 0] = '\0';
    info_str(info, "executable", path);
}

static void put_server(struct info *info, const struct cmd_ctx *ctx)
{
    const struct metrics *metrics = ctx->metrics;
    uint64_t up_seconds = (clock_mono_us() - metrics->start_mono_us) / US_PER_SECOND;
    uint64_t now_us = clock_real_us();

    info_str(info, "redis_version", REDIS_VERSION);
    info_str(info, "redis_git_sha1", "00000000");
    info_u64(info, "redis_git_dirty", 0);
    info_str(info, "redis_build_id", "0");
    info_str(info, "redis_mode", "standalone");
    info_str(info, "varve_version", varve_version());
    put_platform(info);
    info_str(info, "run_id", metrics->run_id);
    info_u64(info, "tcp_port",
             metrics->tcp_port != 0 ? (uint64_t)metrics->tcp_port
                                    : (uint64_t)config_int(ctx->config, OPT_PORT));
    info_u64(info, "server_time_usec", now_us);
    info_u64(info, "uptime_in_seconds", up_seconds);
    info_u64(info, "uptime_in_days", up_seconds / SECONDS_PER_DAY);
    info_u64(info, "hz", (uint64_t)config_int(ctx->config, OPT_HZ));
    info_u64(info, "configured_hz", (uint64_t)config_int(ctx->config, OPT_HZ));
    info_u64(info, "lru_clock", now_us / US_PER_SECOND & 0xffffff);
    info_str(info, "config_file", config_file(ctx->config));
    info_u64(info, "io_threads_active", config_int(ctx->config, OPT_IO_THREADS) > 1);
}

static void put_clients(struct info *info, const struct cmd_ctx *ctx)
{
    struct processor_stats stats;

    processor_get_stats(ctx->processor, &stats);
    info_u64(info, "connected_clients", stats.session_count);
    info_u64(info, "cluster_connections", 0);
    info_u64(info, "maxclients", (uint64_t)config_int(ctx->config, OPT_MAXCLIENTS));
    info_u64(info, "client_recent_max_input_buffer", ctx->metrics->input_buffer_max_bytes);
    info_u64(info, "client_recent_max_output_buffer", ctx->metrics->output_buffer_max_bytes);
    info_u64(info, "blocked_clients", stats.paused_sessions);
    info_u64(info, "tracking_clients", 0);
    info_u64(info, "clients_in_timeout_table", 0);
}

static void put_allocator(struct info *info)
{
    const char *version = NULL;
    size_t bytes = sizeof(version);

    if (mallctl == NULL || mallctl("version", &version, &bytes, NULL, 0) != 0)
        info_str(info, "mem_allocator", "libc");
    else /* "5.3.0-0-g..." */
        info_fmt(info, "mem_allocator", "jemalloc-%.*s", (int)strcspn(version, "-"), version);
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (double)part * 100 / (double)whole;
}

/* Who has what of used_memory. mem_other is the program itself and the buffers of flushes and merges. */
static void put_owners(struct info *info, const struct cmd_ctx *ctx,
                       const struct varve_stats *engine, uint64_t used)
{
    uint64_t clients = clients_memory_bytes(ctx->processor);
    uint64_t known = clients + engine->memtables_bytes + engine->memtables_spare_bytes +
                     engine->cache_used_bytes + engine->cache_free_bytes +
                     engine->cache_spare_bytes + engine->pinned_bytes;

    info_u64(info, "mem_memtables", engine->memtables_bytes);
    info_u64(info, "mem_memtables_spare", engine->memtables_spare_bytes);
    info_u64(info, "mem_block_cache", engine->cache_used_bytes);
    info_u64(info, "mem_block_cache_free", engine->cache_free_bytes);
    info_u64(info, "mem_block_cache_spare", engine->cache_spare_bytes);
    info_u64(info, "mem_block_cache_limit", engine->cache_limit_bytes);
    info_u64(info, "mem_indexes_filters", engine->pinned_bytes);
    info_u64(info, "mem_clients_normal", clients);
    info_u64(info, "mem_clients_slaves", 0);
    info_u64(info, "mem_other", used > known ? used - known : 0);
}

static void put_memory(struct info *info, const struct cmd_ctx *ctx,
                       const struct varve_stats *engine)
{
    uint64_t used = mem_used_bytes();
    uint64_t resident = metrics_resident_bytes();
    uint64_t held = engine->memtables_bytes + engine->cache_used_bytes;
    uint64_t data = held < used ? held : used;

    metrics_note_memory(ctx->metrics);
    info_bytes(info, "used_memory", used);
    info_bytes(info, "used_memory_rss", resident);
    info_bytes(info, "used_memory_peak", ctx->metrics->memory_peak_bytes);
    info_fmt(info, "used_memory_peak_perc", "%.2f%%",
             percent(used, ctx->metrics->memory_peak_bytes));
    info_u64(info, "used_memory_overhead", used - data);
    info_u64(info, "used_memory_startup", ctx->metrics->memory_startup_bytes);
    info_u64(info, "used_memory_dataset", data);
    info_fmt(info, "used_memory_dataset_perc", "%.2f%%", percent(data, used));
    info_bytes(info, "total_system_memory",
               ctx->metrics->memory_machine_bytes != 0
                   ? ctx->metrics->memory_machine_bytes
                   : (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    info_bytes(info, "used_memory_lua", 0);
    info_bytes(info, "maxmemory", ctx->metrics->memory_budget_bytes); /* that is in force */
    info_str(info, "maxmemory_policy", config_str(ctx->config, OPT_MAXMEMORY_POLICY));
    info_fmt(info, "mem_fragmentation_ratio", "%.2f",
             used == 0 ? 0 : (double)resident / (double)used);
    info_fmt(info, "mem_fragmentation_bytes", "%" PRId64, (int64_t)(resident - used));
    put_owners(info, ctx, engine, used);
    put_allocator(info);
    info_u64(info, "active_defrag_running", 0);
    info_u64(info, "lazyfree_pending_objects", 0);
    info_u64(info, "lazyfreed_objects", 0);
}

/* The log is the persistence there is, and Redis's fields are told of it: rdb_* of what is not
 * durable yet, aof_* of the log itself. */
static void put_persistence(struct info *info, const struct varve_stats *engine)
{
    const char *status = engine->health == VARVE_HEALTHY ? "ok" : "err";
    uint64_t unsynced = engine->seq_visible > engine->seq_durable
                            ? engine->seq_visible - engine->seq_durable
                            : 0;

    info_u64(info, "loading", 0);
    info_u64(info, "async_loading", 0);
    info_u64(info, "rdb_changes_since_last_save", unsynced);
    info_u64(info, "rdb_bgsave_in_progress", 0);
    info_u64(info, "rdb_last_save_time", cmd_last_save_s(engine));
    info_str(info, "rdb_last_bgsave_status", status);
    info_str(info, "rdb_last_bgsave_time_sec", "-1");
    info_str(info, "rdb_current_bgsave_time_sec", "-1");
    info_u64(info, "rdb_saves", 0);
    info_u64(info, "aof_enabled", 1);
    info_u64(info, "aof_rewrite_in_progress", 0);
    info_u64(info, "aof_rewrite_scheduled", 0);
    info_str(info, "aof_last_rewrite_time_sec", "-1");
    info_str(info, "aof_current_rewrite_time_sec", "-1");
    info_str(info, "aof_last_bgrewrite_status", "ok");
    info_u64(info, "aof_rewrites", 0);
    info_str(info, "aof_last_write_status", status);
    info_u64(info, "aof_current_size", engine->wal_bytes);
    info_u64(info, "aof_base_size", 0);
    info_u64(info, "aof_pending_rewrite", 0);
    info_u64(info, "aof_buffer_length", 0);
    info_u64(info, "aof_pending_bio_fsync", unsynced > 0);
    info_u64(info, "aof_delayed_fsync", engine->wal_slow_writes);
}

static void put_traffic(struct info *info, const struct metrics *metrics)
{
    double input = (double)metrics_rate(metrics, METRICS_RATE_INPUT);
    double output = (double)metrics_rate(metrics, METRICS_RATE_OUTPUT);

    info_u64(info, "instantaneous_ops_per_sec", metrics_rate(metrics, METRICS_RATE_COMMANDS));
    info_u64(info, "total_net_input_bytes", metrics->net_input_bytes);
    info_u64(info, "total_net_output_bytes", metrics->net_output_bytes);
    info_u64(info, "total_net_repl_input_bytes", 0);
    info_u64(info, "total_net_repl_output_bytes", 0);
    info_fmt(info, "instantaneous_input_kbps", "%.2f", input / 1024);
    info_fmt(info, "instantaneous_output_kbps", "%.2f", output / 1024);
    info_u64(info, "rejected_connections", metrics->rejected_connections);
    info_u64(info, "evicted_clients", metrics->evicted_clients);
    info_u64(info, "total_reads_processed", metrics->net_reads);
    info_u64(info, "total_writes_processed", metrics->net_writes);
}

static void put_stats(struct info *info, const struct cmd_ctx *ctx)
{
    static const char *const never[] = {
        "sync_full",
        "sync_partial_ok",
        "sync_partial_err",
        "evicted_keys",
        "total_eviction_exceeded_time",
        "current_eviction_exceeded_time",
        "pubsub_channels",
        "pubsub_patterns",
        "pubsubshard_channels",
        "latest_fork_usec",
        "total_forks",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "tracking_total_keys",
        "tracking_total_items",
        "tracking_total_prefixes",
        "unexpected_error_replies",
    };
    struct processor_stats stats;
    struct expirer_stats expirer;
    struct keyspace_stats keys;

    expirer_get_stats(processor_expirer(ctx->processor), &expirer);
    processor_get_stats(ctx->processor, &stats);
    keyspace_get_stats(ctx->keyspace, &keys);
    info_u64(info, "total_connections_received", stats.sessions_made);
    info_u64(info, "total_commands_processed", stats.commands);
    put_traffic(info, ctx->metrics);
    info_u64(info, "expired_keys", keys.expired_keys);
    info_fmt(info, "expired_stale_perc", "%.2f", expirer.stale_percent);
    info_u64(info, "expired_time_cap_reached_count", expirer.capped);
    info_u64(info, "expire_cycle_cpu_milliseconds", (expirer.turn_us + expirer.walk_us) / 1000);
    info_u64(info, "keyspace_hits", keys.hits);
    info_u64(info, "keyspace_misses", keys.misses);
    info_u64(info, "total_error_replies", stats.error_replies);
    for (size_t i = 0; i < COUNT_OF(never); i++)
        info_u64(info, never[i], 0);
    info_u64(info, "io_threaded_reads_processed", ctx->metrics->threaded_reads);
    info_u64(info, "io_threaded_writes_processed", ctx->metrics->threaded_writes);
}

static void put_replication(struct info *info, const struct cmd_ctx *ctx)
{
    info_str(info, "role", "master");
    info_u64(info, "connected_slaves", 0);
    info_str(info, "master_failover_state", "no-failover");
    info_str(info, "master_replid", ctx->metrics->replid);
    info_str(info, "master_replid2", "0000000000000000000000000000000000000000");
    info_u64(info, "master_repl_offset", 0);
    info_str(info, "second_repl_offset", "-1");
    info_u64(info, "repl_backlog_active", 0);
    info_u64(info, "repl_backlog_size", (uint64_t)config_int(ctx->config, OPT_REPL_BACKLOG_SIZE));
    info_u64(info, "repl_backlog_first_byte_offset", 0);
    info_u64(info, "repl_backlog_histlen", 0);
}

static void put_cpu_time(struct info *info, const char *name, const struct timeval *time)
{
    info_fmt(info, name, "%ld.%06ld", (long)time->tv_sec, (long)time->tv_usec);
}

static void put_cpu(struct info *info)
{
    struct rusage self = {0};
    struct rusage children = {0};

    (void)getrusage(RUSAGE_SELF, &self);
    (void)getrusage(RUSAGE_CHILDREN, &children);
    put_cpu_time(info, "used_cpu_sys", &self.ru_stime);
    put_cpu_time(info, "used_cpu_user", &self.ru_utime);
    put_cpu_time(info, "used_cpu_sys_children", &children.ru_stime);
    put_cpu_time(info, "used_cpu_user_children", &children.ru_utime);
}

static void put_commandstats(struct info *info, const struct processor *processor)
{
    for (int i = 0; i < command_count(); i++) {
        const struct command *command = command_at(i);
        const struct command_stats *stats = processor_command_stats(processor, command);
        char name[96];
        uint64_t usec = stats->nsec / 1000;
        if (stats->calls == 0 && stats->rejected == 0 && stats->failed == 0)
            continue;
        snprintf(name, sizeof(name), "cmdstat_%s", command->full_name);
        info_fmt(info, name,
                 "calls=%" PRIu64 ",usec=%" PRIu64 ",usec_per_call=%.2f,rejected_calls=%" PRIu64
                 ",failed_calls=%" PRIu64,
                 stats->calls, usec, stats->calls == 0 ? 0 : (double)usec / (double)stats->calls,
                 stats->rejected, stats->failed);
    }
}

static void put_errorstats(struct info *info, const struct processor *processor)
{
    uint64_t count;
    const char *class;

    for (int i = 0; (class = processor_error_class(processor, i, &count)) != NULL; i++) {
        char name[96];
        snprintf(name, sizeof(name), "errorstat_%s", class);
        info_fmt(info, name, "count=%" PRIu64, count);
    }
}

static void put_latencystats(struct info *info, const struct cmd_ctx *ctx)
{
    for (int i = 0; i < command_count(); i++) {
        const struct command *command = command_at(i);
        const struct histogram *histogram = processor_command_histogram(ctx->processor, command);
        char name[96], word[32], text[512] = "";
        size_t used = 0;
        if (histogram == NULL)
            continue;
        for (size_t w = 0;
             used < sizeof(text) - 64 &&
             config_word(ctx->config, OPT_LATENCY_TRACKING_INFO_PERCENTILES, w, word, sizeof(word));
             w++)
            used += (size_t)snprintf(
                text + used, sizeof(text) - used, "%sp%s=%.3f", w > 0 ? "," : "", word,
                (double)histogram_percentile_ns(histogram, strtod(word, NULL)) / 1000);
        snprintf(name, sizeof(name), "latency_percentiles_usec_%s", command->full_name);
        info_str(info, name, text);
    }
}

static void put_keyspace(struct info *info, const struct cmd_ctx *ctx)
{
    int databases = (int)config_int(ctx->config, OPT_DATABASES);

    for (int db = 0; db < databases; db++) {
        char name[16];
        uint64_t count = 0;
        uint64_t seq = 0; /* not waited for: see the top */
        struct keyspace_expiring expiring;
        if (keyspace_count_about(ctx->keyspace, db, &count, &seq, NULL) != 0 || count == 0 ||
            keyspace_expiring(ctx->keyspace, db, count, ctx->now_ms, &expiring, NULL) != 0)
            continue;
        snprintf(name, sizeof(name), "db%d", db);
        info_fmt(info, name, "keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=%" PRIu64, count,
                 expiring.names, expiring.ttl_ms);
    }
}

static const char *health_word(enum varve_health health)
{
    switch (health) {
    case VARVE_HEALTHY: return "ok";
    case VARVE_FAILED: return "failed";
    case VARVE_HEALING: return "healing";
    }
    return "unknown";
}

static void put_log(struct info *info, const struct varve_stats *engine)
{
    info_u64(info, "wal_files", engine->wal_files);
    info_u64(info, "wal_bytes", engine->wal_bytes);
    info_u64(info, "wal_pool_files", engine->wal_pool_files); /* neither live nor in wal_bytes */
    info_u64(info, "wal_records", engine->wal_records);
    info_u64(info, "wal_written_bytes", engine->wal_written_bytes);
    info_u64(info, "wal_syncs", engine->wal_syncs);
    info_u64(info, "wal_sync_us_total", engine->wal_sync_us_total);
    info_u64(info, "wal_sync_us_max", engine->wal_sync_us_max);
    info_u64(info, "wal_slow_writes", engine->wal_slow_writes);
    info_u64(info, "wal_unsynced_us", engine->wal_unsynced_us);
    info_u64(info, "wal_failures", engine->wal_failures);
    info_u64(info, "wal_heals", engine->heals);
}

static void put_expirer(struct info *info, const struct cmd_ctx *ctx)
{
    struct expirer_stats stats;

    expirer_get_stats(processor_expirer(ctx->processor), &stats);
    info_u64(info, "expire_slices", stats.slices);
    info_u64(info, "expire_visits", stats.visits);
    info_u64(info, "expire_walk_us", stats.walk_us);
    info_u64(info, "expire_turns", stats.turns);
    info_u64(info, "expire_turn_us", stats.turn_us);
    info_u64(info, "expire_turn_us_max", stats.turn_max_us);
}

static void put_varve(struct info *info, const struct cmd_ctx *ctx,
                      const struct varve_stats *engine)
{
    const struct metrics *metrics = ctx->metrics;

    info_str(info, "varve_id", varve_id(keyspace_engine(ctx->keyspace)));
    info_str(info, "health", health_word(engine->health));
    info_str(info, "durability", config_str(ctx->config, OPT_APPENDFSYNC));
    info_u64(info, "seq_applied", engine->seq_applied);
    info_u64(info, "seq_visible", engine->seq_visible);
    info_u64(info, "seq_durable", engine->seq_durable);
    info_u64(info, "memtable_bytes", engine->memtable_bytes);
    info_u64(info, "memtable_limit_bytes", engine->memtable_limit_bytes);
    info_u64(info, "memtable_entries", engine->memtable_entries);
    put_log(info, engine);
    put_expirer(info, ctx);
    info_u64(info, "snapshots", engine->snapshots);
    info_u64(info, "recovered_records", engine->recovered_records);
    info_u64(info, "recovered_ops", engine->recovered_ops);
    info_u64(info, "recovered_dropped_bytes", engine->recovered_dropped_bytes);
    info_u64(info, "recovered_unvouched_bytes", engine->recovered_unvouched_bytes);
    info_u64(info, "recovery_us", engine->recovery_us);
    info_u64(info, "turns", metrics->turns);
    info_u64(info, "turns_rerun", metrics->turns_rerun);
    info_u64(info, "held_replies", metrics->held_replies);
    info_u64(info, "held_replies_now", metrics->held_replies_now);
    info_u64(info, "unknown_outcomes", metrics->unknown_outcomes);
    info_u64(info, "protocol_errors", metrics->protocol_errors);
    info_u64(info, "idle_closes", metrics->idle_closes);
    info_u64(info, "query_limit_closes", metrics->query_limit_closes);
    info_u64(info, "output_limit_closes", metrics->output_limit_closes);
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (double)part / (double)whole;
}

static void put_levels(struct info *info, const struct varve_stats *engine)
{
    for (int i = 0; i < VARVE_LEVELS_MAX; i++) {
        const struct varve_level_stats *level = &engine->levels[i];
        char name[16];
        if (level->segments == 0 && level->written_bytes == 0)
            continue;
        snprintf(name, sizeof(name), "level%d", i);
        info_fmt(info, name,
                 "runs=%" PRIu64 ",segments=%" PRIu64 ",bytes=%" PRIu64 ",reads=%" PRIu64
                 ",filter_no=%" PRIu64 ",filter_true=%" PRIu64 ",filter_false=%" PRIu64
                 ",read_bytes=%" PRIu64 ",written_bytes=%" PRIu64,
                 level->runs, level->segments, level->bytes, level->reads, level->filter_no,
                 level->filter_true, level->filter_false, level->read_bytes, level->written_bytes);
    }
}

/* Amplification is of flushes and compactions; the log, which writes all once more, is not in it. */
static void put_rewrites(struct info *info, const struct varve_stats *engine)
{
    uint64_t live = engine->segment_bytes > engine->dead_bytes
                        ? engine->segment_bytes - engine->dead_bytes
                        : 0;

    info_u64(info, "segment_bytes", engine->segment_bytes);
    info_u64(info, "dead_bytes", engine->dead_bytes);
    info_fmt(info, "space_amplification", "%.2f", ratio(engine->segment_bytes, live));
    info_u64(info, "pinned_bytes", engine->pinned_bytes);
    info_u64(info, "range_tombstones", engine->range_tombstones);
    info_u64(info, "flushes", engine->flushes);
    info_u64(info, "flushes_waiting", engine->flushes_waiting);
    info_u64(info, "flush_bytes", engine->flush_bytes);
    info_u64(info, "compactions", engine->compactions);
    info_u64(info, "compactions_running", engine->compactions_running);
    info_u64(info, "compaction_read_bytes", engine->compaction_read_bytes);
    info_u64(info, "compaction_written_bytes", engine->compaction_written_bytes);
    info_u64(info, "segment_moves", engine->moves);
    info_u64(info, "segment_drops", engine->drops);
    info_u64(info, "background_failures", engine->background_failures);
    info_u64(info, "user_bytes", engine->user_bytes);
    info_fmt(info, "write_amplification", "%.2f",
             ratio(engine->flush_bytes + engine->compaction_written_bytes, engine->user_bytes));
}

static void put_cache(struct info *info, const struct varve_stats *engine)
{
    uint64_t absent = 0;
    uint64_t wrong = 0;

    for (int i = 0; i < VARVE_LEVELS_MAX; i++) {
        absent += engine->levels[i].filter_no + engine->levels[i].filter_false;
        wrong += engine->levels[i].filter_false;
    }
    info_u64(info, "cache_limit_bytes", engine->cache_limit_bytes);
    info_u64(info, "cache_used_bytes", engine->cache_used_bytes);
    info_u64(info, "cache_hits", engine->cache_hits);
    info_u64(info, "cache_misses", engine->cache_misses);
    info_fmt(info, "cache_hit_perc", "%.2f%%",
             percent(engine->cache_hits, engine->cache_hits + engine->cache_misses));
    info_u64(info, "row_cache_limit_bytes", engine->row_cache_limit_bytes);
    info_u64(info, "row_cache_used_bytes", engine->row_cache_used_bytes);
    info_u64(info, "row_cache_rows", engine->row_cache_rows);
    info_u64(info, "row_cache_hits", engine->row_cache_hits);
    info_u64(info, "row_cache_misses", engine->row_cache_misses);
    info_fmt(info, "filter_false_perc", "%.2f%%", percent(wrong, absent));
}

static void put_stalls(struct info *info, const struct cmd_ctx *ctx,
                       const struct varve_stats *engine)
{
    struct processor_stats stats;

    processor_get_stats(ctx->processor, &stats);
    info_str(info, "write_stall", varve_stall_name(stats.delay_cause));
    for (int i = VARVE_STALL_NONE + 1; i < VARVE_STALL_CAUSE_COUNT; i++) {
        char name[32];
        snprintf(name, sizeof(name), "stall_%s", varve_stall_name((enum varve_stall_cause)i));
        info_fmt(info, name, "count=%" PRIu64 ",usec=%" PRIu64, engine->stall_count[i],
                 engine->stall_us[i]);
    }
    info_u64(info, "stall_us_max", engine->stall_us_max);
    info_u64(info, "delayed_writes", stats.delayed_writes);
    info_u64(info, "delayed_writes_us", stats.delayed_writes_us);
    info_u64(info, "parked_reads", stats.parked_reads);
    info_u64(info, "parked_clients", ctx->metrics->parked_now);
}

static void put_lsm(struct info *info, const struct cmd_ctx *ctx, const struct varve_stats *engine)
{
    info_u64(info, "memtables", engine->memtables);
    info_u64(info, "memtables_bytes", engine->memtables_bytes);
    put_levels(info, engine);
    put_rewrites(info, engine);
    put_cache(info, engine);
    put_stalls(info, ctx, engine);
    info_u64(info, "count_lookups", engine->count_lookups);
    info_u64(info, "disk_free_bytes", engine->disk_free_bytes);
    info_u64(info, "reserve_bytes", engine->reserve_bytes);
}

static void put_section(struct info *info, enum info_section section, const struct cmd_ctx *ctx,
                        const struct varve_stats *engine)
{
    switch (section) {
    case INFO_SERVER: put_server(info, ctx); break;
    case INFO_CLIENTS: put_clients(info, ctx); break;
    case INFO_MEMORY: put_memory(info, ctx, engine); break;
    case INFO_PERSISTENCE: put_persistence(info, engine); break;
    case INFO_STATS: put_stats(info, ctx); break;
    case INFO_REPLICATION: put_replication(info, ctx); break;
    case INFO_CPU: put_cpu(info); break;
    case INFO_COMMANDSTATS: put_commandstats(info, ctx->processor); break;
    case INFO_ERRORSTATS: put_errorstats(info, ctx->processor); break;
    case INFO_CLUSTER: info_u64(info, "cluster_enabled", 0); break;
    case INFO_KEYSPACE: put_keyspace(info, ctx); break;
    case INFO_VARVE: put_varve(info, ctx, engine); break;
    case INFO_LSM: put_lsm(info, ctx, engine); break;
    case INFO_LATENCYSTATS: put_latencystats(info, ctx); break;
    case INFO_MODULES: /* there are none */
    case INFO_SECTIONS: break;
    }
}

void cmd_info(struct cmd_ctx *ctx)
{
    struct varve_stats engine = {0};
    struct info info;

    info_init(&info, info_wanted(ctx->argv + 1, ctx->argc - 1));
    varve_stats(keyspace_engine(ctx->keyspace), &engine);
    for (int i = 0; i < INFO_SECTIONS; i++)
        if (info_section(&info, (enum info_section)i))
            put_section(&info, (enum info_section)i, ctx, &engine);
    if (info.failed != 0)
        resp_error(ctx->out, "ERR INFO: %s", varve_status_name(info.failed));
    else
        resp_verbatim(ctx->out, "txt", buf_slice(&info.out));
    info_deinit(&info);
}
