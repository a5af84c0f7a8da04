/* explore - every order of steps in which views, memtables and grace periods can be published, read, retired
 * and freed (plays.c), as weave.h runs them: once sequentially consistent, once with the store buffers of x86.
 *
 *   explore [--seed N] [--budget COUNT|TIME] [--play TEXT] [--list]
 *
 * Without a budget: the small plays, all their orders. With one, which counts runs of the large plays or
 * is their time: those as well, as far as it goes. Nothing is drawn: the seed is only told. Closes with
 * `N passed, N failed`: a case is a play under one memory order. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "campaign.h"
#include "plays.h"

#define RUNS_A_SECOND 2000 /* about, to part a time among plays */

struct totals {
    uint64_t runs;
    uint64_t pruned;
    uint64_t steps;
    uint64_t depth_max;
    uint64_t large_runs;
    uint64_t passed;
    uint64_t failed;
    uint64_t complete;
};

/* A run that failed leaves everything behind as it was, so it is the last. */
static void explore(const struct play *play, enum weave_order order, uint64_t runs_max,
                    struct totals *totals)
{
    struct weave_result result;

    weave_explore(&play->play, order, runs_max, &result);
    printf("%-24s %s: %" PRIu64 " orders, %" PRIu64 " alike, %" PRIu64 " steps, depth %" PRIu64
           "%s\n",
           play->play.name, order == WEAVE_SC ? "sc " : "tso", result.runs, result.pruned,
           result.steps, result.depth_max, result.complete ? "" : ", not all");
    if (result.failed)
        printf("FAILED: %s: %s\n", play->play.name, result.what);
    fflush(stdout);
    totals->runs += result.runs;
    totals->pruned += result.pruned;
    totals->steps += result.steps;
    totals->large_runs += play->large ? result.runs + result.pruned : 0;
    if (result.depth_max > totals->depth_max)
        totals->depth_max = result.depth_max;
    totals->passed += !result.failed;
    totals->failed += result.failed;
    totals->complete += result.complete;
}

/* What is left of the budget for one large play: a fair part. 0: nothing. */
static uint64_t part_of(const struct budget *budget, const struct totals *totals, double began_s,
                        size_t plays_left)
{
    if (!budget_left(budget, totals->large_runs, began_s))
        return 0;
    double seconds_left = (double)budget->seconds - (campaign_now_s() - began_s);
    uint64_t runs = budget->count > 0 ? budget->count - totals->large_runs
                                      : (uint64_t)(seconds_left * RUNS_A_SECOND);
    return runs / plays_left > 0 ? runs / plays_left : 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'}, {"budget", 1, NULL, 'b'}, {"play", 1, NULL, 'p'},
        {"list", 0, NULL, 'l'}, {NULL, 0, NULL, 0},
    };
    struct budget budget = {0};
    struct totals totals = {0};
    const char *only = "";
    uint64_t seed = 1;
    int with_large = 0;
    int list = 0;
    int wrong = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': wrong |= seed_parse(optarg, &seed); break;
        case 'b':
            wrong |= budget_parse(optarg, &budget);
            with_large = 1;
            break;
        case 'p': only = optarg; break;
        case 'l': list = 1; break;
        default: wrong = 1;
        }
    }
    if (wrong) {
        fprintf(stderr, "usage: explore [--seed N] [--budget B] [--play TEXT] [--list]\n");
        return 2;
    }
    double began_s = campaign_now_s();
    plays_init();
    size_t cases = 0;
    for (size_t i = 0; i < play_count; i++)
        cases += plays[i].large ? 2 : 0;
    for (size_t i = 0; i < 2 * play_count && totals.failed == 0; i++) {
        const struct play *play = &plays[i / 2];
        uint64_t runs_max = 0;
        if (strstr(play->play.name, only) == NULL || (play->large && !with_large && !*only))
            continue;
        if (list) {
            printf("%s\n", play->play.name);
            continue;
        }
        if (play->large && with_large) {
            runs_max = part_of(&budget, &totals, began_s, cases--);
            if (runs_max == 0)
                continue;
        }
        explore(play, i % 2 == 0 ? WEAVE_SC : WEAVE_TSO, runs_max, &totals);
    }
    if (totals.failed == 0)
        plays_deinit();
    return list ? 0
                : campaign_close("explore", seed, totals.passed, totals.failed,
                                 "%" PRIu64 " orders of %" PRIu64 " plays, %" PRIu64
                                 " of them wholly, %" PRIu64 " runs alike, %" PRIu64
                                 " steps, depth %" PRIu64,
                                 totals.runs, totals.passed + totals.failed, totals.complete,
                                 totals.pruned, totals.steps, totals.depth_max);
}
