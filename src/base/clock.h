/* clock.h - the system's clocks, for code above the engine; the engine asks its env. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_us(void); /* microseconds; never goes back */
uint64_t clock_real_us(void); /* microseconds since 1970-01-01T00:00:00Z */

#endif
