/* Every call of the environment and every allocation fails in turn, while a segment is written, opened,
 * read and verified: an error, nothing left behind, and the next try works. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rcu.h"
#include "segment/merge_iter.h"
#include "segment_help.h"

static const struct segment_read READ = {.wait = SEGMENT_WAIT};

static const struct model_plan PLAN = {
    .keys = 60,
    .versions_max = 3,
    .value_max = 60,
    .long_keys = 20,
    .ranges = 3,
    .large_values = 2,
    .huge_values = 1,
};

static void make(struct model *model)
{
    struct rng rng;

    rng_init(&rng, 50);
    model_make(model, &PLAN, &rng);
}

static void assert_no_file(struct disk *disk)
{
    assert_int_equal(disk->env->ops->remove(disk->env, HELP_PATH, NULL), VARVE_ENOENT);
}

static void test_faults__of_the_disk_while_writing(void **state)
{
    struct disk *disk = *state;
    struct model model;
    uint64_t points = 0;

    make(&model);
    for (int effect = FAULT_NOTHING_DONE; effect <= FAULT_PARTLY_DONE; effect++) {
        for (uint64_t nth = 1;; nth++) {
            fault_env_plan(disk->fault, (struct fault_plan){.nth = nth,
                                                            .os_errno = nth % 2 == 0 ? EIO : ENOSPC,
                                                            .effect = (enum fault_effect)effect});
            int rc = model_write(disk, &model, 0, model.count, 1, HELP_PATH, HELP_FILE_NO);
            uint64_t fired = fault_env_fired(disk->fault);
            fault_env_heal(disk->fault);
            if (fired == 0) {
                assert_int_equal(rc, 0);
                break;
            }
            points++;
            assert_int_equal(rc, nth % 2 == 0 ? VARVE_EIO : VARVE_ENOSPC);
            assert_non_null(strstr(disk->err.text, HELP_PATH));
            assert_no_file(disk);
        }
        assert_int_equal(disk->env->ops->remove(disk->env, HELP_PATH, NULL), 0);
    }
    assert_true(points >= 6);
    model_free(&model);
}

static void test_faults__an_existing_file_stays(void **state)
{
    struct disk *disk = *state;
    struct segment_writer *writer;

    disk_replace(disk, HELP_PATH, (const uint8_t *)"mine", 4);
    assert_int_equal(
        segment_writer_create(&disk->options, HELP_PATH, HELP_FILE_NO, &writer, &disk->err),
        VARVE_EEXIST);
    assert_null(writer);
    assert_int_equal(disk->env->ops->remove(disk->env, HELP_PATH, NULL), 0);
}

/* All keys by get and by iterators, then verify. 0 or the first error. */
static int read_all(struct disk *disk, const struct model *model, struct cache *cache)
{
    struct segment *segment;
    struct segment_hold hold = {0};
    struct segment_hold value_hold = {0};
    struct varve_slice value;
    struct entry entry;
    struct varve_err *err = &disk->err;
    int rc = segment_open(disk->env, HELP_PATH, &disk->id, HELP_FILE_NO, cache, &segment, err);

    if (rc != 0) {
        assert_null(segment);
        return rc;
    }
    rcu_enter();
    for (size_t i = 0; rc == 0 && i < model->count; i += 3) {
        const struct entry *want = &model->items[i].entry;
        rc = segment_get(segment, want->chunk.key, bloom_hash(want->chunk.key), want->seq, &READ,
                         &entry, &hold, err);
        if (rc != 0)
            assert_null(hold.cached);
        else
            rc = entry_value(&entry, &READ, &value, &value_hold, err);
        if (rc == 0)
            assert_true(varve_slice_equal(value, want->chunk.value));
        else
            assert_null(value_hold.cached);
        segment_hold_release(&hold);
        segment_hold_release(&value_hold);
    }
    rcu_leave();
    struct iter *iter = NULL;
    if (rc == 0) {
        struct iter *run = run_iter_create(&segment, 1, &READ, 1000);
        iter = merge_iter_create(&run, 1);
        rc = iter == NULL ? err_set(err, VARVE_ENOMEM, HELP_PATH ": no memory") : 0;
    }
    if (rc == 0) {
        size_t seen = 0;
        for (iter->ops->last(iter); iter->valid; iter->ops->prev(iter))
            seen++;
        rc = iter->rc;
        if (rc == 0)
            assert_int_equal(seen, model->count);
        else
            *err = iter->err;
    }
    iter_destroy(iter);
    if (rc == 0)
        rc = segment_verify(segment, err);
    segment_unref(segment);
    while (rcu_reclaim() > 0)
        ;
    return rc;
}

static void test_faults__of_the_disk_while_reading(void **state)
{
    struct disk *disk = *state;
    struct model model;
    uint64_t points = 0;

    make(&model);
    assert_int_equal(model_write(disk, &model, 0, model.count, 1, HELP_PATH, HELP_FILE_NO), 0);
    for (int cached = 0; cached < 2; cached++) {
        for (uint64_t nth = 1;; nth++) {
            struct cache *cache = cached ? cache_create(1 << 20) : NULL;
            fault_env_plan(
                disk->fault,
                (struct fault_plan){.nth = nth, .os_errno = EIO, .effect = FAULT_PARTLY_DONE});
            int rc = read_all(disk, &model, cache);
            uint64_t fired = fault_env_fired(disk->fault);
            fault_env_heal(disk->fault);
            assert_int_equal(rc, fired == 0 ? 0 : VARVE_EIO);
            if (fired > 0)
                assert_non_null(strstr(disk->err.text, HELP_PATH));
            cache_destroy(cache);
            if (fired == 0)
                break;
            points++;
        }
    }
    assert_true(points > 100);
    model_free(&model);
}

/* An allocation that is not there for a compression only makes the file larger. */
static void test_faults__of_memory(void **state)
{
    struct disk *disk = *state;
    struct model model;
    uint64_t refused = 0;

    make(&model);
    for (uint64_t nth = 1;; nth++) {
        mem_fail_nth(nth, 0);
        int rc = model_write(disk, &model, 0, model.count, 1, HELP_PATH, HELP_FILE_NO);
        uint64_t count = mem_alloc_count();
        mem_fail_nth(0, 0);
        if (rc != 0) {
            assert_int_equal(rc, VARVE_ENOMEM);
            assert_non_null(strstr(disk->err.text, HELP_PATH));
            assert_no_file(disk);
            refused++;
            continue;
        }
        if (count < nth)
            break;
        assert_int_equal(disk->env->ops->remove(disk->env, HELP_PATH, NULL), 0);
    }
    assert_true(refused > 10);
    for (int cached = 0; cached < 2; cached++) {
        for (uint64_t nth = 1;; nth++) {
            struct cache *cache = cached ? cache_create(1 << 20) : NULL;
            mem_fail_nth(nth, 0);
            int rc = read_all(disk, &model, cache);
            uint64_t count = mem_alloc_count();
            mem_fail_nth(0, 0);
            cache_destroy(cache);
            if (rc != 0) {
                assert_int_equal(rc, VARVE_ENOMEM);
                refused++;
            }
            if (count < nth)
                break;
        }
    }
    assert_true(refused > 300);
    model_free(&model);
}

int main(void)
{
#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, disk_set_up, disk_tear_down)
    const struct CMUnitTest tests[] = {
        WITH_DISK(test_faults__of_the_disk_while_writing),
        WITH_DISK(test_faults__an_existing_file_stays),
        WITH_DISK(test_faults__of_the_disk_while_reading),
        WITH_DISK(test_faults__of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
