/* Reads that a loop beside the writer's runs by itself, and what it leaves to the writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"
#include "cmd/ctx.h"
#include "cmd/table.h"

struct reading {
    struct server *server;
    struct keyspace *keyspace;
    struct metrics metrics;
    struct processor *reader;
    struct buf out;
};

static int setup(void **state)
{
    struct reading *r = calloc(1, sizeof(*r));
    struct varve_err err;
    void *server;

    server_setup(&server);
    r->server = server;
    assert_int_equal(keyspace_open_reader(r->server->keyspace, &r->keyspace, &err), 0);
    r->reader = processor_create_reader(r->server->processor, r->keyspace, &r->metrics);
    assert_non_null(r->reader);
    processor_begin_reads(r->reader, 0, 0);
    buf_init(&r->out, SIZE_MAX / 2);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct reading *r = *state;
    void *server = r->server;

    processor_destroy_reader(r->reader);
    keyspace_close(r->keyspace);
    buf_deinit(&r->out);
    server_teardown(&server);
    free(r);
    return 0;
}

static void commit(struct reading *r)
{
    assert_int_equal(varve_group_commit(r->server->db, NULL), 0);
    keyspace_show(r->server->keyspace);
}

static void write_one(struct reading *r, const char *line)
{
    (void)ask(r->server, line);
    commit(r);
}

/* The reply of the reader, or "(left)". */
static const char *read_line(struct reading *r, const char *line)
{
    struct resp_writer writer = {.out = &r->out, .proto = 2};
    struct varve_slice argv[16];
    char text[256];
    int argc = 0;

    strcpy(text, line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = varve_slice_str(word);
    buf_clear(&r->out);
    if (!processor_read(r->reader, r->server->session, argc, argv, &writer)) {
        assert_int_equal(r->out.len, 0);
        return "(left)";
    }
    assert_int_equal(buf_append(&r->out, "", 1), 0);
    return (const char *)r->out.data;
}

#define READ(r, line, reply) assert_string_equal(read_line(r, line), reply)

static void test_local__runs_reads(void **state)
{
    struct reading *r = *state;

    write_one(r, "MSET a 1 b 22");
    READ(r, "GET a", "$1\r\n1\r\n");
    READ(r, "GET c", "$-1\r\n");
    READ(r, "MGET a b c", "*3\r\n$1\r\n1\r\n$2\r\n22\r\n$-1\r\n");
    READ(r, "EXISTS a b c a", ":3\r\n");
    READ(r, "STRLEN b", ":2\r\n");
    READ(r, "GETRANGE b 1 1", "$1\r\n2\r\n");
    READ(r, "TTL a", ":-1\r\n");
    READ(r, "TYPE a", "+string\r\n");
    READ(r, "PING", "+PONG\r\n");
    READ(r, "GETBIT a x", "-ERR bit offset is not an integer or out of range\r\n");
}

static void test_local__leaves_the_rest(void **state)
{
    struct reading *r = *state;

    READ(r, "SET a 1", "(left)");
    READ(r, "INFO", "(left)");
    READ(r, "DBSIZE", "(left)");
    READ(r, "SELECT 1", "(left)");
    READ(r, "GET", "(left)");
    READ(r, "NOPE", "(left)");
    (void)ask(r->server, "MULTI");
    READ(r, "GET a", "(left)");
    (void)ask(r->server, "DISCARD");
    READ(r, "GET a", "$-1\r\n");
    (void)ask(r->server, "WATCH a");
    READ(r, "GET a", "(left)");
    (void)ask(r->server, "UNWATCH");
    (void)ask(r->server, "CLIENT REPLY OFF");
    READ(r, "GET a", "(left)");
    (void)ask(r->server, "CLIENT REPLY ON");
    READ(r, "GET a", "$-1\r\n");
    processor_begin_reads(r->reader, 0, 1);
    READ(r, "GET a", "(left)");
    processor_begin_reads(r->reader, 0, 0);
    fake_db_chill(r->server->db, "cold");
    write_one(r, "SET cold 1");
    READ(r, "MGET a cold", "(left)");
    READ(r, "GET a", "$-1\r\n");
}

static void test_local__wants_all(void **state)
{
    struct reading *r = *state;
    struct processor *processor = r->server->processor;

    assert_int_equal(processor_wants_all(processor), 0);
    (void)ask(r->server, "CLIENT PAUSE 100000 WRITE");
    assert_int_equal(processor_wants_all(processor), 1);
    (void)ask(r->server, "CLIENT UNPAUSE");
    assert_int_equal(processor_wants_all(processor), 0);
    (void)ask(r->server, "MONITOR");
    assert_int_equal(processor_wants_all(processor), 1);
    (void)ask(r->server, "RESET");
    assert_int_equal(processor_wants_all(processor), 0);
}

static void test_local__counts_become_the_writers(void **state)
{
    struct reading *r = *state;
    struct processor *processor = r->server->processor;
    struct processor_stats before;
    struct processor_stats after;
    struct keyspace_stats keys;

    fake_db_chill(r->server->db, "cold");
    server_set(r->server, "slowlog-log-slower-than", "0");
    processor_refresh_reader(r->reader);
    processor_get_stats(processor, &before);
    READ(r, "GET a", "$-1\r\n");
    READ(r, "GET a", "$-1\r\n");
    READ(r, "GETBIT a x", "-ERR bit offset is not an integer or out of range\r\n");
    write_one(r, "SET cold 1");
    READ(r, "GET cold", "(left)");
    processor_take(processor, r->reader);
    processor_take(processor, r->reader);
    processor_get_stats(processor, &after);
    assert_int_equal(after.commands - before.commands, 4);
    assert_int_equal(after.error_replies - before.error_replies, 1);
    const struct command *get = command_find(NULL, varve_slice_str("get"));
    assert_int_equal(processor_command_stats(processor, get)->calls, 2);
    assert_non_null(processor_command_histogram(processor, get));
    keyspace_get_stats(r->server->keyspace, &keys);
    assert_int_equal(keys.misses, 2);
    assert_int_equal(keys.hits, 0);
    EXPECT(r->server, "SLOWLOG LEN", ":3\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_local__runs_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local__leaves_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local__wants_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local__counts_become_the_writers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
