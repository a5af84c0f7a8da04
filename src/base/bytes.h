/* bytes.h - little-endian integers and varints, as all our formats use them.
 * Varint: LEB128, 7 bits a byte, least first, at most 10 bytes; a longer or overlong final byte
 * (bits above 64) is refused. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VARINT_MAX_BYTES 10

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "varve is built for little-endian machines only"
#endif

static inline void put_u16(uint8_t *at, uint16_t v)
{
    memcpy(at, &v, sizeof(v));
}

static inline void put_u32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, sizeof(v));
}

static inline void put_u64(uint8_t *at, uint64_t v)
{
    memcpy(at, &v, sizeof(v));
}

static inline uint16_t get_u16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static inline uint32_t get_u32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static inline uint64_t get_u64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static inline size_t varint_size(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* Writes v at `at`, which has room for varint_size(v); returns the bytes written. */
static inline size_t put_varint(uint8_t *at, uint64_t v)
{
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        at[n++] = (uint8_t)(v | 0x80);
    at[n++] = (uint8_t)v;
    return n;
}

/* Reads a varint from [at, end). Returns the bytes read, 0 if it is cut short or too long. */
static inline size_t get_varint(const uint8_t *at, const uint8_t *end, uint64_t *v)
{
    uint64_t value = 0;

    for (size_t n = 0; n < VARINT_MAX_BYTES && at + n < end; n++) {
        uint64_t byte = at[n];
        if (n == 9 && byte > 1)
            return 0;
        value |= (byte & 0x7f) << (7 * n);
        if (byte < 0x80) {
            *v = value;
            return n + 1;
        }
    }
    return 0;
}

#endif
