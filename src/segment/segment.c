#include "segment/segment.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/rcu.h"
#include "segment/segment_impl.h"

uint64_t segment_file_no(const struct segment *segment)
{
    return segment->file_no;
}

uint64_t segment_size_bytes(const struct segment *segment)
{
    return segment->size_bytes;
}

uint64_t segment_pinned_bytes(const struct segment *segment)
{
    return segment->pinned_bytes;
}

void segment_set_note(struct segment *segment, uint64_t note)
{
    segment->note = note;
}

uint64_t segment_note(const struct segment *segment)
{
    return segment->note;
}

const struct properties *segment_properties(const struct segment *segment)
{
    return &segment->properties;
}

uint64_t segment_block_reads(const struct segment *segment)
{
    return atomic_load_explicit(segment->block_reads, memory_order_relaxed);
}

size_t segment_range_count(const struct segment *segment)
{
    return segment->ranges == NULL ? 0 : segment->ranges->count;
}

void segment_range(const struct segment *segment, size_t i, struct entry *entry)
{
    CHECK(i < segment_range_count(segment));
    block_entry(segment->ranges, (uint32_t)i, entry);
}

int segment_may_hold(const struct segment *segment, struct bloom_hash hash)
{
    return bloom_may_hold(&segment->bloom, hash);
}

void segment_prefetch_filter(const struct segment *segment, struct bloom_hash hash)
{
    if (segment->bloom.line_count > 0)
        __builtin_prefetch(bloom_line(&segment->bloom, hash));
}

void segment_prefetch_block(const struct segment *segment, struct varve_slice key)
{
    uint32_t first;
    uint32_t last;

    if (segment->slots == NULL || !segment_index_find(&segment->index, key, &first, &last))
        return;
    struct cached *cached = atomic_load_explicit(segment->slots + first, memory_order_acquire);
    if (cached != NULL)
        block_prefetch(block_of(cached));
}

int segment_get(struct segment *segment, struct varve_slice key, struct bloom_hash hash,
                uint64_t seq_max, const struct segment_read *read, struct entry *entry,
                struct segment_hold *hold, struct varve_err *err)
{
    uint32_t i;
    int rc = segment_find_block(segment, key, read, &i, hold, err);

    if (rc != 0)
        return rc;
    const struct block *block = block_of(hold->cached);
    block_prefetch(block);
    int64_t found = block_find(block, key, hash, seq_max);
    if (found < 0) {
        segment_hold_release(hold);
        return VARVE_NOT_FOUND;
    }
    segment_entry(segment, block, (uint32_t)found, entry);
    if (entry_value_apart(entry))
        return 0; /* entry_value() checks it */
    if (UNLIKELY(chunk_crc(&entry->chunk) != entry->chunk.crc)) {
        segment_hold_release(hold);
        rc = err_set(err, VARVE_ECORRUPT, "a record's CRC does not match");
        return segment_fail(segment, segment->index.offsets[i], rc, err);
    }
    return 0;
}

/* ---- values in blocks of their own ---- */

struct value {
    struct cached cached; /* first */
    uint8_t bytes[];      /* the value, then the block's trailer */
};

static void value_destroy(struct cached *cached)
{
    mem_free(cached);
}

/* Does a value block of so many bytes lie there? The entry that says so was checked, but against what it
 * says itself. */
static int value_place_ok(const struct segment *segment, uint64_t offset, uint64_t len)
{
    return offset >= FILE_HEADER_BYTES && offset <= segment->data_end &&
           segment->data_end - offset >= BLOCK_TRAILER_BYTES &&
           segment->data_end - offset - BLOCK_TRAILER_BYTES >= len;
}

static int value_misplaced(const struct segment *segment, uint64_t offset, struct varve_err *err)
{
    int rc = err_set(err, VARVE_ECORRUPT, "no value block can lie here");

    return segment_fail(segment, offset, rc, err);
}

static int value_chunk_check(const struct entry *entry, const uint8_t *bytes, struct varve_err *err)
{
    struct chunk chunk = entry->chunk;

    chunk.value.data = bytes;
    if (chunk_crc(&chunk) == chunk.crc)
        return 0;
    return err_set(err, VARVE_ECORRUPT, "a record's CRC does not match");
}

/* A long one's CRC is checked on its way in, a short one's on each read. */
static int value_long_check(const struct entry *entry, const uint8_t *bytes, struct varve_err *err)
{
    if (entry->chunk.value.len <= CHUNK_CRC_EACH_READ_MAX_BYTES)
        return 0;
    int rc = value_chunk_check(entry, bytes, err);
    return rc == 0 ? 0 : segment_fail(entry->value_segment, entry->value_offset, rc, err);
}

static int value_check(const struct segment *segment, const struct entry *entry,
                       const uint8_t *bytes, struct varve_err *err)
{
    size_t len = entry->chunk.value.len;
    uint32_t crc = block_crc_begin(segment->salt, entry->value_offset);

    crc = crc32c(crc, bytes, len);
    int rc = block_trailer_check_plain(bytes + len, crc, BLOCK_VALUE, err);
    if (rc != 0)
        return segment_fail(segment, entry->value_offset, rc, err);
    return value_long_check(entry, bytes, err);
}

int segment_read_packed(const struct entry *entry, enum segment_wait wait, uint8_t *to,
                        struct varve_err *err)
{
    const struct segment *segment = entry->value_segment;
    uint64_t offset = entry->value_offset;
    size_t len = entry->value_packed_len;
    const uint8_t *trailer = to + len;

    if (!value_place_ok(segment, offset, len))
        return value_misplaced(segment, offset, err);
    int rc = segment_read_bytes(segment, wait, to, len + BLOCK_TRAILER_BYTES, offset, err);
    if (rc != 0)
        return rc;
    uint32_t crc = crc32c(block_crc_begin(segment->salt, offset), to, len);
    rc = block_trailer_check_crc(trailer, crc, BLOCK_VALUE, err);
    if (rc == 0 && block_compression(trailer) == 0)
        rc = err_set(err, VARVE_ECORRUPT, "a value is not compressed, but its record says so");
    if (MUTANT("skip-packed-crc"))
        return 0;
    return rc == 0 ? 0 : segment_fail(segment, offset, rc, err);
}

int segment_unpack_value(const struct entry *entry, enum segment_wait wait, uint8_t *to,
                         struct varve_err *err)
{
    const struct segment *segment = entry->value_segment;
    size_t len = entry->value_packed_len;
    uint8_t *bytes = mem_alloc(len + BLOCK_TRAILER_BYTES);

    if (bytes == NULL)
        return segment_fail(segment, entry->value_offset,
                            err_set(err, VARVE_ENOMEM, "no memory for %zu bytes", len), err);
    int rc = segment_read_packed(entry, wait, bytes, err);
    if (rc == 0) {
        rc = block_unpack(varve_slice(bytes, len), to, entry->chunk.value.len, err);
        if (rc != 0)
            segment_fail(segment, entry->value_offset, rc, err);
    }
    mem_free(bytes);
    return rc;
}

/* The value, and its block's trailer if it is not compressed. */
static int value_load(const struct entry *entry, enum segment_wait wait, uint8_t *to,
                      struct varve_err *err)
{
    const struct segment *segment = entry->value_segment;
    size_t len = entry->chunk.value.len;
    int rc;

    if (entry->value_packed_len > 0) {
        rc = segment_unpack_value(entry, wait, to, err);
        return rc == 0 ? value_long_check(entry, to, err) : rc;
    }
    rc = segment_read_bytes(segment, wait, to, len + BLOCK_TRAILER_BYTES, entry->value_offset, err);
    return rc == 0 ? value_check(segment, entry, to, err) : rc;
}

static int value_read(const struct entry *entry, const struct segment_read *read,
                      struct value **out, struct varve_err *err)
{
    const struct segment *segment = entry->value_segment;
    uint64_t offset = entry->value_offset;
    size_t len = entry->chunk.value.len + BLOCK_TRAILER_BYTES;
    int rc;

    *out = NULL;
    /* Wherever it lies, to copy and check it takes longer than who must not wait has. */
    size_t most = entry->value_packed_len > 0 ? VALUE_CACHED_MAX_BYTES : VALUE_NO_WAIT_MAX_BYTES;
    if (read->wait == SEGMENT_NO_WAIT && len > most && !MUTANT("long-value-at-once"))
        return VARVE_WOULD_BLOCK;
    if (!value_place_ok(segment, offset,
                        entry->value_packed_len > 0 ? entry->value_packed_len
                                                    : entry->chunk.value.len))
        return value_misplaced(segment, offset, err);
    struct value *value = mem_alloc(sizeof(*value) + len);
    if (value == NULL) {
        rc = err_set(err, VARVE_ENOMEM, "no memory for a value of %zu bytes", len);
        return segment_fail(segment, offset, rc, err);
    }
    memset(value, 0, sizeof(*value));
    rc = value_load(entry, read->wait, value->bytes, err);
    if (rc != 0) {
        mem_free(value);
        return rc;
    }
    atomic_init(&value->cached.refs, 1);
    value->cached.destroy = value_destroy;
    value->cached.owner = segment->owner;
    value->cached.offset = offset;
    value->cached.charge_bytes = sizeof(*value) + len;
    *out = value;
    return 0;
}

/* Inside rcu. */
static int value_get(const struct entry *entry, const struct segment_read *read,
                     struct segment_hold *hold, struct varve_err *err)
{
    const struct segment *segment = entry->value_segment;
    int cacheable = segment->cache != NULL && entry->chunk.value.len <= VALUE_CACHED_MAX_BYTES;
    struct value *value;

    if (cacheable) {
        hold->cached = cache_find(segment->cache, segment->owner, entry->value_offset);
        if (hold->cached != NULL)
            return 0;
    }
    int rc = value_read(entry, read, &value, err);
    if (rc != 0)
        return rc;
    hold->cached = &value->cached;
    hold->counted = 1;
    if (cacheable && !read->no_fill)
        (void)cache_insert(segment->cache, &value->cached);
    return 0;
}

int entry_value(const struct entry *entry, const struct segment_read *read, struct varve_slice *out,
                struct segment_hold *hold, struct varve_err *err)
{
    const struct segment *segment = entry->value_segment;
    size_t len = entry->chunk.value.len;

    *hold = (struct segment_hold){0};
    *out = entry->chunk.value;
    if (!entry_value_apart(entry))
        return 0;
    int inside = rcu_inside();
    if (!inside)
        rcu_enter();
    int rc = value_get(entry, read, hold, err);
    if (rc == 0 && !inside)
        segment_hold_keep(hold);
    if (!inside)
        rcu_leave();
    *out = varve_slice(NULL, 0);
    if (rc != 0)
        return rc;
    const struct value *value = (const struct value *)(const void *)hold->cached;
    if (hold->cached->charge_bytes != sizeof(*value) + len + BLOCK_TRAILER_BYTES)
        rc = err_set(err, VARVE_ECORRUPT, "two records name this value block");
    else if (len <= CHUNK_CRC_EACH_READ_MAX_BYTES)
        rc = value_chunk_check(entry, value->bytes, err);
    if (rc != 0) {
        segment_hold_release(hold);
        return segment_fail(segment, entry->value_offset, rc, err);
    }
    *out = varve_slice(value->bytes, len);
    return 0;
}

int segment_read_value(const struct segment *segment, uint64_t value_offset, uint64_t at, void *to,
                       size_t len, struct varve_err *err)
{
    uint64_t end;

    if (__builtin_add_overflow(at, len, &end) || !value_place_ok(segment, value_offset, end))
        return value_misplaced(segment, value_offset, err);
    int rc = segment_read_bytes(segment, SEGMENT_WAIT, to, len, value_offset + at, err);
    if (rc == 0 && at > 0) /* a long one, piece by piece */
        segment->env->ops->read_ahead(segment->env, segment->file, value_offset + end, len);
    return rc;
}

/* ---- stretches ---- */

size_t segment_stretch_count(const struct segment *segment)
{
    uint32_t blocks = segment->index.count;

    return blocks < SEGMENT_STRETCHES_MAX ? blocks : SEGMENT_STRETCHES_MAX;
}

uint64_t segment_stretch(const struct segment *segment, size_t i, struct varve_slice *lower,
                         struct varve_slice *upper)
{
    const struct segment_index *index = &segment->index;
    size_t count = segment_stretch_count(segment);
    uint32_t from = (uint32_t)(index->count * (uint64_t)i / count);
    uint32_t to = (uint32_t)(index->count * (uint64_t)(i + 1) / count);
    uint64_t begin = from == 0 ? 0 : index->offsets[from - 1] + index->lens[from - 1];

    CHECK(i < count);
    *lower = from == 0 ? segment_bound_slice(&segment->properties.lower)
                       : segment_index_key(index, from);
    *upper = to == index->count ? segment_bound_slice(&segment->properties.upper)
                                : segment_index_key(index, to);
    return index->offsets[to - 1] + index->lens[to - 1] - begin;
}
