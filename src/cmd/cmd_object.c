/* cmd_object.c - OBJECT: how Redis would keep a value. */
#include "cmd/ctx.h"
#include "cmd/object.h"
#include "cmd/string_at.h"
#include "cmd/table.h"
#include "types/integer.h"
#include "types/t_string.h"

/* Redis keeps one object each for these integers, with this many references. */
#define SHARED_INTEGERS 10000
#define SHARED_REFERENCES INT32_MAX

/* Looks argv[2] up. Returns 1 if *value holds it; else the reply is written. */
static int find(struct cmd_ctx *ctx, struct keyspace_value *value)
{
    struct varve_err err = {0};
    struct string_at where = string_at(ctx, 2, &err);
    int rc = string_get(&where, KEYSPACE_READ, value);

    if (rc == VARVE_NOT_FOUND)
        resp_null(ctx->out);
    else if (rc != 0)
        cmd_reply_failure(ctx, rc, &err);
    return rc == 0;
}

const char *cmd_encoding_name(struct varve_slice string)
{
    switch (string_encoding(string)) {
    case STRING_INT: return "int";
    case STRING_EMBSTR: return "embstr";
    case STRING_RAW: return "raw";
    }
    return "raw";
}

void cmd_object_encoding(struct cmd_ctx *ctx)
{
    struct keyspace_value value;

    if (!find(ctx, &value))
        return;
    resp_bulk_str(ctx->out, cmd_encoding_name(value.payload));
    keyspace_release(&value);
}

int64_t cmd_refcount(struct varve_slice string)
{
    int64_t integer;

    return integer_parse(string, &integer) && integer >= 0 && integer < SHARED_INTEGERS
               ? SHARED_REFERENCES
               : 1;
}

void cmd_object_refcount(struct cmd_ctx *ctx)
{
    struct keyspace_value value;

    if (!find(ctx, &value))
        return;
    resp_integer(ctx->out, cmd_refcount(value.payload));
    keyspace_release(&value);
}

/* Nobody notes when a key was read last. */
void cmd_object_idletime(struct cmd_ctx *ctx)
{
    struct keyspace_value value;

    if (!find(ctx, &value))
        return;
    resp_integer(ctx->out, 0);
    keyspace_release(&value);
}

/* The text is what redis-cli --hotkeys knows to stop at. */
void cmd_object_freq(struct cmd_ctx *ctx)
{
    struct keyspace_value value;

    if (!find(ctx, &value))
        return;
    resp_error(ctx->out,
               "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please "
               "note that when switching between policies at runtime LRU and LFU data will take "
               "some time to adjust.");
    keyspace_release(&value);
}

void cmd_object_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "ENCODING <key>", "    How Redis would keep the value of the key.",
        "FREQ <key>",     "    An error: how often a key is read is not counted.",
        "IDLETIME <key>", "    0: when a key was read last is not noted.",
        "REFCOUNT <key>", "    How many references to the value Redis would hold.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
