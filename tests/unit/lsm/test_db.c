#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "bed.h"

#define NOW SIM_CLOCK_START_REAL_MS

static void assert_dump(struct bed *bed, const struct varve_read *read, const char *want)
{
    char *dump = bed_dump(bed, read);

    assert_string_equal(dump, want);
    mem_free(dump);
}

static struct varve_slice str(const char *text)
{
    return varve_slice_str(text);
}

/* ---- put, get, delete ---- */

static void test_db__put_get_delete(void **state)
{
    struct bed *bed = *state;
    struct varve_pin pin;

    assert_string_equal(bed_get(bed, "a"), "-");
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(bed->seq, 1);
    assert_string_equal(bed_get(bed, "a"), "1");
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    assert_string_equal(bed_get(bed, "a"), "2");
    assert_int_equal(bed_put(bed, "b", ""), 0);
    assert_string_equal(bed_get(bed, "b"), "");
    assert_int_equal(bed_delete(bed, "a"), 0);
    assert_int_equal(bed->seq, 4);
    assert_int_equal(varve_get(bed->db, NULL, str("a"), &pin, &bed->err), VARVE_NOT_FOUND);
    assert_int_equal(pin.seq, 4); /* the tombstone decided it */
    assert_int_equal(varve_get(bed->db, NULL, str("z"), &pin, &bed->err), VARVE_NOT_FOUND);
    assert_int_equal(pin.seq, 0);
    assert_int_equal(bed_delete(bed, "never"), 0);
    assert_int_equal(bed_put(bed, "a", "3"), 0);
    assert_dump(bed, NULL, "a=3 b= ");
}

/* Both ways: 1 if the iterator comes to the one key behind those that are gone. */
static int comes_through(struct bed *bed, uint64_t passes_max, int no_wait, int down)
{
    struct varve_read read = {.no_wait = no_wait, .passes_max = passes_max};
    struct varve_iter *iter = varve_iter_create(bed->db, &read, NULL, NULL, &bed->err);

    if (down)
        varve_iter_seek_prev(iter, str("k99"));
    else
        varve_iter_seek(iter, str("k00"));
    int valid = varve_iter_valid(iter);
    assert_int_equal(varve_iter_status(iter, &bed->err), valid ? 0 : VARVE_WOULD_BLOCK);
    varve_iter_destroy(iter);
    return valid;
}

static void test_db__iterator_that_may_not_pass_many(void **state)
{
    struct bed *bed = *state;
    char key[8];

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(bed_put(bed, "z", "1"), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%02d", i);
        assert_int_equal(bed_put(bed, key, "v"), 0);
        assert_int_equal(bed_delete(bed, key), 0);
    }
    for (int down = 0; down < 2; down++) {
        assert_false(comes_through(bed, 99, 1, down));
        assert_true(comes_through(bed, 100, 1, down));
        assert_true(comes_through(bed, 0, 1, down));
        assert_true(comes_through(bed, 99, 0, down));
    }
}

static void test_db__keys_are_binary_and_ordered(void **state)
{
    struct bed *bed = *state;
    struct varve_slice keys[] = {varve_slice("", 0),     varve_slice("\0", 1),
                                 varve_slice("\0\0", 2), varve_slice("\0\1", 2),
                                 varve_slice("a", 1),    varve_slice("a\0", 2),
                                 varve_slice("aa", 2),   varve_slice("b", 1),
                                 varve_slice("\xff", 1), varve_slice("\xff\xff", 2)};
    struct varve_batch *batch = varve_batch_create();
    struct varve_pin pin;
    size_t at = 0;

    for (size_t i = COUNT_OF(keys); i-- > 0;)
        assert_int_equal(varve_batch_put(batch, &keys[i], 1, &keys[i], 1, 0), 0);
    assert_int_equal(varve_write(bed->db, batch, NULL, &bed->err), 0);
    varve_batch_destroy(batch);
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        assert_int_equal(varve_get(bed->db, NULL, keys[i], &pin, &bed->err), 0);
        assert_true(varve_slice_equal(pin.value, keys[i]));
        varve_pin_release(&pin);
    }
    struct varve_iter *iter = varve_iter_create(bed->db, NULL, NULL, NULL, &bed->err);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter))
        assert_true(varve_slice_equal(varve_iter_key(iter), keys[at++]));
    assert_int_equal(at, COUNT_OF(keys));
    for (varve_iter_last(iter); varve_iter_valid(iter); varve_iter_prev(iter))
        assert_true(varve_slice_equal(varve_iter_key(iter), keys[--at]));
    assert_int_equal(at, 0);
    varve_iter_destroy(iter);
}

static void test_db__large_values_and_reopen(void **state)
{
    struct bed *bed = *state;
    size_t lens[] = {VARVE_BATCH_BORROW_BYTES - 1, VARVE_BATCH_BORROW_BYTES, 65536, 65537,
                     5 * 1024 * 1024};
    struct rng rng;

    rng_init(&rng, 4);
    uint8_t *value = mem_alloc(lens[COUNT_OF(lens) - 1]);
    for (size_t i = 0; i < lens[COUNT_OF(lens) - 1]; i++)
        value[i] = (uint8_t)rng_next(&rng);
    for (size_t i = 0; i < COUNT_OF(lens); i++) {
        char key[8];
        snprintf(key, sizeof(key), "v%zu", i);
        assert_int_equal(bed_put_bytes(bed, key, varve_slice(value, lens[i]), 0), 0);
        bed_run(bed);
    }
    char *before = bed_dump(bed, NULL);
    bed_close_ok(bed);
    bed_open_ok(bed);
    assert_dump(bed, NULL, before);
    mem_free(before);
    mem_free(value);
}

/* ---- ranges ---- */

static void test_db__range_delete(void **state)
{
    struct bed *bed = *state;
    const char *keys[] = {"a", "b", "b1", "c", "d"};
    struct varve_pin pin;

    for (size_t i = 0; i < COUNT_OF(keys); i++)
        assert_int_equal(bed_put(bed, keys[i], "x"), 0);
    assert_int_equal(bed_delete_range(bed, "b", "d"), 0);
    assert_dump(bed, NULL, "a=x d=x ");
    assert_int_equal(varve_get(bed->db, NULL, str("c"), &pin, &bed->err), VARVE_NOT_FOUND);
    assert_int_equal(pin.seq, 6);
    assert_int_equal(bed_put(bed, "c", "new"), 0);
    assert_dump(bed, NULL, "a=x c=new d=x ");
    assert_int_equal(bed_delete_range(bed, "", "zz"), 0);
    assert_dump(bed, NULL, "");
    bed_crash(bed, SIM_ALL_KEPT, 0);
    bed_open_ok(bed);
    assert_dump(bed, NULL, "");
}

/* Ends so long that a value of that length would be borrowed. */
static void test_db__range_delete_of_a_long_end(void **state)
{
    struct bed *bed = *state;
    size_t len = VARVE_BATCH_BORROW_BYTES + 7;
    char *end = mem_alloc(len + 1);

    memset(end, 'c', len);
    end[len] = '\0';
    assert_int_equal(bed_put(bed, "b", "x"), 0);
    assert_int_equal(bed_put(bed, "d", "x"), 0);
    assert_int_equal(bed_delete_range(bed, "a", end), 0);
    memset(end, 'z', len); /* the batch is gone, and so is what it was made of */
    mem_free(end);
    assert_dump(bed, NULL, "d=x ");
    bed_crash(bed, SIM_ALL_KEPT, 0);
    bed_open_ok(bed);
    assert_dump(bed, NULL, "d=x ");
}

/* Inside one batch the order of its operations counts. */
static void test_db__batch_is_ordered(void **state)
{
    struct bed *bed = *state;
    struct varve_batch *batch = varve_batch_create();
    struct varve_slice a = str("a");
    struct varve_slice b = str("b");

    assert_int_equal(varve_batch_put(batch, &a, 1, &a, 1, 0), 0);
    assert_int_equal(varve_batch_delete_range(batch, str("a"), str("c")), 0);
    assert_int_equal(varve_batch_put(batch, &b, 1, &b, 1, 0), 0);
    assert_int_equal(varve_batch_put(batch, &b, 1, &a, 1, 0), 0);
    assert_int_equal(varve_batch_put(batch, &a, 1, &b, 1, 0), 0);
    assert_int_equal(varve_batch_delete(batch, &a, 1), 0);
    assert_int_equal(varve_write(bed->db, batch, &bed->seq, &bed->err), 0);
    assert_int_equal(bed->seq, 6);
    assert_dump(bed, NULL, "b=a ");
    varve_batch_clear(batch);
    bed->seq = 9;
    assert_int_equal(varve_write(bed->db, batch, &bed->seq, &bed->err), 0); /* an empty one */
    varve_batch_destroy(batch);
}

/* ---- counts ---- */

static void test_db__counts_are_exact(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_count(bed, "a"), 0);
    bed_put(bed, "a1", "x");
    bed_put(bed, "a1", "y");
    bed_put(bed, "a2", "x");
    bed_put(bed, "b1", "x");
    bed_put(bed, "N", "in no group");
    assert_int_equal(bed_count(bed, "a"), 2);
    assert_int_equal(bed_count(bed, "b"), 1);
    bed_delete(bed, "a1");
    bed_delete(bed, "a1");
    bed_delete(bed, "a9");
    assert_int_equal(bed_count(bed, "a"), 1);
    bed_put(bed, "a1", "again");
    bed_put(bed, "a3", "x");
    bed_put(bed, "b2", "x");
    bed_delete_range(bed, "a2", "b2"); /* cuts both groups */
    assert_int_equal(bed_count(bed, "a"), 1);
    assert_int_equal(bed_count(bed, "b"), 1);
    bed_put(bed, "a2", "x");
    bed_delete_range(bed, "a", "b"); /* the whole group */
    assert_int_equal(bed_count(bed, "a"), 0);
    assert_int_equal(bed_count(bed, "b"), 1);
    bed_put(bed, "a2", "under a range");
    assert_int_equal(bed_count(bed, "a"), 1);
    bed_put_bytes(bed, "a5", str("x"), NOW + 10);
    sim_clock_advance_us(bed->sim, 1000000);
    assert_string_equal(bed_get(bed, "a5"), "-");
    assert_int_equal(bed_count(bed, "a"), 2); /* expired counts until it is deleted */
    bed_close_ok(bed);
    bed_open_ok(bed);
    assert_int_equal(bed_count(bed, "a"), 2);
    assert_int_equal(bed_count(bed, "b"), 1);
    uint64_t count;
    assert_int_equal(varve_count(bed->db, varve_slice("", 0), &count, &bed->err), VARVE_EINVAL);
    assert_int_equal(varve_count(bed->db, str("12345678901234567"), &count, &bed->err),
                     VARVE_EINVAL);
}

static uint64_t count_by_walking(struct bed *bed, char group)
{
    struct varve_read read = {.dead = 1};
    struct varve_iter *iter = varve_iter_create(bed->db, &read, NULL, NULL, &bed->err);
    uint64_t count = 0;

    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter)) {
        struct varve_slice key = varve_iter_key(iter);
        count += key.len > 0 && key.data[0] == (uint8_t)group;
    }
    varve_iter_destroy(iter);
    return count;
}

/* Any writes, groups that are rolled back among them: a count is what a walk finds. */
static void test_db__counts_agree_with_a_walk(void **state)
{
    struct bed *bed = *state;
    struct rng rng;

    rng_init(&rng, 77);
    for (int i = 0; i < 600; i++) {
        char a[4] = {(char)('a' + rng_below(&rng, 3)), (char)('0' + rng_below(&rng, 6)), 0, 0};
        char b[4] = {(char)('a' + rng_below(&rng, 4)), (char)('0' + rng_below(&rng, 6)), 0, 0};
        int fails = rng_below(&rng, 8) == 0;
        if (fails)
            fault_env_plan(bed->fault,
                           (struct fault_plan){.op = FAULT_WRITE, .nth = 1, .os_errno = EIO});
        int rc;
        switch (rng_below(&rng, 4)) {
        case 0: rc = bed_delete(bed, a); break;
        case 1: rc = strcmp(a, b) < 0 ? bed_delete_range(bed, a, b) : bed_put(bed, b, "x"); break;
        default: rc = bed_put(bed, a, "x");
        }
        assert_int_equal(rc, fails ? VARVE_EIO : 0);
        fault_env_heal(bed->fault);
        while (varve_writable(bed->db, NULL) != 0)
            bed_pass_us(bed, 600000);
        for (char group = 'a'; group <= 'd'; group++) {
            char name[2] = {group, 0};
            assert_int_equal(bed_count(bed, name), count_by_walking(bed, group));
        }
    }
    assert_true(fault_env_calls(bed->fault, FAULT_ANY) > 0);
}

/* ---- expiry ---- */

static void test_db__expired_is_absent_to_the_millisecond(void **state)
{
    struct bed *bed = *state;
    struct varve_read read = {.now_ms = NOW + 99};
    struct varve_read dead = {.now_ms = NOW + 100, .dead = 1};

    bed_put(bed, "k", "older");
    bed_put_bytes(bed, "k", str("v"), NOW + 100);
    assert_dump(bed, &read, "k=v@1700000000100 ");
    read.now_ms = NOW + 100;
    assert_string_equal(bed_get_with(bed, &read, "k"), "-"); /* and not the older one below it */
    assert_dump(bed, &read, "");
    assert_dump(bed, &dead, "k=v@1700000000100 ");
    sim_clock_advance_us(bed->sim, 99999);
    assert_string_equal(bed_get(bed, "k"), "v");
    sim_clock_advance_us(bed->sim, 1);
    assert_string_equal(bed_get(bed, "k"), "-");
    bed_close_ok(bed);
    bed_open_ok(bed);
    assert_string_equal(bed_get(bed, "k"), "-");
    assert_dump(bed, &dead, "k=v@1700000000100 ");
    bed_put(bed, "k", "lives");
    assert_string_equal(bed_get(bed, "k"), "lives");
}

/* ---- snapshots, iterators ---- */

static void test_db__snapshot_sees_one_state(void **state)
{
    struct bed *bed = *state;

    bed_put(bed, "a", "1");
    bed_put_bytes(bed, "e", str("x"), NOW + 50);
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed->db);
    struct varve_read read = {.snapshot = snapshot};
    assert_int_equal(varve_snapshot_seq(snapshot), 2);
    assert_int_equal(varve_snapshot_now_ms(snapshot), NOW);
    bed_put(bed, "a", "2");
    bed_put(bed, "b", "3");
    bed_delete_range(bed, "a", "f");
    sim_clock_advance_us(bed->sim, 1000000);
    assert_dump(bed, NULL, "");
    assert_dump(bed, &read, "a=1 e=x@1700000000050 ");
    assert_int_equal(bed_add(bed, "a", "open"), 0);
    assert_dump(bed, &read, "a=1 e=x@1700000000050 ");
    assert_int_equal(varve_group_commit(bed->db, &bed->err), 0);
    varve_snapshot_release(bed->db, snapshot);
    varve_snapshot_release(bed->db, NULL);
}

static void test_db__iterator_keeps_its_state(void **state)
{
    struct bed *bed = *state;

    bed_put(bed, "b", "1");
    bed_put(bed, "d", "1");
    struct varve_iter *iter = varve_iter_create(bed->db, NULL, NULL, NULL, &bed->err);
    varve_iter_first(iter);
    bed_put(bed, "c", "2");
    bed_put(bed, "d", "2");
    bed_delete(bed, "b");
    varve_iter_next(iter);
    assert_true(varve_slice_equal(varve_iter_key(iter), str("d")));
    assert_true(varve_slice_equal(varve_iter_value(iter), str("1")));
    assert_int_equal(varve_iter_seq(iter), 2);
    varve_iter_prev(iter);
    assert_true(varve_slice_equal(varve_iter_key(iter), str("b")));
    varve_iter_prev(iter);
    assert_false(varve_iter_valid(iter));
    assert_int_equal(varve_iter_status(iter, NULL), 0);
    varve_iter_destroy(iter);
    varve_iter_destroy(NULL);
}

/* The keys are b, d, f, ... and every bound, start and direction is held against a plain array. */
#define BOUND_KEYS 6

static const char *bound_at(int i, char text[2])
{
    text[0] = (char)('a' + i);
    text[1] = '\0';
    return text;
}

static void check_seeks(struct varve_iter *iter, int low, int high)
{
    char text[2];

    for (int key = 0; key <= 2 * BOUND_KEYS + 1; key++) {
        int want = key < low ? low : key;
        want += want % 2 == 0;
        varve_iter_seek(iter, str(bound_at(key, text)));
        int found = varve_iter_valid(iter) ? varve_iter_key(iter).data[0] - 'a' : -1;
        assert_int_equal(found, want < high && want < 2 * BOUND_KEYS ? want : -1);
        want = key >= high ? high - 1 : key;
        if (want > 2 * BOUND_KEYS - 1)
            want = 2 * BOUND_KEYS - 1;
        want -= want % 2 == 0;
        varve_iter_seek_prev(iter, str(bound_at(key, text)));
        found = varve_iter_valid(iter) ? varve_iter_key(iter).data[0] - 'a' : -1;
        assert_int_equal(found, want >= low && want >= 0 ? want : -1);
    }
}

static void check_walks(struct varve_iter *iter, int low, int high)
{
    int first = low + (low % 2 == 0);
    int at = first;

    if (high > 2 * BOUND_KEYS)
        high = 2 * BOUND_KEYS;
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter), at += 2)
        assert_int_equal(varve_iter_key(iter).data[0] - 'a', at);
    assert_true(at >= high);
    assert_true(at == first || at < high + 2);
    at = high - 1 - ((high - 1) % 2 == 0);
    for (varve_iter_last(iter); varve_iter_valid(iter); varve_iter_prev(iter), at -= 2)
        assert_int_equal(varve_iter_key(iter).data[0] - 'a', at);
    assert_true(at < low);
}

static void test_db__iterator_bounds_both_ways(void **state)
{
    struct bed *bed = *state;
    char text[2];
    char other[2];

    for (int i = 0; i < BOUND_KEYS; i++)
        bed_put(bed, bound_at(2 * i + 1, text), "x");
    bed_put(bed, "c", "deleted");
    bed_delete(bed, "c");
    for (int low = -1; low <= 2 * BOUND_KEYS + 1; low++) {
        for (int high = -1; high <= 2 * BOUND_KEYS + 1; high++) {
            struct varve_slice lower = str(bound_at(low < 0 ? 0 : low, text));
            struct varve_slice upper = str(bound_at(high < 0 ? 0 : high, other));
            struct varve_iter *iter = varve_iter_create(bed->db, NULL, low < 0 ? NULL : &lower,
                                                        high < 0 ? NULL : &upper, &bed->err);
            assert_non_null(iter);
            check_seeks(iter, low < 0 ? 0 : low, high < 0 ? 99 : high);
            check_walks(iter, low < 0 ? 0 : low, high < 0 ? 99 : high);
            varve_iter_destroy(iter);
        }
    }
}

static void test_db__empty_bounds(void **state)
{
    struct bed *bed = *state;
    struct varve_slice empty = varve_slice(NULL, 0);

    bed_put(bed, "", "at the empty key");
    bed_put(bed, "a", "x");
    struct varve_iter *iter = varve_iter_create(bed->db, NULL, &empty, NULL, &bed->err);
    varve_iter_first(iter);
    assert_true(varve_iter_valid(iter));
    assert_int_equal(varve_iter_key(iter).len, 0);
    varve_iter_destroy(iter);
    iter = varve_iter_create(bed->db, NULL, NULL, &empty, &bed->err); /* nothing is below "" */
    varve_iter_first(iter);
    assert_false(varve_iter_valid(iter));
    varve_iter_last(iter);
    assert_false(varve_iter_valid(iter));
    varve_iter_seek(iter, str("a"));
    assert_false(varve_iter_valid(iter));
    varve_iter_seek_prev(iter, str("a"));
    assert_false(varve_iter_valid(iter));
    varve_iter_destroy(iter);
}

/* ---- groups ---- */

static void test_db__open_group_is_seen_by_its_writer_only(void **state)
{
    struct bed *bed = *state;
    struct varve_read own = {.uncommitted = 1};

    bed_put(bed, "a", "1");
    assert_false(varve_group_open(bed->db));
    assert_int_equal(varve_group_commit(bed->db, &bed->err), 0); /* an empty one */
    assert_int_equal(bed_add(bed, "a", "2"), 0);
    assert_int_equal(bed_add(bed, "b", "3"), 0);
    assert_true(varve_group_open(bed->db));
    assert_int_equal(bed->seq, 3);
    assert_dump(bed, NULL, "a=1 ");
    assert_dump(bed, &own, "a=2 b=3 ");
    assert_int_equal(bed_count(bed, "b"), 1);
    uint64_t writes = fault_env_calls(bed->fault, FAULT_WRITE);
    assert_int_equal(varve_group_commit(bed->db, &bed->err), 0);
    assert_int_equal(fault_env_calls(bed->fault, FAULT_WRITE), writes + 1);
    assert_dump(bed, NULL, "a=2 b=3 ");
    assert_dump(bed, &own, "a=2 b=3 ");
}

static void add_two_parts(struct bed *bed, const char *key, uint8_t *bytes, size_t len)
{
    struct varve_batch *batch = varve_batch_create();
    struct varve_slice name = str(key);
    struct varve_slice parts[2] = {str("lead "), varve_slice(bytes, len)};

    assert_int_equal(varve_batch_put(batch, &name, 1, parts, 2, 0), 0);
    assert_int_equal(varve_batch_put(batch, &name, 1, parts + 1, 1, 0), 0);
    assert_int_equal(varve_batch_put(batch, &name, 1, parts, 2, 0), 0);
    assert_int_equal(varve_group_add(bed->db, batch, NULL, &bed->err), 0);
    varve_batch_destroy(batch);
    memset(bytes, 'z', len); /* it is the caller's again, before the commit */
}

static void assert_two_parts(struct bed *bed, const char *key, char fill, size_t len)
{
    struct varve_read own = {.uncommitted = 1};
    struct varve_pin pin;

    assert_int_equal(varve_get(bed->db, &own, str(key), &pin, &bed->err), 0);
    assert_int_equal(pin.value.len, len + 5);
    assert_memory_equal(pin.value.data, "lead ", 5);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(pin.value.data[5 + i], fill);
    varve_pin_release(&pin);
}

static void test_db__borrowed_values_are_let_go_by_the_group(void **state)
{
    struct bed *bed = *state;
    size_t len = VARVE_BATCH_BORROW_BYTES + 7;
    uint8_t *bytes = mem_alloc(len);
    struct varve_group_mark mark;

    memset(bytes, 'x', len);
    add_two_parts(bed, "x", bytes, len);
    varve_group_mark(bed->db, &mark);
    memset(bytes, 'w', len);
    add_two_parts(bed, "w", bytes, len);
    varve_group_cut(bed->db, &mark);
    memset(bytes, 'y', len);
    add_two_parts(bed, "y", bytes, len);
    assert_two_parts(bed, "x", 'x', len);
    assert_int_equal(varve_group_commit(bed->db, &bed->err), 0);
    bed_close_ok(bed);
    bed_open_ok(bed);
    assert_two_parts(bed, "x", 'x', len);
    assert_two_parts(bed, "y", 'y', len);
    assert_string_equal(bed_get(bed, "w"), "-");
    mem_free(bytes);
}

static void test_db__group_is_undone_when_its_log_write_fails(void **state)
{
    struct bed *bed = *state;
    struct varve_read own = {.uncommitted = 1};

    bed_put(bed, "a", "1");
    bed_put(bed, "c", "1");
    bed_run(bed);
    bed_add(bed, "a", "2");
    bed_add(bed, "a", "3");
    bed_add(bed, "b", "new");
    struct varve_batch *batch = varve_batch_create();
    varve_batch_delete_range(batch, str("a"), str("z"));
    assert_int_equal(varve_group_add(bed->db, batch, NULL, &bed->err), 0);
    varve_batch_destroy(batch);
    assert_dump(bed, &own, "");
    fault_env_plan(bed->fault,
                   (struct fault_plan){.op = FAULT_WRITE, .nth = 1, .os_errno = ENOSPC});
    assert_int_equal(varve_group_commit(bed->db, &bed->err), VARVE_ENOSPC);
    assert_int_equal(bed->err.code, VARVE_ENOSPC);
    assert_false(varve_group_open(bed->db));
    assert_dump(bed, NULL, "a=1 c=1 ");
    assert_dump(bed, &own, "a=1 c=1 ");
    assert_int_equal(bed_count(bed, "a"), 1);
    assert_int_equal(bed_count(bed, "b"), 0);
    assert_int_equal(bed_count(bed, "c"), 1);
    assert_int_equal(bed_put(bed, "d", "1"), VARVE_EREADONLY);
    assert_non_null(strstr(bed->err.text, strerror(ENOSPC)));
    fault_env_heal(bed->fault);
    bed_pass_us(bed, 1000000);
    bed_pass_us(bed, 1000000);
    assert_int_equal(bed_put(bed, "d", "1"), 0);
    assert_int_equal(bed->seq, 3); /* the numbers of what was undone are used again */
    assert_dump(bed, NULL, "a=1 c=1 d=1 ");
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_open_ok(bed);
    assert_dump(bed, NULL, "a=1 c=1 ");
}

/* ---- acknowledgements ---- */

static uint64_t now_mono_us(const struct bed *bed)
{
    struct varve_env *env = sim_as_env(bed->sim);

    return env->ops->now_mono_us(env);
}

/* What an OK waits for: its sync in always, nothing in no, and in everysec its sync only once the oldest
 * unsynced byte is near 2 s old. */
static void test_db__acknowledgement_waits_by_mode(void **state)
{
    struct bed *bed = *state;

    bed_put(bed, "a", "1");
    assert_int_equal(varve_ack_seq(bed->db, bed->seq), 1);
    assert_int_equal(varve_read_ack_seq(bed->db, bed->seq, 0), 1);
    assert_int_equal(varve_visible_seq(bed->db), bed->seq);
    varve_set_durability(bed->db, VARVE_NO);
    bed_put(bed, "a", "2");
    assert_int_equal(varve_ack_seq(bed->db, bed->seq), 0);
    varve_set_durability(bed->db, VARVE_EVERYSEC);
    bed_run(bed);
    bed_pass_us(bed, 1000000);
    bed_put(bed, "a", "3");
    assert_int_equal(varve_ack_seq(bed->db, bed->seq), 0);
    for (int i = 0; i < 17; i++) { /* the sync starts, and hangs */
        sim_clock_advance_us(bed->sim, 100000);
        varve_tick(bed->db);
        bed_put(bed, "a", "4");
        assert_int_equal(varve_ack_seq(bed->db, bed->seq), 0);
        assert_int_equal(varve_read_ack_seq(bed->db, bed->seq, now_mono_us(bed)), 0);
    }
    sim_clock_advance_us(bed->sim, 200000);
    /* A reader sees it by its own clock. */
    assert_int_equal(varve_read_ack_seq(bed->db, bed->seq, now_mono_us(bed)), bed->seq);
    varve_tick(bed->db);
    bed_put(bed, "a", "held");
    assert_int_equal(varve_ack_seq(bed->db, bed->seq), bed->seq);
    bed_run(bed);
    bed_pass_us(bed, 100000);
    bed_put(bed, "a", "5");
    assert_int_equal(varve_ack_seq(bed->db, bed->seq), 0);
}

/* What was written before a write that failed is acknowledged when its sync is through, so no reader may
 * see the state before it; what a failed sync left in doubt is not shown. */
static void test_db__failed_write_hides_nothing_a_failed_sync_does(void **state)
{
    struct bed *bed = *state;
    struct fault_plan no_write = {.op = FAULT_WRITE, .nth = 1, .os_errno = ENOSPC};
    struct fault_plan no_sync = {.op = FAULT_SYNC, .nth = 1, .os_errno = EIO, .mode = FAULT_STICKY};

    bed_put(bed, "a", "1");
    bed_run(bed);
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    fault_env_plan(bed->fault, no_write);
    assert_int_equal(bed_put(bed, "a", "3"), VARVE_ENOSPC);
    assert_string_equal(bed_get(bed, "a"), "2");
    fault_env_plan(bed->fault, no_sync);
    bed_run(bed);
    assert_int_equal(bed->told_failed, 1);
    assert_string_equal(bed_get(bed, "a"), "1");
    fault_env_heal(bed->fault);
    bed_pass_us(bed, 1000000);
    bed_pass_us(bed, 1000000);
    assert_string_equal(bed_get(bed, "a"), "2");
}

static void test_db__change_of_durability_leaves_nobody_waiting(void **state)
{
    struct bed *bed = *state;

    varve_set_durability(bed->db, VARVE_EVERYSEC);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    varve_set_durability(bed->db, VARVE_NO);
    bed_run(bed);
    assert_int_equal(varve_durable_seq(bed->db), bed->seq);
    assert_int_equal(bed_put(bed, "a", "2"), 0);
    varve_set_durability(bed->db, VARVE_NO);
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_SYNC), 0);
}

static void test_db__sync_is_started_in_every_mode(void **state)
{
    struct bed *bed = *state;

    varve_set_durability(bed->db, VARVE_NO);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    bed_run(bed);
    assert_int_equal(varve_durable_seq(bed->db), 0);
    varve_sync(bed->db);
    assert_int_equal(varve_durable_seq(bed->db), 0); /* it waits for nothing */
    bed_run(bed);
    assert_int_equal(varve_durable_seq(bed->db), bed->seq);
    assert_int_equal(bed->told_seq, bed->seq);
    varve_sync(bed->db); /* there is nothing left */
    assert_int_equal(step_waiting(bed->stepper, VARVE_JOB_SYNC), 0);
}

/* ---- options ---- */

static void test_db__options_are_checked(void **state)
{
    struct bed *bed = *state;
    const struct varve_options good = bed->options;
    struct varve_options bad[5];

    bed_close_ok(bed);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        bad[i] = good;
    bad[0].executor = NULL;
    bad[1].memtable_size_bytes = 64 * 1024 - 1;
    bad[2].wal_size_bytes = 4095;
    bad[3].wal_pool_size = 17;
    bad[4].durability = (enum varve_durability)3;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint64_t hash = sim_hash(bed->sim);
        bed->options = bad[i];
        assert_int_equal(bed_open(bed), VARVE_EINVAL);
        assert_null(bed->db);
        assert_memory_equal(bed->err.text, "options: ", 9);
        assert_true(sim_hash(bed->sim) == hash);
    }
    bed->options = good;
    bed->options.memtable_size_bytes = 64 * 1024;
    bed->options.wal_size_bytes = 4096;
    bed->options.wal_pool_size = 16;
    bed_open_ok(bed);
}

static void test_db__no_create_refuses_an_empty_directory(void **state)
{
    struct bed *bed = *state;
    struct bed other;

    (void)bed;
    bed_init(&other, 2);
    other.options.no_create = 1;
    uint64_t hash = sim_hash(other.sim);
    assert_int_equal(bed_open(&other), VARVE_ENOENT);
    assert_true(sim_hash(other.sim) == hash);
    other.options.no_create = 0;
    bed_open_ok(&other);
    bed_close_ok(&other);
    other.options.no_create = 1;
    bed_open_ok(&other);
    bed_deinit(&other);
}

static void test_db__is_locked_while_it_is_open(void **state)
{
    struct bed *bed = *state;
    struct varve_db *second = NULL;

    bed_put(bed, "a", "1");
    bed_run(bed);
    uint64_t hash = sim_hash(bed->sim);
    assert_int_equal(varve_open(BED_DIR "/", &bed->options, &second, &bed->err), VARVE_ELOCKED);
    assert_null(second);
    assert_true(sim_hash(bed->sim) == hash);
    bed_close_ok(bed);
    bed_open_ok(bed);
    assert_string_equal(bed_get(bed, "a"), "1");
    assert_int_equal(strlen(varve_id(bed->db)), 32);
}

int main(void)
{
#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)
    const struct CMUnitTest tests[] = {
        WITH_BED(test_db__put_get_delete),
        WITH_BED(test_db__iterator_that_may_not_pass_many),
        WITH_BED(test_db__keys_are_binary_and_ordered),
        WITH_BED(test_db__large_values_and_reopen),
        WITH_BED(test_db__range_delete),
        WITH_BED(test_db__batch_is_ordered),
        WITH_BED(test_db__counts_are_exact),
        WITH_BED(test_db__counts_agree_with_a_walk),
        WITH_BED(test_db__expired_is_absent_to_the_millisecond),
        WITH_BED(test_db__snapshot_sees_one_state),
        WITH_BED(test_db__iterator_keeps_its_state),
        WITH_BED(test_db__iterator_bounds_both_ways),
        WITH_BED(test_db__empty_bounds),
        WITH_BED(test_db__open_group_is_seen_by_its_writer_only),
        WITH_BED(test_db__borrowed_values_are_let_go_by_the_group),
        WITH_BED(test_db__range_delete_of_a_long_end),
        WITH_BED(test_db__group_is_undone_when_its_log_write_fails),
        WITH_BED(test_db__acknowledgement_waits_by_mode),
        WITH_BED(test_db__failed_write_hides_nothing_a_failed_sync_does),
        WITH_BED(test_db__change_of_durability_leaves_nobody_waiting),
        WITH_BED(test_db__sync_is_started_in_every_mode),
        WITH_BED(test_db__options_are_checked),
        WITH_BED(test_db__no_create_refuses_an_empty_directory),
        WITH_BED(test_db__is_locked_while_it_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
