/* Replies that wait for a sync: order, release, failure, bounds. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fake.h"

#define UNKNOWN "-UNKNOWN the outcome of this write, whose reply was held, is not known\r\n"

static void durable(struct fake *fake, uint64_t seq)
{
    fake->durable = seq;
    net_durable(fake->loop, seq, 0);
}

static void test_held__others_go_on(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    client_send(&fake, one, "ECHO a\r\nPUT\r\nECHO b\r\n");
    client_expect(&fake, one, "$1\r\na\r\n");
    client_expect_nothing(&fake, one);
    client_send(&fake, two, "ECHO c\r\n");
    client_expect(&fake, two, "$1\r\nc\r\n");
    client_send(&fake, one, "PUT\r\nECHO d\r\n"); /* runs, though its earlier replies wait */
    run_until(&fake, fake.committed == 2);
    client_expect_nothing(&fake, one);
    durable(&fake, 1);
    client_expect(&fake, one, ":1\r\n$1\r\nb\r\n");
    client_expect_nothing(&fake, one);
    client_send(&fake, two, "GET\r\n"); /* it saw the second write */
    client_expect_nothing(&fake, two);
    durable(&fake, 2);
    client_expect(&fake, one, ":2\r\n$1\r\nd\r\n");
    client_expect(&fake, two, ":2\r\n");
    assert_int_equal(net_loop_held_seq(fake.loop), 0);
    close(one);
    close(two);
    fake_stop(&fake);
}

/* What asks for the sync itself waits for it, though nothing else does. */
static void test_held__sync_waits_in_every_mode(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    client_send(&fake, one, "PUT\r\nSYNC\r\nECHO a\r\n");
    client_expect(&fake, one, ":1\r\n");
    client_expect_nothing(&fake, one);
    client_send(&fake, two, "PUT\r\n");
    client_expect(&fake, two, ":2\r\n");
    durable(&fake, 1);
    client_expect(&fake, one, "+OK\r\n$1\r\na\r\n");
    client_send(&fake, one, "SYNC\r\n");
    client_expect_nothing(&fake, one);
    net_durable(fake.loop, 1, 1);
    client_expect(&fake, one, UNKNOWN);
    close(one);
    close(two);
    fake_stop(&fake);
}

static void test_held__already_durable_waits_for_nothing(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake.durable = 100;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "PUT\r\nGET\r\n");
    client_expect(&fake, fd, ":1\r\n:1\r\n");
    close(fd);
    fake_stop(&fake);
}

static void test_failed_sync__replaces_what_is_not_durable(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    client_send(&fake, one, "PUT\r\nECHO a\r\nPUT\r\nECHO b\r\nPUT\r\n");
    client_send(&fake, two, "GET\r\nECHO c\r\n");
    run_until(&fake, fake.executed == 7);
    fake.durable = 1;
    net_durable(fake.loop, 1, 1);
    client_expect(&fake, one, ":1\r\n$1\r\na\r\n" UNKNOWN "$1\r\nb\r\n" UNKNOWN);
    client_send(&fake, one, "ECHO d\r\n");
    client_expect(&fake, one, "$1\r\nd\r\n");
    assert_true(fake.metrics.unknown_outcomes >= 2);
    client_send(&fake, two, "QUIT\r\n");
    run_until(&fake, fake.closed == 1);
    assert_int_equal(net_loop_held_seq(fake.loop), 0);
    close(one);
    close(two);
    fake_stop(&fake);
}

static void test_held_bound__stops_and_goes_on(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake.limits.held_max_count = 4;
    fake_start(&fake);
    int fd = client_connect(&fake);
    for (int i = 0; i < 10; i++)
        client_send(&fake, fd, "PUT\r\n");
    client_expect_nothing(&fake, fd);
    assert_int_equal(fake.executed, 4);
    durable(&fake, 4);
    client_expect(&fake, fd, ":1\r\n:2\r\n:3\r\n:4\r\n");
    run_until(&fake, fake.executed == 8);
    client_expect_nothing(&fake, fd);
    assert_int_equal(fake.executed, 8);
    durable(&fake, 8);
    run_until(&fake, fake.executed == 10);
    durable(&fake, 10);
    client_expect(&fake, fd, ":5\r\n:6\r\n:7\r\n:8\r\n:9\r\n:10\r\n");
    close(fd);
    fake_stop(&fake);
}

/* A client that reads nothing has a write in flight, a held reply behind it, and replies behind that. */
static void test_held__behind_a_write_in_flight(void **state)
{
    enum { BIG = 16 * 1024 * 1024 };
    struct fake fake;
    char command[64];
    char head[32];

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake.limits.output_pause_bytes = (size_t)64 << 20;
    fake_start(&fake);
    int fd = client_connect(&fake);
    snprintf(command, sizeof(command), "BIG %d\r\nPUT\r\nECHO a\r\n", BIG);
    client_send(&fake, fd, command);
    run_until(&fake, fake.executed == 3);
    client_send(&fake, fd, "PUT\r\nECHO b\r\n");
    run_until(&fake, fake.executed == 5);
    snprintf(head, sizeof(head), "$%d\r\n", BIG);
    client_expect(&fake, fd, head);
    char *body = malloc(BIG + 3);
    assert_non_null(body);
    memset(body, 'x', BIG);
    memcpy(body + BIG, "\r\n", 3);
    client_expect(&fake, fd, body);
    free(body);
    client_expect_nothing(&fake, fd);
    durable(&fake, 1);
    client_expect(&fake, fd, ":1\r\n$1\r\na\r\n");
    durable(&fake, 2);
    client_expect(&fake, fd, ":2\r\n$1\r\nb\r\n");
    close(fd);
    fake_stop(&fake);
}

/* An endless stream with something held at all times: the buffer does not grow for ever. */
static void test_held__sent_bytes_are_forgotten(void **state)
{
    enum { ROUNDS = 1000, BIG = 10000 };
    struct fake fake;
    char expected[BIG + 64];

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "PUT\r\nBIG 10000\r\n");
    run_until(&fake, fake.committed == 1);
    uint64_t used_bytes = mem_used_bytes();
    for (uint64_t seq = 2; seq < ROUNDS; seq++) {
        client_send(&fake, fd, "PUT\r\nBIG 10000\r\n");
        run_until(&fake, fake.committed == seq);
        durable(&fake, seq - 1);
        int head = snprintf(expected, sizeof(expected), ":%d\r\n$%d\r\n", (int)seq - 1, BIG);
        memset(expected + head, 'x', BIG);
        memcpy(expected + head + BIG, "\r\n", 3);
        client_expect(&fake, fd, expected);
        assert_true(mem_used_bytes() < used_bytes + (uint64_t)20 * BIG);
    }
    close(fd);
    durable(&fake, ROUNDS); /* a client that sends no more is not closed before its last reply */
    run_until(&fake, fake.closed == 1);
    fake_stop(&fake);
}

static void test_settle__after_the_loop_stopped(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "PUT\r\nECHO a\r\n");
    net_loop_stop(fake.loop);
    net_loop_run(fake.loop);
    assert_int_equal(net_loop_held_seq(fake.loop), 1);
    durable(&fake, 1);
    net_loop_settle(fake.loop);
    client_expect(&fake, fd, ":1\r\n$1\r\na\r\n");
    close(fd);
    fake_stop(&fake);
}

/* The same of one that waited for the disk just before. */
static void test_settle__of_one_that_was_parked(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake_start(&fake);
    int fd = client_connect(&fake);
    fake.slow_disk = 1;
    client_send(&fake, fd, "SLOW a\r\nPUT\r\n");
    run_until(&fake, fake.metrics.parked_now == 1);
    fake.slow_disk = 0;
    net_unpark(fake.conns[0]);
    client_expect(&fake, fd, "$1\r\na\r\n");
    net_loop_stop(fake.loop);
    net_loop_run(fake.loop);
    assert_int_equal(net_loop_held_seq(fake.loop), 1);
    durable(&fake, 1);
    net_loop_settle(fake.loop);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 10000), 1); /* without another turn */
    client_expect(&fake, fd, ":1\r\n");
    close(fd);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held__others_go_on),
        cmocka_unit_test(test_held__sync_waits_in_every_mode),
        cmocka_unit_test(test_held__already_durable_waits_for_nothing),
        cmocka_unit_test(test_failed_sync__replaces_what_is_not_durable),
        cmocka_unit_test(test_held_bound__stops_and_goes_on),
        cmocka_unit_test(test_held__behind_a_write_in_flight),
        cmocka_unit_test(test_held__sent_bytes_are_forgotten),
        cmocka_unit_test(test_settle__after_the_loop_stopped),
        cmocka_unit_test(test_settle__of_one_that_was_parked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
