/* glob.h - the patterns of KEYS, SCAN MATCH and CONFIG GET, as Redis reads them: * any run, ? any
 * byte, [abc] [a-z] [^x] a byte of a set, \x the byte x. The empty text matches
 * the empty pattern alone; KEYS and SCAN take the pattern * to be none. Any thread. */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"

/* What begins behind more than so many runs of * matches nothing, as in Redis. */
#define GLOB_STARS_MAX 1000

enum glob_flags { GLOB_NOCASE = 1 }; /* ASCII letters only */

/* Returns 1 if the whole of text matches. It takes at most (text.len + 1) * pattern.len steps and no
 * recursion, whatever the pattern. */
int glob_match(struct varve_slice pattern, struct varve_slice text, unsigned flags);

/* The same with a bound: *steps is counted down by the work that is done; when it is spent the
 * answer is -1, neither yes nor no. A step is one byte of pattern looked at. */
int glob_match_steps(struct varve_slice pattern, struct varve_slice text, unsigned flags,
                     uint64_t *steps);

/* 1 if the pattern can match only one text, itself: it has none of * ? [ \. */
int glob_is_literal(struct varve_slice pattern);

/* The bytes before the first special one: every match begins with them (without GLOB_NOCASE). */
size_t glob_literal_prefix_len(struct varve_slice pattern);

#endif
