/* The same runs merged twice, once with blocks copied as they are and once without: what comes of it must be the
 * same, entry by entry. */
#include "levels.h"

#include <stdlib.h>
#include <string.h>

#include "lsm/rewrite.h"
#include "lsm/segment_set.h"
#include "segment/merge_iter.h"
#include "segment/segment_impl.h"

#define RUNS 3

static const struct segment_read FORWARD = {.forward = 1};
static const struct segment_read READ = {.wait = SEGMENT_WAIT};

static uint64_t expired_before_ms; /* by what merges take for expired; 0: nothing is */

struct merged {
    struct segment_set *set;
    struct segment *const *segments;
    size_t count;
};

static int emit(void *arg, const struct entry *entry, struct varve_err *err)
{
    return segment_set_add(arg, entry, err);
}

static int copy(void *arg, const struct iter_block *block, struct varve_err *err)
{
    return segment_set_copy(arg, block, err);
}

static size_t group(void *arg, struct varve_slice key, uint64_t *ignore_seq)
{
    *ignore_seq = 0;
    return levels_group(arg, key);
}

static int nothing_older(void *arg, struct varve_slice key)
{
    (void)arg;
    (void)key;
    return 0;
}

/* All of the version's runs as one. */
static struct iter *open_input(struct levels *b)
{
    struct iter *sources[RUNS];
    size_t count = b->version->run_count;

    assert_true(count <= RUNS);
    for (size_t r = 0; r < count; r++)
        sources[r] = run_iter_create(b->version->runs[r].segments, b->version->runs[r].count,
                                     &FORWARD, 64 * 1024);
    struct iter *input = merge_iter_create(sources, count);
    assert_non_null(input);
    return input;
}

static int merge(struct levels *b, const struct varve_slice *cuts, size_t cut_count, int copies,
                 struct merged *merged)
{
    const struct segment_set_config config = {.dir = "/db",
                                              .writer = levels_writer(b),
                                              .segment_bytes = 6000,
                                              .cuts = cuts,
                                              .cut_count = cut_count,
                                              .new_file_no = levels_file_no,
                                              .file_no_arg = b};
    struct count_changes changes = {0};

    *merged = (struct merged){0};
    assert_int_equal(segment_set_create(&config, &merged->set, &b->err), 0);
    const struct rewrite_rules rules = {.snapshots = b->snapshots,
                                        .snapshot_count = b->snapshot_count,
                                        .ranges = b->version->ranges,
                                        .older_may_hold = nothing_older,
                                        .expired_before_ms = expired_before_ms,
                                        .group = group,
                                        .emit = emit,
                                        .copy = copies ? copy : NULL,
                                        .arg = merged->set};
    struct iter *input = open_input(b);
    input->ops->first(input);
    int rc = rewrite_run(&rules, input, varve_slice(NULL, 0), &changes, &b->err);
    iter_destroy(input);
    count_changes_deinit(&changes);
    if (rc == 0)
        rc = segment_set_finish(merged->set, &merged->segments, &merged->count, &b->err);
    return rc;
}

static struct iter *open_merged(const struct merged *merged)
{
    struct iter *iter = run_iter_create(merged->segments, merged->count, &READ, 0);

    assert_non_null(iter);
    iter->ops->first(iter);
    return iter;
}

/* Reads of a value apart are none of this test's. */
static void check_same(const struct merged *a, const struct merged *b)
{
    struct iter *left = open_merged(a);
    struct iter *right = open_merged(b);

    while (left->valid) {
        assert_true(right->valid);
        assert_int_equal(left->entry.seq, right->entry.seq);
        assert_int_equal(left->entry.chunk.crc, right->entry.chunk.crc);
        assert_int_equal(left->entry.chunk.kind, right->entry.chunk.kind);
        assert_int_equal(left->entry.prior_unknown, right->entry.prior_unknown);
        assert_true(varve_slice_equal(left->entry.chunk.key, right->entry.chunk.key));
        left->ops->next(left);
        right->ops->next(right);
    }
    assert_false(right->valid);
    assert_int_equal(left->rc, 0);
    assert_int_equal(right->rc, 0);
    iter_destroy(left);
    iter_destroy(right);
}

/* Ends where the cuts are, whatever was copied. */
static void check_cuts(const struct merged *merged, const struct varve_slice *cuts, size_t count)
{
    for (size_t i = 0; i < merged->count; i++) {
        const struct properties *properties = segment_properties(merged->segments[i]);
        struct varve_slice lower = segment_bound_slice(&properties->lower);
        size_t inside = 0;
        for (size_t c = 0; c < count; c++)
            inside += varve_slice_compare(lower, cuts[c]) < 0 &&
                      segment_below_upper(cuts[c], segment_bound_slice(&properties->upper));
        assert_int_equal(inside, 0);
    }
}

/* A run of keys [from, to), one after the other. */
static void put_keys(struct levels *b, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        uint8_t *value = calloc(1, 100);
        struct chunk *chunk = &b->ops[b->count++].chunk;
        assert_non_null(value);
        *chunk = (struct chunk){
            .kind = CHUNK_PUT, .key = levels_key(b, i), .value = varve_slice(value, 100)};
        if (expired_before_ms > 0 && i % 9 == 0)
            chunk->expire_ms = expired_before_ms - 1;
        chunk->crc = chunk_crc(chunk);
    }
    levels_flush(b);
}

/* All keys, and over them a few operations of any kind that lie near each other. */
static void make_runs(struct levels *b, uint64_t seed)
{
    levels_init(b, seed);
    put_keys(b, 0, LEVELS_KEYS);
    for (int i = 0; i < RUNS - 1; i++) {
        if (levels_below(b, 2)) {
            b->snapshots[b->snapshot_count] = b->count;
            b->snapshot_ms[b->snapshot_count++] = b->now_ms;
        }
        b->near_count = 1 + levels_below(b, 5);
        b->near_from = levels_below(b, LEVELS_KEYS - b->near_count);
        for (uint64_t ops = 1 + levels_below(b, 12); ops > 0; ops--)
            levels_add_op(b);
        levels_flush(b);
    }
}

static void test_copied_blocks__change_nothing(void **state)
{
    static struct levels b;
    uint64_t copied_bytes = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct merged with, without;
        make_runs(&b, seed);
        const struct varve_slice cuts[] = {levels_key(&b, 5), levels_key(&b, 25),
                                           levels_key(&b, 46)};
        assert_int_equal(merge(&b, cuts, 3, 1, &with), 0);
        assert_int_equal(merge(&b, cuts, 3, 0, &without), 0);
        check_same(&with, &without);
        check_cuts(&with, cuts, 3);
        copied_bytes += segment_set_copied_bytes(with.set);
        assert_int_equal(segment_set_copied_bytes(without.set), 0);
        segment_set_destroy(with.set);
        segment_set_destroy(without.set);
        levels_deinit(&b);
    }
    assert_true(copied_bytes > 5000);
}

/* A file of one run, and of another one that lies behind it: all of the first is copied. */
static void make_two(struct levels *b)
{
    levels_init(b, 5);
    put_keys(b, 20, 56); /* of no group */
    put_keys(b, 56, LEVELS_KEYS);
}

static void test_copied_blocks__hold_nothing_expired(void **state)
{
    static struct levels b;
    struct merged with, without;

    (void)state;
    expired_before_ms = 5000;
    make_two(&b);
    assert_int_equal(merge(&b, NULL, 0, 1, &with), 0);
    assert_int_equal(merge(&b, NULL, 0, 0, &without), 0);
    check_same(&with, &without);
    assert_true(segment_set_copied_bytes(with.set) > 500);
    segment_set_destroy(with.set);
    segment_set_destroy(without.set);
    levels_deinit(&b);
    expired_before_ms = 0;
}

static void flip(struct levels *b, uint64_t offset)
{
    struct varve_file *file = NULL;
    uint8_t byte;
    size_t got;

    assert_int_equal(b->env->ops->open(b->env, "/db/000001.seg", VARVE_OPEN_WRITE, &file, &b->err),
                     0);
    assert_int_equal(b->env->ops->read_at(b->env, file, &byte, 1, offset, &got, &b->err), 0);
    byte ^= 1;
    struct varve_slice part = varve_slice(&byte, 1);
    assert_int_equal(b->env->ops->write_at(b->env, file, &part, 1, offset, &b->err), 0);
    b->env->ops->close(b->env, file);
}

/* Each byte of a block that would be copied, its sequences and lengths among them: its CRC is asked before. */
static void test_copied_blocks__are_checked(void **state)
{
    static struct levels b;
    struct merged merged;

    (void)state;
    make_two(&b);
    assert_int_equal(merge(&b, NULL, 0, 1, &merged), 0);
    assert_true(segment_set_copied_bytes(merged.set) > 1500);
    segment_set_destroy(merged.set);
    for (uint64_t offset = 64; offset < 1500; offset++) {
        flip(&b, offset);
        assert_int_equal(merge(&b, NULL, 0, 1, &merged), VARVE_ECORRUPT);
        assert_non_null(strstr(b.err.text, "/db/000001.seg: offset "));
        segment_set_destroy(merged.set);
        flip(&b, offset);
    }
    levels_deinit(&b);
}

/* A record that was damaged before its block got a CRC: nobody looks at it on the way, but who reads back. */
static void test_copied_blocks__are_read_back(void **state)
{
    static struct levels b;
    struct merged merged;
    struct varve_file *file = NULL;
    uint8_t bytes[2048];
    size_t got;

    (void)state;
    make_two(&b);
    const struct segment *segment = b.version->runs[1].segments[0];
    size_t len = segment->index.lens[0];
    assert_true(len + BLOCK_TRAILER_BYTES <= sizeof(bytes));
    assert_int_equal(b.env->ops->open(b.env, "/db/000001.seg", VARVE_OPEN_WRITE, &file, &b.err), 0);
    assert_int_equal(b.env->ops->read_at(b.env, file, bytes, len, FILE_HEADER_BYTES, &got, &b.err),
                     0);
    bytes[len - 1] ^= 1; /* of the last value */
    block_trailer_put(bytes + len, segment->salt, FILE_HEADER_BYTES, BLOCK_DATA, 0,
                      varve_slice(bytes, len));
    struct varve_slice part = varve_slice(bytes, len + BLOCK_TRAILER_BYTES);
    assert_int_equal(b.env->ops->write_at(b.env, file, &part, 1, FILE_HEADER_BYTES, &b.err), 0);
    b.env->ops->close(b.env, file);
    assert_int_equal(merge(&b, NULL, 0, 1, &merged), VARVE_ECORRUPT);
    assert_non_null(strstr(b.err.text, "a record's CRC does not match"));
    segment_set_destroy(merged.set);
    levels_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copied_blocks__change_nothing),
        cmocka_unit_test(test_copied_blocks__hold_nothing_expired),
        cmocka_unit_test(test_copied_blocks__are_checked),
        cmocka_unit_test(test_copied_blocks__are_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
