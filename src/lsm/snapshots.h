/* snapshots.h - the snapshots that are held: flushes and compactions keep what they see. Any thread; a
 * mutex that is held for a walk over the list. */
#ifndef LSM_SNAPSHOTS_H
#define LSM_SNAPSHOTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/list.h"
#include "base/thread.h"
#include "varve/snapshot.h"

struct varve_snapshot {
    struct list node;
    uint64_t seq;
    uint64_t now_ms;
};

struct snapshots {
    struct mutex mutex;
    struct list list; /* in the order in which they were acquired */
    size_t count;
};

void snapshots_init(struct snapshots *snapshots);
void snapshots_deinit(struct snapshots *snapshots); /* nobody holds one */

/* take(snapshot, arg) fills sequence and time in under the mutex: a job that looked at the clock, and took
 * its copy then, drops neither what is newest now nor what has not expired yet. */
void snapshots_add(struct snapshots *snapshots, struct varve_snapshot *snapshot,
                   void (*take)(struct varve_snapshot *snapshot, void *arg), void *arg);
void snapshots_remove(struct snapshots *snapshots, struct varve_snapshot *snapshot);

/* A job's copy. */
struct snapshot_list {
    uint64_t *seqs; /* ascending, each once; owned */
    size_t count;
    uint64_t oldest_seq; /* UINT64_MAX: there is none */
    uint64_t now_ms_min; /* UINT64_MAX: there is none */
};

/* 0 or VARVE_ENOMEM. */
int snapshots_copy(struct snapshots *snapshots, struct snapshot_list *list) MUST_CHECK;
void snapshot_list_deinit(struct snapshot_list *list);
/* Is there one below seq_max that the copy does not know? */
int snapshots_grew_below(struct snapshots *snapshots, const struct snapshot_list *list,
                         uint64_t seq_max);

#endif
