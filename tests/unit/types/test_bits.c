/* Strings as bits, against a model that has an int a bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"
#include "types/bits.h"

#define ROUNDS 4000
#define BYTES_MAX 300
#define SOURCES_MAX 5

__extension__ typedef __int128 wide;

/* A string in memory of just its size, so that a sanitizer sees a step past it; not always aligned. */
struct string {
    uint8_t *memory;
    uint8_t *bytes;
    size_t len;
};

/* Long runs of one bit, noise, or a few bits in a run: what makes all ways through the words likely. */
static struct string string_random(struct rng *rng, size_t len_max)
{
    struct string string = {.len = (size_t)rng_below(rng, len_max + 1)};
    size_t skip = (size_t)rng_below(rng, 8);
    int kind = (int)rng_below(rng, 4);

    string.memory = malloc(skip + string.len + (string.len == 0));
    assert_non_null(string.memory);
    string.bytes = string.memory + skip;
    for (size_t i = 0; i < string.len; i++) {
        uint8_t run = kind % 2 == 0 ? 0 : 0xff;
        string.bytes[i] = kind < 2 ? run : (uint8_t)rng_next(rng);
        if (kind < 2 && rng_below(rng, 100) == 0)
            string.bytes[i] ^= (uint8_t)(1 << rng_below(rng, 8));
    }
    return string;
}

static struct varve_slice slice_of(const struct string *string)
{
    return varve_slice(string->bytes, string->len);
}

/* One bit, in its own way. */
static int model_bit(struct varve_slice bytes, uint64_t at)
{
    static const uint8_t masks[8] = {128, 64, 32, 16, 8, 4, 2, 1};

    return at / 8 < bytes.len && (bytes.data[at / 8] & masks[at % 8]) != 0;
}

static void test_bits__get_count_find(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 11);
    for (int round = 0; round < ROUNDS; round++) {
        struct string string = string_random(&rng, BYTES_MAX);
        uint64_t bits = string.len * 8;
        uint64_t from = rng_below(&rng, bits + 1);
        uint64_t to = from + rng_below(&rng, bits - from + 1);
        uint64_t count = 0;
        int64_t first[2] = {-1, -1};
        for (uint64_t at = from; at < to; at++) {
            int bit = model_bit(slice_of(&string), at);
            count += (uint64_t)bit;
            if (first[bit] == -1)
                first[bit] = (int64_t)at;
            assert_int_equal(bits_get(slice_of(&string), at), bit);
        }
        assert_int_equal(bits_count(slice_of(&string), from, to), count);
        assert_int_equal(bits_find(slice_of(&string), 0, from, to), first[0]);
        assert_int_equal(bits_find(slice_of(&string), 1, from, to), first[1]);
        assert_int_equal(bits_get(slice_of(&string), bits + rng_below(&rng, 100)), 0);
        free(string.memory);
    }
}

/* Sums of more words than one byte of a sum could hold. */
static void test_bits__count_of_all_ones(void **state)
{
    static uint8_t bytes[8192];

    (void)state;
    memset(bytes, 0xff, sizeof(bytes));
    for (size_t len = 0; len <= sizeof(bytes); len += 61)
        assert_int_equal(bits_count(varve_slice(bytes, len), 0, len * 8), len * 8);
}

static int model_combine(enum bits_op op, const struct string *sources, size_t count, uint64_t at)
{
    int bit = model_bit(slice_of(&sources[0]), at);

    if (op == BITS_NOT)
        return !bit;
    for (size_t i = 1; i < count; i++) {
        int other = model_bit(slice_of(&sources[i]), at);
        bit = op == BITS_AND ? bit && other : op == BITS_OR ? bit || other : bit != other;
    }
    return bit;
}

static void test_bits__combine(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 12);
    for (int round = 0; round < ROUNDS; round++) {
        enum bits_op op = (enum bits_op)rng_below(&rng, 4);
        size_t count = op == BITS_NOT ? 1 : 1 + (size_t)rng_below(&rng, SOURCES_MAX);
        struct string strings[SOURCES_MAX];
        struct varve_slice sources[SOURCES_MAX];
        size_t len = 0;
        for (size_t i = 0; i < count; i++) {
            strings[i] = string_random(&rng, 40);
            sources[i] = slice_of(&strings[i]);
            len = strings[i].len > len ? strings[i].len : len;
        }
        if (op != BITS_NOT)
            len += (size_t)rng_below(&rng, 3);
        uint8_t *out = malloc(len + (len == 0));
        assert_non_null(out);
        bits_combine(op, sources, count, out, len);
        for (uint64_t at = 0; at < len * 8; at++)
            assert_int_equal(model_bit(varve_slice(out, len), at),
                             model_combine(op, strings, count, at));
        for (size_t i = 0; i < count; i++)
            free(strings[i].memory);
        free(out);
    }
}

/* ---- fields ---- */

static struct bits_field field_random(struct rng *rng, uint64_t bits)
{
    struct bits_field field = {.is_signed = (int)rng_below(rng, 2)};

    field.width = 1 + (unsigned)rng_below(rng, 63 + (uint64_t)field.is_signed);
    field.at = rng_below(rng, bits);
    return field;
}

/* What the bits say, the highest one first. */
static int64_t model_field(const int *bits, const struct bits_field *field)
{
    wide value = 0;

    for (unsigned i = 0; i < field->width; i++)
        value = value * 2 + bits[field->at + i];
    if (field->is_signed && bits[field->at])
        value -= (wide)1 << field->width;
    return (int64_t)value;
}

/* Reads and writes anywhere in a window over a string, and behind both. */
static void test_bits_window__against_an_int_a_bit(void **state)
{
    enum { BITS = (BYTES_MAX + 30) * 8 };
    static int model[BITS + 64];
    struct rng rng;

    (void)state;
    rng_init(&rng, 13);
    for (int round = 0; round < ROUNDS / 10; round++) {
        struct string old = string_random(&rng, BYTES_MAX);
        struct bits_window window = {.old = slice_of(&old), .first = rng_below(&rng, BYTES_MAX)};
        window.len = (size_t)rng_below(&rng, 30);
        window.bytes = calloc(1, window.len + (window.len == 0));
        assert_non_null(window.bytes);
        bits_window_fill(&window);
        for (uint64_t at = 0; at < COUNT_OF(model); at++)
            model[at] = model_bit(slice_of(&old), at);
        for (int step = 0; step < 50; step++) {
            struct bits_field field = field_random(&rng, BITS);
            assert_int_equal(bits_field_get(&window, &field), model_field(model, &field));
            if (window.len < BITS_FIELD_MAX_BYTES)
                continue;
            field.at = window.first * 8 + rng_below(&rng, window.len * 8 - field.width + 1);
            uint64_t value = rng_next(&rng);
            bits_field_put(&window, &field, (int64_t)value);
            for (unsigned i = 0; i < field.width; i++)
                model[field.at + i] = value >> (field.width - 1 - i) & 1;
        }
        for (uint64_t at = 0; at < window.len * 8; at++)
            assert_int_equal(bits_get(varve_slice(window.bytes, window.len), at),
                             model[window.first * 8 + at]);
        free(window.bytes);
        free(old.memory);
    }
}

static wide field_max(const struct bits_field *field)
{
    return ((wide)1 << (field->width - (unsigned)field->is_signed)) - 1;
}

static wide field_min(const struct bits_field *field)
{
    return field->is_signed ? -((wide)1 << (field->width - 1)) : 0;
}

/* A number that is likely to be near an edge: of the field, or of 64 bits. */
static int64_t number_random(struct rng *rng, const struct bits_field *field)
{
    const wide edges[] = {0, field_max(field), field_min(field), INT64_MAX, INT64_MIN};
    wide near = edges[rng_below(rng, COUNT_OF(edges))] + (int64_t)rng_below(rng, 5) - 2;

    return rng_below(rng, 4) == 0 ? (int64_t)rng_next(rng) : (int64_t)near;
}

/* From a value of the field, as INCRBY does it. */
static void test_bits_field_add__to_what_is_there(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 14);
    for (int round = 0; round < ROUNDS * 10; round++) {
        struct bits_field field = field_random(&rng, 1);
        enum bits_overflow overflow = (enum bits_overflow)rng_below(&rng, 3);
        int64_t base = number_random(&rng, &field);
        int64_t delta = number_random(&rng, &field);
        int64_t sum;
        if (base < field_min(&field) || base > field_max(&field))
            continue;
        wide wanted = (wide)base + delta;
        int fits = wanted >= field_min(&field) && wanted <= field_max(&field);
        wide modulus = (wide)1 << field.width;
        if (!fits && overflow == BITS_SATURATE)
            wanted = wanted > 0 ? field_max(&field) : field_min(&field);
        while (overflow == BITS_WRAP && wanted > field_max(&field))
            wanted -= (wanted - field_max(&field) + modulus - 1) / modulus * modulus;
        while (overflow == BITS_WRAP && wanted < field_min(&field))
            wanted += (field_min(&field) - wanted + modulus - 1) / modulus * modulus;
        assert_int_equal(bits_field_add(&field, overflow, base, delta, &sum),
                         fits || overflow != BITS_FAIL);
        if (fits || overflow != BITS_FAIL)
            assert_true(sum == wanted);
        else
            assert_int_equal(sum, 0);
    }
}

/* Of any value, as SET does it; each line is what redis-server answers. */
static void test_bits_field_add__of_a_value_that_is_set(void **state)
{
    static const struct {
        unsigned width;
        int is_signed;
        int64_t value;
        int64_t wrapped;
        int64_t saturated;
    } cases[] = {
        {8, 1, 128, -128, 127},
        {8, 1, -129, 127, -128},
        {8, 0, 256, 0, 255},
        {8, 0, -1, 255, 255},
        {63, 0, -1, INT64_MAX, INT64_MAX},
        {1, 1, 1, -1, 0},
        {8, 1, INT64_MIN, 0, 127},
        {8, 1, INT64_MIN + 127, 127, 127},
        {8, 1, INT64_MIN + 128, -128, -128},
        {63, 1, INT64_MIN, 0, INT64_MAX / 2},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bits_field field = {.width = cases[i].width, .is_signed = cases[i].is_signed};
        int64_t sum;
        assert_int_equal(bits_field_add(&field, BITS_WRAP, cases[i].value, 0, &sum), 1);
        assert_true(sum == cases[i].wrapped);
        assert_int_equal(bits_field_add(&field, BITS_SATURATE, cases[i].value, 0, &sum), 1);
        assert_true(sum == cases[i].saturated);
        assert_int_equal(bits_field_add(&field, BITS_FAIL, cases[i].value, 0, &sum), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits__get_count_find),
        cmocka_unit_test(test_bits__count_of_all_ones),
        cmocka_unit_test(test_bits__combine),
        cmocka_unit_test(test_bits_window__against_an_int_a_bit),
        cmocka_unit_test(test_bits_field_add__to_what_is_there),
        cmocka_unit_test(test_bits_field_add__of_a_value_that_is_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
