#include "lsm/compactor_view.h"

#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"

/* ---- the picture ---- */

/* The segment is covered for who sees all, and for each snapshot by what that one sees: where the newest
 * tombstones are too new for it, older ones may have to do. */
static uint64_t cover_seq(const struct version *version, const struct properties *properties,
                          const struct snapshot_list *snapshots, struct varve_slice lower,
                          struct varve_slice upper)
{
    uint64_t cover = range_set_cover(version->ranges, lower, upper, UINT64_MAX);

    if (cover <= properties->seq_max)
        return 0;
    for (size_t i = 0; i < snapshots->count; i++)
        if (snapshots->seqs[i] >= properties->seq_min &&
            range_set_cover(version->ranges, lower, upper, snapshots->seqs[i]) <=
                properties->seq_max &&
            !MUTANT("drop-under-snapshot"))
            return 0;
    return cover;
}

/* About how many of its bytes newer range tombstones hide from everybody, where they do not hide all. */
static uint64_t segment_covered_bytes(const struct version *version, const struct segment *segment,
                                      const struct snapshot_list *snapshots)
{
    const struct properties *properties = segment_properties(segment);
    struct varve_slice lower = segment_bound_slice(&properties->lower);
    struct varve_slice upper = segment_bound_slice(&properties->upper);
    uint64_t bytes = 0;

    if (!range_set_touches(version->ranges, lower, upper))
        return 0;
    for (size_t i = 0; i < segment_stretch_count(segment); i++) {
        uint64_t len = segment_stretch(segment, i, &lower, &upper);
        if (cover_seq(version, properties, snapshots, lower, upper) != 0)
            bytes += len;
    }
    return bytes;
}

/* A segment that goes because all of it expired takes its keys off the counts; that takes knowing how many
 * they are. */
static int segment_is_countable(const struct version *version, const struct properties *properties)
{
    if (properties->group_count > SEGMENT_GROUPS_MAX)
        return 0;
    for (uint32_t i = 0; i < properties->group_count; i++) {
        const struct segment_group *held = &properties->groups[i];
        const struct version_group *group = version_group(version,
                                                          varve_slice(held->name, held->name_len));
        if (group != NULL && group->ignore_seq >= properties->seq_min &&
            group->ignore_seq < properties->seq_max)
            return 0; /* some of its entries count, and some do not */
    }
    return 1;
}

static void picture_segment(struct picker_segment *to, const struct version *version,
                            const struct segment *segment, const struct snapshot_list *snapshots,
                            uint64_t expired_before_ms)
{
    const struct properties *properties = segment_properties(segment);

    /* Keys and values are counted before compression. */
    double share = properties->raw_bytes == 0
                       ? 0
                       : (double)segment_size_bytes(segment) / (double)properties->raw_bytes;
    uint64_t expired_bytes = properties_expired_bytes(properties, expired_before_ms);
    *to = (struct picker_segment){
        .file_no = segment_file_no(segment),
        .bytes = segment_size_bytes(segment),
        .lower = segment_bound_slice(&properties->lower),
        .upper = segment_bound_slice(&properties->upper),
        .seq_min = properties->seq_min,
        .seq_max = properties->seq_max,
        .entries = properties->entries + properties->ranges,
        .deletes = properties->entries - properties->puts + properties->ranges,
        .ranges = properties->ranges,
        .expired_bytes = (uint64_t)((double)expired_bytes * share),
        .superseded_bytes = (uint64_t)((double)properties->superseded_bytes * share),
        .hiding_bytes = properties->hiding_known
                            ? (uint64_t)((double)properties->hiding_bytes * share)
                            : segment_size_bytes(segment),
        .all_dead = properties_all_dead(properties, expired_before_ms) &&
                    segment_is_countable(version, properties),
        .cover_seq = cover_seq(version, properties, snapshots,
                               segment_bound_slice(&properties->lower),
                               segment_bound_slice(&properties->upper)),
        .covered_bytes = segment_covered_bytes(version, segment, snapshots),
        .culled_seq = segment_note(segment),
    };
}

int compactor_view_init(struct compactor_view *picture, const struct version *version,
                        const struct snapshot_list *snapshots, uint64_t expired_before_ms)
{
    size_t used = 0;

    *picture = (struct compactor_view){0};
    picture->segments = mem_alloc((version->segment_count + 1) * sizeof(*picture->segments));
    picture->runs = mem_alloc((version->run_count + 1) * sizeof(*picture->runs));
    if (picture->segments == NULL || picture->runs == NULL) {
        compactor_view_deinit(picture);
        return VARVE_ENOMEM;
    }
    for (size_t r = 0; r < version->run_count; r++) {
        const struct sorted_run *run = &version->runs[r];
        picture->runs[r] = (struct picker_run){.level = run->level,
                                               .no = run->no,
                                               .segments = picture->segments + used,
                                               .count = run->count};
        for (size_t i = 0; i < run->count; i++)
            picture_segment(&picture->segments[used++], version, run->segments[i], snapshots,
                            expired_before_ms);
    }
    picture->view.runs = picture->runs;
    picture->view.run_count = version->run_count;
    picture->view.oldest_snapshot_seq = snapshots->oldest_seq;
    return 0;
}

void compactor_view_deinit(struct compactor_view *picture)
{
    mem_free(picture->segments);
    mem_free(picture->runs);
    *picture = (struct compactor_view){0};
}

/* ---- the edit ---- */

static int find_segment(const struct version *version, uint64_t file_no, struct segment **segment)
{
    for (size_t r = 0; r < version->run_count; r++)
        for (size_t i = 0; i < version->runs[r].count; i++)
            if (segment_file_no(version->runs[r].segments[i]) == file_no) {
                *segment = version->runs[r].segments[i];
                return 1;
            }
    return 0;
}

static struct version_group *edit_group(struct compactor_edit *edit, const struct version *planned,
                                        const struct version *now, struct varve_slice name)
{
    const struct version_group *before = version_group(planned, name);
    const struct version_group *group = version_group(now, name);

    /* Its count was begun anew since: what was merged is older, and no part of it. */
    if (group == NULL || before == NULL || before->ignore_seq != group->ignore_seq)
        return NULL;
    for (size_t i = 0; i < edit->change.group_count; i++)
        if (edit->groups[i].name_len == name.len &&
            memcmp(edit->groups[i].name, name.data, name.len) == 0)
            return &edit->groups[i];
    edit->groups[edit->change.group_count] = *group;
    return &edit->groups[edit->change.group_count++];
}

static void edit_take_changes(struct compactor_edit *edit, const struct version *planned,
                              const struct version *now, const struct count_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct count_change *change = &changes->items[i];
        struct version_group *group = edit_group(edit, planned, now,
                                                 varve_slice(change->name, change->name_len));
        if (group != NULL)
            group->live += change->live;
    }
    edit->change.expiry_drops = changes->expiry_drops;
}

/* Of segments that go unread: those that a range tombstone covers count nothing any more, those that expired
 * take what they counted with them. */
static void edit_take_drops(struct compactor_edit *edit, const struct version *planned,
                            const struct version *now)
{
    for (size_t i = 0; i < edit->input_count; i++) {
        const struct properties *properties = segment_properties(edit->inputs[i]);
        for (uint32_t g = 0;
             properties->group_count <= SEGMENT_GROUPS_MAX && g < properties->group_count; g++) {
            const struct segment_group *held = &properties->groups[g];
            struct version_group *group = edit_group(edit, planned, now,
                                                     varve_slice(held->name, held->name_len));
            if (group == NULL || group->ignore_seq >= properties->seq_max)
                continue;
            group->live -= held->live;
            edit->change.expiry_drops = 1;
        }
    }
}

static size_t edit_groups_max(const struct compactor_edit *edit, const struct pick *pick,
                              const struct compaction_result *result)
{
    size_t count = result->changes == NULL ? 0 : result->changes->count;

    for (size_t i = 0; pick->kind == PICK_DROP && i < edit->input_count; i++)
        count += segment_properties(edit->inputs[i])->group_count;
    return count;
}

static void edit_fill(struct compactor_edit *edit, const struct pick *pick,
                      const struct compaction_result *result)
{
    size_t added = 0;

    for (size_t i = 0; i < edit->input_count; i++)
        edit->edits[edit->edit_count++] = (struct manifest_edit){.change = MANIFEST_DROP_SEGMENT,
                                                                 .file_no = pick->inputs[i]};
    for (size_t i = 0; i < result->output_count; i++)
        edit->added[added++] = (struct version_add){.segment = result->outputs[i]};
    for (size_t i = 0; edit->keep_inputs && i < edit->input_count; i++)
        edit->added[added++] = (struct version_add){.segment = edit->inputs[i]};
    for (size_t i = 0; i < added; i++) {
        struct segment *segment = edit->added[i].segment;
        edit->added[i].level = pick->output_level;
        edit->added[i].run_no = pick->output_level == 0 ? pick->output_run_no : 0;
        edit->edits[edit->edit_count++] = (struct manifest_edit){
            .change = MANIFEST_ADD_SEGMENT,
            .file_no = segment_file_no(segment),
            .level = edit->added[i].level,
            .run_no = edit->added[i].run_no,
            .size_bytes = segment_size_bytes(segment),
        };
    }
    for (size_t i = 0; i < edit->change.group_count; i++)
        edit->edits[edit->edit_count++] = (struct manifest_edit){.change = MANIFEST_GROUP,
                                                                 .group = &edit->groups[i]};
    edit->change.dropped = pick->inputs;
    edit->change.dropped_count = edit->input_count;
    edit->change.added = edit->added;
    edit->change.added_count = added;
    edit->change.groups = edit->groups;
}

int compactor_edit_init(struct compactor_edit *edit, const struct pick *pick,
                        const struct version *planned, const struct version *now,
                        const struct compaction_result *result)
{
    size_t inputs = pick->input_count;

    *edit = (struct compactor_edit){.input_count = inputs, .keep_inputs = pick->kind == PICK_MOVE};
    edit->inputs = mem_alloc((inputs + 1) * sizeof(struct segment *));
    if (edit->inputs == NULL)
        return VARVE_ENOMEM;
    for (size_t i = 0; i < inputs; i++)
        CHECK(find_segment(planned, pick->inputs[i], &edit->inputs[i]));
    size_t groups = edit_groups_max(edit, pick, result);
    size_t outputs = result->output_count + inputs;
    edit->added = mem_alloc((outputs + 1) * sizeof(*edit->added));
    edit->groups = mem_alloc((groups + 1) * sizeof(*edit->groups));
    edit->edits = mem_alloc((inputs + outputs + groups + 1) * sizeof(*edit->edits));
    if (edit->added == NULL || edit->groups == NULL || edit->edits == NULL) {
        compactor_edit_deinit(edit);
        return VARVE_ENOMEM;
    }
    if (result->changes != NULL)
        edit_take_changes(edit, planned, now, result->changes);
    if (pick->kind == PICK_DROP)
        edit_take_drops(edit, planned, now);
    edit_fill(edit, pick, result);
    return 0;
}

void compactor_edit_mark_dead(const struct compactor_edit *edit)
{
    for (size_t i = 0; !edit->keep_inputs && i < edit->input_count; i++)
        segment_mark_dead(edit->inputs[i]);
}

void compactor_edit_deinit(struct compactor_edit *edit)
{
    mem_free(edit->inputs);
    mem_free(edit->added);
    mem_free(edit->groups);
    mem_free(edit->edits);
    *edit = (struct compactor_edit){0};
}
