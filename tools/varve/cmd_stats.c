/* varve stats: what lies where, by what segments say of themselves. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "base/err.h"
#include "commands.h"
#include "content.h"
#include "databases.h"
#include "json.h"
#include "output.h"

struct sums {
    uint64_t runs;
    uint64_t segments;
    uint64_t bytes;
    uint64_t entries;
    uint64_t puts;
    uint64_t tombstones;
    uint64_t ranges;
    uint64_t expiring;
    uint64_t expired_bytes;
    uint64_t superseded_bytes;
};

struct live_count {
    uint64_t keys[DATABASES_MAX];
    uint64_t bytes[DATABASES_MAX]; /* of names and their values */
    uint64_t expiring[DATABASES_MAX];
    const struct databases *databases;
    struct progress progress;
};

struct stats {
    int exact;
    int as_json;
    struct json json;
    const struct content *content;
    struct databases databases;
    struct sums levels[LEVELS_MAX];
    struct sums total;
    struct live_count live;
};

/* ---- adding up ---- */

static void add_segment(struct sums *sums, const struct segment *segment, uint64_t now_ms)
{
    const struct properties *properties = segment_properties(segment);

    sums->segments++;
    sums->bytes += segment_size_bytes(segment);
    sums->entries += properties->entries;
    sums->puts += properties->puts;
    sums->tombstones += properties->entries - properties->puts;
    sums->ranges += properties->ranges;
    sums->expiring += properties->expiring;
    sums->expired_bytes += properties_expired_bytes(properties, now_ms);
    sums->superseded_bytes += properties->superseded_bytes;
}

static void add_levels(struct stats *stats)
{
    const struct version *version = stats->content->version;

    for (size_t i = 0; i < version->run_count; i++) {
        const struct sorted_run *run = &version->runs[i];
        stats->levels[run->level].runs++;
        stats->total.runs++;
        for (size_t at = 0; at < run->count; at++) {
            add_segment(&stats->levels[run->level], run->segments[at], stats->content->now_ms);
            add_segment(&stats->total, run->segments[at], stats->content->now_ms);
        }
    }
}

static int add_live(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct live_count *live = arg;
    struct varve_slice name;
    unsigned db;

    (void)err;
    progress_tell(&live->progress, "counted", entry->chunk.key.len + entry->chunk.value.len);
    if (!databases_name(live->databases, entry->chunk.key, &db, &name))
        return 0;
    live->keys[db]++;
    live->bytes[db] += name.len + entry->chunk.value.len;
    live->expiring[db] += entry->chunk.expire_ms != 0;
    return 0;
}

/* ---- telling ---- */

static void sums_json(struct json *json, const char *key, const struct sums *sums, int level)
{
    json_begin_object(json, key);
    if (level >= 0)
        json_number(json, "level", (uint64_t)level);
    json_number(json, "runs", sums->runs);
    json_number(json, "segments", sums->segments);
    json_number(json, "bytes", sums->bytes);
    json_number(json, "entries", sums->entries);
    json_number(json, "puts", sums->puts);
    json_number(json, "tombstones", sums->tombstones);
    json_number(json, "range_tombstones", sums->ranges);
    json_number(json, "expiring", sums->expiring);
    json_number(json, "expired_bytes", sums->expired_bytes);
    json_number(json, "superseded_bytes", sums->superseded_bytes);
    json_end_object(json);
}

static void groups_json(struct stats *stats)
{
    const struct version *version = stats->content->version;
    struct json *json = &stats->json;
    char text[32];

    json_begin_array(json, "groups");
    for (size_t i = 0; i < version->group_count; i++) {
        const struct version_group *group = &version->groups[i];
        struct varve_slice name = varve_slice(group->name, group->name_len);
        json_begin_object(json, NULL);
        json_bytes(json, "name", name);
        json_text(json, "of", databases_group(&stats->databases, name, text));
        json_signed(json, "keys_in_segments", group->live);
        json_bool(json, "known", !group->unknown);
        json_end_object(json);
    }
    json_end_array(json);
    json_begin_array(json, "databases");
    for (unsigned db = 0; db < DATABASES_MAX; db++) {
        if (stats->databases.spaces[db] == 0)
            continue;
        json_begin_object(json, NULL);
        json_number(json, "db", db);
        json_number(json, "space", stats->databases.spaces[db]);
        if (stats->exact) {
            json_number(json, "keys", stats->live.keys[db]);
            json_number(json, "bytes", stats->live.bytes[db]);
            json_number(json, "expiring", stats->live.expiring[db]);
        }
        json_end_object(json);
    }
    json_end_array(json);
}

static void show_json(struct stats *stats)
{
    const struct content *content = stats->content;
    const struct recovery *log = &content->log;
    struct json *json = &stats->json;
    char id[2 * DIR_ID_BYTES + 1];

    json_init(json, stdout);
    json_begin_object(json, NULL);
    json_text(json, "dir", content->dir->path);
    json_text(json, "id", dir_id_text(&content->dir->id, id));
    json_number(json, "seq", content->seq);
    json_number(json, "flushed_seq", content->version->flushed_seq);
    json_number(json, "now_ms", content->now_ms);
    json_begin_object(json, "log");
    json_number(json, "files", log->wal_count);
    json_number(json, "records", log->records);
    json_number(json, "operations", log->ops);
    json_number(json, "keys", memtable_entry_count(content->memtable));
    json_number(json, "range_tombstones", memtable_range_count(content->memtable));
    json_number(json, "torn_bytes", log->dropped_bytes);
    json_end_object(json);
    json_begin_array(json, "levels");
    for (int level = 0; level < LEVELS_MAX; level++)
        if (stats->levels[level].segments > 0)
            sums_json(json, NULL, &stats->levels[level], level);
    json_end_array(json);
    sums_json(json, "total", &stats->total, -1);
    groups_json(stats);
    json_end_object(json);
}

static void sums_text(const char *name, const struct sums *sums)
{
    char size[24];
    char expired[24];

    printf("%-6s %5" PRIu64 " %8" PRIu64 " %10s %12" PRIu64 " %12" PRIu64 " %11" PRIu64 " %7" PRIu64
           " %11" PRIu64 " %10s\n",
           name, sums->runs, sums->segments, output_size(sums->bytes, size), sums->entries,
           sums->puts, sums->tombstones, sums->ranges, sums->expiring,
           output_size(sums->expired_bytes, expired));
}

static void databases_text(const struct stats *stats)
{
    const struct version *version = stats->content->version;
    char size[24];
    char text[32];

    for (size_t i = 0; i < version->group_count; i++) {
        const struct version_group *group = &version->groups[i];
        struct varve_slice name = varve_slice(group->name, group->name_len);
        fputs("group  ", stdout);
        output_bytes(stdout, name, 0);
        printf(" %s: ", databases_group(&stats->databases, name, text));
        if (group->unknown)
            puts("its count is not known");
        else
            printf("at most %" PRId64 " keys in segments\n", group->live);
    }
    for (unsigned db = 0; stats->exact && db < DATABASES_MAX; db++)
        if (stats->databases.spaces[db] != 0)
            printf("db %u   %" PRIu64 " keys, %" PRIu64 " of them with an expiry, %s\n", db,
                   stats->live.keys[db], stats->live.expiring[db],
                   output_size(stats->live.bytes[db], size));
}

static void show_text(const struct stats *stats)
{
    const struct content *content = stats->content;
    const struct recovery *log = &content->log;
    char id[2 * DIR_ID_BYTES + 1];
    char name[24];

    printf("directory %s, sequence %" PRIu64 ", of which %" PRIu64 " are in segments\n",
           dir_id_text(&content->dir->id, id), content->seq, content->version->flushed_seq);
    printf("log: %zu files, %" PRIu64 " records, %" PRIu64 " operations; %" PRIu64
           " keys and %zu range tombstones are in no segment\n",
           log->wal_count, log->records, log->ops, memtable_entry_count(content->memtable),
           memtable_range_count(content->memtable));
    if (log->dropped_bytes > 0)
        printf("log: %" PRIu64 " bytes at its end are torn and were never promised\n",
               log->dropped_bytes);
    printf("%-6s %5s %8s %10s %12s %12s %11s %7s %11s %10s\n", "level", "runs", "segments", "bytes",
           "entries", "puts", "tombstones", "ranges", "with expiry", "expired");
    for (int level = 0; level < LEVELS_MAX; level++) {
        snprintf(name, sizeof(name), "%d", level);
        if (stats->levels[level].segments > 0)
            sums_text(name, &stats->levels[level]);
    }
    sums_text("total", &stats->total);
    databases_text(stats);
}

/* ---- the command ---- */

static int stats_dir(struct stats *stats, const char *path, struct varve_err *err)
{
    const struct varve_slice all = varve_slice(NULL, 0);
    struct content content = {.dir = NULL};
    struct data_dir dir;
    int rc = dir_open_manifest(path, &dir, err);

    if (rc == 0)
        rc = content_open(&dir, &content, err);
    if (rc == 0)
        rc = databases_read(&content, &stats->databases, err);
    stats->content = &content;
    stats->live.databases = &stats->databases;
    if (rc == 0 && stats->exact) {
        progress_begin(&stats->live.progress, 0);
        rc = content_walk(&content, all, add_live, &stats->live, err);
        progress_end(&stats->live.progress);
    }
    if (rc == 0) {
        add_levels(stats);
        if (stats->as_json)
            show_json(stats);
        else
            show_text(stats);
    }
    content_close(&content);
    dir_close(&dir);
    return rc;
}

int command_stats(int argc, char **argv)
{
    static struct stats stats;
    const struct arg_option options[] = {
        {"--count", NULL, "count the live keys of each database: reads everything", &stats.exact,
         NULL},
        {"--json", NULL, "one JSON document", &stats.as_json, NULL},
    };
    const struct command_spec spec = {
        .name = "stats",
        .operands = "DIR",
        .operand_count = 1,
        .text =
            "Levels, files, bytes, keys, tombstones, expiry and count groups of a data directory.\n"
            "Reads the log and what segments say of themselves, not their data. Entries are "
            "versions\n"
            "of keys; `expired` is about how many bytes belong to what has expired by now.\n",
        .examples = "  varve stats ./data\n"
                    "  varve stats ./data --count --json | jq .databases\n",
        .options = options,
        .option_count = COUNT_OF(options),
    };
    const char *operands[ARGS_OPERANDS_MAX];
    struct varve_err err = {0};
    int code = args_parse(&spec, argc, argv, operands);

    if (code != -1)
        return code;
    if (stats_dir(&stats, operands[0], &err) != 0)
        return output_fail("stats", &err);
    return TOOL_OK;
}
