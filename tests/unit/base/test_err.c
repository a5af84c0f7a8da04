#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static void test_err__set_and_wrap(void **state)
{
    struct varve_err err = {0};

    (void)state;
    assert_string_equal(err_text(&err), "no details");
    assert_string_equal(err_text(NULL), "no details");
    assert_int_equal(err_set(&err, VARVE_ECORRUPT, "offset %d", 7), VARVE_ECORRUPT);
    assert_int_equal(err_wrap(&err, VARVE_ECORRUPT, "file %s", "x"), VARVE_ECORRUPT);
    assert_int_equal(err.code, VARVE_ECORRUPT);
    assert_string_equal(err_text(&err), "file x: offset 7");
    err_clear(&err);
    assert_int_equal(err.code, 0);
    assert_string_equal(err.text, "");
}

static void test_err__null_only_passes_the_code_on(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, VARVE_EIO, "x"), VARVE_EIO);
    assert_int_equal(err_wrap(NULL, VARVE_EFULL, "x"), VARVE_EFULL);
    assert_int_equal(err_set_errno(NULL, ENOSPC, "x"), VARVE_ENOSPC);
    err_clear(NULL);
}

static void test_err__errno_chooses_the_code(void **state)
{
    static const struct {
        int os_errno;
        int code;
    } rows[] = {
        {ENOSPC, VARVE_ENOSPC}, {EDQUOT, VARVE_ENOSPC}, {EFBIG, VARVE_ENOSPC},
        {ENOENT, VARVE_ENOENT}, {EEXIST, VARVE_EEXIST}, {EIO, VARVE_EIO},
        {EMFILE, VARVE_EIO},    {EACCES, VARVE_EIO},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct varve_err err = {0};
        assert_int_equal(err_set_errno(&err, rows[i].os_errno, "write %s", "f"), rows[i].code);
        assert_int_equal(err.code, rows[i].code);
        assert_int_equal(err.os_errno, rows[i].os_errno);
        assert_memory_equal(err.text, "write f: ", 9);
        assert_non_null(strstr(err.text, strerror(rows[i].os_errno)));
        assert_int_equal(err_wrap(&err, err.code, "close"), rows[i].code);
        assert_int_equal(err.os_errno, rows[i].os_errno);
    }
}

/* Whatever a path holds, the text stays one line and inside its bounds. */
static void test_err__text_is_one_line_and_cut(void **state)
{
    char longer[2 * VARVE_ERR_TEXT_MAX];
    struct varve_err err = {0};

    (void)state;
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    err_set(&err, VARVE_EIO, "a\r\nb");
    assert_string_equal(err.text, "a  b");
    err_wrap(&err, VARVE_EIO, "c\nd");
    assert_string_equal(err.text, "c d: a  b");
    err_set(&err, VARVE_EIO, "%s", longer);
    assert_int_equal(strlen(err.text), VARVE_ERR_TEXT_MAX - 1);
    err_wrap(&err, VARVE_EIO, "%s", longer);
    assert_int_equal(strlen(err.text), VARVE_ERR_TEXT_MAX - 1);
    err_set_errno(&err, EIO, "%s", longer);
    assert_int_equal(strlen(err.text), VARVE_ERR_TEXT_MAX - 1);
}

static void test_err__every_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int code = VARVE_EUNKNOWN; code <= VARVE_WOULD_BLOCK; code++) {
        assert_string_not_equal(varve_status_name(code), "unknown status");
        for (int other = VARVE_EUNKNOWN; other < code; other++)
            assert_string_not_equal(varve_status_name(code), varve_status_name(other));
    }
    assert_string_equal(varve_status_name(99), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err__set_and_wrap),
        cmocka_unit_test(test_err__null_only_passes_the_code_on),
        cmocka_unit_test(test_err__errno_chooses_the_code),
        cmocka_unit_test(test_err__text_is_one_line_and_cut),
        cmocka_unit_test(test_err__every_code_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
