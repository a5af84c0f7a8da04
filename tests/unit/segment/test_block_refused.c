/* What block_open() and block_decode() refuse, and the example of the format page. */
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
#include "env/file_header.h"
#include "segment/block.h"
#include "block_twice.h"

#define OFFSET 64
#define FILE_NO 3
#define VALUE_LIMIT 100000

/* The example of FORMAT.md, section 6. */
static const uint8_t example[] = {
    0x02, 0x05, 0x09, 0x00, 0x02, 0x02, 0xee, 0x27, 0x00, 0xbf, 0x01, 0xe8, 0x03,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6b, 0x31, 0x76, 0x12, 0x01, 0x01, 0x00,
    0xb8, 0x76, 0xfe, 0xa9, 0x32, 0x01, 0x00, 0x00, 0x00, 0x96, 0xb4, 0xca, 0xcd,
};

static uint32_t example_salt(void)
{
    struct dir_id id;

    for (int i = 0; i < DIR_ID_BYTES; i++)
        id.bytes[i] = (uint8_t)i;
    return file_salt(&id, FILE_NO);
}

static void add(struct block_builder *builder, struct chunk chunk, uint64_t seq, int prior_unknown)
{
    struct entry entry = {.seq = seq, .chunk = chunk, .prior_unknown = prior_unknown};

    entry.chunk.crc = chunk_crc(&chunk);
    assert_int_equal(block_builder_add(builder, &entry, 0, 0), 0);
}

static void test_block__example_of_the_format_page(void **state)
{
    struct block_builder builder;
    struct varve_slice payload;
    uint8_t trailer[BLOCK_TRAILER_BYTES];

    (void)state;
    block_builder_init(&builder);
    add(&builder,
        (struct chunk){.kind = CHUNK_PUT,
                       .key = varve_slice_str("k1"),
                       .value = varve_slice_str("v"),
                       .expire_ms = 1000},
        7, 0);
    add(&builder, (struct chunk){.kind = CHUNK_DELETE, .key = varve_slice_str("k2")}, 5, 1);
    assert_int_equal(block_builder_finish(&builder, &payload), 0);
    block_trailer_put(trailer, example_salt(), OFFSET, BLOCK_DATA, 0, payload);
    assert_int_equal(payload.len + sizeof(trailer), sizeof(example));
    assert_memory_equal(payload.data, example, payload.len);
    assert_memory_equal(trailer, example + payload.len, sizeof(trailer));
    block_builder_deinit(&builder);
}

/* The page and this test say the same. FORMAT_MD is its path. */
static void test_block__the_format_page_has_these_bytes(void **state)
{
    FILE *page = fopen(FORMAT_MD, "r");
    char line[512];
    size_t at = 0;
    unsigned row;
    int consumed;

    (void)state;
    assert_non_null(page);
    while (fgets(line, sizeof(line), page) != NULL) {
        const char *from = line;
        unsigned byte;
        if (sscanf(line, "    %4x %n", &row, &consumed) != 1 || row != at || line[4] != '0')
            continue;
        for (from += consumed; sscanf(from, "%2x %n", &byte, &consumed) == 1; from += consumed) {
            assert_true(at < sizeof(example));
            assert_int_equal(byte, example[at]);
            at++;
        }
    }
    fclose(page);
    assert_int_equal(at, sizeof(example));
}

/* ---- block_open ---- */

struct frame {
    uint8_t bytes[9000];
    size_t payload_len;
    struct buf scratch;
};

static void frame_make(struct frame *frame, struct varve_slice payload, enum block_kind kind,
                       int compress)
{
    struct varve_slice out;

    buf_init(&frame->scratch, SIZE_MAX / 2);
    uint8_t compression = block_compress(payload, compress, &frame->scratch, &out);
    assert_int_equal(compression, compress);
    assert_true(out.len + BLOCK_TRAILER_BYTES <= sizeof(frame->bytes));
    memcpy(frame->bytes, out.data, out.len);
    frame->payload_len = out.len;
    block_trailer_put(frame->bytes + out.len, example_salt(), OFFSET, kind, compression, out);
}

static int frame_open(struct frame *frame, uint32_t salt, uint64_t offset, enum block_kind kind,
                      struct varve_slice *out)
{
    struct varve_err err = {0};
    int rc = block_open(frame->bytes, frame->payload_len, salt, offset, kind, &frame->scratch, out,
                        &err);

    assert_int_equal(rc != 0, err.text[0] != 0);
    return rc;
}

static void check_flips(struct varve_slice payload, enum block_kind kind, int compress)
{
    struct varve_slice out;
    struct frame frame;
    uint32_t salt = example_salt();

    frame_make(&frame, payload, kind, compress);
    assert_int_equal(frame_open(&frame, salt, OFFSET, kind, &out), 0);
    assert_true(varve_slice_equal(out, payload));
    for (size_t bit = 0; bit < 8 * (frame.payload_len + BLOCK_TRAILER_BYTES); bit++) {
        frame.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(frame_open(&frame, salt, OFFSET, kind, &out), VARVE_ECORRUPT);
        assert_null(out.data);
        frame.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(frame_open(&frame, salt + 1, OFFSET, kind, &out), VARVE_ECORRUPT);
    assert_int_equal(frame_open(&frame, salt, OFFSET + 1, kind, &out), VARVE_ECORRUPT);
    assert_int_equal(frame_open(&frame, salt, OFFSET, BLOCK_PROPERTIES, &out), VARVE_ECORRUPT);
    assert_int_equal(frame_open(&frame, salt, OFFSET, kind, &out), 0);
    buf_deinit(&frame.scratch);
}

static void test_block_open__any_flipped_bit_is_seen(void **state)
{
    static uint8_t text[1000];

    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, example, sizeof(example));
    check_flips(varve_slice(example, sizeof(example) - 8), BLOCK_DATA, 0);
    check_flips(varve_slice(text, sizeof(text)), BLOCK_DATA, 1);
    check_flips(varve_slice(text, sizeof(text)), BLOCK_VALUE, 0);
    check_flips(varve_slice("", 0), BLOCK_INDEX, 0);
}

/* With a good CRC, but bytes that cannot be. */
static void test_block_open__impossible_trailers_are_refused(void **state)
{
    static uint8_t zeros[1000];
    struct varve_slice out;
    struct frame frame;
    uint32_t salt = example_salt();

    (void)state;
    for (int kind = BLOCK_DATA; kind <= BLOCK_PROPERTIES; kind++) {
        int may = kind != BLOCK_FILTER;
        frame_make(&frame, varve_slice(zeros, sizeof(zeros)), (enum block_kind)kind, 1);
        assert_int_equal(frame_open(&frame, salt, OFFSET, (enum block_kind)kind, &out),
                         may ? 0 : VARVE_ECORRUPT);
        for (unsigned at = 0; at < 4; at++) {
            uint8_t *trailer = frame.bytes + frame.payload_len;
            uint8_t before = trailer[at];
            trailer[at] = 7;
            uint32_t crc = crc32c(block_crc_begin(salt, OFFSET), frame.bytes,
                                  frame.payload_len + 4);
            put_u32(trailer + 4, crc);
            assert_int_equal(frame_open(&frame, salt, OFFSET, (enum block_kind)kind, &out),
                             VARVE_ECORRUPT);
            trailer[at] = before;
        }
        buf_deinit(&frame.scratch);
    }
}

static void test_block_open__bad_snappy_is_refused(void **state)
{
    static const struct varve_slice rows[] = {
        {(const uint8_t *)"", 0},                             /* no length */
        {(const uint8_t *)"\x81\x80\x40\x00\x00", 5},         /* 1 MiB + 1 */
        {(const uint8_t *)"\xff\xff\xff\xff\x0f\x00\x00", 7}, /* 4 GiB - 1 */
        {(const uint8_t *)"\x80\x80\x40", 3},                 /* 1 MiB of nothing */
        {(const uint8_t *)"\x05\x04\x61\x62", 4},             /* 5, but 2 */
        {(const uint8_t *)"\x04\x01\x09", 3},                 /* a copy from before the start */
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct varve_slice out;
        struct frame frame;
        frame_make(&frame, rows[i], BLOCK_DATA, 0);
        block_trailer_put(frame.bytes + rows[i].len, example_salt(), OFFSET, BLOCK_DATA, 1,
                          rows[i]);
        assert_int_equal(frame_open(&frame, example_salt(), OFFSET, BLOCK_DATA, &out),
                         VARVE_ECORRUPT);
        assert_true(frame.scratch.cap <= BLOCK_COMPRESSED_MAX_BYTES * 2);
        buf_deinit(&frame.scratch);
    }
}

static void test_block_unpack__only_what_has_that_length(void **state)
{
    static uint8_t zeros[1000];
    uint8_t to[1000];
    struct buf scratch;
    struct varve_slice packed;
    struct varve_err err;

    (void)state;
    memset(to, 1, sizeof(to));
    buf_init(&scratch, 10000);
    assert_int_equal(block_compress(varve_slice(zeros, 1000), 1, &scratch, &packed), 1);
    assert_int_equal(block_unpack(packed, to, 999, &err), VARVE_ECORRUPT);
    assert_non_null(strstr(err.text, "999 bytes"));
    assert_int_equal(block_unpack(packed, to, 1001, &err), VARVE_ECORRUPT);
    assert_int_equal(block_unpack(varve_slice(packed.data, packed.len - 1), to, 1000, &err),
                     VARVE_ECORRUPT);
    assert_int_equal(block_unpack(packed, to, 1000, &err), 0);
    assert_memory_equal(to, zeros, 1000);
    buf_deinit(&scratch);
}

static void test_block_compress__only_where_it_is_worth_it(void **state)
{
    size_t len = BLOCK_COMPRESSED_MAX_BYTES;
    uint8_t *zeros = mem_alloc_zero(len + 1);
    struct varve_slice out;
    struct buf scratch;

    (void)state;
    assert_non_null(zeros);
    buf_init(&scratch, SIZE_MAX / 2);
    assert_int_equal(block_compress(varve_slice(zeros, len), 1, &scratch, &out), 1);
    assert_int_equal(block_compress(varve_slice(zeros, len), 0, &scratch, &out), 0);
    assert_int_equal(block_compress(varve_slice(zeros, len + 1), 1, &scratch, &out), 0);
    assert_ptr_equal(out.data, zeros);
    assert_int_equal(block_compress(varve_slice("abcdefgh", 8), 1, &scratch, &out), 0);
    assert_int_equal(out.len, 8);
    buf_deinit(&scratch);
    mem_free(zeros);
}

static void test_block_trailer__by_pieces_is_the_same(void **state)
{
    uint8_t whole[BLOCK_TRAILER_BYTES];
    uint8_t pieces[BLOCK_TRAILER_BYTES];
    struct varve_err err = {0};

    (void)state;
    block_trailer_put(whole, 9, 1000, BLOCK_VALUE, 0, varve_slice_str("hello"));
    uint32_t crc = crc32c(crc32c(block_crc_begin(9, 1000), "he", 2), "llo", 3);
    block_trailer_put_crc(pieces, crc, BLOCK_VALUE, 0);
    assert_memory_equal(whole, pieces, sizeof(whole));
    assert_int_equal(block_trailer_check_crc(whole, crc, BLOCK_VALUE, &err), 0);
    assert_int_equal(block_trailer_check_crc(whole, crc + 1, BLOCK_VALUE, &err), VARVE_ECORRUPT);
    assert_int_equal(block_trailer_check_crc(whole, crc, BLOCK_FILTER, &err), VARVE_ECORRUPT);
}

/* ---- block_decode ---- */

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1
#define CRC "cccc"
#define VARINT_MAX "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
#define OUTSIDE "\x01\0\x21\0\x01\0" CRC "\x80\x80\x01"
#define PACKED(len) "\x01\0\xa1\0\x01\0" CRC len "\x40"

static const struct {
    enum block_kind kind;
    const uint8_t *bytes;
    size_t len;
    const char *what; /* NULL: it is fine */
} rows[] = {
    {BLOCK_DATA, BYTES("\x02\x05\x01\0\x02\x02" CRC "\x01k1v\x02\x01\x01\0" CRC "2"), NULL},
    {BLOCK_DATA, BYTES("\x01\0\x02\0\0\0" CRC), NULL},
    {BLOCK_DATA, BYTES(""), "head"},
    {BLOCK_DATA, BYTES("\x01"), "head"},
    {BLOCK_DATA, BYTES("\0\0"), "head"},
    {BLOCK_DATA, BYTES("\0\0\x02\0\0\0" CRC), "head"},
    {BLOCK_DATA, BYTES("\x02\0\x02\0\0\0" CRC), "more entries"},
    {BLOCK_DATA, BYTES(VARINT_MAX "\0\x02\0\0\0" CRC), "more entries"},
    {BLOCK_DATA, BYTES("\x01\0\x02\0\0\0" CRC "x"), "behind"},
    {BLOCK_DATA, BYTES("\x01\0\x02\0\x01\0" CRC), "cut short"},
    {BLOCK_DATA, BYTES("\x01\0\x01\0\x01\0" CRC "\x02kv"), "cut short"},
    {BLOCK_DATA, BYTES("\x01\0\x09\0\0\0" CRC "\0\0\0\0\0\0\0\x01"), "cut short"},
    {BLOCK_DATA, BYTES("\x01\0\0\0\0\0" CRC "\0"), "kind"},
    {BLOCK_DATA, BYTES("\x01\0\x03\0\x01\0" CRC "\x01kl"), "kind"},
    {BLOCK_DATA, BYTES("\x01\0\x04\0\0\0" CRC), "kind"},
    {BLOCK_DATA, BYTES("\x01\0\x0a\0\0\0" CRC "\x01\0\0\0\0\0\0\0"), "flags"},
    {BLOCK_DATA, BYTES("\x01\0\x22\0\0\0" CRC "\x40"), "flags"},
    {BLOCK_DATA, BYTES("\x01\0\x42\0\0\0" CRC), "flags"},
    {BLOCK_DATA, BYTES("\x01\0\x82\0\0\0" CRC), "flags"},
    {BLOCK_DATA, BYTES("\x01\0\x09\0\0\0" CRC "\0\0\0\0\0\0\0\0\0"), "expiry"},
    {BLOCK_DATA, BYTES("\x01\0\x02\x01\0\0" CRC), "key length"},
    {BLOCK_DATA, BYTES("\x01\0\x02\0" VARINT_MAX "\0" CRC), "key length"},
    {BLOCK_DATA, BYTES("\x02\0\x02\0\x01\0" CRC "a\x02\x01" VARINT_MAX "\0" CRC), "key length"},
    {BLOCK_DATA, BYTES("\x01" VARINT_MAX "\x02\0\0\x01" CRC), "sequence"},
    {BLOCK_DATA, BYTES("\x01" VARINT_MAX "\x02\0\0\0" CRC), NULL},
    {BLOCK_DATA, BYTES("\x01\x05\x02\0\0\x01" CRC), "base"},
    {BLOCK_DATA, BYTES("\x01\0\x01\0\0\0" CRC VARINT_MAX), "value length"},
    {BLOCK_DATA, BYTES("\x01\0\x21\0\0\0" CRC "\x01\x40"), "wrong place"},
    {BLOCK_DATA, BYTES("\x01\0\x01\0\0\0" CRC "\x80\x80\x01\x40"), "wrong place"},
    {BLOCK_DATA, BYTES(OUTSIDE "\x40k"), NULL},
    {BLOCK_DATA, BYTES(OUTSIDE "\x3fk"), "value block"},
    {BLOCK_DATA, BYTES(OUTSIDE "\0k"), "value block"},
    {BLOCK_DATA, BYTES("\x01\0\x81\0\0\0" CRC "\0"), "flags"}, /* compressed, but in place */
    {BLOCK_DATA, BYTES(PACKED("\x80\x80\x01") "\x09k"), NULL},
    {BLOCK_DATA, BYTES(PACKED("\x80\x80\x01") "\0k"), "compressed"},
    {BLOCK_DATA, BYTES(PACKED("\x80\x80\x01") "\xff\x7fk"), NULL}, /* one less than the value */
    {BLOCK_DATA, BYTES(PACKED("\x80\x80\x01") "\x80\x80\x01k"), "compressed"},
    {BLOCK_DATA, BYTES(PACKED("\x80\x80\x40") "\x09k"), NULL}, /* 1 MiB */
    {BLOCK_DATA, BYTES(PACKED("\x81\x80\x40") "\x09k"), "compressed"},
    {BLOCK_DATA, BYTES(PACKED("\x80\x80\x40") "\xd8\x8c\x06k"), NULL}, /* ends at the limit */
    {BLOCK_DATA, BYTES(PACKED("\x80\x80\x40") "\xd9\x8c\x06k"), "value block"}, /* and behind */
    {BLOCK_DATA, BYTES(OUTSIDE VARINT_MAX "k"), "value block"},
    {BLOCK_DATA, BYTES(OUTSIDE "\x98\x8d\x05k"), NULL},          /* ends at the limit */
    {BLOCK_DATA, BYTES(OUTSIDE "\x99\x8d\x05k"), "value block"}, /* and 1 behind */
    /* order */
    {BLOCK_DATA, BYTES("\x02\0\x02\0\x01\0" CRC "b\x02\0\x01\0" CRC "a"), "order"},
    {BLOCK_DATA, BYTES("\x02\0\x02\0\x01\0" CRC "b\x02\x01\0\0" CRC), "order"},
    {BLOCK_DATA, BYTES("\x02\0\x02\0\x01\0" CRC "b\x02\x01\0\x01" CRC), "order"},
    {BLOCK_DATA, BYTES("\x02\0\x02\0\x01\x01" CRC "b\x02\x01\0\0" CRC), NULL},
    {BLOCK_DATA, BYTES("\x02\0\x02\0\x02\0" CRC "bb\x02\x01\0\0" CRC), "order"},
    {BLOCK_DATA, BYTES("\x02\0\x02\0\x02\x01" CRC "bb\x02\x01\x01\0" CRC "b"), NULL},
    /* ranges */
    {BLOCK_RANGES, BYTES("\x01\0\x03\0\x01\0" CRC "\x01kl"), NULL},
    {BLOCK_RANGES, BYTES("\x01\0\x03\0\x01\0" CRC "\x01kk"), "ends before"},
    {BLOCK_RANGES, BYTES("\x01\0\x03\0\x01\0" CRC "\x01kj"), "ends before"},
    {BLOCK_RANGES, BYTES("\x01\0\x03\0\0\0" CRC "\0"), "ends before"},
    {BLOCK_RANGES, BYTES("\x01\0\x01\0\x01\0" CRC "\x01kl"), "no range"},
    {BLOCK_RANGES, BYTES("\x01\0\x02\0\x01\0" CRC "k"), "no range"},
    {BLOCK_RANGES, BYTES("\x01\0\x13\0\x01\0" CRC "\x01kl"), "flags"},
    {BLOCK_RANGES, BYTES("\x01\0\x0b\0\x01\0" CRC "\x01xxxxxxxxkl"), "flags"},
    {BLOCK_RANGES, BYTES("\x01\0\x23\0\x01\0" CRC "\x01kl"), "flags"},
};

/* What the walk says of a data block, which is the same. */
static void walk_too(struct varve_slice payload, int want, const char *text)
{
    struct varve_err err = {0};
    struct varve_err walk_err = {0};
    struct block_walk walk;

    block_walk_init(&walk);
    assert_int_equal(block_twice(&walk, payload, VALUE_LIMIT, &err, &walk_err), want);
    if (want != 0)
        assert_string_equal(walk_err.text, text);
    block_walk_deinit(&walk);
}

/* In memory of just its size, so that a read behind it is seen. */
static int decode(const uint8_t *bytes, size_t len, enum block_kind kind, struct varve_err *err)
{
    uint8_t *exact = mem_alloc(len + (len == 0));
    struct block *block = NULL;

    assert_non_null(exact);
    memcpy(exact, bytes, len);
    int rc = block_decode(varve_slice(exact, len), kind, VALUE_LIMIT, &block, err);
    if (kind == BLOCK_DATA)
        walk_too(varve_slice(exact, len), rc, err->text);
    mem_free(exact);
    assert_int_equal(rc != 0, block == NULL);
    if (block != NULL)
        block->cached.destroy(&block->cached);
    return rc;
}

static void test_block_decode__says_what_is_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct varve_err err = {0};
        int rc = decode(rows[i].bytes, rows[i].len, rows[i].kind, &err);
        if (rc != (rows[i].what != NULL ? VARVE_ECORRUPT : 0) ||
            (rows[i].what != NULL && strstr(err.text, rows[i].what) == NULL))
            fail_msg("row %zu: %d %s", i, rc, err.text);
    }
}

static void test_block_decode__cut_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct varve_err err = {0};
        for (size_t len = 0; len < rows[i].len && rows[i].what == NULL; len++)
            assert_int_equal(decode(rows[i].bytes, len, rows[i].kind, &err), VARVE_ECORRUPT);
    }
}

/* A small block cannot claim much memory: 1000 entries of 9 bytes that share 65 KiB each. */
static void test_block_decode__bounds_what_keys_share(void **state)
{
    static uint8_t bytes[100000];
    size_t at = 0;
    size_t key_len = 66000;
    struct varve_err err = {0};

    (void)state;
    at += put_varint(bytes, 1001);
    bytes[at++] = 0;
    for (uint64_t i = 0; i <= 1000; i++) {
        bytes[at++] = CHUNK_DELETE;
        at += put_varint(bytes + at, i == 0 ? 0 : key_len);
        at += put_varint(bytes + at, i == 0 ? key_len : 0);
        at += put_varint(bytes + at, 1000 - i);
        at += 4 + (i == 0 ? key_len : 0);
    }
    assert_int_equal(decode(bytes, at, BLOCK_DATA, &err), VARVE_ECORRUPT);
    assert_non_null(strstr(err.text, "share"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block__example_of_the_format_page),
        cmocka_unit_test(test_block__the_format_page_has_these_bytes),
        cmocka_unit_test(test_block_open__any_flipped_bit_is_seen),
        cmocka_unit_test(test_block_open__impossible_trailers_are_refused),
        cmocka_unit_test(test_block_open__bad_snappy_is_refused),
        cmocka_unit_test(test_block_unpack__only_what_has_that_length),
        cmocka_unit_test(test_block_compress__only_where_it_is_worth_it),
        cmocka_unit_test(test_block_trailer__by_pieces_is_the_same),
        cmocka_unit_test(test_block_decode__says_what_is_wrong),
        cmocka_unit_test(test_block_decode__cut_anywhere_is_refused),
        cmocka_unit_test(test_block_decode__bounds_what_keys_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
