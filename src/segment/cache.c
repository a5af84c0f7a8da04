/* cache.c - one hash table whose buckets belong to shards, and S3-FIFO in each shard.
 *
 * Buckets. A block's hash names its bucket; the low bits of the bucket's number name the shard, whose mutex
 * guards every change of the chain. Readers walk chains without it: a block is linked whole, and one
 * that was unlinked still leads on to the rest of its chain until its grace period is over. What has a slot of
 * its own is the only one in it, and in no bucket; its hash names the shard all the same.
 *
 * References. The table holds one, and gives it back only after the grace period. So a reader inside
 * never meets a block with no reference, and cached_ref() needs no loop.
 *
 * Room. A block counts from its insert until its destroy() returned: in the table, in limbo (evicted,
 * its grace period not over) or held. The count is one number for all shards, and an insert that would
 * push it past the limit is refused. So that this is rare, the tables fill only TABLE_SHARE of the room
 * and the rest is left to limbo. An insert evicts only down to that share: refusals never drain it.
 *
 * S3-FIFO. A newcomer enters the small queue, a tenth of the shard. At its end a block that was hit more
 * than once moves to the main queue, any other leaves and its hash stays as a ghost; a newcomer with a
 * ghost enters the main queue at once. At the end of the main queue a hit buys one more round. "More
 * than once", since the command that waited for a block from the disk finds it a first time here. What
 * somebody holds is passed over: evicting it would give no memory back. */
#include "segment/cache.h"

#include "base/mem.h"
#include "base/mutant.h"
#include "base/thread.h"

#define SHARD_BYTES_MIN (8u << 20) /* a shard must hold many blocks to be a fair share */
#define SHARDS_MAX 64
#define BLOCK_BYTES 4096 /* a usual one: how many buckets and ghosts there are */
#define TABLE_SHARE(bytes) ((bytes) - (bytes) / 16)
#define SMALL_SHARE(bytes) ((bytes) / 10)
#define CHARGE_SHARE(bytes) ((bytes) / 4) /* one block may not sweep a shard empty */
#define HITS_MAX 3
#define GHOST_WAYS 4
#define LINE_BYTES 64

enum { CACHED_NEW = 0, CACHED_SMALL, CACHED_MAIN, CACHED_OUT };

struct queue {
    struct cached *oldest;
    struct cached *newest;
    uint64_t bytes;
};

/* Hashes of what left the small queue; in a set of them the oldest falls out. 0: free. */
struct ghost_set {
    uint32_t newest_first[GHOST_WAYS];
};

struct shard {
    struct mutex mutex;
    struct queue small;
    struct queue main;
    uint64_t entries;
    uint64_t inserts;
    uint64_t evictions;
    uint64_t refused;
    uint8_t apart[LINE_BYTES];
};

/* Of one thread: one counter for all would be a shared write a hit. */
struct counter_slot {
    _Atomic uint64_t hits;
    _Atomic uint64_t misses;
    uint8_t apart[LINE_BYTES - 2 * sizeof(uint64_t)];
};

struct cache {
    struct cached *_Atomic *buckets;
    uint64_t bucket_mask;
    struct ghost_set *ghosts;
    uint64_t ghost_mask;
    struct shard *shards;
    uint32_t shard_count; /* a power of two */
    _Atomic uint64_t limit_bytes;
    uint8_t apart[LINE_BYTES]; /* readers share no line with what follows */
    _Atomic uint64_t used_bytes;
    _Atomic uint64_t reserved_bytes;
    _Atomic uint64_t owner_newest;
    uint8_t apart_too[LINE_BYTES];
    struct counter_slot counters[THREAD_SLOTS];
};

/* ---- making ---- */

static uint64_t power_of_two_from(uint64_t at_least)
{
    uint64_t power = 1;

    while (power < at_least)
        power *= 2;
    return power;
}

static uint32_t shard_count_for(uint64_t limit_bytes)
{
    uint32_t count = 1;

    while (count < SHARDS_MAX && limit_bytes / (count * 2) >= SHARD_BYTES_MIN)
        count *= 2;
    return count;
}

struct cache *cache_create(uint64_t limit_bytes)
{
    struct cache *cache = mem_alloc_zero(sizeof(*cache));

    if (cache == NULL)
        return NULL;
    atomic_init(&cache->limit_bytes, limit_bytes);
    uint32_t shard_count = shard_count_for(limit_bytes);
    uint64_t blocks = limit_bytes / shard_count / BLOCK_BYTES;
    uint64_t per_shard = power_of_two_from(blocks > GHOST_WAYS ? blocks : GHOST_WAYS);
    cache->bucket_mask = per_shard * shard_count - 1;
    cache->ghost_mask = (cache->bucket_mask + 1) / GHOST_WAYS - 1;
    if (cache->bucket_mask < SIZE_MAX / LINE_BYTES) {
        cache->buckets = mem_alloc_zero((cache->bucket_mask + 1) * sizeof(*cache->buckets));
        cache->ghosts = mem_alloc_zero((cache->ghost_mask + 1) * sizeof(*cache->ghosts));
    }
    cache->shards = mem_alloc_zero(shard_count * sizeof(*cache->shards));
    if (cache->shards != NULL) {
        cache->shard_count = shard_count;
        for (uint32_t i = 0; i < shard_count; i++)
            mutex_init(&cache->shards[i].mutex);
    }
    if (cache->buckets == NULL || cache->ghosts == NULL || cache->shards == NULL) {
        cache_destroy(cache);
        return NULL;
    }
    return cache;
}

uint64_t cache_new_owner(struct cache *cache)
{
    return atomic_fetch_add_explicit(&cache->owner_newest, 1, memory_order_relaxed) + 1;
}

/* ---- finding ---- */

static uint64_t block_hash(uint64_t owner, uint64_t offset)
{
    uint64_t hash = (owner * 0x9e3779b97f4a7c15u) ^ offset;

    hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93u;
    hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93u;
    return hash ^ (hash >> 32);
}

static struct cached *_Atomic *hash_bucket(struct cache *cache, uint64_t hash)
{
    return &cache->buckets[hash & cache->bucket_mask];
}

static struct shard *hash_shard(struct cache *cache, uint64_t hash)
{
    return &cache->shards[hash & (cache->shard_count - 1)];
}

static struct cached *chain_find(struct cache *cache, uint64_t hash, uint64_t owner,
                                 uint64_t offset)
{
    struct cached *at = atomic_load_explicit(hash_bucket(cache, hash), memory_order_acquire);

    while (at != NULL && (at->offset != offset || at->owner != owner))
        at = atomic_load_explicit(&at->next_in_chain, memory_order_acquire);
    return at;
}

/* Counts what a reader found, or that it did not. */
static struct cached *count_find(struct cache *cache, struct cached *cached)
{
    struct counter_slot *counters = &cache->counters[thread_slot()];

    if (cached == NULL) {
        thread_count(&counters->misses);
        return NULL;
    }
    thread_count(&counters->hits);
    uint8_t hits = atomic_load_explicit(&cached->hits, memory_order_relaxed);
    if (hits < HITS_MAX)
        atomic_store_explicit(&cached->hits, (uint8_t)(hits + 1), memory_order_relaxed);
    return cached;
}

struct cached *cache_find(struct cache *cache, uint64_t owner, uint64_t offset)
{
    CHECK(rcu_inside());
    return count_find(cache, chain_find(cache, block_hash(owner, offset), owner, offset));
}

struct cached *cache_find_slot(struct cache *cache, struct cached *_Atomic *slot)
{
    CHECK(rcu_inside());
    return count_find(cache, atomic_load_explicit(slot, memory_order_acquire));
}

/* ---- room ---- */

static uint64_t limit_of(const struct cache *cache)
{
    return atomic_load_explicit(&cache->limit_bytes, memory_order_relaxed);
}

/* What is left to blocks. */
static uint64_t room_of(const struct cache *cache)
{
    uint64_t reserved = atomic_load_explicit(&cache->reserved_bytes, memory_order_relaxed);
    uint64_t limit = limit_of(cache);

    return reserved < limit ? limit - reserved : 0;
}

uint64_t cache_room_left(const struct cache *cache)
{
    uint64_t used = atomic_load_explicit(&cache->used_bytes, memory_order_relaxed);
    uint64_t room = room_of(cache);

    return used < room ? room - used : 0;
}

/* Takes room for a block; 0 if there is none. */
static int room_take(struct cache *cache, uint64_t bytes)
{
    uint64_t used = atomic_load_explicit(&cache->used_bytes, memory_order_relaxed);
    uint64_t after;

    do {
        after = used + bytes;
        if (after + atomic_load(&cache->reserved_bytes) > limit_of(cache))
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&cache->used_bytes, &used, after,
                                                    memory_order_acquire, memory_order_relaxed));
    return 1;
}

int cache_is_tight(const struct cache *cache)
{
    uint64_t used = atomic_load_explicit(&cache->used_bytes, memory_order_relaxed);
    uint64_t room = room_of(cache);

    return !MUTANT("cache-never-tight") &&
           used > TABLE_SHARE(room) + (room - TABLE_SHARE(room)) / 2;
}

/* The last touch of the cache by who gives up a block: cache_destroy() waits for it. */
static void room_give_back(struct cache *cache, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&cache->used_bytes, bytes, memory_order_release);
}

/* What the queues of one shard may hold. */
static uint64_t shard_target_bytes(struct cache *cache)
{
    uint64_t room = room_of(cache);

    return TABLE_SHARE(room) / cache->shard_count;
}

void cached_unref(struct cached *cached)
{
    if (cached == NULL)
        return;
    if (atomic_fetch_sub_explicit(&cached->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct cache *cache = cached->cache; /* gone after destroy() */
    uint64_t bytes = cached->charge_bytes;
    cached->destroy(cached);
    if (cache != NULL)
        room_give_back(cache, bytes);
}

/* ---- queues and ghosts; the shard's mutex is held ---- */

static void queue_push(struct queue *queue, struct cached *cached)
{
    cached->next_in_queue = NULL;
    if (queue->newest == NULL)
        queue->oldest = cached;
    else
        queue->newest->next_in_queue = cached;
    queue->newest = cached;
    queue->bytes += cached->charge_bytes;
}

static struct cached *queue_pop(struct queue *queue)
{
    struct cached *cached = queue->oldest;

    queue->oldest = cached->next_in_queue;
    if (queue->oldest == NULL)
        queue->newest = NULL;
    queue->bytes -= cached->charge_bytes;
    return cached;
}

static uint64_t shard_bytes(const struct shard *shard)
{
    return shard->small.bytes + shard->main.bytes;
}

static struct ghost_set *hash_ghosts(struct cache *cache, uint64_t hash)
{
    return &cache->ghosts[hash & cache->ghost_mask];
}

static uint32_t hash_ghost(uint64_t hash)
{
    return (uint32_t)(hash >> 32) | 1;
}

static void ghost_add(struct cache *cache, uint64_t hash)
{
    uint32_t *ghosts = hash_ghosts(cache, hash)->newest_first;

    for (int i = GHOST_WAYS - 1; i > 0; i--)
        ghosts[i] = ghosts[i - 1];
    ghosts[0] = hash_ghost(hash);
}

/* 1 if it was there; then it no longer is. */
static int ghost_take(struct cache *cache, uint64_t hash)
{
    uint32_t *ghosts = hash_ghosts(cache, hash)->newest_first;
    int at = 0;

    while (at < GHOST_WAYS && ghosts[at] != hash_ghost(hash))
        at++;
    if (at == GHOST_WAYS)
        return 0;
    for (; at + 1 < GHOST_WAYS; at++)
        ghosts[at] = ghosts[at + 1];
    ghosts[at] = 0;
    return 1;
}

/* ---- evicting; the shard's mutex is held ---- */

static void release_evicted(struct rcu_retired *retired)
{
    cached_unref(CONTAINER_OF(retired, struct cached, retired));
}

/* Readers find it no more. Its own next_in_chain stays, for those that stand on it. */
static void hide(struct cache *cache, struct cached *cached, uint64_t hash)
{
    struct cached *_Atomic *link = cached->slot == NULL ? hash_bucket(cache, hash) : cached->slot;
    struct cached *at = atomic_load_explicit(link, memory_order_relaxed);

    while (at != cached) {
        CHECK(at != NULL && cached->slot == NULL);
        link = &at->next_in_chain;
        at = atomic_load_explicit(link, memory_order_relaxed);
    }
    if (MUTANT("cache-slot-stays") && cached->slot != NULL)
        return;
    at = atomic_load_explicit(&cached->next_in_chain, memory_order_relaxed);
    atomic_store_explicit(link, at, memory_order_release);
}

/* It is in no queue any more. */
static void shard_let_go(struct cache *cache, struct shard *shard, struct cached *cached,
                         uint64_t hash)
{
    hide(cache, cached, hash);
    cached->state = CACHED_OUT;
    shard->entries--;
    if (MUTANT("cache-forgets-limbo")) {
        room_give_back(cache, cached->charge_bytes);
        cached->cache = NULL;
    }
    if (MUTANT("cache-skips-limbo"))
        cached_unref(cached);
    else
        rcu_retire(&cached->retired, release_evicted);
}

/* The end of a queue: one block leaves, or goes on to the main queue. spared: as many hits buy nothing. */
static void shard_step(struct cache *cache, struct shard *shard, uint8_t spared)
{
    uint64_t small_max = SMALL_SHARE(shard_target_bytes(cache));
    int from_small = shard->main.oldest == NULL ||
                     (shard->small.oldest != NULL && shard->small.bytes > small_max);
    struct cached *cached = queue_pop(from_small ? &shard->small : &shard->main);
    uint8_t hits = atomic_load_explicit(&cached->hits, memory_order_relaxed);
    int held = atomic_load_explicit(&cached->refs, memory_order_relaxed) > 1;

    if (held || hits > spared + from_small) {
        uint8_t left = from_small || hits == 0 ? 0 : (uint8_t)(hits - 1);
        atomic_store_explicit(&cached->hits, left, memory_order_relaxed);
        cached->state = CACHED_MAIN;
        queue_push(&shard->main, cached);
        return;
    }
    uint64_t hash = block_hash(cached->owner, cached->offset);
    if (from_small)
        ghost_add(cache, hash);
    shard->evictions++;
    shard_let_go(cache, shard, cached, hash);
}

/* Evicts until the queues hold at most target_bytes, or steps_max blocks were looked at; in the second
 * half of them hits count for nothing, so that a newcomer gets in where all is hit all the time. */
static void shard_shrink(struct cache *cache, struct shard *shard, uint64_t target_bytes,
                         uint64_t steps_max)
{
    for (uint64_t i = 0; i < steps_max && shard_bytes(shard) > target_bytes; i++)
        shard_step(cache, shard, i < steps_max / 2 ? 0 : HITS_MAX);
}

/* ---- inserting ---- */

/* 1 if there is room in the shard and in the whole, and then it is taken. */
static int shard_make_room(struct cache *cache, struct shard *shard, uint64_t bytes)
{
    uint64_t target = shard_target_bytes(cache);

    if (bytes > CHARGE_SHARE(target))
        return 0;
    shard_shrink(cache, shard, target - bytes, 64 + bytes / 256);
    return shard_bytes(shard) + bytes <= target && room_take(cache, bytes);
}

static void shard_add(struct cache *cache, struct shard *shard, struct cached *cached,
                      uint64_t hash)
{
    struct cached *_Atomic *link = cached->slot == NULL ? hash_bucket(cache, hash) : cached->slot;
    int known = ghost_take(cache, hash) || MUTANT("cache-no-small-queue");

    cached->cache = cache;
    cached->state = known ? CACHED_MAIN : CACHED_SMALL;
    cached_ref(cached);
    queue_push(known ? &shard->main : &shard->small, cached);
    shard->entries++;
    shard->inserts++;
    struct cached *first = atomic_load_explicit(link, memory_order_relaxed);
    atomic_store_explicit(&cached->next_in_chain, first, memory_order_relaxed);
    atomic_store_explicit(link, cached, memory_order_release);
}

static int is_there(struct cache *cache, const struct cached *cached, uint64_t hash)
{
    if (cached->slot != NULL)
        return atomic_load_explicit(cached->slot, memory_order_relaxed) != NULL;
    return chain_find(cache, hash, cached->owner, cached->offset) != NULL;
}

int cache_insert(struct cache *cache, struct cached *cached)
{
    uint64_t hash = block_hash(cached->owner, cached->offset);
    struct shard *shard = hash_shard(cache, hash);
    int inserted = 0;

    CHECK(cached->state == CACHED_NEW && cached->cache == NULL && cached->charge_bytes > 0);
    mutex_lock(&shard->mutex);
    if (is_there(cache, cached, hash))
        goto out;
    if (!shard_make_room(cache, shard, cached->charge_bytes)) {
        shard->refused++;
        goto out;
    }
    shard_add(cache, shard, cached, hash);
    inserted = 1;
out:
    mutex_unlock(&shard->mutex);
    return inserted;
}

/* ---- many at once ---- */

/* Those of the owner, or, if `which` is given, those that it says 1 of. */
static void queue_drop(struct cache *cache, struct shard *shard, struct queue *queue,
                       uint64_t owner, int (*which)(const struct cached *cached))
{
    struct queue kept = {0};

    while (queue->oldest != NULL) {
        struct cached *cached = queue_pop(queue);
        if (which != NULL ? which(cached) : cached->owner == owner)
            shard_let_go(cache, shard, cached, block_hash(cached->owner, cached->offset));
        else
            queue_push(&kept, cached);
    }
    *queue = kept;
}

static void drop(struct cache *cache, uint64_t owner, int (*which)(const struct cached *cached))
{
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        mutex_lock(&shard->mutex);
        queue_drop(cache, shard, &shard->small, owner, which);
        queue_drop(cache, shard, &shard->main, owner, which);
        mutex_unlock(&shard->mutex);
    }
}

void cache_drop_owner(struct cache *cache, uint64_t owner)
{
    drop(cache, owner, NULL);
}

void cache_drop_which(struct cache *cache, int (*which)(const struct cached *cached))
{
    drop(cache, 0, which);
}

void cache_set_limit(struct cache *cache, uint64_t limit_bytes)
{
    atomic_store_explicit(&cache->limit_bytes, limit_bytes, memory_order_relaxed);
}

uint64_t cache_limit(const struct cache *cache)
{
    return limit_of(cache);
}

void cache_fit(struct cache *cache)
{
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        mutex_lock(&shard->mutex);
        shard_shrink(cache, shard, shard_target_bytes(cache), shard->entries * 2);
        mutex_unlock(&shard->mutex);
    }
}

void cache_reserve(struct cache *cache, uint64_t bytes)
{
    atomic_fetch_add(&cache->reserved_bytes, bytes);
    cache_fit(cache);
}

void cache_unreserve(struct cache *cache, uint64_t bytes)
{
    CHECK(atomic_fetch_sub(&cache->reserved_bytes, bytes) >= bytes);
}

static void shard_empty(struct cache *cache, struct shard *shard)
{
    while (shard_bytes(shard) > 0) {
        struct cached *cached = queue_pop(shard->main.oldest != NULL ? &shard->main
                                                                     : &shard->small);
        shard_let_go(cache, shard, cached, block_hash(cached->owner, cached->offset));
    }
}

void cache_destroy(struct cache *cache)
{
    if (cache == NULL)
        return;
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        mutex_lock(&cache->shards[i].mutex);
        shard_empty(cache, &cache->shards[i]);
        mutex_unlock(&cache->shards[i].mutex);
        mutex_deinit(&cache->shards[i].mutex);
    }
    while (atomic_load_explicit(&cache->used_bytes, memory_order_acquire) > 0) {
        size_t freed = rcu_reclaim();
        uint64_t used = atomic_load_explicit(&cache->used_bytes, memory_order_acquire);
        CHECK(freed > 0 || used == 0); /* else somebody holds a block */
    }
    mem_free(cache->shards);
    mem_free(cache->ghosts);
    mem_free(cache->buckets);
    mem_free(cache);
}

void cache_get_stats(struct cache *cache, struct cache_stats *stats)
{
    *stats = (struct cache_stats){
        .limit_bytes = limit_of(cache),
        .used_bytes = atomic_load_explicit(&cache->used_bytes, memory_order_relaxed),
        .reserved_bytes = atomic_load_explicit(&cache->reserved_bytes, memory_order_relaxed),
    };
    for (uint32_t i = 0; i < THREAD_SLOTS; i++) {
        struct counter_slot *slot = &cache->counters[i];
        stats->hits += atomic_load_explicit(&slot->hits, memory_order_relaxed);
        stats->misses += atomic_load_explicit(&slot->misses, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        mutex_lock(&shard->mutex);
        stats->entries += shard->entries;
        stats->inserts += shard->inserts;
        stats->evictions += shard->evictions;
        stats->refused += shard->refused;
        mutex_unlock(&shard->mutex);
    }
}
