#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsm/counts.h"

#define GROUPS 5000

static struct varve_slice name_of(char text[VARVE_GROUP_MAX_BYTES + 1], int i)
{
    return varve_slice(text, (size_t)snprintf(text, VARVE_GROUP_MAX_BYTES + 1, "g%d", i));
}

static void test_counts__each_group_by_itself(void **state)
{
    struct counts counts = {0};
    char text[VARVE_GROUP_MAX_BYTES + 1];

    (void)state;
    assert_null(counts_find(&counts, varve_slice_str("none")));
    for (int i = 0; i < GROUPS; i++) {
        struct count_group *group = counts_at(&counts, name_of(text, i));
        assert_non_null(group);
        assert_int_equal(group->live, 0);
        group->live = i;
        assert_ptr_equal(counts_at(&counts, name_of(text, i)), group);
    }
    for (int i = 0; i < GROUPS; i++)
        assert_int_equal(counts_find(&counts, name_of(text, i))->live, i);
    assert_null(counts_find(&counts, varve_slice_str("none")));
    assert_true(counts.used * 2 <= counts.cap);
    counts_deinit(&counts);
}

/* A database that is flushed takes a new group each time: the table does not grow for ever. */
static void test_counts__empty_groups_are_forgotten(void **state)
{
    struct counts counts = {0};
    char text[VARVE_GROUP_MAX_BYTES + 1];

    (void)state;
    counts_at(&counts, varve_slice_str("kept"))->live = 3;
    /* One that an older layer knows must go on hiding it. */
    counts_at(&counts, varve_slice_str("below"))->reset = 1;
    for (int i = 0; i < 40 * GROUPS; i++) {
        struct count_group *group = counts_at(&counts, name_of(text, i));
        assert_non_null(group);
        group->fresh = group->reset = 1;
        counts_compact(&counts);
    }
    assert_true(counts.cap < 20000);
    assert_int_equal(counts_find(&counts, varve_slice_str("kept"))->live, 3);
    assert_non_null(counts_find(&counts, varve_slice_str("below")));
    counts_deinit(&counts);
}

static void test_counts__no_memory_loses_nothing(void **state)
{
    struct counts counts = {0};
    char text[VARVE_GROUP_MAX_BYTES + 1];
    int refused = 0;

    (void)state;
    for (int i = 0; i < GROUPS; i++) {
        mem_fail_nth(1, 1);
        struct count_group *group = counts_at(&counts, name_of(text, i));
        counts_compact(&counts);
        mem_fail_nth(0, 0);
        refused += group == NULL;
        group = counts_at(&counts, name_of(text, i));
        assert_non_null(group);
        group->live = 1;
    }
    assert_true(refused > 3);
    for (int i = 0; i < GROUPS; i++)
        assert_int_equal(counts_find(&counts, name_of(text, i))->live, 1);
    counts_deinit(&counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts__each_group_by_itself),
        cmocka_unit_test(test_counts__empty_groups_are_forgotten),
        cmocka_unit_test(test_counts__no_memory_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
