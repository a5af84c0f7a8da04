/* db.h - a database: an ordered map from byte strings to byte strings, in a directory.
 *
 * Threads: one thread is the writer: the calls that say so must not overlap. Several threads may
 * take turns under a mutex of the caller's. Reads, iterators and snapshots run on any thread,
 * beside the writer and beside each other; a read takes no lock, and waits for nothing but the
 * disk.
 *
 * Order: all writes have one order, that of the WAL. After any restart the data are the state
 * after the first k of them: no holes, no half batches. What k is at least, is a matter of
 * durability (varve/options.h) and of the kind of crash: README.md has the table.
 *
 * Errors: a call with an `err` fills it when it returns a negative code; err may be NULL
 * everywhere. A NULL database, a slice with a wrong length, a call on the wrong thread are
 * errors of the program, and not looked for; some abort it with a line that names the broken
 * rule. After fork() the child may not touch a database of its parent. */
#ifndef VARVE_DB_H
#define VARVE_DB_H

#include <stddef.h>
#include <stdint.h>

#include "varve/api.h"
#include "varve/batch.h"
#include "varve/options.h"
#include "varve/pin.h"
#include "varve/slice.h"
#include "varve/snapshot.h"
#include "varve/stats.h"
#include "varve/status.h"

VARVE_API_BEGIN

struct varve_db; /* opaque */

/* Opens the database in dir, making it (and dir, if its parent exists) when there is none, and
 * recovers what its WAL holds. Refuses, and changes nothing, if the directory is locked,
 * foreign, of another format version, damaged, or lacks a live file. dir is copied; options are
 * copied, env, executor and arg must outlive the database. Blocks: reads all WAL files. On an
 * error *db is NULL. Errors: VARVE_EINVAL (an option), VARVE_ELOCKED, VARVE_EFOREIGN,
 * VARVE_EVERSION, VARVE_ECORRUPT, VARVE_ENOENT (no_create, or no parent), VARVE_ENOMEM,
 * VARVE_EIO, VARVE_ENOSPC. */
int varve_open(const char *dir, const struct varve_options *options, struct varve_db **db,
               struct varve_err *err);

/* Commits the open group, syncs, seals the log and frees everything; flushes nothing, what is in
 * memory is in the log. Takes NULL. An error means that the last writes may not be durable; the
 * database is closed all the same. Before it: iterators are destroyed, snapshots, pins and
 * fetches released, and no other thread is in a call on the database. It waits until no thread
 * of the process is inside; the caller must not be. Writer thread. */
int varve_close(struct varve_db *db, struct varve_err *err);

/* ---- threads that read ---- */

/* Readers take no lock: what they look at is freed only when every thread that was inside has
 * left. Each read call enters and leaves by itself; a thread that does many enters once, and
 * leaves before it waits for anything. Both nest. Any thread; some 60 ns a pair; a thread is
 * registered at the first call and goes with the thread.
 *
 * Who stays inside keeps what was dropped since from being freed, in the whole process:
 * memtables that were flushed, segments (files too) that were merged away, blocks that left the
 * cache, which has less room for others meanwhile. It holds up neither reads nor writes, flushes
 * or compactions; but varve_close(), and a varve_open() that fails, may wait until nobody is.
 * When he leaves, all of it comes back. A thread that ends while it is inside aborts the
 * program, as does a leave without an enter. In a program that uses liburcu's QSBR flavour
 * itself, its threads count as inside while they are online there, and a thread that is
 * registered there must not call varve. */
void varve_enter(void);
void varve_leave(void);

/* ---- writing (the writer thread) ---- */

/* Logs and applies a batch as one atomic record, with one write(), after the time that
 * varve_write_delay_us() asks for; waits for a flush if the memtables are full. *seq (may be
 * NULL) is the sequence number of its last operation. Durable once varve_durable_seq() >= *seq.
 * The batch is kept; what it borrows need not outlive the call. The group must not be open.
 * Errors: VARVE_EFULL (more than a record holds, 4 GiB; or too many full WAL files wait for
 * their sync: try again later), VARVE_EREADONLY (failed, not healed yet), VARVE_ENOMEM,
 * VARVE_EIO and VARVE_ENOSPC (the log write failed; or the disk has no room beyond min_free_bytes; or the
 * memtables are full, and so did their flush): the batch has then no effect. */
int varve_write(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                struct varve_err *err);

/* The same in two steps, for callers that gather the writes of a turn: varve_group_add() makes
 * the batch part of the open group, atomic by itself; reads with `uncommitted` see it at once,
 * nobody else does. What the batch borrows need not outlive the call. Errors as above,
 * and VARVE_WOULD_BLOCK, without effect: the memtables are full until a flush ends; commit, and
 * try again later. */
int varve_group_add(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                    struct varve_err *err);
/* Writes the open group to the log with one write() and publishes it. After an error all of the
 * group is undone; after one of the disk, writes are refused until the log healed. An empty group
 * costs nothing. */
int varve_group_commit(struct varve_db *db, struct varve_err *err);
/* Where the open group stands, and how to go back there: what was added since the mark is undone
 * as if it had never been, its sequence numbers too. A mark is good until the commit, or until a
 * cut to an earlier one; taken before the group is open, it stands for its beginning. Neither
 * fails. Nobody may hold an iterator or a pin over what is undone. */
struct varve_group_mark {
    size_t count; /* the rest is the engine's */
    uint64_t bytes;
    size_t log[3];
};
void varve_group_mark(const struct varve_db *db, struct varve_group_mark *mark);
void varve_group_cut(struct varve_db *db, const struct varve_group_mark *mark);
/* What a write waits for, and why. */
enum varve_stall_cause {
    VARVE_STALL_NONE,
    VARVE_STALL_MEMTABLES, /* the flusher is behind: memtables wait for it */
    VARVE_STALL_LEVEL0,    /* compaction is behind: too many runs in level 0 */
    VARVE_STALL_SPACE,     /* compaction is behind: too much is dead */
    VARVE_STALL_SEGMENTS,  /* compaction is behind: segments_max is near */
    VARVE_STALL_CAUSE_COUNT
};
/* "memtables"; static storage. Any thread. */
const char *varve_stall_name(enum varve_stall_cause cause);

/* How long the next write should be held back, in microseconds, so that flushes and compactions
 * keep up: 0 most of the time. varve_group_add() does not wait: callers with a loop hold their
 * writers back, and commit small groups while *cause (may be NULL) says that writes are slowed.
 * Writer thread. */
uint64_t varve_write_delay_us(const struct varve_db *db, enum varve_stall_cause *cause);
/* How small: bytes of keys and values after which to commit and ask again, some milliseconds of what writers are
 * held to; UINT64_MAX: they are not. Writer thread. */
uint64_t varve_write_round_bytes(const struct varve_db *db);

/* Starts a flush of what is in memory, and waits until it is in segments, and durable. The group
 * must not be open (VARVE_EINVAL). Errors: VARVE_EREADONLY, VARVE_ENOMEM, or the flush's own;
 * nothing is lost by them, and the flush is tried again in the background. Writer thread. */
int varve_flush(struct varve_db *db, struct varve_err *err);
/* Flushes, and merges everything down into the last level; waits for it, as long as it takes.
 * Errors as of varve_flush(), and VARVE_EIO for a merge that failed, or that the disk has no
 * room for: all data are there as before. Writer thread. */
int varve_compact(struct varve_db *db, struct varve_err *err);

/* True if the open group holds something. Writer thread. */
int varve_group_open(const struct varve_db *db);
/* True if the open group alone takes as much memory as a memtable may (memtable_size_bytes): where
 * varve_group_add() then says VARVE_WOULD_BLOCK, a group that begins anew may meet the same again. Writer
 * thread. */
int varve_group_is_full(const struct varve_db *db);

/* Starts what is due by time: syncs, promise records, flushes, compactions, healing. To be
 * called at least every 100 ms while the database is open, by a timer of the writer: without it
 * VARVE_EVERYSEC syncs late, and a log that failed does not heal. Waits for no job; a promise
 * record is one small write() to the log. Writer thread. */
void varve_tick(struct varve_db *db);

/* Another size for the block cache (varve_options.block_cache_size_bytes; at least 1 MiB, or it is that).
 * What is too much leaves by a job; where memory is then, or was before, held in crumbs, that job gives up
 * blocks that lie among them. Memory of past blocks, which waits for new ones, goes with it. That memory is the
 * process's: several databases share it, and the one whose limit leaves least says how much it may be. Cheap if it is the present
 * size. Any thread. */
void varve_set_cache_size(struct varve_db *db, uint64_t size_bytes);

/* The sequence up to which all is durable. Any thread. */
uint64_t varve_durable_seq(const struct varve_db *db);

/* The sequence for which an acknowledgement of a write at `seq` must wait, so that the promise of
 * the durability mode holds: seq in VARVE_ALWAYS, and in VARVE_EVERYSEC while the oldest unsynced
 * byte is 2 s old; else 0. Writer thread. */
uint64_t varve_ack_seq(const struct varve_db *db, uint64_t seq);

/* The same for a read at `seq` on another thread than the writer's, now_us being the environment's
 * now_mono_us(): 0 as well if seq is durable by now. Any thread. */
uint64_t varve_read_ack_seq(const struct varve_db *db, uint64_t seq, uint64_t now_us);

/* The newest committed operation: what reads see. Any thread. */
uint64_t varve_visible_seq(const struct varve_db *db);

/* Syncs on the calling thread, or waits for the sync that runs, until seq is durable (0), or that sync
 * failed (VARVE_EUNKNOWN: it may be durable, or not). seq must be committed. For programs without a
 * loop. Any thread. */
int varve_wait_durable(struct varve_db *db, uint64_t seq, struct varve_err *err);

/* varve_write(), and then varve_wait_durable(). In VARVE_ALWAYS it is cheaper than the two calls: no sync is
 * started beside the one that it waits for. VARVE_EUNKNOWN: that failed; the batch has its effect,
 * but may be lost. Writer thread. */
int varve_write_durable(struct varve_db *db, struct varve_batch *batch, uint64_t *seq,
                        struct varve_err *err);

/* Starts a sync of all that is committed, whatever the durability is, and returns at once: on_durable
 * (varve/options.h) tells its end. Any thread. */
void varve_sync(struct varve_db *db);

/* Changes the durability from the next commit on; what is written already is synced. Writer
 * thread. */
void varve_set_durability(struct varve_db *db, enum varve_durability durability);

/* 0 if writes are taken, else VARVE_EREADONLY and why. Writer thread; any, if err is NULL. */
int varve_writable(const struct varve_db *db, struct varve_err *err);

/* ---- reading (any thread) ---- */

struct varve_fetch;

/* How to read; NULL or zeros: the newest committed state, waiting for the disk where need be. */
struct varve_read {
    const struct varve_snapshot *snapshot; /* NULL: the newest committed state */
    uint64_t now_ms; /* what expired by then is absent; 0: varve_now_ms(); a snapshot has its own */
    int uncommitted; /* writer thread only, without a snapshot: the open group is seen too. An
                      * iterator of this kind is destroyed before the commit */
    int dead;        /* 1: a record that expired is returned all the same (sweepers, DUMP) */
    int no_wait;     /* 1: VARVE_WOULD_BLOCK instead of waiting for the disk, or for the copy of
                      * a value of more than 1 MiB */
    int no_fill;     /* 1: what is read from the disk does not enter the block cache */
    /* Of an iterator with no_wait: VARVE_WOULD_BLOCK once it has passed so many records that it does
     * not show, since that takes time as well. 0: no limit. */
    uint64_t passes_max;
    const struct varve_fetch
        *fetched; /* what was fetched for this read, all done, linked by `next` */
};

/* 0 and *pin, or VARVE_NOT_FOUND (pin->seq says which record decided it), or VARVE_WOULD_BLOCK
 * (with no_wait only), or an error: VARVE_EIO, VARVE_ENOMEM, VARVE_ECORRUPT for a record whose
 * CRC fails, which names the key (a value above 64 KiB is checked where it comes from the disk,
 * not on each read). Only after 0 is there something to release. read may be NULL; key is
 * borrowed for the call. While a log whose sync failed heals in VARVE_ALWAYS, the newest state
 * is the last durable one. */
int varve_get(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
              struct varve_pin *pin, struct varve_err *err);

/* After VARVE_WOULD_BLOCK: brings what a read of the key needs into memory, as a READ job, and
 * holds it there until the release. The same read, told of it (read->fetched), then succeeds
 * however small the cache is, unless a whole memtable was filled and flushed meanwhile: then it
 * may block once more. An error of the fetch is that of the read. One request at a time a struct; the caller owns it and keeps it in place
 * until done() was called, on the job's thread, exactly once; done() must not wait. key is
 * copied; a snapshot of the read is held by the caller until then. Returns 0, or VARVE_ENOMEM:
 * nothing was started. Any thread. */
struct varve_fetch {
    void (*done)(struct varve_fetch *fetch); /* set by the caller; typically wakes a loop */
    int rc;                                  /* of the read, which tells it again */
    uint64_t count;                          /* of varve_fetch_count(), _about() */
    void *request;                           /* the engine's */
    const struct varve_fetch *next;          /* the caller's list */
};
int varve_fetch_start(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
                      struct varve_fetch *fetch);
/* Nobody waits for it any more: a count ends soon, with a negative rc, unless it ended already; a
 * read ends as it would. done() is called all the same. Between start and release; any thread. */
void varve_fetch_cancel(struct varve_fetch *fetch);
/* After done(). Any thread. Takes one that was never started, too (zeroed). */
void varve_fetch_release(struct varve_fetch *fetch);

/* For sweepers. Is the record `seq` of the key, which an iterator showed, still the newest one, the
 * open group included? as_of: varve_iter_as_of() of that iterator. 1, 0, or VARVE_WOULD_BLOCK:
 * memory does not tell, for something was flushed since. Never waits. Writer thread. */
int varve_is_newest(struct varve_db *db, struct varve_slice key, uint64_t seq, uint64_t as_of);
/* At most so many records in [lower, upper) have an expiry, older versions and those that expired
 * included; 0: no key has one. Memory only. Writer thread. */
uint64_t varve_expiring(struct varve_db *db, struct varve_slice lower, struct varve_slice upper);

/* What expired before that time, the sweeper has met: with options.expiry_grace_ms compactions may
 * drop it. 0: nothing yet. Any thread. */
void varve_set_swept_ms(struct varve_db *db, uint64_t swept_ms);

/* A hint that these keys will be written, or read, soon, by any of the calls: what of them is in
 * memory is brought near the processor, their cache misses side by side. Never waits. Worth it
 * from about four keys on; beyond VARVE_PREFETCH_MAX they are left out. Any thread. */
#define VARVE_PREFETCH_MAX 32
enum varve_intent {
    VARVE_TO_WRITE, /* what no memtable knows is left alone */
    VARVE_TO_READ,
};
void varve_prefetch(struct varve_db *db, enum varve_intent intent, const struct varve_slice *keys,
                    size_t count);

/* The live keys of a count group (options: count_group): those that have a value, what expired
 * but was neither deleted nor dropped by a compaction included, the open group included. Exact.
 * Blocks if keys were written without being read since the last call: whether they were there
 * before is then looked up. Errors: VARVE_EINVAL (no name of a group can be that long),
 * VARVE_ENOMEM, VARVE_EIO, VARVE_ECORRUPT; *count is then 0. Writer thread. */
int varve_count(struct varve_db *db, struct varve_slice group, uint64_t *count,
                struct varve_err *err);

/* The same without blocking: VARVE_WOULD_BLOCK, and *count is then an upper bound (UINT64_MAX:
 * none is known, for a part of the group was deleted by range). Writer thread. */
int varve_count_now(struct varve_db *db, struct varve_slice group, uint64_t *count,
                    struct varve_err *err);
/* About the same, for those who watch: exact up to VARVE_COUNT_EXACT_MAX keys, above that within
 * 1 % but for odds of about 1 to 2,000. It looks some 50,000 of the keys in question up, more only
 * where that many say too little (far more records than keys). As varve_count(). */
#define VARVE_COUNT_EXACT_MAX 100000
int varve_count_about(struct varve_db *db, struct varve_slice group, uint64_t *count,
                      struct varve_err *err);
/* The exact count, or about that, at a moment between this call and done(), in fetch->count; as
 * varve_fetch_start(), but of the writer thread, and VARVE_EINVAL for a group's name that is none.
 * They run one at a time, and wait for their turn. */
int varve_fetch_count(struct varve_db *db, struct varve_slice group, struct varve_fetch *fetch);
int varve_fetch_count_about(struct varve_db *db, struct varve_slice group,
                            struct varve_fetch *fetch);

/* Milliseconds since the epoch, which never run backwards, over a restart neither. Any thread. */
uint64_t varve_now_ms(struct varve_db *db);

/* Fills all of *stats. Waits for nothing. Writer thread. */
void varve_stats(const struct varve_db *db, struct varve_stats *stats);

/* 32 hex digits and a NUL: the id that ties the directory's files together. Lives as long as db.
 * Any thread. */
const char *varve_id(const struct varve_db *db);

const char *varve_version(void); /* "0.1.0"; static storage, any thread */

VARVE_API_END

#endif
