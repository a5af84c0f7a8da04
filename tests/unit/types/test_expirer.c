/* The active expirer over a database in memory, whose jobs run when the test says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_db.h"
#include "types/expirer.h"
#include "types/keyspace.h"

#define NOW UINT64_C(1700000000000)
#define MANY 500
#define BATCH 64

static uint64_t clock_us;
static uint64_t clock_step_us; /* by each look at the clock */

static uint64_t read_clock(void)
{
    clock_us += clock_step_us;
    return clock_us;
}

struct fixture {
    struct varve_db *db;
    struct keyspace *keyspace;
    struct expirer *expirer;
    uint64_t now_ms;
    int wakes;
    struct varve_err err;
};

static void on_wake(void *arg)
{
    ((struct fixture *)arg)->wakes++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    clock_us = 1000000;
    clock_step_us = 1;
    f->now_ms = NOW;
    f->db = fake_db_create();
    fake_db_set_now_ms(f->db, NOW);
    assert_int_equal(keyspace_open(f->db, &f->keyspace, &f->err), 0);
    keyspace_set_executor(f->keyspace, fake_db_executor(f->db));
    f->expirer = expirer_create(f->keyspace, on_wake, f, read_clock);
    assert_non_null(f->expirer);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    while (fake_db_step(f->db))
        continue;
    expirer_drain(f->expirer);
    expirer_destroy(f->expirer);
    keyspace_close(f->keyspace);
    fake_db_destroy(f->db);
    free(f);
    return 0;
}

static void pass_ms(struct fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    clock_us += ms * 1000;
    fake_db_set_now_ms(f->db, f->now_ms);
}

static void commit(struct fixture *f)
{
    assert_int_equal(varve_group_commit(f->db, NULL), 0);
}

static void put(struct fixture *f, int db, const char *name, uint64_t expire_ms)
{
    struct varve_slice value = varve_slice_str("v");
    uint64_t seq = 0;

    keyspace_begin(f->keyspace);
    assert_int_equal(
        keyspace_put(f->keyspace, db, varve_slice_str(name), 0, &value, 1, expire_ms, &f->err), 0);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
}

/* `count` names that expire in 100 ms, committed. */
static void put_many(struct fixture *f, int count)
{
    char name[16];

    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        put(f, 0, name, f->now_ms + 100);
    }
    commit(f);
}

static uint64_t turn(struct fixture *f)
{
    uint64_t wait_us = expirer_turn(f->expirer);

    assert_true(wait_us <= 1000000);
    assert_false(varve_group_open(f->db));
    return wait_us;
}

/* Lets 100 ms pass at a time, with a turn and a job in each. */
static void run(struct fixture *f, int times)
{
    for (int i = 0; i < times; i++) {
        pass_ms(f, 100);
        (void)turn(f);
        (void)fake_db_step(f->db);
    }
}

/* To where a walk has ended, and nothing is swept. */
static void run_to_walked(struct fixture *f)
{
    for (int i = 0; i < 20; i++) {
        pass_ms(f, 100);
        (void)turn(f);
        if (fake_db_step(f->db))
            return;
    }
    fail_msg("no walk");
}

static uint64_t names(struct fixture *f, int db)
{
    uint64_t seq = 0;
    uint64_t count;

    assert_int_equal(keyspace_count(f->keyspace, db, &count, &seq, &f->err), 0);
    return count;
}

static uint64_t expired(struct fixture *f)
{
    return keyspace_stats(f->keyspace)->expired_keys;
}

static uint64_t slices(struct fixture *f)
{
    struct expirer_stats stats;

    expirer_get_stats(f->expirer, &stats);
    return stats.slices;
}

static void test_expirer__each_goes_once(void **state)
{
    struct fixture *f = *state;

    put(f, 0, "stays", 0);
    put(f, 0, "later", NOW + 3600 * 1000);
    put_many(f, MANY);
    assert_int_equal(names(f, 0), MANY + 2);
    run(f, 40);
    assert_int_equal(names(f, 0), 2);
    assert_int_equal(expired(f), MANY);
    assert_true(f->wakes > 0);
    run(f, 40);
    assert_int_equal(expired(f), MANY);
}

static void test_expirer__one_that_was_read_is_counted_once(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;

    put_many(f, 10);
    pass_ms(f, 200);
    (void)turn(f);
    assert_true(fake_db_step(f->db));
    assert_int_equal(keyspace_exists(f->keyspace, 0, varve_slice_str("k3"), f->now_ms,
                                     KEYSPACE_READ, &seq, &f->err),
                     VARVE_NOT_FOUND);
    commit(f);
    assert_int_equal(expired(f), 1);
    run(f, 20);
    assert_int_equal(names(f, 0), 0);
    assert_int_equal(expired(f), 10);
}

/* However long the page is, a turn ends when its time is over. */
static void test_expirer__a_turn_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct expirer_stats stats;
    uint64_t before = 0;
    int turns = 0;

    put_many(f, MANY);
    clock_step_us = 400;
    for (; before < MANY && turns < 200; turns++) {
        pass_ms(f, 100);
        (void)turn(f);
        (void)fake_db_step(f->db);
        assert_true(expired(f) - before <= 3 * BATCH);
        before = expired(f);
    }
    assert_int_equal(before, MANY);
    expirer_get_stats(f->expirer, &stats);
    assert_true(stats.capped > 0);
    assert_true(stats.turns >= MANY / (3 * BATCH));
}

/* And the next one is three times as long away, however early it is asked. */
static void test_expirer__it_rests_between_turns(void **state)
{
    struct fixture *f = *state;

    put_many(f, MANY);
    run_to_walked(f);
    clock_step_us = 400;
    uint64_t wait_us = turn(f);
    uint64_t before = expired(f);
    assert_true(before > 0 && before < MANY);
    assert_true(wait_us >= 3000);
    clock_step_us = 0;
    (void)turn(f);
    assert_int_equal(expired(f), before);
    clock_us += wait_us;
    (void)turn(f);
    assert_true(expired(f) > before);
}

static void test_expirer__what_was_written_since_stays(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;

    put_many(f, 10);
    run_to_walked(f);
    while (expired(f) == 0 && slices(f) == 0) {
        put(f, 0, "k0", 0);                 /* overwritten */
        put(f, 0, "k1", f->now_ms + 60000); /* with another time */
        keyspace_begin(f->keyspace);
        assert_int_equal(keyspace_delete(f->keyspace, 0, varve_slice_str("k2"), &f->err), 0);
        assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
        commit(f);
        (void)turn(f);
    }
    run(f, 20);
    assert_int_equal(names(f, 0), 2);
    assert_int_equal(expired(f), 7);
    assert_int_equal(keyspace_exists(f->keyspace, 0, varve_slice_str("k0"), f->now_ms,
                                     KEYSPACE_READ, &seq, &f->err),
                     0);
    assert_int_equal(keyspace_exists(f->keyspace, 0, varve_slice_str("k1"), f->now_ms,
                                     KEYSPACE_READ, &seq, &f->err),
                     0);
}

static void test_expirer__what_memory_cannot_say_waits_for_a_round(void **state)
{
    struct fixture *f = *state;

    put_many(f, 10);
    pass_ms(f, 200);
    (void)turn(f);
    assert_true(fake_db_step(f->db));
    put(f, 0, "k0", 0);
    commit(f);
    fake_db_flush_up_to_now(f->db);
    (void)turn(f);
    assert_int_equal(expired(f), 0);
    run(f, 20);
    assert_int_equal(expired(f), 9);
    assert_int_equal(names(f, 0), 1);
}

static void test_expirer__keeps_away_from_an_open_group(void **state)
{
    struct fixture *f = *state;

    put_many(f, 10);
    run_to_walked(f);
    put(f, 0, "other", 0);
    assert_true(expirer_turn(f->expirer) > 0);
    assert_true(varve_group_open(f->db));
    assert_int_equal(expired(f), 0);
    commit(f);
    run(f, 20);
    assert_int_equal(expired(f), 10);
}

static void test_expirer__rests_while_writes_are_refused_or_slowed(void **state)
{
    struct fixture *f = *state;

    put_many(f, 10);
    fake_db_refuse(f->db, VARVE_EREADONLY);
    run(f, 20);
    assert_int_equal(expired(f), 0);
    assert_int_equal(slices(f), 0);
    fake_db_refuse(f->db, 0);
    fake_db_delay_writes(f->db, 100, VARVE_STALL_LEVEL0);
    run(f, 20);
    assert_int_equal(expired(f), 0);
    fake_db_delay_writes(f->db, 0, VARVE_STALL_NONE);
    run(f, 20);
    assert_int_equal(expired(f), 10);
}

static void test_expirer__a_failed_commit_counts_nothing(void **state)
{
    struct fixture *f = *state;

    put_many(f, 10);
    run_to_walked(f);
    fake_db_fail_commit(f->db);
    pass_ms(f, 100);
    (void)turn(f);
    assert_int_equal(expired(f), 0);
    fake_db_refuse(f->db, 0);
    run(f, 40);
    assert_int_equal(expired(f), 10);
    assert_int_equal(names(f, 0), 0);
}

static void test_expirer__a_failed_walk_is_made_again(void **state)
{
    struct fixture *f = *state;

    put_many(f, 10);
    fake_db_chill(f->db, NULL);
    fake_db_fail_fetches(f->db, VARVE_EIO);
    run(f, 40);
    assert_int_equal(expired(f), 0);
    fake_db_fail_fetches(f->db, 0);
    run(f, 40);
    assert_int_equal(expired(f), 10);
}

static void test_expirer__rests_where_nothing_expires(void **state)
{
    struct fixture *f = *state;

    put(f, 0, "stays", 0);
    commit(f);
    run(f, 100);
    assert_int_equal(slices(f), 0); /* nothing there has an expiry at all */
    put(f, 0, "later", f->now_ms + 60000);
    put_many(f, 10);
    run(f, 50);
    uint64_t before = slices(f);
    assert_int_equal(expired(f), 10);
    run(f, 500);
    assert_int_equal(slices(f), before);
    put(f, 0, "soon", f->now_ms + 1000);
    commit(f);
    run(f, 9);
    assert_int_equal(slices(f), before);
    run(f, 5);
    assert_int_equal(expired(f), 11);
    run(f, 100);
    assert_int_equal(expired(f), 12); /* "later" */
}

static void test_expirer__can_be_turned_off(void **state)
{
    struct fixture *f = *state;

    put_many(f, 10);
    expirer_set_active(f->expirer, 0);
    run(f, 50);
    assert_int_equal(expired(f), 0);
    expirer_set_active(f->expirer, 1);
    run(f, 20);
    assert_int_equal(expired(f), 10);
}

static void test_expirer__follows_databases(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;

    put(f, 3, "a", NOW + 100);
    put(f, 15, "b", NOW + 100);
    put(f, 3, "stays", 0);
    commit(f);
    run_to_walked(f);
    keyspace_begin(f->keyspace);
    assert_int_equal(keyspace_swap(f->keyspace, 3, 4, &f->err), 0);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
    commit(f);
    put(f, 4, "c", f->now_ms + 100);
    commit(f);
    run(f, 40);
    assert_int_equal(expired(f), 3);
    assert_int_equal(names(f, 4), 1);
    assert_int_equal(names(f, 15), 0);
}

static void test_expirer__a_flushed_database_is_let_be(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;

    put_many(f, 10);
    run_to_walked(f);
    keyspace_begin(f->keyspace);
    assert_int_equal(keyspace_flush(f->keyspace, 0, &f->err), 0);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
    commit(f);
    run(f, 20);
    assert_int_equal(expired(f), 0);
}

/* Compactions are told what was met, never more. */
static void test_expirer__tells_what_is_swept(void **state)
{
    struct fixture *f = *state;

    put(f, 2, "later", NOW + 60000);
    put_many(f, 10);
    pass_ms(f, 50);
    (void)turn(f);
    assert_int_equal(fake_db_swept_ms(f->db), 0);
    run(f, 20);
    (void)turn(f);
    assert_int_equal(expired(f), 10);
    assert_int_equal(fake_db_swept_ms(f->db), NOW + 60000);
    put(f, 0, "soon", f->now_ms + 100);
    commit(f);
    uint64_t soon_ms = f->now_ms + 100;
    while (expired(f) == 10) {
        pass_ms(f, 60);
        (void)turn(f);
        if (expired(f) == 10)
            assert_int_equal(fake_db_swept_ms(f->db), soon_ms);
        (void)fake_db_step(f->db);
    }
    run(f, 2);
    assert_int_equal(fake_db_swept_ms(f->db), NOW + 60000);
    expirer_set_active(f->expirer, 0);
    (void)turn(f);
    assert_int_equal(fake_db_swept_ms(f->db), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_expirer__each_goes_once),
        CASE(test_expirer__one_that_was_read_is_counted_once),
        CASE(test_expirer__a_turn_is_bounded),
        CASE(test_expirer__it_rests_between_turns),
        CASE(test_expirer__what_was_written_since_stays),
        CASE(test_expirer__what_memory_cannot_say_waits_for_a_round),
        CASE(test_expirer__keeps_away_from_an_open_group),
        CASE(test_expirer__rests_while_writes_are_refused_or_slowed),
        CASE(test_expirer__a_failed_commit_counts_nothing),
        CASE(test_expirer__a_failed_walk_is_made_again),
        CASE(test_expirer__rests_where_nothing_expires),
        CASE(test_expirer__can_be_turned_off),
        CASE(test_expirer__follows_databases),
        CASE(test_expirer__a_flushed_database_is_let_be),
        CASE(test_expirer__tells_what_is_swept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
