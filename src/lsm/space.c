#include "lsm/space.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/db.h"
#include "lsm/names.h"

#define WRITE_BYTES ((size_t)1024 * 1024)

static void space_run(struct varve_job *job);

void space_init(struct space *space, struct varve_db *db)
{
    *space = (struct space){.db = db, .free_bytes = UINT64_MAX};
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

uint64_t space_room(const struct space *space, uint64_t flush_bytes, int with_reserve)
{
    uint64_t free_bytes = atomic_load(&space->free_bytes);

    if (free_bytes == UINT64_MAX)
        return 0;
    if (with_reserve)
        free_bytes += atomic_load(&space->reserve_bytes);
    free_bytes -= flush_bytes < free_bytes / 2 ? flush_bytes : free_bytes / 2;
    return free_bytes > 0 ? free_bytes : 1;
}

int space_check(const struct space *space, const struct varve_batch *batch, struct varve_err *err)
{
    struct batch_cursor cursor = {0};
    struct chunk chunk;

    if (LIKELY(!atomic_load_explicit(&space->low, memory_order_relaxed)))
        return 0;
    int deletes_only = 1;
    while (deletes_only && batch_next(batch, &cursor, &chunk))
        deletes_only = chunk.kind != CHUNK_PUT;
    if (deletes_only)
        return 0;
    uint64_t left = atomic_load(&space->free_bytes);
    uint64_t min_free = space->db->options.min_free_bytes;
    if (left >= min_free)
        return err_set(err, VARVE_ENOSPC, "a flush found no room on the disk, %llu bytes are left",
                       (unsigned long long)left);
    return err_set(err, VARVE_ENOSPC, "the disk has %llu bytes left, min-free is %llu",
                   (unsigned long long)left, (unsigned long long)min_free);
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

static void space_look(struct space *space)
{
    struct varve_db *db = space->db;
    uint64_t min_free = db->options.min_free_bytes;
    uint64_t wanted = db->options.reserve_size_bytes;
    uint64_t free_bytes = 0;
    int full = atomic_exchange(&space->full, 0);
    int cramped = atomic_exchange(&space->cramped, 0);

    if (db->env->ops->free_space(db->env, db->dir, &free_bytes, NULL) != 0)
        free_bytes = 0; /* not known */
    if (cramped && free_bytes < (min_free > wanted ? min_free : wanted))
        full = 1;
    if (full && atomic_load(&space->reserve_bytes) > 0 && !MUTANT("reserve-stays")) {
        reserve_set(space, 0);
        db_log(db, 4, "the disk is full: the reserve of %llu bytes was given up",
               (unsigned long long)wanted);
    }
    if (cramped || full || atomic_load(&space->low))
        atomic_store(&space->wants_flush, 1);
    if (db->env->ops->free_space(db->env, db->dir, &free_bytes, NULL) != 0)
        return;
    atomic_store(&space->free_bytes, free_bytes);
    int low = full || free_bytes < min_free || (MUTANT("low-for-ever") && atomic_load(&space->low));
    if (low != atomic_exchange(&space->low, low))
        db_log(db, low ? 4 : 5,
               low ? "writes are refused: %llu bytes are left on the disk"
                   : "writes are taken again: %llu bytes are left on the disk",
               (unsigned long long)free_bytes);
    if (!low && wanted > 0 && atomic_load(&space->reserve_bytes) == 0 &&
        free_bytes >= min_free + 2 * wanted)
        reserve_set(space, wanted);
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
