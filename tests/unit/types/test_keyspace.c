#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake_db.h"
#include "types/keyspace.h"

#define NOW UINT64_C(1700000000000)

struct fixture {
    struct varve_db *db;
    struct keyspace *keyspace;
    struct varve_err err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->db = fake_db_create();
    assert_int_equal(keyspace_open(f->db, &f->keyspace, &f->err), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    keyspace_close(f->keyspace);
    fake_db_destroy(f->db);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    keyspace_close(f->keyspace);
    assert_int_equal(keyspace_open(f->db, &f->keyspace, &f->err), 0);
}

static int put_at(struct fixture *f, int db, const char *key, const char *value, uint64_t expire_ms,
                  uint64_t *seq)
{
    struct varve_slice part = varve_slice_str(value);

    keyspace_begin(f->keyspace);
    int rc = keyspace_put(f->keyspace, db, varve_slice_str(key), 0, &part, 1, expire_ms, &f->err);
    return rc != 0 ? rc : keyspace_apply(f->keyspace, seq, &f->err);
}

static void put(struct fixture *f, int db, const char *key, const char *value)
{
    uint64_t seq = 0;

    assert_int_equal(put_at(f, db, key, value, 0, &seq), 0);
}

/* The value as text, NULL if the name is absent. Static. */
static const char *look(struct fixture *f, int db, const char *key, uint64_t now_ms, uint64_t *seq)
{
    static char text[64];
    struct keyspace_value value;
    int rc = keyspace_get(f->keyspace, db, varve_slice_str(key), now_ms, KEYSPACE_READ, &value, seq,
                          &f->err);

    if (rc == VARVE_NOT_FOUND)
        return NULL;
    assert_int_equal(rc, 0);
    memcpy(text, value.payload.data, value.payload.len);
    text[value.payload.len] = '\0';
    keyspace_release(&value);
    return text;
}

static const char *get(struct fixture *f, int db, const char *key)
{
    uint64_t seq = 0;

    return look(f, db, key, NOW, &seq);
}

static uint64_t count(struct fixture *f, int db)
{
    uint64_t seq = 0;
    uint64_t keys;

    assert_int_equal(keyspace_count(f->keyspace, db, &keys, &seq, &f->err), 0);
    return keys;
}

static void flush(struct fixture *f, int db)
{
    uint64_t seq = 0;

    keyspace_begin(f->keyspace);
    assert_int_equal(keyspace_flush(f->keyspace, db, &f->err), 0);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
}

static void commit(struct fixture *f)
{
    assert_int_equal(varve_group_commit(f->db, &f->err), 0);
}

static void test_first_write__has_the_bytes_of_the_format(void **state)
{
    static const struct {
        const char *key;
        size_t key_len;
        const char *value;
        size_t value_len;
    } expected[] = {
        {"\0\1\3", 3, "\1", 1},
        {"\0\2", 2, "\2\2", 2},
        {"\1\1\x3b\x7f\xdd\xddk", 7, "\0hi", 3},
    };
    struct fixture *f = *state;
    struct varve_read read = {.uncommitted = 1};
    struct varve_pin pin;

    put(f, 3, "k", "hi");
    assert_int_equal(fake_db_version_count(f->db), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(
            varve_get(f->db, &read, varve_slice(expected[i].key, expected[i].key_len), &pin, NULL),
            0);
        assert_true(
            varve_slice_equal(pin.value, varve_slice(expected[i].value, expected[i].value_len)));
        assert_int_equal(pin.seq, i + 1);
        varve_pin_release(&pin);
    }
}

static void test_databases__are_apart(void **state)
{
    struct fixture *f = *state;

    for (int db = 0; db < KEYSPACE_DATABASES_MAX; db++) {
        char text[2] = {(char)('a' + db), '\0'};
        assert_null(get(f, db, "k"));
        assert_int_equal(count(f, db), 0);
        put(f, db, "k", text);
    }
    commit(f);
    reopen(f);
    for (int db = 0; db < KEYSPACE_DATABASES_MAX; db++) {
        char text[2] = {(char)('a' + db), '\0'};
        assert_string_equal(get(f, db, "k"), text);
        assert_int_equal(count(f, db), 1);
    }
}

static void test_empty_key_and_value__are_good(void **state)
{
    struct fixture *f = *state;

    put(f, 0, "", "");
    assert_string_equal(get(f, 0, ""), "");
    assert_int_equal(count(f, 0), 1);
}

static void test_flush__is_two_records_and_a_new_space(void **state)
{
    struct fixture *f = *state;

    put(f, 0, "a", "1");
    put(f, 0, "b", "2");
    put(f, 1, "a", "3");
    uint64_t before = fake_db_version_count(f->db);
    flush(f, 0);
    assert_int_equal(fake_db_version_count(f->db), before + 2);
    assert_null(get(f, 0, "a"));
    assert_int_equal(count(f, 0), 0);
    assert_string_equal(get(f, 1, "a"), "3");
    put(f, 0, "c", "4");
    commit(f);
    reopen(f);
    assert_null(get(f, 0, "a"));
    assert_string_equal(get(f, 0, "c"), "4");
    assert_int_equal(count(f, 0), 1);
}

static void test_flush__of_nothing_costs_nothing(void **state)
{
    struct fixture *f = *state;

    flush(f, 5);
    assert_int_equal(fake_db_version_count(f->db), 0);
    put(f, 5, "a", "1");
    flush(f, 5);
    uint64_t before = fake_db_version_count(f->db);
    flush(f, 5);
    assert_int_equal(fake_db_version_count(f->db), before);
}

static void test_flush_all__is_one_batch(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;

    put(f, 0, "a", "1");
    put(f, 7, "a", "1");
    commit(f);
    keyspace_begin(f->keyspace);
    assert_int_equal(keyspace_flush_all(f->keyspace, &f->err), 0);
    assert_int_equal(keyspace_group_open(f->keyspace), 0);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
    assert_int_equal(seq, 6 + 4);
    assert_null(get(f, 0, "a"));
    assert_null(get(f, 7, "a"));
}

/* The map in memory must follow what the engine undid, or the next writes would go to a space that no
 * record names, and be gone after a restart. */
static void test_failed_commit__takes_the_map_back(void **state)
{
    struct fixture *f = *state;

    put(f, 0, "a", "1");
    commit(f);
    put(f, 3, "k", "v");
    fake_db_fail_commit(f->db);
    assert_int_equal(varve_group_commit(f->db, NULL), VARVE_EIO);
    assert_null(get(f, 3, "k"));
    put(f, 3, "k", "w");
    put(f, 4, "k", "x");
    commit(f);
    reopen(f);
    assert_string_equal(get(f, 3, "k"), "w");
    assert_string_equal(get(f, 4, "k"), "x");
}

static void test_failed_commit__takes_a_flush_back(void **state)
{
    struct fixture *f = *state;

    put(f, 0, "a", "1");
    commit(f);
    flush(f, 0);
    assert_null(get(f, 0, "a"));
    fake_db_fail_commit(f->db);
    assert_int_equal(varve_group_commit(f->db, NULL), VARVE_EIO);
    assert_string_equal(get(f, 0, "a"), "1");
    assert_int_equal(count(f, 0), 1);
}

static void test_flush_all__that_fails_halfway_empties_nothing(void **state)
{
    struct fixture *f = *state;

    put(f, 0, "a", "1");
    put(f, 1, "b", "2");
    commit(f);
    keyspace_begin(f->keyspace);
    fake_batch_fail_range(2);
    assert_int_equal(keyspace_flush_all(f->keyspace, &f->err), VARVE_ENOMEM);
    assert_string_equal(get(f, 0, "a"), "1");
    assert_string_equal(get(f, 1, "b"), "2");
    assert_int_equal(count(f, 0), 1);
}

/* Healing keeps what a failed sync left in doubt, though reads do not show it meanwhile: a map that
 * followed them would give a space to two databases, or keys to a space that no record names. */
static void test_failed_sync__leaves_the_map(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;

    put(f, 0, "a", "1");
    commit(f);
    fake_db_show_up_to(f->db, 3);
    put(f, 1, "b", "2");
    flush(f, 0);
    commit(f);
    fake_db_refuse(f->db, VARVE_EREADONLY);
    assert_string_equal(look(f, 0, "a", NOW, &seq), "1");
    assert_null(look(f, 1, "b", NOW, &seq));
    assert_int_equal(seq, 3); /* the answers do not wait for what is in doubt */
    fake_db_show_up_to(f->db, UINT64_MAX);
    fake_db_refuse(f->db, 0);
    put(f, 2, "c", "3");
    put(f, 0, "d", "4");
    commit(f);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(get(f, 1, "b"), "2");
        assert_string_equal(get(f, 2, "c"), "3");
        assert_string_equal(get(f, 0, "d"), "4");
        assert_null(get(f, 0, "a"));
        assert_null(get(f, 2, "b"));
        reopen(f);
    }
}

static void test_refused_batch__leaves_the_map(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;

    put(f, 0, "a", "1");
    commit(f);
    fake_db_refuse(f->db, VARVE_EFULL);
    assert_int_equal(put_at(f, 3, "k", "v", 0, &seq), VARVE_EFULL);
    keyspace_begin(f->keyspace);
    assert_int_equal(keyspace_flush(f->keyspace, 0, &f->err), 0);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), VARVE_EFULL);
    fake_db_refuse(f->db, 0);
    assert_string_equal(get(f, 0, "a"), "1");
    put(f, 3, "k", "w");
    commit(f);
    reopen(f);
    assert_string_equal(get(f, 3, "k"), "w");
}

static void test_dropped_batch__leaves_the_map(void **state)
{
    struct fixture *f = *state;
    struct varve_slice value = varve_slice_str("v");

    keyspace_begin(f->keyspace);
    assert_int_equal(keyspace_put(f->keyspace, 2, value, 0, &value, 1, 0, &f->err), 0);
    keyspace_begin(f->keyspace);
    put(f, 3, "k", "w");
    assert_null(get(f, 2, "v"));
    put(f, 2, "v", "x");
    commit(f);
    reopen(f);
    assert_string_equal(get(f, 2, "v"), "x");
    assert_string_equal(get(f, 3, "k"), "w");
}

static void test_expired__is_absent_and_swept_once(void **state)
{
    struct fixture *f = *state;
    struct keyspace_stats stats;
    uint64_t seq = 0;

    assert_int_equal(put_at(f, 0, "k", "v", NOW + 10, &seq), 0);
    uint64_t put_seq = seq;
    seq = 0;
    assert_string_equal(look(f, 0, "k", NOW + 9, &seq), "v");
    assert_int_equal(count(f, 0), 1);
    seq = 0;
    assert_null(look(f, 0, "k", NOW + 10, &seq));
    assert_int_equal(seq, put_seq); /* the record decided it, its tombstone only tidies up */
    assert_int_equal(count(f, 0), 0);
    assert_null(look(f, 0, "k", NOW + 10, &seq));
    keyspace_get_stats(f->keyspace, &stats);
    assert_int_equal(stats.expired_keys, 1);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(stats.misses, 2);
}

static void test_expired__is_absent_where_writes_are_refused(void **state)
{
    struct fixture *f = *state;
    struct keyspace_stats stats;
    uint64_t seq = 0;

    assert_int_equal(put_at(f, 0, "k", "v", NOW, &seq), 0);
    fake_db_refuse(f->db, VARVE_EREADONLY);
    uint64_t before = fake_db_version_count(f->db);
    assert_null(get(f, 0, "k"));
    assert_int_equal(fake_db_version_count(f->db), before);
    keyspace_get_stats(f->keyspace, &stats);
    assert_int_equal(stats.expired_keys, 0);
}

static void test_set_expiry__keeps_the_value(void **state)
{
    struct fixture *f = *state;
    struct keyspace_value value;
    uint64_t seq = 0;

    put(f, 0, "k", "v");
    assert_int_equal(keyspace_get(f->keyspace, 0, varve_slice_str("k"), NOW, KEYSPACE_WRITE, &value,
                                  &seq, &f->err),
                     0);
    keyspace_begin(f->keyspace);
    assert_int_equal(
        keyspace_set_expiry(f->keyspace, 0, varve_slice_str("k"), &value, NOW + 5, &f->err), 0);
    keyspace_release(&value);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
    assert_string_equal(look(f, 0, "k", NOW + 4, &seq), "v");
    assert_null(look(f, 0, "k", NOW + 5, &seq));
}

static void test_seq__is_that_of_the_deciding_record(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;
    uint64_t put_seq = 0;

    assert_null(look(f, 0, "k", NOW, &seq));
    assert_int_equal(seq, 0);
    assert_int_equal(put_at(f, 0, "k", "v", 0, &put_seq), 0);
    assert_non_null(look(f, 0, "k", NOW, &seq));
    assert_int_equal(seq, put_seq);
    flush(f, 0);
    seq = 0;
    assert_null(look(f, 0, "k", NOW, &seq));
    assert_int_equal(seq, put_seq + 2); /* the flush */
    commit(f);
    reopen(f);
    seq = 0;
    assert_null(look(f, 0, "k", NOW, &seq));
    assert_int_equal(seq, put_seq + 1); /* the tombstone in the map */
}

static void test_count__waits_for_no_undone_write(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = 0;
    uint64_t keys;

    put(f, 0, "a", "1");
    commit(f);
    put(f, 0, "b", "2");
    fake_db_fail_commit(f->db);
    assert_int_equal(varve_group_commit(f->db, NULL), VARVE_EIO);
    assert_int_equal(keyspace_count(f->keyspace, 0, &keys, &seq, &f->err), 0);
    assert_int_equal(keys, 1);
    assert_int_equal(seq, 3);
}

static void test_group_bytes__begin_anew_with_each_group(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(keyspace_group_bytes(f->keyspace), 0);
    put(f, 0, "a", "1");
    uint64_t one = keyspace_group_bytes(f->keyspace);
    assert_true(one > 0);
    put(f, 0, "b", "1");
    assert_true(keyspace_group_bytes(f->keyspace) > one);
    commit(f);
    assert_int_equal(keyspace_group_bytes(f->keyspace), 0);
    put(f, 0, "c", "1");
    assert_true(keyspace_group_bytes(f->keyspace) < one); /* no map records this time */
}

static void test_undecodable_value__is_an_error_with_the_key(void **state)
{
    struct fixture *f = *state;
    struct keyspace_value value;
    uint64_t seq = 0;

    put(f, 0, "a", "1");
    commit(f);
    plant_name(f->db, "bad\n", "\x77zz", 3);
    assert_int_equal(keyspace_get(f->keyspace, 0, varve_slice_str("bad\n"), NOW, KEYSPACE_READ,
                                  &value, &seq, &f->err),
                     VARVE_ECORRUPT);
    assert_non_null(strstr(f->err.text, "\"bad\\x0a\""));
}

static void test_open__refuses_a_map_that_cannot_be(void **state)
{
    static const struct {
        const char *key;
        size_t key_len;
        const char *value;
        size_t value_len;
    } bad[] = {
        {"\0\1\0", 3, "", 0},         /* no id */
        {"\0\1\0", 3, "\xff", 1},     /* no valid one */
        {"\0\1\0", 3, "\1\1", 2},     /* bytes behind it */
        {"\0\1\0", 3, "\0", 1},       /* the keyspace's own space */
        {"\0\1\0", 3, "\5", 1},       /* not given out yet */
        {"\0\1\0", 3, "\1", 1},       /* database 9's */
        {"\0\2", 2, "\2\1", 2},       /* the next one is taken */
        {"\0\2", 2, "\2\xf0\x01", 3}, /* not the shortest form */
        {"\0\2", 2, "\2", 1},         /* no id: so one of version 1 */
        {"\0\2", 2, "\3\2", 2},       /* of the next version */
    };
    struct varve_err err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct varve_db *db = fake_db_create();
        struct keyspace *keyspace;
        fake_db_plant(db, "\0\1\x09", 3, "\1", 1);
        fake_db_plant(db, "\0\2", 2, "\2\2", 2);
        assert_int_equal(keyspace_open(db, &keyspace, &err), 0);
        keyspace_close(keyspace);
        fake_db_plant(db, bad[i].key, bad[i].key_len, bad[i].value, bad[i].value_len);
        assert_int_equal(keyspace_open(db, &keyspace, &err),
                         i < sizeof(bad) / sizeof(bad[0]) - 2 ? VARVE_ECORRUPT : VARVE_EVERSION);
        assert_null(keyspace);
        fake_db_destroy(db);
    }
}

static void test_memory__that_is_not_there_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct keyspace *second;
    struct keyspace_value value;
    uint64_t seq = 0;

    mem_fail_nth(1, 0);
    assert_int_equal(keyspace_open(f->db, &second, &f->err), VARVE_ENOMEM);
    assert_null(second);
    put(f, 0, "a", "1");
    mem_fail_nth(1, 0);
    assert_int_equal(keyspace_get(f->keyspace, 0, varve_slice_str("a"), NOW, KEYSPACE_READ, &value,
                                  &seq, &f->err),
                     VARVE_ENOMEM);
    mem_fail_nth(0, 0);
    assert_string_equal(get(f, 0, "a"), "1");
}

/* ---- readers on other threads ---- */

static void commit_shown(struct fixture *f)
{
    assert_int_equal(varve_group_commit(f->db, &f->err), 0);
    keyspace_show(f->keyspace);
}

/* As look(), by a reader. */
static const char *read_one(struct fixture *f, struct keyspace *reader, int db, const char *key)
{
    struct keyspace *writer = f->keyspace;
    uint64_t seq = 0;

    assert_int_equal(keyspace_read_begin(reader), 1);
    f->keyspace = reader;
    const char *text = look(f, db, key, NOW, &seq);
    f->keyspace = writer;
    assert_int_equal(keyspace_read_end(reader), 1);
    return text;
}

static void test_reader__sees_what_is_committed(void **state)
{
    struct fixture *f = *state;
    struct keyspace *reader;
    struct keyspace_stats stats;

    assert_int_equal(keyspace_open_reader(f->keyspace, &reader, &f->err), 0);
    assert_null(read_one(f, reader, 0, "a"));
    put(f, 0, "a", "1");
    assert_int_equal(keyspace_read_begin(reader), 0); /* the database gets its space just now */
    commit_shown(f);
    assert_string_equal(read_one(f, reader, 0, "a"), "1");
    put(f, 0, "a", "2");
    assert_string_equal(read_one(f, reader, 0, "a"), "1");
    commit_shown(f);
    assert_string_equal(read_one(f, reader, 0, "a"), "2");
    keyspace_take_stats(f->keyspace, reader);
    keyspace_get_stats(f->keyspace, &stats);
    assert_int_equal(stats.hits, 3);
    assert_int_equal(stats.misses, 1);
    keyspace_get_stats(reader, &stats);
    assert_int_equal(stats.hits + stats.misses, 0);
    keyspace_close(reader);
}

static void test_reader__keeps_away_while_databases_change(void **state)
{
    struct fixture *f = *state;
    struct keyspace *reader;
    uint64_t seq = 0;

    put(f, 0, "a", "1");
    commit_shown(f);
    assert_int_equal(keyspace_open_reader(f->keyspace, &reader, &f->err), 0);
    assert_int_equal(keyspace_read_begin(reader), 1);
    keyspace_begin(f->keyspace);
    assert_int_equal(keyspace_swap(f->keyspace, 0, 1, &f->err), 0);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
    assert_int_equal(keyspace_read_end(reader), 0); /* it began before */
    assert_int_equal(keyspace_read_begin(reader), 0);
    commit_shown(f);
    assert_null(read_one(f, reader, 0, "a"));
    assert_string_equal(read_one(f, reader, 1, "a"), "1");

    assert_int_equal(keyspace_flush_all(f->keyspace, &f->err), 0);
    assert_int_equal(keyspace_apply(f->keyspace, &seq, &f->err), 0);
    fake_db_fail_commit(f->db);
    assert_int_equal(varve_group_commit(f->db, NULL), VARVE_EIO);
    assert_int_equal(keyspace_read_begin(reader), 0);
    keyspace_show(f->keyspace);
    assert_string_equal(read_one(f, reader, 1, "a"), "1"); /* it was not flushed after all */

    fake_db_refuse(f->db, VARVE_EREADONLY);
    assert_int_equal(keyspace_read_begin(reader), 0);
    keyspace_close(reader);
}

static void test_reader__several_lookups_are_of_one_moment(void **state)
{
    struct fixture *f = *state;
    struct keyspace *reader;
    uint64_t seq = 0;

    put(f, 0, "a", "1");
    put(f, 0, "b", "1");
    commit_shown(f);
    assert_int_equal(keyspace_open_reader(f->keyspace, &reader, &f->err), 0);
    for (int both = 0; both < 2; both++) {
        assert_int_equal(keyspace_read_begin(reader), 1);
        assert_int_equal(
            keyspace_exists(reader, 0, varve_slice_str("a"), NOW, KEYSPACE_READ, &seq, &f->err), 0);
        put(f, 0, "b", "2");
        commit_shown(f);
        if (both)
            assert_int_equal(
                keyspace_exists(reader, 0, varve_slice_str("b"), NOW, KEYSPACE_READ, &seq, &f->err),
                0);
        assert_int_equal(keyspace_read_end(reader), !both);
    }
    keyspace_close(reader);
}

/* The log fails and heals while a command runs: what it met in between is not shown. */
static void test_reader__shows_nothing_of_a_failed_log(void **state)
{
    struct fixture *f = *state;
    struct keyspace *reader;
    uint64_t seq = 0;

    put(f, 0, "a", "1");
    commit_shown(f);
    assert_int_equal(keyspace_open_reader(f->keyspace, &reader, &f->err), 0);
    assert_int_equal(keyspace_read_begin(reader), 1);
    fake_db_refuse(f->db, VARVE_EREADONLY);
    assert_int_equal(
        keyspace_exists(reader, 0, varve_slice_str("a"), NOW, KEYSPACE_READ, &seq, &f->err),
        VARVE_WOULD_BLOCK);
    fake_db_refuse(f->db, 0);
    assert_int_equal(keyspace_read_end(reader), 0);
    assert_string_equal(read_one(f, reader, 0, "a"), "1");
    keyspace_close(reader);
}

static void test_reader__deletes_nothing(void **state)
{
    struct fixture *f = *state;
    struct keyspace *reader;
    uint64_t seq = 0;

    assert_int_equal(put_at(f, 0, "a", "1", NOW, &seq), 0);
    commit_shown(f);
    assert_int_equal(keyspace_open_reader(f->keyspace, &reader, &f->err), 0);
    uint64_t versions = fake_db_version_count(f->db);
    assert_null(read_one(f, reader, 0, "a"));
    assert_int_equal(fake_db_version_count(f->db), versions);
    keyspace_close(reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_first_write__has_the_bytes_of_the_format),
        TEST(test_databases__are_apart),
        TEST(test_empty_key_and_value__are_good),
        TEST(test_flush__is_two_records_and_a_new_space),
        TEST(test_flush__of_nothing_costs_nothing),
        TEST(test_flush_all__is_one_batch),
        TEST(test_failed_commit__takes_the_map_back),
        TEST(test_failed_commit__takes_a_flush_back),
        TEST(test_flush_all__that_fails_halfway_empties_nothing),
        TEST(test_failed_sync__leaves_the_map),
        TEST(test_refused_batch__leaves_the_map),
        TEST(test_dropped_batch__leaves_the_map),
        TEST(test_expired__is_absent_and_swept_once),
        TEST(test_expired__is_absent_where_writes_are_refused),
        TEST(test_set_expiry__keeps_the_value),
        TEST(test_seq__is_that_of_the_deciding_record),
        TEST(test_count__waits_for_no_undone_write),
        TEST(test_group_bytes__begin_anew_with_each_group),
        TEST(test_undecodable_value__is_an_error_with_the_key),
        TEST(test_open__refuses_a_map_that_cannot_be),
        TEST(test_memory__that_is_not_there_is_an_error),
        TEST(test_reader__sees_what_is_committed),
        TEST(test_reader__keeps_away_while_databases_change),
        TEST(test_reader__several_lookups_are_of_one_moment),
        TEST(test_reader__shows_nothing_of_a_failed_log),
        TEST(test_reader__deletes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
