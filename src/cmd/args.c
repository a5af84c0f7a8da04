#include <stdint.h>
#include <string.h>

#include "cmd/ctx.h"
#include "cmd/table.h"
#include "config/config.h"
#include "types/integer.h"
#include "types/keyspace.h"

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

int cmd_arg_is(struct varve_slice arg, const char *word)
{
    for (size_t i = 0; i < arg.len; i++)
        if (lower(arg.data[i]) != (uint8_t)word[i] || word[i] == '\0')
            return 0;
    return word[arg.len] == '\0';
}

int cmd_arg_int64(struct cmd_ctx *ctx, int at, int64_t *value, const char *error)
{
    if (integer_parse(ctx->argv[at], value))
        return 1;
    resp_error(ctx->out, "ERR %s",
               error != NULL ? error : "value is not an integer or out of range");
    return 0;
}

int cmd_arg_int(struct cmd_ctx *ctx, int at, int64_t *value, const char *error)
{
    if (!cmd_arg_int64(ctx, at, value, error))
        return 0;
    if (*value >= INT32_MIN && *value <= INT32_MAX)
        return 1;
    if (error != NULL)
        resp_error(ctx->out, "ERR %s", error);
    else
        resp_error(ctx->out, "ERR value is out of range, value must between %d and %d", INT32_MIN,
                   INT32_MAX);
    return 0;
}

int cmd_arg_database(struct cmd_ctx *ctx, int at, int *db, const char *error)
{
    int64_t index;

    if (!cmd_arg_int(ctx, at, &index, error))
        return 0;
    if (index < 0 || index >= config_int(ctx->config, OPT_DATABASES) ||
        index >= KEYSPACE_DATABASES_MAX) {
        resp_error(ctx->out, "ERR DB index is out of range");
        return 0;
    }
    *db = (int)index;
    return 1;
}

const char *cmd_arg_text(struct varve_slice arg, char *out, size_t cap)
{
    size_t len = arg.len < cap - 1 ? arg.len : cap - 1;

    if (len > 0)
        memcpy(out, arg.data, len);
    out[len] = '\0';
    return out;
}

static int is_secret(const struct cmd_ctx *ctx, int i)
{
    command_fn run = ctx->command->run;

    if (run == cmd_auth)
        return i > 0;
    if (run == cmd_hello)
        return (i > 2 && cmd_arg_is(ctx->argv[i - 1], "auth")) ||
               (i > 3 && cmd_arg_is(ctx->argv[i - 2], "auth"));
    if (run != cmd_config_set || i < 3 || i % 2 == 0)
        return 0;
    int option = config_find(ctx->argv[i - 1]);
    return option >= 0 && (config_row((enum config_option)option)->flags & CONFIG_SECRET) != 0;
}

struct varve_slice cmd_shown_arg(const struct cmd_ctx *ctx, int i)
{
    return is_secret(ctx, i) ? varve_slice_str("(redacted)") : ctx->argv[i];
}

int cmd_arg_range(struct cmd_ctx *ctx, int at, int64_t min, int64_t max, int64_t *value,
                  const char *error)
{
    if (!cmd_arg_int64(ctx, at, value, error))
        return 0;
    if (*value >= min && *value <= max)
        return 1;
    resp_error(ctx->out, "ERR %s", error);
    return 0;
}
