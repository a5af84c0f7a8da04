/* Arrays in order, found by bisection. What an edit drops is only marked, and taken out when the edit
 * ends: an edit of thousands of drops moves the array once, and one that drops a segment and adds it
 * again (a move to another level) changes it in place. */
#include "lsm/manifest_state.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "lsm/names.h"

enum edit_tag {
    TAG_NEXT_FILE = 1,
    TAG_CLOCK = 2,
    TAG_ADD_WAL = 3,
    TAG_END_WAL = 4,
    TAG_DROP_WAL = 5,
    TAG_ADD_SEGMENT = 6,
    TAG_DROP_SEGMENT = 7,
    TAG_FLUSHED = 8,
    TAG_GROUP = 9,
};

#define GROUP_UNKNOWN 1u
#define GROUP_FORGET 2u

#define FIELDS_MAX 4
#define SEGMENT_SIZE_LIMIT ((uint64_t)1 << 48) /* sums of all live ones stay below 2^63 */
#define LEVEL_DROPPED UINT32_MAX               /* a mark, while an edit is applied */

/* ---- arrays ---- */

/* The first of `count` files whose number is not below file_no. */
static size_t find_wal(const struct manifest_state *state, uint64_t file_no)
{
    size_t from = 0;
    size_t to = state->wal_count;

    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (state->wals[mid].file_no < file_no)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static size_t find_segment(const struct manifest_state *state, uint64_t file_no)
{
    size_t from = 0;
    size_t to = state->segment_count;

    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (state->segments[mid].file_no < file_no)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static int group_compare(const struct version_group *a, const struct version_group *b)
{
    return varve_slice_compare(varve_slice(a->name, a->name_len),
                               varve_slice(b->name, b->name_len));
}

static size_t find_group(const struct manifest_state *state, const struct version_group *group)
{
    size_t from = 0;
    size_t to = state->group_count;

    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (group_compare(&state->groups[mid], group) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* Room for one more; NULL: no memory, and the array stays. */
static void *grow(void *array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return array;
    size_t more = *cap == 0 ? 8 : *cap * 2;
    void *grown = mem_realloc(array, more * size);
    if (grown != NULL)
        *cap = more;
    return grown;
}

/* ---- one change ---- */

static int wal_is_there(const struct manifest_state *state, uint64_t file_no)
{
    size_t at = find_wal(state, file_no);

    return at < state->wal_count && state->wals[at].file_no == file_no;
}

static int segment_is_there(const struct manifest_state *state, uint64_t file_no)
{
    size_t at = find_segment(state, file_no);

    return at < state->segment_count && state->segments[at].file_no == file_no;
}

static int add_wal(struct manifest_state *state, uint64_t file_no)
{
    size_t at = find_wal(state, file_no);

    if (file_no == 0 || wal_is_there(state, file_no) || segment_is_there(state, file_no) ||
        state->wal_count == MANIFEST_WALS_MAX)
        return VARVE_EINVAL;
    struct manifest_wal *wals = grow(state->wals, state->wal_count, &state->wal_cap, sizeof(*wals));
    if (wals == NULL)
        return VARVE_ENOMEM;
    state->wals = wals;
    memmove(wals + at + 1, wals + at, (state->wal_count - at) * sizeof(*wals));
    wals[at] = (struct manifest_wal){.file_no = file_no};
    state->wal_count++;
    return 0;
}

static int change_wal(struct manifest_state *state, const struct manifest_edit *edit)
{
    size_t at = find_wal(state, edit->file_no);

    if (!wal_is_there(state, edit->file_no))
        return VARVE_EINVAL;
    if (edit->change == MANIFEST_END_WAL) {
        state->wals[at].end = edit->end;
        return 0;
    }
    state->wal_count--;
    memmove(state->wals + at, state->wals + at + 1, (state->wal_count - at) * sizeof(*state->wals));
    return 0;
}

static int add_segment(struct manifest_state *state, const struct manifest_edit *edit)
{
    struct manifest_segment segment = {.file_no = edit->file_no,
                                       .level = edit->level,
                                       .run_no = edit->run_no,
                                       .size_bytes = edit->size_bytes};
    size_t at = find_segment(state, edit->file_no);
    int found = segment_is_there(state, edit->file_no);

    if (edit->file_no == 0 || edit->level >= LEVELS_MAX || edit->run_no >= FILE_NO_LIMIT ||
        (edit->level > 0 && edit->run_no != 0) || edit->size_bytes >= SEGMENT_SIZE_LIMIT ||
        wal_is_there(state, edit->file_no))
        return VARVE_EINVAL;
    if (found && state->segments[at].level != LEVEL_DROPPED)
        return VARVE_EINVAL;
    if (found) {
        if (!MUTANT("move-forgets-level"))
            state->segments[at] = segment;
        return 0;
    }
    if (state->segment_count == (size_t)2 * MANIFEST_SEGMENTS_MAX) /* with those that it drops */
        return VARVE_EINVAL;
    struct manifest_segment *segments = grow(state->segments, state->segment_count,
                                             &state->segment_cap, sizeof(*segments));
    if (segments == NULL)
        return VARVE_ENOMEM;
    state->segments = segments;
    memmove(segments + at + 1, segments + at, (state->segment_count - at) * sizeof(*segments));
    segments[at] = segment;
    state->segment_count++;
    return 0;
}

static int drop_segment(struct manifest_state *state, uint64_t file_no)
{
    size_t at = find_segment(state, file_no);

    if (!segment_is_there(state, file_no) || state->segments[at].level == LEVEL_DROPPED)
        return VARVE_EINVAL;
    state->segments[at].level = LEVEL_DROPPED;
    return 0;
}

static int group_forgotten(const struct version_group *group)
{
    return group->live == 0 && group->ignore_seq == UINT64_MAX;
}

/* To forget a group that is not there is no mistake: who counts does not know what was written. */
static int set_group(struct manifest_state *state, const struct version_group *group)
{
    if (group == NULL || group->name_len == 0 || group->name_len > VARVE_GROUP_MAX_BYTES)
        return VARVE_EINVAL;
    size_t at = find_group(state, group);
    if (at < state->group_count && group_compare(&state->groups[at], group) == 0) {
        state->groups[at] = *group;
        return 0;
    }
    if (group_forgotten(group))
        return 0;
    if (state->group_count == (size_t)2 * MANIFEST_GROUPS_MAX) /* with those that it forgets */
        return VARVE_EINVAL;
    struct version_group *groups = grow(state->groups, state->group_count, &state->group_cap,
                                        sizeof(*groups));
    if (groups == NULL)
        return VARVE_ENOMEM;
    state->groups = groups;
    memmove(groups + at + 1, groups + at, (state->group_count - at) * sizeof(*groups));
    groups[at] = *group;
    state->group_count++;
    return 0;
}

static int state_change(struct manifest_state *state, const struct manifest_edit *edit)
{
    switch (edit->change) {
    case MANIFEST_ADD_WAL: return add_wal(state, edit->file_no);
    case MANIFEST_END_WAL:
    case MANIFEST_DROP_WAL: return change_wal(state, edit);
    case MANIFEST_ADD_SEGMENT: return add_segment(state, edit);
    case MANIFEST_DROP_SEGMENT: return drop_segment(state, edit->file_no);
    case MANIFEST_FLUSHED:
        if (edit->flushed_seq < state->flushed_seq)
            return VARVE_EINVAL;
        state->flushed_seq = edit->flushed_seq;
        return 0;
    case MANIFEST_GROUP: return set_group(state, edit->group);
    }
    return VARVE_EINVAL;
}

/* The end of an edit: takes out what it dropped. */
static int state_settle(struct manifest_state *state)
{
    size_t kept = 0;

    for (size_t i = 0; i < state->segment_count; i++)
        if (state->segments[i].level != LEVEL_DROPPED)
            state->segments[kept++] = state->segments[i];
    state->segment_count = kept;
    kept = 0;
    for (size_t i = 0; i < state->group_count; i++)
        if (!group_forgotten(&state->groups[i]))
            state->groups[kept++] = state->groups[i];
    state->group_count = kept;
    return state->segment_count > MANIFEST_SEGMENTS_MAX || state->group_count > MANIFEST_GROUPS_MAX
               ? VARVE_EINVAL
               : 0;
}

/* ---- the state ---- */

void manifest_state_deinit(struct manifest_state *state)
{
    mem_free(state->wals);
    mem_free(state->segments);
    mem_free(state->groups);
    *state = (struct manifest_state){0};
}

/* *to: NULL if there is nothing to copy. */
static int copy_array(void **to, const void *from, size_t count, size_t size)
{
    *to = NULL;
    if (count == 0)
        return 0;
    *to = mem_alloc(count * size);
    if (*to == NULL)
        return VARVE_ENOMEM;
    memcpy(*to, from, count * size);
    return 0;
}

static int state_copy(const struct manifest_state *state, struct manifest_state *copy)
{
    void *wals = NULL;
    void *segments = NULL;
    void *groups = NULL;
    int rc = copy_array(&wals, state->wals, state->wal_count, sizeof(*state->wals));

    if (rc == 0)
        rc = copy_array(&segments, state->segments, state->segment_count, sizeof(*state->segments));
    if (rc == 0)
        rc = copy_array(&groups, state->groups, state->group_count, sizeof(*state->groups));
    *copy = *state;
    copy->wals = wals;
    copy->wal_cap = state->wal_count;
    copy->segments = segments;
    copy->segment_cap = state->segment_count;
    copy->groups = groups;
    copy->group_cap = state->group_count;
    return rc;
}

int manifest_state_with(const struct manifest_state *state, const struct manifest_edit *edits,
                        size_t count, struct manifest_state *copy)
{
    int rc = state_copy(state, copy);

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = state_change(copy, &edits[i]);
    if (rc == 0)
        rc = state_settle(copy);
    if (rc != 0)
        manifest_state_deinit(copy);
    return rc;
}

/* ---- to bytes ---- */

static int put_fields(struct buf *to, uint8_t tag, const uint64_t *fields, size_t count)
{
    uint8_t bytes[1 + FIELDS_MAX * VARINT_MAX_BYTES] = {tag};
    size_t n = 1;

    for (size_t i = 0; i < count; i++)
        n += put_varint(bytes + n, fields[i]);
    return buf_append(to, bytes, n);
}

static int put_field(struct buf *to, uint8_t tag, uint64_t field)
{
    return put_fields(to, tag, &field, 1);
}

static int put_segment(struct buf *to, uint64_t file_no, uint32_t level, uint64_t run_no,
                       uint64_t size_bytes)
{
    uint64_t fields[] = {file_no, level, run_no, size_bytes};

    return put_fields(to, TAG_ADD_SEGMENT, fields, 4);
}

static int put_group(struct buf *to, const struct version_group *group)
{
    uint64_t zigzag = ((uint64_t)group->live << 1) ^ (group->live < 0 ? UINT64_MAX : 0);
    uint64_t fields[] = {group->unknown ? GROUP_UNKNOWN : 0, zigzag, group->ignore_seq,
                         group->name_len};

    if (group_forgotten(group)) {
        fields[0] = GROUP_FORGET;
        fields[2] = 0;
    }
    int rc = put_fields(to, TAG_GROUP, fields, 4);
    return rc != 0 ? rc : buf_append(to, group->name, group->name_len);
}

static int put_change(struct buf *to, const struct manifest_edit *edit)
{
    uint64_t end[] = {edit->file_no, edit->end};

    switch (edit->change) {
    case MANIFEST_ADD_WAL: return put_field(to, TAG_ADD_WAL, edit->file_no);
    case MANIFEST_END_WAL: return put_fields(to, TAG_END_WAL, end, 2);
    case MANIFEST_DROP_WAL: return put_field(to, TAG_DROP_WAL, edit->file_no);
    case MANIFEST_ADD_SEGMENT:
        return put_segment(to, edit->file_no, edit->level, edit->run_no, edit->size_bytes);
    case MANIFEST_DROP_SEGMENT: return put_field(to, TAG_DROP_SEGMENT, edit->file_no);
    case MANIFEST_FLUSHED: return put_field(to, TAG_FLUSHED, edit->flushed_seq);
    case MANIFEST_GROUP: return put_group(to, edit->group);
    }
    return VARVE_EINVAL;
}

int manifest_put_edits(struct buf *to, const struct manifest_state *state,
                       const struct manifest_edit *edits, size_t count)
{
    int rc = put_field(to, TAG_NEXT_FILE, state->next_file_no);

    if (rc == 0)
        rc = put_field(to, TAG_CLOCK, state->clock_ms);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = put_change(to, &edits[i]);
    return rc;
}

int manifest_put_state(struct buf *to, const struct manifest_state *state)
{
    int rc = manifest_put_edits(to, state, NULL, 0);

    for (size_t i = 0; rc == 0 && i < state->wal_count; i++) {
        uint64_t fields[] = {state->wals[i].file_no, state->wals[i].end};
        rc = put_field(to, TAG_ADD_WAL, fields[0]);
        if (rc == 0 && fields[1] != 0)
            rc = put_fields(to, TAG_END_WAL, fields, 2);
    }
    for (size_t i = 0; rc == 0 && i < state->segment_count; i++) {
        const struct manifest_segment *segment = &state->segments[i];
        rc = put_segment(to, segment->file_no, segment->level, segment->run_no,
                         segment->size_bytes);
    }
    if (rc == 0 && state->flushed_seq != 0 && !MUTANT("renew-forgets-flushed"))
        rc = put_field(to, TAG_FLUSHED, state->flushed_seq);
    for (size_t i = 0; rc == 0 && i < state->group_count; i++)
        rc = put_group(to, &state->groups[i]);
    return rc;
}

/* ---- from bytes ---- */

/* How many varints follow a tag; 0: there is no such tag. */
static size_t field_count(uint8_t tag)
{
    static const uint8_t counts[] = {0, 1, 1, 1, 2, 1, 4, 1, 1, 4};

    return tag < sizeof(counts) ? counts[tag] : 0;
}

/* Group from its fields and [*at, end), which the name begins. */
static int get_group(const uint64_t fields[FIELDS_MAX], const uint8_t **at, const uint8_t *end,
                     struct version_group *group)
{
    if (fields[0] > GROUP_FORGET || fields[3] == 0 || fields[3] > VARVE_GROUP_MAX_BYTES ||
        fields[3] > (size_t)(end - *at))
        return VARVE_ECORRUPT;
    *group = (struct version_group){
        .unknown = fields[0] == GROUP_UNKNOWN,
        .live = (int64_t)((fields[1] >> 1) ^ (fields[1] & 1 ? UINT64_MAX : 0)),
        .ignore_seq = fields[2],
        .name_len = (uint8_t)fields[3],
    };
    memcpy(group->name, *at, group->name_len);
    *at += group->name_len;
    if (fields[0] != GROUP_FORGET)
        return group_forgotten(group) ? VARVE_ECORRUPT : 0;
    group->ignore_seq = UINT64_MAX;
    return fields[1] != 0 || fields[2] != 0 ? VARVE_ECORRUPT : 0;
}

static int apply_fields(struct manifest_state *state, uint8_t tag,
                        const uint64_t fields[FIELDS_MAX], const struct version_group *group)
{
    struct manifest_edit edit = {.file_no = fields[0]};

    switch (tag) {
    case TAG_NEXT_FILE: state->next_file_no = fields[0]; return 0;
    case TAG_CLOCK: state->clock_ms = fields[0]; return 0;
    case TAG_ADD_WAL: edit.change = MANIFEST_ADD_WAL; break;
    case TAG_END_WAL:
        edit.change = MANIFEST_END_WAL;
        edit.end = fields[1];
        break;
    case TAG_DROP_WAL: edit.change = MANIFEST_DROP_WAL; break;
    case TAG_ADD_SEGMENT:
        if (fields[1] >= LEVELS_MAX)
            return VARVE_EINVAL;
        edit.change = MANIFEST_ADD_SEGMENT;
        edit.level = (uint32_t)fields[1];
        edit.run_no = fields[2];
        edit.size_bytes = fields[3];
        break;
    case TAG_DROP_SEGMENT: edit.change = MANIFEST_DROP_SEGMENT; break;
    case TAG_FLUSHED:
        edit.change = MANIFEST_FLUSHED;
        edit.flushed_seq = fields[0];
        break;
    default:
        edit.change = MANIFEST_GROUP;
        edit.group = group;
        break;
    }
    return state_change(state, &edit);
}

int manifest_get_edit(struct manifest_state *state, struct varve_slice payload)
{
    const uint8_t *at = payload.data;
    const uint8_t *end = at + payload.len;
    int rc = 0;

    while (rc == 0 && at < end) {
        uint8_t tag = *at++;
        uint64_t fields[FIELDS_MAX] = {0};
        struct version_group group = {.name_len = 0};
        size_t wanted = field_count(tag);
        if (wanted == 0)
            return VARVE_ECORRUPT;
        for (size_t i = 0; i < wanted; i++) {
            size_t n = get_varint(at, end, &fields[i]);
            if (n == 0)
                return VARVE_ECORRUPT;
            at += n;
        }
        if (tag != TAG_CLOCK && tag != TAG_FLUSHED && tag != TAG_GROUP &&
            fields[0] >= FILE_NO_LIMIT)
            return VARVE_ECORRUPT;
        if (tag == TAG_GROUP)
            rc = get_group(fields, &at, end, &group);
        if (rc == 0)
            rc = apply_fields(state, tag, fields, &group);
    }
    if (rc == 0)
        rc = state_settle(state);
    return rc == VARVE_EINVAL ? VARVE_ECORRUPT : rc;
}
