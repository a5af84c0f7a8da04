#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static void test_log_escape__bytes_become_printable(void **state)
{
    char out[128];

    (void)state;
    assert_string_equal(log_escape(varve_slice("", 0), out, sizeof(out)), "\"\"");
    assert_string_equal(log_escape(varve_slice("plain key", 9), out, sizeof(out)), "\"plain key\"");
    assert_string_equal(log_escape(varve_slice("a\"b\\c", 5), out, sizeof(out)), "\"a\\\"b\\\\c\"");
    assert_string_equal(log_escape(varve_slice("\r\n\0\x1b[31m\x7f\xff", 10), out, sizeof(out)),
                        "\"\\x0d\\x0a\\x00\\x1b[31m\\x7f\\xff\"");
}

/* Every byte at every size of the output: never past the end, always one closed line. */
static void test_log_escape__stays_inside_and_closes(void **state)
{
    uint8_t bytes[300];
    char out[320];

    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        memset(bytes, byte, sizeof(bytes));
        for (size_t cap = 16; cap < 100; cap++) {
            memset(out, 'Z', sizeof(out));
            log_escape(varve_slice(bytes, sizeof(bytes)), out, cap);
            size_t len = strlen(out);
            assert_true(len < cap);
            assert_int_equal(out[cap], 'Z');
            assert_memory_equal(out + len - 4, "...\"", 4);
            for (size_t i = 0; i < len; i++)
                assert_in_range(out[i], 0x20, 0x7e);
        }
    }
}

/* What a client sends cannot forge a line. */
static void test_log_line__is_one_line_with_a_level(void **state)
{
    char path[] = "/tmp/varve-test-log-XXXXXX";
    char text[8192] = "";
    char longer[3000];
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(log_open(path), 0);
    memset(longer, 'y', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    log_set_level(LOG_NOTICE);
    assert_int_equal(log_get_level(), LOG_NOTICE);
    log_line(LOG_VERBOSE, "not shown");
    log_line(LOG_NOTICE, "first\r\n1:M forged");
    log_line(LOG_WARNING, "%s", longer);
    assert_true(log_open("/nonexistent/dir/file") < 0); /* the old target stays */
    log_line(LOG_WARNING, "third");
    assert_int_equal(log_open(""), 0);
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(len > 0);
    close(fd);
    unlink(path);
    size_t lines = 0;
    for (ssize_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 3);
    assert_null(strstr(text, "not shown"));
    assert_non_null(strstr(text, " * first\\x0d\\x0a1:M forged\n"));
    assert_non_null(strstr(text, " # third\n"));
    assert_non_null(strstr(text, " # yyyy"));
    assert_true(len < 2500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_escape__bytes_become_printable),
        cmocka_unit_test(test_log_escape__stays_inside_and_closes),
        cmocka_unit_test(test_log_line__is_one_line_with_a_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
