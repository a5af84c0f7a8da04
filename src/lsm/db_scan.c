/* Iterators over one state: the entries of all layers merged; of each key the newest version that the
 * sequence sees, unless it is deleted, covered by a range tombstone or expired.
 *
 * Forward, the merge stands on the entry that is shown. Backward it meets a key's versions oldest first, so
 * the one to show is copied, and the merge stands in front of the key. A change of direction seeks.
 *
 * Layers without an entry that the sequence sees are left out. Often one run is all that is left: then it
 * takes the place of the merge, and says itself which of its entries are of one key. */
#include "lsm/db.h"
#include "varve/iter.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "segment/merge_iter.h"

#define READAHEAD_BYTES ((size_t)512 * 1024)
#define KEEP_BYTES ((size_t)64 * 1024)
#define NO_WAIT_SKIPS_MAX 4096 /* keys that one move may pass where nobody may wait */

enum direction { FORWARD, BACKWARD };

struct varve_iter {
    struct varve_db *db;
    struct view *view;
    struct iter *inner;
    int alone;      /* inner is no merge */
    int has_ranges; /* a range tombstone may cover what the sequence sees */
    uint64_t seq;
    uint64_t now_ms;
    int dead;
    uint64_t passes_left; /* records that are not shown; UINT64_MAX: no limit */
    struct segment_read how;
    struct varve_slice lower; /* owned; data NULL: open */
    struct varve_slice upper;
    enum direction direction;
    int valid;
    int rc;
    struct varve_err err;
    const struct entry *shown; /* forward it is inner's, backward `entry` */
    struct entry entry;        /* its key lies in `key`, its value in `copy` */
    struct buf key;            /* of what is shown, across a move */
    struct buf copy;
    struct varve_slice value; /* once it was asked for, of a value in a block of its own */
    struct segment_hold hold;
};

static int bound_copy(struct varve_slice *to, const struct varve_slice *from)
{
    if (from == NULL)
        return 0;
    uint8_t *copy = mem_alloc(from->len);
    if (copy == NULL)
        return VARVE_ENOMEM;
    if (from->len > 0)
        memcpy(copy, from->data, from->len);
    *to = varve_slice(copy, from->len);
    return 0;
}

/* ---- making one ---- */

static int iter_add(struct iter **sources, size_t *count, struct iter *source)
{
    if (source == NULL)
        return VARVE_ENOMEM;
    sources[(*count)++] = source;
    return 0;
}

/* What a memtable gets from now on is newer than the sequence. */
static int iter_add_memtable(struct varve_iter *iter, struct memtable *memtable,
                             struct iter **sources, size_t *count)
{
    iter->has_ranges |= memtable_has_ranges(memtable) && !MUTANT("scan-forgets-ranges");
    if (memtable_entry_count(memtable) == 0)
        return 0;
    return iter_add(sources, count, memtable_entries_create(memtable, MEMTABLE_NEWEST, iter->seq));
}

static int iter_sources(struct varve_iter *iter, struct iter **sources, size_t *count)
{
    const struct view *view = iter->view;
    int rc = iter_add_memtable(iter, view->active, sources, count);

    for (size_t i = 0; rc == 0 && i < view->immutable_count; i++)
        rc = iter_add_memtable(iter, view->immutable[i], sources, count);
    iter->has_ranges |= range_set_count(view->version->ranges) != 0;
    for (size_t i = 0; rc == 0 && i < view->version->run_count; i++) {
        const struct sorted_run *run = &view->version->runs[i];
        rc = iter_add(sources, count,
                      run_iter_create(run->segments, run->count, &iter->how, READAHEAD_BYTES));
    }
    return rc;
}

static int iter_open(struct varve_iter *iter)
{
    size_t most = iter->view->immutable_count + 1 + iter->view->version->run_count;
    struct iter **sources = mem_alloc(most * sizeof(struct iter *));
    size_t count = 0;

    if (sources == NULL)
        return VARVE_ENOMEM;
    int rc = iter_sources(iter, sources, &count);
    if (rc == 0) {
        iter->alone = count == 1;
        iter->inner = iter->alone ? sources[0] : merge_iter_create(sources, count);
        rc = iter->inner == NULL ? VARVE_ENOMEM : 0;
    } else {
        while (count > 0)
            iter_destroy(sources[--count]);
    }
    mem_free(sources);
    return rc;
}

struct varve_iter *varve_iter_create(struct varve_db *db, const struct varve_read *read,
                                     const struct varve_slice *lower,
                                     const struct varve_slice *upper, struct varve_err *err)
{
    struct varve_iter *iter = mem_alloc_zero(sizeof(*iter));

    if (iter == NULL)
        goto no_memory;
    iter->db = db;
    buf_init(&iter->key, VARVE_KEY_MAX_BYTES);
    buf_init(&iter->copy, VARVE_KEY_MAX_BYTES + VARVE_VALUE_MAX_BYTES);
    rcu_enter();
    iter->view = db_read_view(db, read, &iter->seq);
    view_ref(iter->view);
    rcu_leave();
    iter->now_ms = db_read_now(db, read);
    iter->dead = read != NULL && read->dead;
    iter->passes_left = UINT64_MAX;
    if (read != NULL && read->no_wait && read->passes_max != 0 && !MUTANT("iterator-passes-all"))
        iter->passes_left = read->passes_max;
    iter->how.wait = read != NULL && read->no_wait ? SEGMENT_NO_WAIT : SEGMENT_WAIT;
    iter->how.no_fill = read != NULL && read->no_fill;
    if (bound_copy(&iter->lower, lower) == 0 && bound_copy(&iter->upper, upper) == 0 &&
        iter_open(iter) == 0)
        return iter;
no_memory:
    varve_iter_destroy(iter);
    err_set(err, VARVE_ENOMEM, "no memory for an iterator");
    return NULL;
}

static void iter_let_go(struct varve_iter *iter)
{
    segment_hold_release(&iter->hold);
    iter->value = varve_slice(NULL, 0);
}

void varve_iter_destroy(struct varve_iter *iter)
{
    if (iter == NULL)
        return;
    iter_let_go(iter);
    iter_destroy(iter->inner);
    view_release(&iter->db->view, iter->view);
    buf_deinit(&iter->key);
    buf_deinit(&iter->copy);
    mem_free((void *)(uintptr_t)iter->lower.data);
    mem_free((void *)(uintptr_t)iter->upper.data);
    mem_free(iter);
}

/* ---- what is shown ---- */

/* Is the newest version that the sequence sees a value for this iterator? */
static int iter_shows(struct varve_iter *iter, const struct entry *entry)
{
    if (entry->chunk.kind != CHUNK_PUT)
        return 0;
    if (!iter->dead && db_record_expired(entry, iter->now_ms))
        return 0;
    return !iter->has_ranges ||
           view_range_seq(iter->view, entry->chunk.key, iter->seq) < entry->seq;
}

static void iter_fail(struct varve_iter *iter, int rc, const struct varve_err *err)
{
    iter->valid = 0;
    iter->rc = rc;
    if (err != NULL && err->code != 0)
        iter->err = *err;
    else
        err_set(&iter->err, rc, "no memory for an iterator's move");
}

/* A long stretch of dead keys takes time, too: not that of a caller who must not wait. */
static COLD int iter_skips_too_long(struct varve_iter *iter)
{
    struct varve_err err = {0};

    if (iter->how.wait != SEGMENT_NO_WAIT)
        return 0;
    err_set(&err, VARVE_WOULD_BLOCK, "too many keys that are not shown");
    iter_fail(iter, VARVE_WOULD_BLOCK, &err);
    return 1;
}

static void iter_show(struct varve_iter *iter, const struct entry *entry)
{
    iter->shown = entry;
    iter->valid = 1;
    if (entry->value_segment != NULL)
        return; /* its value is checked where it is fetched */
    int rc = db_record_check(entry, &iter->err);
    if (UNLIKELY(rc != 0))
        iter_fail(iter, rc, &iter->err);
}

static COLD void iter_passes_too_many(struct varve_iter *iter)
{
    struct varve_err err = {0};

    iter_fail(iter, err_set(&err, VARVE_WOULD_BLOCK, "too many records are passed"), &err);
}

/* A record is passed that is not shown. 0: no more of them may be, and the move failed. */
static int iter_may_pass(struct varve_iter *iter)
{
    if (UNLIKELY(iter->passes_left == 0)) {
        iter_passes_too_many(iter);
        return 0;
    }
    iter->passes_left -= iter->passes_left != UINT64_MAX;
    return 1;
}

static inline void iter_begin_move(struct varve_iter *iter)
{
    if (UNLIKELY(iter->value.data != NULL))
        iter_let_go(iter);
    iter->valid = 0;
    iter->rc = 0;
}

/* ---- forward ---- */

static int iter_save_key(struct varve_iter *iter, struct varve_slice key)
{
    buf_clear(&iter->key);
    if (UNLIKELY(iter->key.cap > KEEP_BYTES))
        buf_shrink(&iter->key, KEEP_BYTES);
    return buf_append(&iter->key, key.data, key.len);
}

/* Over what is left of the key in iter->key. */
static void iter_skip_key_up(struct varve_iter *iter)
{
    while (iter->inner->valid &&
           varve_slice_equal(iter->inner->entry.chunk.key, buf_slice(&iter->key)))
        iter->inner->ops->next(iter->inner);
}

/* From a version of a key to the first one of the next key. 0, or the move failed. */
static inline int iter_next_key(struct varve_iter *iter)
{
    struct iter *inner = iter->inner;

    if (iter->alone) {
        do
            inner->ops->next(inner);
        while (inner->valid && inner->entry.same_key && !MUTANT("scan-shows-older-version"));
        return 0;
    }
    if (iter_save_key(iter, inner->entry.chunk.key) != 0) {
        iter_fail(iter, VARVE_ENOMEM, NULL);
        return VARVE_ENOMEM;
    }
    inner->ops->next(inner);
    iter_skip_key_up(iter);
    return 0;
}

/* From where the merge stands, at a key's first version, to the first key that is shown. */
static void iter_settle_up(struct varve_iter *iter)
{
    unsigned skips = 0;

    iter->direction = FORWARD;
    while (iter->inner->valid) {
        const struct entry *entry = &iter->inner->entry;
        if (iter->upper.data != NULL && varve_slice_compare(entry->chunk.key, iter->upper) >= 0)
            return;
        if (UNLIKELY(skips++ >= NO_WAIT_SKIPS_MAX) && iter_skips_too_long(iter))
            return;
        if (entry->seq > iter->seq) {
            iter->inner->ops->next(iter->inner);
            continue;
        }
        if (iter_shows(iter, entry)) {
            iter_show(iter, entry);
            return;
        }
        if (!iter_may_pass(iter) || iter_next_key(iter) != 0)
            return;
    }
    if (iter->inner->rc != 0)
        iter_fail(iter, iter->inner->rc, &iter->inner->err);
}

void varve_iter_seek(struct varve_iter *iter, struct varve_slice key)
{
    if (iter->lower.data != NULL && varve_slice_compare(key, iter->lower) < 0)
        key = iter->lower;
    iter_begin_move(iter);
    iter->inner->ops->seek(iter->inner, key);
    iter_settle_up(iter);
}

void varve_iter_first(struct varve_iter *iter)
{
    varve_iter_seek(iter, varve_slice("", 0));
}

void varve_iter_next(struct varve_iter *iter)
{
    CHECK(iter->valid);
    iter_begin_move(iter);
    if (UNLIKELY(iter->direction == BACKWARD)) { /* then the key is saved already */
        iter->inner->ops->seek(iter->inner, buf_slice(&iter->key));
        iter_skip_key_up(iter);
    } else if (iter_next_key(iter) != 0) {
        return;
    }
    iter_settle_up(iter);
}

/* ---- backward ---- */

/* The newest seen version of the key that the merge stands on; the merge goes in front of the key. Returns
 * 1 if it is shown. */
static int iter_take_key_down(struct varve_iter *iter, int *rc)
{
    int found = 0;

    *rc = iter_save_key(iter, iter->inner->entry.chunk.key);
    while (*rc == 0 && iter->inner->valid &&
           varve_slice_equal(iter->inner->entry.chunk.key, buf_slice(&iter->key))) {
        const struct entry *entry = &iter->inner->entry;
        if (entry->seq <= iter->seq) {
            found = 1;
            iter->entry = *entry;
            buf_clear(&iter->copy);
            if (entry->chunk.value.data != NULL)
                *rc = buf_append(&iter->copy, entry->chunk.value.data, entry->chunk.value.len);
        }
        iter->inner->ops->prev(iter->inner);
    }
    if (*rc != 0 || !found)
        return 0;
    iter->entry.chunk.key = buf_slice(&iter->key);
    if (iter->entry.value_segment == NULL)
        iter->entry.chunk.value.data = iter->copy.data;
    return iter_shows(iter, &iter->entry);
}

static void iter_settle_down(struct varve_iter *iter)
{
    unsigned skips = 0;
    int rc = 0;

    iter->direction = BACKWARD;
    buf_clear(&iter->copy);
    buf_shrink(&iter->copy, KEEP_BYTES);
    while (iter->inner->valid &&
           (iter->lower.data == NULL ||
            varve_slice_compare(iter->inner->entry.chunk.key, iter->lower) >= 0)) {
        if (UNLIKELY(skips++ >= NO_WAIT_SKIPS_MAX) && iter_skips_too_long(iter))
            return;
        if (iter_take_key_down(iter, &rc)) {
            iter_show(iter, &iter->entry);
            break;
        }
        if (rc != 0) {
            iter_fail(iter, rc, NULL);
            return;
        }
        if (!iter_may_pass(iter))
            return;
    }
    if (iter->inner->rc != 0)
        iter_fail(iter, iter->inner->rc, &iter->inner->err);
}

static void iter_skip_key_down(struct varve_iter *iter, struct varve_slice key)
{
    while (iter->inner->valid && varve_slice_compare(iter->inner->entry.chunk.key, key) >= 0)
        iter->inner->ops->prev(iter->inner);
}

void varve_iter_seek_prev(struct varve_iter *iter, struct varve_slice key)
{
    int at_upper = iter->upper.data != NULL && varve_slice_compare(key, iter->upper) >= 0;

    iter_begin_move(iter);
    iter->inner->ops->seek_prev(iter->inner, at_upper ? iter->upper : key);
    if (at_upper) /* it is exclusive */
        iter_skip_key_down(iter, iter->upper);
    iter_settle_down(iter);
}

void varve_iter_last(struct varve_iter *iter)
{
    if (iter->upper.data != NULL) {
        varve_iter_seek_prev(iter, iter->upper);
        return;
    }
    iter_begin_move(iter);
    iter->inner->ops->last(iter->inner);
    iter_settle_down(iter);
}

void varve_iter_prev(struct varve_iter *iter)
{
    CHECK(iter->valid);
    int rc = 0;

    if (iter->direction == FORWARD)
        rc = iter_save_key(iter, iter->shown->chunk.key);
    int turned = iter->direction == FORWARD;
    iter_begin_move(iter);
    if (rc != 0) {
        iter_fail(iter, rc, NULL);
        return;
    }
    if (turned) {
        iter->inner->ops->seek_prev(iter->inner, buf_slice(&iter->key));
        iter_skip_key_down(iter, buf_slice(&iter->key));
    }
    iter_settle_down(iter);
}

/* ---- looking ---- */

int varve_iter_valid(const struct varve_iter *iter)
{
    return iter->valid;
}

int varve_iter_status(const struct varve_iter *iter, struct varve_err *err)
{
    if (iter->rc != 0 && err != NULL)
        *err = iter->err;
    return iter->rc;
}

struct varve_slice varve_iter_key(const struct varve_iter *iter)
{
    CHECK(iter->valid);
    return iter->shown->chunk.key;
}

struct varve_slice varve_iter_value(struct varve_iter *iter)
{
    CHECK(iter->valid);
    if (iter->shown->value_segment == NULL)
        return iter->shown->chunk.value;
    if (iter->value.data == NULL) {
        rcu_enter();
        int rc = entry_value(iter->shown, &iter->how, &iter->value, &iter->hold, &iter->err);
        segment_hold_keep(&iter->hold);
        rcu_leave();
        if (rc != 0) {
            iter_fail(iter, rc, &iter->err);
            return varve_slice(NULL, 0);
        }
    }
    return iter->value;
}

uint64_t varve_iter_expire_ms(const struct varve_iter *iter)
{
    CHECK(iter->valid);
    return iter->shown->chunk.expire_ms;
}

uint64_t varve_iter_seq(const struct varve_iter *iter)
{
    CHECK(iter->valid);
    return iter->shown->seq;
}

uint64_t varve_iter_as_of(const struct varve_iter *iter)
{
    return iter->seq;
}
