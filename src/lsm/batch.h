/* batch.h - the inside of struct varve_batch: its operations as they go into the WAL, but for the
 * values that it only borrows. */
#ifndef LSM_BATCH_H
#define LSM_BATCH_H

#include "base/buf.h"
#include "segment/chunk.h"
#include "varve/batch.h"

/* A run of bytes that belongs at offset `at` of a buffer, but lies elsewhere. */
struct borrowed {
    size_t at;
    struct varve_slice bytes;
};

struct borrowed_list {
    struct borrowed *items;
    size_t count;
    size_t cap;
};

int borrowed_list_add(struct borrowed_list *list, size_t at, struct varve_slice bytes) MUST_CHECK;
void borrowed_list_deinit(struct borrowed_list *list);

struct varve_batch {
    struct buf ops; /* heads, keys, and the values that are copied */
    struct borrowed_list borrowed;
    uint32_t count;
    uint64_t size_bytes;    /* of keys and values */
    uint64_t memtable_cost; /* at most, once applied */
};

/* Walks the operations of a batch. */
struct batch_cursor {
    size_t at;
    size_t next_borrowed;
    struct varve_slice lead; /* the value of the last chunk: what was copied of it, */
    struct varve_slice tail; /* and what is borrowed */
};

/* Fills chunk; returns 0 at the end. chunk->value.data is NULL if only a part of the value is borrowed: cursor->lead
 * and cursor->tail are its bytes. */
int batch_next(const struct varve_batch *batch, struct batch_cursor *cursor, struct chunk *chunk);

#endif
