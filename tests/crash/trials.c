/* Which images a moment is worth. */
#include "trials.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#define SUBSET_UNITS_MAX 5 /* up to here all subsets are tried */
#define EACH_UNIT_MAX 8    /* single units that are lost or kept alone, a cut */

static void trial_add(struct trial_list *list, uint64_t upto, enum sim_policy policy, uint64_t seed)
{
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 1024 : 2 * list->cap;
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
        CHECK(list->items != NULL);
    }
    list->items[list->count++] = (struct trial){.upto = upto, .policy = policy, .seed = seed};
}

static void add_each_unit(struct trial_list *list, uint64_t upto, uint64_t units, struct rng *rng)
{
    uint64_t tries = units < EACH_UNIT_MAX ? units : EACH_UNIT_MAX;

    for (uint64_t i = 0; i < tries; i++) {
        uint64_t unit = units == tries ? i : rng_below(rng, units);
        trial_add(list, upto, SIM_ONE_MISSING, unit);
        trial_add(list, upto, SIM_ONE_KEPT, unit);
        if (i % 2 != 0)
            continue;
        trial_add(list, upto, SIM_PREFIX, unit);
        trial_add(list, upto, SIM_SUFFIX, unit);
        trial_add(list, upto, SIM_ONE_FILE_LOST, unit);
        trial_add(list, upto, SIM_ONE_FILE_KEPT, unit);
        trial_add(list, upto, SIM_RANDOM, rng_below(rng, 1000));
    }
}

/* The images of one moment. The first three say most: what was promised must survive losing all,
 * and a dead process loses nothing. */
static void add_trials(struct trial_list *list, struct sim_env *sim, uint64_t upto, int telling,
                       struct rng *rng)
{
    uint64_t units = sim_unit_count(sim, upto);

    if (telling) {
        trial_add(list, upto, SIM_ALL_LOST, 0);
        trial_add(list, upto, SIM_KILL, 0);
        if (units > 0)
            trial_add(list, upto, SIM_ALL_KEPT, 0);
        return;
    }
    if (units == 0)
        return;
    trial_add(list, upto, SIM_ONLY_SIZES, 0);
    trial_add(list, upto, SIM_ONLY_DATA, 0);
    trial_add(list, upto, SIM_ONLY_NAMES, 0);
    trial_add(list, upto, SIM_NO_NAMES, 0);
    trial_add(list, upto, SIM_GARBAGE, rng_below(rng, 1000));
    if (units > SUBSET_UNITS_MAX)
        add_each_unit(list, upto, units, rng);
    else
        for (uint64_t bits = 1; bits + 1 < (uint64_t)1 << units; bits++)
            trial_add(list, upto, SIM_SUBSET, bits);
}

static int by_moment(const void *a, const void *b)
{
    const struct trial *left = a;
    const struct trial *right = b;

    if (left->upto != right->upto)
        return left->upto > right->upto ? 1 : -1;
    if (left->policy != right->policy)
        return left->policy > right->policy ? 1 : -1;
    return (left->seed > right->seed) - (left->seed < right->seed);
}

/* Keeps `limit` of them: of those from `first` on a random choice, of the others a prefix. */
static void trials_thin(struct trial_list *list, size_t first, uint64_t limit, struct rng *rng)
{
    for (size_t i = first; i < list->count && i < limit; i++) {
        size_t other = i + rng_below(rng, list->count - i);
        struct trial taken = list->items[i];
        list->items[i] = list->items[other];
        list->items[other] = taken;
    }
    if (list->count > limit)
        list->count = limit;
}

void trials_choose(struct trial_list *list, struct sim_env *sim, uint64_t from,
                   struct trial_limit limit, struct rng *rng)
{
    uint64_t events = sim_event_count(sim);
    size_t telling = 0;

    *list = (struct trial_list){0};
    for (int pass = 1; pass >= 0; pass--) {
        for (uint64_t upto = from + 1; upto <= events; upto++) {
            size_t before = list->count;
            add_trials(list, sim, upto, pass, rng);
            if (pass == 0 && limit.per_cut != 0)
                trials_thin(list, before, before + limit.per_cut, rng);
        }
        if (pass == 1)
            telling = list->count;
    }
    if (limit.images != 0)
        trials_thin(list, telling < limit.images ? telling : 0, limit.images, rng);
    if (list->count > 0)
        qsort(list->items, list->count, sizeof(*list->items), by_moment);
}

void trials_free(struct trial_list *list)
{
    mem_free(list->items);
    *list = (struct trial_list){0};
}

enum sim_policy trial_draw_policy(struct rng *rng)
{
    static const enum sim_policy policies[] = {
        SIM_ALL_LOST,    SIM_ALL_KEPT,   SIM_RANDOM,        SIM_RANDOM,        SIM_RANDOM,
        SIM_ONE_MISSING, SIM_ONE_KEPT,   SIM_ONE_FILE_LOST, SIM_ONE_FILE_KEPT, SIM_PREFIX,
        SIM_SUFFIX,      SIM_ONLY_NAMES, SIM_GARBAGE,       SIM_KILL};

    return policies[rng_below(rng, COUNT_OF(policies))];
}

/* ---- chains as text ---- */

void chain_format(const struct chain *chain, char *text, size_t cap)
{
    size_t len = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < chain->count && len < cap; i++) {
        const struct trial *trial = &chain->trials[i];
        len += (size_t)snprintf(text + len, cap - len, "%s%" PRIu64 "/%s/%" PRIu64,
                                i == 0 ? "" : ",", trial->upto, sim_policy_name(trial->policy),
                                trial->seed);
        if (trial->rot != 0 && len < cap)
            len += (size_t)snprintf(text + len, cap - len, "/%" PRIu64, trial->rot);
    }
}

int chain_parse(const char *text, struct chain *chain)
{
    char name[32];
    int used;

    for (chain->count = 0; chain->count < CHAIN_MAX; text++) {
        struct trial *trial = &chain->trials[chain->count++];
        if (sscanf(text, "%" SCNu64 "/%31[a-z-]/%" SCNu64 "%n", &trial->upto, name, &trial->seed,
                   &used) != 3)
            return -1;
        int policy = 0;
        while (policy < SIM_POLICY_COUNT &&
               strcmp(sim_policy_name((enum sim_policy)policy), name) != 0)
            policy++;
        if (policy == SIM_POLICY_COUNT)
            return -1;
        trial->policy = (enum sim_policy)policy;
        text += used;
        trial->rot = 0;
        if (sscanf(text, "/%" SCNu64 "%n", &trial->rot, &used) == 1)
            text += used;
        if (*text != ',')
            return *text == '\0' ? 0 : -1;
    }
    return -1;
}
