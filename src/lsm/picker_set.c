/* picker_set.c - which segments must go together.
 *
 * With a segment go all older ones that it overlaps, down to the output level (else it would pass them), and
 * with those theirs: one walk from new to old, whose range only widens. Then all of the output
 * level in that range. What that makes is without gaps: every key of the range lies in one of the inputs,
 * so a job that shares a key with another shares, at that key, a busy segment. Where a set does have
 * gaps (neighbours that are joined), both sides of the gap are busy: that is refused as well. */
#include "base/mutant.h"
#include "lsm/picker_private.h"

void picker_set_clear(struct picker_work *work)
{
    struct picker_set *set = &work->set;

    for (size_t i = 0; i < set->count; i++)
        set->marks[set->list[i]] = 0;
    set->count = 0;
    set->upper_bytes = set->upper_dead = set->upper_deleted = set->lower_bytes = 0;
}

void picker_set_add(struct picker_work *work, size_t run, size_t at, uint32_t output_level)
{
    const struct picker_segment *segment = &work->view->runs[run].segments[at];
    struct picker_set *set = &work->set;

    if (set->marks[work->offset[run] + at])
        return;
    if (set->count == 0 || varve_slice_compare(segment->lower, set->lower) < 0)
        set->lower = segment->lower;
    if (set->count == 0 || picker_upper_above(segment->upper, set->upper))
        set->upper = segment->upper;
    set->marks[work->offset[run] + at] = 1;
    set->list[set->count++] = work->offset[run] + at;
    if (work->view->runs[run].level == output_level && output_level > 0) {
        set->lower_bytes += segment->bytes;
    } else {
        set->upper_bytes += segment->bytes;
        set->upper_dead += picker_dead(work, segment);
        set->upper_deleted += picker_deleted(work, segment);
    }
}

int picker_set_fits(struct picker_work *work, uint64_t more)
{
    const struct picker_set *set = &work->set;
    uint64_t room = work->view->room_bytes;
    uint64_t hidden = set->upper_deleted;

    if (hidden > set->lower_bytes)
        hidden = set->lower_bytes;
    if (room == 0 || set->upper_bytes + set->lower_bytes + more - hidden <= room ||
        MUTANT("merge-beyond-room"))
        return 1;
    work->refused |= more == 0;
    return 0;
}

static void add_overlapped(struct picker_work *work, size_t run, uint32_t output_level)
{
    size_t from, to;

    picker_overlap(&work->view->runs[run], work->set.lower, work->set.upper, &from, &to);
    for (; from < to; from++)
        picker_set_add(work, run, from, output_level);
}

int picker_older_overlaps(const struct picker_work *work, size_t run, size_t run_end,
                          const struct picker_segment *segment)
{
    for (size_t r = run + 1; r < run_end; r++) {
        size_t from, to;
        picker_overlap(&work->view->runs[r], segment->lower, segment->upper, &from, &to);
        for (; from < to; from++)
            if (!work->set.marks[work->offset[r] + from])
                return 1;
    }
    return 0;
}

/* Adds what lies inside of the range, if nothing older of the upper levels stays behind under it. From
 * old to new, so that one that came lets those above it come. */
static void add_contained(struct picker_work *work, size_t run_end, uint32_t output_level)
{
    const struct picker_set *set = &work->set;

    for (size_t r = run_end; r-- > 0;) {
        const struct picker_run *run = &work->view->runs[r];
        size_t from, to;
        picker_overlap(run, set->lower, set->upper, &from, &to);
        for (; from < to && set->count < PICK_INPUTS_MAX; from++) {
            const struct picker_segment *segment = &run->segments[from];
            int inside = varve_slice_compare(segment->lower, set->lower) >= 0 &&
                         !picker_upper_above(segment->upper, set->upper);
            if (inside && picker_set_fits(work, segment->bytes) &&
                !picker_older_overlaps(work, r, run_end, segment))
                picker_set_add(work, r, from, output_level);
        }
    }
}

int picker_range_busy(const struct picker_work *work, size_t run_end)
{
    for (size_t r = 0; r < run_end; r++) {
        const struct picker_run *at = &work->view->runs[r];
        size_t from, to;
        picker_overlap(at, work->set.lower, work->set.upper, &from, &to);
        if (from > 0 && to < at->count && at->segments[from - 1].busy && at->segments[to].busy)
            return 1;
        for (; from < to; from++)
            if (at->segments[from].busy)
                return 1;
    }
    return 0;
}

/* The first run at or behind the level. */
static size_t run_of_level(const struct picker_view *view, uint32_t level)
{
    size_t run = 0;

    while (run < view->run_count && view->runs[run].level < level)
        run++;
    return run;
}

int picker_set_close(struct picker_work *work, const struct picker_seed *seed)
{
    const struct picker_view *view = work->view;
    size_t run_end = run_of_level(view, seed->output_level);
    size_t run_after = run_of_level(view, seed->output_level + 1);

    picker_set_clear(work);
    picker_set_add(work, seed->run, seed->at, seed->output_level);
    for (size_t r = seed->run + 1; r < run_end && !MUTANT("merge-leaves-older"); r++)
        add_overlapped(work, r, seed->output_level);
    for (size_t r = run_end; r < run_after; r++)
        add_overlapped(work, r, seed->output_level);
    if (work->set.count > PICK_INPUTS_MAX || picker_range_busy(work, run_after))
        return 0;
    if (work->set.count > 1 && !picker_set_fits(work, 0)) /* a move needs no room */
        return 0;
    add_contained(work, run_end, seed->output_level);
    return 1;
}

int picker_set_close_level0(struct picker_work *work, const struct picker_seed *seed)
{
    size_t before;

    picker_set_clear(work);
    picker_set_add(work, seed->run, seed->at, 0);
    /* Both ways: what comes takes the place of the newest run, so nothing in between may stay. */
    do {
        before = work->set.count;
        for (size_t r = seed->run; r <= seed->run_last; r++)
            add_overlapped(work, r, 0);
    } while (work->set.count > before && work->set.count <= PICK_INPUTS_MAX &&
             !MUTANT("merge-inside-skips-run"));
    return work->set.count <= PICK_INPUTS_MAX && picker_set_fits(work, 0) &&
           !picker_range_busy(work, seed->run_last + 1);
}
