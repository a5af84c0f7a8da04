/* drop_syncs.h - takes one sync after the other out of finished runs, and asks whether the images
 * that are then possible break a promise. A sync that nobody misses is needless, or the campaign is
 * blind. One thread. */
#ifndef CRASH_DROP_SYNCS_H
#define CRASH_DROP_SYNCS_H

#include <stdint.h>

struct drop_result {
    unsigned dropped; /* syncs that were taken out */
    unsigned noticed;
    unsigned idle;     /* not tried: they covered nothing that was not durable already */
    unsigned relieved; /* not missed, because the same was synced once more before it counted */
};

/* `per_class` syncs of each class and mode, in runs of two actions. Prints a table by class, and each
 * sync that was not missed with a way to see it again. */
struct drop_result drop_syncs(uint64_t seed, unsigned per_class);

#endif
