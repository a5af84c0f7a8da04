/* expire.h - when the active expirer looks where: rounds of slices over the names of each database
 * (decisions/0014). Pure: times come from the caller, now_ms since the epoch, now_us of a clock that only goes
 * forward.
 *
 * A round visits every name of a database once, in slices. It learns when the next of them expires, and with
 * what is written meanwhile that is when the next round is due: a database with nothing to expire costs
 * nothing. How fast the slices of a round follow each other depends on what they find. */
#ifndef TYPES_EXPIRE_H
#define TYPES_EXPIRE_H

#include <stdint.h>

#include "base/check.h"

#define EXPIRE_DATABASES_MAX 16
#define EXPIRE_TICK_US ((uint64_t)100 * 1000)      /* how often to look, at least */
#define EXPIRE_WAIT_MAX_US ((uint64_t)1000 * 1000) /* between two slices of a round */
#define EXPIRE_NEVER UINT64_MAX

/* A database; space_id says whose names the rest is about. */
struct expire_db {
    uint64_t space_id;
    uint64_t due_ms;    /* nothing more expires before this; of a round: that it knows so far */
    uint64_t swept_ms;  /* due_ms as the round began: what expired before, earlier ones have met */
    uint64_t from_hash; /* of the next slice of the round */
    uint64_t next_us;   /* no slice before this */
    uint64_t wait_us;   /* how long it waited last */
    int in_round;
};

struct expire {
    struct expire_db of_db[EXPIRE_DATABASES_MAX];
    uint64_t rest_until_us; /* walks take no more than their share of a thread */
    double stale; /* of the names with an expiry, the part that had expired: a moving mean */
};

/* What came of a slice. */
struct expire_slice {
    uint64_t space_id;
    uint64_t expiring;  /* names with an expiry that were met, */
    uint64_t expired;   /* of those, expired ones, */
    uint64_t missed;    /* of those, ones that may have to be met again */
    uint64_t first_ms;  /* the earliest expiry to come, EXPIRE_NEVER: none */
    uint64_t next_hash; /* where the next one begins; WALK_HASH_END: the round is over */
    uint64_t walk_us;   /* that the walk took */
};

void expire_init(struct expire *expire);

/* A name that expires then is written (0: it never does). */
static inline void expire_note_write(struct expire *expire, int db, uint64_t expire_ms)
{
    if (UNLIKELY(expire_ms != 0) && expire_ms < expire->of_db[db].due_ms)
        expire->of_db[db].due_ms = expire_ms;
}

/* Another space may be the database's, or may have been meanwhile: a round begins anew. */
static inline void expire_forget(struct expire *expire, int db)
{
    expire->of_db[db].space_id = 0;
}

/* 1 if a round is due to begin: then expire_begin() or expire_nothing(). */
int expire_is_due(struct expire *expire, int db, uint64_t space_id, uint64_t now_ms,
                  uint64_t now_us) MUST_CHECK;
void expire_nothing(struct expire *expire, int db); /* there is no name with an expiry */
void expire_begin(struct expire *expire, int db);

/* 1 if the next slice of its round is to be walked now. */
int expire_slice_is_due(const struct expire *expire, int db, uint64_t space_id,
                        uint64_t now_us) MUST_CHECK;

void expire_end_slice(struct expire *expire, int db, const struct expire_slice *slice,
                      uint64_t now_us);
/* The slice came to nothing: the round begins anew, later. */
void expire_fail_slice(struct expire *expire, int db, uint64_t now_us);

/* What of the space expired before this time was met by rounds. */
uint64_t expire_swept_ms(const struct expire *expire, int db, uint64_t space_id) MUST_CHECK;

/* How long nothing is due, at most a tick. */
uint64_t expire_wait_us(const struct expire *expire, uint64_t now_ms, uint64_t now_us) MUST_CHECK;

#endif
