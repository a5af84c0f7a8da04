#include "lsm/wal_sync.h"

#include "base/err.h"
#include "base/mutant.h"

static void wal_sync_run(struct varve_job *job);

void wal_sync_init(struct wal_sync *sync, struct varve_executor *executor,
                   varve_durable_fn on_durable, void *arg)
{
    *sync = (struct wal_sync){.executor = executor, .on_durable = on_durable, .arg = arg};
    sync->job.run = wal_sync_run;
    mutex_init(&sync->mutex);
    cond_init(&sync->changed);
}

static void sync_close_full(struct wal_sync *sync)
{
    while (sync->full_count > 0)
        log_writer_close(sync->full[--sync->full_count]);
}

void wal_sync_deinit(struct wal_sync *sync)
{
    CHECK(!sync->running);
    sync_close_full(sync);
    mutex_deinit(&sync->mutex);
    cond_deinit(&sync->changed);
}

static void sync_set_durable_locked(struct wal_sync *sync, struct wal_mark durable)
{
    sync->durable = durable;
    atomic_store_explicit(&sync->durable_seq, durable.seq, memory_order_release);
    atomic_fetch_add_explicit(&sync->durable_changes, 1, memory_order_release);
}

int wal_sync_reset(struct wal_sync *sync, struct log_writer *current, struct wal_mark durable)
{
    mutex_lock(&sync->mutex);
    if (sync->running) {
        mutex_unlock(&sync->mutex);
        return 0;
    }
    sync_close_full(sync);
    sync->current = current;
    sync->written = durable;
    sync_set_durable_locked(sync, durable);
    sync->oldest_us = 0;
    sync->oldest_running_us = 0;
    atomic_store(&sync->failed, 0);
    mutex_unlock(&sync->mutex);
    return 1;
}

static uint64_t age_us(uint64_t oldest_us, uint64_t now_us)
{
    if (oldest_us == 0)
        return 0;
    return now_us > oldest_us ? now_us - oldest_us : 1;
}

uint64_t wal_sync_written(struct wal_sync *sync, struct wal_mark written, uint64_t now_us)
{
    mutex_lock(&sync->mutex);
    sync->written = written;
    if (sync->oldest_us == 0)
        sync->oldest_us = now_us == 0 ? 1 : now_us;
    uint64_t oldest = sync->oldest_running_us != 0 ? sync->oldest_running_us : sync->oldest_us;
    mutex_unlock(&sync->mutex);
    return age_us(oldest, now_us);
}

int wal_sync_rotate(struct wal_sync *sync, struct log_writer *full, struct log_writer *next)
{
    int rc = 0;

    mutex_lock(&sync->mutex);
    if (sync->full_count == WAL_UNSYNCED_FILES_MAX) {
        rc = VARVE_EFULL;
    } else {
        sync->full[sync->full_count++] = full;
        sync->current = next;
    }
    mutex_unlock(&sync->mutex);
    return rc;
}

void wal_sync_start(struct wal_sync *sync)
{
    int submit = 0;

    mutex_lock(&sync->mutex);
    if (sync->running) {
        sync->again = 1;
    } else if (sync->oldest_us != 0 && !atomic_load(&sync->failed)) {
        sync->running = 1;
        submit = 1;
    }
    mutex_unlock(&sync->mutex);
    if (submit)
        sync->executor->submit(sync->executor, VARVE_JOB_SYNC, &sync->job);
}

/* What one sync takes: all files up to `current`, as far as `target`. */
struct sync_task {
    struct log_writer *full[WAL_UNSYNCED_FILES_MAX];
    size_t full_count;
    struct log_writer *current;
    struct wal_mark target;
};

static void sync_take(struct wal_sync *sync, struct sync_task *task)
{
    mutex_lock(&sync->mutex);
    memcpy(task->full, sync->full, sync->full_count * sizeof(*sync->full));
    task->full_count = sync->full_count;
    task->current = sync->current;
    task->target = sync->written;
    sync->oldest_running_us = sync->oldest_us;
    sync->oldest_us = 0;
    sync->again = 0;
    mutex_unlock(&sync->mutex);
}

/* The files in order: a later one that is durable before an earlier one would be a hole. */
static int sync_files(const struct sync_task *task, struct varve_err *err)
{
    int rc = 0;

    if (MUTANT("skip-wal-sync"))
        return 0;
    for (size_t i = 0; rc == 0 && i < task->full_count; i++)
        rc = MUTANT("skip-full-wal-sync") ? 0 : log_writer_sync(task->full[i], err);
    if (rc == 0)
        rc = log_writer_sync(task->current, err);
    if (MUTANT("swallow-sync-error"))
        rc = 0;
    return rc;
}

/* Takes the synced files off the list (the writer may have added more behind them). */
static void sync_close_taken_locked(struct wal_sync *sync, const struct sync_task *task)
{
    for (size_t i = 0; i < task->full_count; i++)
        log_writer_close(task->full[i]);
    sync->full_count -= task->full_count;
    memmove(sync->full, sync->full + task->full_count, sync->full_count * sizeof(*sync->full));
}

/* One sync, on the calling thread, which set `running`; another one, if it is wanted, is a job's. */
static void sync_now(struct wal_sync *sync)
{
    struct sync_task task;
    struct varve_err err = {0};

    sync_take(sync, &task);
    struct varve_env *env = task.current->env;
    uint64_t started_us = env->ops->now_mono_us(env);
    int rc = sync_files(&task, &err);
    uint64_t took_us = env->ops->now_mono_us(env) - started_us;

    mutex_lock(&sync->mutex);
    sync->syncs++;
    sync->sync_us_total += took_us;
    if (took_us > sync->sync_us_max)
        sync->sync_us_max = took_us;
    if (MUTANT("durable-past-target"))
        task.target = sync->written;
    if (rc == 0) {
        sync_close_taken_locked(sync, &task);
        sync_set_durable_locked(sync, task.target);
        sync->oldest_running_us = 0;
    } else {
        sync->err = err;
        atomic_store(&sync->failed, 1);
    }
    int more = rc == 0 && sync->again && sync->oldest_us != 0;
    uint64_t durable_seq = sync->durable.seq;
    cond_broadcast(&sync->changed);
    mutex_unlock(&sync->mutex);

    sync->on_durable(sync->arg, durable_seq, rc != 0);
    if (more) {
        sync->executor->submit(sync->executor, VARVE_JOB_SYNC, &sync->job);
        return;
    }
    /* Something may have been asked for since `more` was computed; who clears `running` looks. */
    mutex_lock(&sync->mutex);
    more = rc == 0 && sync->again && sync->oldest_us != 0;
    sync->running = more;
    cond_broadcast(&sync->changed);
    mutex_unlock(&sync->mutex);
    if (more)
        sync->executor->submit(sync->executor, VARVE_JOB_SYNC, &sync->job);
}

int wal_sync_write_behind(struct wal_sync *sync, uint64_t from, uint64_t to)
{
    mutex_lock(&sync->mutex);
    int submit = !sync->running && !atomic_load(&sync->failed);
    if (submit) {
        sync->running = 1;
        sync->again = 0; /* asked of a sync that had taken all there was */
        sync->behind_from = from;
        sync->behind_to = to;
    }
    mutex_unlock(&sync->mutex);
    if (submit)
        sync->executor->submit(sync->executor, VARVE_JOB_SYNC, &sync->job);
    return submit;
}

/* `running` keeps `current` open. Returns whether a sync was asked for meanwhile, and then `running` stays. */
static int sync_write_behind(struct wal_sync *sync)
{
    mutex_lock(&sync->mutex);
    struct log_writer *current = sync->current;
    uint64_t from = sync->behind_from;
    uint64_t to = sync->behind_to;
    sync->behind_to = 0;
    mutex_unlock(&sync->mutex);
    log_writer_write_behind(current, from, to);
    mutex_lock(&sync->mutex);
    int wanted = sync->again && sync->oldest_us != 0 && !MUTANT("behind-forgets-sync");
    sync->running = wanted;
    cond_broadcast(&sync->changed);
    mutex_unlock(&sync->mutex);
    return wanted;
}

static void wal_sync_run(struct varve_job *job)
{
    struct wal_sync *sync = CONTAINER_OF(job, struct wal_sync, job);

    if (sync->behind_to == 0 || sync_write_behind(sync))
        sync_now(sync);
}

uint64_t wal_sync_age_us(struct wal_sync *sync, uint64_t now_us)
{
    mutex_lock(&sync->mutex);
    uint64_t oldest = sync->oldest_running_us != 0 ? sync->oldest_running_us : sync->oldest_us;
    mutex_unlock(&sync->mutex);
    return age_us(oldest, now_us);
}

uint64_t wal_sync_waiting_us(struct wal_sync *sync, uint64_t now_us)
{
    mutex_lock(&sync->mutex);
    uint64_t oldest = sync->oldest_us;
    mutex_unlock(&sync->mutex);
    return age_us(oldest, now_us);
}

size_t wal_sync_full_count(struct wal_sync *sync)
{
    mutex_lock(&sync->mutex);
    size_t count = sync->full_count;
    mutex_unlock(&sync->mutex);
    return count;
}

struct wal_mark wal_sync_durable(struct wal_sync *sync)
{
    mutex_lock(&sync->mutex);
    struct wal_mark durable = sync->durable;
    mutex_unlock(&sync->mutex);
    return durable;
}

int wal_sync_running(struct wal_sync *sync)
{
    mutex_lock(&sync->mutex);
    int running = sync->running;
    mutex_unlock(&sync->mutex);
    return running;
}

int wal_sync_wait(struct wal_sync *sync, uint64_t seq, struct varve_err *err)
{
    int rc = 0;

    mutex_lock(&sync->mutex);
    while (sync->durable.seq < seq && !atomic_load(&sync->failed)) {
        if (sync->running || sync->oldest_us == 0) {
            cond_wait(&sync->changed, &sync->mutex);
            continue;
        }
        sync->running = 1; /* to hand it to a thread would cost two switches more */
        mutex_unlock(&sync->mutex);
        sync_now(sync);
        mutex_lock(&sync->mutex);
    }
    if (sync->durable.seq < seq)
        rc = err_set(err, VARVE_EUNKNOWN, "the sync of the log failed: %s", sync->err.text);
    mutex_unlock(&sync->mutex);
    return rc;
}
