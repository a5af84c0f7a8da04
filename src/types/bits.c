/* Words of eight bytes wherever the length allows it, so that a string of 512 MB costs about what reading it
 * from memory does. */
#include "types/bits.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mutant.h"

#define WORD_BYTES sizeof(uint64_t)
#define WORDS_SUMMED 31 /* a byte of a sum holds 31 counts of at most 8 */

__extension__ typedef __int128 wide;

static uint64_t get_big(const uint8_t *at)
{
    return __builtin_bswap64(get_u64(at));
}

static void put_big(uint8_t *at, uint64_t v)
{
    put_u64(at, __builtin_bswap64(v));
}

int bits_get(struct varve_slice bytes, uint64_t at)
{
    return at / 8 < bytes.len ? bytes.data[at / 8] >> (7 - at % 8) & 1 : 0;
}

/* ---- counting ---- */

/* The count of each byte of the word, in that byte. */
static uint64_t count_by_byte(uint64_t word)
{
    word -= word >> 1 & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
    return (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
}

static uint64_t sum_of_bytes(uint64_t sums)
{
    sums = (sums & 0x00ff00ff00ff00ffu) + (sums >> 8 & 0x00ff00ff00ff00ffu);
    return sums * 0x0001000100010001u >> 48;
}

static uint64_t count_bytes(const uint8_t *at, size_t len)
{
    uint64_t count = 0;

    while (len >= WORD_BYTES) {
        size_t words = len / WORD_BYTES < WORDS_SUMMED ? len / WORD_BYTES : WORDS_SUMMED;
        uint64_t sums = 0;
        for (size_t i = 0; i < words; i++)
            sums += count_by_byte(get_u64(at + i * WORD_BYTES));
        count += sum_of_bytes(sums);
        at += words * WORD_BYTES;
        len -= words * WORD_BYTES;
    }
    for (; len > 0; len--)
        count += (uint64_t)__builtin_popcount(*at++);
    return count;
}

uint64_t bits_count(struct varve_slice bytes, uint64_t from, uint64_t to)
{
    CHECK(to / 8 + (to % 8 != 0) <= bytes.len);
    if (from >= to)
        return 0;
    const uint8_t *first = bytes.data + from / 8;
    const uint8_t *last = bytes.data + (to - 1) / 8;
    uint64_t count = count_bytes(first, (size_t)(last - first) + 1);
    unsigned before = *first & (0xff00u >> from % 8) & 0xff;
    unsigned behind = *last & (0x7fu >> (to - 1) % 8);
    if (MUTANT("bitcount-keeps-edge"))
        behind = 0;
    return count - (uint64_t)__builtin_popcount(before) - (uint64_t)__builtin_popcount(behind);
}

/* ---- finding ---- */

int64_t bits_find(struct varve_slice bytes, int bit, uint64_t from, uint64_t to)
{
    uint8_t flip = bit ? 0 : 0xff; /* what is looked for is a set bit then */
    uint64_t flip_word = bit ? 0 : UINT64_MAX;
    size_t at = from / 8;
    size_t end = to / 8 + (to % 8 != 0);

    CHECK(end <= bytes.len);
    if (from >= to)
        return -1;
    unsigned byte = (bytes.data[at] ^ flip) & (0xffu >> from % 8);
    if (byte == 0) {
        at++;
        while (end - at >= WORD_BYTES && get_u64(bytes.data + at) == flip_word)
            at += WORD_BYTES;
        while (at < end && bytes.data[at] == flip)
            at++;
        if (at == end)
            return -1;
        byte = bytes.data[at] ^ flip;
    }
    uint64_t found = (uint64_t)at * 8 + (unsigned)__builtin_clz(byte) - 24;
    return found < to ? (int64_t)found : -1;
}

/* ---- several strings at once ---- */

static void combine_one(enum bits_op op, struct varve_slice source, uint8_t *out)
{
    size_t i = 0;

    for (; source.len - i >= WORD_BYTES; i += WORD_BYTES) {
        uint64_t a = get_u64(out + i);
        uint64_t b = get_u64(source.data + i);
        put_u64(out + i, op == BITS_AND ? a & b : op == BITS_OR ? a | b : a ^ b);
    }
    for (; i < source.len; i++) {
        uint8_t a = out[i];
        uint8_t b = source.data[i];
        out[i] = op == BITS_AND ? a & b : op == BITS_OR ? a | b : a ^ b;
    }
}

void bits_combine(enum bits_op op, const struct varve_slice *sources, size_t count, uint8_t *out,
                  size_t len)
{
    if (op == BITS_NOT) {
        for (size_t i = 0; i < sources[0].len; i++)
            out[i] = (uint8_t)~sources[0].data[i];
        memset(out + sources[0].len, 0xff, len - sources[0].len);
        return;
    }
    memset(out, 0, len);
    for (size_t i = 0; i < count; i++) {
        struct varve_slice source = sources[i];
        if (i == 0 && source.len > 0)
            memcpy(out, source.data, source.len);
        else if (i > 0)
            combine_one(op, source, out);
        if (op == BITS_AND)
            memset(out + source.len, 0, len - source.len);
    }
}

/* ---- integers between the bits ---- */

static uint8_t window_byte(const struct bits_window *window, uint64_t at)
{
    if (at >= window->first && at - window->first < window->len)
        return window->bytes[at - window->first];
    return at < window->old.len ? window->old.data[at] : 0;
}

void bits_window_fill(struct bits_window *window)
{
    if (window->first >= window->old.len)
        return;
    size_t kept = window->old.len - (size_t)window->first;
    memcpy(window->bytes, window->old.data + window->first,
           kept < window->len ? kept : window->len);
}

static int64_t cut_to_field(const struct bits_field *field, uint64_t value)
{
    unsigned unused = 64 - field->width;

    value <<= unused;
    return field->is_signed ? (int64_t)value >> unused : (int64_t)(value >> unused);
}

int64_t bits_field_get(const struct bits_window *window, const struct bits_field *field)
{
    uint8_t bytes[BITS_FIELD_MAX_BYTES];
    unsigned skip = field->at % 8;

    for (unsigned i = 0; i < BITS_FIELD_MAX_BYTES; i++)
        bytes[i] = window_byte(window, field->at / 8 + i);
    uint64_t value = get_big(bytes) << skip | (unsigned)bytes[8] >> (8 - skip);
    return cut_to_field(field, value >> (64 - field->width));
}

void bits_field_put(struct bits_window *window, const struct bits_field *field, int64_t value)
{
    uint8_t bytes[BITS_FIELD_MAX_BYTES] = {0};
    unsigned skip = field->at % 8;
    uint64_t ones = UINT64_MAX << (64 - field->width);
    uint64_t put = (uint64_t)value << (64 - field->width);
    uint64_t first = field->at / 8 - window->first;
    size_t touched = (skip + field->width + 7) / 8;

    CHECK(field->at / 8 >= window->first && first + touched <= window->len);
    memcpy(bytes, window->bytes + first, touched);
    put_big(bytes, (get_big(bytes) & ~(ones >> skip)) | put >> skip);
    bytes[8] &= (uint8_t) ~(ones << (8 - skip));
    bytes[8] |= (uint8_t)(put << (8 - skip));
    memcpy(window->bytes + first, bytes, touched);
}

/* 1: an integer that does not fit is taken to be above all that do. Redis takes what is far below for that, too:
 * its room up to max, max - base in 64 bits, becomes negative there. */
static int is_above(const struct bits_field *field, int64_t max, int64_t base, wide exact)
{
    return exact > max || (field->is_signed && field->width < 64 && base < max - INT64_MAX);
}

int bits_field_add(const struct bits_field *field, enum bits_overflow overflow, int64_t base,
                   int64_t delta, int64_t *sum)
{
    unsigned digits = field->width - (field->is_signed != 0);
    int64_t max = (int64_t)(((uint64_t)1 << digits) - 1);
    int64_t min = field->is_signed ? -max - 1 : 0;
    wide exact = (field->is_signed ? (wide)base : (wide)(uint64_t)base) + delta;

    *sum = 0;
    if (exact >= min && exact <= max)
        *sum = (int64_t)exact;
    else if (overflow == BITS_WRAP)
        *sum = cut_to_field(field, (uint64_t)exact);
    else if (overflow == BITS_SATURATE)
        *sum = is_above(field, max, base, exact) ? max : min;
    else
        return 0;
    return 1;
}
