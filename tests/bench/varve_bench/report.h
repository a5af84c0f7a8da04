/* report.h - what is told of the results. */
#ifndef VARVE_BENCH_REPORT_H
#define VARVE_BENCH_REPORT_H

#include <stdio.h>

#include "driver.h"
#include "options.h"

/* A figure's median, least and most over the rounds. */
struct spread {
    double median;
    double min;
    double max;
};
typedef double (*figure_fn)(const struct result *result);

double figure_cpu_us(const struct result *result); /* an operation */
struct spread report_spread(const struct options *options, const struct results *results, int step,
                            int engine, figure_fn figure);
/* "readrandom, natural" */
void report_step_name(const struct step *step, char *text, size_t cap);

const char *report_colour(int engine);

void report_tables(FILE *file, const struct options *options, const struct results *results);
void report_json(FILE *file, const struct options *options, const struct results *results);
void report_svg(FILE *file, const struct options *options, const struct results *results);
void report_seconds(FILE *file, const struct options *options);
void report_timeline(FILE *file, const struct options *options, const struct results *results);

#endif
