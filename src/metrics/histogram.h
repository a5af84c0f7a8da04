/* histogram.h - how long things took: counts by duration, in buckets that are a 32nd of a doubling wide.
 * A fixed 6.6 KB. Durations above HISTOGRAM_MAX_NS count as that. One thread. */
#ifndef METRICS_HISTOGRAM_H
#define METRICS_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 5
#define HISTOGRAM_MAX_BITS 30
#define HISTOGRAM_MAX_NS (((uint64_t)1 << HISTOGRAM_MAX_BITS) - 1) /* about a second */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* The bucket of a duration, at most HISTOGRAM_MAX_NS. */
static inline unsigned histogram_bucket(uint64_t ns)
{
    if (ns < (1u << HISTOGRAM_SUB_BITS))
        return (unsigned)ns;
    unsigned shift = 63 - HISTOGRAM_SUB_BITS - (unsigned)__builtin_clzll(ns);
    return ((shift + 1) << HISTOGRAM_SUB_BITS) +
           ((unsigned)(ns >> shift) & ((1u << HISTOGRAM_SUB_BITS) - 1));
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->count++;
    histogram->buckets[histogram_bucket(ns > HISTOGRAM_MAX_NS ? HISTOGRAM_MAX_NS : ns)]++;
}

/* The longest duration of the bucket in which `percent` of all lie, at least; 0 if there is none. */
uint64_t histogram_percentile_ns(const struct histogram *histogram, double percent);

/* How many lie below a power of two. */
uint64_t histogram_below(const struct histogram *histogram, uint64_t power_ns);

#endif
