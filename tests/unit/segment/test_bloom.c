#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "segment/bloom.h"
#include "varve/status.h"

static struct bloom_hash hash_of(char kind, uint64_t number)
{
    char key[32];

    snprintf(key, sizeof(key), "%c%llu", kind, (unsigned long long)number);
    return bloom_hash(varve_slice_str(key));
}

struct filter {
    struct bloom bloom;
    uint8_t *block;
    size_t size;
};

static void filter_make(struct filter *filter, uint64_t keys, uint32_t bits)
{
    struct bloom_hash *hashes = mem_alloc(keys * sizeof(*hashes));

    assert_non_null(hashes);
    for (uint64_t i = 0; i < keys; i++)
        hashes[i] = hash_of('k', i);
    filter->size = bloom_size_bytes(keys, bits);
    filter->block = mem_alloc(filter->size);
    assert_non_null(filter->block);
    bloom_build(filter->block, filter->size, hashes, keys, bits);
    assert_int_equal(bloom_open(&filter->bloom, filter->block, filter->size), 0);
    mem_free(hashes);
}

static double false_positives(const struct filter *filter, uint64_t probes)
{
    uint64_t hits = 0;

    for (uint64_t i = 0; i < probes; i++)
        hits += (uint64_t)bloom_may_hold(&filter->bloom, hash_of('x', i));
    return (double)hits / (double)probes;
}

static void test_bloom__holds_every_key(void **state)
{
    static const uint64_t counts[] = {1, 2, 51, 52, 1000, 30000};

    (void)state;
    for (size_t n = 0; n < COUNT_OF(counts); n++) {
        for (uint32_t bits = 1; bits <= 32; bits++) {
            struct filter filter;
            filter_make(&filter, counts[n], bits);
            for (uint64_t i = 0; i < counts[n]; i++)
                assert_true(bloom_may_hold(&filter.bloom, hash_of('k', i)));
            mem_free(filter.block);
        }
    }
}

/* The rates are the sum over a Poisson distribution of keys a line, with FORMAT.md's bits. */
static void test_bloom__false_positives_are_near_theory(void **state)
{
    static const struct {
        uint32_t bits;
        double rate;
    } rows[] = {{6, 0.0575}, {10, 0.00958}, {16, 0.00099}};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct filter filter;
        filter_make(&filter, 100000, rows[i].bits);
        double rate = false_positives(&filter, 200000);
        assert_true(rate < rows[i].rate * 1.2);
        assert_true(rate > rows[i].rate * 0.8);
        mem_free(filter.block);
    }
}

static void test_bloom__hash_is_murmur3_x64_128(void **state)
{
    struct bloom_hash empty = bloom_hash(varve_slice(NULL, 0));
    struct bloom_hash hello = bloom_hash(varve_slice_str("hello"));

    (void)state;
    assert_true(empty.half[0] == 0 && empty.half[1] == 0);
    assert_true(hello.half[0] == 0xcbd8a7b341bd9b02u);
    assert_true(hello.half[1] == 0x5b1e906a48ae1d19u);
}

static void test_bloom__sizes_stay_within_the_limit(void **state)
{
    (void)state;
    assert_int_equal(bloom_size_bytes(0, 10), 0);
    assert_int_equal(bloom_size_bytes(10, 0), 0);
    assert_int_equal(bloom_size_bytes(1, 1), 128);
    assert_int_equal(bloom_size_bytes(512, 10), 64 + 10 * 64);
    assert_int_equal(bloom_size_bytes(513, 10), 64 + 11 * 64);
    assert_int_equal(bloom_size_bytes(UINT64_MAX, 32), 1024 * 1024 * 1024);
    assert_int_equal(bloom_size_bytes(UINT64_MAX, UINT32_MAX), 1024 * 1024 * 1024);
}

static void test_bloom__corrupt_heads_are_refused(void **state)
{
    struct filter filter;
    struct bloom bloom;

    (void)state;
    filter_make(&filter, 1000, 10);
    for (size_t size = 0; size < filter.size; size++)
        assert_int_equal(bloom_open(&bloom, filter.block, size), VARVE_ECORRUPT);
    /* Any bit of the head, but those that say another number of probes. */
    for (size_t bit = 0; bit < 8 * (size_t)BLOOM_HEAD_BYTES; bit++) {
        filter.block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        uint32_t probes = get_u32(filter.block + 4);
        int is_other_number = bit / 32 == 1 && probes >= 1 && probes <= BLOOM_PROBES_MAX;
        assert_int_equal(bloom_open(&bloom, filter.block, filter.size),
                         is_other_number ? 0 : VARVE_ECORRUPT);
        filter.block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    put_u32(filter.block + 4, 0);
    assert_int_equal(bloom_open(&bloom, filter.block, filter.size), VARVE_ECORRUPT);
    mem_free(filter.block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bloom__holds_every_key),
        cmocka_unit_test(test_bloom__false_positives_are_near_theory),
        cmocka_unit_test(test_bloom__hash_is_murmur3_x64_128),
        cmocka_unit_test(test_bloom__sizes_stay_within_the_limit),
        cmocka_unit_test(test_bloom__corrupt_heads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
