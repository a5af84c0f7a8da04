/* Several loops: connections live on one beside the writer's, and visit that one. But for the last test no
 * threads run: all loops turn one after the other. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/thread.h"
#include "fake.h"

static void test_placing__fills_the_emptiest_loop(void **state)
{
    struct fake fake;
    int fds[6];

    (void)state;
    fake_init(&fake);
    fake.limits.maxclients = 6;
    fake_start_team(&fake, 2);
    for (int i = 0; i < 6; i++)
        fds[i] = client_connect(&fake);
    for (uint32_t no = 0; no < 3; no++) {
        unsigned count = 0;
        for (int i = 0; i < 6; i++)
            count += conn_home(fake.conns[i]) == no;
        assert_int_equal(count, 2);
    }
    for (int i = 0; i < 6; i++)
        client_send(&fake, fds[i], "ECHO a\r\n");
    for (int i = 0; i < 6; i++)
        client_expect(&fake, fds[i], "$1\r\na\r\n");
    assert_int_equal(fake.local, 4);

    int more = client_connect_raw(&fake);
    client_expect(&fake, more, "-ERR max number of clients reached\r\n");
    client_expect_end(&fake, more);
    close(fds[0]);
    run_until(&fake, fake.closed == 1);
    fds[0] = client_connect(&fake);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    run_until(&fake, fake.closed == 7);
    fake_stop(&fake);
}

/* One loop beside the writer's, and a connection on it. */
static int start_one(struct fake *fake)
{
    fake_start_team(fake, 1);
    int fd = client_connect(fake);
    assert_int_equal(conn_home(fake->conns[0]), 1);
    return fd;
}

static void test_visit__keeps_the_order(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    client_send(&fake, fd, "ECHO a\r\nPUT\r\nECHO b\r\nPUT\r\nBARRIER\r\nSEEN\r\n");
    client_expect(&fake, fd, "$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n+BARRIER\r\n:2\r\n");
    client_send(&fake, fd, "SEEN\r\n");
    client_expect(&fake, fd, ":2\r\n");
    assert_int_equal(fake.local, 2);
    close(fd);
    fake_stop(&fake);
}

/* A turn knows the time as of its beginning; who comes into it from another loop may know a later one. */
static void test_visit__comes_with_its_clock(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    uint32_t ticks = fake.ticks;
    uint64_t turns = fake.metrics.turns;
    client_send(&fake, fd, "PUT\r\n");
    client_expect(&fake, fd, ":1\r\n");
    assert_true(fake.ticks - ticks > fake.metrics.turns - turns);
    close(fd);
    fake_stop(&fake);
}

/* More commands than are parsed ahead, or taken along in one visit. */
static void test_visit__takes_a_long_pipeline_along(void **state)
{
    enum { COUNT = 1000 };
    struct fake fake;
    char *sent = calloc(COUNT, 32);
    char *wanted = calloc(COUNT, 32);
    size_t sent_len = 0;
    size_t wanted_len = 0;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    for (int i = 0; i < COUNT; i++) {
        sent_len += (size_t)snprintf(sent + sent_len, 32, i % 3 == 0 ? "ECHO %03d\r\n" : "PUT\r\n",
                                     i % 1000);
        wanted_len += (size_t)snprintf(wanted + wanted_len, 32,
                                       i % 3 == 0 ? "$3\r\n%03d\r\n" : ":%d\r\n",
                                       i % 3 == 0 ? i : i - i / 3);
    }
    client_send(&fake, fd, sent);
    client_expect(&fake, fd, wanted);
    assert_true(fake.commits < COUNT / 8);
    free(sent);
    free(wanted);
    close(fd);
    fake_stop(&fake);
}

static void test_visit__input_comes_meanwhile(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    fake.slow_disk = 1;
    client_send(&fake, fd, "SLOW a\r\n");
    run_until(&fake, fake.parks == 1);
    client_send(&fake, fd, "ECHO b\r\nPU");
    client_expect_nothing(&fake, fd);
    client_send(&fake, fd, "T\r\nECHO c\r\n");
    client_expect_nothing(&fake, fd);
    fake.slow_disk = 0;
    net_unpark(fake.conns[0]);
    client_expect(&fake, fd, "$1\r\na\r\n$1\r\nb\r\n:1\r\n$1\r\nc\r\n");
    close(fd);
    fake_stop(&fake);
}

/* What was answered before a command that parks is not kept back. */
static void test_visit__that_parks_sends_what_came_before(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    fake.slow_disk = 1;
    client_send(&fake, fd, "ECHO a\r\nPUT\r\nSLOW b\r\nECHO c\r\n");
    client_expect(&fake, fd, "$1\r\na\r\n:1\r\n");
    client_expect_nothing(&fake, fd);
    assert_int_equal(fake.metrics.parked_now, 1);
    fake.slow_disk = 0;
    net_unpark(fake.conns[0]);
    client_expect(&fake, fd, "$1\r\nb\r\n$1\r\nc\r\n");
    close(fd);
    fake_stop(&fake);
}

static void test_visit__lasts_until_its_replies_are_durable(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    int fd = start_one(&fake);
    client_send(&fake, fd, "PUT\r\n");
    run_until(&fake, fake.committed == 1);
    client_send(&fake, fd, "ECHO a\r\n");
    client_expect_nothing(&fake, fd);
    assert_int_equal(fake.metrics.held_replies_now, 1);
    fake.durable = 1;
    net_durable(fake.loop, 1, 0);
    client_expect(&fake, fd, ":1\r\n$1\r\na\r\n");

    client_send(&fake, fd, "PUT\r\n"); /* its sync fails */
    run_until(&fake, fake.committed == 2);
    net_durable(fake.loop, 1, 1);
    client_expect(&fake, fd,
                  "-UNKNOWN the outcome of this write, whose reply was held, is not known\r\n");
    close(fd);
    fake_stop(&fake);
}

static void test_failed_commit__runs_the_visit_again(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    fake.fail_commits = 1;
    client_send(&fake, fd, "ECHO a\r\nPUT\r\nECHO b\r\nPUT\r\n");
    client_expect(&fake, fd, "$1\r\na\r\n-MISCONF refused\r\n$1\r\nb\r\n-MISCONF refused\r\n");
    assert_int_equal(fake.rewinds > 0, 1);
    close(fd);
    fake_stop(&fake);
}

static void test_replies__pinned_ones_travel(void **state)
{
    struct fake fake;
    char *wanted = malloc(40000);
    int len;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    client_send(&fake, fd, "PINNED 20000\r\nPUT\r\n");
    len = snprintf(wanted, 40000, "$20000\r\n");
    for (int i = 0; i < 20000; i++)
        wanted[len++] = (char)('a' + i % 23);
    snprintf(wanted + len, 16, "\r\n:1\r\n");
    client_expect(&fake, fd, wanted);
    assert_int_equal(fake.pinned, 0);
    free(wanted);
    close(fd);
    fake_stop(&fake);
}

/* A client that reads nothing is not run for ever, and gets all in the end. */
static void test_replies__slow_reader(void **state)
{
    struct fake fake;
    char *sink = malloc(1 << 20);
    size_t got = 0;
    size_t sent = 0;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    for (; sent < 64; sent++)
        client_send(&fake, fd, "BIG 300000\r\nPUT\r\n");
    for (int i = 0; i < 50; i++)
        fake_turn(&fake);
    assert_true(fake.seq < 64);
    size_t wanted = 64 * (300000 + sizeof("$300000\r\n\r\n") - 1) + 9 * 4 + 55 * 5;
    uint64_t deadline_us = clock_mono_us() + 10 * 1000000;
    while (got < wanted && clock_mono_us() < deadline_us) {
        ssize_t n = recv(fd, sink, 1 << 20, MSG_DONTWAIT);
        if (n > 0)
            got += (size_t)n;
        fake_turn(&fake);
    }
    assert_int_equal(got, wanted);
    assert_int_equal(fake.seq, 64);
    free(sink);
    close(fd);
    fake_stop(&fake);
}

static void test_end__quit_protocol_error_and_close(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    int one = start_one(&fake);
    client_send(&fake, one, "PUT\r\nQUIT\r\nECHO a\r\n");
    client_expect(&fake, one, ":1\r\n+OK\r\n");
    client_expect_end(&fake, one);

    int two = client_connect(&fake);
    client_send(&fake, two, "ECHO a\r\nPUT\r\n*x\r\n");
    client_expect(&fake, two, "$1\r\na\r\n:2\r\n-ERR Protocol error: invalid multibulk length\r\n");
    client_expect_end(&fake, two);

    int three = client_connect(&fake);
    client_send(&fake, three, "PUT\r\n");
    close(three);
    run_until(&fake, fake.closed == 3);
    assert_int_equal(fake.seq, 3);
    fake_stop(&fake);
}

/* Whoever waits as a guest, and whose client is gone, does not wait on. */
static void test_end__of_a_guest_that_waits(void **state)
{
    struct fake fake;
    struct linger hard = {.l_onoff = 1};

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    fake.slow_disk = 1;
    client_send(&fake, fd, "SLOW a\r\n");
    run_until(&fake, fake.parks == 1);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(fd);
    run_until(&fake, fake.closed == 1);
    assert_int_equal(fake.metrics.parked_now, 0);
    fake_stop(&fake);
}

static void test_kill__at_home_on_a_visit_and_halted(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    int one = start_one(&fake);
    net_kill(fake.conns[0]); /* it is called in, and ends */
    net_kill(fake.conns[0]);
    client_expect_end(&fake, one);
    run_until(&fake, fake.closed == 1);

    int two = client_connect(&fake);
    fake.slow_disk = 1;
    client_send(&fake, two, "SLOW a\r\n");
    run_until(&fake, fake.parks == 1);
    net_kill(fake.conns[1]);
    client_expect_end(&fake, two);
    run_until(&fake, fake.closed == 2);

    int three = client_connect(&fake);
    client_send(&fake, three, "ECHO a\r\n");
    net_team_halt(fake.loop);
    net_kill(fake.conns[2]);
    net_team_resume(fake.loop);
    client_expect_end(&fake, three);
    run_until(&fake, fake.closed == 3);
    fake_stop(&fake);
}

static void test_push__comes_where_the_client_is(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.push_max_bytes = 64;
    int fd = start_one(&fake);
    conn_push(fake.conns[0], varve_slice_str("+one\r\n"));
    conn_push(fake.conns[0], varve_slice_str("+two\r\n"));
    client_expect(&fake, fd, "+one\r\n+two\r\n");
    client_send(&fake, fd, "PUT\r\n");
    client_expect(&fake, fd, ":1\r\n");
    conn_push(fake.conns[0], varve_slice_str("+three\r\n"));
    client_expect(&fake, fd, "+three\r\n");
    client_send(&fake, fd, "PUT\r\n"); /* it is on its way home when there is more for it */
    while (fake.seq < 2) {
        net_loop_turn(net_team_loop(fake.loop, 1), 0);
        net_loop_turn(fake.loop, 0);
    }
    conn_push(fake.conns[0], varve_slice_str("+four\r\n"));
    net_loop_turn(fake.loop, 0); /* both are in one mail */
    client_expect(&fake, fd, ":2\r\n+four\r\n");
    for (int i = 0; i < 9; i++) /* more than it may have waiting */
        conn_push(fake.conns[0], varve_slice_str("+12345678\r\n"));
    client_expect_end(&fake, fd);
    run_until(&fake, fake.closed == 1);
    fake_stop(&fake);
}

/* The client is called away in the turn in which it sends: what it sent is not forgotten. */
static void test_push__comes_with_a_command(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    int fd = start_one(&fake);
    client_send(&fake, fd, "ECHO a\r\n");
    client_expect(&fake, fd, "$1\r\na\r\n");
    client_send(&fake, fd, "PUT\r\n");
    conn_push(fake.conns[0], varve_slice_str("+one\r\n"));
    client_expect(&fake, fd, "+one\r\n:1\r\n");
    close(fd);
    fake_stop(&fake);
}

static void test_limits__are_those_of_all_loops(void **state)
{
    struct fake fake;
    struct net_limits limits;

    (void)state;
    fake_init(&fake);
    int one = start_one(&fake);
    int two = client_connect_raw(&fake);
    net_loop_turn(fake.loop, 0); /* it is on its way */
    limits = fake.limits;
    limits.resp.bulk_max_bytes = 10;
    net_team_halt(fake.loop);
    net_loop_set_limits(fake.loop, &limits);
    net_team_resume(fake.loop);
    client_send(&fake, one, "*2\r\n$4\r\nECHO\r\n$11\r\n");
    client_send(&fake, two, "*2\r\n$4\r\nECHO\r\n$11\r\n");
    client_expect(&fake, one, "-ERR Protocol error: invalid bulk length\r\n");
    client_expect(&fake, two, "-ERR Protocol error: invalid bulk length\r\n");
    client_expect_end(&fake, one);
    client_expect_end(&fake, two);
    run_until(&fake, fake.closed == 2);
    fake_stop(&fake);
}

/* Wherever they are when all ends: nothing leaks. */
static void test_stop__with_guests_and_travellers(void **state)
{
    struct fake fake;
    int fds[5];

    (void)state;
    fake_init(&fake);
    fake_start_team(&fake, 4);
    for (int i = 0; i < 5; i++)
        fds[i] = client_connect(&fake);
    fake.slow_disk = 1;
    client_send(&fake, fds[0], "SLOW a\r\n"); /* a guest */
    run_until(&fake, fake.parks == 1);
    client_send(&fake, fds[1], "PINNED 20000\r\nPUT\r\n"); /* on its way to be one */
    for (uint32_t i = 1; i <= 4; i++)
        net_loop_turn(net_team_loop(fake.loop, i), 0);
    int late = client_connect_raw(&fake); /* on its way to its first home */
    net_loop_turn(fake.loop, 0);
    fake_stop(&fake);
    assert_int_equal(fake.pinned, 0);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    close(late);
}

/* ---- with threads ---- */

#define THREADED_CLIENTS 8
#define THREADED_PUTS 300

static void *threaded_client(void *arg)
{
    const uint16_t *port = arg;
    char answer[64];

    int fd = fake_dial(*port);
    for (int i = 0; i < THREADED_PUTS; i++) {
        assert_int_equal(send(fd, "ECHO a\r\nPUT\r\nECHO b\r\n", 21, MSG_NOSIGNAL), 21);
        size_t got = 0;
        while (got < 15 || memcmp(answer + got - 3, "b\r\n", 3) != 0) {
            ssize_t n = recv(fd, answer + got, sizeof(answer) - got, 0);
            assert_true(n > 0);
            got += (size_t)n;
        }
        assert_memory_equal(answer, "$1\r\na\r\n:", 8);
    }
    close(fd);
    return NULL;
}

static void test_threads__halt_and_go_on(void **state)
{
    struct fake fake;
    struct varve_err err;
    pthread_t threads[THREADED_CLIENTS];

    (void)state;
    fake_init(&fake);
    fake_start_team(&fake, 3);
    uint16_t port = net_loop_port(fake.loop, 0);
    assert_int_equal(net_team_start(fake.loop, &err), 0);
    fake.team = 0; /* they turn by themselves */
    for (int i = 0; i < THREADED_CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, threaded_client, &port), 0);
    while (fake.seq < THREADED_CLIENTS * THREADED_PUTS || fake.closed < THREADED_CLIENTS) {
        net_loop_turn(fake.loop, 1);
        net_team_halt(fake.loop);
        fake.team_metrics[0].turns = 0; /* theirs, but they rest */
        net_team_resume(fake.loop);
    }
    for (int i = 0; i < THREADED_CLIENTS; i++)
        pthread_join(threads[i], NULL);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placing__fills_the_emptiest_loop),
        cmocka_unit_test(test_visit__keeps_the_order),
        cmocka_unit_test(test_visit__comes_with_its_clock),
        cmocka_unit_test(test_visit__takes_a_long_pipeline_along),
        cmocka_unit_test(test_visit__input_comes_meanwhile),
        cmocka_unit_test(test_visit__that_parks_sends_what_came_before),
        cmocka_unit_test(test_visit__lasts_until_its_replies_are_durable),
        cmocka_unit_test(test_failed_commit__runs_the_visit_again),
        cmocka_unit_test(test_replies__pinned_ones_travel),
        cmocka_unit_test(test_replies__slow_reader),
        cmocka_unit_test(test_end__quit_protocol_error_and_close),
        cmocka_unit_test(test_end__of_a_guest_that_waits),
        cmocka_unit_test(test_kill__at_home_on_a_visit_and_halted),
        cmocka_unit_test(test_push__comes_where_the_client_is),
        cmocka_unit_test(test_push__comes_with_a_command),
        cmocka_unit_test(test_limits__are_those_of_all_loops),
        cmocka_unit_test(test_stop__with_guests_and_travellers),
        cmocka_unit_test(test_threads__halt_and_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
