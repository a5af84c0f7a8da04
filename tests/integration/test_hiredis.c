/* The real server (VARVED of the environment) and hiredis: what a C client does with it. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PIPELINE_COUNT 10000
#define BIG_BYTES ((size_t)64 << 20)
#define START_TIMEOUT_MS 60000
#define STEP_MS 5
#define REPLY_TIMEOUT_S 60

extern char **environ;

struct fixture {
    char folder[64]; /* /tmp/...; the data lie in it */
    int port;
    pid_t pid;
    redisContext *redis;
};

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(probe >= 0);
    assert_int_equal(bind(probe, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(probe, (struct sockaddr *)&address, &length), 0);
    close(probe);
    return ntohs(address.sin_port);
}

/* Connects as soon as the server listens. */
static redisContext *connect_soon(const struct fixture *f)
{
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
    const struct timeval reply_timeout = {.tv_sec = REPLY_TIMEOUT_S};

    for (int waited_ms = 0; waited_ms < START_TIMEOUT_MS; waited_ms += STEP_MS) {
        redisContext *redis = redisConnect("127.0.0.1", f->port);

        assert_non_null(redis);
        if (redis->err == 0) {
            assert_int_equal(redisSetTimeout(redis, reply_timeout), REDIS_OK);
            return redis;
        }
        redisFree(redis);
        assert_int_equal(waitpid(f->pid, NULL, WNOHANG), 0);
        nanosleep(&step, NULL);
    }
    fail_msg("the server does not listen");
    return NULL;
}

static void start_server(struct fixture *f)
{
    const char *program = getenv("VARVED");
    posix_spawn_file_actions_t actions;
    char port_option[] = "--port", dir_option[] = "--dir", port[16], log[80];

    if (program == NULL)
        fail_msg("VARVED does not name the server");
    f->port = free_port();
    snprintf(port, sizeof port, "%d", f->port);
    snprintf(log, sizeof log, "%s/log", f->folder);
    char *const argv[] = {
        (char *)(uintptr_t)program, port_option, port, dir_option, f->folder, NULL};

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_int_equal(posix_spawn(&f->pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    f->redis = connect_soon(f);
}

static void stop_server(struct fixture *f, int signal_no)
{
    int status = 0;

    redisFree(f->redis);
    f->redis = NULL;
    kill(f->pid, signal_no);
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    if (signal_no == SIGKILL) {
        assert_true(WIFSIGNALED(status));
    } else {
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    snprintf(f->folder, sizeof f->folder, "/tmp/varve-hiredis-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    start_server(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[96];

    if (f->redis != NULL)
        stop_server(f, SIGTERM);
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* ---- replies ---- */

static redisReply *command(struct fixture *f, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    redisReply *reply = redisvCommand(f->redis, format, args);
    va_end(args);
    if (reply == NULL)
        fail_msg("%s: %s", format, f->redis->errstr);
    return reply;
}

static void expect_ok(redisReply *reply)
{
    assert_int_equal(reply->type, REDIS_REPLY_STATUS);
    assert_string_equal(reply->str, "OK");
    freeReplyObject(reply);
}

static void expect_integer(redisReply *reply, long long wanted)
{
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    assert_int_equal(reply->integer, wanted);
    freeReplyObject(reply);
}

static void expect_bytes(redisReply *reply, const void *wanted, size_t len)
{
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_int_equal(reply->len, len);
    if (memcmp(reply->str, wanted, len) != 0)
        fail_msg("other bytes than were set");
    freeReplyObject(reply);
}

static void expect_nil(redisReply *reply)
{
    assert_int_equal(reply->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
}

static void expect_error(redisReply *reply, const char *wanted)
{
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    assert_string_equal(reply->str, wanted);
    freeReplyObject(reply);
}

static redisReply *next_reply(struct fixture *f)
{
    void *reply = NULL;

    if (redisGetReply(f->redis, &reply) != REDIS_OK)
        fail_msg("no reply: %s", f->redis->errstr);
    return reply;
}

/* ---- tests ---- */

static void test_commands__answer_as_redis(void **state)
{
    struct fixture *f = *state;

    expect_ok(command(f, "SET %s %s", "key", "value"));
    expect_bytes(command(f, "GET key"), "value", 5);
    expect_nil(command(f, "GET absent"));
    expect_nil(command(f, "SET key other NX"));
    expect_integer(command(f, "INCRBY n %lld", 41LL), 41);
    expect_integer(command(f, "DEL key n absent"), 2);
    expect_integer(command(f, "DBSIZE"), 0);
    expect_error(command(f, "GET"), "ERR wrong number of arguments for 'get' command");
    expect_error(command(f, "NONSENSE"),
                 "ERR unknown command 'NONSENSE', with args beginning with: ");

    redisReply *reply = command(f, "MGET a b c");
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    assert_int_equal(reply->elements, 3);
    assert_int_equal(reply->element[1]->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
}

static void test_pipeline__answers_in_order(void **state)
{
    struct fixture *f = *state;
    char value[32];

    for (int i = 0; i < PIPELINE_COUNT; i++) {
        assert_int_equal(redisAppendCommand(f->redis, "SET key:%d value:%d", i, i), REDIS_OK);
        assert_int_equal(redisAppendCommand(f->redis, "GET key:%d", i), REDIS_OK);
    }
    assert_int_equal(redisAppendCommand(f->redis, "DBSIZE"), REDIS_OK);
    for (int i = 0; i < PIPELINE_COUNT; i++) {
        expect_ok(next_reply(f));
        int len = snprintf(value, sizeof value, "value:%d", i);
        expect_bytes(next_reply(f), value, (size_t)len);
    }
    expect_integer(next_reply(f), PIPELINE_COUNT);
}

static void test_keys_and_values__are_binary(void **state)
{
    struct fixture *f = *state;
    char all[256];

    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    for (size_t len = 0; len <= sizeof all; len++) {
        expect_ok(command(f, "SET %b %b", all, len, all + sizeof all - len, len));
        expect_bytes(command(f, "GET %b", all, len), all + sizeof all - len, len);
    }
    expect_integer(command(f, "DBSIZE"), 257);
    for (size_t len = 0; len <= sizeof all; len++)
        expect_bytes(command(f, "GET %b", all, len), all + sizeof all - len, len);
}

static void test_big_value__comes_back_after_kill(void **state)
{
    struct fixture *f = *state;
    char *big = malloc(BIG_BYTES);
    uint64_t word = 88172645463325252U;

    assert_non_null(big);
    for (size_t i = 0; i < BIG_BYTES; i += sizeof word) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        memcpy(big + i, &word, sizeof word);
    }
    expect_ok(command(f, "SET big %b", big, BIG_BYTES));
    expect_integer(command(f, "STRLEN big"), (long long)BIG_BYTES);
    expect_bytes(command(f, "GET big"), big, BIG_BYTES);
    expect_ok(command(f, "SET %b key", big, (size_t)1 << 20));
    stop_server(f, SIGKILL);
    start_server(f);
    expect_bytes(command(f, "GET big"), big, BIG_BYTES);
    expect_bytes(command(f, "GET %b", big, (size_t)1 << 20), "key", 3);
    expect_integer(command(f, "DEL big"), 1);
    free(big);
}

static void test_kill__leaves_what_was_answered(void **state)
{
    struct fixture *f = *state;
    long long answered = 0;

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 100; i++)
            expect_integer(command(f, "INCR n"), ++answered);
        expect_ok(command(f, "SET round %d", round));
        redisAppendCommand(f->redis, "INCR unanswered");
        int done = 0;
        redisBufferWrite(f->redis, &done);
        stop_server(f, SIGKILL);
        start_server(f);
        expect_integer(command(f, "STRLEN round"), 1);
        expect_integer(command(f, "INCRBY n 0"), answered);
        redisReply *reply = command(f, "INCRBY unanswered 0");
        assert_in_range(reply->integer, 0, round + 1);
        freeReplyObject(reply);
    }
}

static void test_protocol_error__is_said_and_closes(void **state)
{
    struct fixture *f = *state;

    expect_ok(command(f, "SET key value"));
    assert_int_equal(redisAppendFormattedCommand(f->redis, "*1\r\n!4\r\n", 8), REDIS_OK);
    expect_error(next_reply(f), "ERR Protocol error: expected '$', got '!'");
    void *reply = NULL;
    assert_int_equal(redisGetReply(f->redis, &reply), REDIS_ERR);
    assert_int_equal(f->redis->err, REDIS_ERR_EOF);
    assert_int_equal(redisReconnect(f->redis), REDIS_OK);
    expect_bytes(command(f, "GET key"), "value", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands__answer_as_redis, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipeline__answers_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_and_values__are_binary, setup, teardown),
        cmocka_unit_test_setup_teardown(test_big_value__comes_back_after_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill__leaves_what_was_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_protocol_error__is_said_and_closes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
