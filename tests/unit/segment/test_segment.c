/* Segments written from random entries and read back in every way, compared with a sorted array. */
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
#include "segment/segment_impl.h"
#include "segment_help.h"

#define KIB ((size_t)1024)

static const struct segment_read READ_WAIT = {.wait = SEGMENT_WAIT};

static const struct model_plan PLANS[] = {
    {.keys = 300, .versions_max = 4, .value_max = 100, .ranges = 5, .large_values = 6},
    {.keys = 400, .versions_max = 1, .value_max = 10, .long_keys = 300},
    {.keys = 60,
     .versions_max = 40,
     .value_max = 300,
     .long_keys = 20,
     .huge_values = 2,
     .large_values = 3,
     .ranges = 20},
    {.keys = 1, .versions_max = 1, .value_max = 0},
    {.keys = 2, .versions_max = 300, .value_max = 0, .long_keys = 2},
};

/* One get of a key that may be there; counts what would have blocked. */
static void check_get(struct segment *segment, const struct model *model, struct varve_slice key,
                      uint64_t seq_max, const struct segment_read *read, int *blocked)
{
    struct segment_hold hold;
    struct entry entry;
    struct varve_err err;
    struct bloom_hash hash = bloom_hash(key);
    size_t want = model_get(model, key, seq_max);

    rcu_enter();
    int rc = segment_get(segment, key, hash, seq_max, read, &entry, &hold, &err);
    if (rc == VARVE_WOULD_BLOCK && read->wait == SEGMENT_NO_WAIT) {
        assert_null(hold.cached);
        ++*blocked;
    } else if (want == model->count) {
        assert_int_equal(rc, VARVE_NOT_FOUND);
        assert_null(hold.cached);
    } else {
        assert_int_equal(rc, 0);
        assert_true(segment_may_hold(segment, hash));
        assert_same_entry(&entry, &model->items[want].entry, read);
    }
    segment_hold_keep(&hold);
    segment_hold_release(&hold);
    rcu_leave();
}

static void check_gets(struct segment *segment, const struct model *model,
                       const struct segment_read *read, struct rng *rng, int *blocked)
{
    uint8_t absent[400];

    for (size_t i = 0; i < model->count; i += 1 + rng_below(rng, 3)) {
        const struct entry *entry = &model->items[i].entry;
        size_t len = entry->chunk.key.len;
        check_get(segment, model, entry->chunk.key, UINT64_MAX, read, blocked);
        check_get(segment, model, entry->chunk.key, entry->seq, read, blocked);
        check_get(segment, model, entry->chunk.key, entry->seq - 1, read, blocked);
        memcpy(absent, entry->chunk.key.data, len);
        absent[len] = (uint8_t)rng_next(rng);
        absent[rng_below(rng, len)] += (uint8_t)rng_below(rng, 2);
        check_get(segment, model, varve_slice(absent, len + rng_below(rng, 2)), UINT64_MAX, read,
                  blocked);
        check_get(segment, model, varve_slice(absent, rng_below(rng, len)), UINT64_MAX, read,
                  blocked);
    }
}

static void check_at(const struct iter *iter, const struct model *model, size_t at,
                     const struct segment_read *read)
{
    assert_int_equal(iter->rc, 0);
    assert_int_equal(iter->valid, at < model->count);
    if (iter->valid)
        assert_same_entry(&iter->entry, &model->items[at].entry, read);
}

/* Takes the iterator over. */
static void check_walks(struct iter *iter, const struct model *model,
                        const struct segment_read *read, struct rng *rng)
{
    size_t at = 0;

    assert_non_null(iter);
    for (iter->ops->first(iter); iter->valid; iter->ops->next(iter))
        check_at(iter, model, at++, read);
    assert_int_equal(at, model->count);
    assert_int_equal(iter->rc, 0);
    for (iter->ops->last(iter); iter->valid; iter->ops->prev(iter))
        check_at(iter, model, --at, read);
    assert_int_equal(at, 0);
    for (int jump = 0; jump < 60; jump++) {
        struct varve_slice key = model->items[rng_below(rng, model->count)].entry.chunk.key;
        key.len -= rng_below(rng, 3) == 0 ? rng_below(rng, key.len + 1) : 0;
        if (rng_below(rng, 2) == 0) {
            iter->ops->seek(iter, key);
            at = model_find(model, key, 0);
        } else {
            iter->ops->seek_prev(iter, key);
            at = model_find(model, key, 1) - 1;
        }
        check_at(iter, model, at, read);
        for (int step = 0; step < 20 && iter->valid; step++) {
            int back = rng_below(rng, 3) == 0;
            if (back)
                iter->ops->prev(iter);
            else
                iter->ops->next(iter);
            at += back ? (size_t)-1 : 1;
            check_at(iter, model, at, read);
        }
    }
    iter_destroy(iter);
}

static void check_ranges(const struct segment *segment, const struct model *model)
{
    assert_int_equal(segment_range_count(segment), model->range_count);
    for (size_t i = 0; i < model->range_count; i++) {
        struct entry entry;
        segment_range(segment, i, &entry);
        assert_same_entry(&entry, &model->ranges[i].entry, &READ_WAIT);
        assert_true(varve_slice_equal(entry.chunk.value, model->ranges[i].entry.chunk.value));
    }
}

static void check_all(struct disk *disk, const struct model *model, struct cache *cache,
                      struct rng *rng)
{
    static const size_t readahead[] = {0, 1000, 64 * 1024};
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, cache);
    int blocked = 0;

    if (segment_verify(segment, &disk->err) != 0)
        fail_msg("verify: %s", disk->err.text);
    check_ranges(segment, model);
    for (int no_fill = 1; no_fill >= 0; no_fill--) {
        struct segment_read read = {.wait = SEGMENT_WAIT, .no_fill = no_fill};
        check_gets(segment, model, &read, rng, &blocked);
        for (size_t i = 0; i < COUNT_OF(readahead); i++)
            check_walks(segment_iter_create(segment, &read, readahead[i]), model, &read, rng);
    }
    struct segment_read nowait = {.wait = SEGMENT_NO_WAIT};
    check_gets(segment, model, &nowait, rng, &blocked);
    segment_unref(segment);
    if (cache != NULL)
        while (rcu_reclaim() > 0)
            ;
}

static void test_segment__reads_like_a_sorted_array(void **state)
{
    struct disk *disk = *state;
    struct rng rng;

    rng_init(&rng, 30);
    for (unsigned round = 0; round < 2 * COUNT_OF(PLANS); round++) {
        struct model model;
        model_make(&model, &PLANS[round / 2], &rng);
        disk->options.compress = round % 2 == 0;
        disk->options.block_size_bytes = round % 4 < 2 ? 256 : 1;
        disk->options.bits_per_key = round % 3 == 0 ? 0 : 10;
        if (model_write(disk, &model, 0, model.count, 1, HELP_PATH, HELP_FILE_NO) != 0)
            fail_msg("write: %s", disk->err.text);
        check_all(disk, &model, NULL, &rng);
        struct cache *cache = cache_create(256 * KIB);
        check_all(disk, &model, cache, &rng);
        cache_destroy(cache);
        model_free(&model);
        assert_int_equal(disk->env->ops->remove(disk->env, HELP_PATH, &disk->err), 0);
    }
}

static void test_segment__no_wait_reads_memory_only(void **state)
{
    struct disk *disk = *state;
    struct model model;
    struct rng rng;
    int blocked = 0;

    rng_init(&rng, 31);
    model_make(&model, &PLANS[0], &rng);
    assert_int_equal(model_write(disk, &model, 0, model.count, 1, HELP_PATH, HELP_FILE_NO), 0);
    struct cache *cache = cache_create(16 * 1024 * KIB);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, cache);
    struct segment_read nowait = {.wait = SEGMENT_NO_WAIT};
    check_gets(segment, &model, &nowait, &rng, &blocked);
    assert_true(blocked > 100);
    struct iter *iter = segment_iter_create(segment, &nowait, 64 * KIB);
    size_t seen = 0;
    for (iter->ops->first(iter); iter->valid; iter->ops->next(iter))
        seen++;
    assert_int_equal(iter->rc, VARVE_WOULD_BLOCK);
    assert_true(seen < model.count);
    blocked = 0;
    check_gets(segment, &model, &READ_WAIT, &rng, &blocked);
    check_gets(segment, &model, &nowait, &rng, &blocked);
    assert_int_equal(blocked, 0);
    uint64_t reads = segment_block_reads(segment);
    check_walks(iter, &model, &nowait, &rng);
    assert_int_equal(segment_block_reads(segment), reads);
    segment_unref(segment);
    while (rcu_reclaim() > 0)
        ;
    cache_destroy(cache);
    model_free(&model);
}

static int get_value(struct segment *segment, const struct entry *wanted, enum segment_wait wait)
{
    struct segment_read read = {.wait = wait};
    struct segment_hold hold, value_hold;
    struct varve_slice value;
    struct varve_err err;
    struct entry entry;
    struct varve_slice key = wanted->chunk.key;

    rcu_enter();
    assert_int_equal(
        segment_get(segment, key, bloom_hash(key), UINT64_MAX, &read, &entry, &hold, &err), 0);
    int rc = entry_value(&entry, &read, &value, &value_hold, &err);
    assert_true(rc != 0 || varve_slice_equal(value, wanted->chunk.value));
    segment_hold_keep(&value_hold);
    segment_hold_release(&value_hold);
    segment_hold_keep(&hold);
    segment_hold_release(&hold);
    rcu_leave();
    return rc;
}

/* Though the system has it in memory: to copy it would take too long, and to unpack one that is not cached. */
static void test_segment__no_wait_leaves_long_values(void **state)
{
    struct disk *disk = *state;
    const struct varve_env_ops *ops = disk->env->ops;
    struct varve_env_ops in_memory = *ops;
    struct model_plan plan = {.keys = 20, .versions_max = 1, .huge_values = 20};
    size_t long_bytes = 1024 * KIB;
    struct model model;
    struct rng rng;

    rng_init(&rng, 33);
    model_make(&model, &plan, &rng);
    struct model_item *item = &model.items[7];
    item->value = realloc(item->value, long_bytes);
    memset(item->value, 'v', long_bytes);
    item->entry.chunk.value = varve_slice(item->value, long_bytes);
    item->entry.chunk.crc = chunk_crc(&item->entry.chunk);
    in_memory.read_at_nowait = ops->read_at;
    for (int compress = 0; compress < 2; compress++) {
        size_t left = 0;
        disk->options.compress = compress;
        assert_int_equal(model_write(disk, &model, 0, model.count, 0, HELP_PATH, HELP_FILE_NO), 0);
        struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
        disk->env->ops = &in_memory;
        for (size_t i = 0; i < model.count; i++) {
            int rc = get_value(segment, &model.items[i].entry, SEGMENT_NO_WAIT);
            assert_int_equal(i == 7 ? VARVE_WOULD_BLOCK : rc, rc);
            left += rc == VARVE_WOULD_BLOCK;
            assert_int_equal(get_value(segment, &model.items[i].entry, SEGMENT_WAIT), 0);
        }
        assert_true(compress ? left > 5 && left < model.count : left == 1);
        disk->env->ops = ops;
        segment_mark_dead(segment);
        segment_unref(segment);
    }
    model_free(&model);
}

/* What segment_iter gives is what segment_writer takes, values in blocks of their own included. */
static void test_segment__copied_from_segment_to_segment(void **state)
{
    struct disk *disk = *state;
    struct model_plan plan = {
        .keys = 40, .versions_max = 2, .value_max = 50, .large_values = 8, .huge_values = 3};
    struct model model;
    struct rng rng;
    struct segment_writer *writer;
    struct segment_read read = {.wait = SEGMENT_WAIT, .no_fill = 1};
    size_t size[2];

    rng_init(&rng, 32);
    model_make(&model, &plan, &rng);
    assert_int_equal(model_write(disk, &model, 0, model.count, 0, "/1.seg", 1), 0);
    struct segment *from = disk_open(disk, "/1.seg", 1, NULL);
    struct iter *iter = segment_iter_create(from, &read, 4 * KIB);
    assert_int_equal(
        segment_writer_create(&disk->options, HELP_PATH, HELP_FILE_NO, &writer, &disk->err), 0);
    for (iter->ops->first(iter); iter->valid; iter->ops->next(iter))
        assert_int_equal(segment_writer_add(writer, &iter->entry, &disk->err), 0);
    assert_int_equal(segment_writer_finish(writer, &disk->err), 0);
    segment_writer_destroy(writer);
    iter_destroy(iter);
    segment_mark_dead(from);
    segment_unref(from);
    assert_int_equal(disk->env->ops->remove(disk->env, "/1.seg", NULL), VARVE_ENOENT);
    check_all(disk, &model, NULL, &rng);
    uint8_t *copied = disk_read_all(disk, HELP_PATH, &size[0]);
    disk->env->ops->remove(disk->env, HELP_PATH, NULL);
    assert_int_equal(model_write(disk, &model, 0, model.count, 0, HELP_PATH, HELP_FILE_NO), 0);
    uint8_t *direct = disk_read_all(disk, HELP_PATH, &size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(copied, direct, size[0]);
    free(copied);
    free(direct);
    model_free(&model);
}

/* Where a long value does not lie as it is: what can be compressed, up to 1 MiB; in copies, too. */
static void test_segment__long_values_are_compressed(void **state)
{
    static const struct {
        size_t len;
        int noise;
        int packed;
    } cases[] = {{16 * KIB, 0, 1},  {16 * KIB, 1, 0},  {300 * KIB, 0, 1},
                 {300 * KIB, 1, 0}, {KIB * KIB, 0, 1}, {KIB * KIB + 1, 0, 0}};
    struct disk *disk = *state;
    const struct segment_read read = {.wait = SEGMENT_WAIT};
    struct segment_writer *writer;
    struct cache *cache = cache_create(2 * KIB * KIB);
    uint8_t *value = malloc(KIB * KIB + 1);
    struct rng rng;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct entry entry = {.seq = 5, .chunk = {.kind = CHUNK_PUT, .key = varve_slice("k", 1)}};
        rng_init(&rng, 1);
        for (size_t at = 0; at < cases[i].len; at++)
            value[at] = (uint8_t)(cases[i].noise ? rng_next(&rng) : at / 500);
        entry.chunk.value = varve_slice(value, cases[i].len);
        entry.chunk.crc = chunk_crc(&entry.chunk);
        struct segment *segment = NULL;
        for (int copy = 0; copy < 3; copy++) { /* from memory, from a segment, from a copy */
            char path[32];
            struct segment_hold hold = {0};
            struct segment_hold value_hold = {0};
            struct varve_slice got;
            snprintf(path, sizeof(path), "/%d.seg", copy + 1);
            disk->options.compress = copy == 0; /* what lies there stays as it is */
            assert_int_equal(segment_writer_create(&disk->options, path, (uint64_t)copy + 1,
                                                   &writer, &disk->err),
                             0);
            assert_int_equal(segment_writer_add(writer, &entry, &disk->err), 0);
            assert_int_equal(segment_writer_finish(writer, &disk->err), 0);
            segment_writer_destroy(writer);
            if (segment != NULL) {
                segment_mark_dead(segment);
                segment_unref(segment);
            }
            segment = disk_open(disk, path, (uint64_t)copy + 1, cache);
            assert_int_equal(segment_size_bytes(segment) < cases[i].len, cases[i].packed);
            assert_int_equal(segment_verify(segment, &disk->err), 0);
            rcu_enter();
            assert_int_equal(segment_get(segment, varve_slice("k", 1),
                                         bloom_hash(varve_slice("k", 1)), 9, &read, &entry, &hold,
                                         &disk->err),
                             0);
            assert_int_equal(entry.value_packed_len > 0, cases[i].packed);
            for (int again = 0; again < 2; again++) {
                assert_int_equal(entry_value(&entry, &read, &got, &value_hold, &disk->err), 0);
                assert_int_equal(got.len, cases[i].len);
                assert_memory_equal(got.data, value, got.len);
                segment_hold_release(&value_hold);
            }
            entry.chunk.key = varve_slice("k", 1);
            segment_hold_release(&hold);
            rcu_leave();
        }
        segment_mark_dead(segment);
        segment_unref(segment);
    }
    cache_destroy(cache);
    free(value);
}

/* Copying one without looking into it would give the damage a good CRC. */
static void test_segment__damaged_compressed_values_are_not_copied(void **state)
{
    struct disk *disk = *state;
    struct segment_read read = {.wait = SEGMENT_WAIT, .no_fill = 1};
    struct segment_writer *writer;
    uint8_t *value = calloc(1, 20 * KIB);
    struct entry entry = {.seq = 5, .chunk = {.kind = CHUNK_PUT, .key = varve_slice("k", 1)}};
    size_t size;

    entry.chunk.value = varve_slice(value, 20 * KIB);
    entry.chunk.crc = chunk_crc(&entry.chunk);
    assert_int_equal(segment_writer_create(&disk->options, "/1.seg", 1, &writer, &disk->err), 0);
    assert_int_equal(segment_writer_add(writer, &entry, &disk->err), 0);
    assert_int_equal(segment_writer_finish(writer, &disk->err), 0);
    segment_writer_destroy(writer);
    uint8_t *bytes = disk_read_all(disk, "/1.seg", &size);
    bytes[FILE_HEADER_BYTES + 5] ^= 1;
    disk_replace(disk, "/1.seg", bytes, size);
    struct segment *from = disk_open(disk, "/1.seg", 1, NULL);
    struct iter *iter = segment_iter_create(from, &read, 4 * KIB);
    iter->ops->first(iter);
    assert_true(iter->valid && iter->entry.value_packed_len > 0);
    assert_int_equal(
        segment_writer_create(&disk->options, HELP_PATH, HELP_FILE_NO, &writer, &disk->err), 0);
    assert_int_equal(segment_writer_add(writer, &iter->entry, &disk->err), VARVE_ECORRUPT);
    assert_non_null(strstr(disk->err.text, "/1.seg: offset 64: "));
    segment_writer_destroy(writer);
    iter_destroy(iter);
    segment_unref(from);
    free(bytes);
    free(value);
}

static void test_segment__wrong_records_are_not_written(void **state)
{
    struct disk *disk = *state;
    struct segment_writer *writer;
    uint8_t *value = calloc(1, 20 * KIB);

    for (int which = 0; which < 4; which++) {
        struct entry entry = {.seq = 5, .chunk = {.kind = CHUNK_PUT, .key = varve_slice("k", 1)}};
        entry.chunk.value = varve_slice(value, which == 1 ? 20 * KIB : 20);
        entry.chunk.crc = chunk_crc(&entry.chunk) ^ (which < 2);
        assert_int_equal(
            segment_writer_create(&disk->options, HELP_PATH, HELP_FILE_NO, &writer, &disk->err), 0);
        int rc = segment_writer_add(writer, &entry, &disk->err);
        if (which >= 2) {
            assert_int_equal(rc, 0);
            entry.seq = which == 2 ? 5 : 6; /* the same again; a newer one behind an older one */
            rc = segment_writer_add(writer, &entry, &disk->err);
        }
        assert_int_equal(rc, VARVE_ECORRUPT);
        assert_non_null(strstr(disk->err.text, HELP_PATH));
        segment_writer_destroy(writer);
        assert_int_equal(disk->env->ops->remove(disk->env, HELP_PATH, NULL), VARVE_ENOENT);
    }
    free(value);
}

/* One small record, and behind it all of a segment, block by block where that may be. */
static struct segment *merge_in_front(struct disk *disk, struct segment *from, int number)
{
    const struct segment_read forward = {.forward = 1};
    uint8_t value[60] = {0};
    char key[16];
    char path[32];
    struct segment_writer *writer;
    struct entry entry = {.seq = 5, .chunk = {.kind = CHUNK_PUT}};

    entry.chunk.key = varve_slice(key, (size_t)sprintf(key, "k%03d", 999 - number));
    entry.chunk.value = varve_slice(value, sizeof(value));
    entry.chunk.crc = chunk_crc(&entry.chunk);
    sprintf(path, "/%d.seg", number + 1);
    assert_int_equal(
        segment_writer_create(&disk->options, path, (uint64_t)number + 1, &writer, &disk->err), 0);
    assert_int_equal(segment_writer_add(writer, &entry, &disk->err), 0);
    struct segment *const run[] = {from};
    struct iter *iter = from == NULL ? NULL : run_iter_create(run, 1, &forward, 4 * KIB);
    if (iter != NULL)
        iter->ops->first(iter);
    while (iter != NULL && iter->valid) {
        const struct iter_block *block = iter->ops->block(iter);
        int rc = block == NULL ? 0 : segment_writer_copy(writer, block, &disk->err);
        assert_in_range(rc, 0, 1);
        if (rc == 0)
            assert_int_equal(segment_writer_add(writer, &iter->entry, &disk->err), 0);
        if (rc == 0)
            iter->ops->next(iter);
        else
            iter->ops->skip_block(iter);
    }
    if (iter != NULL)
        iter_destroy(iter);
    assert_int_equal(segment_writer_finish(writer, &disk->err), 0);
    segment_writer_destroy(writer);
    if (from != NULL) {
        segment_mark_dead(from);
        segment_unref(from);
    }
    return disk_open(disk, path, (uint64_t)number + 1, NULL);
}

/* Keys that always come in front of the last block: each joins it, and it must end all the same. */
static void test_copied_blocks__do_not_grow_for_ever(void **state)
{
    struct disk *disk = *state;
    struct segment *segment = NULL;

    disk->options.compress = 0;
    for (int i = 0; i < 60; i++)
        segment = merge_in_front(disk, segment, i);
    assert_int_equal(segment_properties(segment)->entries, 60);
    for (uint32_t i = 0; i < segment->index.count; i++)
        assert_true(segment->index.lens[i] <= 3 * disk->options.block_size_bytes);
    segment_mark_dead(segment);
    segment_unref(segment);
}

/* Cuts a run wherever the writer says that it may; walks and searches it; bounds do not overlap. */
static void test_run__reads_like_one_segment(void **state)
{
    struct disk *disk = *state;
    struct rng rng;
    struct segment *segments[64];
    char path[32];

    rng_init(&rng, 33);
    for (unsigned round = 0; round < COUNT_OF(PLANS); round++) {
        struct model model;
        size_t count = 0;
        size_t from = 0;
        model_make(&model, &PLANS[round], &rng);
        for (size_t i = 0; i <= model.count && count < 62; i++) {
            struct segment_bound upper;
            struct segment_bound lower;
            if (i < model.count && (i == 0 || rng_below(&rng, 20) > 0))
                continue;
            if (i < model.count) {
                segment_bound_upper(&upper, model.items[i - 1].entry.chunk.key);
                segment_bound_lower(&lower, model.items[i].entry.chunk.key);
                if (upper.len == 0 || varve_slice_compare(segment_bound_slice(&upper),
                                                          segment_bound_slice(&lower)) > 0)
                    continue;
            }
            if (count == 61)
                i = model.count;
            snprintf(path, sizeof(path), "/%zu.seg", 100 + count);
            assert_int_equal(model_write(disk, &model, from, i, 0, path, 100 + count), 0);
            segments[count] = disk_open(disk, path, 100 + count, NULL);
            segment_mark_dead(segments[count]);
            from = i;
            count++;
        }
        for (size_t i = 1; i < count; i++) {
            const struct properties *left = segment_properties(segments[i - 1]);
            const struct properties *right = segment_properties(segments[i]);
            assert_true(varve_slice_compare(segment_bound_slice(&left->upper),
                                            segment_bound_slice(&right->lower)) <= 0);
        }
        check_walks(run_iter_create(segments, count, &READ_WAIT, 2000), &model, &READ_WAIT, &rng);
        for (size_t i = 0; i < count; i++)
            segment_unref(segments[i]);
        model_free(&model);
    }
    struct iter *iter = run_iter_create(NULL, 0, &READ_WAIT, 0);
    iter->ops->first(iter);
    assert_false(iter->valid);
    iter->ops->seek_prev(iter, varve_slice("a", 1));
    assert_false(iter->valid);
    assert_int_equal(iter->rc, 0);
    iter_destroy(iter);
}

static void test_writer__may_cut_where_bounds_do_not_overlap(void **state)
{
    struct disk *disk = *state;
    struct segment_writer *writer;
    uint8_t key[400];
    uint8_t next[400];
    struct entry entry = {.seq = 1, .chunk = {.kind = CHUNK_DELETE}};

    memset(key, 'x', sizeof(key));
    memset(next, 'x', sizeof(next));
    entry.chunk.key = varve_slice(key, 300);
    entry.chunk.crc = chunk_crc(&entry.chunk);
    assert_int_equal(
        segment_writer_create(&disk->options, HELP_PATH, HELP_FILE_NO, &writer, &disk->err), 0);
    assert_true(segment_writer_may_cut(writer, entry.chunk.key));
    assert_int_equal(segment_writer_add(writer, &entry, &disk->err), 0);
    assert_int_equal(segment_writer_entries(writer), 1);
    assert_false(segment_writer_may_cut(writer, varve_slice(key, 300))); /* a version of it */
    next[290] = 'y';
    assert_false(segment_writer_may_cut(writer, varve_slice(next, 300)));
    next[250] = 'y';
    assert_true(segment_writer_may_cut(writer, varve_slice(next, 300)));
    memset(key, 0xff, sizeof(key));
    entry.chunk.key = varve_slice(key, 300);
    entry.chunk.crc = chunk_crc(&entry.chunk);
    assert_int_equal(segment_writer_add(writer, &entry, &disk->err), 0);
    assert_false(segment_writer_may_cut(writer, varve_slice(key, 301)));
    segment_writer_destroy(writer);
    segment_writer_destroy(NULL);
    segment_unref(NULL);
}

/* The steps never say that more has expired than has. */
static void check_expiry(const struct properties *properties, const struct model *model)
{
    uint64_t all = 0;

    for (uint32_t i = 0; i < properties->expiry_count; i++) {
        uint64_t expired = 0;
        for (size_t k = 0; k < model->count; k++) {
            const struct chunk *chunk = &model->items[k].entry.chunk;
            if (chunk->expire_ms != 0 && chunk->expire_ms <= properties->expiry[i].expire_ms)
                expired += chunk->key.len + chunk->value.len;
        }
        assert_true(properties->expiry[i].bytes <= expired);
        assert_true(properties->expiry[i].bytes > all);
        all = properties->expiry[i].bytes;
        if (i + 1 == properties->expiry_count)
            assert_int_equal(all, expired);
    }
}

static void test_segment__properties_are_those_of_its_entries(void **state)
{
    struct disk *disk = *state;
    struct model model;
    struct rng rng;
    uint64_t puts = 0;
    uint64_t groups = 0;
    uint64_t unknown = 0;

    rng_init(&rng, 34);
    model_make(&model, &PLANS[0], &rng);
    assert_int_equal(model_write(disk, &model, 0, model.count, 1, HELP_PATH, HELP_FILE_NO), 0);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
    const struct properties *properties = segment_properties(segment);
    for (size_t i = 0; i < model.count; i++) {
        const struct entry *entry = &model.items[i].entry;
        int in_k = entry->chunk.key.data[0] == 'k';
        puts += entry->chunk.kind == CHUNK_PUT;
        groups += in_k;
        unknown += in_k && entry->prior_unknown;
        assert_true(entry->seq >= properties->seq_min && entry->seq <= properties->seq_max);
        assert_true(segment_below_upper(entry->chunk.key, segment_bound_slice(&properties->upper)));
    }
    assert_int_equal(properties->entries, model.count);
    assert_int_equal(properties->puts, puts);
    assert_int_equal(properties->ranges, 5);
    assert_int_equal(properties->expiry_count, SEGMENT_EXPIRY_STEPS_MAX);
    assert_int_equal(properties->group_count, 3);
    assert_int_equal(properties->groups[1].name[0], 'k');
    assert_int_equal(properties->groups[1].entries, groups);
    assert_int_equal(properties->groups[1].unknown, unknown);
    check_expiry(properties, &model);
    assert_int_equal(segment_file_no(segment), HELP_FILE_NO);
    segment_unref(segment);
    assert_int_equal(segment_open(disk->env, HELP_PATH, &disk->id, 8, NULL, &segment, &disk->err),
                     VARVE_ECORRUPT);
    assert_null(segment);
    model_free(&model);
}

/* Range tombstones alone: no data block; the bounds are theirs. */
static void test_segment__of_range_tombstones_only(void **state)
{
    struct disk *disk = *state;
    struct model_plan plan = {.keys = 1, .versions_max = 1, .ranges = 30};
    struct model model;
    struct rng rng;
    struct entry entry;
    struct segment_hold hold;

    rng_init(&rng, 35);
    model_make(&model, &plan, &rng);
    assert_int_equal(model_write(disk, &model, 0, 0, 1, HELP_PATH, HELP_FILE_NO), 0);
    struct segment *segment = disk_open(disk, HELP_PATH, HELP_FILE_NO, NULL);
    assert_int_equal(segment_verify(segment, &disk->err), 0);
    check_ranges(segment, &model);
    const struct properties *properties = segment_properties(segment);
    assert_true(varve_slice_equal(segment_bound_slice(&properties->lower),
                                  model.ranges[0].entry.chunk.key));
    rcu_enter();
    assert_int_equal(segment_get(segment, varve_slice("b", 1), bloom_hash(varve_slice("b", 1)),
                                 UINT64_MAX, &READ_WAIT, &entry, &hold, &disk->err),
                     VARVE_NOT_FOUND);
    rcu_leave();
    struct segment *twice[2] = {segment, segment};
    struct iter *iter = run_iter_create(twice, 2, &READ_WAIT, 0);
    iter->ops->first(iter);
    assert_false(iter->valid);
    iter->ops->last(iter);
    assert_false(iter->valid);
    iter->ops->seek(iter, varve_slice("a", 1));
    assert_false(iter->valid);
    assert_int_equal(iter->rc, 0);
    iter_destroy(iter);
    segment_unref(segment);
    model_free(&model);
}

int main(void)
{
#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, disk_set_up, disk_tear_down)
    const struct CMUnitTest tests[] = {
        WITH_DISK(test_segment__reads_like_a_sorted_array),
        WITH_DISK(test_segment__no_wait_reads_memory_only),
        WITH_DISK(test_segment__no_wait_leaves_long_values),
        WITH_DISK(test_segment__copied_from_segment_to_segment),
        WITH_DISK(test_segment__long_values_are_compressed),
        WITH_DISK(test_segment__damaged_compressed_values_are_not_copied),
        WITH_DISK(test_segment__wrong_records_are_not_written),
        WITH_DISK(test_copied_blocks__do_not_grow_for_ever),
        WITH_DISK(test_run__reads_like_one_segment),
        WITH_DISK(test_writer__may_cut_where_bounds_do_not_overlap),
        WITH_DISK(test_segment__properties_are_those_of_its_entries),
        WITH_DISK(test_segment__of_range_tombstones_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
