/* CLIENT PAUSE, KILL and REPLY, SLOWLOG, LATENCY, ACL, as clients and the loop see them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "client.h"
#include "cmd/ctx.h"
#include "cmd/table.h"
#include "metrics/histogram.h"
#include "varve/db.h"

#define OK "+OK\r\n"
#define NIL "$-1\r\n"

static struct session *new_session(struct server *s, void *figures_arg)
{
    return session_create(s->processor, "1.2.3.4:5", "6.7.8.9:10", NULL, figures_arg);
}

/* ---- CLIENT PAUSE ---- */

static void assert_waits(struct server *s, struct session *session, const char *line)
{
    assert_int_equal(try_as(s, session, line), PROCESSOR_PARK);
    assert_int_equal(s->outcome.park_us, 0);
    assert_int_equal(s->out.len, 0);
}

static void test_pause__holds_writes(void **state)
{
    struct server *s = *state;
    int first, second;
    struct session *a = new_session(s, &first);
    struct session *b = new_session(s, &second);

    EXPECT(s, "CLIENT PAUSE 60000 WRITE", OK);
    assert_waits(s, a, "SET k v");
    assert_waits(s, b, "DEL k");
    assert_waits(s, a, "SET k v"); /* the loop may ask again */
    EXPECT(s, "GET k", NIL);
    assert_string_equal(ask_as(s, b, "SET k"),
                        "-ERR wrong number of arguments for 'set' command\r\n");
    assert_non_null(strstr(ask(s, "INFO clients"), "\r\nblocked_clients:2\r\n"));
    assert_non_null(strstr(ask(s, "CLIENT LIST ID 2"), " flags=b "));
    EXPECT(s, "CLIENT UNPAUSE", OK);
    assert_int_equal(s->unparks, 2);
    assert_ptr_equal(s->unparked[0], &first);
    assert_ptr_equal(s->unparked[1], &second);
    assert_string_equal(ask_as(s, a, "SET k v"), OK);
    EXPECT(s, "GET k", "$1\r\nv\r\n");
    session_destroy(a);
    session_destroy(b);
}

static void test_pause__gets_no_weaker(void **state)
{
    struct server *s = *state;
    struct session *a = new_session(s, NULL);

    EXPECT(s, "CLIENT PAUSE 60000 WRITE", OK);
    EXPECT(s, "CLIENT PAUSE 1 ALL", OK);
    uint64_t deadline_us = clock_mono_us() + 20000;
    while (clock_mono_us() < deadline_us)
        processor_tick(s->processor);
    assert_waits(s, a, "PING");
    assert_waits(s, s->session, "CLIENT UNPAUSE");
    session_destroy(a);
    assert_int_equal(s->unparks, 0);
}

static void test_pause__ends_by_itself(void **state)
{
    struct server *s = *state;
    uint64_t deadline_us = clock_mono_us() + 10 * 1000 * 1000;

    EXPECT(s, "CLIENT PAUSE 5 ALL", OK);
    assert_waits(s, s->session, "PING");
    while (s->unparks == 0 && clock_mono_us() < deadline_us)
        processor_tick(s->processor);
    assert_int_equal(s->unparks, 1);
    EXPECT(s, "PING", "+PONG\r\n");
}

static void test_pause__holds_transactions_that_write(void **state)
{
    struct server *s = *state;
    struct session *a = new_session(s, NULL);
    struct session *b = new_session(s, NULL);

    ask_as(s, a, "MULTI");
    ask_as(s, a, "SET k v");
    ask_as(s, b, "MULTI");
    ask_as(s, b, "GET k");
    EXPECT(s, "CLIENT PAUSE 60000 WRITE", OK);
    assert_waits(s, a, "EXEC");
    assert_string_equal(ask_as(s, b, "EXEC"), "*1\r\n" NIL);
    ask_as(s, b, "MULTI");
    assert_waits(s, b, "SET k v");
    EXPECT(s, "CLIENT UNPAUSE", OK);
    assert_string_equal(ask_as(s, a, "EXEC"), "*1\r\n" OK);
    session_destroy(a);
    session_destroy(b);
}

static void test_pause__keeps_what_expired(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k v PX 10", OK);
    EXPECT(s, "CLIENT PAUSE 60000 WRITE", OK);
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 100);
    EXPECT(s, "GET k", NIL);
    assert_int_equal(keyspace_stats(s->keyspace)->expired_keys, 0);
    EXPECT(s, "CLIENT UNPAUSE", OK);
    EXPECT(s, "GET k", NIL);
    assert_int_equal(keyspace_stats(s->keyspace)->expired_keys, 1);
}

static void test_pause__of_one_that_leaves(void **state)
{
    struct server *s = *state;
    struct session *a = new_session(s, NULL);

    EXPECT(s, "CLIENT PAUSE 60000 WRITE", OK);
    assert_waits(s, a, "SET k v");
    session_destroy(a);
    assert_non_null(strstr(ask(s, "INFO clients"), "\r\nblocked_clients:0\r\n"));
    EXPECT(s, "CLIENT UNPAUSE", OK);
    assert_int_equal(s->unparks, 0);
}

/* ---- CLIENT KILL ---- */

static void test_kill__marks_others_and_lets_itself_answer(void **state)
{
    struct server *s = *state;
    int mark;
    struct session *a = new_session(s, &mark);

    EXPECT(s, "CLIENT KILL ADDR 1.2.3.4:5 LADDR 6.7.8.9:11", ":0\r\n");
    EXPECT(s, "CLIENT KILL 9.9.9.9:9", "-ERR No such client\r\n");
    assert_int_equal(s->kills, 0);
    EXPECT(s, "CLIENT KILL LADDR 6.7.8.9:10 TYPE normal", ":1\r\n");
    assert_int_equal(s->kills, 1);
    assert_ptr_equal(s->killed, &mark);
    EXPECT(s, "CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n"); /* it is gone already */
    assert_int_equal(s->outcome.close_after, 0);
    EXPECT(s, "CLIENT LIST ID 2", "$0\r\n\r\n");
    assert_null(strstr(ask(s, "CLIENT LIST"), "id=2 "));
    EXPECT(s, "CLIENT KILL ID 1 SKIPME no", ":1\r\n");
    assert_int_equal(s->outcome.close_after, 1);
    EXPECT(s, "CLIENT KILL 127.0.0.1:5000", OK);
    assert_int_equal(s->outcome.close_after, 1);
    assert_int_equal(s->kills, 1);
    session_destroy(a);
}

/* ---- CLIENT REPLY ---- */

/* The one reply that is skipped is skipped again when its command runs again. */
static void test_skip__survives_a_failed_commit(void **state)
{
    struct server *s = *state;

    EXPECT(s, "CLIENT REPLY SKIP", "");
    EXPECT(s, "SET k v", "");
    EXPECT(s, "GET k", "$1\r\nv\r\n");
    fake_db_fail_commit(s->db);
    assert_int_not_equal(varve_group_commit(s->db, NULL), 0);
    processor_group_ended(s->processor, 0);
    processor_rewind(s->processor, s->session);
    EXPECT(s, "SET k v", "");
    EXPECT(s, "GET k", "$1\r\nv\r\n");
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    EXPECT(s, "SET k w", OK);
    fake_db_fail_commit(s->db);
    assert_int_not_equal(varve_group_commit(s->db, NULL), 0);
    processor_rewind(s->processor, s->session); /* another group: nothing was skipped in it */
    EXPECT(s, "GET k", "$1\r\nv\r\n");
}

/* Such a reply is cut back with those of its group, so it has to be made again. */
static void test_refused_commands__belong_to_the_open_group(void **state)
{
    struct server *s = *state;

    ask(s, "FOO");
    assert_int_equal(s->outcome.uncommitted, 0);
    ask(s, "SET k v");
    ask(s, "FOO");
    assert_int_equal(s->outcome.uncommitted, 1);
}

/* ---- SLOWLOG, LATENCY ---- */

static void test_slowlog__cuts_long_commands(void **state)
{
    struct server *s = *state;
    struct varve_slice argv[40];
    char longer[200];

    EXPECT(s, "CONFIG SET slowlog-log-slower-than 0", OK);
    EXPECT(s, "SLOWLOG RESET", OK);
    memset(longer, 'x', sizeof(longer));
    argv[0] = varve_slice_str("DEL");
    argv[1] = varve_slice(longer, sizeof(longer));
    for (int i = 2; i < 40; i++)
        argv[i] = varve_slice_str("k");
    ask(s, "CLIENT SETNAME me");
    ask_argv(s, s->session, 40, argv);
    EXPECT(s, "CONFIG SET slowlog-log-slower-than -1", OK);
    const char *entry = ask(s, "SLOWLOG GET 1");
    assert_non_null(strstr(entry, "\r\n*32\r\n$3\r\nDEL\r\n$147\r\nxxxx"));
    assert_non_null(strstr(entry, "xxxx... (72 more bytes)\r\n$1\r\nk\r\n"));
    assert_non_null(strstr(entry, "$22\r\n... (9 more arguments)\r\n$14\r\n127.0.0.1:5000\r\n"
                                  "$2\r\nme\r\n"));
    EXPECT(s, "SLOWLOG LEN", ":3\r\n"); /* RESET, SETNAME, DEL */
    EXPECT(s, "CONFIG SET slowlog-max-len 2", OK);
    EXPECT(s, "SLOWLOG LEN", ":2\r\n");
    EXPECT(s, "SLOWLOG RESET", OK);
    EXPECT(s, "SLOWLOG GET -1", "*0\r\n");
}

static void test_slowlog__has_no_passwords_and_no_exec(void **state)
{
    struct server *s = *state;

    EXPECT(s, "CONFIG SET slowlog-log-slower-than 0 requirepass secret", OK);
    ask(s, "AUTH secret");
    ask(s, "MULTI");
    ask(s, "GET a");
    ask(s, "EXEC");
    ask(s, "CONFIG SET slowlog-log-slower-than -1");
    const char *entries = ask(s, "SLOWLOG GET -1");
    assert_null(strstr(entries, "secret"));
    assert_null(strstr(entries, "EXEC"));
    assert_non_null(strstr(entries, "requirepass\r\n$10\r\n(redacted)\r\n"));
    assert_non_null(strstr(entries, "AUTH\r\n$10\r\n(redacted)\r\n"));
    assert_non_null(strstr(entries, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n"));
}

static void test_histograms__count_every_call(void **state)
{
    struct server *s = *state;

    for (int i = 0; i < 1000; i++)
        ask(s, "GET k");
    ask(s, "MULTI");
    ask(s, "GET k");
    ask(s, "EXEC");
    assert_non_null(strstr(ask(s, "LATENCY HISTOGRAM get"), "calls\r\n:1001\r\n"));
    assert_non_null(strstr(ask(s, "INFO latencystats"), "latency_percentiles_usec_get:p50="));
    EXPECT(s, "CONFIG SET latency-tracking no", OK);
    EXPECT(s, "CONFIG RESETSTAT", OK);
    ask(s, "GET k");
    EXPECT(s, "LATENCY HISTOGRAM get", "*0\r\n");
}

static void test_a_write_that_was_held__is_a_latency_event(void **state)
{
    struct server *s = *state;

    EXPECT(s, "CONFIG SET latency-monitor-threshold 1", OK);
    fake_db_delay_writes(s->db, 5000, VARVE_STALL_LEVEL0);
    assert_int_equal(try_as(s, s->session, "SET k v"), PROCESSOR_PARK);
    assert_true(s->outcome.park_us > 0);
    uint64_t deadline_us = clock_mono_us() + 2000;
    while (clock_mono_us() < deadline_us)
        continue;
    fake_db_delay_writes(s->db, 0, VARVE_STALL_NONE);
    EXPECT(s, "SET k v", OK);
    processor_note_commit(s->processor, 7000);
    processor_note_sync(s->processor, 999); /* less than the threshold */
    assert_non_null(strstr(ask(s, "LATENCY LATEST"), "*4\r\n$11\r\nwrite-stall\r\n:"));
    assert_non_null(strstr(ask(s, "LATENCY HISTORY log-write"), "\r\n:7\r\n"));
    EXPECT(s, "LATENCY HISTORY log-sync", "*0\r\n");
    assert_non_null(strstr(ask(s, "LATENCY GRAPH log-write"), "high 7 ms, low 7 ms"));
    EXPECT(s, "LATENCY RESET log-write log-sync foo", ":1\r\n");
}

/* ---- rename-command ---- */

static void test_renamed_commands__are_found_by_their_new_names(void **state)
{
    struct server *s = *state;
    char words[][20] = {"varved",  "--rename-command", "CONFIG", "cfg", "--rename-command", "GET",
                        "",        "--rename-command", "set",    "GET", "--rename-command", "cfg",
                        "settings"};
    char *argv[COUNT_OF(words)];
    enum config_action action;
    struct varve_err err;

    for (size_t i = 0; i < COUNT_OF(words); i++)
        argv[i] = words[i];
    assert_int_equal(config_parse_args(s->config, (int)COUNT_OF(argv), argv, &action, &err), 0);
    assert_int_equal(processor_rename_commands(s->processor, &err), 0);
    EXPECT(s, "CONFIG GET port",
           "-ERR unknown command 'CONFIG', with args beginning with: 'GET' "
           "'port' \r\n");
    EXPECT(s, "cfg GET port",
           "-ERR unknown command 'cfg', with args beginning with: 'GET' 'port' "
           "\r\n");
    EXPECT(s, "Settings GET port", "*2\r\n$4\r\nport\r\n$4\r\n6379\r\n");
    EXPECT(s, "settings foo", "-ERR unknown subcommand 'foo'. Try CONFIG HELP.\r\n");
    EXPECT(s, "GET k v", OK);
    EXPECT(s, "SET k v", "-ERR unknown command 'SET', with args beginning with: 'k' 'v' \r\n");
    EXPECT(s, "STRLEN k", ":1\r\n");
}

static void refuse_rename(struct server *s, const char *from, const char *to)
{
    char program[] = "varved";
    char option[] = "--rename-command";
    char *argv[] = {program, option, (char *)(uintptr_t)from, (char *)(uintptr_t)to};
    enum config_action action;
    struct varve_err err;

    assert_int_equal(config_parse_args(s->config, 4, argv, &action, &err), 0);
    assert_int_equal(processor_rename_commands(s->processor, &err), VARVE_EINVAL);
}

static void test_renames__of_nothing_are_refused(void **state)
{
    refuse_rename(*state, "nonsense", "x");
}

static void test_renames__to_what_is_there_are_refused(void **state)
{
    refuse_rename(*state, "get", "Set");
}

/* ---- ACL ---- */

static void test_acl__knows_one_user(void **state)
{
    struct server *s = *state;

    EXPECT(s, "ACL WHOAMI", "$7\r\ndefault\r\n");
    EXPECT(s, "ACL LIST", "*1\r\n$34\r\nuser default on nopass ~* &* +@all\r\n");
    EXPECT(s, "CONFIG SET requirepass abc", OK);
    EXPECT(s, "ACL LIST",
           "*1\r\n$93\r\nuser default on "
           "#ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad ~* &* +@all\r\n");
    assert_int_equal(strlen(ask(s, "ACL GENPASS")), strlen("$64\r\n\r\n") + 64);
    assert_int_equal(strlen(ask(s, "ACL GENPASS 5")), strlen("$2\r\n\r\n") + 2);
    assert_int_equal(strlen(ask(s, "ACL GENPASS 4096")), strlen("$1024\r\n\r\n") + 1024);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_pause__holds_writes),
        TEST(test_pause__gets_no_weaker),
        TEST(test_pause__ends_by_itself),
        TEST(test_pause__holds_transactions_that_write),
        TEST(test_pause__keeps_what_expired),
        TEST(test_pause__of_one_that_leaves),
        TEST(test_kill__marks_others_and_lets_itself_answer),
        TEST(test_skip__survives_a_failed_commit),
        TEST(test_refused_commands__belong_to_the_open_group),
        TEST(test_slowlog__cuts_long_commands),
        TEST(test_slowlog__has_no_passwords_and_no_exec),
        TEST(test_histograms__count_every_call),
        TEST(test_a_write_that_was_held__is_a_latency_event),
        TEST(test_renamed_commands__are_found_by_their_new_names),
        TEST(test_renames__of_nothing_are_refused),
        TEST(test_renames__to_what_is_there_are_refused),
        TEST(test_acl__knows_one_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
