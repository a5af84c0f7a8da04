/* rewrite.h - the rules by which entries are kept, dropped or turned into tombstones when they are written
 * anew: by a flush (from one memtable) and by a compaction (from segments). One key at a time, its
 * versions newest first:
 *
 *   snapshots        s1        s2        now        kept: the newest of each stretch between snapshots
 *   versions    v1 v2 |  v3 v4 |  v5 v6  |              v2, v4, v6
 *
 *   - A version under a range tombstone that is newer, with no snapshot between the two, is dropped.
 *   - The one rule for tombstones, range tombstones and expired puts (an expired put is a tombstone for
 *     what lies below it): dropped only if no snapshot is older than it, and nothing older outside of the
 *     inputs, at any level, may hold the key (overlap the range).
 *   - An expired put that may not be dropped becomes a delete of the same sequence.
 *
 * Counts (counts.h): `live` of a group counts each put as 1 and takes off what the put or delete that
 * follows it knows to have been live. So dropping a version whose successor has prior_unknown takes 1 off
 * if it was a put, and the successor inherits its prior_unknown; a version with nothing older below it
 * loses its mark (one of a key of no group keeps it: nobody asks); an expired put that goes, or becomes a delete, takes 1 off. */
#ifndef LSM_REWRITE_H
#define LSM_REWRITE_H

#include <stddef.h>
#include <stdint.h>

#include "lsm/range_set.h"
#include "segment/iter.h"
#include "varve/options.h"

/* What changes in a group's count; of entries above the group's ignore_seq only. */
struct count_change {
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len;
    int64_t live;
};

struct count_changes {
    struct count_change *items; /* ascending by name; owned */
    size_t count;
    size_t cap;
    int expiry_drops; /* 1: what lies below records that stay has changed: something expired, or was
                       * dropped under a record that took no part */
};

int count_changes_add(struct count_changes *changes, struct varve_slice name,
                      int64_t live) MUST_CHECK;
/* Adds all of `from` to `to`. */
int count_changes_merge(struct count_changes *to, const struct count_changes *from) MUST_CHECK;
void count_changes_deinit(struct count_changes *changes);

struct rewrite_rules {
    const uint64_t *snapshots; /* sequences of the live ones, ascending; what was visible when the
                                * job began needs not be among them */
    size_t snapshot_count;
    uint64_t
        expired_before_ms; /* puts that expire at or before that are expired, for every reader; 0:
                                 * none is (a flush) */
    const struct range_set
        *ranges; /* that may hide entries; may be NULL. Of a flush: its memtable's */
    /* May something older than the inputs hold the key? Ascending keys. NULL: yes, always (a flush). */
    int (*older_may_hold)(void *arg, struct varve_slice key);
    /* A hint that this will be asked of the key, while its versions are still to come. May be NULL. */
    void (*older_soon)(void *arg, struct varve_slice key);
    /* Does something newer than the inputs, which takes no part, hide all versions of the key here from every
     * reader? What lies directly above them keeps its mark. 1, 0 or an error; NULL: no, nothing. */
    int (*newer_hides)(void *arg, struct varve_slice key, struct varve_err *err);
    /* The count group of a key, and up to which sequence its entries are ignored; length 0: none. */
    size_t (*group)(void *arg, struct varve_slice key, uint64_t *ignore_seq);
    /* Takes what is kept, in order. Non-zero ends the rewrite with it. */
    int (*emit)(void *arg, const struct entry *entry, struct varve_err *err);
    /* Takes a block of which all is kept as it is: 1; 0: it is to come entry by entry, all of it; or an error. NULL:
     * none is copied. */
    int (*copy)(void *arg, const struct iter_block *block, struct varve_err *err);
    /* Told about every hundred entries, first and at the end how many of the input were taken since the last time. 1:
     * the job is to stop. May be NULL. */
    int (*took)(void *arg, uint64_t entries);
    void *arg;
    int flush; /* 1: every key's oldest version is marked prior_unknown unless a range tombstone of
                * `ranges` lies below it; counts are the memtable's and do not change. The input's
                * keys and values must outlive its moves, as a memtable's do */
};

#define REWRITE_STOPPED 1

/* Runs input (in the order of entries, from where it stands) up to `upper` (exclusive, len 0: the end)
 * through the rules. Of a key, the inputs have all versions between their newest and their oldest. The
 * changes add up over calls, and after an error mean nothing. 0, REWRITE_STOPPED, or an error. */
int rewrite_run(const struct rewrite_rules *rules, struct iter *input, struct varve_slice upper,
                struct count_changes *changes, struct varve_err *err) MUST_CHECK;

/* Does a range tombstone have to be kept? older_overlaps: something older outside of the inputs may
 * overlap it. */
int rewrite_keeps_range(const struct rewrite_rules *rules, uint64_t seq, int older_overlaps);

#endif
