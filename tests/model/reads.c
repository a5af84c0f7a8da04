/* Gets, pins, fetches, counts, snapshots. */
#include <inttypes.h>

#include "model.h"

size_t model_draw_key(struct model *model)
{
    size_t count = model->oracle.key_count;
    size_t key = rng_below(&model->ops, count);

    /* Half of what is done is done to a few keys. */
    return rng_below(&model->ops, 2) == 0 ? key : key % (count / 16 + 1);
}

struct view model_view(struct model *model, const struct held_snapshot *snapshot, int uncommitted,
                       int dead)
{
    struct view view = {.seq = model->oracle.committed, .now_ms = model_now(model), .dead = dead};

    view.sure_ms = model->clock_ms;
    if (snapshot != NULL) {
        view.seq = snapshot->seq;
        view.now_ms = view.sure_ms = snapshot->now_ms;
    } else if (uncommitted) {
        view.seq = model->oracle.seq;
    }
    return view;
}

enum presence model_expect(const struct model *model, size_t key, const struct view *view,
                           const struct version **version)
{
    const struct version *found = oracle_find(&model->oracle, key, view->seq);

    *version = found;
    if (found == NULL || found->kind != VERSION_PUT)
        return ABSENT;
    if (found->expire_ms == 0 || found->expire_ms > view->sure_ms)
        return PRESENT;
    return view->dead || found->expire_ms > view->now_ms ? MAYBE : ABSENT;
}

void model_check_version(struct model *model, size_t key, const struct version *version,
                         struct varve_slice value, uint64_t seq, uint64_t expire_ms)
{
    if (seq != version->seq)
        model_fail(model, "key %zu comes from operation %" PRIu64 " instead of %" PRIu64, key, seq,
                   version->seq);
    if (expire_ms != version->expire_ms)
        model_fail(model, "key %zu of operation %" PRIu64 " expires at %" PRIu64 " not %" PRIu64,
                   key, seq, expire_ms, version->expire_ms);
    if (!varve_slice_equal(value, oracle_value(version)))
        model_fail(model, "key %zu of operation %" PRIu64 " has another value (%zu bytes of %u)",
                   key, seq, value.len, version->value_len);
}

/* What is told of an absent key: who decided it, unless what decided it is durable and dropped. */
static void check_decider(struct model *model, size_t key, uint64_t decider, uint64_t told)
{
    struct varve_stats stats;

    if (told == decider)
        return;
    if (told < decider && decider > model->durable)
        model_note_durable(model);
    if (told < decider && decider <= model->durable)
        return;
    varve_stats(model->db, &stats); /* what lies in segments is durable, too */
    if (told > decider || stats.segment_bytes + stats.flushes == 0)
        model_fail(model, "absent key %zu was decided by %" PRIu64 " instead of %" PRIu64, key,
                   told, decider);
}

static void check_answer(struct model *model, size_t key, const struct view *view, int rc,
                         const struct varve_pin *pin, const struct varve_err *err)
{
    const struct version *version;
    enum presence presence = model_expect(model, key, view, &version);

    model->figures->gets++;
    if (rc != 0 && rc != VARVE_NOT_FOUND)
        model_fail(model, "get of key %zu returned %d: %s", key, rc, err->text);
    if (presence != MAYBE)
        model_answer(model, version == NULL ? key : version->seq);
    if (rc == 0 && presence == ABSENT)
        model_fail(model,
                   "key %zu is there, by operation %" PRIu64 ", at time %" PRIu64
                   "; it was deleted or expired by %" PRIu64,
                   key, pin->seq, view->now_ms, version == NULL ? 0 : version->seq);
    if (rc != 0 && presence == PRESENT)
        model_fail(model, "key %zu is absent, by operation %" PRIu64 "; %" PRIu64 " put it", key,
                   pin->seq, version->seq);
    if (rc == 0)
        model_check_version(model, key, version, pin->value, pin->seq, pin->expire_ms);
    else
        check_decider(model, key, version == NULL ? 0 : version->seq, pin->seq);
}

/* One get; a held pin takes the place of an older one. */
static void get_one(struct model *model, const struct varve_read *read, const struct view *view,
                    size_t key, struct held_pin *hold)
{
    struct varve_pin pin = {0};
    struct varve_err err = {0};
    int rc = varve_get(model->db, read, model->oracle.keys[key], &pin, &err);

    check_answer(model, key, view, rc, &pin, &err);
    if (rc == 0 && hold != NULL) {
        model_pin_release(model, hold);
        *hold = (struct held_pin){
            .pin = pin, .version = *oracle_find(&model->oracle, key, view->seq), .used = 1};
        return;
    }
    varve_pin_release(&pin);
}

void model_pin_release(struct model *model, struct held_pin *pin)
{
    if (!pin->used)
        return;
    model_check_version(model, SIZE_MAX, &pin->version, pin->pin.value, pin->pin.seq,
                        pin->pin.expire_ms);
    varve_pin_release(&pin->pin);
    pin->used = 0;
}

static void get_unknown(struct model *model)
{
    uint8_t bytes[KEY_MAX_BYTES + 1];
    struct varve_slice key = model->oracle.keys[model_draw_key(model)];
    struct varve_pin pin = {0};
    struct varve_err err = {0};

    memcpy(bytes, key.data, key.len);
    bytes[key.len] = 0;
    struct varve_slice unknown = varve_slice(bytes, key.len + 1);
    size_t at = oracle_lower_bound(&model->oracle, unknown);
    if (at < model->oracle.key_count && varve_slice_equal(model->oracle.keys[at], unknown))
        return;
    model->figures->gets++;
    int rc = varve_get(model->db, NULL, unknown, &pin, &err);
    if (rc != VARVE_NOT_FOUND)
        model_fail(model, "a key that was never written: %d: %s", rc, err.text);
    varve_pin_release(&pin);
}

void model_get(struct model *model)
{
    uint64_t draw = rng_below(&model->ops, 32);
    struct held_pin *hold = &model->pins[rng_below(&model->ops, PINS_MAX)];
    struct varve_read read = {.dead = draw == 1, .no_fill = draw == 2};
    struct view view = model_view(model, NULL, 0, read.dead);

    if (draw == 3) {
        get_unknown(model);
        return;
    }
    if (draw == 4) { /* an earlier time, if it is not far back */
        read.now_ms = view.now_ms = view.now_ms - rng_below(&model->ops, 3000);
    }
    get_one(model, draw == 0 ? NULL : &read, &view, model_draw_key(model), draw < 10 ? hold : NULL);
}

void model_get_snapshot(struct model *model)
{
    struct held_snapshot *held = &model->snapshots[rng_below(&model->ops, SNAPSHOTS_MAX)];
    uint64_t draw = rng_below(&model->ops, 16);
    size_t first = model_draw_key(model);
    struct varve_read read = {.snapshot = held->handle, .dead = draw == 0};

    if (held->handle == NULL)
        return;
    struct view view = model_view(model, held, 0, read.dead);
    for (size_t key = first; key < model->oracle.key_count && key < first + 4; key++)
        get_one(model, &read, &view, key, NULL);
}

void model_get_uncommitted(struct model *model)
{
    size_t key = model_draw_key(model);

    for (int uncommitted = 0; uncommitted <= 1; uncommitted++) {
        struct varve_read read = {.uncommitted = uncommitted};
        struct view view = model_view(model, NULL, uncommitted, 0);
        get_one(model, &read, &view, key, NULL);
    }
}

void model_get_inside(struct model *model)
{
    struct view view = model_view(model, NULL, 0, 0);

    varve_enter();
    varve_enter();
    for (int i = 0; i < 6; i++) {
        size_t key = model_draw_key(model);
        struct held_pin *hold = &model->pins[rng_below(&model->ops, PINS_MAX)];
        int keep = rng_below(&model->ops, 2) == 0;
        get_one(model, NULL, &view, key, keep ? hold : NULL);
        if (keep && hold->used)
            varve_pin_keep(&hold->pin);
        if (i == 3)
            varve_leave();
    }
    varve_leave();
}

/* ---- reads that may not wait ---- */

#define FETCH_STEPS_MAX 10000

struct fetching {
    struct varve_fetch fetch;
    int done;
};

static void fetch_done(struct varve_fetch *fetch)
{
    ((struct fetching *)(void *)fetch)->done++;
}

static void fetch_wait(struct model *model, struct fetching *fetching)
{
    for (int i = 0; i < FETCH_STEPS_MAX && !fetching->done; i++) {
        if (rng_below(&model->jobs, 4) == 0)
            model_run_jobs(model, 1);
        else
            model->figures->jobs += (uint64_t)step_run_class(model->stepper, VARVE_JOB_READ);
    }
    if (fetching->done != 1)
        model_fail(model, "a fetch was done %d times", fetching->done);
    if (fetching->fetch.rc != 0)
        model_fail(model, "a fetch returned %d", fetching->fetch.rc);
}

#define FETCHES_AT_ONCE 4

void model_get_blocked(struct model *model)
{
    struct fetching fetching[FETCHES_AT_ONCE] = {0};
    size_t keys[FETCHES_AT_ONCE];
    struct held_snapshot *held = &model->snapshots[rng_below(&model->ops, SNAPSHOTS_MAX)];
    struct varve_read read = {.no_wait = 1, .no_fill = rng_below(&model->ops, 8) == 0};
    unsigned count = 1 + (unsigned)rng_below(&model->ops, FETCHES_AT_ONCE);

    if (held->handle == NULL || rng_below(&model->ops, 2) == 0)
        held = NULL;
    read.snapshot = held == NULL ? NULL : held->handle;
    struct view view = model_view(model, held, 0, 0);
    for (unsigned i = 0; i < count; i++) {
        struct varve_pin pin = {0};
        struct varve_err err = {0};
        keys[i] = model_draw_key(model);
        fetching[i].fetch.done = fetch_done;
        int rc = varve_get(model->db, &read, model->oracle.keys[keys[i]], &pin, &err);
        if (rc != VARVE_WOULD_BLOCK)
            check_answer(model, keys[i], &view, rc, &pin, &err);
        else if (varve_fetch_start(model->db, &read, model->oracle.keys[keys[i]],
                                   &fetching[i].fetch) != 0)
            model_fail(model, "a fetch does not start");
        model->figures->blocked += rc == VARVE_WOULD_BLOCK;
        keys[i] = rc == VARVE_WOULD_BLOCK ? keys[i] : SIZE_MAX;
        varve_pin_release(&pin);
    }
    for (unsigned i = 0; i < count; i++) {
        if (keys[i] != SIZE_MAX) {
            fetch_wait(model, &fetching[i]);
            read.fetched = &fetching[i].fetch;
            get_one(model, &read, &view, keys[i], NULL);
        }
        varve_fetch_release(&fetching[i].fetch);
    }
}

/* ---- counts ---- */

/* Of a group: the keys whose newest record is a value, without and with those that may have expired. */
static void expected_count(struct model *model, unsigned group, uint64_t *least, uint64_t *most)
{
    size_t key = oracle_lower_bound(&model->oracle, group_name(group));
    size_t end = oracle_lower_bound(&model->oracle, group_end(group));
    struct view view = model_view(model, NULL, 1, 1);
    const struct version *version;

    *least = *most = 0;
    for (; key < end; key++) {
        enum presence presence = model_expect(model, key, &view, &version);
        *least += presence == PRESENT;
        *most += presence != ABSENT;
    }
}

static void check_count(struct model *model, unsigned group, uint64_t least, uint64_t most, int rc,
                        uint64_t count, const char *what)
{
    model->figures->counts++;
    if (rc != 0)
        model_fail(model, "%s of group %u returned %d", what, group, rc);
    if (count < least || count > most)
        model_fail(model, "%s of group %u is %" PRIu64 ", not in [%" PRIu64 ", %" PRIu64 "]", what,
                   group, count, least, most);
}

/* Those that are there for who asks for the dead as well: exactly the count. */
static void count_by_reading(struct model *model, unsigned group, uint64_t count)
{
    size_t key = oracle_lower_bound(&model->oracle, group_name(group));
    size_t end = oracle_lower_bound(&model->oracle, group_end(group));
    struct varve_read read = {.uncommitted = 1, .dead = 1};
    struct varve_err err = {0};
    uint64_t there = 0;

    for (; key < end; key++) {
        struct varve_pin pin = {0};
        there += varve_get(model->db, &read, model->oracle.keys[key], &pin, &err) == 0;
        varve_pin_release(&pin);
    }
    if (there != count)
        model_fail(model, "group %u counts %" PRIu64 " keys, %" PRIu64 " are there", group, count,
                   there);
}

void model_count(struct model *model)
{
    unsigned group = (unsigned)rng_below(&model->ops, GROUP_COUNT);
    uint64_t draw = rng_below(&model->ops, 8);
    struct fetching fetching = {.fetch = {.done = fetch_done}};
    struct varve_err err = {0};
    uint64_t count = 0;
    uint64_t least;
    uint64_t most;

    expected_count(model, group, &least, &most);
    if (least == most)
        model_answer(model, least);
    if (draw < 3) {
        int rc = varve_count_now(model->db, group_name(group), &count, &err);
        check_count(model, group, least, rc == VARVE_WOULD_BLOCK ? UINT64_MAX : most,
                    rc == VARVE_WOULD_BLOCK ? 0 : rc, count, "count now");
        if (rc != VARVE_WOULD_BLOCK)
            return;
        model->figures->blocked++;
        /* So few keys are counted exactly either way. */
        rc = draw == 0 ? varve_fetch_count_about(model->db, group_name(group), &fetching.fetch)
                       : varve_fetch_count(model->db, group_name(group), &fetching.fetch);
        if (rc != 0)
            model_fail(model, "a count does not start");
        fetch_wait(model, &fetching);
        check_count(model, group, least, most, 0, fetching.fetch.count, "fetched count");
        varve_fetch_release(&fetching.fetch);
        return;
    }
    int rc = varve_count(model->db, group_name(group), &count, &err);
    check_count(model, group, least, most, rc, count, "count");
    if (draw == 7)
        count_by_reading(model, group, count);
}

/* ---- snapshots ---- */

void model_snapshot_take(struct model *model)
{
    struct held_snapshot *held = &model->snapshots[rng_below(&model->ops, SNAPSHOTS_MAX)];

    if (held->handle != NULL)
        return;
    *held = (struct held_snapshot){.handle = varve_snapshot_acquire(model->db)};
    CHECK(held->handle != NULL);
    held->seq = varve_snapshot_seq(held->handle);
    held->now_ms = varve_snapshot_now_ms(held->handle);
    model->figures->snapshots++;
    if (held->seq != model->oracle.committed || held->now_ms != model_now(model))
        model_fail(model,
                   "a snapshot at (%" PRIu64 ", %" PRIu64 ") instead of (%" PRIu64 ", %" PRIu64 ")",
                   held->seq, held->now_ms, model->oracle.committed, model_now(model));
}

void model_snapshot_drop(struct model *model, struct held_snapshot *snapshot)
{
    varve_snapshot_release(model->db, snapshot->handle);
    snapshot->handle = NULL;
}

/* ---- all ---- */

static void compare_view(struct model *model, const struct held_snapshot *held, int dead)
{
    struct varve_read read = {.snapshot = held == NULL ? NULL : held->handle, .dead = dead};
    struct view view = model_view(model, held, 0, dead);

    for (size_t key = 0; key < model->oracle.key_count; key++)
        get_one(model, &read, &view, key, NULL);
    model_iter_walk(model, &read, &view);
}

void model_compare(struct model *model)
{
    struct varve_err err = {0};
    uint64_t least;
    uint64_t most;
    uint64_t count = 0;

    model_tell(model, "compare all");
    compare_view(model, NULL, 0);
    compare_view(model, NULL, 1);
    for (int i = 0; i < SNAPSHOTS_MAX; i++)
        if (model->snapshots[i].handle != NULL)
            compare_view(model, &model->snapshots[i], 0);
    for (unsigned group = 0; group < GROUP_COUNT; group++) {
        expected_count(model, group, &least, &most);
        int rc = varve_count(model->db, group_name(group), &count, &err);
        check_count(model, group, least, most, rc, count, "count");
        count_by_reading(model, group, count);
    }
}
