/* key_slice.h - pieces of keys as numbers: where two differ, the keys compare alike, without a look at them. */
#ifndef SEGMENT_KEY_SLICE_H
#define SEGMENT_KEY_SLICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "varve/slice.h"

/* The 8 bytes of key from `at` on, the first one the highest; zeros behind its end. */
static inline uint64_t key_slice_at(struct varve_slice key, size_t at)
{
    uint64_t slice = 0;

    if (LIKELY(key.len >= at + sizeof(slice)))
        memcpy(&slice, key.data + at, sizeof(slice));
    else if (key.len > at)
        memcpy(&slice, key.data + at, key.len - at);
    return __builtin_bswap64(slice);
}

/* How many bytes both begin with. Of the first and the last of sorted keys: what all between them share. */
static inline size_t key_common_bytes(struct varve_slice a, struct varve_slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    size_t n = 0;

    while (n < shorter && a.data[n] == b.data[n])
        n++;
    return n;
}

#endif
