/* count_keys.h - the number of a group's live keys: looks up what counts.h leaves unknown, in the layers
 * below, and remembers the answers a layer each (count_memory.h). A group of which a part was range-deleted
 * is counted by a walk.
 *
 * Exact: every unknown record is looked up, or, where they are many, all layers are walked through side by
 * side (count_merge.h). About: exact if that many keys are few; else a random sample of
 * the unknown records speaks for all of them, which is checked for what it leaves in doubt and grows until
 * that is little enough. */
#ifndef LSM_COUNT_KEYS_H
#define LSM_COUNT_KEYS_H

#include <stdint.h>

#include "base/check.h"
#include "lsm/count_memory.h"
#include "varve/options.h"
#include "varve/slice.h"
#include "varve/status.h"

struct varve_db;

/* One count, at the state of its making. */
struct count_task; /* opaque */

/* Writer thread. about 1: as varve_fetch_count_about(). NULL: no memory. */
struct count_task *count_task_create(struct varve_db *db, struct varve_slice group, int about);
void count_task_destroy(struct count_task *task); /* takes NULL */
/* 1: it keeps memtables, segments or records from going that a task made now would not. */
int count_task_is_late(struct count_task *task);
void count_task_cancel(struct count_task *task); /* any thread: it ends soon, with VARVE_EINVAL */
/* Blocks. Any thread. Once a task. */
int count_task_run(struct count_task *task, uint64_t *count, struct varve_err *err) MUST_CHECK;

#endif
