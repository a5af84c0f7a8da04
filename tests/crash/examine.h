/* examine.h - makes crash images of a run, opens each, and checks that it holds S_k for a k that the
 * engine promised; then crashes again inside that recovery and looks for the same k. One thread. */
#ifndef CRASH_EXAMINE_H
#define CRASH_EXAMINE_H

#include <stddef.h>
#include <stdint.h>

#include "run.h"

/* One image: the first `upto` events, and what of the unsynced is kept. */
struct trial {
    uint64_t upto;
    enum sim_policy policy;
    uint64_t seed;
};

#define CHAIN_MAX 4 /* a crash, one in its recovery, one in that one's ... */

struct chain {
    struct trial trials[CHAIN_MAX];
    unsigned count;
};

struct figures {
    uint64_t images;   /* made */
    uint64_t opened;   /* the others had the bytes of one that was opened in the same run */
    uint64_t distinct; /* by their bytes, over all runs */
    uint64_t nested;   /* of those that were opened: crashes within a recovery */
    uint64_t cuts;     /* moments */
    uint64_t span_max; /* the largest number of states that one moment allowed */
};

struct examiner; /* opaque */

struct examiner *examiner_create(uint64_t seed, unsigned nested_percent);
void examiner_destroy(struct examiner *examiner);
const struct figures *examiner_figures(const struct examiner *examiner);

/* Forgets which images the run before had. To be called for each run. */
void examiner_new_run(struct examiner *examiner);

/* Images after more than `from` and at most all events of the run, in the order of the trace;
 * `limit` of them (0: all), the telling ones first. Stops at the first that fails: returns -1, and
 * examiner_chain() and _why() say where and why. 0: all are as promised. */
int examine_run(struct examiner *examiner, const struct run *run, uint64_t from, uint64_t limit);

/* The images of one chain, with each step told on stdout. 0, or -1 as above. */
int examine_chain(struct examiner *examiner, const struct run *run, const struct chain *chain);

const struct chain *examiner_chain(const struct examiner *examiner);
const char *examiner_why(const struct examiner *examiner);

/* "57/one-missing/3,12/all-lost/0" and back. Parsing returns 0, or -1. */
void chain_format(const struct chain *chain, char *text, size_t cap);
int chain_parse(const char *text, struct chain *chain);

#endif
