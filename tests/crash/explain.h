/* explain.h - what may come of damage to a file, from the bytes alone: how short the log may have become,
 * and why damage that nobody saw did no harm. One thread. */
#ifndef CRASH_EXPLAIN_H
#define CRASH_EXPLAIN_H

#include "judge.h"

/* The least k that may be found. Where the end of the newest log was hit, it is what the headers that are
 * left promise; everywhere else it is the newest. */
uint64_t explain_floor(const struct zoo_db *zoo, const struct attack *attack,
                       const struct attacked *attacked);

/* Why all was read as if there were no damage; REASON_NONE: it should have been seen. `image` is a disk with
 * the damage on it that was not opened yet. */
enum reason explain_unharmed(const struct zoo_db *zoo, const struct attack *attack,
                             const struct attacked *attacked, struct sim_env *image);

/* Does an error of that code and text say where the damage is? */
int explain_fits(const struct zoo_db *zoo, const struct attack *attack,
                 const struct attacked *attacked, const struct varve_err *err);

#endif
