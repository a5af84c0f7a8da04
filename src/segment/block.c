/* A block is read in two passes over its payload. The first checks every length and adds up what the flat
 * form takes; the second fills it and checks the order of the keys. So there is one allocation of the
 * right size, and none on the word of a length that was not checked.
 *
 * A lookup goes by the hashes: memchr() over one byte a key, then the keys that have it, on average one
 * wrong one in 256. Where a block has very many entries (large blocks, many versions of a key) the binary
 * search touches less. A scan's seek goes by slices: 4 bytes of each key, behind what all of the block share,
 * side by side, so that it touches no key but those that have the same. */
#include "segment/block_parse.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "segment/key_slice.h"

#define HASH_SEARCH_MAX 512
#define LINEAR_SEARCH_MAX 64 /* slices that are compared one by one: no branch waits for memory */
/* What a lookup will read is fetched side by side instead of one after the other: */
#define HEAD_LINES 4  /* of the head, hashes and offsets of a usual block */
#define SLICE_LINES 3 /* of slices */
#define ENTRY_LINES 3 /* of an entry of 100 bytes or so */

/* ---- decoding ---- */

/* The first pass. */
static const char *measure(struct block_parse parse, uint64_t *flat_bytes)
{
    struct block_parsed entry;

    for (uint32_t i = 0; i < parse.count; i++) {
        const char *what = block_parse_entry(&parse, &entry);
        if (what != NULL)
            return what;
    }
    *flat_bytes = parse.flat_bytes;
    return block_parse_end(&parse);
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

static const char *fill_entry(struct fill *fill, uint32_t i, const struct block_parsed *entry)
{
    uint8_t *flat = fill->entries + fill->used;
    uint8_t *key = flat + flat_key_at(entry->flags);
    size_t key_len = (size_t)(entry->shared + entry->unshared);
    size_t in_place = (size_t)entry->in_place;
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
    if (entry->flags & ENTRY_VALUE_PACKED)
        put_u32(optional + 8, (uint32_t)entry->packed_len);
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
static const char *fill_block(struct block_parse parse, struct fill *fill)
{
    struct block_parsed entry;

    for (uint32_t i = 0; i < parse.count; i++) {
        const char *what = block_parse_entry(&parse, &entry);
        if (what == NULL)
            what = fill_entry(fill, i, &entry);
        if (what != NULL)
            return what;
    }
    return NULL;
}

/* Of all blocks of the process: what a dropped segment leaves in the cache is not to stay with the C allocator. */
#define AGE_PARTS 1024
static struct pieces block_memory = PIECES_INIT(block_memory);

static void block_destroy(struct cached *cached)
{
    pieces_free(&block_memory, cached, cached->charge_bytes);
}

static void ranges_destroy(struct cached *cached)
{
    mem_free(cached);
}

void block_memory_get(struct pieces_stats *stats)
{
    pieces_get_stats(&block_memory, stats);
}

void block_memory_trim(uint64_t keep_bytes)
{
    pieces_trim(&block_memory, keep_bytes);
}

void block_memory_close(void)
{
    struct pieces_stats stats;

    pieces_get_stats(&block_memory, &stats);
    if (stats.used_bytes == 0)
        pieces_trim(&block_memory, MEM_HUGE_BYTES);
}

void block_memory_age(void)
{
    if (!MUTANT("spare-for-good"))
        pieces_age(&block_memory, AGE_PARTS);
}

uint64_t block_memory_leave(uint64_t free_bytes)
{
    return pieces_leave(&block_memory, free_bytes);
}

int block_memory_is_leaving(const struct cached *cached)
{
    return cached->destroy == block_destroy && cached->charge_bytes <= PIECES_MAX_BYTES &&
           pieces_is_leaving(cached);
}

/* 4 bytes of the key behind what all of the block share, as a number that orders as they do. */
static inline uint32_t slice_of(const struct block *block, struct varve_slice key)
{
    return (uint32_t)(key_slice_at(key, block->prefix_len) >> 32);
}

static void fill_slices(const struct block *block, uint32_t *slices)
{
    for (uint32_t i = 0; i < block->count; i++)
        slices[i] = slice_of(block, block_key(block, i));
}

int block_decode(struct varve_slice payload, enum block_kind kind, uint64_t value_limit,
                 struct block **out, struct varve_err *err)
{
    struct block_parse parse;
    uint64_t flat_bytes = 0;

    CHECK(kind == BLOCK_DATA || kind == BLOCK_RANGES);
    *out = NULL;
    const char *what = block_parse_begin(&parse, payload, kind, value_limit);
    if (what == NULL)
        what = measure(parse, &flat_bytes);
    if (what != NULL)
        return err_set(err, VARVE_ECORRUPT, "block has %s", what);

    size_t count = parse.count;
    /* A lookup reads the hashes first: they are near the head, which it reads anyway. */
    size_t hashes_len = kind == BLOCK_DATA ? count : 0;
    size_t offsets_at = sizeof(struct block) + ((hashes_len + 3) & ~(size_t)3);
    size_t slices_at = offsets_at + count * sizeof(uint32_t);
    size_t entries_at = slices_at + count * sizeof(uint32_t);
    size_t size = entries_at + (size_t)flat_bytes;
    /* Range tombstones stay as long as their segment: they would keep a chunk that is to leave. */
    int stays = kind == BLOCK_RANGES && !MUTANT("ranges-in-pieces");
    uint8_t *memory = stays ? mem_alloc(size) : pieces_alloc(&block_memory, size);
    if (memory == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a block of %zu bytes", size);
    struct fill fill = {
        .entries = memory + entries_at,
        .offsets = (uint32_t *)(void *)(memory + offsets_at),
        .hashes = kind == BLOCK_DATA ? memory + sizeof(struct block) : NULL,
    };
    what = fill_block(parse, &fill);
    struct block *block = (struct block *)(void *)memory;
    block->cached = (struct cached){
        .charge_bytes = stays ? size : pieces_size(size),
        .destroy = stays ? ranges_destroy : block_destroy,
    };
    if (what != NULL) {
        block->cached.destroy(&block->cached);
        return err_set(err, VARVE_ECORRUPT, "block has %s", what);
    }
    *block = (struct block){
        .cached = block->cached,
        .count = (uint32_t)count,
        .slices = (uint32_t *)(void *)(memory + slices_at),
        .offsets = fill.offsets,
        .hashes = fill.hashes,
        .entries = fill.entries,
    };
    atomic_init(&block->cached.refs, 1);
    block->prefix_len = (uint32_t)key_common_bytes(block_key(block, 0),
                                                   block_key(block, block->count - 1));
    fill_slices(block, (uint32_t *)(void *)(memory + slices_at));
    *out = block;
    return 0;
}

/* ---- reading ---- */

static inline void prefetch_lines(const void *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        __builtin_prefetch((const uint8_t *)at + i * BLOOM_LINE_BYTES);
}

void block_prefetch(const struct block *block)
{
    prefetch_lines(&block->count, HEAD_LINES);
}

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
        if (flags & ENTRY_VALUE_PACKED)
            entry->value_packed_len = get_u32(optional + 8);
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

/* Slices and the first entry of a usual block come side by side, not one after the other. */
static void prefetch_slices(const struct block *block)
{
    prefetch_lines(&block->count, HEAD_LINES);
    prefetch_lines(block->slices, SLICE_LINES);
    __builtin_prefetch(block->entries);
}

/* The first entry that does not lie before (key, seq); with behind, before any of the key. */
static uint32_t search(const struct block *block, struct varve_slice key, uint64_t seq, int behind)
{
    prefetch_slices(block);
    struct varve_slice prefix = varve_slice(flat_key(block->entries).data, block->prefix_len);
    if (key.len < prefix.len || (prefix.len > 0 && memcmp(key.data, prefix.data, prefix.len) != 0))
        return varve_slice_compare(key, prefix) < 0 ? 0 : block->count;
    uint32_t slice = slice_of(block, key);
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
        prefetch_lines(flat_at(block, i), ENTRY_LINES);
        if (varve_slice_equal(flat_key(flat_at(block, i)), key))
            return visible_version(block, i, seq_max);
        at++;
    }
    return -1;
}
