/* Connections, CLIENT, COMMAND and SHUTDOWN, as a client sees them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"
#include "cmd/table.h"

#define NIL "$-1\r\n"
#define OK "+OK\r\n"
#define BAD_NAME "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"

#define HELLO_FIELDS(proto)                                                                        \
    "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:" proto       \
    "\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"      \
    "$7\r\nmodules\r\n*0\r\n"

static void test_hello__switches_the_protocol(void **state)
{
    struct server *s = *state;

    EXPECT(s, "HELLO", "*14\r\n" HELLO_FIELDS("2"));
    EXPECT(s, "GET none", NIL);
    EXPECT(s, "HELLO 3", "%7\r\n" HELLO_FIELDS("3"));
    EXPECT(s, "GET none", "_\r\n");
    EXPECT(s, "HELLO", "%7\r\n" HELLO_FIELDS("3"));
    EXPECT(s, "HELLO 2 SETNAME me", "*14\r\n" HELLO_FIELDS("2"));
    EXPECT(s, "CLIENT GETNAME", "$2\r\nme\r\n");
    EXPECT(s, "HELLO 2 AUTH default x setname you", "*14\r\n" HELLO_FIELDS("2"));
    EXPECT(s, "CLIENT GETNAME", "$3\r\nyou\r\n");
}

static void test_hello__that_fails_changes_nothing(void **state)
{
    struct server *s = *state;

    EXPECT(s, "HELLO x", "-ERR Protocol version is not an integer or out of range\r\n");
    EXPECT(s, "HELLO 1", "-NOPROTO unsupported protocol version\r\n");
    EXPECT(s, "HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    EXPECT(s, "HELLO 3 Foo", "-ERR Syntax error in HELLO option 'Foo'\r\n");
    EXPECT(s, "HELLO 3 SETNAME a AUTH x", "-ERR Syntax error in HELLO option 'AUTH'\r\n");
    EXPECT(s, "HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'\r\n");
    EXPECT(s, "HELLO 3 SETNAME a\tb", BAD_NAME);
    EXPECT(s, "HELLO 3 SETNAME a AUTH bob x",
           "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    EXPECT(s, "CLIENT GETNAME", NIL);
}

static void test_hello__needs_the_password(void **state)
{
    struct server *s = *state;

    server_set(s, "requirepass", "pw");
    struct session *late = session_create(s->processor, "p:1", "l:1", NULL, NULL);
    assert_string_equal(
        ask_as(s, late, "HELLO 3 SETNAME a"),
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "AUTH <user> <pass> option can be used to authenticate the client and select the RESP "
        "protocol version at the same time\r\n");
    assert_string_equal(ask_as(s, late, "HELLO 3 AUTH default no"),
                        "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    assert_string_equal(ask_as(s, late, "GET none"), "-NOAUTH Authentication required.\r\n");
    assert_true(strncmp(ask_as(s, late, "HELLO 3 AUTH default pw"), "%7\r\n", 4) == 0);
    assert_string_equal(ask_as(s, late, "GET none"), "_\r\n");
    session_destroy(late);
}

static void test_simple_ones(void **state)
{
    struct server *s = *state;

    EXPECT(s, "PING", "+PONG\r\n");
    EXPECT(s, "ping hi", "$2\r\nhi\r\n");
    EXPECT(s, "PING a b", "-ERR wrong number of arguments for 'ping' command\r\n");
    EXPECT(s, "ECHO ''", "$0\r\n\r\n");
    EXPECT(s, "AUTH x",
           "-ERR AUTH <password> called without any password configured for the default user. Are "
           "you sure your configuration is correct?\r\n");
    EXPECT(s, "AUTH default x", OK);
    EXPECT(s, "AUTH a b c", "-ERR syntax error\r\n");
    EXPECT(s, "QUIT now", OK);
    assert_int_equal(s->outcome.close_after, 1);
}

static void test_reset__makes_the_connection_new(void **state)
{
    struct server *s = *state;

    ask(s, "HELLO 3 SETNAME me");
    EXPECT(s, "SELECT 4", OK);
    EXPECT(s, "RESET", "+RESET\r\n");
    EXPECT(s, "CLIENT GETNAME", NIL);
    assert_int_equal(s->session->db, 0);
    assert_int_equal(s->session->proto, 2);
}

static void test_client_names(void **state)
{
    struct server *s = *state;

    EXPECT(s, "CLIENT ID", ":1\r\n");
    EXPECT(s, "CLIENT SETNAME a:b~!", OK);
    EXPECT(s, "CLIENT GETNAME", "$5\r\na:b~!\r\n");
    EXPECT(s, "CLIENT SETNAME a\nb", BAD_NAME);
    EXPECT(s, "CLIENT SETNAME \x7f", BAD_NAME);
    EXPECT(s, "CLIENT SETNAME ''", OK);
    EXPECT(s, "CLIENT GETNAME", NIL);
    EXPECT(s, "CLIENT SETINFO Lib-Name redis-py(x)", OK);
    EXPECT(s, "CLIENT SETINFO LIB-VER 1.2", OK);
    EXPECT(s, "CLIENT SETINFO lib-ver a\tb",
           "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n");
    EXPECT(s, "CLIENT SETINFO foo x", "-ERR Unrecognized option 'foo'\r\n");
    assert_non_null(strstr(ask(s, "CLIENT INFO"), "lib-name=redis-py(x) lib-ver=1.2\n"));
    EXPECT(s, "CLIENT MAINT_NOTIFICATIONS ON",
           "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\r\n");
}

static void fill_figures(void *arg, struct session_figures *figures)
{
    (void)arg;
    *figures = (struct session_figures){.fd = 8,
                                        .writable = 1,
                                        .qbuf_bytes = 26,
                                        .qbuf_free = 20448,
                                        .argv_mem = 10,
                                        .reply_buf_size = 1024,
                                        .reply_buf_peak = 94,
                                        .obl = 1,
                                        .oll_count = 2,
                                        .omem = 3};
}

static void test_client_list__has_every_field(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "1.2.3.4:5", "6.7.8.9:10", fill_figures,
                                           NULL);
    static const char expected[] =
        "id=2 addr=1.2.3.4:5 laddr=6.7.8.9:10 fd=8 name=me age=2 idle=1 flags=N db=3 sub=0 psub=0 "
        "ssub=0 multi=-1 qbuf=26 qbuf-free=20448 argv-mem=10 multi-mem=0 rbs=1024 rbp=94 obl=1 "
        "oll=2 omem=3 tot-mem=";

    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 1000);
    ask_as(s, other, "SELECT 3");
    ask_as(s, other, "CLIENT SETNAME me");
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 2500);
    const char *list = ask(s, "CLIENT LIST");
    assert_non_null(strstr(list, expected));
    assert_non_null(strstr(list, " events=rw cmd=client|setname user=default redir=-1 resp=2 "
                                 "lib-name= lib-ver=\n\r\n"));
    assert_non_null(strstr(list, "\r\nid=1 addr=127.0.0.1:5000 laddr=127.0.0.1:6379 fd=-1 name= "));
    assert_non_null(strstr(list, " cmd=client|list user="));
    list = ask(s, "CLIENT LIST ID 2 77");
    assert_non_null(strstr(list, "\r\nid=2 "));
    assert_null(strstr(list, "id=1 "));
    assert_non_null(strstr(ask(s, "CLIENT LIST TYPE normal"), "\nid=2 "));
    EXPECT(s, "CLIENT LIST TYPE pubsub", "$0\r\n\r\n");
    EXPECT(s, "CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'\r\n");
    EXPECT(s, "CLIENT LIST ID x", "-ERR Invalid client ID\r\n");
    EXPECT(s, "CLIENT LIST ID", "-ERR syntax error\r\n");
    EXPECT(s, "CLIENT LIST FOO", "-ERR syntax error\r\n");
    session_destroy(other);
    assert_null(strstr(ask(s, "CLIENT LIST"), "id=2 "));
    ask(s, "HELLO 3");
    assert_memory_equal(ask(s, "CLIENT INFO"), "=", 1);
}

static void test_command__describes_the_table(void **state)
{
    struct server *s = *state;

    EXPECT(s, "COMMAND INFO get nope",
           "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
           "*3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n"
           "+access\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n"
           "*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n"
           "$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
           "*0\r\n$-1\r\n");
    EXPECT(s, "COMMAND INFO config|get",
           "*1\r\n*10\r\n$10\r\nconfig|get\r\n:-3\r\n*4\r\n+admin\r\n+noscript\r\n+loading\r\n"
           "+stale\r\n:0\r\n:0\r\n:0\r\n*3\r\n+@admin\r\n+@slow\r\n+@dangerous\r\n*0\r\n*0\r\n"
           "*0\r\n");
    EXPECT(s, "COMMAND INFO get|x", "*1\r\n$-1\r\n");
    EXPECT(s, "COMMAND DOCS nope", "*0\r\n");
    assert_non_null(strstr(ask(s, "COMMAND DOCS ping"),
                           "*6\r\n$4\r\nname\r\n$7\r\nmessage\r\n$4\r\ntype\r\n$6\r\nstring"
                           "\r\n$5\r\nflags\r\n*1\r\n+optional\r\n"));
    EXPECT(s, "COMMAND LIST FILTERBY PATTERN CONFIG|s*", "*1\r\n$10\r\nconfig|set\r\n");
    EXPECT(s, "COMMAND LIST FILTERBY MODULE x", "*0\r\n");
    EXPECT(s, "COMMAND LIST FILTERBY ACLCAT nope", "*0\r\n");
    EXPECT(s, "COMMAND LIST FILTERBY FOO x", "-ERR syntax error\r\n");
    EXPECT(s, "COMMAND GETKEYS mset a b c d", "*2\r\n$1\r\na\r\n$1\r\nc\r\n");
    EXPECT(s, "COMMAND GETKEYS set a",
           "-ERR Invalid number of arguments specified for command\r\n");
    EXPECT(s, "COMMAND GETKEYS nope a", "-ERR Invalid command specified\r\n");
    EXPECT(s, "COMMAND GETKEYS ping a", "-ERR The command has no key arguments\r\n");
    int commands = 0;
    char count[32];
    for (int i = 0; i < command_count(); i++)
        commands += command_at(i)->parent == NULL;
    snprintf(count, sizeof(count), "*%d\r\n", commands);
    assert_memory_equal(ask(s, "COMMAND"), count, strlen(count));
    count[0] = ':';
    EXPECT(s, "COMMAND COUNT", count);
}

static void test_shutdown__replies_only_when_it_does_not(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SHUTDOWN foo", "-ERR syntax error\r\n");
    EXPECT(s, "SHUTDOWN SAVE NOSAVE", "-ERR syntax error\r\n");
    EXPECT(s, "SHUTDOWN ABORT NOW", "-ERR syntax error\r\n");
    EXPECT(s, "SHUTDOWN ABORT", "-ERR No shutdown in progress.\r\n");
    assert_int_equal(s->shutdowns, 0);
    EXPECT(s, "SHUTDOWN NOSAVE now force", "");
    assert_int_equal(s->shutdowns, 1);
    assert_int_equal(s->outcome.close_after, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_hello__switches_the_protocol),
        TEST(test_hello__that_fails_changes_nothing),
        TEST(test_hello__needs_the_password),
        TEST(test_simple_ones),
        TEST(test_reset__makes_the_connection_new),
        TEST(test_client_names),
        TEST(test_client_list__has_every_field),
        TEST(test_command__describes_the_table),
        TEST(test_shutdown__replies_only_when_it_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
