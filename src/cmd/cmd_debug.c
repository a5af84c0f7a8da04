/* cmd_debug.c - DEBUG: what test suites ask of it. As in Redis it is off unless the configuration says
 * otherwise, and holds the loop up where it waits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/thread.h"
#include "cmd/ctx.h"
#include "cmd/object.h"
#include "cmd/string_at.h"
#include "cmd/table.h"
#include "config/config.h"
#include "types/expirer.h"
#include "types/rdb_value.h"
#include "types/t_string.h"

#define SLEEP_MAX_S 1e6
#define US_PER_SECOND 1e6
#define WORD_MAX_BYTES 128

/* ---- may it run? ---- */

static int is_local(const struct session *session)
{
    return session->is_unix || strncmp(session->peer, "127.0.0.1:", 10) == 0 ||
           strncmp(session->peer, "[::1]:", 6) == 0;
}

static int is_allowed(const struct cmd_ctx *ctx)
{
    const char *who = config_str(ctx->config, OPT_ENABLE_DEBUG_COMMAND);

    return strcmp(who, "yes") == 0 || (strcmp(who, "local") == 0 && is_local(ctx->session));
}

/* ---- the subcommands ---- */

static void debug_sleep(struct cmd_ctx *ctx)
{
    char text[WORD_MAX_BYTES];
    double seconds = strtod(cmd_arg_text(ctx->argv[2], text, sizeof(text)), NULL);

    if (seconds > SLEEP_MAX_S)
        seconds = SLEEP_MAX_S;
    if (seconds > 0) /* and no NaN */
        thread_sleep_us((uint64_t)(seconds * US_PER_SECOND));
    resp_ok(ctx->out);
}

static void debug_log(struct cmd_ctx *ctx)
{
    char text[1024];

    log_line(LOG_WARNING, "DEBUG LOG: %s", log_escape(ctx->argv[2], text, sizeof(text)));
    resp_ok(ctx->out);
}

static void debug_error(struct cmd_ctx *ctx)
{
    char text[1024];

    cmd_arg_text(ctx->argv[2], text, sizeof(text));
    for (char *at = text; *at != '\0'; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' '; /* also at its end, where other errors are cut */
    resp_error(ctx->out, "%s", text);
}

/* A key that expired is deleted by whoever meets it all the same. */
static void debug_set_active_expire(struct cmd_ctx *ctx)
{
    char text[WORD_MAX_BYTES + 1];

    expirer_set_active(processor_expirer(ctx->processor),
                       atoi(cmd_arg_text(ctx->argv[2], text, sizeof(text))) != 0);
    resp_ok(ctx->out);
}

/* Writes what is in memory to segments: what is read next comes from there, as after a restart. */
static void debug_reload(struct cmd_ctx *ctx)
{
    static const char *const words[] = {"merge", "noflush", "nosave"};
    struct varve_err err = {0};

    for (int i = 2; cmd_arg_is(ctx->argv[1], "reload") && i < ctx->argc; i++) {
        unsigned w = 0;
        while (w < COUNT_OF(words) && !cmd_arg_is(ctx->argv[i], words[w]))
            w++;
        if (w == COUNT_OF(words)) {
            resp_error(ctx->out, "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE "
                                 "options.");
            return;
        }
    }
    if (keyspace_group_open(ctx->keyspace)) {
        resp_error(ctx->out, "ERR DEBUG RELOAD cannot follow writes of its own transaction");
        return;
    }
    int rc = varve_flush(keyspace_engine(ctx->keyspace), &err);
    if (rc == 0)
        resp_ok(ctx->out);
    else
        cmd_reply_failure(ctx, rc, &err);
}

static void debug_object(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    struct string_at where = string_at(ctx, 2, &err);
    struct keyspace_value value;
    struct rdb_payload payload;
    char text[256];
    int rc = string_get(&where, KEYSPACE_READ, &value);

    if (rc == VARVE_NOT_FOUND) {
        resp_error(ctx->out, "ERR no such key");
        return;
    }
    if (rc != 0) {
        cmd_reply_failure(ctx, rc, &err);
        return;
    }
    rdb_dump_string(value.payload, &payload);
    snprintf(text, sizeof(text),
             "Value at:0x%016llx refcount:%lld encoding:%s serializedlength:%zu lru:0 "
             "lru_seconds_idle:0",
             (unsigned long long)value.pin.seq, (long long)cmd_refcount(value.payload),
             cmd_encoding_name(value.payload), payload.head_len - 1 + payload.body.len);
    resp_simple(ctx->out, text);
    keyspace_release(&value);
}

static void debug_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "ERROR <string>",
        "    Answers an error of this text.",
        "LOADAOF",
        "    As RELOAD.",
        "LOG <message>",
        "    Writes a line into the server's log.",
        "OBJECT <key>",
        "    Tells how a value is kept.",
        "PROTOCOL <type>",
        "    Answers an example of a type of reply: string integer double bignum null array set",
        "    map attrib push verbatim true false.",
        "RELOAD [option ...]",
        "    Writes all that is in memory to segments.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Turns the active expirer off, or on again.",
        "SLEEP <seconds>",
        "    Stops the server for so long.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}

/* ---- PROTOCOL ---- */

static void reply_three(struct cmd_ctx *ctx)
{
    for (int i = 0; i < 3; i++)
        resp_integer(ctx->out, i);
}

/* What only RESP3 has, and bignum, which RESP2 has as a string. Returns 0 if it is none of these. */
static int protocol_new(struct cmd_ctx *ctx, struct varve_slice type)
{
    static const char number[] = "1234567999999999999999999999999999999";
    int is_new = ctx->out->proto >= 3;

    if (cmd_arg_is(type, "bignum")) {
        if (is_new)
            resp_raw(ctx->out, varve_slice_str("(1234567999999999999999999999999999999\r\n"));
        else
            resp_bulk_str(ctx->out, number);
    } else if (cmd_arg_is(type, "attrib")) {
        if (is_new)
            resp_raw(ctx->out, varve_slice_str("|1\r\n$14\r\nkey-popularity\r\n*2\r\n"
                                               "$7\r\nkey:123\r\n:90\r\n"));
        resp_bulk_str(ctx->out, "Some real reply following the attribute");
    } else if (cmd_arg_is(type, "push")) {
        if (!is_new) {
            resp_error(ctx->out, "ERR RESP2 is not supported by this command");
            return 1;
        }
        resp_push(ctx->out, 2);
        resp_bulk_str(ctx->out, "server-cpu-usage");
        resp_integer(ctx->out, 42);
        resp_bulk_str(ctx->out, "Some real reply following the push reply");
    } else {
        return 0;
    }
    return 1;
}

/* Returns 0 if it is none of these. */
static int protocol_many(struct cmd_ctx *ctx, struct varve_slice type)
{
    if (cmd_arg_is(type, "array")) {
        resp_array(ctx->out, 3);
        reply_three(ctx);
    } else if (cmd_arg_is(type, "set")) {
        resp_set(ctx->out, 3);
        reply_three(ctx);
    } else if (cmd_arg_is(type, "map")) {
        resp_map(ctx->out, 3);
        for (int i = 0; i < 3; i++) {
            resp_integer(ctx->out, i);
            resp_bool(ctx->out, i == 1);
        }
    } else {
        return 0;
    }
    return 1;
}

static void debug_protocol(struct cmd_ctx *ctx)
{
    struct varve_slice type = ctx->argv[2];

    if (protocol_many(ctx, type) || protocol_new(ctx, type))
        return;
    if (cmd_arg_is(type, "string"))
        resp_bulk_str(ctx->out, "Hello World");
    else if (cmd_arg_is(type, "integer"))
        resp_integer(ctx->out, 12345);
    else if (cmd_arg_is(type, "double"))
        resp_double(ctx->out, 3.141);
    else if (cmd_arg_is(type, "null"))
        resp_null(ctx->out);
    else if (cmd_arg_is(type, "verbatim"))
        resp_verbatim(ctx->out, "txt", varve_slice_str("This is a verbatim\nstring"));
    else if (cmd_arg_is(type, "true") || cmd_arg_is(type, "false"))
        resp_bool(ctx->out, cmd_arg_is(type, "true"));
    else
        resp_error(ctx->out, "ERR Wrong protocol type name. Please use one of the following: "
                             "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|"
                             "true|false");
}

/* ---- dispatch ---- */

static const struct debug_word {
    const char *word;
    int argc; /* 0: any */
    void (*run)(struct cmd_ctx *ctx);
} debug_words[] = {
    {"error", 3, debug_error},    {"help", 2, debug_help},
    {"loadaof", 0, debug_reload}, {"log", 3, debug_log},
    {"object", 3, debug_object},  {"protocol", 3, debug_protocol},
    {"reload", 0, debug_reload},  {"set-active-expire", 3, debug_set_active_expire},
    {"sleep", 3, debug_sleep},
};

void cmd_debug(struct cmd_ctx *ctx)
{
    char text[WORD_MAX_BYTES + 1];

    if (!is_allowed(ctx)) {
        resp_error(ctx->out,
                   "ERR DEBUG command not allowed. If the enable-debug-command option is set to "
                   "\"local\", you can run it from a local connection, otherwise you need to set "
                   "this option in the configuration file, and then restart the server.");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(debug_words); i++) {
        const struct debug_word *word = &debug_words[i];
        if (!cmd_arg_is(ctx->argv[1], word->word) || (word->argc != 0 && word->argc != ctx->argc))
            continue;
        word->run(ctx);
        return;
    }
    resp_error(ctx->out,
               "ERR unknown subcommand or wrong number of arguments for '%s'. Try DEBUG HELP.",
               cmd_arg_text(ctx->argv[1], text, sizeof(text)));
}
