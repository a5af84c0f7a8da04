/* snapshot.h - the data as of one sequence number and one time. Holding one keeps what it sees. */
#ifndef VARVE_SNAPSHOT_H
#define VARVE_SNAPSHOT_H

#include <stdint.h>

struct varve_db;
struct varve_snapshot; /* opaque */

/* Everything that was committed before the call. Any thread. NULL if out of memory. */
struct varve_snapshot *varve_snapshot_acquire(struct varve_db *db);
void varve_snapshot_release(struct varve_db *db, struct varve_snapshot *snapshot); /* takes NULL */

uint64_t varve_snapshot_seq(const struct varve_snapshot *snapshot);
uint64_t varve_snapshot_now_ms(const struct varve_snapshot *snapshot);

#endif
