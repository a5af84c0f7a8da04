/* race - see race.h.
 *
 *   race [--seed N] [--budget COUNT|TIME] [--readers N] [--dir D]
 *
 * Default: seed 1, a million operations, of which a fifth are writes, and 3 readers. They come in rounds, each
 * of which ends with a clean close; after some rounds the next seed has an empty directory, made below D.
 * What every thread does comes from the seed, and the digest is of that plan; threads do not run alike twice,
 * so when they do it does not. Closes as campaign.h says; passed are rounds. */
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

#include "campaign.h"
#include "varve/iter.h"

#define OPERATIONS_DEFAULT 1000000
#define ROUND_OPERATIONS 100000
#define ROUNDS_A_DIRECTORY 10
#define WRITES_OF 5 /* every so manieth operation is a write */
#define READERS_MAX 64
#define BATCH_MAX 6
#define KIB ((uint64_t)1024)

struct settings {
    uint64_t seed;
    struct budget budget;
    uint32_t readers;
    const char *dir; /* where directories are made */
};

/* Of all rounds. */
struct totals {
    double began_s;
    uint64_t rounds;
    uint64_t done; /* operations */
    uint64_t writes;
    uint64_t reads;
    uint64_t snapshots;
    uint64_t fetches;
    uint64_t digest; /* of the plan */
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
        .row_cache_size_bytes = 64 * KIB,
        .compaction_jobs = 2,
        .wal_size_bytes = 256 * KIB,
        .min_free_bytes = VARVE_NO_RESERVE,
        .reserve_size_bytes = VARVE_NO_RESERVE,
        .count_group = group_of,
    };

    if (varve_open(dir, &options, &race->db, &err) != 0)
        race_fail(race, "open: %s", err.text);
}

static void start_readers(struct race *race, struct reader *readers, uint32_t count, uint64_t reads)
{
    for (uint32_t i = 0; i < count; i++) {
        readers[i] = (struct reader){.race = race, .no = i, .reads = reads / count};
        CHECK(thread_start(&readers[i].thread, "reader", reader_run, &readers[i]) == 0);
    }
}

static void run_round(struct race *race, struct writer *writer, uint32_t reader_count,
                      uint64_t operations, struct totals *totals)
{
    static struct reader readers[READERS_MAX];
    uint64_t writes = operations / WRITES_OF;
    uint64_t reads_before = atomic_load(&race->reads);
    uint64_t seq_before = writer->seq;
    struct varve_executor_threads threads = {.compaction = 2, .read = 2};
    struct varve_executor *executor;
    struct varve_err err = {0};
    struct varve_stats stats;

    CHECK(varve_executor_threads_create(&threads, &executor, NULL) == 0);
    open_db(race, race->dir, executor);
    varve_stats(race->db, &stats);
    if (stats.seq_visible != writer->seq)
        race_fail(race, "opened at %" PRIu64 " instead of %" PRIu64, stats.seq_visible,
                  writer->seq);
    start_readers(race, readers, reader_count, operations - writes);
    write_round(writer, writes);
    for (uint32_t i = 0; i < reader_count; i++) {
        thread_join(&readers[i].thread);
        totals->digest = digest_add(totals->digest, readers[i].plan);
    }
    varve_stats(race->db, &stats);
    fprintf(stderr,
            "race: seed %" PRIu64 ", round %" PRIu64 ": %" PRIu64 " flushes, %" PRIu64
            " compactions, %" PRIu64 " fetches, %" PRIu64 " delays\n",
            race->seed, race->round, stats.flushes, stats.compactions, atomic_load(&race->fetches),
            writer->delays);
    if (varve_close(race->db, &err) != 0)
        race_fail(race, "close: %s", err.text);
    varve_executor_threads_destroy(executor);
    totals->rounds++;
    totals->done += writer->seq - seq_before + atomic_load(&race->reads) - reads_before;
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

static void note_plan(struct totals *totals, const struct writer *writer)
{
    for (uint64_t seq = 1; seq <= writer->seq; seq++) {
        struct op op = history_get(&writer->race->history, seq);
        totals->digest = digest_add(totals->digest, op.kind);
        totals->digest = digest_add(totals->digest, op.from);
        totals->digest = digest_add(totals->digest, op.to);
    }
}

/* Some rounds in a directory of their own. */
static void run_directory(const struct settings *settings, uint64_t seed, struct totals *totals)
{
    static struct race race;
    static struct writer writer;
    char dir[512];

    snprintf(dir, sizeof(dir), "%s/varve-race-XXXXXX", settings->dir);
    CHECK(mkdtemp(dir) != NULL);
    race = (struct race){.seed = seed, .dir = dir};
    memset(&writer, 0, sizeof(writer));
    history_init(&race.history, ROUNDS_A_DIRECTORY * (ROUND_OPERATIONS / WRITES_OF + 4096));
    writer.race = &race;
    writer.batch = varve_batch_create();
    CHECK(writer.batch != NULL);
    rng_init(&writer.rng, seed);
    while (race.round < ROUNDS_A_DIRECTORY &&
           budget_left(&settings->budget, totals->done, totals->began_s)) {
        uint64_t operations = ROUND_OPERATIONS;
        if (settings->budget.count != 0 && settings->budget.count - totals->done < operations)
            operations = settings->budget.count - totals->done;
        race.round++;
        run_round(&race, &writer, settings->readers, operations, totals);
    }
    note_plan(totals, &writer);
    totals->writes += writer.seq;
    totals->reads += atomic_load(&race.reads);
    totals->snapshots += atomic_load(&race.snapshots);
    totals->fetches += atomic_load(&race.fetches);
    varve_batch_destroy(writer.batch);
    history_deinit(&race.history);
    remove_dir(dir);
}

static int parse(struct settings *settings, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'}, {"budget", 1, NULL, 'b'}, {"readers", 1, NULL, 'r'},
        {"dir", 1, NULL, 'd'},  {NULL, 0, NULL, 0},
    };
    int option;
    int rc = 0;

    *settings = (struct settings){
        .seed = 1, .budget = {.count = OPERATIONS_DEFAULT}, .readers = 3, .dir = "/tmp"};
    while (rc == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': rc = seed_parse(optarg, &settings->seed); break;
        case 'b': rc = budget_parse(optarg, &settings->budget); break;
        case 'r': settings->readers = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'd': settings->dir = optarg; break;
        default: rc = -1; break;
        }
    }
    return rc == 0 && settings->readers > 0 && settings->readers <= READERS_MAX ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct totals totals = {.began_s = campaign_now_s(), .digest = DIGEST_BEGIN};
    uint64_t seeds = 0;

    if (parse(&settings, argc, argv) != 0) {
        fprintf(stderr, "usage: race [--seed N] [--budget COUNT|TIME] [--readers N] [--dir D]\n");
        return 2;
    }
    cold_ops = *varve_env_posix()->ops;
    cold_ops.read_at_nowait = read_would_block;
    while (budget_left(&settings.budget, totals.done, totals.began_s))
        run_directory(&settings, settings.seed + seeds++, &totals);
    fprintf(stderr, "race: %" PRIu64 " fetches\n", totals.fetches);
    return campaign_close("race", settings.seed, totals.rounds, 0,
                          "%" PRIu64 " operations (%" PRIu64 " writes, %" PRIu64 " reads, %" PRIu64
                          " snapshots) by %u threads in %" PRIu64
                          " rounds, all answers explained; digest of the plan %016" PRIx64,
                          totals.writes + totals.reads, totals.writes, totals.reads,
                          totals.snapshots, settings.readers + 1, totals.rounds, totals.digest);
}
