/* Dispatch, and what it counts.
 *
 * Clocks: a read of the clock costs as much as a tenth of a GET. So the time of day is read once a turn
 * (processor_tick() ends one) and anew after NOW_USES_MAX commands of a long one; and commands are timed by
 * the processor's own counter. */
#include "cmd/processor.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "config/config.h"
#include "resp/reader.h"
#include "types/expire.h"

#define NOW_USES_MAX 64
#define US_PER_SECOND ((uint64_t)1000 * 1000)
#define GROUP_MAX_BYTES ((uint64_t)4 * 1024 * 1024)
#define UNKNOWN_MAX_BYTES 128 /* of the name, and of the arguments, that the error repeats */

struct processor *processor_create(struct keyspace *keyspace, struct config *config,
                                   struct metrics *metrics, const struct processor_host *host)
{
    struct processor *processor = mem_alloc_zero(sizeof(*processor));

    if (processor == NULL)
        return NULL;
    command_table_init();
    processor->command_stats = mem_alloc_zero((size_t)command_count() *
                                              sizeof(*processor->command_stats));
    processor->histograms = mem_alloc_zero((size_t)command_count() * sizeof(struct histogram *));
    processor->expirer = expirer_create(keyspace, host->wake, host->arg, NULL);
    if (processor->command_stats == NULL || processor->histograms == NULL ||
        processor->expirer == NULL) {
        expirer_destroy(processor->expirer);
        mem_free(processor->command_stats);
        mem_free(processor->histograms);
        mem_free(processor);
        return NULL;
    }
    processor->keyspace = keyspace;
    processor->config = config;
    processor->metrics = metrics;
    processor->host = *host;
    list_init(&processor->sessions);
    list_init(&processor->saved_transactions);
    rng_init(&processor->rng, clock_mono_us());
    processor->tick_rate = clock_measure_ticks();
    slowlog_init(&processor->slowlog);
    monitoring_init(&processor->monitoring);
    pausing_init(&processor->pausing);
    processor_read_settings(processor);
    processor->keys = keyspace_stats(keyspace);
    processor->ask_delay = 1;
    parking_init(processor);
    mutex_init(&processor->slow_mutex);
    return processor;
}

static void histograms_forget(struct processor *processor)
{
    for (int i = 0; i < command_count(); i++) {
        mem_free(processor->histograms[i]);
        processor->histograms[i] = NULL;
    }
}

void processor_destroy(struct processor *processor)
{
    if (processor == NULL)
        return;
    CHECK(list_empty(&processor->sessions));
    processor_drain(processor); /* of fetches whose sessions are gone */
    parking_deinit(processor);
    mutex_deinit(&processor->slow_mutex);
    expirer_destroy(processor->expirer);
    slowlog_deinit(&processor->slowlog);
    monitoring_deinit(&processor->monitoring);
    histograms_forget(processor);
    mem_free(processor->histograms);
    mem_free(processor->renames);
    mem_free(processor->command_stats);
    mem_free(processor);
}

void processor_tick(struct processor *processor)
{
    processor->ticked = 1;
    processor->now_uses = 0;
    processor->turn++;
    processor->ask_delay = 1;
    if (UNLIKELY(!list_empty(&processor->saved_transactions)) &&
        (!keyspace_group_open(processor->keyspace) || MUTANT("forget-amid-group")))
        transaction_forget_saved(processor);
    if (UNLIKELY(processor->pausing.mode != PAUSE_OFF))
        pause_tick(processor);
}

void processor_rewind(struct processor *processor, struct session *session)
{
    if (session->unmuted_group != 0 && !MUTANT("forget-skip") &&
        session->unmuted_group == keyspace_group_no(processor->keyspace) - 1)
        session->muted |= SESSION_SKIP;
    transaction_rewind(processor, session);
}

uint64_t processor_expire(struct processor *processor)
{
    if (processor->pausing.mode != PAUSE_OFF) /* what is paused stays as it is */
        return EXPIRE_TICK_US;
    return expirer_turn(processor->expirer);
}

struct expirer *processor_expirer(struct processor *processor)
{
    return processor->expirer;
}

void processor_group_ended(struct processor *processor, int committed)
{
    if (UNLIKELY(processor->monitoring.waiting.len > 0 || processor->monitoring.cut))
        monitor_group_ended(processor, committed);
}

void processor_read_settings(struct processor *processor)
{
    int64_t slow_us = config_int(processor->config, OPT_SLOWLOG_LOG_SLOWER_THAN);
    int64_t delay_ms = config_int(processor->config, OPT_LATENCY_MONITOR_THRESHOLD);
    uint64_t delay_ns = UINT64_MAX;

    processor->track_latency = config_int(processor->config, OPT_LATENCY_TRACKING) != 0;
    processor->slow_ns = UINT64_MAX;
    if (slow_us >= 0 && __builtin_mul_overflow((uint64_t)slow_us, 1000, &processor->slow_ns))
        processor->slow_ns = UINT64_MAX;
    if (delay_ms > 0 && !__builtin_mul_overflow((uint64_t)delay_ms, 1000000, &delay_ns) &&
        delay_ns < processor->slow_ns)
        processor->slow_ns = delay_ns;
    slowlog_trim(&processor->slowlog, (uint64_t)config_int(processor->config, OPT_SLOWLOG_MAX_LEN));
}

/* ---- counters ---- */

void processor_get_stats(const struct processor *processor, struct processor_stats *stats)
{
    *stats = processor->stats;
    stats->paused_sessions = processor->pausing.waiting_count;
}

const struct command_stats *processor_command_stats(const struct processor *processor,
                                                    const struct command *command)
{
    return &processor->command_stats[command_index(command)];
}

const struct histogram *processor_command_histogram(const struct processor *processor,
                                                    const struct command *command)
{
    return processor->histograms[command_index(command)];
}

const char *processor_error_class(const struct processor *processor, int i, uint64_t *count)
{
    if (i < 0 || i >= processor->error_class_count)
        return NULL;
    *count = processor->errors[i].count;
    return processor->errors[i].name;
}

void processor_reset_stats(struct processor *processor)
{
    processor->stats = (struct processor_stats){.session_count = processor->stats.session_count};
    memset(processor->command_stats, 0,
           (size_t)command_count() * sizeof(*processor->command_stats));
    histograms_forget(processor);
    processor->error_class_count = 0;
    keyspace_reset_stats(processor->keyspace);
    expirer_reset_stats(processor->expirer);
}

const struct list *processor_sessions(const struct processor *processor)
{
    return &processor->sessions;
}

/* Counts the reply that begins at `start` if it is an error. Returns 1 if so. */
static inline int count_error(struct processor *processor, const struct resp_writer *out,
                              size_t start)
{
    const struct buf *reply = out->out;
    char name[ERROR_CLASS_MAX_BYTES] = "ERR";
    size_t len = 0;
    int i = 0;

    if (LIKELY(reply->len <= start || reply->data[start] != '-'))
        return 0;
    processor->stats.error_replies++;
    const char *text = (const char *)reply->data + start + 1;
    size_t text_len = reply->len - start - 1;
    while (len < text_len && len < sizeof(name) && text[len] != ' ' && text[len] != '\r')
        len++;
    if (len < sizeof(name)) {
        memcpy(name, text, len);
        name[len] = '\0';
    }
    while (i < processor->error_class_count && strcmp(processor->errors[i].name, name) != 0)
        i++;
    if (i == ERROR_CLASSES_MAX)
        return 1;
    if (i == processor->error_class_count) {
        memcpy(processor->errors[i].name, name, sizeof(name));
        processor->errors[i].count = 0;
        processor->error_class_count++;
    }
    processor->errors[i].count++;
    return 1;
}

/* ---- how long things took ---- */

static void note_latency(struct processor *processor, enum latency_event event, uint64_t us)
{
    uint64_t threshold_ms = (uint64_t)config_int(processor->config, OPT_LATENCY_MONITOR_THRESHOLD);

    if (LIKELY(threshold_ms == 0 || us / 1000 < threshold_ms))
        return;
    mutex_lock(&processor->slow_mutex);
    latency_add(&processor->latency, event, clock_real_us() / US_PER_SECOND, us / 1000);
    mutex_unlock(&processor->slow_mutex);
}

void processor_note_commit(struct processor *processor, uint64_t us)
{
    note_latency(processor, LATENCY_LOG_WRITE, us);
}

void processor_note_sync(struct processor *processor, uint64_t us)
{
    note_latency(processor, LATENCY_LOG_SYNC, us);
}

static COLD void note_slow(const struct cmd_ctx *ctx, uint64_t ns)
{
    struct processor *processor = ctx->processor->writer != NULL ? ctx->processor->writer
                                                                 : ctx->processor;
    uint32_t flags = ctx->command->flags;
    int64_t slow_us = config_int(processor->config, OPT_SLOWLOG_LOG_SLOWER_THAN);

    note_latency(processor, (flags & CMD_FAST) ? LATENCY_FAST_COMMAND : LATENCY_COMMAND, ns / 1000);
    if (slow_us < 0 || ns / 1000 < (uint64_t)slow_us || (flags & CMD_SKIP_SLOWLOG))
        return;
    mutex_lock(&processor->slow_mutex);
    slowlog_add(&processor->slowlog, ctx, ns / 1000);
    slowlog_trim(&processor->slowlog, (uint64_t)config_int(processor->config, OPT_SLOWLOG_MAX_LEN));
    mutex_unlock(&processor->slow_mutex);
}

/* Without memory for it there is no histogram, until the next call. */
static COLD struct histogram *histogram_make(struct processor *processor, int index)
{
    processor->histograms[index] = mem_alloc_zero(sizeof(struct histogram));
    return processor->histograms[index];
}

/* The command of ctx took effect. */
static inline void note_run(const struct cmd_ctx *ctx, uint64_t ns)
{
    struct processor *processor = ctx->processor;
    int index = command_index(ctx->command);
    struct command_stats *stats = &processor->command_stats[index];

    stats->nsec += ns;
    stats->calls++;
    processor->stats.commands++;
    if (LIKELY(processor->track_latency)) {
        struct histogram *histogram = processor->histograms[index];
        if (UNLIKELY(histogram == NULL))
            histogram = histogram_make(processor, index);
        if (LIKELY(histogram != NULL))
            histogram_add(histogram, ns);
    }
    if (UNLIKELY(ns >= processor->slow_ns))
        note_slow(ctx, ns);
    if (UNLIKELY(processor->monitoring.count > 0))
        monitor_command(ctx);
}

static inline uint64_t now_ms(struct processor *processor)
{
    if (UNLIKELY(processor->now_uses == 0)) {
        processor->now_ms = keyspace_now_ms(processor->keyspace);
        processor->now_uses = processor->ticked ? NOW_USES_MAX : 1;
    }
    processor->now_uses--;
    return processor->now_ms;
}

/* ---- dispatch ---- */

static int same_name(struct varve_slice name, const char *known)
{
    return strlen(known) == name.len && strncasecmp((const char *)name.data, known, name.len) == 0;
}

/* By its new name, or by its own if that was not taken away. */
static COLD const struct command *find_renamed(const struct renamed *renames, size_t count,
                                               struct varve_slice name)
{
    const struct command *command = command_find(NULL, name);

    for (size_t i = 0; i < count; i++) {
        if (name.len > 0 && same_name(name, renames[i].to))
            return renames[i].command;
        if (renames[i].command == command)
            command = NULL;
    }
    return command;
}

int processor_rename_commands(struct processor *processor, struct varve_err *err)
{
    const char *from, *to;
    size_t count = 0;

    while (config_rename(processor->config, count, &from, &to))
        count++;
    if (count == 0)
        return 0;
    processor->renames = mem_alloc_zero(count * sizeof(*processor->renames));
    if (processor->renames == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory");
    for (size_t i = 0; config_rename(processor->config, i, &from, &to); i++) {
        size_t used = processor->rename_count;
        size_t at = 0;
        const struct command *command = find_renamed(processor->renames, used,
                                                     varve_slice_str(from));
        if (command == NULL)
            return err_set(err, VARVE_EINVAL, "rename-command %s: there is no such command", from);
        if (find_renamed(processor->renames, used, varve_slice_str(to)) != NULL)
            return err_set(err, VARVE_EINVAL, "rename-command %s: there is a command %s", from, to);
        while (at < used && processor->renames[at].command != command)
            at++;
        processor->renames[at] = (struct renamed){.command = command, .to = to};
        processor->rename_count += at == used;
    }
    return 0;
}

static inline const struct command *lookup(const struct processor *processor, int argc,
                                           const struct varve_slice *argv)
{
    const struct command *command = LIKELY(processor->renames == NULL)
                                        ? command_find(NULL, argv[0])
                                        : find_renamed(processor->renames, processor->rename_count,
                                                       argv[0]);

    if (command != NULL && command->child_count > 0 && argc > 1)
        command = command_find(command, argv[1]);
    return command;
}

static void reply_unknown_command(struct cmd_ctx *ctx)
{
    char name[UNKNOWN_MAX_BYTES + 1];
    char args[UNKNOWN_MAX_BYTES * 2] = "";
    size_t used = 0;

    for (int i = 1; i < ctx->argc && used < UNKNOWN_MAX_BYTES; i++) {
        char word[UNKNOWN_MAX_BYTES + 1];
        cmd_arg_text(ctx->argv[i], word, UNKNOWN_MAX_BYTES - used + 1);
        used += (size_t)snprintf(args + used, sizeof(args) - used, "'%s' ", word);
    }
    resp_error(ctx->out, "ERR unknown command '%s', with args beginning with: %s",
               cmd_arg_text(ctx->argv[0], name, sizeof(name)), args);
}

/* Somebody's browser, made to speak to this port: the less it gets to say, the better. */
static int is_cross_protocol(struct varve_slice name)
{
    return cmd_arg_is(name, "post") || cmd_arg_is(name, "host:");
}

/* The command is refused, and its error is written. */
static void note_rejected(struct cmd_ctx *ctx, size_t start)
{
    const struct command *command = ctx->command;

    transaction_refuse(ctx->session);
    if (command != NULL && command->run == cmd_exec)
        transaction_abort(ctx, start, start);
    count_error(ctx->processor, ctx->out, start);
    if (command != NULL)
        ctx->processor->command_stats[command_index(command)].rejected++;
}

/* 1: the command must not run, and its error is written (or the client is to be closed). */
static int rejected(struct cmd_ctx *ctx, size_t start)
{
    const struct command *command = ctx->command;
    const struct command *container;

    if (LIKELY(command != NULL && command_arity_fits(command, ctx->argc) &&
               !session_auth_required(ctx->session)))
        return 0;
    transaction_save(ctx->processor, ctx->session);
    if (command == NULL && is_cross_protocol(ctx->argv[0]))
        ctx->close_after = 1;
    else if (command == NULL && (container = lookup(ctx->processor, 1, ctx->argv)) != NULL)
        cmd_reply_unknown_subcommand(ctx, container);
    else if (command == NULL)
        reply_unknown_command(ctx);
    else if (!command_arity_fits(command, ctx->argc))
        cmd_reply_wrong_arity(ctx, command);
    else if (!(command->flags & CMD_NO_AUTH))
        resp_error(ctx->out, "NOAUTH Authentication required.");
    else
        return 0;
    note_rejected(ctx, start);
    return 1;
}

/* These run at once in a transaction, too. */
static int is_never_queued(const struct command *command)
{
    return command->run == cmd_exec || command->run == cmd_discard || command->run == cmd_multi ||
           command->run == cmd_watch || command->run == cmd_quit || command->run == cmd_reset;
}

/* The session is, or may get, in a transaction. 1: the command is queued, or refused, and does not run. */
static COLD int queued(struct cmd_ctx *ctx, size_t start)
{
    transaction_save(ctx->processor, ctx->session);
    if (!transaction_is_open(ctx->session) || is_never_queued(ctx->command))
        return 0;
    if (ctx->command->flags & CMD_NO_MULTI) {
        transaction_refuse(ctx->session);
        resp_error(ctx->out, "ERR Command not allowed inside a transaction");
    } else {
        transaction_queue(ctx);
    }
    ctx->session->active_ms = now_ms(ctx->processor);
    ctx->session->last_command = ctx->command;
    count_error(ctx->processor, ctx->out, start);
    return 1;
}

static COLD void run_halted(struct cmd_ctx *ctx)
{
    const struct processor_host *host = ctx->host;

    if (host->halt != NULL)
        host->halt(host->arg);
    ctx->command->run(ctx);
    if (host->resume != NULL)
        host->resume(host->arg);
}

static inline void run_handler(struct cmd_ctx *ctx)
{
    if (UNLIKELY(ctx->command->flags & CMD_HALT))
        run_halted(ctx);
    else
        ctx->command->run(ctx);
}

/* Returns 0 if the command has to run once more, from its beginning, since it met what would block. */
static int run(struct cmd_ctx *ctx, size_t start)
{
    struct processor *processor = ctx->processor;

    processor->hits_before = processor->keys->hits;
    processor->misses_before = processor->keys->misses;
    uint64_t began = clock_ticks();
    run_handler(ctx);
    uint64_t ticks = clock_ticks() - began;
    if (UNLIKELY((processor->keys->blocked | processor->keys->full) != 0))
        return 0;
    if (UNLIKELY(count_error(processor, ctx->out, start)))
        processor->command_stats[command_index(ctx->command)].failed++;
    note_run(ctx, clock_ticks_ns(ticks, processor->tick_rate));
    return 1;
}

void processor_run_queued(struct cmd_ctx *ctx, struct queued_command *queued)
{
    struct processor *processor = ctx->processor;
    struct cmd_ctx one = *ctx;
    size_t start = ctx->out->out->len;
    uint64_t began = clock_ticks();

    one.command = queued->command;
    one.argc = queued->argc;
    one.argv = queued->argv;
    one.in_exec = 1;
    run_handler(&one);
    ctx->wait_seq = one.wait_seq;
    ctx->close_after = one.close_after;
    ctx->sync = one.sync;
    queued->ns = clock_ticks_ns(clock_ticks() - began, processor->tick_rate);
    queued->db = ctx->session->db;
    if (UNLIKELY(count_error(processor, ctx->out, start)))
        processor->command_stats[command_index(queued->command)].failed++;
    if (UNLIKELY(ctx->session->muted & SESSION_MUTED))
        resp_cut(ctx->out, start);
}

void processor_count_queued(const struct cmd_ctx *ctx, const struct queued_command *queue,
                            size_t count)
{
    struct session *session = ctx->session;
    int db = session->db;

    for (size_t i = 0; i < count; i++) {
        struct cmd_ctx one = *ctx;
        one.command = queue[i].command;
        one.argc = queue[i].argc;
        one.argv = queue[i].argv;
        session->db = queue[i].db; /* as MONITOR shows it */
        note_run(&one, queue[i].ns);
    }
    session->db = db;
}

static void note_delay(struct cmd_ctx *ctx, uint64_t delay_us)
{
    struct processor_stats *stats = &ctx->processor->stats;

    stats->delayed_writes++;
    stats->delayed_writes_us += delay_us;
    if (ctx->session->write_held_us == 0)
        ctx->session->write_held_us = clock_mono_us();
}

static COLD void note_delay_over(struct cmd_ctx *ctx)
{
    uint64_t since_us = ctx->session->write_held_us;

    ctx->session->write_held_us = 0;
    note_latency(ctx->processor, LATENCY_WRITE_STALL, clock_mono_us() - since_us);
}

/* The command met lookups that would block, or memtables that are full until a flush ends, and so wrote
 * nothing: what it answered is dropped, and what it needs is fetched, or given time. */
static COLD enum processor_step park_blocked(struct cmd_ctx *ctx, size_t start,
                                             struct processor_outcome *outcome)
{
    struct processor *processor = ctx->processor;
    struct varve_err err = {0};

    resp_cut(ctx->out, start);
    ctx->out->failed = 0;
    keyspace_uncount_lookups(processor->keyspace, processor->hits_before, processor->misses_before);
    keyspace_forget_fetched(processor->keyspace);
    if (processor->keys->full) {
        keyspace_forget_blocked(processor->keyspace);
        outcome->park_us = PARK_WRITE_MAX_US;
        processor->stats.delay_cause = VARVE_STALL_MEMTABLES;
        note_delay(ctx, outcome->park_us);
        return PROCESSOR_PARK;
    }
    if (park_fetch(processor, ctx->session) == 0) {
        processor->stats.parked_reads++;
        return PROCESSOR_PARK;
    }
    park_release(ctx->session);
    cmd_reply_failure(ctx, VARVE_ENOMEM, &err);
    count_error(processor, ctx->out, start);
    return PROCESSOR_DONE;
}

/* 1: the command must wait, and did not run. */
static COLD int must_wait(struct cmd_ctx *ctx, uint32_t flags, struct processor_outcome *outcome)
{
    struct processor *processor = ctx->processor;

    outcome->uncommitted = keyspace_group_open(processor->keyspace);
    if (ctx->session->fetches_running > 0)
        return 1;
    if (!(flags & CMD_WRITE))
        return 0;
    outcome->park_us = park_write_waits(processor, ctx->session) ? PARK_WRITE_MAX_US
                                                                 : park_write_delay_us(processor);
    if (outcome->park_us == 0)
        return 0;
    note_delay(ctx, outcome->park_us);
    return 1;
}

/* Nearly every command has its first key behind its name; where it has not, nothing is lost. */
void processor_prefetch(struct processor *processor, const struct processor_hint *hints,
                        size_t count)
{
    struct varve_slice keys[PROCESSOR_PREFETCH_MAX];
    size_t used = 0;

    for (size_t i = 0; i < count && used < PROCESSOR_PREFETCH_MAX; i++)
        if (hints[i].command->argc > 1 && hints[i].session->db == hints[0].session->db)
            keys[used++] = hints[i].command->argv[1];
    if (used < 2)
        return;
    const struct resp_command *first = hints[0].command;
    const struct command *command = lookup(processor, first->argc, first->argv);
    int reads = command != NULL && (command->flags & CMD_READONLY);
    keyspace_prefetch(processor->keyspace, hints[0].session->db,
                      reads ? VARVE_TO_READ : VARVE_TO_WRITE, keys, used);
}

/* A command runs again after a failed commit only if the group is open behind it: what it changed of the
 * session stays else. */
static void note_uncommitted(struct processor *processor, struct session *session,
                             struct processor_outcome *outcome)
{
    outcome->uncommitted = keyspace_group_open(processor->keyspace);
    if (!outcome->uncommitted && UNLIKELY(!list_empty(&session->saved.node)))
        transaction_unsave(session);
}

/* Somebody monitors, or clients are paused. 1: so the command does not run, and *step is set. */
static COLD int restricted(struct cmd_ctx *ctx, size_t start, enum processor_step *step)
{
    const struct transaction *inside = transaction_run_by(ctx);
    uint32_t flags = ctx->command->flags | (inside == NULL ? 0 : inside->flags);
    struct session *session = ctx->session;

    *step = PROCESSOR_DONE;
    if (!list_empty(&session->monitor_node) && (flags & (CMD_WRITE | CMD_READONLY))) {
        resp_error(ctx->out, "ERR Replica can't interact with the keyspace");
        note_rejected(ctx, start);
        return 1;
    }
    *step = PROCESSOR_PARK;
    return ctx->processor->pausing.mode != PAUSE_OFF && pause_holds(ctx->processor, session, flags);
}

/* What may happen instead of running: refused, held back, queued. 1: *step says what did. */
static int run_not(struct cmd_ctx *ctx, size_t start, enum processor_step *step)
{
    struct processor *processor = ctx->processor;
    struct session *session = ctx->session;

    *step = PROCESSOR_DONE;
    if (UNLIKELY(rejected(ctx, start)))
        return 1;
    if (UNLIKELY(processor->pausing.mode != PAUSE_OFF || processor->monitoring.count > 0) &&
        restricted(ctx, start, step))
        return 1;
    *step = PROCESSOR_DONE;
    return UNLIKELY(session->transaction != NULL || (ctx->command->acl & ACL_TRANSACTION)) &&
           queued(ctx, start);
}

static enum processor_step run_command(struct cmd_ctx *ctx, size_t start,
                                       struct processor_outcome *outcome)
{
    struct processor *processor = ctx->processor;
    struct session *session = ctx->session;
    const struct transaction *inside = NULL;
    enum processor_step step;

    if (UNLIKELY(run_not(ctx, start, &step))) {
        outcome->close_after = ctx->close_after;
        note_uncommitted(processor, session, outcome);
        return step;
    }
    uint32_t flags = ctx->command->flags;
    if (UNLIKELY(session->transaction != NULL))
        inside = transaction_run_by(ctx);
    flags |= inside == NULL ? 0 : inside->flags;
    if (UNLIKELY(flags & CMD_BARRIER) && keyspace_group_open(processor->keyspace))
        return PROCESSOR_COMMIT_FIRST;
    if (UNLIKELY(session->fetches != NULL || session->write_held_us != 0 ||
                 (processor->ask_delay && (flags & CMD_WRITE)))) {
        if (must_wait(ctx, flags, outcome))
            return PROCESSOR_PARK;
        if (session->write_held_us != 0)
            note_delay_over(ctx);
        park_resume(processor, session, ctx->argc + (inside == NULL ? 0 : inside->words));
    }
    ctx->now_ms = now_ms(processor);
    session->active_ms = ctx->now_ms;
    session->last_command = ctx->command;
    if (UNLIKELY(!run(ctx, start))) {
        outcome->uncommitted = keyspace_group_open(processor->keyspace);
        return park_blocked(ctx, start, outcome);
    }
    session->command_count++;
    if (UNLIKELY(session->fetches != NULL)) {
        keyspace_forget_fetched(processor->keyspace);
        park_release(session);
    }
    outcome->wait_seq = ctx->wait_seq;
    outcome->sync = ctx->sync;
    outcome->close_after = ctx->close_after;
    note_uncommitted(processor, session, outcome);
    return keyspace_group_bytes(processor->keyspace) >= GROUP_MAX_BYTES ? PROCESSOR_COMMIT_NOW
                                                                        : PROCESSOR_DONE;
}

/* CLIENT REPLY: the command ran, and its reply is not sent. */
static COLD void mute(struct cmd_ctx *ctx, size_t start, const struct processor_outcome *outcome)
{
    struct session *session = ctx->session;
    unsigned muted = session->muted;

    if ((muted & SESSION_MUTED) || (muted & (SESSION_SKIP | SESSION_SKIP_FRESH)) == SESSION_SKIP)
        resp_cut(ctx->out, start);
    if (muted & SESSION_SKIP_FRESH) {
        session->muted &= ~(unsigned)SESSION_SKIP_FRESH;
    } else if (muted & SESSION_SKIP) {
        session->muted &= ~(unsigned)SESSION_SKIP;
        session->unmuted_group = outcome->uncommitted ? keyspace_group_no(ctx->processor->keyspace)
                                                      : 0;
    }
}

enum processor_step processor_run(struct processor *processor, struct session *session, int argc,
                                  const struct varve_slice *argv, struct resp_writer *out,
                                  struct processor_outcome *outcome)
{
    struct cmd_ctx ctx = {
        .processor = processor,
        .session = session,
        .command = lookup(processor, argc, argv),
        .argc = argc,
        .argv = argv,
        .out = out,
        .keyspace = processor->keyspace,
        .config = processor->config,
        .metrics = processor->metrics,
        .host = &processor->host,
    };
    size_t start = out->out->len;

    CHECK(argc > 0);
    *outcome = (struct processor_outcome){0};
    out->proto = session->proto;
    enum processor_step step = run_command(&ctx, start, outcome);
    if (UNLIKELY(session->muted != 0) && (step == PROCESSOR_DONE || step == PROCESSOR_COMMIT_NOW))
        mute(&ctx, start, outcome);
    return step;
}

/* ---- for local.c ---- */

/* Copies, so that the above are inlined where commands run. */
const struct command *processor_lookup(const struct processor *processor, int argc,
                                       const struct varve_slice *argv)
{
    return lookup(processor, argc, argv);
}

uint64_t processor_now_ms(struct processor *processor)
{
    return now_ms(processor);
}

int processor_count_error(struct processor *processor, const struct resp_writer *out, size_t start)
{
    return count_error(processor, out, start);
}

void processor_note_run(const struct cmd_ctx *ctx, uint64_t ns)
{
    note_run(ctx, ns);
}
