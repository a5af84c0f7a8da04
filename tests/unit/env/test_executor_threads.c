/* The executor: order within a class, no waiting between classes, threads a class, everything run before it stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/thread.h"
#include "varve/executor.h"

#define JOBS 1000

static const struct varve_executor_threads threads = {.compaction = 2, .read = 3};

struct numbered_job {
    struct varve_job job;
    int number;
};

static int order[JOBS];
static _Atomic int ran;

static void note_number(struct varve_job *job)
{
    order[atomic_fetch_add(&ran, 1)] = CONTAINER_OF(job, struct numbered_job, job)->number;
}

/* Of one thread. */
static void run_in_order(enum varve_job_class job_class, struct varve_executor_threads with)
{
    static struct numbered_job jobs[JOBS];
    struct varve_executor *executor;
    struct varve_err err;

    atomic_store(&ran, 0);
    assert_int_equal(varve_executor_threads_create(&with, &executor, &err), 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct numbered_job){.job = {.run = note_number}, .number = i};
        executor->submit(executor, job_class, &jobs[i].job);
    }
    varve_executor_threads_destroy(executor);
    assert_int_equal(atomic_load(&ran), JOBS);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(order[i], i);
}

static void test_jobs_of_a_class__run_in_order_and_all_of_them(void **state)
{
    (void)state;
    run_in_order(VARVE_JOB_SYNC, threads);
    run_in_order(VARVE_JOB_READ, (struct varve_executor_threads){.read = 1});
}

struct gate {
    struct varve_job job;
    struct mutex mutex;
    struct cond changed;
    int entered;
    int open;
};

static void wait_at_gate(struct varve_job *job)
{
    struct gate *gate = CONTAINER_OF(job, struct gate, job);

    mutex_lock(&gate->mutex);
    gate->entered = 1;
    cond_broadcast(&gate->changed);
    while (!gate->open)
        cond_wait(&gate->changed, &gate->mutex);
    mutex_unlock(&gate->mutex);
}

static void gate_init(struct gate *gate)
{
    *gate = (struct gate){.job = {.run = wait_at_gate}};
    mutex_init(&gate->mutex);
    cond_init(&gate->changed);
}

static void gate_wait_entered(struct gate *gate)
{
    mutex_lock(&gate->mutex);
    while (!gate->entered)
        cond_wait(&gate->changed, &gate->mutex);
    mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate)
{
    mutex_lock(&gate->mutex);
    gate->open = 1;
    cond_broadcast(&gate->changed);
    mutex_unlock(&gate->mutex);
}

static void test_slow_maintenance__does_not_hold_up_a_sync(void **state)
{
    struct varve_executor *executor;
    struct varve_err err;
    struct gate slow;
    struct gate sync;

    (void)state;
    gate_init(&slow);
    gate_init(&sync);
    assert_int_equal(varve_executor_threads_create(&threads, &executor, &err), 0);
    executor->submit(executor, VARVE_JOB_MAINTENANCE, &slow.job);
    gate_wait_entered(&slow);
    executor->submit(executor, VARVE_JOB_SYNC, &sync.job);
    gate_wait_entered(&sync); /* would wait for ever if the classes shared a thread */
    gate_open(&sync);
    gate_open(&slow);
    varve_executor_threads_destroy(executor);
    mutex_deinit(&slow.mutex);
    mutex_deinit(&sync.mutex);
    cond_deinit(&slow.changed);
    cond_deinit(&sync.changed);
}

struct again_job {
    struct varve_job job;
    struct varve_executor *executor;
    int left;
};

static void submit_again(struct varve_job *job)
{
    struct again_job *again = CONTAINER_OF(job, struct again_job, job);

    if (--again->left > 0)
        again->executor->submit(again->executor, VARVE_JOB_SYNC, job);
}

static void test_job__may_submit_itself_anew(void **state)
{
    struct varve_executor *executor;
    struct varve_err err;

    (void)state;
    assert_int_equal(varve_executor_threads_create(&threads, &executor, &err), 0);
    struct again_job again = {.job = {.run = submit_again}, .executor = executor, .left = 100};
    again.executor->submit(again.executor, VARVE_JOB_SYNC, &again.job);
    varve_executor_threads_destroy(executor);
    assert_int_equal(again.left, 0);
}

/* Would wait for ever if a class had fewer threads than it was given. */
static void fill_class(enum varve_job_class job_class, uint32_t count)
{
    struct varve_executor *executor;
    struct varve_err err;
    struct gate gates[4];

    assert_in_range(count, 1, COUNT_OF(gates));
    assert_int_equal(varve_executor_threads_create(&threads, &executor, &err), 0);
    for (uint32_t i = 0; i < count; i++) {
        gate_init(&gates[i]);
        executor->submit(executor, job_class, &gates[i].job);
    }
    for (uint32_t i = 0; i < count; i++)
        gate_wait_entered(&gates[i]);
    for (uint32_t i = 0; i < count; i++)
        gate_open(&gates[i]);
    varve_executor_threads_destroy(executor);
    for (uint32_t i = 0; i < count; i++) {
        mutex_deinit(&gates[i].mutex);
        cond_deinit(&gates[i].changed);
    }
}

static void test_reads_and_compactions__run_side_by_side(void **state)
{
    (void)state;
    fill_class(VARVE_JOB_READ, threads.read);
    fill_class(VARVE_JOB_COMPACTION, threads.compaction);
}

/* Jobs of which each ends when all of its round have begun. */
struct meeting {
    struct mutex mutex;
    struct cond changed;
    uint32_t begun;
};

struct meeting_job {
    struct varve_job job;
    struct meeting *meeting;
};

static void meet(struct varve_job *job)
{
    struct meeting *meeting = CONTAINER_OF(job, struct meeting_job, job)->meeting;
    uint32_t round;

    mutex_lock(&meeting->mutex);
    round = meeting->begun++ / threads.read;
    cond_broadcast(&meeting->changed);
    while (meeting->begun < (round + 1) * threads.read)
        cond_wait(&meeting->changed, &meeting->mutex);
    mutex_unlock(&meeting->mutex);
}

/* Would wait for ever if what is submitted before the first thread looked did not wake the others. */
static void test_jobs_submitted_at_once__wake_a_thread_each(void **state)
{
    static struct meeting_job jobs[JOBS];
    struct varve_executor *executor;
    struct varve_err err;
    struct meeting meeting = {0};

    (void)state;
    mutex_init(&meeting.mutex);
    cond_init(&meeting.changed);
    assert_int_equal(varve_executor_threads_create(&threads, &executor, &err), 0);
    for (uint32_t i = 0; i + threads.read <= JOBS; i += threads.read) {
        for (uint32_t j = i; j < i + threads.read; j++) {
            jobs[j] = (struct meeting_job){.job = {.run = meet}, .meeting = &meeting};
            executor->submit(executor, VARVE_JOB_READ, &jobs[j].job);
        }
        mutex_lock(&meeting.mutex);
        while (meeting.begun < i + threads.read)
            cond_wait(&meeting.changed, &meeting.mutex);
        mutex_unlock(&meeting.mutex);
    }
    varve_executor_threads_destroy(executor);
    mutex_deinit(&meeting.mutex);
    cond_deinit(&meeting.changed);
}

struct nice_job {
    struct varve_job job;
    int nice;
};

static void note_nice(struct varve_job *job)
{
    CONTAINER_OF(job, struct nice_job, job)->nice = getpriority(PRIO_PROCESS, 0);
}

static void test_compaction__runs_below_the_others(void **state)
{
    struct varve_executor *executor;
    struct varve_err err;
    struct nice_job compaction = {.job = {.run = note_nice}};
    struct nice_job read = {.job = {.run = note_nice}};
    int before = getpriority(PRIO_PROCESS, 0);

    (void)state;
    assert_int_equal(varve_executor_threads_create(&threads, &executor, &err), 0);
    executor->submit(executor, VARVE_JOB_COMPACTION, &compaction.job);
    executor->submit(executor, VARVE_JOB_READ, &read.job);
    varve_executor_threads_destroy(executor);
    assert_int_equal(read.nice, before);
    assert_true(compaction.nice > before || before == 19);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
}

struct chain_job {
    struct varve_job job;
    struct varve_executor *executor;
    struct chain_job *behind;
    enum varve_job_class job_class; /* of the one behind */
    int ran;
};

static void submit_behind(struct varve_job *job)
{
    struct chain_job *chain = CONTAINER_OF(job, struct chain_job, job);

    chain->ran = 1;
    if (chain->behind != NULL)
        chain->executor->submit(chain->executor, chain->job_class, &chain->behind->job);
}

/* A compaction that ends while the executor stops leaves an edit of the manifest, and that a free. */
static void test_stop__runs_what_running_jobs_leave_behind(void **state)
{
    struct varve_executor *executor;
    struct varve_err err;

    (void)state;
    assert_int_equal(varve_executor_threads_create(&threads, &executor, &err), 0);
    struct chain_job reclaim = {.job = {.run = submit_behind}};
    struct chain_job edit = {.job = {.run = submit_behind},
                             .executor = executor,
                             .behind = &reclaim,
                             .job_class = VARVE_JOB_RECLAIM};
    struct chain_job compaction = {.job = {.run = submit_behind},
                                   .executor = executor,
                                   .behind = &edit,
                                   .job_class = VARVE_JOB_MAINTENANCE};
    executor->submit(executor, VARVE_JOB_COMPACTION, &compaction.job);
    varve_executor_threads_destroy(executor);
    assert_true(compaction.ran && edit.ran && reclaim.ran);
}

static void test_create__defaults_and_bounds(void **state)
{
    struct varve_executor_threads many = {.read = VARVE_EXECUTOR_THREADS_MAX + 1};
    struct varve_executor *executor;
    struct varve_err err = {0};

    (void)state;
    assert_int_equal(varve_executor_threads_create(NULL, &executor, &err), 0);
    assert_null(executor->help);
    varve_executor_threads_destroy(executor);
    assert_int_equal(varve_executor_threads_create(&many, &executor, &err), VARVE_EINVAL);
    assert_null(executor);
    assert_non_null(strstr(err.text, "64"));
    varve_executor_threads_destroy(NULL);
}

/* Threads that were started before one could not be are ended again. */
static void test_create__without_memory_leaves_nothing(void **state)
{
    struct varve_executor *executor = NULL;
    struct varve_err err;
    int rc = -1;
    int failures = -1;

    (void)state;
    for (uint64_t nth = 1; rc != 0; nth++, failures++) {
        mem_fail_nth(nth, 0);
        rc = varve_executor_threads_create(&threads, &executor, &err);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || rc == VARVE_ENOMEM);
        assert_true((rc == 0) == (executor != NULL));
    }
    assert_int_equal(failures, 1 + 4 + threads.compaction + threads.read);
    varve_executor_threads_destroy(executor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_of_a_class__run_in_order_and_all_of_them),
        cmocka_unit_test(test_slow_maintenance__does_not_hold_up_a_sync),
        cmocka_unit_test(test_job__may_submit_itself_anew),
        cmocka_unit_test(test_reads_and_compactions__run_side_by_side),
        cmocka_unit_test(test_jobs_submitted_at_once__wake_a_thread_each),
        cmocka_unit_test(test_compaction__runs_below_the_others),
        cmocka_unit_test(test_stop__runs_what_running_jobs_leave_behind),
        cmocka_unit_test(test_create__defaults_and_bounds),
        cmocka_unit_test(test_create__without_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
