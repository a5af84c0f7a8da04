#include "cmd/park.h"

#include "base/mem.h"
#include "base/mutant.h"
#include "cmd/processor_private.h"
#include "cmd/session.h"

void parking_init(struct processor *processor)
{
    mutex_init(&processor->parking.mutex);
    cond_init(&processor->parking.changed);
}

void parking_deinit(struct processor *processor)
{
    CHECK(processor->parking.running == 0 && processor->parking.ended == NULL);
    mutex_deinit(&processor->parking.mutex);
    cond_deinit(&processor->parking.changed);
}

/* ---- fetches ---- */

/* On the job's thread. Once the mutex is given up the fetch may be gone, the processor not yet. */
static void fetch_done(struct varve_fetch *fetch)
{
    struct parked_fetch *done = CONTAINER_OF(fetch, struct parked_fetch, fetch);
    struct processor *processor = done->processor;
    struct parking *parking = &processor->parking;

    mutex_lock(&parking->mutex);
    done->ended = parking->ended;
    parking->ended = done;
    parking->running--;
    cond_signal(&parking->changed);
    mutex_unlock(&parking->mutex);
    if (processor->host.wake != NULL)
        processor->host.wake(processor->host.arg);
}

static void running_add(struct parking *parking, int by)
{
    mutex_lock(&parking->mutex);
    parking->running += (uint64_t)(int64_t)by;
    mutex_unlock(&parking->mutex);
}

static int fetch_one(struct processor *processor, struct session *session, unsigned i)
{
    struct parked_fetch *one = mem_alloc_zero(sizeof(*one));

    if (one == NULL)
        return VARVE_ENOMEM;
    one->fetch.done = fetch_done;
    one->processor = processor;
    one->session = session;
    running_add(&processor->parking, 1);
    int rc = keyspace_fetch(processor->keyspace, i, &one->fetch, &one->wanted);
    if (rc != 0) {
        running_add(&processor->parking, -1);
        mem_free(one);
        return rc;
    }
    one->next = session->fetches;
    session->fetches = one;
    session->fetches_running++;
    return 0;
}

int park_fetch(struct processor *processor, struct session *session)
{
    unsigned count = processor->keys->blocked;
    unsigned started = 0;

    for (unsigned i = 0; i < count; i++)
        started += fetch_one(processor, session, i) == 0;
    keyspace_forget_blocked(processor->keyspace);
    session->fetch_rounds++;
    return started > 0 ? 0 : VARVE_ENOMEM;
}

/* A flush of what was written after a fetch makes it in vain. Where memtables fill faster than fetches end, a
 * command of many keys would be fetched for until the writes cease: so they do. */
static int fetched_in_vain(const struct session *session, int argc)
{
    return session->fetch_rounds > PARK_VAIN_ROUNDS + 2 * ((unsigned)argc / KEYSPACE_BLOCKED_MAX) &&
           !MUTANT("vain-for-ever");
}

int park_write_waits(const struct processor *processor, const struct session *session)
{
    const struct session *first = processor->parking.writes_wait_for;

    return first != NULL && first != session;
}

/* A count that failed is made again by a command that waits for it, and tells why. */
void park_resume(struct processor *processor, struct session *session, int argc)
{
    struct parking *parking = &processor->parking;
    int wait = 0;

    if (parking->writes_wait_for == NULL && fetched_in_vain(session, argc)) {
        parking->writes_wait_for = session;
        processor->ask_delay = 1;
    }
    for (struct parked_fetch *one = session->fetches; one != NULL; one = one->next) {
        keyspace_know_fetched(processor->keyspace, &one->wanted, &one->fetch);
        wait |= one->fetch.rc < 0 && one->wanted.counted_space != 0;
    }
    keyspace_let_wait(processor->keyspace, wait);
}

static void fetch_free(struct parked_fetch *one)
{
    keyspace_fetch_release(&one->wanted, &one->fetch);
    mem_free(one);
}

static void cancel_running(struct session *session)
{
    for (struct parked_fetch *one = session->fetches; one != NULL; one = one->next)
        if (one->session != NULL)
            keyspace_fetch_cancel(&one->wanted, &one->fetch);
}

/* Those that run are left to processor_woken(). */
void park_release(struct session *session)
{
    cancel_running(session);
    struct parked_fetch *one = session->fetches;

    session->fetches = NULL;
    while (one != NULL) {
        struct parked_fetch *next = one->next;
        one->next = NULL;
        if (one->session == NULL)
            fetch_free(one);
        else
            one->session = NULL;
        one = next;
    }
    session->fetches_running = 0;
    session->fetch_rounds = 0;
    if (session->processor->parking.writes_wait_for == session)
        session->processor->parking.writes_wait_for = NULL;
}

void processor_woken(struct processor *processor)
{
    struct parking *parking = &processor->parking;

    mutex_lock(&parking->mutex);
    struct parked_fetch *one = parking->ended;
    parking->ended = NULL;
    mutex_unlock(&parking->mutex);
    while (one != NULL) {
        struct parked_fetch *next = one->ended;
        struct session *session = one->session;
        one->session = NULL; /* it does not run any more */
        if (session == NULL)
            fetch_free(one);
        else if (--session->fetches_running == 0 && processor->host.unpark != NULL)
            processor->host.unpark(processor->host.arg, session->figures_arg);
        one = next;
    }
}

void processor_drain(struct processor *processor)
{
    struct parking *parking = &processor->parking;

    expirer_drain(processor->expirer);
    for (struct list *node = processor->sessions.next; node != &processor->sessions;
         node = node->next)
        cancel_running(CONTAINER_OF(node, struct session, node));
    mutex_lock(&parking->mutex);
    while (parking->running > 0)
        cond_wait(&parking->changed, &parking->mutex);
    mutex_unlock(&parking->mutex);
    processor_woken(processor);
    for (struct list *node = processor->sessions.next; node != &processor->sessions;
         node = node->next)
        park_release(CONTAINER_OF(node, struct session, node));
}

/* ---- writes that are held back ---- */

uint64_t park_write_delay_us(struct processor *processor)
{
    struct processor_stats *stats = &processor->stats;

    if (processor->delay_turn == processor->turn && processor->ticked) {
        /* What a larger group would owe, all would wait for. */
        if (stats->delay_cause != VARVE_STALL_NONE &&
            keyspace_group_bytes(processor->keyspace) >=
                keyspace_write_round_bytes(processor->keyspace))
            processor->delay_us = PARK_WRITE_MIN_US;
        return processor->delay_us;
    }
    uint64_t delay_us = keyspace_write_delay_us(processor->keyspace, &stats->delay_cause);
    if (delay_us < PARK_WRITE_MIN_US)
        delay_us = 0;
    if (delay_us > PARK_WRITE_MAX_US)
        delay_us = PARK_WRITE_MAX_US;
    processor->delay_us = delay_us;
    processor->delay_turn = processor->turn;
    processor->ask_delay = stats->delay_cause != VARVE_STALL_NONE || !processor->ticked;
    return delay_us;
}
