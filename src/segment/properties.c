#include "segment/properties.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mutant.h"

#define LOWER_MAX_BYTES ((size_t)256)
#define PROPERTIES_MAX_BYTES ((size_t)1024 * 1024)
#define GROUPS_UNKNOWN UINT32_MAX /* in the file: too many */

enum tag {
    TAG_ENTRIES = 1,
    TAG_PUTS = 2,
    TAG_RANGES = 3,
    TAG_SEQ_MIN = 4,
    TAG_SEQ_MAX = 5,
    TAG_RAW_BYTES = 6,
    TAG_LOWER = 7,
    TAG_UPPER = 8,
    TAG_INDEX = 9,
    TAG_FILTER = 10,
    TAG_RANGE_BLOCK = 11,
    TAG_EXPIRING = 12,
    TAG_EXPIRE_MS_MAX = 13,
    TAG_EXPIRY = 14,
    TAG_GROUPS = 15,
    TAG_VALUE_BYTES = 16,
    TAG_SUPERSEDED = 17, /* not there: 0 */
    TAG_HIDING = 18,     /* not there: not known */
    TAG_LAST = TAG_HIDING,
};

int properties_all_dead(const struct properties *properties, uint64_t now_ms)
{
    return properties->ranges == 0 && properties->puts == properties->expiring &&
           (properties->puts == 0 || properties->expire_ms_max <= now_ms);
}

uint64_t properties_expired_bytes(const struct properties *properties, uint64_t now_ms)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < properties->expiry_count; i++)
        if (properties->expiry[i].expire_ms <= now_ms)
            bytes = properties->expiry[i].bytes;
    return bytes;
}

/* ---- bounds ---- */

void segment_bound_lower(struct segment_bound *bound, struct varve_slice key)
{
    size_t len = key.len < LOWER_MAX_BYTES ? key.len : LOWER_MAX_BYTES;

    if (len > 0)
        memcpy(bound->bytes, key.data, len);
    bound->len = (uint16_t)len;
}

/* The smallest string of at most so many bytes that is above all that begin as key does. */
static void bound_behind_prefix(struct segment_bound *bound, struct varve_slice key)
{
    size_t len = SEGMENT_BOUND_MAX_BYTES;

    while (len > 0 && key.data[len - 1] == 0xff)
        len--;
    memcpy(bound->bytes, key.data, len);
    if (len > 0 && !MUTANT("bound-not-raised"))
        bound->bytes[len - 1]++;
    bound->len = (uint16_t)len;
}

void segment_bound_upper(struct segment_bound *bound, struct varve_slice last_key)
{
    if (last_key.len >= SEGMENT_BOUND_MAX_BYTES) {
        bound_behind_prefix(bound, last_key);
        return;
    }
    if (last_key.len > 0)
        memcpy(bound->bytes, last_key.data, last_key.len);
    bound->bytes[last_key.len] = 0;
    bound->len = (uint16_t)(last_key.len + 1);
}

void segment_bound_upper_end(struct segment_bound *bound, struct varve_slice end)
{
    if (end.len > SEGMENT_BOUND_MAX_BYTES) {
        bound_behind_prefix(bound, end);
        return;
    }
    if (end.len > 0)
        memcpy(bound->bytes, end.data, end.len);
    bound->len = (uint16_t)end.len;
}

int segment_upper_compare(struct varve_slice a, struct varve_slice b)
{
    if (a.len == 0 || b.len == 0)
        return (a.len == 0) - (b.len == 0);
    return varve_slice_compare(a, b);
}

/* ---- writing ---- */

/* Room is made once for the most that there can be: then nothing below fails. */
#define GROUP_MAX_BYTES (1 + VARVE_GROUP_MAX_BYTES + 3 * VARINT_MAX_BYTES)
#define FIELD_HEAD_MAX_BYTES (1 + VARINT_MAX_BYTES)
#define PUT_MAX_BYTES                                                                              \
    (TAG_LAST * (FIELD_HEAD_MAX_BYTES + 2 * VARINT_MAX_BYTES) + 2 * SEGMENT_BOUND_MAX_BYTES +      \
     SEGMENT_EXPIRY_STEPS_MAX * 2 * VARINT_MAX_BYTES + SEGMENT_GROUPS_MAX * GROUP_MAX_BYTES)

static uint8_t *put_field(uint8_t *at, enum tag tag, const void *bytes, size_t len)
{
    *at++ = (uint8_t)tag;
    at += put_varint(at, len);
    memcpy(at, bytes, len);
    return at + len;
}

static uint8_t *put_number(uint8_t *at, enum tag tag, uint64_t v)
{
    uint8_t bytes[VARINT_MAX_BYTES];

    return put_field(at, tag, bytes, put_varint(bytes, v));
}

static uint8_t *put_place(uint8_t *at, enum tag tag, const struct segment_place *place)
{
    uint8_t bytes[2 * VARINT_MAX_BYTES];
    size_t n = put_varint(bytes, place->offset);

    n += put_varint(bytes + n, place->len);
    return put_field(at, tag, bytes, n);
}

static uint8_t *put_expiry(uint8_t *at, const struct properties *properties)
{
    uint8_t bytes[SEGMENT_EXPIRY_STEPS_MAX * 2 * VARINT_MAX_BYTES];
    size_t n = 0;

    CHECK(properties->expiry_count <= SEGMENT_EXPIRY_STEPS_MAX);
    for (uint32_t i = 0; i < properties->expiry_count; i++) {
        n += put_varint(bytes + n, properties->expiry[i].expire_ms);
        n += put_varint(bytes + n, properties->expiry[i].bytes);
    }
    return put_field(at, TAG_EXPIRY, bytes, n);
}

static uint8_t *put_groups(uint8_t *at, const struct properties *properties)
{
    uint8_t bytes[VARINT_MAX_BYTES + SEGMENT_GROUPS_MAX * GROUP_MAX_BYTES];
    size_t n;

    if (properties->group_count > SEGMENT_GROUPS_MAX)
        return put_number(at, TAG_GROUPS, GROUPS_UNKNOWN);
    n = put_varint(bytes, properties->group_count);
    for (uint32_t i = 0; i < properties->group_count; i++) {
        const struct segment_group *group = &properties->groups[i];
        CHECK(group->name_len <= VARVE_GROUP_MAX_BYTES);
        bytes[n++] = group->name_len;
        memcpy(bytes + n, group->name, group->name_len);
        n += group->name_len;
        n += put_varint(bytes + n, group->entries);
        n += put_varint(bytes + n, group->unknown);
        n += put_varint(bytes + n, group->live);
    }
    return put_field(at, TAG_GROUPS, bytes, n);
}

int properties_put(const struct properties *properties, struct buf *to)
{
    int rc = buf_reserve(to, PUT_MAX_BYTES);

    if (rc != 0)
        return rc;
    uint8_t *at = to->data + to->len;
    at = put_number(at, TAG_ENTRIES, properties->entries);
    at = put_number(at, TAG_PUTS, properties->puts);
    at = put_number(at, TAG_RANGES, properties->ranges);
    at = put_number(at, TAG_SEQ_MIN, properties->seq_min);
    at = put_number(at, TAG_SEQ_MAX, properties->seq_max);
    at = put_number(at, TAG_RAW_BYTES, properties->raw_bytes);
    at = put_field(at, TAG_LOWER, properties->lower.bytes, properties->lower.len);
    at = put_field(at, TAG_UPPER, properties->upper.bytes, properties->upper.len);
    at = put_place(at, TAG_INDEX, &properties->index);
    at = put_place(at, TAG_FILTER, &properties->filter);
    at = put_place(at, TAG_RANGE_BLOCK, &properties->range_block);
    at = put_number(at, TAG_EXPIRING, properties->expiring);
    at = put_number(at, TAG_EXPIRE_MS_MAX, properties->expire_ms_max);
    at = put_expiry(at, properties);
    at = put_groups(at, properties);
    at = put_number(at, TAG_VALUE_BYTES, properties->value_bytes);
    if (properties->superseded_bytes > 0)
        at = put_number(at, TAG_SUPERSEDED, properties->superseded_bytes);
    if (properties->hiding_known)
        at = put_number(at, TAG_HIDING, properties->hiding_bytes);
    to->len = (size_t)(at - to->data);
    return 0;
}

/* ---- reading ---- */

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static int take_varint(struct cursor *cursor, uint64_t *v)
{
    size_t n = get_varint(cursor->at, cursor->end, v);

    cursor->at += n;
    return n != 0;
}

static int take_bytes(struct cursor *cursor, size_t max, void *to, size_t *len)
{
    uint64_t n;

    if (!take_varint(cursor, &n) || n > max || n > (uint64_t)(cursor->end - cursor->at))
        return 0;
    if (n > 0)
        memcpy(to, cursor->at, (size_t)n);
    cursor->at += n;
    *len = (size_t)n;
    return 1;
}

static int take_place(struct cursor *cursor, struct segment_place *place)
{
    return take_varint(cursor, &place->offset) && take_varint(cursor, &place->len) &&
           place->len <= UINT64_MAX - place->offset;
}

static int take_bound(struct cursor *cursor, size_t max, struct segment_bound *bound)
{
    size_t len = (size_t)(cursor->end - cursor->at);

    if (len > max)
        return 0;
    if (len > 0)
        memcpy(bound->bytes, cursor->at, len);
    bound->len = (uint16_t)len;
    cursor->at = cursor->end;
    return 1;
}

static int take_expiry(struct cursor *cursor, struct properties *properties)
{
    while (cursor->at < cursor->end) {
        uint32_t i = properties->expiry_count;
        if (i == SEGMENT_EXPIRY_STEPS_MAX)
            return 0;
        struct segment_expiry_step *step = &properties->expiry[i];
        if (!take_varint(cursor, &step->expire_ms) || !take_varint(cursor, &step->bytes))
            return 0;
        if (i > 0 && (step->expire_ms <= step[-1].expire_ms || step->bytes < step[-1].bytes))
            return 0;
        properties->expiry_count++;
    }
    return 1;
}

static int take_groups(struct cursor *cursor, struct properties *properties)
{
    uint64_t count;

    if (!take_varint(cursor, &count))
        return 0;
    if (count == GROUPS_UNKNOWN) {
        properties->group_count = SEGMENT_GROUPS_MAX + 1;
        return 1;
    }
    if (count > SEGMENT_GROUPS_MAX)
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        struct segment_group *group = &properties->groups[i];
        size_t len;
        if (!take_bytes(cursor, VARVE_GROUP_MAX_BYTES, group->name, &len) || len == 0 ||
            !take_varint(cursor, &group->entries) || !take_varint(cursor, &group->unknown) ||
            !take_varint(cursor, &group->live) || group->unknown > group->entries ||
            (group->live > group->entries && !MUTANT("group-live-unchecked")))
            return 0;
        group->name_len = (uint8_t)len;
        if (i > 0 && varve_slice_compare(varve_slice(group[-1].name, group[-1].name_len),
                                         varve_slice(group->name, len)) >= 0)
            return 0;
    }
    properties->group_count = (uint32_t)count;
    return 1;
}

static int take_field(struct cursor *cursor, enum tag tag, struct properties *properties)
{
    switch (tag) {
    case TAG_ENTRIES: return take_varint(cursor, &properties->entries);
    case TAG_PUTS: return take_varint(cursor, &properties->puts);
    case TAG_RANGES: return take_varint(cursor, &properties->ranges);
    case TAG_SEQ_MIN: return take_varint(cursor, &properties->seq_min);
    case TAG_SEQ_MAX: return take_varint(cursor, &properties->seq_max);
    case TAG_RAW_BYTES: return take_varint(cursor, &properties->raw_bytes);
    case TAG_LOWER: return take_bound(cursor, LOWER_MAX_BYTES, &properties->lower);
    case TAG_UPPER: return take_bound(cursor, SEGMENT_BOUND_MAX_BYTES, &properties->upper);
    case TAG_INDEX: return take_place(cursor, &properties->index);
    case TAG_FILTER: return take_place(cursor, &properties->filter);
    case TAG_RANGE_BLOCK: return take_place(cursor, &properties->range_block);
    case TAG_EXPIRING: return take_varint(cursor, &properties->expiring);
    case TAG_EXPIRE_MS_MAX: return take_varint(cursor, &properties->expire_ms_max);
    case TAG_EXPIRY: return take_expiry(cursor, properties);
    case TAG_GROUPS: return take_groups(cursor, properties);
    case TAG_VALUE_BYTES: return take_varint(cursor, &properties->value_bytes);
    case TAG_SUPERSEDED:
        return take_varint(cursor, &properties->superseded_bytes) &&
               properties->superseded_bytes > 0;
    case TAG_HIDING:
        properties->hiding_known = 1;
        return take_varint(cursor, &properties->hiding_bytes);
    }
    return 0;
}

/* What the fields say of each other. */
static int is_consistent(const struct properties *properties)
{
    struct varve_slice lower = segment_bound_slice(&properties->lower);
    struct varve_slice upper = segment_bound_slice(&properties->upper);

    return properties->puts <= properties->entries && properties->expiring <= properties->puts &&
           properties->superseded_bytes <= properties->raw_bytes &&
           properties->hiding_bytes <= properties->raw_bytes &&
           properties->seq_min <= properties->seq_max && segment_below_upper(lower, upper) &&
           (properties->expiring == 0) == (properties->expire_ms_max == 0) &&
           (properties->ranges == 0) == (properties->range_block.len == 0);
}

int properties_get(struct varve_slice payload, struct properties *properties, struct varve_err *err)
{
    struct cursor cursor = {payload.data, payload.data + payload.len};

    *properties = (struct properties){0};
    if (payload.len > PROPERTIES_MAX_BYTES)
        return err_set(err, VARVE_ECORRUPT, "properties of %zu bytes", payload.len);
    for (unsigned tag = TAG_ENTRIES; tag <= TAG_LAST; tag++) {
        uint64_t len;
        if (tag >= TAG_SUPERSEDED && (cursor.at == cursor.end || *cursor.at != tag))
            continue;
        if (cursor.at == cursor.end || *cursor.at != tag)
            return err_set(err, VARVE_ECORRUPT, "properties lack field %u", tag);
        cursor.at++;
        if (!take_varint(&cursor, &len) || len > (uint64_t)(cursor.end - cursor.at))
            return err_set(err, VARVE_ECORRUPT, "properties are cut short in field %u", tag);
        struct cursor field = {cursor.at, cursor.at + len};
        if (!take_field(&field, (enum tag)tag, properties) || field.at != field.end)
            return err_set(err, VARVE_ECORRUPT, "field %u of the properties cannot be", tag);
        cursor.at += len;
    }
    if (cursor.at != cursor.end)
        return err_set(err, VARVE_ECORRUPT, "properties have bytes behind the last field");
    if (!is_consistent(properties))
        return err_set(err, VARVE_ECORRUPT, "properties contradict each other");
    return 0;
}
