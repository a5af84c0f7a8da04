/* The crash model: what must be there after a power cut, what may be, and that all of what may be
 * does come up. */
#include "sim_help.h"

#include <errno.h>
#include <stdio.h>

enum { SEEDS = 150 };

/* A disk with /a: two sectors of 'o', durable, and the file's name durable too. */
static struct sim_env *disk_with_file(struct varve_file **file)
{
    struct sim_env *sim = sim_env_create(7);

    *file = help_open(sim, "/a");
    help_fill(sim, *file, 0, 1024, 'o');
    help_sync(sim, *file);
    help_sync_dir(sim, "/");
    return sim;
}

/* Runs check over images of now by every policy and many seeds. */
static void for_all_images(struct sim_env *sim, void (*check)(struct sim_env *image, void *arg),
                           void *arg)
{
    for (int policy = 0; policy < SIM_POLICY_COUNT; policy++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct sim_env *image = help_image(sim, (enum sim_policy)policy, seed);
            check(image, arg);
            sim_env_destroy(image);
        }
    }
}

static void check_synced(struct sim_env *image, void *arg)
{
    (void)arg;
    assert_int_equal(help_size(image, "/a"), 1024);
    for (uint64_t at = 0; at < 1024; at++)
        assert_int_equal(help_byte(image, "/a", at), 'o');
    assert_int_equal(help_size(image, "/b"), -1);
}

static void test_synced__is_always_there(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);

    (void)state;
    assert_int_equal(sim_unit_count(sim, sim_event_count(sim)), 0);
    for_all_images(sim, check_synced, NULL);
    sim_env_destroy(sim);
}

/* Each sector is one of the two, as a whole; counts which combinations came up. */
static void check_old_or_new(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;
    unsigned which = 0;

    for (uint64_t sector = 0; sector < 2; sector++) {
        int byte = help_byte(image, "/a", sector * 512);
        assert_true(byte == 'o' || byte == 'n');
        for (uint64_t at = 0; at < 512; at++)
            assert_int_equal(help_byte(image, "/a", sector * 512 + at), byte);
        which |= (unsigned)(byte == 'n') << sector;
    }
    assert_int_equal(help_size(image, "/a"), 1024);
    *seen |= 1u << which;
}

static void test_overwrite__any_subset_of_sectors(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    unsigned seen = 0;

    (void)state;
    help_fill(sim, file, 0, 1024, 'n');
    assert_int_equal(sim_unit_count(sim, sim_event_count(sim)), 2);
    for_all_images(sim, check_old_or_new, &seen);
    assert_int_equal(seen, 0xf);
    sim_env_destroy(sim);
}

/* A sector may end as any of the writes that touched it left it, but never as a mixture. */
static void check_versions(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;
    int first = help_byte(image, "/a", 0);
    int middle = help_byte(image, "/a", 100);
    int version = first == 'o' && middle == 'o'   ? 0
                  : first == 'x' && middle == 'o' ? 1
                  : first == 'x' && middle == 'y' ? 2
                                                  : 3;

    assert_true(version < 3); /* 'y' without 'x' cannot be: it was written after it */
    *seen |= 1u << version;
}

static void test_overwrite__twice_leaves_any_version(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    unsigned seen = 0;

    (void)state;
    help_fill(sim, file, 0, 10, 'x');
    help_fill(sim, file, 100, 10, 'y');
    for_all_images(sim, check_versions, &seen);
    assert_int_equal(seen, 7);
    sim_env_destroy(sim);
}

struct fresh_seen {
    int sizes[4]; /* 0, 512, 1000, another */
    int zeros, data, garbage;
};

static void check_fresh(struct sim_env *image, void *arg)
{
    struct fresh_seen *seen = arg;
    int64_t size_bytes = help_size(image, "/b");
    int byte = help_byte(image, "/b", 3);

    seen->sizes[size_bytes == 0 ? 0 : size_bytes == 512 ? 1 : size_bytes == 1000 ? 2 : 3]++;
    if (size_bytes <= 0)
        return;
    if (byte == 0)
        seen->zeros++;
    else if (byte == 'n')
        seen->data++;
    else
        seen->garbage++;
}

static void test_append__size_apart_from_data(void **state)
{
    struct sim_env *sim = sim_env_create(7);
    struct varve_file *file = help_open(sim, "/b");
    struct fresh_seen seen = {0};

    (void)state;
    help_sync_dir(sim, "/");
    help_fill(sim, file, 0, 1000, 'n');
    for_all_images(sim, check_fresh, &seen);
    assert_int_equal(seen.sizes[3], 0);
    assert_true(seen.sizes[0] > 0 && seen.sizes[1] > 0 && seen.sizes[2] > 0);
    assert_true(seen.zeros > 0 && seen.data > 0 && seen.garbage > 0);
    sim_env_destroy(sim);
}

/* Zeros that are written and synced hold durable bytes: a later write is old or new, not garbage. */
static void check_prewritten(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;

    for (uint64_t at = 0; at < 4096; at += 512) {
        int byte = help_byte(image, "/a", at);
        assert_true(byte == 0 || byte == 'n');
        *seen |= byte == 0 ? 1 : 2;
    }
    assert_int_equal(help_byte(image, "/a", 4096), 0);
    assert_int_equal(help_size(image, "/a"), 65536);
}

static void test_prewritten__no_garbage(void **state)
{
    struct sim_env *sim = sim_env_create(7);
    struct varve_file *file = help_open(sim, "/a");
    unsigned seen = 0;

    (void)state;
    help_fill(sim, file, 0, 65536, 0);
    help_sync(sim, file);
    help_sync_dir(sim, "/");
    help_fill(sim, file, 0, 4096, 'n');
    for_all_images(sim, check_prewritten, &seen);
    assert_int_equal(seen, 3);
    sim_env_destroy(sim);
}

static void check_truncated(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;
    int64_t size_bytes = help_size(image, "/a");
    int byte = help_byte(image, "/a", 600);

    assert_true(size_bytes == 1024 || size_bytes == 512);
    if (size_bytes == 1024) {
        assert_true(byte == 'o' || byte == 0);
        *seen |= byte == 'o' ? 1 : 2;
    } else {
        assert_int_equal(byte, -1);
        *seen |= 4;
    }
}

static void test_truncate__may_be_lost(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    struct varve_env *env = sim_as_env(sim);
    unsigned seen = 0;

    (void)state;
    assert_int_equal(env->ops->truncate(env, file, 512, NULL), 0);
    for_all_images(sim, check_truncated, &seen);
    assert_int_equal(seen, 7);
    help_sync(sim, file);
    seen = 0;
    for_all_images(sim, check_truncated, &seen);
    assert_int_equal(seen, 4);
    sim_env_destroy(sim);
}

/* --- names --- */

static void check_rename(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;
    int current = help_byte(image, "/CURRENT", 0);
    int temp = help_byte(image, "/CURRENT.tmp", 0);

    assert_true(current == 'o' || current == 'n'); /* never none: rename is one step */
    assert_true(temp == 'n' || temp == -1);
    assert_false(current == 'n' && temp == 'n');
    *seen |= 1u << (current == 'n' ? 2 : temp == 'n');
}

static void test_rename__without_sync_dir_may_be_lost(void **state)
{
    struct sim_env *sim = sim_env_create(7);
    struct varve_file *file = help_open(sim, "/CURRENT");
    unsigned seen = 0;

    (void)state;
    help_fill(sim, file, 0, 10, 'o');
    help_sync(sim, file);
    help_sync_dir(sim, "/");
    file = help_open(sim, "/CURRENT.tmp");
    help_fill(sim, file, 0, 10, 'n');
    help_sync(sim, file);
    help_rename(sim, "/CURRENT.tmp", "/CURRENT");
    for_all_images(sim, check_rename, &seen);
    assert_int_equal(seen, 7); /* nothing happened; only the create; the rename */
    help_sync_dir(sim, "/");
    seen = 0;
    for_all_images(sim, check_rename, &seen);
    assert_int_equal(seen, 4);
    sim_env_destroy(sim);
}

static void check_link(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;
    int first = help_byte(image, "/first", 0);
    int second = help_byte(image, "/second", 0);

    assert_true(first == 'd' || first == -1);
    assert_true(second == 'd' || second == -1); /* whole, or not there */
    *seen |= 1u << ((first == 'd') + 2 * (second == 'd'));
}

static void test_link__each_name_is_on_its_own(void **state)
{
    struct sim_env *sim = sim_env_create(7);
    struct varve_file *file = help_open(sim, "/first");
    unsigned seen = 0;

    (void)state;
    help_fill(sim, file, 0, 10, 'd');
    help_sync(sim, file);
    help_sync_dir(sim, "/");
    help_close(sim, file);
    assert_int_equal(sim_as_env(sim)->ops->link(sim_as_env(sim), "/first", "/second", NULL), 0);
    for_all_images(sim, check_link, &seen);
    assert_int_equal(seen, 1u << 1 | 1u << 3);
    help_remove(sim, "/first");
    seen = 0;
    for_all_images(sim, check_link, &seen);
    assert_int_equal(seen, 15); /* the old name may go before the new one is there */
    help_sync_dir(sim, "/");
    sim_trace_forget(sim); /* what has a name is kept */
    seen = 0;
    for_all_images(sim, check_link, &seen);
    assert_int_equal(seen, 1u << 2);
    sim_env_destroy(sim);
}

/* The data were never synced: the name can be there and the file empty. */
static void check_unsynced_name(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;
    int64_t size_bytes = help_size(image, "/CURRENT");

    *seen |= size_bytes == -1 ? 1 : size_bytes == 0 ? 2 : 4;
}

static void test_rename__before_the_data(void **state)
{
    struct sim_env *sim = sim_env_create(7);
    struct varve_file *file = help_open(sim, "/CURRENT.tmp");
    unsigned seen = 0;

    (void)state;
    help_fill(sim, file, 0, 10, 'n');
    help_rename(sim, "/CURRENT.tmp", "/CURRENT");
    for_all_images(sim, check_unsynced_name, &seen);
    assert_int_equal(seen, 7);
    help_sync_dir(sim, "/");
    seen = 0;
    for_all_images(sim, check_unsynced_name, &seen);
    assert_int_equal(seen, 6);
    sim_env_destroy(sim);
}

struct subset_seen {
    unsigned combos;
};

static void check_names(struct sim_env *image, void *arg)
{
    struct subset_seen *seen = arg;
    unsigned combo = (unsigned)(help_size(image, "/a") >= 0) |
                     (unsigned)(help_size(image, "/b") >= 0) << 1 |
                     (unsigned)(help_size(image, "/d/x") >= 0) << 2;

    seen->combos |= 1u << combo;
}

static void test_names__persist_independently(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    struct subset_seen seen = {0};

    (void)state;
    help_remove(sim, "/a");
    help_close(sim, help_open(sim, "/b"));
    help_make_dir(sim, "/d");
    help_close(sim, help_open(sim, "/d/x"));
    for_all_images(sim, check_names, &seen);
    assert_int_equal(seen.combos, 0xff);
    /* The directory's own name and what is in it are two matters. */
    help_sync_dir(sim, "/d");
    seen.combos = 0;
    for_all_images(sim, check_names, &seen);
    assert_int_equal(seen.combos, 0xff);
    help_sync_dir(sim, "/");
    seen.combos = 0;
    for_all_images(sim, check_names, &seen);
    assert_int_equal(seen.combos, 1u << 6); /* no /a, but /b and /d/x */
    sim_env_destroy(sim);
}

static void check_moved(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;
    unsigned combo = (unsigned)(help_byte(image, "/a", 0) == 'o') |
                     (unsigned)(help_byte(image, "/d/a", 0) == 'o') << 1;

    *seen |= 1u << combo;
}

static void test_rename__across_directories_is_two_steps(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    unsigned seen = 0;

    (void)state;
    help_make_dir(sim, "/d");
    help_sync_dir(sim, "/");
    help_rename(sim, "/a", "/d/a");
    for_all_images(sim, check_moved, &seen);
    assert_int_equal(seen, 0xf);
    help_sync_dir(sim, "/d");
    help_sync_dir(sim, "/");
    seen = 0;
    for_all_images(sim, check_moved, &seen);
    assert_int_equal(seen, 4);
    sim_env_destroy(sim);
}

/* --- failed syncs --- */

static void check_doubt(struct sim_env *image, void *arg)
{
    unsigned *seen = arg;
    int first = help_byte(image, "/a", 0);
    int second = help_byte(image, "/a", 512);

    assert_true((first == 'o' || first == 'n') && (second == 'o' || second == 'n'));
    *seen |= 1u << ((first == 'n') | (second == 'n') << 1);
}

static void test_failed_sync__retry_settles_nothing(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    struct varve_env *env = sim_as_env(sim);
    struct varve_err err;
    struct sim_env *image;
    unsigned seen = 0;

    (void)state;
    help_fill(sim, file, 0, 1024, 'n');
    sim_fail_sync(sim, EIO);
    assert_int_equal(env->ops->sync(env, file, &err), VARVE_EIO);
    assert_string_equal(err.text, "sync /a: Input/output error");
    help_sync(sim, file); /* returns 0, and lies */
    assert_int_equal(help_byte(sim, "/a", 0), 'n');
    for_all_images(sim, check_doubt, &seen);
    assert_int_equal(seen, 0xf);
    image = help_image(sim, SIM_ALL_KEPT, 0);
    assert_int_equal(help_byte(image, "/a", 0), 'o');
    sim_env_destroy(image);
    help_fill(sim, file, 512, 512, 'n'); /* a new write of a sector is a new chance */
    help_sync(sim, file);
    seen = 0;
    for_all_images(sim, check_doubt, &seen);
    assert_int_equal(seen, 0xc);
    assert_int_equal(sim_unit_count(sim, sim_event_count(sim)), 1);
    sim_env_destroy(sim);
}

/* Two renames onto one name, the first in doubt and the second durable: the first may not come
 * back over the second. */
static void check_second_rename(struct sim_env *image, void *arg)
{
    (void)arg;
    assert_int_equal(help_byte(image, "/CURRENT", 0), '2');
}

static void test_failed_sync_dir__is_overtaken_by_a_durable_name(void **state)
{
    struct sim_env *sim = sim_env_create(7);
    struct varve_env *env = sim_as_env(sim);

    (void)state;
    for (int i = 1; i <= 2; i++) {
        char name[16];
        struct varve_file *file;

        snprintf(name, sizeof(name), "/tmp%d", i);
        file = help_open(sim, name);
        help_fill(sim, file, 0, 10, '0' + i);
        help_sync(sim, file);
        help_rename(sim, name, "/CURRENT");
        sim_fail_sync(sim, i == 1 ? ENOSPC : 0);
        assert_int_equal(env->ops->sync_dir(env, "/", NULL), i == 1 ? VARVE_ENOSPC : 0);
    }
    for_all_images(sim, check_second_rename, NULL);
    sim_env_destroy(sim);
}

/* --- the death of the process, nesting, sharing --- */

static void test_kill__keeps_all_and_a_power_cut_behind_it_does_not(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    struct varve_env *env;
    struct varve_lock *lock = NULL;
    struct sim_env *killed;
    struct sim_env *image;
    unsigned seen = 0;

    (void)state;
    env = sim_as_env(sim);
    assert_int_equal(env->ops->lock(env, "/a", &lock, NULL), 0);
    help_fill(sim, file, 0, 1024, 'n');
    help_close(sim, help_open(sim, "/b"));
    killed = help_image(sim, SIM_KILL, 0);
    assert_int_equal(sim_hash(killed), sim_hash(sim));
    assert_int_equal(help_byte(killed, "/a", 512), 'n');
    assert_int_equal(help_size(killed, "/b"), 0);
    for_all_images(killed, check_old_or_new, &seen);
    assert_int_equal(seen, 0xf);
    env = sim_as_env(killed);
    assert_int_equal(env->ops->lock(env, "/a", &lock, NULL), 0); /* the lock died with it */
    file = help_open(killed, "/a");
    help_sync(killed, file); /* by the new process, over pages that the old one wrote */
    image = help_image(killed, SIM_ALL_LOST, 0);
    assert_int_equal(help_byte(image, "/a", 0), 'n');
    assert_int_equal(help_size(image, "/b"), -1);
    sim_env_destroy(image);
    sim_env_destroy(killed);
    sim_env_destroy(sim);
}

static void test_image__stands_alone_and_nests(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    struct sim_env *image = help_image(sim, SIM_ALL_LOST, 0);
    struct sim_env *nested;
    unsigned seen = 0;
    uint64_t hash = sim_hash(image);

    (void)state;
    assert_int_equal(hash, sim_hash(sim));
    help_fill(sim, file, 0, 512, 'z'); /* does not reach the image ... */
    sim_env_destroy(sim);              /* ... which outlives its source */
    assert_int_equal(sim_hash(image), hash);
    file = help_open(image, "/a");
    help_fill(image, file, 0, 1024, 'n');
    for_all_images(image, check_old_or_new, &seen);
    assert_int_equal(seen, 0xf);
    help_sync(image, file);
    nested = help_image(image, SIM_ALL_LOST, 0);
    assert_int_equal(help_byte(nested, "/a", 1023), 'n');
    sim_env_destroy(image);
    assert_int_equal(help_byte(nested, "/a", 0), 'n');
    sim_env_destroy(nested);
}

static void test_image__cuts_anywhere(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file); /* create, write, sync, sync_dir */
    static const int64_t kept[] = {-1, 0, 1024, 1024, 1024};
    static const int64_t lost[] = {-1, -1, -1, -1, 1024};

    (void)state;
    for (int round = 0; round < 2; round++) { /* the second goes back */
        for (uint64_t upto = 0; upto <= 4; upto++) {
            struct sim_env *image = sim_image(sim, upto, SIM_ALL_KEPT, 0);
            assert_int_equal(help_size(image, "/a"), kept[upto]);
            sim_env_destroy(image);
            image = sim_image(sim, upto, SIM_ALL_LOST, 0);
            assert_int_equal(help_size(image, "/a"), lost[upto]);
            sim_env_destroy(image);
        }
    }
    sim_env_destroy(sim);
}

/* The work of a little log: four appends into one file, and a second file. */
static struct sim_env *disk_with_work(void)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);

    for (int i = 0; i < 4; i++)
        help_fill(sim, file, 1024 + 700 * i, 700, 'p' + i);
    file = help_open(sim, "/b");
    help_fill(sim, file, 0, 3000, 'b');
    return sim;
}

static void test_image__is_decided_by_its_seed(void **state)
{
    struct sim_env *sim = disk_with_work();
    struct sim_env *again = disk_with_work();
    uint64_t distinct[SEEDS];
    size_t count = 0;

    (void)state;
    for (int policy = 0; policy < SIM_POLICY_COUNT; policy++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct sim_env *one = help_image(sim, (enum sim_policy)policy, seed);
            struct sim_env *two = help_image(again, (enum sim_policy)policy, seed);
            uint64_t hash = sim_hash(one);
            size_t i = 0;

            assert_int_equal(hash, sim_hash(two));
            sim_env_destroy(one);
            sim_env_destroy(two);
            if (policy != SIM_RANDOM)
                continue;
            while (i < count && distinct[i] != hash)
                i++;
            if (i == count)
                distinct[count++] = hash;
        }
    }
    assert_true(count > SEEDS / 2); /* and another seed is nearly always another image */
    sim_env_destroy(again);
    sim_env_destroy(sim);
}

/* Counted policies are exhaustive over the seeds 0 .. units. */
static void test_policies__count_through_the_units(void **state)
{
    struct varve_file *file;
    struct sim_env *sim = disk_with_file(&file);
    uint64_t units;

    (void)state;
    help_fill(sim, file, 0, 512, '1');
    help_fill(sim, file, 512, 512, '2');
    units = sim_unit_count(sim, sim_event_count(sim));
    assert_int_equal(units, 2);
    for (uint64_t seed = 0; seed <= units; seed++) {
        struct sim_env *prefix = help_image(sim, SIM_PREFIX, seed);
        struct sim_env *suffix = help_image(sim, SIM_SUFFIX, seed);
        struct sim_env *missing = help_image(sim, SIM_ONE_MISSING, seed);
        struct sim_env *kept = help_image(sim, SIM_ONE_KEPT, seed);
        struct sim_env *subset = help_image(sim, SIM_SUBSET, seed);

        assert_int_equal(help_byte(prefix, "/a", 0), seed >= 1 ? '1' : 'o');
        assert_int_equal(help_byte(prefix, "/a", 512), seed >= 2 ? '2' : 'o');
        assert_int_equal(help_byte(suffix, "/a", 0), seed <= 0 ? '1' : 'o');
        assert_int_equal(help_byte(suffix, "/a", 512), seed <= 1 ? '2' : 'o');
        assert_int_equal(help_byte(missing, "/a", 0), seed % 2 == 0 ? 'o' : '1');
        assert_int_equal(help_byte(missing, "/a", 512), seed % 2 == 0 ? '2' : 'o');
        assert_int_equal(help_byte(kept, "/a", 0), seed % 2 == 0 ? '1' : 'o');
        assert_int_equal(help_byte(kept, "/a", 512), seed % 2 == 0 ? 'o' : '2');
        assert_int_equal(help_byte(subset, "/a", 0), (seed & 1) != 0 ? '1' : 'o');
        assert_int_equal(help_byte(subset, "/a", 512), (seed & 2) != 0 ? '2' : 'o');
        sim_env_destroy(prefix);
        sim_env_destroy(suffix);
        sim_env_destroy(missing);
        sim_env_destroy(kept);
        sim_env_destroy(subset);
    }
    sim_env_destroy(sim);
}

static void test_policies__by_file_and_by_kind(void **state)
{
    struct sim_env *sim = disk_with_work();
    uint64_t units = sim_unit_count(sim, sim_event_count(sim));
    struct sim_env *image = help_image(sim, SIM_ONE_FILE_LOST, units - 1); /* of /b */

    (void)state;
    assert_int_equal(help_size(image, "/a"), 3824);
    assert_int_equal(help_size(image, "/b"), 0);
    sim_env_destroy(image);
    image = help_image(sim, SIM_ONE_FILE_KEPT, 0); /* of /a */
    assert_int_equal(help_size(image, "/a"), 3824);
    assert_int_equal(help_size(image, "/b"), -1);
    sim_env_destroy(image);
    image = help_image(sim, SIM_ONLY_SIZES, 0);
    assert_int_equal(help_size(image, "/b"), 3000);
    assert_int_equal(help_byte(image, "/b", 0), 0);
    sim_env_destroy(image);
    image = help_image(sim, SIM_ONLY_DATA, 0);
    assert_int_equal(help_size(image, "/a"), 1024);
    assert_int_equal(help_size(image, "/b"), 0);
    sim_env_destroy(image);
    image = help_image(sim, SIM_ONLY_NAMES, 0);
    assert_int_equal(help_size(image, "/b"), 0);
    sim_env_destroy(image);
    image = help_image(sim, SIM_NO_NAMES, 0);
    assert_int_equal(help_size(image, "/a"), 3824);
    assert_int_equal(help_size(image, "/b"), -1);
    sim_env_destroy(image);
    image = help_image(sim, SIM_GARBAGE, 0);
    assert_int_equal(help_byte(image, "/a", 0), 'o');
    assert_int_not_equal(help_byte(image, "/b", 0), 'b');
    sim_env_destroy(image);
    sim_env_destroy(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synced__is_always_there),
        cmocka_unit_test(test_overwrite__any_subset_of_sectors),
        cmocka_unit_test(test_overwrite__twice_leaves_any_version),
        cmocka_unit_test(test_append__size_apart_from_data),
        cmocka_unit_test(test_prewritten__no_garbage),
        cmocka_unit_test(test_truncate__may_be_lost),
        cmocka_unit_test(test_rename__without_sync_dir_may_be_lost),
        cmocka_unit_test(test_link__each_name_is_on_its_own),
        cmocka_unit_test(test_rename__before_the_data),
        cmocka_unit_test(test_names__persist_independently),
        cmocka_unit_test(test_rename__across_directories_is_two_steps),
        cmocka_unit_test(test_failed_sync__retry_settles_nothing),
        cmocka_unit_test(test_failed_sync_dir__is_overtaken_by_a_durable_name),
        cmocka_unit_test(test_kill__keeps_all_and_a_power_cut_behind_it_does_not),
        cmocka_unit_test(test_image__stands_alone_and_nests),
        cmocka_unit_test(test_image__cuts_anywhere),
        cmocka_unit_test(test_image__is_decided_by_its_seed),
        cmocka_unit_test(test_policies__count_through_the_units),
        cmocka_unit_test(test_policies__by_file_and_by_kind),
    };

    return cmocka_run_group_tests_name("sim_image", tests, NULL, NULL);
}
