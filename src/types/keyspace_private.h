/* keyspace_private.h - the keyspace's insides, for keyspace.c, keyspace_mark.c and keyspace_walk.c alone. */
#ifndef TYPES_KEYSPACE_PRIVATE_H
#define TYPES_KEYSPACE_PRIVATE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/thread.h"
#include "types/blocked.h"
#include "types/expire.h"
#include "types/keyspace.h"
#include "types/space_map.h"

#define KEYSPACE_SCRATCH_BYTES ((size_t)64 * 1024) /* what of it is kept */
#define KEYSPACE_OP_BYTES 32 /* about what an operation takes in the log besides key and value */

/* What is put back when the group is cut. */
struct keyspace_mark {
    struct varve_group_mark group;
    int in_group; /* 1: the group was open before */
    struct space_map map;
    struct space_map map_group;
    uint64_t map_group_seq;
    int map_unsettled;
    uint64_t write_seq;
    uint64_t group_bytes;
    uint64_t groups_opened;
    uint64_t expired_keys;
};

/* What a note of a walk stands for; the pattern is borrowed from the command that waits. */
struct wanted_walk {
    uint64_t space_id;
    uint64_t now_ms;
    struct walk_query query;
};

/* The map of databases as readers of other threads take it. `version` is odd from the map's change in the open
 * group until the commit, or its failure; so who reads, and finds the same even number before and after,
 * looked with the map of what it saw. */
struct shown_map {
    _Atomic uint64_t version;
    struct mutex mutex;
    struct space_map map; /* under the mutex */
};

struct keyspace {
    struct varve_db *db;
    struct keyspace
        *writer; /* of a reader (keyspace_open_reader): the one that writes; else NULL */
    struct shown_map *shown;   /* of a writer that has readers, or had any; else NULL */
    uint64_t map_version;      /* a reader's: of its map; 0: of none */
    uint64_t begun_seq;        /* a reader's: visible when its command began */
    unsigned looked;           /* likewise: lookups since */
    struct varve_batch *batch; /* between begin and apply; NULL: to be made */
    struct varve_batch *sweep; /* one tombstone of an expired name */
    struct buf scratch;        /* an engine key, for reads */
    struct space_map map;
    struct space_map map_before; /* the batch's first change; if map_touched */
    int map_touched;             /* the batch changed the map */
    struct space_map map_group;  /* the group's first change; if map_unsettled */
    uint64_t map_group_seq;      /* of that change */
    int map_unsettled;           /* the open group changed the map */
    uint64_t write_seq;          /* of the newest operation applied */
    uint64_t group_bytes;
    uint64_t groups_opened;
    struct keyspace_mark mark; /* if marked */
    int marked;
    int keep_expired; /* see keyspace_keep_expired() */
    struct keyspace_stats stats;
    struct blocked blocked;
    struct varve_executor *executor;                         /* NULL: walks wait for the disk */
    struct walk_page page;                                   /* of a walk that was made at once */
    struct wanted_walk wanted_walks[KEYSPACE_DATABASES_MAX]; /* those that are noted */
    unsigned wanted_walk_count;
    struct walk_job *known_walks; /* that were fetched, linked; one a space */
    struct expire expire;
};
_Static_assert(EXPIRE_DATABASES_MAX == KEYSPACE_DATABASES_MAX, "each has its own");

static inline struct space *space_of(struct keyspace *keyspace, int db)
{
    CHECK(db >= 0 && db < KEYSPACE_DATABASES_MAX);
    return &keyspace->map.of_db[db];
}

/* The space of a database as reads see it now; *seq is raised to the record that says so. */
int keyspace_space_now(struct keyspace *keyspace, int db, struct space *space, uint64_t *seq,
                       struct varve_err *err) MUST_CHECK;
/* Its map changed in the open group: readers are to leave their commands to the writer. */
void keyspace_hide(struct keyspace *writer);
void keyspace_unshow(struct keyspace *keyspace); /* it ends */
/* To be called before the group changes: see the map of databases in keyspace.c. */
void keyspace_settle(struct keyspace *keyspace);
/* So many bytes were added to the group, which they opened, or not. */
void keyspace_group_grew(struct keyspace *keyspace, int opened, uint64_t bytes);

/* A name that a walk found expired, and the sequence of its record. */
struct keyspace_dead {
    struct varve_slice name;
    uint64_t seq;
};
/* Deletes, in the open group, those of the names whose records are still the newest ones, and counts them.
 * as_of: the walk's. *missed grows by those of which memory cannot say. 0, or why nothing was deleted. */
int keyspace_sweep(struct keyspace *keyspace, uint64_t space_id, const struct keyspace_dead *names,
                   size_t count, uint64_t as_of, uint64_t *missed) MUST_CHECK;

/* 0: no name of the space has an expiry, for sure. */
int keyspace_has_expiring(struct keyspace *keyspace, uint64_t space_id);

/* Of what no single record decides: *seq is raised to the newest write. */
void keyspace_saw_newest(const struct keyspace *keyspace, uint64_t *seq);

/* VARVE_WOULD_BLOCK, or VARVE_ENOMEM. */
int keyspace_note_walk(struct keyspace *keyspace, const struct wanted_walk *wanted,
                       struct varve_err *err) MUST_CHECK;
/* Starts it. 0, or VARVE_ENOMEM. The job is freed, or cancelled, by the keyspace's thread. */
int walk_job_start(struct keyspace *keyspace, const struct wanted_walk *wanted,
                   struct varve_fetch *fetch, struct walk_job **started) MUST_CHECK;
/* It is done: walks over its space know it from now on. */
void walk_job_know(struct keyspace *keyspace, struct walk_job *job);
void walk_job_cancel(struct walk_job *job);
void walk_job_free(struct walk_job *job); /* takes NULL */

/* 1: the group is what was applied since the mark, and will not fit later either. */
int keyspace_mark_is_full(const struct keyspace *keyspace) MUST_CHECK;

/* The record of a name that is there at now_ms: 0, or VARVE_NOT_FOUND, or what keyspace_get() answers.
 * pin->seq is that of the record or tombstone that decided it, 0: none did. */
int keyspace_lookup_live(struct keyspace *keyspace, int db, struct varve_slice key, uint64_t now_ms,
                         struct varve_pin *pin, uint64_t *seq, struct varve_err *err) MUST_CHECK;

#endif
