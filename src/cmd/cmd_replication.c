/* cmd_replication.c - ROLE REPLICAOF WAIT FAILOVER: what a server without replicas answers. */
#include "cmd/ctx.h"
#include "cmd/table.h"

#define PORT_MAX 65535

void cmd_role(struct cmd_ctx *ctx)
{
    resp_array(ctx->out, 3);
    resp_bulk_str(ctx->out, "master");
    resp_integer(ctx->out, 0);
    resp_array(ctx->out, 0);
}

void cmd_replicaof(struct cmd_ctx *ctx)
{
    static const char bad_port[] = "Invalid master port";
    int64_t port;

    if (cmd_arg_is(ctx->argv[1], "no") && cmd_arg_is(ctx->argv[2], "one")) {
        resp_ok(ctx->out);
        return;
    }
    if (!cmd_arg_int64(ctx, 2, &port, bad_port))
        return;
    if (port < 0 || port > PORT_MAX)
        resp_error(ctx->out, "ERR %s", bad_port);
    else
        resp_error(ctx->out, "ERR replication is not supported");
}

/* No replica will ever acknowledge anything, so there is nothing to wait for. */
void cmd_wait(struct cmd_ctx *ctx)
{
    int64_t count;
    int64_t timeout_ms;

    if (!cmd_arg_int64(ctx, 1, &count, NULL) ||
        !cmd_arg_int64(ctx, 2, &timeout_ms, "timeout is not an integer or out of range"))
        return;
    if (timeout_ms < 0)
        resp_error(ctx->out, "ERR timeout is negative");
    else
        resp_integer(ctx->out, 0);
}

/* ---- FAILOVER ---- */

struct failover_options {
    int abort;
    int target;
    int timeout;
    int force;
};

/* Returns 0 after the error reply. */
static int failover_parse(struct cmd_ctx *ctx, struct failover_options *options)
{
    int64_t number;

    *options = (struct failover_options){0};
    for (int i = 1; i < ctx->argc; i++) {
        int left = ctx->argc - 1 - i;
        if (cmd_arg_is(ctx->argv[i], "timeout") && left >= 1 && !options->timeout) {
            if (!cmd_arg_int64(ctx, ++i, &number, NULL))
                return 0;
            if (number <= 0) {
                resp_error(ctx->out, "ERR FAILOVER timeout must be greater than 0");
                return 0;
            }
            options->timeout = 1;
        } else if (cmd_arg_is(ctx->argv[i], "abort") && ctx->argc == 2) {
            options->abort = 1;
        } else if (cmd_arg_is(ctx->argv[i], "to") && left >= 2 && !options->target) {
            if (!cmd_arg_int64(ctx, i + 2, &number, NULL))
                return 0;
            options->target = 1;
            i += 2;
        } else if (cmd_arg_is(ctx->argv[i], "force") && !options->force) {
            options->force = 1;
        } else {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
    }
    return 1;
}

void cmd_failover(struct cmd_ctx *ctx)
{
    struct failover_options options;

    if (!failover_parse(ctx, &options))
        return;
    if (options.abort)
        resp_error(ctx->out, "ERR No failover in progress.");
    else
        resp_error(ctx->out, "ERR FAILOVER requires connected replicas.");
}
