/* block.h - data and range tombstone blocks: built for the disk with shared key prefixes, searched in
 * memory in a flat form. FORMAT.md, section 1.
 *
 * Once read, a block is decoded in one pass into an array of offsets, one byte of hash a key, and entries
 * whose keys are whole; so a lookup compares one byte an entry it passes, and no key but the right one
 * (performance.md technique 5), and a scan steps without decoding. */
#ifndef SEGMENT_BLOCK_H
#define SEGMENT_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/pieces.h"
#include "segment/bloom.h"
#include "segment/cache.h"
#include "segment/chunk.h"
#include "varve/status.h"

#define BLOCK_TRAILER_BYTES 8
#define BLOCK_COMPRESSED_MAX_BYTES ((size_t)1024 * 1024) /* uncompressed size of a compressed one */
#define BLOCK_LARGE_VALUE_BYTES ((size_t)16 * 1024)      /* such a value has a block of its own */

enum block_kind {
    BLOCK_DATA = 1,
    BLOCK_VALUE = 2,
    BLOCK_RANGES = 3,
    BLOCK_FILTER = 4,
    BLOCK_INDEX = 5,
    BLOCK_PROPERTIES = 6,
};

/* ---- building ---- */

struct block_builder {
    struct buf entries;  /* without the head: the base sequence is known at the end */
    struct buf last_key; /* its beginning */
    uint64_t seq_min;
    uint32_t count;
    size_t raw_bytes;      /* of the entries, about as they will be */
    uint64_t shared_bytes; /* of keys; bounded, see FORMAT.md */
    uint64_t flat_bytes;   /* of the entries in memory, at most */
    struct buf items;      /* scratch of the implementation */
};

void block_builder_init(struct block_builder *builder);
void block_builder_deinit(struct block_builder *builder);
/* entry comes after all before it (of a ranges block: in its order). A value of
 * BLOCK_LARGE_VALUE_BYTES or more of a put is not copied: it lies at value_offset (not 0), in packed_len bytes
 * if it is compressed (else 0). 0, VARVE_ENOMEM, or VARVE_EFULL: a block would pass 3 GiB, which only one of ranges can. Then the
 * builder is as it was. */
int block_builder_add(struct block_builder *builder, const struct entry *entry,
                      uint64_t value_offset, uint32_t packed_len) MUST_CHECK;
/* The uncompressed payload of what was added, which must not be nothing. Lives until the next call.
 * Empties the builder, unless it is VARVE_ENOMEM. */
int block_builder_finish(struct block_builder *builder, struct varve_slice *payload) MUST_CHECK;

/* Compresses if `compress` and worth it; *out lives in scratch or is payload. Returns the compression
 * byte of the trailer. Without memory it stays as it is. */
uint8_t block_compress(struct varve_slice payload, int compress, struct buf *scratch,
                       struct varve_slice *out);
/* The trailer of a payload at `offset`. */
void block_trailer_put(uint8_t at[BLOCK_TRAILER_BYTES], uint32_t salt, uint64_t offset,
                       enum block_kind kind, uint8_t compression, struct varve_slice payload);
/* For a payload that is not in one piece: the CRC so far is continued with each piece. */
uint32_t block_crc_begin(uint32_t salt, uint64_t offset);
void block_trailer_put_crc(uint8_t at[BLOCK_TRAILER_BYTES], uint32_t payload_crc,
                           enum block_kind kind, uint8_t compression);

/* ---- reading ---- */

/* Checks the trailer behind payload[0..len) and undoes the compression. *out lives in payload or in
 * scratch. VARVE_ECORRUPT says what is wrong (not where: the caller knows), VARVE_ENOMEM. */
int block_open(uint8_t *bytes, size_t payload_len, uint32_t salt, uint64_t offset,
               enum block_kind kind, struct buf *scratch, struct varve_slice *out,
               struct varve_err *err) MUST_CHECK;
/* Undoes the compression of a payload that has exactly len bytes without it. VARVE_ECORRUPT: it has not. */
int block_unpack(struct varve_slice payload, uint8_t *to, size_t len,
                 struct varve_err *err) MUST_CHECK;
/* Of a trailer: how its payload is compressed. */
static inline uint8_t block_compression(const uint8_t at[BLOCK_TRAILER_BYTES])
{
    return at[1];
}
int block_trailer_check_crc(const uint8_t at[BLOCK_TRAILER_BYTES], uint32_t payload_crc,
                            enum block_kind kind, struct varve_err *err) MUST_CHECK;
/* The same of a block that must not be compressed. */
int block_trailer_check_plain(const uint8_t at[BLOCK_TRAILER_BYTES], uint32_t payload_crc,
                              enum block_kind kind, struct varve_err *err) MUST_CHECK;

/* A block in its flat form; immutable. One piece of memory, of cached.charge_bytes. */
struct block {
    struct cached cached; /* first */
    uint32_t count;
    uint32_t prefix_len;     /* bytes that all its keys share */
    const uint32_t *slices;  /* of each key the 4 bytes behind those, as a number */
    const uint32_t *offsets; /* of entries, from `entries` on */
    const uint8_t *hashes;   /* block_hash_byte() each; not of a ranges block */
    const uint8_t *entries;
};

static inline uint8_t block_hash_byte(struct bloom_hash hash)
{
    return (uint8_t)(hash.half[0] & 0xff);
}

/* Of the memory that all blocks of the process lie in. */
void block_memory_get(struct pieces_stats *stats);
/* What is spare in it goes back to the system, but for so many bytes. */
void block_memory_trim(uint64_t keep_bytes);
/* All of it but one chunk does, if no block is left: whoever had blocks closes. */
void block_memory_close(void);
/* A little of it does, so that with a call each half second, by one database, half of it is gone within six minutes. */
void block_memory_age(void);
/* Chooses chunks of it to be given back, which have about so many bytes free; returns how many are in use in
 * them. They go once the blocks are freed of which block_memory_is_leaving() says 1: for cache_drop_which(). */
uint64_t block_memory_leave(uint64_t free_bytes);
int block_memory_is_leaving(const struct cached *cached);

/* Decodes the payload of a data or ranges block; nothing of it is borrowed. Everything is checked: lengths,
 * order of the keys, kinds, that nothing is left over; but no chunk CRC: those are checked on each read.
 * value_limit: value blocks end at or below it. The block has one reference; cached.destroy frees it.
 * VARVE_ECORRUPT says what is wrong, VARVE_ENOMEM. */
int block_decode(struct varve_slice payload, enum block_kind kind, uint64_t value_limit,
                 struct block **block, struct varve_err *err) MUST_CHECK;

/* Brings near the processor what block_find() reads first. */
void block_prefetch(const struct block *block);

/* Entry i; its slices lie in the block. value_segment is left NULL: the segment fills it. */
void block_entry(const struct block *block, uint32_t i, struct entry *entry);
/* The newest entry of key with a sequence <= seq_max; -1: none. */
int64_t block_find(const struct block *block, struct varve_slice key, struct bloom_hash hash,
                   uint64_t seq_max);
/* The first entry whose key is >= key (> key with `behind`); count if there is none. */
uint32_t block_seek(const struct block *block, struct varve_slice key, int behind);
struct varve_slice block_key(const struct block *block, uint32_t i);

#endif
