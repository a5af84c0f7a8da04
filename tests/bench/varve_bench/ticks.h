/* ticks.h - a clock that costs some 10 ns: the processor's counter where it runs at one speed for
 * ever, else the system's monotonic clock. The same for all engines. */
#ifndef VARVE_BENCH_TICKS_H
#define VARVE_BENCH_TICKS_H

#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

extern int ticks_are_cycles;
extern double ticks_per_ns;

/* Finds out what a tick is; takes 20 ms. Before any other of these, before any thread. */
void ticks_init(void);
const char *ticks_name(void);

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t ticks_now(void)
{
#if defined(__x86_64__)
    if (ticks_are_cycles)
        return __rdtsc();
#endif
    return clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t ticks_to_ns(uint64_t ticks)
{
    return (uint64_t)((double)ticks / ticks_per_ns);
}

static inline uint64_t ticks_of_ms(uint64_t ms)
{
    return (uint64_t)((double)ms * 1e6 * ticks_per_ns);
}

#endif
