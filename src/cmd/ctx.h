/* ctx.h - all that the handler of a command sees. A handler is a function
 *
 *     void cmd_<name>(struct cmd_ctx *ctx);
 *
 * in a file cmd_<family>.c, named in one row of table.def (which also declares it: cmd/table.h). It is
 * called with an arity that fits its row and writes exactly one reply to ctx->out. A subcommand has
 * a row and a handler of its own; argv[0] is then still the parent's name, argv[1] its own.
 * A row with the flag BARRIER has effects beyond the keys, and runs while no write is uncommitted. */
#ifndef CMD_CTX_H
#define CMD_CTX_H

#include <stdint.h>

#include "base/check.h"
#include "base/list.h"
#include "cmd/processor.h"
#include "cmd/session.h"
#include "resp/writer.h"
#include "varve/db.h"
#include "varve/slice.h"
#include "varve/status.h"

struct command; /* src/cmd/table.h */

struct cmd_ctx {
    struct processor *processor;
    struct session *session;
    const struct command *command; /* the row that runs: of a subcommand, its own */
    int argc;
    const struct varve_slice *argv; /* borrowed for the call */
    struct resp_writer *out;
    struct keyspace *keyspace;
    struct config *config;
    struct metrics *metrics;
    const struct processor_host *host;
    uint64_t now_ms;   /* milliseconds since the epoch, never backwards; the whole command's time */
    uint64_t wait_seq; /* what the reply saw or wrote: raised by cmd_saw() */
    int sync;          /* 1: the reply waits until that is durable, in every durability mode */
    int close_after;   /* 1: the connection ends after this reply */
    int in_exec;       /* 1: it is a part of a transaction */
};

typedef void (*command_fn)(struct cmd_ctx *ctx);

/* The Redis whose behaviour the commands have; HELLO and INFO say so. */
#define CMD_REDIS_VERSION "7.0.15"

/* The reply rests on the record with this sequence number; 0 is none. */
static inline void cmd_saw(struct cmd_ctx *ctx, uint64_t seq)
{
    if (seq > ctx->wait_seq)
        ctx->wait_seq = seq;
}

/* ---- arguments (args.c) ---- */

/* Case-insensitive: is the argument this word? `word` is in lower case. */
int cmd_arg_is(struct varve_slice arg, const char *word);

/* The argument as an integer into *value. 0: it is none, and the error reply is written: `error`, or
 * Redis's usual one if that is NULL. */
int cmd_arg_int64(struct cmd_ctx *ctx, int at, int64_t *value, const char *error) MUST_CHECK;

/* The same, of what has to lie between two bounds: else the reply is `error`. */
int cmd_arg_range(struct cmd_ctx *ctx, int at, int64_t min, int64_t max, int64_t *value,
                  const char *error) MUST_CHECK;
/* The same, of what has to fit 32 bits. */
int cmd_arg_int(struct cmd_ctx *ctx, int at, int64_t *value, const char *error) MUST_CHECK;
/* The same, of a database that there is. */
int cmd_arg_database(struct cmd_ctx *ctx, int at, int *db, const char *error) MUST_CHECK;

/* The argument as text in out[cap], cut at its first NUL byte or where out is full: for replies. */
const char *cmd_arg_text(struct varve_slice arg, char *out, size_t cap);

/* The i-th argument as others may see it (MONITOR, SLOWLOG): a password is replaced. */
struct varve_slice cmd_shown_arg(const struct cmd_ctx *ctx, int i);

/* ---- replies (reply.c) ---- */

void cmd_reply_syntax_error(struct cmd_ctx *ctx);
/* argv[1] is none of the container's. */
void cmd_reply_unknown_subcommand(struct cmd_ctx *ctx, const struct command *container);
/* A subcommand that is known has more words behind it than it takes. */
void cmd_reply_wrong_subcommand(struct cmd_ctx *ctx);
void cmd_reply_wrong_arity(struct cmd_ctx *ctx, const struct command *command);

/* The reply to what an operation returned that is neither 0 nor an absent key: an enum types_result,
 * or a failure of the engine (VARVE_EFULL: -OOM ..., VARVE_EREADONLY: -MISCONF ...). */
void cmd_reply_failure(struct cmd_ctx *ctx, int code, const struct varve_err *err);

/* The reply of HELP subcommands: `lines` between Redis's first line and its entry for HELP. */
void cmd_reply_help(struct cmd_ctx *ctx, const char *const *lines, int count);

/* ---- what the processor counts: for INFO, CLIENT LIST, CONFIG RESETSTAT ---- */

struct command_stats {
    uint64_t calls;
    uint64_t nsec; /* the time that they took */
    uint64_t rejected;
    uint64_t failed;
};

struct processor_stats {
    uint64_t commands;        /* executed: total_commands_processed */
    uint64_t error_replies;   /* total_error_replies */
    uint64_t session_count;   /* that are open */
    uint64_t sessions_made;   /* total_connections_received */
    uint64_t paused_sessions; /* that wait for the end of CLIENT PAUSE */
    uint64_t parked_reads;    /* times that a command waited for the disk */
    uint64_t
        delayed_writes; /* times that one was held back since flushes or compactions are late, */
    uint64_t delayed_writes_us;         /* for how long, summed over the connections, */
    enum varve_stall_cause delay_cause; /* and why; VARVE_STALL_NONE: they are not slowed */
};

void processor_get_stats(const struct processor *processor, struct processor_stats *stats);

/* Of a row from command_at() (cmd/table.h). */
const struct command_stats *processor_command_stats(const struct processor *processor,
                                                    const struct command *command);
/* How long its calls took; NULL: none was tracked. */
struct histogram;
const struct histogram *processor_command_histogram(const struct processor *processor,
                                                    const struct command *command);

/* Error replies by their first word, in no order: the i-th class, or NULL at the end. */
const char *processor_error_class(const struct processor *processor, int i, uint64_t *count);

/* Zeroes the counters above, but session_count, and those of the keyspace. */
void processor_reset_stats(struct processor *processor);

struct expirer; /* types/expirer.h */
struct expirer *processor_expirer(struct processor *processor);

/* The head of the ring of sessions: struct session, by `node`, oldest first. */
const struct list *processor_sessions(const struct processor *processor);

#endif
