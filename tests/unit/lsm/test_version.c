#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rcu.h"
#include "base/rng.h"
#include "lsm/version.h"
#include "segment/segment_writer.h"
#include "sim_env.h"

struct disk {
    struct sim_env *sim;
    struct varve_env *env;
    struct dir_id id;
    uint64_t next_file_no;
    struct varve_err err;
};

static void disk_init(struct disk *disk)
{
    *disk = (struct disk){.sim = sim_env_create(1), .id = {{7, 7, 7}}, .next_file_no = 1};
    disk->env = sim_as_env(disk->sim);
}

static void disk_deinit(struct disk *disk)
{
    sim_env_destroy(disk->sim);
}

/* ---- segments ---- */

struct item {
    struct varve_slice key;
    struct varve_slice end; /* len 0: a put; else a range tombstone */
    uint64_t seq;
};

static struct item put_item(const char *key, uint64_t seq)
{
    return (struct item){.key = varve_slice_str(key), .seq = seq};
}

static struct item range_item(const char *begin, const char *end, uint64_t seq)
{
    return (struct item){varve_slice_str(begin), varve_slice_str(end), seq};
}

static void add_item(struct disk *disk, struct segment_writer *writer, const struct item *item)
{
    struct entry entry = {
        .seq = item->seq,
        .chunk = {.kind = CHUNK_PUT, .key = item->key, .value = varve_slice_str("value")},
    };

    if (item->end.len > 0) {
        entry.chunk.kind = CHUNK_RANGE_DELETE;
        entry.chunk.value = item->end;
    }
    entry.chunk.crc = chunk_crc(&entry.chunk);
    int rc = item->end.len > 0 ? segment_writer_add_range(writer, &entry, &disk->err)
                               : segment_writer_add(writer, &entry, &disk->err);
    assert_int_equal(rc, 0);
}

/* A real one, with one reference. Items in order, ranges among them. */
static struct segment *make_segment(struct disk *disk, const struct item *items, size_t count)
{
    struct segment_writer_options options = {
        .env = disk->env, .id = &disk->id, .block_size_bytes = 512, .bits_per_key = 10};
    struct segment_writer *writer = NULL;
    struct segment *segment = NULL;
    uint64_t file_no = disk->next_file_no++;
    char path[32];

    snprintf(path, sizeof(path), "/%06u.seg", (unsigned)file_no);
    assert_int_equal(segment_writer_create(&options, path, file_no, &writer, &disk->err), 0);
    for (size_t i = 0; i < count; i++)
        add_item(disk, writer, &items[i]);
    assert_int_equal(segment_writer_finish(writer, &disk->err), 0);
    segment_writer_destroy(writer);
    assert_int_equal(segment_open(disk->env, path, &disk->id, file_no, NULL, &segment, &disk->err),
                     0);
    return segment;
}

/* Puts of keys from, from + step, .. to: one letter each. */
static struct segment *make_letters(struct disk *disk, char from, char to, uint64_t seq)
{
    struct item items[26];
    static char keys[26][2];
    size_t count = 0;

    for (char c = from; c <= to; c++) {
        keys[c - 'a'][0] = c;
        items[count++] = put_item(keys[c - 'a'], seq);
    }
    return make_segment(disk, items, count);
}

/* ---- changes ---- */

/* Gives `before` away. On failure NULL, and before is gone as well. */
static struct version *apply(struct disk *disk, struct version *before,
                             const struct version_change *change, int want)
{
    struct version *after = NULL;
    int rc = version_apply(before, change, &after, &disk->err);

    assert_int_equal(rc, want);
    assert_int_equal(rc == 0, after != NULL);
    version_unref(before);
    return after;
}

/* Adds the segment, whose reference it takes over. */
static struct version *add(struct disk *disk, struct version *before, struct segment *segment,
                           uint32_t level, uint64_t run_no, int want)
{
    struct version_add added = {.segment = segment, .level = level, .run_no = run_no};
    struct version_change change = {.added = &added, .added_count = 1};
    struct version *after = apply(disk, before, &change, want);

    segment_unref(segment);
    return after;
}

static struct version *drop(struct disk *disk, struct version *before, uint64_t file_no, int want)
{
    struct version_change change = {.dropped = &file_no, .dropped_count = 1};

    return apply(disk, before, &change, want);
}

/* "0/9:3,4 1/0:1 " - level/run:files. */
static const char *shape(const struct version *version)
{
    static char text[512];
    int at = 0;

    text[0] = '\0';
    for (size_t i = 0; i < version->run_count; i++) {
        const struct sorted_run *run = &version->runs[i];
        at += snprintf(text + at, sizeof(text) - (size_t)at, "%u/%u:", run->level,
                       (unsigned)run->no);
        for (size_t j = 0; j < run->count; j++)
            at += snprintf(text + at, sizeof(text) - (size_t)at, "%u%s",
                           (unsigned)segment_file_no(run->segments[j]),
                           j + 1 < run->count ? "," : " ");
    }
    return text;
}

static void test_version__runs_are_in_order(void **state)
{
    struct disk disk;

    (void)state;
    disk_init(&disk);
    struct version *version = version_create();
    assert_string_equal(shape(version), "");
    version = add(&disk, version, make_letters(&disk, 'a', 'c', 1), 3, 0, 0);
    version = add(&disk, version, make_letters(&disk, 'm', 'p', 9), 0, 7, 0);
    version = add(&disk, version, make_letters(&disk, 'a', 'c', 9), 0, 7, 0);
    version = add(&disk, version, make_letters(&disk, 'b', 'z', 12), 0, 10, 0);
    version = add(&disk, version, make_letters(&disk, 'd', 'z', 5), 1, 0, 0);
    assert_string_equal(shape(version), "0/10:4 0/7:3,2 1/0:5 3/0:1 ");
    assert_int_equal(version->segment_count, 5);
    uint64_t bytes = 0;
    for (size_t i = 0; i < version->run_count; i++)
        bytes += version->runs[i].bytes;
    assert_int_equal(version->bytes, bytes);
    assert_int_equal(version->runs[0].bytes, segment_size_bytes(version->runs[0].segments[0]));
    version = drop(&disk, version, 3, 0);
    version = drop(&disk, version, 4, 0);
    assert_string_equal(shape(version), "0/7:2 1/0:5 3/0:1 ");
    struct version_change nothing = {.flushed_seq = 0};
    version = apply(&disk, version, &nothing, 0);
    assert_string_equal(shape(version), "0/7:2 1/0:5 3/0:1 ");
    version_unref(version);
    version_unref(NULL);
    disk_deinit(&disk);
}

static void test_version__a_move_drops_and_adds(void **state)
{
    struct disk disk;

    (void)state;
    disk_init(&disk);
    struct version *version = add(&disk, version_create(), make_letters(&disk, 'a', 'c', 1), 0, 4,
                                  0);
    uint64_t file_no = 1;
    struct version_add added = {.segment = version->runs[0].segments[0], .level = 2};
    struct version_change move = {
        .dropped = &file_no, .dropped_count = 1, .added = &added, .added_count = 1};
    version = apply(&disk, version, &move, 0);
    assert_string_equal(shape(version), "2/0:1 ");
    version_unref(version);
    disk_deinit(&disk);
}

static struct version *letters_version(struct disk *disk)
{
    struct version *version = add(disk, version_create(), make_letters(disk, 'd', 'f', 1), 1, 0, 0);

    return add(disk, version, make_letters(disk, 'm', 'p', 1), 1, 0, 0);
}

static void test_version__what_cannot_be_is_refused(void **state)
{
    static const struct {
        char from;
        char to;
        uint32_t level;
        uint64_t run_no;
        int want;
    } rows[] = {
        {'f', 'g', 1, 0, VARVE_ECORRUPT},
        {'a', 'd', 1, 0, VARVE_ECORRUPT},
        {'e', 'e', 1, 0, VARVE_ECORRUPT},
        {'a', 'z', 1, 0, VARVE_ECORRUPT},
        {'d', 'f', 1, 0, VARVE_ECORRUPT},
        {'a', 'b', LEVELS_MAX, 0, VARVE_ECORRUPT},
        {'a', 'b', 1, 3, VARVE_ECORRUPT},
        {'g', 'l', 1, 0, 0},
        {'a', 'c', 1, 0, 0},
        {'d', 'f', 0, 3, 0},
    };
    struct disk disk;

    (void)state;
    disk_init(&disk);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct version *version = letters_version(&disk);
        struct segment *segment = make_letters(&disk, rows[i].from, rows[i].to, 2);
        version = add(&disk, version, segment, rows[i].level, rows[i].run_no, rows[i].want);
        version_unref(version);
    }
    struct version *version = letters_version(&disk);
    struct segment *again = version->runs[0].segments[0];
    struct version_add twice[] = {{.segment = again, .level = 2}};
    struct version_change change = {.added = twice, .added_count = 1};
    assert_null(apply(&disk, version_ref(version), &change, VARVE_ECORRUPT));
    assert_non_null(strstr(disk.err.text, "twice"));
    uint64_t first = segment_file_no(again);
    uint64_t same[] = {first, first};
    change = (struct version_change){.dropped = same, .dropped_count = 2};
    assert_null(apply(&disk, version_ref(version), &change, VARVE_ECORRUPT));
    same[1] = 998;
    assert_null(apply(&disk, version_ref(version), &change, VARVE_ECORRUPT));
    assert_non_null(strstr(disk.err.text, "000998"));
    assert_null(drop(&disk, version, 999, VARVE_ECORRUPT));
    assert_non_null(strstr(disk.err.text, "000999"));
    disk_deinit(&disk);
}

/* The file of a segment that is dead goes with the last version that has it. */
static void test_version__readers_keep_what_they_began_with(void **state)
{
    struct disk disk;
    struct varve_file *file = NULL;

    (void)state;
    disk_init(&disk);
    struct version *old = letters_version(&disk);
    struct version *new = drop(&disk, version_ref(old), 1, 0);
    segment_mark_dead(old->runs[0].segments[0]);
    assert_int_equal(new->runs[0].count, 1);
    assert_int_equal(segment_file_no(old->runs[0].segments[0]), 1);
    assert_int_equal(
        disk.env->ops->open(disk.env, "/000001.seg", VARVE_OPEN_READ, &file, &disk.err), 0);
    disk.env->ops->close(disk.env, file);
    version_unref(old);
    assert_int_equal(
        disk.env->ops->open(disk.env, "/000001.seg", VARVE_OPEN_READ, &file, &disk.err),
        VARVE_ENOENT);
    version_unref(new);
    disk_deinit(&disk);
}

static void test_version__no_memory(void **state)
{
    struct disk disk;
    struct item items[] = {put_item("q", 3), range_item("r", "s", 4)};
    struct version_group group = {.name = "g", .name_len = 1, .live = 1};
    struct version *after = NULL;
    int rc = -1;

    (void)state;
    disk_init(&disk);
    struct version *version = letters_version(&disk);
    struct segment *segment = make_segment(&disk, items, 2);
    struct version_add added = {.segment = segment, .level = 0, .run_no = 3};
    uint64_t dropped = 1;
    struct version_change change = {.added = &added,
                                    .added_count = 1,
                                    .dropped = &dropped,
                                    .dropped_count = 1,
                                    .groups = &group,
                                    .group_count = 1};
    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = version_apply(version, &change, &after, &disk.err);
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || (rc == VARVE_ENOMEM && after == NULL));
    }
    assert_string_equal(shape(after), "0/3:3 1/0:2 ");
    version_unref(after);
    version_unref(version);
    segment_unref(segment);
    disk_deinit(&disk);
}

/* ---- searching ---- */

static void check_overlap(const struct sorted_run *run, const char *lower, const char *upper,
                          size_t want_from, size_t want_to)
{
    size_t from = 99;
    size_t to = 99;

    run_overlap(run, varve_slice_str(lower), varve_slice_str(upper), &from, &to);
    assert_int_equal(to - from, want_to - want_from);
    if (want_from < want_to)
        assert_int_equal(from, want_from);
}

static void test_run__find_and_overlap(void **state)
{
    struct disk disk;
    struct item high[] = {{.key = varve_slice("\xff\xff", 2), .seq = 1}};

    (void)state;
    disk_init(&disk);
    struct version *version = letters_version(&disk); /* d..f, m..p */
    version = add(&disk, version, make_segment(&disk, high, 1), 1, 0, 0);
    const struct sorted_run *run = &version->runs[0];
    assert_int_equal(run_find(run, varve_slice_str("")), -1);
    assert_int_equal(run_find(run, varve_slice(NULL, 0)), -1);
    assert_int_equal(run_find(run, varve_slice_str("c")), -1);
    assert_int_equal(run_find(run, varve_slice_str("d")), 0);
    assert_int_equal(run_find(run, varve_slice_str("ezzzzzzzzzzzzz")), 0);
    assert_int_equal(run_find(run, varve_slice_str("f")), 0);
    assert_int_equal(run_find(run, run->uppers[0]), -1); /* it is exclusive */
    assert_int_equal(run_find(run, varve_slice_str("lzzzzzzzzzzzz")), -1);
    assert_int_equal(run_find(run, varve_slice_str("m")), 1);
    assert_int_equal(run_find(run, varve_slice("\xff\xff", 2)), 2);
    check_overlap(run, "", "", 0, 3);
    check_overlap(run, "", "d", 0, 0);
    check_overlap(run, "", "d1", 0, 1);
    check_overlap(run, "d", "m", 0, 1);
    check_overlap(run, "f", "m1", 0, 2);
    check_overlap(run, "f1", "m", 1, 1);
    check_overlap(run, "f1", "", 1, 3);
    check_overlap(run, "q", "", 2, 3);
    check_overlap(run, "q", "r", 2, 2);
    check_overlap(run, "z", "a", 2, 2);
    version_unref(version);
    disk_deinit(&disk);
}

/* Two segments of keys that begin alike; the last key does not with `far`. */
static void check_shared(const char *shared, int far)
{
    const char *const ends[] = {"1", "3", "5", "7zzzzzzzzzzz", ""};
    struct item items[5];
    char texts[5][32];
    struct disk disk;

    disk_init(&disk);
    for (size_t n = 0; n < 5; n++) {
        snprintf(texts[n], sizeof(texts[n]), "%s%s", n == 4 ? "abd" : shared, ends[n]);
        items[n] = (struct item){.key = varve_slice_str(texts[n]), .seq = 1};
    }
    size_t count = far ? 3 : 2;
    struct version *version = add(&disk, version_create(), make_segment(&disk, items, 2), 1, 0, 0);
    version = add(&disk, version, make_segment(&disk, items + 2, count), 1, 0, 0);
    const struct sorted_run *run = &version->runs[0];
    assert_int_equal(run->shared_len, far ? 2 : strlen(shared));
    for (size_t n = 0; n < 2 + count; n++)
        assert_int_equal(run_find(run, items[n].key), n < 2 ? 0 : 1);
    for (size_t n = 0; n < run->count; n++)
        assert_int_equal(run_find(run, run->uppers[n]), -1);
    snprintf(texts[0], sizeof(texts[0]), "%s\xff\xff\xff\xff\xff\xff\xff\xff\xff", shared);
    assert_int_equal(run_find(run, varve_slice_str(texts[0])), far ? 1 : -1);
    snprintf(texts[0], sizeof(texts[0]), "%s4", shared);
    assert_int_equal(run_find(run, varve_slice_str(texts[0])), -1);
    assert_int_equal(run_find(run, varve_slice_str("abb")), -1);
    assert_int_equal(run_find(run, varve_slice_str("ab")), -1);
    assert_int_equal(run_find(run, varve_slice_str("abd")), far ? 1 : -1);
    assert_int_equal(run_find(run, varve_slice_str("abe")), -1);
    version_unref(version);
    disk_deinit(&disk);
}

/* For less and for more than a number's 8 bytes. */
static void test_run__find_behind_what_is_shared(void **state)
{
    static const char *const shared[] = {"abc", "abcdefgh", "abcdefghijkl"};

    (void)state;
    for (size_t i = 0; i < 2 * COUNT_OF(shared); i++)
        check_shared(shared[i / 2], i % 2 == 1);
}

static void test_version__older_overlaps(void **state)
{
    struct disk disk;
    uint64_t skip[] = {1, 3};

    (void)state;
    disk_init(&disk);
    struct version *version = letters_version(&disk); /* 1: d..f, 2: m..p */
    version = add(&disk, version, make_letters(&disk, 'a', 'z', 9), 0, 5, 0);
    struct varve_slice d = varve_slice_str("d");
    struct varve_slice g = varve_slice_str("g");
    struct varve_slice none = varve_slice_str("");
    assert_true(version_older_overlaps(version, 0, NULL, 0, g, varve_slice_str("h")));
    assert_false(version_older_overlaps(version, 1, NULL, 0, g, varve_slice_str("h")));
    assert_true(version_older_overlaps(version, 1, NULL, 0, d, g));
    assert_false(version_older_overlaps(version, 0, skip, 2, d, g));
    assert_true(version_older_overlaps(version, 0, skip, 2, d, none));
    assert_false(version_older_overlaps(version, 2, NULL, 0, none, none));
    assert_true(version_older_may_hold(version, 1, NULL, 0, d, bloom_hash(d)));
    assert_false(version_older_may_hold(version, 0, skip, 2, d, bloom_hash(d)));
    assert_false(version_older_may_hold(version, 1, NULL, 0, g, bloom_hash(g)));
    version_unref(version);
    disk_deinit(&disk);
}

/* ---- what goes with the segments ---- */

static void test_version__ranges_come_and_go(void **state)
{
    struct disk disk;
    struct item newer[] = {put_item("a", 20), range_item("c", "k", 21)};
    struct item older[] = {range_item("b", "e", 11), put_item("x", 10)};

    (void)state;
    disk_init(&disk);
    struct version *version = letters_version(&disk);
    assert_null(version->ranges);
    version = add(&disk, version, make_segment(&disk, older, 2), 0, 3, 0);
    assert_int_equal(range_set_count(version->ranges), 1);
    version = add(&disk, version, make_segment(&disk, newer, 2), 0, 4, 0);
    assert_int_equal(range_set_seq(version->ranges, varve_slice_str("d"), UINT64_MAX), 21);
    assert_int_equal(range_set_seq(version->ranges, varve_slice_str("d"), 20), 11);
    struct range_set *shared = version->ranges;
    version = drop(&disk, version, 1, 0);
    assert_ptr_equal(version->ranges, shared); /* none of its tombstones moved */
    version = drop(&disk, version, 4, 0);
    assert_int_equal(range_set_seq(version->ranges, varve_slice_str("d"), UINT64_MAX), 11);
    assert_int_equal(range_set_seq(version->ranges, varve_slice_str("f"), UINT64_MAX), 0);
    version = drop(&disk, version, 3, 0);
    assert_null(version->ranges);
    version_unref(version);
    disk_deinit(&disk);
}

static struct version *set_groups(struct disk *disk, struct version *before,
                                  const struct version_group *groups, size_t count)
{
    struct version_change change = {.groups = groups, .group_count = count};

    return apply(disk, before, &change, 0);
}

static struct version_group group_of(const char *name, int64_t live, uint64_t ignore_seq)
{
    struct version_group group = {
        .name_len = (uint8_t)strlen(name), .live = live, .ignore_seq = ignore_seq};

    memcpy(group.name, name, group.name_len);
    return group;
}

static void test_version__groups(void **state)
{
    struct disk disk;
    struct version_group first[] = {group_of("m", 3, 0), group_of("b", -2, 5),
                                    group_of("zz", 0, 0)};
    struct version_group second[] = {group_of("b", 0, UINT64_MAX), group_of("q", 1, 1),
                                     group_of("m", 8, 9),          group_of("m", 9, 9),
                                     group_of("a", 0, UINT64_MAX), group_of("0", 4, 0)};
    struct version_change rest = {.flushed_seq = 77, .expiry_drops = 1};

    (void)state;
    disk_init(&disk);
    struct version *version = set_groups(&disk, version_create(), first, COUNT_OF(first));
    assert_int_equal(version->group_count, 3);
    assert_int_equal(version_group(version, varve_slice_str("b"))->live, -2);
    assert_int_equal(version_group(version, varve_slice_str("b"))->ignore_seq, 5);
    assert_null(version_group(version, varve_slice_str("z")));
    version = set_groups(&disk, version, second, COUNT_OF(second));
    assert_int_equal(version->group_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(version->groups[i].name[0], "0mqz"[i]);
    assert_int_equal(version_group(version, varve_slice_str("m"))->live, 9); /* the last word */
    assert_null(version_group(version, varve_slice_str("b")));
    assert_int_equal(version->flushed_seq, 0);
    version = apply(&disk, version, &rest, 0);
    assert_int_equal(version->flushed_seq, 77);
    assert_int_equal(version->expiry_drops, 1);
    assert_int_equal(version->group_count, 4);
    rest = (struct version_change){.flushed_seq = 0};
    version = apply(&disk, version, &rest, 0);
    assert_int_equal(version->flushed_seq, 77);
    assert_int_equal(version->expiry_drops, 1);
    version_unref(version);
    disk_deinit(&disk);
}

/* ---- against a model ---- */

#define KEYS 40
#define PIECES_MAX 200
#define ITEMS_MAX (4 * KEYS)

/* A live segment and what was put into it. */
struct piece {
    uint64_t file_no;
    uint32_t level;
    uint64_t run_no;
    struct item items[ITEMS_MAX];
    size_t count;
};

struct model {
    struct disk disk;
    struct rng rng;
    struct version *version;
    struct piece pieces[PIECES_MAX];
    size_t piece_count;
    uint64_t seq;
    uint64_t run_no;
    struct read_counters counters;
};

/* Ascending; half of them have more than 8 bytes in common. */
static struct varve_slice key_at(size_t i)
{
    static char keys[KEYS][24];

    snprintf(keys[i], sizeof(keys[i]), i < KEYS / 2 ? "k%02u" : "shared-prefix-%02u", (unsigned)i);
    return varve_slice_str(keys[i]);
}

static int compare_items(const void *left, const void *right)
{
    const struct item *a = left;
    const struct item *b = right;

    return entry_compare(a->key, a->seq, b->key, b->seq);
}

/* Cuts sorted puts between keys into segments of one run, which take the place of those dropped. */
static void replace(struct model *model, const struct item *items, size_t count, uint32_t level,
                    uint64_t run_no, const uint64_t *dropped, size_t dropped_count)
{
    struct version_add added[KEYS];
    struct version_change change = {
        .dropped = dropped, .dropped_count = dropped_count, .added = added};
    size_t kept = 0;

    for (size_t i = 0; i < model->piece_count; i++) {
        int gone = 0;
        for (size_t j = 0; j < dropped_count; j++)
            gone |= model->pieces[i].file_no == dropped[j];
        if (!gone)
            model->pieces[kept++] = model->pieces[i];
    }
    model->piece_count = kept;
    for (size_t from = 0; from < count;) {
        size_t to = from + 1;
        while (to < count && (varve_slice_equal(items[to].key, items[to - 1].key) ||
                              rng_below(&model->rng, 8) != 0))
            to++;
        struct piece *piece = &model->pieces[model->piece_count++];
        CHECK(model->piece_count < PIECES_MAX && to - from <= ITEMS_MAX);
        piece->level = level;
        piece->run_no = run_no;
        piece->file_no = model->disk.next_file_no;
        piece->count = to - from;
        memcpy(piece->items, items + from, piece->count * sizeof(*items));
        added[change.added_count++] = (struct version_add){
            make_segment(&model->disk, items + from, piece->count), level, run_no};
        from = to;
    }
    model->version = apply(&model->disk, model->version, &change, 0);
    for (size_t i = 0; i < change.added_count; i++)
        segment_unref(added[i].segment);
}

static void flush_some(struct model *model)
{
    struct item items[ITEMS_MAX];
    size_t count = 0;

    for (size_t key = 0; key < KEYS; key++)
        for (uint64_t n = rng_below(&model->rng, 4); n > 0 && n < 3; n--)
            items[count++] = (struct item){.key = key_at(key), .seq = ++model->seq};
    qsort(items, count, sizeof(*items), compare_items);
    replace(model, items, count, 0, ++model->run_no, NULL, 0);
}

/* All of the levels above `level` and of it become its run; some old versions are dropped. */
static void merge_down(struct model *model, uint32_t level)
{
    static struct item items[PIECES_MAX * ITEMS_MAX];
    uint64_t dropped[PIECES_MAX];
    size_t dropped_count = 0;
    size_t count = 0;
    size_t kept = 0;

    for (size_t i = 0; i < model->piece_count; i++) {
        if (model->pieces[i].level > level)
            continue;
        memcpy(items + count, model->pieces[i].items, model->pieces[i].count * sizeof(*items));
        count += model->pieces[i].count;
        dropped[dropped_count++] = model->pieces[i].file_no;
    }
    qsort(items, count, sizeof(*items), compare_items);
    for (size_t i = 0; i < count; i++)
        if (kept < 3 || !varve_slice_equal(items[kept - 3].key, items[i].key))
            items[kept++] = items[i];
    replace(model, items, kept, level, 0, dropped, dropped_count);
}

/* The newest of key with a sequence <= seq_max; 0: none. */
static uint64_t model_get(const struct model *model, struct varve_slice key, uint64_t seq_max)
{
    uint64_t found = 0;

    for (size_t i = 0; i < model->piece_count; i++)
        for (size_t j = 0; j < model->pieces[i].count; j++) {
            const struct item *item = &model->pieces[i].items[j];
            if (item->seq <= seq_max && item->seq > found && varve_slice_equal(item->key, key))
                found = item->seq;
        }
    return found;
}

static void check_get(struct model *model, struct varve_slice key, uint64_t seq_min,
                      uint64_t seq_max)
{
    struct segment_read read = {.wait = SEGMENT_WAIT};
    struct segment_hold hold = {0};
    struct entry entry;
    uint64_t want = model_get(model, key, seq_max);

    rcu_enter();
    int rc = version_get(model->version, key, seq_min, seq_max, &read, &model->counters, &entry,
                         &hold, &model->disk.err);
    if (rc == 0) {
        assert_int_equal(entry.seq, want);
        assert_true(varve_slice_equal(entry.chunk.key, key));
        assert_int_equal(entry.chunk.kind, CHUNK_PUT);
    } else {
        assert_int_equal(rc, VARVE_NOT_FOUND);
        assert_true(want == 0 || want < seq_min);
    }
    segment_hold_release(&hold);
    rcu_leave();
}

static void check_may_hold(struct model *model, struct varve_slice key)
{
    const struct version *version = model->version;
    size_t from_run = (size_t)rng_below(&model->rng, version->run_count + 1);
    int there = 0;

    for (size_t i = 0; i < model->piece_count; i++)
        for (size_t j = 0; j < model->pieces[i].count; j++)
            for (size_t run = from_run; run < version->run_count; run++)
                there |= version->runs[run].level == model->pieces[i].level &&
                         version->runs[run].no == model->pieces[i].run_no &&
                         varve_slice_equal(model->pieces[i].items[j].key, key);
    int may = version_older_may_hold(version, from_run, NULL, 0, key, bloom_hash(key));
    assert_true(may || !there);
}

static void test_version__random_against_a_model(void **state)
{
    static struct model model;
    uint64_t gets = 0;

    (void)state;
    disk_init(&model.disk);
    rng_init(&model.rng, 42);
    model.version = version_create();
    for (int step = 0; step < 60; step++) {
        if (rng_below(&model.rng, 4) == 0)
            merge_down(&model, 1 + (uint32_t)rng_below(&model.rng, 5));
        else
            flush_some(&model);
        if (step % 10 == 0)
            sim_trace_forget(model.disk.sim);
        for (int i = 0; i < 60; i++, gets++) {
            struct varve_slice key = key_at((size_t)rng_below(&model.rng, KEYS));
            uint64_t seq_max = i % 2 == 0 ? UINT64_MAX : rng_below(&model.rng, model.seq + 1);
            uint64_t seq_min = i % 5 == 0 ? rng_below(&model.rng, model.seq + 1) : 0;
            check_get(&model, key, seq_min, seq_max);
            check_may_hold(&model, key);
        }
        check_get(&model, varve_slice_str("k05a"), 0, UINT64_MAX); /* never there */
    }
    uint64_t sums[3] = {0};
    for (int level = 0; level < LEVELS_MAX; level++) {
        sums[0] += model.counters.filter_no[level];
        sums[1] += model.counters.filter_true[level];
        sums[2] += model.counters.filter_false[level];
    }
    printf("%llu gets: filters said no %llu, rightly maybe %llu, wrongly %llu\n",
           (unsigned long long)gets, (unsigned long long)sums[0], (unsigned long long)sums[1],
           (unsigned long long)sums[2]);
    assert_true(sums[0] > 0 && sums[1] > gets / 2);
    version_unref(model.version);
    disk_deinit(&model.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version__runs_are_in_order),
        cmocka_unit_test(test_version__a_move_drops_and_adds),
        cmocka_unit_test(test_version__what_cannot_be_is_refused),
        cmocka_unit_test(test_version__readers_keep_what_they_began_with),
        cmocka_unit_test(test_version__no_memory),
        cmocka_unit_test(test_run__find_and_overlap),
        cmocka_unit_test(test_run__find_behind_what_is_shared),
        cmocka_unit_test(test_version__older_overlaps),
        cmocka_unit_test(test_version__ranges_come_and_go),
        cmocka_unit_test(test_version__groups),
        cmocka_unit_test(test_version__random_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
