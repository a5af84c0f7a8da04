#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "segment/block.h"

#define MODEL_MAX 3000
#define POOL_BYTES ((size_t)16 * 1024 * 1024)
#define VALUE_LIMIT (1ull << 50)

/* What the block must say: entries in their order, the bytes in a pool. */
struct model {
    struct entry entries[MODEL_MAX];
    uint32_t count;
    size_t used;
    uint8_t pool[POOL_BYTES];
};

enum key_shape { SHAPE_TINY, SHAPE_NUMBERED, SHAPE_BINARY, SHAPE_LONG, SHAPE_COUNT };

static struct model model;

static struct varve_slice pool_bytes(struct rng *rng, size_t len, int is_binary)
{
    uint8_t *at = model.pool + model.used;

    assert_true(model.used + len <= POOL_BYTES);
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)(is_binary ? rng_next(rng) : 'a' + rng_below(rng, 3));
    model.used += len;
    return varve_slice(at, len);
}

static struct varve_slice random_key(struct rng *rng, enum key_shape shape)
{
    static const uint8_t letters[] = {0, 'a', 0xff};
    struct varve_slice key;
    uint8_t *at = model.pool + model.used;

    switch (shape) {
    case SHAPE_TINY:
        key = pool_bytes(rng, rng_below(rng, 7), 0);
        for (size_t i = 0; i < key.len; i++)
            at[i] = letters[rng_below(rng, 3)];
        return key;
    case SHAPE_NUMBERED:
        key = pool_bytes(rng, 20, 0);
        snprintf((char *)at, 20, "user:%010u", (unsigned)rng_below(rng, 5000));
        return varve_slice(at, 15);
    case SHAPE_BINARY: return pool_bytes(rng, rng_below(rng, 40), 1);
    default:
        key = pool_bytes(rng, 200 + rng_below(rng, 2500), 1);
        memset(at, 'p', rng_below(rng, 2) ? 200 : key.len - 2);
        return key;
    }
}

static struct entry random_entry(struct rng *rng, enum key_shape shape, enum block_kind kind)
{
    struct entry entry = {.seq = 1000 + rng_below(rng, 300)};

    entry.chunk.crc = (uint32_t)rng_next(rng);
    entry.chunk.key = random_key(rng, shape);
    if (rng_below(rng, 20) == 0)
        entry.seq = rng_next(rng);
    if (kind == BLOCK_RANGES) {
        struct varve_slice end = pool_bytes(rng, entry.chunk.key.len + 1, 1);
        memcpy(model.pool + model.used - end.len, entry.chunk.key.data, entry.chunk.key.len);
        entry.chunk.kind = CHUNK_RANGE_DELETE;
        entry.chunk.value = end;
        return entry;
    }
    entry.chunk.kind = rng_below(rng, 4) == 0 ? CHUNK_DELETE : CHUNK_PUT;
    entry.prior_unknown = rng_below(rng, 3) == 0;
    if (entry.chunk.kind == CHUNK_DELETE)
        return entry;
    if (rng_below(rng, 3) == 0)
        entry.chunk.expire_ms = 1 + rng_below(rng, UINT64_MAX);
    entry.chunk.value = pool_bytes(rng, rng_below(rng, 100), 1);
    if (rng_below(rng, 10) == 0) {
        entry.chunk.value = varve_slice(NULL, BLOCK_LARGE_VALUE_BYTES + rng_below(rng, 1u << 20));
        entry.value_offset = 64 + rng_below(rng, 1ull << 49);
        if (rng_below(rng, 2) == 0 && entry.chunk.value.len <= BLOCK_COMPRESSED_MAX_BYTES)
            entry.value_packed_len = 1 + (uint32_t)rng_below(rng, entry.chunk.value.len - 1);
    }
    return entry;
}

static int by_order(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;

    return entry_compare(x->chunk.key, x->seq, y->chunk.key, y->seq);
}

static void model_fill(uint64_t seed, enum key_shape shape, uint32_t count, enum block_kind kind)
{
    struct rng rng;
    uint32_t kept = 0;

    rng_init(&rng, seed);
    model.used = 0;
    for (uint32_t i = 0; i < count; i++)
        model.entries[i] = random_entry(&rng, shape, kind);
    qsort(model.entries, count, sizeof(*model.entries), by_order);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || by_order(&model.entries[kept - 1], &model.entries[i]) != 0)
            model.entries[kept++] = model.entries[i];
    model.count = kept;
}

static struct block *model_block(enum block_kind kind)
{
    struct block_builder builder;
    struct varve_slice payload;
    struct varve_err err = {0};
    struct block *block;

    block_builder_init(&builder);
    /* Twice: the first round leaves nothing behind. */
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < model.count; i++)
            assert_int_equal(block_builder_add(&builder, &model.entries[i],
                                               model.entries[i].value_offset,
                                               model.entries[i].value_packed_len),
                             0);
        size_t said = builder.raw_bytes;
        assert_int_equal(block_builder_finish(&builder, &payload), 0);
        assert_int_equal(builder.count, 0);
        assert_true(said <= payload.len && payload.len <= said + 10 * (size_t)model.count + 20);
    }
    uint8_t *exact = mem_alloc(payload.len); /* so that a read behind it is seen */
    assert_non_null(exact);
    memcpy(exact, payload.data, payload.len);
    payload.data = exact;
    assert_int_equal(block_decode(payload, kind, VALUE_LIMIT, &block, &err), 0);
    mem_free(exact);
    block_builder_deinit(&builder);
    return block;
}

static void check_entries(const struct block *block)
{
    assert_int_equal(block->count, model.count);
    for (uint32_t i = 0; i < model.count; i++) {
        const struct entry *want = &model.entries[i];
        struct entry got;
        block_entry(block, i, &got);
        assert_true(got.seq == want->seq);
        assert_int_equal(got.chunk.kind, want->chunk.kind);
        assert_int_equal(got.chunk.crc, want->chunk.crc);
        assert_true(got.chunk.expire_ms == want->chunk.expire_ms);
        assert_int_equal(got.prior_unknown, want->prior_unknown);
        assert_true(got.value_offset == want->value_offset);
        assert_int_equal(got.value_packed_len, want->value_packed_len);
        assert_null(got.value_segment);
        assert_true(varve_slice_equal(got.chunk.key, want->chunk.key));
        assert_true(varve_slice_equal(block_key(block, i), want->chunk.key));
        assert_int_equal(got.chunk.value.len, want->chunk.value.len);
        assert_int_equal(got.chunk.value.data == NULL, want->value_offset != 0);
        if (want->value_offset == 0)
            assert_true(varve_slice_equal(got.chunk.value, want->chunk.value));
    }
}

static void check_find(const struct block *block, struct varve_slice key, uint64_t seq_max)
{
    int64_t want = -1;

    for (uint32_t i = 0; i < model.count && want < 0; i++)
        if (model.entries[i].seq <= seq_max && varve_slice_equal(model.entries[i].chunk.key, key))
            want = i;
    assert_int_equal(block_find(block, key, bloom_hash(key), seq_max), want);
}

static void check_seek(const struct block *block, struct varve_slice key)
{
    uint32_t at = 0;
    uint32_t behind;

    while (at < model.count && varve_slice_compare(model.entries[at].chunk.key, key) < 0)
        at++;
    for (behind = at; behind < model.count; behind++)
        if (varve_slice_compare(model.entries[behind].chunk.key, key) > 0)
            break;
    assert_int_equal(block_seek(block, key, 0), at);
    assert_int_equal(block_seek(block, key, 1), behind);
}

static void check_lookups(const struct block *block, enum key_shape shape, enum block_kind kind,
                          uint64_t seed)
{
    struct rng rng;

    rng_init(&rng, seed ^ 0x5eed);
    for (int i = 0; i < 300; i++) {
        const struct entry *entry = &model.entries[rng_below(&rng, model.count)];
        struct varve_slice key = entry->chunk.key;
        uint64_t seq = entry->seq;
        size_t used = model.used;
        if (i % 3 == 1)
            key = random_key(&rng, shape);
        if (i % 3 == 2 && key.len > 0)
            key.len -= 1 + rng_below(&rng, key.len);
        check_seek(block, key);
        if (kind == BLOCK_DATA) {
            check_find(block, key, UINT64_MAX);
            check_find(block, key, seq);
            check_find(block, key, seq - 1);
            check_find(block, key, 0);
        }
        model.used = used;
    }
    check_seek(block, varve_slice(NULL, 0));
}

static void check_shapes(enum block_kind kind)
{
    static const uint32_t counts[] = {1, 2, 40, 500, MODEL_MAX};

    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (int shape = 0; shape < SHAPE_COUNT; shape++) {
            for (size_t n = 0; n < COUNT_OF(counts) - (seed > 2 ? 1 : 0); n++) {
                model_fill(seed, (enum key_shape)shape, counts[n], kind);
                struct block *block = model_block(kind);
                check_entries(block);
                check_lookups(block, (enum key_shape)shape, kind, seed);
                block->cached.destroy(&block->cached);
            }
        }
    }
}

static void test_block__is_what_went_into_it(void **state)
{
    (void)state;
    check_shapes(BLOCK_DATA);
}

/* They live as long as their segment, and a chunk that is to be given back cannot wait for that. */
static void test_block__of_ranges_keeps_no_chunk(void **state)
{
    struct pieces_stats before, after;

    (void)state;
    model_fill(1, 0, 50, BLOCK_RANGES);
    block_memory_get(&before);
    struct block *block = model_block(BLOCK_RANGES);
    block_memory_get(&after);
    assert_int_equal(after.used_bytes, before.used_bytes);
    block->cached.destroy(&block->cached);
}

static void test_block__of_ranges_is_what_went_into_it(void **state)
{
    (void)state;
    check_shapes(BLOCK_RANGES);
}

static struct entry put_entry(const char *key, const char *value, uint64_t seq)
{
    struct entry entry = {.seq = seq};

    entry.chunk.kind = CHUNK_PUT;
    entry.chunk.key = varve_slice_str(key);
    entry.chunk.value = varve_slice_str(value);
    entry.chunk.crc = chunk_crc(&entry.chunk);
    return entry;
}

static void test_block__finds_the_version_of_a_snapshot(void **state)
{
    (void)state;
    model.entries[0] = put_entry("a", "5", 5);
    for (uint32_t i = 0; i < 400; i++)
        model.entries[1 + i] = put_entry("b", "", 1000 - 2 * i);
    model.entries[401] = put_entry("c", "7", 7);
    model.count = 402;
    struct block *block = model_block(BLOCK_DATA);
    for (uint64_t seq = 0; seq < 1010; seq++) {
        check_find(block, varve_slice_str("a"), seq);
        check_find(block, varve_slice_str("b"), seq);
        check_find(block, varve_slice_str("c"), seq);
        check_find(block, varve_slice_str("d"), seq);
    }
    block->cached.destroy(&block->cached);
}

/* All keys with the same byte of hash: the wrong ones are passed over. */
static void test_block__finds_among_equal_hashes(void **state)
{
    static char keys[200][16];
    uint32_t found = 0;
    struct entry *entries = model.entries;

    (void)state;
    for (unsigned i = 0; found < 200; i++) {
        snprintf(keys[found], sizeof(keys[found]), "%08u", i);
        if (block_hash_byte(bloom_hash(varve_slice_str(keys[found]))) != 0x2a)
            continue;
        entries[found] = put_entry(keys[found], "v", found);
        found++;
    }
    /* Every other one is in the block. */
    model.count = 100;
    for (uint32_t i = 0; i < 100; i++)
        entries[i] = entries[2 * i];
    struct block *block = model_block(BLOCK_DATA);
    for (uint32_t i = 0; i < 200; i++)
        check_find(block, varve_slice_str(keys[i]), UINT64_MAX);
    block->cached.destroy(&block->cached);
}

/* Keys that share a lot and values of nothing would take any amount of memory: the builder gives some
 * keys whole, and what it writes is always taken. */
static void test_block__bounds_what_keys_share(void **state)
{
    struct block_builder builder;
    struct varve_slice payload;
    struct varve_err err = {0};
    struct block *block;
    static char key[2001];

    (void)state;
    block_builder_init(&builder);
    memset(key, 'k', sizeof(key) - 1);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(key + 1990, 11, "%010u", i);
        struct entry entry = put_entry(key, "", i);
        assert_int_equal(block_builder_add(&builder, &entry, 0, 0), 0);
    }
    assert_int_equal(block_builder_finish(&builder, &payload), 0);
    assert_true(payload.len > 1000 * 20 && payload.len < 100000);
    assert_int_equal(block_decode(payload, BLOCK_DATA, 0, &block, &err), 0);
    assert_int_equal(block->count, 1000);
    assert_true(block->cached.charge_bytes < 65 * payload.len + 65536);
    block->cached.destroy(&block->cached);
    block_builder_deinit(&builder);
}

static void test_block__charges_what_it_takes(void **state)
{
    static struct block *blocks[1000];
    uint64_t charged = 0;

    (void)state;
    block_memory_trim(0);
    uint64_t before = mem_used_bytes();
    model_fill(1, SHAPE_NUMBERED, 100, BLOCK_DATA);
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = model_block(BLOCK_DATA);
        charged += blocks[i]->cached.charge_bytes;
        assert_int_equal(atomic_load(&blocks[i]->cached.refs), 1);
    }
    uint64_t took = mem_used_bytes() - before;
    assert_in_range(took, charged, charged + charged / 16 + MEM_HUGE_BYTES); /* one has room left */
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        blocks[i]->cached.destroy(&blocks[i]->cached);
    block_memory_trim(0);
    assert_int_equal(mem_used_bytes(), before);
}

static void test_block__without_memory_nothing_is_lost(void **state)
{
    struct block_builder builder;
    struct varve_slice payload;
    struct varve_slice out;
    struct varve_err err = {0};
    struct block *block = NULL;
    struct buf scratch;

    (void)state;
    model_fill(3, SHAPE_NUMBERED, 500, BLOCK_DATA);
    block_builder_init(&builder);
    buf_init(&scratch, SIZE_MAX / 2);
    for (uint32_t i = 0; i < model.count; i++) {
        struct entry *entry = &model.entries[i];
        mem_fail_nth(1, 0);
        int rc = block_builder_add(&builder, entry, entry->value_offset, entry->value_packed_len);
        mem_fail_nth(0, 0);
        for (int again = 0; rc != 0 && again < 4; again++) {
            assert_int_equal(rc, VARVE_ENOMEM);
            assert_int_equal(builder.count, i);
            rc = block_builder_add(&builder, entry, entry->value_offset, entry->value_packed_len);
        }
        assert_int_equal(rc, 0);
    }
    assert_int_equal(block_builder_finish(&builder, &payload), 0);
    mem_fail_nth(1, 0);
    assert_int_equal(block_compress(payload, 1, &scratch, &out), 0);
    mem_fail_nth(1, 0);
    assert_int_equal(block_decode(payload, BLOCK_DATA, VALUE_LIMIT, &block, &err), VARVE_ENOMEM);
    mem_fail_nth(0, 0);
    assert_null(block);
    assert_ptr_equal(out.data, payload.data);
    assert_int_equal(block_decode(payload, BLOCK_DATA, VALUE_LIMIT, &block, &err), 0);
    check_entries(block);
    block->cached.destroy(&block->cached);
    buf_deinit(&scratch);
    block_builder_deinit(&builder);
}

static void test_block_builder__full(void **state)
{
    struct block_builder builder;
    struct entry entry = put_entry("a", "b", 1);

    (void)state;
    block_builder_init(&builder);
    assert_int_equal(block_builder_add(&builder, &entry, 0, 0), 0);
    builder.flat_bytes = (uint64_t)3 * 1024 * 1024 * 1024 - 2;
    entry = put_entry("b", "b", 1);
    assert_int_equal(block_builder_add(&builder, &entry, 0, 0), VARVE_EFULL);
    assert_int_equal(builder.count, 1);
    block_builder_deinit(&builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block__is_what_went_into_it),
        cmocka_unit_test(test_block__of_ranges_keeps_no_chunk),
        cmocka_unit_test(test_block__of_ranges_is_what_went_into_it),
        cmocka_unit_test(test_block__finds_the_version_of_a_snapshot),
        cmocka_unit_test(test_block__finds_among_equal_hashes),
        cmocka_unit_test(test_block__bounds_what_keys_share),
        cmocka_unit_test(test_block__charges_what_it_takes),
        cmocka_unit_test(test_block__without_memory_nothing_is_lost),
        cmocka_unit_test(test_block_builder__full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
