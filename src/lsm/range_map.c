/* A tombstone is taken apart over several boundaries, which readers may meet half done. That is
 * harmless: its sequence is above every one that they ask for, until all of it is there. */
#include "lsm/range_map.h"

#include "lsm/chain.h"
#include "varve/status.h"

void range_map_init(struct range_map *map, struct arena *arena)
{
    art_init(&map->boundaries, arena);
    atomic_init(&map->newest, NULL);
    atomic_init(&map->lowest, NULL);
    atomic_init(&map->highest, NULL);
}

static const struct chain *boundary_chain(const struct art_leaf *boundary)
{
    return atomic_load_explicit(&boundary->value, memory_order_acquire);
}

static void boundary_set_chain(struct art_leaf *boundary, const struct chain *chain)
{
    atomic_store_explicit(&boundary->value, (void *)(uintptr_t)chain, memory_order_release);
}

/* The boundary at key, made if need be; NULL: no memory. */
static struct art_leaf *boundary_at(struct range_map *map, struct varve_slice key)
{
    struct art_place place;
    struct art_leaf *leaf = art_locate(&map->boundaries, key, &place);

    if (leaf != NULL)
        return leaf;
    leaf = arena_alloc(map->boundaries.arena, art_leaf_bytes(key.len));
    if (leaf == NULL)
        return NULL;
    const struct art_leaf *before = art_floor(&map->boundaries, key);
    atomic_init(&leaf->value, before == NULL ? NULL : (void *)(uintptr_t)boundary_chain(before));
    leaf->key_len = (uint32_t)key.len;
    if (key.len > 0)
        memcpy(leaf->key, key.data, key.len);
    if (art_link(&map->boundaries, &place, leaf) != 0)
        return NULL;
    return leaf;
}

/* The boundaries of [begin, end), one after the other; before is NULL at first. */
static struct art_leaf *boundary_next(struct range_map *map, struct art_leaf *begin,
                                      struct varve_slice end, const struct art_leaf *before)
{
    struct art_leaf *leaf = before == NULL ? begin
                                           : art_higher(&map->boundaries, art_leaf_key(before));

    if (leaf == NULL || varve_slice_compare(art_leaf_key(leaf), end) >= 0)
        return NULL;
    return leaf;
}

static int boundary_push(struct arena *arena, struct art_leaf *boundary, uint64_t seq)
{
    const struct chain *older = boundary_chain(boundary);
    size_t front = chain_front_bytes(older);
    uint8_t *piece = arena_alloc(arena, front + sizeof(struct chain));

    if (piece == NULL)
        return VARVE_ENOMEM;
    struct chain *link = (struct chain *)(void *)(piece + front);
    chain_init(link, older, seq);
    boundary_set_chain(boundary, link);
    return 0;
}

/* Takes seq off every boundary of the range that has it on top. */
static void range_pop(struct range_map *map, struct art_leaf *begin, struct varve_slice end,
                      uint64_t seq)
{
    struct art_leaf *leaf = NULL;

    while ((leaf = boundary_next(map, begin, end, leaf)) != NULL) {
        const struct chain *chain = boundary_chain(leaf);
        if (chain != NULL && chain->seq == seq)
            boundary_set_chain(leaf, chain->older);
    }
}

static void hull_widen(struct range_map *map, const struct art_leaf *leaf)
{
    const struct art_leaf *lowest = atomic_load_explicit(&map->lowest, memory_order_relaxed);
    const struct art_leaf *highest = atomic_load_explicit(&map->highest, memory_order_relaxed);

    if (lowest == NULL || varve_slice_compare(art_leaf_key(leaf), art_leaf_key(lowest)) < 0)
        atomic_store_explicit(&map->lowest, leaf, memory_order_release);
    if (highest == NULL || varve_slice_compare(art_leaf_key(leaf), art_leaf_key(highest)) > 0)
        atomic_store_explicit(&map->highest, leaf, memory_order_release);
}

int range_map_add(struct range_map *map, uint64_t seq, const struct chunk *chunk)
{
    struct arena *arena = map->boundaries.arena;
    struct memtable_range *range = arena_alloc(arena, sizeof(*range));
    struct art_leaf *begin = boundary_at(map, chunk->key);
    struct art_leaf *end = boundary_at(map, chunk->value);

    if (range == NULL || begin == NULL || end == NULL)
        return VARVE_ENOMEM;
    struct art_leaf *leaf = NULL;
    while ((leaf = boundary_next(map, begin, chunk->value, leaf)) != NULL) {
        if (boundary_push(arena, leaf, seq) != 0) {
            range_pop(map, begin, chunk->value, seq);
            return VARVE_ENOMEM;
        }
    }
    hull_widen(map, begin);
    hull_widen(map, end);
    *range = (struct memtable_range){
        .older = range_map_newest(map),
        .begin = begin,
        .end = end,
        .seq = seq,
        .expire_ms = chunk->expire_ms,
        .crc = chunk->crc,
    };
    atomic_store_explicit(&map->newest, range, memory_order_release);
    return 0;
}

void range_map_undo(struct range_map *map)
{
    struct memtable_range *range = range_map_newest(map);

    CHECK(range != NULL);
    range_pop(map, range->begin, art_leaf_key(range->end), range->seq);
    atomic_store_explicit(&map->newest, (struct memtable_range *)(uintptr_t)range->older,
                          memory_order_release);
}

size_t range_map_cost_bytes(const struct range_map *map, struct varve_slice begin,
                            struct varve_slice end)
{
    size_t inside = 1; /* begin itself, if it is no boundary yet */
    struct art_leaf *leaf = art_floor(&map->boundaries, begin);

    if (leaf == NULL || varve_slice_compare(art_leaf_key(leaf), begin) < 0)
        leaf = art_higher(&map->boundaries, begin);
    for (; leaf != NULL && varve_slice_compare(art_leaf_key(leaf), end) < 0;
         leaf = art_higher(&map->boundaries, art_leaf_key(leaf)))
        inside++;
    return arena_cost_bytes(sizeof(struct memtable_range)) +
           arena_cost_bytes(art_leaf_bytes(begin.len)) + arena_cost_bytes(art_leaf_bytes(end.len)) +
           2 * ART_LINK_MAX_PIECES * arena_cost_bytes(ART_LINK_MAX_BYTES) +
           inside * arena_cost_bytes(sizeof(struct chain_jump) + sizeof(struct chain));
}

uint64_t range_map_seq_slow(const struct range_map *map, struct varve_slice key, uint64_t seq_max)
{
    const struct art_leaf *lowest = atomic_load_explicit(&map->lowest, memory_order_acquire);
    const struct art_leaf *highest = atomic_load_explicit(&map->highest, memory_order_acquire);

    if (varve_slice_compare(key, art_leaf_key(lowest)) < 0 ||
        varve_slice_compare(key, art_leaf_key(highest)) >= 0)
        return 0;
    const struct art_leaf *boundary = art_floor(&map->boundaries, key);
    const struct chain *link = boundary == NULL ? NULL
                                                : chain_find(boundary_chain(boundary), seq_max);
    return link == NULL ? 0 : link->seq;
}
