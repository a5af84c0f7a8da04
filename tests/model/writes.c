/* Operations on their way in. */
#include <errno.h>
#include <inttypes.h>

#include "model.h"

#define FULL_TRIES_MAX 64
#define FULL_JOBS 64
#define HUGE_BYTES ((uint32_t)20 * 1024)

/* ---- what is written ---- */

static struct version draw_value(struct model *model)
{
    static const uint64_t lives_ms[] = {1, 50, 700, 5000, 60000, 3600000};
    struct version version = {0};
    uint64_t draw = rng_below(&model->ops, 64);

    version.value_len = (uint32_t)rng_below(&model->ops, model->value_max + 1);
    if (draw == 0)
        version.value_len = 3000 + (uint32_t)rng_below(&model->ops, 3000);
    if (draw == 1 && model->huge_values && rng_below(&model->ops, 4) == 0)
        version.value_len = rng_below(&model->ops, 8) == 0 ? VALUE_MAX_BYTES : HUGE_BYTES;
    version.value_at = (uint32_t)rng_below(&model->ops, VALUE_POOL_BYTES - version.value_len);
    if (draw >= 50)
        version.expire_ms = model_now(model) + lives_ms[rng_below(&model->ops, COUNT_OF(lives_ms))];
    return version;
}

static void add_put(struct model *model, struct varve_batch *batch, size_t key)
{
    struct version version = draw_value(model);
    struct varve_slice name = model->oracle.keys[key];
    struct varve_slice value = oracle_value(&version);
    struct varve_slice keys[2] = {varve_slice(name.data, name.len / 2),
                                  varve_slice(name.data + name.len / 2, name.len - name.len / 2)};
    struct varve_slice values[2] = {
        varve_slice(value.data, value.len / 3),
        varve_slice(value.data + value.len / 3, value.len - value.len / 3)};
    int whole = (version.value_at & 1) == 0;

    CHECK(varve_batch_put(batch, whole ? &name : keys, whole ? 1 : 2, whole ? &value : values,
                          whole ? 1 : 2, version.expire_ms) == 0);
    oracle_put(&model->oracle, key, version);
    model_tell(model, "put %zu, %u bytes, expiry %" PRIu64 ": operation %" PRIu64, key,
               version.value_len, version.expire_ms, model->oracle.seq);
}

static void add_delete(struct model *model, struct varve_batch *batch, size_t key)
{
    CHECK(varve_batch_delete(batch, &model->oracle.keys[key], 1) == 0);
    oracle_delete(&model->oracle, key);
    model_tell(model, "delete %zu: operation %" PRIu64, key, model->oracle.seq);
}

/* A few keys mostly, a group now and then, rarely all. */
static void add_range(struct model *model, struct varve_batch *batch)
{
    struct oracle *oracle = &model->oracle;
    uint64_t draw = rng_below(&model->ops, 32);
    unsigned group = (unsigned)rng_below(&model->ops, GROUP_COUNT);
    size_t from = rng_below(&model->ops, oracle->key_count);
    size_t width = 1 + rng_below(&model->ops, draw < 4 ? oracle->key_count : 12);
    size_t to = from + width < oracle->key_count ? from + width : oracle->key_count - 1;
    struct varve_slice begin = oracle->keys[from];
    struct varve_slice end = oracle->keys[to];

    if (draw < 2 || varve_slice_compare(begin, end) >= 0) {
        begin = draw == 1
                    ? oracle
                          ->keys[oracle_lower_bound(oracle, group_name(group)) % oracle->key_count]
                    : group_name(group);
        end = group_end(group);
    }
    if (varve_slice_compare(begin, end) >= 0)
        begin = group_name(group);
    CHECK(varve_batch_delete_range(batch, begin, end) == 0);
    from = oracle_lower_bound(oracle, begin);
    to = oracle_lower_bound(oracle, end);
    oracle_delete_range(oracle, from, to);
    model_tell(model, "delete [%zu, %zu): operation %" PRIu64, from, to, oracle->seq);
}

static void add_some(struct model *model, struct varve_batch *batch)
{
    for (uint64_t count = 1 + rng_below(&model->ops, 6); count > 0; count--) {
        uint64_t draw = rng_below(&model->ops, 16);
        size_t key = model_draw_key(model);
        if (draw == 0)
            add_range(model, batch);
        else if (draw < 5)
            add_delete(model, batch, key);
        else
            add_put(model, batch, key);
    }
}

/* ---- handing it over ---- */

/* Full memtables get empty by jobs; then it is tried again. */
static void wait_for_room(struct model *model, int rc, unsigned tries, const struct varve_err *err)
{
    if (rc != VARVE_WOULD_BLOCK)
        model_fail(model, "a write returned %d: %s", rc, err->text);
    model->figures->full++;
    model_tell(model, "full: %s", err->text);
    if (tries == FULL_TRIES_MAX)
        model_fail(model, "the memtables stay full (%d jobs wait for a flush): %s",
                   (int)step_waiting(model->stepper, VARVE_JOB_FLUSH), err->text);
    model_advance(model, model->plan.twin ? 0 : 20000); /* the clock is the operations' there */
    model_run_jobs(model, FULL_JOBS);
}

static void check_seq(struct model *model, uint64_t seq)
{
    if (seq != model->oracle.seq)
        model_fail(model, "the last operation got number %" PRIu64 " instead of %" PRIu64, seq,
                   model->oracle.seq);
}

static void write_batch(struct model *model)
{
    struct varve_batch *batch = model->batch;
    struct varve_err err = {0};
    uint64_t seq = 0;

    int rc = varve_write(model->db, batch, &seq, &err);
    if (rc != 0)
        model_fail(model, "a write returned %d: %s", rc, err.text);
    model->figures->writes += varve_batch_count(batch);
    check_seq(model, seq);
    oracle_commit(&model->oracle);
    (void)varve_ack_seq(model->db, seq);
    varve_batch_clear(batch);
}

void model_put(struct model *model)
{
    add_put(model, model->batch, model_draw_key(model));
    write_batch(model);
}

void model_delete(struct model *model)
{
    add_delete(model, model->batch, model_draw_key(model));
    write_batch(model);
}

void model_delete_range(struct model *model)
{
    add_range(model, model->batch);
    write_batch(model);
}

void model_batch(struct model *model)
{
    add_some(model, model->batch);
    write_batch(model);
}

/* ---- groups ---- */

/* One batch of the open group. A full memtable ends the group early, as a turn would. */
static int group_add(struct model *model, struct varve_batch *batch)
{
    uint64_t before = model->oracle.seq;
    struct varve_err err = {0};
    uint64_t seq = 0;
    unsigned tries = 0;
    int rc;

    add_some(model, batch);
    while ((rc = varve_group_add(model->db, batch, &seq, &err)) != 0) {
        if (rc == VARVE_WOULD_BLOCK && varve_group_open(model->db)) {
            oracle_cut(&model->oracle, before);
            return 0;
        }
        wait_for_room(model, rc, tries++, &err);
    }
    model->figures->writes += varve_batch_count(batch);
    check_seq(model, seq);
    return 1;
}

/* What is added from the batch `at` on is taken back before the commit. */
struct group_cut {
    uint64_t at;
    uint64_t seq; /* the oracle's, there */
    int marked;
    struct varve_group_mark mark;
};

static void mark_group(struct model *model, struct group_cut *cut)
{
    varve_group_mark(model->db, &cut->mark);
    cut->seq = model->oracle.seq;
    cut->marked = 1;
}

static void cut_group(struct model *model, const struct group_cut *cut)
{
    varve_group_cut(model->db, &cut->mark);
    oracle_cut(&model->oracle, cut->seq);
    model_tell(model, "the group is cut after batch %" PRIu64, cut->at);
    for (int i = 0; i < 4; i++)
        model_get_uncommitted(model);
    model_count(model);
    model->figures->cut_groups++;
}

static void commit_fails(struct model *model)
{
    static const enum fault_effect effects[] = {FAULT_NOTHING_DONE, FAULT_PARTLY_DONE,
                                                FAULT_ALL_DONE};
    struct varve_err err = {0};

    fault_env_plan(model->fault,
                   (struct fault_plan){.op = FAULT_WRITE,
                                       .nth = 1,
                                       .os_errno = rng_below(&model->ops, 2) == 0 ? EIO : ENOSPC,
                                       .effect = effects[rng_below(&model->ops, 3)],
                                       .path_suffix = ".wal"});
    int rc = varve_group_commit(model->db, &err);
    fault_env_heal(model->fault);
    model_tell(model, "commit fails: %s", err.text);
    if (rc == 0)
        model_fail(model, "the log write failed, and the commit did not");
    oracle_cut(&model->oracle, model->oracle.committed);
    if (varve_group_open(model->db))
        model_fail(model, "a failed group is open still");
    for (int i = 0; i < 4; i++)
        model_get_uncommitted(model);
    model_count(model);
    model_heal(model);
    model->figures->failed_groups++;
}

void model_group(struct model *model, int fails)
{
    uint64_t count = 1 + rng_below(&model->ops, 4);
    struct varve_err err = {0};
    int added = 0;

    if (model->plan.twin) /* how much fits is a matter of the configuration */
        count = 1;
    struct group_cut cut = {.at = count};
    if (rng_below(&model->ops, 4) == 0)
        cut.at = rng_below(&model->ops, count);
    for (uint64_t i = 0; i < count; i++) {
        struct varve_batch *batch = varve_batch_create();
        CHECK(batch != NULL);
        if (i == cut.at)
            mark_group(model, &cut);
        int taken = group_add(model, batch);
        varve_batch_destroy(batch); /* the values are borrowed from the pool, which stays */
        if (!taken)
            break;
        added += i < cut.at;
        model_get_uncommitted(model);
        if (rng_below(&model->ops, 4) == 0)
            model_iter_uncommitted(model);
        if (rng_below(&model->ops, 4) == 0)
            model_count(model);
        if (rng_below(&model->jobs, 4) == 0)
            model_run_jobs(model, 2);
    }
    if (cut.marked)
        cut_group(model, &cut);
    if (varve_group_open(model->db) != (added > 0))
        model_fail(model, "after %d batches the group is %s", added,
                   added > 0 ? "not open" : "open");
    if (fails && added > 0) {
        commit_fails(model);
        return;
    }
    if (varve_group_commit(model->db, &err) != 0)
        model_fail(model, "commit: %s", err.text);
    oracle_commit(&model->oracle);
    model_tell(model, "commit of %d batches", added);
}
