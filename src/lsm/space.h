/* space.h - room on the disk: how much is free, and what is kept for the time when nothing is. Where
 * less than `min_free` is left, and what is in memory and will be flushed, writes are refused before they touch the
 * log; deletes are taken. The reserve, a file of zeros, is
 * given up when a job finds no room: that is room for the flush that makes the deletes take effect,
 * and for the merge that gives back what they hide.
 * A MAINTENANCE job looks, gives the reserve up, and makes it anew. */
#ifndef LSM_SPACE_H
#define LSM_SPACE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/thread.h"
#include "varve/batch.h"
#include "varve/executor.h"
#include "varve/status.h"

struct varve_db;

struct space {
    struct varve_job job;
    struct varve_db *db;
    struct mutex mutex;
    struct cond changed;
    int running;                      /* under the mutex */
    _Atomic uint64_t free_bytes;      /* UINT64_MAX: not known */
    _Atomic uint64_t unflushed_bytes; /* of the memtables, at the last look */
    _Atomic uint64_t looked_bytes;    /* user bytes before the last look */
    _Atomic uint64_t limit_bytes;     /* so many may there be before the next one */
    _Atomic uint64_t user_bytes;      /* the writer's: so many are there */
    _Atomic uint64_t refused_bytes;   /* a batch of so many was, since the last look */
    _Atomic uint64_t reserve_bytes;   /* that are there now */
    _Atomic int low;                  /* writes are refused */
    _Atomic int full;                 /* a flush found no room: the reserve goes */
    _Atomic int cramped;     /* a compaction found none, or needs it: so it does, unless much is
                                     * left */
    _Atomic int wants_flush; /* what was deleted must reach segments to come free */
};

void space_init(struct space *space, struct varve_db *db);
void space_deinit(struct space *space); /* no job may be running */

/* Starts the job if it is not running. Any thread. */
void space_poke(struct space *space);
/* The same at slow ticks, and at each where what is written could use up what is left before the next. Writer thread. */
void space_tick(struct space *space, uint64_t user_bytes, int slow);
/* A flush or the log found the disk full. Any thread. */
void space_found_full(struct space *space);
/* A compaction did, and has removed what it wrote, or it could begin if the reserve was given up. It may only have been too large for the room that there
 * is, and that is no reason to refuse writes. Any thread. */
void space_found_cramped(struct space *space);
/* Bytes that a compaction may take while all that is in memory is flushed beside it, but
 * at least half of what is free; 0: not known. with_reserve: as if
 * the reserve had been given up. Any thread. */
uint64_t space_room(const struct space *space, int with_reserve);
/* May the batch be taken, behind so many user bytes? 0 or VARVE_ENOSPC. Between two looks no more of
 * keys and values is taken than the last one found room for, however late the next one is. Writer thread. */
int space_check(struct space *space, const struct varve_batch *batch, uint64_t user_bytes,
                struct varve_err *err);

#endif
