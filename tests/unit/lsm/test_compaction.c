/* Compactions of real segments on a simulated disk: random histories in random levels, random picks, held
 * against the plain list of what was done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/rcu.h"
#include "base/rng.h"
#include "base/thread.h"
#include "fault_env.h"
#include "lsm/compaction.h"
#include "lsm/names.h"
#include "lsm/segment_set.h"
#include "sim_env.h"

#define KEYS 60
#define KEY_CAP 300
#define OPS_MAX 900
#define SNAPSHOTS_MAX 5
#define LAST_LEVEL 3

struct op {
    struct chunk chunk; /* the value is owned */
};

struct bed {
    struct sim_env *sim;
    struct fault_env *fault;
    struct varve_env *env;
    struct dir_id id;
    struct varve_err err;
    struct rng rng;
    _Atomic uint64_t next_file_no;
    uint64_t next_run_no;
    _Atomic int stop;

    uint8_t keys[KEYS][KEY_CAP];
    size_t key_len[KEYS];
    struct op ops[OPS_MAX]; /* number i has sequence i + 1 */
    uint64_t count;
    uint64_t flushed;
    uint64_t now_ms;
    uint64_t snapshots[SNAPSHOTS_MAX];
    uint64_t snapshot_ms[SNAPSHOTS_MAX];
    size_t snapshot_count;

    struct version *version;
    struct read_counters counters;
    int64_t live; /* of group "a", whose keys no range tombstone covers */
    size_t parts_most;
    size_t outputs_most;
};

static uint64_t below(struct bed *b, uint64_t bound)
{
    return rng_below(&b->rng, bound);
}

static uint64_t new_file_no(void *arg)
{
    struct bed *b = arg;

    return atomic_fetch_add(&b->next_file_no, 1);
}

static size_t group_of(void *arg, struct varve_slice key)
{
    (void)arg;
    return key.len > 0 && key.data[0] == 'a';
}

static struct varve_slice key_slice(const struct bed *b, size_t i)
{
    return varve_slice(b->keys[i], b->key_len[i]);
}

static void make_keys(struct bed *b)
{
    for (size_t i = 0; i < KEYS; i++) {
        char *key = (char *)b->keys[i];
        int long_one = i % 7 == 3;
        memset(key, 'x', KEY_CAP);
        key[0] = (char)('a' + i / 20);
        size_t at = long_one ? 258 : 1;
        snprintf(key + at, KEY_CAP - at, "%03u", (unsigned)i);
        b->key_len[i] = at + 3;
    }
}

static void bed_init(struct bed *b, uint64_t seed)
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
    b->version = version_create();
    assert_non_null(b->version);
    make_keys(b);
}

static void bed_deinit(struct bed *b)
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

static size_t file_count(struct bed *b)
{
    size_t count = 0;
    struct varve_env *env = sim_as_env(b->sim);

    assert_int_equal(env->ops->list_dir(env, "/db", count_name, &count, &b->err), 0);
    return count;
}

static struct segment_writer_options writer_options(struct bed *b)
{
    return (struct segment_writer_options){.env = b->env,
                                           .id = &b->id,
                                           .block_size_bytes = 512,
                                           .bits_per_key = 10,
                                           .count_group = group_of};
}

/* ---- the history ---- */

static struct varve_slice make_value(struct bed *b, uint64_t seq)
{
    size_t len = below(b, 60) == 0 ? 16384 + below(b, 60000) : 8 + below(b, 100);
    uint8_t *value = malloc(len);

    assert_non_null(value);
    memset(value, (int)seq, len);
    put_u64(value, seq);
    return varve_slice(value, len);
}

static void add_op(struct bed *b)
{
    struct chunk *chunk = &b->ops[b->count].chunk;
    uint64_t what = below(b, 40);
    size_t key = below(b, KEYS);

    if (what == 0) {
        size_t begin = 20 + below(b, KEYS - 21);
        size_t end = begin + 1 + below(b, KEYS - 1 - begin);
        *chunk = (struct chunk){
            .kind = CHUNK_RANGE_DELETE, .key = key_slice(b, begin), .value = key_slice(b, end)};
        if (below(b, 3) == 0)
            chunk->value = varve_slice_str("~");
    } else if (what < 26) {
        *chunk = (struct chunk){
            .kind = CHUNK_PUT, .key = key_slice(b, key), .value = make_value(b, b->count + 1)};
        if (below(b, 4) == 0)
            chunk->expire_ms = b->now_ms + 1 + below(b, 60);
    } else {
        *chunk = (struct chunk){.kind = CHUNK_DELETE, .key = key_slice(b, key)};
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

/* The sequence of the live value; 0: absent. */
static uint64_t model_get(const struct bed *b, struct varve_slice key, uint64_t seq,
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
static int newest_put(struct bed *b, struct varve_slice key, uint64_t seq, struct entry *entry)
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

static uint64_t engine_get(struct bed *b, struct varve_slice key, uint64_t seq, uint64_t now_ms)
{
    struct entry entry;

    if (!newest_put(b, key, seq, &entry))
        return 0;
    return entry.chunk.expire_ms != 0 && entry.chunk.expire_ms <= now_ms ? 0 : entry.seq;
}

static int64_t still_unknown_in(struct bed *b, struct segment *segment)
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

static void check_count(struct bed *b)
{
    int64_t truly = 0;
    int64_t unknown = 0;
    struct entry entry;

    for (size_t i = 0; i < KEYS; i++)
        if (b->keys[i][0] == 'a')
            truly += newest_put(b, key_slice(b, i), UINT64_MAX, &entry);
    for (size_t r = 0; r < b->version->run_count; r++)
        for (size_t s = 0; s < b->version->runs[r].count; s++)
            unknown += still_unknown_in(b, b->version->runs[r].segments[s]);
    assert_int_equal(truly, b->live - unknown);
}

/* With nothing left to flush. */
static void check_all(struct bed *b)
{
    for (size_t i = 0; i < KEYS; i++) {
        struct varve_slice key = key_slice(b, i);
        for (size_t s = 0; s < b->snapshot_count; s++)
            assert_int_equal(engine_get(b, key, b->snapshots[s], b->snapshot_ms[s]),
                             model_get(b, key, b->snapshots[s], b->snapshot_ms[s]));
        assert_int_equal(engine_get(b, key, b->count, b->now_ms),
                         model_get(b, key, b->count, b->now_ms));
    }
    check_count(b);
    assert_int_equal(file_count(b), b->version->segment_count);
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

static void switch_version(struct bed *b, const struct version_change *change)
{
    struct version *after = NULL;

    assert_int_equal(version_apply(b->version, change, &after, &b->err), 0);
    version_unref(b->version);
    b->version = after;
}

static void add_run(struct bed *b, struct segment *const *segments, size_t count)
{
    struct version_add added[OPS_MAX];

    for (size_t i = 0; i < count; i++)
        added[i] = (struct version_add){.segment = segments[i], .run_no = b->next_run_no};
    b->next_run_no++;
    switch_version(b, &(struct version_change){.added = added, .added_count = count});
}

struct memtable_copy {
    struct entry points[OPS_MAX];
    size_t point_count;
    struct entry ranges[OPS_MAX];
    size_t range_count;
    struct range_tombstone tombstones[OPS_MAX];
};

static void copy_memtable(const struct bed *b, struct memtable_copy *copy)
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

static void count_flush(struct bed *b, const struct memtable_copy *copy)
{
    for (size_t i = 0; i < copy->point_count; i++) {
        const struct chunk *chunk = &copy->points[i].chunk;
        int newest = i == 0 || !varve_slice_equal(copy->points[i - 1].chunk.key, chunk->key);
        b->live += newest && chunk->key.data[0] == 'a' && chunk->kind == CHUNK_PUT;
    }
}

static void flush(struct bed *b)
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
                                              .writer = writer_options(b),
                                              .segment_bytes = 1500 + below(b, 8000),
                                              .ranges = copy.ranges,
                                              .range_count = copy.range_count,
                                              .new_file_no = new_file_no,
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

/* ---- picks ---- */

struct hull {
    struct varve_slice lower;
    struct varve_slice upper;
    int any;
};

static int hull_has(const struct hull *hull, const struct sorted_run *run, size_t i)
{
    return hull->any && segment_below_upper(run->lowers[i], hull->upper) &&
           segment_below_upper(hull->lower, run->uppers[i]);
}

/* 1 if it grew. */
static int hull_add(struct hull *hull, const struct sorted_run *run, size_t i)
{
    int grew = 0;

    if (!hull->any || varve_slice_compare(run->lowers[i], hull->lower) < 0) {
        hull->lower = run->lowers[i];
        grew = 1;
    }
    if (!hull->any || segment_upper_compare(run->uppers[i], hull->upper) > 0) {
        hull->upper = run->uppers[i];
        grew = 1;
    }
    hull->any = 1;
    return grew;
}

static void pick_add(const struct bed *b, struct pick *pick, size_t run, size_t segment)
{
    struct segment *input = b->version->runs[run].segments[segment];

    pick->inputs[pick->input_count++] = segment_file_no(input);
    pick->input_bytes += segment_size_bytes(input);
}

/* Some runs of level 0, whole, stay there as one. */
static void pick_level0(struct bed *b, struct pick *pick, size_t runs)
{
    size_t from = below(b, runs);
    size_t to = from + 1 + below(b, runs - from);

    pick->output_run_no = b->version->runs[from].no;
    for (size_t r = from; r < to; r++)
        for (size_t s = 0; s < b->version->runs[r].count; s++)
            pick_add(b, pick, r, s);
}

/* A segment, and all that overlaps it and lies below, down to the output level. */
static void pick_down(struct bed *b, struct pick *pick)
{
    const struct version *version = b->version;
    size_t first = below(b, version->run_count);
    struct hull hull = {0};
    uint32_t from_level = version->runs[first].level;
    int grew = 1;

    pick->output_level = from_level + (uint32_t)below(b, LAST_LEVEL + 1 - from_level);
    if (pick->output_level == 0)
        pick->output_level = 1;
    hull_add(&hull, &version->runs[first], below(b, version->runs[first].count));
    while (grew) {
        grew = 0;
        for (size_t r = first; r < version->run_count; r++)
            for (size_t s = 0; s < version->runs[r].count; s++)
                if (version->runs[r].level <= pick->output_level &&
                    hull_has(&hull, &version->runs[r], s))
                    grew |= hull_add(&hull, &version->runs[r], s);
    }
    for (size_t r = first; r < version->run_count; r++)
        for (size_t s = 0; s < version->runs[r].count; s++)
            if (version->runs[r].level <= pick->output_level &&
                hull_has(&hull, &version->runs[r], s))
                pick_add(b, pick, r, s);
}

static void make_pick(struct bed *b, struct pick *pick, int everything)
{
    size_t level0_runs = 0;

    *pick = (struct pick){.kind = PICK_MERGE, .output_segment_bytes = 1500 + below(b, 12000)};
    pick->inputs = mem_alloc((b->version->segment_count + 1) * sizeof(uint64_t));
    assert_non_null(pick->inputs);
    while (level0_runs < b->version->run_count && b->version->runs[level0_runs].level == 0)
        level0_runs++;
    if (everything) {
        pick->output_level = LAST_LEVEL;
        for (size_t r = 0; r < b->version->run_count; r++)
            for (size_t s = 0; s < b->version->runs[r].count; s++)
                pick_add(b, pick, r, s);
    } else if (level0_runs > 0 && below(b, 3) == 0) {
        pick_level0(b, pick, level0_runs);
    } else {
        pick_down(b, pick);
    }
}

/* ---- compactions ---- */

static uint64_t oldest_ms(const struct bed *b)
{
    uint64_t oldest = b->now_ms;

    for (size_t s = 0; s < b->snapshot_count; s++)
        if (b->snapshot_ms[s] < oldest)
            oldest = b->snapshot_ms[s];
    return oldest;
}

static struct compaction_config compaction_config(struct bed *b, uint32_t parts_max)
{
    return (struct compaction_config){.dir = "/db",
                                      .writer = writer_options(b),
                                      .snapshots = b->snapshots,
                                      .snapshot_count = b->snapshot_count,
                                      .expired_before_ms = oldest_ms(b),
                                      .count_group = group_of,
                                      .parts_max = parts_max,
                                      .new_file_no = new_file_no,
                                      .file_no_arg = b,
                                      .stop = &b->stop};
}

struct part_thread {
    struct compaction *compaction;
    size_t part;
    struct thread thread;
    int rc;
};

static void part_run(void *arg)
{
    struct part_thread *part = arg;
    struct varve_err err;

    part->rc = compaction_part(part->compaction, part->part, &err);
}

static void run_on_threads(struct compaction *compaction)
{
    struct part_thread parts[16];
    size_t count = compaction_part_count(compaction);

    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct part_thread){.compaction = compaction, .part = i};
        assert_int_equal(thread_start(&parts[i].thread, "part", part_run, &parts[i]), 0);
    }
    for (size_t i = 0; i < count; i++) {
        thread_join(&parts[i].thread);
        assert_int_equal(parts[i].rc, 0);
    }
}

static void apply(struct bed *b, const struct pick *pick, const struct compaction_result *result)
{
    struct version *before = version_ref(b->version);
    struct version_add *added = calloc(result->output_count + 1, sizeof(*added));

    assert_non_null(added);
    for (size_t i = 0; i < result->output_count; i++)
        added[i] = (struct version_add){.segment = result->outputs[i],
                                        .level = pick->output_level,
                                        .run_no = pick->output_run_no};
    switch_version(b, &(struct version_change){.dropped = pick->inputs,
                                               .dropped_count = pick->input_count,
                                               .added = added,
                                               .added_count = result->output_count});
    for (size_t r = 0; r < before->run_count; r++)
        for (size_t s = 0; s < before->runs[r].count; s++)
            for (size_t i = 0; i < pick->input_count; i++)
                if (segment_file_no(before->runs[r].segments[s]) == pick->inputs[i])
                    segment_mark_dead(before->runs[r].segments[s]);
    version_unref(before);
    for (size_t i = 0; i < result->changes->count; i++) {
        assert_int_equal(result->changes->items[i].name[0], 'a');
        b->live += result->changes->items[i].live;
    }
    free(added);
}

static void compact(struct bed *b, int everything)
{
    struct compaction_config config = compaction_config(b, 1 + (uint32_t)below(b, 4));
    struct compaction *compaction = NULL;
    struct compaction_result result;
    struct pick pick;

    make_pick(b, &pick, everything);
    assert_int_equal(compaction_create(&config, b->version, &pick, &compaction, &b->err), 0);
    size_t parts = compaction_part_count(compaction);
    assert_true(parts >= 1 && parts <= config.parts_max);
    if (below(b, 2))
        run_on_threads(compaction);
    else
        for (size_t i = parts; i-- > 0;)
            assert_int_equal(compaction_part(compaction, i, &b->err), 0);
    assert_int_equal(compaction_result(compaction, &result, &b->err), 0);
    assert_int_equal(result.read_bytes, pick.input_bytes);
    uint64_t bytes = 0;
    for (size_t i = 0; i < result.output_count; i++)
        bytes += segment_size_bytes(result.outputs[i]);
    assert_int_equal(result.written_bytes, bytes);
    b->parts_most = parts > b->parts_most ? parts : b->parts_most;
    if (result.output_count > b->outputs_most)
        b->outputs_most = result.output_count;
    apply(b, &pick, &result);
    compaction_keep(compaction);
    compaction_destroy(compaction);
    mem_free(pick.inputs);
}

static void snapshots_change(struct bed *b)
{
    size_t last = b->snapshot_count;

    if (last < SNAPSHOTS_MAX && below(b, 2)) {
        if (last > 0 && b->snapshots[last - 1] == b->count)
            return;
        b->snapshots[last] = b->count;
        b->snapshot_ms[last] = b->now_ms;
        b->snapshot_count++;
    } else if (last > 1) { /* the first one is held over all compactions */
        size_t at = 1 + below(b, last - 1);
        b->snapshot_count--;
        memmove(&b->snapshots[at], &b->snapshots[at + 1], (last - at - 1) * sizeof(uint64_t));
        memmove(&b->snapshot_ms[at], &b->snapshot_ms[at + 1], (last - at - 1) * sizeof(uint64_t));
    }
}

static void grow(struct bed *b, uint64_t ops)
{
    for (uint64_t i = 0; i < ops && b->count < OPS_MAX; i++) {
        add_op(b);
        if (below(b, 30) == 0)
            b->now_ms += below(b, 30);
        if (below(b, 40) == 0)
            snapshots_change(b);
    }
    flush(b);
}

/* All in one run, nobody looks back: what is left is what is live. */
static void check_end(struct bed *b)
{
    uint64_t live = 0;
    uint64_t entries = 0;

    b->snapshot_count = 0;
    compact(b, 1);
    check_all(b);
    for (size_t i = 0; i < KEYS; i++)
        live += model_get(b, key_slice(b, i), b->count, b->now_ms) != 0;
    assert_int_equal(b->version->run_count, live > 0);
    for (size_t s = 0; s < b->version->segment_count; s++) {
        const struct properties *properties = segment_properties(b->version->runs[0].segments[s]);
        entries += properties->entries;
        assert_int_equal(properties->entries, properties->puts);
        assert_int_equal(properties->ranges, 0);
        for (uint32_t g = 0; g < properties->group_count; g++)
            assert_int_equal(properties->groups[g].unknown, 0);
    }
    assert_int_equal(entries, live);
}

static void test_compaction__random_levels(void **state)
{
    static struct bed b;
    size_t parts_most = 0;
    size_t outputs_most = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 25; seed++) {
        bed_init(&b, seed);
        while (b.count < OPS_MAX) {
            grow(&b, 20 + below(&b, 60));
            check_all(&b);
            for (uint64_t n = below(&b, 3); n > 0 && b.version->run_count > 0; n--) {
                compact(&b, 0);
                check_all(&b);
            }
        }
        check_end(&b);
        parts_most = b.parts_most > parts_most ? b.parts_most : parts_most;
        outputs_most = b.outputs_most > outputs_most ? b.outputs_most : outputs_most;
        bed_deinit(&b);
    }
    assert_int_equal(parts_most, 4);
    assert_true(outputs_most > 5);
}

/* A few runs, in level 0 and below. */
static void make_levels(struct bed *b, uint64_t seed)
{
    bed_init(b, seed);
    grow(b, 150);
    compact(b, 1);
    for (int i = 0; i < 4; i++)
        grow(b, 60);
}

/* A compaction of all that is thrown away at its end, or where it fails. */
static int try_compaction(struct bed *b, const struct pick *pick)
{
    struct compaction_config config = compaction_config(b, 3);
    struct compaction *compaction = NULL;
    struct compaction_result result;
    int rc = compaction_create(&config, b->version, pick, &compaction, &b->err);

    for (size_t i = 0; rc == 0 && i < compaction_part_count(compaction); i++)
        rc = compaction_part(compaction, i, &b->err);
    if (rc == 0)
        rc = compaction_result(compaction, &result, &b->err);
    compaction_destroy(compaction);
    return rc;
}

static void test_compaction__survives_every_failed_call(void **state)
{
    static struct bed b;
    struct pick pick;
    uint64_t fired = 1;
    uint64_t points = 0;

    (void)state;
    make_levels(&b, 7);
    make_pick(&b, &pick, 1);
    for (uint64_t nth = 1; fired != 0; nth++) {
        fault_env_plan(b.fault, (struct fault_plan){.nth = nth, .os_errno = 28});
        int rc = try_compaction(&b, &pick);
        fired = fault_env_fired(b.fault);
        int remove_failed = strncmp(fault_env_where(b.fault), "remove", 6) == 0;
        fault_env_plan(b.fault, (struct fault_plan){0});
        points += fired;
        assert_int_equal(rc, fired != 0 && !remove_failed ? VARVE_ENOSPC : 0);
        if (remove_failed)
            break; /* the outputs are there and are thrown away: only removals are to come */
        assert_int_equal(file_count(&b), b.version->segment_count);
    }
    assert_true(points > 50);
    mem_free(pick.inputs);
    bed_deinit(&b);
}

static void test_compaction__survives_every_failed_allocation(void **state)
{
    static struct bed b;
    struct pick pick;
    int rc = VARVE_ENOMEM;

    (void)state;
    make_levels(&b, 8);
    make_pick(&b, &pick, 1);
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = try_compaction(&b, &pick);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || (rc == VARVE_ENOMEM && b.err.code == rc));
        assert_int_equal(file_count(&b), b.version->segment_count);
    }
    check_all(&b);
    mem_free(pick.inputs);
    bed_deinit(&b);
}

static void test_compaction__stops_when_told(void **state)
{
    static struct bed b;
    struct pick pick;

    (void)state;
    make_levels(&b, 9);
    make_pick(&b, &pick, 1);
    b.stop = 1;
    assert_int_equal(try_compaction(&b, &pick), REWRITE_STOPPED);
    assert_int_equal(file_count(&b), b.version->segment_count);
    b.stop = 0;
    assert_int_equal(try_compaction(&b, &pick), 0);
    pick.inputs[0] = 1000000;
    assert_int_equal(try_compaction(&b, &pick), VARVE_EINVAL);
    mem_free(pick.inputs);
    bed_deinit(&b);
}

static void check_in_image(struct bed *b, struct sim_env *image, struct segment *segment)
{
    uint64_t file_no = segment_file_no(segment);
    char *path = name_segment_path("/db", file_no);
    struct segment *copy = NULL;

    assert_int_equal(segment_open(sim_as_env(image), path, &b->id, file_no, NULL, &copy, &b->err),
                     0);
    assert_int_equal(segment_verify(copy, &b->err), 0);
    segment_unref(copy);
    mem_free(path);
}

/* What flushes and compactions hand out survives a power cut. */
static void test_compaction__is_durable(void **state)
{
    static struct bed b;

    (void)state;
    make_levels(&b, 10);
    struct sim_env *image = sim_image(b.sim, sim_event_count(b.sim), SIM_ALL_LOST, 1);
    assert_true(b.version->run_count > 1);
    for (size_t r = 0; r < b.version->run_count; r++)
        for (size_t s = 0; s < b.version->runs[r].count; s++)
            check_in_image(&b, image, b.version->runs[r].segments[s]);
    sim_env_destroy(image);
    bed_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compaction__random_levels),
        cmocka_unit_test(test_compaction__survives_every_failed_call),
        cmocka_unit_test(test_compaction__survives_every_failed_allocation),
        cmocka_unit_test(test_compaction__stops_when_told),
        cmocka_unit_test(test_compaction__is_durable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
