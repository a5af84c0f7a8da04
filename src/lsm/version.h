/* version.h - an immutable set of segments in runs and levels, and what is counted of them. A change makes
 * a new version; readers keep the one that they began with. References are counted.
 *
 *   level 0   run 9 [..][....][...]     runs of flushes, newest first; they overlap each other
 *             run 7 [......][..]
 *   level 3   [...][....][...][...]     one run each; sizes are the picker's business
 *   level 4   [..][...][....][...][...][....]
 *
 * For one key, what a run says is newer than what any run behind it in `runs` says. */
#ifndef LSM_VERSION_H
#define LSM_VERSION_H

#include <stdatomic.h>
#include <stdint.h>

#include "lsm/range_set.h"
#include "segment/segment.h"
#include "varve/options.h"
#include "varve/stats.h"

#define LEVELS_MAX VARVE_LEVELS_MAX

struct sorted_run {
    uint32_t level;
    uint64_t no;               /* of level 0: higher is newer; of others 0 */
    struct segment **segments; /* ascending by lower bound; owned references */
    size_t shared_len;         /* bytes that all keys of it begin with, if it has an end */
    uint64_t shared;           /* the first of them, as a number, */
    uint64_t shared_mask;      /* and which bits of it they are */
    uint64_t *slices;          /* of each the 8 bytes behind those: a search mostly needs no more */
    uint64_t *upper_slices;    /* likewise of the upper bounds */
    struct varve_slice *lowers; /* their bounds; they lie in the segments */
    struct varve_slice *uppers;
    size_t count;
    uint64_t bytes;
};

/* Live keys of a count group that lie in segments: counts.h. */
struct version_group {
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len;
    int unknown;         /* 1: live is not known (part of the group was range-deleted) */
    int64_t live;        /* keys with prior_unknown counted as if they had been absent */
    uint64_t ignore_seq; /* entries up to here are no part of it any more */
};

struct version {
    _Atomic uint64_t refs;
    struct sorted_run *runs; /* newest first: level 0 by falling number, then by level */
    size_t run_count;
    size_t segment_count;
    uint64_t bytes;
    struct range_set *ranges;     /* of all segments; NULL: there is none */
    struct version_group *groups; /* ascending by name */
    size_t group_count;
    uint64_t flushed_seq;
    uint64_t
        expiry_drops; /* grows when a compaction drops what was counted, as it expired or as something
                            * newer, which stays, hides it */
};

struct version_add {
    struct segment *segment; /* borrowed */
    uint32_t level;
    uint64_t run_no;
};

struct version_change {
    const uint64_t *dropped; /* file numbers */
    size_t dropped_count;
    const struct version_add *added;
    size_t added_count;
    const struct version_group *groups; /* take the place of those with the same name; live 0 and
                                         * ignore_seq UINT64_MAX: forget it */
    size_t group_count;
    uint64_t flushed_seq; /* 0: as before */
    int expiry_drops;
};

/* An empty one, with one reference; NULL: no memory. */
struct version *version_create(void);
/* The version after the change, with one reference. What is dropped and added again moves. 0, VARVE_ENOMEM,
 * or VARVE_ECORRUPT: segments of a run overlap, a file to drop is not there, one to add is (the manifest is
 * wrong; err says which). */
int version_apply(const struct version *before, const struct version_change *change,
                  struct version **after, struct varve_err *err) MUST_CHECK;
struct version *version_ref(struct version *version); /* any thread */
void version_unref(struct version *version);          /* any thread; takes NULL */

/* Index of the only segment of the run whose range holds key; -1: none. */
int64_t run_find(const struct sorted_run *run, struct varve_slice key);
/* The segments that overlap [lower, upper): [*from, *to). upper.len 0: no bound. */
void run_overlap(const struct sorted_run *run, struct varve_slice lower, struct varve_slice upper,
                 size_t *from, size_t *to);

/* Counters of lookups, a level each, of one thread_slot(). */
struct read_counters {
    _Atomic uint64_t filter_no[LEVELS_MAX];
    _Atomic uint64_t filter_true[LEVELS_MAX];
    _Atomic uint64_t filter_false[LEVELS_MAX];
};

/* The newest put or delete of key with a sequence <= seq_max, range tombstones left aside; runs whose
 * every sequence is below seq_min are not asked. Inside rcu. As segment_get(). */
int version_get(const struct version *version, struct varve_slice key, uint64_t seq_min,
                uint64_t seq_max, const struct segment_read *read, struct read_counters *counters,
                struct entry *entry, struct segment_hold *hold, struct varve_err *err) MUST_CHECK;

/* A hint that these keys (at most VERSION_PREFETCH_MAX) are looked up soon. Inside rcu. */
#define VERSION_PREFETCH_MAX 32
void version_prefetch(const struct version *version, const struct varve_slice *keys, size_t count);

/* May a run from index `from_run` on hold the key, by its bounds and filters? Segments that `skip` (ascending
 * file numbers) names are left aside. */
int version_older_may_hold(const struct version *version, size_t from_run, const uint64_t *skip,
                           size_t skip_count, struct varve_slice key, struct bloom_hash hash);
/* A hint that this is asked soon. */
void version_older_soon(const struct version *version, size_t from_run, const uint64_t *skip,
                        size_t skip_count, struct varve_slice key, struct bloom_hash hash);
/* May any of them overlap [lower, upper)? */
int version_older_overlaps(const struct version *version, size_t from_run, const uint64_t *skip,
                           size_t skip_count, struct varve_slice lower, struct varve_slice upper);

const struct version_group *version_group(const struct version *version, struct varve_slice name);

#endif
