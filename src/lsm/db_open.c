/* Opening, which is recovery, and closing.
 *
 * Open never writes to a file that it found. It reads the log into the memtable; starts a new manifest
 * and a new WAL file; copies into that what no promise vouches for, synced; and only then says in the
 * manifest where the old files end. Each step leaves a directory that opens to the same state (I6). */
#include "lsm/db.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/log_reader.h"
#include "lsm/names.h"
#include "lsm/recovery.h"
#include "segment/block.h"

/* The part of a memtable's size that may lie in the pool: what a flushed one leaves, the active one needs on
 * the way to its own size. With all of it kept the peak of a fill was 149 MiB, with the half 110. */
#define ARENAS_POOL_PART 2

/* A log file that is longer than others by more than that part is removed, not reused. */
#define WAL_EXCESS_PART 4

const char *varve_version(void)
{
    return VARVE_VERSION;
}

const char *varve_id(const struct varve_db *db)
{
    return db->id_text;
}

void db_log(const struct varve_db *db, int level, const char *fmt, ...)
{
    char line[2 * VARVE_ERR_TEXT_MAX];
    va_list args;

    if (db->options.on_log == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    db->options.on_log(db->options.arg, level, line);
}

void db_wait(struct varve_db *db, struct mutex *mutex, struct cond *changed,
             int (*busy)(const void *arg), const void *arg)
{
    struct varve_executor *executor = db->options.executor;

    mutex_lock(mutex);
    while (busy(arg)) {
        if (executor->help == NULL) {
            cond_wait(changed, mutex);
            continue;
        }
        mutex_unlock(mutex);
        executor->help(executor);
        mutex_lock(mutex);
    }
    mutex_unlock(mutex);
}

/* ---- the directory ---- */

/* Of a database that is not there yet. The parent is synced even if the directory is there already: who
 * made it may have died before that, and then all that we write would go with it. Only a parent that
 * we may not read is left alone: somebody else made what is in it. */
static int dir_make(struct varve_db *db, struct varve_err *err)
{
    struct varve_err why = {0};
    const char *slash = strrchr(db->dir, '/');
    char *parent = NULL;
    int rc = db->env->ops->make_dir(db->env, db->dir, err);

    if (rc != 0 && rc != VARVE_EEXIST)
        return rc;
    int existed = rc == VARVE_EEXIST;
    err_clear(err);
    if (existed && MUTANT("trust-found-dir"))
        return 0;
    if (slash == NULL)
        parent = mem_strdup(".");
    else
        parent = mem_strndup(db->dir, slash == db->dir ? 1 : (size_t)(slash - db->dir));
    rc = parent == NULL ? err_set(&why, VARVE_ENOMEM, "no memory")
                        : db->env->ops->sync_dir(db->env, parent, &why);
    mem_free(parent);
    if (rc == 0 || (existed && why.os_errno == EACCES))
        return 0;
    if (!existed) /* a sync that failed leaves it in doubt for ever: the next open makes it anew */
        (void)db->env->ops->remove(db->env, db->dir, NULL);
    if (err != NULL)
        *err = why;
    return rc;
}

static int dir_lock(struct varve_db *db, struct varve_err *err)
{
    char *path = name_path(db->dir, "LOCK");
    int rc = path == NULL ? err_set(err, VARVE_ENOMEM, "no memory")
                          : db->env->ops->lock(db->env, path, &db->lock, err);

    mem_free(path);
    return rc;
}

struct dir_scan {
    struct varve_db *db;
    uint64_t max_file_no;
    int has_data;
    struct varve_err *err;
};

static int manifest_names_segment(const struct varve_db *db, uint64_t file_no)
{
    const struct manifest_state *state = manifest_state(db->manifest);

    for (size_t i = 0; i < state->segment_count; i++)
        if (state->segments[i].file_no == file_no)
            return 1;
    return 0;
}

static int manifest_names(const struct varve_db *db, uint64_t file_no)
{
    const struct manifest_state *state = manifest_state(db->manifest);

    for (size_t i = 0; i < state->wal_count; i++)
        if (state->wals[i].file_no == file_no)
            return 1;
    return 0;
}

static int dir_scan_entry(void *arg, const char *name)
{
    struct dir_scan *scan = arg;
    uint64_t file_no;
    enum name_kind kind = name_parse(name, &file_no);

    if (file_no >= FILE_NO_LIMIT)
        return err_set(scan->err, VARVE_ECORRUPT, "%s: no file of ours has such a number", name);
    if (file_no > scan->max_file_no)
        scan->max_file_no = file_no;
    if (kind == NAME_WAL || kind == NAME_SEGMENT)
        scan->has_data = 1;
    if (kind != NAME_WAL)
        return 0;
    if (scan->db->manifest == NULL || manifest_names(scan->db, file_no))
        return 0;
    return recovery_check_orphan(scan->db->env, scan->db->dir, &scan->db->id,
                                 manifest_read_end(scan->db->manifest), file_no, scan->err);
}

static void id_format(struct varve_db *db)
{
    for (int i = 0; i < DIR_ID_BYTES; i++)
        snprintf(db->id_text + 2 * i, 3, "%02x", db->id.bytes[i]);
}

/* The manifest: the one that CURRENT names, or that of a new database. */
static int dir_open(struct varve_db *db, struct varve_err *err)
{
    struct dir_scan scan = {.db = db, .err = err};
    uint64_t manifest_no = 0;
    int rc = current_read(db->env, db->dir, &db->id, &manifest_no, err);

    if (rc == 0)
        rc = manifest_open(db->env, db->dir, &db->id, manifest_no, &db->manifest, err);
    else if (rc == VARVE_ENOENT && !db->options.no_create) /* unreached: no_create was refused */
        rc = VARVE_NOT_FOUND;
    if (rc < 0)
        return rc;
    int is_new = rc == VARVE_NOT_FOUND;
    err_clear(err);
    rc = db->env->ops->list_dir(db->env, db->dir, dir_scan_entry, &scan, err);
    if (rc != 0)
        return rc;
    if (is_new && scan.has_data)
        return err_set(err, VARVE_ECORRUPT,
                       "CURRENT is missing, but there are WAL files or segments");
    if (is_new) {
        db->env->ops->random(db->env, db->id.bytes, DIR_ID_BYTES);
        rc = manifest_create(db->env, db->dir, &db->id, 1, &db->manifest, err);
        if (rc != 0)
            return rc;
    }
    if (!MUTANT("reuse-file-number"))
        manifest_reserve_file_no(db->manifest, scan.max_file_no + 1);
    id_format(db);
    return 0;
}

/* ---- recovery ---- */

static int apply_recovered(void *arg, uint64_t seq, const struct chunk *chunk,
                           struct varve_err *err)
{
    struct varve_db *db = arg;
    int rc = db_apply(db, seq, chunk, 0, err);

    /* However much the log holds, memory does not: full memtables wait for their flush, and beyond their
     * number the newest one grows. */
    if (rc == 0 && memtable_used_bytes(db->memtable) >= db->options.memtable_size_bytes)
        db_swap_memtable(db);
    return rc;
}

static void recovery_init(struct recovery *recovery, struct varve_db *db)
{
    *recovery = (struct recovery){
        .env = db->env,
        .dir = db->dir,
        .id = db->id,
        .manifest = db->manifest,
        .apply = apply_recovered,
        .arg = db,
        .at_file_no = &db->recovering_file_no,
    };
}

/* What becomes of each old file: kept up to V, or dropped if nothing before V is in it nor in a later
 * one. A file without operations between two that are kept stays: the begin record behind it names it.
 * *last is the end of the last one that is kept. */
static size_t plan_edits(const struct recovery *recovery, struct manifest_edit *edits,
                         struct log_place *last)
{
    const struct manifest_state *state = manifest_state(recovery->manifest);
    struct log_place vouched = recovery->vouched;
    size_t kept = 0;

    *last = (struct log_place){0};
    for (size_t i = 0; i < state->wal_count; i++) {
        struct log_place first = recovery->first_ops[i];
        if (first.offset != 0 && !log_place_before(vouched, first))
            kept = i + 1;
    }
    for (size_t i = 0; i < state->wal_count; i++) {
        struct manifest_edit *edit = &edits[i];
        *edit = (struct manifest_edit){.file_no = state->wals[i].file_no,
                                       .change = MANIFEST_DROP_WAL};
        if (i >= kept || (MUTANT("drop-middle-file") && recovery->first_ops[i].offset == 0))
            continue;
        edit->change = MANIFEST_END_WAL;
        edit->end = edit->file_no == vouched.file_no ? vouched.offset : recovery->ends[i].offset;
        *last = (struct log_place){.file_no = edit->file_no, .offset = edit->end};
    }
    return state->wal_count;
}

/* Of files that a crash ended. */
static void trim_logs(struct varve_db *db, const struct manifest_edit *edits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *path = edits[i].change == MANIFEST_END_WAL ? name_wal_path(db->dir, edits[i].file_no)
                                                         : NULL;
        if (path != NULL)
            log_file_trim(db->env, path);
        mem_free(path);
    }
}

/* The new WAL file: named in the manifest, then filled with what nothing vouched for. */
static int start_log(struct varve_db *db, struct recovery *recovery, uint64_t first_seq,
                     struct log_place previous, struct varve_err *err)
{
    struct wal_ready ready;
    int rc = wal_pool_make(&db->wal.pool, &ready, err);

    if (rc != 0)
        return rc;
    db->wal.log = ready.log;
    if (wal_stage_begin(ready.log, first_seq, ready.manifest, previous) != 0)
        return err_set(err, VARVE_ENOMEM, "no memory for a begin record");
    rc = log_writer_flush(ready.log, err);
    if (rc == 0)
        rc = recovery_copy_unvouched(recovery, ready.log, err);
    if (rc == 0)
        rc = log_writer_sync(ready.log, err);
    return rc;
}

void db_discard_wal(struct varve_db *db, uint64_t file_no, int synced)
{
    struct log_reader *reader = NULL;
    struct varve_file *file = NULL;
    char *path = name_wal_path(db->dir, file_no);
    uint64_t size_bytes = 0;

    if (path == NULL)
        return;
    int rc = log_reader_open(db->env, path, WAL_MAGIC, &db->id, file_no, UINT64_MAX, &reader, NULL);
    log_reader_close(reader);
    if (recovery_is_of_others(rc))
        goto out;
    if (db->env->ops->open(db->env, path, VARVE_OPEN_READ, &file, NULL) == 0)
        (void)db->env->ops->size(db->env, file, &size_bytes, NULL);
    db->env->ops->close(db->env, file);
    if (db->view.on_retired != NULL) { /* not while the database is opened */
        atomic_fetch_add(&db->wal_dropped_files, 1);
        atomic_fetch_add(&db->wal_dropped_bytes, size_bytes);
    }
    int held = atomic_load(&db->checkpoints.holds_wals) && !MUTANT("checkpoint-log-reused");
    int sound = synced || MUTANT("reuse-unsynced-log");
    /* A full one ends with the record that went past its size. */
    uint64_t least = db->options.wal_size_bytes;
    int fits = size_bytes >= least && size_bytes <= least + least / WAL_EXCESS_PART;
    int room = !atomic_load(&db->space.low) || MUTANT("full-keeps-dead-logs");
    if (fits && sound && !held && room && wal_pool_reuse(&db->wal.pool, path))
        return;
    (void)db->env->ops->remove(db->env, path, NULL);
out:
    mem_free(path);
}

static int remove_entry(void *arg, const char *name)
{
    struct varve_db *db = arg;
    uint64_t file_no;
    enum name_kind kind = name_parse(name, &file_no);

    if (kind == NAME_WAL && !manifest_names(db, file_no)) {
        db_discard_wal(db, file_no,
                       0); /* a sync of it may have failed, or it was found half made */
    } else if (kind == NAME_RESERVE ||
               (kind == NAME_SEGMENT && !manifest_names_segment(db, file_no)) ||
               (kind == NAME_MANIFEST && file_no != manifest_place(db->manifest).file_no)) {
        char *path = name_path(db->dir, name);
        if (path != NULL)
            (void)db->env->ops->remove(db->env, path, NULL); /* next time, then */
        mem_free(path);
    }
    return 0;
}

static int recover(struct varve_db *db, struct recovery *recovery, struct varve_err *err)
{
    struct manifest_edit *edits = NULL;
    struct log_place last;
    uint64_t first_seq;
    int rc = recovery_read(recovery, err);

    if (rc == 0) /* now, while nothing was changed: it may find a promise that is not kept */
        rc = recovery_first_unvouched(recovery, &first_seq, err);
    if (rc != 0)
        return rc;
    size_t planned = manifest_state(db->manifest)->wal_count;
    edits = mem_alloc((planned + 1) * sizeof(*edits));
    if (edits == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory for recovery");
    planned = plan_edits(recovery, edits, &last);
    uint64_t clock_ms = manifest_state(db->manifest)->clock_ms;
    atomic_store(&db->clock_ms, clock_ms > recovery->clock_ms ? clock_ms : recovery->clock_ms);
    if (MUTANT("forget-clock"))
        atomic_store(&db->clock_ms, 0);
    manifest_set_clock(db->manifest, varve_now_ms(db));
    rc = manifest_renew(db->manifest, NULL, 0, err);
    if (rc == 0)
        rc = start_log(db, recovery, first_seq, last, err);
    if (rc == 0 && planned > 0)
        rc = manifest_apply(db->manifest, edits, planned, err);
    if (rc == 0)
        trim_logs(db, edits, planned);
    if (rc == 0) /* only what is certain makes files go away */
        (void)db->env->ops->list_dir(db->env, db->dir, remove_entry, db, NULL);
    mem_free(edits);
    return rc;
}

static void tell_recovery(struct varve_db *db, const struct recovery *recovery, uint64_t took_us)
{
    db->recovered = (struct varve_stats){
        .recovered_records = recovery->records,
        .recovered_ops = recovery->ops,
        .recovered_dropped_bytes = recovery->dropped_bytes,
        .recovered_unvouched_bytes = recovery->unvouched_bytes,
        .recovery_us = took_us,
    };
    if (recovery->end.file_no == 0) {
        db_log(db, 5, "new database %s in %s", db->id_text, db->dir);
        return;
    }
    db_log(db, 5,
           "recovered %" PRIu64 " operations in %" PRIu64 " records up to sequence %" PRIu64
           " in %" PRIu64 " ms",
           recovery->ops, recovery->records, recovery->last_seq, took_us / 1000);
    if (recovery->unvouched_bytes > 0)
        db_log(db, 5,
               "the last %" PRIu64
               " bytes of it were not known to be durable: they are written anew",
               recovery->unvouched_bytes);
    if (recovery->dropped_bytes > 0)
        db_log(db, 4,
               "the log was torn at file %" PRIu64 " offset %" PRIu64 " (%s): %" PRIu64
               " bytes that were never promised are dropped",
               recovery->end.file_no, recovery->end.offset, recovery->why, recovery->dropped_bytes);
}

/* ---- open ---- */

void db_free(struct varve_db *db)
{
    if (db == NULL)
        return;
    db->view.on_retired = NULL;
    compactor_deinit(&db->compactor);
    flusher_deinit(&db->flusher);
    space_deinit(&db->space);
    checkpoints_deinit(&db->checkpoints);
    heal_deinit(&db->heal);
    wal_deinit(&db->wal);
    manifest_close(db->manifest);
    view_slot_deinit(&db->view);
    (void)rcu_reclaim();
    snapshots_deinit(&db->snapshots);
    pacer_deinit(&db->pacer);
    count_memory_deinit(&db->count_memory);
    count_queue_deinit(&db->count_queue);
    mutex_deinit(&db->reclaim_mutex);
    cond_deinit(&db->reclaim_changed);
    while (rcu_pending()) /* what the views held */
        (void)rcu_reclaim();
    arena_pool_deinit(&db->arenas);
    row_cache_destroy(db->rows);
    cache_destroy(db->cache);
    block_memory_close();
    mem_free(db->undo.ops);
    mem_free(db->undo.ranges);
    db->env->ops->unlock(db->env, db->lock);
    mem_free(db->dir);
    mem_free(db);
}

static void db_reclaim_run(struct varve_job *job);

static void db_on_durable(void *arg, uint64_t seq, int failed)
{
    struct varve_db *db = arg;

    if (db->options.on_durable != NULL)
        db->options.on_durable(db->options.arg, seq, failed);
    checkpoints_poke(&db->checkpoints);
}

static struct varve_db *db_create(const char *dir, const struct varve_options *options)
{
    struct varve_db *db = mem_alloc_zero(sizeof(*db));
    size_t len = strlen(dir);

    if (db == NULL)
        return NULL;
    while (len > 1 && dir[len - 1] == '/')
        len--;
    db->options = *options;
    db->env = options->env;
    atomic_store(&db->durability, (int)options->durability);
    wal_sync_init(&db->wal.sync, options->executor, db_on_durable, db);
    wal_pool_init(&db->wal.pool);
    heal_init(&db->heal, db);
    flusher_init(&db->flusher, db);
    compactor_init(&db->compactor, db);
    space_init(&db->space, db);
    checkpoints_init(&db->checkpoints, db);
    snapshots_init(&db->snapshots);
    mutex_init(&db->reclaim_mutex);
    cond_init(&db->reclaim_changed);
    db->reclaim_job.run = db_reclaim_run;
    count_memory_init(&db->count_memory);
    count_queue_init(&db->count_queue);
    arena_pool_init(&db->arenas, options->memtable_size_bytes / ARENAS_POOL_PART);
    db->memtable_start_bytes = flusher_start_bytes(&db->flusher);
    pacer_init(&db->pacer, options->rate_limit_bytes);
    db->view.arg = db;
    buf_init(&db->wal.ops, WAL_GROUP_MAX_BYTES);
    db->dir = mem_strndup(dir, len);
    db->cache = cache_create(options->block_cache_size_bytes);
    if (options->row_cache_size_bytes != 0)
        db->rows = row_cache_create(options->row_cache_size_bytes);
    db->memtable = memtable_create_pooled(&db->arenas);
    int rc = view_slot_init(&db->view, db->memtable, version_create());
    if (db->dir == NULL || db->cache == NULL || rc != 0 ||
        (options->row_cache_size_bytes != 0 && db->rows == NULL)) {
        db_free(db);
        return NULL;
    }
    return db;
}

/* ---- what others retire ---- */

/* As much may be free in what blocks lie in, beside one chunk. */
#define CACHE_FREE_SHARE(held) ((held) / 16)

/* Spare memory of past blocks takes what the cache's limit has left, beside one chunk. */
static uint64_t db_spare_limit(const struct varve_db *db)
{
    return cache_room_left(db->cache) + MEM_HUGE_BYTES;
}

static void db_trim_spare(struct varve_db *db)
{
    if (!MUTANT("spare-beyond-limit"))
        block_memory_trim(db_spare_limit(db));
}

static void db_fit_cache(struct varve_db *db)
{
    struct pieces_stats blocks;

    db_trim_spare(db); /* first, for what follows waits for readers */
    cache_fit(db->cache);
    (void)rcu_reclaim();
    db_trim_spare(db);
    block_memory_get(&blocks);
    uint64_t held = blocks.held_bytes - blocks.spare_bytes;
    uint64_t unused = held - blocks.used_bytes;
    uint64_t allowed = CACHE_FREE_SHARE(held) + MEM_HUGE_BYTES;
    if (unused > allowed && block_memory_leave(unused - allowed) > 0)
        cache_drop_which(db->cache, block_memory_is_leaving);
}

static void db_make_fit(struct varve_db *db)
{
    atomic_store(&db->cache_unfit, 1);
    db_reclaim(db);
}

void db_check_spare(struct varve_db *db)
{
    struct pieces_stats blocks;

    block_memory_get(&blocks);
    if (blocks.spare_bytes > db_spare_limit(db) && !MUTANT("spare-unseen"))
        db_make_fit(db);
}

void varve_set_cache_size(struct varve_db *db, uint64_t size_bytes)
{
    struct pieces_stats blocks;

    if (size_bytes < DB_CACHE_SIZE_MIN)
        size_bytes = DB_CACHE_SIZE_MIN;
    uint64_t before = cache_limit(db->cache);
    if (size_bytes != before)
        cache_set_limit(db->cache, size_bytes);
    block_memory_get(&blocks);
    uint64_t held = blocks.held_bytes - blocks.spare_bytes;
    if (size_bytes < before ||
        held - blocks.used_bytes > 2 * CACHE_FREE_SHARE(held) + 2 * MEM_HUGE_BYTES)
        db_make_fit(db);
    else
        db_check_spare(db);
}

static void db_reclaim_run(struct varve_job *job)
{
    struct varve_db *db = CONTAINER_OF(job, struct varve_db, reclaim_job);

    arena_pool_fill(&db->arenas);
    (void)rcu_reclaim();
    if (atomic_exchange(&db->cache_unfit, 0)) {
        db_fit_cache(db);
        (void)rcu_reclaim();
    }
    mutex_lock(&db->reclaim_mutex);
    int again = db->reclaim_again;
    db->reclaim_again = 0;
    db->reclaim_running = again;
    cond_broadcast(&db->reclaim_changed);
    mutex_unlock(&db->reclaim_mutex);
    if (again)
        db->options.executor->submit(db->options.executor, VARVE_JOB_RECLAIM, job);
}

void db_reclaim(void *arg)
{
    struct varve_db *db = arg;
    struct varve_executor *executor = db->options.executor;

    mutex_lock(&db->reclaim_mutex);
    int submit = !db->reclaim_running;
    db->reclaim_again = db->reclaim_running;
    db->reclaim_running = 1;
    mutex_unlock(&db->reclaim_mutex);
    if (submit)
        executor->submit(executor, VARVE_JOB_RECLAIM, &db->reclaim_job);
}

int db_reclaim_is_running(const void *arg)
{
    return ((const struct varve_db *)arg)->reclaim_running;
}

/* ---- what jobs write with ---- */

uint64_t db_new_file_no(void *db)
{
    return manifest_new_file_no(((struct varve_db *)db)->manifest);
}

/* Above the last level filters are longer, by default 16 bits a key for 10: one wrong "may hold" in a thousand for one in a
 * hundred. */
struct segment_writer_options db_writer_options(struct varve_db *db, uint32_t level)
{
    uint32_t bits = db->options.bloom_bits_per_key;
    int is_last = level == LEVELS_MAX - 1;

    return (struct segment_writer_options){
        .env = db->env,
        .id = &db->id,
        .block_size_bytes = db->options.block_size_bytes,
        .bits_per_key = is_last || MUTANT("filters-alike") ? bits : bits * 8 / 5,
        .compress = db->options.compression == VARVE_SNAPPY,
        .count_group = db->options.count_group,
        .group_arg = db->options.arg,
        .pace = db->options.rate_limit_bytes == 0 ? NULL : pacer_wait,
        .pace_arg = &db->pacer,
    };
}

size_t db_plan_wal_drops(struct varve_db *db, uint64_t file_no, struct manifest_edit *edits)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    size_t count = 0;

    /* unreached: the file in use is not below file_no, so that the list never ends first */
    for (size_t i = 0; i < state->wal_count && state->wals[i].file_no < file_no; i++)
        edits[count++] = (struct manifest_edit){.change = MANIFEST_DROP_WAL,
                                                .file_no = state->wals[i].file_no,
                                                .end = state->wals[i].end};
    return count;
}

/* ---- the segments that the manifest names ---- */

static int open_segments(struct varve_db *db, struct version_add *added, struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < state->segment_count; i++) {
        const struct manifest_segment *named = &state->segments[i];
        char *path = name_segment_path(db->dir, named->file_no);
        added[i] = (struct version_add){.level = named->level, .run_no = named->run_no};
        rc = path == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a path")
                          : segment_open(db->env, path, &db->id, named->file_no, db->cache,
                                         &added[i].segment, err);
        if (rc == VARVE_ENOENT)
            rc = err_set(err, VARVE_ECORRUPT, "%s is missing, but the manifest names it", path);
        if (rc == 0 && segment_size_bytes(added[i].segment) != named->size_bytes)
            rc = err_set(err, VARVE_ECORRUPT,
                         "%s has %" PRIu64 " bytes, the manifest says %" PRIu64, path,
                         segment_size_bytes(added[i].segment), named->size_bytes);
        mem_free(path);
    }
    return rc;
}

static int open_version(struct varve_db *db, struct varve_err *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct version_add *added = mem_alloc_zero((state->segment_count + 1) * sizeof(*added));
    struct version_change change = {
        .added = added,
        .added_count = state->segment_count,
        .groups = state->groups,
        .group_count = state->group_count,
        .flushed_seq = state->flushed_seq,
    };
    struct view *loaded = NULL;
    int rc = added == NULL ? err_set(err, VARVE_ENOMEM, "no memory for the segments")
                           : open_segments(db, added, err);

    if (rc == 0)
        rc = view_prepare(&db->view, &change, &loaded, err);
    if (rc == 0)
        view_install(&db->view, loaded, NULL);
    for (size_t i = 0; added != NULL && i < state->segment_count; i++)
        segment_unref(added[i].segment);
    mem_free(added);
    return rc;
}

static void wal_start(struct varve_db *db, const struct recovery *recovery)
{
    struct wal *wal = &db->wal;
    const struct manifest_state *state = manifest_state(db->manifest);

    atomic_store(&db->visible_seq, recovery->last_seq);
    db->now_us = db->env->ops->now_mono_us(db->env);
    wal->last_write_us = db->now_us;
    wal->data_end = wal_end(wal);
    if (recovery->unvouched_bytes == 0) /* else an idle second promises what was copied */
        wal->promised = wal->data_end;
    wal->clock_ms = 0;
    wal->files = state->wal_count;
    for (size_t i = 0; i < state->wal_count; i++)
        wal->live_bytes += state->wals[i].end;
    (void)wal_sync_reset(&wal->sync, wal->log,
                         (struct wal_mark){.seq = recovery->last_seq, .place = wal_end(wal)});
}

static void wal_configure(struct varve_db *db)
{
    struct wal *wal = &db->wal;

    wal->env = db->env;
    wal->file_size = db->options.wal_size_bytes;
    wal->pool.env = db->env;
    wal->pool.executor = db->options.executor;
    wal->pool.manifest = db->manifest;
    wal->pool.dir = db->dir;
    wal->pool.id = db->id;
    wal->pool.file_size = db->options.wal_size_bytes;
    wal->pool.target = db->options.wal_pool_size;
    wal->pool.on_log = db->options.on_log;
    wal->pool.arg = db->options.arg;
}

/* A look at CURRENT before anything is made: a foreign directory is left as it is. */
static int look_at_current(struct varve_db *db, struct varve_err *err)
{
    struct dir_id id;
    uint64_t manifest_no;
    int rc = current_read(db->env, db->dir, &id, &manifest_no, err);

    if (rc == VARVE_ENOENT && !db->options.no_create) {
        err_clear(err);
        return dir_make(db, err);
    }
    return rc;
}

int varve_open(const char *dir, const struct varve_options *given, struct varve_db **out,
               struct varve_err *err)
{
    struct varve_options options = *given;
    struct recovery recovery = {0};
    int rc = db_options_fill(&options, err);

    *out = NULL;
    if (rc != 0)
        return rc;
    struct varve_db *db = db_create(dir, &options);
    if (db == NULL)
        return err_set(err, VARVE_ENOMEM, "open %s: no memory", dir);
    uint64_t started_us = db->env->ops->now_mono_us(db->env);
    rc = look_at_current(db, err);
    if (rc == 0)
        rc = dir_lock(db, err);
    if (rc == 0)
        rc = dir_open(db, err);
    if (rc != 0)
        goto out;
    wal_configure(db);
    rc = open_version(db, err);
    if (rc != 0)
        goto out;
    recovery_init(&recovery, db);
    rc = recover(db, &recovery, err);
    if (rc != 0)
        goto out;
    wal_start(db, &recovery);
    db->applied_seq = recovery.last_seq;
    db->view.on_retired = db_reclaim; /* from here on jobs run */
    flusher_poke(&db->flusher);
    compactor_poke(&db->compactor);
    space_poke(&db->space);
    tell_recovery(db, &recovery, db->env->ops->now_mono_us(db->env) - started_us);
out:
    recovery_deinit(&recovery);
    if (rc != 0) {
        db_free(db);
        return err_wrap(err, rc, "open %s", dir);
    }
    *out = db;
    return 0;
}
