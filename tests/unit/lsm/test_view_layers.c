#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsm/view.h"
#include "varve/status.h"

struct bench {
    struct view_slot slot;
    int retired;
};

static void on_retired(void *arg)
{
    ((struct bench *)arg)->retired++;
}

static int set_up(void **state)
{
    static struct bench bench;

    bench = (struct bench){.retired = 0};
    assert_int_equal(view_slot_init(&bench.slot, memtable_create(), version_create()), 0);
    bench.slot.on_retired = on_retired;
    bench.slot.arg = &bench;
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    view_slot_deinit(&((struct bench *)*state)->slot);
    while (rcu_pending())
        rcu_reclaim();
    return 0;
}

static struct view *current(struct bench *bench)
{
    return view_current(&bench->slot); /* nobody else is there */
}

/* A range tombstone over [begin, end) in the active memtable. */
static void add_range(struct bench *bench, const char *begin, const char *end, uint64_t seq)
{
    struct chunk chunk = {
        .kind = CHUNK_RANGE_DELETE, .key = varve_slice_str(begin), .value = varve_slice_str(end)};
    struct memtable_undo undo;
    enum memtable_prior prior;

    chunk.crc = chunk_crc(&chunk);
    assert_int_equal(memtable_add(current(bench)->active, seq, &chunk, &prior, &undo), 0);
}

static void test_swap__newest_first(void **state)
{
    struct bench *bench = *state;
    struct memtable *made[4] = {current(bench)->active};

    for (size_t i = 1; i < 4; i++) {
        made[i] = memtable_create();
        assert_int_equal(view_swap_memtable(&bench->slot, made[i]), 0);
        const struct view *view = current(bench);
        assert_ptr_equal(view->active, made[i]);
        assert_int_equal(view->immutable_count, i);
        for (size_t j = 0; j < i; j++)
            assert_ptr_equal(view->immutable[j], made[i - 1 - j]);
    }
    assert_int_equal(bench->retired, 3);
}

static void install(struct bench *bench, const struct version_change *change,
                    const struct memtable *flushed)
{
    struct view *prepared;

    assert_int_equal(view_prepare(&bench->slot, change, &prepared, NULL), 0);
    view_install(&bench->slot, prepared, flushed);
}

/* MEMTABLES_MAX may wait; one more is refused, and nothing changes. */
static void test_swap__limit(void **state)
{
    struct bench *bench = *state;

    for (int i = 0; i < MEMTABLES_MAX; i++)
        assert_int_equal(view_swap_memtable(&bench->slot, memtable_create()), 0);
    const struct view *before = current(bench);
    assert_int_equal(before->immutable_count, MEMTABLES_MAX);
    assert_int_equal(view_swap_memtable(&bench->slot, memtable_create()), VARVE_EFULL);
    assert_ptr_equal(current(bench), before);
    const struct version_change change = {.flushed_seq = 1};
    install(bench, &change, before->immutable[MEMTABLES_MAX - 1]);
    assert_int_equal(current(bench)->immutable_count, MEMTABLES_MAX - 1);
    assert_int_equal(view_swap_memtable(&bench->slot, memtable_create()), 0);
}

static void test_install__takes_the_oldest(void **state)
{
    struct bench *bench = *state;
    const struct version_change flushed = {.flushed_seq = 5};
    const struct version_change nothing = {0};
    struct memtable *oldest = current(bench)->active;

    assert_int_equal(view_swap_memtable(&bench->slot, memtable_create()), 0);
    assert_int_equal(view_swap_memtable(&bench->slot, memtable_create()), 0);
    struct memtable *newer = current(bench)->immutable[0];
    install(bench, &nothing, NULL);
    assert_int_equal(current(bench)->immutable_count, 2);
    assert_int_equal(current(bench)->version->flushed_seq, 0);
    install(bench, &flushed, oldest);
    assert_int_equal(current(bench)->immutable_count, 1);
    assert_ptr_equal(current(bench)->immutable[0], newer);
    assert_int_equal(current(bench)->version->flushed_seq, 5);
}

/* Who holds a view keeps what it looks at, whatever is published; the last one retires it. */
static void test_acquire__keeps_it(void **state)
{
    struct bench *bench = *state;
    struct view *held = view_acquire(&bench->slot);
    const struct version_change flushed = {.flushed_seq = 2};

    add_range(bench, "a", "c", 1);
    assert_int_equal(view_swap_memtable(&bench->slot, memtable_create()), 0);
    install(bench, &flushed, current(bench)->immutable[0]);
    while (rcu_pending())
        rcu_reclaim();
    assert_int_equal(view_range_seq(held, varve_slice_str("b"), 9), 1);
    assert_int_equal(held->version->flushed_seq, 0);
    assert_int_equal(view_range_seq(current(bench), varve_slice_str("b"), 9), 0);
    rcu_enter();
    view_ref(held);
    rcu_leave();
    int retired = bench->retired;
    view_release(&bench->slot, held);
    assert_int_equal(bench->retired, retired);
    view_release(&bench->slot, held);
    assert_int_equal(bench->retired, retired + 1);
    view_release(&bench->slot, NULL);
}

static void test_range_seq__newest_layer_decides(void **state)
{
    struct bench *bench = *state;
    static const struct {
        const char *key;
        uint64_t seq_max;
        uint64_t want;
    } cases[] = {
        {"a", 9, 1}, {"b", 9, 4}, {"b", 4, 4}, {"b", 3, 2}, {"b", 1, 1},
        {"b", 0, 0}, {"c", 9, 3}, {"d", 9, 3}, {"e", 9, 0}, {"", 9, 0},
    };

    add_range(bench, "a", "c", 1);
    add_range(bench, "b", "c", 2);
    assert_int_equal(view_swap_memtable(&bench->slot, memtable_create()), 0);
    add_range(bench, "c", "e", 3);
    assert_int_equal(view_swap_memtable(&bench->slot, memtable_create()), 0);
    add_range(bench, "b", "c", 4);
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(
            view_range_seq(current(bench), varve_slice_str(cases[i].key), cases[i].seq_max),
            cases[i].want);
}

/* Whatever allocation fails: an error, the view is as before, and what was given is gone. */
static void test_no_memory__nothing_changes(void **state)
{
    struct bench *bench = *state;
    const struct version_change change = {.flushed_seq = 3};
    const struct view *before = current(bench);
    struct view_slot slot;
    int rc = VARVE_ENOMEM;

    assert_int_equal(view_swap_memtable(&bench->slot, NULL), VARVE_ENOMEM);
    assert_int_equal(view_slot_init(&slot, memtable_create(), NULL), VARVE_ENOMEM);
    assert_int_equal(view_slot_init(&slot, NULL, version_create()), VARVE_ENOMEM);
    for (uint64_t nth = 1; rc != 0; nth++) {
        struct memtable *fresh = memtable_create();
        mem_fail_nth(nth, 0);
        rc = view_swap_memtable(&bench->slot, fresh);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || (rc == VARVE_ENOMEM && current(bench) == before));
    }
    before = current(bench);
    rc = VARVE_ENOMEM;
    struct view *prepared = NULL;
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = view_prepare(&bench->slot, &change, &prepared, NULL);
        mem_fail_nth(0, 0);
        assert_true((rc == 0 || rc == VARVE_ENOMEM) && current(bench) == before);
    }
    view_install(&bench->slot, prepared, before->immutable[0]);
    assert_int_equal(current(bench)->immutable_count, 0);
}

#define WITH_VIEW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_VIEW(test_swap__newest_first),
        WITH_VIEW(test_swap__limit),
        WITH_VIEW(test_install__takes_the_oldest),
        WITH_VIEW(test_acquire__keeps_it),
        WITH_VIEW(test_range_seq__newest_layer_decides),
        WITH_VIEW(test_no_memory__nothing_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
