/* Commands that would have to wait for the disk, or as writes for flushes and compactions. test_string.c
 * runs as a whole with nothing in memory; here is what a client does not see. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "client.h"
#include "cmd/ctx.h"
#include "cmd/park.h"
#include "cmd/table.h"

#define OK "+OK\r\n"

static void forget_parks(struct server *s)
{
    s->parks = 0;
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
}

/* What each command answers when any one of its keys is cold, or all are (NULL), is what it answers when
 * none is; and it parks, so many times, before its first effect. */
static const struct {
    const char *line;
    const char *cold;
    int parks;
} cases[] = {
    {"GET k1", "k1", 1},
    {"GET none", "none", 1},
    {"STRLEN k1", "k1", 1},
    {"MGET k1 none k2 k3 k1", "k1", 1},
    {"MGET k1 none k2 k3", "none", 1},
    {"MGET k1 none k2 k3", "k3", 1},
    {"MGET k1 none k2 k3", NULL, 1},
    {"EXISTS k1 none k2 k1", "k1", 1},
    {"EXISTS k1 none k2", "k2", 1},
    {"EXISTS k1 none k2", NULL, 1},
    {"TOUCH k1 none k2", NULL, 1},
    {"TYPE k1", "k1", 1},
    {"TTL k1", "k1", 1},
    {"PTTL k1", "k1", 1},
    {"EXPIRETIME k1", "k1", 1},
    {"PEXPIRETIME k1", "k1", 1},
    {"SET k1 v", "k1", 0},
    {"MSET k1 v k2 v", NULL, 0},
    {"SET k1 v NX", "k1", 1},
    {"SET none v NX", "none", 1},
    {"SET k1 v XX", "k1", 1},
    {"SET k1 v GET", "k1", 1},
    {"SET k1 v KEEPTTL", "k1", 1},
    {"SET k1 v EX", "k1", 0},
    {"APPEND k1 v", "k1", 1},
    {"INCR n", "n", 1},
    {"INCR k1", "k1", 1},
    {"DECR n", "n", 1},
    {"INCRBY n 5", "n", 1},
    {"DECRBY n 5", "n", 1},
    {"EXPIRE k1 100", "k1", 1},
    {"PEXPIRE k1 100000 XX", "k1", 1},
    {"EXPIREAT k1 1", "k1", 1},
    {"PEXPIREAT k1 1900000000000 GT", "k1", 1},
    {"PERSIST k1", "k1", 1},
    {"DEL k1", "k1", 1},
    {"DEL k1 none k2 k1", "k1", 1},
    {"DEL k1 none k2", "none", 1},
    {"DEL k1 none k2", "k2", 1},
    {"DEL k1 none k2", NULL, 1},
    {"UNLINK k1 none k2", NULL, 1},
    {"SETNX k1 v", "k1", 1},
    {"SETEX k1 10 v", NULL, 0},
    {"MSETNX none v k1 w", "none", 1},
    {"MSETNX none v k1 w", "k1", 1},
    {"MSETNX none v other w", NULL, 1},
    {"GETSET k1 v", "k1", 1},
    {"GETDEL k1", "k1", 1},
    {"GETEX k1 PERSIST", "k1", 1},
    {"SETRANGE k1 1 v", "k1", 1},
    {"GETRANGE k1 0 1", "k1", 1},
    {"INCRBYFLOAT n 1.5", "n", 1},
    {"LCS k1 k2", "k1", 1},
    {"LCS k1 k2 IDX", "k2", 1},
    {"LCS k1 k2", NULL, 1},
    {"LCS k1 none FOO", NULL, 1},
    {"RENAME k1 k2", "k1", 1},
    {"RENAME k1 k2", "k2", 0},
    {"RENAME none k2", NULL, 1},
    {"RENAME k1 k1", "k1", 1},
    {"RENAMENX k1 k2", "k2", 1},
    {"RENAMENX k1 none", NULL, 1},
    {"COPY k1 none", NULL, 1},
    {"COPY k1 k2", NULL, 1},
    {"COPY k1 k2 REPLACE", NULL, 1},
    {"COPY k1 k2 DB 1", NULL, 1},
    {"MOVE k1 1", NULL, 1},
    {"SWAPDB 0 1", NULL, 0},
    {"DUMP k1", "k1", 1},
    {"RESTORE k1 0 x", "k1", 1},
    {"RESTORE k1 0 x REPLACE", "k1", 0},
    {"OBJECT ENCODING k1", "k1", 1},
    {"OBJECT REFCOUNT k1", "k1", 1},
    {"OBJECT IDLETIME k1", "k1", 1},
    {"OBJECT FREQ k1", "k1", 1},
    {"MEMORY USAGE k1", "k1", 1},
    {"SETBIT k1 1 1", "k1", 1},
    {"SETBIT k1 x 1", "k1", 0},
    {"GETBIT k1 1", "k1", 1},
    {"BITCOUNT k1 0 1", "k1", 1},
    {"BITPOS k1 1", "k1", 1},
    {"BITOP OR k3 k1 none k2", "k2", 1},
    {"BITOP OR k3 k1 none k2", NULL, 1},
    {"BITOP OR k3 k1", "k3", 0},
    {"BITOP OR k3 none", "k3", 1},
    {"BITOP OR k3 none", NULL, 2},
    {"BITFIELD k1 GET u8 0 SET u8 0 1", "k1", 1},
    {"BITFIELD_RO k1 GET u8 0", "k1", 1},
    {"FLUSHDB", NULL, 0},
    {"FLUSHALL", NULL, 0},
    {"PING", NULL, 0},
};

static void compare_cold_with_warm(const char *line, const char *name, int parks)
{
    static const char *const prepare[] = {"SET k1 one EX 1000", "SET k2 two", "SET n 7",
                                          "SET k3 three"};
    void *warm_state;
    void *cold_state;
    char warm_reply[256];

    assert_int_equal(server_setup(&warm_state), 0);
    assert_int_equal(server_setup(&cold_state), 0);
    struct server *warm = warm_state;
    struct server *cold = cold_state;
    for (size_t c = 0; c < COUNT_OF(prepare); c++) {
        EXPECT(warm, prepare[c], OK);
        EXPECT(cold, prepare[c], OK);
    }
    forget_parks(cold);
    fake_db_chill(cold->db, name);
    snprintf(warm_reply, sizeof(warm_reply), "%s", ask(warm, line));
    EXPECT(cold, line, warm_reply);
    assert_int_equal(cold->parks, parks);
    assert_int_equal(fake_db_version_count(cold->db), fake_db_version_count(warm->db));
    assert_int_equal(cold->outcome.wait_seq, warm->outcome.wait_seq);
    assert_int_equal(fake_db_waited(cold->db), 0);
    EXPECT(cold, "MGET k1 k2 k3 n none", ask(warm, "MGET k1 k2 k3 n none"));
    server_teardown(&warm_state);
    server_teardown(&cold_state);
}

static void test_every_command__parks_at_each_of_its_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        compare_cold_with_warm(cases[i].line, cases[i].cold, cases[i].parks);
}

/* While a failed sync heals, the database's own record is read, too. */
static void test_cold_database__is_fetched_for_while_the_log_heals(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k1 a", OK);
    forget_parks(s);
    fake_db_chill(s->db, NULL);
    fake_db_refuse(s->db, VARVE_EREADONLY);
    EXPECT(s, "GET k1", "$1\r\na\r\n");
    assert_int_equal(s->parks, 2); /* for the database, and for the key in it */
    assert_int_equal(fake_db_waited(s->db), 0);
}

/* What is counted is what a client sent, however often it was tried. */
static void test_parked__is_counted_once(void **state)
{
    struct server *s = *state;
    struct keyspace_stats keys;
    struct processor_stats stats;
    const struct command *mget = command_find(NULL, varve_slice_str("mget"));

    EXPECT(s, "MSET k1 a k2 b", OK);
    forget_parks(s);
    fake_db_chill(s->db, "k2");
    uint64_t commands = s->session->command_count;
    EXPECT(s, "MGET k1 k2 none k1", "*4\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n$1\r\na\r\n");
    assert_int_equal(s->parks, 1);
    keyspace_get_stats(s->keyspace, &keys);
    assert_int_equal(keys.hits, 3);
    assert_int_equal(keys.misses, 1);
    processor_get_stats(s->processor, &stats);
    assert_int_equal(stats.commands, 2);
    assert_int_equal(stats.parked_reads, 1);
    assert_int_equal(stats.error_replies, 0);
    assert_int_equal(processor_command_stats(s->processor, mget)->calls, 1);
    assert_int_equal(s->session->command_count, commands + 1);
}

/* More keys than are fetched at once, each of which stays only while its fetch is held. */
static void test_many_cold_keys__make_progress(void **state)
{
    enum { KEYS = 2 * KEYSPACE_BLOCKED_MAX + 100 };
    static char names[KEYS][8];
    struct varve_slice argv[KEYS + 1] = {varve_slice_str("EXISTS")};
    struct server *s = *state;

    for (int i = 0; i < KEYS; i++) {
        char line[32];
        snprintf(names[i], sizeof(names[i]), "k%d", i);
        argv[1 + i] = varve_slice_str(names[i]);
        snprintf(line, sizeof(line), "SET k%d v", i);
        EXPECT(s, line, OK);
    }
    forget_parks(s);
    fake_db_chill(s->db, NULL);
    assert_string_equal(ask_argv(s, s->session, KEYS + 1, argv), ":1124\r\n");
    assert_int_equal(s->parks, 3);
    assert_int_equal(fake_db_blocked(s->db),
                     KEYS); /* each once: what is not noted is not looked for */
    argv[0] = varve_slice_str("DEL");
    assert_string_equal(ask_argv(s, s->session, KEYS + 1, argv), ":1124\r\n");
    EXPECT(s, "EXISTS k0 k1123", ":0\r\n");
    assert_int_equal(fake_db_waited(s->db), 0);
}

/* As with a memtable that is filled and flushed in the time of each fetch: others may not go on with that. */
static void test_fetched_in_vain__makes_writes_wait(void **state)
{
    struct server *s = *state;
    struct session *reader = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "MSET k1 a k2 b", OK);
    forget_parks(s);
    fake_db_chill(s->db, NULL);
    fake_db_fetch_in_vain(s->db, 1);
    for (int i = 0; i < PARK_VAIN_ROUNDS + 4; i++) {
        processor_tick(s->processor);
        assert_int_equal(try_as(s, s->session, "SET k3 c"),
                         i > PARK_VAIN_ROUNDS + 1 ? PROCESSOR_PARK : PROCESSOR_DONE);
        assert_int_equal(try_as(s, s->session, "PING"), PROCESSOR_DONE);
        assert_int_equal(try_as(s, reader, "MGET k1 k2"), PROCESSOR_PARK);
        while (fake_db_step(s->db))
            continue;
        processor_woken(s->processor);
    }
    fake_db_fetch_in_vain(s->db, 0); /* nobody wrote */
    assert_int_equal(try_as(s, reader, "MGET k1 k2"), PROCESSOR_DONE);
    assert_memory_equal(s->out.data, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", 18);
    assert_int_equal(try_as(s, s->session, "SET k3 c"), PROCESSOR_DONE);
    assert_int_equal(fake_db_waited(s->db), 0);
    session_destroy(reader);
}

/* A command that writes does not wait for itself, and a session that ends for nobody. */
static void test_fetched_in_vain__waits_for_no_ghost(void **state)
{
    struct server *s = *state;
    struct session *writer = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "MSET k1 1 k2 2", OK);
    forget_parks(s);
    fake_db_chill(s->db, "k1");
    fake_db_fetch_in_vain(s->db, 1);
    for (int i = 0; i < PARK_VAIN_ROUNDS + 3; i++) {
        assert_int_equal(try_as(s, writer, "INCR k1"), PROCESSOR_PARK);
        assert_int_equal(s->outcome.park_us, 0);
        while (fake_db_step(s->db))
            continue;
        processor_woken(s->processor);
    }
    assert_int_equal(try_as(s, s->session, "SET k2 3"), PROCESSOR_PARK);
    assert_int_equal(s->outcome.park_us, PARK_WRITE_MAX_US);
    session_destroy(writer);
    EXPECT(s, "SET k2 3", OK);
    assert_int_equal(fake_db_waited(s->db), 0);
}

/* While it waits nothing of it is there, and what others do meanwhile counts. */
static void test_parked_write__sees_what_others_did_meanwhile(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "MSET k1 1 k2 2", OK);
    forget_parks(s);
    fake_db_chill(s->db, "k1");
    uint64_t versions = fake_db_version_count(s->db);
    assert_int_equal(try_as(s, s->session, "INCR k1"), PROCESSOR_PARK);
    assert_int_equal(s->out.len, 0);
    assert_int_equal(s->outcome.park_us, 0);
    assert_int_equal(s->outcome.uncommitted, 0);
    assert_int_equal(try_as(s, s->session, "INCR k1"), PROCESSOR_PARK); /* too early */
    assert_int_equal(fake_db_held(s->db), 1);
    assert_int_equal(fake_db_version_count(s->db), versions);
    assert_int_equal(try_as(s, other, "SET k1 10"), PROCESSOR_DONE);
    assert_int_equal(s->outcome.uncommitted, 1);
    while (fake_db_step(s->db))
        continue;
    processor_woken(s->processor);
    EXPECT(s, "INCR k1", ":11\r\n");
    session_destroy(other);
}

static void test_close__of_a_parked_session(void **state)
{
    struct server *s = *state;
    struct session *early = session_create(s->processor, "a:1", "b:1", NULL, NULL);
    struct session *late = session_create(s->processor, "a:2", "b:1", NULL, NULL);

    EXPECT(s, "MSET k1 1 k2 2", OK);
    fake_db_chill(s->db, NULL);
    assert_int_equal(try_as(s, early, "MGET k1 k2"), PROCESSOR_PARK);
    assert_int_equal(try_as(s, late, "MGET k1 k2"), PROCESSOR_PARK);
    assert_int_equal(fake_db_held(s->db), 4);
    session_destroy(early);
    assert_int_equal(fake_db_held(s->db), 4); /* they run yet */
    while (fake_db_step(s->db))
        continue;
    processor_woken(s->processor);
    assert_int_equal(fake_db_held(s->db), 2);
    assert_int_equal(s->unparks, 1);
    session_destroy(late);
    assert_int_equal(fake_db_held(s->db), 0);
}

static void test_drain__gives_up_what_is_held(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MSET k1 1 k2 2", OK);
    fake_db_chill(s->db, NULL);
    assert_int_equal(try_as(s, s->session, "MGET k1 k2"), PROCESSOR_PARK);
    while (fake_db_step(s->db))
        continue;
    processor_drain(s->processor);
    assert_int_equal(fake_db_held(s->db), 0);
}

static void *step_late(void *arg)
{
    usleep(2000);
    for (int i = 0; i < 2; i++) /* and no look at the list after the last one */
        assert_true(fake_db_step(arg));
    return NULL;
}

/* The fetches end on another thread, as they do in the server. */
static void test_drain__waits_for_what_runs(void **state)
{
    struct server *s = *state;
    pthread_t thread;

    EXPECT(s, "MSET k1 1 k2 2", OK);
    fake_db_chill(s->db, NULL);
    assert_int_equal(try_as(s, s->session, "MGET k1 k2"), PROCESSOR_PARK);
    assert_int_equal(pthread_create(&thread, NULL, step_late, s->db), 0);
    processor_drain(s->processor);
    pthread_join(thread, NULL);
    assert_int_equal(fake_db_held(s->db), 0);
    assert_int_equal(s->unparks, 1);
}

/* ---- what fails ---- */

static void test_failed_fetch__is_told_without_waiting(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k1 1", OK);
    forget_parks(s);
    fake_db_chill(s->db, "k1");
    fake_db_fail_fetches(s->db, VARVE_EIO);
    const char *reply = ask(s, "GET k1");
    assert_memory_equal(reply, "-MISCONF", 8);
    assert_int_equal(s->parks, 1);
    assert_int_equal(fake_db_waited(s->db), 0);
    fake_db_fail_fetches(s->db, 0);
    EXPECT(s, "GET k1", "$1\r\n1\r\n");
    assert_int_equal(fake_db_waited(s->db), 0);
}

static void test_no_memory__for_a_fetch(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k1 1", OK);
    forget_parks(s);
    fake_db_chill(s->db, "k1");
    fake_db_refuse_fetches(s->db, 1);
    EXPECT(s, "INCR k1", "-ERR out of memory\r\n");
    assert_int_equal(s->step, PROCESSOR_DONE);
    fake_db_refuse_fetches(s->db, 0);
    EXPECT(s, "INCR k1", ":2\r\n");
}

/* ---- counts ---- */

static void test_dbsize__is_the_count_that_was_fetched(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "MSET k1 1 k2 2", OK);
    forget_parks(s);
    fake_db_chill_counts(s->db, 1);
    EXPECT(s, "DBSIZE", ":2\r\n");
    assert_int_equal(s->parks, 1);
    /* Were it counted anew until nobody writes, it would never end. */
    assert_int_equal(try_as(s, s->session, "DBSIZE"), PROCESSOR_PARK);
    assert_true(fake_db_step(s->db));
    processor_woken(s->processor);
    assert_int_equal(try_as(s, other, "SET k3 3"), PROCESSOR_DONE);
    assert_int_equal(try_as(s, s->session, "DBSIZE"), PROCESSOR_DONE);
    assert_memory_equal(s->out.data, ":2\r\n", 4);
    assert_int_equal(s->outcome.wait_seq,
                     5); /* not without what may be counted: two records a space */
    EXPECT(s, "DBSIZE", ":3\r\n");
    EXPECT(s, "FLUSHDB", OK);
    EXPECT(s, "DBSIZE", ":0\r\n");
    session_destroy(other);
}

/* What was fetched for it was counted while its writes were cut. */
static void test_transaction__counts_what_it_wrote(void **state)
{
    static const char *const queued[] = {"DEL k1", "DBSIZE", "MSET k3 3 k4 4", "DBSIZE"};
    struct server *s = *state;

    EXPECT(s, "MSET k1 1 k2 2", OK);
    fake_db_chill_counts(s->db, 1);
    EXPECT(s, "MULTI", OK);
    for (size_t i = 0; i < COUNT_OF(queued); i++)
        EXPECT(s, queued[i], "+QUEUED\r\n");
    forget_parks(s);
    EXPECT(s, "EXEC", "*4\r\n:1\r\n:1\r\n+OK\r\n:3\r\n");
    assert_int_equal(s->parks, 1);
    EXPECT(s, "DBSIZE", ":3\r\n");
}

/* A count may take minutes. */
static void test_count__is_cancelled_with_its_session(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "MSET k1 1 k2 2", OK);
    fake_db_chill_counts(s->db, 1);
    assert_int_equal(try_as(s, other, "DBSIZE"), PROCESSOR_PARK);
    session_destroy(other);
    assert_int_equal(fake_db_cancelled(s->db), 1);
    assert_int_equal(try_as(s, s->session, "DBSIZE"), PROCESSOR_PARK);
    assert_true(fake_db_step(s->db) && fake_db_step(s->db));
    assert_int_equal(fake_db_cancelled(s->db), 1);
    processor_drain(s->processor);
    assert_int_equal(fake_db_cancelled(s->db), 2);
    assert_int_equal(fake_db_held(s->db), 0);
}

static void test_info__counts_all_databases_at_once(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET a 1", OK);
    EXPECT(s, "SELECT 3", OK);
    EXPECT(s, "MSET a 1 b 2", OK);
    forget_parks(s);
    fake_db_chill_counts(s->db, 1);
    const char *reply = ask(s, "INFO keyspace");
    assert_non_null(strstr(reply, "db0:keys=101,"));
    assert_non_null(strstr(reply, "db3:keys=102,"));
    assert_int_equal(s->parks, 1);
}

static void test_info__other_sections_count_nothing(void **state)
{
    static const char *const others[] = {"INFO server", "INFO lsm", "INFO varve", "INFO stats cpu"};
    struct server *s = *state;

    EXPECT(s, "SET a 1", OK);
    forget_parks(s);
    fake_db_chill_counts(s->db, 1);
    uint64_t blocked = fake_db_blocked(s->db);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        ask(s, others[i]);
    assert_int_equal(s->parks, 0);
    assert_int_equal(fake_db_blocked(s->db), blocked);
    ask(s, "INFO");
    assert_int_equal(s->parks, 1);
}

/* Beside one another: what is about right for INFO is no answer to DBSIZE. */
static void test_dbsize__is_exact_where_info_is_not(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "SET a 1", OK);
    forget_parks(s);
    fake_db_chill_counts(s->db, 1);
    assert_int_equal(try_as(s, other, "INFO keyspace"), PROCESSOR_PARK);
    assert_int_equal(try_as(s, s->session, "DBSIZE"), PROCESSOR_PARK);
    assert_true(fake_db_step(s->db) && fake_db_step(s->db));
    processor_woken(s->processor);
    assert_int_equal(try_as(s, s->session, "DBSIZE"), PROCESSOR_DONE);
    assert_memory_equal(s->out.data, ":1\r\n", 4);
    assert_int_equal(try_as(s, other, "INFO keyspace"), PROCESSOR_DONE);
    session_destroy(other);
    EXPECT(s, "DBSIZE", ":1\r\n");
}

/* A fetch that failed is made up for by a count that waits: no exact one, that takes long. */
static void test_info__waits_for_a_sample_at_most(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET a 1", OK);
    forget_parks(s);
    fake_db_chill_counts(s->db, 1);
    fake_db_fail_fetches(s->db, VARVE_EIO);
    assert_non_null(strstr(ask(s, "INFO keyspace"), "db0:keys=101,"));
    assert_int_equal(s->parks, 1);
}

/* ---- writes that are held back ---- */

static void test_write_delay__parks_writes_for_a_time(void **state)
{
    struct server *s = *state;
    struct processor_stats stats;

    EXPECT(s, "SET k1 1", OK);
    fake_db_delay_writes(s->db, 4000, VARVE_STALL_LEVEL0);
    processor_tick(s->processor); /* a new turn */
    uint64_t asked = fake_db_delay_asked(s->db);
    assert_int_equal(try_as(s, s->session, "SET k1 2"), PROCESSOR_PARK);
    assert_int_equal(s->outcome.park_us, 4000);
    assert_int_equal(s->out.len, 0);
    assert_int_equal(try_as(s, s->session, "DEL k1"), PROCESSOR_PARK);
    assert_int_equal(fake_db_delay_asked(s->db), asked + 1); /* once a turn */
    EXPECT(s, "GET k1", "$1\r\n1\r\n");
    processor_get_stats(s->processor, &stats);
    assert_int_equal(stats.delayed_writes, 2);
    assert_int_equal(stats.delayed_writes_us, 8000);
    assert_int_equal(stats.delay_cause, VARVE_STALL_LEVEL0);

    fake_db_delay_writes(s->db, 1000000, VARVE_STALL_MEMTABLES);
    processor_tick(s->processor);
    assert_int_equal(try_as(s, s->session, "SET k1 2"), PROCESSOR_PARK);
    assert_int_equal(s->outcome.park_us, 10000);
    fake_db_delay_writes(s->db, 300, VARVE_STALL_LEVEL0); /* too short to be kept by a timer */
    processor_tick(s->processor);
    EXPECT(s, "SET k1 2", OK);
    fake_db_delay_writes(s->db, 1000, VARVE_STALL_LEVEL0);
    EXPECT(s, "SET k1 3", OK); /* as asked for in this turn */
}

/* What one turn owes, all wait for. */
static void test_slowed_writes__are_few_a_turn(void **state)
{
    struct server *s = *state;
    char *value = mem_alloc_zero(32 * 1024);
    struct varve_slice large[3] = {varve_slice_str("SET"), varve_slice_str("large"),
                                   varve_slice(value, 32 * 1024)};

    assert_non_null(value);
    fake_db_delay_writes(s->db, 0, VARVE_STALL_SPACE);
    processor_tick(s->processor);
    EXPECT(s, "SET k1 1", OK);
    assert_int_equal(try_argv(s, s->session, 3, large), PROCESSOR_DONE);
    assert_int_equal(try_as(s, s->session, "SET k1 2"), PROCESSOR_PARK);
    assert_true(s->outcome.park_us > 0);
    EXPECT(s, "GET k1", "$1\r\n1\r\n");
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    processor_tick(s->processor);
    EXPECT(s, "SET k1 2", OK);
    fake_db_delay_writes(s->db, 0, VARVE_STALL_NONE);
    processor_tick(s->processor);
    assert_int_equal(try_argv(s, s->session, 3, large), PROCESSOR_DONE);
    EXPECT(s, "SET k1 3", OK);
    mem_free(value);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_command__parks_at_each_of_its_keys),
        TEST(test_cold_database__is_fetched_for_while_the_log_heals),
        TEST(test_parked__is_counted_once),
        TEST(test_many_cold_keys__make_progress),
        TEST(test_fetched_in_vain__makes_writes_wait),
        TEST(test_fetched_in_vain__waits_for_no_ghost),
        TEST(test_parked_write__sees_what_others_did_meanwhile),
        TEST(test_close__of_a_parked_session),
        TEST(test_drain__gives_up_what_is_held),
        TEST(test_drain__waits_for_what_runs),
        TEST(test_failed_fetch__is_told_without_waiting),
        TEST(test_no_memory__for_a_fetch),
        TEST(test_dbsize__is_the_count_that_was_fetched),
        TEST(test_transaction__counts_what_it_wrote),
        TEST(test_count__is_cancelled_with_its_session),
        TEST(test_info__counts_all_databases_at_once),
        TEST(test_info__other_sections_count_nothing),
        TEST(test_dbsize__is_exact_where_info_is_not),
        TEST(test_info__waits_for_a_sample_at_most),
        TEST(test_write_delay__parks_writes_for_a_time),
        TEST(test_slowed_writes__are_few_a_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
