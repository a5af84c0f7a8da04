/* inline.h - the words of an inline command, by the quoting rules of Redis.
 *
 * Words are parted by white space. "..." may hold \xHH, \n \r \t \b \a and \ before any other byte;
 * '...' may hold \'. A quote may open in the middle of a word, and closes it. */
#ifndef RESP_INLINE_H
#define RESP_INLINE_H

#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

enum inline_step { INLINE_WORD, INLINE_END, INLINE_UNBALANCED };

/* Takes the next word from [*at, end) and moves *at behind it. The word is unquoted in place: it is
 * a slice of the line, and the bytes up to *at are no longer what they were. */
enum inline_step inline_next(uint8_t **at, uint8_t *end, struct varve_slice *word) MUST_CHECK;

#endif
