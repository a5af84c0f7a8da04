#include "step_executor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"

/* A job that writes its letter into a log, and submits itself `again` times more. */
struct letter {
    struct varve_job job;
    char text;
    int again;
    struct log *log;
};

struct log {
    char text[64];
    size_t len;
    struct step_executor *stepper;
};

static void letter_run(struct varve_job *job)
{
    struct letter *letter = CONTAINER_OF(job, struct letter, job);
    struct varve_executor *executor = step_as_executor(letter->log->stepper);

    letter->log->text[letter->log->len++] = letter->text;
    if (letter->again-- > 0)
        executor->submit(executor, VARVE_JOB_SYNC, job);
}

static void submit(struct log *log, struct letter *letter, char text, enum varve_job_class class)
{
    struct varve_executor *executor = step_as_executor(log->stepper);

    *letter = (struct letter){.job.run = letter_run, .text = text, .log = log};
    executor->submit(executor, class, &letter->job);
}

static void test_class__is_first_in_first_out(void **state)
{
    struct log log = {.stepper = step_executor_create(1)};
    struct letter letters[6];

    (void)state;
    for (int i = 0; i < 6; i++)
        submit(&log, &letters[i], (char)('a' + i),
               i % 2 == 0 ? VARVE_JOB_SYNC : VARVE_JOB_MAINTENANCE);
    assert_int_equal(log.len, 0); /* nothing runs inside submit */
    assert_int_equal(step_waiting(log.stepper, VARVE_JOB_SYNC), 3);
    while (step_run_class(log.stepper, VARVE_JOB_SYNC))
        continue;
    assert_string_equal(log.text, "ace");
    assert_int_equal(step_waiting(log.stepper, VARVE_JOB_MAINTENANCE), 3);
    assert_int_equal(step_run_all(log.stepper, 2), 2);
    assert_int_equal(step_run_all(log.stepper, 9), 1);
    assert_string_equal(log.text, "acebdf");
    assert_int_equal(step_run_one(log.stepper), 0);
    assert_int_equal(step_run_class(log.stepper, VARVE_JOB_SYNC), 0);
    step_executor_destroy(log.stepper);
    step_executor_destroy(NULL);
}

/* Runs "abcd" of one class and "wxyz" of the other; fills text with the order. */
static void run_mixed(uint64_t seed, char text[9])
{
    struct log log = {.stepper = step_executor_create(seed)};
    struct letter letters[8];

    for (int i = 0; i < 4; i++) {
        submit(&log, &letters[i], (char)('a' + i), VARVE_JOB_SYNC);
        submit(&log, &letters[4 + i], (char)('w' + i), VARVE_JOB_MAINTENANCE);
    }
    assert_int_equal(step_run_all(log.stepper, 100), 8);
    memcpy(text, log.text, 9);
    step_executor_destroy(log.stepper);
}

static void test_order__is_the_seeds(void **state)
{
    char first[9];
    unsigned starts = 0;
    int distinct = 0;

    (void)state;
    run_mixed(0, first);
    for (uint64_t seed = 0; seed < 50; seed++) {
        char one[9];
        char two[9];

        run_mixed(seed, one);
        run_mixed(seed, two);
        assert_string_equal(one, two);
        distinct += strcmp(one, first) != 0;
        starts |= one[0] == 'a' ? 1 : 2;
        for (int i = 0; i < 3; i++) {
            assert_true(strchr(one, 'a' + i) < strchr(one, 'b' + i));
            assert_true(strchr(one, 'w' + i) < strchr(one, 'x' + i));
        }
    }
    assert_true(distinct > 30);
    assert_int_equal(starts, 3);
}

static void test_job__may_submit_itself_anew(void **state)
{
    struct log log = {.stepper = step_executor_create(1)};
    struct letter letters[2];
    struct varve_executor *executor = step_as_executor(log.stepper);

    (void)state;
    submit(&log, &letters[0], 'a', VARVE_JOB_SYNC);
    submit(&log, &letters[1], 'b', VARVE_JOB_SYNC);
    letters[0].again = 2;
    executor->help(executor); /* one step */
    assert_string_equal(log.text, "a");
    assert_int_equal(step_run_all(log.stepper, 100), 3);
    assert_string_equal(log.text, "abaa");
    executor->help(executor); /* nothing waits: nothing happens */
    step_executor_destroy(log.stepper);
}

static void test_drop__forgets_what_waits(void **state)
{
    struct log log = {.stepper = step_executor_create(1)};
    struct letter letters[2];

    (void)state;
    submit(&log, &letters[0], 'a', VARVE_JOB_SYNC);
    submit(&log, &letters[1], 'b', VARVE_JOB_MAINTENANCE);
    assert_int_equal(step_drop_all(log.stepper), 2);
    assert_int_equal(step_run_all(log.stepper, 9), 0);
    assert_int_equal(log.len, 0);
    step_executor_destroy(log.stepper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class__is_first_in_first_out),
        cmocka_unit_test(test_order__is_the_seeds),
        cmocka_unit_test(test_job__may_submit_itself_anew),
        cmocka_unit_test(test_drop__forgets_what_waits),
    };

    return cmocka_run_group_tests_name("step_executor", tests, NULL, NULL);
}
