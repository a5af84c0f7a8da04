/* Compactions of real segments on a simulated disk: random histories in random levels, random picks, held
 * against the plain list of what was done. */
#include "levels.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
#include "lsm/compaction.h"
#include "lsm/names.h"

#define LAST_LEVEL 3

/* ---- picks ---- */

struct hull {
    struct varve_slice lower;
    struct varve_slice upper;
    int any;
};

static int hull_has(const struct hull *hull, const struct sorted_run *run, size_t i)
{
    return hull->any && segment_below_upper(run->lowers[i], hull->upper) &&
           segment_below_upper(hull->lower, run->uppers[i]);
}

/* 1 if it grew. */
static int hull_add(struct hull *hull, const struct sorted_run *run, size_t i)
{
    int grew = 0;

    if (!hull->any || varve_slice_compare(run->lowers[i], hull->lower) < 0) {
        hull->lower = run->lowers[i];
        grew = 1;
    }
    if (!hull->any || segment_upper_compare(run->uppers[i], hull->upper) > 0) {
        hull->upper = run->uppers[i];
        grew = 1;
    }
    hull->any = 1;
    return grew;
}

static void pick_add(const struct levels *b, struct pick *pick, size_t run, size_t segment)
{
    struct segment *input = b->version->runs[run].segments[segment];

    pick->inputs[pick->input_count++] = segment_file_no(input);
    pick->input_bytes += segment_size_bytes(input);
}

/* Some runs of level 0, whole, stay there as one. */
static void pick_level0(struct levels *b, struct pick *pick, size_t runs)
{
    size_t from = levels_below(b, runs);
    size_t to = from + 1 + levels_below(b, runs - from);

    pick->output_run_no = b->version->runs[from].no;
    for (size_t r = from; r < to; r++)
        for (size_t s = 0; s < b->version->runs[r].count; s++)
            pick_add(b, pick, r, s);
}

/* A segment, and all that overlaps it and lies levels_below, down to the output level. */
static void pick_down(struct levels *b, struct pick *pick)
{
    const struct version *version = b->version;
    size_t first = levels_below(b, version->run_count);
    struct hull hull = {0};
    uint32_t from_level = version->runs[first].level;
    int grew = 1;

    pick->output_level = from_level + (uint32_t)levels_below(b, LAST_LEVEL + 1 - from_level);
    if (pick->output_level == 0)
        pick->output_level = 1;
    hull_add(&hull, &version->runs[first], levels_below(b, version->runs[first].count));
    while (grew) {
        grew = 0;
        for (size_t r = first; r < version->run_count; r++)
            for (size_t s = 0; s < version->runs[r].count; s++)
                if (version->runs[r].level <= pick->output_level &&
                    hull_has(&hull, &version->runs[r], s))
                    grew |= hull_add(&hull, &version->runs[r], s);
    }
    for (size_t r = first; r < version->run_count; r++)
        for (size_t s = 0; s < version->runs[r].count; s++)
            if (version->runs[r].level <= pick->output_level &&
                hull_has(&hull, &version->runs[r], s))
                pick_add(b, pick, r, s);
}

static void make_pick(struct levels *b, struct pick *pick, int everything)
{
    size_t level0_runs = 0;

    *pick = (struct pick){.kind = PICK_MERGE,
                          .output_segment_bytes = 1500 + levels_below(b, 12000)};
    pick->inputs = mem_alloc((b->version->segment_count + 1) * sizeof(uint64_t));
    assert_non_null(pick->inputs);
    while (level0_runs < b->version->run_count && b->version->runs[level0_runs].level == 0)
        level0_runs++;
    if (everything) {
        pick->output_level = LAST_LEVEL;
        for (size_t r = 0; r < b->version->run_count; r++)
            for (size_t s = 0; s < b->version->runs[r].count; s++)
                pick_add(b, pick, r, s);
    } else if (level0_runs > 0 && levels_below(b, 3) == 0) {
        pick_level0(b, pick, level0_runs);
    } else {
        pick_down(b, pick);
    }
}

/* ---- compactions ---- */

static uint64_t oldest_ms(const struct levels *b)
{
    uint64_t oldest = b->now_ms;

    for (size_t s = 0; s < b->snapshot_count; s++)
        if (b->snapshot_ms[s] < oldest)
            oldest = b->snapshot_ms[s];
    return oldest;
}

static struct compaction_config compaction_config(struct levels *b, uint32_t parts_max)
{
    return (struct compaction_config){.dir = "/db",
                                      .writer = levels_writer(b),
                                      .snapshots = b->snapshots,
                                      .snapshot_count = b->snapshot_count,
                                      .expired_before_ms = oldest_ms(b),
                                      .count_group = levels_group,
                                      .parts_max = parts_max,
                                      .new_file_no = levels_file_no,
                                      .file_no_arg = b,
                                      .stop = &b->stop,
                                      .took = &b->took};
}

struct part_thread {
    struct compaction *compaction;
    size_t part;
    struct thread thread;
    int rc;
};

static void part_run(void *arg)
{
    struct part_thread *part = arg;
    struct varve_err err;

    part->rc = compaction_part(part->compaction, part->part, &err);
}

static void run_on_threads(struct compaction *compaction)
{
    struct part_thread parts[16];
    size_t count = compaction_part_count(compaction);

    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct part_thread){.compaction = compaction, .part = i};
        assert_int_equal(thread_start(&parts[i].thread, "part", part_run, &parts[i]), 0);
    }
    for (size_t i = 0; i < count; i++) {
        thread_join(&parts[i].thread);
        assert_int_equal(parts[i].rc, 0);
    }
}

static void apply(struct levels *b, const struct pick *pick, const struct compaction_result *result)
{
    struct version *before = version_ref(b->version);
    struct version_add *added = calloc(result->output_count + 1, sizeof(*added));

    assert_non_null(added);
    for (size_t i = 0; i < result->output_count; i++)
        added[i] = (struct version_add){.segment = result->outputs[i],
                                        .level = pick->output_level,
                                        .run_no = pick->output_run_no};
    levels_switch(b, &(struct version_change){.dropped = pick->inputs,
                                              .dropped_count = pick->input_count,
                                              .added = added,
                                              .added_count = result->output_count});
    for (size_t r = 0; r < before->run_count; r++)
        for (size_t s = 0; s < before->runs[r].count; s++)
            for (size_t i = 0; i < pick->input_count; i++)
                if (segment_file_no(before->runs[r].segments[s]) == pick->inputs[i])
                    segment_mark_dead(before->runs[r].segments[s]);
    version_unref(before);
    for (size_t i = 0; i < result->changes->count; i++) {
        assert_int_equal(result->changes->items[i].name[0], 'a');
        b->live += result->changes->items[i].live;
    }
    free(added);
}

/* What came of it: it can be asked for until there is memory, and again, and is the same. */
static void ask_result(struct levels *b, struct compaction *compaction,
                       struct compaction_result *result)
{
    struct compaction_result again;
    int rc = VARVE_ENOMEM;

    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = compaction_result(compaction, result, &b->err);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || (rc == VARVE_ENOMEM && result->outputs == NULL));
    }
    assert_int_equal(compaction_result(compaction, &again, &b->err), 0);
    assert_memory_equal(&again, result, sizeof(again));
}

/* Range tombstones are none. */
static uint64_t entries_of(const struct levels *b, const struct pick *pick)
{
    uint64_t entries = 0;

    for (size_t r = 0; r < b->version->run_count; r++)
        for (size_t s = 0; s < b->version->runs[r].count; s++) {
            const struct segment *segment = b->version->runs[r].segments[s];
            for (size_t i = 0; i < pick->input_count; i++)
                if (segment_file_no(segment) == pick->inputs[i])
                    entries += segment_properties(segment)->entries;
        }
    return entries;
}

static void compact(struct levels *b, int everything)
{
    struct compaction_config config = compaction_config(b, 1 + (uint32_t)levels_below(b, 4));
    struct compaction *compaction = NULL;
    struct compaction_result result;
    struct pick pick;

    make_pick(b, &pick, everything);
    assert_int_equal(compaction_create(&config, b->version, &pick, &compaction, &b->err), 0);
    size_t parts = compaction_part_count(compaction);
    assert_true(parts >= 1 && parts <= config.parts_max);
    if (levels_below(b, 2))
        run_on_threads(compaction);
    else
        for (size_t i = parts; i-- > 0;)
            assert_int_equal(compaction_part(compaction, i, &b->err), 0);
    ask_result(b, compaction, &result);
    assert_int_equal(result.read_bytes, pick.input_bytes);
    assert_int_equal(atomic_exchange(&b->took, 0), entries_of(b, &pick));
    uint64_t bytes = 0;
    for (size_t i = 0; i < result.output_count; i++)
        bytes += segment_size_bytes(result.outputs[i]);
    assert_int_equal(result.written_bytes, bytes);
    b->copied_bytes += result.copied_bytes;
    b->parts_most = parts > b->parts_most ? parts : b->parts_most;
    if (result.output_count > b->outputs_most)
        b->outputs_most = result.output_count;
    apply(b, &pick, &result);
    compaction_keep(compaction);
    compaction_destroy(compaction);
    mem_free(pick.inputs);
}

static void snapshots_change(struct levels *b)
{
    size_t last = b->snapshot_count;

    if (last < LEVELS_SNAPSHOTS_MAX && levels_below(b, 2)) {
        if (last > 0 && b->snapshots[last - 1] == b->count)
            return;
        b->snapshots[last] = b->count;
        b->snapshot_ms[last] = b->now_ms;
        b->snapshot_count++;
    } else if (last > 1) { /* the first one is held over all compactions */
        size_t at = 1 + levels_below(b, last - 1);
        b->snapshot_count--;
        memmove(&b->snapshots[at], &b->snapshots[at + 1], (last - at - 1) * sizeof(uint64_t));
        memmove(&b->snapshot_ms[at], &b->snapshot_ms[at + 1], (last - at - 1) * sizeof(uint64_t));
    }
}

static void grow(struct levels *b, uint64_t ops)
{
    for (uint64_t i = 0; i < ops && b->count < LEVELS_OPS_MAX; i++) {
        levels_add_op(b);
        if (levels_below(b, 30) == 0)
            b->now_ms += levels_below(b, 30);
        if (levels_below(b, 40) == 0)
            snapshots_change(b);
    }
    levels_flush(b);
}

/* All in one run, nobody looks back: what is left is what is live. */
static void check_end(struct levels *b)
{
    uint64_t live = 0;
    uint64_t entries = 0;

    b->snapshot_count = 0;
    compact(b, 1);
    levels_check(b);
    for (size_t i = 0; i < LEVELS_KEYS; i++)
        live += levels_model_get(b, levels_key(b, i), b->count, b->now_ms) != 0;
    assert_int_equal(b->version->run_count, live > 0);
    for (size_t s = 0; s < b->version->segment_count; s++) {
        const struct properties *properties = segment_properties(b->version->runs[0].segments[s]);
        entries += properties->entries;
        assert_int_equal(properties->entries, properties->puts);
        assert_int_equal(properties->ranges, 0);
        for (uint32_t g = 0; g < properties->group_count; g++)
            assert_int_equal(properties->groups[g].unknown, 0);
    }
    assert_int_equal(entries, live);
}

static void test_compaction__random_levels(void **state)
{
    static struct levels b;
    size_t parts_most = 0;
    size_t outputs_most = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 25; seed++) {
        levels_init(&b, seed);
        while (b.count < LEVELS_OPS_MAX) {
            grow(&b, 20 + levels_below(&b, 60));
            levels_check(&b);
            for (uint64_t n = levels_below(&b, 3); n > 0 && b.version->run_count > 0; n--) {
                compact(&b, 0);
                levels_check(&b);
            }
        }
        check_end(&b);
        parts_most = b.parts_most > parts_most ? b.parts_most : parts_most;
        outputs_most = b.outputs_most > outputs_most ? b.outputs_most : outputs_most;
        levels_deinit(&b);
    }
    assert_int_equal(parts_most, 4);
    assert_true(outputs_most > 5);
}

/* Writes that lie near each other: most blocks of a merge are copied as they are, and nothing else is different. */
static void test_compaction__copies_blocks(void **state)
{
    static struct levels b;
    uint64_t copied_bytes = 0;

    (void)state;
    for (uint64_t seed = 101; seed <= 112; seed++) {
        levels_init(&b, seed);
        b.puts = 37;
        grow(&b, 150);
        while (b.count < LEVELS_OPS_MAX) {
            b.near_count = 1 + levels_below(&b, 6);
            b.near_from = levels_below(&b, LEVELS_KEYS - b.near_count);
            grow(&b, 1 + levels_below(&b, 20));
            if (levels_below(&b, 3) > 0)
                compact(&b, levels_below(&b, 3) == 0);
            levels_check(&b);
        }
        copied_bytes += b.copied_bytes;
        check_end(&b);
        levels_deinit(&b);
    }
    assert_true(copied_bytes > 6000);
}

/* A few runs, in level 0 and below. */
static void make_levels(struct levels *b, uint64_t seed)
{
    levels_init(b, seed);
    grow(b, 150);
    compact(b, 1);
    for (int i = 0; i < 4; i++)
        grow(b, 60);
}

/* A compaction of all that is thrown away at its end, or where it fails. */
static int try_compaction(struct levels *b, const struct pick *pick)
{
    struct compaction_config config = compaction_config(b, 3);
    struct compaction *compaction = NULL;
    struct compaction_result result;
    int rc = compaction_create(&config, b->version, pick, &compaction, &b->err);

    for (size_t i = 0; rc == 0 && i < compaction_part_count(compaction); i++)
        rc = compaction_part(compaction, i, &b->err);
    if (rc == 0)
        rc = compaction_result(compaction, &result, &b->err);
    if (rc == 0)
        b->copied_bytes += result.copied_bytes;
    compaction_destroy(compaction);
    return rc;
}

/* One run, and another over a few of its keys, of whose merge blocks are copied. */
static void make_near_levels(struct levels *b, uint64_t seed)
{
    struct pick pick;

    for (;; seed += 100) {
        assert_true(seed < 10000);
        levels_init(b, seed);
        b->puts = 37;
        grow(b, 300);
        compact(b, 1);
        b->near_count = 2;
        b->near_from = levels_below(b, LEVELS_KEYS - b->near_count);
        grow(b, 6);
        b->copied_bytes = 0;
        make_pick(b, &pick, 1);
        assert_int_equal(try_compaction(b, &pick), 0);
        mem_free(pick.inputs);
        if (b->copied_bytes > 0)
            break;
        levels_deinit(b);
    }
    b->copied_bytes = 0;
}

static void fail_every_call(void (*make)(struct levels *b, uint64_t seed), uint64_t least)
{
    static struct levels b;
    struct pick pick;
    uint64_t fired = 1;
    uint64_t points = 0;

    make(&b, 7);
    make_pick(&b, &pick, 1);
    for (uint64_t nth = 1; fired != 0; nth++) {
        fault_env_plan(b.fault, (struct fault_plan){.nth = nth, .os_errno = 28});
        int rc = try_compaction(&b, &pick);
        fired = fault_env_fired(b.fault);
        int remove_failed = strncmp(fault_env_where(b.fault), "remove", 6) == 0;
        fault_env_plan(b.fault, (struct fault_plan){0});
        points += fired;
        assert_int_equal(rc, fired != 0 && !remove_failed ? VARVE_ENOSPC : 0);
        if (remove_failed)
            break; /* the outputs are there and are thrown away: only removals are to come */
        assert_int_equal(levels_files(&b), b.version->segment_count);
    }
    assert_true(points > least);
    assert_true(make != make_near_levels || b.copied_bytes > 0);
    mem_free(pick.inputs);
    levels_deinit(&b);
}

static void test_compaction__survives_every_failed_call(void **state)
{
    (void)state;
    fail_every_call(make_levels, 50);
    fail_every_call(make_near_levels, 20);
}

static void fail_every_allocation(void (*make)(struct levels *b, uint64_t seed))
{
    static struct levels b;
    struct pick pick;
    int rc = VARVE_ENOMEM;

    make(&b, 8);
    make_pick(&b, &pick, 1);
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = try_compaction(&b, &pick);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || (rc == VARVE_ENOMEM && b.err.code == rc));
        assert_int_equal(levels_files(&b), b.version->segment_count);
    }
    assert_true(make != make_near_levels || b.copied_bytes > 0);
    levels_check(&b);
    mem_free(pick.inputs);
    levels_deinit(&b);
}

static void test_compaction__survives_every_failed_allocation(void **state)
{
    (void)state;
    fail_every_allocation(make_levels);
    fail_every_allocation(make_near_levels);
}

static void test_compaction__stops_when_told(void **state)
{
    static struct levels b;
    struct pick pick;

    (void)state;
    make_levels(&b, 9);
    make_pick(&b, &pick, 1);
    b.stop = 1;
    assert_int_equal(try_compaction(&b, &pick), REWRITE_STOPPED);
    assert_int_equal(levels_files(&b), b.version->segment_count);
    b.stop = 0;
    assert_int_equal(try_compaction(&b, &pick), 0);
    pick.inputs[0] = 1000000;
    assert_int_equal(try_compaction(&b, &pick), VARVE_EINVAL);
    mem_free(pick.inputs);
    levels_deinit(&b);
}

static void check_in_image(struct levels *b, struct sim_env *image, struct segment *segment)
{
    uint64_t file_no = segment_file_no(segment);
    char *path = name_segment_path("/db", file_no);
    struct segment *copy = NULL;

    assert_int_equal(segment_open(sim_as_env(image), path, &b->id, file_no, NULL, &copy, &b->err),
                     0);
    assert_int_equal(segment_verify(copy, &b->err), 0);
    segment_unref(copy);
    mem_free(path);
}

/* What flushes and compactions hand out survives a power cut. */
static void test_compaction__is_durable(void **state)
{
    static struct levels b;

    (void)state;
    make_levels(&b, 10);
    struct sim_env *image = sim_image(b.sim, sim_event_count(b.sim), SIM_ALL_LOST, 1);
    assert_true(b.version->run_count > 1);
    for (size_t r = 0; r < b.version->run_count; r++)
        for (size_t s = 0; s < b.version->runs[r].count; s++)
            check_in_image(&b, image, b.version->runs[r].segments[s]);
    sim_env_destroy(image);
    levels_deinit(&b);
}

/* One segment with an expired value in a block of its own, of more pieces than one. */
static void make_expired(struct levels *b, struct pick *pick)
{
    size_t len = 200000;
    uint8_t *value = calloc(1, len);
    struct chunk *chunk = &b->ops[0].chunk;

    assert_non_null(value);
    levels_init(b, 11);
    *chunk = (struct chunk){.kind = CHUNK_PUT,
                            .key = levels_key(b, 0),
                            .value = varve_slice(value, len),
                            .expire_ms = b->now_ms + 1};
    chunk->crc = chunk_crc(chunk);
    b->count = 1;
    levels_flush(b);
    b->now_ms += 1;
    make_pick(b, pick, 1);
}

static void test_compaction__drops_expired_value(void **state)
{
    static struct levels b;
    struct pick pick;

    (void)state;
    make_expired(&b, &pick);
    assert_int_equal(b.live, 1);
    compact(&b, 1);
    assert_int_equal(b.live, 0);
    assert_int_equal(b.version->run_count, 0);
    levels_check(&b);
    mem_free(pick.inputs);
    levels_deinit(&b);
}

/* Its bytes decide nothing but whether the record is whole. */
static void test_compaction__refuses_damaged_expired_value(void **state)
{
    static struct levels b;
    struct pick pick;
    struct varve_file *file = NULL;
    uint8_t one = 1;
    struct varve_slice part = varve_slice(&one, 1);

    (void)state;
    make_expired(&b, &pick);
    assert_int_equal(b.env->ops->open(b.env, "/db/000001.seg", VARVE_OPEN_WRITE, &file, &b.err), 0);
    assert_int_equal(b.env->ops->write_at(b.env, file, &part, 1, 150000, &b.err), 0);
    b.env->ops->close(b.env, file);
    assert_int_equal(try_compaction(&b, &pick), VARVE_ECORRUPT);
    assert_int_equal(levels_files(&b), 1);
    mem_free(pick.inputs);
    levels_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compaction__random_levels),
        cmocka_unit_test(test_compaction__copies_blocks),
        cmocka_unit_test(test_compaction__survives_every_failed_call),
        cmocka_unit_test(test_compaction__survives_every_failed_allocation),
        cmocka_unit_test(test_compaction__stops_when_told),
        cmocka_unit_test(test_compaction__is_durable),
        cmocka_unit_test(test_compaction__drops_expired_value),
        cmocka_unit_test(test_compaction__refuses_damaged_expired_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
