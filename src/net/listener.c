/* Listening sockets. We accept by ourselves, on a uv_poll_t: libuv's own accept loop spins for ever
 * when descriptors have run out and its spare one is gone, and its tcp handle binds and checks late.
 *
 * Without a free descriptor a waiting client can be neither taken nor refused, and the poll would
 * report it again at once. So one descriptor is kept in reserve: it is closed, the client is accepted
 * and closed, the reserve is opened again. If even that fails, the listener rests until the next tick. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "net/internal.h"

#define ACCEPTS_A_TURN 256
#define SHED_LOG_MS 1000
#define ADDRESS_TEXT_BYTES 64

static const char too_many[] = "-ERR max number of clients reached\r\n";
static const char denied[] =
    "-DENIED Redis is running in protected mode: the server has no password, so it serves clients "
    "on the loopback interface only. To serve others, set one (requirepass), or, where the network "
    "is trusted, send CONFIG SET protected-mode no from this machine or start the server with "
    "--protected-mode no.\r\n";

/* ---- accepting ---- */

static void address_text(const struct sockaddr_storage *address, char *out, size_t cap)
{
    char ip[INET6_ADDRSTRLEN] = "?";

    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
        snprintf(out, cap, "[%s]:%u", ip, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
        snprintf(out, cap, "%s:%u", ip, ntohs(in->sin_port));
    }
}

static int is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const void *)address;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127);
}

/* Says why and closes; a fresh socket has room for the text. */
static void turn_away(struct net_loop *loop, int fd, const char *text)
{
    ssize_t sent = send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);

    (void)sent; /* a client that is gone already needs no reason */
    close(fd);
    loop->metrics->rejected_connections++;
}

static void take(struct net_loop *loop, int fd, const struct sockaddr_storage *peer)
{
    struct sockaddr_storage local = {0};
    socklen_t local_len = sizeof(local);
    char peer_text[ADDRESS_TEXT_BYTES];
    char local_text[ADDRESS_TEXT_BYTES];

    if (loop->conn_count >= loop->limits.maxclients) {
        turn_away(loop, fd, too_many);
        return;
    }
    if (loop->limits.loopback_only && !is_loopback(peer)) {
        turn_away(loop, fd, denied);
        return;
    }
    if (getsockname(fd, (struct sockaddr *)&local, &local_len) != 0)
        local.ss_family = AF_INET;
    address_text(peer, peer_text, sizeof(peer_text));
    address_text(&local, local_text, sizeof(local_text));
    conn_accept(loop, fd, peer_text, local_text);
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void listener_watch(struct listener *listener, int paused)
{
    listener->paused = paused;
    if (paused)
        uv_poll_stop(&listener->poll);
    else
        uv_poll_start(&listener->poll, UV_READABLE, on_acceptable);
}

/* Returns 1 if a waiting client was dropped, 0 if there is none, -1 if there is no way. */
static int shed(struct net_loop *loop, int listen_fd)
{
    int dropped = -1;

    if (loop->reserve_fd >= 0) {
        close(loop->reserve_fd);
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        dropped = fd >= 0 ? 1 : (errno == EAGAIN ? 0 : -1);
        if (fd >= 0)
            close(fd);
    }
    loop->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return dropped;
}

/* accept4() failed with os_errno. Returns 1 to try on. */
static int accept_failed(struct listener *listener, int os_errno)
{
    struct net_loop *loop = listener->loop;
    int go_on = 0;

    switch (os_errno) {
    case EAGAIN: return 0;
    case EINTR:
    case ECONNABORTED:
    case EPROTO: return 1;
    case EMFILE:
    case ENFILE:
        go_on = shed(loop, listener->fd);
        if (go_on == 0)
            return 0;
        loop->metrics->rejected_connections += go_on > 0;
        break;
    default: go_on = -1; break;
    }
    uint64_t now_ms = loop->now_fn();
    if (loop->shed_log_ms == 0 || now_ms - loop->shed_log_ms >= SHED_LOG_MS) {
        loop->shed_log_ms = now_ms;
        log_line(LOG_WARNING, "Cannot accept clients: %s", strerror(os_errno));
    }
    if (go_on < 0 && !MUTANT("accept-spins"))
        listener_watch(listener, 1);
    return go_on > 0;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = CONTAINER_OF(poll, struct listener, poll);

    (void)status; /* whatever it is, accept4() says it better */
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t peer_len = sizeof(peer);
        int fd = accept4(listener->fd, (struct sockaddr *)&peer, &peer_len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            take(listener->loop, fd, &peer);
        else if (!accept_failed(listener, errno))
            return;
    }
}

void listener_tick(struct net_loop *loop)
{
    if (loop->reserve_fd < 0)
        loop->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (uint32_t i = 0; i < loop->listener_count; i++)
        if (loop->listeners[i]->paused)
            listener_watch(loop->listeners[i], 0);
}

/* ---- making and ending ---- */

/* Accepted sockets inherit these, so that an accept costs no further calls. */
static void set_options(int fd, uint32_t keepalive_s)
{
    int on = 1;
    int off = 0;
    int idle_s = (int)(keepalive_s > 32767 ? 32767 : keepalive_s); /* the kernel's maximum */
    int interval_s = idle_s / 3 > 0 ? idle_s / 3 : 1;
    int probes = 3;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, keepalive_s > 0 ? &on : &off, sizeof(on));
    if (keepalive_s == 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

void listener_keepalive(struct net_loop *loop)
{
    for (uint32_t i = 0; i < loop->listener_count; i++)
        set_options(loop->listeners[i]->fd, loop->limits.tcp_keepalive_s);
}

/* A bound socket, or -errno. */
static int bind_one(const struct address *address, uint32_t keepalive_s)
{
    int on = 1;
    int fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->at.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    set_options(fd, keepalive_s);
    if (bind(fd, (const struct sockaddr *)&address->at, address->len) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(CONTAINER_OF(handle, struct listener, poll));
}

static void listener_close(struct listener *listener)
{
    uv_poll_stop(&listener->poll);
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    close(listener->fd);
}

/* Takes the descriptor over if it returns 0. */
static int listener_add(struct net_loop *loop, const struct address *address, int fd)
{
    struct listener *listener = mem_alloc_zero(sizeof(*listener));

    if (listener == NULL)
        return VARVE_ENOMEM;
    listener->loop = loop;
    listener->address = *address;
    listener->fd = fd;
    if (uv_poll_init(&loop->uv, &listener->poll, fd) != 0) {
        mem_free(listener);
        return VARVE_EIO;
    }
    loop->listeners[loop->listener_count++] = listener;
    return 0;
}

/* One that is optional and has no form here gets no address: its len is then 0. */
static int resolve(const char *text, uint16_t port, struct address *address, struct varve_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *info = NULL;
    char service[8];

    *address = (struct address){.optional = text[0] == '-'};
    const char *host = text + address->optional;
    if (strcmp(host, "*") == 0)
        host = "0.0.0.0";
    else if (strcmp(host, "::*") == 0)
        host = "::";
    snprintf(service, sizeof(service), "%u", port);
    int rc = getaddrinfo(host, service, &hints, &info);
    if (rc != 0 && address->optional)
        return 0;
    if (rc != 0)
        return err_set(err, VARVE_EINVAL, "listen on %s: %s", host, gai_strerror(rc));
    address->len = info->ai_addrlen;
    memcpy(&address->at, info->ai_addr, info->ai_addrlen);
    freeaddrinfo(info);
    return 0;
}

static int open_one(struct net_loop *loop, const struct address *address, struct varve_err *err)
{
    char text[ADDRESS_TEXT_BYTES];

    CHECK(loop->listener_count < NET_LISTENERS_MAX);
    address_text(&address->at, text, sizeof(text));
    int fd = bind_one(address, loop->limits.tcp_keepalive_s);
    if (fd < 0 && address->optional && (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT))
        return 0;
    if (fd < 0)
        return err_set_errno(err, -fd, "listen on %s", text);
    int rc = listener_add(loop, address, fd);
    if (rc != 0) {
        close(fd);
        err_set(err, rc, "listen on %s: cannot watch it", text);
    }
    return rc;
}

int net_loop_bind(struct net_loop *loop, const char *address, uint16_t port, struct varve_err *err)
{
    struct address resolved;

    if (loop->listener_count == NET_ADDRESSES_MAX)
        return err_set(err, VARVE_EINVAL, "more than %d addresses to listen on", NET_ADDRESSES_MAX);
    int rc = resolve(address, port, &resolved, err);
    if (rc != 0 || resolved.len == 0)
        return rc;
    return open_one(loop, &resolved, err);
}

static int listen_from(struct net_loop *loop, uint32_t first, int backlog, struct varve_err *err)
{
    for (uint32_t i = first; i < loop->listener_count; i++) {
        if (listen(loop->listeners[i]->fd, backlog) != 0)
            return err_set_errno(err, errno, "listen on port %u", net_loop_port(loop, i));
        listener_watch(loop->listeners[i], 0);
    }
    return 0;
}

int net_loop_listen(struct net_loop *loop, int backlog, struct varve_err *err)
{
    return listen_from(loop, 0, backlog, err);
}

/* ---- changing ---- */

struct addresses {
    struct address all[NET_ADDRESSES_MAX];
    uint32_t count;
};

static uint16_t port_of(const struct address *address)
{
    if (address->at.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)&address->at)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)&address->at)->sin_port);
}

static int same_place(const struct address *a, const struct address *b)
{
    return a->len == b->len && memcmp(&a->at, &b->at, a->len) == 0;
}

static int is_wanted(const struct listener *listener, const struct addresses *wanted)
{
    for (uint32_t i = 0; i < wanted->count; i++)
        if (same_place(&listener->address, &wanted->all[i]))
            return 1;
    return 0;
}

static int is_served(const struct net_loop *loop, const struct address *address)
{
    for (uint32_t i = 0; i < loop->listener_count; i++)
        if (same_place(&loop->listeners[i]->address, address))
            return 1;
    return 0;
}

/* A socket that has to go would keep a new one from its place. */
static int in_the_way(const struct net_loop *loop, const struct addresses *wanted)
{
    for (uint32_t i = 0; i < loop->listener_count; i++) {
        const struct listener *listener = loop->listeners[i];
        for (uint32_t j = 0; j < wanted->count && !is_wanted(listener, wanted); j++)
            if (port_of(&wanted->all[j]) != 0 && port_of(&wanted->all[j]) == net_loop_port(loop, i))
                return 1;
    }
    return 0;
}

static void close_from(struct net_loop *loop, uint32_t first)
{
    while (loop->listener_count > first)
        listener_close(loop->listeners[--loop->listener_count]);
}

static void close_unwanted(struct net_loop *loop, const struct addresses *wanted)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < loop->listener_count; i++) {
        if (is_wanted(loop->listeners[i], wanted))
            loop->listeners[kept++] = loop->listeners[i];
        else
            listener_close(loop->listeners[i]);
    }
    loop->listener_count = kept;
}

/* Opens what is not served yet: all of it or nothing. */
static int open_wanted(struct net_loop *loop, const struct addresses *wanted, int backlog,
                       struct varve_err *err)
{
    uint32_t first = loop->listener_count;
    int rc = 0;

    for (uint32_t i = 0; i < wanted->count && rc == 0; i++)
        if (!is_served(loop, &wanted->all[i]))
            rc = open_one(loop, &wanted->all[i], err);
    if (rc == 0)
        rc = listen_from(loop, first, backlog, err);
    if (rc != 0)
        close_from(loop, first);
    return rc;
}

/* Each by itself: what can be had is more than nothing. */
static void restore(struct net_loop *loop, const struct addresses *before, int backlog)
{
    for (uint32_t i = 0; i < before->count; i++) {
        struct addresses one = {.all = {before->all[i]}, .count = 1};
        struct varve_err err = {0};
        if (open_wanted(loop, &one, backlog, &err) != 0)
            log_line(LOG_WARNING, "No longer listening there: %s", err_text(&err));
    }
}

static int resolve_all(const char *const *texts, size_t count, uint16_t port,
                       struct addresses *wanted, struct varve_err *err)
{
    wanted->count = 0;
    if (count > NET_ADDRESSES_MAX)
        return err_set(err, VARVE_EINVAL, "more than %d addresses to listen on", NET_ADDRESSES_MAX);
    for (size_t i = 0; i < count; i++) {
        struct address *address = &wanted->all[wanted->count];
        int rc = resolve(texts[i], port, address, err);
        if (rc != 0)
            return rc;
        for (uint32_t j = 0; j < wanted->count; j++)
            if (same_place(address, &wanted->all[j]))
                return err_set(err, VARVE_EINVAL, "listen on %s: it is there twice", texts[i]);
        wanted->count += address->len > 0;
    }
    return 0;
}

int net_loop_rebind(struct net_loop *loop, const char *const *addresses, size_t count,
                    uint16_t port, int backlog, struct varve_err *err)
{
    struct addresses wanted;
    struct addresses before = {.count = 0};
    int rc = resolve_all(addresses, count, port, &wanted, err);

    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < loop->listener_count; i++)
        before.all[before.count++] = loop->listeners[i]->address;
    if (in_the_way(loop, &wanted))
        close_unwanted(loop, &wanted);
    rc = open_wanted(loop, &wanted, backlog, err);
    if (rc == 0)
        close_unwanted(loop, &wanted);
    else if (!MUTANT("rebind-restores-nothing"))
        restore(loop, &before, backlog);
    return rc;
}

uint16_t net_loop_port(const struct net_loop *loop, uint32_t nth)
{
    struct address bound = {.len = sizeof(bound.at)};

    if (nth >= loop->listener_count ||
        getsockname(loop->listeners[nth]->fd, (struct sockaddr *)&bound.at, &bound.len) != 0)
        return 0;
    return port_of(&bound);
}

void listener_close_all(struct net_loop *loop)
{
    close_from(loop, 0);
}
