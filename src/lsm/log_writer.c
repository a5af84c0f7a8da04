#include "lsm/log_writer.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"

#define HEADS_MAX_BYTES ((size_t)1024 * 1024)
/* So much of short payloads is copied behind their headers: one piece is cheaper to write than many. */
#define COPY_MAX_BYTES ((size_t)32 * 1024)
/* The page cache keeps a file in pieces as large as it was written, and the log's writes cost by the
 * size of the piece that they fall into: 0.75 us in 16 KiB, 0.9 in 256, 1.9 in 1024. */
#define ZEROS_BYTES ((size_t)16 * 1024)
/* So far ahead of the records the zeros go: with short ones, a sync in 500 makes a new length durable, and the
 * write that pays for them takes 25 us. */
#define AHEAD_BYTES ((uint64_t)64 * 1024)

void log_writer_go_ahead(struct log_writer *writer)
{
    static const uint8_t zeros[ZEROS_BYTES];
    uint64_t at = writer->offset;
    uint64_t to = at - at % AHEAD_BYTES + AHEAD_BYTES;
    int rc = 0;

    if (LIKELY(at <= writer->zeros_end) || at >= writer->zeros_limit)
        return;
    if (to > writer->zeros_limit)
        to = writer->zeros_limit;
    while (rc == 0 && at < to) {
        uint64_t left = to - at;
        uint64_t len = ZEROS_BYTES - at % ZEROS_BYTES;
        struct varve_slice part = varve_slice(zeros, (size_t)(left < len ? left : len));
        rc = writer->env->ops->write_at(writer->env, writer->file, &part, 1, at, NULL);
        at += part.len;
    }
    writer->zeros_end = to;
    if (rc != 0)
        writer->zeros_limit = 0;
}

static int writer_make_file(struct log_writer *writer, const char *dir, const char magic[8],
                            const struct dir_id *id, const char *reuse, struct varve_err *err)
{
    const struct varve_env_ops *ops = writer->env->ops;
    uint8_t header[FILE_HEADER_BYTES] = {0};
    struct varve_slice part = varve_slice(header, sizeof(header));
    unsigned flags = VARVE_OPEN_WRITE;
    int rc = 0;

    if (reuse != NULL)
        rc = ops->rename(writer->env, reuse, writer->path, err);
    else
        flags |= VARVE_OPEN_CREATE | VARVE_OPEN_EXCLUSIVE;
    if (rc == 0)
        rc = ops->open(writer->env, writer->path, flags, &writer->file, err);
    if (rc == 0 && writer->zeros_limit > 0) /* else its writes wait for syncs that allocate */
        ops->reserve(writer->env, writer->file, writer->zeros_limit);
    if (rc == 0) {
        file_header_put(header, magic, id, writer->file_no);
        rc = ops->write_at(writer->env, writer->file, &part, 1, 0, err);
    }
    if (rc == 0 && !MUTANT("skip-dir-sync"))
        rc = ops->sync_dir(writer->env, dir, err);
    return rc;
}

int log_writer_create(struct varve_env *env, const char *dir, const char *path, const char magic[8],
                      const struct dir_id *id, uint64_t file_no, uint64_t size, const char *reuse,
                      struct log_writer **out, struct varve_err *err)
{
    struct log_writer *writer = mem_alloc_zero(sizeof(*writer));
    int rc = VARVE_ENOMEM;

    *out = NULL;
    if (writer == NULL)
        return err_set(err, VARVE_ENOMEM, "create %s: no memory", path);
    writer->env = env;
    writer->file_no = file_no;
    writer->salt = file_salt(id, file_no);
    writer->offset = FILE_HEADER_BYTES;
    writer->zeros_limit = reuse == NULL ? size : 0;
    buf_init(&writer->heads, HEADS_MAX_BYTES);
    writer->path = mem_strdup(path);
    if (writer->path == NULL)
        err_set(err, VARVE_ENOMEM, "create %s: no memory", path);
    else
        rc = writer_make_file(writer, dir, magic, id, reuse, err);
    if (rc != 0) {
        log_writer_close(writer);
        return rc;
    }
    *out = writer;
    return 0;
}

void log_writer_trim(struct log_writer *writer)
{
    writer->env->ops->reserve(writer->env, writer->file, 0);
}

void log_file_trim(struct varve_env *env, const char *path)
{
    struct varve_file *file = NULL;

    if (env->ops->open(env, path, VARVE_OPEN_WRITE, &file, NULL) != 0)
        return;
    env->ops->reserve(env, file, 0);
    env->ops->close(env, file);
}

void log_writer_close(struct log_writer *writer)
{
    if (writer == NULL)
        return;
    writer->env->ops->close(writer->env, writer->file);
    buf_deinit(&writer->heads);
    mem_free(writer->parts);
    mem_free(writer->path);
    mem_free(writer);
}

static int writer_add_part(struct log_writer *writer, struct varve_slice part)
{
    if (writer->part_count == writer->part_cap) {
        size_t cap = writer->part_cap == 0 ? 16 : writer->part_cap * 2;
        struct varve_slice *grown = mem_realloc(writer->parts, cap * sizeof(*grown));
        if (grown == NULL)
            return VARVE_ENOMEM;
        writer->parts = grown;
        writer->part_cap = cap;
    }
    writer->parts[writer->part_count++] = part;
    return 0;
}

/* Where the payload is read from: part `index` from byte `skip` on. */
struct payload_cursor {
    const struct varve_slice *parts;
    size_t count;
    size_t index;
    size_t skip;
};

/* Appends to `heads` what stands next in the file. */
static int writer_add_copy(struct log_writer *writer, const void *data, size_t len)
{
    struct varve_slice *last = writer->part_count == 0 ? NULL
                                                       : &writer->parts[writer->part_count - 1];

    if (buf_append(&writer->heads, data, len) != 0)
        return VARVE_ENOMEM;
    if (last == NULL || last->data != NULL)
        return writer_add_part(writer, varve_slice(NULL, len));
    last->len += len;
    return 0;
}

static int writer_add_payload(struct log_writer *writer, struct varve_slice part)
{
    return writer->heads.len + part.len <= COPY_MAX_BYTES
               ? writer_add_copy(writer, part.data, part.len)
               : writer_add_part(writer, part);
}

/* Stages a header and the next `len` bytes of the payload behind it; completes the header last. */
static int writer_stage_piece(struct log_writer *writer, struct record_header *header,
                              struct payload_cursor *from, uint64_t len)
{
    static const uint8_t room[RECORD_HEADER_BYTES];
    size_t head_at = writer->heads.len;
    int rc = writer_add_copy(writer, room, sizeof(room));

    header->payload_len = len;
    header->payload_crc = writer->salt;
    for (uint64_t left = len; rc == 0 && left > 0;) {
        struct varve_slice part = from->parts[from->index];
        size_t take = part.len - from->skip;
        if (take > left)
            take = (size_t)left;
        if (take > 0) {
            part = varve_slice(part.data + from->skip, take);
            header->payload_crc = crc32c(header->payload_crc, part.data, part.len);
            rc = writer_add_payload(writer, part);
        }
        from->skip += take;
        left -= take;
        if (from->skip == from->parts[from->index].len) {
            from->index++;
            from->skip = 0;
        }
    }
    if (rc == 0)
        record_header_put(writer->heads.data + head_at, writer->salt, writer->file_no, header);
    writer->staged_bytes += RECORD_HEADER_BYTES + len;
    return rc;
}

/* What is staged now: to go back to. */
struct stage_mark {
    size_t parts;
    size_t last_len;
    size_t heads_len;
    uint64_t staged_bytes;
};

static struct stage_mark writer_mark(const struct log_writer *writer)
{
    return (struct stage_mark){
        .parts = writer->part_count,
        .last_len = writer->part_count == 0 ? 0 : writer->parts[writer->part_count - 1].len,
        .heads_len = writer->heads.len,
        .staged_bytes = writer->staged_bytes,
    };
}

static void writer_go_back(struct log_writer *writer, struct stage_mark mark)
{
    writer->part_count = mark.parts;
    if (mark.parts > 0)
        writer->parts[mark.parts - 1].len = mark.last_len;
    writer->heads.len = mark.heads_len;
    writer->staged_bytes = mark.staged_bytes;
}

int log_writer_stage(struct log_writer *writer, struct record_header header,
                     const struct varve_slice *parts, size_t part_count)
{
    struct payload_cursor from = {.parts = parts, .count = part_count};
    struct stage_mark before = writer_mark(writer);
    unsigned flags = header.flags;
    uint64_t left = 0;
    int rc;

    for (size_t i = 0; i < part_count; i++)
        left += parts[i].len;
    do {
        uint64_t len = left < RECORD_PIECE_MAX_BYTES ? left : RECORD_PIECE_MAX_BYTES;
        left -= len;
        header.flags = flags | (left > 0 ? RECORD_MORE : 0);
        rc = writer_stage_piece(writer, &header, &from, len);
        flags = RECORD_CONTINUES;
    } while (rc == 0 && left > 0);
    if (rc != 0)
        writer_go_back(writer, before);
    return rc;
}

int log_writer_stage_small(struct log_writer *writer, struct record_header header,
                           const void *payload, size_t len)
{
    struct varve_slice part = varve_slice(payload, len);

    CHECK(len <= LOG_SMALL_MAX_BYTES);
    CHECK(writer->heads.len + RECORD_HEADER_BYTES + len <= COPY_MAX_BYTES); /* so it is copied */
    return log_writer_stage(writer, header, &part, 1);
}

int log_writer_stage_short(struct log_writer *writer, uint64_t seq, struct varve_slice op,
                           size_t head_len)
{
    uint8_t crc[RECORD_SHORT_CRC_BYTES];

    CHECK(writer->part_count == 0 && op.len <= RECORD_SHORT_MAX_BYTES);
    put_u32(crc, record_short_crc(writer->salt, seq, varve_slice(op.data, head_len)));
    int rc = writer_add_copy(writer, crc, sizeof(crc));
    if (rc == 0)
        rc = writer_add_payload(writer, op);
    writer->staged_bytes = sizeof(crc) + op.len;
    if (rc != 0)
        log_writer_unstage(writer);
    return rc;
}

void log_writer_unstage(struct log_writer *writer)
{
    writer->part_count = 0;
    writer->staged_bytes = 0;
    buf_clear(&writer->heads);
}

int log_writer_flush(struct log_writer *writer, struct varve_err *err)
{
    const uint8_t *head = writer->heads.data;

    for (size_t i = 0; i < writer->part_count; i++) {
        if (writer->parts[i].data != NULL)
            continue;
        writer->parts[i].data = head;
        head += writer->parts[i].len;
    }
    int rc = writer->part_count == 0
                 ? 0
                 : writer->env->ops->write_at(writer->env, writer->file, writer->parts,
                                              writer->part_count, writer->offset, err);
    if (rc == 0)
        writer->offset += writer->staged_bytes;
    log_writer_unstage(writer);
    return MUTANT("ignore-write-error") ? 0 : rc;
}

void log_writer_write_behind(struct log_writer *writer, uint64_t from, uint64_t to)
{
    writer->env->ops->write_behind(writer->env, writer->file, from, to - from);
}

int log_writer_sync(struct log_writer *writer, struct varve_err *err)
{
    return writer->env->ops->sync(writer->env, writer->file, err);
}
