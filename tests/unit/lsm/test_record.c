#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "segment/chunk.h"
#include "lsm/record.h"

/* The example of FORMAT.md, section 7. */
static const uint8_t example[] = {
    'v',  'a',  'r',  'v',  'e',  'W',  'A',  'L',  0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xce, 0x8d, 0x99, 0x94,
    0x6c, 0x33, 0xa0, 0xf8, 0x12, 0x00, 0x00, 0x00, 0x79, 0x57, 0xfa, 0xf9, 0x01, 0x00, 0x00, 0x00,
    0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xdd, 0xa5, 0xa8, 0xb9, 0x01, 0x01, 'k',
    'v',  0xd3, 0xec, 0x98, 0x20, 0x01, 0xde, 0x26, 0xc3, 0x4b, 0x01, 0x01, 'k',  'w',
};
#define EXAMPLE_SHORT_AT 0x71

static struct dir_id example_id(void)
{
    struct dir_id id;

    for (int i = 0; i < DIR_ID_BYTES; i++)
        id.bytes[i] = (uint8_t)i;
    return id;
}

/* The operation "put k = value"; returns its length, *head_len of that in front of the key. */
static size_t put_op(uint8_t *to, const char *value, size_t *head_len)
{
    struct chunk chunk = {
        .kind = CHUNK_PUT, .key = varve_slice_str("k"), .value = varve_slice_str(value)};

    chunk.crc = chunk_crc(&chunk);
    *head_len = chunk_put_head(to, &chunk);
    to[*head_len] = 'k';
    memcpy(to + *head_len + 1, value, strlen(value));
    return *head_len + 1 + strlen(value);
}

static void test_record__example_of_the_format_page(void **state)
{
    struct dir_id id = example_id();
    uint8_t bytes[sizeof(example)];
    uint32_t salt = file_salt(&id, 2);
    size_t at = FILE_HEADER_BYTES + RECORD_HEADER_BYTES;
    size_t head_len;

    (void)state;
    file_header_put(bytes, WAL_MAGIC, &id, 2);
    size_t len = put_op(bytes + at, "v", &head_len);
    struct record_header header = {
        .payload_crc = crc32c(salt, bytes + at, len),
        .payload_len = len,
        .first_seq = 1,
        .op_count = 1,
        .type = RECORD_OPS,
    };
    record_header_put(bytes + FILE_HEADER_BYTES, salt, 2, &header);
    at += len;
    assert_int_equal(at, EXAMPLE_SHORT_AT);
    len = put_op(bytes + at + RECORD_SHORT_CRC_BYTES, "w", &head_len);
    put_u32(bytes + at,
            record_short_crc(salt, 2, varve_slice(bytes + at + RECORD_SHORT_CRC_BYTES, head_len)));
    assert_int_equal(at + RECORD_SHORT_CRC_BYTES + len, sizeof(example));
    assert_memory_equal(bytes, example, sizeof(example));
}

/* The page and this test say the same. FORMAT_MD is its path. */
static void test_record__the_format_page_has_these_bytes(void **state)
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

static void test_record_header__comes_back_whole(void **state)
{
    struct dir_id id = example_id();
    uint32_t salt = file_salt(&id, 70000);
    uint8_t bytes[RECORD_HEADER_BYTES];

    (void)state;
    for (int type = RECORD_BEGIN; type <= RECORD_EDIT; type++) {
        for (unsigned flags = 0; flags < 8; flags++) {
            struct record_header back;
            struct record_header header = {
                .payload_crc = 0x01020304u + flags,
                .payload_len = RECORD_PIECE_MAX_BYTES - flags,
                .first_seq = UINT64_MAX - (uint64_t)type,
                .op_count = UINT32_MAX,
                .type = (enum record_type)type,
                .flags = flags,
                .promised = {.file_no = 70000 - flags, .offset = 1 + flags},
            };
            record_header_put(bytes, salt, 70000, &header);
            assert_int_equal(record_header_get(bytes, salt, 70000, &back), 0);
            assert_int_equal(back.payload_crc, header.payload_crc);
            assert_int_equal(back.payload_len, header.payload_len);
            assert_true(back.first_seq == header.first_seq);
            assert_int_equal(back.op_count, header.op_count);
            assert_int_equal(back.type, header.type);
            assert_int_equal(back.flags, header.flags);
            assert_int_equal(back.promised.file_no, header.promised.file_no);
            assert_int_equal(back.promised.offset, header.promised.offset);
        }
    }
}

static void test_record_header__any_flipped_bit_is_seen(void **state)
{
    struct dir_id id = example_id();
    uint32_t salt = file_salt(&id, 2);
    struct record_header header;
    uint8_t bytes[RECORD_HEADER_BYTES];

    (void)state;
    memcpy(bytes, example + FILE_HEADER_BYTES, sizeof(bytes));
    assert_int_equal(record_header_get(bytes, salt, 2, &header), 0);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(record_header_get(bytes, salt, 2, &header), VARVE_ECORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(record_header_get(bytes, salt, 2, &header), 0);
}

static void test_record_header__of_another_file_is_none(void **state)
{
    struct dir_id id = example_id();
    struct record_header header;

    (void)state;
    assert_int_equal(record_header_get(example + FILE_HEADER_BYTES, file_salt(&id, 3), 3, &header),
                     VARVE_ECORRUPT);
    id.bytes[15] ^= 1;
    assert_int_equal(record_header_get(example + FILE_HEADER_BYTES, file_salt(&id, 2), 2, &header),
                     VARVE_ECORRUPT);
}

/* Zeros are no record under any salt that a pre-written file may have. */
static void test_record_header__zeros_are_none(void **state)
{
    static const uint8_t zeros[RECORD_HEADER_BYTES];
    struct dir_id id = example_id();
    struct record_header header;

    (void)state;
    for (uint64_t file_no = 0; file_no < 10000; file_no++)
        assert_int_equal(record_header_get(zeros, file_salt(&id, file_no), file_no, &header),
                         VARVE_ECORRUPT);
    assert_int_equal(record_header_get(zeros, 0, 0, &header), VARVE_ECORRUPT);
}

/* What has a good CRC, but says what cannot be, is refused all the same. */
static void test_record_header__impossible_fields_are_refused(void **state)
{
    struct dir_id id = example_id();
    uint32_t salt = file_salt(&id, 5);
    uint8_t bytes[RECORD_HEADER_BYTES];
    struct record_header back;
    struct record_header header = {.type = RECORD_OPS, .payload_len = RECORD_PIECE_MAX_BYTES + 1};

    (void)state;
    record_header_put(bytes, salt, 5, &header);
    assert_int_equal(record_header_get(bytes, salt, 5, &back), VARVE_ECORRUPT);
    for (int type = 0; type < 256; type++) {
        header = (struct record_header){.type = RECORD_OPS};
        record_header_put(bytes, salt, 5, &header);
        bytes[RECORD_TYPE_AT] = (uint8_t)type;
        put_u32(bytes, crc32c(salt, bytes + 4, RECORD_HEADER_BYTES - 4));
        assert_int_equal(record_header_get(bytes, salt, 5, &back),
                         type >= (RECORD_LONG_MARK | RECORD_BEGIN) &&
                                 type <= (RECORD_LONG_MARK | RECORD_EDIT)
                             ? 0
                             : VARVE_ECORRUPT);
    }
    for (uint16_t distance = 4; distance <= 6; distance++) {
        record_header_put(bytes, salt, 5, &header);
        put_u16(bytes + 6, distance);
        put_u64(bytes + 32, 100);
        put_u32(bytes, crc32c(salt, bytes + 4, RECORD_HEADER_BYTES - 4));
        assert_int_equal(record_header_get(bytes, salt, 5, &back),
                         distance <= 5 ? 0 : VARVE_ECORRUPT);
    }
}

static void test_record_header__promise_too_far_back_is_left_out(void **state)
{
    struct dir_id id = example_id();
    uint32_t salt = file_salt(&id, 100000);
    uint8_t bytes[RECORD_HEADER_BYTES];
    struct record_header back;

    (void)state;
    for (uint64_t distance = 65534; distance <= 65536; distance++) {
        struct record_header header = {.type = RECORD_OPS,
                                       .promised = {.file_no = 100000 - distance, .offset = 4096}};
        record_header_put(bytes, salt, 100000, &header);
        assert_int_equal(record_header_get(bytes, salt, 100000, &back), 0);
        assert_int_equal(back.promised.offset, distance <= UINT16_MAX ? 4096 : 0);
        assert_int_equal(back.promised.file_no, distance <= UINT16_MAX ? 100000 - distance : 0);
    }
}

/* ---- the short form ---- */

#define SHORT_HEAD_BYTES 11 /* of the example: CRC, kind, chunk CRC, two lengths */

static int is_short_at(const uint8_t *bytes, size_t len, uint64_t file_no, uint64_t seq)
{
    struct dir_id id = example_id();
    struct record_header header;

    return record_short_get(bytes, len, file_salt(&id, file_no), seq, &header) == 0;
}

static void test_record_short__is_one_operation(void **state)
{
    struct dir_id id = example_id();
    const uint8_t *at = example + EXAMPLE_SHORT_AT;
    struct record_header header;

    (void)state;
    assert_int_equal(record_short_get(at, SHORT_HEAD_BYTES, file_salt(&id, 2), 2, &header), 0);
    assert_int_equal(header.payload_len, sizeof(example) - EXAMPLE_SHORT_AT - 4);
    assert_int_equal(record_bytes(&header), sizeof(example) - EXAMPLE_SHORT_AT);
    assert_int_equal(header.first_seq, 2);
    assert_int_equal(header.op_count, 1);
    assert_int_equal(header.type, RECORD_OPS);
    assert_int_equal(header.flags, 0);
    assert_int_equal(header.promised.offset, 0);
    assert_true(header.is_short);
    for (size_t len = 0; len < SHORT_HEAD_BYTES; len++)
        assert_false(is_short_at(at, len, 2, 2));
}

static void test_record_short__any_flipped_bit_of_its_head_is_seen(void **state)
{
    uint8_t bytes[SHORT_HEAD_BYTES];

    (void)state;
    memcpy(bytes, example + EXAMPLE_SHORT_AT, sizeof(bytes));
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(is_short_at(bytes, sizeof(bytes), 2, 2));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(is_short_at(bytes, sizeof(bytes), 2, 2));
}

/* One of another file, or of another place in this one; zeros; the other form. */
static void test_record_short__of_another_place_is_none(void **state)
{
    static const uint8_t zeros[RECORD_HEADER_BYTES];
    const uint8_t *at = example + EXAMPLE_SHORT_AT;
    struct dir_id id = example_id();
    uint8_t bytes[RECORD_HEADER_BYTES] = {0};
    struct record_header header;

    (void)state;
    for (uint64_t seq = 0; seq < 1000; seq++)
        assert_int_equal(is_short_at(at, SHORT_HEAD_BYTES, 2, seq), seq == 2);
    assert_false(is_short_at(at, SHORT_HEAD_BYTES, 2, ((uint64_t)1 << 32) + 2));
    assert_false(is_short_at(at, SHORT_HEAD_BYTES, 3, 2));
    for (uint64_t file_no = 0; file_no < 10000; file_no++)
        assert_false(is_short_at(zeros, sizeof(zeros), file_no, file_no));
    assert_false(is_short_at(example + FILE_HEADER_BYTES, RECORD_HEADER_BYTES, 2, 1));
    memcpy(bytes, at, SHORT_HEAD_BYTES);
    assert_int_equal(record_header_get(bytes, file_salt(&id, 2), 2, &header), VARVE_ECORRUPT);
}

/* A chunk and its CRC that are right, but not those of the header: a sector that is stale. */
static void test_record_short__binds_its_chunk(void **state)
{
    uint8_t bytes[64];
    size_t head_len;

    (void)state;
    memcpy(bytes, example + EXAMPLE_SHORT_AT, RECORD_SHORT_CRC_BYTES);
    (void)put_op(bytes + RECORD_SHORT_CRC_BYTES, "w", &head_len);
    assert_true(is_short_at(bytes, sizeof(bytes), 2, 2));
    (void)put_op(bytes + RECORD_SHORT_CRC_BYTES, "x", &head_len);
    assert_false(is_short_at(bytes, sizeof(bytes), 2, 2));
}

/* Right CRCs, but longer than a writer makes it. */
static void test_record_short__too_long_is_none(void **state)
{
    struct dir_id id = example_id();
    uint8_t bytes[RECORD_HEADER_BYTES];

    (void)state;
    for (size_t more = 0; more < 2; more++) {
        struct chunk chunk = {.kind = CHUNK_PUT, .key = varve_slice(NULL, 1)};
        chunk.value.len = RECORD_SHORT_MAX_BYTES - 9 - 1 + more;
        size_t head_len = chunk_put_head(bytes + RECORD_SHORT_CRC_BYTES, &chunk);
        assert_int_equal(head_len, 9);
        put_u32(bytes, record_short_crc(file_salt(&id, 2), 7,
                                        varve_slice(bytes + RECORD_SHORT_CRC_BYTES, head_len)));
        assert_int_equal(is_short_at(bytes, sizeof(bytes), 2, 7), more == 0);
    }
}

static void test_file_header__any_flipped_bit_is_seen(void **state)
{
    struct dir_id id = example_id();
    uint8_t bytes[FILE_HEADER_BYTES];
    struct varve_err err = {0};

    (void)state;
    memcpy(bytes, example, sizeof(bytes));
    assert_int_equal(file_header_check(bytes, WAL_MAGIC, &id, 2, &err), 0);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(file_header_check(bytes, WAL_MAGIC, &id, 2, &err) < 0);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void test_file_header__says_what_is_wrong(void **state)
{
    struct dir_id id = example_id();
    struct dir_id other = {{9}};
    uint8_t bytes[FILE_HEADER_BYTES];
    struct varve_err err = {0};

    (void)state;
    memcpy(bytes, example, sizeof(bytes));
    assert_int_equal(file_header_check(bytes, MANIFEST_MAGIC, &id, 2, &err), VARVE_EFOREIGN);
    assert_int_equal(file_header_check(bytes, WAL_MAGIC, &other, 2, &err), VARVE_EFOREIGN);
    assert_int_equal(file_header_check(bytes, WAL_MAGIC, &id, 3, &err), VARVE_ECORRUPT);
    put_u32(bytes + 8, 2);
    put_u32(bytes + 60, crc32c(0, bytes, 60));
    assert_int_equal(file_header_check(bytes, WAL_MAGIC, &id, 2, &err), VARVE_EVERSION);
    assert_non_null(strstr(err.text, "version 3"));
    assert_non_null(strstr(err.text, "version 2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record__example_of_the_format_page),
        cmocka_unit_test(test_record__the_format_page_has_these_bytes),
        cmocka_unit_test(test_record_header__comes_back_whole),
        cmocka_unit_test(test_record_header__any_flipped_bit_is_seen),
        cmocka_unit_test(test_record_header__of_another_file_is_none),
        cmocka_unit_test(test_record_header__zeros_are_none),
        cmocka_unit_test(test_record_header__impossible_fields_are_refused),
        cmocka_unit_test(test_record_header__promise_too_far_back_is_left_out),
        cmocka_unit_test(test_record_short__is_one_operation),
        cmocka_unit_test(test_record_short__any_flipped_bit_of_its_head_is_seen),
        cmocka_unit_test(test_record_short__of_another_place_is_none),
        cmocka_unit_test(test_record_short__binds_its_chunk),
        cmocka_unit_test(test_record_short__too_long_is_none),
        cmocka_unit_test(test_file_header__any_flipped_bit_is_seen),
        cmocka_unit_test(test_file_header__says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
