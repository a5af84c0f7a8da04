/* picker_level0.c - when level 0 is too deep, or holds too much.
 *
 * Into the base level goes what moves the most bytes for each byte rewritten there. Since a place that
 * was just merged is empty, and the fullest comes next, a place holds about twice the mean when its turn
 * comes: that is what partial merges gain over merging all of level 0 at once.
 *
 * A place that is too deep before it is that full (of few data, if too much is dead: as the mean) is merged inside
 * level 0: adjacent runs, those that cost
 * the fewest bytes for each run that goes. Many small new runs come first, so that sizes grow towards
 * the old ones, and each byte is rewritten a few times until it leaves.
 *
 * Where nobody writes, runs of like size are merged at any depth: what rests is read from few runs. */
#include "lsm/picker_private.h"

#include "base/mutant.h"

size_t picker_level0_runs(const struct picker_view *view)
{
    size_t count = 0;

    while (count < view->run_count && view->runs[count].level == 0)
        count++;
    return count;
}

/* All of level 0 and what it overlaps. */
static int close_whole(struct picker_work *work)
{
    struct picker_seed seed = {.output_level = work->base_level};

    picker_set_clear(work);
    for (size_t r = 0; r < work->view->run_count && work->view->runs[r].level <= work->base_level;
         r++)
        for (size_t i = 0; i < work->view->runs[r].count; i++) {
            if (work->view->runs[r].segments[i].busy)
                return 0;
            picker_set_add(work, r, i, seed.output_level);
        }
    return 1;
}

/* The best way from level 0 to the base level; 0: none. */
static int best_to_base(struct picker_work *work, double (*value_of)(const struct picker_set *set),
                        struct picker_seed *best)
{
    const struct picker_view *view = work->view;
    size_t runs = picker_level0_runs(view);
    double best_value = 0;
    int found = 0;

    for (size_t r = runs; r-- > 0;)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            struct picker_seed seed = {.run = r, .at = i, .output_level = work->base_level};
            double value;
            if (view->runs[r].segments[i].busy || !picker_set_close(work, &seed))
                continue;
            value = value_of(&work->set);
            if (found && value <= best_value)
                continue;
            *best = seed;
            best_value = value;
            found = 1;
        }
    return found;
}

int picker_choose_level0(struct picker_work *work, double (*value_of)(const struct picker_set *set),
                         struct pick *pick)
{
    struct picker_seed seed;

    if (work->tuning->level0_whole) {
        if (!close_whole(work))
            return 0;
    } else if (!best_to_base(work, value_of, &seed) || !picker_set_close(work, &seed)) {
        return 0;
    }
    picker_set_pick(work, PICK_FOR_SPACE, work->base_level, pick);
    return 1;
}

int picker_choose_move(struct picker_work *work, struct pick *pick)
{
    const struct picker_view *view = work->view;

    for (size_t r = picker_level0_runs(view); r-- > 0;)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            struct picker_seed seed = {.run = r, .at = i, .output_level = work->base_level};
            if (view->runs[r].segments[i].busy || !picker_set_close(work, &seed) ||
                work->set.count > 1)
                continue;
            picker_set_pick(work, PICK_FOR_LEVEL0, work->base_level, pick);
            return 1;
        }
    return 0;
}

/* Bytes of the base level under the set: how much of the key space it is. */
static uint64_t area(const struct picker_work *work)
{
    uint64_t bytes = 0;

    for (size_t r = 0; r < work->view->run_count; r++) {
        const struct picker_run *run = &work->view->runs[r];
        size_t from, to;
        if (run->level != work->base_level)
            continue;
        picker_overlap(run, work->set.lower, work->set.upper, &from, &to);
        for (; from < to; from++)
            bytes += run->segments[from].bytes;
    }
    return bytes + 1;
}

struct stack {
    size_t runs[256]; /* of level 0 at one place, newest first */
    size_t at[256];
    size_t count;
};

static void stack_fill(const struct picker_view *view, struct varve_slice key, struct stack *stack)
{
    stack->count = 0;
    for (size_t r = 0; r < view->run_count && view->runs[r].level == 0; r++) {
        const struct picker_run *run = &view->runs[r];
        size_t from, to;
        picker_overlap(run, key, varve_slice(NULL, 0), &from, &to);
        if (from == to || varve_slice_compare(run->segments[from].lower, key) > 0)
            continue;
        stack->runs[stack->count] = r;
        stack->at[stack->count++] = from;
        if (stack->count == COUNT_OF(stack->runs))
            return;
    }
}

/* The cheapest merge inside level 0 at one place: bytes for each run that goes and each part of the
 * key space that it goes from. */
static int best_inside(struct picker_work *work, const struct stack *stack,
                       struct picker_seed *best, double *best_cost)
{
    int found = 0;

    for (size_t i = 0; i < stack->count; i++)
        for (size_t j = i + 1; j < stack->count; j++) {
            struct picker_seed seed = {
                .run = stack->runs[i], .at = stack->at[i], .run_last = stack->runs[j]};
            double cost;
            if (!picker_set_close_level0(work, &seed))
                break;
            cost = (double)work->set.upper_bytes / ((double)(j - i) * (double)area(work));
            if (*best_cost > 0 && cost >= *best_cost)
                continue;
            *best = seed;
            *best_cost = cost;
            found = 1;
        }
    return found;
}

/* Is a place as full as it gets when all places take turns? Of few data, where a merge is one of nearly all, and of which too
 * much is dead, as full as the mean: what is merged in level 0 now is merged down right after. */
static int full_enough(const struct picker_work *work, double value)
{
    double mean = (double)work->debt.targets[0] / ((double)work->bytes[work->base_level] + 1);
    int is_over = work->debt.floor_gives_bytes > 0 &&
                  work->debt.upper_dead_bytes > work->debt.upper_target_bytes &&
                  !MUTANT("level0-merged-twice");

    return !work->tuning->level0_merges || value >= (is_over ? mean : 2 * mean);
}

/* What can be done at one place of that depth or more: the ways to the base level, and inside. */
struct deep {
    uint32_t depth;
    struct picker_seed down;
    struct picker_seed inside;
    double down_density;
    double inside_cost;
    int has_down;
    int has_inside;
};

static void best_deep(struct picker_work *work, struct deep *deep)
{
    const struct picker_view *view = work->view;
    struct stack stack;

    for (size_t r = 0; r < view->run_count && view->runs[r].level == 0; r++)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            struct picker_seed seed = {.output_level = work->base_level};
            stack_fill(view, view->runs[r].segments[i].lower, &stack);
            if (stack.count < deep->depth)
                continue;
            seed.run = stack.runs[stack.count - 1];
            seed.at = stack.at[stack.count - 1];
            if (picker_set_close(work, &seed) && picker_density(&work->set) > deep->down_density) {
                deep->down = seed;
                deep->down_density = picker_density(&work->set);
                deep->has_down = 1;
            }
            if (work->tuning->level0_merges &&
                best_inside(work, &stack, &deep->inside, &deep->inside_cost))
                deep->has_inside = 1;
        }
}

static void pick_inside(struct picker_work *work, const struct picker_seed *seed, struct pick *pick)
{
    CHECK(picker_set_close_level0(work, seed));
    picker_set_pick(work, PICK_FOR_LEVEL0, 0, pick);
    pick->kind = PICK_MERGE;
    pick->output_run_no = work->view->runs[seed->run].no;
}

int picker_choose_deep(struct picker_work *work, struct pick *pick)
{
    struct deep deep = {.depth = work->debt.level0_depth};

    if (work->tuning->level0_whole) {
        if (!close_whole(work))
            return 0;
        picker_set_pick(work, PICK_FOR_LEVEL0, work->base_level, pick);
        return 1;
    }
    best_deep(work, &deep); /* the deepest places; if something there is busy, any */
    if (!deep.has_down && !deep.has_inside) {
        deep.depth = work->tuning->depth_max + 1;
        best_deep(work, &deep);
    }
    if (deep.has_down && (!deep.has_inside || full_enough(work, deep.down_density))) {
        CHECK(picker_set_close(work, &deep.down));
        picker_set_pick(work, PICK_FOR_LEVEL0, work->base_level, pick);
        return 1;
    }
    if (!deep.has_inside)
        return 0;
    pick_inside(work, &deep.inside, pick);
    return 1;
}

/* Bytes of the set in one run. */
static uint64_t set_run_bytes(const struct picker_work *work, size_t run)
{
    const struct picker_run *segments = &work->view->runs[run];
    uint64_t bytes = 0;

    for (size_t i = 0; i < segments->count; i++)
        if (work->set.marks[work->offset[run] + i])
            bytes += segments->segments[i].bytes;
    return bytes;
}

/* Does none of the older runs bring more than all newer ones of the set together? So a byte is rewritten each time that
 * its run has about doubled, however often nobody writes. */
static int is_alike(const struct picker_work *work, const struct picker_seed *seed)
{
    uint64_t newer = set_run_bytes(work, seed->run);

    for (size_t r = seed->run + 1; r <= seed->run_last; r++) {
        uint64_t bytes = set_run_bytes(work, r);
        if (bytes > newer && !MUTANT("rest-merges-unlike"))
            return 0;
        newer += bytes;
    }
    return 1;
}

/* The most runs of one place that are alike. */
static void most_alike(struct picker_work *work, const struct stack *stack,
                       struct picker_seed *best, size_t *best_gone)
{
    for (size_t i = 0; i < stack->count; i++)
        for (size_t j = i + 1; j < stack->count; j++) {
            struct picker_seed seed = {
                .run = stack->runs[i], .at = stack->at[i], .run_last = stack->runs[j]};
            if (!picker_set_close_level0(work, &seed) || !is_alike(work, &seed))
                break;
            if (j - i <= *best_gone)
                continue;
            *best = seed;
            *best_gone = j - i;
        }
}

int picker_choose_alike(struct picker_work *work, struct pick *pick)
{
    const struct picker_view *view = work->view;
    struct picker_seed best = {0};
    size_t gone = 0;

    for (size_t r = 0; r < view->run_count && view->runs[r].level == 0; r++)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            struct stack stack;
            stack_fill(view, view->runs[r].segments[i].lower, &stack);
            most_alike(work, &stack, &best, &gone);
        }
    if (gone == 0)
        return 0;
    pick_inside(work, &best, pick);
    return 1;
}
