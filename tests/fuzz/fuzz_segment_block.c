/* Any bytes as the payload of a block: it is refused, or all that it holds can be walked and found, in
 * order, and is built again as what it was; and merges, which read a data block in their own way, see the same. Input: a byte of what it is (1 data, 3 ranges; 0x80 | that:
 * as block_open() takes it, compressed), the payload. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "block_twice.h"
#include "fuzz.h"
#include "segment/block.h"

#define VALUE_LIMIT ((uint64_t)1 << 32)
#define AS_COMPRESSED 0x80
#define BOUND_OF_ALL ((size_t)256 * 1024 * 1024)

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\x02\x05"),
    FUZZ_TOKEN("\x01\0\x02\0cccc\x01k1v"),
    FUZZ_TOKEN("\x02\x01\x01\0cccc2"),
    FUZZ_TOKEN("\x09\0\x01\0cccc\0\x01\0\0\0\0\0\0\0k"),
    FUZZ_TOKEN("\x21\0\x01\0cccc\x80\x80\x01\x40k"),
    FUZZ_TOKEN("\x03\0\x01\0cccc\x01kl"),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    FUZZ_TOKEN("\xff\xff\xff\xff\x0f"),
    FUZZ_TOKEN("\0\0\0\0\0\0\0\0"),
    {NULL, 0},
};

static void check_block(const struct block *block, enum block_kind kind)
{
    struct block_builder builder;
    struct entry entry = {0};
    uint64_t sum = 0;

    CHECK(block->count > 0);
    block_builder_init(&builder);
    for (uint32_t i = 0; i < block->count; i++) {
        struct entry before = entry;
        block_entry(block, i, &entry);
        CHECK(i == 0 ||
              entry_compare(before.chunk.key, before.seq, entry.chunk.key, entry.seq) < 0);
        int is_same = i > 0 && varve_slice_equal(before.chunk.key, entry.chunk.key);
        if (!is_same)
            CHECK(block_seek(block, entry.chunk.key, 0) == i);
        CHECK(block_seek(block, entry.chunk.key, 1) > i);
        if (kind == BLOCK_DATA) {
            struct bloom_hash hash = bloom_hash(entry.chunk.key);
            CHECK(block_find(block, entry.chunk.key, hash, entry.seq) == (int64_t)i);
        }
        /* Reads every byte. */
        struct chunk all = entry.chunk;
        if (all.value.data == NULL)
            all.value.len = 0;
        sum += chunk_crc(&all);
        CHECK(block_builder_add(&builder, &entry, entry.value_offset, entry.value_packed_len) == 0);
    }
    struct varve_slice payload;
    struct block *again;
    CHECK(block_builder_finish(&builder, &payload) == 0);
    CHECK(block_decode(payload, kind, VALUE_LIMIT, &again, NULL) == 0);
    CHECK(again->count == block->count);
    for (uint32_t i = 0; i < again->count; i++) {
        struct chunk all;
        block_entry(again, i, &entry);
        all = entry.chunk;
        if (all.value.data == NULL)
            all.value.len = 0;
        sum -= chunk_crc(&all);
    }
    CHECK(sum == 0);
    again->cached.destroy(&again->cached);
    block_builder_deinit(&builder);
}

static void walk_block(struct varve_slice payload)
{
    struct block_walk walk;

    block_walk_init(&walk);
    (void)block_twice(&walk, payload, VALUE_LIMIT, NULL, NULL);
    block_walk_deinit(&walk);
}

static void run_block(struct varve_slice payload, enum block_kind kind)
{
    struct block *block;

    if (kind == BLOCK_DATA)
        walk_block(payload);
    if (block_decode(payload, kind, VALUE_LIMIT, &block, NULL) != 0)
        return;
    CHECK(block->cached.charge_bytes < 1024 * 1024 + 100 * payload.len);
    check_block(block, kind);
    block->cached.destroy(&block->cached);
}

/* With a trailer that is right, in memory of just its size. */
static void run(uint8_t what, const uint8_t *data, size_t size)
{
    enum block_kind kind = (enum block_kind)(what & 7);
    uint8_t *bytes = mem_alloc(size + BLOCK_TRAILER_BYTES);
    struct varve_slice payload = varve_slice(bytes, size);
    struct buf scratch;

    CHECK(bytes != NULL);
    memcpy(bytes, data, size);
    buf_init(&scratch, BOUND_OF_ALL);
    block_trailer_put(bytes + size, 1, 64, kind, what & AS_COMPRESSED ? 1 : 0, payload);
    if (block_open(bytes, size, 1, 64, kind, &scratch, &payload, NULL) == 0) {
        if (kind == BLOCK_DATA || kind == BLOCK_RANGES)
            run_block(payload, kind);
    }
    buf_deinit(&scratch);
    mem_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0)
        run(data[0], data + 1, size - 1);
    return 0;
}
