/* cmd_keys.c - commands on keys of any type: DEL EXISTS TYPE, expiry, DBSIZE, the flushes. */
#include <stdlib.h>

#include "base/mem.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "types/keyspace.h"

/* ---- being there ---- */

/* Deletes a key if it is there. Returns 1 if so, 0, or a negative status. One whose lookup would block is
 * passed over, so that the others' are noted too: keyspace_apply() refuses then. */
static int delete_present(struct cmd_ctx *ctx, struct varve_slice key, struct varve_err *err)
{
    int db = ctx->session->db;
    int rc = keyspace_exists(ctx->keyspace, db, key, ctx->now_ms, KEYSPACE_WRITE, &ctx->wait_seq,
                             err);

    if (rc == VARVE_NOT_FOUND || rc == VARVE_WOULD_BLOCK)
        return 0;
    if (rc == 0)
        rc = keyspace_delete(ctx->keyspace, db, key, err);
    return rc == 0 ? 1 : rc;
}

static int compare_keys(const void *a, const void *b)
{
    return varve_slice_compare(*(const struct varve_slice *)a, *(const struct varve_slice *)b);
}

/* The keys are sorted, so that one that is given twice is seen, and counted, once: the batch is not
 * visible to the lookups of its own command. */
static int delete_all(struct cmd_ctx *ctx, int64_t *deleted, struct varve_err *err)
{
    size_t count = (size_t)ctx->argc - 1;
    struct varve_slice few[16];
    struct varve_slice *keys = few;
    int rc = 0;

    if (count == 1) {
        rc = delete_present(ctx, ctx->argv[1], err);
        *deleted = rc > 0 ? rc : 0;
        return rc < 0 ? rc : 0;
    }
    if (count > COUNT_OF(few) && (keys = mem_alloc(count * sizeof(*keys))) == NULL)
        return VARVE_ENOMEM;
    memcpy(keys, ctx->argv + 1, count * sizeof(*keys));
    qsort(keys, count, sizeof(*keys), compare_keys);
    for (size_t i = 0; rc >= 0 && i < count; i++) {
        if (i > 0 && varve_slice_equal(keys[i], keys[i - 1]))
            continue;
        rc = delete_present(ctx, keys[i], err);
        *deleted += rc > 0;
    }
    if (keys != few)
        mem_free(keys);
    return rc < 0 ? rc : 0;
}

void cmd_del(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    int64_t deleted = 0;

    keyspace_begin(ctx->keyspace);
    int rc = delete_all(ctx, &deleted, &err);
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, &err);
    if (rc == 0)
        resp_integer(ctx->out, deleted);
    else
        cmd_reply_failure(ctx, rc, &err);
}

void cmd_exists(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    int64_t found = 0;
    int rc = 0;

    for (int i = 1; rc >= 0 && i < ctx->argc; i++) {
        rc = keyspace_exists(ctx->keyspace, ctx->session->db, ctx->argv[i], ctx->now_ms,
                             KEYSPACE_READ, &ctx->wait_seq, &err);
        found += rc == 0;
    }
    if (rc < 0)
        cmd_reply_failure(ctx, rc, &err);
    else
        resp_integer(ctx->out, found);
}

/* Looks argv[1] up. 1: *value holds it; 0: it is absent; else the error reply is written. */
static int find(struct cmd_ctx *ctx, enum keyspace_lookup lookup, struct keyspace_value *value)
{
    struct varve_err err = {0};
    int rc = keyspace_get(ctx->keyspace, ctx->session->db, ctx->argv[1], ctx->now_ms, lookup, value,
                          &ctx->wait_seq, &err);

    if (rc == 0)
        return 1;
    if (rc == VARVE_NOT_FOUND)
        return 0;
    cmd_reply_failure(ctx, rc, &err);
    return -1;
}

void cmd_type(struct cmd_ctx *ctx)
{
    struct keyspace_value value;
    int found = find(ctx, KEYSPACE_READ, &value);

    if (found < 0)
        return;
    resp_simple(ctx->out, found ? value_type_name(value.type) : "none");
    if (found)
        keyspace_release(&value);
}

/* ---- expiry ---- */

enum expire_condition { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };

/* Returns 0 after the error reply. */
static int expire_parse(struct cmd_ctx *ctx, unsigned *conditions)
{
    static const char *const words[] = {"nx", "xx", "gt", "lt"};
    char text[256];

    *conditions = 0;
    for (int i = 3; i < ctx->argc; i++) {
        unsigned w = 0;
        while (w < COUNT_OF(words) && !cmd_arg_is(ctx->argv[i], words[w]))
            w++;
        if (w == COUNT_OF(words)) {
            resp_error(ctx->out, "ERR Unsupported option %s",
                       cmd_arg_text(ctx->argv[i], text, sizeof(text)));
            return 0;
        }
        *conditions |= 1u << w;
    }
    if ((*conditions & EXPIRE_NX) && (*conditions & ~(unsigned)EXPIRE_NX)) {
        resp_error(ctx->out, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return 0;
    }
    if ((*conditions & EXPIRE_GT) && (*conditions & EXPIRE_LT)) {
        resp_error(ctx->out, "ERR GT and LT options at the same time are not compatible");
        return 0;
    }
    return 1;
}

/* A key without an expiry counts as one that expires never, that is, later than any other. */
static int expire_allowed(unsigned conditions, uint64_t old_ms, int64_t new_ms)
{
    if ((conditions & EXPIRE_NX) && old_ms != 0)
        return 0;
    if ((conditions & EXPIRE_XX) && old_ms == 0)
        return 0;
    if ((conditions & EXPIRE_GT) && (old_ms == 0 || new_ms <= (int64_t)old_ms))
        return 0;
    if ((conditions & EXPIRE_LT) && old_ms != 0 && new_ms >= (int64_t)old_ms)
        return 0;
    return 1;
}

/* Gives the key that was found its expiry, or deletes it if that is not in the future. */
static void expire_write(struct cmd_ctx *ctx, const struct keyspace_value *value, int64_t when_ms)
{
    struct varve_err err = {0};
    int db = ctx->session->db;
    int rc;

    keyspace_begin(ctx->keyspace);
    if (when_ms <= (int64_t)ctx->now_ms)
        rc = keyspace_delete(ctx->keyspace, db, ctx->argv[1], &err);
    else
        rc = keyspace_set_expiry(ctx->keyspace, db, ctx->argv[1], value, (uint64_t)when_ms, &err);
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, &err);
    if (rc == 0)
        resp_integer(ctx->out, 1);
    else
        cmd_reply_failure(ctx, rc, &err);
}

static void expire(struct cmd_ctx *ctx, int64_t unit_ms, uint64_t base_ms)
{
    struct keyspace_value value;
    unsigned conditions;
    int64_t when_ms;

    if (!expire_parse(ctx, &conditions) || !cmd_arg_int64(ctx, 2, &when_ms, NULL))
        return;
    if (__builtin_mul_overflow(when_ms, unit_ms, &when_ms) ||
        __builtin_add_overflow(when_ms, (int64_t)base_ms, &when_ms)) {
        resp_error(ctx->out, "ERR invalid expire time in '%s' command", ctx->command->full_name);
        return;
    }
    int found = find(ctx, KEYSPACE_WRITE, &value);
    if (found < 0)
        return;
    if (found && expire_allowed(conditions, value.expire_ms, when_ms))
        expire_write(ctx, &value, when_ms);
    else
        resp_integer(ctx->out, 0);
    if (found)
        keyspace_release(&value);
}

void cmd_expire(struct cmd_ctx *ctx)
{
    expire(ctx, 1000, ctx->now_ms);
}

void cmd_pexpire(struct cmd_ctx *ctx)
{
    expire(ctx, 1, ctx->now_ms);
}

void cmd_expireat(struct cmd_ctx *ctx)
{
    expire(ctx, 1000, 0);
}

void cmd_pexpireat(struct cmd_ctx *ctx)
{
    expire(ctx, 1, 0);
}

/* Replies with the expiry, less base_ms, in units; halves round up. */
static void reply_expiry(struct cmd_ctx *ctx, uint64_t unit_ms, uint64_t base_ms)
{
    struct keyspace_value value;
    int found = find(ctx, KEYSPACE_READ, &value);

    if (found < 0)
        return;
    if (!found)
        resp_integer(ctx->out, -2);
    else if (value.expire_ms == 0)
        resp_integer(ctx->out, -1);
    else
        resp_integer(ctx->out, (int64_t)((value.expire_ms - base_ms + unit_ms / 2) / unit_ms));
    if (found)
        keyspace_release(&value);
}

void cmd_ttl(struct cmd_ctx *ctx)
{
    reply_expiry(ctx, 1000, ctx->now_ms);
}

void cmd_pttl(struct cmd_ctx *ctx)
{
    reply_expiry(ctx, 1, ctx->now_ms);
}

void cmd_expiretime(struct cmd_ctx *ctx)
{
    reply_expiry(ctx, 1000, 0);
}

void cmd_pexpiretime(struct cmd_ctx *ctx)
{
    reply_expiry(ctx, 1, 0);
}

void cmd_persist(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    struct keyspace_value value;
    int found = find(ctx, KEYSPACE_WRITE, &value);
    int rc = 0;

    if (found < 0)
        return;
    int changes = found && value.expire_ms != 0;
    if (changes) {
        keyspace_begin(ctx->keyspace);
        rc = keyspace_set_expiry(ctx->keyspace, ctx->session->db, ctx->argv[1], &value, 0, &err);
        if (rc == 0)
            rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, &err);
    }
    if (found)
        keyspace_release(&value);
    if (rc == 0)
        resp_integer(ctx->out, changes);
    else
        cmd_reply_failure(ctx, rc, &err);
}

/* ---- whole databases ---- */

void cmd_dbsize(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    uint64_t count;
    int rc = keyspace_count(ctx->keyspace, ctx->session->db, &count, &ctx->wait_seq, &err);

    if (rc == 0)
        resp_integer(ctx->out, (int64_t)count);
    else
        cmd_reply_failure(ctx, rc, &err);
}

/* ASYNC and SYNC are the same: a flush takes no time. */
static int flush_parse(struct cmd_ctx *ctx)
{
    if (ctx->argc == 1 ||
        (ctx->argc == 2 && (cmd_arg_is(ctx->argv[1], "async") || cmd_arg_is(ctx->argv[1], "sync"))))
        return 1;
    cmd_reply_syntax_error(ctx);
    return 0;
}

static void flush_finish(struct cmd_ctx *ctx, int rc, struct varve_err *err)
{
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, err);
    if (rc == 0)
        resp_ok(ctx->out);
    else
        cmd_reply_failure(ctx, rc, err);
}

void cmd_flushdb(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};

    if (!flush_parse(ctx))
        return;
    keyspace_begin(ctx->keyspace);
    flush_finish(ctx, keyspace_flush(ctx->keyspace, ctx->session->db, &err), &err);
}

void cmd_flushall(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};

    if (!flush_parse(ctx))
        return;
    keyspace_begin(ctx->keyspace);
    flush_finish(ctx, keyspace_flush_all(ctx->keyspace, &err), &err);
}
