/* sim_internal.h - what sim_env.c (the live disk), sim_trace.c (what happened) and sim_image.c
 * (what may be left of it) share. Everything below is under sim_env's mutex. */
#ifndef SUPPORT_SIM_INTERNAL_H
#define SUPPORT_SIM_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/rng.h"
#include "base/thread.h"
#include "sim_disk.h"
#include "sim_env.h"

/* "In directory dir, name leads to node", or with SIM_NO_NODE to nothing. */
struct name_change {
    uint32_t dir;
    uint32_t node;
    char name[SIM_NAME_CAP];
};

/* The changes that reach the disk together: a rename within a directory has two. Counted, since
 * units outlive the event that made them. */
struct name_step {
    _Atomic uint32_t refs;
    size_t count;
    struct name_change changes[2];
};

struct name_step *name_step_ref(struct name_step *step);
void name_step_unref(struct name_step *step); /* takes NULL */

struct event {
    enum sim_event_kind kind;
    uint32_t node;     /* the file or directory; of a rename or remove: what was named */
    uint8_t node_kind; /* SIM_CREATE */
    char *path;        /* owned; NULL for a mark */
    uint64_t sync_nth;
    uint64_t real_ms;
    uint64_t mono_us;

    uint64_t offset; /* SIM_WRITE */
    uint64_t len;
    uint64_t size_after; /* SIM_WRITE, SIM_TRUNCATE */
    int size_changed;
    uint64_t first_sector;
    size_t sector_count;
    struct sim_sector **sectors; /* as they are after the event; each counted; NULL: a hole */

    struct name_step *steps[2]; /* of a rename across directories both */

    int tag;
    uint64_t value;
};

enum unit_kind { UNIT_DATA, UNIT_SIZE, UNIT_NAME };

/* Something that is on its way to the disk. */
struct unit {
    enum unit_kind kind;
    uint8_t in_doubt;          /* its sync failed: no later sync settles it */
    uint8_t dead_changes;      /* bit i: changes[i] is overtaken by what is durable */
    uint32_t node;             /* the file, or the directory of a name */
    uint64_t at;               /* UNIT_DATA: the sector's number; UNIT_SIZE: the size */
    struct sim_sector *sector; /* UNIT_DATA, counted */
    struct name_step *step;    /* UNIT_NAME, counted */
};

/* What the disk holds for certain, and what is on its way, in the order of issue. */
struct crash_state {
    struct sim_tree durable;
    struct unit *units;
    size_t count;
    size_t cap;
    size_t in_doubt_count;
};

void crash_state_init(struct crash_state *state);
void crash_state_deinit(struct crash_state *state);
void crash_state_clone(struct crash_state *to, const struct crash_state *from);
/* Moves on by one event. */
void crash_state_apply(struct crash_state *state, const struct event *event);
/* Takes out the units of nodes that are not marked. */
void crash_state_drop_units(struct crash_state *state, const uint8_t *mark);

struct sim_env {
    struct varve_env env; /* first: the engine's pointer is this one */
    struct mutex mutex;
    struct rng rng;
    uint64_t seed;
    uint64_t mono_us;
    uint64_t real_ms;
    uint64_t free_bytes;

    struct sim_tree live;
    struct list files; /* open handles */
    struct list locks; /* held locks */

    struct event *events;
    size_t event_count;
    size_t event_cap;
    uint64_t forgotten; /* the digest of the events before these; 0: there were none */
    uint64_t sync_count;
    uint64_t drop_nth;          /* 0: none */
    int fail_sync;              /* errno for the next sync, 0: none */
    void (*on_sync)(void *arg); /* NULL: none */
    void *on_sync_arg;
    uint64_t start_mono_us, start_real_ms; /* the clocks at event 0 */

    struct crash_state base;   /* at event 0 */
    struct crash_state cursor; /* after cursor_at events, if cursor_valid */
    uint64_t cursor_at;
    int cursor_valid;
};

struct sim_env *sim_env_make(uint64_t seed); /* without trees: the caller fills live and base */

/* Adds an event with the clocks of now; the pointer holds until the next call. */
struct event *trace_add(struct sim_env *sim, enum sim_event_kind kind, uint32_t node);
void trace_clear(struct sim_env *sim);
/* "/db/000003.wal", by where the node was linked last. To be freed by the caller. */
char *trace_path(const struct sim_tree *tree, uint32_t node);

/* Brings the cursor to the state after the first `upto` events. */
void cursor_seek(struct sim_env *sim, uint64_t upto);
void cursor_drop(struct sim_env *sim);

#endif
