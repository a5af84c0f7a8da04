/* The explorer itself is attacked: what it says of tiny plays is compared with what is known, and with what
 * trying everything says; bugs in the grace periods and in toys must be found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plays.h"
#include "weave.h"

static _Atomic uint64_t x;
static _Atomic uint64_t y;
static uint64_t seen[2];
static uint32_t outcomes; /* a bit for each pair that was seen at the end */
static struct mutex one;
static struct mutex two;

static void begin(void)
{
    atomic_store(&x, 0);
    atomic_store(&y, 0);
    seen[0] = seen[1] = 0;
}

static void end(void)
{
    outcomes |= 1u << (seen[0] + 4 * seen[1]);
}

#define RELAXED memory_order_relaxed

static void store_x_load_y(void)
{
    atomic_store_explicit(&x, 1, RELAXED);
    seen[0] = atomic_load_explicit(&y, RELAXED);
}

static void store_y_load_x(void)
{
    atomic_store_explicit(&y, 1, RELAXED);
    seen[1] = atomic_load_explicit(&x, RELAXED);
}

static void store_x_fence_load_y(void)
{
    atomic_store_explicit(&x, 1, RELAXED);
    atomic_thread_fence(memory_order_seq_cst);
    seen[0] = atomic_load_explicit(&y, RELAXED);
}

static void store_y_fence_load_x(void)
{
    atomic_store_explicit(&y, 1, RELAXED);
    atomic_thread_fence(memory_order_seq_cst);
    seen[1] = atomic_load_explicit(&x, RELAXED);
}

static void store_x_then_y(void)
{
    atomic_store_explicit(&x, 1, RELAXED);
    atomic_store_explicit(&y, 1, RELAXED);
}

static void load_y_then_x(void)
{
    seen[0] = atomic_load_explicit(&y, RELAXED);
    seen[1] = atomic_load_explicit(&x, RELAXED);
}

static void bump_x(void)
{
    uint64_t now = atomic_load_explicit(&x, RELAXED);

    atomic_store_explicit(&x, now + 1, RELAXED);
    seen[0]++;
}

static void add_x(void)
{
    (void)atomic_fetch_add_explicit(&x, 1, RELAXED);
}

static void bump_locked(void)
{
    mutex_lock(&one);
    bump_x();
    mutex_unlock(&one);
}

static void take_one_two(void)
{
    mutex_lock(&one);
    mutex_lock(&two);
    mutex_unlock(&two);
    mutex_unlock(&one);
}

static void take_two_one(void)
{
    mutex_lock(&two);
    mutex_lock(&one);
    mutex_unlock(&one);
    mutex_unlock(&two);
}

static int is_one(uint64_t value, uint64_t arg)
{
    return value == arg;
}

static void await_x(void)
{
    weave_await(&x, sizeof(x), is_one, 1);
    seen[0] = atomic_load_explicit(&y, RELAXED);
}

static void own_x(void)
{
    atomic_store_explicit(&x, 2, RELAXED);
    seen[0] = atomic_load_explicit(&x, RELAXED);
    seen[1] = atomic_load_explicit(&y, RELAXED);
}

static void x_behind_y(void)
{
    atomic_store_explicit(&y, 1, RELAXED);
    atomic_store_explicit(&x, 1, RELAXED);
    (void)atomic_load_explicit(&x, RELAXED);
}

static void add_both(void)
{
    (void)atomic_fetch_add_explicit(&y, 1, RELAXED);
    (void)atomic_fetch_add_explicit(&x, 1, RELAXED);
}

static void bumped_twice(void)
{
    WEAVE_CHECK(atomic_load(&x) == 2);
}

/* Both ways of exploring meet the same orders; the reduced one meets none twice. */
static uint64_t explore_both(const struct weave_play *play, enum weave_order order)
{
    struct weave_result reduced;
    struct weave_result plain;

    outcomes = 0;
    weave_explore_plainly(play, order, 200000, &plain);
    assert_false(plain.failed);
    assert_true(plain.complete);
    weave_explore(play, order, 0, &reduced);
    assert_false(reduced.failed);
    assert_true(reduced.complete);
    assert_int_equal(reduced.runs, reduced.distinct);
    assert_int_equal(reduced.distinct, plain.distinct);
    return reduced.runs;
}

static int fails(const struct weave_play *play, enum weave_order order)
{
    struct weave_result result;

    weave_explore(play, order, 0, &result);
    if (!result.failed)
        assert_true(result.complete);
    return result.failed;
}

#define PLAY(...) (&(const struct weave_play){.begin = begin, .end = end, .threads = {__VA_ARGS__}})
#define PAIR(a, b) (1u << ((a) + 4 * (b)))

static void test_weave__store_buffers_are_seen_unless_there_are_fences(void **state)
{
    const struct weave_play *bare = PLAY(store_x_load_y, store_y_load_x);
    const struct weave_play *half = PLAY(store_x_fence_load_y, store_y_load_x);
    const struct weave_play *fenced = PLAY(store_x_fence_load_y, store_y_fence_load_x);

    (void)state;
    assert_int_equal(explore_both(bare, WEAVE_SC), 3);
    assert_int_equal(outcomes, PAIR(0, 1) | PAIR(1, 0) | PAIR(1, 1));
    assert_int_equal(explore_both(bare, WEAVE_TSO), 4);
    assert_int_equal(outcomes, PAIR(0, 0) | PAIR(0, 1) | PAIR(1, 0) | PAIR(1, 1));
    assert_int_equal(explore_both(half, WEAVE_TSO), 4);
    assert_int_equal(explore_both(fenced, WEAVE_TSO), 3);
    assert_int_equal(outcomes, PAIR(0, 1) | PAIR(1, 0) | PAIR(1, 1));
}

static void test_weave__stores_stay_in_order(void **state)
{
    const struct weave_play *play = PLAY(store_x_then_y, load_y_then_x);

    (void)state;
    assert_int_equal(explore_both(play, WEAVE_SC), 3);
    assert_int_equal(explore_both(play, WEAVE_TSO), 3);
    assert_int_equal(outcomes, PAIR(0, 0) | PAIR(0, 1) | PAIR(1, 1));
}

static void test_weave__an_own_store_is_seen_before_others_see_it(void **state)
{
    (void)state;
    explore_both(PLAY(own_x, x_behind_y), WEAVE_SC);
    assert_int_equal(outcomes & PAIR(1, 0), 0);
    explore_both(PLAY(own_x, x_behind_y), WEAVE_TSO);
    assert_int_equal(outcomes & PAIR(1, 0), 0);
    assert_true(outcomes & PAIR(2, 0));
    assert_true(outcomes & PAIR(1, 1));
}

static void test_weave__reduction_leaves_no_order_out(void **state)
{
    void (*const some[])(void) = {
        store_x_load_y, store_y_load_x, store_x_fence_load_y, store_x_then_y, load_y_then_x, own_x,
        x_behind_y,     add_both,       bump_locked,
    };
    const size_t count = sizeof(some) / sizeof(some[0]);

    (void)state;
    for (size_t i = 0; i < count * count; i++) {
        const struct weave_play *play = PLAY(some[i / count], some[i % count]);
        explore_both(play, WEAVE_SC);
        explore_both(play, WEAVE_TSO);
        if (i % 3 == 0) {
            play = PLAY(some[i / count], some[i % count], add_x);
            explore_both(play, WEAVE_SC);
        }
    }
}

static void test_weave__a_lost_update_is_found(void **state)
{
    struct weave_play play = {.begin = begin, .end = bumped_twice, .threads = {bump_x, bump_x}};

    (void)state;
    assert_true(fails(&play, WEAVE_SC));
    assert_true(fails(&play, WEAVE_TSO));
    play.threads[0] = play.threads[1] = bump_locked;
    assert_false(fails(&play, WEAVE_SC));
    assert_false(fails(&play, WEAVE_TSO));
    play.threads[0] = play.threads[1] = add_x;
    assert_false(fails(&play, WEAVE_TSO));
}

static void test_weave__who_waits_for_ever_is_found(void **state)
{
    (void)state;
    assert_true(fails(PLAY(take_one_two, take_two_one), WEAVE_SC));
    assert_false(fails(PLAY(take_one_two, take_one_two), WEAVE_TSO));
    assert_true(fails(PLAY(await_x), WEAVE_SC));
    assert_false(fails(PLAY(await_x, store_x_then_y), WEAVE_TSO));
    assert_true(fails(PLAY(await_x, add_x, add_x), WEAVE_SC));
}

static void use_freed(void)
{
    _Atomic uint64_t *at = mem_alloc(sizeof(*at));

    mem_free((void *)(uintptr_t)at);
    atomic_store(at, 1);
}

static void free_twice(void)
{
    void *at = mem_alloc(8);

    mem_free(at);
    mem_free(at);
}

static void leak(void)
{
    void *at = mem_alloc(8);

    WEAVE_CHECK(at != NULL);
}

static void test_weave__wrong_use_of_memory_is_found(void **state)
{
    (void)state;
    assert_true(fails(PLAY(use_freed), WEAVE_SC));
    assert_true(fails(PLAY(free_twice), WEAVE_SC));
    assert_true(fails(PLAY(leak), WEAVE_SC));
}

/* How many of the engine's plays fail with a bug in the grace periods. */
static size_t plays_that_fail(enum weave_urcu_bug bug, enum weave_order order)
{
    size_t failed = 0;

    plays_plant(bug);
    for (size_t i = 0; i < play_count; i++)
        if (!plays[i].large)
            failed += (size_t)fails(&plays[i].play, order);
    plays_plant(URCU_RIGHT);
    return failed;
}

static void test_weave__a_missing_fence_is_found_by_store_buffers_only(void **state)
{
    (void)state;
    plays_init();
    assert_int_equal(plays_that_fail(URCU_RIGHT, WEAVE_TSO), 0);
    assert_int_equal(plays_that_fail(URCU_NO_FENCE_ONLINE, WEAVE_SC), 0);
    assert_true(plays_that_fail(URCU_NO_FENCE_ONLINE, WEAVE_TSO) > 0);
    assert_true(plays_that_fail(URCU_SKIPS_FIRST, WEAVE_SC) > 0);
    plays_deinit();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weave__store_buffers_are_seen_unless_there_are_fences),
        cmocka_unit_test(test_weave__stores_stay_in_order),
        cmocka_unit_test(test_weave__an_own_store_is_seen_before_others_see_it),
        cmocka_unit_test(test_weave__reduction_leaves_no_order_out),
        cmocka_unit_test(test_weave__a_lost_update_is_found),
        cmocka_unit_test(test_weave__who_waits_for_ever_is_found),
        cmocka_unit_test(test_weave__wrong_use_of_memory_is_found),
        cmocka_unit_test(test_weave__a_missing_fence_is_found_by_store_buffers_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
