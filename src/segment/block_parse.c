#include "segment/block_parse.h"

#include "base/bytes.h"
#include "env/file_header.h"
#include "varve/batch.h"

static inline int take_varint(struct block_parse *parse, uint64_t *v)
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

static inline uint64_t bytes_left(const struct block_parse *parse)
{
    return (uint64_t)(parse->end - parse->at);
}

static inline const char *check_flags(enum block_kind kind, uint8_t flags)
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
        if (flags & ENTRY_VALUE_OUTSIDE)
            known |= ENTRY_VALUE_PACKED;
    }
    return (flags & ~known) != 0 ? "entry with impossible flags" : NULL;
}

static const char *parse_value_place(struct block_parse *parse, struct block_parsed *entry)
{
    uint64_t stored = entry->value_len;

    if (!take_varint(parse, &entry->value_offset))
        return "entry that is cut short";
    if (entry->flags & ENTRY_VALUE_PACKED) {
        if (!take_varint(parse, &stored) || stored == 0 || stored >= entry->value_len ||
            entry->value_len > BLOCK_COMPRESSED_MAX_BYTES)
            return "entry whose value cannot be compressed like that";
        entry->packed_len = stored;
    }
    uint64_t need = stored + BLOCK_TRAILER_BYTES;
    if (entry->value_offset < FILE_HEADER_BYTES || need > parse->value_limit ||
        entry->value_offset > parse->value_limit - need)
        return "entry whose value block cannot be";
    return NULL;
}

/* The value's length and place; the lengths of all that follows are then known. */
static const char *parse_value(struct block_parse *parse, struct block_parsed *entry)
{
    unsigned kind = entry->flags & ENTRY_KIND_MASK;
    int is_outside = (entry->flags & ENTRY_VALUE_OUTSIDE) != 0;

    entry->value_len = 0;
    entry->expire_ms = 0;
    entry->value_offset = 0;
    entry->packed_len = 0;
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
        const char *what = parse_value_place(parse, entry);
        if (what != NULL)
            return what;
    }
    entry->in_place = is_outside ? 0 : entry->value_len;
    return NULL;
}

static const char *parse_lengths(struct block_parse *parse, struct block_parsed *entry)
{
    uint64_t delta;

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
    return parse_value(parse, entry);
}

const char *block_parse_entry(struct block_parse *parse, struct block_parsed *entry)
{
    const char *what = parse_lengths(parse, entry);

    if (what != NULL)
        return what;
    if (bytes_left(parse) < entry->unshared + entry->in_place)
        return "entry that is cut short";
    entry->key = parse->at;
    entry->value = parse->at + entry->unshared;
    parse->at = entry->value + entry->in_place;
    parse->key_len = entry->shared + entry->unshared;
    parse->has_base |= entry->seq == parse->seq_base;
    parse->shared += entry->shared;
    parse->flat_bytes += flat_key_at(entry->flags) + parse->key_len + entry->in_place;
    if (parse->shared > parse->shared_max || parse->flat_bytes > BLOCK_FLAT_MAX_BYTES)
        return "keys that share more than they may";
    return NULL;
}

const char *block_parse_begin(struct block_parse *parse, struct varve_slice payload,
                              enum block_kind kind, uint64_t value_limit)
{
    uint64_t count;

    *parse = (struct block_parse){
        .at = payload.data,
        .end = payload.data + payload.len,
        .kind = kind,
        .value_limit = value_limit,
        .shared_max = block_shared_max(payload.len),
    };
    if (!take_varint(parse, &count) || count == 0 || !take_varint(parse, &parse->seq_base))
        return "no head";
    if (count > bytes_left(parse) / ENTRY_MIN_BYTES || count > UINT32_MAX)
        return "more entries than bytes";
    parse->count = (uint32_t)count;
    return NULL;
}

const char *block_parse_end(const struct block_parse *parse)
{
    if (parse->at != parse->end)
        return "bytes behind the last entry";
    return parse->has_base ? NULL : "no entry with the base sequence";
}
