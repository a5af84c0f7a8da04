/* count_merge.h - which unknown records of a version's segments were live below, by one walk through all of
 * them side by side: where many are unknown, much cheaper than a lookup each. */
#ifndef LSM_COUNT_MERGE_H
#define LSM_COUNT_MERGE_H

#include "base/check.h"
#include "lsm/version.h"
#include "varve/slice.h"
#include "varve/status.h"

struct count_merge {
    const struct version *version; /* who calls holds it */
    size_t from_run;               /* runs before it are left aside */
    struct varve_slice name;       /* of the group: the beginning of its keys */
    uint64_t ignore_seq;           /* unknown records up to it are not asked for */
    /* Asked from time to time; not 0 ends the walk with it. */
    int (*check)(void *arg, struct varve_err *err);
    /* All of a segment was walked that is of the group. */
    void (*told)(void *arg, const struct segment *segment, uint64_t live_below);
    void *arg;
};

/* Blocks. Any thread. 0, what check() said, VARVE_ENOMEM, or what a read failed with. */
int count_merge_run(const struct count_merge *what, struct varve_err *err) MUST_CHECK;

#endif
