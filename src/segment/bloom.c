#include "segment/bloom.h"

#include <murmurhash.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mutant.h"
#include "base/thread.h"
#include "varve/status.h"

#define BLOOM_MAX_BYTES ((uint64_t)1024 * 1024 * 1024) /* FORMAT.md, section 5 */
#define BLOOM_LINES_MAX ((BLOOM_MAX_BYTES - BLOOM_HEAD_BYTES) / BLOOM_LINE_BYTES)
#define KEYS_A_PIECE 4096 /* between two of them other threads may go first */
#define LINE_BITS ((uint64_t)8 * BLOOM_LINE_BYTES)

struct bloom_hash bloom_hash(struct varve_slice key)
{
    struct bloom_hash hash;

    lmmh_x64_128(key.data, (unsigned)key.len, 0, hash.half);
    return hash;
}

size_t bloom_size_bytes(uint64_t keys, uint32_t bits_per_key)
{
    if (keys == 0 || bits_per_key == 0)
        return 0;
    uint64_t lines = BLOOM_LINES_MAX;
    if (keys < BLOOM_LINES_MAX * LINE_BITS / bits_per_key)
        lines = (keys * bits_per_key + LINE_BITS - 1) / LINE_BITS;
    return (size_t)(BLOOM_HEAD_BYTES + lines * BLOOM_LINE_BYTES);
}

/* Lines are not filled evenly, so a few probes less than a plain filter's 0.69 a bit are best: the
 * minimum of the sum over a Poisson distribution of keys a line lies at about 5/8. */
static uint32_t probes_for(uint32_t bits_per_key)
{
    if (bits_per_key >= 12)
        return BLOOM_PROBES_MAX;
    uint32_t probes = (bits_per_key * 5 + 4) / 8;
    return probes == 0 ? 1 : probes;
}

void bloom_build(uint8_t *block, size_t size_bytes, const struct bloom_hash *hashes, uint64_t keys,
                 uint32_t bits_per_key)
{
    uint32_t probes = probes_for(bits_per_key);
    uint64_t line_count = (size_bytes - BLOOM_HEAD_BYTES) / BLOOM_LINE_BYTES;

    CHECK(size_bytes != 0 && size_bytes == bloom_size_bytes(keys, bits_per_key));
    memset(block, 0, size_bytes);
    put_u32(block, (uint32_t)line_count);
    put_u32(block + 4, probes);
    if (MUTANT("filter-drops-key"))
        keys--;
    for (uint64_t k = 0; k < keys; k++) {
        if (k % KEYS_A_PIECE == 0)
            thread_give_way();
        uint64_t line = ((hashes[k].half[0] >> 32) * line_count) >> 32;
        uint8_t *bits = block + BLOOM_HEAD_BYTES + line * BLOOM_LINE_BYTES;
        uint64_t left = hashes[k].half[1];
        for (uint32_t i = 0; i < probes; i++, left >>= 9)
            bits[(left & 511) >> 3] |= (uint8_t)(1u << (left & 7));
    }
}

int bloom_open(struct bloom *bloom, const uint8_t *block, size_t size_bytes)
{
    static const uint8_t zeros[BLOOM_HEAD_BYTES - 8];

    *bloom = (struct bloom){0};
    if (size_bytes < BLOOM_HEAD_BYTES + BLOOM_LINE_BYTES || size_bytes > BLOOM_MAX_BYTES)
        return VARVE_ECORRUPT;
    uint32_t line_count = get_u32(block);
    uint32_t probes = get_u32(block + 4);
    if (BLOOM_HEAD_BYTES + (uint64_t)line_count * BLOOM_LINE_BYTES != size_bytes)
        return VARVE_ECORRUPT;
    if (probes == 0 || probes > BLOOM_PROBES_MAX || memcmp(block + 8, zeros, sizeof(zeros)) != 0)
        return VARVE_ECORRUPT;
    *bloom = (struct bloom){
        .lines = block + BLOOM_HEAD_BYTES,
        .line_count = line_count,
        .probes = probes,
    };
    return 0;
}
