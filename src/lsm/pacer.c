#include "lsm/pacer.h"

#include "base/clock.h"
#include "base/mutant.h"

#define BURST_US ((uint64_t)100000) /* so much may be caught up on after a pause */

void pacer_init(struct pacer *pacer, uint64_t rate_bytes)
{
    *pacer = (struct pacer){.rate_bytes = rate_bytes};
    mutex_init(&pacer->mutex);
}

void pacer_deinit(struct pacer *pacer)
{
    mutex_deinit(&pacer->mutex);
}

uint64_t pacer_take(struct pacer *pacer, size_t bytes, uint64_t now_us)
{
    uint64_t wait_us = 0;

    if (pacer->rate_bytes == 0)
        return 0;
    mutex_lock(&pacer->mutex);
    if (pacer->free_at_us + BURST_US < now_us)
        pacer->free_at_us = now_us - BURST_US;
    if (pacer->free_at_us > now_us && !MUTANT("pacer-waits-for-nobody"))
        wait_us = pacer->free_at_us - now_us;
    uint64_t owed = bytes * 1000000 + pacer->rest;
    pacer->free_at_us += owed / pacer->rate_bytes;
    pacer->rest = owed % pacer->rate_bytes;
    mutex_unlock(&pacer->mutex);
    return wait_us;
}

void pacer_wait(void *arg, size_t bytes)
{
    uint64_t wait_us = pacer_take(arg, bytes, clock_mono_us());

    if (wait_us > 0)
        thread_sleep_us(wait_us);
}
