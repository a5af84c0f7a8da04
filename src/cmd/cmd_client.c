/* cmd_client.c - CLIENT and its subcommands. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "cmd/client.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "types/integer.h"

#define LIST_MAX_BYTES ((size_t)256 * 1024 * 1024)

int client_text_valid(struct varve_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < '!' || text.data[i] > '~')
            return 0;
    return 1;
}

void client_reply_bad_name(struct cmd_ctx *ctx)
{
    resp_error(ctx->out, "ERR Client names cannot contain spaces, newlines or special characters.");
}

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

static int describe_figures(const struct session *session, struct buf *out)
{
    struct session_figures f = {.fd = -1};

    if (session->figures != NULL)
        session->figures(session->figures_arg, &f);
    size_t transaction_bytes = session->transaction == NULL ? 0 : session->transaction->bytes;
    size_t total = transaction_bytes + sizeof(*session) + session->name.cap +
                   session->lib_name.cap + session->lib_ver.cap + f.qbuf_bytes + f.qbuf_free +
                   f.argv_mem + f.reply_buf_size + f.omem;
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

    if (transaction_is_open(session))
        *at++ = 'x';
    if (session->is_unix)
        *at++ = 'U';
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

/* ---- subcommands ---- */

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

/* 1 if argv[from...] has the session's id. */
static int list_has_id(const struct cmd_ctx *ctx, int from, uint64_t id)
{
    int64_t wanted;

    for (int i = from; i < ctx->argc; i++)
        if (integer_parse(ctx->argv[i], &wanted) && (uint64_t)wanted == id)
            return 1;
    return 0;
}

static int type_known(struct varve_slice type)
{
    return cmd_arg_is(type, "normal") || cmd_arg_is(type, "slave") || cmd_arg_is(type, "replica") ||
           cmd_arg_is(type, "pubsub") || cmd_arg_is(type, "master");
}

/* Which sessions CLIENT LIST shows: *ids_at is where the ids begin, 0: any; *none is 1 if the type
 * has none. Returns 0 after the error reply. */
static int list_parse(struct cmd_ctx *ctx, int *ids_at, int *none)
{
    char text[128];
    int64_t id;

    *ids_at = 0;
    *none = 0;
    if (ctx->argc == 4 && cmd_arg_is(ctx->argv[2], "type")) {
        if (!type_known(ctx->argv[3])) {
            resp_error(ctx->out, "ERR Unknown client type '%s'",
                       cmd_arg_text(ctx->argv[3], text, sizeof(text)));
            return 0;
        }
        *none = !cmd_arg_is(ctx->argv[3], "normal");
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
    for (const struct list *at = head->next; rc == 0 && !none && at != head; at = at->next) {
        const struct session *session = (const struct session *)((const char *)at -
                                                                 offsetof(struct session, node));
        if (ids_at == 0 || list_has_id(ctx, ids_at, session->id))
            rc = client_describe(session, ctx->now_ms, &lines);
    }
    reply_lines(ctx, rc, &lines);
    buf_deinit(&lines);
}

void cmd_client_id(struct cmd_ctx *ctx)
{
    resp_integer(ctx->out, (int64_t)ctx->session->id);
}

void cmd_client_getname(struct cmd_ctx *ctx)
{
    if (ctx->session->name.len == 0)
        resp_null(ctx->out);
    else
        resp_bulk(ctx->out, buf_slice(&ctx->session->name));
}

static void set_text(struct cmd_ctx *ctx, struct buf *text, struct varve_slice value)
{
    if (session_set_text(text, value) == 0)
        resp_ok(ctx->out);
    else
        cmd_reply_failure(ctx, VARVE_ENOMEM, NULL);
}

void cmd_client_setname(struct cmd_ctx *ctx)
{
    if (client_text_valid(ctx->argv[2]))
        set_text(ctx, &ctx->session->name, ctx->argv[2]);
    else
        client_reply_bad_name(ctx);
}

void cmd_client_setinfo(struct cmd_ctx *ctx)
{
    struct buf *text = NULL;
    char name[128];

    cmd_arg_text(ctx->argv[2], name, sizeof(name));
    if (cmd_arg_is(ctx->argv[2], "lib-name"))
        text = &ctx->session->lib_name;
    else if (cmd_arg_is(ctx->argv[2], "lib-ver"))
        text = &ctx->session->lib_ver;
    if (text == NULL)
        resp_error(ctx->out, "ERR Unrecognized option '%s'", name);
    else if (!client_text_valid(ctx->argv[3]))
        resp_error(ctx->out, "ERR %s cannot contain spaces, newlines or special characters.", name);
    else
        set_text(ctx, text, ctx->argv[3]);
}

void cmd_client_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "GETNAME",
        "    The name of this connection.",
        "ID",
        "    The number of this connection.",
        "INFO",
        "    This connection's line of CLIENT LIST.",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <id> [<id> ...]]",
        "    The open connections, one a line: all, those of a type, or the given ones.",
        "SETINFO (LIB-NAME|LIB-VER) <value>",
        "    Says which client library this connection uses.",
        "SETNAME <name>",
        "    Names this connection.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
