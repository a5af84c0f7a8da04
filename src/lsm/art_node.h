/* art_node.h - the nodes of art.h's tree, for art.c and art_iter.c only.
 *
 * Five sizes. Up to 32 children lie in the order of their coming: a byte array beside a slot array,
 * searched eight bytes at a time, appended to by storing slot, byte and then the count. 64 children hang behind an index of 256 bytes, 256 need no index.
 *
 * A node is published complete. After that the writer changes in place only:
 *   - a slot, from one reference to another that holds the same keys and more,
 *   - count (or an index byte, or a slot of the largest kind), after the child is there,
 *   - end, from NULL to a leaf,
 *   - stale, from 0 to 1, once another node has taken its place.
 * Words that it writes beside bytes which a reader may load are atomic as whole words. */
#ifndef LSM_ART_NODE_H
#define LSM_ART_NODE_H

#include "lsm/art.h"

enum art_node_kind { ART_NODE4, ART_NODE16, ART_NODE32, ART_NODE64, ART_NODE256, ART_NODE_KINDS };

#define ART_PREFIX_INLINE_BYTES 8

struct art_node {
    uint8_t kind;
    _Atomic uint8_t stale;  /* another node took its place: it may lack newer keys */
    _Atomic uint16_t count; /* children, `end` not counted */
    uint32_t prefix_len;    /* bytes that all keys below share, after the edge that leads here */
    union {
        uint8_t bytes[ART_PREFIX_INLINE_BYTES];
        const uint8_t *at; /* longer ones: in the key of a leaf below */
    } prefix;
    art_slot end; /* the leaf whose key ends here, after the prefix; else 0 */
};

struct art_node4 {
    struct art_node head;
    _Atomic uint64_t bytes[1]; /* 4 used */
    art_slot child[4];
};

struct art_node16 {
    struct art_node head;
    _Atomic uint64_t bytes[2];
    art_slot child[16];
};

struct art_node32 {
    struct art_node head;
    _Atomic uint64_t bytes[4];
    art_slot child[32];
};

struct art_node64 {
    struct art_node head;
    _Atomic uint64_t index[32]; /* a byte a key byte: 0 nothing, else 1 + slot */
    art_slot child[64];
};

struct art_node256 {
    struct art_node head;
    art_slot child[256];
};

static inline int art_is_leaf(uintptr_t ref)
{
    return (int)(ref & 1);
}

static inline struct art_leaf *art_ref_leaf(uintptr_t ref)
{
    return (struct art_leaf *)(ref - 1);
}

static inline uintptr_t art_leaf_ref(const struct art_leaf *leaf)
{
    return (uintptr_t)leaf + 1;
}

static inline struct art_node *art_ref_node(uintptr_t ref)
{
    return (struct art_node *)ref;
}

static inline uintptr_t art_load(const art_slot *slot)
{
    return atomic_load_explicit(slot, memory_order_acquire);
}

static inline const uint8_t *art_prefix(struct art_node *node)
{
    return node->prefix_len <= ART_PREFIX_INLINE_BYTES ? node->prefix.bytes : node->prefix.at;
}

/* How many bytes two runs share, at most `max`. */
static inline size_t art_same_len(const uint8_t *a, const uint8_t *b, size_t max)
{
    size_t n = 0;

    while (max - n >= 8) {
        uint64_t x, y;
        memcpy(&x, a + n, sizeof(x));
        memcpy(&y, b + n, sizeof(y));
        if (x != y)
            return n + (size_t)__builtin_ctzll(x ^ y) / 8;
        n += 8;
    }
    while (n < max && a[n] == b[n])
        n++;
    return n;
}

/* How many bytes of key from depth on agree with the node's prefix. */
static inline size_t art_prefix_same_len(struct art_node *node, struct varve_slice key,
                                         size_t depth)
{
    size_t rest = key.len - depth;

    if (LIKELY(node->prefix_len == 0))
        return 0;
    return art_same_len(art_prefix(node), key.data + depth,
                        rest < node->prefix_len ? rest : node->prefix_len);
}

/* Byte order of a leaf's key against key; both agree in the first depth bytes. */
static inline int art_leaf_compare(const struct art_leaf *leaf, struct varve_slice key,
                                   size_t depth)
{
    return varve_slice_compare(varve_slice(leaf->key + depth, leaf->key_len - depth),
                               varve_slice(key.data + depth, key.len - depth));
}

/* Bytes and slots of a kind up to ART_NODE32. */
static inline _Atomic uint64_t *art_array_bytes(struct art_node *node)
{
    return ((struct art_node4 *)node)->bytes;
}

static inline art_slot *art_array_children(struct art_node *node)
{
    return (art_slot *)(art_array_bytes(node) + ((size_t)1 << node->kind));
}

_Static_assert(offsetof(struct art_node4, child) == sizeof(struct art_node) + 8 &&
                   offsetof(struct art_node16, child) == sizeof(struct art_node) + 16 &&
                   offsetof(struct art_node32, child) == sizeof(struct art_node) + 32,
               "art_array_children computes it");

/* The lowest bit that is set is that of the first byte of word which equals byte. */
static inline uint32_t art_word_match(uint64_t word, uint8_t byte)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t x = word ^ (ones * byte);
    uint64_t zero = (x - ones) & ~x & (ones << 7); /* right up to the first zero byte of x */

    return (uint32_t)(((zero >> 7) * 0x0102040810204080u) >> 56);
}

static inline art_slot *art_array_find(struct art_node *node, uint8_t byte)
{
    uint32_t count = atomic_load_explicit(&node->count, memory_order_acquire);
    const _Atomic uint64_t *bytes = art_array_bytes(node);

    for (uint32_t i = 0; i < count; i += 8) {
        uint64_t word = atomic_load_explicit(&bytes[i / 8], memory_order_relaxed);
        uint32_t match = art_word_match(word, byte);
        if (match != 0) { /* the first match is the real one: unused bytes lie behind the used */
            uint32_t slot = i + (uint32_t)__builtin_ctz(match);
            return slot < count ? &art_array_children(node)[slot] : NULL;
        }
    }
    return NULL;
}

/* The slot of the child for byte, or NULL. What it holds is never 0. */
static inline art_slot *art_node_find(struct art_node *node, uint8_t byte)
{
    if (node->kind == ART_NODE256) {
        art_slot *slot = &((struct art_node256 *)node)->child[byte];
        return atomic_load_explicit(slot, memory_order_relaxed) == 0 ? NULL : slot;
    }
    if (node->kind == ART_NODE64) {
        struct art_node64 *wide = (struct art_node64 *)node;
        uint64_t word = atomic_load_explicit(&wide->index[byte / 8], memory_order_acquire);
        uint8_t slot = (uint8_t)(word >> (byte % 8 * 8));
        return slot == 0 ? NULL : &wide->child[slot - 1];
    }
    return art_array_find(node, byte);
}

enum art_direction { ART_UP, ART_DOWN };

#define ART_AT_BEFORE (-1) /* before the first edge */
#define ART_AT_BEHIND 257  /* behind the last */

/* The edge that follows `at` in the direction, and in *ref what it leads to; -1: none. seen is
 * zeroed before the first step in a node, and kept for the next ones. */
int art_node_step(struct art_node *node, int at, enum art_direction direction,
                  struct art_byte_set *seen, uintptr_t *ref);

#endif
