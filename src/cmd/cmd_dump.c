/* cmd_dump.c - DUMP and RESTORE: values as bytes that other servers take, too. */
#include <stdio.h>

#include "base/err.h"
#include "cmd/ctx.h"
#include "cmd/string_at.h"
#include "cmd/table.h"
#include "types/rdb_value.h"
#include "types/t_string.h"

/* The value goes into the reply as it lies, without a copy of it and its envelope. */
static void reply_payload(struct cmd_ctx *ctx, struct varve_slice value)
{
    struct rdb_payload payload;
    char head[32];

    rdb_dump_string(value, &payload);
    int len = snprintf(head, sizeof(head), "$%zu\r\n",
                       payload.head_len + payload.body.len + sizeof(payload.footer));
    resp_raw(ctx->out, varve_slice(head, (size_t)len));
    resp_raw(ctx->out, varve_slice(payload.head, payload.head_len));
    resp_raw(ctx->out, payload.body);
    resp_raw(ctx->out, varve_slice(payload.footer, sizeof(payload.footer)));
    resp_raw(ctx->out, varve_slice("\r\n", 2));
}

void cmd_dump(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    struct keyspace_value value;
    struct string_at where = string_at(ctx, 1, &err);
    int rc = string_get(&where, KEYSPACE_READ, &value);

    if (rc == 0) {
        reply_payload(ctx, value.payload);
        keyspace_release(&value);
    } else if (rc == VARVE_NOT_FOUND) {
        resp_null(ctx->out);
    } else {
        cmd_reply_failure(ctx, rc, &err);
    }
}

/* ---- RESTORE ---- */

struct restore_options {
    int replace;
    int absolute;
    int idle;      /* 1: IDLETIME was given, which nothing here uses; */
    int frequency; /* nor FREQ */
};

/* A number behind a word, in [0, max]. Returns 0 after the error reply. */
static int take_number(struct cmd_ctx *ctx, int at, int64_t max, const char *error)
{
    int64_t number;

    if (!cmd_arg_int64(ctx, at, &number, NULL))
        return 0;
    if (number >= 0 && number <= max)
        return 1;
    resp_error(ctx->out, "ERR %s", error);
    return 0;
}

/* Returns 0 after the error reply. */
static int restore_parse(struct cmd_ctx *ctx, struct restore_options *options)
{
    *options = (struct restore_options){0};
    for (int i = 4; i < ctx->argc; i++) {
        int more = i + 1 < ctx->argc;
        if (cmd_arg_is(ctx->argv[i], "replace")) {
            options->replace = 1;
        } else if (cmd_arg_is(ctx->argv[i], "absttl")) {
            options->absolute = 1;
        } else if (cmd_arg_is(ctx->argv[i], "idletime") && more && !options->frequency) {
            options->idle = 1;
            if (!take_number(ctx, ++i, INT64_MAX, "Invalid IDLETIME value, must be >= 0"))
                return 0;
        } else if (cmd_arg_is(ctx->argv[i], "freq") && more && !options->idle) {
            options->frequency = 1;
            if (!take_number(ctx, ++i, 255, "Invalid FREQ value, must be >= 0 and <= 255"))
                return 0;
        } else {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
    }
    return 1;
}

/* Returns 0 after the error reply. */
static int restore_time(struct cmd_ctx *ctx, int64_t *time)
{
    if (!cmd_arg_int64(ctx, 2, time, NULL))
        return 0;
    if (*time >= 0)
        return 1;
    resp_error(ctx->out, "ERR Invalid TTL value, must be >= 0");
    return 0;
}

/* Whether the key may be written: 0, TYPES_UNMET after the error reply, or a code. */
static int restore_look(struct cmd_ctx *ctx, const struct restore_options *options,
                        struct varve_err *err)
{
    if (options->replace)
        return 0;
    int rc = keyspace_exists(ctx->keyspace, ctx->session->db, ctx->argv[1], ctx->now_ms,
                             KEYSPACE_WRITE, &ctx->wait_seq, err);
    if (rc == VARVE_NOT_FOUND)
        return 0;
    if (rc != 0)
        return rc;
    resp_error(ctx->out, "BUSYKEY Target key name already exists.");
    return TYPES_UNMET;
}

/* expire_ms: since the epoch, 0: never */
static void restore_write(struct cmd_ctx *ctx, struct varve_slice value, int64_t expire_ms)
{
    struct varve_err err = {0};
    struct string_at where = string_at(ctx, 1, &err);

    keyspace_begin(ctx->keyspace);
    int rc = string_put(&where, value, (uint64_t)expire_ms);
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, &err);
    if (rc == 0)
        resp_ok(ctx->out);
    else
        cmd_reply_failure(ctx, rc, &err);
}

void cmd_restore(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    struct restore_options options;
    struct rdb_string string;
    int64_t time;

    if (!restore_parse(ctx, &options))
        return;
    int rc = restore_look(ctx, &options, &err);
    if (rc != 0 && rc != TYPES_UNMET)
        cmd_reply_failure(ctx, rc, &err);
    if (rc != 0 || !restore_time(ctx, &time))
        return;
    if (!rdb_verify(ctx->argv[3])) {
        resp_error(ctx->out, "ERR DUMP payload version or checksum are wrong");
        return;
    }
    rc = rdb_load_string(ctx->argv[3], &string);
    if (rc == VARVE_ECORRUPT) {
        resp_error(ctx->out, "ERR Bad data format");
        return;
    }
    if (rc != 0) {
        cmd_reply_failure(ctx, rc, &err);
        return;
    }
    if (time > 0 && !options.absolute && __builtin_add_overflow(time, (int64_t)ctx->now_ms, &time))
        resp_error(ctx->out, "ERR Invalid TTL value, too large");
    else
        restore_write(ctx, string.value, time);
    rdb_string_free(&string);
}
