/* One segment's iterator at a time. A segment without puts and deletes (range tombstones only) is
 * stepped over. */
#include "base/err.h"
#include "base/mem.h"
#include "segment/segment.h"

struct run_iter {
    struct iter iter; /* first */
    struct segment_read read;
    size_t readahead_bytes;
    size_t count;
    size_t at;            /* the segment that current walks */
    struct iter *current; /* NULL: it stands nowhere */
    struct segment *segments[];
};

static struct run_iter *run_of(struct iter *iter)
{
    return CONTAINER_OF(iter, struct run_iter, iter);
}

static void run_reset(struct run_iter *run)
{
    run->iter.valid = 0;
    run->iter.rc = 0;
}

/* Makes current the iterator of segment `at`. 0, or the iterator failed. */
static int run_stand(struct run_iter *run, size_t at)
{
    if (run->current != NULL && run->at == at)
        return 0;
    iter_destroy(run->current);
    run->at = at;
    run->current = segment_iter_create(run->segments[at], &run->read, run->readahead_bytes);
    if (run->current != NULL)
        return 0;
    run->iter.valid = 0;
    run->iter.rc = err_set(&run->iter.err, VARVE_ENOMEM, "no memory to walk a segment");
    return run->iter.rc;
}

/* Shows where current stands. 1: it is at its end. */
static int run_show(struct run_iter *run)
{
    const struct iter *current = run->current;

    run->iter.valid = current->valid;
    if (LIKELY(current->valid)) {
        run->iter.entry = current->entry;
        return 0;
    }
    if (current->rc == 0)
        return 1;
    run->iter.rc = current->rc;
    run->iter.err = current->err;
    return 0;
}

/* The first entry of segment `at` or of one behind it. */
static void run_first_from(struct run_iter *run, size_t at)
{
    for (; at < run->count; at++) {
        if (run_stand(run, at) != 0)
            return;
        run->current->ops->first(run->current);
        if (!run_show(run))
            return;
    }
}

/* The last entry of the segments before `at`. */
static void run_last_before(struct run_iter *run, size_t at)
{
    while (at-- > 0) {
        if (run_stand(run, at) != 0)
            return;
        run->current->ops->last(run->current);
        if (!run_show(run))
            return;
    }
}

static void run_first(struct iter *iter)
{
    run_reset(run_of(iter));
    run_first_from(run_of(iter), 0);
}

static void run_last(struct iter *iter)
{
    run_reset(run_of(iter));
    run_last_before(run_of(iter), run_of(iter)->count);
}

/* The first segment that key is below the upper bound of; count: there is none. */
static size_t run_find(const struct run_iter *run, struct varve_slice key)
{
    size_t low = 0;
    size_t high = run->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct properties *properties = segment_properties(run->segments[middle]);
        if (segment_below_upper(key, segment_bound_slice(&properties->upper)))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void run_seek(struct iter *iter, struct varve_slice key)
{
    struct run_iter *run = run_of(iter);
    size_t at = run_find(run, key);

    run_reset(run);
    if (at == run->count || run_stand(run, at) != 0)
        return;
    run->current->ops->seek(run->current, key);
    if (run_show(run))
        run_first_from(run, at + 1);
}

static void run_seek_prev(struct iter *iter, struct varve_slice key)
{
    struct run_iter *run = run_of(iter);
    size_t at = run_find(run, key);

    run_reset(run);
    if (at == run->count) {
        run_last_before(run, at);
        return;
    }
    if (run_stand(run, at) != 0)
        return;
    run->current->ops->seek_prev(run->current, key);
    if (run_show(run))
        run_last_before(run, at);
}

static void run_next(struct iter *iter)
{
    struct run_iter *run = run_of(iter);

    CHECK(iter->valid);
    run->current->ops->next(run->current);
    if (run_show(run))
        run_first_from(run, run->at + 1);
}

static void run_prev(struct iter *iter)
{
    struct run_iter *run = run_of(iter);

    CHECK(iter->valid);
    run->current->ops->prev(run->current);
    if (run_show(run))
        run_last_before(run, run->at);
}

static void run_destroy(struct iter *iter)
{
    struct run_iter *run = run_of(iter);

    iter_destroy(run->current);
    for (size_t i = 0; i < run->count; i++)
        segment_unref(run->segments[i]);
    mem_free(run);
}

static const struct iter_ops run_ops = {
    .first = run_first,
    .last = run_last,
    .seek = run_seek,
    .seek_prev = run_seek_prev,
    .next = run_next,
    .prev = run_prev,
    .destroy = run_destroy,
};

struct iter *run_iter_create(struct segment *const *segments, size_t count,
                             const struct segment_read *read, size_t readahead_bytes)
{
    struct run_iter *run = mem_alloc_zero(sizeof(*run) + count * sizeof(run->segments[0]));

    if (run == NULL)
        return NULL;
    run->iter.ops = &run_ops;
    run->read = *read;
    run->readahead_bytes = readahead_bytes;
    run->count = count;
    for (size_t i = 0; i < count; i++)
        run->segments[i] = segment_ref(segments[i]);
    return &run->iter;
}
