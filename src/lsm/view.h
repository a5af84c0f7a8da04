/* view.h - what a reader looks at: the memtables and the version of one moment. Readers load the pointer
 * to the current one inside rcu (base/rcu.h) and take no lock; the writer (a memtable was swapped) and the
 * maintenance jobs (a flush or compaction took effect) publish new ones. Who keeps one for longer than
 * that, such as an iterator, holds a counted reference, and with it memtables and segments.
 *
 *   newest                                                      oldest
 *   active -> immutable[0] -> immutable[1] ... -> version (runs)
 *
 * For one key, what a layer says is newer than what any layer behind it says. */
#ifndef LSM_VIEW_H
#define LSM_VIEW_H

#include <stdatomic.h>

#include "base/rcu.h"
#include "base/thread.h"
#include "lsm/memtable.h"
#include "lsm/version.h"

#define MEMTABLES_MAX 16

struct view {
    struct rcu_retired retired;
    _Atomic uint64_t refs; /* one is the slot's, until a grace period after the next one came */
    struct memtable *active;
    struct memtable *immutable[MEMTABLES_MAX]; /* newest first */
    size_t immutable_count;
    struct version *version;
};

/* The current view of a database. */
struct view_slot {
    struct view *_Atomic current;
    struct mutex mutex;            /* of those who publish; never across I/O */
    void (*on_retired)(void *arg); /* something waits for rcu_reclaim() */
    void *arg;
};

/* Takes both over, on failure too. 0 or VARVE_ENOMEM. */
int view_slot_init(struct view_slot *slot, struct memtable *active,
                   struct version *version) MUST_CHECK;
void view_slot_deinit(struct view_slot *slot); /* retires the last view */

/* Inside rcu. */
static inline struct view *view_current(const struct view_slot *slot)
{
    return atomic_load_explicit(&slot->current, memory_order_acquire);
}

/* A reference to the current view. Any thread, inside rcu or not. */
struct view *view_acquire(struct view_slot *slot);
void view_ref(struct view *view); /* inside rcu, or with a reference */
/* The last one retires it: it is freed by a RECLAIM job, never here. Takes NULL. */
void view_release(struct view_slot *slot, struct view *view);

/* `fresh` becomes the active memtable, the one before it the newest immutable one. Takes fresh over, on
 * failure too. 0, VARVE_ENOMEM, or VARVE_EFULL: MEMTABLES_MAX wait. */
int view_swap_memtable(struct view_slot *slot, struct memtable *fresh) MUST_CHECK;
/* The version changes in two steps, so that nothing can fail once the manifest has the edit. Maintenance;
 * between the two no other version may be installed.
 * 0, VARVE_ENOMEM, or VARVE_ECORRUPT, as version_apply(). */
int view_prepare(struct view_slot *slot, const struct version_change *change,
                 struct view **prepared, struct varve_err *err) MUST_CHECK;
void view_discard(struct view *prepared); /* it is not installed after all; takes NULL */
/* Takes prepared over. The oldest immutable memtable goes if it is `flushed` (NULL: none does). */
void view_install(struct view_slot *slot, struct view *prepared, const struct memtable *flushed);

/* The newest range tombstone over key, of all layers, with a sequence <= seq_max; 0: none. */
uint64_t view_range_seq(const struct view *view, struct varve_slice key, uint64_t seq_max);

#endif
