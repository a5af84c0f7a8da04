#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cache_item.h"

#define MIB ((uint64_t)1 << 20)
#define BLOCK ((size_t)4096)
#define LIMIT (4 * MIB)
#define BLOCKS (LIMIT / BLOCK) /* that the limit has room for */

struct fixture {
    struct cache *cache;
    uint64_t owner;
};

static int setup(void **state)
{
    static struct fixture fixture;

    atomic_store(&item_destroyed, 0);
    fixture.cache = cache_create(LIMIT);
    fixture.owner = cache_new_owner(fixture.cache);
    *state = &fixture;
    return fixture.cache == NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    cache_destroy(f->cache);
    return atomic_load(&item_live_bytes) == 0 ? 0 : -1;
}

static struct cache_stats stats_of(struct fixture *f)
{
    struct cache_stats stats;

    cache_get_stats(f->cache, &stats);
    return stats;
}

/* What the cache says is at least what lies about, as the tests hold nothing else at that moment. */
static void check_limit(struct fixture *f, uint64_t outside_bytes)
{
    struct cache_stats stats = stats_of(f);

    assert_true(stats.used_bytes + stats.reserved_bytes <= stats.limit_bytes);
    assert_int_equal(stats.used_bytes + outside_bytes, atomic_load(&item_live_bytes));
}

/* Puts one in and lets it go, as a reader does that is done with it. */
static int put(struct fixture *f, uint64_t owner, uint64_t offset, size_t bytes)
{
    struct item *item = item_make(owner, offset, bytes);
    int inserted = cache_insert(f->cache, &item->cached);

    cached_unref(&item->cached);
    return inserted;
}

/* 1 if it is there; then it is what it should be. */
static int look(struct fixture *f, uint64_t owner, uint64_t offset)
{
    rcu_enter();
    struct cached *cached = cache_find(f->cache, owner, offset);
    if (cached != NULL)
        item_check(cached, owner, offset);
    rcu_leave();
    return cached != NULL;
}

static struct cached *hold(struct fixture *f, uint64_t owner, uint64_t offset)
{
    rcu_enter();
    struct cached *cached = cache_find(f->cache, owner, offset);
    if (cached != NULL)
        cached_ref(cached);
    rcu_leave();
    return cached;
}

/* A read: found, or brought from below. Returns 1 on a hit. */
static int read_through(struct fixture *f, uint64_t owner, uint64_t offset)
{
    if (look(f, owner, offset))
        return 1;
    put(f, owner, offset, BLOCK);
    if (rcu_pending())
        rcu_reclaim();
    return 0;
}

static void test_cache__finds_what_was_put_in(void **state)
{
    struct fixture *f = *state;
    uint64_t other = cache_new_owner(f->cache);

    assert_int_not_equal(other, f->owner);
    assert_int_equal(put(f, f->owner, 0, BLOCK), 1);
    assert_int_equal(put(f, f->owner, 4096, BLOCK), 1);
    assert_int_equal(put(f, other, 0, BLOCK), 1);
    assert_int_equal(put(f, other, 0, BLOCK), 0); /* somebody was faster */
    assert_int_equal(look(f, f->owner, 0), 1);
    assert_int_equal(look(f, f->owner, 4096), 1);
    assert_int_equal(look(f, other, 0), 1);
    assert_int_equal(look(f, other, 4096), 0);
    struct cache_stats stats = stats_of(f);
    assert_int_equal(stats.entries, 3);
    assert_int_equal(stats.inserts, 3);
    assert_int_equal(stats.hits, 3);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.refused, 0);
    assert_int_equal(stats.used_bytes, 3 * BLOCK);
}

static void test_cache__slots(void **state)
{
    static struct cached *_Atomic slots[3 * BLOCKS];
    struct fixture *f = *state;
    uint64_t held_at = UINT64_MAX;
    uint64_t there = 0;

    for (uint64_t i = 0; i < 3 * BLOCKS; i++) {
        struct item *item = item_make(f->owner, i, BLOCK);
        struct item *late = item_make(f->owner, i, BLOCK);
        item->cached.slot = late->cached.slot = &slots[i];
        int inserted = cache_insert(f->cache, &item->cached);
        assert_int_equal(inserted, slots[i] == &item->cached);
        if (inserted)
            assert_int_equal(cache_insert(f->cache, &late->cached), 0);
        cached_unref(&item->cached);
        cached_unref(&late->cached);
        assert_int_equal(look(f, f->owner, i), 0); /* it is in no bucket */
        rcu_reclaim();
        check_limit(f, 0);
    }
    rcu_enter();
    for (uint64_t i = 0; i < 3 * BLOCKS; i++) {
        struct cached *cached = cache_find_slot(f->cache, &slots[i]);
        if (cached == NULL)
            continue;
        item_check(cached, f->owner, i);
        there++;
        held_at = i;
    }
    struct cached *held = slots[held_at];
    cached_ref(held);
    rcu_leave();
    struct cache_stats stats = stats_of(f);
    assert_int_equal(stats.entries, there); /* who was evicted left the slot */
    assert_int_equal(stats.hits, there);
    assert_int_equal(stats.misses, 3 * BLOCKS + 3 * BLOCKS - there);
    assert_true(stats.evictions > BLOCKS);
    cache_drop_owner(f->cache, f->owner);
    for (uint64_t i = 0; i < 3 * BLOCKS; i++)
        assert_null(slots[i]);
    item_check(held, f->owner, held_at);
    cached_unref(held);
}

static void test_cache__limit_holds_while_limbo_grows(void **state)
{
    struct fixture *f = *state;
    uint64_t inserted = 0;

    for (uint64_t i = 0; i < 3 * BLOCKS; i++) {
        inserted += (uint64_t)put(f, f->owner, i, BLOCK);
        check_limit(f, 0);
    }
    struct cache_stats stats = stats_of(f);
    assert_true(stats.refused > 0); /* nobody reclaimed */
    assert_int_equal(stats.refused + inserted, 3 * BLOCKS);
    assert_true(stats.used_bytes > LIMIT - 2 * BLOCK);
    assert_true(stats.entries > BLOCKS * 9 / 10); /* refusals do not drain it */
    assert_true(rcu_reclaim() > 0);
    check_limit(f, 0);
    assert_int_equal(stats_of(f).used_bytes, stats_of(f).entries * BLOCK);
    assert_int_equal(put(f, f->owner, UINT64_MAX, BLOCK), 1);
}

static void test_cache__who_is_inside_holds_up_frees(void **state)
{
    struct fixture *f = *state;

    rcu_enter();
    assert_int_equal(put(f, f->owner, 1, BLOCK), 1);
    struct cached *cached = cache_find(f->cache, f->owner, 1);
    assert_non_null(cached);
    for (uint64_t i = 2; i < 4 * BLOCKS; i++) {
        put(f, f->owner, i, BLOCK);
        check_limit(f, 0);
    }
    assert_null(cache_find(f->cache, f->owner, 1)); /* evicted */
    item_check(cached, f->owner, 1);                /* and there */
    cached_ref(cached);
    rcu_leave();
    rcu_reclaim();
    item_check(cached, f->owner, 1);
    check_limit(f, 0);
    uint64_t destroyed = atomic_load(&item_destroyed);
    uint64_t used = stats_of(f).used_bytes;
    cached_unref(cached);
    assert_int_equal(atomic_load(&item_destroyed), destroyed + 1);
    assert_int_equal(stats_of(f).used_bytes, used - BLOCK);
}

static void test_cache__all_held__refused(void **state)
{
    static struct cached *held[BLOCKS];
    struct fixture *f = *state;
    uint64_t count = 0;

    for (uint64_t i = 0; i < BLOCKS; i++) {
        put(f, f->owner, i, BLOCK);
        held[count] = hold(f, f->owner, i);
        count += held[count] != NULL;
        check_limit(f, 0);
    }
    assert_true(count > BLOCKS * 9 / 10 && count < BLOCKS);
    assert_int_equal(stats_of(f).evictions, 0);
    assert_int_equal(stats_of(f).refused, BLOCKS - count);
    struct item *own = item_make(f->owner, BLOCKS, BLOCK);
    assert_int_equal(cache_insert(f->cache, &own->cached), 0);
    check_limit(f, BLOCK);
    item_check(&own->cached, f->owner, BLOCKS); /* the caller goes on with its own */
    cached_unref(&own->cached);
    for (uint64_t i = 0; i < count; i++)
        cached_unref(held[i]);
    assert_int_equal(stats_of(f).entries, count);
    for (uint64_t i = 0; i < BLOCKS / 4; i++)
        put(f, f->owner, 2 * BLOCKS + i, BLOCK);
    assert_true(stats_of(f).evictions > 0);
}

/* Held, and forgotten by their owner: no longer found, but their memory is there and counts. */
static void test_cache__dropped_but_held__counts(void **state)
{
    static struct cached *held[BLOCKS];
    struct fixture *f = *state;
    uint64_t count = 0;

    for (uint64_t i = 0; i < BLOCKS / 2; i++) {
        put(f, f->owner, i, BLOCK);
        held[count++] = hold(f, f->owner, i);
    }
    cache_drop_owner(f->cache, f->owner);
    rcu_reclaim();
    assert_int_equal(stats_of(f).entries, 0);
    assert_int_equal(stats_of(f).used_bytes, count * BLOCK);
    uint64_t other = cache_new_owner(f->cache);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        put(f, other, i, BLOCK);
        check_limit(f, 0);
    }
    assert_int_equal(stats_of(f).entries, BLOCKS - count);
    for (uint64_t i = 0; i < count; i++) {
        item_check(held[i], f->owner, i);
        cached_unref(held[i]);
        check_limit(f, 0);
    }
}

static void test_cache__drop_owner__forgets_its_blocks_only(void **state)
{
    struct fixture *f = *state;
    uint64_t owners[3] = {f->owner, cache_new_owner(f->cache), cache_new_owner(f->cache)};

    for (uint64_t i = 0; i < 300; i++) {
        put(f, owners[i % 3], i, BLOCK);
        look(f, owners[i % 3], i - i % 2);
    }
    cache_drop_owner(f->cache, owners[1]);
    for (uint64_t i = 0; i < 300; i++)
        assert_int_equal(look(f, owners[i % 3], i), i % 3 != 1);
    assert_int_equal(stats_of(f).entries, 200);
    assert_int_equal(stats_of(f).used_bytes, 300 * BLOCK);
    assert_int_equal(rcu_reclaim(), 100);
    assert_int_equal(stats_of(f).used_bytes, 200 * BLOCK);
    for (uint64_t i = 0; i < 4 * BLOCKS; i++) /* the queues are whole */
        read_through(f, owners[0], i);
    check_limit(f, 0);
}

static void test_cache__reserve__blocks_make_room(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < 2 * BLOCKS; i++) {
        read_through(f, f->owner, i);
        look(f, f->owner, i);
        look(f, f->owner, i);
    }
    cache_reserve(f->cache, LIMIT / 32); /* what limbo leaves free is enough */
    check_limit(f, 0);
    cache_reserve(f->cache, LIMIT / 2 - LIMIT / 32);
    assert_true(stats_of(f).evictions > 0);
    rcu_reclaim();
    check_limit(f, 0);
    assert_int_equal(stats_of(f).reserved_bytes, LIMIT / 2);
    for (uint64_t i = 0; i < 2 * BLOCKS; i++) {
        put(f, f->owner, 3 * BLOCKS + i, BLOCK);
        check_limit(f, 0);
    }
    rcu_reclaim();
    assert_true(stats_of(f).used_bytes > LIMIT / 2 * 9 / 10);
    cache_reserve(f->cache, LIMIT); /* more than there is: no block stays, none is taken */
    rcu_reclaim();
    assert_int_equal(stats_of(f).entries, 0);
    assert_int_equal(put(f, f->owner, 1, BLOCK), 0);
    cache_unreserve(f->cache, LIMIT);
    assert_int_equal(put(f, f->owner, 1, BLOCK), 1);
    cache_unreserve(f->cache, LIMIT / 2);
    for (uint64_t i = 0; i < 2 * BLOCKS; i++)
        read_through(f, f->owner, i);
    assert_true(stats_of(f).used_bytes > LIMIT * 9 / 10);
}

static void test_cache__sizes_differ(void **state)
{
    struct fixture *f = *state;
    struct rng rng;

    rng_init(&rng, 1);
    for (uint64_t i = 0; i < 6000; i++) {
        size_t bytes = sizeof(struct item) + (size_t)rng_below(&rng, 40000);
        put(f, f->owner, rng_below(&rng, 2000), rng_below(&rng, 50) == 0 ? 20 * bytes : bytes);
        look(f, f->owner, rng_below(&rng, 2000));
        if (i % 8 == 0)
            rcu_reclaim();
        check_limit(f, 0);
    }
    assert_true(stats_of(f).used_bytes > LIMIT * 8 / 10);
    assert_int_equal(put(f, f->owner, UINT64_MAX, LIMIT / 4), 0); /* would sweep the shard */
    assert_int_equal(put(f, f->owner, UINT64_MAX, LIMIT * 2), 0);
}

/* Half of the room is hot; a scan over ten times the room passes once, three blocks for each hot read. */
static void test_cache__scan_leaves_the_hot_set_alone(void **state)
{
    struct fixture *f = *state;
    uint64_t scanner = cache_new_owner(f->cache);
    uint64_t hot = BLOCKS / 2;
    uint64_t hits = 0;
    uint64_t hot_reads = 0;
    struct rng rng;

    rng_init(&rng, 7);
    for (uint64_t i = 0; i < 20 * hot; i++)
        read_through(f, f->owner, rng_below(&rng, hot));
    for (uint64_t i = 0; i < 10 * BLOCKS; i++) {
        read_through(f, scanner, i);
        if (i % 3 != 0)
            continue;
        hits += (uint64_t)read_through(f, f->owner, rng_below(&rng, hot));
        hot_reads++;
    }
    print_message("hot reads during the scan: %.2f %% hits\n",
                  100.0 * (double)hits / (double)hot_reads);
    assert_true(hits * 100 > hot_reads * 90);
    uint64_t left = 0;
    for (uint64_t i = 0; i < hot; i++)
        left += (uint64_t)look(f, f->owner, i);
    assert_true(left * 100 > hot * 90);
}

/* Everything in it is hit again before the next newcomer comes: it must get in all the same. */
static void test_cache__newcomers_get_in_where_all_is_hot(void **state)
{
    struct fixture *f = *state;
    uint64_t newcomer = cache_new_owner(f->cache);

    for (uint64_t i = 0; i < BLOCKS; i++)
        read_through(f, f->owner, i);
    for (uint64_t attempt = 0; attempt < 20; attempt++) {
        for (uint64_t i = 0; i < 3 * BLOCKS; i++)
            look(f, f->owner, i % BLOCKS);
        assert_int_equal(put(f, newcomer, attempt, BLOCK), 1);
        rcu_reclaim();
    }
    assert_int_equal(stats_of(f).refused, 0);
}

/* Evicting what is held would give no memory back. */
static void test_cache__what_is_held_stays(void **state)
{
    static struct cached *held[BLOCKS];
    struct fixture *f = *state;
    uint64_t scanner = cache_new_owner(f->cache);

    for (uint64_t i = 0; i < BLOCKS / 4; i++) {
        put(f, f->owner, i, BLOCK);
        held[i] = hold(f, f->owner, i);
    }
    for (uint64_t i = 0; i < 4 * BLOCKS; i++)
        read_through(f, scanner, i);
    uint64_t left = 0;
    for (uint64_t i = 0; i < BLOCKS / 4; i++) {
        left += (uint64_t)look(f, f->owner, i);
        cached_unref(held[i]);
    }
    assert_int_equal(left, BLOCKS / 4);
    assert_true(stats_of(f).refused < 10); /* an insert passes over so many of them and no more */
}

/* What comes back soon after it left the small queue is not put at the mercy of a scan again. */
static void test_cache__ghosts__come_back_into_the_main_queue(void **state)
{
    struct fixture *f = *state;
    uint64_t scanner = cache_new_owner(f->cache);
    uint64_t scanned = 0;
    uint64_t left = 0;

    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 64; i++)
            assert_int_equal(read_through(f, f->owner, i), 0);
        for (uint64_t end = scanned + BLOCKS * 5 / 4; scanned < end; scanned++)
            read_through(f, scanner, scanned);
    }
    for (uint64_t i = 0; i < 64; i++)
        left += (uint64_t)look(f, f->owner, i);
    assert_true(left > 50); /* a ghost may be pushed out of its set */
}

static void test_cache__destroy_frees_all(void **state)
{
    struct fixture *f = *state;
    uint64_t destroyed = atomic_load(&item_destroyed);

    for (uint64_t i = 0; i < 2 * BLOCKS; i++) { /* with some in limbo */
        put(f, f->owner, i, BLOCK);
        look(f, f->owner, i / 2);
    }
    cache_destroy(f->cache);
    assert_int_equal(atomic_load(&item_live_bytes), 0);
    assert_int_equal(atomic_load(&item_destroyed), destroyed + 2 * BLOCKS);
    f->cache = cache_create(LIMIT);
    assert_non_null(f->cache);
}

static void test_cache__no_memory(void **state)
{
    struct cache *cache = NULL;

    (void)state;
    for (uint64_t nth = 1; cache == NULL; nth++) {
        mem_fail_nth(nth, 0);
        cache = cache_create(64 * MIB);
        mem_fail_nth(0, 0);
    }
    cache_destroy(cache);
    cache_destroy(NULL);
    cached_unref(NULL);
}

static void test_cache__any_limit(void **state)
{
    static const uint64_t limits[] = {0, 1, 4096, 100000, MIB, 8 * MIB + 1, 100 * MIB, 700 * MIB};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        struct fixture f = {.cache = cache_create(limits[i])};
        assert_non_null(f.cache);
        f.owner = cache_new_owner(f.cache);
        for (uint64_t k = 0; k < 2000; k++) {
            put(&f, f.owner, k, 8192);
            read_through(&f, f.owner, k / 2);
            check_limit(&f, 0);
        }
        if (limits[i] >= 100000)
            assert_true(stats_of(&f).used_bytes >
                        (limits[i] < 16 * MIB ? limits[i] / 2 : 16000000));
        cache_destroy(f.cache);
    }
}

/* A smaller limit holds for inserts at once, and for what is there once it was made to fit. */
static void test_cache__another_limit(void **state)
{
    struct fixture *f = *state;

    for (uint64_t k = 0; k < 2 * BLOCKS; k++)
        put(f, f->owner, k, BLOCK);
    (void)rcu_reclaim();
    uint64_t full = stats_of(f).used_bytes;
    assert_true(full > LIMIT * 3 / 4);
    cache_set_limit(f->cache, LIMIT / 4);
    assert_int_equal(cache_limit(f->cache), LIMIT / 4);
    assert_int_equal(put(f, f->owner, 5 * BLOCKS, BLOCK), 0);
    assert_true(cache_is_tight(f->cache));
    cache_fit(f->cache);
    (void)rcu_reclaim();
    check_limit(f, 0);
    assert_true(stats_of(f).used_bytes > LIMIT / 8);
    cache_set_limit(f->cache, LIMIT);
    for (uint64_t k = 0; k < 2 * BLOCKS; k++)
        put(f, f->owner, 10 * BLOCKS + k, BLOCK);
    (void)rcu_reclaim();
    check_limit(f, 0);
    assert_true(stats_of(f).used_bytes >= full);
}

static int is_odd(const struct cached *cached)
{
    return (int)(cached->offset % 2);
}

static void test_cache__drop_which(void **state)
{
    struct fixture *f = *state;

    for (uint64_t k = 0; k < BLOCKS / 2; k++)
        assert_int_equal(put(f, f->owner, k, BLOCK), 1);
    cache_drop_which(f->cache, is_odd);
    (void)rcu_reclaim();
    assert_int_equal(stats_of(f).entries, BLOCKS / 4);
    rcu_enter();
    for (uint64_t k = 0; k < BLOCKS / 2; k++)
        assert_int_equal(cache_find(f->cache, f->owner, k) != NULL, k % 2 == 0);
    rcu_leave();
    check_limit(f, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_cache__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(finds_what_was_put_in),
        TEST(slots),
        TEST(limit_holds_while_limbo_grows),
        TEST(who_is_inside_holds_up_frees),
        TEST(all_held__refused),
        TEST(dropped_but_held__counts),
        TEST(drop_owner__forgets_its_blocks_only),
        TEST(reserve__blocks_make_room),
        TEST(another_limit),
        TEST(drop_which),
        TEST(sizes_differ),
        TEST(scan_leaves_the_hot_set_alone),
        TEST(newcomers_get_in_where_all_is_hot),
        TEST(what_is_held_stays),
        TEST(ghosts__come_back_into_the_main_queue),
        TEST(destroy_frees_all),
        cmocka_unit_test(test_cache__no_memory),
        cmocka_unit_test(test_cache__any_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
