/* A checkpoint between its steps: other jobs take turns with it, and a close ends it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "copies.h"
#include "lsm/db.h"

#define SEGMENTS 8

static void assert_holds(struct bed *bed, const char *dir, const char *state)
{
    char *found = copy_look_now(bed, dir);

    assert_string_equal(found, state);
    mem_free(found);
}

/* A close in between: it ends, one way or the other, before the database is gone. */
static void close_in_between(int copies)
{
    int ended[2] = {0};

    for (int steps = 0; steps < 30; steps++) {
        struct bed bed;
        static struct copy_try try; /* jobs may outlive a test that failed */
        bed_init(&bed, 3);
        bed_open_ok(&bed);
        for (int i = 0; i < 3; i++) {
            bed_fill(&bed, "a", 30, 300);
            bed_flush_only(&bed);
        }
        assert_int_equal(bed_put(&bed, "b", "last"), 0);
        char *before = copy_state(&bed);
        if (copies)
            copy_no_links(&bed, EXDEV);
        assert_int_equal(copy_start(&bed, "/cp", &try), 0);
        for (int i = 0; i < steps; i++)
            (void)step_run_one(bed.stepper);
        bed_close_ok(&bed);
        assert_int_equal(try.done, 1);
        ended[try.checkpoint.rc == 0]++;
        assert_int_equal(copy_exists(bed.sim, "/cp"), try.checkpoint.rc == 0);
        assert_false(copy_exists(bed.sim, "/cp.checkpoint"));
        if (try.checkpoint.rc == 0)
            assert_holds(&bed, "/cp", before);
        else
            assert_int_equal(try.checkpoint.rc, VARVE_EREADONLY);
        mem_free(before);
        bed_deinit(&bed);
    }
    assert_true(ended[0] > 0 && ended[1] > 0);
}

static void test_checkpoint_steps__close_ends_it(void **state)
{
    (void)state;
    close_in_between(0);
}

static void test_checkpoint_steps__close_ends_it_while_it_copies(void **state)
{
    (void)state;
    close_in_between(1);
}

/* A checkpoint that must copy is long: compactions that are submitted behind it do not wait for its end. */
static void test_checkpoint_steps__gives_way_while_it_copies(void **state)
{
    struct bed *bed = *state;
    static struct copy_try try; /* jobs may outlive a test that failed */

    for (int i = 0; i < SEGMENTS; i++) {
        bed_fill(bed, "a", 60, 300 + (size_t)i);
        bed_flush_only(bed);
    }
    bed_run_class(bed, VARVE_JOB_SYNC);
    char *before = copy_state(bed);
    copy_no_links(bed, EXDEV);
    assert_int_equal(copy_start(bed, "/cp", &try), 0);
    copy_run_to_capture(bed, &try);
    uint64_t compactions = bed_stats(bed).compactions;
    compactor_compact_all(&bed->db->compactor, bed->seq);
    size_t steps = 0;
    for (; bed_stats(bed).compactions == compactions; steps++) {
        assert_int_equal(try.done, 0);
        assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_COMPACTION), 1);
        (void)step_run_class(bed->stepper, VARVE_JOB_MAINTENANCE);
    }
    assert_true(steps <= SEGMENTS);
    assert_false(atomic_load(&bed->db->checkpoints.holds_wals)); /* the log was copied first */
    bed_run(bed);
    assert_int_equal(try.done, 1);
    assert_int_equal(try.checkpoint.rc, 0);
    assert_int_equal(try.checkpoint.linked_bytes, 0);
    fault_env_heal(bed->fault);
    assert_holds(bed, "/cp", before);
    mem_free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_steps__close_ends_it),
        cmocka_unit_test(test_checkpoint_steps__close_ends_it_while_it_copies),
        cmocka_unit_test_setup_teardown(test_checkpoint_steps__gives_way_while_it_copies,
                                        bed_set_up, bed_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
