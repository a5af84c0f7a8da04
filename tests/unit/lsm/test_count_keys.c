#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "bed.h"
#include "lsm/db.h"

#define SECOND_US ((uint64_t)1000000)

/* ---- by hand ---- */

/* After a count nothing is left to be looked up: the same is said without waiting, but for a group of
 * which a part was deleted by range. */
static uint64_t count_twice(struct bed *bed, const char *group)
{
    uint64_t count = bed_count(bed, group);
    uint64_t now = 0;

    int rc = varve_count_now(bed->db, varve_slice_str(group), &now, &bed->err);
    if (rc == VARVE_WOULD_BLOCK && now == UINT64_MAX)
        return count;
    assert_int_equal(rc, 0);
    assert_int_equal(now, count);
    return count;
}

static void flush_and_settle(struct bed *bed)
{
    bed_flush_ok(bed);
    bed_run(bed);
}

static void compact(struct bed *bed)
{
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
}

static void reopen(struct bed *bed)
{
    bed_close_ok(bed);
    bed_open_ok(bed);
}

/* What is done to the layers between two counts changes no count. */
static void (*const moves[])(struct bed *bed) = {bed_swap, flush_and_settle, compact, reopen};

static void test_count__overwrites_below(void **state)
{
    (void)state;
    for (size_t m = 0; m < COUNT_OF(moves); m++) {
        struct bed bed;
        bed_init(&bed, m);
        bed.options.memtables_max = 8;
        bed_open_ok(&bed);
        for (int i = 0; i < 3; i++) { /* the same keys in each layer */
            bed_fill(&bed, "k", 10 + i, 50);
            assert_int_equal(bed_put(&bed, "other", "x"), 0);
            moves[m](&bed);
            assert_int_equal(count_twice(&bed, "k"), 10 + i);
            assert_int_equal(count_twice(&bed, "o"), 1);
            assert_int_equal(count_twice(&bed, "z"), 0);
        }
        assert_int_equal(bed_delete(&bed, "k000003"), 0);
        assert_int_equal(bed_delete(&bed, "k000099"), 0); /* was never there */
        assert_int_equal(count_twice(&bed, "k"), 11);
        moves[m](&bed);
        assert_int_equal(count_twice(&bed, "k"), 11);
        assert_int_equal(bed_delete(&bed, "k000003"), 0);
        assert_int_equal(bed_put(&bed, "k000003", "back"), 0);
        assert_int_equal(count_twice(&bed, "k"), 12);
        moves[m](&bed);
        assert_int_equal(count_twice(&bed, "k"), 12);
        bed_deinit(&bed);
    }
}

struct range_case {
    const char *begin;
    const char *end;
    uint64_t left; /* of k000000 .. k000009 */
};

static void test_count__range_deletes(void **state)
{
    static const struct range_case cases[] = {
        {"k", "l", 0},
        {"a", "zz", 0},
        {"k000000", "k000001", 9},
        {"k000004", "l", 4},
        {"a", "k000004", 6},
        {"k000002", "k000005", 7},
        {"k0000025", "k0000029", 10},
        {"l", "m", 10},
        {"a", "k", 10},
    };

    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++)
        for (size_t m = 0; m < COUNT_OF(moves); m++) {
            struct bed bed;
            bed_init(&bed, m);
            bed_open_ok(&bed);
            bed_fill(&bed, "k", 10, 50);
            bed_run(&bed);
            moves[m](&bed);
            bed_fill(&bed, "k", 5, 40); /* half of them in two layers */
            assert_int_equal(bed_delete_range(&bed, cases[c].begin, cases[c].end), 0);
            assert_int_equal(count_twice(&bed, "k"), cases[c].left);
            moves[m](&bed);
            assert_int_equal(count_twice(&bed, "k"), cases[c].left);
            assert_int_equal(bed_put(&bed, "k000000", "again"), 0);
            int gone = strcmp(bed_get(&bed, "k000000"), "again") == 0 &&
                       strcmp(cases[c].begin, "k000000") <= 0 &&
                       strcmp("k000000", cases[c].end) < 0;
            assert_int_equal(count_twice(&bed, "k"), cases[c].left + (uint64_t)gone);
            moves[m](&bed);
            assert_int_equal(count_twice(&bed, "k"), cases[c].left + (uint64_t)gone);
            bed_deinit(&bed);
        }
}

/* What expired counts until it is deleted or a compaction drops it; then it does not, anywhere. */
static void test_count__expiry(void **state)
{
    struct bed *bed = *state;
    uint64_t at_ms = varve_now_ms(bed->db) + 1000;

    assert_int_equal(bed_put(bed, "k1", "stays"), 0);
    assert_int_equal(bed_put_bytes(bed, "k2", varve_slice_str("v"), at_ms), 0);
    assert_int_equal(bed_put_bytes(bed, "k3", varve_slice_str("v"), at_ms), 0);
    assert_int_equal(count_twice(bed, "k"), 3);
    flush_and_settle(bed);
    bed_pass_us(bed, 10 * SECOND_US);
    assert_string_equal(bed_get(bed, "k2"), "-");
    assert_int_equal(bed_put(bed, "k3", "anew"), 0); /* over one that may be gone by then */
    uint64_t count = count_twice(bed, "k");
    assert_true(count == 2 || count == 3);
    bed_pass_us(bed, 7200 * SECOND_US);
    compact(bed);
    assert_int_equal(count_twice(bed, "k"), 2);
    reopen(bed);
    assert_int_equal(count_twice(bed, "k"), 2);
    assert_int_equal(bed_delete(bed, "k2"), 0);
    assert_int_equal(count_twice(bed, "k"), 2);
}

/* A count looked up that the new records replace the old ones; then a compaction drops those, as they
 * expired, and takes them off: so the answer does not hold any more. With a key that stays they are merged
 * away, without one the whole segment goes. */
static void expiry_below(const char *stays)
{
    struct bed bed;

    bed_init(&bed, 1);
    bed_open_ok(&bed);
    uint64_t at_ms = varve_now_ms(bed.db) + 1000;
    uint64_t more = 0;
    for (int i = 0; i < 10; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(bed_put_bytes(&bed, key, varve_slice_str("expires"), at_ms), 0);
    }
    if (stays != NULL) {
        assert_int_equal(bed_put(&bed, stays, "v"), 0);
        more = 1;
    }
    compact(&bed);
    assert_int_equal(bed_put(&bed, "k3", "anew"), 0);
    assert_int_equal(bed_put(&bed, "k4", "anew"), 0);
    assert_int_equal(count_twice(&bed, "k"), 10 + more);
    uint64_t flushes = bed_stats(&bed).flushes;
    for (int i = 0; i < 10; i++)
        bed_pass_us(&bed, 720 * SECOND_US);
    assert_int_equal(bed_stats(&bed).flushes, flushes);
    assert_int_equal(count_twice(&bed, "k"), 2 + more);
    compact(&bed);
    assert_int_equal(count_twice(&bed, "k"), 2 + more);
    bed_deinit(&bed);
}

static void test_count__expiry_below_what_is_known(void **state)
{
    (void)state;
    expiry_below("k stays");
    expiry_below(NULL);
}

/* The writer's own open group is counted, and is not any more when it was refused. */
static void test_count__open_group(void **state)
{
    struct bed *bed = *state;

    bed_fill(bed, "k", 3, 50);
    flush_and_settle(bed);
    assert_int_equal(bed_add(bed, "k9", "v"), 0);
    assert_int_equal(bed_add(bed, "k000001", "v"), 0);
    assert_int_equal(bed_count(bed, "k"), 4);
    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_WRITE, .nth = 1, .os_errno = EIO, .path_suffix = ".wal"});
    assert_int_equal(varve_group_commit(bed->db, &bed->err), VARVE_EIO);
    assert_int_equal(count_twice(bed, "k"), 3);
}

static void test_count__names(void **state)
{
    struct bed *bed = *state;
    uint64_t count = 7;

    assert_int_equal(varve_count(bed->db, varve_slice(NULL, 0), &count, &bed->err), VARVE_EINVAL);
    assert_int_equal(count, 0);
    assert_int_equal(varve_count(bed->db, varve_slice_str("0123456789abcdef"), &count, &bed->err),
                     0);
    assert_int_equal(varve_count(bed->db, varve_slice_str("0123456789abcdefg"), &count, &bed->err),
                     VARVE_EINVAL);
    assert_int_equal(
        varve_count_now(bed->db, varve_slice_str("0123456789abcdefg"), &count, &bed->err),
        VARVE_EINVAL);
}

/* Without waiting: an upper bound, and it says so. A lookup that fails is an error, and is made good. */
static void test_count__unknown_below(void **state)
{
    struct bed *bed = *state;
    uint64_t count = 0;

    bed_fill(bed, "k", 10, 50);
    compact(bed);
    bed_fill(bed, "k", 5, 50);
    assert_int_equal(varve_count_now(bed->db, varve_slice_str("k"), &count, &bed->err),
                     VARVE_WOULD_BLOCK);
    assert_int_equal(count, 15);
    mem_fail_nth(1, 1);
    assert_int_equal(varve_count(bed->db, varve_slice_str("k"), &count, &bed->err), VARVE_ENOMEM);
    mem_fail_nth(0, 0);
    assert_int_equal(count, 0);
    assert_int_equal(count_twice(bed, "k"), 10);
}

/* Segments that a range delete of the whole group made worthless are not asked, nor waited for. */
static void test_count__nothing_to_ask_of_dead_segments(void **state)
{
    struct bed *bed = *state;

    bed_fill(bed, "k", 10, 50);
    compact(bed);
    bed_fill(bed, "k", 5, 50); /* with unknown priors */
    bed_flush_only(bed);
    assert_int_equal(bed_delete_range(bed, "k", "l"), 0);
    assert_int_equal(bed_put(bed, "k1", "v"), 0);
    bed_flush_only(bed);
    assert_int_equal(count_twice(bed, "k"), 1);
    assert_int_equal(bed_delete_range(bed, "k", "l"), 0);
    bed_flush_only(bed);
    assert_int_equal(count_twice(bed, "k"), 0);
    compact(bed);
    assert_int_equal(count_twice(bed, "k"), 0);
}

/* So many that they are walked through: over what is deleted by range, over tombstones, over a version that a
 * snapshot keeps, over nothing, and each in several segments. */
static void test_count__many_unknown_in_segments(void **state)
{
    struct bed *bed = *state;

    bed_fill(bed, "j", 20, 50); /* neighbours, which do not count */
    bed_fill(bed, "l", 20, 50);
    bed_fill(bed, "k", 300, 200);
    compact(bed);
    assert_int_equal(bed_delete_range(bed, "k", "l"), 0);
    bed_flush_only(bed);
    bed_fill(bed, "k", 200, 200);
    bed_flush_only(bed);
    uint64_t lookups = bed_stats(bed).count_lookups;
    assert_int_equal(count_twice(bed, "k"), 200);
    struct varve_snapshot *snapshot = varve_snapshot_acquire(bed->db);
    bed_fill(bed, "k", 100, 200);
    struct varve_snapshot *later = varve_snapshot_acquire(bed->db);
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%06d", 4 * i);
        assert_int_equal(bed_delete(bed, key), 0);
    }
    bed_flush_only(bed);
    assert_int_equal(count_twice(bed, "k"), 150);
    bed_fill(bed, "k", 250, 200);
    bed_flush_only(bed);
    assert_int_equal(count_twice(bed, "k"), 250);
    assert_int_equal(bed_stats(bed).count_lookups, lookups);
    varve_snapshot_release(bed->db, snapshot);
    varve_snapshot_release(bed->db, later);
    compact(bed);
    assert_int_equal(count_twice(bed, "k"), 250);
    assert_int_equal(count_twice(bed, "j"), 20);
}

/* The memory is searched by the writer, and begins anew when it is full: what it holds is asked for. */
static void test_count__walk_remembers_what_is_asked(void **state)
{
    struct bed *bed = *state;
    const struct count_memory *memory = &bed->db->count_memory;

    bed_fill(bed, "k", 300, 200);
    compact(bed);
    bed_fill(bed, "k", 300, 200); /* merged, not moved: nothing is unknown in it */
    compact(bed);
    bed_fill(bed, "k", 200, 200);
    bed_flush_only(bed);
    size_t asked = bed_stats(bed).levels[0].segments;
    uint64_t lookups = bed_stats(bed).count_lookups;
    assert_int_equal(count_twice(bed, "k"), 300);
    assert_int_equal(bed_stats(bed).count_lookups, lookups);
    assert_int_equal(memory->count, asked);
}

/* The walk fails and is made good: of memory, of the disk, and cancelled in the midst of it. */
static void test_count__walk_that_fails(void **state)
{
    struct bed *bed = *state;
    uint64_t count;
    int failures = 0;

    bed_fill(bed, "k", 300, 200);
    compact(bed);
    bed_fill(bed, "k", 200, 200);
    bed_flush_only(bed);
    for (uint64_t nth = 1;; nth++) {
        mem_fail_nth(nth, 1);
        int rc = varve_count(bed->db, varve_slice_str("k"), &count, &bed->err);
        mem_fail_nth(0, 0);
        if (rc == 0)
            break;
        assert_int_equal(rc, VARVE_ENOMEM);
        failures++;
    }
    assert_in_range(failures, 3, 100);
    assert_int_equal(count, 300);
    reopen(bed); /* nothing is remembered */
    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_READ, .nth = 2, .os_errno = EIO, .path_suffix = ".seg"});
    assert_int_equal(varve_count(bed->db, varve_slice_str("k"), &count, &bed->err), VARVE_EIO);
    assert_int_equal(fault_env_fired(bed->fault), 1);
    fault_env_heal(bed->fault);
    assert_int_equal(count_twice(bed, "k"), 300);
}

/* ---- against an oracle ---- */

#define SEEDS 40
#define STEPS 300
#define GROUPS 3
#define KEYS 24 /* a group */

struct oracle {
    int there[GROUPS][KEYS]; /* written and not deleted since */
    uint64_t expire_ms[GROUPS][KEYS];
};

static const char *oracle_key(int group, int key)
{
    static char text[2][8];
    static int turn;

    turn = !turn;
    snprintf(text[turn], sizeof(text[0]), "%c%02d", 'a' + group, key);
    return text[turn];
}

static void oracle_write(struct bed *bed, struct oracle *oracle, struct rng *rng)
{
    int group = (int)rng_below(rng, GROUPS);
    int key = (int)rng_below(rng, KEYS);
    uint64_t kind = rng_below(rng, 20);
    uint64_t expire_ms = rng_below(rng, 6) == 0 ? varve_now_ms(bed->db) + rng_below(rng, 4000) : 0;

    if (kind < 12) {
        assert_int_equal(
            bed_put_bytes(bed, oracle_key(group, key), varve_slice_str("value"), expire_ms), 0);
        oracle->there[group][key] = 1;
        oracle->expire_ms[group][key] = expire_ms;
    } else if (kind < 19) {
        assert_int_equal(bed_delete(bed, oracle_key(group, key)), 0);
        oracle->there[group][key] = 0;
    } else {
        int whole = rng_below(rng, 2) == 0;
        int last = whole ? KEYS : key + 1 + (int)rng_below(rng, (uint64_t)(KEYS - key));
        char begin[2] = {(char)('a' + group), 0};
        char end[2] = {(char)('b' + group), 0};
        assert_int_equal(bed_delete_range(bed, whole ? begin : oracle_key(group, key),
                                          last == KEYS ? end : oracle_key(group, last)),
                         0);
        for (int i = whole ? 0 : key; i < last; i++)
            oracle->there[group][i] = 0;
    }
}

static uint64_t count_by_walk(struct bed *bed, int group)
{
    char name[2] = {(char)('a' + group), 0};
    char end[2] = {(char)('b' + group), 0};
    struct varve_slice lower = varve_slice_str(name);
    struct varve_slice upper = varve_slice_str(end);
    struct varve_read read = {.dead = 1};
    struct varve_iter *iter = varve_iter_create(bed->db, &read, &lower, &upper, &bed->err);
    uint64_t count = 0;

    assert_non_null(iter);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter))
        count++;
    assert_int_equal(varve_iter_status(iter, &bed->err), 0);
    varve_iter_destroy(iter);
    return count;
}

static void oracle_check(struct bed *bed, const struct oracle *oracle)
{
    uint64_t now_ms = varve_now_ms(bed->db);

    for (int group = 0; group < GROUPS; group++) {
        char name[2] = {(char)('a' + group), 0};
        uint64_t most = 0;
        uint64_t least = 0;
        for (int key = 0; key < KEYS; key++) {
            int gone = oracle->expire_ms[group][key] != 0 &&
                       oracle->expire_ms[group][key] <= now_ms;
            most += (uint64_t)oracle->there[group][key];
            least += (uint64_t)(oracle->there[group][key] && !gone);
        }
        uint64_t count = count_twice(bed, name);
        assert_in_range(count, least, most);
        assert_int_equal(count, count_by_walk(bed, group));
    }
}

static void oracle_move(struct bed *bed, struct rng *rng, struct varve_snapshot **snapshot)
{
    switch (rng_below(rng, 40)) {
    case 0: bed_run(bed); break;
    case 1: flush_and_settle(bed); break;
    case 2: bed_flush_ok(bed); break;
    case 3: compact(bed); break;
    case 4: bed_pass_us(bed, rng_below(rng, 3 * SECOND_US)); break;
    case 5:
        varve_snapshot_release(bed->db, *snapshot);
        *snapshot = rng_below(rng, 2) == 0 ? varve_snapshot_acquire(bed->db) : NULL;
        break;
    case 6:
        varve_snapshot_release(bed->db, *snapshot);
        *snapshot = NULL;
        if (rng_below(rng, 2) == 0) {
            reopen(bed);
        } else {
            bed_run(bed);
            bed_crash(bed, SIM_ALL_LOST, rng_next(rng));
            bed_open_ok(bed);
        }
        break;
    default:
        for (uint64_t jobs = rng_below(rng, 3); jobs > 0; jobs--)
            step_run_one(bed->stepper);
    }
}

static void test_count__exact_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct varve_snapshot *snapshot = NULL;
        struct oracle oracle = {0};
        struct bed bed;
        struct rng rng;
        bed_init(&bed, seed);
        rng_init(&rng, seed);
        bed.options.memtables_max = 8;
        bed_open_ok(&bed);
        for (int i = 0; i < STEPS; i++) {
            oracle_write(&bed, &oracle, &rng);
            oracle_move(&bed, &rng, &snapshot);
            if (rng_below(&rng, 4) == 0)
                oracle_check(&bed, &oracle);
        }
        varve_snapshot_release(bed.db, snapshot);
        bed_deinit(&bed);
    }
}

#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count__overwrites_below),
        cmocka_unit_test(test_count__range_deletes),
        WITH_BED(test_count__expiry),
        cmocka_unit_test(test_count__expiry_below_what_is_known),
        WITH_BED(test_count__open_group),
        WITH_BED(test_count__names),
        WITH_BED(test_count__unknown_below),
        WITH_BED(test_count__nothing_to_ask_of_dead_segments),
        WITH_BED(test_count__many_unknown_in_segments),
        WITH_BED(test_count__walk_remembers_what_is_asked),
        WITH_BED(test_count__walk_that_fails),
        cmocka_unit_test(test_count__exact_whatever_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
