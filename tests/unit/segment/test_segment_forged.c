/* Segments as no writer of ours makes them, with right CRCs: what opening or reading says of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/rcu.h"
#include "segment/segment_impl.h"
#include "segment_help.h"

static const struct model_plan PLAN = {.keys = 5, .versions_max = 1, .value_max = 9, .ranges = 3};

/* A small segment, its bytes and what its properties say; it is written anew with other bytes. */
struct forge {
    struct disk disk;
    struct model model;
    uint8_t *bytes;
    size_t size;
    uint32_t salt;
    struct properties properties;
    struct segment_place place; /* of the properties */
    uint64_t data_len;          /* of the first data block's payload */
};

static int set_up(void **state)
{
    struct forge *forge = mem_alloc_zero(sizeof(*forge));
    struct rng rng;

    rng_init(&rng, 3);
    disk_init(&forge->disk);
    forge->disk.options.compress = 0;
    forge->disk.options.block_size_bytes = 4096;
    model_make(&forge->model, &PLAN, &rng);
    assert_int_equal(
        model_write(&forge->disk, &forge->model, 0, forge->model.count, 1, HELP_PATH, HELP_FILE_NO),
        0);
    struct segment *segment = disk_open(&forge->disk, HELP_PATH, HELP_FILE_NO, NULL);
    forge->salt = segment->salt;
    forge->properties = segment->properties;
    assert_int_equal(segment->index.count, 1);
    forge->data_len = segment->properties.range_block.offset - FILE_HEADER_BYTES -
                      BLOCK_TRAILER_BYTES;
    segment_unref(segment);
    forge->bytes = disk_read_all(&forge->disk, HELP_PATH, &forge->size);
    const uint8_t *footer = forge->bytes + forge->size - SEGMENT_FOOTER_BYTES;
    forge->place = (struct segment_place){get_u64(footer + 16), get_u64(footer + 24)};
    *state = forge;
    return 0;
}

static int tear_down(void **state)
{
    struct forge *forge = *state;

    mem_free(forge->bytes);
    model_free(&forge->model);
    disk_deinit(&forge->disk);
    mem_free(forge);
    return 0;
}

/* ---- forging ---- */

static void footer_seal(const struct forge *forge, uint8_t *footer)
{
    put_u32(footer + 60, crc32c(forge->salt, footer, 60));
}

/* The trailer of what lies in bytes now. */
static void block_seal(const struct forge *forge, uint8_t *bytes, const struct segment_place *place,
                       enum block_kind kind)
{
    block_trailer_put(bytes + place->offset + place->len, forge->salt, place->offset, kind, 0,
                      varve_slice(bytes + place->offset, place->len));
}

static int open_bytes(struct forge *forge, const uint8_t *bytes, size_t size,
                      struct segment **segment)
{
    disk_replace(&forge->disk, HELP_PATH, bytes, size);
    return segment_open(forge->disk.env, HELP_PATH, &forge->disk.id, HELP_FILE_NO, NULL, segment,
                        &forge->disk.err);
}

static void check_refused(struct forge *forge, const uint8_t *bytes, size_t size, int want,
                          const char *text)
{
    struct segment *segment = NULL;
    int rc = open_bytes(forge, bytes, size, &segment);

    assert_null(segment);
    assert_int_equal(rc, want);
    if (strstr(forge->disk.err.text, text) == NULL ||
        strstr(forge->disk.err.text, HELP_PATH) == NULL)
        fail_msg("'%s' instead of '%s'", forge->disk.err.text, text);
}

/* The same segment with other properties. */
static void check_properties(struct forge *forge, const struct properties *properties,
                             const char *text)
{
    struct buf file;

    buf_init(&file, 1 << 20);
    assert_int_equal(buf_append(&file, forge->bytes, forge->place.offset), 0);
    assert_int_equal(properties_put(properties, &file), 0);
    struct segment_place place = {forge->place.offset, file.len - forge->place.offset};
    assert_int_equal(buf_reserve(&file, BLOCK_TRAILER_BYTES + SEGMENT_FOOTER_BYTES), 0);
    block_seal(forge, file.data, &place, BLOCK_PROPERTIES);
    file.len += BLOCK_TRAILER_BYTES;
    uint8_t *footer = file.data + file.len;
    memcpy(footer, forge->bytes + forge->size - SEGMENT_FOOTER_BYTES, SEGMENT_FOOTER_BYTES);
    file.len += SEGMENT_FOOTER_BYTES;
    put_u64(footer + 24, place.len);
    put_u64(footer + 32, file.len);
    footer_seal(forge, footer);
    if (text != NULL) {
        check_refused(forge, file.data, file.len, VARVE_ECORRUPT, text);
    } else {
        struct segment *segment = NULL;
        assert_int_equal(open_bytes(forge, file.data, file.len, &segment), 0);
        segment_unref(segment);
    }
    buf_deinit(&file);
}

/* ---- the footer ---- */

static void test_forged__footers(void **state)
{
    struct forge *forge = *state;
    uint64_t end = forge->size - SEGMENT_FOOTER_BYTES;
    const char *place = "the footer names a wrong place of the properties";
    const struct {
        size_t at;
        uint64_t value;
        const char *text;
    } rows[] = {
        {32, forge->size + 1, "the footer says"}, {32, 0, "the footer says"},
        {24, PROPERTIES_MAX_BYTES + 1, place},    {24, forge->place.len + 1, place},
        {16, FILE_HEADER_BYTES - 1, place},       {16, end + 1, place},
        {16, forge->place.offset - 1, place},
    };
    uint8_t *footer = forge->bytes + end;
    uint8_t before[SEGMENT_FOOTER_BYTES];

    memcpy(before, footer, sizeof(before));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        put_u64(footer + rows[i].at, rows[i].value);
        footer_seal(forge, footer);
        check_refused(forge, forge->bytes, forge->size, VARVE_ECORRUPT, rows[i].text);
        memcpy(footer, before, sizeof(before));
    }
    footer[0] ^= 1;
    footer_seal(forge, footer);
    check_refused(forge, forge->bytes, forge->size, VARVE_ECORRUPT, "no footer");
    memcpy(footer, before, sizeof(before));
    put_u32(footer + 8, FORMAT_VERSION + 1);
    footer_seal(forge, footer);
    check_refused(forge, forge->bytes, forge->size, VARVE_EVERSION, "format version");
}

/* ---- the properties ---- */

static void test_forged__places_of_blocks(void **state)
{
    struct forge *forge = *state;
    const char *wrong = "the properties name wrong places";
    struct properties is = forge->properties;

    check_properties(forge, &is, NULL);
    is.index.offset = FILE_HEADER_BYTES - 1;
    check_properties(forge, &is, wrong);
    is.index.offset = forge->place.offset + 1;
    check_properties(forge, &is, wrong);
    is.index.offset = forge->place.offset - BLOCK_TRAILER_BYTES + 1;
    check_properties(forge, &is, wrong);
    is = forge->properties;
    is.index.len++;
    check_properties(forge, &is, wrong);
    is = forge->properties;
    is.filter.offset++;
    check_properties(forge, &is, wrong);
    is = forge->properties;
    is.range_block.offset++;
    check_properties(forge, &is, wrong);
    is = forge->properties;
    is.range_block.offset = 0; /* none, but tombstones */
    check_properties(forge, &is, wrong);
    is = forge->properties;
    is.ranges++;
    check_properties(forge, &is, "3 range tombstones where 4 belong");
    is = forge->properties;
    is.ranges = 0;
    check_properties(forge, &is, "properties contradict each other");
    is = forge->properties;
    is.puts = is.entries + 1;
    check_properties(forge, &is, "properties contradict each other");
}

/* ---- the blocks ---- */

static void test_forged__a_filter_of_another_size(void **state)
{
    struct forge *forge = *state;
    const struct segment_place *place = &forge->properties.filter;

    put_u32(forge->bytes + place->offset, get_u32(forge->bytes + place->offset) + 1);
    block_seal(forge, forge->bytes, place, BLOCK_FILTER);
    check_refused(forge, forge->bytes, forge->size, VARVE_ECORRUPT,
                  "the filter's head does not fit its size");
}

/* The block again with one CRC of its records wrong, which takes as many bytes. */
static void forge_block(struct forge *forge, const struct model_item *items, size_t count,
                        size_t wrong, const struct segment_place *place, enum block_kind kind)
{
    struct block_builder builder;
    struct varve_slice payload;

    block_builder_init(&builder);
    for (size_t i = 0; i < count; i++) {
        struct entry entry = items[i].entry;
        entry.chunk.crc ^= i == wrong;
        assert_int_equal(block_builder_add(&builder, &entry, 0, 0), 0);
    }
    assert_int_equal(block_builder_finish(&builder, &payload), 0);
    assert_int_equal(payload.len, place->len);
    memcpy(forge->bytes + place->offset, payload.data, payload.len);
    block_seal(forge, forge->bytes, place, kind);
    block_builder_deinit(&builder);
}

static void test_forged__a_range_tombstone_with_a_wrong_crc(void **state)
{
    struct forge *forge = *state;

    forge_block(forge, forge->model.ranges, forge->model.range_count, 1,
                &forge->properties.range_block, BLOCK_RANGES);
    check_refused(forge, forge->bytes, forge->size, VARVE_ECORRUPT,
                  "the CRC of range tombstone 1 does not match");
}

/* The record is refused when it is read, and the ones beside it are read. */
static void test_forged__a_record_with_a_wrong_crc(void **state)
{
    struct forge *forge = *state;
    struct segment_place place = {FILE_HEADER_BYTES, forge->data_len};
    struct segment_read read = {.wait = SEGMENT_WAIT};
    struct segment *segment = NULL;
    size_t wrong = 1;

    forge_block(forge, forge->model.items, forge->model.count, wrong, &place, BLOCK_DATA);
    assert_int_equal(open_bytes(forge, forge->bytes, forge->size, &segment), 0);
    for (size_t i = 0; i < forge->model.count; i++) {
        const struct chunk *chunk = &forge->model.items[i].entry.chunk;
        struct segment_hold hold = {0};
        struct entry entry;
        rcu_enter();
        int rc = segment_get(segment, chunk->key, bloom_hash(chunk->key), UINT64_MAX, &read, &entry,
                             &hold, &forge->disk.err);
        assert_int_equal(rc, i == wrong ? VARVE_ECORRUPT : 0);
        segment_hold_release(&hold);
        rcu_leave();
    }
    assert_non_null(strstr(forge->disk.err.text, "a record's CRC does not match"));
    assert_non_null(strstr(forge->disk.err.text, HELP_PATH));
    segment_unref(segment);
}

int main(void)
{
#define FORGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        FORGED(test_forged__footers),
        FORGED(test_forged__places_of_blocks),
        FORGED(test_forged__a_filter_of_another_size),
        FORGED(test_forged__a_range_tombstone_with_a_wrong_crc),
        FORGED(test_forged__a_record_with_a_wrong_crc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
