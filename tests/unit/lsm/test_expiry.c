/* What sweepers of expired records ask of the engine, and what compactions leave to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bed.h"

#define DEAD_KEYS 10000

static struct varve_iter *dead_walk(struct bed *bed, int no_wait)
{
    struct varve_read read = {.dead = 1, .no_wait = no_wait};
    struct varve_iter *iter = varve_iter_create(bed->db, &read, NULL, NULL, &bed->err);

    assert_non_null(iter);
    varve_iter_first(iter);
    return iter;
}

/* The record that a walk of now shows for its only key, and how far it saw. */
static void look(struct bed *bed, uint64_t *seq, uint64_t *as_of)
{
    struct varve_iter *iter = dead_walk(bed, 0);

    assert_true(varve_iter_valid(iter));
    *seq = varve_iter_seq(iter);
    *as_of = varve_iter_as_of(iter);
    assert_true(*as_of >= *seq);
    varve_iter_destroy(iter);
}

static int is_newest(struct bed *bed, uint64_t seq, uint64_t as_of)
{
    return varve_is_newest(bed->db, varve_slice_str("a"), seq, as_of);
}

static void test_expiry__newest_until_it_is_written(void **state)
{
    struct bed *bed = *state;
    uint64_t seq;
    uint64_t as_of;

    for (int in_segment = 0; in_segment < 2; in_segment++) {
        assert_int_equal(bed_put(bed, "a", "1"), 0);
        if (in_segment)
            bed_flush_ok(bed);
        look(bed, &seq, &as_of);
        assert_int_equal(is_newest(bed, seq, as_of), 1);
        assert_int_equal(bed_put(bed, "b", "1"), 0);
        assert_int_equal(is_newest(bed, seq, as_of), 1);
        assert_int_equal(bed_add(bed, "a", "2"), 0);
        assert_int_equal(is_newest(bed, seq, as_of), 0);
        assert_int_equal(varve_group_commit(bed->db, NULL), 0);
        assert_int_equal(is_newest(bed, seq, as_of), 0);
        bed_swap(bed); /* it waits for its flush */
        assert_int_equal(is_newest(bed, seq, as_of), 0);
        bed_flush_ok(bed);
        assert_int_equal(is_newest(bed, seq, as_of), VARVE_WOULD_BLOCK);
    }
}

static void test_expiry__newest_until_it_is_deleted(void **state)
{
    struct bed *bed = *state;
    uint64_t seq;
    uint64_t as_of;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    look(bed, &seq, &as_of);
    assert_int_equal(bed_delete_range(bed, "a", "c"), 0);
    assert_int_equal(is_newest(bed, seq, as_of), 0);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    look(bed, &seq, &as_of);
    assert_int_equal(bed_delete(bed, "a"), 0);
    assert_int_equal(is_newest(bed, seq, as_of), 0);
}

/* A flush of other keys alone makes it forget as well: memory cannot know. */
static void test_expiry__a_flush_ends_what_is_known(void **state)
{
    struct bed *bed = *state;
    uint64_t seq;
    uint64_t as_of;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_flush_ok(bed);
    look(bed, &seq, &as_of);
    assert_int_equal(bed_put(bed, "b", "1"), 0);
    bed_flush_ok(bed);
    assert_int_equal(is_newest(bed, seq, as_of), VARVE_WOULD_BLOCK);
    look(bed, &seq, &as_of);
    assert_int_equal(is_newest(bed, seq, as_of), 1);
}

static uint64_t expiring(struct bed *bed, const char *lower, const char *upper)
{
    return varve_expiring(bed->db, varve_slice_str(lower), varve_slice_str(upper));
}

static void test_expiry__knows_where_none_is(void **state)
{
    struct bed *bed = *state;
    uint64_t later_ms = varve_now_ms(bed->db) + 60000;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(expiring(bed, "a", "z"), 0);
    assert_int_equal(bed_put_bytes(bed, "m", varve_slice_str("1"), later_ms), 0);
    assert_int_equal(expiring(bed, "a", "z"), 1);
    bed_flush_ok(bed);
    assert_int_equal(expiring(bed, "a", "z"), 1);
    assert_int_equal(expiring(bed, "x", "z"), 0);
    bed_close_ok(bed);
    bed_open_ok(bed);
    assert_int_equal(expiring(bed, "a", "z"), 1);
    assert_int_equal(bed_put_bytes(bed, "n", varve_slice_str("1"), later_ms), 0);
    bed_crash(bed, SIM_KILL, 1);
    bed_open_ok(bed);
    assert_int_equal(expiring(bed, "a", "z"), 2);
}

static int is_there(struct bed *bed)
{
    struct varve_iter *iter = dead_walk(bed, 0);
    int valid = varve_iter_valid(iter);

    varve_iter_destroy(iter);
    return valid;
}

static void test_expiry__compactions_grant_grace(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.expiry_grace_ms = 20000;
    bed_open_ok(bed);
    uint64_t expire_ms = varve_now_ms(bed->db) + 500;
    assert_int_equal(bed_put_bytes(bed, "a", varve_slice_str("1"), expire_ms), 0);
    bed_flush_ok(bed);
    bed_pass_us(bed, 19 * 1000000);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    assert_string_equal(bed_get(bed, "a"), "-");
    assert_true(is_there(bed));
    bed_pass_us(bed, 2 * 1000000);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    assert_false(is_there(bed));
}

static void test_expiry__what_was_swept_needs_no_grace(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.expiry_grace_ms = 20000;
    bed_open_ok(bed);
    uint64_t expire_ms = varve_now_ms(bed->db) + 500;
    assert_int_equal(bed_put_bytes(bed, "a", varve_slice_str("1"), expire_ms), 0);
    bed_flush_ok(bed);
    bed_pass_us(bed, 1000000);
    varve_set_swept_ms(bed->db, expire_ms);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    assert_true(is_there(bed));
    varve_set_swept_ms(bed->db, expire_ms + 1);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    assert_false(is_there(bed));
}

/* Thousands of deleted keys are no stretch for who must not wait, though all lies in memory. */
static void test_expiry__a_long_dead_stretch_would_block(void **state)
{
    struct varve_read read = {.no_wait = 1};
    struct bed *bed = *state;
    char key[16];

    for (int i = 0; i < DEAD_KEYS; i++) {
        snprintf(key, sizeof(key), "k%05d", i);
        assert_int_equal(bed_delete(bed, key), 0);
    }
    assert_int_equal(bed_put(bed, "z", "1"), 0);
    for (int no_wait = 0; no_wait < 2; no_wait++) {
        read.no_wait = no_wait;
        struct varve_iter *iter = varve_iter_create(bed->db, &read, NULL, NULL, &bed->err);
        assert_non_null(iter);
        varve_iter_first(iter);
        assert_int_equal(varve_iter_valid(iter), !no_wait);
        assert_int_equal(varve_iter_status(iter, NULL), no_wait ? VARVE_WOULD_BLOCK : 0);
        varve_iter_last(iter);
        assert_true(varve_iter_valid(iter));
        varve_iter_prev(iter);
        assert_false(varve_iter_valid(iter));
        assert_int_equal(varve_iter_status(iter, NULL), no_wait ? VARVE_WOULD_BLOCK : 0);
        varve_iter_destroy(iter);
    }
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_expiry__newest_until_it_is_written),
        WITH_BED(test_expiry__newest_until_it_is_deleted),
        WITH_BED(test_expiry__a_flush_ends_what_is_known),
        WITH_BED(test_expiry__knows_where_none_is),
        WITH_BED(test_expiry__compactions_grant_grace),
        WITH_BED(test_expiry__what_was_swept_needs_no_grace),
        WITH_BED(test_expiry__a_long_dead_stretch_would_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
