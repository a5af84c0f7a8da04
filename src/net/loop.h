/* loop.h - the event loop: accepts, reads, hands commands to the hooks, commits once a turn, writes
 * replies. src/net/hooks.h says what a turn is and what happens when its commit fails.
 *
 * One thread: all calls belong to the thread that runs the loop. Another thread that has news wakes
 * it through a uv_async_t of its own on net_loop_uv(). */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "net/hooks.h"
#include "resp/reader.h"
#include "varve/status.h"

struct metrics;   /* src/metrics/metrics.h */
struct net_loop;  /* opaque */
struct uv_loop_s; /* libuv's */

struct net_limits {
    uint32_t maxclients; /* more than these are told so and closed; at least 1 */
    uint32_t timeout_s;  /* an idle client is closed after so many seconds; 0: never */
    uint32_t
        unauthenticated_s; /* one that has not authenticated, though it must, after so many; 0: never */
    uint32_t tcp_keepalive_s;  /* 0: off */
    int loopback_only;         /* 1: protected mode; other peers are denied and closed */
    uint32_t turn_commands;    /* at most so many commands of a connection run in one turn, */
    size_t turn_bytes;         /* and at most about so many bytes of them */
    size_t turn_output_bytes;  /* after so many of replies they are sent, amid the turn */
    size_t output_pause_bytes; /* a connection with more unsent output runs and reads no more */
    size_t output_max_bytes;   /* a connection with more unsent output is closed; 0: no limit */
    size_t push_max_bytes;     /* the same for conn_push(), if that is 0; 0: no limit */
    size_t output_soft_bytes;  /* one that has more for output_soft_s seconds too; 0: no limit */
    uint64_t output_soft_s;
    uint32_t held_max_count; /* replies that wait for a sync; then it runs and reads no more */
    struct resp_limits resp; /* `unauthenticated` is how a new connection starts */
};

/* What redis.conf's defaults say, and values for the fields that it does not know. */
void net_limits_default(struct net_limits *limits);

/* hooks and limits are copied, metrics is borrowed for life: its counters of connections, bytes and
 * turns are the loop's. now_ms: milliseconds that never go back; NULL: the loop's own clock
 * (a test brings another). Returns 0, VARVE_ENOMEM or VARVE_EIO. Ignores SIGPIPE for the process. */
int net_loop_create(const struct net_hooks *hooks, const struct net_limits *limits,
                    struct metrics *metrics, uint64_t (*now_ms)(void), struct net_loop **loop,
                    struct varve_err *err) MUST_CHECK;

/* Closes all connections and handles (unsent output is dropped) and frees the loop. Takes NULL.
 * Foreign handles on net_loop_uv() must have been given to uv_close() before. */
void net_loop_destroy(struct net_loop *loop);

/* Binds a TCP socket, nothing more. address: an IP or a name, "*" and "::*" for all; with a leading
 * '-' an address that this machine does not have is no error. port 0: any. */
int net_loop_bind(struct net_loop *loop, const char *address, uint16_t port,
                  struct varve_err *err) MUST_CHECK;

/* Starts to listen on all that is bound, and to accept. */
int net_loop_listen(struct net_loop *loop, int backlog, struct varve_err *err) MUST_CHECK;

/* Listens on `port` of these addresses, as net_loop_bind() takes them, and nowhere else: a socket that serves one
 * of them stays, also one that port 0 gave. On an error all is as before; only where an old and a new address
 * exclude each other (127.0.0.1 and *, on the same port) the old ones are closed for a moment, and what is
 * not to be had again afterwards is logged. Open connections stay; those that are not accepted yet may
 * be lost with their socket. */
int net_loop_rebind(struct net_loop *loop, const char *const *addresses, size_t count,
                    uint16_t port, int backlog, struct varve_err *err) MUST_CHECK;

/* The port of the n-th bound socket, 0 if there is none. */
uint16_t net_loop_port(const struct net_loop *loop, uint32_t nth);

/* Runs turns until net_loop_stop(). The running turn is ended first: its writes are committed, its
 * replies leave as far as they can without waiting. Nothing is accepted or run after it. */
void net_loop_run(struct net_loop *loop);
void net_loop_stop(struct net_loop *loop);

/* One iteration; waits for an event if `wait` is not 0. For tests. */
void net_loop_turn(struct net_loop *loop, int wait);

/* Holds no more: waits for nothing, releases what is durable and sends what can be sent at once.
 * Between net_loop_run() and net_loop_destroy(). */
void net_loop_settle(struct net_loop *loop);

/* News of the log: held replies up to seq may leave. failed: those above seq are replaced by
 * hooks.unknown_outcome(). Takes effect at the end of the turn. */
void net_durable(struct net_loop *loop, uint64_t seq, int failed);

/* The highest sequence that a held reply waits for; 0: none is held. */
uint64_t net_loop_held_seq(const struct net_loop *loop);

/* Of one with others beside it (net/team.h): theirs too, and they are halted. */
void net_loop_set_limits(struct net_loop *loop, const struct net_limits *limits);
struct uv_loop_s *net_loop_uv(struct net_loop *loop);

#endif
