/* linear_server - many connections send GET, SET, SET NX, DEL, APPEND and INCR on a few hot keys to a real
 * server, over loopback, while it flushes and compacts, and is killed now and then; what each was told, and
 * when, is recorded and must be linearizable (linear.h). What a kill left unanswered may have been done.
 *
 *   linear_server [--seed N] [--budget COUNT|TIME] [--mode always|everysec] [--io-threads N]
 *
 * The server is VARVED of the environment, else the one of the same build. A budget counts commands; default
 * 300,000. They come in rounds, each on a new directory, in turn everysec and always; in two
 * rounds of four the server dies in the middle. Closes with `N passed, N failed`: a case is a round. */
#include "linear_server.h"

#include <errno.h>
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "campaign.h"

#define ROUND_OPS 50000u
#define THREADS 4u
#define START_MAX_S 60.0
#define TOO_WIDE_MAX 3

static const char *const modes[] = {"everysec", "always"};

void linear_fail(const char *fmt, ...)
{
    va_list args;

    printf("FAILED: ");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n0 passed, 1 failed\n");
    fflush(stdout);
    _exit(1);
}

/* ---- the process ---- */

static const char *program_path(void)
{
    static char path[1024];
    const char *named = getenv("VARVED");

    if (named != NULL)
        return named;
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 40);
    CHECK(len > 0);
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    CHECK(slash != NULL);
    strcpy(slash, "/../../src/server/varved");
    return path;
}

static void server_exec(const struct round *round)
{
    char port[16];
    char threads[16];

    snprintf(port, sizeof(port), "%u", round->port);
    snprintf(threads, sizeof(threads), "%u", round->io_threads);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    execl(program_path(), "varved", "--bind", "127.0.0.1", "--port", port, "--dir", round->dir,
          "--appendfsync", round->mode, "--memtable-size", "65536", "--segment-size", "65536",
          "--wal-size", "262144", "--io-threads", threads, "--loglevel", "warning", "--min-free",
          "0", "--reserve-size", "0", (char *)NULL);
    fprintf(stderr, "linear_server: cannot run %s: %s\n", program_path(), strerror(errno));
    _exit(127);
}

static void server_start(struct round *round)
{
    double began_s = campaign_now_s();

    round->pid = fork();
    CHECK(round->pid >= 0);
    if (round->pid == 0)
        server_exec(round);
    while (client_probe(round->port) != 0) {
        int status;
        if (waitpid(round->pid, &status, WNOHANG) != 0 || campaign_now_s() - began_s > START_MAX_S)
            linear_fail("the server does not start");
        usleep(20000);
    }
}

static void server_end(struct round *round, int signal_no)
{
    int status = 0;

    CHECK(kill(round->pid, signal_no) == 0);
    CHECK(waitpid(round->pid, &status, 0) == round->pid);
    if (signal_no == SIGTERM && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        linear_fail("the server ended with status %d", status);
}

/* ---- rounds ---- */

static void remove_dir(const char *dir)
{
    char path[512];
    struct dirent *entry;
    DIR *opened = opendir(dir);

    while (opened != NULL && (entry = readdir(opened)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    if (opened != NULL)
        closedir(opened);
    (void)rmdir(dir);
}

/* In the middle of the round the server dies and comes back at the same port. */
static void kill_once(struct round *round)
{
    while (atomic_load(&round->answered) < round->count / 2)
        usleep(1000);
    server_end(round, SIGKILL);
    server_start(round);
}

static void run_clients(struct round *round, int with_kill)
{
    struct client clients[THREADS];

    snprintf(round->dir, sizeof(round->dir), "/tmp/varve-linear-XXXXXX");
    CHECK(mkdtemp(round->dir) != NULL);
    round->port = client_free_port();
    server_start(round);
    for (uint32_t i = 0; i < THREADS; i++) {
        clients[i] = (struct client){.round = round, .no = i};
        CHECK(thread_start(&clients[i].thread, "client", client_run, &clients[i]) == 0);
    }
    if (with_kill)
        kill_once(round);
    for (uint32_t i = 0; i < THREADS; i++)
        thread_join(&clients[i].thread);
    server_end(round, SIGTERM);
    remove_dir(round->dir);
}

/* What its history is. */
static enum linear_verdict run_round(struct round *round, int with_kill)
{
    struct linear_report report;

    round->ops = mem_alloc_zero(round->count * sizeof(*round->ops));
    CHECK(round->ops != NULL);
    run_clients(round, with_kill);
    linear_check_all(round->ops, round->count, KEYS, &report);
    fprintf(stderr,
            "linear_server: %s: %" PRIu64 " at once, %" PRIu64 " choices, %" PRIu64 " unanswered\n",
            round->mode, report.pending_max, report.choices_max, atomic_load(&round->unanswered));
    if (report.verdict == LINEAR_NO) {
        printf("FAILED: round of seed %" PRIu64 ", %s%s: the history is not linearizable\n",
               round->seed, round->mode, with_kill ? ", killed" : "");
        linear_print(round->ops, round->count, report.op);
    }
    mem_free(round->ops);
    return report.verdict;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seed", 1, NULL, 's'},
                                            {"budget", 1, NULL, 'b'},
                                            {"mode", 1, NULL, 'm'},
                                            {"io-threads", 1, NULL, 'i'},
                                            {NULL, 0, NULL, 0}};
    struct budget budget = {.count = 300000};
    const char *mode = NULL;
    uint32_t io_threads = 0;
    uint64_t seed = 1;
    uint64_t ops = 0;
    uint64_t passed = 0;
    uint32_t too_wide = 0;
    int wrong = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': wrong |= seed_parse(optarg, &seed); break;
        case 'b': wrong |= budget_parse(optarg, &budget); break;
        case 'm': mode = optarg; break;
        case 'i': io_threads = (uint32_t)strtoul(optarg, NULL, 10); break;
        default: wrong = 1;
        }
    }
    if (wrong) {
        fprintf(stderr, "usage: linear_server [--seed N] [--budget B] [--mode MODE] "
                        "[--io-threads N]\n");
        return 2;
    }
    double began_s = campaign_now_s();
    for (uint64_t no = 0; budget_left(&budget, ops, began_s); no++) {
        struct round round = {.seed = seed * 1000003 + no,
                              .mode = mode != NULL ? mode : modes[no % 2],
                              /* Four rounds with four loops, four with one. */
                              .io_threads = io_threads != 0   ? io_threads
                                            : no / 4 % 2 == 0 ? 4
                                                              : 1,
                              .part = ROUND_OPS / (THREADS * CONNECTIONS)};
        round.count = round.part * THREADS * CONNECTIONS;
        enum linear_verdict verdict = run_round(&round, no % 4 >= 2);
        /* Many commands that a kill left unanswered may be too many to tell: that round says nothing, and
         * does not count. */
        if (verdict == LINEAR_TOO_WIDE && ++too_wide <= TOO_WIDE_MAX)
            continue;
        if (verdict == LINEAR_TOO_WIDE)
            printf("FAILED: %u rounds were too wide to tell\n", too_wide);
        if (verdict != LINEAR_YES)
            return campaign_close("linear_server", seed, passed, 1, "%" PRIu64 " commands", ops);
        ops += round.count;
        passed++;
    }
    return campaign_close("linear_server", seed, passed, 0,
                          "%" PRIu64 " commands on %u keys, %u connections, all linearizable", ops,
                          KEYS, THREADS * CONNECTIONS);
}
