/* picker_debt.c - how large each level is and should be.
 *
 * Of what is dead, that is all that has something newer above it, there may be upper_percent of what is needed.
 * Segments say how much they hide (properties.hiding_bytes): keys that are all new lie above the last level
 * as they came. Level 0 alone takes what may be dead if it can: stacked runs cost one rewrite to merge with each
 * other, a level between costs about half its ratio. Only when it would have to hold more than
 * level0_flushes_max flushes do levels of B/10, B/100 ... stand between.
 *
 * B is what the last level holds. Where that is small beside the memtables the share would be passed by every flush, and all that there is be
 * rewritten: there the floor is the budget, until nobody has written for a while. */
#include "base/mutant.h"
#include "lsm/picker_private.h"

#define LAST_LEVEL (VARVE_LEVELS_MAX - 1)

const struct picker_tuning picker_default_tuning = {
    .upper_percent = PICKER_UPPER_PERCENT,
    .depth_max = 8,
    .level0_flushes_max = 48,
    .level_ratio = 10,
    .level0_merges = 1,
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void picker_overlap(const struct picker_run *run, struct varve_slice lower,
                    struct varve_slice upper, size_t *from, size_t *to)
{
    size_t low = 0, high = run->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (picker_upper_above(run->segments[middle].upper, lower) ||
            run->segments[middle].upper.len == 0)
            high = middle;
        else
            low = middle + 1;
    }
    *from = low;
    high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (upper.len == 0 || varve_slice_compare(run->segments[middle].lower, upper) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *to = low;
}

uint32_t picker_depth(const struct picker_view *view, struct varve_slice key)
{
    uint32_t depth = 0;

    for (size_t r = 0; r < view->run_count && view->runs[r].level == 0; r++) {
        size_t from, to;
        picker_overlap(&view->runs[r], key, varve_slice(NULL, 0), &from, &to);
        if (from < to && varve_slice_compare(view->runs[r].segments[from].lower, key) <= 0)
            depth++;
    }
    return depth;
}

uint64_t picker_deleted(const struct picker_work *work, const struct picker_segment *segment)
{
    return segment->deletes * work->entry_bytes;
}

uint64_t picker_dead(const struct picker_work *work, const struct picker_segment *segment)
{
    return (MUTANT("hiding-uncounted") ? 0 : segment->hiding_bytes) + picker_deleted(work, segment);
}

/* How many levels lie between level 0 and a last level of that many bytes. */
static uint32_t levels_between(const struct picker_work *work, uint64_t bytes)
{
    uint64_t room = work->tuning->level0_flushes_max * work->view->flush_bytes;
    uint64_t ratio = work->tuning->level_ratio;
    uint32_t count = 1;

    if (room == 0)
        room = 1;
    if (bytes / 100 * work->tuning->upper_percent <= room)
        return 0;
    for (uint64_t base = bytes / ratio; count < LAST_LEVEL - 1 && base / ratio > room;
         base /= ratio)
        count++;
    return count;
}

static void set_targets(struct picker_work *work)
{
    uint64_t last = work->bytes[LAST_LEVEL];
    uint64_t needed = work->bytes_total - work->debt.upper_dead_bytes;
    uint64_t left = needed * work->tuning->upper_percent / 100;
    uint64_t floor = work->view->floor_bytes;
    uint64_t room = work->tuning->level0_flushes_max * work->view->flush_bytes;
    uint64_t target = last;
    uint32_t count = levels_between(work, last), wanted;

    /* A level that is there stays until the data have shrunk by half: else it would be filled and
     * emptied again and again at the boundary. */
    while (count < LAST_LEVEL - 1 && work->bytes[LAST_LEVEL - 1 - count] > 0 &&
           levels_between(work, 2 * last) > count)
        count++;
    if (left < floor) {
        work->debt.floor_gives_bytes = floor - left;
        left = floor;
    }
    work->debt.last_level = LAST_LEVEL;
    work->debt.upper_target_bytes = left;
    work->debt.targets[LAST_LEVEL] = last;
    wanted = LAST_LEVEL - count;
    for (uint32_t level = LAST_LEVEL - 1; level >= wanted; level--) {
        target /= work->tuning->level_ratio;
        work->debt.targets[level] = smaller(target,
                                            left); /* the sum is what may be dead: stall.c */
        left -= work->debt.targets[level];
    }
    work->debt.targets[0] = count > 0 && left > room ? room : left;
    work->base_level = wanted;
    for (uint32_t level = 1; level < wanted; level++)
        if (work->bytes[level] > 0) {
            work->base_level = level;
            break;
        }
}

static void measure_depth(struct picker_work *work)
{
    const struct picker_view *view = work->view;

    for (size_t r = 0; r < view->run_count && view->runs[r].level == 0; r++)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            uint32_t depth = picker_depth(view, view->runs[r].segments[i].lower);
            if (depth > work->debt.level0_depth)
                work->debt.level0_depth = depth;
        }
}

void picker_work_measure(struct picker_work *work)
{
    const struct picker_view *view = work->view;
    uint64_t entries[2] = {0}, bytes[2] = {0}, expired = 0; /* above, and in the last level */

    for (size_t r = 0; r < view->run_count; r++) {
        const struct picker_run *run = &view->runs[r];
        CHECK(run->level < VARVE_LEVELS_MAX);
        work->total += run->count;
        for (size_t i = 0; i < run->count; i++) {
            work->bytes[run->level] += run->segments[i].bytes;
            expired += run->segments[i].expired_bytes + run->segments[i].superseded_bytes +
                       run->segments[i].covered_bytes;
            entries[run->level == LAST_LEVEL] += run->segments[i].entries;
            bytes[run->level == LAST_LEVEL] += run->segments[i].bytes;
        }
    }
    work->entry_bytes = bytes[entries[1] > 0] / (entries[entries[1] > 0] + 1);
    for (size_t r = 0; r < view->run_count; r++)
        for (size_t i = 0; i < view->runs[r].count && view->runs[r].level < LAST_LEVEL; i++)
            work->dead[view->runs[r].level] += picker_dead(work, &view->runs[r].segments[i]);
    for (uint32_t level = 0; level < VARVE_LEVELS_MAX; level++)
        work->bytes_total += work->bytes[level];
    for (uint32_t level = 0; level < LAST_LEVEL; level++)
        work->debt.upper_dead_bytes += work->dead[level];
    work->debt.upper_dead_bytes = smaller(work->debt.upper_dead_bytes, work->bytes_total);
    work->debt.last_level_bytes = work->bytes[LAST_LEVEL];
    work->debt.upper_bytes = work->bytes_total - work->bytes[LAST_LEVEL];
    work->debt.flush_dead_bytes = view->flush_bytes;
    if (work->debt.upper_dead_bytes < work->debt.upper_bytes)
        work->debt.flush_dead_bytes = (uint64_t)((double)view->flush_bytes *
                                                 (double)work->debt.upper_dead_bytes /
                                                 (double)work->debt.upper_bytes);
    work->debt.dead_bytes = smaller(work->debt.upper_dead_bytes + expired, work->bytes_total);
    set_targets(work);
    measure_depth(work);
}

void picker_debt(const struct picker_view *view, struct picker_debt *debt)
{
    struct picker_work work = {.view = view, .tuning = &picker_default_tuning};

    picker_work_measure(&work);
    *debt = work.debt;
}
