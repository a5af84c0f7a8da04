/* Listening elsewhere while the loop runs: clients stay, and what fails changes nothing. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake.h"

#define NOT_HERE "192.0.2.7" /* TEST-NET-1: no machine has it */

struct place {
    const char *ip;
    uint16_t port;
};

/* A socket of our own at this place; it is taken as long as that lives. *port: 0 takes any. */
static int take_port(uint16_t *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static uint16_t free_port(void)
{
    uint16_t port = 0;

    close(take_port(&port));
    return port;
}

static int dial(struct place place)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(place.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(inet_pton(AF_INET, place.ip, &address.sin_addr), 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    return -1;
}

static void expect_served(struct fake *fake, struct place place)
{
    int fd = dial(place);

    assert_true(fd >= 0);
    client_send(fake, fd, "ECHO a\r\n");
    client_expect(fake, fd, "$1\r\na\r\n");
    close(fd);
}

static void expect_refused(struct place place)
{
    assert_int_equal(dial(place), -1);
}

static int rebind_to(struct fake *fake, const char *const *addresses, size_t count, uint16_t port)
{
    struct varve_err err;

    return net_loop_rebind(fake->loop, addresses, count, port, 64, &err);
}

#define REBIND(fake, port, ...)                                                                    \
    rebind_to(fake, (const char *const[]){__VA_ARGS__},                                            \
              sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), port)

static void test_port__moves_and_clients_stay(void **state)
{
    struct fake fake;
    struct place before;
    struct place after = {"127.0.0.1", free_port()};

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    before = (struct place){"127.0.0.1", net_loop_port(fake.loop, 0)};
    int fd = client_connect(&fake);
    assert_int_equal(REBIND(&fake, after.port, "127.0.0.1"), 0);
    assert_int_equal(net_loop_port(fake.loop, 0), after.port);
    assert_int_equal(net_loop_port(fake.loop, 1), 0);
    expect_refused(before);
    expect_served(&fake, after);
    client_send(&fake, fd, "ECHO b\r\n");
    client_expect(&fake, fd, "$1\r\nb\r\n");
    close(fd);
    fake_stop(&fake);
}

static void test_port_that_is_taken__changes_nothing(void **state)
{
    struct fake fake;
    uint16_t taken = 0;
    int holder = take_port(&taken);

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct place before = {"127.0.0.1", net_loop_port(fake.loop, 0)};
    assert_int_not_equal(REBIND(&fake, taken, "127.0.0.2", "127.0.0.1"), 0);
    expect_served(&fake, before);
    expect_refused((struct place){"127.0.0.2", taken});
    assert_int_equal(net_loop_port(fake.loop, 1), 0);
    close(holder);
    fake_stop(&fake);
}

static void test_same_again__keeps_the_socket_and_its_port(void **state)
{
    struct fake fake;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct place place = {"127.0.0.1", net_loop_port(fake.loop, 0)};
    int waiting = dial(place); /* not accepted yet: a new socket would lose it */
    assert_int_equal(REBIND(&fake, 0, "127.0.0.1"), 0);
    assert_int_equal(net_loop_port(fake.loop, 0), place.port);
    client_send(&fake, waiting, "ECHO a\r\n");
    client_expect(&fake, waiting, "$1\r\na\r\n");
    close(waiting);
    fake_stop(&fake);
}

static void test_addresses__come_and_go_on_one_port(void **state)
{
    struct fake fake;
    struct place one = {"127.0.0.1", free_port()};
    struct place two = {"127.0.0.2", one.port};

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(REBIND(&fake, one.port, "127.0.0.1"), 0);
    assert_int_equal(REBIND(&fake, one.port, "127.0.0.1", "127.0.0.2"), 0);
    expect_served(&fake, one);
    expect_served(&fake, two);
    assert_int_equal(REBIND(&fake, one.port, "127.0.0.2"), 0);
    expect_refused(one);
    expect_served(&fake, two);
    assert_int_equal(REBIND(&fake, one.port, "127.0.0.1"), 0);
    expect_served(&fake, one);
    expect_refused(two);
    fake_stop(&fake);
}

/* The old socket had to make room, and comes back. */
static void test_address_that_fails__brings_the_old_ones_back(void **state)
{
    struct fake fake;
    struct place one = {"127.0.0.1", free_port()};

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    assert_int_equal(REBIND(&fake, one.port, "127.0.0.1"), 0);
    assert_int_not_equal(REBIND(&fake, one.port, "127.0.0.2", NOT_HERE), 0);
    expect_served(&fake, one);
    expect_refused((struct place){"127.0.0.2", one.port});
    assert_int_not_equal(REBIND(&fake, one.port, "127.0.0.2", "127.0.0.2"), 0);
    expect_served(&fake, one);
    assert_int_equal(REBIND(&fake, one.port, "127.0.0.1", "-" NOT_HERE), 0);
    expect_served(&fake, one);
    assert_int_equal(net_loop_port(fake.loop, 1), 0);
    fake_stop(&fake);
}

static void test_too_many_addresses__are_refused(void **state)
{
    const char *many[17];
    struct fake fake;

    (void)state;
    for (size_t i = 0; i < 17; i++)
        many[i] = "127.0.0.1";
    fake_init(&fake);
    fake_start(&fake);
    struct place before = {"127.0.0.1", net_loop_port(fake.loop, 0)};
    assert_int_not_equal(rebind_to(&fake, many, 17, before.port), 0);
    expect_served(&fake, before);
    fake_stop(&fake);
}

static void test_no_memory__changes_nothing(void **state)
{
    struct fake fake;
    int rc = -1;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    struct place before = {"127.0.0.1", net_loop_port(fake.loop, 0)};
    struct place after = {"127.0.0.2", free_port()};
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = REBIND(&fake, after.port, "127.0.0.1", "127.0.0.2");
        mem_fail_nth(0, 0);
        if (rc != 0) {
            expect_served(&fake, before);
            expect_refused(after);
        }
    }
    expect_refused(before);
    expect_served(&fake, after);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_port__moves_and_clients_stay),
        cmocka_unit_test(test_port_that_is_taken__changes_nothing),
        cmocka_unit_test(test_same_again__keeps_the_socket_and_its_port),
        cmocka_unit_test(test_addresses__come_and_go_on_one_port),
        cmocka_unit_test(test_address_that_fails__brings_the_old_ones_back),
        cmocka_unit_test(test_too_many_addresses__are_refused),
        cmocka_unit_test(test_no_memory__changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
