/* A reader that is inside shows the number of the grace period at which it came in, one outside shows 0. A
 * grace period raises the number and waits until every reader shows 0 or the new one. The fence behind
 * coming in stands against the one behind raising the number: of a reader that loads the old pointer it is
 * seen that it is inside. */
#include "weave_urcu.h"

#include <urcu-qsbr.h>

struct reader {
    _Atomic uint64_t shows;
    int registered; /* under the registry's mutex */
};

static _Atomic uint64_t period;
static struct reader readers[WEAVE_THREADS_MAX];
static struct reader outside; /* begin() and end(), while no thread runs */
static struct mutex period_mutex;
static struct mutex registry_mutex;
static enum weave_urcu_bug bug_now;

void weave_urcu_begin(enum weave_urcu_bug bug)
{
    bug_now = bug;
    atomic_store(&period, 1);
    for (int i = 0; i < WEAVE_THREADS_MAX; i++) {
        atomic_store(&readers[i].shows, 0);
        readers[i].registered = 0;
    }
}

static struct reader *my_reader(void)
{
    return weave_self() < 0 ? &outside : &readers[weave_self()];
}

void urcu_qsbr_thread_online(void)
{
    struct reader *reader = my_reader();
    uint64_t now = atomic_load_explicit(&period, memory_order_relaxed);

    atomic_store_explicit(&reader->shows, now, memory_order_relaxed);
    if (bug_now != URCU_NO_FENCE_ONLINE)
        atomic_thread_fence(memory_order_seq_cst);
}

void urcu_qsbr_thread_offline(void)
{
    atomic_thread_fence(memory_order_seq_cst);
    atomic_store_explicit(&my_reader()->shows, 0, memory_order_relaxed);
}

void urcu_qsbr_register_thread(void)
{
    mutex_lock(&registry_mutex);
    my_reader()->registered = 1;
    mutex_unlock(&registry_mutex);
    urcu_qsbr_thread_online();
}

void urcu_qsbr_unregister_thread(void)
{
    urcu_qsbr_thread_offline();
    mutex_lock(&registry_mutex);
    my_reader()->registered = 0;
    mutex_unlock(&registry_mutex);
}

static int has_left(uint64_t shows, uint64_t now)
{
    return shows == 0 || shows == now;
}

void urcu_qsbr_synchronize_rcu(void)
{
    atomic_thread_fence(memory_order_seq_cst);
    mutex_lock(&period_mutex);
    mutex_lock(&registry_mutex);
    uint64_t now = atomic_load_explicit(&period, memory_order_relaxed) + 1;
    atomic_store_explicit(&period, now, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    for (int i = bug_now == URCU_SKIPS_FIRST; i < WEAVE_THREADS_MAX; i++)
        if (readers[i].registered)
            weave_await(&readers[i].shows, sizeof(readers[i].shows), has_left, now);
    mutex_unlock(&registry_mutex);
    mutex_unlock(&period_mutex);
    atomic_thread_fence(memory_order_seq_cst);
}
