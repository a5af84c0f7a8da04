#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

/* What an error says: the code tells what is wrong, the text names the place. */
static void test_verdict__a_lost_manifest_is_no_missing_database(void **state)
{
    struct bed *bed = *state;
    struct bed_names names;

    bed_close_ok(bed);
    bed_list(bed, &names);
    bed_remove_file(bed, bed_find(&names, "MANIFEST-", ""));
    bed->options.no_create = 1; /* here VARVE_ENOENT means that there is no database */
    assert_int_equal(bed_open(bed), VARVE_ECORRUPT);
    assert_non_null(strstr(bed->err.text, "MANIFEST-"));
}

/* A damaged file that the manifest does not name is no matter; the error names the rot. */
static void test_verdict__rot_is_named_beside_an_unfinished_file(void **state)
{
    struct bed *bed = *state;
    char name[64];
    uint8_t zeros[64] = {0};

    for (int i = 0; i < 3; i++) {
        assert_int_equal(bed_put(bed, "a", "value"), 0);
        bed_run(bed);
    }
    uint64_t file_no = bed->db->wal.log->file_no;
    snprintf(name, sizeof(name), "%06llu.wal", (unsigned long long)file_no);
    uint64_t end = bed->db->wal.log->offset;
    assert_true(end > 3 * 40);
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_write_file(bed, "000999.wal", varve_slice(zeros, sizeof(zeros)));
    bed_flip_bit(bed, name, 8 * (64 + 40 + 32 + 41)); /* the first operation's record */
    assert_int_equal(bed_open(bed), VARVE_ECORRUPT);
    assert_non_null(strstr(bed->err.text, name));
    assert_null(strstr(bed->err.text, "000999.wal"));
}

/* An iterator that met a damaged record says so until it is moved elsewhere. */
static void test_verdict__an_iterator_forgets_the_error_it_left(void **state)
{
    struct bed *bed = *state;
    struct varve_pin pin;

    assert_int_equal(bed_put(bed, "a", "good"), 0);
    assert_int_equal(bed_put(bed, "b", "bad"), 0);
    assert_int_equal(bed_put(bed, "d", "beyond"), 0);
    assert_int_equal(varve_get(bed->db, NULL, varve_slice_str("b"), &pin, &bed->err), 0);
    *(uint8_t *)(uintptr_t)pin.value.data ^= 1;
    struct varve_slice upper = varve_slice_str("c");
    struct varve_iter *iter = varve_iter_create(bed->db, NULL, NULL, &upper, &bed->err);
    varve_iter_last(iter);
    assert_false(varve_iter_valid(iter));
    assert_int_equal(varve_iter_status(iter, &bed->err), VARVE_ECORRUPT);
    varve_iter_seek(iter, varve_slice_str("d"));
    assert_false(varve_iter_valid(iter));
    assert_int_equal(varve_iter_status(iter, &bed->err), 0);
    varve_iter_first(iter);
    assert_true(varve_iter_valid(iter));
    varve_iter_destroy(iter);
    *(uint8_t *)(uintptr_t)pin.value.data ^= 1;
    varve_pin_release(&pin);
}

/* A record that recovery would not read back is not written. The bytes of the batch are never looked at
 * here, so that they need not be there. */
static void test_verdict__a_group_is_no_longer_than_what_can_be_read(void **state)
{
    struct bed *bed = *state;
    uint8_t byte = 0;
    struct borrowed value = {.bytes = varve_slice(&byte, VARVE_VALUE_MAX_BYTES)};
    struct varve_batch batch = {.borrowed = {.items = &value, .count = 1, .cap = 1}, .count = 1};
    struct wal wal = {0};
    int added = 0;

    (void)bed;
    buf_init(&wal.ops, WAL_GROUP_MAX_BYTES);
    while (added < 100 && wal_group_add(&wal, &batch) == 0)
        added++;
    assert_int_equal(added, 7); /* below 4 GiB */
    assert_int_equal(wal_group_add(&wal, &batch), VARVE_EFULL);
    wal_group_cut(&wal, (struct wal_group_mark){0});
    assert_int_equal(wal_group_add(&wal, &batch), 0);
    buf_deinit(&wal.ops);
    borrowed_list_deinit(&wal.borrowed);
}

/* What lies in segments was durable in the log. If that has lost its end, what is written behind the gap
 * would be lost by the next open. */
static void test_verdict__a_log_that_ends_below_the_segments_is_rotten(void **state)
{
    struct bed *bed = *state;
    char name[64];

    for (int i = 0; i < 3; i++) { /* the first ones go to a file that is given up soon */
        assert_int_equal(bed_put(bed, "a", "1"), 0);
        bed_run(bed);
    }
    uint64_t file_no = bed->db->wal.log->file_no;
    uint64_t end = bed->db->wal.log->offset;
    assert_int_equal(bed_put(bed, "b", "2"), 0);
    bed_run(bed);
    assert_int_equal(bed->db->wal.log->file_no, file_no);
    snprintf(name, sizeof(name), "%06llu.wal", (unsigned long long)file_no);
    assert_int_equal(varve_flush(bed->db, &bed->err), 0);
    bed_run(bed);
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_flip_bit(bed, name, 8 * (end + 40 + 1)); /* in the payload of the last record */
    int rc = bed_open(bed);
    if (rc == 0) { /* else what is acknowledged from now on must stay */
        assert_int_equal(bed_put(bed, "c", "3"), 0);
        bed_run(bed);
        bed_crash(bed, SIM_ALL_LOST, 0);
        bed_open_ok(bed);
        assert_string_equal(bed_get(bed, "c"), "3");
    }
    assert_int_equal(rc, VARVE_ECORRUPT);
    assert_non_null(strstr(bed->err.text, name));
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_verdict__a_lost_manifest_is_no_missing_database),
        WITH_BED(test_verdict__rot_is_named_beside_an_unfinished_file),
        WITH_BED(test_verdict__an_iterator_forgets_the_error_it_left),
        WITH_BED(test_verdict__a_log_that_ends_below_the_segments_is_rotten),
        WITH_BED(test_verdict__a_group_is_no_longer_than_what_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
