/* Several threads read one segment through a cache that is far too small, some by get, some by walking,
 * while another frees what was evicted. For ThreadSanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/err.h"
#include "base/rcu.h"
#include "segment_help.h"

#define READERS 3
#define ROUNDS 4000

static struct segment *segment;
static struct model model;
static _Atomic int wrong;
static _Atomic int running;

static int same(const struct entry *is, const struct entry *want, const struct segment_read *read)
{
    struct segment_hold hold;
    struct varve_slice value;
    struct varve_err err;

    if (is->seq != want->seq || !varve_slice_equal(is->chunk.key, want->chunk.key))
        return 0;
    int rc = entry_value(is, read, &value, &hold, &err);
    int right = rc == 0 && varve_slice_equal(value, want->chunk.value);
    segment_hold_release(&hold);
    return right;
}

static void get_some(struct rng *rng)
{
    struct segment_read read = {.wait = SEGMENT_WAIT, .no_fill = rng_below(rng, 4) == 0};
    struct segment_hold kept;
    struct entry entry;
    struct varve_err err;

    rcu_enter();
    for (int i = 0; i < 4; i++) {
        const struct entry *want = &model.items[rng_below(rng, model.count)].entry;
        struct bloom_hash hash = bloom_hash(want->chunk.key);
        int rc = segment_get(segment, want->chunk.key, hash, want->seq, &read, &entry, &kept, &err);
        if (rc != 0 || !same(&entry, want, &read))
            atomic_fetch_add(&wrong, 1);
        if (i < 3)
            segment_hold_release(&kept);
    }
    segment_hold_keep(&kept);
    rcu_leave();
    segment_hold_release(&kept);
}

static void walk_some(struct rng *rng)
{
    struct segment_read read = {.wait = SEGMENT_WAIT, .no_fill = rng_below(rng, 2) == 0};
    struct iter *iter = segment_iter_create(segment, &read, 2000);
    size_t at = rng_below(rng, model.count);

    iter->ops->seek(iter, model.items[at].entry.chunk.key);
    at = model_find(&model, model.items[at].entry.chunk.key, 0);
    for (int step = 0; step < 30 && iter->valid; step++, at++) {
        if (!same(&iter->entry, &model.items[at].entry, &read))
            atomic_fetch_add(&wrong, 1);
        iter->ops->next(iter);
    }
    if (iter->rc != 0)
        atomic_fetch_add(&wrong, 1);
    iter_destroy(iter);
}

static void *reader(void *arg)
{
    struct rng rng;

    rng_init(&rng, 60 + (uintptr_t)arg);
    for (int round = 0; round < ROUNDS; round++) {
        if (rng_below(&rng, 10) == 0)
            walk_some(&rng);
        else
            get_some(&rng);
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void test_segment__read_by_several_threads(void **state)
{
    struct disk *disk = *state;
    struct model_plan plan = {
        .keys = 300, .versions_max = 3, .value_max = 100, .large_values = 4, .long_keys = 100};
    struct rng rng;
    pthread_t threads[READERS];

    rng_init(&rng, 61);
    model_make(&model, &plan, &rng);
    assert_int_equal(model_write(disk, &model, 0, model.count, 0, HELP_PATH, HELP_FILE_NO), 0);
    struct cache *cache = cache_create(128 * 1024);
    segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, cache);
    atomic_store(&running, READERS);
    for (uintptr_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, (void *)i), 0);
    while (atomic_load(&running) > 0)
        (void)rcu_reclaim();
    for (size_t i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(wrong, 0);
    struct cache_stats stats;
    cache_get_stats(cache, &stats);
    assert_true(stats.hits > 0 && stats.evictions > 0);
    segment_unref(segment);
    while (rcu_reclaim() > 0)
        ;
    cache_get_stats(cache, &stats);
    assert_int_equal(stats.used_bytes + stats.reserved_bytes, 0);
    cache_destroy(cache);
    model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_segment__read_by_several_threads, disk_set_up,
                                        disk_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
