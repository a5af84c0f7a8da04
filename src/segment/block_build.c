/* Entries are encoded as they come, but for their sequence: the base that it is relative to is known at the
 * end only. So where each one's belongs is noted, and finish() puts them all in, from the back, in
 * place: a payload of 512 MiB is not copied a second time. */
#include "segment/block_format.h"

#include "base/bytes.h"

#define ENTRY_HEAD_MAX_BYTES (1 + 4 + 8 + 6 * VARINT_MAX_BYTES)
/* Longer beginnings of keys are not shared, so that no second copy of a large key is kept. */
#define LAST_KEY_MAX_BYTES ((size_t)64 * 1024)
#define BUILDER_KEEP_BYTES ((size_t)4 * 1024 * 1024)

struct item {
    uint64_t seq;
    size_t slot; /* in entries: the sequence goes before this byte */
};

void block_builder_init(struct block_builder *builder)
{
    *builder = (struct block_builder){.seq_min = UINT64_MAX};
    buf_init(&builder->entries, SIZE_MAX / 2);
    buf_init(&builder->last_key, LAST_KEY_MAX_BYTES);
    buf_init(&builder->items, SIZE_MAX / 2);
}

void block_builder_deinit(struct block_builder *builder)
{
    buf_deinit(&builder->entries);
    buf_deinit(&builder->last_key);
    buf_deinit(&builder->items);
}

static void builder_empty(struct block_builder *builder)
{
    buf_clear(&builder->entries);
    buf_clear(&builder->last_key);
    buf_clear(&builder->items);
    builder->seq_min = UINT64_MAX;
    builder->count = 0;
    builder->raw_bytes = 0;
    builder->shared_bytes = 0;
    builder->flat_bytes = 0;
}

static size_t shared_len(const struct block_builder *builder, struct varve_slice key)
{
    size_t max = builder->last_key.len < key.len ? builder->last_key.len : key.len;
    size_t n = 0;

    while (n < max && builder->last_key.data[n] == key.data[n])
        n++;
    if (builder->shared_bytes + n > block_shared_max(builder->entries.len))
        return 0;
    return n;
}

static void entry_put(struct block_builder *builder, const struct entry *entry, size_t shared,
                      uint64_t outside, uint32_t packed_len)
{
    const struct chunk *chunk = &entry->chunk;
    uint8_t *at = builder->entries.data + builder->entries.len;
    unsigned flags = (unsigned)chunk->kind;

    flags |= chunk->expire_ms != 0 ? ENTRY_HAS_EXPIRY : 0;
    flags |= entry->prior_unknown ? ENTRY_PRIOR_UNKNOWN : 0;
    flags |= outside != 0 ? ENTRY_VALUE_OUTSIDE : 0;
    flags |= packed_len != 0 ? ENTRY_VALUE_PACKED : 0;
    *at++ = (uint8_t)flags;
    at += put_varint(at, shared);
    at += put_varint(at, chunk->key.len - shared);
    struct item item = {entry->seq, (size_t)(at - builder->entries.data)};
    memcpy(builder->items.data + builder->items.len, &item, sizeof(item));
    builder->items.len += sizeof(item);
    put_u32(at, chunk->crc);
    at += 4;
    if (chunk->kind != CHUNK_DELETE)
        at += put_varint(at, chunk->value.len);
    if (chunk->expire_ms != 0) {
        put_u64(at, chunk->expire_ms);
        at += 8;
    }
    if (outside != 0)
        at += put_varint(at, outside);
    if (packed_len != 0)
        at += put_varint(at, packed_len);
    if (chunk->key.len > shared)
        memcpy(at, chunk->key.data + shared, chunk->key.len - shared);
    at += chunk->key.len - shared;
    if (outside == 0 && chunk->value.len > 0) {
        memcpy(at, chunk->value.data, chunk->value.len);
        at += chunk->value.len;
    }
    builder->entries.len = (size_t)(at - builder->entries.data);
}

int block_builder_add(struct block_builder *builder, const struct entry *entry,
                      uint64_t value_offset, uint32_t packed_len)
{
    const struct chunk *chunk = &entry->chunk;
    int is_outside = chunk->kind == CHUNK_PUT && chunk->value.len >= BLOCK_LARGE_VALUE_BYTES;
    size_t in_place = is_outside ? 0 : chunk->value.len;
    size_t known = chunk->key.len < LAST_KEY_MAX_BYTES ? chunk->key.len : LAST_KEY_MAX_BYTES;
    int rc;

    CHECK(is_outside ? value_offset != 0 : packed_len == 0);
    if (builder->count == 0) {
        builder_empty(builder);
        buf_shrink(&builder->entries, BUILDER_KEEP_BYTES);
    }
    uint64_t flat_bytes = builder->flat_bytes + FLAT_HEAD_MAX_BYTES + (uint64_t)chunk->key.len +
                          in_place;
    if (flat_bytes > BLOCK_FLAT_MAX_BYTES || builder->count == UINT32_MAX)
        return VARVE_EFULL;
    size_t shared = shared_len(builder, chunk->key);
    size_t unshared = chunk->key.len - shared;
    rc = buf_reserve(&builder->entries, ENTRY_HEAD_MAX_BYTES + unshared + in_place);
    if (rc == 0)
        rc = buf_reserve(&builder->items, sizeof(struct item));
    if (rc == 0 && known > builder->last_key.len)
        rc = buf_reserve(&builder->last_key, known - builder->last_key.len);
    if (rc != 0)
        return rc;

    size_t before = builder->entries.len;
    entry_put(builder, entry, shared, is_outside ? value_offset : 0, packed_len);
    if (known > shared)
        memcpy(builder->last_key.data + shared, chunk->key.data + shared, known - shared);
    builder->last_key.len = known;
    builder->shared_bytes += shared;
    builder->flat_bytes = flat_bytes;
    if (entry->seq < builder->seq_min)
        builder->seq_min = entry->seq;
    builder->count++;
    /* With the base as it is now: close enough to end a block by. */
    builder->raw_bytes += builder->entries.len - before +
                          varint_size(entry->seq - builder->seq_min);
    return 0;
}

static struct item item_at(const struct block_builder *builder, uint32_t i)
{
    struct item item;

    memcpy(&item, builder->items.data + i * sizeof(item), sizeof(item));
    return item;
}

int block_builder_finish(struct block_builder *builder, struct varve_slice *payload)
{
    struct buf *entries = &builder->entries;
    size_t head_len = varint_size(builder->count) + varint_size(builder->seq_min);
    size_t extra = head_len;
    int rc;

    *payload = varve_slice(NULL, 0);
    CHECK(builder->count > 0);
    for (uint32_t i = 0; i < builder->count; i++)
        extra += varint_size(item_at(builder, i).seq - builder->seq_min);
    rc = buf_reserve(entries, extra);
    if (rc != 0)
        return rc;

    size_t from_end = entries->len;
    size_t to_end = entries->len + extra;
    size_t total = to_end;
    for (uint32_t i = builder->count; i-- > 0;) {
        struct item item = item_at(builder, i);
        size_t n = from_end - item.slot;
        uint64_t delta = item.seq - builder->seq_min;
        to_end -= n;
        memmove(entries->data + to_end, entries->data + item.slot, n);
        to_end -= varint_size(delta);
        put_varint(entries->data + to_end, delta);
        from_end = item.slot;
    }
    CHECK(to_end - from_end == head_len);
    memmove(entries->data + head_len, entries->data, from_end);
    size_t at = put_varint(entries->data, builder->count);
    put_varint(entries->data + at, builder->seq_min);
    *payload = varve_slice(entries->data, total);
    builder_empty(builder);
    return 0;
}
