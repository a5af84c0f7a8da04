/* segment.h - an open segment: its index, filter, range tombstones and properties lie in memory as long as
 * it is open, and count against the cache's limit. Reading: any thread, no lock. Bytes: FORMAT.md.
 *
 * References are counted; who holds a version of the database holds its segments. The last one closes the
 * file, and removes it if segment_mark_dead() was called: on whatever thread that is, so the engine sees
 * to it that it is not one that must not wait. */
#ifndef SEGMENT_SEGMENT_H
#define SEGMENT_SEGMENT_H

#include <stdint.h>

#include "base/check.h"
#include "env/file_header.h"
#include "segment/bloom.h"
#include "segment/cache.h"
#include "segment/chunk.h"
#include "segment/iter.h"
#include "segment/properties.h"
#include "varve/env.h"

#define SEGMENT_MAGIC "varveSEG"
#define SEGMENT_FOOTER_MAGIC "varveEND"
#define SEGMENT_FOOTER_BYTES 64

struct segment; /* opaque */

/* Opens path, checks header, footer, properties, index, filter and range tombstones; with one reference.
 * cache may be NULL. Errors name path and offset. Blocks. */
int segment_open(struct varve_env *env, const char *path, const struct dir_id *id, uint64_t file_no,
                 struct cache *cache, struct segment **segment, struct varve_err *err) MUST_CHECK;
struct segment *segment_ref(struct segment *segment); /* any thread */
void segment_unref(struct segment *segment);          /* any thread; takes NULL */
/* The file goes with the last reference. Any thread. */
void segment_mark_dead(struct segment *segment);

uint64_t segment_file_no(const struct segment *segment);
uint64_t segment_size_bytes(const struct segment *segment);
uint64_t segment_pinned_bytes(const struct segment *segment); /* of memory */
const struct properties *segment_properties(const struct segment *segment);
/* A number of whoever made it, in memory only; 0 at first. Set before others know the segment. */
void segment_set_note(struct segment *segment, uint64_t note);
uint64_t segment_note(const struct segment *segment);

/* Its range tombstones, in the order of the block. The slices live as long as the segment. */
size_t segment_range_count(const struct segment *segment);
void segment_range(const struct segment *segment, size_t i, struct entry *entry);

/* How to read. */
enum segment_wait {
    SEGMENT_WAIT,    /* the caller may wait for the disk */
    SEGMENT_NO_WAIT, /* memory only: the cache, then, but for values of more than 1 MiB, the page
                      * cache (read_at_nowait) */
};

struct segment_read {
    enum segment_wait wait;
    int no_fill; /* 1: what is read does not enter the cache (compactions, long scans) */
    int forward; /* 1, of run_iter_create(): from the file, past the cache, waiting; only first(), seek() and next()
                  * are called, each entry is looked at once (compactions) */
};

/* What a found entry lies in: a block of the cache (borrowed inside rcu unless kept), or memory of its
 * own. Zeroed: nothing. */
struct segment_hold {
    struct cached *cached; /* the block, or a value read by itself */
    int counted;           /* it holds a reference; else it lives until the thread leaves rcu */
    int fetched;           /* it was not in the cache */
};
void segment_hold_keep(struct segment_hold *hold); /* makes it counted */
void segment_hold_release(struct segment_hold *hold);

/* 0: what the filter says, it is not there. */
int segment_may_hold(const struct segment *segment, struct bloom_hash hash);

/* Hints that a key is looked for soon, for several keys side by side: first the filter's line, then, if the
 * filter says that it may be there, the beginning of its block, if that is in the cache. Inside rcu. */
void segment_prefetch_filter(const struct segment *segment, struct bloom_hash hash);
void segment_prefetch_block(const struct segment *segment, struct varve_slice key);

/* The newest entry of key with a sequence <= seq_max (puts and deletes; range tombstones are the
 * caller's). Does not ask the filter: segment_may_hold() is the caller's too, and if it said "may" and
 * the answer is VARVE_NOT_FOUND that is a false positive. Inside rcu. 0, VARVE_NOT_FOUND,
 * VARVE_WOULD_BLOCK, or an error that names file and offset; hold is empty but for 0. The chunk CRC is
 * checked, unless the value lies in a block of its own: such a one is not read here, but by
 * entry_value(), for which *hold must still be held. */
int segment_get(struct segment *segment, struct varve_slice key, struct bloom_hash hash,
                uint64_t seq_max, const struct segment_read *read, struct entry *entry,
                struct segment_hold *hold, struct varve_err *err) MUST_CHECK;

/* The value of an entry, wherever it lies: in place (*hold stays empty), or read from its value block, and
 * then it lives in *hold, not in the entry's. The entry's key must be there still. The chunk CRC of a
 * value up to 64 KiB is checked at each call, that of a longer one on its way from the disk. Values up to
 * 256 KiB may come from the cache. Any thread, inside rcu or not. 0, VARVE_WOULD_BLOCK, an error. */
int entry_value(const struct entry *entry, const struct segment_read *read,
                struct varve_slice *value, struct segment_hold *hold,
                struct varve_err *err) MUST_CHECK;
/* Reads a piece of a value in a value block that is not compressed, for copying: `len` bytes from `at` of it on. No CRC is
 * checked: the copier checks the chunk's over the whole. Blocks. */
int segment_read_value(const struct segment *segment, uint64_t value_offset, uint64_t at, void *to,
                       size_t len, struct varve_err *err) MUST_CHECK;

/* Walks all entries but the range tombstones. Block CRCs are checked, those of chunks are the caller's
 * (segment_writer_add() does it). Takes a reference; holds the block that it stands on. Does
 * not need the caller to stay inside rcu. readahead_bytes: the most that is read at a time where blocks
 * come one after the other (0: a block); behind a seek it begins with one block and doubles with each
 * read. NULL: no memory. */
struct iter *segment_iter_create(struct segment *segment, const struct segment_read *read,
                                 size_t readahead_bytes);
/* Walks a run: segments in the order of their keys. The array is borrowed, and with it the segments: whoever
 * walks a run holds its version. */
struct iter *run_iter_create(struct segment *const *segments, size_t count,
                             const struct segment_read *read, size_t readahead_bytes);

/* Stretches of keys that together hold all puts and deletes, in their order, each of about as many blocks. Of
 * one: about its bounds, which live as long as the segment, and about how many bytes of the file it takes. Memory
 * only; any thread. */
#define SEGMENT_STRETCHES_MAX 64
size_t segment_stretch_count(const struct segment *segment);
uint64_t segment_stretch(const struct segment *segment, size_t i, struct varve_slice *lower,
                         struct varve_slice *upper);

/* Reads every byte anew and checks it all: CRCs, order, that every key is in the filter and found by the
 * index, that the properties are true (of groups: that they count no more than begins with their
 * names). For a new segment before it is named, and for `verify`. Any thread; blocks. */
int segment_verify(struct segment *segment, struct varve_err *err) MUST_CHECK;

/* The same for who wants to know everything: behind a damaged record or block it goes on. */
struct segment_verify_options {
    /* Takes each finding; err is borrowed for the call, names file and offset. Not NULL. */
    void (*finding)(void *arg, const struct varve_err *err);
    void *arg;
    varve_group_fn group; /* the groups' counts shall be exact, too; NULL: as segment_verify() */
    void *group_arg;
};
/* 0: it came to the end, whatever it found. Else what ended it, which is no finding yet: a part without
 * which the rest cannot be read, or no memory. err is not NULL. */
int segment_verify_all(struct segment *segment, const struct segment_verify_options *options,
                       struct varve_err *err) MUST_CHECK;

/* Reads from its file so far, of blocks or of several at once. Any thread. */
uint64_t segment_block_reads(const struct segment *segment);

#endif
