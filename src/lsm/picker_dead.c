/* picker_dead.c - gives back the space of what nobody can read any more.
 *
 * Dropped as files: what newer range tombstones cover, and segments of tombstones with nothing older below
 * them. One pass from old to new, so that those below that go in the same pick do not count.
 *
 * Merged: segments that are largely dead, with what they hide; in the last level they are rewritten alone.
 * There, old versions and range tombstones are what a snapshot kept; how much a range hides is not known, so
 * one is reason enough. That ends: above, each merge takes them a level down; in the last level nothing lies below a tombstone, so
 * a rewrite drops all of them unless a snapshot is older than one. Hence such a segment is left alone while
 * oldest_snapshot_seq is below its seq_max. */
#include "base/mutant.h"
#include "lsm/picker_private.h"

static int is_dead(const struct picker_segment *segment)
{
    return segment->all_dead || (segment->entries > 0 && segment->deletes == segment->entries);
}

int picker_choose_drop(struct picker_work *work, struct pick *pick)
{
    const struct picker_view *view = work->view;

    picker_set_clear(work);
    for (size_t r = view->run_count; r-- > 0;)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            const struct picker_segment *segment = &view->runs[r].segments[i];
            int goes = segment->cover_seq != 0 ||
                       (is_dead(segment) &&
                        (!picker_older_overlaps(work, r, view->run_count, segment) ||
                         MUTANT("drop-over-older")));
            if (goes && !segment->busy && work->set.count < PICK_INPUTS_MAX)
                picker_set_add(work, r, i, view->runs[r].level);
        }
    if (work->set.count == 0)
        return 0;
    pick->kind = PICK_DROP;
    pick->reason = PICK_FOR_DEAD;
    return 1;
}

/* Is the segment dead to that part, and can a merge make something of it? */
static int dead_enough(const struct picker_work *work, const struct picker_segment *segment,
                       int is_last, uint64_t percent)
{
    if (segment->busy || segment->seq_max > work->view->oldest_snapshot_seq)
        return 0;
    if (segment->ranges > 0 && is_last)
        return 1;
    /* Versions of a snapshot that is gone do not come again and again: a smaller part is worth it. */
    if (segment->superseded_bytes > 0 &&
        segment->superseded_bytes * 200 >= segment->bytes * percent)
        return 1;
    if (segment->covered_bytes > 0 && segment->covered_bytes * 100 >= segment->bytes * percent &&
        !MUTANT("covered-part-stays"))
        return 1;
    return (segment->expired_bytes > 0 &&
            segment->expired_bytes * 100 >= segment->bytes * percent) ||
           (segment->deletes > 0 && segment->deletes * 100 >= segment->entries * percent);
}

/* Where a run's segments go when they are due. */
static uint32_t next_level(const struct picker_work *work, const struct picker_run *run)
{
    uint32_t level = run->level == 0 ? work->base_level : run->level + 1;

    return level > work->debt.last_level ? work->debt.last_level : level;
}

/* Marks the segment and what goes with it, or it alone in the last level. */
static int close_dead(struct picker_work *work, const struct picker_seed *seed)
{
    if (work->view->runs[seed->run].level != work->debt.last_level)
        return picker_set_close(work, seed);
    picker_set_clear(work);
    picker_set_add(work, seed->run, seed->at, seed->output_level);
    return picker_set_fits(work, 0);
}

/* An eighth of what is rewritten has to come free. */
static int is_worth(const struct picker_work *work, const struct picker_segment *segment,
                    int is_last)
{
    uint64_t gain = segment->expired_bytes + segment->superseded_bytes + segment->covered_bytes +
                    picker_deleted(work, segment);

    return (segment->ranges > 0 && is_last) ||
           gain >= (work->set.upper_bytes + work->set.lower_bytes) / 8;
}

int picker_choose_dead(struct picker_work *work, uint32_t percent, struct pick *pick)
{
    const struct picker_view *view = work->view;

    for (size_t r = view->run_count; r-- > 0;)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            const struct picker_segment *segment = &view->runs[r].segments[i];
            struct picker_seed seed = {
                .run = r, .at = i, .output_level = next_level(work, &view->runs[r])};
            int is_last = view->runs[r].level == work->debt.last_level;
            if (!dead_enough(work, segment, is_last, percent) || !close_dead(work, &seed) ||
                !picker_set_fits(work, 0) || !is_worth(work, segment, is_last))
                continue;
            picker_set_pick(work, PICK_FOR_DEAD, seed.output_level, pick);
            pick->kind = PICK_MERGE;
            return 1;
        }
    return 0;
}

/* varve_compact(): everything above the last level goes there, from the newest on, which bring the older
 * ones along, and then what of the last level can be made smaller. */
int picker_choose_all(struct picker_work *work, struct pick *pick)
{
    const struct picker_view *view = work->view;

    for (size_t r = 0; r < view->run_count; r++)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            const struct picker_segment *segment = &view->runs[r].segments[i];
            struct picker_seed seed = {.run = r, .at = i, .output_level = work->debt.last_level};
            int is_last = view->runs[r].level == work->debt.last_level;
            if (segment->seq_min > view->compact_all_seq || segment->busy ||
                (is_last && !dead_enough(work, segment, 1, 0)) || !close_dead(work, &seed))
                continue;
            picker_set_pick(work, PICK_FOR_ALL, seed.output_level, pick);
            if (is_last)
                pick->kind = PICK_MERGE;
            return 1;
        }
    return 0;
}
