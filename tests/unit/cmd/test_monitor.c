/* MONITOR's lines: what is in them, and when they leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"
#include "varve/db.h"

#define OK "+OK\r\n"

static struct session *new_session(struct server *s)
{
    return session_create(s->processor, "1.2.3.4:5", "127.0.0.1:6379", NULL, NULL);
}

/* What was pushed, without the times; then it is forgotten. */
static const char *lines(struct server *s)
{
    static char out[4096];
    size_t len = 0;

    assert_int_equal(buf_append(&s->pushed, "", 1), 0);
    for (char *at = (char *)s->pushed.data; *at != '\0';) {
        assert_int_equal(*at, '+');
        at = strchr(at, '[');
        size_t n = strcspn(at, "\r");
        assert_true(len + n + 2 < sizeof(out));
        memcpy(out + len, at, n);
        len += n;
        out[len++] = ';';
        at += n + 2;
    }
    out[len] = '\0';
    buf_clear(&s->pushed);
    return out;
}

static void committed(struct server *s, int failed)
{
    if (failed)
        fake_db_fail_commit(s->db);
    assert_int_equal(varve_group_commit(s->db, NULL) != 0, failed);
    processor_group_ended(s->processor, !failed);
}

static void test_lines__show_what_came(void **state)
{
    struct server *s = *state;
    struct session *monitor = new_session(s);
    struct varve_slice odd[] = {varve_slice_str("ECHO"),
                                varve_slice("a\"b\\\n\r\t\a\b\x00\xff ", 12)};

    ask(s, "PING unseen");
    assert_string_equal(ask_as(s, monitor, "MONITOR"), OK);
    assert_string_equal(ask_as(s, monitor, "MONITOR"), "");
    ask(s, "ping Hi");
    ask(s, "SELECT 3");
    ask(s, "FOO");
    ask(s, "GET");
    ask(s, "CONFIG GET port");
    ask(s, "SLOWLOG LEN");
    assert_string_equal(lines(s), "[0 127.0.0.1:5000] \"ping\" \"Hi\";"
                                  "[3 127.0.0.1:5000] \"SELECT\" \"3\";");
    ask_argv(s, s->session, 2, odd);
    assert_string_equal(lines(s),
                        "[3 127.0.0.1:5000] \"ECHO\" \"a\\\"b\\\\\\n\\r\\t\\a\\b\\x00\\xff \";");
    assert_string_equal(ask_as(s, monitor, "GET a"),
                        "-ERR Replica can't interact with the keyspace\r\n");
    assert_string_equal(ask_as(s, monitor, "RESET"), "+RESET\r\n");
    assert_string_equal(lines(s), "");
    assert_string_equal(ask_as(s, monitor, "GET a"), "$-1\r\n");
    session_destroy(monitor);
    assert_string_equal(lines(s), "");
}

static void test_passwords__are_not_shown(void **state)
{
    struct server *s = *state;
    struct session *monitor = new_session(s);

    ask_as(s, monitor, "MONITOR");
    ask(s, "AUTH default secret");
    ask(s, "AUTH secret");
    ask(s, "HELLO 2 SETNAME auth AUTH default secret");
    assert_string_equal(lines(s),
                        "[0 127.0.0.1:5000] \"AUTH\" \"(redacted)\" \"(redacted)\";"
                        "[0 127.0.0.1:5000] \"AUTH\" \"(redacted)\";"
                        "[0 127.0.0.1:5000] \"HELLO\" \"2\" \"SETNAME\" \"auth\" \"(redacted)\" "
                        "\"(redacted)\" \"(redacted)\";");
    session_destroy(monitor);
}

static void test_lines_of_a_group__wait_for_its_commit(void **state)
{
    struct server *s = *state;
    struct session *monitor = new_session(s);

    ask_as(s, monitor, "MONITOR");
    ask(s, "SET a 1");
    ask(s, "GET a");
    assert_string_equal(lines(s), "");
    committed(s, 0);
    assert_string_equal(lines(s), "[0 127.0.0.1:5000] \"SET\" \"a\" \"1\";"
                                  "[0 127.0.0.1:5000] \"GET\" \"a\";");
    ask(s, "SET b 1");
    committed(s, 1);
    assert_string_equal(lines(s), "");
    session_destroy(monitor);
}

static void test_a_transaction__is_shown_when_it_runs(void **state)
{
    struct server *s = *state;
    struct session *monitor = new_session(s);

    ask_as(s, monitor, "MONITOR");
    ask(s, "MULTI");
    ask(s, "SELECT 2");
    ask(s, "GET a");
    assert_string_equal(lines(s), "[0 127.0.0.1:5000] \"MULTI\";");
    ask(s, "EXEC");
    assert_string_equal(lines(s), "[2 127.0.0.1:5000] \"SELECT\" \"2\";"
                                  "[2 127.0.0.1:5000] \"GET\" \"a\";"
                                  "[2 127.0.0.1:5000] \"EXEC\";");
    ask_as(s, monitor, "MULTI");
    ask_as(s, monitor, "MONITOR");
    assert_string_equal(ask_as(s, monitor, "EXEC"),
                        "*1\r\n-ERR MONITOR isn't allowed for DENY BLOCKING client\r\n");
    session_destroy(monitor);
}

/* A command that had to be fetched for ran once, as far as others can see. */
static void test_a_parked_transaction__is_shown_once(void **state)
{
    struct server *s = *state;
    struct session *monitor = new_session(s);

    ask(s, "SET a 1"); /* else the database is empty, and no look is needed */
    committed(s, 0);
    ask_as(s, monitor, "MONITOR");
    ask(s, "MULTI");
    ask(s, "GET a");
    ask(s, "GET b");
    int parks = s->parks;
    ask(s, "EXEC");
    assert_true(s->parks > parks);
    assert_string_equal(lines(s), "[0 127.0.0.1:5000] \"MULTI\";[0 127.0.0.1:5000] \"GET\" \"a\";"
                                  "[0 127.0.0.1:5000] \"GET\" \"b\";[0 127.0.0.1:5000] \"EXEC\";");
    session_destroy(monitor);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lines__show_what_came),
        TEST(test_passwords__are_not_shown),
        TEST(test_lines_of_a_group__wait_for_its_commit),
        TEST(test_a_transaction__is_shown_when_it_runs),
        cmocka_unit_test_setup_teardown(test_a_parked_transaction__is_shown_once, server_setup_cold,
                                        server_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
