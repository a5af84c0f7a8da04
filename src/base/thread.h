/* thread.h - pthreads whose programming errors are CHECKed instead of returned. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
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
void mutex_unlock(struct mutex *mutex);

void cond_init(struct cond *cond);
void cond_deinit(struct cond *cond);
void cond_wait(struct cond *cond, struct mutex *mutex);
void cond_signal(struct cond *cond);
void cond_broadcast(struct cond *cond);

/* Starts run(arg) with all signals blocked; name is cut to 15 bytes. Returns 0 or VARVE_EIO. */
int thread_start(struct thread *thread, const char *name, void (*run)(void *),
                 void *arg) MUST_CHECK;
void thread_join(struct thread *thread);

/* Lets at least that much time pass. For pacing, never for waiting until something happened. */
void thread_sleep_us(uint64_t us);

#endif
