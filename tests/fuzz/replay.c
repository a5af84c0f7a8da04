/* replay CORPUS-DIR [--seed N] [--budget N] - runs a fuzz target without libFuzzer: each file of the corpus,
 * then mutations of them from the seed. The budget counts mutations (250000), or is a time (90s, 30m);
 * without one it is FUZZ_INPUTS, the target's in CI.
 *
 * The inputs run in a child process, so that a finding is counted and its input kept instead of
 * ending the run without a word. An input that takes INPUT_CPU_SECONDS_MAX is a finding, too. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "campaign.h"
#include "fuzz.h"

#define FILES_MAX 10000
#define INPUT_BYTES_MAX ((size_t)1 << 20)
#define MUTATIONS_MAX 6
#define INPUT_CPU_SECONDS_MAX 20
#define INPUT_SECONDS_MAX 300 /* one that waits for ever uses no CPU */

struct corpus_file {
    char *name;
    uint8_t *data;
    size_t len;
};

/* Shared with the child: what it did, and what it is doing. */
struct progress {
    uint64_t passed;
    uint64_t bytes; /* of inputs */
    char what[512];
    size_t input_len;
    uint8_t input[INPUT_BYTES_MAX];
};

static struct corpus_file files[FILES_MAX];
static size_t file_count;
static size_t token_count;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct corpus_file *)a)->name, ((const struct corpus_file *)b)->name);
}

static int read_file(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    struct corpus_file *file = &files[file_count];
    int rc = -1;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *in = fopen(path, "rb");
    if (in == NULL)
        return -1;
    if (fstat(fileno(in), &st) != 0 || (size_t)st.st_size > INPUT_BYTES_MAX)
        goto out;
    file->len = (size_t)st.st_size;
    file->data = mem_alloc(file->len + 1);
    file->name = mem_strdup(name);
    CHECK(file->data != NULL && file->name != NULL);
    if (fread(file->data, 1, file->len, in) != file->len)
        goto out;
    file_count++;
    rc = 0;
out:
    fclose(in);
    return rc;
}

/* In the order of their names, so that a seed means the same everywhere. */
static int read_corpus(const char *dir)
{
    DIR *entries = opendir(dir);
    int rc = 0;

    if (entries == NULL)
        return -1;
    for (struct dirent *entry = readdir(entries); entry != NULL && rc == 0;
         entry = readdir(entries)) {
        if (entry->d_name[0] == '.')
            continue;
        rc = file_count == FILES_MAX ? -1 : read_file(dir, entry->d_name);
    }
    closedir(entries);
    qsort(files, file_count, sizeof(files[0]), by_name);
    return rc;
}

/* Replaces input[at, at+old_len) by the bytes; does nothing if the result is too long. */
static void replace(struct progress *p, size_t at, size_t old_len, const void *bytes, size_t len)
{
    if (p->input_len - old_len + len > INPUT_BYTES_MAX)
        return;
    memmove(p->input + at + len, p->input + at + old_len, p->input_len - at - old_len);
    memmove(p->input + at, bytes, len);
    p->input_len += len - old_len;
}

static void mutate_once(struct progress *p, struct rng *rng)
{
    static uint8_t copy[INPUT_BYTES_MAX];
    size_t at = rng_below(rng, p->input_len + 1);
    size_t rest = p->input_len - at;
    size_t n = rng_below(rng, (rest < 64 || rng_below(rng, 8) == 0 ? rest : 64) + 1);
    const struct corpus_file *other = &files[rng_below(rng, file_count)];
    size_t from = rng_below(rng, other->len + 1);
    const struct fuzz_token *token = &fuzz_tokens[rng_below(rng, token_count)];
    uint8_t byte = (uint8_t)rng_next(rng);

    switch (rng_below(rng, 7)) {
    case 0: replace(p, at, n, "", 0); break;
    case 1: replace(p, at, 0, &byte, 1); break;
    case 2: replace(p, at, rest > 0, &byte, 1); break;
    case 3:
        if (rest > 0)
            p->input[at] ^= (uint8_t)(1u << (byte & 7));
        break;
    case 4:
        memcpy(copy, p->input + at, n);
        replace(p, at, 0, copy, n);
        break;
    case 5: replace(p, at, rng_below(rng, 2) * n, token->bytes, token->len); break;
    case 6: replace(p, at, rest, other->data + from, other->len - from); break;
    default: CHECK(0);
    }
}

static void run_input(struct progress *p)
{
    struct itimerval limit = {.it_value.tv_sec = INPUT_CPU_SECONDS_MAX};

    CHECK(setitimer(ITIMER_PROF, &limit, NULL) == 0); /* its signal ends the child */
    alarm(INPUT_SECONDS_MAX);
    LLVMFuzzerTestOneInput(p->input, p->input_len);
    p->passed++;
    p->bytes += p->input_len;
}

static void load_input(struct progress *p, const struct corpus_file *file)
{
    memcpy(p->input, file->data, file->len);
    p->input_len = file->len;
}

static void run_all(struct progress *p, uint64_t seed, const struct budget *budget)
{
    double began_s = campaign_now_s();
    struct rng rng;

    for (size_t i = 0; i < file_count; i++) {
        load_input(p, &files[i]);
        snprintf(p->what, sizeof(p->what), "corpus file %s", files[i].name);
        run_input(p);
    }
    rng_init(&rng, seed);
    for (uint64_t no = 1; budget_left(budget, no - 1, began_s); no++) {
        load_input(p, &files[rng_below(&rng, file_count)]);
        for (uint64_t n = 1 + rng_below(&rng, MUTATIONS_MAX); n > 0; n--)
            mutate_once(p, &rng);
        snprintf(p->what, sizeof(p->what), "mutation %llu of seed %llu", (unsigned long long)no,
                 (unsigned long long)seed);
        run_input(p);
    }
}

static void keep_input(const struct progress *p, const char *target)
{
    char path[256];

    snprintf(path, sizeof(path), "fuzz-%s-failed-input", target);
    FILE *out = fopen(path, "wb");
    if (out == NULL || fwrite(p->input, 1, p->input_len, out) != p->input_len)
        printf("the input could not be written to %s\n", path);
    else
        printf("the input is in %s\n", path);
    if (out != NULL)
        fclose(out);
}

/* Runs it all in a child; 1 if that failed. */
static int run_child(struct progress *p, uint64_t seed, const struct budget *budget,
                     const char *target)
{
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        run_all(p, seed, budget);
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    printf("failed: %s\n", p->what);
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGALRM))
        printf("it took more than %d s of CPU, or %d s\n", INPUT_CPU_SECONDS_MAX,
               INPUT_SECONDS_MAX);
    if (getenv("VARVE_MUTANT") == NULL) /* a planted bug is meant to fail */
        keep_input(p, target);
    return 1;
}

static double child_cpu_s(void)
{
    struct rusage used;

    CHECK(getrusage(RUSAGE_CHILDREN, &used) == 0);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec + 1) / 1e6;
}

/* Returns 0, or -1 for arguments that are none of ours. */
static int parse_args(int argc, char **argv, uint64_t *seed, struct budget *budget)
{
    if (argc < 2 || argc % 2 != 0)
        return -1;
    for (int i = 2; i < argc; i += 2) {
        int rc = -1;
        if (strcmp(argv[i], "--seed") == 0)
            rc = seed_parse(argv[i + 1], seed);
        else if (strcmp(argv[i], "--budget") == 0)
            rc = budget_parse(argv[i + 1], budget);
        if (rc != 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    char name[128];
    struct budget budget = {.count = FUZZ_INPUTS};
    uint64_t seed = 1;

    if (parse_args(argc, argv, &seed, &budget) != 0) {
        fprintf(stderr, "usage: replay CORPUS-DIR [--seed N] [--budget COUNT|TIME]\n");
        return 2;
    }
    if (read_corpus(argv[1]) != 0 || file_count == 0) {
        fprintf(stderr, "replay: no corpus in %s\n", argv[1]);
        return 2;
    }
    while (fuzz_tokens[token_count].len > 0)
        token_count++;
    struct progress *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                              -1, 0);
    CHECK(p != MAP_FAILED);
    const char *slash = strrchr(argv[1], '/');
    const char *target = slash == NULL ? argv[1] : slash + 1;
    int failed = run_child(p, seed, &budget, target);
    double cpu_s = child_cpu_s();
    fprintf(stderr, "%.2f s of CPU, %.0f inputs a second\n", cpu_s, (double)p->passed / cpu_s);
    snprintf(name, sizeof(name), "fuzz %s", target);
    return campaign_close(name, seed, p->passed, (uint64_t)failed,
                          "%zu files of the corpus, %llu inputs of %llu bytes", file_count,
                          (unsigned long long)p->passed, (unsigned long long)p->bytes);
}
