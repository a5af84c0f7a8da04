/* MULTI, EXEC, WATCH: what a client does not see of them, and what the differential files cannot do: cold
 * keys, refused writes, commits that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "client.h"
#include "cmd/ctx.h"
#include "cmd/table.h"

#define OK "+OK\r\n"
#define QUEUED "+QUEUED\r\n"
#define NIL "*-1\r\n"

static void commit(struct server *s)
{
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    s->parks = 0;
}

static void queue(struct server *s, const char *const *lines, size_t count)
{
    EXPECT(s, "MULTI", OK);
    for (size_t i = 0; i < count; i++)
        EXPECT(s, lines[i], QUEUED);
}

/* ---- all or nothing ---- */

static const char *const four[] = {"INCR n", "APPEND k x", "GET n", "SET new v"};
#define FOUR_REPLY "*4\r\n:8\r\n:4\r\n$1\r\n8\r\n+OK\r\n"

static void test_exec__with_cold_keys_has_one_effect(void **state)
{
    static const char *const cold[] = {"n", "k", "new", NULL};
    struct server *s = *state;

    for (size_t i = 0; i < COUNT_OF(cold); i++) {
        EXPECT(s, "FLUSHALL", OK);
        EXPECT(s, "MSET n 7 k abc", OK);
        commit(s);
        fake_db_chill(s->db, cold[i]);
        uint64_t versions = fake_db_version_count(s->db);
        queue(s, four, COUNT_OF(four));
        EXPECT(s, "EXEC", FOUR_REPLY);
        assert_int_equal(fake_db_version_count(s->db), versions + 3);
        assert_int_equal(fake_db_waited(s->db), 0);
        EXPECT(s, "EXEC", "-ERR EXEC without MULTI\r\n");
    }
    assert_true(s->parks > 0);
}

/* The commands before the cold key ran, and what others did while EXEC was parked counts. */
static void test_exec__parked_has_written_nothing(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "MSET n 7 k abc", OK);
    commit(s);
    fake_db_chill(s->db, "k");
    queue(s, four, COUNT_OF(four));
    assert_int_equal(try_as(s, s->session, "EXEC"), PROCESSOR_PARK);
    assert_false(varve_group_open(s->db));
    assert_int_equal(try_as(s, other, "INCR n"), PROCESSOR_DONE);
    commit(s);
    while (fake_db_step(s->db))
        continue;
    processor_woken(s->processor);
    EXPECT(s, "EXEC", "*4\r\n:9\r\n:4\r\n$1\r\n9\r\n+OK\r\n");
    session_destroy(other);
}

/* Connections that come from another loop renew the clock amid a turn. */
static void test_exec__runs_again_after_a_tick_amid_its_group(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MULTI", OK);
    EXPECT(s, "INCR n", "+QUEUED\r\n");
    EXPECT(s, "EXEC", "*1\r\n:1\r\n");
    processor_tick(s->processor);
    fake_db_fail_commit(s->db);
    assert_int_not_equal(varve_group_commit(s->db, NULL), 0);
    processor_group_ended(s->processor, 0);
    processor_rewind(s->processor, s->session);
    EXPECT(s, "EXEC", "*1\r\n:1\r\n");
}

static void test_exec__is_counted_once(void **state)
{
    struct server *s = *state;
    struct processor_stats before, after;
    struct keyspace_stats keys;

    EXPECT(s, "MSET n 7 k abc", OK);
    commit(s);
    fake_db_chill(s->db, "k");
    queue(s, four, COUNT_OF(four));
    processor_get_stats(s->processor, &before);
    EXPECT(s, "EXEC", FOUR_REPLY);
    processor_get_stats(s->processor, &after);
    assert_int_equal(after.commands - before.commands, 5);
    keyspace_get_stats(s->keyspace, &keys);
    assert_int_equal(keys.hits, 1);
    const struct command *incr = command_find(NULL, varve_slice_str("incr"));
    assert_int_equal(processor_command_stats(s->processor, incr)->calls, 1);
}

/* What cannot be taken back is not done twice: such a transaction waits for the disk. */
static void test_exec__with_effects_beyond_the_keys_runs_once(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k abc", OK);
    commit(s);
    fake_db_chill(s->db, "k");
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "CLIENT SETNAME a", QUEUED);
    EXPECT(s, "GET k", QUEUED);
    EXPECT(s, "EXEC", "*2\r\n+OK\r\n$3\r\nabc\r\n");
    assert_int_equal(s->parks, 0);
    assert_int_equal(fake_db_waited(s->db), 1);
    EXPECT(s, "GET k", "$3\r\nabc\r\n");
    assert_int_equal(s->parks, 1);
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SELECT 1", QUEUED);
    EXPECT(s, "SELECT 0", QUEUED);
    EXPECT(s, "GET k", QUEUED);
    EXPECT(s, "EXEC", "*3\r\n+OK\r\n+OK\r\n$3\r\nabc\r\n");
    assert_int_equal(s->parks, 2);
}

/* A write that the engine refuses half-way takes the others with it; an error of a command does not. */
static void test_exec__refused_half_way(void **state)
{
    static const int codes[] = {VARVE_ENOMEM, VARVE_ENOSPC, VARVE_EFULL};
    struct server *s = *state;

    EXPECT(s, "MSET n 7 k abc", OK);
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        queue(s, four, COUNT_OF(four));
        fake_db_refuse_nth(s->db, 2, codes[i]);
        const char *reply = ask(s, "EXEC");
        assert_memory_equal(reply, "-EXECABORT Transaction discarded because of: ", 45);
        assert_true(s->outcome.wait_seq <= fake_db_version_count(s->db)); /* not for what is gone */
        EXPECT(s, "MGET n k new", "*3\r\n$1\r\n7\r\n$3\r\nabc\r\n$-1\r\n");
        EXPECT(s, "EXEC", "-ERR EXEC without MULTI\r\n");
    }
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "INCR n", QUEUED);
    EXPECT(s, "INCR k", QUEUED);
    EXPECT(s, "EXEC", "*2\r\n:8\r\n-ERR value is not an integer or out of range\r\n");
    EXPECT(s, "GET n", "$1\r\n8\r\n");
}

static void test_exec__of_writes_while_they_are_refused(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k v", OK);
    commit(s);
    queue(s, four, COUNT_OF(four));
    fake_db_refuse(s->db, VARVE_EREADONLY);
    EXPECT(
        s, "EXEC",
        "-EXECABORT Transaction discarded because of: MISCONF Writes are refused: refused by the "
        "test\r\n");
    EXPECT(s, "MULTI", OK);
    assert_memory_equal(ask(s, "SET k w"), "-MISCONF", 8);
    EXPECT(s, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "GET k", QUEUED);
    EXPECT(s, "EXEC", "*1\r\n$1\r\nv\r\n");
}

/* What EXEC goes by is not among what CONFIG RESETSTAT resets. */
static void test_exec__that_resets_the_counters(void **state)
{
    struct server *s = *state;

    fake_db_refuse_nth(s->db, 1, VARVE_ENOSPC);
    assert_memory_equal(ask(s, "SET k v"), "-MISCONF", 8);
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SET a 1", QUEUED);
    EXPECT(s, "CONFIG RESETSTAT", QUEUED);
    EXPECT(s, "EXEC", "*2\r\n+OK\r\n+OK\r\n");
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SET a 2", QUEUED);
    EXPECT(s, "CONFIG RESETSTAT", QUEUED);
    EXPECT(s, "SET b 2", QUEUED);
    fake_db_refuse_nth(s->db, 2, VARVE_ENOSPC);
    assert_memory_equal(ask(s, "EXEC"), "-EXECABORT", 10);
    EXPECT(s, "MGET a b", "*2\r\n$1\r\n1\r\n$-1\r\n");
}

/* Waiting for a flush helps what the memtables have no room for now, not what will never fit. */
static void test_exec__full_memtables(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "MSET n 7 k abc", OK);
    commit(s);
    queue(s, four, COUNT_OF(four));
    fake_db_refuse_nth(s->db, 2, VARVE_WOULD_BLOCK);
    assert_int_equal(try_as(s, s->session, "EXEC"), PROCESSOR_PARK);
    assert_false(varve_group_open(s->db));
    fake_db_fill_group(s->db, 1);
    ask_as(s, other, "SET o v"); /* what is full is not the transaction's alone */
    fake_db_refuse_nth(s->db, 2, VARVE_WOULD_BLOCK);
    assert_int_equal(try_as(s, s->session, "EXEC"), PROCESSOR_PARK);
    commit(s);
    fake_db_refuse_nth(s->db, 2, VARVE_WOULD_BLOCK);
    EXPECT(s, "EXEC",
           "-EXECABORT Transaction discarded because of: OOM command refused: a transaction may "
           "not fill more than a memtable (memtable-size)\r\n");
    fake_db_fill_group(s->db, 0);
    EXPECT(s, "MGET n k new", "*3\r\n$1\r\n7\r\n$3\r\nabc\r\n$-1\r\n");
    session_destroy(other);
}

/* The map of databases is a part of what is cut. */
static void test_exec__cut_with_new_and_flushed_databases(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k v", OK);
    commit(s);
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "FLUSHDB", QUEUED);
    EXPECT(s, "SELECT 3", QUEUED);
    EXPECT(s, "SET a b", QUEUED);
    EXPECT(s, "SET c d", QUEUED);
    fake_db_refuse_nth(s->db, 3, VARVE_ENOSPC);
    assert_memory_equal(ask(s, "EXEC"), "-EXECABORT", 10);
    EXPECT(s, "GET k", "$1\r\nv\r\n");
    assert_int_equal(s->session->db, 0);
    EXPECT(s, "SELECT 3", OK);
    EXPECT(s, "GET a", "$-1\r\n");
    EXPECT(s, "SET a b", OK);
    commit(s);
    EXPECT(s, "GET a", "$1\r\nb\r\n");
}

/* ---- a commit that fails: the commands of the turn run again ---- */

static void fail_commit(struct server *s)
{
    fake_db_fail_commit(s->db);
    assert_int_equal(varve_group_commit(s->db, NULL), VARVE_EIO);
    fake_db_refuse(s->db, VARVE_EREADONLY);
    processor_rewind(s->processor, s->session);
}

#define ABORTED                                                                                    \
    "-EXECABORT Transaction discarded because of: MISCONF Writes are refused: refused by the "     \
    "test\r\n"

static void test_rewind__gives_exec_its_queue_back(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SET a 1", QUEUED);
    processor_tick(s->processor);
    EXPECT(s, "SET b 2", QUEUED);
    EXPECT(s, "EXEC", "*2\r\n+OK\r\n+OK\r\n");
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SET c 3", QUEUED);
    fail_commit(s);
    /* Of these the net layer runs again what came with an open group. */
    EXPECT(s, "EXEC", ABORTED);
    EXPECT(s, "MULTI", OK);
    assert_memory_equal(ask(s, "SET c 3"), "-MISCONF", 8);
    EXPECT(s, "DISCARD", OK);
    EXPECT(s, "MGET a b c", "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
}

static void test_rewind__of_a_transaction_that_is_open_still(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k v", OK); /* the group is open */
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "GET k", QUEUED);
    fail_commit(s);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "GET k", QUEUED);
    fake_db_refuse(s->db, 0);
    EXPECT(s, "EXEC", "*1\r\n$-1\r\n");
}

/* The reply to a command that is refused before it runs is cut back with the others, so it is made anew. */
static void test_rewind__takes_rejected_commands_along(void **state)
{
    struct server *s = *state;

    EXPECT(s, "NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: \r\n");
    assert_false(s->outcome.uncommitted);
    EXPECT(s, "MULTI", OK);
    processor_tick(s->processor);
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);
    ask_as(s, other, "SET b 2");
    ask(s, "EXEC x");
    assert_true(s->outcome.uncommitted);
    fail_commit(s);
    assert_memory_equal(ask(s, "EXEC x"), "-EXECABORT", 10);
    session_destroy(other);
}

/* A group that was committed is not gone back behind. */
static void test_rewind__not_behind_a_commit(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SET a 1", QUEUED);
    EXPECT(s, "EXEC", "*1\r\n+OK\r\n");
    commit(s);
    EXPECT(s, "SET b 2", OK);
    fail_commit(s);
    EXPECT(s, "EXEC", "-ERR EXEC without MULTI\r\n");
}

/* MULTI and what came before the group was open do not run again: their effect stays. */
static void test_rewind__keeps_what_came_before_the_group(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    processor_tick(s->processor);
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SET a 1", QUEUED);
    EXPECT(s, "EXEC", "*1\r\n+OK\r\n");
    fail_commit(s);
    EXPECT(s, "EXEC", ABORTED);
    fake_db_refuse(s->db, 0);
    processor_tick(s->processor);
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SET a 1", QUEUED);
    assert_string_equal(ask_as(s, other, "SET b 2"), OK); /* it opens the group */
    EXPECT(s, "SET c 3", QUEUED);
    EXPECT(s, "EXEC", "*2\r\n+OK\r\n+OK\r\n");
    fail_commit(s);
    assert_memory_equal(ask(s, "SET c 3"), "-MISCONF", 8);
    EXPECT(s, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    session_destroy(other);
}

static void test_rewind__keeps_the_database_chosen_before_the_group(void **state)
{
    struct server *s = *state;

    processor_tick(s->processor);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "SELECT 3", OK);
    EXPECT(s, "SET a 1", OK);
    fail_commit(s);
    assert_int_equal(s->session->db, 3);
}

/* ---- WATCH ---- */

static void expect_exec(struct server *s, const char *reply)
{
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "PING", QUEUED);
    EXPECT(s, "EXEC", reply);
}

#define RAN "*1\r\n+PONG\r\n"

static void test_watch__sees_each_kind_of_change(void **state)
{
    static const struct {
        const char *watch;
        const char *change;
        const char *reply;
    } cases[] = {
        {"WATCH k", "GET k", RAN},         {"WATCH k", "SET k v", NIL},
        {"WATCH k", "SET other v", RAN},   {"WATCH k", "DEL k", NIL},
        {"WATCH k", "EXPIRE k 100", NIL},  {"WATCH k", "PERSIST k", RAN},
        {"WATCH none", "SET none v", NIL}, {"WATCH none", "DEL none", RAN},
        {"WATCH k", "FLUSHDB", NIL},       {"WATCH none", "FLUSHDB", RAN},
        {"WATCH k", "FLUSHALL", NIL},      {"WATCH none k", "APPEND k x", NIL},
        {"WATCH k k", "SET k v", NIL},     {"WATCH none", "FLUSHALL", RAN},
        {"WATCH ''", "SET '' v", NIL},
    };
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        EXPECT(s, "FLUSHALL", OK);
        EXPECT(s, "SET k v", OK);
        commit(s);
        EXPECT(s, cases[i].watch, OK);
        ask_as(s, other, cases[i].change);
        commit(s);
        expect_exec(s, cases[i].reply);
        expect_exec(s, RAN); /* nothing is watched any more */
    }
    session_destroy(other);
}

static void test_watch__of_what_comes_and_goes(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SELECT 3", OK); /* empty: it has no keys' space yet */
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "SET k v", OK);
    EXPECT(s, "DEL k", ":1\r\n");
    expect_exec(s, NIL);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "SELECT 4", OK);
    EXPECT(s, "SET other v", OK);
    EXPECT(s, "SELECT 3", OK);
    expect_exec(s, RAN); /* the tombstone is older than the look */
}

static void test_watch__of_what_expires(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k v PX 1000", OK);
    EXPECT(s, "WATCH k", OK);
    expect_exec(s, RAN);
    EXPECT(s, "WATCH k", OK);
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 2000);
    processor_tick(s->processor);
    expect_exec(s, NIL);
    EXPECT(s, "SET l v PX 1000", OK);
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 5000);
    processor_tick(s->processor);
    EXPECT(s, "WATCH l", OK); /* it had expired before */
    expect_exec(s, RAN);
}

static void test_watch__in_two_databases(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k zero", OK);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "SELECT 1", OK);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "SELECT 2", OK);
    EXPECT(s, "SET k two", OK);
    expect_exec(s, RAN);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "SELECT 0", OK);
    EXPECT(s, "SET k other", OK);
    expect_exec(s, RAN);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "UNWATCH", OK);
    EXPECT(s, "SET k v", OK);
    expect_exec(s, RAN);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "SET k v", OK);
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "UNWATCH", QUEUED); /* too late */
    EXPECT(s, "EXEC", NIL);
}

static void test_watch__of_cold_keys(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MSET a 1 b 2", OK);
    commit(s);
    fake_db_chill(s->db, NULL);
    EXPECT(s, "WATCH a b c", OK);
    assert_int_equal(s->parks, 1);
    EXPECT(s, "SET b 3", OK);
    expect_exec(s, NIL);
    assert_int_equal(fake_db_waited(s->db), 0);
}

static void test_watch__null_waits_for_what_it_shows(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    EXPECT(s, "SET k v", OK);
    commit(s);
    EXPECT(s, "WATCH k", OK);
    EXPECT(s, "MULTI", OK);
    assert_string_equal(ask_as(s, other, "SET k w"), OK);
    uint64_t written = s->outcome.wait_seq;
    assert_true(written > 0);
    EXPECT(s, "EXEC", NIL);
    assert_int_equal(s->outcome.wait_seq, written);
    session_destroy(other);
}

/* ---- what a session is told in a transaction ---- */

static void test_exec__hello_counts_once_it_ran(void **state)
{
    struct server *s = *state;

    EXPECT(s, "SET k v", OK);
    commit(s);
    fake_db_chill(s->db, "k");
    EXPECT(s, "MULTI", OK);
    EXPECT(s, "GET none", QUEUED);
    EXPECT(s, "HELLO 3", QUEUED);
    EXPECT(s, "GET none", QUEUED);
    EXPECT(s, "GET k", QUEUED);
    const char *reply = ask(s, "EXEC");
    assert_int_equal(s->parks, 1);
    assert_memory_equal(reply, "*4\r\n$-1\r\n%7\r\n", 13);
    assert_non_null(strstr(reply, "*0\r\n_\r\n$1\r\nv\r\n"));
}

static void test_rewind__of_hello(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MULTI", OK);
    EXPECT(s, "HELLO 3", QUEUED);
    EXPECT(s, "SET k v", QUEUED);
    assert_memory_equal(ask(s, "EXEC"), "*2\r\n%7\r\n", 8);
    fail_commit(s);
    EXPECT(s, "EXEC", ABORTED);
    EXPECT(s, "GET none", "$-1\r\n");
}

/* ---- bounds ---- */

static void test_queue__has_the_limit_of_input(void **state)
{
    struct server *s = *state;
    char line[64 * 1024];
    int queued = 0;

    server_set(s, "client-query-buffer-limit", "1mb");
    EXPECT(s, "MULTI", OK);
    memset(line, 'x', sizeof(line));
    memcpy(line, "ECHO ", 5);
    line[sizeof(line) - 1] = '\0';
    while (strcmp(ask(s, line), QUEUED) == 0)
        queued++;
    assert_true(queued > 10 && queued < 16);
    assert_true(s->outcome.close_after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_exec__with_cold_keys_has_one_effect, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__parked_has_written_nothing, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__runs_again_after_a_tick_amid_its_group,
                                        server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__is_counted_once, server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__with_effects_beyond_the_keys_runs_once,
                                        server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__refused_half_way, server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__of_writes_while_they_are_refused, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__that_resets_the_counters, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__full_memtables, server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__cut_with_new_and_flushed_databases, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_rewind__gives_exec_its_queue_back, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_rewind__of_a_transaction_that_is_open_still,
                                        server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_rewind__takes_rejected_commands_along, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_rewind__not_behind_a_commit, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_rewind__keeps_what_came_before_the_group, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_rewind__keeps_the_database_chosen_before_the_group,
                                        server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_watch__sees_each_kind_of_change, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_watch__of_what_comes_and_goes, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_watch__of_what_expires, server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_watch__in_two_databases, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_watch__of_cold_keys, server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_watch__null_waits_for_what_it_shows, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_exec__hello_counts_once_it_ran, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_rewind__of_hello, server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_queue__has_the_limit_of_input, server_setup,
                                        server_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
