/* The trace: events, markers, named syncs, dropping them, forgetting, the clocks. */
#include "sim_help.h"

/* mkdir /db, a log that is appended to, CURRENT by rename: the engine's shape in small. */
static struct sim_env *disk_with_engine_work(void)
{
    struct sim_env *sim = sim_env_create(3);
    struct varve_file *file;

    help_make_dir(sim, "/db");
    help_sync_dir(sim, "/");
    file = help_open(sim, "db//000003.wal");
    help_fill(sim, file, 0, 600, 'a');
    help_sync(sim, file);
    help_sync_dir(sim, "/db/");
    sim_mark(sim, 1, 10);
    help_fill(sim, file, 600, 600, 'b');
    sim_mark(sim, 2, 99);
    help_sync(sim, file);
    sim_mark(sim, 1, 11);
    help_close(sim, file);
    file = help_open(sim, "/db/CURRENT.tmp");
    help_fill(sim, file, 0, 5, 'c');
    help_sync(sim, file);
    help_close(sim, file);
    help_rename(sim, "/db/CURRENT.tmp", "/db/CURRENT");
    help_remove(sim, "/db/000003.wal");
    help_sync_dir(sim, "/db");
    help_sync_dir(sim, "/db");
    return sim;
}

static void test_events__tell_what_happened(void **state)
{
    static const enum sim_event_kind kinds[] = {
        SIM_CREATE, SIM_SYNC_DIR, SIM_CREATE, SIM_WRITE,  SIM_SYNC,     SIM_SYNC_DIR,
        SIM_MARK,   SIM_WRITE,    SIM_MARK,   SIM_SYNC,   SIM_MARK,     SIM_CREATE,
        SIM_WRITE,  SIM_SYNC,     SIM_RENAME, SIM_REMOVE, SIM_SYNC_DIR, SIM_SYNC_DIR,
    };
    struct sim_env *sim = disk_with_engine_work();
    struct sim_event event;

    (void)state;
    assert_int_equal(sim_event_count(sim), sizeof(kinds) / sizeof(kinds[0]));
    for (uint64_t i = 0; i < sim_event_count(sim); i++)
        assert_int_equal(sim_event_at(sim, i).kind, kinds[i]);
    event = sim_event_at(sim, 7);
    assert_string_equal(event.path, "/db/000003.wal");
    assert_int_equal(event.offset, 600);
    assert_int_equal(event.len, 600);
    event = sim_event_at(sim, 9);
    assert_int_equal(event.sync_nth, 4);
    event = sim_event_at(sim, 14);
    assert_string_equal(event.path, "/db/CURRENT");
    sim_env_destroy(sim);
}

static void test_marks__hold_from_where_they_stand(void **state)
{
    struct sim_env *sim = disk_with_engine_work();

    (void)state;
    assert_int_equal(sim_last_mark(sim, 6, 1, 0), 0);
    assert_int_equal(sim_last_mark(sim, 7, 1, 0), 10);
    assert_int_equal(sim_last_mark(sim, 10, 1, 0), 10);
    assert_int_equal(sim_last_mark(sim, 11, 1, 0), 11);
    assert_int_equal(sim_last_mark(sim, 11, 2, 0), 99);
    assert_int_equal(sim_last_mark(sim, 11, 3, 77), 77);
    sim_env_destroy(sim);
}

static void test_syncs__are_named_and_counted(void **state)
{
    static const struct {
        const char *class_name;
        uint64_t covered;
    } expected[] = {
        {"sync_dir create db", 1},
        {"sync #.wal", 1},
        {"sync_dir create #.wal", 1},
        {"sync #.wal", 1},
        {"sync CURRENT.tmp", 1},
        {"sync_dir create CURRENT.tmp rename CURRENT remove #.wal", 3},
        {"sync_dir", 0},
    };
    struct sim_env *sim = disk_with_engine_work();

    (void)state;
    assert_int_equal(sim_sync_count(sim), sizeof(expected) / sizeof(expected[0]));
    for (uint64_t nth = 1; nth <= sim_sync_count(sim); nth++) {
        struct sim_sync_info info = sim_sync_at(sim, nth);
        assert_string_equal(info.class_name, expected[nth - 1].class_name);
        assert_int_equal(info.covered, expected[nth - 1].covered);
        assert_int_equal(sim_event_at(sim, info.event).sync_nth, nth);
    }
    sim_env_destroy(sim);
}

/* Every sync that covered something is missed when it is gone, and only by what it covered. */
static void test_drop__works_on_the_trace(void **state)
{
    struct sim_env *sim = disk_with_engine_work();

    (void)state;
    for (uint64_t nth = 0; nth <= sim_sync_count(sim); nth++) {
        int missed = 0;

        sim_drop_nth_sync(sim, nth);
        for (uint64_t upto = 0; upto <= sim_event_count(sim); upto++) {
            struct sim_env *image = sim_image(sim, upto, SIM_ALL_LOST, 0);
            if (upto >= 6 && upto < 15)
                missed |= help_byte(image, "/db/000003.wal", 0) != 'a';
            if (upto >= 10 && upto < 15)
                missed |= help_byte(image, "/db/000003.wal", 1100) != 'b';
            if (upto >= 17)
                missed |= help_byte(image, "/db/CURRENT", 0) != 'c';
            sim_env_destroy(image);
        }
        assert_int_equal(missed, nth > 0 && sim_sync_at(sim, nth).covered > 0);
    }
    sim_env_destroy(sim);
}

static void test_drop__counts_where_the_trace_was_read(void **state)
{
    struct sim_env *sim = disk_with_engine_work();
    uint64_t end = sim_event_count(sim);
    uint64_t units = sim_unit_count(sim, end);

    (void)state;
    sim_drop_nth_sync(sim, 5);
    assert_true(sim_unit_count(sim, end) > units);
    sim_drop_nth_sync(sim, 0);
    assert_int_equal(sim_unit_count(sim, end), units);
    sim_env_destroy(sim);
}

static void test_drop__works_beforehand(void **state)
{
    struct sim_env *sim = sim_env_create(3);
    struct varve_file *file;
    struct sim_env *image;

    (void)state;
    sim_drop_nth_sync(sim, 2);
    sim_fail_sync(sim, 0);
    file = help_open(sim, "/a");
    help_sync_dir(sim, "/");
    help_fill(sim, file, 0, 10, 'x');
    help_sync(sim, file); /* returns 0 and does nothing */
    image = help_image(sim, SIM_ALL_LOST, 0);
    assert_int_equal(help_size(image, "/a"), 0);
    sim_env_destroy(image);
    help_sync(sim, file); /* the third is true again */
    image = help_image(sim, SIM_ALL_LOST, 0);
    assert_int_equal(help_byte(image, "/a", 0), 'x');
    sim_env_destroy(image);
    sim_env_destroy(sim);
}

static void test_forget__keeps_what_is_unsynced(void **state)
{
    struct sim_env *sim = sim_env_create(3);
    struct varve_file *held = help_open(sim, "/held");
    struct sim_env *image;

    (void)state;
    help_sync_dir(sim, "/");
    help_remove(sim, "/held");
    for (int round = 0; round < 50; round++) { /* files come and go, numbers are used again */
        struct varve_file *file = help_open(sim, "/a");

        help_sync_dir(sim, "/");
        help_fill(sim, file, 0, 512, 'o');
        help_sync(sim, file);
        help_fill(sim, file, 0, 512, 'n');
        sim_trace_forget(sim);
        assert_int_equal(sim_event_count(sim), 0);
        assert_int_equal(sim_sync_count(sim), 0);
        image = sim_image(sim, 0, SIM_ALL_LOST, 0);
        assert_int_equal(help_byte(image, "/a", 0), 'o');
        sim_env_destroy(image);
        image = sim_image(sim, 0, SIM_ALL_KEPT, 0);
        assert_int_equal(help_byte(image, "/a", 0), 'n');
        sim_env_destroy(image);
        help_sync(sim, file);
        image = help_image(sim, SIM_ALL_LOST, 0);
        assert_int_equal(help_byte(image, "/a", 0), 'n');
        sim_env_destroy(image);
        help_close(sim, file);
        file = help_open(sim, "/unsynced"); /* its bytes are dropped with it */
        help_fill(sim, file, 0, 512, 'u');
        help_close(sim, file);
        help_remove(sim, "/unsynced");
        help_remove(sim, "/a");
        help_sync_dir(sim, "/");
        sim_trace_forget(sim);
        assert_int_equal(sim_unit_count(sim, 0), 0);
    }
    help_fill(sim, held, 0, 100, 'i'); /* open without a name: still a file */
    help_sync(sim, held);
    image = help_image(sim, SIM_KILL, 0);
    assert_int_equal(help_size(image, "/held"), -1);
    sim_env_destroy(image);
    help_close(sim, held);
    sim_env_destroy(sim);
}

/* Gone for the process, but a power cut may still bring it up: its create is on its way alone. */
static void test_forget__keeps_what_a_name_may_lead_to(void **state)
{
    struct sim_env *sim = sim_env_create(3);
    struct varve_file *file = help_open(sim, "/a");
    struct sim_env *image;

    (void)state;
    help_fill(sim, file, 0, 100, 'x');
    help_sync(sim, file);
    help_close(sim, file);
    help_remove(sim, "/a");
    sim_trace_forget(sim);
    help_close(sim, help_open(sim, "/b"));
    image = sim_image(sim, 0, SIM_ONE_KEPT, 0);
    assert_int_equal(help_byte(image, "/a", 99), 'x');
    sim_env_destroy(image);
    sim_env_destroy(sim);
}

static void test_digest__tells_runs_apart(void **state)
{
    struct sim_env *sim = disk_with_engine_work();
    struct sim_env *same = disk_with_engine_work();
    struct varve_file *file;
    uint64_t digest = sim_trace_digest(sim);

    (void)state;
    assert_true(sim_trace_digest(same) == digest);
    sim_trace_forget(same);
    assert_true(sim_trace_digest(same) == digest);
    for (int byte = 'a'; byte <= 'b'; byte++) { /* the same event but for its bytes */
        struct sim_env *one = byte == 'a' ? sim : same;
        file = help_open(one, "/db/000004.wal");
        help_fill(one, file, 0, 5, (char)byte);
        help_close(one, file);
        assert_true(sim_trace_digest(one) != digest);
    }
    assert_true(sim_trace_digest(sim) != sim_trace_digest(same));
    sim_env_destroy(sim);
    sim_env_destroy(same);
}

static void test_clock__moves_when_told(void **state)
{
    struct sim_env *sim = sim_env_create(3);
    struct varve_env *env = sim_as_env(sim);
    struct sim_env *image;

    (void)state;
    assert_int_equal(env->ops->now_mono_us(env), SIM_CLOCK_START_MONO_US);
    assert_int_equal(env->ops->now_real_ms(env), SIM_CLOCK_START_REAL_MS);
    for (int i = 0; i < 10; i++)
        sim_clock_advance_us(sim, 300);
    assert_int_equal(env->ops->now_mono_us(env), SIM_CLOCK_START_MONO_US + 3000);
    assert_int_equal(env->ops->now_real_ms(env), SIM_CLOCK_START_REAL_MS + 3);
    sim_mark(sim, 1, 1);
    sim_clock_set_real_ms(sim, 5000);
    sim_mark(sim, 1, 2);
    assert_int_equal(env->ops->now_real_ms(env), 5000);
    assert_int_equal(env->ops->now_mono_us(env), SIM_CLOCK_START_MONO_US + 3000);
    image = sim_image(sim, 1, SIM_ALL_LOST, 0);
    env = sim_as_env(image);
    assert_int_equal(env->ops->now_real_ms(env), SIM_CLOCK_START_REAL_MS + 3);
    sim_env_destroy(image);
    image = sim_image(sim, 2, SIM_KILL, 0);
    env = sim_as_env(image);
    assert_int_equal(env->ops->now_real_ms(env), 5000);
    sim_env_destroy(image);
    sim_env_destroy(sim);
}

static void test_random__repeats_by_seed(void **state)
{
    struct sim_env *one = sim_env_create(5);
    struct sim_env *two = sim_env_create(5);
    struct sim_env *three = sim_env_create(6);
    uint8_t a[32];
    uint8_t b[32];

    (void)state;
    sim_as_env(one)->ops->random(sim_as_env(one), a, sizeof(a));
    sim_as_env(two)->ops->random(sim_as_env(two), b, sizeof(b));
    assert_memory_equal(a, b, sizeof(a));
    sim_as_env(three)->ops->random(sim_as_env(three), b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    sim_env_destroy(one);
    sim_env_destroy(two);
    sim_env_destroy(three);
}

static void test_from_env__knows_its_own(void **state)
{
    struct sim_env *sim = sim_env_create(1);
    struct varve_env other = {0};

    (void)state;
    assert_ptr_equal(sim_from_env(sim_as_env(sim)), sim);
    assert_null(sim_from_env(&other));
    sim_env_destroy(sim);
    sim_env_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events__tell_what_happened),
        cmocka_unit_test(test_marks__hold_from_where_they_stand),
        cmocka_unit_test(test_syncs__are_named_and_counted),
        cmocka_unit_test(test_drop__works_on_the_trace),
        cmocka_unit_test(test_drop__counts_where_the_trace_was_read),
        cmocka_unit_test(test_drop__works_beforehand),
        cmocka_unit_test(test_forget__keeps_what_is_unsynced),
        cmocka_unit_test(test_forget__keeps_what_a_name_may_lead_to),
        cmocka_unit_test(test_digest__tells_runs_apart),
        cmocka_unit_test(test_clock__moves_when_told),
        cmocka_unit_test(test_random__repeats_by_seed),
        cmocka_unit_test(test_from_env__knows_its_own),
    };

    return cmocka_run_group_tests_name("sim_trace", tests, NULL, NULL);
}
