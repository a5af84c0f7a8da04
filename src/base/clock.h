/* clock.h - the system's clocks, for code above the engine; the engine asks its env. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_us(void); /* microseconds; never goes back */
uint64_t clock_real_us(void); /* microseconds since 1970-01-01T00:00:00Z */

/* The processor's own counter: what takes nanoseconds can be timed by it, for a read costs a third of one of
 * clock_mono_us(). It counts at one rate, whatever the load (so it has been on x86-64 since 2008). */
static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return clock_mono_us();
#endif
}

/* Nanoseconds a tick, times 2^24. Takes about a millisecond. */
uint64_t clock_measure_ticks(void);

static inline uint64_t clock_ticks_ns(uint64_t ticks, uint64_t rate)
{
    return (ticks >> 24) * rate + ((ticks & 0xffffff) * rate >> 24);
}

#endif
