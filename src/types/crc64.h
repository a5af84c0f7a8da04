/* crc64.h - the CRC-64 of RDB payloads (polynomial 0xad93d23594c935a9, bits reflected, no inversion:
 * "123456789" has e9c6d914c4b8d9ca). Pure; any thread. Some GB/s. */
#ifndef TYPES_CRC64_H
#define TYPES_CRC64_H

#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

/* The CRC of what crc stands for, followed by bytes; crc of nothing is 0. */
uint64_t crc64_update(uint64_t crc, struct varve_slice bytes) MUST_CHECK;

#endif
