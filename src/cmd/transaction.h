/* transaction.h - MULTI, EXEC, DISCARD, WATCH, UNWATCH: what a session has queued and what it watches.
 *
 * EXEC runs the queued commands in one go, and the engine's open group holds what they wrote: all of it
 * is one record of the log. Should one of them meet a lookup that would block, or a write that is refused,
 * the group is cut back to where EXEC began, and EXEC runs again later, or answers EXECABORT.
 *
 * A turn whose commit fails runs its commands again (net/hooks.h). So what a session had queued when its
 * first command joined the group is kept until the turn is over, and put back by
 * transaction_rewind().
 *
 * For processor.c, session.c and cmd_transaction.c. One thread, the loop's. */
#ifndef CMD_TRANSACTION_H
#define CMD_TRANSACTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/list.h"
#include "types/keyspace.h"
#include "varve/slice.h"

struct cmd_ctx;
struct command;
struct processor;
struct session;

struct queued_command {
    const struct command *command;
    int argc;
    struct varve_slice *argv; /* owned, and behind it the bytes */
    size_t bytes;             /* of all that */
    uint64_t ns;              /* how long it took when it ran, */
    int db;                   /* and the session's database then */
};

struct watched_key {
    int db;
    struct varve_slice key; /* owned */
    struct keyspace_watch seen;
};

/* Only grows until it ends; then the session gets a new one. */
struct transaction {
    unsigned refs;
    struct queued_command *queue;
    struct watched_key *watched;
    size_t queue_count;
    size_t queue_cap;
    size_t watched_count;
    size_t watched_cap;
    size_t bytes;   /* of both, about */
    int words;      /* of all queued commands */
    uint32_t flags; /* enum command_flag, of all that is queued */
    int open;       /* 1: after MULTI */
    int refused;    /* 1: a command could not be queued */
};

/* What transaction_rewind() puts back. */
struct transaction_saved {
    struct list node; /* among the processor's that have one; empty ring: none */
    uint64_t group_no;
    struct transaction *transaction; /* counted; NULL: there was none */
    size_t queue_count;
    size_t watched_count;
    uint32_t flags;
    int open;
    int refused;
    int db; /* this and the next one: the session's */
    int proto;
};

void transaction_init(struct session *session);
/* The session has none any more, nor a saved one. */
void transaction_deinit(struct session *session);

/* True if the session's commands are queued. */
int transaction_is_open(const struct session *session);

/* To be called before anything below for a command that is about to run: the state that a rewind
 * would put back. */
void transaction_save(struct processor *processor, struct session *session);
/* That command ended and no group is open, so it will not run again: nothing is saved any more. */
void transaction_unsave(struct session *session);
/* The commit failed, and the turn is run again: the session is as it was before its first command of that
 * group. */
void transaction_rewind(struct processor *processor, struct session *session);
/* The turn is over. */
void transaction_forget_saved(struct processor *processor);

/* The session's, made if there is none; NULL: no memory. */
struct transaction *transaction_of(struct session *session);
/* Queues the command of ctx and writes its reply. */
void transaction_queue(struct cmd_ctx *ctx);
/* Looks at a key and remembers what it saw: 0, or what keyspace_watch() returned, or VARVE_ENOMEM. */
int transaction_watch(struct cmd_ctx *ctx, struct varve_slice key,
                      struct varve_err *err) MUST_CHECK;
/* Only the first `count` keys are watched. */
void transaction_watch_cut(struct session *session, size_t count);
/* 1 if what is queued and watched is within client-query-buffer-limit; else the client is to be closed. */
int transaction_fits(struct cmd_ctx *ctx) MUST_CHECK;
/* A command could not be queued: EXEC will refuse the rest. Without MULTI nothing happens. */
void transaction_refuse(struct session *session);
/* EXEC is refused for what the error line says that begins at `at` of the output: its reply, from `start`
 * on, is EXECABORT and that line, and the transaction ends. */
void transaction_abort(struct cmd_ctx *ctx, size_t start, size_t at);
/* What is queued and watched goes. */
void transaction_end(struct session *session);

/* What the command of ctx runs besides itself: the session's transaction if it is EXEC, else NULL. */
const struct transaction *transaction_run_by(const struct cmd_ctx *ctx);

#endif
