/* varve dump: what is in a file, as it lies there. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "args.h"
#include "base/err.h"
#include "base/mem.h"
#include "commands.h"
#include "dump.h"
#include "segment/segment.h"

/* ---- one record ---- */

static const char *kind_name(enum chunk_kind kind)
{
    if (kind == CHUNK_PUT)
        return "put";
    return kind == CHUNK_DELETE ? "delete" : "range-delete";
}

static void entry_json(struct dump *dump, const struct entry *entry, struct varve_slice value,
                       int with_value)
{
    const struct chunk *chunk = &entry->chunk;
    struct json *json = &dump->json;

    json_begin_object(json, NULL);
    json_number(json, "seq", entry->seq);
    json_text(json, "kind", kind_name(chunk->kind));
    json_bytes(json, "key", chunk->key);
    if (chunk->kind == CHUNK_RANGE_DELETE)
        json_bytes(json, "end", value);
    else if (with_value)
        json_bytes(json, "value", value);
    if (chunk->kind == CHUNK_PUT)
        json_number(json, "value_length", chunk->value.len);
    if (chunk->expire_ms != 0)
        json_number(json, "expire_ms", chunk->expire_ms);
    if (entry->prior_unknown)
        json_bool(json, "prior_unknown", 1);
    json_end_object(json);
}

void dump_entry(struct dump *dump, const struct entry *entry, struct varve_slice value)
{
    const struct chunk *chunk = &entry->chunk;
    int with_value = chunk->kind == CHUNK_PUT && !dump->keys_only &&
                     (value.data != NULL || value.len == 0);
    size_t max = dump->full ? 0 : OUTPUT_SHORT_BYTES;

    if (dump->as_json) {
        entry_json(dump, entry, value, with_value);
        return;
    }
    printf("  %" PRIu64 " %s ", entry->seq, kind_name(chunk->kind));
    output_bytes(stdout, chunk->key, max);
    if (chunk->kind == CHUNK_RANGE_DELETE) {
        fputs(" .. ", stdout);
        output_bytes(stdout, value, max);
    } else if (with_value) {
        fputs(" = ", stdout);
        output_bytes(stdout, value, max);
    }
    if (chunk->expire_ms != 0)
        printf(" expires %" PRIu64, chunk->expire_ms);
    puts(entry->prior_unknown ? " prior unknown" : "");
}

void dump_damage(struct dump *dump, uint64_t offset, const char *what)
{
    dump->damage++;
    if (!dump->as_json) {
        printf("DAMAGED at offset %" PRIu64 ": %s\n", offset, what);
        return;
    }
    json_begin_object(&dump->json, NULL);
    json_number(&dump->json, "damaged_offset", offset);
    json_text(&dump->json, "what", what);
    json_end_object(&dump->json);
}

/* ---- files ---- */

void dump_begin_file(struct dump *dump, const char *path, const char *kind, const struct dir_id *id,
                     uint64_t file_no)
{
    char text[2 * DIR_ID_BYTES + 1];

    if (dump->as_json) {
        json_begin_object(&dump->json, NULL);
        json_text(&dump->json, "file", path);
        json_text(&dump->json, "kind", kind);
        json_number(&dump->json, "number", file_no);
        json_text(&dump->json, "directory", dir_id_text(id, text));
        return;
    }
    printf("%s: %s %" PRIu64 " of directory %s\n", path, kind, file_no, dir_id_text(id, text));
}

/* What it is, it says in its first bytes. */
static int dump_file(struct dump *dump, const char *path, struct varve_err *err)
{
    uint8_t magic[FILE_MAGIC_BYTES];
    struct varve_file *file = NULL;
    size_t got = 0;
    int rc = dump->env->ops->open(dump->env, path, VARVE_OPEN_READ, &file, err);

    if (rc == 0)
        rc = dump->env->ops->read_at(dump->env, file, magic, sizeof(magic), 0, &got, err);
    dump->env->ops->close(dump->env, file);
    if (rc != 0)
        return rc;
    if (got == sizeof(magic) && memcmp(magic, WAL_MAGIC, sizeof(magic)) == 0)
        return dump_log(dump, path, WAL_MAGIC, err);
    if (got == sizeof(magic) && memcmp(magic, MANIFEST_MAGIC, sizeof(magic)) == 0)
        return dump_log(dump, path, MANIFEST_MAGIC, err);
    if (got == sizeof(magic) && memcmp(magic, SEGMENT_MAGIC, sizeof(magic)) == 0)
        return dump_segment(dump, path, err);
    return err_set(err, VARVE_EFOREIGN, "%s: it begins like no log, manifest or segment of ours",
                   path);
}

/* Every file that is alive; one that does not read is told, and the next one comes. */
static int dump_files(struct dump *dump, const struct data_dir *dir, struct varve_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < dir->file_count; i++) {
        const struct dir_file *file = &dir->files[i];
        if (!dir_is_alive(dir, file) || file->kind == NAME_LOCK || file->kind == NAME_CURRENT)
            continue;
        char *path = name_path(dir->path, file->name);
        if (path == NULL)
            return err_set(err, VARVE_ENOMEM, "no memory for a path");
        rc = dump_file(dump, path, err);
        mem_free(path);
        if (rc == VARVE_ENOMEM || rc == 0)
            continue;
        dump_damage(dump, 0, err_text(err));
        err_clear(err);
        rc = 0;
    }
    return rc;
}

/* The directory of a file must not be a running server's either. */
static int hold_parent(const char *path, struct data_dir *dir, struct varve_err *err)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash == NULL ? mem_strdup(".")
                                 : mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int rc = parent == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a path")
                            : dir_hold(parent, dir, err);

    mem_free(parent);
    return rc;
}

static int dump_path(struct dump *dump, const char *path, struct varve_err *err)
{
    struct data_dir dir = {.lock_fd = -1};
    struct stat about;
    int is_dir;
    int rc;

    if (stat(path, &about) != 0)
        return err_set_errno(err, errno, "%s", path);
    is_dir = S_ISDIR(about.st_mode);
    rc = is_dir ? dir_open_manifest(path, &dir, err) : hold_parent(path, &dir, err);
    if (rc == 0) {
        json_init(&dump->json, stdout);
        if (dump->as_json) {
            json_begin_object(&dump->json, NULL);
            json_begin_array(&dump->json, "files");
        }
        rc = is_dir ? dump_files(dump, &dir, err) : dump_file(dump, path, err);
        if (dump->as_json) {
            json_end_array(&dump->json);
            json_number(&dump->json, "damage", dump->damage);
            json_bool(&dump->json, "complete", rc == 0);
            json_end_object(&dump->json);
        }
    }
    dir_close(&dir);
    return rc;
}

int command_dump(int argc, char **argv)
{
    struct dump dump = {.env = varve_env_posix()};
    const struct arg_option options[] = {
        {"--full", NULL, "keys and values are not shortened (as with --json)", &dump.full, NULL},
        {"--keys-only", NULL, "no values", &dump.keys_only, NULL},
        {"--json", NULL, "one JSON document; bytes that are no UTF-8 as {\"hex\": ...}",
         &dump.as_json, NULL},
    };
    const struct command_spec spec = {
        .name = "dump",
        .operands = "FILE|DIR",
        .operand_count = 1,
        .text = "Prints a log (WAL), a segment or a manifest as it lies on the disk, or of a "
                "directory all\n"
                "that are in use: offsets, records, sequences, the engine's keys and values. A "
                "line that\n"
                "begins with a number begins at that offset of the file. What does not read is "
                "said in\n"
                "its place, and the rest goes on.\n",
        .examples = "  varve dump ./data/000012.wal\n"
                    "  varve dump ./data/MANIFEST-000001\n"
                    "  varve dump ./data/000034.seg --full\n"
                    "  varve dump ./data --keys-only --json | jq '.files[].file'\n",
        .options = options,
        .option_count = COUNT_OF(options),
    };
    const char *operands[ARGS_OPERANDS_MAX];
    struct varve_err err = {0};
    int code = args_parse(&spec, argc, argv, operands);

    if (code != -1)
        return code;
    if (dump_path(&dump, operands[0], &err) != 0)
        return output_fail("dump", &err);
    return dump.damage > 0 ? TOOL_FINDINGS : TOOL_OK;
}
