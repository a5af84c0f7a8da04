/* Any bytes as the payload of an index block: it is refused, or every place in it lies in the file, the
 * blocks end where the data does, and each key is found where a walk over all finds it. Input: a byte
 * (1: the end of the data is made right), 4 bytes for that end, the payload. */
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "env/file_header.h"
#include "fuzz.h"
#include "segment/block.h"
#include "segment/segment_index.h"
#include "take.h"

#define MEMORY_BASE_BYTES ((size_t)64 * 1024)
#define MEMORY_FACTOR 100 /* an entry of 4 bytes may stand for 256 of a key and 24 of a place */

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\0\0\0\x10"),
    FUZZ_TOKEN("\0\x01k\0\x10"),
    FUZZ_TOKEN("\x01\x01l\0\x20"),
    FUZZ_TOKEN("\x80\x02\0\0\x10"),
    FUZZ_TOKEN("\xff\xff\xff\xff\x0f"),
    FUZZ_TOKEN("\xf7\xff\xff\xff\x0f"),
    FUZZ_TOKEN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    {NULL, 0},
};

/* Where the blocks end, if the payload is one; sums may wrap. */
static uint64_t end_of(const uint8_t *at, const uint8_t *end)
{
    uint64_t sum = FILE_HEADER_BYTES;
    uint64_t count = 0;

    at += get_varint(at, end, &count);
    for (uint64_t i = 0; i < count && at < end; i++) {
        uint64_t fields[4] = {0};
        for (int f = 0; f < 4; f++) {
            size_t n = get_varint(at, end, &fields[f]);
            if (n == 0)
                return sum;
            at += n;
            if (f == 1)
                at += fields[1] < (uint64_t)(end - at) ? fields[1] : (uint64_t)(end - at);
        }
        sum += fields[2] + fields[3] + BLOCK_TRAILER_BYTES;
    }
    return sum;
}

static void check_places(const struct segment_index *index, uint64_t data_end)
{
    uint64_t at = FILE_HEADER_BYTES;

    for (uint32_t i = 0; i < index->count; i++) {
        CHECK(index->offsets[i] >= at && index->offsets[i] <= data_end);
        CHECK(data_end - index->offsets[i] >= (uint64_t)index->lens[i] + BLOCK_TRAILER_BYTES);
        at = index->offsets[i] + index->lens[i] + BLOCK_TRAILER_BYTES;
    }
    CHECK(at == data_end);
}

/* The last separator that is not greater than key lies at *last, all that may hold it from *first on. */
static void check_find(const struct segment_index *index, struct varve_slice key)
{
    uint32_t count = 0;
    uint32_t first = 0;
    uint32_t last = 0;

    while (count < index->count && varve_slice_compare(segment_index_key(index, count), key) <= 0)
        count++;
    CHECK(segment_index_find(index, key, &first, &last) == (count > 0));
    if (count == 0)
        return;
    CHECK(first <= last && last == count - 1);
    struct varve_slice separator = segment_index_key(index, last);
    if (separator.len < INDEX_KEY_MAX_BYTES)
        CHECK(first == last);
    else if (first > 0)
        CHECK(varve_slice_compare(segment_index_key(index, first), separator) < 0);
}

static void check_rebuilt(const struct segment_index *index, uint64_t data_end)
{
    struct index_builder builder;
    struct segment_index again;
    struct varve_slice payload;

    index_builder_init(&builder);
    for (uint32_t i = 0; i < index->count; i++)
        CHECK(index_builder_add(&builder, segment_index_key(index, i), index->offsets[i],
                                index->lens[i]) == 0);
    CHECK(index_builder_finish(&builder, &payload) == 0);
    CHECK(segment_index_open(&again, payload, data_end, NULL) == 0);
    CHECK(again.count == index->count && again.memory_bytes == index->memory_bytes);
    CHECK(again.level_count == index->level_count && again.shared_len == index->shared_len);
    CHECK(memcmp(again.offsets, index->offsets,
                 (size_t)(index->keys - (const uint8_t *)index->offsets) +
                     index->key_at[index->count]) == 0);
    segment_index_deinit(&again);
    index_builder_deinit(&builder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct take take = take_from(data, size);
    uint8_t flags = take_byte(&take);
    uint64_t data_end = take_number(&take, 4);
    struct segment_index index;
    struct varve_err err = {0};
    uint64_t used = mem_used_bytes();

    fuzz_bound_allocations(MEMORY_BASE_BYTES + MEMORY_FACTOR * size);
    struct varve_slice payload = take_slice(&take, size);
    if (flags & 1)
        data_end = end_of(payload.data, payload.data + payload.len);
    if (segment_index_open(&index, payload, data_end, &err) == 0) {
        check_places(&index, data_end);
        for (uint32_t i = 0; i < index.count && i < 64; i++) {
            struct varve_slice key = segment_index_key(&index, i);
            check_find(&index, key);
            check_find(&index, varve_slice(key.data, key.len / 2));
        }
        check_find(&index, varve_slice(payload.data, payload.len < 300 ? payload.len : 300));
        fuzz_bound_allocations(0);
        check_rebuilt(&index, data_end);
    } else {
        CHECK(err.code == VARVE_ECORRUPT && err.text[0] != '\0');
    }
    segment_index_deinit(&index);
    CHECK(mem_used_bytes() == used);
    return 0;
}
