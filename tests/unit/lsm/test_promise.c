#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

/* What is durable and lay still for a second is promised on disk: if it rots, that is seen. The file in
 * use is the newest one that has records. */
static const char *newest_log(struct bed *bed, struct bed_names *names)
{
    char name[64];

    bed_list(bed, names);
    snprintf(name, sizeof(name), "%06llu.wal", (unsigned long long)bed->db->wal.log->file_no);
    return bed_find(names, name, "");
}

/* Idle for three seconds, then the power fails and a bit of the last operation in `name` is found
 * turned. */
static int open_rotten(struct bed *bed, const char *value)
{
    struct bed_names names;
    struct buf file = {.max = 1 << 20};
    const uint8_t *found = NULL;

    for (int i = 0; i < 30; i++)
        bed_pass_us(bed, 100000);
    const char *name = newest_log(bed, &names);
    assert_non_null(name);
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_read_file(bed, name, &file);
    for (size_t i = 0; found == NULL && i + strlen(value) <= file.len; i++)
        if (memcmp(file.data + i, value, strlen(value)) == 0)
            found = file.data + i;
    assert_non_null(found);
    bed_flip_bit(bed, name, 8 * (uint64_t)(found - file.data));
    buf_deinit(&file);
    return bed_open(bed);
}

static void fail_sync(struct bed *bed)
{
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_SYNC), 1);
    assert_int_equal(bed->told_failed, 1);
}

static void test_promise__after_a_write(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "written"), 0);
    assert_int_equal(open_rotten(bed, "written"), VARVE_ECORRUPT);
}

/* Recovery copied it, as nothing vouched for it, and synced the copy. */
static void test_promise__after_recovery(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "recovered"), 0);
    bed_run(bed);
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_open_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "recovered");
    assert_int_equal(open_rotten(bed, "recovered"), VARVE_ECORRUPT);
}

static void test_promise__after_healing(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "durable"), 0);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "b", "healed"), 0);
    fail_sync(bed);
    assert_int_equal(open_rotten(bed, "healed"), VARVE_ECORRUPT);
}

/* An empty log says nothing that could be lost: it is not written for that. */
static void test_promise__not_of_nothing(void **state)
{
    struct bed *bed = *state;
    uint64_t events = sim_event_count(bed->sim);

    for (int i = 0; i < 30; i++)
        bed_pass_us(bed, 100000);
    assert_int_equal(sim_event_count(bed->sim), events);
}

/* The time that was logged with what healing left behind is not lost with it. */
static void test_promise__healing_keeps_the_clock(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "durable"), 0);
    bed_run(bed);
    sim_clock_advance_us(bed->sim, (uint64_t)3600 * 1000000);
    uint64_t logged_ms = varve_now_ms(bed->db);
    assert_int_equal(bed_put(bed, "b", "healed"), 0);
    fail_sync(bed);
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 100000);
    bed_crash(bed, SIM_ALL_LOST, 0);
    sim_clock_set_real_ms(bed->sim, SIM_CLOCK_START_REAL_MS);
    bed_open_ok(bed);
    assert_string_equal(bed_get(bed, "b"), "healed");
    assert_true(varve_now_ms(bed->db) >= logged_ms);
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_promise__after_a_write),           WITH_BED(test_promise__after_recovery),
        WITH_BED(test_promise__after_healing),           WITH_BED(test_promise__not_of_nothing),
        WITH_BED(test_promise__healing_keeps_the_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
