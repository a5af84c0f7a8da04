#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsm/view.h"

static void on_retired(void *arg)
{
    ++*(int *)arg;
}

static void slot_init(struct view_slot *slot, int *told)
{
    *slot = (struct view_slot){.on_retired = on_retired, .arg = told};
    assert_int_equal(view_slot_init(slot, memtable_create(), version_create()), 0);
}

static void reclaim_all(void)
{
    while (rcu_pending())
        (void)rcu_reclaim();
}

static void test_view__what_is_not_held_goes_after_a_grace_period(void **state)
{
    uint64_t used = mem_used_bytes();
    struct view_slot slot;
    int told = 0;

    (void)state;
    slot_init(&slot, &told);
    uint64_t one = mem_used_bytes();
    assert_int_equal(view_swap_memtable(&slot, memtable_create()), 0);
    uint64_t two = mem_used_bytes();
    assert_int_equal(told, 1);
    reclaim_all();
    assert_true(mem_used_bytes() < two); /* the first view, but not its memtable, which waits */
    assert_true(mem_used_bytes() > one);
    view_slot_deinit(&slot);
    reclaim_all();
    assert_int_equal(mem_used_bytes(), used);
}

static void test_view__what_is_held_stays(void **state)
{
    uint64_t used = mem_used_bytes();
    struct view_slot slot;
    int told = 0;

    (void)state;
    slot_init(&slot, &told);
    struct view *held = view_acquire(&slot);
    struct memtable *active = held->active;
    assert_int_equal(view_swap_memtable(&slot, memtable_create()), 0);
    reclaim_all();
    assert_ptr_equal(held->active, active);
    assert_int_equal(held->immutable_count, 0);
    told = 0;
    view_release(&slot, held);
    assert_int_equal(told, 1);
    view_slot_deinit(&slot);
    reclaim_all();
    assert_int_equal(mem_used_bytes(), used);
}

/* A reader loads the view; the next one is published; only then the reader takes its reference. */
static void test_view__a_reference_may_come_late(void **state)
{
    uint64_t used = mem_used_bytes();
    struct view_slot slot;
    int told = 0;

    (void)state;
    slot_init(&slot, &told);
    rcu_enter();
    struct view *late = view_current(&slot);
    struct memtable *active = late->active;
    assert_int_equal(view_swap_memtable(&slot, memtable_create()), 0);
    view_ref(late);
    rcu_leave();
    reclaim_all();
    assert_ptr_equal(late->active, active);
    assert_true(memtable_is_empty(late->active));
    view_release(&slot, late);
    view_slot_deinit(&slot);
    reclaim_all();
    assert_int_equal(mem_used_bytes(), used);
}

static void test_view__a_swap_without_memory_changes_nothing(void **state)
{
    uint64_t used = mem_used_bytes();
    struct view_slot slot;
    int told = 0;

    (void)state;
    slot_init(&slot, &told);
    const struct view *before = view_current(&slot);
    struct memtable *fresh = memtable_create();
    mem_fail_nth(1, 1);
    int rc = view_swap_memtable(&slot, fresh);
    mem_fail_nth(0, 0);
    assert_int_equal(rc, VARVE_ENOMEM);
    assert_int_equal(view_swap_memtable(&slot, NULL), VARVE_ENOMEM);
    assert_ptr_equal(view_current(&slot), before);
    assert_int_equal(told, 0);
    for (int i = 0; i < MEMTABLES_MAX; i++)
        assert_int_equal(view_swap_memtable(&slot, memtable_create()), 0);
    assert_int_equal(view_swap_memtable(&slot, memtable_create()), VARVE_EFULL);
    view_slot_deinit(&slot);
    reclaim_all();
    assert_int_equal(mem_used_bytes(), used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_view__what_is_not_held_goes_after_a_grace_period),
        cmocka_unit_test(test_view__what_is_held_stays),
        cmocka_unit_test(test_view__a_reference_may_come_late),
        cmocka_unit_test(test_view__a_swap_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
