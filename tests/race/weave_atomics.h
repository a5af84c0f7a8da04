/* weave_atomics.h - included before everything else (-include) in sources that weave.h explores: their
 * atomics, mutexes, thread-locals and allocations become the explorer's. */
#ifndef RACE_WEAVE_ATOMICS_H
#define RACE_WEAVE_ATOMICS_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
#include "weave.h"

/* The explorer keeps a copy of this section for each thread. */
#define _Thread_local __attribute__((section("weave_local")))

#undef atomic_init
#undef atomic_load_explicit
#undef atomic_load
#undef atomic_store_explicit
#undef atomic_store
#undef atomic_exchange_explicit
#undef atomic_exchange
#undef atomic_fetch_add_explicit
#undef atomic_fetch_add
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_sub
#undef atomic_compare_exchange_weak_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_thread_fence

/* Of what nobody else can find yet: no step. */
#define atomic_init(to, value)                                                                     \
    __extension__({                                                                                \
        __auto_type weave_to = (to);                                                               \
        __typeof__((void)0, *weave_to) weave_first = (value);                                      \
        memcpy((void *)(uintptr_t)weave_to, &weave_first, sizeof(weave_first));                    \
    })

#define atomic_load_explicit(from, order)                                                          \
    __extension__({                                                                                \
        __auto_type weave_from = (from);                                                           \
        __typeof__((void)0, *weave_from) weave_value;                                              \
        uint64_t weave_word = weave_load(weave_from, sizeof(weave_value));                         \
        (void)(order);                                                                             \
        memcpy(&weave_value, &weave_word, sizeof(weave_value));                                    \
        weave_value;                                                                               \
    })
#define atomic_load(from) atomic_load_explicit(from, memory_order_seq_cst)

#define atomic_store_explicit(to, value, order)                                                    \
    __extension__({                                                                                \
        __auto_type weave_to = (to);                                                               \
        __typeof__((void)0, *weave_to) weave_new = (value);                                        \
        uint64_t weave_bits = 0;                                                                   \
        memcpy(&weave_bits, &weave_new, sizeof(weave_new));                                        \
        weave_store(weave_to, sizeof(weave_new), weave_bits, (int)(order));                        \
    })
#define atomic_store(to, value) atomic_store_explicit(to, value, memory_order_seq_cst)

/* The operand comes first: it may store something itself. */
#define WEAVE_MODIFY(builtin, at, operand)                                                         \
    __extension__({                                                                                \
        __auto_type weave_at = (at);                                                               \
        __typeof__((void)0, *weave_at) weave_operand = (operand);                                  \
        weave_modify(weave_at);                                                                    \
        builtin(weave_at, weave_operand, __ATOMIC_SEQ_CST);                                        \
    })
#ifdef __clang__
#define WEAVE_EXCHANGE __c11_atomic_exchange
#define WEAVE_ADD __c11_atomic_fetch_add
#define WEAVE_SUB __c11_atomic_fetch_sub
#else
#define WEAVE_EXCHANGE __atomic_exchange_n
#define WEAVE_ADD __atomic_fetch_add
#define WEAVE_SUB __atomic_fetch_sub
#endif
#define atomic_exchange_explicit(at, value, order) WEAVE_MODIFY(WEAVE_EXCHANGE, at, value)
#define atomic_exchange(at, value) WEAVE_MODIFY(WEAVE_EXCHANGE, at, value)
#define atomic_fetch_add_explicit(at, by, order) WEAVE_MODIFY(WEAVE_ADD, at, by)
#define atomic_fetch_add(at, by) WEAVE_MODIFY(WEAVE_ADD, at, by)
#define atomic_fetch_sub_explicit(at, by, order) WEAVE_MODIFY(WEAVE_SUB, at, by)
#define atomic_fetch_sub(at, by) WEAVE_MODIFY(WEAVE_SUB, at, by)

#define atomic_compare_exchange_strong_explicit(at, expected, value, order, otherwise)             \
    __extension__({                                                                                \
        __auto_type weave_at = (at);                                                               \
        __auto_type weave_expected = (expected);                                                   \
        __typeof__((void)0, *weave_at) weave_wanted = (value);                                     \
        weave_modify(weave_at);                                                                    \
        __typeof__((void)0, *weave_at) weave_seen = WEAVE_PEEK(weave_at);                          \
        int weave_same = weave_seen == *weave_expected;                                            \
        if (weave_same)                                                                            \
            (void)WEAVE_EXCHANGE(weave_at, weave_wanted, __ATOMIC_SEQ_CST);                        \
        else                                                                                       \
            *weave_expected = weave_seen;                                                          \
        weave_same;                                                                                \
    })
/* Nothing runs between the load and the exchange. It never fails by itself: such a failure is a step more
 * and no other order. */
#ifdef __clang__
#define WEAVE_PEEK(at) __c11_atomic_load(at, __ATOMIC_SEQ_CST)
#else
#define WEAVE_PEEK(at) __atomic_load_n(at, __ATOMIC_SEQ_CST)
#endif
#define atomic_compare_exchange_weak_explicit atomic_compare_exchange_strong_explicit

#define atomic_thread_fence(order) weave_fence((int)(order))

#define mutex_lock(mutex) weave_lock(mutex)
/* It waits here: who finds a mutex held does nothing, and what does nothing needs no order. */
#define mutex_try_lock(mutex) (weave_lock(mutex), 1)
#define mutex_unlock(mutex) weave_unlock(mutex)

#define mem_alloc weave_alloc
#define mem_alloc_zero weave_alloc_zero
#define mem_free weave_free

#define pthread_key_create(key, destructor) ((void)(key), weave_key_create(destructor))
#define pthread_setspecific(key, value) ((void)(key), weave_setspecific(value))

#endif
