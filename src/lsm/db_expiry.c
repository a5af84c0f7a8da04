/* What sweepers of expired keys ask: is there anything to sweep, and is what a walk saw still so. Both look at
 * memory alone. */
#include "lsm/db.h"

#include "base/mutant.h"

int varve_is_newest(struct varve_db *db, struct varve_slice key, uint64_t seq, uint64_t as_of)
{
    enum memtable_answer answer = MEMTABLE_NONE;
    struct entry entry;

    rcu_enter();
    const struct view *view = view_current(&db->view);
    for (size_t i = 0; answer == MEMTABLE_NONE && i <= view->immutable_count; i++)
        answer = memtable_get(i == 0 ? view->active : view->immutable[i - 1], key, db->applied_seq,
                              &entry);
    uint64_t flushed_seq = view->version->flushed_seq;
    rcu_leave();
    if (answer != MEMTABLE_NONE)
        return entry.seq == seq;
    /* All that is newer than as_of would be in memory, and is not: what lies below is what the walk saw. */
    return flushed_seq <= as_of || MUTANT("newest-ignores-flush") ? 1 : VARVE_WOULD_BLOCK;
}

uint64_t varve_expiring(struct varve_db *db, struct varve_slice lower, struct varve_slice upper)
{
    uint64_t count = 0;

    rcu_enter();
    const struct view *view = view_current(&db->view);
    for (size_t i = 0; i <= view->immutable_count; i++)
        count += memtable_notes(i == 0 ? view->active : view->immutable[i - 1])->expiring;
    for (size_t r = 0; r < view->version->run_count; r++) {
        const struct sorted_run *run = &view->version->runs[r];
        size_t from;
        size_t to;
        run_overlap(run, lower, upper, &from, &to);
        for (; from < to; from++)
            count += segment_properties(run->segments[from])->expiring;
    }
    rcu_leave();
    return count;
}

void varve_set_swept_ms(struct varve_db *db, uint64_t swept_ms)
{
    atomic_store_explicit(&db->swept_ms, swept_ms, memory_order_relaxed);
}

uint64_t db_droppable_ms(const struct varve_db *db, uint64_t now_ms)
{
    uint64_t grace_ms = MUTANT("no-expiry-grace") ? 0 : db->options.expiry_grace_ms;
    uint64_t late_ms = now_ms > grace_ms ? now_ms - grace_ms : 0;
    uint64_t swept_ms = atomic_load_explicit(&db->swept_ms, memory_order_relaxed);

    if (swept_ms > now_ms)
        return now_ms;
    return swept_ms > late_ms ? swept_ms - 1 : late_ms;
}
