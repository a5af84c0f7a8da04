/* cmd_lcs.c - LCS: what two strings have in common. It runs to its end in one go; proto-max-bulk-len, by the
 * formula of Redis, bounds its steps as well as its memory. */
#include "base/mem.h"
#include "cmd/ctx.h"
#include "cmd/string_at.h"
#include "cmd/table.h"
#include "config/config.h"
#include "types/lcs.h"
#include "types/t_string.h"

struct lcs_options {
    int length_only;
    int ranges;
    int with_lengths;
    int64_t len_min; /* of a range to be shown */
};

/* Returns 0 after the error reply. */
static int lcs_parse(struct cmd_ctx *ctx, struct lcs_options *options)
{
    *options = (struct lcs_options){0};
    for (int i = 3; i < ctx->argc; i++) {
        if (cmd_arg_is(ctx->argv[i], "idx")) {
            options->ranges = 1;
        } else if (cmd_arg_is(ctx->argv[i], "len")) {
            options->length_only = 1;
        } else if (cmd_arg_is(ctx->argv[i], "withmatchlen")) {
            options->with_lengths = 1;
        } else if (cmd_arg_is(ctx->argv[i], "minmatchlen") && i + 1 < ctx->argc) {
            if (!cmd_arg_int64(ctx, ++i, &options->len_min, NULL))
                return 0;
        } else {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
    }
    if (options->ranges && options->length_only) {
        resp_error(ctx->out, "ERR If you want both the length and indexes, please just use IDX.");
        return 0;
    }
    return 1;
}

/* Returns 0 after the error reply. */
static int lcs_fits(struct cmd_ctx *ctx, struct varve_slice a, struct varve_slice b)
{
    uint64_t max = (uint64_t)config_int(ctx->config, OPT_PROTO_MAX_BULK_LEN);

    if (a.len >= UINT32_MAX - 1 || b.len >= UINT32_MAX - 1) {
        resp_error(ctx->out, "ERR String too long for LCS");
        return 0;
    }
    if (((uint64_t)a.len + 1) * ((uint64_t)b.len + 1) > max / sizeof(uint32_t)) {
        resp_error(ctx->out, "ERR Insufficient memory, transient memory for LCS exceeds "
                             "proto-max-bulk-len");
        return 0;
    }
    return 1;
}

static void reply_common(struct cmd_ctx *ctx, const struct lcs *lcs)
{
    uint8_t *common = mem_alloc(lcs->length + 1);
    struct lcs_walk walk;
    struct lcs_range range;
    size_t at = lcs->length;

    if (common == NULL) {
        cmd_reply_failure(ctx, VARVE_ENOMEM, NULL);
        return;
    }
    lcs_begin(lcs, &walk);
    while (lcs_next(lcs, &walk, &range)) {
        at -= range.len;
        memcpy(common + at, lcs->a.data + range.a_at, range.len);
    }
    CHECK(at == 0);
    resp_bulk(ctx->out, varve_slice(common, lcs->length));
    mem_free(common);
}

static void reply_place(struct cmd_ctx *ctx, size_t at, size_t len)
{
    resp_array(ctx->out, 2);
    resp_integer(ctx->out, (int64_t)at);
    resp_integer(ctx->out, (int64_t)(at + len - 1));
}

/* The next range that is long enough to be shown. */
static int next_shown(const struct lcs *lcs, const struct lcs_options *options,
                      struct lcs_walk *walk, struct lcs_range *range)
{
    while (lcs_next(lcs, walk, range))
        if ((int64_t)range->len >= options->len_min)
            return 1;
    return 0;
}

static void reply_ranges(struct cmd_ctx *ctx, const struct lcs *lcs,
                         const struct lcs_options *options)
{
    struct lcs_walk walk;
    struct lcs_range range;
    uint64_t count = 0;

    lcs_begin(lcs, &walk);
    while (next_shown(lcs, options, &walk, &range))
        count++;
    resp_map(ctx->out, 2);
    resp_bulk_str(ctx->out, "matches");
    resp_array(ctx->out, count);
    lcs_begin(lcs, &walk);
    while (next_shown(lcs, options, &walk, &range)) {
        resp_array(ctx->out, options->with_lengths ? 3 : 2);
        reply_place(ctx, range.a_at, range.len);
        reply_place(ctx, range.b_at, range.len);
        if (options->with_lengths)
            resp_integer(ctx->out, (int64_t)range.len);
    }
    resp_bulk_str(ctx->out, "len");
    resp_integer(ctx->out, lcs->length);
}

static void reply_lcs(struct cmd_ctx *ctx, struct varve_slice a, struct varve_slice b)
{
    struct lcs_options options;
    struct lcs lcs;

    if (!lcs_parse(ctx, &options) || !lcs_fits(ctx, a, b))
        return;
    if (lcs_init(&lcs, a, b, options.length_only) != 0) {
        resp_error(ctx->out, "ERR Insufficient memory, failed allocating transient memory for LCS");
        return;
    }
    if (options.ranges)
        reply_ranges(ctx, &lcs, &options);
    else if (options.length_only)
        resp_integer(ctx->out, lcs.length);
    else
        reply_common(ctx, &lcs);
    lcs_deinit(&lcs);
}

void cmd_lcs(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    struct keyspace_value values[2] = {0};
    int rc[2];

    for (int i = 0; i < 2; i++) {
        struct string_at where = string_at(ctx, 1 + i, &err);
        rc[i] = string_get(&where, KEYSPACE_READ, &values[i]);
    }
    int failed = rc[0] < 0 ? rc[0] : rc[1] < 0 ? rc[1] : 0;
    if (failed != 0)
        cmd_reply_failure(ctx, failed, &err);
    else if (rc[0] == TYPES_WRONG_TYPE || rc[1] == TYPES_WRONG_TYPE)
        resp_error(ctx->out, "ERR The specified keys must contain string values");
    else if (rc[0] == VARVE_WOULD_BLOCK || rc[1] == VARVE_WOULD_BLOCK)
        cmd_reply_failure(ctx, VARVE_WOULD_BLOCK, &err);
    else
        reply_lcs(ctx, rc[0] == 0 ? values[0].payload : varve_slice("", 0),
                  rc[1] == 0 ? values[1].payload : varve_slice("", 0));
    for (int i = 0; i < 2; i++)
        if (rc[i] == 0)
            keyspace_release(&values[i]);
}
