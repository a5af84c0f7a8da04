#include "histogram.h"

/* The largest value that belongs to the slot. */
static uint64_t slot_top(uint64_t slot)
{
    uint64_t shift = slot >> HISTOGRAM_BITS;

    if (shift <= 1)
        return slot;
    shift--;
    return (((slot - (shift << HISTOGRAM_BITS)) + 1) << shift) - 1;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (int i = 0; i < HISTOGRAM_SLOTS; i++)
        into->count[i] += from->count[i];
    into->total += from->total;
    if (from->max > into->max)
        into->max = from->max;
}

uint64_t histogram_quantile(const struct histogram *histogram, double part)
{
    uint64_t wanted = (uint64_t)(part * (double)histogram->total);
    uint64_t seen = 0;

    if (wanted >= histogram->total)
        return histogram->max;
    for (uint64_t slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
        seen += histogram->count[slot];
        if (seen > wanted)
            return slot_top(slot) < histogram->max ? slot_top(slot) : histogram->max;
    }
    return histogram->max;
}
