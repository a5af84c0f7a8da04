#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void test_mem__nth_allocation_fails_once(void **state)
{
    (void)state;
    mem_fail_nth(3, 0);
    for (int i = 1; i <= 6; i++) {
        void *ptr = i % 2 == 0 ? mem_alloc(8) : mem_alloc_zero(8);
        if (i == 3)
            assert_null(ptr);
        else
            assert_non_null(ptr);
        assert_int_equal(mem_alloc_count(), i);
        mem_free(ptr);
    }
    mem_fail_nth(0, 0);
    assert_int_equal(mem_alloc_count(), 0);
}

static void test_mem__sticky_fails_all_that_follow(void **state)
{
    char *kept = mem_strdup("kept");

    (void)state;
    assert_non_null(kept);
    mem_fail_nth(2, 1);
    void *first = mem_alloc(1);
    assert_non_null(first);
    assert_null(mem_alloc(1));
    assert_null(mem_alloc_zero(1));
    assert_null(mem_strdup("x"));
    assert_null(mem_strndup("x", 1));
    assert_null(mem_realloc(kept, 1000));
    assert_string_equal(kept, "kept"); /* a failed realloc leaves the old one */
    mem_fail_nth(0, 0);
    kept = mem_realloc(kept, 1000);
    assert_string_equal(kept, "kept");
    mem_free(kept);
    mem_free(first);
    mem_free(NULL);
}

static void test_mem__used_bytes_come_back(void **state)
{
    uint64_t before = mem_used_bytes();
    void *large = mem_alloc(1 << 20);
    void *empty = mem_alloc(0);

    (void)state;
    assert_non_null(large);
    assert_non_null(empty);
    assert_true(mem_used_bytes() >= before + (1 << 20));
    large = mem_realloc(large, 3 << 20);
    assert_true(mem_used_bytes() >= before + (3 << 20));
    mem_free(large);
    mem_free(empty);
    assert_int_equal(mem_used_bytes(), before);
}

static void test_mem__strndup_ends_the_text(void **state)
{
    char *copy = mem_strndup("abcdef", 3);
    uint8_t *zeros = mem_alloc_zero(64);

    (void)state;
    assert_string_equal(copy, "abc");
    for (int i = 0; i < 64; i++)
        assert_int_equal(zeros[i], 0);
    mem_free(copy);
    mem_free(zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mem__nth_allocation_fails_once),
        cmocka_unit_test(test_mem__sticky_fails_all_that_follow),
        cmocka_unit_test(test_mem__used_bytes_come_back),
        cmocka_unit_test(test_mem__strndup_ends_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
