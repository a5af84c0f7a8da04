/* Counting while groups of batches are open, or fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "bed.h"

/* What was looked up for records that were taken back again says nothing of those that get their sequence
 * numbers. */
static void test_count_undo__forgets_what_was_taken_back(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "g1", "1"), 0);
    assert_int_equal(bed_put(bed, "g2", "1"), 0);
    assert_int_equal(varve_flush(bed->db, &bed->err), 0);
    bed_run(bed);
    assert_int_equal(bed_add(bed, "g1", "2"), 0);
    assert_int_equal(bed_count(bed, "g"), 2);
    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_WRITE, .nth = 1, .os_errno = EIO, .path_suffix = ".wal"});
    assert_int_equal(varve_group_commit(bed->db, &bed->err), VARVE_EIO);
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 1000000);
    assert_int_equal(bed_put(bed, "h", "1"), 0);
    assert_int_equal(bed_put(bed, "g2", "2"), 0);
    assert_int_equal(bed_count(bed, "g"), 2);
    assert_int_equal(bed_put(bed, "g3", "1"), 0);
    assert_int_equal(bed_count(bed, "g"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_count_undo__forgets_what_was_taken_back, bed_set_up,
                                        bed_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
