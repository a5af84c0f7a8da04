/* The executor: order within a class, no waiting between classes, everything run before it stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/thread.h"
#include "server/executor.h"

#define JOBS 1000

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

static void test_jobs_of_a_class__run_in_order_and_all_of_them(void **state)
{
    static struct numbered_job jobs[JOBS];
    struct executor *executor;
    struct varve_err err;

    (void)state;
    atomic_store(&ran, 0);
    assert_int_equal(executor_start(&executor, &err), 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct numbered_job){.job = {.run = note_number}, .number = i};
        executor_of(executor)->submit(executor_of(executor), VARVE_JOB_SYNC, &jobs[i].job);
    }
    executor_stop(executor);
    assert_int_equal(atomic_load(&ran), JOBS);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(order[i], i);
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
    struct executor *executor;
    struct varve_err err;
    struct gate slow;
    struct gate sync;

    (void)state;
    gate_init(&slow);
    gate_init(&sync);
    assert_int_equal(executor_start(&executor, &err), 0);
    struct varve_executor *api = executor_of(executor);
    api->submit(api, VARVE_JOB_MAINTENANCE, &slow.job);
    gate_wait_entered(&slow);
    api->submit(api, VARVE_JOB_SYNC, &sync.job);
    gate_wait_entered(&sync); /* would wait for ever if the classes shared a thread */
    gate_open(&sync);
    gate_open(&slow);
    executor_stop(executor);
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
    struct executor *executor;
    struct varve_err err;

    (void)state;
    assert_int_equal(executor_start(&executor, &err), 0);
    struct again_job again = {
        .job = {.run = submit_again}, .executor = executor_of(executor), .left = 100};
    again.executor->submit(again.executor, VARVE_JOB_SYNC, &again.job);
    executor_stop(executor);
    assert_int_equal(again.left, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_of_a_class__run_in_order_and_all_of_them),
        cmocka_unit_test(test_slow_maintenance__does_not_hold_up_a_sync),
        cmocka_unit_test(test_job__may_submit_itself_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
