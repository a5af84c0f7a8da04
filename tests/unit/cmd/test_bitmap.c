/* Strings as bits, as a client sees them; redis-compat/commands compares many more cases with Redis itself, and
 * unit/types/bits the bits with a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "client.h"

#define NIL "$-1\r\n"
#define OK "+OK\r\n"
#define SYNTAX "-ERR syntax error\r\n"
#define NOT_INTEGER "-ERR value is not an integer or out of range\r\n"
#define BAD_OFFSET "-ERR bit offset is not an integer or out of range\r\n"
#define BAD_BIT "-ERR bit is not an integer or out of range\r\n"
#define BAD_TYPE                                                                                   \
    "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but "   \
    "i64 is.\r\n"

static void test_setbit__makes_room_and_keeps_the_expiry(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SETBIT k 1 1", ":0\r\n");
    EXPECT(s, "GET k", "$1\r\n@\r\n");
    EXPECT(s, "SETBIT k 1 1", ":1\r\n");
    EXPECT(s, "EXPIRE k 10", ":1\r\n");
    EXPECT(s, "SETBIT k 31 1", ":0\r\n");
    EXPECT(s, "STRLEN k", ":4\r\n");
    EXPECT(s, "TTL k", ":10\r\n");
    EXPECT(s, "GETBIT k 31", ":1\r\n");
    EXPECT(s, "GETBIT k 30", ":0\r\n");
    EXPECT(s, "GETBIT k 32", ":0\r\n");
    EXPECT(s, "GETBIT none 32", ":0\r\n");
    EXPECT(s, "SETBIT none 16 0", ":0\r\n");
    EXPECT(s, "STRLEN none", ":3\r\n");
    EXPECT(s, "SETBIT k x 2", BAD_OFFSET);
    EXPECT(s, "SETBIT k #1 1", BAD_OFFSET);
    EXPECT(s, "SETBIT k -1 1", BAD_OFFSET);
    EXPECT(s, "SETBIT k 4294967296 1", BAD_OFFSET);
    EXPECT(s, "GETBIT k 4294967296", BAD_OFFSET);
    EXPECT(s, "GETBIT k 4294967295", ":0\r\n");
    EXPECT(s, "SETBIT k 1 2", BAD_BIT);
    EXPECT(s, "SETBIT k 1 x", BAD_BIT);
    server_set(s, "proto-max-bulk-len", "1048576");
    EXPECT(s, "SETBIT k 8388608 1", BAD_OFFSET);
    EXPECT(s, "SETBIT k 8388607 1", ":0\r\n");
    EXPECT(s, "STRLEN k", ":1048576\r\n");
    EXPECT(s, "BITCOUNT k", ":3\r\n");
    EXPECT(s, "BITPOS k 1 5", ":8388607\r\n");
}

/* A step that changes nothing is no write: a watched key stays as it is, and a full disk does not matter. */
static void test_no_change__is_no_write(void **state)
{
    static const char *const lines[] = {"SETBIT k 1 1", "BITFIELD k SET u8 0 97",
                                        "BITFIELD k OVERFLOW FAIL INCRBY u1 7 1",
                                        "BITFIELD k GET u8 0", "BITOP AND none none"};
    struct server *s = *state;

    EXPECT(s, "SET k a", OK);
    uint64_t versions = fake_db_version_count(s->db);
    fake_db_refuse(s->db, VARVE_ENOSPC);
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        assert_true(ask(s, lines[i])[0] != '-');
    fake_db_refuse(s->db, 0);
    assert_int_equal(fake_db_version_count(s->db), versions);
}

static void test_refused_write__leaves_an_error_alone(void **state)
{
    static const char *const lines[] = {"SETBIT k 0 1", "BITFIELD k GET u8 0 SET u8 0 1",
                                        "BITFIELD k OVERFLOW FAIL SET u8 8 256", "BITOP NOT k k",
                                        "BITOP OR k none"};
    struct server *s = *state;

    EXPECT(s, "SET k a", OK);
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        fake_db_refuse(s->db, VARVE_ENOSPC);
        assert_memory_equal(ask(s, lines[i]), "-MISCONF", 8);
        fake_db_refuse(s->db, 0);
        EXPECT(s, "GET k", "$1\r\na\r\n");
    }
}

static void test_no_memory__is_an_error_and_no_write(void **state)
{
    static const struct {
        const char *line;
        uint64_t allocations; /* of its own */
    } cases[] = {
        {"SETBIT k 100 1", 1},
        {"BITFIELD k SET u8 0 1", 2},
        {"BITOP NOT k k", 3},
    };
    struct server *s = *state;

    EXPECT(s, "SET k a", OK);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (uint64_t nth = 1; nth <= cases[i].allocations; nth++) {
            mem_fail_nth(nth, 0);
            EXPECT(s, cases[i].line, "-ERR out of memory\r\n");
            mem_fail_nth(0, 0);
            EXPECT(s, "GET k", "$1\r\na\r\n");
        }
    }
}

static void test_bitcount__ranges(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k foobar", OK);
    EXPECT(s, "BITCOUNT k", ":26\r\n");
    EXPECT(s, "BITCOUNT k 1 1", ":6\r\n");
    EXPECT(s, "BITCOUNT k -2 -1", ":7\r\n");
    EXPECT(s, "BITCOUNT k 5 30 BIT", ":17\r\n");
    EXPECT(s, "BITCOUNT k 5 30 byte", ":4\r\n");
    EXPECT(s, "BITCOUNT k 5 4", ":0\r\n");
    EXPECT(s, "BITCOUNT k -1 -2 FOO", ":0\r\n");
    EXPECT(s, "BITCOUNT k 0 1 FOO", SYNTAX);
    EXPECT(s, "BITCOUNT k 0", SYNTAX);
    EXPECT(s, "BITCOUNT k 0 1 BIT BIT", SYNTAX);
    EXPECT(s, "BITCOUNT k 0 x", NOT_INTEGER);
    EXPECT(s, "BITCOUNT none 0 x", ":0\r\n");
}

static void test_bitpos__ranges(void **state)
{
    struct server *s = *state;

    EXPECT(s, "BITFIELD k SET u24 0 16773120", "*1\r\n:0\r\n"); /* ff f0 00 */
    EXPECT(s, "BITPOS k 0", ":12\r\n");
    EXPECT(s, "BITPOS k 1", ":0\r\n");
    EXPECT(s, "BITPOS k 1 2", ":-1\r\n");
    EXPECT(s, "BITPOS k 0 0 0", ":-1\r\n");
    EXPECT(s, "BITPOS k 0 0 12 BIT", ":12\r\n");
    EXPECT(s, "BITPOS k 0 0 11 BIT", ":-1\r\n");
    EXPECT(s, "BITPOS k 0 3", ":-1\r\n");
    EXPECT(s, "BITPOS k 0 0 x FOO", SYNTAX);
    EXPECT(s, "BITPOS k 0 0 x BIT", NOT_INTEGER);
    EXPECT(s, "BITPOS k 0 0 1 BIT x", SYNTAX);
    EXPECT(s, "BITPOS k 2", "-ERR The bit argument must be 1 or 0.\r\n");
    EXPECT(s, "BITPOS k x", NOT_INTEGER);
    EXPECT(s, "BITPOS none 0 x", ":0\r\n");
    EXPECT(s, "BITPOS none 1", ":-1\r\n");
    EXPECT(s, "BITFIELD k SET u24 0 -1", "*1\r\n:16773120\r\n");
    EXPECT(s, "BITPOS k 0", ":24\r\n"); /* behind the end, if no end is given */
    EXPECT(s, "BITPOS k 0 1", ":24\r\n");
    EXPECT(s, "BITPOS k 0 0 -1", ":-1\r\n");
}

static void test_bitop__drops_the_expiry(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MSET a abc b b", OK);
    EXPECT(s, "SETEX d 10 x", OK);
    EXPECT(s, "BITOP AND d a b", ":3\r\n");
    EXPECT(s, "BITFIELD_RO d GET u8 0 GET u16 8", "*2\r\n:96\r\n:0\r\n");
    EXPECT(s, "TTL d", ":-1\r\n");
    EXPECT(s, "BITOP or d a b none", ":3\r\n");
    EXPECT(s, "GET d", "$3\r\ncbc\r\n");
    EXPECT(s, "BITOP XOR d d a", ":3\r\n");
    EXPECT(s, "BITFIELD d GET u24 0", "*1\r\n:131072\r\n");
    EXPECT(s, "BITOP NOT d a", ":3\r\n");
    EXPECT(s, "BITOP NOT d d", ":3\r\n");
    EXPECT(s, "GET d", "$3\r\nabc\r\n");
    EXPECT(s, "BITOP NOT d a b", "-ERR BITOP NOT must be called with a single source key.\r\n");
    EXPECT(s, "BITOP NAND d a b", SYNTAX);
    EXPECT(s, "BITOP XOR d none other", ":0\r\n");
    EXPECT(s, "EXISTS d", ":0\r\n");
}

static void test_bitfield__steps_see_each_other(void **state)
{
    struct server *s = *state;

    EXPECT(s, "BITFIELD k", "*0\r\n");
    EXPECT(s, "BITFIELD k GET i64 1000", "*1\r\n:0\r\n");
    EXPECT(s, "EXISTS k", ":0\r\n");
    EXPECT(s, "BITFIELD k SET i8 #2 -3 GET u8 16 INCRBY u4 20 1 GET u8 #2 GET u16 #50",
           "*5\r\n:0\r\n:253\r\n:14\r\n:254\r\n:0\r\n");
    EXPECT(s, "STRLEN k", ":3\r\n");
    EXPECT(s, "EXPIRE k 10", ":1\r\n");
    EXPECT(s,
           "BITFIELD k INCRBY u2 100 3 INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 100 5 "
           "OVERFLOW FAIL INCRBY u2 100 1 INCRBY u2 100 -1",
           "*5\r\n:3\r\n:0\r\n:3\r\n" NIL ":2\r\n");
    EXPECT(s, "STRLEN k", ":13\r\n");
    EXPECT(s, "TTL k", ":10\r\n");
    EXPECT(s, "BITFIELD long OVERFLOW FAIL SET u8 72 256", "*1\r\n" NIL);
    EXPECT(s, "STRLEN long", ":10\r\n");
}

static void test_bitfield__errors_write_nothing(void **state)
{
    static const struct {
        const char *steps;
        const char *reply;
    } cases[] = {
        {"GET u64 0", BAD_TYPE},
        {"GET u0 0", BAD_TYPE},
        {"GET i65 0", BAD_TYPE},
        {"GET I8 0", BAD_TYPE},
        {"GET '' 0", BAD_TYPE},
        {"GET u 0", BAD_TYPE},
        {"GET u8 -1", BAD_OFFSET},
        {"GET u8 #-1", BAD_OFFSET},
        {"GET u8 #", BAD_OFFSET},
        {"GET u8 #536870912", BAD_OFFSET},
        {"GET u8 #2305843009213693952", BAD_OFFSET},
        {"SET u8 0 x", NOT_INTEGER},
        {"SET u8 x x", BAD_OFFSET},
        {"SET x x x", BAD_TYPE},
        {"SET u8 0", SYNTAX},
        {"GET u8", SYNTAX},
        {"OVERFLOW", SYNTAX},
        {"OVERFLOW FOO SET", "-ERR Invalid OVERFLOW type specified\r\n"},
    };
    struct server *s = *state;
    char line[128];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        snprintf(line, sizeof(line), "BITFIELD k SET u8 0 1 %s", cases[i].steps);
        EXPECT(s, line, cases[i].reply);
    }
    EXPECT(s, "BITFIELD_RO k GET u8 0 SET u8 0 1",
           "-ERR BITFIELD_RO only supports the GET subcommand\r\n");
    EXPECT(s, "EXISTS k", ":0\r\n");
    EXPECT(s, "COMMAND GETKEYS BITOP AND d a b", "*3\r\n$1\r\nd\r\n$1\r\na\r\n$1\r\nb\r\n");
}

int main(void)
{
/* Each with everything in memory, and with nothing. */
#define TEST(name)                                                                                 \
    {#name, name, server_setup, server_teardown, NULL},                                            \
    {                                                                                              \
#name " (cold)", name, server_setup_cold, server_teardown, NULL                            \
    }
    const struct CMUnitTest tests[] = {
        TEST(test_setbit__makes_room_and_keeps_the_expiry),
        TEST(test_no_change__is_no_write),
        TEST(test_refused_write__leaves_an_error_alone),
        TEST(test_no_memory__is_an_error_and_no_write),
        TEST(test_bitcount__ranges),
        TEST(test_bitpos__ranges),
        TEST(test_bitop__drops_the_expiry),
        TEST(test_bitfield__steps_see_each_other),
        TEST(test_bitfield__errors_write_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
