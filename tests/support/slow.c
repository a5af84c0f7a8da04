/* slow.c - preloaded into a server (LD_PRELOAD): a disk that is slow while a test says so, and a record of what
 * the server's first thread asked of it. Linux and glibc.
 *
 * SLOW_CONTROL names a file that holds a struct control, which the test changes while the server runs. Reads by
 * compactions and flushes are not slowed: what they read is not what a command waits for. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* As tests/waits/waits.py has it. */
struct control {
    _Atomic uint64_t read_us;
    _Atomic uint64_t sync_us;
    _Atomic uint64_t remove_us;
    _Atomic uint64_t cold;  /* 1: nothing of a file is in memory */
    _Atomic uint64_t watch; /* 1: the first thread is watched */
    _Atomic uint64_t reads;
    _Atomic uint64_t syncs;
    _Atomic uint64_t removes;
    _Atomic uint64_t by_loop; /* calls that may wait, by the first thread while it was watched */
    char loop_call[24];       /* the first of them */
};

#define REAL(name) ((__typeof__(&(name)))(uintptr_t)dlsym(RTLD_NEXT, #name))

ssize_t pread64(int fd, void *data, size_t len, off_t offset);
ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags);

static struct control nothing;
static struct control *control = &nothing;

__attribute__((constructor)) static void slow_begin(void)
{
    const char *path = getenv("SLOW_CONTROL");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED
                      : mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    if (at != MAP_FAILED)
        control = at;
}

static void slow_down(uint64_t us)
{
    struct timespec left = {.tv_sec = (time_t)(us / 1000000),
                            .tv_nsec = (long)(us % 1000000 * 1000)};

    while (us > 0 && nanosleep(&left, &left) != 0)
        continue;
}

/* What is about to be done may wait. */
static void slow_call(const char *name, _Atomic uint64_t *count, uint64_t us)
{
    if (control->watch && gettid() == getpid() && control->by_loop++ == 0)
        strncpy(control->loop_call, name, sizeof(control->loop_call) - 1);
    (*count)++;
    slow_down(us);
}

static int is_merging(void)
{
    char name[17] = "";

    return prctl(PR_GET_NAME, name) == 0 &&
           (strcmp(name, "varve-compact") == 0 || strcmp(name, "varve-flush") == 0);
}

__attribute__((visibility("default"))) ssize_t pread64(int fd, void *data, size_t len, off_t offset)
{
    slow_call("pread", &control->reads, is_merging() ? 0 : control->read_us);
    return REAL(pread64)(fd, data, len, offset);
}

__attribute__((visibility("default"))) ssize_t preadv64v2(int fd, const struct iovec *iov,
                                                          int count, off_t offset, int flags)
{
    if (!control->cold)
        return REAL(preadv64v2)(fd, iov, count, offset, flags);
    errno = EAGAIN;
    return -1;
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    slow_call("fdatasync", &control->syncs, control->sync_us);
    return REAL(fdatasync)(fd);
}

__attribute__((visibility("default"))) int fsync(int fd)
{
    slow_call("fsync", &control->syncs, control->sync_us);
    return REAL(fsync)(fd);
}

__attribute__((visibility("default"))) int sync_file_range(int fd, off64_t offset, off64_t len,
                                                           unsigned flags)
{
    slow_call("sync_file_range", &control->syncs, 0);
    return REAL(sync_file_range)(fd, offset, len, flags);
}

__attribute__((visibility("default"))) int remove(const char *path)
{
    slow_call("remove", &control->removes, control->remove_us);
    return REAL(remove)(path);
}

__attribute__((visibility("default"))) int rename(const char *from, const char *to)
{
    slow_call("rename", &control->removes, control->remove_us);
    return REAL(rename)(from, to);
}

__attribute__((visibility("default"))) int ftruncate64(int fd, off64_t size)
{
    slow_call("ftruncate", &control->removes, control->remove_us);
    return REAL(ftruncate64)(fd, size);
}
