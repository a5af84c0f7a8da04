#include "salvage_store.h"

#include "base/err.h"
#include "base/mem.h"
#include "dir.h"
#include "types/keycode.h"
#include "varve/batch.h"
#include "varve/db.h"

#define BATCH_BYTES ((uint64_t)1024 * 1024)
#define BATCH_OPERATIONS 4096
#define WAL_BYTES ((uint64_t)16 * 1024 * 1024) /* set aside in advance: no more than is needed */

struct salvage_store {
    struct varve_executor *executor; /* owned */
    struct varve_db *db;
    struct varve_batch *batch;
};

/* ---- opening ---- */

int salvage_store_create(const char *path, const char *old_path, struct salvage_store **out,
                         struct varve_err *err)
{
    struct salvage_store *store = mem_alloc_zero(sizeof(*store));
    struct varve_options options = {.durability = VARVE_NO,
                                    .wal_size_bytes = WAL_BYTES,
                                    .wal_pool_size = 1,
                                    .reserve_size_bytes = VARVE_NO_RESERVE,
                                    .count_group = keycode_count_group};
    int rc = 0;

    *out = NULL;
    if (store == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory");
    store->batch = varve_batch_create();
    if (store->batch == NULL)
        rc = err_set(err, VARVE_ENOMEM, "no memory");
    if (rc == 0)
        rc = dir_check_new(path, old_path, err);
    if (rc == 0)
        rc = varve_executor_threads_create(NULL, &store->executor, err);
    options.executor = store->executor;
    if (rc == 0)
        rc = varve_open(path, &options, &store->db, err);
    if (rc == 0)
        *out = store;
    else
        (void)salvage_store_close(store, NULL);
    return rc;
}

/* ---- writing ---- */

static int write_batch(struct salvage_store *store, struct varve_err *err)
{
    if (varve_batch_count(store->batch) == 0)
        return 0;
    int rc = varve_write(store->db, store->batch, NULL, err);
    varve_batch_clear(store->batch);
    varve_tick(store->db);
    return rc;
}

static int took(struct salvage_store *store, int rc, int borrows, struct varve_err *err)
{
    if (rc != 0)
        return err_set(err, rc, "a record cannot be added to a batch");
    if (borrows || varve_batch_size(store->batch) >= BATCH_BYTES ||
        varve_batch_count(store->batch) >= BATCH_OPERATIONS)
        return write_batch(store, err);
    return 0;
}

int salvage_store_put(struct salvage_store *store, struct varve_slice key, struct varve_slice value,
                      uint64_t expire_ms, struct varve_err *err)
{
    int rc = varve_batch_put(store->batch, &key, 1, &value, 1, expire_ms);

    return took(store, rc, value.len >= VARVE_BATCH_BORROW_BYTES, err);
}

int salvage_store_delete(struct salvage_store *store, struct varve_slice key, struct varve_err *err)
{
    return took(store, varve_batch_delete(store->batch, &key, 1), 0, err);
}

int salvage_store_close(struct salvage_store *store, struct varve_err *err)
{
    int rc = 0;

    if (store == NULL)
        return 0;
    if (store->db != NULL) {
        rc = write_batch(store, err);
        if (rc == 0)
            rc = varve_flush(store->db, err);
        int closed = varve_close(store->db, rc == 0 ? err : NULL);
        rc = rc == 0 ? closed : rc;
    }
    varve_executor_threads_destroy(store->executor);
    varve_batch_destroy(store->batch);
    mem_free(store);
    return rc;
}
