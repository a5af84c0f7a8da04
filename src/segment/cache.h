/* cache.h - blocks in memory, by (cache id of their segment, offset): sharded, bounded, scan-resistant.
 *
 * A hit takes no lock and writes nothing shared but a small per-block counter, and that only while it is
 * low: readers load a slot, or walk hash chains, inside rcu (base/rcu.h). Replacement is S3-FIFO (Yang et al., "FIFO
 * queues are all you need for cache eviction", SOSP 2023): a small queue for newcomers, a main queue for
 * what was hit there, and ghosts (hashes only) of what left the small queue; so a scan passes through
 * the small queue and leaves the rest alone. Inserting takes the shard's mutex, never across I/O.
 *
 * The limit is hard: what is in the tables, what is evicted and waits for its grace period or for a
 * holder of a reference, and what was reserved (pinned indexes and filters), together never pass it by
 * an insert. cache_reserve() alone can, as it is never refused, until what it evicted is freed. The
 * tables themselves (at most 0.6 % of the limit) come on top. Whoever uses a cache calls rcu_reclaim() when
 * cache_is_tight(), or inserts are refused soon: the cache never does. */
#ifndef SEGMENT_CACHE_H
#define SEGMENT_CACHE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/rcu.h"

struct cache; /* opaque */

/* The first member of what is cached, zeroed by its maker but for owner, offset, charge_bytes (> 0: its
 * whole memory), destroy, refs and slot. A slot is its owner's, for this one place in its file: NULL while
 * nothing of it is cached. It lives until cache_drop_owner() returned. */
struct cached {
    struct rcu_retired retired;
    struct cached *_Atomic *slot; /* where readers find it; NULL: by owner and offset */
    struct cached *_Atomic next_in_chain;
    struct cached *next_in_queue;
    struct cache *cache; /* set by cache_insert; NULL: it is not counted */
    uint64_t owner;      /* cache_new_owner() of its segment */
    uint64_t offset;
    size_t charge_bytes;
    void (*destroy)(struct cached *cached); /* frees it: no reference, no reader */
    _Atomic uint32_t refs;                  /* starts at 1: the maker's */
    _Atomic uint8_t hits;
    uint8_t state; /* the cache's */
};

struct cache_stats {
    uint64_t limit_bytes;
    uint64_t used_bytes;     /* of blocks, those on their way out included */
    uint64_t reserved_bytes; /* cache_reserve() */
    uint64_t entries;
    uint64_t hits;
    uint64_t misses;
    uint64_t inserts;
    uint64_t evictions;
    uint64_t refused; /* inserts for which there was no room */
};

/* The tables are made for this limit: above it ghosts are remembered for less long. NULL: no memory. */
struct cache *cache_create(uint64_t limit_bytes);
/* Another limit, from the next insert on. What is there goes by cache_fit(). Any thread. */
void cache_set_limit(struct cache *cache, uint64_t limit_bytes);
uint64_t cache_limit(const struct cache *cache); /* any thread */
/* What blocks, and what cache_reserve() took, leave of it. Any thread. */
uint64_t cache_room_left(const struct cache *cache);
/* Evicts down to the limit. Takes time by the number of blocks, under the mutex of one shard after the other:
 * for a job. Any thread. */
void cache_fit(struct cache *cache);
/* Forgets all that `which` says 1 of, and what that was hit; like cache_fit(). */
void cache_drop_which(struct cache *cache, int (*which)(const struct cached *cached));
/* Nothing may be held from outside, and the caller is not inside: it waits for a grace period. Takes
 * NULL. */
void cache_destroy(struct cache *cache);
void cache_get_stats(struct cache *cache, struct cache_stats *stats); /* any thread */

/* What was evicted takes half of the room that is left to it: rcu_reclaim() is due. Two loads; any thread. */
int cache_is_tight(const struct cache *cache);

/* A number that no other segment of this cache has. Any thread. */
uint64_t cache_new_owner(struct cache *cache);

/* Inside rcu. What it returns lives until the caller leaves, or as long as it holds a reference. NULL: it
 * is not there. */
struct cached *cache_find(struct cache *cache, uint64_t owner, uint64_t offset);
/* The same of what has a slot: one load instead of a walk. */
struct cached *cache_find_slot(struct cache *cache, struct cached *_Atomic *slot);

/* Puts it in, once in its life; the cache takes a reference of its own. If another thread was faster, or
 * there is no room, or it is larger than a quarter of a shard (of 8 MiB or more; a smaller cache is one
 * shard), it is not put in and the caller goes on with its own. Any thread, inside or not. Returns 1 if it
 * was put in. */
int cache_insert(struct cache *cache, struct cached *cached);

/* Forgets all of a segment that goes away. Any thread. */
void cache_drop_owner(struct cache *cache, uint64_t owner);

/* Memory that others pin and that counts against the limit; blocks make room. Never fails: what is pinned
 * is there. Any thread. */
void cache_reserve(struct cache *cache, uint64_t bytes);
void cache_unreserve(struct cache *cache, uint64_t bytes);

/* Inside rcu, or with a reference: one more. */
static inline void cached_ref(struct cached *cached)
{
    atomic_fetch_add_explicit(&cached->refs, 1, memory_order_relaxed);
}
/* The last one frees it. Takes NULL. Any thread. */
void cached_unref(struct cached *cached);

#endif
