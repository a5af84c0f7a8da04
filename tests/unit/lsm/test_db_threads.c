/* The engine with threads as a server has them: a writer, a thread a job class, readers. For
 * ThreadSanitizer and AddressSanitizer; the checks are on what readers may see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "bed.h"

#define KEYS 50
#define ROUNDS 1500
#define READERS 2

/* ---- readers ---- */

struct reader {
    struct varve_db *db;
    const _Atomic int *stop;
    struct thread thread;
    uint64_t walks;
};

/* Each round writes all keys with one value, in one batch: a state with two values in it was never. */
static void read_state(struct reader *reader, const struct varve_read *read)
{
    struct varve_iter *iter = varve_iter_create(reader->db, read, NULL, NULL, NULL);
    uint8_t first[8] = {0};
    size_t count = 0;

    CHECK(iter != NULL);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter)) {
        struct varve_slice value = varve_iter_value(iter);
        CHECK(value.len >= sizeof(first));
        if (count++ == 0)
            memcpy(first, value.data, sizeof(first));
        CHECK(memcmp(first, value.data, sizeof(first)) == 0);
    }
    CHECK(varve_iter_status(iter, NULL) == 0);
    CHECK(count == 0 || count == KEYS);
    varve_iter_destroy(iter);
    reader->walks++;
}

static void reader_run(void *arg)
{
    struct reader *reader = arg;

    while (!atomic_load(reader->stop)) {
        struct varve_snapshot *snapshot = varve_snapshot_acquire(reader->db);
        CHECK(snapshot != NULL);
        read_state(reader, NULL);
        read_state(reader, &(struct varve_read){.snapshot = snapshot});
        varve_snapshot_release(reader->db, snapshot);
        (void)varve_durable_seq(reader->db);
        (void)varve_now_ms(reader->db);
    }
}

/* ---- the writer ---- */

static int write_round(struct bed *bed, uint64_t round)
{
    struct varve_batch *batch = varve_batch_create();
    uint8_t value[80] = {0};
    char name[16];

    assert_non_null(batch);
    memcpy(value, &round, sizeof(round));
    struct varve_slice bytes = varve_slice(value, sizeof(value));
    if (round % 7 == 0)
        assert_int_equal(
            varve_batch_delete_range(batch, varve_slice_str("k"), varve_slice_str("l")), 0);
    for (int i = 0; i < KEYS && round % 21 != 0; i++) {
        snprintf(name, sizeof(name), "k%02d", i);
        struct varve_slice key = varve_slice_str(name);
        assert_int_equal(varve_batch_put(batch, &key, 1, &bytes, 1, 0), 0);
    }
    int durable = round % 5 == 0;
    int rc = (durable ? varve_write_durable : varve_write)(bed->db, batch, &bed->seq, &bed->err);
    varve_batch_destroy(batch);
    return rc;
}

static void pass(struct bed *bed, uint64_t us)
{
    sim_clock_advance_us(bed->sim, us);
    varve_tick(bed->db);
}

/* Some calls on the log fail: it heals beside the readers. */
static void write_all(struct bed *bed, struct rng *rng)
{
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        if (rng_next(rng) % 100 == 0)
            fault_env_plan(bed->fault,
                           (struct fault_plan){.op = rng_next(rng) % 2 ? FAULT_SYNC : FAULT_WRITE,
                                               .nth = 1 + rng_next(rng) % 3,
                                               .os_errno = EIO});
        int rc = write_round(bed, round);
        if (rc == 0 && rng_next(rng) % 8 == 0)
            (void)varve_wait_durable(bed->db, bed->seq, &bed->err);
        pass(bed, 1000);
        while (varve_writable(bed->db, NULL) != 0)
            pass(bed, 10000);
    }
}

static void test_db_threads__writer_jobs_and_readers(void **state)
{
    static struct bed bed;
    struct varve_executor *executor;
    struct reader readers[READERS];
    struct varve_stats stats;
    _Atomic int stop = 0;
    struct rng rng;

    (void)state;
    assert_int_equal(varve_executor_threads_create(NULL, &executor, NULL), 0);
    rng_init(&rng, 5);
    bed_init(&bed, 5);
    bed.options.executor = executor;
    bed.options.wal_pool_size = 4;
    bed_open_ok(&bed);
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.db = bed.db, .stop = &stop};
        assert_int_equal(thread_start(&readers[i].thread, "reader", reader_run, &readers[i]), 0);
    }
    write_all(&bed, &rng);
    atomic_store(&stop, 1);
    for (int i = 0; i < READERS; i++) {
        thread_join(&readers[i].thread);
        assert_true(readers[i].walks > 0);
    }
    varve_stats(bed.db, &stats);
    assert_true(stats.heals > 0);
    assert_true(stats.wal_files > 5);
    fault_env_heal(bed.fault);
    char *before = bed_dump(&bed, NULL);
    bed_close_ok(&bed);
    varve_executor_threads_destroy(executor);
    bed.options.executor = step_as_executor(bed.stepper);
    bed_open_ok(&bed);
    char *after = bed_dump(&bed, NULL);
    assert_string_equal(after, before);
    mem_free(before);
    mem_free(after);
    bed_deinit(&bed);
}

/* ---- counts ---- */

#define COUNTS 6

struct counted {
    struct varve_fetch fetch;
    _Atomic int done;
};

static void on_counted(struct varve_fetch *fetch)
{
    atomic_store(&CONTAINER_OF(fetch, struct counted, fetch)->done, 1);
}

static void start_counts(struct bed *bed, struct counted *counts, struct rng *rng)
{
    struct varve_slice group = varve_slice_str("k");

    for (int i = 0; i < COUNTS; i++) {
        atomic_store(&counts[i].done, 0);
        counts[i].fetch = (struct varve_fetch){.done = on_counted};
        int rc = i % 2 ? varve_fetch_count(bed->db, group, &counts[i].fetch)
                       : varve_fetch_count_about(bed->db, group, &counts[i].fetch);
        assert_int_equal(rc, 0);
        if (rng_next(rng) % 4 == 0)
            varve_fetch_cancel(&counts[i].fetch);
    }
}

/* Several at a time, some of them cancelled, while the same keys are written over and flushed. */
static void test_db_threads__counts(void **state)
{
    static struct bed bed;
    struct varve_executor *executor;
    struct counted counts[COUNTS];
    uint64_t counted = 0;
    struct rng rng;

    (void)state;
    assert_int_equal(varve_executor_threads_create(NULL, &executor, NULL), 0);
    rng_init(&rng, 6);
    bed_init(&bed, 6);
    bed.options.executor = executor;
    bed.options.memtable_size_bytes = (uint64_t)64 * 1024;
    bed_open_ok(&bed);
    assert_int_equal(write_round(&bed, 1), 0);
    for (uint64_t round = 1; round <= 300; round++) {
        start_counts(&bed, counts, &rng);
        while (round % 7 != 0 && write_round(&bed, round * 21 + 1) != 0)
            pass(&bed, 1000);
        for (int i = 0; i < COUNTS; i++) {
            while (!atomic_load(&counts[i].done))
                pass(&bed, 100);
            if (counts[i].fetch.rc == 0)
                assert_int_equal(counts[i].fetch.count, KEYS);
            else
                assert_int_equal(counts[i].fetch.rc, VARVE_EINVAL);
            counted += counts[i].fetch.rc == 0;
            varve_fetch_release(&counts[i].fetch);
        }
    }
    assert_true(counted > COUNTS * 300 / 2);
    assert_true(bed_stats(&bed).flushes > 0);
    bed_close_ok(&bed);
    varve_executor_threads_destroy(executor);
    bed.options.executor = step_as_executor(bed.stepper);
    bed_deinit(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_db_threads__counts),
        cmocka_unit_test(test_db_threads__writer_jobs_and_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
