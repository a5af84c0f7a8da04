#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "types/keycode.h"
#include "varve/options.h"
#include "varve/status.h"

static const uint64_t edges[] = {0,          1,          239,        240,
                                 255,        256,        65535,      65536,
                                 16777215,   16777216,   1ull << 32, (1ull << 40) - 1,
                                 1ull << 48, 1ull << 56, UINT64_MAX};

static void test_space_id__bytes_are_those_of_the_format(void **state)
{
    static const struct {
        uint64_t id;
        size_t len;
        uint8_t bytes[SPACE_ID_MAX_BYTES];
    } cases[] = {
        {0, 1, {0}},
        {239, 1, {239}},
        {240, 2, {0xf0, 0xf0}},
        {255, 2, {0xf0, 0xff}},
        {256, 3, {0xf1, 0x01, 0x00}},
        {UINT64_MAX, 9, {0xf7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    };
    uint8_t bytes[SPACE_ID_MAX_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(space_id_put(bytes, cases[i].id), cases[i].len);
        assert_memory_equal(bytes, cases[i].bytes, cases[i].len);
    }
}

static void check_order(uint64_t a, uint64_t b)
{
    uint8_t bytes_a[SPACE_ID_MAX_BYTES];
    uint8_t bytes_b[SPACE_ID_MAX_BYTES];
    struct varve_slice at_a = varve_slice(bytes_a, space_id_put(bytes_a, a));
    struct varve_slice at_b = varve_slice(bytes_b, space_id_put(bytes_b, b));
    int order = varve_slice_compare(at_a, at_b);

    assert_int_equal((order > 0) - (order < 0), (a > b) - (a < b));
    if (a != b && at_a.len <= at_b.len)
        assert_memory_not_equal(bytes_a, bytes_b, at_a.len);
}

static void test_space_id__keeps_the_order_and_is_no_prefix(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
        for (size_t j = 0; j < sizeof(edges) / sizeof(edges[0]); j++)
            check_order(edges[i], edges[j]);
    for (int i = 0; i < 100000; i++) {
        uint64_t a = rng_next(&rng) >> rng_below(&rng, 64);
        check_order(a, rng_next(&rng) >> rng_below(&rng, 64));
        check_order(a, a + 1 == 0 ? 0 : a + 1);
    }
}

static void test_space_id__reads_back(void **state)
{
    uint8_t bytes[SPACE_ID_MAX_BYTES + 1];
    uint64_t id;

    (void)state;
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        size_t len = space_id_put(bytes, edges[i]);
        bytes[len] = 7;
        assert_int_equal(space_id_get(varve_slice(bytes, len + 1), &id), len);
        assert_true(id == edges[i]);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(space_id_get(varve_slice(bytes, cut), &id), 0);
    }
}

static void test_space_id__has_one_form(void **state)
{
    static const uint8_t bad[][9] = {
        {0xf0, 0x05},                   /* would fit in one byte */
        {0xf0, 0xef},                   /* 239 likewise */
        {0xf1, 0x00, 0xff},             /* a leading zero */
        {0xf8, 1, 1, 1, 1, 1, 1, 1, 1}, /* no such length */
        {0xff, 1, 1, 1, 1, 1, 1, 1, 1},
    };
    uint64_t id;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(space_id_get(varve_slice(bad[i], 9), &id), 0);
}

static void test_name_hash__bytes_are_those_of_the_format(void **state)
{
    static const uint8_t expected[] = {0x01, 0x01, 0x3b, 0x7f, 0xdd, 0xdd};
    struct key_prefix space;
    struct name_prefix prefix;

    (void)state;
    key_prefix_set(&space, 1, KEY_TAG_NAME);
    name_prefix_set(&prefix, &space, name_hash(varve_slice_str("k")));
    assert_int_equal(prefix.len, sizeof(expected));
    assert_memory_equal(prefix.bytes, expected, sizeof(expected));
    assert_int_equal(name_hash(varve_slice_str("")), 0);
}

/* SCAN's pages end where the hash changes, and RANDOMKEY draws a hash: names must spread, also those that
 * people count through. */
static void test_name_hash__spreads_names(void **state)
{
    enum { NAMES = 1 << 16, BUCKETS = 1 << 12 };
    static unsigned buckets[BUCKETS];
    unsigned most = 0;
    char name[32];

    (void)state;
    for (int i = 0; i < NAMES; i++) {
        int len = snprintf(name, sizeof(name), "user:%d:name", i);
        unsigned bucket = name_hash(varve_slice(name, (size_t)len)) >> 20;
        buckets[bucket]++;
        most = buckets[bucket] > most ? buckets[bucket] : most;
    }
    assert_true(most < 4 * NAMES / BUCKETS);
}

static void test_name_of_key__refuses_what_is_none(void **state)
{
    struct key_prefix space;
    struct name_prefix prefix;
    uint8_t key[sizeof(prefix.bytes) + 3];
    struct varve_slice name;

    (void)state;
    key_prefix_set(&space, 300, KEY_TAG_NAME);
    name_prefix_set(&prefix, &space, name_hash(varve_slice_str("abc")));
    memcpy(key, prefix.bytes, prefix.len);
    memcpy(key + prefix.len, "abc", 3);
    size_t len = prefix.len + 3;
    assert_int_equal(name_of_key(varve_slice(key, len), space.len, &name), 0);
    assert_true(varve_slice_equal(name, varve_slice_str("abc")));
    for (size_t cut = space.len; cut < len; cut++)
        assert_int_equal(name_of_key(varve_slice(key, cut), space.len, &name), VARVE_ECORRUPT);
    for (size_t bit = 8 * space.len; bit < 8 * len; bit++) {
        key[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(name_of_key(varve_slice(key, len), space.len, &name), VARVE_ECORRUPT);
        key[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_next_space__has_the_version_in_front(void **state)
{
    static const struct {
        uint8_t bytes[4];
        size_t len;
        int rc;
        uint64_t id;
    } cases[] = {
        {{2, 1}, 2, 0, 1},
        {{2, 0xf0, 0xf0}, 3, 0, 240},
        {{1}, 1, VARVE_EVERSION, 1},          /* version 1, with 1 */
        {{0xf0, 0xf0}, 2, VARVE_EVERSION, 1}, /* and with 240 */
        {{3, 1}, 2, VARVE_EVERSION, 3},       /* the next one */
        {{2, 0}, 2, VARVE_ECORRUPT, 0},
        {{2, 1, 1}, 3, VARVE_ECORRUPT, 0},
        {{2, 0xf0}, 2, VARVE_ECORRUPT, 0},
        {{0}, 0, VARVE_ECORRUPT, 0},
    };
    uint8_t bytes[NEXT_SPACE_MAX_BYTES];
    uint64_t id = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(next_space_get(varve_slice(cases[i].bytes, cases[i].len), &id),
                         cases[i].rc);
        if (cases[i].rc != VARVE_ECORRUPT)
            assert_true(id == cases[i].id);
        if (cases[i].rc != 0)
            continue;
        assert_int_equal(next_space_put(bytes, id), cases[i].len);
        assert_memory_equal(bytes, cases[i].bytes, cases[i].len);
    }
}

static size_t group_of(const char *bytes, size_t len)
{
    return keycode_count_group(NULL, varve_slice(bytes, len));
}

static void test_count_group__is_space_and_tag_of_names(void **state)
{
    (void)state;
    assert_int_equal(group_of("\x01\x01key", 5), 2);
    assert_int_equal(group_of("\x01\x01", 2), 2); /* the empty name */
    assert_int_equal(group_of("\xf1\x01\x00\x01k", 5), 4);
    assert_int_equal(group_of("\x01\x02key", 5), 0);
    assert_int_equal(group_of("\x01", 1), 0);
    assert_int_equal(group_of("\x00\x01\x03", 3), 0);
    assert_int_equal(group_of("\xff\x01\x03", 3), 0);
    assert_int_equal(group_of("", 0), 0);
    assert_true(SPACE_ID_MAX_BYTES + 1 <= VARVE_GROUP_MAX_BYTES);
}

static void test_value__knows_its_heads_only(void **state)
{
    enum value_type type;
    enum value_encoding encoding;
    struct varve_slice payload;

    (void)state;
    assert_int_equal(value_decode(varve_slice("\0hi", 3), &type, &encoding, &payload), 0);
    assert_int_equal(type, VALUE_STRING);
    assert_true(varve_slice_equal(payload, varve_slice_str("hi")));
    assert_int_equal(value_decode(varve_slice("\0", 1), &type, &encoding, &payload), 0);
    assert_int_equal(payload.len, 0);
    assert_int_equal(value_decode(varve_slice("", 0), &type, &encoding, &payload), VARVE_ECORRUPT);
    for (int head = 1; head < 256; head++) {
        uint8_t byte = (uint8_t)head;
        assert_int_equal(value_decode(varve_slice(&byte, 1), &type, &encoding, &payload),
                         VARVE_ECORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_space_id__bytes_are_those_of_the_format),
        cmocka_unit_test(test_space_id__keeps_the_order_and_is_no_prefix),
        cmocka_unit_test(test_space_id__reads_back),
        cmocka_unit_test(test_space_id__has_one_form),
        cmocka_unit_test(test_name_hash__bytes_are_those_of_the_format),
        cmocka_unit_test(test_name_hash__spreads_names),
        cmocka_unit_test(test_name_of_key__refuses_what_is_none),
        cmocka_unit_test(test_next_space__has_the_version_in_front),
        cmocka_unit_test(test_count_group__is_space_and_tag_of_names),
        cmocka_unit_test(test_value__knows_its_heads_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
