/* table.h - the one table of commands, made of table.def. A row feeds dispatch, COMMAND,
 * COMMAND DOCS, COMMAND LIST and INFO commandstats. Constant once processor_create() returned. */
#ifndef CMD_TABLE_H
#define CMD_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "cmd/ctx.h"
#include "varve/slice.h"

/* What COMMAND shows, in Redis's order, then our own. */
enum command_flag {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_NOSCRIPT = 1 << 4,
    CMD_LOADING = 1 << 5,
    CMD_STALE = 1 << 6,
    CMD_FAST = 1 << 7,
    CMD_NO_AUTH = 1 << 8,
    CMD_NO_MULTI = 1 << 9,
    CMD_ALLOW_BUSY = 1 << 10,
    CMD_SKIP_SLOWLOG = 1 << 11,
    CMD_NO_ASYNC_LOADING = 1 << 12,
    CMD_SKIP_MONITOR = 1 << 15, /* MONITOR does not show it, nor those with ADMIN */
    CMD_BARRIER = 1 << 16,      /* effects beyond the keys: runs with no open group (net/hooks.h) */
    CMD_LOCAL = 1 << 17, /* any loop may run it: keys are looked up, nothing else is touched */
    CMD_HALT = 1 << 18,  /* looks at, or changes, what other loops own: they rest meanwhile */
};

/* Categories, in Redis's order. */
enum command_acl {
    ACL_KEYSPACE = 1 << 0,
    ACL_READ = 1 << 1,
    ACL_WRITE = 1 << 2,
    ACL_SET = 1 << 3,
    ACL_SORTEDSET = 1 << 4,
    ACL_LIST = 1 << 5,
    ACL_HASH = 1 << 6,
    ACL_STRING = 1 << 7,
    ACL_BITMAP = 1 << 8,
    ACL_HYPERLOGLOG = 1 << 9,
    ACL_GEO = 1 << 10,
    ACL_STREAM = 1 << 11,
    ACL_PUBSUB = 1 << 12,
    ACL_ADMIN = 1 << 13,
    ACL_FAST = 1 << 14,
    ACL_SLOW = 1 << 15,
    ACL_BLOCKING = 1 << 16,
    ACL_DANGEROUS = 1 << 17,
    ACL_CONNECTION = 1 << 18,
    ACL_TRANSACTION = 1 << 19,
    ACL_SCRIPTING = 1 << 20,
};

struct command {
    const char *name;             /* lower case; of a subcommand its own word: "get" */
    const char *full_name;        /* "config|get"; the same as name at the top level */
    const char *parent_name;      /* NULL at the top level */
    const struct command *parent; /* likewise */
    int child_count;              /* subcommands: the rows that follow */
    command_fn run;               /* NULL: a container, which needs a subcommand */
    int arity;                    /* as COMMAND shows it: the name counts, negative is at least */
    uint32_t flags;               /* enum command_flag */
    uint32_t acl;                 /* enum command_acl, the implied ones included */
    const char *keys;             /* this and the rest: columns of table.def; "": none */
    const char *tips;
    const char *since;
    const char *group;
    const char *complexity;
    const char *summary;
    const char *history;
    const char *arguments;
};

void command_table_init(void); /* any number of times, any thread */

int command_count(void);                 /* rows, subcommands included */
const struct command *command_at(int i); /* i in [0, command_count()) */
int command_index(const struct command *command);

/* The row of a name, any case: of the top level if parent is NULL. NULL: there is none. */
const struct command *command_find(const struct command *parent, struct varve_slice name);

/* The same of a name as clients write it: "get", or "config|get". */
const struct command *command_find_full(struct varve_slice name);

/* 1 if argc, with the name, fits the row. */
static inline int command_arity_fits(const struct command *command, int argc)
{
    return command->arity >= 0 ? argc == command->arity : argc >= -command->arity;
}

/* Where the keys of a command lie in its arguments. */
struct command_keys {
    int first; /* 0: it has none */
    int last;  /* counted from first, or from the end if negative */
    int step;
    const char *flags; /* words up to the end, a '|' or a ';', then a note */
};

/* Those of one key spec, i from 0 on. Returns 0 if there is no such spec. */
int command_key_spec(const struct command *command, int i, struct command_keys *keys);
/* All of them as one; first is 0 if there are none. */
void command_get_keys(const struct command *command, struct command_keys *keys);

/* The name of the i-th flag or category, or NULL at the end; *bit is its bit. */
const char *command_flag_name(int i, uint32_t *bit);
const char *command_acl_name(int i, uint32_t *bit);

/* The handlers; a row may share another's. */
#define COMMAND(name, handler, ...) void handler(struct cmd_ctx *ctx);
#define SUBCOMMAND(parent, name, handler, ...) void handler(struct cmd_ctx *ctx);
#include "cmd/table.def"

#endif
