#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "base/rng.h"

#define BUFFER_BYTES 5000

/* RFC 3720, appendix B.4, and the check value of the CRC catalogues. */
static void test_crc32c__known_vectors(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(0, NULL, 0), 0);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aau);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794eu);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x113fdb5cu);
    assert_int_equal(crc32c_portable(0, bytes, sizeof(bytes)), 0x113fdb5cu);
}

static void test_crc32c__agrees_with_the_table_at_every_length_and_alignment(void **state)
{
    uint8_t *bytes = mem_alloc(BUFFER_BYTES);
    struct rng rng;

    (void)state;
    assert_non_null(bytes);
    rng_init(&rng, 1);
    for (size_t i = 0; i < BUFFER_BYTES; i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    for (size_t len = 0; len <= 300; len++)
        for (size_t at = 0; at < 17; at++)
            assert_int_equal(crc32c(7, bytes + at, len), crc32c_portable(7, bytes + at, len));
    for (int i = 0; i < 300; i++) {
        size_t at = rng_below(&rng, 64);
        size_t len = rng_below(&rng, BUFFER_BYTES - 64);
        uint32_t seed = (uint32_t)rng_next(&rng);
        assert_int_equal(crc32c(seed, bytes + at, len), crc32c_portable(seed, bytes + at, len));
    }
    mem_free(bytes);
}

static void test_crc32c__chains(void **state)
{
    static const char text[] = "the quick brown fox jumps over the lazy dog, and once more";
    uint32_t whole = crc32c(0, text, sizeof(text));

    (void)state;
    for (size_t cut = 0; cut <= sizeof(text); cut++) {
        uint32_t first = crc32c(0, text, cut);
        assert_int_equal(crc32c(first, text + cut, sizeof(text) - cut), whole);
        assert_int_equal(crc32c_portable(first, text + cut, sizeof(text) - cut), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c__known_vectors),
        cmocka_unit_test(test_crc32c__agrees_with_the_table_at_every_length_and_alignment),
        cmocka_unit_test(test_crc32c__chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
