/* What a checkpoint holds, in all the states that a database can be in, and that nothing changes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "copies.h"
#include "lsm/db.h"

static int make(struct bed *bed, const char *dir, struct varve_checkpoint *checkpoint)
{
    return varve_checkpoint(bed->db, dir, checkpoint, &bed->err);
}

static void assert_holds(struct bed *bed, const char *dir, const char *state)
{
    char *found = copy_look_now(bed, dir);

    assert_string_equal(found, state);
    mem_free(found);
}

static void assert_holds_now(struct bed *bed, const char *dir)
{
    char *state = copy_state(bed);

    assert_holds(bed, dir, state);
    mem_free(state);
}

/* bed_fill() with the jobs that run beside it, so that the log goes from file to file. */
static void fill_and_run(struct bed *bed, const char *prefix, int count, size_t value_bytes)
{
    char name[16];

    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s%02d", prefix, i);
        bed_fill(bed, name, 1, value_bytes);
        bed_run(bed);
    }
}

/* ---- states ---- */

static void test_checkpoint__of_an_empty_database(void **state)
{
    struct bed *bed = *state;
    struct varve_checkpoint made;

    assert_int_equal(make(bed, "/cp", &made), 0);
    assert_int_equal(made.seq, 0);
    assert_int_equal(made.linked_bytes, 0);
    assert_holds(bed, "/cp", "| a=0");
    assert_false(copy_exists(bed->sim, "/cp.checkpoint"));
}

static void test_checkpoint__memtables_and_segments(void **state)
{
    struct bed *bed = *state;
    struct varve_checkpoint made;

    bed_fill(bed, "a", 100, 300);
    bed_flush_ok(bed);
    assert_int_equal(bed_delete_range(bed, "a000010", "a000020"), 0);
    bed_fill(bed, "a", 15, 100);
    bed_swap(bed);
    assert_int_equal(bed_delete(bed, "a000002"), 0);
    assert_int_equal(bed_put(bed, "K", "upper"), 0);
    assert_int_equal(make(bed, "/cp", &made), 0);
    assert_int_equal(made.seq, bed->seq);
    assert_in_range(made.linked_bytes, 30000, 60000);
    assert_holds_now(bed, "/cp");
}

/* Linked, not copied: the disk is not doubled. */
static void test_checkpoint__shares_the_segments(void **state)
{
    struct bed *bed = *state;
    struct varve_checkpoint made;

    bed_fill(bed, "a", 500, 1000);
    fill_and_run(bed, "b", 20, 1000);
    bed_flush_ok(bed);
    bed_run(bed);
    uint64_t writes = fault_env_calls(bed->fault, FAULT_WRITE);
    assert_int_equal(make(bed, "/cp", &made), 0);
    assert_true(made.linked_bytes > 500000);
    assert_true(made.copied_bytes < 10000);
    assert_true(fault_env_calls(bed->fault, FAULT_LINK) > 0);
    assert_true(fault_env_calls(bed->fault, FAULT_WRITE) < writes + 20);
    assert_holds_now(bed, "/cp");
}

static void test_checkpoint__copies_where_there_are_no_links(void **state)
{
    static const int errnos[] = {EXDEV, EPERM, EMLINK, EOPNOTSUPP};
    struct bed *bed = *state;
    struct varve_checkpoint made;
    char dir[16];

    bed_fill(bed, "a", 100, 1000);
    bed_flush_ok(bed);
    assert_int_equal(bed_put(bed, "a", "in memory"), 0);
    for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
        copy_no_links(bed, errnos[i]);
        snprintf(dir, sizeof(dir), "/cp%zu", i);
        assert_int_equal(make(bed, dir, &made), 0);
        assert_int_equal(made.linked_bytes, 0);
        assert_true(made.copied_bytes > 100000);
        fault_env_heal(bed->fault);
        assert_holds_now(bed, dir);
    }
}

/* A copy is checked: what is damaged is not passed on as whole. */
static void test_checkpoint__refuses_to_copy_a_damaged_segment(void **state)
{
    struct bed *bed = *state;
    struct bed_names names;

    bed_fill(bed, "a", 100, 1000);
    bed_flush_ok(bed);
    bed_list(bed, &names);
    bed_flip_bit(bed, bed_find(&names, "", ".seg"), 8 * 5000);
    copy_no_links(bed, EXDEV);
    assert_int_equal(make(bed, "/cp", NULL), VARVE_ECORRUPT);
    assert_false(copy_exists(bed->sim, "/cp"));
    assert_false(copy_exists(bed->sim, "/cp.checkpoint"));
}

static void test_checkpoint__refuses_a_damaged_log(void **state)
{
    struct bed *bed = *state;
    struct bed_names names;

    assert_int_equal(bed_put(bed, "a", "one"), 0);
    assert_int_equal(bed_put(bed, "a", "two"), 0);
    bed_run(bed);
    bed_list(bed, &names);
    bed_flip_bit(bed, bed_find(&names, "", ".wal"), 8 * 200);
    assert_int_equal(make(bed, "/cp", NULL), VARVE_ECORRUPT);
    assert_false(copy_exists(bed->sim, "/cp"));
    bed_flip_bit(bed, bed_find(&names, "", ".wal"), 8 * 200);
    assert_int_equal(make(bed, "/cp", NULL), 0);
    assert_holds_now(bed, "/cp");
}

/* What is committed before the call is in it, what is open is not, and in `no` it is made durable for it. */
static void test_checkpoint__syncs_the_log(void **state)
{
    struct bed *bed = *state;
    struct varve_checkpoint made;

    varve_set_durability(bed->db, VARVE_NO);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "a", "committed"), 0);
    uint64_t seq = bed->seq;
    assert_int_equal(bed_add(bed, "b", "open"), 0);
    assert_true(varve_durable_seq(bed->db) < seq);
    assert_int_equal(make(bed, "/cp", &made), 0);
    assert_int_equal(made.seq, seq);
    assert_holds(bed, "/cp", "a=committed | a=1");
    assert_int_equal(varve_group_commit(bed->db, &bed->err), 0);
}

/* A record in pieces, of more than 4 MiB, is in it whole. */
static void test_checkpoint__a_large_record(void **state)
{
    struct bed *bed = *state;
    size_t len = 9 * 1024 * 1024;
    uint8_t *value = mem_alloc(len);

    assert_non_null(value);
    memset(value, 'v', len);
    assert_int_equal(bed_put_bytes(bed, "a", varve_slice(value, len), 0), 0);
    assert_int_equal(bed_put(bed, "b", "behind"), 0);
    mem_free(value);
    assert_int_equal(make(bed, "/cp", NULL), 0);
    assert_holds_now(bed, "/cp");
}

static void test_checkpoint__time_does_not_run_back(void **state)
{
    struct bed *bed = *state;
    uint64_t clock_ms = 0;
    int rc;

    sim_clock_advance_us(bed->sim, 3600000000u);
    uint64_t expiry = varve_now_ms(bed->db) - 1;
    assert_int_equal(bed_put_bytes(bed, "K", varve_slice_str("expired"), expiry), 0);
    bed_flush_ok(bed);
    assert_int_equal(make(bed, "/cp", NULL), 0);
    struct sim_env *disk = sim_image(bed->sim, sim_event_count(bed->sim), SIM_ALL_LOST, 0);
    sim_clock_set_real_ms(disk, SIM_CLOCK_START_REAL_MS);
    char *found = copy_look(disk, "/cp", &rc, &clock_ms);
    assert_string_equal(found, "| a=0");
    assert_true(clock_ms > expiry);
    mem_free(found);
}

/* One after a restart, with ended logs, and one of a checkpoint. */
static void test_checkpoint__of_a_reopened_one(void **state)
{
    struct bed *bed = *state;

    bed_fill(bed, "a", 30, 300);
    bed_close_ok(bed);
    bed_open_ok(bed);
    assert_int_equal(make(bed, "/cp1", NULL), 0);
    assert_holds_now(bed, "/cp1");
    bed_crash(bed, SIM_KILL, 0);
    bed_open_ok(bed);
    bed_fill(bed, "b", 30, 300);
    assert_int_equal(make(bed, "/cp2", NULL), 0);
    assert_holds_now(bed, "/cp2");
}

/* A sync fails: none is made of what may be lost, until the log healed. */
static void test_checkpoint__of_a_failed_log(void **state)
{
    struct bed *bed = *state;
    static struct copy_try try; /* jobs may outlive a test that failed */

    assert_int_equal(bed_put(bed, "a", "durable"), 0);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "b", "doubtful"), 0);
    fault_env_plan(bed->fault, (struct fault_plan){.op = FAULT_SYNC, .nth = 1, .os_errno = EIO});
    assert_int_equal(copy_start(bed, "/cp", &try), 0);
    bed_run(bed);
    assert_int_equal(try.done, 1);
    assert_int_equal(try.checkpoint.rc, VARVE_EUNKNOWN);
    assert_int_equal(make(bed, "/cp", NULL), VARVE_EUNKNOWN);
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 100000);
    assert_int_equal(make(bed, "/cp", NULL), 0);
    assert_holds_now(bed, "/cp");
}

/* ---- refused ---- */

static void test_checkpoint__one_at_a_time(void **state)
{
    struct bed *bed = *state;
    static struct copy_try first;
    static struct copy_try second;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(copy_start(bed, "/cp1", &first), 0);
    assert_int_equal(copy_start(bed, "/cp2", &second), VARVE_EFULL);
    bed_run(bed);
    assert_int_equal(first.done, 1);
    assert_int_equal(first.checkpoint.rc, 0);
    assert_int_equal(second.done, 0);
    assert_int_equal(copy_start(bed, "/cp2", &second), 0);
    bed_run(bed);
    assert_int_equal(second.done, 1);
    assert_int_equal(second.checkpoint.rc, 0);
    assert_holds_now(bed, "/cp2");
}

static void test_checkpoint__does_not_replace(void **state)
{
    struct bed *bed = *state;
    struct varve_env *env = sim_as_env(bed->sim);

    bed_write_file(bed, "file", varve_slice_str("a file"));
    assert_int_equal(env->ops->make_dir(env, "/dir", NULL), 0);
    assert_int_equal(make(bed, "/dir", NULL), VARVE_EEXIST);
    assert_int_equal(make(bed, "/db", NULL), VARVE_EEXIST);
    assert_int_equal(make(bed, "/db/file", NULL), VARVE_EEXIST);
    assert_int_equal(make(bed, "/none/cp", NULL), VARVE_ENOENT);
    assert_int_equal(make(bed, "/cp/", NULL), 0);
    assert_int_equal(make(bed, "/cp", NULL), VARVE_EEXIST);
    assert_holds_now(bed, "/cp");
}

static void make_file(struct bed *bed, const char *path)
{
    struct varve_env *env = sim_as_env(bed->sim);
    struct varve_file *file = NULL;

    assert_int_equal(
        env->ops->open(env, path, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE, &file, &bed->err), 0);
    env->ops->close(env, file);
}

/* What a crash left under the temporary name is taken away; what is not ours, or is being made, is not. */
static void test_checkpoint__sweeps_what_is_left_over(void **state)
{
    struct bed *bed = *state;
    struct varve_env *env = sim_as_env(bed->sim);
    struct varve_lock *lock = NULL;

    assert_int_equal(bed_put(bed, "a", "1"), 0);
    assert_int_equal(env->ops->make_dir(env, "/cp.checkpoint", NULL), 0);
    make_file(bed, "/cp.checkpoint/CURRENT");
    make_file(bed, "/cp.checkpoint/000001.wal");
    make_file(bed, "/cp.checkpoint/letter.txt");
    assert_int_equal(make(bed, "/cp", NULL), VARVE_EEXIST);
    assert_non_null(strstr(bed->err.text, "letter.txt"));
    assert_int_equal(env->ops->remove(env, "/cp.checkpoint/000001.wal", NULL), 0);
    assert_int_equal(env->ops->remove(env, "/cp.checkpoint/letter.txt", NULL), 0);
    assert_int_equal(env->ops->lock(env, "/cp.checkpoint/LOCK", &lock, NULL), 0);
    assert_int_equal(make(bed, "/cp", NULL), VARVE_ELOCKED);
    assert_true(copy_exists(bed->sim, "/cp.checkpoint"));
    env->ops->unlock(env, lock);
    make_file(bed, "/cp.checkpoint/000001.wal");
    make_file(bed, "/cp.checkpoint/000007.seg");
    assert_int_equal(make(bed, "/cp", NULL), 0);
    assert_false(copy_exists(bed->sim, "/cp.checkpoint"));
    assert_holds_now(bed, "/cp");
}

/* ---- somebody else makes the same one ---- */

static const struct varve_env_ops *real_ops;
static struct varve_lock *others_lock;
static int undone_with; /* files that were there when LOCK went; -1: it did not */

static int lock_second(struct varve_env *env, const char *path, struct varve_lock **lock,
                       struct varve_err *err)
{
    assert_int_equal(real_ops->lock(env, path, &others_lock, NULL), 0);
    return real_ops->lock(env, path, lock, err);
}

static int count_name(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return 0;
}

static int remove_and_note(struct varve_env *env, const char *path, struct varve_err *err)
{
    if (strcmp(path, "/cp.checkpoint/LOCK") == 0) {
        undone_with = 0;
        (void)real_ops->list_dir(env, "/cp.checkpoint", count_name, &undone_with, NULL);
    }
    return real_ops->remove(env, path, err);
}

/* They found the directory that was made here, and were the first to lock it: it is theirs. */
static void test_checkpoint__leaves_what_another_has_locked(void **state)
{
    struct bed *bed = *state;
    struct varve_env *env = bed->options.env;
    struct varve_env_ops ops = *env->ops;
    struct varve_lock *third = NULL;

    real_ops = env->ops;
    ops.lock = lock_second;
    env->ops = &ops;
    assert_int_equal(make(bed, "/cp", NULL), VARVE_ELOCKED);
    env->ops = real_ops;
    assert_true(copy_exists(bed->sim, "/cp.checkpoint"));
    assert_int_equal(env->ops->lock(env, "/cp.checkpoint/LOCK", &third, NULL), VARVE_ELOCKED);
    env->ops->unlock(env, others_lock);
}

/* As long as a file of it is there, nobody else can begin. */
static void test_checkpoint__undone_under_its_lock(void **state)
{
    struct bed *bed = *state;
    struct varve_env *env = bed->options.env;
    struct varve_env_ops ops = *env->ops;

    undone_with = -1;
    real_ops = env->ops;
    ops.remove = remove_and_note;
    env->ops = &ops;
    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_RENAME, .nth = 1, .os_errno = EIO, .path_suffix = "/cp"});
    assert_int_equal(make(bed, "/cp", NULL), VARVE_EIO);
    env->ops = real_ops;
    fault_env_heal(bed->fault);
    assert_int_equal(undone_with, 1);
    assert_false(copy_exists(bed->sim, "/cp.checkpoint"));
}

static void test_checkpoint__refuses_on_a_full_disk(void **state)
{
    struct bed *bed = *state;

    bed_close_ok(bed);
    bed->options.min_free_bytes = 1024 * 1024;
    sim_set_free_bytes(bed->sim, 1000);
    bed_open_ok(bed);
    bed_run(bed);
    assert_int_equal(make(bed, "/cp", NULL), VARVE_ENOSPC);
    assert_false(copy_exists(bed->sim, "/cp"));
    sim_set_free_bytes(bed->sim, (uint64_t)1 << 40);
    bed_pass_us(bed, 600000);
    assert_int_equal(make(bed, "/cp", NULL), 0);
}

/* ---- what the original does meanwhile, and afterwards ---- */

static size_t count_files(struct bed *bed, const char *suffix)
{
    struct bed_names names;
    size_t count = 0;

    bed_list(bed, &names);
    for (size_t i = 0; i < names.count; i++) {
        size_t len = strlen(names.name[i]);
        count += len > 4 && strcmp(names.name[i] + len - 4, suffix) == 0;
    }
    return count;
}

/* All that is in the log when it is captured is flushed, and its files go, before they are copied. */
static void test_checkpoint__a_flush_drops_the_log_in_between(void **state)
{
    struct bed *bed = *state;
    static struct copy_try try; /* jobs may outlive a test that failed */

    fill_and_run(bed, "a", 60, 300);
    char *before = copy_state(bed);
    size_t wals = count_files(bed, ".wal");
    assert_int_equal(copy_start(bed, "/cp", &try), 0);
    uint64_t seq = bed->seq;
    copy_run_to_capture(bed, &try);
    assert_int_equal(bed_delete_range(bed, "a", "b"), 0);
    bed_flush_only(bed);
    assert_true(count_files(bed, ".wal") < wals);
    bed_fill(bed, "a", 40, 350);
    assert_int_equal(try.done, 0);
    bed_run(bed);
    assert_int_equal(try.done, 1);
    assert_int_equal(try.checkpoint.rc, 0);
    assert_int_equal(try.checkpoint.seq, seq);
    assert_int_equal(try.checkpoint.linked_bytes, 0);
    assert_holds(bed, "/cp", before);
    mem_free(before);
}

/* A log file is dropped in between that has the size of one to be written anew. */
static void test_checkpoint__a_dropped_log_file_is_not_reused(void **state)
{
    struct bed *bed = *state;
    static struct copy_try try; /* jobs may outlive a test that failed */

    fill_and_run(bed, "a", 20, 300);
    bed->db->wal.pool.target = 8;
    char *before = copy_state(bed);
    assert_int_equal(copy_start(bed, "/cp", &try), 0);
    copy_run_to_capture(bed, &try);
    assert_true(bed->db->wal.log->zeros_end == bed->options.wal_size_bytes);
    assert_true(bed->db->wal.log->offset < bed->options.wal_size_bytes);
    db_discard_wal(bed->db, bed->db->wal.log->file_no, 1); /* as if it were flushed */
    wal_pool_fill(&bed->db->wal.pool, UINT64_MAX);
    bed_run_class(bed, VARVE_JOB_MAINTENANCE);
    bed_run(bed);
    assert_int_equal(try.done, 1);
    assert_int_equal(try.checkpoint.rc, 0);
    assert_holds(bed, "/cp", before);
    mem_free(before);
}

/* A write of the log failed, and a sync that the checkpoint asked for ends behind the edit that heals. */
static void test_checkpoint__a_sync_that_ends_behind_the_healing(void **state)
{
    struct bed *bed = *state;
    static struct copy_try try;

    varve_set_durability(bed->db, VARVE_EVERYSEC);
    bed_run(bed);
    assert_int_equal(bed_put(bed, "a", "1"), 0);
    fault_env_plan(
        bed->fault,
        (struct fault_plan){.op = FAULT_WRITE, .nth = 1, .os_errno = EIO, .path_suffix = ".wal"});
    assert_int_not_equal(bed_put(bed, "b", "2"), 0);
    fault_env_heal(bed->fault);
    varve_tick(bed->db);
    assert_int_equal(heal_state(&bed->db->heal), HEAL_RUNNING);
    assert_int_equal(copy_start(bed, "/cp", &try), 0);
    bed_run_class(bed, VARVE_JOB_MAINTENANCE);
    assert_int_equal(heal_state(&bed->db->heal), HEAL_DONE);
    while (!try.done && step_run_one(bed->stepper))
        continue;
    assert_int_equal(try.checkpoint.rc, VARVE_EUNKNOWN);
    assert_false(copy_exists(bed->sim, "/cp"));
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 100000);
    assert_int_equal(copy_start(bed, "/cp", &try), 0);
    while (!try.done && step_run_one(bed->stepper))
        continue;
    assert_int_equal(try.checkpoint.rc, 0);
    assert_holds_now(bed, "/cp");
}

/* A merge began before the capture, and takes effect behind it: its inputs must live until they are
 * linked. */
static void test_checkpoint__a_merge_takes_effect_in_between(void **state)
{
    struct bed *bed = *state;
    static struct copy_try try; /* jobs may outlive a test that failed */

    for (int i = 0; i < 3; i++) {
        bed_fill(bed, "a", 60, 300 + (size_t)i);
        bed_flush_only(bed);
    }
    bed_run_class(bed, VARVE_JOB_SYNC);
    char *before = copy_state(bed);
    compactor_compact_all(&bed->db->compactor, bed->seq);
    while (bed->db->compactor.compaction == NULL)
        assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_COMPACTION), 1);
    size_t parts = step_waiting(bed->stepper, VARVE_JOB_COMPACTION);
    assert_true(parts > 0);
    uint64_t run_no = bed_stats(bed).compactions;
    assert_int_equal(copy_start(bed, "/cp", &try), 0);
    copy_run_to_capture(bed, &try);
    while (parts-- > 0)
        assert_int_equal(step_run_class(bed->stepper, VARVE_JOB_COMPACTION), 1);
    bed_run_class(bed, VARVE_JOB_MAINTENANCE);
    bed_run_class(bed, VARVE_JOB_RECLAIM);
    assert_true(bed_stats(bed).compactions > run_no);
    assert_int_equal(try.done, 0);
    bed_run(bed);
    assert_int_equal(try.done, 1);
    assert_int_equal(try.checkpoint.rc, 0);
    assert_holds(bed, "/cp", before);
    mem_free(before);
}

/* ---- any state ---- */

#define SEEDS 150
#define STEPS 220
#define STATES 700
#define COPIES 8

struct wild {
    struct bed bed;
    struct rng rng;
    char *states[STATES]; /* by sequence; NULL: in the middle of a batch */
    struct copy_try try;
    int trying;
    int faulty; /* 1: calls on logs fail now and then, and the log heals */
    int refused;
    uint64_t seq_before;
    char dirs[COPIES][16];
    uint64_t hashes[COPIES];
    uint64_t seqs[COPIES];
    int copies;
};

static void wild_note(struct wild *wild)
{
    uint64_t seq = atomic_load(&wild->bed.db->visible_seq);

    CHECK(seq < STATES);
    if (wild->states[seq] == NULL)
        wild->states[seq] = copy_state(&wild->bed);
}

static void wild_add(struct wild *wild)
{
    struct bed *bed = &wild->bed;
    struct varve_batch *batch = varve_batch_create();
    uint64_t count = 1 + rng_below(&wild->rng, 3);
    uint8_t value[4000];
    char name[8];
    int rc = 0;

    CHECK(batch != NULL);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t what = rng_below(&wild->rng, 20);
        uint64_t key = rng_below(&wild->rng, 20);
        size_t len = 8 + (size_t)rng_below(&wild->rng, what < 12 ? 60 : sizeof(value) - 8);
        snprintf(name, sizeof(name), "%c%02u", key % 4 == 0 ? 'K' : 'a', (unsigned)key);
        struct varve_slice bytes = varve_slice(value, len);
        struct varve_slice begin = varve_slice_str(name);
        for (size_t at = 0; at + 8 <= len; at += 8) {
            uint64_t bits = rng_next(&wild->rng);
            memcpy(value + at, &bits, 8);
        }
        memset(value + len - len % 8, 'x', len % 8);
        if (what < 16)
            rc |= varve_batch_put(batch, &begin, 1, &bytes, 1,
                                  key % 4 == 0 ? SIM_CLOCK_START_REAL_MS * 2 : 0);
        else if (what < 19)
            rc |= varve_batch_delete(batch, &begin, 1);
        else
            rc |= varve_batch_delete_range(batch, begin,
                                           varve_slice_str(key % 4 == 0 ? "a05" : "b"));
    }
    CHECK(rc == 0);
    rc = varve_group_add(bed->db, batch, &bed->seq, &bed->err);
    CHECK(rc == 0 || rc == VARVE_WOULD_BLOCK || (wild->faulty && rc == VARVE_EREADONLY));
    varve_batch_destroy(batch);
}

static void wild_look(struct wild *wild)
{
    struct bed *bed = &wild->bed;

    if (!wild->trying || !wild->try.done)
        return;
    wild->trying = 0;
    if (wild->faulty && wild->try.checkpoint.rc != 0) {
        wild->refused++;
        assert_false(copy_exists(bed->sim, wild->dirs[wild->copies]));
        return;
    }
    assert_int_equal(wild->try.checkpoint.rc, 0);
    uint64_t seq = wild->try.checkpoint.seq;
    assert_true(seq >= wild->seq_before);
    assert_non_null(wild->states[seq]);
    const char *dir = wild->dirs[wild->copies];
    assert_holds(bed, dir, wild->states[seq]);
    wild->seqs[wild->copies] = seq;
    wild->hashes[wild->copies++] = copy_hash(bed->sim, dir);
}

static void wild_step(struct wild *wild)
{
    struct bed *bed = &wild->bed;
    uint64_t what = rng_below(&wild->rng, 12);

    if (wild->faulty && rng_below(&wild->rng, 20) == 0)
        fault_env_plan(bed->fault, (struct fault_plan){.op = what % 2 ? FAULT_SYNC : FAULT_WRITE,
                                                       .nth = 1,
                                                       .os_errno = EIO,
                                                       .path_suffix = ".wal"});
    if (wild->faulty && what == 10)
        sim_clock_advance_us(bed->sim, 200000);
    if (what < 4) {
        wild_add(wild);
    } else if (what < 6) {
        int rc = varve_group_commit(bed->db, &bed->err);
        if (rc == 0)
            wild_note(wild);
        assert_true(rc == 0 || wild->faulty);
    } else if (what < 9) {
        for (uint64_t i = rng_below(&wild->rng, 6); i > 0; i--)
            (void)step_run_one(bed->stepper);
    } else if (what == 9) {
        if (!varve_group_open(bed->db))
            (void)db_swap_memtable(bed->db);
    } else if (what == 10) {
        varve_tick(bed->db);
        compactor_poke(&bed->db->compactor);
    } else if (!wild->trying && wild->copies < COPIES) {
        snprintf(wild->dirs[wild->copies], sizeof(wild->dirs[0]), "/cp%d", wild->copies);
        wild->seq_before = atomic_load(&bed->db->visible_seq);
        assert_int_equal(copy_start(bed, wild->dirs[wild->copies], &wild->try), 0);
        wild->trying = 1;
    }
    wild_look(wild);
}

/* Nothing that the original did, its end included, has changed one of them. */
static void wild_check_all(struct wild *wild)
{
    for (int i = 0; i < wild->copies; i++) {
        assert_true(copy_hash(wild->bed.sim, wild->dirs[i]) == wild->hashes[i]);
        assert_holds(&wild->bed, wild->dirs[i], wild->states[wild->seqs[i]]);
    }
}

static void wild_finish(struct wild *wild)
{
    struct bed *bed = &wild->bed;

    fault_env_heal(bed->fault);
    if (varve_group_commit(bed->db, &bed->err) == 0)
        wild_note(wild);
    bed_run(bed);
    while (varve_writable(bed->db, NULL) != 0)
        bed_pass_us(bed, 100000);
    wild_look(wild);
    assert_false(wild->trying);
    assert_int_equal(varve_compact(bed->db, &bed->err), 0);
    bed_run(bed);
    wild_check_all(wild);
    bed_close_ok(bed);
    copy_remove(bed, BED_DIR);
    wild_check_all(wild);
}

static int wild_run(uint64_t seed, int faulty, int *refused)
{
    static struct wild wild;
    struct bed *bed = &wild.bed;

    memset(&wild, 0, sizeof(wild));
    wild.faulty = faulty;
    rng_init(&wild.rng, seed);
    bed_init(bed, seed);
    bed->options.durability = (enum varve_durability)(seed % 3);
    bed->options.wal_pool_size = 1 + (uint32_t)(seed % 4);
    bed->options.memtable_size_bytes = 65536;
    bed->options.segment_size_bytes = 16384;
    bed_open_ok(bed);
    wild_note(&wild);
    for (int i = 0; i < STEPS; i++)
        wild_step(&wild);
    wild_finish(&wild);
    int made = wild.copies;
    *refused += wild.refused;
    for (size_t i = 0; i < STATES; i++)
        mem_free(wild.states[i]);
    bed_deinit(bed);
    return made;
}

static void test_checkpoint__of_any_state(void **state)
{
    int refused = 0;
    int made = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        made += wild_run(seed, 0, &refused);
    print_message("%d checkpoints\n", made);
    assert_true(made > SEEDS * 3);
    assert_int_equal(refused, 0);
}

static void test_checkpoint__of_any_state_while_logs_fail(void **state)
{
    int refused = 0;
    int made = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        made += wild_run(seed, 1, &refused);
    print_message("%d checkpoints, %d refused\n", made, refused);
    assert_true(made > SEEDS && refused > SEEDS / 2);
}

int main(void)
{
#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)
    const struct CMUnitTest tests[] = {
        WITH_BED(test_checkpoint__of_an_empty_database),
        WITH_BED(test_checkpoint__memtables_and_segments),
        WITH_BED(test_checkpoint__shares_the_segments),
        WITH_BED(test_checkpoint__copies_where_there_are_no_links),
        WITH_BED(test_checkpoint__refuses_to_copy_a_damaged_segment),
        WITH_BED(test_checkpoint__refuses_a_damaged_log),
        WITH_BED(test_checkpoint__syncs_the_log),
        WITH_BED(test_checkpoint__a_large_record),
        WITH_BED(test_checkpoint__time_does_not_run_back),
        WITH_BED(test_checkpoint__of_a_reopened_one),
        WITH_BED(test_checkpoint__of_a_failed_log),
        WITH_BED(test_checkpoint__one_at_a_time),
        WITH_BED(test_checkpoint__does_not_replace),
        WITH_BED(test_checkpoint__sweeps_what_is_left_over),
        WITH_BED(test_checkpoint__leaves_what_another_has_locked),
        WITH_BED(test_checkpoint__undone_under_its_lock),
        WITH_BED(test_checkpoint__refuses_on_a_full_disk),
        WITH_BED(test_checkpoint__a_flush_drops_the_log_in_between),
        WITH_BED(test_checkpoint__a_dropped_log_file_is_not_reused),
        WITH_BED(test_checkpoint__a_sync_that_ends_behind_the_healing),
        WITH_BED(test_checkpoint__a_merge_takes_effect_in_between),
        cmocka_unit_test(test_checkpoint__of_any_state),
        cmocka_unit_test(test_checkpoint__of_any_state_while_logs_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
