/* sha256.h - SHA-256 (FIPS 180-4) of bytes in memory: small, for what is hashed once, not for much data. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

void sha256(const void *data, size_t len, uint8_t digest[SHA256_BYTES]);

#endif
