/* cmd_slowlog.c - SLOWLOG; cmd/slowlog.h says what it keeps. */
#include "cmd/processor_private.h"
#include "cmd/table.h"

#define SHOWN_BY_DEFAULT 10

static void reply_entry(struct cmd_ctx *ctx, const struct slowlog_entry *entry)
{
    resp_array(ctx->out, 6);
    resp_integer(ctx->out, (int64_t)entry->id);
    resp_integer(ctx->out, (int64_t)entry->time_s);
    resp_integer(ctx->out, (int64_t)entry->us);
    resp_array(ctx->out, (uint64_t)entry->argc);
    for (int i = 0; i < entry->argc; i++)
        resp_bulk(ctx->out, slowlog_arg(entry, i));
    resp_bulk(ctx->out, slowlog_peer(entry));
    resp_bulk(ctx->out, slowlog_name(entry));
}

void cmd_slowlog_get(struct cmd_ctx *ctx)
{
    struct slowlog *slowlog = &ctx->processor->slowlog;
    int64_t wanted = SHOWN_BY_DEFAULT;

    if (ctx->argc > 3) {
        cmd_reply_wrong_subcommand(ctx);
        return;
    }
    if (ctx->argc == 3 && !cmd_arg_range(ctx, 2, -1, INT64_MAX, &wanted,
                                         "count should be greater than or equal to -1"))
        return;
    uint64_t left = slowlog->count;
    if (wanted >= 0 && (uint64_t)wanted < left)
        left = (uint64_t)wanted;
    resp_array(ctx->out, left);
    for (struct list *node = slowlog->entries.next; left > 0; node = node->next, left--)
        reply_entry(ctx, CONTAINER_OF(node, struct slowlog_entry, node));
}

void cmd_slowlog_len(struct cmd_ctx *ctx)
{
    resp_integer(ctx->out, (int64_t)ctx->processor->slowlog.count);
}

void cmd_slowlog_reset(struct cmd_ctx *ctx)
{
    slowlog_trim(&ctx->processor->slowlog, 0);
    resp_ok(ctx->out);
}

void cmd_slowlog_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    The newest entries, 10 if no count is given, all for -1. Each is its number, when it",
        "    was (Unix time), how long it took (microseconds), the command, and the client's",
        "    address and name.",
        "LEN",
        "    How many entries there are.",
        "RESET",
        "    Forgets them all.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
