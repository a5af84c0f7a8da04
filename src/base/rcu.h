/* rcu.h - grace periods for lock-free readers (liburcu, QSBR flavour), behind one door.
 *
 * A thread that reads shared structures is *inside* between rcu_enter() and rcu_leave(). What was
 * unlinked and retired is freed only when every thread that was inside at that moment has left. Inside, a
 * read costs nothing. Who stays inside holds up what is freed, in the whole process, and nothing else:
 * a loop leaves before it polls.
 *
 * Threads are registered when they first enter and unregistered when they end. */
#ifndef BASE_RCU_H
#define BASE_RCU_H

#include <stddef.h>

#include "base/check.h"

void rcu_enter(void); /* nests */
void rcu_leave(void); /* nests; the outermost one is the quiescent state */
int rcu_inside(void); /* of the calling thread */

/* Lies in what is retired. */
struct rcu_retired {
    struct rcu_retired *next;
    void (*free)(struct rcu_retired *retired);
};

/* Hands over what no new reader can find; free() is called after a grace period, on a thread that
 * calls rcu_reclaim(). Any thread, inside or not; does not wait, does not allocate. */
void rcu_retire(struct rcu_retired *retired, void (*free)(struct rcu_retired *retired));

/* 1 if something is retired and not freed. Any thread. */
int rcu_pending(void);

/* Waits for a grace period and frees what was retired before the call; returns how many. What those
 * frees retire waits for the next call. CHECKs that the caller is not inside. Any thread; one at a time
 * (others wait). */
size_t rcu_reclaim(void);

#endif
