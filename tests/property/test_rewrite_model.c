/* test_rewrite_model [seeds [first seed]] - random histories of a few keys, flushed into layers and rewritten
 * layer by layer, against the plain list of what was done: every read at every snapshot, the counts of
 * the groups after every step, and what is left when all is rewritten. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/rng.h"
#include "lsm/rewrite.h"

#define KEYS 8
#define GROUPS 2
#define OPS_MAX 160
#define LAYERS_MAX 24
#define SNAPSHOTS_MAX 5

/* Sorted. The first byte names the group; those with 'z' have none. */
static const char *const key_text[KEYS] = {"a0", "a1", "a2", "b0", "b1", "b2", "z0", "z1"};
static const char *const bounds[] = {"a", "a1", "a2", "b", "b1", "b2", "c", "z1", "zz"};

struct op {
    enum chunk_kind kind;
    int key; /* of a range delete: index of its begin in bounds */
    int end; /* of a range delete: the same of its end */
    uint8_t value[8];
    struct chunk chunk;
};

struct layer {
    struct entry points[OPS_MAX];
    size_t count;
    struct range_tombstone ranges[OPS_MAX];
    size_t range_count;
};

struct model {
    struct rng rng;
    struct op ops[OPS_MAX]; /* number i has sequence i + 1 */
    uint64_t count;
    uint64_t flushed;
    uint64_t now_ms;
    struct layer *layers[LAYERS_MAX]; /* newest first */
    size_t layer_count;
    uint64_t snapshots[SNAPSHOTS_MAX];
    uint64_t snapshot_ms[SNAPSHOTS_MAX];
    size_t snapshot_count;
    int64_t live[GROUPS];
    uint64_t ignore_seq[GROUPS];
    /* Of the rewrite that runs. */
    struct layer *out;
    size_t older_from;
    size_t newer_to; /* of a cull */
    int false_positives;
    uint64_t checks;
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return rng_below(&m->rng, bound);
}

static struct varve_slice key_slice(int key)
{
    return varve_slice_str(key_text[key]);
}

static int key_index(struct varve_slice key)
{
    for (int i = 0; i < KEYS; i++)
        if (varve_slice_equal(key_slice(i), key))
            return i;
    CHECK(0);
}

/* -1: none. */
static int group_index(struct varve_slice key)
{
    return key.data[0] == 'z' ? -1 : key.data[0] - 'a';
}

static int covers(const struct range_tombstone *range, struct varve_slice key)
{
    return varve_slice_compare(range->begin, key) <= 0 && varve_slice_compare(key, range->end) < 0;
}

/* ---- the history ---- */

static void add_op(struct model *m)
{
    struct op *op = &m->ops[m->count];
    uint64_t what = below(m, 20);

    *op = (struct op){.kind = what < 11   ? CHUNK_PUT
                              : what < 18 ? CHUNK_DELETE
                                          : CHUNK_RANGE_DELETE};
    put_u64(op->value, m->count + 1);
    op->chunk.kind = op->kind;
    if (op->kind == CHUNK_RANGE_DELETE) {
        op->key = (int)below(m, COUNT_OF(bounds) - 1);
        op->end = op->key + 1 + (int)below(m, COUNT_OF(bounds) - 1 - (uint64_t)op->key);
        op->chunk.key = varve_slice_str(bounds[op->key]);
        op->chunk.value = varve_slice_str(bounds[op->end]);
    } else {
        op->key = (int)below(m, KEYS);
        op->chunk.key = key_slice(op->key);
    }
    if (op->kind == CHUNK_PUT) {
        op->chunk.value = varve_slice(op->value, sizeof(op->value));
        op->chunk.expire_ms = below(m, 3) == 0 ? m->now_ms + 1 + below(m, 30) : 0;
    }
    op->chunk.crc = chunk_crc(&op->chunk);
    m->count++;
}

static struct range_tombstone op_range(const struct model *m, uint64_t i)
{
    const struct op *op = &m->ops[i];

    return (struct range_tombstone){.begin = op->chunk.key, .end = op->chunk.value, .seq = i + 1};
}

/* The sequence of the live value; 0: absent. */
static uint64_t model_get(const struct model *m, struct varve_slice key, uint64_t seq,
                          uint64_t now_ms)
{
    for (uint64_t i = seq; i-- > 0;) {
        const struct op *op = &m->ops[i];
        struct range_tombstone range = op_range(m, i);
        if (op->kind == CHUNK_RANGE_DELETE) {
            if (covers(&range, key))
                return 0;
        } else if (varve_slice_equal(op->chunk.key, key)) {
            int gone = op->chunk.expire_ms != 0 && op->chunk.expire_ms <= now_ms;
            return op->kind == CHUNK_PUT && !gone ? i + 1 : 0;
        }
    }
    return 0;
}

/* ---- the layers ---- */

/* The newest range tombstone in the layers over key with a sequence <= seq_max; 0: none. */
static uint64_t layers_range(const struct model *m, struct varve_slice key, uint64_t seq_max)
{
    uint64_t newest = 0;

    for (size_t l = 0; l < m->layer_count; l++)
        for (size_t i = 0; i < m->layers[l]->range_count; i++) {
            const struct range_tombstone *range = &m->layers[l]->ranges[i];
            if (covers(range, key) && range->seq <= seq_max && range->seq > newest)
                newest = range->seq;
        }
    return newest;
}

static const struct entry *layers_point(const struct model *m, struct varve_slice key,
                                        uint64_t seq_max)
{
    for (size_t l = 0; l < m->layer_count; l++)
        for (size_t i = 0; i < m->layers[l]->count; i++) {
            const struct entry *entry = &m->layers[l]->points[i];
            if (varve_slice_equal(entry->chunk.key, key) && entry->seq <= seq_max)
                return entry;
        }
    return NULL;
}

/* As a reader would: what is not flushed, then the layers. */
static uint64_t engine_get(const struct model *m, struct varve_slice key, uint64_t seq,
                           uint64_t now_ms)
{
    uint64_t range_seq = layers_range(m, key, seq);

    for (uint64_t i = seq; i > m->flushed; i--) {
        struct range_tombstone range = op_range(m, i - 1);
        const struct op *op = &m->ops[i - 1];
        if (op->kind == CHUNK_RANGE_DELETE ? covers(&range, key)
                                           : varve_slice_equal(op->chunk.key, key))
            return model_get(m, key, seq, now_ms);
    }
    const struct entry *entry = layers_point(m, key, seq);
    if (entry == NULL || entry->seq < range_seq || entry->chunk.kind != CHUNK_PUT)
        return 0;
    return entry->chunk.expire_ms != 0 && entry->chunk.expire_ms <= now_ms ? 0 : entry->seq;
}

/* Was the key live in the layers just before seq? */
static int live_before(const struct model *m, struct varve_slice key, uint64_t seq)
{
    const struct entry *entry = layers_point(m, key, seq - 1);

    return entry != NULL && entry->chunk.kind == CHUNK_PUT &&
           layers_range(m, key, seq - 1) < entry->seq;
}

/* Records of the group that are still to be asked, and whose key was live. */
static int64_t still_unknown(const struct model *m, int group)
{
    int64_t sum = 0;

    for (size_t l = 0; l < m->layer_count; l++)
        for (size_t i = 0; i < m->layers[l]->count; i++) {
            const struct entry *entry = &m->layers[l]->points[i];
            struct varve_slice key = entry->chunk.key;
            if (group_index(key) == group && entry->prior_unknown &&
                entry->seq > m->ignore_seq[group] && entry->seq > layers_range(m, key, UINT64_MAX))
                sum += live_before(m, key, entry->seq);
        }
    return sum;
}

static int64_t truly_live(const struct model *m, int group)
{
    int64_t sum = 0;

    for (int i = 0; i < KEYS; i++)
        if (group_index(key_slice(i)) == group)
            sum += live_before(m, key_slice(i), UINT64_MAX);
    return sum;
}

static void check_all(struct model *m)
{
    for (int i = 0; i < KEYS; i++) {
        struct varve_slice key = key_slice(i);
        for (size_t s = 0; s < m->snapshot_count; s++)
            CHECK(engine_get(m, key, m->snapshots[s], m->snapshot_ms[s]) ==
                  model_get(m, key, m->snapshots[s], m->snapshot_ms[s]));
        CHECK(engine_get(m, key, m->count, m->now_ms) == model_get(m, key, m->count, m->now_ms));
        m->checks += m->snapshot_count + 1;
    }
    for (int g = 0; g < GROUPS; g++)
        CHECK(truly_live(m, g) == m->live[g] - still_unknown(m, g));
}

/* ---- an iterator whose bytes are gone with the next move ---- */

struct list_iter {
    struct iter iter;
    const struct entry *entries;
    size_t count;
    size_t at;
    uint8_t *bytes;
    int stable; /* as a memtable's */
};

static void list_show(struct list_iter *list)
{
    free(list->bytes);
    list->bytes = NULL;
    list->iter.valid = list->at < list->count;
    if (!list->iter.valid)
        return;
    struct entry *entry = &list->iter.entry;
    *entry = list->entries[list->at];
    if (list->stable)
        return;
    size_t key_len = entry->chunk.key.len;
    list->bytes = malloc(key_len + entry->chunk.value.len);
    CHECK(list->bytes != NULL);
    memcpy(list->bytes, entry->chunk.key.data, key_len);
    entry->chunk.key.data = list->bytes;
    if (entry->chunk.value.len > 0) {
        memcpy(list->bytes + key_len, entry->chunk.value.data, entry->chunk.value.len);
        entry->chunk.value.data = list->bytes + key_len;
    }
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

/* ---- rewriting ---- */

static int older_may_hold(void *arg, struct varve_slice key)
{
    struct model *m = arg;

    if (m->false_positives && below(m, 3) == 0)
        return 1;
    for (size_t l = m->older_from; l < m->layer_count; l++)
        for (size_t i = 0; i < m->layers[l]->count; i++)
            if (varve_slice_equal(m->layers[l]->points[i].chunk.key, key))
                return 1;
    return 0;
}

static int newer_hides(void *arg, struct varve_slice key, struct varve_err *err)
{
    const struct model *m = arg;
    uint64_t seq_max = m->snapshot_count > 0 ? m->snapshots[0] : UINT64_MAX;

    (void)err;
    for (size_t l = 0; l < m->newer_to; l++)
        for (size_t i = 0; i < m->layers[l]->count; i++)
            if (varve_slice_equal(m->layers[l]->points[i].chunk.key, key) &&
                m->layers[l]->points[i].seq <= seq_max)
                return 1;
    return 0;
}

static size_t find_group(void *arg, struct varve_slice key, uint64_t *ignore_seq)
{
    struct model *m = arg;
    int group = group_index(key);

    if (group < 0)
        return 0;
    *ignore_seq = m->ignore_seq[group];
    return 1;
}

static int emit(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct model *m = arg;
    struct layer *out = m->out;
    const struct op *op = &m->ops[entry->seq - 1];
    struct entry *kept = &out->points[out->count];

    (void)err;
    CHECK(chunk_crc(&entry->chunk) == entry->chunk.crc);
    CHECK(varve_slice_equal(entry->chunk.key, op->chunk.key));
    if (entry->chunk.kind == CHUNK_PUT)
        CHECK(entry->chunk.crc == op->chunk.crc);
    *kept = *entry;
    kept->chunk.key = op->chunk.key;
    kept->chunk.value = entry->chunk.kind == CHUNK_PUT ? op->chunk.value : varve_slice(NULL, 0);
    CHECK(out->count == 0 || compare_entries(kept - 1, kept) < 0);
    out->count++;
    return 0;
}

static uint64_t oldest_ms(const struct model *m)
{
    uint64_t oldest = m->now_ms;

    for (size_t s = 0; s < m->snapshot_count; s++)
        if (m->snapshot_ms[s] < oldest)
            oldest = m->snapshot_ms[s];
    return oldest;
}

/* Runs `in` through the rules, in one go or in two parts. */
static void run_rules(struct model *m, struct rewrite_rules *rules, const struct layer *in,
                      struct count_changes *changes)
{
    struct list_iter list = {.iter = {.ops = &list_ops},
                             .entries = in->points,
                             .count = in->count,
                             .stable = rules->flush};
    struct varve_err err = {0};

    rules->snapshots = m->snapshots;
    rules->snapshot_count = m->snapshot_count;
    rules->group = find_group;
    rules->emit = emit;
    rules->arg = m;
    list_show(&list);
    if (below(m, 2)) {
        struct varve_slice upper = varve_slice_str(bounds[below(m, COUNT_OF(bounds))]);
        CHECK(rewrite_run(rules, &list.iter, upper, changes, &err) == 0);
        CHECK(!list.iter.valid || varve_slice_compare(list.iter.entry.chunk.key, upper) >= 0);
    }
    CHECK(rewrite_run(rules, &list.iter, varve_slice(NULL, 0), changes, &err) == 0);
    CHECK(!list.iter.valid);
}

static struct layer *new_layer(void)
{
    struct layer *layer = calloc(1, sizeof(*layer));

    CHECK(layer != NULL);
    return layer;
}

/* What range deletes of the flushed operations do to the counts: of a whole group, all up to it is no part of
 * it any more; of a part, somebody counts anew. */
static void count_flush(struct model *m, uint64_t from, const struct layer *memtable)
{
    for (int g = 0; g < GROUPS; g++) {
        struct varve_slice first = varve_slice_str(g == 0 ? "a" : "b");
        struct varve_slice last = varve_slice_str(g == 0 ? "a~" : "b~");
        int partly = 0;
        for (size_t i = 0; i < memtable->range_count; i++) {
            const struct range_tombstone *range = &memtable->ranges[i];
            if (covers(range, first) && covers(range, last)) {
                m->live[g] = 0;
                m->ignore_seq[g] = range->seq;
                partly = 0;
            } else if (varve_slice_compare(range->begin, last) < 0 &&
                       varve_slice_compare(first, range->end) < 0)
                partly = 1;
        }
        uint64_t above = m->ignore_seq[g] > from ? m->ignore_seq[g] : from;
        for (int k = 0; k < KEYS; k++) {
            const struct entry *entry = layers_point(m, key_slice(k), UINT64_MAX);
            if (group_index(key_slice(k)) == g && entry != NULL && entry->seq > above)
                m->live[g] += entry->chunk.kind == CHUNK_PUT;
        }
        if (partly)
            m->live[g] = truly_live(m, g) + still_unknown(m, g);
    }
}

static void flush(struct model *m)
{
    struct layer *memtable = new_layer();
    struct count_changes changes = {0};
    uint64_t from = m->flushed;

    for (uint64_t i = from; i < m->count; i++)
        if (m->ops[i].kind == CHUNK_RANGE_DELETE)
            memtable->ranges[memtable->range_count++] = op_range(m, i);
        else
            memtable->points[memtable->count++] = (struct entry){.seq = i + 1,
                                                                 .chunk = m->ops[i].chunk};
    qsort(memtable->points, memtable->count, sizeof(struct entry), compare_entries);
    m->out = new_layer();
    struct range_set *ranges = range_set_create(memtable->ranges, memtable->range_count);
    struct rewrite_rules rules = {.ranges = ranges, .flush = 1};
    run_rules(m, &rules, memtable, &changes);
    CHECK(changes.count == 0);
    range_set_unref(ranges);

    for (size_t i = 0; i < memtable->range_count; i++) {
        CHECK(rewrite_keeps_range(&rules, memtable->ranges[i].seq, 1));
        m->out->ranges[m->out->range_count++] = memtable->ranges[i];
    }
    memmove(m->layers + 1, m->layers, m->layer_count * sizeof(m->layers[0]));
    m->layers[0] = m->out;
    m->layer_count++;
    m->flushed = m->count;
    count_flush(m, from, memtable);
    free(memtable);
    count_changes_deinit(&changes);
}

/* Does something older than the inputs overlap the range tombstone? */
static int older_overlaps(struct model *m, const struct range_tombstone *range)
{
    for (size_t l = m->older_from; l < m->layer_count; l++) {
        const struct layer *layer = m->layers[l];
        for (size_t i = 0; i < layer->count; i++)
            if (covers(range, layer->points[i].chunk.key))
                return 1;
    }
    return m->false_positives && below(m, 3) == 0;
}

static struct range_set *all_ranges(const struct model *m)
{
    static struct range_tombstone ranges[OPS_MAX];
    size_t count = 0;

    for (size_t l = 0; l < m->layer_count; l++)
        for (size_t i = 0; i < m->layers[l]->range_count; i++)
            ranges[count++] = m->layers[l]->ranges[i];
    return range_set_create(ranges, count);
}

static void apply_changes(struct model *m, const struct count_changes *changes,
                          const int64_t truth[GROUPS])
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct count_change *change = &changes->items[i];
        CHECK(change->name_len == 1);
        CHECK(i == 0 || change[-1].name[0] < change->name[0]);
        m->live[change->name[0] - 'a'] += change->live;
    }
    for (int g = 0; g < GROUPS; g++)
        CHECK(changes->expiry_drops || truly_live(m, g) == truth[g]);
}

/* Layers [from, to) become one; cull: without what newer ones hide. */
static void rewrite(struct model *m, size_t from, size_t to, int cull)
{
    struct layer *in = new_layer();
    struct count_changes changes = {0};
    int64_t truth[GROUPS];

    for (int g = 0; g < GROUPS; g++)
        truth[g] = truly_live(m, g);
    m->out = new_layer();
    m->older_from = to;
    struct range_set *ranges = all_ranges(m);
    struct rewrite_rules rules = {
        .ranges = ranges, .older_may_hold = older_may_hold, .expired_before_ms = oldest_ms(m)};
    if (cull)
        rules.newer_hides = newer_hides;
    m->newer_to = from;
    for (size_t l = from; l < to; l++)
        for (size_t i = 0; i < m->layers[l]->count; i++)
            in->points[in->count++] = m->layers[l]->points[i];
    qsort(in->points, in->count, sizeof(struct entry), compare_entries);
    run_rules(m, &rules, in, &changes);
    for (size_t l = from; l < to; l++)
        for (size_t i = 0; i < m->layers[l]->range_count; i++) {
            const struct range_tombstone *range = &m->layers[l]->ranges[i];
            if (rewrite_keeps_range(&rules, range->seq, older_overlaps(m, range)))
                m->out->ranges[m->out->range_count++] = *range;
        }
    range_set_unref(ranges);
    for (size_t l = from; l < to; l++)
        free(m->layers[l]);
    m->layers[from] = m->out;
    memmove(m->layers + from + 1, m->layers + to, (m->layer_count - to) * sizeof(m->layers[0]));
    m->layer_count -= to - from - 1;
    apply_changes(m, &changes, truth);
    count_changes_deinit(&changes);
    free(in);
}

/* ---- the run ---- */

static void snapshots_change(struct model *m)
{
    if (m->snapshot_count < SNAPSHOTS_MAX && below(m, 2)) {
        size_t last = m->snapshot_count;
        if (last > 0 && m->snapshots[last - 1] == m->count)
            return;
        m->snapshots[last] = m->count;
        m->snapshot_ms[last] = m->now_ms;
        m->snapshot_count++;
    } else if (m->snapshot_count > 0) {
        size_t at = below(m, m->snapshot_count);
        m->snapshot_count--;
        for (size_t i = at; i < m->snapshot_count; i++) {
            m->snapshots[i] = m->snapshots[i + 1];
            m->snapshot_ms[i] = m->snapshot_ms[i + 1];
        }
    }
}

/* All in one layer, nobody looks back: what is left is what is live. */
static void check_end(struct model *m)
{
    size_t live = 0;

    flush(m);
    check_all(m);
    m->snapshot_count = 0;
    m->false_positives = 0;
    rewrite(m, 0, m->layer_count, 0);
    check_all(m);
    for (int i = 0; i < KEYS; i++)
        live += model_get(m, key_slice(i), m->count, m->now_ms) != 0;
    CHECK(m->layer_count == 1 && m->layers[0]->count == live && m->layers[0]->range_count == 0);
    for (size_t i = 0; i < live; i++)
        CHECK(m->layers[0]->points[i].chunk.kind == CHUNK_PUT &&
              (!m->layers[0]->points[i].prior_unknown ||
               group_index(m->layers[0]->points[i].chunk.key) < 0) &&
              key_index(m->layers[0]->points[i].chunk.key) >= 0);
    for (int g = 0; g < GROUPS; g++)
        CHECK(m->live[g] == truly_live(m, g));
    free(m->layers[0]);
}

static uint64_t run(uint64_t seed)
{
    static struct model m;

    m = (struct model){.now_ms = 1000};
    rng_init(&m.rng, seed);
    m.false_positives = below(&m, 2) == 0;
    while (m.count < OPS_MAX) {
        uint64_t what = below(&m, 16);
        if (what < 9)
            add_op(&m);
        else if (what == 9)
            m.now_ms += below(&m, 12);
        else if (what == 10)
            snapshots_change(&m);
        else if (what < 13 && m.layer_count < LAYERS_MAX - 1)
            flush(&m);
        else if (m.layer_count > 0) {
            size_t from = below(&m, m.layer_count);
            if (below(&m, 3) == 0)
                rewrite(&m, from, from + 1, 1);
            else
                rewrite(&m, from, from + 1 + below(&m, m.layer_count - from), 0);
        }
        check_all(&m);
    }
    check_end(&m);
    return m.checks;
}

static volatile uint64_t seed_now;

/* A failed CHECK aborts: say how to see it again. */
static void say_seed(int signal_no)
{
    (void)signal_no;
    dprintf(2, "again with: test_rewrite_model 1 %llu\n", (unsigned long long)seed_now);
}

int main(int argc, char **argv)
{
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 1500;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t checks = 0;

    signal(SIGABRT, say_seed);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        seed_now = seed;
        checks += run(seed);
    }
    printf("rewrite model: %llu seeds, %llu reads compared\n", (unsigned long long)seeds,
           (unsigned long long)checks);
    return 0;
}
