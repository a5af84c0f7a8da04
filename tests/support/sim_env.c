/* The live side of the simulated disk: the env's calls change the live tree at once and leave an
 * event in the trace. What of it would outlive a power cut is decided in sim_image.c. */
#include "sim_env.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "sim_internal.h"

struct varve_file {
    struct list link;
    uint32_t node;
    unsigned flags;
};

struct varve_lock {
    struct list link;
    uint32_t node;
};

static struct sim_env *sim_of(struct varve_env *env)
{
    return (struct sim_env *)(void *)env;
}

/* --- paths; all under the mutex --- */

/* Where a path leads. */
struct place {
    uint32_t dir;            /* the directory that holds the last name */
    uint32_t node;           /* SIM_NO_NODE: the name is free */
    char name[SIM_NAME_CAP]; /* "" for the root */
};

/* Returns 0 or an errno. A missing last name is no error here. */
static int place_find(const struct sim_tree *tree, const char *path, struct place *place)
{
    *place = (struct place){.dir = SIM_ROOT, .node = SIM_ROOT};
    for (;;) {
        size_t len;

        path += strspn(path, "/");
        len = strcspn(path, "/");
        if (len == 0)
            return 0;
        if (place->node == SIM_NO_NODE)
            return ENOENT;
        if (tree->nodes[place->node].kind != SIM_DIR)
            return ENOTDIR;
        if (len == 1 && path[0] == '.') {
            path += len;
            continue;
        }
        if (len == 2 && path[0] == '.' && path[1] == '.')
            return EINVAL;
        if (len >= SIM_NAME_CAP)
            return ENAMETOOLONG;
        place->dir = place->node;
        memcpy(place->name, path, len);
        place->name[len] = '\0';
        place->node = sim_tree_find(tree, place->dir, place->name);
        path += len;
    }
}

static struct name_step *name_step_make(uint32_t dir, const char *name, uint32_t node)
{
    struct name_step *step = sim_alloc(sizeof(*step));

    atomic_init(&step->refs, 1);
    step->count = 1;
    step->changes[0].dir = dir;
    step->changes[0].node = node;
    memcpy(step->changes[0].name, name, strlen(name) + 1);
    return step;
}

static void name_step_apply(struct sim_tree *tree, const struct name_step *step)
{
    for (size_t i = 0; i < step->count; i++)
        sim_tree_set(tree, step->changes[i].dir, step->changes[i].name, step->changes[i].node);
}

/* Makes a file or directory where `place` says that none is; fills place->node. */
static void create_at(struct sim_env *sim, struct place *place, enum sim_node_kind kind)
{
    struct name_step *step;
    struct event *event;

    place->node = sim_tree_make(&sim->live, kind);
    step = name_step_make(place->dir, place->name, place->node);
    name_step_apply(&sim->live, step);
    event = trace_add(sim, SIM_CREATE, place->node);
    event->node_kind = (uint8_t)kind;
    event->steps[0] = step;
}

/* --- open files --- */

static int open_errno(struct sim_env *sim, const char *path, unsigned flags, struct place *place)
{
    int failed = place_find(&sim->live, path, place);

    if (failed != 0)
        return failed;
    if (place->node == SIM_NO_NODE)
        return (flags & VARVE_OPEN_CREATE) != 0 ? 0 : ENOENT;
    if ((flags & VARVE_OPEN_CREATE) != 0 && (flags & VARVE_OPEN_EXCLUSIVE) != 0)
        return EEXIST;
    return sim->live.nodes[place->node].kind == SIM_FILE ? 0 : EISDIR;
}

static int sim_open(struct varve_env *env, const char *path, unsigned flags,
                    struct varve_file **out, struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    struct varve_file *file;
    struct place place;
    int failed;

    *out = NULL;
    mutex_lock(&sim->mutex);
    failed = open_errno(sim, path, flags, &place);
    if (failed == 0) {
        if (place.node == SIM_NO_NODE)
            create_at(sim, &place, SIM_FILE);
        file = sim_alloc(sizeof(*file));
        file->node = place.node;
        file->flags = flags;
        sim->live.nodes[place.node].open_count++;
        list_push_back(&sim->files, &file->link);
        *out = file;
    }
    mutex_unlock(&sim->mutex);
    return failed == 0 ? 0 : err_set_errno(err, failed, "open %s", path);
}

static void sim_close(struct varve_env *env, struct varve_file *file)
{
    struct sim_env *sim = sim_of(env);

    if (file == NULL)
        return;
    mutex_lock(&sim->mutex);
    sim->live.nodes[file->node].open_count--;
    list_remove(&file->link);
    mutex_unlock(&sim->mutex);
    sim_free(file);
}

/* The error of a call on an open file: "read /db/000001.wal: ...". */
static int file_error(struct sim_env *sim, const struct varve_file *file, int os_errno,
                      const char *call, struct varve_err *err)
{
    char *path = trace_path(&sim->live, file->node);
    int rc = err_set_errno(err, os_errno, "%s %s", call, path);

    sim_free(path);
    return rc;
}

static int sim_read_at(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                       uint64_t offset, size_t *got, struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    const struct sim_content *content;

    (void)err;
    *got = 0;
    mutex_lock(&sim->mutex);
    content = sim->live.nodes[file->node].content;
    if (offset < content->size) {
        *got = content->size - offset < len ? content->size - offset : len;
        sim_content_read(content, offset, *got, data);
    }
    mutex_unlock(&sim->mutex);
    return 0;
}

/* What is in memory and what is not does not matter to the model: half of the places are. */
static int sim_read_at_nowait(struct varve_env *env, struct varve_file *file, void *data,
                              size_t len, uint64_t offset, size_t *got, struct varve_err *err)
{
    *got = 0;
    if ((offset / 4096) % 2 == 1)
        return VARVE_WOULD_BLOCK;
    int rc = sim_read_at(env, file, data, len, offset, got, err);
    if (rc != 0 || *got == len)
        return rc;
    *got = 0;
    return VARVE_WOULD_BLOCK;
}

/* Hints promise nothing, so the model has nothing of them. */
static void sim_hint(struct varve_env *env, struct varve_file *file, uint64_t offset, uint64_t len)
{
    (void)env, (void)file, (void)offset, (void)len;
}

static void sim_reserve(struct varve_env *env, struct varve_file *file, uint64_t size_bytes)
{
    (void)env, (void)file, (void)size_bytes;
}

static int sim_free_space(struct varve_env *env, const char *path, uint64_t *bytes,
                          struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);

    (void)path, (void)err;
    mutex_lock(&sim->mutex);
    *bytes = sim->free_bytes;
    mutex_unlock(&sim->mutex);
    return 0;
}

/* Sectors [first, end) of the live content become part of the event, as they are now. */
static void event_take_sectors(struct event *event, const struct sim_content *content,
                               uint64_t first, uint64_t end)
{
    event->first_sector = first;
    event->sector_count = end > first ? end - first : 0;
    if (event->sector_count == 0)
        return;
    event->sectors = sim_alloc(event->sector_count * sizeof(struct sim_sector *));
    for (size_t i = 0; i < event->sector_count; i++)
        event->sectors[i] = sim_sector_ref(sim_content_at(content, first + i));
}

static void write_bytes(struct sim_content *content, const uint8_t *data, size_t len,
                        uint64_t offset)
{
    while (len > 0) {
        uint8_t bytes[SIM_SECTOR_BYTES] = {0};
        uint64_t sector_no = offset / SIM_SECTOR_BYTES;
        size_t skip = offset % SIM_SECTOR_BYTES;
        size_t part = SIM_SECTOR_BYTES - skip < len ? SIM_SECTOR_BYTES - skip : len;
        const struct sim_sector *old = sim_content_at(content, sector_no);
        struct sim_sector *made;

        if (old != NULL && part < SIM_SECTOR_BYTES)
            memcpy(bytes, old->bytes, SIM_SECTOR_BYTES);
        memcpy(bytes + skip, data, part);
        made = sim_sector_make(bytes);
        sim_content_put(content, sector_no, made);
        sim_sector_unref(made);
        data += part;
        offset += part;
        len -= part;
    }
}

static void write_parts(struct sim_env *sim, uint32_t node, const struct varve_slice *parts,
                        size_t count, uint64_t offset)
{
    struct sim_content *content = sim_tree_own_content(&sim->live, node);
    uint64_t size_before = content->size;
    uint64_t end = offset;
    struct event *event;

    for (size_t i = 0; i < count; i++) {
        write_bytes(content, parts[i].data, parts[i].len, end);
        end += parts[i].len;
    }
    if (end == offset)
        return;
    if (end > content->size)
        content->size = end;
    event = trace_add(sim, SIM_WRITE, node);
    event->offset = offset;
    event->len = end - offset;
    event->size_after = content->size;
    event->size_changed = content->size != size_before;
    event_take_sectors(event, content, offset / SIM_SECTOR_BYTES,
                       (end + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES);
}

static int sim_write_at(struct varve_env *env, struct varve_file *file,
                        const struct varve_slice *parts, size_t count, uint64_t offset,
                        struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    int rc = 0;

    mutex_lock(&sim->mutex);
    if ((file->flags & VARVE_OPEN_WRITE) == 0)
        rc = file_error(sim, file, EBADF, "write", err);
    else if (offset > INT64_MAX / 2)
        rc = file_error(sim, file, EFBIG, "write", err);
    else
        write_parts(sim, file->node, parts, count, offset);
    mutex_unlock(&sim->mutex);
    return rc;
}

static int sim_size(struct varve_env *env, struct varve_file *file, uint64_t *size_bytes,
                    struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);

    (void)err;
    mutex_lock(&sim->mutex);
    *size_bytes = sim->live.nodes[file->node].content->size;
    mutex_unlock(&sim->mutex);
    return 0;
}

static void truncate_to(struct sim_env *sim, uint32_t node, uint64_t size_bytes)
{
    struct sim_content *content = sim_tree_own_content(&sim->live, node);
    struct event *event = trace_add(sim, SIM_TRUNCATE, node);
    uint64_t end_before = content->count;

    event->offset = size_bytes;
    event->size_after = size_bytes;
    event->size_changed = size_bytes != content->size;
    content->size = size_bytes;
    sim_content_trim(content);
    event_take_sectors(event, content, size_bytes / SIM_SECTOR_BYTES, end_before);
}

static int sim_truncate(struct varve_env *env, struct varve_file *file, uint64_t size_bytes,
                        struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    int rc = 0;

    mutex_lock(&sim->mutex);
    if ((file->flags & VARVE_OPEN_WRITE) == 0)
        rc = file_error(sim, file, EINVAL, "truncate", err);
    else if (size_bytes > INT64_MAX / 2)
        rc = file_error(sim, file, EFBIG, "truncate", err);
    else
        truncate_to(sim, file->node, size_bytes);
    mutex_unlock(&sim->mutex);
    return rc;
}

static void add_sync_event(struct sim_env *sim, uint32_t node, enum sim_event_kind kind)
{
    struct event *event = trace_add(sim, kind, node);

    event->node_kind = sim->live.nodes[node].kind;
    event->sync_nth = ++sim->sync_count;
}

/* Records a sync of a file or directory. Returns 0 or the errno that a test asked for. */
static int sync_node(struct sim_env *sim, uint32_t node, enum sim_event_kind kind)
{
    int failed = sim->sync_count + 1 == sim->drop_nth ? 0 : sim->fail_sync;

    if (failed != 0)
        sim->fail_sync = 0;
    add_sync_event(sim, node, failed != 0 ? SIM_SYNC_FAILED : kind);
    return failed;
}

static void tell_sync_begins(struct sim_env *sim)
{
    if (sim->on_sync != NULL)
        sim->on_sync(sim->on_sync_arg);
}

static int sim_sync(struct varve_env *env, struct varve_file *file, struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    int failed;
    int rc = 0;

    tell_sync_begins(sim);
    mutex_lock(&sim->mutex);
    failed = sync_node(sim, file->node, SIM_SYNC);
    if (failed != 0)
        rc = file_error(sim, file, failed, "sync", err);
    mutex_unlock(&sim->mutex);
    return rc;
}

/* --- names --- */

static int sim_make_dir(struct varve_env *env, const char *path, struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    struct place place;
    int failed;

    mutex_lock(&sim->mutex);
    failed = place_find(&sim->live, path, &place);
    if (failed == 0 && place.node != SIM_NO_NODE)
        failed = EEXIST;
    if (failed == 0)
        create_at(sim, &place, SIM_DIR);
    mutex_unlock(&sim->mutex);
    return failed == 0 ? 0 : err_set_errno(err, failed, "make directory %s", path);
}

/* The directory at a path. Returns 0 or an errno. */
static int dir_find(struct sim_env *sim, const char *path, uint32_t *node)
{
    struct place place;
    int failed = place_find(&sim->live, path, &place);

    if (failed != 0)
        return failed;
    if (place.node == SIM_NO_NODE)
        return ENOENT;
    *node = place.node;
    return sim->live.nodes[place.node].kind == SIM_DIR ? 0 : ENOTDIR;
}

static int sim_list_dir(struct varve_env *env, const char *path, varve_list_fn fn, void *arg,
                        struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    struct sim_dirent *entries = NULL;
    size_t count = 0;
    uint32_t dir = SIM_ROOT;
    int rc = 0;
    int failed;

    mutex_lock(&sim->mutex);
    failed = dir_find(sim, path, &dir);
    if (failed == 0) {
        /* A copy, because fn may call the env. */
        count = sim->live.nodes[dir].entry_count;
        entries = sim_alloc(count * sizeof(*entries));
        if (count > 0)
            memcpy(entries, sim->live.nodes[dir].entries, count * sizeof(*entries));
    }
    mutex_unlock(&sim->mutex);
    if (failed != 0)
        return err_set_errno(err, failed, "list %s", path);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = fn(arg, entries[i].name);
    sim_free(entries);
    return rc;
}

/* Whether directory `below` is `dir` or lies under it. */
static int lies_under(const struct sim_tree *tree, uint32_t below, uint32_t dir)
{
    while (below != dir && below != SIM_ROOT)
        below = tree->nodes[below].parent;
    return below == dir;
}

/* Whether rename may replace what `to` leads to. Returns 0 or an errno. */
static int rename_errno(const struct sim_tree *tree, const struct place *from,
                        const struct place *to)
{
    const struct sim_node *old = to->node != SIM_NO_NODE ? &tree->nodes[to->node] : NULL;
    int is_dir;

    if (from->node == SIM_NO_NODE)
        return ENOENT;
    if (from->name[0] == '\0' || to->name[0] == '\0')
        return EBUSY;
    is_dir = tree->nodes[from->node].kind == SIM_DIR;
    if (is_dir && lies_under(tree, to->dir, from->node))
        return EINVAL;
    if (old == NULL)
        return 0;
    if (old->kind == SIM_DIR && !is_dir)
        return EISDIR;
    if (old->kind != SIM_DIR && is_dir)
        return ENOTDIR;
    return old->entry_count > 0 ? ENOTEMPTY : 0;
}

static void rename_place(struct sim_env *sim, const struct place *from, const struct place *to)
{
    struct name_step *steps[2] = {name_step_make(from->dir, from->name, SIM_NO_NODE), NULL};
    struct name_step *arrival = name_step_make(to->dir, to->name, from->node);
    struct event *event;

    if (from->dir == to->dir) { /* one directory: one step */
        steps[0]->changes[steps[0]->count++] = arrival->changes[0];
        name_step_unref(arrival);
    } else {
        steps[1] = arrival;
    }
    for (size_t i = 0; i < 2; i++)
        if (steps[i] != NULL)
            name_step_apply(&sim->live, steps[i]);
    event = trace_add(sim, SIM_RENAME, from->node);
    event->steps[0] = steps[0];
    event->steps[1] = steps[1];
}

static int sim_rename(struct varve_env *env, const char *from, const char *to,
                      struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    struct place from_place;
    struct place to_place;
    int failed;

    mutex_lock(&sim->mutex);
    failed = place_find(&sim->live, from, &from_place);
    if (failed == 0)
        failed = place_find(&sim->live, to, &to_place);
    if (failed == 0 && (from_place.node != to_place.node || from_place.node == SIM_NO_NODE))
        failed = rename_errno(&sim->live, &from_place, &to_place);
    if (failed == 0 && from_place.node != to_place.node)
        rename_place(sim, &from_place, &to_place);
    mutex_unlock(&sim->mutex);
    return failed == 0 ? 0 : err_set_errno(err, failed, "rename %s to %s", from, to);
}

static int link_errno(const struct sim_tree *tree, const struct place *from, const struct place *to)
{
    if (from->node == SIM_NO_NODE)
        return ENOENT;
    if (to->node != SIM_NO_NODE)
        return EEXIST;
    return tree->nodes[from->node].kind == SIM_DIR ? EPERM : 0;
}

static int sim_link(struct varve_env *env, const char *from, const char *to, struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    struct place from_place;
    struct place to_place;
    int failed;

    mutex_lock(&sim->mutex);
    failed = place_find(&sim->live, from, &from_place);
    if (failed == 0)
        failed = place_find(&sim->live, to, &to_place);
    if (failed == 0)
        failed = link_errno(&sim->live, &from_place, &to_place);
    if (failed == 0) {
        struct name_step *step = name_step_make(to_place.dir, to_place.name, from_place.node);

        name_step_apply(&sim->live, step);
        trace_add(sim, SIM_LINK, from_place.node)->steps[0] = step;
    }
    mutex_unlock(&sim->mutex);
    return failed == 0 ? 0 : err_set_errno(err, failed, "link %s to %s", from, to);
}

static int sim_remove(struct varve_env *env, const char *path, struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    struct place place;
    struct event *event;
    int failed;

    mutex_lock(&sim->mutex);
    failed = place_find(&sim->live, path, &place);
    if (failed == 0 && place.node == SIM_NO_NODE)
        failed = ENOENT;
    if (failed == 0 && place.name[0] == '\0')
        failed = EBUSY;
    if (failed == 0 && sim->live.nodes[place.node].entry_count > 0)
        failed = ENOTEMPTY;
    if (failed == 0) {
        struct name_step *step = name_step_make(place.dir, place.name, SIM_NO_NODE);

        event = trace_add(sim, SIM_REMOVE, place.node);
        event->steps[0] = step;
        name_step_apply(&sim->live, step);
    }
    mutex_unlock(&sim->mutex);
    return failed == 0 ? 0 : err_set_errno(err, failed, "remove %s", path);
}

static int sim_sync_dir(struct varve_env *env, const char *path, struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    uint32_t dir = SIM_ROOT;
    int failed;

    tell_sync_begins(sim);
    mutex_lock(&sim->mutex);
    failed = dir_find(sim, path, &dir);
    if (failed == 0)
        failed = sync_node(sim, dir, SIM_SYNC_DIR);
    mutex_unlock(&sim->mutex);
    return failed == 0 ? 0 : err_set_errno(err, failed, "sync directory %s", path);
}

void sim_fail_sync_file(struct sim_env *sim, struct varve_file *file)
{
    mutex_lock(&sim->mutex);
    add_sync_event(sim, file->node, SIM_SYNC_FAILED);
    mutex_unlock(&sim->mutex);
}

void sim_fail_sync_dir(struct sim_env *sim, const char *path)
{
    uint32_t dir = SIM_ROOT;

    mutex_lock(&sim->mutex);
    if (dir_find(sim, path, &dir) == 0)
        add_sync_event(sim, dir, SIM_SYNC_FAILED);
    mutex_unlock(&sim->mutex);
}

/* --- locks, clocks, randomness --- */

static int sim_lock(struct varve_env *env, const char *path, struct varve_lock **out,
                    struct varve_err *err)
{
    struct sim_env *sim = sim_of(env);
    struct varve_lock *lock;
    struct place place;
    int failed;
    int taken = 0;

    *out = NULL;
    mutex_lock(&sim->mutex);
    failed = open_errno(sim, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &place);
    if (failed == 0 && place.node == SIM_NO_NODE)
        create_at(sim, &place, SIM_FILE);
    if (failed == 0)
        taken = sim->live.nodes[place.node].locked;
    if (failed == 0 && !taken) {
        lock = sim_alloc(sizeof(*lock));
        lock->node = place.node;
        sim->live.nodes[place.node].locked = 1;
        list_push_back(&sim->locks, &lock->link);
        *out = lock;
    }
    mutex_unlock(&sim->mutex);
    if (taken)
        return err_set(err, VARVE_ELOCKED, "lock %s: in use by another", path);
    return failed == 0 ? 0 : err_set_errno(err, failed, "lock %s", path);
}

static void sim_unlock(struct varve_env *env, struct varve_lock *lock)
{
    struct sim_env *sim = sim_of(env);

    if (lock == NULL)
        return;
    mutex_lock(&sim->mutex);
    sim->live.nodes[lock->node].locked = 0;
    list_remove(&lock->link);
    mutex_unlock(&sim->mutex);
    sim_free(lock);
}

static uint64_t sim_now_mono_us(struct varve_env *env)
{
    struct sim_env *sim = sim_of(env);
    uint64_t now;

    mutex_lock(&sim->mutex);
    now = sim->mono_us;
    mutex_unlock(&sim->mutex);
    return now;
}

static uint64_t sim_now_real_ms(struct varve_env *env)
{
    struct sim_env *sim = sim_of(env);
    uint64_t now;

    mutex_lock(&sim->mutex);
    now = sim->real_ms;
    mutex_unlock(&sim->mutex);
    return now;
}

static void sim_random(struct varve_env *env, void *data, size_t len)
{
    struct sim_env *sim = sim_of(env);

    mutex_lock(&sim->mutex);
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)data)[i] = (uint8_t)rng_next(&sim->rng);
    mutex_unlock(&sim->mutex);
}

void sim_on_sync(struct sim_env *sim, void (*fn)(void *arg), void *arg)
{
    sim->on_sync = fn;
    sim->on_sync_arg = arg;
}

void sim_clock_advance_us(struct sim_env *sim, uint64_t us)
{
    mutex_lock(&sim->mutex);
    sim->real_ms += (sim->mono_us % 1000 + us) / 1000; /* no microsecond is lost in small steps */
    sim->mono_us += us;
    mutex_unlock(&sim->mutex);
}

void sim_set_free_bytes(struct sim_env *sim, uint64_t bytes)
{
    mutex_lock(&sim->mutex);
    sim->free_bytes = bytes;
    mutex_unlock(&sim->mutex);
}

void sim_clock_set_real_ms(struct sim_env *sim, uint64_t real_ms)
{
    mutex_lock(&sim->mutex);
    sim->real_ms = real_ms;
    mutex_unlock(&sim->mutex);
}

/* --- life --- */

static const struct varve_env_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .read_at = sim_read_at,
    .read_at_nowait = sim_read_at_nowait,
    .read_ahead = sim_hint,
    .write_behind = sim_hint,
    .reserve = sim_reserve,
    .free_space = sim_free_space,
    .write_at = sim_write_at,
    .sync = sim_sync,
    .size = sim_size,
    .truncate = sim_truncate,
    .make_dir = sim_make_dir,
    .list_dir = sim_list_dir,
    .rename = sim_rename,
    .link = sim_link,
    .remove = sim_remove,
    .sync_dir = sim_sync_dir,
    .lock = sim_lock,
    .unlock = sim_unlock,
    .now_mono_us = sim_now_mono_us,
    .now_real_ms = sim_now_real_ms,
    .random = sim_random,
};

struct sim_env *sim_env_make(uint64_t seed)
{
    struct sim_env *sim = sim_alloc(sizeof(*sim));

    sim->env.ops = &sim_ops;
    mutex_init(&sim->mutex);
    sim->seed = seed;
    sim->free_bytes = (uint64_t)1 << 40;
    rng_init(&sim->rng, seed);
    list_init(&sim->files);
    list_init(&sim->locks);
    return sim;
}

struct sim_env *sim_env_create(uint64_t seed)
{
    struct sim_env *sim = sim_env_make(seed);

    sim->mono_us = sim->start_mono_us = SIM_CLOCK_START_MONO_US;
    sim->real_ms = sim->start_real_ms = SIM_CLOCK_START_REAL_MS;
    sim_tree_init(&sim->live);
    crash_state_init(&sim->base);
    return sim;
}

void sim_env_destroy(struct sim_env *sim)
{
    if (sim == NULL)
        return;
    while (!list_empty(&sim->files)) {
        struct varve_file *file = CONTAINER_OF(sim->files.next, struct varve_file, link);
        list_remove(&file->link);
        sim_free(file);
    }
    while (!list_empty(&sim->locks)) {
        struct varve_lock *lock = CONTAINER_OF(sim->locks.next, struct varve_lock, link);
        list_remove(&lock->link);
        sim_free(lock);
    }
    trace_clear(sim);
    cursor_drop(sim);
    crash_state_deinit(&sim->base);
    sim_tree_deinit(&sim->live);
    mutex_deinit(&sim->mutex);
    sim_free(sim);
}

struct varve_env *sim_as_env(struct sim_env *sim)
{
    return &sim->env;
}

struct sim_env *sim_from_env(struct varve_env *env)
{
    return env->ops == &sim_ops ? sim_of(env) : NULL;
}

uint64_t sim_hash(struct sim_env *sim)
{
    uint64_t hash;

    mutex_lock(&sim->mutex);
    hash = sim_tree_hash(&sim->live);
    mutex_unlock(&sim->mutex);
    return hash;
}
