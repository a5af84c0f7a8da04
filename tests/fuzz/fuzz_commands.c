/* Any stream of commands, by two clients in either protocol, on the real engine: each reply is the oracle's
 * (command_oracle.h), whatever was flushed, compacted, reopened and has expired in between.
 *
 * Input: for each step a byte: below META what happens beside the commands, from BITS on a command on bits, with
 * its arguments behind it, else a command; then its number of arguments, and for each a byte: a key, a number, a
 * word, or so many bytes as they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "cmd/processor.h"
#include "cmd/session.h"
#include "command_oracle.h"
#include "config/config.h"
#include "fuzz.h"
#include "metrics/metrics.h"
#include "reply.h"
#include "take.h"
#include "types/keyspace.h"

#define STEPS_MAX 150
#define META 40
#define BITS 240 /* from here on: a command on bits */
#define BITS_BELOW 1000
#define BITS_POSITION_MAX                                                                          \
    (16384 + BITS_BELOW) /* values of 2 KB at most: the oracle's are bounded */
#define ARGS_MAX 10
#define SESSIONS 2
#define PARKS_MAX 1000
#define NESTED_MAX 200000

const struct fuzz_token fuzz_tokens[] = {
    FUZZ_TOKEN("\x08\x10"),   FUZZ_TOKEN("\x03\x10"),
    FUZZ_TOKEN("\x10"),       FUZZ_TOKEN("\x18"),
    FUZZ_TOKEN("\x20"),       FUZZ_TOKEN("\x2b\x02\0\x40"),
    FUZZ_TOKEN("\x28\x01\0"), {NULL, 0},
};

static const char *const names[] = {
    "GET",     "mget",     "STRLEN",    "SET",     "MSET",   "APPEND",     "INCR",        "DECR",
    "INCRBY",  "DECRBY",   "DEL",       "UNLINK",  "EXISTS", "TOUCH",      "TYPE",        "EXPIRE",
    "PEXPIRE", "EXPIREAT", "PEXPIREAT", "TTL",     "PTTL",   "EXPIRETIME", "PEXPIRETIME", "PERSIST",
    "FLUSHDB", "FLUSHALL", "SELECT",    "ECHO",    "DBSIZE", "SET",        "SET",         "APPEND",
    "PING",    "HELLO",    "CLIENT",    "COMMAND", "STRLEN", "INFO",       "nothing",     "DEL",
};

static const char *const numbers[] = {
    "0",
    "1",
    "-1",
    "7",
    "100",
    "1000",
    "5000",
    "1700000001000",
    "1700000002",
    "-0",
    "01",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "9223372036854774",
    "15",
};

static const char *const words[] = {
    "NX", "XX", "GET",   "KEEPTTL", "EX",      "PX",      "EXAT", "PXAT",
    "gt", "lt", "ASYNC", "SYNC",    "nothing", "a value", "10",   "",
};

struct server {
    struct bed bed;
    struct config *config;
    struct metrics metrics;
    struct keyspace *keyspace;
    struct processor *processor;
    struct session *session[SESSIONS];
    int now; /* the session that asks */
    int db[SESSIONS];
    int proto[SESSIONS];
    struct buf out;
    struct oracle oracle;
};

static void on_nothing(void *arg)
{
    (void)arg;
}

static void on_unpark(void *arg, void *figures_arg)
{
    (void)arg;
    (void)figures_arg;
}

static void server_open(struct server *server)
{
    struct processor_host host = {
        .arg = server, .wake = on_nothing, .unpark = on_unpark, .shutdown = on_nothing};

    bed_open_ok(&server->bed);
    CHECK(keyspace_open(server->bed.db, &server->keyspace, NULL) == 0);
    server->processor = processor_create(server->keyspace, server->config, &server->metrics, &host);
    CHECK(server->processor != NULL);
    for (int i = 0; i < SESSIONS; i++) {
        server->session[i] = session_create(server->processor, "127.0.0.1:5000", "127.0.0.1:6379",
                                            NULL, NULL);
        CHECK(server->session[i] != NULL);
        server->session[i]->db = server->db[i];
        server->session[i]->proto = server->proto[i];
    }
}

static void server_close(struct server *server)
{
    for (int i = 0; i < SESSIONS; i++)
        session_destroy(server->session[i]);
    processor_destroy(server->processor);
    keyspace_close(server->keyspace);
    bed_close_ok(&server->bed);
}

static struct server *server_create(void)
{
    struct server *server = calloc(1, sizeof(*server));

    CHECK(server != NULL);
    bed_init(&server->bed, 1);
    server->bed.options.count_group = keycode_count_group;
    server->bed.options.memtable_size_bytes = 64 * 1024;
    server->bed.options.block_size_bytes = 512;
    server->config = config_create();
    CHECK(server->config != NULL && metrics_init(&server->metrics) == 0);
    buf_init(&server->out, (size_t)16 * 1024 * 1024);
    for (int i = 0; i < SESSIONS; i++)
        server->proto[i] = 2;
    oracle_init(&server->oracle);
    server_open(server);
    return server;
}

static void server_destroy(struct server *server)
{
    server_close(server);
    bed_deinit(&server->bed);
    config_destroy(server->config);
    buf_deinit(&server->out);
    oracle_deinit(&server->oracle);
    free(server);
}

static void commit(struct server *server)
{
    CHECK(varve_group_commit(server->bed.db, NULL) == 0);
}

/* Runs the command until it is done, bringing what it waits for. */
static void ask(struct server *server, int argc, const struct varve_slice *argv)
{
    struct session *session = server->session[server->now];
    struct processor_outcome outcome;
    struct resp_writer writer = {.out = &server->out, .proto = session->proto};

    buf_clear(&server->out);
    for (int parks = 0;;) {
        enum processor_step step = processor_run(server->processor, session, argc, argv, &writer,
                                                 &outcome);
        CHECK(writer.failed == 0);
        if (step == PROCESSOR_DONE)
            return;
        if (step != PROCESSOR_PARK)
            commit(server);
        if (step == PROCESSOR_COMMIT_NOW)
            return;
        CHECK(server->out.len == 0 && ++parks < PARKS_MAX);
        if (step != PROCESSOR_PARK)
            continue;
        if (outcome.park_us > 0)
            commit(server);
        bed_run(&server->bed);
        processor_woken(server->processor);
    }
}

/* One whole reply and nothing behind it. */
static void check_well_formed(const struct server *server, int proto)
{
    struct take from = take_from(server->out.data, server->out.len);
    struct reply reply;
    int64_t missing = 1;

    for (int read = 0; missing > 0; read++, missing--) {
        CHECK(read < NESTED_MAX && reply_read(&from, proto, &reply) == 0);
        if (strchr("*~>%", reply.type) != NULL && !reply.is_null)
            missing += reply.type == '%' ? 2 * reply.number : reply.number;
    }
    CHECK(take_left(&from) == 0);
}

static void check_reply(struct server *server, enum oracle_answer answer, int proto)
{
    const struct oracle *oracle = &server->oracle;
    struct take from = take_from(server->out.data, server->out.len);
    struct reply reply;

    check_well_formed(server, proto);
    if (answer == ORACLE_REPLY) {
        if (server->out.len != oracle->reply_len ||
            memcmp(server->out.data, oracle->reply, oracle->reply_len) != 0)
            fprintf(stderr, "is:\n%.*s\nwanted:\n%.*s\n", (int)server->out.len,
                    (const char *)server->out.data, (int)oracle->reply_len, oracle->reply);
        CHECK(server->out.len == oracle->reply_len);
        CHECK(memcmp(server->out.data, oracle->reply, oracle->reply_len) == 0);
    } else if (answer == ORACLE_COUNT) {
        CHECK(reply_read(&from, proto, &reply) == 0 && reply.type == ':');
        CHECK((uint64_t)reply.number >= oracle->count_min);
        CHECK((uint64_t)reply.number <= oracle->count_max);
    }
}

static void run_command(struct server *server, int argc, const struct varve_slice *argv)
{
    int now = server->now;
    struct session *session = server->session[now];
    struct oracle *oracle = &server->oracle;

    oracle->now_ms = varve_now_ms(server->bed.db);
    oracle->db = server->db[now];
    oracle->proto = server->proto[now];
    enum oracle_answer answer = oracle_run(oracle, argc, argv);
    ask(server, argc, argv);
    if (answer == ORACLE_ANY) /* HELLO: the reply is in what it chose */
        server->proto[now] = session->proto;
    check_reply(server, answer, server->proto[now]);
    server->db[now] = oracle->db;
    CHECK(session->proto == server->proto[now] && session->db == server->db[now]);
}

static struct varve_slice take_arg(struct take *take, char key[4])
{
    uint8_t what = take_byte(take);

    if (what < 64) {
        snprintf(key, 4, "k%d", what % 6);
        return varve_slice_str(key);
    }
    if (what < 128)
        return varve_slice_str(numbers[what % COUNT_OF(numbers)]);
    if (what < 192)
        return varve_slice_str(words[what % COUNT_OF(words)]);
    return take_slice(take, what & 31);
}

static void take_command(struct server *server, uint8_t what, struct take *take)
{
    struct varve_slice argv[ARGS_MAX + 1];
    char keys[ARGS_MAX][4];
    int argc = 1 + take_byte(take) % ARGS_MAX;

    argv[0] = varve_slice_str(names[what % COUNT_OF(names)]);
    for (int i = 1; i < argc; i++)
        argv[i] = take_arg(take, keys[i - 1]);
    run_command(server, argc, argv);
}

/* A command on bits, of a right form, and what it is given by in 16 bits: a position, or the ends of a range. */
static void take_bits(struct server *server, uint8_t what, struct take *take)
{
    static const char *const forms[] = {
        "GETBIT k n",      "SETBIT k n b",       "SETBIT k n b",       "SETBIT k n b",
        "BITCOUNT k",      "BITCOUNT k n n",     "BITCOUNT k n n BIT", "BITPOS k b",
        "BITPOS k b n n",  "BITPOS k b n n BIT", "BITOP AND k k k",    "BITOP OR k k k k",
        "BITOP XOR k k k", "BITOP NOT k k",      "BITOP OR k k",       "BITOP XOR k k k k"};
    struct varve_slice argv[ARGS_MAX];
    char texts[ARGS_MAX][16];
    int argc = 0;

    for (const char *at = forms[what % COUNT_OF(forms)]; *at != '\0'; argc++) {
        size_t len = strcspn(at, " ");
        if (*at == 'k')
            snprintf(texts[argc], sizeof(texts[0]), "k%d", take_byte(take) % 6);
        else if (*at == 'n')
            snprintf(texts[argc], sizeof(texts[0]), "%d",
                     (int)take_number(take, 2) % BITS_POSITION_MAX - BITS_BELOW);
        else if (*at == 'b')
            snprintf(texts[argc], sizeof(texts[0]), "%d", take_byte(take) & 1);
        else
            snprintf(texts[argc], sizeof(texts[0]), "%.*s", (int)len, at);
        argv[argc] = varve_slice_str(texts[argc]);
        at += len + (at[len] == ' ');
    }
    run_command(server, argc, argv);
}

static void take_meta(struct server *server, uint8_t what, struct take *take)
{
    static const uint64_t steps_us[] = {1000, 100000, 999000, 1000000, 1001000, 60000000};

    switch (what / 8) {
    case 0:
        commit(server);
        sim_clock_advance_us(server->bed.sim, steps_us[take_byte(take) % COUNT_OF(steps_us)]);
        break;
    case 1:
        commit(server);
        bed_flush_ok(&server->bed);
        break;
    case 2:
        commit(server);
        if (what % 8 == 0)
            CHECK(varve_compact(server->bed.db, NULL) == 0);
        else
            bed_pass_us(&server->bed, 1000);
        break;
    case 3:
        server_close(server);
        server_open(server);
        break;
    case 4:
        server->now = !server->now;
        if (what % 8 < 2) {
            server->proto[server->now] = 2 + what % 2;
            server->session[server->now]->proto = server->proto[server->now];
        }
        break;
    default: CHECK(0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct take take = take_from(data, size);
    struct server *server = server_create();

    for (int i = 0; i < STEPS_MAX && take_left(&take) > 0; i++) {
        uint8_t what = take_byte(&take);
        if (what < META)
            take_meta(server, what, &take);
        else if (what >= BITS)
            take_bits(server, what, &take);
        else
            take_command(server, what, &take);
    }
    server_destroy(server);
    return 0;
}
