/* What opening a database finds: the directory, and files that are not as the manifest says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

static void make_dir(struct bed *bed)
{
    struct varve_env *env = sim_as_env(bed->sim);

    assert_int_equal(env->ops->make_dir(env, BED_DIR, &bed->err), 0);
}

static int has_dir(struct bed *bed)
{
    struct varve_env *env = sim_as_env(bed->sim);
    int rc = env->ops->make_dir(env, BED_DIR, NULL);

    return rc == VARVE_EEXIST;
}

static void test_open__slashes_behind_the_name(void **state)
{
    static struct bed bed;

    (void)state;
    bed_init(&bed, 1);
    bed.options.env = fault_as_env(bed.fault);
    assert_int_equal(varve_open(BED_DIR "//", &bed.options, &bed.db, &bed.err), 0);
    bed_put(&bed, "a", "1");
    bed_run(&bed);
    bed_crash(&bed, SIM_ALL_LOST, 0); /* its parent was synced, and not the directory itself */
    bed_open_ok(&bed);
    assert_string_equal(bed_get(&bed, "a"), "1");
    bed_deinit(&bed);
}

static void test_open__in_the_root(void **state)
{
    static struct bed bed;

    (void)state;
    bed_init(&bed, 1);
    bed.options.env = fault_as_env(bed.fault);
    assert_int_equal(varve_open("/", &bed.options, &bed.db, &bed.err), 0);
    bed_put(&bed, "a", "1");
    bed_run(&bed);
    bed_crash(&bed, SIM_ALL_LOST, 0);
    bed.options.env = fault_as_env(bed.fault);
    assert_int_equal(varve_open("/", &bed.options, &bed.db, &bed.err), 0);
    assert_string_equal(bed_get(&bed, "a"), "1");
    bed_deinit(&bed);
}

/* Who may not read the parent did not make the directory: its name is somebody else's to sync. Any other
 * failure of that sync is one. */
static void test_open__a_parent_that_may_not_be_read(void **state)
{
    static struct bed bed;
    static const int errors[] = {EACCES, EIO};

    (void)state;
    for (int found = 0; found <= 1; found++) {
        for (size_t i = 0; i < COUNT_OF(errors); i++) {
            bed_init(&bed, 1);
            if (found)
                make_dir(&bed);
            fault_env_plan(bed.fault, (struct fault_plan){
                                          .op = FAULT_SYNC_DIR, .nth = 1, .os_errno = errors[i]});
            int rc = bed_open(&bed);
            assert_int_equal(fault_env_fired(bed.fault), 1);
            assert_int_equal(rc == 0, found && errors[i] == EACCES);
            if (rc != 0)
                assert_int_equal(has_dir(&bed), found); /* else the next open would trust it */
            bed_deinit(&bed);
        }
    }
}

static void test_open__nobody_wants_to_know_why_not(void **state)
{
    static struct bed bed;

    (void)state;
    bed_init(&bed, 1);
    bed.options.env = fault_as_env(bed.fault);
    fault_env_plan(bed.fault, (struct fault_plan){.op = FAULT_SYNC_DIR, .nth = 1, .os_errno = EIO});
    assert_int_equal(varve_open(BED_DIR, &bed.options, &bed.db, NULL), VARVE_EIO);
    assert_null(bed.db);
    assert_false(has_dir(&bed));
    bed_deinit(&bed);
}

static void test_open__no_create_in_a_directory_without_a_database(void **state)
{
    static struct bed bed;

    (void)state;
    bed_init(&bed, 1);
    make_dir(&bed);
    bed.options.no_create = 1;
    assert_int_equal(bed_open(&bed), VARVE_ENOENT);
    assert_non_null(strstr(bed.err.text, "CURRENT"));
    bed_deinit(&bed);
}

/* A segment that nothing names goes when the database is opened. Where there is no memory for its path it
 * stays, and goes the next time. */
static void test_open__without_memory_an_orphan_stays(void **state)
{
    static struct bed bed;
    static struct bed copy;
    int fired = 1;
    unsigned stayed = 0;

    (void)state;
    bed_init(&bed, 1);
    bed_open_ok(&bed);
    bed_put(&bed, "a", "1");
    bed_close_ok(&bed);
    bed_write_file(&bed, "000900.seg", varve_slice_str("half of a segment"));
    for (uint64_t nth = 1; fired; nth++) {
        bed_init(&copy, 2);
        bed_use_image(&copy, sim_image(bed.sim, sim_event_count(bed.sim), SIM_KILL, 0));
        mem_fail_nth(nth, 0);
        int rc = bed_open(&copy);
        fired = mem_alloc_count() >= nth;
        mem_fail_nth(0, 0);
        assert_true(rc == 0 || rc == VARVE_ENOMEM);
        if (rc == 0 && bed_has_file(&copy, "000900.seg")) {
            stayed++;
            bed_close_ok(&copy);
            bed_open_ok(&copy);
        }
        if (rc == 0) {
            assert_false(bed_has_file(&copy, "000900.seg"));
            assert_string_equal(bed_get(&copy, "a"), "1");
        }
        bed_deinit(&copy);
    }
    assert_int_equal(stayed, 1);
    bed_deinit(&bed);
}

/* The manifest names a size: a segment of another one, whole as it may be, is not that segment. */
static void test_open__a_segment_of_another_size(void **state)
{
    static struct bed bed;
    struct manifest *manifest = NULL;
    struct dir_id id;
    uint64_t file_no = 0;

    (void)state;
    bed_init(&bed, 1);
    bed_open_ok(&bed);
    bed_put(&bed, "a", "1");
    bed_flush_ok(&bed);
    bed_close_ok(&bed);
    struct varve_env *env = sim_as_env(bed.sim);
    assert_int_equal(current_read(env, BED_DIR, &id, &file_no, &bed.err), 0);
    assert_int_equal(manifest_open(env, BED_DIR, &id, file_no, &manifest, &bed.err), 0);
    struct manifest_segment named = manifest_state(manifest)->segments[0];
    struct manifest_edit edits[] = {
        {.change = MANIFEST_DROP_SEGMENT, .file_no = named.file_no},
        {.change = MANIFEST_ADD_SEGMENT,
         .file_no = named.file_no,
         .level = named.level,
         .run_no = named.run_no,
         .size_bytes = named.size_bytes + 1},
    };
    assert_int_equal(manifest_apply(manifest, edits, 2, &bed.err), 0);
    manifest_close(manifest);
    assert_int_equal(bed_open(&bed), VARVE_ECORRUPT);
    assert_non_null(strstr(bed.err.text, ".seg has "));
    bed_deinit(&bed);
}

/* What is written beside the clients' writes goes through the pacer. */
static void test_open__with_a_rate_limit(void **state)
{
    static struct bed bed;

    (void)state;
    bed_init(&bed, 1);
    bed.options.rate_limit_bytes = (uint64_t)1 << 30;
    bed_open_ok(&bed);
    bed_fill(&bed, "k", 20, 300);
    bed_flush_ok(&bed);
    assert_true(bed.db->pacer.free_at_us > 0);
    assert_int_equal(bed_count(&bed, "k"), 20);
    bed_deinit(&bed);
}

static void test_open__to_free_nothing(void **state)
{
    (void)state;
    db_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open__slashes_behind_the_name),
        cmocka_unit_test(test_open__in_the_root),
        cmocka_unit_test(test_open__a_parent_that_may_not_be_read),
        cmocka_unit_test(test_open__nobody_wants_to_know_why_not),
        cmocka_unit_test(test_open__no_create_in_a_directory_without_a_database),
        cmocka_unit_test(test_open__without_memory_an_orphan_stays),
        cmocka_unit_test(test_open__a_segment_of_another_size),
        cmocka_unit_test(test_open__with_a_rate_limit),
        cmocka_unit_test(test_open__to_free_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
