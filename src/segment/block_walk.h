/* block_walk.h - a data block's entries once, in their order, without its flat form: for who reads all of it
 * and never again, as merges and segment_verify() do. Checks what block_decode() checks. The key is put
 * together in one buffer that all blocks use, the value stays where it lies. One owner, one thread. */
#ifndef SEGMENT_BLOCK_WALK_H
#define SEGMENT_BLOCK_WALK_H

#include "base/buf.h"
#include "segment/block_parse.h"

struct block_walk {
    struct block_parse parse;
    uint32_t left; /* entries to come */
    int any;       /* there was one in this block */
    int same_key;  /* the entry is an older version of the key of the one before it in this block */
    struct buf key; /* of the entry */
    uint64_t last_seq;
    struct entry entry; /* its slices live until the next call; value_segment is left NULL */
};

void block_walk_init(struct block_walk *walk);
void block_walk_deinit(struct block_walk *walk);
/* Stands before the first entry of payload, which is borrowed. What goes for errors: block_decode(). */
int block_walk_begin(struct block_walk *walk, struct varve_slice payload, uint64_t value_limit,
                     struct varve_err *err) MUST_CHECK;
/* 1: walk->entry is the next one; 0: there is none; VARVE_ECORRUPT, VARVE_ENOMEM. */
int block_walk_next(struct block_walk *walk, struct varve_err *err) MUST_CHECK;

#endif
