/* A compaction's threads share what is made once and then only read: the inputs, the range tombstones
 * that stay, the rules. Each part has its own iterators, its own share of the key space, its own files.
 *
 * What "something older outside of the inputs" is: every segment that is no input and lies in the newest
 * input's run or behind it. A run between two inputs' runs is newer than one of them; to count it as
 * older keeps a tombstone longer than need be, and never the other way round. */
#include "lsm/compaction.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/rcu.h"
#include "lsm/segment_set.h"
#include "segment/merge_iter.h"

#define READAHEAD_BYTES ((size_t)256 * 1024)

/* The inputs that lie in one run. */
struct input_run {
    struct segment **segments; /* into compaction.inputs, by key */
    size_t count;
};

struct part {
    struct compaction *compaction;
    struct varve_slice lower; /* borrowed from an input's index; len 0: the first part */
    struct varve_slice upper; /* len 0: the last part */
    struct segment_set *set;
    struct segment *const *outputs; /* of the set */
    size_t output_count;
    struct count_changes changes;
    int done;
};

struct compaction {
    struct compaction_config config;
    uint64_t *snapshots;
    struct version *version;
    uint32_t output_level;
    uint64_t output_segment_bytes;

    struct segment **inputs; /* in the order of runs, then by key; the version holds them */
    uint64_t *input_numbers; /* ascending */
    size_t input_count;
    uint64_t input_bytes;
    struct input_run *runs;
    size_t run_count;
    size_t newest_run; /* the index of the first run that has an input */
    int any_older;     /* something older outside of the inputs overlaps them */
    int cull;
    uint64_t culled_seq;        /* of the outputs: picker.h */
    struct read_counters asked; /* by a cull; of no interest */

    struct entry *ranges; /* that stay; by begin, then newest first */
    size_t range_count;
    const struct varve_slice *cuts; /* where the output would best be cut */
    size_t cut_count;

    struct part *parts;
    size_t part_count;
    struct segment **outputs;
    size_t output_count;
    struct count_changes changes;
};

static int no_memory(struct varve_err *err)
{
    return err_set(err, VARVE_ENOMEM, "compaction: out of memory");
}

/* ---- the inputs ---- */

static int compare_numbers(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;

    return (*a > *b) - (*a < *b);
}

static int is_input(const struct compaction *compaction, const struct segment *segment)
{
    uint64_t file_no = segment_file_no(segment);

    return bsearch(&file_no, compaction->input_numbers, compaction->input_count, sizeof(file_no),
                   compare_numbers) != NULL;
}

/* The inputs of one run of the version. */
static void find_in_run(struct compaction *compaction, const struct sorted_run *run, size_t *found)
{
    struct input_run *in = &compaction->runs[compaction->run_count];

    *in = (struct input_run){.segments = compaction->inputs + *found};
    for (size_t i = 0; i < run->count && *found < compaction->input_count; i++) {
        if (!is_input(compaction, run->segments[i]))
            continue;
        compaction->inputs[(*found)++] = run->segments[i];
        compaction->input_bytes += segment_size_bytes(run->segments[i]);
        in->count++;
    }
}

static int find_inputs(struct compaction *compaction, const struct pick *pick,
                       struct varve_err *err)
{
    const struct version *version = compaction->version;
    size_t found = 0;

    compaction->inputs = mem_alloc((pick->input_count + 1) * sizeof(struct segment *));
    compaction->input_numbers = mem_alloc((pick->input_count + 1) * sizeof(uint64_t));
    compaction->runs = mem_alloc((version->run_count + 1) * sizeof(struct input_run));
    if (compaction->inputs == NULL || compaction->input_numbers == NULL || compaction->runs == NULL)
        return no_memory(err);
    if (pick->input_count > 0)
        memcpy(compaction->input_numbers, pick->inputs, pick->input_count * sizeof(uint64_t));
    compaction->input_count = pick->input_count;
    qsort(compaction->input_numbers, pick->input_count, sizeof(uint64_t), compare_numbers);
    for (size_t i = 0; i < version->run_count; i++) {
        find_in_run(compaction, &version->runs[i], &found);
        if (compaction->runs[compaction->run_count].count == 0)
            continue;
        if (compaction->run_count == 0)
            compaction->newest_run = i;
        compaction->run_count++;
    }
    if (found == 0 || found != pick->input_count)
        return err_set(err, VARVE_EINVAL, "compaction: %zu of %zu inputs are in the version", found,
                       pick->input_count);
    return 0;
}

/* Into the last level it mostly is nothing: then no key has to be looked for. */
static void find_older(struct compaction *compaction)
{
    const struct version *version = compaction->version;

    for (size_t i = 0; i < compaction->input_count && !compaction->any_older; i++) {
        const struct properties *properties = segment_properties(compaction->inputs[i]);
        compaction->any_older = version_older_overlaps(
            version, compaction->newest_run, compaction->input_numbers, compaction->input_count,
            segment_bound_slice(&properties->lower), segment_bound_slice(&properties->upper));
    }
}

/* ---- what newer segments hide ---- */

/* What is above that, some snapshot does not see: it hides nothing. */
static uint64_t cull_seq_max(const struct compaction *compaction)
{
    return compaction->config.snapshot_count > 0 ? compaction->snapshots[0] : UINT64_MAX;
}

/* Up to where newer segments have been asked: by this cull, or for all of the inputs. */
static void find_culled_seq(struct compaction *compaction)
{
    const struct version *version = compaction->version;
    uint64_t seq = 0;

    compaction->culled_seq = UINT64_MAX;
    for (size_t i = 0; i < compaction->input_count; i++)
        if (segment_note(compaction->inputs[i]) < compaction->culled_seq)
            compaction->culled_seq = segment_note(compaction->inputs[i]);
    for (size_t r = 0; compaction->cull && r < compaction->newest_run; r++)
        for (size_t i = 0; i < version->runs[r].count; i++) {
            uint64_t last = segment_properties(version->runs[r].segments[i])->seq_max;
            seq = last > seq ? last : seq;
        }
    if (seq > cull_seq_max(compaction))
        seq = cull_seq_max(compaction);
    if (seq > compaction->culled_seq)
        compaction->culled_seq = seq;
}

static int newer_hides(void *arg, struct varve_slice key, struct varve_err *err)
{
    const struct part *part = arg;
    struct compaction *compaction = part->compaction;
    struct version newer = {.runs = compaction->version->runs, .run_count = compaction->newest_run};
    struct segment_read how = {.wait = SEGMENT_WAIT, .no_fill = 1};
    struct segment_hold hold = {0};
    struct entry entry;

    rcu_enter();
    int rc = version_get(&newer, key, 0, cull_seq_max(compaction), &how, &compaction->asked, &entry,
                         &hold, err);
    segment_hold_release(&hold);
    rcu_leave();
    if (rc == 0)
        return 1;
    return rc == VARVE_NOT_FOUND ? 0 : rc;
}

/* ---- range tombstones ---- */

static void base_rules(const struct compaction *compaction, struct rewrite_rules *rules)
{
    *rules = (struct rewrite_rules){.snapshots = compaction->snapshots,
                                    .snapshot_count = compaction->config.snapshot_count,
                                    .expired_before_ms = compaction->config.expired_before_ms,
                                    .ranges = compaction->version->ranges};
}

static int keeps_range(const struct compaction *compaction, const struct entry *range)
{
    const struct chunk *chunk = &range->chunk;
    struct rewrite_rules rules;

    base_rules(compaction, &rules);
    return rewrite_keeps_range(&rules, range->seq,
                               version_older_overlaps(compaction->version, compaction->newest_run,
                                                      compaction->input_numbers,
                                                      compaction->input_count, chunk->key,
                                                      chunk->value));
}

static int list_ranges(struct compaction *compaction, const struct segment *segment,
                       struct varve_err *err)
{
    for (size_t i = 0; i < segment_range_count(segment); i++) {
        struct entry *range = &compaction->ranges[compaction->range_count];
        segment_range(segment, i, range);
        if (chunk_crc(&range->chunk) != range->chunk.crc)
            return err_set(err, VARVE_ECORRUPT,
                           "compaction: segment %06" PRIu64 ": range tombstone %" PRIu64
                           ": chunk CRC mismatch",
                           segment_file_no(segment), range->seq);
        compaction->range_count += keeps_range(compaction, range);
    }
    return 0;
}

static int compare_by_seq(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;

    if (a->seq != b->seq)
        return a->seq < b->seq ? -1 : 1;
    return varve_slice_compare(a->chunk.key, b->chunk.key);
}

static int compare_by_begin(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;

    return entry_compare(a->chunk.key, a->seq, b->chunk.key, b->seq);
}

/* Pieces of one tombstone that touch become one again, or each compaction would leave more of them. */
static void join_ranges(struct compaction *compaction)
{
    struct entry *ranges = compaction->ranges;
    size_t count = 0;

    if (compaction->range_count == 0)
        return;
    qsort(ranges, compaction->range_count, sizeof(*ranges), compare_by_seq);
    for (size_t i = 1; i < compaction->range_count; i++) {
        struct entry *last = &ranges[count];
        if (ranges[i].seq == last->seq &&
            varve_slice_equal(last->chunk.value, ranges[i].chunk.key)) {
            last->chunk.value = ranges[i].chunk.value;
            last->chunk.crc = chunk_crc(&last->chunk);
        } else {
            ranges[++count] = ranges[i];
        }
    }
    compaction->range_count = count + 1;
    qsort(ranges, compaction->range_count, sizeof(*ranges), compare_by_begin);
}

static int make_ranges(struct compaction *compaction, struct varve_err *err)
{
    size_t count = 0;
    int rc = 0;

    for (size_t i = 0; i < compaction->input_count; i++)
        count += segment_range_count(compaction->inputs[i]);
    if (count == 0)
        return 0;
    compaction->ranges = mem_alloc(count * sizeof(*compaction->ranges));
    if (compaction->ranges == NULL)
        return no_memory(err);
    for (size_t i = 0; i < compaction->input_count && rc == 0; i++)
        rc = list_ranges(compaction, compaction->inputs[i], err);
    if (rc == 0)
        join_ranges(compaction);
    return rc;
}

/* ---- parts ---- */

#define STRETCHES_MAX 8192 /* of all inputs, where these are not more themselves */

/* Bytes: half of its own and half of those before it, so what lies before its middle. */
struct stretch {
    struct varve_slice lower; /* its keys begin there; borrowed from the segment */
    uint64_t bytes;
};

static int compare_stretches(const void *left, const void *right)
{
    const struct stretch *a = left;
    const struct stretch *b = right;

    return varve_slice_compare(a->lower, b->lower);
}

/* Joined to at most `most` of about the same size; returns how many. */
static size_t add_stretches(const struct segment *segment, size_t most, struct stretch *stretches)
{
    size_t count = segment_stretch_count(segment);
    size_t step = (count + most - 1) / most;
    uint64_t before = 0;
    size_t added = 0;

    for (size_t i = 0; i < count; i += step) {
        struct stretch *at = &stretches[added++];
        struct varve_slice lower;
        struct varve_slice upper;
        uint64_t own = segment_stretch(segment, i, &at->lower, &upper);
        for (size_t k = i + 1; k < i + step && k < count; k++)
            own += segment_stretch(segment, k, &lower, &upper);
        at->bytes = (before + own) / 2;
        before = own;
    }
    return added;
}

/* The stretches of all inputs by key; NULL: no memory. */
static struct stretch *list_stretches(const struct compaction *compaction, size_t *count)
{
    size_t most = STRETCHES_MAX / compaction->input_count;

    if (most == 0)
        most = 1;
    if (most > SEGMENT_STRETCHES_MAX)
        most = SEGMENT_STRETCHES_MAX;
    struct stretch *stretches = mem_alloc(compaction->input_count * most * sizeof(*stretches));
    if (stretches == NULL)
        return NULL;
    *count = 0;
    for (size_t i = 0; i < compaction->input_count; i++)
        *count += add_stretches(compaction->inputs[i], most, stretches + *count);
    qsort(stretches, *count, sizeof(*stretches), compare_stretches);
    return stretches;
}

/* Cuts where a stretch begins and the next share of the bytes lies before it. Not where a segment begins: those of
 * level 0 all begin alike, and one part would have nearly everything. */
static int cut_parts(struct compaction *compaction, size_t want)
{
    struct part *part = compaction->parts;
    uint64_t before = 0;
    uint64_t total = 0;
    size_t count;

    struct stretch *stretches = list_stretches(compaction, &count);
    if (stretches == NULL)
        return VARVE_ENOMEM;
    for (size_t i = 0; i < count; i++)
        total += stretches[i].bytes;
    uint64_t share = (total + want - 1) / want;
    for (size_t i = 0; i < count; i++) {
        size_t number = (size_t)(part - compaction->parts) + 1;
        int is_new = i > 0 && compare_stretches(&stretches[i - 1], &stretches[i]) != 0;
        if (is_new && number < want && before >= share * number) {
            part->upper = stretches[i].lower;
            part++;
            *part = (struct part){.compaction = compaction, .lower = stretches[i].lower};
        }
        before += MUTANT("parts-uneven") ? total : stretches[i].bytes;
    }
    compaction->part_count = (size_t)(part - compaction->parts) + 1;
    mem_free(stretches);
    return 0;
}

/* Each part into pieces of like size. Parts are not quite alike: a 32nd more, and an eighth of a piece, so that none
 * ends with a tiny segment. */
static void size_pieces(struct compaction *compaction)
{
    uint64_t share = compaction->input_bytes / compaction->part_count;
    uint64_t pieces = (share + compaction->output_segment_bytes / 2) /
                      compaction->output_segment_bytes;

    CHECK(pieces > 0); /* as make_parts() wants no more of them than there is for */
    compaction->output_segment_bytes = (share + share / 32 + share / pieces / 8) / pieces + 1;
}

static int make_parts(struct compaction *compaction, struct varve_err *err)
{
    uint64_t output_bytes = compaction->output_segment_bytes;
    uint64_t want = (compaction->input_bytes + output_bytes / 8) / output_bytes;

    if (compaction->cull)
        want = 1;
    if (want > compaction->config.parts_max)
        want = compaction->config.parts_max;
    if (want == 0)
        want = 1;
    compaction->parts = mem_alloc_zero((size_t)want * sizeof(*compaction->parts));
    if (compaction->parts == NULL)
        return no_memory(err);
    compaction->parts->compaction = compaction;
    compaction->part_count = 1;
    if (want == 1)
        return 0;
    if (cut_parts(compaction, (size_t)want) != 0)
        return no_memory(err);
    if (compaction->part_count > 1 && !MUTANT("parts-unsized"))
        size_pieces(compaction);
    return 0;
}

/* Of runs of level 0: where the segments of the level below begin, as flushes do it, so that pieces line up.
 * Other levels are cut by size alone: neighbours that were joined would be split, and joined, for ever. */
static void find_cuts(struct compaction *compaction)
{
    const struct version *version = compaction->version;

    if (compaction->output_level > 0)
        return;
    for (size_t i = 0; i < version->run_count; i++)
        if (version->runs[i].level > compaction->output_level) {
            compaction->cuts = version->runs[i].lowers;
            compaction->cut_count = version->runs[i].count;
            return;
        }
}

int compaction_create(const struct compaction_config *config, struct version *version,
                      const struct pick *pick, struct compaction **out, struct varve_err *err)
{
    struct compaction *compaction = mem_alloc_zero(sizeof(*compaction));
    int rc = VARVE_ENOMEM;

    CHECK(pick->kind == PICK_MERGE && pick->output_segment_bytes > 0);
    CHECK(!pick->cull || pick->input_count == 1);
    *out = NULL;
    if (compaction == NULL)
        return no_memory(err);
    compaction->config = *config;
    compaction->version = version_ref(version);
    compaction->output_level = pick->output_level;
    compaction->cull = pick->cull;
    compaction->output_segment_bytes = pick->output_segment_bytes;
    compaction->snapshots = mem_alloc((config->snapshot_count + 1) * sizeof(uint64_t));
    if (compaction->snapshots == NULL) {
        no_memory(err);
        goto out;
    }
    if (config->snapshot_count > 0)
        memcpy(compaction->snapshots, config->snapshots, config->snapshot_count * sizeof(uint64_t));
    find_cuts(compaction);
    rc = find_inputs(compaction, pick, err);
    if (rc == 0)
        rc = make_ranges(compaction, err);
    if (rc == 0)
        rc = make_parts(compaction, err);
    if (rc == 0) {
        find_culled_seq(compaction);
        find_older(compaction);
    }
out:
    if (rc != 0)
        compaction_destroy(compaction);
    else
        *out = compaction;
    return rc;
}

size_t compaction_part_count(const struct compaction *compaction)
{
    return compaction->part_count;
}

/* ---- a part's run ---- */

static int older_may_hold(void *arg, struct varve_slice key)
{
    const struct part *part = arg;
    const struct compaction *compaction = part->compaction;

    return compaction->any_older &&
           version_older_may_hold(compaction->version, compaction->newest_run,
                                  compaction->input_numbers, compaction->input_count, key,
                                  bloom_hash(key));
}

static void older_soon(void *arg, struct varve_slice key)
{
    const struct part *part = arg;
    const struct compaction *compaction = part->compaction;

    if (compaction->any_older)
        version_older_soon(compaction->version, compaction->newest_run, compaction->input_numbers,
                           compaction->input_count, key, bloom_hash(key));
}

static int older_filters_may_hold(void *arg, struct varve_slice key, struct bloom_hash hash)
{
    const struct compaction *compaction = arg;

    return version_older_may_hold(compaction->version, compaction->newest_run,
                                  compaction->input_numbers, compaction->input_count, key, hash);
}

static size_t find_group(void *arg, struct varve_slice key, uint64_t *ignore_seq)
{
    const struct part *part = arg;
    const struct compaction_config *config = &part->compaction->config;
    size_t len = config->count_group == NULL ? 0 : config->count_group(config->group_arg, key);

    *ignore_seq = 0;
    if (len == 0)
        return 0;
    const struct version_group *group = version_group(part->compaction->version,
                                                      varve_slice(key.data, len));
    if (group != NULL)
        *ignore_seq = group->ignore_seq;
    return len;
}

static int emit(void *arg, const struct entry *entry, struct varve_err *err)
{
    struct part *part = arg;

    return segment_set_add(part->set, entry, err);
}

static int copy(void *arg, const struct iter_block *block, struct varve_err *err)
{
    struct part *part = arg;

    return segment_set_copy(part->set, block, err);
}

static int took(void *arg, uint64_t entries)
{
    const struct part *part = arg;
    const struct compaction_config *config = &part->compaction->config;

    if (config->took != NULL)
        atomic_fetch_add_explicit(config->took, entries, memory_order_relaxed);
    return config->stop != NULL && atomic_load_explicit(config->stop, memory_order_relaxed) != 0;
}

static int in_part(const struct part *part, const struct segment *segment)
{
    const struct properties *properties = segment_properties(segment);

    return segment_below_upper(segment_bound_slice(&properties->lower), part->upper) &&
           segment_below_upper(part->lower, segment_bound_slice(&properties->upper));
}

/* Adds what the part reads of the run, if it is anything; NULL in *source: no memory. */
static size_t run_source(const struct part *part, const struct input_run *run, struct iter **source)
{
    const struct segment_read read = {.forward = 1};
    size_t from = 0;
    size_t to = run->count;

    while (from < to && !in_part(part, run->segments[from]))
        from++;
    while (to > from && !in_part(part, run->segments[to - 1]))
        to--;
    if (from == to)
        return 0;
    *source = run_iter_create(run->segments + from, to - from, &read, READAHEAD_BYTES);
    return 1;
}

/* All runs as one, at the part's first entry; NULL: no memory. */
static struct iter *part_input(const struct part *part)
{
    const struct compaction *compaction = part->compaction;
    struct iter **sources = mem_alloc(compaction->run_count * sizeof(struct iter *));
    size_t count = 0;

    if (sources == NULL)
        return NULL;
    for (size_t i = 0; i < compaction->run_count; i++)
        count += run_source(part, &compaction->runs[i], &sources[count]);
    struct iter *input = merge_iter_create(sources, count);
    mem_free(sources);
    if (input == NULL)
        return NULL;
    if (part->lower.len == 0)
        input->ops->first(input);
    else
        input->ops->seek(input, part->lower);
    return input;
}

static int part_open_set(struct part *part, struct varve_err *err)
{
    struct compaction *compaction = part->compaction;
    const struct compaction_config *config = &compaction->config;
    struct segment_set_config set_config = {
        .dir = config->dir,
        .cache = config->cache,
        .writer = config->writer,
        .segment_bytes = compaction->output_segment_bytes,
        .cuts = compaction->cuts,
        .cut_count = compaction->cut_count,
        .cut_min_bytes = compaction->output_segment_bytes / 2,
        .ranges = compaction->ranges,
        .range_count = compaction->range_count,
        .lower = part->lower,
        .upper = part->upper,
        .new_file_no = config->new_file_no,
        .file_no_arg = config->file_no_arg,
    };

    if (compaction->output_level < LEVELS_MAX - 1) {
        set_config.writer.older_may_hold = older_filters_may_hold;
        set_config.writer.older_arg = compaction;
    }
    return segment_set_create(&set_config, &part->set, err);
}

int compaction_part(struct compaction *compaction, size_t number, struct varve_err *err)
{
    CHECK(number < compaction->part_count);
    struct part *part = &compaction->parts[number];
    struct rewrite_rules rules;
    struct iter *input = NULL;
    int rc = part_open_set(part, err);

    if (rc != 0)
        goto out;
    base_rules(compaction, &rules);
    rules.older_may_hold = older_may_hold;
    rules.older_soon = older_soon;
    rules.newer_hides = compaction->cull ? newer_hides : NULL;
    rules.group = find_group;
    rules.emit = emit;
    rules.copy = compaction->cull ? NULL : copy;
    rules.took = took;
    rules.arg = part;
    input = part_input(part);
    if (input == NULL) {
        rc = no_memory(err);
        goto out;
    }
    rc = rewrite_run(&rules, input, part->upper, &part->changes, err);
    if (rc == 0)
        rc = segment_set_finish(part->set, &part->outputs, &part->output_count, err);
    for (size_t i = 0; rc == 0 && i < part->output_count; i++)
        segment_set_note(part->outputs[i], compaction->culled_seq);
    part->done = rc == 0;
out:
    iter_destroy(input);
    if (rc < 0)
        err_wrap(err, rc, "compaction into level %u", compaction->output_level);
    return rc;
}

/* ---- what came of it ---- */

/* What the parts made, as one. */
static int gather_parts(struct compaction *compaction)
{
    size_t count = 0;
    int rc = 0;

    for (size_t i = 0; i < compaction->part_count; i++) {
        CHECK(compaction->parts[i].done);
        count += compaction->parts[i].output_count;
    }
    struct segment **outputs = mem_alloc((count + 1) * sizeof(struct segment *));
    if (outputs == NULL)
        return VARVE_ENOMEM;
    count = 0;
    for (size_t i = 0; rc == 0 && i < compaction->part_count; i++) {
        const struct part *part = &compaction->parts[i];
        for (size_t j = 0; j < part->output_count; j++)
            outputs[count++] = part->outputs[j];
        rc = count_changes_merge(&compaction->changes, &part->changes);
    }
    if (rc != 0) {
        count_changes_deinit(&compaction->changes);
        mem_free(outputs);
        return rc;
    }
    compaction->outputs = outputs;
    compaction->output_count = count;
    return 0;
}

int compaction_result(struct compaction *compaction, struct compaction_result *result,
                      struct varve_err *err)
{
    *result = (struct compaction_result){0};
    /* An install that failed is tried again, and asks again. */
    if (compaction->outputs == NULL && gather_parts(compaction) != 0)
        return no_memory(err);
    *result = (struct compaction_result){
        .outputs = compaction->outputs,
        .output_count = compaction->output_count,
        .read_bytes = compaction->input_bytes,
        .changes = &compaction->changes,
    };
    for (size_t i = 0; i < compaction->part_count; i++) {
        result->written_bytes += segment_set_written_bytes(compaction->parts[i].set);
        result->copied_bytes += segment_set_copied_bytes(compaction->parts[i].set);
    }
    return 0;
}

void compaction_keep(struct compaction *compaction)
{
    for (size_t i = 0; i < compaction->part_count; i++)
        if (compaction->parts[i].set != NULL)
            segment_set_keep(compaction->parts[i].set);
}

void compaction_destroy(struct compaction *compaction)
{
    if (compaction == NULL)
        return;
    for (size_t i = 0; i < compaction->part_count; i++) {
        segment_set_destroy(compaction->parts[i].set);
        count_changes_deinit(&compaction->parts[i].changes);
    }
    count_changes_deinit(&compaction->changes);
    mem_free(compaction->parts);
    mem_free(compaction->outputs);
    mem_free(compaction->ranges);
    mem_free(compaction->runs);
    mem_free(compaction->inputs);
    mem_free(compaction->input_numbers);
    mem_free(compaction->snapshots);
    version_unref(compaction->version);
    mem_free(compaction);
}
