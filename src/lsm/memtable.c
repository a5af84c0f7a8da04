/* A radix tree of keys; each leaf's value is the chain of its versions. The first version lies
 * right behind the key, so that a hit on a key that was written once ends where its key does.
 * Range tombstones are apart (range_map.h), and cost a reader one load while there are none.
 *
 * The writer stores complete versions by one release store of the chain's head; a reader loads the
 * head after it got its sequence, so it finds all versions up to that. A version that was taken
 * back, and one above the reader's sequence, is skipped; both stay readable in the arena. */
#include "lsm/memtable.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/art.h"
#include "lsm/chain.h"
#include "lsm/range_map.h"
#include "varve/status.h"

/* Chunks of the arena double up to the largest, so that an empty memtable costs little. */
#define CHUNK_MIN_BYTES ((size_t)16 * 1024)
#define CHUNK_MAX_BYTES MEM_HUGE_BYTES

_Static_assert(CHUNK_MAX_BYTES / 4 <= ARENA_TAIL_MAX_BYTES, "arena_cost_bytes counts on it");

/* What the lengths in leaves and versions can say. */
#define KEY_MAX_BYTES (ART_KEY_MAX_BYTES - 1)
#define VALUE_MAX_BYTES (((size_t)1 << 30) - 1)

struct memtable {
    struct art keys;
    struct range_map ranges;
    _Atomic uint64_t entry_count;
    _Atomic size_t used_bytes;
    struct arena arena;
    struct memtable_notes notes;
    _Atomic uint32_t refs;
};

/* A chain with, in its oldest link, nothing in front. */
struct memtable_version {
    struct chain chain;
    uint64_t expire_ms;
    uint32_t crc;
    uint32_t kind : 2;
    uint32_t value_len : 30;
    uint8_t value[];
};

_Static_assert(sizeof(struct memtable_version) == 32, "half a cache line");

struct memtable_iter {
    struct memtable *memtable;
    struct art_iter at;
};

struct memtable *memtable_create(void)
{
    return memtable_create_pooled(NULL);
}

struct memtable *memtable_create_pooled(struct arena_pool *pool)
{
    struct memtable *memtable = mem_alloc(sizeof(*memtable));

    if (memtable == NULL)
        return NULL;
    arena_init(&memtable->arena, CHUNK_MIN_BYTES);
    memtable->arena.pool = pool;
    art_init(&memtable->keys, &memtable->arena);
    range_map_init(&memtable->ranges, &memtable->arena);
    atomic_init(&memtable->entry_count, 0);
    atomic_init(&memtable->used_bytes, sizeof(*memtable));
    atomic_init(&memtable->refs, 1);
    memtable->notes = (struct memtable_notes){0};
    return memtable;
}

struct memtable *memtable_ref(struct memtable *memtable)
{
    atomic_fetch_add_explicit(&memtable->refs, 1, memory_order_relaxed);
    return memtable;
}

void memtable_unref(struct memtable *memtable)
{
    if (memtable == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&memtable->refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before > 1)
        return;
    arena_deinit(&memtable->arena);
    counts_deinit(&memtable->notes.counts);
    mem_free(memtable);
}

struct memtable_notes *memtable_notes(struct memtable *memtable)
{
    return &memtable->notes;
}

/* The chain's link is a version's first member. */
static const struct memtable_version *version_of(const struct chain *link)
{
    return (const struct memtable_version *)(const void *)link;
}

static const struct chain *leaf_chain(const struct art_leaf *leaf)
{
    return atomic_load_explicit(&leaf->value, memory_order_acquire);
}

static void leaf_set_chain(struct art_leaf *leaf, const struct chain *chain)
{
    atomic_store_explicit(&leaf->value, (void *)(uintptr_t)chain, memory_order_release);
}

/* Where the first version lies behind a key of this length. */
static size_t leaf_version_offset(size_t key_len)
{
    return (art_leaf_bytes(key_len) + 7) & ~(size_t)7;
}

static void version_fill(struct memtable_version *version, const struct chain *older, uint64_t seq,
                         const struct chunk *chunk)
{
    size_t value_len = chunk->kind == CHUNK_PUT ? chunk->value.len : 0;

    chain_init(&version->chain, older, seq);
    version->expire_ms = chunk->expire_ms;
    version->crc = chunk->crc;
    version->kind = (uint32_t)chunk->kind & 3;
    version->value_len = (uint32_t)value_len & VALUE_MAX_BYTES;
    if (value_len > 0 && chunk->value.data != NULL)
        memcpy(version->value, chunk->value.data, value_len);
}

static void record_fill(struct entry *record, const struct art_leaf *leaf,
                        const struct memtable_version *version)
{
    *record = (struct entry){.seq = version->chain.seq};
    record->chunk = (struct chunk){
        .kind = version->kind,
        .crc = version->crc,
        .expire_ms = version->expire_ms,
        .key = art_leaf_key(leaf),
        .value = {.data = version->value, .len = version->value_len},
    };
}

/* What a key's versions and the range tombstones over it come to. leaf may be NULL. */
static enum memtable_answer answer_of(const struct memtable *memtable, const struct art_leaf *leaf,
                                      struct varve_slice key, uint64_t seq_max,
                                      struct entry *record)
{
    if (MUTANT("snapshot-sees-new"))
        seq_max = UINT64_MAX;
    const struct chain *link = leaf == NULL ? NULL : chain_find(leaf_chain(leaf), seq_max);
    uint64_t range_seq = range_map_seq(&memtable->ranges, key, seq_max);

    if (link != NULL && link->seq > range_seq) {
        record_fill(record, leaf, version_of(link));
        return record->chunk.kind == CHUNK_PUT ? MEMTABLE_VALUE : MEMTABLE_DELETED;
    }
    *record = (struct entry){.seq = range_seq};
    if (range_seq == 0)
        return MEMTABLE_NONE;
    record->chunk.kind = CHUNK_RANGE_DELETE;
    return MEMTABLE_DELETED;
}

static enum memtable_prior prior_of(const struct memtable *memtable, const struct art_leaf *leaf,
                                    struct varve_slice key)
{
    const struct chain *link = leaf == NULL ? NULL : leaf_chain(leaf);
    uint64_t range_seq = range_map_seq(&memtable->ranges, key, UINT64_MAX);

    if (link != NULL && link->seq > range_seq)
        return version_of(link)->kind == CHUNK_PUT ? MEMTABLE_PRIOR_LIVE : MEMTABLE_PRIOR_DEAD;
    return range_seq == 0 ? MEMTABLE_PRIOR_NONE : MEMTABLE_PRIOR_DEAD;
}

static void entry_count_add(struct memtable *memtable, int64_t by)
{
    uint64_t count = atomic_load_explicit(&memtable->entry_count, memory_order_relaxed);

    atomic_store_explicit(&memtable->entry_count, count + (uint64_t)by, memory_order_relaxed);
}

/* A new version on top of the others; the leaf is linked. */
static int add_version(struct memtable *memtable, struct art_leaf *leaf, uint64_t seq,
                       const struct chunk *chunk)
{
    const struct chain *older = leaf_chain(leaf);
    size_t front = chain_front_bytes(older);
    size_t value_len = chunk->kind == CHUNK_PUT ? chunk->value.len : 0;
    uint8_t *piece = arena_alloc(&memtable->arena,
                                 front + sizeof(struct memtable_version) + value_len);

    if (piece == NULL)
        return VARVE_ENOMEM;
    struct memtable_version *version = (struct memtable_version *)(void *)(piece + front);
    version_fill(version, older, seq, chunk);
    leaf_set_chain(leaf, &version->chain);
    if (older == NULL)
        entry_count_add(memtable, 1);
    return 0;
}

/* A new key with its first version behind it. */
static int add_leaf(struct memtable *memtable, const struct art_place *place, uint64_t seq,
                    const struct chunk *chunk, struct art_leaf **out)
{
    size_t value_len = chunk->kind == CHUNK_PUT ? chunk->value.len : 0;
    size_t offset = leaf_version_offset(chunk->key.len);
    uint8_t *piece = arena_alloc(&memtable->arena,
                                 offset + sizeof(struct memtable_version) + value_len);

    if (piece == NULL)
        return VARVE_ENOMEM;
    struct art_leaf *leaf = (struct art_leaf *)(void *)piece;
    struct memtable_version *version = (struct memtable_version *)(void *)(piece + offset);
    leaf->key_len = (uint32_t)chunk->key.len;
    if (chunk->key.len > 0)
        memcpy(leaf->key, chunk->key.data, chunk->key.len);
    version_fill(version, NULL, seq, chunk);
    atomic_init(&leaf->value, version);
    int rc = art_link(&memtable->keys, place, leaf);
    if (rc != 0)
        return rc;
    entry_count_add(memtable, 1);
    *out = leaf;
    return 0;
}

static int add_point(struct memtable *memtable, uint64_t seq, const struct chunk *chunk,
                     enum memtable_prior *prior, struct memtable_undo *undo)
{
    struct art_place place;
    struct art_leaf *leaf = art_locate(&memtable->keys, chunk->key, &place);
    enum memtable_prior before = prior_of(memtable, leaf, chunk->key);
    int rc = leaf == NULL ? add_leaf(memtable, &place, seq, chunk, &leaf)
                          : add_version(memtable, leaf, seq, chunk);

    if (rc != 0)
        return rc;
    *prior = before;
    *undo = (struct memtable_undo){
        .entry = (struct memtable_entry *)(void *)leaf,
        .key = art_leaf_key(leaf),
        .seq = seq,
    };
    return 0;
}

static int add_range(struct memtable *memtable, uint64_t seq, const struct chunk *chunk,
                     struct memtable_undo *undo)
{
    int rc = range_map_add(&memtable->ranges, seq, chunk);

    if (rc != 0)
        return rc;
    const struct memtable_range *range = range_map_newest(&memtable->ranges);
    *undo = (struct memtable_undo){
        .key = art_leaf_key(range->begin),
        .end = art_leaf_key(range->end),
        .seq = seq,
    };
    return 0;
}

int memtable_add(struct memtable *memtable, uint64_t seq, const struct chunk *chunk,
                 enum memtable_prior *prior, struct memtable_undo *undo)
{
    int rc;

    *prior = MEMTABLE_PRIOR_NONE;
    *undo = (struct memtable_undo){0};
    if (chunk->key.len > KEY_MAX_BYTES || chunk->value.len > VALUE_MAX_BYTES)
        return VARVE_EINVAL;
    if (chunk->kind == CHUNK_RANGE_DELETE)
        rc = add_range(memtable, seq, chunk, undo);
    else
        rc = add_point(memtable, seq, chunk, prior, undo);
    if (memtable->arena.chunk_bytes < CHUNK_MAX_BYTES &&
        memtable->arena.allocated_bytes >= 2 * memtable->arena.chunk_bytes)
        memtable->arena.chunk_bytes *= 2;
    atomic_store_explicit(&memtable->used_bytes,
                          sizeof(*memtable) + arena_used_bytes(&memtable->arena),
                          memory_order_relaxed);
    return rc;
}

uint8_t *memtable_added_value(const struct memtable_undo *undo)
{
    struct art_leaf *leaf = (struct art_leaf *)(void *)undo->entry;
    struct memtable_version *version = atomic_load_explicit(&leaf->value, memory_order_relaxed);

    CHECK(version->chain.seq == undo->seq);
    return version->value;
}

void memtable_undo_add(struct memtable *memtable, const struct memtable_undo *undo)
{
    if (undo->entry == NULL) {
        CHECK(range_map_newest(&memtable->ranges)->seq == undo->seq);
        range_map_undo(&memtable->ranges);
        return;
    }
    struct art_leaf *leaf = (struct art_leaf *)(void *)undo->entry;
    const struct chain *link = leaf_chain(leaf);
    CHECK(link != NULL && link->seq == undo->seq);
    leaf_set_chain(leaf, link->older);
    if (link->older == NULL)
        entry_count_add(memtable, -1);
}

/* The worst add of a point record: a piece for the key, its version and the jump of a later
 * version, and one art_link. Each piece may open a chunk of the arena. */
size_t memtable_cost_bytes(size_t key_len, size_t value_len)
{
    size_t piece = leaf_version_offset(key_len) + sizeof(struct chain_jump) +
                   sizeof(struct memtable_version) + value_len;

    return arena_cost_bytes(piece) + ART_LINK_MAX_PIECES * arena_cost_bytes(ART_LINK_MAX_BYTES);
}

size_t memtable_range_cost_bytes(const struct memtable *memtable, struct varve_slice begin,
                                 struct varve_slice end)
{
    return range_map_cost_bytes(&memtable->ranges, begin, end);
}

size_t memtable_used_bytes(const struct memtable *memtable)
{
    return atomic_load_explicit(&memtable->used_bytes, memory_order_relaxed);
}

uint64_t memtable_entry_count(const struct memtable *memtable)
{
    return atomic_load_explicit(&memtable->entry_count, memory_order_relaxed);
}

enum memtable_answer memtable_get(const struct memtable *memtable, struct varve_slice key,
                                  uint64_t seq_max, struct entry *record)
{
    return answer_of(memtable, art_find(&memtable->keys, key), key, seq_max, record);
}

uint32_t memtable_prefetch(const struct memtable *memtable, const struct varve_slice *keys,
                           size_t count)
{
    _Static_assert(MEMTABLE_PREFETCH_MAX <= ART_PREFETCH_MAX, "handed on as it is");
    return art_prefetch(&memtable->keys, keys, count);
}

uint64_t memtable_range_seq(const struct memtable *memtable, struct varve_slice key,
                            uint64_t seq_max)
{
    return range_map_seq(&memtable->ranges, key, seq_max);
}

struct memtable_iter *memtable_iter_create(struct memtable *memtable)
{
    struct memtable_iter *iter = mem_alloc(sizeof(*iter));

    if (iter == NULL)
        return NULL;
    iter->memtable = memtable_ref(memtable);
    art_iter_init(&iter->at, &memtable->keys);
    return iter;
}

void memtable_iter_destroy(struct memtable_iter *iter)
{
    if (iter == NULL)
        return;
    art_iter_deinit(&iter->at);
    memtable_unref(iter->memtable);
    mem_free(iter);
}

/* Whether it stands on a key whose every version was taken back. */
static int iter_on_nothing(const struct memtable_iter *iter)
{
    return iter->at.leaf != NULL && leaf_chain(iter->at.leaf) == NULL;
}

static void iter_skip_up(struct memtable_iter *iter)
{
    while (iter_on_nothing(iter))
        art_iter_next(&iter->at);
}

static void iter_skip_down(struct memtable_iter *iter)
{
    while (iter_on_nothing(iter))
        art_iter_prev(&iter->at);
}

void memtable_iter_first(struct memtable_iter *iter)
{
    art_iter_first(&iter->at);
    iter_skip_up(iter);
}

void memtable_iter_last(struct memtable_iter *iter)
{
    art_iter_last(&iter->at);
    iter_skip_down(iter);
}

void memtable_iter_seek(struct memtable_iter *iter, struct varve_slice key)
{
    art_iter_seek(&iter->at, key);
    iter_skip_up(iter);
}

void memtable_iter_seek_prev(struct memtable_iter *iter, struct varve_slice key)
{
    art_iter_seek_prev(&iter->at, key);
    iter_skip_down(iter);
}

void memtable_iter_next(struct memtable_iter *iter)
{
    art_iter_next(&iter->at);
    iter_skip_up(iter);
}

void memtable_iter_prev(struct memtable_iter *iter)
{
    art_iter_prev(&iter->at);
    iter_skip_down(iter);
}

int memtable_iter_valid(const struct memtable_iter *iter)
{
    return iter->at.leaf != NULL;
}

int memtable_iter_status(const struct memtable_iter *iter)
{
    return iter->at.status;
}

struct varve_slice memtable_iter_key(const struct memtable_iter *iter)
{
    CHECK(iter->at.leaf != NULL);
    return art_leaf_key(iter->at.leaf);
}

enum memtable_answer memtable_iter_get(const struct memtable_iter *iter, uint64_t seq_max,
                                       struct entry *record)
{
    CHECK(iter->at.leaf != NULL);
    return answer_of(iter->memtable, iter->at.leaf, art_leaf_key(iter->at.leaf), seq_max, record);
}

int memtable_iter_point(const struct memtable_iter *iter, uint64_t seq_max, struct entry *entry)
{
    CHECK(iter->at.leaf != NULL);
    const struct chain *link = chain_find(leaf_chain(iter->at.leaf), seq_max);

    if (link == NULL)
        return 0;
    record_fill(entry, iter->at.leaf, version_of(link));
    return 1;
}

int memtable_iter_oldest(const struct memtable_iter *iter, struct entry *entry)
{
    CHECK(iter->at.leaf != NULL);
    const struct chain *link = leaf_chain(iter->at.leaf);

    if (link == NULL)
        return 0;
    while (link->older != NULL)
        link = chain_jump(link)->to;
    record_fill(entry, iter->at.leaf, version_of(link));
    return 1;
}

const struct memtable_version *memtable_iter_version(const struct memtable_iter *iter,
                                                     const struct memtable_version *newer,
                                                     struct entry *record)
{
    CHECK(iter->at.leaf != NULL);
    const struct chain *link = newer == NULL ? leaf_chain(iter->at.leaf) : newer->chain.older;
    if (link == NULL) {
        *record = (struct entry){0};
        return NULL;
    }
    record_fill(record, iter->at.leaf, version_of(link));
    return version_of(link);
}

const struct memtable_range *memtable_next_range(const struct memtable *memtable,
                                                 const struct memtable_range *newer,
                                                 struct entry *record)
{
    const struct memtable_range *range = newer == NULL ? range_map_newest(&memtable->ranges)
                                                       : newer->older;

    *record = (struct entry){0};
    if (range == NULL)
        return NULL;
    record->seq = range->seq;
    record->chunk = (struct chunk){
        .kind = CHUNK_RANGE_DELETE,
        .crc = range->crc,
        .expire_ms = range->expire_ms,
        .key = art_leaf_key(range->begin),
        .value = art_leaf_key(range->end),
    };
    return range;
}

int memtable_is_empty(const struct memtable *memtable)
{
    return memtable_entry_count(memtable) == 0 && range_map_newest(&memtable->ranges) == NULL;
}

int memtable_has_ranges(const struct memtable *memtable)
{
    return range_map_newest(&memtable->ranges) != NULL;
}

size_t memtable_range_count(const struct memtable *memtable)
{
    size_t count = 0;

    for (const struct memtable_range *range = range_map_newest(&memtable->ranges); range != NULL;
         range = range->older)
        count++;
    return count;
}
