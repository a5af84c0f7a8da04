/* The other commands on strings, keys and databases, as a client sees them; redis-compat/commands compares
 * many more cases with Redis itself. */
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
#define NOT_FLOAT "-ERR value is not a valid float\r\n"

static void test_setnx_msetnx__all_or_none(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SETNX k v", ":1\r\n");
    EXPECT(s, "SETNX k w", ":0\r\n");
    EXPECT(s, "MSETNX a 1 b 2", ":1\r\n");
    EXPECT(s, "MSETNX c 1 b 3 d 4", ":0\r\n");
    EXPECT(s, "MGET a b c d", "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n$-1\r\n");
    EXPECT(s, "MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command\r\n");
    EXPECT(s, "MSETNX e 1 e 2", ":1\r\n");
    EXPECT(s, "GET e", "$1\r\n2\r\n");
}

static void test_setex__times(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SETEX k 10 v", OK);
    EXPECT(s, "PTTL k", ":10000\r\n");
    EXPECT(s, "PSETEX k 1500 v", OK);
    EXPECT(s, "PTTL k", ":1500\r\n");
    EXPECT(s, "SETEX k 0 v", "-ERR invalid expire time in 'setex' command\r\n");
    EXPECT(s, "PSETEX k -1 v", "-ERR invalid expire time in 'psetex' command\r\n");
    EXPECT(s, "SETEX k 9223372036854775807 v", "-ERR invalid expire time in 'setex' command\r\n");
    EXPECT(s, "SETEX k x v", NOT_INTEGER);
    EXPECT(s, "PTTL k", ":1500\r\n");
}

static void test_getex__changes_the_expiry_alone(void **state)
{
    struct server *s = *state;

    EXPECT(s, "GETEX k EX 10", NIL);
    EXPECT(s, "SET k v", OK);
    EXPECT(s, "GETEX k", "$1\r\nv\r\n");
    EXPECT(s, "TTL k", ":-1\r\n");
    EXPECT(s, "GETEX k EX 10", "$1\r\nv\r\n");
    EXPECT(s, "TTL k", ":10\r\n");
    EXPECT(s, "GETEX k EX 0", "-ERR invalid expire time in 'getex' command\r\n");
    EXPECT(s, "GETEX k EX x", NOT_INTEGER);
    EXPECT(s, "GETEX k EX 1 PX 1", SYNTAX);
    EXPECT(s, "TTL k", ":10\r\n");
    EXPECT(s, "GETEX k PERSIST", "$1\r\nv\r\n");
    EXPECT(s, "TTL k", ":-1\r\n");
    EXPECT(s, "GETEX k PXAT 1", "$1\r\nv\r\n");
    EXPECT(s, "EXISTS k", ":0\r\n");
    EXPECT(s, "SETEX k 5 v", OK);
    EXPECT(s, "GETSET k w", "$1\r\nv\r\n");
    EXPECT(s, "TTL k", ":-1\r\n");
    EXPECT(s, "GETDEL k", "$1\r\nw\r\n");
    EXPECT(s, "GETDEL k", NIL);
}

/* An old value that was written into the reply does not stay there when the write is refused. */
static void test_refused_write__leaves_an_error_alone(void **state)
{
    static const char *const lines[] = {"GETSET k w",     "GETDEL k",        "GETEX k EX 10",
                                        "SETRANGE k 0 x", "INCRBYFLOAT n 1", "RENAME k l",
                                        "COPY k l",       "MOVE k 1",        "SWAPDB 0 1"};
    struct server *s = *state;

    EXPECT(s, "MSET k v n 1", OK);
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        fake_db_refuse(s->db, VARVE_ENOSPC);
        assert_memory_equal(ask(s, lines[i]), "-MISCONF", 8);
        fake_db_refuse(s->db, 0);
        EXPECT(s, "MGET k l n", "*3\r\n$1\r\nv\r\n$-1\r\n$1\r\n1\r\n");
        EXPECT(s, "DBSIZE", ":2\r\n");
    }
}

static void test_ranges__are_bounded(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SETRANGE k 3 abc", ":6\r\n");
    ask(s, "GET k");
    assert_memory_equal(s->out.data, "$6\r\n\0\0\0abc\r\n", 12);
    EXPECT(s, "SETRANGE k 1 xyz", ":6\r\n");
    EXPECT(s, "GETRANGE k 1 -2", "$4\r\nxyzb\r\n");
    EXPECT(s, "SETRANGE k 0 ''", ":6\r\n");
    EXPECT(s, "SETRANGE none 5 ''", ":0\r\n");
    EXPECT(s, "EXISTS none", ":0\r\n");
    EXPECT(s, "SETRANGE k -1 x", "-ERR offset is out of range\r\n");
    server_set(s, "proto-max-bulk-len", "1048576");
    EXPECT(s, "SETRANGE k 1048576 x",
           "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    EXPECT(s, "SETRANGE k 9223372036854775807 x",
           "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    EXPECT(s, "SETRANGE k 1048575 x", ":1048576\r\n");
    EXPECT(s, "GETRANGE none 0 -1", "$0\r\n\r\n");
    EXPECT(s, "SUBSTR k 1 2", "$2\r\nxy\r\n");
}

static void test_no_memory__is_an_error_and_no_write(void **state)
{
    struct server *s = *state;
    struct varve_slice packed = varve_slice("\0\xc3\6\5\4hello\n\0\x79\xb6\xff\x72\x37\x71\x8b\xd3",
                                            20);
    struct varve_slice argv[5] = {varve_slice_str("RESTORE"), varve_slice_str("k"),
                                  varve_slice_str("0"), packed, varve_slice_str("REPLACE")};

    EXPECT(s, "SET k v", OK);
    assert_string_equal(ask_argv(s, s->session, 5, argv), OK);
    EXPECT(s, "GET k", "$5\r\nhello\r\n");
    mem_fail_nth(1, 0);
    EXPECT(s, "SETRANGE k 10 x", "-ERR out of memory\r\n");
    mem_fail_nth(1, 0);
    assert_string_equal(ask_argv(s, s->session, 5, argv), "-ERR out of memory\r\n");
    mem_fail_nth(0, 0);
    EXPECT(s, "GET k", "$5\r\nhello\r\n");
}

static void test_floats__in_strings(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET f 10.5 EX 10", OK);
    EXPECT(s, "INCRBYFLOAT f 0.1", "$4\r\n10.6\r\n");
    EXPECT(s, "TTL f", ":10\r\n");
    EXPECT(s, "INCRBYFLOAT f x", NOT_FLOAT);
    EXPECT(s, "INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity\r\n");
    EXPECT(s, "SET f x", OK);
    EXPECT(s, "INCRBYFLOAT f 1", NOT_FLOAT);
    EXPECT(s, "INCRBYFLOAT none 3.0", "$1\r\n3\r\n");
}

static void test_lcs__of_two_keys(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MSET a ohmytext b mynewtext", OK);
    EXPECT(s, "LCS a b", "$6\r\nmytext\r\n");
    EXPECT(s, "LCS a b LEN", ":6\r\n");
    EXPECT(s, "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
           "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n"
           "$3\r\nlen\r\n:6\r\n");
    EXPECT(s, "LCS a none", "$0\r\n\r\n");
    EXPECT(s, "LCS none none IDX", "*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n");
    EXPECT(s, "LCS a b LEN IDX",
           "-ERR If you want both the length and indexes, please just use IDX.\r\n");
    server_set(s, "proto-max-bulk-len", "1048576");
    EXPECT(s, "SETRANGE a 600 x", ":601\r\n");
    EXPECT(s, "SETRANGE b 500 x", ":501\r\n");
    EXPECT(s, "LCS a b LEN",
           "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n");
}

static void test_rename__takes_the_expiry_along(void **state)
{
    struct server *s = *state;

    EXPECT(s, "RENAME none k", "-ERR no such key\r\n");
    EXPECT(s, "SETEX k 10 v", OK);
    EXPECT(s, "RENAME k k", OK);
    EXPECT(s, "RENAMENX k k", ":0\r\n");
    EXPECT(s, "SET l w", OK);
    EXPECT(s, "RENAMENX k l", ":0\r\n");
    EXPECT(s, "RENAME k l", OK);
    EXPECT(s, "TTL l", ":10\r\n");
    EXPECT(s, "MGET k l", "*2\r\n$-1\r\n$1\r\nv\r\n");
    EXPECT(s, "COPY l k", ":1\r\n");
    EXPECT(s, "COPY l k", ":0\r\n");
    EXPECT(s, "TTL k", ":10\r\n");
    EXPECT(s, "SET m new", OK);
    EXPECT(s, "COPY m k REPLACE", ":1\r\n");
    EXPECT(s, "TTL k", ":-1\r\n");
    EXPECT(s, "COPY k k", "-ERR source and destination objects are the same\r\n");
    EXPECT(s, "COPY k k DB 3", ":1\r\n");
    EXPECT(s, "MOVE k 3", ":0\r\n");
    EXPECT(s, "MOVE l 3", ":1\r\n");
    EXPECT(s, "DBSIZE", ":2\r\n");
    EXPECT(s, "SELECT 3", OK);
    EXPECT(s, "TTL l", ":10\r\n");
    EXPECT(s, "DBSIZE", ":2\r\n");
}

static void test_swapdb__is_undone_with_its_group(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k zero", OK);
    EXPECT(s, "SELECT 1", OK);
    EXPECT(s, "MSET k one l one", OK);
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    EXPECT(s, "SWAPDB 0 1", OK);
    EXPECT(s, "GET k", "$4\r\nzero\r\n");
    EXPECT(s, "DBSIZE", ":1\r\n");
    fake_db_fail_commit(s->db);
    assert_int_equal(varve_group_commit(s->db, NULL), VARVE_EIO);
    EXPECT(s, "GET k", "$3\r\none\r\n");
    EXPECT(s, "DBSIZE", ":2\r\n");
    EXPECT(s, "SWAPDB 1 7", OK); /* with one that has no space */
    EXPECT(s, "DBSIZE", ":0\r\n");
    EXPECT(s, "SET k fresh", OK);
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    EXPECT(s, "SELECT 7", OK);
    EXPECT(s, "DBSIZE", ":2\r\n");
    EXPECT(s, "SWAPDB 7 7", OK);
    EXPECT(s, "SWAPDB 8 9", OK);
    assert_int_equal(s->outcome.uncommitted, 0); /* nothing was written */
    EXPECT(s, "SWAPDB x 99", "-ERR invalid first DB index\r\n");
    EXPECT(s, "SWAPDB 99 0", "-ERR DB index is out of range\r\n");
}

/* What the map is in memory is what a start finds. */
static void test_swapdb__is_found_again(void **state)
{
    struct server *s = *state;
    struct keyspace *again;
    struct varve_err err;
    uint64_t count;
    uint64_t seq = 0;

    EXPECT(s, "SET k zero", OK);
    EXPECT(s, "SWAPDB 0 5", OK);
    EXPECT(s, "MSET a 1 b 2", OK);
    EXPECT(s, "SWAPDB 5 6", OK);
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    assert_int_equal(keyspace_open(s->db, &again, &err), 0);
    keyspace_let_wait(again, 1);
    assert_int_equal(keyspace_count(again, 0, &count, &seq, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(keyspace_count(again, 5, &count, &seq, &err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(keyspace_count(again, 6, &count, &seq, &err), 0);
    assert_int_equal(count, 1);
    keyspace_close(again);
}

/* ---- DUMP, RESTORE ---- */

static const char *restore(struct server *s, const char *ttl, struct varve_slice payload,
                           const char *option)
{
    struct varve_slice argv[5] = {varve_slice_str("RESTORE"), varve_slice_str("r"),
                                  varve_slice_str(ttl), payload};

    if (option != NULL)
        argv[4] = varve_slice_str(option);
    return ask_argv(s, s->session, option != NULL ? 5 : 4, argv);
}

static void test_restore__takes_what_dump_gave(void **state)
{
    struct server *s = *state;
    struct varve_slice payload = varve_slice("\0\1v\n\0\x91\x08\xce\xb2\x19\x38\x8a\xce", 13);

    EXPECT(s, "SET k v", OK);
    ask(s, "DUMP k");
    assert_int_equal(s->out.len, 5 + 13 + 2 + 1);
    assert_memory_equal(s->out.data, "$13\r\n", 5);
    assert_memory_equal(s->out.data + 5, payload.data, payload.len);
    EXPECT(s, "DUMP none", NIL);
    assert_string_equal(restore(s, "0", payload, NULL), OK);
    assert_string_equal(restore(s, "0", payload, NULL),
                        "-BUSYKEY Target key name already exists.\r\n");
    assert_string_equal(restore(s, "1500", payload, "REPLACE"), OK);
    EXPECT(s, "PTTL r", ":1500\r\n");
    EXPECT(s, "GET r", "$1\r\nv\r\n");
    assert_string_equal(restore(s, "-1", payload, "REPLACE"),
                        "-ERR Invalid TTL value, must be >= 0\r\n");
    assert_string_equal(restore(s, "9223372036854775807", payload, "REPLACE"),
                        "-ERR Invalid TTL value, too large\r\n");
    payload.len--;
    assert_string_equal(restore(s, "0", payload, "REPLACE"),
                        "-ERR DUMP payload version or checksum are wrong\r\n");
    EXPECT(s, "DEL r", ":1\r\n");
    payload.len++;
    assert_string_equal(restore(s, "1", payload, "ABSTTL"), OK); /* long past */
    EXPECT(s, "EXISTS r", ":0\r\n");
}

/* ---- the server ---- */

static void test_save__waits_for_the_sync_in_every_mode(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k v", OK);
    uint64_t seq = s->outcome.wait_seq;
    assert_int_equal(s->outcome.sync, 0);
    s->commit_firsts = 0;
    EXPECT(s, "SAVE", OK);
    assert_int_equal(s->commit_firsts, 1);
    assert_int_equal(s->outcome.sync, 1);
    assert_int_equal(s->outcome.wait_seq, seq);
    assert_int_equal(fake_db_syncs(s->db), 1);
    EXPECT(s, "BGSAVE", "+Background saving started\r\n");
    assert_int_equal(s->outcome.sync, 0);
    assert_int_equal(s->outcome.wait_seq, 0);
    assert_int_equal(fake_db_syncs(s->db), 2);
    EXPECT(s, "BGSAVE NOW", SYNTAX);
    fake_db_refuse(s->db, VARVE_EREADONLY);
    assert_memory_equal(ask(s, "SAVE"), "-MISCONF", 8);
    assert_int_equal(s->outcome.sync, 0);
    assert_memory_equal(ask(s, "BGSAVE"), "-MISCONF", 8);
    assert_int_equal(fake_db_syncs(s->db), 2);
}

#define DEBUG_REFUSED                                                                              \
    "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you " \
    "can run it from a local connection, otherwise you need to set this option in the "            \
    "configuration file, and then restart the server.\r\n"

static void test_debug__is_off_unless_it_is_on(void **state)
{
    struct server *s = *state;
    struct session *far = session_create(s->processor, "10.0.0.1:5", "10.0.0.2:6", NULL, NULL);

    EXPECT(s, "DEBUG SLEEP 0", DEBUG_REFUSED);
    EXPECT(s, "DEBUG", "-ERR wrong number of arguments for 'debug' command\r\n");
    server_set(s, "enable-debug-command", "local");
    EXPECT(s, "DEBUG SLEEP 0", OK);
    assert_string_equal(ask_as(s, far, "DEBUG SLEEP 0"), DEBUG_REFUSED);
    server_set(s, "enable-debug-command", "yes");
    assert_string_equal(ask_as(s, far, "DEBUG SLEEP 0"), OK);
    EXPECT(s, "SET k v", OK);
    EXPECT(s, "DEBUG RELOAD", OK);
    assert_int_equal(fake_db_flushes(s->db), 1);
    EXPECT(s, "DEBUG FOO",
           "-ERR unknown subcommand or wrong number of arguments for 'FOO'. Try DEBUG HELP.\r\n");
    far->proto = 3;
    assert_string_equal(ask_as(s, far, "DEBUG PROTOCOL attrib"),
                        "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n"
                        "$39\r\nSome real reply following the attribute\r\n");
    assert_string_equal(ask_as(s, far, "DEBUG PROTOCOL push"),
                        ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n"
                        "$40\r\nSome real reply following the push reply\r\n");
    session_destroy(far);
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
        TEST(test_setnx_msetnx__all_or_none),
        TEST(test_setex__times),
        TEST(test_getex__changes_the_expiry_alone),
        TEST(test_refused_write__leaves_an_error_alone),
        TEST(test_ranges__are_bounded),
        TEST(test_no_memory__is_an_error_and_no_write),
        TEST(test_floats__in_strings),
        TEST(test_lcs__of_two_keys),
        TEST(test_rename__takes_the_expiry_along),
        TEST(test_swapdb__is_undone_with_its_group),
        TEST(test_swapdb__is_found_again),
        TEST(test_restore__takes_what_dump_gave),
        TEST(test_save__waits_for_the_sync_in_every_mode),
        TEST(test_debug__is_off_unless_it_is_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
