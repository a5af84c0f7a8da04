/* The env over the operating system's calls.
 *
 * EINTR and short transfers are looped over, except in fsync and fdatasync: the kernel reports a
 * failed writeback once, and an interrupted call may have used that report up. A second call that
 * returns 0 would then vouch for bytes that are lost, so every failed sync is an error. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "varve/env.h"

/* Linux transfers at most 2 GiB - 4 KiB a call; half of that also holds where an int counts. */
#define TRANSFER_MAX_BYTES ((size_t)1 << 30)
#define RESERVE_PART 16         /* of what is free, for one file */
#define GETRANDOM_MAX_BYTES 256 /* up to here a call neither fails nor stops short */

struct varve_file {
    int fd;
    char *path; /* owned; for error texts */
};

struct varve_lock {
    int fd;
};

static int open_retry(const char *path, int flags, mode_t mode)
{
    int fd;

    do
        fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static int posix_open(struct varve_env *env, const char *path, unsigned flags,
                      struct varve_file **out, struct varve_err *err)
{
    int os_flags = (flags & VARVE_OPEN_WRITE) != 0 ? O_RDWR : O_RDONLY;
    struct varve_file *file;

    (void)env;
    *out = NULL;
    if ((flags & VARVE_OPEN_CREATE) != 0)
        os_flags |= O_CREAT | ((flags & VARVE_OPEN_EXCLUSIVE) != 0 ? O_EXCL : 0);
    file = mem_alloc(sizeof(*file));
    if (file == NULL)
        return err_set(err, VARVE_ENOMEM, "open %s: out of memory", path);
    file->path = mem_strdup(path);
    if (file->path == NULL) {
        mem_free(file);
        return err_set(err, VARVE_ENOMEM, "open %s: out of memory", path);
    }
    file->fd = open_retry(path, os_flags, 0600);
    if (file->fd < 0) {
        int rc = err_set_errno(err, errno, "open %s", path);
        mem_free(file->path);
        mem_free(file);
        return rc;
    }
    /* Else the system reads on behind what happens to lie in its memory, as far as read_ahead_kb says. */
    if ((flags & VARVE_OPEN_RANDOM) != 0)
        (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM);
    *out = file;
    return 0;
}

static void posix_close(struct varve_env *env, struct varve_file *file)
{
    (void)env;
    if (file == NULL)
        return;
    close(file->fd); /* on Linux the descriptor is gone whatever this returns */
    mem_free(file->path);
    mem_free(file);
}

static int posix_read_at(struct varve_env *env, struct varve_file *file, void *data, size_t len,
                         uint64_t offset, size_t *got, struct varve_err *err)
{
    size_t done = 0;

    (void)env;
    *got = 0;
    while (done < len) {
        size_t want = len - done < TRANSFER_MAX_BYTES ? len - done : TRANSFER_MAX_BYTES;
        ssize_t n = pread(file->fd, (uint8_t *)data + done, want, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, errno, "read %s at %llu", file->path,
                                 (unsigned long long)(offset + done));
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return 0;
}

static int posix_read_at_nowait(struct varve_env *env, struct varve_file *file, void *data,
                                size_t len, uint64_t offset, size_t *got, struct varve_err *err)
{
    struct iovec iov = {.iov_base = data, .iov_len = len};
    ssize_t n;

    (void)env;
    (void)err;
    *got = 0;
    do
        n = preadv2(file->fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
    while (n < 0 && errno == EINTR);
    /* An error, too, is told by the read that may wait. */
    if (n < 0 || (size_t)n < len)
        return VARVE_WOULD_BLOCK;
    *got = (size_t)n;
    return 0;
}

static void posix_read_ahead(struct varve_env *env, struct varve_file *file, uint64_t offset,
                             uint64_t len)
{
    (void)env;
    (void)posix_fadvise(file->fd, (off_t)offset, (off_t)len, POSIX_FADV_WILLNEED);
}

static void posix_write_behind(struct varve_env *env, struct varve_file *file, uint64_t offset,
                               uint64_t len)
{
    (void)env;
    (void)sync_file_range(file->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

/* Where a gathered write has got to. */
struct write_cursor {
    const struct varve_slice *parts;
    size_t count;
    size_t part; /* the first part that is not wholly written */
    size_t skip; /* bytes of it that are */
};

/* Fills iov with what comes next, within both limits of one call. Returns the entries used;
 * 0 means that all is written. */
static int write_cursor_gather(const struct write_cursor *cursor, struct iovec *iov)
{
    size_t room = TRANSFER_MAX_BYTES;
    size_t skip = cursor->skip;
    int used = 0;

    for (size_t i = cursor->part; i < cursor->count && used < IOV_MAX && room > 0; i++) {
        size_t len = cursor->parts[i].len - skip;

        if (len > room)
            len = room;
        if (len > 0)
            iov[used++] = (struct iovec){
                .iov_base = (void *)(uintptr_t)(cursor->parts[i].data + skip), .iov_len = len};
        room -= len;
        skip = 0;
    }
    return used;
}

static void write_cursor_advance(struct write_cursor *cursor, size_t written)
{
    while (written > 0) {
        size_t left = cursor->parts[cursor->part].len - cursor->skip;

        if (written < left) {
            cursor->skip += written;
            return;
        }
        written -= left;
        cursor->part++;
        cursor->skip = 0;
    }
}

static int posix_write_at(struct varve_env *env, struct varve_file *file,
                          const struct varve_slice *parts, size_t count, uint64_t offset,
                          struct varve_err *err)
{
    struct write_cursor cursor = {.parts = parts, .count = count};
    struct iovec iov[IOV_MAX];
    int used;

    (void)env;
    while ((used = write_cursor_gather(&cursor, iov)) > 0) {
        /* A piece that needs no gathering saves the kernel a tenth of the call. */
        ssize_t n = used == 1 ? pwrite(file->fd, iov[0].iov_base, iov[0].iov_len, (off_t)offset)
                              : pwritev(file->fd, iov, used, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* 0 for a non-empty write would loop for ever */
            return err_set_errno(err, n < 0 ? errno : EIO, "write %s at %llu", file->path,
                                 (unsigned long long)offset);
        write_cursor_advance(&cursor, (size_t)n);
        offset += (uint64_t)n;
    }
    return 0;
}

static int posix_sync(struct varve_env *env, struct varve_file *file, struct varve_err *err)
{
    (void)env;
    return fdatasync(file->fd) == 0 ? 0 : err_set_errno(err, errno, "sync %s", file->path);
}

static int posix_size(struct varve_env *env, struct varve_file *file, uint64_t *size_bytes,
                      struct varve_err *err)
{
    struct stat st;

    (void)env;
    *size_bytes = 0;
    if (fstat(file->fd, &st) != 0)
        return err_set_errno(err, errno, "size %s", file->path);
    *size_bytes = (uint64_t)st.st_size;
    return 0;
}

static int posix_truncate(struct varve_env *env, struct varve_file *file, uint64_t size_bytes,
                          struct varve_err *err)
{
    int rc;

    (void)env;
    do
        rc = ftruncate(file->fd, (off_t)size_bytes);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0
                   : err_set_errno(err, errno, "truncate %s to %llu", file->path,
                                   (unsigned long long)size_bytes);
}

static int posix_make_dir(struct varve_env *env, const char *path, struct varve_err *err)
{
    (void)env;
    return mkdir(path, 0700) == 0 ? 0 : err_set_errno(err, errno, "make directory %s", path);
}

static int posix_list_dir(struct varve_env *env, const char *path, varve_list_fn fn, void *arg,
                          struct varve_err *err)
{
    DIR *dir = NULL;
    struct dirent *entry;
    int rc = 0;
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY, 0);

    (void)env;
    if (fd < 0)
        return err_set_errno(err, errno, "list %s", path);
    dir = fdopendir(fd);
    if (dir == NULL) {
        rc = err_set_errno(err, errno, "list %s", path);
        close(fd);
        return rc;
    }
    while (rc == 0) {
        errno = 0; /* NULL means the end or an error, and only errno tells */
        entry = readdir(dir);
        if (entry == NULL) {
            rc = errno == 0 ? 0 : err_set_errno(err, errno, "list %s", path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = fn(arg, entry->d_name);
    }
    closedir(dir);
    return rc;
}

static int posix_rename(struct varve_env *env, const char *from, const char *to,
                        struct varve_err *err)
{
    (void)env;
    return rename(from, to) == 0 ? 0 : err_set_errno(err, errno, "rename %s to %s", from, to);
}

static int posix_link(struct varve_env *env, const char *from, const char *to,
                      struct varve_err *err)
{
    (void)env;
    return link(from, to) == 0 ? 0 : err_set_errno(err, errno, "link %s to %s", from, to);
}

static int posix_remove(struct varve_env *env, const char *path, struct varve_err *err)
{
    (void)env;
    return remove(path) == 0 ? 0 : err_set_errno(err, errno, "remove %s", path);
}

static int posix_sync_dir(struct varve_env *env, const char *path, struct varve_err *err)
{
    int rc = 0;
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY, 0);

    (void)env;
    if (fd < 0)
        return err_set_errno(err, errno, "sync directory %s", path);
    if (fsync(fd) != 0)
        rc = err_set_errno(err, errno, "sync directory %s", path);
    close(fd);
    return rc;
}

static int posix_lock(struct varve_env *env, const char *path, struct varve_lock **out,
                      struct varve_err *err)
{
    struct varve_lock *lock;
    int rc;

    (void)env;
    *out = NULL;
    lock = mem_alloc(sizeof(*lock));
    if (lock == NULL)
        return err_set(err, VARVE_ENOMEM, "lock %s: out of memory", path);
    lock->fd = open_retry(path, O_RDWR | O_CREAT, 0600);
    if (lock->fd < 0) {
        rc = err_set_errno(err, errno, "lock %s", path);
        goto out_free;
    }
    do
        rc = flock(lock->fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        *out = lock;
        return 0;
    }
    rc = errno == EWOULDBLOCK ? err_set(err, VARVE_ELOCKED, "lock %s: in use by another", path)
                              : err_set_errno(err, errno, "lock %s", path);
    close(lock->fd);
out_free:
    mem_free(lock);
    return rc;
}

static void posix_unlock(struct varve_env *env, struct varve_lock *lock)
{
    (void)env;
    if (lock == NULL)
        return;
    close(lock->fd); /* the file stays: removing it would let two hold "the" lock */
    mem_free(lock);
}

static uint64_t posix_now_mono_us(struct varve_env *env)
{
    (void)env;
    return clock_mono_us();
}

static uint64_t posix_now_real_ms(struct varve_env *env)
{
    (void)env;
    return clock_real_us() / 1000;
}

static void posix_random(struct varve_env *env, void *data, size_t len)
{
    (void)env;
    for (size_t done = 0; done < len;) {
        size_t want = len - done < GETRANDOM_MAX_BYTES ? len - done : GETRANDOM_MAX_BYTES;
        ssize_t n = getrandom((uint8_t *)data + done, want, 0);

        CHECK(n > 0 || errno == EINTR);
        if (n > 0)
            done += (size_t)n;
    }
}

/* Gives back the blocks behind the end. */
static int trim(int fd)
{
    struct stat stat;

    return fstat(fd, &stat) != 0 ? -1 : ftruncate(fd, stat.st_size);
}

/* What fails halfway, for a quota say, may have taken what there was. */
static void posix_reserve(struct varve_env *env, struct varve_file *file, uint64_t size_bytes)
{
    struct statvfs stat;

    (void)env;
    if (size_bytes == 0)
        (void)!trim(file->fd);
    else if (fstatvfs(file->fd, &stat) == 0 &&
             size_bytes <= (uint64_t)stat.f_bavail * stat.f_frsize / RESERVE_PART &&
             fallocate(file->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size_bytes) != 0)
        (void)!trim(file->fd);
}

static int posix_free_space(struct varve_env *env, const char *path, uint64_t *bytes,
                            struct varve_err *err)
{
    struct statvfs stat;

    (void)env;
    *bytes = 0;
    if (statvfs(path, &stat) != 0)
        return err_set_errno(err, errno, "free space of %s", path);
    *bytes = (uint64_t)stat.f_bavail * stat.f_frsize;
    return 0;
}

static const struct varve_env_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .read_at = posix_read_at,
    .read_at_nowait = posix_read_at_nowait,
    .read_ahead = posix_read_ahead,
    .write_behind = posix_write_behind,
    .reserve = posix_reserve,
    .free_space = posix_free_space,
    .write_at = posix_write_at,
    .sync = posix_sync,
    .size = posix_size,
    .truncate = posix_truncate,
    .make_dir = posix_make_dir,
    .list_dir = posix_list_dir,
    .rename = posix_rename,
    .link = posix_link,
    .remove = posix_remove,
    .sync_dir = posix_sync_dir,
    .lock = posix_lock,
    .unlock = posix_unlock,
    .now_mono_us = posix_now_mono_us,
    .now_real_ms = posix_now_real_ms,
    .random = posix_random,
};

struct varve_env *varve_env_posix(void)
{
    static struct varve_env env = {.ops = &posix_ops};

    return &env;
}
