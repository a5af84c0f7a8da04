#include "salvage_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "lsm/recovery.h"

static int no_memory(struct varve_err *err)
{
    return err_set(err, VARVE_ENOMEM, "no memory for the list of files");
}

void salvage_files_deinit(struct salvage_files *files)
{
    mem_free(files->segments);
    mem_free(files->logs);
    memset(files, 0, sizeof(*files));
}

static int files_reserve(struct salvage_files *files, size_t segments, size_t logs,
                         struct varve_err *err)
{
    files->segments = mem_alloc_zero((segments + 1) * sizeof(*files->segments));
    files->logs = mem_alloc_zero((logs + 1) * sizeof(*files->logs));
    return files->segments == NULL || files->logs == NULL ? no_memory(err) : 0;
}

/* ---- by the manifest ---- */

static int ignore_operation(void *arg, uint64_t seq, const struct chunk *chunk,
                            struct varve_err *err)
{
    (void)arg;
    (void)seq;
    (void)chunk;
    (void)err;
    return 0;
}

/* Asks the engine's own recovery where the log ends. If it refuses, or leaves whole records behind that end,
 * all that is there is read: those were never promised, but may well have been acknowledged. */
static int choose_logs(const struct data_dir *dir, struct salvage_files *files,
                       struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(dir->manifest);
    struct recovery recovery = {
        .env = dir->env,
        .dir = dir->path,
        .id = dir->id,
        .manifest = dir->manifest,
        .apply = ignore_operation,
    };
    int rc = recovery_read(&recovery, &files->log_damage);

    files->log_last_seq = recovery.last_seq;
    for (size_t i = 0; rc != VARVE_ENOMEM && i < state->wal_count; i++) {
        struct salvage_log_file *log = &files->logs[files->log_count];
        log->file_no = state->wals[i].file_no;
        log->limit = state->wals[i].end != 0 ? state->wals[i].end : UINT64_MAX;
        if (rc == 0 && recovery.dropped_bytes == 0)
            log->limit = recovery.ends[i].offset; /* 0: behind the end of the log */
        files->log_count += log->limit != 0;
    }
    recovery_deinit(&recovery);
    if (rc == 0)
        files->log_damage.code = 0;
    return rc == VARVE_ENOMEM ? no_memory(err) : 0;
}

static int choose_named(const struct data_dir *dir, struct salvage_files *files,
                        struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(dir->manifest);
    int rc = files_reserve(files, state->segment_count, state->wal_count, err);

    if (rc != 0)
        return rc;
    files->flushed_seq = state->flushed_seq;
    for (size_t i = 0; i < state->segment_count; i++)
        files->segments[files->segment_count++] = state->segments[i].file_no;
    return choose_logs(dir, files, err);
}

/* Was a log begun under a later manifest than the one that was read? Then that one has lost its end. */
static int is_outdated(const struct data_dir *dir, struct varve_err *why)
{
    struct log_place read_end = manifest_read_end(dir->manifest);
    int rc = 0;

    for (size_t i = 0; rc != VARVE_ECORRUPT && i < dir->file_count; i++)
        if (dir->files[i].kind == NAME_WAL)
            rc = recovery_check_orphan(dir->env, dir->path, &dir->id, read_end,
                                       dir->files[i].file_no, why);
    return rc == VARVE_ECORRUPT;
}

/* ---- without it ---- */

static int header_id(const struct data_dir *dir, const struct dir_file *file, struct dir_id *id)
{
    char *path = name_path(dir->path, file->name);
    uint64_t file_no;
    int rc = path == NULL ? VARVE_ENOMEM
                          : file_read_header(dir->env, path, file->kind, id, &file_no, NULL);

    mem_free(path);
    return rc;
}

static int is_data(const struct dir_file *file)
{
    return file->is_file && (file->kind == NAME_WAL || file->kind == NAME_SEGMENT);
}

/* The id that most of the files have, by the vote of Boyer and Moore: one pass, and right where one of them
 * has the majority; a directory has files of one id, unless somebody copied others into it. */
static int vote_id(struct data_dir *dir)
{
    struct dir_id id;
    size_t votes = 0;
    int found = 0;

    for (size_t i = 0; i < dir->file_count; i++) {
        if (!is_data(&dir->files[i]) || header_id(dir, &dir->files[i], &id) != 0)
            continue;
        found = 1;
        if (votes == 0)
            dir->id = id;
        votes += memcmp(&id, &dir->id, sizeof(id)) == 0 || votes == 0 ? 1 : (size_t)-1;
    }
    return found;
}

static int tell_foreign(struct salvage_report *report, const struct dir_file *file)
{
    struct loss loss = {.file = file->name,
                        .what = "it belongs to another data directory, and is left out",
                        .scope = LOSS_NONE};

    return report_add(report, &loss);
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static int choose_all(const struct data_dir *dir, struct salvage_report *report,
                      struct salvage_files *files, struct varve_err *err)
{
    struct dir_id id;
    int rc = files_reserve(files, dir->file_count, dir->file_count, err);

    files->flushed_seq = SALVAGE_FLUSHED_UNKNOWN;
    for (size_t i = 0; rc == 0 && i < dir->file_count; i++) {
        const struct dir_file *file = &dir->files[i];
        if (!is_data(file))
            continue;
        /* One whose header is damaged is tried: its records say whose it is. */
        if (header_id(dir, file, &id) == 0 && memcmp(&id, &dir->id, sizeof(id)) != 0)
            rc = tell_foreign(report, file) == 0 ? 0 : no_memory(err);
        else if (file->kind == NAME_SEGMENT)
            files->segments[files->segment_count++] = file->file_no;
        else
            files->logs[files->log_count++] = (struct salvage_log_file){.file_no = file->file_no,
                                                                        .limit = UINT64_MAX};
    }
    if (rc == 0) {
        /* The number is the first member of a log file. */
        qsort(files->segments, files->segment_count, sizeof(*files->segments), by_number);
        qsort(files->logs, files->log_count, sizeof(*files->logs), by_number);
    }
    return rc;
}

static int tell_no_manifest(const struct data_dir *dir, int has_current, const char *why,
                            struct salvage_report *report)
{
    char name[NAME_MAX_BYTES] = "CURRENT";
    char what[2 * VARVE_ERR_TEXT_MAX];
    struct loss loss = {.file = name, .what = what, .scope = LOSS_BACK};

    if (has_current)
        snprintf(name, sizeof(name), "MANIFEST-%06" PRIu64, dir->manifest_no);
    snprintf(what, sizeof(what),
             "%s; every segment and log file is taken, and deleted data may come back", why);
    return report_add(report, &loss);
}

int salvage_files_choose(struct data_dir *dir, struct salvage_report *report,
                         struct salvage_files *files, struct varve_err *err)
{
    struct varve_err why = {0};
    int rc;

    memset(files, 0, sizeof(*files));
    rc = dir_read_current(dir, &why);
    int has_current = rc == 0;
    if (rc == 0)
        rc = dir_read_manifest(dir, &why);
    if (rc == VARVE_ENOMEM)
        return no_memory(err);
    if (rc == VARVE_EVERSION)
        return err_set(err, rc, "%s", why.text);
    if (rc == 0 && is_outdated(dir, &why))
        rc = VARVE_ECORRUPT;
    if (rc == 0)
        return choose_named(dir, files, err);
    if (!has_current && !vote_id(dir))
        return err_set(err, VARVE_EFOREIGN, "%s holds no segment or log file of varve's",
                       dir->path);
    if (tell_no_manifest(dir, has_current, why.text, report) != 0)
        return no_memory(err);
    return choose_all(dir, report, files, err);
}
