/* lcs.h - the longest common subsequence of two strings, and where in them it lies. One owner, one thread.
 * Costs a.len * b.len steps, which the caller bounds, and a bit of memory for each. */
#ifndef TYPES_LCS_H
#define TYPES_LCS_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "varve/slice.h"

struct lcs {
    struct varve_slice a; /* borrowed */
    struct varve_slice b;
    uint32_t length; /* of the subsequence */
    uint64_t
        *went_up; /* owned; a bit a pair of prefixes: see lcs.c. NULL: only the length is known */
};

/* A stretch that both have: a[a_at..a_at + len), b[b_at..b_at + len). */
struct lcs_range {
    size_t a_at;
    size_t b_at;
    size_t len;
};

/* How long both begin with what was not walked over yet. */
struct lcs_walk {
    size_t a_left;
    size_t b_left;
};

/* The strings are shorter than UINT32_MAX. Returns 0 or VARVE_ENOMEM. */
int lcs_init(struct lcs *lcs, struct varve_slice a, struct varve_slice b,
             int length_only) MUST_CHECK;
void lcs_deinit(struct lcs *lcs);

/* The ranges of the subsequence, last first: 1 and *range, or 0 at the end. */
void lcs_begin(const struct lcs *lcs, struct lcs_walk *walk);
int lcs_next(const struct lcs *lcs, struct lcs_walk *walk, struct lcs_range *range) MUST_CHECK;

#endif
