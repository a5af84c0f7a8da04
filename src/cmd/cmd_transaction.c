/* cmd_transaction.c - MULTI, EXEC, DISCARD, WATCH, UNWATCH; cmd/transaction.h says how. */
#include "base/mutant.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"

void cmd_multi(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};

    if (transaction_is_open(ctx->session)) {
        resp_error(ctx->out, "ERR MULTI calls can not be nested");
    } else if (transaction_of(ctx->session) == NULL) {
        cmd_reply_failure(ctx, VARVE_ENOMEM, &err);
    } else {
        ctx->session->transaction->open = 1;
        resp_ok(ctx->out);
    }
}

void cmd_discard(struct cmd_ctx *ctx)
{
    if (!transaction_is_open(ctx->session)) {
        resp_error(ctx->out, "ERR DISCARD without MULTI");
        return;
    }
    transaction_end(ctx->session);
    resp_ok(ctx->out);
}

/* A key that is watched twice is there twice: the first look is the one that decides. */
void cmd_watch(struct cmd_ctx *ctx)
{
    const struct transaction *before = ctx->session->transaction;
    size_t count = before == NULL ? 0 : before->watched_count;
    struct varve_err err = {0};
    int blocked = 0;
    int rc = 0;

    if (transaction_is_open(ctx->session)) {
        resp_error(ctx->out, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (int i = 1; i < ctx->argc && (rc == 0 || rc == VARVE_WOULD_BLOCK); i++) {
        rc = transaction_watch(ctx, ctx->argv[i], &err);
        blocked |= rc == VARVE_WOULD_BLOCK;
    }
    if (rc == 0 && !blocked) {
        if (transaction_fits(ctx))
            resp_ok(ctx->out);
        return;
    }
    transaction_watch_cut(ctx->session, count);
    if (!blocked)
        cmd_reply_failure(ctx, rc, &err);
}

void cmd_unwatch(struct cmd_ctx *ctx)
{
    if (!transaction_is_open(ctx->session)) /* else EXEC runs it, and ends all */
        transaction_end(ctx->session);
    resp_ok(ctx->out);
}

/* 1: a watched key is not what it was. Negative: a look failed, or would block; all are made. */
static int watched_changed(struct cmd_ctx *ctx, struct varve_err *err)
{
    const struct transaction *transaction = ctx->session->transaction;
    struct keyspace_watch now;
    int changed = 0;
    int failed = 0;

    for (size_t i = 0; i < transaction->watched_count; i++) {
        const struct watched_key *one = &transaction->watched[i];
        uint64_t seq = 0;
        int rc = keyspace_watch(ctx->keyspace, one->db, one->key, ctx->now_ms, &now, &seq, err);
        if (rc != 0) {
            failed = rc;
        } else if (keyspace_watch_differs(&one->seen, &now)) {
            changed = 1;
            cmd_saw(ctx, seq); /* that EXEC did not run shows it */
        }
    }
    return failed != 0 ? failed : changed;
}

/* Runs what is queued. Returns 0; 1: it met what would block; -1: the engine refused a write, and the
 * reply to that begins at *refused_at. */
static int run_queue(struct cmd_ctx *ctx, struct transaction *transaction, size_t *refused_at)
{
    const struct keyspace_stats *stats = keyspace_stats(ctx->keyspace);
    uint64_t refused = stats->refused;

    resp_array(ctx->out, transaction->queue_count);
    for (size_t i = 0; i < transaction->queue_count; i++) {
        size_t at = ctx->out->out->len;
        processor_run_queued(ctx, &transaction->queue[i]);
        if (stats->full)
            return 1;
        if (stats->refused != refused && stats->blocked == 0) {
            *refused_at = at;
            return -1;
        }
    }
    return stats->blocked > 0;
}

/* 1: a command has effects that a cut does not take back (a cut gives the session its database and
 * protocol again). */
static int acts_once(const struct transaction *transaction)
{
    for (size_t i = 0; i < transaction->queue_count; i++) {
        const struct command *command = transaction->queue[i].command;
        if ((command->flags & CMD_BARRIER) && !(command->flags & CMD_READONLY) &&
            command->run != cmd_select && command->run != cmd_hello && !MUTANT("exec-acts-twice"))
            return 1;
    }
    return 0;
}

static void run_transaction(struct cmd_ctx *ctx)
{
    struct session *session = ctx->session;
    struct transaction *transaction = session->transaction;
    size_t start = ctx->out->out->len;
    size_t refused_at = 0;
    uint64_t wait_seq = ctx->wait_seq;
    int proto = session->proto;
    int db = session->db;

    if (acts_once(transaction)) /* then it does not run again for a cold key */
        keyspace_let_wait(ctx->keyspace, 1);
    keyspace_mark(ctx->keyspace);
    int rc = run_queue(ctx, transaction, &refused_at);
    keyspace_unmark(ctx->keyspace, rc != 0 && !MUTANT("half-transaction"));
    keyspace_let_wait(ctx->keyspace, 0);
    if (rc != 0) {
        session->db = db;
        session->proto = proto;
        ctx->wait_seq = wait_seq; /* what was cut will never be durable */
    }
    if (rc < 0)
        transaction_abort(ctx, start, refused_at);
    if (rc != 0)
        return;
    processor_count_queued(ctx, transaction->queue, transaction->queue_count);
    transaction_end(session);
}

void cmd_exec(struct cmd_ctx *ctx)
{
    struct session *session = ctx->session;
    struct varve_err err = {0};
    size_t start = ctx->out->out->len;

    if (!transaction_is_open(session)) {
        resp_error(ctx->out, "ERR EXEC without MULTI");
        return;
    }
    if (session->transaction->refused) {
        transaction_end(session);
        resp_error(ctx->out, "EXECABORT Transaction discarded because of previous errors.");
        return;
    }
    int changed = watched_changed(ctx, &err);
    if (changed == VARVE_WOULD_BLOCK)
        return;
    if (changed != 0) {
        transaction_end(session);
        if (changed > 0)
            resp_null_array(ctx->out);
        else
            cmd_reply_failure(ctx, changed, &err);
        return;
    }
    if ((session->transaction->flags & CMD_WRITE) && keyspace_writable(ctx->keyspace, &err) != 0) {
        cmd_reply_failure(ctx, VARVE_EREADONLY, &err);
        transaction_abort(ctx, start, start);
        return;
    }
    run_transaction(ctx);
}
