/* Plays the writer, the clock and the jobs of one database on one thread.
 *
 * Jobs wait in a stepper and run when the seed says so, between the writer's calls. A job is one call
 * for the stepper, but in a server the writer goes on while it syncs: so each sync that a job makes
 * may give the writer a turn (run_on_sync), in which it writes or lets time pass. */
#include "run.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define WAL_SIZE_BYTES 4096
#define WAL_POOL_FILES 2
#define MEMTABLE_BYTES ((uint64_t)64 * 1024)
#define MEMTABLES_MAX 8
#define BLOCK_BYTES 512
#define SEGMENT_BYTES ((uint64_t)16 * 1024)
#define CACHE_BYTES ((uint64_t)1024 * 1024)
#define JOBS_MAX 64
#define HEAL_STEPS_MAX 80 /* of 100 ms */
#define ACK_SPAN_MAX_US ((uint64_t)2000000)

void run_fail(struct run *run, const char *fmt, ...)
{
    va_list args;

    if (run->why[0] != '\0')
        return;
    va_start(args, fmt);
    vsnprintf(run->why, sizeof(run->why), fmt, args);
    va_end(args);
}

int run_failed(const struct run *run)
{
    return run->why[0] != '\0';
}

/* ---- notes ---- */

static uint64_t run_mono_us(struct run *run)
{
    struct varve_env *env = sim_as_env(run->sim);

    return env->ops->now_mono_us(env);
}

static void note_at(struct run *run, struct note note)
{
    if (run->note_count == run->note_cap) {
        run->note_cap = run->note_cap == 0 ? 256 : 2 * run->note_cap;
        run->notes = mem_realloc(run->notes, run->note_cap * sizeof(*run->notes));
        CHECK(run->notes != NULL);
    }
    run->notes[run->note_count++] = note;
}

void run_note(struct run *run, enum note_kind kind, uint64_t value)
{
    note_at(run, (struct note){.kind = kind,
                               .at = sim_event_count(run->sim),
                               .value = value,
                               .mono_us = run_mono_us(run)});
}

static uint64_t raised(uint64_t old, uint64_t value)
{
    return value > old ? value : old;
}

struct expect run_expect(const struct run *run, uint64_t upto)
{
    struct expect expect = {0};

    for (size_t i = 0; i < run->note_count; i++) {
        const struct note *note = &run->notes[i];
        if (note->at > upto)
            continue;
        switch (note->kind) {
        case NOTE_ISSUED:
            expect.at_most = raised(expect.at_most, note->value);
            expect.vouched = 0;
            break;
        case NOTE_COMMITTED:
            expect.at_least_killed = raised(expect.at_least_killed, note->value);
            break;
        case NOTE_DURABLE: expect.at_least = raised(expect.at_least, note->value); break;
        case NOTE_CLOSED:
            expect.vouched = 1;
            expect.clock_floor_ms = raised(expect.clock_floor_ms, note->value);
            break;
        case NOTE_ACKED: break;
        }
    }
    expect.at_least_killed = raised(expect.at_least_killed, expect.at_least);
    return expect;
}

int run_check_acks(const struct run *run, uint64_t upto, uint64_t k, char *why, size_t why_cap)
{
    uint64_t oldest_us = UINT64_MAX;
    uint64_t newest_us = 0;

    for (size_t i = 0; i < run->note_count; i++) {
        const struct note *note = &run->notes[i];
        if (note->kind != NOTE_ACKED || note->at > upto || note->value <= k)
            continue;
        if (note->mono_us < oldest_us)
            oldest_us = note->mono_us;
        if (note->mono_us > newest_us)
            newest_us = note->mono_us;
    }
    if (oldest_us == UINT64_MAX || newest_us - oldest_us <= ACK_SPAN_MAX_US)
        return 0;
    snprintf(why, why_cap,
             "k = %" PRIu64 " loses acknowledged writes of %" PRIu64 " ms, 2000 ms are allowed", k,
             (newest_us - oldest_us) / 1000);
    return -1;
}

uint64_t run_promised_twice(const struct run *run, uint64_t k)
{
    uint64_t durable = 0;
    uint64_t last = 0;
    uint64_t before_last = 0;

    for (unsigned i = 0; i < run->plan.count; i++)
        if (run->plan.actions[i] == ACT_FAIL_SYNC || run->plan.actions[i] == ACT_REOPEN ||
            run->plan.actions[i] == ACT_CRASH || run->plan.actions[i] == ACT_FLUSH ||
            run->plan.actions[i] == ACT_COMPACT)
            return 0;
    for (size_t i = 0; i < run->note_count; i++) {
        const struct note *note = &run->notes[i];
        if (note->kind == NOTE_DURABLE)
            durable = raised(durable, note->value);
        if (note->kind != NOTE_ISSUED || note->value > k)
            continue;
        before_last = last;
        last = durable;
    }
    return before_last;
}

void run_poll(struct run *run)
{
    uint64_t durable;

    if (run->db == NULL)
        return;
    durable = varve_durable_seq(run->db);
    if (durable > run_expect(run, UINT64_MAX).at_least)
        run_note(run, NOTE_DURABLE, durable);
}

/* ---- open, close ---- */

static void run_on_durable(void *arg, uint64_t seq, int failed)
{
    struct run *run = arg;

    (void)failed;
    if (run->db != NULL) /* not the one that a crash left behind */
        run_note(run, NOTE_DURABLE, seq);
}

static void run_on_log(void *arg, int level, const char *line)
{
    (void)arg;
    printf("    log %d: %s\n", level, line);
}

int run_open_on(struct sim_env *sim, struct step_executor *stepper, enum varve_durability mode,
                struct run *run, struct varve_db **db, struct varve_err *err)
{
    struct varve_options options = {
        .env = sim_as_env(sim),
        .executor = step_as_executor(stepper),
        .durability = mode,
        .memtable_size_bytes = MEMTABLE_BYTES,
        .memtables_max = MEMTABLES_MAX,
        .block_size_bytes = BLOCK_BYTES,
        .segment_size_bytes = SEGMENT_BYTES,
        .block_cache_size_bytes = CACHE_BYTES,
        .min_free_bytes = VARVE_NO_RESERVE,
        .reserve_size_bytes = VARVE_NO_RESERVE,
        .wal_size_bytes = WAL_SIZE_BYTES,
        .wal_pool_size = WAL_POOL_FILES,
        .count_group = model_group,
        .arg = run,
    };

    if (run != NULL) {
        options.on_durable = run_on_durable;
        options.on_log = run->plan.verbose ? run_on_log : NULL;
    }
    return varve_open(RUN_DIR, &options, db, err);
}

void run_open(struct run *run)
{
    struct varve_err err = {0};
    struct varve_stats stats;

    if (run_open_on(run->sim, run->stepper, run->plan.mode, run, &run->db, &err) != 0) {
        run_fail(run, "open: %s", err.text);
        return;
    }
    run->mode = run->plan.mode;
    varve_stats(run->db, &stats);
    if (stats.seq_visible != run->model.count)
        run_fail(run, "after a clean close k = %" PRIu64 " instead of %" PRIu64, stats.seq_visible,
                 run->model.count);
    run_poll(run);
    run_compare(run);
}

void run_close(struct run *run)
{
    struct varve_err err = {0};
    uint64_t clock_ms = varve_now_ms(run->db);

    run_release_snapshots(run, run->db);
    if (varve_close(run->db, &err) != 0)
        run_fail(run, "close: %s", err.text);
    run->db = NULL;
    run_note(run, NOTE_DURABLE, run->model.count);
    run_note(run, NOTE_CLOSED, clock_ms);
}

void run_compare(struct run *run)
{
    char why[RUN_WHY_BYTES - 64];
    uint64_t k = run->model.count;
    unsigned flags = MODEL_CHECK_COUNTS;
    struct varve_stats stats;

    if (run_failed(run))
        return;
    if (varve_writable(run->db, NULL) != 0 && run->mode == VARVE_ALWAYS) {
        k = varve_durable_seq(run->db); /* what is not durable is not shown */
        flags = 0;
    }
    varve_stats(run->db, &stats);
    if (stats.seq_visible != run->model.count)
        run_fail(run, "operation %" PRIu64 " is visible, %" PRIu64 " are committed",
                 stats.seq_visible, run->model.count);
    if (model_compare(&run->model, k, run->db, flags, NULL, why, sizeof(why)) != 0)
        run_fail(run, "before any crash, of %" PRIu64 " operations: %s", k, why);
    for (int i = 0; i < RUN_SNAPSHOTS_MAX; i++) {
        const struct run_snapshot *held = &run->snapshots[i];
        if (held->handle != NULL &&
            model_compare(&run->model, held->k, run->db, 0, held->handle, why, sizeof(why)) != 0)
            run_fail(run, "in a snapshot at %" PRIu64 ": %s", held->k, why);
    }
}

void run_release_snapshots(struct run *run, struct varve_db *db)
{
    for (int i = 0; i < RUN_SNAPSHOTS_MAX; i++) {
        varve_snapshot_release(db, run->snapshots[i].handle);
        run->snapshots[i].handle = NULL;
    }
}

void run_flush(struct run *run, int compact)
{
    struct varve_err err = {0};
    int rc = 0;

    for (int tries = 0; !run_failed(run) && tries < 2; tries++) {
        rc = compact ? varve_compact(run->db, &err) : varve_flush(run->db, &err);
        if (rc == 0 || varve_writable(run->db, NULL) == 0)
            break;
        run_heal(run); /* a log that failed may refuse it */
    }
    if (rc != 0 && !run_failed(run))
        run_fail(run, "%s: %s", compact ? "compact" : "flush", err.text);
    if (rc == 0)
        run_note(run, NOTE_DURABLE, run->model.count); /* it lies in segments that are named */
    run_poll(run);
}

/* ---- jobs and time ---- */

void run_all_jobs(struct run *run)
{
    run->in_step = 1;
    step_run_all(run->stepper, JOBS_MAX);
    run->in_step = 0;
    run_poll(run);
}

int run_one_class(struct run *run, enum varve_job_class job_class)
{
    run->in_step = 1;
    int ran = step_run_class(run->stepper, job_class);
    run->in_step = 0;
    run_poll(run);
    return ran;
}

void run_turns(struct run *run)
{
    switch (rng_below(&run->rng, 8)) {
    case 0: break;
    case 1: run_one_class(run, VARVE_JOB_FLUSH); break;
    case 2: run_one_class(run, VARVE_JOB_COMPACTION); break;
    case 3:
        run->in_step = 1;
        step_run_one(run->stepper);
        run->in_step = 0;
        run_poll(run);
        break;
    case 4: run_one_class(run, VARVE_JOB_SYNC); break;
    case 5: run_one_class(run, VARVE_JOB_MAINTENANCE); break;
    default: run_all_jobs(run); break;
    }
}

void run_pass(struct run *run, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        sim_clock_advance_us(run->sim, 100000);
        varve_tick(run->db);
        run_poll(run);
    }
}

/* The writer's turn while a job syncs. */
static void run_on_sync(void *arg)
{
    struct run *run = arg;

    if (!run->in_step || run->in_turn || run->model.pending > 0 || rng_below(&run->rng, 4) != 0)
        return;
    struct model_op put = run_draw_put(run, 20);
    run->in_turn = 1;
    switch (rng_below(&run->rng, 4)) {
    case 0: (void)run_try_write(run, &put, 1, 1); break;
    case 1:
        (void)run_try_write(run, &put, 1, 1);
        put = run_draw_put(run, 1000);
        (void)run_try_write(run, &put, 1, 1);
        break;
    case 2: run_pass(run, 5); break;
    default: /* a slow disk: what is written now has to wait */
        (void)run_try_write(run, &put, 1, 1);
        run_pass(run, 18);
        (void)run_try_write(run, &put, 1, 1);
        run_pass(run, 4);
        (void)run_try_write(run, &put, 1, 1);
        break;
    }
    run->in_turn = 0;
}

void run_heal(struct run *run)
{
    for (int i = 0; i < HEAL_STEPS_MAX && varve_writable(run->db, NULL) != 0; i++) {
        run_pass(run, 1);
        if (rng_below(&run->rng, 2) == 0)
            run_all_jobs(run);
    }
    if (varve_writable(run->db, NULL) != 0)
        run_fail(run, "the log does not heal within %d ms", HEAL_STEPS_MAX * 100);
    run_poll(run);
}

/* ---- writing ---- */

struct model_op run_draw_put(struct run *run, size_t value_len)
{
    struct model_op op = {
        .kind = MODEL_PUT,
        .key = (unsigned)rng_below(&run->rng, MODEL_KEYS),
        .value_len = value_len,
        .value_seed = rng_next(&run->rng) | 1,
    };

    if (rng_below(&run->rng, 4) == 0)
        op.expire_ms = varve_now_ms(run->db) + 700;
    if (rng_below(&run->rng, 8) == 0)
        op.value_seed = 0;
    return op;
}

static void run_committed(struct run *run, uint64_t seq)
{
    run_note(run, NOTE_COMMITTED, seq);
    model_commit(&run->model);
    if (varve_ack_seq(run->db, seq) != 0 && run->mode == VARVE_NO)
        run_fail(run, "in mode no the acknowledgement of %" PRIu64 " must not wait", seq);
    else if (run->mode == VARVE_EVERYSEC && varve_ack_seq(run->db, seq) == 0)
        run_note(run, NOTE_ACKED, seq);
    run_poll(run);
}

int run_try_write(struct run *run, const struct model_op *ops, unsigned count, unsigned split)
{
    struct varve_err err = {0};
    uint64_t last = run->model.count + count;
    uint64_t seq = 0;
    size_t notes_before = run->note_count;
    int rc = 0;

    for (unsigned i = 0; i < count; i++)
        model_stage(&run->model, run->batches[i < split ? 0 : 1], ops[i]);
    for (int b = 0; rc == 0 && b < 2; b++)
        if (varve_batch_count(run->batches[b]) > 0)
            rc = varve_group_add(run->db, run->batches[b], &seq, &err);
    if (rc == 0) {
        run_note(run, NOTE_ISSUED, last);
        rc = varve_group_commit(run->db, &err);
    }
    if (rc == 0 && seq != last)
        run_fail(run, "the last operation got sequence %" PRIu64 " instead of %" PRIu64, seq, last);
    if (rc == 0) {
        run_committed(run, last);
    } else {
        run->note_count = notes_before;
        model_drop_pending(&run->model);
        if (rc != VARVE_EREADONLY || varve_writable(run->db, NULL) == 0)
            run_fail(run, "write %" PRIu64 ": %s", last, err.text);
    }
    varve_batch_clear(run->batches[0]);
    varve_batch_clear(run->batches[1]);
    return rc == 0;
}

void run_write(struct run *run, const struct model_op *ops, unsigned count, unsigned split)
{
    if (run_failed(run) || run_try_write(run, ops, count, split))
        return;
    run_heal(run);
    if (!run_failed(run) && !run_try_write(run, ops, count, split))
        run_fail(run, "a healed log refuses a write");
}

/* ---- life ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
    struct rng rng = {.state = a * 0x9e3779b97f4a7c15u ^ b};

    return rng_next(&rng);
}

/* Some data to begin with. */
static void run_prelude(struct run *run)
{
    struct model_op ops[4];

    for (unsigned i = 0; i < COUNT_OF(ops); i++) {
        ops[i] = run_draw_put(run, 10 + 7 * i);
        ops[i].key = 2 * i;
        ops[i].expire_ms = i == 3 ? varve_now_ms(run->db) + 1500 : 0;
    }
    run_write(run, ops, 2, 2);
    run_turns(run);
    run_write(run, ops + 2, 1, 1);
    run_write(run, ops + 3, 1, 1);
    run_all_jobs(run);
}

void run_begin(struct run *run, const struct plan *plan)
{
    uint64_t seed = mix(plan->seed, (uint64_t)plan->mode);

    *run = (struct run){.plan = *plan};
    run->sim = sim_env_create(plan->seed);
    run->stepper = step_executor_create(seed);
    for (int b = 0; b < 2; b++) {
        run->batches[b] = varve_batch_create();
        CHECK(run->batches[b] != NULL);
    }
    rng_init(&run->rng, seed);
    sim_on_sync(run->sim, run_on_sync, run);
    run_open(run);
    if (run_failed(run))
        return;
    run_prelude(run);
    for (unsigned i = 0; i < plan->count && !run_failed(run); i++) {
        seed = mix(seed, plan->actions[i] + 1u);
        rng_init(&run->rng, seed);
        run->cut_from = sim_event_count(run->sim);
        if (plan->verbose)
            printf("    event %" PRIu64 ": %s\n", run->cut_from, action_name(plan->actions[i]));
        run_act(run, plan->actions[i]);
        sim_on_sync(run->sim, run_on_sync, run); /* it may be another disk now */
    }
    if (plan->settle && !run_failed(run)) {
        run->cut_from = 0;
        run_settle(run);
    }
}

void run_end(struct run *run)
{
    run_release_snapshots(run, run->db);
    (void)varve_close(run->db, NULL);
    step_drop_all(run->stepper);
    step_executor_destroy(run->stepper);
    sim_env_destroy(run->sim);
    varve_batch_destroy(run->batches[0]);
    varve_batch_destroy(run->batches[1]);
    mem_free(run->notes);
    *run = (struct run){0};
}
