#include "examine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "campaign.h"
#include "rot.h"

#define NESTED_TRIALS 4
#define JOBS_MAX 64
#define CLOCK_BACK_MS 3600000

/* What was found in an image with these bytes. */
struct seen {
    uint64_t key;
    uint64_t k;
};

struct examiner {
    struct step_executor *stepper;
    struct rng rng;
    unsigned nested_percent;
    unsigned rot_percent;
    const struct chain *script; /* what is to be played again, NULL: chance decides */
    struct figures figures;
    uint64_t *hashes; /* open addressing; 0: free */
    size_t hash_cap;
    struct seen *seen; /* of the present run */
    size_t seen_count;
    size_t seen_cap;
    struct chain chain; /* the image in hand */
    char why[RUN_WHY_BYTES];
};

/* What may be found in one image. */
struct bounds {
    uint64_t lower;
    uint64_t upper;
    const struct model *model;
    uint64_t fallback; /* the least k that a power cut within its recovery may leave */
    uint64_t acks_upto;
    int vouched;
    uint64_t clock_floor_ms;
};

#define REFUTE(examiner, ...) (snprintf((examiner)->why, sizeof((examiner)->why), __VA_ARGS__), -1)

/* ---- life ---- */

struct examiner *examiner_create(uint64_t seed, unsigned nested_percent, unsigned rot_percent)
{
    struct examiner *examiner = mem_alloc_zero(sizeof(*examiner));

    CHECK(examiner != NULL);
    examiner->stepper = step_executor_create(seed);
    rng_init(&examiner->rng, seed);
    examiner->nested_percent = nested_percent;
    examiner->rot_percent = rot_percent;
    examiner->figures.digest = DIGEST_BEGIN;
    examiner->hash_cap = 1024;
    examiner->hashes = mem_alloc_zero(examiner->hash_cap * sizeof(uint64_t));
    CHECK(examiner->hashes != NULL);
    return examiner;
}

void examiner_destroy(struct examiner *examiner)
{
    step_executor_destroy(examiner->stepper);
    mem_free(examiner->hashes);
    mem_free(examiner->seen);
    mem_free(examiner);
}

const struct figures *examiner_figures(const struct examiner *examiner)
{
    return &examiner->figures;
}

const struct chain *examiner_chain(const struct examiner *examiner)
{
    return &examiner->chain;
}

const char *examiner_why(const struct examiner *examiner)
{
    return examiner->why;
}

static void note(struct examiner *examiner, uint64_t value)
{
    examiner->figures.digest = digest_add(examiner->figures.digest, value);
}

void examiner_new_run(struct examiner *examiner, const struct run *run)
{
    examiner->seen_count = 0;
    note(examiner, sim_trace_digest(run->sim));
    for (size_t i = 0; i < run->note_count; i++)
        note(examiner, run->notes[i].value);
}

/* ---- counting distinct images ---- */

static int hash_put(uint64_t *hashes, size_t cap, uint64_t hash)
{
    size_t at = hash & (cap - 1);

    while (hashes[at] != 0 && hashes[at] != hash)
        at = (at + 1) & (cap - 1);
    if (hashes[at] == hash)
        return 0;
    hashes[at] = hash;
    return 1;
}

static void count_distinct(struct examiner *examiner, uint64_t hash)
{
    struct figures *figures = &examiner->figures;

    if (2 * figures->distinct >= examiner->hash_cap) {
        size_t cap = 4 * examiner->hash_cap;
        uint64_t *grown = mem_alloc_zero(cap * sizeof(*grown));
        CHECK(grown != NULL);
        for (size_t i = 0; i < examiner->hash_cap; i++)
            if (examiner->hashes[i] != 0)
                hash_put(grown, cap, examiner->hashes[i]);
        mem_free(examiner->hashes);
        examiner->hashes = grown;
        examiner->hash_cap = cap;
    }
    figures->distinct += (uint64_t)hash_put(examiner->hashes, examiner->hash_cap, hash | 1);
}

/* ---- one image ---- */

static int check_k(struct examiner *examiner, const struct run *run, const struct bounds *bounds,
                   uint64_t k)
{
    if (k < bounds->lower || k > bounds->upper)
        return REFUTE(examiner, "expected k in [%" PRIu64 ", %" PRIu64 "], found %" PRIu64,
                      bounds->lower, bounds->upper, k);
    if (!model_ends_record(bounds->model, k))
        return REFUTE(examiner, "k = %" PRIu64 " is within a record, which is half there", k);
    return run_check_acks(run, bounds->acks_upto, k, examiner->why, sizeof(examiner->why));
}

/* What a reader sees in the database that was opened on an image. */
static int check_open(struct examiner *examiner, const struct run *run, const struct bounds *bounds,
                      struct varve_db *db, uint64_t *k)
{
    char why[RUN_WHY_BYTES - 64];
    struct varve_stats stats;

    varve_stats(db, &stats);
    *k = stats.seq_visible;
    if (check_k(examiner, run, bounds, *k) != 0)
        return -1;
    if (varve_durable_seq(db) != *k || stats.seq_applied != *k)
        return REFUTE(examiner, "k = %" PRIu64 ", but durable says %" PRIu64 ", applied %" PRIu64,
                      *k, varve_durable_seq(db), stats.seq_applied);
    if (bounds->vouched && stats.recovered_unvouched_bytes > 0)
        return REFUTE(examiner, "%" PRIu64 " bytes are vouched for by nothing after a clean close",
                      stats.recovered_unvouched_bytes);
    if (varve_now_ms(db) < bounds->clock_floor_ms)
        return REFUTE(examiner, "the clock ran back by %" PRIu64 " ms",
                      bounds->clock_floor_ms - varve_now_ms(db));
    if (model_compare(bounds->model, *k, db, MODEL_CHECK_COUNTS, NULL, why, sizeof(why)) != 0)
        return REFUTE(examiner, "it is not S_%" PRIu64 ": %s", *k, why);
    return 0;
}

/* One recovery, and a write that followed it. */
struct story {
    uint64_t k;          /* what it found */
    uint64_t served_at;  /* events of its trace before it had an answer */
    uint64_t written_at; /* before the write */
    uint64_t durable_at; /* before the write was durable */
    struct model grown;  /* S_k and the write */
};

static int examine_image(struct examiner *examiner, const struct run *run, struct sim_env *image,
                         const struct bounds *bounds, uint64_t *k);

/* Writes to a database that was recovered, so that a later crash can show what that left undone. */
static int story_write(struct examiner *examiner, struct story *story, struct sim_env *image,
                       struct varve_db *db)
{
    struct varve_batch *batch = varve_batch_create();
    struct varve_err err = {0};
    struct model_op put = {.kind = MODEL_PUT, .value_len = 33, .value_seed = story->k + 1};
    uint64_t seq = 0;

    CHECK(batch != NULL);
    model_stage(&story->grown, batch, put);
    story->written_at = sim_event_count(image);
    varve_set_durability(db, VARVE_ALWAYS);
    int rc = varve_write(db, batch, &seq, &err);
    step_run_all(examiner->stepper, JOBS_MAX);
    story->durable_at = sim_event_count(image);
    model_commit(&story->grown);
    varve_batch_destroy(batch);
    if (rc != 0)
        return REFUTE(examiner, "k = %" PRIu64 ", but it takes no write: %s", story->k, err.text);
    if (seq != story->k + 1 || varve_durable_seq(db) != seq)
        return REFUTE(examiner,
                      "after k = %" PRIu64 " a write got %" PRIu64 " and is durable to %" PRIu64,
                      story->k, seq, varve_durable_seq(db));
    if (story->k % 3 == 0) /* crashes within a flush or a compaction that follows a recovery */
        rc = story->k % 2 == 0 ? varve_flush(db, &err) : varve_compact(db, &err);
    if (rc != 0)
        return REFUTE(examiner, "k = %" PRIu64 ", but it is not flushed: %s", story->k, err.text);
    return 0;
}

static struct bounds story_bounds(const struct story *story, const struct bounds *outer,
                                  enum sim_policy outer_policy, const struct trial *trial)
{
    struct bounds bounds = *outer;
    /* Before the recovery had an answer, what a dead process had not synced may still go. */
    int settled = trial->upto >= story->served_at || outer_policy != SIM_KILL;

    bounds.model = &story->grown;
    bounds.upper = story->k;
    bounds.fallback = settled ? story->k : outer->fallback;
    bounds.lower = trial->policy == SIM_KILL ? story->k : bounds.fallback;
    if (trial->upto > story->written_at) {
        bounds.upper = story->k + 1;
        bounds.vouched = 0;
    }
    if (trial->upto >= story->durable_at)
        bounds.lower = bounds.fallback = story->k + 1;
    return bounds;
}

/* A crash within a story, after the first trial->upto events of it. */
static int examine_nested(struct examiner *examiner, const struct run *run, struct sim_env *image,
                          const struct bounds *outer, const struct story *story, struct trial trial)
{
    struct chain *chain = &examiner->chain;
    struct bounds bounds = story_bounds(story, outer, chain->trials[chain->count - 1].policy,
                                        &trial);
    struct sim_env *second = sim_image(image, trial.upto, trial.policy, trial.seed);
    uint64_t found;

    chain->trials[chain->count++] = trial;
    examiner->figures.nested++;
    int rc = examine_image(examiner, run, second, &bounds, &found);
    if (rc == 0)
        chain->count--;
    sim_env_destroy(second);
    return rc;
}

static int examine_some_nested(struct examiner *examiner, const struct run *run,
                               struct sim_env *image, const struct bounds *bounds,
                               const struct story *story)
{
    const struct chain *script = examiner->script;
    uint64_t events = sim_event_count(image);
    int rc = 0;

    if (script != NULL) {
        struct trial next = script->trials[examiner->chain.count];
        return next.upto > events ? REFUTE(examiner, "the recovery has %" PRIu64 " events", events)
                                  : examine_nested(examiner, run, image, bounds, story, next);
    }
    for (int i = 0; rc == 0 && i < NESTED_TRIALS; i++) {
        struct trial trial = {.upto = i == 0 ? story->served_at : story->durable_at,
                              .policy = SIM_ALL_LOST};
        if (i > 1) {
            trial.upto = rng_below(&examiner->rng, events + 1);
            trial.policy = trial_draw_policy(&examiner->rng);
            trial.seed = rng_below(&examiner->rng, 1000);
        }
        rc = examine_nested(examiner, run, image, bounds, story, trial);
    }
    return rc;
}

/* NULL: no crash within this recovery. What all sequences begin with is looked at in the empty one
 * alone, and there in full. */
static struct story *story_begin(struct examiner *examiner, const struct run *run,
                                 const struct bounds *bounds, uint64_t k, uint64_t served_at)
{
    const struct chain *script = examiner->script;
    unsigned depth = examiner->chain.count;
    unsigned percent = run->plan.count == 0 && depth == 1 ? 100 : examiner->nested_percent;
    int wanted = depth < CHAIN_MAX && rng_below(&examiner->rng, 100) < percent;

    if (script != NULL)
        wanted = depth < script->count;
    if (!wanted)
        return NULL;
    struct story *story = mem_alloc_zero(sizeof(*story));
    CHECK(story != NULL);
    story->k = k;
    story->served_at = served_at;
    story->grown = *bounds->model;
    model_cut(&story->grown, k);
    return story;
}

/* Opens the image, looks at all of it, closes it; now and then writes to it, and crashes within. */
static int examine_image(struct examiner *examiner, const struct run *run, struct sim_env *image,
                         const struct bounds *bounds, uint64_t *k)
{
    struct varve_db *db = NULL;
    struct varve_err err = {0};
    struct story *story = NULL;
    int rc;

    uint64_t hash = sim_hash(image);
    count_distinct(examiner, hash);
    note(examiner, hash);
    examiner->figures.opened++;
    *k = 0;
    if (bounds->clock_floor_ms != 0)
        sim_clock_set_real_ms(image, SIM_CLOCK_START_REAL_MS - CLOCK_BACK_MS);
    if (run_open_on(image, examiner->stepper, run->plan.mode, NULL, &db, &err) != 0)
        return REFUTE(examiner,
                      "expected k in [%" PRIu64 ", %" PRIu64 "], but it does not open: %s",
                      bounds->lower, bounds->upper, err.text);
    uint64_t served_at = sim_event_count(image);
    rc = check_open(examiner, run, bounds, db, k);
    if (examiner->script != NULL)
        printf("    k = %" PRIu64 ", expected [%" PRIu64 ", %" PRIu64 "]; recovery: %" PRIu64
               " events\n",
               *k, bounds->lower, bounds->upper, served_at);
    if (rc == 0)
        story = story_begin(examiner, run, bounds, *k, served_at);
    if (story != NULL)
        rc = story_write(examiner, story, image, db);
    if (varve_close(db, &err) != 0 && rc == 0)
        rc = REFUTE(examiner, "k = %" PRIu64 ", but then: %s", *k, err.text);
    if (rc == 0 && story != NULL)
        rc = examine_some_nested(examiner, run, image, bounds, story);
    mem_free(story);
    note(examiner, *k);
    note(examiner, sim_trace_digest(image));
    return rc;
}

static struct bounds bounds_of(struct examiner *examiner, const struct run *run,
                               const struct trial *trial)
{
    struct expect expect = run_expect(run, trial->upto);
    struct bounds bounds = {
        .model = &run->model,
        .lower = trial->policy == SIM_KILL ? expect.at_least_killed : expect.at_least,
        .upper = expect.at_most,
        .fallback = expect.at_least,
        .acks_upto = trial->upto,
        .vouched = expect.vouched,
        .clock_floor_ms = expect.clock_floor_ms,
    };

    if (bounds.upper > bounds.lower && bounds.upper - bounds.lower >= examiner->figures.span_max)
        examiner->figures.span_max = bounds.upper - bounds.lower + 1;
    return bounds;
}

/* ---- images of a run ---- */

/* Two images with one key are opened to the same end. */
static uint64_t seen_key(uint64_t hash, const struct trial *trial, const struct bounds *bounds)
{
    uint64_t how = (trial->policy == SIM_KILL ? 1u : 0u) | (bounds->vouched ? 2u : 0u);
    struct rng rng = {.state = hash ^ (bounds->clock_floor_ms << 2 | how) * 0x9e3779b97f4a7c15u};

    return rng_next(&rng);
}

static const struct seen *seen_find(const struct examiner *examiner, uint64_t key)
{
    for (size_t i = examiner->seen_count; i > 0; i--)
        if (examiner->seen[i - 1].key == key)
            return &examiner->seen[i - 1];
    return NULL;
}

static void seen_add(struct examiner *examiner, struct seen seen)
{
    if (examiner->seen_count == examiner->seen_cap) {
        examiner->seen_cap = examiner->seen_cap == 0 ? 256 : 2 * examiner->seen_cap;
        examiner->seen = mem_realloc(examiner->seen, examiner->seen_cap * sizeof(*examiner->seen));
        CHECK(examiner->seen != NULL);
    }
    examiner->seen[examiner->seen_count++] = seen;
}

/* What came out of a damaged image, which without the damage held S_k of `intact`. */
static int check_damaged(struct examiner *examiner, const struct run *run,
                         const struct bounds *bounds, struct varve_db *db, uint64_t intact,
                         const char *what, int in_one_record)
{
    char why[RUN_WHY_BYTES - 256];
    struct varve_stats stats;
    uint64_t lower = in_one_record ? run_promised_twice(run, intact) : 0;

    varve_stats(db, &stats);
    uint64_t k = stats.seq_visible;
    if (bounds->vouched)
        lower = bounds->upper;
    if (k < lower || k > bounds->upper || !model_ends_record(bounds->model, k))
        return REFUTE(examiner, "%s: opens, with k = %" PRIu64 " instead of %" PRIu64, what, k,
                      intact);
    if (model_compare(bounds->model, k, db, MODEL_CHECK_COUNTS, NULL, why, sizeof(why)) < 0)
        return REFUTE(examiner, "%s: opens, but is not S_%" PRIu64 ": %s", what, k, why);
    return 0;
}

/* The image with damage to it: an error, or a state that was there. What a clean close or two records
 * vouch for may not go unnoticed. */
static int examine_rot(struct examiner *examiner, const struct run *run,
                       const struct bounds *bounds, const struct trial *trial, uint64_t intact)
{
    struct sim_env *image = sim_image(run->sim, trial->upto, trial->policy, trial->seed);
    char what[128];
    struct varve_db *db = NULL;
    struct varve_err err = {0};
    int rc = 0;

    int in_one_record = rot_damage(image, trial->rot, what, sizeof(what));
    examiner->chain.trials[0] = *trial;
    examiner->figures.damaged++;
    int opened = run_open_on(image, examiner->stepper, run->plan.mode, NULL, &db, &err);
    if (examiner->script != NULL)
        printf("    damage: %s; open: %s\n", what, opened == 0 ? "succeeds" : err.text);
    if (opened == 0)
        rc = check_damaged(examiner, run, bounds, db, intact, what, in_one_record);
    else if (opened != VARVE_ECORRUPT && opened != VARVE_EFOREIGN && opened != VARVE_EVERSION)
        rc = REFUTE(examiner, "%s: not said to be damage: %s", what, err.text);
    examiner->figures.refused += opened != 0;
    note(examiner, (uint64_t)opened);
    (void)varve_close(db, NULL);
    sim_env_destroy(image);
    return rc;
}

/* More often where damage must be seen. */
static int wants_rot(struct examiner *examiner, const struct bounds *bounds,
                     const struct trial *trial)
{
    unsigned percent = bounds->vouched ? 5 * examiner->rot_percent : examiner->rot_percent;

    return examiner->script != NULL ? trial->rot != 0 : rng_below(&examiner->rng, 100) < percent;
}

static int examine_trial(struct examiner *examiner, const struct run *run,
                         const struct trial *trial)
{
    struct bounds bounds = bounds_of(examiner, run, trial);
    struct sim_env *image = sim_image(run->sim, trial->upto, trial->policy, trial->seed);
    uint64_t key = seen_key(sim_hash(image), trial, &bounds);
    const struct seen *seen = seen_find(examiner, key);
    uint64_t k;
    int rc;

    examiner->chain = (struct chain){.trials = {*trial}, .count = 1};
    examiner->figures.images++;
    if (seen != NULL) {
        rc = check_k(examiner, run, &bounds, seen->k);
    } else {
        rc = examine_image(examiner, run, image, &bounds, &k);
        if (rc == 0)
            seen_add(examiner, (struct seen){.key = key, .k = k});
        if (rc == 0 && wants_rot(examiner, &bounds, trial)) {
            struct trial damaged = *trial;
            if (damaged.rot == 0)
                damaged.rot = 1 + rng_below(&examiner->rng, 100000);
            rc = examine_rot(examiner, run, &bounds, &damaged, k);
        }
    }
    sim_env_destroy(image);
    return rc;
}

int examine_chain(struct examiner *examiner, const struct run *run, const struct chain *chain)
{
    if (chain->trials[0].upto > sim_event_count(run->sim))
        return REFUTE(examiner, "the run has %" PRIu64 " events only", sim_event_count(run->sim));
    examiner->script = chain;
    int rc = examine_trial(examiner, run, &chain->trials[0]);
    examiner->script = NULL;
    return rc;
}

int examine_run(struct examiner *examiner, const struct run *run, uint64_t from,
                struct trial_limit limit)
{
    struct trial_list list;
    int rc = 0;

    trials_choose(&list, run->sim, from, limit, &examiner->rng);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        if (i == 0 || list.items[i].upto != list.items[i - 1].upto)
            examiner->figures.cuts++;
        rc = examine_trial(examiner, run, &list.items[i]);
    }
    trials_free(&list);
    return rc;
}
