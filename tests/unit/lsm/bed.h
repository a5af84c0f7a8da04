/* bed.h - a database on a simulated disk, with faults to switch on and jobs that run when they are
 * told to: what the tests of the engine stand on. All of one thread. A call that has no return code
 * CHECKs that it succeeded. */
#ifndef TESTS_LSM_BED_H
#define TESTS_LSM_BED_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "fault_env.h"
#include "sim_env.h"
#include "step_executor.h"
#include "varve/db.h"
#include "varve/iter.h"

#define BED_DIR "/db"
#define BED_FILES_MAX 256
#define BED_LOG_BYTES (64 * 1024)

struct bed {
    struct sim_env *sim;     /* owned */
    struct fault_env *fault; /* owned; the engine's way to the disk */
    struct step_executor *stepper;
    struct varve_options options; /* for the next open */
    struct varve_db *db;          /* NULL: closed */
    struct varve_err err;         /* of the last call that failed */
    uint64_t seq;                 /* of the last write */
    uint64_t told_seq;            /* on_durable's last word */
    int told_failed;              /* how often it said that a sync failed */
    char log[BED_LOG_BYTES];      /* the engine's lines, "LEVEL TEXT\n" each */
    size_t log_len;
};

/* Small files (4 KiB), no pool to speak of, the smallest cache, VARVE_ALWAYS; a key's group is its first byte, if that
 * is a small letter. Opens nothing. */
void bed_init(struct bed *bed, uint64_t seed);
/* Closes what is open, whatever comes of it. */
void bed_deinit(struct bed *bed);
/* bed_init, bed_open: the fixture of most tests. */
int bed_set_up(void **state);
int bed_tear_down(void **state);

int bed_open(struct bed *bed);
int bed_close(struct bed *bed);
/* Opens and wants success. */
void bed_open_ok(struct bed *bed);
void bed_close_ok(struct bed *bed);

/* One write of one operation. */
int bed_put(struct bed *bed, const char *key, const char *value);
int bed_put_bytes(struct bed *bed, const char *key, struct varve_slice value, uint64_t expire_ms);
int bed_delete(struct bed *bed, const char *key);
int bed_delete_range(struct bed *bed, const char *begin, const char *end);
/* One operation added to the open group. */
int bed_add(struct bed *bed, const char *key, const char *value);

/* The value as text that lives until the next call, "-" if there is none. An error fails the test. */
const char *bed_get(struct bed *bed, const char *key);
const char *bed_get_with(struct bed *bed, const struct varve_read *read, const char *key);
uint64_t bed_count(struct bed *bed, const char *group);

/* All that is there, "key=value@expiry " each in order; a value above 40 bytes as length and CRC.
 * Read forward, backward and key by key, which must agree. mem_free() it. */
char *bed_dump(struct bed *bed, const struct varve_read *read);

/* Runs all jobs that wait. */
void bed_run(struct bed *bed);
/* Lets us pass, ticks, and runs what that started. */
void bed_pass_us(struct bed *bed, uint64_t us);

/* The power fails, or the process dies (SIM_KILL): the database is not closed, and the disk is the
 * image. Faults end. */
void bed_crash(struct bed *bed, enum sim_policy policy, uint64_t seed);
/* The disk is image from now on (owned); what was open is gone. */
void bed_use_image(struct bed *bed, struct sim_env *image);

/* ---- background ---- */

/* Runs the jobs of one class until none waits; returns how many ran. */
size_t bed_run_class(struct bed *bed, enum varve_job_class job_class);
/* What is in memory waits for its flush from now on. */
void bed_swap(struct bed *bed);
/* The same, and it is flushed. */
void bed_flush_ok(struct bed *bed);
/* The same, without a compaction afterwards: that waits for bed_run(). */
void bed_flush_only(struct bed *bed);
/* Puts of PREFIX000000 .. with values of that length that do not compress; each wants success. */
void bed_fill(struct bed *bed, const char *prefix, int count, size_t value_bytes);
struct varve_stats bed_stats(struct bed *bed);

/* ---- files, past the faults; name is relative to the directory ---- */

struct bed_names {
    char name[BED_FILES_MAX][64];
    size_t count;
};

/* In byte order. */
void bed_list(struct bed *bed, struct bed_names *names);
/* The first file that begins and ends so, or NULL. */
const char *bed_find(const struct bed_names *names, const char *begin, const char *end);
int bed_has_file(struct bed *bed, const char *name);
size_t bed_files_with(struct bed *bed, const char *part); /* of their names */
/* Replaces to's content by the file's. */
void bed_read_file(struct bed *bed, const char *name, struct buf *to);
/* Makes or replaces the file, synced. */
void bed_write_file(struct bed *bed, const char *name, struct varve_slice bytes);
void bed_remove_file(struct bed *bed, const char *name);
/* Inverts one bit. */
void bed_flip_bit(struct bed *bed, const char *name, uint64_t bit);
void bed_truncate(struct bed *bed, const char *name, uint64_t size_bytes);

#endif
