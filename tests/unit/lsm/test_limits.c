#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "bed.h"
#include "lsm/batch.h"
#include "lsm/db.h"

/* The limits of varve/options.h and lsm/FORMAT.md, 6: one below, at it, one above. */

#define KB ((uint64_t)1024)
#define MB (KB * KB)

/* ---- options ---- */

enum field {
    MEMTABLE_SIZE,
    MEMTABLES,
    CACHE_SIZE,
    BLOCK_SIZE,
    SEGMENT_SIZE,
    SEGMENTS,
    BLOOM_BITS,
    COMPACTION_JOBS,
    WAL_SIZE,
    WAL_POOL,
};

static void set_field(struct varve_options *options, enum field field, uint64_t value)
{
    switch (field) {
    case MEMTABLE_SIZE: options->memtable_size_bytes = value; break;
    case MEMTABLES: options->memtables_max = (uint32_t)value; break;
    case CACHE_SIZE: options->block_cache_size_bytes = value; break;
    case BLOCK_SIZE: options->block_size_bytes = (uint32_t)value; break;
    case SEGMENT_SIZE: options->segment_size_bytes = value; break;
    case SEGMENTS: options->segments_max = (uint32_t)value; break;
    case BLOOM_BITS: options->bloom_bits_per_key = (uint32_t)value; break;
    case COMPACTION_JOBS: options->compaction_jobs = (uint32_t)value; break;
    case WAL_SIZE: options->wal_size_bytes = value; break;
    case WAL_POOL: options->wal_pool_size = (uint32_t)value; break;
    }
}

struct bound {
    enum field field;
    uint64_t min; /* 0: none, since 0 is the default */
    uint64_t max; /* 0: none */
};

static void check_value(enum field field, uint64_t value, int allowed)
{
    struct bed bed;

    bed_init(&bed, 1);
    set_field(&bed.options, field, value);
    assert_int_equal(bed_open(&bed), allowed ? 0 : VARVE_EINVAL);
    if (allowed) {
        assert_int_equal(bed_put(&bed, "k", "v"), 0);
        bed_flush_ok(&bed);
        assert_string_equal(bed_get(&bed, "k"), "v");
    }
    bed_deinit(&bed);
}

static void test_options__bounds(void **state)
{
    static const struct bound bounds[] = {
        {MEMTABLE_SIZE, 64 * KB, 0}, {MEMTABLES, 2, 16},         {CACHE_SIZE, MB, 0},
        {BLOCK_SIZE, 512, MB},       {SEGMENT_SIZE, 16 * KB, 0}, {SEGMENTS, 16, 32768},
        {BLOOM_BITS, 0, 32},         {COMPACTION_JOBS, 0, 16},   {WAL_SIZE, 4 * KB, 0},
        {WAL_POOL, 0, 16},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        const struct bound *bound = &bounds[i];
        for (uint64_t by = 0; by <= 2; by++) {
            if (bound->min != 0)
                check_value(bound->field, bound->min - 1 + by, by >= 1);
            if (bound->max != 0)
                check_value(bound->field, bound->max - 1 + by, by <= 1);
        }
    }
}

/* ---- memtables ---- */

static int put_some(struct bed *bed)
{
    uint8_t value[500] = {0};

    return bed_put_bytes(bed, "some", varve_slice(value, sizeof(value)), 0);
}

/* No job runs meanwhile: varve_write() would let one. */
static int put_without_help(struct bed *bed)
{
    char value[500];

    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    int rc = bed_add(bed, "some", value);
    return rc != 0 ? rc : varve_group_commit(bed->db, &bed->err);
}

/* memtables_max of them are filled, one after the other; the write behind waits until one was flushed. */
static void test_memtables__max(void **state)
{
    uint64_t size = 256 * KB;

    (void)state;
    for (uint32_t max = 2; max <= MEMTABLES_MAX; max += max == 2 ? 1 : MEMTABLES_MAX - 3) {
        struct bed bed;
        bed_init(&bed, max);
        bed.options.memtables_max = max;
        bed.options.memtable_size_bytes = size;
        bed.options.durability = VARVE_NO;
        bed_open_ok(&bed);
        uint64_t puts = 0;
        int rc = 0;
        uint64_t most = 0;
        while (rc == 0 && puts < 100000) {
            rc = put_without_help(&bed);
            puts += rc == 0;
            uint64_t now = bed_stats(&bed).memtables;
            most = now > most ? now : most;
        }
        assert_int_equal(rc, VARVE_WOULD_BLOCK);
        assert_int_equal(most, max);
        assert_int_equal(bed_stats(&bed).memtables, max);
        /* The first one gave way when no other waited. */
        assert_true(bed_stats(&bed).memtables_bytes >= (max - 1) * size + size / 2);
        assert_true(bed_stats(&bed).memtables_bytes <= max * (size + 2 * KB));
        assert_int_equal(bed_delete(&bed, "some"), 0); /* a way out of the trouble */
        bed_run(&bed);
        varve_tick(bed.db);
        bed_run(&bed);
        assert_int_equal(put_some(&bed), 0);
        bed_deinit(&bed);
    }
}

/* A memtable takes batches as long as it is below `size`, and gives way with the first that reaches it. */
static void check_gives_way_at(struct bed *bed, uint64_t size)
{
    size_t cost = 0;

    while (memtable_used_bytes(bed->db->memtable) + 2 * cost < size) {
        size_t before = memtable_used_bytes(bed->db->memtable);
        assert_int_equal(put_some(bed), 0);
        cost = memtable_used_bytes(bed->db->memtable) - before;
        assert_int_equal(bed_stats(bed).memtables, 1);
    }
    while (bed_stats(bed).memtables == 1) {
        assert_true(memtable_used_bytes(bed->db->memtable) < size);
        assert_int_equal(put_some(bed), 0);
    }
    assert_int_equal(bed_stats(bed).memtables, 2);
    assert_int_equal(bed_stats(bed).memtable_entries, 0);
    assert_true(bed_stats(bed).memtables_bytes >= size);
    assert_true(bed_stats(bed).memtables_bytes <= size + 4 * cost);
}

/* Where what is written during a flush takes as much as was flushed, so early that both take a quarter more than
 * one's size; by themselves, or behind another one that waits, at its size. */
static void test_memtable__size(void **state)
{
    static const struct {
        uint32_t growth_permille;
        uint64_t bytes;
    } cases[] = {{1000, 40 * KB}, {0, 64 * KB}, {250, 64 * KB}, {2000, 32 * KB}};
    struct bed *bed = *state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bed_close_ok(bed);
        bed->options.memtable_size_bytes = 64 * KB;
        bed_open_ok(bed);
        bed_flush_ok(bed);
        atomic_store(&bed->db->flusher.growth_permille, cases[i].growth_permille);
        db_refresh_load(bed->db);
        check_gives_way_at(bed, cases[i].bytes);
    }
}

/* What a flush sees grow meanwhile is believed at once, and forgotten slowly. */
static void test_memtable__growth(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.memtable_size_bytes = 64 * KB;
    bed_open_ok(bed);
    struct flusher *flusher = &bed->db->flusher;
    assert_int_equal(atomic_load(&flusher->growth_permille), 1000);
    for (int i = 0; i < 4; i++) { /* nothing comes meanwhile */
        uint32_t before = atomic_load(&flusher->growth_permille);
        while (bed_stats(bed).memtables == 1)
            assert_int_equal(put_without_help(bed), 0);
        bed_run(bed);
        varve_tick(bed->db);
        bed_run(bed);
        uint32_t after = atomic_load(&flusher->growth_permille);
        assert_true(after < before && after >= before * 3 / 4);
    }
    uint32_t learnt = atomic_load(&flusher->growth_permille);
    assert_int_equal(put_without_help(bed), 0);
    bed_flush_only(bed); /* not since it was full: says nothing */
    assert_int_equal(atomic_load(&flusher->growth_permille), learnt);
    while (bed_stats(bed).memtables < 3) /* two more */
        assert_int_equal(put_without_help(bed), 0);
    assert_true(bed_run_class(bed, VARVE_JOB_FLUSH) == 1);
    bed_run_class(bed, VARVE_JOB_SYNC);
    varve_tick(bed->db);
    bed_run_class(bed, VARVE_JOB_MAINTENANCE);
    assert_true(atomic_load(&flusher->growth_permille) >= 1000);
}

/* A batch that is longer than a memtable is one record all the same. */
static void test_memtable__longer_batch(void **state)
{
    struct bed *bed = *state;
    uint8_t *value = mem_alloc_zero(200 * KB);

    bed_close_ok(bed);
    bed->options.memtable_size_bytes = 64 * KB;
    bed_open_ok(bed);
    assert_non_null(value);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bed_put_bytes(bed, "long", varve_slice(value, 200 * KB), 0), 0);
        bed_run(bed);
        varve_tick(bed->db);
        bed_run(bed);
    }
    mem_free(value);
    bed_crash(bed, SIM_ALL_LOST, 1);
    bed_open_ok(bed);
    assert_int_equal(strlen(bed_get(bed, "long")), 0); /* zeros */
}

/* ---- keys and values ---- */

/* A range of addresses that nobody wrote to costs no memory but where it is read. */
static void test_batch__key_and_value(void **state)
{
    size_t cap = VARVE_VALUE_MAX_BYTES + 1;
    uint8_t *bytes = calloc(1, cap); /* past the engine's allocator */
    struct varve_slice key = varve_slice_str("k");

    (void)state;
    assert_non_null(bytes);
    assert_int_equal(VARVE_KEY_MAX_BYTES, 512 * MB + 64);
    assert_int_equal(VARVE_VALUE_MAX_BYTES, 512 * MB + 64);
    for (int by = -1; by <= 1; by++) {
        struct varve_batch *batch = varve_batch_create();
        struct varve_slice value = varve_slice(bytes,
                                               VARVE_VALUE_MAX_BYTES + (size_t)(ptrdiff_t)by);
        assert_non_null(batch);
        int rc = varve_batch_put(batch, &key, 1, &value, 1, 0);
        assert_int_equal(rc, by > 0 ? VARVE_EINVAL : 0);
        assert_int_equal(varve_batch_count(batch), by > 0 ? 0 : 1);
        varve_batch_destroy(batch);
    }
    struct varve_batch *batch = varve_batch_create();
    struct varve_slice over = varve_slice(bytes, VARVE_KEY_MAX_BYTES + 1);
    struct varve_slice parts[2] = {varve_slice(bytes, VARVE_KEY_MAX_BYTES), varve_slice_str("1")};
    assert_int_equal(varve_batch_put(batch, &over, 1, &key, 1, 0), VARVE_EINVAL);
    assert_int_equal(varve_batch_put(batch, parts, 2, &key, 1, 0), VARVE_EINVAL);
    assert_int_equal(varve_batch_delete(batch, &over, 1), VARVE_EINVAL);
    assert_int_equal(varve_batch_delete_range(batch, varve_slice(NULL, 0), over), VARVE_EINVAL);
    assert_int_equal(varve_batch_count(batch), 0);
    varve_batch_destroy(batch);
    free(bytes);
}

/* Lengths at which the representation changes: borrowed by batches, a block of its own in a segment. */
static void test_value__lengths(void **state)
{
    static const size_t lengths[] = {0,     1,     127,   128,       4095,          4096,
                                     16383, 16384, 16385, 64 * 1024, 64 * 1024 + 1, 300000};
    struct bed *bed = *state;
    uint8_t *value = mem_alloc(300000);

    assert_non_null(value);
    for (size_t i = 0; i < 300000; i++)
        value[i] = (uint8_t)(i * 2654435761u >> 24);
    for (int round = 0; round < 3; round++) { /* memory, segments, after a restart */
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
            char key[300];
            struct varve_pin pin;
            memset(key, 'k', sizeof(key)); /* and keys of 1, 128, 255 ... */
            struct varve_slice name = varve_slice(key, 1 + i * 25);
            key[i * 25] = 'e';
            key[i * 25 + 1] = '\0';
            if (round == 0)
                assert_int_equal(bed_put_bytes(bed, key, varve_slice(value, lengths[i]), 0), 0);
            assert_int_equal(varve_get(bed->db, NULL, name, &pin, &bed->err), 0);
            assert_true(varve_slice_equal(pin.value, varve_slice(value, lengths[i])));
            varve_pin_release(&pin);
        }
        if (round == 0)
            assert_int_equal(varve_compact(bed->db, &bed->err), 0);
        if (round == 1) {
            bed_close_ok(bed);
            bed_open_ok(bed);
        }
    }
    mem_free(value);
}

/* ---- segments ---- */

/* As many small flushes as one likes: files stay below segments_max, but for what the next merge takes. */
static void test_segments__max(void **state)
{
    (void)state;
    for (uint32_t max = 16; max <= 18; max++) {
        struct bed bed;
        uint64_t most = 0;
        bed_init(&bed, max);
        bed.options.segments_max = max;
        bed.options.segment_size_bytes = 16 * KB;
        bed_open_ok(&bed);
        for (int i = 0; i < 60; i++) {
            char prefix[8];
            snprintf(prefix, sizeof(prefix), "%c%02d", 'a' + i % 26, i);
            bed_fill(&bed, prefix, 40, 400);
            bed_flush_only(&bed);
            bed_run(&bed);
            uint64_t count = 0;
            for (int level = 0; level < LEVELS_MAX; level++)
                count += bed_stats(&bed).levels[level].segments;
            most = count > most ? count : most;
        }
        assert_in_range(most, 4, max);
        assert_int_equal(varve_write_delay_us(bed.db, NULL), 0);
        bed_deinit(&bed);
    }
}

/* ---- the block cache ---- */

/* However much is read: blocks, indexes and filters together stay within the limit. */
static void test_cache__hard_limit(void **state)
{
    struct bed *bed = *state;
    struct rng rng;

    rng_init(&rng, 1);
    for (uint64_t limit = MB; limit <= MB + 1; limit++) {
        bed_close_ok(bed);
        bed->options.block_cache_size_bytes = limit;
        bed_open_ok(bed);
        for (int i = 0; i < 3; i++) {
            bed_fill(bed, i == 0 ? "a" : i == 1 ? "b" : "c", 1000, 1000);
            bed_flush_ok(bed);
        }
        bed_run(bed);
        uint64_t most = 0;
        for (int i = 0; i < 6000; i++) {
            char key[16];
            snprintf(key, sizeof(key), "%c%06d", (char)('a' + rng_below(&rng, 3)),
                     (int)rng_below(&rng, 1000));
            (void)bed_get(bed, key);
            if (i % 16 == 0)
                bed_run_class(bed, VARVE_JOB_RECLAIM);
            struct varve_stats stats = bed_stats(bed);
            assert_int_equal(stats.cache_limit_bytes, limit);
            assert_true(stats.cache_used_bytes + stats.pinned_bytes <= limit);
            if (stats.cache_used_bytes > most)
                most = stats.cache_used_bytes;
        }
        assert_true(most > limit / 2); /* and it is made use of */
        assert_true(bed_stats(bed).cache_hits > 0);
    }
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options__bounds), cmocka_unit_test(test_memtables__max),
        WITH_BED(test_memtable__size),          WITH_BED(test_memtable__growth),
        WITH_BED(test_memtable__longer_batch),  cmocka_unit_test(test_batch__key_and_value),
        WITH_BED(test_value__lengths),          cmocka_unit_test(test_segments__max),
        WITH_BED(test_cache__hard_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
