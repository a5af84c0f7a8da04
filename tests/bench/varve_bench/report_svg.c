/* report_svg.c - a panel a workload: a bar an engine, as long as its processor time an operation. */
#include "report.h"

#define COLUMNS 3
#define PANEL_WIDTH 300
#define BAR_HEIGHT 16
#define NAME_WIDTH 90
#define FIGURE_WIDTH 60
#define TOP 52
#define GAP 34
#define MARGIN 20
#define LABEL_BYTES 64

static const char *const colours[ENGINES_MAX] = {"steelblue", "indianred", "sandybrown", "seagreen",
                                                 "slategray", "silver",    "silver",     "silver"};

const char *report_colour(int engine)
{
    return colours[engine];
}

static void draw_panel(FILE *file, const struct options *options, const struct results *results,
                       int step, int x, int y)
{
    char name[LABEL_BYTES];
    double longest = 0;

    report_step_name(&results->steps[step], name, sizeof name);
    fprintf(file, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text>\n", x, y - 6, name);
    for (int i = 0; i < options->engine_count; i++) {
        struct spread spread = report_spread(options, results, step, i, figure_cpu_us);
        longest = spread.median > longest ? spread.median : longest;
    }
    for (int i = 0; i < options->engine_count; i++) {
        struct spread spread = report_spread(options, results, step, i, figure_cpu_us);
        double room = PANEL_WIDTH - NAME_WIDTH - FIGURE_WIDTH;
        double width = longest > 0 ? spread.median / longest * room : 0;
        int base = y + i * BAR_HEIGHT;
        fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", x + NAME_WIDTH - 6,
                base + BAR_HEIGHT - 4, options->engines[i]->name);
        fprintf(file, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n",
                x + NAME_WIDTH, base + 2, width, BAR_HEIGHT - 4, report_colour(i));
        fprintf(file, "<text x=\"%.1f\" y=\"%d\">%.2f</text>\n", x + NAME_WIDTH + width + 4,
                base + BAR_HEIGHT - 4, spread.median);
    }
}

void report_svg(FILE *file, const struct options *options, const struct results *results)
{
    int rows = (results->step_count + COLUMNS - 1) / COLUMNS;
    int panel_height = options->engine_count * BAR_HEIGHT + GAP;
    int width = 2 * MARGIN + COLUMNS * PANEL_WIDTH;
    int height = TOP + rows * panel_height;

    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
            width, height, width, height);
    fprintf(
        file,
        "<text x=\"%d\" y=\"22\" font-size=\"16\">Processor time, microseconds an operation: %llu "
        "keys of %u + %u bytes</text>\n",
        MARGIN, (unsigned long long)options->config.keys, options->config.key_bytes,
        options->config.value_bytes);
    for (int i = 0; i < results->step_count; i++)
        draw_panel(file, options, results, i, MARGIN + i % COLUMNS * PANEL_WIDTH,
                   TOP + i / COLUMNS * panel_height);
    fputs("</svg>\n", file);
}
