/* Stands on one entry of one decoded block, which it holds by a reference. Blocks come from the cache, or
 * from a window: bytes of adjacent blocks that one read brought. The window reaches in the direction of the
 * walk, over blocks that touch each other; value blocks between them end it, since who wants those reads
 * them by themselves. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rcu.h"
#include "segment/segment_impl.h"

#define READAHEAD_MAX_BYTES ((size_t)8 * 1024 * 1024)

struct segment_iter {
    struct iter iter; /* first */
    struct segment *segment;
    struct segment_read read;
    struct block *block; /* NULL: it stands nowhere */
    uint32_t block_no;
    uint32_t at;
    size_t readahead_bytes;
    uint8_t *window;
    size_t window_cap;
    uint32_t window_first; /* blocks [first, first + count) are in it */
    uint32_t window_count;
};

static struct segment_iter *walk_of(struct iter *iter)
{
    return CONTAINER_OF(iter, struct segment_iter, iter);
}

static void walk_let_go(struct segment_iter *walk)
{
    if (walk->block != NULL)
        cached_unref(&walk->block->cached);
    walk->block = NULL;
    walk->iter.valid = 0;
}

static void walk_fail(struct segment_iter *walk, int rc)
{
    walk_let_go(walk);
    walk->iter.rc = rc;
}

static void walk_reset(struct segment_iter *walk)
{
    walk_let_go(walk);
    walk->iter.rc = 0;
}

static uint64_t block_end(const struct segment_index *index, uint32_t i)
{
    return index->offsets[i] + index->lens[i] + BLOCK_TRAILER_BYTES;
}

/* Chooses the blocks around block i that one read is to bring, and makes room. */
static int window_plan(struct segment_iter *walk, uint32_t i, int backward)
{
    const struct segment_index *index = &walk->segment->index;
    uint32_t first = i;
    uint32_t last = i;

    while (backward && first > 0 && block_end(index, first - 1) == index->offsets[first] &&
           block_end(index, last) - index->offsets[first - 1] <= walk->readahead_bytes)
        first--;
    while (!backward && last + 1 < index->count &&
           block_end(index, last) == index->offsets[last + 1] &&
           block_end(index, last + 1) - index->offsets[first] <= walk->readahead_bytes)
        last++;
    walk->window_count = 0;
    size_t len = block_end(index, last) - index->offsets[first];
    if (len > walk->window_cap) {
        mem_free(walk->window);
        walk->window_cap = 0;
        walk->window = mem_alloc(len);
        if (walk->window == NULL)
            return segment_fail(
                walk->segment, index->offsets[i],
                err_set(&walk->iter.err, VARVE_ENOMEM, "no memory to read %zu bytes", len),
                &walk->iter.err);
        walk->window_cap = len;
    }
    walk->window_first = first;
    walk->window_count = last - first + 1;
    return 0;
}

/* Block i out of the window, which is read anew if it is not there. */
static int window_get(struct segment_iter *walk, uint32_t i, int backward, struct block **block)
{
    const struct segment_index *index = &walk->segment->index;
    int rc;

    if (i < walk->window_first || i - walk->window_first >= walk->window_count) {
        rc = window_plan(walk, i, backward);
        if (rc != 0)
            return rc;
        uint32_t last = walk->window_first + walk->window_count - 1;
        uint64_t offset = index->offsets[walk->window_first];
        rc = segment_read_bytes(walk->segment, walk->read.wait, walk->window,
                                block_end(index, last) - offset, offset, &walk->iter.err);
        if (rc != 0) {
            walk->window_count = 0;
            return rc;
        }
    }
    uint8_t *bytes = walk->window + (index->offsets[i] - index->offsets[walk->window_first]);
    return segment_decode(walk->segment, i, bytes, block, &walk->iter.err);
}

/* Block i with a reference, from the cache or the window. Inside rcu. */
static int walk_get_block(struct segment_iter *walk, uint32_t i, int backward, struct block **block)
{
    const struct segment *segment = walk->segment;

    struct cached *cached = segment_find_cached(segment, i);

    if (cached != NULL) {
        cached_ref(cached);
        *block = block_of(cached);
        return 0;
    }
    int rc = window_get(walk, i, backward, block);
    if (rc == 0 && segment->cache != NULL && !walk->read.no_fill)
        (void)cache_insert(segment->cache, &(*block)->cached);
    return rc;
}

/* Holds block i instead of what it held. 0, or the iterator failed. */
static int walk_load(struct segment_iter *walk, uint32_t i, int backward)
{
    struct block *block;

    rcu_enter();
    int rc = walk_get_block(walk, i, backward, &block);
    rcu_leave();
    if (rc != 0) {
        walk_fail(walk, rc);
        return rc;
    }
    walk_let_go(walk);
    walk->block = block;
    walk->block_no = i;
    return 0;
}

static void walk_show(struct segment_iter *walk, uint32_t at)
{
    walk->at = at;
    walk->iter.valid = 1;
    segment_entry(walk->segment, walk->block, at, &walk->iter.entry);
}

static void walk_to_first_of(struct segment_iter *walk, uint32_t i)
{
    if (i >= walk->segment->index.count)
        walk_let_go(walk);
    else if (walk_load(walk, i, 0) == 0)
        walk_show(walk, 0);
}

/* Of block i - 1, so that 0 is before the first. */
static void walk_to_last_before(struct segment_iter *walk, uint32_t i)
{
    if (i == 0)
        walk_let_go(walk);
    else if (walk_load(walk, i - 1, 1) == 0)
        walk_show(walk, walk->block->count - 1);
}

static void walk_first(struct iter *iter)
{
    walk_reset(walk_of(iter));
    walk_to_first_of(walk_of(iter), 0);
}

static void walk_last(struct iter *iter)
{
    struct segment_iter *walk = walk_of(iter);

    walk_reset(walk);
    walk_to_last_before(walk, walk->segment->index.count);
}

/* Holds the block that key belongs to. 1: there is one; 0: key is before all, or it failed. */
static int walk_find(struct segment_iter *walk, struct varve_slice key, int backward)
{
    uint32_t first;
    uint32_t last;

    walk_reset(walk);
    if (!segment_index_find(&walk->segment->index, key, &first, &last))
        return 0;
    if (first < last) {
        struct segment_hold hold;
        rcu_enter();
        int rc = segment_find_block(walk->segment, key, &walk->read, &first, &hold,
                                    &walk->iter.err);
        segment_hold_release(&hold);
        rcu_leave();
        if (rc != 0) {
            walk_fail(walk, rc);
            return 0;
        }
    }
    return walk_load(walk, first, backward) == 0;
}

static void walk_seek(struct iter *iter, struct varve_slice key)
{
    struct segment_iter *walk = walk_of(iter);

    if (!walk_find(walk, key, 0)) {
        if (iter->rc == 0)
            walk_to_first_of(walk, 0);
        return;
    }
    uint32_t at = block_seek(walk->block, key, 0);
    if (at < walk->block->count)
        walk_show(walk, at);
    else
        walk_to_first_of(walk, walk->block_no + 1);
}

static void walk_seek_prev(struct iter *iter, struct varve_slice key)
{
    struct segment_iter *walk = walk_of(iter);

    if (!walk_find(walk, key, 1))
        return;
    uint32_t at = block_seek(walk->block, key, 1);
    if (at > 0)
        walk_show(walk, at - 1);
    else
        walk_to_last_before(walk, walk->block_no);
}

static void walk_next(struct iter *iter)
{
    struct segment_iter *walk = walk_of(iter);

    CHECK(iter->valid);
    if (walk->at + 1 < walk->block->count)
        walk_show(walk, walk->at + 1);
    else
        walk_to_first_of(walk, walk->block_no + 1);
}

static void walk_prev(struct iter *iter)
{
    struct segment_iter *walk = walk_of(iter);

    CHECK(iter->valid);
    if (walk->at > 0)
        walk_show(walk, walk->at - 1);
    else
        walk_to_last_before(walk, walk->block_no);
}

static void walk_destroy(struct iter *iter)
{
    struct segment_iter *walk = walk_of(iter);

    walk_let_go(walk);
    segment_unref(walk->segment);
    mem_free(walk->window);
    mem_free(walk);
}

static const struct iter_ops walk_ops = {
    .first = walk_first,
    .last = walk_last,
    .seek = walk_seek,
    .seek_prev = walk_seek_prev,
    .next = walk_next,
    .prev = walk_prev,
    .destroy = walk_destroy,
};

struct iter *segment_iter_create(struct segment *segment, const struct segment_read *read,
                                 size_t readahead_bytes)
{
    struct segment_iter *walk = mem_alloc_zero(sizeof(*walk));

    if (walk == NULL)
        return NULL;
    walk->iter.ops = &walk_ops;
    walk->segment = segment_ref(segment);
    walk->read = *read;
    /* Who may not wait gets a block that is in memory even if the next one is not. */
    if (read->wait == SEGMENT_WAIT)
        walk->readahead_bytes = readahead_bytes < READAHEAD_MAX_BYTES ? readahead_bytes
                                                                      : READAHEAD_MAX_BYTES;
    return &walk->iter;
}
