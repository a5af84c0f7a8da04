#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"
#include "cmd/client.h"
#include "cmd/eviction.h"

#define MB ((size_t)1024 * 1024)
#define UNKNOWN UINT64_MAX
#define CLIENTS 4

static const void *closing; /* whose connection was killed by others */

static void fill_figures(void *arg, struct session_figures *figures)
{
    *figures = (struct session_figures){
        .fd = 8, .qbuf_bytes = *(const size_t *)arg, .closing = arg == closing};
}

/* Clients 0 to 3, from their input; the server's own session has next to none. */
struct crowd {
    struct server *server;
    size_t input_bytes[CLIENTS];
    struct session *sessions[CLIENTS];
};

static void gather(struct crowd *crowd, struct server *server, const size_t *input_bytes)
{
    crowd->server = server;
    for (int i = 0; i < CLIENTS; i++) {
        crowd->input_bytes[i] = input_bytes[i];
        crowd->sessions[i] = session_create(server->processor, "1.2.3.4:5", "6.7.8.9:10",
                                            fill_figures, &crowd->input_bytes[i]);
        assert_non_null(crowd->sessions[i]);
    }
}

static void disperse(struct crowd *crowd)
{
    for (int i = 0; i < CLIENTS; i++)
        session_destroy(crowd->sessions[i]);
}

/* "0110": who is gone. */
static void assert_gone(const struct crowd *crowd, const char *gone)
{
    uint64_t count = 0;

    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(crowd->sessions[i]->killed, gone[i] - '0');
        count += (uint64_t)(gone[i] - '0');
    }
    assert_false(crowd->server->session->killed);
    assert_int_equal(crowd->server->kills, count);
    assert_int_equal(crowd->server->kills_halted, count);
    assert_int_equal(crowd->server->halts, 0);
    assert_int_equal(crowd->server->metrics.evicted_clients, count);
}

static void test_eviction__takes_the_largest_and_no_more_than_it_must(void **state)
{
    static const size_t inputs[CLIENTS] = {5 * MB, 9 * MB, 1000, 6 * MB};
    struct crowd crowd;

    gather(&crowd, *state, inputs);
    server_set(crowd.server, "maxmemory-clients", "21mb");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0000");
    server_set(crowd.server, "maxmemory-clients", "12mb");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0100");
    assert_ptr_equal(crowd.server->killed, &crowd.input_bytes[1]);
    server_set(crowd.server, "maxmemory-clients", "7mb");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "1100"); /* of one class: the first of them */
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "1100"); /* those that go already do not count */
    server_set(crowd.server, "maxmemory-clients", "1mb");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "1101");
    disperse(&crowd);
}

static void test_eviction__spares_whom_it_must(void **state)
{
    static const size_t inputs[CLIENTS] = {50 * MB, 3 * MB, 2 * MB, 1000};
    struct crowd crowd;

    gather(&crowd, *state, inputs);
    assert_string_equal(ask_as(crowd.server, crowd.sessions[0], "CLIENT NO-EVICT ON"), "+OK\r\n");
    server_set(crowd.server, "maxmemory-clients", "56mb");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0000");
    server_set(crowd.server, "maxmemory-clients", "54mb");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0100"); /* it counts all the same */
    server_set(crowd.server, "maxmemory-clients", "52mb");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0110");
    disperse(&crowd);
}

/* Nobody else goes for what goes anyway. */
static void test_eviction__does_not_count_who_ends(void **state)
{
    static const size_t inputs[CLIENTS] = {5 * MB, 9 * MB, 2 * MB, 1000};
    struct crowd crowd;

    gather(&crowd, *state, inputs);
    server_set(crowd.server, "maxmemory-clients", "8mb");
    closing = &crowd.input_bytes[1];
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0000");
    closing = NULL;
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0100");
    disperse(&crowd);
}

/* Who is left can still be told what was wrong. */
static void test_eviction__leaves_room_for_an_administrator(void **state)
{
    static const size_t inputs[CLIENTS] = {1000, 2000, 90000, 90000};
    struct crowd crowd;

    gather(&crowd, *state, inputs);
    server_set(crowd.server, "maxmemory-clients", "1");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0010");
    assert_string_equal(ask(crowd.server, "CONFIG RESETSTAT"), "+OK\r\n");
    assert_int_equal(crowd.server->metrics.evicted_clients, 0);
    disperse(&crowd);
}

static void test_eviction__knows_percent_and_none(void **state)
{
    static const size_t inputs[CLIENTS] = {8 * MB, 8 * MB, 8 * MB, 8 * MB};
    struct crowd crowd;

    gather(&crowd, *state, inputs);
    crowd.server->metrics.memory_budget_bytes = 40 * MB;
    server_set(crowd.server, "maxmemory-clients", "0");
    eviction_run(crowd.server->processor, UNKNOWN);
    assert_gone(&crowd, "0000");
    server_set(crowd.server, "maxmemory-clients", "50%");
    eviction_run(crowd.server->processor, 20 * MB); /* so they cannot hold more */
    assert_gone(&crowd, "0000");
    eviction_run(crowd.server->processor, 20 * MB + 1);
    assert_gone(&crowd, "1000"); /* 20 MB, and one of them */
    server_set(crowd.server, "maxmemory-clients", "1%");
    eviction_run(crowd.server->processor, 20 * MB + 1);
    assert_gone(&crowd, "1110");
    disperse(&crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_eviction__takes_the_largest_and_no_more_than_it_must,
                                        server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_eviction__spares_whom_it_must, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_eviction__does_not_count_who_ends, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_eviction__leaves_room_for_an_administrator,
                                        server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_eviction__knows_percent_and_none, server_setup,
                                        server_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
