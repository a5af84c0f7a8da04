/* A connection's life: made when its socket was accepted, marked dead by conn_kill(), buried at the
 * end of the turn (its session ends, its handle is closed), freed by the reaper at the end of a later
 * turn, once libuv is through with the handle. So whoever holds a struct conn within a turn may go on
 * using it. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "net/internal.h"
#include "net/team.h"

#define SWEEP_TICKS 10    /* every connection is looked at once in so many ticks */
#define TRIM_IDLE_MS 1000 /* an idle connection keeps no memory after so long */

/* ---- reading ---- */

static void conn_stop_reading(struct conn *conn)
{
    if (!conn->reading)
        return;
    uv_read_stop((uv_stream_t *)&conn->tcp);
    conn->reading = 0;
}

static void on_room(uv_handle_t *handle, size_t suggested_bytes, uv_buf_t *room)
{
    struct conn *conn = handle->data;
    uint8_t *data = NULL;
    size_t len = 0;

    (void)suggested_bytes;
    if (resp_reader_room(conn->reader, &data, &len) != RESP_MORE)
        len = 0; /* libuv then reports UV_ENOBUFS */
    if (len > INT32_MAX)
        len = INT32_MAX;
    *room = uv_buf_init((char *)data, (unsigned)len);
}

/* It is not ours just now; the reader is, and what it gave out stays in place. */
static COLD void read_away(struct conn *conn, ssize_t len)
{
    if (len == 0)
        return;
    conn_stop_reading(conn);
    if (len > 0) {
        conn->home->metrics->net_input_bytes += (uint64_t)len;
        conn->home->metrics->net_reads++;
        resp_reader_filled(conn->reader, (size_t)len);
        conn->fresh = 1;
    } else if (len == UV_EOF) {
        conn->eof = 1;
    } else {
        conn->broken = 1;
        atomic_store_explicit(&conn->recalled, 1, memory_order_relaxed);
    }
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *room)
{
    struct conn *conn = stream->data;

    if (UNLIKELY(conn->away)) {
        read_away(conn, len);
        return;
    }
    if (LIKELY(len > 0)) {
        conn->loop->metrics->net_input_bytes += (uint64_t)len;
        conn->loop->metrics->net_reads++;
        resp_reader_filled(conn->reader, (size_t)len);
        if (!MUTANT("read-unseen"))
            conn->ahead_status = RESP_COMMAND; /* it may leave this loop before it is parsed */
        if (LIKELY((size_t)len < room->len && conn->turn_no != conn->loop->turn_no)) {
            turn_await(conn);
            return;
        }
        turn_run_conn(conn); /* more is there: to make room for it */
        if (UNLIKELY(conn->more || conn->close_after || conn->bad_input || conn->dead))
            conn_stop_reading(conn);
        return;
    }
    turn_touch(conn); /* so that the room goes back */
    if (len == 0)
        return;
    conn_stop_reading(conn);
    if (len == UV_EOF)
        conn->eof = 1;
    else if (len == UV_ENOBUFS)
        conn_bad_status(conn, RESP_NO_MEMORY);
    else
        conn_kill(conn);
}

void conn_pace(struct conn *conn, int clogged)
{
    int idle = conn->out.len == conn->out_sent && conn->writing == NULL;

    if (idle && (conn->close_after || (conn->eof && !conn->more))) {
        conn_kill(conn);
        return;
    }
    if (conn->close_after || conn->eof || conn->more || clogged) {
        conn_stop_reading(conn);
    } else if (UNLIKELY(!conn->reading)) {
        conn->reading = 1;
        if (uv_read_start((uv_stream_t *)&conn->tcp, on_room, on_read) != 0)
            conn_kill(conn);
    }
}

/* ---- birth and death ---- */

struct conn *conn_create(struct net_loop *loop, struct net_loop *home)
{
    struct conn *conn = mem_alloc_zero(sizeof(*conn));

    if (conn == NULL)
        return NULL;
    conn->loop = loop;
    conn->home = home;
    conn->fd = -1;
    conn->limits = loop->limits.resp;
    if (MUTANT("strangers-unlimited"))
        conn->limits.unauthenticated = 0;
    conn->reader = resp_reader_create(&conn->limits, home->pool);
    if (conn->reader == NULL) {
        mem_free(conn);
        return NULL;
    }
    conn->writer = (struct resp_writer){.out = &conn->out, .pins = &conn->pins, .proto = 2};
    list_init(&conn->turn_node);
    list_init(&conn->held_node);
    list_init(&conn->dead_node);
    list_init(&conn->delay_node);
    list_init(&conn->travel_node);
    list_init(&conn->recall_node);
    list_init(&conn->want_node);
    list_init(&conn->guest_node);
    list_init(&conn->all_node);
    buf_init(&conn->pushes, SIZE_MAX / 2);
    conn->born_ms = loop->now_ms;
    conn->unauthenticated_ms = loop->now_ms;
    conn->active_ms = loop->now_ms;
    return conn;
}

/* On its home loop's thread, which has it. */
void conn_open(struct conn *conn, int fd)
{
    struct net_loop *loop = conn->home;

    CHECK(uv_tcp_init(&loop->uv, &conn->tcp) == 0);
    conn->tcp.data = conn;
    list_push_back(&loop->all, &conn->all_node);
    if (uv_tcp_open(&conn->tcp, fd) == 0)
        return;
    close(fd);
    conn_kill(conn);
}

void conn_accept(struct net_loop *loop, int fd, const char *peer, const char *local)
{
    loop->now_ms = loop->now_fn();
    struct net_loop *home = loop->team == NULL ? loop : team_choose(loop);
    if (home != loop) {
        team_place(loop, home, fd, peer, local);
        return;
    }
    struct conn *conn = conn_create(loop, loop);
    if (conn == NULL) {
        close(fd);
        return;
    }
    loop->conn_count++;
    loop->placed++;
    conn_open(conn, fd);
    if (conn->dead)
        return;
    conn->session = loop->hooks.session_open(loop->hooks.arg, conn, peer, local);
    if (conn->session == NULL)
        conn_kill(conn);
    else
        conn_pace(conn, 0);
}

void conn_kill(struct conn *conn)
{
    if (conn->dead)
        return;
    if (UNLIKELY(conn->in_transit)) {
        conn->doomed = 1;
        return;
    }
    conn->dead = 1;
    list_push_back(&conn->loop->dying, &conn->dead_node);
}

/* A guest that is not here just now gets it when it comes. */
static COLD void push_later(struct conn *conn, struct varve_slice bytes)
{
    size_t max = conn->home->main->limits.push_max_bytes;

    if (max != 0 && conn->pushes.len + bytes.len > max)
        conn->push_failed = VARVE_EFULL;
    else if (conn->push_failed == 0)
        conn->push_failed = buf_append(&conn->pushes, bytes.data, bytes.len);
    team_recall(conn);
}

void conn_push(struct conn *conn, struct varve_slice bytes)
{
    int rc = 0;

    if (UNLIKELY(conn->home->main != NULL && !conn->visiting)) {
        push_later(conn, bytes);
        return;
    }
    const struct net_limits *limits = &conn->loop->limits;
    if (conn->dead || conn->close_after || conn->writer.failed != 0)
        return;
    if (limits->output_max_bytes == 0 && limits->push_max_bytes != 0 &&
        output_unsent_bytes(conn) + bytes.len > limits->push_max_bytes && !MUTANT("push-unbounded"))
        rc = VARVE_EFULL;
    if (rc == 0)
        rc = output_prepare(conn);
    if (rc == 0)
        rc = buf_append(&conn->out, bytes.data, bytes.len);
    conn->writer.failed = rc;
    turn_touch(conn);
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;

    list_push_back(&conn->loop->closed, &conn->dead_node);
}

void conn_bury(struct net_loop *loop)
{
    while (UNLIKELY(!list_empty(&loop->dying))) {
        struct conn *conn = CONTAINER_OF(loop->dying.next, struct conn, dead_node);
        list_remove(&conn->dead_node);
        list_remove(&conn->turn_node);
        conn->in_turn = 0;
        if (UNLIKELY(conn_is_guest(conn))) {
            guest_bury(conn);
            continue;
        }
        if (UNLIKELY(loop->main != NULL && conn->session != NULL)) {
            conn_depart(conn);
            continue;
        }
        list_remove(&conn->all_node);
        loop->conn_count--;
        if (LIKELY(loop->main == NULL)) /* else it is that loop's */
            loop->placed--;
        conn_forget_park(conn);
        if (conn->session != NULL)
            loop->hooks.session_close(conn->session);
        conn->session = NULL;
        output_deinit(conn);
        uv_close((uv_handle_t *)&conn->tcp, on_closed);
    }
}

void conn_free(struct conn *conn)
{
    mem_free(conn->again);
    buf_deinit(&conn->pushes);
    if (!MUTANT("keep-closed-input"))
        resp_reader_destroy(conn->reader);
    mem_free(conn);
}

void conn_reap(struct net_loop *loop)
{
    while (UNLIKELY(!list_empty(&loop->closed))) {
        struct conn *conn = CONTAINER_OF(loop->closed.next, struct conn, dead_node);
        list_remove(&conn->dead_node);
        CHECK(conn->writing == NULL);
        conn_free(conn);
    }
}

/* ---- by time ---- */

static void sweep_output(struct conn *conn, uint64_t unsent_bytes)
{
    const struct net_limits *limits = &conn->loop->limits;

    if (limits->output_soft_bytes == 0 || unsent_bytes <= limits->output_soft_bytes ||
        MUTANT("no-soft-limit")) {
        conn->soft_since_ms = 0;
        return;
    }
    if (conn->soft_since_ms == 0)
        conn->soft_since_ms = conn->loop->now_ms;
    if (conn->loop->now_ms - conn->soft_since_ms < limits->output_soft_s * 1000)
        return;
    log_line(LOG_WARNING, "Closing client: its output stayed above the limit of %zu bytes",
             limits->output_soft_bytes);
    conn->loop->metrics->output_limit_closes++;
    conn_kill(conn);
}

/* 1 if a connection that neither reads nor writes, so that the poll does not look at it, was reset. A peer
 * that merely sends no more may still wait for its replies. */
int peer_is_gone(const struct conn *conn)
{
    struct pollfd look = {.fd = -1};

    if (conn->reading || conn->writing != NULL ||
        uv_fileno((const uv_handle_t *)&conn->tcp, &look.fd) != 0)
        return 0;
    return poll(&look, 1, 0) == 1 && (look.revents & (POLLERR | POLLHUP)) != 0 &&
           !MUTANT("keep-who-left");
}

static void sweep_conn(struct conn *conn)
{
    struct net_loop *loop = conn->loop;
    size_t unsent_bytes = output_unsent_bytes(conn);
    uint64_t input_bytes = resp_reader_held_bytes(conn->reader);

    if (unsent_bytes > loop->metrics->output_buffer_max_bytes)
        loop->metrics->output_buffer_max_bytes = unsent_bytes;
    if (input_bytes > loop->metrics->input_buffer_max_bytes)
        loop->metrics->input_buffer_max_bytes = input_bytes;
    if (unsent_bytes < conn->swept_unsent_bytes) /* it takes a long reply bit by bit */
        conn->active_ms = loop->now_ms;
    conn->swept_unsent_bytes = unsent_bytes;
    uint64_t idle_ms = MUTANT("never-idle") ? 0 : loop->now_ms - conn->active_ms;
    if (loop->limits.timeout_s != 0 && !conn->parked &&
        idle_ms > (uint64_t)loop->limits.timeout_s * 1000) {
        log_line(LOG_VERBOSE, "Closing idle client");
        loop->metrics->idle_closes++;
        conn_kill(conn);
        return;
    }
    if (conn->limits.unauthenticated && loop->limits.unauthenticated_s != 0 &&
        loop->now_ms - conn->unauthenticated_ms > (uint64_t)loop->limits.unauthenticated_s * 1000) {
        log_line(LOG_VERBOSE, "Closing a client that does not authenticate");
        loop->metrics->idle_closes++;
        conn_kill(conn);
        return;
    }
    if (peer_is_gone(conn)) {
        conn_kill(conn);
        return;
    }
    sweep_output(conn, unsent_bytes);
    if (idle_ms > TRIM_IDLE_MS)
        output_trim(conn);
}

void conn_sweep(struct net_loop *loop)
{
    uint32_t own = loop->main == NULL ? loop->placed : loop->conn_count;
    uint64_t count = own / SWEEP_TICKS + 1;

    for (; count > 0 && !list_empty(&loop->all); count--) {
        struct conn *conn = CONTAINER_OF(loop->all.next, struct conn, all_node);
        list_remove(&conn->all_node);
        list_push_back(&loop->all, &conn->all_node);
        if (UNLIKELY(conn->away)) {
            if (peer_is_gone(conn))
                atomic_store_explicit(&conn->recalled, 1, memory_order_relaxed);
        } else if (!conn->dead) {
            sweep_conn(conn);
        }
    }
}

/* ---- for others ---- */

void conn_set_authenticated(struct conn *conn, int authenticated)
{
    conn->limits.unauthenticated = !authenticated;
    conn->unauthenticated_ms = conn->loop->now_ms;
}

void conn_resize_limits(struct conn *conn)
{
    int unauthenticated = conn->limits.unauthenticated;
    size_t max = conn->loop->limits.output_max_bytes;

    conn->limits = conn->loop->limits.resp;
    conn->limits.unauthenticated = unauthenticated;
    conn->out.max = max == 0 ? SIZE_MAX / 2 : max;
    if (conn->out.max < conn->out.cap)
        conn->out.max = conn->out.cap;
}

/* Of commands that are parsed and did not run to their end, the one that runs included. */
static size_t ahead_bytes(const struct conn *conn)
{
    unsigned at = conn->ahead_at;
    size_t bytes = 0;

    if (conn->loop->running == conn && conn->again == NULL && at > 0)
        at--;
    for (; at < conn->ahead_count; at++)
        bytes += conn->ahead[at].wire_bytes;
    return bytes;
}

int conn_is_closing(const struct conn *conn)
{
    return conn->dead || conn->doomed || conn->unwanted;
}

void conn_figures(const struct conn *conn, struct conn_figures *figures)
{
    uv_os_fd_t fd = -1;
    size_t held_bytes = resp_reader_held_bytes(conn->reader);
    size_t pending_bytes = resp_reader_pending_bytes(conn->reader) + ahead_bytes(conn);

    *figures = (struct conn_figures){
        .fd = uv_fileno((const uv_handle_t *)&conn->tcp, &fd) == 0 ? fd : -1,
        .input_bytes = pending_bytes,
        .input_free_bytes = held_bytes > pending_bytes ? held_bytes - pending_bytes : 0,
        .output_bytes = conn->out.len - conn->out_sent + conn->pins.bytes,
        .held_bytes = sizeof(*conn) + conn->out.cap + conn->held_cap * sizeof(*conn->held),
        .writing_count = conn->writing != NULL,
        .writing_bytes = conn->writing == NULL ? 0 : conn->writing->data.cap,
        .idle_ms = conn->loop->now_ms - conn->active_ms,
        .age_ms = conn->loop->now_ms - conn->born_ms,
    };
}
