/* The executor with threads: a queue and threads a job class, so that a slow maintenance job
 * never delays a sync of the log, and a compaction no read.
 *
 * Who submits wakes a thread only where nothing was waiting yet; a thread that takes a job and leaves others wakes
 * the next one. So while jobs wait, a thread that sleeps was woken or will be, and a loop that submits
 * many in one turn pays for one wake-up.
 *
 * Reads are more often on their way from the disk already than not, and then one thread that waits for them in turn does as
 * much as many, for a fraction of the wake-ups. So while one is at work on them, the next one that is woken watches:
 * it looks again after WATCH_US, and helps where the jobs are not getting on (src/decisions/0037). */
#include <stddef.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/thread.h"
#include "varve/executor.h"

#define COMPACTION_NICE 5
#define COMPACTION_THREADS_DEFAULT 1
#define READ_THREADS_DEFAULT 4
#define WATCH_US 1000
#define GETTING_ON 16 /* jobs a thread between two looks: fewer wait for the disk */

struct lane {
    struct mutex mutex;
    struct cond changed;     /* for those that are idle */
    struct cond watch;       /* for the one that watches */
    struct varve_job *first; /* the next to run */
    struct varve_job **end;  /* where the next submitted goes */
    int stopping;
    int nice;          /* of its threads, on top of the process's */
    uint64_t watch_us; /* 0: each job that waits wakes a thread */
    int watched;       /* a thread watches */
    uint32_t idle;     /* threads that sleep until they are called */
    uint32_t busy;     /* threads that run a job */
    uint64_t begun;    /* jobs, ever */
    uint32_t started;
    struct thread threads[VARVE_EXECUTOR_THREADS_MAX];
};

struct executor {
    struct varve_executor api;
    struct lane lanes[VARVE_JOB_CLASS_COUNT];
};

/* Jobs wait: wakes a thread unless those that are awake will do. The one that watches is left alone if it can be:
 * were it to run jobs, another would have to be woken to watch. The lane is locked. */
static void lane_call(struct lane *lane)
{
    if (lane->watch_us == 0 || !lane->watched || (lane->busy == 0 && lane->idle > 0))
        cond_signal(&lane->changed);
    else if (lane->busy == 0)
        cond_signal(&lane->watch);
}

static void executor_submit(struct varve_executor *api, enum varve_job_class job_class,
                            struct varve_job *job)
{
    struct executor *executor = CONTAINER_OF(api, struct executor, api);
    struct lane *lane = &executor->lanes[job_class];

    job->next = NULL;
    mutex_lock(&lane->mutex);
    int is_first = lane->first == NULL;
    *lane->end = job;
    lane->end = &job->next;
    if (is_first)
        lane_call(lane);
    mutex_unlock(&lane->mutex);
}

/* Sleeps until it is time to look. 1: the jobs that wait need help. */
static int lane_watch(struct lane *lane, int *active)
{
    uint64_t begun = lane->begun;

    lane->watched = 1;
    int called = cond_wait_for(&lane->watch, &lane->mutex, lane->watch_us);
    lane->watched = 0;
    if (called)
        return 0;
    *active = lane->begun != begun;
    return lane->first != NULL && lane->begun - begun < (uint64_t)GETTING_ON * lane->busy &&
           !MUTANT("executor-only-watches");
}

/* Until there is a job for this thread, or the lane stops. */
static void lane_sleep(struct lane *lane)
{
    int active = 0; /* jobs ran while it watched */

    for (;;) {
        int waits = lane->first != NULL;
        if (lane->stopping || (waits && (lane->watch_us == 0 || lane->busy == 0)))
            return;
        if ((waits || active) && !lane->watched) {
            if (lane_watch(lane, &active))
                return;
        } else {
            lane->idle++;
            cond_wait(&lane->changed, &lane->mutex);
            lane->idle--;
            active = 0;
        }
    }
}

/* The next job; NULL: there is none, and the lane stops. The lane is locked. */
static struct varve_job *lane_take(struct lane *lane)
{
    if (lane->first == NULL)
        lane_sleep(lane);
    struct varve_job *job = lane->first;
    if (job == NULL)
        return NULL;
    lane->begun++;
    lane->busy++;
    lane->first = job->next;
    if (lane->first == NULL)
        lane->end = &lane->first;
    else if (!MUTANT("executor-wakes-one"))
        lane_call(lane);
    return job;
}

static void lane_run(void *arg)
{
    struct lane *lane = arg;
    struct varve_job *job;

    /* On Linux it is the calling thread's alone; where it is not to be had, nothing is lost. */
    if (lane->nice != 0)
        (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + lane->nice);
    thread_take_short_turns();
    mutex_lock(&lane->mutex);
    while ((job = lane_take(lane)) != NULL) {
        mutex_unlock(&lane->mutex);
        job->run(job);
        mutex_lock(&lane->mutex);
        lane->busy--;
    }
    mutex_unlock(&lane->mutex);
}

static int lane_start(struct lane *lane, const char *name, uint32_t count)
{
    int rc = 0;

    while (rc == 0 && lane->started < count) {
        rc = thread_start(&lane->threads[lane->started], name, lane_run, lane);
        lane->started += rc == 0;
    }
    return rc;
}

/* What compactions and flushes leave behind goes to maintenance and reclaim: those end after
 * them. A job that a lane gets after its end would never run. */
static const enum varve_job_class stop_order[] = {
    VARVE_JOB_READ, VARVE_JOB_COMPACTION,  VARVE_JOB_FLUSH,
    VARVE_JOB_SYNC, VARVE_JOB_MAINTENANCE, VARVE_JOB_RECLAIM,
};
_Static_assert(COUNT_OF(stop_order) == VARVE_JOB_CLASS_COUNT, "every class is stopped");

static void executor_stop(struct executor *executor)
{
    for (size_t i = 0; i < COUNT_OF(stop_order); i++) {
        struct lane *lane = &executor->lanes[stop_order[i]];
        mutex_lock(&lane->mutex);
        lane->stopping = 1;
        cond_broadcast(&lane->changed);
        cond_broadcast(&lane->watch);
        mutex_unlock(&lane->mutex);
        for (uint32_t t = 0; t < lane->started; t++)
            thread_join(&lane->threads[t]);
    }
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++) {
        mutex_deinit(&executor->lanes[i].mutex);
        cond_deinit(&executor->lanes[i].changed);
        cond_deinit(&executor->lanes[i].watch);
    }
    mem_free(executor);
}

static struct varve_executor_threads threads_default(const struct varve_executor_threads *asked)
{
    struct varve_executor_threads threads = {0};

    if (asked != NULL)
        threads = *asked;
    if (threads.compaction == 0)
        threads.compaction = COMPACTION_THREADS_DEFAULT;
    if (threads.read == 0)
        threads.read = READ_THREADS_DEFAULT;
    return threads;
}

int varve_executor_threads_create(const struct varve_executor_threads *asked,
                                  struct varve_executor **out, struct varve_err *err)
{
    static const char *const names[] = {"varve-sync",    "varve-maint", "varve-flush",
                                        "varve-compact", "varve-read",  "varve-reclaim"};
    _Static_assert(COUNT_OF(names) == VARVE_JOB_CLASS_COUNT, "a name a class");
    struct varve_executor_threads threads = threads_default(asked);
    int rc = 0;

    *out = NULL;
    if (threads.compaction > VARVE_EXECUTOR_THREADS_MAX ||
        threads.read > VARVE_EXECUTOR_THREADS_MAX)
        return err_set(err, VARVE_EINVAL, "executor: more than %d threads of a class",
                       VARVE_EXECUTOR_THREADS_MAX);
    struct executor *executor = mem_alloc_zero(sizeof(*executor));
    if (executor == NULL)
        return err_set(err, VARVE_ENOMEM, "executor: no memory");
    executor->api.submit = executor_submit;
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++) {
        struct lane *lane = &executor->lanes[i];
        mutex_init(&lane->mutex);
        cond_init(&lane->changed);
        cond_init(&lane->watch);
        lane->end = &lane->first;
    }
    executor->lanes[VARVE_JOB_COMPACTION].nice = COMPACTION_NICE;
    executor->lanes[VARVE_JOB_READ].watch_us = WATCH_US;
    for (int i = 0; rc == 0 && i < VARVE_JOB_CLASS_COUNT; i++)
        rc = lane_start(&executor->lanes[i], names[i],
                        i == VARVE_JOB_COMPACTION ? threads.compaction
                        : i == VARVE_JOB_READ     ? threads.read
                                                  : 1);
    if (rc != 0) {
        executor_stop(executor);
        return err_set(err, rc, "executor: a thread cannot be started");
    }
    *out = &executor->api;
    return 0;
}

void varve_executor_threads_destroy(struct varve_executor *executor)
{
    if (executor != NULL)
        executor_stop(CONTAINER_OF(executor, struct executor, api));
}
