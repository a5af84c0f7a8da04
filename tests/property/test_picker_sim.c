/* test_picker_sim [--table [POLICY]] - the picker on levels without files (levels.h).
 *
 * Two parts: small key spaces where every rule is checked after each step, with up to three jobs at once; and
 * large ones where space and write amplification are measured. --table measures other policies as
 * well and prints what decisions/0006 says (minutes). */
#include <stdio.h>
#include <string.h>

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
    }
    world_compact_all(&world);
    levels_deinit(&world.levels);
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

struct figures {
    double space;      /* live bytes to those after a full compaction, mean, nothing due */
    double space_peak; /* the most, just after a flush */
    double fill;       /* bytes flushed and merged for each byte while all keys come first */
    double write;      /* bytes flushed and merged for each byte written */
    double depth;      /* runs at one place, mean */
    uint64_t segments;
    uint64_t job_bytes;
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
                                  .tuning = tuning};
}

/* All keys once in random order, then overwrites: `before` times the data unmeasured, `rounds` measured. */
static struct figures measure(const struct levels_config *config, uint32_t shape, double before,
                              double rounds)
{
    struct world world = {.shape = 0};
    struct levels *levels = &world.levels;
    struct figures figures = {0};
    uint64_t user = 0, written = 0, samples = 0;
    uint64_t warm = (uint64_t)(before * config->slots);
    uint64_t writes = warm + (uint64_t)(rounds * config->slots);

    rng_init(&world.rng, 1);
    levels_init(levels, config);
    for (uint32_t i = 0; i < config->slots; i++) /* an odd factor visits each slot once */
        if (levels_write(levels, (uint32_t)((uint64_t)i * 40503 % config->slots), 0))
            levels_drain(levels);
    figures.fill = (double)levels->written_bytes / (double)levels->user_bytes;
    world.shape = shape;
    for (uint64_t i = 0; i < writes; i++) {
        if (i == warm) {
            user = levels->user_bytes;
            written = levels->written_bytes;
        }
        if (!levels_write(levels, world_slot(&world), 0))
            continue;
        if (i >= warm) {
            double space = (double)levels_bytes(levels) /
                           (double)(config->slots * config->slot_bytes);
            figures.space_peak = space > figures.space_peak ? space : figures.space_peak;
        }
        levels_drain(levels);
        if (i < warm)
            continue;
        samples++;
        figures.space += (double)levels_bytes(levels) /
                         (double)(config->slots * config->slot_bytes);
        figures.depth += levels_depth(levels);
        if (levels_segments(levels) > figures.segments)
            figures.segments = levels_segments(levels);
    }
    levels_check(levels);
    figures.space /= (double)(samples > 0 ? samples : 1);
    figures.depth /= (double)(samples > 0 ? samples : 1);
    figures.write = (double)(levels->written_bytes - written) / (double)(levels->user_bytes - user);
    figures.job_bytes = levels->job_bytes_max;
    levels_deinit(levels);
    return figures;
}

static void print_row(const char *name, uint64_t data, uint64_t flush,
                      const struct figures *figures)
{
    printf("| %s | %llu MB | %llu MB | %.3f | %.3f | %.2f | %.1f | %.1f | %llu | %llu MB |\n", name,
           (unsigned long long)(data / MB), (unsigned long long)(flush / MB), figures->space,
           figures->space_peak, figures->fill, figures->write, figures->depth,
           (unsigned long long)figures->segments, (unsigned long long)(figures->job_bytes / MB));
    fflush(stdout);
}

static void test_figures(uint64_t data, uint64_t flush, uint32_t slots, uint32_t shape,
                         double write_max)
{
    struct levels_config config = sized(data, flush, slots, &picker_default_tuning);
    struct figures figures = measure(&config, shape, 1, 1.5);

    print_row(shape == 0 ? "uniform" : "hot tenth", data, flush, &figures);
    EXPECT(figures.space < 1.2);
    EXPECT(figures.write < write_max);
}

/* 5 M small records: a memtable of 64 MB makes a file of 22 MB. */
static void test_fill(void)
{
    struct levels_config config = sized(340 * MB, 22 * MB, 65536, &picker_default_tuning);

    config.floor_bytes = PICKER_FLOOR_MEMTABLES * 64 * MB;
    config.cut_min_bytes = MB;
    struct figures figures = measure(&config, 0, 0, 0);
    print_row("first fill", 340 * MB, 22 * MB, &figures);
    EXPECT(figures.fill < 2.5);
}

static void print_table(const char *only)
{
    static const struct policy {
        const char *name;
        struct picker_tuning tuning;
    } policies[] = {
        {"chosen", {17, 8, 48, 10, 1, 0}},
        {"deeper: 12 runs", {17, 12, 48, 10, 1, 0}},
        {"flatter: 4 runs", {17, 4, 48, 10, 1, 0}},
        {"level 0 holds 96 flushes", {17, 8, 96, 10, 1, 0}},
        {"level 0 holds 24 flushes", {17, 8, 24, 10, 1, 0}},
        {"level 0 not merged with itself", {17, 8, 24, 10, 0, 0}},
        {"levelled: 4 runs, ratio 10", {17, 4, 4, 10, 0, 0}},
        {"all of level 0 at once", {17, 8, 48, 10, 1, 1}},
        {"tiered: as much above as below", {100, 8, 1 << 20, 10, 1, 0}},
    };
    static const struct size {
        uint64_t data;
        uint64_t flush;
        uint32_t slots;
    } sizes[] = {
        {100 * MB, 45 * MB, 16384}, {300 * MB, 45 * MB, 32768}, {600 * MB, 45 * MB, 65536},
        {GB, 45 * MB, 65536},       {GB, 4 * MB, 65536},        {20 * GB, 45 * MB, 65536},
    };

    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        if (only != NULL && strcmp(only, policies[i].name) != 0)
            continue;
        for (size_t k = 0; k < COUNT_OF(sizes); k++) {
            struct levels_config config = sized(sizes[k].data, sizes[k].flush, sizes[k].slots,
                                                &policies[i].tuning);
            struct figures figures = measure(&config, 0, 1, 1.5);
            print_row(policies[i].name, sizes[k].data, sizes[k].flush, &figures);
            EXPECT(i > 0 || sizes[k].data < GB || figures.space < 1.2);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--table") == 0) {
        print_table(argc > 2 ? argv[2] : NULL);
        return 0;
    }
    for (uint64_t seed = 1; seed <= SMALL_SEEDS; seed++)
        test_rules(seed);
    test_disks();
    test_fill();
    test_figures(GB, 45 * MB, 16384, 0, 5);
    test_figures(GB, 45 * MB, 16384, 2, 4);
    printf("passed\n");
    return 0;
}
