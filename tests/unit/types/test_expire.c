/* When the expirer looks where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "types/expire.h"
#include "types/walk.h"

#define SPACE 7
#define NOW_MS UINT64_C(1700000000000)
#define NOW_US UINT64_C(5000000)
#define WALK_US 2000

static int is_due(struct expire *expire, uint64_t now_ms, uint64_t now_us)
{
    return expire_is_due(expire, 0, SPACE, now_ms, now_us);
}

static struct expire_slice slice_of(uint64_t expiring, uint64_t expired)
{
    return (struct expire_slice){.space_id = SPACE,
                                 .expiring = expiring,
                                 .expired = expired,
                                 .first_ms = EXPIRE_NEVER,
                                 .next_hash = WALK_HASH_END,
                                 .walk_us = WALK_US};
}

static void begin(struct expire *expire)
{
    expire_init(expire);
    assert_true(is_due(expire, NOW_MS, NOW_US)); /* nothing is known of it yet */
    expire_begin(expire, 0);
    assert_false(is_due(expire, NOW_MS, NOW_US));
    assert_true(expire_slice_is_due(expire, 0, SPACE, NOW_US));
}

/* How long after a slice the next one of its round is due. */
static uint64_t wait_after(struct expire *expire, struct expire_slice slice, uint64_t now_us)
{
    uint64_t wait_us = 0;

    slice.next_hash = 1000;
    expire_end_slice(expire, 0, &slice, now_us);
    assert_int_equal(expire->of_db[0].from_hash, 1000);
    while (!expire_slice_is_due(expire, 0, SPACE, now_us + wait_us))
        wait_us += 1000;
    return wait_us;
}

static void test_expire__rests_until_the_next_one_expires(void **state)
{
    struct expire expire;
    struct expire_slice slice = slice_of(10, 0);
    uint64_t long_after_us = NOW_US + 60 * EXPIRE_WAIT_MAX_US;

    (void)state;
    begin(&expire);
    slice.first_ms = NOW_MS + 5000;
    expire_end_slice(&expire, 0, &slice, NOW_US);
    assert_false(is_due(&expire, NOW_MS + 4999, long_after_us));
    assert_true(is_due(&expire, NOW_MS + 5000, long_after_us));
    expire_note_write(&expire, 0, 0);
    expire_note_write(&expire, 0, NOW_MS + 9000);
    assert_false(is_due(&expire, NOW_MS + 4999, long_after_us));
    expire_note_write(&expire, 0, NOW_MS + 1000);
    assert_false(is_due(&expire, NOW_MS + 999, long_after_us));
    assert_true(is_due(&expire, NOW_MS + 1000, long_after_us));
    assert_false(expire_slice_is_due(&expire, 0, SPACE, long_after_us));
}

static void test_expire__what_is_written_in_a_round_counts(void **state)
{
    struct expire expire;
    struct expire_slice slice = slice_of(10, 0);

    (void)state;
    begin(&expire);
    expire_note_write(&expire, 0, NOW_MS + 50);
    slice.first_ms = NOW_MS + 5000;
    expire_end_slice(&expire, 0, &slice, NOW_US);
    assert_true(is_due(&expire, NOW_MS + 50, NOW_US + EXPIRE_WAIT_MAX_US));
}

static void test_expire__no_round_where_nothing_can_expire(void **state)
{
    struct expire expire;

    (void)state;
    expire_init(&expire);
    assert_false(expire_is_due(&expire, 0, 0, NOW_MS, NOW_US)); /* a database without a space */
    assert_true(is_due(&expire, NOW_MS, NOW_US));
    expire_nothing(&expire, 0);
    assert_false(is_due(&expire, NOW_MS + 1000000, NOW_US * 1000));
    assert_int_equal(expire_wait_us(&expire, NOW_MS, NOW_US), EXPIRE_TICK_US);
    expire_note_write(&expire, 0, NOW_MS + 30);
    assert_true(expire_wait_us(&expire, NOW_MS, NOW_US) <= 30000);
    assert_true(is_due(&expire, NOW_MS + 30, NOW_US + 30000));
}

/* More than a tenth: at once, but for three quarters of the time. */
static void test_expire__goes_on_where_it_finds_many(void **state)
{
    struct expire expire;

    (void)state;
    begin(&expire);
    assert_int_equal(wait_after(&expire, slice_of(100, 11), NOW_US), 3 * WALK_US);
    assert_int_equal(wait_after(&expire, slice_of(100, 10), NOW_US), EXPIRE_TICK_US);
    assert_int_equal(wait_after(&expire, slice_of(100, 1), NOW_US), EXPIRE_TICK_US);
    assert_int_equal(wait_after(&expire, slice_of(0, 0), NOW_US), 19 * WALK_US);
}

static void test_expire__slows_down_where_it_finds_few(void **state)
{
    struct expire expire;
    uint64_t before_us = EXPIRE_TICK_US / 2;

    (void)state;
    begin(&expire);
    assert_int_equal(wait_after(&expire, slice_of(1000, 1), NOW_US), EXPIRE_TICK_US);
    for (int i = 0; i < 6; i++) {
        uint64_t wait_us = wait_after(&expire, slice_of(1000, 1), NOW_US);
        assert_true(wait_us == EXPIRE_WAIT_MAX_US || wait_us >= 2 * before_us);
        before_us = wait_us;
    }
    assert_int_equal(before_us, EXPIRE_WAIT_MAX_US);
    assert_int_equal(wait_after(&expire, slice_of(1000, 900), NOW_US), 3 * WALK_US);
}

static void test_expire__missed_ones_are_met_again(void **state)
{
    struct expire expire;
    struct expire_slice slice = slice_of(10, 10);

    (void)state;
    begin(&expire);
    slice.missed = 1;
    expire_end_slice(&expire, 0, &slice, NOW_US);
    assert_false(is_due(&expire, NOW_MS, NOW_US + EXPIRE_TICK_US / 2));
    assert_true(is_due(&expire, NOW_MS, NOW_US + EXPIRE_TICK_US));
}

static void test_expire__a_failed_slice_begins_anew(void **state)
{
    struct expire expire;

    (void)state;
    begin(&expire);
    expire_fail_slice(&expire, 0, NOW_US);
    assert_false(expire_slice_is_due(&expire, 0, SPACE, NOW_US + EXPIRE_WAIT_MAX_US));
    assert_false(is_due(&expire, NOW_MS, NOW_US + EXPIRE_WAIT_MAX_US - 1));
    assert_true(is_due(&expire, NOW_MS, NOW_US + EXPIRE_WAIT_MAX_US));
}

static void test_expire__another_space_is_another_matter(void **state)
{
    struct expire expire;
    struct expire_slice slice = slice_of(10, 0);

    (void)state;
    begin(&expire);
    assert_false(expire_slice_is_due(&expire, 0, SPACE + 1, NOW_US));
    assert_true(expire_is_due(&expire, 0, SPACE + 1, NOW_MS, NOW_US));
    expire_begin(&expire, 0);
    expire_end_slice(&expire, 0, &slice, NOW_US); /* of the one before */
    assert_true(expire_slice_is_due(&expire, 0, SPACE + 1, NOW_US + 3 * WALK_US));
    /* Away and back while nobody looked. */
    expire_nothing(&expire, 0);
    expire_forget(&expire, 0);
    assert_true(expire_is_due(&expire, 0, SPACE + 1, NOW_MS, NOW_US + 3 * WALK_US));
}

static void test_expire__estimates_what_is_stale(void **state)
{
    struct expire expire;

    (void)state;
    begin(&expire);
    for (int i = 0; i < 200; i++)
        (void)wait_after(&expire, slice_of(100, 20), NOW_US);
    assert_true(expire.stale > 0.19 && expire.stale < 0.21);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expire__rests_until_the_next_one_expires),
        cmocka_unit_test(test_expire__what_is_written_in_a_round_counts),
        cmocka_unit_test(test_expire__no_round_where_nothing_can_expire),
        cmocka_unit_test(test_expire__goes_on_where_it_finds_many),
        cmocka_unit_test(test_expire__slows_down_where_it_finds_few),
        cmocka_unit_test(test_expire__missed_ones_are_met_again),
        cmocka_unit_test(test_expire__a_failed_slice_begins_anew),
        cmocka_unit_test(test_expire__another_space_is_another_matter),
        cmocka_unit_test(test_expire__estimates_what_is_stale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
