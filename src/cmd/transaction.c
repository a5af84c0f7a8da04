#include "cmd/transaction.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "config/config.h"

/* ---- one transaction ---- */

static void queue_cut(struct transaction *transaction, size_t count)
{
    while (transaction->queue_count > count) {
        struct queued_command *one = &transaction->queue[--transaction->queue_count];
        transaction->bytes -= one->bytes + sizeof(*one);
        transaction->words -= one->argc;
        mem_free(one->argv);
    }
}

static void watched_cut(struct transaction *transaction, size_t count)
{
    while (transaction->watched_count > count) {
        struct watched_key *one = &transaction->watched[--transaction->watched_count];
        transaction->bytes -= one->key.len + sizeof(*one);
        mem_free((void *)(uintptr_t)one->key.data);
    }
}

static void transaction_unref(struct transaction *transaction)
{
    if (transaction == NULL || --transaction->refs > 0)
        return;
    queue_cut(transaction, 0);
    watched_cut(transaction, 0);
    mem_free(transaction->queue);
    mem_free(transaction->watched);
    mem_free(transaction);
}

struct transaction *transaction_of(struct session *session)
{
    if (session->transaction == NULL) {
        session->transaction = mem_alloc_zero(sizeof(*session->transaction));
        if (session->transaction != NULL)
            session->transaction->refs = 1;
    }
    return session->transaction;
}

void transaction_init(struct session *session)
{
    session->transaction = NULL;
    list_init(&session->saved.node);
}

void transaction_unsave(struct session *session)
{
    if (list_empty(&session->saved.node))
        return;
    list_remove(&session->saved.node);
    list_init(&session->saved.node);
    transaction_unref(session->saved.transaction);
    session->saved.transaction = NULL;
}

void transaction_deinit(struct session *session)
{
    transaction_end(session);
    transaction_unsave(session);
}

void transaction_end(struct session *session)
{
    transaction_unref(session->transaction);
    session->transaction = NULL;
}

int transaction_is_open(const struct session *session)
{
    return session->transaction != NULL && session->transaction->open;
}

const struct transaction *transaction_run_by(const struct cmd_ctx *ctx)
{
    return ctx->command->run == cmd_exec ? ctx->session->transaction : NULL;
}

/* ---- what a failed commit puts back ---- */

void transaction_save(struct processor *processor, struct session *session)
{
    struct transaction_saved *saved = &session->saved;
    struct transaction *now = session->transaction;
    uint64_t group_no = keyspace_group_no(processor->keyspace);

    if (!list_empty(&saved->node) && saved->group_no == group_no)
        return;
    transaction_unsave(session);
    list_push_back(&processor->saved_transactions, &saved->node);
    saved->group_no = group_no;
    saved->transaction = now;
    saved->db = session->db;
    saved->proto = session->proto;
    if (now == NULL)
        return;
    now->refs++;
    saved->queue_count = now->queue_count;
    saved->watched_count = now->watched_count;
    saved->flags = now->flags;
    saved->open = now->open;
    saved->refused = now->refused;
}

void transaction_rewind(struct processor *processor, struct session *session)
{
    struct transaction_saved *saved = &session->saved;
    struct transaction *before = saved->transaction;
    uint64_t failed_no = keyspace_group_no(processor->keyspace) - 1;

    if (list_empty(&saved->node) || saved->group_no != failed_no || MUTANT("no-rewind"))
        return;
    session->db = saved->db;
    session->proto = saved->proto;
    if (before != NULL) {
        before->refs++;
        queue_cut(before, saved->queue_count);
        watched_cut(before, saved->watched_count);
        before->flags = saved->flags;
        before->open = saved->open;
        before->refused = saved->refused;
    }
    transaction_unref(session->transaction);
    session->transaction = before;
}

void transaction_forget_saved(struct processor *processor)
{
    while (!list_empty(&processor->saved_transactions))
        transaction_unsave(
            CONTAINER_OF(processor->saved_transactions.next, struct session, saved.node));
}

/* ---- queueing ---- */

/* 0, or VARVE_ENOMEM, and then nothing changed. *at: NULL or an array of *cap. */
static int array_reserve(void **at, size_t *cap, size_t count, size_t item_bytes)
{
    if (count < *cap)
        return 0;
    size_t grown_cap = *cap == 0 ? 8 : *cap * 2;
    void *grown = mem_realloc(*at, grown_cap * item_bytes);
    if (grown == NULL)
        return VARVE_ENOMEM;
    *at = grown;
    *cap = grown_cap;
    return 0;
}

/* All arguments and their bytes in one piece; NULL: no memory. */
static struct varve_slice *argv_copy(int argc, const struct varve_slice *argv, size_t *bytes)
{
    size_t heads = (size_t)argc * sizeof(*argv);

    *bytes = heads;
    for (int i = 0; i < argc; i++)
        *bytes += argv[i].len;
    struct varve_slice *copy = mem_alloc(*bytes);
    if (copy == NULL)
        return NULL;
    uint8_t *at = (uint8_t *)copy + heads;
    for (int i = 0; i < argc; i++) {
        copy[i] = varve_slice(at, argv[i].len);
        if (argv[i].len > 0)
            memcpy(at, argv[i].data, argv[i].len);
        at += argv[i].len;
    }
    return copy;
}

static int queue_add(struct transaction *transaction, struct cmd_ctx *ctx)
{
    size_t bytes = 0;
    void *queue = transaction->queue;
    int rc = array_reserve(&queue, &transaction->queue_cap, transaction->queue_count,
                           sizeof(*transaction->queue));

    transaction->queue = queue;
    if (rc != 0)
        return rc;
    struct varve_slice *argv = argv_copy(ctx->argc, ctx->argv, &bytes);
    if (argv == NULL)
        return VARVE_ENOMEM;
    transaction->queue[transaction->queue_count++] = (struct queued_command){
        .command = ctx->command, .argc = ctx->argc, .argv = argv, .bytes = bytes};
    transaction->bytes += bytes + sizeof(*transaction->queue);
    transaction->words += ctx->argc;
    transaction->flags |= ctx->command->flags;
    return 0;
}

/* It is input that the client makes us keep, so it has that limit. */
int transaction_fits(struct cmd_ctx *ctx)
{
    const struct transaction *transaction = ctx->session->transaction;

    if (transaction->bytes <= (uint64_t)config_int(ctx->config, OPT_CLIENT_QUERY_BUFFER_LIMIT))
        return 1;
    log_line(LOG_WARNING, "Closing client id=%llu: its transaction holds %zu bytes",
             (unsigned long long)ctx->session->id, transaction->bytes);
    ctx->close_after = 1;
    return 0;
}

void transaction_queue(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};

    if ((ctx->command->flags & CMD_WRITE) && keyspace_writable(ctx->keyspace, &err) != 0) {
        transaction_refuse(ctx->session);
        cmd_reply_failure(ctx, VARVE_EREADONLY, &err);
        return;
    }
    if (queue_add(ctx->session->transaction, ctx) != 0) {
        transaction_refuse(ctx->session);
        cmd_reply_failure(ctx, VARVE_ENOMEM, &err);
        return;
    }
    if (transaction_fits(ctx))
        resp_simple(ctx->out, "QUEUED");
}

void transaction_refuse(struct session *session)
{
    if (transaction_is_open(session))
        session->transaction->refused = 1;
}

/* ---- watching ---- */

int transaction_watch(struct cmd_ctx *ctx, struct varve_slice key, struct varve_err *err)
{
    struct transaction *transaction = transaction_of(ctx->session);
    uint64_t seq = 0; /* the reply shows nothing of what was seen */

    if (transaction == NULL)
        return VARVE_ENOMEM;
    void *watched = transaction->watched;
    int rc = array_reserve(&watched, &transaction->watched_cap, transaction->watched_count,
                           sizeof(*transaction->watched));
    transaction->watched = watched;
    struct watched_key *one = &transaction->watched[transaction->watched_count];
    if (rc == 0)
        rc = keyspace_watch(ctx->keyspace, ctx->session->db, key, ctx->now_ms, &one->seen, &seq,
                            err);
    if (rc != 0)
        return rc;
    uint8_t *copy = mem_alloc(key.len == 0 ? 1 : key.len);
    if (copy == NULL)
        return VARVE_ENOMEM;
    if (key.len > 0)
        memcpy(copy, key.data, key.len);
    one->db = ctx->session->db;
    one->key = varve_slice(copy, key.len);
    transaction->watched_count++;
    transaction->bytes += key.len + sizeof(*one);
    return 0;
}

void transaction_watch_cut(struct session *session, size_t count)
{
    if (session->transaction != NULL)
        watched_cut(session->transaction, count);
}

/* ---- refusing ---- */

void transaction_abort(struct cmd_ctx *ctx, size_t start, size_t at)
{
    static const char usual[] = "-ERR ";
    struct buf *out = ctx->out->out;
    char why[512];
    size_t len = 0;

    if (out->len - at > sizeof(usual) && memcmp(out->data + at, usual, sizeof(usual) - 1) == 0)
        at += sizeof(usual) - 1; /* other classes stay, as in Redis */
    else
        at += at < out->len;
    while (at < out->len && out->data[at] != '\r' && len < sizeof(why) - 1)
        why[len++] = (char)out->data[at++];
    why[len] = '\0';
    resp_cut(ctx->out, start);
    transaction_end(ctx->session);
    resp_error(ctx->out, "EXECABORT Transaction discarded because of: %s", why);
}
