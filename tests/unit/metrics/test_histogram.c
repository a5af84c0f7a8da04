#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics/histogram.h"

static void test_buckets__are_in_order_and_cover_all(void **state)
{
    unsigned last = 0;

    (void)state;
    for (uint64_t ns = 0; ns < 100000; ns++) {
        unsigned bucket = histogram_bucket(ns);
        assert_true(bucket == last || bucket == last + 1);
        last = bucket;
    }
    assert_int_equal(histogram_bucket(HISTOGRAM_MAX_NS), HISTOGRAM_BUCKETS - 1);
}

static void test_percentiles__are_near_from_above(void **state)
{
    static struct histogram histogram;

    (void)state;
    memset(&histogram, 0, sizeof(histogram));
    assert_int_equal(histogram_percentile_ns(&histogram, 50), 0);
    for (uint64_t i = 1; i <= 1000; i++)
        histogram_add(&histogram, i * 1000);
    assert_in_range(histogram_percentile_ns(&histogram, 50), 500000, 516000);
    assert_in_range(histogram_percentile_ns(&histogram, 99), 990000, 1024000);
    assert_in_range(histogram_percentile_ns(&histogram, 100), 1000000, 1033000);
    assert_in_range(histogram_percentile_ns(&histogram, 0), 1000, 1040);
    histogram_add(&histogram, UINT64_MAX);
    assert_int_equal(histogram_percentile_ns(&histogram, 100), HISTOGRAM_MAX_NS);
}

static void test_below__counts_up_to_a_power(void **state)
{
    static struct histogram histogram;

    (void)state;
    memset(&histogram, 0, sizeof(histogram));
    histogram_add(&histogram, 1023);
    histogram_add(&histogram, 1024);
    histogram_add(&histogram, 4000);
    histogram_add(&histogram, UINT64_MAX);
    assert_int_equal(histogram_below(&histogram, 1024), 1);
    assert_int_equal(histogram_below(&histogram, 2048), 2);
    assert_int_equal(histogram_below(&histogram, 4096), 3);
    assert_int_equal(histogram_below(&histogram, HISTOGRAM_MAX_NS + 1), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets__are_in_order_and_cover_all),
        cmocka_unit_test(test_percentiles__are_near_from_above),
        cmocka_unit_test(test_below__counts_up_to_a_power),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
