/* What goes in comes out: order, splits, ends of connections, turns of many commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/tcp.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "fake.h"

static void test_pipeline__is_answered_in_order(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "*2\r\n$4\r\nECHO\r\n$1\r\na\r\nECHO b\r\nPUT\r\nECHO c\r\n");
    client_expect(&fake, fd, "$1\r\na\r\n$1\r\nb\r\n:1\r\n$1\r\nc\r\n");
    assert_int_equal(fake.commits, 1);
    assert_memory_equal(fake.peer, "127.0.0.1:", 10);
    close(fd);
    fake_stop(&fake);
}

static void test_input__may_be_split_at_every_byte(void **state)
{
    static const char sent[] = "*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\nPUT\r\n*1\r\n$3\r\nGET\r\n";
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    for (size_t at = 1; at < sizeof(sent) - 1; at++) {
        char expected[64];
        client_send_bytes(&fake, fd, sent, at);
        for (int i = 0; i < 3; i++)
            net_loop_turn(fake.loop, 0);
        client_send_bytes(&fake, fd, sent + at, sizeof(sent) - 1 - at);
        snprintf(expected, sizeof(expected), "$5\r\nhello\r\n:%zu\r\n:%zu\r\n", at, at);
        client_expect(&fake, fd, expected);
    }
    close(fd);
    fake_stop(&fake);
}

static void test_half_close__still_gets_its_replies(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.turn_commands = 2;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "ECHO 1\r\nECHO 2\r\nECHO 3\r\nPUT\r\nECHO 5\r\nECH");
    shutdown(fd, SHUT_WR);
    client_expect(&fake, fd, "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n:1\r\n$1\r\n5\r\n");
    client_expect_end(&fake, fd);
    fake_stop(&fake);
}

static void test_half_close__waits_for_held_replies(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "PUT\r\nECHO 2\r\n");
    shutdown(fd, SHUT_WR);
    client_expect_nothing(&fake, fd);
    fake.durable = 1;
    net_durable(fake.loop, 1, 0);
    client_expect(&fake, fd, ":1\r\n$1\r\n2\r\n");
    client_expect_end(&fake, fd);
    fake_stop(&fake);
}

static void test_quit__answers_then_closes_and_drops_the_rest(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "ECHO a\r\nQUIT\r\nPUT\r\n");
    client_expect(&fake, fd, "$1\r\na\r\n+OK\r\n");
    client_expect_end(&fake, fd);
    assert_int_equal(fake.seq, 0);
    fake_stop(&fake);
}

static void test_protocol_error__comes_after_earlier_replies(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "PUT\r\n*1\r\n!1\r\nPUT\r\n");
    client_expect(&fake, fd, ":1\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    client_expect_end(&fake, fd);
    assert_int_equal(fake.seq, 1);
    assert_int_equal(fake.metrics.protocol_errors, 1);
    fake_stop(&fake);
}

static void test_long_pipeline__leaves_others_their_turn(void **state)
{
    enum { COUNT = 5000, BOUND = 100 };
    struct fake fake;
    struct buf sent;
    struct buf expected;

    (void)state;
    buf_init(&sent, 1 << 20);
    buf_init(&expected, 1 << 20);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(buf_append(&sent, "ECHO x\r\n", 8), 0);
        assert_int_equal(buf_append(&expected, "$1\r\nx\r\n", 7), 0);
    }
    assert_int_equal(buf_append(&sent, "", 1), 0);
    assert_int_equal(buf_append(&expected, "", 1), 0);
    fake_init(&fake);
    fake.limits.turn_commands = BOUND;
    fake_start(&fake);
    int fd = client_connect(&fake);
    int other = client_connect(&fake);
    client_send(&fake, fd, (const char *)sent.data);
    client_send(&fake, other, "PUT\r\n");
    client_expect(&fake, other, ":1\r\n");
    assert_in_range(fake.executed, 1, COUNT - 1); /* the long one is not through */
    client_expect(&fake, fd, (const char *)expected.data);
    assert_int_equal(fake.turn_executed_max, BOUND);
    buf_deinit(&sent);
    buf_deinit(&expected);
    close(fd);
    close(other);
    fake_stop(&fake);
}

static void test_turn_bytes__bound_a_turn_too(void **state)
{
    struct fake fake;
    char value[1000];

    (void)state;
    memset(value, 'v', sizeof(value));
    fake_init(&fake);
    fake.limits.turn_bytes = 3000;
    fake_start(&fake);
    int fd = client_connect(&fake);
    for (int i = 0; i < 10; i++) {
        client_send(&fake, fd, "*2\r\n$4\r\nECHO\r\n$1000\r\n");
        client_send_bytes(&fake, fd, value, sizeof(value));
        client_send(&fake, fd, "\r\n");
    }
    run_until(&fake, fake.executed == 10);
    assert_int_equal(fake.turn_executed_max, 3);
    close(fd);
    fake_stop(&fake);
}

static size_t drain(int fd)
{
    static char sink[1 << 16];
    size_t total = 0;

    for (ssize_t n = 0; (n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT)) > 0;)
        total += (size_t)n;
    return total;
}

/* Long replies are sent before more are made, and nothing before its commit. */
static void test_turn_output__is_sent_amid_the_turn(void **state)
{
    enum { CLIENTS = 8, REPLY = 60000 };
    const size_t reply_bytes = REPLY + strlen("$60000\r\n\r\n");
    struct fake fake;
    int fds[CLIENTS];

    (void)state;
    fake_init(&fake);
    fake.limits.turn_output_bytes = REPLY - 1;
    fake_start(&fake);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client_connect(&fake);
    uint64_t turns = fake.metrics.turns;
    for (int i = 0; i < CLIENTS; i++)
        client_send(&fake, fds[i], "PINNED 60000\r\n");
    for (int i = 0; i < CLIENTS; i++) {
        size_t got = 0;
        run_until(&fake, (got += drain(fds[i])) == reply_bytes);
    }
    assert_int_equal(fake.pinned, 0);
    assert_int_equal(fake.pinned_max, 1);
    assert_in_range(fake.metrics.turns - turns, 1, CLIENTS - 1);
    fake.fail_commits = 1;
    client_send(&fake, fds[0], "PUT\r\nPINNED 60000\r\n");
    for (int i = 1; i < CLIENTS; i++)
        client_send(&fake, fds[i], "PINNED 60000\r\n");
    client_expect(&fake, fds[0], "-MISCONF refused\r\n$60000\r\n");
    size_t seen = strlen("$60000\r\n");
    for (int i = 0; i < CLIENTS; i++) {
        size_t got = i == 0 ? seen : 0;
        run_until(&fake, (got += drain(fds[i])) == reply_bytes);
    }
    client_expect_nothing(&fake, fds[0]);
    assert_int_equal(fake.pinned, 0);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    fake_stop(&fake);
}

static void test_kill__closes_without_an_answer(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    int other = client_connect(&fake);
    client_send(&fake, fd, "ECHO a\r\nSUICIDE\r\nECHO b\r\n");
    client_expect_end(&fake, fd);
    net_kill(fake.conns[1]);
    net_kill(fake.conns[1]);
    client_expect_end(&fake, other);
    assert_int_equal(fake.closed, 2);
    fake_stop(&fake);
}

static void test_reset__ends_the_session(void **state)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "ECHO a\r\n");
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    run_until(&fake, fake.closed == 1);
    fake_stop(&fake);
}

static void test_session__refused_means_closed(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.refuse_sessions = 1;
    fake_start(&fake);
    int fd = client_connect_raw(&fake);
    client_expect_end(&fake, fd);
    fake_stop(&fake);
}

static void test_accepted_socket__has_no_delay_and_keepalive(void **state)
{
    struct fake fake;
    struct conn_figures figures;
    int value = 0;
    socklen_t len = sizeof(value);

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    conn_figures(fake.conns[0], &figures);
    assert_int_equal(getsockopt(figures.fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
    assert_int_equal(value, 1);
    assert_int_equal(getsockopt(figures.fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, &len), 0);
    assert_int_equal(value, 300);
    close(fd);
    fake_stop(&fake);
}

static void test_figures__show_input_and_an_idle_one_holds_nothing(void **state)
{
    struct fake fake;
    struct conn_figures figures;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "ECHO abc");
    run_until(&fake, (conn_figures(fake.conns[0], &figures), figures.input_bytes == 8));
    assert_true(figures.input_free_bytes > 0);
    client_send(&fake, fd, "\r\n");
    client_expect(&fake, fd, "$3\r\nabc\r\n");
    net_loop_turn(fake.loop, 0);
    fake_now_ms += 1500;
    conn_figures(fake.conns[0], &figures);
    assert_int_equal(figures.input_bytes, 0);
    assert_int_equal(figures.input_free_bytes, 0);
    assert_int_equal(figures.output_bytes, 0);
    assert_int_equal(figures.writing_count, 0);
    close(fd);
    fake_stop(&fake);
}

static void test_stop__ends_the_turn_first(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "PUT\r\nECHO a\r\n");
    net_loop_stop(fake.loop);
    net_loop_run(fake.loop);
    client_expect(&fake, fd, ":1\r\n$1\r\na\r\n");
    assert_int_equal(fake.committed, 1);
    assert_int_equal(net_loop_port(fake.loop, 0), 0); /* nobody is accepted any more */
    close(fd);
    fake_stop(&fake);
}

static void test_bind__says_what_is_wrong(void **state)
{
    struct fake fake;
    struct varve_err err;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_not_equal(net_loop_bind(fake.loop, "127.0.0.1", net_loop_port(fake.loop, 0), &err),
                         0);
    assert_non_null(strstr(err.text, "in use"));
    assert_int_not_equal(net_loop_bind(fake.loop, "192.0.2.1", 0, &err), 0);
    assert_int_equal(net_loop_bind(fake.loop, "-192.0.2.1", 0, &err), 0);
    assert_int_not_equal(net_loop_bind(fake.loop, "no such name", 0, &err), 0);
    assert_int_equal(net_loop_port(fake.loop, 1), 0);
    fake_stop(&fake);
}

static void test_commands__run_once_all_was_read(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int a = client_connect(&fake);
    int b = client_connect(&fake);
    int c = client_connect(&fake);
    client_send(&fake, a, "ECHO a\r\n");
    client_send(&fake, b, "PUT\r\nECHO b\r\n");
    client_send(&fake, c, "ECHO c");
    uint32_t turn = (uint32_t)fake.commits;
    net_loop_turn(fake.loop, 1);
    assert_int_equal(fake.commits, turn + 1);
    assert_int_equal(fake.hinted_max, 3); /* side by side, whosesoever they are */
    client_expect(&fake, a, "$1\r\na\r\n");
    client_expect(&fake, b, ":1\r\n$1\r\nb\r\n");
    client_send(&fake, c, "\r\n");
    client_expect(&fake, c, "$1\r\nc\r\n");
    close(a);
    close(b);
    close(c);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline__is_answered_in_order),
        cmocka_unit_test(test_input__may_be_split_at_every_byte),
        cmocka_unit_test(test_half_close__still_gets_its_replies),
        cmocka_unit_test(test_half_close__waits_for_held_replies),
        cmocka_unit_test(test_quit__answers_then_closes_and_drops_the_rest),
        cmocka_unit_test(test_protocol_error__comes_after_earlier_replies),
        cmocka_unit_test(test_long_pipeline__leaves_others_their_turn),
        cmocka_unit_test(test_turn_bytes__bound_a_turn_too),
        cmocka_unit_test(test_turn_output__is_sent_amid_the_turn),
        cmocka_unit_test(test_kill__closes_without_an_answer),
        cmocka_unit_test(test_reset__ends_the_session),
        cmocka_unit_test(test_session__refused_means_closed),
        cmocka_unit_test(test_accepted_socket__has_no_delay_and_keepalive),
        cmocka_unit_test(test_figures__show_input_and_an_idle_one_holds_nothing),
        cmocka_unit_test(test_stop__ends_the_turn_first),
        cmocka_unit_test(test_commands__run_once_all_was_read),
        cmocka_unit_test(test_bind__says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
