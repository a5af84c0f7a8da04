#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rng.h"
#include "types/integer.h"

static void test_parse__takes_the_shortest_form(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0},
        {"-1", -1},
        {"10", 10},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    int64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(integer_parse(varve_slice_str(good[i].text), &value), 1);
        assert_true(value == good[i].value);
    }
}

static void test_parse__refuses_everything_else(void **state)
{
    static const char *const bad[] = {
        "",
        "-",
        "+1",
        " 1",
        "1 ",
        "01",
        "-0",
        "-01",
        "00",
        "1.0",
        "1e3",
        "0x1",
        "--1",
        "a",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999",
        "999999999999999999999",
        "18446744073709551615",
        "1/",
        "1:",
    };
    int64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(integer_parse(varve_slice_str(bad[i]), &value), 0);
    assert_int_equal(integer_parse(varve_slice("1\0", 2), &value), 0);
}

static void check_round_trip(int64_t value)
{
    uint8_t text[INTEGER_TEXT_MAX_BYTES];
    char expected[32];
    size_t len = integer_print(value, text);
    int64_t back;

    assert_int_equal(len, snprintf(expected, sizeof(expected), "%lld", (long long)value));
    assert_memory_equal(text, expected, len);
    assert_int_equal(integer_parse(varve_slice(text, len), &back), 1);
    assert_true(back == value);
}

static void test_print__reads_back(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 7);
    check_round_trip(0);
    check_round_trip(INT64_MAX);
    check_round_trip(INT64_MIN);
    for (int i = 0; i < 100000; i++)
        check_round_trip((int64_t)rng_next(&rng) >> rng_below(&rng, 64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse__takes_the_shortest_form),
        cmocka_unit_test(test_parse__refuses_everything_else),
        cmocka_unit_test(test_print__reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
