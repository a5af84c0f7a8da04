/* Iterators over memtables and segments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"

#define LONG_KEY_BYTES ((size_t)300 * 1024)

/* Keys longer than what an iterator keeps room for, read back and forth. */
static void turn_around(struct bed *bed, char *const keys[3])
{
    struct varve_iter *iter = varve_iter_create(bed->db, NULL, NULL, NULL, &bed->err);

    assert_non_null(iter);
    varve_iter_last(iter);
    for (int i = 0; i < 3; i++) {
        assert_true(varve_iter_valid(iter));
        assert_true(varve_slice_equal(varve_iter_key(iter), varve_slice_str(keys[2])));
        varve_iter_prev(iter);
        assert_true(varve_slice_equal(varve_iter_key(iter), varve_slice_str(keys[1])));
        varve_iter_next(iter);
    }
    varve_iter_next(iter);
    assert_false(varve_iter_valid(iter));
    assert_int_equal(varve_iter_status(iter, NULL), 0);
    varve_iter_destroy(iter);
}

static void test_iter__turns_on_a_long_key(void **state)
{
    struct bed *bed = *state;
    char *keys[3];

    for (int i = 0; i < 3; i++) {
        keys[i] = mem_alloc_zero(LONG_KEY_BYTES + 1);
        memset(keys[i], 'a' + i, LONG_KEY_BYTES);
        assert_int_equal(bed_put(bed, keys[i], "1"), 0);
    }
    turn_around(bed, keys);
    assert_int_equal(varve_flush(bed->db, &bed->err), 0);
    turn_around(bed, keys);
    for (int i = 0; i < 3; i++)
        mem_free(keys[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_iter__turns_on_a_long_key, bed_set_up, bed_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
