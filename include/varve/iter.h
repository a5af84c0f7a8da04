/* iter.h - ordered walks over one consistent state, forward and backward.
 * One owner, one thread. What key() and value() return lives until the next move. It holds the memtables
 * and segments of its state, and needs no varve_enter(). An iterator that
 * is not valid is at its end, or failed: ask varve_iter_status(). */
#ifndef VARVE_ITER_H
#define VARVE_ITER_H

#include <stdint.h>

#include "varve/db.h"

struct varve_iter; /* opaque */

/* Keys in [lower, upper); a NULL bound is open. The bounds are copied. Returns NULL and err if it
 * cannot be made. Must be destroyed before varve_close(). */
struct varve_iter *varve_iter_create(struct varve_db *db, const struct varve_read *read,
                                     const struct varve_slice *lower,
                                     const struct varve_slice *upper, struct varve_err *err);
void varve_iter_destroy(struct varve_iter *iter); /* takes NULL */

void varve_iter_first(struct varve_iter *iter);
void varve_iter_last(struct varve_iter *iter);
void varve_iter_seek(struct varve_iter *iter, struct varve_slice key);      /* first >= key */
void varve_iter_seek_prev(struct varve_iter *iter, struct varve_slice key); /* last <= key */
void varve_iter_next(struct varve_iter *iter); /* of a valid iterator only */
void varve_iter_prev(struct varve_iter *iter); /* of a valid iterator only */

int varve_iter_valid(const struct varve_iter *iter);
int varve_iter_status(const struct varve_iter *iter, struct varve_err *err); /* 0 or the error */
struct varve_slice varve_iter_key(const struct varve_iter *iter);
/* A value of 16 KiB or more may be read from the disk here; where that fails the iterator is no longer
 * valid, the value is empty and varve_iter_status() says why. */
struct varve_slice varve_iter_value(struct varve_iter *iter);
uint64_t varve_iter_expire_ms(const struct varve_iter *iter);
uint64_t varve_iter_seq(const struct varve_iter *iter);

#endif
