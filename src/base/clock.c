#include "base/clock.h"

#include <time.h>

#include "base/check.h"

#define MEASURED_NS ((uint64_t)1000 * 1000)
#define MEASURE_TRIES 5

static struct timespec clock_now(clockid_t id)
{
    struct timespec now;

    CHECK(clock_gettime(id, &now) == 0);
    return now;
}

static uint64_t clock_us(clockid_t id)
{
    struct timespec now = clock_now(id);

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

struct instant {
    uint64_t ns;
    uint64_t ticks;
};

/* Both clocks at one moment: of several tries the one between whose reads the least time went by. */
static struct instant instant_now(void)
{
    struct instant best = {0};
    uint64_t best_gap = UINT64_MAX;

    for (int i = 0; i < MEASURE_TRIES; i++) {
        uint64_t before = clock_ticks();
        struct timespec now = clock_now(CLOCK_MONOTONIC);
        uint64_t gap = clock_ticks() - before;
        if (gap >= best_gap)
            continue;
        best_gap = gap;
        best.ticks = before + gap / 2;
        best.ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    }
    return best;
}

uint64_t clock_measure_ticks(void)
{
    struct instant first = instant_now();
    struct instant last;

    do
        last = instant_now();
    while (last.ns < first.ns + MEASURED_NS || last.ticks == first.ticks);
    return ((last.ns - first.ns) << 24) / (last.ticks - first.ticks);
}
