#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "bed.h"
#include "lsm/record.h"

#define VALUE_BYTES 700
#define STRIDE_BEHIND_END 101 /* bits of zeros behind the end of a log are sampled */

static void put_large(struct bed *bed, const char *key, char fill)
{
    uint8_t value[VALUE_BYTES];

    memset(value, fill, sizeof(value));
    assert_int_equal(bed_put_bytes(bed, key, varve_slice(value, sizeof(value)), 0), 0);
    bed_run(bed);
}

/* Several log files, every kind of operation, closed. Returns its dump; mem_free() it. */
static char *make_small_db(struct bed *bed)
{
    bed_init(bed, 5);
    bed_open_ok(bed);
    bed_put(bed, "a", "1");
    bed_run(bed);
    for (char key = 'b'; key < 'j'; key++)
        put_large(bed, (char[]){key, 0}, key);
    bed_delete(bed, "c");
    bed_delete_range(bed, "d", "f");
    bed_put_bytes(bed, "x", varve_slice_str("expires"), SIM_CLOCK_START_REAL_MS + 999999999);
    bed_add(bed, "y", "one");
    bed_add(bed, "z", "two");
    assert_int_equal(varve_group_commit(bed->db, &bed->err), 0);
    bed_run(bed);
    bed_pass_us(bed, 1100000);
    bed_put(bed, "a", "2");
    char *dump = bed_dump(bed, NULL);
    bed_close_ok(bed);
    return dump;
}

/* A second bed on a copy of the first one's disk. */
static void copy_bed(struct bed *copy, struct bed *bed)
{
    bed_init(copy, 6);
    bed_use_image(copy, sim_image(bed->sim, sim_event_count(bed->sim), SIM_KILL, 0));
}

static int err_names(const struct bed *bed, const char *name)
{
    return strstr(bed->err.text, name) != NULL;
}

/* Opens what was tampered with: exactly the right data (1), or an error that names the file and leaves
 * all bytes as they are (0). */
static int check_open(struct bed *bed, const char *name, const char *dump, const char *what,
                      uint64_t at)
{
    uint64_t hash = sim_hash(bed->sim);

    if (bed_open(bed) != 0) {
        if (!err_names(bed, name))
            fail_msg("%s at %llu of %s: '%s'", what, (unsigned long long)at, name, bed->err.text);
        if (sim_hash(bed->sim) != hash)
            fail_msg("%s at %llu of %s: refused, but something changed", what,
                     (unsigned long long)at, name);
        return 0;
    }
    char *found = bed_dump(bed, NULL);
    if (strcmp(found, dump) != 0)
        fail_msg("%s at %llu of %s: opened with '%s' instead of '%s'", what, (unsigned long long)at,
                 name, found, dump);
    mem_free(found);
    return 1;
}

static uint64_t used_bytes(const struct buf *file)
{
    size_t end = file->len;

    while (end > 0 && file->data[end - 1] == 0)
        end--;
    return end;
}

/* Every bit of every file. */
static void test_recovery__any_flipped_bit_is_seen_or_harmless(void **state)
{
    static struct bed bed;
    static struct bed copy;
    char *dump = make_small_db(&bed);
    struct bed_names names;
    struct buf file;
    unsigned tried = 0;
    unsigned harmless = 0;

    (void)state;
    buf_init(&file, 0);
    bed_list(&bed, &names);
    for (size_t i = 0; i < names.count; i++) {
        bed_read_file(&bed, names.name[i], &file);
        uint64_t end = used_bytes(&file) + 8;
        for (uint64_t bit = 0; bit < 8 * file.len; bit += bit / 8 < end ? 1 : STRIDE_BEHIND_END) {
            copy_bed(&copy, &bed);
            bed_flip_bit(&copy, names.name[i], bit);
            int right = check_open(&copy, names.name[i], dump, "flipped bit", bit);
            assert_true(right || bit / 8 < end);
            harmless += (unsigned)right;
            tried++;
            bed_deinit(&copy);
        }
    }
    printf("%u bits flipped, %u of them harmless\n", tried, harmless);
    assert_true(tried > 10000);
    assert_true(harmless < tried / 2);
    buf_deinit(&file);
    mem_free(dump);
    bed_deinit(&bed);
}

/* Every length of every file. */
static void test_recovery__any_truncation_is_seen_or_harmless(void **state)
{
    static struct bed bed;
    static struct bed copy;
    char *dump = make_small_db(&bed);
    struct bed_names names;
    struct buf file;

    (void)state;
    buf_init(&file, 0);
    bed_list(&bed, &names);
    for (size_t i = 0; i < names.count; i++) {
        bed_read_file(&bed, names.name[i], &file);
        uint64_t end = used_bytes(&file) + 8;
        for (uint64_t len = 0; len < file.len; len += len < end ? 1 : STRIDE_BEHIND_END) {
            copy_bed(&copy, &bed);
            bed_truncate(&copy, names.name[i], len);
            check_open(&copy, names.name[i], dump, "truncation", len);
            bed_deinit(&copy);
        }
    }
    buf_deinit(&file);
    mem_free(dump);
    bed_deinit(&bed);
}

static void test_recovery__a_missing_file_is_refused_by_name(void **state)
{
    static struct bed bed;
    static struct bed copy;
    char *dump = make_small_db(&bed);
    struct bed_names names;

    (void)state;
    bed_list(&bed, &names);
    assert_true(names.count >= 5);
    for (size_t i = 0; i < names.count; i++) {
        copy_bed(&copy, &bed);
        bed_remove_file(&copy, names.name[i]);
        int right = check_open(&copy, names.name[i], dump, "missing file", 0);
        assert_int_equal(right, strcmp(names.name[i], "LOCK") == 0);
        bed_deinit(&copy);
    }
    mem_free(dump);
    bed_deinit(&bed);
}

static void test_recovery__swapped_log_files_are_refused(void **state)
{
    static struct bed bed;
    struct bed_names names;
    struct buf one = {.max = 1 << 20};
    struct buf two = {.max = 1 << 20};
    char *dump = make_small_db(&bed);

    (void)state;
    bed_list(&bed, &names);
    assert_non_null(strstr(names.name[0], ".wal"));
    assert_non_null(strstr(names.name[1], ".wal"));
    bed_read_file(&bed, names.name[0], &one);
    bed_read_file(&bed, names.name[1], &two);
    bed_write_file(&bed, names.name[0], buf_slice(&two));
    bed_write_file(&bed, names.name[1], buf_slice(&one));
    assert_int_equal(check_open(&bed, names.name[0], dump, "swapped files", 0), 0);
    buf_deinit(&one);
    buf_deinit(&two);
    mem_free(dump);
    bed_deinit(&bed);
}

/* A file of another database, with the right name and number. */
static void test_recovery__a_foreign_file_is_refused(void **state)
{
    static struct bed bed;
    static struct bed other;
    static struct bed copy;
    char *dump = make_small_db(&bed);
    struct bed_names names;
    struct buf file = {.max = 1 << 20};

    (void)state;
    bed_init(&other, 99); /* another seed, another id */
    bed_open_ok(&other);
    for (char key = 'b'; key < 'j'; key++)
        put_large(&other, (char[]){key, 0}, key);
    bed_close_ok(&other);
    bed_list(&other, &names);
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.name[i];
        if (strcmp(name, "LOCK") == 0 || !bed_has_file(&bed, name))
            continue;
        copy_bed(&copy, &bed);
        bed_read_file(&other, name, &file);
        bed_write_file(&copy, name, buf_slice(&file));
        /* Another CURRENT names a manifest of ours that it does not own: the manifest is refused. */
        const char *blamed = strcmp(name, "CURRENT") == 0 ? "MANIFEST-" : name;
        assert_int_equal(check_open(&copy, blamed, dump, "foreign file", 0), 0);
        assert_true(copy.err.code == VARVE_EFOREIGN || copy.err.code == VARVE_ECORRUPT);
        bed_deinit(&copy);
    }
    buf_deinit(&file);
    mem_free(dump);
    bed_deinit(&other);
    bed_deinit(&bed);
}

static void test_recovery__another_version_is_refused_by_name(void **state)
{
    static struct bed bed;
    static struct bed copy;
    char *dump = make_small_db(&bed);
    struct bed_names names;
    struct buf file = {.max = 1 << 20};

    (void)state;
    bed_list(&bed, &names);
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.name[i];
        if (strcmp(name, "LOCK") == 0)
            continue;
        copy_bed(&copy, &bed);
        bed_read_file(&copy, name, &file);
        if (strcmp(name, "CURRENT") == 0) {
            char tail[32];
            file.data[6] = '4';
            size_t text_len = file.len - strlen(" crc32c=xxxxxxxx\n");
            snprintf(tail, sizeof(tail), " crc32c=%08x\n", crc32c(0, file.data, text_len));
            memcpy(file.data + text_len, tail, strlen(tail));
        } else {
            put_u32(file.data + 8, 4);
            put_u32(file.data + 60, crc32c(0, file.data, 60));
        }
        bed_write_file(&copy, name, buf_slice(&file));
        assert_int_equal(check_open(&copy, name, dump, "version 4", 0), 0);
        assert_int_equal(copy.err.code, VARVE_EVERSION);
        assert_true(err_names(&copy, "version 4"));
        bed_deinit(&copy);
    }
    buf_deinit(&file);
    mem_free(dump);
    bed_deinit(&bed);
}

static void test_recovery__current_variants(void **state)
{
    static const struct {
        const char *text;
        int code;
    } rows[] = {
        {"", VARVE_EFOREIGN},
        {"\n", VARVE_EFOREIGN},
        {"MANIFEST-000001\n", VARVE_EFOREIGN}, /* another engine's */
        {"varve", VARVE_EFOREIGN},
        {"varve ", VARVE_ECORRUPT},
        {"varve x\n", VARVE_ECORRUPT},
        {"varve 0 00 MANIFEST-000001 crc32c=00000000\n", VARVE_EVERSION},
        {"varve 99999999999999999999 x", VARVE_EVERSION},
        {"varve 2 000102030405060708090a0b0c0d0e0f MANIFEST-000001 crc32c=00000000\n",
         VARVE_EVERSION},
        {"varve 3 000102030405060708090a0b0c0d0e0f MANIFEST-000001 crc32c=00000000\n",
         VARVE_ECORRUPT},
        {"varve 3 zz MANIFEST-000001 crc32c=00000000\n", VARVE_ECORRUPT},
    };
    static struct bed bed;
    static struct bed copy;
    char *dump = make_small_db(&bed);
    char longer[4096];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        copy_bed(&copy, &bed);
        bed_write_file(&copy, "CURRENT", varve_slice_str(rows[i].text));
        assert_int_equal(check_open(&copy, "CURRENT", dump, rows[i].text, i), 0);
        assert_int_equal(copy.err.code, rows[i].code);
        bed_deinit(&copy);
    }
    struct buf file = {.max = 1 << 20};
    bed_read_file(&bed, "CURRENT", &file);
    memset(longer, 'x', sizeof(longer));
    memcpy(longer, file.data, file.len);
    for (size_t more = 1; more < sizeof(longer) - file.len; more *= 3) {
        copy_bed(&copy, &bed);
        bed_write_file(&copy, "CURRENT", varve_slice(longer, file.len + more));
        assert_int_equal(check_open(&copy, "CURRENT", dump, "bytes behind it", more), 0);
        bed_deinit(&copy);
    }
    copy_bed(&copy, &bed); /* CURRENT.tmp is not read, and goes */
    bed_write_file(&copy, "CURRENT.tmp", varve_slice_str("rubbish"));
    assert_int_equal(check_open(&copy, "CURRENT.tmp", dump, "a temporary file", 0), 1);
    assert_false(bed_has_file(&copy, "CURRENT.tmp"));
    bed_deinit(&copy);
    buf_deinit(&file);
    mem_free(dump);
    bed_deinit(&bed);
}

static void test_recovery__other_files_are_left_alone(void **state)
{
    static const char *const others[] = {"notes.txt",    "000099.segment", "999999999.wal.bak",
                                         "MANIFEST-old", "dump.rdb",       "CURRENT.bak",
                                         "0000077.wal",  "0000078.seg"};
    static struct bed bed;
    char *dump = make_small_db(&bed);
    struct bed_names names;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(others); i++)
        bed_write_file(&bed, others[i], varve_slice_str("not yours"));
    assert_int_equal(check_open(&bed, "nothing", dump, "other files", 0), 1);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_true(bed_has_file(&bed, others[i]));
    bed_list(&bed, &names);
    for (size_t i = 0; i < names.count; i++) /* nor do they move our numbers */
        assert_null(strstr(names.name[i], "MANIFEST-9"));
    mem_free(dump);
    bed_deinit(&bed);
}

/* Files of ours that the manifest does not name, as a crash while they were made leaves them. */
static void test_recovery__orphans_go_and_their_numbers_are_not_used_again(void **state)
{
    static struct bed bed;
    char *dump = make_small_db(&bed);
    struct bed_names names;

    (void)state;
    bed_write_file(&bed, "000500.wal", varve_slice("\0\0\0", 3));
    bed_write_file(&bed, "000501.wal", varve_slice(NULL, 0));
    bed_write_file(&bed, "MANIFEST-000502", varve_slice_str("half of a header"));
    bed_write_file(&bed, "000504.seg", varve_slice_str("half of a segment"));
    assert_int_equal(check_open(&bed, "nothing", dump, "orphans", 0), 1);
    assert_false(bed_has_file(&bed, "000504.seg"));
    assert_false(bed_has_file(&bed, "000500.wal"));
    assert_false(bed_has_file(&bed, "000501.wal"));
    assert_false(bed_has_file(&bed, "MANIFEST-000502"));
    bed_list(&bed, &names);
    assert_non_null(bed_find(&names, "MANIFEST-000505", ""));
    mem_free(dump);
    bed_deinit(&bed);
}

/* The counter of all files must not run out of digits by a name that somebody made up. */
static void test_recovery__impossible_numbers_are_refused(void **state)
{
    static const char *const names[] = {"999999999999999999.wal", "100000000000000000.wal",
                                        "MANIFEST-999999999999999998"};
    static struct bed bed;
    static struct bed copy;
    char *dump = make_small_db(&bed);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        copy_bed(&copy, &bed);
        bed_write_file(&copy, names[i], varve_slice_str("x"));
        assert_int_equal(check_open(&copy, names[i], dump, "a large number", i), 0);
        bed_deinit(&copy);
    }
    mem_free(dump);
    bed_deinit(&bed);
}

/* ---- torn, rotten, unvouched ---- */

static const char *last_wal(struct bed *bed)
{
    static struct bed_names names;
    const char *last = NULL;

    bed_list(bed, &names);
    for (size_t i = 0; i < names.count; i++)
        if (strstr(names.name[i], ".wal") != NULL)
            last = names.name[i];
    assert_non_null(last);
    return last;
}

/* The end of the log is cut at every byte: what is whole before the cut is there, and no more. */
static void test_recovery__torn_tail_is_dropped(void **state)
{
    static struct bed bed;
    static struct bed copy;
    struct buf file = {.max = 1 << 20};
    size_t states_seen = 0;
    char *previous = mem_strdup("?");

    (void)state;
    bed_init(&bed, 8);
    bed.options.durability = VARVE_NO; /* nothing is promised */
    bed_open_ok(&bed);
    for (char key = 'a'; key < 'f'; key++)
        bed_put(&bed, (char[]){key, 0}, "value");
    bed_crash(&bed, SIM_KILL, 0);
    const char *name = last_wal(&bed);
    bed_read_file(&bed, name, &file);
    for (uint64_t len = FILE_HEADER_BYTES; len <= file.len; len++) {
        copy_bed(&copy, &bed);
        bed_truncate(&copy, name, len);
        bed_open_ok(&copy);
        char *dump = bed_dump(&copy, NULL);
        assert_int_equal(strlen(dump) % strlen("a=value "), 0);
        assert_memory_equal(dump, "a=value b=value c=value d=value e=value ", strlen(dump));
        states_seen += strcmp(dump, previous) != 0;
        mem_free(previous);
        previous = dump;
        bed_deinit(&copy);
    }
    assert_string_equal(previous, "a=value b=value c=value d=value e=value ");
    assert_int_equal(states_seen, 6);
    mem_free(previous);
    buf_deinit(&file);
    bed_deinit(&bed);
}

/* The same bytes, once a later record vouches for them: refused, with file, offset and sequence. */
static void test_recovery__rot_is_refused(void **state)
{
    static struct bed bed;
    struct varve_stats stats;
    char place[64];

    (void)state;
    bed_init(&bed, 8);
    bed_open_ok(&bed);
    bed_put(&bed, "a", "1");
    bed_put(&bed, "b", "2");
    varve_stats(bed.db, &stats);
    uint64_t end_of_b = stats.wal_bytes;
    bed_run(&bed);
    bed_put(&bed, "c", "3"); /* its header promises a and b */
    bed_crash(&bed, SIM_KILL, 0);
    bed_flip_bit(&bed, "000002.wal", 8 * (end_of_b - 1));
    uint64_t hash = sim_hash(bed.sim);
    assert_int_equal(bed_open(&bed), VARVE_ECORRUPT);
    assert_true(sim_hash(bed.sim) == hash);
    snprintf(place, sizeof(place), "offset %llu",
             (unsigned long long)(end_of_b - RECORD_SHORT_CRC_BYTES - 9));
    assert_true(err_names(&bed, "000002.wal"));
    assert_true(err_names(&bed, place));
    assert_true(err_names(&bed, "after sequence 1"));
    bed_deinit(&bed);
}

/* Flips a bit of each byte of one file; counts the opens that are refused. What opens has lost the
 * last write at most, which nothing promises. */
static size_t flip_each_byte(struct bed *bed, const char *name, size_t len)
{
    static struct bed copy;
    size_t refused = 0;

    for (uint64_t at = FILE_HEADER_BYTES; at < len; at++) {
        copy_bed(&copy, bed);
        bed_flip_bit(&copy, name, 8 * at);
        if (bed_open(&copy) == 0) {
            char *dump = bed_dump(&copy, NULL);
            assert_memory_equal(dump, "a=value b=value c=value d=value ", strlen(dump));
            assert_true(strlen(dump) >= strlen("a=value b=value c=value "));
            mem_free(dump);
        } else {
            refused++;
        }
        bed_deinit(&copy);
    }
    return refused;
}

/* No end is fixed by the manifest here: only the promises of the records behind tell. Each write was
 * synced before the next, so each header promises all before it. */
static void test_recovery__rot_before_a_crash_is_refused(void **state)
{
    static struct bed bed;
    static struct bed_names names;
    struct buf file = {.max = 1 << 20};
    size_t refused = 0;

    (void)state;
    bed_init(&bed, 9);
    bed_open_ok(&bed);
    for (char key = 'a'; key < 'e'; key++) {
        bed_put(&bed, (char[]){key, 0}, "value");
        bed_run(&bed);
    }
    bed_crash(&bed, SIM_KILL, 0);
    bed_list(&bed, &names);
    for (size_t i = 0; i < names.count; i++) {
        if (strstr(names.name[i], ".wal") == NULL)
            continue;
        bed_read_file(&bed, names.name[i], &file);
        refused += flip_each_byte(&bed, names.name[i], file.len);
    }
    assert_true(refused >= 3 * RECORD_HEADER_BYTES);
    buf_deinit(&file);
    bed_deinit(&bed);
}

static void test_recovery__an_unreadable_file_is_not_an_end(void **state)
{
    static struct bed bed;
    static struct bed copy;
    char *dump = make_small_db(&bed);
    uint64_t fired = 1;

    (void)state;
    for (uint64_t nth = 1; fired > 0; nth++) {
        copy_bed(&copy, &bed);
        fault_env_plan(copy.fault, (struct fault_plan){.op = FAULT_READ,
                                                       .nth = nth,
                                                       .os_errno = EIO,
                                                       .effect = FAULT_PARTLY_DONE});
        int rc = bed_open(&copy);
        fired = fault_env_fired(copy.fault);
        fault_env_heal(copy.fault);
        if (fired > 0 && rc != 0) { /* else it was a file that no longer counts */
            assert_int_equal(rc, VARVE_EIO);
            assert_non_null(strstr(copy.err.text, strchr(fault_env_where(copy.fault), '/')));
            bed_open_ok(&copy);
        }
        char *found = bed_dump(&copy, NULL);
        assert_string_equal(found, dump);
        mem_free(found);
        bed_deinit(&copy);
    }
    mem_free(dump);
    bed_deinit(&bed);
}

/* What only the page cache held is copied and synced before it is served. */
static void test_recovery__the_unvouched_is_made_durable(void **state)
{
    static struct bed bed;
    struct varve_stats stats;

    (void)state;
    bed_init(&bed, 9);
    bed.options.durability = VARVE_EVERYSEC;
    bed_open_ok(&bed);
    bed_put(&bed, "a", "synced");
    assert_int_equal(varve_durable_seq(bed.db), 0);
    bed_pass_us(&bed, 900000);
    assert_int_equal(varve_durable_seq(bed.db), 1);
    bed_put(&bed, "b", "written");
    bed_put(&bed, "c", "written");
    bed_crash(&bed, SIM_KILL, 0);
    bed_open_ok(&bed);
    assert_string_equal(bed_get(&bed, "c"), "written");
    assert_int_equal(varve_durable_seq(bed.db), 3);
    varve_stats(bed.db, &stats);
    assert_true(stats.recovered_unvouched_bytes > 0);
    assert_int_equal(stats.recovered_ops, 3);
    bed_crash(&bed, SIM_ALL_LOST, 0);
    bed_open_ok(&bed);
    assert_string_equal(bed_get(&bed, "a"), "synced");
    assert_string_equal(bed_get(&bed, "b"), "written");
    assert_string_equal(bed_get(&bed, "c"), "written");
    bed_deinit(&bed);
}

/* Recovery is cut off after each of its steps, the disk keeping any part of them: the second one finds
 * the same. The first state is fixed: nothing of the log is unsynced. */
static void test_recovery__a_second_crash_changes_nothing(void **state)
{
    static struct bed bed;
    static struct bed copy;
    static struct bed again;
    uint64_t tried = 0;

    (void)state;
    bed_init(&bed, 10);
    bed.options.durability = VARVE_EVERYSEC;
    bed_open_ok(&bed);
    bed_put(&bed, "a", "1");
    bed_pass_us(&bed, 900000);
    for (char key = 'b'; key < 'j'; key++)
        put_large(&bed, (char[]){key, 0}, key);
    char *dump = bed_dump(&bed, NULL);
    bed_crash(&bed, SIM_ALL_KEPT, 0); /* durable, but promised by nothing */
    copy_bed(&copy, &bed);
    sim_trace_forget(copy.sim);
    bed_open_ok(&copy);
    uint64_t events = sim_event_count(copy.sim);
    for (uint64_t upto = 0; upto <= events; upto++) {
        for (int policy = 0; policy < SIM_POLICY_COUNT; policy++) {
            bed_init(&again, 11);
            bed_use_image(&again, sim_image(copy.sim, upto, (enum sim_policy)policy, upto));
            check_open(&again, "nothing", dump, sim_policy_name((enum sim_policy)policy), upto);
            tried++;
            bed_deinit(&again);
        }
    }
    printf("%llu images of %llu steps of a recovery\n", (unsigned long long)tried,
           (unsigned long long)events);
    assert_true(events > 10);
    mem_free(dump);
    bed_deinit(&copy);
    bed_deinit(&bed);
}

static void test_recovery__the_clock_never_runs_backwards(void **state)
{
    static struct bed bed;

    (void)state;
    bed_init(&bed, 12);
    bed_open_ok(&bed);
    bed_put_bytes(&bed, "e", varve_slice_str("v"), SIM_CLOCK_START_REAL_MS + 5000);
    sim_clock_advance_us(bed.sim, 6000000);
    bed_put(&bed, "a", "1"); /* the log learns the time */
    uint64_t seen = varve_now_ms(bed.db);
    bed_run(&bed);
    bed_crash(&bed, SIM_ALL_LOST, 0);
    sim_clock_set_real_ms(bed.sim, SIM_CLOCK_START_REAL_MS - 1000000);
    bed_open_ok(&bed);
    assert_true(varve_now_ms(bed.db) >= seen);
    assert_string_equal(bed_get(&bed, "e"), "-"); /* expired stays expired */
    bed_close_ok(&bed);                           /* and over a clean close, many times */
    for (int i = 0; i < 3; i++) {
        bed_open_ok(&bed);
        assert_true(varve_now_ms(bed.db) >= seen);
        bed_close_ok(&bed);
    }
    bed_deinit(&bed);
}

/* ---- what was there before us ---- */

/* Whoever made the directory may have died before it was durable: what is acknowledged in it must not
 * go with it. */
static void test_recovery__a_found_directory_is_made_durable(void **state)
{
    static struct bed bed;
    struct varve_env *env;

    (void)state;
    bed_init(&bed, 13);
    env = sim_as_env(bed.sim);
    assert_int_equal(env->ops->make_dir(env, BED_DIR, &bed.err), 0);
    bed_open_ok(&bed);
    bed_put(&bed, "a", "acknowledged");
    bed_run(&bed);
    assert_int_equal(varve_durable_seq(bed.db), 1);
    bed_crash(&bed, SIM_ALL_LOST, 0);
    bed_open_ok(&bed);
    assert_string_equal(bed_get(&bed, "a"), "acknowledged");
    bed_deinit(&bed);
}

/* An unfinished file may show a block of another database: it is no reason to refuse ours, and it may be
 * what it says, so that it stays. */
static void test_recovery__an_orphan_of_others_is_left_alone(void **state)
{
    static struct bed bed;
    struct dir_id other = {{0xaa}};
    uint8_t header[FILE_HEADER_BYTES];
    char *dump = make_small_db(&bed);

    (void)state;
    file_header_put(header, WAL_MAGIC, &other, 500);
    bed_write_file(&bed, "000500.wal", varve_slice(header, sizeof(header)));
    put_u32(header + 8, FORMAT_VERSION + 1);
    put_u32(header + 60, crc32c(0, header, 60));
    bed_write_file(&bed, "000501.wal", varve_slice(header, sizeof(header)));
    assert_int_equal(check_open(&bed, "nothing", dump, "orphans of others", 0), 1);
    assert_true(bed_has_file(&bed, "000500.wal"));
    assert_true(bed_has_file(&bed, "000501.wal"));
    mem_free(dump);
    bed_deinit(&bed);
}

/* A chunk that was wrong before it got its record's CRCs, as bad memory makes it. */
static void test_recovery__a_wrong_chunk_crc_is_refused(void **state)
{
    static struct bed bed;
    struct buf file = {.max = 1 << 20};
    struct dir_id id;
    uint8_t *record;
    size_t payload_len;

    (void)state;
    bed_init(&bed, 14);
    bed_open_ok(&bed);
    bed_put(&bed, "a", "value");
    bed_run(&bed);
    bed_close_ok(&bed);
    bed_read_file(&bed, "000002.wal", &file);
    memcpy(id.bytes, file.data + 16, DIR_ID_BYTES);
    uint32_t salt = file_salt(&id, 2);
    record = file.data + FILE_HEADER_BYTES + RECORD_HEADER_BYTES + BEGIN_PAYLOAD_BYTES;
    payload_len = (size_t)get_u64(record + 16);
    record[RECORD_HEADER_BYTES + payload_len - 1] ^= 1;
    put_u32(record + 8, crc32c(salt, record + RECORD_HEADER_BYTES, payload_len));
    put_u32(record, crc32c(salt, record + 4, RECORD_HEADER_BYTES - 4));
    bed_write_file(&bed, "000002.wal", buf_slice(&file));
    assert_int_equal(check_open(&bed, "000002.wal", "", "chunk", 0), 0);
    assert_int_equal(bed.err.code, VARVE_ECORRUPT);
    assert_true(err_names(&bed, "chunk CRC"));
    assert_true(err_names(&bed, "after sequence 0"));
    buf_deinit(&file);
    bed_deinit(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recovery__any_flipped_bit_is_seen_or_harmless),
        cmocka_unit_test(test_recovery__any_truncation_is_seen_or_harmless),
        cmocka_unit_test(test_recovery__a_missing_file_is_refused_by_name),
        cmocka_unit_test(test_recovery__swapped_log_files_are_refused),
        cmocka_unit_test(test_recovery__a_foreign_file_is_refused),
        cmocka_unit_test(test_recovery__another_version_is_refused_by_name),
        cmocka_unit_test(test_recovery__current_variants),
        cmocka_unit_test(test_recovery__other_files_are_left_alone),
        cmocka_unit_test(test_recovery__orphans_go_and_their_numbers_are_not_used_again),
        cmocka_unit_test(test_recovery__impossible_numbers_are_refused),
        cmocka_unit_test(test_recovery__torn_tail_is_dropped),
        cmocka_unit_test(test_recovery__rot_is_refused),
        cmocka_unit_test(test_recovery__rot_before_a_crash_is_refused),
        cmocka_unit_test(test_recovery__an_unreadable_file_is_not_an_end),
        cmocka_unit_test(test_recovery__the_unvouched_is_made_durable),
        cmocka_unit_test(test_recovery__a_second_crash_changes_nothing),
        cmocka_unit_test(test_recovery__the_clock_never_runs_backwards),
        cmocka_unit_test(test_recovery__a_found_directory_is_made_durable),
        cmocka_unit_test(test_recovery__an_orphan_of_others_is_left_alone),
        cmocka_unit_test(test_recovery__a_wrong_chunk_crc_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
