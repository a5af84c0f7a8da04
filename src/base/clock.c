#include "base/clock.h"

#include <time.h>

#include "base/check.h"

static uint64_t clock_us(clockid_t id)
{
    struct timespec now;

    CHECK(clock_gettime(id, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_mono_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

uint64_t clock_real_us(void)
{
    return clock_us(CLOCK_REALTIME);
}
