#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

/* What the counter says of some milliseconds is what the clock says, give or take a tenth. */
static void test_ticks__are_as_long_as_the_clock_says(void **state)
{
    uint64_t rate = clock_measure_ticks();
    uint64_t best = UINT64_MAX;

    (void)state;
    for (int i = 0; i < 20; i++) {
        uint64_t began_us = clock_mono_us();
        uint64_t began = clock_ticks();
        while (clock_mono_us() < began_us + 3000)
            continue;
        uint64_t us = clock_ticks_ns(clock_ticks() - began, rate) / 1000;
        if (us >= 2700 && us < best)
            best = us;
    }
    assert_in_range(best, 2700, 3300);
    assert_true(clock_ticks_ns(UINT64_C(1) << 50, rate) > UINT64_C(1) << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ticks__are_as_long_as_the_clock_says)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
