/* plays.h - what the explorer runs: the engine's own views, versions, memtables, reads and grace periods,
 * two or three threads with a few operations each. The key has a new value at each sequence number, so
 * a read at one has to find exactly that, wherever it lies meanwhile. */
#ifndef RACE_PLAYS_H
#define RACE_PLAYS_H

#include "weave.h"
#include "weave_urcu.h"

struct play {
    struct weave_play play;
    int large; /* only with a budget */
};

extern const struct play plays[];
extern const size_t play_count;

void plays_init(void); /* once, and before the first run */
void plays_deinit(void);
void plays_plant(enum weave_urcu_bug bug); /* in the grace periods, from the next run on */

#endif
