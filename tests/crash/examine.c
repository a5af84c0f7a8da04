#include "examine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SUBSET_UNITS_MAX 5 /* up to here all subsets are tried */
#define EACH_UNIT_MAX 8    /* single units that are lost or kept alone, a cut */
#define NESTED_TRIALS 3
#define CLOCK_BACK_MS 3600000

/* What was found in an image with these bytes. */
struct seen {
    uint64_t key;
    uint64_t k;
};

struct trial_list {
    struct trial *items;
    size_t count;
    size_t cap;
};

struct examiner {
    struct step_executor *stepper;
    struct rng rng;
    unsigned nested_percent;
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
    uint64_t fallback; /* the least k that a power cut within its recovery may leave */
    uint64_t acks_upto;
    int vouched;
    uint64_t clock_floor_ms;
};

#define REFUTE(examiner, ...) (snprintf((examiner)->why, sizeof((examiner)->why), __VA_ARGS__), -1)

/* ---- life ---- */

struct examiner *examiner_create(uint64_t seed, unsigned nested_percent)
{
    struct examiner *examiner = mem_alloc_zero(sizeof(*examiner));

    CHECK(examiner != NULL);
    examiner->stepper = step_executor_create(seed);
    rng_init(&examiner->rng, seed);
    examiner->nested_percent = nested_percent;
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

void examiner_new_run(struct examiner *examiner)
{
    examiner->seen_count = 0;
}

/* ---- chains as text ---- */

void chain_format(const struct chain *chain, char *text, size_t cap)
{
    size_t len = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < chain->count && len < cap; i++) {
        const struct trial *trial = &chain->trials[i];
        int n = snprintf(text + len, cap - len, "%s%" PRIu64 "/%s/%" PRIu64, i == 0 ? "" : ",",
                         trial->upto, sim_policy_name(trial->policy), trial->seed);
        len += (size_t)n;
    }
}

int chain_parse(const char *text, struct chain *chain)
{
    char name[32];
    int used;

    for (chain->count = 0; chain->count < CHAIN_MAX; text++) {
        struct trial *trial = &chain->trials[chain->count++];
        if (sscanf(text, "%" SCNu64 "/%31[a-z-]/%" SCNu64 "%n", &trial->upto, name, &trial->seed,
                   &used) != 3)
            return -1;
        int policy = 0;
        while (policy < SIM_POLICY_COUNT &&
               strcmp(sim_policy_name((enum sim_policy)policy), name) != 0)
            policy++;
        if (policy == SIM_POLICY_COUNT)
            return -1;
        trial->policy = (enum sim_policy)policy;
        text += used;
        if (*text != ',')
            return *text == '\0' ? 0 : -1;
    }
    return -1;
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
    if (!model_ends_record(&run->model, k))
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
    if (model_compare(&run->model, *k, db, MODEL_CHECK_COUNTS, why, sizeof(why)) != 0)
        return REFUTE(examiner, "it is not S_%" PRIu64 ": %s", *k, why);
    return 0;
}

static int examine_image(struct examiner *examiner, const struct run *run, struct sim_env *image,
                         const struct bounds *bounds, uint64_t *k);

/* A crash after the first trial->upto events of the recovery of `image`, which found k. */
static int examine_nested(struct examiner *examiner, const struct run *run, struct sim_env *image,
                          const struct bounds *bounds, uint64_t k, uint64_t served_at,
                          struct trial trial)
{
    struct chain *chain = &examiner->chain;
    enum sim_policy outer = chain->trials[chain->count - 1].policy;
    struct bounds inner = *bounds;
    struct sim_env *second = sim_image(image, trial.upto, trial.policy, trial.seed);
    uint64_t found;

    /* Before the first recovery served anything, what the dead process had not synced may go. */
    int settled = trial.upto >= served_at || outer != SIM_KILL;
    inner.fallback = settled ? k : bounds->fallback;
    inner.lower = trial.policy == SIM_KILL ? k : inner.fallback;
    inner.upper = k;
    chain->trials[chain->count++] = trial;
    examiner->figures.nested++;
    int rc = examine_image(examiner, run, second, &inner, &found);
    if (rc == 0)
        chain->count--;
    sim_env_destroy(second);
    return rc;
}

static enum sim_policy draw_policy(struct rng *rng)
{
    static const enum sim_policy policies[] = {
        SIM_ALL_LOST,    SIM_ALL_KEPT,   SIM_RANDOM,        SIM_RANDOM,        SIM_RANDOM,
        SIM_ONE_MISSING, SIM_ONE_KEPT,   SIM_ONE_FILE_LOST, SIM_ONE_FILE_KEPT, SIM_PREFIX,
        SIM_SUFFIX,      SIM_ONLY_NAMES, SIM_GARBAGE,       SIM_KILL};

    return policies[rng_below(rng, COUNT_OF(policies))];
}

static int examine_some_nested(struct examiner *examiner, const struct run *run,
                               struct sim_env *image, const struct bounds *bounds, uint64_t k,
                               uint64_t served_at)
{
    const struct chain *script = examiner->script;
    unsigned depth = examiner->chain.count;
    uint64_t events = sim_event_count(image);
    int rc = 0;

    if (script != NULL)
        return depth == script->count || script->trials[depth].upto > events
                   ? 0
                   : examine_nested(examiner, run, image, bounds, k, served_at,
                                    script->trials[depth]);
    if (depth == CHAIN_MAX || rng_below(&examiner->rng, 100) >= examiner->nested_percent)
        return 0;
    for (int i = 0; rc == 0 && i < NESTED_TRIALS; i++) {
        struct trial trial = {.upto = served_at, .policy = SIM_ALL_LOST};
        if (i > 0) {
            trial.upto = rng_below(&examiner->rng, events + 1);
            trial.policy = draw_policy(&examiner->rng);
            trial.seed = rng_below(&examiner->rng, 1000);
        }
        rc = examine_nested(examiner, run, image, bounds, k, served_at, trial);
    }
    return rc;
}

/* Opens the image, looks at all of it, closes it; then crashes within that, now and then. */
static int examine_image(struct examiner *examiner, const struct run *run, struct sim_env *image,
                         const struct bounds *bounds, uint64_t *k)
{
    struct varve_db *db = NULL;
    struct varve_err err = {0};
    int rc;

    count_distinct(examiner, sim_hash(image));
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
    if (varve_close(db, &err) != 0 && rc == 0)
        rc = REFUTE(examiner, "k = %" PRIu64 ", but then: %s", *k, err.text);
    if (rc == 0)
        rc = examine_some_nested(examiner, run, image, bounds, *k, served_at);
    return rc;
}

static struct bounds bounds_of(struct examiner *examiner, const struct run *run,
                               const struct trial *trial)
{
    struct expect expect = run_expect(run, trial->upto);
    struct bounds bounds = {
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

/* ---- which images ---- */

static void trial_add(struct trial_list *list, uint64_t upto, enum sim_policy policy, uint64_t seed)
{
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 1024 : 2 * list->cap;
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
        CHECK(list->items != NULL);
    }
    list->items[list->count++] = (struct trial){.upto = upto, .policy = policy, .seed = seed};
}

static void add_each_unit(struct trial_list *list, uint64_t upto, uint64_t units, struct rng *rng)
{
    uint64_t tries = units < EACH_UNIT_MAX ? units : EACH_UNIT_MAX;

    for (uint64_t i = 0; i < tries; i++) {
        uint64_t unit = units == tries ? i : rng_below(rng, units);
        trial_add(list, upto, SIM_ONE_MISSING, unit);
        trial_add(list, upto, SIM_ONE_KEPT, unit);
        if (i % 2 != 0)
            continue;
        trial_add(list, upto, SIM_PREFIX, unit);
        trial_add(list, upto, SIM_SUFFIX, unit);
        trial_add(list, upto, SIM_ONE_FILE_LOST, unit);
        trial_add(list, upto, SIM_ONE_FILE_KEPT, unit);
        trial_add(list, upto, SIM_RANDOM, rng_below(rng, 1000));
    }
}

/* The images of one moment. The first three say most: what was promised must survive losing all,
 * and a dead process loses nothing. */
static void add_trials(struct trial_list *list, struct sim_env *sim, uint64_t upto, int telling,
                       struct rng *rng)
{
    uint64_t units = sim_unit_count(sim, upto);

    if (telling) {
        trial_add(list, upto, SIM_ALL_LOST, 0);
        trial_add(list, upto, SIM_KILL, 0);
        if (units > 0)
            trial_add(list, upto, SIM_ALL_KEPT, 0);
        return;
    }
    if (units == 0)
        return;
    trial_add(list, upto, SIM_ONLY_SIZES, 0);
    trial_add(list, upto, SIM_ONLY_DATA, 0);
    trial_add(list, upto, SIM_ONLY_NAMES, 0);
    trial_add(list, upto, SIM_NO_NAMES, 0);
    trial_add(list, upto, SIM_GARBAGE, rng_below(rng, 1000));
    if (units > SUBSET_UNITS_MAX)
        add_each_unit(list, upto, units, rng);
    else
        for (uint64_t bits = 1; bits + 1 < (uint64_t)1 << units; bits++)
            trial_add(list, upto, SIM_SUBSET, bits);
}

static int by_moment(const void *a, const void *b)
{
    const struct trial *left = a;
    const struct trial *right = b;

    if (left->upto != right->upto)
        return left->upto > right->upto ? 1 : -1;
    if (left->policy != right->policy)
        return left->policy > right->policy ? 1 : -1;
    return (left->seed > right->seed) - (left->seed < right->seed);
}

/* Keeps `limit` of them: of those from `first` on a random choice, of the others a prefix. */
static void trials_thin(struct trial_list *list, size_t first, uint64_t limit, struct rng *rng)
{
    for (size_t i = first; i < list->count && i < limit; i++) {
        size_t other = i + rng_below(rng, list->count - i);
        struct trial taken = list->items[i];
        list->items[i] = list->items[other];
        list->items[other] = taken;
    }
    if (list->count > limit)
        list->count = limit;
}

int examine_run(struct examiner *examiner, const struct run *run, uint64_t from, uint64_t limit)
{
    struct trial_list list = {0};
    uint64_t events = sim_event_count(run->sim);
    size_t telling = 0;
    int rc = 0;

    for (int pass = 1; pass >= 0; pass--) {
        for (uint64_t upto = from + 1; upto <= events; upto++)
            add_trials(&list, run->sim, upto, pass, &examiner->rng);
        if (pass == 1)
            telling = list.count;
    }
    if (limit != 0)
        trials_thin(&list, telling < limit ? telling : 0, limit, &examiner->rng);
    if (list.count > 0)
        qsort(list.items, list.count, sizeof(*list.items), by_moment);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        if (i == 0 || list.items[i].upto != list.items[i - 1].upto)
            examiner->figures.cuts++;
        rc = examine_trial(examiner, run, &list.items[i]);
    }
    mem_free(list.items);
    return rc;
}
