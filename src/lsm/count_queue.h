/* count_queue.h - counts that somebody fetches, one at a time: a count may take seconds, and reads have only
 * a few threads.
 *
 * One that waits holds the view of its making, and with it memtables and segments that may have been replaced
 * since. The tick therefore makes those that wait anew from time to time: their moment moves on, and besides
 * the view of the count that runs no view older than a tick or two is held, however many wait. */
#ifndef LSM_COUNT_QUEUE_H
#define LSM_COUNT_QUEUE_H

#include <stdint.h>

#include "base/check.h"
#include "base/list.h"
#include "base/thread.h"
#include "varve/executor.h"
#include "varve/options.h"
#include "varve/slice.h"

struct varve_db;
struct count_task;

/* A place in the queue; part of its owner, who keeps it until the job ran. */
struct count_turn {
    struct varve_job job; /* `run` is the owner's, and calls count_turn_run() */
    struct varve_db *db;
    struct list node;
    struct count_task *task; /* owned */
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len;
    int about;
    int waits;
    int runs; /* the others wait for it */
};

struct count_queue {
    struct mutex mutex; /* never across a count */
    struct list waiting;
    int running;
};

void count_queue_init(struct count_queue *queue);
void count_queue_deinit(struct count_queue *queue); /* nothing waits */

/* Makes the count; its job is submitted when its turn has come. Writer thread. 0 or VARVE_ENOMEM. */
int count_turn_start(struct count_turn *turn, struct varve_db *db, struct varve_slice group,
                     int about) MUST_CHECK;
/* Counts, and lets the next one begin. In its job. As count_task_run(). */
int count_turn_run(struct count_turn *turn, uint64_t *count) MUST_CHECK;
/* It ends soon, without waiting for its turn. Any thread. */
void count_turn_cancel(struct count_turn *turn);
/* After the job ran, or if it was never started. Any thread. */
void count_turn_deinit(struct count_turn *turn);

/* Makes those anew that wait and hold what a later one would not. Writer thread, no group open. */
void count_queue_tick(struct varve_db *db);

#endif
