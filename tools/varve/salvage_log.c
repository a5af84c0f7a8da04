/* Two passes. The first finds the whole records and the holes between them: behind a damaged place every
 * byte is tried as the beginning of a record header, whose CRC is seeded with the directory and the file. As
 * headers name the first of their sequences, what a hole has taken is known from the record behind it.
 * The second applies the records in the order of their sequences. */
#include "salvage_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "lsm/log_reader.h"

struct record_ref {
    uint64_t first_seq;
    uint64_t offset; /* of its first piece */
    size_t file;     /* index */
};

struct hole {
    int is_open;
    size_t file;
    uint64_t offset;
    uint64_t bytes; /* 0: not known */
    uint64_t first_seq;
    int is_header; /* of the file */
    char what[VARVE_ERR_TEXT_MAX];
};

struct gather {
    const struct data_dir *dir;
    struct salvage_log_file *files;
    size_t count;
    uint64_t flushed_seq;
    struct salvage_report *report;
    struct memtable *memtable;
    struct record_ref *refs;
    size_t ref_count;
    size_t ref_cap;
    uint64_t next_seq;         /* 0: not known yet */
    struct hole hole;          /* to be told when it is known what it took */
    struct log_place promised; /* the last place that a header promises to be durable */
    int piece_is_open;         /* a record whose last piece has not come */
    struct record_ref piece;
    uint32_t piece_ops;
    size_t reader_file; /* of the second pass */
    struct log_reader *reader;
    uint64_t applied_seq;
    /* Of what came before, segments know better: a hole may have taken the tombstone of a put that the log
     * still has, and compaction dropped both. */
    uint64_t stale_seq;
};

static int no_memory(struct varve_err *err)
{
    return err_set(err, VARVE_ENOMEM, "no memory to read the log");
}

/* ---- holes ---- */

static void hole_open(struct gather *gather, size_t file, uint64_t offset, uint64_t bytes,
                      const char *what)
{
    struct hole *hole = &gather->hole;

    gather->piece_is_open = 0;
    if (hole->is_open)
        return; /* it goes on */
    *hole = (struct hole){.is_open = 1,
                          .file = file,
                          .offset = offset,
                          .bytes = bytes,
                          .first_seq = gather->next_seq};
    snprintf(hole->what, sizeof(hole->what), "%s", what);
}

static uint64_t first_unflushed(const struct gather *gather)
{
    return gather->flushed_seq == SALVAGE_FLUSHED_UNKNOWN ? 0 : gather->flushed_seq + 1;
}

/* The hole took the sequences before end_seq; UINT64_MAX: all that came. */
static int hole_tell(struct gather *gather, uint64_t end_seq, struct varve_err *err)
{
    struct hole *hole = &gather->hole;
    char name[NAME_MAX_BYTES];
    uint64_t from_seq = hole->first_seq > first_unflushed(gather) ? hole->first_seq
                                                                  : first_unflushed(gather);
    struct loss loss = {.file = name,
                        .offset = hole->offset,
                        .bytes = hole->bytes,
                        .what = hole->what,
                        .scope = from_seq < end_seq ? LOSS_ANY : LOSS_NONE,
                        .seq_from = from_seq,
                        .seq_max = end_seq == UINT64_MAX ? end_seq : end_seq - 1};

    uint64_t stale_seq = end_seq < first_unflushed(gather) ? end_seq : first_unflushed(gather);

    if (hole->first_seq < end_seq && gather->stale_seq < stale_seq)
        gather->stale_seq = stale_seq;
    hole->is_open = 0;
    snprintf(name, sizeof(name), "%06" PRIu64 ".wal", gather->files[hole->file].file_no);
    return report_add(gather->report, &loss) == 0 ? 0 : no_memory(err);
}

/* A record header was found that begins with this sequence. */
static int see_seq(struct gather *gather, size_t file, uint64_t offset, uint64_t seq,
                   struct varve_err *err)
{
    int rc = 0;

    if (gather->next_seq == 0) {
        uint64_t first = first_unflushed(gather);
        gather->next_seq = first != 0 && first < seq ? first : seq;
    }
    if (!gather->hole.is_open && seq > gather->next_seq)
        hole_open(gather, file, offset, 0, "the operations before this record are missing");
    /* Of the first file nothing is known before its first record; a header holds no operations. */
    if (gather->hole.is_open && gather->hole.first_seq == 0 && gather->hole.is_header)
        gather->hole.first_seq = seq;
    if (gather->hole.is_open)
        rc = hole_tell(gather, seq, err);
    if (gather->next_seq < seq)
        gather->next_seq = seq;
    return rc;
}

/* ---- the first pass ---- */

static int keep_record(struct gather *gather, const struct record_ref *ref, uint32_t ops,
                       struct varve_err *err)
{
    if (gather->ref_count == gather->ref_cap) {
        size_t cap = gather->ref_cap == 0 ? 1024 : gather->ref_cap * 2;
        struct record_ref *grown = mem_realloc(gather->refs, cap * sizeof(*grown));
        if (grown == NULL)
            return no_memory(err);
        gather->refs = grown;
        gather->ref_cap = cap;
    }
    gather->refs[gather->ref_count++] = *ref;
    if (gather->next_seq < ref->first_seq + ops)
        gather->next_seq = ref->first_seq + ops;
    return 0;
}

static int see_record(struct gather *gather, size_t file, const struct log_record *record,
                      struct varve_err *err)
{
    const struct record_header *header = &record->header;
    int is_piece = header->type == RECORD_OPS && (header->flags & RECORD_CONTINUES) != 0;

    if (is_piece && (!gather->piece_is_open || gather->piece.first_seq != header->first_seq))
        return 0; /* its beginning is lost: the record behind tells what that took */
    if (!is_piece) {
        if (gather->piece_is_open)
            hole_open(gather, file, record->offset, 0, "the end of a record is missing");
        int rc = see_seq(gather, file, record->offset, header->first_seq, err);
        if (rc != 0 || header->type != RECORD_OPS)
            return rc;
        gather->piece_is_open = 1;
        gather->piece_ops = header->op_count;
        gather->piece = (struct record_ref){
            .first_seq = header->first_seq, .offset = record->offset, .file = file};
    }
    if (header->flags & RECORD_MORE)
        return 0;
    gather->piece_is_open = 0;
    return keep_record(gather, &gather->piece, gather->piece_ops, err);
}

struct header_search {
    uint64_t offset;
    struct record_header header;
};

static int found_header(void *arg, uint64_t offset, const struct record_header *header)
{
    struct header_search *search = arg;

    search->offset = offset;
    search->header = *header;
    return 1;
}

/* No record begins where the reader stands. 1: it goes on behind the damage. 0: the file ends here. */
static int pass_damage(struct gather *gather, size_t file, struct log_reader *reader,
                       struct varve_err *err)
{
    uint64_t at = log_reader_offset(reader);
    int is_fixed = gather->files[file].limit != UINT64_MAX;
    struct header_search search = {.offset = 0};
    char what[128];

    if (at >= log_reader_limit(reader))
        return 0;
    snprintf(what, sizeof(what), "%s", log_reader_why(reader));
    int is_record = log_reader_scan(reader, found_header, &search, err) == 1 && search.offset == at;
    uint64_t end_seq = search.header.first_seq + search.header.op_count;
    int found = 0;
    int rc = log_reader_pass(reader, &found, err);
    if (found) {
        hole_open(gather, file, at, log_reader_offset(reader) - at, what);
        return 1;
    }
    if (is_fixed)
        hole_open(gather, file, at, log_reader_limit(reader) - at, what);
    if (!is_record || is_fixed)
        return rc == VARVE_ENOMEM ? rc : 0;
    hole_open(gather, file, at, log_reader_limit(reader) - at, what);
    return hole_tell(gather, end_seq, err);
}

static int read_records(struct gather *gather, size_t file, struct log_reader *reader,
                        struct varve_err *err)
{
    struct log_record record;
    int rc = 1;

    while (rc > 0) {
        rc = log_reader_next(reader, &record, err);
        if (rc == 0) {
            gather->files[file].end = record.end;
            if (log_place_before(gather->promised, record.header.promised))
                gather->promised = record.header.promised;
            rc = see_record(gather, file, &record, err);
            rc = rc == 0 ? 1 : rc;
        } else if (rc == VARVE_NOT_FOUND) {
            rc = pass_damage(gather, file, reader, err);
        } else if (rc != VARVE_ENOMEM) {
            hole_open(gather, file, record.offset, 0, err_text(err));
            rc = 0;
        }
    }
    return rc;
}

/* The reader, or NULL and a hole: *rc is not 0 only where memory is missing. */
static struct log_reader *open_log(struct gather *gather, size_t file, int *rc,
                                   struct varve_err *err)
{
    const struct data_dir *dir = gather->dir;
    const struct salvage_log_file *log = &gather->files[file];
    char *path = name_wal_path(dir->path, log->file_no);
    struct log_reader *reader = NULL;
    struct varve_err why = {0};

    *rc = path == NULL ? VARVE_ENOMEM
                       : log_reader_open(dir->env, path, WAL_MAGIC, &dir->id, log->file_no,
                                         log->limit, &reader, &why);
    if (*rc == VARVE_ECORRUPT) {
        hole_open(gather, file, 0, FILE_HEADER_BYTES, why.text);
        gather->hole.is_header = 1;
        *rc = log_reader_open_headless(dir->env, path, &dir->id, log->file_no, log->limit, &reader,
                                       NULL);
    }
    mem_free(path);
    if (*rc == VARVE_ENOMEM) {
        no_memory(err);
    } else if (*rc != 0) {
        hole_open(gather, file, 0, 0, *rc == VARVE_ENOENT ? "the file is missing" : why.text);
        *rc = 0;
    }
    return reader;
}

static int read_file(struct gather *gather, size_t file, struct varve_err *err)
{
    int rc;
    struct log_reader *reader = open_log(gather, file, &rc, err);

    if (reader == NULL)
        return rc;
    gather->report->wals++;
    rc = read_records(gather, file, reader, err);
    if (gather->piece_is_open)
        hole_open(gather, file, gather->piece.offset, 0, "the end of a record is missing");
    log_reader_close(reader);
    return rc;
}

/* A file's first record says where the one before it ended. */
static void see_limit(struct gather *gather, size_t file)
{
    char *path = name_wal_path(gather->dir->path, gather->files[file].file_no);
    struct log_reader *reader = NULL;
    struct log_record record;

    if (path != NULL &&
        log_reader_open_headless(gather->dir->env, path, &gather->dir->id,
                                 gather->files[file].file_no, UINT64_MAX, &reader, NULL) == 0 &&
        log_reader_next(reader, &record, NULL) == 0 && record.header.type == RECORD_BEGIN &&
        record.payload.len == BEGIN_PAYLOAD_BYTES)
        for (size_t i = 0; i < file; i++)
            if (gather->files[i].file_no == get_u64(record.payload.data + 16) &&
                gather->files[i].limit == UINT64_MAX)
                gather->files[i].limit = get_u64(record.payload.data + 24);
    log_reader_close(reader);
    mem_free(path);
}

/* Does the log end before a place that was durable? */
static void see_end(struct gather *gather)
{
    if (gather->count == 0)
        return;
    const struct salvage_log_file *last = &gather->files[gather->count - 1];
    if (log_place_before((struct log_place){last->file_no, last->end}, gather->promised))
        hole_open(gather, gather->count - 1, last->end, 0, "bytes that were durable are gone");
}

/* ---- the second pass ---- */

static int by_seq(const void *a, const void *b)
{
    const struct record_ref *left = a;
    const struct record_ref *right = b;

    if (left->first_seq != right->first_seq)
        return left->first_seq < right->first_seq ? -1 : 1;
    return (left->file < right->file) - (left->file > right->file);
}

/* The whole payload of a record that the first pass has read, in *to. */
static int read_pieces(struct gather *gather, const struct record_ref *ref, struct buf *to,
                       struct record_header *header, struct varve_err *err)
{
    struct log_record record;
    int rc = 0;

    buf_clear(to);
    if (gather->reader == NULL || gather->reader_file != ref->file) {
        log_reader_close(gather->reader);
        gather->reader = open_log(gather, ref->file, &rc, err);
        gather->reader_file = ref->file;
        if (gather->reader == NULL)
            return rc == 0 ? err_set(err, VARVE_EIO, "a log file went away") : rc;
    }
    log_reader_seek(gather->reader, ref->offset, ref->first_seq);
    do {
        rc = log_reader_next(gather->reader, &record, err);
        if (rc == VARVE_NOT_FOUND)
            rc = err_set(err, VARVE_EIO, "a log file changed while it was read");
        if (rc == 0 && buf_append(to, record.payload.data, record.payload.len) != 0)
            rc = no_memory(err);
        if (rc == 0 && to->len == record.payload.len)
            *header = record.header;
    } while (rc == 0 && (record.header.flags & RECORD_MORE) != 0);
    return rc;
}

static int lose_operation(struct gather *gather, const struct record_ref *ref, uint64_t seq,
                          struct varve_err *err)
{
    char name[NAME_MAX_BYTES];
    struct loss loss = {.file = name,
                        .offset = ref->offset,
                        .what = "the CRC of an operation in this record does not match",
                        .scope = LOSS_ANY,
                        .seq_from = seq,
                        .seq_max = seq};

    gather->report->log_from_seq = seq + 1;
    snprintf(name, sizeof(name), "%06" PRIu64 ".wal", gather->files[ref->file].file_no);
    return report_add(gather->report, &loss) == 0 ? 0 : no_memory(err);
}

static int apply_one(struct gather *gather, const struct record_ref *ref, uint64_t seq,
                     const struct chunk *chunk, struct varve_err *err)
{
    enum memtable_prior prior;
    struct memtable_undo undo;

    if (seq < gather->stale_seq)
        return 0;
    if (chunk_crc(chunk) != chunk->crc)
        return lose_operation(gather, ref, seq, err);
    gather->report->log_operations++;
    if (memtable_add(gather->memtable, seq, chunk, &prior, &undo) != 0)
        return no_memory(err);
    return 0;
}

static int apply_record(struct gather *gather, const struct record_ref *ref,
                        const struct record_header *header, struct varve_slice payload,
                        struct varve_err *err)
{
    const uint8_t *at = payload.data;
    const uint8_t *end = at + payload.len;
    uint64_t seq = header->first_seq;
    struct chunk chunk;
    int rc = 0;

    if (header->flags & RECORD_CLOCK)
        at += payload.len < 8 ? payload.len : 8;
    for (; rc == 0 && at < end; seq++) {
        size_t head = chunk_get_head(at, end, &chunk);
        if (head == 0 || chunk.value.len > (size_t)(end - at) - head)
            return lose_operation(gather, ref, seq, err);
        chunk.value.data = at + head;
        at += head + chunk.value.len;
        rc = apply_one(gather, ref, seq, &chunk, err);
    }
    gather->applied_seq = seq - 1;
    return rc;
}

static int apply_all(struct gather *gather, struct varve_err *err)
{
    struct record_header header = {0};
    struct buf payload;
    int rc = 0;

    buf_init(&payload, RECORD_PAYLOAD_MAX_BYTES);
    if (gather->ref_count > 0)
        qsort(gather->refs, gather->ref_count, sizeof(*gather->refs), by_seq);
    for (size_t i = 0; rc == 0 && i < gather->ref_count; i++) {
        const struct record_ref *ref = &gather->refs[i];
        if (ref->first_seq <= gather->applied_seq)
            continue;
        if (ref->first_seq != gather->applied_seq + 1)
            gather->report->log_from_seq = ref->first_seq;
        rc = read_pieces(gather, ref, &payload, &header, err);
        if (rc == 0)
            rc = apply_record(gather, ref, &header, buf_slice(&payload), err);
    }
    gather->report->log_to_seq = gather->applied_seq;
    gather->hole.is_open = 0; /* of a damaged file header, told in the first pass */
    log_reader_close(gather->reader);
    buf_deinit(&payload);
    return rc;
}

int salvage_log_read(const struct data_dir *dir, struct salvage_log_file *files, size_t count,
                     uint64_t flushed_seq, struct salvage_report *report, struct memtable *memtable,
                     struct varve_err *err)
{
    struct gather gather = {.dir = dir,
                            .files = files,
                            .count = count,
                            .flushed_seq = flushed_seq,
                            .report = report,
                            .memtable = memtable};
    int rc = 0;

    for (size_t i = 1; i < count; i++)
        see_limit(&gather, i);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = read_file(&gather, i, err);
    if (rc == 0)
        see_end(&gather);
    if (rc == 0 && gather.hole.is_open)
        rc = hole_tell(&gather, UINT64_MAX, err);
    if (rc == 0)
        rc = apply_all(&gather, err);
    mem_free(gather.refs);
    return rc;
}
