/* What a sequence is made of. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "run.h"

#define SMALL_MAX_BYTES 60
#define LARGE_BYTES 1300
#define LONGER_THAN_A_FILE_BYTES 17000 /* and long enough to be borrowed by its batch */

const char *action_name(enum action action)
{
    static const char *const names[ACTION_COUNT] = {
        [ACT_PUT] = "put",           [ACT_PUT_LARGE] = "put-large",   [ACT_DELETE] = "delete",
        [ACT_BATCH] = "batch",       [ACT_RANGE] = "range",           [ACT_ROTATE] = "rotate",
        [ACT_TIME] = "time",         [ACT_FAIL_SYNC] = "fail-sync",   [ACT_REOPEN] = "reopen",
        [ACT_CRASH] = "crash",       [ACT_FLUSH] = "flush",           [ACT_COMPACT] = "compact",
        [ACT_SNAPSHOT] = "snapshot", [ACT_DURABILITY] = "durability",
    };

    return action < ACTION_COUNT ? names[action] : "unknown";
}

static void write_put(struct run *run, size_t value_len)
{
    struct model_op op = run_draw_put(run, value_len);

    run_write(run, &op, 1, 1);
    run_turns(run);
}

static size_t small_len(struct run *run)
{
    return rng_below(&run->rng, SMALL_MAX_BYTES);
}

static struct model_op draw_range(struct run *run)
{
    unsigned key = (unsigned)rng_below(&run->rng, MODEL_KEYS);

    return (struct model_op){.kind = MODEL_DELETE_RANGE,
                             .key = key,
                             .end = key + 1 + (unsigned)rng_below(&run->rng, MODEL_KEYS - key)};
}

static struct model_op draw_delete(struct run *run)
{
    return (struct model_op){.kind = MODEL_DELETE,
                             .key = (unsigned)rng_below(&run->rng, MODEL_KEYS)};
}

/* A put, something else, and the first key once more. */
static void act_batch(struct run *run)
{
    struct model_op ops[3];
    unsigned split = rng_below(&run->rng, 2) == 0 ? 3 : 2;

    ops[0] = run_draw_put(run, small_len(run));
    ops[1] = rng_below(&run->rng, 3) == 0 ? draw_range(run) : run_draw_put(run, 3 * small_len(run));
    ops[2] = rng_below(&run->rng, 3) == 0 ? draw_delete(run) : run_draw_put(run, small_len(run));
    ops[2].key = ops[0].key;
    run_write(run, ops, 3, split);
    run_turns(run);
}

static void act_rotate(struct run *run)
{
    run_all_jobs(run);
    for (int i = 0; i < 3; i++)
        write_put(run, 1500);
    write_put(run, small_len(run));
}

static void act_time(struct run *run)
{
    switch (rng_below(&run->rng, 3)) {
    case 0:
        for (int i = 0; i < 11; i++) {
            run_pass(run, 1);
            run_turns(run);
        }
        break;
    case 1: /* the disk does nothing for 2.6 s */
        for (int i = 0; i < 5; i++) {
            struct model_op op = run_draw_put(run, small_len(run));
            run_pass(run, 5);
            run_write(run, &op, 1, 1);
        }
        run_pass(run, 1);
        run_turns(run);
        break;
    default: /* long enough to lie still behind a sync: a promise record */
        for (int i = 0; i < 5; i++) {
            run_pass(run, 5);
            run_all_jobs(run);
        }
        break;
    }
}

/* ---- a sync that fails ---- */

/* Lets the jobs that want a sync meet the failure. */
static void meet_failure(struct run *run)
{
    if (run->mode != VARVE_ALWAYS)
        run_pass(run, 9);
    if (rng_below(&run->rng, 2) == 0)
        (void)run_one_class(run, VARVE_JOB_SYNC);
    else
        run_all_jobs(run);
}

/* A group that is open while the sync fails must be refused as a whole at its commit. */
static void fail_under_open_group(struct run *run)
{
    struct varve_err err = {0};
    struct model_op op = run_draw_put(run, small_len(run));
    uint64_t seq;

    model_stage(&run->model, run->batches[0], op);
    int rc = varve_group_add(run->db, run->batches[0], &seq, &err);
    if (rc == 0) {
        meet_failure(run);
        for (uint64_t i = rng_below(&run->rng, 2) * 8; i > 0; i--) { /* long enough to heal */
            run_pass(run, 1);
            run_all_jobs(run);
        }
        int writable = varve_writable(run->db, NULL) == 0;
        if (writable)
            run_note(run, NOTE_ISSUED, seq);
        rc = varve_group_commit(run->db, &err);
        if (writable != (rc == 0))
            run_fail(run, "commit of %" PRIu64 " returned %d where the log %s: %s", seq, rc,
                     writable ? "is sound" : "has failed", err.text);
    }
    if (rc == 0) {
        run_note(run, NOTE_COMMITTED, seq);
        model_commit(&run->model);
        if (run->mode == VARVE_EVERYSEC && varve_ack_seq(run->db, seq) == 0)
            run_note(run, NOTE_ACKED, seq);
    } else {
        model_drop_pending(&run->model);
    }
    varve_batch_clear(run->batches[0]);
}

static void act_fail_sync(struct run *run)
{
    uint64_t variant = rng_next(&run->rng);
    struct model_op op = run_draw_put(run, small_len(run));

    run_write(run, &op, 1, 1);
    sim_fail_sync(run->sim, variant & 1 ? EIO : ENOSPC);
    if (variant & 2)
        fail_under_open_group(run);
    else
        meet_failure(run);
    run_compare(run);
    if (variant & 4) { /* the first try to heal fails too */
        sim_fail_sync(run->sim, EIO);
        run_pass(run, 1);
        run_all_jobs(run);
    }
    sim_fail_sync(run->sim, 0);
    if ((variant & 24) != 0 && !run_failed(run)) { /* else the next action finds it failed */
        run_heal(run);
        run_compare(run);
    }
}

/* ---- segments ---- */

/* As many large values as fill a memtable: its flush is a job like others, and runs beside the writer. */
static void fill_memtable(struct run *run)
{
    for (int i = 0; i < 5; i++)
        write_put(run, LONGER_THAN_A_FILE_BYTES);
}

static void act_flush(struct run *run)
{
    if (rng_below(&run->rng, 4) == 0)
        fill_memtable(run);
    else
        run_flush(run, 0);
    run_turns(run);
    run_compare(run);
}

/* Sometimes with something to merge. */
static void act_compact(struct run *run)
{
    if (rng_below(&run->rng, 2) == 0) {
        write_put(run, small_len(run));
        run_flush(run, 0);
        write_put(run, LARGE_BYTES);
    }
    if (!run_failed(run))
        run_flush(run, 1);
    run_compare(run);
}

static void act_snapshot(struct run *run)
{
    struct run_snapshot *held = &run->snapshots[rng_below(&run->rng, RUN_SNAPSHOTS_MAX)];

    if (run_failed(run))
        return;
    if (varve_writable(run->db, NULL) != 0)
        run_heal(
            run); /* else it holds the last durable state, or the newest: a matter of the mode */
    varve_snapshot_release(run->db, held->handle);
    held->handle = varve_snapshot_acquire(run->db);
    CHECK(held->handle != NULL);
    held->k = varve_snapshot_seq(held->handle);
    if (held->k != run->model.count)
        run_fail(run, "a snapshot sees %" PRIu64 " operations of %" PRIu64, held->k,
                 run->model.count);
    struct model_op op = draw_delete(run);
    run_write(run, &op, 1, 1);
    run_turns(run);
}

static void act_durability(struct run *run)
{
    run->mode = (enum varve_durability)((run->mode + 1 + rng_below(&run->rng, 2)) % 3);
    varve_set_durability(run->db, run->mode);
    write_put(run, small_len(run));
    run_pass(run, (unsigned)rng_below(&run->rng, 3));
    run_turns(run);
    write_put(run, small_len(run));
}

/* ---- reopen, crash ---- */

static void act_reopen(struct run *run)
{
    run_close(run);
    if (rng_below(&run->rng, 4) == 0)
        sim_clock_set_real_ms(run->sim, SIM_CLOCK_START_REAL_MS - 3600000);
    if (!run_failed(run))
        run_open(run);
}

/* What the run knows at its first moment after a crash that left S_k. */
static void renote(struct run *run, struct expect before, uint64_t k, uint64_t at_least)
{
    size_t kept = 0;

    for (size_t i = 0; i < run->note_count; i++) {
        struct note note = run->notes[i];
        if (note.kind != NOTE_ACKED || note.value > k)
            continue;
        note.at = 0;
        run->notes[kept++] = note;
    }
    run->note_count = kept;
    uint64_t opened_at = sim_event_count(run->sim);
    run_note(run, NOTE_DURABLE, at_least);
    run_note(run, NOTE_ISSUED, k);
    run_note(run, NOTE_COMMITTED, k);
    if (before.clock_floor_ms != 0)
        run_note(run, NOTE_CLOSED, before.clock_floor_ms);
    if (!before.vouched)
        run_note(run, NOTE_ISSUED, k);
    for (size_t i = kept; i < run->note_count; i++)
        run->notes[i].at = 0;
    run_note(run, NOTE_DURABLE, k);
    CHECK(run->notes[run->note_count - 1].at == opened_at);
}

/* The process or the machine dies; what is left is opened and goes on. */
static void act_crash(struct run *run)
{
    static const enum sim_policy policies[] = {SIM_KILL, SIM_RANDOM, SIM_ALL_LOST, SIM_RANDOM};
    enum sim_policy policy = policies[rng_below(&run->rng, COUNT_OF(policies))];
    uint64_t upto = sim_event_count(run->sim);
    struct expect expect = run_expect(run, upto);
    struct sim_env *image = sim_image(run->sim, upto, policy, rng_next(&run->rng));
    struct varve_db *dead = run->db;
    struct varve_stats stats;
    struct varve_err err = {0};
    char why[RUN_WHY_BYTES - 128];

    run->db = NULL;
    sim_on_sync(run->sim, NULL, NULL);
    run_release_snapshots(run, dead);
    (void)varve_close(dead, NULL); /* only its memory matters now */
    step_drop_all(run->stepper);
    sim_env_destroy(run->sim);
    run->sim = image;
    run->cut_from = 0;
    if (run->plan.verbose)
        printf("    crash, policy %s: k in [%" PRIu64 ", %" PRIu64 "]\n", sim_policy_name(policy),
               policy == SIM_KILL ? expect.at_least_killed : expect.at_least, expect.at_most);
    if (run_open_on(image, run->stepper, run->plan.mode, run, &run->db, &err) != 0) {
        run_fail(run, "open after a crash (%s): %s", sim_policy_name(policy), err.text);
        return;
    }
    run->mode = run->plan.mode;
    varve_stats(run->db, &stats);
    uint64_t k = stats.seq_visible;
    if (k < (policy == SIM_KILL ? expect.at_least_killed : expect.at_least) || k > expect.at_most ||
        !model_ends_record(&run->model, k)) {
        run_fail(run, "after a crash (%s) k = %" PRIu64, sim_policy_name(policy), k);
        return;
    }
    if (run_check_acks(run, upto, k, why, sizeof(why)) != 0)
        run_fail(run, "after a crash (%s): %s", sim_policy_name(policy), why);
    model_cut(&run->model, k);
    renote(run, expect, k, policy == SIM_KILL ? expect.at_least : k);
    run_compare(run);
}

void run_act(struct run *run, enum action action)
{
    struct model_op op;

    switch (action) {
    case ACT_PUT: write_put(run, small_len(run)); break;
    case ACT_PUT_LARGE:
        write_put(run, rng_below(&run->rng, 8) == 0 ? LONGER_THAN_A_FILE_BYTES : LARGE_BYTES);
        break;
    case ACT_DELETE:
        op = draw_delete(run);
        run_write(run, &op, 1, 1);
        run_turns(run);
        break;
    case ACT_BATCH: act_batch(run); break;
    case ACT_RANGE:
        op = draw_range(run);
        run_write(run, &op, 1, 1);
        run_turns(run);
        break;
    case ACT_ROTATE: act_rotate(run); break;
    case ACT_TIME: act_time(run); break;
    case ACT_FAIL_SYNC: act_fail_sync(run); break;
    case ACT_REOPEN: act_reopen(run); break;
    case ACT_CRASH: act_crash(run); break;
    case ACT_FLUSH: act_flush(run); break;
    case ACT_COMPACT: act_compact(run); break;
    case ACT_SNAPSHOT: act_snapshot(run); break;
    case ACT_DURABILITY: act_durability(run); break;
    case ACTION_COUNT: break;
    }
}

void run_settle(struct run *run)
{
    run_all_jobs(run);
    write_put(run, small_len(run));
    run_all_jobs(run);
    write_put(run, LARGE_BYTES);
    for (int i = 0; i < 5; i++) {
        run_pass(run, 5);
        run_all_jobs(run);
    }
    write_put(run, small_len(run));
    if (!run_failed(run))
        act_reopen(run);
    if (!run_failed(run))
        write_put(run, small_len(run));
    if (!run_failed(run))
        run_all_jobs(run);
    if (!run_failed(run))
        act_compact(run);
    if (!run_failed(run))
        act_reopen(run);
}
