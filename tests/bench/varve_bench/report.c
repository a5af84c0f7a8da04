/* report.c - the tables. */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "ticks.h"

#define NAME_BYTES 64
#define CELL_BYTES 96
#define MB 1e6

double figure_cpu_us(const struct result *result)
{
    return (double)result->cpu_ns / 1e3 / (double)result->ops;
}

static double figure_kops(const struct result *result)
{
    return (double)result->ops / ((double)result->wall_ns / 1e6);
}

static double figure_p50(const struct result *result)
{
    return (double)result->p50_ns / 1e3;
}

static double figure_p99(const struct result *result)
{
    return (double)result->p99_ns / 1e3;
}

static double figure_p999(const struct result *result)
{
    return (double)result->p999_ns / 1e3;
}

static double figure_max(const struct result *result)
{
    return (double)result->max_ns / 1e3;
}

static double figure_written(const struct result *result)
{
    return (double)result->bytes_written / MB;
}

static double figure_disk(const struct result *result)
{
    return (double)result->bytes_on_disk / MB;
}

static double figure_data(const struct result *result)
{
    return (double)(result->bytes_on_disk - result->log_bytes) / MB;
}

static double figure_rss(const struct result *result)
{
    return (double)result->peak_rss_bytes / (1 << 20);
}

static int by_size(const void *a, const void *b)
{
    const double *left = a;
    const double *right = b;

    return (*left > *right) - (*left < *right);
}

struct spread report_spread(const struct options *options, const struct results *results, int step,
                            int engine, figure_fn figure)
{
    double all[ROUNDS_MAX];
    uint32_t count = options->rounds;

    for (uint32_t i = 0; i < count; i++)
        all[i] = figure(&results->figures[i][step][engine]);
    qsort(all, count, sizeof *all, by_size);
    return (struct spread){(all[(count - 1) / 2] + all[count / 2]) / 2, all[0], all[count - 1]};
}

void report_step_name(const struct step *step, char *text, size_t cap)
{
    const char *tree = tree_name(step->tree);

    snprintf(text, cap, "%s%s%s", workload_name(step->workload), tree != NULL ? ", " : "",
             tree != NULL ? tree : "");
}

/* Three digits that count, no exponent. */
static void print_number(char *text, size_t cap, double value)
{
    int digits = value >= 99.95 || value == 0 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : 3;

    snprintf(text, cap, "%.*f", digits, value);
}

static void print_spread(FILE *file, const struct spread *spread, uint32_t rounds)
{
    char text[3][CELL_BYTES / 3];

    print_number(text[0], sizeof text[0], spread->median);
    print_number(text[1], sizeof text[1], spread->min);
    print_number(text[2], sizeof text[2], spread->max);
    if (rounds == 1)
        fprintf(file, " %s |", text[0]);
    else
        fprintf(file, " %s (%s-%s) |", text[0], text[1], text[2]);
}

static int first_engine(const struct options *options, const char *name)
{
    for (int i = 0; i < options->engine_count; i++)
        if (strcmp(options->engines[i]->name, name) == 0)
            return i;
    return -1;
}

static void print_head(FILE *file, const struct options *options, const char *title, int own)
{
    fprintf(file, "\n### %s\n\n| workload |", title);
    for (int i = 0; i < options->engine_count; i++)
        fprintf(file, " %s |", options->engines[i]->name);
    for (int i = 0; own >= 0 && i < options->engine_count; i++)
        if (i != own)
            fprintf(file, " / %s |", options->engines[i]->name);
    fputs("\n|---|", file);
    for (int i = 0; i < options->engine_count * (own >= 0 ? 2 : 1) - (own >= 0); i++)
        fputs("---|", file);
    fputc('\n', file);
}

/* Ratios are those of each round, whose engines took turns, and then their median. */
static double ratio_of(const struct options *options, const struct results *results, int step,
                       int own, int other, figure_fn figure)
{
    double all[ROUNDS_MAX];
    uint32_t count = options->rounds;

    for (uint32_t k = 0; k < count; k++)
        all[k] = figure(&results->figures[k][step][own]) /
                 figure(&results->figures[k][step][other]);
    qsort(all, count, sizeof *all, by_size);
    return (all[(count - 1) / 2] + all[count / 2]) / 2;
}

/* A cell an engine, in it a ratio a figure. */
static void print_ratios(FILE *file, const struct options *options, const struct results *results,
                         int step, int own, const figure_fn *figures, size_t figure_count)
{
    for (int other = 0; own >= 0 && other < options->engine_count; other++) {
        if (other == own)
            continue;
        for (size_t i = 0; i < figure_count; i++) {
            double ratio = ratio_of(options, results, step, own, other, figures[i]);
            fputs(i == 0 ? " " : " / ", file);
            if (isfinite(ratio))
                fprintf(file, "%.2f", ratio);
        }
        fputs(" |", file);
    }
}

enum rows { ROWS_ALL, ROWS_WRITES };

static void print_table(FILE *file, const struct options *options, const struct results *results,
                        const char *title, figure_fn figure, enum rows rows)
{
    int own = first_engine(options, engine_varve.name);

    print_head(file, options, title, own);
    for (int step = 0; step < results->step_count; step++) {
        char name[NAME_BYTES];
        if (rows == ROWS_WRITES && workload_reads(results->steps[step].workload))
            continue;
        report_step_name(&results->steps[step], name, sizeof name);
        fprintf(file, "| %s |", name);
        for (int engine = 0; engine < options->engine_count; engine++) {
            struct spread spread = report_spread(options, results, step, engine, figure);
            print_spread(file, &spread, options->rounds);
        }
        print_ratios(file, options, results, step, own, &figure, 1);
        fputc('\n', file);
    }
}

static void print_latencies(FILE *file, const struct options *options,
                            const struct results *results)
{
    static const figure_fn figures[] = {figure_p50, figure_p99, figure_p999, figure_max};
    const size_t figure_count = sizeof figures / sizeof *figures;
    int own = first_engine(options, engine_varve.name);

    print_head(file, options,
               "Microseconds an operation: p50 / p99 / p99.9 / longest, medians of the rounds",
               own);
    for (int step = 0; step < results->step_count; step++) {
        char name[NAME_BYTES];
        report_step_name(&results->steps[step], name, sizeof name);
        fprintf(file, "| %s |", name);
        for (int engine = 0; engine < options->engine_count; engine++) {
            for (size_t i = 0; i < figure_count; i++) {
                char text[CELL_BYTES];
                struct spread spread = report_spread(options, results, step, engine, figures[i]);
                print_number(text, sizeof text, spread.median);
                fprintf(file, "%s%s", i == 0 ? " " : " / ", text);
            }
            fputs(" |", file);
        }
        print_ratios(file, options, results, step, own, figures, figure_count);
        fputc('\n', file);
    }
}

static void print_setup(FILE *file, const struct options *options)
{
    static const char *const durability[] = {"no", "everysec", "always"};
    const struct bench_config *config = &options->config;
    double put_ns = 0;
    double get_ns = 0;
    double clock_ns_each = 0;
    char text[512];

    run_overhead(config, &put_ns, &get_ns, &clock_ns_each);
    fprintf(
        file,
        "%llu keys of %u bytes, each once a workload, values of %u bytes; %llu reads, %u of them "
        "side by side; durability %s; seed %llu; %u round%s, the engines in turn, a process "
        "each.\n\n",
        (unsigned long long)config->keys, config->key_bytes, config->value_bytes,
        (unsigned long long)(config->reads != 0 ? config->reads : config->keys), config->threads,
        durability[config->durability], (unsigned long long)config->seed, options->rounds,
        options->rounds == 1 ? "" : "s");
    for (int i = 0; i < options->engine_count; i++) {
        options->engines[i]->describe(config, text, sizeof text);
        fprintf(file, "- **%s**: %s\n", options->engines[i]->name, text);
    }
    if (options_lacking()[0] != '\0')
        fprintf(file, "- built without:%s\n", options_lacking());
    fprintf(
        file,
        "\nProcessor time is that of the whole process, user and system, background threads and "
        "the settling after the workload included (behind varve's writes %u s, for what it merges "
        "when nobody writes); an operation is a key (of seekrandom a seek "
        "with %d nexts; of compact a key that is there; of readwhilewriting a get, beside a put "
        "for every %dth). Reads are checked, of a scan the key and the value's first 8 bytes. "
        "The harness itself, keys, values, checks and clock, takes %.3f us a put and %.3f us a "
        "get, which all figures contain. Latencies are of calls (fillbatch: of a batch of %d; "
        "seekrandom and readseq with their checks), by %s, which takes %.0f ns, in a histogram "
        "that is at most 1.6 %% too high. All use the C library's allocator.\n",
        config->rest_s, SEEK_NEXTS, READS_PER_WRITE, put_ns / 1e3, get_ns / 1e3, BATCH_KEYS,
        ticks_name(), clock_ns_each);
}

void report_tables(FILE *file, const struct options *options, const struct results *results)
{
    print_setup(file, options);
    print_table(file, options, results,
                "Processor time, microseconds an operation, and varve's share of the others'",
                figure_cpu_us, ROWS_ALL);
    print_table(file, options, results, "Thousand operations a second", figure_kops, ROWS_ALL);
    print_latencies(file, options, results);
    print_table(file, options, results,
                "Written, MB (write_bytes of /proc/self/io: pages made dirty)", figure_written,
                ROWS_WRITES);
    print_table(file, options, results, "On disk afterwards, MB (blocks of all files)", figure_disk,
                ROWS_WRITES);
    print_table(file, options, results,
                "On disk afterwards, MB, without the log, its spare files and varve's RESERVE",
                figure_data, ROWS_WRITES);
    print_table(file, options, results, "Peak memory during the workload, MiB (resident)",
                figure_rss, ROWS_ALL);
    if (options->config.seconds != 0)
        report_seconds(file, options);
}
