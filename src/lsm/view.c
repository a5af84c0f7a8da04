#include "lsm/view.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"

static void view_free(struct rcu_retired *retired)
{
    struct view *view = CONTAINER_OF(retired, struct view, retired);

    memtable_unref(view->active);
    for (size_t i = 0; i < view->immutable_count; i++)
        memtable_unref(view->immutable[i]);
    version_unref(view->version);
    mem_free(view);
}

void view_ref(struct view *view)
{
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
}

void view_release(struct view_slot *slot, struct view *view)
{
    if (view == NULL)
        return;
    uint64_t before = atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before > 1)
        return;
    rcu_retire(&view->retired, view_free);
    if (slot->on_retired != NULL)
        slot->on_retired(slot->arg);
}

struct view *view_acquire(struct view_slot *slot)
{
    rcu_enter();
    struct view *view = view_current(slot);
    view_ref(view);
    rcu_leave();
    return view;
}

int view_slot_init(struct view_slot *slot, struct memtable *active, struct version *version)
{
    struct view *view = active == NULL || version == NULL ? NULL : mem_alloc_zero(sizeof(*view));

    mutex_init(&slot->mutex);
    atomic_init(&slot->current, view);
    if (view == NULL) {
        memtable_unref(active);
        version_unref(version);
        return VARVE_ENOMEM;
    }
    atomic_init(&view->refs, 1);
    view->active = active;
    view->version = version;
    return 0;
}

void view_slot_deinit(struct view_slot *slot)
{
    view_release(slot, atomic_load(&slot->current));
    atomic_store(&slot->current, NULL);
    mutex_deinit(&slot->mutex);
}

/* Gives fresh, which is zeroed but for its version, the memtables of now. The mutex is held. */
static void view_fill_locked(struct view_slot *slot, struct view *fresh)
{
    const struct view *now = atomic_load_explicit(&slot->current, memory_order_relaxed);

    atomic_init(&fresh->refs, 1);
    fresh->active = memtable_ref(now->active);
    fresh->immutable_count = now->immutable_count;
    for (size_t i = 0; i < now->immutable_count; i++)
        fresh->immutable[i] = memtable_ref(now->immutable[i]);
}

static void view_unpublished(struct rcu_retired *retired)
{
    struct view *view = CONTAINER_OF(retired, struct view, retired);

    if (atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) == 1)
        view_free(retired);
}

/* The slot's own reference to the view before goes only after a grace period: a reader that has just
 * loaded it and does not hold one yet must not find that nobody does. */
static void view_publish_locked(struct view_slot *slot, struct view *fresh)
{
    struct view *before = atomic_exchange_explicit(&slot->current, fresh, memory_order_acq_rel);

    if (MUTANT("free-view-at-once")) {
        view_unpublished(&before->retired);
        return;
    }
    rcu_retire(&before->retired, view_unpublished);
    if (slot->on_retired != NULL)
        slot->on_retired(slot->arg);
}

int view_swap_memtable(struct view_slot *slot, struct memtable *fresh)
{
    struct view *next = fresh == NULL ? NULL : mem_alloc_zero(sizeof(*next));
    int rc = 0;

    if (next == NULL) {
        memtable_unref(fresh);
        return VARVE_ENOMEM;
    }
    mutex_lock(&slot->mutex);
    const struct view *now = atomic_load_explicit(&slot->current, memory_order_relaxed);
    if (now->immutable_count == MEMTABLES_MAX) {
        rc = VARVE_EFULL;
    } else {
        next->version = version_ref(now->version);
        view_fill_locked(slot, next);
        memmove(next->immutable + 1, next->immutable,
                next->immutable_count * sizeof(*next->immutable));
        next->immutable[0] = next->active;
        next->active = fresh;
        if (MUTANT("publish-before-fill"))
            view_publish_locked(slot, next);
        next->immutable_count++;
        if (!MUTANT("publish-before-fill"))
            view_publish_locked(slot, next);
    }
    mutex_unlock(&slot->mutex);
    if (rc != 0) {
        mem_free(next);
        memtable_unref(fresh);
    }
    return rc;
}

int view_prepare(struct view_slot *slot, const struct version_change *change,
                 struct view **prepared, struct varve_err *err)
{
    struct view *now = view_acquire(slot);
    struct view *next = mem_alloc_zero(sizeof(*next));
    int rc = next == NULL ? err_set(err, VARVE_ENOMEM, "no memory for a view")
                          : version_apply(now->version, change, &next->version, err);

    if (rc != 0) {
        mem_free(next);
        next = NULL;
    }
    view_release(slot, now);
    *prepared = next;
    return rc;
}

void view_discard(struct view *prepared)
{
    if (prepared == NULL)
        return;
    version_unref(prepared->version);
    mem_free(prepared);
}

void view_install(struct view_slot *slot, struct view *prepared, const struct memtable *flushed)
{
    mutex_lock(&slot->mutex);
    view_fill_locked(slot, prepared);
    if (flushed != NULL) {
        CHECK(prepared->immutable_count > 0);
        struct memtable *oldest = prepared->immutable[--prepared->immutable_count];
        CHECK(oldest == flushed);
        memtable_unref(oldest);
    }
    view_publish_locked(slot, prepared);
    mutex_unlock(&slot->mutex);
}

uint64_t view_range_seq(const struct view *view, struct varve_slice key, uint64_t seq_max)
{
    uint64_t seq = memtable_range_seq(view->active, key, seq_max);

    for (size_t i = 0; seq == 0 && i < view->immutable_count; i++)
        seq = memtable_range_seq(view->immutable[i], key, seq_max);
    return seq != 0 ? seq : range_set_seq(view->version->ranges, key, seq_max);
}
