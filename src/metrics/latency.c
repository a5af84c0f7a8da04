#include "metrics/latency.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define GRAPH_ROWS 6
#define GRAPH_COLUMNS 72 /* the newest samples */

static const struct {
    const char *name;
    const char *advice;
} events[LATENCY_EVENTS] = {
    [LATENCY_COMMAND] = {"command", "SLOWLOG GET names the commands: those over many keys or long "
                                    "values are better cut into several."},
    [LATENCY_FAST_COMMAND] = {"fast-command",
                              "such commands are short by themselves: look for what else uses the "
                              "processor, or for memory that is swapped out."},
    [LATENCY_WRITE_STALL] = {"write-stall",
                             "flushes or compactions do not keep up: INFO lsm says which; more "
                             "compaction-threads, a larger memtable-size, or a faster disk help."},
    [LATENCY_LOG_WRITE] = {"log-write",
                           "the system took its time to take the log: too much unwritten data, or "
                           "a busy disk."},
    [LATENCY_LOG_SYNC] = {"log-sync", "the disk is slow to make the log durable; with appendfsync "
                                      "always every write waits for it."},
};

static int append_fmt(struct buf *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

static int append_fmt(struct buf *out, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    CHECK(len >= 0 && (size_t)len < sizeof(text));
    return buf_append(out, text, (size_t)len);
}

const char *latency_event_name(enum latency_event event)
{
    return events[event].name;
}

int latency_find_event(struct varve_slice name)
{
    for (int i = 0; i < LATENCY_EVENTS; i++)
        if (varve_slice_equal(name, varve_slice_str(events[i].name)))
            return i;
    return -1;
}

void latency_add(struct latency *latency, enum latency_event event, uint64_t now_s, uint64_t ms)
{
    struct latency_series *series = &latency->events[event];
    struct latency_sample
        *last = &series->samples[(series->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES];

    if (ms > series->max_ms)
        series->max_ms = ms;
    if (last->time_s == now_s) {
        if (ms > last->ms)
            last->ms = ms;
        return;
    }
    series->samples[series->next] = (struct latency_sample){.time_s = now_s, .ms = ms};
    series->next = (series->next + 1) % LATENCY_SAMPLES;
}

const struct latency_sample *latency_sample(const struct latency *latency, enum latency_event event,
                                            unsigned nth)
{
    const struct latency_series *series = &latency->events[event];

    if (nth >= LATENCY_SAMPLES)
        return NULL;
    const struct latency_sample
        *sample = &series->samples[(series->next + LATENCY_SAMPLES - 1 - nth) % LATENCY_SAMPLES];
    return sample->time_s == 0 ? NULL : sample;
}

int latency_happened(const struct latency *latency, enum latency_event event)
{
    return latency_sample(latency, event, 0) != NULL;
}

int latency_reset(struct latency *latency, enum latency_event event)
{
    int happened = latency_happened(latency, event);

    latency->events[event] = (struct latency_series){.next = 0};
    return happened;
}

/* ---- texts ---- */

struct range {
    uint64_t low_ms;
    uint64_t high_ms;
    unsigned count;
};

static struct range series_range(const struct latency *latency, enum latency_event event,
                                 unsigned newest)
{
    struct range range = {.low_ms = UINT64_MAX};
    const struct latency_sample *sample;

    while (range.count < newest && (sample = latency_sample(latency, event, range.count)) != NULL) {
        range.count++;
        if (sample->ms < range.low_ms)
            range.low_ms = sample->ms;
        if (sample->ms > range.high_ms)
            range.high_ms = sample->ms;
    }
    return range;
}

/* How long ago, in at most three characters, as long as a century has not passed. */
static void age_text(uint64_t age_s, char text[8])
{
    static const struct {
        const char *unit;
        uint64_t seconds;
    } units[] = {{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}};
    unsigned i = 0;

    while (age_s < units[i].seconds && i < COUNT_OF(units) - 1)
        i++;
    snprintf(text, 8, "%u%s", (unsigned)(age_s / units[i].seconds % 100000), units[i].unit);
}

/* A row for each sixth of the range, a column for each sample, oldest first. */
int latency_graph(const struct latency *latency, enum latency_event event, uint64_t now_s,
                  struct buf *out)
{
    struct range range = series_range(latency, event, GRAPH_COLUMNS);
    char oldest[8] = "";
    int rc = append_fmt(
        out, "%s - high %" PRIu64 " ms, low %" PRIu64 " ms (all time high %" PRIu64 " ms)\n",
        events[event].name, range.high_ms, range.count == 0 ? 0 : range.low_ms,
        latency->events[event].max_ms);

    for (unsigned row = GRAPH_ROWS; row > 0 && rc == 0; row--) {
        char line[GRAPH_COLUMNS + 2];
        for (unsigned i = 0; i < range.count; i++) {
            const struct latency_sample *sample = latency_sample(latency, event,
                                                                 range.count - 1 - i);
            uint64_t height = range.high_ms == range.low_ms
                                  ? 1
                                  : 1 + (sample->ms - range.low_ms) * (GRAPH_ROWS - 1) /
                                            (range.high_ms - range.low_ms);
            line[i] = height >= row ? '#' : ' ';
        }
        line[range.count] = '\n';
        rc = buf_append(out, line, range.count + 1);
    }
    if (rc != 0 || range.count == 0)
        return rc;
    uint64_t first_s = latency_sample(latency, event, range.count - 1)->time_s;
    age_text(now_s > first_s ? now_s - first_s : 0, oldest);
    return append_fmt(out, "oldest first; the first was %s ago\n", oldest);
}

int latency_report(const struct latency *latency, uint64_t threshold_ms, struct buf *out)
{
    int rc = 0;
    int found = 0;

    if (threshold_ms == 0)
        return append_fmt(out, "Latency is not monitored. CONFIG SET latency-monitor-threshold "
                               "<milliseconds> begins it.\n");
    for (int i = 0; i < LATENCY_EVENTS && rc == 0; i++) {
        enum latency_event event = (enum latency_event)i;
        struct range range = series_range(latency, event, LATENCY_SAMPLES);
        if (range.count == 0)
            continue;
        found = 1;
        rc = append_fmt(out,
                        "%s: %u seconds with delays of %" PRIu64 " to %" PRIu64
                        " ms, all time high %" PRIu64 " ms.\n  Advice: %s\n",
                        events[i].name, range.count, range.low_ms, range.high_ms,
                        latency->events[i].max_ms, events[i].advice);
    }
    if (rc == 0 && !found)
        rc = append_fmt(out, "No delay of %" PRIu64 " ms or more was seen.\n", threshold_ms);
    return rc;
}
