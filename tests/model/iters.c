/* Iterators that are held over everything, and moved in every way. */
#include <inttypes.h>

#include "model.h"

/* The iterator made a move that should bring it to the first key that is there, from `at` on upwards or
 * downwards (then `at` is one behind). */
static void check_place(struct model *model, struct held_iter *iter, size_t at, int up)
{
    struct varve_err err = {0};
    int valid = varve_iter_valid(iter->handle);
    struct varve_slice key = valid ? varve_iter_key(iter->handle) : varve_slice(NULL, 0);
    const struct version *version;

    model->figures->moves++;
    while (up ? at < iter->to : at > iter->from) {
        size_t here = up ? at++ : --at;
        enum presence presence = model_expect(model, here, &iter->view, &version);
        if (presence == ABSENT)
            continue;
        int equal = valid && varve_slice_equal(key, model->oracle.keys[here]);
        if (!equal && presence == MAYBE)
            continue;
        if (!equal)
            model_fail(model, "an iterator is %s where key %zu, put by %" PRIu64 ", must be",
                       valid ? "elsewhere" : "at its end", here, version->seq);
        model_check_version(model, here, version, varve_iter_value(iter->handle),
                            varve_iter_seq(iter->handle), varve_iter_expire_ms(iter->handle));
        iter->at = here;
        return;
    }
    if (varve_iter_status(iter->handle, &err) != 0)
        model_fail(model, "an iterator: %s", err.text);
    if (valid)
        model_fail(model, "an iterator is at a key (operation %" PRIu64 ") where its end must be",
                   varve_iter_seq(iter->handle));
}

static void seek(struct model *model, struct held_iter *iter, size_t key, int behind, int up)
{
    uint8_t bytes[KEY_MAX_BYTES + 1];
    struct varve_slice target = model->oracle.keys[key];
    size_t at = key;

    if (behind) { /* between this key and the next */
        memcpy(bytes, target.data, target.len);
        bytes[target.len] = 0;
        target = varve_slice(bytes, target.len + 1);
        at = oracle_lower_bound(&model->oracle, target);
    }
    model_tell(model, "seek%s to%s %zu", up ? "" : " back", behind ? " behind" : "", key);
    if (up) {
        varve_iter_seek(iter->handle, target);
    } else {
        varve_iter_seek_prev(iter->handle, target);
        if (at < model->oracle.key_count && varve_slice_equal(model->oracle.keys[at], target))
            at++;
    }
    if (at < iter->from)
        at = iter->from;
    if (at > iter->to)
        at = iter->to;
    check_place(model, iter, at, up);
}

static void step(struct model *model, struct held_iter *iter, int up)
{
    if (!varve_iter_valid(iter->handle)) {
        model_tell(model, up ? "first" : "last");
        if (up)
            varve_iter_first(iter->handle);
        else
            varve_iter_last(iter->handle);
        check_place(model, iter, up ? iter->from : iter->to, up);
        return;
    }
    model_tell(model, "%s from %zu", up ? "next" : "prev", iter->at);
    if (up)
        varve_iter_next(iter->handle);
    else
        varve_iter_prev(iter->handle);
    check_place(model, iter, up ? iter->at + 1 : iter->at, up);
}

/* The numbers that are drawn must not depend on where it stands. */
static void move(struct model *model, struct held_iter *iter)
{
    uint64_t draw = rng_below(&model->ops, 16);
    size_t key = model_draw_key(model);
    unsigned count = 1 + (unsigned)rng_below(&model->ops, 8);
    int up = rng_below(&model->ops, 2) == 0;

    if (draw < 4) {
        seek(model, iter, key, (int)(draw & 1), (int)(draw >> 1));
    } else if (draw == 4) {
        varve_iter_first(iter->handle);
        check_place(model, iter, iter->from, 1);
    } else if (draw == 5) {
        varve_iter_last(iter->handle);
        check_place(model, iter, iter->to, 0);
    } else if (draw < 8) { /* to and fro */
        for (unsigned i = 0; i < count; i++)
            step(model, iter, i % 3 == 1 ? !up : up);
    } else {
        for (unsigned i = 0; i < count; i++)
            step(model, iter, up);
    }
}

static void open_one(struct model *model, struct held_iter *iter, const struct varve_read *read,
                     struct view view)
{
    struct varve_err err = {0};
    uint64_t bounds = rng_below(&model->ops, 8);
    size_t lower = model_draw_key(model);
    size_t upper = model_draw_key(model);
    unsigned group = (unsigned)rng_below(&model->ops, GROUP_COUNT);
    const struct oracle *oracle = &model->oracle;
    struct varve_slice low = oracle->keys[lower < upper ? lower : upper];
    struct varve_slice high = oracle->keys[lower < upper ? upper : lower];

    *iter = (struct held_iter){.view = view, .to = oracle->key_count};
    if (bounds >= 6) {
        low = group_name(group);
        high = group_end(group);
    }
    int has_lower = bounds == 1 || bounds >= 3;
    int has_upper = bounds == 2 || bounds >= 3;
    if (has_lower)
        iter->from = oracle_lower_bound(oracle, low);
    if (has_upper)
        iter->to = oracle_lower_bound(oracle, high);
    iter->handle = varve_iter_create(model->db, read, has_lower ? &low : NULL,
                                     has_upper ? &high : NULL, &err);
    model_tell(model, "iterator over [%zu, %zu) at %" PRIu64, iter->from, iter->to, view.seq);
    if (iter->handle == NULL)
        model_fail(model, "an iterator cannot be made: %s", err.text);
    if (varve_iter_valid(iter->handle))
        model_fail(model, "an iterator is valid before its first move");
}

void model_iter_open(struct model *model)
{
    struct held_iter *iter = &model->iters[rng_below(&model->ops, ITERS_MAX)];
    struct held_snapshot *held = &model->snapshots[rng_below(&model->ops, SNAPSHOTS_MAX)];
    uint64_t draw = rng_below(&model->ops, 8);
    struct varve_read read = {.dead = draw == 0, .no_fill = draw == 1};

    model_iter_close(iter);
    if (held->handle == NULL || draw >= 4)
        held = NULL;
    read.snapshot = held == NULL ? NULL : held->handle;
    open_one(model, iter, &read, model_view(model, held, 0, read.dead));
    move(model, iter);
}

void model_iter_move(struct model *model)
{
    struct held_iter *iter = &model->iters[rng_below(&model->ops, ITERS_MAX)];

    if (iter->handle != NULL)
        move(model, iter);
}

void model_iter_close(struct held_iter *iter)
{
    varve_iter_destroy(iter->handle);
    iter->handle = NULL;
}

void model_iter_uncommitted(struct model *model)
{
    struct varve_read read = {.uncommitted = 1};
    struct held_iter iter;

    open_one(model, &iter, &read, model_view(model, NULL, 1, 0));
    for (int i = 0; i < 3; i++)
        move(model, &iter);
    model_iter_close(&iter);
}

void model_iter_walk(struct model *model, const struct varve_read *read, const struct view *view)
{
    struct varve_err err = {0};
    struct held_iter iter = {.view = *view, .to = model->oracle.key_count};

    iter.handle = varve_iter_create(model->db, read, NULL, NULL, &err);
    if (iter.handle == NULL)
        model_fail(model, "an iterator cannot be made: %s", err.text);
    varve_iter_first(iter.handle);
    check_place(model, &iter, 0, 1);
    while (varve_iter_valid(iter.handle)) {
        varve_iter_next(iter.handle);
        check_place(model, &iter, iter.at + 1, 1);
    }
    varve_iter_last(iter.handle);
    check_place(model, &iter, iter.to, 0);
    while (varve_iter_valid(iter.handle)) {
        varve_iter_prev(iter.handle);
        check_place(model, &iter, iter.at, 0);
    }
    model_iter_close(&iter);
}
