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
    'v',  'a',  'r',  'v',  'e',  'W',  'A',  'L',  0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d,
    0x0e, 0x0f, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x64, 0x79, 0xf7, 0x30, 0x6a, 0x46, 0xea, 0xd8, 0x79, 0x57, 0xfa, 0xf9, 0x09, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00,
    0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
    0xdd, 0xa5, 0xa8, 0xb9, 0x01, 0x01, 'k',  'v',
};

static struct dir_id example_id(void)
{
    struct dir_id id;

    for (int i = 0; i < DIR_ID_BYTES; i++)
        id.bytes[i] = (uint8_t)i;
    return id;
}

static void test_record__example_of_the_format_page(void **state)
{
    struct dir_id id = example_id();
    struct chunk chunk = {
        .kind = CHUNK_PUT, .key = varve_slice_str("k"), .value = varve_slice_str("v")};
    uint8_t bytes[sizeof(example)];
    uint8_t head[CHUNK_HEAD_MAX_BYTES];
    uint32_t salt = file_salt(&id, 2);
    size_t at = FILE_HEADER_BYTES + RECORD_HEADER_BYTES;

    (void)state;
    file_header_put(bytes, WAL_MAGIC, &id, 2);
    chunk.crc = chunk_crc(&chunk);
    size_t head_len = chunk_put_head(head, &chunk);
    memcpy(bytes + at, head, head_len);
    memcpy(bytes + at + head_len, "kv", 2);
    struct record_header header = {
        .payload_crc = crc32c(salt, bytes + at, head_len + 2),
        .payload_len = head_len + 2,
        .first_seq = 1,
        .op_count = 1,
        .type = RECORD_OPS,
    };
    record_header_put(bytes + FILE_HEADER_BYTES, salt, 2, &header);
    assert_int_equal(at + head_len + 2, sizeof(example));
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
        bytes[28] = (uint8_t)type;
        put_u32(bytes, crc32c(salt, bytes + 4, RECORD_HEADER_BYTES - 4));
        assert_int_equal(record_header_get(bytes, salt, 5, &back),
                         type >= RECORD_BEGIN && type <= RECORD_EDIT ? 0 : VARVE_ECORRUPT);
    }
    for (uint16_t distance = 4; distance <= 6; distance++) {
        record_header_put(bytes, salt, 5, &header);
        put_u16(bytes + 30, distance);
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
    put_u32(bytes + 8, 1);
    put_u32(bytes + 60, crc32c(0, bytes, 60));
    assert_int_equal(file_header_check(bytes, WAL_MAGIC, &id, 2, &err), VARVE_EVERSION);
    assert_non_null(strstr(err.text, "version 2"));
    assert_non_null(strstr(err.text, "version 1"));
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
        cmocka_unit_test(test_file_header__any_flipped_bit_is_seen),
        cmocka_unit_test(test_file_header__says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
