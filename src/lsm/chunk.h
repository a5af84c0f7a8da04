/* chunk.h - one record: what was done to one key. Its CRC is made once, when the command arrives,
 * and is checked where the record is read: in the WAL, the memtable, a segment (FORMAT.md, 2). */
#ifndef LSM_CHUNK_H
#define LSM_CHUNK_H

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

/* The CRC of the record's kind, expiry, key and value, whatever chunk->crc says. */
uint32_t chunk_crc(const struct chunk *chunk);

#endif
