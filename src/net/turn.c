/* A turn: all that is there is read, then its commands run, then one commit, then replies leave (and amid it, where
 * they are long: turn_send()). Reads first:
 * between two of them the system would take the place of commands and keys in the processor's caches, and the
 * misses of keys that came alone, one a connection, overlap like those of a pipeline. A connection that
 * sends more than one read takes runs at once, to make room, and so does a guest of another loop.
 *
 * From the first command after which writes are uncommitted, commands are logged: {connection,
 * command}, and a connection's first such command notes where its replies stood. If the commit fails,
 * each noted connection's replies are cut back to there and the logged commands run again, in
 * order; writes are refused then, so nothing is left to commit. A successful commit empties the log.
 * Input is released only after that, at the end of the turn, so the logged arguments stay.
 *
 * A connection whose last command waited, nearly always for the disk, is cold. A read of the disk costs the loop more than most
 * commands do, to begin and to end; so cold ones run behind the others, and of many of them a turn takes some: as
 * many as it ran others, and a few. The others' replies leave, and their next commands are read, in between.
 *
 * A command that parks was taken from conn->ahead and is put back there; it is not logged. One that parks
 * when it runs again goes, with what its connection ran after it, to conn->again, which comes first. As
 * long as either holds a command, the input stays. */
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "net/internal.h"

#define LOGGED_MAX_COUNT (64 * 1024)
#define COLD_A_TURN 8

void turn_touch(struct conn *conn)
{
    if (conn->in_turn)
        return;
    conn->in_turn = 1;
    conn->in_cold = conn->cold > 0 && !MUTANT("cold-is-not-behind");
    list_push_back(conn->in_cold ? &conn->loop->cold : &conn->loop->turn, &conn->turn_node);
}

/* As turn_touch(), for this turn even if it is cold. */
static void turn_join(struct conn *conn)
{
    if (conn->in_turn && !conn->in_cold)
        return;
    list_remove(&conn->turn_node);
    conn->in_turn = 1;
    conn->in_cold = 0;
    list_push_back(&conn->loop->turn, &conn->turn_node);
}

void turn_await(struct conn *conn)
{
    conn->more = 1;
    conn->read_turn_no = conn->loop->turn_no;
    turn_touch(conn);
}

/* ---- the log of what may have to run again ---- */

/* Room for one more: always so right after a commit. */
static void logged_make_room(struct net_loop *loop)
{
    uint32_t cap = loop->logged_cap * 2;
    struct logged *grown = NULL;

    if (cap <= LOGGED_MAX_COUNT)
        grown = mem_realloc(loop->logged, cap * sizeof(*grown));
    if (grown == NULL) {
        turn_commit(loop);
        return;
    }
    loop->logged = grown;
    loop->logged_cap = cap;
}

static void logged_add(struct conn *conn, const struct resp_command *command, size_t start,
                       uint32_t held_count)
{
    struct net_loop *loop = conn->loop;

    loop->logged[loop->logged_count++] = (struct logged){.conn = conn, .command = *command};
    if (conn->mark_group == loop->group_no)
        return;
    conn->mark_group = loop->group_no;
    conn->mark_len = start;
    conn->mark_held = held_count;
}

static void hold_if_needed(struct conn *conn, const struct net_outcome *outcome, size_t start)
{
    struct net_loop *loop = conn->loop;
    uint64_t ack_seq = UNLIKELY(outcome->sync)
                           ? outcome->wait_seq
                           : loop->hooks.ack_seq(loop->hooks.arg, outcome->wait_seq);

    if (LIKELY(ack_seq == 0) || conn->out.len == start)
        return;
    int rc = output_hold(conn, start, ack_seq);
    if (rc != 0)
        conn->writer.failed = rc;
}

/* The command at `first` has to wait: it leaves the turn, and so does what its connection ran after it. */
static void logged_take_out(struct net_loop *loop, uint32_t first)
{
    struct conn *conn = loop->logged[first].conn;
    uint32_t again_left = conn->again_count - conn->again_at;
    uint32_t ahead_left = (uint32_t)(conn->ahead_count - conn->ahead_at);
    uint32_t end = MUTANT("overtake-parked") ? first + 1 : loop->logged_count;
    uint32_t at = 0;

    for (uint32_t i = first; i < end; i++)
        at += loop->logged[i].conn == conn;
    struct resp_command *again = mem_alloc((at + again_left + ahead_left) * sizeof(*again));
    if (again == NULL) {
        conn_kill(conn);
        return;
    }
    at = 0;
    for (uint32_t i = first; i < end; i++) {
        if (loop->logged[i].conn != conn)
            continue;
        again[at++] = loop->logged[i].command;
        loop->logged[i].conn = NULL;
    }
    for (uint32_t i = 0; i < again_left; i++)
        again[at++] = conn->again[conn->again_at + i];
    for (uint32_t i = 0; i < ahead_left; i++)
        again[at++] = conn->ahead[conn->ahead_at + i];
    mem_free(conn->again);
    conn->again = again;
    conn->again_at = 0;
    conn->again_count = at;
    conn->ahead_at = conn->ahead_count;
    conn->more = 1;
    conn->bad_input = 0; /* the reader says so again */
}

static void logged_rerun(struct net_loop *loop, uint32_t i)
{
    struct conn *conn = loop->logged[i].conn;
    struct net_outcome outcome = {0};

    if (conn == NULL || !conn_is_open(conn))
        return;
    size_t start = conn->out.len;
    enum net_step step = loop->hooks.execute(conn->session, &loop->logged[i].command, &conn->writer,
                                             &outcome);
    if (step == NET_COMMIT_FIRST) {
        conn_kill(conn); /* writes are not refused, against the hooks' contract */
        return;
    }
    if (step == NET_PARK) {
        logged_take_out(loop, i);
        conn_park(conn, outcome.park_us);
        return;
    }
    conn->close_after = outcome.close_after != 0;
    if (outcome.wait_seq != 0)
        hold_if_needed(conn, &outcome, start);
}

static void turn_redo(struct net_loop *loop)
{
    for (uint32_t i = 0; i < loop->logged_count; i++) {
        struct conn *conn = loop->logged[i].conn;
        if (conn->mark_group != loop->group_no || conn->dead)
            continue;
        if (!MUTANT("keep-failed-replies"))
            resp_cut(&conn->writer, conn->mark_len);
        output_cut_held(conn, conn->mark_held);
        conn->writer.failed = 0;
        conn->more |= conn->close_after;
        conn->close_after = 0;
        conn->mark_group = 0;
        loop->hooks.rewind(conn->session);
    }
    for (uint32_t i = 0; i < loop->logged_count; i++)
        logged_rerun(loop, i);
    loop->metrics->turns_rerun++;
}

void turn_commit(struct net_loop *loop)
{
    if (UNLIKELY(loop->hooks.commit(loop->hooks.arg) != 0)) {
        turn_redo(loop);
        /* Nothing is there to be committed now; were it, nobody may be told that it was done. */
        if (loop->hooks.commit(loop->hooks.arg) != 0)
            for (uint32_t i = 0; i < loop->logged_count; i++)
                if (loop->logged[i].conn != NULL)
                    conn_kill(loop->logged[i].conn);
    }
    loop->logged_count = 0;
    loop->group_no++;
}

/* ---- running commands ---- */

static void turn_begin(struct net_loop *loop)
{
    loop->ticked_turn = loop->turn_no;
    loop->now_ms = loop->now_fn();
    loop->metrics->turns++;
    loop->hooks.tick(loop->hooks.arg);
    loop->hooks.turn_begin(loop->hooks.arg);
}

void conn_bad_status(struct conn *conn, enum resp_status status)
{
    struct conn_figures figures;

    if (status == RESP_PROTOCOL_ERROR) {
        conn->bad_input = 1;
        return;
    }
    conn_figures(conn, &figures);
    log_line(LOG_WARNING, "Closing client fd=%d: no room for more than %zu bytes of input",
             figures.fd, (size_t)(figures.input_bytes + figures.input_free_bytes));
    conn->loop->metrics->query_limit_closes++;
    conn_kill(conn);
}

/* The only call of resp_reader_next(), which is inlined here. */
uint32_t conn_parse(struct conn *conn, struct resp_command *commands, uint32_t max,
                    size_t bytes_max)
{
    enum resp_status status = RESP_COMMAND;
    uint32_t count = 0;
    size_t bytes = 0;

    while (count < max && bytes < bytes_max) {
        status = resp_reader_next(conn->reader, &commands[count]);
        if (status != RESP_COMMAND)
            break;
        bytes += commands[count++].wire_bytes;
    }
    conn->ahead_status = (uint8_t)status;
    return count;
}

void conn_hint(const struct net_loop *loop, const struct conn *conn,
               const struct resp_command *commands, size_t count)
{
    struct net_hint hints[NET_HINTS_MAX];

    if (count > NET_HINTS_MAX)
        count = NET_HINTS_MAX;
    for (size_t i = 0; i < count; i++)
        hints[i] = (struct net_hint){conn->session, &commands[i]};
    loop->hooks.prefetch(loop->hooks.arg, hints, count);
}

/* Parses some commands before the first of them runs, so that the memory that they will touch can be
 * fetched side by side. Limits that one of them changes hold for what is parsed after it; before a
 * client has authenticated, when that matters most, nothing is parsed ahead. */
static void conn_parse_ahead(struct conn *conn)
{
    conn->ahead_count = (uint8_t)conn_parse(
        conn, conn->ahead, conn->limits.unauthenticated ? 1 : NET_AHEAD_MAX, SIZE_MAX);
    conn->ahead_at = 0;
}

static void conn_parse_more(struct conn *conn)
{
    conn_parse_ahead(conn);
    if (conn->ahead_count > 1)
        conn_hint(conn->loop, conn, conn->ahead, conn->ahead_count);
}

/* conn_next() when nothing is ready in `ahead`, or something comes before it. */
static const struct resp_command *conn_next_slowly(struct conn *conn)
{
    if (UNLIKELY(conn->again != NULL)) {
        if (conn->again_at < conn->again_count)
            return &conn->again[conn->again_at++];
        mem_free(conn->again);
        conn->again = NULL;
        conn->again_at = 0;
        conn->again_count = 0;
    }
    if (UNLIKELY(conn_is_guest(conn)) && conn->ahead_at == conn->ahead_count)
        return NULL; /* the reader is the home loop's */
    if (conn->ahead_at == conn->ahead_count && conn->ahead_status == RESP_COMMAND)
        conn_parse_more(conn);
    if (conn->ahead_at < conn->ahead_count)
        return &conn->ahead[conn->ahead_at++];
    conn->more = 0;
    if (UNLIKELY(conn->ahead_status != RESP_MORE))
        conn_bad_status(conn, (enum resp_status)conn->ahead_status);
    return NULL;
}

/* The next command to run; NULL: there is none, and what follows is dealt with. */
static inline const struct resp_command *conn_next(struct conn *conn)
{
    if (LIKELY(conn->ahead_at < conn->ahead_count && conn->again == NULL))
        return &conn->ahead[conn->ahead_at++];
    return conn_next_slowly(conn);
}

/* The command that conn_next() gave last is the next one again. */
static void conn_put_back(struct conn *conn)
{
    if (conn->again != NULL)
        conn->again_at--;
    else
        conn->ahead_at--;
}

static void conn_execute(struct conn *conn, const struct resp_command *command)
{
    struct net_loop *loop = conn->loop;
    struct net_outcome outcome = {0};

    size_t start = conn->out.len;
    uint32_t held_count = conn->held_count;
    enum net_step step = loop->hooks.execute(conn->session, command, &conn->writer, &outcome);
    if (UNLIKELY(step == NET_COMMIT_FIRST)) {
        conn_put_back(conn);
        turn_commit(loop);
        if (!conn_can_run(conn))
            return;
        command = conn_next(conn);
        outcome = (struct net_outcome){0};
        start = conn->out.len;
        held_count = conn->held_count;
        step = loop->hooks.execute(conn->session, command, &conn->writer, &outcome);
        CHECK(step != NET_COMMIT_FIRST);
    }
    if (UNLIKELY(step == NET_FORWARD)) {
        conn_put_back(conn);
        if (MUTANT("local-overtakes") && conn->ahead_at + 1 < conn->ahead_count) {
            conn->ahead[conn->ahead_at] = conn->ahead[conn->ahead_at + 1];
            conn->ahead[conn->ahead_at + 1] = *command;
        }
        conn->leaving = CONN_LEAVES;
        return;
    }
    if (outcome.uncommitted && (step != NET_PARK || MUTANT("log-parked")))
        logged_add(conn, command, start, held_count);
    if (UNLIKELY(step == NET_PARK)) {
        conn_put_back(conn);
        conn_park(conn, outcome.park_us);
        return;
    }
    if (outcome.wait_seq != 0)
        hold_if_needed(conn, &outcome, start);
    if (UNLIKELY(outcome.close_after))
        conn->close_after = 1;
    if (UNLIKELY(step == NET_COMMIT_NOW))
        turn_commit(loop);
}

/* Many long replies: what has run so far is committed and sent, before more values are held for it. Guests' are
 * sent by their own loop, and what waits for a sync by the turn's end. */
static COLD void turn_send(struct net_loop *loop)
{
    if (!MUTANT("send-before-commit"))
        turn_commit(loop);
    loop->turn_output = 0;
    for (struct list *node = loop->turn.next; node != &loop->turn; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, turn_node);
        if (conn->turn_no == loop->turn_no && conn->out.len > conn->out_sent &&
            !conn_is_guest(conn) && conn->held_count == 0 && conn->writer.failed == 0)
            output_flush(conn);
    }
    uint64_t now_ms = loop->now_fn();
    if (now_ms - loop->now_ms >= NET_TICK_MS) { /* nothing else ticks before the turn's end */
        loop->now_ms = now_ms;
        loop->hooks.tick(loop->hooks.arg);
    }
}

void turn_run_conn(struct conn *conn)
{
    struct net_loop *loop = conn->loop;
    const struct net_limits *limits = &loop->limits;
    const struct resp_command *command;

    turn_join(conn);
    if (loop->ticked_turn != loop->turn_no)
        turn_begin(loop);
    if (conn->turn_no != loop->turn_no) {
        conn->turn_no = loop->turn_no;
        loop->turn_ran++;
        conn->turn_commands = 0;
        conn->turn_bytes = 0;
    }
    conn->active_ms = loop->now_ms;
    conn->more = 1;
    if (output_prepare(conn) != 0) {
        conn->writer.failed = VARVE_ENOMEM;
        return;
    }
    if (conn->ahead_at == conn->ahead_count && LIKELY(!conn_is_guest(conn)))
        conn->ahead_status = RESP_COMMAND; /* more may have come */
    size_t output = conn->out.len + conn->pins.bytes;
    loop->running = conn;
    while (conn_can_run(conn) && conn->turn_commands < limits->turn_commands &&
           conn->turn_bytes < limits->turn_bytes && !conn_is_clogged(conn)) {
        if (UNLIKELY(loop->logged_count == loop->logged_cap)) {
            logged_make_room(loop); /* by a commit, maybe, after which it may not run any more */
            continue;
        }
        command = conn_next(conn);
        if (command == NULL)
            break;
        conn->turn_commands++;
        conn->turn_bytes += command->wire_bytes;
        conn_execute(conn, command);
    }
    loop->running = NULL;
    if (UNLIKELY(conn->cold > 0) && !conn->parked)
        conn->cold--;
    if (LIKELY(conn->out.len + conn->pins.bytes > output) && LIKELY(!conn_is_guest(conn)))
        loop->turn_output += conn->out.len + conn->pins.bytes - output;
    if (UNLIKELY(loop->turn_output >= loop->limits.turn_output_bytes) && !MUTANT("turn-holds-all"))
        turn_send(loop);
}

/* ---- the end ---- */

static void log_output_failure(struct conn *conn)
{
    uv_os_fd_t fd =
        -1; /* what else conn_figures() tells is the home loop's, where this is a guest */

    if (uv_fileno((const uv_handle_t *)&conn->tcp, &fd) != 0)
        fd = -1;
    if (conn->writer.failed == VARVE_EFULL) {
        log_line(LOG_WARNING, "Closing client fd=%d: its output passes the limit of %zu bytes", fd,
                 conn->loop->limits.output_max_bytes != 0 ? conn->loop->limits.output_max_bytes
                                                          : conn->loop->limits.push_max_bytes);
        conn->loop->metrics->output_limit_closes++;
    } else {
        log_line(LOG_WARNING, "Closing client fd=%d: no memory for its replies", fd);
    }
}

static void append_protocol_error(struct conn *conn)
{
    conn->bad_input = 0;
    conn->close_after = 1;
    conn->loop->metrics->protocol_errors++;
    if (output_prepare(conn) != 0)
        conn->writer.failed = VARVE_ENOMEM;
    else
        resp_error(&conn->writer, "ERR Protocol error: %s", resp_reader_error(conn->reader));
}

int conn_output_failed(struct conn *conn)
{
    size_t max = conn->loop->limits.output_max_bytes;

    if (UNLIKELY(max != 0 && output_unsent_bytes(conn) > max && !MUTANT("no-output-limit")))
        conn->writer.failed = VARVE_EFULL;
    if (LIKELY(conn->writer.failed == 0))
        return 0;
    log_output_failure(conn);
    conn_kill(conn);
    return 1;
}

/* Sends what may leave; decides whether the connection reads on, runs on, or ends. */
static void conn_settle(struct conn *conn, uint64_t durable_seq)
{
    if (conn->dead)
        return;
    if (UNLIKELY(conn->leaving == CONN_LEAVES)) {
        conn_depart(conn);
        return;
    }
    if (UNLIKELY(conn_is_guest(conn))) {
        guest_settle(conn, durable_seq);
        return;
    }
    if (UNLIKELY(conn->bad_input))
        append_protocol_error(conn);
    /* Else their arguments are still needed. */
    if (LIKELY(conn->ahead_at == conn->ahead_count && conn->again == NULL))
        resp_reader_release(conn->reader);
    if (UNLIKELY(conn->held_count > 0))
        output_release(conn, durable_seq);
    if (LIKELY(conn->writer.failed == 0))
        output_flush(conn);
    if (UNLIKELY(conn_output_failed(conn)))
        return;
    output_give_back(conn);
    conn_pace(conn, conn_is_clogged(conn));
    if (UNLIKELY(conn->leaving == CONN_LEAVES_SOON) && !conn->dead &&
        conn->out.len == conn->out_sent) {
        conn->leaving = CONN_LEAVES;
        turn_touch(conn);
    }
    if (conn->more && conn_can_run(conn) && !conn_is_clogged(conn))
        turn_touch(conn);
}

/* Once the loop stops, what was read is run, and what was left over is not. */
static inline int conn_is_due(const struct conn *conn)
{
    const struct net_loop *loop = conn->loop;

    return conn->more && conn_can_run(conn) && conn->turn_no != loop->turn_no &&
           (LIKELY(!loop->stopping) ||
            (conn->read_turn_no > conn->turn_no && !MUTANT("stop-drops-read")));
}

/* From `node` on, parses for so many connections that their commands' memory can be fetched side by side, and
 * returns the first one behind them. */
static struct list *turn_look_ahead(struct net_loop *loop, struct list *node)
{
    struct net_hint hints[NET_HINTS_MAX];
    size_t count = 0;

    for (; node != &loop->turn && count < NET_AHEAD_MAX; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, turn_node);
        if (!conn_is_due(conn) || conn->again != NULL || conn_is_guest(conn))
            continue;
        if (loop->ticked_turn != loop->turn_no)
            turn_begin(loop);
        if (conn->ahead_at == conn->ahead_count)
            conn_parse_ahead(conn);
        for (unsigned i = conn->ahead_at; i < conn->ahead_count && count < NET_HINTS_MAX; i++)
            hints[count++] = (struct net_hint){conn->session, &conn->ahead[i]};
    }
    if (count > 1)
        loop->hooks.prefetch(loop->hooks.arg, hints, count);
    return node;
}

/* Runs what is due from `node` on. */
static void turn_run_from(struct net_loop *loop, struct list *node)
{
    while (node != &loop->turn) {
        struct list *end = turn_look_ahead(loop, node);
        while (node != end) {
            struct conn *conn = CONTAINER_OF(node, struct conn, turn_node);
            node = node->next;
            if (conn_is_due(conn))
                turn_run_conn(conn);
        }
    }
}

/* What the poll brought, and what was left over from earlier turns. */
static void turn_run(struct net_loop *loop)
{
    turn_run_from(loop, loop->turn.next);
    size_t may_run = loop->turn_ran + COLD_A_TURN;
    do {
        struct list *last = loop->turn.prev;
        while (!list_empty(&loop->cold) && (may_run > 0 || loop->stopping)) {
            struct conn *conn = CONTAINER_OF(loop->cold.next, struct conn, turn_node);
            may_run -= may_run > 0 && conn_is_due(conn);
            turn_join(conn);
        }
        turn_run_from(loop, last->next);
    } while (loop->stopping && !list_empty(&loop->cold));
}

static void turn_apply_news(struct net_loop *loop)
{
    struct list *node = loop->held.next;

    while (node != &loop->held) {
        struct conn *conn = CONTAINER_OF(node, struct conn, held_node);
        node = node->next;
        if (loop->failed_seq != UINT64_MAX)
            output_fail(conn, loop->failed_seq);
        if (MUTANT("cold-keeps-replies"))
            turn_touch(conn);
        else
            turn_join(conn);
    }
    loop->failed_seq = UINT64_MAX;
    loop->durable_news = 0;
}

static void turn_settle(struct net_loop *loop)
{
    struct list settled = {.next = loop->turn.next, .prev = loop->turn.prev};
    uint64_t durable_seq = 0;

    if (list_empty(&loop->turn))
        return;
    if (!list_empty(&loop->held))
        durable_seq = MUTANT("release-held-early") ? UINT64_MAX
                                                   : loop->hooks.durable_seq(loop->hooks.arg);
    settled.next->prev = &settled;
    settled.prev->next = &settled;
    list_init(&loop->turn);
    while (!list_empty(&settled)) {
        struct conn *conn = CONTAINER_OF(settled.next, struct conn, turn_node);
        list_remove(&conn->turn_node);
        conn->in_turn = 0;
        conn_settle(conn, durable_seq);
    }
}

void turn_end(struct net_loop *loop)
{
    turn_run(loop);
    if (MUTANT("reply-before-commit"))
        turn_settle(loop);
    if (loop->ticked_turn == loop->turn_no) {
        turn_commit(loop);
        loop->hooks.turn_end(loop->hooks.arg);
    }
    if (UNLIKELY(loop->durable_news))
        turn_apply_news(loop);
    turn_settle(loop);
    conn_bury(loop);
    conn_reap(loop);
    if (UNLIKELY(loop->team != NULL))
        team_post(loop);
    loop->turn_no++;
    loop->turn_ran = 0;
    loop->turn_output = 0;
    if (list_empty(&loop->turn) && list_empty(&loop->cold))
        uv_idle_stop(&loop->idle);
    else if (!uv_is_active((uv_handle_t *)&loop->idle))
        uv_idle_start(&loop->idle, loop_on_idle);
}
