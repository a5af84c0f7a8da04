#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "bed.h"
#include "lsm/db.h"

static const enum varve_durability modes[] = {VARVE_ALWAYS, VARVE_EVERYSEC, VARVE_NO};

static void assert_dump(struct bed *bed, const char *want)
{
    char *dump = bed_dump(bed, NULL);

    assert_string_equal(dump, want);
    mem_free(dump);
}

static void plan(struct bed *bed, enum fault_op op, enum fault_mode mode, int os_errno)
{
    fault_env_plan(
        bed->fault,
        (struct fault_plan){
            .op = op, .nth = 1, .os_errno = os_errno, .mode = mode, .effect = FAULT_PARTLY_DONE});
}

static void open_with(struct bed *bed, enum varve_durability durability)
{
    bed_init(bed, 3);
    bed->options.durability = durability;
    bed_open_ok(bed);
    bed_put(bed, "a", "durable");
    assert_int_equal(varve_durable_seq(bed->db) > 0, 0);
    bed_pass_us(bed, 900000);
    if (durability == VARVE_NO) /* only what is full is synced there */
        return;
    assert_int_equal(varve_durable_seq(bed->db), 1);
}

/* Writes go on within 2 s. */
static void wait_healed(struct bed *bed)
{
    for (int i = 0; i < 20 && varve_writable(bed->db, NULL) != 0; i++)
        bed_pass_us(bed, 100000);
    assert_int_equal(varve_writable(bed->db, &bed->err), 0);
}

static void crash_and_look(struct bed *bed, const char *want)
{
    for (int policy = 0; policy < SIM_POLICY_COUNT; policy++) {
        static struct bed image;
        if (policy == SIM_KILL)
            continue;
        bed_init(&image, 4);
        bed_use_image(&image,
                      sim_image(bed->sim, sim_event_count(bed->sim), (enum sim_policy)policy, 7));
        bed_open_ok(&image);
        assert_dump(&image, want);
        bed_deinit(&image);
    }
}

static void test_heal__failed_write(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        static struct bed bed;
        struct varve_stats stats;
        open_with(&bed, modes[i]);
        bed_put(&bed, "b", "visible");
        bed_run(&bed);
        plan(&bed, FAULT_WRITE, FAULT_STICKY, ENOSPC);
        assert_int_equal(bed_put(&bed, "c", "lost"), VARVE_ENOSPC);
        assert_int_equal(bed_put(&bed, "d", "lost"), VARVE_EREADONLY);
        assert_int_equal(varve_writable(bed.db, &bed.err), VARVE_EREADONLY);
        assert_non_null(strstr(bed.err.text, strerror(ENOSPC)));
        assert_dump(&bed, "a=durable b=visible ");
        bed_pass_us(&bed, 1000000); /* healing fails, too */
        assert_dump(&bed, "a=durable b=visible ");
        varve_stats(bed.db, &stats);
        assert_int_equal(stats.health, VARVE_FAILED);
        assert_int_equal(stats.wal_failures, 1);
        fault_env_heal(bed.fault);
        wait_healed(&bed);
        varve_stats(bed.db, &stats);
        assert_int_equal(stats.health, VARVE_HEALTHY);
        assert_int_equal(stats.heals, 1);
        assert_int_equal(varve_durable_seq(bed.db), 2); /* healing makes all durable */
        crash_and_look(&bed, "a=durable b=visible ");
        assert_int_equal(bed_put(&bed, "e", "after"), 0);
        assert_int_equal(varve_wait_durable(bed.db, 2, &bed.err), 0);
        bed_close_ok(&bed);
        crash_and_look(&bed, "a=durable b=visible e=after ");
        bed_deinit(&bed);
    }
}

/* A sync fails and every later one returns 0: what it covered must not be taken for durable. */
static void test_heal__failed_sync(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        static struct bed bed;
        open_with(&bed, modes[i]);
        bed_put(&bed, "b", "doubtful");
        plan(&bed, FAULT_SYNC, FAULT_ONCE, EIO);
        uint64_t seq = varve_durable_seq(bed.db);
        wal_sync_start(&bed.db->wal.sync); /* whoever waits for it, or the clock, does that */
        assert_int_equal(step_run_class(bed.stepper, VARVE_JOB_SYNC), 1);
        assert_int_equal(bed.told_failed, 1);
        assert_int_equal(varve_durable_seq(bed.db), seq);
        assert_int_equal(varve_wait_durable(bed.db, 2, &bed.err), VARVE_EUNKNOWN);
        assert_int_equal(bed_put(&bed, "c", "refused"), VARVE_EREADONLY);
        /* In `always` nothing that may go is shown. */
        assert_dump(&bed, modes[i] == VARVE_ALWAYS ? "a=durable " : "a=durable b=doubtful ");
        wait_healed(&bed);
        assert_int_equal(varve_durable_seq(bed.db), 2);
        assert_dump(&bed, "a=durable b=doubtful ");
        crash_and_look(&bed, "a=durable b=doubtful ");
        assert_int_equal(bed_put(&bed, "d", "after"), 0);
        bed_close_ok(&bed);
        crash_and_look(&bed, "a=durable b=doubtful d=after ");
        bed_deinit(&bed);
    }
}

/* What was doubtful is copied whole: batches, tombstones, ranges, expiries, large values. */
static void test_heal__copies_every_kind_of_record(void **state)
{
    static struct bed bed;
    uint8_t *large = mem_alloc_zero(2500000);

    (void)state;
    open_with(&bed, VARVE_EVERYSEC);
    bed_put(&bed, "a", "again");
    bed_delete(&bed, "a");
    bed_put(&bed, "b", "x");
    bed_put_bytes(&bed, "l", varve_slice(large, 2500000), 0);
    bed_put_bytes(&bed, "c", varve_slice_str("later"), SIM_CLOCK_START_REAL_MS + 99999999);
    bed_delete_range(&bed, "b", "c");
    bed_add(&bed, "d", "1");
    bed_add(&bed, "e", "2");
    assert_int_equal(varve_group_commit(bed.db, &bed.err), 0);
    bed_put(&bed, "", "empty key");
    char *before = bed_dump(&bed, NULL);
    plan(&bed, FAULT_SYNC, FAULT_ONCE, EIO);
    bed_pass_us(&bed, 900000);
    wait_healed(&bed);
    assert_dump(&bed, before);
    crash_and_look(&bed, before);
    mem_free(before);
    mem_free(large);
    bed_deinit(&bed);
}

/* More records than the list of them begins with. */
static void test_heal__thousands_of_records(void **state)
{
    static struct bed bed;
    char key[16];

    (void)state;
    open_with(&bed, VARVE_ALWAYS);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "k%06d", i);
        assert_int_equal(bed_add(&bed, key, "value"), 0);
    }
    assert_int_equal(varve_group_commit(bed.db, &bed.err), 0);
    plan(&bed, FAULT_SYNC, FAULT_ONCE, EIO);
    step_run_class(bed.stepper, VARVE_JOB_SYNC);
    assert_int_equal(bed.told_failed, 1);
    bed_pass_us(&bed, 1000000);
    wait_healed(&bed);
    assert_int_equal(bed_count(&bed, "k"), 3000);
    bed_crash(&bed, SIM_ALL_LOST, 0);
    bed_open_ok(&bed);
    assert_int_equal(bed_count(&bed, "k"), 3000);
    bed_deinit(&bed);
}

/* A crash at every moment of healing, and between it and the next write: never what was refused,
 * never less than what was durable. */
static void test_heal__crash_at_every_step(void **state)
{
    static struct bed bed;
    static struct bed image;
    uint64_t tried = 0;

    (void)state;
    open_with(&bed, VARVE_ALWAYS);
    bed_put(&bed, "b", "doubtful");
    plan(&bed, FAULT_SYNC, FAULT_ONCE, EIO);
    uint64_t from = sim_event_count(bed.sim);
    bed_run(&bed);
    wait_healed(&bed);
    uint64_t healed = sim_event_count(bed.sim);
    bed_put(&bed, "c", "after");
    bed_run(&bed);
    uint64_t to = sim_event_count(bed.sim);
    for (uint64_t upto = from; upto <= to; upto++) {
        for (int policy = 0; policy < SIM_POLICY_COUNT; policy++) {
            bed_init(&image, 4);
            bed_use_image(&image, sim_image(bed.sim, upto, (enum sim_policy)policy, upto));
            bed_open_ok(&image);
            char *dump = bed_dump(&image, NULL);
            int only_a = strcmp(dump, "a=durable ") == 0;
            int with_b = strcmp(dump, "a=durable b=doubtful ") == 0;
            int with_c = strcmp(dump, "a=durable b=doubtful c=after ") == 0;
            if (upto == to)
                assert_true(with_c);
            else if (upto >= healed)
                assert_true(with_b || with_c);
            else
                assert_true(only_a || with_b);
            mem_free(dump);
            bed_deinit(&image);
            tried++;
        }
    }
    printf("%llu images\n", (unsigned long long)tried);
    bed_deinit(&bed);
}

static size_t lines_with(const struct bed *bed, const char *text)
{
    size_t count = 0;

    for (const char *at = bed->log; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

static void test_heal__tries_again_with_pauses_and_says_so_once(void **state)
{
    static struct bed bed;

    (void)state;
    open_with(&bed, VARVE_ALWAYS);
    bed_run(&bed);
    plan(&bed, FAULT_WRITE, FAULT_STICKY, EIO);
    assert_int_equal(bed_put(&bed, "b", "x"), VARVE_EIO);
    for (int i = 0; i < 50; i++)
        bed_pass_us(&bed, 100000);
    uint64_t calls = fault_env_fired(bed.fault);
    assert_in_range(calls, 5, 40); /* of 50 ticks in 5 s, one attempt each half second */
    assert_int_equal(lines_with(&bed, "writes are refused"), 1);
    assert_in_range(lines_with(&bed, "healing the log failed"), 1, 12);
    fault_env_heal(bed.fault);
    wait_healed(&bed);
    assert_int_equal(lines_with(&bed, "the log is healed"), 1);
    bed_deinit(&bed);
}

/* The group is open, a sync fails, a tick starts healing: the open group was never written, and must
 * neither become durable nor visible by that. */
static void test_heal__an_open_group_is_not_healed_in(void **state)
{
    static struct bed bed;

    (void)state;
    open_with(&bed, VARVE_ALWAYS);
    bed_put(&bed, "b", "doubtful");
    plan(&bed, FAULT_SYNC, FAULT_ONCE, EIO);
    assert_int_equal(bed_add(&bed, "g", "open"), 0);
    step_run_class(bed.stepper, VARVE_JOB_SYNC);
    assert_int_equal(bed.told_failed, 1);
    bed_pass_us(&bed, 1000000);
    bed_pass_us(&bed, 1000000);
    int rc = varve_group_commit(bed.db, &bed.err);
    wait_healed(&bed);
    const char *want = rc == 0 ? "a=durable b=doubtful g=open " : "a=durable b=doubtful ";
    assert_dump(&bed, want);
    assert_int_equal(bed_put(&bed, "h", "after"), 0);
    bed_close_ok(&bed);
    bed_open_ok(&bed);
    assert_non_null(strstr(bed_get(&bed, "h"), "after"));
    assert_string_equal(bed_get(&bed, "g"), rc == 0 ? "open" : "-");
    bed_deinit(&bed);
}

/* Close heals by itself, and says it if it cannot. */
static void test_heal__close(void **state)
{
    static struct bed bed;

    (void)state;
    open_with(&bed, VARVE_ALWAYS);
    bed_put(&bed, "b", "doubtful");
    plan(&bed, FAULT_SYNC, FAULT_ONCE, EIO);
    bed_close_ok(&bed);
    crash_and_look(&bed, "a=durable b=doubtful ");
    bed_open_ok(&bed);
    bed_put(&bed, "c", "gone");
    plan(&bed, FAULT_SYNC, FAULT_STICKY, EIO);
    assert_true(bed_close(&bed) < 0);
    assert_true(bed.err.code < 0 && bed.err.text[0] != '\0');
    fault_env_heal(bed.fault);
    bed_open_ok(&bed);
    assert_string_equal(bed_get(&bed, "b"), "doubtful");
    bed_deinit(&bed);
}

/* 64 files wait for a sync that hangs: writes are refused, nothing is broken, and they go on. */
static void test_heal__too_many_unsynced_files(void **state)
{
    static struct bed bed;
    char value[4000];
    int refused = 0;
    int written = 0;

    (void)state;
    open_with(&bed, VARVE_NO);
    memset(value, 'v', sizeof(value));
    for (int i = 0; i < 200; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%03d", i);
        int rc = bed_put_bytes(&bed, key, varve_slice(value, sizeof(value)), 0);
        assert_true(rc == 0 || rc == VARVE_EFULL);
        written += rc == 0;
        refused += rc != 0;
        while (step_run_class(bed.stepper, VARVE_JOB_MAINTENANCE))
            ;
    }
    assert_true(refused > 0);
    assert_true(written > 60);
    char *before = bed_dump(&bed, NULL);
    bed_pass_us(&bed, 100000); /* the sync comes back */
    bed_pass_us(&bed, 100000);
    assert_int_equal(bed_put(&bed, "z", "after"), 0);
    assert_int_equal(bed_delete(&bed, "z"), 0);
    bed_close_ok(&bed);
    bed_open_ok(&bed);
    assert_dump(&bed, before);
    mem_free(before);
    bed_deinit(&bed);
}

/* A full disk on which nothing is flushed: the log fails, and what healing needs is what the reserve
 * keeps. */
static void test_heal__gives_the_reserve_up(void **state)
{
    struct bed bed;

    (void)state;
    bed_init(&bed, 1);
    bed.options.reserve_size_bytes = 65536;
    bed_open_ok(&bed);
    assert_int_equal(bed_put(&bed, "a", "1"), 0);
    bed_run(&bed);
    assert_true(bed_has_file(&bed, "RESERVE"));
    plan(&bed, FAULT_WRITE, FAULT_STICKY, ENOSPC);
    assert_int_equal(bed_put(&bed, "b", "1"), VARVE_ENOSPC);
    for (int i = 0; i < 15 && bed_has_file(&bed, "RESERVE"); i++)
        bed_pass_us(&bed, 100000);
    assert_false(bed_has_file(&bed, "RESERVE"));
    fault_env_heal(bed.fault); /* there is room now */
    for (int i = 0; i < 20; i++)
        bed_pass_us(&bed, 100000);
    assert_int_equal(bed_put(&bed, "b", "1"), 0);
    bed_deinit(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heal__failed_write),
        cmocka_unit_test(test_heal__failed_sync),
        cmocka_unit_test(test_heal__copies_every_kind_of_record),
        cmocka_unit_test(test_heal__thousands_of_records),
        cmocka_unit_test(test_heal__crash_at_every_step),
        cmocka_unit_test(test_heal__tries_again_with_pauses_and_says_so_once),
        cmocka_unit_test(test_heal__an_open_group_is_not_healed_in),
        cmocka_unit_test(test_heal__close),
        cmocka_unit_test(test_heal__too_many_unsynced_files),
        cmocka_unit_test(test_heal__gives_the_reserve_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
