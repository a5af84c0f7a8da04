#include "resp/slab.h"

#include "base/mem.h"
#include "resp/reader.h"

#define POOL_BUFFER_BYTES_MIN 128

struct resp_pool {
    struct resp_slab *free; /* last given, first taken: it is the one that is in the CPU's cache */
    size_t free_count;
    size_t keep_count;
    size_t slab_bytes;
};

struct resp_pool *resp_pool_create(size_t buffer_bytes, size_t keep_count)
{
    CHECK(buffer_bytes >= POOL_BUFFER_BYTES_MIN);
    struct resp_pool *pool = mem_alloc(sizeof(*pool));
    if (pool == NULL)
        return NULL;
    /* The head counts, so that a buffer of 16 KiB is a block of 16 KiB to the allocator. */
    *pool = (struct resp_pool){.keep_count = keep_count,
                               .slab_bytes = buffer_bytes - sizeof(struct resp_slab)};
    return pool;
}

void resp_pool_destroy(struct resp_pool *pool)
{
    if (pool == NULL)
        return;
    while (pool->free != NULL) {
        struct resp_slab *next = pool->free->next;
        mem_free(pool->free);
        pool->free = next;
    }
    mem_free(pool);
}

size_t resp_pool_slab_bytes(const struct resp_pool *pool)
{
    return pool->slab_bytes;
}

struct resp_slab *resp_slab_take(struct resp_pool *pool, size_t cap)
{
    struct resp_slab *slab = pool->free;

    if (cap < pool->slab_bytes)
        cap = pool->slab_bytes;
    if (LIKELY(cap == pool->slab_bytes && slab != NULL)) {
        pool->free = slab->next;
        pool->free_count--;
    } else {
        if (cap > SIZE_MAX - sizeof(*slab))
            return NULL;
        slab = mem_alloc(sizeof(*slab) + cap);
        if (slab == NULL)
            return NULL;
        slab->cap = cap;
    }
    slab->next = NULL;
    slab->len = 0;
    return slab;
}

void resp_slab_give(struct resp_pool *pool, struct resp_slab *slab)
{
    if (slab == NULL)
        return;
    if (slab->cap != pool->slab_bytes || pool->free_count >= pool->keep_count) {
        mem_free(slab);
        return;
    }
    slab->next = pool->free;
    pool->free = slab;
    pool->free_count++;
}

struct resp_slab *resp_slab_grow(struct resp_slab *slab, size_t cap)
{
    if (cap > SIZE_MAX - sizeof(*slab))
        return NULL;
    struct resp_slab *grown = mem_realloc(slab, sizeof(*slab) + cap);
    if (grown != NULL)
        grown->cap = cap;
    return grown;
}
