/* config.h - the server's settings: one table (options.def) makes the parser of the file and of the
 * command line, CONFIG GET/SET/REWRITE, --help and the default file.
 *
 * Syntax: `name value ...` lines as in redis.conf: # comments, "quotes" with \n \r \t \b \a \xHH,
 * 'quotes' with \', `include PATTERN`; sizes are 1k = 1000, 1kb = 1024, 1m, 1mb, 1g, 1gb.
 * Errors are one line: "FILE:LINE: OPTION: what is wrong". The value of a secret (requirepass) is in
 * no error and no log line.
 *
 * One thread, the loop's; before that, main's. Strings that a getter returns live until that option
 * is set again. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/check.h"
#include "varve/slice.h"
#include "varve/status.h"

/* OPT_PORT, OPT_BIND, ...: one a row of options.def. */
enum config_option {
#define OPTION(id, name, type, value, min, max, unit, flags, group, text) OPT_##id,
#define ALIAS(name, id)
#include "config/options.def"
#undef OPTION
#undef ALIAS
    OPT_COUNT
};

enum config_type {
    CONFIG_INT,
    CONFIG_SIZE,     /* bytes, written with units */
    CONFIG_BOOL,     /* yes or no */
    CONFIG_ENUM,     /* one of the words in `unit`; its number is the word's place there */
    CONFIG_STR,      /* any text */
    CONFIG_ADDRS,    /* IP addresses, or * and ::*; a leading - makes an address optional */
    CONFIG_SAVE,     /* pairs of "SECONDS CHANGES", or "" */
    CONFIG_PERCENTS, /* numbers from 0 to 100, or "" */
    CONFIG_NONE,     /* only "": what would be promised by another value is not there */
    CONFIG_LIMITS,   /* "CLASS HARD SOFT SECONDS ..." for each client class */
};

enum config_flags {
    CONFIG_RUNTIME = 1,    /* CONFIG SET may change it */
    CONFIG_IGNORED = 2,    /* accepted for redis.conf's sake; nothing reads it */
    CONFIG_MULTI = 4,      /* several words, kept joined by a space */
    CONFIG_SECRET = 8,     /* never logged */
    CONFIG_PROTECTED = 16, /* CONFIG SET is refused with Redis's word for it */
    CONFIG_PERCENT = 64,   /* a SIZE may be "N%", up to 100: its number is then negative */
    CONFIG_HIDDEN = 128,   /* CONFIG GET tells it by its whole name only */
    CONFIG_OR_ZERO = 256,  /* 0 is good besides what lies between min and max */
    CONFIG_SAME = 32,      /* CONFIG SET accepts the present value and no other */
};

enum config_client_class { CONFIG_NORMAL, CONFIG_REPLICA, CONFIG_PUBSUB, CONFIG_CLASS_COUNT };

/* client-output-buffer-limit of one class; 0 bytes: no such limit. */
struct config_limit {
    uint64_t hard_bytes;
    uint64_t soft_bytes;
    uint64_t soft_seconds;
};

/* What the command line asks for. */
enum config_action {
    CONFIG_RUN,
    CONFIG_HELP,    /* -h, --help */
    CONFIG_VERSION, /* -v, --version */
    CONFIG_CHECK,   /* --check-config: say whether the settings are good, and leave */
    CONFIG_PRINT,   /* --print-config: the commented default file to stdout */
};

struct config; /* opaque */

struct config *config_create(void) MUST_CHECK; /* all defaults; NULL: no memory */
void config_destroy(struct config *config);    /* takes NULL */

/* ---- reading ---- */

/* INT as it is, SIZE in bytes, BOOL 0 or 1, ENUM the word's place: appendfsync is an
 * enum varve_durability, loglevel an enum log_level. */
int64_t config_int(const struct config *config, enum config_option option);

/* STR, ADDRS, SAVE, PERCENTS as text ("" if unset), ENUM and BOOL as their word. */
const char *config_str(const struct config *config, enum config_option option);

/* The index-th space-separated word of a STR, ADDRS or PERCENTS into out, NUL-terminated. 0: there is none
 * (or it does not fit, which no valid address does). */
int config_word(const struct config *config, enum config_option option, size_t index, char *out,
                size_t cap) MUST_CHECK;

void config_limit(const struct config *config, enum config_client_class class,
                  struct config_limit *limit);

/* The absolute path of the file that was read, "" if there was none. */
const char *config_file(const struct config *config);

/* The i-th rename-command of the file and the command line: an empty `to` takes the command away. 0: there
 * are not so many. The texts live as long as the config. */
int config_rename(const struct config *config, size_t i, const char **from, const char **to);

/* Calls visit once for each option whose name matches one of the patterns (globs, any case), in the
 * table's order, aliases last; a pattern without wildcards is given back as it was written, as Redis
 * does. Returns how many there are; visit may be NULL. Arguments are borrowed for the call. */
typedef void (*config_visit_fn)(void *arg, struct varve_slice name, struct varve_slice value);
size_t config_match(const struct config *config, const struct varve_slice *patterns, size_t count,
                    config_visit_fn visit, void *arg);

/* ---- setting, before the server runs ---- */

/* Sets one option from its words, as a line of a file does. Immutable ones too. */
int config_set(struct config *config, const char *name, const char *value,
               struct varve_err *err) MUST_CHECK;

/* Reads a file ("-": standard input) and what it includes. Settings before the line that fails
 * stay. */
int config_parse_file(struct config *config, const char *path, struct varve_err *err) MUST_CHECK;

/* `varved [FILE | -] [--name value ...] [--name value ...]`: the command line wins over the file.
 * On CONFIG_HELP, CONFIG_VERSION and CONFIG_PRINT nothing was read. */
int config_parse_args(struct config *config, int argc, char *const *argv,
                      enum config_action *action, struct varve_err *err) MUST_CHECK;

/* Logs, in as few lines as hold them, which of the given options have no effect here. */
void config_log_ignored(const struct config *config);

/* ---- setting, at run time ---- */

/* Tells that an option has a new value; NULL, or static text why it cannot be applied. */
typedef const char *(*config_apply_fn)(void *arg, const char *name);

/* CONFIG SET name value [name value ...]: all or none. apply (may be NULL) is called for each
 * changed option that is not ignored; if one refuses, all are put back and those that had been
 * applied are applied again. On an error err holds what follows "-ERR ", as Redis words it. */
int config_set_pairs(struct config *config, const struct varve_slice *pairs, size_t pair_count,
                     config_apply_fn apply, void *arg, struct varve_err *err) MUST_CHECK;

/* CONFIG REWRITE: the file anew with the present values; comments, order and includes stay. The new
 * file is verified to read back as the present settings, synced, and renamed into place; on an
 * error the old one is untouched. */
int config_rewrite(const struct config *config, struct varve_err *err) MUST_CHECK;

/* ---- texts ---- */

void config_print_help(FILE *out);    /* the options, grouped, with their defaults */
void config_print_default(FILE *out); /* a commented file that changes nothing */

/* ---- the table ---- */

struct config_row {
    const char *name;
    const char *value; /* the default, as a file would say it */
    int64_t min;       /* INT and SIZE only */
    int64_t max;
    const char *unit; /* "seconds"; of an ENUM its words; "" */
    const char *text; /* "" for ignored ones */
    const char *group;
    enum config_type type;
    unsigned flags; /* of enum config_flags */
};

const struct config_row *config_row(enum config_option option);

/* The row's option by any-case name, aliases too; -1: unknown. */
int config_find(struct varve_slice name);

/* The known name that is fewest edits away from name, NULL if none is near. Static. */
const char *config_nearest(struct varve_slice name);

#endif
