/* segment_stream.h - a segment's data blocks one after the other, read in large pieces and walked without
 * being decoded: block_walk.h. Past the cache. For what reads all of it: merges, segment_verify(). */
#ifndef SEGMENT_SEGMENT_STREAM_H
#define SEGMENT_SEGMENT_STREAM_H

#include "segment/block_walk.h"
#include "segment/segment_impl.h"

struct segment_stream {
    const struct segment *segment; /* borrowed */
    struct segment_window window;
    struct buf scratch; /* of a block that was compressed */
    struct block_walk walk;
    uint32_t block_no;
    /* The block's bytes in the file and what they hold; live until the next one is loaded. */
    struct varve_slice stored;
    uint8_t compression;
    struct varve_slice payload;
};

void segment_stream_init(struct segment_stream *stream, const struct segment *segment,
                         size_t readahead_bytes);
/* Goes on with another segment: segment_stream_load() is next. */
void segment_stream_enter(struct segment_stream *stream, const struct segment *segment);
void segment_stream_deinit(struct segment_stream *stream);
/* Stands before the first entry of data block i. Errors name file and offset. Blocks. */
int segment_stream_load(struct segment_stream *stream, uint32_t i,
                        struct varve_err *err) MUST_CHECK;
/* The block's next entry, as block_walk_next(); then stream->walk.entry is it. */
int segment_stream_next(struct segment_stream *stream, struct varve_err *err) MUST_CHECK;

/* Of run_iter_create() with read.forward: takes what that one takes; count > 0. */
struct iter *stream_iter_create(struct segment *const *segments, size_t count,
                                size_t readahead_bytes);

#endif
