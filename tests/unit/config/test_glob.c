#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/glob.h"

static int match(const char *pattern, const char *text)
{
    return glob_match(varve_slice_str(pattern), varve_slice_str(text), 0);
}

static void test_glob__matches_as_redis_does(void **state)
{
    static const struct {
        const char *pattern;
        const char *text;
        int matches;
    } cases[] = {
        {"", "", 1},
        {"", "a", 0},
        {"a", "", 0},
        {"abc", "abc", 1},
        {"abc", "abd", 0},
        {"abc", "ab", 0},
        {"ab", "abc", 0},
        {"*", "", 0}, /* KEYS and SCAN do not ask */
        {"**", "", 0},
        {"*", "abc", 1},
        {"a*", "a", 1},
        {"a*", "abc", 1},
        {"*c", "abc", 1},
        {"*b*", "abc", 1},
        {"*d*", "abc", 0},
        {"a**c", "abc", 1},
        {"a*b*c", "aXbYc", 1},
        {"a*b*c", "aXbY", 0},
        {"*aab", "aaaab", 1},
        {"?", "a", 1},
        {"?", "", 0},
        {"?*", "", 0},
        {"??", "a", 0},
        {"h[ae]llo", "hello", 1},
        {"h[ae]llo", "hillo", 0},
        {"h[^e]llo", "hallo", 1},
        {"h[^e]llo", "hello", 0},
        {"h[a-c]llo", "hbllo", 1},
        {"h[c-a]llo", "hbllo", 1},
        {"h[a-c]llo", "hdllo", 0},
        {"[]", "a", 0},
        {"[^]", "a", 1},
        {"[]a]", "]a]", 0},
        {"[a", "a", 1},
        {"[a", "b", 0},
        {"[", "[", 0},
        {"[\\]]", "]", 1},
        {"[a-]", "-", 0},
        {"[a-]", "^", 1},
        {"[a-", "-", 1},
        {"a\\*", "a*", 1},
        {"a\\*", "ab", 0},
        {"a\\", "a\\", 1},
        {"\\a", "a", 1},
        {"[a-z]*[0-9]", "k1", 1},
        {"[a-z]*[0-9]", "kk", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (match(cases[i].pattern, cases[i].text) != cases[i].matches)
            fail_msg("'%s' against '%s' is not %d", cases[i].pattern, cases[i].text,
                     cases[i].matches);
}

static void test_glob__is_binary_safe(void **state)
{
    (void)state;
    assert_true(glob_match(varve_slice("a\0?", 3), varve_slice("a\0\xff", 3), 0));
    assert_false(glob_match(varve_slice("a\0b", 3), varve_slice("a", 1), 0));
    assert_true(glob_match(varve_slice("[\x80-\xff]", 5), varve_slice("\xc3", 1), 0));
    assert_int_equal(glob_literal_prefix_len(varve_slice("a\0b*", 4)), 3);
}

static void test_glob__folds_case_when_told(void **state)
{
    (void)state;
    assert_false(match("ABC", "abc"));
    assert_true(glob_match(varve_slice_str("A?C[X-Z]"), varve_slice_str("aBcy"), GLOB_NOCASE));
    assert_false(glob_match(varve_slice_str("@"), varve_slice_str("`"), GLOB_NOCASE));
}

/* The classic that takes a recursive matcher years. */
static void test_glob__stays_within_its_product_of_steps(void **state)
{
    char text[2000];
    const char *pattern = "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b";
    uint64_t bound = (sizeof(text) + 1) * strlen(pattern);
    uint64_t steps = bound;

    (void)state;
    memset(text, 'a', sizeof(text));
    assert_int_equal(
        glob_match_steps(varve_slice_str(pattern), varve_slice(text, sizeof(text)), 0, &steps), 0);
    assert_true(steps < bound);
}

static void test_glob__stops_when_its_steps_are_spent(void **state)
{
    uint64_t steps = 2;

    (void)state;
    assert_int_equal(glob_match_steps(varve_slice_str("abcd"), varve_slice_str("abcd"), 0, &steps),
                     -1);
    steps = 4;
    assert_int_equal(glob_match_steps(varve_slice_str("abcd"), varve_slice_str("abcd"), 0, &steps),
                     1);
    assert_int_equal(steps, 0);
}

static void test_glob__knows_its_literal_part(void **state)
{
    (void)state;
    assert_true(glob_is_literal(varve_slice_str("port")));
    assert_true(glob_is_literal(varve_slice_str("")));
    assert_false(glob_is_literal(varve_slice_str("p\\ort")));
    assert_int_equal(glob_literal_prefix_len(varve_slice_str("user:*")), 5);
    assert_int_equal(glob_literal_prefix_len(varve_slice_str("u[a]")), 1);
    assert_int_equal(glob_literal_prefix_len(varve_slice_str("?")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob__matches_as_redis_does),
        cmocka_unit_test(test_glob__is_binary_safe),
        cmocka_unit_test(test_glob__folds_case_when_told),
        cmocka_unit_test(test_glob__stays_within_its_product_of_steps),
        cmocka_unit_test(test_glob__stops_when_its_steps_are_spent),
        cmocka_unit_test(test_glob__knows_its_literal_part),
    };

    return cmocka_run_group_tests_name("glob", tests, NULL, NULL);
}
