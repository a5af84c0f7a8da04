/* weave.h - runs a few threads, as coroutines of one thread, in every order that can matter.
 *
 * Sources compiled with `-include weave_atomics.h` stop before each atomic access and each lock; which
 * thread goes on is the explorer's choice. It runs a play again and again, depth first, until all choices
 * that could make a difference were taken: dynamic partial order reduction with source sets and sleep sets
 * (weave_search.c). Two orders are the same if only steps changed places that touch
 * different objects, or only read; of those one is run. So "all" means all, without a bound.
 *
 * What is explored is sequential consistency, or, with WEAVE_TSO, the order of x86: a store that is not
 * seq_cst waits in its thread's buffer, and the moment at which it reaches the memory is one more
 * choice; a fence, a read-modify-write and a lock wait until the buffer is empty. Weaker orders of C11 are
 * not explored (ThreadSanitizer sees to a missing acquire or release). Plain accesses are no steps: they
 * happen together with the step before them; freeing is one, and conflicts with all that touches what is freed.
 *
 * One explorer at a time; all of it on the calling thread. */
#ifndef RACE_WEAVE_H
#define RACE_WEAVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define WEAVE_THREADS_MAX 4
#define WEAVE_DEPTH_MAX 2000 /* steps of one run; more are taken for an endless loop */

#define WEAVE_DISTINCT_MAX 100000

enum weave_order { WEAVE_SC, WEAVE_TSO };

struct weave_play {
    const char *name;
    void (*begin)(void); /* makes the world anew, before each run; may be NULL */
    void (*threads[WEAVE_THREADS_MAX])(void);
    void (*end)(void); /* takes it down and looks whether all is well; may be NULL */
};

struct weave_result {
    uint64_t runs; /* whole ones, no two alike */
    uint64_t
        pruned; /* that turned out to be like one before, but were run to their end and checked */
    uint64_t steps;
    uint64_t depth_max; /* steps of the longest run */
    uint64_t distinct;  /* orders that were met, up to WEAVE_DISTINCT_MAX */
    int complete;       /* every order was run */
    int failed;
    char what[400];
};

/* Runs the play in every order, or until runs_max of them (0: no bound), or until one fails. */
void weave_explore(const struct weave_play *play, enum weave_order order, uint64_t runs_max,
                   struct weave_result *result);

/* The same without any reduction, so that the tests can compare; for tiny plays. */
void weave_explore_plainly(const struct weave_play *play, enum weave_order order, uint64_t runs_max,
                           struct weave_result *result);

/* ---- in a play ---- */

/* This run fails; does not come back. From a thread or from end(). */
_Noreturn void weave_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
#define WEAVE_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            weave_fail("%s:%d: %s", __FILE__, __LINE__, #condition);                               \
    } while (0)

/* A plain read of what lies at addr, as a step: so that one before and one after it is freed are tried. */
void weave_touch(const void *addr);

int weave_self(void); /* the thread's number; -1 in begin() and end() */

/* Waits until ready(the value at addr, arg). */
void weave_await(const volatile void *addr, size_t size, int (*ready)(uint64_t value, uint64_t arg),
                 uint64_t arg);

/* ---- what weave_atomics.h calls ---- */

uint64_t weave_load(const volatile void *addr, size_t size);
void weave_store(volatile void *addr, size_t size, uint64_t value, int memory_order);
/* Stops before a read-modify-write, which the caller then does; the buffer is empty. */
void weave_modify(volatile void *addr);
void weave_fence(int memory_order);

struct mutex;
void weave_lock(struct mutex *mutex);
void weave_unlock(struct mutex *mutex);

/* Freed memory is poisoned, and kept until the run ends, so that who still looks at it is seen. */
void *weave_alloc(size_t size_bytes) MUST_CHECK;
void *weave_alloc_zero(size_t size_bytes) MUST_CHECK;
void weave_free(void *ptr);

/* Of pthreads: the values and destructors of one key. */
int weave_key_create(void (*destructor)(void *value));
int weave_setspecific(void *value);

#endif
