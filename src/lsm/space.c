#include "lsm/space.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/db.h"
#include "lsm/names.h"

#define WRITE_BYTES ((size_t)1024 * 1024)
#define MARGIN_PART 16 /* of min-free */

static void space_run(struct varve_job *job);

void space_init(struct space *space, struct varve_db *db)
{
    *space = (struct space){.db = db, .free_bytes = UINT64_MAX, .limit_bytes = UINT64_MAX};
    space->job.run = space_run;
    mutex_init(&space->mutex);
    cond_init(&space->changed);
}

void space_deinit(struct space *space)
{
    CHECK(!space->running);
    mutex_deinit(&space->mutex);
    cond_deinit(&space->changed);
}

void space_poke(struct space *space)
{
    struct varve_executor *executor = space->db->options.executor;

    if (atomic_load(&space->db->stopping) ||
        (space->db->options.min_free_bytes == 0 && space->db->options.reserve_size_bytes == 0))
        return;
    mutex_lock(&space->mutex);
    int submit = !space->running;
    space->running = 1;
    mutex_unlock(&space->mutex);
    if (submit)
        executor->submit(executor, VARVE_JOB_MAINTENANCE, &space->job);
}

/* What was written since the last look. A group that was cut takes its bytes back. */
static uint64_t space_since_bytes(const struct space *space)
{
    uint64_t now = atomic_load_explicit(&space->user_bytes, memory_order_relaxed);
    uint64_t then = atomic_load_explicit(&space->looked_bytes, memory_order_relaxed);

    return now > then || MUTANT("cut-group-counts") ? now - then : 0;
}

void space_tick(struct space *space, uint64_t user_bytes, int slow)
{
    const struct varve_options *options = &space->db->options;
    uint64_t memory = options->memtables_max * options->memtable_size_bytes;
    uint64_t soon = options->min_free_bytes + 2 * memory; /* its log, and its segments */
    uint64_t left = atomic_load_explicit(&space->free_bytes, memory_order_relaxed);

    atomic_store_explicit(&space->user_bytes, user_bytes, memory_order_relaxed);
    if (slow || left < soon || space_since_bytes(space) > left / 32)
        space_poke(space);
}

/* Once writes were refused, so much more must be free before they are taken again. */
static uint64_t space_margin(const struct space *space)
{
    return space->db->options.min_free_bytes / MARGIN_PART;
}

void space_found_full(struct space *space)
{
    atomic_store(&space->full, 1);
    space_poke(space);
}

void space_found_cramped(struct space *space)
{
    atomic_store(&space->cramped, 1);
    space_poke(space);
}

uint64_t space_room(const struct space *space, int with_reserve)
{
    uint64_t free_bytes = atomic_load(&space->free_bytes);
    uint64_t flush_bytes = atomic_load(&space->unflushed_bytes);

    if (free_bytes == UINT64_MAX)
        return 0;
    if (with_reserve)
        free_bytes += atomic_load(&space->reserve_bytes);
    free_bytes -= flush_bytes < free_bytes / 2 ? flush_bytes : free_bytes / 2;
    return free_bytes > 0 ? free_bytes : 1;
}

/* By what the last look found, and what was written since: a byte goes to the log, and to a segment. */
static int space_check_closely(struct space *space, const struct varve_batch *batch,
                               struct varve_err *err)
{
    struct batch_cursor cursor = {0};
    struct chunk chunk;
    uint64_t since = space_since_bytes(space) + batch->size_bytes;
    uint64_t left = atomic_load(&space->free_bytes);
    uint64_t waiting = atomic_load(&space->unflushed_bytes) + since;
    uint64_t min_free = space->db->options.min_free_bytes;
    int deletes_only = 1;

    left -= since < left ? since : left;
    while (deletes_only && batch_next(batch, &cursor, &chunk))
        deletes_only = chunk.kind != CHUNK_PUT;
    if (deletes_only)
        return 0;
    if (!atomic_load(&space->low)) { /* the next look knows of it, and may find more room */
        atomic_store(&space->refused_bytes, batch->size_bytes);
        space_poke(space);
    }
    if (left < min_free)
        return err_set(err, VARVE_ENOSPC, "the disk has %llu bytes left, min-free is %llu",
                       (unsigned long long)left, (unsigned long long)min_free);
    if (left < min_free + waiting)
        return err_set(
            err, VARVE_ENOSPC,
            "the disk has %llu bytes left, %llu in memory are to go there, min-free is %llu",
            (unsigned long long)left, (unsigned long long)waiting, (unsigned long long)min_free);
    if (left < min_free + waiting + space_margin(space))
        return err_set(err, VARVE_ENOSPC,
                       "the disk has %llu bytes left, writes are taken again at %llu",
                       (unsigned long long)left,
                       (unsigned long long)(min_free + waiting + space_margin(space)));
    return err_set(err, VARVE_ENOSPC, "a flush found no room on the disk, %llu bytes are left",
                   (unsigned long long)left);
}

int space_check(struct space *space, const struct varve_batch *batch, uint64_t user_bytes,
                struct varve_err *err)
{
    uint64_t limit = atomic_load_explicit(&space->limit_bytes, memory_order_relaxed);

    atomic_store_explicit(&space->user_bytes, user_bytes, memory_order_relaxed);
    if (LIKELY(!atomic_load_explicit(&space->low, memory_order_relaxed) &&
               (user_bytes + batch->size_bytes <= limit || MUTANT("writes-outrun-looks"))))
        return 0;
    return space_check_closely(space, batch, err);
}

/* Zeros, so that the blocks are really there. */
static int reserve_write(struct varve_db *db, const char *path, uint64_t size_bytes)
{
    struct varve_file *file = NULL;
    uint8_t *zeros = mem_alloc_zero(WRITE_BYTES);
    int rc = zeros == NULL ? VARVE_ENOMEM
                           : db->env->ops->open(db->env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE,
                                                &file, NULL);

    for (uint64_t at = 0; rc == 0 && at < size_bytes; at += WRITE_BYTES) {
        uint64_t left = size_bytes - at;
        struct varve_slice part = varve_slice(zeros, left < WRITE_BYTES ? left : WRITE_BYTES);
        rc = db->env->ops->write_at(db->env, file, &part, 1, at, NULL);
    }
    if (rc == 0)
        rc = db->env->ops->sync(db->env, file, NULL);
    if (file != NULL)
        db->env->ops->close(db->env, file);
    mem_free(zeros);
    return rc;
}

static void reserve_set(struct space *space, uint64_t size_bytes)
{
    struct varve_db *db = space->db;
    char *path = name_path(db->dir, "RESERVE");

    if (path == NULL)
        return;
    if (size_bytes == 0 || reserve_write(db, path, size_bytes) != 0) {
        size_bytes = 0;
        (void)db->env->ops->remove(db->env, path, NULL);
    }
    atomic_store(&space->reserve_bytes, size_bytes);
    mem_free(path);
}

/* Of the memtables: all of it is still to be flushed. */
static uint64_t space_unflushed_bytes(struct space *space)
{
    struct view *view = view_acquire(&space->db->view);
    uint64_t bytes = memtable_is_empty(view->active) ? 0 : memtable_used_bytes(view->active);

    for (size_t i = 0; i < view->immutable_count; i++)
        bytes += memtable_used_bytes(view->immutable[i]);
    view_release(&space->db->view, view);
    return bytes;
}

/* 0: the system does not tell. */
static int space_measure(struct space *space, uint64_t *bytes)
{
    struct varve_db *db = space->db;

    return db->env->ops->free_space(db->env, db->dir, bytes, NULL) == 0;
}

/* Gives the reserve up if that was asked for. Is there no room? */
static int space_is_full(struct space *space)
{
    struct varve_db *db = space->db;
    uint64_t min_free = db->options.min_free_bytes;
    uint64_t wanted = db->options.reserve_size_bytes;
    int full = atomic_exchange(&space->full, 0);
    int cramped = atomic_exchange(&space->cramped, 0);
    uint64_t free_bytes = 0; /* not known: none */

    if (cramped) {
        atomic_store(&space->wants_flush, 1);
        (void)space_measure(space, &free_bytes);
        if (atomic_load(&space->low))
            min_free += space_margin(space);
        full |= free_bytes < (min_free > wanted ? min_free : wanted);
    }
    if (full && atomic_load(&space->reserve_bytes) > 0 && !MUTANT("reserve-stays")) {
        reserve_set(space, 0);
        db_log(db, 4, "the disk is full: the reserve of %llu bytes was given up",
               (unsigned long long)wanted);
    }
    return full;
}

/* The system does not tell: nobody is refused for that. */
static void space_unknown(struct space *space, int full)
{
    atomic_store(&space->free_bytes, UINT64_MAX);
    atomic_store(&space->limit_bytes, UINT64_MAX);
    atomic_store(&space->low, full);
    if (full)
        atomic_store(&space->wants_flush, 1);
}

static void space_look(struct space *space)
{
    struct varve_db *db = space->db;
    uint64_t min_free = db->options.min_free_bytes;
    uint64_t wanted = atomic_load(&space->reserve_bytes) == 0 ? db->options.reserve_size_bytes : 0;
    uint64_t looked = atomic_load(&space->user_bytes); /* first: what comes later is counted */
    uint64_t refused = MUTANT("refusals-flush-nothing") ? 0
                                                        : atomic_exchange(&space->refused_bytes, 0);
    uint64_t unflushed = MUTANT("memory-has-no-room") ? 0 : space_unflushed_bytes(space);
    int was_low = atomic_load(&space->low);
    int full = space_is_full(space);
    /* With min_free 0 no limit is wanted. */
    uint64_t least = min_free == 0 ? 0 : min_free + unflushed;
    uint64_t margin = space_margin(space);
    uint64_t wish = least + (was_low ? margin : 2 * refused);
    uint64_t free_bytes;
    int known = space_measure(space, &free_bytes);

    if (known && (full || free_bytes < wish) && !MUTANT("full-keeps-dead-logs") &&
        wal_pool_drop_dead(&db->wal.pool) > 0)
        known = space_measure(space, &free_bytes);
    if (!known) {
        space_unknown(space, full);
        return;
    }
    /* One that is larger than all the margin is refused alone. */
    int low = full || free_bytes < (wish < least + margin ? wish : least + margin) ||
              (MUTANT("low-for-ever") && was_low);
    uint64_t beyond = free_bytes > min_free + unflushed ? free_bytes - min_free - unflushed : 0;
    if (!low && wanted > 0 && beyond / 2 >= wanted) { /* meanwhile the last look's figures hold */
        reserve_set(space, wanted);
        (void)space_measure(space, &free_bytes);
    }
    uint64_t spare = free_bytes > least ? free_bytes - least : 0;
    atomic_store(&space->free_bytes, free_bytes);
    atomic_store(&space->unflushed_bytes, unflushed);
    atomic_store(&space->looked_bytes, looked);
    atomic_store(&space->limit_bytes, min_free == 0 ? UINT64_MAX : looked + spare / 2);
    atomic_store(&space->low, low);
    if (low != was_low)
        db_log(db, low ? 4 : 5,
               low ? "writes are refused: %llu bytes are left on the disk"
                   : "writes are taken again: %llu bytes are left on the disk",
               (unsigned long long)free_bytes);
    if (low || free_bytes < wish)
        atomic_store(&space->wants_flush, 1);
}

static void space_run(struct varve_job *job)
{
    struct space *space = CONTAINER_OF(job, struct space, job);

    space_look(space);
    mutex_lock(&space->mutex);
    space->running = 0;
    cond_broadcast(&space->changed);
    mutex_unlock(&space->mutex);
}
