/* keycode.h - the bytes of engine keys and of values' first byte; types/FORMAT.md has the tables.
 * Pure functions; any thread. */
#ifndef TYPES_KEYCODE_H
#define TYPES_KEYCODE_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

#define SPACE_ID_MAX_BYTES 9
#define SPACE_KEYSPACE 0 /* records about the keyspace itself */
#define SPACE_FIRST 1    /* the first id that a database can get */

#define KEYSPACE_VERSION 2 /* of types/FORMAT.md */
#define NAME_HASH_BYTES 4
#define NEXT_SPACE_MAX_BYTES (1 + SPACE_ID_MAX_BYTES)

enum key_tag {
    KEY_TAG_NAME = 0x01,       /* in a database's space: a name's record */
    KEY_TAG_DATABASE = 0x01,   /* in space 0: database number -> space id */
    KEY_TAG_NEXT_SPACE = 0x02, /* in space 0: the next space id */
};

enum value_type {
    VALUE_STRING = 0,
};

enum value_encoding {
    VALUE_RAW = 0,
};

/* A space id and a tag: how all engine keys of one kind begin. */
struct key_prefix {
    uint8_t bytes[SPACE_ID_MAX_BYTES + 1];
    uint8_t len;
};

/* Writes the id at `at`, which has SPACE_ID_MAX_BYTES of room; returns the bytes written. */
size_t space_id_put(uint8_t *at, uint64_t id);

/* Reads an id from the beginning of `bytes`. Returns the bytes read, 0 if it is not valid. */
size_t space_id_get(struct varve_slice bytes, uint64_t *id) MUST_CHECK;

void key_prefix_set(struct key_prefix *prefix, uint64_t space_id, uint8_t tag);

/* Where a name lies among the others of its space: spread evenly, the same in every directory. Not keyed:
 * names can be made that share one (types/FORMAT.md section 2). */
uint32_t name_hash(struct varve_slice name);

/* A space id, the tag, a name's hash: what stands before the name in its engine key. */
struct name_prefix {
    uint8_t bytes[SPACE_ID_MAX_BYTES + 1 + NAME_HASH_BYTES];
    uint8_t len;
};

void name_prefix_set(struct name_prefix *prefix, const struct key_prefix *space, uint32_t hash);

static inline struct varve_slice name_prefix_slice(const struct name_prefix *prefix)
{
    return varve_slice(prefix->bytes, prefix->len);
}

/* The name in an engine key whose prefix of space and tag has `prefix_len` bytes. 0, or VARVE_ECORRUPT if
 * its hash is missing or not that of the name. */
int name_of_key(struct varve_slice key, size_t prefix_len, struct varve_slice *name) MUST_CHECK;

/* The record of the next space's id. get: 0, VARVE_ECORRUPT, or VARVE_EVERSION and the version in *id. */
size_t next_space_put(uint8_t at[NEXT_SPACE_MAX_BYTES], uint64_t id);
int next_space_get(struct varve_slice bytes, uint64_t *id) MUST_CHECK;

static inline struct varve_slice key_prefix_slice(const struct key_prefix *prefix)
{
    return varve_slice(prefix->bytes, prefix->len);
}

/* varve_group_fn of the server's databases (varve/options.h); arg is not used. */
size_t keycode_count_group(void *arg, struct varve_slice key);

static inline uint8_t value_head(enum value_type type, enum value_encoding encoding)
{
    return (uint8_t)((unsigned)type << 4 | (unsigned)encoding);
}

/* Splits a name's value. Returns 0, or VARVE_ECORRUPT if the type or its encoding is not known. */
int value_decode(struct varve_slice value, enum value_type *type, enum value_encoding *encoding,
                 struct varve_slice *payload) MUST_CHECK;

/* "string": what TYPE says. */
const char *value_type_name(enum value_type type);

#endif
