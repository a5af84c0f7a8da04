#include "segment/chunk.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/mutant.h"
#include "varve/batch.h"

#define KIND_MASK 0x07
#define KIND_HAS_EXPIRY 0x08

uint32_t chunk_crc_begin(enum chunk_kind kind, uint64_t expire_ms, uint64_t key_len)
{
    uint8_t head[17];

    head[0] = (uint8_t)kind;
    put_u64(head + 1, expire_ms);
    put_u64(head + 9, key_len);
    return crc32c(0, head, sizeof(head));
}

uint32_t chunk_crc(const struct chunk *chunk)
{
    uint32_t crc = chunk_crc_begin(chunk->kind, chunk->expire_ms, chunk->key.len);

    /* In a block the two lie one behind the other. */
    if (chunk->key.len > 0 && chunk->value.data == chunk->key.data + chunk->key.len)
        return crc32c(crc, chunk->key.data, chunk->key.len + chunk->value.len);
    crc = crc32c(crc, chunk->key.data, chunk->key.len);
    return crc32c(crc, chunk->value.data, chunk->value.len);
}

size_t chunk_put_head(uint8_t at[CHUNK_HEAD_MAX_BYTES], const struct chunk *chunk)
{
    size_t n = 0;

    at[n++] = (uint8_t)(chunk->kind | (chunk->expire_ms != 0 ? KIND_HAS_EXPIRY : 0));
    put_u32(at + n, chunk->crc);
    n += 4;
    n += put_varint(at + n, chunk->key.len);
    if (chunk->kind != CHUNK_DELETE)
        n += put_varint(at + n, chunk->value.len);
    if (chunk->expire_ms != 0) {
        put_u64(at + n, chunk->expire_ms);
        n += 8;
    }
    return n;
}

/* Lengths and expiry, behind kind and CRC; returns where the key begins, NULL if it is cut short. */
static const uint8_t *chunk_get_lengths(const uint8_t *at, const uint8_t *end, struct chunk *chunk,
                                        int has_expiry)
{
    uint64_t key_len = 0;
    uint64_t value_len = 0;
    size_t n = get_varint(at, end, &key_len);

    if (n == 0 || key_len > VARVE_KEY_MAX_BYTES)
        return NULL;
    at += n;
    if (chunk->kind != CHUNK_DELETE) {
        n = get_varint(at, end, &value_len);
        if (n == 0 || value_len > VARVE_VALUE_MAX_BYTES)
            return NULL;
        at += n;
    }
    if (has_expiry) {
        if (end - at < 8)
            return NULL;
        chunk->expire_ms = get_u64(at);
        at += 8;
    }
    chunk->key = varve_slice(NULL, key_len);
    chunk->value = varve_slice(NULL, value_len);
    return at;
}

size_t chunk_get_sizes(const uint8_t *at, const uint8_t *end, struct chunk *chunk)
{
    *chunk = (struct chunk){0};
    if (end - at < 5)
        return 0;
    unsigned kind = at[0] & KIND_MASK;
    int has_expiry = (at[0] & KIND_HAS_EXPIRY) != 0;
    if (kind < CHUNK_PUT || kind > CHUNK_RANGE_DELETE || (at[0] & ~(KIND_MASK | KIND_HAS_EXPIRY)))
        return 0;
    if (has_expiry && kind != CHUNK_PUT)
        return 0;
    chunk->kind = (enum chunk_kind)kind;
    chunk->crc = get_u32(at + 1);
    const uint8_t *key = chunk_get_lengths(at + 5, end, chunk, has_expiry);
    if (key == NULL || (has_expiry && chunk->expire_ms == 0))
        return 0;
    return (size_t)(key - at);
}

size_t chunk_get_head(const uint8_t *at, const uint8_t *end, struct chunk *chunk)
{
    size_t head_len = chunk_get_sizes(at, end, chunk);

    if (head_len == 0)
        return 0;
    if ((uint64_t)(end - at) - head_len < chunk->key.len && !MUTANT("key-length-unchecked"))
        return 0;
    chunk->key.data = at + head_len;
    return head_len + chunk->key.len;
}

int entry_compare(struct varve_slice key_a, uint64_t seq_a, struct varve_slice key_b,
                  uint64_t seq_b)
{
    int order = varve_slice_compare(key_a, key_b);

    return order != 0 ? order : (seq_a < seq_b) - (seq_a > seq_b);
}
