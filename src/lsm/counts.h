/* counts.h - how many live keys each count group has (varve/options.h, varve_group_fn), without reading
 * before a write.
 *
 * A memtable counts what it knows: a put counts 1, less 1 if its key was live just before it; a delete
 * counts -1 if it was. Where the memtable holds nothing of the key, that is *unknown* until an older layer
 * is asked, and is counted as if the key had been absent. So a group's count is
 *
 *     sum of `live` over the memtables and the version  -  the unknown keys that were live below
 *
 * and the sum alone is an upper bound. In segments an entry carries the mark "prior unknown"; compaction
 * takes marks off for nothing, since it sees what lies below (rewrite.h), and count_keys.h looks the rest,
 * or for an estimate some of it, up when somebody asks. A range delete of a whole group starts its count anew (`reset`); one of a part
 * makes the group's count unknown (`cut`), `live` says nothing from then on, and it is counted by a walk.
 *
 * One table a memtable. Writer thread; once the memtable is immutable it does not change any more. */
#ifndef LSM_COUNTS_H
#define LSM_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/options.h"
#include "varve/slice.h"

struct count_group {
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len; /* 0: an empty place */
    int placed;       /* 1: `fresh` was found out */
    int fresh;        /* 1: no older layer had anything of it when it was made */
    int reset;        /* 1: older layers hold nothing of it any more */
    int cut;          /* 1: a part of it was range-deleted since the reset */
    int64_t live;
    uint64_t unknown;   /* keys whose oldest record here has an unknown prior */
    uint64_t reset_seq; /* of the range tombstone */
};

struct counts {
    struct count_group *slots; /* open addressing, at most half full */
    size_t cap;                /* a power of two, or 0 */
    size_t used;
    size_t compact_at; /* counts_compact() does nothing before `used` is that large */
};

void counts_deinit(struct counts *counts);

/* The group's place, made if it is not there; NULL: no memory. Lives until the next call that makes
 * one. */
struct count_group *counts_at(struct counts *counts, struct varve_slice name);
/* Forgets groups that began here and were emptied (a database that was flushed), once there are many.
 * Not while the group of batches is open: what is undone must find its place. */
void counts_compact(struct counts *counts);
/* NULL: it is not there. */
const struct count_group *counts_find(const struct counts *counts, struct varve_slice name);

#endif
