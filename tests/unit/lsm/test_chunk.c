#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"
#include "segment/chunk.h"
#include "varve/batch.h"

#define ENCODED_MAX_BYTES 256

static const struct chunk chunks[] = {
    {.kind = CHUNK_PUT, .key = {(const uint8_t *)"k", 1}, .value = {(const uint8_t *)"v", 1}},
    {.kind = CHUNK_PUT, .key = {(const uint8_t *)"", 0}, .value = {(const uint8_t *)"", 0}},
    {.kind = CHUNK_PUT,
     .expire_ms = 1700000000123u,
     .key = {(const uint8_t *)"a\0b", 3},
     .value = {(const uint8_t *)"value\xff", 6}},
    {.kind = CHUNK_PUT,
     .expire_ms = UINT64_MAX,
     .key = {(const uint8_t *)"key", 3},
     .value = {(const uint8_t *)"", 0}},
    {.kind = CHUNK_DELETE, .key = {(const uint8_t *)"gone", 4}},
    {.kind = CHUNK_RANGE_DELETE,
     .key = {(const uint8_t *)"from", 4},
     .value = {(const uint8_t *)"to", 2}},
};

static size_t encode(uint8_t at[ENCODED_MAX_BYTES], struct chunk chunk)
{
    chunk.crc = chunk_crc(&chunk);
    size_t n = chunk_put_head(at, &chunk);
    memcpy(at + n, chunk.key.data, chunk.key.len);
    n += chunk.key.len;
    if (chunk.value.len > 0)
        memcpy(at + n, chunk.value.data, chunk.value.len);
    return n + chunk.value.len;
}

/* As recovery reads it: 1 if the bytes are one whole operation whose CRC is right. */
static int decode(const uint8_t *at, size_t len, struct chunk *chunk)
{
    size_t head = chunk_get_head(at, at + len, chunk);

    if (head == 0 || chunk->value.len != len - head)
        return 0;
    chunk->value.data = at + head;
    return chunk_crc(chunk) == chunk->crc;
}

static void test_chunk__comes_back_whole(void **state)
{
    uint8_t bytes[ENCODED_MAX_BYTES];
    struct chunk back;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        size_t len = encode(bytes, chunks[i]);
        assert_true(decode(bytes, len, &back));
        assert_int_equal(back.kind, chunks[i].kind);
        assert_true(back.expire_ms == chunks[i].expire_ms);
        assert_true(varve_slice_equal(back.key, chunks[i].key));
        assert_true(varve_slice_equal(back.value, chunks[i].value));
    }
}

/* Each length is copied to a place of exactly that size, so that a sanitizer sees a byte too many. */
static void test_chunk__cut_anywhere_is_none(void **state)
{
    uint8_t bytes[ENCODED_MAX_BYTES];
    struct chunk back;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        size_t len = encode(bytes, chunks[i]);
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *exact = test_malloc(cut + 1);
            memcpy(exact + 1, bytes, cut);
            assert_false(decode(exact + 1, cut, &back));
            test_free(exact);
        }
    }
}

static void test_chunk__any_flipped_bit_is_seen(void **state)
{
    uint8_t bytes[ENCODED_MAX_BYTES];
    struct chunk back;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        size_t len = encode(bytes, chunks[i]);
        for (size_t bit = 0; bit < 8 * len; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(decode(bytes, len, &back));
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

/* Key and value bytes that would be the same side by side are different records. */
static void test_chunk__crc_knows_where_the_key_ends(void **state)
{
    struct chunk a = {
        .kind = CHUNK_PUT, .key = varve_slice_str("ab"), .value = varve_slice_str("c")};
    struct chunk b = {
        .kind = CHUNK_PUT, .key = varve_slice_str("a"), .value = varve_slice_str("bc")};
    struct chunk c = {
        .kind = CHUNK_RANGE_DELETE, .key = varve_slice_str("ab"), .value = varve_slice_str("c")};

    (void)state;
    assert_int_not_equal(chunk_crc(&a), chunk_crc(&b));
    assert_int_not_equal(chunk_crc(&a), chunk_crc(&c));
    a.expire_ms = 1;
    b = a;
    b.expire_ms = 2;
    assert_int_not_equal(chunk_crc(&a), chunk_crc(&b));
}

static size_t put_lengths(uint8_t *at, uint8_t kind, uint64_t key_len, uint64_t value_len)
{
    size_t n = 5;

    memset(at, 0, n);
    at[0] = kind;
    n += put_varint(at + n, key_len);
    return n + put_varint(at + n, value_len);
}

static void test_chunk__impossible_heads_are_refused(void **state)
{
    uint8_t bytes[ENCODED_MAX_BYTES] = {0};
    const uint8_t *end = bytes + sizeof(bytes);
    struct chunk back;

    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        put_lengths(bytes, (uint8_t)kind, 1, 1);
        int known = kind == CHUNK_PUT || kind == CHUNK_DELETE || kind == CHUNK_RANGE_DELETE;
        assert_int_equal(chunk_get_head(bytes, end, &back) != 0, known);
    }
    put_lengths(bytes, CHUNK_PUT, VARVE_KEY_MAX_BYTES + 1, 0);
    assert_int_equal(chunk_get_head(bytes, end, &back), 0);
    put_lengths(bytes, CHUNK_PUT, UINT64_MAX, 0);
    assert_int_equal(chunk_get_head(bytes, end, &back), 0);
    size_t n = put_lengths(bytes, CHUNK_PUT, 0, VARVE_VALUE_MAX_BYTES);
    assert_int_equal(chunk_get_head(bytes, end, &back), n); /* the value may lie elsewhere */
    put_lengths(bytes, CHUNK_PUT, 0, VARVE_VALUE_MAX_BYTES + 1);
    assert_int_equal(chunk_get_head(bytes, end, &back), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunk__comes_back_whole),
        cmocka_unit_test(test_chunk__cut_anywhere_is_none),
        cmocka_unit_test(test_chunk__any_flipped_bit_is_seen),
        cmocka_unit_test(test_chunk__crc_knows_where_the_key_ends),
        cmocka_unit_test(test_chunk__impossible_heads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
