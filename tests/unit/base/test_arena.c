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

/* Chunks go from one arena to the next, up to the pool's limit; nothing is left behind. */
static void test_arena__chunks_are_used_again(void **state)
{
    uint64_t used_before = mem_used_bytes();
    struct arena_pool pool;
    struct arena arena;

    (void)state;
    arena_pool_init(&pool, 2 * MEM_HUGE_BYTES);
    arena_init(&arena, MEM_HUGE_BYTES);
    arena.pool = &pool;
    for (int i = 0; i < 9;
         i++) { /* three a chunk, as the fourth has no room beside the chunk's head */
        void *piece = arena_alloc(&arena, MEM_HUGE_BYTES / 4);
        assert_non_null(piece);
        memset(piece, i, MEM_HUGE_BYTES / 4);
    }
    uint64_t held = mem_used_bytes();
    assert_true(held >= used_before + 3 * MEM_HUGE_BYTES);
    arena_deinit(&arena);
    assert_int_equal(pool.spare_bytes, 2 * MEM_HUGE_BYTES);
    assert_true(mem_used_bytes() <= held - MEM_HUGE_BYTES);
    mem_fail_nth(1, 1); /* the pool has what is needed */
    uint8_t *piece = arena_alloc(&arena, 64);
    mem_fail_nth(0, 0);
    assert_non_null(piece);
    assert_int_equal(pool.spare_bytes, MEM_HUGE_BYTES);
    arena_pool_clear(&pool);
    assert_int_equal(pool.spare_bytes, 0);
    arena_deinit(&arena);
    assert_int_equal(pool.spare_bytes, MEM_HUGE_BYTES);
    arena_pool_deinit(&pool);
    assert_true(mem_used_bytes() <= used_before + 65536);
}

/* Who took the last one asks for one, once; a pool that may hold none never does. */
static void test_arena__a_chunk_is_made_ahead(void **state)
{
    struct arena_pool pool;
    struct arena arena;

    (void)state;
    arena_pool_init(&pool, MEM_HUGE_BYTES);
    arena_pool_fill(&pool);
    assert_int_equal(arena_pool_bytes(&pool), 0); /* nobody wants it */
    arena_init(&arena, MEM_HUGE_BYTES);
    arena.pool = &pool;
    assert_non_null(arena_alloc(&arena, 64));
    assert_true(arena_pool_wants(&pool));
    mem_fail_nth(1, 1);
    arena_pool_fill(&pool);
    mem_fail_nth(0, 0);
    assert_int_equal(arena_pool_bytes(&pool), 0);
    assert_false(arena_pool_wants(&pool)); /* not again and again */
    arena_deinit(&arena);
    arena_pool_clear(&pool);
    assert_false(arena_pool_wants(&pool));

    assert_non_null(arena_alloc(&arena, 64));
    arena_pool_fill(&pool);
    arena_pool_fill(&pool);
    assert_int_equal(arena_pool_bytes(&pool), MEM_HUGE_BYTES);
    mem_fail_nth(1, 1);
    for (int i = 0; i < 4; i++) { /* the last in the chunk that was made ahead */
        uint8_t *piece = arena_alloc(&arena, MEM_HUGE_BYTES / 4);
        assert_non_null(piece);
        memset(piece, 0x5a, MEM_HUGE_BYTES / 4);
    }
    mem_fail_nth(0, 0);
    assert_true(arena_pool_wants(&pool));
    arena_deinit(&arena);
    arena_pool_deinit(&pool);

    arena_pool_init(&pool, MEM_HUGE_BYTES - 1);
    assert_non_null(arena_alloc(&arena, 64));
    assert_false(arena_pool_wants(&pool));
    arena_deinit(&arena);
    arena_pool_deinit(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena__pieces_do_not_overlap),
        cmocka_unit_test(test_arena__a_large_piece_leaves_the_chunk_in_use),
        cmocka_unit_test(test_arena__no_memory_is_said_and_harmless),
        cmocka_unit_test(test_arena__chunks_are_used_again),
        cmocka_unit_test(test_arena__a_chunk_is_made_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
