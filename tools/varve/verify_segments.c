/* Each segment by itself, read anew, every byte of it. */
#include <inttypes.h>

#include "base/err.h"
#include "base/mem.h"
#include "content.h"
#include "types/keycode.h"
#include "verify.h"

struct one {
    struct verify *verify;
    uint64_t file_no;
};

static void take_finding(void *arg, const struct varve_err *err)
{
    struct one *one = arg;

    verify_finding_in(one->verify, NAME_SEGMENT, one->file_no, err);
}

/* *segment stays open if nothing is wrong with it, else it is NULL. */
static int check_segment(struct verify *verify, const struct manifest_segment *named,
                         struct segment **segment, struct varve_err *err)
{
    struct one one = {.verify = verify, .file_no = named->file_no};
    struct segment_verify_options options = {
        .finding = take_finding,
        .arg = &one,
        .group = verify->raw ? NULL : keycode_count_group,
    };
    uint64_t before = verify->findings;
    int rc = content_open_segment(&verify->dir, named, segment, err);

    if (rc == 0) {
        verify->entries += segment_properties(*segment)->entries;
        rc = segment_verify_all(*segment, &options, err);
    }
    verify_count_file(verify, NAME_SEGMENT, named->file_no);
    if (verify_is_ours(rc))
        return rc;
    /* What is missing or has a wrong size was named with the manifest. */
    if (rc != 0 && verify->findings == before)
        verify_finding_in(verify, NAME_SEGMENT, named->file_no, err);
    err_clear(err);
    if (verify->findings != before) {
        segment_unref(*segment);
        *segment = NULL;
    }
    return 0;
}

/* Sequences of segments lie below what the manifest calls flushed. */
static void check_flushed(struct verify *verify, const struct segment *segment)
{
    const struct manifest_state *state = manifest_state(verify->dir.manifest);
    const struct properties *properties = segment_properties(segment);
    struct varve_err err = {0};

    if (properties->seq_max <= state->flushed_seq)
        return;
    err_set(&err, VARVE_ECORRUPT,
            "it holds sequence %" PRIu64 ", the manifest says that %" PRIu64 " is the last flushed",
            properties->seq_max, state->flushed_seq);
    verify_finding_in(verify, NAME_SEGMENT, segment_file_no(segment), &err);
}

static int check_together(struct verify *verify, struct version_add *added, size_t count,
                          struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(verify->dir.manifest);
    struct version_change change = {.added = added,
                                    .added_count = count,
                                    .groups = state->groups,
                                    .group_count = state->group_count,
                                    .flushed_seq = state->flushed_seq};
    struct version *before = version_create();
    struct version *version = NULL;
    int rc = before == NULL ? err_set(err, VARVE_ENOMEM, "no memory for the segments") : 0;

    for (size_t i = 0; rc == 0 && i < count; i++)
        check_flushed(verify, added[i].segment);
    if (rc == 0)
        rc = version_apply(before, &change, &version, err);
    if (rc == VARVE_ECORRUPT) {
        verify_finding_in(verify, NAME_MANIFEST, verify->dir.manifest_no, err);
        rc = 0;
    } else if (rc == 0) {
        rc = verify_levels(verify, version, err);
    }
    version_unref(version);
    version_unref(before);
    return rc;
}

static int check_named(struct verify *verify, struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(verify->dir.manifest);
    struct version_add *added = mem_alloc_zero((state->segment_count + 1) * sizeof(*added));
    size_t good = 0;
    int rc = added == NULL ? err_set(err, VARVE_ENOMEM, "no memory for the segments") : 0;

    for (size_t i = 0; rc == 0 && i < state->segment_count; i++) {
        const struct manifest_segment *named = &state->segments[i];
        const struct dir_file *file = dir_find(&verify->dir, NAME_SEGMENT, named->file_no);
        if (file == NULL || file->size_bytes != named->size_bytes)
            continue;
        added[good] = (struct version_add){.level = named->level, .run_no = named->run_no};
        rc = check_segment(verify, named, &added[good].segment, err);
        good += added[good].segment != NULL;
    }
    if (rc == 0 && good == state->segment_count)
        rc = check_together(verify, added, good, err);
    for (size_t i = 0; added != NULL && i < good; i++)
        segment_unref(added[i].segment);
    mem_free(added);
    return rc;
}

int verify_segments(struct verify *verify, struct varve_err *err)
{
    const struct data_dir *dir = &verify->dir;
    int rc = 0;

    if (dir->manifest != NULL)
        return check_named(verify, err);
    for (size_t i = 0; rc == 0 && i < dir->file_count; i++) {
        const struct dir_file *file = &dir->files[i];
        struct manifest_segment named = {.file_no = file->file_no, .size_bytes = file->size_bytes};
        struct segment *segment = NULL;
        if (file->kind != NAME_SEGMENT)
            continue;
        rc = check_segment(verify, &named, &segment, err);
        segment_unref(segment);
    }
    return rc;
}
