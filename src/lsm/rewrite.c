/* One key at a time, newest version first. What is kept is held back by one version, for only what lies
 * below it says whether its mark stays and whether a tombstone may go.
 *
 * The arithmetic of counts. A record counts if it is above its group's ignore_seq and under no newer
 * range tombstone. Of those, live = sum of (1 if a put) - (what was live just before it, if that is
 * known); so
 *
 *     keys that are live = live - the records with prior_unknown whose key was live just before.
 *
 * Every step keeps that true:
 *   - Two neighbours in the inputs are neighbours in the whole database, for what is merged has no gaps
 *     in its history. So whether the newer one's key was live just before it is known now: its mark
 *     goes, and 1 with it if the older one is a put that counts.
 *   - After that only the oldest version can have a mark. If it is dropped, what was live before it was
 *     live before the version that takes its place: the mark moves up. A range tombstone between the two
 *     answers the question instead.
 *   - An expired put that goes, or becomes a delete: if it is the newest version of the inputs, either
 *     its key is live no more, or the record above it, which is the oldest of a newer run and thus has a
 *     mark, finds nothing live below: 1 less. Otherwise its neighbour above had it taken off already.
 *   - All versions of a key go because something hides them that takes no part: of those, all but the
 *     newest were taken off by their neighbours above. The newest one's neighbour is the oldest of a newer run
 *     and thus has a mark, or a range tombstone lies between and the key counts no more. That mark now asks
 *     what the oldest one asked: 1 less if the newest one is a put. */
#include "lsm/rewrite.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "segment/block_walk.h"
#include "segment/segment.h"
#include "varve/batch.h"

#define TELL_EVERY 100 /* entries may be large */
#define CRC_PIECE_BYTES ((size_t)64 * 1024)
#define SCRATCH_KEEP_BYTES ((size_t)1024 * 1024)

/* ---- changes of counts ---- */

/* Where name is, or would be. */
static size_t changes_find(const struct count_changes *changes, struct varve_slice name)
{
    size_t from = 0;
    size_t to = changes->count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        const struct count_change *change = &changes->items[middle];
        if (varve_slice_compare(varve_slice(change->name, change->name_len), name) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

int count_changes_add(struct count_changes *changes, struct varve_slice name, int64_t live)
{
    CHECK(name.len <= VARVE_GROUP_MAX_BYTES);
    size_t at = changes_find(changes, name);

    if (at < changes->count) {
        struct count_change *same = &changes->items[at];
        if (varve_slice_equal(varve_slice(same->name, same->name_len), name)) {
            same->live += live;
            return 0;
        }
    }
    if (changes->count == changes->cap) {
        size_t cap = changes->cap == 0 ? 8 : changes->cap * 2;
        struct count_change *items = mem_realloc(changes->items, cap * sizeof(*items));
        if (items == NULL)
            return VARVE_ENOMEM;
        changes->items = items;
        changes->cap = cap;
    }
    struct count_change *change = &changes->items[at];
    memmove(change + 1, change, (changes->count - at) * sizeof(*change));
    *change = (struct count_change){.name_len = (uint8_t)name.len, .live = live};
    memcpy(change->name, name.data, name.len);
    changes->count++;
    return 0;
}

int count_changes_merge(struct count_changes *to, const struct count_changes *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct count_change *change = &from->items[i];
        int rc = count_changes_add(to, varve_slice(change->name, change->name_len), change->live);
        if (rc != 0)
            return rc;
    }
    to->expiry_drops |= from->expiry_drops;
    return 0;
}

void count_changes_deinit(struct count_changes *changes)
{
    mem_free(changes->items);
    *changes = (struct count_changes){0};
}

/* ---- one key ---- */

struct walk {
    const struct rewrite_rules *rules;
    struct count_changes *changes;
    struct varve_err *err;
    struct buf key_bytes;
    struct buf value_bytes; /* of held */

    int in_key;
    int hidden; /* all of it, by what takes no part */
    struct varve_slice key;
    uint64_t newest_range; /* over the key, of all; 0: none */
    int group_known;
    size_t group_len;
    uint64_t ignore_seq;
    int64_t live;

    /* The version before the one at hand, kept or not. */
    int has_newer;
    uint64_t newer_seq;
    uint64_t newer_stretch;
    int newer_unknown;

    /* Kept and not handed on yet. */
    int holds;
    int held_is_first; /* no newer version of the key is in the inputs */
    struct entry held;

    struct block_walk block; /* scratch */
};

/* The end of the stretch between snapshots in which seq lies: the oldest snapshot that sees it. */
static uint64_t stretch_of(const struct rewrite_rules *rules, uint64_t seq)
{
    size_t from = 0;
    size_t to = rules->snapshot_count;

    if (MUTANT("rewrite-ignores-snapshot"))
        return UINT64_MAX;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (rules->snapshots[middle] < seq)
            from = middle + 1;
        else
            to = middle;
    }
    return from < rules->snapshot_count ? rules->snapshots[from] : UINT64_MAX;
}

static int snapshot_is_older(const struct rewrite_rules *rules, uint64_t seq)
{
    return rules->snapshot_count > 0 && rules->snapshots[0] < seq;
}

int rewrite_keeps_range(const struct rewrite_rules *rules, uint64_t seq, int older_overlaps)
{
    return older_overlaps || snapshot_is_older(rules, seq);
}

/* Is there a range tombstone over the key between the two versions? */
static int range_between(const struct walk *walk, uint64_t older_seq, uint64_t newer_seq)
{
    if (walk->newest_range <= older_seq)
        return 0;
    return range_set_seq(walk->rules->ranges, walk->key, newer_seq) > older_seq;
}

/* Is the key of a group? What lies below one that nobody counts is asked by nobody. */
static int is_counted(struct walk *walk)
{
    const struct rewrite_rules *rules = walk->rules;

    if (!walk->group_known) {
        walk->group_len = rules->group(rules->arg, walk->key, &walk->ignore_seq);
        walk->group_known = 1;
    }
    return walk->group_len > 0;
}

/* Is a version of the key part of its group's count? */
static int counts(struct walk *walk, uint64_t seq)
{
    return is_counted(walk) && seq > walk->ignore_seq && seq > walk->newest_range;
}

static int expired(const struct rewrite_rules *rules, const struct entry *entry)
{
    return entry->chunk.kind == CHUNK_PUT && entry->chunk.expire_ms != 0 &&
           entry->chunk.expire_ms <= rules->expired_before_ms;
}

/* The chunk's CRC over a value that lies in a block of its own. */
static int crc_far(const struct entry *entry, uint32_t *crc, struct varve_err *err)
{
    const struct chunk *chunk = &entry->chunk;
    uint8_t *piece = mem_alloc(CRC_PIECE_BYTES);
    int rc = 0;

    if (piece == NULL)
        return err_set(err, VARVE_ENOMEM, "expired record: out of memory");
    *crc = chunk_crc_begin(chunk->kind, chunk->expire_ms, chunk->key.len);
    *crc = crc32c(*crc, chunk->key.data, chunk->key.len);
    for (uint64_t at = 0; at < chunk->value.len && rc == 0; at += CRC_PIECE_BYTES) {
        uint64_t left = chunk->value.len - at;
        size_t len = left < CRC_PIECE_BYTES ? (size_t)left : CRC_PIECE_BYTES;
        rc = segment_read_value(entry->value_segment, entry->value_offset, at, piece, len, err);
        if (rc == 0)
            *crc = crc32c(*crc, piece, len);
    }
    mem_free(piece);
    return rc;
}

/* The same of a compressed one, which is not long. */
static int check_packed(const struct entry *entry, struct varve_err *err)
{
    static const struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};
    struct segment_hold hold;
    struct varve_slice value;
    int rc = entry_value(entry, &how, &value, &hold, err);

    segment_hold_release(&hold);
    return rc;
}

/* Nothing is thrown away, and no new CRC made, on the word of a record that may be damaged. */
static int check_expired(const struct entry *entry, struct varve_err *err)
{
    uint32_t crc = 0;
    int rc = 0;

    if (entry->value_packed_len > 0)
        return check_packed(entry, err);
    if (entry->chunk.value.data == NULL && entry->chunk.value.len > 0)
        rc = crc_far(entry, &crc, err);
    else
        crc = chunk_crc(&entry->chunk);
    if (rc == 0 && crc != entry->chunk.crc)
        rc = err_set(err, VARVE_ECORRUPT, "expired record %" PRIu64 ": chunk CRC mismatch",
                     entry->seq);
    return rc;
}

static void make_delete(struct entry *entry)
{
    entry->chunk.kind = CHUNK_DELETE;
    entry->chunk.expire_ms = 0;
    entry->chunk.value = varve_slice(NULL, 0);
    entry->chunk.crc = chunk_crc(&entry->chunk);
    entry->value_segment = NULL;
    entry->value_offset = 0;
    entry->value_packed_len = 0;
}

/* The held version leaves: handed on with this mark, or dropped. */
static int let_go(struct walk *walk, int keep, int unknown)
{
    const struct rewrite_rules *rules = walk->rules;
    struct entry *held = &walk->held;

    walk->holds = 0;
    if (expired(rules, held)) {
        int rc = check_expired(held, walk->err);
        if (rc != 0)
            return rc;
        if (walk->held_is_first && counts(walk, held->seq)) {
            walk->live--;
            walk->changes->expiry_drops = 1;
        }
        make_delete(held);
        if (MUTANT("expired-leaves-nothing"))
            keep = 0;
    }
    if (!keep)
        return 0;
    held->prior_unknown = unknown;
    return rules->emit(rules->arg, held, walk->err);
}

static int older_may_hold(const struct walk *walk)
{
    const struct rewrite_rules *rules = walk->rules;

    if (rules->older_may_hold == NULL)
        return 1;
    if (MUTANT("rewrite-drops-tombstone"))
        return 0;
    return rules->older_may_hold(rules->arg, walk->key);
}

/* Of the oldest version in the inputs: is it unknown whether the key was live before it? */
static int oldest_is_unknown(const struct walk *walk)
{
    if (!walk->rules->flush)
        return walk->newer_unknown;
    return !range_between(walk, 0, walk->newer_seq);
}

static int end_key(struct walk *walk)
{
    const struct rewrite_rules *rules = walk->rules;
    int rc = 0;

    if (!walk->in_key)
        return 0;
    walk->in_key = 0;
    if (walk->holds) {
        struct entry *held = &walk->held;
        int dead = held->chunk.kind == CHUNK_DELETE || expired(rules, held);
        int may_go = dead && !snapshot_is_older(rules, held->seq);
        int unknown = oldest_is_unknown(walk);
        int asks = may_go || (unknown && !rules->flush && is_counted(walk));
        int below = asks && older_may_hold(walk);

        unknown = unknown && (below || !asks) && !range_between(walk, walk->newer_seq, held->seq);
        rc = let_go(walk, !may_go || below, unknown);
    }
    if (rc != 0 || walk->live == 0)
        return rc;
    rc = count_changes_add(walk->changes, varve_slice(walk->key.data, walk->group_len), walk->live);
    return rc == 0 ? 0 : err_set(walk->err, rc, "counts: out of memory");
}

/* Bytes that outlive the next move of the input. A memtable's do anyway, and may be huge. */
static int keep_bytes(const struct walk *walk, struct buf *buf, struct varve_slice *slice)
{
    if (walk->rules->flush || slice->data == NULL)
        return 0;
    buf_clear(buf);
    buf_shrink(buf, SCRATCH_KEEP_BYTES);
    if (buf_append(buf, slice->data, slice->len) != 0)
        return err_set(walk->err, VARVE_ENOMEM, "record of %zu bytes: out of memory", slice->len);
    *slice = buf_slice(buf);
    return 0;
}

static int begin_key(struct walk *walk, struct varve_slice key)
{
    int rc = keep_bytes(walk, &walk->key_bytes, &key);

    if (rc != 0)
        return rc;
    walk->in_key = 1;
    walk->key = key;
    walk->newest_range = range_set_seq(walk->rules->ranges, key, UINT64_MAX);
    walk->group_known = 0;
    walk->group_len = 0;
    walk->ignore_seq = 0;
    walk->live = 0;
    walk->has_newer = 0;
    walk->hidden = 0;
    if (walk->rules->newer_hides == NULL)
        return 0;
    rc = walk->rules->newer_hides(walk->rules->arg, key, walk->err);
    walk->hidden = rc > 0;
    return rc < 0 ? rc : 0;
}

/* Goes. The key's newest one here changes what lies below the record that hides it. */
static void take_hidden(struct walk *walk, const struct entry *entry)
{
    if (!walk->has_newer && counts(walk, entry->seq) && !MUTANT("cull-counts-nothing")) {
        walk->live -= entry->chunk.kind == CHUNK_PUT;
        walk->changes->expiry_drops = 1;
    }
    walk->has_newer = 1;
}

/* The version above this one had not asked what is below it: this is the answer. */
static void answer_newer(struct walk *walk, const struct entry *older)
{
    if (!walk->newer_unknown || walk->rules->flush || MUTANT("count-pair-ignored"))
        return;
    if (older->chunk.kind == CHUNK_PUT && counts(walk, older->seq))
        walk->live--;
}

static int hold(struct walk *walk, const struct entry *entry)
{
    int rc = 0;

    if (walk->holds)
        rc = let_go(walk, 1, 0);
    if (rc != 0)
        return rc;
    walk->held = *entry;
    walk->held.chunk.key = walk->key;
    walk->held_is_first = !walk->has_newer;
    walk->holds = 1;
    return keep_bytes(walk, &walk->value_bytes, &walk->held.chunk.value);
}

static int take(struct walk *walk, const struct entry *entry)
{
    int rc = 0;

    if (!walk->in_key || !varve_slice_equal(walk->key, entry->chunk.key)) {
        rc = end_key(walk);
        if (rc == 0)
            rc = begin_key(walk, entry->chunk.key);
        if (rc != 0)
            return rc;
        if (entry->prior_unknown && walk->rules->older_soon != NULL && is_counted(walk))
            walk->rules->older_soon(walk->rules->arg, walk->key);
    }
    if (walk->hidden) {
        take_hidden(walk, entry);
        return 0;
    }

    uint64_t stretch = stretch_of(walk->rules, entry->seq);
    int shadowed = walk->has_newer && walk->newer_stretch == stretch;
    if (walk->has_newer)
        answer_newer(walk, entry);
    if (!shadowed && !range_between(walk, entry->seq, stretch))
        rc = hold(walk, entry);
    walk->has_newer = 1;
    walk->newer_seq = entry->seq;
    walk->newer_stretch = stretch;
    walk->newer_unknown = entry->prior_unknown;
    return rc;
}

/* ---- blocks as they are ---- */

/* The only version of its key in the inputs: does it stay, with nothing to be changed or asked about it? */
static int stays_as_it_is(const struct walk *walk, const struct entry *entry)
{
    const struct rewrite_rules *rules = walk->rules;
    uint64_t ignore_seq;

    if (entry->chunk.kind != CHUNK_PUT || entry->value_offset != 0)
        return 0;
    if (expired(rules, entry) && !MUTANT("copy-keeps-expired"))
        return 0;
    if (range_set_seq(rules->ranges, entry->chunk.key, UINT64_MAX) != 0 &&
        !MUTANT("copy-over-a-tombstone"))
        return 0;
    /* What lies below a key that nobody counts, nobody asks. */
    return !entry->prior_unknown || MUTANT("copy-keeps-marks") ||
           rules->group(rules->arg, entry->chunk.key, &ignore_seq) == 0;
}

/* 1, 0 or an error. */
static int block_stays(struct walk *walk, const struct iter_block *block)
{
    struct block_walk *at = &walk->block;
    int rc = block_walk_begin(at, block->payload, UINT64_MAX, walk->err);

    while (rc == 0) {
        rc = block_walk_next(at, walk->err);
        if (rc <= 0)
            return rc == 0 ? 1 : rc;
        if ((at->same_key && !MUTANT("copy-keeps-versions")) || !stays_as_it_is(walk, &at->entry))
            return 0;
        rc = 0;
    }
    return rc;
}

/* 1: the input's block at hand was copied whole, is behind it and in *taken; 0: it was not; or an error. */
static int copy_block(struct walk *walk, struct iter *input, struct varve_slice upper,
                      uint64_t *taken)
{
    const struct rewrite_rules *rules = walk->rules;

    if (rules->copy == NULL || input->ops->block == NULL)
        return 0;
    const struct iter_block *block = input->ops->block(input);
    if (block == NULL ||
        (segment_upper_compare(block->upper, upper) > 0 && !MUTANT("copy-across-bounds")))
        return 0;
    if (walk->in_key && varve_slice_equal(walk->key, block->first))
        return 0;
    int rc = block_stays(walk, block);
    if (rc <= 0)
        return rc;
    rc = end_key(walk);
    if (rc == 0)
        rc = rules->copy(rules->arg, block, walk->err);
    if (rc > 0) {
        *taken += block->count;
        input->ops->skip_block(input);
    }
    return rc;
}

int rewrite_run(const struct rewrite_rules *rules, struct iter *input, struct varve_slice upper,
                struct count_changes *changes, struct varve_err *err)
{
    struct walk walk = {.rules = rules, .changes = changes, .err = err};
    uint64_t taken = 0;
    int tell = 1, rc = 0;

    buf_init(&walk.key_bytes, VARVE_KEY_MAX_BYTES);
    buf_init(&walk.value_bytes, VARVE_VALUE_MAX_BYTES);
    block_walk_init(&walk.block);
    while (rc == 0 && input->valid) {
        if (upper.len > 0 && varve_slice_compare(input->entry.chunk.key, upper) >= 0)
            break;
        if (tell && rules->took != NULL && rules->took(rules->arg, taken)) {
            rc = REWRITE_STOPPED;
            break;
        }
        taken = tell ? 0 : taken;
        rc = copy_block(&walk, input, upper, &taken);
        tell = rc > 0; /* many can be in a block */
        if (rc > 0) {
            rc = 0;
            continue;
        }
        if (rc == 0)
            rc = take(&walk, &input->entry);
        if (rc == 0)
            input->ops->next(input);
        tell = ++taken == TELL_EVERY;
    }
    if (rc == 0 && !input->valid && input->rc != 0) {
        rc = input->rc;
        if (err != NULL)
            *err = input->err;
    }
    if (rc == 0)
        rc = end_key(&walk);
    if (rc == 0 && rules->took != NULL && rules->took(rules->arg, taken))
        rc = REWRITE_STOPPED;
    buf_deinit(&walk.key_bytes);
    buf_deinit(&walk.value_bytes);
    block_walk_deinit(&walk.block);
    return rc;
}
