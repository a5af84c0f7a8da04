#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lsm/range_map.h"
#include "varve/status.h"

/* With chunks this small every piece of the arena is an allocation, hence a place to fail. */
#define TINY_CHUNK_BYTES 1
#define RANGES_MAX 400

struct range {
    uint8_t begin;
    uint8_t end;
};

struct fixture {
    struct arena arena;
    struct range_map map;
    struct range ranges[RANGES_MAX]; /* number i has sequence i + 1 */
    size_t count;
};

static void start(struct fixture *f)
{
    f->count = 0;
    arena_init(&f->arena, TINY_CHUNK_BYTES);
    range_map_init(&f->map, &f->arena);
}

static struct chunk chunk_of(const struct range *range)
{
    return (struct chunk){
        .kind = CHUNK_RANGE_DELETE,
        .key = varve_slice(&range->begin, 1),
        .value = varve_slice(&range->end, 1),
    };
}

static uint64_t expected(const struct fixture *f, uint8_t key, uint64_t seq_max)
{
    for (size_t i = f->count < seq_max ? f->count : seq_max; i-- > 0;)
        if (f->ranges[i].begin <= key && key < f->ranges[i].end)
            return i + 1;
    return 0;
}

static void check_all(const struct fixture *f, uint64_t seq_max)
{
    for (unsigned i = 0; i < 256; i++) {
        uint8_t key[] = {(uint8_t)i, 'x'};
        uint64_t seq = expected(f, key[0], seq_max);
        assert_int_equal(range_map_seq(&f->map, varve_slice(key, 1), seq_max), seq);
        assert_int_equal(range_map_seq(&f->map, varve_slice(key, 2), seq_max), seq);
    }
}

static struct range random_range(struct rng *rng)
{
    struct range range = {(uint8_t)rng_next(rng), (uint8_t)rng_next(rng)};

    if (rng_below(rng, 3) != 0)
        range.end = (uint8_t)(range.begin + rng_below(rng, 8));
    return range;
}

static void test_range_map__matches_a_list(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));

    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        start(f);
        while (f->count < RANGES_MAX) {
            f->ranges[f->count] = random_range(&rng);
            struct chunk chunk = chunk_of(&f->ranges[f->count]);
            size_t cost = range_map_cost_bytes(&f->map, chunk.key, chunk.value);
            size_t before = arena_used_bytes(&f->arena);
            assert_int_equal(range_map_add(&f->map, f->count + 1, &chunk), 0);
            assert_true(arena_used_bytes(&f->arena) - before <= cost);
            f->count++;
            if (rng_below(&rng, 4) == 0) {
                range_map_undo(&f->map);
                f->count--;
            }
            check_all(f, rng_below(&rng, 2) == 0 ? UINT64_MAX : rng_below(&rng, f->count + 1));
        }
        while (f->count > 0) {
            range_map_undo(&f->map);
            f->count--;
            check_all(f, UINT64_MAX);
        }
        arena_deinit(&f->arena);
    }
    mem_free(f);
}

static void test_range_map__failed_add_covers_nothing(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    struct rng rng;
    int failures = 0;

    (void)state;
    rng_init(&rng, 77);
    start(f);
    while (f->count < 200) {
        f->ranges[f->count] = random_range(&rng);
        struct chunk chunk = chunk_of(&f->ranges[f->count]);
        int rc = VARVE_ENOMEM;
        for (uint64_t nth = 1; rc != 0; nth++) {
            mem_fail_nth(nth, 0);
            rc = range_map_add(&f->map, f->count + 1, &chunk);
            mem_fail_nth(0, 0);
            if (rc == 0)
                break;
            assert_int_equal(rc, VARVE_ENOMEM);
            check_all(f, UINT64_MAX);
            failures++;
        }
        f->count++;
        check_all(f, UINT64_MAX);
    }
    assert_true(failures > 1000);
    arena_deinit(&f->arena);
    mem_free(f);
}

/* As FLUSHDB makes them: side by side, each cheap however many there are. */
static void test_range_map__disjoint_ranges_stay_cheap(void **state)
{
    struct arena arena;
    struct range_map map;
    char begin[16], end[16];

    (void)state;
    arena_init(&arena, 64 * 1024);
    range_map_init(&map, &arena);
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(begin, sizeof(begin), "%08u", i);
        snprintf(end, sizeof(end), "%08u", i + 1);
        struct chunk chunk = {.key = varve_slice_str(begin), .value = varve_slice_str(end)};
        assert_int_equal(range_map_add(&map, i + 1, &chunk), 0);
    }
    assert_true(arena_used_bytes(&arena) / 100000 < 256);
    assert_int_equal(range_map_seq(&map, varve_slice_str("00077777x"), UINT64_MAX), 77778);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range_map__matches_a_list),
        cmocka_unit_test(test_range_map__failed_add_covers_nothing),
        cmocka_unit_test(test_range_map__disjoint_ranges_stay_cheap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
