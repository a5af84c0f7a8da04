#include "zoo_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "lsm/log_reader.h"
#include "lsm/manifest.h"
#include "segment/segment_impl.h"

#define NAMES_MAX 64u
#define PAST_MAX 200u

/* ---- a directory ---- */

struct names {
    char names[NAMES_MAX][NAME_MAX_BYTES];
    size_t count;
};

static int take_name(void *arg, const char *name)
{
    struct names *names = arg;

    CHECK(names->count < NAMES_MAX && strlen(name) < NAME_MAX_BYTES);
    snprintf(names->names[names->count++], NAME_MAX_BYTES, "%.39s", name);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list_names(struct sim_env *disk, const char *dir, struct names *names)
{
    struct varve_env *env = sim_as_env(disk);

    names->count = 0;
    CHECK(env->ops->list_dir(env, dir, take_name, names, NULL) == 0);
    qsort(names->names, names->count, NAME_MAX_BYTES, by_name);
}

uint8_t *zoo_read_file(struct sim_env *disk, const char *dir, const char *name, size_t *len)
{
    struct varve_env *env = sim_as_env(disk);
    struct varve_file *file = NULL;
    char *path = name_path(dir, name);
    uint64_t size_bytes = 0;

    CHECK(path != NULL && env->ops->open(env, path, VARVE_OPEN_READ, &file, NULL) == 0);
    CHECK(env->ops->size(env, file, &size_bytes, NULL) == 0);
    uint8_t *bytes = mem_alloc((size_t)size_bytes + 1);
    CHECK(bytes != NULL);
    CHECK(env->ops->read_at(env, file, bytes, (size_t)size_bytes, 0, len, NULL) == 0);
    CHECK(*len == size_bytes);
    env->ops->close(env, file);
    mem_free(path);
    return bytes;
}

/* ---- the past ---- */

struct past_file {
    char name[NAME_MAX_BYTES];
    unsigned moment;
    uint8_t *bytes;
    size_t len;
};

struct zoo_past {
    struct past_file files[PAST_MAX];
    size_t count;
    unsigned moments;
};

struct zoo_past *zoo_past_create(void)
{
    struct zoo_past *past = mem_alloc_zero(sizeof(*past));

    CHECK(past != NULL);
    return past;
}

void zoo_past_destroy(struct zoo_past *past)
{
    for (size_t i = 0; i < past->count; i++)
        mem_free(past->files[i].bytes);
    mem_free(past);
}

void zoo_past_add(struct zoo_past *past, struct sim_env *disk, const char *dir)
{
    struct names names;

    list_names(disk, dir, &names);
    for (size_t i = 0; i < names.count; i++) {
        CHECK(past->count < PAST_MAX);
        struct past_file *file = &past->files[past->count++];
        memcpy(file->name, names.names[i], NAME_MAX_BYTES);
        file->moment = past->moments;
        file->bytes = zoo_read_file(disk, dir, file->name, &file->len);
    }
    past->moments++;
}

/* ---- donors ---- */

static int is_known(const struct zoo_file *file, const uint8_t *bytes, size_t len)
{
    if (len == file->len && memcmp(bytes, file->bytes, len) == 0)
        return 1;
    for (size_t i = 0; i < file->donor_count; i++)
        if (file->donors[i].len == len && memcmp(file->donors[i].bytes, bytes, len) == 0)
            return 1;
    return 0;
}

static void add_donor(struct zoo_file *file, const char *what, const uint8_t *bytes, size_t len,
                      int is_foreign)
{
    if (is_known(file, bytes, len))
        return;
    CHECK(file->donor_count < ZOO_DONORS_MAX);
    struct zoo_donor *donor = &file->donors[file->donor_count++];
    snprintf(donor->what, sizeof(donor->what), "%.47s", what);
    donor->len = len;
    donor->is_foreign = is_foreign;
    donor->bytes = mem_alloc(len + 1);
    CHECK(donor->bytes != NULL);
    memcpy(donor->bytes, bytes, len);
}

static void add_donors(struct zoo_db *zoo, struct zoo_file *file, const struct zoo_past *past,
                       struct sim_env *twin, const struct names *twin_names)
{
    char what[48];

    for (size_t i = 0; i < past->count; i++) {
        snprintf(what, sizeof(what), "as it was at %u", past->files[i].moment);
        if (strcmp(past->files[i].name, file->name) == 0)
            add_donor(file, what, past->files[i].bytes, past->files[i].len, 0);
    }
    for (size_t i = 0; i < zoo->file_count; i++)
        if (zoo->files[i].kind == file->kind)
            add_donor(file, zoo->files[i].name, zoo->files[i].bytes, zoo->files[i].len, 0);
    for (size_t i = 0; i < twin_names->count; i++) {
        size_t len;
        if (strcmp(twin_names->names[i], file->name) != 0)
            continue;
        uint8_t *bytes = zoo_read_file(twin, ZOO_DIR, file->name, &len);
        add_donor(file, "the twin's", bytes, len, 1);
        mem_free(bytes);
    }
}

/* ---- where things lie ---- */

static void mark(struct zoo_file *file, uint64_t from, uint64_t len)
{
    CHECK(from + len <= file->len);
    memset(file->vital + from, 1, (size_t)len);
}

static void add_piece(struct zoo_file *file, uint64_t offset, uint64_t len)
{
    CHECK(file->piece_count < ZOO_PIECES_MAX);
    file->pieces[file->piece_count++] = (struct zoo_piece){.offset = offset, .len = len};
}

static void add_record(struct zoo_db *zoo, const struct zoo_file *file,
                       const struct log_record *record)
{
    const struct record_header *header = &record->header;

    CHECK(zoo->record_count < ZOO_RECORDS_MAX);
    struct zoo_record *to = &zoo->records[zoo->record_count++];
    *to = (struct zoo_record){
        .file_no = file->file_no,
        .offset = record->offset,
        .end = record->end,
        .last_seq = header->first_seq - 1 +
                    (header->type == RECORD_OPS && !(header->flags & RECORD_MORE) ? header->op_count
                                                                                  : 0),
        .promised = header->promised,
    };
}

static void load_log(struct zoo_db *zoo, struct zoo_file *file, uint64_t limit)
{
    struct varve_env *env = sim_as_env(zoo->disk);
    struct log_reader *reader = NULL;
    struct log_record record;
    char *path = name_path(ZOO_DIR, file->name);
    int is_wal = file->kind == NAME_WAL;

    CHECK(path != NULL);
    CHECK(log_reader_open(env, path, is_wal ? WAL_MAGIC : MANIFEST_MAGIC, &zoo->id, file->file_no,
                          limit, &reader, NULL) == 0);
    mark(file, 0, FILE_HEADER_BYTES);
    while (log_reader_next(reader, &record, NULL) == 0) {
        add_piece(file, record.offset, record.end - record.offset);
        int is_long_ops = record.header.type == RECORD_OPS && !record.header.is_short;
        mark(file, record.offset, is_long_ops ? RECORD_HEADER_BYTES : record.end - record.offset);
        if (is_wal)
            add_record(zoo, file, &record);
        file->end = record.end;
    }
    log_reader_close(reader);
    mem_free(path);
}

/* What is in front of a data block is value blocks: one here, at most. */
static void load_data_blocks(struct zoo_file *file, const struct segment_index *index)
{
    uint64_t at = FILE_HEADER_BYTES;

    for (uint32_t i = 0; i < index->count; i++) {
        uint64_t end = index->offsets[i] + index->lens[i] + BLOCK_TRAILER_BYTES;
        if (index->offsets[i] > at) {
            add_piece(file, at, index->offsets[i] - at);
            mark(file, index->offsets[i] - BLOCK_TRAILER_BYTES, BLOCK_TRAILER_BYTES);
        }
        add_piece(file, index->offsets[i], end - index->offsets[i]);
        mark(file, index->offsets[i], 4);
        mark(file, end - BLOCK_TRAILER_BYTES, BLOCK_TRAILER_BYTES);
        at = end;
    }
}

static void load_segment(struct zoo_db *zoo, struct zoo_file *file)
{
    struct segment *segment = NULL;
    char *path = name_path(ZOO_DIR, file->name);

    CHECK(path != NULL);
    CHECK(segment_open(sim_as_env(zoo->disk), path, &zoo->id, file->file_no, NULL, &segment,
                       NULL) == 0);
    const struct properties *properties = segment_properties(segment);
    const struct segment_place *filter = &properties->filter;
    const struct segment_place *ranges = &properties->range_block;
    mark(file, 0, FILE_HEADER_BYTES);
    load_data_blocks(file, &segment->index);
    if (ranges->offset != 0) {
        add_piece(file, ranges->offset, ranges->len + BLOCK_TRAILER_BYTES);
        mark(file, ranges->offset, ranges->len + BLOCK_TRAILER_BYTES);
    }
    if (filter->offset != 0) {
        add_piece(file, filter->offset, filter->len + BLOCK_TRAILER_BYTES);
        mark(file, filter->offset, 8);
        mark(file, filter->offset + filter->len, BLOCK_TRAILER_BYTES);
    }
    add_piece(file, properties->index.offset, properties->index.len + BLOCK_TRAILER_BYTES);
    mark(file, properties->index.offset, file->len - properties->index.offset);
    segment_unref(segment);
    mem_free(path);
}

/* ---- all of it ---- */

static void load_named(struct zoo_db *zoo, struct zoo_file *file,
                       const struct manifest_state *state, uint64_t manifest_no)
{
    uint64_t limit = UINT64_MAX;

    if (file->kind == NAME_CURRENT) {
        file->named = 1;
        mark(file, 0, file->len);
    } else if (file->kind == NAME_MANIFEST) {
        file->named = file->file_no == manifest_no;
    }
    for (size_t i = 0; file->kind == NAME_WAL && i < state->wal_count; i++)
        if (state->wals[i].file_no == file->file_no) {
            file->named = 1;
            file->is_ended = state->wals[i].end != 0;
            if (file->is_ended)
                limit = state->wals[i].end;
        }
    for (size_t i = 0; file->kind == NAME_SEGMENT && i < state->segment_count; i++)
        file->named |= state->segments[i].file_no == file->file_no;
    if (!file->named)
        return;
    if (file->kind == NAME_SEGMENT)
        load_segment(zoo, file);
    else if (file->kind != NAME_CURRENT)
        load_log(zoo, file, limit);
}

void zoo_files_load(struct zoo_db *zoo, const struct zoo_past *past, struct sim_env *twin)
{
    struct varve_env *env = sim_as_env(zoo->disk);
    struct manifest *manifest = NULL;
    struct names names;
    struct names twin_names;
    uint64_t manifest_no = 0;

    CHECK(current_read(env, ZOO_DIR, &zoo->id, &manifest_no, NULL) == 0);
    CHECK(manifest_open(env, ZOO_DIR, &zoo->id, manifest_no, &manifest, NULL) == 0);
    list_names(zoo->disk, ZOO_DIR, &names);
    list_names(twin, ZOO_DIR, &twin_names);
    for (size_t i = 0; i < names.count; i++) {
        CHECK(zoo->file_count < ZOO_FILES_MAX);
        struct zoo_file *file = &zoo->files[zoo->file_count++];
        memcpy(file->name, names.names[i], NAME_MAX_BYTES);
        file->kind = name_parse(file->name, &file->file_no);
        file->bytes = zoo_read_file(zoo->disk, ZOO_DIR, file->name, &file->len);
        file->vital = mem_alloc_zero(file->len + 1);
        CHECK(file->vital != NULL);
        load_named(zoo, file, manifest_state(manifest), manifest_no);
    }
    for (size_t i = 0; i < zoo->file_count; i++)
        add_donors(zoo, &zoo->files[i], past, twin, &twin_names);
    zoo->flushed_seq = manifest_state(manifest)->flushed_seq;
    manifest_close(manifest);
}

void zoo_files_free(struct zoo_db *zoo)
{
    for (size_t i = 0; i < zoo->file_count; i++) {
        struct zoo_file *file = &zoo->files[i];
        for (size_t d = 0; d < file->donor_count; d++)
            mem_free(file->donors[d].bytes);
        mem_free(file->bytes);
        mem_free(file->vital);
    }
}
