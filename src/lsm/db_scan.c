/* Iterators over one state: the memtable's walk, with what is not there for this state left out. */
#include "lsm/db.h"
#include "varve/iter.h"

#include "base/err.h"
#include "base/mem.h"

struct varve_iter {
    struct varve_db *db;
    struct memtable_iter *inner;
    uint64_t seq;
    uint64_t now_ms;
    int dead;
    struct varve_slice lower; /* owned; data NULL: open */
    struct varve_slice upper;
    int valid;
    int rc;
    struct varve_err err;
    struct entry record;
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

struct varve_iter *varve_iter_create(struct varve_db *db, const struct varve_read *read,
                                     const struct varve_slice *lower,
                                     const struct varve_slice *upper, struct varve_err *err)
{
    struct varve_iter *iter = mem_alloc_zero(sizeof(*iter));

    if (iter == NULL)
        goto no_memory;
    iter->db = db;
    iter->seq = db_read_seq(db, read);
    iter->now_ms = db_read_now(db, read);
    iter->dead = read != NULL && read->dead;
    if (bound_copy(&iter->lower, lower) != 0 || bound_copy(&iter->upper, upper) != 0)
        goto no_memory;
    iter->inner = memtable_iter_create(db->memtable);
    if (iter->inner != NULL)
        return iter;
no_memory:
    varve_iter_destroy(iter);
    err_set(err, VARVE_ENOMEM, "no memory for an iterator");
    return NULL;
}

void varve_iter_destroy(struct varve_iter *iter)
{
    if (iter == NULL)
        return;
    memtable_iter_destroy(iter->inner);
    mem_free((void *)(uintptr_t)iter->lower.data);
    mem_free((void *)(uintptr_t)iter->upper.data);
    mem_free(iter);
}

static int iter_in_bounds(const struct varve_iter *iter, struct varve_slice key)
{
    if (iter->lower.data != NULL && varve_slice_compare(key, iter->lower) < 0)
        return 0;
    return iter->upper.data == NULL || varve_slice_compare(key, iter->upper) < 0;
}

/* From where the inner iterator stands, goes in one direction to the first key that is there for
 * this iterator. */
static void iter_settle(struct varve_iter *iter, void (*step)(struct memtable_iter *))
{
    iter->valid = 0;
    iter->rc = 0;
    for (; memtable_iter_valid(iter->inner); step(iter->inner)) {
        if (!iter_in_bounds(iter, memtable_iter_key(iter->inner)))
            return;
        if (memtable_iter_get(iter->inner, iter->seq, &iter->record) != MEMTABLE_VALUE)
            continue;
        iter->rc = db_record_check(&iter->record, &iter->err);
        if (iter->rc != 0)
            return;
        if (!iter->dead && db_record_expired(&iter->record, iter->now_ms))
            continue;
        iter->valid = 1;
        return;
    }
    iter->rc = memtable_iter_status(iter->inner);
    if (iter->rc != 0)
        err_set(&iter->err, iter->rc, "no memory for an iterator's move");
}

void varve_iter_seek(struct varve_iter *iter, struct varve_slice key)
{
    if (iter->lower.data != NULL && varve_slice_compare(key, iter->lower) < 0)
        key = iter->lower;
    memtable_iter_seek(iter->inner, key);
    iter_settle(iter, memtable_iter_next);
}

void varve_iter_first(struct varve_iter *iter)
{
    varve_iter_seek(iter, varve_slice(NULL, 0));
}

void varve_iter_seek_prev(struct varve_iter *iter, struct varve_slice key)
{
    if (iter->upper.data != NULL && varve_slice_compare(key, iter->upper) >= 0) {
        memtable_iter_seek_prev(iter->inner, iter->upper);
        if (memtable_iter_valid(iter->inner) &&
            varve_slice_equal(memtable_iter_key(iter->inner), iter->upper))
            memtable_iter_prev(iter->inner); /* the upper bound is exclusive */
    } else {
        memtable_iter_seek_prev(iter->inner, key);
    }
    iter_settle(iter, memtable_iter_prev);
}

void varve_iter_last(struct varve_iter *iter)
{
    if (iter->upper.data != NULL) {
        varve_iter_seek_prev(iter, iter->upper);
        return;
    }
    memtable_iter_last(iter->inner);
    iter_settle(iter, memtable_iter_prev);
}

void varve_iter_next(struct varve_iter *iter)
{
    CHECK(iter->valid);
    memtable_iter_next(iter->inner);
    iter_settle(iter, memtable_iter_next);
}

void varve_iter_prev(struct varve_iter *iter)
{
    CHECK(iter->valid);
    memtable_iter_prev(iter->inner);
    iter_settle(iter, memtable_iter_prev);
}

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
    return iter->record.chunk.key;
}

struct varve_slice varve_iter_value(const struct varve_iter *iter)
{
    CHECK(iter->valid);
    return iter->record.chunk.value;
}

uint64_t varve_iter_expire_ms(const struct varve_iter *iter)
{
    CHECK(iter->valid);
    return iter->record.chunk.expire_ms;
}

uint64_t varve_iter_seq(const struct varve_iter *iter)
{
    CHECK(iter->valid);
    return iter->record.seq;
}
