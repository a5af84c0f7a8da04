/* Clients: a thread has a few connections with one command under way on each; it sends on all that are idle,
 * then waits until something is answered. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/rng.h"
#include "campaign.h"
#include "linear_server.h"

#define IN_MAX 262144
#define OUT_MAX 1024
#define TEXT_MAX 48
#define GONE_MAX_S 90.0

struct connection {
    int fd; /* -1: the server is gone */
    struct rng rng;
    struct linear_op *ops;
    uint64_t done;
    int waits; /* ops[done] is under way */
    size_t in_len;
    char in[IN_MAX];
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- sockets ---- */

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

static int dial(uint16_t port)
{
    struct sockaddr_in at = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    CHECK(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0) {
        close(fd);
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

int client_probe(uint16_t port)
{
    char answer[8];
    int fd = dial(port);
    int rc = -1;

    if (fd < 0)
        return -1;
    if (send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && recv(fd, answer, 5, MSG_WAITALL) == 5)
        rc = memcmp(answer, "+PONG", 5) == 0 ? 0 : -1;
    close(fd);
    return rc;
}

uint16_t client_free_port(void)
{
    struct sockaddr_in at = loopback(0);
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)&at, len) == 0 &&
          getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    close(fd);
    return ntohs(at.sin_port);
}

/* ---- commands ---- */

static int command(char out[OUT_MAX], const char *verb, uint32_t key, const char *value,
                   const char *more)
{
    char name[16];
    int words = 2 + (value != NULL) + (more != NULL);
    int len;

    snprintf(name, sizeof(name), "hot%u", key);
    len = snprintf(out, OUT_MAX, "*%d\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", words, strlen(verb), verb,
                   strlen(name), name);
    if (value != NULL)
        len += snprintf(out + len, OUT_MAX - (size_t)len, "$%zu\r\n%s\r\n", strlen(value), value);
    if (more != NULL)
        len += snprintf(out + len, OUT_MAX - (size_t)len, "$%zu\r\n%s\r\n", strlen(more), more);
    return len;
}

static int draw_text(struct rng *rng, struct linear_op *op, char out[OUT_MAX])
{
    char text[TEXT_MAX + 1];
    uint64_t draw = rng_below(rng, 16);
    int len = snprintf(text, sizeof(text), "%" PRIx64 ",", rng_next(rng));

    if (draw < 6) {
        op->kind = LINEAR_GET;
        return command(out, "GET", op->key, NULL, NULL);
    }
    op->value = linear_text(text, (size_t)len);
    if (draw < 9) {
        op->kind = LINEAR_SET;
        return command(out, "SET", op->key, text, NULL);
    }
    if (draw < 11) {
        op->kind = LINEAR_SET_NX;
        return command(out, "SET", op->key, text, "NX");
    }
    if (draw < 14) {
        op->kind = LINEAR_APPEND;
        return command(out, "APPEND", op->key, text, NULL);
    }
    op->kind = LINEAR_DELETE;
    return command(out, "DEL", op->key, NULL, NULL);
}

static int draw_number(struct rng *rng, struct linear_op *op, char out[OUT_MAX])
{
    uint64_t draw = rng_below(rng, 16);

    if (draw < 5) {
        op->kind = LINEAR_GET;
        return command(out, "GET", op->key, NULL, NULL);
    }
    if (draw == 5) {
        op->kind = LINEAR_DELETE;
        return command(out, "DEL", op->key, NULL, NULL);
    }
    op->kind = LINEAR_ADD;
    op->value = linear_number(1);
    return command(out, "INCR", op->key, NULL, NULL);
}

static void gone(struct connection *connection, struct round *round)
{
    close(connection->fd);
    connection->fd = -1;
    connection->in_len = 0;
    if (!connection->waits)
        return;
    connection->waits = 0;
    connection->done++;
    atomic_fetch_add(&round->unanswered, 1);
}

static void send_next(struct connection *connection, struct round *round)
{
    struct linear_op *op = &connection->ops[connection->done];
    char out[OUT_MAX];

    op->key = (uint32_t)rng_below(&connection->rng, KEYS);
    op->end_ns = LINEAR_NEVER;
    int len = op->key < TEXT_KEYS ? draw_text(&connection->rng, op, out)
                                  : draw_number(&connection->rng, op, out);
    CHECK(len < OUT_MAX);
    connection->waits = 1;
    op->begin_ns = now_ns();
    if (send(connection->fd, out, (size_t)len, MSG_NOSIGNAL) != len)
        gone(connection, round);
}

/* ---- answers ---- */

/* The length of the first answer; 0: it is not whole. text: what a bulk string holds. */
static size_t answer_len(const struct connection *connection, const char **text, size_t *text_len)
{
    const char *end = memchr(connection->in, '\n', connection->in_len);

    *text = NULL;
    *text_len = 0;
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end + 1 - connection->in);
    if (connection->in[0] != '$' || connection->in[1] == '-')
        return head;
    *text = end + 1;
    *text_len = strtoul(connection->in + 1, NULL, 10);
    return head + *text_len + 2 <= connection->in_len ? head + *text_len + 2 : 0;
}

static void take_answer(struct connection *connection, const char *text, size_t text_len)
{
    struct linear_op *op = &connection->ops[connection->done];
    char kind = connection->in[0];
    char expected = op->kind == LINEAR_GET                                  ? '$'
                    : op->kind == LINEAR_SET                                ? '+'
                    : op->kind == LINEAR_SET_NX && connection->in[1] == '-' ? '$'
                    : op->kind == LINEAR_SET_NX                             ? '+'
                                                                            : ':';

    if (kind != expected)
        linear_fail("command %u on key %u is answered by %.*s", op->kind, op->key,
                    (int)strcspn(connection->in, "\r"), connection->in);
    if (kind == ':') {
        op->result = strtoull(connection->in + 1, NULL, 10);
        op->found = op->kind == LINEAR_DELETE && op->result == 1;
    } else if (op->kind == LINEAR_SET_NX) {
        op->found = kind == '+';
    } else if (op->kind == LINEAR_GET && text != NULL) {
        op->found = 1;
        op->result = op->key < TEXT_KEYS ? linear_hash(linear_text(text, text_len))
                                         : strtoull(text, NULL, 10);
    }
}

static void receive(struct connection *connection, struct round *round)
{
    const char *text;
    size_t text_len;
    ssize_t got = recv(connection->fd, connection->in + connection->in_len,
                       IN_MAX - connection->in_len, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        gone(connection, round);
        return;
    }
    connection->in_len += (size_t)got;
    size_t len = answer_len(connection, &text, &text_len);
    if (len == 0 && connection->in_len == IN_MAX)
        linear_fail("an answer of more than %d bytes", IN_MAX);
    if (len == 0)
        return;
    if (len != connection->in_len || !connection->waits)
        linear_fail("an answer to nothing");
    uint64_t end_ns = now_ns();
    take_answer(connection, text, text_len);
    connection->ops[connection->done].end_ns = end_ns;
    connection->in_len = 0;
    connection->waits = 0;
    connection->done++;
    atomic_fetch_add_explicit(&round->answered, 1, memory_order_relaxed);
}

/* ---- a thread ---- */

static void connect_again(struct connection *connection, uint16_t port)
{
    double began_s = campaign_now_s();

    while ((connection->fd = dial(port)) < 0) {
        if (campaign_now_s() - began_s > GONE_MAX_S)
            linear_fail("the server does not come back");
        thread_sleep_us(10000);
    }
}

/* One turn; 0: all connections have done their parts. */
static int turn(struct connection *connections, struct round *round)
{
    struct pollfd polls[CONNECTIONS];
    nfds_t count = 0;

    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = &connections[i];
        polls[i] = (struct pollfd){.fd = -1};
        if (connection->done == round->part)
            continue;
        if (connection->fd < 0)
            connect_again(connection, round->port);
        if (!connection->waits)
            send_next(connection, round);
        polls[i] = (struct pollfd){.fd = connection->fd, .events = POLLIN};
        count++;
    }
    if (count == 0)
        return 0;
    if (poll(polls, CONNECTIONS, 60000) == 0)
        linear_fail("no answer for a minute");
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        if (polls[i].fd >= 0 && polls[i].revents != 0)
            receive(&connections[i], round);
    return 1;
}

void client_run(void *arg)
{
    struct client *client = arg;
    struct round *round = client->round;
    struct connection *connections = calloc(CONNECTIONS, sizeof(*connections));

    CHECK(connections != NULL);
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        uint64_t no = (uint64_t)client->no * CONNECTIONS + i;
        connections[i].fd = -1;
        connections[i].ops = round->ops + no * round->part;
        rng_init(&connections[i].rng, round->seed * 1000 + no);
    }
    while (turn(connections, round))
        continue;
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        if (connections[i].fd >= 0)
            close(connections[i].fd);
    free(connections);
}
