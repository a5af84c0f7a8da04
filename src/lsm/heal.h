/* heal.h - gets a log that failed to take writes again, without a restart (I4).
 *
 * A maintenance job takes a new WAL file, writes into it from the memtable all that was not durable,
 * syncs it, and then ends the old file in the manifest where it was last durable. Only then does the
 * writer go on, in the new file. Nothing is written to the old file again, and nothing of it is
 * deleted before the manifest is certain. The memtable holds all data; what is copied is only what the
 * last good sync did not cover.
 *
 *   idle --heal_start--> running --job ok----> done --heal_adopt--> idle
 *                                --job fails-> idle, and again after a pause */
#ifndef LSM_HEAL_H
#define LSM_HEAL_H

#include "base/thread.h"
#include "lsm/wal_sync.h"
#include "varve/executor.h"
#include "varve/status.h"

struct varve_db;

enum heal_state { HEAL_IDLE, HEAL_RUNNING, HEAL_DONE };

struct heal {
    struct varve_job job;
    struct varve_db *db;
    struct mutex mutex;
    struct cond changed;
    enum heal_state state;               /* under the mutex */
    struct log_writer *log;              /* the new file, once done */
    uint64_t retry_us;                   /* writer thread: not before */
    char last_error[VARVE_ERR_TEXT_MAX]; /* the job's: what was logged last */
};

void heal_init(struct heal *heal, struct varve_db *db);
void heal_deinit(struct heal *heal); /* no job may be running */
/* Writer thread, while db->failed: starts the job when it is due, or takes over what it made. */
void heal_tick(struct heal *heal, uint64_t now_us);

/* Writer thread, at close: heals once, now, and waits for it. 0 if the log is well afterwards. */
int heal_now(struct heal *heal, struct varve_err *err) MUST_CHECK;
enum heal_state heal_state(struct heal *heal); /* any thread */

#endif
