/* Start: bind (nothing is on disk yet), threads, data directory and recovery, listen.
 * Stop: the loop ends its turn, replies that wait for a sync get it, connections close, then the keyspace,
 * the engine (sync, seal), the threads. Each part is gone before what it stands on. */
#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/ctx.h"
#include "cmd/eviction.h"
#include "cmd/processor.h"
#include "cmd/session.h"
#include "config/config.h"
#include "metrics/metrics.h"
#include "net/conn.h"
#include "net/loop.h"
#include "net/team.h"
#include "server/loops.h"
#include "server/memory.h"
#include "server/signals.h"
#include "types/keyspace.h"
#include "varve/db.h"

#define OTHER_FDS 64 /* files of the engine but segments, the log, the loop's own */
#define LOOP_FDS 6   /* of each further loop */
#define ENGINE_TICK_US ((uint64_t)50000)
#define SLOWED_TICK_US ((uint64_t)10000) /* while writers are slowed down: how much, changes */
#define MEMORY_TICK_US ((uint64_t)100000)
/* For the active expirer to count what expired before a compaction drops it. */
#define EXPIRY_GRACE_MS ((uint64_t)20 * 1000)
#define AUTHENTICATE_S 60 /* for a client to AUTH, where there is a password */
#define SLOWED_LOG_US ((uint64_t)10 * 1000 * 1000)

struct server {
    struct config *config;
    struct metrics metrics;
    struct net_loop *loop;
    struct varve_executor *executor;
    struct varve_db *db;
    struct keyspace *keyspace;
    struct processor *processor;
    struct loops *loops; /* NULL: there is one */
    uv_async_t news;     /* of the log's durability, or of a signal */
    uv_timer_t expirer;  /* runs out when the expirer is to have its turn */
    int news_open;
    _Atomic uint64_t failed_after; /* news: a sync failed, this was durable; UINT64_MAX: none did */
    uint64_t durable_seq;          /* as the loop may know it */
    uint64_t told_seq;             /* and as it was last told */
    _Atomic int leave;             /* news: a signal asks us to leave */
    uint64_t engine_ticked_us;
    struct memory_plan memory;
    uint64_t memory_ticked_us;
    uint64_t slowed_count; /* delayed writes, and their time, as of the last line about them */
    uint64_t slowed_us;
    uint64_t slowed_log_us; /* no other line before that */
    int watch_latency;      /* 1: latency-monitor-threshold is set */
    uint64_t syncs;         /* of the log, and their time, as of the last tick */
    uint64_t syncs_us;
    int pidfile_written;
};

/* ---- what the loop asks of us ---- */

static void session_figures_of(void *arg, struct session_figures *figures)
{
    struct conn_figures conn;

    conn_figures(arg, &conn);
    figures->fd = conn.fd;
    figures->qbuf_bytes = conn.input_bytes;
    figures->qbuf_free = conn.input_free_bytes;
    figures->reply_buf_size = conn.held_bytes;
    figures->obl = conn.output_bytes;
    figures->oll_count = conn.writing_count;
    figures->omem = conn.writing_bytes;
    figures->closing = conn_is_closing(arg);
    figures->writable = conn.writing_count > 0;
}

static void *hook_session_open(void *arg, struct conn *conn, const char *peer, const char *local)
{
    struct server *server = arg;
    struct session *session = session_create(server->processor, peer, local, session_figures_of,
                                             conn);

    if (session != NULL)
        session->reader = loops_reader(server->loops, conn_home(conn));
    return session;
}

static void hook_session_close(void *session)
{
    session_destroy(session);
}

static enum net_step hook_execute(void *arg, const struct resp_command *command,
                                  struct resp_writer *out, struct net_outcome *outcome)
{
    struct session *session = arg;
    struct processor_outcome done;
    int was_held_short = session_auth_required(session);
    enum processor_step step = processor_run(session->processor, session, command->argc,
                                             command->argv, out, &done);

    *outcome = (struct net_outcome){
        .wait_seq = done.wait_seq, .sync = done.sync, .close_after = done.close_after};
    if (step == PROCESSOR_COMMIT_FIRST)
        return NET_COMMIT_FIRST;
    outcome->uncommitted = done.uncommitted;
    if (UNLIKELY(step == PROCESSOR_PARK)) {
        outcome->park_us = done.park_us;
        return NET_PARK;
    }
    int held_short = session_auth_required(session);
    if (UNLIKELY(held_short != was_held_short))
        conn_set_authenticated(session->figures_arg, !held_short);
    return step == PROCESSOR_COMMIT_NOW ? NET_COMMIT_NOW : NET_DONE;
}

static void hook_rewind(void *arg)
{
    struct session *session = arg;

    processor_rewind(session->processor, session);
}

/* So that the reads of a turn need not enter one by one. */
static void hook_turn_begin(void *arg)
{
    (void)arg;
    varve_enter();
}

static void hook_turn_end(void *arg)
{
    const struct server *server = arg;

    loops_publish(server->loops);
    varve_leave();
}

static void hook_prefetch(void *arg, const struct net_hint *hints, size_t count)
{
    const struct server *server = arg;

    loops_prefetch(server->processor, hints, count);
}

static int hook_commit(void *arg)
{
    struct server *server = arg;
    uint64_t began_us = 0;

    if (UNLIKELY(server->watch_latency))
        began_us = clock_mono_us();
    int rc = varve_group_commit(server->db, NULL);
    if (UNLIKELY(began_us != 0))
        processor_note_commit(server->processor, clock_mono_us() - began_us);
    loops_committed(server->loops);
    processor_group_ended(server->processor, rc == 0);
    return rc;
}

static uint64_t hook_ack_seq(void *arg, uint64_t wait_seq)
{
    struct server *server = arg;

    return varve_ack_seq(server->db, wait_seq);
}

/* Healing makes durable what a failed sync had left in doubt, and clients must be told of the doubt
 * first: so a failure that the loop has not heard of yet stops the sequence here. */
static uint64_t hook_durable_seq(void *arg)
{
    struct server *server = arg;

    if (LIKELY(atomic_load(&server->failed_after) == UINT64_MAX))
        server->durable_seq = varve_durable_seq(server->db);
    return server->durable_seq;
}

static void tell_durable(struct server *server)
{
    uint64_t failed_after = atomic_exchange(&server->failed_after, UINT64_MAX);

    if (failed_after != UINT64_MAX) {
        net_durable(server->loop, failed_after, 1);
    } else if (hook_durable_seq(server) != server->told_seq) {
        server->told_seq = server->durable_seq;
        net_durable(server->loop, server->told_seq, 0);
    }
}

static const char *hook_unknown_outcome(void *arg)
{
    (void)arg;
    return "-MISCONF The log could not be synced to disk: whether this write will survive is "
           "unknown. Writes are refused until the log is healed. See the server's log.";
}

/* At most once in a while: that writes are held back, and what for. */
static void log_slowed(struct server *server, const struct processor_stats *stats, uint64_t now_us)
{
    struct varve_stats engine;

    if (stats->delayed_writes < server->slowed_count) { /* CONFIG RESETSTAT */
        server->slowed_count = 0;
        server->slowed_us = 0;
    }
    if (LIKELY(stats->delayed_writes == server->slowed_count) || now_us < server->slowed_log_us)
        return;
    varve_stats(server->db, &engine);
    log_line(LOG_NOTICE,
             "writes are slowed: %s; level 0 has %llu runs, %llu memtables wait for their flush, "
             "%llu compactions run; since the last such line %llu waits, %llu ms in all",
             varve_stall_name(stats->delay_cause), (unsigned long long)engine.levels[0].runs,
             (unsigned long long)engine.flushes_waiting,
             (unsigned long long)engine.compactions_running,
             (unsigned long long)(stats->delayed_writes - server->slowed_count),
             (unsigned long long)(stats->delayed_writes_us - server->slowed_us) / 1000);
    server->slowed_count = stats->delayed_writes;
    server->slowed_us = stats->delayed_writes_us;
    server->slowed_log_us = now_us + SLOWED_LOG_US;
}

/* The mean of the syncs that ended since the last call. */
static void note_syncs(struct server *server)
{
    struct varve_stats engine;

    server->watch_latency = config_int(server->config, OPT_LATENCY_MONITOR_THRESHOLD) > 0;
    if (LIKELY(!server->watch_latency))
        return;
    varve_stats(server->db, &engine);
    if (engine.wal_syncs > server->syncs && server->syncs > 0)
        processor_note_sync(server->processor, (engine.wal_sync_us_total - server->syncs_us) /
                                                   (engine.wal_syncs - server->syncs));
    server->syncs = engine.wal_syncs;
    server->syncs_us = engine.wal_sync_us_total;
}

static void hook_tick(void *arg)
{
    struct server *server = arg;
    uint64_t now_us = uv_hrtime() / 1000;
    struct processor_stats stats;

    processor_tick(server->processor);
    enum varve_stall_cause slowed;
    (void)varve_write_delay_us(server->db, &slowed);
    if (now_us - server->engine_ticked_us <
        (slowed == VARVE_STALL_NONE ? ENGINE_TICK_US : SLOWED_TICK_US))
        return;
    server->engine_ticked_us = now_us;
    tell_durable(server); /* before the tick, which may start to heal */
    varve_tick(server->db);
    if (now_us - server->memory_ticked_us >= MEMORY_TICK_US) {
        server->memory_ticked_us = now_us;
        eviction_run(server->processor, memory_govern(&server->memory, server->db));
    }
    loops_tick(server->loops);
    processor_get_stats(server->processor, &stats);
    metrics_tick(&server->metrics, clock_mono_us(), stats.commands);
    log_slowed(server, &stats, now_us);
    note_syncs(server);
}

/* ---- news from other threads ---- */

static void on_durable(void *arg, uint64_t seq, int failed)
{
    struct server *server = arg;

    uint64_t none = UINT64_MAX;

    if (failed)
        atomic_compare_exchange_strong(&server->failed_after, &none, seq);
    uv_async_send(&server->news);
}

static void on_expirer(uv_timer_t *timer)
{
    struct server *server = timer->data;
    uint64_t wait_us = processor_expire(server->processor);

    uv_update_time(timer->loop);
    uv_timer_start(timer, on_expirer, (wait_us + 999) / 1000, 0);
}

static void on_signal(void *arg)
{
    struct server *server = arg;

    atomic_store(&server->leave, 1);
    uv_async_send(&server->news);
}

static void on_news(uv_async_t *news)
{
    struct server *server = news->data;

    if (atomic_exchange(&server->leave, 0)) {
        log_line(LOG_NOTICE, "a signal asks us to leave: ending the turn");
        net_loop_stop(server->loop);
    }
    if (server->db != NULL)
        tell_durable(server);
    if (server->processor == NULL)
        return;
    processor_woken(server->processor);
    /* Not here, amid a turn's commands. */
    uv_timer_start(&server->expirer, on_expirer, 0, 0);
}

static void on_engine_line(void *arg, int level, const char *line)
{
    (void)arg;
    log_line(level <= 4 ? LOG_WARNING : level <= 5 ? LOG_NOTICE : LOG_DEBUG, "%s", line);
}

/* ---- settings ---- */

static void fill_limits(const struct config *config, struct net_limits *limits)
{
    struct config_limit output;
    struct config_limit push;
    int guarded = config_int(config, OPT_PROTECTED_MODE) != 0;
    int has_password = config_str(config, OPT_REQUIREPASS)[0] != '\0';

    net_limits_default(limits);
    config_limit(config, CONFIG_NORMAL, &output);
    limits->maxclients = (uint32_t)config_int(config, OPT_MAXCLIENTS);
    limits->timeout_s = (uint32_t)config_int(config, OPT_TIMEOUT);
    limits->unauthenticated_s = AUTHENTICATE_S;
    limits->tcp_keepalive_s = (uint32_t)config_int(config, OPT_TCP_KEEPALIVE);
    limits->loopback_only = guarded && !has_password;
    config_limit(config, CONFIG_PUBSUB, &push);
    limits->push_max_bytes = push.hard_bytes;
    limits->output_max_bytes = output.hard_bytes;
    limits->output_soft_bytes = output.soft_bytes;
    limits->output_soft_s = output.soft_seconds;
    limits->resp.bulk_max_bytes = (size_t)config_int(config, OPT_PROTO_MAX_BULK_LEN);
    limits->resp.query_max_bytes = (size_t)config_int(config, OPT_CLIENT_QUERY_BUFFER_LIMIT);
    limits->resp.unauthenticated = has_password;
}

/* Asks the system for the files that so many clients, besides all segments, need; returns how many clients
 * it allows. */
static uint64_t raise_file_limit(const struct config *config, uint64_t maxclients)
{
    struct rlimit limit;
    rlim_t others = (rlim_t)config_int(config, OPT_MAX_OPEN_SEGMENTS) + OTHER_FDS +
                    LOOP_FDS * (rlim_t)(config_int(config, OPT_IO_THREADS) - 1);
    rlim_t wanted = (rlim_t)maxclients + others;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return maxclients;
    struct rlimit raised = {.rlim_cur = wanted, .rlim_max = limit.rlim_max};
    if (raised.rlim_max < wanted)
        raised.rlim_max = wanted;
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
        return maxclients;
    raised = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0)
        raised = limit;
    if (raised.rlim_cur >= wanted)
        return maxclients;
    return raised.rlim_cur > others ? raised.rlim_cur - others : 0;
}

/* With fewer files than maxclients needs, there are fewer clients. */
static int fit_maxclients(struct config *config, struct varve_err *err)
{
    uint64_t wanted = (uint64_t)config_int(config, OPT_MAXCLIENTS);
    uint64_t allowed = raise_file_limit(config, wanted);
    char lowered[32];

    if (allowed == wanted)
        return 0;
    if (allowed == 0)
        return err_set(err, VARVE_EINVAL,
                       "the limit of open files (ulimit -n) leaves none for clients beside %lld "
                       "segments (max-open-segments)",
                       (long long)config_int(config, OPT_MAX_OPEN_SEGMENTS));
    snprintf(lowered, sizeof(lowered), "%llu", (unsigned long long)allowed);
    log_line(
        LOG_WARNING,
        "maxclients is lowered to %s: with max-open-segments it needs more open files than the "
        "limit (ulimit -n) allows",
        lowered);
    return config_set(config, "maxclients", lowered, err);
}

static void host_wake(void *arg)
{
    struct server *server = arg;

    uv_async_send(&server->news);
}

static void host_unpark(void *arg, void *conn)
{
    (void)arg;
    net_unpark(conn);
}

static void host_kill(void *arg, void *conn)
{
    (void)arg;
    net_kill(conn);
}

static void host_push(void *arg, void *conn, struct varve_slice bytes)
{
    (void)arg;
    conn_push(conn, bytes);
}

static void host_halt(void *arg)
{
    const struct server *server = arg;

    loops_halt(server->loops);
}

static void host_resume(void *arg)
{
    const struct server *server = arg;

    loops_resume(server->loops);
}

static void host_shutdown(void *arg)
{
    struct server *server = arg;

    log_line(LOG_NOTICE, "SHUTDOWN: ending the turn");
    net_loop_stop(server->loop);
}

/* The addresses of `bind`, as many as it may have. */
struct bind_words {
    char storage[16][INET6_ADDRSTRLEN + 2]; /* config takes no longer ones */
    const char *at[16];
    size_t count;
};

static void read_bind(const struct config *config, struct bind_words *words)
{
    words->count = 0;
    while (words->count < COUNT_OF(words->at) &&
           config_word(config, OPT_BIND, words->count, words->storage[words->count],
                       sizeof(words->storage[0]))) {
        words->at[words->count] = words->storage[words->count];
        words->count++;
    }
}

static const char *listen_anew(struct server *server, const char *name)
{
    const struct config *config = server->config;
    struct bind_words words;
    struct varve_err err = {0};

    read_bind(config, &words);
    int rc = net_loop_rebind(server->loop, words.at, words.count,
                             (uint16_t)config_int(config, OPT_PORT),
                             (int)config_int(config, OPT_TCP_BACKLOG), &err);
    if (rc != 0) {
        log_line(LOG_WARNING, "CONFIG SET %s: %s", name, err_text(&err));
        return strcmp(name, "port") == 0 ? "Unable to listen on this port. Check server logs."
                                         : "Failed to bind to specified addresses.";
    }
    server->metrics.tcp_port = net_loop_port(server->loop, 0);
    log_line(LOG_NOTICE, "CONFIG SET %s: listening on %s, port %d", name,
             config_str(config, OPT_BIND), server->metrics.tcp_port);
    return NULL;
}

/* The sum may be more than the budget, as Redis's maxmemory may be less than what is in use: then the block cache is as
 * small as it can be. */
static void divide_anew(struct server *server, const char *name)
{
    struct memory_plan plan;
    struct varve_err err = {0};

    if (memory_plan_settings(server->config, server->metrics.memory_machine_bytes, &server->memory,
                             &plan, &err) != 0)
        log_line(LOG_WARNING, "CONFIG SET %s: %s. A start with these settings is refused.", name,
                 err_text(&err));
    server->memory = plan;
    server->metrics.memory_budget_bytes = plan.budget_bytes;
    server->memory_ticked_us = 0; /* the next tick governs */
}

static const char *host_config_changed(void *arg, const char *name)
{
    struct server *server = arg;
    struct net_limits limits;

    if (strcmp(name, "port") == 0 || strcmp(name, "bind") == 0)
        return listen_anew(server, name);
    if (strcmp(name, "maxmemory") == 0 || strcmp(name, "block-cache-size") == 0)
        divide_anew(server, name);
    if (strcmp(name, "maxclients") == 0) {
        uint64_t wanted = (uint64_t)config_int(server->config, OPT_MAXCLIENTS);
        if (raise_file_limit(server->config, wanted) < wanted)
            return "The operating system is not able to handle the specified number of clients";
    }
    /* The others are cheap to apply, whichever it was. */
    varve_set_durability(server->db,
                         (enum varve_durability)config_int(server->config, OPT_APPENDFSYNC));
    log_set_level((enum log_level)config_int(server->config, OPT_LOGLEVEL));
    fill_limits(server->config, &limits);
    net_loop_set_limits(server->loop, &limits);
    return NULL;
}

/* ---- start ---- */

static int bind_all(struct server *server, struct varve_err *err)
{
    struct bind_words words;
    uint16_t port = (uint16_t)config_int(server->config, OPT_PORT);
    int rc = 0;

    read_bind(server->config, &words);
    for (size_t i = 0; rc == 0 && i < words.count; i++)
        rc = net_loop_bind(server->loop, words.at[i], port, err);
    return rc;
}

static int start_loop(struct server *server, struct varve_err *err)
{
    struct net_limits limits;
    struct net_hooks hooks = {
        .arg = server,
        .session_open = hook_session_open,
        .session_close = hook_session_close,
        .execute = hook_execute,
        .rewind = hook_rewind,
        .turn_begin = hook_turn_begin,
        .turn_end = hook_turn_end,
        .prefetch = hook_prefetch,
        .commit = hook_commit,
        .ack_seq = hook_ack_seq,
        .durable_seq = hook_durable_seq,
        .unknown_outcome = hook_unknown_outcome,
        .tick = hook_tick,
    };

    fill_limits(server->config, &limits);
    int rc = net_loop_create(&hooks, &limits, &server->metrics, NULL, &server->loop, err);
    if (rc != 0)
        return rc;
    if (uv_async_init(net_loop_uv(server->loop), &server->news, on_news) != 0)
        return err_set(err, VARVE_EIO, "the loop cannot be woken: no more file descriptors?");
    uv_timer_init(net_loop_uv(server->loop), &server->expirer);
    server->expirer.data = server;
    server->news.data = server;
    server->news_open = 1;
    signals_install(on_signal, server);
    return bind_all(server, err);
}

static uint32_t compaction_threads(const struct config *config)
{
    int64_t chosen = config_int(config, OPT_COMPACTION_THREADS);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (chosen > 0)
        return (uint32_t)chosen;
    return cores < 4 ? 1 : cores > 8 ? 4 : (uint32_t)cores / 2;
}

static void fill_engine_options(struct server *server, uint32_t compaction_jobs,
                                struct varve_options *options)
{
    const struct config *config = server->config;
    uint32_t bloom_bits = (uint32_t)config_int(config, OPT_BLOOM_BITS_PER_KEY);
    uint64_t min_free = (uint64_t)config_int(config, OPT_MIN_FREE);
    uint64_t reserve = (uint64_t)config_int(config, OPT_RESERVE_SIZE);

    *options = (struct varve_options){
        .executor = server->executor,
        .durability = (enum varve_durability)config_int(config, OPT_APPENDFSYNC),
        .memtable_size_bytes = server->memory.memtable_bytes,
        .memtables_max = (uint32_t)config_int(config, OPT_MEMTABLES_MAX),
        .block_cache_size_bytes = server->memory.cache_bytes,
        .row_cache_size_bytes = server->memory.row_cache_bytes,
        .block_size_bytes = (uint32_t)config_int(config, OPT_BLOCK_SIZE),
        .segment_size_bytes = server->memory.segment_bytes,
        .segments_max = (uint32_t)config_int(config, OPT_MAX_OPEN_SEGMENTS),
        .bloom_bits_per_key = bloom_bits == 0 ? VARVE_NO_FILTER : bloom_bits,
        .compression = (enum varve_compression)config_int(config, OPT_COMPRESSION),
        .compaction_jobs = compaction_jobs,
        .expiry_grace_ms = EXPIRY_GRACE_MS,
        .rate_limit_bytes = (uint64_t)config_int(config, OPT_RATE_LIMIT),
        .min_free_bytes = min_free == 0 ? VARVE_NO_RESERVE : min_free,
        .reserve_size_bytes = reserve == 0 ? VARVE_NO_RESERVE : reserve,
        .wal_size_bytes = (uint64_t)config_int(config, OPT_WAL_SIZE),
        .wal_pool_size = (uint32_t)config_int(config, OPT_WAL_POOL_SIZE),
        .on_durable = on_durable,
        .on_log = on_engine_line,
        .count_group = keycode_count_group,
        .arg = server,
    };
}

static int start_engine(struct server *server, struct varve_err *err)
{
    const struct config *config = server->config;
    struct varve_executor_threads threads = {
        .compaction = compaction_threads(config),
        .read = (uint32_t)config_int(config, OPT_READ_THREADS),
    };
    struct varve_options options;
    int rc = varve_executor_threads_create(&threads, &server->executor, err);

    if (rc != 0)
        return rc;
    fill_engine_options(server, threads.compaction, &options);
    rc = varve_open(config_str(config, OPT_DIR), &options, &server->db, err);
    if (rc == 0)
        rc = keyspace_open(server->db, &server->keyspace, err);
    if (rc == 0)
        keyspace_set_executor(server->keyspace, server->executor);
    return rc;
}

static int start_processor(struct server *server, struct varve_err *err)
{
    struct processor_host host = {
        .arg = server,
        .wake = host_wake,
        .unpark = host_unpark,
        .kill = host_kill,
        .push = host_push,
        .shutdown = host_shutdown,
        .halt = host_halt,
        .resume = host_resume,
        .config_changed = host_config_changed,
    };

    server->processor = processor_create(server->keyspace, server->config, &server->metrics, &host);
    if (server->processor == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory");
    uv_timer_start(&server->expirer, on_expirer, 0, 0);
    return processor_rename_commands(server->processor, err);
}

static int start_loops(struct server *server, struct varve_err *err)
{
    const struct loops_base base = {
        .main = server->loop,
        .keyspace = server->keyspace,
        .processor = server->processor,
        .metrics = &server->metrics,
    };
    uint32_t threads = (uint32_t)config_int(server->config, OPT_IO_THREADS);

    return threads > 1 ? loops_start(&base, threads - 1, &server->loops, err) : 0;
}

static int write_pidfile(struct server *server, struct varve_err *err)
{
    const char *path = config_str(server->config, OPT_PIDFILE);

    if (path[0] == '\0')
        return 0;
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return err_set_errno(err, errno, "write the pidfile %s", path);
    fprintf(file, "%d\n", (int)getpid());
    server->pidfile_written = 1;
    return fclose(file) == 0 ? 0 : err_set_errno(err, errno, "write the pidfile %s", path);
}

static void tell_ready(struct server *server)
{
    const struct config *config = server->config;
    char path[PATH_MAX];
    const char *dir = realpath(config_str(config, OPT_DIR), path);

    server->metrics.tcp_port = net_loop_port(server->loop, 0);
    server->metrics.memory_startup_bytes = mem_used_bytes();
    log_line(LOG_WARNING, "varve %s, port %d, pid %d, directory %s, appendfsync %s",
             varve_version(), server->metrics.tcp_port, (int)getpid(),
             dir != NULL ? dir : config_str(config, OPT_DIR), config_str(config, OPT_APPENDFSYNC));
    signals_serving();
    log_line(LOG_NOTICE, "Ready to accept connections");
}

int server_start(struct config *config, struct server **out, struct varve_err *err)
{
    struct server *server = mem_alloc_zero(sizeof(*server));
    int rc = VARVE_EIO;

    *out = NULL;
    if (server == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory");
    server->config = config;
    atomic_store(&server->failed_after, UINT64_MAX);
    if (metrics_init(&server->metrics) != 0) {
        err_set(err, rc, "the system gives no random numbers");
        goto out;
    }
    server->metrics.memory_machine_bytes = memory_of_machine("");
    rc = memory_plan_settings(config, server->metrics.memory_machine_bytes, NULL, &server->memory,
                              err);
    server->metrics.memory_budget_bytes = server->memory.budget_bytes;
    if (rc == 0)
        rc = fit_maxclients(config, err);
    if (rc == 0)
        rc = start_loop(server, err);
    if (rc == 0)
        rc = start_engine(server, err);
    if (rc == 0)
        rc = start_processor(server, err);
    if (rc == 0)
        rc = start_loops(server, err);
    if (rc == 0)
        rc = write_pidfile(server, err);
    if (rc == 0)
        rc = net_loop_listen(server->loop, (int)config_int(config, OPT_TCP_BACKLOG), err);
    if (rc == 0)
        tell_ready(server);
out:
    if (rc != 0) {
        if (server_stop(server, NULL) != 0)
            log_line(LOG_WARNING, "the start failed, and so did what followed");
        return rc;
    }
    *out = server;
    return 0;
}

void server_run(struct server *server)
{
    net_loop_run(server->loop);
}

/* ---- stop ---- */

/* Replies that wait for a sync get it, or the word that their outcome is unknown. */
static void settle(struct server *server)
{
    uint64_t held = net_loop_held_seq(server->loop);

    if (held != 0) {
        if (varve_wait_durable(server->db, held, NULL) != 0)
            net_durable(server->loop, hook_durable_seq(server), 1);
        tell_durable(server);
    }
    net_loop_settle(server->loop);
}

int server_stop(struct server *server, struct varve_err *err)
{
    int rc = 0;

    if (server == NULL)
        return 0;
    if (server->processor != NULL) {
        settle(server);
        loops_stop(server->loops);
        processor_drain(server->processor);
    }
    /* The sync thread may still send news: the handle goes last, with the loop. */
    if (server->db != NULL) {
        keyspace_close(server->keyspace);
        rc = varve_close(server->db, err);
    }
    varve_executor_threads_destroy(server->executor);
    signals_detach();
    if (server->news_open) {
        uv_close((uv_handle_t *)&server->expirer, NULL);
        uv_close((uv_handle_t *)&server->news, NULL);
    }
    net_loop_destroy(server->loop);
    loops_destroy(server->loops);
    processor_destroy(server->processor);
    if (server->pidfile_written)
        (void)unlink(config_str(server->config, OPT_PIDFILE));
    mem_free(server);
    return rc;
}
