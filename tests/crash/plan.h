/* plan.h - all sequences of actions up to a length in all modes, in a shuffled order; and plans as
 * text. */
#ifndef CRASH_PLAN_H
#define CRASH_PLAN_H

#include <stddef.h>

#include "run.h"

struct plan_list {
    struct plan *items; /* owned */
    size_t count;
};

/* Lengths from `shortest` to `longest`; mode -1: all. core: of the nine actions that need no fault, no
 * time and no range delete. */
void plan_list_make(struct plan_list *list, uint64_t seed, unsigned shortest, unsigned longest,
                    int mode, int core);
void plan_list_free(struct plan_list *list);

const char *mode_name(enum varve_durability mode); /* "everysec"; static storage */
int mode_parse(const char *text);                  /* the mode, or -1 */

/* "put,reopen"; "-" is the empty sequence. Parsing returns 0, or -1. */
void sequence_format(const struct plan *plan, char *text, size_t cap);
int sequence_parse(const char *text, struct plan *plan);

#define SEQUENCE_TEXT_BYTES (PLAN_ACTIONS_MAX * 12u)

#endif
