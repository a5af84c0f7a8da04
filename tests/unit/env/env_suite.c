#include "env_suite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

const char *env_suite_path(const struct env_fixture *fixture, const char *name)
{
    static char paths[4][256];
    static size_t next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", fixture->dir, name);
    return path;
}

int env_suite_setup(void **state)
{
    struct env_fixture *f = *state;

    snprintf(f->dir, sizeof(f->dir), "%s/t%d", f->root, f->next_dir++);
    f->err = (struct varve_err){0};
    return f->env->ops->make_dir(f->env, f->dir, &f->err);
}

static struct varve_file *open_file(struct env_fixture *f, const char *name, unsigned flags)
{
    struct varve_file *file = NULL;

    assert_int_equal(f->env->ops->open(f->env, env_suite_path(f, name), flags, &file, &f->err), 0);
    assert_non_null(file);
    return file;
}

static struct varve_file *create_file(struct env_fixture *f, const char *name)
{
    return open_file(f, name, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE);
}

static void write_text(struct env_fixture *f, struct varve_file *file, uint64_t offset,
                       const char *text)
{
    struct varve_slice part = varve_slice_str(text);

    assert_int_equal(f->env->ops->write_at(f->env, file, &part, 1, offset, &f->err), 0);
}

static void assert_reads(struct env_fixture *f, struct varve_file *file, uint64_t offset,
                         size_t len, const char *text)
{
    char data[256];
    size_t got = 99;

    assert_true(len <= sizeof(data));
    assert_int_equal(f->env->ops->read_at(f->env, file, data, len, offset, &got, &f->err), 0);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(data, text, got);
}

static void assert_size(struct env_fixture *f, struct varve_file *file, uint64_t expected)
{
    uint64_t size_bytes = 99;

    assert_int_equal(f->env->ops->size(f->env, file, &size_bytes, &f->err), 0);
    assert_int_equal(size_bytes, expected);
}

static void assert_failed(struct env_fixture *f, int rc, int code, int os_errno, const char *start)
{
    assert_int_equal(rc, code);
    assert_int_equal(f->err.code, code);
    assert_int_equal(f->err.os_errno, os_errno);
    if (strncmp(f->err.text, start, strlen(start)) != 0)
        fail_msg("'%s' does not start with '%s'", f->err.text, start);
}

static int exists(struct env_fixture *f, const char *name)
{
    struct varve_file *file = NULL;
    int rc = f->env->ops->open(f->env, env_suite_path(f, name), VARVE_OPEN_READ, &file, NULL);

    f->env->ops->close(f->env, file);
    return rc == 0;
}

/* --- files --- */

static void test_write__reads_back(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "a");

    assert_size(f, file, 0);
    assert_reads(f, file, 0, 10, "");
    write_text(f, file, 0, "hello world");
    assert_size(f, file, 11);
    assert_reads(f, file, 0, 11, "hello world");
    assert_reads(f, file, 6, 100, "world"); /* short at the end only */
    assert_reads(f, file, 11, 5, "");
    assert_reads(f, file, 1000, 5, "");
    write_text(f, file, 6, "W");
    assert_reads(f, file, 0, 11, "hello World");
    assert_int_equal(f->env->ops->sync(f->env, file, &f->err), 0);
    f->env->ops->close(f->env, file);
    file = open_file(f, "a", VARVE_OPEN_READ);
    assert_reads(f, file, 0, 11, "hello World");
    f->env->ops->close(f->env, file);
}

/* Hints change nothing, wherever they point. */
static void test_hints__change_nothing(void **state)
{
    struct env_fixture *f = *state;
    const struct varve_env_ops *ops = f->env->ops;
    struct varve_file *file = create_file(f, "a");

    write_text(f, file, 0, "hello");
    ops->close(f->env, file);
    file = open_file(f, "a", VARVE_OPEN_READ | VARVE_OPEN_RANDOM);
    ops->read_ahead(f->env, file, 0, 5);
    ops->read_ahead(f->env, file, 3, 1 << 20);
    ops->read_ahead(f->env, file, (uint64_t)1 << 40, 1);
    assert_reads(f, file, 0, 5, "hello");
    assert_reads(f, file, 3, 10, "lo");
    ops->close(f->env, file);
}

static void test_write__behind_the_end_leaves_zeros(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "a");
    char data[2048];
    size_t got;

    write_text(f, file, 0, "x");
    write_text(f, file, 1500, "y");
    assert_size(f, file, 1501);
    assert_int_equal(f->env->ops->read_at(f->env, file, data, sizeof(data), 0, &got, &f->err), 0);
    assert_int_equal(got, 1501);
    assert_int_equal(data[0], 'x');
    for (size_t i = 1; i < 1500; i++)
        assert_int_equal(data[i], 0);
    assert_int_equal(data[1500], 'y');
    f->env->ops->close(f->env, file);
}

/* More parts than one system call takes, some of them empty, across many sectors. */
static void test_write__gathers_parts(void **state)
{
    enum { PARTS = 3000, MAX_LEN = 7 };
    static uint8_t bytes[PARTS * MAX_LEN];
    static uint8_t back[PARTS * MAX_LEN];
    static struct varve_slice parts[PARTS];
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "a");
    size_t len = 0;
    size_t got;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 131 + i / 256);
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = varve_slice(i % 8 == 0 ? NULL : bytes + len, i % 8);
        len += i % 8;
    }
    assert_int_equal(f->env->ops->write_at(f->env, file, parts, PARTS, 100, &f->err), 0);
    assert_size(f, file, 100 + len);
    assert_int_equal(f->env->ops->read_at(f->env, file, back, len, 100, &got, &f->err), 0);
    assert_int_equal(got, len);
    assert_memory_equal(back, bytes, len);
    assert_int_equal(f->env->ops->write_at(f->env, file, parts, 1, 5000000, &f->err), 0);
    assert_int_equal(f->env->ops->write_at(f->env, file, NULL, 0, 5000000, &f->err), 0);
    assert_size(f, file, 100 + len); /* nothing written, nothing grown */
    f->env->ops->close(f->env, file);
}

/* A file with room set aside is as long as it was, and is written and read as any. */
static void test_reserve__changes_no_size(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "a");

    write_text(f, file, 0, "0123");
    f->env->ops->reserve(f->env, file, 1024 * 1024);
    f->env->ops->reserve(f->env, file, UINT64_MAX); /* there is no room for that */
    assert_size(f, file, 4);
    assert_reads(f, file, 0, 20, "0123");
    write_text(f, file, 4, "45");
    assert_reads(f, file, 0, 20, "012345");
    f->env->ops->close(f->env, file);
}

static void test_truncate__cuts_and_grows_with_zeros(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "a");
    char data[10];
    size_t got;

    write_text(f, file, 0, "0123456789");
    assert_int_equal(f->env->ops->truncate(f->env, file, 4, &f->err), 0);
    assert_reads(f, file, 0, 20, "0123");
    assert_int_equal(f->env->ops->truncate(f->env, file, 6, &f->err), 0);
    assert_size(f, file, 6);
    write_text(f, file, 5, "x");
    assert_reads(f, file, 5, 20, "x");
    assert_reads(f, file, 0, 4, "0123");
    write_text(f, file, 4, "y"); /* where the cut bytes were: they do not come back */
    assert_reads(f, file, 0, 20, "0123yx");
    assert_int_equal(f->env->ops->truncate(f->env, file, 3, &f->err), 0);
    assert_int_equal(f->env->ops->truncate(f->env, file, 10, &f->err), 0);
    assert_int_equal(f->env->ops->read_at(f->env, file, data, sizeof(data), 0, &got, &f->err), 0);
    assert_int_equal(got, 10);
    assert_memory_equal(data, "012\0\0\0\0\0\0\0", 10);
    assert_int_equal(f->env->ops->truncate(f->env, file, 100000, &f->err), 0);
    assert_size(f, file, 100000);
    f->env->ops->close(f->env, file);
}

static void test_open__flags(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "a");
    struct varve_slice part = varve_slice_str("no");
    unsigned exclusive = VARVE_OPEN_WRITE | VARVE_OPEN_CREATE | VARVE_OPEN_EXCLUSIVE;
    int rc;

    write_text(f, file, 0, "kept");
    f->env->ops->close(f->env, file);
    file = create_file(f, "a"); /* exists: is opened, and nothing of it is lost */
    assert_reads(f, file, 0, 10, "kept");
    f->env->ops->close(f->env, file);

    rc = f->env->ops->open(f->env, env_suite_path(f, "a"), exclusive, &file, &f->err);
    assert_failed(f, rc, VARVE_EEXIST, EEXIST, "open ");
    assert_null(file);
    f->env->ops->close(f->env, open_file(f, "new", exclusive));

    rc = f->env->ops->open(f->env, env_suite_path(f, "none"), VARVE_OPEN_WRITE, &file, &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "open ");
    assert_null(file);
    rc = f->env->ops->open(f->env, env_suite_path(f, "none/b"),
                           VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "open ");
    rc = f->env->ops->open(f->env, env_suite_path(f, "a/b"), VARVE_OPEN_WRITE | VARVE_OPEN_CREATE,
                           &file, &f->err);
    assert_failed(f, rc, VARVE_EIO, ENOTDIR, "open ");
    rc = f->env->ops->open(f->env, f->dir, VARVE_OPEN_WRITE, &file, &f->err);
    assert_failed(f, rc, VARVE_EIO, EISDIR, "open ");

    file = open_file(f, "a", VARVE_OPEN_READ);
    rc = f->env->ops->write_at(f->env, file, &part, 1, 0, &f->err);
    assert_failed(f, rc, VARVE_EIO, EBADF, "write ");
    rc = f->env->ops->truncate(f->env, file, 0, &f->err);
    assert_failed(f, rc, VARVE_EIO, EINVAL, "truncate ");
    assert_reads(f, file, 0, 10, "kept");
    f->env->ops->close(f->env, file);
    f->env->ops->close(f->env, NULL);
}

static void test_errors__are_told_without_an_err(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = NULL;

    assert_int_equal(
        f->env->ops->open(f->env, env_suite_path(f, "none"), VARVE_OPEN_READ, &file, NULL),
        VARVE_ENOENT);
    assert_int_equal(f->env->ops->remove(f->env, env_suite_path(f, "none"), NULL), VARVE_ENOENT);
}

/* --- names --- */

static void test_rename__replaces_and_moves(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "new");
    struct varve_file *old = create_file(f, "current");
    int rc;

    write_text(f, file, 0, "new");
    write_text(f, old, 0, "old");
    rc = f->env->ops->rename(f->env, env_suite_path(f, "new"), env_suite_path(f, "current"),
                             &f->err);
    assert_int_equal(rc, 0);
    assert_false(exists(f, "new"));
    assert_reads(f, old, 0, 10, "old"); /* an open file outlives its name */
    assert_reads(f, file, 0, 10, "new");
    f->env->ops->close(f->env, old);
    f->env->ops->close(f->env, file);
    file = open_file(f, "current", VARVE_OPEN_READ);
    assert_reads(f, file, 0, 10, "new");
    f->env->ops->close(f->env, file);

    assert_int_equal(f->env->ops->make_dir(f->env, env_suite_path(f, "sub"), &f->err), 0);
    rc = f->env->ops->rename(f->env, env_suite_path(f, "current"), env_suite_path(f, "sub/x"),
                             &f->err);
    assert_int_equal(rc, 0);
    assert_false(exists(f, "current"));
    assert_true(exists(f, "sub/x"));
    rc = f->env->ops->rename(f->env, env_suite_path(f, "sub"), env_suite_path(f, "moved"), &f->err);
    assert_int_equal(rc, 0);
    assert_true(exists(f, "moved/x"));
    rc = f->env->ops->rename(f->env, env_suite_path(f, "moved/x"), env_suite_path(f, "moved/x"),
                             &f->err);
    assert_int_equal(rc, 0);
    assert_true(exists(f, "moved/x"));
}

static void test_rename__fails(void **state)
{
    struct env_fixture *f = *state;
    int rc;

    f->env->ops->close(f->env, create_file(f, "file"));
    assert_int_equal(f->env->ops->make_dir(f->env, env_suite_path(f, "dir"), &f->err), 0);
    f->env->ops->close(f->env, create_file(f, "dir/inner"));
    rc = f->env->ops->rename(f->env, env_suite_path(f, "none"), env_suite_path(f, "x"), &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "rename ");
    rc = f->env->ops->rename(f->env, env_suite_path(f, "file"), env_suite_path(f, "none/x"),
                             &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "rename ");
    rc = f->env->ops->rename(f->env, env_suite_path(f, "file"), env_suite_path(f, "dir"), &f->err);
    assert_failed(f, rc, VARVE_EIO, EISDIR, "rename ");
    rc = f->env->ops->rename(f->env, env_suite_path(f, "dir"), env_suite_path(f, "dir/y"), &f->err);
    assert_failed(f, rc, VARVE_EIO, EINVAL, "rename ");
    assert_true(exists(f, "file"));
    assert_true(exists(f, "dir/inner"));
}

static void test_link__gives_a_second_name(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "first");
    int rc;

    write_text(f, file, 0, "bytes");
    assert_int_equal(f->env->ops->make_dir(f->env, env_suite_path(f, "sub"), &f->err), 0);
    rc = f->env->ops->link(f->env, env_suite_path(f, "first"), env_suite_path(f, "sub/second"),
                           &f->err);
    assert_int_equal(rc, 0);
    assert_int_equal(f->env->ops->remove(f->env, env_suite_path(f, "first"), &f->err), 0);
    assert_false(exists(f, "first"));
    write_text(f, file, 5, " and more"); /* one file, whatever its names */
    f->env->ops->close(f->env, file);
    file = open_file(f, "sub/second", VARVE_OPEN_READ);
    assert_reads(f, file, 0, 20, "bytes and more");
    f->env->ops->close(f->env, file);
}

static void test_link__fails(void **state)
{
    struct env_fixture *f = *state;
    int rc;

    f->env->ops->close(f->env, create_file(f, "file"));
    f->env->ops->close(f->env, create_file(f, "other"));
    assert_int_equal(f->env->ops->make_dir(f->env, env_suite_path(f, "dir"), &f->err), 0);
    rc = f->env->ops->link(f->env, env_suite_path(f, "none"), env_suite_path(f, "x"), &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "link ");
    rc = f->env->ops->link(f->env, env_suite_path(f, "file"), env_suite_path(f, "none/x"), &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "link ");
    rc = f->env->ops->link(f->env, env_suite_path(f, "file"), env_suite_path(f, "other"), &f->err);
    assert_failed(f, rc, VARVE_EEXIST, EEXIST, "link ");
    rc = f->env->ops->link(f->env, env_suite_path(f, "dir"), env_suite_path(f, "x"), &f->err);
    assert_failed(f, rc, VARVE_EIO, EPERM, "link ");
}

static void test_remove__files_and_empty_directories(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "a");
    int rc;

    write_text(f, file, 0, "still");
    assert_int_equal(f->env->ops->remove(f->env, env_suite_path(f, "a"), &f->err), 0);
    assert_false(exists(f, "a"));
    assert_reads(f, file, 0, 10, "still");
    f->env->ops->close(f->env, file);
    rc = f->env->ops->remove(f->env, env_suite_path(f, "a"), &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "remove ");

    assert_int_equal(f->env->ops->make_dir(f->env, env_suite_path(f, "dir"), &f->err), 0);
    f->env->ops->close(f->env, create_file(f, "dir/inner"));
    rc = f->env->ops->remove(f->env, env_suite_path(f, "dir"), &f->err);
    assert_int_equal(rc, VARVE_EIO);
    assert_int_equal(f->env->ops->remove(f->env, env_suite_path(f, "dir/inner"), &f->err), 0);
    assert_int_equal(f->env->ops->remove(f->env, env_suite_path(f, "dir"), &f->err), 0);
    rc = f->env->ops->sync_dir(f->env, env_suite_path(f, "dir"), &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "sync directory ");
}

static void test_make_dir__fails(void **state)
{
    struct env_fixture *f = *state;
    int rc = f->env->ops->make_dir(f->env, f->dir, &f->err);

    assert_failed(f, rc, VARVE_EEXIST, EEXIST, "make directory ");
    rc = f->env->ops->make_dir(f->env, env_suite_path(f, "none/sub"), &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "make directory ");
}

struct names {
    unsigned seen; /* bit i: "f<i>" */
    int count;
    int stop_after;
};

static int names_add(void *arg, const char *name)
{
    struct names *names = arg;

    assert_int_equal(name[0], 'f');
    names->seen |= 1u << atoi(name + 1);
    names->count++;
    return names->count == names->stop_after ? 42 : 0;
}

static void test_list_dir__shows_each_name_once(void **state)
{
    struct env_fixture *f = *state;
    struct names names = {0};
    int rc;

    assert_int_equal(f->env->ops->list_dir(f->env, f->dir, names_add, &names, &f->err), 0);
    assert_int_equal(names.count, 0);
    for (int i = 0; i < 10; i++) {
        char name[8];
        snprintf(name, sizeof(name), "f%d", i);
        f->env->ops->close(f->env, create_file(f, name));
    }
    assert_int_equal(f->env->ops->remove(f->env, env_suite_path(f, "f3"), &f->err), 0);
    assert_int_equal(f->env->ops->list_dir(f->env, f->dir, names_add, &names, &f->err), 0);
    assert_int_equal(names.count, 9);
    assert_int_equal(names.seen, 0x3ff & ~(1u << 3));

    names = (struct names){.stop_after = 4};
    assert_int_equal(f->env->ops->list_dir(f->env, f->dir, names_add, &names, &f->err), 42);
    assert_int_equal(names.count, 4);
    rc = f->env->ops->list_dir(f->env, env_suite_path(f, "none"), names_add, &names, &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "list ");
    rc = f->env->ops->list_dir(f->env, env_suite_path(f, "f1"), names_add, &names, &f->err);
    assert_failed(f, rc, VARVE_EIO, ENOTDIR, "list ");
    assert_int_equal(f->env->ops->sync_dir(f->env, f->dir, &f->err), 0);
}

/* --- the rest --- */

static void test_lock__excludes(void **state)
{
    struct env_fixture *f = *state;
    struct varve_lock *lock = NULL;
    struct varve_lock *second = NULL;
    int rc;

    assert_int_equal(f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &lock, &f->err), 0);
    assert_true(exists(f, "LOCK"));
    rc = f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &second, &f->err);
    assert_failed(f, rc, VARVE_ELOCKED, 0, "lock ");
    assert_null(second);
    f->env->ops->unlock(f->env, lock);
    assert_int_equal(f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &second, &f->err), 0);
    f->env->ops->unlock(f->env, second);
    f->env->ops->unlock(f->env, NULL);
    rc = f->env->ops->lock(f->env, env_suite_path(f, "none/LOCK"), &lock, &f->err);
    assert_failed(f, rc, VARVE_ENOENT, ENOENT, "lock ");
    assert_null(lock);
}

static void test_clocks_and_random(void **state)
{
    struct env_fixture *f = *state;
    uint64_t mono = f->env->ops->now_mono_us(f->env);
    uint8_t a[1000] = {0};
    uint8_t b[1000] = {0};

    assert_true(mono > 0);
    assert_true(f->env->ops->now_mono_us(f->env) >= mono);
    assert_true(f->env->ops->now_real_ms(f->env) >= 1600000000000u);
    f->env->ops->random(f->env, a, sizeof(a));
    f->env->ops->random(f->env, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a + 900, b + 900, 100); /* to the last byte */
    f->env->ops->random(f->env, a, 0);
}

#define ENV_TEST(fn) cmocka_unit_test_setup(fn, env_suite_setup)

int env_suite_run(const char *name, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    const struct CMUnitTest env_suite[] = {
        ENV_TEST(test_write__reads_back),
        ENV_TEST(test_hints__change_nothing),
        ENV_TEST(test_write__behind_the_end_leaves_zeros),
        ENV_TEST(test_write__gathers_parts),
        ENV_TEST(test_reserve__changes_no_size),
        ENV_TEST(test_truncate__cuts_and_grows_with_zeros),
        ENV_TEST(test_open__flags),
        ENV_TEST(test_errors__are_told_without_an_err),
        ENV_TEST(test_rename__replaces_and_moves),
        ENV_TEST(test_rename__fails),
        ENV_TEST(test_link__gives_a_second_name),
        ENV_TEST(test_link__fails),
        ENV_TEST(test_remove__files_and_empty_directories),
        ENV_TEST(test_make_dir__fails),
        ENV_TEST(test_list_dir__shows_each_name_once),
        ENV_TEST(test_lock__excludes),
        ENV_TEST(test_clocks_and_random),
    };

    return cmocka_run_group_tests_name(name, env_suite, setup, teardown);
}
