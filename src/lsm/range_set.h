/* range_set.h - the range tombstones of a version, or of a compaction's inputs, as an immutable sorted
 * array: for each stretch between two boundaries the sequences that delete it, newest first. Made once,
 * read by any thread. No memory of it is shared with where the tombstones came from.
 *
 * N tombstones take memory of O(N log N) plus their keys, however they overlap. A key's lookup is a
 * binary search and log N short ones. */
#ifndef LSM_RANGE_SET_H
#define LSM_RANGE_SET_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

struct range_set; /* opaque */

struct range_tombstone {
    struct varve_slice begin; /* borrowed for range_set_create() */
    struct varve_slice end;   /* exclusive */
    uint64_t seq;
};

/* In any order; count may be 0; one whose end is not behind its begin covers nothing and does not count.
 * One reference. NULL: no memory. */
struct range_set *range_set_create(const struct range_tombstone *ranges, size_t count);
struct range_set *range_set_ref(struct range_set *set);
void range_set_unref(struct range_set *set); /* takes NULL */

size_t range_set_count(const struct range_set *set); /* of tombstones; takes NULL: 0 */

/* The newest one over key with a sequence <= seq_max; 0: none. Takes NULL. */
uint64_t range_set_seq(const struct range_set *set, struct varve_slice key, uint64_t seq_max);
/* Is every key in [lower, upper) covered by tombstones with sequences <= seq_max, by one or by several?
 * The sequence up to which all of them are deleted: of each stretch's newest the smallest. 0: some key is
 * not covered, or there is no key in it. upper of length 0: no bound, which none covers, as each has an
 * end. Takes NULL. */
uint64_t range_set_cover(const struct range_set *set, struct varve_slice lower,
                         struct varve_slice upper, uint64_t seq_max);
/* Does any touch [lower, upper)? upper of length 0: no bound. Takes NULL. */
int range_set_touches(const struct range_set *set, struct varve_slice lower,
                      struct varve_slice upper);

#endif
