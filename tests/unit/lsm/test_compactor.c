#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "bed.h"
#include "lsm/compactor_view.h"
#include "lsm/db.h"

#define SECOND_US ((uint64_t)1000000)
#define LAST (LEVELS_MAX - 1)
#define KEYS 20

static size_t live_segments(struct bed *bed)
{
    struct varve_stats stats = bed_stats(bed);
    size_t count = 0;

    for (int i = 0; i < LEVELS_MAX; i++)
        count += stats.levels[i].segments;
    return count;
}

/* A run in the last level, one in level 0 over it, and nobody looked at them yet. */
static void two_runs(struct bed *bed, uint64_t seed)
{
    bed_init(bed, seed);
    bed_open_ok(bed);
    bed_fill(bed, "k", KEYS, 1000);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    assert_int_equal(bed_stats(bed).levels[LAST].segments, 1);
    bed_fill(bed, "k", KEYS, 900);
    bed_flush_only(bed);
    assert_true(bed_stats(bed).levels[0].segments > 0);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_COMPACTION), 1);
    bed_run_class(bed, VARVE_JOB_RECLAIM);
}

static void check_all(struct bed *bed)
{
    struct varve_pin pin;

    for (int i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%06d", i);
        assert_int_equal(varve_get(bed->db, NULL, varve_slice_str(key), &pin, &bed->err), 0);
        assert_int_equal(pin.value.len, 900);
        varve_pin_release(&pin);
    }
    assert_int_equal(bed_count(bed, "k"), KEYS);
}

/* Until something failed or all is done. */
static void check_settles(struct bed *bed, uint64_t nth)
{
    for (int i = 0; i < 30; i++)
        bed_pass_us(bed, SECOND_US / 10);
    check_all(bed);
    assert_int_equal(bed_stats(bed).levels[0].segments, 0);
    assert_int_equal(bed_stats(bed).levels[LAST].runs, 1);
    assert_int_equal(bed_files_with(bed, ".seg"), live_segments(bed));
    bed_crash(bed, SIM_ALL_LOST, nth);
    bed_open_ok(bed);
    check_all(bed);
    bed_run(bed);
    assert_int_equal(bed_files_with(bed, ".seg"), live_segments(bed));
}

/* What a merge will have relieved counts as it goes on, and what is in memory as what its flush will bring. */
static void test_compactor__relieves_by_and_by(void **state)
{
    struct stall_load load;
    struct bed bed;

    (void)state;
    two_runs(&bed, 5);
    compactor_load(&bed.db->compactor, &load);
    uint64_t dead = load.upper_bytes;
    assert_true(dead > 0);
    assert_int_equal(load.relieved_bytes, 0);
    assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_COMPACTION), 1); /* the plan */
    compactor_load(&bed.db->compactor, &load);
    assert_int_equal(load.relieved_bytes, 0);
    atomic_store(&bed.db->compactor.took_entries, KEYS / 2);
    compactor_load(&bed.db->compactor, &load);
    assert_in_range(load.relieved_bytes, dead / 4 - 1, dead / 4 + 1);
    atomic_store(&bed.db->compactor.took_entries, 0);
    assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_COMPACTION), 1);
    compactor_load(&bed.db->compactor, &load);
    assert_int_equal(load.upper_bytes, dead);
    assert_int_equal(load.relieved_bytes, dead);
    bed_fill(&bed, "k", KEYS, 900);
    db_refresh_load(bed.db);
    assert_in_range(bed.db->stall.load.memtables_dead_bytes, 1,
                    bed.db->stall.load.flush_dead_bytes);
    bed_run_class(&bed, VARVE_JOB_MAINTENANCE);
    compactor_load(&bed.db->compactor, &load);
    assert_int_equal(load.relieved_bytes, 0);
    assert_int_equal(bed.db->compactor.merging_relieved_bytes, 0); /* from when the debt says so */
    assert_int_equal(load.upper_bytes, 0);
    check_settles(&bed, 5);
    bed_deinit(&bed);
}

/* Runs that all reach over all keys: their segments begin alike, and yet the parts share what is to be done. */
static void test_parts__are_of_like_size(void **state)
{
    enum { JOBS = 4, RUNS = 12, RUN_KEYS = 200 };
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.memtable_size_bytes = 1024 * 1024;
    bed->options.segment_size_bytes = 256 * 1024;
    bed->options.compaction_jobs = JOBS;
    bed_open_ok(bed);
    for (int i = 0; i < RUNS; i++) {
        bed_fill(bed, "k", RUN_KEYS, 1000);
        bed_flush_only(bed);
    }
    assert_int_equal(bed_stats(bed).levels[0].segments, RUNS);
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_COMPACTION), 1); /* the plan */
    uint64_t all = bed->db->compactor.merging_entries;
    assert_int_equal(all, RUNS * RUN_KEYS);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_COMPACTION), JOBS);
    for (uint64_t before = 0, i = 0; i < JOBS; i++) {
        assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_COMPACTION), 1);
        uint64_t took = atomic_load(&bed->db->compactor.took_entries) - before;
        assert_in_range(took, all / JOBS * 3 / 4, all / JOBS * 5 / 4);
        before += took;
    }
    bed_run(bed);
    assert_int_equal(bed_count(bed, "k"), RUN_KEYS);
}

/* Keys that are all new, each run's between the others': as much comes out as goes in, in segments of like size. */
static void test_parts__end_with_no_small_segment(void **state)
{
    enum { JOBS = 3, RUNS = 12, RUN_KEYS = 160, SEGMENT = 128 * 1024 };
    struct bed *bed = *state;
    uint8_t value[500];
    struct rng rng;

    rng_init(&rng, 7);
    bed_close_ok(bed);
    bed->options.memtable_size_bytes = 1024 * 1024;
    bed->options.segment_size_bytes = SEGMENT;
    bed->options.compaction_jobs = JOBS;
    bed_open_ok(bed);
    for (int run = 0; run < RUNS; run++) {
        for (int i = 0; i < RUN_KEYS; i++) {
            char key[16];
            snprintf(key, sizeof(key), "k%06d", i * RUNS + run);
            for (size_t at = 0; at < sizeof(value); at++)
                value[at] = (uint8_t)rng_next(&rng);
            assert_int_equal(bed_put_bytes(bed, key, varve_slice(value, sizeof(value)), 0), 0);
        }
        bed_flush_only(bed);
    }
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    struct view *view = view_acquire(&bed->db->view);
    const struct sorted_run *run = &view->version->runs[0];
    assert_int_equal(view->version->run_count, 1);
    uint64_t all = 0;
    for (size_t i = 0; i < run->count; i++)
        all += segment_size_bytes(run->segments[i]);
    assert_in_range(run->count, JOBS, all / SEGMENT + 1);
    uint64_t mean = all / run->count;
    for (size_t i = 0; i < run->count; i++)
        assert_in_range(segment_size_bytes(run->segments[i]), mean * 3 / 4, mean * 5 / 4);
    view_release(&bed->db->view, view);
}

/* ---- failures ---- */

static const int errnos[] = {EIO, ENOSPC};

/* Any call of a part fails: its outputs go, the inputs stay, and it is tried again by itself. */
static void part_with_failure(uint64_t nth, int os_errno, uint64_t *fired)
{
    struct bed bed;

    two_runs(&bed, nth);
    assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_COMPACTION), 1); /* the plan */
    assert_int_equal(step_waiting(bed.stepper, VARVE_JOB_COMPACTION), 1);
    fault_env_plan(bed.fault,
                   (struct fault_plan){
                       .op = FAULT_ANY, .nth = nth, .os_errno = os_errno, .path_suffix = ".seg"});
    assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_COMPACTION), 1);
    *fired = fault_env_fired(bed.fault);
    fault_env_heal(bed.fault);
    bed_run_class(&bed, VARVE_JOB_MAINTENANCE);
    if (bed_stats(&bed).background_failures > 0) {
        assert_int_equal(bed_stats(&bed).compactions_running, 0);
        assert_int_equal(step_waiting(bed.stepper, VARVE_JOB_COMPACTION), 0);
        check_all(&bed);
        bed_run(&bed);
        assert_int_equal(bed_files_with(&bed, ".seg"), live_segments(&bed));
        assert_non_null(strstr(bed.log, "a compaction failed"));
    }
    check_settles(&bed, nth);
    bed_deinit(&bed);
}

static void test_part__tried_again_after_any_failure(void **state)
{
    (void)state;
    for (size_t e = 0; e < COUNT_OF(errnos); e++) {
        uint64_t fired = 1;
        uint64_t nth = 1;
        for (; fired > 0; nth++)
            part_with_failure(nth, errnos[e], &fired);
        assert_true(nth > 5);
    }
}

/* An edit that failed may have named the outputs: they stay, and are installed by the next try. */
static void install_with_failure(uint64_t nth, int os_errno, enum fault_effect effect,
                                 uint64_t *fired)
{
    struct bed bed;

    two_runs(&bed, nth);
    while (step_waiting(bed.stepper, VARVE_JOB_MAINTENANCE) == 0)
        assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_COMPACTION), 1);
    size_t files = bed_files_with(&bed, ".seg");
    assert_true(files > live_segments(&bed));
    fault_env_plan(
        bed.fault,
        (struct fault_plan){.op = FAULT_ANY, .nth = nth, .os_errno = os_errno, .effect = effect});
    assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_MAINTENANCE), 1);
    *fired = fault_env_fired(bed.fault);
    fault_env_heal(bed.fault);
    assert_int_equal(bed_files_with(&bed, ".seg"), files);
    check_all(&bed);
    check_settles(&bed, nth);
    bed_deinit(&bed);
}

static void test_install__tried_again_with_the_same_segments(void **state)
{
    (void)state;
    for (size_t e = 0; e < COUNT_OF(errnos); e++)
        for (int effect = FAULT_NOTHING_DONE; effect <= FAULT_ALL_DONE; effect++) {
            uint64_t fired = 1;
            uint64_t nth = 1;
            for (; fired > 0; nth++)
                install_with_failure(nth, errnos[e], (enum fault_effect)effect, &fired);
            assert_true(nth > 2);
        }
}

static void test_all__any_allocation_fails(void **state)
{
    int failed = 1;

    (void)state;
    for (uint64_t nth = 1; failed; nth++) {
        struct bed bed;
        two_runs(&bed, nth);
        mem_fail_nth(nth, 0);
        do {
            bed_run_class(&bed, VARVE_JOB_COMPACTION);
        } while (bed_run_class(&bed, VARVE_JOB_MAINTENANCE) > 0);
        failed = (int)(mem_alloc_count() >= nth);
        mem_fail_nth(0, 0);
        check_settles(&bed, nth);
        bed_deinit(&bed);
    }
}

/* The next try is not before its time, which doubles three times, and comes without anybody's call but the tick. */
static void test_failure__has_its_pause(void **state)
{
    struct bed bed;

    (void)state;
    two_runs(&bed, 1);
    fault_env_plan(bed.fault, (struct fault_plan){.op = FAULT_ANY,
                                                  .nth = 1,
                                                  .os_errno = EIO,
                                                  .mode = FAULT_STICKY,
                                                  .path_suffix = ".seg"});
    for (int i = 0; i < 100; i++)
        bed_pass_us(&bed, SECOND_US / 10);
    uint64_t failures = bed_stats(&bed).background_failures;
    assert_in_range(failures, 3, 5); /* in 10 s: after 0, 1, 3, 7 */
    fault_env_heal(bed.fault);
    for (int i = 0; i < 80; i++) /* the longest pause */
        bed_pass_us(&bed, SECOND_US / 10);
    check_settles(&bed, 1);
    bed_deinit(&bed);
}

/* ---- when ---- */

static void test_flush__wakes_it(void **state)
{
    struct bed bed;

    (void)state;
    two_runs(&bed, 1); /* asserts that a plan is queued */
    bed_run(&bed);
    assert_int_equal(bed_stats(&bed).levels[0].segments, 0);
    bed_deinit(&bed);
}

/* A small database is not rewritten for each flush, but once nobody has written for a while. */
static void test_floor__ends_in_quiet_times(void **state)
{
    struct bed bed;

    (void)state;
    two_runs(&bed, 1);
    bed.db->compactor.floor_bytes = PICKER_FLOOR_MEMTABLES * bed.db->options.memtable_size_bytes;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(bed_put(&bed, "k000000", "1"), 0);
        bed_pass_us(&bed, SECOND_US);
    }
    assert_true(bed_stats(&bed).levels[0].segments > 0);
    for (int i = 0; i < 4; i++)
        bed_pass_us(&bed, SECOND_US);
    assert_true(bed_stats(&bed).levels[0].segments > 0);
    for (int i = 0; i < 2; i++)
        bed_pass_us(&bed, SECOND_US);
    assert_int_equal(bed_stats(&bed).levels[0].segments, 0);
    bed_deinit(&bed);
}

static void rest(struct bed *bed)
{
    for (int i = 0; i < 12; i++) {
        bed_pass_us(bed, SECOND_US);
        bed_run(bed);
    }
}

/* Runs of new keys that meet, and hide nothing but their ends. */
static void three_runs(struct bed *bed)
{
    static const char *const prefixes[] = {"a", "b", "c"};

    bed_init(bed, 1);
    bed_open_ok(bed);
    bed->db->compactor.floor_bytes = UINT64_MAX;
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        assert_int_equal(bed_put(bed, "0", prefixes[i]), 0);
        bed_fill(bed, prefixes[i], KEYS, 900);
        assert_int_equal(bed_put(bed, "z", prefixes[i]), 0);
        bed_flush_only(bed);
        bed_run(bed);
    }
    assert_int_equal(bed_stats(bed).levels[0].runs, COUNT_OF(prefixes));
}

/* What nothing makes due is merged for reads once nobody writes; where that failed, not again and again. */
static void test_rest__few_runs(void **state)
{
    struct bed bed;

    (void)state;
    three_runs(&bed);
    rest(&bed);
    assert_int_equal(bed_stats(&bed).levels[0].runs, 1);
    bed_deinit(&bed);

    three_runs(&bed);
    fault_env_plan(bed.fault, (struct fault_plan){.op = FAULT_ANY,
                                                  .nth = 1,
                                                  .os_errno = EIO,
                                                  .mode = FAULT_STICKY,
                                                  .path_suffix = ".seg"});
    rest(&bed);
    rest(&bed);
    assert_int_equal(bed_stats(&bed).background_failures, 1);
    fault_env_heal(bed.fault);
    bed_deinit(&bed);
}

/* What only a snapshot needed goes once it is released. */
static void test_snapshot__keeps_and_release_wakes_it(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "old"), 0);
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed->db);
    struct varve_read read = {.snapshot = snapshot};
    assert_int_equal(bed_delete_range(bed, "a", "b"), 0);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    assert_string_equal(bed_get(bed, "a"), "-");
    assert_string_equal(bed_get_with(bed, &read, "a"), "old");
    assert_true(live_segments(bed) > 0);
    varve_snapshot_release(bed->db, snapshot);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_COMPACTION), 1);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    assert_int_equal(live_segments(bed), 0);
    assert_int_equal(bed_files_with(bed, ".seg"), 0);
}

static void test_close__in_every_step(void **state)
{
    (void)state;
    for (int steps = 0; steps < 6; steps++) {
        struct bed bed;
        two_runs(&bed, 5);
        for (int i = 0; i < steps; i++)
            if (!step_run_class(bed.stepper, VARVE_JOB_COMPACTION))
                step_run_class(bed.stepper, VARVE_JOB_MAINTENANCE);
        bed_close_ok(&bed);
        bed_open_ok(&bed);
        check_settles(&bed, 5);
        bed_deinit(&bed);
    }
}

/* ---- the picture ---- */

static void look(struct bed *bed, const struct snapshot_list *snapshots, uint64_t now_ms,
                 struct compactor_view *picture)
{
    struct view *view = view_acquire(&bed->db->view);

    assert_int_equal(compactor_view_init(picture, view->version, snapshots, now_ms), 0);
    view_release(&bed->db->view, view); /* the segments live on in the current one */
}

struct cover_case {
    uint64_t snapshot; /* 0: none */
    uint64_t cover;
};

/* Sequences 1 .. 2 lie in a segment, a range tombstone of 3 over both: a snapshot of 1 or 2 sees them. */
static void test_picture__cover_under_snapshots(void **state)
{
    static const struct cover_case cases[] = {{0, 3}, {1, 0}, {2, 0}, {3, 3}, {9, 3}};
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(bed_put(bed, "b", "2"), 0);
    bed_flush_only(bed);
    assert_int_equal(bed_delete_range(bed, "a", "c"), 0);
    bed_flush_only(bed);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint64_t seq = cases[i].snapshot;
        struct snapshot_list list = {.seqs = &seq,
                                     .count = seq != 0,
                                     .oldest_seq = seq == 0 ? UINT64_MAX : seq,
                                     .now_ms_min = UINT64_MAX};
        struct compactor_view picture;
        look(bed, &list, 0, &picture);
        assert_int_equal(picture.view.run_count, 2);
        assert_int_equal(picture.view.oldest_snapshot_seq, list.oldest_seq);
        const struct picker_segment *old = &picture.runs[1].segments[0];
        assert_int_equal(old->seq_min, 1);
        assert_int_equal(old->seq_max, 2);
        assert_int_equal(old->entries, 2);
        assert_int_equal(old->deletes, 0);
        assert_int_equal(old->cover_seq, cases[i].cover);
        assert_int_equal(picture.runs[0].segments[0].ranges, 1);
        assert_int_equal(picture.runs[0].segments[0].deletes, 1);
        assert_int_equal(picture.runs[0].segments[0].cover_seq, 0);
        compactor_view_deinit(&picture);
    }
}

static void test_picture__expiry(void **state)
{
    const struct snapshot_list none = {.oldest_seq = UINT64_MAX, .now_ms_min = UINT64_MAX};
    struct bed *bed = *state;
    struct compactor_view picture;
    uint64_t now_ms = varve_now_ms(bed->db);

    assert_int_equal(bed_put_bytes(bed, "a", varve_slice_str("1"), now_ms + 5000), 0);
    assert_int_equal(bed_put_bytes(bed, "b", varve_slice_str("2"), now_ms + 6000), 0);
    bed_flush_only(bed);
    look(bed, &none, now_ms, &picture);
    assert_int_equal(picture.segments[0].all_dead, 0);
    assert_int_equal(picture.segments[0].expired_bytes, 0);
    compactor_view_deinit(&picture);
    look(bed, &none, now_ms + 3600 * 1000, &picture);
    assert_int_equal(picture.segments[0].all_dead, 1);
    assert_true(picture.segments[0].expired_bytes > 0);
    assert_true(picture.segments[0].expired_bytes <= picture.segments[0].bytes);
    compactor_view_deinit(&picture);
}

/* Flushes say how much of them hides older entries, and it is known after a restart. */
static void test_picture__hiding(void **state)
{
    struct bed *bed = *state;
    const struct snapshot_list none = {.oldest_seq = UINT64_MAX, .now_ms_min = UINT64_MAX};
    struct compactor_view picture;

    bed_fill(bed, "k", 60, 1000);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    assert_int_equal(bed_stats(bed).dead_bytes, 0);
    bed_fill(bed, "k00000", 60, 1000); /* between the others */
    bed_flush_only(bed);
    assert_int_equal(bed_stats(bed).dead_bytes, 0);
    bed_fill(bed, "k", 30, 1000);
    bed_flush_only(bed);
    assert_in_range(bed_stats(bed).dead_bytes, 30 * 1000, 33 * 1000);
    bed_close_ok(bed);
    bed_open_ok(bed);
    look(bed, &none, varve_now_ms(bed->db), &picture);
    assert_int_equal(picture.view.run_count, 3);
    assert_int_equal(picture.runs[0].segments[0].hiding_bytes, picture.runs[0].segments[0].bytes);
    assert_int_equal(picture.runs[1].segments[0].hiding_bytes, 0);
    compactor_view_deinit(&picture);
}

/* A missing key is asked of each run there. */
static void test_filters__are_longer_above_the_last_level(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.memtable_size_bytes = 1024 * 1024;
    bed_open_ok(bed);
    bed_fill(bed, "k", 3000, 8);
    bed_flush_only(bed);
    uint64_t flushed_bytes = bed_stats(bed).pinned_bytes; /* filters, and little of indexes */
    bed_fill(bed, "k", 3000, 8); /* so that runs are merged, and not one of them moved */
    bed_flush_only(bed);
    assert_int_equal(bed_stats(bed).levels[0].runs, 2);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    assert_int_equal(bed_stats(bed).levels[LAST].segments, 1);
    assert_in_range(bed_stats(bed).pinned_bytes, flushed_bytes / 2, flushed_bytes * 4 / 5);
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compactor__relieves_by_and_by),
        WITH_BED(test_parts__are_of_like_size),
        WITH_BED(test_parts__end_with_no_small_segment),
        cmocka_unit_test(test_part__tried_again_after_any_failure),
        cmocka_unit_test(test_install__tried_again_with_the_same_segments),
        cmocka_unit_test(test_all__any_allocation_fails),
        cmocka_unit_test(test_failure__has_its_pause),
        cmocka_unit_test(test_flush__wakes_it),
        cmocka_unit_test(test_floor__ends_in_quiet_times),
        cmocka_unit_test(test_rest__few_runs),
        WITH_BED(test_snapshot__keeps_and_release_wakes_it),
        cmocka_unit_test(test_close__in_every_step),
        WITH_BED(test_picture__cover_under_snapshots),
        WITH_BED(test_picture__expiry),
        WITH_BED(test_picture__hiding),
        WITH_BED(test_filters__are_longer_above_the_last_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
