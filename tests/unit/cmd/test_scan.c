/* SCAN, KEYS, RANDOMKEY: pages over names that come and go, and what is cold. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "client.h"
#include "cmd/ctx.h"
#include "types/keycode.h"

#define OK "+OK\r\n"
#define NAMES 300

static void commit(struct server *s)
{
    assert_int_equal(varve_group_commit(s->db, NULL), 0);
    s->parks = 0;
}

static void set_many(struct server *s, int from, int to)
{
    char line[64];

    for (int i = from; i < to; i++) {
        snprintf(line, sizeof(line), "SET key:%d v", i);
        EXPECT(s, line, OK);
    }
    commit(s);
}

struct page {
    uint64_t cursor;
    int count;
    int numbers[2 * NAMES]; /* of "key:N" */
};

static void read_page(const char *reply, struct page *page)
{
    char *at = NULL;

    assert_memory_equal(reply, "*2\r\n$", 5);
    page->cursor = strtoull(strstr(reply + 5, "\r\n") + 2, &at, 10);
    assert_memory_equal(at, "\r\n*", 3);
    page->count = (int)strtol(at + 3, &at, 10);
    for (int i = 0; i < page->count; i++) {
        at = strstr(at, "key:");
        assert_non_null(at);
        page->numbers[i] = (int)strtol(at + 4, &at, 10);
    }
}

static void scan_once(struct server *s, uint64_t cursor, const char *more, struct page *page)
{
    char line[128];

    snprintf(line, sizeof(line), "SCAN %" PRIu64 "%s", cursor, more);
    read_page(ask(s, line), page);
}

/* How often each name is met in a whole walk. Returns its pages. */
static int scan_all(struct server *s, const char *more, int met[2 * NAMES],
                    void (*between)(struct server *s, int step))
{
    static struct page page;
    int pages = 0;

    memset(met, 0, 2 * NAMES * sizeof(*met));
    page.cursor = 0;
    do {
        scan_once(s, page.cursor, more, &page);
        for (int i = 0; i < page.count; i++)
            met[page.numbers[i]]++;
        if (between != NULL)
            between(s, pages);
        assert_true(++pages < 10 * NAMES);
    } while (page.cursor != 0);
    return pages;
}

static void test_scan__meets_each_name_once(void **state)
{
    static const char *const counts[] = {" COUNT 1", " COUNT 7", "", " COUNT 100000"};
    struct server *s = *state;
    int met[2 * NAMES];

    set_many(s, 0, NAMES);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        int pages = scan_all(s, counts[i], met, NULL);
        for (int n = 0; n < NAMES; n++)
            assert_int_equal(met[n], 1);
        assert_int_equal(pages == 1, i == COUNT_OF(counts) - 1);
    }
}

/* A key may be in memory whose value is not: the page is made by a job, once. */
static void test_scan__of_a_type_with_cold_values(void **state)
{
    struct server *s = *state;
    int met[2 * NAMES];

    set_many(s, 0, NAMES);
    fake_db_chill_values(s->db, 1);
    int pages = scan_all(s, " COUNT 20 TYPE string", met, NULL);
    for (int n = 0; n < NAMES; n++)
        assert_int_equal(met[n], 1);
    assert_true(pages > 3);
    assert_int_equal(s->parks, pages);
}

/* A job looks at some thousands of names, and then others have their turn. */
static void test_keys__gives_way(void **state)
{
    struct server *s = *state;
    int steps = 0;

    set_many(s, 0, 5000);
    assert_int_equal(try_as(s, s->session, "KEYS *99"), PROCESSOR_PARK);
    while (fake_db_step(s->db))
        steps++;
    assert_int_equal(steps, 3);
    assert_int_equal(s->wakes, 1);
    processor_woken(s->processor);
    assert_int_equal(try_as(s, s->session, "KEYS *99"), PROCESSOR_DONE);
    assert_memory_equal(s->out.data, "*50\r\n", 5);
    /* and whoever goes away meanwhile is not waited for */
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);
    assert_int_equal(try_as(s, other, "KEYS *"), PROCESSOR_PARK);
    assert_true(fake_db_step(s->db));
    session_destroy(other);
    assert_true(fake_db_step(s->db));
    assert_false(fake_db_step(s->db));
    processor_woken(s->processor);
}

static int put_name(struct buf *page, struct varve_slice name, uint64_t seq)
{
    (void)seq;
    return buf_append(page, name.data, name.len);
}

static void test_transaction__keeps_no_large_page(void **state)
{
    struct server *s = *state;
    struct walk_query query = {.type = WALK_ANY_TYPE, .put = put_name};
    const struct walk_page *page;
    uint64_t seq = 0;

    set_many(s, 0, 5000);
    uint64_t before = mem_used_bytes();
    keyspace_mark(s->keyspace);
    assert_int_equal(keyspace_walk(s->keyspace, 0, &query, 1, &page, &seq, NULL), 0);
    assert_int_equal(page->count, 5000);
    assert_true(mem_used_bytes() > before + 32 * 1024);
    keyspace_unmark(s->keyspace, 0);
    assert_true(mem_used_bytes() < before + 32 * 1024);
}

/* A short walk over many names that are gone takes long, so a job does it. */
static void test_scan__passes_few_deleted_names_at_once(void **state)
{
    struct server *s = *state;
    char line[64];

    set_many(s, 0, 3000);
    for (int i = 1; i < 3000; i++) {
        snprintf(line, sizeof(line), "DEL key:%d", i);
        EXPECT(s, line, ":1\r\n");
    }
    commit(s);
    EXPECT(s, "SCAN 0", "*2\r\n$1\r\n0\r\n*1\r\n$5\r\nkey:0\r\n");
    assert_int_equal(s->parks, 1);
    EXPECT(s, "RANDOMKEY", "$5\r\nkey:0\r\n");
    assert_int_equal(s->parks, 2);
}

/* Every other name is deleted, and new ones come, while the walk goes on. */
static void change(struct server *s, int step)
{
    char line[64];

    snprintf(line, sizeof(line), "DEL key:%d", 1 + 2 * step % NAMES);
    ask(s, line);
    set_many(s, NAMES + step % NAMES, NAMES + step % NAMES + 1);
}

static void test_scan__meets_what_is_there_throughout(void **state)
{
    struct server *s = *state;
    int met[2 * NAMES];

    set_many(s, 0, NAMES);
    scan_all(s, " COUNT 3", met, change);
    for (int n = 0; n < NAMES; n += 2)
        assert_int_equal(met[n], 1);
}

/* Two names of one hash (found by search) are never parted by a page. */
static void test_scan__keeps_names_of_one_hash_together(void **state)
{
    struct server *s = *state;
    struct page page = {.cursor = 0};
    int together = 0;

    assert_int_equal(name_hash(varve_slice_str("key:24519488")),
                     name_hash(varve_slice_str("key:17205728")));
    EXPECT(s, "MSET key:24519488 a key:1 b key:17205728 c key:2 d", OK);
    commit(s);
    for (int pages = 0; pages == 0 || page.cursor != 0; pages++) {
        assert_true(pages < 4);
        scan_once(s, page.cursor, " COUNT 1", &page);
        together += page.count == 2 && page.numbers[0] + page.numbers[1] == 24519488 + 17205728;
        assert_true(page.count == 1 || page.count == 2);
    }
    assert_int_equal(together, 1);
}

static void test_scan__of_a_cursor_nobody_gave(void **state)
{
    struct server *s = *state;

    set_many(s, 0, 3);
    EXPECT(s, "SCAN 4294967296", "*2\r\n$1\r\n0\r\n*0\r\n");
    EXPECT(s, "SCAN 18446744073709551615", "*2\r\n$1\r\n0\r\n*0\r\n");
    EXPECT(s, "SCAN -1", "*2\r\n$1\r\n0\r\n*0\r\n");
}

static void test_scan__filters_after_it_counted(void **state)
{
    struct server *s = *state;
    int met[2 * NAMES];
    int sum = 0;

    set_many(s, 0, NAMES);
    int pages = scan_all(s, " COUNT 10 MATCH key:1*", met, NULL);
    assert_int_equal(pages, NAMES / 10);
    for (int n = 0; n < NAMES; n++)
        sum += met[n];
    assert_int_equal(sum, 111);
    scan_all(s, " COUNT 10 TYPE list", met, NULL);
    for (int n = 0; n < NAMES; n++)
        assert_int_equal(met[n], 0);
}

static void test_scan__does_not_show_what_expired(void **state)
{
    struct server *s = *state;
    struct page page;

    EXPECT(s, "SET key:1 v PX 1000", OK);
    EXPECT(s, "SET key:2 v", OK);
    fake_db_set_now_ms(s->db, CLIENT_NOW_MS + 2000);
    processor_tick(s->processor);
    scan_once(s, 0, "", &page);
    assert_int_equal(page.count, 1);
    assert_int_equal(page.numbers[0], 2);
    EXPECT(s, "KEYS *", "*1\r\n$5\r\nkey:2\r\n");
    EXPECT(s, "RANDOMKEY", "$5\r\nkey:2\r\n");
}

/* Cold, a walk is a job; the reply is the same. */
static void test_walks__of_what_is_cold_are_fetched(void **state)
{
    static const char *const lines[] = {"KEYS *", "KEYS key:1*", "SCAN 0", "SCAN 0 COUNT 1000",
                                        "SCAN 0 COUNT 20 MATCH *2*"};
    struct server *s = *state;
    char warm[8192];

    set_many(s, 0, NAMES);
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        int parks = strncmp(lines[i], "KEYS", 4) == 0 || strstr(lines[i], "1000") != NULL;
        s->parks = 0;
        snprintf(warm, sizeof(warm), "%s", ask(s, lines[i]));
        assert_int_equal(s->parks, parks);
    }
    fake_db_chill(s->db, NULL);
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        s->parks = 0;
        snprintf(warm, sizeof(warm), "%s", ask(s, lines[i]));
        assert_int_equal(s->parks, 1);
    }
    EXPECT(s, "RANDOMKEY x", "-ERR wrong number of arguments for 'randomkey' command\r\n");
    assert_memory_equal(ask(s, "RANDOMKEY"), "$", 1);
}

static void test_walk__that_fails_is_an_error(void **state)
{
    struct server *s = *state;

    set_many(s, 0, 3);
    fake_db_chill(s->db, NULL);
    fake_db_fail_fetches(s->db, VARVE_EIO);
    assert_memory_equal(ask(s, "KEYS *"), "-", 1);
    fake_db_fail_fetches(s->db, 0);
    assert_memory_equal(ask(s, "KEYS *"), "*3\r\n", 4);
}

static void test_close__of_a_session_that_walks(void **state)
{
    struct server *s = *state;
    struct session *other = session_create(s->processor, "a:1", "b:1", NULL, NULL);

    set_many(s, 0, 3);
    assert_int_equal(try_as(s, other, "KEYS *"), PROCESSOR_PARK);
    session_destroy(other);
    assert_true(fake_db_step(s->db));
    processor_woken(s->processor);
    assert_int_equal(try_as(s, s->session, "KEYS *"), PROCESSOR_PARK);
    assert_true(fake_db_step(s->db));
    processor_drain(s->processor);
}

/* Not uniform to the last digit, but no name has a share that is far from that of others. */
static void test_randomkey__is_fair(void **state)
{
    enum { KEYS = 50, DRAWS = 20000 };
    struct server *s = *state;
    int drawn[KEYS] = {0};

    EXPECT(s, "RANDOMKEY", "$-1\r\n");
    set_many(s, 0, KEYS);
    for (int i = 0; i < DRAWS; i++)
        drawn[atoi(strstr(ask(s, "RANDOMKEY"), "key:") + 4)]++;
    for (int i = 0; i < KEYS; i++)
        assert_true(drawn[i] > DRAWS / KEYS / 3 && drawn[i] < 3 * DRAWS / KEYS);
}

/* What a transaction wrote is there for its own walks. */
static void test_transaction__sees_its_own_names(void **state)
{
    struct server *s = *state;

    EXPECT(s, "MULTI", OK);
    EXPECT(s, "SET key:5 v", "+QUEUED\r\n");
    EXPECT(s, "KEYS *", "+QUEUED\r\n");
    EXPECT(s, "EXEC", "*2\r\n+OK\r\n*1\r\n$5\r\nkey:5\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_scan__meets_each_name_once, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_scan__of_a_type_with_cold_values, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_scan__passes_few_deleted_names_at_once, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_keys__gives_way, server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_transaction__keeps_no_large_page, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_scan__meets_what_is_there_throughout, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_scan__keeps_names_of_one_hash_together, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_scan__of_a_cursor_nobody_gave, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_scan__filters_after_it_counted, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_scan__does_not_show_what_expired, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_walks__of_what_is_cold_are_fetched, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_walk__that_fails_is_an_error, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_close__of_a_session_that_walks, server_setup,
                                        server_teardown),
        cmocka_unit_test_setup_teardown(test_randomkey__is_fair, server_setup, server_teardown),
        cmocka_unit_test_setup_teardown(test_transaction__sees_its_own_names, server_setup,
                                        server_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
