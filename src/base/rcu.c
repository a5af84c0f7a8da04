/* rcu.c - liburcu's QSBR flavour does the grace periods; here is who takes part in them.
 *
 * QSBR knows only "online" threads, that a grace period waits for, and "offline" ones. A thread is online
 * exactly while it is inside, so that one that polls, sleeps or never reads holds up nobody. It is
 * registered at its first rcu_enter() and unregistered by a destructor of pthreads when it ends.
 *
 * What is retired is pushed onto one list and taken off it as a whole, so nothing can come back to the
 * head while somebody looks at it (no ABA). */
#include "base/rcu.h"

#include <stdatomic.h>
#include <urcu-qsbr.h>

#include "base/mutant.h"
#include "base/thread.h"

/* liburcu is not built for ThreadSanitizer, which therefore sees no grace period. It is told of the one
 * order that they make: what a thread did before it left comes before what follows the wait. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(RCU_TSAN)
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
static char grace_period; /* its address stands for all of them */
#define TSAN_LEFT() __tsan_release(&grace_period)
#define TSAN_WAITED() __tsan_acquire(&grace_period)
#else
#define TSAN_LEFT() ((void)0)
#define TSAN_WAITED() ((void)0)
#endif

struct rcu_thread {
    unsigned depth; /* enters without their leaves */
    int registered;
};

static _Thread_local struct rcu_thread here;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* not NULL in a registered thread, so that its destructor runs */

static struct rcu_retired *_Atomic retired_newest;
static _Atomic size_t retired_count; /* those that are being freed included */
static struct mutex reclaim_mutex = {PTHREAD_MUTEX_INITIALIZER};

static void thread_ends(void *value)
{
    (void)value;
    CHECK(here.depth == 0);
    urcu_qsbr_unregister_thread();
    here.registered = 0; /* a later destructor of this thread may enter: then this runs again */
}

static void key_create(void)
{
    CHECK(pthread_key_create(&key, thread_ends) == 0);
}

static void thread_register(void)
{
    CHECK(pthread_once(&key_once, key_create) == 0);
    CHECK(pthread_setspecific(key, &here) == 0);
    urcu_qsbr_register_thread(); /* leaves it online */
    here.registered = 1;
}

void rcu_enter(void)
{
    if (here.depth++ != 0)
        return;
    if (UNLIKELY(!here.registered))
        thread_register();
    else
        urcu_qsbr_thread_online();
}

void rcu_leave(void)
{
    CHECK(here.depth > 0);
    if (--here.depth != 0)
        return;
    TSAN_LEFT();
    urcu_qsbr_thread_offline();
}

int rcu_inside(void)
{
    return here.depth != 0;
}

void rcu_retire(struct rcu_retired *retired, void (*release)(struct rcu_retired *retired))
{
    struct rcu_retired *newest = atomic_load_explicit(&retired_newest, memory_order_relaxed);

    retired->free = release;
    atomic_fetch_add_explicit(&retired_count, 1, memory_order_relaxed);
    if (MUTANT("retire-over-another")) {
        retired->next = newest;
        atomic_store_explicit(&retired_newest, retired, memory_order_release);
        return;
    }
    do
        retired->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&retired_newest, &newest, retired,
                                                  memory_order_release, memory_order_relaxed));
}

int rcu_pending(void)
{
    return atomic_load_explicit(&retired_count, memory_order_acquire) != 0;
}

/* The whole list, oldest first. */
static struct rcu_retired *take_retired(void)
{
    struct rcu_retired *newest = atomic_exchange_explicit(&retired_newest, NULL,
                                                          memory_order_acquire);
    struct rcu_retired *oldest = NULL;

    while (newest != NULL) {
        struct rcu_retired *older = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = older;
    }
    return oldest;
}

static void wait_grace_period(void)
{
    if (MUTANT("skip-grace-period"))
        return;
    urcu_qsbr_synchronize_rcu();
    TSAN_WAITED();
}

size_t rcu_reclaim(void)
{
    size_t count = 0;

    CHECK(!rcu_inside());
    mutex_lock(&reclaim_mutex);
    struct rcu_retired *retired = take_retired();
    if (retired != NULL)
        wait_grace_period();
    while (retired != NULL) {
        struct rcu_retired *next = retired->next; /* gone after its free() */
        retired->free(retired);
        retired = next;
        count++;
    }
    atomic_fetch_sub_explicit(&retired_count, count, memory_order_release);
    mutex_unlock(&reclaim_mutex);
    return count;
}
