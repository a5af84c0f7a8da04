/* cmd_server.c - TIME and LOLWUT, and what clients ask about things that this server has not: modules,
 * a cluster. */
#include <stdio.h>

#include "base/clock.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "varve/db.h"

#define US_PER_SECOND ((uint64_t)1000 * 1000)

void cmd_time(struct cmd_ctx *ctx)
{
    uint64_t now_us = clock_real_us();

    resp_array(ctx->out, 2);
    resp_bulk_fmt(ctx->out, "%llu", (unsigned long long)(now_us / US_PER_SECOND));
    resp_bulk_fmt(ctx->out, "%llu", (unsigned long long)(now_us % US_PER_SECOND));
}

/* A varve: a year's layer of sand and clay on the bottom of a lake. VERSION's number chooses nothing, but has
 * to be one. */
void cmd_lolwut(struct cmd_ctx *ctx)
{
    static const char lake[] = "        ~  ~ ~   ~    ~~  ~\n"
                               "   \\~  ~    ~  ~~   ~   ~  ~/\n"
                               "    \\.......................'/\n"
                               "     \\=====================/\n"
                               "      \\:::::::::::::::::::/\n"
                               "       \\=================/\n"
                               "        '''''''''''''''''\n";
    char text[512];
    int64_t number;

    if (ctx->argc > 2 && cmd_arg_is(ctx->argv[1], "version"))
        for (int i = 2; i < ctx->argc; i++)
            if (!cmd_arg_int64(ctx, i, &number, NULL))
                return;
    int len = snprintf(text, sizeof(text), "%s\nRedis ver. %s, varve %s\n", lake, CMD_REDIS_VERSION,
                       varve_version());
    resp_verbatim(ctx->out, "txt", varve_slice(text, (size_t)len));
}

/* ---- what is not there ---- */

void cmd_module_list(struct cmd_ctx *ctx)
{
    resp_array(ctx->out, 0);
}

void cmd_module_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "LIST",
        "    The modules that are loaded: none.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}

void cmd_cluster_disabled(struct cmd_ctx *ctx)
{
    resp_error(ctx->out, "ERR This instance has cluster support disabled");
}
