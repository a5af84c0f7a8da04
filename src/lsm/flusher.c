#include "lsm/flusher.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/db.h"
#include "lsm/rewrite.h"

#define RETRY_US ((uint64_t)500000)
/* What the memtables may take together, in thousandths of one's size, where no more than one waits. */
#define MEMORY_PERMILLE 1250
#define GROWTH_FIRST_PERMILLE 1000 /* before anything is known */
#define CUT_MIN_PART 64            /* a piece is at least that part of a memtable's size */

static struct memtable *flush_memtable(const struct flusher *flusher)
{
    const struct view *view = flusher->view;

    return view->immutable[view->immutable_count - 1];
}

static void flush_forget(struct flusher *flusher)
{
    segment_set_destroy(flusher->set);
    flusher->set = NULL;
    snapshot_list_deinit(&flusher->snapshots);
    view_release(&flusher->db->view, flusher->view);
    flusher->view = NULL;
}

static void flush_enter(struct flusher *flusher, enum flush_state state)
{
    mutex_lock(&flusher->mutex);
    flusher->state = state;
    cond_broadcast(&flusher->changed);
    mutex_unlock(&flusher->mutex);
}

static void flush_failed(struct flusher *flusher, enum flush_state state,
                         const struct varve_err *err)
{
    struct varve_db *db = flusher->db;

    if (err->code == VARVE_ENOSPC)
        space_found_full(&db->space);
    if (strcmp(flusher->last.text, err->text) != 0)
        db_log(db, 4, "a flush failed, it is tried again: %s", err_text(err));
    mutex_lock(&flusher->mutex);
    flusher->last = *err;
    flusher->failures++;
    flusher->retry_us = db->env->ops->now_mono_us(db->env) + RETRY_US;
    mutex_unlock(&flusher->mutex);
    flush_enter(flusher, state);
}

/* The very end of a job: what it touches after that may be gone. */
static void flush_job_ends(struct flusher *flusher)
{
    mutex_lock(&flusher->mutex);
    flusher->jobs--;
    cond_broadcast(&flusher->changed);
    mutex_unlock(&flusher->mutex);
}

/* ---- building ---- */

static int by_begin(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;

    return entry_compare(left->chunk.key, left->seq, right->chunk.key, right->seq);
}

/* The memtable's range tombstones in the order of a segment. */
static int flush_collect_ranges(const struct memtable *memtable, struct entry **out, size_t *count)
{
    size_t total = memtable_range_count(memtable);
    struct entry *entries = mem_alloc((total + 1) * sizeof(*entries));
    const struct memtable_range *at = NULL;

    *out = entries;
    *count = 0;
    if (entries == NULL)
        return VARVE_ENOMEM;
    while (*count < total) {
        at = memtable_next_range(memtable, at, &entries[*count]);
        CHECK(at != NULL);
        (*count)++;
    }
    if (total > 1)
        qsort(entries, total, sizeof(*entries), by_begin);
    return 0;
}

static struct range_set *flush_range_set(const struct entry *entries, size_t count)
{
    struct range_tombstone *ranges = mem_alloc((count + 1) * sizeof(*ranges));

    if (ranges == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        ranges[i] = (struct range_tombstone){
            .begin = entries[i].chunk.key, .end = entries[i].chunk.value, .seq = entries[i].seq};
    struct range_set *set = range_set_create(ranges, count);
    mem_free(ranges);
    return set;
}

static int flush_emit(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct flusher *flusher = arg;

    return segment_set_add(flusher->set, entry, err);
}

static size_t flush_group(void *arg, struct varve_slice key, uint64_t *ignore_seq)
{
    struct flusher *flusher = arg;
    const struct varve_options *options = &flusher->db->options;

    *ignore_seq = 0;
    return options->count_group == NULL ? 0 : options->count_group(options->arg, key);
}

static int flush_took(void *arg, uint64_t entries)
{
    struct flusher *flusher = arg;

    (void)entries;
    return atomic_load_explicit(&flusher->db->stopping, memory_order_relaxed);
}

/* Where the segments of the level below begin: pieces that end there are merged by themselves. */
static const struct sorted_run *flush_base_run(const struct version *version)
{
    for (size_t i = 0; i < version->run_count; i++)
        if (version->runs[i].level > 0)
            return &version->runs[i];
    return NULL;
}

static int flush_older_may_hold(void *arg, struct varve_slice key, struct bloom_hash hash)
{
    const struct flusher *flusher = arg;

    return version_older_may_hold(flusher->view->version, 0, NULL, 0, key, hash);
}

static int flush_write(struct flusher *flusher, const struct entry *ranges, size_t range_count,
                       const struct range_set *set, struct varve_err *err)
{
    struct varve_db *db = flusher->db;
    const struct sorted_run *base = flush_base_run(flusher->view->version);
    struct segment_set_config config = {
        .dir = db->dir,
        .cache = db->cache,
        .writer = db_writer_options(db, 0),
        .segment_bytes = db->options.segment_size_bytes,
        .cuts = base == NULL ? NULL : base->lowers,
        .cut_count = base == NULL ? 0 : base->count,
        .cut_min_bytes = db->options.memtable_size_bytes / CUT_MIN_PART,
        .ranges = ranges,
        .range_count = range_count,
        .new_file_no = db_new_file_no,
        .file_no_arg = db,
    };
    struct rewrite_rules rules = {
        .snapshots = flusher->snapshots.seqs,
        .snapshot_count = flusher->snapshots.count,
        .ranges = set,
        .group = flush_group,
        .emit = flush_emit,
        .took = flush_took,
        .arg = flusher,
        .flush = 1,
    };
    config.writer.older_may_hold = flush_older_may_hold;
    config.writer.older_arg = flusher;
    struct count_changes changes = {0};
    struct iter *input = memtable_entries_create(flush_memtable(flusher), MEMTABLE_ALL_VERSIONS,
                                                 UINT64_MAX);
    int rc = input == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a flush")
                           : segment_set_create(&config, &flusher->set, err);

    if (rc == 0) {
        input->ops->first(input);
        rc = rewrite_run(&rules, input, varve_slice(NULL, 0), &changes, err);
    }
    if (rc == 0)
        rc = segment_set_finish(flusher->set, &flusher->segments, &flusher->segment_count, err);
    count_changes_deinit(&changes);
    iter_destroy(input);
    return rc;
}

static void flush_build(struct flusher *flusher)
{
    struct varve_err err = {0};
    struct entry *ranges = NULL;
    struct range_set *set = NULL;
    size_t range_count = 0;

    flusher->view = view_acquire(&flusher->db->view);
    int rc = snapshots_copy(&flusher->db->snapshots, &flusher->snapshots);
    if (rc == 0)
        rc = flush_collect_ranges(flush_memtable(flusher), &ranges, &range_count);
    if (rc == 0)
        set = flush_range_set(ranges, range_count);
    if (set == NULL)
        rc = err_set(&err, VARVE_ENOMEM, "no memory for a flush");
    if (rc == 0)
        rc = flush_write(flusher, ranges, range_count, set, &err);
    range_set_unref(set);
    mem_free(ranges);
    if (rc == 0) {
        flush_enter(flusher, FLUSH_BUILT);
        flusher_poke(flusher);
        return;
    }
    flush_forget(flusher);
    if (rc == REWRITE_STOPPED)
        flush_enter(flusher, FLUSH_IDLE);
    else
        flush_failed(flusher, FLUSH_IDLE, &err);
}

static void flush_build_run(struct varve_job *job)
{
    struct flusher *flusher = CONTAINER_OF(job, struct flusher, job);

    flush_build(flusher);
    flush_job_ends(flusher);
}

/* ---- taking effect ---- */

/* Everything that one edit says, for the manifest and for the version. */
struct flush_edit {
    struct manifest_edit *edits;
    size_t count;
    size_t wal_drops; /* the last ones */
    struct version_add *added;
    struct version_group *groups;
    size_t group_count;
};

static struct version_group flush_group_after(const struct version *version,
                                              const struct count_group *group)
{
    const struct version_group *before = version_group(version,
                                                       varve_slice(group->name, group->name_len));
    struct version_group after = {.name_len = group->name_len, .live = group->live};

    memcpy(after.name, group->name, group->name_len);
    if (group->reset) {
        after.ignore_seq = group->reset_seq;
        after.unknown = group->cut;
        if (after.live == 0 && !after.unknown)
            after.ignore_seq = UINT64_MAX; /* nothing of it is left to be counted */
    } else if (before != NULL) {
        after.live += before->live;
        after.ignore_seq = before->ignore_seq;
        after.unknown = group->cut || before->unknown;
    } else { /* what older segments hold of it was counted and forgotten */
        after.ignore_seq = version->flushed_seq;
        after.unknown = group->cut;
    }
    return after;
}

static void flush_plan_groups(const struct version *version, const struct counts *counts,
                              struct flush_edit *plan)
{
    for (size_t i = 0; i < counts->cap; i++)
        if (counts->slots[i].name_len != 0)
            plan->groups[plan->group_count++] = flush_group_after(version, &counts->slots[i]);
    for (size_t i = 0; i < plan->group_count; i++)
        plan->edits[plan->count++] = (struct manifest_edit){.change = MANIFEST_GROUP,
                                                            .group = &plan->groups[i]};
}

static int flush_plan(struct flusher *flusher, const struct version *version,
                      struct flush_edit *plan)
{
    struct varve_db *db = flusher->db;
    const struct memtable_notes *notes = memtable_notes(flush_memtable(flusher));
    size_t n = flusher->segment_count;
    size_t wals = manifest_state(db->manifest)->wal_count;

    plan->edits = mem_alloc((n + 1 + notes->counts.used + wals) * sizeof(*plan->edits));
    plan->added = mem_alloc((n + 1) * sizeof(*plan->added));
    plan->groups = mem_alloc((notes->counts.used + 1) * sizeof(*plan->groups));
    if (plan->edits == NULL || plan->added == NULL || plan->groups == NULL)
        return VARVE_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct segment *segment = flusher->segments[i];
        uint64_t run_no = segment_file_no(flusher->segments[0]);
        plan->edits[plan->count++] = (struct manifest_edit){
            .change = MANIFEST_ADD_SEGMENT,
            .file_no = segment_file_no(segment),
            .run_no = run_no,
            .size_bytes = segment_size_bytes(segment),
        };
        plan->added[i] = (struct version_add){.segment = segment, .run_no = run_no};
    }
    plan->edits[plan->count++] = (struct manifest_edit){.change = MANIFEST_FLUSHED,
                                                        .flushed_seq = notes->last_seq};
    flush_plan_groups(version, &notes->counts, plan);
    plan->wal_drops = db_plan_wal_drops(db, notes->wal_file_no, plan->edits + plan->count);
    plan->count += plan->wal_drops;
    return 0;
}

static void flush_plan_deinit(struct flush_edit *plan)
{
    mem_free(plan->edits);
    mem_free(plan->added);
    mem_free(plan->groups);
}

static int flush_apply(struct flusher *flusher, const struct flush_edit *plan,
                       struct varve_err *err)
{
    struct varve_db *db = flusher->db;
    struct memtable *memtable = flush_memtable(flusher);
    struct version_change change = {
        .added = plan->added,
        .added_count = flusher->segment_count,
        .groups = plan->groups,
        .group_count = plan->group_count,
        .flushed_seq = memtable_notes(memtable)->last_seq,
    };
    struct view *next = NULL;
    int rc = view_prepare(&db->view, &change, &next, err);

    if (rc != 0)
        return rc;
    segment_set_keep(flusher->set); /* an edit that fails may name them all the same */
    manifest_set_clock(db->manifest, varve_now_ms(db));
    rc = manifest_apply(db->manifest, plan->edits, plan->count, err);
    if (rc != 0) {
        view_discard(next);
        return rc;
    }
    if (db->rows != NULL)
        row_cache_flush(db->rows, memtable, change.flushed_seq);
    view_install(&db->view, next, memtable);
    /* Files before the one in which the log is durable are so with their seals, but for one that healing ended. */
    uint64_t durable_no = wal_sync_durable(&db->wal.sync).place.file_no;
    for (size_t i = plan->count - plan->wal_drops; i < plan->count; i++) {
        const struct manifest_edit *edit = &plan->edits[i];
        int synced = edit->end == 0 && edit->file_no < durable_no;
        db_discard_wal(db, edit->file_no, synced);
    }
    return 0;
}

/* Takes note of how much was written meanwhile. What it learns of a burst it believes at once, and
 * forgets slowly. */
static void flush_note_growth(struct flusher *flusher, const struct view *now)
{
    uint32_t before = atomic_load_explicit(&flusher->growth_permille, memory_order_relaxed);
    uint64_t grown = memtable_used_bytes(now->active);
    uint64_t permille;

    if (memtable_used_bytes(flush_memtable(flusher)) < flusher->db->options.memtable_size_bytes / 2)
        return; /* flushed for another reason: says nothing of how fast it fills */
    for (size_t i = 0; i + 1 < now->immutable_count; i++)
        grown += memtable_used_bytes(now->immutable[i]);
    permille = grown / (memtable_used_bytes(flush_memtable(flusher)) / 1000 + 1);
    if (permille > 2 * GROWTH_FIRST_PERMILLE)
        permille = 2 * GROWTH_FIRST_PERMILLE;
    if (permille < before)
        permille = (3 * (uint64_t)before + permille) / 4;
    atomic_store_explicit(&flusher->growth_permille, (uint32_t)permille, memory_order_relaxed);
}

uint64_t flusher_start_bytes(const struct flusher *flusher)
{
    uint64_t size = flusher->db->options.memtable_size_bytes;
    uint64_t both = 1000 + atomic_load_explicit(&flusher->growth_permille, memory_order_relaxed);
    uint64_t start = size / both * MEMORY_PERMILLE + size % both * MEMORY_PERMILLE / both;

    if (start < size / 2)
        return size / 2;
    return start < size && !MUTANT("flush-starts-late") ? start : size;
}

static void flush_install(struct flusher *flusher)
{
    struct varve_db *db = flusher->db;
    struct varve_err err = {0};
    struct flush_edit plan = {0};

    /* While a sync was in doubt, somebody may have taken a snapshot of less than what was built. */
    if (snapshots_grew_below(&db->snapshots, &flusher->snapshots,
                             memtable_notes(flush_memtable(flusher))->last_seq) &&
        !MUTANT("flush-ignores-snapshot")) {
        flush_forget(flusher);
        flush_enter(flusher, FLUSH_IDLE);
        return;
    }
    struct view *now = view_acquire(&db->view);
    int rc = flush_plan(flusher, now->version, &plan);
    if (rc != 0)
        err_set(&err, rc, "no memory for a manifest edit");
    else
        rc = flush_apply(flusher, &plan, &err);
    if (rc == 0)
        flush_note_growth(flusher, now);
    view_release(&db->view, now);
    flush_plan_deinit(&plan);
    if (rc != 0) {
        flush_failed(flusher, FLUSH_BUILT, &err);
        return;
    }
    uint64_t bytes = segment_set_written_bytes(flusher->set);
    flush_forget(flusher);
    mutex_lock(&flusher->mutex);
    flusher->flushes++;
    flusher->bytes += bytes;
    flusher->last = (struct varve_err){0};
    mutex_unlock(&flusher->mutex);
    flush_enter(flusher, FLUSH_IDLE);
    flusher_poke(flusher);
    compactor_measure(&db->compactor);
    if (!MUTANT("flush-wakes-nobody"))
        compactor_poke(&db->compactor);
}

static void flush_install_run(struct varve_job *job)
{
    struct flusher *flusher = CONTAINER_OF(job, struct flusher, job);

    flush_install(flusher);
    flush_job_ends(flusher);
}

/* ---- steps ---- */

void flusher_init(struct flusher *flusher, struct varve_db *db)
{
    *flusher = (struct flusher){.db = db, .growth_permille = GROWTH_FIRST_PERMILLE};
    mutex_init(&flusher->mutex);
    cond_init(&flusher->changed);
}

void flusher_deinit(struct flusher *flusher)
{
    CHECK(!flusher_is_running(flusher));
    if (flusher->view != NULL)
        flush_forget(flusher);
    mutex_deinit(&flusher->mutex);
    cond_deinit(&flusher->changed);
}

int flusher_is_running(const void *flusher)
{
    return ((const struct flusher *)flusher)->jobs > 0;
}

int flusher_is_failing(struct flusher *flusher, struct varve_err *err)
{
    mutex_lock(&flusher->mutex);
    int rc = flusher->last.code;
    if (rc != 0 && err != NULL)
        *err = flusher->last;
    mutex_unlock(&flusher->mutex);
    return rc;
}

/* 1 if a memtable waits; *last_seq is of its newest record. */
static int flush_is_waiting(struct flusher *flusher, uint64_t *last_seq)
{
    rcu_enter();
    const struct view *view = view_current(&flusher->db->view);
    size_t count = view->immutable_count;
    if (count > 0)
        *last_seq = memtable_notes(view->immutable[count - 1])->last_seq;
    rcu_leave();
    return count > 0;
}

void flusher_poke(struct flusher *flusher)
{
    struct varve_db *db = flusher->db;
    struct varve_executor *executor = db->options.executor;
    uint64_t now_us = db->env->ops->now_mono_us(db->env);
    enum varve_job_class class = VARVE_JOB_FLUSH;
    uint64_t last_seq = 0;
    int submit = 0;

    if (atomic_load(&db->stopping))
        return;
    mutex_lock(&flusher->mutex);
    if (now_us < flusher->retry_us) {
        /* not yet */
    } else if (flusher->state == FLUSH_IDLE) {
        submit = flush_is_waiting(flusher, &last_seq);
    } else if (flusher->state == FLUSH_BUILT) {
        last_seq = memtable_notes(flush_memtable(flusher))->last_seq;
        submit = varve_durable_seq(db) >= last_seq || MUTANT("flush-before-log-sync");
    }
    if (submit && flusher->state == FLUSH_IDLE) {
        flusher->state = FLUSH_BUILDING;
        flusher->job.run = flush_build_run;
    } else if (submit) {
        flusher->state = FLUSH_INSTALLING;
        flusher->job.run = flush_install_run;
        class = VARVE_JOB_MAINTENANCE;
    }
    flusher->jobs += submit;
    mutex_unlock(&flusher->mutex);
    if (submit)
        executor->submit(executor, class, &flusher->job);
    /* The log is synced while the segments are built, so that the memtable does not wait for that later. */
    if (last_seq > varve_durable_seq(db))
        wal_sync_start(&db->wal.sync);
}
