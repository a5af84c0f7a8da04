/* As many groups, segments and bytes as a manifest may hold, and one more; a manifest that is long enough to
 * be read in several pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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
    struct manifest *manifest;
    struct varve_err err;
};

static int set_up(void **state)
{
    struct disk *disk = mem_alloc_zero(sizeof(*disk));

    disk->sim = sim_env_create(1);
    disk->fault = fault_env_create(sim_as_env(disk->sim));
    disk->env = fault_as_env(disk->fault);
    disk->id = (struct dir_id){{8, 8, 8}};
    assert_int_equal(manifest_create(disk->env, DIR, &disk->id, 1, &disk->manifest, &disk->err), 0);
    assert_int_equal(manifest_renew(disk->manifest, NULL, 0, &disk->err), 0);
    *state = disk;
    return 0;
}

static int tear_down(void **state)
{
    struct disk *disk = *state;

    manifest_close(disk->manifest);
    fault_env_destroy(disk->fault);
    sim_env_destroy(disk->sim);
    mem_free(disk);
    return 0;
}

/* Reads what CURRENT names, anew. 0, or the error with disk->manifest NULL. */
static int reopen(struct disk *disk)
{
    struct dir_id id;
    uint64_t file_no = 0;

    manifest_close(disk->manifest);
    disk->manifest = NULL;
    assert_int_equal(current_read(disk->env, DIR, &id, &file_no, &disk->err), 0);
    return manifest_open(disk->env, DIR, &id, file_no, &disk->manifest, &disk->err);
}

static struct version_group group_of(const char *name, int64_t live, uint64_t ignore_seq)
{
    struct version_group group = {
        .name_len = (uint8_t)strlen(name), .live = live, .ignore_seq = ignore_seq};

    memcpy(group.name, name, group.name_len);
    return group;
}

static struct manifest_edit segment_edit(uint64_t file_no)
{
    return (struct manifest_edit){.change = MANIFEST_ADD_SEGMENT,
                                  .file_no = file_no,
                                  .run_no = file_no,
                                  .size_bytes = 100000};
}

/* Names in order, and numbers that take as many bytes as there may be. */
static struct version_group *many_groups(size_t count, struct manifest_edit *edits)
{
    struct version_group *groups = mem_alloc_zero(count * sizeof(*groups));

    for (size_t i = 0; i < count; i++) {
        char name[VARVE_GROUP_MAX_BYTES + 1];
        snprintf(name, sizeof(name), "groupname-%06u", (unsigned)(i % 1000000));
        groups[i] = group_of(name, INT64_MIN + 1, UINT64_MAX - 1);
        edits[i] = (struct manifest_edit){.change = MANIFEST_GROUP, .group = &groups[i]};
    }
    return groups;
}

static void test_manifest__as_many_groups_as_there_may_be(void **state)
{
    struct disk *disk = *state;
    size_t most = MANIFEST_GROUPS_MAX;
    struct manifest_edit *edits = mem_alloc_zero((2 * most + 1) * sizeof(*edits));
    struct version_group *groups = many_groups(2 * most + 1, edits);
    struct manifest_edit add = {.change = MANIFEST_ADD_WAL, .file_no = 70};

    assert_int_equal(manifest_apply(disk->manifest, edits, most + 1, &disk->err), VARVE_EINVAL);
    assert_int_equal(manifest_apply(disk->manifest, edits, 2 * most + 1, &disk->err), VARVE_EINVAL);
    assert_int_equal(manifest_state(disk->manifest)->group_count, 0);
    assert_int_equal(manifest_apply(disk->manifest, edits, most, &disk->err), 0);
    assert_int_equal(manifest_apply(disk->manifest, &edits[most], 1, &disk->err), VARVE_EINVAL);
    memcpy(&edits[most], edits, most * sizeof(*edits));
    assert_int_equal(manifest_renew(disk->manifest, NULL, 0, &disk->err), 0);
    /* One edit that says all of that twice is longer than a record. */
    assert_int_equal(manifest_apply(disk->manifest, edits, 2 * most, &disk->err), VARVE_EFULL);
    assert_int_equal(manifest_apply(disk->manifest, &add, 1, &disk->err), 0); /* in a new file */
    assert_int_equal(reopen(disk), 0);
    assert_int_equal(manifest_state(disk->manifest)->group_count, most);
    assert_int_equal(manifest_state(disk->manifest)->wal_count, 1);
    mem_free(groups);
    mem_free(edits);
}

static void test_manifest__more_segments_than_one_edit_may_name(void **state)
{
    struct disk *disk = *state;
    size_t count = (size_t)2 * MANIFEST_SEGMENTS_MAX + 1;
    struct manifest_edit *edits = mem_alloc_zero(count * sizeof(*edits));

    for (size_t i = 0; i < count; i++)
        edits[i] = segment_edit(10 + i);
    assert_int_equal(manifest_apply(disk->manifest, edits, count, &disk->err), VARVE_EINVAL);
    assert_int_equal(manifest_state(disk->manifest)->segment_count, 0);
    mem_free(edits);
}

/* A buffer of every length that is too short, for a state that has all there is in it. */
static void test_manifest__a_buffer_that_is_full(void **state)
{
    struct version_group group = group_of("counted", -5, 77);
    struct manifest_edit edits[] = {
        {.change = MANIFEST_ADD_WAL, .file_no = 20},
        {.change = MANIFEST_END_WAL, .file_no = 20, .end = 4000},
        {.change = MANIFEST_ADD_WAL, .file_no = 21},
        segment_edit(30),
        {.change = MANIFEST_FLUSHED, .flushed_seq = 12},
        {.change = MANIFEST_GROUP, .group = &group},
    };
    struct manifest_edit unknown = {.change = (enum manifest_change)99};
    struct manifest_state whole = {0};
    struct manifest_state read = {0};
    struct buf to;
    int rc = VARVE_EFULL;

    (void)state;
    assert_int_equal(manifest_state_with(&read, edits, COUNT_OF(edits), &whole), 0);
    for (size_t max = 0; rc != 0; max++) {
        buf_init(&to, max);
        rc = manifest_put_state(&to, &whole);
        assert_true(rc == 0 || rc == VARVE_EFULL);
        if (rc != 0)
            buf_deinit(&to);
    }
    assert_int_equal(manifest_get_edit(&read, buf_slice(&to)), 0);
    assert_int_equal(read.wals[0].end, 4000);
    assert_int_equal(read.groups[0].live, -5);
    assert_int_equal(manifest_put_edits(&to, &whole, &unknown, 1), VARVE_EFULL);
    buf_deinit(&to);
    buf_init(&to, 1000);
    assert_int_equal(manifest_put_edits(&to, &whole, &unknown, 1), VARVE_EINVAL);
    buf_deinit(&to);
    manifest_state_deinit(&read);
    manifest_state_deinit(&whole);
}

/* A long manifest, with bytes behind its end that were never written: each read of it fails. */
static void test_manifest__each_read_fails(void **state)
{
    struct disk *disk = *state;
    struct manifest_edit *edits = mem_alloc_zero(MANIFEST_SEGMENTS_MAX * sizeof(*edits));
    struct varve_file *file = NULL;
    uint64_t failed = 0;
    int rc = -1;

    for (size_t i = 0; i < MANIFEST_SEGMENTS_MAX; i++)
        edits[i] = segment_edit(10000000000000000 + i);
    assert_int_equal(manifest_apply(disk->manifest, edits, MANIFEST_SEGMENTS_MAX, &disk->err), 0);
    uint64_t end = manifest_place(disk->manifest).offset;
    assert_int_equal(
        disk->env->ops->open(disk->env, "/MANIFEST-000001", VARVE_OPEN_WRITE, &file, &disk->err),
        0);
    assert_int_equal(disk->env->ops->truncate(disk->env, file, end + 1000000, &disk->err), 0);
    disk->env->ops->close(disk->env, file);
    for (uint64_t nth = 1; rc != 0; nth++) {
        struct fault_plan plan = {
            .op = FAULT_READ, .nth = nth, .os_errno = EIO, .path_suffix = "MANIFEST-000001"};
        fault_env_plan(disk->fault, plan);
        rc = reopen(disk);
        assert_int_equal(rc, fault_env_fired(disk->fault) > 0 ? VARVE_EIO : 0);
        fault_env_heal(disk->fault);
        if (rc != 0)
            assert_non_null(strstr(disk->err.text, "MANIFEST-000001"));
        failed += rc != 0;
    }
    assert_true(failed >= 6);
    assert_int_equal(manifest_state(disk->manifest)->segment_count, MANIFEST_SEGMENTS_MAX);
    assert_int_equal(manifest_read_end(disk->manifest).offset, end);
    mem_free(edits);
}

int main(void)
{
#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_DISK(test_manifest__as_many_groups_as_there_may_be),
        WITH_DISK(test_manifest__more_segments_than_one_edit_may_name),
        cmocka_unit_test(test_manifest__a_buffer_that_is_full),
        WITH_DISK(test_manifest__each_read_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
