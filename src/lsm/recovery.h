/* recovery.h - reads the WAL files that the manifest names, and judges where the log ends: torn or
 * rotten (FORMAT.md, section 5). Changes nothing on disk. While the database is opened; one thread. */
#ifndef LSM_RECOVERY_H
#define LSM_RECOVERY_H

#include "segment/chunk.h"
#include "lsm/log_writer.h"
#include "lsm/manifest.h"
#include "lsm/record.h"
#include "varve/env.h"

/* Gets each operation in order. Returns 0 or an error, which ends the recovery. */
typedef int (*recovery_apply_fn)(void *arg, uint64_t seq, const struct chunk *chunk,
                                 struct varve_err *err);

struct recovery {
    /* Set by the caller. */
    struct varve_env *env;
    const char *dir;
    struct dir_id id;
    const struct manifest *manifest;
    recovery_apply_fn apply; /* of what is not in segments yet */
    void *arg;
    uint64_t *at_file_no; /* told which file is read; may be NULL */

    /* Found. */
    struct log_place end;        /* T: where valid records end; file 0: there is no log */
    struct log_place vouched;    /* V: the last promise, never behind T */
    size_t wal_count;            /* of the manifest when it was read */
    struct log_place *ends;      /* a WAL of the manifest each: where its valid records end */
    struct log_place *first_ops; /* the end of its first operations record; offset 0: it has none */
    uint64_t last_seq;
    uint64_t clock_ms;
    uint64_t records;
    uint64_t ops;
    uint64_t dropped_bytes;   /* of records and parts of records behind T */
    uint64_t unvouched_bytes; /* of records between V and T */
    char why[128];            /* what was seen at T */
};

/* Reads everything. VARVE_ECORRUPT: rot, err names file, offset and last good sequence number. */
int recovery_read(struct recovery *recovery, struct varve_err *err) MUST_CHECK;

/* The first sequence number behind V: last_seq + 1 if no operation lies there. */
int recovery_first_unvouched(struct recovery *recovery, uint64_t *seq,
                             struct varve_err *err) MUST_CHECK;

/* Stages and writes all operations records between V and T into `log`. */
int recovery_copy_unvouched(struct recovery *recovery, struct log_writer *log,
                            struct varve_err *err) MUST_CHECK;

/* A WAL file that the manifest, which was read up to read_end, does not name: left over from before, unless
 * it says that it was begun under a later manifest than that, which then has lost its end:
 * VARVE_ECORRUPT. */
int recovery_check_orphan(struct varve_env *env, const char *dir, const struct dir_id *id,
                          struct log_place read_end, uint64_t file_no,
                          struct varve_err *err) MUST_CHECK;
/* Is it what log_reader_open() says of another database's file? An unfinished file may show any block that
 * was freed before it: a header of another database, or of another version, too. As it may also be what it
 * says, it is then left alone. */
int recovery_is_of_others(int rc);

void recovery_deinit(struct recovery *recovery);

#endif
