/* bits.h - a string as a row of bits: bit 0 is the highest one of the first byte. Pure: no memory, no errors.
 * Positions are in bits; a range [from, to) lies inside the string. */
#ifndef TYPES_BITS_H
#define TYPES_BITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

/* The bit at a position, 0 behind the end. */
int bits_get(struct varve_slice bytes, uint64_t at) MUST_CHECK;

/* How many are set. */
uint64_t bits_count(struct varve_slice bytes, uint64_t from, uint64_t to) MUST_CHECK;

/* The first one that is `bit`, or -1. */
int64_t bits_find(struct varve_slice bytes, int bit, uint64_t from, uint64_t to) MUST_CHECK;

/* ---- several strings at once ---- */

enum bits_op { BITS_AND, BITS_OR, BITS_XOR, BITS_NOT };

/* Writes out[0..len) bytes: the operation on all sources (count > 0; of BITS_NOT: 1), none of them longer than
 * len; those that are shorter go on with zeros. out overlaps none of them. */
void bits_combine(enum bits_op op, const struct varve_slice *sources, size_t count, uint8_t *out,
                  size_t len);

/* ---- integers between the bits ---- */

#define BITS_FIELD_MAX_BYTES 9 /* that a field may touch */

struct bits_field {
    uint64_t at;
    unsigned width; /* 1 to 64 bits, to 63 if unsigned; the highest one first */
    int is_signed;
};

/* A string as it is, and over it the bytes that may change. Behind its end are zeros. */
struct bits_window {
    struct varve_slice old; /* borrowed */
    uint8_t *bytes;         /* borrowed; NULL if len is 0 */
    uint64_t first;         /* where in the string they begin */
    size_t len;
};

/* Copies into the window, which is zeroed, what the string has there. */
void bits_window_fill(struct bits_window *window);

int64_t bits_field_get(const struct bits_window *window, const struct bits_field *field) MUST_CHECK;
/* Puts the lowest bits of value; the field lies in the window's bytes. */
void bits_field_put(struct bits_window *window, const struct bits_field *field, int64_t value);

enum bits_overflow { BITS_WRAP, BITS_SATURATE, BITS_FAIL };

/* base + delta as an integer of the field. Where it does not fit, `overflow` decides, exactly as in Redis: it is
 * cut to the field's bits, it is the nearest one that fits, or the call returns 0 and *sum is 0. Else returns
 * 1. The base of an unsigned field counts as unsigned. */
int bits_field_add(const struct bits_field *field, enum bits_overflow overflow, int64_t base,
                   int64_t delta, int64_t *sum) MUST_CHECK;

#endif
