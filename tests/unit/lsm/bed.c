#include "bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lsm/db.h"

#define JOBS_MAX 100000
#define SHOWN_VALUE_BYTES 40
#define FILE_MAX_BYTES ((size_t)256 * 1024 * 1024)
#define DUMP_MAX_BYTES ((size_t)64 * 1024 * 1024)

/* ---- callbacks ---- */

static void on_durable(void *arg, uint64_t seq, int failed)
{
    struct bed *bed = arg;

    CHECK(seq >= bed->told_seq || failed);
    bed->told_seq = seq;
    bed->told_failed += failed;
}

static void on_log(void *arg, int level, const char *line)
{
    struct bed *bed = arg;
    size_t room = sizeof(bed->log) - bed->log_len;
    int len = snprintf(bed->log + bed->log_len, room, "%d %s\n", level, line);

    CHECK(strchr(line, '\n') == NULL);
    if (len > 0 && (size_t)len < room)
        bed->log_len += (size_t)len;
}

static size_t group_of(void *arg, struct varve_slice key)
{
    (void)arg;
    return key.len > 0 && key.data[0] >= 'a' && key.data[0] <= 'z' ? 1 : 0;
}

/* ---- life ---- */

void bed_init(struct bed *bed, uint64_t seed)
{
    *bed = (struct bed){0};
    bed->sim = sim_env_create(seed);
    bed->fault = fault_env_create(sim_as_env(bed->sim));
    bed->stepper = step_executor_create(seed);
    bed->options = (struct varve_options){
        .executor = step_as_executor(bed->stepper),
        .durability = VARVE_ALWAYS,
        .wal_size_bytes = 4096,
        .wal_pool_size = 1,
        .block_cache_size_bytes = 1024 * 1024,
        .min_free_bytes = VARVE_NO_RESERVE,
        .reserve_size_bytes = VARVE_NO_RESERVE,
        .on_durable = on_durable,
        .on_log = on_log,
        .count_group = group_of,
        .arg = bed,
    };
}

void bed_deinit(struct bed *bed)
{
    fault_env_heal(bed->fault);
    mem_fail_nth(0, 0);
    if (bed->db != NULL)
        (void)bed_close(bed);
    fault_env_destroy(bed->fault);
    sim_env_destroy(bed->sim);
    step_executor_destroy(bed->stepper);
}

int bed_set_up(void **state)
{
    struct bed *bed = mem_alloc(sizeof(*bed));

    CHECK(bed != NULL);
    bed_init(bed, 1);
    bed_open_ok(bed);
    *state = bed;
    return 0;
}

int bed_tear_down(void **state)
{
    bed_deinit(*state);
    mem_free(*state);
    return 0;
}

int bed_open(struct bed *bed)
{
    CHECK(bed->db == NULL);
    bed->options.env = fault_as_env(bed->fault);
    bed->told_seq = 0;
    int rc = varve_open(BED_DIR, &bed->options, &bed->db, &bed->err);
    if (rc != 0)
        return rc;
    /* So that what a test writes is merged as much as it would be; with threads a plan may run already. */
    mutex_lock(&bed->db->compactor.mutex);
    bed->db->compactor.floor_bytes = 0;
    mutex_unlock(&bed->db->compactor.mutex);
    return 0;
}

int bed_close(struct bed *bed)
{
    int rc = varve_close(bed->db, &bed->err);

    bed->db = NULL;
    return rc;
}

static void want_ok(const struct bed *bed, int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, err_text(&bed->err));
    CHECK(rc == 0);
}

void bed_open_ok(struct bed *bed)
{
    want_ok(bed, bed_open(bed), "open");
}

void bed_close_ok(struct bed *bed)
{
    want_ok(bed, bed_close(bed), "close");
}

/* ---- writing ---- */

static int write_and_free(struct bed *bed, struct varve_batch *batch, int rc)
{
    if (rc == 0)
        rc = varve_write(bed->db, batch, &bed->seq, &bed->err);
    varve_batch_destroy(batch);
    return rc;
}

int bed_put_bytes(struct bed *bed, const char *key, struct varve_slice value, uint64_t expire_ms)
{
    struct varve_slice name = varve_slice_str(key);
    struct varve_batch *batch = varve_batch_create();

    if (batch == NULL)
        return VARVE_ENOMEM;
    return write_and_free(bed, batch, varve_batch_put(batch, &name, 1, &value, 1, expire_ms));
}

int bed_put(struct bed *bed, const char *key, const char *value)
{
    return bed_put_bytes(bed, key, varve_slice_str(value), 0);
}

int bed_delete(struct bed *bed, const char *key)
{
    struct varve_slice name = varve_slice_str(key);
    struct varve_batch *batch = varve_batch_create();

    if (batch == NULL)
        return VARVE_ENOMEM;
    return write_and_free(bed, batch, varve_batch_delete(batch, &name, 1));
}

int bed_delete_range(struct bed *bed, const char *begin, const char *end)
{
    struct varve_batch *batch = varve_batch_create();

    if (batch == NULL)
        return VARVE_ENOMEM;
    return write_and_free(
        bed, batch, varve_batch_delete_range(batch, varve_slice_str(begin), varve_slice_str(end)));
}

int bed_add(struct bed *bed, const char *key, const char *value)
{
    struct varve_slice name = varve_slice_str(key);
    struct varve_slice bytes = varve_slice_str(value);
    struct varve_batch *batch = varve_batch_create();
    int rc = batch == NULL ? VARVE_ENOMEM : varve_batch_put(batch, &name, 1, &bytes, 1, 0);

    if (rc == 0)
        rc = varve_group_add(bed->db, batch, &bed->seq, &bed->err);
    varve_batch_destroy(batch);
    return rc;
}

/* ---- reading ---- */

const char *bed_get_with(struct bed *bed, const struct varve_read *read, const char *key)
{
    static char text[256];
    struct varve_pin pin;
    int rc = varve_get(bed->db, read, varve_slice_str(key), &pin, &bed->err);

    if (rc == VARVE_NOT_FOUND)
        return "-";
    want_ok(bed, rc, "get");
    snprintf(text, sizeof(text), "%.*s", (int)pin.value.len, (const char *)pin.value.data);
    varve_pin_release(&pin);
    return text;
}

const char *bed_get(struct bed *bed, const char *key)
{
    return bed_get_with(bed, NULL, key);
}

uint64_t bed_count(struct bed *bed, const char *group)
{
    uint64_t count;

    want_ok(bed, varve_count(bed->db, varve_slice_str(group), &count, &bed->err), "count");
    return count;
}

static void dump_record(struct buf *to, struct varve_iter *iter)
{
    char text[64];
    struct varve_slice key = varve_iter_key(iter);
    struct varve_slice value = varve_iter_value(iter);

    if (value.len > SHOWN_VALUE_BYTES) {
        int len = snprintf(text, sizeof(text), "#%zu:%08x", value.len,
                           crc32c(0, value.data, value.len));
        value = varve_slice(text, (size_t)len);
    }
    int rc = buf_append(to, key.data, key.len);
    rc |= buf_append(to, "=", 1);
    rc |= buf_append(to, value.data, value.len);
    if (varve_iter_expire_ms(iter) != 0) {
        int len = snprintf(text, sizeof(text), "@%llu",
                           (unsigned long long)varve_iter_expire_ms(iter));
        rc |= buf_append(to, text, (size_t)len);
    }
    rc |= buf_append(to, " ", 1);
    CHECK(rc == 0);
}

static void check_get_agrees(struct bed *bed, const struct varve_read *read,
                             struct varve_iter *iter)
{
    struct varve_pin pin;

    want_ok(bed, varve_get(bed->db, read, varve_iter_key(iter), &pin, &bed->err), "get");
    CHECK(varve_slice_equal(pin.value, varve_iter_value(iter)));
    CHECK(pin.seq == varve_iter_seq(iter));
    CHECK(pin.expire_ms == varve_iter_expire_ms(iter));
    varve_pin_release(&pin);
}

char *bed_dump(struct bed *bed, const struct varve_read *read)
{
    struct varve_iter *iter = varve_iter_create(bed->db, read, NULL, NULL, &bed->err);
    struct buf text;
    size_t forward = 0;
    uint64_t xor_forward = 0;

    CHECK(iter != NULL);
    buf_init(&text, DUMP_MAX_BYTES);
    for (varve_iter_first(iter); varve_iter_valid(iter); varve_iter_next(iter)) {
        dump_record(&text, iter);
        check_get_agrees(bed, read, iter);
        forward++;
        xor_forward ^= varve_iter_seq(iter) * (2 * forward + 1);
    }
    want_ok(bed, varve_iter_status(iter, &bed->err), "iterate forward");
    size_t left = forward;
    for (varve_iter_last(iter); varve_iter_valid(iter); varve_iter_prev(iter)) {
        CHECK(left > 0);
        xor_forward ^= varve_iter_seq(iter) * (2 * left + 1);
        left--;
    }
    want_ok(bed, varve_iter_status(iter, &bed->err), "iterate backward");
    CHECK(left == 0 && xor_forward == 0);
    varve_iter_destroy(iter);
    char *copy = mem_strndup(text.len == 0 ? "" : (const char *)text.data, text.len);
    CHECK(copy != NULL);
    buf_deinit(&text);
    return copy;
}

/* ---- time and death ---- */

void bed_run(struct bed *bed)
{
    CHECK(step_run_all(bed->stepper, JOBS_MAX) < JOBS_MAX);
}

void bed_pass_us(struct bed *bed, uint64_t us)
{
    sim_clock_advance_us(bed->sim, us);
    varve_tick(bed->db);
    bed_run(bed);
}

void bed_use_image(struct bed *bed, struct sim_env *image)
{
    fault_env_heal(bed->fault);
    if (bed->db != NULL)
        (void)bed_close(bed); /* frees its memory, on the disk that is left behind */
    fault_env_destroy(bed->fault);
    sim_env_destroy(bed->sim);
    bed->sim = image;
    bed->fault = fault_env_create(sim_as_env(image));
}

void bed_crash(struct bed *bed, enum sim_policy policy, uint64_t seed)
{
    bed_use_image(bed, sim_image(bed->sim, sim_event_count(bed->sim), policy, seed));
}

/* ---- background ---- */

size_t bed_run_class(struct bed *bed, enum varve_job_class job_class)
{
    size_t ran = 0;

    while (ran < JOBS_MAX && step_run_class(bed->stepper, job_class))
        ran++;
    CHECK(ran < JOBS_MAX);
    return ran;
}

void bed_swap(struct bed *bed)
{
    want_ok(bed, db_swap_memtable(bed->db), "swap the memtable");
}

void bed_flush_ok(struct bed *bed)
{
    want_ok(bed, varve_flush(bed->db, &bed->err), "flush");
}

void bed_flush_only(struct bed *bed)
{
    bed_swap(bed);
    while (bed_stats(bed).flushes_waiting > 0) {
        bed_run_class(bed, VARVE_JOB_SYNC);
        bed_run_class(bed, VARVE_JOB_FLUSH);
        varve_tick(bed->db);
        bed_run_class(bed, VARVE_JOB_MAINTENANCE);
    }
}

void bed_fill(struct bed *bed, const char *prefix, int count, size_t value_bytes)
{
    uint8_t *value = mem_alloc(value_bytes + 8);
    struct rng rng;
    char key[32];

    CHECK(value != NULL);
    rng_init(&rng, (uint64_t)count + value_bytes);
    for (int i = 0; i < count; i++) {
        for (size_t at = 0; at < value_bytes; at += 8) {
            uint64_t bits = rng_next(&rng);
            memcpy(value + at, &bits, sizeof(bits));
        }
        snprintf(key, sizeof(key), "%.20s%06d", prefix, i);
        want_ok(bed, bed_put_bytes(bed, key, varve_slice(value, value_bytes), 0), "fill");
    }
    mem_free(value);
}

struct varve_stats bed_stats(struct bed *bed)
{
    struct varve_stats stats;

    varve_stats(bed->db, &stats);
    return stats;
}

/* ---- files ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int add_name(void *arg, const char *name)
{
    struct bed_names *names = arg;

    CHECK(names->count < BED_FILES_MAX);
    snprintf(names->name[names->count++], sizeof(names->name[0]), "%.63s", name);
    return 0;
}

void bed_list(struct bed *bed, struct bed_names *names)
{
    struct varve_env *env = sim_as_env(bed->sim);

    names->count = 0;
    want_ok(bed, env->ops->list_dir(env, BED_DIR, add_name, names, &bed->err), "list");
    qsort(names->name, names->count, sizeof(names->name[0]), by_name);
}

const char *bed_find(const struct bed_names *names, const char *begin, const char *end)
{
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->name[i];
        size_t len = strlen(name);
        if (len >= strlen(end) && strncmp(name, begin, strlen(begin)) == 0 &&
            strcmp(name + len - strlen(end), end) == 0)
            return name;
    }
    return NULL;
}

size_t bed_files_with(struct bed *bed, const char *part)
{
    struct bed_names names;
    size_t count = 0;

    bed_list(bed, &names);
    for (size_t i = 0; i < names.count; i++)
        count += strstr(names.name[i], part) != NULL;
    return count;
}

int bed_has_file(struct bed *bed, const char *name)
{
    struct bed_names names;

    bed_list(bed, &names);
    for (size_t i = 0; i < names.count; i++)
        if (strcmp(names.name[i], name) == 0)
            return 1;
    return 0;
}

static struct varve_file *open_file(struct bed *bed, const char *name, unsigned flags)
{
    struct varve_env *env = sim_as_env(bed->sim);
    struct varve_file *file = NULL;
    char path[128];

    snprintf(path, sizeof(path), BED_DIR "/%s", name);
    want_ok(bed, env->ops->open(env, path, flags, &file, &bed->err), "open file");
    return file;
}

void bed_read_file(struct bed *bed, const char *name, struct buf *to)
{
    struct varve_env *env = sim_as_env(bed->sim);
    struct varve_file *file = open_file(bed, name, VARVE_OPEN_READ);
    uint64_t size_bytes = 0;
    size_t got = 0;

    buf_clear(to);
    to->max = FILE_MAX_BYTES;
    want_ok(bed, env->ops->size(env, file, &size_bytes, &bed->err), "size");
    CHECK(buf_reserve(to, (size_t)size_bytes + 1) == 0);
    want_ok(bed, env->ops->read_at(env, file, to->data, (size_t)size_bytes, 0, &got, &bed->err),
            "read");
    CHECK(got == size_bytes);
    to->len = got;
    env->ops->close(env, file);
}

static void sync_and_close(struct bed *bed, struct varve_file *file)
{
    struct varve_env *env = sim_as_env(bed->sim);

    want_ok(bed, env->ops->sync(env, file, &bed->err), "sync");
    env->ops->close(env, file);
    want_ok(bed, env->ops->sync_dir(env, BED_DIR, &bed->err), "sync_dir");
}

void bed_write_file(struct bed *bed, const char *name, struct varve_slice bytes)
{
    struct varve_env *env = sim_as_env(bed->sim);
    struct varve_file *file = open_file(bed, name, VARVE_OPEN_WRITE | VARVE_OPEN_CREATE);

    want_ok(bed, env->ops->truncate(env, file, 0, &bed->err), "truncate");
    if (bytes.len > 0)
        want_ok(bed, env->ops->write_at(env, file, &bytes, 1, 0, &bed->err), "write");
    sync_and_close(bed, file);
}

void bed_remove_file(struct bed *bed, const char *name)
{
    struct varve_env *env = sim_as_env(bed->sim);
    char path[128];

    snprintf(path, sizeof(path), BED_DIR "/%s", name);
    want_ok(bed, env->ops->remove(env, path, &bed->err), "remove");
    want_ok(bed, env->ops->sync_dir(env, BED_DIR, &bed->err), "sync_dir");
}

void bed_flip_bit(struct bed *bed, const char *name, uint64_t bit)
{
    struct varve_env *env = sim_as_env(bed->sim);
    struct varve_file *file = open_file(bed, name, VARVE_OPEN_WRITE);
    uint8_t byte = 0;
    struct varve_slice part = varve_slice(&byte, 1);
    size_t got = 0;

    want_ok(bed, env->ops->read_at(env, file, &byte, 1, bit / 8, &got, &bed->err), "read");
    CHECK(got == 1);
    byte ^= (uint8_t)(1u << bit % 8);
    want_ok(bed, env->ops->write_at(env, file, &part, 1, bit / 8, &bed->err), "write");
    sync_and_close(bed, file);
}

void bed_truncate(struct bed *bed, const char *name, uint64_t size_bytes)
{
    struct varve_env *env = sim_as_env(bed->sim);
    struct varve_file *file = open_file(bed, name, VARVE_OPEN_WRITE);

    want_ok(bed, env->ops->truncate(env, file, size_bytes, &bed->err), "truncate");
    sync_and_close(bed, file);
}
