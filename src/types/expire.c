#include "types/expire.h"

#include "base/mutant.h"
#include "types/walk.h"

#define FAST_PERCENT 10  /* so many of the names with an expiry had expired: there is work to do */
#define STEADY_PERCENT 1 /* and with so many it is worth while to go on at the usual pace */
#define REST_FACTOR 3    /* a walk takes a quarter of a thread at most, */
#define EASY_FACTOR 19   /* and a twentieth where it finds little */
#define EASY_MIN_US ((uint64_t)10 * 1000)
#define STALE_WEIGHT 0.05
#define PERCENT 100

void expire_init(struct expire *expire)
{
    *expire = (struct expire){0};
}

int expire_is_due(struct expire *expire, int db, uint64_t space_id, uint64_t now_ms,
                  uint64_t now_us)
{
    struct expire_db *at = &expire->of_db[db];

    if (UNLIKELY(at->space_id != space_id)) /* it was emptied or swapped: nothing is known of it */
        *at = (struct expire_db){.space_id = space_id};
    return space_id != 0 && !at->in_round && at->due_ms <= now_ms && at->next_us <= now_us &&
           expire->rest_until_us <= now_us;
}

void expire_nothing(struct expire *expire, int db)
{
    expire->of_db[db].due_ms = EXPIRE_NEVER;
}

void expire_begin(struct expire *expire, int db)
{
    struct expire_db *at = &expire->of_db[db];

    at->in_round = 1;
    at->swept_ms = at->due_ms;
    at->from_hash = 0;
    at->due_ms = EXPIRE_NEVER;
}

int expire_slice_is_due(const struct expire *expire, int db, uint64_t space_id, uint64_t now_us)
{
    const struct expire_db *at = &expire->of_db[db];

    return at->in_round && at->space_id == space_id && at->next_us <= now_us &&
           expire->rest_until_us <= now_us;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Slices without a name that could expire say nothing of how many did: they are passed at a steady pace. */
static uint64_t pace_us(const struct expire_db *at, const struct expire_slice *slice)
{
    uint64_t percents = slice->expired * PERCENT;

    if (slice->missed > 0)
        return EXPIRE_TICK_US;
    if (percents > slice->expiring * FAST_PERCENT)
        return 0;
    uint64_t easy_us = larger(slice->walk_us * EASY_FACTOR, EASY_MIN_US);
    if (slice->expiring == 0)
        return easy_us;
    if (percents >= slice->expiring * STEADY_PERCENT)
        return larger(easy_us, EXPIRE_TICK_US);
    return larger(easy_us, larger(at->wait_us * 2, EXPIRE_TICK_US));
}

void expire_end_slice(struct expire *expire, int db, const struct expire_slice *slice,
                      uint64_t now_us)
{
    struct expire_db *at = &expire->of_db[db];
    double share = slice->expiring == 0 ? 0 : (double)slice->expired / (double)slice->expiring;

    if (slice->expiring > 0)
        expire->stale += (share - expire->stale) * STALE_WEIGHT;
    expire->rest_until_us = now_us + slice->walk_us * REST_FACTOR;
    if (at->space_id != slice->space_id)
        return;
    uint64_t wait_us = pace_us(at, slice);
    at->wait_us = wait_us < EXPIRE_WAIT_MAX_US ? wait_us : EXPIRE_WAIT_MAX_US;
    at->next_us = now_us + at->wait_us;
    if (slice->first_ms < at->due_ms)
        at->due_ms = slice->first_ms;
    if (slice->missed > 0 || MUTANT("expire-no-back-off"))
        at->due_ms = 0;
    at->from_hash = slice->next_hash;
    at->in_round = slice->next_hash < WALK_HASH_END;
}

void expire_fail_slice(struct expire *expire, int db, uint64_t now_us)
{
    struct expire_db *at = &expire->of_db[db];

    at->in_round = 0;
    at->due_ms = 0;
    at->next_us = now_us + EXPIRE_WAIT_MAX_US;
}

uint64_t expire_swept_ms(const struct expire *expire, int db, uint64_t space_id)
{
    const struct expire_db *at = &expire->of_db[db];

    if (at->space_id != space_id)
        return 0;
    return at->in_round && at->swept_ms < at->due_ms ? at->swept_ms : at->due_ms;
}

static uint64_t until(uint64_t when, uint64_t now)
{
    return when > now ? when - now : 0;
}

uint64_t expire_wait_us(const struct expire *expire, uint64_t now_ms, uint64_t now_us)
{
    uint64_t wait_us = EXPIRE_TICK_US;

    for (int db = 0; db < EXPIRE_DATABASES_MAX; db++) {
        const struct expire_db *at = &expire->of_db[db];
        if (at->space_id == 0 || (!at->in_round && at->due_ms > now_ms + EXPIRE_TICK_US / 1000))
            continue;
        uint64_t one_us = until(larger(at->next_us, expire->rest_until_us), now_us);
        if (!at->in_round)
            one_us = larger(one_us, until(at->due_ms, now_ms) * 1000);
        if (one_us < wait_us)
            wait_us = one_us;
    }
    return wait_us;
}
