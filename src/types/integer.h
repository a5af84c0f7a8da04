/* integer.h - 64-bit integers as text, exactly as Redis takes and prints them. Pure. */
#ifndef TYPES_INTEGER_H
#define TYPES_INTEGER_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

#define INTEGER_TEXT_MAX_BYTES 20 /* "-9223372036854775808", without a NUL */

/* 1 and *value if text is an integer in its one shortest form ("-1", "0"; not "+1", "01", "-0", " 1",
 * "") that fits; else 0. */
int integer_parse(struct varve_slice text, int64_t *value) MUST_CHECK;

/* Writes value at `out`, which has INTEGER_TEXT_MAX_BYTES of room; returns the bytes written. */
size_t integer_print(int64_t value, uint8_t *out);

#endif
