/* One writer and several readers on one memtable; meant for TSan. The whole history is known
 * beforehand, so a reader can say what each key must be at the sequence that it was shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "lsm/memtable.h"

#define KEYS 3000
#define OPS 12000 /* operation i has sequence i + 1 */
#define READERS 3
#define KEY_BYTES_MAX 24

struct op {
    enum chunk_kind kind;
    uint32_t key;    /* its place among the sorted keys */
    uint32_t end;    /* of a range */
    uint32_t before; /* 1 + the operation on the same key before this one; 0: none */
};

struct story {
    struct memtable *memtable;
    _Atomic uint64_t published;
    uint8_t keys[KEYS][KEY_BYTES_MAX]; /* sorted, different */
    size_t key_lens[KEYS];
    struct op ops[OPS];
    uint32_t ranges[OPS]; /* the operations that are ranges */
    size_t range_count;
};

static struct story story;

static struct varve_slice story_key(uint32_t i)
{
    return varve_slice(story.keys[i], story.key_lens[i]);
}

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, KEY_BYTES_MAX);
}

/* Keys of every shape: digits, long shared prefixes, one the beginning of another. */
static void story_make_keys(struct rng *rng)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        char text[KEY_BYTES_MAX + 1] = {0};
        const char *shape = i % 3 == 0 ? "%05u" : i % 3 == 1 ? "%05u-behind" : "long-prefix:%05u:x";
        snprintf(text, sizeof(text), shape, (unsigned)(i / 3 * 7));
        if (i % 3 == 2)
            text[12] = (char)(1 + i % 255);
        memcpy(story.keys[i], text, KEY_BYTES_MAX);
    }
    (void)rng;
    qsort(story.keys, KEYS, KEY_BYTES_MAX, compare_keys);
    for (uint32_t i = 0; i < KEYS; i++)
        story.key_lens[i] = strlen((const char *)story.keys[i]);
}

static void story_make(uint64_t seed)
{
    static uint32_t last[KEYS];
    struct rng rng;

    rng_init(&rng, seed);
    story_make_keys(&rng);
    memset(last, 0, sizeof(last));
    story.range_count = 0;
    atomic_store(&story.published, 0);
    for (uint32_t i = 0; i < OPS; i++) {
        struct op *op = &story.ops[i];
        op->key = (uint32_t)rng_below(&rng, KEYS);
        op->before = last[op->key];
        op->kind = rng_below(&rng, 8) == 0 ? CHUNK_DELETE : CHUNK_PUT;
        if (rng_below(&rng, 100) == 0) {
            op->kind = CHUNK_RANGE_DELETE;
            op->end = op->key + 1 + (uint32_t)rng_below(&rng, 40);
            op->end = op->end < KEYS ? op->end : KEYS - 1;
            story.ranges[story.range_count++] = i;
            continue;
        }
        last[op->key] = i + 1;
    }
}

/* The newest operation on key among the first `upto`, found from below; 0: none. */
static uint64_t expected_seq(uint32_t key, uint32_t newest, uint64_t upto)
{
    uint64_t seq = newest;

    while (seq > upto)
        seq = story.ops[seq - 1].before;
    for (size_t i = story.range_count; i-- > 0;) {
        uint32_t op = story.ranges[i];
        if (op < upto && op + 1 > seq && story.ops[op].key <= key && key < story.ops[op].end)
            seq = op + 1;
    }
    return seq;
}

static void check_answer(uint32_t key, uint32_t newest, uint64_t upto, enum memtable_answer answer,
                         const struct entry *record)
{
    uint64_t seq = expected_seq(key, newest, upto);

    CHECK(record->seq == seq);
    if (seq == 0) {
        CHECK(answer == MEMTABLE_NONE);
    } else if (story.ops[seq - 1].kind == CHUNK_PUT) {
        CHECK(answer == MEMTABLE_VALUE);
        CHECK(varve_slice_equal(record->chunk.key, story_key(key)));
        CHECK(varve_slice_equal(record->chunk.value, varve_slice(&seq, sizeof(seq))));
    } else {
        CHECK(answer == MEMTABLE_DELETED);
    }
}

static void op_add(uint64_t seq, struct memtable_undo *undo)
{
    const struct op *op = &story.ops[seq - 1];
    enum memtable_prior prior;
    struct chunk chunk = {
        .kind = op->kind,
        .key = story_key(op->key),
        .value = op->kind == CHUNK_RANGE_DELETE ? story_key(op->end)
                                                : varve_slice(&seq, sizeof(seq)),
    };

    CHECK(memtable_add(story.memtable, seq, &chunk, &prior, undo) == 0);
}

/* Adds a few operations at a time; every other group is first taken back and made again. */
static void run_writer(void *arg)
{
    struct memtable_undo undo[8];
    uint64_t seq = 0;

    (void)arg;
    for (uint64_t group = 0; seq < OPS; group++) {
        uint64_t len = group % 8 + 1;
        len = seq + len <= OPS ? len : OPS - seq;
        for (uint64_t i = 0; i < len; i++)
            op_add(seq + i + 1, &undo[i]);
        if (group % 2 == 1) {
            for (uint64_t i = len; i-- > 0;)
                memtable_undo_add(story.memtable, &undo[i]);
            for (uint64_t i = 0; i < len; i++)
                op_add(seq + i + 1, &undo[i]);
        }
        seq += len;
        atomic_store_explicit(&story.published, seq, memory_order_release);
    }
}

/* For each key its newest operation among the first `upto`. */
static void newest_of(uint64_t upto, uint32_t *newest)
{
    memset(newest, 0, KEYS * sizeof(*newest));
    for (uint32_t i = 0; i < upto; i++)
        if (story.ops[i].kind != CHUNK_RANGE_DELETE)
            newest[story.ops[i].key] = i + 1;
}

static void check_gets(struct rng *rng, const uint32_t *newest, uint64_t upto)
{
    struct entry record;

    for (int i = 0; i < 300; i++) {
        uint32_t key = (uint32_t)rng_below(rng, KEYS);
        uint64_t at = rng_below(rng, 4) == 0 ? rng_below(rng, upto + 1) : upto;
        enum memtable_answer answer = memtable_get(story.memtable, story_key(key), at, &record);
        check_answer(key, newest[key], at, answer, &record);
    }
}

/* Every key published before the walk is met, in order; others may be. */
static void check_walk(struct memtable_iter *iter, const uint32_t *newest, uint64_t upto, int up)
{
    struct entry record;
    uint32_t key = up ? 0 : KEYS - 1;

    if (up)
        memtable_iter_first(iter);
    else
        memtable_iter_last(iter);
    while (memtable_iter_valid(iter)) {
        struct varve_slice met = memtable_iter_key(iter);
        while (key < KEYS && !varve_slice_equal(met, story_key(key))) {
            CHECK(newest[key] == 0);
            key += up ? 1u : UINT32_MAX;
        }
        CHECK(key < KEYS);
        enum memtable_answer answer = memtable_iter_get(iter, upto, &record);
        check_answer(key, newest[key], upto, answer, &record);
        key += up ? 1u : UINT32_MAX;
        if (up)
            memtable_iter_next(iter);
        else
            memtable_iter_prev(iter);
    }
    for (; key < KEYS; key += up ? 1u : UINT32_MAX)
        CHECK(newest[key] == 0);
}

static void run_reader(void *arg)
{
    uint64_t number = (uint64_t)(uintptr_t)arg;
    struct memtable_iter *iter = memtable_iter_create(story.memtable);
    uint32_t *newest = mem_alloc(KEYS * sizeof(*newest));
    struct rng rng;
    uint64_t upto;
    int rounds = 0;

    CHECK(iter != NULL && newest != NULL);
    rng_init(&rng, number);
    do {
        upto = atomic_load_explicit(&story.published, memory_order_acquire);
        newest_of(upto, newest);
        check_gets(&rng, newest, upto);
        check_walk(iter, newest, upto, (rounds++ + (int)number) % 2);
    } while (upto < OPS);
    mem_free(newest);
    memtable_iter_destroy(iter);
}

static void test_memtable__readers_see_what_was_published(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct thread writer, readers[READERS];
        story_make(seed);
        story.memtable = memtable_create();
        assert_non_null(story.memtable);
        for (uint64_t i = 0; i < READERS; i++)
            assert_int_equal(thread_start(&readers[i], "reader", run_reader, (void *)(uintptr_t)i),
                             0);
        assert_int_equal(thread_start(&writer, "writer", run_writer, NULL), 0);
        thread_join(&writer);
        for (uint64_t i = 0; i < READERS; i++)
            thread_join(&readers[i]);
        memtable_unref(story.memtable);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memtable__readers_see_what_was_published),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
