/* cmd_monitor.c - MONITOR; cmd/monitor.h says how. */
#include "cmd/processor_private.h"
#include "cmd/table.h"

void cmd_monitor(struct cmd_ctx *ctx)
{
    if (ctx->in_exec) {
        resp_error(ctx->out, "ERR MONITOR isn't allowed for DENY BLOCKING client");
        return;
    }
    if (!list_empty(&ctx->session->monitor_node))
        return; /* as in Redis, without a word */
    monitor_begin(ctx->processor, ctx->session);
    resp_ok(ctx->out);
}
