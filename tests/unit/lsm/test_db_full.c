/* A memtable takes batches while it is below its size, however large they are; a full one gives way to a
 * fresh one, until too many wait for their flush. Then only deletes go, and those not for ever; what else
 * there is waits, or, if the flush fails, is refused with its error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

#define SIZE_BYTES ((uint64_t)1024 * 1024)
#define LARGE_BYTES ((size_t)3 * 1024 * 1024) /* a value larger than the memtable */
#define WRITES_MAX 100000

static const uint8_t value[LARGE_BYTES];

static struct varve_slice bytes(size_t len)
{
    return varve_slice(value, len);
}

static void reopen(struct bed *bed, uint32_t memtables_max)
{
    bed_close_ok(bed);
    bed->options.memtable_size_bytes = SIZE_BYTES;
    bed->options.memtables_max = memtables_max;
    bed->options.wal_size_bytes = 16 << 20;
    bed_open_ok(bed);
}

/* No segment can be made, so that no flush ends. */
static void stop_flushes(struct bed *bed)
{
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_OPEN,
                                                   .nth = 1,
                                                   .os_errno = EIO,
                                                   .mode = FAULT_STICKY,
                                                   .path_suffix = ".seg"});
}

static struct varve_stats stats_of(const struct bed *bed)
{
    struct varve_stats stats;

    varve_stats(bed->db, &stats);
    return stats;
}

/* What is refused says so, and has no effect. A write fails if the flush does; a group's batch is told to
 * come back. */
static void assert_refused(struct bed *bed, int rc, int wanted, const struct varve_stats *before)
{
    struct varve_stats now = stats_of(bed);

    assert_int_equal(rc, wanted);
    assert_int_equal(bed->err.code, wanted);
    assert_non_null(strstr(bed->err.text, "the memtables are full"));
    assert_int_equal(now.memtable_bytes, before->memtable_bytes);
    assert_int_equal(now.seq_applied, before->seq_applied);
    assert_int_equal(now.memtables, before->memtables);
    assert_int_equal(varve_writable(bed->db, NULL), 0); /* full is not broken */
}

static void fill(struct bed *bed)
{
    char key[16];
    int writes = 0;

    do
        snprintf(key, sizeof(key), "f%06d", writes);
    while (bed_put_bytes(bed, key, bytes(1000), 0) == 0 && ++writes < WRITES_MAX);
    assert_true(writes < WRITES_MAX);
}

static void test_db_full__all_memtables_take_deletes_only(void **state)
{
    struct bed *bed = *state;

    reopen(bed, 3);
    stop_flushes(bed);
    bed_put(bed, "a", "x");
    fill(bed);
    assert_int_equal(bed->err.code, VARVE_EIO);
    struct varve_stats full = stats_of(bed);
    assert_int_equal(full.memtables, 3);
    assert_int_equal(full.flushes_waiting, 2);
    assert_true(full.memtable_bytes >= SIZE_BYTES && full.memtable_bytes < SIZE_BYTES + 4096);
    assert_true(full.memtables_bytes < 3 * (SIZE_BYTES + 4096));
    assert_refused(bed, bed_put_bytes(bed, "more", bytes(1), 0), VARVE_EIO, &full);
    assert_int_equal(bed_delete(bed, "a"), 0);
    assert_string_equal(bed_get(bed, "a"), "-");
    int deletes = 1;
    while (bed_delete(bed, "f000000") == 0 && deletes < WRITES_MAX)
        deletes++;
    assert_in_range(deletes, 10, WRITES_MAX - 1);
    full = stats_of(bed);
    assert_true(full.memtable_bytes <= SIZE_BYTES + SIZE_BYTES / 16);
    assert_refused(bed, bed_delete(bed, "f000000"), VARVE_EIO, &full);
    assert_refused(bed, bed_delete_range(bed, "a", "z"), VARVE_EIO, &full);
}

/* The flushes work again: so do writes, and nothing that was taken is missing. */
static void test_db_full__ends_when_flushes_succeed(void **state)
{
    struct bed *bed = *state;

    reopen(bed, 2);
    stop_flushes(bed);
    fill(bed);
    assert_int_equal(bed_delete(bed, "f000001"), 0);
    char *before = bed_dump(bed, NULL);
    fault_env_heal(bed->fault);
    for (int i = 0; i < 10; i++)
        bed_pass_us(bed, 100000);
    assert_true(stats_of(bed).flushes >= 1);
    char *after = bed_dump(bed, NULL);
    assert_string_equal(after, before);
    assert_int_equal(bed_put(bed, "f000001", "again"), 0);
    bed_run(bed);
    bed_crash(bed, SIM_ALL_LOST, 0);
    bed_open_ok(bed);
    assert_string_equal(bed_get(bed, "f000001"), "again");
    assert_int_equal(bed_delete(bed, "f000001"), 0);
    mem_free(after);
    after = bed_dump(bed, NULL);
    assert_string_equal(after, before);
    mem_free(before);
    mem_free(after);
}

/* What was taken is there after a restart, over the limit or not. */
static void test_db_full__a_restart_takes_what_the_log_holds(void **state)
{
    struct bed *bed = *state;

    reopen(bed, 2);
    stop_flushes(bed);
    fill(bed);
    while (bed_delete(bed, "f000000") == 0)
        ;
    char *before = bed_dump(bed, NULL);
    bed_close_ok(bed);
    fault_env_heal(bed->fault);
    bed_open_ok(bed);
    char *after = bed_dump(bed, NULL);
    assert_string_equal(after, before);
    mem_free(before);
    mem_free(after);
}

/* ---- the edges ---- */

/* An empty database with an active memtable that holds something, `waiting` ones before it, and no flush
 * that ends. Returns what the active one uses. */
static uint64_t make_waiting(struct bed *bed, uint32_t memtables_max, uint32_t waiting)
{
    reopen(bed, memtables_max);
    assert_int_equal(bed_delete_range(bed, "a", "z"), 0);
    assert_int_equal(varve_flush(bed->db, &bed->err), 0);
    stop_flushes(bed);
    for (uint32_t i = 0; i < waiting; i++) {
        assert_int_equal(bed_put_bytes(bed, "w", bytes(1000), 0), 0);
        assert_int_equal(db_swap_memtable(bed->db), 0);
    }
    for (int i = 0; i < 200; i++)
        assert_int_equal(bed_put_bytes(bed, "a", bytes(1000), 0), 0);
    assert_int_equal(stats_of(bed).flushes_waiting, waiting);
    return stats_of(bed).memtable_bytes;
}

/* With one byte less in it than its size the memtable takes a batch, however large; with its size, or one
 * more, none. */
static void test_db_full__last_memtable_is_full_at_n(void **state)
{
    struct bed *bed = *state;

    for (uint32_t max = 2; max <= 3; max++) {
        for (int over = -1; over <= 1; over++) {
            uint64_t used = make_waiting(bed, max, max - 1);
            bed->db->options.memtable_size_bytes = used - (uint64_t)over;
            struct varve_stats before = stats_of(bed);
            int rc = bed_put_bytes(bed, "large", bytes(LARGE_BYTES), 0);
            if (over < 0) {
                assert_int_equal(rc, 0);
                before = stats_of(bed);
                assert_true(before.memtable_bytes > LARGE_BYTES);
                assert_int_equal(before.memtables, max);
                rc = bed_put_bytes(bed, "more", bytes(1), 0);
            }
            assert_refused(bed, rc, VARVE_EIO, &before);
            fault_env_heal(bed->fault);
        }
    }
}

/* While a place is left, the full one waits for its flush and a fresh one takes the batch. */
static void test_db_full__gives_way_at_n(void **state)
{
    struct bed *bed = *state;

    for (int over = -1; over <= 1; over++) {
        uint64_t used = make_waiting(bed, 3, 1);
        bed->db->options.memtable_size_bytes = used - (uint64_t)over;
        db_refresh_load(bed->db);
        assert_int_equal(bed_put_bytes(bed, "b", bytes(1), 0), 0);
        struct varve_stats now = stats_of(bed);
        assert_int_equal(now.memtables, 3);
        if (over < 0) /* it took that one, and gave way at the commit */
            assert_true(memtable_is_empty(bed->db->memtable));
        else
            assert_int_equal(now.memtable_entries, 1);
        assert_int_equal(bed_get(bed, "b")[0], 0);
        fault_env_heal(bed->fault);
    }
}

/* An open group stays in one memtable: it may fill it twice if another could be made, and once else. */
static void check_open_group(struct bed *bed, uint32_t waiting, int over)
{
    uint64_t times = waiting == 0 ? 2 : 1;

    (void)make_waiting(bed, 2, waiting);
    assert_int_equal(bed_add(bed, "g", "1"), 0);
    struct varve_stats before = stats_of(bed);
    /* What is used is a multiple of 2. */
    assert_int_equal(before.memtable_bytes % 2, 0);
    bed->db->options.memtable_size_bytes = before.memtable_bytes / times - (uint64_t)over;
    int rc = bed_add(bed, "i", "1");
    if (over < 0)
        assert_int_equal(rc, 0);
    else
        assert_refused(bed, rc, VARVE_WOULD_BLOCK, &before);
    assert_int_equal(varve_group_commit(bed->db, &bed->err), 0);
    assert_string_equal(bed_get(bed, "g"), "1");
    assert_string_equal(bed_get(bed, "i"), over < 0 ? "1" : "-");
    fault_env_heal(bed->fault);
}

static void test_db_full__open_group_ends_at_n(void **state)
{
    for (uint32_t waiting = 0; waiting <= 1; waiting++)
        for (int over = -1; over <= 1; over++)
            check_open_group(*state, waiting, over);
}

/* A tombstone goes where it fits into a sixteenth more, to the byte. */
static void test_db_full__deletes_end_at_n(void **state)
{
    struct bed *bed = *state;

    for (int fits = 0; fits <= 1; fits++) {
        uint64_t used = make_waiting(bed, 2, 1);
        uint64_t wanted = used + memtable_cost_bytes(1, 0);
        uint64_t size = wanted / 17 * 16;
        while (size + size / 16 < wanted)
            size++;
        assert_true(size < used);
        bed->db->options.memtable_size_bytes = fits ? size : size - 1;
        struct varve_stats before = stats_of(bed);
        int rc = bed_delete(bed, "a");
        if (fits)
            assert_int_equal(rc, 0);
        else
            assert_refused(bed, rc, VARVE_EIO, &before);
        fault_env_heal(bed->fault);
    }
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_db_full__all_memtables_take_deletes_only),
        WITH_BED(test_db_full__ends_when_flushes_succeed),
        WITH_BED(test_db_full__a_restart_takes_what_the_log_holds),
        WITH_BED(test_db_full__last_memtable_is_full_at_n),
        WITH_BED(test_db_full__gives_way_at_n),
        WITH_BED(test_db_full__open_group_ends_at_n),
        WITH_BED(test_db_full__deletes_end_at_n),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
