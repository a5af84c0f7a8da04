#include "content.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "segment/merge_iter.h"
#include "varve/batch.h"

#define READAHEAD_BYTES ((size_t)256 * 1024)

static const struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};

/* ---- opening ---- */

static int apply_record(void *arg, uint64_t seq, const struct chunk *chunk, struct varve_err *err)
{
    struct content *content = arg;
    enum memtable_prior prior;
    struct memtable_undo undo;
    int rc = memtable_add(content->memtable, seq, chunk, &prior, &undo);

    return rc == 0 ? 0 : err_set(err, rc, "no memory for what the log holds");
}

static int read_log(struct content *content, struct varve_err *err)
{
    const struct data_dir *dir = content->dir;

    content->log = (struct recovery){
        .env = dir->env,
        .dir = dir->path,
        .id = dir->id,
        .manifest = dir->manifest,
        .apply = apply_record,
        .arg = content,
    };
    int rc = recovery_read(&content->log, err);
    content->seq = content->log.last_seq;
    return rc;
}

int content_open_segment(const struct data_dir *dir, const struct manifest_segment *named,
                         struct segment **segment, struct varve_err *err)
{
    char *path = name_segment_path(dir->path, named->file_no);
    int rc;

    *segment = NULL;
    if (path == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a path");
    rc = segment_open(dir->env, path, &dir->id, named->file_no, NULL, segment, err);
    if (rc == VARVE_ENOENT)
        rc = err_set(err, VARVE_ECORRUPT, "%s is missing, but the manifest names it", path);
    if (rc == 0 && segment_size_bytes(*segment) != named->size_bytes) {
        rc = err_set(err, VARVE_ECORRUPT, "%s has %" PRIu64 " bytes, the manifest says %" PRIu64,
                     path, segment_size_bytes(*segment), named->size_bytes);
        segment_unref(*segment);
        *segment = NULL;
    }
    mem_free(path);
    return rc;
}

static int open_version(struct content *content, struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(content->dir->manifest);
    struct version_add *added = mem_alloc_zero((state->segment_count + 1) * sizeof(*added));
    struct version *before = version_create();
    struct version_change change = {.added = added,
                                    .added_count = state->segment_count,
                                    .groups = state->groups,
                                    .group_count = state->group_count,
                                    .flushed_seq = state->flushed_seq};
    int rc = 0;

    if (added == NULL || before == NULL)
        rc = err_set(err, VARVE_ENOMEM, "no memory for the segments");
    for (size_t i = 0; rc == 0 && i < state->segment_count; i++) {
        added[i].level = state->segments[i].level;
        added[i].run_no = state->segments[i].run_no;
        rc = content_open_segment(content->dir, &state->segments[i], &added[i].segment, err);
    }
    if (rc == 0)
        rc = version_apply(before, &change, &content->version, err);
    for (size_t i = 0; added != NULL && i < state->segment_count; i++)
        segment_unref(added[i].segment);
    version_unref(before);
    mem_free(added);
    return rc;
}

int content_open(const struct data_dir *dir, struct content *content, struct varve_err *err)
{
    *content = (struct content){.dir = dir};
    content->memtable = memtable_create();
    int rc = content->memtable == NULL ? err_set(err, VARVE_ENOMEM, "no memory") : 0;

    if (rc == 0)
        rc = open_version(content, err);
    if (rc == 0)
        rc = read_log(content, err);
    content->now_ms = dir->env->ops->now_real_ms(dir->env);
    if (content->now_ms < content->log.clock_ms)
        content->now_ms = content->log.clock_ms;
    if (content->now_ms < manifest_state(dir->manifest)->clock_ms)
        content->now_ms = manifest_state(dir->manifest)->clock_ms;
    if (rc != 0)
        content_close(content);
    return rc;
}

void content_close(struct content *content)
{
    recovery_deinit(&content->log);
    memtable_unref(content->memtable);
    version_unref(content->version);
    *content = (struct content){.dir = NULL};
}

/* ---- walking ---- */

static struct iter *merge_all(const struct content *content)
{
    const struct version *version = content->version;
    struct iter **sources = mem_alloc((version->run_count + 1) * sizeof(struct iter *));

    if (sources == NULL)
        return NULL;
    sources[0] = memtable_entries_create(content->memtable, MEMTABLE_NEWEST, content->seq);
    for (size_t i = 0; i < version->run_count; i++) {
        const struct sorted_run *run = &version->runs[i];
        sources[i + 1] = run_iter_create(run->segments, run->count, &how, READAHEAD_BYTES);
    }
    struct iter *merged = merge_iter_create(sources, version->run_count + 1);
    mem_free(sources);
    return merged;
}

static int is_live(const struct content *content, const struct entry *entry)
{
    struct varve_slice key = entry->chunk.key;
    uint64_t expire_ms = entry->chunk.expire_ms;

    return entry->chunk.kind == CHUNK_PUT && (expire_ms == 0 || expire_ms > content->now_ms) &&
           memtable_range_seq(content->memtable, key, content->seq) < entry->seq &&
           range_set_seq(content->version->ranges, key, content->seq) < entry->seq;
}

static int show(const struct entry *entry, content_fn fn, void *arg, struct varve_err *err)
{
    struct segment_hold hold = {0};
    struct entry whole = *entry;
    int rc = entry_value(entry, &how, &whole.chunk.value, &hold, err);

    if (rc == 0 && chunk_crc(&whole.chunk) != whole.chunk.crc)
        rc = err_set(err, VARVE_ECORRUPT,
                     "the CRC of the record with sequence %" PRIu64 " does not match", entry->seq);
    if (rc == 0)
        rc = fn(arg, &whole, err);
    segment_hold_release(&hold);
    return rc;
}

int slice_begins_with(struct varve_slice key, struct varve_slice prefix)
{
    return key.len >= prefix.len &&
           (prefix.len == 0 || memcmp(key.data, prefix.data, prefix.len) == 0);
}

int content_walk(const struct content *content, struct varve_slice prefix, content_fn fn, void *arg,
                 struct varve_err *err)
{
    struct iter *merged = merge_all(content);
    struct buf last; /* the key whose newest version was met */
    int any = 0;
    int rc = 0;

    if (merged == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to read it");
    buf_init(&last, VARVE_KEY_MAX_BYTES);
    merged->ops->seek(merged, prefix);
    for (; rc == 0 && merged->valid; merged->ops->next(merged)) {
        const struct entry *entry = &merged->entry;
        if (!slice_begins_with(entry->chunk.key, prefix))
            break;
        if (any && varve_slice_equal(buf_slice(&last), entry->chunk.key))
            continue;
        any = 1;
        buf_clear(&last);
        if (buf_append(&last, entry->chunk.key.data, entry->chunk.key.len) != 0)
            rc = err_set(err, VARVE_ENOMEM, "no memory for a key");
        else if (is_live(content, entry))
            rc = show(entry, fn, arg, err);
    }
    if (rc == 0 && merged->rc != 0) {
        rc = merged->rc;
        *err = merged->err;
    }
    iter_destroy(merged);
    buf_deinit(&last);
    return rc;
}
