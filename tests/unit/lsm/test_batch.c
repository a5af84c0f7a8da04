#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsm/batch.h"
#include "varve/status.h"

static int set_up(void **state)
{
    *state = varve_batch_create();
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    mem_fail_nth(0, 0);
    varve_batch_destroy(*state);
    return 0;
}

static int put(struct varve_batch *batch, const char *key, struct varve_slice value)
{
    struct varve_slice name = varve_slice_str(key);

    return varve_batch_put(batch, &name, 1, &value, 1, 0);
}

static void assert_next(const struct varve_batch *batch, struct batch_cursor *cursor,
                        enum chunk_kind kind, const char *key, struct varve_slice value)
{
    struct chunk chunk;

    assert_true(batch_next(batch, cursor, &chunk));
    assert_int_equal(chunk.kind, kind);
    assert_true(varve_slice_equal(chunk.key, varve_slice_str(key)));
    assert_true(varve_slice_equal(chunk.value, value));
    assert_int_equal(chunk_crc(&chunk), chunk.crc);
}

static void test_batch__operations_come_back_in_order(void **state)
{
    struct varve_batch *batch = *state;
    struct varve_slice gone = varve_slice_str("gone");
    struct batch_cursor cursor = {0};
    struct chunk chunk;

    assert_int_equal(batch_next(batch, &cursor, &chunk), 0);
    assert_int_equal(put(batch, "a", varve_slice_str("1")), 0);
    assert_int_equal(varve_batch_delete(batch, &gone, 1), 0);
    assert_int_equal(varve_batch_delete_range(batch, varve_slice_str("b"), varve_slice_str("c")),
                     0);
    assert_int_equal(put(batch, "", varve_slice_str("")), 0);
    assert_int_equal(put(batch, "a", varve_slice_str("2")), 0);
    assert_int_equal(varve_batch_count(batch), 5);
    assert_int_equal(varve_batch_size(batch), 2 + 4 + 2 + 0 + 2);
    assert_next(batch, &cursor, CHUNK_PUT, "a", varve_slice_str("1"));
    assert_next(batch, &cursor, CHUNK_DELETE, "gone", varve_slice(NULL, 0));
    assert_next(batch, &cursor, CHUNK_RANGE_DELETE, "b", varve_slice_str("c"));
    assert_next(batch, &cursor, CHUNK_PUT, "", varve_slice(NULL, 0));
    assert_next(batch, &cursor, CHUNK_PUT, "a", varve_slice_str("2"));
    assert_int_equal(batch_next(batch, &cursor, &chunk), 0);
}

static void test_batch__parts_are_glued(void **state)
{
    struct varve_batch *batch = *state;
    struct varve_slice parts[5] = {varve_slice_str("a"), varve_slice(NULL, 0),
                                   varve_slice_str("bc"), varve_slice_str("d"),
                                   varve_slice_str("e")};
    struct batch_cursor cursor = {0};

    assert_int_equal(varve_batch_put(batch, parts, 4, parts + 2, 3, 77), 0);
    assert_int_equal(varve_batch_delete(batch, parts, 3), 0);
    assert_int_equal(varve_batch_put(batch, parts, 1, NULL, 0, 0), 0);
    assert_int_equal(varve_batch_put(batch, parts, 5, parts, 1, 0), VARVE_EINVAL);
    assert_int_equal(varve_batch_put(batch, parts, 1, parts, 5, 0), VARVE_EINVAL);
    assert_int_equal(varve_batch_delete(batch, parts, 5), VARVE_EINVAL);
    assert_int_equal(varve_batch_count(batch), 3);
    assert_next(batch, &cursor, CHUNK_PUT, "abcd", varve_slice_str("bcde"));
    assert_next(batch, &cursor, CHUNK_DELETE, "abc", varve_slice(NULL, 0));
    assert_next(batch, &cursor, CHUNK_PUT, "a", varve_slice(NULL, 0));
}

/* The bytes are not there: what is too long is refused before it is looked at. */
static void test_batch__limits_of_key_and_value(void **state)
{
    struct varve_batch *batch = *state;
    uint8_t byte = 'x';
    struct varve_slice small = varve_slice(&byte, 1);
    struct varve_slice parts[2] = {varve_slice(&byte, VARVE_KEY_MAX_BYTES), small};

    assert_int_equal(varve_batch_put(batch, parts, 2, &small, 1, 0), VARVE_EINVAL);
    assert_int_equal(varve_batch_delete(batch, parts, 2), VARVE_EINVAL);
    parts[0].len = VARVE_VALUE_MAX_BYTES;
    assert_int_equal(varve_batch_put(batch, &small, 1, parts, 2, 0), VARVE_EINVAL);
    parts[0].len = SIZE_MAX;
    assert_int_equal(varve_batch_put(batch, &small, 1, parts, 1, 0), VARVE_EINVAL);
    assert_int_equal(varve_batch_count(batch), 0);
    assert_int_equal(varve_batch_size(batch), 0);
}

static void test_batch__range_must_not_be_empty(void **state)
{
    struct varve_batch *batch = *state;
    struct varve_slice a = varve_slice_str("a");
    struct varve_slice b = varve_slice_str("b");

    assert_int_equal(varve_batch_delete_range(batch, a, a), VARVE_EINVAL);
    assert_int_equal(varve_batch_delete_range(batch, b, a), VARVE_EINVAL);
    assert_int_equal(varve_batch_delete_range(batch, varve_slice(NULL, 0), a), 0);
    assert_int_equal(varve_batch_count(batch), 1);
}

static void test_batch__borrows_from_a_size_on(void **state)
{
    struct varve_batch *batch = *state;
    uint8_t *value = mem_alloc_zero(VARVE_BATCH_BORROW_BYTES + 1);
    struct batch_cursor cursor = {0};
    struct chunk chunk;

    for (size_t len = VARVE_BATCH_BORROW_BYTES - 1; len <= VARVE_BATCH_BORROW_BYTES + 1; len++) {
        assert_int_equal(put(batch, "k", varve_slice(value, len)), 0);
        assert_true(batch_next(batch, &cursor, &chunk));
        assert_int_equal(chunk.value.len, len);
        assert_int_equal(chunk.value.data == value, len >= VARVE_BATCH_BORROW_BYTES);
    }
    /* A part that is not the last is copied, whatever its size, and what follows is found. */
    struct varve_slice name = varve_slice_str("p");
    struct varve_slice parts[2] = {varve_slice(value, VARVE_BATCH_BORROW_BYTES), name};
    assert_int_equal(varve_batch_put(batch, &name, 1, parts, 2, 0), 0);
    assert_int_equal(put(batch, "l", varve_slice(value, VARVE_BATCH_BORROW_BYTES)), 0);
    assert_int_equal(put(batch, "m", varve_slice_str("small")), 0);
    assert_true(batch_next(batch, &cursor, &chunk));
    assert_int_equal(chunk.value.len, VARVE_BATCH_BORROW_BYTES + 1);
    assert_ptr_not_equal(chunk.value.data, value);
    assert_next(batch, &cursor, CHUNK_PUT, "l", varve_slice(value, VARVE_BATCH_BORROW_BYTES));
    assert_next(batch, &cursor, CHUNK_PUT, "m", varve_slice_str("small"));
    struct varve_slice turned[2] = {parts[1], parts[0]};
    assert_int_equal(varve_batch_put(batch, &name, 1, turned, 2, 0), 0);
    assert_int_equal(put(batch, "q", varve_slice_str("small")), 0);
    assert_true(batch_next(batch, &cursor, &chunk));
    assert_int_equal(chunk.value.len, VARVE_BATCH_BORROW_BYTES + 1);
    assert_null(chunk.value.data);
    assert_true(varve_slice_equal(cursor.lead, name));
    assert_ptr_equal(cursor.tail.data, value);
    assert_int_equal(cursor.tail.len, VARVE_BATCH_BORROW_BYTES);
    assert_next(batch, &cursor, CHUNK_PUT, "q", varve_slice_str("small"));
    varve_batch_clear(batch);
    assert_int_equal(varve_batch_count(batch), 0);
    assert_int_equal(put(batch, "n", varve_slice_str("again")), 0);
    cursor = (struct batch_cursor){0};
    assert_next(batch, &cursor, CHUNK_PUT, "n", varve_slice_str("again"));
    mem_free(value);
}

static void test_batch__no_memory_leaves_it_as_it_was(void **state)
{
    struct varve_batch *batch = *state;
    uint8_t *value = mem_alloc_zero(VARVE_BATCH_BORROW_BYTES);
    struct batch_cursor cursor = {0};
    struct chunk chunk;
    int refused = 0;

    for (int i = 0; i < 100; i++) {
        mem_fail_nth(1, 1);
        int rc = put(batch, "key", varve_slice(value, VARVE_BATCH_BORROW_BYTES));
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || rc == VARVE_ENOMEM);
        refused += rc != 0;
        if (rc != 0)
            assert_int_equal(put(batch, "key", varve_slice(value, VARVE_BATCH_BORROW_BYTES)), 0);
        assert_int_equal(varve_batch_count(batch), i + 1);
    }
    assert_true(refused > 3);
    for (int i = 0; i < 100; i++)
        assert_next(batch, &cursor, CHUNK_PUT, "key", varve_slice(value, VARVE_BATCH_BORROW_BYTES));
    assert_int_equal(batch_next(batch, &cursor, &chunk), 0);
    mem_fail_nth(1, 0);
    assert_null(varve_batch_create());
    varve_batch_destroy(NULL);
    mem_free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_batch__operations_come_back_in_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_batch__parts_are_glued, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_batch__limits_of_key_and_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_batch__range_must_not_be_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_batch__borrows_from_a_size_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_batch__no_memory_leaves_it_as_it_was, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
