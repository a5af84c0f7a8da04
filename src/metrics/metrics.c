#include "metrics/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "varve/status.h"

#define US_PER_SECOND ((uint64_t)1000 * 1000)

/* METRICS_RUN_ID_BYTES random hex digits. */
static int random_id(char *id)
{
    uint8_t bytes[METRICS_RUN_ID_BYTES / 2];
    size_t got = 0;

    while (got < sizeof(bytes)) {
        ssize_t more = getrandom(bytes + got, sizeof(bytes) - got, 0);
        if (more < 0 && errno != EINTR)
            return VARVE_EIO;
        got += more > 0 ? (size_t)more : 0;
    }
    for (size_t i = 0; i < METRICS_RUN_ID_BYTES; i++)
        id[i] = "0123456789abcdef"[(bytes[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 0x0f];
    id[METRICS_RUN_ID_BYTES] = '\0';
    return 0;
}

int metrics_init(struct metrics *metrics)
{
    *metrics = (struct metrics){0};
    metrics->start_mono_us = clock_mono_us();
    metrics->start_real_us = clock_real_us();
    metrics->sampled_mono_us = metrics->start_mono_us;
    metrics->memory_peak_bytes = mem_used_bytes();
    if (random_id(metrics->run_id) != 0)
        return VARVE_EIO;
    return random_id(metrics->replid);
}

void metrics_reset(struct metrics *metrics)
{
    struct metrics old = *metrics;

    *metrics = (struct metrics){
        .held_replies_now = old.held_replies_now,
        .parked_now = old.parked_now,
        .memory_peak_bytes = mem_used_bytes(),
        .tcp_port = old.tcp_port,
        .memory_budget_bytes = old.memory_budget_bytes,
        .memory_machine_bytes = old.memory_machine_bytes,
        .memory_startup_bytes = old.memory_startup_bytes,
        .start_mono_us = old.start_mono_us,
        .start_real_us = old.start_real_us,
        .sampled_mono_us = old.sampled_mono_us,
    };
    memcpy(metrics->run_id, old.run_id, sizeof(old.run_id));
    memcpy(metrics->replid, old.replid, sizeof(old.replid));
}

static void take(uint64_t *to, uint64_t *from)
{
    *to += *from;
    *from = 0;
}

static void take_max(uint64_t *to, uint64_t *from)
{
    if (*from > *to)
        *to = *from;
    *from = 0;
}

void metrics_take(struct metrics *to, struct metrics *loop)
{
    to->threaded_reads += loop->net_reads;
    to->threaded_writes += loop->net_writes;
    take(&to->net_input_bytes, &loop->net_input_bytes);
    take(&to->net_output_bytes, &loop->net_output_bytes);
    take(&to->net_reads, &loop->net_reads);
    take(&to->net_writes, &loop->net_writes);
    take(&to->protocol_errors, &loop->protocol_errors);
    take(&to->idle_closes, &loop->idle_closes);
    take(&to->query_limit_closes, &loop->query_limit_closes);
    take(&to->output_limit_closes, &loop->output_limit_closes);
    take(&to->turns, &loop->turns);
    take_max(&to->input_buffer_max_bytes, &loop->input_buffer_max_bytes);
    take_max(&to->output_buffer_max_bytes, &loop->output_buffer_max_bytes);
}

void metrics_tick(struct metrics *metrics, uint64_t now_mono_us, uint64_t commands)
{
    const uint64_t totals[METRICS_RATES] = {
        [METRICS_RATE_COMMANDS] = commands,
        [METRICS_RATE_INPUT] = metrics->net_input_bytes,
        [METRICS_RATE_OUTPUT] = metrics->net_output_bytes,
    };

    if (now_mono_us < metrics->sampled_mono_us + METRICS_SAMPLE_US)
        return;
    uint64_t passed_us = now_mono_us - metrics->sampled_mono_us;
    for (int rate = 0; rate < METRICS_RATES; rate++) {
        uint64_t before = metrics->sampled_total[rate];
        /* a total that shrank was reset in between */
        uint64_t grown = totals[rate] < before ? totals[rate] : totals[rate] - before;
        metrics->samples[rate][metrics->next_sample] = (uint64_t)((double)grown *
                                                                  (double)US_PER_SECOND /
                                                                  (double)passed_us);
        metrics->sampled_total[rate] = totals[rate];
    }
    metrics->next_sample = (metrics->next_sample + 1) % METRICS_SAMPLES;
    metrics->sampled_mono_us = now_mono_us;
    metrics_note_memory(metrics);
}

void metrics_note_memory(struct metrics *metrics)
{
    uint64_t used = mem_used_bytes();

    if (used > metrics->memory_peak_bytes)
        metrics->memory_peak_bytes = used;
}

uint64_t metrics_rate(const struct metrics *metrics, enum metrics_rate rate)
{
    uint64_t sum = 0;

    for (int i = 0; i < METRICS_SAMPLES; i++)
        sum += metrics->samples[rate][i];
    return sum / METRICS_SAMPLES;
}

uint64_t metrics_resident_bytes(void)
{
    FILE *statm = fopen("/proc/self/statm", "re");
    uint64_t pages = 0;

    if (statm == NULL)
        return 0;
    if (fscanf(statm, "%*s %" SCNu64, &pages) != 1)
        pages = 0;
    fclose(statm);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
