/* Commands that a loop beside the writer's runs by itself: reads of keys, for sessions in no special state. The
 * rest, and whatever such a read meets that it cannot answer from memory at once, is left to the writer.
 *
 * A reader is a processor of which only the parts are in use that count and time commands; what it counts is the
 * writer's as soon as somebody asks (processor_take). */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "varve/db.h"

struct processor *processor_create_reader(struct processor *processor, struct keyspace *keyspace,
                                          struct metrics *metrics)
{
    struct processor *reader = mem_alloc_zero(sizeof(*reader));

    if (reader == NULL)
        return NULL;
    reader->command_stats = mem_alloc_zero((size_t)command_count() *
                                           sizeof(*reader->command_stats));
    reader->histograms = mem_alloc_zero((size_t)command_count() * sizeof(struct histogram *));
    if (reader->command_stats == NULL || reader->histograms == NULL) {
        processor_destroy_reader(reader);
        return NULL;
    }
    reader->writer = processor;
    reader->keyspace = keyspace;
    reader->config = processor->config;
    reader->metrics = metrics;
    reader->host = processor->host;
    reader->renames = processor->renames;
    reader->rename_count = processor->rename_count;
    list_init(&reader->saved_transactions);
    reader->tick_rate = processor->tick_rate;
    reader->keys = keyspace_stats(keyspace);
    slowlog_init(&reader->slowlog);
    processor_read_settings(reader);
    return reader;
}

void processor_destroy_reader(struct processor *reader)
{
    if (reader == NULL)
        return;
    for (int i = 0; reader->histograms != NULL && i < command_count(); i++)
        mem_free(reader->histograms[i]);
    mem_free(reader->histograms);
    mem_free(reader->command_stats);
    mem_free(reader);
}

void processor_refresh_reader(struct processor *reader)
{
    processor_read_settings(reader);
}

void processor_begin_reads(struct processor *reader, uint64_t now_us, int closed)
{
    reader->reads_us = now_us;
    reader->closed = closed;
}

int processor_wants_all(const struct processor *processor)
{
    return processor->monitoring.count > 0 || processor->pausing.mode != PAUSE_OFF;
}

/* ---- running ---- */

/* The writer alone knows what follows from the others. */
static int session_is_plain(const struct session *session)
{
    return session->authenticated && session->transaction == NULL && session->muted == 0;
}

/* 1: what ctx answered may be sent. */
static int may_show(const struct cmd_ctx *ctx)
{
    const struct processor *reader = ctx->processor;

    if (UNLIKELY(reader->keys->blocked > 0) || !keyspace_read_end(ctx->keyspace))
        return 0;
    return ctx->wait_seq == 0 ||
           varve_read_ack_seq(keyspace_engine(ctx->keyspace), ctx->wait_seq, reader->reads_us) == 0;
}

static COLD int leave_it(struct cmd_ctx *ctx, size_t start)
{
    struct processor *reader = ctx->processor;

    resp_cut(ctx->out, start);
    ctx->out->failed = 0;
    keyspace_uncount_lookups(ctx->keyspace, reader->hits_before, reader->misses_before);
    if (reader->keys->blocked > 0)
        keyspace_forget_blocked(ctx->keyspace);
    return 0;
}

int processor_read(struct processor *reader, struct session *session, int argc,
                   const struct varve_slice *argv, struct resp_writer *out)
{
    struct cmd_ctx ctx = {
        .processor = reader,
        .session = session,
        .argc = argc,
        .argv = argv,
        .out = out,
        .keyspace = reader->keyspace,
        .config = reader->config,
        .metrics = reader->metrics,
        .host = &reader->host,
    };
    size_t start = out->out->len;

    if (UNLIKELY(reader->closed || !session_is_plain(session)))
        return 0;
    ctx.command = processor_lookup(reader, argc, argv);
    if (ctx.command == NULL || !(ctx.command->flags & CMD_LOCAL) ||
        !command_arity_fits(ctx.command, argc) || !keyspace_read_begin(reader->keyspace))
        return 0;
    out->proto = session->proto;
    ctx.now_ms = processor_now_ms(reader);
    reader->hits_before = reader->keys->hits;
    reader->misses_before = reader->keys->misses;
    uint64_t began = clock_ticks();
    ctx.command->run(&ctx);
    uint64_t ticks = clock_ticks() - began;
    if (UNLIKELY(!may_show(&ctx)))
        return leave_it(&ctx, start);
    if (UNLIKELY(processor_count_error(reader, out, start)))
        reader->command_stats[command_index(ctx.command)].failed++;
    processor_note_run(&ctx, clock_ticks_ns(ticks, reader->tick_rate));
    session->active_ms = ctx.now_ms;
    session->last_command = ctx.command;
    session->command_count++;
    return 1;
}

/* ---- counts ---- */

static void take_histogram(struct histogram **to, struct histogram *from)
{
    if (from == NULL || from->count == 0)
        return;
    if (*to == NULL)
        *to = mem_alloc_zero(sizeof(**to));
    if (*to != NULL) {
        (*to)->count += from->count;
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
            (*to)->buckets[i] += from->buckets[i];
    }
    *from = (struct histogram){.count = 0};
}

static void take_errors(struct processor *processor, struct processor *reader)
{
    for (int i = 0; i < reader->error_class_count; i++) {
        const struct error_class *class = &reader->errors[i];
        int at = 0;
        while (at < processor->error_class_count &&
               strcmp(processor->errors[at].name, class->name) != 0)
            at++;
        if (at == ERROR_CLASSES_MAX)
            continue;
        if (at == processor->error_class_count) {
            processor->errors[at] = (struct error_class){.count = 0};
            memcpy(processor->errors[at].name, class->name, sizeof(class->name));
            processor->error_class_count++;
        }
        processor->errors[at].count += class->count;
    }
    reader->error_class_count = 0;
}

uint64_t processor_take_commands(struct processor *reader)
{
    uint64_t count = reader->stats.commands;

    reader->stats.commands = 0;
    return count;
}

void processor_add_commands(struct processor *processor, uint64_t count)
{
    processor->stats.commands += count;
}

void processor_take(struct processor *processor, struct processor *reader)
{
    for (int i = 0; i < command_count(); i++) {
        struct command_stats *to = &processor->command_stats[i];
        struct command_stats *from = &reader->command_stats[i];
        to->calls += from->calls;
        to->nsec += from->nsec;
        to->failed += from->failed;
        *from = (struct command_stats){0};
        take_histogram(&processor->histograms[i], reader->histograms[i]);
    }
    take_errors(processor, reader);
    processor_add_commands(processor, processor_take_commands(reader));
    processor->stats.error_replies += reader->stats.error_replies;
    reader->stats.error_replies = 0;
    keyspace_take_stats(processor->keyspace, reader->keyspace);
}
