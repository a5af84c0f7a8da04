/* Each rule of the picker on levels made by hand. The same rules on random ones: property/picker_sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsm/picker.h"
#include "varve/status.h"

#define MB ((uint64_t)1 << 20)
#define LAST (VARVE_LEVELS_MAX - 1)
#define RUNS_MAX 40
#define RUN_SEGMENTS_MAX 300

struct picture {
    struct picker_view view;
    struct picker_run runs[RUNS_MAX];
    struct picker_segment segments[RUNS_MAX][RUN_SEGMENTS_MAX];
    uint8_t bounds[2 * RUNS_MAX * RUN_SEGMENTS_MAX];
    size_t bound_count;
    uint64_t file_no;
};

static struct picture picture; /* large; start() makes it anew */

static void start(void)
{
    memset(&picture, 0, sizeof(picture));
    picture.view = (struct picker_view){.runs = picture.runs,
                                        .oldest_snapshot_seq = UINT64_MAX,
                                        .flush_bytes = 64 * MB,
                                        .segment_size_bytes = 64 * MB,
                                        .segments_max = 4096};
}

static struct varve_slice bound(int key)
{
    uint8_t *at = &picture.bounds[picture.bound_count++];

    *at = (uint8_t)key;
    return varve_slice(at, 1);
}

/* Runs are made newest first, segments by rising key. Files are numbered from 1 on. All that lies above the last
 * level hides as much. */
static struct picker_segment *add(uint32_t level, uint64_t no, int lower, int upper, uint64_t bytes)
{
    struct picker_view *view = &picture.view;
    struct picker_run *run = view->run_count > 0 ? &picture.runs[view->run_count - 1] : NULL;
    struct picker_segment *segment;

    if (run == NULL || run->level != level || run->no != no) {
        run = &picture.runs[view->run_count];
        run->level = level;
        run->no = no;
        run->segments = picture.segments[view->run_count++];
    }
    segment = &run->segments[run->count++];
    segment->file_no = ++picture.file_no;
    segment->bytes = bytes;
    segment->hiding_bytes = level < LAST ? bytes : 0;
    segment->lower = bound(lower);
    segment->upper = bound(upper);
    segment->seq_min = 1000 - 10 * view->run_count;
    segment->seq_max = segment->seq_min + 5;
    segment->entries = bytes / 1024 + 1;
    return segment;
}

/* The last level: keys 0 .. 200 in segments of 64 MB, `count` of them. */
static void add_last(int count)
{
    for (int i = 0; i < count; i++)
        add(LAST, 0, i * 200 / count, (i + 1) * 200 / count, 64 * MB);
}

static void expect_pick(enum pick_kind kind, enum pick_reason reason, uint32_t output_level,
                        const uint64_t *inputs, size_t count)
{
    struct pick pick;

    assert_int_equal(picker_pick(&picture.view, &pick), 0);
    assert_int_equal(pick.kind, kind);
    if (kind != PICK_NOTHING) {
        assert_int_equal(pick.reason, reason);
        assert_int_equal(pick.input_count, count);
        assert_memory_equal(pick.inputs, inputs, count * sizeof(*inputs));
        if (kind != PICK_DROP)
            assert_int_equal(pick.output_level, output_level);
        if (kind == PICK_MERGE)
            assert_true(pick.output_segment_bytes > 0);
    }
    pick_deinit(&pick);
}

static void expect_reason(enum pick_reason reason)
{
    struct pick pick;

    assert_int_equal(picker_pick(&picture.view, &pick), 0);
    assert_int_equal(pick.kind, PICK_MERGE);
    assert_int_equal(pick.reason, reason);
    pick_deinit(&pick);
}

#define EXPECT_PICK(kind, reason, level, ...)                                                      \
    do {                                                                                           \
        const uint64_t files[] = {__VA_ARGS__};                                                    \
        expect_pick(kind, reason, level, files, COUNT_OF(files));                                  \
    } while (0)
#define EXPECT_NOTHING() expect_pick(PICK_NOTHING, PICK_FOR_DEAD, 0, NULL, 0)

static void test_nothing_is_due(void **state)
{
    (void)state;
    start();
    EXPECT_NOTHING();
    add(0, 1, 0, 200, 64 * MB);
    add_last(16);
    EXPECT_NOTHING(); /* 64 MB above 1 GB */
}

static void test_floor(void **state)
{
    static const uint64_t both[] = {1, 2};
    struct picker_debt debt;

    (void)state;
    start();
    add(0, 1, 0, 200, 100 * MB);
    add(LAST, 0, 0, 250, 60 * MB);
    picture.view.floor_bytes = 128 * MB;
    EXPECT_NOTHING();
    picker_debt(&picture.view, &debt);
    assert_int_equal(debt.upper_target_bytes, 128 * MB);
    assert_int_equal(debt.floor_gives_bytes, 128 * MB - 60 * MB * PICKER_UPPER_PERCENT / 100);
    picture.view.floor_bytes = 99 * MB;
    expect_pick(PICK_MERGE, PICK_FOR_SPACE, LAST, both, COUNT_OF(both));
}

static void test_debt(void **state)
{
    struct picker_debt debt;

    (void)state;
    start();
    add(0, 3, 0, 20, 10 * MB);
    add(0, 3, 100, 120, 10 * MB);
    add(0, 2, 10, 110, 10 * MB);
    add(0, 1, 19, 30, 10 * MB);
    add_last(16);
    picker_debt(&picture.view, &debt);
    assert_int_equal(debt.last_level, LAST);
    assert_int_equal(debt.last_level_bytes, 1024 * MB);
    assert_int_equal(debt.upper_bytes, 40 * MB);
    assert_int_equal(debt.upper_target_bytes, 1024 * MB * PICKER_UPPER_PERCENT / 100);
    assert_int_equal(debt.floor_gives_bytes, 0);
    assert_int_equal(debt.level0_depth, 3);
    assert_int_equal(debt.dead_bytes, 40 * MB);
    assert_int_equal(debt.targets[0], debt.upper_target_bytes);
    assert_int_equal(debt.targets[LAST - 1], 0);
}

/* What hides nothing may lie above the last level, however much it is; of what does the share of what is needed may
 * be dead, tombstones and what they hide among it. */
static void test_debt__what_is_dead(void **state)
{
    struct picker_debt debt;

    (void)state;
    start();
    struct picker_segment *over = add(0, 1, 0, 200, 512 * MB);
    over->hiding_bytes = 0;
    add_last(16);
    EXPECT_NOTHING();
    over->hiding_bytes = 200 * MB;
    picker_debt(&picture.view, &debt);
    assert_int_equal(debt.upper_bytes, 512 * MB);
    assert_int_equal(debt.upper_dead_bytes, 200 * MB);
    picture.view.flush_bytes = 64 * MB;
    picker_debt(&picture.view, &debt);
    assert_int_equal(debt.flush_dead_bytes, 25 * MB);
    assert_int_equal(debt.upper_target_bytes, (1536 - 200) * MB * PICKER_UPPER_PERCENT / 100);
    EXPECT_NOTHING();
    over->deletes = 40 * 1024; /* of about 1 KiB each in the last level */
    picker_debt(&picture.view, &debt);
    assert_in_range(debt.upper_dead_bytes, 239 * MB, 240 * MB);
    over->deletes = 1024 * 1024; /* they hide more than they are */
    picker_debt(&picture.view, &debt);
    assert_int_equal(debt.flush_dead_bytes, 64 * MB);
    expect_reason(PICK_FOR_SPACE);
}

/* Where most is dead for what is rewritten comes first, not where most lies. */
static void test_level0__most_dead(void **state)
{
    (void)state;
    start();
    add(0, 2, 0, 100, 300 * MB)->hiding_bytes = 30 * MB;
    add(0, 1, 100, 200, 200 * MB)->hiding_bytes = 150 * MB;
    add(LAST, 0, 0, 100, 64 * MB);
    add(LAST, 0, 100, 200, 64 * MB);
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 2, 4);
}

/* Runs that do not meet are a price for reads, too. Those over nothing go down as they are. */
static void test_level0__runs_that_do_not_meet(void **state)
{
    (void)state;
    start();
    for (int i = 9; i > 0; i--)
        add(0, (uint64_t)i, 100 + 10 * i, 105 + 10 * i, 10 * MB)->hiding_bytes = 0;
    EXPECT_PICK(PICK_MOVE, PICK_FOR_LEVEL0, LAST, 9);
    picture.view.run_count--;
    EXPECT_NOTHING();
}

/* How many levels lie between follows from what level 0 may hold. */
static void test_debt__levels_between(void **state)
{
    struct picker_debt debt;

    (void)state;
    start();
    picture.view.flush_bytes = MB;
    for (int i = 0; i < 200; i++)
        add(LAST, 0, i, i + 1, 512 * MB);
    picker_debt(&picture.view, &debt);
    assert_int_equal(debt.targets[LAST], 100 * 1024 * MB);
    assert_int_equal(debt.targets[LAST - 1], 100 * 1024 * MB / 10);
    assert_int_equal(debt.targets[LAST - 2], 100 * 1024 * MB / 10 / 10);
    assert_int_equal(debt.targets[LAST - 3], 100 * 1024 * MB / 10 / 10 / 10);
    assert_int_equal(debt.targets[LAST - 4], 0);
    assert_true(debt.targets[0] > 0 && debt.targets[0] < 200 * MB);
}

/* A level that is there is kept while the data would need it if they were twice as large. */
static void test_debt__levels_do_not_come_and_go(void **state)
{
    struct picker_debt debt;

    (void)state;
    start();
    picture.view.flush_bytes = MB;
    add_last(4); /* 43 MB may lie above: level 0 holds that */
    picker_debt(&picture.view, &debt);
    assert_int_equal(debt.targets[LAST - 1], 0);
    start();
    picture.view.flush_bytes = MB;
    add(LAST - 1, 0, 0, 200, 10 * MB);
    add_last(4);
    picker_debt(&picture.view, &debt);
    assert_true(debt.targets[LAST - 1] > 0);
    start();
    picture.view.flush_bytes = MB;
    add(LAST - 1, 0, 0, 200, 10 * MB);
    add_last(1);
    picker_debt(&picture.view, &debt);
    assert_int_equal(debt.targets[LAST - 1], 0);
    EXPECT_PICK(PICK_MERGE, PICK_FOR_LEVEL, LAST, 1, 2); /* and it is emptied */
}

/* With the seed go the older ones that overlap it, and those they overlap; no others. */
static void test_level0__older_come_along(void **state)
{
    (void)state;
    start();
    add(0, 3, 0, 90, 400 * MB);  /* 1: the fullest; */
    add(0, 2, 80, 110, 2 * MB);  /* 2: older, must come */
    add(0, 1, 105, 112, 2 * MB); /* 3: overlaps only 2, must come */
    add(0, 1, 130, 140, 2 * MB); /* 4 */
    add_last(8);                 /* 5 .. 12, 25 keys each */
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 1, 2, 3, 5, 6, 7, 8, 9);
}

/* Newer ones come if they lie inside of what is rewritten anyway; one that would widen it stays. */
static void test_level0__newer_come_if_inside(void **state)
{
    (void)state;
    start();
    add(0, 5, 26, 49, 1 * MB);   /* 1: inside, but over 2, which stays */
    add(0, 4, 40, 60, 1 * MB);   /* 2: would widen it */
    add(0, 3, 26, 30, 1 * MB);   /* 3: inside */
    add(0, 2, 30, 45, 180 * MB); /* 4: the seed */
    add_last(8);                 /* 5 .. 12, 25 keys each */
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 3, 4, 6);
}

static void test_level0__moves(void **state)
{
    (void)state;
    start();
    add(0, 1, 0, 200, 64 * MB); /* the first flush of all */
    EXPECT_PICK(PICK_MOVE, PICK_FOR_SPACE, LAST, 1);
    start();
    add(0, 2, 220, 240, 60 * MB); /* over 2, which has nothing below */
    add(0, 1, 210, 230, 60 * MB);
    add_last(8);
    EXPECT_PICK(PICK_MOVE, PICK_FOR_SPACE, LAST, 2);
    /* While 2 is on its way, 1 must not pass it. */
    picture.segments[1][0].busy = 1;
    EXPECT_NOTHING();
}

/* Too deep, but far from full: merged with each other. */
static void test_level0__merges_inside(void **state)
{
    struct pick pick;

    (void)state;
    start();
    for (uint64_t no = 20; no > 12; no--)
        add(0, no, 0, 200, MB);
    add(0, 3, 0, 100, 90 * MB);
    add(0, 3, 100, 200, 1 * MB);
    add_last(16);
    assert_int_equal(picker_pick(&picture.view, &pick), 0);
    assert_int_equal(pick.kind, PICK_MERGE);
    assert_int_equal(pick.reason, PICK_FOR_LEVEL0);
    assert_int_equal(pick.output_level, 0);
    assert_int_equal(pick.output_run_no, 20);
    assert_int_equal(pick.input_count, 8); /* the small ones */
    assert_int_equal(pick.inputs[7], 8);
    pick_deinit(&pick);
}

/* A merge inside level 0 leaves no run out in between, where one of the others reaches. */
static void test_level0__inside_takes_all_between(void **state)
{
    struct pick pick;

    (void)state;
    start();
    add(0, 20, 0, 100, MB);
    add(0, 19, 110, 130, MB); /* 2: reached by 3, which is older */
    add(0, 18, 90, 120, MB);  /* 3 */
    for (uint64_t no = 17; no > 9; no--)
        add(0, no, 0, 100, MB);
    add_last(16);
    assert_int_equal(picker_pick(&picture.view, &pick), 0);
    assert_int_equal(pick.output_level, 0);
    assert_int_equal(pick.output_run_no, 20);
    assert_int_equal(pick.input_count, 11);
    pick_deinit(&pick);
}

/* What is too deep while too much is dead goes down at once, if the place is as full as the mean. */
static void test_level0__deep_and_dead(void **state)
{
    struct pick pick;

    (void)state;
    for (int is_over = 0; is_over < 2; is_over++) {
        start();
        picture.view.floor_bytes = 128 * MB;
        for (uint64_t no = 20; no > 9; no--)
            add(0, no, 0, 200, is_over ? 16 * MB : 11 * MB);
        add(LAST, 0, 0, 200, 72 * MB);
        assert_int_equal(picker_pick(&picture.view, &pick), 0);
        assert_int_equal(pick.output_level, is_over ? LAST : 0);
        assert_int_equal(pick.relieved_bytes, is_over ? 11 * 16 * MB : 0);
        assert_int_equal(pick.input_entries, is_over ? 11 * (16 * 1024 + 1) + 72 * 1024 + 1
                                                     : pick.input_count * (11 * 1024 + 1));
        pick_deinit(&pick);
    }
}

/* At rest, however shallow; but what is larger than all newer ones together is not written again for them. */
static void test_level0__alike_at_rest(void **state)
{
    (void)state;
    start();
    add(0, 9, 0, 200, 3 * MB);
    add(0, 8, 0, 200, 2 * MB);
    add(0, 7, 0, 200, 5 * MB);
    add(0, 6, 0, 200, 11 * MB);
    add_last(16);
    EXPECT_NOTHING();
    picture.view.idle = 1;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_LEVEL0, 0, 1, 2, 3);

    start();
    picture.view.idle = 1;
    add(0, 9, 0, 200, 10 * MB);
    add(0, 8, 0, 200, 11 * MB);
    add_last(16);
    EXPECT_NOTHING(); /* what was merged is not merged again with the next */
}

/* Runs of which the newest is small: those behind it are merged without it. */
static void test_level0__alike_behind_a_small_one(void **state)
{
    (void)state;
    start();
    picture.view.idle = 1;
    add(0, 9, 0, 200, MB);
    add(0, 8, 0, 100, 8 * MB); /* 2 */
    add(0, 8, 100, 200, 8 * MB);
    add(0, 7, 0, 100, 8 * MB); /* 4 */
    add(0, 7, 100, 200, 9 * MB);
    add(0, 6, 0, 100, 8 * MB); /* 6 */
    add_last(16);
    EXPECT_PICK(PICK_MERGE, PICK_FOR_LEVEL0, 0, 2, 4, 6);
    picture.segments[2][0].busy = 1;
    EXPECT_NOTHING();
}

/* One piece is of like size, but what must come along is not. */
static void test_level0__alike_as_a_whole(void **state)
{
    (void)state;
    start();
    picture.view.idle = 1;
    add(0, 9, 0, 200, 10 * MB);
    add(0, 8, 0, 100, 10 * MB);
    add(0, 8, 100, 200, 100 * MB);
    add_last(16);
    EXPECT_NOTHING();

    start(); /* nor is it with a third, which reaches over both */
    picture.view.idle = 1;
    add(0, 9, 0, 100, 10 * MB);
    add(0, 8, 0, 100, 10 * MB);
    add(0, 8, 100, 200, 100 * MB);
    add(0, 7, 0, 200, 10 * MB);
    add_last(16);
    EXPECT_PICK(PICK_MERGE, PICK_FOR_LEVEL0, 0, 1, 2);
    picture.segments[1][1].bytes = 0;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_LEVEL0, 0, 1, 2, 3, 4);
}

static void test_busy(void **state)
{
    (void)state;
    start();
    add(0, 1, 26, 49, 100 * MB); /* 1 */
    add(0, 1, 51, 74, 90 * MB);  /* 2 */
    add_last(8);                 /* 3 .. 10 */
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 1, 4);
    picture.segments[1][1].busy = 1; /* where 1 goes */
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 2, 5);
    picture.segments[0][1].busy = 1;
    EXPECT_NOTHING();
}

/* A job whose inputs have a gap writes across it. */
static void test_busy__gap(void **state)
{
    (void)state;
    start();
    add(0, 1, 60, 70, 100 * MB);
    add(LAST, 0, 0, 50, 10 * MB);
    add(LAST, 0, 80, 100, 10 * MB);
    EXPECT_PICK(PICK_MOVE, PICK_FOR_SPACE, LAST, 1);
    picture.segments[1][0].busy = 1;
    picture.segments[1][1].busy = 1;
    EXPECT_NOTHING();
}

static void test_level__least_overlap(void **state)
{
    (void)state;
    start();
    picture.view.flush_bytes = MB;
    add(LAST - 1, 0, 0, 60, 64 * MB);    /* 1: over 3 .. */
    add(LAST - 1, 0, 101, 112, 64 * MB); /* 2: over one */
    add_last(16);                        /* 3 .. 18 */
    EXPECT_PICK(PICK_MERGE, PICK_FOR_LEVEL, LAST, 2, 11);
}

/* What the disk has no room for is left alone; what is smaller is merged instead. */
static void test_room__bounds_a_merge(void **state)
{
    (void)state;
    start();
    add(0, 3, 0, 20, 400 * MB);    /* 1 */
    add(0, 1, 130, 140, 160 * MB); /* 2 */
    add_last(8);                   /* 3 .. 10, 25 keys each */
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 1, 3);
    picture.view.room_bytes = 463 * MB;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 2, 8);
    picture.view.room_bytes = 224 * MB;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 2, 8);
    picture.view.room_bytes = 224 * MB - 1;
    for (int i = 0; i < 8; i++)
        picture.segments[2][i].culled_seq = UINT64_MAX;
    EXPECT_NOTHING();
    picture.segments[1][0].deletes = 32; /* which hide 32 KB below */
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SPACE, LAST, 2, 8);
    start();
    add(0, 1, 0, 200, 64 * MB); /* a move needs none */
    picture.view.room_bytes = 1;
    EXPECT_PICK(PICK_MOVE, PICK_FOR_SPACE, LAST, 1);
}

/* A dead segment that meets nothing below is rewritten, not moved: that needs room. */
static void test_room__bounds_what_is_dead(void **state)
{
    (void)state;
    start();
    add(0, 1, 0, 20, 8 * MB)->expired_bytes = 6 * MB;  /* 1 */
    add(0, 1, 30, 35, 2 * MB)->expired_bytes = 2 * MB; /* 2 */
    add(LAST, 0, 100, 200, 640 * MB);
    EXPECT_PICK(PICK_MERGE, PICK_FOR_DEAD, LAST, 1);
    picture.view.room_bytes = 8 * MB - 1;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_DEAD, LAST, 2);
    picture.view.room_bytes = 1;
    EXPECT_NOTHING();
}

static void expect_cull(uint32_t level, uint64_t run_no, uint64_t file_no)
{
    struct pick pick;

    assert_int_equal(picker_pick(&picture.view, &pick), 0);
    assert_int_equal(pick.kind, PICK_MERGE);
    assert_int_equal(pick.reason, PICK_FOR_DEAD);
    assert_int_equal(pick.cull, 1);
    assert_int_equal(pick.input_count, 1);
    assert_int_equal(pick.inputs[0], file_no);
    assert_int_equal(pick.output_level, level);
    assert_int_equal(pick.output_run_no, run_no);
    pick_deinit(&pick);
}

/* Level 0 is wide and deep, and no two of its runs fit into the room: old segments are rewritten alone, one
 * after the other, where they lie. */
static void test_cull__where_no_merge_fits(void **state)
{
    (void)state;
    start();
    for (uint64_t no = 20; no > 1; no--)
        add(0, no, 0, 200, 64 * MB); /* 1 .. 19 */
    add(LAST, 0, 0, 200, 64 * MB);   /* 20: else the oldest would move */
    struct picker_segment *top = &picture.segments[0][0];
    picture.view.room_bytes = 64 * MB;
    expect_cull(LAST, 0, 20);
    picture.view.room_bytes = 64 * MB -
                              1; /* what hides may be guessed wrong, and leaves all of it */
    EXPECT_NOTHING();
    top->deletes = top->entries; /* but what tombstones hide is counted on: 1 / 19 of the oldest */
    picture.view.room_bytes = 64 * MB / 100 * 97;
    expect_cull(LAST, 0, 20);
    picture.view.room_bytes = 64 * MB / 100 * 95;
    EXPECT_NOTHING();
    picture.view.room_bytes = 64 * MB;
    picture.segments[19][0].culled_seq = top->seq_max; /* it knows all that lies above */
    expect_cull(0, 2, 19);
    for (int i = 0; i < 20; i++)
        picture.segments[i][0].culled_seq = top->seq_max;
    EXPECT_NOTHING();
    top->seq_max += 20; /* more came; that alone is too little */
    top->entries /= 4;
    top->deletes /= 4;
    EXPECT_NOTHING();
    picture.view.oldest_snapshot_seq = top->seq_max - 1;
    top->entries = 100 * picture.segments[1][0]
                             .entries; /* what a snapshot does not see hides nothing from it */
    EXPECT_NOTHING();
    picture.view.oldest_snapshot_seq = UINT64_MAX;
    expect_cull(LAST, 0, 20);
}

/* While writes are refused, a little that was deleted is worth it, though nothing is due. */
static void test_cull__while_writes_are_refused(void **state)
{
    (void)state;
    start();
    struct picker_segment *top = add(0, 1, 0, 200, MB); /* 1 */
    add_last(16);                                       /* 2 .. 17 */
    top->entries = top->deletes = 16 * 65537 / 20;
    EXPECT_NOTHING();
    picture.view.low = 1;
    expect_cull(LAST, 0, 2);
    top->entries = top->deletes = 16 * 65537 / 100;
    EXPECT_NOTHING();
    picture.segments[1][3].covered_bytes = 4 * MB; /* dead without them */
    expect_cull(LAST, 0, 5);
}

static void test_drop__covered(void **state)
{
    (void)state;
    start();
    add(0, 1, 0, 10, MB)->cover_seq = 2000;
    add_last(16);
    picture.segments[1][3].cover_seq = 2000;
    picture.segments[1][4].cover_seq = 2000;
    picture.segments[1][4].busy = 1;
    EXPECT_PICK(PICK_DROP, PICK_FOR_DEAD, 0, 1, 5);
}

/* What is dead goes with what is dead below it; not over what is alive. */
static void test_drop__dead_from_below(void **state)
{
    (void)state;
    start();
    add(0, 2, 0, 20, MB)->all_dead = 1;         /* 1: over 2 and 3 */
    add(0, 1, 5, 10, MB)->all_dead = 1;         /* 2: over 3 */
    add(0, 1, 60, 70, MB)->all_dead = 1;        /* 3: over 6, which lives */
    add(LAST, 0, 0, 40, 64 * MB)->all_dead = 1; /* 4 */
    add(LAST, 0, 50, 200, 64 * MB);             /* 5 */
    EXPECT_PICK(PICK_DROP, PICK_FOR_DEAD, 0, 1, 2, 4);
    picture.segments[2][0].busy = 1; /* on its way elsewhere: what lies above it stays */
    EXPECT_NOTHING();
}

static void test_drop__only_range_tombstones(void **state)
{
    struct picker_segment *segment;

    (void)state;
    start();
    segment = add(0, 1, 210, 220, MB);
    segment->entries = segment->deletes = segment->ranges = 3;
    add_last(16);
    EXPECT_PICK(PICK_DROP, PICK_FOR_DEAD, 0, 1);
    start();
    segment = add(0, 1, 20, 30, MB);
    segment->entries = segment->deletes = segment->ranges = 3;
    add_last(16);
    EXPECT_NOTHING(); /* it hides something */
}

static void test_dead__in_the_last_level(void **state)
{
    (void)state;
    start();
    add_last(16);
    picture.segments[0][3].deletes = picture.segments[0][3].entries * 3 / 10;
    picture.segments[0][5].expired_bytes = 33 * MB;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_DEAD, LAST, 6); /* more than half */
    picture.segments[0][5].expired_bytes = 0;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_DEAD, LAST, 4); /* more than a quarter */
    /* A snapshot holds them: a rewrite would bring them back, for ever. */
    picture.view.oldest_snapshot_seq = picture.segments[0][3].seq_max - 1;
    EXPECT_NOTHING();
    picture.view.oldest_snapshot_seq = picture.segments[0][3].seq_max;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_DEAD, LAST, 4);
}

/* Tombstones weigh what they hide. */
static void test_dead__above(void **state)
{
    struct picker_segment *segment;

    (void)state;
    start();
    segment = add(0, 1, 30, 31, MB);
    segment->entries = 20000;
    segment->deletes = 19000; /* of some 65,000 that lie there */
    add_last(16);
    EXPECT_PICK(PICK_MERGE, PICK_FOR_DEAD, LAST, 1, 4);
    segment->deletes = 6000; /* not worth a rewrite of 64 MB */
    EXPECT_NOTHING();
}

static void test_all(void **state)
{
    (void)state;
    start();
    add(0, 9, 26, 49, MB)->seq_min = 5000;
    add(0, 2, 30, 40, MB); /* 2 */
    add(0, 1, 60, 70, MB); /* 3 */
    add_last(8);           /* 4 .. 11 */
    picture.view.compact_all = 1;
    picture.view.compact_all_seq = 4000;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_ALL, LAST, 1, 2, 5); /* 1 may come, since it is inside */
    picture.runs[1].count = 0;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_ALL, LAST, 3, 6);
    picture.runs[2].count = 0;
    EXPECT_NOTHING(); /* 1 alone is too new */
}

static void test_all__one_run(void **state)
{
    (void)state;
    start();
    add_last(4);
    picture.view.compact_all = 1;
    picture.view.compact_all_seq = 4000;
    EXPECT_NOTHING();
    picture.segments[0][2].deletes = 1;
    EXPECT_PICK(PICK_MERGE, PICK_FOR_ALL, LAST, 3);
    picture.view.oldest_snapshot_seq = 1;
    EXPECT_NOTHING();
}

static void test_segments(void **state)
{
    struct pick pick;

    (void)state;
    start();
    picture.view.segments_max = 16;
    picture.view.segment_size_bytes = MB;
    for (int i = 0; i < 13; i++)
        add(LAST, 0, 10 * i, 10 * i + 10, i == 4 || i == 5 ? 4096 : MB);
    EXPECT_PICK(PICK_MERGE, PICK_FOR_SEGMENTS, LAST, 5, 6);
    assert_int_equal(picker_pick(&picture.view, &pick), 0);
    assert_true(pick.output_segment_bytes >= 8192);
    pick_deinit(&pick);
    picture.view.segments_max = 4096;
    EXPECT_NOTHING();
}

/* The more bytes segments_max has to hold, the longer segments get. */
static void test_segments__grow(void **state)
{
    struct pick pick;
    uint64_t few, many;

    (void)state;
    start();
    add(0, 1, 0, 199, 1024 * MB);
    add_last(8);
    assert_int_equal(picker_pick(&picture.view, &pick), 0);
    few = pick.output_segment_bytes;
    pick_deinit(&pick);
    picture.view.segments_max = 32;
    assert_int_equal(picker_pick(&picture.view, &pick), 0);
    many = pick.output_segment_bytes;
    pick_deinit(&pick);
    assert_true(many > few * 3 / 2);
}

static void test_no_memory(void **state)
{
    struct pick pick;
    int rc = VARVE_ENOMEM;

    (void)state;
    start();
    add(0, 1, 26, 49, 100 * MB);
    add_last(8);
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = picker_pick(&picture.view, &pick);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || rc == VARVE_ENOMEM);
        assert_int_equal(pick.kind, rc == 0 ? PICK_MERGE : PICK_NOTHING);
        pick_deinit(&pick);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_due),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_debt),
        cmocka_unit_test(test_debt__what_is_dead),
        cmocka_unit_test(test_debt__levels_between),
        cmocka_unit_test(test_debt__levels_do_not_come_and_go),
        cmocka_unit_test(test_level0__older_come_along),
        cmocka_unit_test(test_level0__newer_come_if_inside),
        cmocka_unit_test(test_level0__moves),
        cmocka_unit_test(test_level0__most_dead),
        cmocka_unit_test(test_level0__runs_that_do_not_meet),
        cmocka_unit_test(test_level0__merges_inside),
        cmocka_unit_test(test_level0__inside_takes_all_between),
        cmocka_unit_test(test_level0__deep_and_dead),
        cmocka_unit_test(test_level0__alike_at_rest),
        cmocka_unit_test(test_level0__alike_behind_a_small_one),
        cmocka_unit_test(test_level0__alike_as_a_whole),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_busy__gap),
        cmocka_unit_test(test_level__least_overlap),
        cmocka_unit_test(test_room__bounds_a_merge),
        cmocka_unit_test(test_room__bounds_what_is_dead),
        cmocka_unit_test(test_cull__where_no_merge_fits),
        cmocka_unit_test(test_cull__while_writes_are_refused),
        cmocka_unit_test(test_drop__covered),
        cmocka_unit_test(test_drop__dead_from_below),
        cmocka_unit_test(test_drop__only_range_tombstones),
        cmocka_unit_test(test_dead__in_the_last_level),
        cmocka_unit_test(test_dead__above),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_all__one_run),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_segments__grow),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
