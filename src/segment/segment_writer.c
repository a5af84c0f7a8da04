#include "segment/segment_writer.h"

#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/thread.h"
#include "segment/block_walk.h"
#include "segment/collector.h"
#include "segment/segment_impl.h"
#include "varve/batch.h"

#define WRITE_BYTES ((size_t)1024 * 1024)
#define HASHES_FIRST 1024

struct segment_writer {
    struct segment_writer_options options;
    struct varve_file *file;
    char *path;
    uint64_t file_no;
    uint32_t salt;
    int made;     /* the file is ours to remove */
    int finished; /* and then no longer */
    uint8_t *out; /* WRITE_BYTES */
    size_t out_len;
    uint64_t written; /* bytes of the file before out */
    struct block_builder data;
    uint32_t join_left; /* entries to come before the block may end: of a block that joins it */
    struct block_builder ranges;
    struct block_walk copied; /* scratch */
    struct index_builder index;
    struct buf compressed; /* scratch */
    struct buf last_key;
    uint64_t last_seq;
    size_t separator_len; /* of the block being built: the beginning of its first key */
    uint8_t separator[INDEX_KEY_MAX_BYTES];
    struct bloom_hash *hashes;
    uint64_t hash_count;
    uint64_t hash_cap;
    uint64_t value_bytes;
    struct collector collector;
    struct hiding hiding;
};

static int writer_fail(const struct segment_writer *writer, int rc, struct varve_err *err)
{
    return err_wrap(err, rc, "write %s", writer->path);
}

static int writer_no_memory(const struct segment_writer *writer, int rc, struct varve_err *err)
{
    if (rc == VARVE_EFULL)
        err_set(err, rc, "a block or the index is full");
    else
        rc = err_set(err, VARVE_ENOMEM, "no memory");
    return writer_fail(writer, rc, err);
}

/* ---- bytes ---- */

static uint64_t writer_offset(const struct segment_writer *writer)
{
    return writer->written + writer->out_len;
}

static int writer_flush(struct segment_writer *writer, struct varve_err *err)
{
    const struct segment_writer_options *options = &writer->options;
    struct varve_slice part = varve_slice(writer->out, writer->out_len);

    if (part.len == 0)
        return 0;
    if (options->pace != NULL)
        options->pace(options->pace_arg, part.len);
    int rc = options->env->ops->write_at(options->env, writer->file, &part, 1, writer->written,
                                         err);
    if (rc != 0)
        return writer_fail(writer, rc, err);
    options->env->ops->write_behind(options->env, writer->file, writer->written, part.len);
    writer->written += part.len;
    writer->out_len = 0;
    return 0;
}

static int writer_put(struct segment_writer *writer, const void *bytes, size_t len,
                      struct varve_err *err)
{
    const uint8_t *at = bytes;
    int rc = 0;

    while (rc == 0 && len > 0) {
        size_t take = WRITE_BYTES - writer->out_len;
        if (take > len)
            take = len;
        memcpy(writer->out + writer->out_len, at, take);
        writer->out_len += take;
        at += take;
        len -= take;
        if (writer->out_len == WRITE_BYTES)
            rc = writer_flush(writer, err);
    }
    return rc;
}

/* Writes a block as it is given, and its trailer; *place is where it lies. */
static int writer_put_stored(struct segment_writer *writer, enum block_kind kind,
                             uint8_t compression, struct varve_slice bytes,
                             struct segment_place *place, struct varve_err *err)
{
    uint8_t trailer[BLOCK_TRAILER_BYTES];

    place->offset = writer_offset(writer);
    place->len = bytes.len;
    block_trailer_put(trailer, writer->salt, place->offset, kind, compression, bytes);
    int rc = writer_put(writer, bytes.data, bytes.len, err);
    return rc == 0 ? writer_put(writer, trailer, sizeof(trailer), err) : rc;
}

/* Writes a block, compressed where it pays. */
static int writer_put_block(struct segment_writer *writer, enum block_kind kind,
                            struct varve_slice payload, struct segment_place *place,
                            struct varve_err *err)
{
    struct varve_slice bytes;
    int compress = writer->options.compress && kind != BLOCK_FILTER;
    uint8_t compression = block_compress(payload, compress, &writer->compressed, &bytes);

    return writer_put_stored(writer, kind, compression, bytes, place, err);
}

/* ---- making one ---- */

static int writer_start(struct segment_writer *writer, struct varve_err *err)
{
    const struct segment_writer_options *options = &writer->options;
    uint8_t header[FILE_HEADER_BYTES];
    int rc;

    writer->out = mem_alloc(WRITE_BYTES);
    if (writer->out == NULL)
        return writer_no_memory(writer, VARVE_ENOMEM, err);
    rc = options->env->ops->open(options->env, writer->path,
                                 VARVE_OPEN_WRITE | VARVE_OPEN_CREATE | VARVE_OPEN_EXCLUSIVE,
                                 &writer->file, err);
    if (rc != 0)
        return writer_fail(writer, rc, err);
    writer->made = 1;
    file_header_put(header, SEGMENT_MAGIC, options->id, writer->file_no);
    return writer_put(writer, header, sizeof(header), err);
}

int segment_writer_create(const struct segment_writer_options *options, const char *path,
                          uint64_t file_no, struct segment_writer **out, struct varve_err *err)
{
    struct segment_writer *writer = mem_alloc_zero(sizeof(*writer));
    char *copy = mem_strdup(path);

    *out = NULL;
    if (writer == NULL || copy == NULL) {
        mem_free(copy);
        mem_free(writer);
        return err_set(err, VARVE_ENOMEM, "write %s: no memory", path);
    }
    writer->options = *options;
    writer->path = copy;
    writer->file_no = file_no;
    writer->salt = file_salt(options->id, file_no);
    block_builder_init(&writer->data);
    block_builder_init(&writer->ranges);
    block_walk_init(&writer->copied);
    index_builder_init(&writer->index);
    buf_init(&writer->compressed, SCRATCH_MAX_BYTES);
    buf_init(&writer->last_key, VARVE_KEY_MAX_BYTES);
    collector_init(&writer->collector, options->count_group, options->group_arg);
    hiding_init(&writer->hiding, options->older_may_hold, options->older_arg);
    int rc = writer_start(writer, err);
    if (rc != 0) {
        segment_writer_destroy(writer);
        return rc;
    }
    *out = writer;
    return 0;
}

void segment_writer_destroy(struct segment_writer *writer)
{
    if (writer == NULL)
        return;
    struct varve_env *env = writer->options.env;
    env->ops->close(env, writer->file);
    if (writer->made && !writer->finished)
        (void)env->ops->remove(env, writer->path, NULL);
    block_builder_deinit(&writer->data);
    block_builder_deinit(&writer->ranges);
    block_walk_deinit(&writer->copied);
    index_builder_deinit(&writer->index);
    buf_deinit(&writer->compressed);
    buf_deinit(&writer->last_key);
    mem_free(writer->hashes);
    mem_free(writer->out);
    mem_free(writer->path);
    mem_free(writer);
}

/* ---- entries ---- */

static int writer_index_block(struct segment_writer *writer, const struct segment_place *place,
                              struct varve_err *err)
{
    int rc = index_builder_add(&writer->index,
                               varve_slice(writer->separator, writer->separator_len), place->offset,
                               place->len);

    return rc == 0 ? 0 : writer_no_memory(writer, rc, err);
}

static int writer_finish_block(struct segment_writer *writer, struct varve_err *err)
{
    struct segment_place place;
    struct varve_slice payload;

    if (writer->data.count == 0)
        return 0;
    int rc = block_builder_finish(&writer->data, &payload);
    if (rc != 0)
        return writer_no_memory(writer, rc, err);
    rc = writer_put_block(writer, BLOCK_DATA, payload, &place, err);
    thread_give_way();
    return rc == 0 ? writer_index_block(writer, &place, err) : rc;
}

static int writer_add_hash(struct segment_writer *writer, struct varve_slice key)
{
    if (writer->options.bits_per_key == 0)
        return 0;
    if (writer->hash_count == writer->hash_cap) {
        uint64_t cap = writer->hash_cap == 0 ? HASHES_FIRST : writer->hash_cap * 2;
        struct bloom_hash *grown = mem_realloc(writer->hashes, cap * sizeof(*grown));
        if (grown == NULL)
            return VARVE_ENOMEM;
        writer->hashes = grown;
        writer->hash_cap = cap;
    }
    writer->hashes[writer->hash_count++] = bloom_hash(key);
    return 0;
}

/* The next piece of a value, straight into the output. Returns its length. */
static int value_piece(struct segment_writer *writer, const struct entry *entry, size_t at,
                       size_t *len, struct varve_err *err)
{
    size_t left = entry->chunk.value.len - at;
    uint8_t *to = writer->out + writer->out_len;

    *len = WRITE_BYTES - writer->out_len;
    if (*len > left)
        *len = left;
    if (!entry_value_apart(entry)) {
        memcpy(to, entry->chunk.value.data + at, *len);
        return 0;
    }
    int rc = segment_read_value(entry->value_segment, entry->value_offset, at, to, *len, err);
    return rc == 0 ? 0 : err_wrap(err, rc, "copy a value to %s", writer->path);
}

/* The place of what is being read, for an error. */
static int record_crc_fail(const struct segment_writer *writer, const struct entry *entry,
                           struct varve_err *err)
{
    int rc = err_set(err, VARVE_ECORRUPT, "the CRC of the record with sequence %llu does not match",
                     (unsigned long long)entry->seq);

    if (entry_value_apart(entry))
        rc = segment_fail(entry->value_segment, entry->value_offset, rc, err);
    return err_wrap(err, rc, "copy to %s", writer->path);
}

static int writer_put_plain(struct segment_writer *writer, const struct entry *entry,
                            uint64_t *offset, struct varve_err *err)
{
    const struct chunk *chunk = &entry->chunk;
    uint32_t record_crc = chunk_crc_begin(chunk->kind, chunk->expire_ms, chunk->key.len);
    uint8_t trailer[BLOCK_TRAILER_BYTES];
    int rc = 0;

    *offset = writer_offset(writer);
    uint32_t block_crc = block_crc_begin(writer->salt, *offset);
    record_crc = crc32c(record_crc, chunk->key.data, chunk->key.len);
    for (size_t at = 0; rc == 0 && at < chunk->value.len;) {
        size_t len;
        rc = value_piece(writer, entry, at, &len, err);
        if (rc != 0)
            return rc;
        block_crc = crc32c(block_crc, writer->out + writer->out_len, len);
        record_crc = crc32c(record_crc, writer->out + writer->out_len, len);
        writer->out_len += len;
        at += len;
        if (writer->out_len == WRITE_BYTES)
            rc = writer_flush(writer, err);
    }
    if (rc != 0)
        return rc;
    if (record_crc != chunk->crc && !MUTANT("copy-unchecked"))
        return record_crc_fail(writer, entry, err);
    block_trailer_put_crc(trailer, block_crc, BLOCK_VALUE, 0);
    writer->value_bytes += chunk->value.len;
    return writer_put(writer, trailer, sizeof(trailer), err);
}

/* A value that lies in memory, compressed; 0: it is not worth it. Returns 1, or an error. */
static int writer_pack_value(struct segment_writer *writer, const struct entry *entry,
                             struct segment_place *place, struct varve_err *err)
{
    struct varve_slice bytes;
    uint8_t compression = block_compress(entry->chunk.value, writer->options.compress,
                                         &writer->compressed, &bytes);

    if (compression == 0)
        return 0;
    if (chunk_crc(&entry->chunk) != entry->chunk.crc && !MUTANT("copy-unchecked"))
        return record_crc_fail(writer, entry, err);
    int rc = writer_put_stored(writer, BLOCK_VALUE, compression, bytes, place, err);
    return rc == 0 ? 1 : rc;
}

/* A compressed value of another segment, as it is: what lies under its block's CRC was its record's when it was
 * compressed, and is compared again when the segment is read back. */
static int writer_copy_packed(struct segment_writer *writer, const struct entry *entry,
                              struct segment_place *place, struct varve_err *err)
{
    struct buf *bytes = &writer->compressed;
    size_t len = entry->value_packed_len;

    buf_clear(bytes);
    if (buf_reserve(bytes, len + BLOCK_TRAILER_BYTES) != 0)
        return writer_no_memory(writer, VARVE_ENOMEM, err);
    int rc = segment_read_packed(entry, SEGMENT_WAIT, bytes->data, err);
    if (rc != 0)
        return err_wrap(err, rc, "copy a value to %s", writer->path);
    uint8_t compression = block_compression(bytes->data + len);
    rc = writer_put_stored(writer, BLOCK_VALUE, compression, varve_slice(bytes->data, len), place,
                           err);
    return rc == 0 ? 1 : rc;
}

/* Puts the value into a block of its own; *packed_len: of its payload if it is compressed, else 0. */
static int writer_put_value(struct segment_writer *writer, const struct entry *entry,
                            uint64_t *offset, uint32_t *packed_len, struct varve_err *err)
{
    struct segment_place place;
    int rc = entry->value_packed_len > 0 ? writer_copy_packed(writer, entry, &place, err)
             : entry_value_apart(entry)  ? 0 /* it was not worth it, or not wished */
                                         : writer_pack_value(writer, entry, &place, err);

    *packed_len = 0;
    if (rc == 0)
        return writer_put_plain(writer, entry, offset, err);
    if (rc < 0)
        return rc;
    writer->value_bytes += entry->chunk.value.len;
    *offset = place.offset;
    *packed_len = (uint32_t)place.len;
    return 0;
}

/* A block begins with key. */
static void writer_take_separator(struct segment_writer *writer, struct varve_slice key)
{
    writer->separator_len = 0;
    if (writer->index.count > 0)
        writer->separator_len = index_separator_len(buf_slice(&writer->last_key), key);
    if (writer->separator_len > 0)
        memcpy(writer->separator, key.data, writer->separator_len);
}

/* Begins a block at a key that is not the last one's, if it is due. All versions of a key lie in one
 * block: so a search has one block to look at. */
static int writer_new_key(struct segment_writer *writer, struct varve_slice key,
                          struct varve_err *err)
{
    int rc = 0;

    if (writer->data.count > 0 && writer->data.raw_bytes >= writer->options.block_size_bytes &&
        writer->join_left == 0)
        rc = writer_finish_block(writer, err);
    if (rc == 0 && writer->data.count == 0)
        writer_take_separator(writer, key);
    if (rc != 0)
        return rc;
    rc = writer_add_hash(writer, key);
    if (rc == 0) {
        buf_clear(&writer->last_key);
        rc = buf_append(&writer->last_key, key.data, key.len);
    }
    return rc == 0 ? 0 : writer_no_memory(writer, rc, err);
}

/* *same_key: it is an older version of the key of the entry before it. */
static int entry_check(const struct segment_writer *writer, const struct entry *entry,
                       int *same_key, struct varve_err *err)
{
    const struct chunk *chunk = &entry->chunk;
    int large = chunk->value.len >= BLOCK_LARGE_VALUE_BYTES;
    int order = -1;

    if (writer->collector.properties.entries > 0)
        order = varve_slice_compare(buf_slice(&writer->last_key), chunk->key);
    *same_key = order == 0;
    if (order > 0 || (order == 0 && entry->seq >= writer->last_seq))
        return err_set(err, VARVE_ECORRUPT, "entries out of order at sequence %llu",
                       (unsigned long long)entry->seq);
    if (entry_value_apart(entry) && (!large || entry->value_segment == NULL))
        return err_set(err, VARVE_ECORRUPT, "the value of sequence %llu is missing",
                       (unsigned long long)entry->seq);
    return 0;
}

static void writer_note(struct segment_writer *writer, const struct entry *entry, int same_key)
{
    const struct chunk *chunk = &entry->chunk;

    collector_add(&writer->collector, entry, same_key);
    if (!same_key)
        hiding_add(&writer->hiding, chunk->key, chunk->key.len + chunk->value.len,
                   chunk->kind == CHUNK_DELETE);
    writer->last_seq = entry->seq;
}

int segment_writer_add(struct segment_writer *writer, const struct entry *entry,
                       struct varve_err *err)
{
    const struct chunk *chunk = &entry->chunk;
    uint64_t value_offset = 0;
    uint32_t packed_len = 0;
    int same_key;
    int rc = entry_check(writer, entry, &same_key, err);

    CHECK(chunk->kind == CHUNK_PUT || chunk->kind == CHUNK_DELETE);
    if (rc != 0)
        return writer_fail(writer, rc, err);
    if (!same_key)
        rc = writer_new_key(writer, chunk->key, err);
    if (rc != 0)
        return rc;
    if (chunk->kind == CHUNK_PUT && chunk->value.len >= BLOCK_LARGE_VALUE_BYTES)
        rc = writer_put_value(writer, entry, &value_offset, &packed_len, err);
    else if (chunk_crc(chunk) != chunk->crc && !MUTANT("copy-unchecked"))
        rc = record_crc_fail(writer, entry, err);
    if (rc != 0)
        return rc;
    rc = block_builder_add(&writer->data, entry, value_offset, packed_len);
    if (rc != 0)
        return writer_no_memory(writer, rc, err);
    writer_note(writer, entry, same_key);
    writer->join_left -= writer->join_left > 0;
    return 0;
}

/* What the segment has to know of the entries of a copied block. */
static int writer_note_block(struct segment_writer *writer, const struct iter_block *block,
                             struct varve_err *err)
{
    struct block_walk *walk = &writer->copied;
    int rc = block_walk_begin(walk, block->payload, 0, err);

    if (rc != 0)
        return writer_fail(writer, rc, err);
    while ((rc = block_walk_next(walk, err)) > 0) {
        if (writer_add_hash(writer, walk->entry.chunk.key) != 0)
            return writer_no_memory(writer, VARVE_ENOMEM, err);
        writer_note(writer, &walk->entry, 0);
    }
    if (rc < 0)
        return writer_fail(writer, rc, err);
    buf_clear(&writer->last_key);
    rc = buf_append(&writer->last_key, walk->key.data, walk->key.len);
    return rc == 0 ? 0 : writer_no_memory(writer, rc, err);
}

int segment_writer_copy(struct segment_writer *writer, const struct iter_block *block,
                        struct varve_err *err)
{
    size_t small = writer->options.block_size_bytes / 2;
    struct segment_place place;

    if (writer->join_left > 0 || block->payload.len < small)
        return 0;
    if (writer->data.count > 0 && writer->data.raw_bytes < small) {
        /* A block that joined before would grow with each merge. */
        if (block->payload.len <= 3 * small || MUTANT("join-any"))
            writer->join_left = block->count;
        return 0;
    }
    if (writer->collector.properties.entries > 0 &&
        varve_slice_compare(buf_slice(&writer->last_key), block->first) >= 0)
        return writer_fail(
            writer, err_set(err, VARVE_ECORRUPT, "a block to be copied is out of order"), err);
    int rc = writer_finish_block(writer, err);
    if (rc != 0)
        return rc;
    writer_take_separator(writer, block->first);
    rc = writer_note_block(writer, block, err);
    if (rc == 0)
        rc = writer_put_stored(writer, BLOCK_DATA, block->compression, block->stored, &place, err);
    if (rc == 0)
        rc = writer_index_block(writer, &place, err);
    return rc == 0 ? 1 : rc;
}

int segment_writer_add_range(struct segment_writer *writer, const struct entry *entry,
                             struct varve_err *err)
{
    CHECK(entry->chunk.kind == CHUNK_RANGE_DELETE);
    if (chunk_crc(&entry->chunk) != entry->chunk.crc)
        return record_crc_fail(writer, entry, err);
    int rc = block_builder_add(&writer->ranges, entry, 0, 0);
    if (rc != 0)
        return writer_no_memory(writer, rc, err);
    collector_add_range(&writer->collector, entry);
    return 0;
}

/* ---- where to cut ---- */

uint64_t segment_writer_size_bytes(const struct segment_writer *writer)
{
    return writer_offset(writer) + writer->data.raw_bytes + writer->ranges.raw_bytes +
           writer->index.bytes.len +
           bloom_size_bytes(writer->hash_count, writer->options.bits_per_key) +
           SEGMENT_FOOTER_BYTES;
}

uint64_t segment_writer_entries(const struct segment_writer *writer)
{
    return writer->collector.properties.entries;
}

int segment_writer_may_cut(const struct segment_writer *writer, struct varve_slice next_key)
{
    struct segment_bound upper;
    struct segment_bound lower;

    if (writer->collector.properties.entries == 0)
        return 1;
    segment_bound_upper(&upper, buf_slice(&writer->last_key));
    segment_bound_lower(&lower, next_key);
    return upper.len > 0 &&
           varve_slice_compare(segment_bound_slice(&upper), segment_bound_slice(&lower)) <= 0;
}

/* ---- the end ---- */

static int writer_finish_ranges(struct segment_writer *writer, struct segment_place *place,
                                struct varve_err *err)
{
    struct varve_slice payload;

    if (writer->ranges.count == 0)
        return 0;
    int rc = block_builder_finish(&writer->ranges, &payload);
    if (rc != 0)
        return writer_no_memory(writer, rc, err);
    return writer_put_block(writer, BLOCK_RANGES, payload, place, err);
}

static int writer_finish_filter(struct segment_writer *writer, struct segment_place *place,
                                struct varve_err *err)
{
    size_t size = bloom_size_bytes(writer->hash_count, writer->options.bits_per_key);

    if (size == 0 || size > FILTER_MAX_BYTES)
        return 0;
    uint8_t *filter = mem_alloc_zero(size);
    if (filter == NULL)
        return writer_no_memory(writer, VARVE_ENOMEM, err);
    bloom_build(filter, size, writer->hashes, writer->hash_count, writer->options.bits_per_key);
    int rc = writer_put_block(writer, BLOCK_FILTER, varve_slice(filter, size), place, err);
    mem_free(filter);
    return rc;
}

static int writer_finish_properties(struct segment_writer *writer, struct segment_place *place,
                                    struct varve_err *err)
{
    struct buf bytes;

    buf_init(&bytes, PROPERTIES_MAX_BYTES);
    int rc = properties_put(&writer->collector.properties, &bytes);
    if (rc != 0)
        rc = writer_no_memory(writer, rc, err);
    else
        rc = writer_put_block(writer, BLOCK_PROPERTIES, buf_slice(&bytes), place, err);
    buf_deinit(&bytes);
    return rc;
}

static int writer_finish_footer(struct segment_writer *writer, const struct segment_place *place,
                                struct varve_err *err)
{
    uint8_t footer[SEGMENT_FOOTER_BYTES] = {0};

    memcpy(footer, SEGMENT_FOOTER_MAGIC, 8);
    put_u32(footer + 8, FORMAT_VERSION);
    put_u64(footer + 16, place->offset);
    put_u64(footer + 24, place->len);
    put_u64(footer + 32, writer_offset(writer) + sizeof(footer));
    put_u32(footer + 60, crc32c(writer->salt, footer, 60));
    return writer_put(writer, footer, sizeof(footer), err);
}

int segment_writer_finish(struct segment_writer *writer, struct varve_err *err)
{
    struct properties *properties = &writer->collector.properties;
    struct segment_place place;
    struct varve_slice payload;
    int rc = writer_finish_block(writer, err);

    collector_finish(&writer->collector, buf_slice(&writer->last_key));
    properties->value_bytes = writer->value_bytes;
    properties->hiding_known = writer->options.older_may_hold != NULL;
    properties->hiding_bytes = hiding_bytes(&writer->hiding);
    if (rc == 0)
        rc = writer_finish_ranges(writer, &properties->range_block, err);
    if (rc == 0)
        rc = writer_finish_filter(writer, &properties->filter, err);
    if (rc != 0)
        return rc;
    rc = index_builder_finish(&writer->index, &payload);
    if (rc != 0)
        return writer_no_memory(writer, rc, err);
    rc = writer_put_block(writer, BLOCK_INDEX, payload, &properties->index, err);
    if (rc == 0)
        rc = writer_finish_properties(writer, &place, err);
    if (rc == 0)
        rc = writer_finish_footer(writer, &place, err);
    if (rc == 0)
        rc = writer_flush(writer, err);
    if (rc != 0)
        return rc;
    rc = writer->options.env->ops->sync(writer->options.env, writer->file, err);
    if (rc != 0)
        return writer_fail(writer, rc, err);
    writer->finished = 1;
    return 0;
}
