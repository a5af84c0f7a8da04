/* Any bytes as a filter block: it is refused, or a lookup of any key stays in it; and a filter that is built
 * has its keys. Input: a byte (1: the head is made to fit the size; 2: a filter is built, of keys of the
 * input), the block. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "fuzz.h"
#include "segment/bloom.h"
#include "take.h"

#define KEYS_MAX 256

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\x01\0\0\0\x07\0\0\0"),
    FUZZ_TOKEN("\0\0\0\0\x01\0\0\0"),
    FUZZ_TOKEN("\xff\xff\xff\xff"),
    FUZZ_TOKEN("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    {NULL, 0},
};

/* Exactly so many bytes, aligned as a segment has them. */
static uint8_t *aligned(size_t size)
{
    void *memory = NULL;

    CHECK(posix_memalign(&memory, BLOOM_LINE_BYTES, size + 1) == 0);
    return memory;
}

static void run_any(struct varve_slice bytes, int mend)
{
    uint8_t *block = aligned(bytes.len);
    struct bloom bloom;

    if (bytes.len > 0)
        memcpy(block, bytes.data, bytes.len);
    if (mend && bytes.len >= BLOOM_HEAD_BYTES) {
        put_u32(block, (uint32_t)((bytes.len - BLOOM_HEAD_BYTES) / BLOOM_LINE_BYTES));
        memset(block + 8, 0, BLOOM_HEAD_BYTES - 8);
    }
    if (bloom_open(&bloom, block, bytes.len) == 0) {
        CHECK(bloom.lines == block + BLOOM_HEAD_BYTES && bloom.line_count > 0);
        CHECK(BLOOM_HEAD_BYTES + (size_t)bloom.line_count * BLOOM_LINE_BYTES == bytes.len);
        CHECK(bloom.probes >= 1 && bloom.probes <= BLOOM_PROBES_MAX);
        for (uint64_t i = 0; i < 64; i++) {
            struct bloom_hash ends = {{i % 2 ? UINT64_MAX : 0, i % 3 ? UINT64_MAX : 0}};
            struct varve_slice key = varve_slice(bytes.data, (size_t)i < bytes.len ? i : bytes.len);
            (void)bloom_may_hold(&bloom, bloom_hash(key));
            (void)bloom_may_hold(&bloom, ends);
        }
    } else {
        CHECK(bloom.line_count == 0);
    }
    free(block);
}

static void run_built(struct take *take)
{
    struct bloom_hash hashes[KEYS_MAX];
    struct bloom bloom;
    uint32_t bits_per_key = take_byte(take) % 33;
    uint64_t count = 0;

    while (count < KEYS_MAX && take_left(take) > 0) {
        uint8_t len = take_byte(take);
        hashes[count++] = bloom_hash(take_slice(take, len));
    }
    size_t size = bloom_size_bytes(count, bits_per_key);
    if (size == 0) {
        CHECK(count == 0 || bits_per_key == 0);
        return;
    }
    uint8_t *block = aligned(size);
    bloom_build(block, size, hashes, count, bits_per_key);
    CHECK(bloom_open(&bloom, block, size) == 0);
    for (uint64_t i = 0; i < count; i++)
        CHECK(bloom_may_hold(&bloom, hashes[i]));
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct take take = take_from(data, size);
    uint8_t what = take_byte(&take);

    if (what & 2)
        run_built(&take);
    else
        run_any(take_slice(&take, size), what & 1);
    return 0;
}
