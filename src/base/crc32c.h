/* crc32c.h - CRC-32C (Castagnoli, RFC 3720 appendix B.4), by ISA-L where the build has it.
 * crc32c(0, "123456789") is 0xe3069283. Chains: crc32c(crc32c(0, a), b) is the CRC of ab. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The same by a table: the fallback, and what the tests compare with. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
