#include "base/err.h"
#include "base/mem.h"
#include "segment/segment_impl.h"

int segment_fail(const struct segment *segment, uint64_t offset, int rc, struct varve_err *err)
{
    return err_wrap(err, rc, "%s: offset %llu", segment->path, (unsigned long long)offset);
}

int segment_read_bytes(const struct segment *segment, enum segment_wait wait, void *to, size_t len,
                       uint64_t offset, struct varve_err *err)
{
    const struct varve_env_ops *ops = segment->env->ops;
    size_t got = 0;
    int rc;

    if (wait == SEGMENT_NO_WAIT)
        rc = ops->read_at_nowait(segment->env, segment->file, to, len, offset, &got, err);
    else
        rc = ops->read_at(segment->env, segment->file, to, len, offset, &got, err);
    if (rc == VARVE_WOULD_BLOCK)
        return rc;
    if (rc == 0 && got < len)
        rc = err_set(err, VARVE_ECORRUPT, "the file ends %zu bytes too early", len - got);
    if (rc != 0)
        return segment_fail(segment, offset, rc, err);
    atomic_fetch_add_explicit(segment->block_reads, 1, memory_order_relaxed);
    return 0;
}

int segment_decode(const struct segment *segment, uint32_t i, uint8_t *bytes, struct block **block,
                   struct varve_err *err)
{
    uint64_t offset = segment->index.offsets[i];
    struct varve_slice payload;
    struct buf scratch;
    int rc;

    *block = NULL;
    buf_init(&scratch, SCRATCH_MAX_BYTES);
    rc = block_open(bytes, segment->index.lens[i], segment->salt, offset, BLOCK_DATA, &scratch,
                    &payload, err);
    if (rc == 0)
        rc = block_decode(payload, BLOCK_DATA, offset, block, err);
    buf_deinit(&scratch);
    if (rc == 0 && (*block)->count == 0) {
        cached_unref(&(*block)->cached);
        *block = NULL;
        rc = err_set(err, VARVE_ECORRUPT, "a data block without entries");
    }
    if (rc != 0)
        return segment_fail(segment, offset, rc, err);
    (*block)->cached.owner = segment->owner;
    (*block)->cached.offset = offset;
    (*block)->cached.slot = segment->slots == NULL ? NULL : segment->slots + i;
    return 0;
}

int segment_read_block(const struct segment *segment, uint32_t i, enum segment_wait wait,
                       struct block **block, struct varve_err *err)
{
    uint64_t offset = segment->index.offsets[i];
    size_t len = (size_t)segment->index.lens[i] + BLOCK_TRAILER_BYTES;
    uint8_t *bytes = mem_alloc(len);
    int rc;

    *block = NULL;
    if (bytes == NULL)
        return segment_fail(segment, offset,
                            err_set(err, VARVE_ENOMEM, "no memory for a block of %zu bytes", len),
                            err);
    rc = segment_read_bytes(segment, wait, bytes, len, offset, err);
    if (rc == 0)
        rc = segment_decode(segment, i, bytes, block, err);
    mem_free(bytes);
    return rc;
}

int segment_get_block(const struct segment *segment, uint32_t i, const struct segment_read *read,
                      struct segment_hold *hold, struct varve_err *err)
{
    struct block *block;

    *hold = (struct segment_hold){0};
    hold->cached = segment_find_cached(segment, i);
    if (hold->cached != NULL)
        return 0;
    int rc = segment_read_block(segment, i, read->wait, &block, err);
    if (rc != 0)
        return rc;
    hold->cached = &block->cached;
    hold->counted = 1;
    hold->fetched = 1;
    if (segment->cache != NULL && !read->no_fill && cache_insert(segment->cache, &block->cached)) {
        cached_unref(&block->cached); /* the cache's own, and rcu, keep it */
        hold->counted = 0;
    }
    return 0;
}

int segment_find_block(const struct segment *segment, struct varve_slice key,
                       const struct segment_read *read, uint32_t *i, struct segment_hold *hold,
                       struct varve_err *err)
{
    uint32_t first;
    uint32_t last;
    int rc = 0;

    *hold = (struct segment_hold){0};
    *i = 0;
    if (!segment_index_find(&segment->index, key, &first, &last))
        return VARVE_NOT_FOUND;
    /* Of several, the blocks behind `first` are asked for their first keys. */
    while (first < last) {
        uint32_t middle = first + (last - first + 1) / 2;
        rc = segment_get_block(segment, middle, read, hold, err);
        if (rc != 0)
            return rc;
        if (varve_slice_compare(block_key(block_of(hold->cached), 0), key) <= 0) {
            first = middle;
            if (first == last) {
                *i = first;
                return 0;
            }
        } else {
            last = middle - 1;
        }
        segment_hold_release(hold);
    }
    *i = first;
    return segment_get_block(segment, first, read, hold, err);
}

void segment_entry(const struct segment *segment, const struct block *block, uint32_t i,
                   struct entry *entry)
{
    block_entry(block, i, entry);
    if (entry_value_apart(entry))
        entry->value_segment = segment;
}

void segment_hold_keep(struct segment_hold *hold)
{
    if (hold->cached == NULL || hold->counted)
        return;
    cached_ref(hold->cached);
    hold->counted = 1;
}

void segment_hold_release(struct segment_hold *hold)
{
    if (hold->cached != NULL && hold->counted)
        cached_unref(hold->cached);
    *hold = (struct segment_hold){0};
}
