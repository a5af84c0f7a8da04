/* range_map.h - the range tombstones of a memtable: which sequence deleted a key last.
 *
 * A boundary map: each begin and end that was ever named is a key of a radix tree, and holds the
 * chain of the sequences that delete what lies from it to the next boundary. A new boundary takes
 * over the chain of the one before it; a tombstone puts its sequence on top of every boundary in
 * its range. So a lookup is one search for the greatest boundary <= key, and an add costs by the
 * boundaries inside its range: few where ranges are disjoint or nested, as ours are.
 *
 * Threads as in art.h. A reader asks for sequences that were published to it before. */
#ifndef LSM_RANGE_MAP_H
#define LSM_RANGE_MAP_H

#include <stdatomic.h>

#include "lsm/art.h"
#include "segment/chunk.h"

/* One tombstone as it was added. Lives as long as the arena. */
struct memtable_range {
    const struct memtable_range *older;
    struct art_leaf *begin;
    const struct art_leaf *end;
    uint64_t seq;
    uint64_t expire_ms;
    uint32_t crc;
};

struct range_map {
    struct art boundaries;
    struct memtable_range *_Atomic newest;
    const struct art_leaf *_Atomic lowest; /* boundaries; outside them there is nothing */
    const struct art_leaf *_Atomic highest;
};

void range_map_init(struct range_map *map, struct arena *arena);

/* Adds a tombstone from chunk->key to chunk->value, which is exclusive; one whose end is not above
 * its begin deletes nothing. Returns 0, or VARVE_ENOMEM: no reader will find it. Writer thread. */
int range_map_add(struct range_map *map, uint64_t seq, const struct chunk *chunk) MUST_CHECK;
/* Takes the newest tombstone back. Its sequence was never published. Writer thread. */
void range_map_undo(struct range_map *map);

/* An upper bound of what adding [begin, end) takes from the arena now. Writer thread. */
size_t range_map_cost_bytes(const struct range_map *map, struct varve_slice begin,
                            struct varve_slice end);

/* The newest tombstone over key with a sequence <= seq_max; 0: none. Any thread. */
uint64_t range_map_seq_slow(const struct range_map *map, struct varve_slice key, uint64_t seq_max);

static inline struct memtable_range *range_map_newest(const struct range_map *map)
{
    return atomic_load_explicit(&map->newest, memory_order_acquire);
}

static inline uint64_t range_map_seq(const struct range_map *map, struct varve_slice key,
                                     uint64_t seq_max)
{
    if (LIKELY(range_map_newest(map) == NULL))
        return 0;
    return range_map_seq_slow(map, key, seq_max);
}

/* What one piece of need bytes may cost in an arena: itself, the tail of the chunk that it did not
 * fit in, which is smaller than it and than a quarter of a chunk, and a new chunk's header. */
#define ARENA_TAIL_MAX_BYTES ((size_t)512 * 1024)
#define ARENA_HEAD_MAX_BYTES 64

static inline size_t arena_cost_bytes(size_t need)
{
    size_t tail = need < ARENA_TAIL_MAX_BYTES ? need : ARENA_TAIL_MAX_BYTES;

    return need + 8 + tail + 8 + ARENA_HEAD_MAX_BYTES;
}

#endif
