/* fault_env.h - wraps any env and makes chosen calls fail. Counts the calls, so that a sweep that
 * fails call 1, 2, 3 ... ends by itself: when the plan did not fire, there was no such call.
 *
 *     for (uint64_t nth = 1;; nth++) {
 *         ... a fresh env; fault_env_plan(fault, (struct fault_plan){.nth = nth, ...}); run ...
 *         if (fault_env_fired(fault) == 0)
 *             break;
 *     }
 *
 * Over a sim_env a failed sync or sync_dir leaves what it covered in doubt for ever, and the next
 * one returns 0 without settling it. Over another env it is simply not done. Any thread. */
#ifndef SUPPORT_FAULT_ENV_H
#define SUPPORT_FAULT_ENV_H

#include <stdint.h>

#include "varve/env.h"

struct fault_env; /* opaque */

/* The calls that can fail; close, unlock, clocks and random cannot and are not counted. */
enum fault_op {
    FAULT_ANY, /* in a plan: all of those below, counted together */
    FAULT_OPEN,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_SYNC,
    FAULT_SIZE,
    FAULT_TRUNCATE,
    FAULT_MAKE_DIR,
    FAULT_LIST_DIR,
    FAULT_RENAME,
    FAULT_LINK,
    FAULT_REMOVE,
    FAULT_SYNC_DIR,
    FAULT_LOCK,
    FAULT_OP_COUNT,
    /* In a plan, for errors that not every call has: */
    FAULT_TAKES_ROOM,   /* open, write, sync, truncate, make_dir, rename, link, sync_dir */
    FAULT_TAKES_HANDLE, /* open, list_dir, sync_dir, lock */
};

enum fault_mode {
    FAULT_ONCE,
    FAULT_STICKY, /* every matching call from the nth on, until fault_env_heal() */
};

/* What a failing call has done when it returns the error. A sync over a sim_env is in doubt with
 * all three. */
enum fault_effect {
    FAULT_NOTHING_DONE,
    FAULT_PARTLY_DONE, /* write: a prefix is written; read: a prefix is in the caller's buffer;
                          list_dir: some names were shown; other calls: nothing */
    FAULT_ALL_DONE,    /* open closes the file again, lock lets go: only what is on disk stays */
    FAULT_SHORT,       /* read: returns 0 with half of the bytes, as if the file ended there; other
                          calls: FAULT_NOTHING_DONE */
};

struct fault_plan {
    enum fault_op op;
    uint64_t nth; /* among the matching calls since the plan was set, from 1; 0: no plan */
    int os_errno; /* EIO, ENOSPC, EDQUOT, EMFILE, ENOMEM, ...; goes through err_set_errno */
    enum fault_mode mode;
    enum fault_effect effect;
    /* Only calls on paths that end so count ("*.wal" is ".wal"); NULL: all. Borrowed while the
     * plan holds. A rename or link matches by its new name. */
    const char *path_suffix;
};

/* base is borrowed and must outlive the wrapper. Never NULL. */
struct fault_env *fault_env_create(struct varve_env *base);
/* Takes NULL. All files must be closed and all locks released. */
void fault_env_destroy(struct fault_env *fault);

struct varve_env *fault_as_env(struct fault_env *fault);

/* Replaces the plan and sets all counters to 0. */
void fault_env_plan(struct fault_env *fault, struct fault_plan plan);
/* Ends a sticky plan (or one that has not fired yet); the counters stay. */
void fault_env_heal(struct fault_env *fault);

/* While it is paused, calls are neither counted nor do they fail. */
void fault_env_pause(struct fault_env *fault, int paused);

/* Calls since the plan was set, failed ones included. FAULT_ANY: all. */
uint64_t fault_env_calls(struct fault_env *fault, enum fault_op op);
/* Calls that the plan is about, whether they failed or not. */
uint64_t fault_env_matched(struct fault_env *fault);
/* Calls that the plan made fail. */
uint64_t fault_env_fired(struct fault_env *fault);

struct fault_range {
    uint64_t offset;
    uint64_t len;
};
/* How often write_behind() was called, which nothing fails, and of what last. */
uint64_t fault_env_behind(struct fault_env *fault, struct fault_range *last);
/* The first call that the plan made fail, for reports: "write /db/000001.wal"; "" if none. Static
 * until the next plan. */
const char *fault_env_where(struct fault_env *fault);

const char *fault_op_name(enum fault_op op); /* "sync_dir"; static storage */

#endif
