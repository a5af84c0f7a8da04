/* chunk.h - the memory of readers: runs of bytes that never move once an argument points into them,
 * and the pool that a loop keeps of those of one size. A chunk holds input, one big argument, or
 * the slots of argument vectors. One thread. */
#ifndef RESP_CHUNK_H
#define RESP_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct resp_pool;

struct resp_chunk {
    struct resp_chunk *next;
    uint64_t command_no; /* in a reader's list of retired chunks: the last command that needs it */
    size_t cap;          /* bytes in data */
    size_t len;          /* of a big argument that is on its way: bytes that have come */
    _Alignas(16) uint8_t data[];
};

/* A chunk of at least cap bytes: from the pool if it is of the pool's size. NULL: no memory. */
struct resp_chunk *resp_chunk_take(struct resp_pool *pool, size_t cap) MUST_CHECK;
void resp_chunk_give(struct resp_pool *pool, struct resp_chunk *chunk); /* takes NULL */

/* Moves the content to a chunk of cap bytes; NULL: no memory, and chunk stays as it was. */
struct resp_chunk *resp_chunk_grow(struct resp_chunk *chunk, size_t cap) MUST_CHECK;

/* Bytes of data in the chunks that the pool keeps. */
size_t resp_pool_chunk_bytes(const struct resp_pool *pool);

#endif
