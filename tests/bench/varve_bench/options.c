#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "timeline.h"

#define MIB ((uint64_t)1 << 20)
#define KEYS_MAX ((uint64_t)1 << 36)

static const char usage[] =
    "varve-bench - the same workloads on varve and on other engines, one after the other\n"
    "\n"
    "  varve-bench [OPTION...]\n"
    "\n"
    "  --engines LIST     varve,rocksdb,rocksdb-tuned,leveldb,lmdb (default: all that are built "
    "in)\n"
    "  --workloads LIST   fillseq,fillsync,fillbatch,fillrandom,overwrite,readrandom,readmissing,\n"
    "                     seekrandom,readseq,readwhilewriting,compact,deleterandom (default: all)\n"
    "  --trees LIST       natural,compacted (default: both): what the reads read\n"
    "  --keys N           1000000, each written once a workload (k, m, g: 1000, ...)\n"
    "  --reads N          as many as keys\n"
    "  --syncs N          2000: operations of fillsync\n"
    "  --key-bytes N      16      --value-bytes N   100, of which the half can be compressed\n"
    "  --memtable BYTES   64m     --cache BYTES     256m (k, m, g: KiB, ...)\n"
    "  --threads N        1: that read\n"
    "  --durability MODE  no: the system writes when it likes (default); everysec; always\n"
    "  --seconds N        overwrite goes on for so long, over all keys in turn\n"
    "  --cold             before each read workload the database is closed, the system's cache of\n"
    "                     it dropped, and opened again (best with fewer --reads)\n"
    "  --settle MS        200: so long an engine must be at rest before a workload, and after it\n"
    "  --rest SECONDS     7: so long after the last write varve is waited for at least: what it\n"
    "                     merges when nobody writes (5 s) belongs to what was written\n"
    "  --rounds N         1: of everything, each with new processes and empty databases\n"
    "  --seed N           1\n"
    "  --dir DIR          where a folder is made, and removed (default: $TMPDIR or /tmp)\n"
    "  --quick            100000 keys, memtable 6m, 300 syncs: all of it in a minute or two\n"
    "  --json FILE        an array of objects, one a workload, tree, engine and round\n"
    "  --table FILE       the tables, in Markdown, which go to standard output as well\n"
    "  --svg FILE         a drawing of the processor's time\n"
    "  --timeline FILE    with --seconds: a drawing of each second's speed, p99.9 and longest "
    "put\n";

static const struct engine *const built_in[] = {
    &engine_varve,
#ifdef BENCH_ROCKSDB_VERSION
    &engine_rocksdb, &engine_rocksdb_tuned,
#endif
#ifdef BENCH_LEVELDB
    &engine_leveldb,
#endif
#ifdef BENCH_LMDB
    &engine_lmdb,
#endif
};
#define BUILT_IN ((int)(sizeof built_in / sizeof *built_in))

const char *options_lacking(void)
{
    return ""
#ifndef BENCH_ROCKSDB_VERSION
           " rocksdb rocksdb-tuned"
#endif
#ifndef BENCH_LEVELDB
           " leveldb"
#endif
#ifndef BENCH_LMDB
           " lmdb"
#endif
        ;
}

static void refuse(const char *option, const char *text)
{
    fprintf(stderr, "varve-bench: --%s %s: not understood; see --help\n", option, text);
    exit(2);
}

static uint64_t number(const char *option, const char *text, uint64_t kilo, uint64_t min,
                       uint64_t max)
{
    char *end;
    uint64_t factor = 1;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || errno != 0 || text[0] == '-')
        refuse(option, text);
    if (*end != '\0' && kilo != 0) {
        const char *unit = strchr("kmg", *end);
        if (unit == NULL)
            refuse(option, text);
        for (long i = 0; i <= unit - strchr("kmg", 'k') && i < 3; i++)
            factor *= kilo;
        end++;
    }
    if (*end != '\0' || value > max / factor || value * factor < min)
        refuse(option, text);
    return value * factor;
}

static void take_engine(struct options *options, const char *name)
{
    for (int i = 0; i < BUILT_IN; i++) {
        if (strcmp(built_in[i]->name, name) == 0) {
            for (int k = 0; k < options->engine_count; k++)
                if (options->engines[k] == built_in[i])
                    refuse("engines", name);
            options->engines[options->engine_count++] = built_in[i];
            return;
        }
    }
    if (strstr(options_lacking(), name) != NULL)
        fprintf(stderr, "varve-bench: was built without %s\n", name);
    refuse("engines", name);
}

static void take_workload(struct options *options, const char *name)
{
    for (enum workload i = 0; i < WORKLOAD_COUNT; i++) {
        if (strcmp(workload_name(i), name) == 0) {
            options->workloads |= 1U << i;
            return;
        }
    }
    refuse("workloads", name);
}

static void take_tree(struct options *options, const char *name)
{
    if (strcmp(name, tree_name(TREE_NATURAL)) == 0)
        options->trees |= 1U << TREE_NATURAL;
    else if (strcmp(name, tree_name(TREE_COMPACTED)) == 0)
        options->trees |= 1U << TREE_COMPACTED;
    else
        refuse("trees", name);
}

/* Hands each name of a list with commas on. */
static void take_list(struct options *options, const char *list,
                      void (*take)(struct options *options, const char *name))
{
    char *copy = mem_strdup(list);
    char *rest = copy;

    for (char *name = copy; name != NULL && rest != NULL; name = rest) {
        rest = strchr(name, ',');
        if (rest != NULL)
            *rest++ = '\0';
        take(options, name);
    }
    mem_free(copy);
}

static enum durability parse_durability(const char *text)
{
    if (strcmp(text, "no") == 0)
        return DURABILITY_NO;
    if (strcmp(text, "everysec") == 0)
        return DURABILITY_EVERYSEC;
    if (strcmp(text, "always") != 0)
        refuse("durability", text);
    return DURABILITY_ALWAYS;
}

enum {
    QUICK = 1,
    KEYS,
    READS,
    SYNCS,
    KEY_BYTES,
    VALUE_BYTES,
    MEMTABLE,
    CACHE,
    THREADS,
    SETTLE,
    REST,
    SECONDS
};
enum {
    DURABILITY = 64,
    ROUNDS,
    SEED,
    DIRECTORY,
    ENGINES,
    WORKLOADS,
    TREES,
    JSON,
    TABLE,
    SVG,
    TIMELINE,
    COLD_READS,
    HELP
};

static const struct option long_options[] = {
    {"quick", no_argument, NULL, QUICK},
    {"keys", required_argument, NULL, KEYS},
    {"reads", required_argument, NULL, READS},
    {"syncs", required_argument, NULL, SYNCS},
    {"key-bytes", required_argument, NULL, KEY_BYTES},
    {"value-bytes", required_argument, NULL, VALUE_BYTES},
    {"memtable", required_argument, NULL, MEMTABLE},
    {"cache", required_argument, NULL, CACHE},
    {"threads", required_argument, NULL, THREADS},
    {"settle", required_argument, NULL, SETTLE},
    {"rest", required_argument, NULL, REST},
    {"seconds", required_argument, NULL, SECONDS},
    {"cold", no_argument, NULL, COLD_READS},
    {"timeline", required_argument, NULL, TIMELINE},
    {"durability", required_argument, NULL, DURABILITY},
    {"rounds", required_argument, NULL, ROUNDS},
    {"seed", required_argument, NULL, SEED},
    {"dir", required_argument, NULL, DIRECTORY},
    {"engines", required_argument, NULL, ENGINES},
    {"workloads", required_argument, NULL, WORKLOADS},
    {"trees", required_argument, NULL, TREES},
    {"json", required_argument, NULL, JSON},
    {"table", required_argument, NULL, TABLE},
    {"svg", required_argument, NULL, SVG},
    {"help", no_argument, NULL, HELP},
    {0},
};

static void take_size(struct options *options, int option, const char *name, const char *text)
{
    struct bench_config *config = &options->config;

    switch (option) {
    case KEYS: config->keys = number(name, text, 1000, 1000, KEYS_MAX); break;
    case READS: config->reads = number(name, text, 1000, 1, KEYS_MAX); break;
    case SYNCS: config->syncs = number(name, text, 1000, 1, KEYS_MAX); break;
    case KEY_BYTES: config->key_bytes = (uint32_t)number(name, text, 0, 12, KEY_BYTES_MAX); break;
    case VALUE_BYTES:
        config->value_bytes = (uint32_t)number(name, text, 0, VALUE_BYTES_MIN, VALUE_BYTES_MAX);
        break;
    case MEMTABLE: config->memtable_bytes = number(name, text, 1024, MIB, 64 * 1024 * MIB); break;
    case CACHE: config->cache_bytes = number(name, text, 1024, MIB, 1024 * 1024 * MIB); break;
    case THREADS: config->threads = (uint32_t)number(name, text, 0, 1, THREADS_MAX); break;
    case SETTLE: config->settle_ms = (uint32_t)number(name, text, 0, 10, 60000); break;
    case REST: config->rest_s = (uint32_t)number(name, text, 0, 0, 600); break;
    case SECONDS: config->seconds = (uint32_t)number(name, text, 0, 1, SECONDS_MAX); break;
    default: break;
    }
}

static void take_option(struct options *options, int option, const char *name, const char *text)
{
    struct bench_config *config = &options->config;

    switch (option) {
    case QUICK:
        config->keys = 100000;
        config->memtable_bytes = 6 * MIB;
        config->syncs = 300;
        break;
    case DURABILITY: config->durability = parse_durability(text); break;
    case ROUNDS: options->rounds = (uint32_t)number(name, text, 0, 1, ROUNDS_MAX); break;
    case SEED: config->seed = number(name, text, 0, 0, UINT64_MAX); break;
    case DIRECTORY:
        if (strlen(text) >= PATH_BYTES / 2)
            refuse(name, text);
        snprintf(config->dir, PATH_BYTES, "%s", text);
        break;
    case ENGINES: take_list(options, text, take_engine); break;
    case WORKLOADS: take_list(options, text, take_workload); break;
    case TREES: take_list(options, text, take_tree); break;
    case JSON: options->json_path = text; break;
    case TABLE: options->table_path = text; break;
    case SVG: options->svg_path = text; break;
    case TIMELINE: options->timeline_path = text; break;
    case COLD_READS: config->cold = 1; break;
    case HELP: fputs(usage, stdout); exit(0);
    default: take_size(options, option, name, text); break;
    }
}

void options_parse(struct options *options, int argc, char **argv)
{
    int option;
    int which = 0;

    *options = (struct options){
        .config = {.keys = 1000000,
                   .syncs = 2000,
                   .key_bytes = 16,
                   .value_bytes = 100,
                   .threads = 1,
                   .seed = 1,
                   .settle_ms = 200,
                   .rest_s = 7,
                   .memtable_bytes = 64 * MIB,
                   .cache_bytes = 256 * MIB},
        .rounds = 1,
    };
    while ((option = getopt_long(argc, argv, "", long_options, &which)) != -1) {
        if (option == '?') {
            fputs("varve-bench: see --help\n", stderr);
            exit(2);
        }
        take_option(options, option, long_options[which].name, optarg);
    }
    if (optind < argc)
        refuse("", argv[optind]);
    if (options->engine_count == 0)
        for (int i = 0; i < BUILT_IN; i++)
            options->engines[options->engine_count++] = built_in[i];
    for (int i = 0; options->config.seconds != 0 && i < options->engine_count; i++)
        options->timelines[i] = timeline_create();
    if (options->workloads == 0)
        options->workloads = (1U << WORKLOAD_COUNT) - 1;
    if (options->trees == 0)
        options->trees = 1U << TREE_NATURAL | 1U << TREE_COMPACTED;
}
