/* art.h - an adaptive radix tree: from byte-string keys to leaves, in byte order (a key before the
 * keys that it is a prefix of). Leis, Kemper, Neumann: "The Adaptive Radix Tree", ICDE 2013; the
 * readers' side after "The ART of Practical Synchronization", DaMoN 2016.
 *
 * One thread (the writer) inserts; any number of threads read without a lock. Keys are never
 * removed. All memory comes from the arena, so whatever a reader holds stays readable as long as
 * the arena lives. A read costs O(key length) and at most one node an edge of the tree. */
#ifndef LSM_ART_H
#define LSM_ART_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/check.h"
#include "varve/slice.h"

#define ART_KEY_MAX_BYTES ((size_t)1 << 30)

/* What the tree holds: the owner makes it in the same arena, the key complete, and links it. The
 * bytes behind the key are the owner's. value is the owner's too; the tree never looks at it. */
struct art_leaf {
    void *_Atomic value;
    uint32_t key_len; /* bytes, at most ART_KEY_MAX_BYTES */
    uint8_t key[];
};

static inline struct varve_slice art_leaf_key(const struct art_leaf *leaf)
{
    return (struct varve_slice){.data = leaf->key, .len = leaf->key_len};
}

static inline size_t art_leaf_bytes(size_t key_len)
{
    return offsetof(struct art_leaf, key) + key_len;
}

/* A tagged pointer: 0 nothing, bit 0 set a leaf, else a node. */
typedef _Atomic uintptr_t art_slot;

struct art {
    art_slot root;
    struct arena *arena; /* borrowed */
};

void art_init(struct art *art, struct arena *arena);

/* Where a key that is not there belongs. Valid until the next art_link. */
struct art_place {
    art_slot *slot;    /* what to replace */
    uint32_t depth;    /* bytes of the key above that slot */
    uint32_t same_len; /* bytes from depth that the key shares with what stands there */
};

/* Finds key, or sets place and returns NULL. Writer thread. */
struct art_leaf *art_locate(struct art *art, struct varve_slice key, struct art_place *place);

/* Links a leaf at the place that art_locate gave for its key; readers see it from here on. Returns
 * 0, or VARVE_ENOMEM and the tree is as it was. Writer thread. */
int art_link(struct art *art, const struct art_place *place, struct art_leaf *leaf) MUST_CHECK;

/* The most that one art_link takes from the arena, in how many pieces. */
#define ART_LINK_MAX_BYTES ((size_t)2304)
#define ART_LINK_MAX_PIECES 2

/* Brings what art_find() of these keys will read into the processor's caches: the keys descend side
 * by side, so that their cache misses overlap. At most ART_PREFETCH_MAX keys. Bit i of what it returns: key i
 * is not there. Any thread. */
#define ART_PREFETCH_MAX 32
uint32_t art_prefetch(const struct art *art, const struct varve_slice *keys, size_t count);

/* Any thread; each returns NULL if there is no such key. */
struct art_leaf *art_find(const struct art *art, struct varve_slice key);
struct art_leaf *art_floor(const struct art *art, struct varve_slice key);  /* greatest <= key */
struct art_leaf *art_higher(const struct art *art, struct varve_slice key); /* smallest > key */

/* A walk in key order, both ways, beside the writer: a move sees every key that was linked before
 * it. One owner, one thread. leaf is NULL where there is no such key; next and prev want a leaf. */
#define ART_ITER_INLINE_FRAMES 24

/* The bytes of a node whose children are unsorted, in order; up to date while it has as many. */
struct art_byte_set {
    uint64_t words[4];
    uint32_t count;
};

struct art_frame {
    struct art_node *node;
    int at; /* the edge that was taken: 0 the key that ends here, 1 + byte a child */
    struct art_byte_set seen;
};

struct art_iter {
    const struct art *art;
    struct art_leaf *leaf;
    int status; /* 0, or VARVE_ENOMEM: the path is too deep to be remembered, and leaf is NULL */
    uint32_t count;
    uint32_t cap;             /* grows with the depth of the tree: at most one a byte of a key */
    struct art_frame *frames; /* root first; the inline ones until they do not suffice */
    struct art_frame inline_frames[ART_ITER_INLINE_FRAMES];
};

void art_iter_init(struct art_iter *iter, const struct art *art);
void art_iter_deinit(struct art_iter *iter);
void art_iter_first(struct art_iter *iter);
void art_iter_last(struct art_iter *iter);
void art_iter_seek(struct art_iter *iter, struct varve_slice key);      /* >= key */
void art_iter_seek_prev(struct art_iter *iter, struct varve_slice key); /* <= key */
void art_iter_next(struct art_iter *iter);
void art_iter_prev(struct art_iter *iter);

#endif
