#include <ctype.h>
#include <stdio.h>

#include "base/err.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "types/result.h"

#define SUBCOMMAND_SHOWN_BYTES 128

void cmd_reply_syntax_error(struct cmd_ctx *ctx)
{
    resp_error(ctx->out, "ERR syntax error");
}

void cmd_reply_wrong_arity(struct cmd_ctx *ctx, const struct command *command)
{
    resp_error(ctx->out, "ERR wrong number of arguments for '%s' command", command->full_name);
}

static void upper_name(const struct command *command, char out[32])
{
    size_t len = 0;

    for (; command->name[len] != '\0' && len < 31; len++)
        out[len] = (char)toupper((unsigned char)command->name[len]);
    out[len] = '\0';
}

void cmd_reply_unknown_subcommand(struct cmd_ctx *ctx, const struct command *container)
{
    char word[SUBCOMMAND_SHOWN_BYTES + 1];
    char upper[32];

    upper_name(container, upper);
    resp_error(ctx->out, "ERR unknown subcommand '%s'. Try %s HELP.",
               cmd_arg_text(ctx->argv[1], word, sizeof(word)), upper);
}

void cmd_reply_wrong_subcommand(struct cmd_ctx *ctx)
{
    char word[SUBCOMMAND_SHOWN_BYTES + 1];
    char upper[32];

    upper_name(ctx->command->parent, upper);
    resp_error(ctx->out,
               "ERR unknown subcommand or wrong number of arguments for '%s'. Try %s HELP.",
               cmd_arg_text(ctx->argv[1], word, sizeof(word)), upper);
}

static void reply_engine_failure(struct cmd_ctx *ctx, int code, const struct varve_err *err)
{
    switch (code) {
    case VARVE_EFULL: resp_error(ctx->out, "OOM command refused: %s", err_text(err)); break;
    case VARVE_EREADONLY:
    case VARVE_EIO:
    case VARVE_ENOSPC:
    case VARVE_EUNKNOWN:
        resp_error(ctx->out, "MISCONF Writes are refused: %s", err_text(err));
        break;
    case VARVE_ENOMEM: resp_error(ctx->out, "ERR out of memory"); break;
    case VARVE_ECORRUPT: resp_error(ctx->out, "ERR corrupt data: %s", err_text(err)); break;
    default: resp_error(ctx->out, "ERR %s: %s", varve_status_name(code), err_text(err)); break;
    }
}

void cmd_reply_failure(struct cmd_ctx *ctx, int code, const struct varve_err *err)
{
    switch (code) {
    case TYPES_WRONG_TYPE:
        resp_error(ctx->out, "WRONGTYPE Operation against a key holding the wrong kind of value");
        break;
    case TYPES_NOT_INTEGER:
        resp_error(ctx->out, "ERR value is not an integer or out of range");
        break;
    case TYPES_OVERFLOW: resp_error(ctx->out, "ERR increment or decrement would overflow"); break;
    case TYPES_TOO_LONG:
        resp_error(ctx->out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        break;
    case TYPES_NOT_FLOAT: resp_error(ctx->out, "ERR value is not a valid float"); break;
    case TYPES_NOT_FINITE:
        resp_error(ctx->out, "ERR increment would produce NaN or Infinity");
        break;
    default: reply_engine_failure(ctx, code, err); break;
    }
}

void cmd_reply_help(struct cmd_ctx *ctx, const char *const *lines, int count)
{
    char head[128];
    const char *name = ctx->command->parent != NULL ? ctx->command->parent->name
                                                    : ctx->command->name;
    size_t len = 0;

    for (; name[len] != '\0' && len < 32; len++)
        head[len] = (char)toupper((unsigned char)name[len]);
    snprintf(head + len, sizeof(head) - len,
             " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    resp_array(ctx->out, (uint64_t)count + 3);
    resp_simple(ctx->out, head);
    for (int i = 0; i < count; i++)
        resp_simple(ctx->out, lines[i]);
    resp_simple(ctx->out, "HELP");
    resp_simple(ctx->out, "    Prints this help.");
}
