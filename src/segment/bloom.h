/* bloom.h - blocked Bloom filter: one cache line a key (Putze, Sanders, Singler: "Cache-, hash- and
 * space-efficient Bloom filters", 2007). Bytes: FORMAT.md, filter block. Pure, but that who builds a large one gives way. */
#ifndef SEGMENT_BLOOM_H
#define SEGMENT_BLOOM_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

#define BLOOM_HEAD_BYTES 64
#define BLOOM_LINE_BYTES 64
#define BLOOM_PROBES_MAX 7

struct bloom_hash {
    uint64_t half[2];
};

struct bloom {
    const uint8_t *lines; /* borrowed; aligned to a cache line */
    uint32_t line_count;  /* 0: every key may be there */
    uint32_t probes;
};

struct bloom_hash bloom_hash(struct varve_slice key);

/* The size of a filter block for so many keys; 0: bits_per_key is 0, or there is no key. */
size_t bloom_size_bytes(uint64_t keys, uint32_t bits_per_key);
/* Fills block (bloom_size_bytes() of it) from the keys' hashes. */
void bloom_build(uint8_t *block, size_t size_bytes, const struct bloom_hash *hashes, uint64_t keys,
                 uint32_t bits_per_key);
/* 0, or VARVE_ECORRUPT: head and size do not fit together. */
int bloom_open(struct bloom *bloom, const uint8_t *block, size_t size_bytes) MUST_CHECK;

/* The one that the key's bits are in; there are lines. */
static inline const uint8_t *bloom_line(const struct bloom *bloom, struct bloom_hash hash)
{
    uint64_t line = ((hash.half[0] >> 32) * bloom->line_count) >> 32;

    return bloom->lines + line * BLOOM_LINE_BYTES;
}

static inline void bloom_prefetch(const struct bloom *bloom, struct bloom_hash hash)
{
    if (bloom->line_count != 0)
        __builtin_prefetch(bloom_line(bloom, hash));
}

/* 0: the key is not there. 1: it may be. */
static inline int bloom_may_hold(const struct bloom *bloom, struct bloom_hash hash)
{
    if (bloom->line_count == 0)
        return 1;
    const uint8_t *bits = bloom_line(bloom, hash);
    uint64_t left = hash.half[1];
    for (uint32_t i = 0; i < bloom->probes; i++, left >>= 9)
        if (!(bits[(left & 511) >> 3] & (1u << (left & 7))))
            return 0;
    return 1;
}

#endif
