/* hooks.h - what the event loop asks of whoever runs the commands. src/net knows sockets, turns and
 * held replies; it knows neither commands nor the engine. All hooks run on the loop's thread.
 *
 * A turn is what one poll of the loop brings: the commands of all readable connections run, then
 * commit() is called, then the replies leave. What ran since the last commit() is its group, and nothing of that is
 * sent before; most turns have one group, those with many or long replies several.
 *
 * If commit() fails, nothing of the group has happened: the loop cuts every connection's replies back
 * to where the group began and runs its commands again; the engine refuses writes by then, so
 * writes answer their error and reads are right. Hence a command that does more than read and write
 * keys must not run while the turn has uncommitted writes: execute() answers NET_COMMIT_FIRST for it,
 * the loop commits, and calls it again. What ran before the turn's first write is not run again: it
 * saw no write of the turn, and may have been such a command.
 *
 * A command that would have to wait answers NET_PARK instead: it did nothing, and is called again, as if
 * for the first time, after net_unpark() (net/conn.h) or the time that it asked for. Meanwhile its
 * connection runs and reads nothing more, so that replies keep their order; all others go on. A parked
 * command does not belong to its turn, but those that ran before it do. One that runs again after a failed
 * commit may park then: it and those of its connection that ran after it leave the turn, and run
 * later, in their order. */
#ifndef NET_HOOKS_H
#define NET_HOOKS_H

#include <stddef.h>
#include <stdint.h>

#include "resp/reader.h"
#include "resp/writer.h"

struct conn; /* opaque: src/net/conn.h */

enum net_step {
    NET_DONE,         /* the command ran; its reply is in the writer */
    NET_COMMIT_FIRST, /* it did not run: commit the turn, then call again */
    NET_COMMIT_NOW,   /* it ran, and the turn has grown large: commit before the next command */
    NET_PARK,         /* it did not run: call again when it is unparked */
    NET_FORWARD,      /* it did not run: it is for the writer's loop (net/team.h) */
};

struct net_outcome {
    uint64_t wait_seq; /* what the reply saw or wrote: may leave once acknowledgeable; 0: at once */
    int sync;          /* 1: it leaves only once wait_seq is durable, whatever was promised */
    int close_after;   /* 1: send what is there, then close; later input is dropped */
    int uncommitted;   /* 1: writes of this or an earlier command wait for commit() */
    uint64_t
        park_us; /* with NET_PARK: called again after about so many microseconds, or earlier, with
                  * others whose time has come; 0: after net_unpark() alone */
};

#define NET_HINTS_MAX 32

struct net_hint {
    void *session;
    const struct resp_command *command;
};

struct net_hooks {
    void *arg;

    /* A connection was accepted. peer and local are "ip:port" (or a path), borrowed for the call.
     * Returns the session that the other calls get, or NULL (no memory): the client is closed. */
    void *(*session_open)(void *arg, struct conn *conn, const char *peer, const char *local);
    void (*session_close)(void *session);

    enum net_step (*execute)(void *session, const struct resp_command *command,
                             struct resp_writer *out, struct net_outcome *outcome);

    /* Commands of this session run again, from its first one since the last commit on: after a commit() that
     * failed, before the first command of all runs again. */
    void (*rewind)(void *session);

    /* Around the commands of a turn: after tick(), before the first of them; and after the last commit(),
     * before anything waits. */
    void (*turn_begin)(void *arg);
    void (*turn_end)(void *arg);

    /* A hint: these commands (at most NET_HINTS_MAX) run next, unless one of them ends a connection. May do
     * nothing. */
    void (*prefetch)(void *arg, const struct net_hint *hints, size_t count);

    /* Logs and publishes the turn's writes. 0, or negative: they have no effect (see above), and
     * writes are refused until the next tick() at least. */
    int (*commit)(void *arg);

    /* The sequence that must be durable before a reply with this wait_seq may leave; 0: none.
     * Asked once a command, after it ran, for a wait_seq that is not 0. */
    uint64_t (*ack_seq)(void *arg, uint64_t wait_seq);
    uint64_t (*durable_seq)(void *arg);

    /* The error line (without CR LF) that replaces a held reply whose sync failed. */
    const char *(*unknown_outcome)(void *arg);

    /* About every 100 ms, before the first command of each turn, amid long ones, and when connections come from
     * another loop: whoever keeps the time renews it here. May call net_durable(), and net_kill() of any
     * connection. */
    void (*tick)(void *arg);
};

#endif
