#include "lsm/manifest.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/log_reader.h"
#include "lsm/log_writer.h"
#include "lsm/manifest_state.h"
#include "lsm/names.h"

/* The log of edits is written anew when it passes both: the second so that a large state is not written
 * again for each small edit. */
#define RENEW_AFTER_BYTES ((uint64_t)1024 * 1024)
#define RENEW_AFTER_STATES 4

struct manifest {
    struct varve_env *env;
    char *dir;
    struct dir_id id;
    struct manifest_state state;   /* its next_file_no is as of the last edit */
    _Atomic uint64_t next_file_no; /* jobs beside the manifest's take numbers */
    struct log_writer *log;        /* NULL: the next edit goes to a new file */
    uint64_t old_file_no;          /* in force until CURRENT is switched; 0: none */
    struct log_place read_end;
    uint64_t durable_offset;
    uint64_t whole_bytes; /* of the whole state that the log begins with */
};

/* ---- CURRENT ---- */

#define CURRENT_MAX_BYTES 256

/* Text and, behind it, " crc32c=XXXXXXXX\n". */
static size_t current_format(char out[CURRENT_MAX_BYTES], const struct dir_id *id, uint64_t file_no)
{
    char hex[2 * DIR_ID_BYTES + 1];

    for (int i = 0; i < DIR_ID_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", id->bytes[i]);
    int n = snprintf(out, CURRENT_MAX_BYTES, "varve %u %s MANIFEST-%06" PRIu64, FORMAT_VERSION, hex,
                     file_no);
    n += snprintf(out + n, CURRENT_MAX_BYTES - (size_t)n, " crc32c=%08x\n",
                  crc32c(0, out, (size_t)n));
    return (size_t)n;
}

static int current_parse(const char *text, size_t len, struct dir_id *id, uint64_t *file_no,
                         struct varve_err *err)
{
    char again[CURRENT_MAX_BYTES];
    char hex[2 * DIR_ID_BYTES + 1] = "";
    char name[NAME_MAX_BYTES] = "";
    unsigned version = 0;

    if (len < 6 || memcmp(text, "varve ", 6) != 0)
        return err_set(err, VARVE_EFOREIGN, "it is not varve's");
    if (sscanf(text, "varve %9u %32[0-9a-f] %39s", &version, hex, name) < 1)
        return err_set(err, VARVE_ECORRUPT, "it does not read as a line of ours");
    if (version != FORMAT_VERSION)
        return err_set(err, VARVE_EVERSION, "format version %u, this build reads version %u",
                       version, FORMAT_VERSION);
    for (int i = 0; i < DIR_ID_BYTES && strlen(hex) == 2 * DIR_ID_BYTES; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        id->bytes[i] = (uint8_t)byte;
    }
    /* Every byte counts: it must be what we would write. */
    if (name_parse(name, file_no) != NAME_MANIFEST || current_format(again, id, *file_no) != len ||
        (memcmp(again, text, len) != 0 && !MUTANT("skip-current-crc")))
        return err_set(err, VARVE_ECORRUPT, "its CRC or text does not match");
    return 0;
}

int current_read(struct varve_env *env, const char *dir, struct dir_id *id, uint64_t *manifest_no,
                 struct varve_err *err)
{
    char text[CURRENT_MAX_BYTES + 1];
    struct varve_file *file = NULL;
    char *path = name_path(dir, "CURRENT");
    size_t got = 0;
    int rc = VARVE_ENOMEM;

    *manifest_no = 0;
    if (path == NULL) {
        err_set(err, VARVE_ENOMEM, "read CURRENT: no memory");
        goto out;
    }
    rc = env->ops->open(env, path, VARVE_OPEN_READ, &file, err);
    if (rc == 0)
        rc = env->ops->read_at(env, file, text, CURRENT_MAX_BYTES, 0, &got, err);
    if (rc != 0)
        goto out;
    text[got] = '\0';
    rc = current_parse(text, got, id, manifest_no, err);
    if (rc != 0)
        err_wrap(err, rc, "%s", path);
out:
    env->ops->close(env, file);
    mem_free(path);
    return rc;
}

static int current_write_tmp(struct varve_env *env, const char *tmp, const struct dir_id *id,
                             uint64_t file_no, struct varve_err *err)
{
    char text[CURRENT_MAX_BYTES];
    struct varve_file *file = NULL;
    struct varve_slice part = varve_slice(text, current_format(text, id, file_no));
    int rc = env->ops->open(env, tmp, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, err);

    if (rc == 0)
        rc = env->ops->truncate(env, file, 0, err);
    if (rc == 0)
        rc = env->ops->write_at(env, file, &part, 1, 0, err);
    if (rc == 0 && !MUTANT("skip-current-sync"))
        rc = env->ops->sync(env, file, err);
    env->ops->close(env, file);
    return rc;
}

/* Temp file, sync, rename, sync of the directory: a crash leaves the old line or the new one. */
static int current_switch(struct varve_env *env, const char *dir, const struct dir_id *id,
                          uint64_t file_no, struct varve_err *err)
{
    char *path = name_path(dir, "CURRENT");
    char *tmp = name_path(dir, "CURRENT.tmp");
    int rc = VARVE_ENOMEM;

    if (path == NULL || tmp == NULL) {
        err_set(err, VARVE_ENOMEM, "switch CURRENT: no memory");
        goto out;
    }
    rc = current_write_tmp(env, tmp, id, file_no, err);
    if (rc == 0)
        rc = env->ops->rename(env, tmp, path, err);
    if (rc == 0 && !MUTANT("skip-current-dir-sync"))
        rc = env->ops->sync_dir(env, dir, err);
    if (rc != 0)
        err_wrap(err, rc, "switch CURRENT");
out:
    mem_free(path);
    mem_free(tmp);
    return rc;
}

/* ---- open, close ---- */

int manifest_create(struct varve_env *env, const char *dir, const struct dir_id *id,
                    uint64_t next_file_no, struct manifest **out, struct varve_err *err)
{
    struct manifest *manifest = mem_alloc_zero(sizeof(*manifest));

    *out = NULL;
    if (manifest != NULL)
        manifest->dir = mem_strdup(dir);
    if (manifest == NULL || manifest->dir == NULL) {
        mem_free(manifest);
        return err_set(err, VARVE_ENOMEM, "manifest: no memory");
    }
    manifest->env = env;
    manifest->id = *id;
    atomic_init(&manifest->next_file_no, next_file_no);
    *out = manifest;
    return 0;
}

struct promise_search {
    uint64_t file_no;
    uint64_t end;
    uint64_t found_at;
};

static int promise_beyond(void *arg, uint64_t offset, const struct record_header *header)
{
    struct promise_search *search = arg;

    if (header->promised.file_no != search->file_no || header->promised.offset <= search->end)
        return 0;
    search->found_at = offset;
    return VARVE_ECORRUPT;
}

/* An edit promises all before it, the first one nothing: so it belongs to the place that it promises, and
 * one of another place, whose CRCs fit, is not taken for the one that was here. */
static int is_in_place(const struct log_record *record, int is_first)
{
    uint64_t promised = is_first ? 0 : record->offset;

    return record->header.promised.offset == promised || MUTANT("edit-of-any-place");
}

/* All edits of the file. What lies behind the last valid one was being written when we stopped,
 * unless a record that follows promises it. */
static int manifest_read(struct manifest *manifest, struct log_reader *reader,
                         struct varve_err *err)
{
    struct log_record record;
    int edits = 0;
    int rc;

    while ((rc = log_reader_next(reader, &record, err)) == 0) {
        if (record.header.type == RECORD_EDIT && !is_in_place(&record, edits == 0)) {
            log_reader_seek(reader, record.offset, 0);
            break;
        }
        if (record.header.type == RECORD_EDIT)
            rc = manifest_get_edit(&manifest->state, record.payload);
        else
            rc = VARVE_ECORRUPT;
        if (rc != 0)
            return err_set(err, rc, "offset %" PRIu64 ": not an edit that can be applied",
                           record.offset);
        edits++;
    }
    if (rc < 0)
        return rc;
    struct promise_search search = {.file_no = manifest->old_file_no,
                                    .end = log_reader_offset(reader)};
    const char *why = rc == 0 ? "an edit of another place" : log_reader_why(reader);
    rc = log_reader_scan(reader, promise_beyond, &search, err);
    if (rc == VARVE_ECORRUPT || (rc == 0 && edits == 0))
        return err_set(err, VARVE_ECORRUPT, "offset %" PRIu64 ": %s, where an edit must be",
                       search.end, why);
    manifest->read_end = (struct log_place){.file_no = search.file_no, .offset = search.end};
    manifest_reserve_file_no(manifest, manifest->state.next_file_no);
    return rc;
}

int manifest_open(struct varve_env *env, const char *dir, const struct dir_id *id, uint64_t file_no,
                  struct manifest **out, struct varve_err *err)
{
    struct manifest *manifest = NULL;
    struct log_reader *reader = NULL;
    char *path = name_manifest_path(dir, file_no);
    int rc = VARVE_ENOMEM;

    *out = NULL;
    if (path == NULL) {
        err_set(err, VARVE_ENOMEM, "open manifest: no memory");
        goto out;
    }
    rc = manifest_create(env, dir, id, 1, &manifest, err);
    if (rc != 0)
        goto out;
    manifest->old_file_no = file_no;
    rc = log_reader_open(env, path, MANIFEST_MAGIC, id, file_no, UINT64_MAX, &reader, err);
    if (rc == VARVE_ENOENT)
        rc = err_set(err, VARVE_ECORRUPT, "%s is missing, but CURRENT names it", path);
    if (rc != 0)
        goto out;
    rc = manifest_read(manifest, reader, err);
    if (rc != 0)
        err_wrap(err, rc, "%s", path);
out:
    log_reader_close(reader);
    mem_free(path);
    if (rc != 0)
        manifest_close(manifest);
    else
        *out = manifest;
    return rc;
}

void manifest_close(struct manifest *manifest)
{
    if (manifest == NULL)
        return;
    log_writer_close(manifest->log);
    manifest_state_deinit(&manifest->state);
    mem_free(manifest->dir);
    mem_free(manifest);
}

const struct manifest_state *manifest_state(const struct manifest *manifest)
{
    return &manifest->state;
}

struct log_place manifest_place(const struct manifest *manifest)
{
    return (struct log_place){.file_no = manifest->old_file_no, .offset = manifest->durable_offset};
}

struct log_place manifest_read_end(const struct manifest *manifest)
{
    return manifest->read_end;
}

uint64_t manifest_new_file_no(struct manifest *manifest)
{
    return atomic_fetch_add(&manifest->next_file_no, 1);
}

void manifest_reserve_file_no(struct manifest *manifest, uint64_t next_file_no)
{
    if (atomic_load(&manifest->next_file_no) < next_file_no)
        atomic_store(&manifest->next_file_no, next_file_no);
}

void manifest_set_clock(struct manifest *manifest, uint64_t clock_ms)
{
    if (manifest->state.clock_ms < clock_ms)
        manifest->state.clock_ms = clock_ms;
}

/* ---- writing ---- */

/* One edit record, written and synced. */
static int manifest_append(struct log_writer *log, uint64_t durable_offset, const struct buf *edit,
                           struct varve_err *err)
{
    struct varve_slice part = buf_slice(edit);
    struct record_header header = {
        .type = RECORD_EDIT,
        .promised = {.file_no = log->file_no, .offset = durable_offset},
    };

    if (edit->len > MANIFEST_EDIT_MAX_BYTES)
        return err_set(err, VARVE_EFULL, "an edit of %zu bytes is too long", edit->len);
    if (log_writer_stage(log, header, &part, 1) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for an edit");
    int rc = log_writer_flush(log, err);
    if (rc == 0 && !MUTANT("skip-manifest-sync"))
        rc = log_writer_sync(log, err);
    return rc;
}

/* The state with the edits in it. The number is read last: it is above all that the edits name. */
static int manifest_next(struct manifest *manifest, const struct manifest_edit *edits, size_t count,
                         struct manifest_state *next)
{
    int rc = manifest_state_with(&manifest->state, edits, count, next);

    if (rc == 0)
        next->next_file_no = atomic_load(&manifest->next_file_no);
    return rc;
}

/* Takes *next over. */
static void manifest_adopt(struct manifest *manifest, struct manifest_state *next)
{
    manifest_state_deinit(&manifest->state);
    manifest->state = *next;
    if (MUTANT("adopt-file-number"))
        atomic_store(&manifest->next_file_no, next->next_file_no);
    *next = (struct manifest_state){0};
}

static int manifest_is_long(const struct manifest *manifest)
{
    uint64_t offset = manifest->log->offset;

    return offset > RENEW_AFTER_BYTES && offset > RENEW_AFTER_STATES * manifest->whole_bytes;
}

int manifest_apply(struct manifest *manifest, const struct manifest_edit *edits, size_t count,
                   struct varve_err *err)
{
    struct manifest_state next = {0};
    struct buf edit;
    int rc;

    if (manifest->log == NULL || manifest_is_long(manifest))
        return manifest_renew(manifest, edits, count, err);
    buf_init(&edit, 2 * MANIFEST_EDIT_MAX_BYTES);
    rc = manifest_next(manifest, edits, count, &next);
    if (rc == 0)
        rc = manifest_put_edits(&edit, &next, edits, count);
    if (rc != 0) {
        err_set(err, rc, "manifest: %s", varve_status_name(rc));
        goto out;
    }
    rc = manifest_append(manifest->log, manifest->durable_offset, &edit, err);
    if (rc != 0) {
        /* Whether that edit is on disk nobody knows: this file is never written again. */
        err_wrap(err, rc, "edit %s", manifest->log->path);
        if (MUTANT("reuse-failed-manifest"))
            goto out;
        log_writer_close(manifest->log);
        manifest->log = NULL;
        goto out;
    }
    manifest->durable_offset = manifest->log->offset;
    manifest_adopt(manifest, &next);
out:
    buf_deinit(&edit);
    manifest_state_deinit(&next);
    return rc;
}

static int manifest_write_whole(struct manifest *manifest, const struct manifest_state *state,
                                struct log_writer *log, struct varve_err *err)
{
    struct buf edit;
    int rc;

    buf_init(&edit, 2 * MANIFEST_EDIT_MAX_BYTES);
    rc = manifest_put_state(&edit, state);
    if (rc != 0)
        err_set(err, rc, "manifest: %s", varve_status_name(rc));
    if (rc == 0)
        rc = manifest_append(log, 0, &edit, err);
    if (rc == 0)
        rc = current_switch(manifest->env, manifest->dir, &manifest->id, log->file_no, err);
    buf_deinit(&edit);
    return rc;
}

static void manifest_remove_file(struct manifest *manifest, uint64_t file_no)
{
    char *path = file_no == 0 ? NULL : name_manifest_path(manifest->dir, file_no);

    if (path != NULL)
        (void)manifest->env->ops->remove(manifest->env, path, NULL); /* open() tries again */
    mem_free(path);
}

/* A file that did not come about goes, unless CURRENT may name it: tries may be many. */
static void manifest_abandon(struct manifest *manifest, uint64_t file_no)
{
    struct dir_id id;
    uint64_t named;
    int rc = current_read(manifest->env, manifest->dir, &id, &named, NULL);

    if (rc == VARVE_ENOENT || (rc == 0 && named != file_no))
        manifest_remove_file(manifest, file_no);
}

int manifest_renew(struct manifest *manifest, const struct manifest_edit *edits, size_t count,
                   struct varve_err *err)
{
    struct manifest_state next = {0};
    struct log_writer *log = NULL;
    uint64_t file_no = manifest_new_file_no(manifest);
    char *path = name_manifest_path(manifest->dir, file_no);
    int rc = VARVE_ENOMEM;

    if (path == NULL)
        goto out;
    rc = manifest_next(manifest, edits, count, &next);
    if (rc != 0)
        goto out;
    rc = log_writer_create(manifest->env, manifest->dir, path, MANIFEST_MAGIC, &manifest->id,
                           file_no, 0, NULL, &log, err);
    if (MUTANT("unlink-manifest-early"))
        manifest_remove_file(manifest, manifest->old_file_no);
    if (rc == 0)
        rc = manifest_write_whole(manifest, &next, log, err);
    if (rc != 0) {
        err_wrap(err, rc, "write %s", path);
        goto out_logged;
    }
    log_writer_close(manifest->log);
    manifest_remove_file(manifest, manifest->old_file_no);
    manifest->log = log;
    manifest->old_file_no = file_no;
    manifest->durable_offset = log->offset;
    manifest->whole_bytes = log->offset;
    manifest_adopt(manifest, &next);
    log = NULL;
out:
    if (rc != 0)
        err_set(err, rc, "new manifest: %s", varve_status_name(rc));
out_logged:
    if (log != NULL) { /* CURRENT may name it or not: neither file is written again */
        log_writer_close(log);
        log_writer_close(manifest->log);
        manifest->log = NULL;
    }
    if (rc != 0)
        manifest_abandon(manifest, file_no);
    manifest_state_deinit(&next);
    mem_free(path);
    return rc;
}
