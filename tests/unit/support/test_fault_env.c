/* The wrapper: which call fails, what it has done then, when it works again; and a sweep over a
 * small program that replaces a file the right way, and over one that does it wrong. */
#include "sim_help.h"

#include <errno.h>
#include <stdio.h>

#include "fault_env.h"

struct fixture {
    struct sim_env *sim;
    struct fault_env *fault;
    struct varve_env *env; /* the wrapper's */
    struct varve_err err;
};

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){.sim = sim_env_create(1)};
    f.fault = fault_env_create(sim_as_env(f.sim));
    f.env = fault_as_env(f.fault);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fault_env_destroy(f->fault);
    sim_env_destroy(f->sim);
    return 0;
}

static void plan(struct fixture *f, enum fault_op op, uint64_t nth, enum fault_mode mode,
                 enum fault_effect effect)
{
    fault_env_plan(f->fault,
                   (struct fault_plan){
                       .op = op, .nth = nth, .os_errno = ENOSPC, .mode = mode, .effect = effect});
}

static struct varve_file *create(struct fixture *f, const char *path)
{
    struct varve_file *file = NULL;

    assert_int_equal(
        f->env->ops->open(f->env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, &f->err), 0);
    return file;
}

static int write_text(struct fixture *f, struct varve_file *file, const char *text)
{
    struct varve_slice parts[2] = {varve_slice(text, 3), varve_slice_str(text + 3)};

    return f->env->ops->write_at(f->env, file, parts, 2, 0, &f->err);
}

static void test_once__then_works(void **state)
{
    struct fixture *f = *state;
    struct varve_file *file = create(f, "/000003.wal");

    plan(f, FAULT_WRITE, 2, FAULT_ONCE, FAULT_NOTHING_DONE);
    assert_string_equal(fault_env_where(f->fault), "");
    assert_int_equal(write_text(f, file, "first"), 0);
    assert_int_equal(write_text(f, file, "second"), VARVE_ENOSPC);
    assert_int_equal(f->err.os_errno, ENOSPC);
    assert_string_equal(f->err.text, "write /000003.wal at 0: No space left on device");
    assert_string_equal(fault_env_where(f->fault), "write /000003.wal");
    assert_int_equal(help_byte(f->sim, "/000003.wal", 0), 'f');
    assert_int_equal(help_size(f->sim, "/000003.wal"), 5);
    assert_int_equal(write_text(f, file, "third"), 0);
    assert_int_equal(fault_env_fired(f->fault), 1);
    assert_int_equal(fault_env_calls(f->fault, FAULT_WRITE), 3);
    assert_int_equal(fault_env_calls(f->fault, FAULT_ANY), 3);
    f->env->ops->close(f->env, file);
}

static void test_sticky__until_healed(void **state)
{
    struct fixture *f = *state;
    struct varve_file *file = create(f, "/a");

    plan(f, FAULT_ANY, 1, FAULT_STICKY, FAULT_NOTHING_DONE);
    for (int i = 0; i < 5; i++)
        assert_int_equal(write_text(f, file, "xyz"), VARVE_ENOSPC);
    assert_int_equal(f->env->ops->remove(f->env, "/a", &f->err), VARVE_ENOSPC);
    assert_int_equal(fault_env_fired(f->fault), 6);
    fault_env_heal(f->fault);
    assert_int_equal(write_text(f, file, "xyz"), 0);
    assert_int_equal(fault_env_fired(f->fault), 6);
    f->env->ops->close(f->env, file);
}

static void test_pause__neither_counts_nor_fails(void **state)
{
    struct fixture *f = *state;
    struct varve_file *file = create(f, "/a");

    plan(f, FAULT_WRITE, 1, FAULT_STICKY, FAULT_NOTHING_DONE);
    fault_env_pause(f->fault, 1);
    assert_int_equal(write_text(f, file, "xyz"), 0);
    assert_int_equal(fault_env_calls(f->fault, FAULT_WRITE), 0);
    fault_env_pause(f->fault, 0);
    assert_int_equal(write_text(f, file, "xyz"), VARVE_ENOSPC);
    f->env->ops->close(f->env, file);
}

static void test_short__read_succeeds_with_half(void **state)
{
    struct fixture *f = *state;
    struct varve_file *file = create(f, "/a");
    char bytes[8] = "";
    size_t got = 0;

    assert_int_equal(write_text(f, file, "abcdef"), 0);
    plan(f, FAULT_ANY, 1, FAULT_STICKY, FAULT_SHORT);
    assert_int_equal(f->env->ops->read_at(f->env, file, bytes, 6, 0, &got, &f->err), 0);
    assert_int_equal(got, 3);
    assert_string_equal(bytes, "abc");
    assert_int_equal(write_text(f, file, "xyz"), VARVE_ENOSPC);
    assert_int_equal(help_byte(f->sim, "/a", 0), 'a');
    f->env->ops->close(f->env, file);
}

static void test_path_suffix__spares_the_others(void **state)
{
    struct fixture *f = *state;
    struct varve_file *wal = create(f, "/1.wal");
    struct varve_file *other = create(f, "/al");

    fault_env_plan(f->fault,
                   (struct fault_plan){
                       .nth = 1, .os_errno = EIO, .mode = FAULT_STICKY, .path_suffix = ".wal"});
    assert_int_equal(write_text(f, other, "xyz"), 0);
    assert_int_equal(write_text(f, wal, "xyz"), VARVE_EIO);
    assert_int_equal(f->env->ops->rename(f->env, "/al", "/2.wal", &f->err), VARVE_EIO);
    assert_int_equal(f->env->ops->rename(f->env, "/al", "/2.log", &f->err), 0);
    fault_env_heal(f->fault);
    f->env->ops->close(f->env, wal);
    f->env->ops->close(f->env, other);
}

static void test_effects__of_a_write(void **state)
{
    static const int64_t sizes[] = {
        [FAULT_NOTHING_DONE] = 0, [FAULT_PARTLY_DONE] = 4, [FAULT_ALL_DONE] = 8};
    struct fixture *f = *state;

    for (int effect = FAULT_NOTHING_DONE; effect <= FAULT_ALL_DONE; effect++) {
        struct varve_file *file;

        plan(f, FAULT_WRITE, 1, FAULT_ONCE, (enum fault_effect)effect);
        file = create(f, "/a");
        assert_int_equal(write_text(f, file, "12345678"), VARVE_ENOSPC);
        assert_int_equal(help_size(f->sim, "/a"), sizes[effect]);
        if (sizes[effect] > 0)
            assert_int_equal(help_byte(f->sim, "/a", sizes[effect] - 1), '0' + sizes[effect]);
        f->env->ops->close(f->env, file);
        assert_int_equal(f->env->ops->remove(f->env, "/a", &f->err), 0);
    }
}

static int count_name(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return 0;
}

/* Every kind of call, with each effect: an error, out-parameters cleared, and on disk what the
 * effect says. */
static void test_effects__of_the_other_calls(void **state)
{
    struct fixture *f = *state;

    for (int effect = FAULT_NOTHING_DONE; effect <= FAULT_ALL_DONE; effect++) {
        int done = effect == FAULT_ALL_DONE;
        struct varve_file *file = create(f, "/a");
        struct varve_file *none = file;
        struct varve_lock *lock = NULL;
        uint64_t size_bytes = 9;
        char data[8];
        size_t got = 9;
        int names = 0;

        assert_int_equal(write_text(f, file, "12345678"), 0);
        plan(f, FAULT_ANY, 1, FAULT_STICKY, (enum fault_effect)effect);
        assert_int_equal(f->env->ops->read_at(f->env, file, data, 8, 0, &got, &f->err),
                         VARVE_ENOSPC);
        assert_int_equal(got, 0);
        assert_int_equal(f->env->ops->size(f->env, file, &size_bytes, &f->err), VARVE_ENOSPC);
        assert_int_equal(size_bytes, 0);
        assert_int_equal(f->env->ops->truncate(f->env, file, 2, &f->err), VARVE_ENOSPC);
        assert_int_equal(help_size(f->sim, "/a"), done ? 2 : 8);
        assert_int_equal(
            f->env->ops->open(f->env, "/new", VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &none, &f->err),
            VARVE_ENOSPC);
        assert_null(none);
        assert_int_equal(help_size(f->sim, "/new"), done ? 0 : -1);
        assert_int_equal(f->env->ops->make_dir(f->env, "/dir", &f->err), VARVE_ENOSPC);
        assert_int_equal(f->env->ops->lock(f->env, "/LOCK", &lock, &f->err), VARVE_ENOSPC);
        assert_null(lock);
        assert_int_equal(f->env->ops->list_dir(f->env, "/", count_name, &names, &f->err),
                         VARVE_ENOSPC);
        assert_int_equal(names, done ? 4 : 0 + (effect == FAULT_PARTLY_DONE));
        assert_int_equal(f->env->ops->rename(f->env, "/a", "/b", &f->err), VARVE_ENOSPC);
        assert_int_equal(help_size(f->sim, "/b"), done ? 2 : -1);
        fault_env_heal(f->fault);
        assert_int_equal(f->env->ops->lock(f->env, "/LOCK", &lock, &f->err), 0);
        f->env->ops->unlock(f->env, lock);
        plan(f, FAULT_REMOVE, 1, FAULT_ONCE, (enum fault_effect)effect);
        assert_int_equal(f->env->ops->remove(f->env, done ? "/b" : "/a", &f->err), VARVE_ENOSPC);
        assert_int_equal(help_size(f->sim, done ? "/b" : "/a"), done ? -1 : 8);
        f->env->ops->close(f->env, file);
        teardown(state);
        setup(state);
        f = *state;
    }
}

static void test_sync__leaves_doubt_on_a_simulated_disk(void **state)
{
    struct fixture *f = *state;
    struct varve_file *file = create(f, "/a");
    struct sim_env *image;

    assert_int_equal(write_text(f, file, "12345678"), 0);
    fault_env_plan(f->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    assert_int_equal(f->env->ops->sync(f->env, file, &f->err), VARVE_EIO);
    assert_string_equal(f->err.text, "sync /a: Input/output error");
    assert_int_equal(f->env->ops->sync(f->env, file, &f->err), 0);
    assert_int_equal(f->env->ops->sync_dir(f->env, "/", &f->err), 0);
    image = help_image(f->sim, SIM_ALL_LOST, 0);
    assert_int_equal(help_size(image, "/a"), 0); /* the second sync lied */
    sim_env_destroy(image);

    fault_env_plan(f->fault, (struct fault_plan){.op = FAULT_SYNC_DIR, .nth = 1, .os_errno = EIO});
    assert_int_equal(f->env->ops->rename(f->env, "/a", "/b", &f->err), 0);
    assert_int_equal(f->env->ops->sync_dir(f->env, "/", &f->err), VARVE_EIO);
    assert_string_equal(f->err.text, "sync directory /: Input/output error");
    assert_int_equal(f->env->ops->sync_dir(f->env, "/", &f->err), 0);
    image = help_image(f->sim, SIM_ALL_LOST, 0);
    assert_int_equal(help_size(image, "/b"), -1);
    sim_env_destroy(image);
    f->env->ops->close(f->env, file);
}

/* --- a sweep --- */

/* Replaces /CURRENT with text; `wrong` leaves out the sync of the data. */
static int current_switch(struct varve_env *env, const char *text, int wrong, struct varve_err *err)
{
    struct varve_slice part = varve_slice_str(text);
    struct varve_file *file = NULL;
    int rc = env->ops->open(env, "/CURRENT.tmp", VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, err);

    if (rc != 0)
        return rc;
    rc = env->ops->write_at(env, file, &part, 1, 0, err);
    if (rc == 0 && !wrong)
        rc = env->ops->sync(env, file, err);
    env->ops->close(env, file);
    if (rc == 0)
        rc = env->ops->rename(env, "/CURRENT.tmp", "/CURRENT", err);
    if (rc == 0)
        rc = env->ops->sync_dir(env, "/", err);
    return rc;
}

/* Fails call 1, 2, 3 ... of a switch from 'o' to 'n', cuts the power by every policy, and counts
 * the images where CURRENT is not what it must be. */
static int sweep(int wrong, int effect, uint64_t *points)
{
    int bad = 0;

    for (uint64_t nth = 1;; nth++) {
        struct sim_env *sim = sim_env_create(nth);
        struct fault_env *fault = fault_env_create(sim_as_env(sim));
        struct varve_err err;
        uint64_t fired;
        int rc;

        assert_int_equal(current_switch(fault_as_env(fault), "old", 0, &err), 0);
        fault_env_plan(
            fault,
            (struct fault_plan){.nth = nth, .os_errno = EIO, .effect = (enum fault_effect)effect});
        rc = current_switch(fault_as_env(fault), "new", wrong, &err);
        fired = fault_env_fired(fault);
        assert_int_equal(rc != 0, fired > 0);
        for (int policy = 0; policy < SIM_POLICY_COUNT; policy++) {
            struct sim_env *image = help_image(sim, (enum sim_policy)policy, nth);
            int byte = help_byte(image, "/CURRENT", 0);
            bad += rc == 0 ? byte != 'n' : byte != 'n' && byte != 'o';
            sim_env_destroy(image);
        }
        fault_env_destroy(fault);
        sim_env_destroy(sim);
        if (fired == 0) {
            *points = nth - 1;
            return bad;
        }
    }
}

static void test_sweep__ends_and_tells_right_from_wrong(void **state)
{
    uint64_t points = 0;

    (void)state;
    for (int effect = FAULT_NOTHING_DONE; effect <= FAULT_ALL_DONE; effect++) {
        assert_int_equal(sweep(0, effect, &points), 0);
        assert_int_equal(points, 5);
        assert_true(sweep(1, effect, &points) > 0);
        assert_int_equal(points, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_once__then_works, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sticky__until_healed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pause__neither_counts_nor_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_short__read_succeeds_with_half, setup, teardown),
        cmocka_unit_test_setup_teardown(test_path_suffix__spares_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_effects__of_a_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_effects__of_the_other_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync__leaves_doubt_on_a_simulated_disk, setup,
                                        teardown),
        cmocka_unit_test(test_sweep__ends_and_tells_right_from_wrong),
    };

    return cmocka_run_group_tests_name("fault_env", tests, NULL, NULL);
}
