#include "server/executor.h"

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/thread.h"

struct lane {
    struct mutex mutex;
    struct cond changed;
    struct varve_job *first; /* the next to run */
    struct varve_job **end;  /* where the next submitted goes */
    int stopping;
    int started;
    struct thread thread;
};

struct executor {
    struct varve_executor api;
    struct lane lanes[VARVE_JOB_CLASS_COUNT];
};

static void executor_submit(struct varve_executor *api, enum varve_job_class class,
                            struct varve_job *job)
{
    struct executor *executor = CONTAINER_OF(api, struct executor, api);
    struct lane *lane = &executor->lanes[class];

    job->next = NULL;
    mutex_lock(&lane->mutex);
    *lane->end = job;
    lane->end = &job->next;
    cond_signal(&lane->changed);
    mutex_unlock(&lane->mutex);
}

/* The next job; NULL: the lane is empty and stops. */
static struct varve_job *lane_take(struct lane *lane)
{
    mutex_lock(&lane->mutex);
    while (lane->first == NULL && !lane->stopping)
        cond_wait(&lane->changed, &lane->mutex);
    struct varve_job *job = lane->first;
    if (job != NULL) {
        lane->first = job->next;
        if (lane->first == NULL)
            lane->end = &lane->first;
    }
    mutex_unlock(&lane->mutex);
    return job;
}

static void lane_run(void *arg)
{
    struct varve_job *job;

    while ((job = lane_take(arg)) != NULL)
        job->run(job);
}

int executor_start(struct executor **out, struct varve_err *err)
{
    static const char *const names[] = {"varve-sync",   "varve-maint", "varve-flush",
                                        "varve-compact", "varve-read",  "varve-reclaim"};
    _Static_assert(COUNT_OF(names) == VARVE_JOB_CLASS_COUNT, "a name a class");
    struct executor *executor = mem_alloc_zero(sizeof(*executor));
    int rc = 0;

    *out = NULL;
    if (executor == NULL)
        return err_set(err, VARVE_ENOMEM, "executor: no memory");
    executor->api.submit = executor_submit;
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++) {
        struct lane *lane = &executor->lanes[i];
        mutex_init(&lane->mutex);
        cond_init(&lane->changed);
        lane->end = &lane->first;
    }
    for (int i = 0; rc == 0 && i < VARVE_JOB_CLASS_COUNT; i++) {
        struct lane *lane = &executor->lanes[i];
        rc = thread_start(&lane->thread, names[i], lane_run, lane);
        lane->started = rc == 0;
    }
    if (rc != 0) {
        executor_stop(executor);
        return err_set(err, rc, "a thread cannot be started");
    }
    *out = executor;
    return 0;
}

void executor_stop(struct executor *executor)
{
    if (executor == NULL)
        return;
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++) {
        struct lane *lane = &executor->lanes[i];
        mutex_lock(&lane->mutex);
        lane->stopping = 1;
        cond_signal(&lane->changed);
        mutex_unlock(&lane->mutex);
        if (lane->started)
            thread_join(&lane->thread);
        mutex_deinit(&lane->mutex);
        cond_deinit(&lane->changed);
    }
    mem_free(executor);
}

struct varve_executor *executor_of(struct executor *executor)
{
    return &executor->api;
}
