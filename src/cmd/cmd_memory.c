/* cmd_memory.c - MEMORY. The fields of STATS are Redis's, by the same names and in its order; what a field
 * speaks of may not exist here, it is 0 then. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cmd/client.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "metrics/metrics.h"
#include "types/keyspace.h"
#include "varve/stats.h"

/* What a record takes besides its key and value: sequence, kind, CRC, lengths, its place in an index. */
#define RECORD_OVERHEAD_BYTES 32
#define STATS_TEXT_MAX_BYTES ((size_t)4 * 1024 * 1024)
#define ALL_ARENAS 4096 /* MALLCTL_ARENAS_ALL */

/* There if the program is linked with jemalloc. */
extern int mallctl(const char *name, void *old, size_t *old_bytes, void *fresh, size_t fresh_bytes)
    __attribute__((weak));
extern void malloc_stats_print(void (*write)(void *arg, const char *text), void *arg,
                               const char *options) __attribute__((weak));

/* ---- USAGE ---- */

static int usage_parse(struct cmd_ctx *ctx)
{
    for (int i = 3; i < ctx->argc; i++) {
        int64_t samples = 0;
        int known = cmd_arg_is(ctx->argv[i], "samples") && i + 1 < ctx->argc;
        if (known && !cmd_arg_int64(ctx, ++i, &samples, NULL))
            return 0;
        if (!known || samples < 0) {
            cmd_reply_syntax_error(ctx);
            return 0;
        }
    }
    return 1;
}

void cmd_memory_usage(struct cmd_ctx *ctx)
{
    struct varve_err err = {0};
    struct keyspace_value value;

    if (!usage_parse(ctx))
        return;
    int rc = keyspace_get(ctx->keyspace, ctx->session->db, ctx->argv[2], ctx->now_ms,
                          KEYSPACE_WRITE, &value, &ctx->wait_seq, &err);
    if (rc == VARVE_NOT_FOUND) {
        resp_null(ctx->out);
    } else if (rc != 0) {
        cmd_reply_failure(ctx, rc, &err);
    } else {
        resp_integer(ctx->out,
                     (int64_t)(ctx->argv[2].len + value.payload.len + RECORD_OVERHEAD_BYTES));
        keyspace_release(&value);
    }
}

/* ---- STATS ---- */

struct memory_figures {
    uint64_t counts[KEYSPACE_DATABASES_MAX];
    int databases; /* that are not empty */
    uint64_t keys;
    uint64_t used;
    uint64_t data; /* of that: memtables and cache */
    uint64_t resident;
};

static int memory_figures_get(struct cmd_ctx *ctx, struct memory_figures *figures,
                              struct varve_err *err)
{
    struct varve_stats engine = {0};
    int rc = 0;

    *figures = (struct memory_figures){.used = mem_used_bytes(),
                                       .resident = metrics_resident_bytes()};
    varve_stats(keyspace_engine(ctx->keyspace), &engine);
    figures->data = engine.memtables_bytes + engine.cache_used_bytes;
    if (figures->data > figures->used)
        figures->data = figures->used;
    for (int db = 0; rc >= 0 && db < KEYSPACE_DATABASES_MAX; db++) {
        uint64_t seq = 0; /* these are figures, nobody's writes */
        rc = keyspace_count_about(ctx->keyspace, db, &figures->counts[db], &seq, err);
        figures->databases += figures->counts[db] > 0;
        figures->keys += figures->counts[db];
    }
    metrics_note_memory(ctx->metrics);
    return rc < 0 ? rc : 0;
}

static void put_integer(struct cmd_ctx *ctx, const char *name, uint64_t value)
{
    resp_bulk_str(ctx->out, name);
    resp_integer(ctx->out, (int64_t)value);
}

static void put_ratio(struct cmd_ctx *ctx, const char *name, double part, double whole)
{
    resp_bulk_str(ctx->out, name);
    resp_double(ctx->out, whole > 0 ? part / whole : 0);
}

static void put_databases(struct cmd_ctx *ctx, const struct memory_figures *figures)
{
    for (int db = 0; db < KEYSPACE_DATABASES_MAX; db++) {
        if (figures->counts[db] == 0)
            continue;
        resp_bulk_fmt(ctx->out, "db.%d", db);
        resp_map(ctx->out, 3);
        put_integer(ctx, "overhead.hashtable.main", 0);
        put_integer(ctx, "overhead.hashtable.expires", 0);
        put_integer(ctx, "overhead.hashtable.slot-to-keys", 0);
    }
}

static void put_allocator(struct cmd_ctx *ctx, const struct memory_figures *figures)
{
    double used = (double)figures->used;
    double resident = (double)figures->resident;

    put_integer(ctx, "allocator.allocated", figures->used);
    put_integer(ctx, "allocator.active", figures->used);
    put_integer(ctx, "allocator.resident", figures->resident);
    put_ratio(ctx, "allocator-fragmentation.ratio", used, used);
    put_integer(ctx, "allocator-fragmentation.bytes", 0);
    put_ratio(ctx, "allocator-rss.ratio", resident, used);
    put_integer(ctx, "allocator-rss.bytes", figures->resident - figures->used);
    put_ratio(ctx, "rss-overhead.ratio", resident, resident);
    put_integer(ctx, "rss-overhead.bytes", 0);
    put_ratio(ctx, "fragmentation", resident, used);
    put_integer(ctx, "fragmentation.bytes", figures->resident - figures->used);
}

void cmd_memory_stats(struct cmd_ctx *ctx)
{
    static const char *const never[] = {"cluster.links", "aof.buffer", "lua.caches",
                                        "functions.caches"};
    struct varve_err err = {0};
    struct memory_figures figures;
    int rc = memory_figures_get(ctx, &figures, &err);
    uint64_t peak = ctx->metrics->memory_peak_bytes;
    uint64_t startup = ctx->metrics->memory_startup_bytes;

    if (rc != 0) {
        cmd_reply_failure(ctx, rc, &err);
        return;
    }
    resp_map(ctx->out, 27 + (uint64_t)figures.databases);
    put_integer(ctx, "peak.allocated", peak);
    put_integer(ctx, "total.allocated", figures.used);
    put_integer(ctx, "startup.allocated", startup);
    put_integer(ctx, "replication.backlog", 0);
    put_integer(ctx, "clients.slaves", 0);
    put_integer(ctx, "clients.normal", clients_memory_bytes(ctx->processor));
    for (size_t i = 0; i < COUNT_OF(never); i++)
        put_integer(ctx, never[i], 0);
    put_databases(ctx, &figures);
    put_integer(ctx, "overhead.total", figures.used - figures.data);
    put_integer(ctx, "keys.count", figures.keys);
    put_integer(ctx, "keys.bytes-per-key", figures.keys > 0 ? figures.data / figures.keys : 0);
    put_integer(ctx, "dataset.bytes", figures.data);
    put_ratio(ctx, "dataset.percentage", (double)figures.data * 100, (double)figures.used);
    put_ratio(ctx, "peak.percentage", (double)figures.used * 100, (double)peak);
    put_allocator(ctx, &figures);
}

/* ---- the allocator ---- */

static void take_text(void *arg, const char *text)
{
    struct buf *out = arg;

    if (buf_append(out, text, strlen(text)) != 0)
        out->max = out->len; /* what does not fit is left out, with all that follows */
}

void cmd_memory_malloc_stats(struct cmd_ctx *ctx)
{
    struct buf text;

    if (malloc_stats_print == NULL) {
        resp_verbatim(ctx->out, "txt",
                      varve_slice_str("Stats not supported for the current allocator"));
        return;
    }
    buf_init(&text, STATS_TEXT_MAX_BYTES);
    malloc_stats_print(take_text, &text, NULL);
    resp_verbatim(ctx->out, "txt", buf_slice(&text));
    buf_deinit(&text);
}

void cmd_memory_purge(struct cmd_ctx *ctx)
{
    char name[32];

    snprintf(name, sizeof(name), "arena.%d.purge", ALL_ARENAS);
    if (mallctl != NULL && mallctl(name, NULL, NULL, NULL, 0) != 0)
        resp_error(ctx->out, "ERR Error purging dirty pages");
    else
        resp_ok(ctx->out);
}

/* ---- DOCTOR ---- */

#define DOCTOR_SMALL_BYTES ((uint64_t)5 * 1024 * 1024)
#define DOCTOR_RATIO 1.4
#define DOCTOR_PEAK_RATIO 1.5

void cmd_memory_doctor(struct cmd_ctx *ctx)
{
    uint64_t used = mem_used_bytes();
    uint64_t resident = metrics_resident_bytes();
    uint64_t peak = ctx->metrics->memory_peak_bytes;
    char text[512];
    int len;

    if (used < DOCTOR_SMALL_BYTES)
        len = snprintf(text, sizeof(text),
                       "Too little memory is in use to judge of: come back with more data.\n");
    else if ((double)peak > (double)used * DOCTOR_PEAK_RATIO)
        len = snprintf(text, sizeof(text),
                       "At its peak the server used %.1f times what it uses now; the allocator "
                       "may hold the difference back. MEMORY PURGE asks for it.\n",
                       (double)peak / (double)used);
    else if ((double)resident > (double)used * DOCTOR_RATIO)
        len = snprintf(text, sizeof(text),
                       "The process holds %.1f times what it asked the allocator for: memory is "
                       "fragmented, or was not given back yet. MEMORY PURGE may help.\n",
                       (double)resident / (double)used);
    else
        len = snprintf(text, sizeof(text), "Nothing is wrong with the memory.\n");
    resp_verbatim(ctx->out, "txt", varve_slice(text, (size_t)len));
}

void cmd_memory_help(struct cmd_ctx *ctx)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    What seems wrong with the use of memory.",
        "MALLOC-STATS",
        "    What the allocator says of itself.",
        "PURGE",
        "    Has the allocator give back what it holds and does not use.",
        "STATS",
        "    How much memory is used, and for what.",
        "USAGE <key> [SAMPLES <count>]",
        "    About how many bytes a key takes, wherever they lie.",
    };

    cmd_reply_help(ctx, lines, COUNT_OF(lines));
}
