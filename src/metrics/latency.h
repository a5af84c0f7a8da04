/* latency.h - what held the server up, and when: by event the worst delay of each of the last
 * LATENCY_SAMPLES seconds that had one. A fixed 21 KB. One thread. */
#ifndef METRICS_LATENCY_H
#define METRICS_LATENCY_H

#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/slice.h"

#define LATENCY_SAMPLES 160

/* In the order in which LATENCY LATEST shows them. */
enum latency_event {
    LATENCY_COMMAND,      /* a command took long, */
    LATENCY_FAST_COMMAND, /* or one with the flag FAST did */
    LATENCY_WRITE_STALL,  /* writes were held back, since flushes or compactions are late */
    LATENCY_LOG_WRITE,    /* handing a turn's log to the system */
    LATENCY_LOG_SYNC,     /* the longest a record has waited for the disk */
    LATENCY_EVENTS
};

struct latency_sample {
    uint64_t time_s; /* since 1970; 0: none */
    uint64_t ms;
};

struct latency_series {
    struct latency_sample samples[LATENCY_SAMPLES]; /* a ring; `next` is the oldest */
    unsigned next;
    uint64_t max_ms; /* of all times, 0: nothing happened */
};

struct latency {
    struct latency_series events[LATENCY_EVENTS];
};

const char *latency_event_name(enum latency_event event);
/* Exact, as Redis has it; -1: there is none. */
int latency_find_event(struct varve_slice name);

/* Of several in one second the worst counts. */
void latency_add(struct latency *latency, enum latency_event event, uint64_t now_s, uint64_t ms);

/* 1 if it ever happened, since it was reset. */
int latency_happened(const struct latency *latency, enum latency_event event);

/* The n-th last sample, 0 is the newest; NULL: there are not so many. */
const struct latency_sample *latency_sample(const struct latency *latency, enum latency_event event,
                                            unsigned nth);

/* Returns 1 if there was something to forget. */
int latency_reset(struct latency *latency, enum latency_event event);

/* Texts of LATENCY GRAPH and LATENCY DOCTOR, appended. 0, or the code of buf_append. */
int latency_graph(const struct latency *latency, enum latency_event event, uint64_t now_s,
                  struct buf *out) MUST_CHECK;
int latency_report(const struct latency *latency, uint64_t threshold_ms,
                   struct buf *out) MUST_CHECK;

#endif
