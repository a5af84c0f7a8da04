/* arguments.h - the arguments column of table.def, unfolded; table.def describes its grammar. */
#ifndef CMD_ARGUMENTS_H
#define CMD_ARGUMENTS_H

#include "varve/slice.h"

#define ARGUMENTS_MAX 32 /* of one command, nested ones included */

enum argument_flag {
    ARGUMENT_OPTIONAL = 1,
    ARGUMENT_MULTIPLE = 2,
    ARGUMENT_MULTIPLE_TOKEN = 4, /* its token comes again each time */
};

/* Slices lie in the column's text. */
struct argument {
    struct varve_slice name; /* of a pure token: its token, to be shown in lower case */
    struct varve_slice type; /* "key", "oneof", "block", "pure-token", ... */
    struct varve_slice token;
    struct varve_slice since;
    unsigned flags;
    int key_spec; /* of a key: which */
    int child_count;
    int first_child; /* index, -1: none */
    int next;        /* index of the next sibling, -1: none */
};

struct arguments {
    struct argument all[ARGUMENTS_MAX];
    int used;
    int count; /* at the top level, from all[0] on by `next` */
};

/* Returns 0, or -1 if the text does not follow the grammar, which is a mistake in the table. */
int arguments_parse(const char *text, struct arguments *arguments);

#endif
