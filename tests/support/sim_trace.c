/* What happened to the simulated disk: events, markers, and what each sync was for. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "campaign.h"
#include "sim_internal.h"

struct name_step *name_step_ref(struct name_step *step)
{
    if (step != NULL)
        atomic_fetch_add_explicit(&step->refs, 1, memory_order_relaxed);
    return step;
}

void name_step_unref(struct name_step *step)
{
    if (step != NULL && atomic_fetch_sub_explicit(&step->refs, 1, memory_order_acq_rel) == 1)
        sim_free(step);
}

#define PATH_DEPTH_MAX 16

char *trace_path(const struct sim_tree *tree, uint32_t node)
{
    uint32_t way[PATH_DEPTH_MAX];
    size_t depth = 0;
    size_t len = 0;
    char text[PATH_DEPTH_MAX * SIM_NAME_CAP + 2];
    char *path;

    for (; node != SIM_ROOT && depth < PATH_DEPTH_MAX; node = tree->nodes[node].parent)
        way[depth++] = node;
    if (depth == 0)
        text[len++] = '/';
    while (depth > 0) {
        const char *name = tree->nodes[way[--depth]].name;
        size_t name_len = strlen(name);
        text[len++] = '/';
        memcpy(text + len, name, name_len);
        len += name_len;
    }
    path = sim_alloc(len + 1);
    memcpy(path, text, len);
    return path;
}

struct event *trace_add(struct sim_env *sim, enum sim_event_kind kind, uint32_t node)
{
    struct event *event;

    sim_grow(&sim->events, &sim->event_cap, sim->event_count + 1, sizeof(struct event));
    event = &sim->events[sim->event_count++];
    *event = (struct event){
        .kind = kind, .node = node, .real_ms = sim->real_ms, .mono_us = sim->mono_us};
    if (kind != SIM_MARK)
        event->path = trace_path(&sim->live, node);
    return event;
}

void trace_clear(struct sim_env *sim)
{
    for (size_t i = 0; i < sim->event_count; i++) {
        struct event *event = &sim->events[i];

        for (size_t s = 0; s < event->sector_count; s++)
            sim_sector_unref(event->sectors[s]);
        sim_free(event->sectors);
        sim_free(event->path);
        name_step_unref(event->steps[0]);
        name_step_unref(event->steps[1]);
    }
    sim_free(sim->events);
    sim->events = NULL;
    sim->event_count = 0;
    sim->event_cap = 0;
}

/* Marks what a name that is on its way may lead to. */
static void mark_pending_names(const struct crash_state *state, uint8_t *mark)
{
    for (size_t i = 0; i < state->count; i++) {
        const struct unit *unit = &state->units[i];

        if (unit->kind != UNIT_NAME)
            continue;
        mark[unit->node] = 1;
        for (size_t c = 0; c < unit->step->count; c++)
            if (unit->step->changes[c].node != SIM_NO_NODE)
                mark[unit->step->changes[c].node] = 1;
    }
}

/* Gives back the files that nothing can lead to any more, now or after a power cut. */
static void free_dead_nodes(struct sim_env *sim)
{
    size_t count = sim->live.count;
    uint8_t *keep = sim_alloc(count);
    uint8_t *durable = sim_alloc(count); /* apart, because a walk ends at a mark */

    CHECK(sim->base.durable.count <= count);
    sim_tree_reach(&sim->live, keep);
    sim_tree_reach(&sim->base.durable, durable);
    mark_pending_names(&sim->base, keep);
    for (uint32_t id = 0; id < count; id++)
        if (durable[id] || sim->live.nodes[id].open_count > 0 || sim->live.nodes[id].locked)
            keep[id] = 1;
    crash_state_drop_units(&sim->base, keep);
    for (uint32_t id = 0; id < count; id++) {
        if (keep[id])
            continue;
        sim_tree_free_node(&sim->live, id);
        if (id < sim->base.durable.count)
            sim_tree_free_node(&sim->base.durable, id);
    }
    sim_free(durable);
    sim_free(keep);
}

static uint64_t event_digest(uint64_t digest, const struct event *event)
{
    digest = digest_add(digest, (uint64_t)event->kind);
    digest = digest_add(digest, event->real_ms);
    digest = digest_add(digest, event->mono_us);
    digest = digest_add(digest, event->offset);
    digest = digest_add(digest, event->len);
    digest = digest_add(digest, event->size_after);
    digest = digest_add(digest, event->value);
    if (event->path != NULL)
        digest = digest_bytes(digest, event->path, strlen(event->path));
    for (size_t i = 0; i < event->sector_count; i++)
        digest = digest_add(digest,
                            event->sectors[i] == NULL ? 0 : sim_sector_hash(event->sectors[i]));
    return digest;
}

static uint64_t trace_digest(const struct sim_env *sim)
{
    uint64_t digest = sim->forgotten == 0 ? DIGEST_BEGIN : sim->forgotten;

    for (size_t i = 0; i < sim->event_count; i++)
        digest = event_digest(digest, &sim->events[i]);
    return digest;
}

uint64_t sim_trace_digest(struct sim_env *sim)
{
    uint64_t digest;

    mutex_lock(&sim->mutex);
    digest = trace_digest(sim);
    mutex_unlock(&sim->mutex);
    return digest;
}

void sim_trace_forget(struct sim_env *sim)
{
    mutex_lock(&sim->mutex);
    sim->forgotten = trace_digest(sim);
    cursor_seek(sim, sim->event_count);
    crash_state_deinit(&sim->base);
    sim->base = sim->cursor;
    sim->cursor = (struct crash_state){0};
    sim->cursor_valid = 0;
    trace_clear(sim);
    sim->sync_count = 0;
    sim->drop_nth = 0;
    sim->start_mono_us = sim->mono_us;
    sim->start_real_ms = sim->real_ms;
    free_dead_nodes(sim);
    mutex_unlock(&sim->mutex);
}

/* --- reading it --- */

uint64_t sim_event_count(struct sim_env *sim)
{
    uint64_t count;

    mutex_lock(&sim->mutex);
    count = sim->event_count;
    mutex_unlock(&sim->mutex);
    return count;
}

struct sim_event sim_event_at(struct sim_env *sim, uint64_t index)
{
    struct sim_event seen = {0};
    const struct event *event;

    mutex_lock(&sim->mutex);
    CHECK(index < sim->event_count);
    event = &sim->events[index];
    seen.kind = event->kind;
    seen.offset = event->kind == SIM_TRUNCATE ? event->size_after : event->offset;
    seen.len = event->len;
    seen.tag = event->tag;
    seen.value = event->value;
    seen.sync_nth = event->sync_nth;
    seen.real_ms = event->real_ms;
    if (event->path != NULL) {
        size_t len = strnlen(event->path, sizeof(seen.path) - 1);
        memcpy(seen.path, event->path, len);
    }
    mutex_unlock(&sim->mutex);
    return seen;
}

void sim_mark(struct sim_env *sim, int tag, uint64_t value)
{
    struct event *event;

    mutex_lock(&sim->mutex);
    event = trace_add(sim, SIM_MARK, SIM_ROOT);
    event->tag = tag;
    event->value = value;
    mutex_unlock(&sim->mutex);
}

uint64_t sim_last_mark(struct sim_env *sim, uint64_t upto, int tag, uint64_t missing)
{
    uint64_t value = missing;

    mutex_lock(&sim->mutex);
    CHECK(upto <= sim->event_count);
    for (uint64_t i = upto; i > 0; i--) {
        const struct event *event = &sim->events[i - 1];
        if (event->kind == SIM_MARK && event->tag == tag) {
            value = event->value;
            break;
        }
    }
    mutex_unlock(&sim->mutex);
    return value;
}

/* --- syncs --- */

void sim_fail_sync(struct sim_env *sim, int os_errno)
{
    mutex_lock(&sim->mutex);
    sim->fail_sync = os_errno;
    mutex_unlock(&sim->mutex);
}

void sim_drop_nth_sync(struct sim_env *sim, uint64_t nth)
{
    mutex_lock(&sim->mutex);
    sim->drop_nth = nth;
    cursor_drop(sim); /* the cursor may have passed that sync */
    mutex_unlock(&sim->mutex);
}

uint64_t sim_sync_count(struct sim_env *sim)
{
    uint64_t count;

    mutex_lock(&sim->mutex);
    count = sim->sync_count;
    mutex_unlock(&sim->mutex);
    return count;
}

/* The last part of a path with each run of digits as '#': files that differ only by their number
 * are of one class. */
static void class_of_path(const char *path, char *out, size_t cap)
{
    const char *slash = strrchr(path, '/');
    size_t len = 0;

    for (const char *at = slash != NULL ? slash + 1 : path; *at != '\0' && len + 1 < cap; at++) {
        if (*at < '0' || *at > '9')
            out[len++] = *at;
        else if (len == 0 || out[len - 1] != '#')
            out[len++] = '#';
    }
    out[len] = '\0';
}

static int step_is_in(const struct event *event, uint32_t dir)
{
    for (size_t s = 0; s < 2; s++)
        if (event->steps[s] != NULL && event->steps[s]->changes[0].dir == dir)
            return 1;
    return 0;
}

/* Adds " create #.wal" unless the text has it already. */
static void class_add_step(char *text, size_t cap, const struct event *event)
{
    static const char *const verbs[] = {[SIM_CREATE] = "create",
                                        [SIM_RENAME] = "rename",
                                        [SIM_LINK] = "link",
                                        [SIM_REMOVE] = "remove"};
    char what[SIM_NAME_CAP + 16];
    char class_name[SIM_NAME_CAP];
    size_t len = strlen(text);

    class_of_path(event->path, class_name, sizeof(class_name));
    snprintf(what, sizeof(what), " %s %s", verbs[event->kind], class_name);
    if (strstr(text, what) == NULL && len + strlen(what) < cap)
        memcpy(text + len, what, strlen(what) + 1);
}

static void describe_file_sync(const struct sim_env *sim, uint64_t at, struct sim_sync_info *info)
{
    const struct event *sync = &sim->events[at];
    char class_name[SIM_NAME_CAP];

    class_of_path(sync->path, class_name, sizeof(class_name));
    snprintf(info->class_name, sizeof(info->class_name), "sync %s", class_name);
    for (uint64_t i = at; i > 0; i--) {
        const struct event *event = &sim->events[i - 1];

        if (event->node != sync->node)
            continue;
        if (event->sync_nth != 0)
            break;
        if (event->kind == SIM_WRITE || event->kind == SIM_TRUNCATE)
            info->covered++;
    }
}

static void describe_dir_sync(const struct sim_env *sim, uint64_t at, struct sim_sync_info *info)
{
    const struct event *sync = &sim->events[at];
    uint64_t first = at;

    while (first > 0 &&
           (sim->events[first - 1].sync_nth == 0 || sim->events[first - 1].node != sync->node))
        first--;
    snprintf(info->class_name, sizeof(info->class_name), "sync_dir");
    for (uint64_t i = first; i < at; i++) {
        const struct event *event = &sim->events[i];

        if (!step_is_in(event, sync->node))
            continue;
        info->covered++;
        class_add_step(info->class_name, sizeof(info->class_name), event);
    }
}

struct sim_sync_info sim_sync_at(struct sim_env *sim, uint64_t nth)
{
    struct sim_sync_info info = {0};

    mutex_lock(&sim->mutex);
    CHECK(nth >= 1 && nth <= sim->sync_count);
    while (sim->events[info.event].sync_nth != nth)
        info.event++;
    if (sim->events[info.event].node_kind == SIM_DIR)
        describe_dir_sync(sim, info.event, &info);
    else
        describe_file_sync(sim, info.event, &info);
    mutex_unlock(&sim->mutex);
    return info;
}
