#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lsm/art.h"
#include "varve/status.h"

/* With chunks this small every piece of the arena is an allocation, hence a place to fail. */
#define TINY_CHUNK_BYTES 1

struct fixture {
    struct arena arena;
    struct art art;
    struct art_leaf **sorted; /* what was linked, in key order */
    size_t count;
};

#define KEYS_MAX 65536

static int set_up(void **state)
{
    struct fixture *f = mem_alloc_zero(sizeof(*f));

    assert_non_null(f);
    f->sorted = mem_alloc(KEYS_MAX * sizeof(*f->sorted));
    assert_non_null(f->sorted);
    arena_init(&f->arena, 64 * 1024);
    art_init(&f->art, &f->arena);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    arena_deinit(&f->arena);
    mem_free(f->sorted);
    mem_free(f);
    return 0;
}

static void start_again(struct fixture *f, size_t chunk_bytes)
{
    arena_deinit(&f->arena);
    arena_init(&f->arena, chunk_bytes);
    art_init(&f->art, &f->arena);
    f->count = 0;
}

static struct art_leaf *make_leaf(struct fixture *f, struct varve_slice key)
{
    struct art_leaf *leaf = arena_alloc(&f->arena, art_leaf_bytes(key.len));

    if (leaf == NULL)
        return NULL;
    atomic_init(&leaf->value, NULL);
    leaf->key_len = (uint32_t)key.len;
    memcpy(leaf->key, key.data, key.len);
    return leaf;
}

/* The index of the first key >= key. */
static size_t sorted_at(const struct fixture *f, struct varve_slice key)
{
    size_t low = 0;
    size_t high = f->count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        if (varve_slice_compare(art_leaf_key(f->sorted[mid]), key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int sorted_has(const struct fixture *f, size_t at, struct varve_slice key)
{
    return at < f->count && varve_slice_equal(art_leaf_key(f->sorted[at]), key);
}

/* Returns 1 if the key was new, 0 if it was there, or VARVE_ENOMEM. */
static int insert(struct fixture *f, struct varve_slice key)
{
    struct art_place place;
    size_t at = sorted_at(f, key);
    struct art_leaf *leaf = art_locate(&f->art, key, &place);

    if (sorted_has(f, at, key)) {
        assert_ptr_equal(leaf, f->sorted[at]);
        return 0;
    }
    assert_null(leaf);
    leaf = make_leaf(f, key);
    if (leaf == NULL || art_link(&f->art, &place, leaf) != 0)
        return VARVE_ENOMEM;
    assert_true(f->count < KEYS_MAX);
    memmove(f->sorted + at + 1, f->sorted + at, (f->count - at) * sizeof(*f->sorted));
    f->sorted[at] = leaf;
    f->count++;
    return 1;
}

static const struct art_leaf *leaf_at(const struct fixture *f, size_t at)
{
    return at < f->count ? f->sorted[at] : NULL;
}

/* All that can be asked about one key, there or not. */
static void check_key(struct fixture *f, struct art_iter *iter, struct varve_slice key)
{
    size_t at = sorted_at(f, key);
    int found = sorted_has(f, at, key);

    assert_ptr_equal(art_find(&f->art, key), found ? f->sorted[at] : NULL);
    assert_true(!found || art_prefetch(&f->art, &key, 1) == 0);
    assert_ptr_equal(art_floor(&f->art, key), leaf_at(f, found ? at : at - 1));
    assert_ptr_equal(art_higher(&f->art, key), leaf_at(f, found ? at + 1 : at));
    art_iter_seek_prev(iter, key);
    assert_ptr_equal(iter->leaf, leaf_at(f, found ? at : at - 1));
    art_iter_seek(iter, key);
    assert_ptr_equal(iter->leaf, leaf_at(f, at));
    if (iter->leaf != NULL) {
        art_iter_prev(iter);
        assert_ptr_equal(iter->leaf, leaf_at(f, at - 1));
    }
}

static void check_walks(struct fixture *f)
{
    struct art_iter iter;
    size_t at = 0;

    art_iter_init(&iter, &f->art);
    for (art_iter_first(&iter); iter.leaf != NULL; art_iter_next(&iter))
        assert_ptr_equal(iter.leaf, leaf_at(f, at++));
    assert_int_equal(at, f->count);
    for (art_iter_last(&iter); iter.leaf != NULL; art_iter_prev(&iter))
        assert_ptr_equal(iter.leaf, leaf_at(f, --at));
    assert_int_equal(at, 0);
    assert_int_equal(iter.status, 0);
    art_iter_deinit(&iter);
}

static void check_all(struct fixture *f)
{
    struct art_iter iter;

    check_walks(f);
    art_iter_init(&iter, &f->art);
    for (size_t i = 0; i < f->count; i++)
        check_key(f, &iter, art_leaf_key(f->sorted[i]));
    art_iter_deinit(&iter);
}

static void test_art__empty_tree_has_nothing(void **state)
{
    struct fixture *f = *state;

    check_all(f);
    assert_int_equal(art_prefetch(&f->art, &(struct varve_slice){0}, 1), 1);
    assert_null(art_find(&f->art, varve_slice_str("a")));
    assert_null(art_floor(&f->art, varve_slice_str("a")));
    assert_null(art_higher(&f->art, varve_slice(NULL, 0)));
}

static void test_art__empty_key_is_a_key(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(insert(f, varve_slice_str("")), 1);
    check_all(f);
    assert_int_equal(insert(f, varve_slice_str("b")), 1);
    assert_int_equal(insert(f, varve_slice_str("")), 0);
    assert_int_equal(insert(f, varve_slice("\0", 1)), 1);
    check_all(f);
}

/* Through every kind of node, beside a key that ends at it, in three orders of coming. */
static void test_art__node_holds_every_count_of_children(void **state)
{
    struct fixture *f = *state;

    for (unsigned by = 1; by <= 255; by += 127) {
        start_again(f, 64 * 1024);
        assert_int_equal(insert(f, varve_slice_str("node")), 1);
        for (unsigned i = 0; i < 256; i++) {
            uint8_t key[] = {'n', 'o', 'd', 'e', (uint8_t)(i * by + 7), 'x'};
            assert_int_equal(insert(f, varve_slice(key, sizeof(key))), by == 128 && i > 1 ? 0 : 1);
            check_walks(f);
        }
        check_all(f);
    }
}

static void test_art__prefix_splits_at_every_byte(void **state)
{
    struct fixture *f = *state;
    uint8_t key[40];

    for (size_t len = 1; len < sizeof(key); len++) {
        start_again(f, 64 * 1024);
        memset(key, 'p', sizeof(key));
        assert_int_equal(insert(f, varve_slice(key, len)), 1);
        key[len - 1] = 'q'; /* a node whose prefix is as long as can be */
        assert_int_equal(insert(f, varve_slice(key, len)), 1);
        for (size_t cut = 0; cut < len; cut++) {
            memset(key, 'p', sizeof(key));
            (void)insert(f, varve_slice(key, cut)); /* ends in the prefix */
            key[cut] = cut % 2 ? 'a' : 'z';
            assert_int_equal(insert(f, varve_slice(key, len)), 1);
            check_all(f);
        }
    }
}

static size_t random_key(struct rng *rng, uint8_t *key, size_t len_max)
{
    static const uint8_t few[] = {0, 1, 'a', 'b', 0x7f, 0x80, 0xfe, 0xff};
    size_t len = rng_below(rng, len_max + 1);
    int narrow = rng_below(rng, 3) != 0;

    for (size_t i = 0; i < len; i++)
        key[i] = narrow ? few[rng_below(rng, i < 12 ? 2 : 8)] : (uint8_t)rng_next(rng);
    return len;
}

static void test_prefetch__says_what_is_not_there(void **state)
{
    struct fixture *f = *state;
    const struct varve_slice keys[] = {varve_slice_str("ax"), varve_slice_str("ay"),
                                       varve_slice_str("b"), varve_slice_str("a"),
                                       varve_slice_str("az")};

    assert_int_equal(insert(f, keys[0]), 1);
    assert_int_equal(art_prefetch(&f->art, keys, 5), 0); /* one leaf: it is not looked at */
    assert_int_equal(insert(f, keys[1]), 1);
    assert_int_equal(insert(f, keys[2]), 1);
    assert_int_equal(art_prefetch(&f->art, keys, 5), 0x18);
}

static void test_art__random_keys_match_sorted_array(void **state)
{
    struct fixture *f = *state;
    uint8_t key[24];

    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng rng;
        struct art_iter iter;
        rng_init(&rng, seed);
        start_again(f, 64 * 1024);
        art_iter_init(&iter, &f->art);
        size_t len_max = seed % 3 == 0 ? 3 : sizeof(key);
        for (int i = 0; i < 800; i++) {
            assert_true(insert(f, varve_slice(key, random_key(&rng, key, len_max))) >= 0);
            check_key(f, &iter, varve_slice(key, random_key(&rng, key, len_max)));
        }
        check_all(f);
        art_iter_deinit(&iter);
    }
}

/* A walk that stands on `stood` must next meet what is next now, however the tree was rebuilt. */
static void test_art__walk_sees_keys_linked_before_each_move(void **state)
{
    struct fixture *f = *state;
    uint8_t key[8];

    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rng rng;
        struct art_iter iter;
        rng_init(&rng, seed);
        start_again(f, 64 * 1024);
        art_iter_init(&iter, &f->art);
        assert_true(insert(f, varve_slice(key, random_key(&rng, key, sizeof(key)))) >= 0);
        art_iter_first(&iter);
        for (int i = 0; i < 3000; i++) {
            for (uint64_t n = rng_below(&rng, 4); n > 0; n--)
                (void)insert(f, varve_slice(key, random_key(&rng, key, sizeof(key))));
            size_t at = sorted_at(f, art_leaf_key(iter.leaf));
            int up = rng_below(&rng, 100) < 55;
            if (up)
                art_iter_next(&iter);
            else
                art_iter_prev(&iter);
            assert_ptr_equal(iter.leaf, leaf_at(f, up ? at + 1 : at - 1));
            if (iter.leaf == NULL)
                art_iter_seek(&iter, art_leaf_key(f->sorted[rng_below(&rng, f->count)]));
        }
        art_iter_deinit(&iter);
    }
}

/* "a", "aa", "aaa", ...: a node a byte. */
static void test_art__deep_tree_needs_no_recursion(void **state)
{
    enum { DEPTH = 4000 };
    struct fixture *f = *state;
    static uint8_t key[DEPTH];

    memset(key, 'a', sizeof(key));
    for (size_t len = 1; len <= DEPTH; len++) {
        assert_int_equal(insert(f, varve_slice(key, len)), 1);
        if (len % 2 == 0) { /* and teeth to climb back to */
            key[len - 1] = 'b';
            assert_int_equal(insert(f, varve_slice(key, len)), 1);
            key[len - 1] = 'a';
        }
    }
    check_walks(f);
    assert_ptr_equal(art_higher(&f->art, varve_slice(key, DEPTH)), f->sorted[DEPTH]);
    assert_ptr_equal(art_floor(&f->art, varve_slice(key, DEPTH)), f->sorted[DEPTH - 1]);
}

static void test_art__walk_without_memory_says_so(void **state)
{
    enum { DEPTH = 100 };
    struct fixture *f = *state;
    struct art_iter iter;
    uint8_t key[DEPTH];

    memset(key, 'a', sizeof(key));
    for (size_t len = 1; len <= DEPTH; len++)
        assert_int_equal(insert(f, varve_slice(key, len)), 1);
    art_iter_init(&iter, &f->art);
    mem_fail_nth(1, 1);
    size_t seen = 0;
    for (art_iter_first(&iter); iter.leaf != NULL; art_iter_next(&iter))
        seen++;
    assert_true(seen > 0 && seen < DEPTH);
    assert_int_equal(iter.status, VARVE_ENOMEM);
    art_iter_seek(&iter, varve_slice(key, DEPTH));
    assert_null(iter.leaf);
    assert_int_equal(iter.status, VARVE_ENOMEM);
    mem_fail_nth(0, 0);
    art_iter_seek(&iter, varve_slice(key, DEPTH));
    assert_ptr_equal(iter.leaf, f->sorted[DEPTH - 1]);
    assert_int_equal(iter.status, 0);
    art_iter_deinit(&iter);
}

static void test_art__failed_link_leaves_the_tree(void **state)
{
    struct fixture *f = *state;
    struct rng rng;
    uint8_t key[24];
    int failures = 0;

    rng_init(&rng, 5);
    start_again(f, TINY_CHUNK_BYTES);
    for (int i = 0; i < 1500; i++) {
        struct varve_slice fresh = varve_slice(key, random_key(&rng, key, i % 2 ? 2 : 24));
        int rc = VARVE_ENOMEM;
        for (uint64_t nth = 1; rc == VARVE_ENOMEM; nth++) {
            mem_fail_nth(nth, 0);
            rc = insert(f, fresh);
            mem_fail_nth(0, 0);
            if (rc != VARVE_ENOMEM)
                break;
            failures++;
            assert_null(art_find(&f->art, fresh));
            if (i % 16 == 0)
                check_walks(f);
        }
        assert_true(rc >= 0);
    }
    assert_true(failures > 1000); /* the leaf's piece and the nodes' */
    check_all(f);
}

static void test_art__link_stays_within_its_bound(void **state)
{
    struct fixture *f = *state;
    struct rng rng;
    uint8_t key[24];
    size_t most = 0;

    rng_init(&rng, 9);
    start_again(f, TINY_CHUNK_BYTES);
    for (int i = 0; i < 30000; i++) {
        struct varve_slice fresh = varve_slice(key, random_key(&rng, key, i % 2 ? 2 : 24));
        size_t before = arena_used_bytes(&f->arena);
        if (insert(f, fresh) != 1)
            continue;
        size_t took = arena_used_bytes(&f->arena) - before - art_leaf_bytes(fresh.len);
        most = took > most ? took : most;
    }
    assert_true(most <= ART_LINK_MAX_BYTES + (ART_LINK_MAX_PIECES + 1) * 40);
    assert_true(most > 2048); /* the largest node was made on the way */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_art__empty_tree_has_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_art__empty_key_is_a_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_art__node_holds_every_count_of_children, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_art__prefix_splits_at_every_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prefetch__says_what_is_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_art__random_keys_match_sorted_array, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_art__walk_sees_keys_linked_before_each_move, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_art__deep_tree_needs_no_recursion, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_art__walk_without_memory_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_art__failed_link_leaves_the_tree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_art__link_stays_within_its_bound, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
