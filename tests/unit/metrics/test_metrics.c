#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "metrics/metrics.h"

static void test_init__knows_when_and_who(void **state)
{
    struct metrics one, other;

    (void)state;
    assert_int_equal(metrics_init(&one), 0);
    assert_int_equal(metrics_init(&other), 0);
    assert_int_equal(strlen(one.run_id), METRICS_RUN_ID_BYTES);
    assert_int_equal(strspn(one.run_id, "0123456789abcdef"), METRICS_RUN_ID_BYTES);
    assert_string_not_equal(one.run_id, other.run_id);
    assert_string_not_equal(one.run_id, one.replid);
    assert_true(one.start_mono_us > 0 && one.start_real_us > 0);
}

static void test_rates__are_the_mean_of_the_samples(void **state)
{
    struct metrics metrics;

    (void)state;
    assert_int_equal(metrics_init(&metrics), 0);
    uint64_t now = metrics.start_mono_us;
    uint64_t commands = 0;
    metrics_tick(&metrics, now + METRICS_SAMPLE_US - 1, 1000); /* too early: no sample */
    assert_int_equal(metrics_rate(&metrics, METRICS_RATE_COMMANDS), 0);
    for (int i = 0; i < METRICS_SAMPLES; i++) {
        now += METRICS_SAMPLE_US;
        commands += 50;
        metrics.net_input_bytes += 2000;
        metrics_tick(&metrics, now, commands);
    }
    assert_int_equal(metrics_rate(&metrics, METRICS_RATE_COMMANDS), 500);
    assert_int_equal(metrics_rate(&metrics, METRICS_RATE_INPUT), 20000);
    assert_int_equal(metrics_rate(&metrics, METRICS_RATE_OUTPUT), 0);
    for (int i = 0; i < METRICS_SAMPLES / 2; i++) {
        now += METRICS_SAMPLE_US;
        metrics_tick(&metrics, now, commands);
    }
    assert_int_equal(metrics_rate(&metrics, METRICS_RATE_COMMANDS), 250);
}

static void test_rates__count_real_time(void **state)
{
    struct metrics metrics;

    (void)state;
    assert_int_equal(metrics_init(&metrics), 0);
    metrics_tick(&metrics, metrics.start_mono_us + 10 * METRICS_SAMPLE_US, 160);
    assert_int_equal(metrics.samples[METRICS_RATE_COMMANDS][0], 160); /* a second long */
    assert_int_equal(metrics_rate(&metrics, METRICS_RATE_COMMANDS), 10);
}

/* The totals begin anew with RESETSTAT: no rate of 2^64. */
static void test_rates__survive_a_reset(void **state)
{
    struct metrics metrics;

    (void)state;
    assert_int_equal(metrics_init(&metrics), 0);
    metrics_tick(&metrics, metrics.start_mono_us + METRICS_SAMPLE_US, 1000);
    metrics_tick(&metrics, metrics.start_mono_us + 2 * METRICS_SAMPLE_US, 16);
    assert_int_equal(metrics.samples[METRICS_RATE_COMMANDS][1], 160);
    metrics_reset(&metrics);
    assert_int_equal(metrics_rate(&metrics, METRICS_RATE_COMMANDS), 0);
}

static void test_reset__zeroes_counters_and_keeps_the_rest(void **state)
{
    struct metrics metrics, old;

    (void)state;
    assert_int_equal(metrics_init(&metrics), 0);
    metrics.net_reads = metrics.rejected_connections = metrics.held_replies = 9;
    metrics.output_buffer_max_bytes = 9;
    metrics.held_replies_now = 2;
    metrics.parked_now = 3;
    metrics.tcp_port = 7000;
    old = metrics;
    metrics_reset(&metrics);
    assert_int_equal(metrics.net_reads, 0);
    assert_int_equal(metrics.rejected_connections, 0);
    assert_int_equal(metrics.held_replies, 0);
    assert_int_equal(metrics.output_buffer_max_bytes, 0);
    assert_int_equal(metrics.held_replies_now, 2);
    assert_int_equal(metrics.parked_now, 3);
    assert_int_equal(metrics.tcp_port, 7000);
    assert_int_equal(metrics.start_mono_us, old.start_mono_us);
    assert_string_equal(metrics.run_id, old.run_id);
    assert_string_equal(metrics.replid, old.replid);
}

static void test_memory__peak_is_kept(void **state)
{
    struct metrics metrics;

    (void)state;
    assert_int_equal(metrics_init(&metrics), 0);
    void *big = mem_alloc(8 << 20);
    assert_non_null(big);
    metrics_tick(&metrics, metrics.start_mono_us + METRICS_SAMPLE_US, 0);
    mem_free(big);
    metrics_tick(&metrics, metrics.start_mono_us + 2 * METRICS_SAMPLE_US, 0);
    assert_true(metrics.memory_peak_bytes >= 8 << 20);
    metrics_reset(&metrics);
    assert_true(metrics.memory_peak_bytes < 8 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init__knows_when_and_who),
        cmocka_unit_test(test_rates__are_the_mean_of_the_samples),
        cmocka_unit_test(test_rates__count_real_time),
        cmocka_unit_test(test_rates__survive_a_reset),
        cmocka_unit_test(test_reset__zeroes_counters_and_keeps_the_rest),
        cmocka_unit_test(test_memory__peak_is_kept),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
