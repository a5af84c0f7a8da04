#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "segment/properties.h"

static struct properties example(void)
{
    struct properties p = {
        .entries = 1000,
        .puts = 900,
        .ranges = 3,
        .seq_min = 17,
        .seq_max = UINT64_MAX,
        .raw_bytes = 123456789,
        .value_bytes = 1ull << 40,
        .index = {4096, 100},
        .filter = {5000, 1024},
        .range_block = {UINT64_MAX - 5, 5},
        .expiring = 40,
        .expire_ms_max = 2000,
        .expiry_count = 2,
        .expiry = {{1000, 10}, {2000, 10}},
        .group_count = 2,
        .groups = {{.name = "a", .name_len = 1, .entries = 5, .unknown = 5, .live = 3},
                   {.name = "bbbbbbbbbbbbbbb", .name_len = 16, .entries = 1ull << 50}},
    };

    segment_bound_lower(&p.lower, varve_slice_str("lower"));
    segment_bound_upper(&p.upper, varve_slice_str("upper"));
    return p;
}

/* Compares bytes where the fields lie without holes. */
#define FROM_TO(a, b, from, to)                                                                    \
    assert_memory_equal(&(a)->from, &(b)->from,                                                    \
                        offsetof(struct properties, to) - offsetof(struct properties, from))

static void check_equal(const struct properties *a, const struct properties *b)
{
    FROM_TO(a, b, entries, lower);
    FROM_TO(a, b, index, expiry_count);
    assert_true(varve_slice_equal(segment_bound_slice(&a->lower), segment_bound_slice(&b->lower)));
    assert_true(varve_slice_equal(segment_bound_slice(&a->upper), segment_bound_slice(&b->upper)));
    assert_int_equal(a->expiry_count, b->expiry_count);
    assert_int_equal(a->group_count, b->group_count);
    for (uint32_t i = 0; i < a->group_count && i < SEGMENT_GROUPS_MAX; i++) {
        const struct segment_group *x = &a->groups[i];
        const struct segment_group *y = &b->groups[i];
        assert_true(varve_slice_equal(varve_slice(x->name, x->name_len),
                                      varve_slice(y->name, y->name_len)));
        assert_true(x->entries == y->entries && x->unknown == y->unknown && x->live == y->live);
    }
}

static void check_same(const struct properties *p)
{
    struct properties back;
    struct varve_err err = {0};
    struct buf buf;

    buf_init(&buf, SIZE_MAX / 2);
    assert_int_equal(buf_append(&buf, "before", 6), 0);
    assert_int_equal(properties_put(p, &buf), 0);
    struct varve_slice payload = varve_slice(buf.data + 6, buf.len - 6);
    assert_int_equal(properties_get(payload, &back, &err), 0);
    check_equal(p, &back);
    buf_deinit(&buf);
}

static void test_properties__come_back_whole(void **state)
{
    struct properties p = example();
    struct properties zero = {0};

    (void)state;
    check_same(&p);
    check_same(&zero);
    p.superseded_bytes = 7;
    check_same(&p);
    p.hiding_known = 1;
    check_same(&p);
    p.hiding_bytes = 8;
    check_same(&p);
    p.superseded_bytes = 0;
    check_same(&p);
    memset(&p.groups, 0, sizeof(p.groups));
    p.group_count = SEGMENT_GROUPS_MAX + 1;
    check_same(&p);
}

static void test_properties__the_largest_come_back_whole(void **state)
{
    struct properties p = example();

    (void)state;
    p.entries = p.puts = p.expiring = p.expire_ms_max = p.ranges = UINT64_MAX;
    p.raw_bytes = p.superseded_bytes = p.hiding_bytes = UINT64_MAX;
    p.hiding_known = 1;
    p.group_count = SEGMENT_GROUPS_MAX;
    p.expiry_count = SEGMENT_EXPIRY_STEPS_MAX;
    for (uint32_t i = 0; i < SEGMENT_GROUPS_MAX; i++) {
        memset(p.groups[i].name, (int)i + 100, VARVE_GROUP_MAX_BYTES);
        p.groups[i].name_len = VARVE_GROUP_MAX_BYTES;
        p.groups[i].entries = p.groups[i].unknown = p.groups[i].live = UINT64_MAX;
    }
    for (uint32_t i = 0; i < SEGMENT_EXPIRY_STEPS_MAX; i++)
        p.expiry[i] = (struct segment_expiry_step){UINT64_MAX - 100 + i, UINT64_MAX - 100 + i};
    memset(p.lower.bytes, 0xfe, 256);
    p.lower.len = 256;
    memset(p.upper.bytes, 0xff, 257);
    p.upper.len = 257;
    check_same(&p);
}

static void test_properties__say_when_all_is_dead(void **state)
{
    struct properties p = {.entries = 10, .puts = 4, .expiring = 4, .expire_ms_max = 1000};

    (void)state;
    assert_true(properties_all_dead(&p, 1000));
    assert_false(properties_all_dead(&p, 999));
    p.expiring = 3;
    assert_false(properties_all_dead(&p, 1000));
    p.expiring = 4;
    p.ranges = 1;
    assert_false(properties_all_dead(&p, 1000));
    p = (struct properties){.entries = 10};
    assert_true(properties_all_dead(&p, 0));
}

static void test_properties__say_what_has_expired(void **state)
{
    struct properties p = {.expiry_count = 2, .expiry = {{100, 7}, {200, 9}}};

    (void)state;
    assert_int_equal(properties_expired_bytes(&p, 99), 0);
    assert_int_equal(properties_expired_bytes(&p, 100), 7);
    assert_int_equal(properties_expired_bytes(&p, 199), 7);
    assert_int_equal(properties_expired_bytes(&p, UINT64_MAX), 9);
}

static int get_again(const struct properties *p)
{
    struct properties back;
    struct varve_err err = {0};
    struct buf buf;

    buf_init(&buf, SIZE_MAX / 2);
    assert_int_equal(properties_put(p, &buf), 0);
    int rc = properties_get(buf_slice(&buf), &back, &err);
    buf_deinit(&buf);
    return rc;
}

#define REFUSED(change)                                                                            \
    do {                                                                                           \
        struct properties p = example();                                                           \
        change;                                                                                    \
        assert_int_equal(get_again(&p), VARVE_ECORRUPT);                                           \
    } while (0)

static void test_properties__contradictions_are_refused(void **state)
{
    (void)state;
    REFUSED(p.puts = 1001);
    REFUSED(p.expiring = 901);
    REFUSED(p.seq_min = 18; p.seq_max = 17);
    REFUSED(p.superseded_bytes = p.raw_bytes + 1);
    REFUSED(p.hiding_known = 1; p.hiding_bytes = p.raw_bytes + 1);
    REFUSED(p.lower = p.upper);
    REFUSED(p.ranges = 0);
    REFUSED(p.range_block.len = 0);
    REFUSED(p.range_block.len = 6);
    REFUSED(p.expiring = 0);
    REFUSED(p.expire_ms_max = 0);
    REFUSED(p.expiry[1].expire_ms = 1000);
    REFUSED(p.expiry[1].bytes = 9);
    REFUSED(p.groups[1] = p.groups[0]);
    REFUSED(p.groups[0].name_len = 0);
    REFUSED(p.groups[0].unknown = 6);
    REFUSED(p.lower.len = 257; memset(p.upper.bytes, 0xff, 257); p.upper.len = 257);
}

static void test_properties__cut_or_longer_ones_are_refused(void **state)
{
    struct properties p = example();
    struct properties back;
    struct varve_err err = {0};
    struct buf buf;

    (void)state;
    buf_init(&buf, SIZE_MAX / 2);
    assert_int_equal(properties_put(&p, &buf), 0);
    for (size_t len = 0; len < buf.len; len++) {
        uint8_t *exact = mem_alloc(len + 1); /* so that a read behind it is seen */
        assert_non_null(exact);
        memcpy(exact, buf.data, len);
        assert_int_equal(properties_get(varve_slice(exact, len), &back, &err), VARVE_ECORRUPT);
        mem_free(exact);
    }
    assert_int_equal(buf_append(&buf, "\x11", 1), 0);
    assert_int_equal(properties_get(buf_slice(&buf), &back, &err), VARVE_ECORRUPT);
    buf_deinit(&buf);
}

/* Whatever is taken is written again as what it was. */
static void test_properties__damaged_ones_are_refused_or_sound(void **state)
{
    struct properties p = example();
    struct rng rng;
    struct buf buf;
    struct buf again;
    uint32_t refused = 0;

    (void)state;
    rng_init(&rng, 1);
    buf_init(&buf, SIZE_MAX / 2);
    buf_init(&again, SIZE_MAX / 2);
    for (int round = 0; round < 20000; round++) {
        struct properties back;
        struct properties third;
        struct varve_err err = {0};
        buf_clear(&buf);
        buf_clear(&again);
        assert_int_equal(properties_put(&p, &buf), 0);
        for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
            buf.data[rng_below(&rng, buf.len)] = (uint8_t)rng_next(&rng);
        if (properties_get(buf_slice(&buf), &back, &err) != 0) {
            refused++;
            continue;
        }
        assert_int_equal(properties_put(&back, &again), 0);
        assert_int_equal(properties_get(buf_slice(&again), &third, &err), 0);
        check_equal(&back, &third);
    }
    assert_true(refused > 1000);
    buf_deinit(&buf);
    buf_deinit(&again);
}

static void test_properties__no_memory(void **state)
{
    struct properties p = example();
    struct buf buf;

    (void)state;
    buf_init(&buf, SIZE_MAX / 2);
    mem_fail_nth(1, 0);
    assert_int_equal(properties_put(&p, &buf), VARVE_ENOMEM);
    mem_fail_nth(0, 0);
    assert_int_equal(buf.len, 0);
    buf_deinit(&buf);
}

/* ---- bounds ---- */

static void check_upper(const char *key, size_t len, const char *want, size_t want_len)
{
    struct segment_bound bound;

    segment_bound_upper(&bound, varve_slice(key, len));
    assert_int_equal(bound.len, want_len);
    assert_memory_equal(bound.bytes, want, want_len);
}

static void test_bounds__of_short_keys_are_exact(void **state)
{
    struct segment_bound bound;

    (void)state;
    segment_bound_lower(&bound, varve_slice(NULL, 0));
    assert_int_equal(bound.len, 0);
    segment_bound_lower(&bound, varve_slice_str("abc"));
    assert_int_equal(bound.len, 3);
    check_upper(NULL, 0, "\0", 1);
    check_upper("abc", 3, "abc\0", 4);
    check_upper("\xff\xff", 2, "\xff\xff\0", 3);
    segment_bound_upper_end(&bound, varve_slice_str("\xff"));
    assert_int_equal(bound.len, 1);
    assert_int_equal(bound.bytes[0], 0xff);
}

static void test_bounds__of_long_keys_are_cut(void **state)
{
    uint8_t key[600];
    struct segment_bound bound;

    (void)state;
    memset(key, 'a', sizeof(key));
    segment_bound_lower(&bound, varve_slice(key, 257));
    assert_int_equal(bound.len, 256);
    segment_bound_upper(&bound, varve_slice(key, 256));
    assert_int_equal(bound.len, 257);
    assert_int_equal(bound.bytes[256], 0);
    for (size_t len = 257; len < 600; len++) {
        segment_bound_upper(&bound, varve_slice(key, len));
        assert_int_equal(bound.len, 257);
        assert_int_equal(bound.bytes[255], 'a');
        assert_int_equal(bound.bytes[256], 'b');
    }
    segment_bound_upper_end(&bound, varve_slice(key, 257));
    assert_int_equal(bound.len, 257);
    assert_int_equal(bound.bytes[256], 'a');
    segment_bound_upper_end(&bound, varve_slice(key, 258));
    assert_int_equal(bound.bytes[256], 'b');
}

static void test_bounds__carry_over_runs_of_ff(void **state)
{
    uint8_t key[600];
    struct segment_bound bound;

    (void)state;
    memset(key, 0xff, sizeof(key));
    segment_bound_upper(&bound, varve_slice(key, 256));
    assert_int_equal(bound.len, 257);
    segment_bound_upper(&bound, varve_slice(key, 257));
    assert_int_equal(bound.len, 0);
    segment_bound_upper_end(&bound, varve_slice(key, 257));
    assert_int_equal(bound.len, 257);
    segment_bound_upper_end(&bound, varve_slice(key, 600));
    assert_int_equal(bound.len, 0);
    key[10] = 'x';
    segment_bound_upper(&bound, varve_slice(key, 600));
    assert_int_equal(bound.len, 11);
    assert_int_equal(bound.bytes[9], 0xff);
    assert_int_equal(bound.bytes[10], 'y');
}

static void test_bounds__hold_their_key_and_keep_the_order(void **state)
{
    struct rng rng;
    uint8_t keys[2][300];

    (void)state;
    rng_init(&rng, 7);
    for (int round = 0; round < 20000; round++) {
        struct segment_bound lower;
        struct segment_bound upper[2];
        struct varve_slice slices[2];
        size_t same = rng_below(&rng, 300);
        for (int k = 0; k < 2; k++) {
            size_t len = rng_below(&rng, 300);
            memset(keys[k], 0xff, sizeof(keys[k]));
            for (size_t i = rng_below(&rng, 300); i < len; i++)
                keys[k][i] = (uint8_t)(rng_below(&rng, 2) ? 0xff : rng_next(&rng));
            if (k == 1)
                memcpy(keys[1], keys[0], same);
            slices[k] = varve_slice(keys[k], len);
            segment_bound_lower(&lower, slices[k]);
            segment_bound_upper(&upper[k], slices[k]);
            assert_true(varve_slice_compare(segment_bound_slice(&lower), slices[k]) <= 0);
            assert_true(segment_below_upper(slices[k], segment_bound_slice(&upper[k])));
            assert_true(
                segment_below_upper(segment_bound_slice(&lower), segment_bound_slice(&upper[k])));
        }
        int order = varve_slice_compare(slices[0], slices[1]);
        int upper_order = segment_upper_compare(segment_bound_slice(&upper[0]),
                                                segment_bound_slice(&upper[1]));
        assert_true(order <= 0 ? upper_order <= 0 : upper_order >= 0);
    }
}

static void test_bounds__empty_upper_is_above_all(void **state)
{
    struct varve_slice none = varve_slice(NULL, 0);
    struct varve_slice a = varve_slice_str("a");
    struct varve_slice b = varve_slice_str("b");

    (void)state;
    assert_int_equal(segment_upper_compare(none, none), 0);
    assert_true(segment_upper_compare(none, b) > 0);
    assert_true(segment_upper_compare(b, none) < 0);
    assert_true(segment_upper_compare(a, b) < 0);
    assert_true(segment_below_upper(b, none));
    assert_false(segment_below_upper(b, b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties__come_back_whole),
        cmocka_unit_test(test_properties__the_largest_come_back_whole),
        cmocka_unit_test(test_properties__say_when_all_is_dead),
        cmocka_unit_test(test_properties__say_what_has_expired),
        cmocka_unit_test(test_properties__contradictions_are_refused),
        cmocka_unit_test(test_properties__cut_or_longer_ones_are_refused),
        cmocka_unit_test(test_properties__damaged_ones_are_refused_or_sound),
        cmocka_unit_test(test_properties__no_memory),
        cmocka_unit_test(test_bounds__of_short_keys_are_exact),
        cmocka_unit_test(test_bounds__of_long_keys_are_cut),
        cmocka_unit_test(test_bounds__carry_over_runs_of_ff),
        cmocka_unit_test(test_bounds__hold_their_key_and_keep_the_order),
        cmocka_unit_test(test_bounds__empty_upper_is_above_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
