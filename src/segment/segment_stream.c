#include "segment/segment_stream.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/thread.h"

void segment_stream_init(struct segment_stream *stream, const struct segment *segment,
                         size_t readahead_bytes)
{
    *stream = (struct segment_stream){
        .segment = segment,
        .window = {.readahead_bytes = readahead_bytes, .next_bytes = readahead_bytes},
    };
    buf_init(&stream->scratch, SCRATCH_MAX_BYTES);
    block_walk_init(&stream->walk);
}

void segment_stream_enter(struct segment_stream *stream, const struct segment *segment)
{
    stream->segment = segment;
    stream->window.count = 0;
}

void segment_stream_deinit(struct segment_stream *stream)
{
    segment_window_deinit(&stream->window);
    buf_deinit(&stream->scratch);
    block_walk_deinit(&stream->walk);
}

int segment_stream_load(struct segment_stream *stream, uint32_t i, struct varve_err *err)
{
    const struct segment *segment = stream->segment;
    uint64_t offset = segment->index.offsets[i];
    uint8_t *bytes;
    int rc = segment_window_get(&stream->window, segment, i, SEGMENT_WAIT, 0, &bytes, err);

    stream->block_no = i;
    thread_give_way();
    if (rc != 0)
        return rc;
    stream->stored = varve_slice(bytes, segment->index.lens[i]);
    stream->compression = block_compression(bytes + stream->stored.len);
    rc = block_open(bytes, stream->stored.len, segment->salt, offset, BLOCK_DATA, &stream->scratch,
                    &stream->payload, err);
    if (rc == 0)
        rc = block_walk_begin(&stream->walk, stream->payload, offset, err);
    return rc == 0 ? 0 : segment_fail(segment, offset, rc, err);
}

int segment_stream_next(struct segment_stream *stream, struct varve_err *err)
{
    struct entry *entry = &stream->walk.entry;
    int rc = block_walk_next(&stream->walk, err);

    if (UNLIKELY(rc < 0))
        return segment_fail(stream->segment, stream->segment->index.offsets[stream->block_no], rc,
                            err);
    if (rc > 0 && entry_value_apart(entry))
        entry->value_segment = stream->segment;
    return rc;
}

/* ---- as an iterator over a run ---- */

struct stream_iter {
    struct iter iter; /* first */
    struct segment *const *segments;
    size_t count;
    size_t at; /* the segment that the stream is in */
    struct segment_stream stream;
    struct iter_block block; /* of stream_block() */
};

static struct stream_iter *walk_of(struct iter *iter)
{
    return CONTAINER_OF(iter, struct stream_iter, iter);
}

/* Loads block i of the stream's segment, or the first block of a segment behind it. 0: there is none. */
static int walk_load(struct stream_iter *walk, uint32_t i)
{
    while (i >= walk->segments[walk->at]->index.count) {
        if (walk->at + 1 == walk->count)
            return 0;
        segment_stream_enter(&walk->stream, walk->segments[++walk->at]);
        i = 0;
    }
    int rc = segment_stream_load(&walk->stream, i, &walk->iter.err);
    return rc == 0 ? 1 : rc;
}

/* The entry that the stream comes to next, over the ends of blocks. */
static void walk_on(struct stream_iter *walk)
{
    struct segment_stream *stream = &walk->stream;
    struct iter *iter = &walk->iter;
    int rc = segment_stream_next(stream, &iter->err);

    while (rc == 0) {
        rc = walk_load(walk, stream->block_no + 1);
        if (rc <= 0)
            break;
        rc = segment_stream_next(stream, &iter->err);
    }
    iter->valid = rc > 0;
    iter->rc = rc < 0 ? rc : 0;
    if (rc > 0)
        iter->entry = stream->walk.entry;
}

static void walk_from(struct stream_iter *walk, size_t at, uint32_t i)
{
    struct iter *iter = &walk->iter;

    iter->valid = 0;
    iter->rc = 0;
    if (at == walk->count)
        return;
    walk->at = at;
    segment_stream_enter(&walk->stream, walk->segments[at]);
    int rc = walk_load(walk, i);
    if (rc > 0)
        walk_on(walk);
    else
        iter->rc = rc;
}

static void stream_first(struct iter *iter)
{
    walk_from(walk_of(iter), 0, 0);
}

/* Of the blocks that the key may lie in the first, and on from there. */
static void stream_seek(struct iter *iter, struct varve_slice key)
{
    struct stream_iter *walk = walk_of(iter);
    size_t at = segment_find_in_run(walk->segments, walk->count, key);
    uint32_t first = 0;
    uint32_t last;

    if (at < walk->count && !segment_index_find(&walk->segments[at]->index, key, &first, &last))
        first = 0;
    walk_from(walk, at, first);
    while (iter->valid && varve_slice_compare(iter->entry.chunk.key, key) < 0)
        walk_on(walk);
}

static void stream_next(struct iter *iter)
{
    CHECK(iter->valid);
    walk_on(walk_of(iter));
}

/* All keys of the block are smaller; empty: not known. */
static struct varve_slice block_upper(const struct segment *segment, uint32_t i)
{
    if (i + 1 == segment->index.count)
        return segment_bound_slice(&segment->properties.upper);
    struct varve_slice separator = segment_index_key(&segment->index, i + 1);
    /* One that was cut may begin keys of the block before it, too. */
    return varve_slice(separator.data, separator.len < INDEX_KEY_MAX_BYTES ? separator.len : 0);
}

static const struct iter_block *stream_block(struct iter *iter)
{
    struct stream_iter *walk = walk_of(iter);
    const struct segment_stream *stream = &walk->stream;

    if (LIKELY(stream->walk.left + 1 != stream->walk.parse.count))
        return NULL;
    walk->block = (struct iter_block){
        .payload = stream->payload,
        .stored = stream->stored,
        .compression = stream->compression,
        .count = stream->walk.parse.count,
        .first = iter->entry.chunk.key,
        .upper = block_upper(stream->segment, stream->block_no),
    };
    return walk->block.upper.len > 0 ? &walk->block : NULL;
}

static void stream_skip_block(struct iter *iter)
{
    struct stream_iter *walk = walk_of(iter);
    int rc = walk_load(walk, walk->stream.block_no + 1);

    iter->valid = 0;
    iter->rc = rc < 0 ? rc : 0;
    if (rc > 0)
        walk_on(walk);
}

/* What a stream cannot do. */
static void stream_turn(struct iter *iter)
{
    CHECK(iter == NULL);
}

static void stream_turn_to(struct iter *iter, struct varve_slice key)
{
    (void)key;
    CHECK(iter == NULL);
}

static void stream_destroy(struct iter *iter)
{
    struct stream_iter *walk = walk_of(iter);

    segment_stream_deinit(&walk->stream);
    mem_free(walk);
}

static const struct iter_ops stream_ops = {
    .first = stream_first,
    .last = stream_turn,
    .seek = stream_seek,
    .seek_prev = stream_turn_to,
    .next = stream_next,
    .prev = stream_turn,
    .block = stream_block,
    .skip_block = stream_skip_block,
    .destroy = stream_destroy,
};

struct iter *stream_iter_create(struct segment *const *segments, size_t count,
                                size_t readahead_bytes)
{
    struct stream_iter *walk = mem_alloc_zero(sizeof(*walk));

    if (walk == NULL)
        return NULL;
    CHECK(count > 0);
    walk->iter.ops = &stream_ops;
    walk->segments = segments;
    walk->count = count;
    segment_stream_init(&walk->stream, segments[0], readahead_bytes);
    return &walk->iter;
}
