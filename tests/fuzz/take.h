/* take.h - a fuzz input taken apart: bytes, numbers, slices. Behind its end all is zero and empty, so that
 * every input means something. */
#ifndef TESTS_FUZZ_TAKE_H
#define TESTS_FUZZ_TAKE_H

#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"

struct take {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct take take_from(const uint8_t *data, size_t size)
{
    return (struct take){data, size == 0 ? data : data + size}; /* no sum with NULL */
}

static inline size_t take_left(const struct take *take)
{
    return (size_t)(take->end - take->at);
}

static inline uint8_t take_byte(struct take *take)
{
    return take->at < take->end ? *take->at++ : 0;
}

/* Little-endian, of so many bytes, at most 8. */
static inline uint64_t take_number(struct take *take, unsigned bytes)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)take_byte(take) << (8 * i);
    return number;
}

/* The next len bytes, or those that are left. Borrowed from the input. */
static inline struct varve_slice take_slice(struct take *take, size_t len)
{
    size_t n = len < take_left(take) ? len : take_left(take);
    struct varve_slice slice = varve_slice(take->at, n);

    if (n > 0)
        take->at += n;
    return slice;
}

#endif
