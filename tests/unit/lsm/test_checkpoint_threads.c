/* Checkpoints on real files and threads, beside a writer at full speed: for ThreadSanitizer, and for what
 * the simulated disk cannot show: that a file of two names is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "varve/checkpoint.h"
#include "varve/iter.h"

#define KEYS 40
#define COPIES 6
#define VALUE_BYTES 1500

struct running {
    struct varve_db *db;
    struct varve_options options;
    char root[64];
    char dirs[COPIES][96];
    uint64_t rounds_before[COPIES]; /* that were committed when it was asked for */
    uint64_t linked_bytes;
    _Atomic uint64_t round;
    _Atomic int stop;
    struct thread maker;
};

/* Each round writes all keys with its number, in one batch. */
static void write_round(struct running *run, uint64_t round, struct rng *rng)
{
    struct varve_batch *batch = varve_batch_create();
    uint64_t value[VALUE_BYTES / 8];
    struct varve_slice bytes = varve_slice(value, sizeof(value));
    struct varve_err err = {0};
    char name[16];

    CHECK(batch != NULL);
    for (size_t i = 0; i < VALUE_BYTES / 8; i++)
        value[i] = rng_next(rng);
    value[0] = round;
    for (int i = 0; i < KEYS; i++) {
        snprintf(name, sizeof(name), "k%02d", i);
        struct varve_slice key = varve_slice_str(name);
        CHECK(varve_batch_put(batch, &key, 1, &bytes, 1, 0) == 0);
    }
    CHECK(varve_write(run->db, batch, NULL, &err) == 0);
    varve_batch_destroy(batch);
    atomic_store(&run->round, round);
}

static void maker_run(void *arg)
{
    struct running *run = arg;
    struct varve_checkpoint made;
    struct varve_err err = {0};

    for (int i = 0; i < COPIES; i++) {
        uint64_t round = atomic_load(&run->round);
        while (atomic_load(&run->round) < round + 30)
            thread_sleep_us(1000);
        snprintf(run->dirs[i], sizeof(run->dirs[i]), "%s/cp%d", run->root, i);
        run->rounds_before[i] = atomic_load(&run->round);
        if (varve_checkpoint(run->db, run->dirs[i], &made, &err) != 0)
            fprintf(stderr, "%s\n", err.text);
        CHECK(made.rc == 0);
        CHECK(made.seq >= run->rounds_before[i] * KEYS && made.seq % KEYS == 0);
        run->linked_bytes += made.linked_bytes;
    }
    atomic_store(&run->stop, 1);
}

/* Its one round; all of its files are its own by now, but for names of segments that others have, too. */
static void check_copy(struct running *run, int i)
{
    struct varve_db *db = NULL;
    struct varve_err err = {0};
    uint64_t round = 0;
    int count = 0;

    run->options.no_create = 1;
    if (varve_open(run->dirs[i], &run->options, &db, &err) != 0)
        fail_msg("%s", err.text);
    struct varve_iter *iter = varve_iter_create(db, NULL, NULL, NULL, &err);
    assert_non_null(iter);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter)) {
        uint64_t value;
        assert_int_equal(varve_iter_value(iter).len, VALUE_BYTES / 8 * 8);
        memcpy(&value, varve_iter_value(iter).data, sizeof(value));
        assert_true(count == 0 || value == round);
        round = value;
        count++;
    }
    assert_int_equal(varve_iter_status(iter, &err), 0);
    varve_iter_destroy(iter);
    assert_int_equal(count, KEYS);
    assert_true(round >= run->rounds_before[i]);
    struct varve_checkpoint made;
    char again[128];
    snprintf(again, sizeof(again), "%s-again", run->dirs[i]);
    assert_int_equal(varve_compact(db, &err), 0); /* it is a database as any other */
    assert_int_equal(varve_checkpoint(db, again, &made, &err), 0);
    assert_true(made.linked_bytes > 0);
    assert_int_equal(varve_close(db, &err), 0);
}

struct found {
    const char *dir;
    int linked; /* segments of more than one name */
};

static int see_file(void *arg, const char *name)
{
    struct found *found = arg;
    size_t len = strlen(name);
    char path[256];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", found->dir, name);
    assert_int_equal(stat(path, &st), 0);
    if (len > 4 && strcmp(name + len - 4, ".seg") == 0)
        found->linked += st.st_nlink > 1;
    else
        assert_int_equal(st.st_nlink, 1); /* log, manifest, CURRENT: the originals live on */
    return 0;
}

static int remove_file(void *arg, const char *name)
{
    const char *dir = arg;
    struct varve_env *env = varve_env_posix();
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return env->ops->remove(env, path, NULL);
}

static void remove_dir(const char *dir)
{
    struct varve_env *env = varve_env_posix();

    assert_int_equal(env->ops->list_dir(env, dir, remove_file, (void *)(uintptr_t)dir, NULL), 0);
    assert_int_equal(env->ops->remove(env, dir, NULL), 0);
}

static void test_checkpoint_threads__beside_a_writer(void **state)
{
    static struct running run;
    struct varve_executor *executor;
    struct varve_err err = {0};
    struct rng rng;
    char dir[80];
    int linked = 0;

    (void)state;
    rng_init(&rng, 1);
    memcpy(run.root, "/tmp/varve-checkpoint-XXXXXX", sizeof("/tmp/varve-checkpoint-XXXXXX"));
    assert_non_null(mkdtemp(run.root));
    snprintf(dir, sizeof(dir), "%s/db", run.root);
    assert_int_equal(varve_executor_threads_create(NULL, &executor, &err), 0);
    run.options = (struct varve_options){
        .executor = executor,
        .memtable_size_bytes = (uint64_t)1024 * 1024,
        .segment_size_bytes = (uint64_t)256 * 1024,
        .wal_size_bytes = (uint64_t)256 * 1024,
        .min_free_bytes = VARVE_NO_RESERVE,
        .reserve_size_bytes = VARVE_NO_RESERVE,
    };
    assert_int_equal(varve_open(dir, &run.options, &run.db, &err), 0);
    assert_int_equal(thread_start(&run.maker, "maker", maker_run, &run), 0);
    for (uint64_t round = 1; !atomic_load(&run.stop); round++) {
        write_round(&run, round, &rng);
        varve_tick(run.db);
    }
    thread_join(&run.maker);
    assert_true(run.linked_bytes > 0);
    assert_int_equal(varve_compact(run.db, &err), 0);
    assert_int_equal(varve_checkpoint(run.db, run.dirs[0], NULL, &err), VARVE_EEXIST);
    char last[96];
    snprintf(last, sizeof(last), "%s/last", run.root);
    assert_int_equal(varve_checkpoint(run.db, last, NULL, &err), 0);
    struct found found = {.dir = last};
    assert_int_equal(
        varve_env_posix()->ops->list_dir(varve_env_posix(), last, see_file, &found, NULL), 0);
    linked = found.linked;
    assert_true(linked > 0);
    remove_dir(last);
    assert_int_equal(varve_close(run.db, &err), 0);
    remove_dir(dir);
    for (int i = 0; i < COPIES; i++) {
        char again[128];
        check_copy(&run, i);
        remove_dir(run.dirs[i]);
        snprintf(again, sizeof(again), "%s-again", run.dirs[i]);
        remove_dir(again);
    }
    assert_int_equal(varve_env_posix()->ops->remove(varve_env_posix(), run.root, NULL), 0);
    varve_executor_threads_destroy(executor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_threads__beside_a_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
