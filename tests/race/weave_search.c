/* Which order to run next: source sets, after Abdulla, Aronis, Jonsson and Sagonas (POPL 2014). Of each step of a
 * run the explorer looks for the earlier steps that touch the same object and that nothing else orders before
 * it: the two could have come the other way round. That is so if, at the state before the earlier one, one
 * of the procs goes first that can begin what comes then; if none of those was tried there, one has to be.
 * A proc that was tried at a state sleeps below that state until a step conflicts with its own: what it
 * would do meanwhile was seen. */
#include <stdio.h>
#include <string.h>

#include "weave_impl.h"

/* A state of the current path, and the step taken there. */
struct frame {
    uint32_t enabled;
    uint32_t wanted; /* procs to try */
    uint32_t tried;
    uint32_t sleep;
    int chosen;
    struct step step;   /* of this run */
    struct clock clock; /* of it: what came before, itself included */
};

static struct frame frames[WEAVE_DEPTH_MAX];
static size_t path_len;   /* frames that are there */
static uint32_t sleeping; /* at the state where the run is */

static int plainly;                             /* every proc is tried at every state */
static uint64_t orders[4 * WEAVE_DISTINCT_MAX]; /* hashes of those met; 0: free */
static uint64_t order_hash;                     /* of this run so far */

#define BIT(proc) ((uint32_t)1 << (proc))

static int lowest(uint32_t procs)
{
    return __builtin_ctz(procs);
}

static int only_reads(const struct step *step)
{
    return step->kind == STEP_READ || step->kind == STEP_AWAIT;
}

/* May the order of the two matter, where both are possible? */
static int conflict(const struct step *a, const struct step *b)
{
    if (a->kind == STEP_FREE || b->kind == STEP_FREE) {
        const struct step *freed = a->kind == STEP_FREE ? a : b;
        const struct step *other = a->kind == STEP_FREE ? b : a;
        return other->addr - freed->addr < freed->size;
    }
    if (a->addr != b->addr || a->kind == STEP_NONE || b->kind == STEP_NONE ||
        a->kind == STEP_FENCE || b->kind == STEP_FENCE)
        return 0;
    if (a->kind == STEP_UNLOCK || b->kind == STEP_UNLOCK)
        return 0; /* only who holds it unlocks */
    return !only_reads(a) || !only_reads(b);
}

/* The step's place among those that came before and touched the same. *before: without the latter. */
static void order_step(int proc, const struct step *step, size_t depth, struct clock *before)
{
    struct clock *mine = &clock_of[proc];

    *mine = threads_clock(proc);
    if (proc < WEAVE_THREADS_MAX && !only_reads(step))
        clock_join(mine, &clock_of[BUFFER_OF(proc)]);
    *before = *mine;
    mine->of[proc] = (uint32_t)depth + 1;
    mine->count[proc]++;
    if (step->kind == STEP_FENCE)
        return;
    if (step->kind == STEP_FREE) {
        objects_freed(step->addr, step->size, mine);
        return;
    }
    struct object *object = object_at(step->addr);
    clock_join(mine, &object->written);
    if (only_reads(step)) {
        clock_join(&object->read, mine);
        return;
    }
    clock_join(mine, &object->read);
    object->written = *mine;
}

/* Does step number `at` of the path come before what has that clock? */
static int comes_before(size_t at, const struct clock *clock)
{
    return clock->of[frames[at].chosen] > at;
}

/* Step `late` shall come before step `early`: who can go first at the state before that? */
static uint32_t beginners(size_t early, size_t late)
{
    size_t stays[WEAVE_DEPTH_MAX]; /* steps that do not need the early one */
    size_t count = 0;
    uint32_t procs = 0;

    for (size_t at = early + 1; at <= late; at++) {
        int needs = 0;
        if (at != late && comes_before(early, &frames[at].clock))
            continue;
        for (size_t i = 0; i < count && !needs; i++)
            needs = comes_before(stays[i], &frames[at].clock);
        if (!needs)
            procs |= BIT(frames[at].chosen);
        stays[count++] = at;
    }
    return procs & frames[early].enabled;
}

/* Steps of which the last one of the path could have come first. A read that waits may have been possible only
 * before a step that is not the last one in its way, so for it all are looked at. */
static void find_races(size_t late, const struct clock *before)
{
    const struct frame *mine = &frames[late];
    struct clock passed = {0};

    for (size_t early = late; early-- > 0;) {
        struct frame *frame = &frames[early];
        if (frame->chosen == mine->chosen || !conflict(&frame->step, &mine->step) ||
            comes_before(early, before))
            continue;
        if (mine->step.kind != STEP_AWAIT && comes_before(early, &passed))
            continue;
        clock_join(&passed, &frame->clock);
        uint32_t procs = beginners(early, late);
        if (procs != 0 && (procs & (frame->wanted | frame->sleep)) == 0)
            frame->wanted |= BIT(lowest(procs));
    }
}

/* Two runs are the same order if each step of each proc has the same steps before it. */
static void hash_step(int proc)
{
    const struct clock *clock = &clock_of[proc];
    uint64_t hash = (uint64_t)proc + 1;

    for (int i = 0; i < PROCS_MAX; i++)
        hash = (hash ^ clock->count[i]) * 0x9e3779b97f4a7c15u + (hash >> 29);
    order_hash += hash * 0xbf58476d1ce4e5b9u;
}

static void count_order(struct weave_result *result)
{
    size_t cap = sizeof(orders) / sizeof(orders[0]);
    size_t at = (size_t)(order_hash % cap);

    while (orders[at] != 0 && orders[at] != order_hash)
        at = (at + 1) % cap;
    if (orders[at] == 0 && result->distinct < WEAVE_DISTINCT_MAX) {
        orders[at] = order_hash;
        result->distinct++;
    }
}

/* Not on the path: it is not looked for what could have come otherwise. */
static void take_step(int proc, size_t depth, int on_path)
{
    struct step step = threads_next(proc);
    struct clock before;
    uint32_t still = 0;

    for (int other = 0; other < PROCS_MAX; other++) {
        struct step next = threads_next(other);
        if ((sleeping & BIT(other)) && !conflict(&next, &step))
            still |= BIT(other);
    }
    sleeping = still;
    order_step(proc, &step, depth, &before);
    hash_step(proc);
    if (on_path) {
        frames[depth].clock = clock_of[proc];
        find_races(depth, &before);
    }
    threads_step(proc);
}

/* The next proc on the path, or a new end of it. -1: all that could go on sleep. */
static int choose(size_t depth, uint32_t enabled, int last)
{
    struct frame *frame = &frames[depth];

    if (depth == path_len) {
        uint32_t free = enabled & ~sleeping;
        if (free == 0)
            return -1;
        int proc = last >= 0 && (free & BIT(last)) ? last : lowest(free);
        *frame = (struct frame){.enabled = enabled,
                                .wanted = plainly ? enabled : BIT(proc),
                                .sleep = sleeping,
                                .chosen = proc};
        path_len++;
    }
    CHECK(frame->enabled == enabled && (enabled & BIT(frame->chosen))); /* a run repeats itself */
    if (!plainly)
        sleeping = frame->sleep | (frame->tried & ~BIT(frame->chosen));
    frame->step = threads_next(frame->chosen);
    return frame->chosen;
}

/* Who went, for a report: threads in capitals, their buffers in small letters. */
static void describe(struct weave_result *result, const char *why)
{
    int len = snprintf(result->what, sizeof(result->what), "%s; order ", why);

    for (size_t i = 0; i < path_len && (size_t)len + 1 < sizeof(result->what); i++) {
        int proc = frames[i].chosen;
        result->what[len++] = (char)(proc < WEAVE_THREADS_MAX ? 'A' + proc
                                                              : 'a' + proc - WEAVE_THREADS_MAX);
    }
    result->what[len] = '\0';
    result->failed = 1;
}

/* One run along the path and on from its end. */
static void run_once(struct weave_result *result)
{
    int last = -1;
    int alike = 0;
    size_t depth = 0;

    for (;; depth++) {
        uint32_t enabled = threads_enabled();
        if (threads_failed() || enabled == 0 || depth == WEAVE_DEPTH_MAX)
            break;
        if (!alike)
            last = choose(depth, enabled, last);
        if (alike || last < 0) {
            alike = 1;
            last = lowest(enabled);
        }
        take_step(last, depth, !alike);
    }
    result->steps += depth;
    result->depth_max = depth > result->depth_max ? depth : result->depth_max;
    result->runs += !alike;
    result->pruned += alike;
    count_order(result);
    if (threads_failed())
        describe(result, threads_what());
    else if (depth == WEAVE_DEPTH_MAX)
        describe(result, "it does not end");
    else if (!threads_ended())
        describe(result, "nobody can go on");
}

/* Goes back to the last state where a proc is left to try. 0: there is none. */
static int next_path(void)
{
    while (path_len > 0) {
        struct frame *frame = &frames[path_len - 1];
        frame->tried |= BIT(frame->chosen);
        uint32_t left = frame->wanted & ~frame->tried & ~frame->sleep;
        if (left != 0) {
            frame->chosen = lowest(left);
            return 1;
        }
        path_len--;
    }
    return 0;
}

static void explore(const struct weave_play *play, enum weave_order order, uint64_t runs_max,
                    struct weave_result *result)
{
    *result = (struct weave_result){0};
    memset(orders, 0, sizeof(orders));
    path_len = 0;
    do {
        memory_begin();
        objects_forget();
        sleeping = 0;
        order_hash = 0;
        if (threads_outside(play->begin) != 0) {
            describe(result, threads_what());
            return;
        }
        threads_start(play, order);
        run_once(result);
        if (!result->failed && threads_outside(play->end) != 0)
            describe(result, threads_what());
        if (result->failed)
            return;
        if (memory_end() != 0) {
            describe(result, "something was not freed");
            return;
        }
        if (runs_max != 0 && result->runs + result->pruned >= runs_max)
            return;
    } while (next_path());
    result->complete = 1;
}

void weave_explore(const struct weave_play *play, enum weave_order order, uint64_t runs_max,
                   struct weave_result *result)
{
    plainly = 0;
    explore(play, order, runs_max, result);
}

void weave_explore_plainly(const struct weave_play *play, enum weave_order order, uint64_t runs_max,
                           struct weave_result *result)
{
    plainly = 1;
    explore(play, order, runs_max, result);
}
