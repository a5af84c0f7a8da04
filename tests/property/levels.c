#include "levels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FULL_CHECK_EVERY 997

void levels_failed(const char *file, int line, const char *what)
{
    printf("FAILED: %s:%d: %s\n", file, line, what);
    exit(1);
}

static void *grow(void *items, size_t count, size_t *cap, size_t item_bytes)
{
    if (count < *cap)
        return items;
    *cap = *cap == 0 ? 16 : 2 * *cap;
    items = mem_realloc(items, *cap * item_bytes);
    EXPECT(items != NULL);
    return items;
}

void levels_init(struct levels *levels, const struct levels_config *config)
{
    uint32_t slots = config->slots;

    memset(levels, 0, sizeof(*levels));
    levels->config = *config;
    levels->oldest_snapshot_seq = UINT64_MAX;
    levels->truth = mem_alloc_zero(slots * sizeof(*levels->truth));
    levels->memtable = mem_alloc_zero(slots * sizeof(*levels->memtable));
    levels->in_memtable = mem_alloc_zero(slots);
    levels->memtable_slots = mem_alloc(slots * sizeof(*levels->memtable_slots));
    levels->keys = mem_alloc((slots + 1) * sizeof(*levels->keys));
    EXPECT(levels->truth && levels->memtable && levels->in_memtable && levels->memtable_slots &&
           levels->keys);
    for (uint32_t i = 0; i <= slots; i++) {
        levels->keys[i][0] = (uint8_t)(i >> 24);
        levels->keys[i][1] = (uint8_t)(i >> 16);
        levels->keys[i][2] = (uint8_t)(i >> 8);
        levels->keys[i][3] = (uint8_t)i;
    }
}

static void segment_free(struct model_segment *segment)
{
    mem_free(segment->entries);
    mem_free(segment);
}

void levels_deinit(struct levels *levels)
{
    for (size_t i = 0; i < LEVELS_JOBS_MAX; i++)
        if (levels->jobs[i].active)
            levels_end(levels, &levels->jobs[i]);
    for (size_t r = 0; r < levels->run_count; r++) {
        for (size_t i = 0; i < levels->runs[r].count; i++)
            segment_free(levels->runs[r].segments[i]);
        mem_free(levels->runs[r].segments);
    }
    mem_free(levels->runs);
    mem_free(levels->truth);
    mem_free(levels->memtable);
    mem_free(levels->in_memtable);
    mem_free(levels->memtable_slots);
    mem_free(levels->keys);
}

static uint32_t lower_of(const struct model_segment *segment)
{
    return segment->entries[0].slot;
}

static uint32_t upper_of(const struct model_segment *segment)
{
    return segment->entries[segment->count - 1].slot + 1;
}

static int is_dead(const struct levels *levels, const struct slot_entry *entry)
{
    return entry->expire == TOMBSTONE || (entry->expire != 0 && entry->expire <= levels->now);
}

/* --- runs */
static struct model_run *run_get(struct levels *levels, uint32_t level, uint64_t no)
{
    size_t at = 0;

    while (at < levels->run_count &&
           (levels->runs[at].level < level ||
            (levels->runs[at].level == level && levels->runs[at].no > no)))
        at++;
    if (at < levels->run_count && levels->runs[at].level == level && levels->runs[at].no == no)
        return &levels->runs[at];
    levels->runs = grow(levels->runs, levels->run_count, &levels->run_cap, sizeof(*levels->runs));
    memmove(&levels->runs[at + 1], &levels->runs[at],
            (levels->run_count - at) * sizeof(*levels->runs));
    levels->run_count++;
    levels->runs[at] = (struct model_run){.level = level, .no = no};
    return &levels->runs[at];
}

static void run_add(struct levels *levels, uint32_t level, uint64_t no,
                    struct model_segment *segment)
{
    struct model_run *run = run_get(levels, level, no);
    size_t at = 0;

    while (at < run->count && lower_of(run->segments[at]) < lower_of(segment))
        at++;
    EXPECT(at == 0 || upper_of(run->segments[at - 1]) <= lower_of(segment));
    EXPECT(at == run->count || upper_of(segment) <= lower_of(run->segments[at]));
    run->segments = grow(run->segments, run->count, &run->cap, sizeof(struct model_segment *));
    memmove(&run->segments[at + 1], &run->segments[at],
            (run->count - at) * sizeof(struct model_segment *));
    run->segments[at] = segment;
    run->count++;
}

static struct model_segment *find(const struct levels *levels, uint64_t file_no, size_t *run,
                                  size_t *at)
{
    for (*run = 0; *run < levels->run_count; (*run)++)
        for (*at = 0; *at < levels->runs[*run].count; (*at)++)
            if (levels->runs[*run].segments[*at]->file_no == file_no)
                return levels->runs[*run].segments[*at];
    levels_failed(__FILE__, __LINE__, "a file that is not there");
}

static struct model_segment *run_remove(struct levels *levels, uint64_t file_no)
{
    size_t r, at;
    struct model_segment *segment = find(levels, file_no, &r, &at);
    struct model_run *run = &levels->runs[r];

    memmove(&run->segments[at], &run->segments[at + 1],
            (run->count - at - 1) * sizeof(struct model_segment *));
    if (--run->count == 0) {
        mem_free(run->segments);
        memmove(run, run + 1, (levels->run_count - r - 1) * sizeof(*run));
        levels->run_count--;
    }
    return segment;
}

/* --- the picker's picture */
static void fill_segment(const struct levels *levels, const struct model_segment *from,
                         struct picker_segment *to)
{
    size_t expired = 0;

    for (size_t i = 0; from->expiring > 0 && i < from->count; i++)
        expired += is_dead(levels, &from->entries[i]) && from->entries[i].expire != TOMBSTONE;
    *to = (struct picker_segment){
        .file_no = from->file_no,
        .bytes = from->bytes,
        .lower = varve_slice(levels->keys[lower_of(from)], 4),
        .upper = varve_slice(levels->keys[upper_of(from)], 4),
        .seq_min = from->seq_min,
        .seq_max = from->seq_max,
        .entries = from->count,
        .deletes = from->deletes,
        .expired_bytes = expired * levels->config.slot_bytes,
        .all_dead = expired + from->deletes == from->count,
        .hiding_bytes = levels->config.hiding_unknown
                            ? from->bytes
                            : from->hiding_bytes * levels->config.hiding_percent / 100,
        .culled_seq = from->culled_seq,
        .busy = from->job != NULL,
    };
}

/* As the compactor tells the picker. */
static void fill_room(const struct levels *levels, struct picker_view *view)
{
    uint64_t left = levels_free(levels);
    uint64_t flush = levels->config.flush_bytes;

    if (levels->config.disk_bytes == 0)
        return;
    view->low = left < levels->config.min_free_bytes;
    view->room_bytes = left - (flush < left / 2 ? flush : left / 2);
    if (view->room_bytes == 0)
        view->room_bytes = 1;
    if (levels->room_bytes != 0 && levels->room_bytes < view->room_bytes)
        view->room_bytes = levels->room_bytes;
}

static struct picker_view view_make(const struct levels *levels)
{
    struct picker_view view = {
        .run_count = levels->run_count,
        .oldest_snapshot_seq = levels->oldest_snapshot_seq,
        .flush_bytes = levels->config.flush_bytes,
        .floor_bytes = levels->config.floor_bytes,
        .segment_size_bytes = levels->config.segment_bytes,
        .segments_max = levels->config.segments_max,
        .idle = levels->idle,
        .compact_all = levels->compact_all,
        .compact_all_seq = levels->compact_all_seq,
    };

    fill_room(levels, &view);
    view.runs = mem_alloc_zero((levels->run_count + 1) * sizeof(*view.runs));
    EXPECT(view.runs != NULL);
    for (size_t r = 0; r < levels->run_count; r++) {
        struct picker_run *run = &view.runs[r];
        run->level = levels->runs[r].level;
        run->no = levels->runs[r].no;
        run->count = levels->runs[r].count;
        run->segments = mem_alloc(run->count * sizeof(*run->segments));
        EXPECT(run->segments != NULL);
        for (size_t i = 0; i < run->count; i++)
            fill_segment(levels, levels->runs[r].segments[i], &run->segments[i]);
    }
    return view;
}

static void view_free(struct picker_view *view)
{
    for (size_t r = 0; r < view->run_count; r++)
        mem_free(view->runs[r].segments);
    mem_free(view->runs);
}

struct picker_debt levels_debt(const struct levels *levels)
{
    struct picker_view view = view_make(levels);
    struct picker_debt debt;

    picker_debt(&view, &debt);
    view_free(&view);
    return debt;
}

/* --- writing a run */
static uint64_t entry_bytes(const struct levels_config *config, const struct slot_entry *entry)
{
    return entry->expire == TOMBSTONE ? config->tombstone_bytes : config->slot_bytes;
}

static int compare_entries(const void *a, const void *b)
{
    uint32_t x = ((const struct slot_entry *)a)->slot, y = ((const struct slot_entry *)b)->slot;

    return (x > y) - (x < y);
}

struct cutter {
    struct levels *levels;
    const struct model_job *job;  /* NULL: a flush */
    size_t run;                   /* older entries lie in this one or behind it */
    const struct model_run *cuts; /* its bounds are where a segment may end; NULL: none */
    size_t cut;
    uint64_t segment_bytes;
    struct model_segment ***outputs;
    size_t *count;
    size_t *cap;
    struct slot_entry *entries;
    size_t entry_count;
    size_t entry_cap;
    uint64_t bytes;
    uint64_t deletes;
    uint64_t hiding_bytes;
};

static const struct model_segment *run_find_slot(const struct model_run *run, uint32_t slot)
{
    size_t low = 0, high = run->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (upper_of(run->segments[middle]) <= slot)
            low = middle + 1;
        else
            high = middle;
    }
    return low < run->count && lower_of(run->segments[low]) <= slot ? run->segments[low] : NULL;
}

/* Is there an older entry outside of the job? */
static int hides(const struct cutter *cutter, uint32_t slot)
{
    const struct levels *levels = cutter->levels;
    struct slot_entry key = {.slot = slot};

    for (size_t r = cutter->run; r < levels->run_count; r++) {
        const struct model_segment *segment = run_find_slot(&levels->runs[r], slot);
        if (segment != NULL && (cutter->job == NULL || segment->job != cutter->job) &&
            bsearch(&key, segment->entries, segment->count, sizeof(key), compare_entries) != NULL)
            return 1;
    }
    return 0;
}

static void cutter_end(struct cutter *cutter)
{
    struct levels *levels = cutter->levels;
    struct model_segment *segment;

    if (cutter->entry_count == 0)
        return;
    segment = mem_alloc_zero(sizeof(*segment));
    EXPECT(segment != NULL);
    segment->file_no = ++levels->file_no;
    segment->entries = cutter->entries;
    segment->count = cutter->entry_count;
    segment->bytes = cutter->bytes;
    segment->deletes = cutter->deletes;
    segment->hiding_bytes = cutter->hiding_bytes;
    segment->seq_min = UINT64_MAX;
    for (size_t i = 0; i < segment->count; i++) {
        uint64_t seq = segment->entries[i].seq;
        segment->seq_min = seq < segment->seq_min ? seq : segment->seq_min;
        segment->seq_max = seq > segment->seq_max ? seq : segment->seq_max;
        segment->expiring += segment->entries[i].expire != 0;
    }
    levels->written_bytes += segment->bytes;
    *cutter->outputs = grow(*cutter->outputs, *cutter->count, cutter->cap,
                            sizeof(struct model_segment *));
    (*cutter->outputs)[(*cutter->count)++] = segment;
    cutter->entries = NULL;
    cutter->entry_count = cutter->entry_cap = 0;
    cutter->bytes = cutter->deletes = cutter->hiding_bytes = 0;
}

static void cutter_add(struct cutter *cutter, const struct slot_entry *entry)
{
    const struct levels_config *config = &cutter->levels->config;
    int passed = 0;

    while (cutter->cuts != NULL && cutter->cut < cutter->cuts->count &&
           lower_of(cutter->cuts->segments[cutter->cut]) <= entry->slot) {
        cutter->cut++;
        passed = 1;
    }
    if ((passed && cutter->bytes >= config->cut_min_bytes) ||
        cutter->bytes >= cutter->segment_bytes)
        cutter_end(cutter);
    cutter->entries = grow(cutter->entries, cutter->entry_count, &cutter->entry_cap,
                           sizeof(*cutter->entries));
    cutter->entries[cutter->entry_count++] = *entry;
    cutter->bytes += entry_bytes(config, entry);
    cutter->deletes += entry->expire == TOMBSTONE;
    if (entry->expire == TOMBSTONE || hides(cutter, entry->slot))
        cutter->hiding_bytes += entry_bytes(config, entry);
}

static const struct model_run *first_levelled(const struct levels *levels)
{
    for (size_t r = 0; r < levels->run_count; r++)
        if (levels->runs[r].level > 0)
            return &levels->runs[r];
    return NULL;
}

static int compare_slots(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

void levels_flush(struct levels *levels)
{
    struct model_segment **outputs = NULL;
    size_t count = 0, cap = 0;
    struct cutter cutter = {.levels = levels,
                            .cuts = first_levelled(levels),
                            .segment_bytes = levels->config.segment_bytes,
                            .outputs = &outputs,
                            .count = &count,
                            .cap = &cap};

    qsort(levels->memtable_slots, levels->memtable_count, sizeof(uint32_t), compare_slots);
    for (uint32_t i = 0; i < levels->memtable_count; i++) {
        uint32_t slot = levels->memtable_slots[i];
        cutter_add(&cutter, &levels->memtable[slot]);
        if (levels->config.flushed != NULL)
            levels->config.flushed(levels->config.arg, &levels->memtable[slot]);
        levels->in_memtable[slot] = 0;
    }
    cutter_end(&cutter);
    levels->run_no++;
    for (size_t i = 0; i < count; i++)
        run_add(levels, 0, levels->run_no, outputs[i]);
    mem_free(outputs);
    levels->memtable_count = 0;
    levels->now++;
    if (levels->config.check_always)
        levels_check(levels);
}

int levels_write(struct levels *levels, uint32_t slot, uint32_t expire)
{
    const struct levels_config *config = &levels->config;
    struct slot_entry entry = {.slot = slot, .expire = expire, .seq = ++levels->seq};

    levels->user_bytes += entry_bytes(config, &entry);
    if (!levels->in_memtable[slot])
        levels->memtable_slots[levels->memtable_count++] = slot;
    levels->in_memtable[slot] = 1;
    levels->memtable[slot] = entry;
    levels->truth[slot] = entry;
    if (levels->memtable_count * config->slot_bytes < config->flush_bytes)
        return 0;
    levels_flush(levels);
    return 1;
}

/* --- jobs */
static int older_may_hold(const struct levels *levels, size_t run, uint32_t slot)
{
    for (size_t r = run; r < levels->run_count; r++)
        for (size_t i = 0; i < levels->runs[r].count; i++) {
            const struct model_segment *segment = levels->runs[r].segments[i];
            if (lower_of(segment) <= slot && slot < upper_of(segment))
                return 1;
        }
    return 0;
}

/* Does something in the runs before `run` hide it, from every snapshot? */
static int newer_holds(const struct levels *levels, size_t run, const struct slot_entry *entry)
{
    for (size_t r = 0; r < run; r++)
        for (size_t i = 0; i < levels->runs[r].count; i++) {
            const struct model_segment *segment = levels->runs[r].segments[i];
            if (lower_of(segment) > entry->slot || entry->slot >= upper_of(segment))
                continue;
            const struct slot_entry *held = bsearch(entry, segment->entries, segment->count,
                                                    sizeof(*held), compare_entries);
            if (held != NULL && held->seq <= levels->oldest_snapshot_seq)
                return 1;
        }
    return 0;
}

struct input {
    const struct model_segment *segment;
    size_t at;
};

/* Merges as the rewrite rules say; inputs are newest first. */
static void merge(struct levels *levels, struct input *inputs, size_t count, size_t run_last,
                  int cull, struct cutter *cutter)
{
    for (;;) {
        uint32_t slot = UINT32_MAX;
        struct slot_entry entry = {0};
        for (size_t i = 0; i < count; i++)
            if (inputs[i].at < inputs[i].segment->count &&
                inputs[i].segment->entries[inputs[i].at].slot < slot)
                slot = inputs[i].segment->entries[inputs[i].at].slot;
        if (slot == UINT32_MAX)
            return;
        for (size_t i = 0; i < count; i++) {
            if (inputs[i].at == inputs[i].segment->count ||
                inputs[i].segment->entries[inputs[i].at].slot != slot)
                continue;
            if (entry.seq == 0)
                entry = inputs[i].segment->entries[inputs[i].at];
            else if (levels->config.dropped != NULL)
                levels->config.dropped(levels->config.arg,
                                       &inputs[i].segment->entries[inputs[i].at]);
            inputs[i].at++;
        }
        if (cull && newer_holds(levels, run_last, &entry))
            continue;
        if (is_dead(levels, &entry)) {
            if (entry.seq <= levels->oldest_snapshot_seq &&
                !older_may_hold(levels, run_last + 1, slot))
                continue;
            entry.expire = TOMBSTONE;
        }
        cutter_add(cutter, &entry);
    }
}

/* As compaction.c does. */
static void note_culled(const struct levels *levels, struct model_job *job,
                        const struct input *inputs, size_t run)
{
    uint64_t culled_seq = UINT64_MAX, seq = 0;

    for (size_t i = 0; i < job->pick.input_count; i++)
        if (inputs[i].segment->culled_seq < culled_seq)
            culled_seq = inputs[i].segment->culled_seq;
    for (size_t r = 0; job->pick.cull && r < run; r++)
        for (size_t i = 0; i < levels->runs[r].count; i++)
            if (levels->runs[r].segments[i]->seq_max > seq)
                seq = levels->runs[r].segments[i]->seq_max;
    if (seq > levels->oldest_snapshot_seq)
        seq = levels->oldest_snapshot_seq;
    for (size_t i = 0; i < job->output_count; i++)
        job->outputs[i]->culled_seq = seq > culled_seq ? seq : culled_seq;
}

static void job_merge(struct levels *levels, struct model_job *job)
{
    struct input *inputs = mem_alloc_zero(job->pick.input_count * sizeof(*inputs));
    struct cutter cutter = {.levels = levels,
                            .job = job,
                            .cuts = job->pick.output_level == 0 ? first_levelled(levels) : NULL,
                            .segment_bytes = job->pick.output_segment_bytes,
                            .outputs = &job->outputs,
                            .count = &job->output_count,
                            .cap = &job->output_cap};
    size_t run = 0, at;

    EXPECT(inputs != NULL);
    for (size_t i = 0; i < job->pick.input_count; i++)
        inputs[i].segment = find(levels, job->pick.inputs[i], &run, &at);
    find(levels, job->pick.inputs[0], &cutter.run, &at);
    merge(levels, inputs, job->pick.input_count, run, job->pick.cull, &cutter);
    cutter_end(&cutter);
    note_culled(levels, job, inputs, run);
    mem_free(inputs);
}

static void check_inputs(struct levels *levels, const struct model_job *job)
{
    const struct pick *pick = &job->pick;
    uint64_t bytes = 0;
    size_t run, at, run_before = 0, at_before = 0;

    EXPECT(pick->input_count > 0 && pick->input_count <= PICK_INPUTS_MAX);
    for (size_t i = 0; i < pick->input_count; i++) {
        struct model_segment *segment = find(levels, pick->inputs[i], &run, &at);
        EXPECT(segment->job == NULL);
        EXPECT(i == 0 || run > run_before || (run == run_before && at > at_before));
        EXPECT(pick->kind == PICK_DROP || levels->runs[run].level <= pick->output_level);
        segment->job = job;
        bytes += segment->bytes;
        run_before = run;
        at_before = at;
    }
    EXPECT(bytes == pick->input_bytes);
    EXPECT(pick->kind != PICK_MOVE || pick->input_count == 1);
    EXPECT(pick->kind != PICK_MERGE || pick->output_segment_bytes > 0);
    EXPECT(!pick->cull || (pick->kind == PICK_MERGE && pick->input_count == 1 &&
                           levels->runs[run].level == pick->output_level));
    if (pick->kind == PICK_MERGE && bytes > levels->job_bytes_max)
        levels->job_bytes_max = bytes;
}

static int job_fits(const struct levels *levels, const struct model_job *job)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < job->output_count; i++)
        bytes += job->outputs[i]->bytes;
    return levels->config.disk_bytes == 0 || bytes <= levels_free(levels);
}

/* The disk is full: what was written goes, and a smaller one is tried. */
static void job_fail(struct levels *levels, struct model_job *job)
{
    size_t run, at;

    for (size_t i = 0; i < job->output_count; i++)
        segment_free(job->outputs[i]);
    for (size_t i = 0; i < job->pick.input_count; i++)
        find(levels, job->pick.inputs[i], &run, &at)->job = NULL;
    levels->room_bytes = job->pick.input_bytes / 4 * 3;
    levels->failures++;
    mem_free(job->outputs);
    pick_deinit(&job->pick);
    memset(job, 0, sizeof(*job));
}

int levels_begin(struct levels *levels)
{
    struct picker_view view = view_make(levels);
    struct model_job *job = levels->jobs;

    while (job->active)
        job++;
    EXPECT(job < levels->jobs + LEVELS_JOBS_MAX);
    memset(job, 0, sizeof(*job));
    EXPECT(picker_pick_tuned(&view, levels->config.tuning, &job->pick) == 0);
    view_free(&view);
    if (job->pick.kind == PICK_NOTHING) {
        levels->room_bytes = 0;
        return 0;
    }
    job->active = 1;
    levels->picks++;
    levels->picks_by[job->pick.reason]++;
    check_inputs(levels, job);
    levels->culls += (uint64_t)job->pick.cull;
    if (job->pick.kind != PICK_MERGE) {
        levels_end(levels, job); /* an edit of the manifest and no more */
        return 1;
    }
    job_merge(levels, job);
    if (!job_fits(levels, job))
        job_fail(levels, job);
    else
        levels->room_bytes = 0;
    return 1;
}

void levels_end(struct levels *levels, struct model_job *job)
{
    const struct pick *pick = &job->pick;

    for (size_t i = 0; i < pick->input_count; i++) {
        struct model_segment *segment = run_remove(levels, pick->inputs[i]);
        segment->job = NULL;
        if (pick->kind == PICK_MOVE)
            run_add(levels, pick->output_level, pick->output_run_no, segment);
        else
            segment_free(segment);
    }
    for (size_t i = 0; i < job->output_count; i++)
        run_add(levels, pick->output_level, pick->output_run_no, job->outputs[i]);
    mem_free(job->outputs);
    pick_deinit(&job->pick);
    memset(job, 0, sizeof(*job));
    if (levels->config.check_always || levels->picks % FULL_CHECK_EVERY == 0)
        levels_check(levels);
}

size_t levels_jobs(const struct levels *levels)
{
    size_t count = 0;

    for (size_t i = 0; i < LEVELS_JOBS_MAX; i++)
        count += (size_t)levels->jobs[i].active;
    return count;
}

void levels_drain(struct levels *levels)
{
    uint64_t limit = 100 + 50 * levels_segments(levels);

    for (size_t i = 0; i < LEVELS_JOBS_MAX; i++)
        if (levels->jobs[i].active)
            levels_end(levels, &levels->jobs[i]);
    while (levels_begin(levels)) {
        if (levels->jobs[0].active)
            levels_end(levels, &levels->jobs[0]);
        EXPECT(limit-- > 0); /* else it picks for ever */
    }
}

void levels_rest(struct levels *levels)
{
    levels->idle = 1;
    levels_drain(levels);
    levels->idle = 0;
}

/* --- what must hold, and what is measured */
void levels_check(const struct levels *levels)
{
    uint64_t *seen = mem_alloc_zero(levels->config.slots * sizeof(*seen));

    EXPECT(seen != NULL);
    for (uint32_t slot = 0; slot < levels->config.slots; slot++)
        if (levels->in_memtable[slot])
            seen[slot] = levels->memtable[slot].seq;
    for (size_t r = 0; r < levels->run_count; r++)
        for (size_t i = 0; i < levels->runs[r].count; i++) {
            const struct model_segment *segment = levels->runs[r].segments[i];
            for (size_t k = 0; k < segment->count; k++) {
                const struct slot_entry *entry = &segment->entries[k];
                uint64_t *newer = &seen[entry->slot];
                EXPECT(*newer == 0 || entry->seq < *newer); /* the order */
                if (*newer == 0)                            /* what a reader finds */
                    EXPECT(
                        entry->seq == levels->truth[entry->slot].seq ||
                        (is_dead(levels, entry) && is_dead(levels, &levels->truth[entry->slot])));
                *newer = entry->seq;
            }
        }
    for (uint32_t slot = 0; slot < levels->config.slots; slot++)
        if (seen[slot] == 0 && levels->truth[slot].seq != 0)
            EXPECT(is_dead(levels, &levels->truth[slot]));
    mem_free(seen);
}

uint64_t levels_bytes(const struct levels *levels)
{
    uint64_t bytes = 0;

    for (size_t r = 0; r < levels->run_count; r++)
        for (size_t i = 0; i < levels->runs[r].count; i++)
            bytes += levels->runs[r].segments[i]->bytes;
    return bytes;
}

uint64_t levels_free(const struct levels *levels)
{
    uint64_t used = levels_bytes(levels);

    return used < levels->config.disk_bytes ? levels->config.disk_bytes - used : 0;
}

size_t levels_segments(const struct levels *levels)
{
    size_t count = 0;

    for (size_t r = 0; r < levels->run_count; r++)
        count += levels->runs[r].count;
    return count;
}

uint64_t levels_live_bytes(const struct levels *levels)
{
    uint64_t bytes = 0;

    for (uint32_t slot = 0; slot < levels->config.slots; slot++)
        if (levels->truth[slot].seq != 0 && !levels->in_memtable[slot] &&
            !is_dead(levels, &levels->truth[slot]))
            bytes += levels->config.slot_bytes;
    return bytes;
}

size_t levels_level0_runs(const struct levels *levels)
{
    size_t count = 0;

    while (count < levels->run_count && levels->runs[count].level == 0)
        count++;
    return count;
}

double levels_depth(const struct levels *levels)
{
    uint64_t held = 0;

    for (size_t r = 0; r < levels->run_count; r++)
        for (size_t i = 0; i < levels->runs[r].count; i++)
            held += upper_of(levels->runs[r].segments[i]) - lower_of(levels->runs[r].segments[i]);
    return (double)held / levels->config.slots;
}
