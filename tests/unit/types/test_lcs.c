#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "types/lcs.h"
#include "varve/status.h"

#define ROUNDS 3000
#define LEN_MAX 12

/* By looking at all ways. */
static size_t longest(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    if (a_len == 0 || b_len == 0)
        return 0;
    if (a[0] == b[0])
        return 1 + longest(a + 1, a_len - 1, b + 1, b_len - 1);
    size_t one = longest(a + 1, a_len - 1, b, b_len);
    size_t other = longest(a, a_len, b + 1, b_len - 1);
    return one > other ? one : other;
}

/* The ranges go backwards, are alike in both, cannot be made longer at their beginning, and sum up. */
static void check_ranges(const struct lcs *lcs)
{
    size_t a_end = lcs->a.len;
    size_t b_end = lcs->b.len;
    struct lcs_range range;
    struct lcs_walk walk;
    size_t sum = 0;

    lcs_begin(lcs, &walk);
    while (lcs_next(lcs, &walk, &range)) {
        assert_true(range.len > 0);
        assert_true(range.a_at + range.len <= a_end && range.b_at + range.len <= b_end);
        assert_memory_equal(lcs->a.data + range.a_at, lcs->b.data + range.b_at, range.len);
        if (range.a_at > 0 && range.b_at > 0)
            assert_true(lcs->a.data[range.a_at - 1] != lcs->b.data[range.b_at - 1]);
        a_end = range.a_at;
        b_end = range.b_at;
        sum += range.len;
    }
    assert_int_equal(sum, lcs->length);
}

static void test_lcs__of_small_strings(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 3);
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t a[LEN_MAX];
        uint8_t b[LEN_MAX];
        size_t a_len = rng_below(&rng, LEN_MAX);
        size_t b_len = rng_below(&rng, LEN_MAX);
        struct lcs lcs;
        for (size_t i = 0; i < LEN_MAX; i++) {
            a[i] = (uint8_t)('a' + rng_below(&rng, 3));
            b[i] = (uint8_t)('a' + rng_below(&rng, 3));
        }
        size_t wanted = longest(a, a_len, b, b_len);
        assert_int_equal(lcs_init(&lcs, varve_slice(a, a_len), varve_slice(b, b_len), 1), 0);
        assert_int_equal(lcs.length, wanted);
        lcs_deinit(&lcs);
        assert_int_equal(lcs_init(&lcs, varve_slice(a, a_len), varve_slice(b, b_len), 0), 0);
        assert_int_equal(lcs.length, wanted);
        check_ranges(&lcs);
        lcs_deinit(&lcs);
    }
}

/* Of several that are as long, the one that Redis shows. */
static void test_lcs__which_of_several(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        struct lcs_range last;
    } cases[] = {
        {"abab", "baba", {1, 0, 3}}, {"baba", "abab", {1, 0, 3}}, {"aaaa", "aa", {2, 0, 2}},
        {"aa", "aaaa", {0, 2, 2}},   {"xy", "yx", {1, 0, 1}},
    };
    struct lcs_range range;
    struct lcs_walk walk;
    struct lcs lcs;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(
            lcs_init(&lcs, varve_slice_str(cases[i].a), varve_slice_str(cases[i].b), 0), 0);
        lcs_begin(&lcs, &walk);
        assert_int_equal(lcs_next(&lcs, &walk, &range), 1);
        assert_int_equal(range.a_at, cases[i].last.a_at);
        assert_int_equal(range.b_at, cases[i].last.b_at);
        assert_int_equal(range.len, cases[i].last.len);
        lcs_deinit(&lcs);
    }
}

static void test_lcs__without_memory(void **state)
{
    struct lcs lcs;

    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_nth(nth, 0);
        assert_int_equal(lcs_init(&lcs, varve_slice_str("abc"), varve_slice_str("bcd"), 0),
                         VARVE_ENOMEM);
        mem_fail_nth(0, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lcs__of_small_strings),
        cmocka_unit_test(test_lcs__which_of_several),
        cmocka_unit_test(test_lcs__without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
