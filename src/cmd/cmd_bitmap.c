/* cmd_bitmap.c - strings as rows of bits: SETBIT GETBIT BITCOUNT BITPOS BITOP BITFIELD BITFIELD_RO. Which argument
 * is looked at before the key is, and which after it, is Redis's order. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cmd/ctx.h"
#include "cmd/string_at.h"
#include "cmd/table.h"
#include "config/config.h"
#include "types/bits.h"
#include "types/integer.h"
#include "types/t_string.h"

/* ---- arguments ---- */

/* The position in argv[at]; with `width`, "#N" is N times that. Returns 0 after the error reply. */
static int arg_position(struct cmd_ctx *ctx, int at, unsigned width, uint64_t *position)
{
    struct varve_slice arg = ctx->argv[at];
    int in_fields = width > 0 && arg.len > 0 && arg.data[0] == '#';
    int64_t value;
    int good;

    if (in_fields)
        arg = varve_slice(arg.data + 1, arg.len - 1);
    good = integer_parse(arg, &value) &&
           !__builtin_mul_overflow(value, in_fields ? (int64_t)width : 1, &value) && value >= 0 &&
           value / 8 < config_int(ctx->config, OPT_PROTO_MAX_BULK_LEN);
    if (!good)
        resp_error(ctx->out, "ERR bit offset is not an integer or out of range");
    *position = good ? (uint64_t)value : 0;
    return good;
}

/* BYTE or BIT. Returns 0 after the error reply. */
static int arg_unit(struct cmd_ctx *ctx, int at, int *in_bits)
{
    *in_bits = cmd_arg_is(ctx->argv[at], "bit");
    if (*in_bits || cmd_arg_is(ctx->argv[at], "byte"))
        return 1;
    cmd_reply_syntax_error(ctx);
    return 0;
}

/* Bytes or bits `start` to `end` of a string, negative ones counted from its end. */
struct range {
    int64_t start;
    int64_t end;
    int in_bits;
};

/* The range as bits [*from, *to). Returns 0 if it is empty. */
static int range_of(const struct range *range, struct varve_slice string, uint64_t *from,
                    uint64_t *to)
{
    int64_t total = (int64_t)string.len * (range->in_bits ? 8 : 1);
    int64_t start = range->start < 0 ? range->start + total : range->start;
    int64_t end = range->end < 0 ? range->end + total : range->end;
    uint64_t unit = range->in_bits ? 1 : 8;

    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= total ? total - 1 : end;
    if (start > end)
        return 0;
    *from = (uint64_t)start * unit;
    *to = ((uint64_t)end + 1) * unit;
    return 1;
}

/* ---- one string, read ---- */

/* The string at argv[1]. Returns 0, or a code after its reply: `absent` if there is none. */
static int read_string(struct cmd_ctx *ctx, struct keyspace_value *value, int64_t absent)
{
    struct varve_err err = {0};
    struct string_at where = string_at(ctx, 1, &err);
    int rc = string_get(&where, KEYSPACE_READ, value);

    if (rc == VARVE_NOT_FOUND)
        resp_integer(ctx->out, absent);
    else if (rc != 0)
        cmd_reply_failure(ctx, rc, &err);
    return rc;
}

void cmd_getbit(struct cmd_ctx *ctx)
{
    struct keyspace_value value;
    uint64_t position;

    if (!arg_position(ctx, 2, 0, &position) || read_string(ctx, &value, 0) != 0)
        return;
    resp_integer(ctx->out, bits_get(value.payload, position));
    keyspace_release(&value);
}

/* Returns 0 after the reply, which is not always an error. */
static int bitcount_parse(struct cmd_ctx *ctx, struct range *range)
{
    *range = (struct range){.start = 0, .end = -1};
    if (ctx->argc == 2)
        return 1;
    if (ctx->argc != 4 && ctx->argc != 5) {
        cmd_reply_syntax_error(ctx);
        return 0;
    }
    if (!cmd_arg_int64(ctx, 2, &range->start, NULL) || !cmd_arg_int64(ctx, 3, &range->end, NULL))
        return 0;
    if (range->start < 0 && range->end < 0 && range->start > range->end) {
        resp_integer(ctx->out, 0);
        return 0;
    }
    return ctx->argc == 4 || arg_unit(ctx, 4, &range->in_bits);
}

void cmd_bitcount(struct cmd_ctx *ctx)
{
    struct keyspace_value value;
    struct range range;
    uint64_t from;
    uint64_t to;

    if (read_string(ctx, &value, 0) != 0)
        return;
    if (bitcount_parse(ctx, &range)) {
        int some = range_of(&range, value.payload, &from, &to);
        resp_integer(ctx->out, some ? (int64_t)bits_count(value.payload, from, to) : 0);
    }
    keyspace_release(&value);
}

/* Returns 0 after the error reply. */
static int bitpos_parse(struct cmd_ctx *ctx, struct range *range)
{
    *range = (struct range){.start = 0, .end = -1};
    if (ctx->argc > 6) {
        cmd_reply_syntax_error(ctx);
        return 0;
    }
    return (ctx->argc < 4 || cmd_arg_int64(ctx, 3, &range->start, NULL)) &&
           (ctx->argc < 6 || arg_unit(ctx, 5, &range->in_bits)) &&
           (ctx->argc < 5 || cmd_arg_int64(ctx, 4, &range->end, NULL));
}

/* The position of the bit, or -1. With no end given there are zeros behind the string. */
static int64_t bitpos(struct varve_slice string, int bit, const struct range *range, int has_end)
{
    uint64_t from;
    uint64_t to;

    if (!range_of(range, string, &from, &to))
        return -1;
    int64_t found = bits_find(string, bit, from, to);
    return found == -1 && bit == 0 && !has_end ? (int64_t)to : found;
}

void cmd_bitpos(struct cmd_ctx *ctx)
{
    struct keyspace_value value;
    struct range range;
    int64_t bit;

    if (!cmd_arg_int64(ctx, 2, &bit, NULL))
        return;
    if (bit != 0 && bit != 1) {
        resp_error(ctx->out, "ERR The bit argument must be 1 or 0.");
        return;
    }
    if (read_string(ctx, &value, bit == 0 ? 0 : -1) != 0)
        return;
    if (bitpos_parse(ctx, &range))
        resp_integer(ctx->out, bitpos(value.payload, (int)bit, &range, ctx->argc > 4));
    keyspace_release(&value);
}

/* ---- several strings ---- */

static const char *const op_names[] = {
    [BITS_AND] = "and", [BITS_OR] = "or", [BITS_XOR] = "xor", [BITS_NOT] = "not"};

/* Returns 0 after the error reply. */
static int bitop_parse(struct cmd_ctx *ctx, enum bits_op *op)
{
    size_t found = 0;

    while (found < COUNT_OF(op_names) && !cmd_arg_is(ctx->argv[1], op_names[found]))
        found++;
    *op = (enum bits_op)found;
    if (found == COUNT_OF(op_names))
        cmd_reply_syntax_error(ctx);
    else if (*op == BITS_NOT && ctx->argc != 4)
        resp_error(ctx->out, "ERR BITOP NOT must be called with a single source key.");
    else
        return 1;
    return 0;
}

/* Every name is looked up, so that a command that has to wait for several waits once; those that are absent
 * are empty. `values` is zeroed. Returns 0, or the first failure. */
static int get_sources(struct cmd_ctx *ctx, int count, struct keyspace_value *values,
                       struct varve_err *err)
{
    int rc = 0;

    for (int i = 0; i < count && (rc == 0 || rc == VARVE_WOULD_BLOCK); i++) {
        struct string_at where = string_at(ctx, 3 + i, err);
        struct keyspace_value value;
        int got = string_get(&where, KEYSPACE_READ, &value);
        if (got == 0)
            values[i] = value;
        else if (got != VARVE_NOT_FOUND)
            rc = got;
    }
    return rc;
}

/* Makes the string at argv[2] what is in out; with nothing in it, no string at all. */
static int put_combined(struct cmd_ctx *ctx, struct varve_slice out, struct varve_err *err)
{
    struct string_at where = string_at(ctx, 2, err);
    int rc = 0;

    if (out.len == 0)
        rc = keyspace_exists(ctx->keyspace, where.db, where.key, ctx->now_ms, KEYSPACE_WRITE,
                             &ctx->wait_seq, err);
    if (rc != 0)
        return rc == VARVE_NOT_FOUND ? 0 : rc;
    keyspace_begin(ctx->keyspace);
    rc = out.len == 0 ? keyspace_delete(ctx->keyspace, where.db, where.key, err)
                      : string_put(&where, out, 0);
    return rc == 0 ? keyspace_apply(ctx->keyspace, &ctx->wait_seq, err) : rc;
}

static int combine(struct cmd_ctx *ctx, enum bits_op op, size_t count,
                   const struct keyspace_value *values, size_t *len, struct varve_err *err)
{
    struct varve_slice *sources = mem_alloc(count * sizeof(*sources));
    uint8_t *out = NULL;
    int rc = 0;

    *len = 0;
    if (sources == NULL)
        goto no_memory;
    for (size_t i = 0; i < count; i++) {
        sources[i] = values[i].payload;
        *len = sources[i].len > *len ? sources[i].len : *len;
    }
    if (*len > 0) {
        out = mem_alloc(*len);
        if (out == NULL)
            goto no_memory;
        bits_combine(op, sources, count, out, *len);
    }
    rc = put_combined(ctx, varve_slice(out, *len), err);
    goto out;
no_memory:
    rc = err_set(err, VARVE_ENOMEM, "out of memory");
out:
    mem_free(sources);
    mem_free(out);
    return rc;
}

void cmd_bitop(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    int count = ctx->argc - 3;
    struct keyspace_value *values;
    enum bits_op op;
    size_t len = 0;

    if (!bitop_parse(ctx, &op))
        return;
    values = mem_alloc_zero((size_t)count * sizeof(*values));
    int rc = values == NULL ? err_set(&err, VARVE_ENOMEM, "out of memory")
                            : get_sources(ctx, count, values, &err);
    if (rc == 0)
        rc = combine(ctx, op, (size_t)count, values, &len, &err);
    if (rc == 0)
        resp_integer(ctx->out, (int64_t)len);
    else
        cmd_reply_failure(ctx, rc, &err);
    for (int i = 0; values != NULL && i < count; i++)
        keyspace_release(&values[i]);
    mem_free(values);
}

/* ---- one string, written in part ---- */

/* Writes the window over the string, or makes one of it; `old` may be zeroed: there was none. */
static int put_window(const struct string_at *where, const struct keyspace_value *old,
                      const struct bits_window *window)
{
    return string_put_range(where, old, window->first, varve_slice(window->bytes, window->len));
}

void cmd_setbit(struct cmd_ctx *ctx)
{
    static const char error[] = "bit is not an integer or out of range";
    struct varve_err err = {0};
    struct string_at where = string_at(ctx, 1, &err);
    struct bits_field bit = {.width = 1};
    struct keyspace_value old = {0};
    uint8_t byte = 0;
    int64_t value;

    if (!arg_position(ctx, 2, 0, &bit.at) || !cmd_arg_range(ctx, 3, 0, 1, &value, error))
        return;
    int rc = string_get(&where, KEYSPACE_WRITE, &old);
    if (rc != 0 && rc != VARVE_NOT_FOUND) {
        cmd_reply_failure(ctx, rc, &err);
        return;
    }
    if (rc == VARVE_NOT_FOUND)
        old = (struct keyspace_value){0};
    struct bits_window window = {.old = old.payload, .bytes = &byte, .first = bit.at / 8, .len = 1};
    bits_window_fill(&window);
    int64_t before = bits_field_get(&window, &bit);
    bits_field_put(&window, &bit, value);
    rc = 0;
    if (before != value || window.first >= old.payload.len)
        rc = put_window(&where, &old, &window);
    if (rc == 0)
        resp_integer(ctx->out, before);
    else
        cmd_reply_failure(ctx, rc, &err);
    keyspace_release(&old);
}

/* ---- BITFIELD ---- */

enum field_verb { FIELD_GET, FIELD_SET, FIELD_INCREMENT };

struct field_step {
    enum field_verb verb;
    enum bits_overflow overflow;
    struct bits_field field;
    int64_t operand; /* what SET puts and INCRBY adds */
};

struct field_steps {
    struct field_step *all; /* owned */
    size_t count;
    int writing;          /* 1: one of them is not a GET */
    uint64_t first_byte;  /* that those touch */
    uint64_t behind_byte; /* the one behind the last one */
};

/* "i8", "u63". Redis looks no further than a NUL byte. Returns 0 after the error reply. */
static int arg_field_type(struct cmd_ctx *ctx, int at, struct bits_field *field)
{
    struct varve_slice arg = ctx->argv[at];
    int64_t width = 0;

    field->is_signed = arg.len > 0 && arg.data[0] == 'i';
    if (arg.len > 0 && (field->is_signed || arg.data[0] == 'u')) {
        const char *digits = (const char *)arg.data + 1;
        if (!integer_parse(varve_slice(digits, strnlen(digits, arg.len - 1)), &width))
            width = 0;
    }
    field->width = width >= 1 && width <= 63 + field->is_signed ? (unsigned)width : 0;
    if (field->width == 0)
        resp_error(ctx->out, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 "
                             "is not supported but i64 is.");
    return field->width != 0;
}

/* Returns 0 after the error reply. */
static int arg_overflow(struct cmd_ctx *ctx, int at, enum bits_overflow *overflow)
{
    if (cmd_arg_is(ctx->argv[at], "wrap"))
        *overflow = BITS_WRAP;
    else if (cmd_arg_is(ctx->argv[at], "sat"))
        *overflow = BITS_SATURATE;
    else if (cmd_arg_is(ctx->argv[at], "fail"))
        *overflow = BITS_FAIL;
    else {
        resp_error(ctx->out, "ERR Invalid OVERFLOW type specified");
        return 0;
    }
    return 1;
}

/* The step that begins at argv[at], and how many words it has. Returns 0 after the error reply. */
static int field_step_parse(struct cmd_ctx *ctx, int at, struct field_step *step, int *words)
{
    struct varve_slice verb = ctx->argv[at];
    int left = ctx->argc - at;

    *words = 4;
    if (cmd_arg_is(verb, "get") && left >= 3) {
        step->verb = FIELD_GET;
        *words = 3;
    } else if (cmd_arg_is(verb, "set") && left >= 4) {
        step->verb = FIELD_SET;
    } else if (cmd_arg_is(verb, "incrby") && left >= 4) {
        step->verb = FIELD_INCREMENT;
    } else {
        cmd_reply_syntax_error(ctx);
        return 0;
    }
    step->operand = 0;
    return arg_field_type(ctx, at + 1, &step->field) &&
           arg_position(ctx, at + 2, step->field.width, &step->field.at) &&
           (step->verb == FIELD_GET || cmd_arg_int64(ctx, at + 3, &step->operand, NULL));
}

static void field_steps_add(struct field_steps *steps, const struct field_step *step)
{
    uint64_t first = step->field.at / 8;
    uint64_t behind = (step->field.at + step->field.width + 7) / 8;

    steps->all[steps->count++] = *step;
    if (step->verb == FIELD_GET)
        return;
    if (!steps->writing || first < steps->first_byte)
        steps->first_byte = first;
    if (!steps->writing || behind > steps->behind_byte)
        steps->behind_byte = behind;
    steps->writing = 1;
}

/* Returns 0 after the error reply. */
static int field_steps_parse(struct cmd_ctx *ctx, struct field_steps *steps)
{
    struct field_step step = {.overflow = BITS_WRAP};
    int words;

    steps->all = mem_alloc(((size_t)ctx->argc / 3 + 1) * sizeof(*steps->all));
    if (steps->all == NULL) {
        cmd_reply_failure(ctx, VARVE_ENOMEM, NULL);
        return 0;
    }
    for (int at = 2; at < ctx->argc; at += words) {
        words = 2;
        if (cmd_arg_is(ctx->argv[at], "overflow") && at + 1 < ctx->argc) {
            if (!arg_overflow(ctx, at + 1, &step.overflow))
                return 0;
            continue;
        }
        if (!field_step_parse(ctx, at, &step, &words))
            return 0;
        field_steps_add(steps, &step);
    }
    return 1;
}

/* Runs a step on the window and answers it. Returns 1 if it changed the window. */
static int field_step_run(struct cmd_ctx *ctx, const struct field_step *step,
                          struct bits_window *window)
{
    int64_t before = bits_field_get(window, &step->field);
    int64_t after;

    if (step->verb == FIELD_GET) {
        resp_integer(ctx->out, before);
        return 0;
    }
    int adds = step->verb == FIELD_INCREMENT;
    if (!bits_field_add(&step->field, step->overflow, adds ? before : step->operand,
                        adds ? step->operand : 0, &after)) {
        resp_null(ctx->out);
        return 0;
    }
    resp_integer(ctx->out, adds ? after : before);
    bits_field_put(window, &step->field, after);
    return before != after;
}

/* Runs the steps on what `old` holds, zeroed if that is nothing, and writes what they changed. A string that
 * is too short for them is made longer even if each of them failed. */
static int field_steps_run(struct cmd_ctx *ctx, const struct field_steps *steps,
                           const struct string_at *where, const struct keyspace_value *old)
{
    struct bits_window window = {.old = old->payload, .first = steps->first_byte};
    int changed = steps->writing && steps->behind_byte > old->payload.len;
    int rc = 0;

    if (steps->writing) {
        window.len = steps->behind_byte - steps->first_byte;
        window.bytes = mem_alloc_zero(window.len);
        if (window.bytes == NULL)
            return err_set(where->err, VARVE_ENOMEM, "out of memory");
        bits_window_fill(&window);
    }
    resp_array(ctx->out, steps->count);
    for (size_t i = 0; i < steps->count; i++)
        changed |= field_step_run(ctx, &steps->all[i], &window);
    if (changed)
        rc = put_window(where, old, &window);
    mem_free(window.bytes);
    return rc;
}

static void bitfield(struct cmd_ctx *ctx, int read_only)
{
    struct varve_err err = {0};
    struct string_at where = string_at(ctx, 1, &err);
    struct keyspace_value old = {0};
    struct field_steps steps = {0};
    size_t start = ctx->out->out->len;

    if (!field_steps_parse(ctx, &steps))
        goto out;
    if (steps.writing && read_only) {
        resp_error(ctx->out, "ERR BITFIELD_RO only supports the GET subcommand");
        goto out;
    }
    int rc = string_get(&where, steps.writing ? KEYSPACE_WRITE : KEYSPACE_READ, &old);
    int found = rc == 0;
    if (rc == VARVE_NOT_FOUND)
        old = (struct keyspace_value){0};
    if (rc == 0 || rc == VARVE_NOT_FOUND)
        rc = field_steps_run(ctx, &steps, &where, &old);
    if (rc != 0) {
        resp_cut(ctx->out, start); /* one error instead of the answers */
        cmd_reply_failure(ctx, rc, &err);
    }
    if (found)
        keyspace_release(&old);
out:
    mem_free(steps.all);
}

void cmd_bitfield(struct cmd_ctx *ctx)
{
    bitfield(ctx, 0);
}

void cmd_bitfield_ro(struct cmd_ctx *ctx)
{
    bitfield(ctx, 1);
}
