#include "lsm/compactor.h"

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/compactor_view.h"
#include "lsm/db.h"

#define RETRY_US ((uint64_t)1000000)
#define IDLE_US ((uint64_t)5000000)
#define RETRY_DOUBLED_MAX 3 /* a large merge that finds no room costs as much each time */

static void compactor_plan_run(struct varve_job *job);
static void compactor_install_run(struct varve_job *job);

static void compactor_submit(struct compactor *compactor, enum varve_job_class class,
                             void (*run)(struct varve_job *job))
{
    struct varve_executor *executor = compactor->db->options.executor;

    compactor->job.run = run;
    executor->submit(executor, class, &compactor->job);
}

static void compactor_forget(struct compactor *compactor)
{
    compaction_destroy(compactor->compaction);
    compactor->compaction = NULL;
    version_unref(compactor->version);
    compactor->version = NULL;
    snapshot_list_deinit(&compactor->snapshots);
    pick_deinit(&compactor->pick);
}

/* The end of a plan or compaction; another follows if something has changed, or was done. */
static void compactor_end(struct compactor *compactor, int did_something)
{
    struct varve_db *db = compactor->db;

    mutex_lock(&compactor->mutex);
    int more = (did_something || compactor->again) && !atomic_load(&db->stopping);
    if (!did_something && !compactor->again)
        compactor->compact_all = 0;
    compactor->again = 0;
    compactor->merging = 0;
    compactor->running = more;
    cond_broadcast(&compactor->changed);
    mutex_unlock(&compactor->mutex);
    if (more)
        compactor_submit(compactor, VARVE_JOB_COMPACTION, compactor_plan_run);
}

/* With an install that may have taken effect, all is kept for the next try. */
static void compactor_failed(struct compactor *compactor, const struct varve_err *err)
{
    struct varve_db *db = compactor->db;

    mutex_lock(&compactor->mutex);
    int news = strcmp(compactor->last_error, err->text) != 0;
    if (news)
        snprintf(compactor->last_error, sizeof(compactor->last_error), "%s", err->text);
    mutex_unlock(&compactor->mutex);
    if (news)
        db_log(db, 4, "a compaction failed, it is tried again: %s", err_text(err));
    if (err->code == VARVE_ENOSPC) {
        compactor->room_bytes = compactor->pick.input_bytes / 4 * 3;
        space_found_cramped(&db->space);
    }
    if (!compactor->install_pending)
        compactor_forget(compactor);
    mutex_lock(&compactor->mutex);
    compactor->failures++;
    compactor->retry_us = db->env->ops->now_mono_us(db->env) +
                          (RETRY_US << compactor->failed_in_row);
    compactor->failed_in_row += compactor->failed_in_row < RETRY_DOUBLED_MAX;
    compactor->compact_all_failed = compactor->compact_all;
    compactor->compact_all = 0;
    compactor->again = 0;
    compactor->merging = 0;
    compactor->running = 0;
    cond_broadcast(&compactor->changed);
    mutex_unlock(&compactor->mutex);
}

/* ---- planning ---- */

/* Only of the version of now: who installed another one after it measures that. */
static void compactor_know(struct compactor *compactor, const struct version *version,
                           const struct picker_debt *debt)
{
    mutex_lock(&compactor->mutex);
    struct view *now = view_acquire(&compactor->db->view);
    if (now->version == version) {
        compactor->debt = *debt;
        if (compactor->relief_shows)
            compactor->merging_relieved_bytes = 0;
        compactor->relief_shows = 0;
    }
    mutex_unlock(&compactor->mutex);
    view_release(&compactor->db->view, now);
}

static int compactor_look(struct compactor *compactor, const struct version *version,
                          const struct snapshot_list *snapshots, uint64_t expired_before_ms,
                          struct compactor_view *picture)
{
    struct varve_db *db = compactor->db;
    struct picker_debt debt;
    int rc = compactor_view_init(picture, version, snapshots, expired_before_ms);

    if (rc != 0)
        return rc;
    mutex_lock(&db->flusher.mutex);
    uint64_t flush_bytes = db->flusher.flushes == 0 ? db->options.memtable_size_bytes / 2
                                                    : db->flusher.bytes / db->flusher.flushes;
    mutex_unlock(&db->flusher.mutex);
    picture->view.flush_bytes = flush_bytes == 0 ? 1 : flush_bytes;
    picture->view.segment_size_bytes = db->options.segment_size_bytes;
    picture->view.segments_max = db->options.segments_max;
    mutex_lock(&compactor->mutex);
    picture->view.floor_bytes = compactor->floor_bytes;
    picture->view.compact_all = compactor->compact_all;
    picture->view.compact_all_seq = compactor->compact_all_seq;
    mutex_unlock(&compactor->mutex);
    picker_debt(&picture->view, &debt); /* the writer does not wait for that */
    compactor_know(compactor, version, &debt);
    return 0;
}

/* Nothing was picked. Who waits for a merge of everything is told if the room bound alone forbids it. */
static int compactor_check_all(struct picker_view *view, struct varve_err *err)
{
    struct pick pick;
    uint64_t room_bytes = view->room_bytes;

    if (!view->compact_all || room_bytes == 0)
        return 0;
    view->room_bytes = 0;
    int rc = picker_pick(view, &pick);
    if (rc != 0)
        return err_set(err, rc, "no memory to plan a compaction");
    if (pick.reason == PICK_FOR_ALL)
        rc = err_set(err, VARVE_EIO, "the disk has no room to merge %llu bytes, %llu are left",
                     (unsigned long long)pick.input_bytes, (unsigned long long)room_bytes);
    pick_deinit(&pick);
    return rc;
}

/* What a merge may take: no more than what there last was no room for. */
static uint64_t compactor_room(const struct compactor *compactor, int with_reserve)
{
    uint64_t room = space_room(&compactor->db->space, with_reserve);

    return compactor->room_bytes != 0 && compactor->room_bytes < room ? compactor->room_bytes
                                                                      : room;
}

/* Nothing was picked. Would something be if the reserve was there to take? Then it is given up, and the next
 * plan finds the room. */
static int compactor_ask_reserve(struct compactor *compactor, struct picker_view *view,
                                 struct varve_err *err)
{
    uint64_t room_bytes = view->room_bytes;
    struct pick pick;

    if (!view->low || room_bytes == 0 || MUTANT("reserve-for-flushes-only"))
        return 0;
    view->room_bytes = compactor_room(compactor, 1);
    if (view->room_bytes > room_bytes) {
        if (picker_pick(view, &pick) != 0)
            return err_set(err, VARVE_ENOMEM, "no memory to plan a compaction");
        if (pick.kind != PICK_NOTHING)
            space_found_cramped(&compactor->db->space);
        pick_deinit(&pick);
    }
    view->room_bytes = room_bytes;
    return 0;
}

/* Can a writer not go on, for a memtable that is not flushed or a log that failed? */
static int writes_wait(struct varve_db *db)
{
    struct view *view = view_acquire(&db->view);
    int wait = view->immutable_count > 0 || atomic_load(&db->failed);

    view_release(&db->view, view);
    return wait;
}

/* Has nobody written for a while who could? Each plan looks, and in quiet times there is one with each slow
 * tick. */
static int compactor_is_idle(struct compactor *compactor)
{
    struct varve_db *db = compactor->db;
    uint64_t seq = atomic_load_explicit(&db->visible_seq, memory_order_relaxed);
    uint64_t now_us = db->env->ops->now_mono_us(db->env);

    if (seq != compactor->idle_seq || writes_wait(db)) {
        compactor->idle_seq = seq;
        compactor->idle_since_us = now_us;
    }
    return now_us - compactor->idle_since_us >= IDLE_US;
}

static int compactor_pick(struct compactor *compactor, uint64_t expired_before_ms,
                          struct varve_err *err)
{
    struct compactor_view picture;
    int rc = compactor_look(compactor, compactor->version, &compactor->snapshots, expired_before_ms,
                            &picture);

    if (rc != 0)
        return err_set(err, rc, "no memory to plan a compaction");
    picture.view.low = atomic_load(&compactor->db->space.low);
    int is_idle = compactor_is_idle(compactor) && !MUTANT("idle-keeps-floor");
    /* What nothing makes due is not worth a second try, nor the room of a full disk. */
    picture.view.idle = is_idle && !picture.view.low && compactor->failed_in_row == 0;
    if (is_idle || picture.view.low)
        picture.view.floor_bytes = 0;
    picture.view.room_bytes = compactor_room(compactor, 0);
    rc = picker_pick(&picture.view, &compactor->pick);
    if (rc != 0) {
        err_set(err, rc, "no memory to plan a compaction");
    } else if (compactor->pick.kind == PICK_NOTHING) {
        compactor->room_bytes = 0;
        rc = compactor_check_all(&picture.view, err);
        if (rc == 0)
            rc = compactor_ask_reserve(compactor, &picture.view, err);
    }
    compactor_view_deinit(&picture);
    return rc;
}

void compactor_measure(struct compactor *compactor)
{
    struct varve_db *db = compactor->db;
    const struct snapshot_list none = {.oldest_seq = UINT64_MAX, .now_ms_min = UINT64_MAX};
    struct compactor_view picture;
    struct view *view = view_acquire(&db->view);

    /* Without memory the figures stay as they are. */
    if (compactor_look(compactor, view->version, &none, varve_now_ms(db), &picture) == 0)
        compactor_view_deinit(&picture);
    view_release(&db->view, view);
}

static void compactor_part_run(struct varve_job *job)
{
    struct compaction_part_job *part = CONTAINER_OF(job, struct compaction_part_job, job);
    struct compactor *compactor = part->compactor;

    part->rc = compaction_part(compactor->compaction, part->part, &part->err);
    if (atomic_fetch_sub(&compactor->parts_left, 1) == 1)
        compactor_submit(compactor, VARVE_JOB_MAINTENANCE, compactor_install_run);
}

static int compactor_start_parts(struct compactor *compactor, uint64_t expired_before_ms,
                                 struct varve_err *err)
{
    struct varve_db *db = compactor->db;
    struct varve_executor *executor = db->options.executor;
    struct compaction_config config = {
        .dir = db->dir,
        .cache = db->cache,
        .writer = db_writer_options(db, compactor->pick.output_level),
        .snapshots = compactor->snapshots.seqs,
        .snapshot_count = compactor->snapshots.count,
        .expired_before_ms = expired_before_ms,
        .count_group = db->options.count_group,
        .group_arg = db->options.arg,
        .parts_max = db->options.compaction_jobs,
        .new_file_no = db_new_file_no,
        .file_no_arg = db,
        .stop = &db->stopping,
        .took = &compactor->took_entries,
    };
    int rc = compaction_create(&config, compactor->version, &compactor->pick,
                               &compactor->compaction, err);

    if (rc != 0)
        return rc;
    size_t count = compaction_part_count(compactor->compaction);
    CHECK(count > 0 && count <= COMPACTION_PARTS_MAX);
    for (size_t i = 0; i < count; i++)
        compactor->parts[i] = (struct compaction_part_job){
            .job.run = compactor_part_run, .compactor = compactor, .part = i};
    atomic_store(&compactor->parts_left, count);
    atomic_store(&compactor->took_entries, 0);
    mutex_lock(&compactor->mutex);
    compactor->merging = 1;
    compactor->relief_shows = 0;
    compactor->merging_entries = compactor->pick.input_entries;
    /* One that fails again and again would let writers run each time. */
    compactor->merging_relieved_bytes = compactor->failed_in_row == 0
                                            ? compactor->pick.relieved_bytes
                                            : 0;
    mutex_unlock(&compactor->mutex);
    for (size_t i = 0; i < count; i++)
        executor->submit(executor, VARVE_JOB_COMPACTION, &compactor->parts[i].job);
    return 0;
}

static void compactor_plan_run(struct varve_job *job)
{
    struct compactor *compactor = CONTAINER_OF(job, struct compactor, job);
    struct varve_db *db = compactor->db;
    struct varve_err err = {0};

    if (atomic_load(&db->stopping)) {
        compactor_end(compactor, 0);
        return;
    }
    if (compactor->install_pending) {
        compactor_submit(compactor, VARVE_JOB_MAINTENANCE, compactor_install_run);
        return;
    }
    struct view *view = view_acquire(&db->view);
    compactor->version = version_ref(view->version);
    view_release(&db->view, view);
    compactor->err = (struct varve_err){0};
    uint64_t now_ms = varve_now_ms(db); /* first: a snapshot that the copy misses is younger */
    int rc = snapshots_copy(&db->snapshots, &compactor->snapshots);
    uint64_t expired_before_ms = db_droppable_ms(db, now_ms);
    if (compactor->snapshots.now_ms_min < expired_before_ms)
        expired_before_ms = compactor->snapshots.now_ms_min;
    if (rc != 0)
        err_set(&err, rc, "no memory to plan a compaction");
    else
        rc = compactor_pick(compactor, expired_before_ms, &err);
    enum pick_kind kind = compactor->pick.kind; /* once parts run, they may end, and all of it */
    if (rc == 0 && kind == PICK_MERGE)
        rc = compactor_start_parts(compactor, expired_before_ms, &err);
    if (rc != 0) {
        compactor_failed(compactor, &err);
    } else if (kind == PICK_NOTHING) {
        compactor_forget(compactor);
        compactor_end(compactor, 0);
    } else if (kind != PICK_MERGE) {
        compactor_submit(compactor, VARVE_JOB_MAINTENANCE, compactor_install_run);
    }
}

/* ---- taking effect ---- */

static int compactor_parts_rc(struct compactor *compactor, struct varve_err *err)
{
    if (compactor->compaction == NULL)
        return 0;
    for (size_t i = 0; i < compaction_part_count(compactor->compaction); i++) {
        struct compaction_part_job *part = &compactor->parts[i];
        if (part->rc == 0)
            continue;
        *err = part->err;
        return part->rc;
    }
    return 0;
}

static void compactor_count(struct compactor *compactor, const struct compaction_result *result)
{
    uint32_t level = compactor->pick.output_level;

    mutex_lock(&compactor->mutex);
    compactor->compactions += compactor->pick.kind == PICK_MERGE;
    compactor->moves += compactor->pick.kind == PICK_MOVE ? compactor->pick.input_count : 0;
    compactor->drops += compactor->pick.kind == PICK_DROP ? compactor->pick.input_count : 0;
    compactor->read_bytes += result->read_bytes;
    compactor->written_bytes += result->written_bytes;
    compactor->copied_bytes += result->copied_bytes;
    compactor->level_read_bytes[level] += result->read_bytes;
    compactor->level_written_bytes[level] += result->written_bytes;
    compactor->relief_shows = 1;
    compactor->last_error[0] = '\0';
    compactor->failed_in_row = 0;
    compactor->room_bytes = 0;
    mutex_unlock(&compactor->mutex);
}

/* Once a compaction: an install that is tried again finds it here. */
static int compactor_take_result(struct compactor *compactor, struct varve_err *err)
{
    if (compactor->install_pending)
        return 0;
    compactor->result = (struct compaction_result){0};
    if (compactor->compaction == NULL)
        return 0;
    return compaction_result(compactor->compaction, &compactor->result, err);
}

static int compactor_install(struct compactor *compactor, struct varve_err *err)
{
    struct varve_db *db = compactor->db;
    struct compactor_edit edit = {0};
    struct view *now = view_acquire(&db->view);
    struct view *next = NULL;
    int rc = compactor_take_result(compactor, err);

    if (rc != 0)
        goto out;
    rc = compactor_edit_init(&edit, &compactor->pick, compactor->version, now->version,
                             &compactor->result);
    if (rc != 0) {
        err_set(err, rc, "no memory for a manifest edit");
        goto out;
    }
    rc = view_prepare(&db->view, &edit.change, &next, err);
    if (rc != 0)
        goto out;
    if (compactor->compaction != NULL)
        compaction_keep(compactor->compaction);
    compactor->install_pending = 1;
    manifest_set_clock(db->manifest, varve_now_ms(db));
    rc = manifest_apply(db->manifest, edit.edits, edit.edit_count, err);
    if (rc != 0) {
        view_discard(next);
        goto out;
    }
    view_install(&db->view, next, NULL);
    compactor->install_pending = 0;
    compactor_edit_mark_dead(&edit);
    compactor_count(compactor, &compactor->result);
out:
    compactor_edit_deinit(&edit);
    view_release(&db->view, now);
    return rc;
}

static void compactor_install_run(struct varve_job *job)
{
    struct compactor *compactor = CONTAINER_OF(job, struct compactor, job);
    struct varve_err err = {0};
    int rc = compactor_parts_rc(compactor, &err);

    if (rc == REWRITE_STOPPED) {
        compactor_forget(compactor);
        compactor_end(compactor, 0);
        return;
    }
    if (rc == 0)
        rc = compactor_install(compactor, &err);
    if (rc != 0) {
        compactor_failed(compactor, &err);
        return;
    }
    compactor_measure(compactor);
    compactor_forget(compactor);
    compactor_end(compactor, 1);
}

/* ---- from outside ---- */

void compactor_init(struct compactor *compactor, struct varve_db *db)
{
    *compactor = (struct compactor){.db = db};
    compactor->floor_bytes = PICKER_FLOOR_MEMTABLES * db->options.memtable_size_bytes;
    mutex_init(&compactor->mutex);
    cond_init(&compactor->changed);
}

void compactor_deinit(struct compactor *compactor)
{
    CHECK(!compactor->running);
    compactor_forget(compactor);
    mutex_deinit(&compactor->mutex);
    cond_deinit(&compactor->changed);
}

int compactor_is_running(const void *compactor)
{
    return ((const struct compactor *)compactor)->running;
}

int compactor_is_compacting_all(const void *compactor)
{
    return ((const struct compactor *)compactor)->compact_all;
}

void compactor_poke(struct compactor *compactor)
{
    struct varve_db *db = compactor->db;
    int submit = 0;

    if (atomic_load(&db->stopping))
        return;
    mutex_lock(&compactor->mutex);
    if (compactor->running)
        compactor->again = 1;
    else if (db->env->ops->now_mono_us(db->env) >= compactor->retry_us)
        submit = compactor->running = 1;
    mutex_unlock(&compactor->mutex);
    if (submit)
        compactor_submit(compactor, VARVE_JOB_COMPACTION, compactor_plan_run);
}

void compactor_compact_all(struct compactor *compactor, uint64_t seq)
{
    mutex_lock(&compactor->mutex);
    compactor->compact_all = 1;
    compactor->compact_all_seq = seq;
    compactor->compact_all_failed = 0;
    compactor->retry_us = 0;
    compactor->again = compactor->running; /* a plan that does not know of it must not end it */
    mutex_unlock(&compactor->mutex);
    compactor_poke(compactor);
}

/* What of a merge is done counts at once: the debt falls by and by, and the rate of writes rises so. */
static uint64_t compactor_relieved_bytes(const struct compactor *compactor)
{
    uint64_t took = atomic_load_explicit(&compactor->took_entries, memory_order_relaxed);

    if (!compactor->merging || MUTANT("merge-relieves-at-end"))
        return 0;
    if (took >= compactor->merging_entries)
        return compactor->merging_relieved_bytes;
    return (uint64_t)((double)compactor->merging_relieved_bytes * (double)took /
                      (double)compactor->merging_entries);
}

void compactor_load(struct compactor *compactor, struct stall_load *load)
{
    mutex_lock(&compactor->mutex);
    uint64_t dead = compactor->debt.upper_dead_bytes;
    uint64_t relieved = compactor_relieved_bytes(compactor);
    load->level0_depth = compactor->debt.level0_depth;
    load->upper_bytes = dead;
    load->relieved_bytes = relieved < dead ? relieved : dead;
    load->upper_target_bytes = compactor->debt.upper_target_bytes;
    load->floor_gives_bytes = compactor->debt.floor_gives_bytes;
    load->flush_dead_bytes = compactor->debt.flush_dead_bytes;
    mutex_unlock(&compactor->mutex);
}
