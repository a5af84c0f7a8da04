/* cmd_connection.c - commands on the connection itself, and SHUTDOWN. */
#include "base/err.h"
#include "base/log.h"
#include "cmd/client.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "config/config.h"
#include "types/keyspace.h"

void cmd_ping(struct cmd_ctx *ctx)
{
    if (ctx->argc > 2)
        cmd_reply_wrong_arity(ctx, ctx->command);
    else if (ctx->argc == 2)
        resp_bulk(ctx->out, ctx->argv[1]);
    else
        resp_simple(ctx->out, "PONG");
}

void cmd_echo(struct cmd_ctx *ctx)
{
    resp_bulk(ctx->out, ctx->argv[1]);
}

void cmd_quit(struct cmd_ctx *ctx)
{
    resp_ok(ctx->out);
    ctx->close_after = 1;
}

void cmd_select(struct cmd_ctx *ctx)
{
    if (cmd_arg_database(ctx, 1, &ctx->session->db, NULL))
        resp_ok(ctx->out);
}

void cmd_reset(struct cmd_ctx *ctx)
{
    struct session *session = ctx->session;

    transaction_end(session);
    monitor_end(ctx->processor, session);
    session->muted &= SESSION_SKIP;
    session->db = 0;
    session->proto = 2;
    ctx->out->proto = 2;
    buf_clear(&session->name);
    session->authenticated = config_str(ctx->config, OPT_REQUIREPASS)[0] == '\0';
    resp_simple(ctx->out, "RESET");
}

/* ---- who the client is ---- */

/* Takes a time that depends on the lengths alone. */
static int password_equal(struct varve_slice given, const char *password)
{
    struct varve_slice wanted = varve_slice_str(password);
    volatile uint8_t differs = given.len != wanted.len;

    for (size_t i = 0; i < given.len; i++)
        differs |= (uint8_t)(given.data[i] ^ (wanted.len == 0 ? 0 : wanted.data[i % wanted.len]));
    return differs == 0;
}

/* There is one user, "default"; without requirepass every password is right. */
static int login(struct cmd_ctx *ctx, struct varve_slice user, struct varve_slice password)
{
    const char *wanted = config_str(ctx->config, OPT_REQUIREPASS);

    if (!varve_slice_equal(user, varve_slice_str("default")) ||
        (wanted[0] != '\0' && !password_equal(password, wanted))) {
        resp_error(ctx->out, "WRONGPASS invalid username-password pair or user is disabled.");
        return 0;
    }
    return 1;
}

void cmd_auth(struct cmd_ctx *ctx)
{
    struct varve_slice user = varve_slice_str("default");

    if (ctx->argc > 3) {
        cmd_reply_syntax_error(ctx);
        return;
    }
    if (ctx->argc == 2 && config_str(ctx->config, OPT_REQUIREPASS)[0] == '\0') {
        resp_error(ctx->out,
                   "ERR AUTH <password> called without any password configured for the default "
                   "user. Are you sure your configuration is correct?");
        return;
    }
    if (ctx->argc == 3)
        user = ctx->argv[1];
    if (!login(ctx, user, ctx->argv[ctx->argc - 1]))
        return;
    ctx->session->authenticated = 1;
    resp_ok(ctx->out);
}

struct hello {
    int proto;
    int auth_at; /* the argument that is the user's name; 0: no AUTH */
    int name_at; /* 0: no SETNAME */
};

/* Returns 0 after the error reply. */
static int hello_parse(struct cmd_ctx *ctx, struct hello *hello)
{
    char text[256];
    int64_t proto;

    *hello = (struct hello){.proto = ctx->session->proto};
    if (ctx->argc >= 2) {
        if (!cmd_arg_int64(ctx, 1, &proto, "Protocol version is not an integer or out of range"))
            return 0;
        if (proto < 2 || proto > 3) {
            resp_error(ctx->out, "NOPROTO unsupported protocol version");
            return 0;
        }
        hello->proto = (int)proto;
    }
    for (int i = 2; i < ctx->argc; i++) {
        int left = ctx->argc - 1 - i;
        if (cmd_arg_is(ctx->argv[i], "auth") && left >= 2) {
            hello->auth_at = i + 1;
            i += 2;
        } else if (cmd_arg_is(ctx->argv[i], "setname") && left >= 1) {
            hello->name_at = ++i;
            if (!client_text_valid(ctx->argv[i])) {
                client_reply_bad_name(ctx);
                return 0;
            }
        } else {
            resp_error(ctx->out, "ERR Syntax error in HELLO option '%s'",
                       cmd_arg_text(ctx->argv[i], text, sizeof(text)));
            return 0;
        }
    }
    return 1;
}

static void reply_hello(struct cmd_ctx *ctx)
{
    resp_map(ctx->out, 7);
    resp_bulk_str(ctx->out, "server");
    resp_bulk_str(ctx->out, "redis");
    resp_bulk_str(ctx->out, "version");
    resp_bulk_str(ctx->out, CMD_REDIS_VERSION);
    resp_bulk_str(ctx->out, "proto");
    resp_integer(ctx->out, ctx->session->proto);
    resp_bulk_str(ctx->out, "id");
    resp_integer(ctx->out, (int64_t)ctx->session->id);
    resp_bulk_str(ctx->out, "mode");
    resp_bulk_str(ctx->out, "standalone");
    resp_bulk_str(ctx->out, "role");
    resp_bulk_str(ctx->out, "master");
    resp_bulk_str(ctx->out, "modules");
    resp_array(ctx->out, 0);
}

/* All is checked before anything changes. */
void cmd_hello(struct cmd_ctx *ctx)
{
    struct session *session = ctx->session;
    struct hello hello;

    if (!hello_parse(ctx, &hello))
        return;
    if (hello.auth_at != 0 && !login(ctx, ctx->argv[hello.auth_at], ctx->argv[hello.auth_at + 1]))
        return;
    if (hello.auth_at == 0 && !session->authenticated) {
        resp_error(ctx->out,
                   "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                   "the HELLO AUTH <user> <pass> option can be used to authenticate the client "
                   "and select the RESP protocol version at the same time");
        return;
    }
    if (hello.name_at != 0 && session_set_text(&session->name, ctx->argv[hello.name_at]) != 0) {
        cmd_reply_failure(ctx, VARVE_ENOMEM, NULL);
        return;
    }
    if (hello.auth_at != 0)
        session->authenticated = 1;
    session->proto = hello.proto;
    ctx->out->proto = hello.proto;
    reply_hello(ctx);
}

/* ---- SHUTDOWN ---- */

enum shutdown_option {
    SHUTDOWN_NOSAVE = 1,
    SHUTDOWN_SAVE = 2,
    SHUTDOWN_NOW = 4,
    SHUTDOWN_FORCE = 8,
    SHUTDOWN_ABORT = 16,
};

static int shutdown_parse(struct cmd_ctx *ctx, unsigned *options)
{
    static const char *const words[] = {"nosave", "save", "now", "force", "abort"};

    *options = 0;
    for (int i = 1; i < ctx->argc; i++) {
        unsigned w = 0;
        while (w < COUNT_OF(words) && !cmd_arg_is(ctx->argv[i], words[w]))
            w++;
        if (w == COUNT_OF(words))
            return 0;
        *options |= 1u << w;
    }
    if ((*options & SHUTDOWN_ABORT) && *options != SHUTDOWN_ABORT)
        return 0;
    return (*options & (SHUTDOWN_NOSAVE | SHUTDOWN_SAVE)) != (SHUTDOWN_NOSAVE | SHUTDOWN_SAVE);
}

/* Every acknowledged write is in the log already, so SAVE and NOSAVE are the same: there is nothing
 * else to save. A log that failed may hold less than what clients saw: then FORCE or NOSAVE is needed.
 * As in Redis, a client whose SHUTDOWN works gets no reply but the end of its connection. */
void cmd_shutdown(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    unsigned options;

    if (!shutdown_parse(ctx, &options)) {
        cmd_reply_syntax_error(ctx);
        return;
    }
    if (options & SHUTDOWN_ABORT) { /* one that was accepted is over within its turn */
        resp_error(ctx->out, "ERR No shutdown in progress.");
        return;
    }
    if (!(options & (SHUTDOWN_FORCE | SHUTDOWN_NOSAVE)) &&
        keyspace_writable(ctx->keyspace, &err) != 0) {
        log_line(LOG_WARNING, "SHUTDOWN refused, FORCE would do it: %s", err_text(&err));
        resp_error(ctx->out, "ERR Errors trying to SHUTDOWN. Check logs.");
        return;
    }
    ctx->close_after = 1;
    ctx->host->shutdown(ctx->host->arg);
}
