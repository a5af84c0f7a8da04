/* The iterators of fake_db.h: a copy of what is live, in order. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "fake_db_private.h"
#include "varve/iter.h"

struct varve_iter {
    struct varve_db *db;
    struct version **at;
    size_t count;
    size_t place;
    int no_wait;
    uint64_t as_of;
    int rc;
};

static int compare_versions(const void *a, const void *b)
{
    return varve_slice_compare(key_of(*(struct version *const *)a),
                               key_of(*(struct version *const *)b));
}

static int is_shown(struct varve_db *db, const struct varve_read *read, const struct version *v)
{
    return v->kind == PUT && (read->uncommitted || v->seq <= db->committed) &&
           fake_find(db, key_of(v), db->versions.count) == v &&
           (read->dead || v->expire_ms == 0 || v->expire_ms > read->now_ms);
}

struct varve_iter *varve_iter_create(struct varve_db *db, const struct varve_read *read,
                                     const struct varve_slice *lower,
                                     const struct varve_slice *upper, struct varve_err *err)
{
    struct varve_iter *iter = calloc(1, sizeof(*iter));
    uint64_t passes = 0;

    (void)err;
    iter->db = db;
    iter->no_wait = read->no_wait;
    iter->as_of = read->uncommitted ? db->seq : db->committed;
    iter->at = calloc(db->versions.count + 1, sizeof(struct version *));
    for (size_t i = 0; i < db->versions.count; i++) {
        struct version *v = &db->versions.at[i];
        if (varve_slice_compare(key_of(v), *lower) < 0 ||
            varve_slice_compare(key_of(v), *upper) >= 0)
            continue;
        if (!is_shown(db, read, v)) {
            passes++;
            continue;
        }
        if (fake_is_cold(db, read, key_of(v))) {
            db->blocked += read->no_wait != 0;
            db->waited += read->no_wait == 0;
            iter->rc = read->no_wait ? VARVE_WOULD_BLOCK : db->fail_fetches;
        }
        iter->at[iter->count++] = v;
    }
    if (read->no_wait && read->passes_max != 0 && passes > read->passes_max)
        iter->rc = VARVE_WOULD_BLOCK;
    qsort(iter->at, iter->count, sizeof(struct version *), compare_versions);
    return iter;
}

void varve_iter_destroy(struct varve_iter *iter)
{
    if (iter == NULL)
        return;
    free(iter->at);
    free(iter);
}

void varve_iter_first(struct varve_iter *iter)
{
    iter->place = 0;
}

void varve_iter_next(struct varve_iter *iter)
{
    CHECK(varve_iter_valid(iter));
    iter->place++;
}

int varve_iter_valid(const struct varve_iter *iter)
{
    return iter->rc == 0 && iter->place < iter->count;
}

int varve_iter_status(const struct varve_iter *iter, struct varve_err *err)
{
    return iter->rc == 0 ? 0 : err_set(err, iter->rc, "failed by the test");
}

struct varve_slice varve_iter_key(const struct varve_iter *iter)
{
    return key_of(iter->at[iter->place]);
}

struct varve_slice varve_iter_value(struct varve_iter *iter)
{
    if (iter->db->cold_values && iter->no_wait) {
        iter->rc = VARVE_WOULD_BLOCK;
        return varve_slice(NULL, 0);
    }
    const struct version *v = iter->at[iter->place];

    return varve_slice(v->value, v->value_len);
}

uint64_t varve_iter_expire_ms(const struct varve_iter *iter)
{
    return iter->at[iter->place]->expire_ms;
}

uint64_t varve_iter_seq(const struct varve_iter *iter)
{
    return iter->at[iter->place]->seq;
}

uint64_t varve_iter_as_of(const struct varve_iter *iter)
{
    return iter->as_of;
}

void varve_enter(void)
{
}

void varve_leave(void)
{
}

int varve_is_newest(struct varve_db *db, struct varve_slice key, uint64_t seq, uint64_t as_of)
{
    const struct version *v = fake_find(db, key, db->versions.count);

    if (db->flushed_seq > as_of && (v == NULL || v->seq <= db->flushed_seq))
        return VARVE_WOULD_BLOCK;
    return v != NULL && v->seq == seq;
}

void fake_db_flush_up_to_now(struct varve_db *db)
{
    db->flushed_seq = db->seq;
}

uint64_t varve_expiring(struct varve_db *db, struct varve_slice lower, struct varve_slice upper)
{
    uint64_t count = 0;

    for (size_t i = 0; i < db->versions.count; i++) {
        const struct version *v = &db->versions.at[i];
        count += v->expire_ms != 0 && varve_slice_compare(key_of(v), lower) >= 0 &&
                 varve_slice_compare(key_of(v), upper) < 0;
    }
    return count;
}

void varve_set_swept_ms(struct varve_db *db, uint64_t swept_ms)
{
    db->swept_ms = swept_ms;
}

uint64_t fake_db_swept_ms(const struct varve_db *db)
{
    return db->swept_ms;
}
