#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "bed.h"
#include "lsm/db.h"
#include "lsm/picker.h"
#include "lsm/stall.h"

/* Whenever writes are held back or refused, the job that ends it is queued: else they would be held for
 * ever. Looked at after each single job of runs that a seed draws, in which now this class of jobs falls
 * behind and now that, and files fail. */

#define SEEDS 12
#define STEPS 2500
#define TICK_US ((uint64_t)100000)
#define SLOW_TICK_US ((uint64_t)500000) /* after a failure the compactor is looked at so often */

struct run {
    struct bed bed;
    struct rng rng;
    uint64_t retry_us; /* of the last failure that was seen */
    uint64_t seen[VARVE_STALL_CAUSE_COUNT];
    uint64_t refused;
    struct varve_snapshot *snapshot;
};

static uint64_t now_us(struct run *run)
{
    return run->bed.db->env->ops->now_mono_us(run->bed.db->env);
}

static int queued(struct run *run, enum varve_job_class job_class)
{
    return step_waiting(run->bed.stepper, job_class) > 0;
}

/* A memtable waits: it is built, or the log is synced for it, or it is installed, or a failure has its
 * pause, or the log heals. */
static int flush_goes_on(struct run *run)
{
    const struct flusher *flusher = &run->bed.db->flusher;

    if (now_us(run) < flusher->retry_us || varve_writable(run->bed.db, NULL) != 0)
        return 1;
    switch (flusher->state) {
    case FLUSH_IDLE: return 0;
    case FLUSH_BUILDING: return queued(run, VARVE_JOB_FLUSH);
    case FLUSH_BUILT: return queued(run, VARVE_JOB_SYNC);
    case FLUSH_INSTALLING: return queued(run, VARVE_JOB_MAINTENANCE);
    }
    return 0;
}

static int compaction_goes_on(struct run *run)
{
    const struct compactor *compactor = &run->bed.db->compactor;

    if (now_us(run) < compactor->retry_us + SLOW_TICK_US && compactor->retry_us > 0)
        return 1;
    return compactor->running &&
           (queued(run, VARVE_JOB_COMPACTION) || queued(run, VARVE_JOB_MAINTENANCE));
}

static void check_goes_on(struct run *run, enum varve_stall_cause cause)
{
    run->seen[cause]++;
    switch (cause) {
    case VARVE_STALL_MEMTABLES: assert_true(flush_goes_on(run)); break;
    case VARVE_STALL_LEVEL0:
    case VARVE_STALL_SPACE:
    case VARVE_STALL_SEGMENTS: assert_true(compaction_goes_on(run)); break;
    case VARVE_STALL_NONE:
    case VARVE_STALL_CAUSE_COUNT: break;
    }
}

/* Healing ends at the end of one tick, and what waited for it begins with the next. */
static void tick(struct run *run)
{
    varve_tick(run->bed.db);
    varve_tick(run->bed.db);
}

static void look(struct run *run)
{
    tick(run);
    check_goes_on(run, run->bed.db->stall.cause);
}

/* Around what the stall asks for, so that the limits themselves are met. */
static void write_some(struct run *run)
{
    uint8_t value[4096];
    char key[16];
    size_t len = 500 + rng_below(&run->rng, sizeof(value) - 500);

    for (size_t at = 0; at + 8 <= len; at += 8)
        put_u64(value + at, rng_next(&run->rng));
    snprintf(key, sizeof(key), "k%06u", (unsigned)rng_below(&run->rng, 1500));
    struct varve_slice name = varve_slice_str(key);
    struct varve_slice bytes = varve_slice(value, len);
    struct varve_batch *batch = varve_batch_create();
    assert_non_null(batch);
    assert_int_equal(varve_batch_put(batch, &name, 1, &bytes, 1, 0), 0);
    int rc = varve_group_add(run->bed.db, batch, NULL, &run->bed.err);
    if (rc == 0)
        rc = varve_group_commit(run->bed.db, &run->bed.err);
    varve_batch_destroy(batch);
    if (rc == VARVE_WOULD_BLOCK || (rc != 0 && strstr(run->bed.err.text, "memtables are full"))) {
        run->refused++;
        tick(run);
        check_goes_on(run, VARVE_STALL_MEMTABLES);
        return;
    }
    assert_true(rc == 0 || rc == VARVE_EREADONLY || rc == VARVE_EIO || rc == VARVE_ENOSPC);
}

static void fail_something(struct run *run)
{
    static const char *const suffixes[] = {".seg", ".seg", ".wal", NULL};

    fault_env_plan(run->bed.fault,
                   (struct fault_plan){.op = FAULT_ANY,
                                       .nth = 1 + rng_below(&run->rng, 40),
                                       .os_errno = rng_below(&run->rng, 2) == 0 ? EIO : ENOSPC,
                                       .path_suffix = suffixes[rng_below(&run->rng, 4)]});
}

static void change_snapshot(struct run *run)
{
    if (run->snapshot == NULL) {
        run->snapshot = varve_snapshot_acquire(run->bed.db);
        return;
    }
    varve_snapshot_release(run->bed.db, run->snapshot);
    run->snapshot = NULL;
}

/* One class falls behind for a while: it runs `starved` times more rarely than the others. */
static void run_a_job(struct run *run, enum varve_job_class starved)
{
    enum varve_job_class job_class = (enum varve_job_class)rng_below(&run->rng,
                                                                     VARVE_JOB_CLASS_COUNT);

    if (job_class == starved && rng_below(&run->rng, 60) != 0)
        return;
    step_run_class(run->bed.stepper, job_class);
}

static void run_begin(struct run *run, uint64_t seed)
{
    struct varve_options *options = &run->bed.options;

    bed_init(&run->bed, seed);
    rng_init(&run->rng, seed);
    options->durability = (enum varve_durability)rng_below(&run->rng, 3);
    options->memtable_size_bytes = 64 * 1024;
    options->memtables_max = 2 + (uint32_t)rng_below(&run->rng, 5);
    options->segment_size_bytes = rng_below(&run->rng, 2) == 0 ? 16 * 1024 : 1024 * 1024;
    options->segments_max = rng_below(&run->rng, 2) == 0 ? 16 : 4096;
    options->block_cache_size_bytes = 1024 * 1024;
    options->wal_size_bytes = 64 * 1024;
    bed_open_ok(&run->bed);
}

static void run_end(struct run *run)
{
    fault_env_heal(run->bed.fault);
    if (run->snapshot != NULL)
        change_snapshot(run);
    for (int i = 0; i < 100; i++)
        bed_pass_us(&run->bed, TICK_US);
    assert_int_equal(run->bed.db->stall.cause, VARVE_STALL_NONE);
    assert_int_equal(varve_write_delay_us(run->bed.db, NULL), 0);
    assert_int_equal(bed_put(&run->bed, "k", "written"), 0);
    bed_deinit(&run->bed);
}

static void run_steps(struct run *run)
{
    enum varve_job_class starved = VARVE_JOB_CLASS_COUNT;

    for (int i = 0; i < STEPS; i++) {
        if (i % 250 == 0) {
            static const enum varve_job_class behind[] = {
                VARVE_JOB_COMPACTION, VARVE_JOB_FLUSH, VARVE_JOB_CLASS_COUNT,
                VARVE_JOB_COMPACTION, VARVE_JOB_SYNC,  VARVE_JOB_MAINTENANCE};
            starved = behind[rng_below(&run->rng, COUNT_OF(behind))];
        }
        write_some(run);
        for (uint64_t jobs = rng_below(&run->rng, 6); jobs > 0; jobs--) {
            run_a_job(run, starved);
            look(run);
        }
        if (rng_below(&run->rng, 8) == 0) {
            sim_clock_advance_us(run->bed.sim, rng_below(&run->rng, TICK_US));
            look(run);
        }
        if (rng_below(&run->rng, 100) == 0)
            fail_something(run);
        if (rng_below(&run->rng, 60) == 0)
            change_snapshot(run);
    }
}

static void test_engine__what_stalls_is_worked_on(void **state)
{
    static struct run run;
    uint64_t seen[VARVE_STALL_CAUSE_COUNT] = {0};
    uint64_t refused = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        memset(&run, 0, sizeof(run));
        run_begin(&run, seed);
        run_steps(&run);
        run_end(&run);
        refused += run.refused;
        for (int i = 0; i < VARVE_STALL_CAUSE_COUNT; i++)
            seen[i] += run.seen[i];
    }
    print_message("memtables %llu, space %llu, segments %llu, refused %llu\n",
                  (unsigned long long)seen[VARVE_STALL_MEMTABLES],
                  (unsigned long long)seen[VARVE_STALL_SPACE],
                  (unsigned long long)seen[VARVE_STALL_SEGMENTS], (unsigned long long)refused);
    assert_true(seen[VARVE_STALL_MEMTABLES] > 100);
    assert_true(seen[VARVE_STALL_SPACE] > 100);
    assert_true(seen[VARVE_STALL_SEGMENTS] > 100);
    assert_true(refused > 20);
}

/* ---- larger than a test can write: pictures of levels ---- */

#define PICTURES 4000
#define RUNS_MAX 24
#define SEGMENTS_MAX 600
#define PLACES 4096u
#define MB ((uint64_t)1 << 20)

struct picture {
    struct picker_view view;
    struct picker_run runs[RUNS_MAX];
    struct picker_segment segments[SEGMENTS_MAX];
    uint8_t bounds[SEGMENTS_MAX][2][4];
    size_t used;
    uint32_t hiding_quarters; /* of each segment's bytes */
    int deletes;              /* half of the entries are */
};

/* A run of `count` segments side by side in [first, end) of the key space, whose bytes are alike, and of which a part
 * hides something. */
static void picture_add_run(struct picture *picture, uint32_t level, uint64_t no, uint64_t bytes,
                            size_t count, uint32_t first, uint32_t end)
{
    struct picker_run *run = &picture->runs[picture->view.run_count++];

    *run = (struct picker_run){
        .level = level, .no = no, .segments = &picture->segments[picture->used], .count = count};
    for (size_t i = 0; i < count; i++) {
        size_t at = picture->used++;
        uint32_t from = first + (uint32_t)((end - first) * i / count);
        uint32_t to = first + (uint32_t)((end - first) * (i + 1) / count);
        for (int b = 0; b < 4; b++) {
            picture->bounds[at][0][b] = (uint8_t)(from >> (24 - 8 * b));
            picture->bounds[at][1][b] = (uint8_t)(to >> (24 - 8 * b));
        }
        picture->segments[at] = (struct picker_segment){
            .file_no = at + 1,
            .bytes = bytes / count + 1,
            .lower = varve_slice(picture->bounds[at][0], 4),
            .upper = varve_slice(picture->bounds[at][1], 4),
            .seq_min = (uint64_t)(LEVELS_MAX - level) * 1000000 + no * 1000,
            .seq_max = (uint64_t)(LEVELS_MAX - level) * 1000000 + no * 1000 + 999,
            .entries = 1 + bytes / count / 100,
            .deletes = picture->deletes ? bytes / count / 200 : 0,
            .hiding_bytes = bytes / count / 4 * picture->hiding_quarters,
        };
    }
}

static void picture_draw(struct picture *picture, struct rng *rng)
{
    uint64_t last_bytes = rng_below(rng, 20) == 0 ? 0 : (MB << rng_below(rng, 15));
    size_t runs = rng_below(rng, RUNS_MAX - 4);
    static const uint32_t parts[] = {1, 4, 20, 100};
    int wide = rng_below(rng, 4) == 0;

    memset(picture, 0, sizeof(*picture));
    picture->hiding_quarters = (uint32_t)rng_below(rng, 5);
    picture->deletes = rng_below(rng, 4) == 0;
    picture->view = (struct picker_view){
        .runs = picture->runs,
        .oldest_snapshot_seq = UINT64_MAX,
        .flush_bytes = MB << rng_below(rng, 7),
        .segment_size_bytes = MB << rng_below(rng, 7),
        .segments_max = rng_below(rng, 3) == 0 ? 4096 : 16 + (uint32_t)rng_below(rng, 300),
    };
    for (size_t r = runs; r-- > 0;) { /* newest first; many are narrow */
        uint32_t part = wide ? 1 : parts[rng_below(rng, COUNT_OF(parts))];
        uint32_t width = 1 + (uint32_t)rng_below(rng, PLACES - 32) / part;
        uint32_t first = (uint32_t)rng_below(rng, PLACES - width - 20);
        picture_add_run(picture, 0, r + 1, picture->view.flush_bytes / 8 << rng_below(rng, 5),
                        1 + rng_below(rng, 16), first, first + width + 16);
    }
    for (uint32_t level = LEVELS_MAX - 3; level < LEVELS_MAX; level++) {
        uint64_t bytes = level == LEVELS_MAX - 1  ? last_bytes
                         : rng_below(rng, 2) == 0 ? 0
                                                  : last_bytes / (1 + rng_below(rng, 40));
        if (bytes > 0)
            picture_add_run(picture, level, 0, bytes, 1 + rng_below(rng, 60), 0, PLACES);
    }
}

static struct stall_load picture_load(const struct picture *picture)
{
    struct picker_debt debt;

    picker_debt(&picture->view, &debt);
    return (struct stall_load){
        .level0_depth = debt.level0_depth,
        .upper_bytes = debt.upper_dead_bytes,
        .upper_target_bytes = debt.upper_target_bytes,
        .segments = (uint32_t)picture->used,
        .segments_max = picture->view.segments_max,
    };
}

/* What a stall waits for is something that the picker would do. */
static void test_picker__what_stalls_is_picked(void **state)
{
    static struct picture picture;
    uint64_t seen[VARVE_STALL_CAUSE_COUNT] = {0};
    struct rng rng;

    (void)state;
    rng_init(&rng, 20);
    for (int i = 0; i < PICTURES; i++) {
        enum varve_stall_cause cause;
        struct pick pick;
        picture_draw(&picture, &rng);
        struct stall_load load = picture_load(&picture);
        if (stall_pressure(&load, &cause) == 0)
            continue;
        seen[cause]++;
        assert_int_equal(picker_pick(&picture.view, &pick), 0);
        if (pick.kind == PICK_NOTHING)
            print_message("picture %d: nothing is picked, and writes wait for %s\n", i,
                          varve_stall_name(cause));
        assert_int_not_equal(pick.kind, PICK_NOTHING);
        pick_deinit(&pick);
    }
    print_message("level0 %llu, space %llu, segments %llu\n",
                  (unsigned long long)seen[VARVE_STALL_LEVEL0],
                  (unsigned long long)seen[VARVE_STALL_SPACE],
                  (unsigned long long)seen[VARVE_STALL_SEGMENTS]);
    assert_true(seen[VARVE_STALL_LEVEL0] > 20);
    assert_true(seen[VARVE_STALL_SPACE] > 50);
    assert_true(seen[VARVE_STALL_SEGMENTS] > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine__what_stalls_is_worked_on),
        cmocka_unit_test(test_picker__what_stalls_is_picked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
