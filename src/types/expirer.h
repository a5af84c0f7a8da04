/* expirer.h - the active expirer: deletes names whose time is over and that nobody looks up. Names are found
 * by walks, which are READ jobs; when, says expire.h. What they found is looked at again on the keyspace's
 * thread, in memory alone, and deleted a little at a time: never a name that was written since.
 *
 * One thread, the keyspace's, but for the job. It rests while the keyspace has no executor, or writes are
 * refused or slowed. */
#ifndef TYPES_EXPIRER_H
#define TYPES_EXPIRER_H

#include <stdint.h>

#include "base/check.h"

struct expirer;  /* opaque */
struct keyspace; /* types/keyspace.h */

struct expirer_stats {
    uint64_t slices; /* walks, and the names that they met */
    uint64_t visits;
    uint64_t walk_us;     /* that they took, on their threads */
    uint64_t turns;       /* that deleted something */
    uint64_t turn_us;     /* that those took */
    uint64_t turn_max_us; /* and the longest of them */
    uint64_t capped;      /* turns that were ended by their time */
    double stale_percent; /* of the names with an expiry: about how many have expired by now */
};

/* wake(arg) is called on the job's thread when expirer_turn() has something to do; may be NULL. clock_us goes
 * only forward; NULL: the system's. keyspace is borrowed for life. NULL: no memory. */
struct expirer *expirer_create(struct keyspace *keyspace, void (*wake)(void *arg), void *arg,
                               uint64_t (*clock_us)(void));
void expirer_destroy(
    struct expirer *expirer); /* takes NULL; when no job runs, see expirer_drain() */
/* Cancels the walk and waits until it has ended. No turn comes any more. */
void expirer_drain(struct expirer *expirer);

/* Does a little, if something is to be done: about a millisecond. What it deletes it commits; nothing is done
 * while a group is open. Returns after how many microseconds to call again. */
uint64_t expirer_turn(struct expirer *expirer) MUST_CHECK;

void expirer_set_active(struct expirer *expirer, int active); /* 1 in the beginning */
void expirer_get_stats(const struct expirer *expirer, struct expirer_stats *stats);
void expirer_reset_stats(struct expirer *expirer);

#endif
