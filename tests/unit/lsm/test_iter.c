/* Iterators over memtables and segments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

/* Everything that the iterator shows, there and back: "a=1 b=2 | b=2 a=1". */
static void assert_shows(struct bed *bed, const struct varve_read *read, const char *want)
{
    struct varve_iter *iter = varve_iter_create(bed->db, read, NULL, NULL, &bed->err);
    char text[256];
    size_t len = 0;

    assert_non_null(iter);
    for (int backward = 0; backward < 2; backward++) {
        if (backward) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, "|");
            varve_iter_last(iter);
        } else {
            varve_iter_first(iter);
        }
        while (varve_iter_valid(iter)) {
            struct varve_slice key = varve_iter_key(iter);
            struct varve_slice value = varve_iter_value(iter);
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s%.*s", (int)key.len,
                                    (const char *)key.data, (int)value.len,
                                    (const char *)value.data);
            backward ? varve_iter_prev(iter) : varve_iter_next(iter);
        }
        assert_int_equal(varve_iter_status(iter, NULL), 0);
    }
    assert_string_equal(text, want);
    varve_iter_destroy(iter);
}

/* One run is all there is, and it holds several versions of a key, since snapshots see them. */
static void test_iter__one_run_with_versions(void **state)
{
    struct bed *bed = *state;
    struct varve_read old = {0};
    struct varve_read older = {0};

    assert_shows(bed, NULL, "|");
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(bed_put(bed, "b", "1"), 0);
    older.snapshot = varve_snapshot_acquire(bed->db);
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    assert_int_equal(bed_delete(bed, "b"), 0);
    assert_int_equal(bed_put(bed, "c", "2"), 0);
    old.snapshot = varve_snapshot_acquire(bed->db);
    assert_int_equal(bed_put(bed, "a", "3"), 0);
    assert_int_equal(bed_put(bed, "b", "3"), 0);
    assert_int_equal(bed_put(bed, "d", "3"), 0);
    for (int flushed = 0; flushed < 2; flushed++) {
        assert_shows(bed, NULL, "a3b3c2d3|d3c2b3a3");
        assert_shows(bed, &old, "a2c2|c2a2");
        assert_shows(bed, &older, "a1b1|b1a1");
        assert_int_equal(varve_flush(bed->db, &bed->err), 0);
    }
    assert_int_equal(bed_delete_range(bed, "b", "d"), 0); /* in a memtable without an entry */
    assert_shows(bed, NULL, "a3d3|d3a3");
    assert_shows(bed, &old, "a2c2|c2a2");
    varve_snapshot_release(bed->db, (struct varve_snapshot *)(uintptr_t)older.snapshot);
    varve_snapshot_release(bed->db, (struct varve_snapshot *)(uintptr_t)old.snapshot);
}

/* A memtable that was empty when the iterator was made gets nothing that it would show. */
static void test_iter__shows_nothing_that_came_later(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(bed_put(bed, "c", "1"), 0);
    assert_int_equal(varve_flush(bed->db, &bed->err), 0);
    struct varve_iter *iter = varve_iter_create(bed->db, NULL, NULL, NULL, &bed->err);
    assert_non_null(iter);
    assert_int_equal(bed_put(bed, "b", "2"), 0);
    assert_int_equal(bed_delete_range(bed, "c", "d"), 0);
    varve_iter_first(iter);
    assert_true(varve_slice_equal(varve_iter_key(iter), varve_slice_str("a")));
    varve_iter_next(iter);
    assert_true(varve_iter_valid(iter));
    assert_true(varve_slice_equal(varve_iter_key(iter), varve_slice_str("c")));
    varve_iter_prev(iter);
    assert_true(varve_slice_equal(varve_iter_key(iter), varve_slice_str("a")));
    varve_iter_destroy(iter);
    assert_shows(bed, NULL, "a1b2|b2a1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_iter__turns_on_a_long_key, bed_set_up, bed_tear_down),
        cmocka_unit_test_setup_teardown(test_iter__one_run_with_versions, bed_set_up,
                                        bed_tear_down),
        cmocka_unit_test_setup_teardown(test_iter__shows_nothing_that_came_later, bed_set_up,
                                        bed_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
