/* properties.h - what is known of a segment without reading its data: FORMAT.md. Pure. */
#ifndef SEGMENT_PROPERTIES_H
#define SEGMENT_PROPERTIES_H

#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/options.h"
#include "varve/slice.h"
#include "varve/status.h"

#define SEGMENT_BOUND_MAX_BYTES 257
#define SEGMENT_EXPIRY_STEPS_MAX 16
#define SEGMENT_GROUPS_MAX 64

/* [lower, upper): upper.len 0 is no bound. */
struct segment_bound {
    uint8_t bytes[SEGMENT_BOUND_MAX_BYTES];
    uint16_t len;
};

struct segment_place {
    uint64_t offset;
    uint64_t len; /* of the payload */
};

struct segment_expiry_step {
    uint64_t expire_ms;
    uint64_t bytes; /* of entries that have expired by then, the steps before included */
};

struct segment_group {
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len;
    uint64_t entries;
    uint64_t unknown; /* of those with prior_unknown */
    uint64_t live;    /* what they add to the group's count (lsm/counts.h) */
};

struct properties {
    uint64_t entries;
    uint64_t puts;
    uint64_t ranges;
    uint64_t seq_min;
    uint64_t seq_max;
    uint64_t raw_bytes;   /* of keys and values */
    uint64_t value_bytes; /* of value blocks, uncompressed */
    uint64_t
        superseded_bytes; /* of raw_bytes: puts and deletes under a newer version of their key, which
                                * only a snapshot needs */
    int hiding_known;
    uint64_t
        hiding_bytes; /* of raw_bytes: deletes, and about what of the puts hides older segments' */
    struct segment_bound lower;
    struct segment_bound upper;
    struct segment_place index;
    struct segment_place filter;
    struct segment_place range_block;
    uint64_t expiring; /* puts with an expiry */
    uint64_t expire_ms_max;
    struct segment_expiry_step expiry[SEGMENT_EXPIRY_STEPS_MAX];
    uint32_t expiry_count;
    struct segment_group groups[SEGMENT_GROUPS_MAX];
    uint32_t group_count; /* SEGMENT_GROUPS_MAX + 1: too many, any may be in it */
};

/* Every entry is a put that has expired by now_ms, or a delete, and there is no range tombstone: to a
 * reader at now_ms the segment is a set of tombstones. */
int properties_all_dead(const struct properties *properties, uint64_t now_ms);
/* About how many of the file's bytes have expired by now_ms. */
uint64_t properties_expired_bytes(const struct properties *properties, uint64_t now_ms);

/* Appends the payload. 0 or what buf_reserve() says. */
int properties_put(const struct properties *properties, struct buf *to) MUST_CHECK;
/* 0 or VARVE_ECORRUPT. Places may still lie outside the file. */
int properties_get(struct varve_slice payload, struct properties *properties,
                   struct varve_err *err) MUST_CHECK;

/* The bounds of keys, cut as FORMAT.md says: the lower one never above the key, the upper ones the
 * smallest that hold what they must. Each equals what it stands for, unless that was too long. */
void segment_bound_lower(struct segment_bound *bound, struct varve_slice key);
void segment_bound_upper(struct segment_bound *bound, struct varve_slice last_key);
/* Of an exclusive end, such as a range tombstone's; not empty. */
void segment_bound_upper_end(struct segment_bound *bound, struct varve_slice end);

static inline struct varve_slice segment_bound_slice(const struct segment_bound *bound)
{
    return varve_slice(bound->bytes, bound->len);
}

/* Of upper bounds: an empty one is above all. */
int segment_upper_compare(struct varve_slice a, struct varve_slice b);
/* Is key below the upper bound? */
static inline int segment_below_upper(struct varve_slice key, struct varve_slice upper)
{
    return upper.len == 0 || varve_slice_compare(key, upper) < 0;
}

#endif
