#include "lsm/count_merge.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "segment/iter.h"
#include "varve/batch.h"

#define READAHEAD_BYTES ((size_t)256 * 1024)
#define CHECK_EVERY 256 /* keys */

/* A run, from its first segment that may have something of the group. */
struct lane {
    const struct sorted_run *run;
    size_t at;
    struct iter *iter; /* of segment `at`; NULL: the lane ended */
    uint64_t live;     /* of the segment's unknown records */
};

struct merge {
    const struct count_merge *what;
    struct lane *lanes; /* newest first */
    size_t count;
    struct buf key;    /* that the lanes are asked for */
    struct lane *asks; /* whose record of the key waits for an older one; NULL: none does */
    uint64_t asks_seq;
};

static int lane_in_group(const struct merge *merge, const struct lane *lane)
{
    struct varve_slice name = merge->what->name;
    struct varve_slice key = lane->iter->entry.chunk.key;

    return key.len >= name.len && memcmp(key.data, name.data, name.len) == 0;
}

static int lane_stand(struct merge *merge, struct lane *lane, struct varve_err *err)
{
    struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};

    lane->iter = segment_iter_create(lane->run->segments[lane->at], &how, READAHEAD_BYTES);
    if (lane->iter == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to count keys");
    lane->iter->ops->seek(lane->iter, merge->what->name);
    return 0;
}

/* Has it stand on a record of the group, or end. */
static int lane_settle(struct merge *merge, struct lane *lane, struct varve_err *err)
{
    int rc = 0;

    while (rc == 0 && lane->iter != NULL) {
        int valid = lane->iter->valid;
        if (LIKELY(valid && lane_in_group(merge, lane)))
            return 0;
        if (lane->iter->rc != 0) {
            if (err != NULL)
                *err = lane->iter->err;
            return lane->iter->rc;
        }
        merge->what->told(merge->what->arg, lane->run->segments[lane->at], lane->live);
        lane->live = 0;
        iter_destroy(lane->iter);
        lane->iter = NULL;
        lane->at++;
        if (!valid && lane->at < lane->run->count)
            rc = lane_stand(merge, lane, err);
    }
    return rc;
}

static int merge_open(struct merge *merge, struct varve_err *err)
{
    const struct version *version = merge->what->version;
    size_t most = version->run_count - merge->what->from_run;
    int rc = 0;

    merge->lanes = mem_alloc_zero((most + 1) * sizeof(*merge->lanes));
    if (merge->lanes == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to count keys");
    for (; rc == 0 && merge->count < most; merge->count++) {
        struct lane *lane = &merge->lanes[merge->count];
        size_t end;
        lane->run = &version->runs[merge->what->from_run + merge->count];
        run_overlap(lane->run, merge->what->name, varve_slice(NULL, 0), &lane->at, &end);
        if (lane->at < lane->run->count)
            rc = lane_stand(merge, lane, err);
    }
    for (size_t i = 0; rc == 0 && i < merge->count; i++)
        rc = lane_settle(merge, &merge->lanes[i], err);
    return rc;
}

static void merge_close(struct merge *merge)
{
    for (size_t i = 0; i < merge->count; i++)
        iter_destroy(merge->lanes[i].iter);
    mem_free(merge->lanes);
    buf_deinit(&merge->key);
}

/* The newest lane with the least key; NULL: all ended. */
static struct lane *merge_least(const struct merge *merge)
{
    struct lane *least = NULL;

    for (size_t i = 0; i < merge->count; i++) {
        struct lane *lane = &merge->lanes[i];
        if (lane->iter != NULL &&
            (least == NULL ||
             varve_slice_compare(lane->iter->entry.chunk.key, least->iter->entry.chunk.key) < 0))
            least = lane;
    }
    return least;
}

/* The record answers for the newer one that waits, and may itself wait for the next. */
static void take_record(struct merge *merge, struct lane *lane)
{
    const struct count_merge *what = merge->what;
    const struct entry *entry = &lane->iter->entry;

    if (merge->asks != NULL && entry->chunk.kind == CHUNK_PUT)
        merge->asks->live += MUTANT("merge-ignores-ranges") ||
                             entry->seq > range_set_seq(what->version->ranges, entry->chunk.key,
                                                        merge->asks_seq - 1);
    merge->asks = entry->prior_unknown && entry->seq > what->ignore_seq ? lane : NULL;
    merge->asks_seq = entry->seq;
}

/* Takes all records of the least key, newest first. A segment may end with its record while that waits for
 * an older one: lanes go on to their next segments when the key is done. */
static int take_key(struct merge *merge, struct lane *least, struct varve_err *err)
{
    const struct lane *end = merge->lanes + merge->count;
    int rc;

    buf_clear(&merge->key);
    rc = buf_append(&merge->key, least->iter->entry.chunk.key.data,
                    least->iter->entry.chunk.key.len);
    if (rc != 0)
        return err_set(err, rc, "no memory to count keys");
    merge->asks = NULL;
    for (struct lane *lane = least; lane < end; lane++)
        while (lane->iter != NULL && lane->iter->valid &&
               varve_slice_equal(lane->iter->entry.chunk.key, buf_slice(&merge->key))) {
            take_record(merge, lane);
            lane->iter->ops->next(lane->iter);
        }
    for (struct lane *lane = least; rc == 0 && lane < end; lane++)
        rc = lane_settle(merge, lane, err);
    return rc;
}

int count_merge_run(const struct count_merge *what, struct varve_err *err)
{
    struct merge merge = {.what = what};
    struct lane *least;

    buf_init(&merge.key, VARVE_KEY_MAX_BYTES);
    int rc = merge_open(&merge, err);
    for (uint64_t keys = 0; rc == 0 && (least = merge_least(&merge)) != NULL; keys++) {
        rc = take_key(&merge, least, err);
        if (rc == 0 && keys % CHECK_EVERY == 0)
            rc = what->check(what->arg, err);
    }
    merge_close(&merge);
    return rc;
}
