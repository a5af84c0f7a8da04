#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/pieces.h"
#include "base/rng.h"

#define PIECES 3000
#define STEPS 60000

static struct pieces pieces = PIECES_INIT(pieces);

static int teardown(void **state)
{
    (void)state;
    pieces_trim(&pieces, 0);
    return mem_used_bytes() == 0 ? 0 : -1;
}

/* Usual blocks, now and then a tiny or a large one. */
static size_t some_size(struct rng *rng)
{
    switch (rng_below(rng, 20)) {
    case 0: return rng_below(rng, 300);
    case 1: return PIECES_MAX_BYTES - 2 + rng_below(rng, 5);
    case 2: return rng_below(rng, PIECES_MAX_BYTES);
    default: return 4500 + rng_below(rng, 900);
    }
}

/* Nothing is in use, and what is held goes back. */
static void check_all_spare(void)
{
    struct pieces_stats stats;

    pieces_get_stats(&pieces, &stats);
    assert_int_equal(stats.used_bytes, 0);
    assert_int_equal(stats.spare_bytes, stats.held_bytes);
    assert_int_equal(stats.held_bytes, mem_used_bytes());
    pieces_trim(&pieces, 0);
    assert_int_equal(mem_used_bytes(), 0);
}

/* What is handed out belongs to nobody else: each piece keeps its bytes. */
static void test_pieces__are_apart(void **state)
{
    static struct {
        uint8_t *at;
        size_t size;
        uint8_t fill;
    } live[PIECES];
    struct rng rng;
    uint64_t bytes = 0;

    (void)state;
    rng_init(&rng, 7);
    for (int step = 0; step < STEPS; step++) {
        size_t i = rng_below(&rng, step < STEPS / 2 ? PIECES : PIECES / 10);
        if (live[i].at != NULL) {
            if (live[i].size > 0) {
                assert_int_equal(live[i].at[0], live[i].fill);
                assert_int_equal(live[i].at[live[i].size - 1], live[i].fill);
            }
            pieces_free(&pieces, live[i].at, live[i].size);
            bytes -= pieces_size(live[i].size);
            live[i].at = NULL;
            continue;
        }
        live[i].size = some_size(&rng);
        live[i].fill = (uint8_t)step;
        live[i].at = pieces_alloc(&pieces, live[i].size);
        assert_non_null(live[i].at);
        assert_int_equal((uintptr_t)live[i].at % 16, 0);
        memset(live[i].at, live[i].fill, live[i].size);
        bytes += pieces_size(live[i].size);
    }
    assert_true(mem_used_bytes() >= bytes);
    assert_true(mem_used_bytes() <= bytes + bytes / 5 + 2 * MEM_HUGE_BYTES);
    for (size_t i = 0; i < PIECES; i++)
        if (live[i].at != NULL)
            pieces_free(&pieces, live[i].at, live[i].size);
    check_all_spare();
}

/* Empty chunks are spare, and used before a new one is made, until they are given back. */
static void test_pieces__give_chunks_back(void **state)
{
    static uint8_t *at[4000];
    struct pieces_stats stats;
    size_t size = 5000;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(at); i++)
        at[i] = pieces_alloc(&pieces, size);
    uint64_t most = mem_used_bytes();
    assert_true(most <= COUNT_OF(at) * pieces_size(size) * 101 / 100 + MEM_HUGE_BYTES);
    for (size_t i = 0; i < COUNT_OF(at); i += 2)
        pieces_free(&pieces, at[i], size);
    for (size_t i = 0; i < COUNT_OF(at); i += 2)
        at[i] = pieces_alloc(&pieces, size);
    assert_int_equal(mem_used_bytes(), most);
    for (size_t i = 0; i < COUNT_OF(at) / 2; i++)
        pieces_free(&pieces, at[i], size);
    pieces_get_stats(&pieces, &stats);
    assert_true(stats.spare_bytes >= most / 2 - 2 * MEM_HUGE_BYTES); /* one may be in use in part */
    for (size_t i = 0; i < COUNT_OF(at) / 2; i++)
        at[i] = pieces_alloc(&pieces, size);
    assert_int_equal(mem_used_bytes(), most);
    for (size_t i = 0; i < COUNT_OF(at) / 2; i++)
        pieces_free(&pieces, at[i], size);
    pieces_trim(&pieces, 2 * MEM_HUGE_BYTES + 1);
    pieces_get_stats(&pieces, &stats);
    assert_int_equal(stats.spare_bytes, 2 * MEM_HUGE_BYTES);
    assert_true(mem_used_bytes() <= most / 2 + 4 * MEM_HUGE_BYTES);
    for (size_t i = COUNT_OF(at) / 2; i < COUNT_OF(at); i++)
        pieces_free(&pieces, at[i], size);
    check_all_spare();
}

/* Chunks that leave take nothing more, and are gone with their last piece. */
static void test_pieces__leave(void **state)
{
    static uint8_t *at[4000];
    size_t size = 5000;
    size_t left = 0;
    struct pieces_stats stats;

    (void)state;
    pieces_trim(&pieces, 0);
    for (size_t i = 0; i < COUNT_OF(at); i++)
        at[i] = pieces_alloc(&pieces, size);
    assert_int_equal(pieces_leave(&pieces, MEM_HUGE_BYTES), 0); /* all are full */
    for (size_t i = 0; i < COUNT_OF(at); i++)
        if (i % 8 != 0) {
            pieces_free(&pieces, at[i], size);
            at[i] = NULL;
        }
    pieces_get_stats(&pieces, &stats);
    assert_int_equal(stats.used_bytes, COUNT_OF(at) / 8 * pieces_size(size));
    assert_int_equal(mem_used_bytes(), stats.held_bytes);
    size_t unused = stats.held_bytes - stats.used_bytes;
    size_t in_use = pieces_leave(&pieces, unused / 2);
    assert_true(in_use > 0 && in_use < stats.used_bytes * 2 / 3);
    assert_int_equal(pieces_leave(&pieces, unused / 2), in_use); /* they are chosen */
    for (size_t i = 0; i < COUNT_OF(at); i++)
        if (at[i] != NULL && pieces_is_leaving(at[i])) {
            left += pieces_size(size);
            pieces_free(&pieces, at[i], size);
            at[i] = pieces_alloc(&pieces, size);
            assert_false(pieces_is_leaving(at[i]));
        }
    assert_int_equal(left, in_use);
    pieces_get_stats(&pieces, &stats);
    assert_true(stats.held_bytes - stats.used_bytes <= unused / 2 + MEM_HUGE_BYTES);
    assert_int_equal(mem_used_bytes(), stats.held_bytes);
    for (size_t i = 0; i < COUNT_OF(at); i++)
        if (at[i] != NULL)
            pieces_free(&pieces, at[i], size);
    pieces_trim(&pieces, 0);
    pieces_get_stats(&pieces, &stats);
    assert_int_equal(stats.held_bytes + stats.used_bytes + mem_used_bytes(), 0);
}

static void test_pieces__without_memory(void **state)
{
    (void)state;
    mem_fail_nth(1, 0);
    assert_null(pieces_alloc(&pieces, 5000));
    mem_fail_nth(2, 0); /* the chunk */
    assert_null(pieces_alloc(&pieces, 5000));
    mem_fail_nth(1, 0);
    assert_null(pieces_alloc(&pieces, PIECES_MAX_BYTES + 1));
    mem_fail_nth(0, 0);
    void *at = pieces_alloc(&pieces, 5000);
    assert_non_null(at);
    pieces_free(&pieces, at, 5000);
}

#define CHURNERS 4

static void churn(void *arg)
{
    uint8_t *mine[50] = {0};
    struct rng rng;

    rng_init(&rng, *(const uint64_t *)arg);
    for (int i = 0; i < 20000; i++) {
        size_t n = rng_below(&rng, COUNT_OF(mine));
        if (mine[n] != NULL) {
            CHECK(mine[n][0] == n && mine[n][4999] == n);
            pieces_free(&pieces, mine[n], 5000);
            mine[n] = NULL;
            continue;
        }
        mine[n] = pieces_alloc(&pieces, 5000);
        CHECK(mine[n] != NULL);
        memset(mine[n], (int)n, 5000);
    }
    for (size_t n = 0; n < COUNT_OF(mine); n++)
        if (mine[n] != NULL)
            pieces_free(&pieces, mine[n], 5000);
}

static void test_pieces__of_many_threads(void **state)
{
    struct thread threads[CHURNERS];
    uint64_t seeds[CHURNERS];

    (void)state;
    for (size_t i = 0; i < CHURNERS; i++) {
        seeds[i] = i + 1;
        assert_int_equal(thread_start(&threads[i], "churn", churn, &seeds[i]), 0);
    }
    for (size_t i = 0; i < CHURNERS; i++)
        thread_join(&threads[i]);
    pieces_trim(&pieces, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_pieces__without_memory, teardown),
        cmocka_unit_test_teardown(test_pieces__are_apart, teardown),
        cmocka_unit_test_teardown(test_pieces__give_chunks_back, teardown),
        cmocka_unit_test_teardown(test_pieces__leave, teardown),
        cmocka_unit_test(test_pieces__of_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
