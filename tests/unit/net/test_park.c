/* Commands that wait: their connection keeps its order, the others go on, and what a failed commit undoes
 * is told to every client as it is. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake.h"

static void unpark(struct fake *fake, uint32_t index)
{
    fake->slow_disk = 0;
    net_unpark(fake->conns[index]);
}

static void test_parked__keeps_the_order_and_lets_others_go_on(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    fake.slow_disk = 1;
    client_send(&fake, one, "ECHO a\r\nSLOW b\r\nECHO c\r\nSLOW d\r\n");
    client_expect(&fake, one, "$1\r\na\r\n");
    client_send(&fake, one, "ECHO e\r\n");
    client_expect_nothing(&fake, one);
    client_send(&fake, two, "PUT\r\nECHO x\r\n");
    client_expect(&fake, two, ":1\r\n$1\r\nx\r\n");
    assert_int_equal(fake.parks, 1);
    assert_int_equal(fake.metrics.parked_now, 1);

    net_unpark(fake.conns[0]); /* for nothing: it parks again */
    client_expect_nothing(&fake, one);
    assert_int_equal(fake.parks, 2);
    unpark(&fake, 0);
    client_expect(&fake, one, "$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n");
    net_unpark(fake.conns[0]); /* nothing waits */
    client_expect_nothing(&fake, one);
    assert_int_equal(fake.executed, 7);
    close(one);
    close(two);
    fake_stop(&fake);
}

/* Until the loop would find what a client sent. */
static void wait_readable(const struct fake *fake, uint32_t index)
{
    struct conn_figures figures;

    conn_figures(fake->conns[index], &figures);
    struct pollfd polled = {.fd = figures.fd, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 10000), 1);
}

#define MANY 40

/* conns[0] needs no disk, the others are parked. */
static void park_many(struct fake *fake, int *cold)
{
    fake->slow_disk = 1;
    for (int i = 0; i < MANY; i++)
        client_send(fake, cold[i], "SLOW a\r\nECHO b\r\n");
    run_until(fake, fake->metrics.parked_now == MANY);
    fake->executed = 0;
    for (uint32_t i = 1; i <= MANY; i++)
        unpark(fake, i);
}

static int connect_many(struct fake *fake, int *cold)
{
    int other = client_connect(fake);

    for (int i = 0; i < MANY; i++)
        cold[i] = client_connect(fake);
    return other;
}

static void close_many(int other, const int *cold)
{
    close(other);
    for (int i = 0; i < MANY; i++)
        close(cold[i]);
}

/* Of many whose reads of the disk have come, some are answered before and some behind one who needs no disk. */
static void test_parked__many_leave_room_for_the_others(void **state)
{
    struct fake fake;
    int cold[MANY];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int other = connect_many(&fake, cold);
    for (int round = 0; round < 3; round++) {
        park_many(&fake, cold);
        client_send(&fake, other, "ECHO q\r\n");
        wait_readable(&fake, 0);
        fake_turn(&fake);
        assert_int_equal(fake.executed, 1 + 2 * (1 + 8)); /* as many as others, and eight */
        client_expect(&fake, other, "$1\r\nq\r\n");
        for (int i = 0; i < MANY; i++)
            client_expect(&fake, cold[i], "$1\r\na\r\n$1\r\nb\r\n");
        assert_int_equal(fake.executed, 1 + 2 * MANY);
    }

    /* Who waits no more is behind no more. */
    for (int round = 0; round < 3; round++) {
        fake.executed = 0;
        for (int i = 0; i < MANY; i++)
            client_send(&fake, cold[i], "ECHO c\r\n");
        for (uint32_t i = 1; i <= MANY; i++)
            wait_readable(&fake, i);
        fake_turn(&fake);
        assert_true(round == 0 || fake.executed == MANY);
        for (int i = 0; i < MANY; i++)
            client_expect(&fake, cold[i], "$1\r\nc\r\n");
    }
    close_many(other, cold);
    fake_stop(&fake);
}

/* What was read before the stop runs, also of those who came behind. */
static void test_parked__many_are_answered_before_the_loop_stops(void **state)
{
    struct fake fake;
    int cold[MANY];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int other = connect_many(&fake, cold);
    park_many(&fake, cold);
    for (int i = 0; i < MANY; i++)
        client_expect(&fake, cold[i], "$1\r\na\r\n$1\r\nb\r\n");
    fake.executed = 0;
    for (int i = 0; i < MANY; i++)
        client_send(&fake, cold[i], "ECHO c\r\n");
    for (uint32_t i = 1; i <= MANY; i++)
        wait_readable(&fake, i);
    fake_turn(&fake); /* all are read, some run */
    assert_int_equal(fake.executed, 8);
    net_loop_stop(fake.loop);
    net_loop_run(fake.loop);
    assert_int_equal(fake.executed, MANY);
    for (int i = 0; i < MANY; i++)
        client_expect(&fake, cold[i], "$1\r\nc\r\n");
    close_many(other, cold);
    fake_stop(&fake);
}

/* Many commands, of which each in turn parks, in more than one turn. */
static void test_parked__at_every_place_of_a_pipeline(void **state)
{
    struct fake fake;
    char sent[64 * 16] = "";
    char wanted[64 * 16] = "";

    (void)state;
    fake_init(&fake);
    fake.limits.turn_commands = 5;
    fake_start(&fake);
    int fd = client_connect(&fake);
    for (int i = 0; i < 50; i++) {
        snprintf(sent + strlen(sent), 16, "SLOW %02d\r\n", i);
        snprintf(wanted + strlen(wanted), 16, "$2\r\n%02d\r\n", i);
    }
    fake.slow_once = 1;
    client_send(&fake, fd, sent);
    for (uint32_t i = 0; i < 50; i++) {
        run_until(&fake, fake.parks == i + 1);
        assert_int_equal(fake.executed, i);
        net_unpark(fake.conns[0]);
    }
    client_expect(&fake, fd, wanted);
    assert_int_equal(fake.executed, 50);
    close(fd);
    fake_stop(&fake);
}

static void test_close__of_a_parked_connection(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int killed = client_connect(&fake);
    int gone = client_connect(&fake);
    int left = client_connect(&fake);
    fake.slow_disk = 1;
    client_send(&fake, killed, "PUT\r\nSLOW a\r\nECHO b\r\n");
    client_send(&fake, gone, "SLOW a\r\nPUT\r\n");
    client_send(&fake, left, "DELAY 500000\r\nECHO b\r\n");
    client_expect(&fake, killed, ":1\r\n");
    run_until(&fake, fake.metrics.parked_now == 3);
    net_kill(fake.conns[0]);
    net_unpark(fake.conns[0]);
    client_expect_end(&fake, killed);
    run_until(&fake, fake.closed == 1);
    assert_int_equal(fake.executed, 1);

    /* The other end went away: what it sent runs still, as without the wait. */
    close(gone);
    client_expect_nothing(&fake, left);
    assert_int_equal(fake.closed, 1);
    unpark(&fake, 1);
    run_until(&fake, fake.closed == 2);
    assert_int_equal(fake.seq, 2);
    close(left);
    fake_stop(&fake); /* the third is parked yet */
}

struct waker {
    uv_async_t async;
    struct fake *fake;
};

static void on_wake(uv_async_t *async)
{
    struct waker *waker = async->data;

    unpark(waker->fake, 0);
}

static void *wake(void *arg)
{
    usleep(2000);
    uv_async_send(&((struct waker *)arg)->async);
    return NULL;
}

static void test_unpark__from_another_thread_wakes_the_poll(void **state)
{
    struct fake fake;
    struct waker waker = {.fake = &fake};
    pthread_t thread;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(uv_async_init(net_loop_uv(fake.loop), &waker.async, on_wake), 0);
    waker.async.data = &waker;
    int fd = client_connect(&fake);
    fake.slow_disk = 1;
    client_send(&fake, fd, "SLOW a\r\n");
    run_until(&fake, fake.parks == 1);
    assert_int_equal(pthread_create(&thread, NULL, wake, &waker), 0);
    for (int turns = 0; fake.executed == 0; turns++) {
        assert_true(turns < 100); /* of which each waits for an event: it does not spin */
        net_loop_turn(fake.loop, 1);
    }
    pthread_join(thread, NULL);
    client_expect(&fake, fd, "$1\r\na\r\n");
    uv_close((uv_handle_t *)&waker.async, NULL);
    close(fd);
    fake_stop(&fake);
}

static void test_delay__ends_by_itself(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int slow = client_connect(&fake);
    int slower = client_connect(&fake);
    int other = client_connect(&fake);
    uint64_t began_us = clock_mono_us();
    client_send(&fake, slower, "DELAY 20000\r\nECHO a\r\n");
    client_send(&fake, slow, "DELAY 300\r\nDELAY 4000\r\nECHO a\r\n");
    run_until(&fake, fake.parks >= 2);
    client_send(&fake, other, "PUT\r\n");
    client_expect(&fake, other, ":1\r\n");
    client_expect(&fake, slower, "+OK\r\n$1\r\na\r\n"); /* together with the first that is due */
    assert_true(clock_mono_us() - began_us >= 300);
    client_expect(&fake, slow, "+OK\r\n+OK\r\n$1\r\na\r\n");
    assert_true(clock_mono_us() - began_us >= 4300);
    assert_int_equal(fake.parks, 3);
    close(slow);
    close(slower);
    close(other);
    fake_stop(&fake);
}

/* Whoever came first runs first, however long each was told to wait. */
static void test_delay__keeps_the_order(void **state)
{
    static const char *const delays[] = {"DELAY 9000\r\nPUT\r\n", "DELAY 20000\r\nPUT\r\n",
                                         "DELAY 5000\r\nPUT\r\n"};
    static const char *const replies[] = {"+OK\r\n:1\r\n", "+OK\r\n:2\r\n", "+OK\r\n:3\r\n"};
    int clients[3];
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    for (int i = 0; i < 3; i++)
        clients[i] = client_connect(&fake);
    for (int i = 0; i < 3; i++) {
        client_send(&fake, clients[i], delays[i]);
        run_until(&fake, fake.parks > (unsigned)i);
    }
    for (int i = 0; i < 3; i++) {
        client_expect(&fake, clients[i], replies[i]);
        close(clients[i]);
    }
    fake_stop(&fake);
}

/* ---- commits that fail ---- */

static void test_failed_commit__leaves_a_parked_command_alone(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    fake.fail_commits = 1;
    fake.slow_disk = 1;
    client_send(&fake, one, "ECHO a\r\nPUT\r\nGET\r\nSLOW b\r\nECHO c\r\n");
    client_send(&fake, two, "PUT\r\n");
    client_expect(&fake, one, "$1\r\na\r\n-MISCONF refused\r\n:0\r\n");
    client_expect(&fake, two, "-MISCONF refused\r\n");
    client_expect_nothing(&fake, one);
    assert_int_equal(fake.parks, 1);
    fake.refuse = 0;
    client_send(&fake, two, "PUT\r\n");
    client_expect(&fake, two, ":1\r\n");
    unpark(&fake, 0);
    client_expect(&fake, one, "$1\r\nb\r\n$1\r\nc\r\n");
    assert_int_equal(fake.executed, 4 + 3 + 1 + 2);
    close(one);
    close(two);
    fake_stop(&fake);
}

/* A command that had not to wait in the turn has to when the turn runs again. */
static void test_failed_commit__parks_what_runs_again(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    fake.fail_commits = 1;
    fake.slow_disk = 1;
    client_send(&fake, one, "ECHO a\r\nPUT\r\nCOLD\r\nECHO b\r\nPUT\r\nSLOW c\r\nECHO d\r\n");
    client_send(&fake, two, "PUT\r\nGET\r\n");
    client_expect(&fake, one, "$1\r\na\r\n-MISCONF refused\r\n");
    client_expect(&fake, two, "-MISCONF refused\r\n:0\r\n");
    client_expect_nothing(&fake, one);
    assert_int_equal(fake.metrics.parked_now, 1);

    /* Once it may, the rest runs as if it had come just now. */
    fake.refuse = 0;
    client_send(&fake, two, "PUT\r\n");
    client_expect(&fake, two, ":1\r\n");
    net_unpark(fake.conns[0]);
    client_expect(&fake, one, ":1\r\n$1\r\nb\r\n:2\r\n");
    client_expect_nothing(&fake, one);
    unpark(&fake, 0);
    client_expect(&fake, one, "$1\r\nc\r\n$1\r\nd\r\n");
    client_send(&fake, one, "GET\r\n");
    client_expect(&fake, one, ":2\r\n");
    close(one);
    close(two);
    fake_stop(&fake);
}

/* What was set aside is undone once more. */
static void test_failed_commit__of_what_was_parked_by_another(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    fake.fail_commits = 1;
    fake.slow_disk = 1;
    client_send(&fake, fd, "PUT\r\nCOLD\r\nPUT\r\nCOLD\r\nECHO a\r\nBARRIER\r\nQUIT\r\n");
    client_expect(&fake, fd, "-MISCONF refused\r\n");
    client_expect_nothing(&fake, fd);
    fake.refuse = 0;
    fake.fail_commits = 1;
    net_unpark(fake.conns[0]);
    client_expect(&fake, fd, ":0\r\n-MISCONF refused\r\n");
    client_expect_nothing(&fake, fd);
    assert_int_equal(fake.barriers, 0);
    unpark(&fake, 0);
    client_expect(&fake, fd, ":0\r\n$1\r\na\r\n+BARRIER\r\n+OK\r\n");
    client_expect_end(&fake, fd);
    assert_int_equal(fake.barriers, 1);
    fake_stop(&fake);
}

static void test_commit_first__that_fails_and_parks(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    fake.fail_commits = 1;
    fake.slow_disk = 1;
    client_send(&fake, fd, "PUT\r\nCOLD\r\nBARRIER\r\nECHO a\r\n");
    client_expect(&fake, fd, "-MISCONF refused\r\n");
    client_expect_nothing(&fake, fd);
    assert_int_equal(fake.barriers, 0);
    unpark(&fake, 0);
    client_expect(&fake, fd, ":0\r\n+BARRIER\r\n$1\r\na\r\n");
    close(fd);
    fake_stop(&fake);
}

static void test_failed_commit__keeps_a_protocol_error_behind_what_parks(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    fake.fail_commits = 1;
    fake.slow_disk = 1;
    client_send(&fake, fd, "PUT\r\nCOLD\r\n*x\r\n");
    client_expect(&fake, fd, "-MISCONF refused\r\n");
    client_expect_nothing(&fake, fd);
    unpark(&fake, 0);
    client_expect(&fake, fd, ":0\r\n-ERR Protocol error: invalid multibulk length\r\n");
    client_expect_end(&fake, fd);
    fake_stop(&fake);
}

/* Nothing polls the socket of one that is parked. */
static void test_reset__of_a_parked_connection(void **state)
{
    struct linger at_once = {.l_onoff = 1};
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int leaves = client_connect(&fake);
    int waits = client_connect(&fake);
    fake.slow_disk = 1;
    client_send(&fake, leaves, "SLOW a\r\n");
    client_send(&fake, waits, "SLOW b\r\n");
    run_until(&fake, fake.metrics.parked_now == 2);
    assert_int_equal(shutdown(waits, SHUT_WR), 0);
    assert_int_equal(setsockopt(leaves, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(leaves);
    run_until(&fake, fake.closed == 1);
    assert_null(fake.conns[0]);
    assert_int_equal(fake.metrics.parked_now, 1);
    uint32_t ticks = fake.ticks;
    run_until(&fake, fake.ticks > ticks + 12); /* the other one was looked at as well */
    unpark(&fake, 1);
    client_expect(&fake, waits, "$1\r\nb\r\n");
    client_expect_end(&fake, waits);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parked__keeps_the_order_and_lets_others_go_on),
        cmocka_unit_test(test_parked__many_leave_room_for_the_others),
        cmocka_unit_test(test_parked__many_are_answered_before_the_loop_stops),
        cmocka_unit_test(test_parked__at_every_place_of_a_pipeline),
        cmocka_unit_test(test_close__of_a_parked_connection),
        cmocka_unit_test(test_reset__of_a_parked_connection),
        cmocka_unit_test(test_unpark__from_another_thread_wakes_the_poll),
        cmocka_unit_test(test_delay__ends_by_itself),
        cmocka_unit_test(test_delay__keeps_the_order),
        cmocka_unit_test(test_failed_commit__leaves_a_parked_command_alone),
        cmocka_unit_test(test_failed_commit__parks_what_runs_again),
        cmocka_unit_test(test_failed_commit__of_what_was_parked_by_another),
        cmocka_unit_test(test_commit_first__that_fails_and_parks),
        cmocka_unit_test(test_failed_commit__keeps_a_protocol_error_behind_what_parks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
