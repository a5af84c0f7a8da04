/* timeline.h - what each second of a long overwrite was like. One writer; read when it is done. */
#ifndef VARVE_BENCH_TIMELINE_H
#define VARVE_BENCH_TIMELINE_H

#include <stdint.h>
#include <stdio.h>

#include "bench.h"
#include "histogram.h"
#include "ticks.h"

struct second {
    uint64_t ops;
    uint64_t p999_ns;
    uint64_t max_ns;
};

struct timeline {
    uint64_t begin; /* ticks */
    uint32_t count; /* seconds that are over */
    uint32_t wanted;
    struct second seconds[SECONDS_MAX];
    struct histogram now; /* of the one that runs, in ticks */
};

/* Memory that a child shares with the driver that forks it. */
struct timeline *timeline_create(void);
void timeline_begin(struct timeline *timeline, uint32_t seconds, uint64_t now);
void timeline_next(struct timeline *timeline, uint64_t now);

static inline int timeline_goes_on(const struct timeline *timeline)
{
    return timeline->count < timeline->wanted;
}

/* An operation that took so many ticks and ended now; it counts for the second in which it ended. A second
 * in which none ended has 0 operations. */
static inline void timeline_add(struct timeline *timeline, uint64_t ticks, uint64_t now)
{
    timeline_next(timeline, now);
    histogram_add(&timeline->now, ticks);
}

#endif
