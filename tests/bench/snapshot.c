/* snapshot - a reader holds a snapshot through full compactions under overwrites and deletes, and sees
 * exactly the data of its beginning; after the release their space comes back without further writes.
 *
 *   snapshot [--keys N] [--value BYTES] [--rounds N] [--dir D]
 *
 * Default: 500,000 keys of 200 bytes, 10 rounds. In each round every key is overwritten or (one in eight,
 * another eighth each time; some as ranges) deleted, keys that the snapshot does not know are added, and
 * all is compacted; meanwhile a thread walks the snapshot, forward and backward, and gets keys of it.
 * Prints a table and closes with `N passed, N failed`. Values do not compress. */
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/thread.h"
#include "varve/db.h"
#include "varve/iter.h"

#define MIB ((uint64_t)1024 * 1024)
#define KEY_BYTES 16
#define VALUE_MAX_BYTES ((size_t)64 * 1024)
#define RANGE_KEYS 64
#define BATCH_OPS 100
#define RELEASE_WAIT_US ((uint64_t)60 * 1000000)
#define TICK_US 20000
#define SPACE_PERCENT 110 /* of what the live keys take */

struct bench {
    struct varve_db *db;
    uint32_t keys;
    uint32_t value_bytes;
    uint32_t rounds;
    const struct varve_snapshot *snapshot;
    _Atomic int stop;
    _Atomic uint64_t walks; /* of the whole snapshot */
    _Atomic uint64_t gets;
    _Atomic uint64_t wrong;
    uint64_t passed;
    uint64_t failed;
};

static struct varve_slice key_of(uint32_t key, char text[KEY_BYTES + 1])
{
    snprintf(text, KEY_BYTES + 1, "key:%012u", key);
    return varve_slice(text, KEY_BYTES);
}

static struct varve_slice value_of(const struct bench *bench, uint32_t key, uint32_t version,
                                   uint8_t *bytes)
{
    struct rng rng;

    rng_init(&rng, ((uint64_t)key << 32) + version);
    for (uint32_t i = 0; i < bench->value_bytes; i += 8) {
        uint64_t word = rng_next(&rng);
        memcpy(bytes + i, &word, bench->value_bytes - i < 8 ? bench->value_bytes - i : 8);
    }
    return varve_slice(bytes, bench->value_bytes);
}

static void report(struct bench *bench, int ok, const char *what, double figure, const char *bound)
{
    printf("| %s | %.2f | %s | %s |\n", what, figure, bound, ok ? "PASS" : "FAIL");
    fflush(stdout);
    bench->passed += ok != 0;
    bench->failed += ok == 0;
}

static void die(const char *what, const struct varve_err *err)
{
    printf("FAILED: %s: %s\n0 passed, 1 failed\n", what, err->text);
    exit(1);
}

/* ---- the reader ---- */

static void check_value(struct bench *bench, uint32_t key, struct varve_slice got, uint8_t *bytes)
{
    if (!varve_slice_equal(got, value_of(bench, key, 0, bytes)))
        atomic_fetch_add(&bench->wrong, 1);
}

static void walk_snapshot(struct bench *bench, int backward, uint8_t *bytes)
{
    struct varve_read read = {.snapshot = bench->snapshot, .no_fill = 1};
    struct varve_err err = {0};
    struct varve_iter *iter = varve_iter_create(bench->db, &read, NULL, NULL, &err);
    char text[KEY_BYTES + 1];
    uint32_t seen = 0;

    if (iter == NULL)
        die("iterator", &err);
    backward ? varve_iter_last(iter) : varve_iter_first(iter);
    while (varve_iter_valid(iter) && !atomic_load(&bench->stop)) {
        uint32_t key = backward ? bench->keys - 1 - seen : seen;
        if (!varve_slice_equal(varve_iter_key(iter), key_of(key, text)))
            atomic_fetch_add(&bench->wrong, 1);
        check_value(bench, key, varve_iter_value(iter), bytes);
        seen++;
        backward ? varve_iter_prev(iter) : varve_iter_next(iter);
    }
    if (!atomic_load(&bench->stop)) {
        if (varve_iter_status(iter, &err) != 0)
            die("walk", &err);
        if (seen != bench->keys)
            atomic_fetch_add(&bench->wrong, 1);
        atomic_fetch_add(&bench->walks, 1);
    }
    varve_iter_destroy(iter);
}

static void get_some(struct bench *bench, struct rng *rng, uint8_t *bytes)
{
    struct varve_read read = {.snapshot = bench->snapshot};
    char text[KEY_BYTES + 1];

    for (int i = 0; i < 20000 && !atomic_load(&bench->stop); i++) {
        uint32_t key = (uint32_t)rng_below(rng, 2 * (uint64_t)bench->keys);
        struct varve_pin pin = {0};
        struct varve_err err = {0};
        int rc = varve_get(bench->db, &read, key_of(key, text), &pin, &err);
        if (rc < 0)
            die("get", &err);
        if ((rc == 0) != (key < bench->keys))
            atomic_fetch_add(&bench->wrong, 1);
        else if (rc == 0)
            check_value(bench, key, pin.value, bytes);
        varve_pin_release(&pin);
        atomic_fetch_add(&bench->gets, 1);
    }
}

static void reader_run(void *arg)
{
    static uint8_t bytes[VALUE_MAX_BYTES];
    struct bench *bench = arg;
    struct rng rng;

    rng_init(&rng, 11);
    for (int turn = 0; !atomic_load(&bench->stop); turn++) {
        walk_snapshot(bench, turn % 2, bytes);
        get_some(bench, &rng, bytes);
    }
}

/* ---- the writer ---- */

static void write_batch(struct bench *bench, struct varve_batch *batch)
{
    struct varve_err err = {0};
    int rc;

    while ((rc = varve_write(bench->db, batch, NULL, &err)) == VARVE_EFULL) {
        varve_tick(bench->db);
        thread_sleep_us(1000);
    }
    if (rc != 0)
        die("write", &err);
    varve_batch_clear(batch);
    varve_tick(bench->db);
}

/* Is the key deleted in that round? */
static int is_deleted(uint32_t key, uint32_t round)
{
    return round > 0 && key / RANGE_KEYS % 8 == round % 8;
}

static void stage(struct bench *bench, struct varve_batch *batch, uint32_t key, uint32_t round)
{
    static uint8_t bytes[VALUE_MAX_BYTES];
    char text[KEY_BYTES + 1];
    char end[KEY_BYTES + 1];
    struct varve_slice name = key_of(key, text);
    int rc;

    if (!is_deleted(key, round)) {
        struct varve_slice value = value_of(bench, key, round, bytes);
        rc = varve_batch_put(batch, &name, 1, &value, 1, 0);
    } else if (key / RANGE_KEYS % 2 == 0) {
        rc = varve_batch_delete(batch, &name, 1);
    } else {
        rc = key % RANGE_KEYS != 0
                 ? 0
                 : varve_batch_delete_range(batch, name, key_of(key + RANGE_KEYS, end));
    }
    CHECK(rc == 0);
}

static void write_round(struct bench *bench, uint32_t count, uint32_t round)
{
    struct varve_batch *batch = varve_batch_create();

    CHECK(batch != NULL);
    for (uint32_t i = 0; i < count; i++) {
        /* Each range of keys in turn, the ranges in an order that jumps about. */
        uint32_t ranges = (count + RANGE_KEYS - 1) / RANGE_KEYS;
        uint32_t range = (uint32_t)((uint64_t)(i / RANGE_KEYS) * 7919 % ranges);
        uint32_t key = range * RANGE_KEYS + i % RANGE_KEYS;
        if (key < count)
            stage(bench, batch, key, round);
        if (varve_batch_count(batch) >= BATCH_OPS)
            write_batch(bench, batch);
    }
    write_batch(bench, batch);
    varve_batch_destroy(batch);
}

static void check_newest(struct bench *bench, uint32_t count, uint32_t round)
{
    static uint8_t bytes[VALUE_MAX_BYTES];
    char text[KEY_BYTES + 1];
    uint64_t wrong = 0;

    for (uint32_t key = 0; key < count; key++) {
        struct varve_pin pin = {0};
        struct varve_err err = {0};
        int rc = varve_get(bench->db, NULL, key_of(key, text), &pin, &err);
        if (rc < 0)
            die("get", &err);
        wrong += (rc != 0) != is_deleted(key, round) ||
                 (rc == 0 && !varve_slice_equal(pin.value, value_of(bench, key, round, bytes)));
        varve_pin_release(&pin);
    }
    report(bench, wrong == 0, "newest values that are wrong", (double)wrong, "= 0");
}

/* ---- space ---- */

static uint64_t files_bytes(const char *dir)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    uint64_t bytes = 0;

    CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL) {
        struct stat about;
        if (strstr(entry->d_name, ".seg") != NULL &&
            fstatat(dirfd(folder), entry->d_name, &about, 0) == 0)
            bytes += (uint64_t)about.st_size;
    }
    closedir(folder);
    return bytes;
}

/* Ticks until the segments are small enough, or for RELEASE_WAIT_US. Returns seconds. */
static double wait_space(struct bench *bench, const char *dir, uint64_t wanted_bytes)
{
    uint64_t begin_us = clock_mono_us();

    while (files_bytes(dir) > wanted_bytes && clock_mono_us() - begin_us < RELEASE_WAIT_US) {
        varve_tick(bench->db);
        thread_sleep_us(TICK_US);
    }
    return (double)(clock_mono_us() - begin_us) / 1e6;
}

static void compact(struct bench *bench)
{
    struct varve_err err = {0};

    if (varve_compact(bench->db, &err) != 0)
        die("compaction", &err);
    varve_tick(bench->db);
}

static void run_rounds(struct bench *bench, const char *dir)
{
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bench->db);
    struct thread reader;
    uint32_t all = bench->keys + bench->keys / 4;
    uint64_t live = 0;

    CHECK(snapshot != NULL);
    bench->snapshot = snapshot;
    CHECK(thread_start(&reader, "reader", reader_run, bench) == 0);
    for (uint32_t round = 1; round <= bench->rounds; round++) {
        write_round(bench, all, round);
        compact(bench);
        fprintf(stderr, "  round %u: segments %.1f MiB, %" PRIu64 " walks, %" PRIu64 " gets\n",
                round, (double)files_bytes(dir) / (double)MIB, atomic_load(&bench->walks),
                atomic_load(&bench->gets));
    }
    while (atomic_load(&bench->walks) < 2) /* one each way at least */
        thread_sleep_us(TICK_US);
    atomic_store(&bench->stop, 1);
    thread_join(&reader);
    atomic_store(&bench->stop, 0);
    static uint8_t bytes[VALUE_MAX_BYTES];
    walk_snapshot(bench, 0, bytes);
    walk_snapshot(bench, 1, bytes);
    report(bench, atomic_load(&bench->walks) >= 4, "walks of the whole snapshot",
           (double)atomic_load(&bench->walks), ">= 4");
    report(bench, atomic_load(&bench->gets) > 0, "gets from it", (double)atomic_load(&bench->gets),
           "> 0");
    report(bench, atomic_load(&bench->wrong) == 0, "wrong answers from it",
           (double)atomic_load(&bench->wrong), "= 0");
    check_newest(bench, all, bench->rounds);
    for (uint32_t key = 0; key < all; key++)
        live += is_deleted(key, bench->rounds) ? 0 : KEY_BYTES + bench->value_bytes;
    double held = (double)files_bytes(dir) / (double)MIB;
    varve_snapshot_release(bench->db, snapshot);
    double waited_s = wait_space(bench, dir, live / 100 * SPACE_PERCENT);
    double share = (double)files_bytes(dir) / (double)live;
    printf("| live keys and values, MiB | %.1f | | |\n", (double)live / (double)MIB);
    printf("| segments with the snapshot, MiB | %.1f | | |\n", held);
    report(bench, share * 100 <= SPACE_PERCENT, "segments after the release, of the live bytes",
           share, "<= 1.10");
    printf("| seconds for that | %.1f | | |\n", waited_s);
    compact(bench);
    wait_space(bench, dir, live / 100 * SPACE_PERCENT);
    share = (double)files_bytes(dir) / (double)live;
    report(bench, share * 100 <= SPACE_PERCENT, "segments after one more compaction", share,
           "<= 1.10");
    check_newest(bench, all, bench->rounds);
}

/* ---- the program ---- */

static void run(struct bench *bench, const char *dir)
{
    struct varve_executor_threads threads = {.compaction = 2, .read = 2};
    struct varve_executor *executor;
    struct varve_err err = {0};
    struct varve_options options = {
        .memtable_size_bytes = 8 * MIB,
        .block_cache_size_bytes = 32 * MIB,
        .segment_size_bytes = 8 * MIB,
        .compaction_jobs = 2,
    };

    if (varve_executor_threads_create(&threads, &executor, &err) != 0)
        die("executor", &err);
    options.executor = executor;
    if (varve_open(dir, &options, &bench->db, &err) != 0)
        die("open", &err);
    printf("| what | figure | bound | |\n|---|---|---|---|\n");
    write_round(bench, bench->keys, 0);
    run_rounds(bench, dir);
    if (varve_close(bench->db, &err) != 0)
        die("close", &err);
    varve_executor_threads_destroy(executor);
}

static void remove_dir(const char *dir)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;

    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL)
        (void)unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    rmdir(dir);
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"keys", required_argument, NULL, 'k'},
        {"value", required_argument, NULL, 'v'},
        {"rounds", required_argument, NULL, 'r'},
        {"dir", required_argument, NULL, 'd'},
        {0},
    };
    static struct bench bench = {.keys = 500000, .value_bytes = 200, .rounds = 10};
    char made[] = "/tmp/varve-snapshot-XXXXXX";
    const char *dir = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'k': bench.keys = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'v': bench.value_bytes = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'r': bench.rounds = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'd': dir = optarg; break;
        default: return 2;
        }
    }
    bench.keys = (bench.keys + 4 * RANGE_KEYS - 1) / (4 * RANGE_KEYS) * (4 * RANGE_KEYS);
    if (bench.keys == 0 || bench.rounds == 0 || bench.value_bytes > VALUE_MAX_BYTES)
        return 2;
    if (dir == NULL)
        dir = mkdtemp(made);
    CHECK(dir != NULL);
    run(&bench, dir);
    if (dir == made)
        remove_dir(dir);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", bench.passed, bench.failed);
    return bench.failed != 0;
}
