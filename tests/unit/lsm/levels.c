#include "levels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rcu.h"
#include "lsm/rewrite.h"
#include "lsm/segment_set.h"

uint64_t levels_below(struct levels *b, uint64_t bound)
{
    return rng_below(&b->rng, bound);
}

uint64_t levels_file_no(void *arg)
{
    struct levels *b = arg;

    return atomic_fetch_add(&b->next_file_no, 1);
}

size_t levels_group(void *arg, struct varve_slice key)
{
    (void)arg;
    return key.len > 0 && key.data[0] == 'a';
}

struct varve_slice levels_key(const struct levels *b, size_t i)
{
    return varve_slice(b->keys[i], b->key_len[i]);
}

static void make_keys(struct levels *b)
{
    for (size_t i = 0; i < LEVELS_KEYS; i++) {
        char *key = (char *)b->keys[i];
        int long_one = i % 7 == 3;
        memset(key, 'x', LEVELS_KEY_CAP);
        key[0] = (char)('a' + i / 20);
        size_t at = long_one ? 258 : 1;
        snprintf(key + at, LEVELS_KEY_CAP - at, "%03u", (unsigned)i);
        b->key_len[i] = at + 3;
    }
}

void levels_init(struct levels *b, uint64_t seed)
{
    memset(b, 0, sizeof(*b));
    b->sim = sim_env_create(seed);
    b->fault = fault_env_create(sim_as_env(b->sim));
    b->env = fault_as_env(b->fault);
    rng_init(&b->rng, seed);
    assert_int_equal(b->env->ops->make_dir(b->env, "/db", &b->err), 0);
    assert_int_equal(b->env->ops->sync_dir(b->env, "/", &b->err), 0);
    b->next_file_no = 1;
    b->next_run_no = 1;
    b->now_ms = 1000;
    b->near_count = LEVELS_KEYS;
    b->puts = 25;
    b->version = version_create();
    assert_non_null(b->version);
    make_keys(b);
}

void levels_deinit(struct levels *b)
{
    version_unref(b->version);
    for (uint64_t i = 0; i < b->count; i++)
        if (b->ops[i].chunk.kind == CHUNK_PUT)
            free((void *)(uintptr_t)b->ops[i].chunk.value.data);
    fault_env_destroy(b->fault);
    sim_env_destroy(b->sim);
}

static int count_name(void *arg, const char *name)
{
    (void)name;
    ++*(size_t *)arg;
    return 0;
}

size_t levels_files(struct levels *b)
{
    size_t count = 0;
    struct varve_env *env = sim_as_env(b->sim);

    assert_int_equal(env->ops->list_dir(env, "/db", count_name, &count, &b->err), 0);
    return count;
}

struct segment_writer_options levels_writer(struct levels *b)
{
    return (struct segment_writer_options){.env = b->env,
                                           .id = &b->id,
                                           .block_size_bytes = 512,
                                           .bits_per_key = 10,
                                           .count_group = levels_group};
}

/* ---- the history ---- */

static struct varve_slice make_value(struct levels *b, uint64_t seq)
{
    size_t len = levels_below(b, 60) == 0 ? 16384 + levels_below(b, 60000)
                                          : 8 + levels_below(b, 100);
    uint8_t *value = malloc(len);

    assert_non_null(value);
    memset(value, (int)seq, len);
    put_u64(value, seq);
    return varve_slice(value, len);
}

void levels_add_op(struct levels *b)
{
    struct chunk *chunk = &b->ops[b->count].chunk;
    uint64_t what = levels_below(b, 40);
    size_t key = b->near_from + levels_below(b, b->near_count);

    if (what == 0) {
        size_t begin = 20 + levels_below(b, LEVELS_KEYS - 21);
        size_t end = begin + 1 + levels_below(b, LEVELS_KEYS - 1 - begin);
        *chunk = (struct chunk){
            .kind = CHUNK_RANGE_DELETE, .key = levels_key(b, begin), .value = levels_key(b, end)};
        if (levels_below(b, 3) == 0)
            chunk->value = varve_slice_str("~");
    } else if (what <= b->puts) {
        *chunk = (struct chunk){
            .kind = CHUNK_PUT, .key = levels_key(b, key), .value = make_value(b, b->count + 1)};
        if (levels_below(b, 4) == 0)
            chunk->expire_ms = b->now_ms + 1 + levels_below(b, 60);
    } else {
        *chunk = (struct chunk){.kind = CHUNK_DELETE, .key = levels_key(b, key)};
    }
    chunk->crc = chunk_crc(chunk);
    b->count++;
}

static int op_covers(const struct chunk *chunk, struct varve_slice key)
{
    if (chunk->kind == CHUNK_RANGE_DELETE)
        return varve_slice_compare(chunk->key, key) <= 0 &&
               varve_slice_compare(key, chunk->value) < 0;
    return varve_slice_equal(chunk->key, key);
}

uint64_t levels_model_get(const struct levels *b, struct varve_slice key, uint64_t seq,
                          uint64_t now_ms)
{
    for (uint64_t i = seq; i-- > 0;) {
        const struct chunk *chunk = &b->ops[i].chunk;
        if (!op_covers(chunk, key))
            continue;
        int gone = chunk->expire_ms != 0 && chunk->expire_ms <= now_ms;
        return chunk->kind == CHUNK_PUT && !gone ? i + 1 : 0;
    }
    return 0;
}

/* ---- reading the version ---- */

/* 1: the newest record up to seq is a put, and its value was read whole. */
static int newest_put(struct levels *b, struct varve_slice key, uint64_t seq, struct entry *entry)
{
    const struct segment_read read = {.wait = SEGMENT_WAIT};
    struct segment_hold hold = {0};
    struct segment_hold value_hold = {0};
    struct varve_slice value;
    int found = 0;

    rcu_enter();
    int rc = version_get(b->version, key, 0, seq, &read, &b->counters, entry, &hold, &b->err);
    assert_true(rc == 0 || rc == VARVE_NOT_FOUND);
    if (rc == 0 && entry->chunk.kind == CHUNK_PUT) {
        found = entry->seq > range_set_seq(b->version->ranges, key, seq);
        assert_int_equal(entry_value(entry, &read, &value, &value_hold, &b->err), 0);
        assert_true(varve_slice_equal(value, b->ops[entry->seq - 1].chunk.value));
        segment_hold_release(&value_hold);
    }
    segment_hold_release(&hold);
    rcu_leave();
    return found;
}

static uint64_t engine_get(struct levels *b, struct varve_slice key, uint64_t seq, uint64_t now_ms)
{
    struct entry entry;

    if (!newest_put(b, key, seq, &entry))
        return 0;
    return entry.chunk.expire_ms != 0 && entry.chunk.expire_ms <= now_ms ? 0 : entry.seq;
}

static int64_t still_unknown_in(struct levels *b, struct segment *segment)
{
    const struct segment_read read = {.wait = SEGMENT_WAIT};
    struct iter *iter = segment_iter_create(segment, &read, 0);
    int64_t sum = 0;

    assert_non_null(iter);
    for (iter->ops->first(iter); iter->valid; iter->ops->next(iter)) {
        struct entry below_it;
        struct varve_slice key = iter->entry.chunk.key;
        if (key.data[0] == 'a' && iter->entry.prior_unknown)
            sum += newest_put(b, key, iter->entry.seq - 1, &below_it);
    }
    assert_int_equal(iter->rc, 0);
    iter_destroy(iter);
    return sum;
}

static void check_count(struct levels *b)
{
    int64_t truly = 0;
    int64_t unknown = 0;
    struct entry entry;

    for (size_t i = 0; i < LEVELS_KEYS; i++)
        if (b->keys[i][0] == 'a')
            truly += newest_put(b, levels_key(b, i), UINT64_MAX, &entry);
    for (size_t r = 0; r < b->version->run_count; r++)
        for (size_t s = 0; s < b->version->runs[r].count; s++)
            unknown += still_unknown_in(b, b->version->runs[r].segments[s]);
    assert_int_equal(truly, b->live - unknown);
}

void levels_check(struct levels *b)
{
    for (size_t i = 0; i < LEVELS_KEYS; i++) {
        struct varve_slice key = levels_key(b, i);
        for (size_t s = 0; s < b->snapshot_count; s++)
            assert_int_equal(engine_get(b, key, b->snapshots[s], b->snapshot_ms[s]),
                             levels_model_get(b, key, b->snapshots[s], b->snapshot_ms[s]));
        assert_int_equal(engine_get(b, key, b->count, b->now_ms),
                         levels_model_get(b, key, b->count, b->now_ms));
    }
    check_count(b);
    assert_int_equal(levels_files(b), b->version->segment_count);
}

/* ---- flushes ---- */

struct list_iter {
    struct iter iter;
    const struct entry *entries;
    size_t count;
    size_t at;
};

static void list_show(struct list_iter *list)
{
    list->iter.valid = list->at < list->count;
    if (list->iter.valid)
        list->iter.entry = list->entries[list->at];
}

static void list_next(struct iter *iter)
{
    struct list_iter *list = (struct list_iter *)iter;

    list->at++;
    list_show(list);
}

static const struct iter_ops list_ops = {.next = list_next};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;

    return entry_compare(left->chunk.key, left->seq, right->chunk.key, right->seq);
}

static int emit(void *arg, const struct entry *entry, struct varve_err *err)
{
    return segment_set_add(arg, entry, err);
}

static size_t no_group(void *arg, struct varve_slice key, uint64_t *ignore_seq)
{
    (void)arg;
    (void)key;
    *ignore_seq = 0;
    return 0;
}

void levels_switch(struct levels *b, const struct version_change *change)
{
    struct version *after = NULL;

    assert_int_equal(version_apply(b->version, change, &after, &b->err), 0);
    version_unref(b->version);
    b->version = after;
}

static void add_run(struct levels *b, struct segment *const *segments, size_t count)
{
    struct version_add added[LEVELS_OPS_MAX];

    for (size_t i = 0; i < count; i++)
        added[i] = (struct version_add){.segment = segments[i], .run_no = b->next_run_no};
    b->next_run_no++;
    levels_switch(b, &(struct version_change){.added = added, .added_count = count});
}

struct memtable_copy {
    struct entry points[LEVELS_OPS_MAX];
    size_t point_count;
    struct entry ranges[LEVELS_OPS_MAX];
    size_t range_count;
    struct range_tombstone tombstones[LEVELS_OPS_MAX];
};

static void copy_memtable(const struct levels *b, struct memtable_copy *copy)
{
    copy->point_count = copy->range_count = 0;
    for (uint64_t i = b->flushed; i < b->count; i++) {
        const struct chunk *chunk = &b->ops[i].chunk;
        const struct entry entry = {.seq = i + 1, .chunk = *chunk};
        if (chunk->kind != CHUNK_RANGE_DELETE) {
            copy->points[copy->point_count++] = entry;
            continue;
        }
        copy->tombstones[copy->range_count] = (struct range_tombstone){
            .begin = chunk->key, .end = chunk->value, .seq = i + 1};
        copy->ranges[copy->range_count++] = entry;
    }
    qsort(copy->points, copy->point_count, sizeof(struct entry), compare_entries);
    qsort(copy->ranges, copy->range_count, sizeof(struct entry), compare_entries);
}

static void count_flush(struct levels *b, const struct memtable_copy *copy)
{
    for (size_t i = 0; i < copy->point_count; i++) {
        const struct chunk *chunk = &copy->points[i].chunk;
        int newest = i == 0 || !varve_slice_equal(copy->points[i - 1].chunk.key, chunk->key);
        b->live += newest && chunk->key.data[0] == 'a' && chunk->kind == CHUNK_PUT;
    }
}

void levels_flush(struct levels *b)
{
    static struct memtable_copy copy;
    struct segment_set *set = NULL;
    struct segment *const *segments = NULL;
    struct count_changes changes = {0};
    size_t count = 0;

    copy_memtable(b, &copy);
    struct range_set *ranges = range_set_create(copy.tombstones, copy.range_count);
    assert_non_null(ranges);
    const struct segment_set_config config = {.dir = "/db",
                                              .writer = levels_writer(b),
                                              .segment_bytes = 1500 + levels_below(b, 8000),
                                              .ranges = copy.ranges,
                                              .range_count = copy.range_count,
                                              .new_file_no = levels_file_no,
                                              .file_no_arg = b};
    assert_int_equal(segment_set_create(&config, &set, &b->err), 0);
    const struct rewrite_rules rules = {.snapshots = b->snapshots,
                                        .snapshot_count = b->snapshot_count,
                                        .ranges = ranges,
                                        .group = no_group,
                                        .emit = emit,
                                        .arg = set,
                                        .flush = 1};
    struct list_iter list = {
        .iter = {.ops = &list_ops}, .entries = copy.points, .count = copy.point_count};
    list_show(&list);
    assert_int_equal(rewrite_run(&rules, &list.iter, varve_slice(NULL, 0), &changes, &b->err), 0);
    assert_int_equal(segment_set_finish(set, &segments, &count, &b->err), 0);
    if (count > 0)
        add_run(b, segments, count);
    count_flush(b, &copy);
    segment_set_keep(set);
    segment_set_destroy(set);
    range_set_unref(ranges);
    b->flushed = b->count;
}
