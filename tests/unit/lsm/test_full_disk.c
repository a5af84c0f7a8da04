/* A disk that the data fill themselves: writes are refused, half of the keys are deleted, writes are taken
 * again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "bed.h"
#include "lsm/db.h"

#define KIB ((size_t)1024)
#define SECOND_US ((uint64_t)1000000)
#define KEYS 6000
#define MEMTABLE (64 * KIB)

/* What our ops, which stand before the bed's, know of the disk. */
struct disk {
    const struct varve_env_ops *below;
    struct varve_env_ops ops;
    uint64_t bytes;
    int refuses;                    /* what does not fit; or it only tells the room */
    int has_logs;                   /* or they are elsewhere */
    struct varve_file *outputs[64]; /* files that are being written */
    uint64_t versions[KEYS];        /* what each key must have; 0: nothing */
    struct bed bed;
    struct rng rng;
};

static struct disk disk;

static void key_text(char text[16], int key)
{
    snprintf(text, 16, "k%06d", key);
}

/* ---- the disk ---- */

static int is_on_disk(const char *name)
{
    return strstr(name, ".seg") != NULL || strstr(name, "RESERVE") != NULL ||
           (disk.has_logs && strstr(name, ".wal") != NULL);
}

static int disk_add(void *arg, const char *name)
{
    struct varve_env *env = fault_as_env(disk.bed.fault);
    struct varve_file *file;
    uint64_t bytes = 0;
    char path[256];

    snprintf(path, sizeof(path), BED_DIR "/%s", name);
    if (is_on_disk(name) && disk.below->open(env, path, VARVE_OPEN_READ, &file, NULL) == 0) {
        assert_int_equal(disk.below->size(env, file, &bytes, NULL), 0);
        disk.below->close(env, file);
    }
    *(uint64_t *)arg += bytes;
    return 0;
}

static uint64_t disk_used(void)
{
    uint64_t bytes = 0;

    (void)disk.below->list_dir(fault_as_env(disk.bed.fault), BED_DIR, disk_add, &bytes, NULL);
    return bytes;
}

static int disk_free_space(struct varve_env *env, const char *path, uint64_t *bytes,
                           struct varve_err *err)
{
    uint64_t used = disk_used();

    (void)env;
    (void)path;
    (void)err;
    *bytes = used < disk.bytes ? disk.bytes - used : 0;
    return 0;
}

static int disk_open(struct varve_env *env, const char *path, unsigned flags,
                     struct varve_file **file, struct varve_err *err)
{
    int rc = disk.below->open(env, path, flags, file, err);
    size_t i = 0;

    if (rc != 0 || (flags & VARVE_OPEN_CREATE) == 0 || !is_on_disk(path))
        return rc;
    while (disk.outputs[i] != NULL)
        assert_true(++i < COUNT_OF(disk.outputs));
    disk.outputs[i] = *file;
    return 0;
}

static int is_output(const struct varve_file *file, int forget)
{
    for (size_t i = 0; i < COUNT_OF(disk.outputs); i++)
        if (file != NULL && disk.outputs[i] == file) {
            if (forget)
                disk.outputs[i] = NULL;
            return 1;
        }
    return 0;
}

static void disk_close(struct varve_env *env, struct varve_file *file)
{
    (void)is_output(file, 1);
    disk.below->close(env, file);
}

/* What is written over takes no room: a log file that is used again. */
static int disk_write_at(struct varve_env *env, struct varve_file *file,
                         const struct varve_slice *parts, size_t count, uint64_t offset,
                         struct varve_err *err)
{
    uint64_t end = offset;
    uint64_t size = 0;

    for (size_t i = 0; i < count; i++)
        end += parts[i].len;
    assert_int_equal(disk.below->size(env, file, &size, NULL), 0);
    if (disk.refuses && is_output(file, 0) && end > size && disk_used() + end - size > disk.bytes)
        return err_set_errno(err, ENOSPC, "write");
    return disk.below->write_at(env, file, parts, count, offset, err);
}

/* ---- a database on it ---- */

static void disk_open_db(uint64_t seed, size_t min_free, size_t reserve)
{
    disk = (struct disk){.bytes = 4096 * KIB, .refuses = 1};
    rng_init(&disk.rng, seed);
    bed_init(&disk.bed, 1);
    disk.bed.options.durability = VARVE_NO;
    disk.bed.options.block_cache_size_bytes = 1024 * KIB;
    disk.bed.options.memtable_size_bytes = MEMTABLE;
    disk.bed.options.segment_size_bytes = 128 * KIB;
    disk.bed.options.wal_size_bytes = MEMTABLE;
    disk.bed.options.min_free_bytes = min_free;
    disk.bed.options.reserve_size_bytes = reserve;
    disk.below = fault_as_env(disk.bed.fault)->ops;
    disk.ops = *disk.below;
    disk.ops.free_space = disk_free_space;
    disk.ops.open = disk_open;
    disk.ops.close = disk_close;
    disk.ops.write_at = disk_write_at;
    fault_as_env(disk.bed.fault)->ops = &disk.ops;
    bed_open_ok(&disk.bed);
}

static void disk_close_db(void)
{
    disk.refuses = 0;
    bed_close_ok(&disk.bed);
    fault_as_env(disk.bed.fault)->ops = disk.below;
    bed_deinit(&disk.bed);
}

static void pass_time(void)
{
    for (int i = 0; i < 20; i++)
        bed_pass_us(&disk.bed, SECOND_US);
}

/* One write of a key by chance, with a value that does not compress; waits for nothing. */
static int put(void)
{
    uint8_t bytes[KIB];
    char text[16];
    int key = (int)rng_below(&disk.rng, KEYS);
    uint64_t version = rng_next(&disk.rng) | 1;
    struct rng value;

    rng_init(&value, version);
    for (size_t i = 0; i < sizeof(bytes); i += 8) {
        uint64_t word = rng_next(&value);
        memcpy(bytes + i, &word, 8);
    }
    key_text(text, key);
    struct varve_batch *batch = varve_batch_create();
    struct varve_slice name = varve_slice_str(text);
    struct varve_slice part = varve_slice(bytes, sizeof(bytes));
    assert_int_equal(varve_batch_put(batch, &name, 1, &part, 1, 0), 0);
    int rc = varve_group_add(disk.bed.db, batch, NULL, &disk.bed.err);
    if (rc == 0)
        rc = varve_group_commit(disk.bed.db, &disk.bed.err);
    varve_batch_destroy(batch);
    if (rc == 0)
        disk.versions[key] = version;
    if (rc == VARVE_EREADONLY) /* the log found no room, and is to be healed */
        rc = VARVE_ENOSPC;
    assert_true(rc == 0 || rc == VARVE_ENOSPC || rc == VARVE_WOULD_BLOCK);
    return rc;
}

/* The same, with patience while the memtables are full. */
static int put_patiently(void)
{
    int rc = put();

    for (int tries = 0; rc == VARVE_WOULD_BLOCK && tries < 100; tries++) {
        bed_pass_us(&disk.bed, SECOND_US / 10);
        rc = put();
    }
    return rc;
}

static void delete_half(void)
{
    char text[16];

    for (int key = 0; key < KEYS; key++) {
        if (disk.versions[key] == 0 || rng_below(&disk.rng, 2) == 0)
            continue;
        key_text(text, key);
        for (int tries = 0; bed_delete(&disk.bed, text) != 0; tries++) {
            assert_true(tries < 100);
            bed_pass_us(&disk.bed, SECOND_US / 10);
        }
        disk.versions[key] = 0;
        if (key % 64 == 0)
            bed_pass_us(&disk.bed, SECOND_US / 20);
    }
}

static void check_all(void)
{
    uint64_t live = 0;
    char text[16];

    for (int key = 0; key < KEYS; key++) {
        struct varve_pin pin;
        struct rng value;
        key_text(text, key);
        int rc = varve_get(disk.bed.db, NULL, varve_slice_str(text), &pin, &disk.bed.err);
        assert_int_equal(rc, disk.versions[key] == 0 ? VARVE_NOT_FOUND : 0);
        if (rc != 0)
            continue;
        rng_init(&value, disk.versions[key]);
        uint64_t word = rng_next(&value);
        assert_int_equal(pin.value.len, KIB);
        assert_memory_equal(pin.value.data, &word, 8);
        varve_pin_release(&pin);
        live++;
    }
    assert_int_equal(bed_count(&disk.bed, "k"), live);
}

static void check_comes_back(void)
{
    delete_half();
    check_all();
    for (int i = 0; i < 100 && put_patiently() != 0; i++)
        bed_pass_us(&disk.bed, SECOND_US / 10);
    pass_time();
    assert_int_equal(put_patiently(), 0);
    check_all();
}

/* ---- tests ---- */

/* Time and again; the counts are asked in between, so that they are remembered. taken: somebody else takes what
 * is left, so that nothing but the reserve is there for it. */
static void check_full_disk(uint64_t seed, size_t min_free, int taken)
{
    disk_open_db(seed, min_free, min_free / 2);
    disk.refuses = !taken;
    uint64_t all = disk.bytes;
    for (int cycle = 0; cycle < 2; cycle++) {
        for (int i = 0; put_patiently() == 0; i++)
            if (i % 16 == 0)
                bed_pass_us(&disk.bed, SECOND_US / 20);
        check_all();
        pass_time(); /* what is due is done */
        if (taken)
            disk.bytes = disk_used();
        pass_time();
        check_comes_back();
        assert_true(bed_stats(&disk.bed).segment_bytes < all / 4 * 3);
        disk.bytes = all;
    }
    disk_close_db();
}

static void test_full_disk__comes_back_by_itself(void **state)
{
    (void)state;
    check_full_disk(3, 256 * KIB, 0);
    check_full_disk(6, 128 * KIB, 0);
    check_full_disk(13, 128 * KIB, 0);
}

static void test_full_disk__comes_back_with_the_reserve(void **state)
{
    (void)state;
    check_full_disk(7, 512 * KIB, 1);
}

/* The logs are there too, and the jobs are late, now more and now less. */
static void check_late_jobs(uint64_t seed)
{
    disk_open_db(seed, 2 * MEMTABLE, MEMTABLE);
    disk.has_logs = 1;
    for (int cycle = 0; cycle < 2; cycle++) {
        int refused = 0;
        for (uint64_t i = 0, late = 1; refused < 20; i++) {
            if (i % 256 == 0)
                late = 1 + rng_below(&disk.rng, 16);
            refused += put() == VARVE_ENOSPC;
            if (i % 16 != 0)
                continue;
            sim_clock_advance_us(disk.bed.sim, SECOND_US / 100);
            varve_tick(disk.bed.db);
            if (i / 16 % late == 0)
                bed_run(&disk.bed);
        }
        check_comes_back();
    }
    disk_close_db();
}

static void test_full_disk__comes_back_however_late_its_jobs(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        check_late_jobs(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk__comes_back_by_itself),
        cmocka_unit_test(test_full_disk__comes_back_with_the_reserve),
        cmocka_unit_test(test_full_disk__comes_back_however_late_its_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
