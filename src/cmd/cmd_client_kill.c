/* cmd_client_kill.c - CLIENT KILL, PAUSE, UNPAUSE, UNBLOCK: what one connection does to others. */
#include <string.h>

#include "cmd/client.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"

/* Which sessions are meant; what is not given matches all. */
struct kill_filter {
    struct varve_slice addr; /* data NULL: not given */
    struct varve_slice laddr;
    int64_t id; /* 0: not given */
    int none;   /* 1: a type of which there is no session */
    int skip_me;
};

static int is_address(struct varve_slice wanted, const char *address)
{
    /* As in Redis, what follows a NUL byte does not count. */
    size_t len = strnlen((const char *)wanted.data, wanted.len);

    return strlen(address) == len && memcmp(wanted.data, address, len) == 0;
}

static int filter_matches(const struct kill_filter *filter, const struct session *session)
{
    return !filter->none &&
           (filter->addr.data == NULL || is_address(filter->addr, session->peer)) &&
           (filter->laddr.data == NULL || is_address(filter->laddr, session->local)) &&
           (filter->id == 0 || (uint64_t)filter->id == session->id);
}

/* One option and its value at argv[at]. Returns 0 after the error reply. */
static int filter_option(struct cmd_ctx *ctx, int at, struct kill_filter *filter)
{
    struct varve_slice value = ctx->argv[at + 1];
    char text[128];
    int normal = 1;

    if (cmd_arg_is(ctx->argv[at], "id"))
        return cmd_arg_range(ctx, at + 1, 1, INT64_MAX, &filter->id,
                             "client-id should be greater than 0");
    if (cmd_arg_is(ctx->argv[at], "type")) {
        if (!client_type_parse(ctx, at + 1, &normal))
            return 0;
        filter->none = !normal; /* the last one counts */
        return 1;
    }
    if (cmd_arg_is(ctx->argv[at], "user")) {
        if (varve_slice_equal(value, varve_slice_str("default")))
            return 1;
        resp_error(ctx->out, "ERR No such user '%s'", cmd_arg_text(value, text, sizeof(text)));
        return 0;
    }
    if (cmd_arg_is(ctx->argv[at], "addr"))
        filter->addr = value;
    else if (cmd_arg_is(ctx->argv[at], "laddr"))
        filter->laddr = value;
    else if (cmd_arg_is(ctx->argv[at], "skipme") && cmd_arg_is(value, "yes"))
        filter->skip_me = 1;
    else if (cmd_arg_is(ctx->argv[at], "skipme") && cmd_arg_is(value, "no"))
        filter->skip_me = 0;
    else
        return -1;
    return 1;
}

static int filter_parse(struct cmd_ctx *ctx, struct kill_filter *filter)
{
    int ok = 1;

    *filter = (struct kill_filter){.skip_me = 1};
    if (ctx->argc == 3) {
        filter->addr = ctx->argv[2];
        filter->skip_me = 0;
        return 1;
    }
    for (int i = 2; i < ctx->argc && ok == 1; i += 2)
        ok = i + 1 < ctx->argc ? filter_option(ctx, i, filter) : -1;
    if (ok < 0)
        cmd_reply_syntax_error(ctx);
    return ok == 1;
}

void cmd_client_kill(struct cmd_ctx *ctx)
{
    const struct list *head = processor_sessions(ctx->processor);
    struct kill_filter filter;
    int64_t killed = 0;

    if (!filter_parse(ctx, &filter))
        return;
    for (struct list *at = head->next; at != head; at = at->next) {
        struct session *session = CONTAINER_OF(at, struct session, node);
        int me = session == ctx->session;
        if (!filter_matches(&filter, session) || session->killed || (me && filter.skip_me))
            continue;
        killed++;
        if (me) {
            ctx->close_after = 1; /* it reads the reply first */
            continue;
        }
        session->killed = 1;
        if (ctx->host->kill != NULL)
            ctx->host->kill(ctx->host->arg, session->figures_arg);
    }
    if (ctx->argc > 3)
        resp_integer(ctx->out, killed);
    else if (killed == 0)
        resp_error(ctx->out, "ERR No such client");
    else
        resp_ok(ctx->out);
}

void cmd_client_pause(struct cmd_ctx *ctx)
{
    enum pause_mode mode = PAUSE_ALL;
    int64_t duration_ms;

    if (ctx->argc > 4) {
        cmd_reply_wrong_subcommand(ctx);
        return;
    }
    if (ctx->argc == 4 && cmd_arg_is(ctx->argv[3], "write")) {
        mode = PAUSE_WRITE;
    } else if (ctx->argc == 4 && !cmd_arg_is(ctx->argv[3], "all")) {
        resp_error(ctx->out, "ERR CLIENT PAUSE mode must be WRITE or ALL");
        return;
    }
    if (!cmd_arg_int64(ctx, 2, &duration_ms, "timeout is not an integer or out of range"))
        return;
    if (duration_ms < 0) {
        resp_error(ctx->out, "ERR timeout is negative");
        return;
    }
    /* One whose end is past that of 64-bit time is over already, as in Redis. */
    if (duration_ms > 0 && (uint64_t)duration_ms <= INT64_MAX - ctx->now_ms)
        pause_begin(ctx->processor, mode, (uint64_t)duration_ms);
    resp_ok(ctx->out);
}

void cmd_client_unpause(struct cmd_ctx *ctx)
{
    pause_end(ctx->processor);
    resp_ok(ctx->out);
}

/* No command waits for data yet, and those that wait otherwise are not to be woken by this. */
void cmd_client_unblock(struct cmd_ctx *ctx)
{
    int64_t id;

    if (ctx->argc > 4) {
        cmd_reply_wrong_subcommand(ctx);
        return;
    }
    if (ctx->argc == 4 && !cmd_arg_is(ctx->argv[3], "timeout") &&
        !cmd_arg_is(ctx->argv[3], "error"))
        resp_error(ctx->out, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    else if (cmd_arg_int64(ctx, 2, &id, NULL))
        resp_integer(ctx->out, 0);
}
