/* segment_writer.h - writes one segment from entries that come in order. FORMAT.md. One owner, one thread.
 *
 * Bytes leave in writes of about 1 MiB, each followed by write_behind(), so that the sync at the end has
 * little left to do and does not freeze the WAL's. */
#ifndef SEGMENT_SEGMENT_WRITER_H
#define SEGMENT_SEGMENT_WRITER_H

#include "segment/hiding.h"
#include "segment/segment.h"
#include "varve/options.h"

struct segment_writer; /* opaque */

struct segment_writer_options {
    struct varve_env *env;
    const struct dir_id *id;
    size_t block_size_bytes;
    uint32_t bits_per_key;
    int compress;
    varve_group_fn count_group; /* may be NULL */
    void *group_arg;
    /* Called before each write of `bytes`, may wait: pacing. May be NULL. */
    void (*pace)(void *arg, size_t bytes);
    void *pace_arg;
    hiding_older_fn older_may_hold; /* NULL: how much the segment hides is not said */
    void *older_arg;
};

/* Makes the file `path`, which must not exist. */
int segment_writer_create(const struct segment_writer_options *options, const char *path,
                          uint64_t file_no, struct segment_writer **writer,
                          struct varve_err *err) MUST_CHECK;

/* Adds a put or a delete. A value that lies in a value block of another segment (entry->value_segment)
 * is copied in pieces; its chunk CRC is checked on the way, as is that of every other entry. A compressed one is
 * copied as it lies, under its block's CRC. */
int segment_writer_add(struct segment_writer *writer, const struct entry *entry,
                       struct varve_err *err) MUST_CHECK;
/* Adds a range tombstone (its key and value are begin and end, its CRC is checked): in the order of begin,
 * then newest first; independent of segment_writer_add()'s order. */
int segment_writer_add_range(struct segment_writer *writer, const struct entry *entry,
                             struct varve_err *err) MUST_CHECK;

/* Adds all entries of a block as it lies in another segment, without compressing it anew; the records' own CRCs
 * are left to who reads the segment back. It holds puts only, each of a key of its own, no value apart.
 * 1; 0: one of the blocks would be too small, its entries are to be added one by one, all of them; or an error. */
int segment_writer_copy(struct segment_writer *writer, const struct iter_block *block,
                        struct varve_err *err) MUST_CHECK;

/* What the file would have by now, for cutting a run: bytes (about, before compression of what is not
 * written yet), and whether it may be cut before next_key, which is behind the last key that was added.
 * Range tombstones are then cut at the lower bound of next_key (segment_bound_lower()). */
uint64_t segment_writer_size_bytes(const struct segment_writer *writer);
uint64_t segment_writer_entries(const struct segment_writer *writer);
int segment_writer_may_cut(const struct segment_writer *writer, struct varve_slice next_key);

/* Writes the rest and syncs the file (not the directory). After it, or after any error, only destroy. */
int segment_writer_finish(struct segment_writer *writer, struct varve_err *err) MUST_CHECK;
/* Closes; a file that was not finished is removed. Takes NULL. */
void segment_writer_destroy(struct segment_writer *writer);

#endif
