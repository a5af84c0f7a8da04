/* longdouble.h - long doubles as text, exactly as INCRBYFLOAT takes and prints them. Pure; any thread. */
#ifndef TYPES_LONGDOUBLE_H
#define TYPES_LONGDOUBLE_H

#include <stddef.h>

#include "base/check.h"
#include "varve/slice.h"

#define LONGDOUBLE_TEXT_MAX_BYTES 5120 /* more than the largest one has digits */

/* 1 and *value if the whole text is a number as strtold() reads it, infinity included, without space before
 * it, of less than LONGDOUBLE_TEXT_MAX_BYTES, and neither NaN nor out of range; else 0. */
int longdouble_parse(struct varve_slice text, long double *value) MUST_CHECK;

/* Writes a finite value with 17 decimals, less the zeros at their end, at `out`, which has
 * LONGDOUBLE_TEXT_MAX_BYTES of room; returns the bytes written. */
size_t longdouble_print(long double value, char *out);

#endif
