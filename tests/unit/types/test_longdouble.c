#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "types/longdouble.h"

static void expect_print(long double value, const char *text)
{
    char out[LONGDOUBLE_TEXT_MAX_BYTES];
    size_t len = longdouble_print(value, out);

    assert_int_equal(len, strlen(text));
    assert_memory_equal(out, text, len);
}

static void test_print__has_no_more_zeros_than_it_needs(void **state)
{
    (void)state;
    expect_print(0.0L, "0");
    expect_print(-0.0L, "0");
    expect_print(10.5L + 0.1L, "10.6");
    expect_print(3.0e3L, "3000");
    expect_print(100.0L, "100");
    expect_print(-1.5L, "-1.5");
    expect_print(1e-17L, "0.00000000000000001");
    expect_print(-1e-18L, "0"); /* as if it were none */
    expect_print(0.3L - 0.1L, "0.2");
    expect_print(1e20L, "100000000000000000000");
}

static void test_parse__takes_what_strtold_takes(void **state)
{
    static const char *const good[] = {"0",     "-0",  "1.5",  "+1",  ".5",       "5.",  "1e5",
                                       "0x1p4", "inf", "-inf", "INF", "infinity", "007", "1e-5"};
    static const char *const bad[] = {"",   " ",   " 1",     "1 ",      "\t1",    "\v1",
                                      "x",  "1x",  "nan",    "-nan",    ".",      "e5",
                                      "1e", "1,5", "1e5000", "-1e5000", "1e-5000"};
    char *long_text = calloc(1, LONGDOUBLE_TEXT_MAX_BYTES + 1);
    long double value;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_int_equal(longdouble_parse(varve_slice_str(good[i]), &value), 1);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(longdouble_parse(varve_slice_str(bad[i]), &value), 0);
    assert_int_equal(longdouble_parse(varve_slice("1\0", 2), &value), 0);
    memset(long_text, '0', LONGDOUBLE_TEXT_MAX_BYTES);
    assert_int_equal(longdouble_parse(varve_slice_str(long_text), &value), 0);
    long_text[LONGDOUBLE_TEXT_MAX_BYTES - 1] = '\0';
    assert_int_equal(longdouble_parse(varve_slice_str(long_text), &value), 1);
    free(long_text);
}

/* The longest there is fits. */
static void test_print__of_the_largest(void **state)
{
    char out[LONGDOUBLE_TEXT_MAX_BYTES];
    long double value;

    (void)state;
    assert_int_equal(longdouble_parse(varve_slice_str("-1.1e4932"), &value), 1);
    assert_int_equal(longdouble_print(value, out), 4934);
    assert_int_equal(longdouble_parse(varve_slice(out, 4934), &value), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print__has_no_more_zeros_than_it_needs),
        cmocka_unit_test(test_parse__takes_what_strtold_takes),
        cmocka_unit_test(test_print__of_the_largest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
