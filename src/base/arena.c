#include "base/arena.h"

#include "base/mem.h"

struct arena_chunk {
    struct arena_chunk *older;
    size_t size_bytes;
    _Alignas(16) uint8_t data[];
};

void arena_init(struct arena *arena, size_t chunk_bytes)
{
    *arena = (struct arena){.chunk_bytes = chunk_bytes};
}

void arena_deinit(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;

    while (chunk != NULL) {
        struct arena_chunk *older = chunk->older;
        mem_free(chunk);
        chunk = older;
    }
    arena_init(arena, arena->chunk_bytes);
}

/* A large piece gets a chunk of its own, behind the newest, so that the newest goes on serving. */
void *arena_alloc_slow(struct arena *arena, size_t size_bytes)
{
    size_t need = (size_bytes + 7) & ~(size_t)7;

    if (need < size_bytes || need > SIZE_MAX - sizeof(struct arena_chunk))
        return NULL;
    int alone = need > arena->chunk_bytes / 4;
    int huge = !alone && arena->chunk_bytes % MEM_HUGE_BYTES == 0;
    size_t payload = alone ? need : arena->chunk_bytes - (huge ? sizeof(struct arena_chunk) : 0);
    struct arena_chunk *chunk = huge ? mem_alloc_huge(arena->chunk_bytes)
                                     : mem_alloc(sizeof(*chunk) + payload);
    if (chunk == NULL)
        return NULL;
    chunk->size_bytes = payload;
    arena->allocated_bytes += sizeof(*chunk) + payload;
    if (alone && arena->chunks != NULL) {
        chunk->older = arena->chunks->older;
        arena->chunks->older = chunk;
        return chunk->data;
    }
    chunk->older = arena->chunks;
    arena->chunks = chunk;
    arena->next = chunk->data + need;
    arena->end = chunk->data + payload;
    return chunk->data;
}
