/* cmd_client_list.c - CLIENT LIST and INFO. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "cmd/client.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "types/integer.h"

#define LIST_MAX_BYTES ((size_t)256 * 1024 * 1024)

/* ---- one line ---- */

static int append_fmt(struct buf *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

static int append_fmt(struct buf *out, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    CHECK(len >= 0 && (size_t)len < sizeof(text));
    return buf_append(out, text, (size_t)len);
}

static int append_text(struct buf *out, const struct buf *text)
{
    return buf_append(out, text->data, text->len);
}

static size_t session_bytes(const struct session *session, const struct session_figures *f)
{
    size_t transaction_bytes = session->transaction == NULL ? 0 : session->transaction->bytes;

    return transaction_bytes + sizeof(*session) + session->name.cap + session->lib_name.cap +
           session->lib_ver.cap + f->qbuf_bytes + f->qbuf_free + f->argv_mem + f->reply_buf_size +
           f->omem;
}

uint64_t client_memory_bytes(const struct session *session)
{
    struct session_figures f = {.fd = -1};

    if (session->figures != NULL)
        session->figures(session->figures_arg, &f);
    return session->killed || f.closing ? 0 : session_bytes(session, &f);
}

uint64_t clients_memory_bytes(const struct processor *processor)
{
    const struct list *head = processor_sessions(processor);
    uint64_t bytes = 0;

    for (struct list *at = head->next; at != head; at = at->next)
        bytes += client_memory_bytes(CONTAINER_OF(at, struct session, node));
    return bytes;
}

static int describe_figures(const struct session *session, struct buf *out)
{
    struct session_figures f = {.fd = -1};

    if (session->figures != NULL)
        session->figures(session->figures_arg, &f);
    size_t transaction_bytes = session->transaction == NULL ? 0 : session->transaction->bytes;
    size_t total = session_bytes(session, &f);
    return append_fmt(out,
                      " qbuf=%zu qbuf-free=%zu argv-mem=%zu multi-mem=%zu rbs=%zu rbp=%zu obl=%zu "
                      "oll=%zu omem=%zu tot-mem=%zu events=%s",
                      f.qbuf_bytes, f.qbuf_free, f.argv_mem, transaction_bytes, f.reply_buf_size,
                      f.reply_buf_peak, f.obl, f.oll_count, f.omem, total, f.writable ? "rw" : "r");
}

static int session_fd(const struct session *session)
{
    struct session_figures f = {.fd = -1};

    if (session->figures != NULL)
        session->figures(session->figures_arg, &f);
    return f.fd;
}

/* Whole seconds between two times of one clock. */
static uint64_t seconds(uint64_t from_ms, uint64_t to_ms)
{
    return to_ms > from_ms ? (to_ms - from_ms) / 1000 : 0;
}

#define CLIENT_FLAGS_MAX_BYTES 8

static const char *flags_text(const struct session *session, char out[CLIENT_FLAGS_MAX_BYTES])
{
    char *at = out;

    if (!list_empty(&session->monitor_node))
        *at++ = 'O';
    if (transaction_is_open(session))
        *at++ = 'x';
    if (!list_empty(&session->pause_node))
        *at++ = 'b';
    if (session->is_unix)
        *at++ = 'U';
    if (session->no_evict)
        *at++ = 'e';
    if (at == out)
        *at++ = 'N';
    *at = '\0';
    return out;
}

int client_describe(const struct session *session, uint64_t now_ms, struct buf *out)
{
    char flags[CLIENT_FLAGS_MAX_BYTES];
    const char *command = session->last_command == NULL ? "NULL" : session->last_command->full_name;
    int rc = append_fmt(out, "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=", session->id,
                        session->peer, session->local, session_fd(session));

    if (rc == 0)
        rc = append_text(out, &session->name);
    if (rc == 0)
        rc = append_fmt(
            out,
            " age=%" PRIu64 " idle=%" PRIu64 " flags=%s db=%d sub=0 psub=0 ssub=0 multi=%" PRId64,
            seconds(session->created_ms, now_ms), seconds(session->active_ms, now_ms),
            flags_text(session, flags), session->db,
            transaction_is_open(session) ? (int64_t)session->transaction->queue_count : -1);
    if (rc == 0)
        rc = describe_figures(session, out);
    if (rc == 0)
        rc = append_fmt(out, " cmd=%s user=default redir=-1 resp=%d lib-name=", command,
                        session->proto);
    if (rc == 0)
        rc = append_text(out, &session->lib_name);
    if (rc == 0)
        rc = append_fmt(out, " lib-ver=");
    if (rc == 0)
        rc = append_text(out, &session->lib_ver);
    return rc == 0 ? append_fmt(out, "\n") : rc;
}

static void reply_lines(struct cmd_ctx *ctx, int rc, const struct buf *lines)
{
    if (rc == 0)
        resp_verbatim(ctx->out, "txt", buf_slice(lines));
    else
        cmd_reply_failure(ctx, VARVE_ENOMEM, NULL);
}

void cmd_client_info(struct cmd_ctx *ctx)
{
    struct buf line;

    buf_init(&line, LIST_MAX_BYTES);
    int rc = client_describe(ctx->session, ctx->now_ms, &line);
    reply_lines(ctx, rc, &line);
    buf_deinit(&line);
}

int client_type_parse(struct cmd_ctx *ctx, int at, int *normal)
{
    struct varve_slice type = ctx->argv[at];
    char text[128];

    *normal = cmd_arg_is(type, "normal");
    if (*normal || cmd_arg_is(type, "slave") || cmd_arg_is(type, "replica") ||
        cmd_arg_is(type, "pubsub") || cmd_arg_is(type, "master"))
        return 1;
    resp_error(ctx->out, "ERR Unknown client type '%s'", cmd_arg_text(type, text, sizeof(text)));
    return 0;
}

struct session *client_find(const struct cmd_ctx *ctx, int64_t id)
{
    const struct list *head = processor_sessions(ctx->processor);

    for (struct list *at = head->next; at != head; at = at->next) {
        struct session *session = CONTAINER_OF(at, struct session, node);
        if ((int64_t)session->id == id && !session->killed)
            return session;
    }
    return NULL;
}

/* Which sessions CLIENT LIST shows: *ids_at is where the ids begin, 0: any; *none is 1 if the type
 * has none. Returns 0 after the error reply. */
static int list_parse(struct cmd_ctx *ctx, int *ids_at, int *none)
{
    int normal = 1;
    int64_t id;

    *ids_at = 0;
    *none = 0;
    if (ctx->argc == 4 && cmd_arg_is(ctx->argv[2], "type")) {
        if (!client_type_parse(ctx, 3, &normal))
            return 0;
        *none = !normal;
    } else if (ctx->argc > 3 && cmd_arg_is(ctx->argv[2], "id")) {
        *ids_at = 3;
        for (int i = 3; i < ctx->argc; i++)
            if (!cmd_arg_int64(ctx, i, &id, "Invalid client ID"))
                return 0;
    } else if (ctx->argc != 2) {
        cmd_reply_syntax_error(ctx);
        return 0;
    }
    return 1;
}

/* In the order of the ids, each as often as it is named. */
static int describe_ids(const struct cmd_ctx *ctx, int ids_at, struct buf *lines)
{
    int64_t id;
    int rc = 0;

    for (int i = ids_at; i < ctx->argc && rc == 0; i++) {
        const struct session *session = integer_parse(ctx->argv[i], &id) ? client_find(ctx, id)
                                                                         : NULL;
        if (session != NULL)
            rc = client_describe(session, ctx->now_ms, lines);
    }
    return rc;
}

void cmd_client_list(struct cmd_ctx *ctx)
{
    const struct list *head = processor_sessions(ctx->processor);
    struct buf lines;
    int ids_at;
    int none;
    int rc = 0;

    if (!list_parse(ctx, &ids_at, &none))
        return;
    buf_init(&lines, LIST_MAX_BYTES);
    if (ids_at != 0)
        rc = describe_ids(ctx, ids_at, &lines);
    for (struct list *at = head->next; rc == 0 && ids_at == 0 && !none && at != head;
         at = at->next) {
        const struct session *session = CONTAINER_OF(at, struct session, node);
        if (!session->killed)
            rc = client_describe(session, ctx->now_ms, &lines);
    }
    reply_lines(ctx, rc, &lines);
    buf_deinit(&lines);
}
