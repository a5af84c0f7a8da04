/* powercut - cuts the power at every moment of many short histories of the engine, and looks at what
 * is left. See run.h (the histories), examine.h (the images), drop_syncs.h (the check of the check).
 *
 *   powercut                          the kept cases, the campaign, the core, the dropped syncs
 *   powercut --seed N                 another seed (default 1)
 *   powercut --budget B               the campaign opens about B images (default 150000), seed after seed
 *                                     if there are not so many; or goes on with the next seeds for so
 *                                     long: 90s, 30m, 8h
 *   powercut --mode M                 always, everysec or no (default: all)
 *   powercut --length N               sequences of at most N actions (default 3)
 *   powercut --nested P               crash again within P percent of the recoveries (default 12)
 *   powercut --campaign               the campaign alone
 *   powercut --exhaustive             the core alone: all sequences of nine actions up to the length,
 *                                     each cut at every moment
 *   powercut --per-cut N              there, N images of a moment besides all lost, all kept and killed
 *                                     (default 2; 0: all there are)
 *   powercut --stop                   end at the first failure
 *   powercut --sync-mutation          the dropped syncs alone
 *   powercut --sequence A,B [--mode M] [--settle] [--drop-sync N] [--at CHAIN] [--verbose]
 *                                     one sequence, all its images or those of one chain
 *
 * The same arguments give the same run. Closes as campaign.h says; passed and failed are sequences, kept
 * cases, syncs that were taken out. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "campaign.h"
#include "drop_syncs.h"
#include "examine.h"
#include "plan.h"

#define FAILURES_SHOWN_MAX 10
#define IMAGES_DEFAULT 150000
#define PASS_IMAGES 250000 /* of a pass over all sequences; the next pass has the next seed */
#define SYNCS_PER_CLASS 4
#define ROT_PERCENT 6
#define REGRESS_FILE "tests/regress/powercut.txt"
#define LINE_BYTES 1024
#define ARGS_MAX 32

struct settings {
    uint64_t seed;
    struct budget budget;
    uint64_t drop_sync;
    unsigned nested_percent;
    unsigned length;
    int mode; /* -1: all */
    int stop;
    int campaign_only;
    int syncs_only;
    int core_only;
    uint64_t per_cut;
    int has_sequence;
    struct plan plan; /* of --sequence */
    int has_chain;
    struct chain chain;
};

/* What was done. */
struct tally {
    uint64_t passed;
    uint64_t failed;
    struct examiner *examiner; /* of the campaign and the core */
    struct drop_result syncs;
};

/* ---- where we are, should the program die ---- */

static char place[512];

static void place_set(const struct plan *plan)
{
    char sequence[SEQUENCE_TEXT_BYTES];

    sequence_format(plan, sequence, sizeof(sequence));
    snprintf(place, sizeof(place), "--seed %" PRIu64 " --mode %s --sequence %s%s", plan->seed,
             mode_name(plan->mode), sequence, plan->settle ? " --settle" : "");
}

static void tell_place(void)
{
    static const char text[] = "died in: powercut ";

    (void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
    (void)!write(STDOUT_FILENO, place, strlen(place));
    (void)!write(STDOUT_FILENO, "\n", 1);
}

static void on_abort(int number)
{
    tell_place();
    signal(number, SIG_DFL);
    raise(number);
}

/* Of the sanitizers, if they are there. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void watch_for_death(void)
{
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(tell_place);
    else
        signal(SIGSEGV, on_abort);
}

/* ---- one sequence ---- */

static void tell_failure(const struct run *run, const struct examiner *examiner)
{
    const struct chain *chain = examiner_chain(examiner);
    char text[256];

    if (run_failed(run)) {
        printf("FAILED: %s\n  again: powercut %s --verbose\n", run->why, place);
        return;
    }
    chain_format(chain, text, sizeof(text));
    printf("FAILED: %s\n", examiner_why(examiner));
    if (chain->count > 0 && chain->trials[0].upto > 0) {
        struct sim_event event = sim_event_at(run->sim, chain->trials[0].upto - 1);
        printf("  crash %s, after event %" PRIu64 ", kind %d of %s at %" PRIu64 ", %" PRIu64
               " bytes\n",
               text, chain->trials[0].upto - 1, (int)event.kind, event.path, event.offset,
               event.len);
    }
    printf("  again: powercut %s --at %s --verbose\n", place, text);
}

/* Runs a plan and its images. 0: all as promised. */
static int play(struct examiner *examiner, const struct plan *plan, struct trial_limit limit,
                const struct chain *chain, uint64_t drop_sync)
{
    struct run run;
    int rc = -1;

    place_set(plan);
    run_begin(&run, plan);
    examiner_new_run(examiner, &run);
    if (!run_failed(&run)) {
        sim_drop_nth_sync(run.sim, drop_sync);
        rc = chain != NULL ? examine_chain(examiner, &run, chain)
                           : examine_run(examiner, &run, run.cut_from, limit);
    }
    if (rc != 0)
        tell_failure(&run, examiner);
    run_end(&run);
    return rc;
}

/* ---- the campaign ---- */

static void tell_figures(const struct figures *figures)
{
    printf("%" PRIu64 " images at %" PRIu64 " moments, %" PRIu64 " opened, %" PRIu64
           " distinct, %" PRIu64 " nested, %" PRIu64 " damaged (%" PRIu64
           " refused), at most %" PRIu64 " states allowed at a moment\n",
           figures->images, figures->cuts, figures->opened, figures->distinct, figures->nested,
           figures->damaged, figures->refused, figures->span_max);
}

static void progress(const struct examiner *examiner, size_t done, size_t all)
{
    if (isatty(STDERR_FILENO) && (done % 16 == 0 || done == all))
        fprintf(stderr, "\r\033[K%s%zu of %zu sequences, %" PRIu64 " images%s", "", done, all,
                examiner_figures(examiner)->opened, done == all ? "\n" : "");
}

/* What is left for one pass over all sequences is shared by those that are left. The empty one, which is
 * how all begin, has no limit. */
static uint64_t share(uint64_t images, const struct plan *plan, uint64_t opened,
                      size_t sequences_left)
{
    if (plan->count == 0)
        return 0;
    uint64_t left = images > opened ? images - opened : 0;
    return 1 + 2 * left / sequences_left; /* many images of a sequence have the same bytes */
}

/* Sequences of the core, each cut at every moment. */
static void exhaust(const struct settings *settings, struct tally *tally)
{
    struct trial_limit limit = {.per_cut = settings->per_cut};
    struct plan_list list;
    uint64_t failed = tally->failed;

    plan_list_make(&list, settings->seed, settings->length, settings->length, settings->mode, 1);
    for (size_t i = 0; i < list.count && tally->failed - failed < FAILURES_SHOWN_MAX; i++) {
        int rc = play(tally->examiner, &list.items[i], limit, NULL, 0);
        tally->passed += rc == 0;
        tally->failed += rc != 0;
        progress(tally->examiner, i + 1, list.count);
        if (rc != 0 && settings->stop)
            break;
    }
    printf("core: %zu sequences of %u of 9 actions, cut at every moment, %" PRIu64
           " sampled images each\n",
           list.count, settings->length, settings->per_cut);
    plan_list_free(&list);
}

struct pass {
    uint64_t seed;
    uint64_t images; /* to be opened, about */
    double began_s;  /* of the campaign */
};

/* Over all sequences, with one seed. Returns 1 if the campaign is to end. */
static int campaign_pass(const struct settings *settings, struct tally *tally,
                         const struct pass *pass)
{
    struct plan_list list;
    uint64_t before = examiner_figures(tally->examiner)->opened;
    int stop = 0;

    plan_list_make(&list, pass->seed, 0, settings->length, settings->mode, 0);
    for (size_t i = 0; i < list.count && !stop; i++) {
        uint64_t opened = examiner_figures(tally->examiner)->opened - before;
        struct trial_limit limit = {
            .images = share(pass->images, &list.items[i], opened, list.count - i)};
        int rc = play(tally->examiner, &list.items[i], limit, NULL, 0);
        tally->passed += rc == 0;
        tally->failed += rc != 0;
        stop = (rc != 0 && settings->stop) || tally->failed == FAILURES_SHOWN_MAX ||
               (settings->budget.seconds != 0 && !budget_left(&settings->budget, 0, pass->began_s));
        progress(tally->examiner, i + 1, list.count);
    }
    plan_list_free(&list);
    return stop;
}

static void campaign(const struct settings *settings, struct tally *tally)
{
    const struct budget *budget = &settings->budget;
    struct pass pass = {.seed = settings->seed, .images = PASS_IMAGES, .began_s = campaign_now_s()};
    uint64_t passes = (budget->count + PASS_IMAGES - 1) / PASS_IMAGES;
    uint64_t done = 0;
    int stop = 0;

    if (passes > 0)
        pass.images = budget->count / passes;
    while (!stop && (passes == 0 || done < passes)) {
        stop = campaign_pass(settings, tally, &pass);
        pass.seed++;
        done++;
    }
    printf("campaign: seeds %" PRIu64 " to %" PRIu64 "\n", settings->seed,
           settings->seed + done - 1);
}

static void dropped_syncs(const struct settings *settings, struct tally *tally)
{
    struct drop_result result = drop_syncs(settings->seed, SYNCS_PER_CLASS);

    tally->syncs = result;
    printf("syncs: %u taken out, %u noticed; %u more cover nothing, %u were followed by another in "
           "time\n",
           result.dropped, result.noticed, result.idle, result.relieved);
    tally->passed += result.noticed;
    tally->failed += result.dropped - result.noticed;
    tally->failed += result.dropped == 0;
}

static void one_sequence(const struct settings *settings, struct tally *tally)
{
    struct examiner *examiner = examiner_create(settings->seed, settings->nested_percent,
                                                ROT_PERCENT);
    struct plan plan = settings->plan;

    plan.seed = settings->seed;
    for (int mode = 0; mode < 3; mode++) {
        plan.mode = (enum varve_durability)mode;
        if (settings->mode >= 0 && mode != settings->mode)
            continue;
        int rc = play(examiner, &plan, (struct trial_limit){0},
                      settings->has_chain ? &settings->chain : NULL, settings->drop_sync);
        tally->passed += rc == 0;
        tally->failed += rc != 0;
    }
    tell_figures(examiner_figures(examiner));
    examiner_destroy(examiner);
}

/* ---- arguments ---- */

static void usage(void)
{
    fprintf(stderr, "usage: powercut [--seed N] [--budget COUNT|TIME] [--mode M] [--length N]"
                    " [--nested P] [--campaign] [--exhaustive] [--per-cut N] [--stop]"
                    " [--sync-mutation]\n"
                    "       powercut --sequence A,B,... [--mode M] [--settle] [--drop-sync N]"
                    " [--at CHAIN] [--verbose]\n");
}

static int parse_one(struct settings *settings, int option, const char *value)
{
    switch (option) {
    case 's': return seed_parse(value, &settings->seed);
    case 'b': return budget_parse(value, &settings->budget);
    case 'n': settings->nested_percent = (unsigned)strtoul(value, NULL, 10); return 0;
    case 'l':
        settings->length = (unsigned)strtoul(value, NULL, 10);
        return settings->length <= 4 ? 0 : -1; /* longer ones by --sequence */
    case 'd': settings->drop_sync = strtoull(value, NULL, 10); return 0;
    case 'S': settings->stop = 1; return 0;
    case 'c': settings->campaign_only = 1; return 0;
    case 'y': settings->syncs_only = 1; return 0;
    case 'x': settings->core_only = 1; return 0;
    case 'p': settings->per_cut = strtoull(value, NULL, 10); return 0;
    case 'e': settings->plan.settle = 1; return 0;
    case 'v': settings->plan.verbose = 1; return 0;
    case 'm': settings->mode = mode_parse(value); return settings->mode >= 0 ? 0 : -1;
    case 'q': settings->has_sequence = 1; return sequence_parse(value, &settings->plan);
    case 'a': settings->has_chain = 1; return chain_parse(value, &settings->chain);
    default: return -1;
    }
}

static int parse(struct settings *settings, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'},     {"budget", 1, NULL, 'b'},        {"nested", 1, NULL, 'n'},
        {"length", 1, NULL, 'l'},   {"drop-sync", 1, NULL, 'd'},     {"stop", 0, NULL, 'S'},
        {"campaign", 0, NULL, 'c'}, {"sync-mutation", 0, NULL, 'y'}, {"settle", 0, NULL, 'e'},
        {"verbose", 0, NULL, 'v'},  {"mode", 1, NULL, 'm'},          {"sequence", 1, NULL, 'q'},
        {"at", 1, NULL, 'a'},       {"exhaustive", 0, NULL, 'x'},    {"per-cut", 1, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    int option;
    int rc = 0;

    *settings = (struct settings){.seed = 1,
                                  .budget = {.count = IMAGES_DEFAULT},
                                  .per_cut = 2,
                                  .nested_percent = 12,
                                  .length = 3,
                                  .mode = -1};
    optind = 0; /* this is called again, for the kept cases */
    while (rc == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
        rc = parse_one(settings, option, optarg);
    return rc == 0 && optind >= argc ? 0 : -1;
}

/* ---- cases that failed once ---- */

static int kept_case(char *line, struct tally *tally)
{
    char *argv[ARGS_MAX] = {line};
    struct settings settings;
    int argc = 1;
    char *rest;

    line[strcspn(line, "#\n")] = '\0';
    for (char *word = strtok_r(line, " ", &rest); word != NULL && argc < ARGS_MAX;
         word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    if (argc == 1)
        return 0;
    printf("kept case:");
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    printf(": ");
    if (parse(&settings, argc, argv) != 0 || !settings.has_sequence)
        return -1;
    one_sequence(&settings, tally);
    return 0;
}

static int kept_cases(struct tally *tally)
{
    const char *root = getenv("VARVE_ROOT");
    char path[512];
    char line[LINE_BYTES];
    int rc = 0;

    snprintf(path, sizeof(path), "%s/%s", root == NULL ? "." : root, REGRESS_FILE);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return fprintf(stderr, "powercut: no %s (VARVE_ROOT is not the clone?)\n", path), -1;
    for (int number = 1; rc == 0 && fgets(line, sizeof(line), file) != NULL; number++) {
        rc = kept_case(line, tally);
        if (rc != 0)
            fprintf(stderr, "powercut: %s:%d does not read as arguments\n", path, number);
    }
    fclose(file);
    return rc;
}

static int close_run(const struct settings *settings, const struct tally *tally)
{
    const struct figures *figures = examiner_figures(tally->examiner);
    const struct drop_result *syncs = &tally->syncs;

    if (settings->has_sequence)
        return campaign_close("powercut", settings->seed, tally->passed, tally->failed,
                              "one sequence");
    if (settings->syncs_only)
        return campaign_close("powercut", settings->seed, tally->passed, tally->failed,
                              "%u of %u dropped syncs noticed", syncs->noticed, syncs->dropped);
    return campaign_close(
        "powercut", settings->seed, tally->passed, tally->failed,
        "%" PRIu64 " images opened, %" PRIu64 " distinct, %" PRIu64 " nested, %" PRIu64
        " damaged (%" PRIu64 " refused), at most %" PRIu64
        " states allowed at a moment; %u of %u dropped syncs noticed; digest %016" PRIx64,
        figures->opened, figures->distinct, figures->nested, figures->damaged, figures->refused,
        figures->span_max, syncs->noticed, syncs->dropped, figures->digest);
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct tally tally = {0};

    if (parse(&settings, argc, argv) != 0) {
        usage();
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    watch_for_death();
    tally.examiner = examiner_create(settings.seed, settings.nested_percent, ROT_PERCENT);
    if (settings.has_sequence) {
        one_sequence(&settings, &tally);
    } else if (settings.syncs_only) {
        dropped_syncs(&settings, &tally);
    } else if (settings.core_only) {
        exhaust(&settings, &tally);
    } else {
        if (!settings.campaign_only && kept_cases(&tally) != 0)
            return 2;
        campaign(&settings, &tally);
        if (!settings.campaign_only && !(settings.stop && tally.failed > 0)) {
            exhaust(&settings, &tally);
            dropped_syncs(&settings, &tally);
        }
    }
    int rc = close_run(&settings, &tally);
    examiner_destroy(tally.examiner);
    return rc;
}
