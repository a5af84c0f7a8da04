/* Rot: whatever happens to the bytes of a segment, a reader gets the right answer or an error that names
 * the file and an offset, and verify notices. Every bit, every length, blocks in the wrong place, blocks
 * of another file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rcu.h"
#include "segment/block.h"
#include "segment/segment_impl.h"
#include "segment_help.h"

/* A file in memory that is read only. */
struct byte_env {
    struct varve_env env;
    uint8_t *bytes;
    size_t size;
};

static struct byte_env *bytes_of(struct varve_env *env)
{
    return (struct byte_env *)(void *)env;
}

static int bytes_open(struct varve_env *env, const char *path, unsigned flags,
                      struct varve_file **file, struct varve_err *err)
{
    (void)path;
    (void)flags;
    (void)err;
    *file = (struct varve_file *)(void *)env;
    return 0;
}

static void bytes_close(struct varve_env *env, struct varve_file *file)
{
    (void)env;
    (void)file;
}

static int bytes_read_at(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                         uint64_t offset, size_t *got, struct varve_err *err)
{
    struct byte_env *bytes = bytes_of(env);

    (void)file;
    (void)err;
    *got = 0;
    if (offset < bytes->size)
        *got = bytes->size - offset < len ? bytes->size - offset : len;
    memcpy(data, bytes->bytes + offset, *got);
    return 0;
}

static int bytes_size(struct varve_env *env, struct varve_file *file, uint64_t *size,
                      struct varve_err *err)
{
    (void)file;
    (void)err;
    *size = bytes_of(env)->size;
    return 0;
}

static const struct varve_env_ops bytes_ops = {
    .open = bytes_open,
    .close = bytes_close,
    .read_at = bytes_read_at,
    .size = bytes_size,
};

struct rot {
    struct disk disk;
    struct model model;
    struct byte_env env;
    uint64_t errors; /* of gets */
};

static void model_plan_make(struct model *model, uint64_t seed)
{
    struct model_plan plan = {.keys = 24, .versions_max = 2, .value_max = 40, .ranges = 3};
    struct rng rng;

    rng_init(&rng, seed);
    model_make(model, &plan, &rng);
    /* One value block, of the smallest size. */
    for (size_t i = 9; i < model->count; i++) {
        struct model_item *item = &model->items[i];
        if (item->entry.chunk.kind != CHUNK_PUT)
            continue;
        free(item->value);
        item->value = malloc(16384);
        memset(item->value, (int)seed, 16384);
        item->entry.chunk.value = varve_slice(item->value, 16384);
        item->entry.chunk.crc = chunk_crc(&item->entry.chunk);
        break;
    }
}

static int set_up(void **state)
{
    struct rot *rot = calloc(1, sizeof(*rot));

    disk_init(&rot->disk);
    model_plan_make(&rot->model, 40);
    rot->env.env.ops = &bytes_ops;
    rot->disk.options.block_size_bytes = 150;
    assert_int_equal(
        model_write(&rot->disk, &rot->model, 0, rot->model.count, 1, HELP_PATH, HELP_FILE_NO), 0);
    rot->env.bytes = disk_read_all(&rot->disk, HELP_PATH, &rot->env.size);
    *state = rot;
    return 0;
}

static int tear_down(void **state)
{
    struct rot *rot = *state;

    free(rot->env.bytes);
    model_free(&rot->model);
    disk_deinit(&rot->disk);
    free(rot);
    return 0;
}

static void assert_tells_where(const struct varve_err *err)
{
    if (strstr(err->text, HELP_PATH ": offset ") == NULL)
        fail_msg("names no place: %s", err->text);
}

/* The right answer or an error. */
static void get_one(struct rot *rot, struct segment *segment, const struct entry *want)
{
    static const struct segment_read read = {.wait = SEGMENT_WAIT};
    struct bloom_hash hash = bloom_hash(want->chunk.key);
    struct segment_hold hold;
    struct segment_hold value_hold = {0};
    struct varve_slice value;
    struct entry entry;
    struct varve_err err;

    assert_true(segment_may_hold(segment, hash));
    rcu_enter();
    int rc = segment_get(segment, want->chunk.key, hash, want->seq, &read, &entry, &hold, &err);
    if (rc == 0)
        rc = entry_value(&entry, &read, &value, &value_hold, &err);
    if (rc == 0) {
        assert_int_equal(entry.seq, want->seq);
        assert_int_equal(entry.chunk.kind, want->chunk.kind);
        assert_int_equal(entry.chunk.expire_ms, want->chunk.expire_ms);
        assert_true(varve_slice_equal(value, want->chunk.value));
    } else {
        assert_int_equal(rc, VARVE_ECORRUPT);
        assert_tells_where(&err);
        rot->errors++;
    }
    segment_hold_release(&value_hold);
    segment_hold_release(&hold);
    rcu_leave();
}

/* Returns 1 if the damage was noticed by open or verify. With `gets` all keys are read as well. */
static int attack(struct rot *rot, int gets)
{
    struct segment *segment;
    struct varve_err err;
    int rc = segment_open(&rot->env.env, HELP_PATH, &rot->disk.id, HELP_FILE_NO, NULL, &segment,
                          &err);

    if (rc != 0) {
        assert_true(rc == VARVE_ECORRUPT || rc == VARVE_EVERSION || rc == VARVE_EFOREIGN);
        assert_tells_where(&err);
        return 1;
    }
    for (size_t i = 0; gets && i < rot->model.count; i++)
        get_one(rot, segment, &rot->model.items[i].entry);
    rc = segment_verify(segment, &err);
    if (rc != 0) {
        assert_int_equal(rc, VARVE_ECORRUPT);
        assert_tells_where(&err);
    }
    segment_unref(segment);
    return rc != 0;
}

static void test_rot__every_bit(void **state)
{
    struct rot *rot = *state;

    assert_false(attack(rot, 1));
    assert_int_equal(rot->errors, 0);
    for (size_t at = 0; at < rot->env.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            rot->env.bytes[at] ^= (uint8_t)(1 << bit);
            /* Inside of the long value it is enough to read everything at one bit a byte. */
            if (!attack(rot, bit == (int)(at % 8) || at < 64 || at % 97 == 0))
                fail_msg("bit %d of byte %zu: not noticed", bit, at);
            rot->env.bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    assert_true(rot->errors > 1000);
}

static void test_rot__every_length(void **state)
{
    struct rot *rot = *state;
    size_t whole = rot->env.size;

    for (rot->env.size = 0; rot->env.size < whole; rot->env.size++)
        if (!attack(rot, 0))
            fail_msg("%zu of %zu bytes: not noticed", rot->env.size, whole);
    rot->env.bytes = realloc(rot->env.bytes, whole + 64);
    memset(rot->env.bytes + whole, 0, 64);
    for (rot->env.size = whole + 1; rot->env.size <= whole + 64; rot->env.size++)
        assert_true(attack(rot, 0));
}

/* Damage that begins after the open: what is in memory is right, verify looks at the disk. */
static void test_rot__after_the_open(void **state)
{
    struct rot *rot = *state;
    struct segment *segment;
    struct varve_err err;

    assert_int_equal(
        segment_open(&rot->env.env, HELP_PATH, &rot->disk.id, HELP_FILE_NO, NULL, &segment, &err),
        0);
    for (size_t at = 0; at < rot->env.size; at += at < 64 || at + 1000 > rot->env.size ? 1 : 61) {
        rot->env.bytes[at] ^= 0x10;
        for (size_t i = 0; i < rot->model.count; i++)
            get_one(rot, segment, &rot->model.items[i].entry);
        assert_int_equal(segment_verify(segment, &err), VARVE_ECORRUPT);
        assert_tells_where(&err);
        rot->env.bytes[at] ^= 0x10;
    }
    assert_int_equal(segment_verify(segment, &err), 0);
    segment_unref(segment);
}

struct findings {
    uint64_t count;
    char last[VARVE_ERR_TEXT_MAX];
};

static void take_finding(void *arg, const struct varve_err *err)
{
    struct findings *findings = arg;

    assert_int_equal(err->code, VARVE_ECORRUPT);
    assert_tells_where(err);
    findings->count++;
    snprintf(findings->last, sizeof(findings->last), "%s", err->text);
}

static size_t no_group(void *arg, struct varve_slice key)
{
    (void)arg;
    (void)key;
    return 0;
}

static void test_rot__verify_all_goes_on(void **state)
{
    struct rot *rot = *state;
    struct findings findings = {0};
    struct segment_verify_options options = {
        .finding = take_finding,
        .arg = &findings,
        .group = rot->disk.options.count_group,
    };
    struct segment *segment;
    struct varve_err err = {0};
    char where[64];

    assert_int_equal(
        segment_open(&rot->env.env, HELP_PATH, &rot->disk.id, HELP_FILE_NO, NULL, &segment, &err),
        0);
    assert_int_equal(segment_verify_all(segment, &options, &err), 0);
    assert_int_equal(findings.count, 0);
    options.group = no_group;
    assert_int_equal(segment_verify_all(segment, &options, &err), 0);
    assert_int_equal(findings.count, 1);
    assert_non_null(strstr(findings.last, "other keys of a group"));

    const struct segment_index *index = &segment->index;
    findings.count = 0;
    for (uint32_t i = 0; i < index->count; i++)
        rot->env.bytes[index->offsets[i] + index->lens[i] / 2] ^= 1;
    assert_int_equal(segment_verify_all(segment, &options, &err), 0);
    assert_int_equal(findings.count, index->count);
    snprintf(where, sizeof(where),
             HELP_PATH ": offset %llu: ", (unsigned long long)index->offsets[index->count - 1]);
    assert_non_null(strstr(findings.last, where));
    segment_unref(segment);
}

static void test_rot__blocks_change_places(void **state)
{
    struct rot *rot = *state;
    struct segment *segment;
    struct varve_err err;
    int swapped = 0;

    assert_int_equal(
        segment_open(&rot->env.env, HELP_PATH, &rot->disk.id, HELP_FILE_NO, NULL, &segment, &err),
        0);
    const struct segment_index *index = &segment->index;
    for (uint32_t a = 0; a < index->count; a++) {
        for (uint32_t b = a + 1; b < index->count; b++) {
            /* Blocks of different sizes: what of the longer one fits. */
            uint32_t len = index->lens[a] < index->lens[b] ? index->lens[a] : index->lens[b];
            uint8_t *keep = malloc(rot->env.size);
            memcpy(keep, rot->env.bytes, rot->env.size);
            len += BLOCK_TRAILER_BYTES;
            memcpy(rot->env.bytes + index->offsets[a], keep + index->offsets[b], len);
            memcpy(rot->env.bytes + index->offsets[b], keep + index->offsets[a], len);
            assert_true(attack(rot, 1));
            swapped++;
            memcpy(rot->env.bytes, keep, rot->env.size);
            free(keep);
        }
    }
    segment_unref(segment);
    assert_true(swapped > 5);
    assert_true(rot->errors > 10);
}

/* Blocks of the same payload length at the same offset in a file of another number, as a disk leaves
 * them behind that lost a write to a block that it had reused. */
static void test_rot__stale_blocks_of_another_file(void **state)
{
    struct rot *rot = *state;
    struct segment *segment;
    struct varve_err err;
    size_t size;

    assert_int_equal(model_write(&rot->disk, &rot->model, 0, rot->model.count, 1, "/000008.seg", 8),
                     0);
    uint8_t *stale = disk_read_all(&rot->disk, "/000008.seg", &size);
    assert_int_equal(size, rot->env.size);
    assert_int_equal(
        segment_open(&rot->env.env, HELP_PATH, &rot->disk.id, HELP_FILE_NO, NULL, &segment, &err),
        0);
    const struct segment_index *index = &segment->index;
    for (uint32_t i = 0; i < index->count; i++) {
        size_t len = index->lens[i] + BLOCK_TRAILER_BYTES;
        uint8_t *at = rot->env.bytes + index->offsets[i];
        uint8_t *keep = malloc(len);
        memcpy(keep, at, len);
        memcpy(at, stale + index->offsets[i], len);
        assert_true(attack(rot, 1));
        memcpy(at, keep, len);
        free(keep);
    }
    assert_true(rot->errors >= index->count);
    const struct properties *properties = segment_properties(segment);
    const struct segment_place *places[] = {&properties->index, &properties->filter,
                                            &properties->range_block};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        size_t len = places[i]->len + BLOCK_TRAILER_BYTES;
        uint8_t *at = rot->env.bytes + places[i]->offset;
        uint8_t *keep = malloc(len);
        memcpy(keep, at, len);
        memcpy(at, stale + places[i]->offset, len);
        assert_true(attack(rot, 1));
        memcpy(at, keep, len);
        free(keep);
    }
    segment_unref(segment);
    /* The whole of it, under the wrong name. */
    uint8_t *own = rot->env.bytes;
    rot->env.bytes = stale;
    assert_true(attack(rot, 0));
    rot->env.bytes = own;
    free(stale);
}

int main(void)
{
#define WITH_ROT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_ROT(test_rot__every_bit),
        WITH_ROT(test_rot__every_length),
        WITH_ROT(test_rot__after_the_open),
        WITH_ROT(test_rot__verify_all_goes_on),
        WITH_ROT(test_rot__blocks_change_places),
        WITH_ROT(test_rot__stale_blocks_of_another_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
