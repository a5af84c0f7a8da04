/* cmd_string_edit.c - commands on strings that do two things at once, or to a part of one: SETNX GETSET
 * GETDEL GETEX SETRANGE GETRANGE INCRBYFLOAT and their kind. */
#include "cmd/ctx.h"
#include "cmd/string_at.h"
#include "cmd/table.h"
#include "config/config.h"
#include "types/longdouble.h"
#include "types/t_string.h"

/* ---- SET with conditions of old ---- */

/* Applies what the batch holds, if rc is 0. Returns 0, or a code after its reply. */
static int apply(struct cmd_ctx *ctx, int rc, struct varve_err *err)
{
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, err);
    if (rc != 0)
        cmd_reply_failure(ctx, rc, err);
    return rc;
}

/* Sets the pairs from argv[1] on if none of their names is there. Every name is looked up, so that a command
 * that has to wait for several waits once. */
static void set_if_none(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    int found = 0;
    int rc = VARVE_NOT_FOUND;

    for (int i = 1; rc >= 0 && !found && i < ctx->argc; i += 2) {
        rc = keyspace_exists(ctx->keyspace, ctx->session->db, ctx->argv[i], ctx->now_ms,
                             KEYSPACE_WRITE, &ctx->wait_seq, &err);
        found = rc == 0;
    }
    if (rc < 0) {
        cmd_reply_failure(ctx, rc, &err);
        return;
    }
    rc = 0;
    keyspace_begin(ctx->keyspace);
    for (int i = 1; rc == 0 && !found && i < ctx->argc; i += 2) {
        struct string_at where = string_at(ctx, i, &err);
        rc = string_put(&where, ctx->argv[i + 1], 0);
    }
    if (apply(ctx, rc, &err) == 0)
        resp_integer(ctx->out, !found);
}

void cmd_setnx(struct cmd_ctx *ctx)
{
    set_if_none(ctx);
}

void cmd_msetnx(struct cmd_ctx *ctx)
{
    if (ctx->argc % 2 == 0)
        cmd_reply_wrong_arity(ctx, ctx->command);
    else
        set_if_none(ctx);
}

static void set_expiring(struct cmd_ctx *ctx, int64_t unit_ms)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    uint64_t expire_ms;
    int64_t time;

    if (!cmd_arg_int64(ctx, 2, &time, NULL) ||
        !cmd_expiry_ms(ctx, time, unit_ms, ctx->now_ms, &expire_ms))
        return;
    keyspace_begin(ctx->keyspace);
    if (apply(ctx, string_put(&where, ctx->argv[3], expire_ms), &err) == 0)
        resp_ok(ctx->out);
}

void cmd_setex(struct cmd_ctx *ctx)
{
    set_expiring(ctx, 1000);
}

void cmd_psetex(struct cmd_ctx *ctx)
{
    set_expiring(ctx, 1);
}

/* ---- reading and writing ---- */

/* Replies with the string that argv[1] holds, or null. Returns 1 if it is held in *value; 0; or -1 after the
 * error reply. */
static int reply_old(struct cmd_ctx *ctx, struct keyspace_value *value, struct varve_err *err)
{
    struct string_at where = string_at(ctx, 1, err);
    int rc = string_get(&where, KEYSPACE_READ, value);

    if (rc == VARVE_NOT_FOUND) {
        resp_null(ctx->out);
        return 0;
    }
    if (rc != 0) {
        cmd_reply_failure(ctx, rc, err);
        return -1;
    }
    resp_bulk(ctx->out, value->payload);
    return 1;
}

/* Applies the batch; if that fails, its error takes the place of the reply from `start` on. */
static void apply_behind_reply(struct cmd_ctx *ctx, size_t start, int rc, struct varve_err *err)
{
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, err);
    if (rc == 0)
        return;
    resp_cut(ctx->out, start);
    cmd_reply_failure(ctx, rc, err);
}

void cmd_getset(struct cmd_ctx *ctx)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    struct keyspace_value old;
    size_t start = ctx->out->out->len;
    int found = reply_old(ctx, &old, &err);

    if (found < 0)
        return;
    if (found)
        keyspace_release(&old);
    keyspace_begin(ctx->keyspace);
    apply_behind_reply(ctx, start, string_put(&where, ctx->argv[2], 0), &err);
}

void cmd_getdel(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    struct keyspace_value old;
    size_t start = ctx->out->out->len;

    if (reply_old(ctx, &old, &err) <= 0)
        return;
    keyspace_release(&old);
    keyspace_begin(ctx->keyspace);
    apply_behind_reply(ctx, start,
                       keyspace_delete(ctx->keyspace, ctx->session->db, ctx->argv[1], &err), &err);
}

static const struct getex_word {
    const char *word; /* NULL: no option was given */
    int64_t unit_ms;  /* 0: takes no time, the expiry goes */
    int from_now;
} getex_words[] = {
    {"ex", 1000, 1}, {"px", 1, 1}, {"exat", 1000, 0}, {"pxat", 1, 0}, {"persist", 0, 0},
};

/* Returns 0 after the error reply. *option is NULL if there is none; it may be given again, others not. */
static int getex_parse(struct cmd_ctx *ctx, const struct getex_word **option, int *time_at)
{
    *option = NULL;
    for (int i = 2; i < ctx->argc; i++) {
        const struct getex_word *word = NULL;
        for (size_t w = 0; w < COUNT_OF(getex_words); w++)
            if (cmd_arg_is(ctx->argv[i], getex_words[w].word))
                word = &getex_words[w];
        if (word == NULL || (*option != NULL && *option != word) ||
            (word->unit_ms != 0 && i + 1 == ctx->argc)) {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
        *option = word;
        if (word->unit_ms != 0)
            *time_at = ++i;
    }
    return 1;
}

static int getex_time(struct cmd_ctx *ctx, const struct getex_word *option, int time_at,
                      uint64_t *expire_ms)
{
    int64_t time;

    *expire_ms = 0;
    if (option->unit_ms == 0)
        return 1;
    return cmd_arg_int64(ctx, time_at, &time, NULL) &&
           cmd_expiry_ms(ctx, time, option->unit_ms, option->from_now ? ctx->now_ms : 0, expire_ms);
}

void cmd_getex(struct cmd_ctx *ctx)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    const struct getex_word *option;
    struct keyspace_value old;
    size_t start = ctx->out->out->len;
    uint64_t expire_ms;
    int time_at = 0;

    if (!getex_parse(ctx, &option, &time_at) || reply_old(ctx, &old, &err) <= 0)
        return;
    if (option == NULL)
        goto out;
    size_t end = ctx->out->out->len;
    ctx->out->out->len = start; /* the time's error comes instead */
    if (!getex_time(ctx, option, time_at, &expire_ms))
        goto out;
    ctx->out->out->len = end;
    if (expire_ms == old.expire_ms)
        goto out;
    keyspace_begin(ctx->keyspace);
    apply_behind_reply(ctx, start, string_put(&where, old.payload, expire_ms), &err);
out:
    keyspace_release(&old);
}

/* ---- parts ---- */

void cmd_setrange(struct cmd_ctx *ctx)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    uint64_t length_max = (uint64_t)config_int(ctx->config, OPT_PROTO_MAX_BULK_LEN);
    uint64_t length;
    int64_t offset;

    if (!cmd_arg_int64(ctx, 2, &offset, NULL))
        return;
    if (offset < 0) {
        resp_error(ctx->out, "ERR offset is out of range");
        return;
    }
    int rc = string_set_range(&where, (uint64_t)offset, ctx->argv[3], length_max, &length);
    if (rc == 0)
        resp_integer(ctx->out, (int64_t)length);
    else
        cmd_reply_failure(ctx, rc, &err);
}

/* Counted from the end if negative, and no further than the beginning. */
static int64_t position(int64_t at, int64_t len)
{
    if (at >= 0)
        return at;
    return at < -len ? 0 : at + len;
}

static struct varve_slice range_of(struct varve_slice string, int64_t start, int64_t end)
{
    int64_t len = (int64_t)string.len;

    if (start < 0 && end < 0 && start > end)
        return varve_slice(string.data, 0);
    start = position(start, len);
    end = position(end, len);
    if (end >= len)
        end = len - 1;
    if (start > end)
        return varve_slice(string.data, 0);
    return varve_slice(string.data + start, (size_t)(end - start + 1));
}

void cmd_getrange(struct cmd_ctx *ctx)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    struct keyspace_value value;
    int64_t start;
    int64_t end;

    if (!cmd_arg_int64(ctx, 2, &start, NULL) || !cmd_arg_int64(ctx, 3, &end, NULL))
        return;
    int rc = string_get(&where, KEYSPACE_READ, &value);
    if (rc == 0) {
        resp_bulk(ctx->out, range_of(value.payload, start, end));
        keyspace_release(&value);
    } else if (rc == VARVE_NOT_FOUND) {
        resp_bulk_str(ctx->out, "");
    } else {
        cmd_reply_failure(ctx, rc, &err);
    }
}

/* ---- numbers with a point ---- */

void cmd_incrbyfloat(struct cmd_ctx *ctx)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    char text[LONGDOUBLE_TEXT_MAX_BYTES];
    size_t len;
    int rc = string_add_float(&where, ctx->argv[2], text, &len);

    if (rc == 0)
        resp_bulk(ctx->out, varve_slice(text, len));
    else
        cmd_reply_failure(ctx, rc, &err);
}
