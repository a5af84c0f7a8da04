/* What include/varve promises and the memtable alone does not need: no read waits for a disk, and no write
 * for a flush. */
#include "base/err.h"
#include "lsm/db.h"

void varve_enter(void)
{
}

void varve_leave(void)
{
}

uint64_t varve_write_delay_us(const struct varve_db *db, enum varve_stall_cause *cause)
{
    (void)db;
    if (cause != NULL)
        *cause = VARVE_STALL_NONE;
    return 0;
}

const char *varve_stall_name(enum varve_stall_cause cause)
{
    static const char *const names[] = {"none", "memtables", "level0", "space", "segments"};

    return names[cause];
}

int varve_count_now(struct varve_db *db, struct varve_slice group, uint64_t *count,
                    struct varve_err *err)
{
    return varve_count(db, group, count, err);
}

int varve_fetch_start(struct varve_db *db, const struct varve_read *read, struct varve_slice key,
                      struct varve_fetch *fetch)
{
    (void)db;
    (void)read;
    (void)key;
    (void)fetch;
    return VARVE_ENOMEM;
}

int varve_fetch_count(struct varve_db *db, struct varve_slice group, struct varve_fetch *fetch)
{
    (void)db;
    (void)group;
    (void)fetch;
    return VARVE_ENOMEM;
}

void varve_fetch_release(struct varve_fetch *fetch)
{
    *fetch = (struct varve_fetch){0};
}
