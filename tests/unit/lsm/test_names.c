#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "lsm/names.h"

static void test_names__paths(void **state)
{
    static const uint64_t numbers[] = {0, 1, 999999, 1000000, 999999999999999999u};
    uint64_t back;

    (void)state;
    char *path = name_path("/data", "CURRENT");
    assert_string_equal(path, "/data/CURRENT");
    mem_free(path);
    path = name_wal_path("/d", 7);
    assert_string_equal(path, "/d/000007.wal");
    mem_free(path);
    path = name_manifest_path("d", 1234567);
    assert_string_equal(path, "d/MANIFEST-1234567");
    mem_free(path);
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        path = name_wal_path("d", numbers[i]);
        assert_int_equal(name_parse(path + 2, &back), NAME_WAL);
        assert_true(back == numbers[i]);
        mem_free(path);
        path = name_manifest_path("d", numbers[i]);
        assert_int_equal(name_parse(path + 2, &back), NAME_MANIFEST);
        assert_true(back == numbers[i]);
        mem_free(path);
    }
}

static void test_names__no_memory(void **state)
{
    (void)state;
    mem_fail_nth(1, 1);
    assert_null(name_path("a", "b"));
    assert_null(name_wal_path("a", 1));
    assert_null(name_manifest_path("a", 1));
    mem_fail_nth(0, 0);
}

/* Only a name that we would write ourselves is ours: the rest is left alone. */
static void test_names__parse(void **state)
{
    static const struct {
        const char *name;
        enum name_kind kind;
        uint64_t file_no;
    } rows[] = {
        {"LOCK", NAME_LOCK, 0},
        {"CURRENT", NAME_CURRENT, 0},
        {"CURRENT.tmp", NAME_CURRENT_TMP, 0},
        {"000001.wal", NAME_WAL, 1},
        {"1000000.wal", NAME_WAL, 1000000},
        {"MANIFEST-000002", NAME_MANIFEST, 2},
        {"lock", NAME_OTHER, 0},
        {"CURRENT.bak", NAME_OTHER, 0},
        {"", NAME_OTHER, 0},
        {".wal", NAME_OTHER, 0},
        {"1.wal", NAME_OTHER, 0},
        {"00001.wal", NAME_OTHER, 0},
        {"0000001.wal", NAME_OTHER, 0},
        {"000001.wal.bak", NAME_OTHER, 0},
        {"000001.WAL", NAME_OTHER, 0},
        {"000001.seg", NAME_SEGMENT, 1},
        {"00001.seg", NAME_OTHER, 0},
        {"000001.segs", NAME_OTHER, 0},
        {"-00001.wal", NAME_OTHER, 0},
        {"+00001.wal", NAME_OTHER, 0},
        {" 00001.wal", NAME_OTHER, 0},
        {"99999999999999999999999.wal", NAME_OTHER, 0},
        {"1000000000000000000.wal", NAME_OTHER, 0},
        {"MANIFEST-", NAME_OTHER, 0},
        {"MANIFEST-2", NAME_OTHER, 0},
        {"MANIFEST-000002.tmp", NAME_OTHER, 0},
        {"MANIFEST-0000002", NAME_OTHER, 0},
        {"manifest-000002", NAME_OTHER, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t file_no = 99;
        assert_int_equal(name_parse(rows[i].name, &file_no), rows[i].kind);
        if (rows[i].kind != NAME_OTHER)
            assert_true(file_no == rows[i].file_no);
    }
}

/* The number of a name that is not ours says nothing: it must not move the counter of all files. */
static void test_names__other_names_have_no_number(void **state)
{
    static const char *const names[] = {"000007.wal.bak", "MANIFEST-000007.old", "000007.seg.tmp"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        uint64_t file_no = 99;
        assert_int_equal(name_parse(names[i], &file_no), NAME_OTHER);
        assert_int_equal(file_no, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names__paths),
        cmocka_unit_test(test_names__no_memory),
        cmocka_unit_test(test_names__parse),
        cmocka_unit_test(test_names__other_names_have_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
