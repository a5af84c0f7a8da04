/* report_timeline.c - the seconds of a long overwrite: a table of how steady they are, and a drawing of
 * three panels with a line an engine. */
#include <math.h>
#include <stdlib.h>

#include "report.h"
#include "timeline.h"

#define WIDTH 900
#define LEFT 70
#define PLOT_WIDTH (WIDTH - LEFT - 20)
#define PLOT_HEIGHT 150
#define PANEL_HEIGHT (PLOT_HEIGHT + 46)
#define TOP 60

typedef double (*second_fn)(const struct second *second);

static double second_kops(const struct second *second)
{
    return (double)second->ops / 1e3;
}

static double second_p999_us(const struct second *second)
{
    return (double)second->p999_ns / 1e3;
}

static double second_max_us(const struct second *second)
{
    return (double)second->max_ns / 1e3;
}

struct panel {
    const char *title;
    second_fn figure;
    int logarithmic; /* from 1 us on */
    double top;      /* of the scale */
};

static int upwards(const void *a, const void *b)
{
    const double *left = a;
    const double *right = b;

    return (*left > *right) - (*left < *right);
}

static void print_row(FILE *file, const char *name, const struct timeline *timeline)
{
    static double sorted[SECONDS_MAX];
    double sum = 0;
    double least = HUGE_VAL;
    double longest = 0;
    uint32_t below = 0;

    for (uint32_t i = 0; i < timeline->count; i++) {
        const struct second *second = &timeline->seconds[i];
        sum += second_kops(second);
        least = fmin(least, second_kops(second));
        longest = fmax(longest, second_max_us(second));
        sorted[i] = second_p999_us(second);
    }
    double mean = sum / timeline->count;
    for (uint32_t i = 0; i < timeline->count; i++)
        below += second_kops(&timeline->seconds[i]) < 0.6 * mean;
    qsort(sorted, timeline->count, sizeof *sorted, upwards);
    fprintf(file, "| %s | %u | %.0f | %.0f | %.0f %% | %u | %.1f | %.1f | %.2f |\n", name,
            timeline->count, mean, least, 100 * least / mean, below, sorted[timeline->count / 2],
            sorted[timeline->count - 1], longest / 1e3);
}

void report_seconds(FILE *file, const struct options *options)
{
    fprintf(
        file,
        "\n### Overwrite, second by second\n\n| engine | seconds | thousand puts a second, mean "
        "| least | of the mean | seconds below 60 %% | p99.9 of a second, us: median | most "
        "| longest put, ms |\n|---|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < options->engine_count; i++)
        print_row(file, options->engines[i]->name, options->timelines[i]);
}

static double height_of(const struct panel *panel, double value)
{
    double part = panel->logarithmic ? log10(fmax(value, 1)) / log10(panel->top)
                                     : value / panel->top;

    return part * PLOT_HEIGHT;
}

static void draw_axis(FILE *file, const struct panel *panel, int base)
{
    double step = panel->logarithmic ? 10 : panel->top / 4;

    fprintf(file, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text>\n", LEFT,
            base - PLOT_HEIGHT - 8, panel->title);
    for (double at = panel->logarithmic ? 1 : 0; at <= panel->top * 1.001;
         at = panel->logarithmic ? at * step : at + step) {
        double y = base - height_of(panel, at);
        fprintf(file, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"gainsboro\"/>\n",
                LEFT, LEFT + PLOT_WIDTH, y, y);
        fprintf(file, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.0f</text>\n", LEFT - 6,
                y + 4, at);
    }
}

static void draw_panel(FILE *file, const struct options *options, struct panel *panel, int base)
{
    uint32_t seconds = options->config.seconds;
    double most = 1;

    for (int k = 0; k < options->engine_count; k++)
        for (uint32_t i = 0; i < options->timelines[k]->count; i++)
            most = fmax(most, panel->figure(&options->timelines[k]->seconds[i]));
    panel->top = panel->logarithmic ? pow(10, ceil(log10(fmax(most, 10)))) : ceil(most / 100) * 100;
    draw_axis(file, panel, base);
    for (int k = 0; k < options->engine_count; k++) {
        const struct timeline *timeline = options->timelines[k];
        fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" points=\"", report_colour(k));
        for (uint32_t i = 0; i < timeline->count; i++)
            fprintf(file, "%.1f,%.1f ", LEFT + (i + 0.5) * PLOT_WIDTH / seconds,
                    base - height_of(panel, panel->figure(&timeline->seconds[i])));
        fputs("\"/>\n", file);
    }
}

void report_timeline(FILE *file, const struct options *options, const struct results *results)
{
    struct panel panels[] = {
        {"Thousand puts a second", second_kops, 0, 0},
        {"p99.9 of each second, microseconds", second_p999_us, 1, 0},
        {"Longest put of each second, microseconds", second_max_us, 1, 0},
    };
    int count = (int)(sizeof panels / sizeof *panels);
    int height = TOP + count * PANEL_HEIGHT;

    (void)results;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n"
            "<text x=\"%d\" y=\"22\" font-size=\"16\">Overwrite for %u s: %llu keys of %u + %u "
            "bytes</text>\n",
            WIDTH, height, WIDTH, height, LEFT, options->config.seconds,
            (unsigned long long)options->config.keys, options->config.key_bytes,
            options->config.value_bytes);
    for (int k = 0; k < options->engine_count; k++)
        fprintf(file, "<text x=\"%d\" y=\"42\" fill=\"%s\">%s</text>\n", LEFT + 130 * k,
                report_colour(k), options->engines[k]->name);
    for (int i = 0; i < count; i++)
        draw_panel(file, options, &panels[i], TOP + i * PANEL_HEIGHT + 20 + PLOT_HEIGHT);
    fputs("</svg>\n", file);
}
