#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"
#include "lsm/pacer.h"

#define SECOND_US ((uint64_t)1000000)
#define MB ((uint64_t)1 << 20)

/* A clock that stands still unless somebody waits. */
struct bench {
    struct pacer pacer;
    uint64_t now_us;
};

static void bench_init(struct bench *bench, uint64_t rate_bytes)
{
    pacer_init(&bench->pacer, rate_bytes);
    bench->now_us = 3600 * SECOND_US;
}

static uint64_t take(struct bench *bench, size_t bytes)
{
    uint64_t wait_us = pacer_take(&bench->pacer, bytes, bench->now_us);

    bench->now_us += wait_us;
    return wait_us;
}

/* Whoever does as told writes at the rate: over ten seconds within 2 %, whatever the pieces. */
static void test_rate__is_kept(void **state)
{
    static const struct {
        uint64_t rate;
        size_t piece;
    } cases[] = {
        {MB, 4096}, {MB, 1}, {MB, MB}, {64 * MB, 4096}, {1024 * MB, 65536}, {100000, 65536},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bench bench;
        uint64_t bytes = 0;
        bench_init(&bench, cases[i].rate);
        uint64_t began = bench.now_us;
        uint64_t span_us = cases[i].piece == 1 ? SECOND_US : 10 * SECOND_US;
        while (bench.now_us - began < span_us) {
            take(&bench, cases[i].piece);
            bytes += cases[i].piece;
        }
        double want = (double)cases[i].rate * (double)(bench.now_us - began) / 1e6;
        double spare = (double)cases[i].rate * 0.1 + 2 * (double)cases[i].piece; /* the burst */
        assert_true((double)bytes >= want * 0.98);
        assert_true((double)bytes <= want * 1.02 + spare);
    }
}

/* Several who write at once share it. */
static void test_rate__is_shared(void **state)
{
    struct bench bench;
    struct rng rng;
    uint64_t due_us[3] = {0};
    uint64_t bytes = 0;

    (void)state;
    rng_init(&rng, 1);
    bench_init(&bench, 8 * MB);
    uint64_t began = bench.now_us;
    for (; bench.now_us < began + 10 * SECOND_US; bench.now_us += 100)
        for (int i = 0; i < 3; i++) {
            if (due_us[i] > bench.now_us)
                continue;
            size_t piece = 1 + rng_below(&rng, 65536);
            due_us[i] = bench.now_us + pacer_take(&bench.pacer, piece, bench.now_us);
            bytes += piece;
        }
    assert_in_range(bytes, 78 * MB, 82 * MB);
}

/* A pause saves up a tenth of a second, and no more. */
static void test_pause__saves_up_little(void **state)
{
    struct bench bench;
    uint64_t bytes = 0;

    (void)state;
    bench_init(&bench, MB);
    take(&bench, 1000);
    bench.now_us += 3600 * SECOND_US;
    uint64_t began = bench.now_us;
    while (take(&bench, 1024) == 0)
        bytes += 1024;
    assert_in_range(bytes, MB / 10, MB / 10 + 2048);
    assert_true(bench.now_us - began <= 1000);
}

static void test_no_limit__no_wait(void **state)
{
    struct bench bench;

    (void)state;
    bench_init(&bench, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(take(&bench, MB), 0);
    pacer_wait(&bench.pacer, (size_t)1 << 40);
    pacer_deinit(&bench.pacer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate__is_kept),
        cmocka_unit_test(test_rate__is_shared),
        cmocka_unit_test(test_pause__saves_up_little),
        cmocka_unit_test(test_no_limit__no_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
