/* report_json.c - one object a line. */
#include <inttypes.h>

#include "report.h"

static void print_result(FILE *file, const char *engine, const struct step *step, uint32_t round,
                         const struct result *result)
{
    const char *tree = tree_name(step->tree);

    fprintf(file, "{\"engine\": \"%s\", \"workload\": \"%s\", \"tree\": %s%s%s, ", engine,
            workload_name(step->workload), tree != NULL ? "\"" : "", tree != NULL ? tree : "null",
            tree != NULL ? "\"" : "");
    fprintf(file, "\"cpu_us_per_op\": %.4f, \"ops_per_s\": %.1f, ", figure_cpu_us(result),
            (double)result->ops / ((double)result->wall_ns / 1e9));
    fprintf(file, "\"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f, \"max_us\": %.3f, ",
            (double)result->p50_ns / 1e3, (double)result->p99_ns / 1e3,
            (double)result->p999_ns / 1e3, (double)result->max_ns / 1e3);
    fprintf(file,
            "\"bytes_written\": %" PRIu64 ", \"bytes_on_disk\": %" PRIu64
            ", \"peak_rss_bytes\": %" PRIu64 ", \"round\": %" PRIu32 "}",
            result->bytes_written, result->bytes_on_disk, result->peak_rss_bytes, round);
}

void report_json(FILE *file, const struct options *options, const struct results *results)
{
    const char *before = "[\n";

    for (uint32_t round = 1; round <= options->rounds; round++) {
        for (int i = 0; i < results->step_count; i++) {
            for (int k = 0; k < options->engine_count; k++) {
                fputs(before, file);
                print_result(file, options->engines[k]->name, &results->steps[i], round,
                             &results->figures[round - 1][i][k]);
                before = ",\n";
            }
        }
    }
    fputs("\n]\n", file);
}
