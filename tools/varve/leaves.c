#include "leaves.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "types/keycode.h"

struct reading {
    struct leaves *leaves;
    struct merkle_leaf leaf; /* the open one */
    uint32_t database;
    size_t prefix_len; /* of engine keys, in front of the name */
    struct progress *progress;
};

void leaves_init(struct leaves *leaves)
{
    memset(leaves, 0, sizeof(*leaves));
    buf_init(&leaves->keys, SIZE_MAX / 2);
}

void leaves_deinit(struct leaves *leaves)
{
    mem_free(leaves->notes);
    buf_deinit(&leaves->keys);
    memset(leaves, 0, sizeof(*leaves));
}

static int keep_key(struct leaves *leaves, const struct buf *key, size_t *at, size_t *len)
{
    *at = leaves->keys.len;
    *len = key->len;
    return buf_append(&leaves->keys, key->data, key->len);
}

static int keep_leaf(struct leaves *leaves, const struct merkle_leaf *leaf)
{
    if (leaves->count == leaves->cap) {
        size_t cap = leaves->cap == 0 ? 256 : leaves->cap * 2;
        struct leaf_note *grown = mem_realloc(leaves->notes, cap * sizeof(*grown));
        if (grown == NULL)
            return VARVE_ENOMEM;
        leaves->notes = grown;
        leaves->cap = cap;
    }
    struct leaf_note *note = &leaves->notes[leaves->count];
    *note = (struct leaf_note){.database = leaf->database, .count = (uint32_t)leaf->count};
    memcpy(note->hash, leaf->hash, sizeof(note->hash));
    if (keep_key(leaves, &leaf->first, &note->first_at, &note->first_len) != 0 ||
        keep_key(leaves, &leaf->last, &note->last_at, &note->last_len) != 0)
        return VARVE_ENOMEM;
    leaves->count++;
    return merkle_tree_add(&leaves->tree, leaf);
}

/* Ends the open leaf, if there is one that holds something. */
static int end_leaf(struct reading *reading)
{
    if (reading->leaf.count == 0)
        return 0;
    int rc = merkle_leaf_finish(&reading->leaf);
    if (rc == 0)
        rc = keep_leaf(reading->leaves, &reading->leaf);
    reading->leaf.count = 0;
    return rc;
}

static int take_entry(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct reading *reading = arg;
    struct varve_slice key = entry->chunk.key;
    struct merkle_record record = {
        .database = reading->database,
        .key = key,
        .value = entry->chunk.value,
        .expire_ms = entry->chunk.expire_ms,
    };
    int rc = 0;

    if (!reading->leaves->raw)
        rc = name_of_key(key, reading->prefix_len, &record.key);
    if (rc != 0)
        return err_set(err, rc, "the key of sequence %" PRIu64 " is no name of database %" PRIu32,
                       entry->seq, reading->database);
    progress_tell(reading->progress, "hashed", key.len + record.value.len);
    if (reading->leaf.count > 0 && merkle_leaf_ends(&reading->leaf, &record))
        rc = end_leaf(reading);
    if (rc == 0 && reading->leaf.count == 0)
        rc = merkle_leaf_begin(&reading->leaf);
    if (rc == 0)
        rc = merkle_leaf_add(&reading->leaf, &record);
    return rc == 0 ? 0 : err_set(err, rc, "no memory for the hashes");
}

static int read_databases(struct reading *reading, const struct content *content,
                          struct varve_err *err)
{
    struct databases databases;
    int rc = databases_read(content, &databases, err);

    for (uint32_t db = 0; rc == 0 && db < DATABASES_MAX; db++) {
        struct key_prefix prefix;
        if (databases.spaces[db] == 0)
            continue;
        key_prefix_set(&prefix, databases.spaces[db], KEY_TAG_NAME);
        reading->database = db;
        reading->prefix_len = prefix.len;
        rc = content_walk(content, key_prefix_slice(&prefix), take_entry, reading, err);
    }
    return rc;
}

int leaves_read(struct leaves *leaves, const struct content *content, int raw,
                struct progress *progress, struct varve_err *err)
{
    struct reading reading = {.leaves = leaves, .progress = progress};
    int rc;

    leaves->raw = raw;
    merkle_leaf_init(&reading.leaf);
    if (raw)
        rc = content_walk(content, varve_slice(NULL, 0), take_entry, &reading, err);
    else
        rc = read_databases(&reading, content, err);
    if (rc == 0 && end_leaf(&reading) != 0)
        rc = err_set(err, VARVE_ENOMEM, "no memory for the hashes");
    merkle_leaf_deinit(&reading.leaf);
    return rc;
}

struct varve_slice leaf_first(const struct leaves *leaves, size_t i)
{
    const struct leaf_note *note = &leaves->notes[i];

    return varve_slice(leaves->keys.data + note->first_at, note->first_len);
}

struct varve_slice leaf_last(const struct leaves *leaves, size_t i)
{
    const struct leaf_note *note = &leaves->notes[i];

    return varve_slice(leaves->keys.data + note->last_at, note->last_len);
}

/* ---- comparing ---- */

/* As they lie in the directory. */
static int compare_keys(const struct leaves *leaves, struct varve_slice a, struct varve_slice b)
{
    uint32_t hash_a = leaves->raw ? 0 : name_hash(a);
    uint32_t hash_b = leaves->raw ? 0 : name_hash(b);

    return hash_a != hash_b ? (hash_a > hash_b ? 1 : -1) : varve_slice_compare(a, b);
}

static int same_leaf(const struct leaves *const sides[2], const struct leaves_place *place)
{
    return memcmp(sides[0]->notes[place->at[0]].hash, sides[1]->notes[place->at[1]].hash,
                  MERKLE_HASH_BYTES) == 0;
}

/* Does the leaf that this side stands at begin at or before the end of the difference? */
static int touches(const struct leaves *leaves, size_t at,
                   const struct leaves_difference *difference)
{
    return at < leaves->count && leaves->notes[at].database == difference->database &&
           compare_keys(leaves, leaf_first(leaves, at), difference->last) <= 0;
}

static void take_leaf(const struct leaves *leaves, int side, struct leaves_place *place,
                      struct leaves_difference *difference)
{
    size_t i = place->at[side]++;

    difference->keys[side] += leaves->notes[i].count;
    if (compare_keys(leaves, leaf_last(leaves, i), difference->last) > 0)
        difference->last = leaf_last(leaves, i);
}

/* The side whose next leaf begins first. */
static int first_side(const struct leaves *const sides[2], const struct leaves_place *place)
{
    if (place->at[0] == sides[0]->count || place->at[1] == sides[1]->count)
        return place->at[0] == sides[0]->count;
    uint32_t a = sides[0]->notes[place->at[0]].database;
    uint32_t b = sides[1]->notes[place->at[1]].database;
    if (a != b)
        return a > b;
    return compare_keys(sides[0], leaf_first(sides[0], place->at[0]),
                        leaf_first(sides[1], place->at[1])) > 0;
}

/* Equal leaves hold the same keys, so while neither side is ahead of the other they are passed in pairs.
 * Where they differ, leaves are taken from both as long as they reach into what was taken: it ends where
 * both have a cut, which the keys that are equal behind it bring about. */
int leaves_next_difference(const struct leaves *const sides[2], struct leaves_place *place,
                           struct leaves_difference *difference)
{
    while (place->at[0] < sides[0]->count && place->at[1] < sides[1]->count &&
           same_leaf(sides, place)) {
        place->at[0]++;
        place->at[1]++;
    }
    if (place->at[0] == sides[0]->count && place->at[1] == sides[1]->count)
        return 0;
    int side = first_side(sides, place);
    size_t i = place->at[side];
    *difference = (struct leaves_difference){.database = sides[side]->notes[i].database,
                                             .first = leaf_first(sides[side], i),
                                             .last = leaf_last(sides[side], i)};
    take_leaf(sides[side], side, place, difference);
    for (side = !side;; side = !side) {
        int took = touches(sides[side], place->at[side], difference);
        if (took)
            take_leaf(sides[side], side, place, difference);
        else if (!touches(sides[!side], place->at[!side], difference))
            break;
    }
    return 1;
}
