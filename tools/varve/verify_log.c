/* The log. Recovery is the judge of where it ends: what it accepts is right, and every CRC up to there was
 * checked. If it refuses, it stops at the first thing; then each file is read for itself, from every place
 * where records go on, so that all that is damaged is named. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "lsm/log_reader.h"
#include "segment/chunk.h"
#include "verify.h"

static int count_only(void *arg, uint64_t seq, const struct chunk *chunk, struct varve_err *err)
{
    (void)arg;
    (void)seq;
    (void)chunk;
    (void)err;
    return 0;
}

/* ---- one file for itself ---- */

struct wal_check {
    struct verify *verify;
    struct log_reader *reader;
    uint64_t file_no;
    struct buf pieces;
    struct record_header header; /* of the first piece */
    uint64_t pieces_from;        /* 0: none is open */
};

/* The operations of a whole record. */
static void check_ops(struct wal_check *check, uint64_t offset, struct varve_slice payload)
{
    const uint8_t *at = payload.data;
    const uint8_t *end = at + payload.len;
    struct varve_err err = {0};
    struct chunk chunk;
    uint32_t count = 0;

    if (check->header.flags & RECORD_CLOCK)
        at += payload.len < 8 ? payload.len : 8;
    for (; at < end; count++) {
        size_t head = chunk_get_head(at, end, &chunk);
        if (head == 0 || chunk.value.len > (size_t)(end - at) - head) {
            err_set(&err, VARVE_ECORRUPT, "offset %" PRIu64 ": operation %u does not decode",
                    offset, count);
            verify_finding_in(check->verify, NAME_WAL, check->file_no, &err);
            return;
        }
        chunk.value.data = at + head;
        at += head + chunk.value.len;
        if (chunk_crc(&chunk) != chunk.crc) {
            err_set(&err, VARVE_ECORRUPT,
                    "offset %" PRIu64 ": operation %u: chunk CRC does not match", offset, count);
            verify_finding_in(check->verify, NAME_WAL, check->file_no, &err);
        }
    }
    check->verify->ops += count;
}

static int check_record(struct wal_check *check, const struct log_record *record,
                        struct varve_err *err)
{
    const struct record_header *header = &record->header;

    check->verify->records++;
    if (header->type != RECORD_OPS)
        return 0;
    if (!(header->flags & RECORD_CONTINUES)) {
        buf_clear(&check->pieces);
        check->header = *header;
        check->pieces_from = record->offset;
    } else if (check->pieces_from == 0) {
        return 0; /* its beginning is lost, and was named */
    }
    if (buf_append(&check->pieces, record->payload.data, record->payload.len) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a record");
    if (header->flags & RECORD_MORE)
        return 0;
    check_ops(check, check->pieces_from, buf_slice(&check->pieces));
    check->pieces_from = 0;
    return 0;
}

/* Where no record begins: to where they go on, if they do. *more is 0 at the end. */
static int find_next(struct wal_check *check, uint64_t offset, int *more, struct varve_err *err)
{
    const char *why = log_reader_why(check->reader);
    struct varve_err finding = {0};

    check->pieces_from = 0;
    int rc = log_reader_pass(check->reader, more, err);
    if (rc != 0 || !*more)
        return rc;
    err_set(&finding, VARVE_ECORRUPT, "offset %" PRIu64 ": %s; records go on at offset %" PRIu64,
            offset, why, log_reader_offset(check->reader));
    verify_finding_in(check->verify, NAME_WAL, check->file_no, &finding);
    return 0;
}

static int check_records(struct wal_check *check, struct varve_err *err)
{
    struct log_record record;
    int more = 1;
    int rc = 0;

    while (rc == 0 && more) {
        rc = log_reader_next(check->reader, &record, err);
        if (rc == 0)
            rc = check_record(check, &record, err);
        else if (rc == VARVE_NOT_FOUND)
            rc = find_next(check, record.offset, &more, err);
    }
    return rc;
}

static int check_file(struct verify *verify, uint64_t file_no, uint64_t end, struct varve_err *err)
{
    struct wal_check check = {.verify = verify, .file_no = file_no};
    struct data_dir *dir = &verify->dir;
    char *path = name_wal_path(dir->path, file_no);
    int rc = path == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a path")
                          : log_reader_open(dir->env, path, WAL_MAGIC, &dir->id, file_no,
                                            end != 0 ? end : UINT64_MAX, &check.reader, err);

    buf_init(&check.pieces, RECORD_PAYLOAD_MAX_BYTES);
    if (rc == 0)
        rc = check_records(&check, err);
    buf_deinit(&check.pieces);
    log_reader_close(check.reader);
    mem_free(path);
    if (rc != 0 && !verify_is_ours(rc) && rc != VARVE_ENOENT) /* what is missing was named */
        verify_finding_in(verify, NAME_WAL, file_no, err);
    return verify_is_ours(rc) ? rc : 0;
}

/* ---- the whole log ---- */

/* What recovery refused, and then each file. */
static int check_each(struct verify *verify, uint64_t at_file_no, const struct varve_err *refused,
                      struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(verify->dir.manifest);
    uint64_t before = verify->findings;
    int missing = 0; /* then that is why, and was named */
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < state->wal_count; i++) {
        missing |= dir_find(&verify->dir, NAME_WAL, state->wals[i].file_no) == NULL;
        rc = check_file(verify, state->wals[i].file_no, state->wals[i].end, err);
    }
    if (rc == 0 && verify->findings == before && !missing)
        verify_finding_in(verify, NAME_WAL, at_file_no, refused);
    return rc;
}

static int check_log(struct verify *verify, struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(verify->dir.manifest);
    uint64_t at_file_no = state->wal_count > 0 ? state->wals[0].file_no : 0;
    struct recovery log = {
        .env = verify->dir.env,
        .dir = verify->dir.path,
        .id = verify->dir.id,
        .manifest = verify->dir.manifest,
        .apply = count_only,
        .at_file_no = &at_file_no,
    };
    struct varve_err refused = {0};
    char name[NAME_MAX_BYTES];
    int rc = recovery_read(&log, &refused);

    if (rc == 0) {
        verify->records += log.records;
        verify->ops += log.ops;
    } else if (verify_is_ours(rc)) {
        *err = refused;
    } else {
        rc = check_each(verify, at_file_no, &refused, err);
    }
    if (rc == 0 && refused.code == 0 && log.dropped_bytes > 0) {
        snprintf(name, sizeof(name), "%06" PRIu64 ".wal", log.end.file_no);
        verify_note(verify, name,
                    "offset %" PRIu64 ": torn here (%s): %" PRIu64 " bytes behind sequence %" PRIu64
                    " that were never promised",
                    log.end.offset, log.why, log.dropped_bytes, log.last_seq);
    }
    recovery_deinit(&log);
    return rc;
}

int verify_log(struct verify *verify, struct varve_err *err)
{
    const struct data_dir *dir = &verify->dir;
    int rc = 0;

    for (size_t i = 0; i < dir->file_count; i++)
        if (dir->files[i].kind == NAME_WAL &&
            (dir->manifest == NULL || dir_is_alive(dir, &dir->files[i])))
            verify_count_file(verify, NAME_WAL, dir->files[i].file_no);
    if (dir->manifest != NULL)
        return check_log(verify, err);
    for (size_t i = 0; rc == 0 && i < dir->file_count; i++)
        if (dir->files[i].kind == NAME_WAL)
            rc = check_file(verify, dir->files[i].file_no, 0, err);
    return rc;
}
