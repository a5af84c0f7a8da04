#include "types/keycode.h"

#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "varve/status.h"

#define SPACE_ID_LONG 240 /* the first byte that announces more */

size_t space_id_put(uint8_t *at, uint64_t id)
{
    size_t n = 1;

    if (id < SPACE_ID_LONG) {
        at[0] = (uint8_t)id;
        return 1;
    }
    while (n < 8 && id >> (8 * n) != 0)
        n++;
    at[0] = (uint8_t)(SPACE_ID_LONG + n - 1);
    for (size_t i = 0; i < n; i++)
        at[1 + i] = (uint8_t)(id >> (8 * (n - 1 - i)));
    return 1 + n;
}

size_t space_id_get(struct varve_slice bytes, uint64_t *id)
{
    uint64_t value = 0;

    if (bytes.len == 0)
        return 0;
    if (bytes.data[0] < SPACE_ID_LONG) {
        *id = bytes.data[0];
        return 1;
    }
    size_t n = (size_t)bytes.data[0] - SPACE_ID_LONG + 1;
    if (n > 8 || bytes.len < 1 + n)
        return 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | bytes.data[1 + i];
    if (value < SPACE_ID_LONG || bytes.data[1] == 0)
        return 0;
    *id = value;
    return 1 + n;
}

void key_prefix_set(struct key_prefix *prefix, uint64_t space_id, uint8_t tag)
{
    size_t n = space_id_put(prefix->bytes, space_id);

    prefix->bytes[n] = tag;
    prefix->len = (uint8_t)(n + 1);
}

/* The finalizer of MurmurHash3 over the CRC, whose bits alone follow the name's too closely. */
uint32_t name_hash(struct varve_slice name)
{
    uint32_t hash = crc32c(0, name.data, name.len);

    hash ^= hash >> 16;
    hash *= 0x85ebca6bu;
    hash ^= hash >> 13;
    hash *= 0xc2b2ae35u;
    return hash ^ hash >> 16;
}

void name_prefix_set(struct name_prefix *prefix, const struct key_prefix *space, uint32_t hash)
{
    memcpy(prefix->bytes, space->bytes, sizeof(space->bytes));
    for (int i = 0; i < NAME_HASH_BYTES; i++)
        prefix->bytes[space->len + i] = (uint8_t)(hash >> (8 * (NAME_HASH_BYTES - 1 - i)));
    prefix->len = (uint8_t)(space->len + NAME_HASH_BYTES);
}

int name_of_key(struct varve_slice key, size_t prefix_len, struct varve_slice *name)
{
    struct key_prefix none = {.len = 0};
    struct name_prefix hash;

    if (key.len < prefix_len + NAME_HASH_BYTES)
        return VARVE_ECORRUPT;
    *name = varve_slice(key.data + prefix_len + NAME_HASH_BYTES,
                        key.len - prefix_len - NAME_HASH_BYTES);
    name_prefix_set(&hash, &none, name_hash(*name));
    return memcmp(key.data + prefix_len, hash.bytes, NAME_HASH_BYTES) == 0 ? 0 : VARVE_ECORRUPT;
}

size_t next_space_put(uint8_t at[NEXT_SPACE_MAX_BYTES], uint64_t id)
{
    at[0] = KEYSPACE_VERSION;
    return 1 + space_id_put(at + 1, id);
}

/* Version 1 had no version in front of the id: the record was one byte, or began with one that announces
 * more, as no version does. */
int next_space_get(struct varve_slice bytes, uint64_t *id)
{
    if (bytes.len == 0)
        return VARVE_ECORRUPT;
    if (bytes.len == 1 || bytes.data[0] >= SPACE_ID_LONG) {
        *id = 1;
        return VARVE_EVERSION;
    }
    *id = bytes.data[0];
    if (*id != KEYSPACE_VERSION)
        return VARVE_EVERSION;
    if (space_id_get(varve_slice(bytes.data + 1, bytes.len - 1), id) != bytes.len - 1 || *id == 0)
        return VARVE_ECORRUPT;
    return 0;
}

size_t keycode_count_group(void *arg, struct varve_slice key)
{
    uint64_t id;
    size_t n = space_id_get(key, &id);

    (void)arg;
    if (n == 0 || id == SPACE_KEYSPACE || key.len <= n || key.data[n] != KEY_TAG_NAME)
        return 0;
    return n + 1;
}

int value_decode(struct varve_slice value, enum value_type *type, enum value_encoding *encoding,
                 struct varve_slice *payload)
{
    if (value.len == 0 || value.data[0] != value_head(VALUE_STRING, VALUE_RAW))
        return VARVE_ECORRUPT;
    *type = VALUE_STRING;
    *encoding = VALUE_RAW;
    *payload = varve_slice(value.data + 1, value.len - 1);
    return 0;
}

const char *value_type_name(enum value_type type)
{
    switch (type) {
    case VALUE_STRING: return "string";
    }
    return "unknown";
}
