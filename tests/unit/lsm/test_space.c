#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "bed.h"
#include "lsm/db.h"

#define SECOND_US ((uint64_t)1000000)
#define MB ((uint64_t)1 << 20)
#define MIN_FREE (10 * MB)
#define RESERVE (3 * MB + 5)
#define AGAIN (MIN_FREE + MIN_FREE / 16) /* so much must be free once writes were refused */

static int set_up(void **state)
{
    static struct bed bed;

    bed_init(&bed, 1);
    bed.options.min_free_bytes = MIN_FREE;
    bed.options.reserve_size_bytes = RESERVE;
    bed_open_ok(&bed);
    bed_run(&bed);
    *state = &bed;
    return 0;
}

static int tear_down(void **state)
{
    bed_deinit(*state);
    return 0;
}

/* Time enough for the next look. */
static void look(struct bed *bed)
{
    bed_pass_us(bed, SECOND_US);
}

static void set_free(struct bed *bed, uint64_t bytes)
{
    sim_set_free_bytes(bed->sim, bytes);
    look(bed);
}

static size_t lines_with(const struct bed *bed, const char *text)
{
    size_t count = 0;

    for (const char *at = strstr(bed->log, text); at != NULL; at = strstr(at + 1, text))
        count++;
    return count;
}

/* ---- min-free ---- */

struct level {
    uint64_t free_bytes;
    int taken;
};

/* Down and up again, as often as it likes, without a restart; nothing is in memory. */
static void test_min_free__both_ways(void **state)
{
    static const struct level levels[] = {
        {MIN_FREE + 1000, 1}, {MIN_FREE + 10, 1}, {MIN_FREE - 1, 0},  {0, 0}, {MIN_FREE + 10, 0},
        {AGAIN - 1, 0},       {AGAIN, 1},         {MIN_FREE + 10, 1}, {0, 0}, {1000 * MB, 1},
    };
    struct bed *bed = *state;

    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        uint64_t seq = bed_stats(bed).seq_applied;
        bed_flush_ok(bed);
        set_free(bed, levels[i].free_bytes);
        int rc = bed_put(bed, "k", "v");
        assert_int_equal(rc, levels[i].taken ? 0 : VARVE_ENOSPC);
        assert_int_equal(bed_stats(bed).seq_applied, seq + (uint64_t)levels[i].taken);
        assert_int_equal(bed_stats(bed).disk_free_bytes, levels[i].free_bytes);
        assert_int_equal(varve_writable(bed->db, NULL), 0); /* the log has nothing to heal */
        assert_string_equal(bed_get(bed, "k"), "v");
    }
    assert_true(lines_with(bed, "writes are refused") >= 2); /* also while a put waits in memory */
    assert_int_equal(lines_with(bed, "writes are taken again"),
                     lines_with(bed, "writes are refused"));
    assert_int_equal(bed_stats(bed).wal_failures, 0);
}

static int write_batch(struct bed *bed, int put, int delete, int delete_range)
{
    struct varve_batch *batch = varve_batch_create();
    struct varve_slice key = varve_slice_str("k");
    int rc = 0;

    assert_non_null(batch);
    if (delete_range)
        rc |= varve_batch_delete_range(batch, key, varve_slice_str("l"));
    if (delete)
        rc |= varve_batch_delete(batch, &key, 1);
    if (put)
        rc |= varve_batch_put(batch, &key, 1, &key, 1, 0);
    assert_int_equal(rc, 0);
    rc = varve_write(bed->db, batch, NULL, &bed->err);
    varve_batch_destroy(batch);
    return rc;
}

/* Whoever deletes makes room; a batch with a put among its deletes does not. */
static void test_min_free__deletes_are_taken(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "k", "v"), 0);
    set_free(bed, 0);
    assert_int_equal(write_batch(bed, 1, 0, 0), VARVE_ENOSPC);
    assert_int_equal(write_batch(bed, 1, 1, 1), VARVE_ENOSPC);
    assert_string_equal(bed_get(bed, "k"), "v");
    assert_non_null(strstr(bed->err.text, "min-free is 10485760"));
    assert_int_equal(write_batch(bed, 0, 1, 0), 0);
    assert_int_equal(write_batch(bed, 0, 1, 1), 0);
    assert_string_equal(bed_get(bed, "k"), "-");
}

/* ---- what is in memory ---- */

static void look_until_flushed(struct bed *bed)
{
    for (int i = 0; bed_stats(bed).flushes == 0; i++) {
        assert_true(i < 4);
        look(bed);
    }
    look(bed);
}

/* It needs as much on the disk as it takes, above min-free; once it is there, writes are taken again. */
static void test_memory__has_its_room(void **state)
{
    struct bed *bed = *state;

    bed_fill(bed, "k", 1000, 1000);
    uint64_t memory = bed_stats(bed).memtables_bytes;
    assert_true(memory > MB);
    set_free(bed, MIN_FREE + memory + 10);
    assert_int_equal(write_batch(bed, 1, 0, 0), 0);
    memory = bed_stats(bed).memtables_bytes;
    set_free(bed, MIN_FREE + memory - 1);
    assert_int_equal(write_batch(bed, 1, 0, 0), VARVE_ENOSPC);
    assert_non_null(strstr(bed->err.text, "in memory are to go there, min-free is 10485760"));
    assert_int_equal(write_batch(bed, 0, 1, 0), 0);
    look_until_flushed(bed);
    assert_int_equal(write_batch(bed, 1, 0, 0), 0);
}

/* Between two looks a byte counts twice, for its log and for its segment. */
static void test_memory__grows_no_further_than_the_last_look_said(void **state)
{
    struct bed *bed = *state;
    uint8_t bytes[1000] = {1};

    set_free(bed, MIN_FREE + MB);
    int count = 0;
    while (bed_put_bytes(bed, "key", varve_slice(bytes, sizeof(bytes)), 0) == 0)
        assert_true(++count < 1000);
    assert_true(count * sizeof(bytes) > MB / 2 - MB / 50);
    assert_int_equal(bed->err.code, VARVE_ENOSPC);
    assert_int_equal(bed_delete(bed, "key"), 0);
    look(bed);
    assert_int_equal(bed_put(bed, "key", "v"), 0);
}

/* What a group counted and took back, when it was cut, is not held against the next one. */
static void test_memory__a_cut_group_counts_for_nothing(void **state)
{
    struct bed *bed = *state;
    struct varve_group_mark mark;
    char text[2000];

    memset(text, 'v', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    bed_close_ok(bed);
    bed->options.reserve_size_bytes = VARVE_NO_RESERVE;
    bed_open_ok(bed);
    varve_group_mark(bed->db, &mark);
    for (int i = 0; i < 100; i++)
        assert_int_equal(bed_add(bed, "k", text), 0);
    set_free(bed, MIN_FREE - 1);
    varve_group_cut(bed->db, &mark);
    assert_int_equal(bed_put(bed, "k", ""), VARVE_ENOSPC);
    assert_non_null(strstr(bed->err.text, " 10485758 bytes left")); /* the key's byte is counted */
}

/* A batch that is larger than what is left beyond memory is what a flush is made for. */
static void test_memory__gives_way_to_what_was_refused(void **state)
{
    struct bed *bed = *state;
    char text[100000];

    memset(text, 'v', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    bed_fill(bed, "k", 1000, 1000);
    set_free(bed, MIN_FREE + bed_stats(bed).memtables_bytes + sizeof(text));
    assert_int_equal(bed_put(bed, "k", text), VARVE_ENOSPC);
    look_until_flushed(bed);
    assert_int_equal(bed_put(bed, "k", text), 0);
}

/* ---- dead log files ---- */

/* They are kept to be used again, but not where their room is wanted. */
static void test_dead_logs__give_way(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.wal_pool_size = 4;
    bed->options.wal_size_bytes = 64 * 1024;
    bed_open_ok(bed);
    look(bed);
    for (int i = 0; i < 10; i++) {
        bed_fill(bed, "k", 50, 1000);
        look(bed);
    }
    bed_flush_ok(bed);
    size_t kept = bed_files_with(bed, ".wal");
    assert_true(kept >= 4);
    set_free(bed, MIN_FREE - 1);
    size_t after = bed_files_with(bed, ".wal");
    assert_true(after + 2 <= kept); /* the one that is written, and one that is ready */
    for (int i = 0; i < 400; i++)
        assert_int_equal(bed_delete(bed, "some key of so many bytes that a few hundred fill a log"),
                         0);
    bed_flush_ok(bed);
    assert_true(bed_files_with(bed, ".wal") <= after);
    set_free(bed, 1000 * MB);
    assert_int_equal(bed_put(bed, "k", "v"), 0);
}

/* ---- the reserve ---- */

static uint64_t reserve_file_bytes(struct bed *bed)
{
    struct buf bytes;
    uint64_t size_bytes;

    if (!bed_has_file(bed, "RESERVE"))
        return 0;
    buf_init(&bytes, SIZE_MAX);
    bed_read_file(bed, "RESERVE", &bytes);
    size_bytes = bytes.len;
    for (size_t i = 0; i < bytes.len; i++)
        assert_int_equal(bytes.data[i], 0);
    buf_deinit(&bytes);
    return size_bytes;
}

static void fail_segments(struct bed *bed, int os_errno)
{
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_WRITE,
                                                   .nth = 1,
                                                   .os_errno = os_errno,
                                                   .mode = FAULT_STICKY,
                                                   .path_suffix = ".seg"});
}

/* A flush finds no room: the reserve goes, which is room, and the flush then gets through; later, with room
 * enough, the reserve comes back. */
static void test_reserve__given_up_and_taken_back(void **state)
{
    struct bed *bed = *state;

    for (int round = 0; round < 2; round++) {
        assert_int_equal(reserve_file_bytes(bed), RESERVE);
        assert_int_equal(bed_stats(bed).reserve_bytes, RESERVE);
        assert_int_equal(bed_put(bed, "k", "v"), 0);
        bed_swap(bed);
        fail_segments(bed, ENOSPC);
        sim_set_free_bytes(bed->sim, RESERVE); /* once it is given up */
        bed_run(bed);
        assert_int_equal(reserve_file_bytes(bed), 0);
        assert_int_equal(bed_stats(bed).reserve_bytes, 0);
        assert_int_equal(bed_put(bed, "k", "w"), VARVE_ENOSPC);
        assert_int_equal(bed_delete(bed, "k"), 0);
        fault_env_heal(bed->fault);
        look(bed); /* the tombstone is flushed, too */
        assert_int_equal(bed_stats(bed).flushes_waiting, 0);
        assert_int_equal(reserve_file_bytes(bed), 0);
        bed_flush_ok(bed);
        set_free(bed, MIN_FREE + 2 * RESERVE - 1); /* writes go on; not yet enough for it */
        assert_int_equal(bed_put(bed, "k", "x"), 0);
        assert_int_equal(reserve_file_bytes(bed), 0);
        bed_flush_ok(bed);
        set_free(bed, MIN_FREE + 2 * RESERVE);
    }
    assert_int_equal(reserve_file_bytes(bed), RESERVE);
    assert_int_equal(lines_with(bed, "the reserve of 3145733 bytes was given up"), 2);
}

/* Another error is no lack of room. */
static void test_reserve__stays_after_eio(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(bed_put(bed, "k", "v"), 0);
    bed_swap(bed);
    fail_segments(bed, EIO);
    look(bed);
    look(bed);
    assert_true(bed_stats(bed).background_failures > 0);
    assert_int_equal(reserve_file_bytes(bed), RESERVE);
    assert_int_equal(bed_put(bed, "k", "w"), 0);
}

/* It can't be made: nothing of it stays, and the next look tries again. */
static void test_reserve__made_when_it_can_be(void **state)
{
    struct bed *bed = *state;
    static const enum fault_op ops[] = {FAULT_OPEN, FAULT_WRITE, FAULT_SYNC};

    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        bed_close_ok(bed);
        fault_env_plan(bed->fault, (struct fault_plan){.op = ops[i],
                                                       .nth = 1,
                                                       .os_errno = ENOSPC,
                                                       .mode = FAULT_STICKY,
                                                       .path_suffix = "RESERVE"});
        bed_open_ok(bed);
        look(bed);
        assert_true(fault_env_fired(bed->fault) > 0);
        assert_int_equal(bed_has_file(bed, "RESERVE"), 0);
        assert_int_equal(bed_stats(bed).reserve_bytes, 0);
        assert_int_equal(bed_put(bed, "k", "v"), 0);
        fault_env_heal(bed->fault);
        look(bed);
        assert_int_equal(reserve_file_bytes(bed), RESERVE);
    }
}

/* Of an earlier life: a full disk can be opened. */
static void test_reserve__gone_at_the_open(void **state)
{
    struct bed *bed = *state;

    assert_int_equal(reserve_file_bytes(bed), RESERVE);
    bed_close_ok(bed);
    sim_set_free_bytes(bed->sim, 0);
    bed_open_ok(bed);
    assert_int_equal(reserve_file_bytes(bed), 0);
    look(bed);
    assert_int_equal(reserve_file_bytes(bed), 0);
    assert_int_equal(bed_put(bed, "k", "v"), VARVE_ENOSPC);
    set_free(bed, 1000 * MB);
    assert_int_equal(bed_put(bed, "k", "v"), 0);
    assert_int_equal(reserve_file_bytes(bed), RESERVE);
}

static void test_none__nothing_is_looked_at(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.min_free_bytes = VARVE_NO_RESERVE;
    bed->options.reserve_size_bytes = VARVE_NO_RESERVE;
    bed_open_ok(bed);
    set_free(bed, 0);
    assert_int_equal(bed_put(bed, "k", "v"), 0);
    assert_int_equal(reserve_file_bytes(bed), 0);
    assert_int_equal(bed_stats(bed).disk_free_bytes, 0);
}

/* Who asked for everything in the last level is not told that it is there when no merge had room. */
static void test_compact__no_room_is_said(void **state)
{
    struct bed *bed = *state;

    bed_fill(bed, "k", 4, 1000);
    bed_flush_ok(bed);
    bed_fill(bed, "k", 4, 1000);
    set_free(bed, 1);
    assert_int_equal(varve_compact(bed->db, &bed->err), VARVE_EIO);
    assert_non_null(strstr(bed->err.text, "no room"));
    assert_true(bed_stats(bed).levels[0].segments > 0);
    set_free(bed, 1000 * MB);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    assert_int_equal(bed_stats(bed).levels[0].segments, 0);
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BED(test_min_free__both_ways),
        WITH_BED(test_min_free__deletes_are_taken),
        WITH_BED(test_memory__has_its_room),
        WITH_BED(test_memory__grows_no_further_than_the_last_look_said),
        WITH_BED(test_memory__a_cut_group_counts_for_nothing),
        WITH_BED(test_memory__gives_way_to_what_was_refused),
        WITH_BED(test_dead_logs__give_way),
        WITH_BED(test_reserve__given_up_and_taken_back),
        WITH_BED(test_reserve__stays_after_eio),
        WITH_BED(test_reserve__made_when_it_can_be),
        WITH_BED(test_reserve__gone_at_the_open),
        WITH_BED(test_none__nothing_is_looked_at),
        WITH_BED(test_compact__no_room_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
