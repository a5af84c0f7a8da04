/* Counts that need not be exact: how near they are, and what they cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "bed.h"
#include "lsm/db.h"
#include "varve/batch.h"

#define KEYS_MAX 450000
#define BATCH 500
/* A sample is of less than twice as many; and the last few of each layer. */
#define LOOKUPS_MAX 70000

struct many {
    struct bed bed;
    struct varve_batch *batch;
    uint8_t *there; /* KEYS_MAX */
    uint64_t count;
};

static void many_init(struct many *many, uint64_t seed)
{
    *many = (struct many){.batch = varve_batch_create(), .there = calloc(KEYS_MAX, 1)};
    assert_true(many->batch != NULL && many->there != NULL);
    bed_init(&many->bed, seed);
    many->bed.options.durability = VARVE_NO;
    many->bed.options.wal_size_bytes = (uint64_t)16 * 1024 * 1024;
    many->bed.options.block_cache_size_bytes = (uint64_t)64 * 1024 * 1024;
    many->bed.options.memtables_max = 8;
    bed_open_ok(&many->bed);
}

static void many_deinit(struct many *many)
{
    bed_deinit(&many->bed);
    varve_batch_destroy(many->batch);
    free(many->there);
}

static void many_send(struct many *many)
{
    assert_int_equal(varve_write(many->bed.db, many->batch, NULL, &many->bed.err), 0);
    varve_batch_clear(many->batch);
}

/* Blindly, as all of it here. */
static void many_write(struct many *many, uint32_t number, int put)
{
    char text[16];
    struct varve_slice value = varve_slice_str("v");

    snprintf(text, sizeof(text), "k%08u", number);
    struct varve_slice key = varve_slice_str(text);
    int rc = put ? varve_batch_put(many->batch, &key, 1, &value, 1, 0)
                 : varve_batch_delete(many->batch, &key, 1);
    assert_int_equal(rc, 0);
    many->count += (uint64_t)put;
    many->count -= many->there[number];
    many->there[number] = (uint8_t)put;
    if (varve_batch_count(many->batch) == BATCH)
        many_send(many);
}

static void many_flush(struct many *many)
{
    many_send(many);
    bed_flush_only(&many->bed);
}

/* So many overwrites, deletes and new keys, each key at random below `keys`. */
static void many_mix(struct many *many, struct rng *rng, uint32_t keys, int writes)
{
    for (int i = 0; i < writes; i++)
        many_write(many, (uint32_t)rng_below(rng, keys), rng_below(rng, 4) != 0);
}

static void on_done(struct varve_fetch *fetch)
{
    (void)fetch;
}

/* *lookups: what it cost. */
static uint64_t fetch_about(struct many *many, uint64_t *lookups)
{
    struct varve_fetch fetch = {.done = on_done};
    uint64_t before = bed_stats(&many->bed).count_lookups;

    assert_int_equal(varve_fetch_count_about(many->bed.db, varve_slice_str("k"), &fetch), 0);
    bed_run_class(&many->bed, VARVE_JOB_READ);
    assert_int_equal(fetch.rc, 0);
    *lookups = bed_stats(&many->bed).count_lookups - before;
    varve_fetch_release(&fetch);
    return fetch.count;
}

static void check_near(uint64_t count, uint64_t want)
{
    assert_in_range(count, want - want / 100, want + want / 100);
}

/* 300,000 keys, then in each of three segments' layers, in a memtable that waits and in the active one many
 * that are over them, deleted and new. */
static void test_about__within_one_percent(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct many many;
        struct rng rng;
        uint64_t lookups;
        many_init(&many, seed);
        rng_init(&rng, seed);
        for (uint32_t i = 0; i < 300000; i++)
            many_write(&many, i, 1);
        many_flush(&many);
        fetch_about(&many, &lookups);
        for (int layer = 0; layer < 3; layer++) {
            many_mix(&many, &rng, KEYS_MAX, 50000);
            many_flush(&many);
        }
        many_mix(&many, &rng, KEYS_MAX, 30000);
        many_send(&many);
        bed_swap(&many.bed);
        many_mix(&many, &rng, KEYS_MAX, 30000);
        many_send(&many);
        uint64_t about = fetch_about(&many, &lookups);
        check_near(about, many.count);
        assert_in_range(lookups, 1, LOOKUPS_MAX);
        /* Only what came since, and the active memtable, is looked at again. */
        assert_int_equal(fetch_about(&many, &lookups), about);
        assert_in_range(lookups, 1, 20000);
        assert_int_equal(bed_count(&many.bed, "k"), many.count);
        assert_int_equal(fetch_about(&many, &lookups), many.count);
        assert_int_equal(lookups, 0);
        many_deinit(&many);
    }
}

/* Every other key was deleted, which a look at each 2nd, 4th, 8th would take for all or none. */
static void test_about__of_keys_with_a_pattern(void **state)
{
    struct many many;
    uint64_t lookups;

    (void)state;
    many_init(&many, 1);
    for (uint32_t i = 0; i < KEYS_MAX; i++)
        many_write(&many, i, 1);
    many_flush(&many);
    for (uint32_t i = 0; i < KEYS_MAX; i += 2)
        many_write(&many, i, 0);
    many_flush(&many);
    for (uint32_t i = 0; i < KEYS_MAX; i++)
        many_write(&many, i, 1);
    many_flush(&many);
    assert_int_equal(many.count, KEYS_MAX);
    check_near(fetch_about(&many, &lookups), KEYS_MAX);
    /* A million records say too little of so few keys at first: the sample grew once. */
    assert_in_range(lookups, LOOKUPS_MAX, 5 * LOOKUPS_MAX);
    many_deinit(&many);
}

/* Few keys, of which there are many records. */
static void test_about__exact_where_keys_are_few(void **state)
{
    struct many many;
    struct rng rng;
    uint64_t lookups;

    (void)state;
    many_init(&many, 1);
    rng_init(&rng, 7);
    for (uint32_t i = 0; i < 60000; i++)
        many_write(&many, i, 1);
    many_flush(&many);
    for (int layer = 0; layer < 4; layer++) {
        assert_int_equal(fetch_about(&many, &lookups), many.count);
        many_mix(&many, &rng, 60000, 90000);
        many_flush(&many);
    }
    many_mix(&many, &rng, 60000, 20000);
    many_send(&many);
    assert_int_equal(fetch_about(&many, &lookups), many.count);
    many_deinit(&many);
}

/* With a part of the group deleted by range it is counted by a walk. */
static void test_about__by_a_walk(void **state)
{
    struct bed *bed = *state;
    uint64_t count = 0;

    bed_fill(bed, "k", 100, 10);
    bed_flush_ok(bed);
    assert_int_equal(bed_delete_range(bed, "k000010", "k000020"), 0);
    assert_int_equal(varve_count_about(bed->db, varve_slice_str("k"), &count, &bed->err), 0);
    assert_int_equal(count, 90);
    assert_int_equal(varve_count_about(bed->db, varve_slice_str(""), &count, &bed->err),
                     VARVE_EINVAL);
}

/* ---- one at a time ---- */

#define WAITING 5

static void start_counts(struct bed *bed, struct varve_fetch *fetches, int count)
{
    for (int i = 0; i < count; i++) {
        fetches[i] = (struct varve_fetch){.done = on_done};
        int rc = i % 2 == 0 ? varve_fetch_count(bed->db, varve_slice_str("k"), &fetches[i])
                            : varve_fetch_count_about(bed->db, varve_slice_str("k"), &fetches[i]);
        assert_int_equal(rc, 0);
    }
}

static void test_queue__one_at_a_time(void **state)
{
    struct varve_fetch fetches[WAITING];
    struct bed *bed = *state;

    bed_fill(bed, "k", 10, 10);
    start_counts(bed, fetches, WAITING);
    for (int i = 0; i < WAITING; i++) {
        assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_READ), 1);
        assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_READ), 1);
        assert_int_equal(fetches[i].rc, 0);
        assert_int_equal(fetches[i].count, 10);
        varve_fetch_release(&fetches[i]);
    }
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_READ), 0);
    assert_int_equal(varve_fetch_count(bed->db, varve_slice("k23456789abcdefgh", 17), &fetches[0]),
                     VARVE_EINVAL);
}

/* Whom nobody waits for does not wait. */
static void test_queue__cancelled(void **state)
{
    struct varve_fetch fetches[3];
    struct bed *bed = *state;

    bed_fill(bed, "k", 10, 10);
    start_counts(bed, fetches, 3);
    varve_fetch_cancel(&fetches[1]);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_READ), 2);
    bed_run_class(bed, VARVE_JOB_READ);
    assert_int_equal(fetches[0].rc, 0);
    assert_int_equal(fetches[1].rc, VARVE_EINVAL);
    assert_int_equal(fetches[2].rc, 0);
    assert_int_equal(fetches[2].count, 10);
    for (int i = 0; i < 3; i++)
        varve_fetch_release(&fetches[i]);
    start_counts(bed, fetches, 1); /* and the next one finds nobody in its way */
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_READ), 1);
    bed_run_class(bed, VARVE_JOB_READ);
    varve_fetch_release(&fetches[0]);
}

/* What waits keeps nothing of the past: its moment moves on. The one whose turn it is stays. */
static void test_queue__moves_on(void **state)
{
    struct varve_fetch fetches[WAITING];
    struct bed *bed = *state;

    bed_fill(bed, "k", 10, 10);
    start_counts(bed, fetches, WAITING);
    assert_int_equal(bed_put(bed, "k new", "x"), 0);
    bed_flush_only(bed);
    assert_int_equal(bed_put(bed, "k newer", "x"), 0);
    varve_tick(bed->db);
    bed_run_class(bed, VARVE_JOB_READ);
    assert_int_equal(fetches[0].count, 10);
    for (int i = 0; i < WAITING; i++) {
        assert_int_equal(fetches[i].rc, 0);
        assert_int_equal(fetches[i].count, i == 0 ? 10 : 12);
        varve_fetch_release(&fetches[i]);
    }
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_about__within_one_percent),
        cmocka_unit_test(test_about__of_keys_with_a_pattern),
        cmocka_unit_test(test_about__exact_where_keys_are_few),
        WITH_BED(test_about__by_a_walk),
        WITH_BED(test_queue__one_at_a_time),
        WITH_BED(test_queue__cancelled),
        WITH_BED(test_queue__moves_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
