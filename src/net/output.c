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
    size_t unsent = conn->out.len - conn->out_sent + conn->pins.bytes;

    if (UNLIKELY(conn_is_guest(conn)))
        return unsent + conn->queued_bytes;
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

/* ---- pinned values ---- */

/* Held replies begin behind values that were copied before them. None has one in it. */
static void held_shift(struct conn *conn, uint32_t first)
{
    const struct resp_pins *pins = &conn->pins;

    for (uint32_t i = 0; i < conn->held_count; i++) {
        struct held *held = &conn->held[conn->held_first + i];
        size_t start = (size_t)(held->start - conn->out_base);
        for (uint32_t n = first; n < pins->count && pins->items[n].at <= start; n++) {
            held->start += pins->items[n].bytes.len;
            held->end += pins->items[n].bytes.len;
        }
    }
}

/* Moves the pinned values from the given one on into the buffer; held replies move with it. */
static int output_copy_pins(struct conn *conn, uint32_t first)
{
    struct resp_pins *pins = &conn->pins;
    struct buf flat;
    size_t bytes = 0;
    size_t at = 0;

    if (LIKELY(first == pins->count))
        return 0;
    for (uint32_t i = first; i < pins->count; i++)
        bytes += pins->items[i].bytes.len;
    buf_init(&flat, conn->out.max);
    int rc = buf_reserve(&flat, conn->out.len + bytes);
    for (uint32_t i = first; rc == 0 && i < pins->count; i++) {
        rc = buf_append(&flat, conn->out.data + at, pins->items[i].at - at);
        at = pins->items[i].at;
        if (rc == 0)
            rc = buf_append(&flat, pins->items[i].bytes.data, pins->items[i].bytes.len);
    }
    if (rc == 0)
        rc = buf_append(&flat, conn->out.data + at, conn->out.len - at);
    if (rc != 0) {
        buf_deinit(&flat);
        return rc;
    }
    if (!MUTANT("held-not-moved"))
        held_shift(conn, first);
    resp_pins_drop_from(pins, first);
    spare_give(conn->loop, &conn->out);
    conn->out = flat;
    return 0;
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
    uint32_t pinned = conn->pins.count;

    while (pinned > 0 && conn->pins.items[pinned - 1].at > start)
        pinned--;
    int rc = output_copy_pins(conn, pinned);
    if (rc != 0)
        return rc;
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
    int rc = output_copy_pins(conn, 0);
    size_t at = conn->out_sent;

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
    if (status == 0)
        conn->home->metrics->net_output_bytes += writing->unsent_bytes;
    spare_give(conn->home, &writing->data);
    mem_free(writing);
    if (UNLIKELY(conn->away)) {
        conn->broken |= status != 0;
        return;
    }
    conn->active_ms = conn->home->now_ms;
    if (status != 0)
        conn_kill(conn);
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

/* After the bytes before out_sent have left. */
static void output_advance(struct conn *conn)
{
    size_t sent = conn->out_sent;

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
        for (uint32_t i = 0; i < conn->pins.count; i++)
            conn->pins.items[i].at -= sent;
    }
}

/* uv_buf_t and a single write() count in 31 bits where it matters. */
#define SEND_MAX_BYTES ((size_t)1 << 30)
#define SEND_PARTS_MAX 16

struct sending {
    uv_buf_t parts[SEND_PARTS_MAX];
    unsigned count;
    size_t bytes;
};

/* Returns 1 if it was added whole. */
static int sending_add(struct sending *sending, const uint8_t *data, size_t len)
{
    size_t room = SEND_MAX_BYTES - sending->bytes;
    size_t part = len < room ? len : room;

    if (len == 0)
        return 1;
    if (part == 0 || sending->count == SEND_PARTS_MAX)
        return 0;
    sending->parts[sending->count++] = uv_buf_init((char *)(uintptr_t)data, (unsigned)part);
    sending->bytes += part;
    return part == len;
}

/* Replies and the values in them, from out_sent on, as far as they may leave and one call takes them. */
static void sending_fill(struct sending *sending, const struct conn *conn, size_t end)
{
    const struct resp_pins *pins = &conn->pins;
    size_t at = conn->out_sent;

    sending->count = 0;
    sending->bytes = 0;
    for (uint32_t i = 0; UNLIKELY(i < pins->count) && pins->items[i].at < end; i++) {
        const struct resp_pinned *pinned = &pins->items[i];
        if (!sending_add(sending, conn->out.data + at, pinned->at - at) ||
            !sending_add(sending, pinned->bytes.data, pinned->bytes.len))
            return;
        at = pinned->at;
    }
    sending_add(sending, conn->out.data + at, end - at);
}

/* So many bytes have left: steps over them. */
static void output_sent(struct conn *conn, size_t sent)
{
    struct resp_pins *pins = &conn->pins;

    while (UNLIKELY(pins->count > 0) && sent > 0) {
        struct varve_slice *bytes = &pins->items[0].bytes;
        size_t before = pins->items[0].at - conn->out_sent;
        if (sent < before)
            break;
        conn->out_sent += before;
        sent -= before;
        if (sent >= bytes->len) {
            sent -= bytes->len;
            resp_pins_drop(pins, 1);
        } else {
            *bytes = varve_slice(bytes->data + sent, bytes->len - sent);
            pins->bytes -= sent;
            sent = 0;
        }
    }
    conn->out_sent += sent;
}

/* Up to where replies may leave. */
static size_t output_end(const struct conn *conn)
{
    if (LIKELY(conn->held_count == 0))
        return conn->out.len;
    return (size_t)(conn->held[conn->held_first].start - conn->out_base);
}

/* The system takes no more: the rest is its queue's. */
static int output_queue(struct conn *conn)
{
    int rc = output_copy_pins(conn, 0);

    if (rc != 0)
        return rc;
    size_t end = output_end(conn);
    return output_hand_over(
        conn, end - conn->out_sent < SEND_MAX_BYTES ? end : conn->out_sent + SEND_MAX_BYTES);
}

/* Sends up to SEND_MAX_BYTES. Returns 1 if the system took them all, and may take more. */
static int output_send(struct conn *conn)
{
    size_t end = output_end(conn);
    struct sending sending;

    if (end == conn->out_sent)
        return 0;
    sending_fill(&sending, conn, end);
    int sent = uv_try_write((uv_stream_t *)&conn->tcp, sending.parts, sending.count);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0) {
        conn_kill(conn);
        return 0;
    }
    conn->loop->metrics->net_output_bytes += (uint64_t)sent;
    conn->loop->metrics->net_writes++;
    output_sent(conn, (size_t)sent);
    if ((size_t)sent == sending.bytes) {
        output_advance(conn);
        return 1;
    }
    int rc = output_queue(conn);
    if (rc == VARVE_EFULL)
        conn->writer.failed = rc;
    else if (rc != 0)
        conn_kill(conn);
    return 0;
}

void output_flush(struct conn *conn)
{
    if (conn->dead)
        return;
    while (conn->writing == NULL && !conn->dead && output_send(conn))
        continue;
    int rc = conn->dead || MUTANT("pin-for-slow-reader") ? 0 : output_copy_pins(conn, 0);
    if (rc != 0)
        conn->writer.failed = rc;
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
    resp_pins_deinit(&conn->pins);
    buf_deinit(&conn->out);
}
