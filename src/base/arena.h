/* arena.h - bump allocation from chunks; everything is freed at once. One thread allocates;
 * other threads may read what was published to them. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/thread.h"

struct arena_chunk;

/* Huge chunks (of MEM_HUGE_BYTES) that no arena uses: the next one takes them without new pages, which the
 * system would have to clear. Shared by arenas, which must be gone before it. Any thread. */
struct arena_pool {
    struct mutex mutex;
    struct arena_chunk *spare;
    size_t spare_bytes;
    size_t max_bytes;
    _Atomic int wants; /* an arena took the last spare chunk, or found none */
};

void arena_pool_init(struct arena_pool *pool, size_t max_bytes);
void arena_pool_deinit(struct arena_pool *pool);
void arena_pool_clear(struct arena_pool *pool); /* gives all back to the system */
/* Makes a chunk whose pages are there already, if one is wanted and fits: for a thread that nobody waits for. The
 * system takes milliseconds to clear a huge page. */
void arena_pool_fill(struct arena_pool *pool);
static inline int arena_pool_wants(struct arena_pool *pool)
{
    return atomic_load_explicit(&pool->wants, memory_order_relaxed);
}
size_t arena_pool_bytes(struct arena_pool *pool);

struct arena {
    struct arena_chunk *chunks; /* newest first */
    uint8_t *next;
    uint8_t *end;
    size_t chunk_bytes;      /* of a multiple of MEM_HUGE_BYTES: in huge pages */
    size_t allocated_bytes;  /* taken from the allocator */
    struct arena_pool *pool; /* borrowed; NULL: none */
};

void arena_init(struct arena *arena, size_t chunk_bytes);
void arena_deinit(struct arena *arena);

void *arena_alloc_slow(struct arena *arena, size_t size_bytes) MUST_CHECK;

/* 8-byte aligned, uninitialised; NULL if the allocator has no more. */
static inline void *arena_alloc(struct arena *arena, size_t size_bytes)
{
    size_t need = (size_bytes + 7) & ~(size_t)7;

    if (LIKELY(need >= size_bytes && (size_t)(arena->end - arena->next) >= need)) {
        void *at = arena->next;
        arena->next += need;
        return at;
    }
    return arena_alloc_slow(arena, size_bytes);
}

/* Bytes taken from the allocator less what is still free in the newest chunk. */
static inline size_t arena_used_bytes(const struct arena *arena)
{
    return arena->allocated_bytes - (size_t)(arena->end - arena->next);
}

#endif
