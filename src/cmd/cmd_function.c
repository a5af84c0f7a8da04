/* cmd_function.c - FUNCTION: libraries, of which there are none, since there is no engine to run them. What
 * needs none answers as Redis does before the first one was loaded. What brings one goes through Redis's checks
 * in their order, and fails at the last of them at the latest: whether its engine is there. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "resp/inline.h"
#include "types/rdb_value.h"

#define NAME_WORD "name="
#define NAME_WORD_LEN (sizeof(NAME_WORD) - 1)

/* ---- a library's first line: "#!ENGINE name=NAME" ---- */

struct shebang {
    struct varve_slice engine;
    struct varve_slice name;
    struct varve_slice odd; /* the first word that is neither; data is NULL if there is none */
    int name_again;         /* the name came twice, before that one */
};

static void shebang_add(struct shebang *shebang, struct varve_slice word)
{
    if (shebang->odd.data != NULL || shebang->name_again)
        return;
    if (word.len < NAME_WORD_LEN ||
        strncasecmp((const char *)word.data, NAME_WORD, NAME_WORD_LEN) != 0)
        shebang->odd = word;
    else if (shebang->name.data != NULL)
        shebang->name_again = 1;
    else
        shebang->name = varve_slice(word.data + NAME_WORD_LEN, word.len - NAME_WORD_LEN);
}

/* The line is unquoted in place, and *shebang lies in it. 0: its quotes do not match. */
static int shebang_read(uint8_t *line, size_t len, struct shebang *shebang)
{
    uint8_t *at = line;
    uint8_t *end = line + len;
    struct varve_slice word;
    enum inline_step step = inline_next(&at, end, &word);

    *shebang = (struct shebang){0};
    if (step == INLINE_WORD)
        shebang->engine = varve_slice(word.data + 2, word.len - 2);
    while (step == INLINE_WORD && (step = inline_next(&at, end, &word)) == INLINE_WORD)
        shebang_add(shebang, word);
    return step == INLINE_END;
}

static int is_library_name(struct varve_slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!isalnum(name.data[i]) && name.data[i] != '_')
            return 0;
    return name.len > 0;
}

static void refuse_shebang(struct cmd_ctx *ctx, const struct shebang *shebang)
{
    if (shebang->name_again)
        resp_error(ctx->out, "ERR Invalid metadata value, name argument was given multiple times");
    else if (shebang->odd.data != NULL)
        resp_error(ctx->out, "ERR Invalid metadata value given: %.*s", (int)shebang->odd.len,
                   (const char *)shebang->odd.data);
    else if (shebang->name.data == NULL)
        resp_error(ctx->out, "ERR Library name was not given");
    else if (!is_library_name(shebang->name))
        resp_error(ctx->out, "ERR Library names can only contain letters, numbers, or "
                             "underscores(_) and must be at least one character long");
    else
        resp_error(ctx->out, "ERR Engine '%.*s' not found", (int)shebang->engine.len,
                   (const char *)shebang->engine.data);
}

/* Replies why the library cannot be had. */
static void refuse_library(struct cmd_ctx *ctx, struct varve_slice code)
{
    struct varve_err err = {0};
    struct shebang shebang;

    if (code.len < 2 || memcmp(code.data, "#!", 2) != 0) {
        resp_error(ctx->out, "ERR Missing library metadata");
        return;
    }
    const uint8_t *newline = memchr(code.data, '\n', code.len);
    size_t len = newline == NULL ? 0 : (size_t)(newline - code.data);
    if (newline == NULL || memchr(code.data, '\0', len) != NULL) {
        resp_error(ctx->out, "ERR Invalid library metadata");
        return;
    }
    char *line = mem_strndup((const char *)code.data, len);
    if (line == NULL)
        cmd_reply_failure(ctx, err_set(&err, VARVE_ENOMEM, "no memory"), &err);
    else if (shebang_read((uint8_t *)line, len, &shebang))
        refuse_shebang(ctx, &shebang);
    else
        resp_error(ctx->out, "ERR Invalid library metadata");
    mem_free(line);
}

/* ---- the subcommands ---- */

void cmd_function_load(struct cmd_ctx *ctx)
{
    for (int i = 2; i < ctx->argc - 1; i++) {
        if (cmd_arg_is(ctx->argv[i], "replace"))
            continue;
        resp_error(ctx->out, "ERR Unknown option given: %.*s", (int)ctx->argv[i].len,
                   (const char *)ctx->argv[i].data);
        return;
    }
    refuse_library(ctx, ctx->argv[ctx->argc - 1]);
}

/* Line ends at its end become spaces too, where those of other errors go. */
static void refuse_list_word(struct cmd_ctx *ctx, struct varve_slice word)
{
    struct varve_err err = {0};
    char *text = mem_strndup((const char *)word.data, word.len);

    if (text == NULL) {
        cmd_reply_failure(ctx, err_set(&err, VARVE_ENOMEM, "no memory"), &err);
        return;
    }
    for (char *at = text; *at != '\0'; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' ';
    resp_error(ctx->out, "ERR Unknown argument %s", text);
    mem_free(text);
}

void cmd_function_list(struct cmd_ctx *ctx)
{
    int with_code = 0;
    int with_name = 0;

    for (int i = 2; i < ctx->argc; i++) {
        if (!with_code && cmd_arg_is(ctx->argv[i], "withcode")) {
            with_code = 1;
        } else if (!with_name && cmd_arg_is(ctx->argv[i], "libraryname")) {
            with_name = 1;
            if (++i < ctx->argc)
                continue;
            resp_error(ctx->out, "ERR library name argument was not given");
            return;
        } else {
            refuse_list_word(ctx, ctx->argv[i]);
            return;
        }
    }
    resp_array(ctx->out, 0);
}

void cmd_function_stats(struct cmd_ctx *ctx)
{
    resp_map(ctx->out, 2);
    resp_bulk_str(ctx->out, "running_script");
    resp_null(ctx->out);
    resp_bulk_str(ctx->out, "engines");
    resp_map(ctx->out, 0);
}

void cmd_function_dump(struct cmd_ctx *ctx)
{
    uint8_t payload[RDB_FOOTER_BYTES];

    rdb_dump_nothing(payload);
    resp_bulk(ctx->out, varve_slice(payload, sizeof(payload)));
}

static void refuse_libraries(struct cmd_ctx *ctx, struct varve_slice payload)
{
    struct varve_err err = {0};
    struct rdb_string code;
    int rc = rdb_load_library(payload, &code);

    if (rc == 0) {
        refuse_library(ctx, code.value);
        rdb_string_free(&code);
    } else if (rc == VARVE_ECORRUPT) {
        resp_error(ctx->out, "ERR Failed loading library payload");
    } else {
        cmd_reply_failure(ctx, rc, &err);
    }
}

/* A policy says what becomes of the libraries that are there: nothing, without any. */
void cmd_function_restore(struct cmd_ctx *ctx)
{
    struct varve_slice payload = ctx->argv[2];

    if (ctx->argc > 4) {
        cmd_reply_wrong_subcommand(ctx);
        return;
    }
    if (ctx->argc == 4 && !cmd_arg_is(ctx->argv[3], "flush") &&
        !cmd_arg_is(ctx->argv[3], "append") && !cmd_arg_is(ctx->argv[3], "replace")) {
        resp_error(ctx->out, "ERR Wrong restore policy given, value should be either FLUSH, APPEND "
                             "or REPLACE.");
        return;
    }
    if (!rdb_verify(payload)) {
        resp_error(ctx->out, "ERR DUMP payload version or checksum are wrong");
        return;
    }
    switch (rdb_content(payload)) {
    case RDB_NOTHING: resp_ok(ctx->out); return;
    case RDB_LIBRARY: refuse_libraries(ctx, payload); return;
    case RDB_OTHER: resp_error(ctx->out, "ERR given type is not a function"); return;
    }
}

void cmd_function_delete(struct cmd_ctx *ctx)
{
    resp_error(ctx->out, "ERR Library not found");
}

void cmd_function_kill(struct cmd_ctx *ctx)
{
    resp_error(ctx->out, "NOTBUSY No scripts in execution right now.");
}

void cmd_function_flush(struct cmd_ctx *ctx)
{
    if (ctx->argc > 3)
        cmd_reply_wrong_subcommand(ctx);
    else if (ctx->argc == 3 && !cmd_arg_is(ctx->argv[2], "sync") &&
             !cmd_arg_is(ctx->argv[2], "async"))
        resp_error(ctx->out, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
    else
        resp_ok(ctx->out);
}

void cmd_function_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "DELETE <library-name>",
        "    Deletes a library; there are none.",
        "DUMP",
        "    All libraries as one payload: an empty one.",
        "FLUSH [ASYNC|SYNC]",
        "    Deletes all libraries.",
        "KILL",
        "    Ends the function that runs; none does.",
        "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
        "    The libraries: none.",
        "LOAD [REPLACE] <code>",
        "    Takes a library; refused, since there is no engine to run it.",
        "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
        "    Takes the libraries of a payload of DUMP; only an empty one.",
        "STATS",
        "    The function that runs, and the engines: none.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
