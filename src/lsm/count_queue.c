#include "lsm/count_queue.h"

#include <string.h>

#include "base/mutant.h"
#include "lsm/count_keys.h"
#include "lsm/db.h"

void count_queue_init(struct count_queue *queue)
{
    *queue = (struct count_queue){0};
    mutex_init(&queue->mutex);
    list_init(&queue->waiting);
}

void count_queue_deinit(struct count_queue *queue)
{
    CHECK(list_empty(&queue->waiting));
    mutex_deinit(&queue->mutex);
}

static void submit(struct count_turn *turn)
{
    struct varve_executor *executor = turn->db->options.executor;

    executor->submit(executor, VARVE_JOB_READ, &turn->job);
}

static void leave_locked(struct count_turn *turn)
{
    list_remove(&turn->node);
    turn->waits = 0;
}

int count_turn_start(struct count_turn *turn, struct varve_db *db, struct varve_slice group,
                     int about)
{
    struct count_queue *queue = &db->count_queue;

    turn->db = db;
    turn->about = about;
    turn->task = count_task_create(db, group, about);
    if (turn->task == NULL)
        return VARVE_ENOMEM;
    turn->name_len = (uint8_t)group.len;
    memcpy(turn->name, group.data, group.len);
    mutex_lock(&queue->mutex);
    int waits = queue->running && !MUTANT("counts-side-by-side");
    turn->waits = waits;
    turn->runs = !waits;
    if (waits)
        list_push_back(&queue->waiting, &turn->node);
    queue->running = 1;
    mutex_unlock(&queue->mutex);
    if (!waits) /* one that waits may have begun by now */
        submit(turn);
    return 0;
}

static void next_begins(struct count_queue *queue)
{
    struct count_turn *next = NULL;

    mutex_lock(&queue->mutex);
    if (!list_empty(&queue->waiting)) {
        next = CONTAINER_OF(queue->waiting.next, struct count_turn, node);
        leave_locked(next);
        next->runs = 1;
    }
    queue->running = next != NULL;
    mutex_unlock(&queue->mutex);
    if (next != NULL)
        submit(next);
}

int count_turn_run(struct count_turn *turn, uint64_t *count)
{
    int rc = count_task_run(turn->task, count, NULL);

    if (turn->runs)
        next_begins(&turn->db->count_queue);
    return rc;
}

void count_turn_cancel(struct count_turn *turn)
{
    struct count_queue *queue = &turn->db->count_queue;

    mutex_lock(&queue->mutex);
    int waited = turn->waits;
    count_task_cancel(turn->task);
    if (waited)
        leave_locked(turn);
    mutex_unlock(&queue->mutex);
    if (waited)
        submit(turn);
}

void count_turn_deinit(struct count_turn *turn)
{
    count_task_destroy(turn->task);
    turn->task = NULL;
}

/* Without memory it stays as it is. */
static void renew_locked(struct count_turn *turn)
{
    struct count_task *fresh = count_task_create(turn->db, varve_slice(turn->name, turn->name_len),
                                                 turn->about);

    if (fresh == NULL)
        return;
    count_task_destroy(turn->task);
    turn->task = fresh;
}

void count_queue_tick(struct varve_db *db)
{
    struct count_queue *queue = &db->count_queue;

    mutex_lock(&queue->mutex);
    for (struct list *node = queue->waiting.next; node != &queue->waiting; node = node->next) {
        struct count_turn *turn = CONTAINER_OF(node, struct count_turn, node);
        if (count_task_is_late(turn->task))
            renew_locked(turn);
    }
    mutex_unlock(&queue->mutex);
}
