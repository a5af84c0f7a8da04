/* varve-bench - db_bench's workloads on varve, RocksDB, LevelDB and LMDB, side by side.
 *
 * One process an engine, all alive at once; a driver gives each the same workload in turn, so that what
 * counts is the ratio inside one run. --help has the options, README.md the figures. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "driver.h"
#include "options.h"
#include "report.h"
#include "ticks.h"

typedef void (*report_fn)(FILE *file, const struct options *options, const struct results *results);

static int write_report(const char *path, report_fn report, const struct options *options,
                        const struct results *results)
{
    if (path == NULL)
        return 0;
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    report(file, options, results);
    if (ferror(file) | fclose(file)) {
        perror(path);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct options options;
    struct results *results = mem_alloc_zero(sizeof *results);
    int failed = 0;

    if (results == NULL)
        bench_fail("no memory for results");
    options_parse(&options, argc, argv);
    ticks_init();
    if (options_lacking()[0] != '\0')
        fprintf(stderr, "varve-bench: built without%s\n", options_lacking());
    if (driver_run(&options, results) != 0)
        failed = 1;
    if (!failed) {
        report_tables(stdout, &options, results);
        failed |= write_report(options.table_path, report_tables, &options, results);
        failed |= write_report(options.json_path, report_json, &options, results);
        failed |= write_report(options.svg_path, report_svg, &options, results);
        if (options.config.seconds != 0)
            failed |= write_report(options.timeline_path, report_timeline, &options, results);
    }
    mem_free(results);
    return failed;
}
