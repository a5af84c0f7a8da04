#include "zoo.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/rng.h"
#include "bed.h"
#include "varve/checkpoint.h"
#include "zoo_files.h"

#define LONG_MS ((uint64_t)1000 * 1000 * 1000)
#define SOON_MS 1000u

/* A database while it is made. */
struct maker {
    struct zoo_db *zoo;
    struct bed bed;
    struct zoo_past *past;
    uint64_t rng;
};

/* ---- operations ---- */

size_t zoo_group(void *arg, struct varve_slice key)
{
    const uint8_t *colon = key.len == 0 ? NULL : memchr(key.data, ':', key.len);

    (void)arg;
    return colon == NULL ? 0 : (size_t)(colon - key.data) + 1;
}

struct varve_slice zoo_value(const struct zoo_op *op)
{
    static uint8_t bytes[ZOO_VALUE_MAX_BYTES];
    struct rng rng;

    rng_init(&rng, op->value_seed);
    for (size_t at = 0; at < op->value_len; at++)
        bytes[at] = op->value_seed % 2 == 0 ? (uint8_t)('a' + at / 16 % 7 + op->value_seed % 16)
                                            : (uint8_t)rng_next(&rng);
    return varve_slice(bytes, op->value_len);
}

const struct zoo_op *zoo_get(const struct zoo_db *zoo, uint64_t k, const char *key, uint64_t now_ms)
{
    for (uint64_t i = k; i > 0; i--) {
        const struct zoo_op *op = &zoo->ops[i - 1];
        if (op->kind == ZOO_DELETE_RANGE) {
            if (strcmp(op->key, key) <= 0 && strcmp(key, op->end) < 0)
                return NULL;
        } else if (strcmp(op->key, key) == 0) {
            int shown = op->kind == ZOO_PUT && (op->expire_ms == 0 || op->expire_ms > now_ms);
            return shown ? op : NULL;
        }
    }
    return NULL;
}

static struct zoo_op *next_op(struct maker *maker, enum zoo_op_kind kind, const char *key)
{
    struct zoo_db *zoo = maker->zoo;

    CHECK(zoo->count < ZOO_OPS_MAX);
    struct zoo_op *op = &zoo->ops[zoo->count++];
    *op = (struct zoo_op){.kind = kind, .value_seed = 16 * zoo->count, .ends_record = 1};
    snprintf(op->key, sizeof(op->key), "%s", key);
    return op;
}

static void put_with(struct maker *maker, const char *key, size_t len, int compresses,
                     uint64_t expire_ms)
{
    struct zoo_op *op = next_op(maker, ZOO_PUT, key);

    op->value_len = len;
    op->value_seed += compresses ? 0 : 1;
    op->expire_ms = expire_ms;
    CHECK(bed_put_bytes(&maker->bed, key, zoo_value(op), expire_ms) == 0);
    CHECK(maker->bed.seq == maker->zoo->count);
}

static void put(struct maker *maker, const char *key, size_t len)
{
    put_with(maker, key, len, 0, 0);
}

/* Several puts as one record of the log. */
static void put_group(struct maker *maker, const char *const *keys, size_t count)
{
    static const char text[] = "of a group";

    for (size_t i = 0; i < count; i++) {
        struct varve_slice name = varve_slice_str(keys[i]);
        struct zoo_op *op = next_op(maker, ZOO_PUT, keys[i]);
        op->value_len = sizeof(text) - 1;
        op->ends_record = i + 1 == count;
        struct varve_slice value = zoo_value(op);
        struct varve_batch *batch = varve_batch_create();
        CHECK(batch != NULL && varve_batch_put(batch, &name, 1, &value, 1, 0) == 0);
        CHECK(varve_group_add(maker->bed.db, batch, NULL, &maker->bed.err) == 0);
        varve_batch_destroy(batch);
    }
    CHECK(varve_group_commit(maker->bed.db, &maker->bed.err) == 0);
}

static void delete_key(struct maker *maker, const char *key)
{
    next_op(maker, ZOO_DELETE, key);
    CHECK(bed_delete(&maker->bed, key) == 0);
}

static void delete_range(struct maker *maker, const char *begin, const char *end)
{
    struct zoo_op *op = next_op(maker, ZOO_DELETE_RANGE, begin);

    snprintf(op->end, sizeof(op->end), "%s", end);
    CHECK(bed_delete_range(&maker->bed, begin, end) == 0);
}

static void put_many(struct maker *maker, const char *prefix, unsigned from, unsigned to,
                     size_t len)
{
    char key[ZOO_KEY_CAP];

    for (unsigned i = from; i < to; i++) {
        snprintf(key, sizeof(key), "%.10s%02u", prefix, i);
        put_with(maker, key, len, i % 3 == 0, 0);
    }
}

/* What the files hold now could come back later, as a whole or a sector of it. */
static void keep_state(struct maker *maker)
{
    zoo_past_add(maker->past, maker->bed.sim, BED_DIR);
}

static void flush_only(struct maker *maker)
{
    bed_flush_only(&maker->bed);
    keep_state(maker);
}

static void compact(struct maker *maker)
{
    CHECK(varve_compact(maker->bed.db, &maker->bed.err) == 0);
    keep_state(maker);
}

/* ---- the twelve ---- */

static void make_empty(struct maker *maker)
{
    (void)maker;
}

static void make_log(struct maker *maker)
{
    static const char *const group[] = {"a:4", "b:1", "c"};

    put(maker, "a:1", 20);
    put_with(maker, "a:2", 60, 1, 0);
    put_group(maker, group, COUNT_OF(group));
    keep_state(maker);
    delete_key(maker, "a:1");
    put(maker, "a:3", 0);
    put(maker, "b:1", 300);
}

static void make_logs(struct maker *maker)
{
    put_many(maker, "a:", 0, 7, 700);
    keep_state(maker);
    delete_key(maker, "a:03");
    put_many(maker, "b:", 0, 4, 900);
    delete_range(maker, "a:05", "b:01");
    put_with(maker, "a:06", 5000, 1, 0); /* longer than a log file */
}

static void make_segment(struct maker *maker)
{
    put_many(maker, "a:", 0, 12, 40);
    put_many(maker, "b:", 0, 8, 30);
    delete_key(maker, "a:04");
    flush_only(maker);
}

static void make_blocks(struct maker *maker)
{
    put_many(maker, "c:", 0, 12, 150); /* two of three do not get smaller */
    for (unsigned i = 0; i < 10; i++) {
        char key[ZOO_KEY_CAP];
        snprintf(key, sizeof(key), "s:%02u", i);
        put_with(maker, key, 200, 1, 0);
    }
    for (unsigned i = 0; i < 9; i++) { /* blocks of one size: each fits in the place of another */
        char key[ZOO_KEY_CAP];
        snprintf(key, sizeof(key), "t:%02u", i);
        put(maker, key, 500);
    }
    flush_only(maker);
}

static void make_big_value(struct maker *maker)
{
    put(maker, "a:1", 10);
    put(maker, "a:2", 16 * 1024 + 77);
    put(maker, "a:3", 10);
    flush_only(maker);
}

static void make_ranges(struct maker *maker)
{
    put_many(maker, "a:", 0, 10, 30);
    put_many(maker, "b:", 0, 6, 30);
    flush_only(maker);
    delete_range(maker, "a:02", "a:05");
    delete_range(maker, "a:04", "b:02");
    put(maker, "a:04", 25);
    flush_only(maker);
    delete_range(maker, "b:03", "b:05");
    put(maker, "b:03", 12);
}

static void make_expiry(struct maker *maker)
{
    put_many(maker, "a:", 0, 4, 30);
    put_with(maker, "e:1", 30, 0, SIM_CLOCK_START_REAL_MS + SOON_MS);
    put_with(maker, "e:2", 30, 1, SIM_CLOCK_START_REAL_MS + LONG_MS);
    put_with(maker, "a:02", 30, 0, SIM_CLOCK_START_REAL_MS + SOON_MS);
    flush_only(maker);
    put_with(maker, "e:3", 30, 0, SIM_CLOCK_START_REAL_MS + SOON_MS);
    put_with(maker, "e:4", 30, 0, SIM_CLOCK_START_REAL_MS + LONG_MS + 1);
    sim_clock_advance_us(maker->bed.sim, 5000000);
    put(maker, "e:5", 5);
}

static void make_levels(struct maker *maker)
{
    put_many(maker, "a:", 0, 14, 40);
    delete_key(maker, "a:13");
    compact(maker);
    put_many(maker, "a:", 4, 8, 20);
    delete_key(maker, "a:09");
    flush_only(maker);
    put_many(maker, "a:", 4, 8, 20); /* a segment that fits in the place of the one before */
    delete_key(maker, "a:09");
    flush_only(maker);
    put_many(maker, "a:", 6, 9, 25);
    put_many(maker, "b:", 0, 3, 20);
    delete_range(maker, "a:10", "a:12");
    flush_only(maker);
    put(maker, "a:11", 9);
}

static void make_groups(struct maker *maker)
{
    char key[ZOO_KEY_CAP];

    for (unsigned i = 0; i < 70; i++) {
        snprintf(key, sizeof(key), "%02u:k", i);
        put(maker, key, 3);
    }
    flush_only(maker);
    delete_range(maker, "10:", "12:");
    delete_key(maker, "20:k");
    put(maker, "21:l", 3);
    flush_only(maker);
    put(maker, "22:l", 3);
}

static void make_checkpoint(struct maker *maker)
{
    struct varve_checkpoint checkpoint = {0};

    put_many(maker, "a:", 0, 8, 40);
    flush_only(maker);
    put_many(maker, "b:", 0, 4, 40);
    delete_key(maker, "a:02");
    bed_run(&maker->bed);
    CHECK(varve_checkpoint(maker->bed.db, "/copy", &checkpoint, &maker->bed.err) == 0);
    CHECK(checkpoint.seq == maker->zoo->count);
}

/* In the middle of its life: several logs, edits behind the first one, a memtable that waits for its flush,
 * and an end that nothing promises. */
static void make_mid_life(struct maker *maker)
{
    static const char *const group[] = {"m:1", "m:2"};

    varve_set_durability(maker->bed.db, VARVE_EVERYSEC);
    put_many(maker, "a:", 0, 8, 40);
    flush_only(maker);
    put_many(maker, "a:", 2, 7, 900);
    bed_run(&maker->bed);
    keep_state(maker);
    bed_swap(&maker->bed);
    delete_range(maker, "a:05", "a:07");
    put_group(maker, group, COUNT_OF(group));
    bed_pass_us(&maker->bed, 1500000); /* a sync */
    keep_state(maker);
    put(maker, "b:1", 30);
    put(maker, "b:2", 30);
    bed_pass_us(&maker->bed, 1500000);
    delete_key(maker, "b:1");
    put_with(maker, "b:3", 700, 1, 0);
    put(maker, "b:4", 7);
}

static const struct {
    const char *name;
    void (*make)(struct maker *maker);
} zoo_table[ZOO_COUNT] = {
    {"empty", make_empty},
    {"log", make_log},
    {"logs", make_logs},
    {"segment", make_segment},
    {"blocks", make_blocks},
    {"big-value", make_big_value},
    {"ranges", make_ranges},
    {"expiry", make_expiry},
    {"levels", make_levels},
    {"groups", make_groups},
    {"checkpoint", make_checkpoint},
    {"mid-life", make_mid_life},
};

int zoo_find(const char *name)
{
    for (unsigned i = 0; i < ZOO_COUNT; i++)
        if (strcmp(zoo_table[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* ---- life ---- */

static int compare_keys(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void note_keys(struct zoo_db *zoo)
{
    static const char absent[] = "a:absent";

    memcpy(zoo->keys[zoo->key_count++], absent, sizeof(absent));
    for (uint64_t i = 0; i < zoo->count; i++) {
        size_t same = 0;
        while (same < zoo->key_count && strcmp(zoo->keys[same], zoo->ops[i].key) != 0)
            same++;
        CHECK(same < ZOO_KEYS_MAX);
        memcpy(zoo->keys[same], zoo->ops[i].key, ZOO_KEY_CAP);
        zoo->key_count += same == zoo->key_count;
    }
    qsort(zoo->keys, zoo->key_count, ZOO_KEY_CAP, compare_keys);
}

static void maker_begin(struct maker *maker, unsigned index, uint64_t seed)
{
    bed_init(&maker->bed, seed);
    maker->bed.options.count_group = zoo_group;
    maker->bed.options.block_size_bytes = 512;
    maker->bed.options.segment_size_bytes = 16 * 1024;
    maker->past = zoo_past_create();
    maker->zoo->name = zoo_table[index].name;
    bed_open_ok(&maker->bed);
}

/* The disk as the database leaves it: closed, but for the one in the middle of its life. */
static struct sim_env *maker_end(struct maker *maker)
{
    struct bed *bed = &maker->bed;
    int killed = maker->zoo->name == zoo_table[ZOO_COUNT - 1].name;
    int copied = maker->zoo->name == zoo_table[ZOO_COUNT - 2].name;
    struct varve_env *env;

    keep_state(maker);
    if (!killed)
        bed_close_ok(bed);
    struct sim_env *disk = sim_image(bed->sim, sim_event_count(bed->sim), SIM_KILL, 0);
    if (copied) {
        env = sim_as_env(disk);
        CHECK(env->ops->rename(env, ZOO_DIR, "/original", NULL) == 0 &&
              env->ops->rename(env, "/copy", ZOO_DIR, NULL) == 0);
    }
    sim_trace_forget(disk);
    return disk;
}

static struct sim_env *make_disk(struct zoo_db *zoo, unsigned index, uint64_t seed,
                                 struct zoo_past **past)
{
    struct maker *maker = mem_alloc_zero(sizeof(*maker));

    CHECK(maker != NULL);
    maker->zoo = zoo;
    maker_begin(maker, index, seed);
    zoo_table[index].make(maker);
    struct sim_env *disk = maker_end(maker);
    zoo->options = maker->bed.options;
    bed_deinit(&maker->bed);
    *past = maker->past;
    mem_free(maker);
    return disk;
}

struct zoo_db *zoo_create(unsigned index, uint64_t seed)
{
    struct zoo_db *zoo = mem_alloc_zero(sizeof(*zoo));
    struct zoo_db *twin = mem_alloc_zero(sizeof(*twin));
    struct zoo_past *past;
    struct zoo_past *twin_past;

    CHECK(zoo != NULL && twin != NULL && index < ZOO_COUNT);
    /* The twin has the same history, the same file numbers, and another id. */
    twin->disk = make_disk(twin, index, seed + ZOO_COUNT, &twin_past);
    zoo->disk = make_disk(zoo, index, seed, &past);
    note_keys(zoo);
    zoo_files_load(zoo, past, twin->disk);
    zoo_past_destroy(twin_past);
    zoo_past_destroy(past);
    zoo_destroy(twin);
    return zoo;
}

void zoo_destroy(struct zoo_db *zoo)
{
    if (zoo == NULL)
        return;
    zoo_files_free(zoo);
    sim_env_destroy(zoo->disk);
    mem_free(zoo);
}
