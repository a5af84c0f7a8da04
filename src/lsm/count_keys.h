/* count_keys.h - the exact number of a group's live keys: looks up what counts.h leaves unknown, in the
 * layers below, and remembers the answers a layer each, so that the next count looks up what is new.
 * A group of which a part was range-deleted is counted by a walk. */
#ifndef LSM_COUNT_KEYS_H
#define LSM_COUNT_KEYS_H

#include <stdint.h>

#include "base/check.h"
#include "base/thread.h"
#include "varve/options.h"
#include "varve/slice.h"
#include "varve/status.h"

struct varve_db;

/* How many of a layer's unknown keys were live below it. */
struct count_answer {
    uint64_t layer; /* a segment's file number, or a memtable's id with the highest bit set */
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len;
    uint64_t upto_seq; /* of the entries that were looked at */
    uint64_t live_below;
    uint64_t expiry_drops; /* of the version: an answer ends when compaction drops what expired */
};

struct count_memory {
    struct mutex mutex;           /* for a few loads and stores */
    struct count_answer *answers; /* owned */
    size_t count;
    size_t cap;
};

void count_memory_init(struct count_memory *memory);
void count_memory_deinit(struct count_memory *memory);

/* One count, at the state of its making. */
struct count_task; /* opaque */

/* Writer thread. NULL: no memory. */
struct count_task *count_task_create(struct varve_db *db, struct varve_slice group);
void count_task_destroy(struct count_task *task); /* takes NULL */
void count_task_cancel(struct count_task *task);  /* any thread: it ends soon, with VARVE_EINVAL */
/* Blocks. Any thread. Once a task. */
int count_task_run(struct count_task *task, uint64_t *count, struct varve_err *err) MUST_CHECK;

#endif
