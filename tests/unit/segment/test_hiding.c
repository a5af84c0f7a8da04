/* About how much of a segment hides something: from filters that are asked for some of its keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "segment/hiding.h"

#define KEYS 40000
#define ENTRY_BYTES 120
#define FILTERS 8

struct older {
    struct bloom filters[FILTERS];
    uint8_t *blocks[FILTERS];
    uint64_t asked;
};

static struct varve_slice key_of(char *text, unsigned i)
{
    return varve_slice(text, (size_t)snprintf(text, 32, "key %u", i));
}

/* Each has keys of its own from `first` on. */
static void older_init(struct older *older, unsigned first)
{
    struct bloom_hash *hashes = mem_alloc(KEYS * sizeof(*hashes));
    size_t size = bloom_size_bytes(KEYS, 10);
    char text[32];

    *older = (struct older){0};
    for (unsigned f = 0; f < FILTERS; f++) {
        for (unsigned i = 0; i < KEYS; i++)
            hashes[i] = bloom_hash(key_of(text, first + f * KEYS + i));
        older->blocks[f] = mem_alloc(size);
        assert_non_null(older->blocks[f]);
        bloom_build(older->blocks[f], size, hashes, KEYS, 10);
        assert_int_equal(bloom_open(&older->filters[f], older->blocks[f], size), 0);
    }
    mem_free(hashes);
}

static void older_deinit(struct older *older)
{
    for (unsigned f = 0; f < FILTERS; f++)
        mem_free(older->blocks[f]);
}

static int may_hold(void *arg, struct varve_slice key, struct bloom_hash hash)
{
    struct older *older = arg;

    (void)key;
    older->asked++;
    for (unsigned f = 0; f < FILTERS; f++)
        if (bloom_may_hold(&older->filters[f], hash))
            return 1;
    return 0;
}

static int all_may_be_there(void *arg, struct varve_slice key, struct bloom_hash hash)
{
    (void)arg;
    (void)key;
    (void)hash;
    return 1;
}

/* Of KEYS puts, each `step`-th has a key that the older ones have. */
static uint64_t share_of(struct older *older, unsigned step)
{
    struct hiding hiding;
    char text[32];

    hiding_init(&hiding, may_hold, older);
    for (unsigned i = 0; i < KEYS; i++)
        hiding_add(&hiding, key_of(text, step > 0 && i % step == 0 ? i : 10000000 + i), ENTRY_BYTES,
                   0);
    return hiding_bytes(&hiding) * 1000 / ((uint64_t)KEYS * ENTRY_BYTES);
}

static void test_hiding__what_older_ones_hold(void **state)
{
    struct older older;

    (void)state;
    older_init(&older, 0);
    assert_int_equal(share_of(&older, 1), 1000);
    assert_in_range(share_of(&older, 2), 430, 570); /* though keys alternate */
    assert_in_range(share_of(&older, 0), 0, 40); /* though one filter of eight says yes in twelve */
    assert_true(older.asked < (uint64_t)KEYS * 3 * 2 / 32);
    older_deinit(&older);
}

static void test_hiding__deletes_always(void **state)
{
    struct hiding hiding;
    struct older older;
    char text[32];

    (void)state;
    older_init(&older, 0);
    hiding_init(&hiding, may_hold, &older);
    for (unsigned i = 0; i < 1000; i++)
        hiding_add(&hiding, key_of(text, 10000000 + i), 20, 1);
    assert_int_equal(hiding_bytes(&hiding), 20000);
    older_deinit(&older);
}

/* Without filters, and of too little to be asked for, all of it is taken to hide something. */
static void test_hiding__not_known(void **state)
{
    struct hiding hiding;
    char text[32];

    (void)state;
    hiding_init(&hiding, all_may_be_there, NULL);
    for (unsigned i = 0; i < 10000; i++)
        hiding_add(&hiding, key_of(text, i), 100, 0);
    assert_int_equal(hiding_bytes(&hiding), 1000000);
    hiding_init(&hiding, all_may_be_there, NULL);
    hiding_add(&hiding, varve_slice_str("k"), 10, 0);
    assert_int_equal(hiding_bytes(&hiding), 10);
    hiding_init(&hiding, NULL, NULL);
    hiding_add(&hiding, varve_slice_str("k"), 1 << 20, 0);
    assert_int_equal(hiding_bytes(&hiding), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hiding__what_older_ones_hold),
        cmocka_unit_test(test_hiding__deletes_always),
        cmocka_unit_test(test_hiding__not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
