/* processor.h - the command processor: looks a command up in the one table, checks it, runs it.
 * One a server; one thread, the loop's (with several loops, each has its own). */
#ifndef CMD_PROCESSOR_H
#define CMD_PROCESSOR_H

#include <stdint.h>

#include "base/check.h"
#include "resp/writer.h"
#include "varve/slice.h"

struct config;    /* src/config/config.h */
struct keyspace;  /* src/types/keyspace.h */
struct metrics;   /* src/metrics/metrics.h */
struct processor; /* opaque */
struct session;   /* src/cmd/session.h */

/* What commands ask of the program around them. All on the loop's thread. */
struct processor_host {
    void *arg;
    /* SHUTDOWN was accepted: stop after this turn. */
    void (*shutdown)(void *arg);
    /* A setting that is not read where it is used was changed by CONFIG SET; returns NULL or why it
     * could not be applied (static text): the old value is then put back. */
    const char *(*config_changed)(void *arg, const char *name);
};

enum processor_step { PROCESSOR_DONE, PROCESSOR_COMMIT_FIRST, PROCESSOR_COMMIT_NOW };

struct processor_outcome {
    uint64_t wait_seq; /* see net/hooks.h */
    int close_after;
    int uncommitted; /* 1: the engine's open group is not empty */
};

/* Everything is borrowed for life. NULL: no memory. */
struct processor *processor_create(struct keyspace *keyspace, struct config *config,
                                   struct metrics *metrics, const struct processor_host *host);
void processor_destroy(struct processor *processor); /* takes NULL; after all its sessions */

/* Runs one command for the session. argv is borrowed for the call. COMMIT_FIRST: nothing happened,
 * commit the open group and call again (net/hooks.h says why). */
enum processor_step processor_run(struct processor *processor, struct session *session, int argc,
                                  const struct varve_slice *argv, struct resp_writer *out,
                                  struct processor_outcome *outcome) MUST_CHECK;

/* A hint that these commands of the session run next: what their first keys lead to is brought near. */
#define PROCESSOR_PREFETCH_MAX 32
struct resp_command;
void processor_prefetch(struct processor *processor, const struct session *session,
                        const struct resp_command *commands, size_t count);

/* Ends a turn: the next command reads the clock anew. To be called after every turn, as
 * net_hooks.tick is; until the first call every command reads the clock. */
void processor_tick(struct processor *processor);

#endif
