/* cmd_persistence.c - SAVE and its kind. All that was acknowledged is in the log; what a save adds is that it
 * is durable, so a save is a sync of the log. SAVE's reply waits for it as a write's does in appendfsync
 * always; nothing else waits. */
#include "cmd/persistence.h"

#include "base/clock.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "types/keyspace.h"

#define US_PER_SECOND ((uint64_t)1000 * 1000)

uint64_t cmd_last_save_s(const struct varve_stats *engine)
{
    return (clock_real_us() - engine->wal_unsynced_us) / US_PER_SECOND;
}

/* 1: a sync of all that is committed has begun; 0 after the error reply. */
static int save_begin(struct cmd_ctx *ctx, uint64_t *seq)
{
    struct varve_err err = {0};
    int rc = keyspace_writable(ctx->keyspace, &err);

    if (rc != 0)
        cmd_reply_failure(ctx, rc, &err);
    else
        keyspace_sync(ctx->keyspace, seq);
    return rc == 0;
}

void cmd_save(struct cmd_ctx *ctx)
{
    if (!save_begin(ctx, &ctx->wait_seq))
        return;
    ctx->sync = 1;
    resp_ok(ctx->out);
}

/* In a transaction Redis says of both that they are scheduled: it forks when EXEC is over. */
void cmd_bgsave(struct cmd_ctx *ctx)
{
    uint64_t seq = 0; /* nobody waits for it */

    if (ctx->argc > 2 || (ctx->argc == 2 && !cmd_arg_is(ctx->argv[1], "schedule")))
        cmd_reply_syntax_error(ctx);
    else if (save_begin(ctx, &seq))
        resp_simple(ctx->out,
                    ctx->in_exec ? "Background saving scheduled" : "Background saving started");
}

/* The log is rewritten all the time, by flushes and compactions: there is nothing to do. */
void cmd_bgrewriteaof(struct cmd_ctx *ctx)
{
    resp_simple(ctx->out, ctx->in_exec ? "Background append only file rewriting scheduled"
                                       : "Background append only file rewriting started");
}

void cmd_lastsave(struct cmd_ctx *ctx)
{
    struct varve_stats engine = {0};

    varve_stats(keyspace_engine(ctx->keyspace), &engine);
    resp_integer(ctx->out, (int64_t)cmd_last_save_s(&engine));
}
