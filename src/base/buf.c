#include "base/buf.h"

#include "base/mem.h"
#include "varve/status.h"

#define BUF_FIRST_CAP_BYTES 256

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){.max = max_bytes};
}

void buf_deinit(struct buf *buf)
{
    mem_free(buf->data);
    *buf = (struct buf){.max = buf->max};
}

int buf_grow(struct buf *buf, size_t extra_bytes)
{
    if (extra_bytes > buf->max - buf->len)
        return VARVE_EFULL;
    size_t need = buf->len + extra_bytes;
    size_t cap = buf->cap < BUF_FIRST_CAP_BYTES ? BUF_FIRST_CAP_BYTES : buf->cap;
    while (cap < need)
        cap = cap > buf->max / 2 ? buf->max : cap * 2;
    if (cap > buf->max)
        cap = buf->max;
    uint8_t *grown = mem_realloc(buf->data, cap);
    if (grown == NULL)
        return VARVE_ENOMEM;
    buf->data = grown;
    buf->cap = cap;
    return 0;
}

void buf_shrink(struct buf *buf, size_t keep_bytes)
{
    if (buf->cap <= keep_bytes)
        return;
    if (buf->len > keep_bytes || keep_bytes == 0) {
        buf_deinit(buf);
        return;
    }
    uint8_t *kept = mem_realloc(buf->data, keep_bytes);
    if (kept == NULL)
        return;
    buf->data = kept;
    buf->cap = keep_bytes;
}
