#include "thread_executor.h"

#include <stddef.h>

#include "base/thread.h"
#include "sim_disk.h"

#define SIDE_BY_SIDE 2 /* threads of a class whose jobs may run at once */

struct lane {
    struct mutex mutex;
    struct cond changed;
    struct varve_job *first; /* the next to run */
    struct varve_job **end;  /* where the next submitted goes */
    int stopping;
    int thread_count;
    struct thread threads[SIDE_BY_SIDE];
};

struct thread_executor {
    struct varve_executor api; /* first: the engine's pointer is this one */
    struct lane lanes[VARVE_JOB_CLASS_COUNT];
};

static void threads_submit(struct varve_executor *api, enum varve_job_class job_class,
                           struct varve_job *job)
{
    struct lane *lane = &((struct thread_executor *)(void *)api)->lanes[job_class];

    job->next = NULL;
    mutex_lock(&lane->mutex);
    *lane->end = job;
    lane->end = &job->next;
    cond_signal(&lane->changed);
    mutex_unlock(&lane->mutex);
}

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

struct thread_executor *thread_executor_create(void)
{
    struct thread_executor *executor = sim_alloc(sizeof(*executor));

    executor->api.submit = threads_submit;
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++) {
        struct lane *lane = &executor->lanes[i];
        mutex_init(&lane->mutex);
        cond_init(&lane->changed);
        lane->end = &lane->first;
        lane->thread_count = i == VARVE_JOB_COMPACTION || i == VARVE_JOB_READ ? SIDE_BY_SIDE : 1;
        for (int t = 0; t < lane->thread_count; t++)
            CHECK(thread_start(&lane->threads[t], "jobs", lane_run, lane) == 0);
    }
    return executor;
}

void thread_executor_destroy(struct thread_executor *executor)
{
    if (executor == NULL)
        return;
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++) {
        struct lane *lane = &executor->lanes[i];
        mutex_lock(&lane->mutex);
        lane->stopping = 1;
        cond_broadcast(&lane->changed);
        mutex_unlock(&lane->mutex);
        for (int t = 0; t < lane->thread_count; t++)
            thread_join(&lane->threads[t]);
        mutex_deinit(&lane->mutex);
        cond_deinit(&lane->changed);
    }
    sim_free(executor);
}

struct varve_executor *threads_as_executor(struct thread_executor *executor)
{
    return &executor->api;
}
