/* log_writer.h - writes the records of one WAL or manifest file: FORMAT.md sections 3 and 4.
 * Records are staged, and then leave with one write. One thread at a time. */
#ifndef LSM_LOG_WRITER_H
#define LSM_LOG_WRITER_H

#include "base/buf.h"
#include "base/check.h"
#include "lsm/record.h"
#include "varve/env.h"

struct log_writer {
    struct varve_env *env;
    struct varve_file *file; /* owned */
    char *path;              /* owned */
    uint64_t file_no;
    uint32_t salt;
    uint64_t offset;           /* where the next record goes: the end of what was written */
    uint64_t zeros_end;        /* so far log_writer_go_ahead() wrote zeros */
    uint64_t zeros_limit;      /* and no further than that; 0: the file needs none */
    struct buf heads;          /* headers and short payloads of what is staged */
    struct varve_slice *parts; /* what is staged; data NULL: the next bytes of heads */
    size_t part_count;
    size_t part_cap;
    uint64_t staged_bytes;
};

/* Makes the file PATH with its header; `size` is what it may get by zeros. If `reuse` is not NULL, that file, whose
 * size of `size` bytes or more is durable, is renamed to PATH instead.
 * The directory `dir` is synced, the file is not: to be done before anything names it. On error
 * nothing that was made here is left open. */
int log_writer_create(struct varve_env *env, const char *dir, const char *path, const char magic[8],
                      const struct dir_id *id, uint64_t file_no, uint64_t size, const char *reuse,
                      struct log_writer **writer, struct varve_err *err) MUST_CHECK;
/* It gets no longer: the room that was set aside for it goes back. Nobody writes to the file meanwhile. */
void log_writer_trim(struct log_writer *writer);
/* The same of a log file that nobody has open. */
void log_file_trim(struct varve_env *env, const char *path);
void log_writer_close(struct log_writer *writer); /* takes NULL; syncs nothing */

/* Stages one record, in pieces if need be. header gives type, flags, first_seq, op_count and promise;
 * the bytes of parts must stay until the flush. 0 or VARVE_ENOMEM: then nothing is staged of it. */
int log_writer_stage(struct log_writer *writer, struct record_header header,
                     const struct varve_slice *parts, size_t part_count) MUST_CHECK;
/* The same for a short payload, which is copied; not behind many others. */
#define LOG_SMALL_MAX_BYTES 64
int log_writer_stage_small(struct log_writer *writer, struct record_header header,
                           const void *payload, size_t len) MUST_CHECK;
/* Stages a short record of sequence number `seq`: the operation `op`, of which head_len bytes come before its
 * key; at most RECORD_SHORT_MAX_BYTES. It has to be the first that is staged. */
int log_writer_stage_short(struct log_writer *writer, uint64_t seq, struct varve_slice op,
                           size_t head_len) MUST_CHECK;
void log_writer_unstage(struct log_writer *writer);
/* Writes what is staged with one write_at; offset moves only if that succeeded. */
int log_writer_flush(struct log_writer *writer, struct varve_err *err) MUST_CHECK;

/* Behind a flush whose sync somebody waits for: where the records passed the zeros, writes more of them, some way
 * ahead, so that few syncs have to make a new length durable: that takes a journal commit each. What
 * keeps it from that is no matter of the records. */
void log_writer_go_ahead(struct log_writer *writer);

/* A hint: the bytes from `from` to `to` may begin their way to the disk. Beside writes, on any thread. */
void log_writer_write_behind(struct log_writer *writer, uint64_t from, uint64_t to);
int log_writer_sync(struct log_writer *writer, struct varve_err *err) MUST_CHECK;

#endif
