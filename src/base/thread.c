#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "varve/status.h"

void mutex_init(struct mutex *mutex)
{
    CHECK(pthread_mutex_init(&mutex->handle, NULL) == 0);
}

void mutex_deinit(struct mutex *mutex)
{
    CHECK(pthread_mutex_destroy(&mutex->handle) == 0);
}

void mutex_lock(struct mutex *mutex)
{
    CHECK(pthread_mutex_lock(&mutex->handle) == 0);
}

int mutex_try_lock(struct mutex *mutex)
{
    int rc = pthread_mutex_trylock(&mutex->handle);

    CHECK(rc == 0 || rc == EBUSY);
    return rc == 0;
}

void mutex_unlock(struct mutex *mutex)
{
    CHECK(pthread_mutex_unlock(&mutex->handle) == 0);
}

void cond_init(struct cond *cond)
{
    pthread_condattr_t attributes;

    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&cond->handle, &attributes) == 0);
    CHECK(pthread_condattr_destroy(&attributes) == 0);
}

void cond_deinit(struct cond *cond)
{
    CHECK(pthread_cond_destroy(&cond->handle) == 0);
}

void cond_wait(struct cond *cond, struct mutex *mutex)
{
    CHECK(pthread_cond_wait(&cond->handle, &mutex->handle) == 0);
}

int cond_wait_for(struct cond *cond, struct mutex *mutex, uint64_t us)
{
    struct timespec until;

    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    uint64_t ns = (uint64_t)until.tv_nsec + us % 1000000 * 1000;
    until.tv_sec += (time_t)(us / 1000000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    int rc = pthread_cond_timedwait(&cond->handle, &mutex->handle, &until);
    CHECK(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void cond_signal(struct cond *cond)
{
    CHECK(pthread_cond_signal(&cond->handle) == 0);
}

void cond_broadcast(struct cond *cond)
{
    CHECK(pthread_cond_broadcast(&cond->handle) == 0);
}

struct thread_main {
    void (*run)(void *);
    void *arg;
    char name[16];
};

static void *thread_entry(void *arg)
{
    struct thread_main main = *(struct thread_main *)arg;

    mem_free(arg);
    pthread_setname_np(pthread_self(), main.name);
    main.run(main.arg);
    return NULL;
}

int thread_start(struct thread *thread, const char *name, void (*run)(void *), void *arg)
{
    struct thread_main *main = mem_alloc(sizeof(*main));
    sigset_t all;
    sigset_t before;

    if (main == NULL)
        return VARVE_ENOMEM;
    *main = (struct thread_main){.run = run, .arg = arg};
    snprintf(main->name, sizeof(main->name), "%s", name);
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int rc = pthread_create(&thread->handle, NULL, thread_entry, main);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (rc != 0) {
        mem_free(main);
        return VARVE_EIO;
    }
    return 0;
}

void thread_join(struct thread *thread)
{
    CHECK(pthread_join(thread->handle, NULL) == 0);
}

/* ---- numbers ---- */

_Thread_local unsigned thread_slot_here;

static pthread_once_t slots_once = PTHREAD_ONCE_INIT;
static pthread_key_t
    slots_key; /* not NULL in a thread that has a number, so that its destructor runs */
static pthread_mutex_t slots_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t slots_taken = 1; /* a bit each; 0 is nobody's */

/* The mutex also hands over what the counters hold. What counts after this shares. */
static void slot_give_back(void *value)
{
    (void)value;
    CHECK(pthread_mutex_lock(&slots_mutex) == 0);
    slots_taken &= ~(UINT64_C(1) << (thread_slot_here - 1));
    CHECK(pthread_mutex_unlock(&slots_mutex) == 0);
    thread_slot_here = 1;
}

static void slots_key_create(void)
{
    CHECK(pthread_key_create(&slots_key, slot_give_back) == 0);
}

unsigned thread_slot_take(void)
{
    unsigned slot = 0;

    _Static_assert(THREAD_SLOTS == 64, "slots_taken has a bit each");
    CHECK(pthread_once(&slots_once, slots_key_create) == 0);
    CHECK(pthread_mutex_lock(&slots_mutex) == 0);
    if (slots_taken != UINT64_MAX) {
        slot = (unsigned)__builtin_ctzll(~slots_taken);
        slots_taken |= UINT64_C(1) << slot;
    }
    CHECK(pthread_mutex_unlock(&slots_mutex) == 0);
    thread_slot_here = slot + 1;
    if (slot != 0)
        CHECK(pthread_setspecific(slots_key, &thread_slot_here) == 0);
    return slot;
}

#define TURN_US ((uint64_t)500)

/* sched_setattr(2), its first version; of the C libraries only new ones have it. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static _Thread_local int takes_short_turns;

/* For the default policy the runtime is the length of a turn from Linux 6.12 on, and 0 before. */
void thread_take_short_turns(void)
{
    struct scheduling attr = {.size = sizeof(attr)};

    if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0 || attr.policy != SCHED_OTHER ||
        attr.runtime_ns == 0)
        return;
    attr.runtime_ns = TURN_US * 1000;
    takes_short_turns = syscall(SYS_sched_setattr, 0, &attr, 0) == 0;
}

void thread_give_way(void)
{
    static _Thread_local uint64_t since_us;

    if (!takes_short_turns) /* a yield costs a whole turn */
        return;
    uint64_t now_us = clock_mono_us();
    if (now_us - since_us < TURN_US)
        return;
    sched_yield();
    since_us = clock_mono_us();
}

void thread_sleep_us(uint64_t us)
{
    struct timespec left = {.tv_sec = (time_t)(us / 1000000),
                            .tv_nsec = (long)(us % 1000000) * 1000};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}
