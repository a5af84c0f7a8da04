/* checkpoint.h - a copy of the database that can be opened by itself, made while it runs.
 *
 * It holds the state at one sequence number: all that was committed before the call, and nothing behind
 * `seq`. Segments are shared with the original by hard links, and are copied only where the file system
 * gives none; the log is copied as far as it was durable. What the original does afterwards, its deletion
 * included, changes no byte of it. It keeps the directory id: see lsm/FORMAT.md, section 8, before files
 * of the two are ever brought together.
 *
 * The directory is made as DIR.checkpoint, which is renamed when all of it is durable: after a crash dir
 * is absent or whole. What a crash leaves as DIR.checkpoint is removed by the next try. */
#ifndef VARVE_CHECKPOINT_H
#define VARVE_CHECKPOINT_H

#include <stdint.h>

#include "varve/api.h"
#include "varve/db.h"

VARVE_API_BEGIN

/* One try. The caller owns it and keeps it in place until done() was called. */
struct varve_checkpoint {
    /* Set by the caller. Called exactly once, on a job's thread; the engine does not touch the struct
     * afterwards. Must not call varve_close(); typically wakes a loop. */
    void (*done)(struct varve_checkpoint *checkpoint);
    void *arg; /* the caller's */

    /* The outcome. 0: dir is there, whole and durable. Else dir is not there, unless it was before, or
     * the very last sync failed, and so did the rename that takes it back (it is whole then, and may be
     * gone after a power cut). The original is as good as ever, whatever comes of it.
     * VARVE_EEXIST: there is a dir already, or a DIR.checkpoint with files in it that are not ours;
     * VARVE_ELOCKED: somebody makes the same one; VARVE_EUNKNOWN: the log could not be made durable;
     * VARVE_ENOSPC: the disk is full, or nearly (options.min_free_bytes, room for memtables);
     * VARVE_ECORRUPT: the log or a segment is damaged; VARVE_EREADONLY: the database is being closed;
     * VARVE_EIO, VARVE_ENOMEM, VARVE_ENOENT (dir's parent). */
    int rc;
    struct varve_err err;
    uint64_t seq;          /* that it holds */
    uint64_t linked_bytes; /* that it shares with the original */
    uint64_t copied_bytes; /* that it takes by itself, but for some KiB */
};

/* Starts a checkpoint to dir, which must not exist; its parent must. Does not block: a sync of the log,
 * and then a MAINTENANCE job and COMPACTION jobs do the work. 0, or nothing is started: VARVE_EFULL: one
 * is being made already; VARVE_ENOMEM. dir is copied. Any thread. varve_close() waits for done(), and
 * makes what has not got far fail. */
int varve_checkpoint_start(struct varve_db *db, const char *dir,
                           struct varve_checkpoint *checkpoint, struct varve_err *err);

/* The same, and waits for it; `checkpoint` (may be NULL) gets the outcome, its done and arg are not
 * used. Any thread that is not inside varve_enter() and runs no jobs. */
int varve_checkpoint(struct varve_db *db, const char *dir, struct varve_checkpoint *checkpoint,
                     struct varve_err *err);

VARVE_API_END

#endif
