/* memtable.h - the ordered in-memory layer: for each key its versions, newest first, and the range
 * tombstones beside them. One thread (the writer) adds; any number of threads read without a lock:
 * what has a sequence number up to one that was published to them is there and never changes.
 *
 * Memory is an arena that lives as long as the memtable, so nothing that a reader holds moves or
 * goes away. A reference keeps the memtable alive. */
#ifndef LSM_MEMTABLE_H
#define LSM_MEMTABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/check.h"
#include "lsm/counts.h"
#include "segment/chunk.h"
#include "varve/slice.h"

struct memtable;         /* opaque */
struct memtable_entry;   /* opaque: a key and its versions */
struct memtable_version; /* opaque: one version of a key */

struct memtable *memtable_create(void); /* with one reference; NULL: no memory */
struct memtable *
memtable_create_pooled(struct arena_pool *pool);          /* with memory from there; borrowed */
struct memtable *memtable_ref(struct memtable *memtable); /* any thread */
void memtable_unref(struct memtable *memtable);           /* any thread; takes NULL */

/* What the database keeps beside a memtable, and frees with it. Writer thread; fixed once the memtable is
 * immutable. */
struct memtable_notes {
    struct counts counts;
    uint64_t id;          /* no other memtable of the database has it */
    uint64_t last_seq;    /* of its newest record */
    uint64_t expiring;    /* puts with an expiry, those that were taken back included */
    uint64_t wal_file_no; /* once it is flushed, WAL files below hold nothing that is needed */
};
struct memtable_notes *memtable_notes(struct memtable *memtable);

/* What was known of the key just before an add. */
enum memtable_prior {
    MEMTABLE_PRIOR_NONE, /* this memtable knows nothing of the key */
    MEMTABLE_PRIOR_LIVE, /* its newest version is a value, expired or not */
    MEMTABLE_PRIOR_DEAD, /* its newest version is a tombstone, or lies under a range tombstone */
};

/* How to take an add back; filled by memtable_add. */
struct memtable_undo {
    struct memtable_entry *entry; /* NULL: it was a range tombstone */
    struct varve_slice key;       /* lies in the arena; of a range: its begin */
    struct varve_slice end;       /* of a range */
    uint64_t seq;
};

/* Adds a record; key and value are copied. seq is higher than all before it. Returns 0, or, when
 * nothing was added that a reader could see, VARVE_ENOMEM, or VARVE_EINVAL for a key or value of
 * 1 GiB or more. prior is the word of this memtable alone, as memtable_get would give it at seq - 1;
 * of a range tombstone it is NONE. Writer thread. */
int memtable_add(struct memtable *memtable, uint64_t seq, const struct chunk *chunk,
                 enum memtable_prior *prior, struct memtable_undo *undo) MUST_CHECK;

/* Where the value of the newest add lies, as long as the memtable lives. If it was given a length but no data, the
 * caller fills it, before anything reads it. Writer thread. */
uint8_t *memtable_added_value(const struct memtable_undo *undo);

/* Takes the newest add back, that is, in reverse order. seq was never published. Writer thread. */
void memtable_undo_add(struct memtable *memtable, const struct memtable_undo *undo);

/* An upper bound of what adding a CHUNK_PUT or CHUNK_DELETE with such lengths takes. Pure. */
size_t memtable_cost_bytes(size_t key_len, size_t value_len);
/* The same of a CHUNK_RANGE_DELETE. It depends on the range tombstones that are there, and takes
 * time by those whose begin or end lies inside. Writer thread. */
size_t memtable_range_cost_bytes(const struct memtable *memtable, struct varve_slice begin,
                                 struct varve_slice end);
/* What the memtable holds: the arena's used bytes and its own. Any thread. */
size_t memtable_used_bytes(const struct memtable *memtable);
/* Keys that have a version, tombstones included. Any thread. */
uint64_t memtable_entry_count(const struct memtable *memtable);

enum memtable_answer {
    MEMTABLE_NONE,    /* nothing known at that sequence: ask the older layers */
    MEMTABLE_VALUE,   /* record is a CHUNK_PUT */
    MEMTABLE_DELETED, /* record->seq is the tombstone's or the range tombstone's; no value */
};

/* The newest word on key among the records with a sequence <= seq_max. Any thread. */
enum memtable_answer memtable_get(const struct memtable *memtable, struct varve_slice key,
                                  uint64_t seq_max, struct entry *record);

/* A hint that these keys (at most MEMTABLE_PREFETCH_MAX) will be looked up or written soon. Bit i of what it
 * returns: key i is not there. */
#define MEMTABLE_PREFETCH_MAX 32
uint32_t memtable_prefetch(const struct memtable *memtable, const struct varve_slice *keys,
                           size_t count);

/* The newest range tombstone with a sequence <= seq_max that covers key; 0: none. Any thread. */
uint64_t memtable_range_seq(const struct memtable *memtable, struct varve_slice key,
                            uint64_t seq_max);

/* Walks the keys in order, both ways. One owner, one thread. It sees at least
 * all keys that have a version published before the move that reaches them. */
struct memtable_iter; /* opaque */

struct memtable_iter *memtable_iter_create(struct memtable *memtable); /* takes a reference */
void memtable_iter_destroy(struct memtable_iter *iter);                /* takes NULL */

void memtable_iter_first(struct memtable_iter *iter);
void memtable_iter_last(struct memtable_iter *iter);
void memtable_iter_seek(struct memtable_iter *iter, struct varve_slice key);      /* >= key */
void memtable_iter_seek_prev(struct memtable_iter *iter, struct varve_slice key); /* <= key */
void memtable_iter_next(struct memtable_iter *iter);
void memtable_iter_prev(struct memtable_iter *iter);
int memtable_iter_valid(const struct memtable_iter *iter);
int memtable_iter_status(const struct memtable_iter *iter); /* 0 or VARVE_ENOMEM */
struct varve_slice memtable_iter_key(const struct memtable_iter *iter);

/* As memtable_get, for the key that the iterator stands on. */
enum memtable_answer memtable_iter_get(const struct memtable_iter *iter, uint64_t seq_max,
                                       struct entry *record);

/* The newest point record, put or delete, with a sequence <= seq_max; 0: there is none. */
int memtable_iter_point(const struct memtable_iter *iter, uint64_t seq_max, struct entry *entry);

/* Its oldest put or delete; 0: all of them were taken back since the iterator came here. */
int memtable_iter_oldest(const struct memtable_iter *iter, struct entry *entry);

/* Every version of the key that the iterator stands on, newest first: start with NULL, and pass the
 * returned version to get the one before it; NULL at the end. Point records only. */
const struct memtable_version *memtable_iter_version(const struct memtable_iter *iter,
                                                     const struct memtable_version *newer,
                                                     struct entry *record);

/* Every range tombstone, newest first, in the same manner. */
struct memtable_range; /* opaque */
const struct memtable_range *memtable_next_range(const struct memtable *memtable,
                                                 const struct memtable_range *newer,
                                                 struct entry *record);

/* Nothing was added and not taken back, neither a record nor a range tombstone. Writer thread. */
int memtable_is_empty(const struct memtable *memtable);
size_t memtable_range_count(const struct memtable *memtable); /* any thread */
int memtable_has_ranges(const struct memtable *memtable);     /* any thread */

/* Its puts and deletes as a walk over entries: of each key the newest with a sequence <= seq_max; or, with
 * all_versions, every one of those, forward only. Takes a reference. NULL: no memory. */
struct iter;
enum memtable_walk { MEMTABLE_NEWEST, MEMTABLE_ALL_VERSIONS };
struct iter *memtable_entries_create(struct memtable *memtable, enum memtable_walk walk,
                                     uint64_t seq_max);

#endif
