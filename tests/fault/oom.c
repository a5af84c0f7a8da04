/* oom - every allocation of ours fails, once and from then on: an error, never a crash, a leak or half a
 * batch.
 *
 *   oom [--seed N] [--budget COUNT|TIME] [--only TEXT] [--nth N]
 *
 * Default: all of them, those that base/mem.h gives. See iofail.c for the arguments. */
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "points.h"
#include "segment/block.h"

#define ONCE "once"
#define STICKY "from then on"

static struct fault_class classes[] = {
    {ONCE, "plain", workload_plain, VARVE_ALWAYS, 0, 0},
    {ONCE, "plain", workload_plain, VARVE_EVERYSEC, 0, 0},
    {ONCE, "levels", workload_levels, VARVE_ALWAYS, 0, 0},
    {ONCE, "full", workload_full, VARVE_EVERYSEC, 0, 0},
    {ONCE, "healing", workload_healing, VARVE_ALWAYS, 0, 0},
    {ONCE, "healing", workload_healing, VARVE_EVERYSEC, 0, 0},
    {STICKY, "plain", workload_plain, VARVE_ALWAYS, 1, 0},
    {STICKY, "plain", workload_plain, VARVE_NO, 1, 0},
    {STICKY, "levels", workload_levels, VARVE_EVERYSEC, 1, 0},
    {STICKY, "healing", workload_healing, VARVE_ALWAYS, 1, 0},
};

static void run_class_point(const struct fault_class *fault_class, struct point *point)
{
    static struct run run;
    uint64_t used_before = mem_used_bytes();

    run_init(&run, fault_class->script, point->nth, point->seed, fault_class->durability,
             fault_class->steps);
    run.fail_alloc = point->nth;
    run.fail_alloc_sticky = (int)fault_class->sweep;
    run_script(&run);
    point->calls = run.allocs;
    point->reached = run.allocs >= point->nth;
    run_recover(&run);
    point->wrong = run.wrong;
    point->images = run.images;
    run_deinit(&run);
    point->digest = run.digest;
    block_memory_trim(0); /* what is kept for the next blocks */
    if (mem_used_bytes() != used_before) {
        printf("WRONG: memory leaks\n");
        point->wrong++;
    }
}

int main(int argc, char **argv)
{
    struct points_campaign campaign = {
        .name = "oom", .classes = classes, .count = COUNT_OF(classes), .run = run_class_point};

    return points_main(&campaign, argc, argv);
}
