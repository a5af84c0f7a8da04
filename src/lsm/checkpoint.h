/* checkpoint.h - a checkpoint while it is made: varve/checkpoint.h has what it promises.
 *
 *   (none) --start--> waiting --durable--> capturing (MAINTENANCE) --> making (COMPACTION) --> (none)
 *                                                                       ^ | a segment was copied
 *
 * Capturing is short: where the log is durable, what the manifest says, the version, the log files, all
 * of one moment, since only maintenance jobs change them. Making reads nothing else of the database; where
 * it has to copy segments, it takes turns with compactions. */
#ifndef LSM_CHECKPOINT_H
#define LSM_CHECKPOINT_H

#include <stdatomic.h>

#include "base/thread.h"
#include "varve/checkpoint.h"
#include "varve/executor.h"

struct checkpoint_request; /* opaque */

struct checkpoints {
    struct varve_db *db;
    struct mutex mutex;
    struct cond changed;
    struct checkpoint_request *request; /* NULL: another one may be started */
    size_t running;                     /* whose done() has not returned */
    _Atomic int holds_wals; /* log files are open here: what is dropped of them is not reused */
};

void checkpoints_init(struct checkpoints *checkpoints, struct varve_db *db);
void checkpoints_deinit(struct checkpoints *checkpoints); /* none is running */

/* Goes on with one that waits, if the log is durable as far as it wants, or never will be, or the
 * database is closing. Any thread. */
void checkpoints_poke(struct checkpoints *checkpoints);

/* Under the mutex, for db_wait(). */
int checkpoints_are_running(const void *checkpoints);

#endif
