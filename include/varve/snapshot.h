/* snapshot.h - the data as of one sequence number and one time: nothing expires in it. Holding
 * one keeps what it sees: flushes and compactions go on, and carry the old versions along, so
 * that space comes back only after the release. It does not outlive the process. */
#ifndef VARVE_SNAPSHOT_H
#define VARVE_SNAPSHOT_H

#include <stdint.h>

#include "varve/api.h"

VARVE_API_BEGIN

struct varve_db;
struct varve_snapshot; /* opaque */

/* Everything that was committed before the call. A mutex is held for a moment. Any thread may
 * use one, several at once. NULL if out of memory. */
struct varve_snapshot *varve_snapshot_acquire(struct varve_db *db);
/* Nobody reads with it any more; before varve_close(). Any thread. Takes NULL. */
void varve_snapshot_release(struct varve_db *db, struct varve_snapshot *snapshot);

uint64_t varve_snapshot_seq(const struct varve_snapshot *snapshot);
uint64_t varve_snapshot_now_ms(const struct varve_snapshot *snapshot); /* since the epoch */

VARVE_API_END

#endif
