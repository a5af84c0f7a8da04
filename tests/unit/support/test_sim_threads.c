/* Several threads on one simulated disk, behind a wrapper: for TSan, and for what they leave. */
#include "sim_help.h"

#include <errno.h>
#include <stdio.h>

#include "base/thread.h"
#include "fault_env.h"
#include "step_executor.h"

enum { WRITERS = 3, ROUNDS = 300 };

struct shared {
    struct sim_env *sim;
    struct fault_env *fault;
    struct step_executor *stepper;
};

struct writer {
    struct shared *shared;
    int id;
    struct thread thread;
    struct varve_job jobs[ROUNDS];
};

static void no_work(struct varve_job *job)
{
    (void)job;
}

static void write_rounds(void *arg)
{
    struct writer *writer = arg;
    struct varve_env *env = fault_as_env(writer->shared->fault);
    struct varve_executor *executor = step_as_executor(writer->shared->stepper);
    struct varve_file *file = NULL;
    char path[16];

    snprintf(path, sizeof(path), "/%d.wal", writer->id);
    CHECK(env->ops->open(env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, NULL) == 0);
    CHECK(env->ops->sync_dir(env, "/", NULL) == 0);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint8_t bytes[100];
        struct varve_slice part = varve_slice(bytes, sizeof(bytes));
        int rc;

        memset(bytes, 'a' + writer->id, sizeof(bytes));
        rc = env->ops->write_at(env, file, &part, 1, round * sizeof(bytes), NULL);
        CHECK(rc == 0 || rc == VARVE_ENOSPC);
        if (round % 8 == 7)
            CHECK(env->ops->sync(env, file, NULL) == 0);
        writer->jobs[round].run = no_work;
        executor->submit(executor, VARVE_JOB_SYNC, &writer->jobs[round]);
        sim_mark(writer->shared->sim, writer->id, round);
    }
    CHECK(env->ops->truncate(env, file, ROUNDS * 100, NULL) == 0); /* the last may have failed */
    CHECK(env->ops->sync(env, file, NULL) == 0);
    env->ops->close(env, file);
}

static void test_threads__share_disk_wrapper_and_stepper(void **state)
{
    static struct writer writers[WRITERS];
    struct shared shared = {.sim = sim_env_create(1), .stepper = step_executor_create(1)};
    size_t ran = 0;
    struct sim_env *image;

    (void)state;
    shared.fault = fault_env_create(sim_as_env(shared.sim));
    fault_env_plan(shared.fault,
                   (struct fault_plan){.op = FAULT_WRITE, .nth = 100, .os_errno = ENOSPC});
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.shared = &shared, .id = i};
        assert_int_equal(thread_start(&writers[i].thread, "writer", write_rounds, &writers[i]), 0);
    }
    while (ran < WRITERS * ROUNDS) { /* images are made and used while the others write */
        ran += step_run_all(shared.stepper, 50);
        image = help_image(shared.sim, SIM_RANDOM, ran);
        sim_hash(image);
        help_sync_dir(image, "/");
        sim_env_destroy(image);
        sim_clock_advance_us(shared.sim, 10);
    }
    for (int i = 0; i < WRITERS; i++)
        thread_join(&writers[i].thread);
    assert_int_equal(fault_env_fired(shared.fault), 1);
    assert_int_equal(fault_env_calls(shared.fault, FAULT_WRITE), WRITERS * ROUNDS);
    image = help_image(shared.sim, SIM_ALL_LOST, 0);
    assert_int_equal(sim_hash(image), sim_hash(shared.sim));
    for (int i = 0; i < WRITERS; i++) {
        char path[16];
        snprintf(path, sizeof(path), "/%d.wal", i);
        assert_int_equal(help_size(image, path), ROUNDS * 100);
    }
    sim_env_destroy(image);
    step_executor_destroy(shared.stepper);
    fault_env_destroy(shared.fault);
    sim_env_destroy(shared.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads__share_disk_wrapper_and_stepper),
    };

    return cmocka_run_group_tests_name("sim_threads", tests, NULL, NULL);
}
