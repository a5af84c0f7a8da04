/* iter.h - the one walk over entries: a memtable, a segment, a run and a merge all have it, so that a
 * scan and a compaction are the same loop. Order: by key, of one key the newest first; prev() walks the
 * same order backwards. One owner, one thread. */
#ifndef SEGMENT_ITER_H
#define SEGMENT_ITER_H

#include "base/check.h"
#include "segment/chunk.h"
#include "varve/status.h"

struct iter;

/* A data block, on whose first entry an iterator stands, as it lies in its segment; its CRC was checked. All
 * borrowed until the iterator's next move. */
struct iter_block {
    struct varve_slice payload; /* not compressed: for block_walk.h */
    struct varve_slice stored;  /* the same, as it lies in the file */
    uint8_t compression;        /* of it: the trailer's byte */
    uint32_t count;             /* entries */
    struct varve_slice first;   /* the key of the first one */
    struct varve_slice upper;   /* all its keys are smaller; not empty */
};

struct iter_ops {
    void (*first)(struct iter *iter);
    void (*last)(struct iter *iter);
    void (*seek)(struct iter *iter, struct varve_slice key);      /* first entry with key >= key */
    void (*seek_prev)(struct iter *iter, struct varve_slice key); /* last entry with key <= key */
    /* seek_prev() if backward, else seek(); but where it would wait for the disk it asks for what it needs and
     * fails with VARVE_WOULD_BLOCK. Missing: the others do. */
    void (*ask)(struct iter *iter, struct varve_slice key, int backward);
    void (*next)(struct iter *iter); /* of a valid one */
    void (*prev)(struct iter *iter);
    /* Of a valid one: the block whose entries all come next, with nothing between them and none of them seen
     * yet; NULL: there is none. skip_block() goes on behind it. Both may be missing. */
    const struct iter_block *(*block)(struct iter *iter);
    void (*skip_block)(struct iter *iter);
    void (*destroy)(struct iter *iter);
};

/* The first member of each implementation. Not valid: at an end, or rc says why. */
struct iter {
    const struct iter_ops *ops;
    int valid;
    int rc; /* 0 or negative; VARVE_WOULD_BLOCK */
    struct entry
        entry; /* of a valid one; the key, and a value in place, live until the next move */
    struct varve_err err;
};

static inline void iter_destroy(struct iter *iter)
{
    if (iter != NULL)
        iter->ops->destroy(iter);
}

#endif
