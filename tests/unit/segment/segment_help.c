#include "segment_help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t group_of(void *arg, struct varve_slice key)
{
    (void)arg;
    return key.len > 0 && key.data[0] >= 'a' && key.data[0] <= 'z';
}

void disk_init(struct disk *disk)
{
    memset(disk, 0, sizeof(*disk));
    disk->sim = sim_env_create(1);
    disk->fault = fault_env_create(sim_as_env(disk->sim));
    disk->env = fault_as_env(disk->fault);
    memset(disk->id.bytes, 0x5a, sizeof(disk->id.bytes));
    disk->options = (struct segment_writer_options){
        .env = disk->env,
        .id = &disk->id,
        .block_size_bytes = 256,
        .bits_per_key = 10,
        .compress = 1,
        .count_group = group_of,
    };
}

void disk_deinit(struct disk *disk)
{
    fault_env_destroy(disk->fault);
    sim_env_destroy(disk->sim);
}

int disk_set_up(void **state)
{
    struct disk *disk = malloc(sizeof(*disk));

    disk_init(disk);
    *state = disk;
    return 0;
}

int disk_tear_down(void **state)
{
    disk_deinit(*state);
    free(*state);
    return 0;
}

static void fill(uint8_t *at, size_t len, struct rng *rng)
{
    int plain = rng_below(rng, 2) == 0; /* compresses well */

    for (size_t i = 0; i < len; i++)
        at[i] = plain ? (uint8_t)(i / 50) : (uint8_t)rng_next(rng);
}

static void item_make(struct model_item *item, enum chunk_kind kind, uint64_t seq, size_t value_len,
                      struct rng *rng)
{
    item->entry = (struct entry){.seq = seq, .chunk = {.kind = kind}};
    item->entry.prior_unknown = rng_below(rng, 3) == 0 && kind != CHUNK_RANGE_DELETE;
    item->entry.chunk.key = varve_slice(item->key, item->key_len);
    if (kind == CHUNK_PUT && rng_below(rng, 3) == 0)
        item->entry.chunk.expire_ms = 1 + rng_below(rng, 1000000);
    if (kind == CHUNK_PUT) {
        item->value = malloc(value_len + 1);
        fill(item->value, value_len, rng);
        item->entry.chunk.value = varve_slice(item->value, value_len);
    }
    item->entry.chunk.crc = chunk_crc(&item->entry.chunk);
}

static void key_make(struct model_item *item, size_t number, int is_long, struct rng *rng)
{
    size_t stem = is_long ? 300 : 0;

    item->key = malloc(stem + 64);
    memset(item->key, 'l', stem);
    int len = is_long ? sprintf((char *)item->key + stem, "%04zu", number)
                      : sprintf((char *)item->key, "%c%05zu", "aAkKzZ"[number % 6],
                                number * (1 + rng_below(rng, 2)));
    item->key_len = stem + (size_t)len;
}

static int item_compare(const void *a, const void *b)
{
    const struct entry *x = &((const struct model_item *)a)->entry;
    const struct entry *y = &((const struct model_item *)b)->entry;

    return entry_compare(x->chunk.key, x->seq, y->chunk.key, y->seq);
}

static void model_make_key(struct model *model, const struct model_plan *plan, size_t number,
                           uint64_t *seq, struct rng *rng)
{
    struct model_item base;
    uint64_t versions = 1 + rng_below(rng, plan->versions_max);

    key_make(&base, number, number < plan->long_keys, rng);
    for (uint64_t v = 0; v < versions; v++) {
        struct model_item *item = &model->items[model->count++];
        memset(item, 0, sizeof(*item));
        item->key = malloc(base.key_len + 1);
        item->key_len = base.key_len;
        memcpy(item->key, base.key, base.key_len);
        size_t value_len = rng_below(rng, plan->value_max + 1);
        enum chunk_kind kind = rng_below(rng, 5) == 0 ? CHUNK_DELETE : CHUNK_PUT;
        if (v == 0 && number >= plan->keys - plan->huge_values)
            value_len = 300 * 1024 + number;
        else if (v == 0 && number >= plan->keys - plan->huge_values - plan->large_values)
            value_len = 16 * 1024 + rng_below(rng, 70 * 1024);
        if (value_len >= 16 * 1024)
            kind = CHUNK_PUT;
        item_make(item, kind, ++*seq * 3, value_len, rng);
    }
    free(base.key);
}

static void model_make_ranges(struct model *model, size_t count, uint64_t *seq, struct rng *rng)
{
    model->ranges = calloc(count + 1, sizeof(*model->ranges));
    for (size_t i = 0; i < count; i++) {
        struct model_item *item = &model->ranges[model->range_count++];
        item->key = malloc(16);
        item->key_len = (size_t)sprintf((char *)item->key, "b%03u", (unsigned)rng_below(rng, 500));
        item->value = malloc(16);
        int len = sprintf((char *)item->value, "c%03u", (unsigned)rng_below(rng, 500));
        item_make(item, CHUNK_RANGE_DELETE, ++*seq * 3, 0, rng);
        item->entry.chunk.value = varve_slice(item->value, (size_t)len);
        item->entry.chunk.crc = chunk_crc(&item->entry.chunk);
    }
    qsort(model->ranges, model->range_count, sizeof(*model->ranges), item_compare);
}

void model_make(struct model *model, const struct model_plan *plan, struct rng *rng)
{
    uint64_t seq = 100;

    memset(model, 0, sizeof(*model));
    model->items = calloc(plan->keys * plan->versions_max + 1, sizeof(*model->items));
    for (size_t number = 0; number < plan->keys; number++)
        model_make_key(model, plan, number, &seq, rng);
    qsort(model->items, model->count, sizeof(*model->items), item_compare);
    model_make_ranges(model, plan->ranges, &seq, rng);
}

static void items_free(struct model_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(items[i].key);
        free(items[i].value);
    }
    free(items);
}

void model_free(struct model *model)
{
    items_free(model->items, model->count);
    items_free(model->ranges, model->range_count);
}

size_t model_find(const struct model *model, struct varve_slice key, int behind)
{
    size_t low = 0;
    size_t high = model->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = varve_slice_compare(model->items[middle].entry.chunk.key, key);
        if (order < 0 || (order == 0 && behind))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t model_get(const struct model *model, struct varve_slice key, uint64_t seq_max)
{
    size_t i = model_find(model, key, 0);

    while (i < model->count && varve_slice_equal(model->items[i].entry.chunk.key, key) &&
           model->items[i].entry.seq > seq_max)
        i++;
    return i < model->count && varve_slice_equal(model->items[i].entry.chunk.key, key)
               ? i
               : model->count;
}

int model_write(struct disk *disk, const struct model *model, size_t from, size_t to, int ranges,
                const char *path, uint64_t file_no)
{
    struct segment_writer *writer = NULL;
    int rc = segment_writer_create(&disk->options, path, file_no, &writer, &disk->err);

    for (size_t i = from; rc == 0 && i < to; i++)
        rc = segment_writer_add(writer, &model->items[i].entry, &disk->err);
    for (size_t i = 0; rc == 0 && ranges && i < model->range_count; i++)
        rc = segment_writer_add_range(writer, &model->ranges[i].entry, &disk->err);
    if (rc == 0)
        rc = segment_writer_finish(writer, &disk->err);
    segment_writer_destroy(writer);
    return rc;
}

struct segment *disk_open(struct disk *disk, const char *path, uint64_t file_no,
                          struct cache *cache)
{
    struct segment *segment;
    int rc = segment_open(disk->env, path, &disk->id, file_no, cache, &segment, &disk->err);

    if (rc != 0)
        fail_msg("open: %s", disk->err.text);
    return segment;
}

uint8_t *disk_read_all(struct disk *disk, const char *path, size_t *size)
{
    const struct varve_env_ops *ops = disk->env->ops;
    struct varve_file *file;
    uint64_t bytes;

    assert_int_equal(ops->open(disk->env, path, VARVE_OPEN_READ, &file, &disk->err), 0);
    assert_int_equal(ops->size(disk->env, file, &bytes, &disk->err), 0);
    uint8_t *all = malloc(bytes + 1);
    assert_int_equal(ops->read_at(disk->env, file, all, bytes, 0, size, &disk->err), 0);
    ops->close(disk->env, file);
    assert_int_equal(*size, bytes);
    return all;
}

void disk_replace(struct disk *disk, const char *path, const uint8_t *bytes, size_t size)
{
    const struct varve_env_ops *ops = disk->env->ops;
    struct varve_slice part = varve_slice(bytes, size);
    struct varve_file *file;

    assert_int_equal(
        ops->open(disk->env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, &disk->err), 0);
    assert_int_equal(ops->truncate(disk->env, file, size, &disk->err), 0);
    if (size > 0)
        assert_int_equal(ops->write_at(disk->env, file, &part, 1, 0, &disk->err), 0);
    ops->close(disk->env, file);
}

void assert_same_entry(const struct entry *is, const struct entry *model,
                       const struct segment_read *read)
{
    struct segment_hold hold;
    struct varve_slice value;
    struct varve_err err;
    const struct chunk *chunk = &model->chunk;

    assert_int_equal(is->seq, model->seq);
    assert_int_equal(is->chunk.kind, chunk->kind);
    assert_int_equal(is->chunk.crc, chunk->crc);
    assert_int_equal(is->chunk.expire_ms, chunk->expire_ms);
    assert_int_equal(is->prior_unknown, model->prior_unknown);
    assert_true(varve_slice_equal(is->chunk.key, chunk->key));
    assert_int_equal(is->chunk.value.len, chunk->value.len);
    int rc = entry_value(is, read, &value, &hold, &err);
    if (rc != VARVE_WOULD_BLOCK || read->wait != SEGMENT_NO_WAIT) {
        assert_int_equal(rc, 0);
        assert_true(varve_slice_equal(value, chunk->value));
    }
    segment_hold_release(&hold);
}
