/* Readers, writers and a reclaimer on published pointers; in the suite `threads` also for TSan. What is
 * freed is poisoned first, so that a reader that is left with it sees it without a sanitizer as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rcu.h"
#include "base/thread.h"

#define READERS 3
#define REPLACED 3000 /* by each writer */
#define WORDS 16

struct thing {
    struct rcu_retired retired;
    uint64_t words[WORDS]; /* all the same, not 0 */
};

static struct thing *_Atomic published;
static _Atomic int stop;
static _Atomic size_t made;
static _Atomic size_t freed;
static _Atomic size_t reads;

static struct thing *thing_make(uint64_t word)
{
    struct thing *thing = mem_alloc(sizeof(*thing));

    CHECK(thing != NULL);
    for (int i = 0; i < WORDS; i++)
        thing->words[i] = word;
    atomic_fetch_add(&made, 1);
    return thing;
}

static void thing_free(struct rcu_retired *retired)
{
    struct thing *thing = CONTAINER_OF(retired, struct thing, retired);

    memset(thing->words, 0, sizeof(thing->words));
    atomic_fetch_add(&freed, 1);
    mem_free(thing);
}

static void thing_check(const struct thing *thing)
{
    uint64_t word = thing->words[0];

    CHECK(word != 0);
    for (int i = 1; i < WORDS; i++)
        CHECK(thing->words[i] == word);
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&stop, 0);
    atomic_store(&made, 0);
    atomic_store(&freed, 0);
    atomic_store(&reads, 0);
    atomic_store(&published, thing_make(1));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rcu_retire(&atomic_load(&published)->retired, thing_free);
    while (rcu_pending())
        rcu_reclaim();
    return atomic_load(&made) == atomic_load(&freed) ? 0 : -1;
}

static void replace(uint64_t word)
{
    struct thing *old = atomic_exchange(&published, thing_make(word));

    rcu_retire(&old->retired, thing_free);
}

static void run_reader(void *arg)
{
    (void)arg;
    do {
        rcu_enter();
        const struct thing *thing = atomic_load_explicit(&published, memory_order_acquire);
        thing_check(thing);
        sched_yield();
        thing_check(thing);
        rcu_leave();
        atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed);
    } while (!atomic_load(&stop));
}

static void run_writer(void *arg)
{
    for (uint64_t i = 1; i <= REPLACED; i++) {
        if (i % 2 == 0)
            rcu_enter(); /* retiring is allowed inside and outside */
        replace(i * 2 + (uintptr_t)arg);
        if (i % 2 == 0)
            rcu_leave();
        if (i % 16 == 0)
            sched_yield();
    }
}

static void run_reclaimer(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop))
        if (rcu_reclaim() == 0)
            sched_yield();
}

static void test_rcu__readers_never_see_what_was_freed(void **state)
{
    struct thread readers[READERS], writers[2], reclaimers[2];

    (void)state;
    for (int i = 0; i < READERS; i++)
        assert_int_equal(thread_start(&readers[i], "reader", run_reader, NULL), 0);
    for (uintptr_t i = 0; i < 2; i++) {
        assert_int_equal(thread_start(&writers[i], "writer", run_writer, (void *)i), 0);
        assert_int_equal(thread_start(&reclaimers[i], "reclaimer", run_reclaimer, NULL), 0);
    }
    thread_join(&writers[0]);
    thread_join(&writers[1]);
    atomic_store(&stop, 1);
    for (int i = 0; i < READERS; i++)
        thread_join(&readers[i]);
    for (int i = 0; i < 2; i++)
        thread_join(&reclaimers[i]);
    while (rcu_pending())
        rcu_reclaim();
    assert_int_equal(atomic_load(&made), 2 * REPLACED + 1);
    assert_int_equal(atomic_load(&freed), 2 * REPLACED);
    assert_true(atomic_load(&reads) >= READERS);
}

static void test_rcu__nests(void **state)
{
    (void)state;
    assert_int_equal(rcu_inside(), 0);
    rcu_enter();
    rcu_enter();
    rcu_leave();
    assert_int_equal(rcu_inside(), 1);
    rcu_leave();
    assert_int_equal(rcu_inside(), 0);
}

static void test_rcu__frees_what_was_retired_and_says_so(void **state)
{
    (void)state;
    assert_int_equal(rcu_pending(), 0);
    assert_int_equal(rcu_reclaim(), 0);
    replace(2);
    replace(3);
    assert_int_equal(rcu_pending(), 1);
    assert_int_equal(atomic_load(&freed), 0);
    assert_int_equal(rcu_reclaim(), 2);
    assert_int_equal(atomic_load(&freed), 2);
    assert_int_equal(rcu_pending(), 0);
}

static struct thing *second;

static void retire_second(struct rcu_retired *retired)
{
    rcu_retire(&second->retired, thing_free);
    thing_free(retired);
}

static void test_rcu__what_a_free_retires_waits_for_the_next_call(void **state)
{
    (void)state;
    second = thing_make(7);
    rcu_retire(&thing_make(6)->retired, retire_second);
    assert_int_equal(rcu_reclaim(), 1);
    assert_int_equal(rcu_pending(), 1);
    assert_int_equal(atomic_load(&freed), 1);
    assert_int_equal(rcu_reclaim(), 1);
    assert_int_equal(atomic_load(&freed), 2);
}

struct sleeper {
    struct mutex mutex;
    struct cond cond;
    int inside;
    int wake;
};

/* Nested, so that the inner leave must not count. */
static void run_sleeper(void *arg)
{
    struct sleeper *sleeper = arg;

    rcu_enter();
    const struct thing *thing = atomic_load_explicit(&published, memory_order_acquire);
    rcu_enter();
    rcu_leave();
    mutex_lock(&sleeper->mutex);
    sleeper->inside = 1;
    cond_broadcast(&sleeper->cond);
    while (!sleeper->wake)
        cond_wait(&sleeper->cond, &sleeper->mutex);
    mutex_unlock(&sleeper->mutex);
    thing_check(thing);
    CHECK(atomic_load(&freed) == 0);
    rcu_leave();
}

static void run_one_reclaim(void *arg)
{
    (void)arg;
    CHECK(rcu_reclaim() > 0);
}

static void test_rcu__who_sleeps_inside_holds_up_frees_alone(void **state)
{
    struct sleeper sleeper = {.inside = 0};
    struct thread sleeping, reclaimer;

    (void)state;
    mutex_init(&sleeper.mutex);
    cond_init(&sleeper.cond);
    assert_int_equal(thread_start(&sleeping, "sleeper", run_sleeper, &sleeper), 0);
    mutex_lock(&sleeper.mutex);
    while (!sleeper.inside)
        cond_wait(&sleeper.cond, &sleeper.mutex);
    mutex_unlock(&sleeper.mutex);
    replace(2);
    assert_int_equal(thread_start(&reclaimer, "reclaimer", run_one_reclaim, NULL), 0);
    for (uint64_t i = 0; i < 1000; i++) { /* others read, replace and retire on */
        rcu_enter();
        thing_check(atomic_load_explicit(&published, memory_order_acquire));
        rcu_leave();
        replace(i + 3);
        sched_yield();
    }
    assert_int_equal(atomic_load(&freed), 0);
    mutex_lock(&sleeper.mutex);
    sleeper.wake = 1;
    cond_broadcast(&sleeper.cond);
    mutex_unlock(&sleeper.mutex);
    thread_join(&sleeping);
    thread_join(&reclaimer);
    assert_true(atomic_load(&freed) > 0);
    mutex_deinit(&sleeper.mutex);
    cond_deinit(&sleeper.cond);
}

static void run_short_life(void *arg)
{
    (void)arg;
    rcu_enter();
    thing_check(atomic_load_explicit(&published, memory_order_acquire));
    rcu_leave();
    replace(9);
}

/* A thread that ended registered would be waited for, and its memory read, for ever. */
static void test_rcu__threads_end_while_others_go_on(void **state)
{
    struct thread reader, reclaimer;

    (void)state;
    assert_int_equal(thread_start(&reader, "reader", run_reader, NULL), 0);
    assert_int_equal(thread_start(&reclaimer, "reclaimer", run_reclaimer, NULL), 0);
    for (int i = 0; i < 200; i++) {
        struct thread brief;
        assert_int_equal(thread_start(&brief, "brief", run_short_life, NULL), 0);
        thread_join(&brief);
    }
    atomic_store(&stop, 1);
    thread_join(&reader);
    thread_join(&reclaimer);
    rcu_reclaim();
    assert_int_equal(atomic_load(&freed), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rcu__nests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rcu__frees_what_was_retired_and_says_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_rcu__what_a_free_retires_waits_for_the_next_call,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_rcu__who_sleeps_inside_holds_up_frees_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_rcu__threads_end_while_others_go_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rcu__readers_never_see_what_was_freed, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
