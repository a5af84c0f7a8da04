#include "lsm/log_reader.h"

#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"

#define WINDOW_BYTES ((size_t)256 * 1024)

struct log_reader {
    struct varve_env *env;
    struct varve_file *file;
    char *path;
    uint32_t salt;
    uint64_t file_no;
    uint64_t limit;
    uint64_t offset;
    uint64_t next_seq; /* of a short record at `offset`; 0: not known */
    const char *why;
    uint8_t *window; /* bytes [window_at, window_at + window_len) of the file */
    uint64_t window_at;
    size_t window_len;
    size_t window_cap;
};

/* Makes [at, at + len) of the file, which lies below the limit, visible in the window. */
static int reader_window(struct log_reader *reader, uint64_t at, size_t len, const uint8_t **bytes,
                         struct varve_err *err)
{
    if (at >= reader->window_at && at + len <= reader->window_at + reader->window_len) {
        *bytes = reader->window + (at - reader->window_at);
        return 0;
    }
    size_t want = len > WINDOW_BYTES ? len : WINDOW_BYTES;
    if (want > reader->limit - at)
        want = (size_t)(reader->limit - at);
    if (want > reader->window_cap) {
        uint8_t *grown = mem_realloc(reader->window, want);
        if (grown == NULL)
            return err_set(err, VARVE_ENOMEM, "%s: no memory for %zu bytes", reader->path, want);
        reader->window = grown;
        reader->window_cap = want;
    }
    reader->window_at = at;
    reader->window_len = 0;
    size_t got = 0;
    int rc = reader->env->ops->read_at(reader->env, reader->file, reader->window, want, at, &got,
                                       err);
    if (rc == 0 && got < len)
        rc = err_set(err, VARVE_EIO, "%s: it shrank while it was read", reader->path);
    if (rc != 0)
        return rc;
    reader->window_len = got;
    *bytes = reader->window;
    return 0;
}

static int reader_find_limit(struct log_reader *reader, struct varve_err *err)
{
    uint64_t size_bytes = 0;
    int rc = reader->env->ops->size(reader->env, reader->file, &size_bytes, err);

    if (rc != 0)
        return rc;
    if (reader->limit > size_bytes)
        reader->limit = size_bytes;
    if (reader->limit < FILE_HEADER_BYTES)
        return err_set(err, VARVE_ECORRUPT, "%s: offset %llu: too short for a file header",
                       reader->path, (unsigned long long)size_bytes);
    return 0;
}

static int reader_check_header(struct log_reader *reader, const char magic[8],
                               const struct dir_id *id, struct varve_err *err)
{
    const uint8_t *header = NULL;
    int rc = reader_window(reader, 0, FILE_HEADER_BYTES, &header, err);

    if (rc != 0)
        return rc;
    rc = file_header_check(header, magic, id, reader->file_no, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "%s", reader->path);
}

int log_reader_open_headless(struct varve_env *env, const char *path, const struct dir_id *id,
                             uint64_t file_no, uint64_t limit, struct log_reader **out,
                             struct varve_err *err)
{
    int rc = VARVE_ENOMEM;
    struct log_reader *reader = mem_alloc_zero(sizeof(*reader));

    *out = NULL;
    if (reader == NULL)
        return err_set(err, VARVE_ENOMEM, "%s: no memory for a reader", path);
    reader->env = env;
    reader->limit = limit;
    reader->file_no = file_no;
    reader->salt = file_salt(id, file_no);
    reader->offset = FILE_HEADER_BYTES;
    reader->why = "not read yet";
    reader->path = mem_strdup(path);
    if (reader->path == NULL) {
        err_set(err, VARVE_ENOMEM, "%s: no memory for a reader", path);
        goto out;
    }
    rc = env->ops->open(env, path, VARVE_OPEN_READ, &reader->file, err);
    if (rc == 0)
        rc = reader_find_limit(reader, err);
out:
    if (rc != 0) {
        log_reader_close(reader);
        return rc;
    }
    *out = reader;
    return 0;
}

int log_reader_open(struct varve_env *env, const char *path, const char magic[8],
                    const struct dir_id *id, uint64_t file_no, uint64_t limit,
                    struct log_reader **out, struct varve_err *err)
{
    int rc = log_reader_open_headless(env, path, id, file_no, limit, out, err);

    if (rc != 0)
        return rc;
    rc = reader_check_header(*out, magic, id, err);
    if (rc != 0) {
        log_reader_close(*out);
        *out = NULL;
    }
    return rc;
}

void log_reader_close(struct log_reader *reader)
{
    if (reader == NULL)
        return;
    reader->env->ops->close(reader->env, reader->file);
    mem_free(reader->window);
    mem_free(reader->path);
    mem_free(reader);
}

static int reader_end(struct log_reader *reader, const char *why)
{
    reader->why = why;
    return VARVE_NOT_FOUND;
}

/* The sequence number of a short record behind this one, 0 if none may follow. */
static uint64_t seq_behind(const struct record_header *header)
{
    if (header->type == RECORD_EDIT || (header->flags & RECORD_MORE))
        return 0;
    return header->first_seq + (header->type == RECORD_OPS ? header->op_count : 0);
}

/* The header of either form in the `len` bytes at `bytes`. 0, or VARVE_ECORRUPT. */
static int reader_get_header(const struct log_reader *reader, const uint8_t *bytes, size_t len,
                             uint64_t next_seq, struct record_header *header)
{
    if (len >= RECORD_HEADER_BYTES &&
        record_header_get(bytes, reader->salt, reader->file_no, header) == 0)
        return 0;
    return next_seq == 0 ? VARVE_ECORRUPT
                         : record_short_get(bytes, len, reader->salt, next_seq, header);
}

static int payload_is_whole(const struct log_reader *reader, const struct log_record *record)
{
    struct varve_slice payload = record->payload;
    struct chunk chunk;

    if (MUTANT("skip-wal-crc"))
        return 1;
    if (!record->header.is_short)
        return crc32c(reader->salt, payload.data, payload.len) == record->header.payload_crc;
    size_t head_len = chunk_get_head(payload.data, payload.data + payload.len, &chunk);
    /* The head was checked, but the window may have been read again since. */
    if (head_len == 0 || chunk.value.len != payload.len - head_len)
        return 0;
    chunk.value.data = payload.data + head_len;
    return chunk_crc(&chunk) == chunk.crc;
}

int log_reader_next(struct log_reader *reader, struct log_record *record, struct varve_err *err)
{
    const uint8_t *bytes = NULL;
    uint64_t left = reader->limit - reader->offset;
    size_t head = left < RECORD_HEAD_MAX_BYTES ? (size_t)left : RECORD_HEAD_MAX_BYTES;

    *record = (struct log_record){.offset = reader->offset};
    if (left == 0)
        return reader_end(reader, "end of file");
    int rc = reader_window(reader, reader->offset, head, &bytes, err);
    if (rc != 0)
        return rc;
    if (reader_get_header(reader, bytes, head, reader->next_seq, &record->header) != 0)
        return reader_end(reader, "no valid record header");
    uint64_t len = record_bytes(&record->header);
    if (len > left)
        return reader_end(reader, "payload cut short");
    rc = reader_window(reader, reader->offset, (size_t)len, &bytes, err);
    if (rc != 0)
        return rc;
    record->payload = varve_slice(bytes + (len - record->header.payload_len),
                                  (size_t)record->header.payload_len);
    if (!payload_is_whole(reader, record))
        return reader_end(reader, "payload CRC does not match");
    record->end = reader->offset + len;
    reader->offset = record->end;
    reader->next_seq = seq_behind(&record->header);
    return 0;
}

void log_reader_seek(struct log_reader *reader, uint64_t offset, uint64_t next_seq)
{
    reader->offset = offset < reader->limit ? offset : reader->limit;
    reader->next_seq = next_seq;
}

uint64_t log_reader_offset(const struct log_reader *reader)
{
    return reader->offset;
}

struct varve_file *log_reader_file(const struct log_reader *reader)
{
    return reader->file;
}

uint64_t log_reader_limit(const struct log_reader *reader)
{
    return reader->limit;
}

const char *log_reader_why(const struct log_reader *reader)
{
    return reader->why;
}

/* Where a search stands: a short record may begin at chain_at. */
struct scan {
    log_header_fn fn;
    void *arg;
    uint64_t chain_at;
    uint64_t chain_seq; /* 0: not known */
};

/* Is there a header at `at`? Its `len` bytes are what is left to look at; fn is told. */
static int scan_place(const struct log_reader *reader, struct scan *scan, uint64_t at,
                      const uint8_t *bytes, size_t len)
{
    struct record_header header;
    uint64_t next_seq = at == scan->chain_at ? scan->chain_seq : 0;

    if (next_seq == 0 &&
        (len < RECORD_HEADER_BYTES || (bytes[RECORD_TYPE_AT] & RECORD_LONG_MARK) == 0))
        return 0;
    if (reader_get_header(reader, bytes, len, next_seq, &header) != 0)
        return 0;
    scan->chain_at = at + record_bytes(&header);
    scan->chain_seq = seq_behind(&header);
    return scan->fn(scan->arg, at, &header);
}

int log_reader_scan(struct log_reader *reader, log_header_fn fn, void *arg, struct varve_err *err)
{
    struct scan scan = {
        .fn = fn, .arg = arg, .chain_at = reader->offset, .chain_seq = reader->next_seq};
    const uint8_t *bytes = NULL;
    uint64_t at = reader->offset;

    while (at < reader->limit) {
        uint64_t left = reader->limit - at;
        size_t span = left > WINDOW_BYTES ? WINDOW_BYTES : (size_t)left;
        int rc = reader_window(reader, at, span, &bytes, err);
        if (rc != 0)
            return rc;
        size_t starts = span == left ? span : span - RECORD_HEAD_MAX_BYTES + 1;
        for (size_t i = 0; rc == 0 && i < starts; i++)
            rc = scan_place(reader, &scan, at + i, bytes + i, span - i);
        if (rc != 0)
            return rc;
        at += starts;
    }
    return 0;
}

#define STOP 1

struct header_behind {
    uint64_t offset;
    uint64_t found;
    uint64_t first_seq;
};

static int is_behind(void *arg, uint64_t offset, const struct record_header *header)
{
    struct header_behind *search = arg;

    if (offset <= search->offset)
        return 0;
    search->found = offset;
    search->first_seq = header->first_seq;
    return STOP;
}

int log_reader_pass(struct log_reader *reader, int *found, struct varve_err *err)
{
    struct header_behind search = {.offset = reader->offset};
    int rc = log_reader_scan(reader, is_behind, &search, err);

    *found = rc == STOP;
    if (rc != STOP)
        return rc;
    log_reader_seek(reader, search.found, search.first_seq);
    return 0;
}
