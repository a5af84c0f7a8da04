/* A loser tree. Leaves n .. 2n-1 are the sources, the inner nodes 1 .. n-1 hold the loser of the match
 * that was played there, losers[0] the winner of all. A source that moved plays only the matches on its
 * way up. A source that is at its end loses every match.
 *
 * Where one source wins again and again (a run over a key range that the others do not have), the
 * best of the losers on its way up is remembered: as long as the source stays before that one, no
 * match could turn out differently, and one comparison is all.
 *
 * Direction: going forward every source stands on its first entry that is not before the merge's; going
 * backward on its last one that is not behind it. A change of direction moves all but the current
 * source over the place where the merge stands. A memtable may have got entries there meanwhile, so
 * they move until they are on the right side, not just one step. */
#include "segment/merge_iter.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "segment/key_slice.h"

struct merge_source {
    struct iter *iter;
    uint64_t slices[2]; /* of its key: the first bytes as numbers, zeros behind a shorter one */
};

struct merge_iter {
    struct iter iter; /* first */
    size_t count;
    int backward;
    int rival_known;
    size_t rival;
    size_t *losers;  /* count; [0] is the winner; behind the sources */
    size_t *winners; /* 2 * count: scratch of the first round; behind the losers */
    struct merge_source sources[];
};

static struct merge_iter *merge_of(struct iter *iter)
{
    return CONTAINER_OF(iter, struct merge_iter, iter);
}

static void source_take_slices(struct merge_source *source)
{
    struct varve_slice key = source->iter->entry.chunk.key;

    source->slices[0] = key_slice_at(key, 0);
    source->slices[1] = key_slice_at(key, 8);
}

/* Does source a come before b on the way that the merge goes? */
static int merge_before(const struct merge_iter *merge, size_t a, size_t b)
{
    const struct merge_source *left = &merge->sources[a];
    const struct merge_source *right = &merge->sources[b];

    if (!left->iter->valid || !right->iter->valid)
        return left->iter->valid;
    for (int i = 0; i < 2; i++)
        if (left->slices[i] != right->slices[i])
            return (left->slices[i] < right->slices[i]) != merge->backward;
    const struct entry *x = &left->iter->entry;
    const struct entry *y = &right->iter->entry;
    int order = entry_compare(x->chunk.key, x->seq, y->chunk.key, y->seq);
    return merge->backward ? order > 0 : order < 0;
}

/* Takes note of where source i stands now. 0, or its error. */
static int merge_note(struct merge_iter *merge, size_t i)
{
    struct merge_source *source = &merge->sources[i];

    if (LIKELY(source->iter->valid)) {
        source_take_slices(source);
        return 0;
    }
    if (source->iter->rc == 0)
        return 0;
    merge->iter.valid = 0;
    merge->iter.rc = source->iter->rc;
    merge->iter.err = source->iter->err;
    return merge->iter.rc;
}

static void merge_show(struct merge_iter *merge)
{
    const struct iter *winner = merge->sources[merge->losers[0]].iter;

    merge->iter.valid = winner->valid;
    if (winner->valid)
        merge->iter.entry = winner->entry;
}

/* All sources were moved: plays every match. */
static void merge_build(struct merge_iter *merge)
{
    size_t n = merge->count;

    merge->rival_known = 0;
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (merge_note(merge, i) != 0)
            return;
    for (size_t node = 2 * n - 1; node >= n; node--)
        merge->winners[node] = node - n;
    for (size_t node = n - 1; node >= 1; node--) {
        size_t a = merge->winners[2 * node];
        size_t b = merge->winners[2 * node + 1];
        int a_wins = merge_before(merge, a, b);
        merge->winners[node] = a_wins ? a : b;
        merge->losers[node] = a_wins ? b : a;
    }
    merge->losers[0] = merge->winners[1];
    merge_show(merge);
}

/* The best of those that the winner beat on its way up. */
static void merge_find_rival(struct merge_iter *merge)
{
    size_t node = (merge->losers[0] + merge->count) / 2;

    if (node == 0)
        return;
    merge->rival = merge->losers[node];
    for (node /= 2; node >= 1; node /= 2)
        if (merge_before(merge, merge->losers[node], merge->rival))
            merge->rival = merge->losers[node];
    merge->rival_known = 1;
}

/* The winner was moved: plays the matches on its way up. */
static void merge_replay(struct merge_iter *merge)
{
    size_t moved = merge->losers[0];
    size_t winner = moved;

    if (merge_note(merge, moved) != 0)
        return;
    if (merge->rival_known &&
        (MUTANT("merge-trusts-rival") || merge_before(merge, moved, merge->rival))) {
        merge_show(merge);
        return;
    }
    for (size_t node = (moved + merge->count) / 2; node >= 1; node /= 2) {
        size_t loser = merge->losers[node];
        if (merge_before(merge, loser, winner)) {
            merge->losers[node] = winner;
            winner = loser;
        }
    }
    merge->losers[0] = winner;
    merge->rival_known = 0;
    if (winner == moved)
        merge_find_rival(merge);
    merge_show(merge);
}

static void merge_reset(struct merge_iter *merge, int backward)
{
    merge->iter.valid = 0;
    merge->iter.rc = 0;
    merge->backward = backward;
}

static void merge_first(struct iter *iter)
{
    struct merge_iter *merge = merge_of(iter);

    merge_reset(merge, 0);
    for (size_t i = 0; i < merge->count; i++)
        merge->sources[i].iter->ops->first(merge->sources[i].iter);
    merge_build(merge);
}

static void merge_last(struct iter *iter)
{
    struct merge_iter *merge = merge_of(iter);

    merge_reset(merge, 1);
    for (size_t i = 0; i < merge->count; i++)
        merge->sources[i].iter->ops->last(merge->sources[i].iter);
    merge_build(merge);
}

static void source_seek(struct iter *source, struct varve_slice key, int backward)
{
    if (backward)
        source->ops->seek_prev(source, key);
    else
        source->ops->seek(source, key);
}

/* All sources ask the disk before one of them waits for it: so they wait together. */
static void merge_seek_all(struct merge_iter *merge, struct varve_slice key, int backward)
{
    merge_reset(merge, backward);
    for (size_t i = 0; i < merge->count; i++) {
        struct iter *source = merge->sources[i].iter;
        if (source->ops->ask != NULL && !MUTANT("seek-waits-in-turn"))
            source->ops->ask(source, key, backward);
        else
            source_seek(source, key, backward);
    }
    for (size_t i = 0; i < merge->count; i++) {
        struct iter *source = merge->sources[i].iter;
        if (source->ops->ask != NULL && source->rc == VARVE_WOULD_BLOCK)
            source_seek(source, key, backward);
    }
    merge_build(merge);
}

static void merge_seek(struct iter *iter, struct varve_slice key)
{
    merge_seek_all(merge_of(iter), key, 0);
}

static void merge_seek_prev(struct iter *iter, struct varve_slice key)
{
    merge_seek_all(merge_of(iter), key, 1);
}

/* Brings a source to its first entry behind `at`. */
static void source_pass(struct iter *source, const struct entry *at)
{
    if (source->valid)
        source->ops->next(source);
    else
        source->ops->first(source);
    while (source->valid &&
           entry_compare(source->entry.chunk.key, source->entry.seq, at->chunk.key, at->seq) <= 0)
        source->ops->next(source);
}

/* Brings a source to its last entry before `at`. */
static void source_pass_back(struct iter *source, const struct entry *at)
{
    if (source->valid)
        source->ops->prev(source);
    else
        source->ops->last(source);
    while (source->valid &&
           entry_compare(source->entry.chunk.key, source->entry.seq, at->chunk.key, at->seq) >= 0)
        source->ops->prev(source);
}

static void merge_turn(struct merge_iter *merge, int backward)
{
    size_t current = merge->losers[0];
    struct iter *stays = merge->sources[current].iter;

    merge_reset(merge, backward);
    for (size_t i = 0; i < merge->count; i++) {
        if (i == current)
            continue;
        if (backward)
            source_pass_back(merge->sources[i].iter, &stays->entry);
        else
            source_pass(merge->sources[i].iter, &stays->entry);
    }
    if (backward)
        stays->ops->prev(stays);
    else
        stays->ops->next(stays);
    merge_build(merge);
}

static void merge_next(struct iter *iter)
{
    struct merge_iter *merge = merge_of(iter);

    CHECK(iter->valid);
    if (merge->backward) {
        merge_turn(merge, 0);
        return;
    }
    struct iter *winner = merge->sources[merge->losers[0]].iter;
    winner->ops->next(winner);
    merge_replay(merge);
}

static void merge_prev(struct iter *iter)
{
    struct merge_iter *merge = merge_of(iter);

    CHECK(iter->valid);
    if (!merge->backward) {
        merge_turn(merge, 1);
        return;
    }
    struct iter *winner = merge->sources[merge->losers[0]].iter;
    winner->ops->prev(winner);
    merge_replay(merge);
}

/* The winner's block, if the best of the others stands behind it. */
static const struct iter_block *merge_block(struct iter *iter)
{
    struct merge_iter *merge = merge_of(iter);
    struct iter *winner = merge->sources[merge->losers[0]].iter;

    CHECK(iter->valid && !merge->backward);
    if (winner->ops->block == NULL)
        return NULL;
    const struct iter_block *block = winner->ops->block(winner);
    if (block == NULL)
        return NULL;
    if (!merge->rival_known)
        merge_find_rival(merge);
    if (!merge->rival_known) /* it is the only one */
        return block;
    const struct iter *rival = merge->sources[merge->rival].iter;
    if (rival->valid && varve_slice_compare(rival->entry.chunk.key, block->upper) < 0 &&
        !MUTANT("copy-past-rival"))
        return NULL;
    return block;
}

static void merge_skip_block(struct iter *iter)
{
    struct merge_iter *merge = merge_of(iter);
    struct iter *winner = merge->sources[merge->losers[0]].iter;

    winner->ops->skip_block(winner);
    merge_replay(merge);
}

static void merge_destroy(struct iter *iter)
{
    struct merge_iter *merge = merge_of(iter);

    for (size_t i = 0; i < merge->count; i++)
        iter_destroy(merge->sources[i].iter);
    mem_free(merge);
}

static const struct iter_ops merge_ops = {
    .first = merge_first,
    .last = merge_last,
    .seek = merge_seek,
    .seek_prev = merge_seek_prev,
    .next = merge_next,
    .prev = merge_prev,
    .block = merge_block,
    .skip_block = merge_skip_block,
    .destroy = merge_destroy,
};

struct iter *merge_iter_create(struct iter **sources, size_t count)
{
    size_t source_bytes = count * sizeof(struct merge_source);
    struct merge_iter *merge = mem_alloc_zero(sizeof(*merge) + source_bytes +
                                              (3 * count + 2) * sizeof(size_t));
    int whole = merge != NULL;

    for (size_t i = 0; i < count; i++)
        whole = whole && sources[i] != NULL;
    if (!whole) {
        mem_free(merge);
        for (size_t i = 0; i < count; i++)
            iter_destroy(sources[i]);
        return NULL;
    }
    merge->iter.ops = &merge_ops;
    merge->count = count;
    merge->losers = (size_t *)(void *)&merge->sources[count];
    merge->winners = merge->losers + count + 1;
    for (size_t i = 0; i < count; i++)
        merge->sources[i].iter = sources[i];
    return &merge->iter;
}
