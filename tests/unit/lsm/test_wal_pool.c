#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fault_env.h"
#include "lsm/names.h"
#include "lsm/wal_pool.h"
#include "sim_env.h"
#include "step_executor.h"

#define FILE_SIZE 4096

struct bench {
    struct sim_env *sim;
    struct fault_env *fault;
    struct step_executor *stepper;
    struct manifest *manifest;
    struct wal_pool pool;
    int complaints;
    struct varve_err err;
};

static void on_log(void *arg, int level, const char *line)
{
    struct bench *bench = arg;

    assert_int_equal(level, 4);
    assert_non_null(strstr(line, "could not be made ready"));
    bench->complaints++;
}

static int set_up(void **state)
{
    struct bench *bench = mem_alloc_zero(sizeof(*bench));
    struct dir_id id = {{5}};

    bench->sim = sim_env_create(1);
    bench->fault = fault_env_create(sim_as_env(bench->sim));
    bench->stepper = step_executor_create(1);
    assert_int_equal(
        manifest_create(fault_as_env(bench->fault), "/", &id, 1, &bench->manifest, &bench->err), 0);
    wal_pool_init(&bench->pool);
    bench->pool.env = fault_as_env(bench->fault);
    bench->pool.executor = step_as_executor(bench->stepper);
    bench->pool.manifest = bench->manifest;
    bench->pool.dir = "/";
    bench->pool.id = id;
    bench->pool.file_size = FILE_SIZE;
    bench->pool.target = 2;
    bench->pool.on_log = on_log;
    bench->pool.arg = bench;
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    wal_pool_deinit(&bench->pool);
    manifest_close(bench->manifest);
    step_executor_destroy(bench->stepper);
    fault_env_destroy(bench->fault);
    sim_env_destroy(bench->sim);
    mem_free(bench);
    return 0;
}

/* Asks until nothing is missing; returns how many jobs that took. */
static int fill(struct bench *bench, uint64_t now_us)
{
    int jobs = 0;

    for (;;) {
        wal_pool_fill(&bench->pool, now_us);
        if (!step_run_class(bench->stepper, VARVE_JOB_MAINTENANCE))
            return jobs;
        jobs++;
    }
}

static int is_alive(const struct bench *bench, uint64_t file_no)
{
    const struct manifest_state *state = manifest_state(bench->manifest);

    for (size_t i = 0; i < state->wal_count; i++)
        if (state->wals[i].file_no == file_no)
            return 1;
    return 0;
}

static void test_wal_pool__fills_to_its_target(void **state)
{
    struct bench *bench = *state;
    struct wal_ready ready;

    assert_int_equal(wal_pool_take(&bench->pool, &ready), 0);
    wal_pool_fill(&bench->pool, 1);
    assert_true(wal_pool_running(&bench->pool));
    wal_pool_fill(&bench->pool, 1); /* one job at a time */
    assert_int_equal(step_waiting(bench->stepper, VARVE_JOB_MAINTENANCE), 1);
    /* One is made ahead, however many are wanted. */
    assert_int_equal(fill(bench, 1), 1);
    assert_int_equal(wal_pool_ready_count(&bench->pool), 1);
    assert_int_equal(fill(bench, 1), 0);
    /* A file that is ready is durable and named. */
    assert_int_equal(sim_unit_count(bench->sim, sim_event_count(bench->sim)), 0);
    uint64_t previous = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t size_bytes;
        fill(bench, 1);
        assert_int_equal(wal_pool_take(&bench->pool, &ready), 1);
        assert_true(ready.log->file_no > previous); /* oldest first */
        previous = ready.log->file_no;
        assert_true(is_alive(bench, previous));
        assert_false(log_place_before(manifest_place(bench->manifest), ready.manifest));
        bench->pool.env->ops->size(bench->pool.env, ready.log->file, &size_bytes, &bench->err);
        assert_int_equal(size_bytes, FILE_HEADER_BYTES);
        assert_int_equal(ready.log->zeros_limit, FILE_SIZE);
        log_writer_close(ready.log);
    }
    assert_int_equal(wal_pool_take(&bench->pool, &ready), 0);
    assert_int_equal(fill(bench, 1), 1);
}

/* Each call fails once: no number is used twice, nothing is ready that is not durable and named, and
 * it is tried again only after a second. */
static void test_wal_pool__each_call_fails(void **state)
{
    struct bench *bench = *state;
    uint64_t seen[200];
    size_t seen_count = 0;
    uint64_t fired = 1;
    int failures = 0;

    bench->pool.target = 1;
    fill(bench, 1);
    for (uint64_t nth = 1; fired > 0; nth++) {
        struct wal_ready ready;
        uint64_t now_us = fault_as_env(bench->fault)->ops->now_mono_us(fault_as_env(bench->fault));
        if (wal_pool_take(&bench->pool, &ready)) {
            for (size_t i = 0; i < seen_count; i++)
                assert_int_not_equal(seen[i], ready.log->file_no);
            seen[seen_count++] = ready.log->file_no;
            log_writer_close(ready.log);
        }
        fault_env_plan(bench->fault, (struct fault_plan){.nth = nth,
                                                         .os_errno = EIO,
                                                         .effect = (enum fault_effect)(nth % 3)});
        int jobs = fill(bench, now_us);
        fired = fault_env_fired(bench->fault);
        fault_env_heal(bench->fault);
        assert_int_equal(jobs, 1);
        if (wal_pool_ready_count(&bench->pool) == 0) {
            failures++;
            assert_int_equal(fill(bench, now_us + 999999), 0);
            assert_int_equal(fill(bench, now_us + 1000000), 1);
            sim_clock_advance_us(bench->sim, 2000000);
        }
        assert_int_equal(wal_pool_ready_count(&bench->pool), 1);
        assert_true(is_alive(bench, bench->pool.ready[0].log->file_no));
    }
    assert_true(failures > 4);
    assert_int_equal(bench->complaints, failures);
}

static void test_wal_pool__fails_without_a_log(void **state)
{
    struct bench *bench = *state;

    bench->pool.on_log = NULL;
    fault_env_plan(bench->fault, (struct fault_plan){.nth = 1, .os_errno = EIO});
    assert_int_equal(fill(bench, 1), 1);
    assert_int_equal(fault_env_fired(bench->fault), 1);
    fault_env_heal(bench->fault);
    assert_int_equal(wal_pool_ready_count(&bench->pool), 0);
    assert_int_equal(wal_pool_running(&bench->pool), 0);
    assert_int_equal(fill(bench, UINT64_MAX), 1);
    assert_int_equal(wal_pool_ready_count(&bench->pool), 1);
}

static void test_wal_pool__reuses_dead_files(void **state)
{
    struct bench *bench = *state;
    struct wal_ready ready;
    uint64_t numbers[2];

    for (int i = 0; i < 2; i++) {
        fill(bench, 1);
        assert_int_equal(wal_pool_take(&bench->pool, &ready), 1);
        numbers[i] = ready.log->file_no;
        log_writer_close(ready.log);
    }
    for (int i = 0; i < 2; i++) {
        struct manifest_edit edit = {.change = MANIFEST_DROP_WAL, .file_no = numbers[i]};
        assert_int_equal(manifest_apply(bench->manifest, &edit, 1, &bench->err), 0);
        assert_int_equal(wal_pool_reuse(&bench->pool, name_wal_path("/", numbers[i])), 1);
    }
    char *third = name_wal_path("/", 99);
    assert_int_equal(wal_pool_reuse(&bench->pool, third), 0); /* the target is reached */
    mem_free(third);
    uint64_t writes = fault_env_calls(bench->fault, FAULT_WRITE);
    uint64_t renames = fault_env_calls(bench->fault, FAULT_RENAME);
    assert_int_equal(fill(bench, 1), 2);
    assert_int_equal(fault_env_calls(bench->fault, FAULT_RENAME), renames + 2);
    assert_int_equal(fault_env_calls(bench->fault, FAULT_WRITE), writes + 4); /* header and edit */
    assert_int_equal(sim_unit_count(bench->sim, sim_event_count(bench->sim)), 0);
    assert_int_equal(wal_pool_take(&bench->pool, &ready), 1);
    assert_true(ready.log->file_no > numbers[1]); /* numbers are never used again */
    log_writer_close(ready.log);
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(test_wal_pool__fills_to_its_target),
        WITH_BENCH(test_wal_pool__each_call_fails),
        WITH_BENCH(test_wal_pool__fails_without_a_log),
        WITH_BENCH(test_wal_pool__reuses_dead_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
