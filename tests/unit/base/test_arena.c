#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/rng.h"

#define PIECES 500

/* Small and large pieces mixed: aligned, apart from each other, and all there at the end. */
static void test_arena__pieces_do_not_overlap(void **state)
{
    struct arena arena;
    uint8_t *piece[PIECES];
    size_t len[PIECES];
    size_t asked_bytes = 0;
    struct rng rng;

    (void)state;
    rng_init(&rng, 3);
    arena_init(&arena, 4096);
    for (size_t i = 0; i < PIECES; i++) {
        len[i] = rng_below(&rng, 10) == 0 ? rng_below(&rng, 10000) : rng_below(&rng, 200);
        piece[i] = arena_alloc(&arena, len[i]);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 8, 0);
        memset(piece[i], (int)(i & 0xff), len[i]);
        asked_bytes += len[i];
    }
    for (size_t i = 0; i < PIECES; i++)
        for (size_t k = 0; k < len[i]; k++)
            assert_int_equal(piece[i][k], i & 0xff);
    assert_true(arena_used_bytes(&arena) >= asked_bytes);
    assert_true(arena_used_bytes(&arena) <= arena.allocated_bytes);
    arena_deinit(&arena);
    assert_int_equal(arena_used_bytes(&arena), 0);
    assert_non_null(arena_alloc(&arena, 8)); /* it can be used again */
    arena_deinit(&arena);
}

static void test_arena__a_large_piece_leaves_the_chunk_in_use(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096);
    uint8_t *before = arena_alloc(&arena, 16);
    assert_non_null(arena_alloc(&arena, 1 << 20));
    uint8_t *after = arena_alloc(&arena, 16);
    assert_ptr_equal(after, before + 16);
    arena_deinit(&arena);
}

static void test_arena__no_memory_is_said_and_harmless(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096);
    mem_fail_nth(1, 1);
    assert_null(arena_alloc(&arena, 16));
    assert_null(arena_alloc(&arena, 1 << 20));
    mem_fail_nth(0, 0);
    assert_int_equal(arena_used_bytes(&arena), 0);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 8));
    assert_non_null(arena_alloc(&arena, 16));
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena__pieces_do_not_overlap),
        cmocka_unit_test(test_arena__a_large_piece_leaves_the_chunk_in_use),
        cmocka_unit_test(test_arena__no_memory_is_said_and_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
