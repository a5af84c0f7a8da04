/* The set against a model that asks every tombstone. Keys are short over a small alphabet, so that bounds
 * meet, and every probe lies on a bound, just behind one or between two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lsm/range_set.h"

#define RANGES_MAX 40
#define PROBES 120 /* all strings of up to 4 of 3 letters, but for the empty one */
#define NESTED 20000

struct fixture {
    uint8_t probes[PROBES][4];
    struct varve_slice keys[PROBES]; /* sorted; [0] is not empty */
    struct range_tombstone ranges[RANGES_MAX];
    size_t count;
    uint64_t seq_newest;
    struct range_set *set;
};

static int compare_slices(const void *a, const void *b)
{
    return varve_slice_compare(*(const struct varve_slice *)a, *(const struct varve_slice *)b);
}

static int setup(void **state)
{
    static struct fixture f;
    size_t count = 0;

    for (uint32_t len = 1, all = 3; len <= 4; len++, all *= 3)
        for (uint32_t i = 0; i < all; i++) {
            uint32_t digits = i;
            for (uint32_t at = 0; at < len; at++, digits /= 3)
                f.probes[count][at] = (uint8_t)("\0bc"[digits % 3]);
            f.keys[count] = varve_slice(f.probes[count], len);
            count++;
        }
    assert_int_equal(count, PROBES);
    qsort(f.keys, PROBES, sizeof(f.keys[0]), compare_slices);
    *state = &f;
    return 0;
}

/* ---- the model ---- */

static uint64_t model_seq(const struct fixture *f, struct varve_slice key, uint64_t seq_max)
{
    uint64_t newest = 0;

    for (size_t i = 0; i < f->count; i++) {
        const struct range_tombstone *range = &f->ranges[i];
        if (range->seq <= seq_max && range->seq > newest &&
            varve_slice_compare(range->begin, key) <= 0 && varve_slice_compare(key, range->end) < 0)
            newest = range->seq;
    }
    return newest;
}

/* Bounds are probes, so what holds for the probes in [lower, upper) holds for all keys in it. */
static uint64_t model_cover(const struct fixture *f, size_t lower, size_t upper, uint64_t seq_max)
{
    uint64_t smallest = UINT64_MAX;

    for (size_t i = lower; i < upper; i++) {
        uint64_t seq = model_seq(f, f->keys[i], seq_max);
        smallest = seq < smallest ? seq : smallest;
    }
    return smallest == UINT64_MAX ? 0 : smallest;
}

static int model_touches(const struct fixture *f, size_t lower, size_t upper)
{
    for (size_t i = lower; i < upper; i++)
        if (model_seq(f, f->keys[i], UINT64_MAX) != 0)
            return 1;
    return 0;
}

/* ---- playing ---- */

static void make_ranges(struct fixture *f, struct rng *rng)
{
    uint64_t width = 1 + rng_below(rng, PROBES);

    f->count = (size_t)rng_below(rng, RANGES_MAX + 1);
    f->seq_newest = 1 + rng_below(rng, 60);
    for (size_t i = 0; i < f->count; i++) {
        struct range_tombstone *range = &f->ranges[i];
        size_t begin = (size_t)rng_below(rng, PROBES);
        size_t end = begin + (size_t)rng_below(rng, width);
        range->begin = f->keys[begin];
        range->end = f->keys[end < PROBES ? end : PROBES - 1];
        range->seq = 1 + rng_below(rng, f->seq_newest);
        if (rng_below(rng, 20) == 0)
            range->begin = varve_slice(NULL, 0);
    }
}

/* From borrowed copies that are gone when it is asked. */
static struct range_set *make_set(const struct fixture *f)
{
    struct range_tombstone *ranges = mem_alloc(sizeof(f->ranges));
    uint8_t(*keys)[8] = mem_alloc_zero(RANGES_MAX * sizeof(*keys));

    CHECK(ranges != NULL && keys != NULL);
    for (size_t i = 0; i < f->count; i++) {
        const struct range_tombstone *range = &f->ranges[i];
        if (range->begin.len > 0)
            memcpy(keys[i], range->begin.data, range->begin.len);
        memcpy(keys[i] + 4, range->end.data, range->end.len);
        ranges[i] = (struct range_tombstone){varve_slice(keys[i], range->begin.len),
                                             varve_slice(keys[i] + 4, range->end.len), range->seq};
    }
    struct range_set *set = range_set_create(ranges, f->count);
    memset(keys, 'b', RANGES_MAX * sizeof(*keys));
    mem_free(keys);
    mem_free(ranges);
    return set;
}

static void check_keys(const struct fixture *f)
{
    struct varve_slice empty = varve_slice(NULL, 0);

    for (uint64_t seq_max = 0; seq_max <= f->seq_newest; seq_max += 1 + seq_max / 4) {
        for (size_t i = 0; i < PROBES; i++)
            assert_int_equal(range_set_seq(f->set, f->keys[i], seq_max),
                             model_seq(f, f->keys[i], seq_max));
        assert_int_equal(range_set_seq(f->set, empty, seq_max), model_seq(f, empty, seq_max));
    }
}

static void check_bounds(const struct fixture *f, struct rng *rng)
{
    for (int i = 0; i < 300; i++) {
        size_t lower = (size_t)rng_below(rng, PROBES);
        size_t upper = lower + (size_t)rng_below(rng, i % 3 == 0 ? PROBES : 12);
        upper = upper < PROBES ? upper : PROBES - 1;
        uint64_t seq_max = i % 2 == 0 ? UINT64_MAX : rng_below(rng, f->seq_newest + 1);
        struct varve_slice from = f->keys[lower];
        struct varve_slice to = f->keys[upper];
        assert_int_equal(range_set_cover(f->set, from, to, seq_max),
                         model_cover(f, lower, upper, seq_max));
        assert_int_equal(range_set_touches(f->set, from, to), model_touches(f, lower, upper));
        to = varve_slice(NULL, 0);
        assert_int_equal(range_set_cover(f->set, from, to, seq_max), 0);
        assert_int_equal(range_set_touches(f->set, from, to), model_touches(f, lower, PROBES));
        if (lower != upper)
            assert_int_equal(range_set_cover(f->set, f->keys[upper], from, seq_max), 0);
    }
}

static void test_range_set__equals_the_model(void **state)
{
    struct fixture *f = *state;
    struct rng rng;

    rng_init(&rng, 1);
    for (int round = 0; round < 400; round++) {
        size_t kept = 0;
        make_ranges(f, &rng);
        f->set = make_set(f);
        assert_non_null(f->set);
        for (size_t i = 0; i < f->count; i++)
            kept += varve_slice_compare(f->ranges[i].begin, f->ranges[i].end) < 0;
        assert_int_equal(range_set_count(f->set), kept);
        check_keys(f);
        check_bounds(f, &rng);
        range_set_unref(f->set);
    }
}

static struct range_tombstone tombstone(const char *begin, const char *end, uint64_t seq)
{
    return (struct range_tombstone){varve_slice_str(begin), varve_slice_str(end), seq};
}

static uint64_t cover(const struct range_set *set, const char *lower, const char *upper,
                      uint64_t seq_max)
{
    return range_set_cover(set, varve_slice_str(lower), varve_slice_str(upper), seq_max);
}

static int touches(const struct range_set *set, const char *lower, const char *upper)
{
    return range_set_touches(set, varve_slice_str(lower), varve_slice_str(upper));
}

static void test_range_set__ends_are_exclusive(void **state)
{
    const struct range_tombstone ranges[] = {
        tombstone("b", "d", 5), tombstone("d", "f", 9), tombstone("c", "e", 3),
        tombstone("x", "x", 7), tombstone("z", "y", 8), /* cover nothing */
    };
    struct range_set *set = range_set_create(ranges, COUNT_OF(ranges));

    (void)state;
    assert_non_null(set);
    assert_int_equal(range_set_count(set), 3);
    assert_int_equal(range_set_seq(set, varve_slice_str("a"), 99), 0);
    assert_int_equal(range_set_seq(set, varve_slice_str("b"), 99), 5);
    assert_int_equal(range_set_seq(set, varve_slice_str("b"), 4), 0);
    assert_int_equal(range_set_seq(set, varve_slice_str("c"), 4), 3);
    assert_int_equal(range_set_seq(set, varve_slice_str("cz"), 99), 5);
    assert_int_equal(range_set_seq(set, varve_slice_str("d"), 99), 9);
    assert_int_equal(range_set_seq(set, varve_slice_str("d"), 8), 3);
    assert_int_equal(range_set_seq(set, varve_slice_str("f"), 99), 0);
    assert_int_equal(range_set_seq(set, varve_slice_str("x"), 99), 0);
    assert_int_equal(cover(set, "b", "f", 99), 5); /* by two together */
    assert_int_equal(cover(set, "b", "f", 8), 0);  /* e is not covered */
    assert_int_equal(cover(set, "c", "e", 4), 3);
    assert_int_equal(cover(set, "b", "f\x01", 99), 0);
    assert_int_equal(cover(set, "a", "c", 99), 0);
    assert_int_equal(cover(set, "e", "", 99), 0);
    assert_int_equal(touches(set, "a", "b"), 0);
    assert_int_equal(touches(set, "a", "b\x01"), 1);
    assert_int_equal(touches(set, "f", "z"), 0);
    assert_int_equal(touches(set, "f", ""), 0);
    assert_int_equal(touches(set, "", ""), 1);
    assert_int_equal(touches(set, "", "b"), 0);
    range_set_unref(set);
}

static void test_range_set__none(void **state)
{
    struct range_set *set = range_set_create(NULL, 0);

    (void)state;
    assert_non_null(set);
    for (int i = 0; i < 2; i++) { /* an empty one, and no set */
        const struct range_set *asked = i == 0 ? set : NULL;
        assert_int_equal(range_set_count(asked), 0);
        assert_int_equal(range_set_seq(asked, varve_slice_str("a"), 9), 0);
        assert_int_equal(cover(asked, "a", "b", 9), 0);
        assert_int_equal(touches(asked, "", ""), 0);
    }
    assert_ptr_equal(range_set_ref(set), set);
    range_set_unref(set);
    assert_int_equal(range_set_count(set), 0);
    range_set_unref(set);
    range_set_unref(NULL);
}

/* Each lies in the one before it. */
static void test_range_set__nested__takes_no_quadratic_memory(void **state)
{
    static char begins[NESTED][8], ends[NESTED][8];
    static struct range_tombstone ranges[NESTED];
    uint64_t before = mem_used_bytes();

    (void)state;
    for (unsigned i = 0; i < NESTED; i++) {
        snprintf(begins[i], sizeof(begins[i]), "a%06u", i);
        snprintf(ends[i], sizeof(ends[i]), "z%06u", NESTED - i);
        ranges[i] = tombstone(begins[i], ends[i], i + 1);
    }
    struct range_set *set = range_set_create(ranges, NESTED);
    assert_non_null(set);
    assert_true(mem_used_bytes() - before < (uint64_t)NESTED * 600);
    assert_int_equal(range_set_seq(set, varve_slice_str("m"), UINT64_MAX), NESTED);
    assert_int_equal(range_set_seq(set, varve_slice_str("m"), 777), 777);
    assert_int_equal(range_set_seq(set, varve_slice_str("a000999"), UINT64_MAX), 1000);
    assert_int_equal(cover(set, "a000999", "z000002", UINT64_MAX), 1000);
    range_set_unref(set);
}

static void test_range_set__no_memory(void **state)
{
    const struct range_tombstone ranges[] = {tombstone("b", "d", 5), tombstone("c", "f", 9)};
    struct range_set *set = NULL;
    uint64_t nth;

    (void)state;
    for (nth = 1; set == NULL; nth++) {
        mem_fail_nth(nth, 0);
        set = range_set_create(ranges, COUNT_OF(ranges));
        mem_fail_nth(0, 0);
    }
    assert_true(nth > 5);
    range_set_unref(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_range_set__equals_the_model, setup),
        cmocka_unit_test(test_range_set__ends_are_exclusive),
        cmocka_unit_test(test_range_set__none),
        cmocka_unit_test(test_range_set__nested__takes_no_quadratic_memory),
        cmocka_unit_test(test_range_set__no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
