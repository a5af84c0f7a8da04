/* Flushes and compactions take effect, or fail to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/thread.h"
#include "bed.h"
#include "lsm/db.h"

static void fail_manifests(struct bed *bed, enum fault_op op, enum fault_mode mode)
{
    static char name[64];

    snprintf(name, sizeof(name), "MANIFEST-%06llu",
             (unsigned long long)manifest_place(bed->db->manifest).file_no);
    fault_env_plan(bed->fault, (struct fault_plan){.op = op,
                                                   .nth = 1,
                                                   .os_errno = EIO,
                                                   .mode = mode,
                                                   .effect = FAULT_ALL_DONE,
                                                   .path_suffix = name});
}

static void flush_ok(struct bed *bed)
{
    assert_int_equal(varve_flush(bed->db, &bed->err), 0);
    bed_run(bed);
}

/* What the manifest names is there, and what it does not name is not. */
static void check_files(struct bed *bed)
{
    const struct manifest_state *state = manifest_state(bed->db->manifest);
    struct bed_names names;
    char name[64];

    for (size_t i = 0; i < state->wal_count; i++) {
        snprintf(name, sizeof(name), "%06llu.wal", (unsigned long long)state->wals[i].file_no);
        assert_true(bed_has_file(bed, name));
    }
    for (size_t i = 0; i < state->segment_count; i++) {
        snprintf(name, sizeof(name), "%06llu.seg", (unsigned long long)state->segments[i].file_no);
        assert_true(bed_has_file(bed, name));
    }
    size_t segments = 0;
    bed_list(bed, &names);
    for (size_t i = 0; i < names.count; i++)
        segments += strstr(names.name[i], ".seg") != NULL;
    assert_int_equal(segments, state->segment_count);
}

static void check_after_power_cut(struct bed *bed, const char *want)
{
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_open_ok(bed);
    bed_run(bed);
    char *dump = bed_dump(bed, NULL);
    assert_string_equal(dump, want);
    mem_free(dump);
    check_files(bed);
}

/* Until the memtable lies in segments; the compaction that this asks for has not begun. */
static void flush_only(struct bed *bed)
{
    uint64_t flushes = bed->db->flusher.flushes;

    assert_int_equal(db_swap_memtable(bed->db), 0);
    while (bed->db->flusher.flushes == flushes)
        assert_true(step_run_one(bed->stepper));
    assert_true(step_waiting(bed->stepper, VARVE_JOB_COMPACTION) > 0);
}

/* The edit of a compaction fails, with an outcome that nobody knows; the next try installs what the first
 * one had merged. */
static void test_install__a_compaction_tries_again(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(bed_put(bed, "b", "1"), 0);
    flush_ok(bed);
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    bed_run(bed);
    flush_only(bed);
    fail_manifests(bed, FAULT_SYNC, FAULT_STICKY);
    bed_run(bed);
    assert_true(fault_env_fired(bed->fault) > 0);
    assert_int_equal(bed->db->compactor.install_pending, 1);
    fault_env_heal(bed->fault);
    bed_pass_us(bed, 2000000);
    assert_int_equal(bed->db->compactor.install_pending, 0);
    assert_int_equal(bed_count(bed, "a"), 1);
    assert_string_equal(bed_get(bed, "a"), "2");
    check_files(bed);
    check_after_power_cut(bed, "a=2 b=1 ");
}

/* A memtable that is full of what a failed write took back again: its flush has nothing to write, and lets
 * go of log files all the same. */
static void test_install__an_emptied_memtable_drops_its_log(void **state)
{
    struct bed *bed = *state;
    char *big = mem_alloc_zero(100000);

    bed_close_ok(bed);
    bed->options.memtable_size_bytes = (uint64_t)64 * 1024;
    bed_open_ok(bed);
    memset(big, 'x', 99999);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    flush_ok(bed);
    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_WRITE, .nth = 1, .os_errno = EIO, .path_suffix = ".wal"});
    assert_int_equal(bed_put(bed, "b", big), VARVE_EIO);
    assert_int_equal(fault_env_fired(bed->fault), 1);
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 1000000);
    assert_true(memtable_is_empty(bed->db->memtable));
    assert_int_equal(bed_put(bed, "c", "1"), 0);
    bed_run(bed);
    assert_int_equal(bed->db->flusher.flushes, 2);
    check_files(bed);
    check_after_power_cut(bed, "a=1 c=1 ");
    mem_free(big);
}

/* Runs one submitted compaction part, and the install behind it, on another thread before submit() comes
 * back, as an executor with threads may. */
struct eager {
    struct varve_executor executor;
    struct bed *bed;
    size_t parts_from; /* submits of COMPACTION so far, until that one is run at once */
    size_t submits;
};

static void run_part_and_install(void *arg)
{
    struct bed *bed = arg;

    assert_true(step_run_class(bed->stepper, VARVE_JOB_COMPACTION));
    while (step_run_class(bed->stepper, VARVE_JOB_MAINTENANCE))
        continue;
}

static void eager_submit(struct varve_executor *executor, enum varve_job_class class,
                         struct varve_job *job)
{
    struct eager *eager = CONTAINER_OF(executor, struct eager, executor);
    struct varve_executor *stepper = step_as_executor(eager->bed->stepper);
    struct thread thread;

    stepper->submit(stepper, class, job);
    if (class != VARVE_JOB_COMPACTION || ++eager->submits != eager->parts_from)
        return;
    CHECK(thread_start(&thread, "eager", run_part_and_install, eager->bed) == 0);
    thread_join(&thread);
}

static void eager_help(struct varve_executor *executor)
{
    struct eager *eager = CONTAINER_OF(executor, struct eager, executor);

    (void)step_run_one(eager->bed->stepper);
}

/* The last part may end, and its compaction with it, before the job that planned it comes back. */
static void test_install__parts_end_before_their_plan(void **state)
{
    struct bed *bed = *state;
    struct eager eager = {.executor = {.submit = eager_submit, .help = eager_help}, .bed = bed};

    bed_close_ok(bed);
    bed->options.executor = &eager.executor;
    bed_open_ok(bed);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    flush_ok(bed);
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    bed_run(bed);
    flush_only(bed);
    eager.submits = 0;
    eager.parts_from = 1; /* the plan is submitted already: this is its part */
    assert_true(step_run_class(bed->stepper, VARVE_JOB_COMPACTION));
    assert_true(eager.submits >= 2);
    assert_int_equal(bed->db->compactor.compactions, 1);
    /* The next plan waits; nobody may begin another beside it. */
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_COMPACTION), 1);
    assert_true(compactor_is_running(&bed->db->compactor));
    bed_run(bed);
    check_files(bed);
    bed_close_ok(bed);
}

static struct {
    struct varve_env_ops ops;
    uint64_t (*now_real_ms)(struct varve_env *env);
    struct bed *bed;
    int armed; /* the next look at the clock takes the snapshot */
    struct varve_snapshot *snapshot;
} between;

/* What another thread may do between two steps of a job: it takes a snapshot, and time passes. */
static uint64_t now_after_snapshot(struct varve_env *env)
{
    if (between.armed) {
        between.armed = 0;
        between.snapshot = varve_snapshot_acquire(between.bed->db);
        sim_clock_advance_us(between.bed->sim, 1000000);
    }
    return between.now_real_ms(env);
}

/* A snapshot is taken while a compaction looks who else is there: what had not expired then stays. */
static void test_install__a_snapshot_keeps_what_expires_later(void **state)
{
    struct bed *bed = *state;
    struct varve_env *env = fault_as_env(bed->fault);
    const struct varve_env_ops *ops = env->ops;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    flush_ok(bed);
    uint64_t expire_ms = varve_now_ms(bed->db) + 500;
    assert_int_equal(bed_put_bytes(bed, "a", varve_slice_str("2"), expire_ms), 0);
    bed_run(bed);
    flush_only(bed);
    between.ops = *ops;
    between.now_real_ms = ops->now_real_ms;
    between.ops.now_real_ms = now_after_snapshot;
    between.bed = bed;
    between.armed = 1;
    env->ops = &between.ops;
    bed_run(bed);
    env->ops = ops;
    assert_int_equal(bed->db->compactor.compactions, 1);
    struct varve_read read = {.snapshot = between.snapshot};
    int kept = strcmp(bed_get_with(bed, &read, "a"), "2") == 0;
    varve_snapshot_release(bed->db, between.snapshot);
    assert_true(kept);
    assert_string_equal(bed_get(bed, "a"), "-");
}

static struct {
    struct varve_env_ops ops;
    void (*close)(struct varve_env *env, struct varve_file *file);
    struct bed *bed;
    int armed; /* the next file that is closed */
} closing;

static void close_and_swap(struct varve_env *env, struct varve_file *file)
{
    if (closing.armed) {
        closing.armed = 0;
        CHECK(db_swap_memtable(closing.bed->db) == 0);
    }
    closing.close(env, file);
}

/* A view is retired while others are freed: nobody else may come for long. */
static void test_install__what_is_retired_meanwhile_goes_too(void **state)
{
    struct bed *bed = *state;
    struct varve_env *env = fault_as_env(bed->fault);
    const struct varve_env_ops *ops = env->ops;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    flush_ok(bed);
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    bed_run(bed);
    flush_only(bed);
    while (step_run_class(bed->stepper, VARVE_JOB_COMPACTION) ||
           step_run_class(bed->stepper, VARVE_JOB_MAINTENANCE))
        continue;
    assert_int_equal(bed->db->compactor.compactions, 1);
    assert_int_equal(bed_put(bed, "a", "3"), 0);
    closing.ops = *ops;
    closing.close = ops->close;
    closing.ops.close = close_and_swap;
    closing.bed = bed;
    closing.armed = 1;
    env->ops = &closing.ops;
    assert_true(step_run_class(bed->stepper, VARVE_JOB_RECLAIM));
    env->ops = ops;
    assert_false(closing.armed);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_RECLAIM), 1);
    assert_true(step_run_class(bed->stepper, VARVE_JOB_RECLAIM));
    assert_false(rcu_pending());
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_RECLAIM), 0);
}

static struct {
    struct varve_env_ops ops;
    uint64_t (*now_mono_us)(struct varve_env *env);
    struct bed *bed;
    int looks;
    int unguarded;
} watching;

static uint64_t look_who_is_guarded(struct varve_env *env)
{
    watching.looks++;
    watching.unguarded += !flusher_is_running(&watching.bed->db->flusher);
    return watching.now_mono_us(env);
}

/* A close that finds no flush running frees everything: whatever a job of the flusher does, it does before
 * it counts as ended. */
static void test_install__a_flush_runs_to_its_very_end(void **state)
{
    struct bed *bed = *state;
    struct varve_env *env = fault_as_env(bed->fault);
    const struct varve_env_ops *ops = env->ops;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_run(bed);
    assert_int_equal(db_swap_memtable(bed->db), 0);
    watching.ops = *ops;
    watching.now_mono_us = ops->now_mono_us;
    watching.ops.now_mono_us = look_who_is_guarded;
    watching.bed = bed;
    env->ops = &watching.ops;
    assert_true(step_run_class(bed->stepper, VARVE_JOB_FLUSH));
    while (bed->db->flusher.flushes == 0)
        assert_true(step_run_class(bed->stepper, VARVE_JOB_MAINTENANCE));
    env->ops = ops;
    assert_true(watching.looks > 0);
    assert_int_equal(watching.unguarded, 0);
    assert_false(flusher_is_running(&bed->db->flusher));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_install__a_compaction_tries_again, bed_set_up,
                                        bed_tear_down),
        cmocka_unit_test_setup_teardown(test_install__an_emptied_memtable_drops_its_log, bed_set_up,
                                        bed_tear_down),
        cmocka_unit_test_setup_teardown(test_install__parts_end_before_their_plan, bed_set_up,
                                        bed_tear_down),
        cmocka_unit_test_setup_teardown(test_install__a_snapshot_keeps_what_expires_later,
                                        bed_set_up, bed_tear_down),
        cmocka_unit_test_setup_teardown(test_install__what_is_retired_meanwhile_goes_too,
                                        bed_set_up, bed_tear_down),
        cmocka_unit_test_setup_teardown(test_install__a_flush_runs_to_its_very_end, bed_set_up,
                                        bed_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
