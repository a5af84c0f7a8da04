/* Bytes of adjacent blocks that one read brought. The window reaches in the direction of the walk, over
 * blocks that touch each other; value blocks between them end it, since who wants those reads them by
 * themselves. Each read brings twice as much as the one before, up to what the caller allowed. The file is open
 * for reads here and there (VARVE_OPEN_RANDOM): so who walks up says what comes next, and finds it in memory. */
#include "base/err.h"
#include "base/mem.h"
#include "segment/segment_impl.h"

#define READAHEAD_MIN_BYTES ((size_t)16 * 1024)
#define READAHEAD_MAX_BYTES ((size_t)8 * 1024 * 1024)

static uint64_t block_end(const struct segment_index *index, uint32_t i)
{
    return index->offsets[i] + index->lens[i] + BLOCK_TRAILER_BYTES;
}

/* Chooses the blocks around block i that one read is to bring, and makes room. */
static int window_plan(struct segment_window *window, const struct segment *segment, uint32_t i,
                       int backward, struct varve_err *err)
{
    const struct segment_index *index = &segment->index;
    size_t reach = window->next_bytes;
    uint32_t first = i;
    uint32_t last = i;

    while (backward && first > 0 && block_end(index, first - 1) == index->offsets[first] &&
           block_end(index, last) - index->offsets[first - 1] <= reach)
        first--;
    while (!backward && last + 1 < index->count &&
           block_end(index, last) == index->offsets[last + 1] &&
           block_end(index, last + 1) - index->offsets[first] <= reach)
        last++;
    window->count = 0;
    size_t len = block_end(index, last) - index->offsets[first];
    if (len > window->cap) {
        mem_free(window->bytes);
        window->cap = 0;
        window->bytes = mem_alloc(len);
        if (window->bytes == NULL)
            return segment_fail(segment, index->offsets[i],
                                err_set(err, VARVE_ENOMEM, "no memory to read %zu bytes", len),
                                err);
        window->cap = len;
    }
    window->first = first;
    window->count = last - first + 1;
    return 0;
}

static void window_grow(struct segment_window *window)
{
    size_t next = 2 * window->next_bytes;
    size_t max = window->readahead_bytes < READAHEAD_MAX_BYTES ? window->readahead_bytes
                                                               : READAHEAD_MAX_BYTES;

    if (next < READAHEAD_MIN_BYTES)
        next = READAHEAD_MIN_BYTES;
    window->next_bytes = next < max ? next : max;
}

/* The bytes behind `end` come while what was read is looked at. */
static void window_announce(const struct segment_window *window, const struct segment *segment,
                            uint64_t end)
{
    uint64_t left = segment->data_end - end;
    uint64_t len = window->next_bytes < left ? window->next_bytes : left;

    if (len > READAHEAD_MIN_BYTES)
        segment->env->ops->read_ahead(segment->env, segment->file, end, len);
}

int segment_window_get(struct segment_window *window, const struct segment *segment, uint32_t i,
                       enum segment_wait wait, int backward, uint8_t **bytes, struct varve_err *err)
{
    const struct segment_index *index = &segment->index;
    int rc;

    *bytes = NULL;
    if (i < window->first || i - window->first >= window->count) {
        rc = window_plan(window, segment, i, backward, err);
        if (rc != 0)
            return rc;
        window_grow(window);
        uint64_t offset = index->offsets[window->first];
        uint64_t end = block_end(index, window->first + window->count - 1);
        rc = segment_read_bytes(segment, wait, window->bytes, end - offset, offset, err);
        if (rc != 0) {
            window->count = 0;
            return rc;
        }
        if (wait == SEGMENT_WAIT && !backward)
            window_announce(window, segment, end);
    }
    *bytes = window->bytes + (index->offsets[i] - index->offsets[window->first]);
    return 0;
}

void segment_window_deinit(struct segment_window *window)
{
    mem_free(window->bytes);
    *window = (struct segment_window){0};
}
