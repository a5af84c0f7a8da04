/* cmd_scan.c - SCAN, KEYS, RANDOMKEY: walks over the names of a database, in the order of their hashes.
 *
 * SCAN's cursor is the hash that the next page begins with: nothing is kept on the server, and a name that is
 * there throughout is met, whatever is added, deleted, flushed or merged meanwhile. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/ctx.h"
#include "cmd/processor_private.h"
#include "cmd/table.h"
#include "types/keyspace.h"

#define SCAN_COUNT_DEFAULT 10
#define CURSOR_MAX_BYTES 24
/* How many names RANDOMKEY chooses among: the keys behind a random place, each with the share of the gap in
 * front of it, are evened out by so many gaps. */
#define RANDOM_NAMES 16

static int put_bulk(struct buf *page, struct varve_slice name, uint64_t seq)
{
    struct resp_writer writer = {.out = page, .proto = 2};

    (void)seq;
    resp_bulk(&writer, name);
    return writer.failed;
}

static void reply_page(struct cmd_ctx *ctx, const struct walk_page *page)
{
    resp_array(ctx->out, page->count);
    resp_raw(ctx->out, buf_slice(&page->names));
}

/* A number as strtoul() reads one, signs and all, nothing being 0: as in Redis. */
static int parse_cursor(struct varve_slice arg, uint64_t *cursor)
{
    char text[CURSOR_MAX_BYTES + 1];
    char *end = NULL;

    if (arg.len > CURSOR_MAX_BYTES || (arg.len > 0 && isspace(arg.data[0])))
        return -1;
    if (arg.len > 0)
        memcpy(text, arg.data, arg.len);
    text[arg.len] = '\0';
    errno = 0;
    *cursor = strtoul(text, &end, 10);
    return errno == 0 && end == text + arg.len ? 0 : -1;
}

/* A type that there is none of matches nothing. */
static int parse_type(struct varve_slice arg)
{
    return cmd_arg_is(arg, value_type_name(VALUE_STRING)) ? (int)VALUE_STRING : WALK_ANY_TYPE - 1;
}

static void take_pattern(struct walk_query *query, struct varve_slice pattern)
{
    query->pattern = pattern;
    query->has_pattern = !varve_slice_equal(pattern, varve_slice_str("*"));
}

/* 1, or 0 and the error is written. */
static int parse_scan(struct cmd_ctx *ctx, struct walk_query *query)
{
    int64_t count;

    if (parse_cursor(ctx->argv[1], &query->from_hash) != 0) {
        resp_error(ctx->out, "ERR invalid cursor");
        return 0;
    }
    for (int i = 2; i < ctx->argc; i += 2) {
        if (i + 1 == ctx->argc) {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
        if (cmd_arg_is(ctx->argv[i], "count")) {
            if (!cmd_arg_int64(ctx, i + 1, &count, NULL))
                return 0;
            if (count < 1) {
                cmd_reply_syntax_error(ctx);
                return 0;
            }
            query->visits_max = (uint64_t)count;
        } else if (cmd_arg_is(ctx->argv[i], "match")) {
            take_pattern(query, ctx->argv[i + 1]);
        } else if (cmd_arg_is(ctx->argv[i], "type")) {
            query->type = parse_type(ctx->argv[i + 1]);
        } else {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
    }
    return 1;
}

/* 0 if there is a page; else what failed is told, or the command will run again. */
static int walk(struct cmd_ctx *ctx, const struct walk_query *query, const struct walk_page **page)
{
    struct varve_err err = {0};
    int rc = keyspace_walk(ctx->keyspace, ctx->session->db, query, ctx->now_ms, page,
                           &ctx->wait_seq, &err);

    if (rc != 0)
        cmd_reply_failure(ctx, rc, &err);
    return rc;
}

void cmd_scan(struct cmd_ctx *ctx)
{
    struct walk_query query = {
        .visits_max = SCAN_COUNT_DEFAULT, .type = WALK_ANY_TYPE, .put = put_bulk};
    const struct walk_page *page;

    if (!parse_scan(ctx, &query) || walk(ctx, &query, &page) != 0)
        return;
    resp_array(ctx->out, 2);
    resp_bulk_fmt(ctx->out, "%" PRIu64, page->next_hash == WALK_HASH_END ? 0 : page->next_hash);
    reply_page(ctx, page);
}

void cmd_keys(struct cmd_ctx *ctx)
{
    struct walk_query query = {.type = WALK_ANY_TYPE, .put = put_bulk};
    const struct walk_page *page;

    take_pattern(&query, ctx->argv[1]);
    if (walk(ctx, &query, &page) == 0)
        reply_page(ctx, page);
}

/* The i-th of the bulks in a page. */
static struct varve_slice bulk_at(const struct buf *names, uint64_t i)
{
    const uint8_t *at = names->data;

    for (;; i--) {
        char *line_end = NULL;
        size_t len = strtoul((const char *)at + 1, &line_end, 10);
        size_t whole = (size_t)((uint8_t *)line_end - at) + 2 + len + 2;
        if (i == 0)
            return varve_slice(at, whole);
        at += whole;
    }
}

void cmd_randomkey(struct cmd_ctx *ctx)
{
    struct rng *rng = &ctx->processor->rng;
    struct walk_query query = {.from_hash = rng_below(rng, WALK_HASH_END),
                               .visits_max = RANDOM_NAMES,
                               .takes_max = RANDOM_NAMES,
                               .wraps = 1,
                               .type = WALK_ANY_TYPE,
                               .put = put_bulk};
    const struct walk_page *page;

    if (walk(ctx, &query, &page) != 0)
        return;
    if (page->count == 0)
        resp_null(ctx->out);
    else
        resp_raw(ctx->out, bulk_at(&page->names, rng_below(rng, page->count)));
}
