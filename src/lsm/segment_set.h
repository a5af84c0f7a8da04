/* segment_set.h - writes one sorted run: cuts it into segments where it gets long, gives each its piece of
 * the range tombstones, syncs files and directory, opens them and reads them back. For flushes and for the
 * parts of compactions. One owner, one thread. */
#ifndef LSM_SEGMENT_SET_H
#define LSM_SEGMENT_SET_H

#include "lsm/range_set.h"
#include "segment/segment_writer.h"

struct segment_set; /* opaque */

struct segment_set_config {
    const char *dir; /* borrowed, as all of it */
    struct cache *cache;
    struct segment_writer_options writer;
    uint64_t segment_bytes; /* a segment ends when it is that long */
    /* Keys, ascending, at which one also ends, if it has cut_min_bytes. */
    const struct varve_slice *cuts;
    size_t cut_count;
    uint64_t cut_min_bytes;
    const struct entry *ranges; /* the run's range tombstones, by begin, then newest first */
    size_t range_count;
    struct varve_slice lower; /* the part of the key space that this run covers: the range */
    struct varve_slice upper; /* tombstones are cut to it; upper.len 0: no bound */
    uint64_t (*new_file_no)(void *arg);
    void *file_no_arg;
};

int segment_set_create(const struct segment_set_config *config, struct segment_set **set,
                       struct varve_err *err) MUST_CHECK;
int segment_set_add(struct segment_set *set, const struct entry *entry,
                    struct varve_err *err) MUST_CHECK;
/* As segment_writer_copy(). */
int segment_set_copy(struct segment_set *set, const struct iter_block *block,
                     struct varve_err *err) MUST_CHECK;
/* The files are durable, their directory too, and what was written was read back. *segments lives as
 * long as the set, which holds a reference each. No file at all if there was nothing to write. */
int segment_set_finish(struct segment_set *set, struct segment *const **segments, size_t *count,
                       struct varve_err *err) MUST_CHECK;
uint64_t segment_set_written_bytes(const struct segment_set *set);
uint64_t segment_set_copied_bytes(const struct segment_set *set); /* of those, in copied blocks */
void segment_set_keep(struct segment_set *set);                   /* the files stay */
void segment_set_destroy(struct segment_set *set); /* else they are removed; takes NULL */

#endif
