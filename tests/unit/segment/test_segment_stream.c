/* Segments as merges read them: read.forward. Beside the model, with each way that blocks can lie in the
 * window; and every fault on the way. */
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
#include "segment/merge_iter.h"
#include "segment/segment_impl.h"
#include "segment_help.h"

#define READAHEAD_BYTES ((size_t)256 * 1024)

static const struct segment_read FORWARD = {.forward = 1};
static const struct segment_read READ = {.wait = SEGMENT_WAIT};

static const struct model_plan PLAN = {
    .keys = 120,
    .versions_max = 3,
    .long_keys = 20,
    .large_values = 4,
    .huge_values = 2,
    .value_max = 60,
    .ranges = 3,
};

static void write_model(struct disk *disk, struct model *model, const struct model_plan *plan,
                        uint64_t seed)
{
    struct rng rng;

    rng_init(&rng, seed);
    model_make(model, plan, &rng);
    assert_int_equal(model_write(disk, model, 0, model->count, 1, HELP_PATH, HELP_FILE_NO), 0);
}

/* From where it stands, all that is left. */
static void check_rest(struct iter *iter, const struct model *model, size_t at)
{
    for (; at < model->count; at++) {
        assert_true(iter->valid);
        assert_same_entry(&iter->entry, &model->items[at].entry, &READ);
        iter->ops->next(iter);
    }
    assert_false(iter->valid);
    assert_int_equal(iter->rc, 0);
}

static void check_seeks(struct iter *iter, const struct model *model, struct rng *rng)
{
    for (int i = 0; i < 200; i++) {
        struct varve_slice key = model->items[rng_below(rng, model->count)].entry.chunk.key;
        uint8_t changed[512];
        assert_true(key.len > 0 && key.len <= sizeof(changed));
        memcpy(changed, key.data, key.len);
        if (i % 2 == 1)
            changed[key.len - 1] = (uint8_t)rng_next(rng);
        key.data = changed;
        if (i % 5 == 4)
            key.len = rng_below(rng, key.len + 1);
        iter->ops->seek(iter, key);
        assert_int_equal(iter->rc, 0);
        size_t at = model_find(model, key, 0);
        assert_int_equal(iter->valid, at < model->count);
        for (int n = 0; iter->valid && n < 8; n++, at++) {
            assert_same_entry(&iter->entry, &model->items[at].entry, &READ);
            iter->ops->next(iter);
        }
    }
}

/* Windows of one block, of a few, of the whole file: it ends where data do, and at value blocks. */
static void test_stream__is_the_model(void **state)
{
    static const size_t readaheads[] = {0, 1, 700, 5000, READAHEAD_BYTES, SIZE_MAX};
    struct disk *disk = *state;
    struct rng rng;

    rng_init(&rng, 3);
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct model model;
        disk->options.compress = seed % 2 == 0;
        disk->options.block_size_bytes = seed < 5 ? 256 : 4096;
        write_model(disk, &model, &PLAN, seed);
        struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
        for (size_t i = 0; i < COUNT_OF(readaheads); i++) {
            struct iter *iter = run_iter_create(&segment, 1, &FORWARD, readaheads[i]);
            assert_non_null(iter);
            for (int twice = 0; twice < 2; twice++) {
                iter->ops->first(iter);
                check_rest(iter, &model, 0);
            }
            check_seeks(iter, &model, &rng);
            iter_destroy(iter);
        }
        assert_int_equal(segment_verify(segment, &disk->err), 0);
        segment_unref(segment);
        assert_int_equal(disk->env->ops->remove(disk->env, HELP_PATH, NULL), 0);
        model_free(&model);
    }
}

/* The first item from `at` on whose key is not that of the one before. */
static size_t next_key(const struct model *model, size_t at)
{
    while (
        at > 0 && at < model->count &&
        varve_slice_equal(model->items[at - 1].entry.chunk.key, model->items[at].entry.chunk.key))
        at++;
    return at;
}

static void test_stream__over_the_segments_of_a_run(void **state)
{
    static const char *const paths[] = {"/000007.seg", "/000008.seg", "/000009.seg"};
    struct segment *segments[3];
    struct disk *disk = *state;
    struct model model;
    struct rng rng;
    size_t from = 0;

    rng_init(&rng, 31);
    model_make(&model, &PLAN, &rng);
    for (size_t i = 0; i < 3; i++) {
        size_t to = i == 2 ? model.count : next_key(&model, (i + 1) * model.count / 3);
        assert_int_equal(model_write(disk, &model, from, to, 0, paths[i], 7 + i), 0);
        segments[i] = disk_open(disk, paths[i], 7 + i, NULL);
        from = to;
    }
    struct iter *iter = run_iter_create(segments, 3, &FORWARD, 5000);
    assert_non_null(iter);
    iter->ops->first(iter);
    check_rest(iter, &model, 0);
    check_seeks(iter, &model, &rng);
    iter_destroy(iter);
    for (size_t i = 0; i < 3; i++)
        segment_unref(segments[i]);
    model_free(&model);
}

/* All versions of a key lie in one block, however large: here of 6 MiB, which no window of 256 KiB holds
 * and nothing compresses, between small ones. */
static void test_stream__blocks_larger_than_the_window(void **state)
{
    struct model_plan plan = {.keys = 3, .versions_max = 1500, .value_max = 16000};
    struct disk *disk = *state;
    struct model model;
    uint32_t longest = 0;

    write_model(disk, &model, &plan, 9);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
    for (uint32_t i = 0; i < segment->index.count; i++)
        longest = segment->index.lens[i] > longest ? segment->index.lens[i] : longest;
    assert_true(longest > 4 * READAHEAD_BYTES);
    struct iter *iter = run_iter_create(&segment, 1, &FORWARD, READAHEAD_BYTES);
    iter->ops->first(iter);
    check_rest(iter, &model, 0);
    iter->ops->first(iter);
    check_rest(iter, &model, 0);
    iter_destroy(iter);
    assert_int_equal(segment_verify(segment, &disk->err), 0);
    segment_unref(segment);
    model_free(&model);
}

/* All of it by a merge of one run, as a compaction does. 0 or the first error. */
static int read_all(struct segment *segment, size_t count, struct varve_err *err)
{
    struct iter *run = run_iter_create(&segment, 1, &FORWARD, 2000);
    struct iter *iter = merge_iter_create(&run, 1);
    size_t seen = 0;
    int rc;

    if (iter == NULL)
        return err_set(err, VARVE_ENOMEM, HELP_PATH ": no memory");
    for (iter->ops->first(iter); iter->valid; iter->ops->next(iter))
        seen++;
    rc = iter->rc;
    assert_true(rc != 0 || seen == count);
    if (rc != 0)
        *err = iter->err;
    iter_destroy(iter);
    return rc == 0 ? segment_verify(segment, err) : rc;
}

static void test_stream__any_read_fails(void **state)
{
    static const enum fault_effect effects[] = {FAULT_NOTHING_DONE, FAULT_PARTLY_DONE, FAULT_SHORT};
    struct disk *disk = *state;
    struct model model;
    uint64_t points = 0;

    write_model(disk, &model, &PLAN, 21);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
    for (size_t i = 0; i < COUNT_OF(effects); i++) {
        for (uint64_t nth = 1;; nth++) {
            fault_env_plan(disk->fault, (struct fault_plan){.op = FAULT_READ,
                                                            .nth = nth,
                                                            .os_errno = EIO,
                                                            .effect = effects[i]});
            int rc = read_all(segment, model.count, &disk->err);
            uint64_t fired = fault_env_fired(disk->fault);
            fault_env_heal(disk->fault);
            if (fired == 0) {
                assert_int_equal(rc, 0);
                break;
            }
            assert_int_equal(rc, effects[i] == FAULT_SHORT ? VARVE_ECORRUPT : VARVE_EIO);
            assert_non_null(strstr(disk->err.text, HELP_PATH ": offset "));
            points++;
        }
    }
    assert_true(points > 60);
    segment_unref(segment);
    model_free(&model);
}

static void test_stream__any_allocation_fails(void **state)
{
    struct disk *disk = *state;
    struct model model;
    uint64_t refused = 0;

    write_model(disk, &model, &PLAN, 22);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
    for (uint64_t nth = 1;; nth++) {
        mem_fail_nth(nth, 0);
        int rc = read_all(segment, model.count, &disk->err);
        uint64_t count = mem_alloc_count();
        mem_fail_nth(0, 0);
        if (count < nth) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_int_equal(rc, VARVE_ENOMEM);
        refused++;
    }
    assert_true(refused > 15);
    segment_unref(segment);
    model_free(&model);
}

/* The file was cut, or a byte changed, after it was opened: what comes before the damage is right, then there
 * is an error, and no end as if that were all. */
static void check_damaged(struct segment *segment, const struct model *model, size_t readahead)
{
    struct iter *iter = run_iter_create(&segment, 1, &FORWARD, readahead);
    size_t at = 0;

    assert_non_null(iter);
    for (iter->ops->first(iter); iter->valid; iter->ops->next(iter), at++) {
        const struct entry *want = &model->items[at].entry;
        assert_true(at < model->count);
        assert_int_equal(iter->entry.seq, want->seq);
        assert_true(varve_slice_equal(iter->entry.chunk.key, want->chunk.key));
        if (want->chunk.value.len < BLOCK_LARGE_VALUE_BYTES)
            assert_true(varve_slice_equal(iter->entry.chunk.value, want->chunk.value));
    }
    assert_int_equal(iter->rc, VARVE_ECORRUPT);
    assert_non_null(strstr(iter->err.text, HELP_PATH ": offset "));
    iter_destroy(iter);
}

static void test_stream__damage_after_the_open(void **state)
{
    struct disk *disk = *state;
    struct model model;
    size_t size;

    write_model(disk, &model, &PLAN, 23);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
    uint8_t *bytes = disk_read_all(disk, HELP_PATH, &size);
    for (uint32_t i = 0; i < segment->index.count; i++) {
        size_t inside = segment->index.offsets[i] + (i * 31) % segment->index.lens[i];
        size_t readahead = i % 3 == 0 ? 0 : i % 3 == 1 ? 1500 : READAHEAD_BYTES;
        bytes[inside] ^= (uint8_t)(1 << (i % 8));
        disk_replace(disk, HELP_PATH, bytes, size);
        check_damaged(segment, &model, readahead);
        assert_int_equal(segment_verify(segment, &disk->err), VARVE_ECORRUPT);
        bytes[inside] ^= (uint8_t)(1 << (i % 8));
        disk_replace(disk, HELP_PATH, bytes, inside);
        check_damaged(segment, &model, readahead);
        assert_int_equal(segment_verify(segment, &disk->err), VARVE_ECORRUPT);
    }
    disk_replace(disk, HELP_PATH, bytes, size);
    assert_int_equal(segment_verify(segment, &disk->err), 0);
    segment_unref(segment);
    free(bytes);
    model_free(&model);
}

/* ---- what cannot be read is told by itself ---- */

struct findings {
    uint64_t count;
    char last[VARVE_ERR_TEXT_MAX];
};

static void take_finding(void *arg, const struct varve_err *err)
{
    struct findings *findings = arg;

    findings->count++;
    snprintf(findings->last, sizeof(findings->last), "%s", err->text);
}

/* A place of the disk that gives an error is one finding, though many blocks would fit into one read. */
static void test_verify_all__one_bad_read_is_one_finding(void **state)
{
    struct model_plan plan = {.keys = 400, .versions_max = 1, .value_max = 60};
    struct disk *disk = *state;
    struct findings findings = {0};
    struct segment_verify_options options = {
        .finding = take_finding,
        .arg = &findings,
        .group = disk->options.count_group,
    };
    struct model model;
    uint64_t reads;
    char where[64];

    write_model(disk, &model, &plan, 24);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
    const struct segment_index *index = &segment->index;
    assert_true(index->count > 20);
    fault_env_plan(disk->fault, (struct fault_plan){0});
    assert_int_equal(segment_verify_all(segment, &options, &disk->err), 0);
    reads = fault_env_calls(disk->fault, FAULT_READ);
    assert_int_equal(findings.count, 0);
    for (uint32_t i = 0; i < index->count; i += 7) {
        findings.count = 0;
        fault_env_plan(disk->fault, (struct fault_plan){.op = FAULT_READ,
                                                        .nth = reads - index->count + i + 1,
                                                        .os_errno = EIO});
        assert_int_equal(segment_verify_all(segment, &options, &disk->err), 0);
        assert_int_equal(fault_env_fired(disk->fault), 1);
        assert_int_equal(findings.count, 1);
        snprintf(where, sizeof(where),
                 HELP_PATH ": offset %llu: ", (unsigned long long)index->offsets[i]);
        assert_non_null(strstr(findings.last, where));
    }
    fault_env_heal(disk->fault);
    segment_unref(segment);
    model_free(&model);
}

int main(void)
{
#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, disk_set_up, disk_tear_down)
    const struct CMUnitTest tests[] = {
        WITH_DISK(test_stream__is_the_model),
        WITH_DISK(test_stream__over_the_segments_of_a_run),
        WITH_DISK(test_stream__blocks_larger_than_the_window),
        WITH_DISK(test_stream__any_read_fails),
        WITH_DISK(test_stream__any_allocation_fails),
        WITH_DISK(test_stream__damage_after_the_open),
        WITH_DISK(test_verify_all__one_bad_read_is_one_finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
