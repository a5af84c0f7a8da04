#include "run.h"

#include <inttypes.h>

#include "base/mem.h"
#include "base/rng.h"
#include "run_reads.h"
#include "ticks.h"
#include "timeline.h"

#define PACE_MS 10
#define SYNC_MS 1000
#define WARM_STRIDE 8 /* keys: far fewer than a block holds */
#define VERIFY_GETS 1000
#define OVERHEAD_OPS 200000
#define ORDER_SALT 1000 /* apart from small numbers, which are rounds */

void run_pace(struct run *run, uint64_t now)
{
    if (now - run->paced_at < ticks_of_ms(PACE_MS))
        return;
    run->paced_at = now;
    if (run->engine->tick != NULL)
        run->engine->tick(run->db);
    if (run->config->durability == DURABILITY_EVERYSEC &&
        now - run->synced_at >= ticks_of_ms(SYNC_MS)) {
        run->synced_at = now;
        run->engine->sync(run->db);
    }
}

uint64_t run_put(struct run *run, uint64_t n, uint32_t version, struct histogram *histogram)
{
    uint8_t text[KEY_BYTES_MAX];
    struct varve_slice key = data_key(&run->data, 2 * n, text);
    struct varve_slice value = data_value(&run->data, n, version, run->value);
    uint64_t begin = ticks_now();

    run->engine->put(run->db, key, value);
    uint64_t end = ticks_now();
    if (histogram != NULL)
        histogram_add(histogram, end - begin);
    run_pace(run, end);
    return end - begin;
}

static uint64_t fill(struct run *run, const struct step *step)
{
    uint64_t count = step->workload == FILLSYNC ? run->config->syncs : run->config->keys;
    uint64_t salt = ORDER_SALT * (step->workload + 1) + step->round;

    if (count > run->config->keys)
        count = run->config->keys;
    if (step->workload == FILLSYNC)
        run->engine->set_sync(run->db, 1);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = step->workload == FILLSEQ ? i : data_order(&run->data, salt, i);
        run_put(run, n, run->last_version, &run->histogram);
    }
    if (step->workload == FILLSYNC)
        run->engine->set_sync(run->db, 0);
    return count;
}

/* All keys, again and again, each time in another order. */
static uint64_t overwrite_for(struct run *run, const struct step *step)
{
    struct timeline *timeline = run->config->timeline;
    uint64_t keys = run->config->keys;
    uint64_t count = 0;

    timeline_begin(timeline, run->config->seconds, ticks_now());
    while (timeline_goes_on(timeline)) {
        uint64_t salt = ORDER_SALT * (step->workload + 1) + step->round + count;
        run->first_version = run->last_version++;
        for (uint64_t i = 0; i < keys && timeline_goes_on(timeline); i++, count++)
            timeline_add(
                timeline,
                run_put(run, data_order(&run->data, salt, i), run->last_version, &run->histogram),
                ticks_now());
    }
    return count;
}

static uint64_t fill_batches(struct run *run, const struct step *step)
{
    uint64_t salt = ORDER_SALT * (step->workload + 1) + step->round;
    uint64_t keys = run->config->keys;
    uint8_t text[KEY_BYTES_MAX];

    for (uint64_t first = 0; first < keys; first += BATCH_KEYS) {
        uint64_t took = 0;
        for (uint64_t i = first; i < keys && i < first + BATCH_KEYS; i++) {
            uint64_t n = data_order(&run->data, salt, i);
            struct varve_slice key = data_key(&run->data, 2 * n, text);
            struct varve_slice value = data_value(&run->data, n, run->last_version, run->value);
            uint64_t begin = ticks_now();
            run->engine->batch_put(run->db, key, value);
            took += ticks_now() - begin;
        }
        uint64_t begin = ticks_now();
        run->engine->batch_write(run->db);
        uint64_t end = ticks_now();
        histogram_add(&run->histogram, took + end - begin);
        run_pace(run, end);
    }
    return keys;
}

static uint64_t erase_all(struct run *run, const struct step *step)
{
    uint64_t salt = ORDER_SALT * (step->workload + 1) + step->round;
    uint8_t text[KEY_BYTES_MAX];

    for (uint64_t i = 0; i < run->config->keys; i++) {
        uint64_t n = data_order(&run->data, salt, i);
        struct varve_slice key = data_key(&run->data, 2 * n, text);
        uint64_t begin = ticks_now();
        run->engine->erase(run->db, key);
        uint64_t end = ticks_now();
        histogram_add(&run->histogram, end - begin);
        run_pace(run, end);
    }
    return run->config->keys;
}

static uint64_t compact(struct run *run)
{
    uint64_t begin = ticks_now();

    run->engine->compact(run->db);
    histogram_add(&run->histogram, ticks_now() - begin);
    return run->config->keys;
}

uint64_t run_workload(struct run *run, const struct step *step)
{
    run->histogram = (struct histogram){0};
    switch (step->workload) {
    case FILLBATCH: return fill_batches(run, step);
    case OVERWRITE:
        if (run->config->seconds != 0)
            return overwrite_for(run, step);
        run->last_version++;
        break;
    case READRANDOM:
    case READMISSING: return run_gets(run, step);
    case SEEKRANDOM: return run_seeks(run, step);
    case READSEQ: return run_scan(run);
    case READWHILEWRITING: return run_reads_beside_writes(run, step);
    case COMPACT: return compact(run);
    case DELETERANDOM: return erase_all(run, step);
    default: break;
    }
    uint64_t count = fill(run, step);
    run->first_version = run->last_version;
    return count;
}

/* One get that must be right. */
static void check_get(struct run *run, void *reader, uint64_t n, int there)
{
    uint8_t text[KEY_BYTES_MAX];
    struct varve_slice value = {0};
    int found = run->engine->get(reader, data_key(&run->data, 2 * n, text), &value);

    if (found != there ||
        (found && !data_check(&run->data, n, run->first_version, run->last_version, value, 0)))
        bench_fail("key %" PRIu64 " is %s", n, found ? "wrong" : "missing");
    if (found && run->engine->release != NULL)
        run->engine->release(reader);
}

void run_warm(struct run *run)
{
    void *reader = run->engine->reader_open(run->db);

    for (uint64_t n = 0; n < run->config->keys; n += WARM_STRIDE) {
        if (run->engine->enter != NULL)
            run->engine->enter(reader);
        check_get(run, reader, n, 1);
        if (run->engine->leave != NULL)
            run->engine->leave(reader);
        run_pace(run, ticks_now());
    }
    run->engine->reader_close(reader);
}

void run_verify(struct run *run, int there)
{
    void *reader = run->engine->reader_open(run->db);
    struct rng rng;

    rng_init(&rng, run->config->seed);
    for (int i = 0; i < VERIFY_GETS; i++) {
        if (run->engine->enter != NULL)
            run->engine->enter(reader);
        check_get(run, reader, rng_below(&rng, run->config->keys), there);
        if (run->engine->leave != NULL)
            run->engine->leave(reader);
    }
    run->engine->reader_close(reader);
}

void run_overhead(const struct bench_config *config, double *put_ns, double *get_ns,
                  double *clock_ns_each)
{
    static struct histogram histogram;
    struct run run = {.config = config, .value = mem_alloc(config->value_bytes)};
    uint8_t text[KEY_BYTES_MAX];
    uint64_t right = 0;

    if (run.value == NULL)
        bench_fail("no memory for a value");
    data_init(&run.data, config);
    uint64_t begin = clock_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < OVERHEAD_OPS; i++) {
        uint64_t n = data_order(&run.data, ORDER_SALT, i % config->keys);
        (void)data_key(&run.data, 2 * n, text);
        (void)data_value(&run.data, n, 0, run.value);
        uint64_t at = ticks_now();
        histogram_add(&histogram, ticks_now() - at);
    }
    uint64_t middle = clock_ns(CLOCK_MONOTONIC);
    struct varve_slice value = data_value(&run.data, 0, 0, run.value);
    for (uint64_t i = 0; i < OVERHEAD_OPS; i++) {
        (void)data_key(&run.data, 2 * (i % config->keys), text);
        uint64_t at = ticks_now();
        histogram_add(&histogram, ticks_now() - at);
        right += (uint64_t)data_check(&run.data, 0, 0, 0, value, 0);
    }
    uint64_t end = clock_ns(CLOCK_MONOTONIC);
    if (right != OVERHEAD_OPS)
        bench_fail("a value is not itself");
    *put_ns = (double)(middle - begin) / OVERHEAD_OPS;
    *get_ns = (double)(end - middle) / OVERHEAD_OPS;
    *clock_ns_each = (double)histogram_quantile(&histogram, 0.5) / ticks_per_ns;
    data_deinit(&run.data);
    mem_free(run.value);
}
