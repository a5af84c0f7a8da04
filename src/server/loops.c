#include "server/loops.h"

#include <stdatomic.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cmd/processor.h"
#include "cmd/session.h"
#include "metrics/metrics.h"
#include "net/loop.h"
#include "net/team.h"
#include "types/keyspace.h"
#include "varve/db.h"

#define TELL_US ((uint64_t)100 * 1000)

/* One beside the writer's. */
struct reading_loop {
    struct loops *loops;
    struct metrics metrics;
    struct keyspace *keyspace;
    struct processor *reader;
    uint64_t told_us;
    char apart[64]; /* the next one's counters lie in other cache lines */
};

struct loops {
    struct loops_base base;
    struct reading_loop *all;
    uint32_t count;
    int made; /* the loops of net; all of `all` is whole then */
    char apart[64];
    _Atomic int closed; /* all commands are the writer's; read by all, written rarely */
    char apart_too[64];

    struct mutex mutex;
    struct metrics told; /* what they counted, and the writer's loop did not take yet */
    uint64_t told_commands;
};

/* ---- on their threads ---- */

static enum net_step reading_execute(void *arg, const struct resp_command *command,
                                     struct resp_writer *out, struct net_outcome *outcome)
{
    struct session *session = arg;

    (void)outcome;
    return processor_read(session->reader, session, command->argc, command->argv, out)
               ? NET_DONE
               : NET_FORWARD;
}

static void reading_turn_begin(void *arg)
{
    struct reading_loop *loop = arg;

    processor_begin_reads(loop->reader, clock_mono_us(),
                          atomic_load_explicit(&loop->loops->closed, memory_order_acquire));
    varve_enter();
}

static void reading_turn_end(void *arg)
{
    (void)arg;
    varve_leave();
}

static void reading_prefetch(void *arg, const struct resp_command *commands, size_t count)
{
    struct session *session = arg;

    processor_prefetch(session->reader, session, commands, count);
}

static int reading_commit(void *arg)
{
    (void)arg;
    return 0;
}

/* The next command reads the clock; and now and then, for the rates that INFO shows. */
static void reading_tick(void *arg)
{
    struct reading_loop *loop = arg;
    struct loops *loops = loop->loops;
    uint64_t now_us = clock_mono_us();

    processor_tick(loop->reader);
    if (now_us - loop->told_us < TELL_US)
        return;
    loop->told_us = now_us;
    mutex_lock(&loops->mutex);
    metrics_take(&loops->told, &loop->metrics);
    loops->told_commands += processor_take_commands(loop->reader);
    mutex_unlock(&loops->mutex);
}

/* ---- on the writer's ---- */

void loops_publish(struct loops *loops)
{
    if (LIKELY(loops == NULL))
        return;
    int closed = processor_wants_all(loops->base.processor);
    if (closed != atomic_load_explicit(&loops->closed, memory_order_relaxed))
        atomic_store_explicit(&loops->closed, closed, memory_order_release);
}

static void take_told(struct loops *loops)
{
    mutex_lock(&loops->mutex);
    struct metrics *told = &loops->told;
    uint64_t reads = told->threaded_reads;
    uint64_t writes = told->threaded_writes;
    uint64_t before_reads = loops->base.metrics->threaded_reads;
    uint64_t before_writes = loops->base.metrics->threaded_writes;
    metrics_take(loops->base.metrics, told);
    loops->base.metrics->threaded_reads = before_reads + reads;
    loops->base.metrics->threaded_writes = before_writes + writes;
    told->threaded_reads = 0;
    told->threaded_writes = 0;
    processor_add_commands(loops->base.processor, loops->told_commands);
    loops->told_commands = 0;
    mutex_unlock(&loops->mutex);
}

void loops_tick(struct loops *loops)
{
    if (LIKELY(loops == NULL))
        return;
    loops_publish(loops);
    take_told(loops);
}

void loops_committed(struct loops *loops)
{
    if (UNLIKELY(loops != NULL))
        keyspace_show(loops->base.keyspace);
}

void loops_halt(struct loops *loops)
{
    if (LIKELY(loops == NULL))
        return;
    net_team_halt(loops->base.main);
    take_told(loops);
    for (uint32_t i = 0; i < loops->count; i++) {
        metrics_take(loops->base.metrics, &loops->all[i].metrics);
        processor_take(loops->base.processor, loops->all[i].reader);
    }
}

void loops_resume(struct loops *loops)
{
    if (LIKELY(loops == NULL))
        return;
    for (uint32_t i = 0; i < loops->count; i++)
        processor_refresh_reader(loops->all[i].reader);
    loops_publish(loops); /* before the next turn of any of them */
    net_team_resume(loops->base.main);
}

struct processor *loops_reader(const struct loops *loops, uint32_t no)
{
    return loops == NULL || no == 0 ? NULL : loops->all[no - 1].reader;
}

/* ---- start and stop ---- */

static int make_readers(struct loops *loops, struct varve_err *err)
{
    const struct loops_base *base = &loops->base;

    for (uint32_t i = 0; i < loops->count; i++) {
        struct reading_loop *loop = &loops->all[i];
        loop->loops = loops;
        int rc = keyspace_open_reader(base->keyspace, &loop->keyspace, err);
        if (rc != 0)
            return rc;
        loop->reader = processor_create_reader(base->processor, loop->keyspace, &loop->metrics);
        if (loop->reader == NULL)
            return err_set(err, VARVE_ENOMEM, "no memory");
    }
    return 0;
}

static int make_loops(struct loops *loops, struct varve_err *err)
{
    struct net_member *members = mem_alloc_zero(loops->count * sizeof(*members));

    if (members == NULL)
        return err_set(err, VARVE_ENOMEM, "no memory");
    for (uint32_t i = 0; i < loops->count; i++)
        members[i] = (struct net_member){
            .hooks = {.arg = &loops->all[i],
                      .execute = reading_execute,
                      .turn_begin = reading_turn_begin,
                      .turn_end = reading_turn_end,
                      .prefetch = reading_prefetch,
                      .commit = reading_commit,
                      .tick = reading_tick},
            .metrics = &loops->all[i].metrics,
        };
    int rc = net_team_create(loops->base.main, members, loops->count, err);
    mem_free(members);
    loops->made = rc == 0;
    return rc == 0 ? net_team_start(loops->base.main, err) : rc;
}

int loops_start(const struct loops_base *base, uint32_t count, struct loops **out,
                struct varve_err *err)
{
    struct loops *loops = mem_alloc_zero(sizeof(*loops));
    int rc = VARVE_ENOMEM;

    *out = NULL;
    if (loops == NULL)
        return err_set(err, rc, "no memory");
    loops->base = *base;
    mutex_init(&loops->mutex);
    loops->all = mem_alloc_zero(count * sizeof(*loops->all));
    if (loops->all == NULL) {
        err_set(err, rc, "no memory");
        goto out;
    }
    loops->count = count;
    rc = make_readers(loops, err);
    if (rc == 0)
        rc = make_loops(loops, err);
out:
    /* Loops that were made go with the writer's, and need what they stand on until then. */
    if (rc != 0 && !loops->made)
        loops_destroy(loops);
    else
        *out = loops;
    return rc;
}

void loops_stop(struct loops *loops)
{
    if (loops != NULL)
        net_team_stop(loops->base.main);
}

void loops_destroy(struct loops *loops)
{
    if (loops == NULL)
        return;
    for (uint32_t i = 0; i < loops->count; i++) {
        processor_destroy_reader(loops->all[i].reader);
        keyspace_close(loops->all[i].keyspace);
    }
    mutex_deinit(&loops->mutex);
    mem_free(loops->all);
    mem_free(loops);
}
