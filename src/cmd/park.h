/* park.h - commands that wait: what a session fetches for its parked command, and when writes are held
 * back. For processor.c and session.c.
 *
 * A fetch belongs to the job's thread from its start until fetch_done() has put it on the list of those that
 * ended; before and after to the loop's thread. It outlives its session if it must. */
#ifndef CMD_PARK_H
#define CMD_PARK_H

#include <stdint.h>

#include "base/check.h"
#include "base/thread.h"
#include "types/keyspace.h"
#include "varve/db.h"

struct processor;
struct session;

#define PARK_WRITE_MIN_US                                                                          \
    ((uint64_t)1000) /* shorter delays add up in the engine until they are longer */
#define PARK_WRITE_MAX_US ((uint64_t)10000)
#define PARK_VAIN_ROUNDS 8 /* fetches of the same command that may bring nothing new */

struct parked_fetch {
    struct varve_fetch fetch;
    struct processor *processor;
    struct session *session;    /* NULL: it was closed meanwhile */
    struct parked_fetch *next;  /* of the session */
    struct parked_fetch *ended; /* the next one on the processor's list */
    struct keyspace_wanted wanted;
};

struct parking {
    struct mutex mutex;
    struct cond changed;
    struct parked_fetch *ended; /* what the loop has not looked at yet */
    uint64_t running;           /* fetches that did not end */
    /* Loop's thread. Until its command ran to its end, writes of all others wait; NULL: nobody's do. */
    struct session *writes_wait_for;
};

void parking_init(struct processor *processor);
void parking_deinit(struct processor *processor); /* when no fetch runs, and no job that ran one */

/* Fetches what the keyspace noted, for the session's command. Returns 0, or VARVE_ENOMEM if nothing could
 * be started. Forgets the notes. */
int park_fetch(struct processor *processor, struct session *session) MUST_CHECK;

/* Tells the keyspace what the session's fetches brought: its command, of so many words, runs next. One that was
 * fetched for in vain makes the writes of others wait. */
void park_resume(struct processor *processor, struct session *session, int argc);
/* The session's command ran to its end, or the session ends: what was fetched for it goes. */
void park_release(struct session *session);

/* 1: a write of this session waits for a command of another one. */
int park_write_waits(const struct processor *processor, const struct session *session) MUST_CHECK;
/* How long a write has to wait now, 0 mostly: asked of the engine once a turn. */
uint64_t park_write_delay_us(struct processor *processor) MUST_CHECK;

#endif
