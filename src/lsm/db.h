/* db.h - the inside of struct varve_db, for the db_*.c files, recovery and healing. */
#ifndef LSM_DB_H
#define LSM_DB_H

#include <stdatomic.h>

#include "lsm/checkpoint.h"
#include "lsm/compactor.h"
#include "lsm/count_memory.h"
#include "lsm/count_queue.h"
#include "lsm/counts.h"
#include "lsm/flusher.h"
#include "lsm/heal.h"
#include "lsm/manifest.h"
#include "lsm/memtable.h"
#include "lsm/pacer.h"
#include "lsm/row_cache.h"
#include "lsm/snapshots.h"
#include "lsm/space.h"
#include "lsm/stall.h"
#include "lsm/view.h"
#include "lsm/wal.h"
#include "varve/db.h"

/* How to take one operation of the open group back. */
struct undo_op {
    struct memtable_undo memtable;
    int64_t count_live; /* what it added to its key's group */
    uint64_t count_unknown;
};

/* A count group as it was before a range tombstone. */
struct undo_range {
    size_t op; /* index of its undo_op */
    struct count_group group;
};

struct undo_log {
    struct undo_op *ops;
    size_t count;
    size_t cap;
    struct undo_range *ranges;
    size_t range_count;
    size_t range_cap;
};

#define CACHE_LINE_BYTES 64

struct varve_db {
    struct varve_env *env;
    struct varve_options options; /* defaults filled in */
    char *dir;
    struct dir_id id;
    char id_text[2 * DIR_ID_BYTES + 1];
    struct varve_lock *lock;

    struct manifest *manifest;
    struct memtable *memtable;  /* writer thread: the active one, borrowed from the view */
    struct arena_pool arenas;   /* of the memtables */
    uint64_t arenas_user_bytes; /* user_bytes when the slow tick last looked */
    struct view_slot view;
    struct cache *cache;
    struct row_cache *rows; /* NULL: there is none */
    struct snapshots snapshots;
    struct read_counters reads[THREAD_SLOTS];
    struct wal wal;
    struct heal heal;
    struct flusher flusher;
    struct compactor compactor;
    struct space space;
    struct checkpoints checkpoints;
    struct stall stall; /* writer thread */

    /* Frees what no reader can see any more: one RECLAIM job at a time. */
    struct varve_job reclaim_job;
    struct mutex reclaim_mutex;
    struct cond reclaim_changed;
    int reclaim_running;
    int reclaim_again;       /* something was retired since the job began */
    _Atomic int cache_unfit; /* a job is to make the cache as small as its limit says */

    struct pacer pacer;
    struct count_memory count_memory;
    struct count_queue count_queue;
    _Atomic uint64_t count_lookups;     /* of keys, by counts */
    _Atomic uint64_t wal_dropped_files; /* of those that wal counts as live */
    _Atomic uint64_t wal_dropped_bytes;
    _Atomic uint64_t fetches; /* that are not released */
    _Atomic int stopping;     /* closing: background jobs give up */

    /* All reads load these: no line of theirs is written but by commits. */
    char apart[CACHE_LINE_BYTES];
    _Atomic uint64_t visible_seq; /* the newest committed operation */
    _Atomic uint64_t
        hold_at_us; /* from when on VARVE_EVERYSEC holds back reads of what is not durable, on
                                  * now_mono_us(); UINT64_MAX: all is */
    _Atomic int durability;    /* enum varve_durability */
    _Atomic int failed;        /* writes are refused until the log healed */
    _Atomic uint64_t swept_ms; /* varve_set_swept_ms() */
    char apart_too[CACHE_LINE_BYTES];
    _Atomic uint64_t clock_ms; /* the largest time seen; readers write it, each millisecond */
    char apart_from_clock[CACHE_LINE_BYTES];

    uint64_t applied_seq;     /* writer thread: the newest operation in the memtable */
    struct undo_log undo;     /* of the open group */
    uint64_t now_us;          /* of the last commit or tick */
    int holding;              /* the oldest unsynced byte is so old that nothing may be
                                     * acknowledged before it is durable (VARVE_EVERYSEC) */
    struct varve_err failure; /* why writes are refused */
    uint64_t failures;
    uint64_t heals;
    uint64_t user_bytes;               /* of keys and values that were committed */
    uint64_t group_bytes;              /* of the open group */
    uint64_t memtable_start_bytes;     /* flusher_start_bytes(), as of the last tick */
    uint64_t group_memtable_bytes;     /* what the memtable used when the group began */
    uint64_t swapped_us;               /* when the active memtable was made */
    uint64_t recovering_file_no;       /* the WAL file that recovery reads */
    uint64_t slow_tick_us;             /* when the slower part of a tick ran last */
    enum varve_stall_cause told_cause; /* what the log was told last */
    uint64_t told_us;
    struct varve_stats recovered; /* the recovered_* fields */
};

/* Fills defaults in and checks the bounds. 0 or VARVE_EINVAL. */
int db_options_fill(struct varve_options *options, struct varve_err *err) MUST_CHECK;
#define DB_CACHE_SIZE_MIN ((uint64_t)1024 * 1024)
/* Frees everything; no job is running. Takes NULL. */
void db_free(struct varve_db *db);
/* Under the reclaim mutex, for db_wait(). */
int db_reclaim_is_running(const void *db);

/* Puts a fresh memtable in the active one's place, which then waits for its flush. The group is not
 * open. 0, VARVE_EFULL: memtables_max are there, or VARVE_ENOMEM. Writer thread. */
int db_swap_memtable(struct varve_db *db);

/* Waits for the step of a flush that is due, and for the sync that it needs. Writer thread. */
void db_wait_flush(struct varve_db *db);

/* What the stalls are computed from. Writer thread. */
void db_refresh_load(struct varve_db *db);

/* Something was retired: sees to it that a job frees it. Any thread. */
void db_reclaim(void *db);

/* A file number that was never used. Any thread. */
uint64_t db_new_file_no(void *db);
/* Options of segments that jobs of this database write for a level. A missing key is asked of each run above the last
 * one, so filters are longer there; a segment that moves down keeps its own. */
struct segment_writer_options db_writer_options(struct varve_db *db, uint32_t level);
/* Sees to it that a job gives spare memory of past blocks back, if it is more than the cache's limit has left. Any thread. */
void db_check_spare(struct varve_db *db);

/* The current view and the sequence that a read of it sees: everything up to it is in the view. Inside
 * rcu. */
struct view *db_read_view(const struct varve_db *db, const struct varve_read *read, uint64_t *seq);

/* The newest record of key as of seq in layers of the view, the memtables from `from_memtable` on (0: the
 * active one, 1: the newest immutable one ...). Inside rcu. 0: *entry is a put, *hold what it lies in
 * (a memtable: nothing); VARVE_NOT_FOUND, and entry->seq says which record decided it, 0: none. */
int db_lookup(const struct varve_db *db, const struct view *view, size_t from_memtable,
              struct varve_slice key, uint64_t seq, const struct segment_read *read,
              struct entry *entry, struct segment_hold *hold, struct memtable **memtable,
              struct varve_err *err) MUST_CHECK;

/* Whose slot of a pin's owners is whose. */
enum pin_owner { PIN_BLOCK, PIN_MEMTABLE };

/* What was fetched for a read of the key at `seq`, which no memtable knows, as varve_get() with `dead`;
 * flushed_seq is that of the segments. VARVE_WOULD_BLOCK: nothing was, or what was may be too old. */
int fetch_find(const struct varve_read *read, uint64_t flushed_seq, uint64_t seq,
               struct varve_slice key, struct varve_pin *pin, struct varve_err *err);

/* WAL files of the manifest below file_no are no longer needed: forgotten with the edits that say so
 * (appended; room for all of them), and reused or removed afterwards. Maintenance. */
size_t db_plan_wal_drops(struct varve_db *db, uint64_t file_no, struct manifest_edit *edits);
/* A log file that no longer counts goes to the pool, or away. `synced`: each sync of it returned 0, the last one
 * behind its end. Only then its size is durable; once a sync failed, no later one would make it so. */
void db_discard_wal(struct varve_db *db, uint64_t file_no, int synced);

/* Applies one record to memtable and counts. With undo it can be taken back. */
int db_apply(struct varve_db *db, uint64_t seq, const struct chunk *chunk, int with_undo,
             struct varve_err *err) MUST_CHECK;

/* The sequence that a read sees. */
uint64_t db_read_seq(const struct varve_db *db, const struct varve_read *read);

/* The time at which a read decides what is expired. */
uint64_t db_read_now(struct varve_db *db, const struct varve_read *read);
/* A value's CRC, as far as reads check it. 0 or VARVE_ECORRUPT. */
int db_record_check(const struct entry *record, struct varve_err *err) MUST_CHECK;
int db_record_expired(const struct entry *record, uint64_t now_ms);
/* What expired by then, compactions may drop, as far as sweepers go. */
uint64_t db_droppable_ms(const struct varve_db *db, uint64_t now_ms);

/* Refuses writes from now on, because of `err`, until the log healed. Writer thread. */
void db_fail(struct varve_db *db, const struct varve_err *err);

/* Waits until busy(arg), which reads what the mutex guards, is 0; lets a stepping executor run jobs
 * meanwhile. Writer thread. */
void db_wait(struct varve_db *db, struct mutex *mutex, struct cond *changed,
             int (*busy)(const void *arg), const void *arg);

/* One line to options.on_log; level as in syslog. Any thread. */
void db_log(const struct varve_db *db, int level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
