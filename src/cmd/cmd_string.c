/* cmd_string.c - commands on strings: GET SET MGET MSET STRLEN APPEND INCR and their kind. */
#include "base/mem.h"
#include "cmd/ctx.h"
#include "cmd/string_at.h"
#include "cmd/table.h"
#include "config/config.h"
#include "types/integer.h"
#include "types/t_string.h"

static void release_kept(void *owner)
{
    struct varve_pin *pin = owner;

    varve_pin_release(pin);
    mem_free(pin);
}

/* Replies with the value, and releases it: at once, or, if it is long, when it was sent from where it lies. */
static void reply_value(struct cmd_ctx *ctx, struct keyspace_value *value)
{
    struct varve_pin *kept = NULL;

    if (UNLIKELY(value->payload.len >= RESP_PINNED_MIN_BYTES && ctx->out->pins != NULL))
        kept = mem_alloc(sizeof(*kept));
    if (LIKELY(kept == NULL)) {
        resp_bulk(ctx->out, value->payload);
        keyspace_release(value);
        return;
    }
    varve_pin_keep(&value->pin);
    *kept = value->pin;
    resp_bulk_pinned(ctx->out, value->payload, release_kept, kept);
}

/* Replies with the string at argv[at], or null. Returns what string_get() did; the caller replies to
 * what is neither 0 nor absent. */
static int reply_string(struct cmd_ctx *ctx, int at, struct varve_err *err)
{
    struct keyspace_value value;
    struct string_at where = string_at(ctx, at, err);
    int rc = string_get(&where, KEYSPACE_READ, &value);

    if (rc == 0)
        reply_value(ctx, &value);
    else if (rc == VARVE_NOT_FOUND)
        resp_null(ctx->out);
    return rc;
}

void cmd_get(struct cmd_ctx *ctx)
{
    struct varve_err err;
    int rc = reply_string(ctx, 1, &err);

    if (UNLIKELY(rc != 0 && rc != VARVE_NOT_FOUND))
        cmd_reply_failure(ctx, rc, &err);
}

void cmd_mget(struct cmd_ctx *ctx)
{
    struct varve_err err;
    size_t start = ctx->out->out->len;

    resp_array(ctx->out, (uint64_t)(ctx->argc - 1));
    for (int i = 1; i < ctx->argc; i++) {
        if ((i - 1) % KEYSPACE_PREFETCH_MAX == 0)
            keyspace_prefetch(ctx->keyspace, ctx->session->db, VARVE_TO_READ, ctx->argv + i,
                              (size_t)(ctx->argc - i));
        int rc = reply_string(ctx, i, &err);
        if (rc == TYPES_WRONG_TYPE) {
            resp_null(ctx->out);
        } else if (rc < 0) {
            resp_cut(ctx->out, start); /* one error instead of half an array */
            cmd_reply_failure(ctx, rc, &err);
            return;
        }
    }
}

void cmd_strlen(struct cmd_ctx *ctx)
{
    struct varve_err err;
    struct keyspace_value value;
    struct string_at where = string_at(ctx, 1, &err);
    int rc = string_get(&where, KEYSPACE_READ, &value);

    if (rc == 0) {
        resp_integer(ctx->out, (int64_t)value.payload.len);
        keyspace_release(&value);
    } else if (rc == VARVE_NOT_FOUND) {
        resp_integer(ctx->out, 0);
    } else {
        cmd_reply_failure(ctx, rc, &err);
    }
}

/* ---- SET ---- */

enum set_option {
    SET_NX = 1 << 0,
    SET_XX = 1 << 1,
    SET_GET = 1 << 2,
    SET_KEEPTTL = 1 << 3,
    SET_EX = 1 << 4,
    SET_PX = 1 << 5,
    SET_EXAT = 1 << 6,
    SET_PXAT = 1 << 7,
};

#define SET_TIMES (SET_KEEPTTL | SET_EX | SET_PX | SET_EXAT | SET_PXAT)

static const struct set_word {
    const char *word;
    unsigned option;
    unsigned excludes; /* the others; the same one again is no error in Redis either */
    int has_value;
} set_words[] = {
    {"nx", SET_NX, SET_XX, 0},
    {"xx", SET_XX, SET_NX, 0},
    {"get", SET_GET, 0, 0},
    {"keepttl", SET_KEEPTTL, SET_TIMES & ~SET_KEEPTTL, 0},
    {"ex", SET_EX, SET_TIMES & ~SET_EX, 1},
    {"px", SET_PX, SET_TIMES & ~SET_PX, 1},
    {"exat", SET_EXAT, SET_TIMES & ~SET_EXAT, 1},
    {"pxat", SET_PXAT, SET_TIMES & ~SET_PXAT, 1},
};

/* Reads the options behind the value. *time_at is the argument that holds the time, 0: none.
 * Returns 0 after the error reply. */
static int set_parse(struct cmd_ctx *ctx, unsigned *options, int *time_at)
{
    *options = 0;
    *time_at = 0;
    for (int i = 3; i < ctx->argc; i++) {
        const struct set_word *word = NULL;
        for (size_t w = 0; w < COUNT_OF(set_words) && word == NULL; w++)
            if (cmd_arg_is(ctx->argv[i], set_words[w].word))
                word = &set_words[w];
        if (word == NULL || (*options & word->excludes) ||
            (word->has_value && i + 1 == ctx->argc)) {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
        *options |= word->option;
        if (word->has_value)
            *time_at = ++i;
    }
    return 1;
}

int cmd_expiry_ms(struct cmd_ctx *ctx, int64_t time, int64_t scale, uint64_t base_ms,
                  uint64_t *expire_ms)
{
    int bad = time <= 0;

    bad |= __builtin_mul_overflow(time, scale, &time);
    bad |= __builtin_add_overflow(time, (int64_t)base_ms, &time);
    if (bad)
        resp_error(ctx->out, "ERR invalid expire time in '%s' command", ctx->command->full_name);
    *expire_ms = (uint64_t)time;
    return !bad;
}

/* The time argument as milliseconds since the epoch. Returns 0 after the error reply. */
static int set_expiry(struct cmd_ctx *ctx, unsigned options, int time_at, uint64_t *expire_ms)
{
    int64_t time;

    return cmd_arg_int64(ctx, time_at, &time, NULL) &&
           cmd_expiry_ms(ctx, time, (options & (SET_EX | SET_EXAT)) ? 1000 : 1,
                         (options & (SET_EX | SET_PX)) ? ctx->now_ms : 0, expire_ms);
}

/* What stands in the way of a plain write: the old value, if an option wants to know about it. Returns
 * 0 if the SET goes on; else the reply is written. */
static int set_look(struct cmd_ctx *ctx, unsigned options, struct string_at *where,
                    uint64_t *expire_ms)
{
    struct keyspace_value old;
    int rc = keyspace_get(ctx->keyspace, where->db, where->key, ctx->now_ms,
                          (options & SET_GET) ? KEYSPACE_READ : KEYSPACE_WRITE, &old, where->seq,
                          where->err);
    int found = rc == 0;

    if (rc == 0 && (options & SET_GET) && old.type != VALUE_STRING)
        rc = TYPES_WRONG_TYPE;
    if (rc != 0 && rc != VARVE_NOT_FOUND) {
        if (found)
            keyspace_release(&old);
        cmd_reply_failure(ctx, rc, where->err);
        return rc;
    }
    if ((options & SET_GET) && found)
        resp_bulk(ctx->out, old.payload);
    else if (options & SET_GET)
        resp_null(ctx->out);
    if ((options & SET_KEEPTTL) && found)
        *expire_ms = old.expire_ms;
    if (found)
        keyspace_release(&old);
    if (((options & SET_NX) && found) || ((options & SET_XX) && !found)) {
        if (!(options & SET_GET))
            resp_null(ctx->out);
        return TYPES_UNMET;
    }
    return 0;
}

void cmd_set(struct cmd_ctx *ctx)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    size_t start = ctx->out->out->len;
    unsigned options;
    int time_at;
    uint64_t expire_ms = 0;

    if (!set_parse(ctx, &options, &time_at) ||
        (time_at != 0 && !set_expiry(ctx, options, time_at, &expire_ms)))
        return;
    if ((options & (SET_NX | SET_XX | SET_GET | SET_KEEPTTL)) &&
        set_look(ctx, options, &where, &expire_ms) != 0)
        return;
    keyspace_begin(ctx->keyspace);
    int rc = string_put(&where, ctx->argv[2], expire_ms);
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, &err);
    if (UNLIKELY(rc != 0)) {
        resp_cut(ctx->out, start); /* GET's answer, if there is one */
        cmd_reply_failure(ctx, rc, &err);
    } else if (!(options & SET_GET)) {
        resp_ok(ctx->out);
    }
}

void cmd_mset(struct cmd_ctx *ctx)
{
    struct varve_err err;
    int rc = 0;

    if (ctx->argc % 2 == 0) {
        cmd_reply_wrong_arity(ctx, ctx->command);
        return;
    }
    keyspace_begin(ctx->keyspace);
    for (int i = 1; rc == 0 && i < ctx->argc; i += 2) {
        struct string_at where = string_at(ctx, i, &err);
        rc = string_put(&where, ctx->argv[i + 1], 0);
    }
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, &err);
    if (rc == 0)
        resp_ok(ctx->out);
    else
        cmd_reply_failure(ctx, rc, &err);
}

/* ---- in place ---- */

void cmd_append(struct cmd_ctx *ctx)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    uint64_t length_max = (uint64_t)config_int(ctx->config, OPT_PROTO_MAX_BULK_LEN);
    uint64_t length;
    int rc = string_append(&where, ctx->argv[2], length_max, &length);

    if (rc == 0)
        resp_integer(ctx->out, (int64_t)length);
    else
        cmd_reply_failure(ctx, rc, &err);
}

static void increment(struct cmd_ctx *ctx, int64_t delta)
{
    struct varve_err err;
    struct string_at where = string_at(ctx, 1, &err);
    int64_t result;
    int rc = string_increment(&where, delta, &result);

    if (rc == 0)
        resp_integer(ctx->out, result);
    else
        cmd_reply_failure(ctx, rc, &err);
}

void cmd_incr(struct cmd_ctx *ctx)
{
    increment(ctx, 1);
}

void cmd_decr(struct cmd_ctx *ctx)
{
    increment(ctx, -1);
}

void cmd_incrby(struct cmd_ctx *ctx)
{
    int64_t delta;

    if (cmd_arg_int64(ctx, 2, &delta, NULL))
        increment(ctx, delta);
}

void cmd_decrby(struct cmd_ctx *ctx)
{
    int64_t delta;

    if (!cmd_arg_int64(ctx, 2, &delta, NULL))
        return;
    if (delta == INT64_MIN) /* has no negative */
        resp_error(ctx->out, "ERR decrement would overflow");
    else
        increment(ctx, -delta);
}
