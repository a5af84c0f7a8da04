/* FUNCTION without libraries and without an engine; COMMAND GETKEYSANDFLAGS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "client.h"
#include "varve/slice.h"

#define OK "+OK\r\n"
#define NO_ENGINE "-ERR Engine 'lua' not found\r\n"

/* A literal with its length, which may hold NUL bytes. */
#define BYTES(text) varve_slice((text), sizeof(text) - 1)

static const char *load(struct server *s, struct varve_slice code)
{
    const struct varve_slice argv[] = {BYTES("FUNCTION"), BYTES("LOAD"), code};

    return ask_argv(s, s->session, COUNT_OF(argv), argv);
}

static const char *restore(struct server *s, struct varve_slice payload, const char *policy)
{
    const struct varve_slice argv[] = {BYTES("FUNCTION"), BYTES("RESTORE"), payload,
                                       varve_slice_str(policy)};

    return ask_argv(s, s->session, COUNT_OF(argv), argv);
}

static void test_load__checks_the_first_line_in_redis_order(void **state)
{
    const struct {
        struct varve_slice code;
        const char *reply;
    } cases[] = {
        {BYTES("#!lua name=f\ncode"), NO_ENGINE},
        {BYTES("#!lua NAME=f\n"), NO_ENGINE},
        {BYTES("#!lua 'name=f'\n"), NO_ENGINE},
        {BYTES("#!'lua' name=f\r\n"), NO_ENGINE},
        {BYTES("#! name=f\n"), "-ERR Engine '' not found\r\n"},
        {BYTES("#!lua name=a-b\n"), "-ERR Library names can only contain letters, numbers, or "
                                    "underscores(_) and must be at least one character long\r\n"},
        {BYTES("#!lua name=\n"), "-ERR Library names can only contain letters, numbers, or "
                                 "underscores(_) and must be at least one character long\r\n"},
        {BYTES("#!lua\n"), "-ERR Library name was not given\r\n"},
        {BYTES("#!\n"), "-ERR Library name was not given\r\n"},
        {BYTES("#!lua name=a name=b odd\n"),
         "-ERR Invalid metadata value, name argument was given multiple times\r\n"},
        {BYTES("#!lua name=a odd name=b\n"), "-ERR Invalid metadata value given: odd\r\n"},
        {BYTES("#!lua odd name='a\n"), "-ERR Invalid library metadata\r\n"},
        {BYTES("#!lua name=a"), "-ERR Invalid library metadata\r\n"},
        {BYTES("#!l\0ua name=a\n"), "-ERR Invalid library metadata\r\n"},
        {BYTES(" #!lua name=a\n"), "-ERR Missing library metadata\r\n"},
        {BYTES("#"), "-ERR Missing library metadata\r\n"},
        {BYTES(""), "-ERR Missing library metadata\r\n"},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(load(*state, cases[i].code), cases[i].reply);
}

static void test_load__without_memory(void **state)
{
    struct server *s = *state;
    int failed = 0;

    /* ask_argv() itself may allocate nothing here: the client's buffers are warm. */
    assert_string_equal(load(s, BYTES("#!lua name=f\ncode")), NO_ENGINE);
    mem_fail_nth(1, 0);
    const char *reply = load(s, BYTES("#!lua name=f\ncode"));
    failed = mem_alloc_count() >= 1;
    mem_fail_nth(0, 0);
    assert_true(failed);
    assert_true(reply[0] == '-' && strcmp(reply, NO_ENGINE) != 0);
    assert_string_equal(load(s, BYTES("#!lua name=f\ncode")), NO_ENGINE);
}

static void test_restore__takes_an_empty_dump_only(void **state)
{
    static const char payload[] = "\n\x00]\x9b\\@\x0f\x7f\xa2\xda";
    struct varve_slice empty = varve_slice(payload, sizeof(payload) - 1);
    struct varve_slice library = BYTES(
        "\xf5\x13#!foo name=bar\ncode\n\x00\x8f\x2a\xf5\x5d\x0a\x46\x08\x09");
    struct varve_slice string = BYTES("\x00\x05hello\n\x00\x63\x72\xdf\x76\x65\x34\x20\n");

    assert_memory_equal(ask(*state, "FUNCTION DUMP") + strlen("$10\r\n"), payload, empty.len);
    assert_string_equal(restore(*state, empty, "FLUSH"), OK);
    assert_string_equal(restore(*state, empty, "append"), OK);
    assert_string_equal(restore(*state, empty, "REPLACE"), OK);
    assert_string_equal(restore(*state, empty, "BOTH"),
                        "-ERR Wrong restore policy given, value should be either FLUSH, APPEND or "
                        "REPLACE.\r\n");
    assert_string_equal(restore(*state, library, "FLUSH"), "-ERR Engine 'foo' not found\r\n");
    assert_string_equal(restore(*state, string, "FLUSH"), "-ERR given type is not a function\r\n");
    assert_string_equal(restore(*state, varve_slice(empty.data, empty.len - 1), "FLUSH"),
                        "-ERR DUMP payload version or checksum are wrong\r\n");
    assert_string_equal(
        restore(*state, BYTES("\xf5\x40\n\x00\x7b\x08\xc5\xe6\xb1\xf9\x07\xf7"), "FLUSH"),
        "-ERR Failed loading library payload\r\n");
}

static void test_others__tell_of_none(void **state)
{
    struct server *s = *state;

    EXPECT(s, "FUNCTION LIST LIBRARYNAME f* WITHCODE", "*0\r\n");
    EXPECT(s, "FUNCTION LIST LIBRARYNAME", "-ERR library name argument was not given\r\n");
    EXPECT(s, "FUNCTION LIST WITHCODE withcode", "-ERR Unknown argument withcode\r\n");
    EXPECT(s, "FUNCTION DELETE f", "-ERR Library not found\r\n");
    EXPECT(s, "FUNCTION KILL", "-NOTBUSY No scripts in execution right now.\r\n");
    EXPECT(s, "FUNCTION STATS", "*4\r\n$14\r\nrunning_script\r\n$-1\r\n$7\r\nengines\r\n*0\r\n");
}

static void test_getkeysandflags__of_a_key_by_its_spec(void **state)
{
    struct server *s = *state;

    EXPECT(
        s, "COMMAND GETKEYSANDFLAGS RENAME a b",
        "*2\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+delete\r\n*2\r\n$1\r\nb\r\n*2\r\n+OW\r\n"
        "+update\r\n");
    EXPECT(s, "COMMAND GETKEYSANDFLAGS MSET a 1 b 2",
           "*2\r\n*2\r\n$1\r\na\r\n*2\r\n+OW\r\n+update\r\n*2\r\n$1\r\nb\r\n*2\r\n+OW\r\n"
           "+update\r\n");
    EXPECT(s, "COMMAND GETKEYSANDFLAGS SET get get",
           "*1\r\n*2\r\n$3\r\nget\r\n*2\r\n+OW\r\n+update\r\n");
    EXPECT(s, "COMMAND GETKEYSANDFLAGS SET a 1 EX 5 get",
           "*1\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+update\r\n");
    EXPECT(s, "COMMAND GETKEYSANDFLAGS BITFIELD a OVERFLOW SAT GET u8 0",
           "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n");
    EXPECT(s, "COMMAND GETKEYSANDFLAGS BITFIELD a GET u8 0 SET u8 0 1",
           "*1\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+update\r\n");
    EXPECT(s, "COMMAND GETKEYSANDFLAGS BITFIELD a GET u8",
           "*1\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+update\r\n");
    EXPECT(s, "COMMAND GETKEYSANDFLAGS PING a", "-ERR The command has no key arguments\r\n");
    EXPECT(s, "COMMAND GETKEYSANDFLAGS GET a b",
           "-ERR Invalid number of arguments specified for command\r\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_load__checks_the_first_line_in_redis_order), TEST(test_load__without_memory),
        TEST(test_restore__takes_an_empty_dump_only),          TEST(test_others__tell_of_none),
        TEST(test_getkeysandflags__of_a_key_by_its_spec),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
