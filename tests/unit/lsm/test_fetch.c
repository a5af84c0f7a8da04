#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

#define SECOND_US ((uint64_t)1000000)
#define KEYS 40

/* A database whose blocks are not in memory: those at odd pages of a file are not in the page cache
 * (sim_env.c), and nothing was read yet. `key` is one whose read would wait. */
struct cold {
    struct bed bed;
    char key[16];
};

static int get_now(struct cold *cold, const struct varve_read *how, const char *key,
                   struct varve_pin *pin)
{
    struct varve_read read = *how;

    read.no_wait = 1;
    return varve_get(cold->bed.db, &read, varve_slice_str(key), pin, &cold->bed.err);
}

static void cold_open(struct cold *cold)
{
    struct varve_read read = {.no_wait = 1, .no_fill = 1};
    struct varve_pin pin;

    bed_init(&cold->bed, 1);
    bed_open_ok(&cold->bed);
    bed_fill(&cold->bed, "k", KEYS, 1000);
    assert_int_equal(varve_compact(cold->bed.db, &cold->bed.err), 0);
    bed_run(&cold->bed);
    bed_close_ok(&cold->bed);
    bed_open_ok(&cold->bed);
    bed_run(&cold->bed);
    for (int i = 0; i < KEYS; i++) {
        snprintf(cold->key, sizeof(cold->key), "k%06d", i);
        int rc = get_now(cold, &read, cold->key, &pin);
        if (rc == VARVE_WOULD_BLOCK)
            return;
        assert_int_equal(rc, 0);
        varve_pin_release(&pin);
    }
    fail_msg("nothing blocks");
}

static int set_up(void **state)
{
    *state = mem_alloc(sizeof(struct cold));
    cold_open(*state);
    return 0;
}

static int tear_down(void **state)
{
    bed_deinit(&((struct cold *)*state)->bed);
    mem_free(*state);
    return 0;
}

struct told {
    struct varve_fetch fetch;
    int done;
};

static void on_done(struct varve_fetch *fetch)
{
    ((struct told *)(void *)fetch)->done++;
}

static void fetch_start(struct cold *cold, const struct varve_read *read, const char *key,
                        struct told *told)
{
    *told = (struct told){.fetch.done = on_done};
    assert_int_equal(varve_fetch_start(cold->bed.db, read, varve_slice_str(key), &told->fetch), 0);
    assert_int_equal(told->done, 0);
}

static void fetch_run(struct cold *cold, const struct varve_read *read, const char *key,
                      struct told *told)
{
    fetch_start(cold, read, key, told);
    bed_run_class(&cold->bed, VARVE_JOB_READ);
    assert_int_equal(told->done, 1);
}

/* ---- */

/* no_fill: nothing stays in the cache; what was fetched answers all the same. */
static void test_fetch__answers_the_read(void **state)
{
    struct cold *cold = *state;
    struct varve_read read = {.no_fill = 1};
    struct varve_pin pin;
    struct told told;

    fetch_run(cold, &read, cold->key, &told);
    assert_int_equal(told.fetch.rc, 0);
    assert_int_equal(get_now(cold, &read, cold->key, &pin), VARVE_WOULD_BLOCK);
    read.fetched = &told.fetch;
    assert_int_equal(get_now(cold, &read, cold->key, &pin), 0);
    assert_int_equal(pin.value.len, 1000);
    varve_fetch_release(&told.fetch); /* the pin holds its own */
    assert_int_equal(pin.value.len, 1000);
    varve_pin_release(&pin);
}

/* Several, linked; each read finds its own, another key finds none. */
static void test_fetch__finds_its_key_among_others(void **state)
{
    struct cold *cold = *state;
    struct varve_read read = {.no_fill = 1};
    struct varve_pin pin;
    struct told other;
    struct told told;

    fetch_run(cold, &read, "no such key", &other);
    assert_int_equal(other.fetch.rc, 0); /* that there is nothing is an answer */
    fetch_run(cold, &read, cold->key, &told);
    read.fetched = &other.fetch;
    assert_int_equal(get_now(cold, &read, cold->key, &pin), VARVE_WOULD_BLOCK);
    other.fetch.next = &told.fetch;
    assert_int_equal(get_now(cold, &read, cold->key, &pin), 0);
    varve_pin_release(&pin);
    varve_fetch_release(&told.fetch);
    varve_fetch_release(&other.fetch);
    varve_fetch_release(&other.fetch); /* and once more */
}

/* ---- what changes meanwhile ---- */

static void write_over(struct cold *cold)
{
    assert_int_equal(bed_put(&cold->bed, cold->key, "new"), 0);
    bed_run_class(&cold->bed, VARVE_JOB_SYNC);
}

static void delete_range(struct cold *cold)
{
    assert_int_equal(bed_delete_range(&cold->bed, "k", "l"), 0);
    bed_run_class(&cold->bed, VARVE_JOB_SYNC);
}

static void write_over_and_flush(struct cold *cold)
{
    write_over(cold);
    bed_flush_only(&cold->bed);
}

static void delete_and_flush(struct cold *cold)
{
    assert_int_equal(bed_delete(&cold->bed, cold->key), 0);
    bed_flush_only(&cold->bed);
}

static void flush_others(struct cold *cold)
{
    assert_int_equal(bed_put(&cold->bed, "other", "x"), 0);
    bed_flush_only(&cold->bed);
}

/* Without the jobs that wait for readers: one of them may be in the middle of a read. */
static void compact(struct cold *cold)
{
    flush_others(cold);
    compactor_compact_all(&cold->bed.db->compactor, cold->bed.db->applied_seq);
    for (size_t ran = 1; ran > 0;)
        ran = bed_run_class(&cold->bed, VARVE_JOB_COMPACTION) +
              bed_run_class(&cold->bed, VARVE_JOB_MAINTENANCE);
    assert_int_equal(bed_stats(&cold->bed).levels[0].segments, 0);
}

struct move_case {
    void (*move)(struct cold *cold);
    const char *value; /* "": as it was, "-": absent */
};

static const struct move_case move_cases[] = {
    {write_over, "new"},     {delete_range, "-"}, {write_over_and_flush, "new"},
    {delete_and_flush, "-"}, {flush_others, ""},  {compact, ""},
};

/* The answer is that of now, or that it must be fetched anew: never that of then. */
static void check_answer(struct cold *cold, const struct varve_read *how, const char *want)
{
    struct varve_pin pin;

    struct varve_read read = *how;
    int rc = get_now(cold, &read, cold->key, &pin);
    if (rc == VARVE_WOULD_BLOCK) {
        struct told told;
        read.fetched = NULL;
        fetch_run(cold, &read, cold->key, &told);
        read.fetched = &told.fetch;
        rc = get_now(cold, &read, cold->key, &pin);
        varve_fetch_release(&told.fetch);
    }
    assert_int_equal(rc, strcmp(want, "-") == 0 ? VARVE_NOT_FOUND : 0);
    if (strcmp(want, "") == 0)
        assert_int_equal(pin.value.len, 1000);
    else if (strcmp(want, "-") != 0)
        assert_true(varve_slice_equal(pin.value, varve_slice_str(want)));
    varve_pin_release(&pin);
}

/* After the fetch and before the read something takes effect. */
static void test_fetch__moved_after(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(move_cases); i++) {
        struct cold cold;
        struct varve_read read = {.no_fill = 1};
        struct told told;
        cold_open(&cold);
        fetch_run(&cold, &read, cold.key, &told);
        move_cases[i].move(&cold);
        read.fetched = &told.fetch;
        check_answer(&cold, &read, move_cases[i].value);
        varve_fetch_release(&told.fetch);
        bed_deinit(&cold.bed);
    }
}

/* A merge changes no answer, and nor does a flush of what the fetch saw. */
static void test_fetch__survives_a_merge(void **state)
{
    struct cold *cold = *state;
    struct varve_read read = {.no_fill = 1};
    struct varve_pin pin;
    struct told told;

    assert_int_equal(bed_put(&cold->bed, "other", "x"), 0);
    bed_run_class(&cold->bed, VARVE_JOB_SYNC);
    fetch_run(cold, &read, cold->key, &told);
    read.fetched = &told.fetch;
    bed_flush_only(&cold->bed);
    assert_int_equal(get_now(cold, &read, cold->key, &pin), 0);
    varve_pin_release(&pin);
    compactor_compact_all(&cold->bed.db->compactor, cold->bed.db->applied_seq);
    bed_run(&cold->bed);
    assert_int_equal(get_now(cold, &read, cold->key, &pin), 0);
    assert_int_equal(pin.value.len, 1000);
    varve_pin_release(&pin);
    flush_others(cold); /* what it did not see */
    assert_int_equal(get_now(cold, &read, cold->key, &pin), VARVE_WOULD_BLOCK);
    varve_fetch_release(&told.fetch);
}

/* The files that a merge replaced are removed by its job, and not by who lets go of what it fetched. */
static void test_fetch__keeps_no_file(void **state)
{
    struct cold *cold = *state;
    struct varve_read read = {.no_fill = 1};
    struct told told;

    fetch_run(cold, &read, cold->key, &told);
    compact(cold);
    bed_run(&cold->bed);
    uint64_t calls = fault_env_calls(cold->bed.fault, FAULT_REMOVE);
    varve_fetch_release(&told.fetch);
    bed_run(&cold->bed);
    assert_int_equal(fault_env_calls(cold->bed.fault, FAULT_REMOVE), calls);
}

/* Between the order and its job. */
static void test_fetch__moved_before_its_job(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(move_cases); i++) {
        struct cold cold;
        struct varve_read read = {.no_fill = 1};
        struct told told;
        cold_open(&cold);
        fetch_start(&cold, &read, cold.key, &told);
        move_cases[i].move(&cold);
        bed_run(&cold.bed);
        assert_int_equal(told.done, 1);
        assert_int_equal(told.fetch.rc, 0);
        read.fetched = &told.fetch;
        check_answer(&cold, &read, move_cases[i].value);
        varve_fetch_release(&told.fetch);
        bed_deinit(&cold.bed);
    }
}

/* While the job reads: a flush takes effect in the middle of it. */
struct meddler {
    struct cold *cold;
    const struct move_case *move;
    int times;
};

static struct meddler meddler;
static struct varve_env_ops meddled_ops;
static int (*read_at_before)(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                             uint64_t offset, size_t *got, struct varve_err *err);

static int meddling_read_at(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                            uint64_t offset, size_t *got, struct varve_err *err)
{
    struct meddler now = meddler;

    meddler.move = NULL;
    if (now.move != NULL)
        now.move->move(now.cold);
    meddler.times += now.move != NULL;
    return read_at_before(env, file, data, len, offset, got, err);
}

static void test_fetch__moved_while_it_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(move_cases); i++) {
        struct cold cold;
        struct varve_read read = {.no_fill = 1};
        struct told told;
        cold_open(&cold);
        fetch_start(&cold, &read, cold.key, &told);
        struct varve_env *env = fault_as_env(cold.bed.fault);
        const struct varve_env_ops *before = env->ops;
        read_at_before = before->read_at;
        meddled_ops = *before;
        meddled_ops.read_at = meddling_read_at;
        env->ops = &meddled_ops;
        meddler = (struct meddler){.cold = &cold, .move = &move_cases[i]};
        assert_int_equal(step_run_class(cold.bed.stepper, VARVE_JOB_READ), 1);
        assert_int_equal(meddler.times, 1);
        env->ops = before;
        assert_int_equal(told.done, 1);
        read.fetched = &told.fetch;
        check_answer(&cold, &read, move_cases[i].value);
        varve_fetch_release(&told.fetch);
        bed_deinit(&cold.bed);
    }
}

/* A snapshot's answer is the snapshot's only. */
static void test_fetch__snapshots(void **state)
{
    struct cold *cold = *state;
    struct varve_snapshot *snapshot = varve_snapshot_acquire(cold->bed.db);
    struct varve_read newest = {.no_fill = 1};
    struct varve_read old = {.no_fill = 1, .snapshot = snapshot};
    struct varve_pin pin;
    struct told told;

    assert_int_equal(bed_delete(&cold->bed, cold->key), 0);
    bed_flush_only(&cold->bed);
    fetch_run(cold, &newest, cold->key, &told);
    old.fetched = &told.fetch;
    assert_int_equal(get_now(cold, &old, cold->key, &pin), VARVE_WOULD_BLOCK);
    varve_fetch_release(&told.fetch);
    old.fetched = NULL;
    fetch_run(cold, &old, cold->key, &told);
    old.fetched = &told.fetch;
    assert_int_equal(get_now(cold, &old, cold->key, &pin), 0);
    assert_int_equal(pin.value.len, 1000);
    varve_pin_release(&pin);
    varve_fetch_release(&told.fetch);
    varve_snapshot_release(cold->bed.db, snapshot);
}

/* The time is looked at by the read, not by the fetch. */
static void test_fetch__expires_meanwhile(void **state)
{
    struct cold *cold = *state;
    struct varve_read read = {.no_fill = 1};
    uint8_t value[1000] = {1};
    struct varve_pin pin;
    struct told told;

    uint64_t at_ms = varve_now_ms(cold->bed.db) + 5000;
    assert_int_equal(bed_put_bytes(&cold->bed, cold->key, varve_slice(value, sizeof(value)), at_ms),
                     0);
    assert_int_equal(varve_compact(cold->bed.db, &cold->bed.err), 0);
    fetch_run(cold, &read, cold->key, &told);
    read.fetched = &told.fetch;
    assert_int_equal(get_now(cold, &read, cold->key, &pin), 0);
    assert_int_equal(pin.expire_ms, at_ms);
    varve_pin_release(&pin);
    sim_clock_advance_us(cold->bed.sim, 6 * SECOND_US);
    assert_int_equal(get_now(cold, &read, cold->key, &pin), VARVE_NOT_FOUND);
    assert_int_equal(varve_writable(cold->bed.db, NULL), 0);
    read.dead = 1;
    assert_int_equal(get_now(cold, &read, cold->key, &pin), 0);
    varve_pin_release(&pin);
    varve_fetch_release(&told.fetch);
}

/* ---- failures ---- */

static void test_fetch__error_is_told_by_the_read(void **state)
{
    struct cold *cold = *state;
    struct varve_read read = {.no_fill = 1};
    struct varve_pin pin;
    struct told told;

    fault_env_plan(
        cold->bed.fault,
        (struct fault_plan){.op = FAULT_READ, .nth = 1, .os_errno = EIO, .path_suffix = ".seg"});
    fetch_run(cold, &read, cold->key, &told);
    assert_int_equal(fault_env_fired(cold->bed.fault), 1);
    assert_int_equal(told.fetch.rc, VARVE_EIO);
    read.fetched = &told.fetch;
    assert_int_equal(get_now(cold, &read, cold->key, &pin), VARVE_EIO);
    assert_non_null(strstr(cold->bed.err.text, ".seg"));
    varve_fetch_release(&told.fetch);
    read.fetched = NULL;
    fetch_run(cold, &read, cold->key, &told); /* the next one is well */
    assert_int_equal(told.fetch.rc, 0);
    varve_fetch_release(&told.fetch);
}

static void test_fetch__no_memory_starts_nothing(void **state)
{
    struct cold *cold = *state;
    struct told told = {.fetch.done = on_done};
    struct varve_slice key = varve_slice_str(cold->key);

    mem_fail_nth(1, 1);
    assert_int_equal(varve_fetch_start(cold->bed.db, NULL, key, &told.fetch), VARVE_ENOMEM);
    assert_int_equal(varve_fetch_count(cold->bed.db, varve_slice_str("k"), &told.fetch),
                     VARVE_ENOMEM);
    mem_fail_nth(2, 0);
    assert_int_equal(varve_fetch_count(cold->bed.db, varve_slice_str("k"), &told.fetch),
                     VARVE_ENOMEM);
    mem_fail_nth(0, 0);
    assert_int_equal(step_waiting(cold->bed.stepper, VARVE_JOB_READ), 0);
    assert_int_equal(told.done, 0);
    varve_fetch_release(&told.fetch);
    varve_fetch_release(&(struct varve_fetch){0});
}

/* ---- counts ---- */

static void test_fetch_count__of_its_moment(void **state)
{
    struct cold *cold = *state;
    struct told told = {.fetch.done = on_done};
    uint64_t count;

    assert_int_equal(bed_delete(&cold->bed, "k000001"), 0);
    assert_int_equal(bed_put(&cold->bed, "k new", "x"), 0);
    assert_int_equal(varve_count_now(cold->bed.db, varve_slice_str("k"), &count, NULL),
                     VARVE_WOULD_BLOCK);
    assert_int_equal(varve_fetch_count(cold->bed.db, varve_slice_str("k"), &told.fetch), 0);
    assert_int_equal(bed_delete(&cold->bed, "k000002"), 0);
    bed_flush_only(&cold->bed);
    assert_int_equal(varve_compact(cold->bed.db, &cold->bed.err), 0);
    bed_run(&cold->bed);
    assert_int_equal(told.done, 1);
    assert_int_equal(told.fetch.rc, 0);
    assert_in_range(told.fetch.count, KEYS - 1, KEYS);
    varve_fetch_release(&told.fetch);
    assert_int_equal(bed_count(&cold->bed, "k"), KEYS - 1);
}

static void test_fetch_count__cancelled(void **state)
{
    struct cold *cold = *state;
    struct told told = {.fetch.done = on_done};

    assert_int_equal(bed_delete(&cold->bed, "k000001"), 0);
    assert_int_equal(bed_put(&cold->bed, "k new", "x"), 0);
    assert_int_equal(varve_fetch_count(cold->bed.db, varve_slice_str("k"), &told.fetch), 0);
    varve_fetch_cancel(&told.fetch);
    bed_run(&cold->bed);
    assert_int_equal(told.done, 1);
    assert_int_equal(told.fetch.rc, VARVE_EINVAL);
    varve_fetch_release(&told.fetch);
    assert_int_equal(bed_count(&cold->bed, "k"), KEYS);
}

#define WITH_COLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_COLD(test_fetch__answers_the_read),
        WITH_COLD(test_fetch__finds_its_key_among_others),
        cmocka_unit_test(test_fetch__moved_after),
        WITH_COLD(test_fetch__survives_a_merge),
        WITH_COLD(test_fetch__keeps_no_file),
        cmocka_unit_test(test_fetch__moved_before_its_job),
        cmocka_unit_test(test_fetch__moved_while_it_reads),
        WITH_COLD(test_fetch__snapshots),
        WITH_COLD(test_fetch__expires_meanwhile),
        WITH_COLD(test_fetch__error_is_told_by_the_read),
        WITH_COLD(test_fetch__no_memory_starts_nothing),
        WITH_COLD(test_fetch_count__of_its_moment),
        WITH_COLD(test_fetch_count__cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
