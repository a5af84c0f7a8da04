/* range_set.c - sorted boundaries, and a segment tree over the stretches between them.
 *
 * With a list of sequences for each stretch, N ranges that lie inside each other would take N * N / 2 of
 * them, and how they lie comes from the disk. So a range is listed not at every stretch that it covers but
 * at the few nodes (at most 2 log N) of a binary tree over the stretches that together cover the same.
 * What deletes a stretch stands on the way from its leaf to the root.
 *
 * The tree is the usual one in an array: of S stretches, stretch i is node S + i, the parent of node n is
 * n / 2. The list of node n is seqs[starts[n]] up to seqs[starts[n + 1]], newest first.
 *
 * Each boundary begins or ends a range, so of two neighbouring stretches one at least is covered. */
#include "lsm/range_set.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"

struct range_set {
    _Atomic uint32_t refs;
    size_t count;               /* of tombstones */
    size_t stretch_count;       /* stretch i is [bounds[i], bounds[i + 1]) */
    struct varve_slice *bounds; /* sorted, all different; stretch_count + 1 of them, or none */
    uint32_t *starts;           /* 2 * stretch_count + 1 */
    uint64_t *seqs;
    uint8_t *keys; /* what bounds point into */
};

/* ---- making ---- */

static int compare_bounds(const void *a, const void *b)
{
    return varve_slice_compare(*(const struct varve_slice *)a, *(const struct varve_slice *)b);
}

static int compare_newest_first(const void *a, const void *b)
{
    uint64_t seq_a = ((const struct range_tombstone *)a)->seq;
    uint64_t seq_b = ((const struct range_tombstone *)b)->seq;

    return (seq_a < seq_b) - (seq_a > seq_b);
}

/* The last stretch that begins at or before key; -1: key is before all. stretch_count: behind all. */
static int64_t find_stretch(const struct range_set *set, struct varve_slice key)
{
    size_t low = 0;
    size_t high = set->stretch_count == 0 ? 0 : set->stretch_count + 1;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = varve_slice_compare(set->bounds[middle], key);
        if (order <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return (int64_t)low - 1;
}

/* The copies of all keys, sorted, each once. */
static int make_bounds(struct range_set *set, const struct range_tombstone *ranges)
{
    size_t key_bytes = 0;
    size_t kept = 0;

    for (size_t i = 0; i < set->count; i++)
        key_bytes += ranges[i].begin.len + ranges[i].end.len;
    set->bounds = mem_alloc(2 * set->count * sizeof(*set->bounds));
    set->keys = mem_alloc(key_bytes);
    if (set->bounds == NULL || set->keys == NULL)
        return -1;
    for (size_t i = 0; i < set->count; i++) {
        set->bounds[2 * i] = ranges[i].begin;
        set->bounds[2 * i + 1] = ranges[i].end;
    }
    qsort(set->bounds, 2 * set->count, sizeof(*set->bounds), compare_bounds);
    uint8_t *at = set->keys;
    for (size_t i = 0; i < 2 * set->count; i++) {
        struct varve_slice bound = set->bounds[i];
        if (kept > 0 && varve_slice_equal(bound, set->bounds[kept - 1]))
            continue;
        if (bound.len > 0)
            memcpy(at, bound.data, bound.len);
        set->bounds[kept++] = varve_slice(at, bound.len);
        at += bound.len;
    }
    set->stretch_count = kept - 1;
    return 0;
}

/* Lists the range's sequence at each of its nodes, at the place that ends[node] says, or counts it there
 * if there are no lists yet. */
static void list_range(struct range_set *set, const struct range_tombstone *range, uint32_t *ends)
{
    size_t from = (size_t)find_stretch(set, range->begin) + set->stretch_count;
    size_t to = (size_t)find_stretch(set, range->end) + set->stretch_count;

    for (; from < to; from /= 2, to /= 2) {
        size_t nodes[2] = {from, to - 1};
        size_t odd[2] = {from & 1, to & 1};
        for (int side = 0; side < 2; side++) {
            if (!odd[side])
                continue;
            if (set->seqs != NULL)
                set->seqs[ends[nodes[side]]] = range->seq;
            ends[nodes[side]]++;
        }
        from += odd[0];
        to -= odd[1];
    }
}

/* ranges are sorted newest first, and so is each list then. */
static int make_lists(struct range_set *set, const struct range_tombstone *ranges)
{
    size_t nodes = 2 * set->stretch_count;
    uint32_t *ends = mem_alloc_zero(nodes * sizeof(*ends));
    uint64_t total = 0;
    int rc = -1;

    set->starts = mem_alloc((nodes + 1) * sizeof(*set->starts));
    if (ends == NULL || set->starts == NULL)
        goto out;
    for (size_t i = 0; i < set->count; i++)
        list_range(set, &ranges[i], ends);
    for (size_t node = 0; node < nodes; node++) {
        set->starts[node] = (uint32_t)total;
        total += ends[node];
        ends[node] = set->starts[node];
    }
    if (total > UINT32_MAX)
        goto out;
    set->starts[nodes] = (uint32_t)total;
    set->seqs = mem_alloc(total * sizeof(*set->seqs));
    if (set->seqs == NULL)
        goto out;
    for (size_t i = 0; i < set->count; i++)
        list_range(set, &ranges[i], ends);
    rc = 0;
out:
    mem_free(ends);
    return rc;
}

struct range_set *range_set_create(const struct range_tombstone *ranges, size_t count)
{
    struct range_set *set = mem_alloc_zero(sizeof(*set));
    struct range_tombstone *sorted = mem_alloc(count * sizeof(*sorted));
    int rc = -1;

    if (set != NULL)
        atomic_init(&set->refs, 1);
    if (set == NULL || sorted == NULL)
        goto out;
    for (size_t i = 0; i < count; i++)
        if (varve_slice_compare(ranges[i].begin, ranges[i].end) < 0)
            sorted[set->count++] = ranges[i];
    if (set->count > 0) {
        qsort(sorted, set->count, sizeof(*sorted), compare_newest_first);
        if (make_bounds(set, sorted) != 0 || make_lists(set, sorted) != 0)
            goto out;
    }
    rc = 0;
out:
    mem_free(sorted);
    if (rc == 0)
        return set;
    range_set_unref(set);
    return NULL;
}

struct range_set *range_set_ref(struct range_set *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void range_set_unref(struct range_set *set)
{
    if (set == NULL || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    mem_free(set->bounds);
    mem_free(set->starts);
    mem_free(set->seqs);
    mem_free(set->keys);
    mem_free(set);
}

/* ---- asking ---- */

size_t range_set_count(const struct range_set *set)
{
    return set == NULL ? 0 : set->count;
}

/* The newest of a node's list with a sequence <= seq_max; 0: none. */
static uint64_t node_seq(const struct range_set *set, size_t node, uint64_t seq_max)
{
    size_t low = set->starts[node];
    size_t high = set->starts[node + 1];
    size_t end = high;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->seqs[middle] > seq_max)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end ? set->seqs[low] : 0;
}

static uint64_t stretch_seq(const struct range_set *set, int64_t stretch, uint64_t seq_max)
{
    uint64_t newest = 0;

    if (stretch < 0 || (size_t)stretch >= set->stretch_count)
        return 0;
    for (size_t node = (size_t)stretch + set->stretch_count; node > 0; node /= 2) {
        uint64_t seq = node_seq(set, node, seq_max);
        newest = seq > newest ? seq : newest;
    }
    return newest;
}

uint64_t range_set_seq(const struct range_set *set, struct varve_slice key, uint64_t seq_max)
{
    if (set == NULL || set->count == 0)
        return 0;
    return stretch_seq(set, find_stretch(set, key), seq_max);
}

uint64_t range_set_cover(const struct range_set *set, struct varve_slice lower,
                         struct varve_slice upper, uint64_t seq_max)
{
    uint64_t smallest = UINT64_MAX;

    if (set == NULL || set->count == 0 || varve_slice_compare(lower, upper) >= 0)
        return 0;
    int64_t stretch = find_stretch(set, lower);
    do {
        uint64_t seq = stretch_seq(set, stretch, seq_max);
        smallest = seq < smallest ? seq : smallest;
        stretch++;
    } while (smallest > 0 && varve_slice_compare(set->bounds[stretch], upper) < 0 &&
             !MUTANT("range-cover-first-stretch"));
    return smallest;
}

int range_set_touches(const struct range_set *set, struct varve_slice lower,
                      struct varve_slice upper)
{
    if (set == NULL || set->count == 0 || (upper.len > 0 && varve_slice_compare(lower, upper) >= 0))
        return 0;
    int64_t stretch = find_stretch(set, lower);
    if (stretch_seq(set, stretch, UINT64_MAX) != 0)
        return 1;
    /* If there is a next one, a range begins with it. */
    stretch++;
    return (size_t)stretch < set->stretch_count &&
           (upper.len == 0 || varve_slice_compare(set->bounds[stretch], upper) <
                                  (MUTANT("range-touches-end") ? 1 : 0));
}
