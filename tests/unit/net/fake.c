#include "fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"

#define QUIET_TURNS 20

uint64_t fake_now_ms = 1000;

static uint64_t now_ms(void)
{
    return fake_now_ms;
}

struct fake_session {
    struct fake *fake;
    struct conn *conn;
    uint32_t index;
    int delayed;
};

static struct fake_session *last_session;

/* ---- the hooks ---- */

static void *session_open(void *arg, struct conn *conn, const char *peer, const char *local)
{
    struct fake *fake = arg;
    struct fake_session *session = fake->refuse_sessions ? NULL : mem_alloc(sizeof(*session));

    if (session == NULL)
        return NULL;
    assert_non_null(strchr(local, ':'));
    assert_true(fake->opened < FAKE_SESSIONS_MAX);
    snprintf(fake->peer, sizeof(fake->peer), "%s", peer);
    *session = (struct fake_session){.fake = fake, .conn = conn, .index = fake->opened};
    fake->conns[fake->opened++] = conn;
    return session;
}

static void session_close(void *arg)
{
    struct fake_session *session = arg;

    session->fake->conns[session->index] = NULL;
    session->fake->closed++;
    mem_free(session);
}

static void rewind_session(void *arg)
{
    struct fake_session *session = arg;

    session->fake->rewinds++;
    session->fake->executed_at_rewind = session->fake->executed;
}

static void reply_big(struct resp_writer *out, size_t len)
{
    char *text = malloc(len + 1);

    assert_non_null(text);
    memset(text, 'x', len);
    resp_bulk(out, varve_slice(text, len));
    free(text);
}

struct pinned_text {
    struct fake *fake;
    char bytes[];
};

static void unpin(void *owner)
{
    struct pinned_text *text = owner;

    text->fake->pinned--;
    free(text);
}

static void reply_pinned(struct fake *fake, struct resp_writer *out, size_t len)
{
    struct pinned_text *text = malloc(sizeof(*text) + len);

    assert_non_null(text);
    text->fake = fake;
    for (size_t i = 0; i < len; i++)
        text->bytes[i] = (char)('a' + i % 23);
    fake->pinned++;
    fake->pinned_max = fake->pinned > fake->pinned_max ? fake->pinned : fake->pinned_max;
    resp_bulk_pinned(out, varve_slice(text->bytes, len), unpin, text);
}

static void write_one(struct fake *fake, struct resp_writer *out, struct net_outcome *outcome)
{
    if (fake->refuse) {
        resp_error(out, "MISCONF refused");
        return;
    }
    outcome->wait_seq = ++fake->seq;
    resp_integer(out, (int64_t)fake->seq);
}

static int is(const struct resp_command *command, const char *word)
{
    return varve_slice_equal(command->argv[0], varve_slice_str(word));
}

static void count_turn(struct fake *fake, struct fake_session *session)
{
    fake->executed++;
    fake->turn_executed = session == last_session ? fake->turn_executed + 1 : 1;
    last_session = session;
    if (fake->turn_executed > fake->turn_executed_max)
        fake->turn_executed_max = fake->turn_executed;
}

/* 1: the command parks. */
static int parks(struct fake_session *session, const struct resp_command *command,
                 struct net_outcome *outcome)
{
    struct fake *fake = session->fake;
    int waits = is(command, "SLOW") && fake->slow_disk;

    waits |= is(command, "COLD") && fake->slow_disk && fake->refuse;
    if (is(command, "DELAY") || (is(command, "SLOW") && fake->slow_once)) {
        session->delayed = !session->delayed;
        waits = session->delayed;
    }
    if (is(command, "DELAY"))
        outcome->park_us = strtoul((const char *)command->argv[1].data, NULL, 10);
    fake->parks += (uint32_t)waits;
    outcome->uncommitted = fake->seq != fake->committed;
    return waits;
}

static enum net_step execute(void *arg, const struct resp_command *command, struct resp_writer *out,
                             struct net_outcome *outcome)
{
    struct fake_session *session = arg;
    struct fake *fake = session->fake;
    enum net_step step = NET_DONE;

    assert_int_equal(fake->inside, 1);
    if (is(command, "BARRIER") && fake->seq != fake->committed)
        return NET_COMMIT_FIRST;
    if (parks(session, command, outcome))
        return NET_PARK;
    count_turn(fake, session);
    if (is(command, "ECHO") || is(command, "SLOW")) {
        resp_bulk(out, command->argv[1]);
    } else if (is(command, "PUT") || is(command, "LAST")) {
        write_one(fake, out, outcome);
        if (is(command, "LAST"))
            step = NET_COMMIT_NOW;
    } else if (is(command, "GET") || is(command, "COLD")) {
        resp_integer(out, (int64_t)fake->seq);
        outcome->wait_seq = fake->seq;
    } else if (is(command, "SYNC")) {
        resp_ok(out);
        outcome->wait_seq = fake->seq;
        outcome->sync = 1;
    } else if (is(command, "SEEN")) {
        resp_integer(out, (int64_t)fake->committed);
    } else if (is(command, "BIG")) {
        reply_big(out, strtoul((const char *)command->argv[1].data, NULL, 10));
    } else if (is(command, "PINNED")) {
        reply_pinned(fake, out, strtoul((const char *)command->argv[1].data, NULL, 10));
        outcome->wait_seq = fake->seq;
    } else if (is(command, "BARRIER")) {
        fake->barriers++;
        resp_simple(out, "BARRIER");
    } else if (is(command, "DELAY")) {
        resp_ok(out);
    } else if (is(command, "QUIT")) {
        resp_ok(out);
        outcome->close_after = 1;
    } else if (is(command, "SUICIDE")) {
        net_kill(session->conn);
    }
    outcome->uncommitted = fake->seq != fake->committed;
    return step;
}

static void prefetch(void *arg, const struct net_hint *hints, size_t count)
{
    struct fake *fake = arg;

    assert_in_range(count, 1, NET_HINTS_MAX);
    /* Any loop's thread, and the tests that look have one loop. */
    if (count > atomic_load_explicit(&fake->hinted_max, memory_order_relaxed))
        atomic_store_explicit(&fake->hinted_max, count, memory_order_relaxed);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(hints[i].session);
        assert_in_range(hints[i].command->argc, 1, INT32_MAX);
    }
}

static int commit(void *arg)
{
    struct fake *fake = arg;

    fake->commits++;
    last_session = NULL;
    if (fake->seq - fake->committed > fake->group_max)
        fake->group_max = fake->seq - fake->committed;
    if (fake->seq != fake->committed && fake->good_commits > 0) {
        fake->good_commits--;
    } else if (fake->seq != fake->committed && fake->fail_commits > 0) {
        fake->fail_commits--;
        fake->refuse = 1;
        fake->seq = fake->committed;
        return VARVE_EIO;
    }
    fake->committed = fake->seq;
    return 0;
}

static uint64_t ack_seq(void *arg, uint64_t wait_seq)
{
    const struct fake *fake = arg;

    return fake->always ? wait_seq : 0;
}

static uint64_t durable_seq(void *arg)
{
    const struct fake *fake = arg;

    return fake->durable;
}

static const char *unknown_outcome(void *arg)
{
    (void)arg;
    return "-UNKNOWN the outcome of this write, whose reply was held, is not known";
}

static void tick(void *arg)
{
    struct fake *fake = arg;

    fake->ticks++;
}

static void turn_begin(void *arg)
{
    struct fake *fake = arg;

    assert_int_equal(fake->inside++, 0);
}

static void turn_end(void *arg)
{
    struct fake *fake = arg;

    assert_int_equal(fake->inside--, 1);
    assert_int_equal(fake->seq, fake->committed);
}

/* ---- the loop ---- */

void fake_init(struct fake *fake)
{
    *fake = (struct fake){0};
    fake_now_ms = 1000;
    net_limits_default(&fake->limits);
    assert_int_equal(metrics_init(&fake->metrics), 0);
}

void fake_start(struct fake *fake)
{
    struct net_hooks hooks = {
        .arg = fake,
        .session_open = session_open,
        .session_close = session_close,
        .execute = execute,
        .rewind = rewind_session,
        .turn_begin = turn_begin,
        .turn_end = turn_end,
        .prefetch = prefetch,
        .commit = commit,
        .ack_seq = ack_seq,
        .durable_seq = durable_seq,
        .unknown_outcome = unknown_outcome,
        .tick = tick,
    };
    struct varve_err err;

    assert_int_equal(
        net_loop_create(&hooks, &fake->limits, &fake->metrics, now_ms, &fake->loop, &err), 0);
    assert_int_equal(net_loop_bind(fake->loop, "127.0.0.1", 0, &err), 0);
    assert_int_equal(net_loop_listen(fake->loop, 64, &err), 0);
}

static enum net_step local_execute(void *arg, const struct resp_command *command,
                                   struct resp_writer *out, struct net_outcome *outcome)
{
    struct fake_session *session = arg;
    struct fake *fake = session->fake;

    (void)outcome;
    if (is(command, "ECHO"))
        resp_bulk(out, command->argv[1]);
    else if (is(command, "SEEN"))
        resp_integer(out, (int64_t)fake->committed);
    else if (is(command, "BIG"))
        reply_big(out, strtoul((const char *)command->argv[1].data, NULL, 10));
    else if (is(command, "PINNED"))
        reply_pinned(fake, out, strtoul((const char *)command->argv[1].data, NULL, 10));
    else
        return NET_FORWARD;
    atomic_fetch_add(&fake->local, 1);
    return NET_DONE;
}

static void local_nothing(void *arg)
{
    (void)arg;
}

static int local_commit(void *arg)
{
    (void)arg;
    return 0;
}

void fake_start_team(struct fake *fake, uint32_t count)
{
    struct net_member members[FAKE_LOOPS_MAX];
    struct varve_err err;

    assert_in_range(count, 1, FAKE_LOOPS_MAX);
    fake_start(fake);
    for (uint32_t i = 0; i < count; i++)
        members[i] = (struct net_member){
            .hooks = {.arg = fake,
                      .execute = local_execute,
                      .turn_begin = local_nothing,
                      .turn_end = local_nothing,
                      .tick = local_nothing,
                      .prefetch = prefetch,
                      .commit = local_commit},
            .metrics = &fake->team_metrics[i],
        };
    fake->team = count;
    assert_int_equal(net_team_create(fake->loop, members, count, &err), 0);
}

void fake_turn(struct fake *fake)
{
    for (uint32_t i = 0; i <= fake->team; i++)
        net_loop_turn(net_team_loop(fake->loop, i), 0);
}

void fake_stop(struct fake *fake)
{
    net_team_stop(fake->loop);
    net_loop_destroy(fake->loop);
    assert_int_equal(fake->opened, fake->closed);
    assert_int_equal(fake->metrics.held_replies_now, 0);
    assert_int_equal(fake->metrics.parked_now, 0);
    assert_int_equal(fake->inside, 0);
}

/* ---- clients ---- */

int client_connect_raw(struct fake *fake)
{
    return fake_dial(net_loop_port(fake->loop, 0));
}

int fake_dial(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

int client_connect(struct fake *fake)
{
    uint32_t opened = fake->opened;
    int fd = client_connect_raw(fake);

    run_until(fake, fake->opened > opened);
    return fd;
}

void client_send_bytes(struct fake *fake, int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    size_t sent = 0;
    uint64_t deadline_us = clock_mono_us() + 10 * 1000000;

    while (sent < len) {
        ssize_t n = send(fd, at + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        assert_true(clock_mono_us() < deadline_us);
        if (n > 0)
            sent += (size_t)n;
        else
            fake_turn(fake);
    }
}

void client_send(struct fake *fake, int fd, const char *bytes)
{
    client_send_bytes(fake, fd, bytes, strlen(bytes));
}

void client_expect(struct fake *fake, int fd, const char *bytes)
{
    size_t len = strlen(bytes);
    char *got = malloc(len + 1);
    size_t used = 0;
    uint64_t deadline_us = clock_mono_us() + 10 * 1000000;

    assert_non_null(got);
    while (used < len && clock_mono_us() < deadline_us) {
        ssize_t n = recv(fd, got + used, len - used, MSG_DONTWAIT);
        if (n == 0)
            break;
        if (n > 0)
            used += (size_t)n;
        else
            fake_turn(fake);
    }
    got[used] = '\0';
    assert_string_equal(got, bytes);
    free(got);
}

void client_expect_nothing(struct fake *fake, int fd)
{
    char byte;

    for (int i = 0; i < QUIET_TURNS; i++)
        fake_turn(fake);
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

void client_expect_end(struct fake *fake, int fd)
{
    char byte;
    ssize_t n = -1;

    errno = EAGAIN;
    run_until(fake, (n = recv(fd, &byte, 1, MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
    assert_true(n == 0 || errno == ECONNRESET);
    close(fd);
}
