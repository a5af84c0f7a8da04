/* cmd_rename.c - keys that get another name or database: RENAME COPY MOVE SWAPDB. */
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "types/keyspace.h"
#include "types/result.h"

/* A key that goes from one place to another. */
struct passage {
    int from_db;
    int to_db;
    struct varve_slice from;
    struct varve_slice to;
    enum keyspace_lookup lookup; /* of the first */
    int replace;                 /* 0: what is at the second stays, and nothing happens */
    int keep;                    /* 1: the first stays */
};

static int find_from(struct cmd_ctx *ctx, const struct passage *passage,
                     struct keyspace_value *value, struct varve_err *err)
{
    return keyspace_get(ctx->keyspace, passage->from_db, passage->from, ctx->now_ms,
                        passage->lookup, value, &ctx->wait_seq, err);
}

/* 0: nothing is in the way; TYPES_UNMET: something is. */
static int look_at_target(struct cmd_ctx *ctx, const struct passage *passage, struct varve_err *err)
{
    if (passage->replace)
        return 0;
    int rc = keyspace_exists(ctx->keyspace, passage->to_db, passage->to, ctx->now_ms,
                             KEYSPACE_WRITE, &ctx->wait_seq, err);
    return rc == 0 ? TYPES_UNMET : rc == VARVE_NOT_FOUND ? 0 : rc;
}

static int write_passage(struct cmd_ctx *ctx, const struct passage *passage,
                         const struct keyspace_value *value, struct varve_err *err)
{
    keyspace_begin(ctx->keyspace);
    int rc = keyspace_put_value(ctx->keyspace, passage->to_db, passage->to, value, err);
    if (rc == 0 && !passage->keep)
        rc = keyspace_delete(ctx->keyspace, passage->from_db, passage->from, err);
    return rc == 0 ? keyspace_apply(ctx->keyspace, &ctx->wait_seq, err) : rc;
}

/* 0: done; VARVE_NOT_FOUND: there is no such key; TYPES_UNMET: something was in the way; or what
 * cmd_reply_failure() takes. Both places are looked at even if the first look would block. */
static int pass(struct cmd_ctx *ctx, const struct passage *passage, struct varve_err *err)
{
    struct keyspace_value value = {0};
    int found = find_from(ctx, passage, &value, err);

    if (found != 0 && found != VARVE_WOULD_BLOCK)
        return found;
    int rc = look_at_target(ctx, passage, err);
    if (found != 0)
        return found;
    if (rc == 0)
        rc = write_passage(ctx, passage, &value, err);
    keyspace_release(&value);
    return rc;
}

/* 1 if it was done, 0 if not. */
static void reply_passed(struct cmd_ctx *ctx, const struct passage *passage)
{
    struct varve_err err = {0};
    int rc = pass(ctx, passage, &err);

    if (rc == 0 || rc == VARVE_NOT_FOUND || rc == TYPES_UNMET)
        resp_integer(ctx->out, rc == 0);
    else
        cmd_reply_failure(ctx, rc, &err);
}

/* ---- RENAME ---- */

static void rename_key(struct cmd_ctx *ctx, int replace)
{
    struct varve_err err = {0};
    struct passage passage = {.from_db = ctx->session->db,
                              .to_db = ctx->session->db,
                              .from = ctx->argv[1],
                              .to = ctx->argv[2],
                              .lookup = KEYSPACE_WRITE,
                              .replace = replace};
    int rc;

    if (varve_slice_equal(passage.from, passage.to)) {
        rc = keyspace_exists(ctx->keyspace, passage.from_db, passage.from, ctx->now_ms,
                             KEYSPACE_WRITE, &ctx->wait_seq, &err);
        if (rc == 0 && !replace)
            rc = TYPES_UNMET;
    } else {
        rc = pass(ctx, &passage, &err);
    }
    if (rc == VARVE_NOT_FOUND)
        resp_error(ctx->out, "ERR no such key");
    else if (rc != 0 && rc != TYPES_UNMET)
        cmd_reply_failure(ctx, rc, &err);
    else if (replace)
        resp_ok(ctx->out);
    else
        resp_integer(ctx->out, rc == 0);
}

void cmd_rename(struct cmd_ctx *ctx)
{
    rename_key(ctx, 1);
}

void cmd_renamenx(struct cmd_ctx *ctx)
{
    rename_key(ctx, 0);
}

/* ---- COPY, MOVE ---- */

static void reply_same_object(struct cmd_ctx *ctx)
{
    resp_error(ctx->out, "ERR source and destination objects are the same");
}

void cmd_copy(struct cmd_ctx *ctx)
{
    struct passage passage = {.from_db = ctx->session->db,
                              .to_db = ctx->session->db,
                              .from = ctx->argv[1],
                              .to = ctx->argv[2],
                              .lookup = KEYSPACE_READ,
                              .keep = 1};

    for (int i = 3; i < ctx->argc; i++) {
        if (cmd_arg_is(ctx->argv[i], "replace")) {
            passage.replace = 1;
        } else if (cmd_arg_is(ctx->argv[i], "db") && i + 1 < ctx->argc) {
            if (!cmd_arg_database(ctx, ++i, &passage.to_db, NULL))
                return;
        } else {
            cmd_reply_syntax_error(ctx);
            return;
        }
    }
    if (passage.from_db == passage.to_db && varve_slice_equal(passage.from, passage.to))
        reply_same_object(ctx);
    else
        reply_passed(ctx, &passage);
}

void cmd_move(struct cmd_ctx *ctx)
{
    struct passage passage = {.from_db = ctx->session->db,
                              .from = ctx->argv[1],
                              .to = ctx->argv[1],
                              .lookup = KEYSPACE_WRITE};

    if (!cmd_arg_database(ctx, 2, &passage.to_db, NULL))
        return;
    if (passage.from_db == passage.to_db)
        reply_same_object(ctx);
    else
        reply_passed(ctx, &passage);
}

/* ---- SWAPDB ---- */

void cmd_swapdb(struct cmd_ctx *ctx)
{
    static const char *const bad[] = {"invalid first DB index", "invalid second DB index"};
    struct varve_err err = {0};
    int64_t index[2];
    int dbs[2];

    /* Redis looks whether both are integers before it looks whether there are such databases. */
    for (int i = 0; i < 2; i++)
        if (!cmd_arg_int(ctx, 1 + i, &index[i], bad[i]))
            return;
    for (int i = 0; i < 2; i++)
        if (!cmd_arg_database(ctx, 1 + i, &dbs[i], bad[i]))
            return;
    keyspace_begin(ctx->keyspace);
    int rc = keyspace_swap(ctx->keyspace, dbs[0], dbs[1], &err);
    if (rc == 0)
        rc = keyspace_apply(ctx->keyspace, &ctx->wait_seq, &err);
    if (rc == 0)
        resp_ok(ctx->out);
    else
        cmd_reply_failure(ctx, rc, &err);
}
