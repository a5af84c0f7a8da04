/* A reading thread. What one get of the newest state may answer: the operation that decides it is not
 * older than what was committed before the call, nor than what this thread saw of the key before, and not
 * newer than what was issued after it. What a snapshot shows is exactly the history up to it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "race.h"
#include "varve/iter.h"

#define FETCHES_MAX 100 /* of one read */
#define PINS_MAX 8

struct kept {
    struct varve_pin pin;
    uint32_t key;
    uint64_t seq;
};

/* One thread's memory. */
struct sight {
    struct race *race;
    struct rng rng;
    uint64_t floor[RACE_KEYS]; /* no answer may be older */
    struct state state;        /* of the last snapshot */
    struct kept kept[PINS_MAX];
    struct mutex mutex; /* for fetches */
    struct cond changed;
};

/* ---- one answer ---- */

static void check_found(struct sight *sight, uint32_t key, const struct varve_pin *pin)
{
    uint64_t seq = race_value_seq(key, pin->value);

    if (seq == 0)
        race_fail(sight->race, "key %u has a value that is not whole", key);
    if (seq != pin->seq)
        race_fail(sight->race, "key %u has the value of %" PRIu64 " under number %" PRIu64, key,
                  seq, pin->seq);
}

static void check_newest(struct sight *sight, uint32_t key, uint64_t before, int rc,
                         const struct varve_pin *pin)
{
    struct history *history = &sight->race->history;
    uint64_t issued = atomic_load_explicit(&history->issued, memory_order_relaxed);
    uint64_t least = before > sight->floor[key] ? before : sight->floor[key];

    if (pin->seq > issued)
        race_fail(sight->race, "key %u is seen at %" PRIu64 ", %" PRIu64 " were issued", key,
                  pin->seq, issued);
    if (rc == 0 && pin->seq < least)
        race_fail(sight->race, "key %u is seen at %" PRIu64 " after %" PRIu64, key, pin->seq,
                  least);
    if (rc == 0) {
        sight->floor[key] = pin->seq;
        return;
    }
    /* Absent: by a deletion that is as new, or was dropped from where nothing was left below it. */
    if (pin->seq >= least && pin->seq != 0) {
        struct op op = history_get(history, pin->seq);
        if (op.kind != OP_DELETE || key < op.from || key >= op.to)
            race_fail(sight->race, "key %u is absent by %" PRIu64 ", which does not delete it", key,
                      pin->seq);
        sight->floor[key] = pin->seq;
        return;
    }
    if (least != 0 && history_get(history, least).kind == OP_PUT) {
        if (!history_deleted(history, key, least, issued))
            race_fail(sight->race, "key %u is absent, put by %" PRIu64 " and not deleted", key,
                      least);
        sight->floor[key] = least + 1;
    }
}

static void get_newest(struct sight *sight, const struct varve_read *read, uint32_t key, int keep)
{
    char text[RACE_KEY_BYTES];
    struct varve_pin pin = {0};
    struct varve_err err = {0};
    uint64_t slot = keep ? rng_below(&sight->rng, PINS_MAX) : 0; /* drawn whatever is found */
    uint64_t before = atomic_load_explicit(&sight->race->history.newest[key], memory_order_relaxed);
    int rc = varve_get(sight->race->db, read, race_key(key, text), &pin, &err);

    if (rc < 0)
        race_fail(sight->race, "get of key %u: %s", key, err.text);
    if (rc == VARVE_WOULD_BLOCK)
        race_fail(sight->race, "key %u would block after it was fetched", key);
    check_newest(sight, key, before, rc, &pin);
    if (rc == 0)
        check_found(sight, key, &pin);
    if (rc != 0 || !keep) {
        varve_pin_release(&pin);
        return;
    }
    struct kept *kept = &sight->kept[slot];
    if (kept->pin.value.data != NULL) {
        check_found(sight, kept->key, &kept->pin);
        varve_pin_release(&kept->pin);
    }
    varve_pin_keep(&pin);
    *kept = (struct kept){.pin = pin, .key = key, .seq = pin.seq};
}

static uint32_t draw_key(struct sight *sight)
{
    return (uint32_t)rng_below(&sight->rng, RACE_KEYS);
}

static void read_inside(struct sight *sight)
{
    varve_enter();
    for (int i = 0; i < 16; i++)
        get_newest(sight, NULL, draw_key(sight), i % 8 == 0);
    varve_leave();
}

/* ---- a read that may not wait ---- */

struct fetching {
    struct varve_fetch fetch;
    struct sight *sight;
    int done; /* under the sight's mutex */
};

static void fetch_done(struct varve_fetch *fetch)
{
    struct fetching *fetching = (struct fetching *)(void *)fetch;
    struct sight *sight = fetching->sight;

    mutex_lock(&sight->mutex);
    fetching->done = 1;
    cond_signal(&sight->changed);
    mutex_unlock(&sight->mutex);
}

static void fetch_and_wait(struct sight *sight, const struct varve_read *read,
                           struct varve_slice key, struct fetching *fetching)
{
    *fetching = (struct fetching){.fetch = {.done = fetch_done}, .sight = sight};
    CHECK(varve_fetch_start(sight->race->db, read, key, &fetching->fetch) == 0);
    mutex_lock(&sight->mutex);
    while (!fetching->done)
        cond_wait(&sight->changed, &sight->mutex);
    mutex_unlock(&sight->mutex);
    atomic_fetch_add_explicit(&sight->race->fetches, 1, memory_order_relaxed);
}

/* In a snapshot, so that what is fetched is what is read. A flush or a compaction that takes effect
 * meanwhile may make it block once more, and there is no end of them. */
static void read_no_wait(struct sight *sight)
{
    char text[RACE_KEY_BYTES];
    struct varve_slice key = race_key(draw_key(sight), text);
    struct fetching fetching = {0};
    struct varve_snapshot *snapshot = varve_snapshot_acquire(sight->race->db);
    struct varve_read read = {.snapshot = snapshot, .no_wait = 1};
    struct varve_pin pin = {0};
    struct varve_err err = {0};

    CHECK(snapshot != NULL);
    int in_vain = rng_below(&sight->rng, 8) == 0; /* fetches also what is there: most of it is */
    int rc = varve_get(sight->race->db, &read, key, &pin, &err);
    varve_pin_release(&pin);
    for (int tries = 0; (rc == VARVE_WOULD_BLOCK || in_vain) && tries < FETCHES_MAX; tries++) {
        in_vain = 0;
        varve_fetch_release(&fetching.fetch);
        read.fetched = NULL;
        fetch_and_wait(sight, &read, key, &fetching);
        read.fetched = &fetching.fetch;
        rc = varve_get(sight->race->db, &read, key, &pin, &err);
        varve_pin_release(&pin);
    }
    if (rc != 0 && rc != VARVE_NOT_FOUND)
        race_fail(sight->race, "a read without waiting returned %d: %s", rc, err.text);
    varve_fetch_release(&fetching.fetch);
    varve_snapshot_release(sight->race->db, snapshot);
}

/* ---- snapshots and iterators ---- */

static uint32_t next_live(const struct state *state, uint32_t key, int up)
{
    while (key < RACE_KEYS && !state->live[key])
        key += up ? 1u : UINT32_MAX;
    return key;
}

/* The iterator must show exactly the state. */
static void walk(struct sight *sight, struct varve_iter *iter, const struct state *state, int up)
{
    struct varve_err err = {0};
    uint32_t key = next_live(state, up ? 0 : RACE_KEYS - 1, up);

    if (up)
        varve_iter_first(iter);
    else
        varve_iter_last(iter);
    while (varve_iter_valid(iter)) {
        struct varve_pin pin = {.value = varve_iter_value(iter), .seq = varve_iter_seq(iter)};
        uint32_t found = race_key_no(varve_iter_key(iter));
        if (found != key)
            race_fail(sight->race, "at %" PRIu64 " an iterator shows key %u instead of %u",
                      state->seq, found, key);
        check_found(sight, key, &pin);
        if (pin.seq != state->decider[key])
            race_fail(sight->race,
                      "at %" PRIu64 " key %u comes from %" PRIu64 " instead of %" PRIu64,
                      state->seq, key, pin.seq, state->decider[key]);
        key = next_live(state, up ? key + 1 : key - 1, up);
        if (up)
            varve_iter_next(iter);
        else
            varve_iter_prev(iter);
    }
    if (varve_iter_status(iter, &err) != 0)
        race_fail(sight->race, "an iterator: %s", err.text);
    if (key < RACE_KEYS)
        race_fail(sight->race, "at %" PRIu64 " an iterator ends before key %u", state->seq, key);
    atomic_fetch_add_explicit(&sight->race->walks, 1, memory_order_relaxed);
}

static void check_in_snapshot(struct sight *sight, const struct varve_read *read, uint32_t key)
{
    char text[RACE_KEY_BYTES];
    struct varve_pin pin = {0};
    struct varve_err err = {0};
    const struct state *state = &sight->state;
    int rc = varve_get(sight->race->db, read, race_key(key, text), &pin, &err);

    if (rc < 0)
        race_fail(sight->race, "get of key %u: %s", key, err.text);
    if ((rc == 0) != state->live[key] || (rc == 0 && pin.seq != state->decider[key]))
        race_fail(sight->race,
                  "at %" PRIu64 " key %u is %s by %" PRIu64 ", it was decided by %" PRIu64,
                  state->seq, key, rc == 0 ? "there" : "absent", pin.seq, state->decider[key]);
    if (rc == 0)
        check_found(sight, key, &pin);
    varve_pin_release(&pin);
}

/* The same iterator twice, with other reads between: what it holds does not change. */
static void read_snapshot(struct sight *sight)
{
    struct varve_snapshot *snapshot = varve_snapshot_acquire(sight->race->db);
    struct varve_read read = {.snapshot = snapshot};
    struct varve_err err = {0};

    CHECK(snapshot != NULL);
    if (varve_snapshot_seq(snapshot) < sight->state.seq)
        race_fail(sight->race, "a snapshot at %" PRIu64 " after one at %" PRIu64,
                  varve_snapshot_seq(snapshot), sight->state.seq);
    state_advance(&sight->state, &sight->race->history, varve_snapshot_seq(snapshot));
    struct varve_iter *iter = varve_iter_create(sight->race->db, &read, NULL, NULL, &err);
    CHECK(iter != NULL);
    walk(sight, iter, &sight->state, 1);
    for (uint64_t i = rng_below(&sight->rng, 20); i > 0; i--)
        read_inside(sight);
    for (int i = 0; i < 32; i++)
        check_in_snapshot(sight, &read, draw_key(sight));
    if (rng_below(&sight->rng, 2) == 0) { /* the iterator holds its state by itself */
        varve_snapshot_release(sight->race->db, snapshot);
        snapshot = NULL;
    }
    walk(sight, iter, &sight->state, 0);
    varve_iter_destroy(iter);
    varve_snapshot_release(sight->race->db, snapshot);
    atomic_fetch_add_explicit(&sight->race->snapshots, 1, memory_order_relaxed);
}

void reader_run(void *arg)
{
    struct reader *reader = arg;
    struct race *race = reader->race;
    struct sight *sight = calloc(1, sizeof(*sight));

    CHECK(sight != NULL);
    sight->race = race;
    rng_init(&sight->rng, (race->seed * 1000 + race->round) * 1000 + reader->no);
    mutex_init(&sight->mutex);
    cond_init(&sight->changed);
    for (uint64_t done = 0; done < reader->reads;) {
        uint64_t draw = rng_below(&sight->rng, 32);
        uint64_t reads = draw < 16 ? 1 : 16;
        if (draw == 0)
            read_snapshot(sight);
        else if (draw < 4)
            read_no_wait(sight);
        else if (draw < 16)
            get_newest(sight, NULL, draw_key(sight), draw == 4);
        else
            read_inside(sight);
        atomic_fetch_add_explicit(&race->reads, reads, memory_order_relaxed);
        done += reads;
    }
    reader->plan = sight->rng.state;
    for (int i = 0; i < PINS_MAX; i++) {
        if (sight->kept[i].pin.value.data == NULL)
            continue;
        check_found(sight, sight->kept[i].key, &sight->kept[i].pin);
        varve_pin_release(&sight->kept[i].pin);
    }
    cond_deinit(&sight->changed);
    mutex_deinit(&sight->mutex);
    free(sight);
}
