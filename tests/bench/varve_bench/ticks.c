#include "ticks.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define CALIBRATE_NS 20000000

int ticks_are_cycles;
double ticks_per_ns = 1;

void ticks_init(void)
{
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;

    if (!__get_cpuid(0x80000007, &a, &b, &c, &d) || (d & 1U << 8) == 0)
        return;
    uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t begin = __rdtsc();
    uint64_t ns;
    while ((ns = clock_ns(CLOCK_MONOTONIC) - begin_ns) < CALIBRATE_NS)
        continue;
    ticks_per_ns = (double)(__rdtsc() - begin) / (double)ns;
    ticks_are_cycles = 1;
#endif
}

const char *ticks_name(void)
{
    return ticks_are_cycles ? "the processor's time stamp counter" : "CLOCK_MONOTONIC";
}
