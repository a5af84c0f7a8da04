#include "trial.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "types/keycode.h"
#include "varve/db.h"
#include "varve/iter.h"

#define WAL_BYTES ((uint64_t)1024 * 1024) /* set aside in advance: no more than is needed */

struct walk {
    struct trial *trial;
    struct varve_iter *iter; /* stands at what the content shows next */
    struct progress *progress;
};

static int differs(const struct walk *walk, const struct entry *entry, const char *how,
                   struct varve_err *err)
{
    if (varve_iter_status(walk->iter, err) != 0)
        return err->code;
    return err_set(err, VARVE_ECORRUPT, "when opened, the record with sequence %" PRIu64 " %s",
                   entry->seq, how);
}

static int compare_entry(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct walk *walk = arg;
    const struct chunk *chunk = &entry->chunk;

    if (!varve_iter_valid(walk->iter) || !varve_slice_equal(varve_iter_key(walk->iter), chunk->key))
        return differs(walk, entry, "is not where it was", err);
    if (!varve_slice_equal(varve_iter_value(walk->iter), chunk->value))
        return differs(walk, entry, "has another value", err);
    if (varve_iter_expire_ms(walk->iter) != chunk->expire_ms)
        return differs(walk, entry, "has another expiry", err);
    walk->trial->records++;
    walk->trial->bytes += chunk->key.len + chunk->value.len;
    progress_tell(walk->progress, "opened, compared", chunk->key.len + chunk->value.len);
    varve_iter_next(walk->iter);
    return 0;
}

/* The snapshot's time is asked for behind the opening: what the engine has dropped by then as expired has
 * expired for the content, too. */
static int compare(struct trial *trial, struct varve_db *db, struct content *content,
                   struct progress *progress, struct varve_err *err)
{
    struct varve_snapshot *snapshot = varve_snapshot_acquire(db);
    struct varve_read read = {.snapshot = snapshot, .no_fill = 1};
    struct walk walk = {.trial = trial, .progress = progress};
    int rc = 0;

    if (snapshot == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory to compare");
    content->now_ms = varve_snapshot_now_ms(snapshot);
    walk.iter = varve_iter_create(db, &read, NULL, NULL, err);
    if (walk.iter == NULL) {
        rc = err->code;
        goto out;
    }
    varve_iter_first(walk.iter);
    rc = content_walk(content, varve_slice(NULL, 0), compare_entry, &walk, err);
    if (rc == 0)
        rc = varve_iter_status(walk.iter, err);
    if (rc == 0 && varve_iter_valid(walk.iter))
        rc = err_set(err, VARVE_ECORRUPT,
                     "when opened, it shows a key that its files do not, with sequence %" PRIu64,
                     varve_iter_seq(walk.iter));
out:
    varve_iter_destroy(walk.iter);
    varve_snapshot_release(db, snapshot);
    return rc;
}

int trial_run(struct trial *trial, const char *path, struct content *content,
              struct progress *progress, struct varve_err *err)
{
    struct varve_options options = {.durability = VARVE_NO,
                                    .segments_max = MANIFEST_SEGMENTS_MAX,
                                    .min_free_bytes = VARVE_NO_RESERVE,
                                    .reserve_size_bytes = VARVE_NO_RESERVE,
                                    .wal_size_bytes = WAL_BYTES,
                                    .wal_pool_size = 1,
                                    .no_create = 1,
                                    .count_group = trial->raw ? NULL : keycode_count_group};
    struct varve_db *db = NULL;
    int rc = varve_executor_threads_create(NULL, &options.executor, err);

    trial->records = trial->bytes = 0;
    if (rc == 0)
        rc = varve_open(path, &options, &db, err);
    if (rc == 0) {
        rc = compare(trial, db, content, progress, err);
        int closed = varve_close(db, rc == 0 ? err : NULL);
        rc = rc == 0 ? closed : rc;
    }
    varve_executor_threads_destroy(options.executor);
    return rc;
}
