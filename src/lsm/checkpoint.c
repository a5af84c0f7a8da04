#include "lsm/checkpoint.h"

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/checkpoint_dir.h"
#include "lsm/db.h"
#include "lsm/manifest_state.h"
#include "lsm/names.h"

#define MAKING_SUFFIX ".checkpoint"

struct checkpoint_request {
    struct varve_job job;
    struct varve_db *db;
    struct varve_checkpoint *checkpoint; /* the caller's */
    char *dir;
    char *parent;
    char *making;
    uint64_t wanted_seq; /* to be durable before anything is captured */
    int submitted;       /* under the mutex: its first job waits or runs */

    /* Captured. */
    struct manifest_state state;
    struct version *version; /* holds the segments */
    struct log_reader **logs;
    size_t log_count;

    struct checkpoint_dir task;

    struct varve_err err;
};

static void request_let_logs_go(struct checkpoint_request *request)
{
    while (request->log_count > 0)
        log_reader_close(request->logs[--request->log_count]);
    atomic_store(&request->db->checkpoints.holds_wals, 0);
}

static void request_let_go(struct checkpoint_request *request)
{
    request_let_logs_go(request);
    version_unref(request->version);
    request->version = NULL;
}

static void request_destroy(struct checkpoint_request *request)
{
    if (request == NULL)
        return;
    mem_free(request->logs);
    manifest_state_deinit(&request->state);
    mem_free(request->dir);
    mem_free(request->parent);
    mem_free(request->making);
    mem_free(request);
}

static char *parent_of(const char *dir)
{
    const char *slash = strrchr(dir, '/');

    if (slash == NULL)
        return mem_strdup(".");
    return mem_strndup(dir, slash == dir ? 1 : (size_t)(slash - dir));
}

static struct checkpoint_request *request_create(struct varve_db *db, const char *dir,
                                                 struct varve_checkpoint *checkpoint)
{
    struct checkpoint_request *request = mem_alloc_zero(sizeof(*request));
    size_t len = strlen(dir);

    if (request == NULL)
        return NULL;
    while (len > 1 && dir[len - 1] == '/')
        len--;
    request->db = db;
    request->checkpoint = checkpoint;
    request->dir = mem_strndup(dir, len);
    request->making = mem_alloc(len + sizeof(MAKING_SUFFIX));
    if (request->dir != NULL)
        request->parent = parent_of(request->dir);
    if (request->parent == NULL || request->making == NULL) {
        request_destroy(request);
        return NULL;
    }
    snprintf(request->making, len + sizeof(MAKING_SUFFIX), "%s%s", request->dir, MAKING_SUFFIX);
    return request;
}

/* ---- the end ---- */

/* Another one may be started from done() on; what is touched after it may be gone, but for the last
 * unlock, which a close waits for. */
static void request_end(struct checkpoint_request *request, int rc)
{
    struct varve_db *db = request->db;
    struct checkpoints *checkpoints = &db->checkpoints;
    struct varve_checkpoint *checkpoint = request->checkpoint;

    checkpoint->rc = rc;
    if (rc != 0) {
        err_wrap(&request->err, rc, "checkpoint %s", request->dir);
        checkpoint->err = request->err;
        checkpoint->seq = checkpoint->linked_bytes = checkpoint->copied_bytes = 0;
        db_log(db, 4, "%s", err_text(&request->err));
    } else {
        db_log(db, 5, "checkpoint %s holds all up to sequence %llu", request->dir,
               (unsigned long long)checkpoint->seq);
    }
    request_let_go(request); /* before another one holds its own */
    mutex_lock(&checkpoints->mutex);
    checkpoints->request = NULL;
    mutex_unlock(&checkpoints->mutex);
    request_destroy(request); /* a poke may have looked at it until now */
    checkpoint->done(checkpoint);
    mutex_lock(&checkpoints->mutex);
    checkpoints->running--;
    cond_broadcast(&checkpoints->changed);
    mutex_unlock(&checkpoints->mutex);
}

/* ---- making ---- */

static void request_plan(struct checkpoint_request *request, struct wal_mark durable)
{
    struct varve_db *db = request->db;

    request->task = (struct checkpoint_dir){
        .env = db->env,
        .from = db->dir,
        .dir = request->dir,
        .parent = request->parent,
        .making = request->making,
        .id = db->id,
        .stop = &db->stopping,
        .pacer = &db->pacer,
        .state = &request->state,
        .durable = durable,
        .manifest_no = manifest_new_file_no(db->manifest),
        .clock_ms = varve_now_ms(db),
    };
}

/* A step a job: compactions that were submitted meanwhile take turns with it, or a long copy would stop
 * them, and in the end the writer. */
static void request_make_run(struct varve_job *job)
{
    struct checkpoint_request *request = CONTAINER_OF(job, struct checkpoint_request, job);
    struct varve_executor *executor = request->db->options.executor;
    struct checkpoint_dir *task = &request->task;
    int rc = checkpoint_dir_step(task, &request->err);

    if (rc == CHECKPOINT_MORE) {
        request_let_logs_go(request);
        executor->submit(executor, VARVE_JOB_COMPACTION, job);
        return;
    }
    request->checkpoint->seq = task->durable.seq;
    request->checkpoint->linked_bytes = task->linked_bytes;
    request->checkpoint->copied_bytes = task->copied_bytes;
    request_end(request, rc);
}

/* ---- capturing ---- */

/* The files may be dropped and removed from now on, which an open file survives; that they are not
 * reused is told by holds_wals. */
static int open_logs(struct checkpoint_request *request, struct varve_err *err)
{
    struct varve_db *db = request->db;
    const struct manifest_state *state = &request->state;
    int rc = 0;

    request->logs = mem_alloc_zero((state->wal_count + 1) * sizeof(struct log_reader *));
    if (request->logs == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for the log");
    atomic_store(&db->checkpoints.holds_wals, 1);
    for (size_t i = 0; rc == 0 && i < state->wal_count; i++) {
        uint64_t file_no = state->wals[i].file_no;
        if (file_no > request->task.durable.place.file_no)
            break;
        char *path = name_wal_path(db->dir, file_no);
        rc = path == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a path")
                          : log_reader_open(db->env, path, WAL_MAGIC, &db->id, file_no, UINT64_MAX,
                                            &request->logs[i], err);
        request->log_count += rc == 0;
        mem_free(path);
    }
    return rc;
}

/* Not so while the log heals after a write that failed: a sync that began before may end behind the edit that
 * fences off what it makes durable, all of which is in the new file. */
static int state_reaches(const struct manifest_state *state, const struct wal_mark *mark)
{
    for (size_t i = 0; i < state->wal_count; i++)
        if (state->wals[i].file_no == mark->place.file_no)
            return state->wals[i].end == 0 || state->wals[i].end >= mark->place.offset;
    return mark->seq <=
           state->flushed_seq; /* its file was dropped, since segments hold all of it */
}

/* The order counts: what segments hold was durable in the log before they took effect, so that a mark
 * that is read after the version is not below it. */
static int request_capture(struct checkpoint_request *request, struct varve_err *err)
{
    struct varve_db *db = request->db;

    if (atomic_load(&db->stopping))
        return err_set(err, VARVE_EREADONLY, "the database is being closed");
    if (atomic_load(&db->space.low))
        return err_set(err, VARVE_ENOSPC, "the disk is nearly full");
    if (manifest_state_with(manifest_state(db->manifest), NULL, 0, &request->state) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a copy of the manifest");
    struct view *view = view_acquire(&db->view);
    if (!MUTANT("checkpoint-holds-nothing"))
        request->version = version_ref(view->version);
    view_release(&db->view, view);
    struct wal_mark durable = wal_sync_durable(&db->wal.sync);
    if (durable.seq < request->wanted_seq)
        return err_set(err, VARVE_EUNKNOWN, "the log could not be made durable");
    if (!state_reaches(&request->state, &durable) && !MUTANT("checkpoint-while-healing"))
        return err_set(err, VARVE_EUNKNOWN, "the log is being healed");
    request_plan(request, durable);
    int rc = open_logs(request, err);
    request->task.logs = request->logs;
    request->task.log_count = request->log_count;
    return rc;
}

static void request_capture_run(struct varve_job *job)
{
    struct checkpoint_request *request = CONTAINER_OF(job, struct checkpoint_request, job);
    struct varve_executor *executor = request->db->options.executor;
    int rc = request_capture(request, &request->err);

    if (rc != 0) {
        request_end(request, rc);
        return;
    }
    job->run = request_make_run;
    executor->submit(executor, VARVE_JOB_COMPACTION, job);
}

/* ---- from outside ---- */

void checkpoints_init(struct checkpoints *checkpoints, struct varve_db *db)
{
    *checkpoints = (struct checkpoints){.db = db};
    mutex_init(&checkpoints->mutex);
    cond_init(&checkpoints->changed);
}

void checkpoints_deinit(struct checkpoints *checkpoints)
{
    CHECK(checkpoints->running == 0 && checkpoints->request == NULL);
    mutex_deinit(&checkpoints->mutex);
    cond_deinit(&checkpoints->changed);
}

int checkpoints_are_running(const void *checkpoints)
{
    return ((const struct checkpoints *)checkpoints)->running > 0;
}

void checkpoints_poke(struct checkpoints *checkpoints)
{
    struct varve_db *db = checkpoints->db;
    struct varve_executor *executor = db->options.executor;
    struct checkpoint_request *due = NULL;

    mutex_lock(&checkpoints->mutex);
    struct checkpoint_request *request = checkpoints->request;
    if (request != NULL && !request->submitted &&
        (varve_durable_seq(db) >= request->wanted_seq || atomic_load(&db->wal.sync.failed) ||
         atomic_load(&db->stopping))) {
        request->submitted = 1;
        due = request;
    }
    mutex_unlock(&checkpoints->mutex);
    if (due != NULL)
        executor->submit(executor, VARVE_JOB_MAINTENANCE, &due->job);
}

int varve_checkpoint_start(struct varve_db *db, const char *dir,
                           struct varve_checkpoint *checkpoint, struct varve_err *err)
{
    struct checkpoints *checkpoints = &db->checkpoints;
    struct checkpoint_request *request = request_create(db, dir, checkpoint);

    if (request == NULL)
        return err_set(err, VARVE_ENOMEM, "checkpoint %s: no memory", dir);
    checkpoint->rc = 0;
    checkpoint->err = (struct varve_err){0};
    checkpoint->seq = checkpoint->linked_bytes = checkpoint->copied_bytes = 0;
    request->job.run = request_capture_run;
    request->wanted_seq = atomic_load_explicit(&db->visible_seq, memory_order_acquire);
    mutex_lock(&checkpoints->mutex);
    int busy = checkpoints->request != NULL;
    if (!busy) {
        checkpoints->request = request;
        checkpoints->running++;
    }
    mutex_unlock(&checkpoints->mutex);
    if (busy) {
        request_destroy(request);
        return err_set(err, VARVE_EFULL, "checkpoint %s: another one is being made", dir);
    }
    wal_sync_start(&db->wal.sync);
    checkpoints_poke(checkpoints);
    return 0;
}

/* ---- waiting for it ---- */

struct waiting {
    struct varve_checkpoint checkpoint;
    struct checkpoints *checkpoints;
    int ended; /* under their mutex */
};

static void waiting_done(struct varve_checkpoint *checkpoint)
{
    struct waiting *waiting = CONTAINER_OF(checkpoint, struct waiting, checkpoint);
    struct checkpoints *checkpoints = waiting->checkpoints;

    mutex_lock(&checkpoints->mutex);
    waiting->ended = 1;
    cond_broadcast(&checkpoints->changed);
    mutex_unlock(&checkpoints->mutex);
}

static int is_waiting(const void *waiting)
{
    return !((const struct waiting *)waiting)->ended;
}

int varve_checkpoint(struct varve_db *db, const char *dir, struct varve_checkpoint *checkpoint,
                     struct varve_err *err)
{
    struct waiting waiting = {.checkpoint.done = waiting_done, .checkpoints = &db->checkpoints};
    int rc = varve_checkpoint_start(db, dir, &waiting.checkpoint, err);

    if (rc != 0)
        return rc;
    db_wait(db, &db->checkpoints.mutex, &db->checkpoints.changed, is_waiting, &waiting);
    if (waiting.checkpoint.rc != 0 && err != NULL)
        *err = waiting.checkpoint.err;
    if (checkpoint != NULL)
        *checkpoint = waiting.checkpoint;
    return waiting.checkpoint.rc;
}
