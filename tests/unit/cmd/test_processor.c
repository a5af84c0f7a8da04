#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"
#include "cmd/ctx.h"
#include "cmd/table.h"

#define OOM "-OOM command refused: refused by the test\r\n"

static const struct command_stats *stats_of(struct server *s, const char *name)
{
    return processor_command_stats(s->processor, command_find(NULL, varve_slice_str(name)));
}

static uint64_t errors_of(struct server *s, const char *class)
{
    const char *name;
    uint64_t count;

    for (int i = 0; (name = processor_error_class(s->processor, i, &count)) != NULL; i++)
        if (strcmp(name, class) == 0)
            return count;
    return 0;
}

static void test_unknown__repeats_what_came(void **state)
{
    struct server *s = *state;
    char args[256];
    char long_name[256];
    char reply[512];

    EXPECT(s, "FOO", "-ERR unknown command 'FOO', with args beginning with: \r\n");
    EXPECT(s, "Foo a ''", "-ERR unknown command 'Foo', with args beginning with: 'a' '' \r\n");
    EXPECT(s, "''", "-ERR unknown command '', with args beginning with: \r\n");
    EXPECT(s, "foo a\r\nb", "-ERR unknown command 'foo', with args beginning with: 'a  b' \r\n");
    memset(long_name, 'n', 200);
    long_name[200] = '\0';
    snprintf(reply, sizeof(reply), "-ERR unknown command '%.128s', with args beginning with: \r\n",
             long_name);
    EXPECT(s, long_name, reply);
    snprintf(args, sizeof(args), "foo ab %.200s d", long_name);
    snprintf(reply, sizeof(reply),
             "-ERR unknown command 'foo', with args beginning with: 'ab' '%.123s' \r\n", long_name);
    EXPECT(s, args, reply);
    struct varve_slice nul[2] = {varve_slice("fo\0o", 4), varve_slice("a\0b", 3)};
    assert_string_equal(ask_argv(s, s->session, 2, nul),
                        "-ERR unknown command 'fo', with args beginning with: 'a' \r\n");
}

static void test_subcommands__are_checked_before_arity(void **state)
{
    struct server *s = *state;

    EXPECT(s, "client", "-ERR wrong number of arguments for 'client' command\r\n");
    EXPECT(s, "client foO x", "-ERR unknown subcommand 'foO'. Try CLIENT HELP.\r\n");
    EXPECT(s, "CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command\r\n");
    EXPECT(s, "GET", "-ERR wrong number of arguments for 'get' command\r\n");
    EXPECT(s, "get a b", "-ERR wrong number of arguments for 'get' command\r\n");
    EXPECT(s, "mget", "-ERR wrong number of arguments for 'mget' command\r\n");
}

static void test_cross_protocol__is_closed_without_a_word(void **state)
{
    struct server *s = *state;

    EXPECT(s, "POST / HTTP/1.1", "");
    assert_int_equal(s->outcome.close_after, 1);
    EXPECT(s, "hOst: localhost", "");
    assert_int_equal(s->outcome.close_after, 1);
    EXPECT(s, "PING", "+PONG\r\n");
    assert_int_equal(s->outcome.close_after, 0);
}

static void test_auth__comes_after_arity(void **state)
{
    struct server *s = *state;

    server_set(s, "requirepass", "secret");
    EXPECT(s, "PING", "+PONG\r\n"); /* who was there before stays */
    struct session *late = session_create(s->processor, "p:1", "l:1", NULL, NULL);
    assert_int_equal(session_auth_required(late), 1);
    assert_string_equal(ask_as(s, late, "PING"), "-NOAUTH Authentication required.\r\n");
    assert_string_equal(ask_as(s, late, "GET"),
                        "-ERR wrong number of arguments for 'get' command\r\n");
    assert_string_equal(ask_as(s, late, "BAR"),
                        "-ERR unknown command 'BAR', with args beginning with: \r\n");
    assert_string_equal(ask_as(s, late, "AUTH secre"),
                        "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    assert_string_equal(ask_as(s, late, "AUTH secrets"),
                        "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    assert_string_equal(ask_as(s, late, "AUTH bob secret"),
                        "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    assert_string_equal(ask_as(s, late, "AUTH secret"), "+OK\r\n");
    assert_int_equal(session_auth_required(late), 0);
    assert_string_equal(ask_as(s, late, "PING"), "+PONG\r\n");
    assert_string_equal(ask_as(s, late, "RESET"), "+RESET\r\n");
    assert_string_equal(ask_as(s, late, "PING"), "-NOAUTH Authentication required.\r\n");
    server_set(s, "requirepass", "");
    assert_string_equal(ask_as(s, late, "PING"), "+PONG\r\n");
    session_destroy(late);
    assert_int_equal(errors_of(s, "NOAUTH"), 2);
    assert_int_equal(errors_of(s, "WRONGPASS"), 3);
    assert_int_equal(stats_of(s, "ping")->rejected, 2);
}

static void test_barrier__runs_in_no_open_group(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SELECT 1", "+OK\r\n");
    assert_int_equal(s->commit_firsts, 0);
    EXPECT(s, "SET a 1", "+OK\r\n");
    EXPECT(s, "GET a", "$1\r\n1\r\n");
    EXPECT(s, "FLUSHDB", "+OK\r\n");
    EXPECT(s, "CLIENT ID", ":1\r\n");
    EXPECT(s, "SELECT", "-ERR wrong number of arguments for 'select' command\r\n");
    assert_int_equal(s->commit_firsts, 0);
    static const char *const barriers[] = {
        "SELECT 2",       "HELLO",         "CLIENT SETNAME x", "RESET", "CLIENT SETINFO LIB-NAME x",
        "AUTH default x", "SHUTDOWN ABORT"};
    for (size_t i = 0; i < COUNT_OF(barriers); i++) {
        EXPECT(s, "SET a 1", "+OK\r\n");
        ask(s, barriers[i]);
        assert_int_equal(s->commit_firsts, i + 1);
    }
}

static void test_large_group__is_committed_now(void **state)
{
    struct server *s = *state;
    char *value = malloc(1024 * 1024);
    struct varve_slice argv[3] = {varve_slice_str("SET"), varve_slice_str("k"),
                                  varve_slice(value, 1024 * 1024)};

    memset(value, 'v', 1024 * 1024);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            ask_argv(s, s->session, 3, argv);
            assert_int_equal(s->step, PROCESSOR_DONE);
        }
        ask_argv(s, s->session, 3, argv);
        assert_int_equal(s->step, PROCESSOR_COMMIT_NOW);
        assert_int_equal(varve_group_commit(s->db, NULL), 0);
    }
    EXPECT(s, "GET none", "$-1\r\n");
    assert_int_equal(s->step, PROCESSOR_DONE);
    free(value);
}

static void test_full_memtables__park_the_write(void **state)
{
    static const char *const commands[][5] = {
        {"SET", "a", "2"}, {"SET", "a", "2", "GET"}, {"MSET", "a", "2", "b", "2"},
        {"INCR", "a"},     {"APPEND", "a", "x"},     {"DEL", "a"}};
    struct server *s = *state;

    EXPECT(s, "SET a 1", "+OK\r\n");
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        struct varve_slice argv[5];
        int argc = 0;
        for (; argc < 5 && commands[i][argc] != NULL; argc++)
            argv[argc] = varve_slice_str(commands[i][argc]);
        fake_db_refuse(s->db, VARVE_WOULD_BLOCK);
        uint64_t calls = stats_of(s, commands[i][0])->calls;
        assert_int_equal(try_argv(s, s->session, argc, argv), PROCESSOR_PARK);
        assert_int_equal(s->out.len, 0);
        assert_true(s->outcome.park_us > 0);
        assert_int_equal(stats_of(s, commands[i][0])->calls, calls);
        fake_db_refuse(s->db, 0);
        EXPECT(s, "GET a", "$1\r\n1\r\n");
    }
    EXPECT(s, "INCR a", ":2\r\n");
}

static void test_engine_failures__have_their_class(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET a 1", "+OK\r\n");
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    fake_db_refuse(s->db, VARVE_EFULL);
    EXPECT(s, "SET a 2", OOM);
    EXPECT(s, "SET a 2 GET", OOM);
    EXPECT(s, "MSET a 2 b 2", OOM);
    EXPECT(s, "INCR a", OOM);
    EXPECT(s, "APPEND a x", OOM);
    EXPECT(s, "EXPIRE a 10", OOM);
    fake_db_refuse(s->db, VARVE_EREADONLY);
    EXPECT(s, "SET a 2", "-MISCONF Writes are refused: refused by the test\r\n");
    EXPECT(s, "DEL a", "-MISCONF Writes are refused: refused by the test\r\n");
    EXPECT(s, "FLUSHALL", "-MISCONF Writes are refused: refused by the test\r\n");
    EXPECT(s, "SHUTDOWN", "-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    assert_int_equal(s->shutdowns, 0);
    EXPECT(s, "GET a", "$1\r\n1\r\n");
    fake_db_refuse(s->db, VARVE_ENOMEM);
    EXPECT(s, "SET a 2", "-ERR out of memory\r\n");
    fake_db_refuse(s->db, 0);
    EXPECT(s, "GET a", "$1\r\n1\r\n");
    plant_name(s->db, "bad", "\x42", 1);
    EXPECT(s, "GET bad", "-ERR corrupt data: the value of key \"bad\" does not decode\r\n");
    EXPECT(s, "MGET a bad", "-ERR corrupt data: the value of key \"bad\" does not decode\r\n");
    EXPECT(s, "TYPE bad", "-ERR corrupt data: the value of key \"bad\" does not decode\r\n");
    EXPECT(s, "DEL bad", ":1\r\n");
    EXPECT(s, "GET bad", "$-1\r\n");
}

static void test_counters__tell_failed_from_rejected(void **state)
{
    struct server *s = *state;
    struct processor_stats stats;

    EXPECT(s, "SET a x", "+OK\r\n");
    EXPECT(s, "INCR a", "-ERR value is not an integer or out of range\r\n");
    EXPECT(s, "INCR", "-ERR wrong number of arguments for 'incr' command\r\n");
    EXPECT(s, "nope", "-ERR unknown command 'nope', with args beginning with: \r\n");
    assert_int_equal(stats_of(s, "incr")->calls, 1);
    assert_int_equal(stats_of(s, "incr")->failed, 1);
    assert_int_equal(stats_of(s, "incr")->rejected, 1);
    assert_int_equal(stats_of(s, "set")->calls, 1);
    assert_int_equal(stats_of(s, "set")->failed, 0);
    processor_get_stats(s->processor, &stats);
    assert_int_equal(stats.commands, 2);
    assert_int_equal(stats.error_replies, 3);
    assert_int_equal(stats.session_count, 1);
    assert_int_equal(stats.sessions_made, 1);
    assert_int_equal(errors_of(s, "ERR"), 3);
    processor_reset_stats(s->processor);
    processor_get_stats(s->processor, &stats);
    assert_int_equal(stats.commands, 0);
    assert_int_equal(stats.session_count, 1);
    assert_int_equal(stats_of(s, "incr")->calls, 0);
    assert_int_equal(errors_of(s, "ERR"), 0);
}

static void test_wait_seq__is_what_the_reply_rests_on(void **state)
{
    struct server *s = *state;

    ask(s, "GET a");
    assert_int_equal(s->outcome.wait_seq, 0);
    ask(s, "SET a 1");
    uint64_t set_seq = s->outcome.wait_seq;
    assert_int_equal(set_seq, 3);
    ask(s, "SET b 1");
    assert_int_equal(s->outcome.wait_seq, 4);
    ask(s, "GET a");
    assert_int_equal(s->outcome.wait_seq, set_seq);
    ask(s, "MGET a b c");
    assert_int_equal(s->outcome.wait_seq, 4);
    ask(s, "DEL b");
    ask(s, "EXISTS b");
    assert_int_equal(s->outcome.wait_seq, 5);
    ask(s, "SET a 2 NX");
    assert_int_equal(s->outcome.wait_seq, set_seq);
    ask(s, "PING");
    assert_int_equal(s->outcome.wait_seq, 0);
}

/* Without a tick every command has its own time; with one, the commands of a turn share it. */
static void test_clock__is_read_once_a_turn(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET a 1 PX 100", "+OK\r\n");
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 40);
    EXPECT(s, "PTTL a", ":60\r\n");
    processor_tick(s->processor);
    EXPECT(s, "PTTL a", ":60\r\n");
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 50);
    EXPECT(s, "PTTL a", ":60\r\n");
    processor_tick(s->processor);
    EXPECT(s, "PTTL a", ":50\r\n");
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 70);
    for (int i = 0; i < 100; i++)
        ask(s, "PING");
    EXPECT(s, "PTTL a", ":30\r\n"); /* a long turn reads it again */
}

static void test_usec__is_of_all_calls(void **state)
{
    struct server *s = *state;

    for (int i = 0; i < 50000; i++)
        ask(s, "PING");
    const struct command_stats *stats = stats_of(s, "ping");
    assert_int_equal(stats->calls, 50000);
    /* A PING takes some tens of nanoseconds at least, and less than 100 us on any machine. */
    assert_true(stats->nsec > 0 && stats->nsec < UINT64_C(5000000000));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_unknown__repeats_what_came),
        TEST(test_subcommands__are_checked_before_arity),
        TEST(test_cross_protocol__is_closed_without_a_word),
        TEST(test_auth__comes_after_arity),
        TEST(test_barrier__runs_in_no_open_group),
        TEST(test_large_group__is_committed_now),
        TEST(test_full_memtables__park_the_write),
        TEST(test_engine_failures__have_their_class),
        TEST(test_counters__tell_failed_from_rejected),
        TEST(test_wait_seq__is_what_the_reply_rests_on),
        TEST(test_clock__is_read_once_a_turn),
        TEST(test_usec__is_of_all_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
