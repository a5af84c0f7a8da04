#include "lsm/heal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/db.h"
#include "lsm/names.h"

#define RETRY_US ((uint64_t)500000)
#define RECORD_BYTES ((size_t)1024 * 1024)
#define RECORD_CAP_BYTES ((size_t)2 * 1024 * 1024 * 1024)

/* ---- what was not durable ---- */

struct doubtful {
    struct entry *records;
    size_t count;
    size_t cap;
};

/* Which records: above `durable`, up to `committed`. What lies above that is the open group, which may
 * still be undone, and is not healing's business. */
struct doubtful_range {
    uint64_t durable;
    uint64_t committed;
};

static int doubtful_add(struct doubtful *list, const struct doubtful_range *range,
                        const struct entry *record)
{
    if (record->seq > range->committed && !MUTANT("heal-open-group"))
        return 0;
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 1024 : list->cap * 2;
        struct entry *grown = mem_realloc(list->records, cap * sizeof(*grown));
        if (grown == NULL)
            return VARVE_ENOMEM;
        list->records = grown;
        list->cap = cap;
    }
    list->records[list->count++] = *record;
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    uint64_t left = ((const struct entry *)a)->seq;
    uint64_t right = ((const struct entry *)b)->seq;

    return (left > right) - (left < right);
}

/* Every record of a memtable in the range. */
static int doubtful_collect_from(struct memtable *memtable, const struct doubtful_range *wanted,
                                 struct doubtful *list)
{
    struct entry record;
    const struct memtable_version *version;
    const struct memtable_range *range = NULL;
    struct memtable_iter *iter = memtable_iter_create(memtable);
    int rc = 0;

    if (iter == NULL)
        return VARVE_ENOMEM;
    for (memtable_iter_first(iter); rc == 0 && memtable_iter_valid(iter);
         memtable_iter_next(iter)) {
        version = memtable_iter_version(iter, NULL, &record);
        while (rc == 0 && version != NULL && record.seq > wanted->durable) {
            rc = doubtful_add(list, wanted, &record);
            version = memtable_iter_version(iter, version, &record);
        }
    }
    if (rc == 0)
        rc = memtable_iter_status(iter);
    memtable_iter_destroy(iter);
    range = MUTANT("heal-forgets-ranges") ? NULL : memtable_next_range(memtable, NULL, &record);
    while (rc == 0 && range != NULL && record.seq > wanted->durable) {
        rc = doubtful_add(list, wanted, &record);
        range = memtable_next_range(memtable, range, &record);
    }
    return rc;
}

/* Of all memtables, in the order of the log. What is in segments was durable before it went there. The
 * view must live as long as the records. */
static int doubtful_collect(const struct view *view, const struct doubtful_range *wanted,
                            struct doubtful *list)
{
    int rc = doubtful_collect_from(view->active, wanted, list);

    for (size_t i = 0; rc == 0 && i < view->immutable_count && !MUTANT("heal-active-only"); i++)
        rc = doubtful_collect_from(view->immutable[i], wanted, list);
    if (rc == 0 && list->count > 0)
        qsort(list->records, list->count, sizeof(*list->records), by_seq);
    return rc;
}

/* ---- the new file ---- */

/* Records [from, to) as one log record, staged and written. */
static int heal_write_record(struct log_writer *log, const struct entry *records, uint32_t count,
                             struct buf *payload, struct varve_err *err)
{
    uint8_t head[CHUNK_HEAD_MAX_BYTES];
    struct record_header header = {
        .type = RECORD_OPS, .first_seq = records[0].seq, .op_count = count};
    int rc = 0;

    buf_clear(payload);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        const struct chunk *chunk = &records[i].chunk;
        rc = buf_append(payload, head, chunk_put_head(head, chunk));
        if (rc == 0)
            rc = buf_append(payload, chunk->key.data, chunk->key.len);
        if (rc == 0 && chunk->kind != CHUNK_DELETE)
            rc = buf_append(payload, chunk->value.data, chunk->value.len);
    }
    struct varve_slice part = buf_slice(payload);
    if (rc == 0)
        rc = log_writer_stage(log, header, &part, 1);
    if (rc != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a log record");
    return log_writer_flush(log, err);
}

static int heal_write_all(struct log_writer *log, const struct doubtful *list,
                          struct varve_err *err)
{
    struct buf payload;
    int rc = 0;

    buf_init(&payload, RECORD_CAP_BYTES);
    for (size_t from = 0; rc == 0 && from < list->count;) {
        size_t bytes = 0;
        size_t to = from;
        while (to < list->count && bytes < RECORD_BYTES) {
            const struct chunk *chunk = &list->records[to].chunk;
            CHECK(list->records[to].seq == list->records[from].seq + (to - from));
            bytes += chunk->key.len + chunk->value.len + CHUNK_HEAD_MAX_BYTES;
            to++;
        }
        rc = heal_write_record(log, list->records + from, (uint32_t)(to - from), &payload, err);
        from = to;
    }
    buf_deinit(&payload);
    return rc;
}

static void heal_remove_file(struct varve_db *db, uint64_t file_no)
{
    char *path = name_wal_path(db->dir, file_no);

    if (path != NULL)
        (void)db->env->ops->remove(db->env, path, NULL); /* else the next open does it */
    mem_free(path);
}

/* A new file that did not come about goes, once the manifest has forgotten it: tries may be many. */
static void heal_abandon(struct varve_db *db, struct log_writer *log)
{
    struct manifest_edit drop = {.change = MANIFEST_DROP_WAL, .file_no = log->file_no};

    log_writer_close(log);
    if (manifest_apply(db->manifest, &drop, 1, NULL) == 0)
        heal_remove_file(db, drop.file_no);
}

/* The old file ends where it was durable; files between it and the new one never count, and go. */
static int heal_edit(struct varve_db *db, struct log_place durable, uint64_t new_file_no,
                     struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct manifest_edit *edits = mem_alloc((state->wal_count + 1) * sizeof(*edits));
    size_t count = 0;

    if (MUTANT("fence-at-written"))
        durable.offset = db->wal.log->offset;
    if (edits == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for a manifest edit");
    for (size_t i = 0; i < state->wal_count; i++) {
        uint64_t file_no = state->wals[i].file_no;
        if (file_no == durable.file_no && !MUTANT("skip-fence"))
            edits[count++] = (struct manifest_edit){
                .change = MANIFEST_END_WAL, .file_no = file_no, .end = durable.offset};
        else if (file_no > durable.file_no && file_no < new_file_no)
            edits[count++] = (struct manifest_edit){.change = MANIFEST_DROP_WAL,
                                                    .file_no = file_no};
    }
    int rc = manifest_apply(db->manifest, edits, count, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (edits[i].change == MANIFEST_DROP_WAL)
            heal_remove_file(db, edits[i].file_no);
    mem_free(edits);
    return rc;
}

static int heal_make(struct varve_db *db, struct log_writer **log, struct varve_err *err)
{
    struct wal_mark durable = wal_sync_durable(&db->wal.sync);
    struct doubtful list = {0};
    struct wal_ready ready = {0};
    struct doubtful_range wanted = {.durable = durable.seq,
                                    .committed = atomic_load(&db->visible_seq)};
    struct view *view = view_acquire(&db->view);
    int rc = doubtful_collect(view, &wanted, &list);

    if (rc != 0) {
        err_set(err, rc, "no memory to collect what was not durable");
        goto out;
    }
    if (!wal_pool_take(&db->wal.pool, &ready))
        rc = wal_pool_make(&db->wal.pool, &ready, err);
    if (rc != 0)
        goto out;
    if (wal_stage_begin(ready.log, durable.seq + 1, ready.manifest, durable.place) != 0)
        rc = err_set(err, VARVE_ENOMEM, "no memory for a begin record");
    if (rc == 0)
        rc = log_writer_flush(ready.log, err);
    if (rc == 0)
        rc = heal_write_all(ready.log, &list, err);
    if (rc == 0 && !MUTANT("skip-heal-sync"))
        rc = log_writer_sync(ready.log, err);
    /* The log's own went with what is fenced off. */
    manifest_set_clock(db->manifest, varve_now_ms(db));
    if (rc == 0)
        rc = heal_edit(db, durable.place, ready.log->file_no, err);
out:
    mem_free(list.records);
    view_release(&db->view, view);
    if (rc == 0)
        *log = ready.log;
    else if (ready.log != NULL)
        heal_abandon(db, ready.log);
    return rc;
}

static void heal_set_state(struct heal *heal, enum heal_state state)
{
    mutex_lock(&heal->mutex);
    heal->state = state;
    cond_broadcast(&heal->changed);
    mutex_unlock(&heal->mutex);
}

enum heal_state heal_state(struct heal *heal)
{
    mutex_lock(&heal->mutex);
    enum heal_state state = heal->state;
    mutex_unlock(&heal->mutex);
    return state;
}

static void heal_run(struct varve_job *job)
{
    struct heal *heal = CONTAINER_OF(job, struct heal, job);
    struct varve_err err = {0};
    int rc = heal_make(heal->db, &heal->log, &err);

    if (rc == VARVE_ENOSPC) /* else nobody may ever give the reserve up: no flush is due */
        space_found_full(&heal->db->space);
    if (rc != 0 && strcmp(heal->last_error, err.text) != 0) {
        snprintf(heal->last_error, sizeof(heal->last_error), "%s", err.text);
        db_log(heal->db, 4, "healing the log failed, it is tried again: %s", err_text(&err));
    }
    heal_set_state(heal, rc == 0 ? HEAL_DONE : HEAL_IDLE);
}

void heal_init(struct heal *heal, struct varve_db *db)
{
    *heal = (struct heal){.db = db};
    heal->job.run = heal_run;
    mutex_init(&heal->mutex);
    cond_init(&heal->changed);
}

void heal_deinit(struct heal *heal)
{
    CHECK(heal->state != HEAL_RUNNING);
    log_writer_close(heal->log);
    mutex_deinit(&heal->mutex);
    cond_deinit(&heal->changed);
}

/* The writer goes on in the new file, in which everything is durable. Returns 0 if a sync of the old one runs, or
 * just begins: then the next tick tries again. */
static int heal_adopt(struct heal *heal)
{
    struct varve_db *db = heal->db;
    struct wal *wal = &db->wal;
    struct log_writer *old = wal->log;
    struct wal_mark durable = {.seq = atomic_load(&db->visible_seq),
                               .place = {heal->log->file_no, heal->log->offset}};

    if (!wal_sync_reset(&wal->sync, heal->log, durable))
        return 0;
    wal->live_bytes += old->offset;
    wal->log = heal->log;
    wal->begin_due = 0;
    wal->long_end = 0;
    wal->data_end = wal_end(wal);
    wal->promised = (struct log_place){0}; /* an idle second promises what was copied */
    wal->files++;
    heal->log = NULL;
    heal->last_error[0] = '\0';
    log_writer_close(old);
    db->heals++;
    atomic_store(&db->failed, 0);
    heal_set_state(heal, HEAL_IDLE);
    db_log(db, 5, "the log is healed, writes go on in file %" PRIu64, wal->log->file_no);
    return 1;
}

static int heal_is_running(const void *arg)
{
    return ((const struct heal *)arg)->state == HEAL_RUNNING;
}

static void heal_start(struct heal *heal)
{
    struct varve_executor *executor = heal->db->options.executor;

    heal_set_state(heal, HEAL_RUNNING);
    executor->submit(executor, VARVE_JOB_MAINTENANCE, &heal->job);
}

void heal_tick(struct heal *heal, uint64_t now_us)
{
    switch (heal_state(heal)) { /* unreached: there are these three states */
    case HEAL_RUNNING: break;
    case HEAL_DONE: (void)heal_adopt(heal); break;
    case HEAL_IDLE:
        if (now_us < heal->retry_us || wal_sync_running(&heal->db->wal.sync))
            break;
        heal->retry_us = now_us + RETRY_US;
        heal_start(heal);
        break;
    }
}

int heal_now(struct heal *heal, struct varve_err *err)
{
    struct varve_db *db = heal->db;

    if (heal_state(heal) == HEAL_IDLE)
        heal_start(heal);
    db_wait(db, &heal->mutex, &heal->changed, heal_is_running, heal);
    if (heal_state(heal) != HEAL_DONE)
        return err_set(err, VARVE_EUNKNOWN, "the log could not be healed: %s", heal->last_error);
    int adopted = heal_adopt(heal);
    CHECK(adopted); /* at a close nobody else syncs any more */
    return 0;
}
