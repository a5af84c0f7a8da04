/* Walks a run: the segments one after the other, of each the blocks. Stands on one entry of one decoded block,
 * which it holds by a reference. Blocks come from the cache, or from a window: segment_window.c. Who seeks may
 * want a few entries only, so the first read brings one block. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rcu.h"
#include "segment/segment_impl.h"
#include "segment/segment_stream.h"

struct run_iter {
    struct iter iter; /* first */
    struct segment *const *segments;
    size_t count;
    struct segment *only; /* of segment_iter_create(): a reference, and all of the run */
    struct segment_read read;
    size_t at;               /* the segment that it stands in */
    struct segment *segment; /* segments[at] */
    struct block *block;     /* NULL: it stands nowhere */
    uint32_t block_no;
    uint32_t entry_no;
    struct segment_window window; /* of that segment */
};

static struct run_iter *walk_of(struct iter *iter)
{
    return CONTAINER_OF(iter, struct run_iter, iter);
}

static void walk_let_go(struct run_iter *walk)
{
    if (walk->block != NULL)
        cached_unref(&walk->block->cached);
    walk->block = NULL;
    walk->iter.valid = 0;
}

static void walk_fail(struct run_iter *walk, int rc)
{
    walk_let_go(walk);
    walk->iter.rc = rc;
}

static void walk_reset(struct run_iter *walk)
{
    walk_let_go(walk);
    walk->iter.rc = 0;
    walk->window.next_bytes = 0;
}

/* Block i out of the window. */
static int window_get(struct run_iter *walk, uint32_t i, int backward, struct block **block)
{
    struct varve_err *err = &walk->iter.err;
    uint8_t *bytes;
    int rc = segment_window_get(&walk->window, walk->segment, i, walk->read.wait, backward, &bytes,
                                err);

    *block = NULL;
    return rc == 0 ? segment_decode(walk->segment, i, bytes, block, err) : rc;
}

/* Block i with a reference, from the cache or the window. Inside rcu. */
static int walk_get_block(struct run_iter *walk, uint32_t i, int backward, struct block **block)
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

static void walk_enter_segment(struct run_iter *walk, size_t at)
{
    walk->window.count = 0;
    walk->at = at;
    walk->segment = walk->segments[at];
}

/* Holds block i of segment `at` instead of what it held. 0, or the iterator failed. */
static int walk_load(struct run_iter *walk, size_t at, uint32_t i, int backward)
{
    struct block *block;

    if (walk->segment == NULL || walk->at != at)
        walk_enter_segment(walk, at);
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

static inline void walk_show(struct run_iter *walk, uint32_t entry_no)
{
    walk->entry_no = entry_no;
    walk->iter.valid = 1;
    segment_entry(walk->segment, walk->block, entry_no, &walk->iter.entry);
}

/* To the first entry from block i of segment `at` on. A segment may have none: range tombstones only. */
static void walk_up_from(struct run_iter *walk, size_t at, uint32_t i)
{
    for (; at < walk->count; at++, i = 0) {
        if (i == walk->segments[at]->index.count)
            continue;
        if (walk_load(walk, at, i, 0) == 0)
            walk_show(walk, 0);
        return;
    }
    walk_let_go(walk);
}

/* To the last entry before block i of segment `at`. */
static void walk_down_from(struct run_iter *walk, size_t at, uint32_t i)
{
    while (i == 0 && at > 0)
        i = walk->segments[--at]->index.count;
    if (i == 0)
        walk_let_go(walk);
    else if (walk_load(walk, at, i - 1, 1) == 0)
        walk_show(walk, walk->block->count - 1);
}

static void walk_first(struct iter *iter)
{
    walk_reset(walk_of(iter));
    walk_up_from(walk_of(iter), 0, 0);
}

static void walk_last(struct iter *iter)
{
    walk_reset(walk_of(iter));
    walk_down_from(walk_of(iter), walk_of(iter)->count, 0);
}

size_t segment_find_in_run(struct segment *const *segments, size_t count, struct varve_slice key)
{
    size_t low = 0;
    size_t high = count == 1 ? 0 : count; /* of one the index says it */

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct properties *properties = segment_properties(segments[middle]);
        if (segment_below_upper(key, segment_bound_slice(&properties->upper)))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Holds the block of segment `at` that key belongs to. 1: there is one; 0: key is before all, or it failed. */
static int walk_find_block(struct run_iter *walk, size_t at, struct varve_slice key, int backward)
{
    struct segment *segment = walk->segments[at];
    uint32_t first;
    uint32_t last;

    if (!segment_index_find(&segment->index, key, &first, &last))
        return 0;
    if (first < last) {
        struct segment_hold hold;
        rcu_enter();
        int rc = segment_find_block(segment, key, &walk->read, &first, &hold, &walk->iter.err);
        segment_hold_release(&hold);
        rcu_leave();
        if (rc != 0) {
            walk_fail(walk, rc);
            return 0;
        }
    }
    return walk_load(walk, at, first, backward) == 0;
}

static void walk_seek(struct iter *iter, struct varve_slice key)
{
    struct run_iter *walk = walk_of(iter);
    size_t at = segment_find_in_run(walk->segments, walk->count, key);

    walk_reset(walk);
    if (at == walk->count)
        return;
    if (!walk_find_block(walk, at, key, 0)) {
        if (iter->rc == 0)
            walk_up_from(walk, at, 0);
        return;
    }
    uint32_t i = block_seek(walk->block, key, 0);
    if (i < walk->block->count)
        walk_show(walk, i);
    else
        walk_up_from(walk, at, walk->block_no + 1);
}

static void walk_seek_prev(struct iter *iter, struct varve_slice key)
{
    struct run_iter *walk = walk_of(iter);
    size_t at = segment_find_in_run(walk->segments, walk->count, key);

    walk_reset(walk);
    if (at == walk->count || !walk_find_block(walk, at, key, 1)) {
        if (iter->rc == 0)
            walk_down_from(walk, at, 0);
        return;
    }
    uint32_t i = block_seek(walk->block, key, 1);
    if (i > 0)
        walk_show(walk, i - 1);
    else
        walk_down_from(walk, at, walk->block_no);
}

static void walk_ask(struct iter *iter, struct varve_slice key, int backward)
{
    struct run_iter *walk = walk_of(iter);

    walk->read.wait = SEGMENT_NO_WAIT;
    if (backward)
        walk_seek_prev(iter, key);
    else
        walk_seek(iter, key);
    walk->read.wait = SEGMENT_WAIT;
}

static void walk_next(struct iter *iter)
{
    struct run_iter *walk = walk_of(iter);

    CHECK(iter->valid);
    if (LIKELY(walk->entry_no + 1 < walk->block->count))
        walk_show(walk, walk->entry_no + 1);
    else
        walk_up_from(walk, walk->at, walk->block_no + 1);
}

static void walk_prev(struct iter *iter)
{
    struct run_iter *walk = walk_of(iter);

    CHECK(iter->valid);
    if (LIKELY(walk->entry_no > 0))
        walk_show(walk, walk->entry_no - 1);
    else
        walk_down_from(walk, walk->at, walk->block_no);
}

static void walk_destroy(struct iter *iter)
{
    struct run_iter *walk = walk_of(iter);

    walk_let_go(walk);
    segment_unref(walk->only);
    segment_window_deinit(&walk->window);
    mem_free(walk);
}

static const struct iter_ops walk_ops = {
    .first = walk_first,
    .last = walk_last,
    .seek = walk_seek,
    .seek_prev = walk_seek_prev,
    .ask = walk_ask,
    .next = walk_next,
    .prev = walk_prev,
    .destroy = walk_destroy,
};

static const struct iter_ops walk_ops_no_wait = {
    .first = walk_first,
    .last = walk_last,
    .seek = walk_seek,
    .seek_prev = walk_seek_prev,
    .next = walk_next,
    .prev = walk_prev,
    .destroy = walk_destroy,
};

struct iter *run_iter_create(struct segment *const *segments, size_t count,
                             const struct segment_read *read, size_t readahead_bytes)
{
    if (read->forward)
        return stream_iter_create(segments, count, readahead_bytes);
    struct run_iter *walk = mem_alloc_zero(sizeof(*walk));
    if (walk == NULL)
        return NULL;
    walk->iter.ops = read->wait == SEGMENT_WAIT ? &walk_ops : &walk_ops_no_wait;
    walk->segments = segments;
    walk->count = count;
    walk->read = *read;
    /* Who may not wait gets a block that is in memory even if the next one is not. */
    if (read->wait == SEGMENT_WAIT)
        walk->window.readahead_bytes = readahead_bytes;
    return &walk->iter;
}

struct iter *segment_iter_create(struct segment *segment, const struct segment_read *read,
                                 size_t readahead_bytes)
{
    CHECK(!read->forward);
    struct iter *iter = run_iter_create(NULL, 1, read, readahead_bytes);
    if (iter == NULL)
        return NULL;
    walk_of(iter)->only = segment_ref(segment);
    walk_of(iter)->segments = &walk_of(iter)->only;
    return iter;
}
