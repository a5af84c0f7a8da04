/* batch.h - writes that become visible and durable together, in the order in which they were
 * added. One owner, one thread at a time. Keys and values are copied, but for the last part of a
 * value, if it has VARVE_BATCH_BORROW_BYTES or more: that is borrowed until the batch is cleared or
 * destroyed. It must not change, for the CRC of every operation is made here, from the caller's bytes, and
 * travels with the record from then on. A batch belongs to no database, and may be written
 * several times. */
#ifndef VARVE_BATCH_H
#define VARVE_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "varve/api.h"
#include "varve/slice.h"

VARVE_API_BEGIN

#define VARVE_KEY_MAX_BYTES ((size_t)512 * 1024 * 1024 + 64)
#define VARVE_VALUE_MAX_BYTES ((size_t)512 * 1024 * 1024 + 64)
#define VARVE_BATCH_BORROW_BYTES ((size_t)16 * 1024)

struct varve_batch; /* opaque */

struct varve_batch *varve_batch_create(void);                /* NULL if out of memory */
void varve_batch_destroy(struct varve_batch *batch);         /* takes NULL */
void varve_batch_clear(struct varve_batch *batch);           /* keeps its memory for the next use */
uint32_t varve_batch_count(const struct varve_batch *batch); /* operations */
uint64_t varve_batch_size(const struct varve_batch *batch);  /* bytes of keys and values */

/* The key, and the value, are the concatenation of their parts (at most 4), so that a prefix
 * need not be glued to a key first. Either may be empty. expire_ms is in milliseconds since the
 * epoch, 0: never. Return 0; VARVE_EINVAL past the limits above and beyond 2 GiB of what is
 * copied; VARVE_ENOMEM: the batch is then as it was. */
int varve_batch_put(struct varve_batch *batch, const struct varve_slice *key_parts, int key_count,
                    const struct varve_slice *value_parts, int value_count, uint64_t expire_ms);
int varve_batch_delete(struct varve_batch *batch, const struct varve_slice *key_parts,
                       int key_count);
/* Deletes every key in [begin, end), at the cost of one record. VARVE_EINVAL unless begin < end. */
int varve_batch_delete_range(struct varve_batch *batch, struct varve_slice begin,
                             struct varve_slice end);

VARVE_API_END

#endif
