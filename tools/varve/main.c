/* varve: the admin tool. It reads the directory of a server that is stopped, or a copy of one, and never
 * writes to it. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "args.h"
#include "base/check.h"
#include "commands.h"
#include "output.h"
#include "varve/db.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"verify", command_verify, "is every byte of a directory what was written?"},
    {"stats", command_stats, "levels, files, bytes, keys, expiry, groups"},
    {"dump", command_dump, "a log, a segment, a manifest or all of them as text"},
    {"scan", command_scan, "the live keys and values"},
    {"merkle", command_merkle, "a hash of the live data; where two directories differ"},
    {"checkpoint", command_checkpoint, "can it be restored? and to restore it"},
    {"salvage", command_salvage, "what can be proven of a damaged directory, into a new one"},
};

static void print_usage(FILE *to)
{
    fputs("usage: varve COMMAND [OPTION...] DIR\n\n"
          "Reads the data directory of a stopped server, or a copy; never writes to it.\n\n",
          to);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\nvarve COMMAND --help has options and examples.\n", to);
}

/* Every segment of a directory is an open file, and there may be more than a shell allows. */
static void allow_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return TOOL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return output_close("--help", TOOL_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("varve %s\n", varve_version());
        return output_close("--version", TOOL_OK);
    }
    allow_files();
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return output_close(argv[1], commands[i].run(argc - 1, argv + 1));
    fprintf(stderr, "varve: there is no command '%s'\n", argv[1]);
    print_usage(stderr);
    return TOOL_USAGE;
}
