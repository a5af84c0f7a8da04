/* buf.h - a growable byte buffer with a maximum. One owner, one thread. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "varve/slice.h"

struct buf {
    uint8_t *data;
    size_t len; /* bytes used */
    size_t cap; /* bytes allocated */
    size_t max; /* cap never passes this */
};

void buf_init(struct buf *buf, size_t max_bytes); /* allocates nothing */
void buf_deinit(struct buf *buf);

/* Grows cap so that `extra` more bytes fit after len, doubling as it goes.
 * Returns VARVE_EFULL past max, VARVE_ENOMEM if the allocation fails; the content stays. */
int buf_grow(struct buf *buf, size_t extra_bytes) MUST_CHECK;

static inline int buf_reserve(struct buf *buf, size_t extra_bytes)
{
    return LIKELY(buf->cap - buf->len >= extra_bytes) ? 0 : buf_grow(buf, extra_bytes);
}

static inline int buf_append(struct buf *buf, const void *data, size_t len)
{
    int rc = buf_reserve(buf, len);

    if (UNLIKELY(rc != 0))
        return rc;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    return 0;
}

static inline void buf_clear(struct buf *buf)
{
    buf->len = 0;
}

/* Gives memory above keep_bytes back; the content is dropped if it does not fit. */
void buf_shrink(struct buf *buf, size_t keep_bytes);

static inline struct varve_slice buf_slice(const struct buf *buf)
{
    return varve_slice(buf->data, buf->len);
}

#endif
