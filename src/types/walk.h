/* walk.h - the names of one space, in the order in which they lie (types/FORMAT.md section 2), from any
 * place on: what SCAN, KEYS, RANDOMKEY and the expirer have in common. Pure but for what it reads of the
 * engine; any thread. */
#ifndef TYPES_WALK_H
#define TYPES_WALK_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "types/keycode.h"
#include "varve/db.h"

#define WALK_HASH_END (UINT64_C(1) << 32) /* behind every hash */
#define WALK_ANY_TYPE (-1)

/* Adds a name, whose record is `seq`, to a page: 0, or VARVE_ENOMEM or VARVE_EFULL. Pure. */
typedef int (*walk_put_fn)(struct buf *page, struct varve_slice name, uint64_t seq);

struct walk_query {
    uint64_t from_hash; /* where it begins; WALK_HASH_END and above: it is at its end */
    uint64_t
        visits_max; /* it ends where the hash changes, once so many names were met; 0: no limit */
    uint64_t takes_max;         /* and at once when so many were put into the page; 0: no limit */
    uint64_t bytes_max;         /* and at once when the page has so many bytes; 0: no limit */
    int wraps;                  /* 1: after the last name it goes on with the first ones */
    int has_pattern;            /* 1: only names that match */
    struct varve_slice pattern; /* a glob; borrowed */
    int type;                   /* enum value_type, or WALK_ANY_TYPE */
    int expired;                /* 1: names that expired, and no others */
    uint64_t pattern_steps;     /* work for the pattern (glob.h), over all names */
    walk_put_fn put;
};

struct walk_page {
    struct buf names;
    uint64_t count;     /* of names in it */
    uint64_t visits;    /* names met, expired ones of a walk for those included */
    uint64_t next_hash; /* where to go on; WALK_HASH_END: nowhere */
    uint64_t as_of;     /* the sequence that it saw */
    uint64_t expiring;  /* of the visits, names with an expiry */
    uint64_t first_ms;  /* the earliest expiry that is still to come; UINT64_MAX: there is none */
    uint64_t ttl_ms;    /* the sum of what those have left to live */
};

struct walk; /* opaque */

void walk_page_init(struct walk_page *page);
void walk_page_deinit(struct walk_page *page);

/* Makes *page anew. read says how (varve/db.h). 0, or VARVE_WOULD_BLOCK (read->no_wait), VARVE_EINVAL (the
 * pattern took all its steps), or an error of the engine or of put; the page is then of no use. */
int walk_run(struct varve_db *db, const struct varve_read *read, uint64_t space_id,
             const struct walk_query *query, struct walk_page *page,
             struct varve_err *err) MUST_CHECK;

/* The same in steps, so that others get their turn, of one state all the same: that of the first step. It
 * holds memtables and segments until it is destroyed, before the engine is closed. One thread at a time. All
 * but read is borrowed for its life. cancelled may be NULL, and is looked at now and then. NULL: no memory. */
struct walk *walk_create(struct varve_db *db, const struct varve_read *read, uint64_t space_id,
                         const struct walk_query *query, const atomic_int *cancelled,
                         struct walk_page *page);
void walk_destroy(struct walk *walk); /* takes NULL */

/* Looks at so many records more. WALK_MORE: it is to be called again; else as walk_run(), and VARVE_EINVAL
 * if it was cancelled. */
#define WALK_MORE 100
int walk_step(struct walk *walk, uint64_t records, struct varve_err *err) MUST_CHECK;

#endif
