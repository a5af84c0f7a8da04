/* chunk.h - one record: what was done to one key. Its CRC is made once, when the command arrives,
 * and is checked where the record is read: in the WAL, the memtable, a segment (FORMAT.md, 2). */
#ifndef SEGMENT_CHUNK_H
#define SEGMENT_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"

enum chunk_kind {
    CHUNK_PUT = 1,
    CHUNK_DELETE = 2,       /* a tombstone: no value part */
    CHUNK_RANGE_DELETE = 3, /* a range tombstone: key is the begin, value the end (exclusive) */
};

/* A decoded record; key and value are borrowed from wherever it was read. */
struct chunk {
    enum chunk_kind kind;
    uint32_t crc;
    uint64_t expire_ms; /* milliseconds since the epoch; 0: never */
    struct varve_slice key;
    struct varve_slice value;
};

/* A chunk with its place in the order of all writes: what readers and merges pass around. Where the
 * slices lie is said by whoever hands it out: a memtable's arena, a block. */
struct segment;

struct entry {
    uint64_t seq;
    struct chunk chunk; /* value.data NULL with a length: the value lies in a value block */
    int prior_unknown; /* 1: whether its key was live just before it is not counted yet (counts.h) */
    int same_key;      /* of a block: 1 if the entry before it there has the same key */
    const struct segment *value_segment; /* of a value in a block of its own: borrowed */
    uint64_t value_offset;               /* where that block begins */
    uint32_t value_packed_len;           /* of its payload, if that is compressed; else 0 */
};

/* The order of entries: by key; of one key the newest first. */
int entry_compare(struct varve_slice key_a, uint64_t seq_a, struct varve_slice key_b,
                  uint64_t seq_b);

/* The CRC over kind, expiry and key length: key and value bytes are then chained to it. */
uint32_t chunk_crc_begin(enum chunk_kind kind, uint64_t expire_ms, uint64_t key_len);
/* The CRC of the record's kind, expiry, key and value, whatever chunk->crc says. */
uint32_t chunk_crc(const struct chunk *chunk);

/* An operation in a WAL payload or batch: a head, the key, the value (FORMAT.md, section 4). */
#define CHUNK_HEAD_MAX_BYTES (1 + 4 + 10 + 10 + 8)

/* Writes the head of chunk (kind, crc, lengths, expiry); returns its length. */
size_t chunk_put_head(uint8_t at[CHUNK_HEAD_MAX_BYTES], const struct chunk *chunk);

/* Decodes the head at [at, end) into chunk, whose slices have their lengths, and no data. Returns how long the
 * head is, 0 if that is none. */
size_t chunk_get_sizes(const uint8_t *at, const uint8_t *end, struct chunk *chunk);
/* Decodes head and key at [at, end) into chunk; chunk->value has its length, and no data yet: it
 * follows the returned length, or lies elsewhere. Returns 0 if that is no operation. */
size_t chunk_get_head(const uint8_t *at, const uint8_t *end, struct chunk *chunk);

#endif
