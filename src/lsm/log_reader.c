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

int log_reader_next(struct log_reader *reader, struct log_record *record, struct varve_err *err)
{
    const uint8_t *bytes = NULL;
    uint64_t left = reader->limit - reader->offset;

    *record = (struct log_record){.offset = reader->offset};
    if (left < RECORD_HEADER_BYTES)
        return reader_end(reader, left == 0 ? "end of file" : "header cut short");
    int rc = reader_window(reader, reader->offset, RECORD_HEADER_BYTES, &bytes, err);
    if (rc != 0)
        return rc;
    if (record_header_get(bytes, reader->salt, reader->file_no, &record->header) != 0)
        return reader_end(reader, "no valid record header");
    uint64_t len = record->header.payload_len;
    if (len > left - RECORD_HEADER_BYTES)
        return reader_end(reader, "payload cut short");
    rc = reader_window(reader, reader->offset, RECORD_HEADER_BYTES + (size_t)len, &bytes, err);
    if (rc != 0)
        return rc;
    record->payload = varve_slice(bytes + RECORD_HEADER_BYTES, (size_t)len);
    if (crc32c(reader->salt, record->payload.data, record->payload.len) !=
            record->header.payload_crc &&
        !MUTANT("skip-wal-crc"))
        return reader_end(reader, "payload CRC does not match");
    record->end = reader->offset + RECORD_HEADER_BYTES + len;
    reader->offset = record->end;
    return 0;
}

void log_reader_seek(struct log_reader *reader, uint64_t offset)
{
    reader->offset = offset < reader->limit ? offset : reader->limit;
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

int log_reader_scan(struct log_reader *reader, log_header_fn fn, void *arg, struct varve_err *err)
{
    struct record_header header;
    const uint8_t *bytes = NULL;
    uint64_t at = reader->offset;

    while (at + RECORD_HEADER_BYTES <= reader->limit) {
        uint64_t left = reader->limit - at;
        size_t span = left > WINDOW_BYTES ? WINDOW_BYTES : (size_t)left;
        int rc = reader_window(reader, at, span, &bytes, err);
        if (rc != 0)
            return rc;
        size_t starts = span - RECORD_HEADER_BYTES + 1;
        for (size_t i = 0; i < starts; i++) {
            uint8_t type = bytes[i + 28];
            if (type < RECORD_BEGIN || type > RECORD_EDIT)
                continue;
            if (record_header_get(bytes + i, reader->salt, reader->file_no, &header) != 0)
                continue;
            rc = fn(arg, at + i, &header);
            if (rc != 0)
                return rc;
        }
        at += starts;
    }
    return 0;
}
