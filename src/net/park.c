/* Connections whose next command waits: for net_unpark(), or for a time. */
#include "net/internal.h"

/* The timer counts in milliseconds from the loop's own idea of the time, so it may ring early: then it is set
 * once more. */
static void delay_arm(struct net_loop *loop, uint64_t now_us)
{
    uint64_t wait_us = loop->delay_first_us > now_us ? loop->delay_first_us - now_us : 0;

    uv_update_time(&loop->uv);
    uv_timer_start(&loop->delay_timer, park_on_delay, (wait_us + 999) / 1000, 0);
}

/* All are called again as soon as one is due, in the order in which they came: who must wait on keeps its
 * place before those that come later, so nobody is overtaken for ever. */
void park_on_delay(uv_timer_t *timer)
{
    struct net_loop *loop = timer->data;
    uint64_t now_us = uv_hrtime() / 1000;

    if (now_us < loop->delay_first_us) {
        delay_arm(loop, now_us);
        return;
    }
    loop->delay_first_us = UINT64_MAX;
    for (struct list *node = loop->delayed.next; node != &loop->delayed;) {
        struct conn *conn = CONTAINER_OF(node, struct conn, delay_node);
        node = node->next;
        net_unpark(conn);
    }
}

void conn_park(struct conn *conn, uint64_t delay_us)
{
    struct net_loop *loop = conn->loop;

    if (conn->parked) /* a later command of it was, before this one ran again */
        return;
    conn->parked = 1;
    loop->metrics->parks++;
    loop->metrics->parked_now++;
    if (delay_us == 0) {
        conn->cold = COLD_RUNS;
        return;
    }
    uint64_t now_us = uv_hrtime() / 1000;
    list_push_back(&loop->delayed, &conn->delay_node);
    if (now_us + delay_us < loop->delay_first_us) {
        loop->delay_first_us = now_us + delay_us;
        delay_arm(loop, now_us);
    }
}

void conn_forget_park(struct conn *conn)
{
    if (!conn->parked)
        return;
    conn->parked = 0;
    conn->loop->metrics->parked_now--;
    list_remove(&conn->delay_node);
}

void net_unpark(struct conn *conn)
{
    if (conn->home->main != NULL && !conn->visiting) /* it comes, and its command is called then */
        return;
    if (!conn->parked || conn->dead)
        return;
    struct net_loop *loop = conn->loop;
    conn_forget_park(conn);
    conn->active_ms = loop->now_ms;
    turn_touch(conn);
    /* The turn's end runs it, but the poll before that must not wait. */
    if (!uv_is_active((uv_handle_t *)&loop->idle))
        uv_idle_start(&loop->idle, loop_on_idle);
}
