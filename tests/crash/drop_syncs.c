#include "drop_syncs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "examine.h"
#include "plan.h"
#include "sim_disk.h"

#define CLASSES_MAX 96
#define SEQUENCE_LENGTH 2
#define PER_RUN_AND_CLASS 2
#define DRAWS_MAX 8 /* of images, where several names are open and one draw may miss */

struct sync_class {
    char name[128];
    unsigned tried[3]; /* a mode each */
    unsigned in_this_run;
    unsigned dropped;
    unsigned noticed;
    unsigned idle;     /* covered nothing */
    unsigned relieved; /* unnoticed, because another sync came in time */
};

struct dropping {
    struct examiner *examiner;
    struct sync_class classes[CLASSES_MAX];
    size_t class_count;
    unsigned per_class;
    struct drop_result result;
};

static struct sync_class *class_of(struct dropping *dropping, const char *name)
{
    for (size_t i = 0; i < dropping->class_count; i++)
        if (strcmp(dropping->classes[i].name, name) == 0)
            return &dropping->classes[i];
    CHECK(dropping->class_count < CLASSES_MAX);
    struct sync_class *made = &dropping->classes[dropping->class_count++];
    snprintf(made->name, sizeof(made->name), "%s", name);
    return made;
}

static void tell_unnoticed(const struct plan *plan, uint64_t nth, const struct sim_sync_info *info)
{
    char sequence[SEQUENCE_TEXT_BYTES];

    sequence_format(plan, sequence, sizeof(sequence));
    printf("not noticed: %s, %" PRIu64 " events covered at event %" PRIu64
           "; again: powercut --seed %" PRIu64 " --mode %s --sequence %s --settle --drop-sync "
           "%" PRIu64 "\n",
           info->class_name, info->covered, info->event, plan->seed, mode_name(plan->mode),
           sequence, nth);
}

static int ends_with(const char *path, const char *end)
{
    size_t len = strlen(path);

    return len >= strlen(end) && strcmp(path + len - strlen(end), end) == 0;
}

/* A new segment's name is nothing to anybody before the manifest has it. If the same directory is synced
 * for another file before that, with nothing in between but work on logs and segments, then the
 * sync that was taken out was not needed in this run. */
static int dir_sync_relieved(struct sim_env *sim, const struct sim_sync_info *info)
{
    struct sim_event dropped = sim_event_at(sim, info->event);

    for (uint64_t at = info->event + 1; at < sim_event_count(sim); at++) {
        struct sim_event event = sim_event_at(sim, at);
        if (event.kind == SIM_SYNC_DIR)
            return strcmp(event.path, dropped.path) == 0;
        if (event.kind != SIM_CREATE && event.kind != SIM_RENAME && event.kind != SIM_LINK &&
            event.kind != SIM_WRITE && event.kind != SIM_SYNC)
            return 0;
        if (!ends_with(event.path, ".wal") && !ends_with(event.path, ".seg"))
            return 0;
    }
    return 0;
}

/* What promises that the log was durable is the next record. Where that, and all up to the next sync of the file,
 * begin in the sector in which the synced bytes end, the disk has them with those or not at all. */
static int log_sync_relieved(struct sim_env *sim, const struct sim_sync_info *info)
{
    struct sim_event dropped = sim_event_at(sim, info->event);
    struct sim_event covered = {0};

    for (uint64_t at = info->event; at > 0 && covered.len == 0; at--) {
        struct sim_event event = sim_event_at(sim, at - 1);
        if (event.kind == SIM_WRITE && strcmp(event.path, dropped.path) == 0)
            covered = event;
    }
    uint64_t sector = (covered.offset + covered.len) / SIM_SECTOR_BYTES;
    for (uint64_t at = info->event + 1; at < sim_event_count(sim); at++) {
        struct sim_event event = sim_event_at(sim, at);
        if (event.kind == SIM_MARK)
            continue;
        if (strcmp(event.path, dropped.path) != 0)
            return 0;
        if (event.kind == SIM_SYNC)
            return 1;
        if (event.kind != SIM_WRITE || event.offset / SIM_SECTOR_BYTES != sector)
            return 0;
    }
    return 0;
}

static int sync_relieved(struct sim_env *sim, const struct sim_sync_info *info)
{
    struct sim_event dropped = sim_event_at(sim, info->event);

    if (dropped.kind == SIM_SYNC_DIR)
        return dir_sync_relieved(sim, info);
    return ends_with(dropped.path, ".wal") && log_sync_relieved(sim, info);
}

static void drop_one(struct dropping *dropping, const struct run *run, uint64_t nth)
{
    struct sim_sync_info info = sim_sync_at(run->sim, nth);
    struct sync_class *class = class_of(dropping, info.class_name);

    if (sim_event_at(run->sim, info.event).kind == SIM_SYNC_FAILED)
        return;
    if (info.covered == 0) {
        dropping->result.idle++;
        class->idle++;
        return;
    }
    if (class->tried[run->plan.mode] >= dropping->per_class ||
        class->in_this_run >= PER_RUN_AND_CLASS)
        return;
    sim_drop_nth_sync(run->sim, nth);
    int noticed = 0;
    for (int draw = 0; !noticed && draw < DRAWS_MAX; draw++)
        noticed = examine_run(dropping->examiner, run, info.event, (struct trial_limit){0}) != 0;
    int relieved = !noticed && sync_relieved(run->sim, &info);
    class->relieved += (unsigned)relieved;
    dropping->result.relieved += (unsigned)relieved;
    if (!relieved) {
        class->tried[run->plan.mode]++;
        class->in_this_run++;
        class->dropped++;
        dropping->result.dropped++;
    }
    if (noticed) {
        class->noticed++;
        dropping->result.noticed++;
    } else if (!relieved) {
        tell_unnoticed(&run->plan, nth, &info);
    }
    sim_drop_nth_sync(run->sim, 0);
}

static void drop_in_run(struct dropping *dropping, const struct plan *plan)
{
    struct run run;

    run_begin(&run, plan);
    examiner_new_run(dropping->examiner, &run);
    for (size_t i = 0; i < dropping->class_count; i++)
        dropping->classes[i].in_this_run = 0;
    /* A run that went wrong is the campaign's to tell. */
    for (uint64_t nth = 1; !run_failed(&run) && nth <= sim_sync_count(run.sim); nth++)
        drop_one(dropping, &run, nth);
    run_end(&run);
}

struct drop_result drop_syncs(uint64_t seed, unsigned per_class)
{
    struct dropping dropping = {.examiner = examiner_create(seed, 5, 0), .per_class = per_class};
    struct plan_list list;

    plan_list_make(&list, seed, SEQUENCE_LENGTH, SEQUENCE_LENGTH, -1, 0);
    for (size_t i = 0; i < list.count; i++) {
        list.items[i].settle = 1;
        drop_in_run(&dropping, &list.items[i]);
    }
    printf("%-52s %8s %8s %9s %14s\n", "sync that was taken out", "dropped", "noticed", "relieved",
           "covers nothing");
    for (size_t i = 0; i < dropping.class_count; i++) {
        const struct sync_class *class = &dropping.classes[i];
        if (class->dropped + class->idle + class->relieved > 0)
            printf("%-52s %8u %8u %9u %14u\n", class->name, class->dropped, class->noticed,
                   class->relieved, class->idle);
    }
    plan_list_free(&list);
    examiner_destroy(dropping.examiner);
    return dropping.result;
}
