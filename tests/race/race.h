/* race.h - a writer, readers and the engine's jobs on threads of their own, on a real directory: for
 * ThreadSanitizer and AddressSanitizer, and for wrong reads: every answer is checked against the history. */
#ifndef RACE_RACE_H
#define RACE_RACE_H

#include "base/rng.h"
#include "base/thread.h"
#include "history.h"
#include "varve/db.h"

struct race {
    struct varve_db *db;
    struct history history;
    _Atomic uint64_t reads;
    _Atomic uint64_t snapshots;
    _Atomic uint64_t walks;
    _Atomic uint64_t fetches;
    uint64_t seed;
    uint64_t round; /* from 1 */
    const char *dir;
};

/* Says what is wrong and ends the program. Any thread. */
_Noreturn void race_fail(const struct race *race, const char *fmt, ...) PRINTF_LIKE(2, 3);

struct reader {
    struct race *race;
    uint32_t no;
    uint64_t reads; /* to be done, about */
    uint64_t plan;  /* after its end: where its random numbers stand */
    struct thread thread;
};

void reader_run(void *arg); /* of a struct reader */

#endif
