/* examine.h - makes crash images of a run, opens each, and checks that it holds S_k for a k that the
 * engine promised; then crashes again inside that recovery and looks for the same k; and damages
 * some of them, to see that no wrong data come out. One thread. */
#ifndef CRASH_EXAMINE_H
#define CRASH_EXAMINE_H

#include <stddef.h>
#include <stdint.h>

#include "run.h"
#include "trials.h"

struct figures {
    uint64_t images;   /* made */
    uint64_t opened;   /* the others had the bytes of one that was opened in the same run */
    uint64_t distinct; /* by their bytes, over all runs */
    uint64_t nested;   /* of those that were opened: crashes within a recovery */
    uint64_t damaged;  /* images with damage to them */
    uint64_t refused;  /* of these: those that were not opened */
    uint64_t cuts;     /* moments */
    uint64_t span_max; /* the largest number of states that one moment allowed */
    uint64_t digest;   /* of the runs, the images, and what was found in them (campaign.h) */
};

struct examiner; /* opaque */

/* In nested_percent of the recoveries there are further crashes; rot_percent of the images are opened
 * once more with damage to them. */
struct examiner *examiner_create(uint64_t seed, unsigned nested_percent, unsigned rot_percent);
void examiner_destroy(struct examiner *examiner);
const struct figures *examiner_figures(const struct examiner *examiner);

/* Forgets which images the run before had. To be called for each run, once it is over. */
void examiner_new_run(struct examiner *examiner, const struct run *run);

/* Images after more than `from` and at most all events of the run, in the order of the trace; as many
 * as the limit says. Stops at the first that fails: returns -1, and
 * examiner_chain() and _why() say where and why. 0: all are as promised. */
int examine_run(struct examiner *examiner, const struct run *run, uint64_t from,
                struct trial_limit limit);

/* The images of one chain, with each step told on stdout. 0, or -1 as above. */
int examine_chain(struct examiner *examiner, const struct run *run, const struct chain *chain);

const struct chain *examiner_chain(const struct examiner *examiner);
const char *examiner_why(const struct examiner *examiner);

#endif
