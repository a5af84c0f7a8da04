/* The walk over a block as it lies, beside the flat form that lookups use: block_twice.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "block_twice.h"
#include "segment_help.h"

#define VALUE_LIMIT ((uint64_t)1 << 40)

/* The payload of a block of all that is in the model, in memory of just its size. */
static struct varve_slice payload_of(const struct model *model)
{
    struct block_builder builder;
    struct varve_slice payload;

    block_builder_init(&builder);
    for (size_t i = 0; i < model->count; i++) {
        const struct entry *entry = &model->items[i].entry;
        assert_int_equal(block_builder_add(&builder, entry, 64 + i * 1000000, 0), 0);
    }
    assert_int_equal(block_builder_finish(&builder, &payload), 0);
    uint8_t *exact = mem_alloc(payload.len);
    assert_non_null(exact);
    memcpy(exact, payload.data, payload.len);
    block_builder_deinit(&builder);
    return varve_slice(exact, payload.len);
}

static struct model_plan random_plan(struct rng *rng)
{
    struct model_plan plan = {.keys = 1 + rng_below(rng, 60),
                              .versions_max = 1 + rng_below(rng, 4),
                              .value_max = rng_below(rng, 200)};

    plan.long_keys = rng_below(rng, plan.keys + 1);
    plan.large_values = rng_below(rng, 2) * rng_below(rng, plan.keys + 1) / 8;
    return plan;
}

static void test_block_walk__random_blocks_are_as_decoded(void **state)
{
    struct block_walk walk;
    struct rng rng;

    (void)state;
    rng_init(&rng, 11);
    block_walk_init(&walk);
    for (int round = 0; round < 400; round++) {
        struct model_plan plan = random_plan(&rng);
        struct varve_err err = {0};
        struct varve_err walk_err = {0};
        struct model model;
        model_make(&model, &plan, &rng);
        struct varve_slice payload = payload_of(&model);
        assert_int_equal(block_twice(&walk, payload, VALUE_LIMIT, &err, &walk_err), 0);
        mem_free((void *)(uintptr_t)payload.data);
        model_free(&model);
    }
    block_walk_deinit(&walk);
}

/* No CRC is asked here: every flipped bit is refused by both, or is the same other content to both. */
static void test_block_walk__every_flipped_bit_is_as_decoded(void **state)
{
    struct block_walk walk;
    struct rng rng;
    uint64_t refused = 0;
    uint64_t taken = 0;

    (void)state;
    rng_init(&rng, 12);
    block_walk_init(&walk);
    for (int round = 0; round < 6; round++) {
        struct model_plan plan = {
            .keys = 12, .versions_max = 3, .value_max = 12, .large_values = 2};
        struct model model;
        plan.long_keys = round == 5 ? 2 : 0;
        model_make(&model, &plan, &rng);
        struct varve_slice payload = payload_of(&model);
        uint8_t *bytes = (uint8_t *)(uintptr_t)payload.data;
        for (size_t bit = 0; bit < 8 * payload.len; bit++) {
            struct varve_err err = {0};
            struct varve_err walk_err = {0};
            bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
            int rc = block_twice(&walk, payload, VALUE_LIMIT, &err, &walk_err);
            assert_true(rc == 0 || rc == VARVE_ECORRUPT);
            refused += rc != 0;
            taken += rc == 0;
            bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
        }
        mem_free(bytes);
        model_free(&model);
    }
    assert_true(refused > 1000 && taken > 1000);
    block_walk_deinit(&walk);
}

/* The key's buffer is the only memory; without it, an error, and the walk can begin again. */
static void test_block_walk__any_allocation_fails(void **state)
{
    struct model_plan plan = {.keys = 40, .versions_max = 2, .value_max = 20, .long_keys = 10};
    struct varve_err err = {0};
    struct varve_err walk_err = {0};
    struct block_walk walk;
    struct model model;
    struct rng rng;
    uint64_t refused = 0;

    (void)state;
    rng_init(&rng, 13);
    model_make(&model, &plan, &rng);
    struct varve_slice payload = payload_of(&model);
    for (uint64_t nth = 1;; nth++) {
        block_walk_init(&walk);
        assert_int_equal(block_walk_begin(&walk, payload, VALUE_LIMIT, &err), 0);
        mem_fail_nth(nth, 0);
        int rc;
        do
            rc = block_walk_next(&walk, &err);
        while (rc > 0);
        uint64_t count = mem_alloc_count();
        mem_fail_nth(0, 0);
        assert_int_equal(rc, count < nth ? 0 : VARVE_ENOMEM);
        refused += rc != 0;
        assert_int_equal(block_twice(&walk, payload, VALUE_LIMIT, &err, &walk_err), 0);
        block_walk_deinit(&walk);
        if (count < nth)
            break;
    }
    assert_true(refused > 0);
    mem_free((void *)(uintptr_t)payload.data);
    model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block_walk__random_blocks_are_as_decoded),
        cmocka_unit_test(test_block_walk__every_flipped_bit_is_as_decoded),
        cmocka_unit_test(test_block_walk__any_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
