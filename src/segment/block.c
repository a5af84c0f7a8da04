/* A block is read in two passes over its payload. The first checks every length and adds up what the flat
 * form takes; the second fills it and checks the order of the keys. So there is one allocation of the
 * right size, and none on the word of a length that was not checked.
 *
 * A lookup goes by the hashes: memchr() over one byte a key, then the keys that have it, on average one
 * wrong one in 256. Where a block has very many entries (large blocks, many versions of a key) the binary
 * search touches less. A scan's seek goes by slices: 4 bytes of each key, behind what all of the block share,
 * side by side, so that it touches no key but those that have the same. */
#include "segment/block_format.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "env/file_header.h"
#include "varve/batch.h"

#define HASH_SEARCH_MAX 512
#define LINEAR_SEARCH_MAX 64 /* slices that are compared one by one: no branch waits for memory */
#define LINE_BYTES 64

/* ---- decoding ---- */

struct parse {
    const uint8_t *at;
    const uint8_t *end;
    enum block_kind kind;
    uint64_t value_limit;
    uint64_t seq_base;
    uint64_t key_len; /* of the entry before */
};

struct parsed {
    uint64_t seq;
    uint64_t shared;
    uint64_t unshared;
    uint64_t value_len;
    uint64_t expire_ms;
    uint64_t value_offset;
    uint32_t crc;
    uint8_t flags;
    const uint8_t *key; /* the unshared bytes */
    const uint8_t *value;
};

static int take_varint(struct parse *parse, uint64_t *v)
{
    size_t n;

    /* Nearly all have one byte. */
    if (LIKELY(parse->at < parse->end && *parse->at < 0x80)) {
        *v = *parse->at++;
        return 1;
    }
    n = get_varint(parse->at, parse->end, v);
    parse->at += n;
    return n != 0;
}

static uint64_t bytes_left(const struct parse *parse)
{
    return (uint64_t)(parse->end - parse->at);
}

static const char *check_flags(enum block_kind kind, uint8_t flags)
{
    unsigned chunk_kind = flags & ENTRY_KIND_MASK;
    unsigned known = ENTRY_KIND_MASK;

    if (kind == BLOCK_RANGES) {
        if (chunk_kind != CHUNK_RANGE_DELETE)
            return "entry that is no range tombstone";
    } else {
        if (chunk_kind != CHUNK_PUT && chunk_kind != CHUNK_DELETE)
            return "entry of an unknown kind";
        known |= ENTRY_PRIOR_UNKNOWN;
        if (chunk_kind == CHUNK_PUT)
            known |= ENTRY_HAS_EXPIRY | ENTRY_VALUE_OUTSIDE;
    }
    return (flags & ~known) != 0 ? "entry with impossible flags" : NULL;
}

/* The value's length and place; the lengths of all that follows are then known. */
static const char *parse_value(struct parse *parse, struct parsed *entry)
{
    unsigned kind = entry->flags & ENTRY_KIND_MASK;
    int is_outside = (entry->flags & ENTRY_VALUE_OUTSIDE) != 0;

    if (kind != CHUNK_DELETE &&
        (!take_varint(parse, &entry->value_len) || entry->value_len > VARVE_VALUE_MAX_BYTES))
        return "entry with an impossible value length";
    if (kind == CHUNK_PUT && (entry->value_len >= BLOCK_LARGE_VALUE_BYTES) != is_outside)
        return "entry whose value lies in the wrong place";
    if (entry->flags & ENTRY_HAS_EXPIRY) {
        if (bytes_left(parse) < 8)
            return "entry that is cut short";
        entry->expire_ms = get_u64(parse->at);
        parse->at += 8;
        if (entry->expire_ms == 0)
            return "entry with an impossible expiry";
    }
    if (is_outside) {
        uint64_t need = entry->value_len + BLOCK_TRAILER_BYTES;
        if (!take_varint(parse, &entry->value_offset) || entry->value_offset < FILE_HEADER_BYTES ||
            need > parse->value_limit || entry->value_offset > parse->value_limit - need)
            return "entry whose value block cannot be";
    }
    return NULL;
}

/* The next entry; NULL, or what is wrong with it. */
static const char *parse_entry(struct parse *parse, struct parsed *entry)
{
    uint64_t delta;

    *entry = (struct parsed){0};
    if (bytes_left(parse) < ENTRY_MIN_BYTES)
        return "entry that is cut short";
    entry->flags = *parse->at++;
    const char *what = check_flags(parse->kind, entry->flags);
    if (what != NULL)
        return what;
    if (!take_varint(parse, &entry->shared) || !take_varint(parse, &entry->unshared) ||
        entry->shared > parse->key_len || entry->unshared > VARVE_KEY_MAX_BYTES ||
        entry->shared + entry->unshared > VARVE_KEY_MAX_BYTES)
        return "entry with an impossible key length";
    if (!take_varint(parse, &delta) || delta > UINT64_MAX - parse->seq_base)
        return "entry with an impossible sequence";
    entry->seq = parse->seq_base + delta;
    if (bytes_left(parse) < 4)
        return "entry that is cut short";
    entry->crc = get_u32(parse->at);
    parse->at += 4;
    what = parse_value(parse, entry);
    if (what != NULL)
        return what;
    uint64_t in_place = entry->flags & ENTRY_VALUE_OUTSIDE ? 0 : entry->value_len;
    if (bytes_left(parse) < entry->unshared + in_place)
        return "entry that is cut short";
    entry->key = parse->at;
    entry->value = parse->at + entry->unshared;
    parse->at = entry->value + in_place;
    parse->key_len = entry->shared + entry->unshared;
    return NULL;
}

static uint64_t flat_size(const struct parsed *entry)
{
    uint64_t in_place = entry->flags & ENTRY_VALUE_OUTSIDE ? 0 : entry->value_len;

    return flat_key_at(entry->flags) + entry->shared + entry->unshared + in_place;
}

/* The first pass, behind the head. */
static const char *measure(struct parse parse, uint32_t count, size_t payload_len,
                           uint64_t *flat_bytes)
{
    uint64_t shared = 0;
    int has_base = 0;
    struct parsed entry;

    *flat_bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        const char *what = parse_entry(&parse, &entry);
        if (what != NULL)
            return what;
        shared += entry.shared;
        *flat_bytes += flat_size(&entry);
        has_base |= entry.seq == parse.seq_base;
        if (shared > block_shared_max(payload_len) || *flat_bytes > BLOCK_FLAT_MAX_BYTES)
            return "keys that share more than they may";
    }
    if (parse.at != parse.end)
        return "bytes behind the last entry";
    return has_base ? NULL : "no entry with the base sequence";
}

struct fill {
    uint8_t *entries;
    uint32_t *offsets;
    uint8_t *hashes;         /* NULL: of a ranges block */
    uint32_t used;           /* of entries */
    struct varve_slice last; /* key, in entries */
    uint64_t last_seq;
    struct bloom_hash hash; /* of last */
};

static const char *fill_entry(struct fill *fill, uint32_t i, const struct parsed *entry)
{
    uint8_t *flat = fill->entries + fill->used;
    uint8_t *key = flat + flat_key_at(entry->flags);
    size_t key_len = (size_t)(entry->shared + entry->unshared);
    size_t in_place = entry->flags & ENTRY_VALUE_OUTSIDE ? 0 : (size_t)entry->value_len;
    int order = 1;

    if (i > 0)
        order = varve_slice_compare(
            varve_slice(entry->key, entry->unshared),
            varve_slice(fill->last.data + entry->shared, fill->last.len - entry->shared));
    if (order < 0 ||
        (order == 0 && entry->seq >= fill->last_seq && !MUTANT("block-order-of-versions")))
        return "entries out of order";
    if (entry->shared > 0)
        memcpy(key, fill->last.data, entry->shared);
    memcpy(key + entry->shared, entry->key, entry->unshared);
    memcpy(key + key_len, entry->value, in_place);
    put_u64(flat + FLAT_SEQ, entry->seq);
    put_u32(flat + FLAT_CRC, entry->crc);
    put_u32(flat + FLAT_KEY_LEN, (uint32_t)key_len);
    put_u32(flat + FLAT_VALUE_LEN, (uint32_t)entry->value_len);
    flat[FLAT_FLAGS] = (uint8_t)(entry->flags | (order == 0 ? FLAT_SAME_KEY : 0));
    uint8_t *optional = flat + FLAT_HEAD_BYTES;
    if (entry->flags & ENTRY_HAS_EXPIRY) {
        put_u64(optional, entry->expire_ms);
        optional += 8;
    }
    if (entry->flags & ENTRY_VALUE_OUTSIDE)
        put_u64(optional, entry->value_offset);
    fill->last = varve_slice(key, key_len);
    fill->last_seq = entry->seq;
    fill->offsets[i] = fill->used;
    if (fill->hashes != NULL) {
        if (order != 0)
            fill->hash = bloom_hash(fill->last);
        fill->hashes[i] = block_hash_byte(fill->hash);
    } else if (varve_slice_compare(fill->last, varve_slice(entry->value, in_place)) >= 0) {
        return "range tombstone that ends before it begins";
    }
    fill->used += (uint32_t)(key + key_len + in_place - flat);
    return NULL;
}

/* The second pass. */
static const char *fill_block(struct parse parse, struct fill *fill, uint32_t count)
{
    struct parsed entry;

    for (uint32_t i = 0; i < count; i++) {
        const char *what = parse_entry(&parse, &entry);
        if (what == NULL)
            what = fill_entry(fill, i, &entry);
        if (what != NULL)
            return what;
    }
    return NULL;
}

static void block_destroy(struct cached *cached)
{
    mem_free(cached);
}

/* What the first and the last key share, all between them do. */
static uint32_t common_prefix(const struct block *block)
{
    struct varve_slice first = block_key(block, 0);
    struct varve_slice last = block_key(block, block->count - 1);
    uint32_t n = 0;

    while (n < first.len && n < last.len && first.data[n] == last.data[n])
        n++;
    return n;
}

/* The first bytes as a number that orders as they do; zeros behind a shorter key. */
static inline uint32_t key_slice(struct varve_slice key)
{
    uint32_t slice = 0;

    if (LIKELY(key.len >= sizeof(slice)))
        memcpy(&slice, key.data, sizeof(slice));
    else if (key.len > 0)
        memcpy(&slice, key.data, key.len);
    return __builtin_bswap32(slice);
}

static void fill_slices(const struct block *block, uint32_t *slices)
{
    for (uint32_t i = 0; i < block->count; i++) {
        struct varve_slice key = block_key(block, i);
        slices[i] = key_slice(
            varve_slice(key.data + block->prefix_len, key.len - block->prefix_len));
    }
}

static const char *parse_head(struct parse *parse, uint64_t *count)
{
    if (!take_varint(parse, count) || *count == 0 || !take_varint(parse, &parse->seq_base))
        return "no head";
    if (*count > bytes_left(parse) / ENTRY_MIN_BYTES || *count > UINT32_MAX)
        return "more entries than bytes";
    return NULL;
}

int block_decode(struct varve_slice payload, enum block_kind kind, uint64_t value_limit,
                 struct block **out, struct varve_err *err)
{
    struct parse parse = {
        .at = payload.data,
        .end = payload.data + payload.len,
        .kind = kind,
        .value_limit = value_limit,
    };
    uint64_t count;
    uint64_t flat_bytes;

    CHECK(kind == BLOCK_DATA || kind == BLOCK_RANGES);
    *out = NULL;
    const char *what = parse_head(&parse, &count);
    if (what == NULL)
        what = measure(parse, (uint32_t)count, payload.len, &flat_bytes);
    if (what != NULL)
        return err_set(err, VARVE_ECORRUPT, "block has %s", what);

    size_t slices_at = sizeof(struct block);
    size_t offsets_at = slices_at + (size_t)count * sizeof(uint32_t);
    size_t hashes_at = offsets_at + (size_t)count * sizeof(uint32_t);
    size_t entries_at = hashes_at + (kind == BLOCK_DATA ? (size_t)count : 0);
    size_t size = entries_at + (size_t)flat_bytes;
    uint8_t *memory = mem_alloc(size);
    if (memory == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a block of %zu bytes", size);
    struct fill fill = {
        .entries = memory + entries_at,
        .offsets = (uint32_t *)(void *)(memory + offsets_at),
        .hashes = kind == BLOCK_DATA ? memory + hashes_at : NULL,
    };
    what = fill_block(parse, &fill, (uint32_t)count);
    if (what != NULL) {
        mem_free(memory);
        return err_set(err, VARVE_ECORRUPT, "block has %s", what);
    }
    struct block *block = (struct block *)(void *)memory;
    *block = (struct block){
        .count = (uint32_t)count,
        .slices = (uint32_t *)(void *)(memory + slices_at),
        .offsets = fill.offsets,
        .hashes = fill.hashes,
        .entries = fill.entries,
    };
    block->cached.charge_bytes = size;
    block->cached.destroy = block_destroy;
    atomic_init(&block->cached.refs, 1);
    block->prefix_len = common_prefix(block);
    fill_slices(block, (uint32_t *)(void *)(memory + slices_at));
    *out = block;
    return 0;
}

/* ---- reading ---- */

static inline const uint8_t *flat_at(const struct block *block, uint32_t i)
{
    return block->entries + block->offsets[i];
}

static inline struct varve_slice flat_key(const uint8_t *flat)
{
    return varve_slice(flat + flat_key_at(flat[FLAT_FLAGS]), get_u32(flat + FLAT_KEY_LEN));
}

struct varve_slice block_key(const struct block *block, uint32_t i)
{
    CHECK(i < block->count);
    return flat_key(flat_at(block, i));
}

void block_entry(const struct block *block, uint32_t i, struct entry *entry)
{
    CHECK(i < block->count);
    const uint8_t *flat = flat_at(block, i);
    const uint8_t *optional = flat + FLAT_HEAD_BYTES;
    uint8_t flags = flat[FLAT_FLAGS];

    *entry = (struct entry){
        .seq = get_u64(flat + FLAT_SEQ),
        .prior_unknown = (flags & ENTRY_PRIOR_UNKNOWN) != 0,
        .same_key = (flags & FLAT_SAME_KEY) != 0,
    };
    entry->chunk.kind = (enum chunk_kind)(flags & ENTRY_KIND_MASK);
    entry->chunk.crc = get_u32(flat + FLAT_CRC);
    entry->chunk.key = flat_key(flat);
    const uint8_t *value = entry->chunk.key.data + entry->chunk.key.len;
    if (flags & ENTRY_HAS_EXPIRY) {
        entry->chunk.expire_ms = get_u64(optional);
        optional += 8;
    }
    if (flags & ENTRY_VALUE_OUTSIDE) {
        entry->value_offset = get_u64(optional);
        value = NULL;
    }
    entry->chunk.value = varve_slice(value, get_u32(flat + FLAT_VALUE_LEN));
}

/* How many of the slices are smaller. */
static uint32_t smaller_slices(const struct block *block, uint32_t than)
{
    const uint32_t *base = block->slices;
    uint32_t count = block->count;
    uint32_t smaller = 0;

    while (count > LINEAR_SEARCH_MAX) {
        uint32_t half = count / 2;
        base += base[half - 1] < than ? half : 0;
        count -= half;
    }
    for (uint32_t i = 0; i < count; i++)
        smaller += base[i] < than;
    return (uint32_t)(base - block->slices) + smaller;
}

/* Slices, offsets and the first entry of a usual block come side by side, not one after the other. */
static void prefetch_head(const struct block *block)
{
    const uint8_t *at = (const uint8_t *)block->slices;

    for (int line = 0; line < 8; line++)
        __builtin_prefetch(at + line * LINE_BYTES);
    __builtin_prefetch(block->entries);
}

/* The first entry that does not lie before (key, seq); with behind, before any of the key. */
static uint32_t search(const struct block *block, struct varve_slice key, uint64_t seq, int behind)
{
    prefetch_head(block);
    struct varve_slice prefix = varve_slice(flat_key(block->entries).data, block->prefix_len);
    if (key.len < prefix.len || (prefix.len > 0 && memcmp(key.data, prefix.data, prefix.len) != 0))
        return varve_slice_compare(key, prefix) < 0 ? 0 : block->count;
    uint32_t slice = key_slice(varve_slice(key.data + prefix.len, key.len - prefix.len));
    uint32_t low = smaller_slices(block, slice);
    uint32_t high = low;
    if (low < block->count && block->slices[low] == slice)
        high = slice == UINT32_MAX ? block->count : smaller_slices(block, slice + 1);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const uint8_t *flat = flat_at(block, middle);
        int order = varve_slice_compare(flat_key(flat), key);
        if (order < 0 || (order == 0 && (behind || get_u64(flat + FLAT_SEQ) > seq)))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t block_seek(const struct block *block, struct varve_slice key, int behind)
{
    return search(block, key, UINT64_MAX, behind);
}

/* Of the versions from i on, which are one key's. */
static int64_t visible_version(const struct block *block, uint32_t i, uint64_t seq_max)
{
    while (get_u64(flat_at(block, i) + FLAT_SEQ) > seq_max && !MUTANT("block-find-newest")) {
        i++;
        if (i == block->count || !(flat_at(block, i)[FLAT_FLAGS] & FLAT_SAME_KEY))
            return -1;
    }
    return i;
}

int64_t block_find(const struct block *block, struct varve_slice key, struct bloom_hash hash,
                   uint64_t seq_max)
{
    const uint8_t *at = block->hashes;
    const uint8_t *end = block->hashes + block->count;

    CHECK(block->hashes != NULL);
    if (block->count > HASH_SEARCH_MAX) {
        uint32_t i = search(block, key, seq_max, 0);
        return i < block->count && varve_slice_equal(block_key(block, i), key) ? (int64_t)i : -1;
    }
    while (at < end && (at = memchr(at, block_hash_byte(hash), (size_t)(end - at))) != NULL) {
        uint32_t i = (uint32_t)(at - block->hashes);
        if (varve_slice_equal(flat_key(flat_at(block, i)), key))
            return visible_version(block, i, seq_max);
        at++;
    }
    return -1;
}
