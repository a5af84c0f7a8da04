#include "lsm/count_keys.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/rng.h"
#include "lsm/count_merge.h"
#include "lsm/db.h"
#include "varve/iter.h"

#define MEMTABLE_LAYER ((uint64_t)1 << 63)

/* Of the unknown records of all layers at least so many are looked up, less than twice as many at first.
 * Where half of as many records as there are keys were live below, the estimate is then off by 1 % once in
 * a few thousand times; where more doubt is left (is_near()), the sample grows. */
#define SAMPLE_MIN 32768
#define SAMPLE_GROWS_BY 4
/* A record of a walk costs about a tenth of a lookup. */
#define MERGE_PARTS 10
#define MERGE_MIN 8
#define NEAR_PARTS 100.0    /* 1 / NEAR_PARTS of the count is near enough, */
#define NEAR_DEVIATIONS 3.5 /* if it is so many standard deviations */

struct count_task {
    struct varve_db *db;
    struct view *view;
    uint64_t seq;       /* the newest operation that is counted */
    int64_t upper;      /* what all layers know, with unknown keys counted as new */
    size_t reset_layer; /* memtables from this index on, and the version, hold nothing of it */
    int has_version;
    int ask[MEMTABLES_MAX + 1]; /* a memtable each: it has unknown keys, and something lies below */
    uint64_t unknown[MEMTABLES_MAX + 1]; /* how many */
    int by_walk;
    int about;         /* a sample is enough */
    uint64_t step;     /* one of so many unknown records of a layer is looked up; a power of two */
    uint64_t step_max; /* a remembered sample of that step serves */
    uint64_t coarsest; /* step of the answers so far */
    double variance;   /* of their sum */
    int keeps;         /* all that is counted was committed: what memtables answer holds for good */
    struct varve_snapshot *snapshot; /* of a walk */
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len;
    _Atomic int cancelled;
};

static struct memtable *task_memtable(const struct count_task *task, size_t index)
{
    return index == 0 ? task->view->active : task->view->immutable[index - 1];
}

/* ---- memory ---- */

static struct varve_slice task_name(const struct count_task *task)
{
    return varve_slice(task->name, task->name_len);
}

/* *answer is zeroed if nothing is known that still holds. */
static void memory_recall(const struct count_task *task, uint64_t layer, int sampled,
                          struct count_answer *answer)
{
    count_memory_find(&task->db->count_memory, layer, task_name(task), sampled, answer);
    if ((answer->expiry_drops != task->view->version->expiry_drops &&
         !MUTANT("count-answer-for-ever")) ||
        answer->upto_seq > task->seq)
        *answer = (struct count_answer){0};
}

static int recall_sample(const struct count_task *task, uint64_t layer, struct count_answer *answer)
{
    if (task->step == 1)
        return 0;
    memory_recall(task, layer, 1, answer);
    return answer->upto_seq != 0 && answer->step <= task->step_max;
}

static void memory_keep(const struct count_task *task, struct count_answer *fresh,
                        uint64_t upto_seq)
{
    fresh->name_len = task->name_len;
    memcpy(fresh->name, task->name, task->name_len);
    fresh->upto_seq = upto_seq;
    fresh->expiry_drops = task->view->version->expiry_drops;
    count_memory_keep(&task->db->count_memory, fresh);
}

/* ---- samples ---- */

/* Which of a layer's unknown records are looked up: of each `step` one after the other a random one, so that
 * no pattern in the keys can keep step with it. The same layer has the same sample each time. */
struct sample {
    uint64_t step;
    struct rng rng;
    uint64_t choice; /* the one of these `step` */
    uint64_t seen;   /* unknown records */
    uint64_t live;   /* of those that were looked up */
};

static void sample_init(struct sample *sample, uint64_t step, uint64_t layer)
{
    *sample = (struct sample){.step = step};
    rng_init(&sample->rng, layer);
}

static int sample_takes(struct sample *sample)
{
    uint64_t at = sample->seen++ % sample->step;

    if (at == 0)
        sample->choice = rng_below(&sample->rng, sample->step);
    return at == sample->choice;
}

/* What the sample says of all of them: each of them was in it with the chance 1 / step. */
static void sample_answer(const struct sample *sample, uint64_t known, struct count_answer *answer)
{
    uint64_t live = sample->live * sample->step;
    double step = (double)sample->step;

    answer->step = sample->step;
    answer->live_below = known + live;
    if (sample->step == 1)
        return;
    answer->variance = step * step / 4; /* of the last ones, fewer than `step` */
    if (live < sample->seen)
        answer->variance += step * (double)live * (1 - (double)live / (double)sample->seen);
}

/* ---- what was live below ---- */

static int key_in_group(const struct count_task *task, struct varve_slice key)
{
    return key.len >= task->name_len && memcmp(key.data, task->name, task->name_len) == 0;
}

static void note_lookup(const struct count_task *task)
{
    atomic_fetch_add_explicit(&task->db->count_lookups, 1, memory_order_relaxed);
}

static int live_below_memtable(struct count_task *task, size_t index, const struct entry *oldest,
                               uint64_t *live, struct varve_err *err)
{
    struct segment_read how = {.wait = SEGMENT_WAIT};
    struct segment_hold hold;
    struct memtable *memtable;
    struct entry entry;

    note_lookup(task);
    rcu_enter();
    int rc = db_lookup(task->db, task->view, index + 1, oldest->chunk.key, UINT64_MAX, &how, &entry,
                       &hold, &memtable, err);
    segment_hold_release(&hold);
    rcu_leave();
    *live += rc == 0;
    return rc == VARVE_NOT_FOUND ? 0 : rc;
}

static int is_cancelled(const struct count_task *task, struct varve_err *err)
{
    if (LIKELY(!atomic_load_explicit(&task->cancelled, memory_order_relaxed)))
        return 0;
    return err_set(err, VARVE_EINVAL, "the count was cancelled");
}

/* Keys whose oldest record here is newer than `after`, and says nothing of what was before it. */
static int count_memtable(struct count_task *task, size_t index, uint64_t after,
                          struct sample *sample, struct varve_err *err)
{
    struct memtable *memtable = task_memtable(task, index);
    struct memtable_iter *iter = memtable_iter_create(memtable);
    struct entry oldest;
    int rc = 0;

    if (iter == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to count keys");
    memtable_iter_seek(iter, varve_slice(task->name, task->name_len));
    for (; rc == 0 && memtable_iter_valid(iter) && key_in_group(task, memtable_iter_key(iter));
         memtable_iter_next(iter)) {
        if (memtable_iter_oldest(iter, &oldest) && oldest.seq > after && oldest.seq <= task->seq &&
            memtable_range_seq(memtable, oldest.chunk.key, oldest.seq) == 0 && sample_takes(sample))
            rc = live_below_memtable(task, index, &oldest, &sample->live, err);
        if (rc == 0)
            rc = is_cancelled(task, err);
    }
    if (rc == 0)
        rc = memtable_iter_status(iter);
    memtable_iter_destroy(iter);
    return rc;
}

/* Only the oldest version of a key in a run has the mark (rewrite.c): what was before lies in older runs. */
static int live_below_entry(const struct count_task *task, size_t run, const struct entry *entry,
                            uint64_t *live, struct varve_err *err)
{
    const struct version *version = task->view->version;
    struct version older = {.runs = version->runs + run + 1,
                            .run_count = version->run_count - run - 1};
    struct segment_read how = {.wait = SEGMENT_WAIT};
    struct segment_hold hold = {0};
    struct entry below;
    uint64_t seq_max = entry->seq - 1;

    note_lookup(task);
    rcu_enter();
    uint64_t range_seq = range_set_seq(version->ranges, entry->chunk.key, seq_max);
    int rc = version_get(&older, entry->chunk.key, range_seq, seq_max, &how,
                         task->db->reads + thread_slot(), &below, &hold, err);
    *live += rc == 0 && below.seq > range_seq && below.chunk.kind == CHUNK_PUT;
    segment_hold_release(&hold);
    rcu_leave();
    return rc == VARVE_NOT_FOUND ? 0 : rc;
}

static int count_segment(struct count_task *task, size_t run, struct segment *segment,
                         uint64_t ignore_seq, struct sample *sample, struct varve_err *err)
{
    struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};
    struct iter *iter = segment_iter_create(segment, &how, (size_t)64 * 1024);
    int rc = 0;

    if (iter == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to count keys");
    iter->ops->seek(iter, varve_slice(task->name, task->name_len));
    for (; rc == 0 && iter->valid && key_in_group(task, iter->entry.chunk.key);
         iter->ops->next(iter)) {
        if (iter->entry.prior_unknown && iter->entry.seq > ignore_seq && sample_takes(sample))
            rc = live_below_entry(task, run, &iter->entry, &sample->live, err);
        if (rc == 0)
            rc = is_cancelled(task, err);
    }
    if (rc == 0 && iter->rc != 0) {
        rc = iter->rc;
        if (err != NULL)
            *err = iter->err;
    }
    iter_destroy(iter);
    return rc;
}

/* ---- layers ---- */

static uint64_t memtable_layer(const struct count_task *task, size_t index)
{
    return memtable_notes(task_memtable(task, index))->id | MEMTABLE_LAYER;
}

static void take_answer(struct count_task *task, const struct count_answer *answer, int64_t *count)
{
    *count -= (int64_t)answer->live_below;
    task->variance += answer->variance;
    if (answer->step > task->coarsest)
        task->coarsest = answer->step;
}

/* What is known of an active memtable is the beginning of the next answer; a sample of it would not be. */
static int take_memtable(struct count_task *task, size_t index, int64_t *count,
                         struct varve_err *err)
{
    uint64_t layer = memtable_layer(task, index);
    struct count_answer known;
    struct count_answer answer;
    struct sample sample;
    int rc = 0;

    memory_recall(task, layer, 0, &known);
    if (known.upto_seq == task->seq) {
        take_answer(task, &known, count);
        return 0;
    }
    if (index == 0 || !recall_sample(task, layer, &answer)) {
        answer = (struct count_answer){.layer = layer};
        sample_init(&sample, task->step, layer);
        rc = count_memtable(task, index, known.upto_seq, &sample, err);
        if (rc != 0)
            return rc;
        sample_answer(&sample, known.live_below, &answer);
        if (task->keeps && (index > 0 || task->step == 1))
            memory_keep(task, &answer, task->seq);
    }
    take_answer(task, &answer, count);
    return 0;
}

/* What the segment has of the group; where it does not say, as if all were. */
static struct segment_group segment_share(const struct count_task *task,
                                          const struct segment *segment)
{
    const struct properties *properties = segment_properties(segment);

    if (properties->group_count > SEGMENT_GROUPS_MAX)
        return (struct segment_group){.entries = properties->entries,
                                      .unknown = properties->entries};
    for (uint32_t i = 0; i < properties->group_count; i++)
        if (properties->groups[i].name_len == task->name_len &&
            memcmp(properties->groups[i].name, task->name, task->name_len) == 0)
            return properties->groups[i];
    return (struct segment_group){0};
}

/* About how many of its entries above ignore_seq are: 0 if none is. */
static uint64_t segment_unknown(const struct count_task *task, const struct segment *segment,
                                uint64_t ignore_seq)
{
    if (segment_properties(segment)->seq_max <= ignore_seq)
        return 0;
    return segment_share(task, segment).unknown;
}

static int take_segment(struct count_task *task, size_t run, struct segment *segment,
                        uint64_t ignore_seq, int64_t *count, struct varve_err *err)
{
    uint64_t layer = segment_file_no(segment);
    struct count_answer answer;
    struct sample sample;

    if (segment_unknown(task, segment, ignore_seq) == 0)
        return 0;
    memory_recall(task, layer, 0, &answer);
    if (answer.upto_seq == 0 && !recall_sample(task, layer, &answer)) {
        answer = (struct count_answer){.layer = layer};
        sample_init(&sample, task->step, layer);
        int rc = count_segment(task, run, segment, ignore_seq, &sample, err);
        if (rc != 0)
            return rc;
        sample_answer(&sample, 0, &answer);
        memory_keep(task, &answer, segment_properties(segment)->seq_max);
    }
    take_answer(task, &answer, count);
    return 0;
}

/* The same, 0 too if it is known exactly what was below them. */
static uint64_t segment_to_ask(const struct count_task *task, const struct segment *segment,
                               uint64_t ignore_seq)
{
    uint64_t unknown = segment_unknown(task, segment, ignore_seq);
    struct count_answer known;

    if (unknown == 0)
        return 0;
    memory_recall(task, segment_file_no(segment), 0, &known);
    return known.upto_seq == 0 ? unknown : 0;
}

/* ---- many at once ---- */

static int merge_check(void *arg, struct varve_err *err)
{
    return is_cancelled(arg, err);
}

/* Of one without unknown records nobody asks again: most of the last level would fill the memory. */
static void merge_told(void *arg, const struct segment *segment, uint64_t live_below)
{
    struct count_answer answer = {
        .layer = segment_file_no(segment), .step = 1, .live_below = live_below};

    if (segment_share(arg, segment).unknown > 0)
        memory_keep(arg, &answer, segment_properties(segment)->seq_max);
}

/* What is to be asked in segments is walked through if it is much of what lies there, and remembered. */
static int ask_by_merge(struct count_task *task, uint64_t ignore_seq, struct varve_err *err)
{
    const struct version *version = task->view->version;
    struct count_merge what = {.version = version,
                               .from_run = version->run_count,
                               .name = task_name(task),
                               .ignore_seq = ignore_seq,
                               .check = merge_check,
                               .told = merge_told,
                               .arg = task};
    uint64_t entries = 0;
    uint64_t unknown = 0;

    for (size_t r = 0; r < version->run_count; r++)
        for (size_t i = 0; i < version->runs[r].count; i++) {
            const struct segment *segment = version->runs[r].segments[i];
            uint64_t ask = segment_to_ask(task, segment, ignore_seq);
            unknown += ask;
            if (ask > 0 && r < what.from_run)
                what.from_run = r;
            if (r >= what.from_run)
                entries += segment_share(task, segment).entries;
        }
    if (unknown < MERGE_MIN || unknown < entries / MERGE_PARTS)
        return 0;
    return count_merge_run(&what, err);
}

static int take_version(struct count_task *task, int64_t *count, struct varve_err *err)
{
    const struct version *version = task->view->version;
    const struct version_group *group = version_group(version, task_name(task));
    int rc = 0;

    if (group == NULL)
        return 0;
    if (task->step == 1)
        rc = ask_by_merge(task, group->ignore_seq, err);
    for (size_t r = 0; rc == 0 && r < version->run_count; r++)
        for (size_t i = 0; rc == 0 && i < version->runs[r].count; i++)
            rc = take_segment(task, r, version->runs[r].segments[i], group->ignore_seq, count, err);
    return rc;
}

/* ---- by a walk ---- */

static int count_by_walk(struct varve_db *db, const struct count_task *task, int64_t *count,
                         struct varve_err *err)
{
    struct varve_read read = {
        .snapshot = task->snapshot, .uncommitted = task->snapshot == NULL, .dead = 1, .no_fill = 1};
    struct varve_slice name = task_name(task);
    struct varve_iter *iter = varve_iter_create(db, &read, &name, NULL, err);

    int rc = 0;

    *count = 0;
    if (iter == NULL)
        return VARVE_ENOMEM;
    varve_iter_first(iter);
    for (; rc == 0 && varve_iter_valid(iter) && key_in_group(task, varve_iter_key(iter));
         varve_iter_next(iter)) {
        (*count)++;
        rc = is_cancelled(task, err);
    }
    if (rc == 0)
        rc = varve_iter_status(iter, err);
    varve_iter_destroy(iter);
    return rc;
}

/* ---- the task ---- */

/* Sums up what the layers know, from the newest to the one that begins the group anew. */
static void task_sum_up(struct count_task *task)
{
    const struct view *view = task->view;
    struct varve_slice name = task_name(task);

    task->reset_layer = view->immutable_count + 1;
    task->has_version = 1;
    for (size_t i = 0; i <= view->immutable_count; i++) {
        struct memtable *memtable = task_memtable(task, i);
        const struct count_group *group = counts_find(&memtable_notes(memtable)->counts, name);
        if (group == NULL)
            continue;
        task->upper += group->live;
        task->by_walk |= group->cut;
        if (!group->reset)
            continue;
        task->reset_layer = i;
        task->has_version = 0;
        return;
    }
    const struct version_group *below = version_group(view->version, name);
    if (below == NULL)
        return;
    task->upper += below->live;
    task->by_walk |= below->unknown;
}

/* Which memtables have something to look up. */
static void task_find_unknown(struct count_task *task)
{
    const struct view *view = task->view;
    struct varve_slice name = task_name(task);
    int below = task->has_version && version_group(view->version, name) != NULL;
    size_t layers = task->reset_layer < view->immutable_count + 1 ? task->reset_layer + 1
                                                                  : task->reset_layer;

    for (size_t i = layers; i-- > 0;) {
        struct memtable *memtable = task_memtable(task, i);
        const struct count_group *group = counts_find(&memtable_notes(memtable)->counts, name);
        task->unknown[i] = group == NULL ? 0 : group->unknown;
        task->ask[i] = task->unknown[i] > 0 && below;
        below |= group != NULL;
    }
}

static void task_init(struct count_task *task, struct varve_db *db, struct varve_slice group)
{
    *task = (struct count_task){.db = db, .seq = db->applied_seq, .name_len = (uint8_t)group.len};
    task->keeps = db->undo.count == 0; /* sequences that are taken back are given out again */
    memcpy(task->name, group.data, group.len);
    task->view = view_acquire(&db->view);
    task_sum_up(task);
    task_find_unknown(task);
}

/* The open group's, too: whoever wrote it wants to see it counted. */
static void take_applied(struct varve_snapshot *snapshot, void *arg)
{
    struct varve_db *db = arg;

    snapshot->seq = db->applied_seq;
    snapshot->now_ms = varve_now_ms(db);
}

static int task_hold_snapshot(struct count_task *task)
{
    task->snapshot = mem_alloc(sizeof(*task->snapshot));
    if (task->snapshot == NULL)
        return VARVE_ENOMEM;
    *task->snapshot = (struct varve_snapshot){0};
    snapshots_add(&task->db->snapshots, task->snapshot, take_applied, task->db);
    return 0;
}

struct count_task *count_task_create(struct varve_db *db, struct varve_slice group, int about)
{
    struct count_task *task = mem_alloc(sizeof(*task));

    if (task == NULL)
        return NULL;
    task_init(task, db, group);
    task->about = about;
    if (!task->by_walk || task_hold_snapshot(task) == 0)
        return task;
    count_task_destroy(task);
    return NULL;
}

static void task_deinit(struct count_task *task)
{
    varve_snapshot_release(task->db, task->snapshot);
    view_release(&task->db->view, task->view);
}

void count_task_destroy(struct count_task *task)
{
    if (task == NULL)
        return;
    task_deinit(task);
    mem_free(task);
}

int count_task_is_late(struct count_task *task)
{
    rcu_enter();
    int late = task->snapshot != NULL || task->view != view_current(&task->db->view);
    rcu_leave();
    return late;
}

void count_task_cancel(struct count_task *task)
{
    atomic_store_explicit(&task->cancelled, 1, memory_order_relaxed);
}

static int take_layers(struct count_task *task, int64_t *count, struct varve_err *err)
{
    int rc = 0;

    *count = task->upper;
    task->coarsest = 1;
    task->variance = 0;
    for (size_t i = 0; rc == 0 && i < task->reset_layer; i++)
        rc = task->ask[i] ? take_memtable(task, i, count, err) : 0;
    if (rc == 0 && task->has_version)
        rc = take_version(task, count, err);
    return rc;
}

/* Unknown records of all layers, without the segments that are known exactly. */
static uint64_t task_unknown(const struct count_task *task)
{
    const struct version *version = task->view->version;
    const struct version_group *group = version_group(version, task_name(task));
    uint64_t unknown = 0;

    for (size_t i = 0; i < task->reset_layer; i++)
        unknown += task->ask[i] ? task->unknown[i] : 0;
    if (!task->has_version || group == NULL)
        return unknown;
    for (size_t r = 0; r < version->run_count; r++)
        for (size_t i = 0; i < version->runs[r].count; i++)
            unknown += segment_to_ask(task, version->runs[r].segments[i], group->ignore_seq);
    return unknown;
}

static uint64_t first_step(const struct count_task *task)
{
    uint64_t strides = task_unknown(task) / SAMPLE_MIN;
    uint64_t step = 1;

    if (task->upper <= VARVE_COUNT_EXACT_MAX)
        return 1;
    while (step <= strides / 2)
        step *= 2;
    return step;
}

/* Is the estimate good enough? If not, *step is what may make it so. */
static int is_near(const struct count_task *task, int64_t count, uint64_t *step)
{
    double slack = (double)count / NEAR_PARTS;

    if (count <= 0 || task->variance * NEAR_DEVIATIONS * NEAR_DEVIATIONS > slack * slack)
        *step = task->coarsest / SAMPLE_GROWS_BY;
    else if ((double)count - slack <= VARVE_COUNT_EXACT_MAX)
        *step = 1; /* so few that it has to be exact */
    else
        return 1;
    if (*step == 0)
        *step = 1;
    return MUTANT("count-trusts-first-sample");
}

static int count_by_layers(struct count_task *task, int64_t *count, struct varve_err *err)
{
    task->step = task->about ? first_step(task) : 1;
    task->step_max = UINT64_MAX; /* it will be seen whether they leave too much in doubt */
    for (;;) {
        uint64_t step = 1;
        int rc = take_layers(task, count, err);
        if (rc != 0 || task->coarsest == 1 || is_near(task, *count, &step))
            return rc;
        task->step = step;
        task->step_max = step;
    }
}

int count_task_run(struct count_task *task, uint64_t *count, struct varve_err *err)
{
    int64_t live = 0;
    int rc = is_cancelled(task, err);

    *count = 0;
    if (rc == 0)
        rc = task->by_walk ? count_by_walk(task->db, task, &live, err)
                           : count_by_layers(task, &live, err);
    if (rc != 0)
        return rc;
    if (live < 0)
        return err_set(err, VARVE_ECORRUPT, "group %.*s counts %lld keys", (int)task->name_len,
                       (const char *)task->name, (long long)live);
    *count = (uint64_t)live;
    return 0;
}

/* ---- the calls ---- */

static int group_check(struct varve_slice group, struct varve_err *err)
{
    if (group.len > 0 && group.len <= VARVE_GROUP_MAX_BYTES)
        return 0;
    return err_set(err, VARVE_EINVAL, "a count group has a name of 1 to %d bytes",
                   VARVE_GROUP_MAX_BYTES);
}

static int count_here(struct varve_db *db, struct varve_slice group, int about, uint64_t *count,
                      struct varve_err *err)
{
    struct count_task task;
    int rc = group_check(group, err);

    *count = 0;
    if (rc != 0)
        return rc;
    task_init(&task, db, group);
    task.about = about;
    rc = count_task_run(&task, count, err);
    task_deinit(&task);
    return rc;
}

int varve_count(struct varve_db *db, struct varve_slice group, uint64_t *count,
                struct varve_err *err)
{
    return count_here(db, group, 0, count, err);
}

int varve_count_about(struct varve_db *db, struct varve_slice group, uint64_t *count,
                      struct varve_err *err)
{
    return count_here(db, group, 1, count, err);
}

/* Is there nothing to look up that is not remembered? */
static int task_is_known(struct count_task *task)
{
    const struct version *version = task->view->version;
    const struct version_group *group = version_group(version, task_name(task));
    struct count_answer known;

    if (task->by_walk)
        return 0;
    for (size_t i = 0; i < task->reset_layer; i++) {
        if (!task->ask[i])
            continue;
        memory_recall(task, memtable_layer(task, i), 0, &known);
        if (known.upto_seq < task->seq)
            return 0;
    }
    if (!task->has_version || group == NULL)
        return 1;
    for (size_t r = 0; r < version->run_count; r++)
        for (size_t i = 0; i < version->runs[r].count; i++)
            if (segment_to_ask(task, version->runs[r].segments[i], group->ignore_seq) > 0)
                return 0;
    return 1;
}

int varve_count_now(struct varve_db *db, struct varve_slice group, uint64_t *count,
                    struct varve_err *err)
{
    struct count_task task;
    int rc = group_check(group, err);

    *count = 0;
    if (rc != 0)
        return rc;
    task_init(&task, db, group);
    if (task_is_known(&task)) {
        rc = count_task_run(&task, count, err);
    } else {
        *count = task.by_walk ? UINT64_MAX : (uint64_t)task.upper;
        rc = VARVE_WOULD_BLOCK;
    }
    task_deinit(&task);
    return rc;
}
