#include "lsm/wal_pool.h"

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/names.h"

#define RETRY_US ((uint64_t)1000000)
#define READY_MAX 2 /* dead files that are not yet ready can go where room is short */

static void wal_pool_run(struct varve_job *job);

void wal_pool_init(struct wal_pool *pool)
{
    pool->job.run = wal_pool_run;
    mutex_init(&pool->mutex);
    cond_init(&pool->changed);
}

void wal_pool_deinit(struct wal_pool *pool)
{
    CHECK(!pool->running);
    log_writer_close(pool->unnamed);
    for (size_t i = 0; i < pool->ready_count; i++)
        log_writer_close(pool->ready[i].log);
    for (size_t i = 0; i < pool->reusable_count; i++)
        mem_free(pool->reusable[i]);
    mutex_deinit(&pool->mutex);
    cond_deinit(&pool->changed);
}

int wal_pool_take(struct wal_pool *pool, struct wal_ready *ready)
{
    int taken = 0;

    mutex_lock(&pool->mutex);
    if (pool->ready_count > 0) {
        *ready = pool->ready[0];
        pool->ready_count--;
        memmove(pool->ready, pool->ready + 1, pool->ready_count * sizeof(*pool->ready));
        taken = 1;
    }
    mutex_unlock(&pool->mutex);
    return taken;
}

/* A look without the lock: what it misses is seen at the next call. */
static int pool_is_short(const struct wal_pool *pool)
{
    size_t ready = atomic_load_explicit(&pool->ready_count, memory_order_relaxed);
    size_t dead = atomic_load_explicit(&pool->reusable_count, memory_order_relaxed);

    return ready < pool->target && ready < READY_MAX && (dead > 0 || ready == 0);
}

void wal_pool_fill(struct wal_pool *pool, uint64_t now_us)
{
    int submit = 0;

    if (LIKELY(!pool_is_short(pool)))
        return;
    mutex_lock(&pool->mutex);
    if (!pool->running && now_us >= pool->retry_us) {
        pool->running = 1;
        submit = 1;
    }
    mutex_unlock(&pool->mutex);
    if (submit)
        pool->executor->submit(pool->executor, VARVE_JOB_MAINTENANCE, &pool->job);
}

int wal_pool_reuse(struct wal_pool *pool, char *path)
{
    int kept = 0;

    mutex_lock(&pool->mutex);
    if (pool->ready_count + pool->reusable_count < pool->target) {
        pool->reusable[pool->reusable_count++] = path;
        kept = 1;
    }
    mutex_unlock(&pool->mutex);
    return kept;
}

size_t wal_pool_ready_count(struct wal_pool *pool)
{
    return atomic_load_explicit(&pool->ready_count, memory_order_relaxed);
}

size_t wal_pool_file_count(struct wal_pool *pool)
{
    return wal_pool_ready_count(pool) +
           atomic_load_explicit(&pool->reusable_count, memory_order_relaxed);
}

int wal_pool_running(struct wal_pool *pool)
{
    mutex_lock(&pool->mutex);
    int running = pool->running;
    mutex_unlock(&pool->mutex);
    return running;
}

static char *pool_take_reusable(struct wal_pool *pool)
{
    char *path = NULL;

    mutex_lock(&pool->mutex);
    if (pool->reusable_count > 0)
        path = pool->reusable[--pool->reusable_count];
    mutex_unlock(&pool->mutex);
    return path;
}

size_t wal_pool_drop_dead(struct wal_pool *pool)
{
    size_t count = 0;
    char *path;

    for (; (path = pool_take_reusable(pool)) != NULL; count++) {
        (void)pool->env->ops->remove(pool->env, path, NULL); /* open() removes what is left */
        mem_free(path);
    }
    return count;
}

/* Everything about the file is durable before the manifest may name it. */
static int pool_make_file(struct wal_pool *pool, struct log_writer **log, struct varve_err *err)
{
    uint64_t file_no = manifest_new_file_no(pool->manifest);
    char *reuse = pool_take_reusable(pool);
    char *path = name_wal_path(pool->dir, file_no);
    int rc = VARVE_ENOMEM;

    *log = NULL;
    if (path == NULL) {
        err_set(err, rc, "no memory");
        goto out;
    }
    rc = log_writer_create(pool->env, pool->dir, path, WAL_MAGIC, &pool->id, file_no,
                           pool->file_size, reuse, log, err);
    if (rc == 0 && !MUTANT("skip-new-wal-sync"))
        rc = log_writer_sync(*log, err);
    if (rc != 0) {
        log_writer_close(*log);
        *log = NULL;
        (void)pool->env->ops->remove(pool->env, path, NULL); /* open() removes what is left */
    }
out:
    mem_free(reuse);
    mem_free(path);
    return rc;
}

/* The edit that names the file is durable before the writer may have it. A file whose edit failed may be
 * named or not: it stays, and is the next one to be named, so that they don't pile up. */
int wal_pool_make(struct wal_pool *pool, struct wal_ready *ready, struct varve_err *err)
{
    struct log_writer *log = pool->unnamed;
    int rc = log != NULL ? 0 : pool_make_file(pool, &log, err);

    *ready = (struct wal_ready){0};
    if (rc != 0)
        return rc;
    struct manifest_edit edit = {.change = MANIFEST_ADD_WAL, .file_no = log->file_no};
    rc = manifest_apply(pool->manifest, &edit, 1, err);
    pool->unnamed = rc == 0 ? NULL : log;
    if (rc == 0)
        *ready = (struct wal_ready){.log = log, .manifest = manifest_place(pool->manifest)};
    return rc;
}

static void pool_complain(struct wal_pool *pool, const struct varve_err *err)
{
    char line[VARVE_ERR_TEXT_MAX + 64];

    if (pool->on_log == NULL)
        return;
    snprintf(line, sizeof(line), "a WAL file could not be made ready: %s", err_text(err));
    pool->on_log(pool->arg, 4, line);
}

/* One file a run, so that other maintenance gets its turn between two. */
static void wal_pool_run(struct varve_job *job)
{
    struct wal_pool *pool = CONTAINER_OF(job, struct wal_pool, job);
    struct wal_ready ready;
    struct varve_err err = {0};
    int rc = wal_pool_make(pool, &ready, &err);

    if (rc != 0)
        pool_complain(pool, &err);
    mutex_lock(&pool->mutex);
    if (rc == 0)
        pool->ready[pool->ready_count++] = ready;
    else
        pool->retry_us = pool->env->ops->now_mono_us(pool->env) + RETRY_US;
    pool->running = 0;
    cond_broadcast(&pool->changed);
    mutex_unlock(&pool->mutex);
}
