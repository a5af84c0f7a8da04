#include "model.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "varve/iter.h"

static const char *const keys[MODEL_KEYS + 1] = {"a:1", "a:2", "a:3", "b:1",
                                                 "b:2", "b:3", "c",   "d"};

struct varve_slice model_key(unsigned index)
{
    CHECK(index <= MODEL_KEYS);
    return varve_slice_str(keys[index]);
}

size_t model_group(void *arg, struct varve_slice key)
{
    (void)arg;
    return key.len >= MODEL_GROUP_BYTES && key.data[1] == ':' ? MODEL_GROUP_BYTES : 0;
}

/* ---- operations ---- */

static void value_fill(const struct model_op *op, uint8_t *bytes)
{
    struct rng rng;

    if (op->value_seed == 0) {
        memset(bytes, 0, op->value_len);
        return;
    }
    rng_init(&rng, op->value_seed);
    for (size_t at = 0; at < op->value_len; at += 8) {
        uint64_t word = rng_next(&rng);
        size_t part = op->value_len - at < 8 ? op->value_len - at : 8;
        memcpy(bytes + at, &word, part);
    }
}

static int value_equals(const struct model_op *op, struct varve_slice value)
{
    uint8_t *bytes;
    int equal;

    if (value.len != op->value_len)
        return 0;
    bytes = mem_alloc(op->value_len + 1);
    CHECK(bytes != NULL);
    value_fill(op, bytes);
    equal = value.len == 0 || memcmp(bytes, value.data, value.len) == 0;
    mem_free(bytes);
    return equal;
}

void model_stage(struct model *model, struct varve_batch *batch, struct model_op op)
{
    /* A long value is borrowed until the batch is cleared: as many as there can be at once. */
    static uint8_t values[4][32 * 1024];
    static unsigned next;
    struct varve_slice key = model_key(op.key);
    struct varve_slice value;
    uint8_t *bytes = values[next++ % COUNT_OF(values)];
    int rc = 0;

    CHECK(model->count + model->pending < MODEL_OPS_MAX && op.value_len <= sizeof(values[0]));
    switch (op.kind) {
    case MODEL_PUT:
        value_fill(&op, bytes);
        value = varve_slice(bytes, op.value_len);
        rc = varve_batch_put(batch, &key, 1, &value, 1, op.expire_ms);
        break;
    case MODEL_DELETE: rc = varve_batch_delete(batch, &key, 1); break;
    case MODEL_DELETE_RANGE: rc = varve_batch_delete_range(batch, key, model_key(op.end)); break;
    }
    CHECK(rc == 0);
    op.ends_record = 0;
    model->ops[model->count + model->pending++] = op;
}

void model_commit(struct model *model)
{
    CHECK(model->pending > 0);
    model->count += model->pending;
    model->pending = 0;
    model->ops[model->count - 1].ends_record = 1;
}

void model_drop_pending(struct model *model)
{
    model->pending = 0;
}

void model_cut(struct model *model, uint64_t k)
{
    CHECK(k <= model->count);
    model->count = k;
    model->pending = 0;
}

int model_ends_record(const struct model *model, uint64_t k)
{
    uint64_t all = model->count + model->pending;

    return k == 0 || (k <= all && (k == all || model->ops[k - 1].ends_record));
}

/* The sequence number of the operation that decides about a key in S_k; 0: none. */
static uint64_t model_decider(const struct model *model, uint64_t k, unsigned key)
{
    for (uint64_t seq = k; seq > 0; seq--) {
        const struct model_op *op = &model->ops[seq - 1];
        if (op->kind == MODEL_DELETE_RANGE ? op->key <= key && key < op->end : op->key == key)
            return seq;
    }
    return 0;
}

/* ---- comparing ---- */

struct compare {
    const struct model *model;
    uint64_t k;
    struct varve_db *db;
    struct varve_read read;
    uint64_t now_ms;
    char *why;
    size_t why_cap;
};

#define DIFFERS(compare, ...) (snprintf((compare)->why, (compare)->why_cap, __VA_ARGS__), -1)

/* A read failed: damage is told from all else. */
static int read_failed(const struct compare *compare, const char *what, int rc,
                       const struct varve_err *err)
{
    snprintf(compare->why, compare->why_cap, "%s: %s", what, err->text);
    return rc == VARVE_ECORRUPT ? MODEL_DAMAGED : -1;
}

static int op_expired(const struct compare *compare, const struct model_op *op)
{
    return op->expire_ms != 0 && op->expire_ms <= compare->now_ms;
}

/* The put that a reader sees, NULL: the key is absent. One that expired may be absent even for a reader
 * that asks for the dead: compactions drop it. */
static const struct model_op *visible_put(const struct compare *compare, unsigned key,
                                          uint64_t *seq)
{
    const struct model_op *op;

    *seq = model_decider(compare->model, compare->k, key);
    if (*seq == 0)
        return NULL;
    op = &compare->model->ops[*seq - 1];
    if (op->kind != MODEL_PUT)
        return NULL;
    return op_expired(compare, op) && !compare->read.dead ? NULL : op;
}

/* A tombstone that lies in segments, where nothing is left that it hides. */
static int decider_may_be_dropped(const struct compare *compare, uint64_t seq)
{
    struct varve_stats stats;

    varve_stats(compare->db, &stats);
    return seq <= varve_durable_seq(compare->db) || stats.segment_bytes + stats.flushes > 0;
}

static int compare_get(const struct compare *compare, unsigned key)
{
    struct varve_pin pin;
    struct varve_err err = {0};
    uint64_t seq;
    const struct model_op *op = visible_put(compare, key, &seq);
    int rc = varve_get(compare->db, &compare->read, model_key(key), &pin, &err);
    int differs = 0;

    if (rc < 0)
        return read_failed(compare, keys[key], rc, &err);
    if (rc != 0 && op != NULL && op_expired(compare, op))
        return 0;
    if (rc != 0 && op == NULL && pin.seq < seq && decider_may_be_dropped(compare, seq))
        return 0;
    if ((rc == 0) != (op != NULL))
        differs = DIFFERS(compare, "%s is %s, by operation %llu it must be %s", keys[key],
                          rc == 0 ? "there" : "absent", (unsigned long long)seq,
                          op != NULL ? "there" : "absent");
    else if (pin.seq != seq)
        differs = DIFFERS(compare, "%s was decided by operation %llu instead of %llu", keys[key],
                          (unsigned long long)pin.seq, (unsigned long long)seq);
    else if (op != NULL && (pin.expire_ms != op->expire_ms || !value_equals(op, pin.value)))
        differs = DIFFERS(compare, "%s has another value or expiry than operation %llu gave it",
                          keys[key], (unsigned long long)seq);
    varve_pin_release(&pin);
    return differs;
}

/* Where the iterator stands must be the key with that index. */
static int compare_place(const struct compare *compare, struct varve_iter *iter, unsigned key)
{
    uint64_t seq;
    const struct model_op *op = visible_put(compare, key, &seq);

    if (!varve_slice_equal(varve_iter_key(iter), model_key(key)))
        return DIFFERS(compare, "the iteration gives %.*s where %s must be",
                       (int)varve_iter_key(iter).len, (const char *)varve_iter_key(iter).data,
                       keys[key]);
    if (varve_iter_seq(iter) != seq || varve_iter_expire_ms(iter) != op->expire_ms ||
        !value_equals(op, varve_iter_value(iter)))
        return DIFFERS(compare, "the iteration gives another record of %s than operation %llu",
                       keys[key], (unsigned long long)seq);
    return 0;
}

static int compare_walk(const struct compare *compare, struct varve_iter *iter, int backward)
{
    struct varve_err err = {0};
    uint64_t seq;

    if (backward)
        varve_iter_last(iter);
    else
        varve_iter_first(iter);
    for (unsigned i = 0; i < MODEL_KEYS; i++) {
        unsigned key = backward ? MODEL_KEYS - 1 - i : i;
        const struct model_op *op = visible_put(compare, key, &seq);
        if (op == NULL)
            continue;
        int valid = varve_iter_valid(iter);
        if (op_expired(compare, op) &&
            !(valid && varve_slice_equal(varve_iter_key(iter), model_key(key))))
            continue;
        if (!valid && varve_iter_status(iter, &err) != 0)
            break;
        if (!valid)
            return DIFFERS(compare, "the iteration ends before %s", keys[key]);
        if (compare_place(compare, iter, key) != 0)
            return -1;
        if (backward)
            varve_iter_prev(iter);
        else
            varve_iter_next(iter);
    }
    int rc = varve_iter_status(iter, &err);
    if (rc != 0)
        return read_failed(compare, "iteration", rc, &err);
    if (varve_iter_valid(iter))
        return DIFFERS(compare, "the iteration gives %.*s, which must not be there",
                       (int)varve_iter_key(iter).len, (const char *)varve_iter_key(iter).data);
    return 0;
}

static int compare_iteration(const struct compare *compare)
{
    struct varve_err err = {0};
    struct varve_iter *iter = varve_iter_create(compare->db, &compare->read, NULL, NULL, &err);

    if (iter == NULL)
        return DIFFERS(compare, "iterator: %s", err.text);
    int differs = compare_walk(compare, iter, 0);
    if (differs == 0)
        differs = compare_walk(compare, iter, 1);
    varve_iter_destroy(iter);
    return differs;
}

/* Groups count what has a value; what expired until a compaction drops it. */
static int compare_counts(struct compare *compare)
{
    static const char *const groups[] = {"a:", "b:", "x:"};
    struct varve_err err = {0};

    compare->read.dead = 1;
    for (size_t g = 0; g < COUNT_OF(groups); g++) {
        uint64_t most = 0;
        uint64_t expired = 0;
        uint64_t count;
        uint64_t seq;
        for (unsigned key = 0; key < MODEL_KEYS; key++) {
            const struct model_op *op = visible_put(compare, key, &seq);
            if (op == NULL || keys[key][0] != groups[g][0])
                continue;
            most++;
            expired += (uint64_t)op_expired(compare, op);
        }
        int rc = varve_count(compare->db, varve_slice_str(groups[g]), &count, &err);
        if (rc != 0)
            return read_failed(compare, "count", rc, &err);
        if (count > most || count + expired < most)
            return DIFFERS(compare, "group %s counts %llu keys instead of %llu", groups[g],
                           (unsigned long long)count, (unsigned long long)most);
    }
    return 0;
}

int model_compare(const struct model *model, uint64_t k, struct varve_db *db, unsigned flags,
                  const struct varve_snapshot *snapshot, char *why, size_t why_cap)
{
    struct compare compare = {.model = model, .k = k, .db = db, .why = why, .why_cap = why_cap};
    int differs = 0;

    compare.now_ms = snapshot != NULL ? varve_snapshot_now_ms(snapshot) : varve_now_ms(db);
    compare.read.now_ms = compare.now_ms;
    compare.read.snapshot = snapshot;
    for (int dead = 0; differs == 0 && dead <= 1; dead++) {
        compare.read.dead = dead;
        for (unsigned key = 0; differs == 0 && key < MODEL_KEYS; key++)
            differs = compare_get(&compare, key);
        if (differs == 0)
            differs = compare_iteration(&compare);
    }
    if (differs == 0 && (flags & MODEL_CHECK_COUNTS))
        differs = compare_counts(&compare);
    return differs;
}
