#include "lsm/stall.h"

#include "base/check.h"

/* Level 0 is merged from 8 runs at one place on; what the picker holds there without being behind is no
 * reason to wait. */
#define LEVEL0_SOFT_DEPTH 12
#define LEVEL0_HARD_DEPTH 48
/* What is dead, by what lies above the last level, in parts of how much that may be (PICKER_UPPER_PERCENT of
 * what is needed). Writes that come as fast as they are taken settle inside, at the rate of the merges, and
 * what they settle at is the space that overwritten data take: about a fifth. Not below the target: there nothing is
 * merged, and nobody would end the wait. What a merge has taken in counts as gone, what lies in memory as there, so that this rises
 * and falls by and by (decisions/0035). Of a database that is small beside its memtables the
 * memtables' soft limit stands for the target, and the range is wider: a merge takes as long as several flushes. */
#define SPACE_HARD_PERCENT 118
#define SEGMENTS_SOFT_PERCENT 85

#define PRESSURE_MAX 1000
/* From a rate that no disk of today reaches down to what the slowest can merge. */
#define RATE_MAX_BYTES ((uint64_t)2 << 30)
#define RATE_HALVINGS 11 /* 1 MiB a second at the hard limit */
/* What one huge write may leave behind: the load is looked at anew long before. */
#define DEBT_MAX_US 1000000
/* Each round wakes all who wait. */
#define ROUND_BYTES_MIN ((uint64_t)16 * 1024)

const char *varve_stall_name(enum varve_stall_cause cause)
{
    static const char *const names[VARVE_STALL_CAUSE_COUNT] = {
        [VARVE_STALL_NONE] = "none",         [VARVE_STALL_MEMTABLES] = "memtables",
        [VARVE_STALL_LEVEL0] = "level0",     [VARVE_STALL_SPACE] = "space",
        [VARVE_STALL_SEGMENTS] = "segments",
    };

    return (unsigned)cause < VARVE_STALL_CAUSE_COUNT ? names[cause] : "none";
}

/* 0 at soft, 1000 at hard and beyond. */
static uint32_t between(uint64_t value, uint64_t soft, uint64_t hard)
{
    if (value <= soft || hard == 0)
        return 0;
    if (value >= hard)
        return PRESSURE_MAX;
    return (uint32_t)((double)(value - soft) * PRESSURE_MAX / (double)(hard - soft));
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint32_t space_pressure(const struct stall_load *load)
{
    uint64_t soft = larger(load->upper_target_bytes, load->memtable_soft_bytes);
    uint64_t hard = soft / 100 * SPACE_HARD_PERCENT + load->flush_dead_bytes +
                    load->floor_gives_bytes;

    if (load->upper_bytes <= soft)
        return 0;
    return between(load->upper_bytes - load->relieved_bytes + load->memtables_dead_bytes, soft,
                   hard);
}

uint32_t stall_pressure(const struct stall_load *load, enum varve_stall_cause *cause)
{
    const uint32_t pressures[VARVE_STALL_CAUSE_COUNT] = {
        [VARVE_STALL_MEMTABLES] = between(load->memtable_bytes, load->memtable_soft_bytes,
                                          load->memtable_hard_bytes),
        [VARVE_STALL_LEVEL0] = between(load->level0_depth, LEVEL0_SOFT_DEPTH, LEVEL0_HARD_DEPTH),
        [VARVE_STALL_SPACE] = space_pressure(load),
        [VARVE_STALL_SEGMENTS] = between(load->segments,
                                         (uint64_t)load->segments_max * SEGMENTS_SOFT_PERCENT / 100,
                                         load->segments_max),
    };

    *cause = VARVE_STALL_NONE;
    for (int i = 0; i < VARVE_STALL_CAUSE_COUNT; i++)
        if (pressures[i] > pressures[*cause])
            *cause = (enum varve_stall_cause)i;
    return pressures[*cause];
}

/* Halved RATE_HALVINGS times over the range, straight lines between: the same relative step everywhere,
 * so that it settles where the disk keeps up, however fast that is. */
uint64_t stall_rate(uint32_t pressure)
{
    uint64_t at, whole, part, rate;

    if (pressure == 0)
        return 0;
    if (pressure > PRESSURE_MAX)
        pressure = PRESSURE_MAX;
    at = (uint64_t)pressure * RATE_HALVINGS;
    whole = at / PRESSURE_MAX;
    part = at % PRESSURE_MAX;
    rate = RATE_MAX_BYTES >> whole;
    return rate - rate / 2 * part / PRESSURE_MAX;
}

static void owe(struct stall *stall, double us, uint64_t now_us)
{
    stall->free_at_us = now_us + (us < DEBT_MAX_US ? (uint64_t)us : DEBT_MAX_US);
}

void stall_set_load(struct stall *stall, const struct stall_load *load, uint64_t now_us)
{
    uint64_t before = stall->rate_bytes;

    stall->load = *load;
    stall->rate_bytes = stall_rate(stall_pressure(load, &stall->cause));
    if (stall->rate_bytes == 0)
        stall->free_at_us = now_us;
    else if (before > 0 && stall->free_at_us > now_us)
        owe(stall,
            (double)(stall->free_at_us - now_us) * (double)before / (double)stall->rate_bytes,
            now_us);
}

uint64_t stall_delay_us(const struct stall *stall, uint64_t now_us)
{
    if (stall->rate_bytes == 0 || stall->free_at_us <= now_us)
        return 0;
    return stall->free_at_us - now_us < STALL_MAX_US ? stall->free_at_us - now_us : STALL_MAX_US;
}

uint64_t stall_round_bytes(const struct stall *stall)
{
    if (stall->rate_bytes == 0)
        return UINT64_MAX;
    return larger(stall->rate_bytes * (STALL_MAX_US / 2) / 1000000, ROUND_BYTES_MIN);
}

/* The bucket holds no tokens for later: what was free while nobody wrote is gone. */
void stall_wrote(struct stall *stall, uint64_t bytes, uint64_t now_us)
{
    uint64_t delay;

    if (stall->rate_bytes == 0) {
        stall->free_at_us = now_us;
        return;
    }
    if (stall->free_at_us < now_us)
        stall->free_at_us = now_us;
    owe(stall,
        (double)(stall->free_at_us - now_us) + (double)bytes * 1e6 / (double)stall->rate_bytes,
        now_us);
    delay = stall_delay_us(stall, now_us);
    if (delay == 0)
        return;
    stall->count[stall->cause]++;
    stall->us[stall->cause] += delay;
    if (delay > stall->us_max)
        stall->us_max = delay;
}
