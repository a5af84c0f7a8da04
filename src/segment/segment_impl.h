/* segment_impl.h - what the parts of segment.h share. */
#ifndef SEGMENT_SEGMENT_IMPL_H
#define SEGMENT_SEGMENT_IMPL_H

#include <stdatomic.h>

#include "base/buf.h"
#include "segment/block.h"
#include "segment/segment.h"
#include "segment/segment_index.h"

#define PROPERTIES_MAX_BYTES ((uint64_t)1024 * 1024)
#define FILTER_MAX_BYTES ((uint64_t)1024 * 1024 * 1024)
#define CHUNK_CRC_EACH_READ_MAX_BYTES ((size_t)64 * 1024) /* a longer value's CRC: on its way in */
#define VALUE_CACHED_MAX_BYTES ((size_t)256 * 1024)
#define VALUE_NO_WAIT_MAX_BYTES ((size_t)1024 * 1024)
#define SCRATCH_MAX_BYTES (2 * BLOCK_COMPRESSED_MAX_BYTES) /* compressed or not, one block's */

struct segment {
    _Atomic uint32_t refs;
    _Atomic int dead;
    _Atomic uint64_t *block_reads; /* on a line of its own; a const segment counts too */
    struct varve_env *env;
    struct varve_file *file;
    char *path;
    struct dir_id id;
    uint64_t file_no;
    uint32_t salt;
    uint64_t size_bytes;
    uint64_t data_end; /* data and value blocks lie before it */
    struct cache *cache;
    uint64_t owner; /* in the cache */
    uint64_t pinned_bytes;
    uint64_t note; /* segment_note() */
    struct properties properties;
    struct segment_index index;
    struct cached *_Atomic *slots; /* of the data blocks in the cache; NULL: there is no cache */
    uint8_t *filter_memory;
    struct bloom bloom;
    struct block *ranges; /* NULL: there are none */
};

/* ---- segment_open.c ---- */

/* Reads all but data and value blocks into a zeroed segment that has env, file, path, id, file_no. After
 * an error as after success, segment_unload(). */
int segment_load(struct segment *segment, struct varve_err *err) MUST_CHECK;
void segment_unload(struct segment *segment);

/* ---- segment_block.c ---- */

/* Puts "PATH: offset N: " before the text. Returns rc. */
int segment_fail(const struct segment *segment, uint64_t offset, int rc, struct varve_err *err);

/* Reads exactly [offset, offset + len); with SEGMENT_NO_WAIT it may be VARVE_WOULD_BLOCK. */
int segment_read_bytes(const struct segment *segment, enum segment_wait wait, void *to, size_t len,
                       uint64_t offset, struct varve_err *err) MUST_CHECK;

/* Of an entry whose value lies in a compressed block: that block as it lies there, with its trailer, under a CRC that
 * was checked; to has room for value_packed_len and the trailer. */
int segment_read_packed(const struct entry *entry, enum segment_wait wait, uint8_t *to,
                        struct varve_err *err) MUST_CHECK;
/* And the value itself. Its record's CRC is the caller's. */
int segment_unpack_value(const struct entry *entry, enum segment_wait wait, uint8_t *to,
                         struct varve_err *err) MUST_CHECK;

/* Decodes data block i from its bytes in the file, trailer included. One reference, not in the cache. */
int segment_decode(const struct segment *segment, uint32_t i, uint8_t *bytes, struct block **block,
                   struct varve_err *err) MUST_CHECK;
/* Reads data block i from the file, past the cache. One reference. */
int segment_read_block(const struct segment *segment, uint32_t i, enum segment_wait wait,
                       struct block **block, struct varve_err *err) MUST_CHECK;

/* Data block i if it is in the cache; NULL. Inside rcu. */
static inline struct cached *segment_find_cached(const struct segment *segment, uint32_t i)
{
    return segment->cache == NULL ? NULL : cache_find_slot(segment->cache, segment->slots + i);
}

/* Data block i from the cache or the file. Inside rcu. */
int segment_get_block(const struct segment *segment, uint32_t i, const struct segment_read *read,
                      struct segment_hold *hold, struct varve_err *err) MUST_CHECK;

/* The data block that key lies in if it is there, which is the last one whose first key is not greater, of
 * those that the index names. Inside rcu. 0 (hold has the block, *i its number), VARVE_NOT_FOUND: key
 * is before all; VARVE_WOULD_BLOCK, an error: hold is empty. */
int segment_find_block(const struct segment *segment, struct varve_slice key,
                       const struct segment_read *read, uint32_t *i, struct segment_hold *hold,
                       struct varve_err *err) MUST_CHECK;

/* Entry i of a data block of the segment. */
void segment_entry(const struct segment *segment, const struct block *block, uint32_t i,
                   struct entry *entry);

/* ---- segment_iter.c ---- */

/* The first segment of a run that may hold key or what lies behind it; count: there is none. */
size_t segment_find_in_run(struct segment *const *segments, size_t count, struct varve_slice key);

/* ---- segment_window.c ---- */

/* Zeroed but for readahead_bytes: empty. Setting count to 0 empties it: it may then be another segment's. */
struct segment_window {
    size_t readahead_bytes; /* that one read may bring at most; a block at least, 8 MiB at most */
    size_t next_bytes;      /* that the next one may bring; less than a block's size: one block */
    uint8_t *bytes;
    size_t cap;
    uint32_t first; /* blocks [first, first + count) are in it */
    uint32_t count;
};
/* Block i, trailer included, as it lies in the file: unchecked. It lives until the next call. */
int segment_window_get(struct segment_window *window, const struct segment *segment, uint32_t i,
                       enum segment_wait wait, int backward, uint8_t **bytes,
                       struct varve_err *err) MUST_CHECK;
void segment_window_deinit(struct segment_window *window);

static inline struct block *block_of(struct cached *cached)
{
    return (struct block *)(void *)cached;
}

/* Does an entry's value lie in a value block? */
static inline int entry_value_apart(const struct entry *entry)
{
    return entry->chunk.value.data == NULL && entry->chunk.value.len > 0;
}

#endif
