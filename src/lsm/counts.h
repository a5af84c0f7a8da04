/* counts.h - how many live keys each count group has (varve/options.h, varve_group_fn).
 * Writer thread only. */
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
    int64_t live;
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
/* Forgets groups that have no live key (a database that was flushed), once there are many. */
void counts_compact(struct counts *counts);
int64_t counts_get(const struct counts *counts, struct varve_slice name);

#endif
