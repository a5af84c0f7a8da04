/* Dispatch, and what it counts.
 *
 * Clocks: a read of the clock costs as much as a tenth of a GET. So the time of day is read once a turn
 * (processor_tick() ends one) and anew after NOW_USES_MAX commands of a long one; and of a command that
 * ran TIMED_ALWAYS times already only one run in SAMPLE_MEAN, at random distances, is timed and counts
 * for all: usec of INFO commandstats is exact for rare commands and an unbiased estimate for frequent
 * ones. */
#include "cmd/processor.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "resp/reader.h"

#define NOW_USES_MAX 64
#define TIMED_ALWAYS 64
#define SAMPLE_MEAN 16
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
    processor->expirer = expirer_create(keyspace, host->wake, host->arg, NULL);
    if (processor->command_stats == NULL || processor->expirer == NULL) {
        expirer_destroy(processor->expirer);
        mem_free(processor->command_stats);
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
    processor->keys = keyspace_stats(keyspace);
    processor->ask_delay = 1;
    parking_init(processor);
    return processor;
}

void processor_destroy(struct processor *processor)
{
    if (processor == NULL)
        return;
    CHECK(list_empty(&processor->sessions));
    processor_drain(processor); /* of fetches whose sessions are gone */
    parking_deinit(processor);
    expirer_destroy(processor->expirer);
    mem_free(processor->command_stats);
    mem_free(processor);
}

void processor_tick(struct processor *processor)
{
    processor->ticked = 1;
    processor->now_uses = 0;
    processor->turn++;
    processor->ask_delay = 1;
    if (UNLIKELY(!list_empty(&processor->saved_transactions)))
        transaction_forget_saved(processor);
}

void processor_rewind(struct processor *processor, struct session *session)
{
    transaction_rewind(processor, session);
}

uint64_t processor_expire(struct processor *processor)
{
    return expirer_turn(processor->expirer);
}

struct expirer *processor_expirer(struct processor *processor)
{
    return processor->expirer;
}

/* ---- counters ---- */

void processor_get_stats(const struct processor *processor, struct processor_stats *stats)
{
    *stats = processor->stats;
}

const struct command_stats *processor_command_stats(const struct processor *processor,
                                                    const struct command *command)
{
    return &processor->command_stats[command_index(command)];
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
    processor->error_class_count = 0;
    keyspace_reset_stats(processor->keyspace);
    expirer_reset_stats(processor->expirer);
}

const struct list *processor_sessions(const struct processor *processor)
{
    return &processor->sessions;
}

/* Counts the reply that begins at `start` if it is an error. Returns 1 if so. */
static int count_error(struct processor *processor, const struct resp_writer *out, size_t start)
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

/* How many runs this one stands for: 0 if it is not timed. */
static unsigned timed_weight(struct processor *processor, const struct command_stats *stats)
{
    if (UNLIKELY(stats->calls < TIMED_ALWAYS))
        return 1;
    if (LIKELY(processor->unsampled_count > 0)) {
        processor->unsampled_count--;
        return 0;
    }
    processor->unsampled_count = (unsigned)rng_below(&processor->rng, 2 * SAMPLE_MEAN - 1);
    return SAMPLE_MEAN;
}

static uint64_t now_ms(struct processor *processor)
{
    if (UNLIKELY(processor->now_uses == 0)) {
        processor->now_ms = keyspace_now_ms(processor->keyspace);
        processor->now_uses = processor->ticked ? NOW_USES_MAX : 1;
    }
    processor->now_uses--;
    return processor->now_ms;
}

/* ---- dispatch ---- */

static const struct command *lookup(int argc, const struct varve_slice *argv)
{
    const struct command *command = command_find(NULL, argv[0]);

    if (command != NULL && command->child_count > 0 && argc > 1)
        command = command_find(command, argv[1]);
    return command;
}

static void reply_unknown_subcommand(struct cmd_ctx *ctx, const struct command *container)
{
    char word[UNKNOWN_MAX_BYTES + 1];
    char upper[32];
    size_t len = 0;

    for (; container->name[len] != '\0' && len < sizeof(upper) - 1; len++)
        upper[len] = (char)(container->name[len] - ('a' - 'A'));
    upper[len] = '\0';
    resp_error(ctx->out, "ERR unknown subcommand '%s'. Try %s HELP.",
               cmd_arg_text(ctx->argv[1], word, sizeof(word)), upper);
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

/* 1: the command must not run, and its error is written (or the client is to be closed). */
static int rejected(struct cmd_ctx *ctx, size_t start)
{
    const struct command *command = ctx->command;
    const struct command *container;

    if (LIKELY(command != NULL && command_arity_fits(command, ctx->argc) &&
               !session_auth_required(ctx->session)))
        return 0;
    if (command == NULL && is_cross_protocol(ctx->argv[0]))
        ctx->close_after = 1;
    else if (command == NULL && (container = command_find(NULL, ctx->argv[0])) != NULL)
        reply_unknown_subcommand(ctx, container);
    else if (command == NULL)
        reply_unknown_command(ctx);
    else if (!command_arity_fits(command, ctx->argc))
        cmd_reply_wrong_arity(ctx, command);
    else if (!(command->flags & CMD_NO_AUTH))
        resp_error(ctx->out, "NOAUTH Authentication required.");
    else
        return 0;
    transaction_refuse(ctx->session);
    if (command != NULL && command->run == cmd_exec)
        transaction_abort(ctx, start, start);
    count_error(ctx->processor, ctx->out, start);
    if (command != NULL)
        ctx->processor->command_stats[command_index(command)].rejected++;
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

/* Returns 0 if the command has to run once more, from its beginning, since it met what would block. */
static int run(struct cmd_ctx *ctx, size_t start)
{
    struct processor *processor = ctx->processor;
    struct command_stats *stats = &processor->command_stats[command_index(ctx->command)];
    unsigned weight = timed_weight(processor, stats);
    uint64_t usec = 0;

    processor->hits_before = processor->keys->hits;
    processor->misses_before = processor->keys->misses;
    if (UNLIKELY(weight > 0)) {
        uint64_t began_us = clock_mono_us();
        ctx->command->run(ctx);
        usec = (clock_mono_us() - began_us) * weight;
    } else {
        ctx->command->run(ctx);
    }
    if (UNLIKELY((processor->keys->blocked | processor->keys->full) != 0))
        return 0;
    stats->usec += usec;
    stats->calls++;
    processor->stats.commands++;
    if (UNLIKELY(count_error(processor, ctx->out, start)))
        stats->failed++;
    return 1;
}

void processor_run_queued(struct cmd_ctx *ctx, const struct queued_command *queued)
{
    struct processor *processor = ctx->processor;
    struct command_stats *stats = &processor->command_stats[command_index(queued->command)];
    struct cmd_ctx one = *ctx;
    size_t start = ctx->out->out->len;
    uint64_t began_us = clock_mono_us();

    one.command = queued->command;
    one.argc = queued->argc;
    one.argv = queued->argv;
    queued->command->run(&one);
    ctx->wait_seq = one.wait_seq;
    ctx->close_after = one.close_after;
    stats->usec += clock_mono_us() - began_us;
    if (UNLIKELY(count_error(processor, ctx->out, start)))
        stats->failed++;
}

void processor_count_queued(struct processor *processor, const struct queued_command *queue,
                            size_t count)
{
    for (size_t i = 0; i < count; i++)
        processor->command_stats[command_index(queue[i].command)].calls++;
    processor->stats.commands += count;
}

static void note_delay(struct processor_stats *stats, uint64_t delay_us)
{
    stats->delayed_writes++;
    stats->delayed_writes_us += delay_us;
}

/* The command met lookups that would block, or memtables that are full until a flush ends, and so wrote
 * nothing: what it answered is dropped, and what it needs is fetched, or given time. */
static COLD enum processor_step park_blocked(struct cmd_ctx *ctx, size_t start,
                                             struct processor_outcome *outcome)
{
    struct processor *processor = ctx->processor;
    struct varve_err err = {0};

    ctx->out->out->len = start;
    ctx->out->failed = 0;
    keyspace_uncount_lookups(processor->keyspace, processor->hits_before, processor->misses_before);
    keyspace_forget_fetched(processor->keyspace);
    if (processor->keys->full) {
        keyspace_forget_blocked(processor->keyspace);
        outcome->park_us = PARK_WRITE_MAX_US;
        processor->stats.delay_cause = VARVE_STALL_MEMTABLES;
        note_delay(&processor->stats, outcome->park_us);
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
    outcome->park_us = park_write_delay_us(processor);
    if (outcome->park_us == 0)
        return 0;
    note_delay(&processor->stats, outcome->park_us);
    return 1;
}

/* Nearly every command has its first key behind its name; where it has not, nothing is lost. */
void processor_prefetch(struct processor *processor, const struct session *session,
                        const struct resp_command *commands, size_t count)
{
    struct varve_slice keys[PROCESSOR_PREFETCH_MAX];
    size_t used = 0;

    for (size_t i = 0; i < count && used < PROCESSOR_PREFETCH_MAX; i++)
        if (commands[i].argc > 1)
            keys[used++] = commands[i].argv[1];
    if (used > 1)
        keyspace_prefetch(processor->keyspace, session->db, keys, used);
}

enum processor_step processor_run(struct processor *processor, struct session *session, int argc,
                                  const struct varve_slice *argv, struct resp_writer *out,
                                  struct processor_outcome *outcome)
{
    struct cmd_ctx ctx = {
        .processor = processor,
        .session = session,
        .command = lookup(argc, argv),
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
    if (UNLIKELY(rejected(&ctx, start))) {
        outcome->close_after = ctx.close_after;
        return PROCESSOR_DONE;
    }
    uint32_t flags = ctx.command->flags;
    const struct transaction *inside = NULL;
    if (UNLIKELY(session->transaction != NULL || (ctx.command->acl & ACL_TRANSACTION))) {
        if (queued(&ctx, start)) {
            outcome->close_after = ctx.close_after;
            outcome->uncommitted = keyspace_group_open(processor->keyspace);
            return PROCESSOR_DONE;
        }
        inside = transaction_run_by(&ctx);
        flags |= inside == NULL ? 0 : inside->flags;
    }
    if (UNLIKELY(flags & CMD_BARRIER) && keyspace_group_open(processor->keyspace))
        return PROCESSOR_COMMIT_FIRST;
    if (UNLIKELY(session->fetches != NULL || (processor->ask_delay && (flags & CMD_WRITE)))) {
        if (must_wait(&ctx, flags, outcome))
            return PROCESSOR_PARK;
        park_resume(processor, session, argc + (inside == NULL ? 0 : inside->words));
    }
    ctx.now_ms = now_ms(processor);
    session->active_ms = ctx.now_ms;
    session->last_command = ctx.command;
    if (UNLIKELY(!run(&ctx, start))) {
        outcome->uncommitted = keyspace_group_open(processor->keyspace);
        return park_blocked(&ctx, start, outcome);
    }
    session->command_count++;
    if (UNLIKELY(session->fetches != NULL)) {
        keyspace_forget_fetched(processor->keyspace);
        park_release(session);
    }
    outcome->wait_seq = ctx.wait_seq;
    outcome->sync = ctx.sync;
    outcome->close_after = ctx.close_after;
    outcome->uncommitted = keyspace_group_open(processor->keyspace);
    return keyspace_group_bytes(processor->keyspace) >= GROUP_MAX_BYTES ? PROCESSOR_COMMIT_NOW
                                                                        : PROCESSOR_DONE;
}
