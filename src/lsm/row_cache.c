/* An index of buckets, each one cache line of eight words, and slabs of rows. A word is a tag of the key's hash and the
 * place of the row; readers load it, compare the key, and are done. Everything else is done under one mutex: a
 * fill follows the decoding of a block, which takes a hundred times as long.
 *
 * Why no reader meets a wrong row. Let F be the flushed_seq of a version. For a key that a flush does not know,
 * the segments before and after it say the same. For one that it knows: a reader of a view before finds the key in the
 * memtable, unless what the memtable has is too new for it, and then the row, written anew, is too new as
 * well (seq_max). A reader of the view behind comes after row_cache_flush() passed the key. A fill of
 * a read from before is refused once that began, as its F is too old, or was in the index before the walk
 * got there: both hold the mutex.
 *
 * A full bucket loses one of its rows. The tables' size makes that rare, and keys that are chosen to collide
 * lose nothing but their rows. */
#include "lsm/row_cache.h"

#include <stddef.h>

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "base/thread.h"

#define WAYS 8
#define LINE_BYTES 64
#define INDEX_PART 64   /* a word of the index to so many bytes of the limit */
#define TOUCHED_PART 32 /* a remembered hash to so many */
#define PLACE_BITS 40
#define UNIT_BYTES 8 /* of places */
#define SLAB_MAX_SHIFT 16
#define SLAB_MIN_SHIFT 11
#define SLABS_MIN 64                        /* there are at least half as many slabs */
#define SLABS_OUT(count) ((count) / 16 + 2) /* of them, so many may wait for a grace period */
#define KEPT_SHARE(bytes) ((bytes) / 4 * 3)
#define FLUSH_BUCKETS 4 /* the mutex is held for so many rows of a flush at a time: */
_Static_assert(FLUSH_BUCKETS *WAYS <= MEMTABLE_PREFETCH_MAX, "one prefetch for each step");

struct row {
    uint64_t seq;
    uint64_t expire_ms;
    uint32_t crc; /* the chunk's */
    uint16_t key_len;
    uint16_t value_len;
    _Atomic uint8_t was_read; /* since it was written here */
    uint8_t bytes[];          /* key, value */
};

struct slab {
    struct cached cached; /* first: what a pin holds */
    struct row_cache *rows;
    struct slab *next; /* of the free ones, or the next younger one */
    uint8_t *bytes;    /* NULL: never used */
    size_t used_bytes;
};

struct bucket {
    _Alignas(LINE_BYTES) _Atomic uint64_t words[WAYS]; /* 0: none */
};

struct counter_slot {
    _Atomic uint64_t hits;
    _Atomic uint64_t misses;
    uint64_t others[LINE_BYTES / sizeof(uint64_t) - 2]; /* a line a thread */
};

struct row_cache {
    struct bucket *buckets;
    void *buckets_memory;
    uint64_t bucket_mask;
    struct slab *slabs;
    unsigned slab_shift;
    _Atomic uint64_t row_count;
    _Atomic uint16_t *touched; /* of hashes that were offered */
    uint64_t touched_mask;
    struct mutex mutex;   /* of all below, and of every store to the index */
    uint64_t flushed_seq; /* of the newest version that it was told of */
    struct slab *oldest;  /* of those in use */
    struct slab *newest;  /* rows are written there */
    struct slab *free;
    uint64_t slab_count;
    uint64_t live_count; /* slabs in use */
    uint64_t out_count;  /* slabs that were emptied and are not free yet */
    size_t victim;       /* whose turn it is in a full bucket */
    uint64_t limit_bytes;
    uint64_t used_bytes;
    struct counter_slot counters[THREAD_SLOTS];
};

/* ---- hashes and places ---- */

static inline uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9fb21c651e98df25u;
    return hash ^ (hash >> 32);
}

static inline uint64_t row_hash(struct varve_slice key)
{
    uint64_t hash = key.len * 0x9e3779b97f4a7c15u;
    uint64_t word = 0;
    const uint8_t *at = key.data;
    size_t left = key.len;

    for (; left >= sizeof(word); left -= sizeof(word), at += sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        hash = mix(hash, word);
    }
    if (left > 0 && key.len >= sizeof(word)) { /* some bytes twice: no harm */
        memcpy(&word, key.data + key.len - sizeof(word), sizeof(word));
        hash = mix(hash, word);
    } else if (left > 0) {
        word = 0;
        memcpy(&word, at, left);
        hash = mix(hash, word);
    }
    return mix(hash, hash >> 29);
}

static inline struct bucket *hash_bucket(const struct row_cache *rows, uint64_t hash)
{
    return &rows->buckets[hash & rows->bucket_mask];
}

static inline uint64_t hash_tag(uint64_t hash)
{
    return hash >> PLACE_BITS;
}

static inline uint64_t word_tag(uint64_t word)
{
    return word >> PLACE_BITS;
}

static inline struct slab *word_slab(const struct row_cache *rows, uint64_t word)
{
    uint64_t at = ((word & (((uint64_t)1 << PLACE_BITS) - 1)) - 1) * UNIT_BYTES;

    return &rows->slabs[at >> rows->slab_shift];
}

static inline struct row *word_row(const struct row_cache *rows, uint64_t word)
{
    uint64_t at = ((word & (((uint64_t)1 << PLACE_BITS) - 1)) - 1) * UNIT_BYTES;
    uint8_t *bytes = rows->slabs[at >> rows->slab_shift].bytes;

    return (struct row *)(void *)(bytes + (at & (((uint64_t)1 << rows->slab_shift) - 1)));
}

static uint64_t place_word(const struct row_cache *rows, const struct slab *slab,
                           const struct row *row, uint64_t hash)
{
    uint64_t at = ((uint64_t)(slab - rows->slabs) << rows->slab_shift) +
                  (uint64_t)((const uint8_t *)row - slab->bytes);

    return hash_tag(hash) << PLACE_BITS | (at / UNIT_BYTES + 1);
}

static inline struct varve_slice row_key(const struct row *row)
{
    return varve_slice(row->bytes, row->key_len);
}

static size_t row_bytes(size_t key_len, size_t value_len)
{
    size_t bytes = offsetof(struct row, bytes) + key_len + value_len;

    return (bytes + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES;
}

/* ---- making ---- */

static unsigned shift_for(uint64_t limit_bytes)
{
    unsigned shift = SLAB_MAX_SHIFT;

    while (shift > SLAB_MIN_SHIFT && (uint64_t)SLABS_MIN << shift > limit_bytes)
        shift--;
    return shift;
}

/* The largest power of two that is at most count. */
static uint64_t power_below(uint64_t count)
{
    uint64_t power = 1;

    while (power * 2 <= count)
        power *= 2;
    return power;
}

static int tables_init(struct row_cache *rows, uint64_t bucket_count, uint64_t touched_count)
{
    rows->buckets_memory = mem_alloc_zero(bucket_count * sizeof(struct bucket) + LINE_BYTES);
    rows->touched = mem_alloc_zero(touched_count * sizeof(*rows->touched));
    rows->slabs = mem_alloc_zero(rows->slab_count * sizeof(*rows->slabs));
    if (rows->buckets_memory == NULL || rows->touched == NULL || rows->slabs == NULL)
        return -1;
    uintptr_t at = (uintptr_t)rows->buckets_memory;
    rows->buckets = (struct bucket *)((at + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES);
    rows->bucket_mask = bucket_count - 1;
    rows->touched_mask = touched_count - 1;
    for (uint64_t i = rows->slab_count; i-- > 0;) {
        rows->slabs[i].rows = rows;
        rows->slabs[i].next = rows->free;
        rows->free = &rows->slabs[i];
    }
    return 0;
}

struct row_cache *row_cache_create(uint64_t limit_bytes)
{
    struct row_cache *rows = mem_alloc_zero(sizeof(*rows));
    uint64_t bucket_count = power_below(limit_bytes / INDEX_PART / WAYS);
    uint64_t touched_count = power_below(limit_bytes / TOUCHED_PART);
    uint64_t tables = bucket_count * sizeof(struct bucket) + touched_count * sizeof(uint16_t) +
                      LINE_BYTES + sizeof(*rows);

    CHECK(limit_bytes >= ROW_CACHE_TINY_BYTES);
    if (rows == NULL)
        return NULL;
    mutex_init(&rows->mutex);
    rows->limit_bytes = limit_bytes;
    rows->slab_shift = shift_for(limit_bytes);
    rows->slab_count = (limit_bytes - tables) /
                       (((uint64_t)1 << rows->slab_shift) + sizeof(struct slab));
    rows->used_bytes = tables + rows->slab_count * sizeof(struct slab);
    if (tables_init(rows, bucket_count, touched_count) != 0) {
        row_cache_destroy(rows);
        return NULL;
    }
    return rows;
}

void row_cache_destroy(struct row_cache *rows)
{
    int waiting = 1;

    if (rows == NULL)
        return;
    while (waiting) {
        mutex_lock(&rows->mutex);
        waiting = rows->out_count > 0;
        mutex_unlock(&rows->mutex);
        if (waiting)
            CHECK(rcu_reclaim() > 0); /* else somebody holds a pin */
    }
    for (uint64_t i = 0; rows->slabs != NULL && i < rows->slab_count; i++)
        mem_free(rows->slabs[i].bytes);
    mutex_deinit(&rows->mutex);
    mem_free(rows->slabs);
    mem_free(rows->touched);
    mem_free(rows->buckets_memory);
    mem_free(rows);
}

/* ---- finding ---- */

static int row_has_key(const struct row *row, struct varve_slice key)
{
    return row->key_len == key.len && memcmp(row->bytes, key.data, key.len) == 0;
}

static void row_entry(const struct row *row, struct entry *entry)
{
    *entry = (struct entry){
        .seq = row->seq,
        .chunk = {.kind = CHUNK_PUT,
                  .crc = row->crc,
                  .expire_ms = row->expire_ms,
                  .key = row_key(row),
                  .value = varve_slice(row->bytes + row->key_len, row->value_len)},
    };
}

/* The word of key's row; 0: there is none. */
static inline uint64_t bucket_find(const struct row_cache *rows, const struct bucket *bucket,
                                   uint64_t tag, struct varve_slice key)
{
    for (size_t i = 0; i < WAYS; i++) {
        uint64_t word = atomic_load_explicit(&bucket->words[i], memory_order_acquire);
        if (word_tag(word) == tag && word != 0 && row_has_key(word_row(rows, word), key))
            return word;
    }
    return 0;
}

int row_cache_is_empty(const struct row_cache *rows)
{
    return atomic_load_explicit(&rows->row_count, memory_order_relaxed) == 0;
}

int row_cache_find(struct row_cache *rows, struct varve_slice key, uint64_t seq_max,
                   struct entry *entry, struct cached **holder)
{
    struct counter_slot *counters = &rows->counters[thread_slot()];
    uint64_t hash = row_hash(key);
    uint64_t word = bucket_find(rows, hash_bucket(rows, hash), hash_tag(hash), key);
    struct row *row = word == 0 ? NULL : word_row(rows, word);

    if (row == NULL || (row->seq > seq_max && !MUTANT("row-from-the-future"))) {
        thread_count(&counters->misses);
        return 0;
    }
    if (atomic_load_explicit(&row->was_read, memory_order_relaxed) == 0)
        atomic_store_explicit(&row->was_read, 1, memory_order_relaxed);
    thread_count(&counters->hits);
    row_entry(row, entry);
    *holder = &word_slab(rows, word)->cached;
    return 1;
}

void row_cache_prefetch_index(struct row_cache *rows, const struct varve_slice *keys, size_t count,
                              uint64_t *hashes)
{
    for (size_t i = 0; i < count; i++) {
        hashes[i] = row_hash(keys[i]);
        __builtin_prefetch(hash_bucket(rows, hashes[i]));
    }
}

void row_cache_prefetch_rows(struct row_cache *rows, const uint64_t *hashes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct bucket *bucket = hash_bucket(rows, hashes[i]);
        for (size_t way = 0; way < WAYS; way++) {
            uint64_t word = atomic_load_explicit(&bucket->words[way], memory_order_acquire);
            if (word_tag(word) != hash_tag(hashes[i]) || word == 0)
                continue;
            const struct row *row = word_row(rows, word);
            __builtin_prefetch(row);
            __builtin_prefetch((const uint8_t *)row + LINE_BYTES);
            break;
        }
    }
}

/* ---- the index; the mutex is held ---- */

/* Whose row leaves a bucket that is full: one that was not read, if there is such a one. */
static size_t index_victim_locked(struct row_cache *rows, const struct bucket *bucket)
{
    size_t first = rows->victim++;

    for (size_t i = 0; i < WAYS; i++) {
        size_t at = (first + i) % WAYS;
        uint64_t word = atomic_load_explicit(&bucket->words[at], memory_order_relaxed);
        if (atomic_load_explicit(&word_row(rows, word)->was_read, memory_order_relaxed) == 0)
            return at;
    }
    return first % WAYS;
}

/* Puts word in the place of `old` (0: an empty one, or a victim's). */
static void index_put_locked(struct row_cache *rows, struct bucket *bucket, uint64_t old,
                             uint64_t word)
{
    size_t at = 0;

    while (at < WAYS && atomic_load_explicit(&bucket->words[at], memory_order_relaxed) != old)
        at++;
    if (at == WAYS)
        at = index_victim_locked(rows, bucket);
    uint64_t before = atomic_load_explicit(&bucket->words[at], memory_order_relaxed);
    uint64_t count = atomic_load_explicit(&rows->row_count, memory_order_relaxed);
    atomic_store_explicit(&rows->row_count, count + (word != 0) - (before != 0),
                          memory_order_relaxed);
    atomic_store_explicit(&bucket->words[at], word, memory_order_release);
}

/* ---- slabs; the mutex is held ---- */

static void slab_free_locked(struct row_cache *rows, struct slab *slab)
{
    slab->next = rows->free;
    rows->free = slab;
    rows->out_count--;
}

/* No reader sees it any more, and no pin holds it. */
static void slab_destroy(struct cached *cached)
{
    struct slab *slab = CONTAINER_OF(cached, struct slab, cached);
    struct row_cache *rows = slab->rows;

    mutex_lock(&rows->mutex);
    slab_free_locked(rows, slab);
    mutex_unlock(&rows->mutex);
}

static void slab_release(struct rcu_retired *retired)
{
    cached_unref(CONTAINER_OF(retired, struct cached, retired));
}

static void *slab_take(const struct row_cache *rows, struct slab *slab, size_t bytes)
{
    uint8_t *at = slab->bytes + slab->used_bytes;

    if (bytes > ((size_t)1 << rows->slab_shift) - slab->used_bytes)
        return NULL;
    slab->used_bytes += bytes;
    return at;
}

/* Rows of `from` that were read since they came there move to `to`, which is empty, but for what passes keep_max
 * bytes there; the others leave the index. */
static void slab_empty(struct row_cache *rows, const struct slab *from, struct slab *to,
                       size_t keep_max)
{
    size_t at = 0;

    while (at < from->used_bytes) {
        struct row *row = (struct row *)(void *)(from->bytes + at);
        size_t bytes = row_bytes(row->key_len, row->value_len);
        uint64_t hash = row_hash(row_key(row));
        uint64_t word = place_word(rows, from, row, hash);
        struct bucket *bucket = hash_bucket(rows, hash);
        at += bytes;
        size_t way = 0;
        while (way < WAYS &&
               atomic_load_explicit(&bucket->words[way], memory_order_relaxed) != word)
            way++;
        if (way == WAYS) /* it left the index already */
            continue;
        struct row *kept = NULL;
        if (atomic_load_explicit(&row->was_read, memory_order_relaxed) != 0 &&
            to->used_bytes + bytes <= keep_max)
            kept = slab_take(rows, to, bytes);
        if (kept != NULL) {
            memcpy(kept, row, offsetof(struct row, was_read)); /* which readers may be setting */
            atomic_init(&kept->was_read, 0);
            memcpy(kept->bytes, row->bytes, (size_t)row->key_len + row->value_len);
        }
        index_put_locked(rows, bucket, word, kept == NULL ? 0 : place_word(rows, to, kept, hash));
    }
}

static void slab_retire_oldest(struct row_cache *rows, struct slab *to, size_t keep_max)
{
    struct slab *oldest = rows->oldest;

    slab_empty(rows, oldest, to, keep_max);
    rows->oldest = oldest->next;
    if (rows->oldest == NULL)
        rows->newest = NULL;
    rows->live_count--;
    rows->out_count++;
    if (MUTANT("row-slab-at-once"))
        slab_free_locked(rows, oldest);
    else
        rcu_retire(&oldest->cached.retired, slab_release);
}

/* A fresh slab becomes the newest; 0: all are in use or wait for their grace period, or there is no memory. */
static int slab_next(struct row_cache *rows, size_t keep_max)
{
    uint64_t live_max = rows->slab_count - SLABS_OUT(rows->slab_count);
    struct slab *slab = rows->free;

    if (slab == NULL)
        return 0;
    if (slab->bytes == NULL) {
        slab->bytes = mem_alloc((size_t)1 << rows->slab_shift);
        if (slab->bytes == NULL)
            return 0;
        rows->used_bytes += (uint64_t)1 << rows->slab_shift;
    }
    rows->free = slab->next;
    slab->cached = (struct cached){.charge_bytes = (size_t)1 << rows->slab_shift,
                                   .destroy = slab_destroy};
    atomic_init(&slab->cached.refs, 1);
    slab->next = NULL;
    slab->used_bytes = 0;
    if (rows->live_count >= live_max)
        slab_retire_oldest(rows, slab, keep_max);
    if (rows->newest == NULL)
        rows->oldest = slab;
    else
        rows->newest->next = slab;
    rows->newest = slab;
    rows->live_count++;
    return 1;
}

/* Writes a row; NULL: there is no room now. */
static struct row *row_write(struct row_cache *rows, const struct entry *entry)
{
    const struct chunk *chunk = &entry->chunk;
    size_t bytes = row_bytes(chunk->key.len, chunk->value.len);
    struct row *row = rows->newest == NULL ? NULL : slab_take(rows, rows->newest, bytes);
    size_t slab_bytes = (size_t)1 << rows->slab_shift;

    /* Where all of the oldest slab was read it gives no room, and the next one gives some. */
    if (row == NULL && slab_next(rows, slab_bytes))
        row = slab_take(rows, rows->newest, bytes);
    if (row == NULL && slab_next(rows, KEPT_SHARE(slab_bytes)))
        row = slab_take(rows, rows->newest, bytes);
    if (row == NULL)
        return NULL;
    row->seq = entry->seq;
    row->expire_ms = chunk->expire_ms;
    row->crc = chunk->crc;
    row->key_len = (uint16_t)chunk->key.len;
    row->value_len = (uint16_t)chunk->value.len;
    atomic_init(&row->was_read, 0);
    if (chunk->key.len > 0)
        memcpy(row->bytes, chunk->key.data, chunk->key.len);
    if (chunk->value.len > 0)
        memcpy(row->bytes + chunk->key.len, chunk->value.data, chunk->value.len);
    return row;
}

/* ---- filling ---- */

static int fits(const struct entry *entry)
{
    return entry->chunk.kind == CHUNK_PUT && entry->chunk.key.len <= ROW_KEY_VALUE_MAX_BYTES &&
           entry->chunk.value.len <= ROW_KEY_VALUE_MAX_BYTES - entry->chunk.key.len;
}

/* 1 if it was offered before, as far as the table remembers. */
static int touch(struct row_cache *rows, uint64_t hash)
{
    _Atomic uint16_t *at = &rows->touched[(hash >> 8) & rows->touched_mask];
    uint16_t mark = (uint16_t)(hash >> 48) | 1;

    if (atomic_load_explicit(at, memory_order_relaxed) == mark || MUTANT("row-first-touch"))
        return 1;
    atomic_store_explicit(at, mark, memory_order_relaxed);
    return 0;
}

int row_cache_offer(struct row_cache *rows, const struct entry *entry, uint64_t flushed_seq)
{
    if (!fits(entry))
        return 0;
    uint64_t hash = row_hash(entry->chunk.key);
    if (!touch(rows, hash))
        return 0;
    struct bucket *bucket = hash_bucket(rows, hash);
    if (!mutex_try_lock(&rows->mutex))
        return 0; /* a flush has it, maybe for long: the next read may offer the row again */
    int fresh = flushed_seq >= rows->flushed_seq || MUTANT("row-of-old-version");
    if (fresh && bucket_find(rows, bucket, hash_tag(hash), entry->chunk.key) == 0) {
        const struct row *row = row_write(rows, entry);
        if (row != NULL)
            index_put_locked(rows, bucket, 0, place_word(rows, rows->newest, row, hash));
    }
    int waiting = rows->out_count > 0;
    mutex_unlock(&rows->mutex);
    return waiting;
}

/* ---- a flush ---- */

/* Row: that of the word in the bucket. */
static void flush_row_locked(struct row_cache *rows, const struct memtable *memtable,
                             struct bucket *bucket, uint64_t word)
{
    const struct row *old = word_row(rows, word);
    struct varve_slice key = row_key(old); /* slabs that are emptied keep their bytes for now */
    struct row *row = NULL;
    struct entry entry;
    enum memtable_answer answer = memtable_get(memtable, key, UINT64_MAX, &entry);

    if (answer == MEMTABLE_NONE || MUTANT("row-stays-at-flush"))
        return;
    if (answer == MEMTABLE_VALUE && fits(&entry) &&
        atomic_load_explicit(&old->was_read, memory_order_relaxed) != 0)
        row = row_write(rows, &entry);
    /* Making room may have moved the row, or dropped it. */
    uint64_t hash = row_hash(key);
    uint64_t now = bucket_find(rows, bucket, hash_tag(hash), key);
    if (row != NULL)
        index_put_locked(rows, bucket, now, place_word(rows, rows->newest, row, hash));
    else if (now != 0)
        index_put_locked(rows, bucket, now, 0);
}

static void flush_buckets_locked(struct row_cache *rows, const struct memtable *memtable,
                                 struct bucket *buckets, size_t count)
{
    struct varve_slice keys[FLUSH_BUCKETS * WAYS];
    size_t key_count = 0;
    uint64_t word;

    for (size_t i = 0; i < count * WAYS; i++) {
        word = atomic_load_explicit(&buckets[i / WAYS].words[i % WAYS], memory_order_relaxed);
        if (word != 0)
            keys[key_count++] = row_key(word_row(rows, word));
    }
    if (key_count == 0)
        return;
    memtable_prefetch(memtable, keys, key_count);
    for (size_t i = 0; i < count * WAYS; i++) {
        word = atomic_load_explicit(&buckets[i / WAYS].words[i % WAYS], memory_order_relaxed);
        if (word != 0)
            flush_row_locked(rows, memtable, &buckets[i / WAYS], word);
    }
}

void row_cache_flush(struct row_cache *rows, const struct memtable *memtable, uint64_t flushed_seq)
{
    uint64_t bucket_count = rows->bucket_mask + 1;

    mutex_lock(&rows->mutex);
    rows->flushed_seq = flushed_seq;
    int none = row_cache_is_empty(rows);
    mutex_unlock(&rows->mutex);
    for (uint64_t i = 0; !none && i < bucket_count; i += FLUSH_BUCKETS) {
        uint64_t left = bucket_count - i;
        mutex_lock(&rows->mutex);
        flush_buckets_locked(rows, memtable, rows->buckets + i,
                             left < FLUSH_BUCKETS ? left : FLUSH_BUCKETS);
        mutex_unlock(&rows->mutex);
    }
}

void row_cache_get_stats(struct row_cache *rows, struct row_cache_stats *stats)
{
    *stats = (struct row_cache_stats){.limit_bytes = rows->limit_bytes};
    mutex_lock(&rows->mutex);
    stats->used_bytes = rows->used_bytes;
    stats->rows = atomic_load_explicit(&rows->row_count, memory_order_relaxed);
    mutex_unlock(&rows->mutex);
    for (uint32_t i = 0; i < THREAD_SLOTS; i++) {
        stats->hits += atomic_load_explicit(&rows->counters[i].hits, memory_order_relaxed);
        stats->misses += atomic_load_explicit(&rows->counters[i].misses, memory_order_relaxed);
    }
}
