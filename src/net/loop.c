/* The loop's life. libuv calls, in one iteration: timers, the poll's callbacks (reads, accepts, news
 * of the log), then the check, which ends the turn, then the callbacks of closed handles. */
#include "net/loop.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/internal.h"
#include "net/team.h"

#define INPUT_BUFFER_BYTES ((size_t)16 * 1024)
#define INPUT_BUFFERS_KEPT 256
#define LOGGED_FIRST_COUNT 1024

void net_limits_default(struct net_limits *limits)
{
    *limits = (struct net_limits){
        .maxclients = 10000,
        .tcp_keepalive_s = 300,
        .loopback_only = 1,
        .turn_commands = 1024,
        .turn_bytes = (size_t)1 << 20,
        .turn_output_bytes = (size_t)4 << 20,
        .output_pause_bytes = (size_t)1 << 20,
        .held_max_count = 4096,
        .resp = {.bulk_max_bytes = (size_t)512 << 20,
                 .inline_max_bytes = (size_t)64 << 10,
                 .query_max_bytes = (size_t)1 << 30},
    };
}

/* An idle handle does nothing but keep the poll from waiting. */
void loop_on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void on_check(uv_check_t *check)
{
    struct net_loop *loop = check->data;

    turn_end(loop);
    if (UNLIKELY(loop->main != NULL))
        team_rest(loop);
    if (!loop->stopping)
        return;
    listener_close_all(loop);
    uv_stop(&loop->uv);
}

static void on_timer(uv_timer_t *timer)
{
    struct net_loop *loop = timer->data;

    loop->now_ms = loop->now_fn();
    loop->hooks.tick(loop->hooks.arg);
    if (loop->main == NULL)
        listener_tick(loop);
    conn_sweep(loop);
    if (UNLIKELY(loop->team != NULL))
        team_sweep(loop);
}

static uint64_t system_now_ms(void)
{
    return clock_mono_us() / 1000;
}

static int loop_init(struct net_loop *loop, struct varve_err *err)
{
    list_init(&loop->turn);
    list_init(&loop->cold);
    list_init(&loop->delayed);
    loop->delay_first_us = UINT64_MAX;
    list_init(&loop->held);
    list_init(&loop->all);
    list_init(&loop->dying);
    list_init(&loop->closed);
    list_init(&loop->guests);
    list_init(&loop->departing);
    list_init(&loop->returning);
    list_init(&loop->recalling);
    list_init(&loop->mail.travellers);
    list_init(&loop->mail.recalls);
    loop->turn_no = 1;
    loop->group_no = 1;
    loop->failed_seq = UINT64_MAX;
    loop->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    loop->pool = resp_pool_create(INPUT_BUFFER_BYTES, INPUT_BUFFERS_KEPT);
    loop->logged = mem_alloc(LOGGED_FIRST_COUNT * sizeof(*loop->logged));
    loop->logged_cap = LOGGED_FIRST_COUNT;
    if (loop->pool == NULL || loop->logged == NULL)
        return err_set(err, VARVE_ENOMEM, "make the event loop: out of memory");
    int rc = uv_loop_init(&loop->uv);
    if (rc != 0)
        return err_set_errno(err, -rc, "make the event loop");
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_timer_init(&loop->uv, &loop->timer);
    uv_timer_init(&loop->uv, &loop->delay_timer);
    loop->check.data = loop;
    loop->timer.data = loop;
    loop->delay_timer.data = loop;
    uv_check_start(&loop->check, on_check);
    uv_timer_start(&loop->timer, on_timer, NET_TICK_MS, NET_TICK_MS);
    return 0;
}

static void loop_free(struct net_loop *loop)
{
    if (loop->mail.open)
        mutex_deinit(&loop->mail.mutex);
    output_spare_deinit(loop);
    resp_pool_destroy(loop->pool);
    if (loop->reserve_fd >= 0)
        close(loop->reserve_fd);
    mem_free(loop->logged);
    mem_free(loop);
}

int net_loop_create(const struct net_hooks *hooks, const struct net_limits *limits,
                    struct metrics *metrics, uint64_t (*now_ms)(void), struct net_loop **loop,
                    struct varve_err *err)
{
    struct net_loop *made = mem_alloc_zero(sizeof(*made));

    *loop = NULL;
    if (made == NULL)
        return err_set(err, VARVE_ENOMEM, "make the event loop: out of memory");
    made->hooks = *hooks;
    made->limits = *limits;
    made->metrics = metrics;
    made->now_fn = now_ms != NULL ? now_ms : system_now_ms;
    made->now_ms = made->now_fn();
    int rc = loop_init(made, err);
    if (rc != 0) {
        loop_free(made);
        return rc;
    }
    signal(SIGPIPE, SIG_IGN);
    *loop = made;
    return 0;
}

void net_loop_destroy(struct net_loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->team != NULL && loop->main == NULL)
        team_destroy(loop);
    for (struct list *node = loop->all.next; node != &loop->all; node = node->next)
        conn_kill(CONTAINER_OF(node, struct conn, all_node));
    conn_bury(loop);
    listener_close_all(loop);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->delay_timer, NULL);
    if (loop->mail.open)
        uv_close((uv_handle_t *)&loop->mail.news, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
        continue;
    conn_reap(loop);
    CHECK(uv_loop_close(&loop->uv) == 0);
    loop_free(loop);
}

void net_loop_run(struct net_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void net_loop_turn(struct net_loop *loop, int wait)
{
    uv_run(&loop->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

void net_loop_stop(struct net_loop *loop)
{
    loop->stopping = 1;
    /* Whatever the poll waits for, it is not this. */
    if (!uv_is_active((uv_handle_t *)&loop->idle))
        uv_idle_start(&loop->idle, loop_on_idle);
}

void net_loop_settle(struct net_loop *loop)
{
    turn_end(loop);
}

void net_durable(struct net_loop *loop, uint64_t seq, int failed)
{
    loop->durable_news = 1;
    if (failed && seq < loop->failed_seq)
        loop->failed_seq = seq;
}

uint64_t net_loop_held_seq(const struct net_loop *loop)
{
    uint64_t seq = 0;

    for (struct list *node = loop->held.next; node != &loop->held; node = node->next) {
        const struct conn *conn = CONTAINER_OF(node, struct conn, held_node);
        for (uint32_t i = 0; i < conn->held_count; i++)
            if (conn->held[conn->held_first + i].seq > seq)
                seq = conn->held[conn->held_first + i].seq;
    }
    return seq;
}

void net_loop_set_limits(struct net_loop *loop, const struct net_limits *limits)
{
    loop->limits = *limits;
    if (loop->main == NULL)
        listener_keepalive(loop);
    for (struct list *node = loop->all.next; node != &loop->all; node = node->next)
        conn_resize_limits(CONTAINER_OF(node, struct conn, all_node));
    for (uint32_t no = 1; loop->main == NULL && net_team_loop(loop, no) != NULL; no++)
        net_loop_set_limits(net_team_loop(loop, no), limits);
}

struct uv_loop_s *net_loop_uv(struct net_loop *loop)
{
    return &loop->uv;
}
