/* All segments together, in one walk over their entries: for one key, a run says nothing older than a run
 * behind it (I19), no record is there twice, and the manifest's counts of groups are what the entries
 * add up to (lsm/counts.h). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "content.h"
#include "types/keycode.h"
#include "varve/batch.h"
#include "verify.h"

#define READAHEAD_BYTES ((size_t)256 * 1024)

struct levels {
    struct verify *verify;
    const struct version *version;
    struct iter **runs; /* newest first */
    struct buf key;     /* of the entry before */
    uint64_t seq;
    size_t run;
    int any;
    /* The group that the walk is in. */
    struct varve_slice group; /* the beginning of key */
    const struct version_group *counted;
    size_t next_group; /* of the manifest: the first that was not met */
    int64_t live;
    int newer_knows;
};

/* ---- counts ---- */

static void compare_count(struct levels *levels, const struct version_group *group, int64_t live)
{
    struct varve_err err = {0};
    char name[2 * VARVE_GROUP_MAX_BYTES + 1] = "";

    levels->verify->groups++;
    if (group->unknown || group->live == live || MUTANT("verify-skips-counts"))
        return;
    for (size_t i = 0; i < group->name_len; i++)
        snprintf(name + 2 * i, 3, "%02x", group->name[i]);
    err_set(&err, VARVE_ECORRUPT,
            "it counts %" PRId64 " keys of group %s in segments, they hold %" PRId64, group->live,
            name, live);
    verify_finding_in(levels->verify, NAME_MANIFEST, levels->verify->dir.manifest_no, &err);
}

/* The manifest's groups before `name` that were not met have no entries; with NULL all that are left. */
static void settle_groups(struct levels *levels, const struct varve_slice *name)
{
    const struct version *version = levels->version;

    for (; levels->next_group < version->group_count; levels->next_group++) {
        const struct version_group *group = &version->groups[levels->next_group];
        int order = name == NULL
                        ? -1
                        : varve_slice_compare(varve_slice(group->name, group->name_len), *name);
        if (order >= 0)
            return;
        compare_count(levels, group, group == levels->counted ? levels->live : 0);
    }
}

static void enter_group(struct levels *levels, struct varve_slice name)
{
    settle_groups(levels, &name);
    levels->counted = version_group(levels->version, name);
    levels->live = 0;
}

/* As segment/collector.c counts, over all runs. */
static void count_entry(struct levels *levels, const struct entry *entry, int same_key)
{
    struct varve_slice key = entry->chunk.key;
    size_t len = levels->verify->raw ? 0 : keycode_count_group(NULL, key);
    struct varve_slice name = varve_slice(key.data, len);

    if (len == 0)
        return;
    if (levels->group.len != len || !varve_slice_equal(levels->group, name))
        enter_group(levels, name);
    if (levels->counted == NULL || entry->seq <= levels->counted->ignore_seq)
        return; /* of a group that is forgotten, or from before its reset */
    levels->live += entry->chunk.kind == CHUNK_PUT && !(same_key && levels->newer_knows);
    levels->newer_knows = !entry->prior_unknown;
}

/* ---- the walk ---- */

static struct iter *smallest(const struct levels *levels, size_t *run)
{
    struct iter *best = NULL;

    for (size_t i = 0; i < levels->version->run_count; i++) {
        struct iter *iter = levels->runs[i];
        if (!iter->valid)
            continue;
        if (best == NULL || entry_compare(iter->entry.chunk.key, iter->entry.seq,
                                          best->entry.chunk.key, best->entry.seq) < 0) {
            best = iter;
            *run = i;
        }
    }
    return best;
}

static void check_order(struct levels *levels, const struct entry *entry, size_t run)
{
    const struct sorted_run *in = &levels->version->runs[run];
    struct varve_err err = {0};

    if (entry->seq != levels->seq && run >= levels->run)
        return;
    int64_t at = run_find(in, entry->chunk.key);
    err_set(&err, VARVE_ECORRUPT,
            entry->seq == levels->seq ? "level %u: its record with sequence %" PRIu64
                                        " is in another segment, too"
                                      : "level %u: its record with sequence %" PRIu64
                                        " lies above a newer one of the same key",
            in->level, entry->seq);
    verify_finding_in(levels->verify, NAME_SEGMENT, at < 0 ? 0 : segment_file_no(in->segments[at]),
                      &err);
}

static void check_name(struct levels *levels, const struct entry *entry, size_t run)
{
    const struct sorted_run *in = &levels->version->runs[run];
    struct varve_slice name;
    struct varve_err err = {0};

    if (levels->group.len == 0 || name_of_key(entry->chunk.key, levels->group.len, &name) == 0)
        return;
    int64_t at = run_find(in, entry->chunk.key);
    err_set(&err, VARVE_ECORRUPT,
            "level %u: the key of its record with sequence %" PRIu64
            " has not the hash of its name",
            in->level, entry->seq);
    verify_finding_in(levels->verify, NAME_SEGMENT, at < 0 ? 0 : segment_file_no(in->segments[at]),
                      &err);
}

static int take_entry(struct levels *levels, const struct entry *entry, size_t run,
                      struct varve_err *err)
{
    int same_key = levels->any && varve_slice_equal(buf_slice(&levels->key), entry->chunk.key);

    if (same_key)
        check_order(levels, entry, run);
    count_entry(levels, entry, same_key);
    if (!same_key) {
        buf_clear(&levels->key);
        if (buf_append(&levels->key, entry->chunk.key.data, entry->chunk.key.len) != 0)
            return err_set(err, VARVE_ENOMEM, "no memory for a key");
        size_t len = levels->verify->raw ? 0 : keycode_count_group(NULL, entry->chunk.key);
        levels->group = varve_slice(levels->key.data, len);
        check_name(levels, entry, run);
    }
    levels->any = 1;
    levels->seq = entry->seq;
    levels->run = run;
    return 0;
}

static int walk(struct levels *levels, struct varve_err *err)
{
    struct iter *iter;
    size_t run = 0;
    int rc = 0;

    for (size_t i = 0; i < levels->version->run_count; i++)
        levels->runs[i]->ops->first(levels->runs[i]);
    while (rc == 0 && (iter = smallest(levels, &run)) != NULL) {
        rc = take_entry(levels, &iter->entry, run, err);
        iter->ops->next(iter);
    }
    for (size_t i = 0; rc == 0 && i < levels->version->run_count; i++) {
        rc = levels->runs[i]->rc;
        if (rc != 0)
            *err = levels->runs[i]->err;
    }
    if (rc == 0 && !levels->verify->raw)
        settle_groups(levels, NULL);
    return rc;
}

int verify_levels(struct verify *verify, const struct version *version, struct varve_err *err)
{
    const struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};
    struct levels levels = {.verify = verify, .version = version};
    int rc = 0;

    buf_init(&levels.key, VARVE_KEY_MAX_BYTES);
    levels.runs = mem_alloc_zero((version->run_count + 1) * sizeof(struct iter *));
    if (levels.runs == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for the levels");
    for (size_t i = 0; rc == 0 && i < version->run_count; i++) {
        const struct sorted_run *run = &version->runs[i];
        levels.runs[i] = run_iter_create(run->segments, run->count, &how, READAHEAD_BYTES);
        if (levels.runs[i] == NULL)
            rc = err_set(err, VARVE_ENOMEM, "no memory for the levels");
    }
    if (rc == 0)
        rc = walk(&levels, err);
    for (size_t i = 0; i < version->run_count; i++)
        iter_destroy(levels.runs[i]);
    mem_free(levels.runs);
    buf_deinit(&levels.key);
    return rc;
}
