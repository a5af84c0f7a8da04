/* Payloads of DUMP and RESTORE, and what they are made of. The bytes are those of redis-server 7.0.15. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "types/crc64.h"
#include "types/lzf.h"
#include "types/rdb_value.h"
#include "varve/status.h"

#define FUZZ_ROUNDS 30000
#define PAYLOAD_MAX_BYTES 512

/* A literal with its length, which may hold NUL bytes. */
#define BYTES(text) varve_slice((text), sizeof(text) - 1)

static void test_crc64__of_known_bytes(void **state)
{
    static const char digits[] = "123456789123456789123456789";
    uint8_t text[97];

    (void)state;
    assert_true(crc64_update(0, BYTES("123456789")) == 0xe9c6d914c4b8d9ca);
    assert_true(crc64_update(0, varve_slice(digits, 0)) == 0);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 31);
    uint64_t whole = crc64_update(0, varve_slice(text, sizeof(text)));
    for (size_t cut = 0; cut <= sizeof(text); cut++) {
        uint64_t crc = crc64_update(0, varve_slice(text, cut));
        assert_true(crc64_update(crc, varve_slice(text + cut, sizeof(text) - cut)) == whole);
    }
}

static void test_lzf__unpacks(void **state)
{
    uint8_t out[300];

    (void)state;
    assert_int_equal(lzf_unpack(BYTES("\x04hello"), out, 5), 1);
    assert_memory_equal(out, "hello", 5);
    assert_int_equal(lzf_unpack(BYTES("\x02"
                                      "abc\x20\x02"),
                                out, 6),
                     1);
    assert_memory_equal(out, "abcabc", 6);
    assert_int_equal(lzf_unpack(BYTES("\x00x\xe0\xff\x00"), out, 265), 1); /* a run of 264 */
    for (int i = 0; i < 265; i++)
        assert_int_equal(out[i], 'x');
    assert_int_equal(lzf_unpack(BYTES(""), out, 0), 1);
}

static void test_lzf__refuses_what_does_not_fit(void **state)
{
    const struct {
        struct varve_slice packed;
        size_t len;
    } bad[] = {
        {BYTES("\x04hell"), 5},          /* fewer bytes than it says */
        {BYTES("\x04hello"), 4},         /* more than there is room for */
        {BYTES("\x04hello"), 6},         /* or less than was said */
        {BYTES("\x20\x00"), 3},          /* back before the beginning */
        {BYTES("\x00x\x20\x01"), 4},     /* by one */
        {BYTES("\x00x\x20"), 4},         /* no distance */
        {BYTES("\x00x\xe0"), 10},        /* no length */
        {BYTES("\x00x\xe0\x00"), 10},    /* no distance after it */
        {BYTES("\x00x\x20\x00"), 3},     /* past the end */
        {BYTES("\x00x\x20\x00\x1f"), 4}, /* bytes are missing at the end */
        {BYTES(""), 1},
    };
    uint8_t out[16];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(lzf_unpack(bad[i].packed, out, bad[i].len), 0);
}

/* ---- payloads ---- */

static size_t gather(const struct rdb_payload *payload, uint8_t *out)
{
    size_t at = 0;

    memcpy(out, payload->head, payload->head_len);
    at += payload->head_len;
    if (payload->body.len > 0)
        memcpy(out + at, payload->body.data, payload->body.len);
    at += payload->body.len;
    memcpy(out + at, payload->footer, sizeof(payload->footer));
    return at + sizeof(payload->footer);
}

/* Puts a footer behind what is in out; returns the length with it. */
static size_t sign(uint8_t *out, size_t len, unsigned version)
{
    put_u16(out + len, (uint16_t)version);
    put_u64(out + len + 2, crc64_update(0, varve_slice(out, len + 2)));
    return len + RDB_FOOTER_BYTES;
}

static void test_dump__is_what_redis_writes(void **state)
{
    struct varve_slice wanted = BYTES("\x00\x01v\n\x00\x91\x08\xce\xb2\x19\x38\x8a\xce");
    struct rdb_payload payload;
    uint8_t bytes[64];

    (void)state;
    rdb_dump_string(BYTES("v"), &payload);
    assert_int_equal(gather(&payload, bytes), wanted.len);
    assert_memory_equal(bytes, wanted.data, wanted.len);
}

static void test_dump__of_no_libraries_is_what_redis_writes(void **state)
{
    struct varve_slice wanted = BYTES("\n\x00]\x9b\\@\x0f\x7f\xa2\xda");
    uint8_t payload[RDB_FOOTER_BYTES];

    (void)state;
    rdb_dump_nothing(payload);
    assert_int_equal(wanted.len, sizeof(payload));
    assert_memory_equal(payload, wanted.data, wanted.len);
    assert_int_equal(rdb_verify(wanted), 1);
    assert_int_equal(rdb_content(wanted), RDB_NOTHING);
}

static void test_load__of_a_library(void **state)
{
    struct varve_slice payload = BYTES(
        "\xf5\x13#!foo name=bar\ncode\n\x00\x8f\x2a\xf5\x5d\x0a\x46\x08\x09");
    struct rdb_string code;

    (void)state;
    assert_int_equal(rdb_verify(payload), 1);
    assert_int_equal(rdb_content(payload), RDB_LIBRARY);
    assert_int_equal(rdb_load_library(payload, &code), 0);
    assert_int_equal(code.value.len, 19);
    assert_memory_equal(code.value.data, "#!foo name=bar\ncode", 19);
    rdb_string_free(&code);
    assert_int_equal(rdb_load_string(payload, &code), VARVE_ECORRUPT);
    struct varve_slice string = BYTES("\x00\x01v\n\x00\x91\x08\xce\xb2\x19\x38\x8a\xce");
    assert_int_equal(rdb_content(string), RDB_OTHER);
    assert_int_equal(rdb_load_library(string, &code), VARVE_ECORRUPT);
}

static void test_dump__forms(void **state)
{
    const struct {
        const char *value;
        struct varve_slice head;
    } forms[] = {
        {"0", BYTES("\x00\xc0\x00")},
        {"127", BYTES("\x00\xc0\x7f")},
        {"-128", BYTES("\x00\xc0\x80")},
        {"128", BYTES("\x00\xc1\x80\x00")},
        {"-32768", BYTES("\x00\xc1\x00\x80")},
        {"32768", BYTES("\x00\xc2\x00\x80\x00\x00")},
        {"-2147483648", BYTES("\x00\xc2\x00\x00\x00\x80")},
        {"2147483648", BYTES("\x00\x0a")},
        {"01", BYTES("\x00\x02")},
        {"", BYTES("\x00\x00")},
        {"+1", BYTES("\x00\x02")},
    };
    struct rdb_payload payload;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        rdb_dump_string(varve_slice_str(forms[i].value), &payload);
        assert_int_equal(payload.head_len, forms[i].head.len);
        assert_memory_equal(payload.head, forms[i].head.data, forms[i].head.len);
    }
}

/* What was dumped is what is loaded, for every form of a length. */
static void test_dump_and_load__agree(void **state)
{
    static const size_t lengths[] = {0, 1, 11, 63, 64, 65, 16383, 16384, 70000};
    struct rdb_payload payload;
    struct rdb_string string;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        uint8_t *value = malloc(lengths[i] + 1);
        uint8_t *bytes = malloc(lengths[i] + 64);
        memset(value, 'v', lengths[i] + 1);
        rdb_dump_string(varve_slice(value, lengths[i]), &payload);
        struct varve_slice whole = varve_slice(bytes, gather(&payload, bytes));
        assert_int_equal(rdb_verify(whole), 1);
        assert_int_equal(rdb_load_string(whole, &string), 0);
        assert_int_equal(string.value.len, lengths[i]);
        assert_memory_equal(string.value.data, value, lengths[i]);
        rdb_string_free(&string);
        free(value);
        free(bytes);
    }
}

static void test_verify__refuses_every_other_byte_and_length(void **state)
{
    uint8_t bytes[64];
    struct rdb_payload payload;

    (void)state;
    rdb_dump_string(BYTES("hello"), &payload);
    size_t len = gather(&payload, bytes);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(rdb_verify(varve_slice(bytes, cut)), 0);
    for (size_t i = 0; i < len * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(rdb_verify(varve_slice(bytes, len)), 0);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (unsigned version = 0; version < 20; version++) {
        len = sign(bytes, 7, version);
        assert_int_equal(rdb_verify(varve_slice(bytes, len)), version <= RDB_VERSION);
    }
}

/* ---- damage under a right checksum ---- */

static int load(struct varve_slice body, struct rdb_string *string, uint8_t *bytes)
{
    memcpy(bytes, body.data, body.len);
    struct varve_slice whole = varve_slice(bytes, sign(bytes, body.len, RDB_VERSION));

    assert_int_equal(rdb_verify(whole), 1);
    return rdb_load_string(whole, string);
}

static void test_load__refuses_damage_and_allocates_nothing_for_it(void **state)
{
    const struct varve_slice bad[] = {
        BYTES(""),
        BYTES("\x00"),
        BYTES("\x00\x05"), /* the footer is not the string's */
        BYTES("\x00\x0fhello"),
        BYTES("\x00\x06hello"),
        BYTES("\x00\x40"),
        BYTES("\x00\x40\x80x"),
        BYTES("\x00\x80"),
        BYTES("\x00\x80\xff\xff\xff\xffx"),
        BYTES("\x00\x81\xff\xff\xff\xff\xff\xff\xff\xffx"),
        BYTES("\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xffx"),
        BYTES("\x00\x82\x00\x00\x00\x01x"),
        BYTES("\x00\xbf\x01x"),
        BYTES("\x00\xc0"),
        BYTES("\x00\xc1\x01"),
        BYTES("\x00\xc2\x01\x02\x03"),
        BYTES("\x00\xc4\x01"),
        BYTES("\x00\xff\x01"),
        BYTES("\x00\xc3"),
        BYTES("\x00\xc3\x05"),
        BYTES("\x00\xc3\x00\x00"),
        BYTES("\x00\xc3\x00\x05"),
        BYTES("\x00\xc3\x01\x00\x00"),
        BYTES("\x00\xc3\x05\xc0\x05hello"),
        BYTES("\x00\xc3\xc0\x05\x05hello"),
        BYTES("\x00\xc3\x02\x40\xb1\x00x"),             /* two bytes are never 177 */
        BYTES("\x00\xc3\x02\x80\x7f\xff\xff\xff\x00x"), /* nor 2 GB */
        BYTES("\x00\xc3\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00x"),
        BYTES("\x01\x01x"),
        BYTES("\xff\x01x"),
    };
    uint8_t bytes[PAYLOAD_MAX_BYTES];
    struct rdb_string string;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        mem_fail_nth(1, 1);
        assert_int_equal(load(bad[i], &string, bytes), VARVE_ECORRUPT);
        assert_int_equal(mem_alloc_count(), 0);
        mem_fail_nth(0, 0);
        assert_null(string.unpacked);
    }
}

static void test_load__packed(void **state)
{
    uint8_t bytes[PAYLOAD_MAX_BYTES];
    struct rdb_string string;

    (void)state;
    assert_int_equal(load(BYTES("\x00\xc3\x05\x41\x09\x00x\xe0\xff\x00"), &string, bytes), 0);
    assert_int_equal(string.value.len, 265);
    rdb_string_free(&string);
    assert_int_equal(load(BYTES("\x00\xc3\x05\x05\x04hell"), &string, bytes), VARVE_ECORRUPT);
    assert_int_equal(load(BYTES("\x00\xc3\x06\x06\x04hello"), &string, bytes), VARVE_ECORRUPT);
    assert_null(string.unpacked);
    mem_fail_nth(1, 0);
    assert_int_equal(load(BYTES("\x00\xc3\x06\x05\x04hello"), &string, bytes), VARVE_ENOMEM);
    mem_fail_nth(0, 0);
}

/* Bytes that begin as payloads do and go on at random: nothing is read outside of them, and what is loaded
 * is no longer than they can say. */
static void test_load__of_anything_stays_inside(void **state)
{
    static const uint8_t second[] = {0x00, 0x05, 0x3f, 0x40, 0x41, 0x80, 0x81, 0xc0,
                                     0xc1, 0xc2, 0xc3, 0xc3, 0xc3, 0xc3, 0xc4};
    struct rdb_string string;
    struct rng rng;
    int loaded = 0;

    (void)state;
    rng_init(&rng, 7);
    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        size_t len = rng_below(&rng, 40) + 2;
        uint8_t *bytes = malloc(len + RDB_FOOTER_BYTES); /* of its very length, for the sanitizer */
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)rng_below(&rng, rng_below(&rng, 3) == 0 ? 256 : 12);
        bytes[0] = 0;
        bytes[1] = second[rng_below(&rng, COUNT_OF(second))];
        struct varve_slice whole = varve_slice(bytes, sign(bytes, len, RDB_VERSION));
        int rc = rdb_load_string(whole, &string);
        assert_true(rc == 0 || rc == VARVE_ECORRUPT);
        if (rc == 0) {
            uint64_t sum = 0;
            for (size_t i = 0; i < string.value.len; i++)
                sum += string.value.data[i];
            assert_true(sum <= string.value.len * 255);
            assert_true(string.value.len <= len * LZF_GROWTH_MAX);
            rdb_string_free(&string);
            loaded++;
        }
        free(bytes);
    }
    assert_true(loaded > FUZZ_ROUNDS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc64__of_known_bytes),
        cmocka_unit_test(test_lzf__unpacks),
        cmocka_unit_test(test_lzf__refuses_what_does_not_fit),
        cmocka_unit_test(test_dump__is_what_redis_writes),
        cmocka_unit_test(test_dump__of_no_libraries_is_what_redis_writes),
        cmocka_unit_test(test_load__of_a_library),
        cmocka_unit_test(test_dump__forms),
        cmocka_unit_test(test_dump_and_load__agree),
        cmocka_unit_test(test_verify__refuses_every_other_byte_and_length),
        cmocka_unit_test(test_load__refuses_damage_and_allocates_nothing_for_it),
        cmocka_unit_test(test_load__packed),
        cmocka_unit_test(test_load__of_anything_stays_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
