#include "points.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "campaign.h"

#define FINDINGS_MAX 20 /* more of the same tells nothing */
#define NAME_BYTES 160

struct settings {
    uint64_t seed;
    struct budget budget; /* neither: all points, once */
    const char *only;     /* NULL: all classes */
    uint64_t nth;         /* 0: all */
};

/* Of the classes of one kind. */
struct kind {
    const char *name;
    uint64_t done;
    uint64_t wrong;
    uint64_t all;
};

struct work {
    const struct points_campaign *campaign;
    struct settings settings;
    double began_s;
    struct kind *kinds;
    size_t kind_count;
    uint64_t all; /* points of a seed */
    uint64_t done;
    uint64_t wrong; /* points with findings */
    uint64_t images;
    uint64_t digest;
};

static const char *mode_name(enum varve_durability mode)
{
    switch (mode) {
    case VARVE_ALWAYS: return "always";
    case VARVE_EVERYSEC: return "everysec";
    case VARVE_NO: return "no";
    }
    return "unknown";
}

static void class_name(const struct fault_class *fault_class, char text[NAME_BYTES])
{
    snprintf(text, NAME_BYTES, "%s/%s/%s", fault_class->script, mode_name(fault_class->durability),
             fault_class->kind);
}

static int is_chosen(const struct work *work, const struct fault_class *fault_class)
{
    char name[NAME_BYTES];

    class_name(fault_class, name);
    return work->settings.only == NULL || strstr(name, work->settings.only) != NULL;
}

static struct kind *kind_of(struct work *work, const struct fault_class *fault_class)
{
    for (size_t i = work->kind_count; i > 0; i--)
        if (strcmp(work->kinds[i - 1].name, fault_class->kind) == 0)
            return &work->kinds[i - 1];
    work->kinds[work->kind_count].name = fault_class->kind;
    return &work->kinds[work->kind_count++];
}

/* A class has the same run for all its points, so that all of those that were counted are reached. */
static uint64_t seed_of(const struct work *work, const struct fault_class *fault_class,
                        uint64_t seed)
{
    return seed * 1000 + (uint64_t)(fault_class - work->campaign->classes);
}

static void count_points(struct work *work, uint64_t seed)
{
    work->all = 0;
    for (size_t i = 0; i < work->campaign->count; i++) {
        struct fault_class *fault_class = &work->campaign->classes[i];
        struct point point = {.nth = POINTS_NONE, .seed = seed_of(work, fault_class, seed)};
        fault_class->points = 0;
        if (!is_chosen(work, fault_class))
            continue;
        work->campaign->run(fault_class, &point);
        fault_class->points = point.calls;
        kind_of(work, fault_class)->all += point.calls;
        work->all += point.calls;
    }
}

static void run_point(struct work *work, const struct fault_class *fault_class, uint64_t nth,
                      uint64_t seed)
{
    struct point point = {.nth = nth, .seed = seed_of(work, fault_class, seed)};
    struct kind *kind = kind_of(work, fault_class);
    char name[NAME_BYTES];

    work->campaign->run(fault_class, &point);
    if (!point.reached)
        printf("WRONG: point %" PRIu64 " was counted, but is not reached\n", nth);
    int wrong = point.wrong > 0 || !point.reached;
    kind->done++;
    kind->wrong += (uint64_t)wrong;
    work->done++;
    work->wrong += (uint64_t)wrong;
    work->images += point.images;
    work->digest = digest_add(digest_add(work->digest, point.digest), (uint64_t)point.wrong);
    if (!wrong)
        return;
    class_name(fault_class, name);
    printf("FAILED: %s, point %" PRIu64 "\n  again: %s --seed %" PRIu64
           " --only '%s' --nth %" PRIu64 "\n",
           name, nth, work->campaign->name, seed, name, nth);
}

/* The point `place` of all, counted through the classes. */
static void run_place(struct work *work, uint64_t place, uint64_t seed)
{
    const struct fault_class *fault_class = work->campaign->classes;

    while (place >= fault_class->points)
        place -= fault_class++->points;
    run_point(work, fault_class, place + 1, seed);
}

static int goes_on(const struct work *work)
{
    const struct budget *budget = &work->settings.budget;

    if (work->wrong >= FINDINGS_MAX)
        return 0;
    return (budget->count == 0 && budget->seconds == 0) ||
           budget_left(budget, work->done, work->began_s);
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* All points of a seed in steps of the golden section: wherever this ends, it came by all classes. */
static void run_seed(struct work *work, uint64_t seed)
{
    count_points(work, seed);
    if (work->all == 0)
        return;
    uint64_t step = (uint64_t)((double)work->all * 0.6180339887) | 1;
    while (common_divisor(step, work->all) != 1)
        step++;
    for (uint64_t i = 0; i < work->all && goes_on(work); i++)
        run_place(work, (seed + i * step) % work->all, seed);
}

static void run_alone(struct work *work)
{
    for (size_t i = 0; i < work->campaign->count; i++)
        if (is_chosen(work, &work->campaign->classes[i]))
            run_point(work, &work->campaign->classes[i], work->settings.nth, work->settings.seed);
}

static int parse(struct settings *settings, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'}, {"budget", 1, NULL, 'b'}, {"only", 1, NULL, 'o'},
        {"nth", 1, NULL, 'n'},  {NULL, 0, NULL, 0},
    };
    int option;
    int rc = 0;

    while (rc == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': rc = seed_parse(optarg, &settings->seed); break;
        case 'b': rc = budget_parse(optarg, &settings->budget); break;
        case 'o': settings->only = optarg; break;
        case 'n': rc = seed_parse(optarg, &settings->nth); break;
        default: rc = -1; break;
        }
    }
    return rc == 0 && optind >= argc ? 0 : -1;
}

static int tell(const struct work *work, uint64_t seeds)
{
    uint64_t all = 0;

    for (size_t i = 0; i < work->kind_count; i++) {
        const struct kind *kind = &work->kinds[i];
        printf("%-46s %7" PRIu64 " of %7" PRIu64 " points, %" PRIu64 " with findings\n", kind->name,
               kind->done, kind->all, kind->wrong);
        all += kind->all;
    }
    return campaign_close(
        work->campaign->name, work->settings.seed, work->done - work->wrong, work->wrong,
        "%" PRIu64 " fault points of %" PRIu64 " (%" PRIu64 " seeds, %zu kinds), "
        "%" PRIu64 " with findings, %" PRIu64 " crash images; digest %016" PRIx64,
        work->done, all, seeds, work->kind_count, work->wrong, work->images, work->digest);
}

int points_main(const struct points_campaign *campaign, int argc, char **argv)
{
    struct work work = {
        .campaign = campaign,
        .settings = {.seed = 1, .budget = {.count = campaign->budget_default}},
        .began_s = campaign_now_s(),
        .kinds = calloc(campaign->count, sizeof(struct kind)),
        .digest = DIGEST_BEGIN,
    };
    uint64_t seeds = 0;

    CHECK(work.kinds != NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (parse(&work.settings, argc, argv) != 0) {
        fprintf(stderr, "usage: %s [--seed N] [--budget COUNT|TIME] [--only TEXT] [--nth N]\n",
                campaign->name);
        free(work.kinds);
        return 2;
    }
    const struct budget *budget = &work.settings.budget;
    if (work.settings.nth != 0)
        run_alone(&work);
    else
        do
            run_seed(&work, work.settings.seed + seeds++);
        while (work.all > 0 && budget->count + budget->seconds > 0 && goes_on(&work));
    int rc = tell(&work, seeds);
    free(work.kinds);
    return rc;
}
