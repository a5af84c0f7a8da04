#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "fault_env.h"
#include "lsm/names.h"
#include "lsm/wal_sync.h"
#include "sim_env.h"
#include "step_executor.h"

#define LOGS 70

struct bench {
    struct sim_env *sim;
    struct fault_env *fault;
    struct step_executor *stepper;
    struct wal_sync sync;
    struct log_writer *logs[LOGS];
    size_t log_count;
    uint64_t told_seq;
    int told;
    int told_failed;
    int ask_when_told;   /* for a sync of nothing more */
    int write_when_told; /* the writer writes and asks while the job still runs */
    struct varve_err err;
};

static void write_mark(struct bench *bench, uint64_t seq, uint64_t now_us)
{
    struct log_writer *log = bench->logs[bench->log_count - 1];
    struct record_header header = {.type = RECORD_OPS, .first_seq = seq};

    assert_int_equal(log_writer_stage_small(log, header, "payload", 7), 0);
    assert_int_equal(log_writer_flush(log, &bench->err), 0);
    wal_sync_written(&bench->sync,
                     (struct wal_mark){seq, {.file_no = log->file_no, .offset = log->offset}},
                     now_us);
}

static void on_durable(void *arg, uint64_t seq, int failed)
{
    struct bench *bench = arg;

    bench->told_seq = seq;
    bench->told++;
    bench->told_failed += failed;
    if (bench->ask_when_told)
        wal_sync_start(&bench->sync);
    if (bench->write_when_told > 0) {
        bench->write_when_told--;
        write_mark(bench, seq + 1, 1000);
        wal_sync_start(&bench->sync);
    }
}

static struct log_writer *add_log(struct bench *bench)
{
    struct dir_id id = {{1}};
    uint64_t file_no = bench->log_count + 1;
    char *path = name_wal_path("", file_no);

    assert_int_equal(log_writer_create(fault_as_env(bench->fault), "/", path, WAL_MAGIC, &id,
                                       file_no, 0, NULL, &bench->logs[bench->log_count],
                                       &bench->err),
                     0);
    mem_free(path);
    return bench->logs[bench->log_count++];
}

static int set_up(void **state)
{
    struct bench *bench = mem_alloc_zero(sizeof(*bench));

    bench->sim = sim_env_create(1);
    bench->fault = fault_env_create(sim_as_env(bench->sim));
    bench->stepper = step_executor_create(1);
    wal_sync_init(&bench->sync, step_as_executor(bench->stepper), on_durable, bench);
    struct log_writer *log = add_log(bench);
    assert_true(wal_sync_reset(&bench->sync, log, (struct wal_mark){10, {1, log->offset}}));
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(step_run_all(bench->stepper, 100), 0);
    log_writer_close(bench->sync.current); /* borrowed; the full ones are the sync's own */
    wal_sync_deinit(&bench->sync);
    step_executor_destroy(bench->stepper);
    fault_env_destroy(bench->fault);
    sim_env_destroy(bench->sim);
    mem_free(bench);
    return 0;
}

static void test_wal_sync__nothing_to_do_starts_nothing(void **state)
{
    struct bench *bench = *state;

    wal_sync_start(&bench->sync);
    assert_int_equal(step_waiting(bench->stepper, VARVE_JOB_SYNC), 0);
    assert_int_equal(wal_sync_age_us(&bench->sync, 5000), 0);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 10);
    assert_int_equal(wal_sync_wait(&bench->sync, 10, &bench->err), 0);
}

/* Two writes before the job runs are one sync; ages count from the oldest. */
static void test_wal_sync__one_sync_for_many_writes(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    write_mark(bench, 12, 3000);
    assert_int_equal(wal_sync_age_us(&bench->sync, 5000), 4000);
    assert_int_equal(wal_sync_waiting_us(&bench->sync, 5000), 4000);
    wal_sync_start(&bench->sync);
    wal_sync_start(&bench->sync);
    assert_true(wal_sync_running(&bench->sync));
    assert_int_equal(step_waiting(bench->stepper, VARVE_JOB_SYNC), 1);
    write_mark(bench, 13, 4000); /* before the job takes: it joins */
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 10);
    assert_int_equal(step_run_one(bench->stepper), 1);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 13);
    assert_int_equal(bench->told_seq, 13);
    assert_int_equal(bench->told, 1);
    assert_int_equal(bench->sync.syncs, 1);
    assert_int_equal(fault_env_calls(bench->fault, FAULT_SYNC), 1);
    assert_int_equal(wal_sync_age_us(&bench->sync, 9000), 0);
    assert_false(wal_sync_running(&bench->sync));
    assert_int_equal(sim_unit_count(bench->sim, sim_event_count(bench->sim)), 0);
}

/* Who waits while none runs syncs by itself, once for all that was written; a job is left to who asked beside. */
static void test_wal_sync__who_waits_does_it(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    write_mark(bench, 12, 1000);
    bench->write_when_told = 1;
    assert_int_equal(wal_sync_wait(&bench->sync, 11, &bench->err), 0);
    assert_int_equal(bench->told, 1);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 12);
    assert_int_equal(fault_env_calls(bench->fault, FAULT_SYNC), 1);
    assert_int_equal(step_waiting(bench->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(step_run_one(bench->stepper), 1);
    assert_int_equal(bench->told_seq, 13);
    assert_false(wal_sync_running(&bench->sync));
    fault_env_plan(bench->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    write_mark(bench, 14, 2000);
    for (int i = 0; i < 2; i++)
        assert_int_equal(wal_sync_wait(&bench->sync, 14, &bench->err), VARVE_EUNKNOWN);
    assert_int_equal(fault_env_matched(bench->fault), 1); /* never a second time */
    assert_int_equal(bench->told_failed, 1);
    assert_false(wal_sync_running(&bench->sync));
}

/* What is written and asked for while the job runs is synced by the next one, which nobody has to
 * start. */
static void test_wal_sync__who_asks_meanwhile_gets_the_next_one(void **state)
{
    struct bench *bench = *state;

    bench->write_when_told = 2;
    write_mark(bench, 11, 1000);
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_all(bench->stepper, 100), 3);
    assert_int_equal(bench->told_seq, 13);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 13);
    assert_false(wal_sync_running(&bench->sync));
}

static void write_while_syncing(void *arg)
{
    struct bench *bench = arg;

    sim_on_sync(bench->sim, NULL, NULL);
    write_mark(bench, 12, 2000);
    wal_sync_start(&bench->sync);
}

/* A write that comes while the disk works is not what that sync made durable. */
static void test_wal_sync__a_write_during_the_sync_waits_for_the_next(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    sim_on_sync(bench->sim, write_while_syncing, bench);
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_one(bench->stepper), 1);
    assert_int_equal(bench->told_seq, 11);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 11);
    assert_int_equal(wal_sync_age_us(&bench->sync, 5000), 3000);
    assert_true(wal_sync_running(&bench->sync));
    assert_int_equal(step_run_all(bench->stepper, 10), 1);
    assert_int_equal(bench->told_seq, 12);
}

/* Full files are synced before the current one, oldest first, and closed. */
static void test_wal_sync__full_files_come_first(void **state)
{
    struct bench *bench = *state;
    char order[256] = "";

    write_mark(bench, 11, 1000);
    for (uint64_t i = 0; i < 2; i++) {
        struct log_writer *full = bench->logs[bench->log_count - 1];
        assert_int_equal(wal_sync_rotate(&bench->sync, full, add_log(bench)), 0);
        write_mark(bench, 12 + i, 1000);
    }
    assert_int_equal(wal_sync_full_count(&bench->sync), 2);
    uint64_t from = sim_event_count(bench->sim);
    wal_sync_start(&bench->sync);
    step_run_one(bench->stepper);
    for (uint64_t i = from; i < sim_event_count(bench->sim); i++) {
        struct sim_event event = sim_event_at(bench->sim, i);
        assert_int_equal(event.kind, SIM_SYNC);
        strncat(order, event.path, sizeof(order) - strlen(order) - 1);
    }
    assert_string_equal(order, "/000001.wal/000002.wal/000003.wal");
    assert_int_equal(wal_sync_full_count(&bench->sync), 0);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 13);
    assert_int_equal(wal_sync_durable(&bench->sync).place.file_no, 3);
}

static void test_wal_sync__limit_of_full_files(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    for (size_t i = 0; i < WAL_UNSYNCED_FILES_MAX; i++) {
        struct log_writer *full = bench->logs[bench->log_count - 1];
        assert_int_equal(wal_sync_rotate(&bench->sync, full, add_log(bench)), 0);
    }
    struct log_writer *full = bench->logs[bench->log_count - 1];
    struct log_writer *next = add_log(bench);
    assert_int_equal(wal_sync_rotate(&bench->sync, full, next), VARVE_EFULL);
    assert_ptr_equal(bench->sync.current, full);
    wal_sync_start(&bench->sync);
    step_run_one(bench->stepper);
    assert_int_equal(wal_sync_rotate(&bench->sync, full, next), 0);
    wal_sync_start(&bench->sync); /* nothing was written since */
    assert_int_equal(step_waiting(bench->stepper, VARVE_JOB_SYNC), 0);
}

/* After a failure there is no second try on the same file, whoever asks; a reset begins anew. */
static void test_wal_sync__failure_is_not_repeated(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    write_mark(bench, 12, 1000);
    fault_env_plan(bench->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    wal_sync_start(&bench->sync);
    step_run_one(bench->stepper);
    assert_int_equal(bench->told_failed, 1);
    assert_int_equal(bench->told_seq, 10);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 10);
    assert_true(wal_sync_age_us(&bench->sync, 5000) > 0); /* it is still there to lose */
    for (int i = 0; i < 3; i++) {
        wal_sync_start(&bench->sync);
        assert_int_equal(step_run_all(bench->stepper, 10), 0);
        write_mark(bench, 13, 2000); /* nor for what is written afterwards */
    }
    assert_int_equal(fault_env_calls(bench->fault, FAULT_SYNC), 1);
    assert_int_equal(wal_sync_wait(&bench->sync, 10, &bench->err), 0);
    assert_int_equal(wal_sync_wait(&bench->sync, 11, &bench->err), VARVE_EUNKNOWN);
    assert_non_null(strstr(bench->err.text, strerror(EIO)));
    struct log_writer *old = bench->sync.current;
    struct log_writer *next = add_log(bench);
    assert_true(wal_sync_reset(&bench->sync, next, (struct wal_mark){12, {2, next->offset}}));
    log_writer_close(old);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 12);
    assert_int_equal(wal_sync_age_us(&bench->sync, 5000), 0);
    write_mark(bench, 13, 1000);
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_one(bench->stepper), 1);
    assert_int_equal(bench->told_seq, 13);
}

/* A full file's sync fails: nothing that came after it is durable either. */
static void test_wal_sync__failed_full_file_holds_all(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    assert_int_equal(wal_sync_rotate(&bench->sync, bench->logs[0], add_log(bench)), 0);
    write_mark(bench, 12, 1000);
    fault_env_plan(bench->fault,
                   (struct fault_plan){
                       .op = FAULT_SYNC, .nth = 1, .os_errno = EIO, .path_suffix = "000001.wal"});
    wal_sync_start(&bench->sync);
    step_run_one(bench->stepper);
    assert_int_equal(bench->told_failed, 1);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 10);
    assert_int_equal(fault_env_calls(bench->fault, FAULT_SYNC), 1); /* the later one is not tried */
}

/* A clock may begin at 0, which is no age: what was written then is old all the same. */
/* ---- on its way ---- */

static void test_wal_sync__written_behind(void **state)
{
    struct bench *bench = *state;
    struct fault_range last;

    write_mark(bench, 11, 1000);
    assert_true(wal_sync_write_behind(&bench->sync, 4096, 8192));
    assert_false(wal_sync_write_behind(&bench->sync, 8192, 12288)); /* one at a time */
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    assert_int_equal(fault_env_behind(bench->fault, &last), 1);
    assert_int_equal(last.offset, 4096);
    assert_int_equal(last.len, 4096);
    assert_int_equal(bench->told, 0); /* it is no sync */
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 10);
    assert_int_equal(wal_sync_age_us(&bench->sync, 5000), 4000);
    assert_false(wal_sync_running(&bench->sync));
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 11);
    assert_int_equal(fault_env_behind(bench->fault, &last), 1);
}

static void test_wal_sync__asked_while_it_writes_behind(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    assert_true(wal_sync_write_behind(&bench->sync, 0, 4096));
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    assert_int_equal(bench->told, 1);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 11);
    assert_false(wal_sync_running(&bench->sync));
}

/* Who asked when a sync had taken all gets none out of turn. */
static void test_wal_sync__asked_for_nothing_before(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    bench->ask_when_told = 1;
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    assert_int_equal(bench->told, 1);
    write_mark(bench, 12, 2000);
    assert_true(wal_sync_write_behind(&bench->sync, 0, 4096));
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    assert_int_equal(bench->told, 1);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 11);
}

/* The file that it was of is full by then, and a sync still to come. */
static void test_wal_sync__rotated_before_it_writes_behind(void **state)
{
    struct bench *bench = *state;
    struct log_writer *full = bench->sync.current;

    write_mark(bench, 11, 1000);
    assert_true(wal_sync_write_behind(&bench->sync, 0, 4096));
    assert_int_equal(wal_sync_rotate(&bench->sync, full, add_log(bench)), 0);
    write_mark(bench, 12, 1000);
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    assert_int_equal(wal_sync_durable(&bench->sync).seq, 12);
    assert_int_equal(wal_sync_full_count(&bench->sync), 0);
}

static void test_wal_sync__nothing_behind_a_failure(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 1000);
    fault_env_plan(bench->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    assert_int_equal(bench->told_failed, 1);
    assert_false(wal_sync_write_behind(&bench->sync, 0, 4096));
}

static void test_wal_sync__written_at_the_first_moment(void **state)
{
    struct bench *bench = *state;

    write_mark(bench, 11, 0);
    assert_int_equal(wal_sync_age_us(&bench->sync, 5001), 5000);
    wal_sync_start(&bench->sync);
    assert_int_equal(step_run_all(bench->stepper, 100), 1);
    assert_int_equal(bench->told_seq, 11);
    assert_int_equal(wal_sync_age_us(&bench->sync, 5001), 0);
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(test_wal_sync__written_behind),
        WITH_BENCH(test_wal_sync__asked_while_it_writes_behind),
        WITH_BENCH(test_wal_sync__asked_for_nothing_before),
        WITH_BENCH(test_wal_sync__rotated_before_it_writes_behind),
        WITH_BENCH(test_wal_sync__nothing_behind_a_failure),
        WITH_BENCH(test_wal_sync__nothing_to_do_starts_nothing),
        WITH_BENCH(test_wal_sync__one_sync_for_many_writes),
        WITH_BENCH(test_wal_sync__who_waits_does_it),
        WITH_BENCH(test_wal_sync__who_asks_meanwhile_gets_the_next_one),
        WITH_BENCH(test_wal_sync__a_write_during_the_sync_waits_for_the_next),
        WITH_BENCH(test_wal_sync__full_files_come_first),
        WITH_BENCH(test_wal_sync__limit_of_full_files),
        WITH_BENCH(test_wal_sync__failure_is_not_repeated),
        WITH_BENCH(test_wal_sync__failed_full_file_holds_all),
        WITH_BENCH(test_wal_sync__written_at_the_first_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
