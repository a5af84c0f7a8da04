/* Strings, keys and expiry, as a client sees them; the replies are those of Redis 7.0.15. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"

#define NIL "$-1\r\n"
#define OK "+OK\r\n"
#define SYNTAX "-ERR syntax error\r\n"
#define NOT_INTEGER "-ERR value is not an integer or out of range\r\n"
#define BAD_SET_EXPIRY "-ERR invalid expire time in 'set' command\r\n"

static void test_set__options(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k a NX", OK);
    EXPECT(s, "SET k b nx", NIL);
    EXPECT(s, "SET k b Nx nX", NIL);
    EXPECT(s, "SET k b XX", OK);
    EXPECT(s, "SET none b XX", NIL);
    EXPECT(s, "SET k c GET", "$1\r\nb\r\n");
    EXPECT(s, "SET k d NX GET", "$1\r\nc\r\n");
    EXPECT(s, "SET k d get XX", "$1\r\nc\r\n");
    EXPECT(s, "SET new d GET NX", NIL);
    EXPECT(s, "MGET k new none", "*3\r\n$1\r\nd\r\n$1\r\nd\r\n$-1\r\n");
    EXPECT(s, "SET k v NX XX", SYNTAX);
    EXPECT(s, "SET k v EX", SYNTAX);
    EXPECT(s, "SET k v EX 10 PX 10", SYNTAX);
    EXPECT(s, "SET k v KEEPTTL EXAT 10", SYNTAX);
    EXPECT(s, "SET k v FOO", SYNTAX);
    EXPECT(s, "SET k v ''", SYNTAX);
    EXPECT(s, "GET k", "$1\r\nd\r\n");
}

static void test_set__times(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k v EX 10", OK);
    EXPECT(s, "PTTL k", ":10000\r\n");
    EXPECT(s, "SET k v PX 1500", OK);
    EXPECT(s, "PTTL k", ":1500\r\n");
    EXPECT(s, "TTL k", ":2\r\n");
    EXPECT(s, "SET k w KEEPTTL", OK);
    EXPECT(s, "PTTL k", ":1500\r\n");
    EXPECT(s, "SET k w EXAT 1700000100", OK);
    EXPECT(s, "EXPIRETIME k", ":1700000100\r\n");
    EXPECT(s, "SET k w PXAT 1700000100001", OK);
    EXPECT(s, "PEXPIRETIME k", ":1700000100001\r\n");
    EXPECT(s, "SET k w EX 5 EX 6", OK); /* the last one of a kind holds */
    EXPECT(s, "TTL k", ":6\r\n");
    EXPECT(s, "SET k w", OK);
    EXPECT(s, "TTL k", ":-1\r\n");
    EXPECT(s, "SET k w EXAT 1", OK); /* past: set, and gone */
    EXPECT(s, "EXISTS k", ":0\r\n");
    EXPECT(s, "SET k w EX 0", BAD_SET_EXPIRY);
    EXPECT(s, "SET k w PX -1", BAD_SET_EXPIRY);
    EXPECT(s, "SET k w EX 9223372036854775807", BAD_SET_EXPIRY);
    EXPECT(s, "SET k w EX 9223372036854775", BAD_SET_EXPIRY);
    EXPECT(s, "SET k w PX 9223372036854775807", BAD_SET_EXPIRY);
    EXPECT(s, "SET k w EXAT 9223372036854776", BAD_SET_EXPIRY);
    EXPECT(s, "SET k w EX 1.5", NOT_INTEGER);
    EXPECT(s, "SET k w EX ''", NOT_INTEGER);
    EXPECT(s, "SET k w NX EX 0", BAD_SET_EXPIRY);
    EXPECT(s, "SET k w PXAT 9223372036854775807", OK);
    EXPECT(s, "EXPIRETIME k", ":9223372036854776\r\n");
}

static void test_binary__keys_and_values(void **state)
{
    struct server *s = *state;
    struct varve_slice set[3] = {varve_slice_str("set"), varve_slice("k\0\r\n", 4),
                                 varve_slice("\0\xff\r\n", 4)};
    struct varve_slice get[2] = {varve_slice_str("get"), set[1]};

    assert_string_equal(ask_argv(s, s->session, 3, set), OK);
    ask_argv(s, s->session, 2, get);
    assert_int_equal(s->out.len, 4 + 4 + 2 + 1);
    assert_memory_equal(s->out.data, "$4\r\n\0\xff\r\n\r\n", 10);
    EXPECT(s, "GET k", NIL);
    EXPECT(s, "SET '' ''", OK);
    EXPECT(s, "GET ''", "$0\r\n\r\n");
    EXPECT(s, "STRLEN ''", ":0\r\n");
}

static void test_many_keys__in_one_command(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MSET a 1 a 2 b 3", OK);
    EXPECT(s, "MGET a b a", "*3\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n2\r\n");
    EXPECT(s, "DBSIZE", ":2\r\n");
    EXPECT(s, "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n");
    EXPECT(s, "MSET a", "-ERR wrong number of arguments for 'mset' command\r\n");
    EXPECT(s, "EXISTS a a none b", ":3\r\n");
    EXPECT(s, "TOUCH a a", ":2\r\n");
    EXPECT(s, "DEL a none a a", ":1\r\n");
    EXPECT(s, "DEL a", ":0\r\n");
    EXPECT(s, "DEL b c b c b c b c b c b c b c b c b c b c b c", ":1\r\n");
    EXPECT(s, "MSET a 1 b 2", OK);
    EXPECT(s, "UNLINK b a b", ":2\r\n");
    EXPECT(s, "DBSIZE", ":0\r\n");
}

static void test_one_command__is_one_batch(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MSET a 1 b 2 c 3", OK);
    assert_int_equal(s->outcome.wait_seq, 5); /* with the two records of the map */
    fake_db_fail_commit(s->db);
    assert_int_equal(varve_group_commit(s->db, NULL), VARVE_EIO);
    EXPECT(s, "EXISTS a b c", ":0\r\n");
    EXPECT(s, "MSET a 1 b 2 c 3", OK); /* as it is run again */
    EXPECT(s, "EXISTS a b c", ":3\r\n");
}

static void test_integers__in_strings(void **state)
{
    struct server *s = *state;

    EXPECT(s, "INCR n", ":1\r\n");
    EXPECT(s, "INCRBY n 41", ":42\r\n");
    EXPECT(s, "DECR n", ":41\r\n");
    EXPECT(s, "DECRBY n -1", ":42\r\n");
    EXPECT(s, "GET n", "$2\r\n42\r\n");
    EXPECT(s, "INCRBY n x", NOT_INTEGER);
    EXPECT(s, "SET n 9223372036854775807", OK);
    EXPECT(s, "INCR n", "-ERR increment or decrement would overflow\r\n");
    EXPECT(s, "DECRBY n -9223372036854775807", "-ERR increment or decrement would overflow\r\n");
    EXPECT(s, "DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n");
    EXPECT(s, "SET n -9223372036854775808", OK);
    EXPECT(s, "DECR n", "-ERR increment or decrement would overflow\r\n");
    static const char *const bad[] = {"''", "01", "+1", "-0", "1x", "1.0"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "SET n %s", bad[i]);
        EXPECT(s, line, OK);
        EXPECT(s, "INCR n", NOT_INTEGER);
    }
}

static void test_append__grows_and_is_bounded(void **state)
{
    struct server *s = *state;
    static char big[1048570];
    struct varve_slice set[3] = {varve_slice_str("set"), varve_slice_str("k"),
                                 varve_slice(big, sizeof(big))};

    EXPECT(s, "APPEND a xy", ":2\r\n");
    EXPECT(s, "APPEND a ''", ":2\r\n");
    EXPECT(s, "APPEND a z", ":3\r\n");
    EXPECT(s, "GET a", "$3\r\nxyz\r\n");
    EXPECT(s, "STRLEN a", ":3\r\n");
    server_set(s, "proto-max-bulk-len", "1mb");
    assert_string_equal(ask_argv(s, s->session, 3, set), OK);
    EXPECT(s, "APPEND k 123456", ":1048576\r\n");
    EXPECT(s, "APPEND k 1", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    EXPECT(s, "STRLEN k", ":1048576\r\n");
}

static void test_expiry__is_kept_by_changes_in_place(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET n 1 PX 5000", OK);
    EXPECT(s, "INCR n", ":2\r\n");
    EXPECT(s, "APPEND n 3", ":2\r\n");
    EXPECT(s, "PTTL n", ":5000\r\n");
    EXPECT(s, "PERSIST n", ":1\r\n");
    EXPECT(s, "PERSIST n", ":0\r\n");
    EXPECT(s, "PERSIST none", ":0\r\n");
    EXPECT(s, "PTTL n", ":-1\r\n");
    EXPECT(s, "PTTL none", ":-2\r\n");
    EXPECT(s, "GET n", "$2\r\n23\r\n");
    EXPECT(s, "EXPIRE n 10", ":1\r\n");
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 10000);
    EXPECT(s, "GET n", NIL);
    EXPECT(s, "TYPE n", "+none\r\n");
    EXPECT(s, "DBSIZE", ":0\r\n");
    EXPECT(s, "APPEND n 1", ":1\r\n");
    EXPECT(s, "TTL n", ":-1\r\n");
}

static void test_expire__conditions(void **state)
{
    struct server *s = *state;

    EXPECT(s, "EXPIRE k 10", ":0\r\n");
    EXPECT(s, "SET k v", OK);
    EXPECT(s, "EXPIRE k 10 XX", ":0\r\n");
    EXPECT(s, "EXPIRE k 10 GT", ":0\r\n");
    EXPECT(s, "EXPIRE k 10 LT", ":1\r\n");
    EXPECT(s, "EXPIRE k 20 NX", ":0\r\n");
    EXPECT(s, "EXPIRE k 20 gt xx", ":1\r\n");
    EXPECT(s, "EXPIRE k 20 GT", ":0\r\n");
    EXPECT(s, "EXPIRE k 20 LT", ":0\r\n");
    EXPECT(s, "PEXPIRE k 19999 LT", ":1\r\n");
    EXPECT(s, "PTTL k", ":19999\r\n");
    EXPECT(s, "EXPIREAT k 1700000050", ":1\r\n");
    EXPECT(s, "TTL k", ":50\r\n");
    EXPECT(s, "PEXPIREAT k 1700000000001", ":1\r\n");
    EXPECT(s, "PTTL k", ":1\r\n");
    EXPECT(s, "EXPIRE k -1", ":1\r\n");
    EXPECT(s, "EXISTS k", ":0\r\n");
    EXPECT(s, "EXPIRE k x NX LT",
           "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n");
    EXPECT(s, "EXPIRE k x GT LT", "-ERR GT and LT options at the same time are not compatible\r\n");
    EXPECT(s, "EXPIRE k x Foo", "-ERR Unsupported option Foo\r\n");
    EXPECT(s, "EXPIRE k x", NOT_INTEGER);
    EXPECT(s, "EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n");
    EXPECT(s, "EXPIRE k -9223372036854775808", "-ERR invalid expire time in 'expire' command\r\n");
    EXPECT(s, "PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n");
    EXPECT(s, "PEXPIREAT k 9223372036854775807", ":0\r\n");
}

static void test_databases__are_separate(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k zero", OK);
    EXPECT(s, "SELECT 15", OK);
    EXPECT(s, "GET k", NIL);
    EXPECT(s, "SET k last", OK);
    EXPECT(s, "DBSIZE", ":1\r\n");
    EXPECT(s, "FLUSHDB async", OK);
    EXPECT(s, "DBSIZE", ":0\r\n");
    EXPECT(s, "SELECT 0", OK);
    EXPECT(s, "GET k", "$4\r\nzero\r\n");
    EXPECT(s, "TYPE k", "+string\r\n");
    EXPECT(s, "FLUSHALL SYNC", OK);
    EXPECT(s, "GET k", NIL);
    EXPECT(s, "FLUSHALL now", SYNTAX);
    EXPECT(s, "FLUSHDB SYNC ASYNC", SYNTAX);
    EXPECT(s, "SELECT 16", "-ERR DB index is out of range\r\n");
    EXPECT(s, "SELECT -1", "-ERR DB index is out of range\r\n");
    EXPECT(s, "SELECT x", NOT_INTEGER);
    EXPECT(s, "SELECT 2147483648",
           "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n");
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
        TEST(test_set__options),
        TEST(test_set__times),
        TEST(test_binary__keys_and_values),
        TEST(test_many_keys__in_one_command),
        TEST(test_one_command__is_one_batch),
        TEST(test_integers__in_strings),
        TEST(test_append__grows_and_is_bounded),
        TEST(test_expiry__is_kept_by_changes_in_place),
        TEST(test_expire__conditions),
        TEST(test_databases__are_separate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
