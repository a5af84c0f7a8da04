/* Loops beside the writer's, and connections on their way between them.
 *
 *              execute(): NET_FORWARD, or it dies               end of that loop's turn
 *   at home ------------------------------> departing -----------------------------> in the writer's mail
 *      ^                                                                                     |
 *      | home_arrive()                                                        guest_arrive() |
 *      |                                                                                     v
 *   in its home's mail <----- end of the writer's turn ----- returning <----------------- guest
 *                                            guest_settle(), guest_bury()
 *
 * A connection begins on the left below (accepted, not yet opened) and ends there (its session has). What it
 * is between two owners is handed over by the mutex of a mail. */
#include "net/team.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "net/internal.h"

#define GATHER_MAX 256 /* commands that a guest takes along */
#define GUEST_SWEEP_TICKS 10

struct team {
    struct net_loop **loops; /* beside the writer's */
    struct thread *threads;
    uint32_t count;
    uint32_t running; /* threads */
    unsigned halts;   /* the writer's thread */
    struct mutex mutex;
    struct cond changed;
    _Atomic int halt; /* written under the mutex */
    uint32_t resting;
};

static void list_move_all(struct list *to, struct list *from)
{
    while (!list_empty(from)) {
        struct list *node = from->next;
        list_remove(node);
        list_push_back(to, node);
    }
}

/* ---- mail ---- */

static void post_guests(struct net_loop *loop)
{
    struct mail *mail = &loop->main->mail;

    if (list_empty(&loop->departing))
        return;
    mutex_lock(&mail->mutex);
    list_move_all(&mail->travellers, &loop->departing);
    mutex_unlock(&mail->mutex);
    uv_async_send(&mail->news);
}

static void post_home(struct net_loop *home)
{
    struct mail *mail = &home->mail;

    if (list_empty(&home->returning) && list_empty(&home->recalling))
        return;
    mutex_lock(&mail->mutex);
    while (!list_empty(&home->recalling)) {
        struct conn *conn = CONTAINER_OF(home->recalling.next, struct conn, want_node);
        list_remove(&conn->want_node);
        if (list_empty(&conn->recall_node))
            list_push_back(&mail->recalls, &conn->recall_node);
    }
    list_move_all(&mail->travellers, &home->returning);
    mutex_unlock(&mail->mutex);
    uv_async_send(&mail->news);
}

void team_post(struct net_loop *loop)
{
    if (loop->main != NULL) {
        post_guests(loop);
        return;
    }
    for (uint32_t i = 0; i < loop->team->count; i++)
        post_home(loop->team->loops[i]);
}

/* ---- to the writer's loop ---- */

/* What is parsed already goes along, and more of it if there is more: a long pipeline is one visit. */
static void conn_gather(struct conn *conn)
{
    uint32_t left = (uint32_t)(conn->ahead_count - conn->ahead_at);
    struct resp_command first;

    if (conn->ahead_status != RESP_COMMAND || conn->again != NULL || conn->limits.unauthenticated ||
        conn_parse(conn, &first, 1, 1) == 0)
        return;
    struct resp_command *all = mem_alloc(GATHER_MAX * sizeof(*all));
    if (all == NULL) {
        conn_bad_status(conn, RESP_NO_MEMORY);
        return;
    }
    memcpy(all, conn->ahead + conn->ahead_at, left * sizeof(*all));
    all[left++] = first;
    left += conn_parse(conn, all + left, GATHER_MAX - left, conn->loop->limits.turn_bytes);
    conn->ahead_at = conn->ahead_count = 0;
    conn->again = all;
    conn->again_at = 0;
    conn->again_count = left;
}

void conn_depart(struct conn *conn)
{
    struct net_loop *home = conn->home;

    conn->leaving = CONN_STAYS;
    if (!conn->dead) {
        conn_gather(conn);
        if (conn->dead) /* its burial brings it here again */
            return;
        conn->queued_bytes = output_unsent_bytes(conn) -
                             (conn->out.len - conn->out_sent + conn->pins.bytes);
    }
    list_remove(&conn->turn_node);
    conn->in_turn = 0;
    conn->away = 1;
    conn->fresh = 0;
    conn->in_transit = 1;
    list_push_back(&home->departing, &conn->travel_node);
}

static void guest_prefetch(struct net_loop *main, const struct conn *conn)
{
    const struct resp_command *commands = conn->ahead + conn->ahead_at;
    size_t count = (size_t)(conn->ahead_count - conn->ahead_at);

    if (conn->again != NULL) {
        commands = conn->again + conn->again_at;
        count = conn->again_count - conn->again_at;
    }
    if (count > 1)
        conn_hint(main, conn, commands, count);
}

/* What it could not be told, or done to, while it was not here. True if it goes on. */
static int guest_catch_up(struct conn *conn)
{
    if (conn->doomed || conn->unwanted)
        conn_kill(conn);
    else if (conn->push_failed != 0)
        conn->writer.failed = conn->push_failed;
    else if (conn->pushes.len > 0)
        conn_push(conn, buf_slice(&conn->pushes));
    buf_deinit(&conn->pushes);
    turn_touch(conn);
    return !conn->dead && conn->writer.failed == 0;
}

static void guest_arrive(struct net_loop *main, struct conn *conn)
{
    conn->in_transit = 0;
    conn->loop = main;
    conn->turn_no = 0;
    conn->read_turn_no = 0; /* it counts the turns of its home */
    conn->mark_group = 0;
    conn->visiting = 1;
    list_remove(&conn->want_node);
    list_push_back(&main->guests, &conn->guest_node);
    if (conn->dead) {
        list_push_back(&main->dying, &conn->dead_node);
        return;
    }
    if (UNLIKELY(conn->doomed || conn->unwanted || conn->push_failed != 0 ||
                 conn->pushes.len > 0) &&
        !guest_catch_up(conn))
        return;
    guest_prefetch(main, conn);
    turn_run_conn(conn);
}

/* ---- home ---- */

static void guest_leave(struct conn *conn)
{
    list_remove(&conn->guest_node);
    list_remove(&conn->turn_node);
    conn->in_turn = 0;
    conn->visiting = 0;
    conn->in_transit = 1;
    list_push_back(&conn->home->returning, &conn->travel_node);
}

void guest_settle(struct conn *conn, uint64_t durable_seq)
{
    if (conn->held_count > 0)
        output_release(conn, durable_seq);
    if (conn_output_failed(conn) || (conn->held_count > 0 && !MUTANT("guest-leaves-early")))
        return;
    if (conn->parked) {
        if (conn->out.len == conn->out_sent && conn->pins.count == 0)
            return;
        conn_forget_park(conn); /* what was answered before it is sent; then it comes again */
        conn->leaving = CONN_LEAVES_SOON;
    } else if (conn_has_parsed(conn) && conn_can_run(conn) && !conn_is_clogged(conn) &&
               !conn->loop->stopping) {
        turn_touch(conn);
        return;
    }
    guest_leave(conn);
}

void guest_bury(struct conn *conn)
{
    struct net_loop *main = conn->loop;

    conn_forget_park(conn);
    list_remove(&conn->want_node);
    main->hooks.session_close(conn->session);
    conn->session = NULL;
    main->conn_count--;
    conn->home->placed--;
    output_deinit(conn);
    guest_leave(conn);
}

static void home_arrive(struct net_loop *home, struct conn *conn)
{
    int fd = conn->fd;

    conn->in_transit = 0;
    conn->loop = home;
    conn->turn_no = 0;
    conn->away = 0;
    conn->active_ms = home->now_ms;
    if (conn->session == NULL) {
        list_push_back(&home->dying, &conn->dead_node);
        return;
    }
    if (fd >= 0) {
        conn->fd = -1;
        home->conn_count++;
        conn_resize_limits(conn);
        conn_open(conn, fd);
        if (!conn->dead)
            conn_pace(conn, 0);
    }
    if (conn->doomed || conn->broken) {
        conn_kill(conn);
        return;
    }
    if (conn->again != NULL && conn->again_at == conn->again_count) {
        mem_free(conn->again);
        conn->again = NULL;
    }
    if (conn->fresh) /* came while it was away: to be looked at wherever it is next */
        conn->ahead_status = RESP_COMMAND;
    if (conn->wanted) /* once it has sent what it brought */
        conn->leaving = CONN_LEAVES_SOON;
    conn->wanted = 0;
    conn->more = conn_has_parsed(conn) || conn->fresh || conn->ahead_status != RESP_MORE;
    conn->fresh = 0;
    turn_touch(conn);
}

struct net_loop *team_choose(struct net_loop *loop)
{
    struct net_loop *best = loop;

    for (uint32_t i = 0; i < loop->team->count; i++)
        if (loop->team->loops[i]->placed <= best->placed)
            best = loop->team->loops[i];
    return best;
}

void team_place(struct net_loop *loop, struct net_loop *home, int fd, const char *peer,
                const char *local)
{
    struct conn *conn = conn_create(loop, home);

    if (conn != NULL)
        conn->session = loop->hooks.session_open(loop->hooks.arg, conn, peer, local);
    if (conn == NULL || conn->session == NULL) {
        close(fd);
        if (conn != NULL)
            conn_free(conn);
        return;
    }
    loop->conn_count++;
    home->placed++;
    conn->away = 1;
    conn->ahead_status = RESP_MORE;
    conn->fd = fd;
    conn->in_transit = 1;
    list_push_back(&home->returning, &conn->travel_node);
}

void team_recall(struct conn *conn)
{
    if (list_empty(&conn->want_node))
        list_push_back(&conn->home->recalling, &conn->want_node);
}

void net_kill(struct conn *conn)
{
    const struct net_loop *main = conn->home->main;

    if (LIKELY(main == NULL || conn->visiting || main->team->halts > 0)) {
        conn_kill(conn);
        return;
    }
    conn->unwanted = 1;
    team_recall(conn);
}

uint32_t conn_home(const struct conn *conn)
{
    return conn->home->no;
}

/* ---- what came ---- */

static void take_recalls(struct mail *mail)
{
    while (!list_empty(&mail->recalls)) {
        struct conn *conn = CONTAINER_OF(mail->recalls.next, struct conn, recall_node);
        list_remove(&conn->recall_node);
        if (conn->away) { /* its return may be in the same mail */
            conn->wanted = !MUTANT("forget-recall");
        } else if (!conn->dead) {
            conn->leaving = CONN_LEAVES;
            turn_touch(conn);
        }
    }
}

static void on_mail(uv_async_t *news)
{
    struct net_loop *loop = news->data;
    struct mail *mail = &loop->mail;
    struct list came;

    list_init(&came);
    mutex_lock(&mail->mutex);
    take_recalls(mail);
    list_move_all(&came, &mail->travellers);
    loop->stopping |= mail->stop;
    mutex_unlock(&mail->mutex);
    if (!list_empty(&came)) {
        loop->now_ms = loop->now_fn();
        /* Where they come from it may be later than this turn began. */
        if (!MUTANT("guest-of-old-clock"))
            loop->hooks.tick(loop->hooks.arg);
    }
    while (!list_empty(&came)) {
        struct conn *conn = CONTAINER_OF(came.next, struct conn, travel_node);
        list_remove(&conn->travel_node);
        if (loop->main == NULL)
            guest_arrive(loop, conn);
        else
            home_arrive(loop, conn);
    }
}

/* Guests that wait for long, and whose peer is gone. */
void team_sweep(struct net_loop *loop)
{
    if (loop->main != NULL || ++loop->guest_sweep % GUEST_SWEEP_TICKS != 0)
        return;
    for (struct list *node = loop->guests.next; node != &loop->guests; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, guest_node);
        if (atomic_load_explicit(&conn->recalled, memory_order_relaxed))
            conn_kill(conn);
    }
}

/* ---- halting ---- */

void team_rest(struct net_loop *loop)
{
    struct team *team = loop->team;

    if (LIKELY(atomic_load_explicit(&team->halt, memory_order_relaxed) == 0))
        return;
    mutex_lock(&team->mutex);
    team->resting++;
    cond_broadcast(&team->changed);
    while (atomic_load_explicit(&team->halt, memory_order_relaxed) != 0)
        cond_wait(&team->changed, &team->mutex);
    team->resting--;
    mutex_unlock(&team->mutex);
    conn_bury(loop); /* whom the writer's thread killed */
    team_post(loop);
}

void net_team_halt(struct net_loop *main)
{
    struct team *team = main->team;

    if (team == NULL || team->halts++ > 0)
        return;
    if (team->running == 0)
        return;
    mutex_lock(&team->mutex);
    atomic_store_explicit(&team->halt, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < team->count; i++)
        uv_async_send(&team->loops[i]->mail.news);
    while (team->resting < team->running)
        cond_wait(&team->changed, &team->mutex);
    mutex_unlock(&team->mutex);
}

void net_team_resume(struct net_loop *main)
{
    struct team *team = main->team;

    if (team == NULL || --team->halts > 0)
        return;
    mutex_lock(&team->mutex);
    atomic_store_explicit(&team->halt, 0, memory_order_relaxed);
    cond_broadcast(&team->changed);
    mutex_unlock(&team->mutex);
}

/* ---- start and stop ---- */

static int mail_open(struct net_loop *loop, struct varve_err *err)
{
    if (uv_async_init(&loop->uv, &loop->mail.news, on_mail) != 0)
        return err_set(err, VARVE_EIO, "a loop cannot be woken: no more file descriptors?");
    loop->mail.news.data = loop;
    mutex_init(&loop->mail.mutex);
    loop->mail.open = 1;
    return 0;
}

static int team_add(struct net_loop *main, const struct net_member *member, struct varve_err *err)
{
    struct team *team = main->team;
    struct net_loop *loop = NULL;
    int rc = net_loop_create(&member->hooks, &main->limits, member->metrics, main->now_fn, &loop,
                             err);

    if (rc != 0)
        return rc;
    team->loops[team->count++] = loop;
    loop->team = team;
    loop->main = main;
    loop->no = team->count;
    return mail_open(loop, err);
}

static void team_free(struct net_loop *main)
{
    struct team *team = main->team;

    for (uint32_t i = 0; i < team->count; i++)
        net_loop_destroy(team->loops[i]);
    mutex_deinit(&team->mutex);
    cond_deinit(&team->changed);
    mem_free(team->loops);
    mem_free(team->threads);
    mem_free(team);
    main->team = NULL;
}

int net_team_create(struct net_loop *main, const struct net_member *members, uint32_t count,
                    struct varve_err *err)
{
    struct team *team = mem_alloc_zero(sizeof(*team));
    int rc = 0;

    CHECK(main->team == NULL && count > 0 && count <= NET_TEAM_MAX);
    if (team == NULL)
        return err_set(err, VARVE_ENOMEM, "make %u loops: out of memory", count);
    mutex_init(&team->mutex);
    cond_init(&team->changed);
    main->team = team;
    team->loops = mem_alloc(count * sizeof(struct net_loop *));
    team->threads = mem_alloc(count * sizeof(*team->threads));
    if (team->loops == NULL || team->threads == NULL)
        rc = err_set(err, VARVE_ENOMEM, "make %u loops: out of memory", count);
    if (rc == 0 && !main->mail.open)
        rc = mail_open(main, err);
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = team_add(main, &members[i], err);
    if (rc != 0)
        team_free(main);
    return rc;
}

static void run_loop(void *arg)
{
    net_loop_run(arg);
}

int net_team_start(struct net_loop *main, struct varve_err *err)
{
    struct team *team = main->team;
    char name[16];

    while (team->running < team->count) {
        uint32_t i = team->running;
        snprintf(name, sizeof(name), "loop %u", i + 1);
        int rc = thread_start(&team->threads[i], name, run_loop, team->loops[i]);
        if (rc != 0) {
            net_team_stop(main);
            return err_set(err, rc, "start the thread of loop %u", i + 1);
        }
        team->running++;
    }
    return 0;
}

/* The engine is closed before they are: what was not sent by now never is. */
static void drop_pins(struct net_loop *loop)
{
    for (struct list *node = loop->all.next; node != &loop->all; node = node->next)
        resp_pins_drop_from(&CONTAINER_OF(node, struct conn, all_node)->pins, 0);
}

void net_team_stop(struct net_loop *main)
{
    struct team *team = main->team;

    for (uint32_t i = 0; team != NULL && i < team->running; i++) {
        struct mail *mail = &team->loops[i]->mail;
        mutex_lock(&mail->mutex);
        mail->stop = 1;
        mutex_unlock(&mail->mutex);
        uv_async_send(&mail->news);
    }
    for (uint32_t i = 0; team != NULL && i < team->running; i++)
        thread_join(&team->threads[i]);
    for (uint32_t i = 0; team != NULL && i < team->count; i++)
        drop_pins(team->loops[i]);
    if (team != NULL)
        team->running = 0;
}

struct net_loop *net_team_loop(struct net_loop *main, uint32_t no)
{
    if (no == 0)
        return main;
    return main->team != NULL && no <= main->team->count ? main->team->loops[no - 1] : NULL;
}

/* No thread runs: whatever is on its way, or a guest, ends as if it were at home. */
static void conn_end(struct net_loop *main, struct conn *conn)
{
    if (conn->session != NULL && conn_is_guest(conn))
        conn_forget_park(conn);
    output_deinit(conn);
    list_remove(&conn->travel_node);
    list_remove(&conn->guest_node);
    list_remove(&conn->want_node);
    list_remove(&conn->recall_node);
    list_remove(&conn->turn_node);
    list_remove(&conn->dead_node);
    if (conn->session != NULL) {
        main->hooks.session_close(conn->session);
        main->conn_count--;
    }
    conn->session = NULL;
    conn->loop = conn->home;
    conn->dead = 1;
    if (conn->fd >= 0) {
        close(conn->fd);
        conn_free(conn);
        return;
    }
    list_push_back(&conn->home->dying, &conn->dead_node);
}

static void end_travellers(struct net_loop *main, struct list *list)
{
    while (!list_empty(list))
        conn_end(main, CONTAINER_OF(list->next, struct conn, travel_node));
}

void team_destroy(struct net_loop *main)
{
    for (uint32_t i = 0; i < main->team->count; i++) {
        struct net_loop *loop = main->team->loops[i];
        end_travellers(main, &loop->returning);
        end_travellers(main, &loop->mail.travellers);
        for (struct list *node = loop->all.next; node != &loop->all;) {
            struct conn *conn = CONTAINER_OF(node, struct conn, all_node);
            node = node->next;
            conn_end(main, conn);
        }
    }
    team_free(main);
}
