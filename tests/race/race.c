/* race - see race.h.
 *
 *   race [--seed N] [--writes N] [--readers N] [--rounds N] [--dir D]
 *
 * Default: seed 1, 60,000 writes in 3 rounds, 3 readers; each round ends with a clean close. Threads do
 * not run alike twice: the seed draws what is done, not when. Closes with `N passed, N failed`: rounds. */
#include "race.h"

#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "varve/iter.h"

#define READERS_MAX 64
#define BATCH_MAX 6
#define KIB ((uint64_t)1024)

struct settings {
    uint64_t seed;
    uint64_t writes;
    uint64_t rounds;
    uint32_t readers;
    const char *dir; /* NULL: a new one, removed at the end */
};

struct writer {
    struct race *race;
    struct rng rng;
    struct varve_batch *batch;
    uint64_t seq; /* of the last operation */
    struct state state;
    uint64_t delays;
    uint8_t values[2 * BATCH_MAX][RACE_VALUE_MAX]; /* long ones are borrowed */
};

void race_fail(const struct race *race, const char *fmt, ...)
{
    va_list args;

    printf("FAILED: seed %" PRIu64 ": ", race->seed);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n0 passed, 1 failed\n");
    fflush(stdout);
    _exit(1);
}

static size_t group_of(void *arg, struct varve_slice key)
{
    (void)arg;
    return key.len > 2 && key.data[1] == ':' ? 2 : 0;
}

static void sleep_us(uint64_t us)
{
    struct timespec time = {.tv_nsec = (long)(us * 1000)};

    nanosleep(&time, NULL);
}

/* ---- writing ---- */

static void stage_put(struct writer *writer, uint32_t key)
{
    char text[RACE_KEY_BYTES];
    uint64_t seq = writer->seq + varve_batch_count(writer->batch) + 1;
    uint8_t *bytes = writer->values[varve_batch_count(writer->batch)];
    struct varve_slice name = race_key(key, text);
    struct varve_slice value = varve_slice(bytes, race_value(key, seq, bytes));

    CHECK(varve_batch_put(writer->batch, &name, 1, &value, 1, 0) == 0);
    history_set(&writer->race->history, seq, (struct op){OP_PUT, key, key + 1});
}

static void stage_delete(struct writer *writer, uint32_t from, uint32_t to, int as_range)
{
    char text[RACE_KEY_BYTES];
    char end[RACE_KEY_BYTES];

    for (uint32_t key = from; key < to; key++) {
        uint64_t seq = writer->seq + varve_batch_count(writer->batch) + 1;
        struct varve_slice name = race_key(key, text);
        struct varve_slice behind = to < RACE_KEYS ? race_key(to, end) : varve_slice_str("c");
        if (as_range)
            CHECK(varve_batch_delete_range(writer->batch, name, behind) == 0);
        else
            CHECK(varve_batch_delete(writer->batch, &name, 1) == 0);
        history_set(&writer->race->history, seq,
                    (struct op){OP_DELETE, key, as_range ? to : key + 1});
        if (as_range)
            return;
    }
}

static void stage_some(struct writer *writer)
{
    for (uint64_t count = 1 + rng_below(&writer->rng, BATCH_MAX / 2); count > 0; count--) {
        uint32_t key = (uint32_t)rng_below(&writer->rng, RACE_KEYS);
        uint64_t draw = rng_below(&writer->rng, 64);
        uint32_t width = 1;
        if (key >= RACE_KEYS / 2) {
            key &= ~1u;
            width = 2;
        }
        if (draw == 0) {
            uint32_t to = key + 2 * (1 + (uint32_t)rng_below(&writer->rng, 32));
            stage_delete(writer, key & ~1u, to < RACE_KEYS ? to & ~1u : RACE_KEYS, 1);
        } else if (draw < 12) {
            stage_delete(writer, key, key + width, 0);
        } else {
            for (uint32_t i = 0; i < width; i++)
                stage_put(writer, key + i);
        }
    }
}

static void write_batch(struct writer *writer)
{
    struct race *race = writer->race;
    struct varve_err err = {0};
    uint64_t last = writer->seq + varve_batch_count(writer->batch);
    uint64_t seq = 0;

    atomic_store_explicit(&race->history.issued, last, memory_order_relaxed);
    int rc = varve_write(race->db, writer->batch, &seq, &err);
    if (rc != 0 || seq != last)
        race_fail(race, "write %" PRIu64 " returned %d as %" PRIu64 ": %s", last, rc, seq,
                  err.text);
    writer->seq = last;
    for (uint64_t at = last - varve_batch_count(writer->batch) + 1; at <= last; at++) {
        struct op op = history_get(&race->history, at);
        for (uint32_t key = op.from; key < op.to; key++)
            atomic_store_explicit(&race->history.newest[key], at, memory_order_relaxed);
    }
    varve_batch_clear(writer->batch);
}

/* Only the writer may count; nobody writes meanwhile. */
static void check_counts(struct writer *writer)
{
    struct varve_err err = {0};
    uint64_t counts[2];
    uint64_t expected[2] = {0};

    state_advance(&writer->state, &writer->race->history, writer->seq);
    for (uint32_t key = 0; key < RACE_KEYS; key++)
        expected[key / (RACE_KEYS / 2)] += writer->state.live[key];
    for (int g = 0; g < 2; g++) {
        int rc = varve_count(writer->race->db, varve_slice_str(g == 0 ? "a:" : "b:"), &counts[g],
                             &err);
        if (rc != 0 || counts[g] != expected[g])
            race_fail(writer->race, "group %d counts %" PRIu64 " instead of %" PRIu64 ": %s", g,
                      counts[g], expected[g], err.text);
    }
}

static void write_round(struct writer *writer, uint64_t writes)
{
    struct varve_err err = {0};
    uint64_t end = writer->seq + writes;

    for (uint64_t turn = 0; writer->seq < end; turn++) {
        uint64_t draw = rng_below(&writer->rng, 4096);
        int rc = 0;
        stage_some(writer);
        write_batch(writer);
        if (turn % 64 == 0)
            varve_tick(writer->race->db);
        uint64_t delay_us = varve_write_delay_us(writer->race->db, NULL);
        if (delay_us > 0) {
            writer->delays++;
            sleep_us(delay_us < 2000 ? delay_us : 2000);
        }
        if (draw == 0)
            rc = varve_flush(writer->race->db, &err);
        else if (draw == 1)
            rc = varve_compact(writer->race->db, &err);
        else if (draw == 2)
            varve_set_durability(writer->race->db,
                                 (enum varve_durability)rng_below(&writer->rng, 3));
        else if (draw < 20)
            check_counts(writer);
        if (rc != 0)
            race_fail(writer->race, "flush or compaction: %s", err.text);
    }
    check_counts(writer);
}

/* ---- a disk whose files are never in the system's memory, else nothing would have to be fetched ---- */

static int read_would_block(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                            uint64_t offset, size_t *got, struct varve_err *err)
{
    (void)env;
    (void)file;
    (void)data;
    (void)len;
    (void)offset;
    (void)err;
    *got = 0;
    return VARVE_WOULD_BLOCK;
}

static struct varve_env_ops cold_ops;
static struct varve_env cold_env = {.ops = &cold_ops};

/* ---- rounds ---- */

static void open_db(struct race *race, const char *dir, struct varve_executor *executor)
{
    struct varve_err err = {0};
    struct varve_options options = {
        .env = &cold_env,
        .executor = executor,
        .memtable_size_bytes = 64 * KIB,
        .memtables_max = 4,
        .block_size_bytes = 512,
        .segment_size_bytes = 32 * KIB,
        .block_cache_size_bytes = 1024 * KIB,
        .compaction_jobs = 2,
        .wal_size_bytes = 256 * KIB,
        .min_free_bytes = VARVE_NO_RESERVE,
        .reserve_size_bytes = VARVE_NO_RESERVE,
        .count_group = group_of,
    };

    if (varve_open(dir, &options, &race->db, &err) != 0)
        race_fail(race, "open: %s", err.text);
}

static void run_round(struct race *race, struct writer *writer, const struct settings *settings,
                      const char *dir)
{
    static struct reader readers[READERS_MAX];
    struct varve_executor_threads threads = {.compaction = 2, .read = 2};
    struct varve_executor *executor;
    struct varve_err err = {0};
    struct varve_stats stats;

    CHECK(varve_executor_threads_create(&threads, &executor, NULL) == 0);
    open_db(race, dir, executor);
    varve_stats(race->db, &stats);
    if (stats.seq_visible != writer->seq)
        race_fail(race, "opened at %" PRIu64 " instead of %" PRIu64, stats.seq_visible,
                  writer->seq);
    atomic_store(&race->stop, 0);
    for (uint32_t i = 0; i < settings->readers; i++) {
        readers[i] = (struct reader){.race = race, .no = i};
        CHECK(thread_start(&readers[i].thread, "reader", reader_run, &readers[i]) == 0);
    }
    write_round(writer, settings->writes / settings->rounds);
    atomic_store(&race->stop, 1);
    for (uint32_t i = 0; i < settings->readers; i++)
        thread_join(&readers[i].thread);
    varve_stats(race->db, &stats);
    printf("race: %" PRIu64 " writes, %" PRIu64 " reads, %" PRIu64 " snapshots, %" PRIu64
           " walks, %" PRIu64 " fetches; %" PRIu64 " flushes, %" PRIu64 " compactions, %" PRIu64
           " delays\n",
           writer->seq, atomic_load(&race->reads), atomic_load(&race->snapshots),
           atomic_load(&race->walks), atomic_load(&race->fetches), stats.flushes, stats.compactions,
           writer->delays);
    if (varve_close(race->db, &err) != 0)
        race_fail(race, "close: %s", err.text);
    varve_executor_threads_destroy(executor);
}

static void remove_dir(const char *dir)
{
    char path[1024];
    struct dirent *entry;
    DIR *opened = opendir(dir);

    if (opened == NULL)
        return;
    while ((entry = readdir(opened)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    closedir(opened);
    (void)rmdir(dir);
}

static int parse(struct settings *settings, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'},   {"writes", 1, NULL, 'w'}, {"readers", 1, NULL, 'r'},
        {"rounds", 1, NULL, 'o'}, {"dir", 1, NULL, 'd'},    {NULL, 0, NULL, 0},
    };
    int option;

    *settings = (struct settings){.seed = 1, .writes = 60000, .rounds = 3, .readers = 3};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': settings->seed = strtoull(optarg, NULL, 10); break;
        case 'w': settings->writes = strtoull(optarg, NULL, 10); break;
        case 'r': settings->readers = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'o': settings->rounds = strtoull(optarg, NULL, 10); break;
        case 'd': settings->dir = optarg; break;
        default: return -1;
        }
    }
    return settings->readers <= READERS_MAX && settings->rounds > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    static struct race race;
    static struct writer writer;
    struct settings settings;
    char made[] = "/tmp/varve-race-XXXXXX";

    if (parse(&settings, argc, argv) != 0) {
        fprintf(stderr,
                "usage: race [--seed N] [--writes N] [--readers N] [--rounds N] [--dir D]\n");
        return 2;
    }
    const char *dir = settings.dir != NULL ? settings.dir : mkdtemp(made);
    CHECK(dir != NULL);
    race.seed = settings.seed;
    cold_ops = *varve_env_posix()->ops;
    cold_ops.read_at_nowait = read_would_block;
    history_init(&race.history, settings.writes + settings.rounds * 4096);
    writer.race = &race;
    writer.batch = varve_batch_create();
    CHECK(writer.batch != NULL);
    rng_init(&writer.rng, settings.seed);
    for (uint64_t round = 0; round < settings.rounds; round++)
        run_round(&race, &writer, &settings, dir);
    varve_batch_destroy(writer.batch);
    history_deinit(&race.history);
    if (settings.dir == NULL)
        remove_dir(dir);
    printf("%" PRIu64 " passed, 0 failed\n", settings.rounds);
    return 0;
}
