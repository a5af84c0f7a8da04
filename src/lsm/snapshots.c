#include "lsm/snapshots.h"

#include <stdlib.h>

#include "base/mem.h"
#include "varve/status.h"

void snapshots_init(struct snapshots *snapshots)
{
    *snapshots = (struct snapshots){0};
    mutex_init(&snapshots->mutex);
    list_init(&snapshots->list);
}

void snapshots_deinit(struct snapshots *snapshots)
{
    CHECK(snapshots->count == 0);
    mutex_deinit(&snapshots->mutex);
}

void snapshots_add(struct snapshots *snapshots, struct varve_snapshot *snapshot,
                   void (*take)(struct varve_snapshot *snapshot, void *arg), void *arg)
{
    mutex_lock(&snapshots->mutex);
    take(snapshot, arg);
    list_push_back(&snapshots->list, &snapshot->node);
    snapshots->count++;
    mutex_unlock(&snapshots->mutex);
}

void snapshots_remove(struct snapshots *snapshots, struct varve_snapshot *snapshot)
{
    mutex_lock(&snapshots->mutex);
    list_remove(&snapshot->node);
    snapshots->count--;
    mutex_unlock(&snapshots->mutex);
}

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static const struct varve_snapshot *snapshot_of(struct list *node)
{
    return CONTAINER_OF(node, struct varve_snapshot, node);
}

static void list_sort_unique(struct snapshot_list *list)
{
    size_t kept = 0;

    if (list->count == 0)
        return;
    qsort(list->seqs, list->count, sizeof(*list->seqs), by_value);
    for (size_t i = 0; i < list->count; i++)
        if (kept == 0 || list->seqs[kept - 1] != list->seqs[i])
            list->seqs[kept++] = list->seqs[i];
    list->count = kept;
    list->oldest_seq = list->seqs[0];
}

int snapshots_copy(struct snapshots *snapshots, struct snapshot_list *list)
{
    int rc = 0;

    *list = (struct snapshot_list){.oldest_seq = UINT64_MAX, .now_ms_min = UINT64_MAX};
    mutex_lock(&snapshots->mutex);
    if (snapshots->count > 0)
        list->seqs = mem_alloc(snapshots->count * sizeof(*list->seqs));
    if (snapshots->count > 0 && list->seqs == NULL)
        rc = VARVE_ENOMEM;
    for (struct list *node = snapshots->list.next; rc == 0 && node != &snapshots->list;
         node = node->next) {
        list->seqs[list->count++] = snapshot_of(node)->seq;
        if (snapshot_of(node)->now_ms < list->now_ms_min)
            list->now_ms_min = snapshot_of(node)->now_ms;
    }
    mutex_unlock(&snapshots->mutex);
    list_sort_unique(list);
    return rc;
}

void snapshot_list_deinit(struct snapshot_list *list)
{
    mem_free(list->seqs);
    *list = (struct snapshot_list){0};
}

int snapshots_grew_below(struct snapshots *snapshots, const struct snapshot_list *list,
                         uint64_t seq_max)
{
    int grew = 0;

    mutex_lock(&snapshots->mutex);
    for (struct list *node = snapshots->list.next; !grew && node != &snapshots->list;
         node = node->next) {
        uint64_t seq = snapshot_of(node)->seq;
        grew = seq < seq_max && (list->count == 0 || bsearch(&seq, list->seqs, list->count,
                                                             sizeof(seq), by_value) == NULL);
    }
    mutex_unlock(&snapshots->mutex);
    return grew;
}
