/* What people read of the table: --help and the default file. */
#include <string.h>

#include "config/impl.h"

#define TEXT_COLUMNS 80

/* Prints text in lines of at most TEXT_COLUMNS, each after prefix. */
static void print_wrapped(FILE *out, const char *prefix, const char *text)
{
    size_t room = TEXT_COLUMNS - strlen(prefix);

    while (*text != '\0') {
        size_t len = strlen(text);
        if (len > room) {
            len = room;
            while (len > 0 && text[len] != ' ')
                len--;
            if (len == 0)
                len = strcspn(text, " ");
        }
        fprintf(out, "%s%.*s\n", prefix, (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
}

static void print_kind(FILE *out, const struct config_row *row, const char *prefix)
{
    char line[256] = "";

    if (row->type == CONFIG_ENUM)
        snprintf(line, sizeof(line), "One of: %s.", row->unit);
    else if (row->type == CONFIG_BOOL)
        snprintf(line, sizeof(line), "yes or no.");
    else if (row->type == CONFIG_SIZE)
        snprintf(line, sizeof(line), "In bytes, or with a unit: k kb m mb g gb.");
    else if (row->unit[0] != '\0')
        snprintf(line, sizeof(line), "In %s.", row->unit);
    print_wrapped(out, prefix, line);
}

static void print_ignored(FILE *out, const char *prefix)
{
    char list[8192];
    size_t used = 0;

    for (int i = 0; i < OPT_COUNT; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        if ((row->flags & CONFIG_IGNORED) == 0)
            continue;
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? " " : "",
                                 row->name);
        CHECK(used < sizeof(list));
    }
    print_wrapped(out, prefix, list);
}

static const char *shown_default(const struct config_row *row)
{
    return row->value[0] == '\0' ? "\"\"" : row->value;
}

void config_print_help(FILE *out)
{
    const char *group = "";

    fprintf(out,
            "Usage: varved [FILE | -] [--NAME VALUE ...] ...\n\n"
            "A server that speaks Redis's protocol and keeps its data on disk. FILE holds lines\n"
            "of `NAME VALUE`, - is standard input; what the command line says wins.\n\n"
            "  -h, --help          this text\n"
            "  -v, --version       the version\n"
            "      --print-config  a commented configuration file with every default\n"
            "      --check-config  read the settings, say what is wrong with them, and leave\n");
    for (int i = 0; i < OPT_COUNT; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        if ((row->flags & CONFIG_IGNORED) != 0)
            continue;
        if (strcmp(group, row->group) != 0)
            fprintf(out, "\n%s\n", row->group);
        group = row->group;
        fprintf(out, "  --%s %s\n", row->name, shown_default(row));
        print_wrapped(out, "      ", row->text);
        print_kind(out, row, "      ");
    }
    fprintf(out, "\nAccepted for the sake of redis.conf, without effect\n");
    print_ignored(out, "  ");
}

void config_print_default(FILE *out)
{
    const char *group = "";

    fprintf(out,
            "# Configuration of varved: every option, with its default.\n"
            "#\n"
            "# A line is `name value`; # begins a comment line, quotes hold blanks together,\n"
            "# `include PATTERN` reads other files at that place. A later line wins over an\n"
            "# earlier one, the command line (--name value) over both. Sizes: 1k is 1000 bytes,\n"
            "# 1kb 1024; likewise m, mb, g, gb.\n");
    for (int i = 0; i < OPT_COUNT; i++) {
        const struct config_row *row = config_row((enum config_option)i);
        if ((row->flags & CONFIG_IGNORED) != 0)
            continue;
        if (strcmp(group, row->group) != 0)
            fprintf(out, "\n# ---- %s ----\n", row->group);
        group = row->group;
        fprintf(out, "\n");
        print_wrapped(out, "# ", row->text);
        print_kind(out, row, "# ");
        if ((row->flags & CONFIG_RUNTIME) == 0)
            fprintf(out, "# Cannot be changed while the server runs.\n");
        fprintf(out, "%s %s\n", row->name, shown_default(row));
    }
    fprintf(out, "\n# ---- Accepted for the sake of redis.conf, without effect ----\n\n");
    print_ignored(out, "# ");
}
