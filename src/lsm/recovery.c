#include "lsm/recovery.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/log_reader.h"
#include "lsm/names.h"

/* The state of one walk over the log. */
struct walk {
    struct recovery *recovery;
    struct log_reader *reader;
    size_t index; /* of the file in the manifest */
    uint64_t file_no;
    uint64_t next_seq;
    struct log_place previous_end; /* of the file before; file 0: this is the first */
    int begun;                     /* the begin record was seen */
    int sealed;
    struct buf pieces;    /* of a record that is not whole yet */
    uint64_t pieces_from; /* where its first piece begins; 0: none is open */
    struct record_header pieces_header;
};

#define NOT_NEXT 100 /* a valid record, but not the one that must come here; no enum varve_status */

static int walk_not_next(struct walk *walk, const char *why)
{
    snprintf(walk->recovery->why, sizeof(walk->recovery->why), "%s", why);
    return NOT_NEXT;
}

static void recovery_see_promise(struct recovery *recovery, struct log_place promised)
{
    if (log_place_before(recovery->vouched, promised))
        recovery->vouched = promised;
}

/* ---- records ---- */

static int apply_ops(struct walk *walk, const struct record_header *header,
                     struct varve_slice payload, struct varve_err *err)
{
    struct recovery *recovery = walk->recovery;
    const uint8_t *at = payload.data;
    const uint8_t *end = at + payload.len;
    struct chunk chunk;
    uint32_t count = 0;

    if (header->flags & RECORD_CLOCK) {
        if (payload.len < 8)
            return err_set(err, VARVE_ECORRUPT, "the record's clock is cut short");
        if (get_u64(at) > recovery->clock_ms)
            recovery->clock_ms = get_u64(at);
        at += 8;
    }
    for (; at < end; count++) {
        size_t head = chunk_get_head(at, end, &chunk);
        if (head == 0 || chunk.value.len > (size_t)(end - at) - head)
            return err_set(err, VARVE_ECORRUPT, "operation %u does not decode", count);
        chunk.value.data = at + head;
        at += head + chunk.value.len;
        if (chunk_crc(&chunk) != chunk.crc && !MUTANT("skip-chunk-crc"))
            return err_set(err, VARVE_ECORRUPT, "operation %u: chunk CRC does not match", count);
        if (header->first_seq + count <= manifest_state(recovery->manifest)->flushed_seq)
            continue; /* segments hold it */
        int rc = recovery->apply(recovery->arg, header->first_seq + count, &chunk, err);
        if (rc != 0)
            return rc;
    }
    if (count != header->op_count)
        return err_set(err, VARVE_ECORRUPT, "%u operations where the header says %u", count,
                       header->op_count);
    walk->next_seq += count;
    if (recovery->last_seq < walk->next_seq - 1)
        recovery->last_seq = walk->next_seq - 1;
    recovery->records++;
    recovery->ops += count;
    return 0;
}

static int walk_piece(struct walk *walk, const struct log_record *record, struct varve_err *err)
{
    const struct record_header *header = &record->header;
    int continues = (header->flags & RECORD_CONTINUES) != 0;

    if (continues != (walk->pieces_from != 0) || header->first_seq != walk->next_seq)
        return walk_not_next(walk, "an unexpected sequence number or piece");
    if (!continues && !(header->flags & RECORD_MORE))
        return apply_ops(walk, header, record->payload, err);
    if (!continues) {
        buf_clear(&walk->pieces);
        walk->pieces_from = record->offset;
        walk->pieces_header = *header;
    }
    if (buf_append(&walk->pieces, record->payload.data, record->payload.len) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a record of %zu bytes",
                       walk->pieces.len + record->payload.len);
    if (header->flags & RECORD_MORE)
        return 0;
    walk->pieces_from = 0;
    int rc = apply_ops(walk, &walk->pieces_header, buf_slice(&walk->pieces), err);
    buf_shrink(&walk->pieces, 0);
    return rc;
}

static int walk_begin(struct walk *walk, const struct log_record *record, struct varve_err *err)
{
    struct recovery *recovery = walk->recovery;
    struct log_place read_end = manifest_read_end(recovery->manifest);

    if (record->payload.len != BEGIN_PAYLOAD_BYTES)
        return err_set(err, VARVE_ECORRUPT, "a begin record of %zu bytes", record->payload.len);
    const uint8_t *at = record->payload.data;
    struct log_place manifest = {.file_no = get_u64(at), .offset = get_u64(at + 8)};
    struct log_place previous = {.file_no = get_u64(at + 16), .offset = get_u64(at + 24)};
    if (log_place_before(read_end, manifest))
        return err_set(err, VARVE_ECORRUPT,
                       "it was begun under manifest %" PRIu64 " of %" PRIu64
                       " bytes, but that ends at manifest %" PRIu64 " offset %" PRIu64,
                       manifest.file_no, manifest.offset, read_end.file_no, read_end.offset);
    if (walk->previous_end.file_no != 0 && (previous.file_no != walk->previous_end.file_no ||
                                            previous.offset != walk->previous_end.offset))
        return walk_not_next(walk, "it does not continue the file before it");
    if (walk->index == 0 && record->header.first_seq < walk->next_seq)
        walk->next_seq = record->header.first_seq; /* what follows is in segments, in part */
    if (walk->index == 0 && record->header.first_seq > walk->next_seq)
        return err_set(err, VARVE_ECORRUPT,
                       "the log begins at sequence %" PRIu64 ", but segments end at %" PRIu64,
                       record->header.first_seq, walk->next_seq - 1);
    if (record->header.first_seq != walk->next_seq)
        return walk_not_next(walk, "an unexpected sequence number");
    walk->begun = 1;
    return 0;
}

static int walk_record(struct walk *walk, const struct log_record *record, struct varve_err *err)
{
    const struct record_header *header = &record->header;

    if (!walk->begun)
        return header->type == RECORD_BEGIN ? walk_begin(walk, record, err)
                                            : walk_not_next(walk, "no begin record");
    if (walk->sealed)
        return walk_not_next(walk, "a record behind the seal");
    if (walk->pieces_from != 0 && header->type != RECORD_OPS)
        return walk_not_next(walk, "a record that is not whole");
    if (header->type == RECORD_OPS)
        return walk_piece(walk, record, err);
    if (header->type != RECORD_PROMISE && header->type != RECORD_SEAL)
        return walk_not_next(walk, "a record type that has no place here");
    if (header->first_seq != walk->next_seq)
        return walk_not_next(walk, "an unexpected sequence number");
    walk->sealed = header->type == RECORD_SEAL;
    if (header->type == RECORD_PROMISE && record->payload.len == 8 &&
        get_u64(record->payload.data) > walk->recovery->clock_ms)
        walk->recovery->clock_ms = get_u64(record->payload.data);
    return 0;
}

/* ---- one file ---- */

/* Reads the records of the file as far as they are the next ones. On return the recovery's `end` is
 * where that stopped. */
static int walk_file(struct walk *walk, struct varve_err *err)
{
    struct recovery *recovery = walk->recovery;
    struct log_record record;
    uint64_t good = FILE_HEADER_BYTES;
    int rc;

    while ((rc = log_reader_next(walk->reader, &record, err)) == 0) {
        rc = walk_record(walk, &record, err);
        if (rc != 0)
            break;
        if (walk->pieces_from != 0)
            continue; /* what its header promises counts once it is whole */
        recovery_see_promise(recovery, record.header.promised);
        if (record.header.type == RECORD_OPS && recovery->first_ops[walk->index].offset == 0)
            recovery->first_ops[walk->index] = (struct log_place){.file_no = walk->file_no,
                                                                  .offset = record.end};
        good = record.end;
    }
    if (rc < 0)
        return err_wrap(err, rc, "offset %" PRIu64 ", after sequence %" PRIu64, record.offset,
                        walk->next_seq - 1);
    if (rc == VARVE_NOT_FOUND && walk->pieces_from == 0)
        walk_not_next(walk, log_reader_why(walk->reader));
    else if (rc == VARVE_NOT_FOUND)
        walk_not_next(walk, "a record that is not whole");
    walk->pieces_from = 0;
    log_reader_seek(walk->reader, good, walk->next_seq);
    recovery->end = (struct log_place){.file_no = walk->file_no, .offset = good};
    recovery->ends[walk->index] = recovery->end;
    return 0;
}

static int open_wal(struct recovery *recovery, size_t index, struct log_reader **reader,
                    struct varve_err *err)
{
    const struct manifest_wal *wal = &manifest_state(recovery->manifest)->wals[index];
    char *path = name_wal_path(recovery->dir, wal->file_no);
    uint64_t limit = wal->end != 0 ? wal->end : UINT64_MAX;
    int rc;

    if (path == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to open a WAL file");
    rc = log_reader_open(recovery->env, path, WAL_MAGIC, &recovery->id, wal->file_no, limit, reader,
                         err);
    if (rc == VARVE_ENOENT)
        rc = err_set(err, VARVE_ECORRUPT, "%s is missing, but the manifest names it", path);
    mem_free(path);
    return rc;
}

/* ---- the judgement at T ---- */

static int see_header_behind(void *arg, uint64_t offset, const struct record_header *header)
{
    struct recovery *recovery = arg;

    recovery->dropped_bytes += record_bytes(header);
    (void)offset;
    return log_place_before(recovery->end, header->promised) ? VARVE_ECORRUPT : 0;
}

static int recovery_rot(const struct recovery *recovery, struct varve_err *err)
{
    return err_set(err, VARVE_ECORRUPT,
                   "%06" PRIu64 ".wal is damaged at offset %" PRIu64
                   " (%s), after sequence %" PRIu64 ": bytes that were durable are gone",
                   recovery->end.file_no, recovery->end.offset, recovery->why, recovery->last_seq);
}

/* Nothing behind T may promise a place behind T; `reader` stands at T in file `index`. */
static int recovery_judge(struct recovery *recovery, struct log_reader *reader, size_t index,
                          struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(recovery->manifest);
    int rc = 0;

    if (log_place_before(recovery->end, recovery->vouched))
        return recovery_rot(recovery, err);
    if (!MUTANT("tolerate-rot"))
        rc = log_reader_scan(reader, see_header_behind, recovery, err);
    for (size_t i = index + 1; rc == 0 && i < state->wal_count; i++) {
        struct log_reader *later = NULL;
        rc = open_wal(recovery, i, &later, err);
        if (rc == 0)
            rc = log_reader_scan(later, see_header_behind, recovery, err);
        log_reader_close(later);
        if (rc < 0 && rc != VARVE_ECORRUPT)
            return rc;
    }
    if (rc == VARVE_ECORRUPT && (err == NULL || err->code != VARVE_ECORRUPT))
        return recovery_rot(recovery, err);
    return rc;
}

/* The log ends here, or goes on in the next file. *torn: it ends. */
static int recovery_read_file(struct walk *walk, int *torn, struct varve_err *err)
{
    struct recovery *recovery = walk->recovery;
    const struct manifest_wal *wal = &manifest_state(recovery->manifest)->wals[walk->index];
    int rc = open_wal(recovery, walk->index, &walk->reader, err);

    if (rc != 0)
        return rc;
    walk->file_no = wal->file_no;
    if (recovery->at_file_no != NULL)
        *recovery->at_file_no = wal->file_no;
    walk->begun = 0;
    walk->sealed = 0;
    rc = walk_file(walk, err);
    if (rc != 0) {
        err_wrap(err, rc, "%s/%06" PRIu64 ".wal", recovery->dir, wal->file_no);
        goto out;
    }
    if (wal->end != 0 && recovery->end.offset != wal->end) {
        rc = recovery_rot(recovery, err);
        goto out;
    }
    *torn = wal->end == 0 && !walk->sealed;
    if (*torn)
        rc = recovery_judge(recovery, walk->reader, walk->index, err);
    walk->previous_end = recovery->end;
out:
    log_reader_close(walk->reader);
    walk->reader = NULL;
    return rc;
}

int recovery_read(struct recovery *recovery, struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(recovery->manifest);
    struct walk walk = {.recovery = recovery, .next_seq = state->flushed_seq + 1};
    int torn = 0;
    int rc = 0;

    recovery->last_seq = state->flushed_seq;
    recovery->wal_count = state->wal_count;
    if (state->wal_count == 0)
        return 0;
    recovery->ends = mem_alloc_zero(state->wal_count * sizeof(*recovery->ends));
    recovery->first_ops = mem_alloc_zero(state->wal_count * sizeof(*recovery->first_ops));
    if (recovery->ends == NULL || recovery->first_ops == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for recovery");
    buf_init(&walk.pieces, RECORD_PAYLOAD_MAX_BYTES);
    for (walk.index = 0; rc == 0 && !torn && walk.index < state->wal_count; walk.index++) {
        rc = recovery_read_file(&walk, &torn, err);
        /* What the manifest ends was durable when it was ended. */
        if (rc == 0 && state->wals[walk.index].end != 0)
            recovery_see_promise(recovery, recovery->end);
    }
    buf_deinit(&walk.pieces);
    /* What is in segments was durable in the log before. A log that ends below it has lost that, and what
     * were written behind its end would be torn off at the gap by the next open. */
    if (rc == 0 &&
        (log_place_before(recovery->end, recovery->vouched) || walk.next_seq <= state->flushed_seq))
        rc = recovery_rot(recovery, err);
    return rc;
}

/* ---- what nothing vouches for ---- */

typedef int (*unvouched_fn)(void *arg, const struct log_record *record, struct varve_err *err);

static int unvouched_in_file(struct recovery *recovery, size_t index, unvouched_fn fn, void *arg,
                             struct varve_err *err)
{
    struct log_place end = recovery->ends[index];
    struct log_reader *reader = NULL;
    struct log_record record;
    uint64_t from = recovery->vouched.file_no == end.file_no ? recovery->vouched.offset : 0;
    int rc = open_wal(recovery, index, &reader, err);

    /* From the beginning: which sequence number a short record has, those before it say. */
    while (rc == 0 && log_reader_offset(reader) < end.offset) {
        rc = log_reader_next(reader, &record, err);
        if (rc == VARVE_NOT_FOUND || (rc == 0 && record.offset < from && record.end > from))
            rc = err_set(err, VARVE_ECORRUPT,
                         "%06" PRIu64 ".wal: no record begins at offset %" PRIu64
                         ", up to which a later one promises all",
                         end.file_no, rc == 0 ? from : record.offset);
        if (rc == 0 && record.offset >= from && record.header.type == RECORD_OPS)
            rc = fn(arg, &record, err);
    }
    log_reader_close(reader);
    return rc;
}

/* Calls fn for each operations record between V and T, until it returns non-zero. */
static int for_each_unvouched(struct recovery *recovery, unvouched_fn fn, void *arg,
                              struct varve_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < recovery->wal_count; i++) {
        struct log_place end = recovery->ends[i];
        if (end.file_no != 0 && log_place_before(recovery->vouched, end))
            rc = unvouched_in_file(recovery, i, fn, arg, err);
    }
    return rc;
}

#define STOP 1

static int take_first_seq(void *arg, const struct log_record *record, struct varve_err *err)
{
    uint64_t *seq = arg;

    (void)err;
    *seq = record->header.first_seq;
    return STOP;
}

int recovery_first_unvouched(struct recovery *recovery, uint64_t *seq, struct varve_err *err)
{
    *seq = recovery->last_seq + 1;
    int rc = for_each_unvouched(recovery, take_first_seq, seq, err);
    return rc == STOP ? 0 : rc;
}

struct copy_task {
    struct recovery *recovery;
    struct log_writer *log;
};

static int copy_record(void *arg, const struct log_record *record, struct varve_err *err)
{
    struct copy_task *task = arg;
    struct record_header header = record->header;

    header.promised = (struct log_place){0};
    task->recovery->unvouched_bytes += record->end - record->offset;
    if (log_writer_stage(task->log, header, &record->payload, 1) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a log record");
    return log_writer_flush(task->log, err);
}

int recovery_copy_unvouched(struct recovery *recovery, struct log_writer *log,
                            struct varve_err *err)
{
    struct copy_task task = {.recovery = recovery, .log = log};

    if (MUTANT("unvouched-not-copied"))
        return 0;
    return for_each_unvouched(recovery, copy_record, &task, err);
}

/* ---- files that the manifest does not name ---- */

int recovery_is_of_others(int rc)
{
    return rc == VARVE_EFOREIGN || rc == VARVE_EVERSION;
}

int recovery_check_orphan(struct varve_env *env, const char *dir, const struct dir_id *id,
                          struct log_place read_end, uint64_t file_no, struct varve_err *err)
{
    struct log_reader *reader = NULL;
    struct log_record record;
    char *path = name_wal_path(dir, file_no);
    int rc = path == NULL
                 ? err_set(err, VARVE_ENOMEM, "no memory")
                 : log_reader_open(env, path, WAL_MAGIC, id, file_no, UINT64_MAX, &reader, err);

    if (rc == 0)
        rc = log_reader_next(reader, &record, err);
    else if (rc == VARVE_ECORRUPT || (recovery_is_of_others(rc) && !MUTANT("refuse-stale-block")))
        rc = VARVE_NOT_FOUND; /* it was never finished: a crash while it was made */
    if (rc == 0 && record.header.type == RECORD_BEGIN &&
        record.payload.len == BEGIN_PAYLOAD_BYTES) {
        const uint8_t *at = record.payload.data;
        struct log_place begun = {.file_no = get_u64(at), .offset = get_u64(at + 8)};
        if (log_place_before(read_end, begun))
            rc = err_set(err, VARVE_ECORRUPT,
                         "MANIFEST-%06" PRIu64 " is damaged at offset %" PRIu64
                         ": %s was begun under manifest %" PRIu64 " offset %" PRIu64,
                         read_end.file_no, read_end.offset, path, begun.file_no, begun.offset);
    }
    log_reader_close(reader);
    mem_free(path);
    if (rc != VARVE_NOT_FOUND)
        return rc;
    err_clear(err); /* what it said of the orphan */
    return 0;
}

void recovery_deinit(struct recovery *recovery)
{
    mem_free(recovery->ends);
    mem_free(recovery->first_ops);
    recovery->ends = NULL;
    recovery->first_ops = NULL;
}
