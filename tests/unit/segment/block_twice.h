/* block_twice.h - one block read in both ways: block_decode() and block_walk.h must say the same. */
#ifndef TESTS_BLOCK_TWICE_H
#define TESTS_BLOCK_TWICE_H

#include "segment/block_walk.h"

/* Decodes the payload of a data block, walks it, and CHECKs that both take it, with the same entries in every
 * field, or that both refuse it. walk lives on from block to block, as a merge's does. Returns what
 * block_decode() did, *err is its, *walk_err the walk's. */
int block_twice(struct block_walk *walk, struct varve_slice payload, uint64_t value_limit,
                struct varve_err *err, struct varve_err *walk_err);

#endif
