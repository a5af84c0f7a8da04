/* What the headers promise and the library does not hold yet, as weak symbols: nothing is flushed,
 * nothing blocks. Goes away as a whole once the library has them. */
#include <stddef.h>

#include "varve/db.h"
#include "varve/pin.h"

#define PENDING __attribute__((weak))

/* Told apart by programs whose data would not fit into one memtable. */
extern const int pending_engine;
PENDING const int pending_engine = 1;

PENDING void varve_enter(void)
{
}

PENDING void varve_leave(void)
{
}

PENDING void varve_pin_keep(struct varve_pin *pin)
{
    pin->kept = 1;
}

PENDING const char *varve_stall_name(enum varve_stall_cause cause)
{
    (void)cause;
    return "none";
}

PENDING uint64_t varve_write_delay_us(const struct varve_db *db, enum varve_stall_cause *cause)
{
    (void)db;
    if (cause != NULL)
        *cause = VARVE_STALL_NONE;
    return 0;
}

PENDING int varve_flush(struct varve_db *db, struct varve_err *err)
{
    (void)db;
    (void)err;
    return 0;
}

PENDING int varve_compact(struct varve_db *db, struct varve_err *err)
{
    (void)db;
    (void)err;
    return 0;
}

PENDING int varve_fetch_start(struct varve_db *db, const struct varve_read *read,
                              struct varve_slice key, struct varve_fetch *fetch)
{
    (void)db;
    (void)read;
    (void)key;
    fetch->rc = 0;
    fetch->done(fetch);
    return 0;
}

PENDING void varve_fetch_release(struct varve_fetch *fetch)
{
    fetch->request = NULL;
}

PENDING int varve_count_now(struct varve_db *db, struct varve_slice group, uint64_t *count,
                            struct varve_err *err)
{
    return varve_count(db, group, count, err);
}

PENDING int varve_fetch_count(struct varve_db *db, struct varve_slice group,
                              struct varve_fetch *fetch)
{
    fetch->rc = varve_count(db, group, &fetch->count, NULL);
    fetch->done(fetch);
    return 0;
}
