/* golden make DIR    writes the database whose bytes are kept under tests/golden/
 * golden dump DIR    prints all that is in the database in DIR, in one canonical text
 *
 * The text: a line a record, "KEY = VALUE", " @EXPIRY" if it has one; what is not printable as \xHH, a
 * value above 100 bytes as its length and CRC. Then the counts of groups "a" to "z" that have one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "step_executor.h"
#include "varve/db.h"
#include "varve/iter.h"
#include "varve/stats.h"

#define NOW_MS 1700000000000u
#define LATER_MS 99999999999999u
#define SHOWN_BYTES 100
#define VALUE_MAX 2400
#define UPPER_RUNS 6
#define JOBS_MAX 100

static size_t group_of(void *arg, struct varve_slice key)
{
    (void)arg;
    return key.len > 0 && key.data[0] >= 'a' && key.data[0] <= 'z' ? 1 : 0;
}

struct golden {
    struct step_executor *stepper;
    struct varve_db *db;
    struct varve_err err;
};

static int golden_open(struct golden *golden, const char *dir, int no_create)
{
    struct varve_options options = {
        .executor = step_as_executor(golden->stepper),
        .durability = VARVE_ALWAYS,
        .memtable_size_bytes = (uint64_t)256 * 1024,
        .block_size_bytes = 512,
        .block_cache_size_bytes = (uint64_t)1024 * 1024,
        .segment_size_bytes = (uint64_t)16 * 1024,
        .min_free_bytes = VARVE_NO_RESERVE,
        .reserve_size_bytes = VARVE_NO_RESERVE,
        .wal_size_bytes = 4096,
        .wal_pool_size = 1,
        .no_create = no_create,
        .count_group = group_of,
    };

    return varve_open(dir, &options, &golden->db, &golden->err);
}

/* ---- make ---- */

static void write_batch(struct golden *golden, struct varve_batch *batch)
{
    CHECK(varve_write(golden->db, batch, NULL, &golden->err) == 0);
    varve_batch_clear(batch);
    step_run_all(golden->stepper, JOBS_MAX);
}

static void put(struct varve_batch *batch, struct varve_slice key, struct varve_slice value,
                uint64_t expire_ms)
{
    CHECK(varve_batch_put(batch, &key, 1, &value, 1, expire_ms) == 0);
}

static void compact(struct golden *golden)
{
    CHECK(varve_compact(golden->db, &golden->err) == 0);
}

static void flush(struct golden *golden)
{
    CHECK(varve_flush(golden->db, &golden->err) == 0);
}

/* "prefix", a number, and as many bytes that compress or don't. */
static void put_many(struct golden *golden, struct varve_batch *batch, char prefix, unsigned from,
                     unsigned to, size_t value_len)
{
    char key[16];
    uint8_t value[VALUE_MAX];

    for (unsigned i = from; i < to; i++) {
        snprintf(key, sizeof(key), "%c%05u", prefix, i);
        for (size_t at = 0; at < value_len; at++)
            value[at] = i % 2 == 0 ? prefix
                                   : (uint8_t)((at + 1) * (i * 2654435761u + at * at) >> 7);
        put(batch, varve_slice_str(key), varve_slice(value, value_len), i % 7 == 0 ? LATER_MS : 0);
        if (i % 16 == 15 || i + 1 == to)
            write_batch(golden, batch);
    }
}

static void delete_range(struct varve_batch *batch, const char *begin, const char *end)
{
    CHECK(varve_batch_delete_range(batch, varve_slice_str(begin), varve_slice_str(end)) == 0);
}

/* The last level: many segments of one run, one with values in blocks of their own. */
static void fill_last_level(struct golden *golden, struct varve_batch *batch)
{
    put_many(golden, batch, 'a', 0, 600, 90);
    put_many(golden, batch, 'k', 0, 300, 70);
    put_many(golden, batch, 'z', 0, 12, VALUE_MAX);
    put(batch, varve_slice("\0\xff\r\n", 4), varve_slice("\0", 1), 0);
    put(batch, varve_slice("", 0), varve_slice_str("at the empty key"), 0);
    write_batch(golden, batch);
    compact(golden);
}

/* Levels above it: overwrites, deletes, range tombstones over what lies below, expired records. */
static void fill_upper_levels(struct golden *golden, struct varve_batch *batch)
{
    struct varve_slice gone = varve_slice_str("a00003");

    for (unsigned run = 0; run < UPPER_RUNS; run++) {
        put_many(golden, batch, 'a', 40 * run, 40 * run + 60, 50 + 10 * run);
        put_many(golden, batch, 'k', 300 + 30 * run, 330 + 30 * run, 40);
        flush(golden);
        step_run_all(golden->stepper, JOBS_MAX);
    }
    CHECK(varve_batch_delete(batch, &gone, 1) == 0);
    delete_range(batch, "a00100", "a00150");
    put(batch, varve_slice_str("a00120"), varve_slice_str("over a range"), 0);
    put(batch, varve_slice_str("c-expired"), varve_slice_str("never seen"), NOW_MS - 1);
    put(batch, varve_slice_str("a00200"), varve_slice_str("hides, and is not seen"), NOW_MS - 1);
    put(batch, varve_slice_str("d-empty"), varve_slice("", 0), 0);
    write_batch(golden, batch);
    flush(golden);
    delete_range(batch, "k00050", "k00060");
    delete_range(batch, "k00055", "k00070");
    write_batch(golden, batch);
    flush(golden);
}

/* Records of one operation, all but the first of the short form: no sync ends between them. */
static void write_singly(struct golden *golden, struct varve_batch *batch)
{
    struct varve_slice gone = varve_slice_str("a00007");
    char key[16];

    for (unsigned i = 0; i < 6; i++) {
        snprintf(key, sizeof(key), "s%u", i);
        put(batch, varve_slice_str(key), varve_slice_str("alone"), i % 2 == 0 ? LATER_MS : 0);
        CHECK(varve_write(golden->db, batch, NULL, &golden->err) == 0);
        varve_batch_clear(batch);
    }
    CHECK(varve_batch_delete(batch, &gone, 1) == 0);
    CHECK(varve_write(golden->db, batch, NULL, &golden->err) == 0);
    varve_batch_clear(batch);
    step_run_all(golden->stepper, JOBS_MAX);
}

/* What lies in the log alone, over several files. */
static void fill_log(struct golden *golden, struct varve_batch *batch)
{
    put_many(golden, batch, 'm', 0, 20, 600);
    put(batch, varve_slice_str("b1"), varve_slice_str("one batch"), 0);
    put(batch, varve_slice_str("b2"), varve_slice_str("one batch"), LATER_MS);
    put(batch, varve_slice_str("e-expired"), varve_slice_str("never seen"), NOW_MS - 1);
    delete_range(batch, "a00300", "a00310");
    delete_range(batch, "m00003", "m00005");
    put(batch, varve_slice_str("a00305"), varve_slice_str("over a range in the log"), 0);
    write_batch(golden, batch);
    write_singly(golden, batch);
}

/* It must hold what a reader of this version can meet. Levels between the first and the last come with
 * more data than belong into a repository. */
static void check_made(struct golden *golden)
{
    struct varve_stats stats;
    unsigned levels = 0;

    varve_stats(golden->db, &stats);
    for (int i = 0; i < VARVE_LEVELS_MAX; i++) {
        levels += stats.levels[i].segments > 0;
        if (stats.levels[i].segments > 0)
            printf("level %d: %llu runs, %llu segments, %llu bytes\n", i,
                   (unsigned long long)stats.levels[i].runs,
                   (unsigned long long)stats.levels[i].segments,
                   (unsigned long long)stats.levels[i].bytes);
    }
    printf("%llu range tombstones in segments, %llu log files\n",
           (unsigned long long)stats.range_tombstones, (unsigned long long)stats.wal_files);
    CHECK(levels >= 2 && stats.levels[0].runs >= 3 &&
          stats.levels[VARVE_LEVELS_MAX - 1].segments >= 3);
    CHECK(stats.range_tombstones >= 3 && stats.wal_files >= 2);
}

static int golden_make(struct golden *golden, const char *dir)
{
    struct varve_batch *batch = varve_batch_create();
    int rc = golden_open(golden, dir, 0);

    CHECK(batch != NULL);
    if (rc == 0) {
        fill_last_level(golden, batch);
        fill_upper_levels(golden, batch);
        fill_log(golden, batch);
        check_made(golden);
        rc = varve_close(golden->db, &golden->err);
    }
    varve_batch_destroy(batch);
    return rc;
}

/* ---- dump ---- */

static void print_bytes(struct varve_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] > 0x20 && bytes.data[i] < 0x7f && bytes.data[i] != '\\')
            putchar(bytes.data[i]);
        else
            printf("\\x%02x", bytes.data[i]);
    }
}

static void print_record(struct varve_iter *iter)
{
    struct varve_slice value = varve_iter_value(iter);

    print_bytes(varve_iter_key(iter));
    printf(" = ");
    if (value.len > SHOWN_BYTES)
        printf("%zu bytes, CRC %08x", value.len, crc32c(0, value.data, value.len));
    else
        print_bytes(value);
    if (varve_iter_expire_ms(iter) != 0)
        printf(" @%llu", (unsigned long long)varve_iter_expire_ms(iter));
    printf("\n");
}

static int golden_dump(struct golden *golden, const char *dir)
{
    struct varve_read read = {.now_ms = NOW_MS};
    int rc = golden_open(golden, dir, 1);

    if (rc != 0)
        return rc;
    struct varve_iter *iter = varve_iter_create(golden->db, &read, NULL, NULL, &golden->err);
    CHECK(iter != NULL);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter))
        print_record(iter);
    rc = varve_iter_status(iter, &golden->err);
    varve_iter_destroy(iter);
    for (char group = 'a'; rc == 0 && group <= 'z'; group++) {
        uint64_t count = 0;
        rc = varve_count(golden->db, varve_slice(&group, 1), &count, &golden->err);
        if (count > 0)
            printf("group %c: %llu\n", group, (unsigned long long)count);
    }
    struct varve_err close_err = {0};
    int close_rc = varve_close(golden->db, &close_err);
    if (rc == 0 && close_rc != 0)
        golden->err = close_err;
    return rc != 0 ? rc : close_rc;
}

int main(int argc, char **argv)
{
    struct golden golden = {0};
    int rc;

    if (argc != 3 || (strcmp(argv[1], "make") != 0 && strcmp(argv[1], "dump") != 0)) {
        fprintf(stderr, "usage: golden make|dump DIR\n");
        return 2;
    }
    golden.stepper = step_executor_create(1);
    rc = strcmp(argv[1], "make") == 0 ? golden_make(&golden, argv[2])
                                      : golden_dump(&golden, argv[2]);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", varve_status_name(rc), err_text(&golden.err));
    step_executor_destroy(golden.stepper);
    return rc != 0;
}
