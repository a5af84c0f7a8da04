/* The parts put together, in this process: commands that are sent before the loop runs, and end with
 * SHUTDOWN, come back answered, and what they wrote is there after the next start. */
#include <arpa/inet.h>
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/thread.h"
#include "config/config.h"
#include "server/server.h"

#define SYNCED_WRITES 500

struct fixture {
    char root[64];
    char dir[80];
    struct config *config;
    struct server *server;
    struct varve_err err;
    int port;
};

static void set(struct fixture *f, const char *name, const char *value)
{
    struct varve_err err;

    assert_int_equal(config_set(f->config, name, value, &err), 0);
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char port[16];

    log_set_level(LOG_WARNING);
    snprintf(f->root, sizeof(f->root), "/tmp/varve-server-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->dir, sizeof(f->dir), "%s/data", f->root);
    f->config = config_create();
    f->port = free_port();
    snprintf(port, sizeof(port), "%d", f->port);
    set(f, "port", port);
    set(f, "dir", f->dir);
    set(f, "wal-size", "64kb");
    set(f, "loglevel", "warning");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char path[400];
    DIR *dir = opendir(f->dir);

    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        snprintf(path, sizeof(path), "%s/%s", f->dir, entry->d_name);
        unlink(path);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(f->dir);
    rmdir(f->root);
    config_destroy(f->config);
    free(f);
    return 0;
}

static int dial(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void expect_all(int fd, const char *expected)
{
    char got[4096];
    size_t used = 0;
    ssize_t n;

    while (used < sizeof(got) - 1 && (n = recv(fd, got + used, sizeof(got) - 1 - used, 0)) > 0)
        used += (size_t)n;
    got[used] = '\0';
    assert_string_equal(got, expected);
    close(fd);
}

/* Starts, serves `commands` and SHUTDOWN, stops. */
static void serve(struct fixture *f, const char *commands, const char *replies)
{
    assert_int_equal(server_start(f->config, &f->server, &f->err), 0);
    int fd = dial(f->port);
    assert_true(send(fd, commands, strlen(commands), 0) > 0);
    assert_true(send(fd, "SHUTDOWN\r\n", 10, 0) > 0);
    server_run(f->server);
    assert_int_equal(server_stop(f->server, &f->err), 0);
    expect_all(fd, replies);
}

static void test_writes__are_there_after_a_restart(void **state)
{
    struct fixture *f = *state;

    serve(f, "SET a 1\r\nINCR a\r\nSELECT 3\r\nSET b x\r\nDBSIZE\r\n",
          "+OK\r\n:2\r\n+OK\r\n+OK\r\n:1\r\n");
    serve(f, "GET a\r\nDBSIZE\r\nSELECT 3\r\nGET b\r\n", "$1\r\n2\r\n:1\r\n+OK\r\n$1\r\nx\r\n");
}

static void test_always__held_replies_leave_before_the_end(void **state)
{
    struct fixture *f = *state;

    set(f, "appendfsync", "always");
    serve(f, "SET a 1\r\nGET a\r\nPING\r\nAPPEND a 2\r\n", "+OK\r\n$1\r\n1\r\n+PONG\r\n:2\r\n");
    serve(f, "GET a\r\n", "$2\r\n12\r\n");
}

struct two_clients {
    int port;
    int answered;
};

/* One writes and waits, the other keeps the turns coming; then SHUTDOWN. */
static void write_beside_pings(void *arg)
{
    struct two_clients *clients = arg;
    int writer = dial(clients->port);
    int pinger = dial(clients->port);
    char reply[16];

    for (int i = 0; i < SYNCED_WRITES; i++) {
        ssize_t got = -1;
        time_t give_up = time(NULL) + 10;
        (void)!send(writer, "SET a 1\r\n", 9, 0);
        while (got <= 0 && time(NULL) < give_up) {
            (void)!send(pinger, "PING\r\n", 6, 0);
            (void)!recv(pinger, reply, 7, MSG_WAITALL);
            got = recv(writer, reply, sizeof(reply), MSG_DONTWAIT);
        }
        if (got <= 0)
            break;
        clients->answered++;
    }
    (void)!send(pinger, "SHUTDOWN\r\n", 10, 0);
    (void)!recv(pinger, reply, sizeof(reply), 0);
    close(writer);
    close(pinger);
}

/* A turn of others asks what is durable just before the news of it comes in. */
static void test_always__is_answered_beside_others(void **state)
{
    struct fixture *f = *state;
    struct thread thread;
    struct two_clients clients = {.port = f->port};

    set(f, "appendfsync", "always");
    assert_int_equal(server_start(f->config, &f->server, &f->err), 0);
    assert_int_equal(thread_start(&thread, "clients", write_beside_pings, &clients), 0);
    server_run(f->server);
    assert_int_equal(server_stop(f->server, &f->err), 0);
    thread_join(&thread);
    assert_int_equal(clients.answered, SYNCED_WRITES);
}

static void test_signal__ends_the_turn_and_stops(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(server_start(f->config, &f->server, &f->err), 0);
    int fd = dial(f->port);
    assert_true(send(fd, "SET a 1\r\n", 9, 0) > 0);
    raise(SIGTERM);
    server_run(f->server);
    assert_int_equal(server_stop(f->server, &f->err), 0);
    close(fd);
}

static void test_port_in_use__leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    struct stat found;
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)f->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_not_equal(server_start(f->config, &f->server, &f->err), 0);
    assert_null(f->server);
    assert_non_null(strstr(f->err.text, "in use"));
    assert_int_equal(stat(f->dir, &found), -1);
    close(fd);
}

static void test_directory__without_a_parent_or_locked_is_refused(void **state)
{
    struct fixture *f = *state;
    struct server *second = NULL;
    char deep[128];

    snprintf(deep, sizeof(deep), "%s/no/such", f->root);
    set(f, "dir", deep);
    assert_int_not_equal(server_start(f->config, &f->server, &f->err), 0);
    assert_non_null(strstr(f->err.text, deep));

    set(f, "dir", f->dir);
    assert_int_equal(server_start(f->config, &f->server, &f->err), 0);
    set(f, "port", "0");
    assert_int_not_equal(server_start(f->config, &second, &f->err), 0);
    assert_null(second);
    assert_int_equal(server_stop(f->server, &f->err), 0);
}

static void test_password__lifts_the_limits_on_input(void **state)
{
    struct fixture *f = *state;

    set(f, "requirepass", "secret");
    serve(f,
          "GET a\r\nAUTH wrong\r\nAUTH secret\r\n"
          "*11\r\n$3\r\nDEL\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n"
          "$1\r\n6\r\n$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n",
          "-NOAUTH Authentication required.\r\n"
          "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
          "+OK\r\n:0\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writes__are_there_after_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_always__held_replies_leave_before_the_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_always__is_answered_beside_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signal__ends_the_turn_and_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_port_in_use__leaves_nothing_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory__without_a_parent_or_locked_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_password__lifts_the_limits_on_input, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
