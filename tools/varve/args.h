/* args.h - the command line of one subcommand: options, operands, --help. One thread. */
#ifndef VARVE_TOOL_ARGS_H
#define VARVE_TOOL_ARGS_H

#include <stddef.h>

#include "base/check.h"
#include "varve/slice.h"

/* What the program ends with. */
enum tool_exit {
    TOOL_OK = 0,
    TOOL_FINDINGS = 1, /* something is wrong with the data */
    TOOL_USAGE = 2,
    TOOL_FAILED = 3, /* it could not be done: in use, not readable, no memory */
};

#define ARGS_OPERANDS_MAX 4

struct arg_option {
    const char *name;  /* "--prefix" */
    const char *value; /* what --help calls its value; NULL: it has none */
    const char *help;
    int *flag;         /* without a value: set to 1 */
    const char **text; /* with one: borrowed from argv */
};

struct command_spec {
    const char *name;     /* "scan" */
    const char *operands; /* "DIR" */
    size_t operand_count;
    size_t operand_more;  /* so many more may follow; those that do not are left as they are */
    const char *text;     /* what it does; lines end with \n */
    const char *examples; /* lines, each ending with \n */
    const struct arg_option *options;
    size_t option_count;
};

/* argv[0] is the subcommand. -1: run it, operands are set (borrowed from argv); else what the program is
 * to end with, as help or an error was printed. */
int args_parse(const struct command_spec *spec, int argc, char **argv,
               const char *operands[ARGS_OPERANDS_MAX]) MUST_CHECK;

/* A key as it is typed: as it is, but \xHH and \\ stand for a byte. Decodes in place; -1: a \ without
 * sense. */
int args_unescape(char *text, size_t *len) MUST_CHECK;

#endif
