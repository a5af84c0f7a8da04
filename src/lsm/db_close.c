/* Closing: background jobs give up, what was committed is made durable, the log is sealed. */
#include "lsm/db.h"

#include "base/err.h"
#include "base/mutant.h"

static int sync_is_running(const void *arg)
{
    return ((const struct wal_sync *)arg)->running;
}

static int space_is_running(const void *arg)
{
    return ((const struct space *)arg)->running;
}

static int pool_is_running(const void *arg)
{
    return ((const struct wal_pool *)arg)->running;
}

/* Flushes and compactions end or give up; the log has what is not flushed. */
static void db_stop_background(struct varve_db *db)
{
    atomic_store(&db->stopping, 1);
    db_wait(db, &db->flusher.mutex, &db->flusher.changed, flusher_is_running, &db->flusher);
    db_wait(db, &db->compactor.mutex, &db->compactor.changed, compactor_is_running, &db->compactor);
    db_wait(db, &db->space.mutex, &db->space.changed, space_is_running, &db->space);
    checkpoints_poke(&db->checkpoints);
    db_wait(db, &db->checkpoints.mutex, &db->checkpoints.changed, checkpoints_are_running,
            &db->checkpoints);
}

static void db_wait_jobs(struct varve_db *db)
{
    struct wal_sync *sync = &db->wal.sync;
    struct wal_pool *pool = &db->wal.pool;

    db_wait(db, &sync->mutex, &sync->changed, sync_is_running, sync);
    db_wait(db, &pool->mutex, &pool->changed, pool_is_running, pool);
}

/* All that was committed, durable. */
static int db_sync_all(struct varve_db *db, struct varve_err *err)
{
    int rc = 0;

    db_wait_jobs(db);
    wal_sync_start(&db->wal.sync);
    db_wait_jobs(db);
    if (varve_writable(db, NULL) != 0) {
        if (!atomic_load(&db->failed)) /* note why */
            varve_tick(db);
        rc = heal_now(&db->heal, err);
    }
    return rc;
}

/* The manifest says where the log ends, the seal included: rot that takes the seal together with what it
 * vouches for, which a disk can do that loses a sector, is then seen. */
static int close_manifest(struct varve_db *db, struct varve_err *err)
{
    struct log_place end = wal_end(&db->wal);
    struct manifest_edit edit = {
        .change = MANIFEST_END_WAL, .file_no = end.file_no, .end = end.offset};

    manifest_set_clock(db->manifest, varve_now_ms(db));
    return manifest_apply(db->manifest, &edit, MUTANT("no-end-at-close") ? 0 : 1, err);
}

int varve_close(struct varve_db *db, struct varve_err *err)
{
    if (db == NULL)
        return 0;
    CHECK(!rcu_inside() && atomic_load(&db->fetches) == 0);
    int rc = varve_group_commit(db, err);
    /* What was committed before that group is made durable all the same, and no job is left behind. */
    struct varve_err *later = rc == 0 ? err : NULL;
    db_stop_background(db);
    int synced = db_sync_all(db, later);
    if (synced == 0)
        synced = wal_seal(&db->wal, db->applied_seq + 1, later);
    db_wait_jobs(db);
    if (synced == 0)
        synced = close_manifest(db, later);
    if (rc == 0)
        rc = synced;
    if (rc != 0)
        err_wrap(err, rc, "close %s", db->dir);
    db_wait(db, &db->reclaim_mutex, &db->reclaim_changed, db_reclaim_is_running, db);
    db_free(db);
    return rc;
}
