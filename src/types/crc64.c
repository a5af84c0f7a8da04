/* Eight bytes at a time: table n says what a byte does to the CRC n bytes further on. */
#include "types/crc64.h"

#include <pthread.h>

#include "base/bytes.h"

#define POLYNOMIAL_REFLECTED 0x95ac9329ac4bc9b5u
#define STEP_BYTES 8

static uint64_t tables[STEP_BYTES][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL_REFLECTED : 0);
        tables[0][i] = crc;
    }
    for (unsigned n = 1; n < STEP_BYTES; n++)
        for (unsigned i = 0; i < 256; i++)
            tables[n][i] = tables[n - 1][i] >> 8 ^ tables[0][tables[n - 1][i] & 0xff];
}

uint64_t crc64_update(uint64_t crc, struct varve_slice bytes)
{
    const uint8_t *at = bytes.data;
    size_t left = bytes.len;

    CHECK(pthread_once(&once, make_tables) == 0);
    for (; left >= STEP_BYTES; left -= STEP_BYTES, at += STEP_BYTES) {
        uint64_t word = crc ^ get_u64(at);
        crc = 0;
        for (unsigned n = 0; n < STEP_BYTES; n++)
            crc ^= tables[STEP_BYTES - 1 - n][word >> 8 * n & 0xff];
    }
    for (; left > 0; left--, at++)
        crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xff];
    return crc;
}
