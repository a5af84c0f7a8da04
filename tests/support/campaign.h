/* campaign.h - what all campaigns have in common: --seed, --budget, and how they close.
 *
 * A budget is a count of the campaign's own unit (images, operations, kills; its usage says which) or a
 * time: `250000`, `90s`, `30m`, `8h`. With a count, the same seed gives the same standard output, byte for
 * byte; what depends on the time or the machine goes to standard error.
 *
 * The last two lines of a campaign:
 *
 *     figures: powercut, seed 1: 263118 images opened, 197034 distinct, ...
 *     N passed, N failed
 */
#ifndef VARVE_TESTS_CAMPAIGN_H
#define VARVE_TESTS_CAMPAIGN_H

#include <stdint.h>

struct budget {
    uint64_t count;   /* 0: no count */
    uint64_t seconds; /* 0: no time */
};

/* Reads a budget; 0, or -1 if it is none: it must be above 0. */
int budget_parse(const char *text, struct budget *budget);

/* Whether a campaign goes on that did `done` units and began at campaign_now_s(). */
int budget_left(const struct budget *budget, uint64_t done, double began_s);

/* Seconds of the monotonic clock. */
double campaign_now_s(void);

/* Reads a seed, a whole number; 0 or -1. */
int seed_parse(const char *text, uint64_t *seed);

/* Prints the two closing lines, the figures by a printf format without a line end. Returns the exit code
 * of the program: 0 if nothing failed and something passed. */
int campaign_close(const char *name, uint64_t seed, uint64_t passed, uint64_t failed,
                   const char *figures, ...) __attribute__((format(printf, 5, 6)));

#endif
