/* iter.h - ordered walks over one consistent state, forward and backward. One owner, one thread
 * at a time. What key() and value() return lives until the next move. It holds the memtables and
 * segments of its state, memory and files, and needs no varve_enter(). A new iterator stands
 * nowhere: begin with first, last or a seek. One that is not valid is at its end, or failed: ask
 * varve_iter_status() before its silence is taken for the end. */
#ifndef VARVE_ITER_H
#define VARVE_ITER_H

#include <stdint.h>

#include "varve/api.h"
#include "varve/db.h"

VARVE_API_BEGIN

struct varve_iter; /* opaque */

/* Keys in [lower, upper); a NULL bound is open. The bounds are copied; read may be NULL, and is
 * not looked at afterwards, but its snapshot is held until the iterator is destroyed. With
 * no_wait a move that needs the disk, or that passes more than passes_max keys (0: no limit) which it does not
 * show (deleted, expired), ends the walk, and the status is VARVE_WOULD_BLOCK. Returns NULL and err (VARVE_ENOMEM) if it cannot be made. Must be destroyed before varve_close(). Any
 * thread. */
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
int varve_iter_status(const struct varve_iter *iter, struct varve_err *err); /* 0, or why not */

/* Of a valid iterator only. */
struct varve_slice varve_iter_key(const struct varve_iter *iter);
/* A large value may be read from the disk here; where that fails the iterator is no longer
 * valid, the value is empty and varve_iter_status() says why. */
struct varve_slice varve_iter_value(struct varve_iter *iter);
uint64_t varve_iter_expire_ms(const struct varve_iter *iter); /* since the epoch, 0: never */
uint64_t varve_iter_seq(const struct varve_iter *iter);       /* of the record */
/* Of any iterator: the sequence up to which it sees all. */
uint64_t varve_iter_as_of(const struct varve_iter *iter);

VARVE_API_END

#endif
