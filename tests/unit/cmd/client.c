#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"

#define ARGS_MAX 64

static void on_shutdown(void *arg)
{
    ((struct server *)arg)->shutdowns++;
}

static void on_wake(void *arg)
{
    ((struct server *)arg)->wakes++;
}

static void on_unpark(void *arg, void *figures_arg)
{
    struct server *server = arg;

    if (server->unparks < (int)COUNT_OF(server->unparked))
        server->unparked[server->unparks] = figures_arg;
    server->unparks++;
}

static void on_kill(void *arg, void *figures_arg)
{
    ((struct server *)arg)->kills++;
    ((struct server *)arg)->kills_halted += ((struct server *)arg)->halts == 1;
    ((struct server *)arg)->killed = figures_arg;
}

static void on_halt(void *arg)
{
    ((struct server *)arg)->halts++;
}

static void on_resume(void *arg)
{
    ((struct server *)arg)->halts--;
}

static void on_push(void *arg, void *figures_arg, struct varve_slice bytes)
{
    (void)figures_arg;
    assert_int_equal(buf_append(&((struct server *)arg)->pushed, bytes.data, bytes.len), 0);
}

int server_setup(void **state)
{
    struct server *server = calloc(1, sizeof(*server));
    struct processor_host host = {.arg = server,
                                  .wake = on_wake,
                                  .unpark = on_unpark,
                                  .kill = on_kill,
                                  .push = on_push,
                                  .halt = on_halt,
                                  .resume = on_resume,
                                  .shutdown = on_shutdown};
    struct varve_err err;

    server->db = fake_db_create();
    server->config = config_create();
    assert_non_null(server->config);
    assert_int_equal(metrics_init(&server->metrics), 0);
    assert_int_equal(keyspace_open(server->db, &server->keyspace, &err), 0);
    keyspace_set_executor(server->keyspace, fake_db_executor(server->db));
    server->processor = processor_create(server->keyspace, server->config, &server->metrics, &host);
    assert_non_null(server->processor);
    server->session = session_create(server->processor, "127.0.0.1:5000", "127.0.0.1:6379", NULL,
                                     NULL);
    assert_non_null(server->session);
    buf_init(&server->out, SIZE_MAX / 2);
    buf_init(&server->pushed, SIZE_MAX / 2);
    *state = server;
    return 0;
}

int server_setup_cold(void **state)
{
    int rc = server_setup(state);

    fake_db_chill(((struct server *)*state)->db, NULL);
    fake_db_chill_counts(((struct server *)*state)->db, 1);
    return rc;
}

int server_teardown(void **state)
{
    struct server *server = *state;

    session_destroy(server->session);
    processor_destroy(server->processor);
    keyspace_close(server->keyspace);
    config_destroy(server->config);
    buf_deinit(&server->out);
    buf_deinit(&server->pushed);
    fake_db_destroy(server->db);
    free(server);
    return 0;
}

void server_set(struct server *server, const char *option, const char *value)
{
    struct varve_err err;

    assert_int_equal(config_set(server->config, option, value, &err), 0);
}

enum processor_step try_argv(struct server *server, struct session *session, int argc,
                             const struct varve_slice *argv)
{
    struct resp_writer writer = {.out = &server->out, .proto = 2};

    buf_clear(&server->out);
    server->step = processor_run(server->processor, session, argc, argv, &writer, &server->outcome);
    assert_int_equal(writer.failed, 0);
    return server->step;
}

/* Brings what parked the command. */
static void fetch_all(struct server *server)
{
    int unparks = server->unparks;
    int wakes = server->wakes;

    assert_int_equal(server->outcome.park_us, 0);
    server->parks++;
    while (fake_db_step(server->db)) {
        assert_int_equal(server->unparks, unparks); /* not before the last one */
        wakes++;
    }
    processor_woken(server->processor);
    assert_int_equal(server->unparks, unparks + 1);
    assert_int_equal(server->wakes, wakes);
}

const char *ask_argv(struct server *server, struct session *session, int argc,
                     const struct varve_slice *argv)
{
    while (try_argv(server, session, argc, argv) == PROCESSOR_COMMIT_FIRST ||
           server->step == PROCESSOR_PARK) {
        assert_int_equal(server->out.len, 0);
        if (server->step == PROCESSOR_PARK) {
            fetch_all(server);
            continue;
        }
        assert_true(varve_group_open(server->db));
        server->commit_firsts++;
        assert_int_equal(varve_group_commit(server->db, NULL), 0);
    }
    assert_int_equal(fake_db_held(server->db), 0);
    assert_int_equal(buf_append(&server->out, "", 1), 0);
    return (const char *)server->out.data;
}

static int split(const char *line, struct varve_slice argv[ARGS_MAX])
{
    int argc = 0;

    for (;;) {
        size_t len = strcspn(line, " ");
        assert_true(argc < ARGS_MAX);
        argv[argc++] = varve_slice(line, len == 2 && memcmp(line, "''", 2) == 0 ? 0 : len);
        if (line[len] == '\0')
            break;
        line += len + 1;
    }
    return argc;
}

enum processor_step try_as(struct server *server, struct session *session, const char *line)
{
    struct varve_slice argv[ARGS_MAX];

    return try_argv(server, session, split(line, argv), argv);
}

const char *ask_as(struct server *server, struct session *session, const char *line)
{
    struct varve_slice argv[ARGS_MAX];

    return ask_argv(server, session, split(line, argv), argv);
}

const char *ask(struct server *server, const char *line)
{
    return ask_as(server, server->session, line);
}
