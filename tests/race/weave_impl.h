/* weave_impl.h - the inside of weave.h. A *proc* is what can be chosen: a thread, or the store buffer of a
 * thread, whose only step is to bring its oldest store into the memory. */
#ifndef RACE_WEAVE_IMPL_H
#define RACE_WEAVE_IMPL_H

#include <stdint.h>

#include "weave.h"

#define PROCS_MAX (2 * WEAVE_THREADS_MAX)
#define BUFFER_OF(thread) ((thread) + WEAVE_THREADS_MAX)

enum step_kind {
    STEP_NONE, /* the thread has ended */
    STEP_READ,
    STEP_AWAIT, /* a read that waits for a value */
    STEP_WRITE,
    STEP_MODIFY,
    STEP_FENCE,
    STEP_LOCK,
    STEP_UNLOCK,
    STEP_FREE, /* of all that lies there */
};

/* What a proc does next. */
struct step {
    enum step_kind kind;
    uintptr_t addr;
    size_t size;
    int (*ready)(uint64_t value, uint64_t arg);
    uint64_t arg;
};

/* For each proc, its last step that came before: how many steps of the run there were with it, and how many of
 * the proc's own. */
struct clock {
    uint32_t of[PROCS_MAX];
    uint32_t count[PROCS_MAX];
};

static inline void clock_join(struct clock *to, const struct clock *from)
{
    for (int i = 0; i < PROCS_MAX; i++)
        if (to->of[i] < from->of[i]) {
            to->of[i] = from->of[i];
            to->count[i] = from->count[i];
        }
}

/* ---- weave.c: threads and their memory ---- */

void threads_start(const struct weave_play *play, enum weave_order order);
uint32_t threads_enabled(void); /* a bit for each proc that can go on */
int threads_ended(void);
struct step threads_next(int proc);
void threads_step(int proc); /* takes the next step of one that is enabled */
int threads_failed(void);
/* What comes before the next step of a proc, whatever the order. */
struct clock threads_clock(int proc);
/* The thread's steps so far, for what it stores or unlocks without a step. */
extern struct clock clock_of[PROCS_MAX];
/* What came before the last write, and before all reads since, of what lies at addr. */
struct object {
    uintptr_t addr;
    uint64_t run; /* of another run: it is not there */
    struct clock written;
    struct clock read;
};
struct object *object_at(uintptr_t addr);
void objects_forget(void);
void objects_freed(uintptr_t addr, size_t size, struct clock *clock);

/* Runs begin() or end(); 0, or -1 if it failed. */
int threads_outside(void (*run)(void));
const char *threads_what(void);

/* ---- weave_memory.c ---- */

void memory_begin(void); /* frees what is left of a run that failed */
/* Frees what was kept; says how many were never freed. */
size_t memory_end(void);
/* A thread frees that; comes back when it may. */
void threads_free(void *ptr, size_t size);
void memory_check(uintptr_t addr); /* fails the run if that is freed */

#endif
