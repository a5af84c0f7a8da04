#include "lsm/count_keys.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/db.h"
#include "varve/iter.h"

#define MEMTABLE_LAYER ((uint64_t)1 << 63)
#define ANSWERS_MAX 65536

struct count_task {
    struct varve_db *db;
    struct view *view;
    uint64_t seq;       /* the newest operation that is counted */
    int64_t upper;      /* what all layers know, with unknown keys counted as new */
    size_t reset_layer; /* memtables from this index on, and the version, hold nothing of it */
    int has_version;
    int ask[MEMTABLES_MAX + 1]; /* a memtable each: it has unknown keys, and something lies below */
    int by_walk;
    int keeps; /* all that is counted was committed: an answer holds for good */
    struct varve_snapshot *snapshot; /* of a walk */
    uint8_t name[VARVE_GROUP_MAX_BYTES];
    uint8_t name_len;
    _Atomic int cancelled;
};

/* ---- memory ---- */

void count_memory_init(struct count_memory *memory)
{
    *memory = (struct count_memory){0};
    mutex_init(&memory->mutex);
}

void count_memory_deinit(struct count_memory *memory)
{
    mem_free(memory->answers);
    mutex_deinit(&memory->mutex);
}

static struct count_answer *memory_find_locked(struct count_memory *memory, uint64_t layer,
                                               struct varve_slice name)
{
    for (size_t i = 0; i < memory->count; i++) {
        struct count_answer *answer = &memory->answers[i];
        if (answer->layer == layer && answer->name_len == name.len &&
            memcmp(answer->name, name.data, name.len) == 0)
            return answer;
    }
    return NULL;
}

/* *answer is zeroed if nothing is known that still holds. */
static void memory_recall(struct count_task *task, uint64_t layer, struct count_answer *answer)
{
    struct count_memory *memory = &task->db->count_memory;

    *answer = (struct count_answer){0};
    mutex_lock(&memory->mutex);
    const struct count_answer *found = memory_find_locked(memory, layer,
                                                          varve_slice(task->name, task->name_len));
    if (found != NULL &&
        (found->expiry_drops == task->view->version->expiry_drops ||
         MUTANT("count-answer-for-ever")) &&
        found->upto_seq <= task->seq)
        *answer = *found;
    mutex_unlock(&memory->mutex);
}

/* Without memory, or with too much in it, the next count starts from the beginning. */
static void memory_keep(struct count_task *task, uint64_t layer, uint64_t live_below)
{
    struct count_memory *memory = &task->db->count_memory;
    struct count_answer fresh = {
        .layer = layer,
        .name_len = task->name_len,
        .upto_seq = task->seq,
        .live_below = live_below,
        .expiry_drops = task->view->version->expiry_drops,
    };

    if (!task->keeps)
        return;
    memcpy(fresh.name, task->name, task->name_len);
    mutex_lock(&memory->mutex);
    struct count_answer *at = memory_find_locked(memory, layer,
                                                 varve_slice(task->name, task->name_len));
    if (at == NULL && memory->count == ANSWERS_MAX)
        memory->count = 0;
    if (at == NULL && memory->count == memory->cap) {
        size_t cap = memory->cap == 0 ? 64 : 2 * memory->cap;
        struct count_answer *grown = mem_realloc(memory->answers, cap * sizeof(*grown));
        if (grown != NULL) {
            memory->answers = grown;
            memory->cap = cap;
        }
    }
    if (at == NULL && memory->count < memory->cap)
        at = &memory->answers[memory->count++];
    if (at != NULL)
        *at = fresh;
    mutex_unlock(&memory->mutex);
}

/* ---- what was live below ---- */

static int key_in_group(const struct count_task *task, struct varve_slice key)
{
    return key.len >= task->name_len && memcmp(key.data, task->name, task->name_len) == 0;
}

static int live_below_memtable(struct count_task *task, size_t index, const struct entry *oldest,
                               uint64_t *live, struct varve_err *err)
{
    struct segment_read how = {.wait = SEGMENT_WAIT};
    struct segment_hold hold;
    struct memtable *memtable;
    struct entry entry;

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
static int count_memtable(struct count_task *task, size_t index, uint64_t after, uint64_t *live,
                          struct varve_err *err)
{
    struct memtable *memtable = index == 0 ? task->view->active : task->view->immutable[index - 1];
    struct memtable_iter *iter = memtable_iter_create(memtable);
    struct entry oldest;
    int rc = 0;

    if (iter == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to count keys");
    memtable_iter_seek(iter, varve_slice(task->name, task->name_len));
    for (; rc == 0 && memtable_iter_valid(iter) && key_in_group(task, memtable_iter_key(iter));
         memtable_iter_next(iter)) {
        if (memtable_iter_oldest(iter, &oldest) && oldest.seq > after && oldest.seq <= task->seq &&
            memtable_range_seq(memtable, oldest.chunk.key, oldest.seq) == 0)
            rc = live_below_memtable(task, index, &oldest, live, err);
        if (rc == 0)
            rc = is_cancelled(task, err);
    }
    if (rc == 0)
        rc = memtable_iter_status(iter);
    memtable_iter_destroy(iter);
    return rc;
}

static int live_below_entry(const struct count_task *task, size_t run, const struct entry *entry,
                            uint64_t *live, struct varve_err *err)
{
    const struct version *version = task->view->version;
    struct version older = {.runs = version->runs + run, .run_count = version->run_count - run};
    struct segment_read how = {.wait = SEGMENT_WAIT};
    struct segment_hold hold = {0};
    struct entry below;
    uint64_t seq_max = entry->seq - 1;

    rcu_enter();
    uint64_t range_seq = range_set_seq(version->ranges, entry->chunk.key, seq_max);
    int rc = version_get(&older, entry->chunk.key, range_seq, seq_max, &how, &task->db->reads,
                         &below, &hold, err);
    *live += rc == 0 && below.seq > range_seq && below.chunk.kind == CHUNK_PUT;
    segment_hold_release(&hold);
    rcu_leave();
    return rc == VARVE_NOT_FOUND ? 0 : rc;
}

static int count_segment(struct count_task *task, size_t run, struct segment *segment,
                         uint64_t ignore_seq, uint64_t *live, struct varve_err *err)
{
    struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};
    struct iter *iter = segment_iter_create(segment, &how, (size_t)64 * 1024);
    int rc = 0;

    if (iter == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to count keys");
    iter->ops->seek(iter, varve_slice(task->name, task->name_len));
    for (; rc == 0 && iter->valid && key_in_group(task, iter->entry.chunk.key);
         iter->ops->next(iter)) {
        if (iter->entry.prior_unknown && iter->entry.seq > ignore_seq)
            rc = live_below_entry(task, run, &iter->entry, live, err);
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

static int take_memtable(struct count_task *task, size_t index, int64_t *count,
                         struct varve_err *err)
{
    struct memtable *memtable = index == 0 ? task->view->active : task->view->immutable[index - 1];
    uint64_t layer = memtable_notes(memtable)->id | MEMTABLE_LAYER;
    struct count_answer known;

    memory_recall(task, layer, &known);
    uint64_t live = known.live_below;
    int rc = known.upto_seq == task->seq ? 0
                                         : count_memtable(task, index, known.upto_seq, &live, err);
    if (rc != 0)
        return rc;
    memory_keep(task, layer, live);
    *count -= (int64_t)live;
    return 0;
}

/* Among its entries above ignore_seq. */
static int segment_has_unknown(const struct count_task *task, const struct segment *segment,
                               uint64_t ignore_seq)
{
    const struct properties *properties = segment_properties(segment);

    if (properties->seq_max <= ignore_seq)
        return 0;
    if (properties->group_count > SEGMENT_GROUPS_MAX)
        return 1;
    for (uint32_t i = 0; i < properties->group_count; i++)
        if (properties->groups[i].name_len == task->name_len &&
            memcmp(properties->groups[i].name, task->name, task->name_len) == 0)
            return properties->groups[i].unknown > 0;
    return 0;
}

static int take_segment(struct count_task *task, size_t run, struct segment *segment,
                        uint64_t ignore_seq, int64_t *count, struct varve_err *err)
{
    struct count_answer known;
    uint64_t live = 0;
    int rc = 0;

    if (!segment_has_unknown(task, segment, ignore_seq))
        return 0;
    memory_recall(task, segment_file_no(segment), &known);
    if (known.upto_seq != 0)
        live = known.live_below;
    else
        rc = count_segment(task, run, segment, ignore_seq, &live, err);
    if (rc != 0)
        return rc;
    memory_keep(task, segment_file_no(segment), live);
    *count -= (int64_t)live;
    return 0;
}

static int take_version(struct count_task *task, int64_t *count, struct varve_err *err)
{
    const struct version *version = task->view->version;
    const struct version_group *group = version_group(version,
                                                      varve_slice(task->name, task->name_len));
    int rc = 0;

    if (group == NULL)
        return 0;
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
    struct varve_slice name = varve_slice(task->name, task->name_len);
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
    struct varve_slice name = varve_slice(task->name, task->name_len);

    task->reset_layer = view->immutable_count + 1;
    task->has_version = 1;
    for (size_t i = 0; i <= view->immutable_count; i++) {
        struct memtable *memtable = i == 0 ? view->active : view->immutable[i - 1];
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
    struct varve_slice name = varve_slice(task->name, task->name_len);
    int below = task->has_version && version_group(view->version, name) != NULL;
    size_t layers = task->reset_layer < view->immutable_count + 1 ? task->reset_layer + 1
                                                                  : task->reset_layer;

    for (size_t i = layers; i-- > 0;) {
        struct memtable *memtable = i == 0 ? view->active : view->immutable[i - 1];
        const struct count_group *group = counts_find(&memtable_notes(memtable)->counts, name);
        task->ask[i] = group != NULL && group->unknown > 0 && below;
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

struct count_task *count_task_create(struct varve_db *db, struct varve_slice group)
{
    struct count_task *task = mem_alloc(sizeof(*task));

    if (task == NULL)
        return NULL;
    task_init(task, db, group);
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

void count_task_cancel(struct count_task *task)
{
    atomic_store_explicit(&task->cancelled, 1, memory_order_relaxed);
}

int count_task_run(struct count_task *task, uint64_t *count, struct varve_err *err)
{
    int64_t live = task->upper;
    int rc = 0;

    *count = 0;
    if (task->by_walk)
        rc = count_by_walk(task->db, task, &live, err);
    for (size_t i = 0; rc == 0 && !task->by_walk && i < task->reset_layer; i++)
        rc = task->ask[i] ? take_memtable(task, i, &live, err) : 0;
    if (rc == 0 && !task->by_walk && task->has_version)
        rc = take_version(task, &live, err);
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

int varve_count(struct varve_db *db, struct varve_slice group, uint64_t *count,
                struct varve_err *err)
{
    struct count_task task;
    int rc = group_check(group, err);

    *count = 0;
    if (rc != 0)
        return rc;
    task_init(&task, db, group);
    rc = count_task_run(&task, count, err);
    task_deinit(&task);
    return rc;
}

/* Is there nothing to look up that is not remembered? */
static int task_is_known(struct count_task *task)
{
    const struct version *version = task->view->version;
    const struct version_group *group = version_group(version,
                                                      varve_slice(task->name, task->name_len));
    struct count_answer known;

    if (task->by_walk)
        return 0;
    for (size_t i = 0; i < task->reset_layer; i++) {
        struct memtable *memtable = i == 0 ? task->view->active : task->view->immutable[i - 1];
        memory_recall(task, memtable_notes(memtable)->id | MEMTABLE_LAYER, &known);
        if (task->ask[i] && known.upto_seq < task->seq)
            return 0;
    }
    if (!task->has_version || group == NULL)
        return 1;
    for (size_t r = 0; r < version->run_count; r++)
        for (size_t i = 0; i < version->runs[r].count; i++) {
            const struct segment *segment = version->runs[r].segments[i];
            memory_recall(task, segment_file_no(segment), &known);
            if (segment_has_unknown(task, segment, group->ignore_seq) && known.upto_seq == 0)
                return 0;
        }
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
