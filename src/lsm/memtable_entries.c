/* A memtable's records as a walk over entries (segment/iter.h): for scans the one version of each key that
 * is seen, for flushes all of them. */
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/memtable.h"
#include "segment/iter.h"

struct entries {
    struct iter iter;
    struct memtable_iter *inner;
    enum memtable_walk walk;
    uint64_t seq_max;
    const struct memtable_version *version; /* of MEMTABLE_ALL_VERSIONS: the one it stands on */
};

static struct entries *entries_of(struct iter *iter)
{
    return CONTAINER_OF(iter, struct entries, iter);
}

/* Whether the key that the inner iterator stands on has something to show. */
static int entries_take(struct entries *at)
{
    if (at->walk == MEMTABLE_NEWEST)
        return memtable_iter_point(at->inner, at->seq_max, &at->iter.entry);
    at->version = memtable_iter_version(at->inner, NULL, &at->iter.entry);
    while (at->version != NULL && at->iter.entry.seq > at->seq_max)
        at->version = memtable_iter_version(at->inner, at->version, &at->iter.entry);
    return at->version != NULL;
}

static void entries_settle(struct entries *at, void (*step)(struct memtable_iter *))
{
    at->iter.valid = 0;
    while (memtable_iter_valid(at->inner)) {
        if (entries_take(at)) {
            at->iter.valid = 1;
            return;
        }
        step(at->inner);
    }
    at->iter.rc = memtable_iter_status(at->inner);
}

static void entries_first(struct iter *iter)
{
    struct entries *at = entries_of(iter);

    memtable_iter_first(at->inner);
    entries_settle(at, memtable_iter_next);
}

static void entries_last(struct iter *iter)
{
    struct entries *at = entries_of(iter);

    CHECK(at->walk == MEMTABLE_NEWEST);
    memtable_iter_last(at->inner);
    entries_settle(at, memtable_iter_prev);
}

static void entries_seek(struct iter *iter, struct varve_slice key)
{
    struct entries *at = entries_of(iter);

    memtable_iter_seek(at->inner, key);
    entries_settle(at, memtable_iter_next);
}

static void entries_seek_prev(struct iter *iter, struct varve_slice key)
{
    struct entries *at = entries_of(iter);

    CHECK(at->walk == MEMTABLE_NEWEST);
    memtable_iter_seek_prev(at->inner, key);
    entries_settle(at, memtable_iter_prev);
}

static void entries_next(struct iter *iter)
{
    struct entries *at = entries_of(iter);

    if (at->walk == MEMTABLE_ALL_VERSIONS && !MUTANT("flush-newest-only")) {
        at->version = memtable_iter_version(at->inner, at->version, &at->iter.entry);
        if (at->version != NULL)
            return;
    }
    memtable_iter_next(at->inner);
    entries_settle(at, memtable_iter_next);
}

static void entries_prev(struct iter *iter)
{
    struct entries *at = entries_of(iter);

    CHECK(at->walk == MEMTABLE_NEWEST);
    memtable_iter_prev(at->inner);
    entries_settle(at, memtable_iter_prev);
}

static void entries_destroy(struct iter *iter)
{
    struct entries *at = entries_of(iter);

    memtable_iter_destroy(at->inner);
    mem_free(at);
}

struct iter *memtable_entries_create(struct memtable *memtable, enum memtable_walk walk,
                                     uint64_t seq_max)
{
    static const struct iter_ops ops = {
        .first = entries_first,
        .last = entries_last,
        .seek = entries_seek,
        .seek_prev = entries_seek_prev,
        .next = entries_next,
        .prev = entries_prev,
        .destroy = entries_destroy,
    };
    struct entries *at = mem_alloc_zero(sizeof(*at));

    if (at == NULL)
        return NULL;
    at->iter.ops = &ops;
    at->walk = walk;
    at->seq_max = seq_max;
    at->inner = memtable_iter_create(memtable);
    if (at->inner == NULL) {
        mem_free(at);
        return NULL;
    }
    return &at->iter;
}
