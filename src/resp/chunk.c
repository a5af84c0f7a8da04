#include "resp/chunk.h"

#include "base/mem.h"
#include "resp/reader.h"

#define POOL_BUFFER_BYTES_MIN 128

struct resp_pool {
    struct resp_chunk *free; /* last given, first taken: it is the one that is in the CPU's cache */
    size_t free_count;
    size_t keep_count;
    size_t chunk_bytes;
};

struct resp_pool *resp_pool_create(size_t buffer_bytes, size_t keep_count)
{
    CHECK(buffer_bytes >= POOL_BUFFER_BYTES_MIN);
    struct resp_pool *pool = mem_alloc(sizeof(*pool));
    if (pool == NULL)
        return NULL;
    /* The head counts, so that a buffer of 16 KiB is a block of 16 KiB to the allocator. */
    *pool = (struct resp_pool){.keep_count = keep_count,
                               .chunk_bytes = buffer_bytes - sizeof(struct resp_chunk)};
    return pool;
}

void resp_pool_destroy(struct resp_pool *pool)
{
    if (pool == NULL)
        return;
    while (pool->free != NULL) {
        struct resp_chunk *next = pool->free->next;
        mem_free(pool->free);
        pool->free = next;
    }
    mem_free(pool);
}

size_t resp_pool_chunk_bytes(const struct resp_pool *pool)
{
    return pool->chunk_bytes;
}

struct resp_chunk *resp_chunk_take(struct resp_pool *pool, size_t cap)
{
    struct resp_chunk *chunk = pool->free;

    if (cap < pool->chunk_bytes)
        cap = pool->chunk_bytes;
    if (LIKELY(cap == pool->chunk_bytes && chunk != NULL)) {
        pool->free = chunk->next;
        pool->free_count--;
    } else {
        if (cap > SIZE_MAX - sizeof(*chunk))
            return NULL;
        chunk = mem_alloc(sizeof(*chunk) + cap);
        if (chunk == NULL)
            return NULL;
        chunk->cap = cap;
    }
    chunk->next = NULL;
    chunk->len = 0;
    return chunk;
}

void resp_chunk_give(struct resp_pool *pool, struct resp_chunk *chunk)
{
    if (chunk == NULL)
        return;
    if (chunk->cap != pool->chunk_bytes || pool->free_count >= pool->keep_count) {
        mem_free(chunk);
        return;
    }
    chunk->next = pool->free;
    pool->free = chunk;
    pool->free_count++;
}

struct resp_chunk *resp_chunk_grow(struct resp_chunk *chunk, size_t cap)
{
    if (cap > SIZE_MAX - sizeof(*chunk))
        return NULL;
    struct resp_chunk *grown = mem_realloc(chunk, sizeof(*chunk) + cap);
    if (grown != NULL)
        grown->cap = cap;
    return grown;
}
