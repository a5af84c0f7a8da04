/* stall.h - back-pressure: how long writers are held back so that flushes and compactions keep up. Smooth:
 * a cause begins to count at its soft limit, with delays that nobody notices, and grows until, at the hard
 * limit, writes come in as slowly as the slowest disk can take them. Never a stop.
 *
 * A token bucket whose rate is a pure function of the load. Writer thread; no lock, no clock of its own. */
#ifndef LSM_STALL_H
#define LSM_STALL_H

#include <stdint.h>

#include "varve/db.h"
#include "varve/stats.h"

struct stall_load {
    uint64_t memtable_bytes; /* of all memtables */
    uint64_t memtable_soft_bytes;
    uint64_t memtable_hard_bytes;
    uint32_t level0_depth;
    uint64_t upper_bytes;          /* dead, by what lies above the last level; */
    uint64_t relieved_bytes;       /* of these a merge has taken in so many, */
    uint64_t memtables_dead_bytes; /* about so many more will what is in memory make, */
    uint64_t flush_dead_bytes;     /* and so many a flush */
    uint64_t upper_target_bytes;
    uint64_t floor_gives_bytes; /* of the target: picker.h */
    uint32_t segments;
    uint32_t segments_max;
};

struct stall {
    struct stall_load load;
    enum varve_stall_cause cause;
    uint64_t rate_bytes; /* a second; 0: no limit */
    uint64_t free_at_us; /* the next write may begin then */
    uint64_t count[VARVE_STALL_CAUSES];
    uint64_t us[VARVE_STALL_CAUSES];
    uint64_t us_max;
};

/* The pressure of a load, 0 .. 1000 (soft .. hard), and what it comes from. Pure. */
uint32_t stall_pressure(const struct stall_load *load, enum varve_stall_cause *cause);
/* Bytes a second at that pressure; 0: no limit. Pure. */
uint64_t stall_rate(uint32_t pressure);

/* What was written before is paid for at the new rate from now_us on. */
void stall_set_load(struct stall *stall, const struct stall_load *load, uint64_t now_us);
/* `bytes` were written at now_us. */
void stall_wrote(struct stall *stall, uint64_t bytes, uint64_t now_us);
/* How long to wait from now_us on, at most STALL_MAX_US; a writer that owes more asks again then. */
#define STALL_MAX_US 10000
uint64_t stall_delay_us(const struct stall *stall, uint64_t now_us);
/* What may be written at once, so that it owes no more than STALL_MAX_US / 2, at any but the lowest rates. */
uint64_t stall_round_bytes(const struct stall *stall);

#endif
