/* Readers that find, hold and let go while others insert, drop owners, reserve and reclaim, in a cache that
 * has room for a part of it; in the suite `threads` also for TSan. What is freed is poisoned. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/thread.h"
#include "cache_item.h"

#define READERS 3
#define READS 12000
#define READS_BETWEEN_DROPS 2000
#define HELD_MAX 8
#define OWNERS 4
#define OFFSETS 6000 /* of each owner: with items of 4 KiB a hundred MiB */

struct stage {
    struct cache *cache;
    uint64_t limit_bytes;
    _Atomic uint64_t owners[OWNERS];
    _Atomic int stop;
    _Atomic uint64_t reads;
    _Atomic uint64_t hits;
};

static struct stage stage;

static size_t item_bytes(uint64_t offset)
{
    return 2048 + (size_t)(offset * 7 % 512) * 8;
}

/* Inside. What a reader does on a miss: it brings it, and tries to share it. */
static struct cached *bring(uint64_t owner, uint64_t offset)
{
    struct item *item = item_make(owner, offset, item_bytes(offset));

    cache_insert(stage.cache, &item->cached);
    return &item->cached;
}

static struct cached *find_or_bring(struct rng *rng, int *owned)
{
    uint64_t owner = atomic_load(&stage.owners[rng_below(rng, OWNERS)]);
    uint64_t offset = rng_below(rng, 4) == 0 ? rng_below(rng, OFFSETS) : rng_below(rng, 500);
    struct cached *cached = cache_find(stage.cache, owner, offset);

    atomic_fetch_add_explicit(&stage.reads, 1, memory_order_relaxed);
    *owned = cached == NULL;
    if (cached == NULL)
        return bring(owner, offset);
    atomic_fetch_add_explicit(&stage.hits, 1, memory_order_relaxed);
    item_check(cached, owner, offset);
    return cached;
}

static void run_reader(void *arg)
{
    struct cached *held[HELD_MAX] = {NULL};
    struct rng rng;

    rng_init(&rng, (uintptr_t)arg);
    for (uint64_t i = 0; i < READS; i++) {
        int owned;
        rcu_enter();
        struct cached *cached = find_or_bring(&rng, &owned);
        for (int yields = i % 16 == 0 ? 8 : 0; yields > 0; yields--)
            sched_yield();
        item_check(cached, cached->owner, cached->offset);
        if (!owned && i % 5 == 0) {
            cached_ref(cached);
            owned = 1;
        }
        rcu_leave();
        if (!owned)
            continue;
        struct cached **slot = &held[rng_below(&rng, HELD_MAX)];
        if (*slot != NULL)
            item_check(*slot, (*slot)->owner, (*slot)->offset);
        cached_unref(*slot);
        *slot = cached;
    }
    for (int i = 0; i < HELD_MAX; i++)
        cached_unref(held[i]);
}

static void run_reclaimer(void *arg)
{
    (void)arg;
    while (!atomic_load(&stage.stop))
        if (rcu_reclaim() == 0)
            sched_yield();
}

/* Segments come and go, and so do their pinned indexes. */
static void run_owners(void *arg)
{
    struct rng rng;

    (void)arg;
    rng_init(&rng, 99);
    while (!atomic_load(&stage.stop)) {
        uint64_t i = rng_below(&rng, OWNERS);
        uint64_t reserved = rng_below(&rng, stage.limit_bytes / 4);
        cache_reserve(stage.cache, reserved);
        uint64_t old = atomic_exchange(&stage.owners[i], cache_new_owner(stage.cache));
        uint64_t until = atomic_load(&stage.reads) + READS_BETWEEN_DROPS;
        while (atomic_load(&stage.reads) < until && !atomic_load(&stage.stop))
            sched_yield();
        cache_drop_owner(stage.cache, old);
        cache_unreserve(stage.cache, reserved);
    }
}

/* Blocks alone never pass the limit, whatever is reserved meanwhile. */
static void run_watcher(void *arg)
{
    struct cache_stats stats;

    (void)arg;
    while (!atomic_load(&stage.stop)) {
        cache_get_stats(stage.cache, &stats);
        CHECK(stats.used_bytes <= stats.limit_bytes);
        sched_yield();
    }
}

static void play(uint64_t limit_bytes)
{
    static void (*const runs[])(void *) = {run_reclaimer, run_owners, run_watcher};
    struct thread readers[READERS], others[COUNT_OF(runs)];
    struct cache_stats stats;

    stage.limit_bytes = limit_bytes;
    stage.cache = cache_create(limit_bytes);
    atomic_store(&stage.stop, 0);
    atomic_store(&stage.reads, 0);
    atomic_store(&stage.hits, 0);
    assert_non_null(stage.cache);
    for (int i = 0; i < OWNERS; i++)
        atomic_store(&stage.owners[i], cache_new_owner(stage.cache));
    for (size_t i = 0; i < COUNT_OF(runs); i++)
        assert_int_equal(thread_start(&others[i], "other", runs[i], NULL), 0);
    for (uintptr_t i = 0; i < READERS; i++)
        assert_int_equal(thread_start(&readers[i], "reader", run_reader, (void *)i), 0);
    for (int i = 0; i < READERS; i++)
        thread_join(&readers[i]);
    atomic_store(&stage.stop, 1);
    for (size_t i = 0; i < COUNT_OF(runs); i++)
        thread_join(&others[i]);
    cache_get_stats(stage.cache, &stats);
    print_message("%d reads: %d hits, %d evictions, %d refused\n", READERS * READS, (int)stats.hits,
                  (int)stats.evictions, (int)stats.refused);
    assert_int_equal(stats.hits, atomic_load(&stage.hits));
    assert_int_equal(stats.hits + stats.misses, READERS * READS);
    assert_true(stats.hits > 0 && stats.evictions > 0);
    assert_int_equal(stats.used_bytes, atomic_load(&item_live_bytes));
    cache_destroy(stage.cache);
    assert_int_equal(atomic_load(&item_live_bytes), 0);
}

static void test_cache__readers_hold_what_others_evict(void **state)
{
    (void)state;
    play((uint64_t)16 << 20); /* two shards */
}

/* So small that a block leaves while the reader that found it is still inside. */
static void test_cache__readers_look_at_what_others_evict(void **state)
{
    (void)state;
    play((uint64_t)1 << 19);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache__readers_hold_what_others_evict),
        cmocka_unit_test(test_cache__readers_look_at_what_others_evict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
