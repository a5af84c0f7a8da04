#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"

static void test_bytes__integers_are_little_endian(void **state)
{
    uint8_t at[9] = {0};

    (void)state;
    put_u16(at + 1, 0x1234);
    assert_memory_equal(at + 1, "\x34\x12", 2);
    assert_int_equal(get_u16(at + 1), 0x1234);
    put_u32(at + 1, 0x12345678u);
    assert_memory_equal(at + 1, "\x78\x56\x34\x12", 4);
    assert_int_equal(get_u32(at + 1), 0x12345678u);
    put_u64(at + 1, 0x123456789abcdef0u);
    assert_memory_equal(at + 1, "\xf0\xde\xbc\x9a\x78\x56\x34\x12", 8);
    assert_true(get_u64(at + 1) == 0x123456789abcdef0u);
    assert_int_equal(at[0], 0);
}

/* Around each power of two: it comes back, in the size that was said, and not from fewer bytes. */
static void test_varint__every_size(void **state)
{
    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        for (int64_t delta = -1; delta <= 1; delta++) {
            uint64_t v = ((uint64_t)1 << bit) + (uint64_t)delta;
            uint8_t at[VARINT_MAX_BYTES + 1] = {0};
            uint64_t back = 0;
            size_t n = put_varint(at, v);
            assert_int_equal(n, varint_size(v));
            assert_in_range(n, 1, VARINT_MAX_BYTES);
            assert_int_equal(get_varint(at, at + sizeof(at), &back), n);
            assert_true(back == v);
            for (size_t cut = 0; cut < n; cut++)
                assert_int_equal(get_varint(at, at + cut, &back), 0);
        }
    }
    assert_int_equal(varint_size(0), 1);
    assert_int_equal(varint_size(127), 1);
    assert_int_equal(varint_size(128), 2);
    assert_int_equal(varint_size(UINT64_MAX), 10);
}

static void test_varint__too_long_is_refused(void **state)
{
    const uint8_t largest[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    const uint8_t above_64_bits[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    const uint8_t eleven_bytes[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                    0x80, 0x80, 0x80, 0x80, 0x01};
    uint64_t v = 0;

    (void)state;
    assert_int_equal(get_varint(largest, largest + sizeof(largest), &v), 10);
    assert_true(v == UINT64_MAX);
    assert_int_equal(get_varint(above_64_bits, above_64_bits + sizeof(above_64_bits), &v), 0);
    assert_int_equal(get_varint(eleven_bytes, eleven_bytes + sizeof(eleven_bytes), &v), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes__integers_are_little_endian),
        cmocka_unit_test(test_varint__every_size),
        cmocka_unit_test(test_varint__too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
