/* Values that are sent from where they lie: nothing holds them longer than the turn that replied with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fake.h"
#include "resp/writer.h"

#define UNKNOWN "-UNKNOWN the outcome of this write, whose reply was held, is not known\r\n"

static void expect_long(struct fake *fake, int fd, size_t len)
{
    char head[32];
    char *text = malloc(len + 3);

    assert_non_null(text);
    snprintf(head, sizeof(head), "$%zu\r\n", len);
    client_expect(fake, fd, head);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + i % 23);
    memcpy(text + len, "\r\n", 3);
    client_expect(fake, fd, text);
    free(text);
}

static void test_pinned__between_other_replies(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    for (size_t len = RESP_PINNED_MIN_BYTES - 1; len <= RESP_PINNED_MIN_BYTES + 1; len++) {
        char line[64];
        snprintf(line, sizeof(line), "PINNED %zu\r\nECHO a\r\nPINNED %zu\r\nECHO b\r\n", len, len);
        client_send(&fake, fd, line);
        expect_long(&fake, fd, len);
        client_expect(&fake, fd, "$1\r\na\r\n");
        expect_long(&fake, fd, len);
        client_expect(&fake, fd, "$1\r\nb\r\n");
        assert_int_equal(fake.pinned, 0);
    }
    for (int i = 0; i < 40; i++) /* more parts than one call takes */
        client_send(&fake, fd, "PINNED 16384\r\n");
    for (int i = 0; i < 40; i++)
        expect_long(&fake, fd, 16384);
    close(fd);
    fake_stop(&fake);
}

static void test_pinned__a_slow_reader_holds_none(void **state)
{
    enum { COUNT = 20, LEN = 1000000 };
    struct fake fake;
    struct conn_figures figures;

    (void)state;
    fake_init(&fake);
    fake.limits.output_pause_bytes = 3000000;
    fake_start(&fake);
    int fd = client_connect(&fake);
    for (int i = 0; i < COUNT; i++)
        client_send(&fake, fd, "PINNED 1000000\r\nECHO a\r\n");
    client_expect_nothing(&fake, client_connect(&fake));
    conn_figures(fake.conns[0], &figures);
    assert_in_range(figures.output_bytes + figures.writing_bytes, 3000000, 10000000);
    assert_int_equal(fake.pinned, 0);
    for (int i = 0; i < COUNT; i++) {
        expect_long(&fake, fd, LEN);
        client_expect(&fake, fd, "$1\r\na\r\n");
    }
    close(fd);
    fake_stop(&fake);
}

static void test_pinned__counts_in_the_limit(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.limits.output_max_bytes = 20000000;
    fake.limits.output_pause_bytes = 100000000;
    fake_start(&fake);
    int fd = client_connect(&fake);
    for (int i = 0; i < 60; i++)
        client_send(&fake, fd, "PINNED 1000000\r\n");
    run_until(&fake, fake.closed == 1);
    assert_int_equal(fake.metrics.output_limit_closes, 1);
    assert_int_equal(fake.pinned, 0);
    close(fd);
    fake_stop(&fake);
}

static void durable(struct fake *fake, uint64_t seq)
{
    fake->durable = seq;
    net_durable(fake->loop, seq, 0);
}

static void test_pinned__held(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd,
                "PINNED 20000\r\nPUT\r\nPINNED 30000\r\nECHO a\r\nPINNED 40000\r\nPUT\r\n");
    expect_long(&fake, fd, 20000);
    client_expect_nothing(&fake, fd);
    assert_int_equal(fake.pinned, 0);
    durable(&fake, 1);
    client_expect(&fake, fd, ":1\r\n");
    expect_long(&fake, fd, 30000);
    client_expect(&fake, fd, "$1\r\na\r\n");
    expect_long(&fake, fd, 40000);
    client_send(&fake, fd, "PUT\r\nPINNED 50000\r\n");
    client_expect_nothing(&fake, fd);
    durable(&fake, 2);
    client_expect(&fake, fd, ":2\r\n");
    net_durable(fake.loop, 2, 1);
    client_expect(&fake, fd, UNKNOWN UNKNOWN);
    assert_int_equal(fake.pinned, 0);
    close(fd);
    fake_stop(&fake);
}

/* Behind replies that wait, a value that waits for nothing moves none of those that come later. */
static void test_pinned__before_held_ones(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "PUT\r\nSYNC\r\nPINNED 1000000\r\nECHO a\r\nSYNC\r\nPINNED 20000\r\n");
    client_expect(&fake, fd, ":1\r\n");
    client_expect_nothing(&fake, fd);
    assert_int_equal(fake.pinned, 0);
    net_durable(fake.loop, 0, 1);
    client_expect(&fake, fd, UNKNOWN);
    expect_long(&fake, fd, 1000000);
    client_expect(&fake, fd, "$1\r\na\r\n" UNKNOWN);
    expect_long(&fake, fd, 20000);
    close(fd);
    fake_stop(&fake);
}

static void test_pinned__cut_with_a_failed_commit(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    fake.fail_commits = 1;
    client_send(&fake, fd, "PINNED 20000\r\nPUT\r\nPINNED 30000\r\nECHO a\r\n");
    expect_long(&fake, fd, 20000);
    client_expect(&fake, fd, "-MISCONF refused\r\n");
    expect_long(&fake, fd, 30000);
    client_expect(&fake, fd, "$1\r\na\r\n");
    assert_int_equal(fake.pinned, 0);
    client_send(&fake, fd, "PINNED 30000\r\nSUICIDE\r\n");
    run_until(&fake, fake.closed == 1);
    assert_int_equal(fake.pinned, 0);
    close(fd);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pinned__between_other_replies),
        cmocka_unit_test(test_pinned__a_slow_reader_holds_none),
        cmocka_unit_test(test_pinned__counts_in_the_limit),
        cmocka_unit_test(test_pinned__held),
        cmocka_unit_test(test_pinned__before_held_ones),
        cmocka_unit_test(test_pinned__cut_with_a_failed_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
