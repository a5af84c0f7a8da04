/* varve verify: is every byte of a directory what was written, and do the files agree with each other? */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "base/err.h"
#include "base/mem.h"
#include "commands.h"
#include "verify.h"

/* ---- telling ---- */

static void tell(struct verify *verify, const char *severity, const char *file, int64_t offset,
                 const char *what)
{
    if (verify->as_json) {
        json_begin_object(&verify->json, NULL);
        json_text(&verify->json, "severity", severity);
        json_text(&verify->json, "file", file);
        if (offset >= 0)
            json_signed(&verify->json, "offset", offset);
        json_text(&verify->json, "what", what);
        json_end_object(&verify->json);
        return;
    }
    progress_clear(&verify->progress);
    printf("%s%s: %s\n", strcmp(severity, "note") == 0 ? "note: " : "", file, what);
}

/* The offset that the text of an error names; -1: none. */
static int64_t offset_in(const char *text)
{
    const char *at = strstr(text, "offset ");

    if (at == NULL || at[7] < '0' || at[7] > '9')
        return -1;
    return strtoll(at + 7, NULL, 10);
}

void verify_finding(struct verify *verify, const char *file, const struct varve_err *err)
{
    const char *text = err_text(err);
    char *path = name_path(verify->dir.path, file);
    size_t len = path == NULL ? 0 : strlen(path);

    verify->findings++;
    if (len > 0 && strncmp(text, path, len) == 0 && strncmp(text + len, ": ", 2) == 0)
        text += len + 2;
    tell(verify, "damage", file, offset_in(text), text);
    mem_free(path);
}

static void file_name(enum name_kind kind, uint64_t file_no, char name[NAME_MAX_BYTES])
{
    if (kind == NAME_MANIFEST)
        snprintf(name, NAME_MAX_BYTES, "MANIFEST-%06" PRIu64, file_no);
    else
        snprintf(name, NAME_MAX_BYTES, "%06" PRIu64 "%s", file_no,
                 kind == NAME_WAL ? ".wal" : ".seg");
}

void verify_finding_in(struct verify *verify, enum name_kind kind, uint64_t file_no,
                       const struct varve_err *err)
{
    char name[NAME_MAX_BYTES];

    file_name(kind, file_no, name);
    verify_finding(verify, name, err);
}

void verify_note(struct verify *verify, const char *file, const char *fmt, ...)
{
    char text[VARVE_ERR_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    verify->notes++;
    tell(verify, "note", file, offset_in(text), text);
}

void verify_count_file(struct verify *verify, enum name_kind kind, uint64_t file_no)
{
    const struct dir_file *file = dir_find(&verify->dir, kind, file_no);

    if (file == NULL)
        return;
    verify->files++;
    verify->bytes += file->size_bytes;
    verify->wals += kind == NAME_WAL;
    verify->segments += kind == NAME_SEGMENT;
    progress_tell(&verify->progress, file->name, file->size_bytes);
}

/* ---- CURRENT and the manifest ---- */

/* Whose directory it is, where CURRENT does not say it any more: the newest manifest's header. */
static int guess_identity(struct verify *verify)
{
    struct data_dir *dir = &verify->dir;

    for (size_t i = dir->file_count; i > 0; i--) {
        const struct dir_file *file = &dir->files[i - 1];
        if (file->kind != NAME_MANIFEST)
            continue;
        char *path = name_path(dir->path, file->name);
        uint64_t file_no = 0;
        int rc = path == NULL
                     ? VARVE_ENOMEM
                     : file_read_header(dir->env, path, NAME_MANIFEST, &dir->id, &file_no, NULL);
        mem_free(path);
        if (rc == 0 && file_no == file->file_no) {
            dir->manifest_no = file_no;
            verify_note(verify, file->name, "taken for the manifest, as CURRENT names none");
            return 1;
        }
    }
    return 0;
}

/* 0: the rest can be looked at. */
static int check_manifest(struct verify *verify, struct varve_err *err)
{
    struct data_dir *dir = &verify->dir;
    int rc = dir_read_current(dir, err);

    verify->files++;
    if (verify_is_ours(rc))
        return rc;
    if (rc != 0) {
        verify_finding(verify, "CURRENT", err);
        if (!guess_identity(verify))
            return rc;
        err_clear(err);
    }
    rc = dir_read_manifest(dir, err);
    verify_count_file(verify, NAME_MANIFEST, dir->manifest_no);
    if (verify_is_ours(rc))
        return rc;
    if (rc != 0)
        verify_finding_in(verify, NAME_MANIFEST, dir->manifest_no, err);
    err_clear(err);
    return 0;
}

/* ---- the manifest against the files ---- */

static void check_named_file(struct verify *verify, enum name_kind kind, uint64_t file_no,
                             const uint64_t *size_bytes)
{
    const struct manifest_state *state = manifest_state(verify->dir.manifest);
    const struct dir_file *file = dir_find(&verify->dir, kind, file_no);
    struct varve_err err = {0};

    if (file == NULL)
        err_set(&err, VARVE_ECORRUPT, "it is missing, but the manifest names it");
    else if (!file->is_file)
        err_set(&err, VARVE_ECORRUPT, "it is no regular file");
    else if (size_bytes != NULL && file->size_bytes != *size_bytes)
        err_set(&err, VARVE_ECORRUPT, "it has %" PRIu64 " bytes, the manifest says %" PRIu64,
                file->size_bytes, *size_bytes);
    if (err.code != 0)
        verify_finding_in(verify, kind, file_no, &err);
    if (file_no < state->next_file_no)
        return;
    err_set(&err, VARVE_ECORRUPT,
            "it names file %" PRIu64 ", but says that numbers from %" PRIu64 " on are not used",
            file_no, state->next_file_no);
    verify_finding_in(verify, NAME_MANIFEST, verify->dir.manifest_no, &err);
}

/* Bytes behind the last edit were being written when the server ended, and then nothing was deleted on
 * their strength. If files are missing, it was a whole edit that says why. */
static void check_manifest_end(struct verify *verify, int missing)
{
    struct log_place end = manifest_read_end(verify->dir.manifest);
    const struct dir_file *file = dir_find(&verify->dir, NAME_MANIFEST, end.file_no);
    struct varve_err err = {0};

    if (file == NULL || file->size_bytes <= end.offset)
        return;
    err_set(&err, VARVE_ECORRUPT, "offset %" PRIu64 ": %" PRIu64 " bytes that are no whole edit%s",
            end.offset, file->size_bytes - end.offset,
            missing ? ", and files do not fit the edits before it" : "");
    if (missing)
        verify_finding(verify, file->name, &err);
    else
        verify_note(verify, file->name, "%s", err.text);
}

/* A file that nobody names. A log that nobody names may tell that the manifest has lost its end. */
static int check_orphan(struct verify *verify, const struct dir_file *file, struct varve_err *err)
{
    const struct data_dir *dir = &verify->dir;
    int rc = 0;

    switch (file->kind) {
    case NAME_OTHER: verify_note(verify, file->name, "not a file of ours; left alone"); return 0;
    case NAME_CURRENT_TMP:
    case NAME_MANIFEST:
    case NAME_SEGMENT:
        verify_note(verify, file->name, "not in use; the next start removes it");
        return 0;
    case NAME_WAL: break;
    default: return 0;
    }
    rc = recovery_check_orphan(dir->env, dir->path, &dir->id, manifest_read_end(dir->manifest),
                               file->file_no, err);
    if (rc == 0) {
        verify_note(verify, file->name, "not in use; the next start reuses or removes it");
        return 0;
    }
    if (verify_is_ours(rc))
        return rc;
    if (rc == VARVE_ECORRUPT)
        verify_finding_in(verify, NAME_MANIFEST, dir->manifest_no, err);
    else
        verify_finding(verify, file->name, err);
    err_clear(err);
    return 0;
}

static int check_files(struct verify *verify, struct varve_err *err)
{
    const struct data_dir *dir = &verify->dir;
    int rc = 0;

    if (dir->manifest == NULL)
        return 0;
    const struct manifest_state *state = manifest_state(dir->manifest);
    uint64_t before = verify->findings;
    for (size_t i = 0; i < state->wal_count; i++)
        check_named_file(verify, NAME_WAL, state->wals[i].file_no, NULL);
    for (size_t i = 0; i < state->segment_count; i++)
        check_named_file(verify, NAME_SEGMENT, state->segments[i].file_no,
                         &state->segments[i].size_bytes);
    check_manifest_end(verify, verify->findings > before);
    for (size_t i = 0; rc == 0 && i < dir->file_count; i++)
        if (!dir_is_alive(dir, &dir->files[i]))
            rc = check_orphan(verify, &dir->files[i], err);
    return rc;
}

/* ---- all of it ---- */

int verify_files(struct verify *verify, struct varve_err *err)
{
    int rc = check_manifest(verify, err);

    progress_begin(&verify->progress, dir_live_bytes(&verify->dir));
    if (rc == 0)
        rc = check_files(verify, err);
    if (rc == 0)
        rc = verify_log(verify, err);
    if (rc == 0)
        rc = verify_segments(verify, err);
    progress_end(&verify->progress);
    return rc;
}

/* ---- the command ---- */

static void close_json(struct verify *verify, int complete)
{
    struct json *json = &verify->json;

    json_end_array(json);
    json_number(json, "damage", verify->findings);
    json_number(json, "notes", verify->notes);
    json_number(json, "files", verify->files);
    json_number(json, "bytes", verify->bytes);
    json_number(json, "logs", verify->wals);
    json_number(json, "records", verify->records);
    json_number(json, "operations", verify->ops);
    json_number(json, "segments", verify->segments);
    json_number(json, "entries", verify->entries);
    json_number(json, "groups", verify->groups);
    json_bool(json, "complete", complete);
    json_end_object(json);
}

static void close_text(const struct verify *verify)
{
    char size[24];

    printf("%" PRIu64 " files, %s: %" PRIu64 " logs with %" PRIu64 " records, %" PRIu64
           " segments with %" PRIu64 " entries, %" PRIu64 " groups; %" PRIu64 " findings, %" PRIu64
           " notes\n",
           verify->files, output_size(verify->bytes, size), verify->wals, verify->records,
           verify->segments, verify->entries, verify->groups, verify->findings, verify->notes);
}

static int verify_dir(struct verify *verify, const char *path, struct varve_err *err)
{
    int rc = dir_open(path, &verify->dir, err);

    if (rc != 0)
        return rc;
    if (verify->as_json) {
        json_init(&verify->json, stdout);
        json_begin_object(&verify->json, NULL);
        json_text(&verify->json, "dir", path);
        json_begin_array(&verify->json, "findings");
    }
    rc = verify_files(verify, err);
    if (verify->as_json)
        close_json(verify, rc == 0);
    else
        close_text(verify);
    dir_close(&verify->dir);
    return rc;
}

int command_verify(int argc, char **argv)
{
    struct verify verify = {.raw = 0};
    const struct arg_option options[] = {
        {"--raw", NULL, "not a server's directory: keys are in no databases", &verify.raw, NULL},
        {"--json", NULL, "one JSON document", &verify.as_json, NULL},
    };
    const struct command_spec spec = {
        .name = "verify",
        .operands = "DIR",
        .operand_count = 1,
        .text =
            "Reads every byte that counts and checks it all: CRCs of CURRENT, the manifest, logs "
            "and\n"
            "segments, down to each record; the order of keys, bounds, filters, indexes; what\n"
            "properties and the manifest say against what is there; counts of groups. Names file,\n"
            "offset and what is wrong, and goes on. Notes are harmless: files that nobody names, "
            "the\n"
            "torn end of a log that was never promised. Reads segments twice.\n",
        .examples = "  varve verify ./data\n"
                    "  varve verify /backup/monday --json | jq '.findings[]'\n",
        .options = options,
        .option_count = COUNT_OF(options),
    };
    const char *operands[ARGS_OPERANDS_MAX];
    struct varve_err err = {0};
    int code = args_parse(&spec, argc, argv, operands);

    if (code != -1)
        return code;
    if (verify_dir(&verify, operands[0], &err) != 0)
        return output_fail("verify", &err);
    return verify.findings > 0 ? TOOL_FINDINGS : TOOL_OK;
}
