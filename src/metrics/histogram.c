#include "metrics/histogram.h"

static uint64_t bucket_last_ns(unsigned bucket)
{
    unsigned doubling = bucket >> HISTOGRAM_SUB_BITS;
    uint64_t within = bucket & ((1u << HISTOGRAM_SUB_BITS) - 1);

    if (doubling == 0)
        return within;
    uint64_t first = (within + (1u << HISTOGRAM_SUB_BITS)) << (doubling - 1);
    return first + ((uint64_t)1 << (doubling - 1)) - 1;
}

uint64_t histogram_percentile_ns(const struct histogram *histogram, double percent)
{
    double wanted = (double)histogram->count * percent / 100;
    uint64_t below = 0;

    if (histogram->count == 0)
        return 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += histogram->buckets[i];
        if (below > 0 && (double)below >= wanted)
            return bucket_last_ns(i);
    }
    return HISTOGRAM_MAX_NS;
}

uint64_t histogram_below(const struct histogram *histogram, uint64_t power_ns)
{
    uint64_t below = 0;

    if (power_ns > HISTOGRAM_MAX_NS)
        return histogram->count;
    for (unsigned i = 0; i < histogram_bucket(power_ns); i++)
        below += histogram->buckets[i];
    return below;
}
