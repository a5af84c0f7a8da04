#include "base/arena.h"

#include "base/mem.h"

#define PAGE_BYTES 4096 /* or less than one: it is only touched more often */

#ifdef __SANITIZE_ADDRESS__
void __asan_poison_memory_region(const volatile void *at, size_t size_bytes);
void __asan_unpoison_memory_region(const volatile void *at, size_t size_bytes);
#endif

struct arena_chunk {
    struct arena_chunk *older;
    size_t size_bytes; /* of data */
    size_t huge_bytes; /* of all, by mem_alloc_huge(); 0: by mem_alloc() */
    _Alignas(16) uint8_t data[];
};

/* AddressSanitizer finds out who still reads a chunk that lies in the pool. */
static void chunk_set_readable(struct arena_chunk *chunk, int readable)
{
#ifdef __SANITIZE_ADDRESS__
    if (readable)
        __asan_unpoison_memory_region(chunk->data, MEM_HUGE_BYTES - sizeof(*chunk));
    else
        __asan_poison_memory_region(chunk->data, MEM_HUGE_BYTES - sizeof(*chunk));
#else
    (void)chunk;
    (void)readable;
#endif
}

void arena_pool_init(struct arena_pool *pool, size_t max_bytes)
{
    *pool = (struct arena_pool){.max_bytes = max_bytes};
    mutex_init(&pool->mutex);
}

/* For an arena, or to be freed. */
static struct arena_chunk *pool_take(struct arena_pool *pool, int for_arena)
{
    mutex_lock(&pool->mutex);
    struct arena_chunk *chunk = pool->spare;
    if (chunk != NULL) {
        pool->spare = chunk->older;
        pool->spare_bytes -= MEM_HUGE_BYTES;
    }
    int wants = for_arena && pool->spare == NULL && pool->max_bytes >= MEM_HUGE_BYTES;
    atomic_store_explicit(&pool->wants, wants, memory_order_relaxed);
    mutex_unlock(&pool->mutex);
    if (chunk != NULL)
        chunk_set_readable(chunk, 1);
    return chunk;
}

/* 0: the pool is full. */
static int pool_give(struct arena_pool *pool, struct arena_chunk *chunk)
{
    mutex_lock(&pool->mutex);
    int taken = pool->spare_bytes + MEM_HUGE_BYTES <= pool->max_bytes;
    if (taken) {
        chunk_set_readable(chunk, 0);
        chunk->older = pool->spare;
        pool->spare = chunk;
        pool->spare_bytes += MEM_HUGE_BYTES;
        atomic_store_explicit(&pool->wants, 0, memory_order_relaxed);
    }
    mutex_unlock(&pool->mutex);
    return taken;
}

static void chunk_free(struct arena_pool *pool, struct arena_chunk *chunk)
{
    if (chunk->huge_bytes == 0)
        mem_free(chunk);
    else if (pool == NULL || chunk->huge_bytes != MEM_HUGE_BYTES || !pool_give(pool, chunk))
        mem_free_huge(chunk, chunk->huge_bytes);
}

void arena_pool_clear(struct arena_pool *pool)
{
    struct arena_chunk *chunk;

    while ((chunk = pool_take(pool, 0)) != NULL)
        mem_free_huge(chunk, MEM_HUGE_BYTES);
}

void arena_pool_fill(struct arena_pool *pool)
{
    if (atomic_exchange_explicit(&pool->wants, 0, memory_order_relaxed) == 0)
        return;
    struct arena_chunk *chunk = mem_alloc_huge(MEM_HUGE_BYTES);
    if (chunk == NULL) /* then the arena asks for itself */
        return;
    for (size_t at = 0; at < MEM_HUGE_BYTES; at += PAGE_BYTES)
        ((volatile uint8_t *)chunk)[at] = 0;
    chunk->huge_bytes = MEM_HUGE_BYTES;
    chunk->size_bytes = MEM_HUGE_BYTES - sizeof(*chunk);
    chunk_free(pool, chunk);
}

size_t arena_pool_bytes(struct arena_pool *pool)
{
    mutex_lock(&pool->mutex);
    size_t bytes = pool->spare_bytes;
    mutex_unlock(&pool->mutex);
    return bytes;
}

void arena_pool_deinit(struct arena_pool *pool)
{
    arena_pool_clear(pool);
    mutex_deinit(&pool->mutex);
}

void arena_init(struct arena *arena, size_t chunk_bytes)
{
    *arena = (struct arena){.chunk_bytes = chunk_bytes};
}

void arena_deinit(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    struct arena_pool *pool = arena->pool;

    while (chunk != NULL) {
        struct arena_chunk *older = chunk->older;
        chunk_free(pool, chunk);
        chunk = older;
    }
    arena_init(arena, arena->chunk_bytes);
    arena->pool = pool;
}

/* A whole chunk in huge pages. */
static struct arena_chunk *chunk_alloc_huge(const struct arena *arena)
{
    struct arena_chunk *chunk = NULL;

    if (arena->pool != NULL && arena->chunk_bytes == MEM_HUGE_BYTES)
        chunk = pool_take(arena->pool, 1);
    if (chunk == NULL)
        chunk = mem_alloc_huge(arena->chunk_bytes);
    if (chunk == NULL)
        return NULL;
    chunk->huge_bytes = arena->chunk_bytes;
    chunk->size_bytes = arena->chunk_bytes - sizeof(*chunk);
    return chunk;
}

static struct arena_chunk *chunk_alloc(size_t payload)
{
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + payload);

    if (chunk == NULL)
        return NULL;
    chunk->huge_bytes = 0;
    chunk->size_bytes = payload;
    return chunk;
}

/* A large piece gets a chunk of its own, behind the newest, so that the newest goes on serving. */
void *arena_alloc_slow(struct arena *arena, size_t size_bytes)
{
    size_t need = (size_bytes + 7) & ~(size_t)7;

    if (need < size_bytes || need > SIZE_MAX - sizeof(struct arena_chunk))
        return NULL;
    int alone = need > arena->chunk_bytes / 4;
    int huge = !alone && arena->chunk_bytes % MEM_HUGE_BYTES == 0;
    struct arena_chunk *chunk = huge ? chunk_alloc_huge(arena)
                                     : chunk_alloc(alone ? need : arena->chunk_bytes);
    if (chunk == NULL)
        return NULL;
    arena->allocated_bytes += sizeof(*chunk) + chunk->size_bytes;
    if (alone && arena->chunks != NULL) {
        chunk->older = arena->chunks->older;
        arena->chunks->older = chunk;
        return chunk->data;
    }
    chunk->older = arena->chunks;
    arena->chunks = chunk;
    arena->next = chunk->data + need;
    arena->end = chunk->data + chunk->size_bytes;
    return chunk->data;
}
