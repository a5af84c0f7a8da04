/* A walk sees what is committed as of its beginning; by the time of the sweep a name may have been written
 * anew. So each comes with the sequence of its record, and varve_is_newest() says whether that is still the
 * last word on it. Where memory cannot say (a memtable was flushed meanwhile) the name is left to the
 * next round.
 *
 * IDLE -> WALKING (the job runs) -> SWEEPING (turns take names from its page) -> IDLE */
#include "types/expirer.h"

#include <stdatomic.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "types/keyspace_private.h"

#define SLICE_VISITS 2000
#define SLICE_BYTES ((uint64_t)1024 * 1024)
#define SWEEP_BATCH 64
#define TURN_US ((uint64_t)1000)
#define TURN_REST_FACTOR 3

enum expirer_state { IDLE, WALKING, SWEEPING };

struct expirer {
    struct keyspace *keyspace;
    void (*wake)(void *arg);
    void *arg;
    uint64_t (*clock_us)(void);
    int active;
    uint64_t rest_until_us; /* sweeps take no more than their share of the thread */
    int next_db;            /* whose turn it is to be looked at */
    enum expirer_state state;

    /* The slice, from its begin to its end. */
    int db;
    uint64_t space_id;
    uint64_t min_seq;      /* what it must have seen */
    struct walk_page page; /* while WALKING the job's */
    uint64_t walk_us;      /* this too */
    int rc;                /* and this */
    size_t swept_bytes;    /* of the page's names */
    uint64_t missed;

    struct varve_job job;
    struct walk_query query;
    uint64_t now_ms; /* of the walk */
    atomic_int cancelled;
    struct mutex mutex;
    struct cond changed;
    int running; /* under the mutex */

    struct expirer_stats stats;
};

/* What lies in front of each name of a page. */
struct found {
    uint64_t seq;
    uint64_t len;
};

static int put_found(struct buf *page, struct varve_slice name, uint64_t seq)
{
    struct found found = {.seq = seq, .len = name.len};
    size_t at = page->len;
    int rc = buf_append(page, &found, sizeof(found));

    if (rc == 0)
        rc = buf_append(page, name.data, name.len);
    if (rc != 0)
        page->len = at;
    return rc;
}

static void run_walk(struct varve_job *job)
{
    struct expirer *expirer = CONTAINER_OF(job, struct expirer, job);
    struct varve_read read = {.now_ms = expirer->now_ms, .no_fill = 1};
    uint64_t began_us = expirer->clock_us();

    struct walk *walk = walk_create(expirer->keyspace->db, &read, expirer->space_id,
                                    &expirer->query, &expirer->cancelled, &expirer->page);
    expirer->rc = walk == NULL ? VARVE_ENOMEM : walk_step(walk, UINT64_MAX, NULL);
    walk_destroy(walk);
    expirer->walk_us = expirer->clock_us() - began_us;
    mutex_lock(&expirer->mutex);
    expirer->running = 0;
    cond_signal(&expirer->changed);
    if (expirer->wake != NULL)
        expirer->wake(expirer->arg);
    mutex_unlock(&expirer->mutex);
}

struct expirer *expirer_create(struct keyspace *keyspace, void (*wake)(void *arg), void *arg,
                               uint64_t (*clock_us)(void))
{
    struct expirer *expirer = mem_alloc_zero(sizeof(*expirer));

    if (expirer == NULL)
        return NULL;
    expirer->keyspace = keyspace;
    expirer->wake = wake;
    expirer->arg = arg;
    expirer->clock_us = clock_us != NULL ? clock_us : clock_mono_us;
    expirer->active = 1;
    expirer->job.run = run_walk;
    walk_page_init(&expirer->page);
    mutex_init(&expirer->mutex);
    cond_init(&expirer->changed);
    return expirer;
}

void expirer_drain(struct expirer *expirer)
{
    atomic_store_explicit(&expirer->cancelled, 1, memory_order_relaxed);
    expirer->active = 0;
    mutex_lock(&expirer->mutex);
    while (expirer->running)
        cond_wait(&expirer->changed, &expirer->mutex);
    mutex_unlock(&expirer->mutex);
}

void expirer_destroy(struct expirer *expirer)
{
    if (expirer == NULL)
        return;
    CHECK(!expirer->running);
    walk_page_deinit(&expirer->page);
    mutex_deinit(&expirer->mutex);
    cond_deinit(&expirer->changed);
    mem_free(expirer);
}

void expirer_set_active(struct expirer *expirer, int active)
{
    expirer->active = active;
}

void expirer_get_stats(const struct expirer *expirer, struct expirer_stats *stats)
{
    *stats = expirer->stats;
    stats->stale_percent = expirer->keyspace->expire.stale * 100;
}

void expirer_reset_stats(struct expirer *expirer)
{
    expirer->stats = (struct expirer_stats){0};
    expirer->keyspace->expire.stale = 0;
}

/* ---- walking ---- */

static uint64_t visible_seq(const struct expirer *expirer)
{
    struct varve_stats stats;

    varve_stats(expirer->keyspace->db, &stats);
    return stats.seq_visible;
}

static void start_walk(struct expirer *expirer, int db, uint64_t space_id, uint64_t now_ms)
{
    struct varve_executor *executor = expirer->keyspace->executor;

    expirer->state = WALKING;
    expirer->db = db;
    expirer->space_id = space_id;
    expirer->min_seq = visible_seq(expirer);
    expirer->now_ms = now_ms;
    expirer->swept_bytes = 0;
    expirer->missed = 0;
    expirer->query = (struct walk_query){.from_hash = expirer->keyspace->expire.of_db[db].from_hash,
                                         .visits_max = SLICE_VISITS,
                                         .bytes_max = SLICE_BYTES,
                                         .type = WALK_ANY_TYPE,
                                         .expired = 1,
                                         .put = put_found};
    mutex_lock(&expirer->mutex);
    expirer->running = 1;
    mutex_unlock(&expirer->mutex);
    executor->submit(executor, VARVE_JOB_READ, &expirer->job);
}

static uint64_t find_work(struct expirer *expirer)
{
    struct keyspace *keyspace = expirer->keyspace;
    struct expire *expire = &keyspace->expire;
    uint64_t now_us = expirer->clock_us();
    uint64_t now_ms = varve_now_ms(keyspace->db);

    for (int i = 0; i < KEYSPACE_DATABASES_MAX; i++) {
        int db = (expirer->next_db + i) % KEYSPACE_DATABASES_MAX;
        uint64_t space_id = space_of(keyspace, db)->id;
        if (expire_is_due(expire, db, space_id, now_ms, now_us)) {
            if (keyspace_has_expiring(keyspace, space_id))
                expire_begin(expire, db);
            else
                expire_nothing(expire, db);
        }
        if (!expire_slice_is_due(expire, db, space_id, now_us))
            continue;
        expirer->next_db = db + 1;
        start_walk(expirer, db, space_id, now_ms);
        return EXPIRE_TICK_US;
    }
    return expire_wait_us(expire, now_ms, now_us);
}

/* 1: it has ended. */
static int take_walk(struct expirer *expirer)
{
    mutex_lock(&expirer->mutex);
    int running = expirer->running;
    mutex_unlock(&expirer->mutex);
    if (running)
        return 0;
    if (expirer->rc != 0 || expirer->page.as_of < expirer->min_seq) {
        expire_fail_slice(&expirer->keyspace->expire, expirer->db, expirer->clock_us());
        expirer->state = IDLE;
        return 1;
    }
    expirer->stats.slices++;
    expirer->stats.visits += expirer->page.visits;
    expirer->stats.walk_us += expirer->walk_us;
    expirer->state = SWEEPING;
    return 1;
}

/* ---- sweeping ---- */

static void end_slice(struct expirer *expirer)
{
    const struct walk_page *page = &expirer->page;
    struct expire_slice slice = {.space_id = expirer->space_id,
                                 .expiring = page->expiring,
                                 .expired = page->count,
                                 .missed = expirer->missed,
                                 .first_ms = page->first_ms,
                                 .next_hash = page->next_hash,
                                 .walk_us = expirer->walk_us};

    expire_end_slice(&expirer->keyspace->expire, expirer->db, &slice, expirer->clock_us());
    expirer->state = IDLE;
}

/* The next names of the page, at most SWEEP_BATCH. */
static size_t next_names(struct expirer *expirer, struct keyspace_dead *names)
{
    const struct buf *page = &expirer->page.names;
    size_t count = 0;

    while (count < SWEEP_BATCH && expirer->swept_bytes < page->len) {
        struct found found;
        memcpy(&found, page->data + expirer->swept_bytes, sizeof(found));
        expirer->swept_bytes += sizeof(found);
        names[count++] = (struct keyspace_dead){
            .name = varve_slice(page->data + expirer->swept_bytes, found.len), .seq = found.seq};
        expirer->swept_bytes += found.len;
    }
    return count;
}

static int sweep_for_a_while(struct expirer *expirer, uint64_t began_us)
{
    struct keyspace_dead names[SWEEP_BATCH];

    for (;;) {
        size_t count = next_names(expirer, names);
        if (count == 0)
            return 0;
        int rc = keyspace_sweep(expirer->keyspace, expirer->space_id, names, count,
                                expirer->page.as_of, &expirer->missed);
        if (rc != 0)
            return rc;
        if (expirer->clock_us() - began_us >= TURN_US)
            break;
    }
    expirer->stats.capped += expirer->swept_bytes < expirer->page.names.len;
    return 0;
}

static uint64_t sweep(struct expirer *expirer)
{
    struct keyspace *keyspace = expirer->keyspace;
    struct expirer_stats *stats = &expirer->stats;
    uint64_t began_us = expirer->clock_us();
    uint64_t expired_before = keyspace->stats.expired_keys;

    varve_enter();
    int rc = sweep_for_a_while(expirer, began_us);
    if (varve_group_commit(keyspace->db, NULL) != 0) {
        keyspace->stats.expired_keys = expired_before; /* it was undone */
        rc = VARVE_EIO;
    }
    varve_leave();
    uint64_t took_us = expirer->clock_us() - began_us;
    if (keyspace->stats.expired_keys != expired_before) {
        stats->turns++;
        stats->turn_us += took_us;
        if (took_us > stats->turn_max_us)
            stats->turn_max_us = took_us;
    }
    if (rc != 0) {
        expire_fail_slice(&keyspace->expire, expirer->db, expirer->clock_us());
        expirer->state = IDLE;
    } else if (expirer->swept_bytes == expirer->page.names.len) {
        end_slice(expirer);
    }
    expirer->rest_until_us = began_us + took_us * (1 + TURN_REST_FACTOR);
    return took_us * TURN_REST_FACTOR;
}

static int may_write(struct keyspace *keyspace)
{
    enum varve_stall_cause cause;

    return !varve_group_open(keyspace->db) && varve_writable(keyspace->db, NULL) == 0 &&
           keyspace_write_delay_us(keyspace, &cause) == 0 && cause == VARVE_STALL_NONE;
}

static void tell_swept(const struct expirer *expirer)
{
    struct keyspace *keyspace = expirer->keyspace;
    uint64_t swept_ms = expirer->active ? EXPIRE_NEVER : 0;

    for (int db = 0; db < KEYSPACE_DATABASES_MAX; db++) {
        uint64_t space_id = space_of(keyspace, db)->id;
        uint64_t one_ms = space_id == 0 ? EXPIRE_NEVER
                                        : expire_swept_ms(&keyspace->expire, db, space_id);
        swept_ms = one_ms < swept_ms ? one_ms : swept_ms;
    }
    varve_set_swept_ms(keyspace->db, swept_ms);
}

uint64_t expirer_turn(struct expirer *expirer)
{
    struct keyspace *keyspace = expirer->keyspace;

    tell_swept(expirer);
    if (expirer->state == WALKING && !take_walk(expirer))
        return EXPIRE_TICK_US;
    if (!expirer->active || keyspace->executor == NULL || !may_write(keyspace))
        return EXPIRE_TICK_US;
    keyspace_settle(keyspace);
    if (expirer->state != SWEEPING)
        return find_work(expirer);
    uint64_t now_us = expirer->clock_us();
    if (expirer->rest_until_us > now_us)
        return expirer->rest_until_us - now_us;
    return sweep(expirer);
}
