/* cmd_client.c - CLIENT: what a connection says and asks of itself. */
#include "cmd/client.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "types/integer.h"

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

void cmd_client_reply(struct cmd_ctx *ctx)
{
    struct session *session = ctx->session;

    if (cmd_arg_is(ctx->argv[2], "on")) {
        session->muted = 0;
        resp_ok(ctx->out);
    } else if (cmd_arg_is(ctx->argv[2], "off")) {
        session->muted |= SESSION_MUTED;
    } else if (!cmd_arg_is(ctx->argv[2], "skip")) {
        cmd_reply_syntax_error(ctx);
    } else if (!(session->muted & SESSION_MUTED)) {
        session->muted |= SESSION_SKIP | SESSION_SKIP_FRESH;
    }
}

/* No client is ever evicted; the choice shows in CLIENT LIST. */
void cmd_client_no_evict(struct cmd_ctx *ctx)
{
    int on = cmd_arg_is(ctx->argv[2], "on");

    if (!on && !cmd_arg_is(ctx->argv[2], "off")) {
        cmd_reply_syntax_error(ctx);
        return;
    }
    ctx->session->no_evict = on;
    resp_ok(ctx->out);
}

/* ---- tracking, which there is not yet: what a client hears that does not use it ---- */

void cmd_client_caching(struct cmd_ctx *ctx)
{
    resp_error(ctx->out,
               "ERR CLIENT CACHING can be called only when the client is in tracking mode "
               "with OPTIN or OPTOUT mode enabled");
}

void cmd_client_getredir(struct cmd_ctx *ctx)
{
    resp_integer(ctx->out, -1);
}

void cmd_client_trackinginfo(struct cmd_ctx *ctx)
{
    resp_map(ctx->out, 3);
    resp_bulk_str(ctx->out, "flags");
    resp_set(ctx->out, 1);
    resp_bulk_str(ctx->out, "off");
    resp_bulk_str(ctx->out, "redirect");
    resp_integer(ctx->out, -1);
    resp_bulk_str(ctx->out, "prefixes");
    resp_array(ctx->out, 0);
}

/* Returns 0 after the error reply. */
static int tracking_parse(struct cmd_ctx *ctx)
{
    int64_t id = 0;

    for (int i = 3; i < ctx->argc; i++) {
        int left = ctx->argc - 1 - i;
        if (cmd_arg_is(ctx->argv[i], "redirect") && left > 0) {
            if (id != 0) {
                resp_error(ctx->out, "ERR A client can only redirect to a single other client");
                return 0;
            }
            if (!cmd_arg_int64(ctx, ++i, &id, NULL))
                return 0;
            if (client_find(ctx, id) == NULL) {
                resp_error(ctx->out, "ERR The client ID you want redirect to does not exist");
                return 0;
            }
        } else if (cmd_arg_is(ctx->argv[i], "prefix") && left > 0) {
            i++;
        } else if (!cmd_arg_is(ctx->argv[i], "bcast") && !cmd_arg_is(ctx->argv[i], "optin") &&
                   !cmd_arg_is(ctx->argv[i], "optout") && !cmd_arg_is(ctx->argv[i], "noloop")) {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
    }
    return 1;
}

void cmd_client_tracking(struct cmd_ctx *ctx)
{
    if (!tracking_parse(ctx))
        return;
    if (cmd_arg_is(ctx->argv[2], "off"))
        resp_ok(ctx->out);
    else if (cmd_arg_is(ctx->argv[2], "on"))
        resp_error(ctx->out, "ERR CLIENT TRACKING is not supported yet");
    else
        cmd_reply_syntax_error(ctx);
}

void cmd_client_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "CACHING (YES|NO)",
        "    For clients that track keys, which is not supported yet.",
        "GETNAME",
        "    The name of this connection.",
        "GETREDIR",
        "    Where its invalidations go: -1, nowhere.",
        "ID",
        "    The number of this connection.",
        "INFO",
        "    This connection's line of CLIENT LIST.",
        "KILL <ip:port>",
        "    Closes the connection from that address.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Closes all connections that match: ADDR <ip:port>, LADDR <ip:port>, ID <client-id>,",
        "    TYPE (NORMAL|MASTER|REPLICA|PUBSUB), USER <name>, SKIPME (YES|NO).",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <id> [<id> ...]]",
        "    The open connections, one a line: all, those of a type, or the given ones.",
        "NO-EVICT (ON|OFF)",
        "    Marks this connection; no connection is ever evicted.",
        "PAUSE <milliseconds> [WRITE|ALL]",
        "    Holds commands back for so long: all, or those that write.",
        "REPLY (ON|OFF|SKIP)",
        "    Whether this connection gets replies; SKIP is for the next command alone.",
        "SETINFO (LIB-NAME|LIB-VER) <value>",
        "    Says which client library this connection uses.",
        "SETNAME <name>",
        "    Names this connection.",
        "TRACKING (ON|OFF)",
        "    Not supported yet; OFF is fine.",
        "TRACKINGINFO",
        "    What this connection tracks: nothing.",
        "UNBLOCK <client-id> [TIMEOUT|ERROR]",
        "    Wakes a connection whose command waits for data; none does so yet.",
        "UNPAUSE",
        "    Ends a pause.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
