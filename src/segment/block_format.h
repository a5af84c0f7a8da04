/* block_format.h - what the builder and the decoder of blocks share: FORMAT.md, section 1. */
#ifndef SEGMENT_BLOCK_FORMAT_H
#define SEGMENT_BLOCK_FORMAT_H

#include "segment/block.h"
#include "segment/chunk.h"

#define ENTRY_KIND_MASK 0x07
#define ENTRY_HAS_EXPIRY 0x08
#define ENTRY_PRIOR_UNKNOWN 0x10
#define ENTRY_VALUE_OUTSIDE 0x20
#define ENTRY_VALUE_PACKED 0x80 /* its block is compressed */

/* flags, shared, unshared, seq and CRC of a delete with a short key. */
#define ENTRY_MIN_BYTES 8

/* A block may take more memory than it has bytes, since each entry has a whole key there; so that a
 * small block cannot claim any amount, all the bytes that its entries share are at most this for a
 * payload of so many bytes. The builder gives a key whole where it would pass that. */
#define BLOCK_SHARED_FREE_BYTES ((uint64_t)64 * 1024)
#define BLOCK_SHARED_RATIO 64

static inline uint64_t block_shared_max(size_t payload_len)
{
    return BLOCK_SHARED_FREE_BYTES + BLOCK_SHARED_RATIO * (uint64_t)payload_len;
}

/* Of the entries in memory, which 32-bit offsets must reach. */
#define BLOCK_FLAT_MAX_BYTES ((uint64_t)3 * 1024 * 1024 * 1024)

/* An entry in memory: seq u64 | crc u32 | key length u32 | value length u32 | flags u8
 * | [expire_ms u64] | [offset of the value block u64 | [its payload's length u32]] | key | value in place. */
#define FLAT_SEQ 0
#define FLAT_CRC 8
#define FLAT_KEY_LEN 12
#define FLAT_VALUE_LEN 16
#define FLAT_FLAGS 20
#define FLAT_HEAD_BYTES 21
#define FLAT_HEAD_MAX_BYTES (FLAT_HEAD_BYTES + 20)
#define FLAT_SAME_KEY 0x40 /* as the entry before it; in memory only */

/* Where the key begins: behind the fields that the flags name. */
static inline size_t flat_key_at(uint8_t flags)
{
    return FLAT_HEAD_BYTES + (size_t)(flags & ENTRY_HAS_EXPIRY) +
           (size_t)((flags & ENTRY_VALUE_OUTSIDE) >> 2) +
           (size_t)((flags & ENTRY_VALUE_PACKED) >> 5);
}

#endif
