#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "fault_env.h"
#include "lsm/manifest_state.h"
#include "sim_env.h"

#define DIR "/"

struct disk {
    struct sim_env *sim;
    struct fault_env *fault;
    struct varve_env *env;
    struct dir_id id;
    struct varve_err err;
};

static void disk_init(struct disk *disk, struct sim_env *sim)
{
    *disk = (struct disk){.sim = sim, .id = {{7, 7, 7}}};
    disk->fault = fault_env_create(sim_as_env(sim));
    disk->env = fault_as_env(disk->fault);
}

static void disk_deinit(struct disk *disk)
{
    fault_env_destroy(disk->fault);
    sim_env_destroy(disk->sim);
}

/* "next=5 clock=0 1:0 3:99 " */
static const char *state_text(const struct manifest *manifest)
{
    static char text[512];
    const struct manifest_state *state = manifest_state(manifest);
    int at = snprintf(text, sizeof(text), "clock=%llu ", (unsigned long long)state->clock_ms);

    for (size_t i = 0; i < state->wal_count; i++)
        at += snprintf(text + at, sizeof(text) - (size_t)at, "%llu:%llu ",
                       (unsigned long long)state->wals[i].file_no,
                       (unsigned long long)state->wals[i].end);
    return text;
}

static int apply(struct disk *disk, struct manifest *manifest, enum manifest_change change,
                 uint64_t file_no, uint64_t end)
{
    struct manifest_edit edit = {.change = change, .file_no = file_no, .end = end};

    return manifest_apply(manifest, &edit, 1, &disk->err);
}

/* What CURRENT names, or NULL and disk->err. */
static struct manifest *reopen(struct disk *disk)
{
    struct manifest *manifest = NULL;
    struct dir_id id;
    uint64_t file_no;

    if (current_read(disk->env, DIR, &id, &file_no, &disk->err) != 0)
        return NULL;
    int rc = manifest_open(disk->env, DIR, &id, file_no, &manifest, &disk->err);
    assert_int_equal(rc == 0, manifest != NULL);
    return manifest;
}

static struct manifest *make(struct disk *disk)
{
    struct manifest *manifest;

    assert_int_equal(manifest_create(disk->env, DIR, &disk->id, 1, &manifest, &disk->err), 0);
    assert_int_equal(manifest_renew(manifest, NULL, 0, &disk->err), 0);
    return manifest;
}

/* A flush or compaction draws a number while an edit is written. */
static struct manifest *drawn_from;
static uint64_t drawn_no;
static const struct varve_env_ops *ops_before;

static int sync_and_draw(struct varve_env *env, struct varve_file *file, struct varve_err *err)
{
    drawn_no = manifest_new_file_no(drawn_from);
    return ops_before->sync(env, file, err);
}

static void test_manifest__a_number_drawn_during_an_edit_is_gone(void **state)
{
    struct varve_env_ops ops;
    struct disk disk;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    drawn_from = manifest;
    ops_before = disk.env->ops;
    ops = *ops_before;
    ops.sync = sync_and_draw;
    disk.env->ops = &ops;
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, manifest_new_file_no(manifest), 0),
                     0);
    assert_int_equal(drawn_no, 3);
    assert_int_equal(manifest_new_file_no(manifest), 4);
    assert_int_equal(manifest_renew(manifest, NULL, 0, &disk.err), 0);
    assert_true(drawn_no > 5); /* by each sync of the new file */
    uint64_t named = manifest_new_file_no(manifest);
    assert_int_equal(named, drawn_no + 1);
    disk.env->ops = ops_before;
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, named, 0), 0);
    manifest_close(manifest);
    manifest = reopen(&disk);
    assert_int_equal(manifest_new_file_no(manifest), named + 1);
    manifest_close(manifest);
    disk_deinit(&disk);
}

static void test_manifest__edits_come_back(void **state)
{
    struct disk disk;
    struct dir_id id;
    uint64_t file_no;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    assert_int_equal(current_read(disk.env, DIR, &id, &file_no, &disk.err), VARVE_ENOENT);
    struct manifest *manifest = make(&disk);
    assert_int_equal(manifest_place(manifest).file_no, 1);
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t new_no = manifest_new_file_no(manifest);
        assert_int_equal(new_no, i + 2);
        struct log_place before = manifest_place(manifest);
        assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, new_no, 0), 0);
        assert_true(log_place_before(before, manifest_place(manifest)));
        assert_int_equal(sim_unit_count(disk.sim, sim_event_count(disk.sim)), 0); /* durable */
    }
    assert_int_equal(apply(&disk, manifest, MANIFEST_END_WAL, 2, 777), 0);
    assert_int_equal(apply(&disk, manifest, MANIFEST_DROP_WAL, 3, 0), 0);
    manifest_set_clock(manifest, 50);
    manifest_set_clock(manifest, 40); /* never backwards */
    assert_int_equal(manifest_apply(manifest, NULL, 0, &disk.err), 0);
    assert_string_equal(state_text(manifest), "clock=50 2:777 4:0 ");
    struct log_place place = manifest_place(manifest);
    manifest_close(manifest);
    manifest = reopen(&disk);
    assert_string_equal(state_text(manifest), "clock=50 2:777 4:0 ");
    assert_int_equal(manifest_read_end(manifest).offset, place.offset);
    assert_int_equal(manifest_new_file_no(manifest), 5);
    manifest_reserve_file_no(manifest, 100);
    manifest_reserve_file_no(manifest, 50);
    assert_int_equal(manifest_new_file_no(manifest), 100);
    assert_int_equal(manifest_renew(manifest, NULL, 0, &disk.err), 0);
    assert_int_equal(manifest_place(manifest).file_no, 101);
    manifest_close(manifest);
    manifest = reopen(&disk);
    assert_string_equal(state_text(manifest), "clock=50 2:777 4:0 ");
    assert_int_equal(manifest_new_file_no(manifest), 102);
    manifest_close(manifest);
    manifest_close(NULL);
    disk_deinit(&disk);
}

static void test_manifest__impossible_edits_change_nothing(void **state)
{
    struct disk disk;
    struct manifest_edit both[] = {{.change = MANIFEST_ADD_WAL, .file_no = 9},
                                   {.change = MANIFEST_DROP_WAL, .file_no = 77}};

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 5, 0), 0);
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 5, 0), VARVE_EINVAL);
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 0, 0), VARVE_EINVAL);
    assert_int_equal(apply(&disk, manifest, MANIFEST_END_WAL, 6, 1), VARVE_EINVAL);
    assert_int_equal(apply(&disk, manifest, MANIFEST_DROP_WAL, 6, 0), VARVE_EINVAL);
    assert_int_equal(manifest_apply(manifest, both, 2, &disk.err), VARVE_EINVAL);
    assert_int_equal(manifest_renew(manifest, both, 2, &disk.err), VARVE_EINVAL);
    assert_string_equal(state_text(manifest), "clock=0 5:0 ");
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 4, 0), 0); /* in order of number */
    manifest_close(manifest);
    manifest = reopen(&disk);
    assert_string_equal(state_text(manifest), "clock=0 4:0 5:0 ");
    manifest_close(manifest);
    disk_deinit(&disk);
}

static void test_manifest__limit_of_live_files(void **state)
{
    struct disk disk;
    struct manifest_edit *edits = mem_alloc_zero(MANIFEST_WALS_MAX * sizeof(*edits));

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    for (uint64_t i = 0; i < MANIFEST_WALS_MAX - 1; i++) /* the newest first: found at once */
        edits[i] = (struct manifest_edit){.file_no = 2 * MANIFEST_WALS_MAX - i};
    assert_int_equal(manifest_apply(manifest, edits, MANIFEST_WALS_MAX - 1, &disk.err), 0);
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 2, 0), 0);
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 3, 0), VARVE_EINVAL);
    assert_int_equal(manifest_state(manifest)->wal_count, MANIFEST_WALS_MAX);
    manifest_close(manifest);
    mem_free(edits);
    disk_deinit(&disk);
}

/* ---- segments and groups ---- */

static struct manifest_edit segment_edit(uint64_t file_no, uint32_t level, uint64_t run_no)
{
    return (struct manifest_edit){.change = MANIFEST_ADD_SEGMENT,
                                  .file_no = file_no,
                                  .level = level,
                                  .run_no = run_no,
                                  .size_bytes = file_no < 1000 ? 100 * file_no : 1u << 26};
}

static struct manifest_edit drop_edit(uint64_t file_no)
{
    return (struct manifest_edit){.change = MANIFEST_DROP_SEGMENT, .file_no = file_no};
}

static struct version_group group_of(const char *name, int64_t live, uint64_t ignore_seq)
{
    struct version_group group = {
        .name_len = (uint8_t)strlen(name), .live = live, .ignore_seq = ignore_seq};

    memcpy(group.name, name, group.name_len);
    return group;
}

/* "7@0/3+700 8@2/0+800 F5 name:live:ignore_seq? " */
static const char *levels_text(const struct manifest *manifest)
{
    static char text[1024];
    const struct manifest_state *state = manifest_state(manifest);
    int at = 0;

    for (size_t i = 0; i < state->segment_count; i++)
        at += snprintf(text + at, sizeof(text) - (size_t)at, "%llu@%u/%llu+%llu ",
                       (unsigned long long)state->segments[i].file_no, state->segments[i].level,
                       (unsigned long long)state->segments[i].run_no,
                       (unsigned long long)state->segments[i].size_bytes);
    at += snprintf(text + at, sizeof(text) - (size_t)at, "F%llu ",
                   (unsigned long long)state->flushed_seq);
    for (size_t i = 0; i < state->group_count; i++)
        at += snprintf(
            text + at, sizeof(text) - (size_t)at, "%.*s:%lld:%llu%s ", state->groups[i].name_len,
            (const char *)state->groups[i].name, (long long)state->groups[i].live,
            (unsigned long long)state->groups[i].ignore_seq, state->groups[i].unknown ? "?" : "");
    return text;
}

/* As the manifest says, as it is read back, and as it is after it was written anew. */
static void check_levels(struct disk *disk, struct manifest **manifest, const char *want)
{
    assert_string_equal(levels_text(*manifest), want);
    manifest_close(*manifest);
    *manifest = reopen(disk);
    assert_non_null(*manifest);
    assert_string_equal(levels_text(*manifest), want);
    assert_int_equal(manifest_renew(*manifest, NULL, 0, &disk->err), 0);
    manifest_close(*manifest);
    *manifest = reopen(disk);
    assert_non_null(*manifest);
    assert_string_equal(levels_text(*manifest), want);
    assert_int_equal(manifest_renew(*manifest, NULL, 0, &disk->err), 0);
}

static void test_manifest__segments_and_groups_come_back(void **state)
{
    struct disk disk;
    struct version_group groups[] = {group_of("m", INT64_MIN, 7), group_of("b", INT64_MAX, 0),
                                     group_of("sixteen-bytes-ab", -1, UINT64_MAX)};
    struct version_group forget = group_of("m", 0, UINT64_MAX);
    struct version_group unheard = group_of("nobody", 0, UINT64_MAX);
    struct version_group zero = group_of("z", 0, 3);

    (void)state;
    groups[0].unknown = 1;
    struct manifest_edit flush[] = {
        segment_edit(30, 0, 4),
        segment_edit(20, 7, 0),
        {.change = MANIFEST_FLUSHED, .flushed_seq = UINT64_MAX - 1},
        {.change = MANIFEST_GROUP, .group = &groups[0]},
        {.change = MANIFEST_GROUP, .group = &groups[1]},
        {.change = MANIFEST_GROUP, .group = &groups[2]},
    };
    struct manifest_edit move[] = {
        drop_edit(30),
        segment_edit(30, 2, 0),
        drop_edit(20),
        segment_edit(31, 0, 5),
        segment_edit(5, 0, 5),
        {.change = MANIFEST_FLUSHED, .flushed_seq = UINT64_MAX},
        {.change = MANIFEST_GROUP, .group = &unheard},
        {.change = MANIFEST_GROUP, .group = &forget},
        {.change = MANIFEST_GROUP, .group = &zero},
    };
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    assert_int_equal(manifest_apply(manifest, flush, COUNT_OF(flush), &disk.err), 0);
    check_levels(&disk, &manifest,
                 "20@7/0+2000 30@0/4+3000 F18446744073709551614 b:9223372036854775807:0 "
                 "m:-9223372036854775808:7? sixteen-bytes-ab:-1:18446744073709551615 ");
    assert_int_equal(manifest_apply(manifest, move, COUNT_OF(move), &disk.err), 0);
    check_levels(&disk, &manifest,
                 "5@0/5+500 30@2/0+3000 31@0/5+3100 F18446744073709551615 "
                 "b:9223372036854775807:0 sixteen-bytes-ab:-1:18446744073709551615 z:0:3 ");
    manifest_close(manifest);
    disk_deinit(&disk);
}

static void test_manifest__impossible_segments_change_nothing(void **state)
{
    struct version_group nameless = {.live = 1};
    struct version_group long_name = {.live = 1, .name_len = VARVE_GROUP_MAX_BYTES + 1};
    struct manifest_edit edits[] = {
        segment_edit(9, 1, 0),                             /* there already */
        segment_edit(0, 1, 0),                             /* no number */
        segment_edit(8, 1, 0),                             /* a log file's */
        segment_edit(10, LEVELS_MAX, 0),                   /* no level */
        segment_edit(10, 1, 1),                            /* a run below level 0 */
        segment_edit(10, 0, (uint64_t)100000000000000000), /* no run number */
        drop_edit(10),                                     /* not there */
        {.change = MANIFEST_ADD_WAL, .file_no = 9},        /* a segment's */
        {.change = MANIFEST_FLUSHED, .flushed_seq = 4},    /* backwards */
        {.change = MANIFEST_GROUP, .group = &nameless},
        {.change = MANIFEST_GROUP, .group = &long_name},
        {.change = MANIFEST_GROUP},
        {.change = (enum manifest_change)99},
        {.change = MANIFEST_ADD_SEGMENT, .file_no = 10, .level = 1, .size_bytes = 1ull << 48},
    };
    struct manifest_edit twice[] = {drop_edit(9), drop_edit(9)};
    struct manifest_edit flushed = {.change = MANIFEST_FLUSHED, .flushed_seq = 5};
    struct disk disk;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    struct manifest_edit first = segment_edit(9, 0, 1);
    assert_int_equal(manifest_apply(manifest, &first, 1, &disk.err), 0);
    assert_int_equal(manifest_apply(manifest, &flushed, 1, &disk.err), 0);
    assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 8, 0), 0);
    for (size_t i = 0; i < COUNT_OF(edits); i++)
        assert_int_equal(manifest_apply(manifest, &edits[i], 1, &disk.err), VARVE_EINVAL);
    assert_int_equal(manifest_apply(manifest, twice, 2, &disk.err), VARVE_EINVAL);
    check_levels(&disk, &manifest, "9@0/1+900 F5 ");
    manifest_close(manifest);
    disk_deinit(&disk);
}

/* Payloads of edits as they may lie on the disk. */
static void test_manifest__bytes_that_no_edit_has(void **state)
{
#define BYTES(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    static const struct {
        const char *bytes;
        size_t len;
    } good[] =
        {
            BYTES("\x06\x05\x00\x03\x64\x08\x09"),
            BYTES("\x06\x05\x00\x03\x64\x07\x05\x06\x05\x02\x00\x64"),
            BYTES("\x09\x01\x07\x05\x02gg\x09\x02\x00\x00\x02gg"),
        },
      bad[] = {
          BYTES("\x06\x05\x08\x00\x64"),                     /* level 8 */
          BYTES("\x06\x05\x80\x80\x80\x80\x10\x00\x64"),     /* level 2^32 */
          BYTES("\x06\x05\x01\x03\x64"),                     /* a run of level 1 */
          BYTES("\x06\x00\x01\x00\x64"),                     /* no number */
          BYTES("\x06\x05\x01\x00\x64\x06\x05\x01\x00\x64"), /* twice */
          BYTES("\x03\x05\x06\x05\x01\x00\x64"),             /* a log file's number */
          BYTES("\x06\x05\x01\x00"),                         /* cut short */
          BYTES("\x07\x05"),                                 /* not there */
          BYTES("\x06\x05\x01\x00\x64\x07\x05\x07\x05"),     /* dropped twice */
          BYTES("\x08\x05\x08\x04"),                         /* backwards */
          BYTES("\x09\x00\x02\x00\x00"),                     /* no name */
          BYTES("\x09\x00\x02\x00\x11qqqqqqqqqqqqqqqqq"),    /* too long a name */
          BYTES("\x09\x00\x02\x00\x03qq"),                   /* a name cut short */
          BYTES("\x09\x03\x00\x00\x01q"),                    /* flags */
          BYTES("\x09\x02\x02\x00\x01q"),                    /* forgotten with a count */
          BYTES("\x09\x02\x00\x01\x01q"),                    /* and with a sequence */
          BYTES("\x09\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01q"), /* without flag 2 */
          BYTES("\x0a\x00"),                                                  /* no tag */
          BYTES("\x00\x00"),
      };
#undef BYTES
    struct manifest_state read = {0};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_int_equal(manifest_get_edit(&read, varve_slice(good[i].bytes, good[i].len)), 0);
        assert_int_equal(read.segment_count, i < 2);
        assert_int_equal(read.group_count, 0);
        manifest_state_deinit(&read);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(manifest_get_edit(&read, varve_slice(bad[i].bytes, bad[i].len)),
                         VARVE_ECORRUPT);
        manifest_state_deinit(&read);
    }
}

/* As many segments as there may be, added, moved and dropped in one edit each; the log of edits is only
 * written anew when it is four times the state that it begins with. */
static void test_manifest__as_many_segments_as_there_may_be(void **state)
{
    size_t count = MANIFEST_SEGMENTS_MAX;
    struct manifest_edit *edits = mem_alloc_zero(2 * count * sizeof(*edits));
    struct manifest_edit one_more = segment_edit(5, 1, 0);
    struct disk disk;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    for (size_t i = 0; i < count; i++)
        edits[i] = segment_edit(10000000000000000 + i, 0, 900000000 + i);
    assert_int_equal(manifest_apply(manifest, edits, count, &disk.err), 0);
    assert_int_equal(manifest_apply(manifest, &one_more, 1, &disk.err), VARVE_EINVAL);
    assert_int_equal(manifest_renew(manifest, NULL, 0, &disk.err), 0);
    uint64_t file_no = manifest_place(manifest).file_no;
    uint64_t whole = manifest_place(manifest).offset;
    for (size_t i = 0; i < count; i++) {
        edits[2 * i] = drop_edit(10000000000000000 + i);
        edits[2 * i + 1] = segment_edit(10000000000000000 + i, 3, 0);
    }
    assert_int_equal(manifest_apply(manifest, edits, 2 * count, &disk.err), 0);
    assert_int_equal(manifest_place(manifest).file_no, file_no);
    for (int turn = 0; manifest_place(manifest).file_no == file_no; turn++) {
        uint64_t before = manifest_place(manifest).offset;
        assert_int_equal(manifest_apply(manifest, edits, 2 * count, &disk.err), 0);
        assert_int_equal(manifest_place(manifest).file_no != file_no,
                         before > 4 * whole && before > 1024 * 1024);
        assert_true(turn < 10);
    }
    assert_int_equal(manifest_state(manifest)->segment_count, count);
    assert_int_equal(manifest_state(manifest)->segments[count - 1].level, 3);
    for (size_t i = 0; i < count; i++)
        edits[i] = drop_edit(10000000000000000 + i);
    assert_int_equal(manifest_apply(manifest, edits, count, &disk.err), 0);
    check_levels(&disk, &manifest, "F0 ");
    manifest_close(manifest);
    mem_free(edits);
    disk_deinit(&disk);
}

/* ---- damage ---- */

#define STATES 5

/* Makes STATES states one after the other; their texts are what a reader may find. */
static void make_states(struct disk *disk, char texts[STATES][64], uint64_t *size_bytes)
{
    struct manifest *manifest = make(disk);

    snprintf(texts[0], 64, "%s", state_text(manifest));
    for (int i = 1; i < STATES; i++) {
        int rc = i == STATES - 1 ? apply(disk, manifest, MANIFEST_END_WAL, 11, 5000)
                                 : apply(disk, manifest, MANIFEST_ADD_WAL, 10 + (uint64_t)i, 0);
        assert_int_equal(rc, 0);
        snprintf(texts[i], 64, "%s", state_text(manifest));
    }
    *size_bytes = manifest_place(manifest).offset;
    manifest_close(manifest);
}

static int state_index(char texts[STATES][64], const char *text)
{
    for (int i = 0; i < STATES; i++)
        if (strcmp(texts[i], text) == 0)
            return i;
    return -1;
}

static void test_manifest__cut_anywhere(void **state)
{
    struct disk disk;
    struct disk copy;
    char texts[STATES][64];
    uint64_t size_bytes;
    int last = STATES - 1;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    make_states(&disk, texts, &size_bytes);
    for (uint64_t len = size_bytes; len-- > 0;) {
        struct varve_file *file;
        disk_init(&copy, sim_image(disk.sim, sim_event_count(disk.sim), SIM_KILL, 0));
        copy.env->ops->open(copy.env, "/MANIFEST-000001", VARVE_OPEN_WRITE, &file, &copy.err);
        copy.env->ops->truncate(copy.env, file, len, &copy.err);
        copy.env->ops->close(copy.env, file);
        struct manifest *manifest = reopen(&copy);
        if (manifest == NULL) {
            assert_int_equal(copy.err.code, VARVE_ECORRUPT);
            assert_non_null(strstr(copy.err.text, "MANIFEST-000001"));
            last = -1;
        } else {
            int index = state_index(texts, state_text(manifest));
            assert_true(index >= 0 && index <= last); /* older and older, and never back */
            last = index;
        }
        manifest_close(manifest);
        disk_deinit(&copy);
    }
    assert_int_equal(last, -1);
    disk_deinit(&disk);
}

/* All but the last edit are vouched for by a later one: damage in them is an error. */
static void test_manifest__any_flipped_bit(void **state)
{
    struct disk disk;
    struct disk copy;
    char texts[STATES][64];
    uint64_t size_bytes;
    uint64_t before_last = 0;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    make_states(&disk, texts, &size_bytes);
    for (uint64_t bit = 0; bit < 8 * size_bytes; bit++) {
        struct varve_file *file;
        uint8_t byte;
        struct varve_slice part = varve_slice(&byte, 1);
        size_t got;
        disk_init(&copy, sim_image(disk.sim, sim_event_count(disk.sim), SIM_KILL, 0));
        copy.env->ops->open(copy.env, "/MANIFEST-000001", VARVE_OPEN_WRITE, &file, &copy.err);
        copy.env->ops->read_at(copy.env, file, &byte, 1, bit / 8, &got, &copy.err);
        byte ^= (uint8_t)(1u << bit % 8);
        copy.env->ops->write_at(copy.env, file, &part, 1, bit / 8, &copy.err);
        copy.env->ops->close(copy.env, file);
        struct manifest *manifest = reopen(&copy);
        if (manifest == NULL) {
            assert_non_null(strstr(copy.err.text, "MANIFEST-000001"));
            assert_int_equal(before_last, 0); /* no error behind the first harmless place */
        } else {
            assert_int_equal(state_index(texts, state_text(manifest)), STATES - 2);
            before_last++;
        }
        manifest_close(manifest);
        disk_deinit(&copy);
    }
    assert_in_range(before_last, 8 * 40, 8 * 60); /* the last edit, and nothing else */
    disk_deinit(&disk);
}

static void change_bytes(struct disk *disk, uint64_t at, uint8_t *bytes, size_t len, int write)
{
    struct varve_slice part = varve_slice(bytes, len);
    struct varve_file *file;
    size_t got = 0;
    int rc = disk->env->ops->open(disk->env, "/MANIFEST-000001", VARVE_OPEN_WRITE, &file, NULL);

    assert_int_equal(rc, 0);
    rc = write ? disk->env->ops->write_at(disk->env, file, &part, 1, at, NULL)
               : disk->env->ops->read_at(disk->env, file, bytes, len, at, &got, NULL);
    assert_int_equal(rc, 0);
    disk->env->ops->close(disk->env, file);
}

/* Two edits of one length change places: each has the right CRCs, and the older count would win. */
static void test_manifest__an_edit_belongs_to_its_place(void **state)
{
    struct disk disk;
    struct version_group groups[] = {group_of("g", 5, 1), group_of("g", 7, 2)};
    uint8_t edits[2][64];
    uint64_t at[3];

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    for (size_t i = 0; i < 2; i++) {
        struct manifest_edit edit = {.change = MANIFEST_GROUP, .group = &groups[i]};
        at[i] = manifest_place(manifest).offset;
        assert_int_equal(manifest_apply(manifest, &edit, 1, &disk.err), 0);
    }
    at[2] = manifest_place(manifest).offset;
    size_t len = (size_t)(at[2] - at[1]);
    assert_true(len == at[1] - at[0] && len <= sizeof(edits[0]));
    manifest_close(manifest);
    change_bytes(&disk, at[0], edits[0], len, 0);
    change_bytes(&disk, at[1], edits[1], len, 0);

    change_bytes(&disk, at[0], edits[1], len, 1);
    change_bytes(&disk, at[1], edits[0], len, 1);
    assert_null(reopen(&disk));
    assert_non_null(strstr(disk.err.text, "/MANIFEST-000001: offset "));
    assert_non_null(strstr(disk.err.text, "an edit of another place"));

    /* The older one twice: the newer one is lost as if it had been torn off, and the end says so. */
    change_bytes(&disk, at[0], edits[0], len, 1);
    manifest = reopen(&disk);
    assert_non_null(manifest);
    assert_int_equal(manifest_read_end(manifest).offset, at[1]);
    manifest_close(manifest);
    disk_deinit(&disk);
}

/* ---- failures ---- */

/* Each call fails in an edit and in a renewal: the state is as before, what is on disk is one of the
 * two, and the next edit goes through. */
static void sweep_edit(struct disk *disk, struct manifest *manifest, uint64_t nth, int renew,
                       uint64_t *fired)
{
    struct manifest_edit edit = {.change = MANIFEST_ADD_WAL, .file_no = 50};
    char before[512];
    char after[520];

    snprintf(before, sizeof(before), "%s", state_text(manifest));
    snprintf(after, sizeof(after), "%s50:0 ", before);
    fault_env_plan(disk->fault, (struct fault_plan){
                                    .nth = nth,
                                    .os_errno = EIO,
                                    .effect = (enum fault_effect)(nth % 3),
                                });
    int rc = renew ? manifest_renew(manifest, &edit, 1, &disk->err)
                   : manifest_apply(manifest, &edit, 1, &disk->err);
    *fired = fault_env_fired(disk->fault);
    fault_env_heal(disk->fault);
    assert_string_equal(state_text(manifest), rc == 0 ? after : before);
    for (int policy = 0; policy < SIM_POLICY_COUNT; policy++) {
        struct disk image;
        disk_init(&image,
                  sim_image(disk->sim, sim_event_count(disk->sim), (enum sim_policy)policy, nth));
        struct manifest *found = reopen(&image);
        assert_non_null(found);
        int is_after = strcmp(state_text(found), after) == 0;
        assert_true(is_after || (rc != 0 && strcmp(state_text(found), before) == 0));
        manifest_close(found);
        disk_deinit(&image);
    }
    if (rc != 0)
        assert_int_equal(manifest_apply(manifest, &edit, 1, &disk->err), 0);
    assert_string_equal(state_text(manifest), after);
    struct manifest *found = reopen(disk);
    assert_string_equal(state_text(found), after);
    manifest_close(found);
}

static void test_manifest__each_call_fails(void **state)
{
    uint64_t points = 0;

    (void)state;
    for (int renew = 0; renew <= 1; renew++) {
        uint64_t fired = 1;
        for (uint64_t nth = 1; fired > 0; nth++) {
            struct disk disk;
            disk_init(&disk, sim_env_create(nth));
            struct manifest *manifest = make(&disk);
            assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 7, 0), 0);
            sweep_edit(&disk, manifest, nth, renew, &fired);
            points += fired;
            manifest_close(manifest);
            disk_deinit(&disk);
        }
    }
    printf("%llu fault points\n", (unsigned long long)points);
    assert_true(points > 10);
}

static void test_manifest__no_memory(void **state)
{
    struct disk disk;
    int rc = -1;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    for (int renew = 0; renew <= 1; renew++) {
        rc = -1;
        for (uint64_t nth = 1; rc != 0; nth++) {
            struct version_group group = group_of(renew ? "b" : "a", 1, 0);
            struct manifest_edit edits[] = {{.file_no = 10 + (uint64_t)renew},
                                            segment_edit(20 + (uint64_t)renew, 1, 0),
                                            {.change = MANIFEST_GROUP, .group = &group}};
            mem_fail_nth(nth, 0);
            rc = renew ? manifest_renew(manifest, edits, 3, &disk.err)
                       : manifest_apply(manifest, edits, 3, &disk.err);
            mem_fail_nth(0, 0);
            assert_true(rc == 0 || rc == VARVE_ENOMEM);
        }
    }
    assert_string_equal(state_text(manifest), "clock=0 10:0 11:0 ");
    manifest_close(manifest);
    for (uint64_t nth = 1;; nth++) {
        mem_fail_nth(nth, 0);
        manifest = reopen(&disk);
        mem_fail_nth(0, 0);
        if (manifest != NULL)
            break;
        assert_int_equal(disk.err.code, VARVE_ENOMEM);
    }
    assert_string_equal(state_text(manifest), "clock=0 10:0 11:0 ");
    manifest_close(manifest);
    disk_deinit(&disk);
}

/* A long log of edits is written anew as one state. */
static void test_manifest__is_renewed_when_it_grows(void **state)
{
    struct disk disk;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct manifest *manifest = make(&disk);
    for (uint64_t i = 0; i < 15000; i++) {
        assert_int_equal(apply(&disk, manifest, MANIFEST_ADD_WAL, 1000 + i, 0), 0);
        assert_int_equal(apply(&disk, manifest, MANIFEST_DROP_WAL, 1000 + i, 0), 0);
        if (i % 1000 == 0)
            sim_trace_forget(disk.sim);
        assert_true(manifest_place(manifest).offset < 1100000);
    }
    assert_true(manifest_place(manifest).file_no > 1);
    struct manifest *found = reopen(&disk);
    assert_string_equal(state_text(found), "clock=0 ");
    manifest_close(found);
    manifest_close(manifest);
    disk_deinit(&disk);
}

struct taker {
    struct manifest *manifest;
    uint64_t taken;
};

static void take_number(void *arg)
{
    struct taker *taker = arg;

    taker->taken = manifest_new_file_no(taker->manifest);
}

/* A flush or a compaction takes a number for its file while an edit is under way. */
static void test_manifest__numbers_taken_beside_an_edit_stay_taken(void **state)
{
    struct disk disk;

    (void)state;
    disk_init(&disk, sim_env_create(1));
    struct taker taker = {.manifest = make(&disk)};
    sim_on_sync(disk.sim, take_number, &taker);
    assert_int_equal(apply(&disk, taker.manifest, MANIFEST_ADD_WAL, 1000, 0), 0);
    assert_true(taker.taken > 0);
    assert_true(manifest_new_file_no(taker.manifest) > taker.taken);
    assert_int_equal(manifest_renew(taker.manifest, NULL, 0, &disk.err), 0);
    assert_true(manifest_new_file_no(taker.manifest) > taker.taken);
    sim_on_sync(disk.sim, NULL, NULL);
    manifest_close(taker.manifest);
    disk_deinit(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest__edits_come_back),
        cmocka_unit_test(test_manifest__a_number_drawn_during_an_edit_is_gone),
        cmocka_unit_test(test_manifest__impossible_edits_change_nothing),
        cmocka_unit_test(test_manifest__limit_of_live_files),
        cmocka_unit_test(test_manifest__segments_and_groups_come_back),
        cmocka_unit_test(test_manifest__impossible_segments_change_nothing),
        cmocka_unit_test(test_manifest__bytes_that_no_edit_has),
        cmocka_unit_test(test_manifest__as_many_segments_as_there_may_be),
        cmocka_unit_test(test_manifest__cut_anywhere),
        cmocka_unit_test(test_manifest__any_flipped_bit),
        cmocka_unit_test(test_manifest__an_edit_belongs_to_its_place),
        cmocka_unit_test(test_manifest__each_call_fails),
        cmocka_unit_test(test_manifest__no_memory),
        cmocka_unit_test(test_manifest__is_renewed_when_it_grows),
        cmocka_unit_test(test_manifest__numbers_taken_beside_an_edit_stay_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
