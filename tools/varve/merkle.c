#include "merkle.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mutant.h"
#include "segment/bloom.h"
#include "varve/batch.h"
#include "varve/status.h"

#define CUT_MASK 127u /* one key in 128 */
#define LEAF_MARK 0x00
#define NODE_MARK 0x01
#define RECORD_HEAD_BYTES 28

/* Bits that the filter does not use to choose a line; any would do, but they are part of the format. */
int merkle_cuts_at(struct varve_slice key)
{
    return (bloom_hash(key).half[1] & CUT_MASK) == 0;
}

void merkle_leaf_init(struct merkle_leaf *leaf)
{
    memset(leaf, 0, sizeof(*leaf));
    buf_init(&leaf->first, VARVE_KEY_MAX_BYTES);
    buf_init(&leaf->last, VARVE_KEY_MAX_BYTES);
}

void merkle_leaf_deinit(struct merkle_leaf *leaf)
{
    EVP_MD_CTX_free(leaf->digest);
    leaf->digest = NULL;
    buf_deinit(&leaf->first);
    buf_deinit(&leaf->last);
}

int merkle_leaf_begin(struct merkle_leaf *leaf)
{
    const uint8_t mark = LEAF_MARK;

    leaf->count = 0;
    buf_clear(&leaf->first);
    buf_clear(&leaf->last);
    if (leaf->digest == NULL)
        leaf->digest = EVP_MD_CTX_new();
    if (leaf->digest == NULL || EVP_DigestInit_ex(leaf->digest, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(leaf->digest, &mark, 1) != 1)
        return VARVE_ENOMEM;
    return 0;
}

static int keep_key(struct buf *to, struct varve_slice key)
{
    buf_clear(to);
    return buf_append(to, key.data, key.len);
}

int merkle_leaf_add(struct merkle_leaf *leaf, const struct merkle_record *record)
{
    uint8_t head[RECORD_HEAD_BYTES];
    int rc = keep_key(&leaf->last, record->key);

    if (rc == 0 && leaf->count == 0)
        rc = keep_key(&leaf->first, record->key);
    if (rc != 0)
        return rc;
    leaf->database = record->database;
    put_u32(head, record->database);
    put_u64(head + 4, record->key.len);
    put_u64(head + 12, record->value.len);
    put_u64(head + 20, MUTANT("merkle-ignores-expiry") ? 0 : record->expire_ms);
    if (EVP_DigestUpdate(leaf->digest, head, sizeof(head)) != 1 ||
        EVP_DigestUpdate(leaf->digest, record->key.data, record->key.len) != 1 ||
        EVP_DigestUpdate(leaf->digest, record->value.data, record->value.len) != 1)
        return VARVE_ENOMEM;
    leaf->count++;
    return 0;
}

int merkle_leaf_ends(const struct merkle_leaf *leaf, const struct merkle_record *next)
{
    return leaf->database != next->database || leaf->count >= MERKLE_LEAF_KEYS_MAX ||
           merkle_cuts_at(next->key);
}

int merkle_leaf_finish(struct merkle_leaf *leaf)
{
    return EVP_DigestFinal_ex(leaf->digest, leaf->hash, NULL) == 1 ? 0 : VARVE_ENOMEM;
}

/* ---- the tree ---- */

static int join(const uint8_t left[MERKLE_HASH_BYTES], const uint8_t right[MERKLE_HASH_BYTES],
                uint8_t out[MERKLE_HASH_BYTES])
{
    uint8_t bytes[1 + 2 * MERKLE_HASH_BYTES];

    bytes[0] = NODE_MARK;
    memcpy(bytes + 1, left, MERKLE_HASH_BYTES);
    memcpy(bytes + 1 + MERKLE_HASH_BYTES, right, MERKLE_HASH_BYTES);
    return EVP_Digest(bytes, sizeof(bytes), out, NULL, EVP_sha256(), NULL) == 1 ? 0 : VARVE_ENOMEM;
}

static int join_last_two(struct merkle_tree *tree)
{
    uint32_t at = tree->depth - 2;

    tree->whole[at].leaves += tree->whole[at + 1].leaves;
    tree->depth--;
    return join(tree->whole[at].hash, tree->whole[at + 1].hash, tree->whole[at].hash);
}

int merkle_tree_add(struct merkle_tree *tree, const struct merkle_leaf *leaf)
{
    int rc = 0;

    CHECK(tree->depth < MERKLE_DEPTH_MAX);
    tree->whole[tree->depth].leaves = 1;
    memcpy(tree->whole[tree->depth].hash, leaf->hash, MERKLE_HASH_BYTES);
    tree->depth++;
    tree->leaves++;
    tree->keys += leaf->count;
    while (rc == 0 && tree->depth > 1 &&
           tree->whole[tree->depth - 2].leaves == tree->whole[tree->depth - 1].leaves)
        rc = join_last_two(tree);
    return rc;
}

int merkle_tree_root(struct merkle_tree *tree, uint8_t root[MERKLE_HASH_BYTES])
{
    int rc = 0;

    if (tree->depth == 0)
        return EVP_Digest("", 0, root, NULL, EVP_sha256(), NULL) == 1 ? 0 : VARVE_ENOMEM;
    while (rc == 0 && tree->depth > 1)
        rc = join_last_two(tree);
    memcpy(root, tree->whole[0].hash, MERKLE_HASH_BYTES);
    return rc;
}

void merkle_hex(const uint8_t hash[MERKLE_HASH_BYTES], char text[2 * MERKLE_HASH_BYTES + 1])
{
    for (int i = 0; i < MERKLE_HASH_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
}
