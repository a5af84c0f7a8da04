/* db.h - the inside of struct varve_db, for the db_*.c files, recovery and healing. */
#ifndef LSM_DB_H
#define LSM_DB_H

#include <stdatomic.h>

#include "lsm/counts.h"
#include "lsm/heal.h"
#include "lsm/manifest.h"
#include "lsm/memtable.h"
#include "lsm/wal.h"
#include "varve/db.h"

/* How to take one operation of the open group back. */
struct undo_op {
    struct memtable_undo memtable;
    int64_t count_delta; /* what it added to its key's group */
};

/* What a range tombstone took from a count group. */
struct undo_range {
    size_t op; /* index of its undo_op */
    uint8_t group[VARVE_GROUP_MAX_BYTES];
    uint8_t group_len;
    int64_t taken;
};

struct undo_log {
    struct undo_op *ops;
    size_t count;
    size_t cap;
    struct undo_range *ranges;
    size_t range_count;
    size_t range_cap;
};

struct varve_db {
    struct varve_env *env;
    struct varve_options options; /* defaults filled in */
    char *dir;
    struct dir_id id;
    char id_text[2 * DIR_ID_BYTES + 1];
    struct varve_lock *lock;

    struct manifest *manifest;
    struct memtable *memtable;
    struct counts counts;
    struct wal wal;
    struct heal heal;

    uint64_t applied_seq;         /* writer thread: the newest operation in the memtable */
    _Atomic uint64_t visible_seq; /* the newest committed operation */
    _Atomic int durability;       /* enum varve_durability */
    _Atomic int failed;           /* writes are refused until the log healed */
    _Atomic uint64_t clock_ms;    /* the largest time seen */
    _Atomic uint64_t snapshots;
    struct undo_log undo;     /* of the open group */
    uint64_t now_us;          /* of the last commit or tick */
    int holding;              /* the oldest unsynced byte is so old that nothing may be
                                     * acknowledged before it is durable (VARVE_EVERYSEC) */
    struct varve_err failure; /* why writes are refused */
    uint64_t failures;
    uint64_t heals;
    struct varve_stats recovered; /* the recovered_* fields */
};

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

/* Refuses writes from now on, because of `err`, until the log healed. Writer thread. */
void db_fail(struct varve_db *db, const struct varve_err *err);

/* Waits until busy(arg), which reads what the mutex guards, is 0; lets a stepping executor run jobs
 * meanwhile. Writer thread. */
void db_wait(struct varve_db *db, struct mutex *mutex, struct cond *changed,
             int (*busy)(const void *arg), const void *arg);

/* One line to options.on_log; level as in syslog. Any thread. */
void db_log(const struct varve_db *db, int level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
