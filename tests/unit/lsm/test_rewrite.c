/* The rules one by one, on entries written as text: "k9p" is a put of k with sequence 9, "k9d" a delete,
 * "k9x" a put that has expired; "?" behind it: prior unknown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsm/rewrite.h"

#define EXPIRY_MS 50
#define NOW_MS 50

struct text_iter {
    struct iter iter;
    const char *at;
    const char *fail_before; /* the iterator fails instead of showing this place */
};

static char value_byte = 'v';

static void text_show(struct text_iter *text)
{
    struct entry *entry = &text->iter.entry;

    text->at += strspn(text->at, " ");
    text->iter.valid = *text->at != 0 && text->at != text->fail_before;
    if (text->at == text->fail_before)
        text->iter.rc = text->iter.err.code = VARVE_EIO;
    if (!text->iter.valid)
        return;
    *entry = (struct entry){.chunk.key = varve_slice(text->at, 1)};
    char *kind = NULL;
    entry->seq = strtoull(text->at + 1, &kind, 10);
    entry->chunk.kind = *kind == 'd' ? CHUNK_DELETE : CHUNK_PUT;
    if (*kind != 'd')
        entry->chunk.value = varve_slice(&value_byte, 1);
    if (*kind == 'x')
        entry->chunk.expire_ms = EXPIRY_MS;
    entry->chunk.crc = chunk_crc(&entry->chunk);
    entry->prior_unknown = kind[1] == '?';
    text->at = kind + 1 + entry->prior_unknown;
}

static void text_next(struct iter *iter)
{
    text_show((struct text_iter *)iter);
}

static const struct iter_ops text_ops = {.next = text_next};

struct bed {
    struct rewrite_rules rules;
    struct text_iter input;
    struct count_changes changes;
    struct varve_err err;
    char out[256];
    const char *older; /* keys that something older may hold */
    size_t group_len;
    uint64_t ignore_seq;
    int stop;
    uint64_t calls; /* of took(), */
    uint64_t taken; /* and what it said */
    uint64_t taken_most;
    int emit_rc;
};

static int emit(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct bed *b = arg;
    size_t len = strlen(b->out);
    char kind = entry->chunk.kind == CHUNK_DELETE ? 'd' : entry->chunk.expire_ms != 0 ? 'x' : 'p';

    (void)err;
    assert_int_equal(chunk_crc(&entry->chunk), entry->chunk.crc);
    assert_int_equal(entry->chunk.value.len, kind == 'd' ? 0 : 1);
    snprintf(b->out + len, sizeof(b->out) - len, "%s%c%d%c%s", len > 0 ? " " : "",
             entry->chunk.key.data[0], (int)entry->seq, kind, entry->prior_unknown ? "?" : "");
    return b->emit_rc;
}

static int older_may_hold(void *arg, struct varve_slice key)
{
    struct bed *b = arg;

    return strchr(b->older, key.data[0]) != NULL;
}

static size_t group(void *arg, struct varve_slice key, uint64_t *ignore_seq)
{
    struct bed *b = arg;

    (void)key;
    *ignore_seq = b->ignore_seq;
    return b->group_len;
}

static int took(void *arg, uint64_t entries)
{
    struct bed *b = arg;

    b->calls++;
    b->taken += entries;
    b->taken_most = entries > b->taken_most ? entries : b->taken_most;
    return b->stop;
}

static void bed_init(struct bed *b)
{
    *b = (struct bed){.group_len = 1, .older = ""};
    b->rules = (struct rewrite_rules){.expired_before_ms = NOW_MS,
                                      .older_may_hold = older_may_hold,
                                      .group = group,
                                      .emit = emit,
                                      .took = took,
                                      .arg = b};
}

static int run(struct bed *b, const char *input)
{
    b->out[0] = 0;
    count_changes_deinit(&b->changes);
    b->input.iter = (struct iter){.ops = &text_ops};
    b->input.at = input;
    text_show(&b->input);
    return rewrite_run(&b->rules, &b->input.iter, varve_slice(NULL, 0), &b->changes, &b->err);
}

/* With nothing but the first group in it. */
static int64_t change(const struct bed *b)
{
    assert_true(b->changes.count <= 1);
    return b->changes.count == 0 ? 0 : b->changes.items[0].live;
}

static void expect(struct bed *b, const char *input, const char *out, int64_t live)
{
    assert_int_equal(run(b, input), 0);
    assert_string_equal(b->out, out);
    assert_int_equal(change(b), live);
    count_changes_deinit(&b->changes);
}

static void test_versions__newest_of_each_stretch(void **state)
{
    const uint64_t snapshots[] = {4, 7};
    struct bed b;

    (void)state;
    bed_init(&b);
    expect(&b, "a9p a8p a7p a6p a5p a4p a3p b5p", "a9p b5p", 0);
    b.rules.snapshots = snapshots;
    b.rules.snapshot_count = 2;
    expect(&b, "a9p a8p a7p a6p a5p a4p a3p b5p", "a9p a7p a4p b5p", 0);
}

static void test_tombstones__stay_while_needed(void **state)
{
    const uint64_t snapshots[] = {4};
    struct bed b;

    (void)state;
    bed_init(&b);
    expect(&b, "a9d a8p b5d", "", 0);
    b.older = "a";
    expect(&b, "a9d a8p b5d", "a9d", 0);
    b.older = "";
    b.rules.snapshots = snapshots;
    b.rules.snapshot_count = 1;
    expect(&b, "a9d b4d c3d d9d d4d", "a9d d9d", 0);
    b.rules.older_may_hold = NULL;
    expect(&b, "b4d", "b4d", 0);
}

static void test_expired__becomes_tombstone_or_goes(void **state)
{
    const uint64_t snapshots[] = {4};
    struct bed b;

    (void)state;
    bed_init(&b);
    b.older = "b";
    assert_int_equal(run(&b, "a9x b8x?"), 0);
    assert_string_equal(b.out, "b8d?");
    assert_int_equal(b.changes.count, 2);
    assert_int_equal(b.changes.expiry_drops, 1);
    expect(&b, "a9p a8x", "a9p", 0);
    b.rules.snapshots = snapshots;
    b.rules.snapshot_count = 1;
    expect(&b, "a9p a4x", "a9p", 0);
    expect(&b, "a9x a4p", "a9d a4p", -1);
    b.rules.expired_before_ms = NOW_MS - 1;
    expect(&b, "a9x", "a9x", 0);
}

static void test_counts__pairs_and_marks(void **state)
{
    const uint64_t snapshots[] = {4};
    struct bed b;

    (void)state;
    bed_init(&b);
    b.older = "a";
    expect(&b, "a9p? a8p?", "a9p?", -1);
    expect(&b, "a9p? a8d?", "a9p?", 0);
    expect(&b, "a9p? a8p? a7p? a6p", "a9p", -3);
    expect(&b, "a9p? a8x?", "a9p?", -1);
    expect(&b, "a9d? a8p?", "a9d?", -1);
    b.older = "";
    expect(&b, "a9p? a8p?", "a9p", -1);
    expect(&b, "a9d? a8p?", "", -1);
    expect(&b, "a9p?", "a9p", 0);
    b.older = "a";
    b.rules.snapshots = snapshots;
    b.rules.snapshot_count = 1;
    expect(&b, "a9p? a4p?", "a9p a4p?", -1);
    expect(&b, "a9p? a4p? a3p?", "a9p a4p?", -2);
    b.ignore_seq = 4;
    expect(&b, "a9p? a4p? a3p?", "a9p a4p?", 0);
    b.group_len = 0;
    b.ignore_seq = 0;
    expect(&b, "a9p? a4p? a3p?", "a9p a4p?", 0);
}

static void test_counts__ignored_expiry_changes_nothing(void **state)
{
    struct bed b;

    (void)state;
    bed_init(&b);
    b.ignore_seq = 9;
    assert_int_equal(run(&b, "a9x"), 0);
    assert_int_equal(b.changes.count, 0);
    assert_int_equal(b.changes.expiry_drops, 0);
}

static void test_ranges__hide_and_answer(void **state)
{
    const uint64_t snapshots[] = {4};
    struct range_tombstone range = {varve_slice_str("a"), varve_slice_str("b"), 6};
    struct bed b;

    (void)state;
    bed_init(&b);
    b.older = "ab";
    struct range_set *ranges = range_set_create(&range, 1);
    b.rules.ranges = ranges;
    assert_non_null(b.rules.ranges);
    expect(&b, "a9p? a5p? b9p? b5p?", "a9p b9p?", -1);
    expect(&b, "a5p? a3p?", "", 0);
    expect(&b, "a5x?", "", 0);
    b.rules.snapshots = snapshots;
    b.rules.snapshot_count = 1;
    expect(&b, "a9p? a5p? a3p?", "a9p a3p?", 0);
    assert_true(rewrite_keeps_range(&b.rules, 5, 0));
    assert_true(rewrite_keeps_range(&b.rules, 4, 1));
    assert_false(rewrite_keeps_range(&b.rules, 4, 0));
    range_set_unref(ranges);
}

static void test_flush__marks_what_lies_lowest(void **state)
{
    const uint64_t snapshots[] = {4};
    struct range_tombstone range = {varve_slice_str("a"), varve_slice_str("b"), 2};
    struct bed b;

    (void)state;
    bed_init(&b);
    b.rules.flush = 1;
    b.rules.older_may_hold = NULL;
    b.rules.expired_before_ms = 0;
    struct range_set *ranges = range_set_create(&range, 1);
    b.rules.ranges = ranges;
    b.rules.snapshots = snapshots;
    b.rules.snapshot_count = 1;
    expect(&b, "a9p a3p a1p b9p b8p b3d c7d c6d c5d d7x", "a9p a3p b9p b3d? c7d? d7x?", 0);
    range_set_unref(ranges);
}

static void test_upper__ends_before_it(void **state)
{
    struct bed b;

    (void)state;
    bed_init(&b);
    b.input.iter = (struct iter){.ops = &text_ops};
    b.input.at = "a9p b8p b7p c6p";
    text_show(&b.input);
    assert_int_equal(rewrite_run(&b.rules, &b.input.iter, varve_slice_str("b"), &b.changes, &b.err),
                     0);
    assert_string_equal(b.out, "a9p");
    assert_int_equal(b.input.iter.entry.seq, 8);
    assert_int_equal(rewrite_run(&b.rules, &b.input.iter, varve_slice_str("c"), &b.changes, &b.err),
                     0);
    assert_string_equal(b.out, "a9p b8p");
}

/* By and by, so that others can go by it. */
static void test_run__tells_what_it_took(void **state)
{
    char input[16 * 1000] = "", *at = input;
    struct bed b;

    (void)state;
    bed_init(&b);
    for (int i = 1000; i > 1; i--)
        at += sprintf(at, "a%dp ", i);
    at[-1] = 0;
    assert_int_equal(run(&b, input), 0);
    assert_int_equal(b.taken, 999);
    assert_int_equal(b.taken_most, 100);
    assert_int_equal(b.calls, 11); /* the first, and the end */
}

static void test_run__stops_and_hands_errors_on(void **state)
{
    const char *input = "a9p b8p c7p";
    struct bed b;

    (void)state;
    bed_init(&b);
    b.stop = 1;
    assert_int_equal(run(&b, input), REWRITE_STOPPED);
    b.stop = 0;
    b.emit_rc = VARVE_ENOSPC;
    assert_int_equal(run(&b, input), VARVE_ENOSPC);
    b.emit_rc = 0;
    b.input.fail_before = input + 4;
    assert_int_equal(run(&b, input), VARVE_EIO);
    assert_int_equal(b.err.code, VARVE_EIO);
    assert_string_equal(b.out, "");
}

static void test_expired__refuses_damage(void **state)
{
    struct bed b;

    (void)state;
    bed_init(&b);
    b.input.iter = (struct iter){.ops = &text_ops};
    b.input.at = "a9x";
    text_show(&b.input);
    b.input.iter.entry.chunk.crc ^= 1;
    assert_int_equal(rewrite_run(&b.rules, &b.input.iter, varve_slice(NULL, 0), &b.changes, &b.err),
                     VARVE_ECORRUPT);
    assert_int_equal(b.changes.count, 0);
}

static void test_run__survives_every_failed_allocation(void **state)
{
    struct bed b;
    int rc = VARVE_ENOMEM;

    (void)state;
    for (uint64_t nth = 1; rc != 0; nth++) {
        bed_init(&b);
        mem_fail_nth(nth, 0);
        rc = run(&b, "a9p? a8p? b7p? b6p c5x");
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || (rc == VARVE_ENOMEM && b.err.code == VARVE_ENOMEM));
        count_changes_deinit(&b.changes);
        assert_true(nth < 100);
    }
}

static void test_changes__sum_by_name(void **state)
{
    struct count_changes a = {0};
    struct count_changes b = {0};
    char name = 'z';

    (void)state;
    for (; name >= 'a'; name--)
        assert_int_equal(count_changes_add(&a, varve_slice(&name, 1), name - 'a'), 0);
    assert_int_equal(count_changes_add(&b, varve_slice_str("c"), -5), 0);
    assert_int_equal(count_changes_add(&b, varve_slice_str("cc"), 7), 0);
    b.expiry_drops = 1;
    assert_int_equal(count_changes_merge(&a, &b), 0);
    assert_int_equal(a.count, 27);
    assert_int_equal(a.items[2].live, 2 - 5);
    assert_int_equal(a.items[3].live, 7);
    assert_int_equal(a.items[4].live, 3);
    assert_int_equal(a.expiry_drops, 1);
    count_changes_deinit(&a);
    count_changes_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions__newest_of_each_stretch),
        cmocka_unit_test(test_tombstones__stay_while_needed),
        cmocka_unit_test(test_expired__becomes_tombstone_or_goes),
        cmocka_unit_test(test_counts__pairs_and_marks),
        cmocka_unit_test(test_counts__ignored_expiry_changes_nothing),
        cmocka_unit_test(test_ranges__hide_and_answer),
        cmocka_unit_test(test_flush__marks_what_lies_lowest),
        cmocka_unit_test(test_upper__ends_before_it),
        cmocka_unit_test(test_run__tells_what_it_took),
        cmocka_unit_test(test_run__stops_and_hands_errors_on),
        cmocka_unit_test(test_expired__refuses_damage),
        cmocka_unit_test(test_run__survives_every_failed_allocation),
        cmocka_unit_test(test_changes__sum_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
