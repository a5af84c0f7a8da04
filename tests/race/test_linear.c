/* The checker of histories is attacked: with histories whose verdict is known, and with thousands of small
 * random ones, right and wrong, whose verdict is found by trying every order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "linear.h"

static struct linear_op op(uint64_t begin, uint64_t end, enum linear_kind kind, const char *text,
                           uint8_t found, uint64_t result)
{
    return (struct linear_op){.begin_ns = begin,
                              .end_ns = end,
                              .kind = (uint8_t)kind,
                              .value = linear_text(text, strlen(text)),
                              .found = found,
                              .result = result};
}

static struct linear_op set(uint64_t begin, uint64_t end, const char *text)
{
    return op(begin, end, LINEAR_SET, text, 0, 0);
}

static struct linear_op get(uint64_t begin, uint64_t end, const char *text)
{
    uint64_t hash = text == NULL ? 0 : linear_hash(linear_text(text, strlen(text)));

    return op(begin, end, LINEAR_GET, "", text != NULL, hash);
}

static struct linear_op add(uint64_t begin, uint64_t end, uint64_t result)
{
    struct linear_op made = op(begin, end, LINEAR_ADD, "", 0, result);

    made.value = linear_number(1);
    return made;
}

static enum linear_verdict verdict(struct linear_op *ops, size_t count)
{
    struct linear_report report;

    linear_check(ops, count, &report);
    return report.verdict;
}

#define VERDICT(...)                                                                               \
    verdict((struct linear_op[]){__VA_ARGS__},                                                     \
            sizeof((struct linear_op[]){__VA_ARGS__}) / sizeof(struct linear_op))

static void test_linear__one_after_the_other(void **state)
{
    (void)state;
    assert_int_equal(VERDICT(get(1, 2, NULL), set(3, 4, "a"), get(5, 6, "a")), LINEAR_YES);
    assert_int_equal(VERDICT(set(1, 2, "a"), get(3, 4, NULL)), LINEAR_NO);
    assert_int_equal(VERDICT(set(1, 2, "a"), set(3, 4, "b"), get(5, 6, "a")), LINEAR_NO);
    assert_int_equal(VERDICT(get(1, 2, "a"), set(3, 4, "a")), LINEAR_NO);
    assert_int_equal(VERDICT(set(1, 2, "ab"), op(3, 4, LINEAR_APPEND, "cd", 0, 4),
                             get(5, 6, "abcd"), op(7, 8, LINEAR_DELETE, "", 1, 0),
                             op(9, 10, LINEAR_APPEND, "x", 0, 1), get(11, 12, "x")),
                     LINEAR_YES);
    assert_int_equal(VERDICT(set(1, 2, "ab"), op(3, 4, LINEAR_APPEND, "cd", 0, 2)), LINEAR_NO);
    assert_int_equal(
        VERDICT(set(1, 2, "ab"), op(3, 4, LINEAR_APPEND, "cd", 0, 4), get(5, 6, "cdab")),
        LINEAR_NO);
    assert_int_equal(VERDICT(op(1, 2, LINEAR_SET_NX, "a", 1, 0), op(3, 4, LINEAR_SET_NX, "b", 0, 0),
                             get(5, 6, "a")),
                     LINEAR_YES);
    assert_int_equal(
        VERDICT(op(1, 2, LINEAR_SET_NX, "a", 1, 0), op(3, 4, LINEAR_SET_NX, "b", 1, 0)), LINEAR_NO);
    assert_int_equal(VERDICT(op(1, 2, LINEAR_DELETE, "", 1, 0)), LINEAR_NO);
    assert_int_equal(VERDICT(add(1, 2, 1), add(3, 4, 2)), LINEAR_YES);
    assert_int_equal(VERDICT(add(1, 2, 1), add(3, 4, 1)), LINEAR_NO);
}

static void test_linear__side_by_side(void **state)
{
    (void)state;
    assert_int_equal(VERDICT(set(1, 10, "a"), get(2, 3, NULL), get(4, 5, "a")), LINEAR_YES);
    assert_int_equal(VERDICT(set(1, 10, "a"), get(2, 3, "a"), get(4, 5, NULL)), LINEAR_NO);
    assert_int_equal(
        VERDICT(set(1, 10, "a"), set(1, 10, "b"), get(2, 3, "a"), get(4, 5, "b"), get(11, 12, "b")),
        LINEAR_YES);
    assert_int_equal(
        VERDICT(set(1, 10, "a"), set(1, 10, "b"), get(2, 3, "a"), get(4, 5, "b"), get(11, 12, "a")),
        LINEAR_NO);
    /* Two who saw the same number: an update is lost. */
    assert_int_equal(VERDICT(add(1, 10, 1), add(2, 9, 1)), LINEAR_NO);
    assert_int_equal(VERDICT(add(1, 10, 2), add(2, 9, 1)), LINEAR_YES);
    assert_int_equal(VERDICT(add(1, 3, 2), add(2, 9, 1)), LINEAR_YES);
    assert_int_equal(VERDICT(add(1, 3, 2), add(4, 9, 1)), LINEAR_NO);
    /* The answer of one comes as the other is called: they may be under way together. */
    assert_int_equal(VERDICT(add(1, 4, 2), add(4, 9, 1)), LINEAR_YES);
}

static void test_linear__what_was_never_answered_may_have_been_done(void **state)
{
    (void)state;
    assert_int_equal(VERDICT(set(1, LINEAR_NEVER, "a"), get(2, 3, NULL), get(4, 5, "a")),
                     LINEAR_YES);
    assert_int_equal(VERDICT(set(1, LINEAR_NEVER, "a"), get(2, 3, NULL)), LINEAR_YES);
    assert_int_equal(VERDICT(set(1, LINEAR_NEVER, "a"), get(2, 3, "a"), get(4, 5, NULL)),
                     LINEAR_NO);
    assert_int_equal(VERDICT(add(1, LINEAR_NEVER, 0), add(2, 3, 2)), LINEAR_YES);
    assert_int_equal(VERDICT(add(1, LINEAR_NEVER, 0), add(2, 3, 3)), LINEAR_NO);
    assert_int_equal(VERDICT(get(1, 2, "a"), set(3, LINEAR_NEVER, "a")), LINEAR_NO);
}

static void test_linear__keys_are_apart(void **state)
{
    struct linear_report report;
    struct linear_op ops[] = {set(1, 2, "a"), set(3, 4, "b"), get(5, 6, "a"), get(5, 6, "b")};

    (void)state;
    ops[1].key = ops[3].key = 1;
    linear_check_all(ops, 4, 2, &report);
    assert_int_equal(report.verdict, LINEAR_YES);
    ops[3].result++;
    linear_check_all(ops, 4, 2, &report);
    assert_int_equal(report.verdict, LINEAR_NO);
    assert_int_equal(report.op, 3);
}

static void test_linear__a_wide_place_is_told_from_a_wrong_one(void **state)
{
    enum { WIDE = 40 };
    static struct linear_op ops[WIDE + 1];

    (void)state;
    for (int i = 0; i < WIDE; i++) {
        char text[2] = {(char)('0' + i), 0};
        ops[i] = set(1, 100 + (uint64_t)i, text);
    }
    ops[WIDE] = get(50, 60, "?");
    assert_int_equal(verdict(ops, WIDE + 1), LINEAR_TOO_WIDE);
}

/* ---- against trying everything ---- */

#define SMALL_MAX 6

struct plain {
    char text[64];
    int present;
};

/* Written apart from the checker: with the texts themselves. */
static int plain_apply(const struct linear_op *it, const char *text, struct plain *plain)
{
    int answered = it->end_ns != LINEAR_NEVER;
    int was = plain->present;

    switch ((enum linear_kind)it->kind) {
    case LINEAR_GET:
        return !answered ||
               (was == it->found &&
                (!was || linear_hash(linear_text(plain->text, strlen(plain->text))) == it->result));
    case LINEAR_SET: strcpy(plain->text, text); break;
    case LINEAR_SET_NX:
        if (!was)
            strcpy(plain->text, text);
        plain->present = 1;
        return !answered || it->found == !was;
    case LINEAR_DELETE: *plain = (struct plain){0}; return !answered || it->found == was;
    case LINEAR_APPEND:
        strcat(plain->text, text);
        plain->present = 1;
        return !answered || strlen(plain->text) == it->result;
    case LINEAR_ADD: return 0;
    }
    plain->present = 1;
    return 1;
}

static int try_all(const struct linear_op *ops, const char texts[][4], size_t count, uint32_t done,
                   const struct plain *plain)
{
    uint64_t first_end = LINEAR_NEVER;
    int left = 0;

    for (size_t i = 0; i < count; i++) {
        if ((done & 1u << i) || ops[i].end_ns == LINEAR_NEVER)
            continue;
        left = 1;
        first_end = ops[i].end_ns < first_end ? ops[i].end_ns : first_end;
    }
    if (!left)
        return 1;
    for (size_t i = 0; i < count; i++) {
        struct plain after = *plain;
        if ((done & 1u << i) || ops[i].begin_ns > first_end)
            continue;
        if (plain_apply(&ops[i], texts[i], &after) &&
            try_all(ops, texts, count, done | 1u << i, &after))
            return 1;
    }
    return 0;
}

/* Operations at random times with answers of a random order, some of which are then spoiled. */
static size_t draw_history(struct rng *rng, struct linear_op *ops, char texts[][4])
{
    size_t count = 2 + (size_t)rng_below(rng, SMALL_MAX - 1);
    struct plain plain = {0};

    for (size_t i = 0; i < count; i++) {
        uint64_t moment = 10 * i + 10;
        texts[i][0] = (char)('a' + rng_below(rng, 2));
        texts[i][1] = '\0';
        ops[i] = op(moment - rng_below(rng, 25) % moment, moment + rng_below(rng, 25),
                    (enum linear_kind)rng_below(rng, LINEAR_ADD), texts[i], 0, 0);
        int was = plain.present;
        ops[i].end_ns = LINEAR_NEVER;
        (void)plain_apply(&ops[i], texts[i], &plain);
        ops[i].end_ns = moment + rng_below(rng, 25);
        ops[i].found = (uint8_t)(ops[i].kind == LINEAR_SET_NX ? !was : was);
        ops[i].result = ops[i].kind == LINEAR_APPEND
                            ? strlen(plain.text)
                            : linear_hash(linear_text(plain.text, strlen(plain.text)));
        if (rng_below(rng, 12) == 0)
            ops[i].end_ns = LINEAR_NEVER;
    }
    size_t spoiled = (size_t)rng_below(rng, 2 * count);
    if (spoiled < count && rng_below(rng, 2) == 0)
        ops[spoiled].found ^= 1;
    else if (spoiled < count)
        ops[spoiled].result = linear_hash(linear_text(rng_below(rng, 2) ? "a" : "b", 1));
    return count;
}

static void test_linear__agrees_with_trying_everything(void **state)
{
    struct linear_op ops[SMALL_MAX];
    struct linear_report report;
    char texts[SMALL_MAX][4];
    const struct plain absent = {0};
    size_t wrong = 0;
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    for (int i = 0; i < 10000; i++) {
        size_t count = draw_history(&rng, ops, texts);
        int possible = try_all(ops, (const char(*)[4])texts, count, 0, &absent);
        linear_check(ops, count, &report);
        assert_int_equal(report.verdict, possible ? LINEAR_YES : LINEAR_NO);
        wrong += !possible;
    }
    assert_in_range(wrong, 1000, 9000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear__one_after_the_other),
        cmocka_unit_test(test_linear__side_by_side),
        cmocka_unit_test(test_linear__what_was_never_answered_may_have_been_done),
        cmocka_unit_test(test_linear__keys_are_apart),
        cmocka_unit_test(test_linear__a_wide_place_is_told_from_a_wrong_one),
        cmocka_unit_test(test_linear__agrees_with_trying_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
