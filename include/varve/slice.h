/* slice.h - a borrowed run of bytes. Binary safe; never NUL-terminated by contract.
 * The lifetime of `data` is stated by whoever hands the slice out. */
#ifndef VARVE_SLICE_H
#define VARVE_SLICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "varve/api.h"

VARVE_API_BEGIN

struct varve_slice {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;          /* bytes */
};

static inline struct varve_slice varve_slice(const void *data, size_t len)
{
    struct varve_slice slice; /* no compound literal: C++ has none */

    slice.data = (const uint8_t *)data;
    slice.len = len;
    return slice;
}

/* The bytes of a C string without its NUL. */
static inline struct varve_slice varve_slice_str(const char *text)
{
    return varve_slice(text, strlen(text));
}

/* Byte order, shorter first where one is a prefix of the other: the order of all keys. */
static inline int varve_slice_compare(struct varve_slice a, struct varve_slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

static inline int varve_slice_equal(struct varve_slice a, struct varve_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

VARVE_API_END

#endif
