/* team.h - several loops, one writer. The loop that net_loop_create() made is the writer's: it accepts, and
 * owns the sessions. The others, each on a thread of its own, have the sockets of their connections: they
 * read, parse, run what their own execute() takes, and send.
 *
 * A command for which that answers NET_FORWARD makes its connection a guest of the writer's loop: what was
 * parsed and not run, and the replies so far, change their owner with one message a turn. There the commands
 * run in a turn as any other does, up to the commit, and until all replies may leave; then the connection goes
 * home, which sends them. Meanwhile the home loop touches nothing of it but the socket and the reader's
 * buffer, from which nothing is taken. So each connection has one owner at a time, and its commands one order.
 *
 * How the others differ: session_open, session_close, rewind, ack_seq, durable_seq and unknown_outcome
 * of their hooks are not called (they may be NULL); execute() answers NET_DONE with nothing to wait for, or
 * NET_FORWARD without any effect; turn_begin, turn_end, prefetch, tick are called on their own thread, and commit, with
 * nothing to commit. */
#ifndef NET_TEAM_H
#define NET_TEAM_H

#include <stdint.h>

#include "base/check.h"
#include "net/hooks.h"
#include "varve/status.h"

struct conn;
struct metrics;
struct net_loop;

#define NET_TEAM_MAX 127 /* loops beside the writer's */

struct net_member {
    struct net_hooks hooks;
    struct metrics *metrics; /* borrowed for life, its own */
};

/* Gives the loop others beside it, before it accepts. VARVE_ENOMEM, VARVE_EIO: it is alone as before. */
int net_team_create(struct net_loop *main, const struct net_member *members, uint32_t count,
                    struct varve_err *err) MUST_CHECK;
/* Starts their threads; until then, and after net_team_stop(), whoever wants them to run calls net_loop_turn().
 * VARVE_EIO or VARVE_ENOMEM: none runs. */
int net_team_start(struct net_loop *main, struct varve_err *err) MUST_CHECK;
/* Ends them: what was handed back is sent as far as it can be without waiting. Their connections close with the
 * writer's loop. Of a loop that is alone: nothing. */
void net_team_stop(struct net_loop *main);

/* The writer's thread: between the two no other loop runs, and each is between two turns. They nest. */
void net_team_halt(struct net_loop *main);
void net_team_resume(struct net_loop *main);

/* The n-th loop, 0 is the writer's; NULL: there are not so many. */
struct net_loop *net_team_loop(struct net_loop *main, uint32_t no);
/* The number of the loop that has the socket. Any thread. */
uint32_t conn_home(const struct conn *conn);

#endif
