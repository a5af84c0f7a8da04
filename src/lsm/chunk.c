#include "lsm/chunk.h"

#include "base/bytes.h"
#include "base/crc32c.h"

uint32_t chunk_crc(const struct chunk *chunk)
{
    uint8_t head[17];

    head[0] = (uint8_t)chunk->kind;
    put_u64(head + 1, chunk->expire_ms);
    put_u64(head + 9, chunk->key.len);
    uint32_t crc = crc32c(0, head, sizeof(head));
    crc = crc32c(crc, chunk->key.data, chunk->key.len);
    return crc32c(crc, chunk->value.data, chunk->value.len);
}
