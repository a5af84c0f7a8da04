/* log_reader.h - reads the records of one WAL or manifest file in order: FORMAT.md section 5.
 * It tells where valid records end, not why that matters: recovery judges. One owner, one thread. */
#ifndef LSM_LOG_READER_H
#define LSM_LOG_READER_H

#include "base/check.h"
#include "lsm/record.h"
#include "varve/env.h"

struct log_reader; /* opaque */

struct log_record {
    struct record_header header;
    struct varve_slice payload; /* lives until the reader's next call */
    uint64_t offset;            /* where its header begins */
    uint64_t end;               /* where the next one begins */
};

/* Opens and checks the file header. Nothing at or behind `limit` is read. Errors name the path. */
int log_reader_open(struct varve_env *env, const char *path, const char magic[8],
                    const struct dir_id *id, uint64_t file_no, uint64_t limit,
                    struct log_reader **reader, struct varve_err *err) MUST_CHECK;
/* The same, whatever the file header says: what the records' CRCs are seeded with is known without it. To
 * salvage a log; VARVE_ECORRUPT where the file has no room for a header. */
int log_reader_open_headless(struct varve_env *env, const char *path, const struct dir_id *id,
                             uint64_t file_no, uint64_t limit, struct log_reader **reader,
                             struct varve_err *err) MUST_CHECK;
void log_reader_close(struct log_reader *reader); /* takes NULL */

/* 0: *record is the next valid one. VARVE_NOT_FOUND: no valid record begins here (end, torn or
 * rotten: log_reader_why() says what was seen). Negative: the file can't be read. */
int log_reader_next(struct log_reader *reader, struct log_record *record,
                    struct varve_err *err) MUST_CHECK;

/* Reading goes on at `offset`, where a record begins. next_seq: the sequence number that a short record
 * would have there; 0 if it is not known, then only a long one is taken. */
void log_reader_seek(struct log_reader *reader, uint64_t offset, uint64_t next_seq);
uint64_t log_reader_offset(const struct log_reader *reader); /* of the next record */
uint64_t log_reader_limit(const struct log_reader *reader);  /* min(limit, file size) */
const char *log_reader_why(const struct log_reader *reader); /* "end of file", "header CRC" ... */

/* The open file, for reading; the reader's. */
struct varve_file *log_reader_file(const struct log_reader *reader);

/* Looks at every byte from the reader's offset on for valid headers of long records, and behind each for those of
 * the short ones that follow it without a gap; those that begin at the offset itself are seen, too. Calls fn
 * for each, which ends the search by returning non-zero, and that is returned. 0 if there is none left.
 * Payloads are not checked. */
typedef int (*log_header_fn)(void *arg, uint64_t offset, const struct record_header *header);
int log_reader_scan(struct log_reader *reader, log_header_fn fn, void *arg,
                    struct varve_err *err) MUST_CHECK;
/* No record begins at the reader's offset: it goes on at the next header behind it, and *found is 1; else 0,
 * and it stays. 0, or the file can't be read. */
int log_reader_pass(struct log_reader *reader, int *found, struct varve_err *err) MUST_CHECK;

#endif
