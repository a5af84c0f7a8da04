#include "base/crc32c.h"

#include <pthread.h>

#include "base/bytes.h"

#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#define ISAL_SLICE_BYTES ((size_t)1 << 30) /* its length is an int */
#define SHORT_BYTES 128                    /* beyond it ISA-L is faster than crc32c_short() */
#endif

#define CRC32C_POLYNOMIAL_REFLECTED 0x82f63b78u

static uint32_t table[256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) ? CRC32C_POLYNOMIAL_REFLECTED : 0);
        table[i] = crc;
    }
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *at = data;

    pthread_once(&table_once, table_init);
    crc = ~crc;
    for (size_t i = 0; i < len; i++)
        crc = table[(crc ^ at[i]) & 0xff] ^ (crc >> 8);
    return ~crc;
}

#if defined(HAVE_ISAL) && defined(__x86_64__)
/* The processor's own instruction, for a record's head, key and small value: ISA-L needs longer to begin. */
__attribute__((target("sse4.2"))) static uint32_t crc32c_short(uint32_t crc, const uint8_t *at,
                                                               size_t len)
{
    uint64_t sum = ~crc;

    for (; len >= 8; at += 8, len -= 8)
        sum = __builtin_ia32_crc32di(sum, get_u64(at));
    crc = (uint32_t)sum;
    if (len & 4) {
        crc = __builtin_ia32_crc32si(crc, get_u32(at));
        at += 4;
    }
    if (len & 2) {
        crc = __builtin_ia32_crc32hi(crc, get_u16(at));
        at += 2;
    }
    if (len & 1)
        crc = __builtin_ia32_crc32qi(crc, *at);
    return ~crc;
}
#endif

#ifdef HAVE_ISAL
uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    unsigned char *at = (unsigned char *)(uintptr_t)data; /* ISA-L reads it, but says non-const */

#ifdef __x86_64__
    if (len <= SHORT_BYTES && __builtin_cpu_supports("sse4.2"))
        return crc32c_short(crc, data, len);
#endif
    crc = ~crc;
    while (len > ISAL_SLICE_BYTES) {
        crc = crc32_iscsi(at, (int)ISAL_SLICE_BYTES, crc);
        at += ISAL_SLICE_BYTES;
        len -= ISAL_SLICE_BYTES;
    }
    return ~crc32_iscsi(at, (int)len, crc);
}
#else
uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return crc32c_portable(crc, data, len);
}
#endif
