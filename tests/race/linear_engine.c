/* linear_engine - one thread writes, others get, few keys, while flushes and compactions run; what each was
 * told, and when, is recorded and must be linearizable (linear.h).
 *
 *   linear_engine [--seed N] [--budget COUNT|TIME] [--readers N]
 *
 * A budget counts operations; default 700,000. They come in rounds, each on a new directory. The seed draws
 * what is done, not when. Closes with `N passed, N failed`: a case is a round. */
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "campaign.h"
#include "linear.h"
#include "varve/db.h"

#define KEYS 6
#define READERS_MAX 16
#define ROUND_OPS 50000u /* of all threads */
#define BATCH_MAX 3
#define AHEAD_MAX 64 /* operations that a reader may be ahead of the writer's part of the round */
#define VALUE_MAX_BYTES 400

struct round {
    struct varve_db *db;
    struct linear_op *ops;
    uint64_t count;
    uint64_t part; /* operations of each thread, the writer's the last ones */
    _Atomic uint64_t written;
    uint64_t seed;
};

struct reader {
    struct thread thread;
    struct round *round;
    uint64_t no;
};

/* Fenced on both sides: what was stored before may still wait in the processor's store buffer when the clock
 * is read, and what is loaded after it may have been loaded ahead of it (Intel SDM 3A, 8.2; RDTSC). */
static uint64_t now_ns(void)
{
    struct timespec now;

    atomic_thread_fence(memory_order_seq_cst);
    clock_gettime(CLOCK_MONOTONIC, &now);
    atomic_thread_fence(memory_order_seq_cst);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct varve_slice key_of(uint32_t key, char text[8])
{
    snprintf(text, 8, "key%u", key);
    return varve_slice_str(text);
}

static void fatal(const char *what, const struct varve_err *err)
{
    printf("FAILED: %s: %s\n0 passed, 1 failed\n", what, err->text);
    exit(1);
}

/* ---- threads ---- */

static void read_key(struct round *round, struct linear_op *op)
{
    struct varve_pin pin = {0};
    struct varve_err err = {0};
    char text[8];

    op->kind = LINEAR_GET;
    op->begin_ns = now_ns();
    int rc = varve_get(round->db, NULL, key_of(op->key, text), &pin, &err);
    op->end_ns = now_ns();
    if (rc != 0 && rc != VARVE_NOT_FOUND)
        fatal("get", &err);
    op->found = rc == 0;
    if (rc == 0)
        op->result = linear_hash(linear_text(pin.value.data, pin.value.len));
    varve_pin_release(&pin);
}

static void reader_run(void *arg)
{
    struct reader *reader = arg;
    struct round *round = reader->round;
    struct linear_op *mine = round->ops + reader->no * round->part;
    struct rng rng;

    rng_init(&rng, round->seed * 100 + reader->no);
    for (uint64_t i = 0; i < round->part; i++) {
        while (i > atomic_load_explicit(&round->written, memory_order_relaxed) + AHEAD_MAX)
            (void)sched_yield();
        mine[i].key = (uint32_t)rng_below(&rng, KEYS);
        read_key(round, &mine[i]);
    }
}

/* What one batch does to different keys has the same begin and end. */
static size_t stage(struct rng *rng, struct varve_batch *batch, struct linear_op *ops, size_t left)
{
    static uint8_t bytes[BATCH_MAX][VALUE_MAX_BYTES];
    size_t count = 1 + (size_t)rng_below(rng, BATCH_MAX);
    uint32_t key = (uint32_t)rng_below(rng, KEYS);

    if (count > left)
        count = left;
    for (size_t i = 0; i < count; i++, key = (key + 1) % KEYS) {
        char text[8];
        struct varve_slice name = key_of(key, text);
        size_t len = 8 + (size_t)rng_below(rng, VALUE_MAX_BYTES - 8);
        ops[i].key = key;
        if (rng_below(rng, 8) == 0) {
            ops[i].kind = LINEAR_DELETE;
            CHECK(varve_batch_delete(batch, &name, 1) == 0);
            continue;
        }
        uint64_t draw = rng_next(rng);
        memset(bytes[i], (int)(draw & 0xff), len);
        memcpy(bytes[i], &draw, sizeof(draw));
        struct varve_slice value = varve_slice(bytes[i], len);
        ops[i].kind = LINEAR_SET;
        ops[i].value = linear_text(bytes[i], len);
        CHECK(varve_batch_put(batch, &name, 1, &value, 1, 0) == 0);
    }
    return count;
}

/* A delete of the engine does not say what was there; the single writer knows. */
static void tell_deletes(struct linear_op *ops, size_t count, uint8_t live[KEYS])
{
    for (size_t i = 0; i < count; i++) {
        ops[i].found = live[ops[i].key];
        live[ops[i].key] = ops[i].kind == LINEAR_SET;
    }
}

static void disturb(struct round *round, struct rng *rng)
{
    struct varve_err err = {0};
    uint64_t draw = rng_below(rng, 1024);
    int rc = 0;

    if (draw == 0)
        rc = varve_flush(round->db, &err);
    else if (draw == 1)
        rc = varve_compact(round->db, &err);
    else if (draw == 2)
        varve_set_durability(round->db, (enum varve_durability)rng_below(rng, 3));
    else if (draw < 20)
        varve_tick(round->db);
    if (rc != 0)
        fatal("flush or compaction", &err);
}

static void write_all(struct round *round, struct linear_op *mine)
{
    struct varve_batch *batch = varve_batch_create();
    struct varve_err err = {0};
    uint8_t live[KEYS] = {0};
    struct rng rng;

    CHECK(batch != NULL);
    rng_init(&rng, round->seed * 100 + 99);
    for (uint64_t done = 0; done < round->part;) {
        uint64_t left = round->part - done;
        size_t count = stage(&rng, batch, mine + done, left < BATCH_MAX ? (size_t)left : BATCH_MAX);
        tell_deletes(mine + done, count, live);
        uint64_t begin_ns = now_ns();
        if (varve_write(round->db, batch, NULL, &err) != 0)
            fatal("write", &err);
        uint64_t end_ns = now_ns();
        for (size_t i = 0; i < count; i++) {
            mine[done + i].begin_ns = begin_ns;
            mine[done + i].end_ns = end_ns;
        }
        varve_batch_clear(batch);
        done += count;
        atomic_store_explicit(&round->written, done, memory_order_relaxed);
        disturb(round, &rng);
    }
    varve_batch_destroy(batch);
}

/* ---- rounds ---- */

static void remove_dir(const char *dir)
{
    char path[1024];
    struct dirent *entry;
    DIR *opened = opendir(dir);

    while (opened != NULL && (entry = readdir(opened)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    if (opened != NULL)
        closedir(opened);
    (void)rmdir(dir);
}

static void run_threads(struct round *round, uint64_t readers)
{
    struct varve_executor_threads threads = {.compaction = 1, .read = 1};
    struct varve_options options = {
        .memtable_size_bytes = (uint64_t)64 * 1024,
        .memtables_max = 4,
        .block_size_bytes = 512,
        .segment_size_bytes = (uint64_t)32 * 1024,
        .block_cache_size_bytes = (uint64_t)1024 * 1024,
        .row_cache_size_bytes = (uint64_t)64 * 1024,
        .wal_size_bytes = (uint64_t)256 * 1024,
        .min_free_bytes = VARVE_NO_RESERVE,
        .reserve_size_bytes = VARVE_NO_RESERVE,
    };
    static struct reader all[READERS_MAX];
    char dir[] = "/tmp/varve-linear-XXXXXX";
    struct varve_err err = {0};
    struct varve_stats stats;

    CHECK(mkdtemp(dir) != NULL);
    CHECK(varve_executor_threads_create(&threads, &options.executor, &err) == 0);
    if (varve_open(dir, &options, &round->db, &err) != 0)
        fatal("open", &err);
    for (uint64_t i = 0; i < readers; i++) {
        all[i] = (struct reader){.round = round, .no = i};
        CHECK(thread_start(&all[i].thread, "reader", reader_run, &all[i]) == 0);
    }
    write_all(round, round->ops + readers * round->part);
    for (uint64_t i = 0; i < readers; i++)
        thread_join(&all[i].thread);
    varve_stats(round->db, &stats);
    fprintf(stderr, "linear_engine: %" PRIu64 " flushes, %" PRIu64 " compactions\n", stats.flushes,
            stats.compactions);
    if (varve_close(round->db, &err) != 0)
        fatal("close", &err);
    varve_executor_threads_destroy(options.executor);
    remove_dir(dir);
}

/* 1 if its history is linearizable. */
static int run_round(struct round *round, uint64_t readers)
{
    struct linear_report report;

    round->ops = mem_alloc_zero(round->count * sizeof(*round->ops));
    CHECK(round->ops != NULL);
    run_threads(round, readers);
    linear_check_all(round->ops, round->count, KEYS, &report);
    fprintf(stderr, "linear_engine: %" PRIu64 " at once, %" PRIu64 " choices\n", report.pending_max,
            report.choices_max);
    if (report.verdict != LINEAR_YES) {
        printf("FAILED: round of seed %" PRIu64 ": the history is %s\n", round->seed,
               report.verdict == LINEAR_NO ? "not linearizable" : "too wide to tell");
        linear_print(round->ops, round->count, report.op);
    }
    mem_free(round->ops);
    return report.verdict == LINEAR_YES;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seed", 1, NULL, 's'},
                                            {"budget", 1, NULL, 'b'},
                                            {"readers", 1, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    struct budget budget = {.count = 700000};
    uint64_t seed = 1;
    uint64_t readers = 3;
    uint64_t ops = 0;
    uint64_t passed = 0;
    int wrong = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': wrong |= seed_parse(optarg, &seed); break;
        case 'b': wrong |= budget_parse(optarg, &budget); break;
        case 'r': wrong |= seed_parse(optarg, &readers); break;
        default: wrong = 1;
        }
    }
    if (wrong || readers == 0 || readers > READERS_MAX) {
        fprintf(stderr, "usage: linear_engine [--seed N] [--budget B] [--readers N]\n");
        return 2;
    }
    double began_s = campaign_now_s();
    for (uint64_t no = 0; budget_left(&budget, ops, began_s); no++) {
        struct round round = {.seed = seed * 1000003 + no, .part = ROUND_OPS / (readers + 1)};
        round.count = round.part * (readers + 1);
        if (!run_round(&round, readers))
            return campaign_close("linear_engine", seed, passed, 1, "%" PRIu64 " operations", ops);
        ops += round.count;
        passed++;
    }
    return campaign_close("linear_engine", seed, passed, 0,
                          "%" PRIu64 " operations on %u keys, %" PRIu64
                          " readers, all linearizable",
                          ops, KEYS, readers);
}
