/* test_picker_sim [--table [WORKLOAD|- [POLICY]]] - the picker on levels without files (levels.h).
 *
 * Two parts: small key spaces where every rule is checked after each step, with up to three jobs at once; and
 * large ones where space and write amplification are measured. --table measures other policies as
 * well and prints what decisions/0022 says (minutes). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "levels.h"

#define MB ((uint64_t)1 << 20)
#define GB ((uint64_t)1 << 30)

/* --- rules */
#define SMALL_SLOTS 600
#define SMALL_STEPS 1200
#define SMALL_SEEDS 12

struct world {
    struct levels levels;
    struct rng rng;
    uint32_t deletes_percent;
    uint32_t expiring_percent;
    uint32_t shape; /* of keys: 0 uniform, 1 in a row, 2 a hot tenth */
    uint32_t next;
};

static uint32_t world_slot(struct world *world)
{
    uint32_t slots = world->levels.config.slots;

    if (world->shape == 1)
        return world->next++ % slots;
    if (world->shape == 2 && rng_below(&world->rng, 10) > 0)
        return (uint32_t)rng_below(&world->rng, slots / 10);
    return (uint32_t)rng_below(&world->rng, slots);
}

static void world_write(struct world *world)
{
    uint32_t expire = 0, dice = (uint32_t)rng_below(&world->rng, 100);

    if (dice < world->deletes_percent)
        expire = TOMBSTONE;
    else if (dice < world->deletes_percent + world->expiring_percent)
        expire = world->levels.now + 1 + (uint32_t)rng_below(&world->rng, 20);
    levels_write(&world->levels, world_slot(world), expire);
}

static void world_step(struct world *world, size_t jobs_max)
{
    struct levels *levels = &world->levels;

    for (uint64_t n = rng_below(&world->rng, 20); n > 0; n--)
        world_write(world);
    for (size_t i = 0; i < jobs_max; i++)
        if (levels->jobs[i].active && rng_below(&world->rng, 3) == 0)
            levels_end(levels, &levels->jobs[i]);
    while (levels_jobs(levels) < jobs_max && rng_below(&world->rng, 3) > 0)
        if (!levels_begin(levels))
            break;
    if (rng_below(&world->rng, 40) == 0)
        levels->oldest_snapshot_seq = levels->oldest_snapshot_seq == UINT64_MAX ? levels->seq
                                                                                : UINT64_MAX;
    if (rng_below(&world->rng, 100) == 0)
        world->shape = (uint32_t)rng_below(&world->rng, 3);
}

/* varve_compact(): one run in the last level, without what is dead. */
static void world_compact_all(struct world *world)
{
    struct levels *levels = &world->levels;

    if (levels->memtable_count > 0)
        levels_flush(levels);
    levels->oldest_snapshot_seq = UINT64_MAX;
    levels->compact_all = 1;
    levels->compact_all_seq = levels->seq;
    levels_drain(levels);
    levels->compact_all = 0;
    levels_check(levels);
    EXPECT(levels->run_count <= 1);
    EXPECT(levels->run_count == 0 || levels->runs[0].level == VARVE_LEVELS_MAX - 1);
    EXPECT(levels_bytes(levels) == levels_live_bytes(levels));
}

static void test_rules(uint64_t seed)
{
    struct picker_tuning tuning = picker_default_tuning;
    struct levels_config config = {.slots = SMALL_SLOTS,
                                   .slot_bytes = 1000,
                                   .tombstone_bytes = 40,
                                   .flush_bytes = 16000,
                                   .segment_bytes = 20000,
                                   .cut_min_bytes = 1000,
                                   .segments_max = 4096,
                                   .tuning = &tuning,
                                   .hiding_percent = 100,
                                   .check_always = 1};
    struct world world = {0};
    size_t jobs_max;

    rng_init(&world.rng, seed);
    world.deletes_percent = (uint32_t)rng_below(&world.rng, 3) * 25;
    world.expiring_percent = (uint32_t)rng_below(&world.rng, 3) * 25;
    if (seed % 3 == 0)
        tuning.level0_flushes_max = 1; /* several levels, small as it is */
    if (seed % 5 == 0)
        config.segments_max = 48;
    jobs_max = 1 + seed % LEVELS_JOBS_MAX;
    levels_init(&world.levels, &config);
    for (int i = 0; i < SMALL_STEPS; i++) {
        world_step(&world, jobs_max);
        if (rng_below(&world.rng, 400) == 0)
            levels_drain(&world.levels);
        if (rng_below(&world.rng, 400) == 0)
            levels_rest(&world.levels);
    }
    world_compact_all(&world);
    levels_deinit(&world.levels);
}

/* --- rests */
#define REST_FLUSHES 256

/* New keys and a few old ones, and a rest behind each flush: level 0 holds all of it, in segments that are small beside
 * it. A byte may be written again each time that its run has doubled, and once more at the edges. */
static void test_rests(uint64_t seed)
{
    struct picker_tuning tuning = picker_default_tuning;
    struct levels_config config = {.slots = 64 * REST_FLUSHES,
                                   .slot_bytes = 1000,
                                   .tombstone_bytes = 30,
                                   .flush_bytes = 64 * 1000,
                                   .segment_bytes = seed % 2 == 0 ? 64 * 1000 : 300 * 1000,
                                   .cut_min_bytes = 1000,
                                   .segments_max = 4096,
                                   .tuning = &tuning,
                                   .hiding_percent = 100};
    struct levels levels;
    struct rng rng;
    uint64_t flushed = 0;

    rng_init(&rng, seed);
    levels_init(&levels, &config);
    tuning.upper_percent = 100000; /* nothing is due for its space */
    tuning.level0_flushes_max = 100000;
    for (uint32_t i = 0; i < config.slots; i++) {
        uint32_t slot = (uint32_t)((uint64_t)i * 40503 % config.slots);
        if (rng_below(&rng, 50) == 0)
            slot = (uint32_t)rng_below(&rng, config.slots);
        if (!levels_write(&levels, slot, 0))
            continue;
        flushed++;
        levels_rest(&levels);
        EXPECT(levels_depth(&levels) <= 12);
    }
    EXPECT(flushed >= REST_FLUSHES / 2);
    EXPECT(levels.written_bytes <= 10 * flushed * config.flush_bytes); /* 1 + log2(256), and 1 */
    levels_deinit(&levels);
}

/* --- a disk that is full */
#define DISK_SEEDS 8

/* Files of a disk so large: the memtable is a part of it, and so on. */
struct disk_shape {
    uint64_t memtable_part;
    uint64_t segment_part;
    uint64_t min_free_part;
};

static uint32_t disk_key(struct world *world, uint64_t seed)
{
    uint32_t slots = world->levels.config.slots;

    return seed % 4 != 0 ? (uint32_t)rng_below(&world->rng, slots) : world->next++ % slots;
}

/* Deletes take room themselves, but a memtable of tombstones is small. */
static void disk_delete(struct world *world, uint32_t percent)
{
    struct levels *levels = &world->levels;

    for (uint32_t slot = 0; slot < levels->config.slots; slot++)
        if (rng_below(&world->rng, 100) < percent && levels_write(levels, slot, TOMBSTONE))
            levels_drain(levels);
    if (levels->memtable_count > 0)
        levels_flush(levels);
    levels_drain(levels);
}

/* Filled until writes are refused; deletes bring it back, and nothing else is done. */
static void test_disk(uint64_t seed, const struct disk_shape *shape, uint32_t percent)
{
    struct picker_tuning tuning = picker_default_tuning;
    uint64_t disk = 4 * MB;
    struct levels_config config = {.slots = 8000,
                                   .slot_bytes = 1000,
                                   .tombstone_bytes = 30,
                                   .flush_bytes = disk / shape->memtable_part,
                                   .segment_bytes = disk / shape->segment_part,
                                   .cut_min_bytes = disk / shape->memtable_part / 64,
                                   .segments_max = 4096,
                                   .tuning = &tuning,
                                   .hiding_percent = 100,
                                   .disk_bytes = disk,
                                   .min_free_bytes = disk / shape->min_free_part};
    struct world world = {0};
    struct levels *levels = &world.levels;

    rng_init(&world.rng, seed);
    levels_init(levels, &config);
    for (int writes = 0; levels_free(levels) >= config.min_free_bytes + config.flush_bytes;
         writes++) {
        if (levels_write(levels, disk_key(&world, seed), 0))
            levels_drain(levels);
        EXPECT(writes < 100 * (int)config.slots);
    }
    disk_delete(&world, percent);
    levels_check(levels);
    EXPECT(levels_free(levels) >= config.min_free_bytes + config.flush_bytes);
    /* Nearly all that was dead is free. */
    EXPECT(levels_bytes(levels) <= levels_live_bytes(levels) + disk / 4);
    levels_deinit(levels);
}

static void test_disks(void)
{
    static const struct disk_shape shapes[] = {{64, 32, 16}, {64, 16, 16}, {32, 64, 32}};

    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        for (uint64_t seed = 1; seed <= DISK_SEEDS; seed++)
            test_disk(seed, &shapes[i], seed % 3 == 0 ? 90 : 50);
}

/* --- figures */
/* The floor, in parts of what a flush writes: a memtable's 64 MB make 45. */
#define FLOOR_PERCENT (PICKER_FLOOR_MEMTABLES * 100 * 64 / 45)

struct figure_run;

struct figures {
    double space;      /* live bytes to those after a full compaction, mean, nothing due */
    double space_peak; /* the most, just after a flush */
    double fill;       /* bytes flushed and merged for each byte while all keys come first */
    double write;      /* bytes flushed and merged for each byte written */
    double depth;      /* runs at one place, mean */
    size_t runs;       /* of level 0, the most */
    uint64_t segments;
    uint64_t job_bytes;
};

/* What is written: `fill` of the slots first, in random order, then step by step. */
struct workload {
    const char *name;
    double fill;
    double before; /* writes that are not measured, in parts of the slots */
    double rounds; /* and those that are */
    void (*write)(struct figure_run *run);
};

struct figure_run {
    struct levels levels;
    struct rng rng;
    const struct workload *workload;
    struct figures figures;
    uint32_t filled; /* slots up to there were written */
    uint32_t oldest; /* of a queue */
    uint32_t zipf_next;
    double *zipf;
    uint64_t samples;
    int measuring;
};

static struct levels_config sized(uint64_t data, uint64_t flush, uint32_t slots,
                                  const struct picker_tuning *tuning)
{
    return (struct levels_config){.slots = slots,
                                  .slot_bytes = data / slots,
                                  .tombstone_bytes = data / slots / 20 + 1,
                                  .flush_bytes = flush,
                                  .floor_bytes = flush * FLOOR_PERCENT / 100,
                                  .segment_bytes = 64 * MB,
                                  .cut_min_bytes = flush / 32 > MB / 4 ? flush / 32 : MB / 4,
                                  .segments_max = 4096,
                                  .hiding_percent = 100,
                                  .tuning = tuning};
}

static double space_now(const struct levels *levels)
{
    uint64_t live = levels_live_bytes(levels);

    return live == 0 ? 1 : (double)levels_bytes(levels) / (double)live;
}

static void run_write(struct figure_run *run, uint32_t slot, uint32_t expire)
{
    struct levels *levels = &run->levels;
    struct figures *figures = &run->figures;

    if (!levels_write(levels, slot, expire))
        return;
    double space = space_now(levels);
    if (run->measuring && space > figures->space_peak)
        figures->space_peak = space;
    levels_drain(levels);
    if (levels_level0_runs(levels) > figures->runs)
        figures->runs = levels_level0_runs(levels);
    if (levels_segments(levels) > figures->segments)
        figures->segments = levels_segments(levels);
    if (!run->measuring)
        return;
    run->samples++;
    figures->space += space_now(levels);
    figures->depth += levels_depth(levels);
}

/* An odd factor visits each slot once. */
static uint32_t shuffled(const struct figure_run *run, uint32_t i)
{
    return (uint32_t)((uint64_t)i * 40503 % run->levels.config.slots);
}

static void write_uniform(struct figure_run *run)
{
    run_write(run, (uint32_t)rng_below(&run->rng, run->levels.config.slots), 0);
}

static void write_hot(struct figure_run *run)
{
    uint32_t slots = run->levels.config.slots;

    run_write(run,
              (uint32_t)rng_below(&run->rng, rng_below(&run->rng, 10) > 0 ? slots / 10 : slots), 0);
}

/* Zipf 0.99 of the slots in random order; the sums of the weights are made once. */
static void write_zipf(struct figure_run *run)
{
    uint32_t slots = run->levels.config.slots;
    uint32_t low = 0, high = slots - 1;

    if (run->zipf == NULL) {
        run->zipf = mem_alloc(slots * sizeof(double));
        EXPECT(run->zipf != NULL);
        for (uint32_t i = 0; i < slots; i++)
            run->zipf[i] = (i > 0 ? run->zipf[i - 1] : 0) + pow(i + 1, -0.99);
    }
    double dice = (double)rng_below(&run->rng, 1u << 30) / (1u << 30) * run->zipf[slots - 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (run->zipf[middle] < dice)
            low = middle + 1;
        else
            high = middle;
    }
    run_write(run, shuffled(run, low), 0);
}

static void write_half_new(struct figure_run *run)
{
    if (rng_below(&run->rng, 2) == 0 && run->filled < run->levels.config.slots)
        run_write(run, shuffled(run, run->filled++), 0);
    else
        run_write(run, shuffled(run, (uint32_t)rng_below(&run->rng, run->filled)), 0);
}

static void write_deletes(struct figure_run *run)
{
    run_write(run, (uint32_t)rng_below(&run->rng, run->levels.config.slots),
              rng_below(&run->rng, 2) == 0 ? TOMBSTONE : 0);
}

static void write_in_order(struct figure_run *run)
{
    run_write(run, run->filled++ % run->levels.config.slots, 0);
}

/* Keys in order; the oldest are deleted when a quarter of all slots live. */
static void write_queue(struct figure_run *run)
{
    uint32_t slots = run->levels.config.slots;

    run_write(run, run->filled++ % slots, 0);
    if (run->filled - run->oldest > slots / 4)
        run_write(run, run->oldest++ % slots, TOMBSTONE);
}

/* Into the gaps of what was filled at random, in order. */
static void write_between(struct figure_run *run)
{
    run_write(run, 2 * run->oldest++ + 1, 0);
}

static const struct workload workloads[] = {
    {"first fill", 1, 0, 0, write_uniform},
    {"uniform", 1, 1, 1.5, write_uniform},
    {"hot tenth", 1, 1, 1.5, write_hot},
    {"zipf 0.99", 1, 1, 1.5, write_zipf},
    {"half new", 0.1, 0, 1.8, write_half_new},
    {"half deletes", 1, 1, 1.5, write_deletes},
    {"in order", 0, 0, 1, write_in_order},
    {"queue", 0, 1, 2, write_queue},
    {"new keys in order between others", 0.5, 0, 0.5, write_between},
};

static struct figures measure(const struct levels_config *config, const struct workload *workload)
{
    struct figure_run run = {.workload = workload};
    struct figures *figures = &run.figures;
    struct levels *levels = &run.levels;
    uint64_t warm = (uint64_t)(workload->before * config->slots);
    uint64_t user, written;

    rng_init(&run.rng, 1);
    levels_init(levels, config);
    run.filled = (uint32_t)(workload->fill * config->slots);
    for (uint32_t i = 0; i < run.filled; i++)
        if (workload->write == write_between)
            run_write(&run, 2 * (uint32_t)((uint64_t)i * 40503 % run.filled), 0);
        else
            run_write(&run, shuffled(&run, i), 0);
    figures->fill = (double)levels->written_bytes / ((double)levels->user_bytes + 1);
    for (uint64_t i = 0; i < warm; i++)
        workload->write(&run);
    user = levels->user_bytes;
    written = levels->written_bytes;
    run.measuring = 1;
    for (uint64_t i = 0; i < (uint64_t)(workload->rounds * config->slots); i++)
        workload->write(&run);
    levels_check(levels);
    figures->space /= (double)(run.samples > 0 ? run.samples : 1);
    figures->depth /= (double)(run.samples > 0 ? run.samples : 1);
    figures->write = (double)(levels->written_bytes - written) /
                     ((double)(levels->user_bytes - user) + 1);
    figures->job_bytes = levels->job_bytes_max;
    if (workload->rounds == 0)
        figures->depth = levels_depth(levels);
    mem_free(run.zipf);
    levels_deinit(levels);
    return *figures;
}

static void print_row(const char *policy, const char *name, uint64_t data, uint64_t flush,
                      const struct figures *figures)
{
    printf("| %s | %s | %llu MB | %llu MB | %.3f | %.3f | %.2f | %.2f | %.1f | %zu | %llu | %llu "
           "MB |\n",
           policy, name, (unsigned long long)(data / MB), (unsigned long long)(flush / MB),
           figures->space, figures->space_peak, figures->fill, figures->write, figures->depth,
           figures->runs, (unsigned long long)figures->segments,
           (unsigned long long)(figures->job_bytes / MB));
    fflush(stdout);
}

static void print_table(const char *only, const char *only_policy)
{
    static const struct policy {
        const char *name;
        struct picker_tuning tuning;
        int by_bytes;
        uint32_t hiding_percent;
    } policies[] = {
        {"by bytes", {17, 8, 48, 10, 1, 0}, 1, 100},
        {"chosen", {17, 8, 48, 10, 1, 0}, 0, 100},
        {"12 runs", {17, 12, 48, 10, 1, 0}, 0, 100},
        {"estimate 5 % low", {17, 8, 48, 10, 1, 0}, 0, 95},
    };
    static const struct size {
        uint64_t data;
        uint64_t flush;
        uint32_t slots;
    } sizes[] = {
        {340 * MB, 22 * MB, 65536}, {GB, 45 * MB, 65536},      {GB, 4 * MB, 65536},
        {4 * GB, 45 * MB, 65536},   {20 * GB, 45 * MB, 65536},
    };

    for (size_t w = 0; w < COUNT_OF(workloads); w++)
        for (size_t k = 0; k < COUNT_OF(sizes); k++)
            for (size_t i = 0; i < COUNT_OF(policies); i++) {
                if (only != NULL && strcmp(only, "-") != 0 && strcmp(only, workloads[w].name) != 0)
                    continue;
                if (only_policy != NULL && strcmp(only_policy, policies[i].name) != 0)
                    continue;
                struct levels_config config = sized(sizes[k].data, sizes[k].flush, sizes[k].slots,
                                                    &policies[i].tuning);
                config.hiding_unknown = policies[i].by_bytes;
                config.hiding_percent = policies[i].hiding_percent;
                struct figures figures = measure(&config, &workloads[w]);
                print_row(policies[i].name, workloads[w].name, sizes[k].data, sizes[k].flush,
                          &figures);
            }
}

/* --- bounds */
static const struct workload *workload_named(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(workloads); i++)
        if (strcmp(workloads[i].name, name) == 0)
            return &workloads[i];
    levels_failed(__FILE__, __LINE__, name);
}

static struct figures figures_of(const char *name, uint64_t data, uint64_t flush,
                                 uint32_t hiding_percent)
{
    struct levels_config config = sized(data, flush, 65536, &picker_default_tuning);

    config.hiding_percent = hiding_percent;
    struct figures figures = measure(&config, workload_named(name));
    print_row("chosen", name, data, flush, &figures);
    EXPECT(figures.job_bytes < 600 * MB);
    EXPECT(figures.runs <= picker_default_tuning.level0_flushes_max);
    return figures;
}

static void test_bounds(void)
{
    static const struct bound {
        const char *name;
        double write;
        uint32_t hiding_percent;
    } bounds[] = {{"uniform", 5, 100},
                  {"uniform", 5, 95},
                  {"hot tenth", 4, 100},
                  {"zipf 0.99", 2.5, 100},
                  {"half deletes", 6, 100}};

    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        struct figures figures = figures_of(bounds[i].name, GB, 45 * MB, bounds[i].hiding_percent);
        EXPECT(figures.space < 1.2);
        EXPECT(figures.write < bounds[i].write);
    }
    /* Nothing of it is dead. 5 M small records: a memtable of 64 MB makes a file of 22 MB. */
    EXPECT(figures_of("first fill", 340 * MB, 22 * MB, 100).fill < 1.7);
    struct figures ordered = figures_of("in order", GB, 45 * MB, 100);
    EXPECT(ordered.write <= 1 && ordered.job_bytes == 0);
    EXPECT(ordered.runs <= picker_default_tuning.depth_max);
    (void)figures_of("new keys in order between others", GB, 4 * MB, 100);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--table") == 0) {
        print_table(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
        return 0;
    }
    for (uint64_t seed = 1; seed <= SMALL_SEEDS; seed++)
        test_rules(seed);
    for (uint64_t seed = 1; seed <= 4; seed++)
        test_rests(seed);
    test_disks();
    test_bounds();
    printf("passed\n");
    return 0;
}
