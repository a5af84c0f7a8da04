/* cache_item.h - what the cache's tests put in: bytes that follow from owner and offset, poisoned when
 * they are freed. */
#ifndef TESTS_CACHE_ITEM_H
#define TESTS_CACHE_ITEM_H

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "segment/cache.h"

struct item {
    struct cached cached; /* first */
    uint64_t words[1];    /* as many as charge_bytes leaves room for */
};

static _Atomic uint64_t item_live_bytes; /* what is not destroyed */
static _Atomic uint64_t item_destroyed;

static inline uint64_t item_word(uint64_t owner, uint64_t offset)
{
    return owner * 0x9e3779b97f4a7c15u + offset + 1;
}

static inline size_t item_word_count(const struct item *item)
{
    return (item->cached.charge_bytes - offsetof(struct item, words)) / sizeof(item->words[0]);
}

static inline void item_destroy(struct cached *cached)
{
    struct item *item = CONTAINER_OF(cached, struct item, cached);

    CHECK(atomic_load(&cached->refs) == 0);
    atomic_fetch_sub(&item_live_bytes, cached->charge_bytes);
    atomic_fetch_add(&item_destroyed, 1);
    memset(item->words, 0, item_word_count(item) * sizeof(item->words[0]));
    mem_free(item);
}

static inline struct item *item_make(uint64_t owner, uint64_t offset, size_t bytes)
{
    struct item *item = mem_alloc_zero(bytes);

    CHECK(item != NULL);
    item->cached.owner = owner;
    item->cached.offset = offset;
    item->cached.charge_bytes = bytes;
    item->cached.destroy = item_destroy;
    atomic_init(&item->cached.refs, 1);
    for (size_t i = 0; i < item_word_count(item); i++)
        item->words[i] = item_word(owner, offset);
    atomic_fetch_add(&item_live_bytes, bytes);
    return item;
}

static inline void item_check(const struct cached *cached, uint64_t owner, uint64_t offset)
{
    const struct item *item = (const struct item *)(const void *)cached;

    CHECK(cached->owner == owner && cached->offset == offset);
    for (size_t i = 0; i < item_word_count(item); i++)
        CHECK(item->words[i] == item_word(owner, offset));
}

#endif
