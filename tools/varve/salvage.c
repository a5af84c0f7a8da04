#include "salvage.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "salvage_files.h"
#include "salvage_log.h"
#include "salvage_segment.h"
#include "segment/merge_iter.h"
#include "segment/segment.h"
#include "varve/batch.h"

static const struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};

/* What was opened of the old directory, and the new one. */
struct copying {
    struct salvage *salvage;
    struct data_dir dir;
    struct salvage_files files;
    struct salvage_segment **segments; /* as many as files.segments; some NULL */
    struct memtable *memtable;         /* the log's operations */
    struct range_set *ranges;
    struct salvage_store *store;
    struct buf key; /* the one whose versions are looked at */
};

void salvage_init(struct salvage *salvage)
{
    memset(salvage, 0, sizeof(*salvage));
    report_init(&salvage->report);
}

void salvage_deinit(struct salvage *salvage)
{
    report_deinit(&salvage->report);
    spaces_deinit(&salvage->spaces);
}

static int no_memory(struct varve_err *err)
{
    return err_set(err, VARVE_ENOMEM, "no memory to salvage");
}

/* ---- reading ---- */

static int open_segments(struct copying *copying, struct varve_err *err)
{
    size_t count = copying->files.segment_count;
    int rc = 0;

    copying->segments = mem_alloc_zero((count + 1) * sizeof(*copying->segments));
    if (copying->segments == NULL)
        return no_memory(err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = salvage_segment_open(&copying->dir, copying->files.segments[i],
                                  &copying->salvage->report, &copying->segments[i], err);
    return rc;
}

static int read_log(struct copying *copying, struct varve_err *err)
{
    struct salvage_files *files = &copying->files;
    struct salvage_report *report = &copying->salvage->report;
    size_t told = report->count;

    copying->memtable = memtable_create();
    if (copying->memtable == NULL)
        return no_memory(err);
    int rc = salvage_log_read(&copying->dir, files->logs, files->log_count, files->flushed_seq,
                              report, copying->memtable, err);
    if (rc != 0 || files->log_damage.code == 0 || report->count > told)
        return rc;
    /* Recovery complains, and nothing above explains it. */
    struct loss loss = {.file = "log",
                        .what = files->log_damage.text,
                        .scope = LOSS_ANY,
                        .seq_from = files->log_last_seq + 1,
                        .seq_max = UINT64_MAX};
    return report_add(report, &loss) == 0 ? 0 : no_memory(err);
}

static size_t count_ranges(const struct copying *copying)
{
    size_t count = memtable_range_count(copying->memtable);

    for (size_t i = 0; i < copying->files.segment_count; i++)
        if (copying->segments[i] != NULL)
            count += salvage_segment_range_count(copying->segments[i]);
    return count;
}

static int gather_ranges(struct copying *copying, struct varve_err *err)
{
    struct range_tombstone *ranges = mem_alloc((count_ranges(copying) + 1) * sizeof(*ranges));
    const struct memtable_range *at = NULL;
    struct entry entry;
    size_t count = 0;

    if (ranges == NULL)
        return no_memory(err);
    while ((at = memtable_next_range(copying->memtable, at, &entry)) != NULL)
        ranges[count++] = (struct range_tombstone){
            .begin = entry.chunk.key, .end = entry.chunk.value, .seq = entry.seq};
    for (size_t i = 0; i < copying->files.segment_count; i++) {
        const struct salvage_segment *segment = copying->segments[i];
        for (size_t n = 0; segment != NULL && n < salvage_segment_range_count(segment); n++)
            salvage_segment_range(segment, n, &ranges[count++]);
    }
    copying->ranges = range_set_create(ranges, count);
    mem_free(ranges);
    return copying->ranges == NULL ? no_memory(err) : 0;
}

static struct iter *merge_all(const struct copying *copying)
{
    size_t count = copying->files.segment_count;
    struct iter **sources = mem_alloc((count + 1) * sizeof(struct iter *));
    size_t used = 0;

    if (sources == NULL)
        return NULL;
    sources[used++] = memtable_entries_create(copying->memtable, MEMTABLE_NEWEST, UINT64_MAX);
    for (size_t i = 0; i < count; i++)
        if (copying->segments[i] != NULL)
            sources[used++] = salvage_segment_walk(copying->segments[i]);
    struct iter *merged = merge_iter_create(sources, used);
    mem_free(sources);
    return merged;
}

/* ---- copying ---- */

/* The record is damaged, all of its block is not. */
static int lose_record(struct copying *copying, const struct entry *entry, const char *what,
                       struct varve_err *err)
{
    struct buf *key = &copying->key;
    struct loss loss = {.file = entry->value_segment == NULL ? "log" : salvage_segment_name(entry),
                        .offset = entry->value_offset,
                        .what = what,
                        .scope = LOSS_RANGE,
                        .lower = buf_slice(key),
                        .seq_max = entry->seq};

    if (buf_append(key, "", 1) != 0)
        return no_memory(err);
    loss.upper = buf_slice(key);
    key->len--;
    loss.lower.data = key->data;
    copying->salvage->report.unreadable++;
    return report_add(&copying->salvage->report, &loss) == 0 ? 0 : no_memory(err);
}

static int copy_record(struct copying *copying, const struct entry *entry, struct varve_slice value,
                       struct varve_err *err)
{
    struct salvage *salvage = copying->salvage;
    struct varve_slice key = entry->chunk.key;
    int rc = salvage_store_put(copying->store, key, value, entry->chunk.expire_ms, err);

    if (rc == 0 && spaces_see(&salvage->spaces, key, value) != 0)
        rc = no_memory(err);
    salvage->report.keys++;
    salvage->report.bytes += key.len + value.len;
    salvage->report.doubtful += report_is_doubtful(&salvage->report, key, entry->seq) != 0;
    progress_tell(&salvage->progress, "copied", key.len + value.len);
    return rc;
}

/* One version, as long as none newer decided. *decided: older ones do not count any more. */
static int judge(struct copying *copying, const struct entry *entry, uint64_t range_seq,
                 int *decided, struct varve_err *err)
{
    struct segment_hold hold = {0};
    struct varve_err why = {0};
    struct entry whole = *entry;

    *decided = entry->seq < range_seq;
    if (*decided)
        return 0;
    int rc = entry_value(entry, &how, &whole.chunk.value, &hold, &why);
    if (rc == 0 && chunk_crc(&whole.chunk) != entry->chunk.crc && !MUTANT("salvage-skips-crc"))
        rc = err_set(&why, VARVE_ECORRUPT, "a record's CRC does not match");
    *decided = rc == 0;
    if (rc == VARVE_ENOMEM)
        rc = no_memory(err);
    else if (rc != 0)
        rc = lose_record(copying, entry, why.text, err);
    else if (entry->chunk.kind == CHUNK_PUT)
        rc = copy_record(copying, entry, whole.chunk.value, err);
    segment_hold_release(&hold);
    return rc;
}

static int copy_key(struct copying *copying, struct iter *merged, struct varve_err *err)
{
    struct buf *key = &copying->key;
    int decided = 0;
    int rc = 0;

    buf_clear(key);
    if (buf_append(key, merged->entry.chunk.key.data, merged->entry.chunk.key.len) != 0)
        return no_memory(err);
    uint64_t range_seq = range_set_seq(copying->ranges, buf_slice(key), UINT64_MAX);
    if (MUTANT("salvage-forgets-ranges"))
        range_seq = 0;
    while (rc == 0 && merged->valid && varve_slice_equal(merged->entry.chunk.key, buf_slice(key))) {
        if (!decided)
            rc = judge(copying, &merged->entry, range_seq, &decided, err);
        if (rc == 0)
            merged->ops->next(merged);
    }
    return rc;
}

static int copy_all(struct copying *copying, struct varve_err *err)
{
    struct iter *merged = merge_all(copying);
    int rc = 0;

    if (merged == NULL)
        return no_memory(err);
    merged->ops->first(merged);
    while (rc == 0 && merged->valid)
        rc = copy_key(copying, merged, err);
    if (rc == 0 && merged->rc != 0) {
        rc = merged->rc;
        *err = merged->err;
    }
    iter_destroy(merged);
    return rc;
}

/* ---- all of it ---- */

static void copying_deinit(struct copying *copying)
{
    for (size_t i = 0; copying->segments != NULL && i < copying->files.segment_count; i++)
        salvage_segment_close(copying->segments[i]);
    mem_free(copying->segments);
    range_set_unref(copying->ranges);
    memtable_unref(copying->memtable);
    salvage_files_deinit(&copying->files);
    buf_deinit(&copying->key);
    dir_close(&copying->dir);
}

int salvage_run(struct salvage *salvage, const char *old_path, const char *new_path,
                struct varve_err *err)
{
    struct copying copying = {.salvage = salvage};
    int rc = dir_open(old_path, &copying.dir, err);

    buf_init(&copying.key, VARVE_KEY_MAX_BYTES + 1);
    if (rc == 0)
        rc = salvage_files_choose(&copying.dir, &salvage->report, &copying.files, err);
    if (rc == 0)
        rc = read_log(&copying, err);
    if (rc == 0)
        rc = open_segments(&copying, err);
    if (rc == 0)
        rc = gather_ranges(&copying, err);
    if (rc == 0)
        rc = salvage_store_create(new_path, old_path, &copying.store, err);
    if (rc == 0) {
        progress_begin(&salvage->progress, 0);
        rc = copy_all(&copying, err);
        progress_end(&salvage->progress);
    }
    if (rc == 0)
        rc = spaces_mend(&salvage->spaces, copying.store, &salvage->report, err);
    int closed = salvage_store_close(copying.store, rc == 0 ? err : NULL);
    copying_deinit(&copying);
    return rc == 0 ? closed : rc;
}
