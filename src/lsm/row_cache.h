/* row_cache.h - hot records beside their blocks: key -> chunk, for reads of the newest state.
 *
 * It says what the segments of the current version say of a key, and lies between the memtables and
 * the version: what the memtables know was answered before. So writes do not touch it. What changes the segments' answer
 * is a flush, and row_cache_flush() tells it of one before readers see the version that has it. Compactions
 * change no answer but that an expired record is gone: a row that expired is its caller's not to use.
 *
 * A hit takes no lock and writes nothing shared but a byte of the row, and that only if it is 0: one cache line of
 * the index, then the row. Rows are written once, one behind the other, into slabs; the oldest slab is
 * emptied for the next one, what was read meanwhile moving on. A key gets in when it is offered for the second
 * time within some time (a table of hashes remembers the first), so a scan leaves no row.
 *
 * Fixed memory, tables included. What was emptied comes back after a grace period, or when the last pin that
 * holds it goes; if nothing did, offers are refused. */
#ifndef LSM_ROW_CACHE_H
#define LSM_ROW_CACHE_H

#include <stdint.h>

#include "lsm/memtable.h"
#include "segment/cache.h"
#include "segment/chunk.h"

#define ROW_CACHE_MIN_BYTES ((uint64_t)64 * 1024)
#define ROW_CACHE_TINY_BYTES ((uint64_t)16 * 1024) /* some rows, for tests */
#define ROW_CACHE_MAX_BYTES ((uint64_t)1 << 40)
#define ROW_KEY_VALUE_MAX_BYTES 1024 /* of key and value together; longer records are not kept */

struct row_cache; /* opaque */

struct row_cache_stats {
    uint64_t limit_bytes;
    uint64_t used_bytes; /* of tables and slabs */
    uint64_t rows;
    uint64_t hits;
    uint64_t misses; /* of lookups while there were rows */
};

/* limit_bytes >= ROW_CACHE_TINY_BYTES. NULL: no memory. */
struct row_cache *row_cache_create(uint64_t limit_bytes);
/* Nothing is held from outside, and the caller is not inside: it may wait for a grace period. Takes NULL. */
void row_cache_destroy(struct row_cache *rows);

/* What the segments say of key: 1, *entry is a put, and *holder is what it lies in, borrowed until the caller
 * leaves rcu (cached_ref() keeps it). 0: not known, or it is newer than seq_max. The chunk's CRC and expiry are
 * the caller's to check. Inside rcu, any thread. */
int row_cache_find(struct row_cache *rows, struct varve_slice key, uint64_t seq_max,
                   struct entry *entry, struct cached **holder);

/* A read had to fetch a block for this put, which was the newest one in a version with this flushed_seq. What is not
 * of the newest flush is refused. Returns 1 if memory waits for rcu_reclaim(). Any thread. */
int row_cache_offer(struct row_cache *rows, const struct entry *entry, uint64_t flushed_seq);

/* The memtable is about to be replaced by segments, in a version with this flushed_seq that no reader has seen yet.
 * Rows of keys that it knows are written anew from it, if they were read, or go. Cannot fail. Maintenance. */
void row_cache_flush(struct row_cache *rows, const struct memtable *memtable, uint64_t flushed_seq);

/* Hints for at most MEMTABLE_PREFETCH_MAX keys: first their places in the index, then, some hundred nanoseconds
 * later, the rows. hashes has room for as many. The second returns a bit for each key that has a row, as it seems. */
void row_cache_prefetch_index(struct row_cache *rows, const struct varve_slice *keys, size_t count,
                              uint64_t *hashes);
uint32_t row_cache_prefetch_rows(struct row_cache *rows, const uint64_t *hashes, size_t count);
int row_cache_is_empty(const struct row_cache *rows); /* any thread */

void row_cache_get_stats(struct row_cache *rows, struct row_cache_stats *stats); /* any thread */

#endif
