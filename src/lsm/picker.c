#include "lsm/picker.h"

#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/picker_private.h"
#include "varve/status.h"

/* A segment size at which segments_max holds four times what is there. */
static uint64_t output_bytes(const struct picker_work *work)
{
    uint64_t bytes = work->view->segment_size_bytes > 0 ? work->view->segment_size_bytes : 1;
    uint64_t max = work->view->segments_max;

    while (max > 0 && work->bytes_total / bytes > max / 4)
        bytes *= 2;
    return max > 0 && work->total > max / 4 * 3 ? 2 * bytes : bytes;
}

static int work_init(struct picker_work *work)
{
    const struct picker_view *view = work->view;
    size_t total = 0;

    picker_work_measure(work);
    work->output_bytes = output_bytes(work);
    work->offset = mem_alloc((view->run_count + 1) * sizeof(*work->offset));
    work->set.marks = mem_alloc_zero(work->total + 1);
    work->set.list = mem_alloc((work->total + 1) * sizeof(*work->set.list));
    if (work->offset == NULL || work->set.marks == NULL || work->set.list == NULL)
        return VARVE_ENOMEM;
    for (size_t r = 0; r < view->run_count; r++) {
        work->offset[r] = total;
        total += view->runs[r].count;
    }
    return 0;
}

static void work_deinit(struct picker_work *work)
{
    mem_free(work->offset);
    mem_free(work->set.marks);
    mem_free(work->set.list);
}

/* Cut so that the pieces are about equal, and a little growth makes no tiny last one. */
static uint64_t cut_bytes(const struct picker_work *work)
{
    const struct picker_set *set = &work->set;
    uint64_t all = set->upper_bytes + set->lower_bytes;
    uint64_t count = (all - set->upper_bytes / 2 + work->output_bytes / 2) / work->output_bytes;

    return count <= 1 ? all + all / 4 + 1 : all / count + 1;
}

void picker_set_pick(const struct picker_work *work, enum pick_reason reason, uint32_t output_level,
                     struct pick *pick)
{
    pick->kind = work->set.count == 1 ? PICK_MOVE : PICK_MERGE;
    pick->reason = reason;
    pick->output_level = output_level;
    pick->output_segment_bytes = cut_bytes(work);
    /* On the way down, and in level 0, most still hides something deeper. */
    if (output_level == work->debt.last_level)
        pick->relieved_bytes = work->set.upper_dead;
}

static int list_inputs(const struct picker_work *work, struct pick *pick)
{
    const struct picker_view *view = work->view;
    size_t count = 0;

    pick->inputs = mem_alloc(work->set.count * sizeof(*pick->inputs));
    if (pick->inputs == NULL)
        return VARVE_ENOMEM;
    for (size_t r = 0; r < view->run_count; r++)
        for (size_t i = 0; i < view->runs[r].count; i++) {
            if (!work->set.marks[work->offset[r] + i])
                continue;
            CHECK(!view->runs[r].segments[i].busy);
            pick->inputs[count++] = view->runs[r].segments[i].file_no;
            pick->input_bytes += view->runs[r].segments[i].bytes;
            pick->input_entries += view->runs[r].segments[i].entries;
        }
    CHECK(count == work->set.count);
    pick->input_count = count;
    return 0;
}

/* The segment of a level whose merge rewrites the least for what it moves. */
int picker_choose_level(struct picker_work *work, uint32_t level, struct pick *pick)
{
    const struct picker_view *view = work->view;
    struct picker_seed best = {.output_level = level + 1};
    double best_ratio = -1;

    for (size_t r = 0; r < view->run_count; r++)
        for (size_t i = 0; i < view->runs[r].count && view->runs[r].level == level; i++) {
            struct picker_seed seed = {.run = r, .at = i, .output_level = level + 1};
            double ratio;
            if (view->runs[r].segments[i].busy || !picker_set_close(work, &seed))
                continue;
            ratio = picker_gain(&work->set);
            if (ratio <= best_ratio)
                continue;
            best = seed;
            best_ratio = ratio;
        }
    if (best_ratio < 0)
        return 0;
    CHECK(picker_set_close(work, &best));
    picker_set_pick(work, PICK_FOR_LEVEL, best.output_level, pick);
    return 1;
}

/* Neighbours of a level that fit into one segment: those that cost the fewest bytes for each file. */
int picker_choose_segments(struct picker_work *work, struct pick *pick)
{
    const struct picker_view *view = work->view;
    size_t best_run = 0, best_from = 0, best_count = 0;
    double best_cost = 0;

    for (size_t r = 0; r < view->run_count; r++) {
        const struct picker_run *run = &view->runs[r];
        for (size_t from = 0; from < run->count && run->level > 0; from++) {
            uint64_t bytes = 0;
            for (size_t n = 0; from + n < run->count && !run->segments[from + n].busy; n++) {
                bytes += run->segments[from + n].bytes;
                if (bytes > work->output_bytes || n >= PICK_INPUTS_MAX)
                    break;
                if (n == 0 || (best_count > 0 && (double)bytes / (double)n >= best_cost))
                    continue;
                best_run = r;
                best_from = from;
                best_count = n + 1;
                best_cost = (double)bytes / (double)n;
            }
        }
    }
    picker_set_clear(work);
    for (size_t n = 0; n < best_count; n++)
        picker_set_add(work, best_run, best_from + n, view->runs[best_run].level);
    if (best_count == 0 || !picker_set_fits(work, 0) || picker_range_busy(work, best_run + 1))
        return 0;
    picker_set_pick(work, PICK_FOR_SEGMENTS, view->runs[best_run].level, pick);
    return 1;
}

/* The level that is most above its size, and can be merged now. */
static int choose_oversized(struct picker_work *work, struct pick *pick)
{
    double below = -1;

    for (;;) {
        uint32_t level = VARVE_LEVELS_MAX;
        double most = 0;
        for (uint32_t i = 0; i < work->debt.last_level; i++) {
            double ratio = (double)work->dead[i] / ((double)work->debt.targets[i] + 1);
            if (work->dead[i] <= work->debt.targets[i] || (below >= 0 && ratio >= below))
                continue;
            if (ratio <= most)
                continue;
            level = i;
            most = ratio;
        }
        if (level == VARVE_LEVELS_MAX)
            return 0;
        if (level == 0 ? picker_choose_level0(work, picker_gain, pick)
                       : picker_choose_level(work, level, pick)) {
            if (work->debt.upper_dead_bytes > work->debt.upper_target_bytes)
                pick->reason = PICK_FOR_SPACE;
            return 1;
        }
        below = most;
    }
}

/* Where no neighbours fit, level 0 has what is too much: there are few files below, or large ones. */
static int choose_fewer(struct picker_work *work, struct pick *pick)
{
    if (picker_choose_segments(work, pick))
        return 1;
    if (MUTANT("level0-keeps-files") || !picker_choose_level0(work, picker_density, pick))
        return 0;
    pick->reason = PICK_FOR_SEGMENTS;
    return 1;
}

/* Runs that nobody meets at one place are a price for all reads, too. */
static int choose_fewer_runs(struct picker_work *work, struct pick *pick)
{
    size_t runs = picker_level0_runs(work->view);

    if (runs > work->tuning->depth_max && picker_choose_move(work, pick))
        return 1;
    if (runs <= work->tuning->level0_flushes_max ||
        !picker_choose_level0(work, picker_density, pick))
        return 0;
    pick->reason = PICK_FOR_LEVEL0;
    return 1;
}

static int choose(struct picker_work *work, struct pick *pick)
{
    uint64_t segments_max = work->view->segments_max;

    if (picker_choose_drop(work, pick))
        return 1;
    if (work->view->compact_all && picker_choose_all(work, pick))
        return 1;
    if (work->debt.level0_depth > work->tuning->depth_max && picker_choose_deep(work, pick))
        return 1;
    if (choose_oversized(work, pick) || choose_fewer_runs(work, pick))
        return 1;
    if (segments_max > 0 && work->total > segments_max / 4 * 3 && choose_fewer(work, pick))
        return 1;
    return picker_choose_dead(work, 50, pick) || picker_choose_dead(work, 25, pick) ||
           picker_choose_cull(work, pick) || (work->view->idle && picker_choose_alike(work, pick));
}

int picker_pick_tuned(const struct picker_view *view, const struct picker_tuning *tuning,
                      struct pick *pick)
{
    struct picker_work work = {.view = view, .tuning = tuning};
    int rc;

    memset(pick, 0, sizeof(*pick));
    rc = work_init(&work);
    if (rc == 0 && choose(&work, pick))
        rc = list_inputs(&work, pick);
    if (rc != 0)
        memset(pick, 0, sizeof(*pick));
    work_deinit(&work);
    return rc;
}

int picker_pick(const struct picker_view *view, struct pick *pick)
{
    return picker_pick_tuned(view, &picker_default_tuning, pick);
}

void pick_deinit(struct pick *pick)
{
    mem_free(pick->inputs);
    memset(pick, 0, sizeof(*pick));
}
