#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "metrics/info.h"

static uint32_t wanted(const char *first, const char *second)
{
    const struct varve_slice words[2] = {varve_slice_str(first),
                                         varve_slice_str(second == NULL ? "" : second)};

    return info_wanted(words, second == NULL ? 1 : 2);
}

#define BIT(section) (UINT32_C(1) << (section))

static void test_wanted__words_name_sections(void **state)
{
    uint32_t every = BIT(INFO_SECTIONS) - 1;

    (void)state;
    assert_int_equal(wanted("server", NULL), BIT(INFO_SERVER));
    assert_int_equal(wanted("SerVer", "keyspace"), BIT(INFO_SERVER) | BIT(INFO_KEYSPACE));
    assert_int_equal(wanted("everything", NULL), every);
    assert_int_equal(wanted("ALL", NULL), every);
    assert_int_equal(wanted("default", NULL),
                     every & ~BIT(INFO_COMMANDSTATS) & ~BIT(INFO_LATENCYSTATS));
    assert_int_equal(info_wanted(NULL, 0), wanted("default", NULL));
    assert_int_equal(wanted("default", "commandstats"), every & ~BIT(INFO_LATENCYSTATS));
    assert_int_equal(wanted("nonsense", NULL), 0);
    assert_int_equal(wanted("", NULL), 0);
}

static const char *text(struct info *info)
{
    assert_int_equal(info->failed, 0);
    assert_int_equal(buf_append(&info->out, "", 1), 0);
    return (const char *)info->out.data;
}

static void test_lines__are_sections_of_name_and_value(void **state)
{
    struct info info;

    (void)state;
    info_init(&info, BIT(INFO_SERVER) | BIT(INFO_CPU));
    assert_true(info_section(&info, INFO_SERVER));
    info_u64(&info, "n", UINT64_MAX);
    info_str(&info, "path", "a\r\nb\tc");
    assert_false(info_section(&info, INFO_CLIENTS));
    assert_true(info_section(&info, INFO_CPU));
    info_fmt(&info, "f", "%.2f", 1.5);
    assert_string_equal(text(&info), "# Server\r\n"
                                     "n:18446744073709551615\r\n"
                                     "path:a  b c\r\n"
                                     "\r\n"
                                     "# CPU\r\n"
                                     "f:1.50\r\n");
    info_deinit(&info);
}

static void test_bytes__have_a_human_twin(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *lines;
    } cases[] = {
        {0, "m:0\r\nm_human:0B\r\n"},
        {1023, "m:1023\r\nm_human:1023B\r\n"},
        {965584, "m:965584\r\nm_human:942.95K\r\n"},
        {12435456, "m:12435456\r\nm_human:11.86M\r\n"},
        {25276510208, "m:25276510208\r\nm_human:23.54G\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct info info;
        info_init(&info, 0);
        info_bytes(&info, "m", cases[i].bytes);
        assert_string_equal(text(&info), cases[i].lines);
        info_deinit(&info);
    }
}

static void test_failure__sticks(void **state)
{
    struct info info;

    (void)state;
    info_init(&info, BIT(INFO_SERVER));
    mem_fail_nth(1, 0);
    assert_true(info_section(&info, INFO_SERVER));
    mem_fail_nth(0, 0);
    info_u64(&info, "n", 1);
    assert_int_not_equal(info.failed, 0);
    assert_int_equal(info.out.len, 0);
    info_deinit(&info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wanted__words_name_sections),
        cmocka_unit_test(test_lines__are_sections_of_name_and_value),
        cmocka_unit_test(test_bytes__have_a_human_twin),
        cmocka_unit_test(test_failure__sticks),
    };

    return cmocka_run_group_tests_name("info", tests, NULL, NULL);
}
