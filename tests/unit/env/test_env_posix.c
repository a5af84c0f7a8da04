#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "env_suite.h"

/* While `storm` is set, every other of these calls ends with EINTR, and a transfer moves at most
 * STORM_BYTES. The linker puts them before the C library's (meson.build). */
#define STORM_BYTES 1000

static int storm;
static unsigned storm_calls;
static unsigned storm_interrupted;

int __real_open64(const char *path, int flags, mode_t mode);
ssize_t __real_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int count, off_t offset);
int __real_ftruncate64(int fd, off_t len);
int __real_fdatasync(int fd);
int __wrap_open64(const char *path, int flags, mode_t mode);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count, off_t offset);
int __wrap_ftruncate64(int fd, off_t len);
int __wrap_fdatasync(int fd);

static int storm_strikes(void)
{
    if (!storm || storm_calls++ % 2 != 0)
        return 0;
    storm_interrupted++;
    errno = EINTR;
    return 1;
}

int __wrap_open64(const char *path, int flags, mode_t mode)
{
    return storm_strikes() ? -1 : __real_open64(path, flags, mode);
}

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset)
{
    size_t some = storm && len > STORM_BYTES ? STORM_BYTES : len;

    return storm_strikes() ? -1 : __real_pread64(fd, data, some, offset);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count, off_t offset)
{
    struct iovec first = iov[0];

    if (storm_strikes())
        return -1;
    if (!storm)
        return __real_pwritev64(fd, iov, count, offset);
    if (storm_calls % 3 == 0 && count > 1) /* whole parts and the start of one */
        return __real_pwritev64(fd, iov, 2, offset);
    first.iov_len = first.iov_len > 100 ? 100 : first.iov_len;
    return __real_pwritev64(fd, &first, 1, offset);
}

int __wrap_ftruncate64(int fd, off_t len)
{
    return storm_strikes() ? -1 : __real_ftruncate64(fd, len);
}

int __wrap_fdatasync(int fd)
{
    return storm_strikes() ? -1 : __real_fdatasync(fd);
}

static int storm_off(void **state)
{
    (void)state;
    storm = 0; /* also where a test failed */
    return 0;
}

static int posix_setup(void **state)
{
    static struct env_fixture fixture;
    const char *tmp = getenv("TMPDIR");

    fixture = (struct env_fixture){.env = varve_env_posix()};
    snprintf(fixture.root, sizeof(fixture.root), "%s/varve-env-XXXXXX", tmp != NULL ? tmp : "/tmp");
    *state = &fixture;
    return mkdtemp(fixture.root) != NULL ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int posix_teardown(void **state)
{
    struct env_fixture *f = *state;

    return nftw(f->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static struct varve_file *create_file(struct env_fixture *f, const char *name)
{
    struct varve_file *file = NULL;
    int rc = f->env->ops->open(f->env, env_suite_path(f, name),
                               VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, &f->err);

    assert_int_equal(rc, 0);
    return file;
}

static void assert_mode(struct env_fixture *f, const char *name, mode_t mode)
{
    struct stat st;

    assert_int_equal(stat(env_suite_path(f, name), &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void test_modes__are_private(void **state)
{
    struct env_fixture *f = *state;
    struct varve_lock *lock = NULL;
    mode_t old = umask(0);

    f->env->ops->close(f->env, create_file(f, "file"));
    assert_int_equal(f->env->ops->make_dir(f->env, env_suite_path(f, "dir"), &f->err), 0);
    assert_int_equal(f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &lock, &f->err), 0);
    f->env->ops->unlock(f->env, lock);
    umask(old);
    assert_mode(f, "file", 0600);
    assert_mode(f, "dir", 0700);
    assert_mode(f, "LOCK", 0600);
}

/* The descriptors that a program started by us would inherit: none of those opened here. */
static void test_descriptors__close_on_exec(void **state)
{
    struct env_fixture *f = *state;
    struct varve_lock *lock = NULL;
    int before[64];
    struct varve_file *file;
    int opened = 0;

    for (int fd = 0; fd < 64; fd++)
        before[fd] = fcntl(fd, F_GETFD);
    file = create_file(f, "file");
    assert_int_equal(f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &lock, &f->err), 0);
    for (int fd = 0; fd < 64; fd++) {
        if (before[fd] >= 0 || fcntl(fd, F_GETFD) < 0)
            continue;
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        opened++;
    }
    assert_int_equal(opened, 2);
    f->env->ops->unlock(f->env, lock);
    f->env->ops->close(f->env, file);
}

static void test_lock__dies_with_the_process(void **state)
{
    struct env_fixture *f = *state;
    struct varve_lock *lock = NULL;
    int ready[2];
    char byte;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &lock, NULL) == 0)
            byte = (char)write(ready[1], "!", 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &lock, &f->err),
                     VARVE_ELOCKED);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &lock, &f->err), 0);
    f->env->ops->unlock(f->env, lock);
    close(ready[0]);
    close(ready[1]);
}

/* A limit on the file's size makes the system write a part and then fail: the error names the call,
 * the path and the place where it stopped. */
static void test_write__fails_behind_a_part(void **state)
{
    static uint8_t bytes[3000];
    struct env_fixture *f = *state;
    struct varve_slice parts[2] = {varve_slice(bytes, 1000), varve_slice(bytes, sizeof(bytes))};
    struct varve_file *file = create_file(f, "000003.wal");
    struct rlimit old;
    struct rlimit tight;
    char text[400];
    int rc;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = (struct rlimit){.rlim_cur = 2048, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    rc = f->env->ops->write_at(f->env, file, parts, 2, 0, &f->err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rc, VARVE_ENOSPC);
    assert_int_equal(f->err.os_errno, EFBIG);
    snprintf(text, sizeof(text), "write %s at 2048: %s", env_suite_path(f, "000003.wal"),
             strerror(EFBIG));
    assert_string_equal(f->err.text, text);
    f->env->ops->close(f->env, file);
}

/* Large gathered writes and reads through a system that is interrupted at every other call and
 * moves a few bytes at the others. */
static void test_transfers__survive_interruptions(void **state)
{
    enum { LEN = 200000, PART = 777 };
    static uint8_t bytes[LEN];
    static uint8_t back[LEN];
    static struct varve_slice parts[LEN / PART + 1];
    struct env_fixture *f = *state;
    struct varve_file *file;
    uint64_t size_bytes = 0;
    size_t count = 0;
    size_t got = 0;

    for (size_t i = 0; i < LEN; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 4096);
    for (size_t at = 0; at < LEN; at += PART)
        parts[count++] = varve_slice(bytes + at, LEN - at < PART ? LEN - at : PART);
    storm = 1;
    file = create_file(f, "a");
    assert_int_equal(f->env->ops->write_at(f->env, file, parts, count, 10, &f->err), 0);
    assert_int_equal(f->env->ops->read_at(f->env, file, back, LEN, 10, &got, &f->err), 0);
    assert_int_equal(got, LEN);
    assert_memory_equal(back, bytes, LEN);
    assert_int_equal(f->env->ops->truncate(f->env, file, 5, &f->err), 0);
    assert_int_equal(f->env->ops->size(f->env, file, &size_bytes, &f->err), 0);
    assert_int_equal(size_bytes, 5);
    assert_true(storm_interrupted > 100);
    f->env->ops->close(f->env, file);
}

static void test_sync__interrupted_is_failed(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = create_file(f, "a");
    int rc;

    storm = 1;
    rc = f->env->ops->sync(f->env, file, &f->err);
    if (rc == 0)
        rc = f->env->ops->sync(f->env, file, &f->err);
    assert_int_equal(rc, VARVE_EIO);
    assert_int_equal(f->err.os_errno, EINTR);
    storm = 0;
    f->env->ops->close(f->env, file);
}

static void test_open__out_of_descriptors(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = NULL;
    struct rlimit old;
    struct rlimit none;
    int rc;

    f->env->ops->close(f->env, create_file(f, "a"));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rc = f->env->ops->open(f->env, env_suite_path(f, "a"), VARVE_OPEN_READ, &file, &f->err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(rc, VARVE_EIO);
    assert_int_equal(f->err.os_errno, EMFILE);
    assert_null(file);
}

static void test_open_and_lock__out_of_memory(void **state)
{
    struct env_fixture *f = *state;
    struct varve_file *file = NULL;
    struct varve_lock *lock = NULL;
    int failed = 0;
    int rc = -1;

    for (uint64_t nth = 1; rc != 0; nth++) {
        mem_fail_nth(nth, 0);
        rc = f->env->ops->open(f->env, env_suite_path(f, "a"), VARVE_OPEN_WRITE | VARVE_OPEN_CREATE,
                               &file, &f->err);
        failed += rc == VARVE_ENOMEM && file == NULL;
    }
    assert_int_equal(failed, 2);
    f->env->ops->close(f->env, file);
    mem_fail_nth(1, 0);
    assert_int_equal(f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &lock, &f->err),
                     VARVE_ENOMEM);
    assert_null(lock);
    mem_fail_nth(0, 0);
    assert_int_equal(f->env->ops->lock(f->env, env_suite_path(f, "LOCK"), &lock, &f->err), 0);
    f->env->ops->unlock(f->env, lock);
}

#define ENV_TEST(fn) cmocka_unit_test_setup(fn, env_suite_setup)
#define STORM_TEST(fn) cmocka_unit_test_setup_teardown(fn, env_suite_setup, storm_off)

static uint64_t allocated_bytes(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
    return (uint64_t)st.st_blocks * 512;
}

static void test_reserve__takes_blocks_and_gives_them_back(void **state)
{
    struct env_fixture *f = *state;
    const char *path = env_suite_path(f, "a");
    struct varve_slice text = varve_slice("0123", 4);
    struct varve_file *file;

    assert_int_equal(
        f->env->ops->open(f->env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, &f->err), 0);
    assert_int_equal(f->env->ops->write_at(f->env, file, &text, 1, 0, &f->err), 0);
    f->env->ops->reserve(f->env, file, 1024 * 1024);
    assert_true(allocated_bytes(path) >= 1024 * 1024);
    f->env->ops->reserve(f->env, file, 0);
    assert_true(allocated_bytes(path) < 64 * 1024);
    f->env->ops->close(f->env, file);
}

int main(void)
{
    const struct CMUnitTest posix_only[] = {
        ENV_TEST(test_modes__are_private),
        ENV_TEST(test_descriptors__close_on_exec),
        ENV_TEST(test_lock__dies_with_the_process),
        ENV_TEST(test_write__fails_behind_a_part),
        ENV_TEST(test_reserve__takes_blocks_and_gives_them_back),
        STORM_TEST(test_transfers__survive_interruptions),
        STORM_TEST(test_sync__interrupted_is_failed),
        ENV_TEST(test_open__out_of_descriptors),
        ENV_TEST(test_open_and_lock__out_of_memory),
    };
    int failed = env_suite_run("posix", posix_setup, posix_teardown);

    failed += cmocka_run_group_tests_name("posix only", posix_only, posix_setup, posix_teardown);
    return failed;
}
