/* block_parse.h - the entries of a data or ranges block one by one, as they lie in its payload: FORMAT.md,
 * section 1. For the two who need nothing else of it: block_decode(), and block_walk.h. Nothing is
 * allocated, nothing outside of the payload is read, whatever its bytes say. */
#ifndef SEGMENT_BLOCK_PARSE_H
#define SEGMENT_BLOCK_PARSE_H

#include "segment/block_format.h"

struct block_parse {
    const uint8_t *at;
    const uint8_t *end;
    enum block_kind kind;
    uint64_t value_limit;
    uint64_t seq_base;
    uint32_t count;
    uint64_t key_len;    /* of the entry before */
    uint64_t shared_max; /* of all entries */
    uint64_t shared;     /* so far */
    uint64_t flat_bytes; /* so far: what the entries take in memory */
    int has_base;        /* an entry had the base sequence */
};

struct block_parsed {
    uint64_t seq;
    uint64_t shared;
    uint64_t unshared;
    uint64_t value_len;
    uint64_t expire_ms;
    uint64_t value_offset;
    uint64_t packed_len; /* 0: the value block is not compressed */
    uint64_t in_place;   /* bytes of the value that lie in the block */
    uint32_t crc;
    uint8_t flags;
    const uint8_t *key; /* the unshared bytes */
    const uint8_t *value;
};

/* Each returns NULL, or what is wrong with the block. begin: the head; value_limit as of block_decode().
 * entry: the next one, `count` times. end: after the last. */
const char *block_parse_begin(struct block_parse *parse, struct varve_slice payload,
                              enum block_kind kind, uint64_t value_limit) MUST_CHECK;
const char *block_parse_entry(struct block_parse *parse, struct block_parsed *entry) MUST_CHECK;
const char *block_parse_end(const struct block_parse *parse) MUST_CHECK;

#endif
