/* slab.h - the memory of readers: runs of bytes that never move once an argument points into them,
 * and the pool that a loop keeps of those of one size. A slab holds input, one big argument, or
 * the slots of argument vectors. One thread. */
#ifndef RESP_SLAB_H
#define RESP_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct resp_pool;

struct resp_slab {
    struct resp_slab *next;
    uint64_t command_no; /* in a reader's list of retired slabs: the last command that needs it */
    size_t cap;          /* bytes in data */
    size_t len;          /* of a big argument that is on its way: bytes that have come */
    _Alignas(16) uint8_t data[];
};

/* A slab of at least cap bytes: from the pool if it is of the pool's size. NULL: no memory. */
struct resp_slab *resp_slab_take(struct resp_pool *pool, size_t cap) MUST_CHECK;
void resp_slab_give(struct resp_pool *pool, struct resp_slab *slab); /* takes NULL */

/* Moves the content to a slab of cap bytes; NULL: no memory, and slab stays as it was. */
struct resp_slab *resp_slab_grow(struct resp_slab *slab, size_t cap) MUST_CHECK;

/* Bytes of data in the slabs that the pool keeps. */
size_t resp_pool_slab_bytes(const struct resp_pool *pool);

#endif
