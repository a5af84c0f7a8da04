/* levels.h - segments in random levels on a simulated disk, and the plain list of what was done to them: what
 * the tests of compactions stand on. One thread, but for levels_file_no(). Fails the test on any error. */
#ifndef LEVELS_H
#define LEVELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "fault_env.h"
#include "lsm/version.h"
#include "segment/segment_writer.h"
#include "sim_env.h"

#define LEVELS_KEYS 60
#define LEVELS_KEY_CAP 300
#define LEVELS_OPS_MAX 900
#define LEVELS_SNAPSHOTS_MAX 5

struct op {
    struct chunk chunk; /* the value is owned */
};

struct levels {
    struct sim_env *sim;
    struct fault_env *fault;
    struct varve_env *env;
    struct dir_id id;
    struct varve_err err;
    struct rng rng;
    _Atomic uint64_t next_file_no;
    uint64_t next_run_no;
    _Atomic int stop;
    _Atomic uint64_t took;

    uint8_t keys[LEVELS_KEYS][LEVELS_KEY_CAP];
    size_t key_len[LEVELS_KEYS];
    struct op ops[LEVELS_OPS_MAX]; /* number i has sequence i + 1 */
    uint64_t count;
    uint64_t flushed;
    uint64_t now_ms;
    uint64_t snapshots[LEVELS_SNAPSHOTS_MAX];
    uint64_t snapshot_ms[LEVELS_SNAPSHOTS_MAX];
    size_t snapshot_count;

    struct version *version;
    struct read_counters counters;
    int64_t live; /* of group "a", whose keys no range tombstone covers */
    size_t parts_most;
    size_t outputs_most;
    uint64_t copied_bytes;
    size_t near_from; /* operations on one key are on these only; */
    size_t near_count;
    uint64_t puts; /* of 40 operations */
};

void levels_init(struct levels *b, uint64_t seed);
void levels_deinit(struct levels *b);
uint64_t levels_below(struct levels *b, uint64_t bound); /* a random number */
uint64_t levels_file_no(void *arg);                      /* new_file_no of all configurations */
size_t levels_group(void *arg, struct varve_slice key);  /* keys with 'a' are group "a" */
struct varve_slice levels_key(const struct levels *b, size_t i);
size_t levels_files(struct levels *b); /* in the directory */
struct segment_writer_options levels_writer(struct levels *b);

void levels_add_op(struct levels *b); /* a random one */
/* The sequence of the live value by the list of operations; 0: absent. */
uint64_t levels_model_get(const struct levels *b, struct varve_slice key, uint64_t seq,
                          uint64_t now_ms);
/* What is new becomes a run of level 0. */
void levels_flush(struct levels *b);
void levels_switch(struct levels *b, const struct version_change *change);
/* With nothing left to flush: all reads at all snapshots, the count of the group, the files. */
void levels_check(struct levels *b);

#endif
