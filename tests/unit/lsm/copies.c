#include "copies.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"

static void on_done(struct varve_checkpoint *checkpoint)
{
    struct copy_try *try = CONTAINER_OF(checkpoint, struct copy_try, checkpoint);

    try->done++;
}

int copy_start(struct bed *bed, const char *dir, struct copy_try *try)
{
    *try = (struct copy_try){.checkpoint.done = on_done};
    return varve_checkpoint_start(bed->db, dir, &try->checkpoint, &bed->err);
}

void copy_run_to_capture(struct bed *bed, const struct copy_try *try)
{
    size_t before = step_waiting(bed->stepper, VARVE_JOB_COMPACTION);

    while (step_waiting(bed->stepper, VARVE_JOB_COMPACTION) == before) {
        CHECK(try->done == 0);
        bed_run_class(bed, VARVE_JOB_SYNC);
        CHECK(bed_run_class(bed, VARVE_JOB_MAINTENANCE) > 0);
    }
}

void copy_no_links(struct bed *bed, int os_errno)
{
    fault_env_plan(bed->fault,
                   (struct fault_plan){
                       .op = FAULT_LINK, .nth = 1, .os_errno = os_errno, .mode = FAULT_STICKY});
}

char *copy_state(struct bed *bed)
{
    char *dump = bed_dump(bed, NULL);
    size_t cap = strlen(dump) + 32;
    char *state = mem_alloc(cap);

    CHECK(state != NULL);
    snprintf(state, cap, "%s| a=%llu", dump, (unsigned long long)bed_count(bed, "a"));
    mem_free(dump);
    return state;
}

/* Damage shows when it is read. */
static int read_all(struct bed *bed)
{
    struct varve_iter *iter = varve_iter_create(bed->db, NULL, NULL, NULL, &bed->err);

    CHECK(iter != NULL);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter))
        (void)varve_iter_value(iter);
    int rc = varve_iter_status(iter, &bed->err);
    varve_iter_destroy(iter);
    return rc;
}

char *copy_look(struct sim_env *disk, const char *dir, int *rc, uint64_t *clock_ms)
{
    static struct bed other;
    char *state = NULL;

    bed_init(&other, 1);
    bed_use_image(&other, disk);
    other.options.env = sim_as_env(disk);
    other.options.no_create = 1;
    *rc = varve_open(dir, &other.options, &other.db, &other.err);
    if (*rc == 0)
        *rc = read_all(&other);
    if (*rc == 0) {
        state = copy_state(&other);
        if (clock_ms != NULL)
            *clock_ms = varve_now_ms(other.db);
        CHECK(bed_put(&other, "z", "it takes writes") == 0);
        bed_close_ok(&other);
    }
    bed_deinit(&other);
    return state;
}

char *copy_look_now(struct bed *bed, const char *dir)
{
    int rc;
    char *state = copy_look(sim_image(bed->sim, sim_event_count(bed->sim), SIM_ALL_LOST, 0), dir,
                            &rc, NULL);

    CHECK(state != NULL);
    return state;
}

static int see_name(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return 0;
}

int copy_exists(struct sim_env *disk, const char *dir)
{
    struct varve_env *env = sim_as_env(disk);

    return env->ops->list_dir(env, dir, see_name, NULL, NULL) == 0;
}

struct visit {
    struct varve_env *env;
    const char *dir;
    uint64_t hash;
};

static int hash_entry(void *arg, const char *name)
{
    struct visit *visit = arg;
    const struct varve_env_ops *ops = visit->env->ops;
    struct varve_file *file = NULL;
    uint8_t bytes[4096];
    char path[256];
    uint64_t at = 0;
    size_t got = 0;
    uint32_t crc = crc32c(0, name, strlen(name));

    snprintf(path, sizeof(path), "%s/%s", visit->dir, name);
    CHECK(ops->open(visit->env, path, VARVE_OPEN_READ, &file, NULL) == 0);
    do {
        CHECK(ops->read_at(visit->env, file, bytes, sizeof(bytes), at, &got, NULL) == 0);
        crc = crc32c(crc, bytes, got);
        at += got;
    } while (got > 0);
    ops->close(visit->env, file);
    visit->hash += ((uint64_t)crc + 1) * (at + 1);
    return 0;
}

uint64_t copy_hash(struct sim_env *disk, const char *dir)
{
    struct visit visit = {.env = sim_as_env(disk), .dir = dir};

    CHECK(visit.env->ops->list_dir(visit.env, dir, hash_entry, &visit, NULL) == 0);
    return visit.hash;
}

static int remove_entry(void *arg, const char *name)
{
    struct visit *visit = arg;
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", visit->dir, name);
    CHECK(visit->env->ops->remove(visit->env, path, NULL) == 0);
    return 0;
}

void copy_remove(struct bed *bed, const char *dir)
{
    struct visit visit = {.env = sim_as_env(bed->sim), .dir = dir};

    CHECK(visit.env->ops->list_dir(visit.env, dir, remove_entry, &visit, NULL) == 0);
    CHECK(visit.env->ops->sync_dir(visit.env, dir, NULL) == 0);
    CHECK(visit.env->ops->remove(visit.env, dir, NULL) == 0);
    CHECK(visit.env->ops->sync_dir(visit.env, "/", NULL) == 0);
}
