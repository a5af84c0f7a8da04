#include "step_executor.h"

#include "base/check.h"
#include "base/rng.h"
#include "base/thread.h"
#include "sim_disk.h"

struct queue {
    struct varve_job *first;
    struct varve_job *last;
    size_t count;
};

struct step_executor {
    struct varve_executor executor; /* first: the engine's pointer is this one */
    struct mutex mutex;
    struct rng rng;
    struct queue queues[VARVE_JOB_CLASS_COUNT];
    size_t waiting; /* in all queues */
};

static void step_submit(struct varve_executor *executor, enum varve_job_class job_class,
                        struct varve_job *job)
{
    struct step_executor *stepper = (struct step_executor *)(void *)executor;
    struct queue *queue = &stepper->queues[job_class];

    CHECK(job_class < VARVE_JOB_CLASS_COUNT);
    mutex_lock(&stepper->mutex);
    job->next = NULL;
    if (queue->last != NULL)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
    queue->count++;
    stepper->waiting++;
    mutex_unlock(&stepper->mutex);
}

static struct varve_job *pop_locked(struct step_executor *stepper, enum varve_job_class job_class)
{
    struct queue *queue = &stepper->queues[job_class];
    struct varve_job *job = queue->first;

    if (job == NULL)
        return NULL;
    queue->first = job->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->count--;
    stepper->waiting--;
    return job;
}

int step_run_class(struct step_executor *stepper, enum varve_job_class job_class)
{
    struct varve_job *job;

    mutex_lock(&stepper->mutex);
    job = pop_locked(stepper, job_class);
    mutex_unlock(&stepper->mutex);
    if (job == NULL)
        return 0;
    job->run(job); /* unlocked: it may submit */
    return 1;
}

int step_run_one(struct step_executor *stepper)
{
    enum varve_job_class waiting[VARVE_JOB_CLASS_COUNT];
    struct varve_job *job = NULL;
    size_t count = 0;

    mutex_lock(&stepper->mutex);
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++)
        if (stepper->queues[i].count > 0)
            waiting[count++] = (enum varve_job_class)i;
    if (count > 0)
        job = pop_locked(stepper, waiting[rng_below(&stepper->rng, count)]);
    mutex_unlock(&stepper->mutex);
    if (job == NULL)
        return 0;
    job->run(job);
    return 1;
}

static void step_help(struct varve_executor *executor)
{
    step_run_one((struct step_executor *)(void *)executor);
}

size_t step_run_all(struct step_executor *stepper, size_t max)
{
    size_t ran = 0;

    while (ran < max && step_run_one(stepper))
        ran++;
    return ran;
}

size_t step_waiting(struct step_executor *stepper, enum varve_job_class job_class)
{
    size_t count;

    mutex_lock(&stepper->mutex);
    count = stepper->queues[job_class].count;
    mutex_unlock(&stepper->mutex);
    return count;
}

size_t step_drop_all(struct step_executor *stepper)
{
    size_t dropped;

    mutex_lock(&stepper->mutex);
    dropped = stepper->waiting;
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++)
        stepper->queues[i] = (struct queue){0};
    stepper->waiting = 0;
    mutex_unlock(&stepper->mutex);
    return dropped;
}

struct step_executor *step_executor_create(uint64_t seed)
{
    struct step_executor *stepper = sim_alloc(sizeof(*stepper));

    stepper->executor.submit = step_submit;
    stepper->executor.help = step_help;
    mutex_init(&stepper->mutex);
    rng_init(&stepper->rng, seed);
    return stepper;
}

void step_executor_destroy(struct step_executor *stepper)
{
    if (stepper == NULL)
        return;
    CHECK(stepper->waiting == 0);
    mutex_deinit(&stepper->mutex);
    sim_free(stepper);
}

struct varve_executor *step_as_executor(struct step_executor *stepper)
{
    return &stepper->executor;
}
