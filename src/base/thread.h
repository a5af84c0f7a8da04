/* thread.h - pthreads whose programming errors are CHECKed instead of returned. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/check.h"

struct mutex {
    pthread_mutex_t handle;
};

struct cond {
    pthread_cond_t handle;
};

struct thread {
    pthread_t handle;
};

void mutex_init(struct mutex *mutex);
void mutex_deinit(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
/* 0: it is held, and the caller does without. */
int mutex_try_lock(struct mutex *mutex) MUST_CHECK;
void mutex_unlock(struct mutex *mutex);

void cond_init(struct cond *cond);
void cond_deinit(struct cond *cond);
void cond_wait(struct cond *cond, struct mutex *mutex);
/* For `us` microseconds at most. 0: they are over; 1: it was signalled, or woke for no reason. */
int cond_wait_for(struct cond *cond, struct mutex *mutex, uint64_t us) MUST_CHECK;
void cond_signal(struct cond *cond);
void cond_broadcast(struct cond *cond);

/* Starts run(arg) with all signals blocked; name is cut to 15 bytes. Returns 0 or VARVE_EIO. */
int thread_start(struct thread *thread, const char *name, void (*run)(void *),
                 void *arg) MUST_CHECK;
void thread_join(struct thread *thread);

/* Statistics that many threads count without a shared write: each counts in the slot of an array that has its
 * number, THREAD_SLOTS of them, and who wants the figure adds the slots up. A thread has the number alone
 * as long as it lives; those that find none free share number 0. */
#define THREAD_SLOTS 64
extern _Thread_local unsigned thread_slot_here; /* its number + 1; 0: it has none yet */
unsigned thread_slot_take(void);

static inline unsigned thread_slot(void)
{
    return LIKELY(thread_slot_here != 0) ? thread_slot_here - 1 : thread_slot_take();
}

/* One more in a counter of the caller's slot; no locked instruction where it has that alone. */
static inline void thread_count(_Atomic uint64_t *counter)
{
    if (LIKELY(thread_slot() != 0))
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* For a thread of background work: asks the system for short turns on the processor, and to have them soon
 * (src/decisions/0033). Where they can't be had all is as without. */
void thread_take_short_turns(void);
/* Between two small pieces of work of such a thread: once its turn is over, whoever waits for this processor goes
 * first; else the turn lasts as long as the system lets it, milliseconds. A look at the clock. Other threads: nothing. */
void thread_give_way(void);

/* Lets at least that much time pass. For pacing, never for waiting until something happened. */
void thread_sleep_us(uint64_t us);

#endif
