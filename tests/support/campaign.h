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

#include <stddef.h>
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

/* A digest of what a run did (FNV-1a), in the figures of the campaigns: two runs of a seed must have the
 * same one, on any machine. */
#define DIGEST_BEGIN 0xcbf29ce484222325u

static inline uint64_t digest_bytes(uint64_t digest, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < len; i++)
        digest = (digest ^ at[i]) * 0x100000001b3u;
    return digest;
}

static inline uint64_t digest_add(uint64_t digest, uint64_t value)
{
    for (unsigned shift = 0; shift < 64; shift += 8)
        digest = (digest ^ (value >> shift & 0xff)) * 0x100000001b3u;
    return digest;
}

/* Prints the two closing lines, the figures by a printf format without a line end. Returns the exit code
 * of the program: 0 if nothing failed and something passed. */
int campaign_close(const char *name, uint64_t seed, uint64_t passed, uint64_t failed,
                   const char *figures, ...) __attribute__((format(printf, 5, 6)));

#endif
