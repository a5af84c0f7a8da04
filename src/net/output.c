/* The output of a connection: sending, holding replies back, and what becomes of them.
 *
 * Buffers circulate: one that is empty goes to the loop's small stock, from where the next connection
 * with a reply takes the one that was used last, warm in the cache. An idle connection has none. */
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "net/internal.h"

size_t output_unsent_bytes(const struct conn *conn)
{
    size_t unsent = conn->out.len - conn->out_sent;

    if (LIKELY(conn->writing == NULL))
        return unsent;
    return unsent + uv_stream_get_write_queue_size((const uv_stream_t *)&conn->tcp);
}

int output_prepare(struct conn *conn)
{
    struct net_loop *loop = conn->loop;
    size_t max = loop->limits.output_max_bytes;

    if (LIKELY(conn->out.cap > 0))
        return 0;
    if (LIKELY(loop->spare_count > 0))
        conn->out = loop->spare[--loop->spare_count];
    conn->out.max = max == 0 || MUTANT("no-output-limit") ? SIZE_MAX / 2 : max;
    return buf_reserve(&conn->out, 1);
}

static void spare_give(struct net_loop *loop, struct buf *buf)
{
    if (buf->cap <= NET_SPARE_BUF_BYTES && buf->cap > 0 && loop->spare_count < NET_SPARE_BUFS) {
        buf_clear(buf);
        loop->spare[loop->spare_count++] = *buf;
        buf_init(buf, 0);
        return;
    }
    buf_deinit(buf);
}

void output_spare_deinit(struct net_loop *loop)
{
    while (loop->spare_count > 0)
        buf_deinit(&loop->spare[--loop->spare_count]);
}

/* ---- held replies ---- */

static int held_reserve(struct conn *conn)
{
    if (conn->held_first + conn->held_count < conn->held_cap)
        return 0;
    if (conn->held_first > 0) {
        memmove(conn->held, conn->held + conn->held_first, conn->held_count * sizeof(*conn->held));
        conn->held_first = 0;
        return 0;
    }
    uint32_t cap = conn->held_cap == 0 ? NET_HELD_KEEP : conn->held_cap * 2;
    struct held *grown = mem_realloc(conn->held, cap * sizeof(*grown));
    if (grown == NULL)
        return VARVE_ENOMEM;
    conn->held = grown;
    conn->held_cap = cap;
    return 0;
}

int output_hold(struct conn *conn, size_t start, uint64_t seq)
{
    if (held_reserve(conn) != 0)
        return VARVE_ENOMEM;
    if (conn->held_count == 0)
        list_push_back(&conn->loop->held, &conn->held_node);
    conn->held[conn->held_first + conn->held_count++] = (struct held){
        .start = conn->out_base + start,
        .end = conn->out_base + conn->out.len,
        .seq = seq,
    };
    conn->loop->metrics->held_replies++;
    conn->loop->metrics->held_replies_now++;
    return 0;
}

static void held_free(struct conn *conn)
{
    mem_free(conn->held);
    conn->held = NULL;
    conn->held_cap = 0;
}

static void held_drop_all(struct conn *conn)
{
    conn->loop->metrics->held_replies_now -= conn->held_count;
    conn->held_first = 0;
    conn->held_count = 0;
    list_remove(&conn->held_node);
    if (conn->held_cap > NET_HELD_KEEP)
        held_free(conn);
}

void output_cut_held(struct conn *conn, uint32_t count)
{
    conn->loop->metrics->held_replies_now -= conn->held_count - count;
    conn->held_count = count;
    if (count == 0)
        list_remove(&conn->held_node);
}

void output_release(struct conn *conn, uint64_t durable_seq)
{
    uint32_t n = 0;

    while (n < conn->held_count && conn->held[conn->held_first + n].seq <= durable_seq)
        n++;
    if (n == conn->held_count) {
        held_drop_all(conn);
        return;
    }
    conn->held_first += n;
    conn->held_count -= n;
    conn->loop->metrics->held_replies_now -= n;
}

/* The stream anew: what is not held as it is, a held reply as it is if it is durable, else the
 * error. Nothing is held afterwards. */
void output_fail(struct conn *conn, uint64_t durable_seq)
{
    struct net_loop *loop = conn->loop;
    struct varve_slice error = varve_slice_str(loop->hooks.unknown_outcome(loop->hooks.arg));
    struct buf out;
    size_t at = conn->out_sent;
    int rc = 0;

    buf_init(&out, conn->out.max);
    for (uint32_t i = 0; i < conn->held_count && rc == 0; i++) {
        const struct held *held = &conn->held[conn->held_first + i];
        if (held->seq <= durable_seq)
            continue;
        rc = buf_append(&out, conn->out.data + at, (size_t)(held->start - conn->out_base) - at);
        if (rc == 0)
            rc = buf_append(&out, error.data, error.len);
        if (rc == 0)
            rc = buf_append(&out, "\r\n", 2);
        at = (size_t)(held->end - conn->out_base);
        loop->metrics->unknown_outcomes++;
    }
    if (rc == 0)
        rc = buf_append(&out, conn->out.data + at, conn->out.len - at);
    if (rc != 0)
        conn_kill(conn);
    held_drop_all(conn);
    conn->out_base += conn->out_sent;
    conn->out_sent = 0;
    buf_deinit(&conn->out);
    conn->out = out;
}

/* ---- sending ---- */

static void on_written(uv_write_t *req, int status)
{
    struct out_write *writing = CONTAINER_OF(req, struct out_write, req);
    struct conn *conn = writing->conn;

    conn->writing = NULL;
    conn->active_ms = conn->loop->now_ms;
    if (status == 0)
        conn->loop->metrics->net_output_bytes += writing->unsent_bytes;
    else
        conn_kill(conn);
    spare_give(conn->loop, &writing->data);
    mem_free(writing);
    if (!conn->dead)
        turn_touch(conn);
}

/* Gives the buffer to the system's queue, for what lies in [out_sent, end). What is held behind it
 * moves to a fresh buffer. */
static int output_hand_over(struct conn *conn, size_t end)
{
    struct out_write *writing = mem_alloc(sizeof(*writing));
    struct buf rest;
    int rc = VARVE_ENOMEM;

    if (writing == NULL)
        return VARVE_ENOMEM;
    buf_init(&rest, conn->out.max);
    rc = buf_append(&rest, conn->out.data + end, conn->out.len - end);
    if (rc != 0)
        goto out_free;
    *writing = (struct out_write){
        .conn = conn, .data = conn->out, .unsent_bytes = end - conn->out_sent};
    uv_buf_t part = uv_buf_init((char *)conn->out.data + conn->out_sent,
                                (unsigned)writing->unsent_bytes);
    rc = uv_write(&writing->req, (uv_stream_t *)&conn->tcp, &part, 1, on_written);
    if (rc != 0)
        goto out_free;
    conn->writing = writing;
    conn->out = rest;
    conn->out_base += end;
    conn->out_sent = 0;
    return 0;
out_free:
    buf_deinit(&rest);
    mem_free(writing);
    return rc;
}

/* After the bytes before `sent` have left. */
static void output_advance(struct conn *conn, size_t sent)
{
    conn->out_sent = sent;
    if (sent == conn->out.len) {
        conn->out_base += sent;
        conn->out_sent = 0;
        spare_give(conn->loop, &conn->out);
    } else if (sent >= conn->out.len - sent) {
        /* What is held moves to the front, at most as many bytes as have left since. */
        memmove(conn->out.data, conn->out.data + sent, conn->out.len - sent);
        conn->out.len -= sent;
        conn->out_base += sent;
        conn->out_sent = 0;
    }
}

/* uv_buf_t and a single write() count in 31 bits where it matters. */
#define SEND_MAX_BYTES ((size_t)1 << 30)

/* Sends up to SEND_MAX_BYTES. Returns 1 if the system took them all, and may take more. */
static int output_send(struct conn *conn)
{
    size_t end = conn->out.len;

    if (UNLIKELY(conn->held_count > 0))
        end = (size_t)(conn->held[conn->held_first].start - conn->out_base);
    if (end == conn->out_sent)
        return 0;
    size_t len = end - conn->out_sent;
    if (len > SEND_MAX_BYTES)
        len = SEND_MAX_BYTES;
    uv_buf_t part = uv_buf_init((char *)conn->out.data + conn->out_sent, (unsigned)len);
    int sent = uv_try_write((uv_stream_t *)&conn->tcp, &part, 1);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0) {
        conn_kill(conn);
        return 0;
    }
    conn->loop->metrics->net_output_bytes += (uint64_t)sent;
    conn->loop->metrics->net_writes++;
    if ((size_t)sent == len) {
        output_advance(conn, conn->out_sent + len);
        return 1;
    }
    conn->out_sent += (size_t)sent;
    if (output_hand_over(conn, conn->out_sent + len - (size_t)sent) != 0)
        conn_kill(conn);
    return 0;
}

void output_flush(struct conn *conn)
{
    if (conn->writing != NULL || conn->dead)
        return;
    while (output_send(conn))
        continue;
}

void output_give_back(struct conn *conn)
{
    if (conn->out.cap > 0 && conn->out.len == 0)
        spare_give(conn->loop, &conn->out);
}

void output_trim(struct conn *conn)
{
    output_give_back(conn);
    if (conn->held_count == 0)
        held_free(conn);
}

void output_deinit(struct conn *conn)
{
    if (conn->held_count > 0)
        held_drop_all(conn);
    held_free(conn);
    buf_deinit(&conn->out);
}
