#include "usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "ticks.h"

uint64_t usage_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* The number behind `label` in a file of /proc/self. */
static uint64_t proc_number(const char *path, const char *label)
{
    FILE *file = fopen(path, "r");
    char line[256];
    uint64_t number = 0;
    int found = 0;

    if (file == NULL)
        bench_fail("%s cannot be read", path);
    while (!found && fgets(line, sizeof line, file) != NULL)
        found = strncmp(line, label, strlen(label)) == 0 &&
                sscanf(line + strlen(label), "%" SCNu64, &number) == 1;
    fclose(file);
    if (!found)
        bench_fail("%s has no %s", path, label);
    return number;
}

uint64_t usage_written_bytes(void)
{
    return proc_number("/proc/self/io", "write_bytes:");
}

void usage_rss_reset(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "5", 1) != 1)
        bench_fail("/proc/self/clear_refs cannot be written");
    close(fd);
}

uint64_t usage_rss_peak_bytes(void)
{
    return proc_number("/proc/self/status", "VmHWM:") * 1024;
}

static int ends_with(const char *name, const char *end)
{
    size_t len = strlen(name);
    size_t end_len = strlen(end);

    return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

uint64_t usage_disk_bytes(const char *dir, uint64_t *log_bytes)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    uint64_t bytes = 0;

    if (folder == NULL)
        bench_fail("%s cannot be read", dir);
    *log_bytes = 0;
    while ((entry = readdir(folder)) != NULL) {
        struct stat about;
        if (fstatat(dirfd(folder), entry->d_name, &about, 0) != 0 || !S_ISREG(about.st_mode))
            continue;
        uint64_t size = (uint64_t)about.st_blocks * 512;
        bytes += size;
        if (ends_with(entry->d_name, ".log") || ends_with(entry->d_name, ".wal") ||
            strcmp(entry->d_name, "RESERVE") == 0)
            *log_bytes += size;
    }
    closedir(folder);
    return bytes;
}

static void sync_files(const char *dir, int drop)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;

    if (folder == NULL)
        bench_fail("%s cannot be read", dir);
    while ((entry = readdir(folder)) != NULL) {
        int fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            (void)fsync(fd);
            if (drop)
                (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            close(fd);
        }
    }
    closedir(folder);
}

void usage_sync_files(const char *dir)
{
    sync_files(dir, 0);
}

void usage_drop_cache(const char *dir)
{
    sync_files(dir, 1);
}

void usage_empty_dir(const char *dir)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;

    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL)
        (void)unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}
