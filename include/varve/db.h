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

/* ---- threads that read ---- */

/* Readers take no lock: what they look at is freed only when every thread that was inside has left. Each
 * read call enters and leaves by itself; a thread that does many enters once, and leaves before it waits
 * for anything: who stays inside keeps the memory and the files of the past from being freed, in the whole
 * process, and hinders nothing else. Both nest. Any thread. */
void varve_enter(void);
void varve_leave(void);

/* ---- writing (the writer thread) ---- */

/* Logs and applies a batch as one atomic record, with one write(), after the time that
 * varve_write_delay_us() asks for. *seq (may be NULL) is the sequence number of its last operation.
 * Durable once varve_durable_seq() >= *seq.
 * Errors: VARVE_EFULL (too much for one record), VARVE_EREADONLY (failed, not healed yet), VARVE_ENOMEM,
 * VARVE_EIO and VARVE_ENOSPC (the log write failed; or the memtables are full, and so did their flush):
 * the batch has then no effect. The batch is kept. */
int varve_write(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                struct varve_err *err);

/* The same in two steps, for callers that gather the writes of a turn: varve_group_add() makes
 * the batch part of the open group, atomic by itself; reads with `uncommitted` see it at once,
 * nobody else does. Values that the batch borrows must live until the commit. Errors as above, and
 * VARVE_WOULD_BLOCK, without effect: the memtables are full until a flush ends; commit, and try again
 * later. */
int varve_group_add(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                    struct varve_err *err);
/* Writes the open group to the log with one write() and publishes it. After an error all of the
 * group is undone; after one of the disk, writes are refused until the log healed. An empty group costs
 * nothing. */
int varve_group_commit(struct varve_db *db, struct varve_err *err);
/* What a write waits for, and why. */
enum varve_stall_cause {
    VARVE_STALL_NONE,
    VARVE_STALL_MEMTABLES, /* the flusher is behind: memtables wait for it */
    VARVE_STALL_LEVEL0,    /* compaction is behind: too many runs in level 0 */
    VARVE_STALL_SPACE,     /* compaction is behind: too many bytes above the last level */
    VARVE_STALL_SEGMENTS,  /* compaction is behind: segments_max is near */
    VARVE_STALL_CAUSE_COUNT
};
const char *varve_stall_name(enum varve_stall_cause cause); /* "memtables"; static storage */

/* How long the next write should be held back, in microseconds, so that flushes and compactions keep up:
 * 0 most of the time. varve_group_add() does not wait: callers with a loop hold their writers back, and
 * commit small groups while *cause (may be NULL) says that writes are slowed. Writer thread. */
uint64_t varve_write_delay_us(const struct varve_db *db, enum varve_stall_cause *cause);

/* Starts a flush of what is in memory, and waits until it is in segments. The group must not be open. */
int varve_flush(struct varve_db *db, struct varve_err *err);
/* Flushes, and merges everything down into the last level; waits for it. Writer thread. */
int varve_compact(struct varve_db *db, struct varve_err *err);

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
    int no_wait;     /* 1: VARVE_WOULD_BLOCK instead of waiting for the disk */
    int no_fill;     /* 1: what is read from the disk does not enter the block cache */
    const struct varve_fetch
        *fetched; /* what was fetched for this read, all done, linked by `next` */
};

/* 0 and *pin, or VARVE_NOT_FOUND (pin->seq says which record decided it), or an error (a record
 * whose CRC fails is VARVE_ECORRUPT and names the key; a value above 64 KiB is checked where it comes
 * from the disk, not on each read). read may be NULL. While a log whose sync failed heals in
 * VARVE_ALWAYS, the newest state is the last durable one. */
int varve_get(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
              struct varve_pin *pin, struct varve_err *err);

/* After VARVE_WOULD_BLOCK: brings what a read of the key needs into memory, as a READ job, and holds it
 * there until the release. The same read, told of it (read->fetched), then succeeds however small the cache
 * is, unless a flush or compaction took effect meanwhile: then it may block once more. One request at a time a struct; the caller
 * owns it and keeps it in place until done() was called, on the job's thread, exactly once. key is
 * copied. Returns 0, or VARVE_ENOMEM: nothing was started. */
struct varve_fetch {
    void (*done)(struct varve_fetch *fetch); /* set by the caller; typically wakes a loop */
    int rc;                                  /* of the read: an error is told by the read again */
    uint64_t count;                          /* of varve_fetch_count(), _about() */
    void *request;                           /* the engine's */
    const struct varve_fetch *next;          /* the caller's list */
};
int varve_fetch_start(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
                      struct varve_fetch *fetch);
/* Nobody waits for it any more: a count ends soon, with a negative rc, unless it ended already; a read ends
 * as it would. done() is called all the same. Until the release; any thread. */
void varve_fetch_cancel(struct varve_fetch *fetch);
/* After done(). Any thread. Takes one that was never started, too (zeroed). */
void varve_fetch_release(struct varve_fetch *fetch);

/* A hint that these keys will be read or written soon, by any of the calls: what of them is in memory is
 * brought near the processor, their cache misses side by side. Never waits. Worth it from about four
 * keys on; beyond VARVE_PREFETCH_MAX they are left out. */
#define VARVE_PREFETCH_MAX 32
void varve_prefetch(struct varve_db *db, const struct varve_slice *keys, size_t count);

/* The live keys of a count group: those that have a value, what expired but was neither deleted nor
 * dropped by a compaction included, the open group included. Exact. Blocks if keys were written without
 * being read since the last call: whether they were there before is then looked up. Writer thread. */
int varve_count(struct varve_db *db, struct varve_slice group, uint64_t *count,
                struct varve_err *err);

/* The same without blocking: VARVE_WOULD_BLOCK, and *count is then an upper bound (UINT64_MAX: none is
 * known, for a part of the group was deleted by range). */
int varve_count_now(struct varve_db *db, struct varve_slice group, uint64_t *count,
                    struct varve_err *err);
/* About the same, for those who watch: exact up to VARVE_COUNT_EXACT_MAX keys, above that within 1 % but for
 * odds of about 1 to 2,000. It looks some 50,000 of the keys in question up, more only where that many say
 * too little (far more records than keys). Blocks; writer thread. */
#define VARVE_COUNT_EXACT_MAX 100000
int varve_count_about(struct varve_db *db, struct varve_slice group, uint64_t *count,
                      struct varve_err *err);
/* The exact count, or about that, at a moment between this call and done(), in fetch->count; as
 * varve_fetch_start(), or VARVE_EINVAL. They run one at a time, and wait for their turn. */
int varve_fetch_count(struct varve_db *db, struct varve_slice group, struct varve_fetch *fetch);
int varve_fetch_count_about(struct varve_db *db, struct varve_slice group,
                            struct varve_fetch *fetch);

/* Milliseconds since the epoch, which never run backwards, over a restart neither. Any thread. */
uint64_t varve_now_ms(struct varve_db *db);

void varve_stats(const struct varve_db *db, struct varve_stats *stats); /* writer thread */

/* 32 hex digits and a NUL: the id that ties the directory's files together. Lives as long as db. */
const char *varve_id(const struct varve_db *db);

const char *varve_version(void); /* "0.1.0" */

#endif
