/* segment_index.h - which data block a key lies in: the index block, written, and in memory as flat
 * arrays. FORMAT.md, "Index block". Reading: any thread, immutable. */
#ifndef SEGMENT_SEGMENT_INDEX_H
#define SEGMENT_SEGMENT_INDEX_H

#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/slice.h"
#include "varve/status.h"

#define INDEX_KEY_MAX_BYTES 256
#define INDEX_FAN 8         /* numbers in a cache line */
#define INDEX_LEVELS_MAX 11 /* for 2^32 of them */

/* ---- writing ---- */

struct index_builder {
    struct buf bytes; /* room for the count, then the entries */
    uint32_t count;
    uint8_t key[INDEX_KEY_MAX_BYTES]; /* the last separator */
    size_t key_len;
    uint64_t end; /* of the last data block, trailer included */
};

void index_builder_init(struct index_builder *builder);
void index_builder_deinit(struct index_builder *builder);
/* The separator of a block: as short as can be with last < S <= first, cut to 256 bytes. Its length; its
 * bytes are first's. */
size_t index_separator_len(struct varve_slice last, struct varve_slice first);
int index_builder_add(struct index_builder *builder, struct varve_slice separator, uint64_t offset,
                      uint64_t len) MUST_CHECK;
/* The payload; lives until deinit. */
int index_builder_finish(struct index_builder *builder, struct varve_slice *payload) MUST_CHECK;

/* ---- reading ---- */

struct segment_index {
    uint32_t count;
    size_t memory_bytes;
    int has_cut;       /* one has INDEX_KEY_MAX_BYTES and may have been cut */
    size_t shared_len; /* bytes that all separators but the first begin with */
    uint32_t level_count;
    uint64_t *levels[INDEX_LEVELS_MAX]; /* of all but the first, the 8 bytes behind as numbers */
    uint8_t *memory;                    /* of all the arrays */
    uint64_t *offsets;                  /* of the blocks in the file */
    uint32_t *lens;                     /* of their payloads */
    uint32_t *key_at;                   /* count + 1: where in keys each separator begins */
    uint8_t *keys;
};

/* Checks all; data_end: where the last data block (its trailer) has to end. */
int segment_index_open(struct segment_index *index, struct varve_slice payload, uint64_t data_end,
                       struct varve_err *err) MUST_CHECK;
void segment_index_deinit(struct segment_index *index);

static inline struct varve_slice segment_index_key(const struct segment_index *index, uint32_t i)
{
    return varve_slice(index->keys + index->key_at[i], index->key_at[i + 1] - index->key_at[i]);
}

/* Where key may lie: the blocks [first, last] (all versions of a key lie in one). More than one where
 * separators were cut: it is then the last one whose first key is not greater than key. 0: there is
 * no block that may hold it, all begin behind it. */
int segment_index_find(const struct segment_index *index, struct varve_slice key, uint32_t *first,
                       uint32_t *last);

#endif
