/* A commit that fails: nothing of it happened, and every client is told what is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake.h"

static void test_failed_commit__runs_all_connections_again(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    int three = client_connect(&fake);
    fake.fail_commits = 1;
    client_send(&fake, one, "ECHO a\r\nPUT\r\nGET\r\nECHO b\r\n");
    client_send(&fake, two, "PUT\r\nGET\r\n");
    client_send(&fake, three, "ECHO c\r\n");
    client_expect(&fake, one, "$1\r\na\r\n-MISCONF refused\r\n:0\r\n$1\r\nb\r\n");
    client_expect(&fake, two, "-MISCONF refused\r\n:0\r\n");
    client_expect(&fake, three, "$1\r\nc\r\n");
    assert_int_equal(fake.metrics.turns_rerun, 1);
    assert_true(fake.rewinds == 2 || fake.rewinds == 3); /* ECHO c may have come before the write */
    assert_true(fake.executed_at_rewind < fake.executed);
    fake.refuse = 0;
    client_send(&fake, one, "PUT\r\n");
    client_expect(&fake, one, ":1\r\n");
    close(one);
    close(two);
    close(three);
    fake_stop(&fake);
}

static void test_failed_commit__leaves_what_ran_before_the_first_write(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    fake.fail_commits = 1;
    client_send(&fake, fd, "BARRIER\r\nECHO a\r\nPUT\r\nECHO b\r\n");
    client_expect(&fake, fd, "+BARRIER\r\n$1\r\na\r\n-MISCONF refused\r\n$1\r\nb\r\n");
    assert_int_equal(fake.barriers, 1);
    assert_int_equal(fake.executed, 6); /* four, and two of them again */
    assert_int_equal(fake.rewinds, 1);
    assert_int_equal(fake.executed_at_rewind, 4);
    close(fd);
    fake_stop(&fake);
}

static void test_commit_first__keeps_the_committed_part(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    client_send(&fake, one, "PUT\r\n");
    client_send(&fake, two, "PUT\r\nBARRIER\r\nLAST\r\nECHO a\r\nGET\r\n");
    client_expect(&fake, one, ":1\r\n");
    client_expect(&fake, two, ":2\r\n+BARRIER\r\n:3\r\n$1\r\na\r\n:3\r\n");
    assert_int_equal(fake.commits, 3);
    fake.commits = 0;

    client_send(&fake, two, "PUT\r\nBARRIER\r\n");
    client_expect(&fake, two, ":4\r\n+BARRIER\r\n");
    client_send(&fake, two, "PUT\r\n");
    fake.fail_commits = 1;
    client_expect(&fake, two, "-MISCONF refused\r\n");
    close(one);
    close(two);
    fake_stop(&fake);
}

/* The second commit of a turn fails: the replies of the first part stay. */
static void test_failed_second_commit__keeps_the_first_part(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int fd = client_connect(&fake);
    fake.fail_commits = 1;
    fake.good_commits = 1;
    client_send(&fake, fd, "LAST\r\nECHO a\r\nPUT\r\nGET\r\n");
    client_expect(&fake, fd, ":1\r\n$1\r\na\r\n-MISCONF refused\r\n:1\r\n");
    assert_int_equal(fake.executed, 6);
    close(fd);
    fake_stop(&fake);
}

static void test_commit_first__that_fails_runs_the_turn_again(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    fake.fail_commits = 1;
    client_send(&fake, one, "PUT\r\nECHO a\r\n");
    client_send(&fake, two, "PUT\r\nBARRIER\r\nPUT\r\nGET\r\n");
    client_expect(&fake, one, "-MISCONF refused\r\n$1\r\na\r\n");
    client_expect(&fake, two, "-MISCONF refused\r\n+BARRIER\r\n-MISCONF refused\r\n:0\r\n");
    assert_int_equal(fake.barriers, 1);
    close(one);
    close(two);
    fake_stop(&fake);
}

static void test_failed_commit__cuts_held_replies_too(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake.always = 1;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, "PUT\r\n");
    run_until(&fake, fake.committed == 1);
    fake.fail_commits = 1;
    client_send(&fake, fd, "PUT\r\nPUT\r\nECHO a\r\n");
    run_until(&fake, fake.refuse);
    assert_int_equal(fake.metrics.held_replies_now, 1);
    assert_int_equal(net_loop_held_seq(fake.loop), 1);
    fake.durable = 1;
    net_durable(fake.loop, 1, 0);
    client_expect(&fake, fd, ":1\r\n-MISCONF refused\r\n-MISCONF refused\r\n$1\r\na\r\n");
    close(fd);
    fake_stop(&fake);
}

static void test_failed_commit__quit_and_protocol_errors_survive(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    fake.fail_commits = 1;
    client_send(&fake, one, "PUT\r\nQUIT\r\nPUT\r\n");
    client_send(&fake, two, "PUT\r\n*1\r\n!\r\n");
    client_expect(&fake, one, "-MISCONF refused\r\n+OK\r\n");
    client_expect(&fake, two, "-MISCONF refused\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    client_expect_end(&fake, one);
    client_expect_end(&fake, two);
    fake_stop(&fake);
}

static void test_failed_commit__a_killed_client_is_left_out(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    int one = client_connect(&fake);
    int two = client_connect(&fake);
    fake.fail_commits = 1;
    client_send(&fake, one, "PUT\r\nSUICIDE\r\n");
    client_send(&fake, two, "PUT\r\n");
    client_expect(&fake, two, "-MISCONF refused\r\n");
    client_expect_end(&fake, one);
    close(two);
    fake_stop(&fake);
}

/* More commands in one group than the log of commands holds: it commits on the way. */
static void test_group__is_bounded(void **state)
{
    enum { COUNT = 70000 };
    struct fake fake;
    char *sent = malloc((size_t)COUNT * 5 + 1);

    (void)state;
    assert_non_null(sent);
    for (int i = 0; i < COUNT; i++)
        memcpy(sent + (size_t)i * 5, "PUT\r\n", 6);
    fake_init(&fake);
    fake.limits.turn_commands = COUNT;
    fake_start(&fake);
    int fd = client_connect(&fake);
    client_send(&fake, fd, sent);
    run_until(&fake, fake.committed == COUNT);
    assert_in_range(fake.group_max, 1000, 65536);
    free(sent);
    close(fd);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_commit__runs_all_connections_again),
        cmocka_unit_test(test_failed_commit__leaves_what_ran_before_the_first_write),
        cmocka_unit_test(test_commit_first__keeps_the_committed_part),
        cmocka_unit_test(test_failed_second_commit__keeps_the_first_part),
        cmocka_unit_test(test_commit_first__that_fails_runs_the_turn_again),
        cmocka_unit_test(test_failed_commit__cuts_held_replies_too),
        cmocka_unit_test(test_failed_commit__quit_and_protocol_errors_survive),
        cmocka_unit_test(test_failed_commit__a_killed_client_is_left_out),
        cmocka_unit_test(test_group__is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
