/* Stands on one entry of one decoded block, which it holds by a reference. Blocks come from the cache, or
 * from a window: segment_window.c. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rcu.h"
#include "segment/segment_impl.h"
#include "segment/segment_stream.h"

struct segment_iter {
    struct iter iter; /* first */
    struct segment *segment;
    struct segment_read read;
    struct block *block; /* NULL: it stands nowhere */
    uint32_t block_no;
    uint32_t at;
    struct segment_window window;
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

/* Block i out of the window. */
static int window_get(struct segment_iter *walk, uint32_t i, int backward, struct block **block)
{
    struct varve_err *err = &walk->iter.err;
    uint8_t *bytes;
    int rc = segment_window_get(&walk->window, walk->segment, i, walk->read.wait, backward, &bytes,
                                err);

    *block = NULL;
    return rc == 0 ? segment_decode(walk->segment, i, bytes, block, err) : rc;
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
    segment_window_deinit(&walk->window);
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
    if (read->forward)
        return stream_iter_create(segment, readahead_bytes);
    struct segment_iter *walk = mem_alloc_zero(sizeof(*walk));
    if (walk == NULL)
        return NULL;
    walk->iter.ops = &walk_ops;
    walk->segment = segment_ref(segment);
    walk->read = *read;
    /* Who may not wait gets a block that is in memory even if the next one is not. */
    if (read->wait == SEGMENT_WAIT)
        walk->window.readahead_bytes = readahead_bytes;
    return &walk->iter;
}
