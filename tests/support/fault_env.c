#include "fault_env.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "base/thread.h"
#include "sim_disk.h"
#include "sim_env.h"

struct fault_env {
    struct varve_env env; /* first: the engine's pointer is this one */
    struct varve_env *base;
    struct sim_env *sim; /* base, if it is a simulated disk */
    struct mutex mutex;
    struct fault_plan plan;
    uint64_t matched;               /* calls that the plan's op and path match */
    uint64_t calls[FAULT_OP_COUNT]; /* FAULT_ANY: all */
    uint64_t fired;
    struct fault_range behind; /* of the last write_behind() */
    uint64_t behind_count;
    int paused;
    char where[VARVE_ERR_TEXT_MAX];
};

/* The wrapper's file: the base's, and the path for error texts and path_suffix. */
struct varve_file {
    struct varve_file *base;
    char *path;
};

static const char *const op_names[FAULT_OP_COUNT] = {
    [FAULT_ANY] = "any",           [FAULT_OPEN] = "open",         [FAULT_READ] = "read",
    [FAULT_WRITE] = "write",       [FAULT_SYNC] = "sync",         [FAULT_SIZE] = "size",
    [FAULT_TRUNCATE] = "truncate", [FAULT_MAKE_DIR] = "make_dir", [FAULT_LIST_DIR] = "list_dir",
    [FAULT_RENAME] = "rename",     [FAULT_REMOVE] = "remove",     [FAULT_SYNC_DIR] = "sync_dir",
    [FAULT_LINK] = "link",         [FAULT_LOCK] = "lock",
};

/* What is to happen to one call. */
struct verdict {
    int os_errno; /* 0: nothing */
    enum fault_effect effect;
};

static struct fault_env *fault_of(struct varve_env *env)
{
    return (struct fault_env *)(void *)env;
}

static int ends_with(const char *text, const char *suffix)
{
    size_t len = strlen(text);
    size_t suffix_len = strlen(suffix);

    return len >= suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

static int op_matches(enum fault_op planned, enum fault_op op)
{
    switch (planned) {
    case FAULT_ANY: return 1;
    case FAULT_TAKES_ROOM:
        return op == FAULT_OPEN || op == FAULT_WRITE || op == FAULT_SYNC || op == FAULT_TRUNCATE ||
               op == FAULT_MAKE_DIR || op == FAULT_RENAME || op == FAULT_LINK ||
               op == FAULT_SYNC_DIR;
    case FAULT_TAKES_HANDLE:
        return op == FAULT_OPEN || op == FAULT_LIST_DIR || op == FAULT_SYNC_DIR || op == FAULT_LOCK;
    default: return planned == op;
    }
}

/* Counts a call and says whether it fails. */
static struct verdict judge(struct fault_env *fault, enum fault_op op, const char *path)
{
    struct verdict verdict = {0};
    const struct fault_plan *plan = &fault->plan;

    mutex_lock(&fault->mutex);
    fault->calls[FAULT_ANY] += !fault->paused;
    fault->calls[op] += !fault->paused;
    if (!fault->paused && plan->nth > 0 && op_matches(plan->op, op) &&
        (plan->path_suffix == NULL || ends_with(path, plan->path_suffix))) {
        fault->matched++;
        if (fault->matched == plan->nth ||
            (plan->mode == FAULT_STICKY && fault->matched > plan->nth)) {
            verdict = (struct verdict){.os_errno = plan->os_errno, .effect = plan->effect};
            if (fault->fired++ == 0)
                snprintf(fault->where, sizeof(fault->where), "%s %.480s", op_names[op], path);
        }
    }
    mutex_unlock(&fault->mutex);
    return verdict;
}

static int fail(const struct verdict *verdict, const char *call, const char *path,
                struct varve_err *err)
{
    return err_set_errno(err, verdict->os_errno, "%s %s", call, path);
}

static int fault_open(struct varve_env *env, const char *path, unsigned flags,
                      struct varve_file **out, struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_OPEN, path);
    struct varve_file *base = NULL;
    size_t len = strlen(path);
    int rc;

    *out = NULL;
    if (verdict.os_errno != 0 && verdict.effect != FAULT_ALL_DONE)
        return fail(&verdict, "open", path, err);
    rc = fault->base->ops->open(fault->base, path, flags, &base, err);
    if (rc != 0)
        return rc;
    if (verdict.os_errno != 0) {
        fault->base->ops->close(fault->base, base);
        return fail(&verdict, "open", path, err);
    }
    *out = sim_alloc(sizeof(**out));
    (*out)->base = base;
    (*out)->path = sim_alloc(len + 1);
    memcpy((*out)->path, path, len);
    return 0;
}

static void fault_close(struct varve_env *env, struct varve_file *file)
{
    struct fault_env *fault = fault_of(env);

    if (file == NULL)
        return;
    fault->base->ops->close(fault->base, file->base);
    sim_free(file->path);
    sim_free(file);
}

static int fault_read_at(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                         uint64_t offset, size_t *got, struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_READ, file->path);
    int rc;

    *got = 0;
    if (verdict.os_errno == 0)
        return fault->base->ops->read_at(fault->base, file->base, data, len, offset, got, err);
    if (verdict.effect == FAULT_SHORT)
        return fault->base->ops->read_at(fault->base, file->base, data, len / 2, offset, got, err);
    if (verdict.effect != FAULT_NOTHING_DONE) {
        len = verdict.effect == FAULT_PARTLY_DONE ? len / 2 : len;
        rc = fault->base->ops->read_at(fault->base, file->base, data, len, offset, got, err);
        *got = 0;
        if (rc != 0)
            return rc;
    }
    return err_set_errno(err, verdict.os_errno, "read %s at %llu", file->path,
                         (unsigned long long)offset);
}

/* Not a fault point: an error there is told by the read that follows. */
static int fault_read_at_nowait(struct varve_env *env, struct varve_file *file, void *data,
                                size_t len, uint64_t offset, size_t *got, struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);

    return fault->base->ops->read_at_nowait(fault->base, file->base, data, len, offset, got, err);
}

static void fault_read_ahead(struct varve_env *env, struct varve_file *file, uint64_t offset,
                             uint64_t len)
{
    struct fault_env *fault = fault_of(env);

    fault->base->ops->read_ahead(fault->base, file->base, offset, len);
}

static void fault_write_behind(struct varve_env *env, struct varve_file *file, uint64_t offset,
                               uint64_t len)
{
    struct fault_env *fault = fault_of(env);

    mutex_lock(&fault->mutex);
    fault->behind = (struct fault_range){offset, len};
    fault->behind_count++;
    mutex_unlock(&fault->mutex);
    fault->base->ops->write_behind(fault->base, file->base, offset, len);
}

static void fault_reserve(struct varve_env *env, struct varve_file *file, uint64_t size_bytes)
{
    struct fault_env *fault = fault_of(env);

    fault->base->ops->reserve(fault->base, file->base, size_bytes);
}

static int fault_free_space(struct varve_env *env, const char *path, uint64_t *bytes,
                            struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);

    return fault->base->ops->free_space(fault->base, path, bytes, err);
}

/* Writes the first half of the bytes of parts, rounded down, so that a single byte is none. */
static int write_half(struct fault_env *fault, struct varve_file *file,
                      const struct varve_slice *parts, size_t count, uint64_t offset,
                      struct varve_err *err)
{
    size_t left = 0;
    int rc = 0;

    for (size_t i = 0; i < count; i++)
        left += parts[i].len;
    left /= 2;
    for (size_t i = 0; i < count && left > 0 && rc == 0; i++) {
        struct varve_slice part = parts[i];

        if (part.len > left)
            part.len = left;
        rc = fault->base->ops->write_at(fault->base, file->base, &part, 1, offset, err);
        offset += part.len;
        left -= part.len;
    }
    return rc;
}

static int fault_write_at(struct varve_env *env, struct varve_file *file,
                          const struct varve_slice *parts, size_t count, uint64_t offset,
                          struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_WRITE, file->path);
    int rc = 0;

    if (verdict.os_errno == 0 || verdict.effect == FAULT_ALL_DONE)
        rc = fault->base->ops->write_at(fault->base, file->base, parts, count, offset, err);
    else if (verdict.effect == FAULT_PARTLY_DONE)
        rc = write_half(fault, file, parts, count, offset, err);
    if (rc != 0 || verdict.os_errno == 0)
        return rc;
    return err_set_errno(err, verdict.os_errno, "write %s at %llu", file->path,
                         (unsigned long long)offset);
}

static int fault_sync(struct varve_env *env, struct varve_file *file, struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_SYNC, file->path);

    if (verdict.os_errno == 0)
        return fault->base->ops->sync(fault->base, file->base, err);
    if (fault->sim != NULL)
        sim_fail_sync_file(fault->sim, file->base);
    return fail(&verdict, "sync", file->path, err);
}

static int fault_size(struct varve_env *env, struct varve_file *file, uint64_t *size_bytes,
                      struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_SIZE, file->path);

    *size_bytes = 0;
    if (verdict.os_errno == 0)
        return fault->base->ops->size(fault->base, file->base, size_bytes, err);
    return fail(&verdict, "size", file->path, err);
}

static int fault_truncate(struct varve_env *env, struct varve_file *file, uint64_t size_bytes,
                          struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_TRUNCATE, file->path);
    int rc = 0;

    if (verdict.os_errno == 0 || verdict.effect == FAULT_ALL_DONE)
        rc = fault->base->ops->truncate(fault->base, file->base, size_bytes, err);
    if (rc != 0 || verdict.os_errno == 0)
        return rc;
    return err_set_errno(err, verdict.os_errno, "truncate %s to %llu", file->path,
                         (unsigned long long)size_bytes);
}

static int fault_make_dir(struct varve_env *env, const char *path, struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_MAKE_DIR, path);
    int rc = 0;

    if (verdict.os_errno == 0 || verdict.effect == FAULT_ALL_DONE)
        rc = fault->base->ops->make_dir(fault->base, path, err);
    if (rc != 0 || verdict.os_errno == 0)
        return rc;
    return fail(&verdict, "make directory", path, err);
}

/* A walk that is to break off: every other name is shown. */
struct broken_walk {
    varve_list_fn fn;
    void *arg;
    uint64_t seen;
};

static int broken_walk_step(void *arg, const char *name)
{
    struct broken_walk *walk = arg;

    return walk->seen++ % 2 == 0 ? walk->fn(walk->arg, name) : 0;
}

static int fault_list_dir(struct varve_env *env, const char *path, varve_list_fn fn, void *arg,
                          struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_LIST_DIR, path);
    struct broken_walk walk = {.fn = fn, .arg = arg};
    int rc = 0;

    if (verdict.os_errno == 0 || verdict.effect == FAULT_ALL_DONE)
        rc = fault->base->ops->list_dir(fault->base, path, fn, arg, err);
    else if (verdict.effect == FAULT_PARTLY_DONE)
        rc = fault->base->ops->list_dir(fault->base, path, broken_walk_step, &walk, err);
    if (rc != 0 || verdict.os_errno == 0)
        return rc;
    return fail(&verdict, "list", path, err);
}

static int fault_rename(struct varve_env *env, const char *from, const char *to,
                        struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_RENAME, to);
    int rc = 0;

    if (verdict.os_errno == 0 || verdict.effect == FAULT_ALL_DONE)
        rc = fault->base->ops->rename(fault->base, from, to, err);
    if (rc != 0 || verdict.os_errno == 0)
        return rc;
    return err_set_errno(err, verdict.os_errno, "rename %s to %s", from, to);
}

static int fault_link(struct varve_env *env, const char *from, const char *to,
                      struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_LINK, to);
    int rc = 0;

    if (verdict.os_errno == 0 || verdict.effect == FAULT_ALL_DONE)
        rc = fault->base->ops->link(fault->base, from, to, err);
    if (rc != 0 || verdict.os_errno == 0)
        return rc;
    return err_set_errno(err, verdict.os_errno, "link %s to %s", from, to);
}

static int fault_remove(struct varve_env *env, const char *path, struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_REMOVE, path);
    int rc = 0;

    if (verdict.os_errno == 0 || verdict.effect == FAULT_ALL_DONE)
        rc = fault->base->ops->remove(fault->base, path, err);
    if (rc != 0 || verdict.os_errno == 0)
        return rc;
    return fail(&verdict, "remove", path, err);
}

static int fault_sync_dir(struct varve_env *env, const char *path, struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_SYNC_DIR, path);

    if (verdict.os_errno == 0)
        return fault->base->ops->sync_dir(fault->base, path, err);
    if (fault->sim != NULL)
        sim_fail_sync_dir(fault->sim, path);
    return fail(&verdict, "sync directory", path, err);
}

static int fault_lock(struct varve_env *env, const char *path, struct varve_lock **lock,
                      struct varve_err *err)
{
    struct fault_env *fault = fault_of(env);
    struct verdict verdict = judge(fault, FAULT_LOCK, path);
    int rc;

    *lock = NULL;
    if (verdict.os_errno != 0 && verdict.effect != FAULT_ALL_DONE)
        return fail(&verdict, "lock", path, err);
    rc = fault->base->ops->lock(fault->base, path, lock, err);
    if (rc != 0 || verdict.os_errno == 0)
        return rc;
    fault->base->ops->unlock(fault->base, *lock);
    *lock = NULL;
    return fail(&verdict, "lock", path, err);
}

static void fault_unlock(struct varve_env *env, struct varve_lock *lock)
{
    struct fault_env *fault = fault_of(env);

    fault->base->ops->unlock(fault->base, lock);
}

static uint64_t fault_now_mono_us(struct varve_env *env)
{
    struct fault_env *fault = fault_of(env);

    return fault->base->ops->now_mono_us(fault->base);
}

static uint64_t fault_now_real_ms(struct varve_env *env)
{
    struct fault_env *fault = fault_of(env);

    return fault->base->ops->now_real_ms(fault->base);
}

static void fault_random(struct varve_env *env, void *data, size_t len)
{
    struct fault_env *fault = fault_of(env);

    fault->base->ops->random(fault->base, data, len);
}

static const struct varve_env_ops fault_ops = {
    .open = fault_open,
    .close = fault_close,
    .read_at = fault_read_at,
    .read_at_nowait = fault_read_at_nowait,
    .read_ahead = fault_read_ahead,
    .write_behind = fault_write_behind,
    .reserve = fault_reserve,
    .free_space = fault_free_space,
    .write_at = fault_write_at,
    .sync = fault_sync,
    .size = fault_size,
    .truncate = fault_truncate,
    .make_dir = fault_make_dir,
    .list_dir = fault_list_dir,
    .rename = fault_rename,
    .link = fault_link,
    .remove = fault_remove,
    .sync_dir = fault_sync_dir,
    .lock = fault_lock,
    .unlock = fault_unlock,
    .now_mono_us = fault_now_mono_us,
    .now_real_ms = fault_now_real_ms,
    .random = fault_random,
};

struct fault_env *fault_env_create(struct varve_env *base)
{
    struct fault_env *fault = sim_alloc(sizeof(*fault));

    fault->env.ops = &fault_ops;
    fault->base = base;
    fault->sim = sim_from_env(base);
    mutex_init(&fault->mutex);
    return fault;
}

void fault_env_destroy(struct fault_env *fault)
{
    if (fault == NULL)
        return;
    mutex_deinit(&fault->mutex);
    sim_free(fault);
}

struct varve_env *fault_as_env(struct fault_env *fault)
{
    return &fault->env;
}

void fault_env_plan(struct fault_env *fault, struct fault_plan plan)
{
    CHECK(plan.nth == 0 || plan.os_errno > 0);
    mutex_lock(&fault->mutex);
    fault->plan = plan;
    fault->matched = 0;
    fault->fired = 0;
    fault->where[0] = '\0';
    memset(fault->calls, 0, sizeof(fault->calls));
    mutex_unlock(&fault->mutex);
}

void fault_env_heal(struct fault_env *fault)
{
    mutex_lock(&fault->mutex);
    fault->plan.nth = 0;
    mutex_unlock(&fault->mutex);
}

void fault_env_pause(struct fault_env *fault, int paused)
{
    mutex_lock(&fault->mutex);
    fault->paused = paused;
    mutex_unlock(&fault->mutex);
}

uint64_t fault_env_calls(struct fault_env *fault, enum fault_op op)
{
    uint64_t calls;

    CHECK(op < FAULT_OP_COUNT);
    mutex_lock(&fault->mutex);
    calls = fault->calls[op];
    mutex_unlock(&fault->mutex);
    return calls;
}

uint64_t fault_env_matched(struct fault_env *fault)
{
    uint64_t matched;

    mutex_lock(&fault->mutex);
    matched = fault->matched;
    mutex_unlock(&fault->mutex);
    return matched;
}

uint64_t fault_env_fired(struct fault_env *fault)
{
    uint64_t fired;

    mutex_lock(&fault->mutex);
    fired = fault->fired;
    mutex_unlock(&fault->mutex);
    return fired;
}

const char *fault_env_where(struct fault_env *fault)
{
    return fault->where;
}

const char *fault_op_name(enum fault_op op)
{
    return op < FAULT_OP_COUNT ? op_names[op] : "unknown";
}

uint64_t fault_env_behind(struct fault_env *fault, struct fault_range *last)
{
    mutex_lock(&fault->mutex);
    *last = fault->behind;
    uint64_t count = fault->behind_count;
    mutex_unlock(&fault->mutex);
    return count;
}
