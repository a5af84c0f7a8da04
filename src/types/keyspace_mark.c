/* Groups that are cut back, and keys that are watched: what a transaction needs of the keyspace. */
#include <string.h>

#include "base/mutant.h"
#include "types/keyspace_private.h"

#define PAGE_KEEP_BYTES ((size_t)16 * 1024)

/* ---- several batches, all or none ---- */

void keyspace_mark(struct keyspace *keyspace)
{
    struct keyspace_mark *mark = &keyspace->mark;

    CHECK(!keyspace->marked);
    keyspace->marked = 1;
    mark->in_group = varve_group_open(keyspace->db);
    varve_group_mark(keyspace->db, &mark->group);
    mark->map = keyspace->map;
    mark->map_group = keyspace->map_group;
    mark->map_group_seq = keyspace->map_group_seq;
    mark->map_unsettled = keyspace->map_unsettled;
    mark->write_seq = keyspace->write_seq;
    mark->group_bytes = keyspace->group_bytes;
    mark->groups_opened = keyspace->groups_opened;
    mark->expired_keys = keyspace->stats.expired_keys;
}

void keyspace_unmark(struct keyspace *keyspace, int cut)
{
    const struct keyspace_mark *mark = &keyspace->mark;

    CHECK(keyspace->marked);
    keyspace->marked = 0;
    /* Elsewhere walks of any length are jobs. */
    buf_clear(&keyspace->page.names);
    buf_shrink(&keyspace->page.names, PAGE_KEEP_BYTES);
    if (!cut)
        return;
    keyspace_begin(keyspace);
    varve_group_cut(keyspace->db, &mark->group);
    if (!MUTANT("cut-keeps-map"))
        keyspace->map = mark->map;
    keyspace->map_group = mark->map_group;
    keyspace->map_group_seq = mark->map_group_seq;
    keyspace->map_unsettled = mark->map_unsettled;
    keyspace->write_seq = mark->write_seq;
    keyspace->group_bytes = mark->group_bytes;
    keyspace->groups_opened = mark->groups_opened;
    keyspace->stats.expired_keys = mark->expired_keys;
}

int keyspace_mark_is_full(const struct keyspace *keyspace)
{
    return keyspace->marked && !keyspace->mark.in_group && varve_group_is_full(keyspace->db);
}

uint64_t keyspace_group_no(const struct keyspace *keyspace)
{
    return keyspace->groups_opened + !varve_group_open(keyspace->db);
}

/* ---- keys that are watched ---- */

static int look(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                struct keyspace_watch *watch, uint64_t *seq, struct varve_err *err)
{
    struct varve_pin pin = {0};
    int rc = keyspace_lookup_live(keyspace, db, key, now_ms, &pin, seq, err);

    *watch = (struct keyspace_watch){.space_id = space_of(keyspace, db)->id,
                                     .seq = pin.seq,
                                     .at = keyspace->write_seq,
                                     .present = rc == 0};
    if (rc == 0)
        varve_pin_release(&pin);
    return rc == VARVE_NOT_FOUND ? 0 : rc;
}

/* A name that was found expired has a tombstone since: the second look sees that, as later ones will. */
int keyspace_watch(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                   struct keyspace_watch *watch, uint64_t *seq, struct varve_err *err)
{
    uint64_t expired = keyspace->stats.expired_keys;
    int rc = look(keyspace, db, key, now_ms, watch, seq, err);

    if (rc == 0 && keyspace->stats.expired_keys != expired)
        rc = look(keyspace, db, key, now_ms, watch, seq, err);
    return rc;
}

int keyspace_watch_differs(const struct keyspace_watch *before, const struct keyspace_watch *after)
{
    int same_space = before->space_id == after->space_id;

    if (before->present != after->present)
        return 1;
    if (before->present)
        return !same_space || before->seq != after->seq;
    /* In a database that was new, or swapped in, a tombstone may be older than the look. */
    return after->seq > before->at && after->seq > before->seq;
}
