/* The search first counts, over numbers alone, the separators whose 8 bytes are smaller and those whose
 * are not greater; only between the two are bytes compared. The 8 bytes are those behind what the separators
 * share, so that keys with a long common beginning are told apart by them too. The first separator is
 * left out of all this: it is as short as one byte, and would share no more than that.
 *
 * The numbers lie in levels, a static tree without pointers: level 0 has all of them, in groups of a cache line;
 * each further level has the first of each group below it. So a search takes one line a level, where a binary
 * search of as many takes three, each known only when the one before came. */
#include "segment/segment_index.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "env/file_header.h"
#include "segment/block.h"
#include "segment/key_slice.h"

#define INDEX_LINE_BYTES 64
#define INDEX_MAX_BYTES ((size_t)1024 * 1024 * 1024)
#define ENTRY_MAX_BYTES (4 * VARINT_MAX_BYTES + INDEX_KEY_MAX_BYTES)
#define BLOCK_PAYLOAD_MAX_BYTES ((uint64_t)UINT32_MAX)

/* ---- writing ---- */

void index_builder_init(struct index_builder *builder)
{
    memset(builder, 0, sizeof(*builder));
    buf_init(&builder->bytes, INDEX_MAX_BYTES);
    builder->end = FILE_HEADER_BYTES;
}

void index_builder_deinit(struct index_builder *builder)
{
    buf_deinit(&builder->bytes);
}

size_t index_separator_len(struct varve_slice last, struct varve_slice first)
{
    size_t len = key_common_bytes(last, first) + 1;

    if (MUTANT("separator-too-short"))
        len -= len % 3 == 0;
    return len < INDEX_KEY_MAX_BYTES ? len : INDEX_KEY_MAX_BYTES;
}

int index_builder_add(struct index_builder *builder, struct varve_slice separator, uint64_t offset,
                      uint64_t len)
{
    struct varve_slice before = varve_slice(builder->key, builder->key_len);
    size_t shared = key_common_bytes(before, separator);
    size_t room = builder->bytes.len == 0 ? VARINT_MAX_BYTES : 0;
    int rc = buf_reserve(&builder->bytes, room + ENTRY_MAX_BYTES);

    CHECK(separator.len <= INDEX_KEY_MAX_BYTES);
    if (rc != 0)
        return rc;
    builder->bytes.len += room;
    uint8_t *at = builder->bytes.data + builder->bytes.len;
    at += put_varint(at, shared);
    at += put_varint(at, separator.len - shared);
    if (separator.len > shared)
        memcpy(at, separator.data + shared, separator.len - shared);
    at += separator.len - shared;
    at += put_varint(at, offset - builder->end);
    at += put_varint(at, len);
    builder->bytes.len = (size_t)(at - builder->bytes.data);
    builder->end = offset + len + BLOCK_TRAILER_BYTES;
    builder->count++;
    if (separator.len > 0)
        memcpy(builder->key, separator.data, separator.len);
    builder->key_len = separator.len;
    return 0;
}

int index_builder_finish(struct index_builder *builder, struct varve_slice *payload)
{
    size_t head = varint_size(builder->count);

    if (builder->bytes.len == 0) {
        int rc = buf_reserve(&builder->bytes, VARINT_MAX_BYTES);
        if (rc != 0)
            return rc;
        builder->bytes.len = VARINT_MAX_BYTES;
    }
    uint8_t *at = builder->bytes.data + VARINT_MAX_BYTES - head;
    put_varint(at, builder->count);
    *payload = varve_slice(at, builder->bytes.len - VARINT_MAX_BYTES + head);
    return 0;
}

/* ---- reading ---- */

/* One entry as it lies in the payload. */
struct index_entry {
    uint64_t shared;
    uint64_t unshared;
    const uint8_t *bytes;
    uint64_t gap;
    uint64_t len;
};

/* Returns the bytes read; 0: that is none. */
static size_t index_entry_get(const uint8_t *at, const uint8_t *end, struct index_entry *entry)
{
    const uint8_t *begin = at;
    size_t n = get_varint(at, end, &entry->shared);

    at += n;
    if (n == 0 || (n = get_varint(at, end, &entry->unshared)) == 0)
        return 0;
    at += n;
    if (entry->unshared > (uint64_t)(end - at))
        return 0;
    entry->bytes = at;
    at += entry->unshared;
    if ((n = get_varint(at, end, &entry->gap)) == 0)
        return 0;
    at += n;
    if ((n = get_varint(at, end, &entry->len)) == 0)
        return 0;
    return (size_t)(at + n - begin);
}

/* Walks the payload; checks all but the order of the separators, and sums their lengths up. */
static int index_measure(struct varve_slice payload, uint64_t data_end, uint64_t *count,
                         uint64_t *key_bytes, struct varve_err *err)
{
    const uint8_t *at = payload.data;
    const uint8_t *end = at + payload.len;
    uint64_t key_len = 0;
    uint64_t file_at = FILE_HEADER_BYTES;
    size_t n = get_varint(at, end, count);

    *key_bytes = 0;
    if (n == 0)
        return err_set(err, VARVE_ECORRUPT, "the index has no count");
    at += n;
    for (uint64_t i = 0; i < *count; i++) {
        struct index_entry entry = {0};
        n = index_entry_get(at, end, &entry);
        if (n == 0 || entry.shared > key_len || entry.shared + entry.unshared > INDEX_KEY_MAX_BYTES)
            return err_set(err, VARVE_ECORRUPT, "the index has a bad entry %llu",
                           (unsigned long long)i);
        at += n;
        key_len = entry.shared + entry.unshared;
        *key_bytes += key_len;
        if (entry.len > BLOCK_PAYLOAD_MAX_BYTES || file_at > data_end ||
            entry.gap > data_end - file_at ||
            entry.len + BLOCK_TRAILER_BYTES > data_end - file_at - entry.gap)
            return err_set(err, VARVE_ECORRUPT, "the index has block %llu outside of the data",
                           (unsigned long long)i);
        file_at += entry.gap + entry.len + BLOCK_TRAILER_BYTES;
    }
    if (at != end || (file_at != data_end && !MUTANT("index-end-unchecked")))
        return err_set(err, VARVE_ECORRUPT, "the index ends in the wrong place");
    if (*count >= UINT32_MAX || *key_bytes > UINT32_MAX)
        return err_set(err, VARVE_ECORRUPT, "the index is too large");
    return 0;
}

static int index_order_ok(const struct segment_index *index, uint32_t i)
{
    if (i == 0)
        return 1;
    struct varve_slice key = segment_index_key(index, i);
    int order = varve_slice_compare(segment_index_key(index, i - 1), key);
    return order < 0 || (order == 0 && key.len == INDEX_KEY_MAX_BYTES);
}

/* The payload was measured. */
static int index_fill(struct segment_index *index, struct varve_slice payload, uint32_t count,
                      struct varve_err *err)
{
    const uint8_t *at = payload.data;
    const uint8_t *end = at + payload.len;
    uint64_t file_at = FILE_HEADER_BYTES;
    uint64_t unused;
    uint8_t *key = index->keys;

    at += get_varint(at, end, &unused);
    for (uint32_t i = 0; i < count; i++) {
        struct index_entry entry = {0};
        at += index_entry_get(at, end, &entry);
        if (i > 0 && entry.shared > 0)
            memcpy(key, index->keys + index->key_at[i - 1], entry.shared);
        if (entry.unshared > 0)
            memcpy(key + entry.shared, entry.bytes, entry.unshared);
        index->key_at[i] = (uint32_t)(key - index->keys);
        key += entry.shared + entry.unshared;
        index->key_at[i + 1] = (uint32_t)(key - index->keys);
        index->offsets[i] = file_at + entry.gap;
        index->lens[i] = (uint32_t)entry.len;
        file_at += entry.gap + entry.len + BLOCK_TRAILER_BYTES;
        if (!index_order_ok(index, i))
            return err_set(err, VARVE_ECORRUPT, "the index is out of order at entry %u", i);
    }
    index->count = count;
    return 0;
}

static uint64_t groups_of(uint64_t count)
{
    return (count + INDEX_FAN - 1) / INDEX_FAN;
}

/* What the first and the last share, all between them do. A level is filled up with the largest number,
 * which is smaller than none. */
static void index_slice(struct segment_index *index)
{
    uint32_t count = index->count > 0 ? index->count - 1 : 0;

    if (count > 0)
        index->shared_len = key_common_bytes(segment_index_key(index, 1),
                                             segment_index_key(index, count));
    for (uint32_t i = 0; i <= count && i < index->count; i++) {
        struct varve_slice separator = segment_index_key(index, i);
        if (i > 0)
            index->levels[0][i - 1] = key_slice_at(separator, index->shared_len);
        index->has_cut |= separator.len == INDEX_KEY_MAX_BYTES;
    }
    for (uint32_t level = 0; level < index->level_count; level++) {
        uint64_t *numbers = index->levels[level];
        uint64_t groups = groups_of(count);
        for (uint64_t i = count; i < groups * INDEX_FAN; i++)
            numbers[i] = UINT64_MAX;
        for (uint64_t i = 0; level + 1 < index->level_count && i < groups; i++)
            index->levels[level + 1][i] = numbers[i * INDEX_FAN];
        count = (uint32_t)groups;
    }
}

/* One piece of memory: the levels, aligned to cache lines, then the rest. 0, or there is none. */
static int index_alloc(struct segment_index *index, uint64_t count, uint64_t key_bytes)
{
    uint64_t groups[INDEX_LEVELS_MAX];
    uint64_t numbers = 0;
    uint64_t left = count > 0 ? count - 1 : 0;

    while (left > 0 && (index->level_count == 0 || left > 1)) {
        left = groups_of(left);
        groups[index->level_count++] = left;
        numbers += left * INDEX_FAN;
    }
    index->memory_bytes = INDEX_LINE_BYTES + numbers * 8 + count * (8 + 4 + 4) + 4 + key_bytes;
    index->memory = mem_alloc(index->memory_bytes);
    if (index->memory == NULL)
        return VARVE_ENOMEM;
    uint64_t *at = (uint64_t *)(void *)(index->memory +
                                        (-(uintptr_t)index->memory & (INDEX_LINE_BYTES - 1)));
    for (uint32_t i = 0; i < index->level_count; i++) {
        index->levels[i] = at;
        at += groups[i] * INDEX_FAN;
    }
    index->offsets = at;
    index->lens = (uint32_t *)(void *)(index->offsets + count);
    index->key_at = index->lens + count;
    index->keys = (uint8_t *)(index->key_at + count + 1);
    return 0;
}

int segment_index_open(struct segment_index *index, struct varve_slice payload, uint64_t data_end,
                       struct varve_err *err)
{
    uint64_t count = 0;
    uint64_t key_bytes = 0;
    int rc = index_measure(payload, data_end, &count, &key_bytes, err);

    memset(index, 0, sizeof(*index));
    if (rc != 0)
        return rc;
    if (index_alloc(index, count, key_bytes) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for the index");
    index->key_at[0] = 0;
    rc = index_fill(index, payload, (uint32_t)count, err);
    if (rc != 0)
        segment_index_deinit(index);
    else
        index_slice(index);
    return rc;
}

void segment_index_deinit(struct segment_index *index)
{
    mem_free(index->memory);
    memset(index, 0, sizeof(*index));
}

/* How many of the slices are smaller; no branch depends on them. */
static uint32_t count_smaller(const struct segment_index *index, uint64_t than)
{
    uint32_t at = 0;

    for (uint32_t level = index->level_count; level-- > 0;) {
        const uint64_t *group = index->levels[level] + (size_t)at * INDEX_FAN;
        uint32_t smaller = 0;
        for (uint32_t i = 0; i < INDEX_FAN; i++)
            smaller += group[i] < than;
        /* A group lies behind its first number, which is the one in the level above. */
        at = at * INDEX_FAN + smaller - (level > 0 && smaller > 0);
    }
    return at;
}

/* Of the separators but the first, where the first one lies that is greater than key. */
static uint32_t index_upper(const struct segment_index *index, struct varve_slice key)
{
    uint32_t count = index->count - 1;
    size_t shared = index->shared_len;
    size_t compared = key.len < shared ? key.len : shared;
    int order = compared == 0 ? 0 : memcmp(key.data, segment_index_key(index, 1).data, compared);

    if (order != 0 || key.len < shared)
        return order > 0 ? index->count : 1;
    uint64_t slice = key_slice_at(key, shared);
    uint32_t low = count_smaller(index, slice);
    uint32_t high = low;
    if (low < count && index->levels[0][low] == slice)
        high = slice == UINT64_MAX ? count : count_smaller(index, slice + 1);
    for (low++, high++; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (varve_slice_compare(segment_index_key(index, middle), key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many separators are not greater than key. */
static uint32_t index_not_greater(const struct segment_index *index, struct varve_slice key)
{
    uint32_t found = index->count > 1 ? index_upper(index, key) : index->count;

    if (found != 1)
        return found;
    return varve_slice_compare(segment_index_key(index, 0), key) <= 0;
}

int segment_index_find(const struct segment_index *index, struct varve_slice key, uint32_t *first,
                       uint32_t *last)
{
    uint32_t found = index_not_greater(index, key);

    if (found == 0)
        return 0;
    *last = found - 1;
    *first = found - 1;
    if (LIKELY(!index->has_cut))
        return 1;
    struct varve_slice separator = segment_index_key(index, *last);
    if (separator.len < INDEX_KEY_MAX_BYTES)
        return 1;
    /* It may have been cut: the block before the first of the same may reach beyond it. */
    uint32_t low = 0;
    while (low < *first) {
        uint32_t middle = low + (*first - low) / 2;
        if (varve_slice_compare(segment_index_key(index, middle), separator) < 0)
            low = middle + 1;
        else
            *first = middle;
    }
    if (*first > 0)
        --*first;
    if (MUTANT("ties-ignored"))
        *first = *last;
    return 1;
}
