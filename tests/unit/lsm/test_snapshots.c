#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsm/snapshots.h"
#include "varve/status.h"

static void take(struct varve_snapshot *snapshot, void *arg)
{
    *snapshot = *(const struct varve_snapshot *)arg;
}

static void add(struct snapshots *held, struct varve_snapshot *snapshot, uint64_t seq,
                uint64_t now_ms)
{
    struct varve_snapshot wanted = {.seq = seq, .now_ms = now_ms};

    snapshots_add(held, snapshot, take, &wanted);
}

static void test_copy__none(void **state)
{
    struct snapshots held;
    struct snapshot_list list;

    (void)state;
    snapshots_init(&held);
    assert_int_equal(snapshots_copy(&held, &list), 0);
    assert_int_equal(list.count, 0);
    assert_true(list.oldest_seq == UINT64_MAX && list.now_ms_min == UINT64_MAX);
    assert_int_equal(snapshots_grew_below(&held, &list, UINT64_MAX), 0);
    snapshot_list_deinit(&list);
    snapshots_deinit(&held);
}

/* In any order, some twice; the least of both figures need not belong together. */
static void test_copy__sorted_each_once(void **state)
{
    static const uint64_t seqs[] = {7, 3, 9, 3, 7, 3};
    static const uint64_t times_ms[] = {50, 70, 20, 90, 60, 80};
    struct varve_snapshot items[6];
    struct snapshots held;
    struct snapshot_list list;

    (void)state;
    snapshots_init(&held);
    for (size_t i = 0; i < 6; i++)
        add(&held, &items[i], seqs[i], times_ms[i]);
    assert_int_equal(snapshots_copy(&held, &list), 0);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.seqs[0], 3);
    assert_int_equal(list.seqs[1], 7);
    assert_int_equal(list.seqs[2], 9);
    assert_int_equal(list.oldest_seq, 3);
    assert_int_equal(list.now_ms_min, 20);
    snapshot_list_deinit(&list);
    for (size_t i = 0; i < 4; i++) /* one 7 and one 3 are left */
        snapshots_remove(&held, &items[i]);
    assert_int_equal(snapshots_copy(&held, &list), 0);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.oldest_seq, 3);
    assert_int_equal(list.now_ms_min, 60);
    snapshot_list_deinit(&list);
    snapshots_remove(&held, &items[5]);
    snapshots_remove(&held, &items[4]);
    assert_int_equal(held.count, 0);
    snapshots_deinit(&held);
}

struct grew_case {
    uint64_t known; /* 0: none */
    uint64_t fresh; /* 0: none */
    uint64_t seq_max;
    int grew;
};

static void test_grew__below_only(void **state)
{
    static const struct grew_case cases[] = {
        {0, 0, 10, 0},  {5, 0, 10, 0},  {5, 5, 10, 0},  {5, 6, 10, 1},  {0, 9, 10, 1},
        {0, 10, 10, 0}, {0, 11, 10, 0}, {5, 10, 10, 0}, {12, 4, 10, 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct varve_snapshot items[2];
        struct snapshots held;
        struct snapshot_list list;
        snapshots_init(&held);
        if (cases[i].known != 0)
            add(&held, &items[0], cases[i].known, 1);
        assert_int_equal(snapshots_copy(&held, &list), 0);
        if (cases[i].fresh != 0)
            add(&held, &items[1], cases[i].fresh, 1);
        assert_int_equal(snapshots_grew_below(&held, &list, cases[i].seq_max), cases[i].grew);
        if (cases[i].known != 0) /* fewer are no more */
            snapshots_remove(&held, &items[0]);
        assert_int_equal(snapshots_grew_below(&held, &list, cases[i].seq_max), cases[i].grew);
        if (cases[i].fresh != 0)
            snapshots_remove(&held, &items[1]);
        snapshot_list_deinit(&list);
        snapshots_deinit(&held);
    }
}

static void test_copy__no_memory(void **state)
{
    struct varve_snapshot item;
    struct snapshots held;
    struct snapshot_list list;

    (void)state;
    snapshots_init(&held);
    add(&held, &item, 4, 1);
    mem_fail_nth(1, 1);
    assert_int_equal(snapshots_copy(&held, &list), VARVE_ENOMEM);
    mem_fail_nth(0, 0);
    assert_int_equal(list.count, 0);
    snapshot_list_deinit(&list);
    snapshots_remove(&held, &item);
    snapshots_deinit(&held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy__none),
        cmocka_unit_test(test_copy__sorted_each_once),
        cmocka_unit_test(test_grew__below_only),
        cmocka_unit_test(test_copy__no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
