#include "lsm/batch.h"

#include "base/crc32c.h"
#include "base/mem.h"
#include "lsm/memtable.h"
#include "varve/status.h"

#define BATCH_MAX_BYTES ((size_t)2 * 1024 * 1024 * 1024)
#define BATCH_KEEP_BYTES ((size_t)64 * 1024)
#define BATCH_PARTS_MAX 4

int borrowed_list_add(struct borrowed_list *list, size_t at, struct varve_slice bytes)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 8 : list->cap * 2;
        struct borrowed *grown = mem_realloc(list->items, cap * sizeof(*grown));
        if (grown == NULL)
            return VARVE_ENOMEM;
        list->items = grown;
        list->cap = cap;
    }
    list->items[list->count++] = (struct borrowed){.at = at, .bytes = bytes};
    return 0;
}

void borrowed_list_deinit(struct borrowed_list *list)
{
    mem_free(list->items);
    *list = (struct borrowed_list){0};
}

struct varve_batch *varve_batch_create(void)
{
    struct varve_batch *batch = mem_alloc_zero(sizeof(*batch));

    if (batch != NULL)
        buf_init(&batch->ops, BATCH_MAX_BYTES);
    return batch;
}

void varve_batch_destroy(struct varve_batch *batch)
{
    if (batch == NULL)
        return;
    buf_deinit(&batch->ops);
    borrowed_list_deinit(&batch->borrowed);
    mem_free(batch);
}

void varve_batch_clear(struct varve_batch *batch)
{
    buf_clear(&batch->ops);
    buf_shrink(&batch->ops, BATCH_KEEP_BYTES);
    batch->borrowed.count = 0;
    batch->count = 0;
    batch->size_bytes = 0;
    batch->memtable_cost = 0;
}

uint32_t varve_batch_count(const struct varve_batch *batch)
{
    return batch->count;
}

uint64_t varve_batch_size(const struct varve_batch *batch)
{
    return batch->size_bytes;
}

struct parts {
    const struct varve_slice *items;
    int count;
};

static size_t parts_len(struct parts parts)
{
    size_t len = 0;

    for (int i = 0; i < parts.count; i++)
        len += parts.items[i].len;
    return len;
}

static uint32_t parts_crc(uint32_t crc, struct parts parts)
{
    for (int i = 0; i < parts.count; i++)
        crc = crc32c(crc, parts.items[i].data, parts.items[i].len);
    return crc;
}

static void parts_copy(struct buf *to, struct parts parts)
{
    for (int i = 0; i < parts.count; i++) {
        if (parts.items[i].len > 0)
            memcpy(to->data + to->len, parts.items[i].data, parts.items[i].len);
        to->len += parts.items[i].len;
    }
}

static int batch_add(struct varve_batch *batch, struct chunk *chunk, struct parts key,
                     struct parts value)
{
    uint8_t head[CHUNK_HEAD_MAX_BYTES];
    struct varve_slice last = value.count == 0 ? varve_slice(NULL, 0)
                                               : value.items[value.count - 1];
    int borrow = chunk->kind == CHUNK_PUT && last.len >= VARVE_BATCH_BORROW_BYTES;

    if (key.count > BATCH_PARTS_MAX || value.count > BATCH_PARTS_MAX || batch->count == UINT32_MAX)
        return VARVE_EINVAL;
    chunk->key.len = parts_len(key);
    chunk->value.len = parts_len(value);
    if (chunk->key.len > VARVE_KEY_MAX_BYTES || chunk->value.len > VARVE_VALUE_MAX_BYTES)
        return VARVE_EINVAL;
    chunk->crc = chunk_crc_begin(chunk->kind, chunk->expire_ms, chunk->key.len);
    chunk->crc = parts_crc(parts_crc(chunk->crc, key), value);
    size_t head_len = chunk_put_head(head, chunk);
    size_t copied = chunk->key.len + chunk->value.len - (borrow ? last.len : 0);
    int rc = buf_reserve(&batch->ops, head_len + copied);
    if (rc == 0 && borrow)
        rc = borrowed_list_add(&batch->borrowed, batch->ops.len + head_len + copied, last);
    if (rc != 0)
        return rc == VARVE_EFULL ? VARVE_EINVAL : rc;
    memcpy(batch->ops.data + batch->ops.len, head, head_len);
    batch->ops.len += head_len;
    parts_copy(&batch->ops, key);
    value.count -= borrow;
    parts_copy(&batch->ops, value);
    batch->count++;
    batch->size_bytes += chunk->key.len + chunk->value.len;
    batch->memtable_cost += memtable_cost_bytes(chunk->key.len, chunk->value.len);
    return 0;
}

int varve_batch_put(struct varve_batch *batch, const struct varve_slice *key_parts, int key_count,
                    const struct varve_slice *value_parts, int value_count, uint64_t expire_ms)
{
    struct chunk chunk = {.kind = CHUNK_PUT, .expire_ms = expire_ms};

    return batch_add(batch, &chunk, (struct parts){key_parts, key_count},
                     (struct parts){value_parts, value_count});
}

int varve_batch_delete(struct varve_batch *batch, const struct varve_slice *key_parts,
                       int key_count)
{
    struct chunk chunk = {.kind = CHUNK_DELETE};

    return batch_add(batch, &chunk, (struct parts){key_parts, key_count}, (struct parts){0});
}

int varve_batch_delete_range(struct varve_batch *batch, struct varve_slice begin,
                             struct varve_slice end)
{
    struct chunk chunk = {.kind = CHUNK_RANGE_DELETE};

    if (varve_slice_compare(begin, end) >= 0)
        return VARVE_EINVAL;
    return batch_add(batch, &chunk, (struct parts){&begin, 1}, (struct parts){&end, 1});
}

/* How much of the value lies in ops, in front of what is borrowed; all of it if nothing is. */
static size_t lead_len(const struct varve_batch *batch, const struct batch_cursor *cursor,
                       size_t value_len)
{
    if (cursor->next_borrowed == batch->borrowed.count)
        return value_len;
    const struct borrowed *next = &batch->borrowed.items[cursor->next_borrowed];
    return next->at - cursor->at < value_len ? next->at - cursor->at : value_len;
}

int batch_next(const struct varve_batch *batch, struct batch_cursor *cursor, struct chunk *chunk)
{
    cursor->tail = varve_slice(NULL, 0);
    if (cursor->at == batch->ops.len)
        return 0;
    const uint8_t *at = batch->ops.data + cursor->at;
    size_t head_len = chunk_get_head(at, batch->ops.data + batch->ops.len, chunk);
    CHECK(head_len != 0); /* we wrote it ourselves */
    cursor->at += head_len;
    size_t lead = lead_len(batch, cursor, chunk->value.len);
    cursor->lead = varve_slice(at + head_len, lead);
    chunk->value.data = at + head_len;
    cursor->at += lead;
    if (UNLIKELY(lead < chunk->value.len)) {
        cursor->tail = batch->borrowed.items[cursor->next_borrowed++].bytes;
        chunk->value.data = lead == 0 ? cursor->tail.data : NULL;
    }
    return 1;
}
