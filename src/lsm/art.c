/* Inner nodes hold their whole prefix (by pointing into a key below when it is long), so a descent
 * compares every byte once and a miss ends where the key leaves the tree.
 *
 * The writer changes the tree by one release store: of a child's count, of an `end`, or of the slot
 * that leads to a node, which then leads to a bigger or shorter-prefixed copy of it. So a reader
 * that loads with acquire finds, at any moment, a tree that holds every key linked before.
 * A1  What a slot leads to holds all keys that it held before.
 * A2  A replaced node is never changed again but for `stale`, and is stale before the writer
 *     returns; so a node that is not stale lacks no key that was linked before.
 * A3  An inner node has at least two keys below it, hence a step from its start finds one.
 *
 * Refused: reusing replaced nodes (readers would need epochs; they cost 3-4 bytes a key), sorted
 * small nodes (an insert would have to copy them), optimistic prefixes (a second comparison of the
 * whole key at the leaf, and no early miss). */
#include "lsm/art_node.h"

#include "varve/status.h"

static const struct {
    uint16_t size_bytes;
    uint16_t cap;
} kinds[ART_NODE_KINDS] = {
    [ART_NODE4] = {sizeof(struct art_node4), 4},
    [ART_NODE16] = {sizeof(struct art_node16), 16},
    [ART_NODE32] = {sizeof(struct art_node32), 32},
    [ART_NODE64] = {sizeof(struct art_node64), 64},
    [ART_NODE256] = {sizeof(struct art_node256), 256},
};

_Static_assert(sizeof(struct art_node) == 24, "a small node fits one cache line");
_Static_assert(sizeof(struct art_node4) == 64, "a small node fits one cache line");
_Static_assert(sizeof(struct art_node256) + sizeof(struct art_node4) <= ART_LINK_MAX_BYTES,
               "the worst link splits the prefix of a node of the largest kind");

void art_init(struct art *art, struct arena *arena)
{
    atomic_init(&art->root, 0);
    art->arena = arena;
}

static void node_set_prefix(struct art_node *node, const uint8_t *bytes, uint32_t len)
{
    node->prefix_len = len;
    if (len <= ART_PREFIX_INLINE_BYTES)
        memcpy(node->prefix.bytes, bytes, len);
    else
        node->prefix.at = bytes;
}

/* Empty; NULL: no memory. prefix must live in the arena. */
static struct art_node *node_create(struct arena *arena, enum art_node_kind kind,
                                    const uint8_t *prefix, uint32_t prefix_len)
{
    struct art_node *node = arena_alloc(arena, kinds[kind].size_bytes);

    if (node == NULL)
        return NULL;
    if (kind >= ART_NODE64)
        memset(node, 0, kinds[kind].size_bytes);
    else
        memset(node, 0, sizeof(*node) + (kinds[kind].cap + 7u) / 8 * 8);
    node->kind = (uint8_t)kind;
    node_set_prefix(node, prefix, prefix_len);
    return node;
}

/* Adds a child to a node that has room; a reader may be in it. */
static void node_add(struct art_node *node, uint8_t byte, uintptr_t ref)
{
    uint32_t count = atomic_load_explicit(&node->count, memory_order_relaxed);

    if (node->kind == ART_NODE256) {
        atomic_store_explicit(&((struct art_node256 *)node)->child[byte], ref,
                              memory_order_release);
    } else if (node->kind == ART_NODE64) {
        struct art_node64 *wide = (struct art_node64 *)node;
        atomic_store_explicit(&wide->child[count], ref, memory_order_relaxed);
        uint64_t word = atomic_load_explicit(&wide->index[byte / 8], memory_order_relaxed);
        word |= (uint64_t)(count + 1) << (byte % 8 * 8);
        atomic_store_explicit(&wide->index[byte / 8], word, memory_order_release);
    } else {
        _Atomic uint64_t *bytes = &art_array_bytes(node)[count / 8];
        atomic_store_explicit(&art_array_children(node)[count], ref, memory_order_relaxed);
        uint64_t word = atomic_load_explicit(bytes, memory_order_relaxed);
        word |= (uint64_t)byte << (count % 8 * 8);
        atomic_store_explicit(bytes, word, memory_order_relaxed);
    }
    atomic_store_explicit(&node->count, (uint16_t)(count + 1), memory_order_release);
}

/* Adds a leaf whose key reaches to depth, below a node that is not published yet. */
static void node_add_leaf(struct art_node *node, struct art_leaf *leaf, size_t depth)
{
    if (leaf->key_len == depth)
        atomic_store_explicit(&node->end, art_leaf_ref(leaf), memory_order_relaxed);
    else
        node_add(node, leaf->key[depth], art_leaf_ref(leaf));
}

/* The next larger kind with the same children; NULL: no memory. */
static struct art_node *node_grow(struct arena *arena, struct art_node *old)
{
    struct art_node *node = node_create(arena, old->kind + 1, art_prefix(old), old->prefix_len);
    struct art_byte_set seen = {0};
    uintptr_t ref;

    if (node == NULL)
        return NULL;
    atomic_store_explicit(&node->end, art_load(&old->end), memory_order_relaxed);
    for (int at = 0; (at = art_node_step(old, at, ART_UP, &seen, &ref)) > 0;)
        node_add(node, (uint8_t)(at - 1), ref);
    return node;
}

static void slot_publish(art_slot *slot, uintptr_t ref)
{
    atomic_store_explicit(slot, ref, memory_order_release);
}

static void node_replace(art_slot *slot, struct art_node *old, struct art_node *with)
{
    slot_publish(slot, (uintptr_t)with);
    atomic_store_explicit(&old->stale, 1, memory_order_release);
}

static int link_beside_leaf(struct art *art, const struct art_place *place, struct art_leaf *leaf)
{
    size_t depth = place->depth + place->same_len;
    struct art_node *node = node_create(art->arena, ART_NODE4, leaf->key + place->depth,
                                        place->same_len);

    if (node == NULL)
        return VARVE_ENOMEM;
    node_add_leaf(node, art_ref_leaf(art_load(place->slot)), depth);
    node_add_leaf(node, leaf, depth);
    slot_publish(place->slot, (uintptr_t)node);
    return 0;
}

/* The key leaves the node within its prefix: a new parent gets the part that both share. */
static int link_above_node(struct art *art, const struct art_place *place, struct art_leaf *leaf)
{
    struct art_node *old = art_ref_node(art_load(place->slot));
    const uint8_t *prefix = art_prefix(old);
    struct art_node *parent = node_create(art->arena, ART_NODE4, leaf->key + place->depth,
                                          place->same_len);
    struct art_node *lower = arena_alloc(art->arena, kinds[old->kind].size_bytes);

    if (parent == NULL || lower == NULL)
        return VARVE_ENOMEM;
    memcpy(lower, old, kinds[old->kind].size_bytes);
    node_set_prefix(lower, prefix + place->same_len + 1, old->prefix_len - place->same_len - 1);
    node_add(parent, prefix[place->same_len], (uintptr_t)lower);
    node_add_leaf(parent, leaf, place->depth + place->same_len);
    node_replace(place->slot, old, parent);
    return 0;
}

int art_link(struct art *art, const struct art_place *place, struct art_leaf *leaf)
{
    uintptr_t ref = art_load(place->slot);
    struct art_node *node = art_ref_node(ref);

    if (ref == 0) {
        slot_publish(place->slot, art_leaf_ref(leaf));
        return 0;
    }
    if (art_is_leaf(ref))
        return link_beside_leaf(art, place, leaf);
    if (place->same_len < node->prefix_len)
        return link_above_node(art, place, leaf);
    size_t depth = (size_t)place->depth + node->prefix_len;
    if (leaf->key_len == depth) {
        slot_publish(&node->end, art_leaf_ref(leaf));
        return 0;
    }
    if (atomic_load_explicit(&node->count, memory_order_relaxed) < kinds[node->kind].cap) {
        node_add(node, leaf->key[depth], art_leaf_ref(leaf));
        return 0;
    }
    struct art_node *grown = node_grow(art->arena, node);
    if (grown == NULL)
        return VARVE_ENOMEM;
    node_add(grown, leaf->key[depth], art_leaf_ref(leaf));
    node_replace(place->slot, node, grown);
    return 0;
}

struct art_leaf *art_locate(struct art *art, struct varve_slice key, struct art_place *place)
{
    art_slot *slot = &art->root;
    size_t depth = 0;

    for (;;) {
        uintptr_t ref = atomic_load_explicit(slot, memory_order_relaxed);
        size_t same = 0;
        *place = (struct art_place){.slot = slot, .depth = (uint32_t)depth};
        if (ref == 0)
            return NULL;
        if (art_is_leaf(ref)) {
            struct art_leaf *leaf = art_ref_leaf(ref);
            size_t rest = key.len - depth;
            size_t leaf_rest = leaf->key_len - depth;
            same = art_same_len(leaf->key + depth, key.data + depth,
                                rest < leaf_rest ? rest : leaf_rest);
            place->same_len = (uint32_t)same;
            return same == rest && same == leaf_rest ? leaf : NULL;
        }
        struct art_node *node = art_ref_node(ref);
        same = art_prefix_same_len(node, key, depth);
        place->same_len = (uint32_t)same;
        if (same < node->prefix_len)
            return NULL;
        depth += same;
        if (depth == key.len) {
            uintptr_t end = atomic_load_explicit(&node->end, memory_order_relaxed);
            return end == 0 ? NULL : art_ref_leaf(end);
        }
        slot = art_node_find(node, key.data[depth]);
        if (slot == NULL)
            return NULL;
        depth++;
    }
}

struct art_leaf *art_find(const struct art *art, struct varve_slice key)
{
    uintptr_t ref = art_load(&art->root);
    size_t depth = 0;

    while (ref != 0 && !art_is_leaf(ref)) {
        struct art_node *node = art_ref_node(ref);
        if (art_prefix_same_len(node, key, depth) < node->prefix_len)
            return NULL;
        depth += node->prefix_len;
        if (depth == key.len) {
            ref = art_load(&node->end);
            return ref == 0 ? NULL : art_ref_leaf(ref);
        }
        art_slot *slot = art_node_find(node, key.data[depth]);
        if (slot == NULL)
            return NULL;
        ref = art_load(slot);
        depth++;
    }
    if (ref == 0)
        return NULL;
    struct art_leaf *leaf = art_ref_leaf(ref);
    size_t rest = key.len - depth;
    if (leaf->key_len != key.len)
        return NULL;
    return art_same_len(leaf->key + depth, key.data + depth, rest) == rest ? leaf : NULL;
}

/* The lines that hold a small node, or a leaf with a short value. */
static void prefetch_ref(uintptr_t ref)
{
    const char *at = (const char *)(ref & ~(uintptr_t)1);

    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
    __builtin_prefetch(at + 128);
}

/* One level down for one key; 0: there is nothing. Reads what was prefetched before. */
static uintptr_t prefetch_step(uintptr_t ref, struct varve_slice key, size_t *depth)
{
    struct art_node *node = art_ref_node(ref);
    art_slot *slot;

    *depth += node->prefix_len; /* whether it agrees is for the lookup to find out */
    if (*depth > key.len)
        return 0;
    slot = *depth == key.len ? &node->end : art_node_find(node, key.data[*depth]);
    *depth += 1;
    uintptr_t below = slot == NULL ? 0 : art_load(slot);
    if (below != 0)
        prefetch_ref(below);
    return below;
}

uint32_t art_prefetch(const struct art *art, const struct varve_slice *keys, size_t count)
{
    uintptr_t refs[ART_PREFETCH_MAX];
    size_t depths[ART_PREFETCH_MAX] = {0};
    uintptr_t root = art_load(&art->root);
    uint32_t absent = 0;
    size_t active = count;

    CHECK(count <= ART_PREFETCH_MAX);
    for (size_t i = 0; i < count; i++)
        refs[i] = root;
    while (active > 0) {
        active = 0;
        for (size_t i = 0; i < count; i++) {
            if (refs[i] == 0 || art_is_leaf(refs[i]))
                continue;
            refs[i] = prefetch_step(refs[i], keys[i], &depths[i]);
            active += refs[i] != 0 && !art_is_leaf(refs[i]);
        }
    }
    for (size_t i = 0; i < count; i++)
        absent |= (uint32_t)(refs[i] == 0) << i;
    return absent;
}

/* The outermost leaf below ref, looking in a direction: the first one upwards. */
static struct art_leaf *ref_first(uintptr_t ref, enum art_direction direction)
{
    int from = direction == ART_UP ? ART_AT_BEFORE : ART_AT_BEHIND;

    while (!art_is_leaf(ref)) {
        struct art_byte_set seen = {0};
        CHECK(art_node_step(art_ref_node(ref), from, direction, &seen, &ref) >= 0);
    }
    return art_ref_leaf(ref);
}

/* The nearest leaf to key in a direction. `best` is the subtree that holds it if the path of the
 * key itself leads nowhere; the deepest one met is the nearest. */
static struct art_leaf *art_nearest(const struct art *art, struct varve_slice key,
                                    enum art_direction direction, int or_equal)
{
    uintptr_t ref = art_load(&art->root);
    uintptr_t best = 0;
    size_t depth = 0;

    while (ref != 0) {
        if (art_is_leaf(ref)) {
            int order = art_leaf_compare(art_ref_leaf(ref), key, depth);
            if (order == 0 ? or_equal : (order > 0) == (direction == ART_UP))
                return art_ref_leaf(ref);
            break;
        }
        struct art_node *node = art_ref_node(ref);
        size_t same = art_prefix_same_len(node, key, depth);
        depth += same;
        if (same < node->prefix_len) {
            int below = depth < key.len && art_prefix(node)[same] < key.data[depth];
            if (below == (direction == ART_DOWN))
                best = ref;
            break;
        }
        int at = depth == key.len ? 0 : 1 + key.data[depth];
        struct art_byte_set seen = {0};
        uintptr_t beside;
        if (art_node_step(node, at, direction, &seen, &beside) >= 0)
            best = beside;
        art_slot *slot = at == 0 ? &node->end : art_node_find(node, (uint8_t)(at - 1));
        ref = slot == NULL ? 0 : art_load(slot);
        depth += at != 0;
    }
    return best == 0 ? NULL : ref_first(best, direction);
}

struct art_leaf *art_floor(const struct art *art, struct varve_slice key)
{
    return art_nearest(art, key, ART_DOWN, 1);
}

struct art_leaf *art_higher(const struct art *art, struct varve_slice key)
{
    return art_nearest(art, key, ART_UP, 0);
}
