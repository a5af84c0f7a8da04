/* histogram.h - counts of values by their 7 leading bits: a quantile is at most 1.6 % above the
 * true one, never below it; the maximum is exact. One owner. */
#ifndef VARVE_BENCH_HISTOGRAM_H
#define VARVE_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS 6
#define HISTOGRAM_SLOTS ((64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)

struct histogram {
    uint64_t total;
    uint64_t max;
    uint64_t count[HISTOGRAM_SLOTS];
};

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    uint64_t slot = value;

    if (value >> HISTOGRAM_BITS != 0) {
        unsigned shift = 63U - (unsigned)__builtin_clzll(value) - HISTOGRAM_BITS;
        slot = ((uint64_t)shift << HISTOGRAM_BITS) + (value >> shift);
    }
    histogram->count[slot]++;
    histogram->total++;
    if (value > histogram->max)
        histogram->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from);
/* part in 0 .. 1. 0 if nothing was added. */
uint64_t histogram_quantile(const struct histogram *histogram, double part);

#endif
