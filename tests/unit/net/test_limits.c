/* Slow readers, idle clients, too many clients, no descriptors, no memory. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fake.h"

/* 400 MB of replies to a client that reads none of it: they are not made before there is room. */
static void test_slow_reader__stops_running_and_gets_all(void **state)
{
    enum { COUNT = 400, BIG = 100000 };
    const size_t reply_bytes = BIG + strlen("$100000\r\n\r\n");
    struct fake fake;
    struct conn_figures figures;
    static char sink[1 << 16];
    size_t total = 0;

    (void)state;
    fake_init(&fake);
    fake.limits.output_pause_bytes = 300000;
    fake_start(&fake);
    int fd = client_connect(&fake);
    int other = client_connect(&fake);
    for (int i = 0; i < COUNT; i++)
        client_send(&fake, fd, "BIG 100000\r\n");
    client_expect_nothing(&fake, other);
    conn_figures(fake.conns[0], &figures);
    assert_in_range(figures.output_bytes + figures.writing_bytes, 300000, 2000000);
    assert_in_range(fake.executed, 1, COUNT - 1);
    client_send(&fake, other, "ECHO a\r\n");
    client_expect(&fake, other, "$1\r\na\r\n");
    while (total < reply_bytes * COUNT) {
        ssize_t n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);
        assert_int_not_equal(n, 0);
        if (n > 0)
            total += (size_t)n;
        else
            net_loop_turn(fake.loop, 0);
    }
    assert_int_equal(fake.executed, COUNT + 1);
    client_send(&fake, fd, "ECHO b\r\n");
    client_expect(&fake, fd, "$1\r\nb\r\n");
    close(fd);
    close(other);
    fake_stop(&fake);
}

static void test_output_limit__closes(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.output_max_bytes = 200000;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "BIG 100000\r\nBIG 300000\r\n");
    run_until(&fake, fake.closed == 1);
    assert_int_equal(fake.metrics.output_limit_closes, 1);
    close(fd);
    fake_stop(&fake);
}

static void test_soft_output_limit__closes_after_its_time(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.output_soft_bytes = 100000;
    fake.limits.output_soft_s = 10;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "BIG 30000000\r\n");
    run_until(&fake, fake.executed == 1);
    uint32_t ticks = fake.ticks;
    run_until(&fake, fake.ticks > ticks + 2);
    assert_int_equal(fake.closed, 0);
    fake_now_ms += 11000;
    run_until(&fake, fake.closed == 1);
    assert_int_equal(fake.metrics.output_limit_closes, 1);
    close(fd);
    fake_stop(&fake);
}

static void test_timeout__closes_only_the_idle(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.timeout_s = 60;
    fake_start(&fake);
    int idle = client_connect(&fake);
    int busy = client_connect(&fake);
    fake_now_ms += 59000;
    client_send(&fake, busy, "ECHO a\r\n");
    client_expect(&fake, busy, "$1\r\na\r\n");
    uint32_t ticks = fake.ticks;
    run_until(&fake, fake.ticks > ticks + 3);
    assert_int_equal(fake.closed, 0);
    fake_now_ms += 1001;
    client_expect_end(&fake, idle);
    ticks = fake.ticks;
    run_until(&fake, fake.ticks > ticks + 3);
    assert_int_equal(fake.closed, 1);
    assert_int_equal(fake.metrics.idle_closes, 1);
    close(busy);
    fake_stop(&fake);
}

/* Bytes that leave count, not only a reply's last one. */
static void test_timeout__leaves_who_takes_a_reply_slowly(void **state)
{
    static char taken[1 << 21];
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.timeout_s = 60;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "BIG 60000000\r\n");
    run_until(&fake, fake.executed == 1);
    for (int i = 0; i < 4; i++) {
        uint32_t ticks = fake.ticks;
        fake_now_ms += 40000;
        for (size_t got = 0; got < sizeof(taken);) {
            ssize_t n = recv(fd, taken, sizeof(taken) - got, MSG_DONTWAIT);
            got += n > 0 ? (size_t)n : 0;
            net_loop_turn(fake.loop, 0);
        }
        run_until(&fake, fake.ticks > ticks + 2);
        assert_int_equal(fake.closed, 0);
    }
    fake_now_ms += 61000;
    run_until(&fake, fake.closed == 1);
    assert_int_equal(fake.metrics.idle_closes, 1);
    close(fd);
    fake_stop(&fake);
}

static void test_maxclients__are_told(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.maxclients = 2;
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    int three = client_connect_raw(&fake);
    client_expect(&fake, three, "-ERR max number of clients reached\r\n");
    client_expect_end(&fake, three);
    assert_int_equal(fake.metrics.rejected_connections, 1);
    close(one);
    run_until(&fake, fake.closed == 1);
    int four = client_connect(&fake);
    close(two);
    close(four);
    fake_stop(&fake);
}

static int lowest_free_fd(void)
{
    int fd = open("/dev/null", O_RDONLY);

    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static void test_no_descriptors__clients_are_shed_and_others_served(void **state)
{
    enum { CLIENTS = 4 };
    struct fake fake;
    struct rlimit before;
    int fds[CLIENTS];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int served = client_connect(&fake);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client_connect_raw(&fake);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit low = {.rlim_cur = (rlim_t)lowest_free_fd(), .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < CLIENTS; i++) {
        char byte;
        run_until(&fake, recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0);
    }
    client_send(&fake, served, "ECHO a\r\n");
    client_expect(&fake, served, "$1\r\na\r\n");
    assert_int_equal(fake.opened, 1);
    assert_int_equal(fake.metrics.rejected_connections, CLIENTS);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    int later = client_connect(&fake);
    client_send(&fake, later, "ECHO b\r\n");
    client_expect(&fake, later, "$1\r\nb\r\n");
    close(later);
    close(served);
    fake_stop(&fake);
}

static void test_query_limit__closes(void **state)
{
    static char half[70000];
    struct fake fake;

    (void)state;
    memset(half, 'x', sizeof(half));
    fake_init(&fake);
    fake.limits.resp.query_max_bytes = 50000;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "*2\r\n$4\r\nECHO\r\n$1000000\r\n");
    send(fd, half, sizeof(half), MSG_DONTWAIT | MSG_NOSIGNAL);
    run_until(&fake, fake.closed == 1);
    assert_int_equal(fake.metrics.query_limit_closes, 1);
    close(fd);
    fake_stop(&fake);
}

static void test_unauthenticated__is_held_short(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.resp.unauthenticated = 1;
    fake_start(&fake);
    int fd = client_connect(&fake);
    int other = client_connect(&fake);
    conn_set_authenticated(fake.conns[1], 1);
    client_send(&fake, other, "*11\r\n$4\r\nECHO\r\n");
    client_send(&fake, fd, "*11\r\n$4\r\nECHO\r\n");
    client_expect(&fake, fd, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    client_expect_end(&fake, fd);
    client_expect_nothing(&fake, other);
    close(other);
    fake_stop(&fake);
}

/* From when it has to: who is made to authenticate anew has as long again. */
static void test_unauthenticated__has_a_minute(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.resp.unauthenticated = 1;
    fake.limits.unauthenticated_s = 60;
    fake_start(&fake);
    int never = client_connect(&fake);
    int known = client_connect(&fake);
    int again = client_connect(&fake);
    conn_set_authenticated(fake.conns[1], 1);
    fake_now_ms += 59000;
    client_send(&fake, never, "ECHO a\r\n");
    client_expect(&fake, never, "$1\r\na\r\n");
    conn_set_authenticated(fake.conns[2], 0);
    fake_now_ms += 1001;
    client_expect_end(&fake, never);
    uint32_t ticks = fake.ticks;
    run_until(&fake, fake.ticks > ticks + 3);
    assert_int_equal(fake.closed, 1);
    fake_now_ms += 60000;
    client_expect_end(&fake, again);
    client_send(&fake, known, "ECHO a\r\n");
    client_expect(&fake, known, "$1\r\na\r\n");
    close(known);
    fake_stop(&fake);
}

static void test_push__follows_the_replies(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "ECHO a\r\n");
    client_expect(&fake, fd, "$1\r\na\r\n");
    conn_push(fake.conns[0], varve_slice_str("+one\r\n"));
    conn_push(fake.conns[0], varve_slice_str("+two\r\n"));
    client_expect(&fake, fd, "+one\r\n+two\r\n");
    close(fd);
    fake_stop(&fake);
}

/* The limit of replies is that of pushes; where that is none, they have one of their own. */
static void push_until_closed(size_t output_max_bytes, size_t push_max_bytes)
{
    static char bytes[100000];
    struct fake fake;

    fake_init(&fake);
    fake.limits.output_max_bytes = output_max_bytes;
    fake.limits.push_max_bytes = push_max_bytes;
    fake_start(&fake);
    int fd = client_connect(&fake);
    for (int i = 0; i < 1000 && fake.closed == 0; i++) {
        conn_push(fake.conns[0], varve_slice(bytes, sizeof(bytes)));
        net_loop_turn(fake.loop, 0);
    }
    assert_int_equal(fake.closed, 1);
    assert_int_equal(fake.metrics.output_limit_closes, 1);
    close(fd);
    fake_stop(&fake);
}

static void test_push__is_bounded(void **state)
{
    (void)state;
    push_until_closed(300000, 0);
    push_until_closed(300000, 1000000000);
    push_until_closed(0, 300000);
}

static void test_set_limits__reach_open_connections(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    fake.limits.resp.bulk_max_bytes = 10;
    fake.limits.maxclients = 1;
    net_loop_set_limits(fake.loop, &fake.limits);
    int other = client_connect_raw(&fake);
    client_expect(&fake, other, "-ERR max");
    close(other);
    client_send(&fake, fd, "*2\r\n$4\r\nECHO\r\n$11\r\n");
    client_expect(&fake, fd, "-ERR Protocol error: invalid bulk length\r\n");
    client_expect_end(&fake, fd);
    fake_stop(&fake);
}

/* The n-th allocation fails, for every n: the client is answered fully or its connection ends. */
static void test_no_memory__answers_or_closes(void **state)
{
    static const char expected[] = "$1\r\na\r\n:1\r\n$1\r\nb\r\n";
    uint64_t nth = 0;
    int failed = 1;

    (void)state;
    while (failed) {
        struct fake fake;
        char got[sizeof(expected) * 2];
        size_t used = 0;
        fake_init(&fake);
        fake.always = 1;
        fake.durable = 1;
        fake_start(&fake);
        mem_fail_nth(++nth, 0);
        int fd = client_connect_raw(&fake);
        client_send(&fake, fd, "ECHO a\r\nPUT\r\nECHO b\r\n");
        ssize_t n = -1;
        while (used < sizeof(expected) - 1 && n != 0) {
            n = recv(fd, got + used, sizeof(got) - used, MSG_DONTWAIT);
            used += n > 0 ? (size_t)n : 0;
            net_loop_turn(fake.loop, 0);
            if (n < 0 && fake.opened > 0 && fake.closed == fake.opened)
                break;
        }
        failed = mem_alloc_count() >= nth;
        mem_fail_nth(0, 0);
        assert_memory_equal(got, expected, used);
        if (!failed)
            assert_int_equal(used, sizeof(expected) - 1);
        close(fd);
        fake_stop(&fake);
        assert_true(nth < 100);
    }
    assert_true(nth > 3); /* there was something to fail */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_reader__stops_running_and_gets_all),
        cmocka_unit_test(test_output_limit__closes),
        cmocka_unit_test(test_soft_output_limit__closes_after_its_time),
        cmocka_unit_test(test_timeout__closes_only_the_idle),
        cmocka_unit_test(test_timeout__leaves_who_takes_a_reply_slowly),
        cmocka_unit_test(test_maxclients__are_told),
        cmocka_unit_test(test_no_descriptors__clients_are_shed_and_others_served),
        cmocka_unit_test(test_query_limit__closes),
        cmocka_unit_test(test_unauthenticated__is_held_short),
        cmocka_unit_test(test_unauthenticated__has_a_minute),
        cmocka_unit_test(test_push__follows_the_replies),
        cmocka_unit_test(test_push__is_bounded),
        cmocka_unit_test(test_set_limits__reach_open_connections),
        cmocka_unit_test(test_no_memory__answers_or_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
