/* A checkpoint whose calls fail, one after the other, and one that the power is cut off from at every
 * moment: the original is as good as ever, and dir is whole or not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "copies.h"
#include "lsm/db.h"

#define DIR "/cp"
#define MAKING "/cp.checkpoint"

/* Two segments in runs, a memtable that waits, an active one, a log of several files, the last of them not
 * durable. */
static void fill(struct bed *bed, uint64_t seed)
{
    char name[16];

    bed_init(bed, seed);
    bed->options.durability = VARVE_NO;
    bed_open_ok(bed);
    for (int i = 0; i < 24; i++) {
        snprintf(name, sizeof(name), "a%02d", i);
        bed_fill(bed, name, 1, 700);
        bed_run(bed);
        if (i == 8 || i == 14)
            bed_flush_only(bed);
        if (i == 19)
            bed_swap(bed);
    }
    assert_int_equal(bed_delete_range(bed, "a03", "a05"), 0);
    assert_int_equal(bed_put(bed, "K", "last"), 0);
}

/* As after a crash just before the last rename. */
static void leave_one_over(struct bed *bed)
{
    struct varve_env *env = sim_as_env(bed->sim);

    assert_int_equal(varve_checkpoint(bed->db, DIR, NULL, &bed->err), 0);
    assert_int_equal(env->ops->rename(env, DIR, MAKING, NULL), 0);
    assert_int_equal(env->ops->sync_dir(env, "/", NULL), 0);
}

/* ---- calls that fail ---- */

struct sweep_result {
    int over_left_over; /* given */
    uint64_t points;
    uint64_t failed;
    uint64_t left; /* dir was there, whole, though it was said to have failed */
};

static void heal(struct bed *bed)
{
    fault_env_heal(bed->fault);
    mem_fail_nth(0, 0);
    varve_tick(bed->db);
    bed_run(bed);
    for (int i = 0; varve_writable(bed->db, NULL) != 0; i++) {
        assert_true(i < 100);
        bed_pass_us(bed, 100000);
    }
}

static void check_after(struct bed *bed, int rc, const char *before, struct sweep_result *result)
{
    char *now = copy_state(bed);
    int look_rc;

    assert_string_equal(now, before);
    mem_free(now);
    if (rc != 0) {
        result->failed++;
        result->left += (uint64_t)copy_exists(bed->sim, DIR);
    }
    if (rc == 0 ||
        copy_exists(bed->sim, DIR)) { /* if it failed, nobody promised that it is durable */
        char *found = copy_look(
            sim_image(bed->sim, sim_event_count(bed->sim), rc == 0 ? SIM_ALL_LOST : SIM_KILL, 0),
            DIR, &look_rc, NULL);
        assert_non_null(found);
        assert_string_equal(found, before);
        mem_free(found);
    }
    if (rc == 0)
        return;
    /* The next try works, whatever this one left. */
    if (copy_exists(bed->sim, DIR))
        copy_remove(bed, DIR);
    assert_int_equal(varve_checkpoint(bed->db, DIR, NULL, &bed->err), 0);
    assert_false(copy_exists(bed->sim, MAKING));
    char *found = copy_look_now(bed, DIR);
    assert_string_equal(found, before);
    mem_free(found);
}

static int sweep_once(struct fault_plan plan, struct sweep_result *result)
{
    struct bed bed;

    fill(&bed, 1);
    char *before = copy_state(&bed);
    if (result->over_left_over)
        leave_one_over(&bed);
    fault_env_plan(bed.fault, plan);
    int rc = varve_checkpoint(bed.db, DIR, NULL, &bed.err);
    int fired = fault_env_fired(bed.fault) > 0;
    heal(&bed);
    if (fired) {
        result->points++;
        check_after(&bed, rc, before, result);
        assert_int_equal(bed_put(&bed, "after", "it goes on"), 0);
        bed_flush_ok(&bed);
        bed_crash(&bed, SIM_ALL_LOST, 0);
        bed_open_ok(&bed);
        assert_string_equal(bed_get(&bed, "after"), "it goes on");
    } else {
        assert_int_equal(rc, 0);
    }
    mem_free(before);
    bed_deinit(&bed);
    return fired;
}

static struct sweep_result sweep(struct fault_plan plan, int over_left_over)
{
    struct sweep_result result = {.over_left_over = over_left_over};

    for (plan.nth = 1; sweep_once(plan, &result); plan.nth++)
        assert_true(plan.nth < 1000);
    print_message("%llu fault points, %llu failed, %llu left\n", (unsigned long long)result.points,
                  (unsigned long long)result.failed, (unsigned long long)result.left);
    assert_true(result.points > 25);
    assert_true(result.failed > result.points * 9 / 10);
    return result;
}

static void test_checkpoint_faults__each_call_fails_once(void **state)
{
    static const int errnos[] = {EIO, ENOSPC, EMFILE};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct fault_plan plan = {.os_errno = errnos[i], .effect = (enum fault_effect)i};
        assert_int_equal(sweep(plan, 0).left, 0);
        assert_int_equal(sweep(plan, 1).left, 0);
    }
}

/* What cannot be taken back stays, and is whole. */
static void test_checkpoint_faults__each_call_and_all_after_it_fail(void **state)
{
    (void)state;
    struct sweep_result result = sweep(
        (struct fault_plan){.os_errno = EIO, .mode = FAULT_STICKY, .effect = FAULT_NOTHING_DONE},
        0);
    assert_true(result.left <= 1);
    result = sweep(
        (struct fault_plan){.os_errno = EIO, .mode = FAULT_STICKY, .effect = FAULT_ALL_DONE}, 1);
    assert_true(result.left <= 2);
}

static void test_checkpoint_faults__a_read_is_short(void **state)
{
    uint64_t nth = 1;
    struct sweep_result result = {0};

    (void)state;
    while (sweep_once(
        (struct fault_plan){.op = FAULT_READ, .nth = nth, .os_errno = EIO, .effect = FAULT_SHORT},
        &result))
        nth++;
    assert_true(nth > 3);
}

/* The same while it copies what it cannot link. */
static void test_checkpoint_faults__each_call_of_a_copy_fails(void **state)
{
    struct sweep_result result = {0};

    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct bed bed;
        fill(&bed, 1);
        char *before = copy_state(&bed);
        struct fault_env *outer = fault_env_create(bed.db->env);
        copy_no_links(&bed, EXDEV);
        bed.db->env = fault_as_env(outer);
        fault_env_plan(outer, (struct fault_plan){.nth = nth, .os_errno = EIO});
        int rc = varve_checkpoint(bed.db, DIR, NULL, &bed.err);
        int fired = fault_env_fired(outer) > 0;
        bed.db->env = fault_as_env(bed.fault);
        heal(&bed);
        check_after(&bed, rc, before, &result);
        mem_free(before);
        bed_deinit(&bed);
        fault_env_destroy(outer);
        if (!fired)
            break;
    }
    assert_int_equal(result.left, 0);
    assert_true(result.failed > 30);
}

static void test_checkpoint_faults__no_memory(void **state)
{
    struct sweep_result result = {0};
    uint64_t nth = 1;

    (void)state;
    for (int sticky = 0; sticky < 2; sticky++) {
        for (nth = 1;; nth++) {
            struct bed bed;
            fill(&bed, 1);
            char *before = copy_state(&bed);
            mem_fail_nth(nth, sticky);
            int rc = varve_checkpoint(bed.db, DIR, NULL, &bed.err);
            uint64_t allocations = mem_alloc_count();
            heal(&bed);
            check_after(&bed, rc, before, &result);
            mem_free(before);
            bed_deinit(&bed);
            if (allocations < nth)
                break;
        }
        assert_true(nth > 40);
    }
    print_message("%llu failed\n", (unsigned long long)result.failed);
    assert_true(result.failed > 60);
}

/* ---- the power is cut ---- */

struct cut {
    struct bed bed;
    uint64_t first; /* event */
    uint64_t done;
    char *before;
    uint64_t images;
    uint64_t whole;   /* in which dir is there */
    uint64_t nothing; /* in which it is not */
    char wrong[256];  /* the first image that is not as it must be */
};

enum way { WITH_LINKS, WITH_COPIES, OVER_LEFT_OVER, WAY_COUNT };

static void cut_begin(struct cut *cut, enum way way)
{
    memset(cut, 0, sizeof(*cut));
    fill(&cut->bed, 2);
    cut->before = copy_state(&cut->bed);
    if (way == WITH_COPIES)
        copy_no_links(&cut->bed, EXDEV);
    if (way == OVER_LEFT_OVER)
        leave_one_over(&cut->bed);
    cut->first = sim_event_count(cut->bed.sim);
    assert_int_equal(varve_checkpoint(cut->bed.db, DIR, NULL, &cut->bed.err), 0);
    cut->done = sim_event_count(cut->bed.sim);
    sim_mark(cut->bed.sim, 1, 1);
}

static void cut_end(struct cut *cut)
{
    mem_free(cut->before);
    bed_deinit(&cut->bed);
}

static void wrong(struct cut *cut, uint64_t upto, enum sim_policy policy, const char *what)
{
    if (cut->wrong[0] == '\0')
        snprintf(cut->wrong, sizeof(cut->wrong), "event %llu of %llu..%llu, %s: %s",
                 (unsigned long long)upto, (unsigned long long)cut->first,
                 (unsigned long long)cut->done, sim_policy_name(policy), what);
}

static void look_at_image(struct cut *cut, uint64_t upto, enum sim_policy policy, uint64_t seed)
{
    struct bed *bed = &cut->bed;
    struct sim_env *image = sim_image(bed->sim, upto, policy, seed);
    const char *both[] = {DIR, MAKING};
    int rc = 0;

    cut->images++;
    for (int i = 0; i < 2; i++) {
        if (!copy_exists(image, both[i])) {
            cut->nothing += i == 0;
            if (i == 0 && upto >= cut->done)
                wrong(cut, upto, policy, "it is not there, though it was said to be");
            continue;
        }
        /* copy_look() takes the image, and changes it. */
        char *found = copy_look(sim_image(bed->sim, upto, policy, seed), both[i], &rc, NULL);
        cut->whole += i == 0;
        /* Under the temporary name it is no database, or whole. */
        if (found == NULL && (i == 0 || rc != VARVE_ENOENT))
            wrong(cut, upto, policy, "it does not open");
        if (found != NULL && strcmp(found, cut->before) != 0)
            wrong(cut, upto, policy, "it is not what it must be");
        mem_free(found);
    }
    sim_env_destroy(image);
    if (upto % 4 != 0 && upto < cut->done)
        return;
    char *found = copy_look(sim_image(bed->sim, upto, policy, seed), BED_DIR, &rc, NULL);
    if (found == NULL)
        wrong(cut, upto, policy, "the original does not open");
    else if (upto >= cut->done && strcmp(found, cut->before) != 0)
        wrong(cut, upto, policy, "the original's log was not made durable");
    mem_free(found);
}

static void cut_everywhere(struct cut *cut, uint64_t seeds)
{
    for (uint64_t upto = cut->first; upto <= cut->done + 1; upto++)
        for (int policy = 0; policy < SIM_POLICY_COUNT && cut->wrong[0] == '\0'; policy++)
            for (uint64_t seed = 0; seed < seeds; seed++)
                look_at_image(cut, upto, (enum sim_policy)policy, upto * 31 + seed);
}

static void test_checkpoint_faults__power_cut_everywhere(void **state)
{
    (void)state;
    for (int way = 0; way < WAY_COUNT; way++) {
        struct cut cut;
        cut_begin(&cut, (enum way)way);
        cut_everywhere(&cut, 10);
        assert_string_equal(cut.wrong, "");
        print_message("%llu images, dir is whole in %llu\n", (unsigned long long)cut.images,
                      (unsigned long long)cut.whole);
        assert_true(cut.whole > 50);
        assert_true(cut.nothing > 500);
        cut_end(&cut);
    }
}

/* Each sync of a checkpoint is needed: without it some image is wrong. */
static void test_checkpoint_faults__each_sync_counts(void **state)
{
    int dropped = 0;

    (void)state;
    for (int way = 0; way < WAY_COUNT; way++) {
        struct cut cut;
        cut_begin(&cut, (enum way)way);
        uint64_t syncs = sim_sync_count(cut.bed.sim);
        for (uint64_t nth = 1; nth <= syncs; nth++) {
            struct sim_sync_info info = sim_sync_at(cut.bed.sim, nth);
            if (info.event < cut.first || info.event >= cut.done || info.covered == 0)
                continue;
            cut.wrong[0] = '\0';
            sim_drop_nth_sync(cut.bed.sim, nth);
            for (uint64_t seeds = 1; seeds <= 16 && cut.wrong[0] == '\0'; seeds *= 4)
                cut_everywhere(&cut, seeds);
            dropped++;
            if (cut.wrong[0] == '\0')
                fail_msg("nobody misses sync %llu: %s", (unsigned long long)nth, info.class_name);
        }
        sim_drop_nth_sync(cut.bed.sim, 0);
        cut_end(&cut);
    }
    print_message("%d syncs\n", dropped);
    assert_true(dropped > 8);
}

/* After a crash in the middle the next try takes what is left away. */
static void test_checkpoint_faults__a_try_after_a_crash(void **state)
{
    int left_over = 0;
    struct cut cut;

    (void)state;
    cut_begin(&cut, WITH_LINKS);
    for (uint64_t upto = cut.first; upto <= cut.done; upto++) {
        for (int policy = 0; policy < 2; policy++) {
            static struct bed again;
            bed_init(&again, 3);
            bed_use_image(&again,
                          sim_image(cut.bed.sim, upto, policy ? SIM_KILL : SIM_ALL_LOST, upto));
            bed_open_ok(&again);
            left_over += copy_exists(again.sim, MAKING);
            if (!copy_exists(again.sim, DIR)) {
                char *state_now = copy_state(&again);
                assert_int_equal(varve_checkpoint(again.db, DIR, NULL, &again.err), 0);
                char *found = copy_look_now(&again, DIR);
                assert_string_equal(found, state_now);
                mem_free(found);
                mem_free(state_now);
            }
            assert_false(copy_exists(again.sim, MAKING));
            bed_deinit(&again);
        }
    }
    assert_true(left_over > 10);
    cut_end(&cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_faults__each_call_fails_once),
        cmocka_unit_test(test_checkpoint_faults__each_call_and_all_after_it_fail),
        cmocka_unit_test(test_checkpoint_faults__a_read_is_short),
        cmocka_unit_test(test_checkpoint_faults__each_call_of_a_copy_fails),
        cmocka_unit_test(test_checkpoint_faults__no_memory),
        cmocka_unit_test(test_checkpoint_faults__power_cut_everywhere),
        cmocka_unit_test(test_checkpoint_faults__each_sync_counts),
        cmocka_unit_test(test_checkpoint_faults__a_try_after_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
