#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsm/memtable.h"
#include "segment/iter.h"

/* What was done, in order: number i has sequence i + 1. '+' put, '-' delete, '*' [key, "z") is deleted. */
static const char *const history[] = {"+a", "+b", "-b", "+c", "*b", "+b", "+d", "-e", "+a", "-a"};

static struct memtable *make(void)
{
    struct memtable *memtable = memtable_create();

    assert_non_null(memtable);
    for (size_t i = 0; i < COUNT_OF(history); i++) {
        struct chunk chunk = {.kind = CHUNK_DELETE, .key = varve_slice_str(history[i] + 1)};
        struct memtable_undo undo;
        enum memtable_prior prior;
        if (history[i][0] == '+')
            chunk.kind = CHUNK_PUT;
        if (history[i][0] == '+')
            chunk.value = varve_slice_str(history[i]);
        if (history[i][0] == '*') {
            chunk.kind = CHUNK_RANGE_DELETE;
            chunk.value = varve_slice_str("z");
        }
        chunk.crc = chunk_crc(&chunk);
        assert_int_equal(memtable_add(memtable, i + 1, &chunk, &prior, &undo), 0);
    }
    return memtable;
}

static void show(char *text, size_t cap, const struct iter *iter)
{
    size_t len = strlen(text);

    assert_int_equal(iter->rc, 0);
    snprintf(text + len, cap - len, "%.*s%s%d ", (int)iter->entry.chunk.key.len,
             (const char *)iter->entry.chunk.key.data,
             iter->entry.chunk.kind == CHUNK_PUT ? "+" : "-", (int)iter->entry.seq);
}

struct walk_case {
    enum memtable_walk walk;
    uint64_t seq_max;
    const char *want;
};

static const struct walk_case cases[] = {
    {MEMTABLE_NEWEST, UINT64_MAX, "a-10 b+6 c+4 d+7 e-8 "}, /* range tombstones are left aside */
    {MEMTABLE_NEWEST, 10, "a-10 b+6 c+4 d+7 e-8 "},
    {MEMTABLE_NEWEST, 9, "a+9 b+6 c+4 d+7 e-8 "},
    {MEMTABLE_NEWEST, 5, "a+1 b-3 c+4 "},
    {MEMTABLE_NEWEST, 1, "a+1 "},
    {MEMTABLE_NEWEST, 0, ""},
    {MEMTABLE_ALL_VERSIONS, UINT64_MAX, "a-10 a+9 a+1 b+6 b-3 b+2 c+4 d+7 e-8 "},
    {MEMTABLE_ALL_VERSIONS, 9, "a+9 a+1 b+6 b-3 b+2 c+4 d+7 e-8 "},
    {MEMTABLE_ALL_VERSIONS, 3, "a+1 b-3 b+2 "},
    {MEMTABLE_ALL_VERSIONS, 0, ""},
};

static void test_walk__forward(void **state)
{
    struct memtable *memtable = make();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[256] = "";
        struct iter *iter = memtable_entries_create(memtable, cases[i].walk, cases[i].seq_max);
        assert_non_null(iter);
        for (iter->ops->first(iter); iter->valid; iter->ops->next(iter))
            show(text, sizeof(text), iter);
        assert_string_equal(text, cases[i].want);
        assert_int_equal(iter->rc, 0);
        iter_destroy(iter);
    }
    memtable_unref(memtable);
}

static void test_walk__backward_and_turning(void **state)
{
    struct memtable *memtable = make();
    struct iter *iter = memtable_entries_create(memtable, MEMTABLE_NEWEST, 5);
    char text[256] = "";

    (void)state;
    assert_non_null(iter);
    for (iter->ops->last(iter); iter->valid; iter->ops->prev(iter))
        show(text, sizeof(text), iter);
    assert_string_equal(text, "c+4 b-3 a+1 ");
    text[0] = '\0';
    iter->ops->first(iter);
    iter->ops->next(iter);
    iter->ops->prev(iter);
    show(text, sizeof(text), iter);
    iter->ops->next(iter);
    iter->ops->next(iter);
    show(text, sizeof(text), iter);
    assert_string_equal(text, "a+1 c+4 ");
    iter_destroy(iter);
    memtable_unref(memtable);
}

static void test_seek(void **state)
{
    static const struct {
        const char *key;
        const char *at_or_behind;
        const char *at_or_before;
    } seeks[] = {
        {"", "a+1 ", ""},      {"a", "a+1 ", "a+1 "}, {"aa", "b-3 ", "a+1 "},
        {"c", "c+4 ", "c+4 "}, {"d", "", "c+4 "},     {"z", "", "c+4 "},
    };
    struct memtable *memtable = make();
    struct iter *iter = memtable_entries_create(memtable, MEMTABLE_NEWEST, 5);

    (void)state;
    assert_non_null(iter);
    for (size_t i = 0; i < COUNT_OF(seeks); i++) {
        char text[64] = "";
        iter->ops->seek(iter, varve_slice_str(seeks[i].key));
        if (iter->valid)
            show(text, sizeof(text), iter);
        assert_string_equal(text, seeks[i].at_or_behind);
        text[0] = '\0';
        iter->ops->seek_prev(iter, varve_slice_str(seeks[i].key));
        if (iter->valid)
            show(text, sizeof(text), iter);
        assert_string_equal(text, seeks[i].at_or_before);
    }
    iter_destroy(iter);
    iter = memtable_entries_create(memtable, MEMTABLE_ALL_VERSIONS, UINT64_MAX);
    assert_non_null(iter);
    iter->ops->seek(iter, varve_slice_str("aa"));
    assert_int_equal(iter->entry.seq, 6);
    iter->ops->next(iter);
    assert_int_equal(iter->entry.seq, 3);
    iter_destroy(iter);
    memtable_unref(memtable);
}

/* It holds the memtable; without memory there is none, and nothing leaks. */
static void test_create(void **state)
{
    struct memtable *memtable = make();
    struct iter *iter = NULL;
    char text[64] = "";

    (void)state;
    for (uint64_t nth = 1; iter == NULL; nth++) {
        mem_fail_nth(nth, 0);
        iter = memtable_entries_create(memtable, MEMTABLE_NEWEST, 1);
        mem_fail_nth(0, 0);
    }
    memtable_unref(memtable);
    iter->ops->first(iter);
    show(text, sizeof(text), iter);
    assert_string_equal(text, "a+1 ");
    iter_destroy(iter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk__forward),
        cmocka_unit_test(test_walk__backward_and_turning),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_create),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
