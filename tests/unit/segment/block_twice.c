#include "block_twice.h"

#include "base/check.h"

static void check_entry(const struct block *block, uint32_t i, const struct block_walk *walk)
{
    const struct entry *is = &walk->entry;
    struct entry want;

    block_entry(block, i, &want);
    CHECK(is->seq == want.seq && is->prior_unknown == want.prior_unknown);
    CHECK(is->value_segment == NULL && is->value_offset == want.value_offset);
    CHECK(is->value_packed_len == want.value_packed_len);
    CHECK(is->chunk.kind == want.chunk.kind && is->chunk.crc == want.chunk.crc);
    CHECK(is->chunk.expire_ms == want.chunk.expire_ms);
    CHECK(varve_slice_equal(is->chunk.key, want.chunk.key));
    CHECK(is->chunk.value.len == want.chunk.value.len);
    CHECK((is->chunk.value.data == NULL) == (want.chunk.value.data == NULL));
    if (want.chunk.value.data != NULL)
        CHECK(varve_slice_equal(is->chunk.value, want.chunk.value));
    CHECK(walk->left == block->count - i - 1);
    int same_key = i > 0 && varve_slice_equal(block_key(block, i - 1), want.chunk.key);
    CHECK(walk->same_key == same_key);
}

int block_twice(struct block_walk *walk, struct varve_slice payload, uint64_t value_limit,
                struct varve_err *err, struct varve_err *walk_err)
{
    struct block *block;
    uint32_t count = 0;
    int rc = block_decode(payload, BLOCK_DATA, value_limit, &block, err);
    int walked = block_walk_begin(walk, payload, value_limit, walk_err);

    if (walked == 0) {
        while ((walked = block_walk_next(walk, walk_err)) > 0) {
            if (block != NULL)
                check_entry(block, count, walk);
            count++;
        }
    }
    CHECK(walked == rc);
    if (block == NULL)
        return rc;
    CHECK(count == block->count);
    CHECK(block_walk_next(walk, walk_err) == 0);
    block->cached.destroy(&block->cached);
    return 0;
}
