/* The merge against a sorted array of all entries: random sources, random moves in both directions,
 * sources that fail. */
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
#include "base/rng.h"
#include "segment/merge_iter.h"

#define ENTRIES_MAX 400
#define SOURCES_MAX 9 /* and one more place */

struct item {
    char key[24];
    size_t key_len;
    uint64_t seq;
};

struct counts {
    int destroyed;
    int asking; /* sources that have ask() */
    int asked;  /* since the last jump */
};

/* An iterator over an array; its nth move fails if `fail_at` says so. */
struct array_iter {
    struct iter iter;
    const struct item **items;
    size_t count;
    size_t at;
    int moves;
    int fail_at; /* 0: never */
    int blocked; /* ask() said VARVE_WOULD_BLOCK */
    struct counts *counts;
};

static void array_stand(struct array_iter *array, size_t at)
{
    array->at = at;
    array->iter.rc = 0;
    array->iter.valid = at < array->count;
    array->moves++;
    if (array->moves == array->fail_at) {
        array->iter.valid = 0;
        array->iter.rc = err_set(&array->iter.err, VARVE_EIO, "planned");
        return;
    }
    if (!array->iter.valid)
        return;
    const struct item *item = array->items[at];
    array->iter.entry = (struct entry){
        .seq = item->seq,
        .chunk = {.kind = CHUNK_PUT, .key = varve_slice(item->key, item->key_len)},
    };
}

static struct array_iter *array_of(struct iter *iter)
{
    return (struct array_iter *)(void *)iter;
}

static size_t array_find(struct array_iter *array, struct varve_slice key, int behind)
{
    size_t at = 0;

    while (at < array->count) {
        const struct item *item = array->items[at];
        int order = varve_slice_compare(varve_slice(item->key, item->key_len), key);
        if (order > 0 || (order == 0 && !behind))
            break;
        at++;
    }
    return at;
}

static void array_first(struct iter *iter)
{
    array_stand(array_of(iter), 0);
}

static void array_last(struct iter *iter)
{
    array_stand(array_of(iter), array_of(iter)->count - 1);
}

/* Who was asked for in vain is sought when all were asked. */
static void array_waits(struct array_iter *array)
{
    if (array->blocked)
        assert_int_equal(array->counts->asked, array->counts->asking);
    array->blocked = 0;
}

static void array_seek(struct iter *iter, struct varve_slice key)
{
    array_waits(array_of(iter));
    array_stand(array_of(iter), array_find(array_of(iter), key, 0));
}

static void array_seek_prev(struct iter *iter, struct varve_slice key)
{
    array_waits(array_of(iter));
    array_stand(array_of(iter), array_find(array_of(iter), key, 1) - 1);
}

/* Every other one would wait. */
static void array_ask(struct iter *iter, struct varve_slice key, int backward)
{
    struct array_iter *array = array_of(iter);

    if (array->counts->asked++ % 2 == 0) {
        array->blocked = 1;
        iter->valid = 0;
        iter->rc = err_set(&iter->err, VARVE_WOULD_BLOCK, "asked");
    } else if (backward) {
        array_seek_prev(iter, key);
    } else {
        array_seek(iter, key);
    }
}

static void array_next(struct iter *iter)
{
    assert_true(iter->valid);
    array_stand(array_of(iter), array_of(iter)->at + 1);
}

static void array_prev(struct iter *iter)
{
    assert_true(iter->valid);
    array_stand(array_of(iter), array_of(iter)->at - 1);
}

static void array_destroy(struct iter *iter)
{
    array_of(iter)->counts->destroyed++;
    free(array_of(iter)->items);
    free(iter);
}

static const struct iter_ops array_ops = {
    .first = array_first,
    .last = array_last,
    .seek = array_seek,
    .seek_prev = array_seek_prev,
    .next = array_next,
    .prev = array_prev,
    .destroy = array_destroy,
};

static const struct iter_ops array_ops_asking = {
    .first = array_first,
    .last = array_last,
    .seek = array_seek,
    .seek_prev = array_seek_prev,
    .ask = array_ask,
    .next = array_next,
    .prev = array_prev,
    .destroy = array_destroy,
};

struct world {
    struct item items[ENTRIES_MAX];
    size_t count;
    struct iter *sources[SOURCES_MAX + 1];
    size_t source_count;
    struct counts counts;
};

static int compare_items(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;

    return entry_compare(varve_slice(x->key, x->key_len), x->seq, varve_slice(y->key, y->key_len),
                         y->seq);
}

/* Few different keys (so that versions meet), some with a common beginning beyond 8 bytes, zeros in
 * them; dealt to the sources at random or in stretches. */
static void make_world(struct world *world, struct rng *rng)
{
    size_t count = rng_below(rng, 4) == 0 ? rng_below(rng, 4) : rng_below(rng, ENTRIES_MAX);
    uint64_t keys = 1 + rng_below(rng, 200);
    int stretches = rng_below(rng, 2) == 0;

    memset(world, 0, sizeof(*world));
    world->count = count;
    world->source_count = rng_below(rng, SOURCES_MAX + 1);
    if (world->source_count == 0)
        world->count = 0;
    for (size_t i = 0; i < world->count; i++) {
        struct item *item = &world->items[i];
        uint64_t number = rng_below(rng, keys);
        memset(item->key, 0, sizeof(item->key));
        snprintf(item->key, sizeof(item->key), number % 3 == 0 ? "common-prefix-%03d" : "%d",
                 (int)number);
        item->key_len = strlen(item->key) + number % 5 / 4; /* some with a zero at the end */
        if (number % 7 == 0)
            item->key_len = number % 4;
        item->seq = i + 1;
    }
    qsort(world->items, world->count, sizeof(world->items[0]), compare_items);
    for (size_t s = 0; s < world->source_count; s++) {
        struct array_iter *array = calloc(1, sizeof(*array));
        int asks = rng_below(rng, 2) == 0;
        array->iter.ops = asks ? &array_ops_asking : &array_ops;
        world->counts.asking += asks;
        array->items = calloc(ENTRIES_MAX, sizeof(struct item *));
        array->counts = &world->counts;
        world->sources[s] = &array->iter;
    }
    size_t owner = 0;
    for (size_t i = 0; i < world->count; i++) {
        if (!stretches || rng_below(rng, 20) == 0)
            owner = rng_below(rng, world->source_count);
        struct array_iter *array = array_of(world->sources[owner]);
        array->items[array->count++] = &world->items[i];
    }
}

static void check_at(const struct world *world, const struct iter *merge, size_t at)
{
    assert_int_equal(merge->rc, 0);
    assert_int_equal(merge->valid, at < world->count);
    if (!merge->valid)
        return;
    assert_int_equal(merge->entry.seq, world->items[at].seq);
    assert_true(varve_slice_equal(merge->entry.chunk.key,
                                  varve_slice(world->items[at].key, world->items[at].key_len)));
}

static size_t model_find(const struct world *world, struct varve_slice key, int behind)
{
    size_t at = 0;

    while (at < world->count) {
        int order = varve_slice_compare(varve_slice(world->items[at].key, world->items[at].key_len),
                                        key);
        if (order > 0 || (order == 0 && !behind))
            break;
        at++;
    }
    return at;
}

static size_t random_jump(struct world *world, struct iter *merge, struct rng *rng)
{
    char text[24] = "common-prefix-";
    struct varve_slice key = varve_slice(text, rng_below(rng, 15));

    if (world->count > 0 && rng_below(rng, 3) > 0) {
        const struct item *item = &world->items[rng_below(rng, world->count)];
        key = varve_slice(item->key, item->key_len - (rng_below(rng, 4) == 0 && item->key_len > 0));
    }
    world->counts.asked = 0;
    switch (rng_below(rng, 4)) {
    case 0: merge->ops->first(merge); return 0;
    case 1: merge->ops->last(merge); return world->count - 1;
    case 2: merge->ops->seek(merge, key); return model_find(world, key, 0);
    default: merge->ops->seek_prev(merge, key); return model_find(world, key, 1) - 1;
    }
}

static void test_merge__walks_like_a_sorted_array(void **state)
{
    struct rng rng;
    static struct world world;

    (void)state;
    rng_init(&rng, 20);
    for (int round = 0; round < 400; round++) {
        make_world(&world, &rng);
        struct iter *merge = merge_iter_create(world.sources, world.source_count);
        assert_non_null(merge);
        for (int jump = 0; jump < 12; jump++) {
            size_t at = random_jump(&world, merge, &rng);
            check_at(&world, merge, at);
            int bias = (int)rng_below(&rng, 3); /* mostly forward, mostly backward, both */
            for (int step = 0; merge->valid && step < 300; step++) {
                int back = bias == 2 ? rng_below(&rng, 2) == 0 : (rng_below(&rng, 30) == 0) ^ bias;
                if (back)
                    merge->ops->prev(merge);
                else
                    merge->ops->next(merge);
                at += back ? (size_t)-1 : 1;
                check_at(&world, merge, at);
            }
        }
        iter_destroy(merge);
        assert_int_equal(world.counts.destroyed, world.source_count);
    }
}

static void test_merge__error_of_a_source_is_its_own(void **state)
{
    struct rng rng;
    static struct world world;
    int failures = 0;

    (void)state;
    rng_init(&rng, 21);
    for (int round = 0; round < 600; round++) {
        make_world(&world, &rng);
        if (world.count < 10) {
            for (size_t i = 0; i < world.source_count; i++)
                iter_destroy(world.sources[i]);
            continue;
        }
        struct array_iter *bad = array_of(world.sources[rng_below(&rng, world.source_count)]);
        bad->fail_at = 1 + (int)rng_below(&rng, 30);
        struct iter *merge = merge_iter_create(world.sources, world.source_count);
        merge->ops->first(merge);
        size_t at = 0;
        for (int step = 0; merge->valid && step < 200; step++) {
            check_at(&world, merge, at);
            int back = rng_below(&rng, 5) == 0;
            if (back)
                merge->ops->prev(merge);
            else
                merge->ops->next(merge);
            at += back ? (size_t)-1 : 1;
        }
        if (bad->moves >= bad->fail_at) {
            assert_false(merge->valid);
            assert_int_equal(merge->rc, VARVE_EIO);
            assert_string_equal(merge->err.text, "planned");
            bad->fail_at = 0;
            merge->ops->last(merge);
            check_at(&world, merge, world.count - 1);
            failures++;
        }
        iter_destroy(merge);
    }
    assert_true(failures > 100);
}

static void test_merge__without_memory_destroys_the_sources(void **state)
{
    struct rng rng;
    static struct world world;
    struct iter *merge = NULL;

    (void)state;
    rng_init(&rng, 22);
    for (uint64_t nth = 1; merge == NULL; nth++) {
        do {
            make_world(&world, &rng);
        } while (world.source_count == 0);
        mem_fail_nth(nth, 0);
        merge = merge_iter_create(world.sources, world.source_count);
        mem_fail_nth(0, 0);
        assert_int_equal(world.counts.destroyed, merge == NULL ? world.source_count : 0);
    }
    iter_destroy(merge);
    make_world(&world, &rng);
    world.sources[world.source_count] = NULL;
    assert_null(merge_iter_create(world.sources, world.source_count + 1));
    assert_int_equal(world.counts.destroyed, world.source_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge__walks_like_a_sorted_array),
        cmocka_unit_test(test_merge__error_of_a_source_is_its_own),
        cmocka_unit_test(test_merge__without_memory_destroys_the_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
