#include "driver.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "usage.h"

struct child {
    pid_t pid;
    int in;  /* results come from it */
    int out; /* steps go to it */
    struct bench_config config;
};

struct driver {
    const struct options *options;
    char dir[PATH_BYTES];
    struct child children[ENGINES_MAX];
    uint64_t turns_done;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static void make_dirs(struct driver *driver)
{
    const char *base = driver->options->config.dir;
    const char *tmp = getenv("TMPDIR");

    if (base[0] == '\0')
        base = tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp";
    int len = snprintf(driver->dir, PATH_BYTES / 2, "%s/varve-bench-XXXXXX", base);
    if (len < 0 || len >= PATH_BYTES / 2 || mkdtemp(driver->dir) == NULL)
        bench_fail("no folder can be made in %s", base);
    for (int i = 0; i < driver->options->engine_count; i++) {
        struct bench_config *config = &driver->children[i].config;
        *config = driver->options->config;
        config->timeline = driver->options->timelines[i];
        snprintf(config->dir, PATH_BYTES, "%.500s/%s", driver->dir,
                 driver->options->engines[i]->name);
        if (mkdir(config->dir, 0700) != 0)
            bench_fail("%s: %s", config->dir, strerror(errno));
    }
}

static void remove_dirs(struct driver *driver)
{
    for (int i = 0; i < driver->options->engine_count; i++) {
        usage_empty_dir(driver->children[i].config.dir);
        (void)rmdir(driver->children[i].config.dir);
    }
    (void)rmdir(driver->dir);
}

/* The child has no end of another one's pipes: each sees when the driver is gone. */
static void start_child(struct driver *driver, int number)
{
    struct child *child = &driver->children[number];
    int down[2];
    int up[2];
    pid_t parent = getpid();

    if (pipe(down) != 0 || pipe(up) != 0 || (child->pid = fork()) < 0)
        bench_fail("no process can be started: %s", strerror(errno));
    if (child->pid == 0) {
        signal(SIGINT, SIG_IGN); /* the driver decides */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        for (int i = 0; i < number; i++) {
            close(driver->children[i].in);
            close(driver->children[i].out);
        }
        close(down[1]);
        close(up[0]);
        child_serve(driver->options->engines[number], &child->config, down[0], up[1]);
        _exit(0);
    }
    close(down[0]);
    close(up[1]);
    child->in = up[0];
    child->out = down[1];
}

static void end_children(struct driver *driver, int by_force)
{
    for (int i = 0; i < driver->options->engine_count; i++) {
        struct child *child = &driver->children[i];
        if (by_force)
            kill(child->pid, SIGKILL);
        close(child->out);
        close(child->in);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
}

static void plan(const struct options *options, struct results *results)
{
    static const enum workload read_both[] = {READRANDOM, READMISSING, SEEKRANDOM, READSEQ};
    static const enum workload before[] = {FILLSEQ, FILLSYNC, FILLBATCH, FILLRANDOM, OVERWRITE};
    struct step wanted[STEPS_MAX] = {0};
    int count = 0;

    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        wanted[count++].workload = before[i];
    for (enum tree tree = TREE_NATURAL; tree <= TREE_COMPACTED; tree++) {
        for (size_t i = 0; i < sizeof read_both / sizeof *read_both; i++)
            wanted[count++] = (struct step){read_both[i], tree, 0};
        if (tree == TREE_NATURAL) {
            wanted[count++] = (struct step){READWHILEWRITING, tree, 0};
            wanted[count++] = (struct step){COMPACT, TREE_NONE, 0};
        }
    }
    wanted[count++].workload = DELETERANDOM;
    wanted[count++] = (struct step){READWHILEWRITING, TREE_COMPACTED, 0};
    results->step_count = 0;
    for (int i = 0; i < count; i++) {
        if ((options->workloads & 1U << wanted[i].workload) != 0 &&
            (wanted[i].tree == TREE_NONE || (options->trees & 1U << wanted[i].tree) != 0))
            results->steps[results->step_count++] = wanted[i];
    }
}

static void show_progress(struct driver *driver, const struct results *results,
                          const struct step *step, const char *engine)
{
    uint64_t turns = (uint64_t)driver->options->rounds * (uint64_t)results->step_count *
                     (uint64_t)driver->options->engine_count;
    const char *tree = tree_name(step->tree);

    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r\033[K%3d %%  round %u of %u: %s%s%s: %s",
            (int)(driver->turns_done * 100 / turns), step->round, driver->options->rounds,
            workload_name(step->workload), tree != NULL ? ", " : "", tree != NULL ? tree : "",
            engine);
    fflush(stderr);
}

static int take_turn(struct driver *driver, const struct results *results, const struct step *step,
                     int number, struct result *result)
{
    struct child *child = &driver->children[number];
    const char *engine = driver->options->engines[number]->name;

    show_progress(driver, results, step, engine);
    if (write(child->out, step, sizeof *step) == (ssize_t)sizeof *step &&
        read(child->in, result, sizeof *result) == (ssize_t)sizeof *result && !interrupted) {
        driver->turns_done++;
        return 0;
    }
    if (interrupted)
        fprintf(stderr, "\nvarve-bench: interrupted\n");
    else
        fprintf(stderr, "varve-bench: FAILED: %s in %s, round %u: there are no figures\n", engine,
                workload_name(step->workload), step->round);
    return -1;
}

static int take_turns(struct driver *driver, struct results *results, uint32_t round)
{
    int engines = driver->options->engine_count;

    for (int i = 0; i < results->step_count; i++) {
        struct step step = results->steps[i];
        step.round = round;
        /* Who begins changes, as the first one finds another machine than the last one. */
        for (int k = 0; k < engines; k++) {
            int number = (int)((uint32_t)(k + i) + round) % engines;
            if (take_turn(driver, results, &step, number,
                          &results->figures[round - 1][i][number]) != 0)
                return -1;
        }
    }
    return 0;
}

/* A round has processes of its own: what the C allocator keeps of a closed database (glibc: up to 64 MiB
 * at the end of each thread's arena, which malloc_trim() leaves there) is not the next round's memory. */
static int run_round(struct driver *driver, struct results *results, uint32_t round)
{
    for (int i = 0; i < driver->options->engine_count; i++)
        start_child(driver, i);
    int rc = take_turns(driver, results, round);
    end_children(driver, rc != 0);
    return rc;
}

int driver_run(const struct options *options, struct results *results)
{
    static struct driver driver;
    struct sigaction action = {.sa_handler = on_signal};

    driver.options = options;
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &action, NULL); /* without SA_RESTART: the read of a result ends */
    sigaction(SIGTERM, &action, NULL);
    plan(options, results);
    make_dirs(&driver);
    int rc = 0;
    for (uint32_t round = 1; rc == 0 && round <= options->rounds; round++)
        rc = run_round(&driver, results, round);
    remove_dirs(&driver);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
    return rc;
}
