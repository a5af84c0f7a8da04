/* wal.h - the write-ahead log as its writer sees it: a group of batches is gathered, and leaves as
 * one record with one write. Bytes: FORMAT.md section 4; durability: wal_sync.h; files: wal_pool.h.
 * Writer thread only, but for what wal_sync.h and wal_pool.h say. */
#ifndef LSM_WAL_H
#define LSM_WAL_H

#include "base/buf.h"
#include "lsm/batch.h"
#include "lsm/log_writer.h"
#include "lsm/wal_pool.h"
#include "lsm/wal_sync.h"

#define WAL_GROUP_MAX_BYTES (RECORD_PAYLOAD_MAX_BYTES - 8) /* and a clock in front */

struct wal {
    struct varve_env *env;
    struct log_writer *log; /* the file in use; owned */
    struct wal_sync sync;
    struct wal_pool pool;
    uint64_t file_size; /* a file that is longer than that is followed by the next */
    int go_ahead;       /* somebody waits for a sync of each group: log_writer_go_ahead() */

    /* The open group. */
    struct buf ops;
    struct borrowed_list borrowed;
    size_t borrowed_bytes;     /* what they come to */
    struct varve_slice *parts; /* scratch for the payload */
    size_t part_cap;

    /* A file was begun and has no begin record yet. */
    int begin_due;
    struct log_place begin_manifest;
    struct log_place begin_previous;

    struct log_place behind; /* up to there it was told to */

    uint64_t clock_ms;         /* the last time written into the log */
    uint64_t last_write_us;    /* of operations */
    struct log_place data_end; /* behind the last operations record */
    struct log_place promised; /* the last promise that was written */
    uint64_t
        long_end; /* behind the last operations record of the long form; 0: the file has none */
    struct wal_mark durable; /* as far as known, of durable_changes */
    uint64_t durable_changes;

    uint64_t files;      /* live ones, this one included */
    uint64_t live_bytes; /* in live files but this one */
    uint64_t records;
    uint64_t written_bytes;
    uint64_t slow_writes;
};

/* Where the open group ends now: to cut it back. */
struct wal_group_mark {
    size_t ops_len;
    size_t borrowed_count;
    size_t borrowed_bytes;
};

struct wal_group_mark wal_group_mark(const struct wal *wal);
void wal_group_cut(struct wal *wal, struct wal_group_mark mark);
/* 0, or VARVE_ENOMEM, or VARVE_EFULL: the group would be too long for a record. It is then as before. */
int wal_group_add(struct wal *wal, const struct varve_batch *batch) MUST_CHECK;
/* The i-th borrowed value of the group lies there from now on, until the group is written or cut. */
void wal_group_move(struct wal *wal, size_t i, struct varve_slice bytes);

/* Writes the open group, operations first_seq .. first_seq + count - 1, as one record, rotating to
 * the next file before if that is due. The group is empty afterwards. After an error the log must
 * not be written again before it was healed. */
int wal_group_write(struct wal *wal, uint64_t first_seq, uint32_t count, uint64_t now_ms,
                    struct varve_err *err) MUST_CHECK;

/* Sees to it that the next file will be ready when this one is full. */
void wal_make_ready(struct wal *wal, uint64_t now_us);

/* Lets what was written begin its way to the disk, by and by: a sync that found much would keep the disk's
 * queue full, and with it processors. Where each group is synced there is no need. */
void wal_write_behind(struct wal *wal);

/* A promise record, if the log has lain still for a second and it says something new. */
int wal_promise(struct wal *wal, uint64_t next_seq, uint64_t now_ms,
                struct varve_err *err) MUST_CHECK;

/* Everything in the file is synced: writes the seal that says so, and syncs that. */
int wal_seal(struct wal *wal, uint64_t next_seq, struct varve_err *err) MUST_CHECK;

/* Stages the begin record of a file's log. */
int wal_stage_begin(struct log_writer *log, uint64_t next_seq, struct log_place manifest,
                    struct log_place previous) MUST_CHECK;

struct log_place wal_end(const struct wal *wal);

void wal_deinit(struct wal *wal); /* no job may be running; closes the files, syncs nothing */

#endif
