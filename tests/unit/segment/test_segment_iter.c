/* What the walk over a run asks of the disk, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "segment/merge_iter.h"
#include "segment/segment.h"
#include "segment_help.h"

#define KIB ((size_t)1024)

static const struct segment_read READ_WAIT = {.wait = SEGMENT_WAIT};
static const struct segment_read READ_NO_WAIT = {.wait = SEGMENT_NO_WAIT};

/* The first read brings a block, and each further one about twice as much, in both directions. */
static void test_segment_iter__reads_ahead_more_and_more(void **state)
{
    struct disk *disk = *state;
    struct model_plan plan = {.keys = 20000, .versions_max = 1, .value_max = 100};
    struct model model;
    struct rng rng;

    rng_init(&rng, 34);
    model_make(&model, &plan, &rng);
    disk->options.compress = 0;
    assert_int_equal(model_write(disk, &model, 0, model.count, 0, HELP_PATH, HELP_FILE_NO), 0);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
    assert_true(segment_size_bytes(segment) > 1024 * KIB);
    for (int backward = 0; backward < 2; backward++) {
        struct iter *iter = segment_iter_create(segment, &READ_WAIT, 512 * KIB);
        uint64_t reads = segment_block_reads(segment);
        uint64_t early = 0;
        size_t seen = 0;
        if (backward)
            iter->ops->last(iter);
        else
            iter->ops->first(iter);
        assert_int_equal(segment_block_reads(segment) - reads, 1);
        for (; iter->valid; backward ? iter->ops->prev(iter) : iter->ops->next(iter))
            if (++seen == model.count / 10)
                early = segment_block_reads(segment) - reads;
        assert_int_equal(seen, model.count);
        assert_in_range(early, 3, 6);
        assert_in_range(segment_block_reads(segment) - reads, early + 1, 12);
        iter_destroy(iter);
    }
    segment_unref(segment);
    model_free(&model);
}

static const struct varve_env_ops *counted_ops;
static unsigned asks, waits, waits_before_asks;

static int count_ask(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                     uint64_t offset, size_t *got, struct varve_err *err)
{
    (void)env, (void)file, (void)data, (void)len, (void)offset, (void)err;
    waits_before_asks += waits > 0;
    asks++;
    *got = 0;
    return VARVE_WOULD_BLOCK;
}

static int count_wait(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                      uint64_t offset, size_t *got, struct varve_err *err)
{
    waits++;
    return counted_ops->read_at(env, file, data, len, offset, got, err);
}

/* A seek asks the disk for the blocks of all runs before it waits for the first one. */
static void test_segment_iter__seek_in_runs_waits_once(void **state)
{
    enum { RUNS = 3 };
    struct disk *disk = *state;
    struct model_plan plan = {.keys = 3000, .versions_max = 1, .value_max = 50};
    struct segment *segments[RUNS];
    struct iter *sources[RUNS];
    struct varve_env_ops counting = *disk->env->ops;
    struct model model;
    struct rng rng;

    rng_init(&rng, 35);
    model_make(&model, &plan, &rng);
    for (size_t i = 0; i < RUNS; i++) {
        char path[] = "/000001.seg";
        path[6] = (char)('1' + i);
        assert_int_equal(model_write(disk, &model, i * 900, i * 900 + 1000, 0, path, 1 + i), 0);
        segments[i] = disk_open(disk, path, 1 + i, NULL);
    }
    counted_ops = disk->env->ops;
    counting.read_at = count_wait;
    counting.read_at_nowait = count_ask;
    disk->env->ops = &counting;
    for (int round = 0; round < 4; round++) {
        int backward = round % 2;
        const struct segment_read *read = round < 2 ? &READ_WAIT : &READ_NO_WAIT;
        struct varve_slice key = model.items[backward ? 2700 : 50].entry.chunk.key;
        for (size_t i = 0; i < RUNS; i++)
            sources[i] = run_iter_create(&segments[i], 1, read, 512 * KIB);
        struct iter *merge = merge_iter_create(sources, RUNS);
        asks = waits = waits_before_asks = 0;
        if (backward)
            merge->ops->seek_prev(merge, key);
        else
            merge->ops->seek(merge, key);
        assert_int_equal(merge->rc, round < 2 ? 0 : VARVE_WOULD_BLOCK);
        assert_int_equal(merge->valid, round < 2);
        assert_int_equal(asks, RUNS);
        assert_int_equal(waits, round < 2 ? RUNS : 0);
        assert_int_equal(waits_before_asks, 0);
        iter_destroy(merge);
    }
    disk->env->ops = counted_ops;
    for (size_t i = 0; i < RUNS; i++)
        segment_unref(segments[i]);
    model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_segment_iter__reads_ahead_more_and_more, disk_set_up,
                                        disk_tear_down),
        cmocka_unit_test_setup_teardown(test_segment_iter__seek_in_runs_waits_once, disk_set_up,
                                        disk_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
