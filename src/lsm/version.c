/* A version is made from the one before by listing all segments that stay or come, sorting them into
 * runs, and checking that no two of a run overlap. That is a pass over all of them, a few thousand, for
 * each flush; what is large (segments, the set of range tombstones) is shared by reference.
 *
 * Reading relies on the order of runs: for one key, a run's word is newer than that of any run behind it.
 * So the first run with an answer decides; with a snapshot's seq_max a newer run may know only later
 * versions, and then the next one is asked. */
#include "lsm/version.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/thread.h"
#include "segment/key_slice.h"

/* ---- searching a run ---- */

/* How many of the ascending slices are smaller. No branch depends on the key. */
static size_t smaller_slices(const uint64_t *slices, size_t count, uint64_t than)
{
    const uint64_t *from = slices;

    while (count > 1) {
        size_t half = count / 2;
        from += from[half - 1] < than ? half : 0;
        count -= half;
    }
    return (size_t)(from - slices) + (count == 1 && *from < than);
}

/* Does key begin with what all lower bounds do? */
static inline int run_shares(const struct sorted_run *run, struct varve_slice key)
{
    if (UNLIKELY(run->shared_len > sizeof(run->shared)))
        return key.len >= run->shared_len &&
               memcmp(key.data, run->lowers[0].data, run->shared_len) == 0;
    return key.len >= run->shared_len &&
           ((key_slice_at(key, 0) ^ run->shared) & run->shared_mask) == 0;
}

/* The first segment whose lower bound is >= key (> key with `behind`); the key shares, its slice is given. */
static inline size_t lower_from_slice(const struct sorted_run *run, struct varve_slice key,
                                      uint64_t slice, int behind)
{
    size_t from = smaller_slices(run->slices, run->count, slice);
    size_t to = from;

    if (UNLIKELY(from < run->count && run->slices[from] == slice))
        to = slice == UINT64_MAX ? run->count : smaller_slices(run->slices, run->count, slice + 1);
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int order = varve_slice_compare(run->lowers[mid], key);
        if (order < 0 || (order == 0 && behind))
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* The same for any key. One that does not share lies before all bounds, or behind them. */
static size_t run_lower_from(const struct sorted_run *run, struct varve_slice key, int behind)
{
    if (LIKELY(run_shares(run, key)))
        return lower_from_slice(run, key, key_slice_at(key, run->shared_len), behind);
    return varve_slice_compare(key, run->lowers[0]) < 0 ? 0 : run->count;
}

static int key_below_upper(struct varve_slice key, struct varve_slice upper)
{
    if (MUTANT("upper-bound-inclusive") && varve_slice_equal(key, upper))
        return 1;
    return segment_below_upper(key, upper);
}

static COLD int64_t run_find_stranger(const struct sorted_run *run, struct varve_slice key)
{
    size_t behind = run_lower_from(run, key, 1);

    if (behind == 0 || !key_below_upper(key, run->uppers[behind - 1]))
        return -1;
    return (int64_t)behind - 1;
}

int64_t run_find(const struct sorted_run *run, struct varve_slice key)
{
    if (UNLIKELY(!run_shares(run, key)))
        return run_find_stranger(run, key);
    uint64_t slice = key_slice_at(key, run->shared_len);
    size_t behind = lower_from_slice(run, key, slice, 1);
    if (behind == 0)
        return -1;
    uint64_t upper_slice = run->upper_slices[behind - 1];
    int below = LIKELY(slice != upper_slice || MUTANT("upper-by-slice"))
                    ? slice < upper_slice
                    : key_below_upper(key, run->uppers[behind - 1]);
    return below ? (int64_t)behind - 1 : -1;
}

void run_overlap(const struct sorted_run *run, struct varve_slice lower, struct varve_slice upper,
                 size_t *from, size_t *to)
{
    size_t behind = run_lower_from(run, lower, 1);

    if (behind > 0 && key_below_upper(lower, run->uppers[behind - 1]))
        behind--;
    *from = behind;
    *to = upper.len == 0 ? run->count : run_lower_from(run, upper, 0);
    if (*to < *from)
        *to = *from;
}

/* ---- making and freeing ---- */

struct version *version_create(void)
{
    struct version *version = mem_alloc_zero(sizeof(*version));

    if (version != NULL)
        atomic_init(&version->refs, 1);
    return version;
}

struct version *version_ref(struct version *version)
{
    atomic_fetch_add_explicit(&version->refs, 1, memory_order_relaxed);
    return version;
}

static void run_deinit(struct sorted_run *run)
{
    for (size_t i = 0; i < run->count; i++)
        segment_unref(run->segments[i]);
    mem_free(run->segments);
    mem_free(run->slices);
    mem_free(run->upper_slices);
    mem_free(run->lowers);
    mem_free(run->uppers);
}

void version_unref(struct version *version)
{
    if (version == NULL || atomic_fetch_sub_explicit(&version->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < version->run_count; i++)
        run_deinit(&version->runs[i]);
    mem_free(version->runs);
    range_set_unref(version->ranges);
    mem_free(version->groups);
    mem_free(version);
}

/* ---- the segments of the version to come ---- */

struct member {
    struct segment *segment; /* borrowed */
    uint64_t file_no;
    uint32_t level;
    uint64_t run_no;
    struct varve_slice lower;
};

static int compare_numbers(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;

    return (*a > *b) - (*a < *b);
}

/* Newest run first, and then by key. */
static int compare_members(const void *left, const void *right)
{
    const struct member *a = left;
    const struct member *b = right;

    if (a->level != b->level)
        return a->level < b->level ? -1 : 1;
    if (a->run_no != b->run_no)
        return (a->run_no > b->run_no) != MUTANT("oldest-run-first") ? -1 : 1;
    return varve_slice_compare(a->lower, b->lower);
}

static int holds_number(const uint64_t *ascending, size_t count, uint64_t number)
{
    return count > 0 && bsearch(&number, ascending, count, sizeof(number), compare_numbers) != NULL;
}

static struct member member_of(struct segment *segment, uint32_t level, uint64_t run_no)
{
    return (struct member){
        .segment = segment,
        .file_no = segment_file_no(segment),
        .level = level,
        .run_no = run_no,
        .lower = segment_bound_slice(&segment_properties(segment)->lower),
    };
}

static int version_has(const struct version *version, uint64_t file_no)
{
    for (size_t i = 0; i < version->run_count; i++)
        for (size_t j = 0; j < version->runs[i].count; j++)
            if (segment_file_no(version->runs[i].segments[j]) == file_no)
                return 1;
    return 0;
}

/* What stays of `before`; `dropped` is ascending. Every number of it must be met once. */
static int list_kept(const struct version *before, const uint64_t *dropped, size_t dropped_count,
                     struct member *members, size_t *count, struct varve_err *err)
{
    for (size_t i = 0; i < before->run_count; i++) {
        const struct sorted_run *run = &before->runs[i];
        for (size_t j = 0; j < run->count; j++)
            if (!holds_number(dropped, dropped_count, segment_file_no(run->segments[j])))
                members[(*count)++] = member_of(run->segments[j], run->level, run->no);
    }
    if (before->segment_count - *count == dropped_count)
        return 0;
    /* unreached: the counts differ, so that one of them is there twice or not at all */
    for (size_t i = 0; i < dropped_count; i++)
        if ((i > 0 && dropped[i] == dropped[i - 1]) || !version_has(before, dropped[i]))
            return err_set(err, VARVE_ECORRUPT, "segment %06" PRIu64 " is dropped, but not there",
                           dropped[i]);
    return 0;
}

/* No number twice, no level that there is not. `numbers` is scratch for count of them. */
static int check_members(const struct member *members, size_t count, uint64_t *numbers,
                         struct varve_err *err)
{
    for (size_t i = 0; i < count; i++) {
        numbers[i] = members[i].file_no;
        if (members[i].level >= LEVELS_MAX || (members[i].level > 0 && members[i].run_no != 0))
            return err_set(err, VARVE_ECORRUPT,
                           "segment %06" PRIu64 " is in run %" PRIu64 " of level %u",
                           members[i].file_no, members[i].run_no, members[i].level);
    }
    qsort(numbers, count, sizeof(*numbers), compare_numbers);
    for (size_t i = 1; i < count; i++)
        if (numbers[i] == numbers[i - 1])
            return err_set(err, VARVE_ECORRUPT, "segment %06" PRIu64 " is there twice", numbers[i]);
    return 0;
}

/* All members of the version to come, in the order of runs and keys; the caller's to free. *count is
 * above 0 only if *out is not NULL. */
static int list_members(const struct version *before, const struct version_change *change,
                        struct member **out, size_t *count, struct varve_err *err)
{
    size_t cap = before->segment_count + change->added_count;
    size_t numbers_cap = cap > change->dropped_count ? cap : change->dropped_count;
    struct member *members = mem_alloc((cap + 1) * sizeof(*members));
    uint64_t *numbers = mem_alloc((numbers_cap + 1) * sizeof(*numbers));
    int rc = VARVE_ENOMEM;

    *count = 0;
    if (members == NULL || numbers == NULL) {
        err_set(err, rc, "version: no memory");
        goto out;
    }
    if (change->dropped_count > 0) {
        memcpy(numbers, change->dropped, change->dropped_count * sizeof(*numbers));
        qsort(numbers, change->dropped_count, sizeof(*numbers), compare_numbers);
    }
    rc = list_kept(before, numbers, change->dropped_count, members, count, err);
    if (rc != 0)
        goto out;
    for (size_t i = 0; i < change->added_count; i++) {
        const struct version_add *add = &change->added[i];
        members[(*count)++] = member_of(add->segment, add->level, add->run_no);
    }
    rc = check_members(members, *count, numbers, err);
    qsort(members, *count, sizeof(*members), compare_members);
out:
    mem_free(numbers);
    if (rc != 0) {
        mem_free(members);
        members = NULL;
        *count = 0;
    }
    *out = members;
    return rc;
}

/* ---- runs ---- */

/* The end of the run that begins at `from`. */
static size_t run_end(const struct member *members, size_t count, size_t from)
{
    size_t to = from + 1;

    while (to < count && members[to].level == members[from].level &&
           members[to].run_no == members[from].run_no)
        to++;
    return to;
}

static int run_check(const struct sorted_run *run, struct varve_err *err)
{
    for (size_t i = 0; i + 1 < run->count; i++)
        if (segment_below_upper(run->lowers[i + 1], run->uppers[i]))
            return err_set(err, VARVE_ECORRUPT,
                           "segments %06" PRIu64 " and %06" PRIu64 " of level %u, run %" PRIu64
                           " overlap",
                           segment_file_no(run->segments[i]), segment_file_no(run->segments[i + 1]),
                           run->level, run->no);
    return 0;
}

/* What the first bound and the last share, all keys between them do. Without a last one there is what the lower
 * bounds share, and an end that does not is behind all keys that do. */
static void run_slice(struct sorted_run *run)
{
    struct varve_slice first = run->lowers[0];
    struct varve_slice last = run->uppers[run->count - 1];
    size_t shared = key_common_bytes(first, last.len > 0 ? last : run->lowers[run->count - 1]);

    run->shared_len = shared;
    run->shared = key_slice_at(first, 0);
    run->shared_mask = shared == 0 ? 0 : UINT64_MAX << (64 - 8 * (shared < 8 ? shared : 8));
    for (size_t i = 0; i < run->count; i++) {
        struct varve_slice upper = run->uppers[i];
        run->slices[i] = key_slice_at(run->lowers[i], shared);
        run->upper_slices[i] = upper.len > 0 ? key_slice_at(upper, shared) : UINT64_MAX;
    }
}

/* On error nothing is held. */
static int run_init(struct sorted_run *run, const struct member *members, size_t count,
                    struct varve_err *err)
{
    *run = (struct sorted_run){.level = members[0].level, .no = members[0].run_no};
    run->segments = mem_alloc(count * sizeof(*run->segments));
    run->slices = mem_alloc(count * sizeof(*run->slices));
    run->upper_slices = mem_alloc(count * sizeof(*run->upper_slices));
    run->lowers = mem_alloc(count * sizeof(*run->lowers));
    run->uppers = mem_alloc(count * sizeof(*run->uppers));
    int rc = VARVE_ENOMEM;
    if (run->segments == NULL || run->slices == NULL || run->upper_slices == NULL ||
        run->lowers == NULL || run->uppers == NULL) {
        err_set(err, rc, "version: no memory");
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        struct segment *segment = members[i].segment;
        run->segments[i] = segment_ref(segment);
        run->lowers[i] = members[i].lower;
        run->uppers[i] = segment_bound_slice(&segment_properties(segment)->upper);
        run->bytes += segment_size_bytes(segment);
        run->count++;
    }
    run_slice(run);
    rc = run_check(run, err);
out:
    if (rc != 0)
        run_deinit(run);
    return rc;
}

static int make_runs(struct version *version, const struct member *members, size_t count,
                     struct varve_err *err)
{
    size_t runs = 0;

    for (size_t at = 0; at < count; at = run_end(members, count, at))
        runs++;
    if (runs == 0)
        return 0;
    version->runs = mem_alloc(runs * sizeof(*version->runs));
    if (version->runs == NULL)
        return err_set(err, VARVE_ENOMEM, "version: no memory");
    for (size_t at = 0; at < count;) {
        struct sorted_run *run = &version->runs[version->run_count];
        size_t end = run_end(members, count, at);
        int rc = run_init(run, members + at, end - at, err);
        if (rc != 0)
            return rc;
        version->run_count++;
        version->segment_count += run->count;
        version->bytes += run->bytes;
        at = end;
    }
    return 0;
}

/* ---- range tombstones ---- */

static size_t count_ranges(const struct version *version)
{
    size_t count = 0;

    for (size_t i = 0; i < version->run_count; i++)
        for (size_t j = 0; j < version->runs[i].count; j++)
            count += segment_range_count(version->runs[i].segments[j]);
    return count;
}

static size_t list_ranges(const struct segment *segment, struct range_tombstone *to)
{
    size_t count = segment_range_count(segment);

    for (size_t i = 0; i < count; i++) {
        struct entry entry;
        segment_range(segment, i, &entry);
        to[i] = (struct range_tombstone){
            .begin = entry.chunk.key, .end = entry.chunk.value, .seq = entry.seq};
    }
    return count;
}

/* Did a segment with range tombstones come or go? What stays has as many as it had; what goes is seen by
 * the numbers of those that had some. */
static int ranges_change(const struct version *before, const struct version *after,
                         const struct version_change *change)
{
    if (MUTANT("keep-stale-ranges"))
        return before->ranges == NULL;
    for (size_t i = 0; i < change->added_count; i++)
        if (segment_range_count(change->added[i].segment) > 0)
            return 1;
    return count_ranges(before) != count_ranges(after);
}

static int make_ranges(struct version *version, struct varve_err *err)
{
    size_t count = count_ranges(version);
    size_t at = 0;

    if (count == 0)
        return 0;
    struct range_tombstone *ranges = mem_alloc(count * sizeof(*ranges));
    if (ranges != NULL) {
        for (size_t i = 0; i < version->run_count; i++)
            for (size_t j = 0; j < version->runs[i].count; j++)
                at += list_ranges(version->runs[i].segments[j], ranges + at);
        version->ranges = range_set_create(ranges, count);
    }
    mem_free(ranges);
    return version->ranges == NULL ? err_set(err, VARVE_ENOMEM, "version: no memory") : 0;
}

/* ---- count groups ---- */

static int compare_names(struct varve_slice name, const struct version_group *group)
{
    return varve_slice_compare(name, varve_slice(group->name, group->name_len));
}

/* By name; of one name in the order of the change. */
static int compare_groups(const void *left, const void *right)
{
    const struct version_group *a = *(const struct version_group *const *)left;
    const struct version_group *b = *(const struct version_group *const *)right;
    int order = compare_names(varve_slice(a->name, a->name_len), b);

    return order != 0 ? order : (a > b) - (a < b);
}

static int group_forgotten(const struct version_group *group)
{
    return group->live == 0 && group->ignore_seq == UINT64_MAX;
}

/* Both in the order of names; of several changes of one name the last one counts. */
static void merge_groups(const struct version *before, const struct version_group *const *changed,
                         size_t count, struct version *after)
{
    size_t old = 0;

    for (size_t i = 0; i < count; i++) {
        struct varve_slice name = varve_slice(changed[i]->name, changed[i]->name_len);
        if (i + 1 < count && compare_names(name, changed[i + 1]) == 0)
            continue;
        while (old < before->group_count && compare_names(name, &before->groups[old]) > 0)
            after->groups[after->group_count++] = before->groups[old++];
        if (old < before->group_count && compare_names(name, &before->groups[old]) == 0)
            old++;
        if (!group_forgotten(changed[i]))
            after->groups[after->group_count++] = *changed[i];
    }
    while (old < before->group_count)
        after->groups[after->group_count++] = before->groups[old++];
}

static int make_groups(const struct version *before, const struct version_change *change,
                       struct version *after, struct varve_err *err)
{
    size_t cap = before->group_count + change->group_count;
    const struct version_group **changed;

    if (cap == 0)
        return 0;
    after->groups = mem_alloc(cap * sizeof(*after->groups));
    changed = mem_alloc((change->group_count + 1) * sizeof(const struct version_group *));
    int rc = after->groups == NULL || changed == NULL ? VARVE_ENOMEM : 0;
    if (rc == 0) {
        for (size_t i = 0; i < change->group_count; i++)
            changed[i] = &change->groups[i];
        qsort(changed, change->group_count, sizeof(const struct version_group *), compare_groups);
        merge_groups(before, changed, change->group_count, after);
    }
    mem_free(changed);
    return rc == 0 ? 0 : err_set(err, rc, "version: no memory");
}

const struct version_group *version_group(const struct version *version, struct varve_slice name)
{
    size_t from = 0;
    size_t to = version->group_count;

    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int order = compare_names(name, &version->groups[mid]);
        if (order == 0)
            return &version->groups[mid];
        if (order > 0)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

/* ---- a change ---- */

int version_apply(const struct version *before, const struct version_change *change,
                  struct version **out, struct varve_err *err)
{
    struct version *after = version_create();
    struct member *members = NULL;
    size_t count = 0;
    int rc = VARVE_ENOMEM;

    *out = NULL;
    if (after == NULL) {
        err_set(err, rc, "version: no memory");
        goto out;
    }
    after->flushed_seq = change->flushed_seq != 0 ? change->flushed_seq : before->flushed_seq;
    after->expiry_drops = before->expiry_drops + (change->expiry_drops ? 1 : 0);
    rc = list_members(before, change, &members, &count, err);
    if (rc == 0)
        rc = make_runs(after, members, count, err);
    if (rc == 0)
        rc = make_groups(before, change, after, err);
    if (rc != 0)
        goto out;
    if (ranges_change(before, after, change))
        rc = make_ranges(after, err);
    else if (before->ranges != NULL)
        after->ranges = range_set_ref(before->ranges);
out:
    mem_free(members);
    if (rc != 0)
        version_unref(after);
    else
        *out = after;
    return rc;
}

/* ---- reading ---- */

int version_get(const struct version *version, struct varve_slice key, uint64_t seq_min,
                uint64_t seq_max, const struct segment_read *read, struct read_counters *counters,
                struct entry *entry, struct segment_hold *hold, struct varve_err *err)
{
    struct bloom_hash hash = bloom_hash(key);

    for (size_t i = 0; i < version->run_count; i++) {
        const struct sorted_run *run = &version->runs[i];
        int64_t at = run_find(run, key);
        if (at < 0)
            continue;
        struct segment *segment = run->segments[at];
        const struct properties *properties = segment_properties(segment);
        if (properties->seq_max < seq_min || properties->seq_min > seq_max)
            continue;
        if (!segment_may_hold(segment, hash)) {
            thread_count(&counters->filter_no[run->level]);
            continue;
        }
        int rc = segment_get(segment, key, hash, seq_max, read, entry, hold, err);
        if (rc != 0 && rc != VARVE_NOT_FOUND)
            return rc; /* one that would block is counted when it comes again */
        thread_count(rc == 0 ? &counters->filter_true[run->level]
                             : &counters->filter_false[run->level]);
        if (rc == 0)
            return 0;
    }
    return VARVE_NOT_FOUND;
}

/* Deeper runs than so many are left to the lookup. */
#define PREFETCH_RUNS_MAX 16

/* Of each key the segment of each run that may hold it, and the line of its filter on its way. */
static void prefetch_filters(const struct version *version, size_t runs, struct varve_slice key,
                             struct bloom_hash hash, const struct segment **found)
{
    for (size_t i = 0; i < runs; i++) {
        int64_t at = run_find(&version->runs[i], key);
        found[i] = at < 0 ? NULL : version->runs[i].segments[at];
        if (found[i] != NULL)
            segment_prefetch_filter(found[i], hash);
    }
}

void version_prefetch(const struct version *version, const struct varve_slice *keys, size_t count)
{
    const struct segment *found[VERSION_PREFETCH_MAX][PREFETCH_RUNS_MAX];
    struct bloom_hash hashes[VERSION_PREFETCH_MAX];
    size_t runs = version->run_count < PREFETCH_RUNS_MAX ? version->run_count : PREFETCH_RUNS_MAX;

    CHECK(count <= VERSION_PREFETCH_MAX);
    for (size_t i = 0; i < count; i++) {
        hashes[i] = bloom_hash(keys[i]);
        prefetch_filters(version, runs, keys[i], hashes[i], found[i]);
    }
    for (size_t i = 0; i < count; i++) {
        size_t run = 0;
        while (run < runs && (found[i][run] == NULL || !segment_may_hold(found[i][run], hashes[i])))
            run++;
        if (run < runs)
            segment_prefetch_block(found[i][run], keys[i]);
    }
}

/* The segment of the run whose range the key is in; NULL: none, or one that is to be left aside. */
static const struct segment *run_segment(const struct sorted_run *run, const uint64_t *skip,
                                         size_t skip_count, struct varve_slice key)
{
    int64_t at = run_find(run, key);

    if (at < 0 || holds_number(skip, skip_count, segment_file_no(run->segments[at])))
        return NULL;
    return run->segments[at];
}

int version_older_may_hold(const struct version *version, size_t from_run, const uint64_t *skip,
                           size_t skip_count, struct varve_slice key, struct bloom_hash hash)
{
    for (size_t i = from_run; i < version->run_count; i++) {
        const struct segment *segment = run_segment(&version->runs[i], skip, skip_count, key);
        if (segment != NULL && segment_may_hold(segment, hash))
            return 1;
    }
    return 0;
}

void version_older_soon(const struct version *version, size_t from_run, const uint64_t *skip,
                        size_t skip_count, struct varve_slice key, struct bloom_hash hash)
{
    for (size_t i = from_run; i < version->run_count; i++) {
        const struct segment *segment = run_segment(&version->runs[i], skip, skip_count, key);
        if (segment != NULL)
            segment_prefetch_filter(segment, hash);
    }
}

int version_older_overlaps(const struct version *version, size_t from_run, const uint64_t *skip,
                           size_t skip_count, struct varve_slice lower, struct varve_slice upper)
{
    for (size_t i = from_run; i < version->run_count; i++) {
        const struct sorted_run *run = &version->runs[i];
        size_t from;
        size_t to;
        run_overlap(run, lower, upper, &from, &to);
        for (; from < to; from++)
            if (!holds_number(skip, skip_count, segment_file_no(run->segments[from])))
                return 1;
    }
    return 0;
}
