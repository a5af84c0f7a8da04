/* An episode's beginning and end, opening and crashing, jobs and time. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "campaign.h"
#include "model.h"

#define WAL_SIZE_BYTES ((uint64_t)256 * 1024)
#define HEAL_STEPS_MAX 100 /* of 100 ms */

/* ---- knobs ---- */

static uint64_t setup_one_of(struct model *model, const uint64_t *values, size_t count)
{
    return values[rng_below(&model->setup, count)];
}

#define ONE_OF(model, ...)                                                                         \
    setup_one_of(model, (const uint64_t[]){__VA_ARGS__},                                           \
                 sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

#define KIB ((uint64_t)1024)
#define MIB (KIB * KIB)

/* Drawn anew whenever it is opened: what was written under other knobs is read all the same. */
static void draw_knobs(struct model *model)
{
    struct varve_options *options = &model->options;

    options->memtable_size_bytes = ONE_OF(model, 64 * KIB, 64 * KIB, 128 * KIB, 512 * KIB, 4 * MIB);
    options->memtables_max = (uint32_t)ONE_OF(model, 2, 3, 4, 8);
    options->block_size_bytes = (uint32_t)ONE_OF(model, 512, 512, 1024, 4096, 64 * KIB);
    options->segment_size_bytes = ONE_OF(model, 16 * KIB, 16 * KIB, 64 * KIB, 1 * MIB);
    options->block_cache_size_bytes = ONE_OF(model, 1 * MIB, 1 * MIB, 8 * MIB);
    /* Not drawn, so that old seeds stay what they were. */
    options->row_cache_size_bytes = model->plan.seed % 4 == model->plan.config ? 0 : 64 * KIB;
    options->bloom_bits_per_key = (uint32_t)ONE_OF(model, VARVE_NO_FILTER, 5, 10);
    options->compression = ONE_OF(model, 0, 1) ? VARVE_SNAPPY : VARVE_COMPRESSION_NONE;
    options->compaction_jobs = (uint32_t)ONE_OF(model, 1, 2, 3);
    options->wal_size_bytes = ONE_OF(model, 16 * KIB, 64 * KIB, WAL_SIZE_BYTES);
    options->wal_pool_size = (uint32_t)ONE_OF(model, 1, 2, 4);
    options->durability = (enum varve_durability)ONE_OF(model, VARVE_ALWAYS, VARVE_EVERYSEC,
                                                        VARVE_NO);
    options->min_free_bytes = VARVE_NO_RESERVE;
    options->reserve_size_bytes = VARVE_NO_RESERVE;
    model->jobs_chance = (int)ONE_OF(model, 0, 1, 8, 64);
    if (model->plan.twin && model->huge_values && options->memtable_size_bytes < 4 * MIB)
        options->memtable_size_bytes = 4 * MIB;
    model_tell(
        model,
        "memtable %" PRIu64 " x %u, block %u, segment %" PRIu64 ", cache %" PRIu64 ", rows %" PRIu64
        ", bloom %d, compression %d, jobs %u, wal %" PRIu64 " x %u, durability %d",
        options->memtable_size_bytes, options->memtables_max, options->block_size_bytes,
        options->segment_size_bytes, options->block_cache_size_bytes, options->row_cache_size_bytes,
        (int)options->bloom_bits_per_key, (int)options->compression, options->compaction_jobs,
        options->wal_size_bytes, options->wal_pool_size, (int)options->durability);
}

/* ---- open, close ---- */

static void on_log(void *arg, int level, const char *line)
{
    model_tell(arg, "log %d: %s", level, line);
}

void model_open(struct model *model)
{
    struct varve_err err = {0};
    struct varve_stats stats;

    draw_knobs(model);
    model->options.env = fault_as_env(model->fault);
    model->options.executor = step_as_executor(model->stepper);
    model->options.count_group = group_of_key;
    model->options.on_log = model->plan.verbose ? on_log : NULL;
    model->options.arg = model;
    if (varve_open(MODEL_DIR, &model->options, &model->db, &err) != 0)
        model_fail(model, "open: %s", err.text);
    varve_stats(model->db, &stats);
    uint64_t k = stats.seq_visible;
    if (k > model->oracle.committed || k < model->durable || !oracle_ends_record(&model->oracle, k))
        model_fail(model,
                   "opened at operation %" PRIu64 ", not in [%" PRIu64 ", %" PRIu64
                   "] or within a record",
                   k, model->durable, model->oracle.committed);
    oracle_cut(&model->oracle, k);
    model->durable = k;
    model_now(model);
}

/* What holds something of the database is let go. */
static void let_go(struct model *model)
{
    struct varve_stats stats;

    for (int i = 0; i < ITERS_MAX; i++)
        model_iter_close(&model->iters[i]);
    for (int i = 0; i < PINS_MAX; i++)
        model_pin_release(model, &model->pins[i]);
    for (int i = 0; i < SNAPSHOTS_MAX; i++)
        model_snapshot_drop(model, &model->snapshots[i]);
    varve_stats(model->db, &stats);
    model->figures->engine_flushes += stats.flushes;
    model->figures->engine_compactions += stats.compactions;
    model->figures->engine_moves += stats.moves;
    model->figures->engine_drops += stats.drops;
}

static void close_db(struct model *model)
{
    struct varve_err err = {0};

    let_go(model);
    if (varve_close(model->db, &err) != 0)
        model_fail(model, "close: %s", err.text);
    model->db = NULL;
    model->durable = model->oracle.committed;
    for (int i = 0; i < VARVE_JOB_CLASS_COUNT; i++)
        if (step_waiting(model->stepper, (enum varve_job_class)i) > 0)
            model_fail(model, "a closed database left a job of class %d", i);
}

/* How far back the database's clock may go over a restart depends on what it wrote when. */
static void pin_clock(struct model *model)
{
    if (!model->plan.twin)
        return;
    sim_clock_set_real_ms(model->sim, model->clock_ms + 1);
    model_now(model);
}

void model_reopen(struct model *model)
{
    model_tell(model, "reopen");
    pin_clock(model);
    close_db(model);
    model->figures->reopens++;
    model_open(model);
    if (model->oracle.committed != model->durable)
        model_fail(model, "a clean close lost something");
    model_compare(model);
}

static void end_disk(struct model *model)
{
    struct figures *figures = model->figures;

    figures->digest = digest_add(figures->digest, sim_trace_digest(model->sim));
    sim_env_destroy(model->sim);
}

/* The process or the machine dies. */
void model_crash(struct model *model)
{
    static const enum sim_policy policies[] = {SIM_KILL,   SIM_ALL_LOST,     SIM_RANDOM,
                                               SIM_PREFIX, SIM_ONLY_SIZES,   SIM_SUFFIX,
                                               SIM_RANDOM, SIM_ONE_FILE_LOST};
    enum sim_policy policy = policies[rng_below(&model->ops, COUNT_OF(policies))];
    uint64_t seed = rng_next(&model->ops);

    if (model->plan.twin)
        policy = SIM_KILL; /* else how much is lost depends on the configuration */
    pin_clock(model);
    model_tell(model, "crash, policy %s", sim_policy_name(policy));
    model_note_durable(model);
    if (policy == SIM_KILL)
        model->durable = model->oracle.committed;
    let_go(model);
    struct sim_env *image = sim_image(model->sim, sim_event_count(model->sim), policy, seed);
    (void)varve_close(model->db, NULL); /* only its memory matters now */
    step_drop_all(model->stepper);
    fault_env_destroy(model->fault);
    end_disk(model);
    model->sim = image;
    if (model->plan.twin) /* an image has the clock of its last event */
        sim_clock_set_real_ms(image, model->clock_ms);
    model->fault = fault_env_create(sim_as_env(image));
    model->figures->crashes++;
    model_open(model);
    model_compare(model);
}

/* ---- jobs and time ---- */

uint64_t model_now(struct model *model)
{
    uint64_t now_ms = varve_now_ms(model->db);

    if (now_ms > model->clock_ms)
        model->clock_ms = now_ms;
    return now_ms;
}

void model_note_durable(struct model *model)
{
    uint64_t durable = varve_durable_seq(model->db);

    if (durable < model->durable || durable > model->oracle.committed)
        model_fail(model,
                   "operation %" PRIu64 " is called durable, after %" PRIu64 ", and %" PRIu64
                   " are committed",
                   durable, model->durable, model->oracle.committed);
    model->durable = durable;
}

void model_run_jobs(struct model *model, size_t max)
{
    for (size_t ran = 0; ran < max; ran++) {
        enum varve_job_class first = (enum varve_job_class)rng_below(&model->jobs,
                                                                     VARVE_JOB_CLASS_COUNT);
        if (!step_run_class(model->stepper, first) && !step_run_one(model->stepper))
            return;
        model->figures->jobs++;
    }
}

void model_advance(struct model *model, uint64_t us)
{
    sim_clock_advance_us(model->sim, us);
    varve_tick(model->db);
    model_now(model);
}

/* It takes the same time under every configuration. */
void model_heal(struct model *model)
{
    struct varve_err err = {0};
    unsigned steps = 0;

    for (; steps < HEAL_STEPS_MAX && varve_writable(model->db, &err) != 0; steps++) {
        model_advance(model, 100000);
        model_run_jobs(model, 4);
    }
    if (varve_writable(model->db, &err) != 0)
        model_fail(model, "the log does not heal: %s", err.text);
    model_advance(model, (HEAL_STEPS_MAX - steps) * (uint64_t)100000);
    model_note_durable(model);
}

/* ---- life ---- */

static void draw_shape(struct model *model)
{
    static const size_t key_counts[] = {6, 60, 300, 300, 1500, 4000};
    static const uint32_t value_maxes[] = {12, 100, 100, 1000};
    size_t key_count = key_counts[rng_below(&model->ops, COUNT_OF(key_counts))];
    int long_keys = rng_below(&model->ops, 3) == 0;

    model->value_max = value_maxes[rng_below(&model->ops, COUNT_OF(value_maxes))];
    model->huge_values = rng_below(&model->ops, 4) == 0;
    model->steps = 10000 + rng_below(&model->ops, 40000);
    if (rng_below(&model->ops, 16) == 0)
        model->steps *= 8;
    oracle_init(&model->oracle, &model->ops, key_count, long_keys);
    model_tell(model, "%zu keys, long ones %d, values to %u, huge ones %d, %" PRIu64 " steps",
               model->oracle.key_count, long_keys, model->value_max, model->huge_values,
               model->steps);
}

void model_begin(struct model *model, const struct plan *plan, struct figures *figures)
{
    *model = (struct model){.plan = *plan, .figures = figures};
    rng_init(&model->ops, plan->seed);
    rng_init(&model->jobs, plan->seed ^ (1 + plan->config) * 0x9e3779b97f4a7c15u);
    rng_init(&model->setup, rng_next(&model->jobs));
    model->sim = sim_env_create(plan->seed);
    model->fault = fault_env_create(sim_as_env(model->sim));
    model->stepper = step_executor_create(rng_next(&model->jobs));
    model->batch = varve_batch_create();
    CHECK(model->batch != NULL);
    draw_shape(model);
    model_open(model);
}

void model_end(struct model *model)
{
    close_db(model);
    /* That the same seed is the same run, byte for byte: all that is on the disk at its end. */
    struct rng rng = {.state = model->answers ^ sim_hash(model->sim)};
    model->answers = model->plan.twin ? model->answers : rng_next(&rng);
    step_executor_destroy(model->stepper);
    fault_env_destroy(model->fault);
    end_disk(model);
    varve_batch_destroy(model->batch);
    oracle_deinit(&model->oracle);
}
