/* trials.h - which crash images are made of a trace, and their names in reports. */
#ifndef CRASH_TRIALS_H
#define CRASH_TRIALS_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "sim_env.h"

/* One image: the first `upto` events, and what of the unsynced is kept. */
struct trial {
    uint64_t upto;
    enum sim_policy policy;
    uint64_t seed;
    uint64_t rot; /* then damaged, as this seed says; 0: not */
};

#define CHAIN_MAX 4 /* a crash, one in its recovery, one in that one's ... */

struct chain {
    struct trial trials[CHAIN_MAX];
    unsigned count;
};

struct trial_list {
    struct trial *items; /* owned; in the order of the trace */
    size_t count;
    size_t cap;
};

/* 0: as many as there are. */
struct trial_limit {
    uint64_t images;
    uint64_t per_cut; /* of one moment, besides those that say most: all lost, all kept, killed */
};

/* Images after more than `from` events, those that say most first. */
void trials_choose(struct trial_list *list, struct sim_env *sim, uint64_t from,
                   struct trial_limit limit, struct rng *rng);
void trials_free(struct trial_list *list);

enum sim_policy trial_draw_policy(struct rng *rng);

/* "57/one-missing/3,12/all-lost/0" and back. Parsing returns 0, or -1. */
void chain_format(const struct chain *chain, char *text, size_t cap);
int chain_parse(const char *text, struct chain *chain);

#endif
