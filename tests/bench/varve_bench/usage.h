/* usage.h - what the process and its folder have used, by the system's word. Linux. */
#ifndef VARVE_BENCH_USAGE_H
#define VARVE_BENCH_USAGE_H

#include <stdint.h>

uint64_t usage_cpu_ns(void);        /* user and system, all threads, ended ones too */
uint64_t usage_written_bytes(void); /* /proc/self/io: write_bytes, what was made dirty */
void usage_rss_reset(void);
uint64_t usage_rss_peak_bytes(void); /* since the reset */
/* Blocks that the folder's files take, and how much of it is in files of a log, those that are kept ready
 * for it, and varve's RESERVE. */
uint64_t usage_disk_bytes(const char *dir, uint64_t *log_bytes);
void usage_sync_files(const char *dir); /* so that no other engine pays for it */
void usage_drop_cache(
    const char *dir); /* what the system has of its files in memory; nobody maps them */
/* Removes the folder's files, not those of folders in it. */
void usage_empty_dir(const char *dir);

#endif
