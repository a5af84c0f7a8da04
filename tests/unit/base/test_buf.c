#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "varve/status.h"

static void test_buf__appends_and_grows(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 1 << 20);
    assert_null(buf.data);
    for (int i = 0; i < 10000; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(buf_append(&buf, &byte, 1), 0);
    }
    assert_int_equal(buf.len, 10000);
    assert_int_equal(buf_append(&buf, NULL, 0), 0);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(buf.data[i], (uint8_t)i);
    buf_clear(&buf);
    assert_int_equal(buf_slice(&buf).len, 0);
    assert_true(buf.cap >= 10000);
    buf_deinit(&buf);
    assert_null(buf.data);
    buf_deinit(&buf);
}

static void test_buf__maximum_is_exact(void **state)
{
    uint8_t bytes[1001] = {1};
    struct buf buf;

    (void)state;
    for (size_t max = 999; max <= 1001; max++) {
        buf_init(&buf, max);
        assert_int_equal(buf_append(&buf, bytes, 500), 0);
        assert_int_equal(buf_append(&buf, bytes, 500), max >= 1000 ? 0 : VARVE_EFULL);
        assert_int_equal(buf.len, max >= 1000 ? 1000 : 500);
        assert_int_equal(buf_append(&buf, bytes, max - buf.len), 0);
        assert_int_equal(buf_append(&buf, bytes, 1), VARVE_EFULL);
        assert_int_equal(buf.len, max);
        assert_true(buf.cap <= max);
        assert_int_equal(buf_reserve(&buf, SIZE_MAX), VARVE_EFULL);
        buf_deinit(&buf);
    }
}

static void test_buf__failed_growth_keeps_the_content(void **state)
{
    uint8_t bytes[300];
    struct buf buf;

    (void)state;
    memset(bytes, 7, sizeof(bytes));
    buf_init(&buf, 1 << 20);
    assert_int_equal(buf_append(&buf, bytes, 200), 0);
    mem_fail_nth(1, 0);
    assert_int_equal(buf_append(&buf, bytes, 300), VARVE_ENOMEM);
    mem_fail_nth(0, 0);
    assert_int_equal(buf.len, 200);
    assert_memory_equal(buf.data, bytes, 200);
    assert_int_equal(buf_append(&buf, bytes, 300), 0);
    assert_int_equal(buf.len, 500);
    buf_deinit(&buf);
}

static void test_buf__shrinks(void **state)
{
    uint8_t bytes[5000] = {3};
    struct buf buf;

    (void)state;
    buf_init(&buf, 1 << 20);
    buf_shrink(&buf, 0);
    assert_int_equal(buf_append(&buf, bytes, sizeof(bytes)), 0);
    size_t cap = buf.cap;
    buf_shrink(&buf, cap);
    assert_int_equal(buf.cap, cap);
    buf.len = 10;
    buf_shrink(&buf, 100);
    assert_int_equal(buf.len, 10);
    assert_int_equal(buf.cap, 100);
    assert_int_equal(buf.data[0], 3);
    buf_shrink(&buf, 5); /* the content does not fit */
    assert_int_equal(buf.len, 0);
    assert_int_equal(buf.cap, 0);
    assert_int_equal(buf_append(&buf, bytes, 1), 0);
    assert_int_equal(buf.max, 1 << 20);
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf__appends_and_grows),
        cmocka_unit_test(test_buf__maximum_is_exact),
        cmocka_unit_test(test_buf__failed_growth_keeps_the_content),
        cmocka_unit_test(test_buf__shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
