#include "child.h"

#include <malloc.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "run.h"
#include "ticks.h"
#include "usage.h"

#define SETTLE_POLL_MS 10
#define SETTLE_CPU_NS 250000 /* of a poll in which nothing happened */
#define SETTLE_LIMIT_NS (UINT64_C(600) * 1000000000)

enum state { STATE_EMPTY, STATE_NATURAL, STATE_COMPACTED, STATE_UNLIKE };

struct child {
    struct run run;
    enum state state;
};

/* Waits until the engine says that it is idle, and for settle_ms none of its threads ran to speak of. */
static void settle(struct run *run)
{
    const struct timespec nap = {.tv_nsec = SETTLE_POLL_MS * 1000000};
    uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t seen_ns = usage_cpu_ns();

    for (uint32_t quiet_ms = 0; quiet_ms < run->config->settle_ms;) {
        run_pace(run, ticks_now());
        nanosleep(&nap, NULL);
        uint64_t used_ns = usage_cpu_ns() - seen_ns;
        seen_ns += used_ns;
        if (used_ns > SETTLE_CPU_NS || (run->engine->idle != NULL && !run->engine->idle(run->db)))
            quiet_ms = 0;
        else
            quiet_ms += SETTLE_POLL_MS;
        if (clock_ns(CLOCK_MONOTONIC) - begin_ns > SETTLE_LIMIT_NS)
            bench_fail("does not come to rest");
    }
}

static void start_anew(struct child *child)
{
    struct run *run = &child->run;

    if (run->db != NULL)
        run->engine->close(run->db);
    usage_empty_dir(run->config->dir);
    malloc_trim(0); /* what the allocator kept of the database before is not the next one's */
    run->db = run->engine->open(run->config);
    run->first_version = run->last_version = 0;
    child->state = STATE_EMPTY;
    settle(run);
}

static void open_cold(struct run *run)
{
    run->engine->close(run->db);
    usage_drop_cache(run->config->dir);
    run->db = run->engine->open(run->config);
}

static void do_unmeasured(struct child *child, enum workload workload, const struct step *step)
{
    struct step other = {.workload = workload, .round = step->round};

    (void)run_workload(&child->run, &other);
    child->state = workload == COMPACT ? STATE_COMPACTED : STATE_NATURAL;
    settle(&child->run);
}

static int starts_anew(enum workload workload)
{
    return workload == FILLSEQ || workload == FILLSYNC || workload == FILLBATCH ||
           workload == FILLRANDOM;
}

/* Makes the database what the step begins with, if the steps before it did not. */
static void prepare(struct child *child, const struct step *step)
{
    int natural = child->state == STATE_NATURAL;
    int compacted = child->state == STATE_COMPACTED && step->workload != COMPACT;

    if (starts_anew(step->workload)) {
        start_anew(child);
        return;
    }
    if (!natural && (!compacted || step->tree == TREE_NATURAL)) {
        start_anew(child);
        do_unmeasured(child, FILLRANDOM, step);
        if (step->workload != OVERWRITE)
            do_unmeasured(child, OVERWRITE, step);
    }
    if (step->tree == TREE_COMPACTED && child->state != STATE_COMPACTED)
        do_unmeasured(child, COMPACT, step);
    if (workload_reads(step->workload) && child->run.config->cold)
        open_cold(&child->run);
    else if (workload_reads(step->workload))
        run_warm(&child->run);
    settle(&child->run);
}

static enum state state_after(const struct child *child, enum workload workload)
{
    switch (workload) {
    case FILLRANDOM:
    case OVERWRITE: return STATE_NATURAL;
    case COMPACT: return STATE_COMPACTED;
    case FILLSEQ:
    case FILLSYNC:
    case FILLBATCH:
    case DELETERANDOM: return STATE_UNLIKE;
    case READWHILEWRITING: return STATE_NATURAL;
    default: return child->state;
    }
}

static void verify(struct child *child, const struct step *step)
{
    if (!workload_reads(step->workload) && step->workload != FILLSYNC)
        run_verify(&child->run, step->workload != DELETERANDOM);
}

static void measure(struct child *child, const struct step *step, struct result *result)
{
    struct run *run = &child->run;
    const struct histogram *histogram = &run->histogram;

    usage_rss_reset();
    uint64_t written = usage_written_bytes();
    uint64_t cpu_ns = usage_cpu_ns();
    uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    result->ops = run_workload(run, step);
    result->wall_ns = clock_ns(CLOCK_MONOTONIC) - begin_ns;
    settle(run);
    result->cpu_ns = usage_cpu_ns() - cpu_ns;
    result->bytes_written = usage_written_bytes() - written;
    result->peak_rss_bytes = usage_rss_peak_bytes();
    result->bytes_on_disk = usage_disk_bytes(run->config->dir, &result->log_bytes);
    result->p50_ns = ticks_to_ns(histogram_quantile(histogram, 0.5));
    result->p99_ns = ticks_to_ns(histogram_quantile(histogram, 0.99));
    result->p999_ns = ticks_to_ns(histogram_quantile(histogram, 0.999));
    result->max_ns = ticks_to_ns(histogram->max);
}

void child_serve(const struct engine *engine, const struct bench_config *config, int in, int out)
{
    static struct child child;
    struct run *run = &child.run;
    struct step step;

    bench_name(engine->name);
    run->engine = engine;
    run->config = config;
    run->value = mem_alloc(config->value_bytes);
    if (run->value == NULL)
        bench_fail("no memory for a value");
    data_init(&run->data, config);
    start_anew(&child);
    while (read(in, &step, sizeof step) == (ssize_t)sizeof step) {
        struct result result = {0};
        prepare(&child, &step);
        measure(&child, &step, &result);
        child.state = state_after(&child, step.workload);
        verify(&child, &step);
        usage_sync_files(config->dir);
        if (write(out, &result, sizeof result) != (ssize_t)sizeof result)
            bench_fail("the pipe is gone");
    }
    engine->close(run->db);
    data_deinit(&run->data);
    mem_free(run->value);
}
