#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "config/words.h"
#include "varve/status.h"

/* The words of a line, each in [], or why there are none. */
static const char *split(const char *line)
{
    static char shown[512];
    struct words words;
    const char *why = NULL;
    size_t used = 0;

    shown[0] = '\0';
    if (words_split(&words, varve_slice_str(line), &why) != 0) {
        snprintf(shown, sizeof(shown), "%s", why);
        return shown;
    }
    for (size_t i = 0; i < words.count; i++)
        used += (size_t)snprintf(shown + used, sizeof(shown) - used, "[%s]", words.at[i]);
    words_deinit(&words);
    return shown;
}

static void test_words__split_at_blanks_and_quotes(void **state)
{
    (void)state;
    assert_string_equal(split(""), "");
    assert_string_equal(split("  \t "), "");
    assert_string_equal(split("a"), "[a]");
    assert_string_equal(split("  port\t 7000  "), "[port][7000]");
    assert_string_equal(split("save \"\""), "[save][]");
    assert_string_equal(split("x \"a b\" 'c d'"), "[x][a b][c d]");
    assert_string_equal(split("x pre\"fix ed\""), "[x][prefix ed]");
    assert_string_equal(split("x 'it\\'s' '\\n'"), "[x][it's][\\n]");
    assert_string_equal(split("x \"\\x41\\n\\t\\\"\\\\\\q\\xZZ\""), "[x][A\n\t\"\\qxZZ]");
}

static void test_words__refuse_what_is_broken(void **state)
{
    const char nul[] = "a \0 b";
    struct words words;
    const char *why;

    (void)state;
    assert_string_equal(split("x \"a"), "unbalanced quotes");
    assert_string_equal(split("x 'a"), "unbalanced quotes");
    assert_string_equal(split("x \"a\"b"), "unbalanced quotes");
    assert_string_equal(split("x \"a\\"), "unbalanced quotes");
    assert_string_equal(split("x \"\\x00\""), "a NUL byte in it");
    assert_int_equal(words_split(&words, varve_slice(nul, sizeof(nul) - 1), &why), VARVE_EINVAL);
}

static void test_words__have_a_maximum(void **state)
{
    char line[2 * (WORDS_MAX + 1)];
    struct words words;
    const char *why;

    (void)state;
    memset(line, ' ', sizeof(line));
    for (size_t i = 0; i < sizeof(line); i += 2)
        line[i] = 'w';
    assert_int_equal(words_split(&words, varve_slice(line, sizeof(line) - 2), &why), 0);
    assert_int_equal(words.count, WORDS_MAX);
    words_deinit(&words);
    assert_int_equal(words_split(&words, varve_slice(line, sizeof(line)), &why), VARVE_EINVAL);
}

static void test_words__quoted_come_back_the_same(void **state)
{
    static const char *const texts[] = {"",   "plain",  "a b",    "\"",           "'",
                                        "\\", "x\\x41", "\n\r\t", "\x01\x7f\xff", "a\"b'c d"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct words words;
        const char *why;
        struct buf line;
        buf_init(&line, 1024);
        assert_int_equal(words_quote(&line, texts[i]), 0);
        assert_int_equal(words_split(&words, buf_slice(&line), &why), 0);
        assert_int_equal(words.count, 1);
        assert_string_equal(words.at[0], texts[i]);
        words_deinit(&words);
        buf_deinit(&line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words__split_at_blanks_and_quotes),
        cmocka_unit_test(test_words__refuse_what_is_broken),
        cmocka_unit_test(test_words__have_a_maximum),
        cmocka_unit_test(test_words__quoted_come_back_the_same),
    };

    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
