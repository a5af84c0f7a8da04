/* A WAL or a manifest, record by record. Where none begins, the next place is looked for where one does. */
#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "dump.h"
#include "lsm/log_reader.h"

struct log_dump {
    struct dump *dump;
    struct log_reader *reader;
    struct buf pieces;
    struct record_header header; /* of the first piece */
    uint64_t pieces_from;        /* 0: none is open */
};

static const char *type_name(enum record_type type)
{
    static const char *const names[] = {"?", "begin", "operations", "promise", "seal", "edit"};

    return names[type < COUNT_OF(names) ? type : 0];
}

static void show_header(struct dump *dump, const struct log_record *record)
{
    const struct record_header *header = &record->header;
    struct json *json = &dump->json;

    if (dump->as_json) {
        json_begin_object(json, NULL);
        json_number(json, "offset", record->offset);
        json_text(json, "type", type_name(header->type));
        json_number(json, "seq", header->first_seq);
        json_number(json, "count", header->op_count);
        json_number(json, "length", header->payload_len);
        json_bool(json, "short", header->is_short);
        json_bool(json, "more", (header->flags & RECORD_MORE) != 0);
        json_bool(json, "continues", (header->flags & RECORD_CONTINUES) != 0);
        json_number(json, "promised_file", header->promised.file_no);
        json_number(json, "promised_offset", header->promised.offset);
        return;
    }
    printf("%" PRIu64 " %s seq %" PRIu64 " count %u length %" PRIu64, record->offset,
           type_name(header->type), header->first_seq, header->op_count, header->payload_len);
    if (header->is_short)
        printf(" short");
    if (header->flags & RECORD_CONTINUES)
        printf(" continues");
    if (header->flags & RECORD_MORE)
        printf(" more follows");
    if (header->promised.offset != 0)
        printf(" promised %" PRIu64 ":%" PRIu64, header->promised.file_no, header->promised.offset);
}

static void show_number(struct dump *dump, const char *name, uint64_t value)
{
    if (dump->as_json)
        json_number(&dump->json, name, value);
    else
        printf(" %s %" PRIu64, name, value);
}

static void show_begin(struct dump *dump, struct varve_slice payload)
{
    static const char *const names[] = {"manifest", "manifest_offset", "previous", "previous_end"};

    if (payload.len != BEGIN_PAYLOAD_BYTES)
        return;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        show_number(dump, names[i], get_u64(payload.data + 8 * i));
}

/* The operations of a whole record; `offset` is its beginning. */
static void show_ops(struct log_dump *log, uint64_t offset, struct varve_slice payload)
{
    const uint8_t *at = payload.data;
    const uint8_t *end = at + payload.len;
    struct entry entry = {.seq = log->header.first_seq};

    if (log->header.flags & RECORD_CLOCK)
        at += payload.len < 8 ? payload.len : 8;
    for (; at < end; entry.seq++) {
        size_t head = chunk_get_head(at, end, &entry.chunk);
        if (head == 0 || entry.chunk.value.len > (size_t)(end - at) - head) {
            dump_damage(log->dump, offset, "an operation does not decode");
            return;
        }
        entry.chunk.value.data = at + head;
        at += head + entry.chunk.value.len;
        dump_entry(log->dump, &entry, entry.chunk.value);
        if (chunk_crc(&entry.chunk) != entry.chunk.crc)
            dump_damage(log->dump, offset, "the chunk CRC of the operation does not match");
    }
}

static int take_piece(struct log_dump *log, const struct log_record *record, struct varve_err *err)
{
    if (!(record->header.flags & RECORD_CONTINUES)) {
        buf_clear(&log->pieces);
        log->header = record->header;
        log->pieces_from = record->offset;
    } else if (log->pieces_from == 0) {
        dump_damage(log->dump, record->offset, "the beginning of this record is lost");
        return 0;
    }
    if (buf_append(&log->pieces, record->payload.data, record->payload.len) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a record");
    if (record->header.flags & RECORD_MORE)
        return 0;
    show_ops(log, log->pieces_from, buf_slice(&log->pieces));
    log->pieces_from = 0;
    return 0;
}

static int show_record(struct log_dump *log, const struct log_record *record, struct varve_err *err)
{
    const struct record_header *header = &record->header;
    struct dump *dump = log->dump;
    struct varve_slice payload = record->payload;
    int rc = 0;

    show_header(dump, record);
    if (header->type == RECORD_BEGIN)
        show_begin(dump, payload);
    if ((header->flags & RECORD_CLOCK || header->type == RECORD_PROMISE) && payload.len >= 8)
        show_number(dump, "clock_ms", get_u64(payload.data));
    if (dump->as_json)
        json_begin_array(&dump->json, header->type == RECORD_EDIT ? "edits" : "operations");
    else
        putchar('\n');
    if (header->type == RECORD_EDIT)
        dump_edit(dump, record->offset, payload);
    if (header->type == RECORD_OPS)
        rc = take_piece(log, record, err);
    if (dump->as_json) {
        json_end_array(&dump->json);
        json_end_object(&dump->json);
    }
    return rc;
}

/* *more is 0 where no record follows: that is the end. */
static int find_next(struct log_dump *log, uint64_t offset, int *more, struct varve_err *err)
{
    const char *why = log_reader_why(log->reader);
    char text[160];

    log->pieces_from = 0;
    int rc = log_reader_pass(log->reader, more, err);
    if (rc != 0 || !*more)
        return rc;
    snprintf(text, sizeof(text), "%s; records go on at %" PRIu64, why,
             log_reader_offset(log->reader));
    dump_damage(log->dump, offset, text);
    return 0;
}

static int show_records(struct log_dump *log, uint64_t *end, struct varve_err *err)
{
    struct log_record record;
    int more = 1;
    int rc = 0;

    while (rc == 0 && more) {
        rc = log_reader_next(log->reader, &record, err);
        if (rc == 0) {
            *end = record.end;
            rc = show_record(log, &record, err);
        } else if (rc == VARVE_NOT_FOUND) {
            rc = find_next(log, record.offset, &more, err);
        }
    }
    return rc;
}

int dump_log(struct dump *dump, const char *path, const char magic[8], struct varve_err *err)
{
    struct log_dump log = {.dump = dump};
    int is_wal = memcmp(magic, WAL_MAGIC, FILE_MAGIC_BYTES) == 0;
    uint64_t end = FILE_HEADER_BYTES;
    struct dir_id id;
    uint64_t file_no;
    int rc = file_read_header(dump->env, path, is_wal ? NAME_WAL : NAME_MANIFEST, &id, &file_no,
                              err);

    if (rc == 0)
        rc = log_reader_open(dump->env, path, magic, &id, file_no, UINT64_MAX, &log.reader, err);
    if (rc != 0)
        return rc;
    dump_begin_file(dump, path, is_wal ? "log" : "manifest", &id, file_no);
    if (dump->as_json)
        json_begin_array(&dump->json, "records");
    buf_init(&log.pieces, RECORD_PAYLOAD_MAX_BYTES);
    rc = show_records(&log, &end, err);
    buf_deinit(&log.pieces);
    if (dump->as_json) {
        json_end_array(&dump->json);
        json_number(&dump->json, "end", end);
        json_number(&dump->json, "size", log_reader_limit(log.reader));
        json_end_object(&dump->json);
    } else {
        printf("%" PRIu64 " end of records; the file has %" PRIu64 " bytes\n", end,
               log_reader_limit(log.reader));
    }
    log_reader_close(log.reader);
    return rc;
}
