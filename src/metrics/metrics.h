/* metrics.h - what the loop counts, and what is sampled from it. Plain integers: whoever does the
 * thing adds to the field. One thread, the loop's (a struct a loop, once there are several). */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include <stdint.h>

#include "base/check.h"

#define METRICS_SAMPLES 16                       /* of each rate; the rate is their mean */
#define METRICS_SAMPLE_US ((uint64_t)100 * 1000) /* microseconds between two samples */
#define METRICS_RUN_ID_BYTES 40                  /* hex digits */

enum metrics_rate { METRICS_RATE_COMMANDS, METRICS_RATE_INPUT, METRICS_RATE_OUTPUT, METRICS_RATES };

struct metrics {
    /* Counters since the start, or since CONFIG RESETSTAT. */
    uint64_t rejected_connections; /* turned away: maxclients, protected mode */
    uint64_t evicted_clients;      /* closed by maxmemory-clients */
    uint64_t net_input_bytes;
    uint64_t net_output_bytes;
    uint64_t net_reads;       /* read calls that brought bytes */
    uint64_t net_writes;      /* write calls that took bytes */
    uint64_t threaded_reads;  /* of those, by loops beside the writer's: of that one alone, as it */
    uint64_t threaded_writes; /* took them (metrics_take) */
    uint64_t protocol_errors; /* clients closed for one */
    uint64_t idle_closes;     /* clients closed by `timeout` */
    uint64_t query_limit_closes;  /* by client-query-buffer-limit */
    uint64_t output_limit_closes; /* by client-output-buffer-limit */
    uint64_t turns;               /* of the loop, that had commands */
    uint64_t turns_rerun;         /* whose commit failed: their commands ran twice */
    uint64_t held_replies;        /* that waited for a sync */
    uint64_t unknown_outcomes;    /* held replies whose sync failed */
    uint64_t parks;               /* of commands that had to wait for the disk, or as writes */

    /* Gauges: the present value, or a peak. RESETSTAT zeroes the peaks only. */
    uint64_t held_replies_now;
    uint64_t parked_now;              /* connections */
    uint64_t input_buffer_max_bytes;  /* the largest of one client */
    uint64_t output_buffer_max_bytes; /* the largest of one client */
    uint64_t memory_peak_bytes;       /* of mem_used_bytes(), as sampled */

    /* Facts. */
    int tcp_port;                          /* that is really listened on; set by the server */
    uint64_t memory_budget_bytes;          /* maxmemory as it is in force; set by the server */
    uint64_t memory_machine_bytes;         /* what the machine or its cgroup has; likewise */
    uint64_t memory_startup_bytes;         /* mem_used_bytes() when it began to listen; likewise */
    uint64_t start_mono_us;                /* clock_mono_us() of metrics_init() */
    uint64_t start_real_us;                /* clock_real_us() of metrics_init() */
    char run_id[METRICS_RUN_ID_BYTES + 1]; /* random; a new one a start */
    char replid[METRICS_RUN_ID_BYTES + 1]; /* likewise: the replication id */

    /* The sampler's own. */
    uint64_t sampled_mono_us;
    uint64_t sampled_total[METRICS_RATES];
    uint64_t samples[METRICS_RATES][METRICS_SAMPLES]; /* a second */
    unsigned next_sample;
};

/* Everything 0 but the start times and the two ids. Returns 0 or VARVE_EIO: the system gives no
 * randomness. */
int metrics_init(struct metrics *metrics) MUST_CHECK;

/* CONFIG RESETSTAT: counters, peaks and rates. */
void metrics_reset(struct metrics *metrics);

/* What a loop beside the writer's counted becomes the other's; nobody counts meanwhile. */
void metrics_take(struct metrics *to, struct metrics *loop);

/* To be called often, from the loop's tick; does nothing until METRICS_SAMPLE_US have passed.
 * now_mono_us is clock_mono_us(), commands the total ever executed (processor_get_stats). */
void metrics_tick(struct metrics *metrics, uint64_t now_mono_us, uint64_t commands);

/* Raises memory_peak_bytes to the present use. */
void metrics_note_memory(struct metrics *metrics);

/* Bytes of memory that the process really has; 0 if the system does not say. */
uint64_t metrics_resident_bytes(void);

/* The mean of the last samples, a second. */
uint64_t metrics_rate(const struct metrics *metrics, enum metrics_rate rate);

#endif
