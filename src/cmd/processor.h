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
struct varve_err;

/* What commands ask of the program around them. On the loop's thread, but for wake(). The first two may be
 * NULL if somebody else sees to it that fetches are looked after. */
struct processor_host {
    void *arg;
    /* Any thread: processor_woken() is to be called on the loop's thread. */
    void (*wake)(void *arg);
    /* The command of a session that is parked may run again: who the session is, is its figures_arg. */
    void (*unpark)(void *arg, void *figures_arg);
    /* The client of a session, given by its figures_arg, is closed at the end of the turn: it runs nothing
     * more, and what it was not sent yet is dropped. May be NULL. */
    void (*kill)(void *arg, void *figures_arg);
    /* These bytes, borrowed for the call, follow what the client was answered so far. May be NULL. */
    void (*push)(void *arg, void *figures_arg, struct varve_slice bytes);
    /* SHUTDOWN was accepted: stop after this turn. */
    void (*shutdown)(void *arg);
    /* Between the two the other loops rest, and what they counted was taken (processor_take). They nest. May be
     * NULL: there is one loop. */
    void (*halt)(void *arg);
    void (*resume)(void *arg);
    /* A setting that is not read where it is used was changed by CONFIG SET; returns NULL or why it
     * could not be applied (static text): the old value is then put back. */
    const char *(*config_changed)(void *arg, const char *name);
};

enum processor_step {
    PROCESSOR_DONE,
    PROCESSOR_COMMIT_FIRST,
    PROCESSOR_COMMIT_NOW,
    PROCESSOR_PARK,
};

struct processor_outcome {
    uint64_t wait_seq; /* this and the next two: see net/hooks.h */
    int sync;
    int close_after;
    int uncommitted;  /* 1: the engine's open group is not empty */
    uint64_t park_us; /* with PARK: run again after this time; 0: when unpark() was called */
};

/* Everything is borrowed for life. NULL: no memory. */
struct processor *processor_create(struct keyspace *keyspace, struct config *config,
                                   struct metrics *metrics, const struct processor_host *host);
/* Does what rename-command says in the config: a new name finds the command, the old one does not. Before the first
 * session. VARVE_EINVAL: there is no such command, or there is one of the new name. */
int processor_rename_commands(struct processor *processor, struct varve_err *err) MUST_CHECK;
/* After all its sessions, and after the threads of the engine's jobs. Takes NULL. */
void processor_destroy(struct processor *processor);

/* For a loop beside the writer's: runs commands of CMD_LOCAL by itself, on its own thread, and counts them. keyspace
 * is a reader (types/keyspace.h) and metrics the loop's; all is borrowed for life. Made, and destroyed before the
 * processor is, on the writer's thread. NULL: no memory. */
struct processor *processor_create_reader(struct processor *processor, struct keyspace *keyspace,
                                          struct metrics *metrics);
void processor_destroy_reader(struct processor *reader); /* takes NULL */
/* While it rests: the settings may have changed. */
void processor_refresh_reader(struct processor *reader);
/* A turn of that loop begins at now_us (clock_mono_us()), after processor_tick(); closed: all commands are the writer's
 * in it. */
void processor_begin_reads(struct processor *reader, uint64_t now_us, int closed);
/* 1: the command ran, and its reply may be sent. 0: nothing happened, it is for processor_run(). */
int processor_read(struct processor *reader, struct session *session, int argc,
                   const struct varve_slice *argv, struct resp_writer *out) MUST_CHECK;
/* While the reader rests: what it counted becomes the processor's. */
void processor_take(struct processor *processor, struct processor *reader);
/* On the reader's thread: the number of commands that it ran since the last call, which are to be added to the
 * processor's. */
uint64_t processor_take_commands(struct processor *reader);
void processor_add_commands(struct processor *processor, uint64_t count);
/* 1: commands of all loops are to run on the writer's (MONITOR, CLIENT PAUSE). */
int processor_wants_all(const struct processor *processor);

/* Runs one command for the session. argv is borrowed for the call. COMMIT_FIRST: nothing happened,
 * commit the open group and call again (net/hooks.h says why). PARK: nothing happened, call again later. */
enum processor_step processor_run(struct processor *processor, struct session *session, int argc,
                                  const struct varve_slice *argv, struct resp_writer *out,
                                  struct processor_outcome *outcome) MUST_CHECK;

/* A turn of the active expirer, between the turns of commands; returns in how many microseconds the next one is
 * due (types/expirer.h). It is due as well when host.wake() was called. */
uint64_t processor_expire(struct processor *processor) MUST_CHECK;

/* Takes what was fetched for parked commands, and has those that have all of it unparked. */
void processor_woken(struct processor *processor);

/* Waits until no fetch, and no walk of the expirer, runs (counts are cancelled), and gives up what was fetched: no command runs any more. To be called before
 * the engine is closed. */
void processor_drain(struct processor *processor);

/* A hint that these commands of the session run next: what their first keys lead to is brought near. */
#define PROCESSOR_PREFETCH_MAX 32
struct resp_command;
void processor_prefetch(struct processor *processor, const struct session *session,
                        const struct resp_command *commands, size_t count);

/* The open group was committed, or its commit failed and it is gone. To be called before anything runs. */
void processor_group_ended(struct processor *processor, int committed);

/* For the latency monitor, in microseconds: how long a commit took, and the longest of the last syncs. */
void processor_note_commit(struct processor *processor, uint64_t us);
void processor_note_sync(struct processor *processor, uint64_t us);

/* The commit of the open group failed, and its commands run again, each session's from its first one on: to
 * be called before the first of them, for each of these sessions. */
void processor_rewind(struct processor *processor, struct session *session);

/* Ends a turn: the next command reads the clock anew. To be called after every turn, as
 * net_hooks.tick is; until the first call every command reads the clock. */
void processor_tick(struct processor *processor);

#endif
