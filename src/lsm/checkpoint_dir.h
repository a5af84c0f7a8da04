/* checkpoint_dir.h - the directory of a checkpoint, from what was captured. One thread at a time; blocks. */
#ifndef LSM_CHECKPOINT_DIR_H
#define LSM_CHECKPOINT_DIR_H

#include <stdatomic.h>

#include "lsm/log_reader.h"
#include "lsm/manifest.h"
#include "lsm/pacer.h"
#include "lsm/wal_sync.h"

struct checkpoint_dir {
    struct varve_env *env;
    const char *from; /* borrowed, as are the next two */
    const char *dir;
    const char *parent;
    char *making; /* the name under which it is made; owned by the caller */
    struct dir_id id;
    const _Atomic int *stop; /* != 0: give up */
    struct pacer *pacer;

    /* Of one moment. */
    const struct manifest_state *state; /* its segments' files stay until it is made */
    struct log_reader **logs;           /* of state->wals[i], for i < log_count */
    size_t log_count;
    struct wal_mark durable;
    uint64_t manifest_no; /* above all numbers in state, and of nobody else */
    uint64_t clock_ms;

    uint64_t linked_bytes;
    uint64_t copied_bytes;

    /* Zero at first. */
    struct varve_lock *lock; /* held from the first step to the last one */
    uint64_t *ends;          /* of the copied logs; owned */
    size_t segments_taken;
};

/* The next step: the log and all links at once, then a segment a step where only copies help. 0: it is there,
 * durable. CHECKPOINT_MORE: call it again, the logs are not needed any more. Else it is not there, and
 * what was made is removed as far as that can be done. */
#define CHECKPOINT_MORE 1
int checkpoint_dir_step(struct checkpoint_dir *task, struct varve_err *err) MUST_CHECK;

/* The error of a link() that the file system cannot make: only a copy helps. Pure. */
int checkpoint_has_no_link(const struct varve_err *err);

#endif
