/* The files of a checkpoint, in this order: segments, logs, manifest, CURRENT, and then the directory's
 * own name. Each step is durable before the next one relies on it, so that what a crash leaves is no
 * database, or a whole one under the temporary name, or the checkpoint.
 *
 * The log is copied byte for byte, under the numbers that its files have: its records are bound to
 * number and directory by their CRCs, and it is short beside the segments. Written anew from the memtables
 * it would need the writer to stand still, or a second reading of what it undoes. The manifest is written
 * anew, and ends each log file where its copy ends. */
#include "lsm/checkpoint_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/names.h"
#include "segment/segment.h"

#define PIECE_BYTES ((size_t)1024 * 1024)

/* ---- one file ---- */

static int copy_pieces(struct checkpoint_dir *task, struct varve_file *from, struct varve_file *to,
                       uint64_t len, struct varve_err *err)
{
    const struct varve_env_ops *ops = task->env->ops;
    size_t cap = len < PIECE_BYTES ? (size_t)len : PIECE_BYTES;
    uint8_t *piece = mem_alloc(cap + 1);
    int rc = piece == NULL ? err_set(err, VARVE_ENOMEM, "no memory to copy a file") : 0;

    for (uint64_t at = 0; rc == 0 && at < len;) {
        size_t want = len - at < cap ? (size_t)(len - at) : cap;
        size_t got = 0;
        if (atomic_load_explicit(task->stop, memory_order_relaxed)) {
            rc = err_set(err, VARVE_EREADONLY, "the database is being closed");
            break;
        }
        pacer_wait(task->pacer, want);
        rc = ops->read_at(task->env, from, piece, want, at, &got, err);
        if (rc == 0 && got < want)
            rc = err_set(err, VARVE_EIO, "it shrank while it was copied");
        struct varve_slice part = varve_slice(piece, got);
        if (rc == 0)
            rc = ops->write_at(task->env, to, &part, 1, at, err);
        if (rc == 0)
            ops->write_behind(task->env, to, at, got);
        at += got;
    }
    mem_free(piece);
    return rc;
}

/* The first len bytes of `from` as a new file, synced; its name is not. */
static int copy_file(struct checkpoint_dir *task, struct varve_file *from, const char *path,
                     uint64_t len, struct varve_err *err)
{
    const struct varve_env_ops *ops = task->env->ops;
    struct varve_file *to = NULL;
    int rc = ops->open(task->env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE | VARVE_OPEN_EXCLUSIVE,
                       &to, err);

    if (rc == 0)
        rc = copy_pieces(task, from, to, len, err);
    if (rc == 0 && !MUTANT("checkpoint-log-unsynced"))
        rc = ops->sync(task->env, to, err);
    ops->close(task->env, to);
    if (rc == 0)
        task->copied_bytes += len;
    return rc == 0 ? 0 : err_wrap(err, rc, "copy to %s", path);
}

/* ---- segments ---- */

int checkpoint_has_no_link(const struct varve_err *err)
{
    return err->os_errno == EXDEV || err->os_errno == EPERM || err->os_errno == EMLINK ||
           err->os_errno == EOPNOTSUPP;
}

/* A copy is read back and checked, as every segment is before a manifest names it. */
static int copy_segment(struct checkpoint_dir *task, const struct manifest_segment *named,
                        const char *from_path, const char *to_path, struct varve_err *err)
{
    struct varve_file *from = NULL;
    struct segment *copy = NULL;
    int rc = task->env->ops->open(task->env, from_path, VARVE_OPEN_READ, &from, err);

    if (rc == 0)
        rc = copy_file(task, from, to_path, named->size_bytes, err);
    task->env->ops->close(task->env, from);
    if (rc == 0)
        rc = segment_open(task->env, to_path, &task->id, named->file_no, NULL, &copy, err);
    if (rc == 0)
        rc = segment_verify(copy, err);
    segment_unref(copy);
    return rc;
}

static int take_segment(struct checkpoint_dir *task, const struct manifest_segment *named,
                        struct varve_err *err)
{
    struct varve_err why = {0};
    char *from = name_segment_path(task->from, named->file_no);
    char *to = name_segment_path(task->making, named->file_no);
    int rc = from == NULL || to == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a path") : 0;

    if (rc != 0)
        goto out;
    rc = task->env->ops->link(task->env, from, to, &why);
    if (rc == 0)
        task->linked_bytes += named->size_bytes;
    else if (checkpoint_has_no_link(&why))
        rc = copy_segment(task, named, from, to, err);
    else if (err != NULL)
        *err = why;
out:
    mem_free(from);
    mem_free(to);
    return rc;
}

/* ---- the log ---- */

/* Where the file ends for the checkpoint: at its seal, or where the manifest or the durable log end. All
 * before that is checked on the way. */
static int log_find_end(struct checkpoint_dir *task, size_t i, uint64_t *end, struct varve_err *err)
{
    const struct manifest_wal *wal = &task->state->wals[i];
    struct log_reader *reader = task->logs[i];
    struct log_record record;
    int sealed = 0;
    int rc = 0;

    *end = wal->end;
    if (wal->file_no == task->durable.place.file_no)
        *end = task->durable.place.offset;
    log_reader_seek(reader, FILE_HEADER_BYTES, 0);
    while (rc == 0 && !sealed && (*end == 0 || log_reader_offset(reader) < *end)) {
        rc = log_reader_next(reader, &record, err);
        sealed = rc == 0 && *end == 0 && record.header.type == RECORD_SEAL;
    }
    if (rc < 0)
        return rc;
    if (rc != 0 || (*end != 0 && log_reader_offset(reader) != *end))
        return err_set(err, VARVE_ECORRUPT,
                       "%06" PRIu64 ".wal is damaged at offset %" PRIu64 " (%s)", wal->file_no,
                       log_reader_offset(reader), rc != 0 ? log_reader_why(reader) : "its end");
    *end = log_reader_offset(reader);
    return 0;
}

static int take_log(struct checkpoint_dir *task, size_t i, uint64_t *end, struct varve_err *err)
{
    char *path = name_wal_path(task->making, task->state->wals[i].file_no);
    int rc = path == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a path")
                          : log_find_end(task, i, end, err);

    if (rc == 0)
        rc = copy_file(task, log_reader_file(task->logs[i]), path, *end, err);
    mem_free(path);
    return rc;
}

/* ---- manifest and CURRENT ---- */

static size_t plan_manifest(const struct checkpoint_dir *task, const uint64_t *ends,
                            struct manifest_edit *edits)
{
    const struct manifest_state *state = task->state;
    size_t count = 0;

    for (size_t i = 0; i < task->log_count; i++) {
        uint64_t file_no = state->wals[i].file_no;
        edits[count++] = (struct manifest_edit){.change = MANIFEST_ADD_WAL, .file_no = file_no};
        edits[count++] = (struct manifest_edit){
            .change = MANIFEST_END_WAL, .file_no = file_no, .end = ends[i]};
    }
    for (size_t i = 0; i < state->segment_count; i++) {
        const struct manifest_segment *segment = &state->segments[i];
        edits[count++] = (struct manifest_edit){.change = MANIFEST_ADD_SEGMENT,
                                                .file_no = segment->file_no,
                                                .level = segment->level,
                                                .run_no = segment->run_no,
                                                .size_bytes = segment->size_bytes};
    }
    edits[count++] = (struct manifest_edit){.change = MANIFEST_FLUSHED,
                                            .flushed_seq = state->flushed_seq};
    for (size_t i = 0; i < state->group_count; i++)
        edits[count++] = (struct manifest_edit){.change = MANIFEST_GROUP,
                                                .group = &state->groups[i]};
    return count;
}

/* Its file is made with a sync of the directory, which makes the names of segments and logs durable, too,
 * before CURRENT can name it. */
static int write_manifest(struct checkpoint_dir *task, const uint64_t *ends, struct varve_err *err)
{
    const struct manifest_state *state = task->state;
    size_t cap = 2 * task->log_count + state->segment_count + 1 + state->group_count;
    struct manifest_edit *edits = mem_alloc(cap * sizeof(*edits));
    struct manifest *manifest = NULL;
    int rc = edits == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a manifest")
                           : manifest_create(task->env, task->making, &task->id, task->manifest_no,
                                             &manifest, err);

    if (rc == 0) {
        manifest_set_clock(manifest, task->clock_ms);
        rc = manifest_renew(manifest, edits, plan_manifest(task, ends, edits), err);
    }
    manifest_close(manifest);
    mem_free(edits);
    return rc;
}

/* ---- the directory ---- */

struct sweep {
    struct varve_env *env;
    const char *dir;
    struct varve_err *err;
};

static int refuse_foreign(void *arg, const char *name)
{
    const struct sweep *sweep = arg;
    uint64_t file_no;

    if (name_parse(name, &file_no) != NAME_OTHER)
        return 0;
    return err_set(sweep->err, VARVE_EEXIST, "%s is in the way: %s is not ours", sweep->dir, name);
}

static int sweep_entry(void *arg, const char *name)
{
    const struct sweep *sweep = arg;
    char *path = name_path(sweep->dir, name);
    int rc = 0;

    if (path == NULL)
        return err_set(sweep->err, VARVE_ENOMEM, "no memory for a path");
    if (strcmp(name, "LOCK") != 0)
        rc = sweep->env->ops->remove(sweep->env, path, sweep->err);
    mem_free(path);
    return rc;
}

/* All but LOCK. CURRENT goes first, for good: what has one is whole at every moment. */
static int sweep_files(struct checkpoint_dir *task, struct varve_err *err)
{
    const struct varve_env_ops *ops = task->env->ops;
    struct sweep sweep = {.env = task->env, .dir = task->making, .err = err};
    char *current = name_path(task->making, "CURRENT");
    int rc = current == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a path")
                             : ops->remove(task->env, current, err);

    mem_free(current);
    if (rc == 0)
        rc = ops->sync_dir(task->env, task->making, err);
    else if (rc == VARVE_ENOENT)
        rc = 0;
    if (rc == 0)
        rc = ops->list_dir(task->env, task->making, sweep_entry, &sweep, err);
    return rc;
}

/* What an earlier try left is emptied. The lock tells it from what somebody is making right now. */
static int making_begin(struct checkpoint_dir *task, struct varve_lock **lock,
                        struct varve_err *err)
{
    const struct varve_env_ops *ops = task->env->ops;
    struct sweep sweep = {.env = task->env, .dir = task->making, .err = err};
    char *path = name_path(task->making, "LOCK");
    int rc = path == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a path")
                          : ops->make_dir(task->env, task->making, err);
    int left_over = rc == VARVE_EEXIST;

    if (left_over)
        rc = ops->list_dir(task->env, task->making, refuse_foreign, &sweep, err);
    if (rc == 0)
        rc = ops->lock(task->env, path, lock, err);
    if (rc == 0 && left_over)
        rc = sweep_files(task, err);
    /* Nobody else's, since it was not there, unless somebody has locked it in between. */
    if (rc != 0 && rc != VARVE_ELOCKED && !left_over && path != NULL) {
        (void)ops->remove(task->env, path, NULL);
        (void)ops->remove(task->env, task->making, NULL);
    }
    mem_free(path);
    return rc;
}

/* LOCK goes last: without it somebody else could begin among what is still to be removed. */
static void making_undo(struct checkpoint_dir *task)
{
    const struct varve_env_ops *ops = task->env->ops;
    char *lock = name_path(task->making, "LOCK");

    if (lock != NULL && sweep_files(task, NULL) == 0) {
        (void)ops->remove(task->env, lock, NULL);
        (void)ops->remove(task->env, task->making, NULL);
    }
    mem_free(lock);
}

static int stop_at_once(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return VARVE_NOT_FOUND;
}

static int target_is_free(struct checkpoint_dir *task, struct varve_err *err)
{
    struct varve_err why = {0};
    int rc = task->env->ops->list_dir(task->env, task->dir, stop_at_once, NULL, &why);

    if (rc == VARVE_ENOENT)
        return 0;
    if (rc >= 0 || why.os_errno == ENOTDIR)
        return err_set(err, VARVE_EEXIST, "%s exists already", task->dir);
    if (err != NULL)
        *err = why;
    return rc;
}

static int publish(struct checkpoint_dir *task, struct varve_err *err)
{
    const struct varve_env_ops *ops = task->env->ops;
    int rc = ops->rename(task->env, task->making, task->dir, err);

    if (rc == 0 && !MUTANT("checkpoint-name-unsynced"))
        rc = ops->sync_dir(task->env, task->parent, err);
    /* Who was told that it failed shall not find it. What is somebody else's does not move: as long as
     * `making` is there, it is in the way. */
    if (rc != 0)
        (void)ops->rename(task->env, task->dir, task->making, NULL);
    return rc;
}

/* ---- the steps ---- */

static int take_logs(struct checkpoint_dir *task, struct varve_err *err)
{
    int rc = 0;

    task->ends = mem_alloc((task->log_count + 1) * sizeof(*task->ends));
    if (task->ends == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a checkpoint");
    for (size_t i = 0; rc == 0 && i < task->log_count; i++)
        rc = take_log(task, i, &task->ends[i], err);
    return rc;
}

/* Links are made at one go; behind a copy others get their turn. */
static int take_segments(struct checkpoint_dir *task, struct varve_err *err)
{
    while (task->segments_taken < task->state->segment_count) {
        uint64_t copied_bytes = task->copied_bytes;
        int rc = take_segment(task, &task->state->segments[task->segments_taken], err);
        if (rc == 0 && atomic_load_explicit(task->stop, memory_order_relaxed))
            rc = err_set(err, VARVE_EREADONLY, "the database is being closed");
        if (rc != 0)
            return rc;
        task->segments_taken++;
        if (task->copied_bytes != copied_bytes && !MUTANT("checkpoint-gives-no-way"))
            return CHECKPOINT_MORE;
    }
    return 0;
}

int checkpoint_dir_step(struct checkpoint_dir *task, struct varve_err *err)
{
    int rc = 0;

    if (task->lock == NULL) {
        rc = target_is_free(task, err);
        if (rc == 0)
            rc = making_begin(task, &task->lock, err);
        if (rc != 0)
            goto out;
        rc = take_logs(task, err);
    }
    if (rc == 0)
        rc = take_segments(task, err);
    if (rc == CHECKPOINT_MORE)
        return rc;
    if (rc == 0)
        rc = write_manifest(task, task->ends, err);
    if (rc == 0)
        rc = publish(task, err);
    if (rc != 0)
        making_undo(task);
out:
    task->env->ops->unlock(task->env, task->lock);
    task->lock = NULL;
    mem_free(task->ends);
    task->ends = NULL;
    return rc;
}
