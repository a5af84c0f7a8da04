/* cmd_latency.c - LATENCY: metrics/latency.h says what the monitor keeps, metrics/histogram.h what is kept
 * of each command. */
#include "base/clock.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "config/config.h"

#define TEXT_MAX_BYTES ((size_t)64 * 1024)

static void reply_samples(struct cmd_ctx *ctx, enum latency_event event)
{
    const struct latency *latency = &ctx->processor->latency;
    unsigned count = 0;

    while (latency_sample(latency, event, count) != NULL)
        count++;
    resp_array(ctx->out, count);
    while (count-- > 0) {
        const struct latency_sample *sample = latency_sample(latency, event, count);
        resp_array(ctx->out, 2);
        resp_integer(ctx->out, (int64_t)sample->time_s);
        resp_integer(ctx->out, (int64_t)sample->ms);
    }
}

void cmd_latency_history(struct cmd_ctx *ctx)
{
    int event = latency_find_event(ctx->argv[2]);

    if (event < 0)
        resp_array(ctx->out, 0);
    else
        reply_samples(ctx, (enum latency_event)event);
}

void cmd_latency_latest(struct cmd_ctx *ctx)
{
    const struct latency *latency = &ctx->processor->latency;
    uint64_t happened = 0;

    for (int i = 0; i < LATENCY_EVENTS; i++)
        happened += latency_happened(latency, (enum latency_event)i) != 0;
    resp_array(ctx->out, happened);
    for (int i = 0; i < LATENCY_EVENTS; i++) {
        const struct latency_sample *last = latency_sample(latency, (enum latency_event)i, 0);
        if (last == NULL)
            continue;
        resp_array(ctx->out, 4);
        resp_bulk_str(ctx->out, latency_event_name((enum latency_event)i));
        resp_integer(ctx->out, (int64_t)last->time_s);
        resp_integer(ctx->out, (int64_t)last->ms);
        resp_integer(ctx->out, (int64_t)latency->events[i].max_ms);
    }
}

void cmd_latency_reset(struct cmd_ctx *ctx)
{
    struct latency *latency = &ctx->processor->latency;
    int64_t reset = 0;

    for (int i = 0; i < LATENCY_EVENTS && ctx->argc == 2; i++)
        reset += latency_reset(latency, (enum latency_event)i);
    for (int i = 2; i < ctx->argc; i++) {
        int event = latency_find_event(ctx->argv[i]);
        if (event >= 0)
            reset += latency_reset(latency, (enum latency_event)event);
    }
    resp_integer(ctx->out, reset);
}

static void reply_text(struct cmd_ctx *ctx, int rc, struct buf *text)
{
    if (rc == 0)
        resp_verbatim(ctx->out, "txt", buf_slice(text));
    else
        cmd_reply_failure(ctx, VARVE_ENOMEM, NULL);
    buf_deinit(text);
}

void cmd_latency_graph(struct cmd_ctx *ctx)
{
    int event = latency_find_event(ctx->argv[2]);
    char name[128];
    struct buf text;

    if (event < 0 || !latency_happened(&ctx->processor->latency, (enum latency_event)event)) {
        resp_error(ctx->out, "ERR No samples available for event '%s'",
                   cmd_arg_text(ctx->argv[2], name, sizeof(name)));
        return;
    }
    buf_init(&text, TEXT_MAX_BYTES);
    int rc = latency_graph(&ctx->processor->latency, (enum latency_event)event,
                           clock_real_us() / 1000000, &text);
    reply_text(ctx, rc, &text);
}

void cmd_latency_doctor(struct cmd_ctx *ctx)
{
    uint64_t threshold_ms = (uint64_t)config_int(ctx->config, OPT_LATENCY_MONITOR_THRESHOLD);
    struct buf text;

    buf_init(&text, TEXT_MAX_BYTES);
    int rc = latency_report(&ctx->processor->latency, threshold_ms, &text);
    reply_text(ctx, rc, &text);
}

/* ---- histograms ---- */

/* Redis's bounds: powers of two from 1024 ns on, rounded up to its buckets' ends and down to whole
 * microseconds. */
#define BOUNDS 21
#define BOUND_NS(i) ((uint64_t)1024 << (i))

static int64_t bound_us(unsigned i)
{
    return (int64_t)((BOUND_NS(i) + BOUND_NS(i) / 128 - 1) / 1000);
}

static void reply_histogram(struct cmd_ctx *ctx, const struct histogram *histogram)
{
    uint64_t below[BOUNDS];
    uint64_t steps = 0;

    for (unsigned i = 0; i < BOUNDS; i++) {
        below[i] = histogram_below(histogram, BOUND_NS(i));
        steps += below[i] > (i == 0 ? 0 : below[i - 1]);
    }
    resp_map(ctx->out, 2);
    resp_bulk_str(ctx->out, "calls");
    resp_integer(ctx->out, (int64_t)histogram->count);
    resp_bulk_str(ctx->out, "histogram_usec");
    resp_map(ctx->out, steps);
    for (unsigned i = 0; i < BOUNDS; i++) {
        if (below[i] == (i == 0 ? 0 : below[i - 1]))
            continue;
        resp_integer(ctx->out, bound_us(i));
        resp_integer(ctx->out, (int64_t)below[i]);
    }
}

/* Those of a row and, behind it, of its subcommands; returns how many. `show` 0: only counts them. */
static uint64_t reply_family(struct cmd_ctx *ctx, const struct command *command, int show)
{
    int first = command_index(command);
    uint64_t found = 0;

    for (int i = first; i <= first + command->child_count; i++) {
        const struct command *one = command_at(i);
        const struct histogram *histogram = processor_command_histogram(ctx->processor, one);
        if (histogram == NULL)
            continue;
        found++;
        if (!show)
            continue;
        resp_bulk_str(ctx->out, one->full_name);
        reply_histogram(ctx, histogram);
    }
    return found;
}

static uint64_t reply_histograms(struct cmd_ctx *ctx, int show)
{
    uint64_t found = 0;

    for (int i = 0; i < command_count() && ctx->argc == 2; i++)
        if (command_at(i)->parent == NULL)
            found += reply_family(ctx, command_at(i), show);
    for (int i = 2; i < ctx->argc; i++) {
        const struct command *command = command_find_full(ctx->argv[i]);
        if (command != NULL)
            found += reply_family(ctx, command, show);
    }
    return found;
}

void cmd_latency_histogram(struct cmd_ctx *ctx)
{
    resp_map(ctx->out, reply_histograms(ctx, 0));
    reply_histograms(ctx, 1);
}

void cmd_latency_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    What was slow, and what may help.",
        "GRAPH <event>",
        "    The delays of an event, drawn in characters.",
        "HISTOGRAM [COMMAND ...]",
        "    How long commands took: of each, how many calls stayed below some microseconds.",
        "HISTORY <event>",
        "    The worst delay of each second that had one: Unix time, milliseconds.",
        "LATEST",
        "    Of each event its last delay, and the longest ever.",
        "RESET [<event> ...]",
        "    Forgets the delays of these events, or of all.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
