/* salvage_blocks.h - finds the blocks of a segment whose index cannot be read. One thread. */
#ifndef VARVE_TOOL_SALVAGE_BLOCKS_H
#define VARVE_TOOL_SALVAGE_BLOCKS_H

#include <stdint.h>

#include "base/check.h"
#include "segment/segment_impl.h"

#define BLOCK_UNREADABLE 0 /* in place of an enum block_kind */

struct found_block {
    uint64_t offset;
    uint64_t len; /* of the payload; of an unreadable stretch all of it */
    int kind;     /* enum block_kind or BLOCK_UNREADABLE */
};

struct found_blocks {
    struct found_block *items; /* in the order of the file; owned */
    size_t count;
    size_t cap;
};

int found_blocks_add(struct found_blocks *blocks, uint64_t offset, uint64_t len,
                     int kind) MUST_CHECK;
void found_blocks_deinit(struct found_blocks *blocks);

/* Reads the file from behind its header on, up to a property block or its end. segment has its env, file,
 * path, salt and size. 0, or VARVE_ENOMEM. */
int salvage_find_blocks(const struct segment *segment, struct found_blocks *blocks,
                        struct varve_err *err) MUST_CHECK;

#endif
