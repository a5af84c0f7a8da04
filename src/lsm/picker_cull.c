/* picker_cull.c - what to do where no merge fits into the room, or writes are refused and nothing is due.
 *
 * A merge gives nothing back before it ends, and where runs are wide it is as large as level 0. So one segment
 * is rewritten alone, where it lies: what newer segments hide in it goes, they are only asked. That takes no more
 * room than the segment, gives back what was dead in it, and so makes room for a larger one.
 *
 * How much is dead is a guess: every entry hides one of those older than it, each with the same chance.
 * It may be wrong, so a segment is culled once for what lies above it: culled_seq. The guess from tombstones
 * alone is the one that room is counted on. */
#include "base/mutant.h"
#include "lsm/picker_private.h"

/* So much of a segment has to go, by the guess. Less if writes are refused: a little that was deleted may be what
 * is missing. */
#define GAIN_MIN 0.125
#define GAIN_MIN_LOW 0.02

/* Entries in a segment's range. */
struct share {
    double all;
    double fresh; /* they may hide something that no cull knew of */
    double fresh_deletes;
};

/* The share of `other` that lies over the segment: it is spread evenly over all of the run that it overlaps. */
static double part_over(const struct picker_run *run, size_t at, const struct picker_segment *other)
{
    uint64_t bytes = 0;
    size_t from, to;

    picker_overlap(run, other->lower, other->upper, &from, &to);
    for (; from < to; from++)
        bytes += run->segments[from].bytes;
    return bytes == 0 ? 0 : (double)run->segments[at].bytes / (double)bytes;
}

static struct share share_of(const struct picker_view *view, size_t run, size_t at, size_t other)
{
    const struct picker_segment *segment = &view->runs[run].segments[at];
    const struct picker_run *others = &view->runs[other];
    struct share share = {0};
    size_t from, to;

    picker_overlap(others, segment->lower, segment->upper, &from, &to);
    for (; from < to; from++) {
        const struct picker_segment *over = &others->segments[from];
        double part = part_over(&view->runs[run], at, over);
        int fresh = over->seq_max <= view->oldest_snapshot_seq &&
                    (over->seq_max > segment->culled_seq || MUTANT("cull-for-ever"));
        share.all += part * (double)over->entries;
        share.fresh += fresh ? part * (double)over->entries : 0;
        share.fresh_deletes += fresh ? part * (double)over->deletes : 0;
    }
    return share;
}

/* What is dead in it, in parts of it: *sure is the one that tombstones speak for. */
static double dead_part(const struct picker_view *view, size_t run, size_t at, double *sure)
{
    const struct picker_segment *segment = &view->runs[run].segments[at];
    double older = (double)segment->entries + 1;
    double dead = 0;

    if (segment->seq_max <= view->oldest_snapshot_seq)
        dead = (double)(segment->expired_bytes + segment->superseded_bytes +
                        segment->covered_bytes) /
               ((double)segment->bytes + 1);
    *sure = dead;
    for (size_t r = run + 1; r < view->run_count; r++)
        older += share_of(view, run, at, r).all;
    for (size_t r = run; r-- > 0;) {
        struct share share = share_of(view, run, at, r);
        dead += share.fresh / older;
        *sure += share.fresh_deletes / older;
        older += share.all;
    }
    *sure = *sure < 1 ? *sure : 1;
    return dead < 1 ? dead : 1;
}

/* The room must hold what is left of it; a quarter more than the guess says. */
static int cull_fits(const struct picker_view *view, const struct picker_segment *segment,
                     double sure)
{
    return view->room_bytes == 0 ||
           (double)segment->bytes * (1 - 0.75 * sure) <= (double)view->room_bytes;
}

/* The newest sequence that a cull could know of. */
static uint64_t newest_seq(const struct picker_view *view)
{
    uint64_t newest = 0;

    for (size_t r = 0; r < view->run_count; r++)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            uint64_t seq = view->runs[r].segments[i].seq_max;
            if (seq > newest && seq <= view->oldest_snapshot_seq)
                newest = seq;
        }
    return newest;
}

/* Nothing came since it was culled, and nothing in it is dead by itself: that need not be measured. */
static int is_clean(const struct picker_segment *segment, uint64_t newest)
{
    return segment->culled_seq >= newest && segment->expired_bytes == 0 &&
           segment->superseded_bytes == 0 && segment->covered_bytes == 0 &&
           !MUTANT("cull-for-ever");
}

/* The oldest first: most lies above them. */
int picker_choose_cull(struct picker_work *work, struct pick *pick)
{
    const struct picker_view *view = work->view;
    double gain_min = view->low ? GAIN_MIN_LOW : GAIN_MIN;

    if ((!work->refused && !view->low) || MUTANT("full-culls-nothing"))
        return 0;
    uint64_t newest = newest_seq(view);
    for (size_t r = view->run_count; r-- > 0;)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            const struct picker_segment *segment = &view->runs[r].segments[i];
            double sure = 0;
            if (segment->busy || is_clean(segment, newest) ||
                dead_part(view, r, i, &sure) < gain_min || !cull_fits(view, segment, sure))
                continue;
            picker_set_clear(work);
            picker_set_add(work, r, i, view->runs[r].level);
            picker_set_pick(work, PICK_FOR_DEAD, view->runs[r].level, pick);
            pick->kind = PICK_MERGE;
            pick->output_run_no = view->runs[r].no;
            pick->cull = 1;
            return 1;
        }
    return 0;
}
