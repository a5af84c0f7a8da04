/* varve scan: the live keys and values at the newest sequence. */
#include <inttypes.h>
#include <string.h>

#include "args.h"
#include "base/err.h"
#include "base/mem.h"
#include "commands.h"
#include "content.h"
#include "databases.h"
#include "json.h"
#include "output.h"
#include "types/keycode.h"

struct scan {
    int raw;
    int full;
    int keys_only;
    int as_json;
    const char *prefix_text;
    struct varve_slice prefix; /* of the name, or with `raw` of the engine key */
    char *prefix_bytes;
    struct databases databases;
    struct json json;
    struct progress progress;
    uint64_t keys;
    uint64_t bytes;
};

static void show_json(struct scan *scan, const struct chunk *chunk, int db, struct varve_slice key,
                      struct varve_slice value)
{
    struct json *json = &scan->json;

    json_begin_object(json, NULL);
    if (db >= 0)
        json_number(json, "db", (uint64_t)db);
    json_bytes(json, "key", key);
    if (!scan->keys_only)
        json_bytes(json, "value", value);
    if (chunk->expire_ms != 0)
        json_number(json, "expire_ms", chunk->expire_ms);
    json_end_object(json);
}

static void show_text(const struct scan *scan, const struct chunk *chunk, int db,
                      struct varve_slice key, struct varve_slice value)
{
    if (db >= 0)
        printf("%d ", db);
    output_bytes(stdout, key, 0);
    if (!scan->keys_only) {
        fputs(" = ", stdout);
        output_bytes(stdout, value, scan->full ? 0 : OUTPUT_SHORT_BYTES);
    }
    if (chunk->expire_ms != 0)
        printf(" expires %" PRIu64, chunk->expire_ms);
    putchar('\n');
}

static int show_key(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct scan *scan = arg;
    struct varve_slice key = entry->chunk.key;
    struct varve_slice value = entry->chunk.value;
    enum value_encoding encoding;
    enum value_type type;
    unsigned db = 0;

    progress_tell(&scan->progress, "scanned", key.len + value.len);
    if (!scan->raw) {
        if (!databases_name(&scan->databases, entry->chunk.key, &db, &key))
            return err_set(err, VARVE_ECORRUPT,
                           "the key of sequence %" PRIu64 " is no name of its database",
                           entry->seq);
        if (!slice_begins_with(key, scan->prefix))
            return 0;
        if (value_decode(entry->chunk.value, &type, &encoding, &value) != 0)
            return err_set(err, VARVE_ECORRUPT, "the value of sequence %" PRIu64 " does not decode",
                           entry->seq);
    }
    scan->keys++;
    scan->bytes += key.len + value.len;
    if (scan->as_json)
        show_json(scan, &entry->chunk, scan->raw ? -1 : (int)db, key, value);
    else
        show_text(scan, &entry->chunk, scan->raw ? -1 : (int)db, key, value);
    return 0;
}

static int scan_spaces(struct scan *scan, const struct content *content, struct varve_err *err)
{
    int rc = 0;

    if (scan->raw)
        return content_walk(content, scan->prefix, show_key, scan, err);
    for (int db = 0; rc == 0 && db < DATABASES_MAX; db++) {
        struct key_prefix space;
        if (scan->databases.spaces[db] == 0)
            continue;
        key_prefix_set(&space, scan->databases.spaces[db], KEY_TAG_NAME);
        rc = content_walk(content, key_prefix_slice(&space), show_key, scan, err);
    }
    return rc;
}

static int scan_dir(struct scan *scan, const char *path, struct varve_err *err)
{
    struct data_dir dir;
    struct content content = {.dir = NULL};
    int rc = dir_open_manifest(path, &dir, err);

    if (rc == 0)
        rc = content_open(&dir, &content, err);
    if (rc == 0 && !scan->raw)
        rc = databases_read(&content, &scan->databases, err);
    if (rc == 0) {
        progress_begin(&scan->progress, 0);
        json_init(&scan->json, stdout);
        if (scan->as_json) {
            json_begin_object(&scan->json, NULL);
            json_number(&scan->json, "seq", content.seq);
            json_begin_array(&scan->json, "keys");
        }
        rc = scan_spaces(scan, &content, err);
        progress_end(&scan->progress);
        if (scan->as_json) {
            json_end_array(&scan->json);
            json_number(&scan->json, "count", scan->keys);
            json_number(&scan->json, "bytes", scan->bytes);
            json_bool(&scan->json, "complete", rc == 0);
            json_end_object(&scan->json);
        }
    }
    content_close(&content);
    dir_close(&dir);
    return rc;
}

static int take_prefix(struct scan *scan)
{
    size_t len = 0;

    if (scan->prefix_text == NULL)
        return 0;
    scan->prefix_bytes = mem_strdup(scan->prefix_text);
    if (scan->prefix_bytes == NULL || args_unescape(scan->prefix_bytes, &len) != 0) {
        fprintf(stderr, "varve scan: --prefix: a \\ is followed by \\ or by xHH\n");
        return -1;
    }
    scan->prefix = varve_slice(scan->prefix_bytes, len);
    return 0;
}

int command_scan(int argc, char **argv)
{
    struct scan scan = {.raw = 0};
    const struct arg_option options[] = {
        {"--prefix", "P", "only keys that begin with P; \\xHH and \\\\ stand for a byte", NULL,
         &scan.prefix_text},
        {"--raw", NULL, "the engine's keys and values as they are, not the server's names",
         &scan.raw, NULL},
        {"--keys-only", NULL, "no values", &scan.keys_only, NULL},
        {"--full", NULL, "values are not shortened (as with --json)", &scan.full, NULL},
        {"--json", NULL, "one JSON document; bytes that are no UTF-8 as {\"hex\": ...}",
         &scan.as_json, NULL},
    };
    const struct command_spec spec = {
        .name = "scan",
        .operands = "DIR",
        .operand_count = 1,
        .text = "Prints the live keys and values of a data directory as a server that starts now "
                "would\n"
                "show them: a line a key, DATABASE \"NAME\" = \"VALUE\" [expires MILLISECONDS], in "
                "the\n"
                "order of databases and of the names' bytes.\n",
        .examples = "  varve scan ./data\n"
                    "  varve scan ./data --prefix user: --full\n"
                    "  varve scan ./data --keys-only --json | jq '.keys[].key'\n",
        .options = options,
        .option_count = COUNT_OF(options),
    };
    const char *operands[ARGS_OPERANDS_MAX];
    struct varve_err err = {0};
    int code = args_parse(&spec, argc, argv, operands);

    if (code != -1)
        return code;
    code = take_prefix(&scan) == 0 ? TOOL_OK : TOOL_USAGE;
    if (code == TOOL_OK && scan_dir(&scan, operands[0], &err) != 0)
        code = output_fail("scan", &err);
    mem_free(scan.prefix_bytes);
    return code;
}
