/* Flushes and full compactions that somebody waits for. */
#include "lsm/db.h"

#include "base/err.h"

static int sync_is_running(const void *arg)
{
    return ((const struct wal_sync *)arg)->running;
}

static uint64_t flushed_seq(const struct varve_db *db)
{
    rcu_enter();
    uint64_t seq = view_current(&db->view)->version->flushed_seq;
    rcu_leave();
    return seq;
}

static uint64_t flush_failures(struct flusher *flusher)
{
    mutex_lock(&flusher->mutex);
    uint64_t failures = flusher->failures;
    mutex_unlock(&flusher->mutex);
    return failures;
}

void db_wait_flush(struct varve_db *db)
{
    varve_tick(db);
    db_wait(db, &db->flusher.mutex, &db->flusher.changed, flusher_is_running, &db->flusher);
    db_wait(db, &db->wal.sync.mutex, &db->wal.sync.changed, sync_is_running, &db->wal.sync);
}

int varve_flush(struct varve_db *db, struct varve_err *err)
{
    uint64_t wanted = db->applied_seq;
    uint64_t failures = flush_failures(&db->flusher);

    if (db->undo.count > 0)
        return err_set(err, VARVE_EINVAL, "flush: the group is open");
    mutex_lock(&db->flusher.mutex);
    db->flusher.retry_us = 0;
    mutex_unlock(&db->flusher.mutex);
    while (flushed_seq(db) < wanted) {
        /* Too many wait: the next round tries again. */
        if (!memtable_is_empty(db->memtable) && db_swap_memtable(db) == VARVE_ENOMEM)
            return err_set(err, VARVE_ENOMEM, "flush: no memory");
        db_wait_flush(db);
        int rc = varve_writable(db, err);
        if (rc == 0 && flush_failures(&db->flusher) > failures)
            rc = flusher_is_failing(&db->flusher, err);
        if (rc != 0)
            return err_wrap(err, rc, "flush");
    }
    return 0;
}

int varve_compact(struct varve_db *db, struct varve_err *err)
{
    struct compactor *compactor = &db->compactor;
    int rc = varve_flush(db, err);

    if (rc != 0)
        return rc;
    compactor_compact_all(compactor, db->applied_seq);
    db_wait(db, &compactor->mutex, &compactor->changed, compactor_is_compacting_all, compactor);
    mutex_lock(&compactor->mutex);
    if (compactor->compact_all_failed)
        rc = err_set(err, VARVE_EIO, "compact: %s", compactor->last_error);
    mutex_unlock(&compactor->mutex);
    return rc;
}
