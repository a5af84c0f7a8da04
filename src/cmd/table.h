/* table.h - the one table of commands, made of table.def. A row feeds dispatch, COMMAND,
 * COMMAND DOCS, COMMAND LIST and INFO commandstats. Constant after the program's start. */
#ifndef CMD_TABLE_H
#define CMD_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "cmd/ctx.h"
#include "varve/slice.h"

/* Flags that COMMAND shows, in Redis's order, then our own. */
enum command_flag {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_PUBSUB = 1 << 4,
    CMD_NOSCRIPT = 1 << 5,
    CMD_LOADING = 1 << 6,
    CMD_STALE = 1 << 7,
    CMD_FAST = 1 << 8,
    CMD_NO_AUTH = 1 << 9,
    CMD_NO_MULTI = 1 << 10,
    CMD_ALLOW_BUSY = 1 << 11,
    CMD_BARRIER = 1 << 16, /* effects beyond the keys: see net/hooks.h */
};

struct command {
    const char *name;             /* lower case, of a subcommand its own word: "get" */
    const char *full_name;        /* "config|get"; the same as name at the top level */
    const struct command *parent; /* NULL at the top level */
    command_fn run;               /* NULL: a container, that needs a subcommand */
    int arity;                    /* as COMMAND shows it: the name counts, negative is at least */
    uint32_t flags;
    uint32_t acl;     /* bits of the categories in table.c */
    const char *keys; /* key specs in a small grammar (table.def); "": none */
    const char *tips; /* separated by spaces; "": none */
    const char *since;
    const char *group;
    const char *complexity;
    const char *summary;
    const char *history; /* "version:text|version:text"; "": none */
    const char *syntax;  /* the arguments in the grammar that table.def describes */
};

int command_count(void);                 /* rows, subcommands included */
const struct command *command_at(int i); /* i in [0, command_count()) */
int command_index(const struct command *command);

/* The row of a name, any case: of the top level if parent is NULL. NULL if there is none. */
const struct command *command_find(const struct command *parent, struct varve_slice name);

/* Handlers, one a row with code. */
#define COMMAND(name, handler, ...) void handler(struct cmd_ctx *ctx);
#define SUBCOMMAND(parent, name, handler, ...) void handler(struct cmd_ctx *ctx);
#define CONTAINER(name, ...)
#include "cmd/table.def"
#undef COMMAND
#undef SUBCOMMAND
#undef CONTAINER

#endif
