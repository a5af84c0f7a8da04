/* internal.h - what the files of src/net share. Not for others.
 *
 * Output of a connection: replies are appended to `out`. Bytes have a position in the stream of all
 * replies: out.data[0] is at out_base, what lies before out_sent has left. What the system does not
 * take at once goes, buffer and all, into a struct out_write, and replies go on in a fresh buffer;
 * there is at most one such write a connection. Held replies are {start, end, seq} in stream order:
 * nothing from the first one's start on may leave.
 *
 * A long value is not in `out`: `pins` says where it belongs, and it has no position of its own. It lies in the
 * engine's memory, which is not held for a slow reader: what the system does not take in the turn that read
 * it, or is held back, is copied into `out` (output_copy_pins). */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include <sys/socket.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mutant.h"
#include "base/thread.h"
#include "metrics/metrics.h"
#include "net/conn.h"
#include "net/loop.h"
#include "resp/writer.h"

#define NET_TICK_MS 100
#define NET_ADDRESSES_MAX 16
#define NET_LISTENERS_MAX (2 * NET_ADDRESSES_MAX) /* old and new ones, while they change */
#define NET_SPARE_BUFS 128                        /* output buffers kept for the next replies, */
#define NET_SPARE_BUF_BYTES ((size_t)64 * 1024)   /* of at most this size each */
#define COLD_RUNS 2      /* so often a cold connection runs without a wait until it is none */
#define NET_AHEAD_MAX 16 /* commands parsed before the first of them runs */
#define NET_HELD_KEEP 32 /* room for held replies kept between turns */

struct held {
    uint64_t start; /* positions in the stream of replies */
    uint64_t end;
    uint64_t seq;
};

enum conn_leaving {
    CONN_STAYS,
    CONN_LEAVES,      /* at the end of the turn, with its replies */
    CONN_LEAVES_SOON, /* in the turn after the one that sends them */
};

struct out_write {
    uv_write_t req;
    struct conn *conn;
    struct buf data;
    size_t unsent_bytes;
};

struct conn {
    struct net_loop
        *loop; /* whose it is: that loop's thread alone touches it, but for what follows */
    struct net_loop *home; /* that has its socket, for life */

    /* The home loop's, wherever the connection is. */
    uint8_t reading;      /* uv_read_start is in force */
    uint8_t eof;          /* the peer sends no more */
    uint8_t away;         /* the writer's loop has it, or it is on its way */
    uint8_t fresh;        /* input came while it was away */
    uint8_t broken;       /* the socket failed while it was away */
    uint8_t wanted;       /* it was recalled while it was away */
    int fd;               /* accepted, and not yet given to the handle; -1: none */
    _Atomic int recalled; /* it is of no use to wait on for a guest: its peer is gone */

    /* The writer's loop's, wherever the connection is. */
    uint8_t visiting;      /* it is a guest there */
    uint8_t unwanted;      /* it is closed once it comes */
    int push_failed;       /* likewise: what was to be pushed was too much */
    struct buf pushes;     /* what is to be pushed once it comes */
    struct list want_node; /* in loop->recalling of its home */
    struct list guest_node;

    /* Of whose mail it is in. */
    struct list recall_node; /* under the mail's mutex */
    struct list travel_node;
    uint8_t in_transit;
    uint8_t doomed; /* killed on its way */

    void *session;
    struct resp_reader *reader;
    struct resp_writer writer; /* into out */
    struct buf out;
    struct resp_pins pins; /* values that belong into out; none between turns */
    uint64_t out_base;
    size_t out_sent;
    struct out_write *writing; /* NULL: none */

    struct resp_command ahead[NET_AHEAD_MAX]; /* parsed; those from ahead_at on did not run yet */
    uint8_t ahead_at;
    uint8_t ahead_count;
    uint8_t ahead_status; /* enum resp_status: what came behind them; RESP_COMMAND: not known */

    /* Commands that ran, were undone by a failed commit and have to wait; they come before `ahead`. NULL:
     * none. Those from again_at on did not run yet. */
    struct resp_command *again;
    uint32_t again_at;
    uint32_t again_count;

    uint64_t read_turn_no; /* what it sent was read then, and runs at the turn's end, or later */
    uint64_t turn_no;      /* the turn that the next two count for */
    uint32_t turn_commands;
    size_t turn_bytes;

    unsigned in_turn : 1;     /* in loop->turn or loop->cold */
    unsigned in_cold : 1;     /* in loop->cold */
    unsigned cold : 2;        /* not 0: one of its last commands waited, but not for a time */
    unsigned more : 1;        /* the reader may have whole commands that did not run yet */
    unsigned leaving : 2;     /* enum conn_leaving: what comes next is for the writer's loop */
    unsigned close_after : 1; /* nothing more is run; closed once all replies have left */
    unsigned bad_input : 1;   /* protocol error: its text follows the replies of the turn */
    unsigned dead : 1;        /* in loop->dying, or beyond */
    unsigned parked : 1;      /* its next command waits for net_unpark() */

    struct held *held; /* [held_first, held_first + held_count) */
    uint32_t held_first;
    uint32_t held_count;
    uint32_t held_cap;

    uint64_t mark_group; /* the group that the marks belong to: where its replies began */
    size_t mark_len;
    uint32_t mark_held;

    size_t queued_bytes;       /* that the system had not taken when it went to the writer's loop */
    size_t swept_unsent_bytes; /* when the sweep last looked */
    uint64_t active_ms;
    uint64_t unauthenticated_ms; /* since when it is, if it is */
    uint64_t born_ms;
    uint64_t soft_since_ms; /* above output_soft_bytes since then; 0: it is not */
    struct list all_node;
    struct list turn_node;
    struct list held_node; /* in loop->held while held_count > 0 */
    struct list dead_node;
    struct list delay_node;    /* in loop->delayed while it is parked for a time */
    struct resp_limits limits; /* the reader's */
    uv_tcp_t tcp;
};

/* Where a listener was told to listen. */
struct address {
    struct sockaddr_storage at; /* with the port that was asked for, which may be 0 */
    socklen_t len;
    int optional; /* 1: this machine need not have it */
};

struct listener {
    uv_poll_t poll; /* it owns the listener once it was given to uv_close */
    struct net_loop *loop;
    struct address address;
    int fd;
    int paused; /* no descriptor to be had: tried again at the next tick */
};

/* A command of the open group, to be run again if its commit fails. */
struct logged {
    struct conn *conn; /* NULL: it was taken out, to run later */
    struct resp_command command;
};

/* What other loops hand to one. */
struct mail {
    struct mutex mutex;
    struct list travellers; /* connections, by travel_node */
    struct list recalls;    /* by recall_node: the writer's loop wants them */
    int stop;               /* the loop is to end */
    uv_async_t news;        /* and the next one: the loop's */
    int open;
};

struct net_loop {
    struct net_hooks hooks;
    struct net_limits limits;
    uint64_t (*now_fn)(void);
    uint64_t now_ms; /* as of the turn's begin */

    uint64_t turn_no;
    size_t turn_ran;      /* connections whose commands the turn ran */
    size_t turn_output;   /* bytes of their replies since some were sent amid the turn */
    uint64_t ticked_turn; /* the turn that tick() was called for */
    struct list turn;     /* connections that the turn's end must look at */
    struct list cold;     /* behind those: of cold ones, some a turn */
    struct conn *running; /* whose commands run right now; NULL: none */
    uint64_t group_no;    /* commits so far */
    struct logged *logged;
    uint32_t logged_count;
    uint32_t logged_cap;

    struct list
        delayed; /* connections that are parked for a time, in the order in which they came */
    uint64_t delay_first_us; /* when the first of them is due; UINT64_MAX: none is */
    struct list held;        /* connections with held replies */
    uint64_t failed_seq;     /* of a failed sync that was reported, UINT64_MAX: none */
    int durable_news;
    int stopping;

    struct list all;
    uint32_t conn_count; /* in all; of the writer's loop: with those of the others */
    struct list dying;   /* marked, not yet given to uv_close */
    struct list closed;  /* closed, to be freed by the reaper */
    struct resp_pool *pool;
    struct buf spare[NET_SPARE_BUFS];
    uint32_t spare_count;
    struct metrics *metrics;

    struct listener *listeners[NET_LISTENERS_MAX];
    uint32_t listener_count;
    int reserve_fd; /* given up to accept and close a client when descriptors have run out */
    uint64_t shed_log_ms;

    /* The loops of a team (team.h). */
    struct team *team;     /* NULL: it is alone */
    struct net_loop *main; /* the writer's loop, NULL for that one itself */
    uint32_t no;           /* 0: the writer's */
    uint32_t placed;       /* connections that were given to it; counted by the writer's loop */
    struct mail mail;      /* in */
    struct list guests;    /* of the writer's loop, by guest_node */
    struct list departing; /* of another one: to the writer's loop at the end of the turn */
    struct list returning; /* to this one; the writer's loop's, like the next */
    struct list recalling;
    unsigned guest_sweep;

    uv_loop_t uv;
    uv_check_t check;
    uv_idle_t idle; /* active while work is left over, so that the poll does not wait */
    uv_timer_t timer;
    uv_timer_t delay_timer; /* active while `delayed` is not empty */
};

/* loop.c */
void loop_on_idle(uv_idle_t *idle);

/* turn.c */
void turn_touch(struct conn *conn); /* the turn's end looks at it; if it is cold, a later one's */
void turn_run_conn(struct conn *conn);
void turn_await(struct conn *conn); /* its commands run once all that is there was read */
void conn_bad_status(struct conn *conn, enum resp_status status);
void turn_commit(struct net_loop *loop);
void turn_end(struct net_loop *loop);

/* Has it a command that was parsed, and did not run? */
static inline int conn_has_parsed(const struct conn *conn)
{
    return conn->ahead_at < conn->ahead_count ||
           (conn->again != NULL && conn->again_at < conn->again_count);
}

/* The writer's loop has it as a guest. */
static inline int conn_is_guest(const struct conn *conn)
{
    return conn->loop != conn->home;
}

/* team.c */
void conn_depart(struct conn *conn);                        /* to the writer's loop */
void guest_settle(struct conn *conn, uint64_t durable_seq); /* it stays, or goes home */
void guest_bury(struct conn *conn);                         /* its session ends; it goes home */
struct net_loop *team_choose(struct net_loop *loop);        /* the home of the next connection */
/* A connection for another home than the writer's loop, which accepted it. */
void team_place(struct net_loop *loop, struct net_loop *home, int fd, const char *peer,
                const char *local);
/* It is at home, or on its way: the writer's loop wants it. */
void team_recall(struct conn *conn);
void team_post(struct net_loop *loop); /* the mail of a turn */
void team_rest(struct net_loop *loop); /* if the writer's loop wants it */
void team_sweep(struct net_loop *loop);
void team_destroy(struct net_loop *loop);

/* park.c */
void conn_park(struct conn *conn, uint64_t delay_us);
void conn_forget_park(struct conn *conn); /* of one that dies */
void park_on_delay(uv_timer_t *timer);

/* turn.c */
/* Takes so many commands, and about so many bytes of them, out of the input; conn->ahead_status says what is
 * behind them. Returns how many there were. */
uint32_t conn_parse(struct conn *conn, struct resp_command *commands, uint32_t max,
                    size_t bytes_max);
/* They run next, on that loop. */
void conn_hint(const struct net_loop *loop, const struct conn *conn,
               const struct resp_command *commands, size_t count);
int conn_output_failed(struct conn *conn); /* 1: and it is killed */

/* conn.c; fd is the loop's from here on, also if it fails. */
struct conn *conn_create(struct net_loop *loop, struct net_loop *home);
void conn_free(struct conn *conn);
void conn_open(struct conn *conn, int fd);
int peer_is_gone(const struct conn *conn);
void conn_accept(struct net_loop *loop, int fd, const char *peer, const char *local);
/* Reads, or not, or closes, as its state wants; clogged: too much output waits. */
void conn_pace(struct conn *conn, int clogged);
void conn_kill(struct conn *conn); /* by its owner */
void conn_bury(struct net_loop *loop);
void conn_reap(struct net_loop *loop);
void conn_sweep(struct net_loop *loop);
void conn_resize_limits(struct conn *conn);

/* output.c */
size_t output_unsent_bytes(const struct conn *conn);
int output_prepare(struct conn *conn) MUST_CHECK; /* a buffer to append to; VARVE_ENOMEM */
int output_hold(struct conn *conn, size_t start, uint64_t seq) MUST_CHECK;
void output_cut_held(struct conn *conn, uint32_t count);
void output_release(struct conn *conn, uint64_t durable_seq);
void output_fail(struct conn *conn, uint64_t durable_seq);
void output_flush(struct conn *conn);     /* leaves no pins */
void output_give_back(struct conn *conn); /* the buffer, if it is empty */
void output_trim(struct conn *conn);      /* an idle connection's memory */
void output_deinit(struct conn *conn);
void output_spare_deinit(struct net_loop *loop);

/* listener.c */
void listener_close_all(struct net_loop *loop);
void listener_tick(struct net_loop *loop);
void listener_keepalive(struct net_loop *loop);

static inline int conn_is_open(const struct conn *conn)
{
    return !conn->dead && !conn->close_after && conn->writer.failed == 0;
}

static inline int conn_can_run(const struct conn *conn)
{
    return conn_is_open(conn) && !conn->parked && !conn->leaving;
}

/* Output or held replies are at their bounds: nothing is run or read until some have left. */
static inline int conn_is_clogged(const struct conn *conn)
{
    const struct net_limits *limits = &conn->loop->limits;

    if (MUTANT("run-when-clogged"))
        return 0;
    return output_unsent_bytes(conn) > limits->output_pause_bytes ||
           conn->held_count >= limits->held_max_count;
}

#endif
