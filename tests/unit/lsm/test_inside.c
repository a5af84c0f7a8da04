/* The rules for threads of an embedding program (varve/db.h, varve_enter()): one sleeps inside while the
 * engine works on threads; what it looks at stays, nothing else is held up, and what was kept for it
 * comes back when it leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/thread.h"
#include "bed.h"

#define KEYS 200
#define VALUE_BYTES ((size_t)8 * 1024)
#define ROUNDS 12
#define MIB ((uint64_t)1024 * 1024)

/* ---- the sleeper ---- */

struct sleeper {
    struct varve_db *db;
    struct mutex mutex;
    struct cond changed;
    int asleep;
    int wake;
    struct thread thread;
};

static int is_round(struct varve_slice value, uint8_t round)
{
    if (value.len != VALUE_BYTES)
        return 0;
    for (size_t i = 0; i < value.len; i += 64)
        if (value.data[i] != round)
            return 0;
    return value.data[value.len - 1] == round;
}

static void sleeper_run(void *arg)
{
    struct sleeper *sleeper = arg;
    struct varve_pin in_segment, in_memtable;

    varve_enter();
    CHECK(varve_get(sleeper->db, NULL, varve_slice_str("a000"), &in_segment, NULL) == 0);
    CHECK(varve_get(sleeper->db, NULL, varve_slice_str("m"), &in_memtable, NULL) == 0);
    mutex_lock(&sleeper->mutex);
    sleeper->asleep = 1;
    cond_broadcast(&sleeper->changed);
    while (!sleeper->wake)
        cond_wait(&sleeper->changed, &sleeper->mutex);
    mutex_unlock(&sleeper->mutex);
    CHECK(is_round(in_segment.value, 1)); /* neither was kept */
    CHECK(is_round(in_memtable.value, 1));
    varve_pin_release(&in_segment);
    varve_pin_release(&in_memtable);
    varve_leave();
}

static void sleeper_start(struct sleeper *sleeper, struct varve_db *db)
{
    *sleeper = (struct sleeper){.db = db};
    mutex_init(&sleeper->mutex);
    cond_init(&sleeper->changed);
    assert_int_equal(thread_start(&sleeper->thread, "sleeper", sleeper_run, sleeper), 0);
    mutex_lock(&sleeper->mutex);
    while (!sleeper->asleep)
        cond_wait(&sleeper->changed, &sleeper->mutex);
    mutex_unlock(&sleeper->mutex);
}

static void sleeper_wake(struct sleeper *sleeper)
{
    mutex_lock(&sleeper->mutex);
    sleeper->wake = 1;
    cond_broadcast(&sleeper->changed);
    mutex_unlock(&sleeper->mutex);
    thread_join(&sleeper->thread);
    mutex_deinit(&sleeper->mutex);
    cond_deinit(&sleeper->changed);
}

/* ---- the others ---- */

static void write_value(struct bed *bed, const char *key, uint8_t round)
{
    uint8_t value[VALUE_BYTES];

    memset(value, round, sizeof(value));
    assert_int_equal(bed_put_bytes(bed, key, varve_slice(value, sizeof(value)), 0), 0);
}

static void write_round(struct bed *bed, uint8_t round)
{
    char key[16];

    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "a%03d", i);
        write_value(bed, key, round);
    }
    varve_tick(bed->db);
}

static void read_round(struct bed *bed, uint8_t round)
{
    struct varve_pin pin;
    char key[16];

    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "a%03d", i);
        assert_int_equal(varve_get(bed->db, NULL, varve_slice_str(key), &pin, &bed->err), 0);
        assert_true(is_round(pin.value, round));
        varve_pin_release(&pin);
    }
}

static size_t live_segments(struct bed *bed)
{
    struct varve_stats stats = bed_stats(bed);
    size_t count = 0;

    for (int i = 0; i < VARVE_LEVELS_MAX; i++)
        count += stats.levels[i].segments;
    return count;
}

/* What nobody looks at is freed by RECLAIM jobs, some of which end only after the last call; evicted
 * blocks may stay until the cache wants their room. Ends when the files and the memory are back. */
static void wait_reclaimed(struct bed *bed, uint64_t used_bytes_max)
{
    while (bed_files_with(bed, ".seg") != live_segments(bed) || mem_used_bytes() > used_bytes_max) {
        varve_tick(bed->db);
        sched_yield();
    }
}

static void test_inside__a_sleeper_holds_up_nothing_but_what_is_freed(void **state)
{
    static struct bed bed;
    static struct sleeper sleeper;
    struct varve_executor *threads;

    (void)state;
    assert_int_equal(varve_executor_threads_create(NULL, &threads, NULL), 0);
    bed_init(&bed, 9);
    bed.options.executor = threads;
    bed.options.on_log = NULL;
    bed.options.on_durable = NULL;
    bed.options.wal_size_bytes = MIB;
    bed.options.memtable_size_bytes = MIB / 2;
    bed.options.compression = VARVE_COMPRESSION_NONE;
    bed_open_ok(&bed);
    write_round(&bed, 1);
    assert_int_equal(varve_compact(bed.db, &bed.err), 0);
    read_round(&bed, 1);
    wait_reclaimed(&bed, UINT64_MAX);
    write_value(&bed, "m", 1);
    uint64_t used_before = mem_used_bytes();
    uint64_t flushes_before = bed_stats(&bed).flushes;
    size_t files_before = bed_files_with(&bed, ".seg");

    sleeper_start(&sleeper, bed.db);
    for (uint8_t round = 2; round <= ROUNDS; round++) {
        write_round(&bed, round);
        assert_int_equal(varve_flush(bed.db, &bed.err), 0);
        read_round(&bed, round);
        if (round % 4 == 0)
            assert_int_equal(varve_compact(bed.db, &bed.err), 0);
        read_round(&bed, round);
    }
    assert_true(bed_stats(&bed).flushes >= flushes_before + ROUNDS - 1);
    assert_true(mem_used_bytes() > used_before + 8 * MIB);
    assert_true(bed_files_with(&bed, ".seg") >= live_segments(&bed) + files_before + ROUNDS);
    assert_int_equal(bed_stats(&bed).health, VARVE_HEALTHY);

    sleeper_wake(&sleeper);
    wait_reclaimed(&bed, used_before + 2 * MIB); /* the cache, and what threads count late */
    read_round(&bed, ROUNDS);
    bed_close_ok(&bed);
    varve_executor_threads_destroy(threads);
    bed.options.executor = step_as_executor(bed.stepper);
    bed_deinit(&bed);
}

/* ---- programming errors ---- */

static void enter_only(void *arg)
{
    (void)arg;
    varve_enter();
}

static void end_inside(void)
{
    struct thread thread;

    if (thread_start(&thread, "forgetful", enter_only, NULL) == 0)
        thread_join(&thread);
}

static void leave_twice(void)
{
    varve_enter();
    varve_leave();
    varve_leave();
}

static void want_abort(void (*run)(void))
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_inside__a_thread_that_ends_there_aborts(void **state)
{
    (void)state;
    want_abort(end_inside);
}

static void test_inside__a_leave_too_many_aborts(void **state)
{
    (void)state;
    want_abort(leave_twice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inside__a_thread_that_ends_there_aborts),
        cmocka_unit_test(test_inside__a_leave_too_many_aborts),
        cmocka_unit_test(test_inside__a_sleeper_holds_up_nothing_but_what_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
