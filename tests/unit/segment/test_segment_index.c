/* The index in memory: what was built is found again, and no bytes at all make it read or claim what it
 * should not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/rng.h"
#include "segment/block.h"
#include "segment/segment_index.h"

#define BLOCKS_MAX 700 /* four levels of groups */

struct keys {
    uint8_t bytes[BLOCKS_MAX][INDEX_KEY_MAX_BYTES];
    size_t len[BLOCKS_MAX];
    uint32_t count;
};

static int compare(const void *a, const void *b)
{
    const struct varve_slice *x = a;
    const struct varve_slice *y = b;

    return varve_slice_compare(*x, *y);
}

/* Ascending separators; some of the longest length occur several times. Sometimes all begin alike, the
 * first one, as a short one does, aside. */
static void make_keys(struct keys *keys, struct rng *rng)
{
    static uint8_t bytes[BLOCKS_MAX][INDEX_KEY_MAX_BYTES];
    static struct varve_slice slices[BLOCKS_MAX];
    uint64_t most = rng_below(rng, 2) == 0 ? 20 : BLOCKS_MAX;
    uint32_t count = (uint32_t)rng_below(rng, most) + 1;
    size_t shared = rng_below(rng, 2) == 0 ? 0 : 1 + rng_below(rng, 20);

    for (uint32_t i = 0; i < count; i++) {
        int is_long = rng_below(rng, 3) == 0;
        size_t len = is_long ? INDEX_KEY_MAX_BYTES : rng_below(rng, 12) + shared;
        memset(bytes[i], is_long ? 'm' : 0, sizeof(bytes[i]));
        for (size_t k = 0; k < len && k < 10; k++)
            bytes[i][k] = "\0\1amz\xff"[rng_below(rng, is_long ? 2 : 6)];
        if (is_long && rng_below(rng, 2) == 0)
            memset(bytes[i], 0xff, sizeof(bytes[i]));
        if (shared > 0 && !is_long)
            memmove(bytes[i] + shared, bytes[i], len - shared);
        memset(bytes[i], 'k', shared);
        if (i == 0 && shared > 0)
            len = 1;
        slices[i] = varve_slice(bytes[i], len);
    }
    qsort(slices, count, sizeof(slices[0]), compare);
    keys->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && slices[i].len < INDEX_KEY_MAX_BYTES &&
            varve_slice_equal(slices[i - 1], slices[i]))
            continue;
        if (slices[i].len > 0)
            memcpy(keys->bytes[keys->count], slices[i].data, slices[i].len);
        keys->len[keys->count++] = slices[i].len;
    }
}

static struct varve_slice build(struct index_builder *builder, const struct keys *keys,
                                uint64_t *data_end, struct rng *rng)
{
    struct varve_slice payload;

    index_builder_init(builder);
    for (uint32_t i = 0; i < keys->count; i++) {
        uint64_t offset = builder->end + (rng_below(rng, 3) == 0 ? rng_below(rng, 1 << 20) : 0);
        assert_int_equal(index_builder_add(builder, varve_slice(keys->bytes[i], keys->len[i]),
                                           offset, 1 + rng_below(rng, 10000)),
                         0);
    }
    assert_int_equal(index_builder_finish(builder, &payload), 0);
    *data_end = builder->end;
    return payload;
}

static void check_find(const struct segment_index *index, const struct keys *keys,
                       struct varve_slice key)
{
    uint32_t not_greater = 0;
    uint32_t first = 0;
    uint32_t last = 0;

    while (not_greater < keys->count &&
           varve_slice_compare(varve_slice(keys->bytes[not_greater], keys->len[not_greater]),
                               key) <= 0)
        not_greater++;
    int found = segment_index_find(index, key, &first, &last);
    assert_int_equal(found, not_greater > 0);
    if (!found)
        return;
    assert_int_equal(last, not_greater - 1);
    struct varve_slice separator = segment_index_key(index, last);
    uint32_t want = last;
    while (separator.len == INDEX_KEY_MAX_BYTES && want > 0 &&
           varve_slice_equal(segment_index_key(index, want - 1), separator))
        want--;
    if (separator.len == INDEX_KEY_MAX_BYTES && want > 0)
        want--;
    assert_int_equal(first, want);
}

static void test_index__finds_what_was_built(void **state)
{
    static struct keys keys;
    struct rng rng;

    (void)state;
    rng_init(&rng, 70);
    for (int round = 0; round < 300; round++) {
        struct index_builder builder;
        struct segment_index index;
        uint64_t data_end;
        uint8_t key[INDEX_KEY_MAX_BYTES + 8];
        make_keys(&keys, &rng);
        struct varve_slice payload = build(&builder, &keys, &data_end, &rng);
        assert_int_equal(segment_index_open(&index, payload, data_end, NULL), 0);
        assert_int_equal(index.count, keys.count);
        assert_int_equal(index.offsets[index.count - 1] + index.lens[index.count - 1] +
                             BLOCK_TRAILER_BYTES,
                         data_end);
        for (int probe = 0; probe < 100; probe++) {
            uint32_t i = (uint32_t)rng_below(&rng, keys.count);
            size_t len = keys.len[i];
            memset(key, 0xff, sizeof(key));
            memcpy(key, keys.bytes[i], len);
            if (rng_below(&rng, 3) == 0)
                len += rng_below(&rng, 8);
            else if (len > 0 && rng_below(&rng, 2) == 0)
                key[rng_below(&rng, len)] ^= 1;
            else if (rng_below(&rng, 4) == 0)
                len = rng_below(&rng, len + 1);
            check_find(&index, &keys, varve_slice(key, len));
        }
        segment_index_deinit(&index);
        assert_int_equal(segment_index_open(&index, payload, data_end + 1, NULL), VARVE_ECORRUPT);
        index_builder_deinit(&builder);
    }
}

static void test_index__any_bytes(void **state)
{
    static struct keys keys;
    struct rng rng;
    int refused = 0;

    (void)state;
    rng_init(&rng, 71);
    for (int round = 0; round < 20000; round++) {
        struct index_builder builder;
        struct segment_index index;
        uint64_t data_end;
        uint32_t first;
        uint32_t last;
        if (round % 20 == 0)
            make_keys(&keys, &rng);
        struct varve_slice payload = build(&builder, &keys, &data_end, &rng);
        size_t len = rng_below(&rng, 4) == 0 ? rng_below(&rng, payload.len + 1) : payload.len;
        uint8_t *bytes = malloc(len);
        memcpy(bytes, payload.data, len);
        for (uint64_t flips = rng_below(&rng, 4); len > 0 && flips > 0; flips--)
            bytes[rng_below(&rng, rng_below(&rng, 2) == 0 || len < 8 ? len : 8)] = (uint8_t)
                rng_next(&rng);
        int rc = segment_index_open(&index, varve_slice(bytes, len), data_end, NULL);
        if (rc == 0) {
            (void)segment_index_find(&index, varve_slice("mmm", 3), &first, &last);
            for (uint32_t i = 0; i < index.count; i++)
                assert_true(index.offsets[i] + index.lens[i] + BLOCK_TRAILER_BYTES <= data_end);
            assert_true(index.memory_bytes <=
                        64 * (1 + index.level_count) + 4 + len * (26 + INDEX_KEY_MAX_BYTES));
        } else {
            assert_int_equal(rc, VARVE_ECORRUPT);
            refused++;
        }
        segment_index_deinit(&index);
        free(bytes);
        index_builder_deinit(&builder);
    }
    assert_true(refused > 5000);
}

static void test_index__count_that_is_too_large(void **state)
{
    uint8_t payload[VARINT_MAX_BYTES];
    struct segment_index index;

    (void)state;
    size_t len = put_varint(payload, UINT64_MAX);
    assert_int_equal(segment_index_open(&index, varve_slice(payload, len), 64, NULL),
                     VARVE_ECORRUPT);
    payload[0] = 0;
    assert_int_equal(segment_index_open(&index, varve_slice(payload, 1), 64, NULL), 0);
    assert_int_equal(index.count, 0);
    mem_fail_nth(1, 0);
    segment_index_deinit(&index);
    assert_int_equal(segment_index_open(&index, varve_slice(payload, 1), 64, NULL), VARVE_ENOMEM);
    mem_fail_nth(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index__finds_what_was_built),
        cmocka_unit_test(test_index__any_bytes),
        cmocka_unit_test(test_index__count_that_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
