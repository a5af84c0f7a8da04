/* model - random operations on the engine and on an oracle, step by step on one thread: what is read must
 * be what the oracle says, now, in snapshots and in iterators that are held over flushes, compactions and
 * changes of the clock; after a reopen or a crash the state is one that was promised. See model.h.
 *
 *   model                         the kept seeds, then 5 million operations (--budget)
 *   model --seed N                begin with episode N (default 1): each seed is an episode
 *   model --budget B              until B operations were done, or for so long: 90s, 30m, 8h
 *   model --episodes N            or N episodes
 *   model --config C              of one episode: configuration 0 or 1
 *   model --stop-at N [--verbose] end the episode after step N; tell its last steps
 *   model --no-regress            without the kept seeds
 *
 * Every fourth seed is run under two configurations, which must give the same answers. The same arguments
 * are the same run, byte for byte: the digest is of all answers and of all that was done to the disk. Ends at
 * the first failure, with what shows it again. Closes as campaign.h says; passed are episodes. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "campaign.h"
#include "model.h"

#define OPERATIONS_DEFAULT 5000000
#define REGRESS_FILE "tests/regress/model.txt"
#define LAST_STEPS 40
#define TWIN_EVERY 4
#define TRACE_EVENTS_MAX 20000

struct settings {
    uint64_t seed;
    struct budget budget;
    uint64_t episodes; /* 0: as the budget says */
    uint64_t stop_at;
    int config; /* -1: as the seed says */
    int verbose;
    int no_regress;
};

static uint64_t passed; /* episodes */
static const struct model *present;

/* ---- telling ---- */

static void tell_place(void)
{
    if (present != NULL)
        printf("  again: model --no-regress --episodes 1 --seed %" PRIu64
               " --config %u --stop-at %" PRIu64 " --verbose\n",
               present->plan.seed, present->plan.config, present->step);
}

void model_fail(const struct model *model, const char *fmt, ...)
{
    va_list args;

    printf("FAILED: seed %" PRIu64 ", configuration %u, step %" PRIu64 " of %" PRIu64 ": ",
           model->plan.seed, model->plan.config, model->step, model->steps);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    tell_place();
    printf("%" PRIu64 " passed, 1 failed\n", passed);
    fflush(stdout);
    _exit(1); /* without a look at what is left in memory */
}

void model_tell(const struct model *model, const char *fmt, ...)
{
    va_list args;

    if (!model->plan.verbose ||
        (model->plan.stop_at != 0 && model->step + LAST_STEPS < model->plan.stop_at))
        return;
    printf("  %" PRIu64 ": ", model->step);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}

static void on_abort(int number)
{
    tell_place();
    fflush(stdout);
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

/* ---- steps ---- */

static void step_time(struct model *model)
{
    uint64_t draw = rng_below(&model->ops, 64);
    uint64_t real_ms = sim_as_env(model->sim)->ops->now_real_ms(sim_as_env(model->sim));

    if (draw == 0)
        sim_clock_set_real_ms(model->sim, real_ms - rng_below(&model->ops, 7200000));
    else if (draw == 1)
        sim_clock_set_real_ms(model->sim, real_ms + rng_below(&model->ops, 3600000));
    else if (draw == 2)
        sim_clock_set_real_ms(model->sim, model->clock_ms);
    model_tell(model, "time, %" PRIu64, draw);
    model_advance(model, draw < 16 ? 1100000 : rng_below(&model->ops, 100000));
}

static void step_flush(struct model *model, int compact)
{
    struct varve_err err = {0};

    model_tell(model, compact ? "compact" : "flush");
    int rc = compact ? varve_compact(model->db, &err) : varve_flush(model->db, &err);
    if (rc != 0)
        model_fail(model, "%s: %s", compact ? "compact" : "flush", err.text);
    model->figures->flushes += !compact;
    model->figures->compactions += compact != 0;
}

static void step_delay(struct model *model)
{
    enum varve_stall_cause cause = VARVE_STALL_CAUSE_COUNT;
    uint64_t delay_us = varve_write_delay_us(model->db, &cause);

    if (cause >= VARVE_STALL_CAUSE_COUNT || varve_stall_name(cause)[0] == '\0' ||
        delay_us > 1000000)
        model_fail(model, "a delay of %" PRIu64 " us for cause %d", delay_us, (int)cause);
}

static void step_prefetch(struct model *model)
{
    struct varve_slice keys[VARVE_PREFETCH_MAX + 2];

    for (size_t i = 0; i < COUNT_OF(keys); i++)
        keys[i] = model->oracle.keys[model_draw_key(model)];
    varve_prefetch(model->db, VARVE_TO_READ, keys, COUNT_OF(keys));
}

enum step_kind {
    STEP_PUT,
    STEP_DELETE,
    STEP_RANGE,
    STEP_BATCH,
    STEP_GROUP,
    STEP_GROUP_FAILS,
    STEP_GET,
    STEP_GET_SNAPSHOT,
    STEP_GET_BLOCKED,
    STEP_GET_INSIDE,
    STEP_ITER_OPEN,
    STEP_ITER_MOVE,
    STEP_ITER_CLOSE,
    STEP_SNAPSHOT,
    STEP_SNAPSHOT_DROP,
    STEP_PIN_RELEASE,
    STEP_COUNT,
    STEP_TIME,
    STEP_DELAY,
    STEP_PREFETCH,
    STEP_DURABILITY,
    STEP_FLUSH,
    STEP_COMPACT,
    STEP_REOPEN,
    STEP_CRASH,
    STEP_COMPARE,
    STEP_KIND_COUNT
};

/* Of 10,000 steps about so many. */
static const uint16_t weights[STEP_KIND_COUNT] = {
    [STEP_PUT] = 3000,        [STEP_DELETE] = 500,       [STEP_RANGE] = 60,
    [STEP_BATCH] = 400,       [STEP_GROUP] = 150,        [STEP_GROUP_FAILS] = 4,
    [STEP_GET] = 2400,        [STEP_GET_SNAPSHOT] = 500, [STEP_GET_BLOCKED] = 400,
    [STEP_GET_INSIDE] = 100,  [STEP_ITER_OPEN] = 100,    [STEP_ITER_MOVE] = 1300,
    [STEP_ITER_CLOSE] = 60,   [STEP_SNAPSHOT] = 60,      [STEP_SNAPSHOT_DROP] = 40,
    [STEP_PIN_RELEASE] = 200, [STEP_COUNT] = 100,        [STEP_TIME] = 200,
    [STEP_DELAY] = 50,        [STEP_PREFETCH] = 20,      [STEP_DURABILITY] = 4,
    [STEP_FLUSH] = 6,         [STEP_COMPACT] = 2,        [STEP_REOPEN] = 2,
    [STEP_CRASH] = 2,         [STEP_COMPARE] = 2,
};

static enum step_kind draw_step(struct model *model)
{
    uint64_t all = 0;

    for (int i = 0; i < STEP_KIND_COUNT; i++)
        all += weights[i];
    uint64_t draw = rng_below(&model->ops, all);
    int kind = 0;
    while (draw >= weights[kind])
        draw -= weights[kind++];
    return (enum step_kind)kind;
}

static void run_step(struct model *model)
{
    switch (draw_step(model)) {
    case STEP_PUT: model_put(model); break;
    case STEP_DELETE: model_delete(model); break;
    case STEP_RANGE: model_delete_range(model); break;
    case STEP_BATCH: model_batch(model); break;
    case STEP_GROUP: model_group(model, 0); break;
    case STEP_GROUP_FAILS: model_group(model, 1); break;
    case STEP_GET: model_get(model); break;
    case STEP_GET_SNAPSHOT: model_get_snapshot(model); break;
    case STEP_GET_BLOCKED: model_get_blocked(model); break;
    case STEP_GET_INSIDE: model_get_inside(model); break;
    case STEP_ITER_OPEN: model_iter_open(model); break;
    case STEP_ITER_MOVE: model_iter_move(model); break;
    case STEP_ITER_CLOSE: model_iter_close(&model->iters[rng_below(&model->ops, ITERS_MAX)]); break;
    case STEP_SNAPSHOT: model_snapshot_take(model); break;
    case STEP_SNAPSHOT_DROP:
        model_snapshot_drop(model, &model->snapshots[rng_below(&model->ops, SNAPSHOTS_MAX)]);
        break;
    case STEP_PIN_RELEASE:
        model_pin_release(model, &model->pins[rng_below(&model->ops, PINS_MAX)]);
        break;
    case STEP_COUNT: model_count(model); break;
    case STEP_TIME: step_time(model); break;
    case STEP_DELAY: step_delay(model); break;
    case STEP_PREFETCH: step_prefetch(model); break;
    case STEP_DURABILITY:
        varve_set_durability(model->db, (enum varve_durability)rng_below(&model->ops, 3));
        break;
    case STEP_FLUSH: step_flush(model, 0); break;
    case STEP_COMPACT: step_flush(model, 1); break;
    case STEP_REOPEN: model_reopen(model); break;
    case STEP_CRASH: model_crash(model); break;
    case STEP_COMPARE: model_compare(model); break;
    case STEP_KIND_COUNT: break;
    }
    if (rng_below(&model->jobs, 64) < (uint64_t)model->jobs_chance)
        model_run_jobs(model, 1 + rng_below(&model->jobs, 3));
    if (sim_event_count(model->sim) > TRACE_EVENTS_MAX)
        sim_trace_forget(model->sim);
}

/* ---- episodes ---- */

static uint64_t run_episode(const struct plan *plan, struct figures *figures)
{
    static struct model model;

    present = &model;
    model_begin(&model, plan, figures);
    while (model.step < model.steps && (plan->stop_at == 0 || model.step < plan->stop_at)) {
        model.step++;
        run_step(&model);
        model_tell(&model, "answers %016" PRIx64 ", time %" PRIu64, model.answers, model.clock_ms);
    }
    model_compare(&model);
    uint64_t answers = model.answers;
    model_end(&model);
    if (plan->twin)
        return answers;
    return model.answers;
}

static uint64_t run_seed(const struct settings *settings, uint64_t seed, struct figures *figures)
{
    struct plan plan = {.seed = seed,
                        .twin = seed % TWIN_EVERY == 0,
                        .stop_at = settings->stop_at,
                        .verbose = settings->verbose};

    if (settings->config >= 0) {
        plan.config = (unsigned)settings->config;
        return run_episode(&plan, figures);
    }
    uint64_t first = run_episode(&plan, figures);
    if (!plan.twin)
        return first;
    plan.config = 1;
    uint64_t second = run_episode(&plan, figures);
    if (first != second)
        model_fail(present, "two configurations give different answers");
    return first;
}

/* ---- the campaign ---- */

static uint64_t operations(const struct figures *figures)
{
    return figures->writes + figures->gets + figures->moves + figures->counts;
}

static int tell_figures(const struct figures *figures, uint64_t seed)
{
    printf("model: %" PRIu64 " jobs, asked for %" PRIu64 " flushes and %" PRIu64
           " compactions, %" PRIu64 " failed groups, %" PRIu64 " would block, %" PRIu64 " full\n",
           figures->jobs, figures->flushes, figures->compactions, figures->failed_groups,
           figures->blocked, figures->full);
    printf("model: the engine made %" PRIu64 " flushes, %" PRIu64 " compactions, %" PRIu64
           " moves, %" PRIu64 " drops\n",
           figures->engine_flushes, figures->engine_compactions, figures->engine_moves,
           figures->engine_drops);
    return campaign_close("model", seed, passed, 0,
                          "%" PRIu64 " operations (%" PRIu64 " writes, %" PRIu64 " gets, %" PRIu64
                          " moves, %" PRIu64 " counts), %" PRIu64 " snapshots, %" PRIu64
                          " reopens, %" PRIu64 " crashes, no difference; digest %016" PRIx64,
                          operations(figures), figures->writes, figures->gets, figures->moves,
                          figures->counts, figures->snapshots, figures->reopens, figures->crashes,
                          figures->digest);
}

static int campaign(const struct settings *settings)
{
    static struct figures figures = {.digest = DIGEST_BEGIN};
    double began_s = campaign_now_s();

    for (uint64_t i = 0;
         settings->episodes != 0 ? i < settings->episodes
                                 : budget_left(&settings->budget, operations(&figures), began_s);
         i++) {
        uint64_t answers = run_seed(settings, settings->seed + i, &figures);
        figures.digest = digest_add(figures.digest, answers);
        passed++;
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[Kseed %" PRIu64 ", %" PRIu64 " operations, %.0f s",
                    settings->seed + i, operations(&figures), campaign_now_s() - began_s);
    }
    double took_s = campaign_now_s() - began_s;
    fprintf(stderr, "%smodel: %.0f operations a second\n", isatty(STDERR_FILENO) ? "\n" : "",
            (double)operations(&figures) / (took_s > 0 ? took_s : 1));
    return tell_figures(&figures, settings->seed);
}

/* One seed a line, and what it once showed behind a #. */
static int kept_seeds(void)
{
    const char *root = getenv("VARVE_ROOT");
    struct settings settings = {.config = -1};
    static struct figures figures;
    char path[512];
    char line[512];

    snprintf(path, sizeof(path), "%s/%s", root == NULL ? "." : root, REGRESS_FILE);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return fprintf(stderr, "model: no %s (VARVE_ROOT is not the clone?)\n", path), -1;
    while (fgets(line, sizeof(line), file) != NULL) {
        char *end;
        uint64_t seed = strtoull(line, &end, 10);
        if (end == line)
            continue;
        printf("kept seed %" PRIu64 "\n", seed);
        (void)run_seed(&settings, seed, &figures);
        passed++;
    }
    fclose(file);
    return 0;
}

static int parse(struct settings *settings, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'},       {"budget", 1, NULL, 'b'},  {"episodes", 1, NULL, 'e'},
        {"config", 1, NULL, 'c'},     {"stop-at", 1, NULL, 'a'}, {"verbose", 0, NULL, 'v'},
        {"no-regress", 0, NULL, 'r'}, {NULL, 0, NULL, 0},
    };
    int option;
    int rc = 0;

    *settings = (struct settings){.seed = 1, .budget = {.count = OPERATIONS_DEFAULT}, .config = -1};
    while (rc == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': rc = seed_parse(optarg, &settings->seed); break;
        case 'b': rc = budget_parse(optarg, &settings->budget); break;
        case 'e': settings->episodes = strtoull(optarg, NULL, 10); break;
        case 'c': settings->config = (int)strtol(optarg, NULL, 10); break;
        case 'a': settings->stop_at = strtoull(optarg, NULL, 10); break;
        case 'v': settings->verbose = 1; break;
        case 'r': settings->no_regress = 1; break;
        default: return -1;
        }
    }
    return rc == 0 && optind >= argc ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct settings settings;

    if (parse(&settings, argc, argv) != 0) {
        fprintf(stderr, "usage: model [--seed N] [--budget COUNT|TIME | --episodes N]"
                        " [--config C] [--stop-at N] [--verbose] [--no-regress]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    watch_for_death();
    if (!settings.no_regress && kept_seeds() != 0)
        return 2;
    return campaign(&settings);
}
