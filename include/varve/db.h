/* db.h - a database: an ordered map from byte strings to byte strings, in a directory.
 *
 * Threads: one thread is the writer (the one that opened it, until varve_close()): varve_write(),
 * the group calls, varve_tick(), varve_count() and varve_close() belong to it. Reads, snapshots and
 * iterators run on any thread, take no lock and wait for nobody.
 *
 * Order: all writes have one order, that of the WAL. After any restart the data are the state after
 * the first k of them: no holes, no half batches. What k is at least, is a matter of durability
 * (varve/options.h) and of the kind of crash: README.md has the table. */
#ifndef VARVE_DB_H
#define VARVE_DB_H

#include <stdint.h>

#include "varve/batch.h"
#include "varve/options.h"
#include "varve/pin.h"
#include "varve/slice.h"
#include "varve/snapshot.h"
#include "varve/stats.h"
#include "varve/status.h"

struct varve_db; /* opaque */

/* Opens the database in dir, making it (and dir, if its parent exists) when there is none, and
 * recovers what its WAL holds. Refuses, and changes nothing, if the directory is locked, foreign, of
 * another format version, damaged, or lacks a live file. dir is copied; options are copied, env,
 * executor and arg must outlive the database. Blocks: reads all WAL files. */
int varve_open(const char *dir, const struct varve_options *options, struct varve_db **db,
               struct varve_err *err);

/* Commits the open group, syncs, seals the log and frees everything. Takes NULL. An error means
 * that the last writes may not be durable; the database is closed all the same. */
int varve_close(struct varve_db *db, struct varve_err *err);

/* ---- writing (the writer thread) ---- */

/* Logs and applies a batch as one atomic record, with one write(). *seq (may be NULL) is the
 * sequence number of its last operation. Durable once varve_durable_seq() >= *seq.
 * Errors: VARVE_EFULL (memtable), VARVE_EREADONLY (failed, not healed yet), VARVE_ENOMEM, VARVE_EIO
 * and VARVE_ENOSPC (the log write failed): the batch has then no effect. The batch is kept. */
int varve_write(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                struct varve_err *err);

/* The same in two steps, for callers that gather the writes of a turn: varve_group_add() makes
 * the batch part of the open group, atomic by itself; reads with `uncommitted` see it at once,
 * nobody else does. Values that the batch borrows must live until the commit. Errors as above. */
int varve_group_add(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                    struct varve_err *err);
/* Writes the open group to the log with one write() and publishes it. After an error all of the
 * group is undone and writes are refused until the log healed. An empty group costs nothing. */
int varve_group_commit(struct varve_db *db, struct varve_err *err);
/* True if the open group holds something. */
int varve_group_open(const struct varve_db *db);

/* Starts what is due by time: syncs, promise records, healing. To be called at least every 100 ms
 * while the database is open. Does not block. */
void varve_tick(struct varve_db *db);

/* The sequence up to which all is durable. Any thread. */
uint64_t varve_durable_seq(const struct varve_db *db);

/* The sequence for which an acknowledgement of a write at `seq` must wait, so that the promise of
 * the durability mode holds: seq in VARVE_ALWAYS, and in VARVE_EVERYSEC while the oldest unsynced
 * byte is 2 s old; else 0. */
uint64_t varve_ack_seq(const struct varve_db *db, uint64_t seq);

/* Blocks until seq is durable, or its sync failed (VARVE_EUNKNOWN). For programs without a loop. */
int varve_wait_durable(struct varve_db *db, uint64_t seq, struct varve_err *err);

/* Changes the durability from the next commit on; what is written already is synced. */
void varve_set_durability(struct varve_db *db, enum varve_durability durability);

/* 0 if writes are taken, else VARVE_EREADONLY and why. */
int varve_writable(const struct varve_db *db, struct varve_err *err);

/* ---- reading (any thread) ---- */

struct varve_read {
    const struct varve_snapshot *snapshot; /* NULL: the newest committed state */
    uint64_t now_ms;                       /* what expired by then is absent; 0: varve_now_ms() */
    int uncommitted; /* writer thread only, without a snapshot: the open group is seen too */
    int dead;        /* 1: a record that expired is returned all the same (sweepers, DUMP) */
};

/* 0 and *pin, or VARVE_NOT_FOUND (pin->seq says which record decided it), or an error (a record
 * whose CRC fails is VARVE_ECORRUPT and names the key). read may be NULL. While a log whose
 * sync failed heals in VARVE_ALWAYS, the newest state is the last durable one. */
int varve_get(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
              struct varve_pin *pin, struct varve_err *err);

/* A hint that these keys will be read or written soon, by any of the calls: what of them is in memory is
 * brought near the processor, their cache misses side by side. Never waits. Worth it from about four
 * keys on; beyond VARVE_PREFETCH_MAX they are left out. */
#define VARVE_PREFETCH_MAX 32
void varve_prefetch(struct varve_db *db, const struct varve_slice *keys, size_t count);

/* The live keys of a count group: those that have a value, what expired but was not deleted
 * included, the open group included. Exact. Writer thread. */
int varve_count(struct varve_db *db, struct varve_slice group, uint64_t *count,
                struct varve_err *err);

/* Milliseconds since the epoch, which never run backwards, over a restart neither. Any thread. */
uint64_t varve_now_ms(struct varve_db *db);

void varve_stats(const struct varve_db *db, struct varve_stats *stats); /* writer thread */

/* 32 hex digits and a NUL: the id that ties the directory's files together. Lives as long as db. */
const char *varve_id(const struct varve_db *db);

const char *varve_version(void); /* "0.1.0" */

#endif
