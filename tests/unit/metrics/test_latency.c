#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics/latency.h"

static struct latency latency;

static int setup(void **state)
{
    (void)state;
    memset(&latency, 0, sizeof(latency));
    return 0;
}

static void test_a_second__keeps_its_worst(void **state)
{
    (void)state;
    assert_false(latency_happened(&latency, LATENCY_COMMAND));
    latency_add(&latency, LATENCY_COMMAND, 100, 5);
    latency_add(&latency, LATENCY_COMMAND, 100, 9);
    latency_add(&latency, LATENCY_COMMAND, 100, 7);
    latency_add(&latency, LATENCY_COMMAND, 101, 3);
    assert_int_equal(latency_sample(&latency, LATENCY_COMMAND, 0)->ms, 3);
    assert_int_equal(latency_sample(&latency, LATENCY_COMMAND, 1)->ms, 9);
    assert_null(latency_sample(&latency, LATENCY_COMMAND, 2));
    assert_int_equal(latency.events[LATENCY_COMMAND].max_ms, 9);
    assert_null(latency_sample(&latency, LATENCY_FAST_COMMAND, 0));
    assert_int_equal(latency_reset(&latency, LATENCY_COMMAND), 1);
    assert_int_equal(latency_reset(&latency, LATENCY_COMMAND), 0);
}

static void test_the_oldest__goes(void **state)
{
    (void)state;
    for (uint64_t s = 1; s <= LATENCY_SAMPLES + 10; s++)
        latency_add(&latency, LATENCY_LOG_SYNC, s, s);
    assert_int_equal(latency_sample(&latency, LATENCY_LOG_SYNC, LATENCY_SAMPLES - 1)->time_s, 11);
    assert_null(latency_sample(&latency, LATENCY_LOG_SYNC, LATENCY_SAMPLES));
}

static void test_events__are_found_by_name(void **state)
{
    (void)state;
    for (int i = 0; i < LATENCY_EVENTS; i++)
        assert_int_equal(
            latency_find_event(varve_slice_str(latency_event_name((enum latency_event)i))), i);
    assert_int_equal(latency_find_event(varve_slice_str("Command")), -1);
    assert_int_equal(latency_find_event(varve_slice(NULL, 0)), -1);
}

static void test_texts(void **state)
{
    struct buf text;

    (void)state;
    buf_init(&text, 65536);
    assert_int_equal(latency_report(&latency, 0, &text), 0);
    assert_int_equal(latency_report(&latency, 10, &text), 0);
    latency_add(&latency, LATENCY_COMMAND, 1000, 10);
    latency_add(&latency, LATENCY_COMMAND, 1001, 60);
    assert_int_equal(latency_report(&latency, 10, &text), 0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    assert_non_null(strstr((char *)text.data, "not monitored"));
    assert_non_null(strstr((char *)text.data, "No delay of 10 ms"));
    assert_non_null(strstr((char *)text.data, "command: 2 seconds with delays of 10 to 60 ms"));
    buf_clear(&text);
    assert_int_equal(latency_graph(&latency, LATENCY_COMMAND, 1000 + 7300, &text), 0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    assert_string_equal((char *)text.data,
                        "command - high 60 ms, low 10 ms (all time high 60 ms)\n"
                        " #\n #\n #\n #\n #\n##\noldest first; the first was 2h ago\n");
    buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_second__keeps_its_worst, setup),
        cmocka_unit_test_setup(test_the_oldest__goes, setup),
        cmocka_unit_test_setup(test_events__are_found_by_name, setup),
        cmocka_unit_test_setup(test_texts, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
