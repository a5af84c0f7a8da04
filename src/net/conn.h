/* conn.h - what the program around the loop may ask of a connection, from session_open() until
 * session_close() has returned. The loop's thread. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <stdint.h>

#include "varve/slice.h"

struct conn; /* opaque */

struct conn_figures {
    int fd;
    uint64_t input_bytes;      /* received, of commands that did not end yet: qbuf */
    uint64_t input_free_bytes; /* held for input beyond that: qbuf-free */
    uint64_t output_bytes;     /* replies not handed to the system: obl */
    uint64_t held_bytes;       /* memory for the connection itself, and for replies to come */
    uint64_t writing_count;    /* buffers that the system did not take at once: oll */
    uint64_t writing_bytes;    /* and their size: omem */
    uint64_t idle_ms;          /* since the last byte in or out */
    uint64_t age_ms;
};

/* 1: it was killed, by whomever. On the writer's thread, while the other loops rest. */
int conn_is_closing(const struct conn *conn);
void conn_figures(const struct conn *conn, struct conn_figures *figures);

/* Marks the connection: it is closed at the end of the turn, unsent output is dropped. One of another loop
 * (net/team.h) is closed soon; at once, if the loops are halted. */
void net_kill(struct conn *conn);

/* Appends bytes that nobody asked for to the replies so far, in a turn and outside of those of its commands that
 * commit() may undo. A client that reads them too slowly is closed, as for its replies; without a limit
 * for those, by net_limits.push_max_bytes. */
void conn_push(struct conn *conn, struct varve_slice bytes);

/* Lifts (1) or sets (0) the limits on what a client may send before it has authenticated. */
void conn_set_authenticated(struct conn *conn, int authenticated);

/* The parked command (NET_PARK) is to be called again, in one of the next turns. Of a connection that is
 * not parked: nothing. The loop's thread: another thread that ended what was waited for wakes the loop
 * through a uv_async_t of its own (net/loop.h). */
void net_unpark(struct conn *conn);

#endif
