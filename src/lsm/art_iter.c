/* A walk remembers the edges from the root to its leaf. Nodes are replaced and leaves pushed down
 * beside it, so a move trusts a remembered node only while it is not stale (A2 in art.c), and the
 * lowest edge only while it still leads to the leaf; else it seeks its key anew. */
#include "lsm/art_node.h"

#include "base/mem.h"
#include "varve/status.h"

#define CACHE_LINE_BYTES 64

void art_iter_init(struct art_iter *iter, const struct art *art)
{
    iter->art = art;
    iter->leaf = NULL;
    iter->status = 0;
    iter->count = 0;
    iter->cap = ART_ITER_INLINE_FRAMES;
    iter->frames = iter->inline_frames;
}

void art_iter_deinit(struct art_iter *iter)
{
    if (iter->frames != iter->inline_frames)
        mem_free(iter->frames);
    iter->frames = iter->inline_frames;
}

static int iter_grow(struct art_iter *iter)
{
    uint32_t cap = iter->cap * 2;
    int is_inline = iter->frames == iter->inline_frames;
    struct art_frame *frames = mem_realloc(is_inline ? NULL : iter->frames, cap * sizeof(*frames));

    if (frames == NULL)
        return VARVE_ENOMEM;
    if (is_inline)
        memcpy(frames, iter->inline_frames, sizeof(iter->inline_frames));
    iter->frames = frames;
    iter->cap = cap;
    return 0;
}

static int iter_push(struct art_iter *iter, struct art_node *node, int at)
{
    if (UNLIKELY(iter->count == iter->cap)) {
        iter->status = iter_grow(iter);
        if (iter->status != 0) {
            iter->leaf = NULL;
            return iter->status;
        }
    }
    iter->frames[iter->count++] = (struct art_frame){.node = node, .at = at};
    return 0;
}

/* The walk goes over the children of this node next, and each is likely a cache miss: let them
 * come together. A leaf's owner keeps what it wants to read behind the key. */
static void node_prefetch_children(struct art_node *node)
{
    if (node->kind > ART_NODE32)
        return;
    uint32_t count = atomic_load_explicit(&node->count, memory_order_acquire);
    art_slot *children = art_array_children(node);
    for (uint32_t i = 0; i < count; i++) {
        const char *at = (const char *)atomic_load_explicit(&children[i], memory_order_relaxed);
        __builtin_prefetch(at);
        __builtin_prefetch(at + CACHE_LINE_BYTES);
        __builtin_prefetch(at + 2 * CACHE_LINE_BYTES);
    }
}

/* And its sibling after that. */
static void ref_prefetch_node(uintptr_t ref)
{
    const char *at = (const char *)ref;

    __builtin_prefetch(at);
    __builtin_prefetch(at + CACHE_LINE_BYTES);
    __builtin_prefetch(at + 2 * CACHE_LINE_BYTES);
}

/* To the outermost leaf below ref, looking in a direction. */
static void iter_descend(struct art_iter *iter, uintptr_t ref, enum art_direction direction)
{
    int from = direction == ART_UP ? ART_AT_BEFORE : ART_AT_BEHIND;

    while (!art_is_leaf(ref)) {
        struct art_node *node = art_ref_node(ref);
        node_prefetch_children(node);
        if (iter_push(iter, node, from) != 0)
            return;
        struct art_frame *top = &iter->frames[iter->count - 1];
        top->at = art_node_step(node, from, direction, &top->seen, &ref);
        CHECK(top->at >= 0);
    }
    iter->leaf = art_ref_leaf(ref);
}

/* To the next leaf behind the remembered edges. Returns 0 if it met a stale node before it found
 * one, and nothing is then known. */
static int iter_climb(struct art_iter *iter, enum art_direction direction)
{
    uintptr_t ref;

    while (iter->count > 0) {
        struct art_frame *top = &iter->frames[iter->count - 1];
        if (atomic_load_explicit(&top->node->stale, memory_order_acquire))
            return 0;
        int at = art_node_step(top->node, top->at, direction, &top->seen, &ref);
        if (at >= 0) {
            uintptr_t beside;
            top->at = at;
            if (!art_is_leaf(ref) &&
                art_node_step(top->node, at, direction, &top->seen, &beside) >= 0)
                ref_prefetch_node(beside);
            iter_descend(iter, ref, direction);
            return 1;
        }
        iter->count--;
    }
    iter->leaf = NULL;
    return 1;
}

/* To the nearest leaf as seen from the root at this moment; returns as iter_climb. */
static int iter_try_seek(struct art_iter *iter, struct varve_slice key,
                         enum art_direction direction, int or_equal)
{
    uintptr_t ref = art_load(&iter->art->root);
    size_t depth = 0;

    iter->count = 0;
    while (ref != 0) {
        if (art_is_leaf(ref)) {
            int order = art_leaf_compare(art_ref_leaf(ref), key, depth);
            if (order == 0 ? !or_equal : (order > 0) != (direction == ART_UP))
                break;
            iter->leaf = art_ref_leaf(ref);
            return 1;
        }
        struct art_node *node = art_ref_node(ref);
        size_t same = art_prefix_same_len(node, key, depth);
        depth += same;
        if (same < node->prefix_len) {
            int below = depth < key.len && art_prefix(node)[same] < key.data[depth];
            if (below == (direction == ART_UP))
                break;
            iter_descend(iter, ref, direction);
            return 1;
        }
        int at = depth == key.len ? 0 : 1 + key.data[depth];
        if (iter_push(iter, node, at) != 0)
            return 1;
        art_slot *slot = at == 0 ? &node->end : art_node_find(node, (uint8_t)(at - 1));
        ref = slot == NULL ? 0 : art_load(slot);
        depth += at != 0;
    }
    return iter_climb(iter, direction);
}

/* Each new try means that the writer replaced a node on this very path meanwhile. */
static void iter_seek(struct art_iter *iter, struct varve_slice key, enum art_direction direction,
                      int or_equal)
{
    iter->status = 0;
    while (!iter_try_seek(iter, key, direction, or_equal))
        ;
}

/* True while the lowest remembered edge leads to the leaf. */
static int iter_edge_is_current(struct art_iter *iter)
{
    const art_slot *slot = &iter->art->root;

    if (iter->count > 0) {
        struct art_frame *top = &iter->frames[iter->count - 1];
        slot = top->at == 0 ? &top->node->end : art_node_find(top->node, (uint8_t)(top->at - 1));
    }
    return art_load(slot) == art_leaf_ref(iter->leaf);
}

static void iter_move(struct art_iter *iter, enum art_direction direction)
{
    CHECK(iter->leaf != NULL);
    struct varve_slice key = art_leaf_key(iter->leaf);
    if (!iter_edge_is_current(iter) || !iter_climb(iter, direction))
        iter_seek(iter, key, direction, 0);
}

static void iter_outermost(struct art_iter *iter, enum art_direction direction)
{
    uintptr_t ref = art_load(&iter->art->root);

    iter->count = 0;
    iter->status = 0;
    iter->leaf = NULL;
    if (ref != 0)
        iter_descend(iter, ref, direction);
}

void art_iter_first(struct art_iter *iter)
{
    iter_outermost(iter, ART_UP);
}

void art_iter_last(struct art_iter *iter)
{
    iter_outermost(iter, ART_DOWN);
}

void art_iter_seek(struct art_iter *iter, struct varve_slice key)
{
    iter_seek(iter, key, ART_UP, 1);
}

void art_iter_seek_prev(struct art_iter *iter, struct varve_slice key)
{
    iter_seek(iter, key, ART_DOWN, 1);
}

void art_iter_next(struct art_iter *iter)
{
    iter_move(iter, ART_UP);
}

void art_iter_prev(struct art_iter *iter)
{
    iter_move(iter, ART_DOWN);
}
