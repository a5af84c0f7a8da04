/* lzf.h - unpacks LZF, as Redis packs long strings in DUMP. Pure; any thread.
 *
 * The packed bytes are a list of: a byte below 32 and so many bytes more one, as they are; or a byte whose
 * high three bits L are not 0: L + 2 bytes (with L = 7 the next byte adds to them) that lie back in what
 * was unpacked, 1 + the low five bits and then the last byte of the three, before its end. */
#ifndef TYPES_LZF_H
#define TYPES_LZF_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

/* No packed byte stands for more unpacked ones: three of them for at most 264. */
#define LZF_GROWTH_MAX 88

/* 1 if `packed` unpacks to exactly len bytes, which are then at out; else 0, and out holds anything. */
int lzf_unpack(struct varve_slice packed, uint8_t *out, size_t len) MUST_CHECK;

#endif
