/* merkle.h - a hash over live data that says nothing of how they are stored: a tree over leaves, each a
 * stretch of neighbouring keys. Pure but for SHA-256, which is libcrypto's. One thread.
 *
 *   leaf    SHA-256(0x00 | of each record: database u32 | key length u64 | value length u64
 *                        | expire_ms u64 | key | value)            little-endian, in the order of the keys
 *   node    SHA-256(0x01 | left | right)
 *
 * A leaf begins where the database changes, at a key whose hash says so (one in 128, whatever keys lie
 * around it), or after 1,024 records. So what changes at one key changes one leaf, or the two beside a cut
 * that comes or goes. The shape of the tree follows from the number of leaves, as in RFC 6962: the left
 * subtree is the largest whole one. Nothing at all hashes to SHA-256(""). */
#ifndef VARVE_TOOL_MERKLE_H
#define VARVE_TOOL_MERKLE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/slice.h"

#define MERKLE_HASH_BYTES 32
#define MERKLE_LEAF_KEYS_MAX 1024

/* A live record as its users see it. */
struct merkle_record {
    uint32_t database;
    struct varve_slice key;
    struct varve_slice value;
    uint64_t expire_ms;
};

/* Does a leaf begin at this key? By the key alone. */
int merkle_cuts_at(struct varve_slice key);

/* One leaf, open or done. */
struct merkle_leaf {
    void *digest; /* the library's; NULL: none is open */
    uint32_t database;
    uint64_t count;
    struct buf first; /* key */
    struct buf last;
    uint8_t hash[MERKLE_HASH_BYTES]; /* once it is done */
};

void merkle_leaf_init(struct merkle_leaf *leaf);
void merkle_leaf_deinit(struct merkle_leaf *leaf);
/* Empties it and begins. 0, or VARVE_ENOMEM, as the next. */
int merkle_leaf_begin(struct merkle_leaf *leaf) MUST_CHECK;
int merkle_leaf_add(struct merkle_leaf *leaf, const struct merkle_record *record) MUST_CHECK;
/* Does the leaf end before this record? Of one that holds something. */
int merkle_leaf_ends(const struct merkle_leaf *leaf, const struct merkle_record *next);
int merkle_leaf_finish(struct merkle_leaf *leaf) MUST_CHECK;

#define MERKLE_DEPTH_MAX 64

struct merkle_tree {
    uint64_t leaves;
    uint64_t keys;
    uint32_t depth;
    struct {
        uint64_t leaves; /* a power of two, each smaller than the one before */
        uint8_t hash[MERKLE_HASH_BYTES];
    } whole[MERKLE_DEPTH_MAX];
};

int merkle_tree_add(struct merkle_tree *tree, const struct merkle_leaf *leaf) MUST_CHECK;
/* The tree is then done with. */
int merkle_tree_root(struct merkle_tree *tree, uint8_t root[MERKLE_HASH_BYTES]) MUST_CHECK;

/* 64 hex digits and a NUL. */
void merkle_hex(const uint8_t hash[MERKLE_HASH_BYTES], char text[2 * MERKLE_HASH_BYTES + 1]);

#endif
