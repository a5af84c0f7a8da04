#include "explain.h"

#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "lsm/log_reader.h"
#include "lsm/manifest.h"
#include "segment/segment.h"

/* ---- how short the log may be ---- */

static int is_header_left(const struct zoo_file *file, const struct attacked *attacked,
                          uint64_t offset)
{
    return !attacked->is_missing && offset + RECORD_HEADER_BYTES <= attacked->len &&
           memcmp(file->bytes + offset, attacked->bytes + offset, RECORD_HEADER_BYTES) == 0;
}

uint64_t explain_floor(const struct zoo_db *zoo, const struct attack *attack,
                       const struct attacked *attacked)
{
    const struct zoo_file *file = &zoo->files[attack->file];
    struct log_place promised = {0};
    uint64_t floor = zoo->flushed_seq;

    if (file->kind != NAME_WAL || !file->named || file->is_ended)
        return zoo->count;
    for (size_t i = 0; i < zoo->record_count; i++) {
        const struct zoo_record *record = &zoo->records[i];
        if ((record->file_no != file->file_no || is_header_left(file, attacked, record->offset)) &&
            log_place_before(promised, record->promised))
            promised = record->promised;
    }
    for (size_t i = 0; i < zoo->record_count; i++) {
        const struct zoo_record *record = &zoo->records[i];
        struct log_place end = {.file_no = record->file_no, .offset = record->end};
        if (!log_place_before(promised, end) && record->last_seq > floor)
            floor = record->last_seq;
    }
    return floor;
}

/* ---- why nothing was seen ---- */

static uint64_t first_difference(const struct zoo_file *file, const struct attacked *attacked)
{
    uint64_t at = 0;

    while (at < file->len && at < attacked->len && file->bytes[at] == attacked->bytes[at])
        at++;
    return at;
}

/* Where reading the log ends; 0: it is refused. */
static uint64_t log_end(const struct zoo_db *zoo, const struct zoo_file *file, const char *path,
                        struct sim_env *image)
{
    struct log_reader *reader = NULL;
    struct log_record record;
    uint64_t end = 0;

    if (log_reader_open(sim_as_env(image), path, WAL_MAGIC, &zoo->id, file->file_no, UINT64_MAX,
                        &reader, NULL) == 0) {
        while (log_reader_next(reader, &record, NULL) == 0)
            ;
        end = log_reader_offset(reader);
    }
    log_reader_close(reader);
    return end;
}

static uint64_t manifest_end(const struct zoo_db *zoo, const struct zoo_file *file,
                             struct sim_env *image)
{
    struct manifest *manifest = NULL;
    uint64_t end = 0;

    if (manifest_open(sim_as_env(image), ZOO_DIR, &zoo->id, file->file_no, &manifest, NULL) == 0)
        end = manifest_read_end(manifest).offset;
    manifest_close(manifest);
    return end;
}

/* Does reading a log or manifest end before, or in, the record that was hit? */
static int record_is_refused(const struct zoo_db *zoo, const struct zoo_file *file, uint64_t at,
                             struct sim_env *image)
{
    char *path = name_path(ZOO_DIR, file->name);

    CHECK(path != NULL);
    uint64_t end = file->kind == NAME_WAL ? log_end(zoo, file, path, image)
                                          : manifest_end(zoo, file, image);
    mem_free(path);
    return end != 0 && end <= at;
}

static int segment_is_refused(const struct zoo_db *zoo, const struct zoo_file *file,
                              struct sim_env *image)
{
    struct segment *segment = NULL;
    char *path = name_path(ZOO_DIR, file->name);
    struct varve_err err = {0};

    CHECK(path != NULL);
    int rc = segment_open(sim_as_env(image), path, &zoo->id, file->file_no, NULL, &segment, &err);
    if (rc == 0)
        rc = segment_verify(segment, &err);
    segment_unref(segment);
    mem_free(path);
    return rc == VARVE_ECORRUPT && strstr(err_text(&err), file->name) != NULL;
}

enum reason explain_unharmed(const struct zoo_db *zoo, const struct attack *attack,
                             const struct attacked *attacked, struct sim_env *image)
{
    const struct zoo_file *file = &zoo->files[attack->file];
    uint64_t at = first_difference(file, attacked);

    if (file->kind == NAME_LOCK)
        return REASON_NEVER_READ;
    if (!file->named)
        return REASON_NOT_NAMED;
    if (file->kind == NAME_SEGMENT)
        return segment_is_refused(zoo, file, image) ? REASON_DEAD_BLOCK : REASON_NONE;
    if (file->kind != NAME_WAL && file->kind != NAME_MANIFEST)
        return REASON_NONE;
    if (attacked->is_missing)
        return REASON_NONE;
    if (at >= file->end)
        return REASON_BEHIND_END;
    if (!record_is_refused(zoo, file, at, image))
        return REASON_NONE;
    return file->kind == NAME_WAL ? REASON_TAIL_RECORD : REASON_LAST_EDIT;
}

/* ---- what an error says ---- */

int explain_fits(const struct zoo_db *zoo, const struct attack *attack,
                 const struct attacked *attacked, const struct varve_err *err)
{
    const struct zoo_file *file = &zoo->files[attack->file];
    const char *text = err_text(err);
    int names_it = strstr(text, file->name) != NULL;

    if (err->code != VARVE_ECORRUPT && err->code != VARVE_EFOREIGN && err->code != VARVE_EVERSION)
        return 0;
    if (attack->kind == ATTACK_DONOR && file->donors[attack->a].is_foreign &&
        err->code != VARVE_EFOREIGN)
        return 0;
    /* A manifest that lost its end, or another CURRENT, is whole in itself: what tells is a file that does
     * not fit it. */
    if (file->kind == NAME_MANIFEST && strstr(text, "manifest") != NULL)
        return 1;
    if (file->kind == NAME_CURRENT && strstr(text, "MANIFEST-") != NULL)
        return attack->kind == ATTACK_DONOR || attack->kind == ATTACK_DONOR_SECTOR;
    /* CURRENT is one line; what is gone or of another length has no place. */
    if (file->kind == NAME_CURRENT || err->code != VARVE_ECORRUPT || attacked->is_missing ||
        attacked->len != file->len)
        return names_it;
    return names_it && strstr(text, "offset ") != NULL;
}
