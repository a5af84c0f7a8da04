/* test_memtable_model [seeds [first seed]] - random operations on a memtable and on a model of it:
 * the plain list of what was added. Puts, deletes, range deletes, undo of the last few, reads and
 * walks at any sequence, walks that go on while keys are added. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/rng.h"
#include "lsm/memtable.h"

#define KEYS_MAX 160
#define KEY_BYTES_MAX 40
#define OPS_MAX 400

struct op {
    enum chunk_kind kind;
    uint32_t key;
    uint32_t end;
    uint32_t crc;
    struct memtable_undo undo;
    enum memtable_prior prior;
};

struct model {
    struct memtable *memtable;
    struct rng rng;
    uint8_t bytes[KEYS_MAX][KEY_BYTES_MAX];
    struct varve_slice keys[KEYS_MAX]; /* sorted, different */
    uint32_t key_count;
    struct op ops[OPS_MAX]; /* number i has sequence i + 1 */
    uint32_t count;
    uint64_t checks;
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return rng_below(&m->rng, bound);
}

static int compare_slices(const void *a, const void *b)
{
    return varve_slice_compare(*(const struct varve_slice *)a, *(const struct varve_slice *)b);
}

static void make_keys(struct model *m)
{
    static const uint8_t few[] = {0, 'a', 'b', 0xff};
    size_t len_max = below(m, 2) ? 5 : KEY_BYTES_MAX;
    uint64_t wide = below(m, 3); /* 0: nodes of every size */
    uint32_t count = 0;

    for (uint32_t i = 0; i < KEYS_MAX; i++) {
        size_t len = below(m, len_max + 1);
        size_t shared = below(m, 2) ? len * 3 / 4 : 0;
        for (size_t b = 0; b < len; b++)
            m->bytes[i][b] = b < shared ? 'p' : wide ? few[below(m, 4)] : (uint8_t)below(m, 256);
        m->keys[i] = varve_slice(m->bytes[i], len);
    }
    qsort(m->keys, KEYS_MAX, sizeof(m->keys[0]), compare_slices);
    for (uint32_t i = 0; i < KEYS_MAX; i++)
        if (count == 0 || !varve_slice_equal(m->keys[count - 1], m->keys[i]))
            m->keys[count++] = m->keys[i];
    m->key_count = count;
}

static int op_covers(const struct op *op, uint32_t key)
{
    if (op->kind == CHUNK_RANGE_DELETE)
        return op->key <= key && key < op->end;
    return op->key == key;
}

/* The newest operation on key with a sequence <= seq_max; NULL: none. */
static const struct op *model_get(const struct model *m, uint32_t key, uint64_t seq_max)
{
    for (uint64_t i = m->count < seq_max ? m->count : seq_max; i-- > 0;)
        if (op_covers(&m->ops[i], key))
            return &m->ops[i];
    return NULL;
}

/* Whether the key has a version of its own. */
static int model_has(const struct model *m, uint32_t key)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->ops[i].kind != CHUNK_RANGE_DELETE && m->ops[i].key == key)
            return 1;
    return 0;
}

static enum memtable_prior model_prior(const struct model *m, const struct op *op)
{
    const struct op *before = model_get(m, op->key, UINT64_MAX);

    if (op->kind == CHUNK_RANGE_DELETE || before == NULL)
        return MEMTABLE_PRIOR_NONE;
    return before->kind == CHUNK_PUT ? MEMTABLE_PRIOR_LIVE : MEMTABLE_PRIOR_DEAD;
}

static void add(struct model *m)
{
    struct op *op = &m->ops[m->count];
    uint64_t kind = below(m, 12);
    uint64_t seq = m->count + 1;
    enum memtable_prior prior;

    op->kind = kind == 0 ? CHUNK_RANGE_DELETE : kind < 4 ? CHUNK_DELETE : CHUNK_PUT;
    op->key = (uint32_t)below(m, m->key_count);
    op->end = (uint32_t)below(m, m->key_count);
    op->crc = (uint32_t)rng_next(&m->rng);
    struct chunk chunk = {
        .kind = op->kind,
        .crc = op->crc,
        .expire_ms = op->crc * 3ull,
        .key = m->keys[op->key],
        .value = op->kind == CHUNK_RANGE_DELETE ? m->keys[op->end] : varve_slice(&seq, sizeof(seq)),
    };
    CHECK(memtable_add(m->memtable, seq, &chunk, &prior, &op->undo) == 0);
    CHECK(prior == model_prior(m, op));
    m->count++;
}

static void undo_some(struct model *m)
{
    for (uint64_t n = below(m, 6); n > 0 && m->count > 0; n--)
        memtable_undo_add(m->memtable, &m->ops[--m->count].undo);
}

static void check_record(struct model *m, uint32_t key, const struct op *op,
                         enum memtable_answer answer, const struct entry *record)
{
    uint64_t seq = op == NULL ? 0 : (uint64_t)(op - m->ops) + 1;

    m->checks++;
    CHECK(record->seq == seq);
    if (op == NULL) {
        CHECK(answer == MEMTABLE_NONE);
        return;
    }
    CHECK(answer == (op->kind == CHUNK_PUT ? MEMTABLE_VALUE : MEMTABLE_DELETED));
    CHECK(record->chunk.kind == op->kind);
    if (op->kind == CHUNK_RANGE_DELETE)
        return;
    CHECK(record->chunk.crc == op->crc && record->chunk.expire_ms == op->crc * 3ull);
    CHECK(varve_slice_equal(record->chunk.key, m->keys[key]));
    CHECK(record->chunk.value.len == (op->kind == CHUNK_PUT ? sizeof(seq) : 0));
    CHECK(memcmp(record->chunk.value.data, &seq, record->chunk.value.len) == 0);
}

static uint64_t some_seq(struct model *m)
{
    return below(m, 2) ? UINT64_MAX : below(m, m->count + 1u);
}

static void check_gets(struct model *m)
{
    struct entry record;
    uint64_t seq = some_seq(m);

    for (uint32_t key = 0; key < m->key_count; key++) {
        enum memtable_answer answer = memtable_get(m->memtable, m->keys[key], seq, &record);
        check_record(m, key, model_get(m, key, seq), answer, &record);
    }
}

static void check_versions(struct model *m, const struct memtable_iter *iter, uint32_t key)
{
    const struct memtable_version *version = NULL;
    struct entry record;

    for (uint32_t i = m->count; i-- > 0;) {
        const struct op *op = &m->ops[i];
        if (op->kind == CHUNK_RANGE_DELETE || op->key != key)
            continue;
        version = memtable_iter_version(iter, version, &record);
        CHECK(version != NULL);
        check_record(m, key, op, op->kind == CHUNK_PUT ? MEMTABLE_VALUE : MEMTABLE_DELETED,
                     &record);
    }
    CHECK(memtable_iter_version(iter, version, &record) == NULL);
}

/* The next key with a version from `key` on, key itself included; key_count or more: none. */
static uint32_t model_near(const struct model *m, uint32_t key, int up)
{
    while (key < m->key_count && !model_has(m, key))
        key += up ? 1u : UINT32_MAX;
    return key;
}

static void check_stand(struct model *m, const struct memtable_iter *iter, uint32_t key)
{
    struct entry record;

    CHECK(memtable_iter_status(iter) == 0);
    CHECK(memtable_iter_valid(iter) == (key < m->key_count));
    if (key >= m->key_count)
        return;
    uint64_t seq = some_seq(m);
    CHECK(varve_slice_equal(memtable_iter_key(iter), m->keys[key]));
    enum memtable_answer answer = memtable_iter_get(iter, seq, &record);
    check_record(m, key, model_get(m, key, seq), answer, &record);
    if (below(m, 8) == 0)
        check_versions(m, iter, key);
}

/* A walk that turns now and then and between whose moves operations are added and taken back. */
static void check_walk(struct model *m, struct memtable_iter *iter)
{
    uint32_t key = (uint32_t)below(m, m->key_count);
    int up = (int)below(m, 2);
    int busy = (int)below(m, 2);

    if (up)
        memtable_iter_seek(iter, m->keys[key]);
    else
        memtable_iter_seek_prev(iter, m->keys[key]);
    key = model_near(m, key, up);
    check_stand(m, iter, key);
    while (key < m->key_count) {
        if (busy && below(m, 4) == 0 && m->count < OPS_MAX)
            add(m);
        if (busy && below(m, 16) == 0)
            undo_some(m);
        if (below(m, 8) == 0)
            up = !up;
        if (below(m, 64) == 0)
            break;
        key = model_near(m, up ? key + 1 : key - 1, up);
        if (up)
            memtable_iter_next(iter);
        else
            memtable_iter_prev(iter);
        check_stand(m, iter, key);
    }
}

static void check_ends(struct model *m, struct memtable_iter *iter)
{
    memtable_iter_first(iter);
    check_stand(m, iter, model_near(m, 0, 1));
    memtable_iter_last(iter);
    check_stand(m, iter, model_near(m, m->key_count - 1, 0));
}

static void check_whole(struct model *m)
{
    const struct memtable_range *range = NULL;
    struct entry record;
    uint64_t entries = 0;

    for (uint32_t key = 0; key < m->key_count; key++)
        entries += (uint64_t)model_has(m, key);
    CHECK(memtable_entry_count(m->memtable) == entries);
    for (uint32_t i = m->count; i-- > 0;) {
        const struct op *op = &m->ops[i];
        if (op->kind != CHUNK_RANGE_DELETE)
            continue;
        range = memtable_next_range(m->memtable, range, &record);
        CHECK(range != NULL && record.seq == i + 1u && record.chunk.crc == op->crc);
        CHECK(varve_slice_equal(record.chunk.key, m->keys[op->key]));
        CHECK(varve_slice_equal(record.chunk.value, m->keys[op->end]));
    }
    CHECK(memtable_next_range(m->memtable, range, &record) == NULL);
}

static uint64_t run(uint64_t seed)
{
    static struct model m;

    m = (struct model){.memtable = memtable_create()};
    CHECK(m.memtable != NULL);
    rng_init(&m.rng, seed);
    make_keys(&m);
    struct memtable_iter *iter = memtable_iter_create(m.memtable);
    CHECK(iter != NULL);
    while (m.count < OPS_MAX) {
        add(&m);
        if (below(&m, 12) == 0)
            undo_some(&m);
        if (below(&m, 20) == 0)
            check_gets(&m);
        if (below(&m, 20) == 0)
            check_walk(&m, iter);
        if (below(&m, 40) == 0)
            check_ends(&m, iter);
        if (below(&m, 40) == 0)
            check_whole(&m);
    }
    check_whole(&m);
    memtable_unref(m.memtable);
    memtable_iter_destroy(iter);
    return m.checks;
}

static volatile uint64_t seed_now;

/* A failed CHECK aborts: say how to see it again. */
static void say_seed(int signal_no)
{
    (void)signal_no;
    dprintf(2, "again with: test_memtable_model 1 %llu\n", (unsigned long long)seed_now);
}

int main(int argc, char **argv)
{
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 150;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t checks = 0;

    signal(SIGABRT, say_seed);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        seed_now = seed;
        checks += run(seed);
    }
    printf("memtable model: %llu seeds, %llu records compared\n", (unsigned long long)seeds,
           (unsigned long long)checks);
    return 0;
}
